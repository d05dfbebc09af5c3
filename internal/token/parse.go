package token

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // case-sensitive, and refuses an object that has a key twice

	"github.com/podid/podid/internal/identity"
)

const (
	maxToken = 16 << 10 // bytes; a service-account token has about 1,000
	maxKeyID = 256      // bytes
)

// algorithms are those that AWS takes in web identities. A token never chooses beyond them: none would need no key, and
// HS256 would take the public key for a shared secret.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512}

// signed is a token taken apart, of which nothing has been verified.
type signed struct {
	jws       *jose.JSONWebSignature
	algorithm string
	claims    *Claims
}

// Peek returns the issuer that a token claims to be from, unverified: only for choosing the issuer to verify it with. The form of
// the token is checked as strictly as by [Verifier.Verify].
func Peek(raw string) (issuer string, err error) {
	s, err := parse(raw)
	if err != nil {
		return "", err
	}
	return s.claims.Issuer, nil
}

func parse(raw string) (*signed, error) {
	switch {
	case raw == "":
		return nil, &InvalidError{"it is empty"}
	case len(raw) > maxToken:
		return nil, &InvalidError{fmt.Sprintf("it is longer than %d bytes", maxToken)}
	case !compact(raw):
		return nil, &InvalidError{"it is not three parts of base64url joined by dots, and nothing else"}
	}
	jws, err := jose.ParseSignedCompact(raw, algorithms)
	if err != nil {
		return nil, &InvalidError{"it is not a JSON web token signed with RS256, RS384, RS512, ES256, ES384 or ES512"}
	}
	header := jws.Signatures[0].Protected
	switch {
	case header.KeyID == "":
		return nil, &InvalidError{"its header has no kid"}
	case len(header.KeyID) > maxKeyID:
		return nil, &InvalidError{fmt.Sprintf("its kid is longer than %d bytes", maxKeyID)}
	}
	var p payload
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &p); err != nil {
		return nil, &InvalidError{"its claims are not a JSON object with the right types and each key once"}
	}
	claims, err := p.claims()
	if err != nil {
		return nil, err
	}
	claims.KeyID = header.KeyID
	return &signed{jws, header.Algorithm, claims}, nil
}

// compact tells whether a token is three non-empty parts of base64url. Decoders skip line breaks; a header must not have any.
func compact(raw string) bool {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return false
	}
	for _, part := range parts {
		if part == "" {
			return false
		}
		for i := range len(part) {
			c := part[i]
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
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
