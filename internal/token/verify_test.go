package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
)

const issuerURL = "https://oidc.example.com/id/D43CF17C27A865933144EA99A26FB128"

var (
	noon   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	carts1 = identity.Subject{
		ServiceAccount:    identity.ServiceAccount{Namespace: "carts", Name: "carts"},
		ServiceAccountUID: "a720ba5c-0001",
		PodName:           "carts-7d9c",
		PodUID:            "5a20f883-0001",
		NodeName:          "node-1",
	}
	// Keys cost tenths of a second, so tests share them.
	keyA = sync.OnceValue(func() *rsa.PrivateKey { return must(GenerateKey()) })
	keyB = sync.OnceValue(func() *rsa.PrivateKey { return must(GenerateKey()) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func signerA() *Signer { return must(NewSigner(keyA(), issuerURL)) }
func signerB() *Signer { return must(NewSigner(keyB(), issuerURL)) }

// podClaims is the claims of a good token: issued at noon, for an hour.
func podClaims() map[string]any {
	return ServiceAccountClaims(carts1, identity.PodIdentityAudience, "jti-1", noon, noon.Add(time.Hour))
}

// clock is a time that the test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func verifier(t testing.TB, change func(*Config)) (*Verifier, *clock) {
	t.Helper()
	c := &clock{t: noon.Add(time.Minute)}
	cfg := Config{Now: c.now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if change != nil {
		change(&cfg)
	}
	v, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v, c
}

func part(v any) string {
	switch v := v.(type) {
	case string:
		return base64.RawURLEncoding.EncodeToString([]byte(v))
	case []byte:
		return base64.RawURLEncoding.EncodeToString(v)
	default:
		return part(must(json.Marshal(v)))
	}
}

// forge signs any header and payload, however odd, with RS256.
func forge(header, payload any, key *rsa.PrivateKey) string {
	input := part(header) + "." + part(payload)
	sum := sha256.Sum256([]byte(input))
	return input + "." + part(must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])))
}

func goodHeader() map[string]any {
	return map[string]any{"alg": "RS256", "kid": signerA().public.KeyID, "typ": "JWT"}
}

func goodClaims() map[string]any {
	c := podClaims()
	c["iss"] = issuerURL
	return c
}

func TestVerify(t *testing.T) {
	v, _ := verifier(t, nil)
	issuer := Issuer{URL: issuerURL, Keys: signerA().JWKS()}
	raw := must(signerA().Sign(podClaims()))
	want := &Claims{
		Issuer: issuerURL, Subject: "system:serviceaccount:carts:carts", Audiences: []string{"pods.eks.amazonaws.com"},
		ExpiresAt: noon.Add(time.Hour), NotBefore: noon, IssuedAt: noon, ID: "jti-1", KeyID: signerA().public.KeyID, Kubernetes: &carts1,
	}
	for _, again := range []string{"", " from the cache"} {
		got, err := v.Verify(t.Context(), raw.Reveal(), issuer)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("got%s %v, %s", again, err, cmp.Diff(want, got))
		}
	}
	if got := len(v.verified.young); got != 1 {
		t.Errorf("%d tokens are remembered, want 1", got)
	}
	if token, err := Parse(raw.Reveal()); err != nil || token.Issuer() != issuerURL {
		t.Errorf("Parse: got %+v, %v", token, err)
	}
}

