package token

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/podid/podid/internal/identity"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// provider is an issuer that tests change while it runs. It is a transport, so that time can be simulated around it.
type provider struct {
	mu      sync.Mutex // guards the following
	keys    string
	header  http.Header
	failure error
	delay   time.Duration
	fetches int // of the key set
}

func (p *provider) RoundTrip(req *http.Request) (*http.Response, error) {
	p.mu.Lock()
	body, header, failure, delay := p.keys, p.header, p.failure, p.delay
	switch req.URL.Path {
	case "/id/D43CF17C27A865933144EA99A26FB128/.well-known/openid-configuration":
		body, header = string(DiscoveryDocument(issuerURL)), nil
		delay = 0
	case "/id/D43CF17C27A865933144EA99A26FB128/keys.json":
		p.fetches++
	default:
		failure = fmt.Errorf("nobody serves %s", req.URL)
	}
	p.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	if failure != nil {
		return nil, failure
	}
	return &http.Response{StatusCode: 200, Status: "200 OK", Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
}

func (p *provider) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches
}

// discovering runs a test in simulated time, with a verifier that finds the keys of issuerURL at a provider.
func discovering(t *testing.T, test func(t *testing.T, p *provider, v *Verifier, verify func(*Signer) error)) {
	keyA() // made outside, where time is real
	keyB()
	synctest.Test(t, func(t *testing.T) {
		p := &provider{keys: string(signerA().JWKS())}
		v, err := New(Config{Now: time.Now, Logger: slog.New(slog.DiscardHandler),
			Transport: func(*x509.CertPool) http.RoundTripper { return p }})
		if err != nil {
			t.Fatal(err)
		}
		verify := func(s *Signer) error {
			claims := ServiceAccountClaims(carts1, identity.PodIdentityAudience, "", time.Now(), time.Now().Add(time.Hour))
			_, err := v.Verify(t.Context(), must(s.Sign(claims)).Reveal(), Issuer{URL: issuerURL})
			return err
		}
		test(t, p, v, verify)
	})
}

func wantInvalid(t *testing.T, err error) {
	t.Helper()
	var invalid *InvalidError
	if !errors.As(err, &invalid) || errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want an InvalidError", err)
	}
}

func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	var invalid *InvalidError
	if !errors.Is(err, ErrUnavailable) || errors.As(err, &invalid) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}

func wantFetches(t *testing.T, p *provider, want int) {
	t.Helper()
	if got := p.count(); got != want {
		t.Errorf("keys were fetched %d times, want %d", got, want)
	}
}

func wantGood(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("got %v, want a good token", err)
	}
}

func TestRotation(t *testing.T) {
	discovering(t, func(t *testing.T, p *provider, _ *Verifier, verify func(*Signer) error) {
		wantGood(t, verify(signerA()))
		wantFetches(t, p, 1)

		p.set(func() { p.keys = string(signerB().JWKS()) })
		// The keys are ten seconds young at most and the token is younger: nothing can be said.
		wantUnavailable(t, verify(signerB()))
		wantFetches(t, p, 1)
		time.Sleep(cooldown)
		wantGood(t, verify(signerB()))
		wantFetches(t, p, 2)
		// The old key is gone from the issuer, and so are the tokens that were verified with it.
		time.Sleep(cooldown)
		wantInvalid(t, verify(signerA()))
	})
}

// A token that is remembered is not good any more when its issuer drops its key.
func TestRemovedKeyForgets(t *testing.T) {
	discovering(t, func(t *testing.T, p *provider, v *Verifier, verify func(*Signer) error) {
		raw := must(signerA().Sign(ServiceAccountClaims(carts1, "a", "", time.Now(), time.Now().Add(time.Hour)))).Reveal()
		_, err := v.Verify(t.Context(), raw, Issuer{URL: issuerURL})
		wantGood(t, err)
		p.set(func() { p.keys = string(signerB().JWKS()) })
		time.Sleep(cooldown)
		wantGood(t, verify(signerB()))
		_, err = v.Verify(t.Context(), raw, Issuer{URL: issuerURL})
		wantInvalid(t, err)
	})
}

