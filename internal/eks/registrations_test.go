package eks_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
	"github.com/podid/podid/internal/token"
)

// defaultIssuer is what Kubernetes calls its issuer where nobody has said otherwise.
const defaultIssuer = "https://kubernetes.default.svc.cluster.local"

var web = identity.ServiceAccount{Namespace: "shop", Name: "web"}

func registration(name string) *eks.RegisterClusterInput {
	return &eks.RegisterClusterInput{Name: &name, ConnectorConfig: &types.ConnectorConfigRequest{
		Provider: types.ConnectorConfigProviderOther, RoleArn: aws.String("arn:aws:iam::111122223333:role/connector"),
	}}
}

func newSigner(t *testing.T, issuer string) *token.Signer {
	t.Helper()
	key, err := token.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(key, issuer)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// podToken is the token of a pod of [web].
func podToken(t *testing.T, signer *token.Signer, audience string) string {
	t.Helper()
	subject := identity.Subject{ServiceAccount: web, ServiceAccountUID: "u1", PodName: "web-0", PodUID: "5a20f883-0000-4000-8000-000000000001"}
	now := time.Now()
	signed, err := signer.Sign(token.ServiceAccountClaims(subject, audience, "j1", now, now.Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	return signed.Reveal()
}

// put sends what is podid's own.
func put(s *servertest.Server, cluster, what string, body map[string]any, as *aws.Config) (int, servertest.Refusal) {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	a := s.Send(servertest.Call{
		Service: "eks", Method: http.MethodPut, Target: "/podid/v1/clusters/" + cluster + "/" + what, Body: string(encoded), As: as,
	})
	return a.Status, s.Refusal(a)
}

// A cluster outside of EKS is registered, gets its issuer, and then its pods get credentials, until it is deregistered.
func TestRegisterCluster(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	in := registration("metal")
	in.Tags = map[string]string{"site": "berlin"}
	in.ClientRequestToken = aws.String("once")
	out, err := client.RegisterCluster(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	c := out.Cluster
	if c.Status != types.ClusterStatusPending || *c.Arn != "arn:aws:eks:us-west-2:111122223333:cluster/metal" || c.Tags["site"] != "berlin" ||
		*c.ConnectorConfig.Provider != "OTHER" {
		t.Errorf("registered: %+v", c)
	}
	if _, err := client.RegisterCluster(t.Context(), in); err != nil {
		t.Errorf("the same request again: %v", err)
	}
	_, err = client.RegisterCluster(t.Context(), registration("metal"))
	refused(t, err, "ResourceInUseException", http.StatusConflict, "Cluster already exists with name: metal")

	// Associations may be made at once; tokens are a matter of the issuer.
	role := s.MakeRole("web", servertest.PodTrust, "")
	s.Associate("metal", web, role, nil)
	signer := newSigner(t, defaultIssuer)
	pod := podToken(t, signer, identity.PodIdentityAudience)
	if status, refusal := s.ExchangeRefused("metal", pod); status != http.StatusServiceUnavailable || !strings.Contains(refusal.Message, "podid cluster register metal") {
		t.Errorf("before the issuer is known: %d %+v", status, refusal)
	}
	authority := httptest.NewUnstartedServer(nil)
	authority.StartTLS()
	defer authority.Close()
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw}))
	issuer := map[string]any{
		"issuer": defaultIssuer, "keys": signer.JWKS(), "version": "1.36", "endpoint": "https://10.0.0.1:6443", "certificateAuthority": map[string]any{"data": ca},
	}
	if status, refusal := put(s, "metal", "issuer", issuer, nil); status != http.StatusOK {
		t.Fatalf("telling the issuer: %d %+v", status, refusal)
	}
	described, err := client.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("metal")})
	if err != nil {
		t.Fatal(err)
	}
	c = described.Cluster
	if c.Status != types.ClusterStatusActive || *c.Identity.Oidc.Issuer != defaultIssuer || *c.Version != "1.36" || *c.CertificateAuthority.Data != ca {
		t.Errorf("active: %+v", c)
	}
	if got := s.Exchange("metal", pod); got.Subject.ServiceAccount != "web" {
		t.Errorf("exchanged for %+v", got.Subject)
	}

	// While the signing key changes, both keys are good; then only the new one.
	next := newSigner(t, defaultIssuer)
	var old, renewed struct{ Keys []json.RawMessage }
	if err := errors.Join(json.Unmarshal(signer.JWKS(), &old), json.Unmarshal(next.JWKS(), &renewed)); err != nil {
		t.Fatal(err)
	}
	both := map[string]any{"keys": map[string]any{"keys": append(old.Keys, renewed.Keys...)}}
	if status, refusal := put(s, "metal", "keys", both, nil); status != http.StatusOK {
		t.Fatalf("uploading keys: %d %+v", status, refusal)
	}
	s.Exchange("metal", pod)
	s.Exchange("metal", podToken(t, next, identity.PodIdentityAudience))
	if status, refusal := put(s, "metal", "keys", map[string]any{"keys": next.JWKS()}, nil); status != http.StatusOK {
		t.Fatalf("uploading keys: %d %+v", status, refusal)
	}
	if status, refusal := s.ExchangeRefused("metal", pod); status != http.StatusBadRequest || refusal.Code != "InvalidTokenException" {
		t.Errorf("a token of the key before: %d %+v", status, refusal)
	}

	// What another cluster of the same name gets is its own.
	gone, err := client.DeregisterCluster(t.Context(), &eks.DeregisterClusterInput{Name: aws.String("metal")})
	if err != nil || gone.Cluster.Status != types.ClusterStatusDeleting {
		t.Fatalf("deregistered: %+v, %v", gone, err)
	}
	if status, refusal := s.ExchangeRefused("metal", podToken(t, next, identity.PodIdentityAudience)); status != http.StatusNotFound {
		t.Errorf("after it was deregistered: %d %+v", status, refusal)
	}
	if _, err := client.RegisterCluster(t.Context(), registration("metal")); err != nil {
		t.Fatal(err)
	}
	list, err := client.ListPodIdentityAssociations(t.Context(), &eks.ListPodIdentityAssociationsInput{ClusterName: aws.String("metal")})
	if err != nil || len(list.Associations) != 0 {
		t.Errorf("associations of the new cluster: %+v, %v", list, err)
	}
}

