package eksauth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/token"
)

// registered is the cluster of these tests: one of which the server knows the public keys only.
const registered = "registered"

// withState makes a data directory that holds a role and what write adds, as if another podid had left it. In every one of clusters
// the service account carts is associated with the role.
func withState(t testing.TB, write func(d *directory.Directory) []store.Op, clusters ...identity.Cluster) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "podid-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s, err := store.Open(t.Context(), store.Config{DataDir: filepath.Join(dir, "etcd"), UnsafeNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	d := directory.New(s)
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	role := identity.Role{AccountID: servertest.AccountID, Partition: "aws", Path: "/", Name: "carts", ID: "AROARTX3GSDSXGHO2UL2A", TrustPolicy: servertest.PodTrust}
	ops := []store.Op{d.Roles.Create(directory.Key(role.AccountID, role.Name), role)}
	for _, cluster := range clusters {
		ops = append(ops, d.Clusters.Create(cluster.Name, cluster), d.Associations.Create(directory.AssociationKey(cluster.Name, carts), identity.Association{
			ServiceAccount: carts, ID: "a-00000000000000000", ClusterName: cluster.Name, RoleARN: role.ARN(),
		}))
	}
	if write != nil {
		ops = append(ops, write(d)...)
	}
	if err := s.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func clusterOf(name, issuer string, keys json.RawMessage) identity.Cluster {
	return identity.Cluster{
		Name: name, Partition: "aws", Region: servertest.Region, AccountID: servertest.AccountID, Issuer: issuer, Keys: keys,
	}
}

func newSigner(t testing.TB, issuer string) (*token.Signer, []byte) {
	t.Helper()
	key, err := token.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(key, issuer)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, der
}

func sign(t testing.TB, signer *token.Signer, claims map[string]any) string {
	t.Helper()
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return signed.Reveal()
}

// claimsAt are those of a pod's token that was issued then.
func claimsAt(at time.Time) map[string]any {
	subject := identity.Subject{ServiceAccount: carts, ServiceAccountUID: "a720ba5c-0000-4000-8000-000000000000", PodName: pod, PodUID: podUID}
	return token.ServiceAccountClaims(subject, identity.PodIdentityAudience, "0c9f1f2e-0000-4000-8000-000000000000", at, at.Add(time.Hour))
}

// forged replaces the header of a token, and its signature by what sign makes of the rest.
func forged(signed, header string, sign func(input string) []byte) string {
	payload := strings.Split(signed, ".")[1]
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + payload
	return input + "." + base64.RawURLEncoding.EncodeToString(sign(input))
}

