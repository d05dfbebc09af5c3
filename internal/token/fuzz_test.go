package token

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// FuzzParse: a token that parses has the form that the API documents, and an issuer; everything else is an InvalidError.
func FuzzParse(f *testing.F) {
	f.Add(forge(goodHeader(), goodClaims(), keyA()))
	f.Add(hs256([]byte("secret")))
	f.Fuzz(func(t *testing.T, raw string) {
		token, err := Parse(raw)
		var invalid *InvalidError
		switch {
		case err != nil && !errors.As(err, &invalid):
			t.Errorf("got %v, want an InvalidError", err)
		case err == nil && (token.Issuer() == "" || strings.Count(raw, ".") != 2 || strings.ContainsAny(raw, " \r\n=") || len(raw) > maxToken):
			t.Errorf("%q was taken", raw)
		}
	})
}

// FuzzVerify: whatever is done to a good token's header or claims, it is refused, as its signature is not made anew.
func FuzzVerify(f *testing.F) {
	good := strings.Split(forge(goodHeader(), goodClaims(), keyA()), ".")
	issuer := Issuer{URL: issuerURL, Keys: signerA().JWKS()}
	v, err := New(Config{Now: func() time.Time { return noon }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"alg":"RS256","kid":"`+signerA().public.KeyID+`"}`, `{"iss":"`+issuerURL+`","sub":"s","exp":2000000000}`)
	f.Add(`{"alg":"none","kid":"x"}`, `{"iss":"`+issuerURL+`","iss":"x","sub":"s","exp":1}`)
	f.Fuzz(func(t *testing.T, header, payload string) {
		for _, raw := range []string{
			part(header) + "." + part(payload) + "." + good[2],
			part(header) + "." + good[1] + "." + good[2],
			good[0] + "." + part(payload) + "." + good[2],
		} {
			if raw == strings.Join(good, ".") {
				continue
			}
			claims, err := v.Verify(t.Context(), raw, issuer)
			var invalid *InvalidError
			if claims != nil || !errors.As(err, &invalid) {
				t.Errorf("%s: got %v, %v, want an InvalidError", raw, claims, err)
			}
		}
	})
}