// Every bad token is the good one with one thing changed.
func TestVerifyRefuses(t *testing.T) {
	claims := func(change func(map[string]any)) string {
		c := goodClaims()
		change(c)
		return forge(goodHeader(), c, keyA())
	}
	header := func(change func(map[string]any)) string {
		h := goodHeader()
		change(h)
		return forge(h, goodClaims(), keyA())
	}
	set := func(key string, value any) func(map[string]any) { return func(m map[string]any) { m[key] = value } }
	drop := func(key string) func(map[string]any) { return func(m map[string]any) { delete(m, key) } }
	good := forge(goodHeader(), goodClaims(), keyA())
	parts := strings.Split(good, ".")
	goodJSON := string(must(json.Marshal(goodClaims())))

	tests := []struct{ name, raw, reason string }{
		{"empty", "", "empty"},
		{"another issuer", claims(set("iss", "https://oidc.example.com/id/1")), "its issuer is"},
		{"issuer with a slash more", claims(set("iss", issuerURL+"/")), "its issuer is"},
		{"no issuer", claims(drop("iss")), "no iss"},
		{"no subject", claims(drop("sub")), "no sub"},
		{"no expiry", claims(drop("exp")), "no exp"},
		{"expiry as text", claims(set("exp", "1763820000")), "right types"},
		{"expiry beyond time", claims(set("exp", 1e300)), "exp claim"},
		{"negative expiry", claims(set("exp", -1)), "exp claim"},
		{"null expiry", claims(set("exp", nil)), "no exp"},
		{"not valid yet", claims(set("nbf", noon.Add(3*time.Minute).Unix())), "not valid before"},
		{"issued in the future", claims(set("iat", noon.Add(3*time.Minute).Unix())), "future"},
		{"issuer twice", forge(goodHeader(), `{"iss":"https://other.example.com",`+goodJSON[1:], keyA()), "each key once"},
		{"pod twice", forge(goodHeader(), strings.Replace(goodJSON, `"pod":`, `"pod":{"name":"other","uid":"1"},"pod":`, 1), keyA()), "each key once"},
		{"claims are an array", forge(goodHeader(), "[]", keyA()), "JSON object"},
		{"claims and more", forge(goodHeader(), goodJSON+"{}", keyA()), "JSON object"},
		{"audience of numbers", claims(set("aud", []int{1})), "right types"},

		{"changed claims", parts[0] + "." + part(strings.Replace(goodJSON, `"carts"`, `"admin"`, 1)) + "." + parts[2], "signature"},
		{"changed signature", parts[0] + "." + parts[1] + "." + part(bytes.Repeat([]byte{1}, 256)), "signature"},
		{"short signature", parts[0] + "." + parts[1] + ".AA", "signature"},
		{"another cluster's key, its own kid", must(signerB().Sign(podClaims())).Reveal(), "no key with the id"},
		{"another cluster's key, our kid", forge(goodHeader(), goodClaims(), keyB()), "signature"},
		{"no kid", header(drop("kid")), "no kid"},
		{"empty kid", header(set("kid", "")), "no kid"},
		{"unknown kid", header(set("kid", "unknown")), "no key with the id"},
		{"long kid", header(set("kid", strings.Repeat("k", 257))), "kid is longer"},
		{"kid twice", forge(`{"alg":"RS256","kid":"x",`+string(must(json.Marshal(goodHeader())))[1:], goodClaims(), keyA()), "JSON web token"},
		{"critical extension", header(func(h map[string]any) { h["crit"] = []string{"x"}; h["x"] = 1 }), "extension"},

		{"alg none", part(`{"alg":"none","kid":"`+signerA().public.KeyID+`"}`) + "." + parts[1] + ".AA", "JSON web token"},
		{"alg none without signature", part(`{"alg":"none","kid":"`+signerA().public.KeyID+`"}`) + "." + parts[1] + ".", "three parts"},
		{"HS256 with the public key", hs256(x509.MarshalPKCS1PublicKey(&keyA().PublicKey)), "JSON web token"},
		{"HS256 with the public key as PEM", hs256(pem.EncodeToMemory(&pem.Block{
			Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(&keyA().PublicKey))})), "JSON web token"},
		{"PS256", header(set("alg", "PS256")), "JSON web token"},
		{"RS512 announced, RS256 signed", header(set("alg", "RS512")), "algorithm"},
		{"ES256 announced, RS256 signed", header(set("alg", "ES256")), "algorithm"},

		{"too long", good + strings.Repeat("A", maxToken), "longer than"},
		{"trailing newline", good + "\n", "three parts"},
		{"newline inside", parts[0] + "." + parts[1][:8] + "\n" + parts[1][8:] + "." + parts[2], "three parts"},
		{"leading space", " " + good, "three parts"},
		{"bearer", "Bearer " + good, "three parts"},
		{"padding", parts[0] + "=." + parts[1] + "." + parts[2], "three parts"},
		{"two parts", parts[0] + "." + parts[1], "three parts"},
		{"four parts", good + ".AA", "three parts"},
		{"empty header", "." + parts[1] + "." + parts[2], "three parts"},
		{"dots", strings.Repeat(".", 10000), "three parts"},
		{"header is not base64", "A." + parts[1] + "." + parts[2], "JSON web token"},
		{"header is not JSON", part("x") + "." + parts[1] + "." + parts[2], "JSON web token"},
		{"an encrypted token", "e30.e30.e30.e30.e30", "three parts"},
	}
	v, _ := verifier(t, nil)
	issuer := Issuer{URL: issuerURL, Keys: signerA().JWKS()}
	if _, err := v.Verify(t.Context(), good, issuer); err != nil {
		t.Fatalf("the good token was refused: %v", err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			claims, err := v.Verify(t.Context(), tt.raw, issuer)
			var invalid *InvalidError
			if claims != nil || !errors.As(err, &invalid) || !strings.Contains(invalid.Reason, tt.reason) {
				t.Fatalf("got %v, %v, want an InvalidError about %q", claims, err, tt.reason)
			}
			for _, part := range strings.Split(tt.raw, ".") {
				if len(part) > 20 && strings.Contains(err.Error(), part) {
					t.Errorf("the error holds a part of the token: %v", err)
				}
			}
		})
	}
}