func TestRegisterClusterRefuses(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	if _, err := client.RegisterCluster(t.Context(), registration("metal")); err != nil {
		t.Fatal(err)
	}
	badName, badRole, badProvider := registration("-metal"), registration("x"), registration("x")
	badRole.ConnectorConfig.RoleArn = aws.String("arn:aws:iam::111122223333:user/x")
	badProvider.ConnectorConfig.Provider = "TOASTER"
	for _, in := range []*eks.RegisterClusterInput{badName, badRole, badProvider} {
		_, err := client.RegisterCluster(t.Context(), in)
		refused(t, err, "InvalidParameterException", http.StatusBadRequest)
	}
	_, err := client.DeregisterCluster(t.Context(), &eks.DeregisterClusterInput{Name: aws.String(servertest.Cluster)})
	refused(t, err, "InvalidRequestException", http.StatusBadRequest, "built in")
	_, err = client.DeregisterCluster(t.Context(), &eks.DeregisterClusterInput{Name: aws.String("nowhere")})
	refused(t, err, "ResourceNotFoundException", http.StatusNotFound, "nowhere")

	keys := newSigner(t, defaultIssuer).JWKS()
	for name, test := range map[string]struct {
		cluster, what string
		body          map[string]any
		status        int
		message       string
	}{
		"unknown cluster":     {"nowhere", "issuer", map[string]any{"issuer": defaultIssuer, "keys": keys}, 404, "nowhere"},
		"built-in cluster":    {servertest.Cluster, "issuer", map[string]any{"issuer": defaultIssuer, "keys": keys}, 400, "built in"},
		"no issuer":           {"metal", "issuer", map[string]any{"keys": keys}, 400, "iss claim"},
		"line break":          {"metal", "issuer", map[string]any{"issuer": "https://a\n", "keys": keys}, 400, "visible ASCII"},
		"nothing to fetch":    {"metal", "issuer", map[string]any{"issuer": "kubernetes"}, 400, "cannot be fetched"},
		"no key":              {"metal", "issuer", map[string]any{"issuer": defaultIssuer, "keys": map[string]any{"keys": []any{}}}, 400, "no key"},
		"endpoint":            {"metal", "issuer", map[string]any{"issuer": defaultIssuer, "keys": keys, "endpoint": "http://10.0.0.1"}, 400, "endpoint"},
		"authority":           {"metal", "issuer", map[string]any{"issuer": defaultIssuer, "keys": keys, "certificateAuthority": map[string]any{"data": "AAAA"}}, 400, "PEM"},
		"keys before issuer":  {"metal", "keys", map[string]any{"keys": keys}, 400, "PutClusterIssuer"},
		"keys of a built-in":  {servertest.Cluster, "keys", map[string]any{"keys": keys}, 400, "built in"},
		"keys that are not":   {"metal", "keys", map[string]any{"keys": "secret"}, 400, "key set"},
		"keys of none at all": {"nowhere", "keys", map[string]any{"keys": keys}, 404, "nowhere"},
	} {
		status, refusal := put(s, test.cluster, test.what, test.body, nil)
		if status != test.status || !strings.Contains(refusal.Message, test.message) {
			t.Errorf("%s: %d %+v, want %d and %q", name, status, refusal, test.status, test.message)
		}
	}
}

