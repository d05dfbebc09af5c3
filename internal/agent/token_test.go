package agent

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/podid/podid/internal/identity"
)

func TestParseToken(t *testing.T) {
	at := time.Unix(1707563935, 0)
	got, err := parseToken(token("web-1", 1, at))
	if err != nil {
		t.Fatal(err)
	}
	want := claims{
		subject: identity.Subject{
			ServiceAccount: identity.ServiceAccount{Namespace: "carts", Name: "carts"},
			PodName:        "web-1", PodUID: "5a20f883-0000-4000-8000-web-1",
		},
		notBefore: at.Add(-100 * time.Hour), expiresAt: at,
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	good := encode(`{"alg":"RS256"}`)
	for text, want := range map[string]error{
		"a":                                      errSegments,
		"a.b":                                    errSegments,
		"a.b.c.d":                                errSegments,
		"a..c":                                   errSegments,
		"Bearer x.y.z":                           errHeader,
		encode("no") + ".e30.c":                  errHeaderJSON,
		encode("[]") + ".e30.c":                  errHeaderJSON,
		good + ".e30=.c":                         errClaim,
		good + "." + encode("no.c"):              errSegments,
		good + "." + encode("no") + ".c":         errClaimJSON,
		good + ".e30.c":                          errNoExpiry,
		good + "." + encode(`{"exp":-1}`) + ".c": errNoExpiry,
		good + "." + encode(`{"exp":1e300}`) + ".c":                     errNoExpiry,
		good + "." + encode(`{"exp":"1707563935"}`) + ".c":              errClaimJSON,
		good + "." + encode(`{"exp":1,"kubernetes.io":"carts"}`) + ".c": errClaimJSON,
	} {
		if _, err := parseToken(text); !errors.Is(err, want) {
			t.Errorf("parseToken(%q): %v, want %v", text, err, want)
		}
	}
}

// A token with names that no cluster gives is left to upstream, but belongs to no pod: whoever forges one must not be able to
// name another's pod in another way, or to write what he likes into the log.
func TestOddNames(t *testing.T) {
	for _, k := range []map[string]any{
		nil,
		{"namespace": "a/b", "pod": map[string]string{"name": "p", "uid": "1"}, "serviceaccount": map[string]string{"name": "s"}},
		{"namespace": "a", "pod": map[string]string{"name": "p"}, "serviceaccount": map[string]string{"name": "s"}},
		{"namespace": "a", "pod": map[string]string{"name": "p\n", "uid": "1"}, "serviceaccount": map[string]string{"name": "s"}},
		{"namespace": "a", "pod": map[string]string{"name": "p", "uid": strings.Repeat("1", 65)},
			"serviceaccount": map[string]string{"name": "s"}},
	} {
		c, err := parseToken(tokenOf(map[string]any{"exp": 1707563935, "kubernetes.io": k}, "s"))
		if err != nil || c.subject != (identity.Subject{}) {
			t.Errorf("%v: subject %+v, %v, want none", k, c.subject, err)
		}
		if a, b := c.pod(fingerprint{1}), c.pod(fingerprint{2}); a == b {
			t.Errorf("%v: two tokens share %q", k, a)
		}
	}
}

func TestCheckClaims(t *testing.T) {
	now := time.Unix(1707563935, 0)
	for _, tt := range []struct {
		notBefore, expires time.Duration
		want               error
	}{
		{-time.Hour, time.Hour, nil},
		{-time.Hour, 0, errExpired},
		{-time.Hour, time.Second, nil},
		{30 * time.Second, time.Hour, nil}, // the node's clock is behind
		{61 * time.Second, time.Hour, errNotYetValid},
	} {
		c := claims{notBefore: now.Add(tt.notBefore), expiresAt: now.Add(tt.expires)}
		if err := c.check(now); !errors.Is(err, tt.want) {
			t.Errorf("valid from %v to %v: %v, want %v", tt.notBefore, tt.expires, err, tt.want)
		}
	}
	if err := (claims{expiresAt: now.Add(1)}).check(now); err != nil {
		t.Errorf("without nbf: %v", err)
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(token("web-1", 1, time.Unix(1707563935, 0)))
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJleHAiOjF9.")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseToken(text)
		if err != nil {
			if len(text) > 20 && strings.Contains(err.Error(), text) {
				t.Errorf("the error quotes the token: %v", err)
			}
			return
		}
		if year := c.expiresAt.UTC().Year(); year < 1970 || year > 9999 {
			t.Errorf("expires in the year %d", year)
		}
		s := c.subject
		if s != (identity.Subject{}) && (s.PodUID == "" || !identity.ValidNamespace(s.Namespace) || !utf8.ValidString(s.PodName)) {
			t.Errorf("subject %+v", s)
		}
	})
}
