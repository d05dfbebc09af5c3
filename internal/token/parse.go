package token

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json" // case-sensitive, and refuses an object that has a key twice

	"github.com/podid/podid/internal/identity"
)

const (
	maxToken = 16 << 10 // bytes; a service-account token has about 1,000
	maxKeyID = 256      // bytes
)

// signed is a token taken apart, of which nothing has been verified.
type signed struct {
	algorithm string
	keyID     string
	text      string // what was signed
	signature []byte
	claims    *Claims
}

// encoding of the three parts. It refuses what it would not have written itself: one token has one spelling.
var encoding = base64.RawURLEncoding.Strict()

// Unverified is a token taken apart, of which nothing is known to be true.
type Unverified struct {
	raw    string
	signed *signed
}

// Parse takes a token apart for those who have to find out whose it says that it is. Its form is checked as strictly as by
// [Verifier.Verify].
func Parse(raw string) (*Unverified, error) {
	s, err := parse(raw)
	if err != nil {
		return nil, err
	}
	return &Unverified{raw, s}, nil
}

// Issuer is what the token claims to be from: only for choosing the issuer to verify it with.
func (u *Unverified) Issuer() string { return u.signed.claims.Issuer }

func parse(raw string) (*signed, error) {
	switch {
	case raw == "":
		return nil, &InvalidError{"it is empty"}
	case len(raw) > maxToken:
		return nil, &InvalidError{fmt.Sprintf("it is longer than %d bytes", maxToken)}
	}
	parts, ok := compact(raw)
	if !ok {
		return nil, &InvalidError{"it is not three parts of base64url joined by dots, and nothing else"}
	}
	s := &signed{text: raw[:len(raw)-len(parts[2])-1]}
	if err := s.readHeader(parts[0]); err != nil {
		return nil, err
	}
	var err error
	if s.signature, err = encoding.DecodeString(parts[2]); err != nil {
		return nil, &InvalidError{"its signature is not base64url"}
	}
	var p payload
	encoded, err := encoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(encoded, &p)
	}
	if err != nil {
		return nil, &InvalidError{"its claims are not a JSON object with the right types and each key once"}
	}
	if s.claims, err = p.claims(); err != nil {
		return nil, err
	}
	s.claims.KeyID = s.keyID
	return s, nil
}

// readHeader reads the protected header. Extensions that must be understood are not.
// See https://www.rfc-editor.org/rfc/rfc7515#section-4.1.
func (s *signed) readHeader(part string) error {
	var header struct {
		Algorithm string          `json:"alg"`
		KeyID     string          `json:"kid"`
		Critical  json.RawMessage `json:"crit"`
	}
	encoded, err := encoding.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(encoded, &header)
	}
	_, known := algorithms[header.Algorithm]
	switch {
	case header.Critical != nil:
		return &InvalidError{"its header has an extension that must be understood (crit), and none is"}
	case err != nil || !known:
		return &InvalidError{"it is not a JSON web token signed with RS256, RS384, RS512, ES256, ES384 or ES512"}
	case header.KeyID == "":
		return &InvalidError{"its header has no kid"}
	case len(header.KeyID) > maxKeyID:
		return &InvalidError{fmt.Sprintf("its kid is longer than %d bytes", maxKeyID)}
	}
	s.algorithm, s.keyID = header.Algorithm, header.KeyID
	return nil
}

// base64url are the characters of base64url, by their bytes.
var base64url = func() (table [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		table[c] = true
	}
	return table
}()

// compact takes apart a token of three non-empty parts of base64url. Decoders skip line breaks; a token must not have any.
func compact(raw string) (parts [3]string, ok bool) {
	rest := raw
	for i := range 2 {
		if parts[i], rest, ok = strings.Cut(rest, "."); !ok {
			return parts, false
		}
	}
	parts[2] = rest
	for _, part := range parts {
		if part == "" {
			return parts, false
		}
		for i := range len(part) {
			if !base64url[part[i]] {
				return parts, false
			}
		}
	}
	return parts, true
}

// payload is the claims as they are spelled.
type payload struct {
	Issuer          string   `json:"iss"`
	Subject         string   `json:"sub"`
	Audiences       texts    `json:"aud"`
	AuthorizedParty string   `json:"azp"`
	ExpiresAt       *float64 `json:"exp"`
	NotBefore       *float64 `json:"nbf"`
	IssuedAt        *float64 `json:"iat"`
	ID              string   `json:"jti"`
	Kubernetes      *struct {
		Namespace      string `json:"namespace"`
		ServiceAccount object `json:"serviceaccount"`
		Pod            object `json:"pod"`
		Node           object `json:"node"`
	} `json:"kubernetes.io"`
	Tags struct {
		Principal  map[string]texts `json:"principal_tags"`
		Transitive []string         `json:"transitive_tag_keys"`
	} `json:"https://aws.amazon.com/tags"`
	SourceIdentity string `json:"https://aws.amazon.com/source_identity"`
	AMR            texts  `json:"amr"`
}

type object struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// texts is a string or an array of strings.
type texts []string

// UnmarshalJSON reads either form.
func (t *texts) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*t = texts{""}
		return json.Unmarshal(b, &(*t)[0])
	}
	return json.Unmarshal(b, (*[]string)(t))
}

func (p *payload) claims() (*Claims, error) {
	c := &Claims{
		Issuer:            p.Issuer,
		Subject:           p.Subject,
		Audiences:         p.Audiences,
		AuthorizedParty:   p.AuthorizedParty,
		ID:                p.ID,
		TransitiveTagKeys: p.Tags.Transitive,
		SourceIdentity:    p.SourceIdentity,
		AMR:               p.AMR,
	}
	switch {
	case c.Issuer == "":
		return nil, &InvalidError{"it has no iss claim"}
	case c.Subject == "":
		return nil, &InvalidError{"it has no sub claim"}
	case p.ExpiresAt == nil:
		return nil, &InvalidError{"it has no exp claim"}
	}
	for _, t := range []struct {
		name string
		from *float64
		to   *time.Time
	}{{"exp", p.ExpiresAt, &c.ExpiresAt}, {"nbf", p.NotBefore, &c.NotBefore}, {"iat", p.IssuedAt, &c.IssuedAt}} {
		if t.from == nil {
			continue
		}
		const year9999 = 253402300799
		if !(0 < *t.from && *t.from <= year9999) {
			return nil, &InvalidError{"its " + t.name + " claim is not a time in seconds since 1970"}
		}
		*t.to = time.Unix(int64(*t.from), 0).UTC()
	}
	if len(p.Tags.Principal) > 0 {
		c.PrincipalTags = make(map[string][]string, len(p.Tags.Principal))
		for key, values := range p.Tags.Principal {
			c.PrincipalTags[key] = values
		}
	}
	if k := p.Kubernetes; k != nil {
		c.Kubernetes = &identity.Subject{
			ServiceAccount:    identity.ServiceAccount{Namespace: k.Namespace, Name: k.ServiceAccount.Name},
			ServiceAccountUID: k.ServiceAccount.UID,
			PodName:           k.Pod.Name,
			PodUID:            k.Pod.UID,
			NodeName:          k.Node.Name,
		}
	}
	return c, nil
}
