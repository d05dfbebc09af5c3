package token

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// leeway is how far an issuer's clock may be ahead of ours: nbf and iat may lie so far in the future. exp gets none, so that no
// token is good for longer than it says.
const leeway = 60 * time.Second

// Config says how a Verifier works.
type Config struct {
	// Now tells the time. Required.
	Now func() time.Time
	// Logger gets failures to refresh keys. Required.
	Logger *slog.Logger
	// AllowHTTP permits issuers, and key sets of issuers, at http URLs. For loopback and labs: who can change what is fetched can
	// forge any token.
	AllowHTTP bool
	// Transport makes the transport for fetching keys, given the certificates to trust, nil for the system's. Nil means ordinary HTTP.
	Transport func(roots *x509.CertPool) http.RoundTripper
}

// Issuer is who signs tokens, and where its keys are.
type Issuer struct {
	// URL is what the iss claim must be, exactly. Without Keys it is also where discovery begins.
	URL string
	// Keys is the issuer's JSON web key set, if it was uploaded. Empty to fetch it.
	Keys json.RawMessage
	// CA is the PEM certificates to trust when fetching; empty for the system's.
	CA []byte
}

// Verifier verifies tokens and keeps issuers' keys. It is safe for concurrent use.
type Verifier struct {
	cfg      Config
	issuers  issuers
	verified verifications
}

// New makes a Verifier. [Verifier.Run] keeps its keys fresh.
func New(cfg Config) (*Verifier, error) {
	switch {
	case cfg.Now == nil:
		return nil, errors.New("token: Config.Now is required")
	case cfg.Logger == nil:
		return nil, errors.New("token: Config.Logger is required")
	}
	if cfg.Transport == nil {
		cfg.Transport = transport
	}
	return &Verifier{cfg: cfg, issuers: issuers{byID: map[issuerID]*keys{}}}, nil
}

// Verify checks a token in full, except for its audience: form, algorithm and key id, issuer, signature, times. The error is an
// [*InvalidError], an [*ExpiredError], or a fault, [ErrUnavailable].
//
// It may have to fetch the issuer's keys. Should ctx end before that does, fetching goes on in a goroutine for at most 10 seconds.
func (v *Verifier) Verify(ctx context.Context, raw string, issuer Issuer) (*Claims, error) {
	return v.verify(ctx, &Unverified{raw: raw}, issuer)
}

// VerifyParsed is [Verifier.Verify] for a token that has been taken apart already.
func (v *Verifier) VerifyParsed(ctx context.Context, token *Unverified, issuer Issuer) (*Claims, error) {
	return v.verify(ctx, token, issuer)
}

// verify takes the token apart only if it has to.
func (v *Verifier) verify(ctx context.Context, token *Unverified, issuer Issuer) (*Claims, error) {
	now := v.cfg.Now()
	known, err := v.keysOf(issuer, now)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte(token.raw))
	if claims, ok := v.verified.get(digest, known.current(), now); ok {
		if err := checkTimes(claims, now); err != nil {
			return nil, err
		}
		return claims, nil
	}
	s := token.signed
	if s == nil {
		if s, err = parse(token.raw); err != nil {
			return nil, err
		}
	}
	by, err := s.verify(ctx, issuer.URL, known)
	if err != nil {
		return nil, err
	}
	claims := s.claims
	if err := checkTimes(claims, now); err != nil {
		return nil, err
	}
	v.verified.add(digest, by, claims, now)
	return claims, nil
}

// verify checks all but the times. It returns the keys with which it did.
func (s *signed) verify(ctx context.Context, issuer string, known *keys) (*keySet, error) {
	if s.claims.Issuer != issuer {
		return nil, &InvalidError{fmt.Sprintf("its issuer is %.200q, not %q", s.claims.Issuer, issuer)}
	}
	set, err := known.get(ctx, s.claims.KeyID, s.claims.IssuedAt)
	if err != nil {
		return nil, err
	}
	key := set.byID[s.claims.KeyID]
	if key.Algorithm != "" && key.Algorithm != s.algorithm {
		return nil, &InvalidError{"its algorithm is not the one of the issuer's key"}
	}
	if !algorithms[s.algorithm].verifies(key.Key, []byte(s.text), s.signature) {
		return nil, &InvalidError{"its signature does not verify"}
	}
	return set, nil
}

func checkTimes(c *Claims, now time.Time) error {
	switch {
	case !now.Before(c.ExpiresAt):
		return &ExpiredError{now, c.ExpiresAt}
	case c.NotBefore.After(now.Add(leeway)):
		return &InvalidError{"it is not valid before " + c.NotBefore.Format(time.RFC3339)}
	case c.IssuedAt.After(now.Add(leeway)):
		return &InvalidError{"it was issued in the future, at " + c.IssuedAt.Format(time.RFC3339)}
	}
	return nil
}