func hs256(secret []byte) string {
	h := goodHeader()
	h["alg"] = "HS256"
	input := part(h) + "." + part(goodClaims())
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + part(mac.Sum(nil))
}

func TestVerifyTimes(t *testing.T) {
	at := func(d time.Duration) int64 { return noon.Add(d).Unix() }
	const now = time.Minute // after noon
	tests := []struct {
		name          string
		nbf, iat, exp int64
		valid         bool
	}{
		{"well within", at(0), at(0), at(time.Hour), true},
		{"in its last second", at(0), at(0), at(now + time.Second), true},
		{"expires now", at(0), at(0), at(now), false},
		{"issuer is ahead by a minute", at(now + time.Minute), at(now + time.Minute), at(time.Hour), true},
		{"begins too late", at(now + 61*time.Second), at(0), at(time.Hour), false},
		{"issued too late", at(0), at(now + 61*time.Second), at(time.Hour), false},
	}
	for _, tt := range tests {
		v, _ := verifier(t, nil)
		c := podClaims()
		c["nbf"], c["iat"], c["exp"] = tt.nbf, tt.iat, tt.exp
		_, err := v.Verify(t.Context(), must(signerA().Sign(c)).Reveal(), Issuer{URL: issuerURL, Keys: signerA().JWKS()})
		if (err == nil) != tt.valid {
			t.Errorf("%s: got %v, want valid: %v", tt.name, err, tt.valid)
		}
	}
}

// A remembered token is judged by the time anew, and forgotten with its issuer's keys.
func TestVerifyRemembered(t *testing.T) {
	v, clock := verifier(t, nil)
	issuer := Issuer{URL: issuerURL, Keys: signerA().JWKS()}
	c := podClaims()
	c["exp"] = noon.Add(90 * time.Second).Unix()
	raw := must(signerA().Sign(c)).Reveal()
	if _, err := v.Verify(t.Context(), raw, issuer); err != nil {
		t.Fatal(err)
	}

	var invalid *InvalidError
	for name, other := range map[string]Issuer{
		"other keys": {URL: issuerURL, Keys: signerB().JWKS()},
		"other URL":  {URL: issuerURL + "0", Keys: signerA().JWKS()},
	} {
		if _, err := v.Verify(t.Context(), raw, other); !errors.As(err, &invalid) {
			t.Errorf("%s: got %v, want an InvalidError", name, err)
		}
	}

	clock.advance(30 * time.Second)
	_, err := v.Verify(t.Context(), raw, issuer)
	var expired *ExpiredError
	want := "The token included in the request is expired: current date/time 2026-11-22T12:01:30.000000Z" +
		" must be before the expiration date/time 2026-11-22T12:01:30Z."
	if !errors.As(err, &expired) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestVerificationsForget(t *testing.T) {
	var v verifications
	set, claims := &keySet{}, &Claims{}
	digest := func(i int) [32]byte { return sha256.Sum256(fmt.Append(nil, i)) }
	v.add(digest(0), set, claims, noon)
	if _, ok := v.get(digest(0), set, noon.Add(rememberFor-1)); !ok {
		t.Error("forgotten too early")
	}
	if _, ok := v.get(digest(0), set, noon.Add(rememberFor)); ok {
		t.Error("remembered for too long")
	}
	if _, ok := v.get(digest(0), &keySet{}, noon); ok {
		t.Error("remembered for other keys")
	}
	for i := range 3 * maxVerified {
		v.add([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, set, claims, noon)
		if n := len(v.young) + len(v.old); n > maxVerified {
			t.Fatalf("%d tokens are remembered", n)
		}
	}
	if _, ok := v.get(digest(0), set, noon); ok {
		t.Error("the oldest did not make room")
	}
}

func TestVerifyAlgorithms(t *testing.T) {
	curve := func(c elliptic.Curve) any { return must(ecdsa.GenerateKey(c, rand.Reader)) }
	for algorithm, key := range map[jose.SignatureAlgorithm]any{
		jose.RS256: keyA(), jose.RS384: keyA(), jose.RS512: keyA(),
		jose.ES256: curve(elliptic.P256()), jose.ES384: curve(elliptic.P384()), jose.ES512: curve(elliptic.P521()),
	} {
		signer := must(jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil))
		raw := must(must(signer.Sign(must(json.Marshal(goodClaims())))).CompactSerialize())
		public := must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.(crypto.Signer).Public(), KeyID: "k"}}}))
		v, _ := verifier(t, nil)
		if _, err := v.Verify(t.Context(), raw, Issuer{URL: issuerURL, Keys: public}); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
	}
}

