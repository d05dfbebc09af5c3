package kube

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/podid/podid/internal/identity"
)

// A pod's token, as the API server signs it, gives the pod the role of its association. podid has been given the keys, or fetches them.
func TestPodIdentity(t *testing.T) {
	t.Run("keys uploaded", func(t *testing.T) {
		p := startPodid(t)
		p.register(t)
		testPodIdentity(t, p)
	})
	t.Run("keys fetched", func(t *testing.T) {
		discloseIssuer(t)
		p := startPodid(t, trustIssuer())
		p.register(t, "--issuer", kube.Issuer)
		testPodIdentity(t, p)
	})
}

func testPodIdentity(t *testing.T, p *podid) {
	namespace := newNamespace(t, "carts", "orders")
	p.associate(t, identity.ServiceAccount{Namespace: namespace, Name: "carts"})
	url := p.startAgent(t, "127.0.0.1", freePort(t))
	carts := createPod(t, namespace, pod("carts-0", "carts"))

	cfg := p.admin
	cfg.Credentials = endpointcreds.New(url, func(o *endpointcreds.Options) {
		o.AuthorizationToken = tokenOf(t, carts, identity.PodIdentityAudience)
	})
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	if err != nil || !strings.HasPrefix(aws.ToString(who.Arn), "arn:aws:sts::111122223333:assumed-role/carts/eks-metal-carts-0-") {
		t.Errorf("the pod is %+v, %v", who, err)
	}

	ordersToken := func(name string) string {
		return tokenOf(t, createPod(t, namespace, pod(name, "orders")), identity.PodIdentityAudience)
	}
	for _, refused := range []struct {
		name, token string
		status      int
		code        string
	}{
		{"no association", ordersToken("orders-0"), 404, "ResourceNotFoundException"},
		{"other audience", tokenOf(t, carts, "sts.amazonaws.com"), 400, "InvalidTokenException"},
		{"of the API server", tokenOf(t, carts, kube.Issuer), 400, "InvalidTokenException"},
		{"not of a pod", newToken(t, identity.ServiceAccount{Namespace: namespace, Name: "carts"}, identity.PodIdentityAudience, nil),
			400, "InvalidTokenException"},
		{"other claims", forge(t, ordersToken("orders-1"), tokenOf(t, carts, identity.PodIdentityAudience)), 400, "InvalidTokenException"},
	} {
		t.Run(refused.name, func(t *testing.T) {
			if status, code := ask(t, url, refused.token); status != refused.status || code != refused.code {
				t.Errorf("got %d %s, want %d %s", status, code, refused.status, refused.code)
			}
		})
	}
}

// forge makes a token that says what claims does and has the signature of another one by the same key.
func forge(t *testing.T, signed, claims string) string {
	t.Helper()
	good, bad := strings.Split(claims, "."), strings.Split(signed, ".")
	if len(good) != 3 || len(bad) != 3 {
		t.Fatal("these are not tokens")
	}
	return good[0] + "." + good[1] + "." + bad[2]
}

// ask exchanges a token with the agent, and returns status and error code.
func ask(t *testing.T, url, token string) (status int, code string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", token)
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var refusal struct{ Code string }
	if err := json.Unmarshal(body, &refusal); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return resp.StatusCode, refusal.Code
}