func TestUnknownKeyCooldown(t *testing.T) {
	discovering(t, func(t *testing.T, p *provider, v *Verifier, verify func(*Signer) error) {
		foreign := func(kid string, issuedAt time.Time) error {
			h, c := goodHeader(), goodClaims()
			h["kid"], c["iat"], c["nbf"], c["exp"] = kid, issuedAt.Unix(), issuedAt.Unix(), time.Now().Add(time.Hour).Unix()
			_, err := v.Verify(t.Context(), forge(h, c, keyB()), Issuer{URL: issuerURL})
			return err
		}
		wantGood(t, verify(signerA()))
		time.Sleep(cooldown)
		wantInvalid(t, foreign("x", time.Now()))
		wantFetches(t, p, 2)
		for i := range 100 {
			wantInvalid(t, foreign("x", time.Now()))                             // known to be missing
			wantInvalid(t, foreign(fmt.Sprint(i), time.Now().Add(-time.Minute))) // older than our keys
			wantUnavailable(t, foreign(fmt.Sprint("new ", i), time.Now()))       // may have a newer key
			wantUnavailable(t, foreign(fmt.Sprint("future ", i), time.Now().Add(time.Second)))
		}
		wantFetches(t, p, 2)
		time.Sleep(cooldown)
		wantInvalid(t, foreign("x", time.Now()))
		wantFetches(t, p, 2)
		wantInvalid(t, foreign("y", time.Now()))
		wantFetches(t, p, 3)
		time.Sleep(missingFor)
		wantInvalid(t, foreign("x", time.Now()))
		wantFetches(t, p, 4)
		wantGood(t, verify(signerA()))
	})
}

func TestManyUnknownKeysAreNotKept(t *testing.T) {
	k := &keys{now: time.Now, missing: map[string]time.Time{}, set: must(parseKeySet(signerA().JWKS())),
		fetch: func(context.Context) ([]byte, time.Duration, error) { return signerA().JWKS(), 0, nil }}
	for i := range 2*maxMissing + 1 {
		k.tried = time.Time{} // as if it were long ago
		_, err := k.get(t.Context(), fmt.Sprint(i), time.Time{})
		wantInvalid(t, err)
	}
	if got := len(k.missing); got > maxMissing {
		t.Errorf("%d key ids are kept, want at most %d", got, maxMissing)
	}
}

func TestOutage(t *testing.T) {
	discovering(t, func(t *testing.T, p *provider, v *Verifier, verify func(*Signer) error) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go v.Run(ctx)

		p.set(func() { p.failure = errors.New("connection refused") })
		wantUnavailable(t, verify(signerA()))
		wantUnavailable(t, verify(signerA()))
		wantFetches(t, p, 0) // discovery failed before
		p.set(func() { p.failure = nil })
		wantUnavailable(t, verify(signerA())) // not asked again so soon
		time.Sleep(cooldown)
		wantGood(t, verify(signerA()))

		for name, spoil := range map[string]func(){
			"no answer": func() { p.failure = errors.New("connection refused") },
			"not JSON":  func() { p.failure, p.keys = nil, "<html>" },
			"no keys":   func() { p.failure, p.keys = nil, `{"keys":[]}` },
			"too large": func() { p.failure, p.keys = nil, string(signerB().JWKS())+strings.Repeat(" ", maxBody) },
		} {
			before := p.count()
			p.set(spoil)
			time.Sleep(minRefresh)
			synctest.Wait() // the refresh is due in this very moment
			if err := verify(signerA()); err != nil {
				t.Errorf("%s: the keys at hand were lost: %v", name, err)
			}
			if p.failure == nil && p.count() == before {
				t.Errorf("%s: no refresh was tried", name)
			}
			time.Sleep(cooldown)
			wantUnavailable(t, verify(signerB())) // an unknown key is not known to be bad
		}

		p.set(func() { p.failure = errors.New("connection refused") })
		time.Sleep(maxAge - time.Hour)
		wantGood(t, verify(signerA()))
		time.Sleep(time.Hour)
		wantUnavailable(t, verify(signerA())) // too old to be believed
		p.set(func() { p.failure, p.keys = nil, string(signerA().JWKS()) })
		time.Sleep(retryAfter + patrol)
		wantGood(t, verify(signerA()))
	})
}

func TestBackgroundRefresh(t *testing.T) {
	tests := []struct {
		header string
		want   time.Duration
	}{
		{"", minRefresh},
		{"no-store", minRefresh},
		{"public, max-age=1", minRefresh},
		{"max-age=x", minRefresh},
		{"public, Max-Age=1200, must-revalidate", 20 * time.Minute},
		{"max-age=99999999999", maxRefresh},
	}
	for _, tt := range tests {
		discovering(t, func(t *testing.T, p *provider, v *Verifier, verify func(*Signer) error) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go v.Run(ctx)
			p.set(func() { p.header = http.Header{"Cache-Control": {tt.header}} })
			wantGood(t, verify(signerA()))
			time.Sleep(tt.want - time.Second)
			wantFetches(t, p, 1)
			time.Sleep(patrol + time.Second)
			wantFetches(t, p, 2)
			if t.Failed() {
				t.Fatalf("Cache-Control %q", tt.header)
			}
		})
	}
}