func TestBadTokens(t *testing.T) {
	const issuer = "https://oidc.example.com/id/1"
	signer, public := newSigner(t, issuer)
	stranger, _ := newSigner(t, issuer)
	var ahead atomic.Int64
	s := servertest.Open(t, withState(t, nil, clusterOf(registered, issuer, signer.JWKS())), func(cfg *server.Config) {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	now := time.Now()
	good := sign(t, signer, claimsAt(now))
	var header struct{ Kid string }
	decoded, err := base64.RawURLEncoding.DecodeString(strings.Split(good, ".")[0])
	if err != nil || json.Unmarshal(decoded, &header) != nil {
		t.Fatal("the header of a token cannot be read")
	}
	hmacOf := func(key []byte) func(string) []byte {
		return func(input string) []byte {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(input))
			return mac.Sum(nil)
		}
	}
	with := func(at time.Time, changes map[string]any) string {
		claims := claimsAt(at)
		maps.Copy(claims, changes)
		return sign(t, signer, claims)
	}
	kubernetes := func(without string) map[string]any {
		claim := maps.Clone(claimsAt(now)["kubernetes.io"].(map[string]any))
		delete(claim, without)
		return map[string]any{"kubernetes.io": claim}
	}
	parts := strings.Split(good, ".")
	other := strings.Split(with(now.Add(-time.Minute), nil), ".")
	const invalid, parameter = "InvalidTokenException", "InvalidParameterException"
	for name, tt := range map[string]struct{ token, code, names string }{
		"other audience":            {with(now, map[string]any{"aud": []string{"sts.amazonaws.com"}}), invalid, "sts.amazonaws.com"},
		"no audience":               {with(now, map[string]any{"aud": nil}), invalid, "audience"},
		"other issuer":              {s.Token(servertest.Cluster, carts, pod), invalid, issuer},
		"key of somebody else":      {sign(t, stranger, claimsAt(now)), invalid, "no key"},
		"signature of another":      {parts[0] + "." + parts[1] + "." + other[2], invalid, "signature"},
		"claims of another":         {parts[0] + "." + other[1] + "." + parts[2], invalid, "signature"},
		"expired":                   {with(now.Add(-2*time.Hour), nil), "ExpiredTokenException", "The token included in the request is expired: current date/time "},
		"expired a moment ago":      {with(now.Add(-time.Hour-time.Second), nil), "ExpiredTokenException", " must be before the expiration date/time "},
		"not yet valid":             {with(now, map[string]any{"nbf": now.Add(5 * time.Minute).Unix()}), invalid, "not valid before"},
		"issued in the future":      {with(now.Add(5*time.Minute), map[string]any{"nbf": now.Unix()}), invalid, "future"},
		"alg none":                  {forged(good, `{"alg":"none","kid":"`+header.Kid+`"}`, func(string) []byte { return []byte{0} }), invalid, "RS256"},
		"HS256 with the public key": {forged(good, `{"alg":"HS256","kid":"`+header.Kid+`"}`, hmacOf(public)), invalid, "RS256"},
		"HS256 with its PEM": {forged(good, `{"alg":"HS256","kid":"`+header.Kid+`"}`,
			hmacOf(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))), invalid, "RS256"},
		"RS512 by name only":        {forged(good, `{"alg":"RS512","kid":"`+header.Kid+`"}`, func(string) []byte { return []byte("signature") }), invalid, "algorithm"},
		"no pod":                    {with(now, kubernetes("pod")), invalid, "pod"},
		"no service account":        {with(now, kubernetes("serviceaccount")), invalid, "service account"},
		"no Kubernetes claims":      {with(now, map[string]any{"kubernetes.io": nil}), invalid, "kubernetes.io"},
		"other subject":             {with(now, map[string]any{"sub": "system:serviceaccount:carts:other"}), invalid, "sub"},
		"claims that are no object": {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte("[]")) + "." + parts[2], invalid, "claims"},
		"three parts of nothing":    {"..", invalid, ""},
		"three parts of something":  {"a.b.c", invalid, ""},

		"empty":                    {"", parameter, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"},
		"two parts":                {parts[0] + "." + parts[1], parameter, "three parts"},
		"with Bearer":              {"Bearer " + good, parameter, "Bearer"},
		"with a line break":        {good + "\n", parameter, "line break"},
		"longer than any token is": {good + strings.Repeat("A", 16<<10), parameter, "16384"},
	} {
		t.Run(name, func(t *testing.T) {
			status, got := s.ExchangeRefused(registered, tt.token)
			if status != http.StatusBadRequest || got.Code != tt.code || !strings.Contains(got.Message, tt.names) {
				t.Errorf("got %d %+v, want 400 %s with %q", status, got, tt.code, tt.names)
			}
			for part := range strings.SplitSeq(tt.token, ".") {
				if len(part) > 20 && strings.Contains(got.Message, part) {
					t.Error("the message holds a part of the token")
				}
			}
		})
	}
	for name, token := range map[string]string{
		"good": good, "a clock that is a little ahead": with(now.Add(50*time.Second), nil), "several audiences": with(now, map[string]any{"aud": []string{"a", "pods.eks.amazonaws.com"}}),
	} {
		t.Run(name, func(t *testing.T) { s.Exchange(registered, token) })
	}
	t.Run("good, and expired when it comes again", func(t *testing.T) {
		// The signature is remembered, the times are not.
		short := with(now, map[string]any{"exp": now.Add(20 * time.Second).Unix()})
		s.Exchange(registered, short)
		ahead.Store(int64(30 * time.Second))
		if status, got := s.ExchangeRefused(registered, short); status != http.StatusBadRequest || got.Code != "ExpiredTokenException" {
			t.Errorf("got %d %+v", status, got)
		}
	})
}