func TestClaims(t *testing.T) {
	raw := must(signerA().Sign(map[string]any{
		"iss": "https://ignored.example.com", "sub": "repo:example", "aud": "sts.amazonaws.com", "azp": "app", "exp": noon.Add(time.Hour).Unix(),
		"amr": []string{"pwd"},
		"https://aws.amazon.com/tags": map[string]any{
			"principal_tags": map[string]any{"Team": []string{"a"}, "Cost": "b"}, "transitive_tag_keys": []string{"Team"}},
		"https://aws.amazon.com/source_identity": "ana",
		"other":                                  map[string]any{"deep": []any{1, nil}},
	})).Reveal()
	v, _ := verifier(t, nil)
	got, err := v.Verify(t.Context(), raw, Issuer{URL: issuerURL, Keys: signerA().JWKS()})
	want := &Claims{
		Issuer: issuerURL, Subject: "repo:example", Audiences: []string{"sts.amazonaws.com"}, AuthorizedParty: "app",
		ExpiresAt: noon.Add(time.Hour), KeyID: signerA().public.KeyID, AMR: []string{"pwd"}, SourceIdentity: "ana",
		PrincipalTags: map[string][]string{"Team": {"a"}, "Cost": {"b"}}, TransitiveTagKeys: []string{"Team"},
	}
	if err != nil || !cmp.Equal(got, want) {
		t.Fatalf("%v, %s", err, cmp.Diff(want, got))
	}
	if !got.HasAudience("sts.amazonaws.com") || got.HasAudience("pods.eks.amazonaws.com") || got.HasAudience("") {
		t.Error("HasAudience is wrong")
	}
}