func TestUnusedIssuersAreDropped(t *testing.T) {
	discovering(t, func(t *testing.T, p *provider, v *Verifier, verify func(*Signer) error) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go v.Run(ctx)
		wantGood(t, verify(signerA()))
		time.Sleep(unusedFor + patrol)
		before := p.count()
		time.Sleep(unusedFor)
		wantFetches(t, p, before)
		synctest.Wait() // for the patrol of this very moment
		if got := len(v.issuers.byID); got != 0 {
			t.Errorf("%d issuers are kept", got)
		}
		wantGood(t, verify(signerA()))
	})
}

func TestIssuersAreBounded(t *testing.T) {
	v, clock := verifier(t, nil)
	raw := must(signerA().Sign(podClaims())).Reveal()
	for i := range maxIssuers + 1 {
		clock.advance(time.Millisecond)
		if _, err := v.keysOf(Issuer{URL: fmt.Sprint("https://example.com/", i)}, clock.now()); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(v.issuers.byID); got != maxIssuers {
		t.Errorf("%d issuers are kept, want %d", got, maxIssuers)
	}
	if v.issuers.byID[issuerID{url: "https://example.com/0"}] != nil {
		t.Error("the one unused for longest is still there")
	}
	if _, err := v.Verify(t.Context(), raw, Issuer{URL: issuerURL, Keys: signerA().JWKS()}); err != nil {
		t.Error(err)
	}
}

// However many wait for the keys, they are fetched once, and one who goes away does not stop it.
func TestFetchOnce(t *testing.T) {
	discovering(t, func(t *testing.T, p *provider, v *Verifier, verify func(*Signer) error) {
		p.set(func() { p.delay = 5 * time.Second })
		raw := must(signerA().Sign(ServiceAccountClaims(carts1, "a", "", time.Now(), time.Now().Add(time.Hour)))).Reveal()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := v.Verify(impatient, raw, Issuer{URL: issuerURL})
		wantUnavailable(t, err)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline in it", err)
		}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { wantGood(t, verify(signerA())) })
		}
		wg.Wait()
		wantFetches(t, p, 1)
	})
}

// Keys that were being fetched when a token was made say nothing about the token.
func TestTokenNewerThanFetch(t *testing.T) {
	discovering(t, func(t *testing.T, p *provider, _ *Verifier, verify func(*Signer) error) {
		p.set(func() { p.delay = 5 * time.Second })
		var wg sync.WaitGroup
		wg.Go(func() { wantGood(t, verify(signerA())) })
		time.Sleep(2 * time.Second)
		p.set(func() { p.keys = string(signerB().JWKS()) })
		wantUnavailable(t, verify(signerB()))
		wg.Wait()
		wantFetches(t, p, 1)
		time.Sleep(cooldown)
		wantGood(t, verify(signerB()))
	})
}

// Of two who found that keys should be fetched, the slower one does not fetch them again.
func TestFetchedMeanwhile(t *testing.T) {
	fetches := 0
	k := &keys{now: time.Now, fetch: func(context.Context) ([]byte, time.Duration, error) { fetches++; return signerA().JWKS(), 0, nil }}
	k.renewNow(t.Context())
	k.renewNow(t.Context())
	if fetches != 1 {
		t.Errorf("keys were fetched %d times, want 1", fetches)
	}
}

// Verified tokens stay remembered when a refresh brings the same keys.
func TestSameKeysStay(t *testing.T) {
	k := &keys{now: time.Now, fetch: func(context.Context) ([]byte, time.Duration, error) { return signerA().JWKS(), 0, nil }}
	if err := k.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := k.current()
	if err := k.renew(t.Context()); err != nil || k.current() != before {
		t.Errorf("%v, or the set is another one", err)
	}
}

func TestFetchDeadline(t *testing.T) {
	discovering(t, func(t *testing.T, p *provider, _ *Verifier, verify func(*Signer) error) {
		p.set(func() { p.delay = time.Hour })
		began := time.Now()
		wantUnavailable(t, verify(signerA()))
		if took := time.Since(began); took != fetchTimeout {
			t.Errorf("gave up after %s, want %s", took, fetchTimeout)
		}
	})
}