// A cluster may be allowed to change its own keys, and can do nothing else with that.
func TestPutClusterKeysIsLess(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	keys := newSigner(t, defaultIssuer).JWKS()
	for _, name := range []string{"metal", "wood"} {
		if _, err := client.RegisterCluster(t.Context(), registration(name)); err != nil {
			t.Fatal(err)
		}
		if status, refusal := put(s, name, "issuer", map[string]any{"issuer": defaultIssuer, "keys": keys}, nil); status != http.StatusOK {
			t.Fatalf("%d %+v", status, refusal)
		}
	}
	own := s.Limited("controller", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"podid:PutClusterKeys",`+
		`"Resource":"arn:aws:eks:us-west-2:111122223333:cluster/metal"}]}`)
	body := map[string]any{"issuer": defaultIssuer, "keys": keys}
	for _, test := range []struct {
		cluster, what string
		want          int
	}{{"metal", "keys", 200}, {"metal", "issuer", 403}, {"wood", "keys", 403}} {
		if status, refusal := put(s, test.cluster, test.what, body, &own); status != test.want {
			t.Errorf("%s of %s: %d %+v, want %d", test.what, test.cluster, status, refusal, test.want)
		}
	}
}

// A web identity is believed by the keys of a cluster only where the issuer is that of one cluster of the role's account: who
// registers a cluster elsewhere, or another one with the same issuer, speaks for nobody else.
func TestIssuersOfClusters(t *testing.T) {
	const member = "444455556666"
	const issuer = "https://127.0.0.1:1" // where nothing listens
	s := servertest.New(t, func(cfg *server.Config) { cfg.MemberAccountIDs = []string{member} })
	client, signer := eks.NewFromConfig(s.Admin), newSigner(t, issuer)
	entered, err := sts.NewFromConfig(s.Admin).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + member + ":role/OrganizationAccountAccessRole"), RoleSessionName: aws.String("admin"),
	})
	if err != nil {
		t.Fatal(err)
	}
	other := s.As(aws.Credentials{
		AccessKeyID: *entered.Credentials.AccessKeyId, SecretAccessKey: *entered.Credentials.SecretAccessKey, SessionToken: *entered.Credentials.SessionToken,
	})
	_, err = iam.NewFromConfig(s.Admin).CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(issuer), ClientIDList: []string{"sts.amazonaws.com"},
	})
	if err != nil {
		t.Fatal(err)
	}
	host := identity.IssuerHostPath(issuer)
	role := s.MakeRole("web", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity",`+
		`"Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/`+host+`"},"Condition":{"StringEquals":{"`+host+`:sub":"`+web.Subject()+`"}}}]}`, "")
	assume := func() error {
		_, err := sts.NewFromConfig(aws.Config{Region: servertest.Region, BaseEndpoint: &s.URL, RetryMaxAttempts: 1}).AssumeRoleWithWebIdentity(t.Context(),
			&sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("web"), WebIdentityToken: aws.String(podToken(t, signer, "sts.amazonaws.com"))})
		return err
	}
	registered := func(name string, as aws.Config) {
		t.Helper()
		if _, err := eks.NewFromConfig(as).RegisterCluster(t.Context(), registration(name)); err != nil {
			t.Fatal(err)
		}
		if status, refusal := put(s, name, "issuer", map[string]any{"issuer": issuer, "keys": signer.JWKS()}, &as); status != http.StatusOK {
			t.Fatalf("%d %+v", status, refusal)
		}
	}
	registered("foreign", other)
	refused(t, assume(), "IDPCommunicationError", http.StatusBadRequest) // nobody answers at the issuer's URL
	registered("metal", s.Admin)
	if err := assume(); err != nil {
		t.Errorf("with the cluster's keys: %v", err)
	}
	registered("wood", s.Admin)
	refused(t, assume(), "InvalidIdentityToken", http.StatusBadRequest, "metal, wood")
	if _, err := client.DeregisterCluster(t.Context(), &eks.DeregisterClusterInput{Name: aws.String("wood")}); err != nil {
		t.Fatal(err)
	}
	if err := assume(); err != nil {
		t.Errorf("with the cluster's keys again: %v", err)
	}
}