// Both built-in clusters are alike; a token of one is still nothing to the other.
func TestTokenOfAnotherCluster(t *testing.T) {
	s := servertest.New(t, nil)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	for _, cluster := range []string{servertest.Cluster, servertest.Other} {
		s.Associate(cluster, carts, role, nil)
	}
	refused(t, s, s.Token(servertest.Other, carts, pod), http.StatusBadRequest, "InvalidTokenException", "issuer")
	refused(t, s, s.TokenFor(servertest.Cluster, carts, pod, "sts.amazonaws.com"), http.StatusBadRequest, "InvalidTokenException", "sts.amazonaws.com", "pods.eks.amazonaws.com")
	status, got := s.ExchangeRefused("demo", s.Token(servertest.Cluster, carts, pod))
	if status != http.StatusNotFound || got.Code != "ResourceNotFoundException" || !strings.Contains(got.Message, "demo") {
		t.Errorf("unknown cluster: %d %+v", status, got)
	}
	status, got = s.ExchangeRefused("-", s.Token(servertest.Cluster, carts, pod))
	if status != http.StatusBadRequest || got.Code != "InvalidParameterException" {
		t.Errorf("impossible cluster name: %d %+v", status, got)
	}
}

// Agents drop credentials on four codes. A fault of ours must never be one of them.
func TestFaultsAreNoAnswers(t *testing.T) {
	var working atomic.Bool
	var signer *token.Signer
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !working.Load():
			http.Error(w, "down", http.StatusServiceUnavailable)
		case strings.HasSuffix(r.URL.Path, "/keys.json"):
			_, _ = w.Write(signer.JWKS())
		default:
			_, _ = w.Write(token.DiscoveryDocument(signer.Issuer()))
		}
	}))
	defer issuer.Close()
	signer, _ = newSigner(t, issuer.URL)
	gone := httptest.NewServer(nil)
	gone.Close()
	goneSigner, _ := newSigner(t, gone.URL)
	garbled, _ := newSigner(t, "https://oidc.example.com/id/2")

	broken := func(d *directory.Directory) []store.Op { // as a newer podid, or a mishap, might have written it
		role := identity.Role{AccountID: servertest.AccountID, Partition: "aws", Path: "/", Name: "broken", ID: "AROARTX3GSDSXGHO2UL2B", TrustPolicy: "{"}
		shop := identity.ServiceAccount{Namespace: "shop", Name: "shop"}
		return []store.Op{d.Roles.Create(directory.Key(role.AccountID, role.Name), role),
			d.Associations.Create(directory.AssociationKey(registered, shop), identity.Association{ServiceAccount: shop, ClusterName: registered, RoleARN: role.ARN()})}
	}
	own, _ := newSigner(t, "https://oidc.example.com/id/1")
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s := servertest.Open(t, withState(t, broken,
		clusterOf(registered, own.Issuer(), own.JWKS()),
		clusterOf("down", signer.Issuer(), nil),
		clusterOf("gone", gone.URL, nil),
		clusterOf("garbled", garbled.Issuer(), json.RawMessage(`{"keys":[]}`)),
	), func(cfg *server.Config) { cfg.Now = now })
	shop := claimsAt(time.Now())
	shop["sub"] = "system:serviceaccount:shop:shop"
	shop["kubernetes.io"] = map[string]any{"namespace": "shop", "serviceaccount": map[string]string{"name": "shop"}, "pod": map[string]string{"name": "p", "uid": "u"}}

	for name, tt := range map[string]struct {
		cluster, token string
		status         int
		code           string
	}{
		"issuer is down":         {"down", sign(t, signer, claimsAt(time.Now())), 503, "ServiceUnavailableException"},
		"issuer is not there":    {"gone", sign(t, goneSigner, claimsAt(time.Now())), 503, "ServiceUnavailableException"},
		"keys cannot be read":    {"garbled", sign(t, garbled, claimsAt(time.Now())), 503, "ServiceUnavailableException"},
		"role cannot be decided": {registered, sign(t, own, shop), 500, "InternalServerException"},
	} {
		t.Run(name, func(t *testing.T) {
			status, got := s.ExchangeRefused(tt.cluster, tt.token)
			if status != tt.status || got.Code != tt.code {
				t.Errorf("got %d %+v, want %d %s", status, got, tt.status, tt.code)
			}
		})
	}
	t.Run("issuer is back", func(t *testing.T) {
		working.Store(true)
		ahead.Store(int64(time.Minute)) // beyond the pause between attempts
		call := servertest.ExchangeCall("down", sign(t, signer, claimsAt(now())))
		call.At = now()
		if a := s.Send(call); a.Status != http.StatusOK {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	})
}