// The real transport, with a certificate of the cluster's own, against a server that does what it should and then what it should not.
func TestDiscovery(t *testing.T) {
	var document, keys http.HandlerFunc
	mux := http.NewServeMux()
	mux.HandleFunc("/p/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) { document(w, r) })
	mux.HandleFunc("/p/keys.json", func(w http.ResponseWriter, r *http.Request) { keys(w, r) })
	server := httptest.NewUnstartedServer(mux)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	defer server.Close()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(signerA().JWKS())
	}))
	defer elsewhere.Close()
	url := server.URL + "/p"
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	signer := must(NewSigner(keyA(), url))
	raw := must(signer.Sign(podClaims())).Reveal()
	say := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	goodDocument, goodKeys := say(DiscoveryDocument(url)), say(signer.JWKS())
	other := func(issuer, uri string) http.HandlerFunc {
		return say(must(json.Marshal(map[string]string{"issuer": issuer, "jwks_uri": uri})))
	}
	acceptable := func(w http.ResponseWriter, r *http.Request) { // as Kubernetes, whose key set has a media type of its own
		if accept := r.Header.Get("Accept"); accept != "" && !strings.Contains(accept, "jwk-set+json") && !strings.Contains(accept, "*/*") {
			w.WriteHeader(http.StatusNotAcceptable)
			return
		}
		goodKeys(w, r)
	}
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { goodKeys(w, r) })

	tests := []struct {
		name           string
		document, keys http.HandlerFunc
		ca             []byte
		want           string // in the error; empty for none
	}{
		{"good", goodDocument, goodKeys, ca, ""},
		{"keys of another media type", goodDocument, acceptable, ca, ""},
		{"redirect on the same host", goodDocument, redirect("/moved"), ca, ""},
		{"redirect to another host", goodDocument, redirect(elsewhere.URL + "/p/keys.json"), ca, "another host"},
		{"document redirected to another host", redirect(elsewhere.URL), goodKeys, ca, "another host"},
		{"endless redirects", goodDocument, redirect("/p/keys.json"), ca, "too many"},
		{"unknown certificate", goodDocument, goodKeys, nil, "certificate"},
		{"CA without a certificate", goodDocument, goodKeys, []byte("x"), "no certificate"},
		{"document of another issuer", other("https://other.example.com", url+"/keys.json"), goodKeys, ca, "is of issuer"},
		{"document without keys", other(url, ""), goodKeys, ca, "not a URL"},
		{"keys at an http URL", other(url, elsewhere.URL+"/keys.json"), goodKeys, ca, "https"},
		{"keys in a file", other(url, "file:///etc/passwd"), goodKeys, ca, "not a URL"},
		{"document too large", say([]byte(`{"issuer":"` + strings.Repeat("x", maxBody) + `"}`)), goodKeys, ca, "over the limit"},
		{"keys too large", goodDocument, say(append(signer.JWKS(), strings.Repeat(" ", maxBody)...)), ca, "over the limit"},
		{"document is not JSON", say([]byte("<html>")), goodKeys, ca, "discovery document"},
		{"no document", http.NotFound, goodKeys, ca, "404"},
		{"server error", goodDocument, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, ca, "500"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			document, keys = tt.document, tt.keys
			var log bytes.Buffer
			v, _ := verifier(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			_, err := v.Verify(t.Context(), raw, Issuer{URL: url, CA: tt.ca})
			tells := tt.want != "" && tt.want != "no certificate" // which nothing is fetched with
			if got := log.Len() > 0 && strings.Contains(log.String(), tt.want); got != tells {
				t.Errorf("the log is %q; that it tells of %q is %v, want %v", log.String(), tt.want, got, tells)
			}
			if tt.want == "" {
				wantGood(t, err)
				return
			}
			wantUnavailable(t, err)
			if err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to tell of %q", err, tt.want)
			}
		})
	}
}

func TestAllowHTTP(t *testing.T) {
	var url string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys.json" {
			_, _ = w.Write(signerA().JWKS())
			return
		}
		_, _ = w.Write(DiscoveryDocument(url))
	}))
	defer server.Close()
	url = server.URL
	raw := must(must(NewSigner(keyA(), url)).Sign(podClaims())).Reveal()
	v, _ := verifier(t, nil)
	_, err := v.Verify(t.Context(), raw, Issuer{URL: url})
	wantUnavailable(t, err)
	v, _ = verifier(t, func(c *Config) { c.AllowHTTP = true })
	_, err = v.Verify(t.Context(), raw, Issuer{URL: url})
	wantGood(t, err)
}

func BenchmarkVerify(b *testing.B) {
	raw := must(signerA().Sign(podClaims())).Reveal()
	issuer := Issuer{URL: issuerURL, Keys: signerA().JWKS()}
	for _, cached := range []bool{false, true} {
		b.Run(fmt.Sprintf("cached=%v", cached), func(b *testing.B) {
			v, clock := verifier(b, nil)
			clock.t = noon.Add(time.Minute)
			b.ReportAllocs()
			for b.Loop() {
				if !cached {
					clear(v.verified.young)
				}
				if _, err := v.Verify(b.Context(), raw, issuer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