func TestPodSubject(t *testing.T) {
	good := Claims{Subject: "system:serviceaccount:carts:carts", Kubernetes: &carts1}
	if got, err := good.PodSubject(); err != nil || got != carts1 {
		t.Errorf("got %v, %v", got, err)
	}
	for name, change := range map[string]func(*Claims, *identity.Subject){
		"no claim":              func(c *Claims, _ *identity.Subject) { c.Kubernetes = nil },
		"no pod":                func(_ *Claims, s *identity.Subject) { s.PodName = "" },
		"no pod uid":            func(_ *Claims, s *identity.Subject) { s.PodUID = "" },
		"no namespace":          func(c *Claims, s *identity.Subject) { s.Namespace = ""; c.Subject = s.Subject() },
		"no service account":    func(c *Claims, s *identity.Subject) { s.Name = ""; c.Subject = s.Subject() },
		"colon in namespace":    func(c *Claims, s *identity.Subject) { s.Namespace = "a:b"; c.Subject = s.Subject() },
		"sub of another":        func(c *Claims, _ *identity.Subject) { c.Subject = "system:serviceaccount:carts:admin" },
		"sub of another prefix": func(c *Claims, _ *identity.Subject) { c.Subject = "carts:carts" },
	} {
		c, s := good, carts1
		c.Kubernetes = &s
		change(&c, &s)
		var invalid *InvalidError
		if got, err := c.PodSubject(); !errors.As(err, &invalid) {
			t.Errorf("%s: got %v, %v, want an InvalidError", name, got, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []Config{{}, {Now: time.Now}, {Logger: slog.Default()}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

func TestSigner(t *testing.T) {
	claims := map[string]any{"sub": "s"}
	before := maps.Clone(claims)
	if _, err := signerA().Sign(claims); err != nil || !cmp.Equal(claims, before) {
		t.Errorf("%v, claims were changed: %s", err, cmp.Diff(before, claims))
	}
	key := must(ParseKey(must(MarshalKey(keyA()))))
	if !key.Equal(keyA()) {
		t.Error("the key is another one after encoding")
	}
	for _, der := range [][]byte{nil, []byte("x"), must(x509.MarshalPKCS8PrivateKey(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))))} {
		if _, err := ParseKey(der); err == nil {
			t.Errorf("%.10x was taken for a key", der)
		}
	}
	if _, err := NewSigner(nil, issuerURL); err == nil {
		t.Error("no key was taken")
	}
	if _, err := NewSigner(keyA(), ""); err == nil {
		t.Error("no issuer was taken")
	}

	der := must(x509.MarshalPKIXPublicKey(&keyA().PublicKey))
	sum := sha256.Sum256(der)
	var jwks struct{ Keys []map[string]string }
	if err := json.Unmarshal(signerA().JWKS(), &jwks); err != nil {
		t.Fatal(err)
	}
	want := []map[string]string{{"kty": "RSA", "use": "sig", "alg": "RS256", "e": "AQAB",
		"kid": base64.RawURLEncoding.EncodeToString(sum[:]), "n": part(keyA().N.Bytes())}}
	if !cmp.Equal(jwks.Keys, want) {
		t.Error(cmp.Diff(want, jwks.Keys))
	}
	if err := CheckKeys(signerA().JWKS()); err != nil {
		t.Error(err)
	}
}

func TestDiscoveryDocument(t *testing.T) {
	want := `{"issuer":"https://h.example.com/p","jwks_uri":"https://h.example.com/p/keys.json",` +
		`"authorization_endpoint":"urn:kubernetes:programmatic_authorization","response_types_supported":["id_token"],` +
		`"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["RS256"],"claims_supported":["sub","iss"]}`
	var got bytes.Buffer
	if err := json.Compact(&got, DiscoveryDocument("https://h.example.com/p")); err != nil || got.String() != want {
		t.Errorf("got %s, %v, want %s", got.String(), err, want)
	}
}

func TestCheckKeys(t *testing.T) {
	public := signerA().JWKS()
	one := string(public[len(`{"keys":[`) : len(public)-2])
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	many := func(n int) string { return set(strings.Split(strings.Repeat(one+"\x00", n-1)+one, "\x00")...) }
	ec := string(must(json.Marshal(jose.JSONWebKey{Key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).Public(), KeyID: "e"})))
	private := string(must(json.Marshal(jose.JSONWebKey{Key: keyA(), KeyID: "p"})))
	short := string(must(json.Marshal(jose.JSONWebKey{Key: &rsa.PublicKey{N: must(rand.Prime(rand.Reader, 1024)), E: 65537}, KeyID: "s"})))
	tests := []struct {
		name, jwks string
		want       bool
	}{
		{"RSA", set(one), true},
		{"EC", set(ec), true},
		{"one that is good among others", set(`{"kty":"oct","kid":"o","k":"AAAA"}`, `{"kty":"new","kid":"n"}`, `{}`, one), true},
		{"100 keys", many(100), true},
		{"101 keys", many(101), false},
		{"over 1 MiB", set(one) + strings.Repeat(" ", maxBody), false},
		{"none", set(), false},
		{"no kid", set(strings.Replace(one, `"kid"`, `"x"`, 1)), false},
		{"for encryption", set(strings.Replace(one, `"sig"`, `"enc"`, 1)), false},
		{"secret", set(`{"kty":"oct","kid":"o","k":"AAAA"}`), false},
		{"private", set(private), false},
		{"short", set(short), false},
		{"a single key", one, false},
		{"array", `[` + one + `]`, false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		if err := CheckKeys(json.RawMessage(tt.jwks)); (err == nil) != tt.want {
			t.Errorf("%s: got %v, want good: %v", tt.name, err, tt.want)
		}
	}
}
