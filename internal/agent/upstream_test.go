package agent

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/podid/podid/internal/identity"
)

// upstream is an EKS Auth API that says yes to every token, unless told otherwise, and remembers what it was asked.
type upstream struct {
	*httptest.Server
	respond func(w http.ResponseWriter, call int, token string) // nil: grant

	mu     sync.Mutex
	tokens []string // of the calls, in order
	paths  []string
	auths  []string
}

func newUpstream(t testing.TB, respond func(w http.ResponseWriter, call int, token string)) *upstream {
	t.Helper()
	u := &upstream{respond: respond}
	u.Server = httptest.NewServer(u)
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	var in struct {
		Token string `json:"token"`
	}
	_ = json.Unmarshal(data, &in)
	u.mu.Lock()
	u.tokens = append(u.tokens, in.Token)
	u.paths = append(u.paths, r.Method+" "+r.URL.Path)
	u.auths = append(u.auths, r.Header.Get("Authorization"))
	call := len(u.tokens)
	u.mu.Unlock()
	if u.respond != nil {
		u.respond(w, call, in.Token)
		return
	}
	grant(w, call, time.Now().Add(6*time.Hour))
}

func (u *upstream) calls() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.tokens)
}

// grant answers with credentials whose key id tells which call they are from.
func grant(w http.ResponseWriter, call int, expires time.Time) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"subject":{"namespace":"carts","serviceAccount":"carts"},"audience":"pods.eks.amazonaws.com",
		"podIdentityAssociation":{"associationArn":"arn:aws:eks:us-west-2:111122223333:podidentityassociation/demo/a-8mvwvh57cu74mgcst",
			"associationId":"a-8mvwvh57cu74mgcst"},
		"assumedRoleUser":{"arn":"arn:aws:sts::444455556666:assumed-role/web/eks-demo-web-1",
			"assumeRoleId":"AROA36C6WWEJULFUYMPB6:eks-demo-web-1"},
		"credentials":{"sessionToken":"session/<token>+==","secretAccessKey":"secret-key","accessKeyId":"ASIA%d","expiration":%d.597}}`,
		call, expires.Unix())
}

// deny answers with an error of EKS Auth.
func deny(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("X-Amzn-RequestId", "15df2cd5")
	w.Header().Set("X-Amzn-ErrorType", code)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": message})
}

func (u *upstream) client(t testing.TB) *Client {
	t.Helper()
	c, err := NewClient(ClientConfig{ClusterName: "demo", Region: "us-west-2", Endpoint: u.URL, Credentials: agentCredentials})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var agentCredentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "agent-secret"}, nil
})

// token makes the token of a pod as a kubelet would project it. Its signature names the pod and the serial number, so that no two
// tokens are equal and one that shows up anywhere is found.
func token(pod string, serial int, expires time.Time) string {
	return tokenOf(map[string]any{
		"aud": []string{identity.PodIdentityAudience}, "exp": expires.Unix(), "nbf": expires.Add(-100 * time.Hour).Unix(),
		"iss": "https://oidc.example.com/id/1", "sub": "system:serviceaccount:carts:carts",
		"kubernetes.io": map[string]any{
			"namespace":      "carts",
			"pod":            map[string]string{"name": pod, "uid": "5a20f883-0000-4000-8000-" + pod},
			"serviceaccount": map[string]string{"name": "carts", "uid": "a720ba5c-0000-4000-8000-000000000000"},
		},
	}, fmt.Sprintf("SIGNATURE-%s-%d", pod, serial))
}

func tokenOf(claims any, signature string) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return strings.Join([]string{encode([]byte(`{"alg":"RS256","kid":"1"}`)), encode(payload), encode([]byte(signature))}, ".")
}
