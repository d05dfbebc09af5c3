package eksauth_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server/servertest"
)

// Nothing that is secret is written anywhere: not to the log, not to the audit log, not to the store.
func TestSecretsAreNotKept(t *testing.T) {
	s := servertest.New(t, nil)
	s.Associate(servertest.Cluster, carts, s.MakeRole("carts", servertest.PodTrust, ""), nil)
	good, unknown := s.Token(servertest.Cluster, carts, pod), s.Token(servertest.Cluster, identity.ServiceAccount{Namespace: "shop", Name: "shop"}, pod)
	foreign := s.Token(servertest.Other, carts, pod)
	got := s.Exchange(servertest.Cluster, good)
	for _, call := range []servertest.Call{
		servertest.ExchangeCall(servertest.Cluster, unknown), servertest.ExchangeCall(servertest.Cluster, foreign), servertest.ExchangeCall("demo", good),
		servertest.ExchangeCall(servertest.Cluster, "Bearer "+good), servertest.ExchangeCall(servertest.Cluster, good+"\n"),
		{Service: "eks-auth", Method: http.MethodPost, Target: "/clusters/local/assume-role-for-pod-identity", Body: `{"token":"` + good},
		{Service: "eks-auth", Method: http.MethodPost, Target: "/clusters/local/assume-role-for-pod-identity", Body: `{"token":["` + good + `"]}`},
	} {
		if a := s.Send(call); a.Status == http.StatusOK {
			t.Errorf("%s succeeded", call.Target)
		} else if holds(a.Body, good, unknown, foreign) {
			t.Errorf("the answer holds a part of the token: %s", a.Body)
		}
	}
	s.Stop()
	secrets := []string{good, unknown, foreign, got.Credentials.SecretAccessKey, got.Credentials.SessionToken}
	if holds(s.Log.String(), secrets...) {
		t.Error("the log holds a secret")
	}
	if !strings.Contains(s.Log.String(), `"operation":"AssumeRoleForPodIdentity"`) {
		t.Error("the log does not have the exchanges at all")
	}
	err := filepath.WalkDir(s.DataDir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if holds(string(data), secrets...) {
			t.Errorf("%s holds a secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// holds tells whether a text has a secret in it, or the part of a token that is neither common to all nor known anyway: its signature.
func holds(text string, secrets ...string) bool {
	for _, secret := range secrets {
		if strings.Contains(text, secret[strings.LastIndexByte(secret, '.')+1:]) {
			return true
		}
	}
	return false
}

// One line for each exchange says who got what for whom, and why not.
func TestAuditRecord(t *testing.T) {
	s := servertest.New(t, nil)
	role := s.MakeRole("carts", trustIf(`{"StringEquals":{"aws:RequestTag/kubernetes-namespace":"carts"}}`), "")
	shop := identity.ServiceAccount{Namespace: "shop", Name: "shop"}
	id, shopID := s.Associate(servertest.Cluster, carts, role, nil), s.Associate(servertest.Cluster, shop, role, nil)
	token, shopToken := s.Token(servertest.Cluster, carts, pod), s.Token(servertest.Cluster, shop, "shop-1")
	got := s.Exchange(servertest.Cluster, token)
	refused(t, s, shopToken, http.StatusBadRequest, "AccessDeniedException", role)

	entries := s.Audit()
	entries = entries[len(entries)-2:]
	key, err := s.Admin.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	common := func(status float64, token string, more map[string]any) map[string]any {
		sum := sha256.Sum256([]byte(token))
		want := map[string]any{
			"service": "eks-auth", "operation": "AssumeRoleForPodIdentity", "region": "us-west-2", "sourceIp": "127.0.0.1", "userAgent": "Go-http-client/1.1",
			"caller": "arn:aws:iam::111122223333:user/admin", "accessKey": key.AccessKeyID, "status": status,
			"resource": "arn:aws:eks:us-west-2:111122223333:cluster/local", "cluster": "local", "token": hex.EncodeToString(sum[:4]), "roleArn": role,
		}
		for name, value := range more {
			want[name] = value
		}
		return want
	}
	want := []map[string]any{
		common(200, token, map[string]any{
			"namespace": "carts", "serviceAccount": "carts", "pod": pod, "podUid": podUID, "associationId": id,
			"session": got.AssumedRoleUser.ARN, "issuedKey": got.Credentials.AccessKeyID,
		}),
		common(400, shopToken, map[string]any{
			"namespace": "shop", "serviceAccount": "shop", "pod": "shop-1", "podUid": entries[1]["podUid"], "associationId": shopID, "code": "AccessDeniedException",
		}),
	}
	if reason, _ := entries[1]["reason"].(string); !strings.Contains(reason, "kubernetes-namespace") {
		t.Errorf("the reason %q does not name the condition that failed", reason)
	}
	for _, entry := range entries {
		for _, name := range []string{"time", "requestId", "durationNs"} {
			if entry[name] == nil {
				t.Errorf("no %s", name)
			}
			delete(entry, name)
		}
		delete(entry, "reason")
		delete(entry, "message")
	}
	if diff := cmp.Diff(want, entries); diff != "" {
		t.Errorf("audit entries, want - got +:\n%s", diff)
	}
}
