package token

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/podid/podid/internal/identity"
)

const minRSA = 2048 // bits, of keys that we sign with and of keys that we take

// GenerateKey makes a signing key, RSA with 2048 bits as Kubernetes and EKS use. It takes some tenths of a second.
func GenerateKey() (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, minRSA)
	if err != nil {
		return nil, fmt.Errorf("generating a signing key: %w", err)
	}
	return key, nil
}

// MarshalKey encodes a signing key as PKCS #8 in DER. The result is secret: seal it before it is stored.
func MarshalKey(key *rsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("token: the signing key cannot be encoded")
	}
	return der, nil
}

// ParseKey reads what [MarshalKey] made.
func ParseKey(der []byte) (*rsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("token: the signing key is not PKCS #8")
	}
	if key, ok := key.(*rsa.PrivateKey); ok {
		return key, nil
	}
	return nil, errors.New("token: the signing key is not RSA")
}

// Signer signs tokens for one issuer with one key, by RS256. It is safe for concurrent use.
type Signer struct {
	issuer string
	signer jose.Signer
	public jose.JSONWebKey
}

// NewSigner makes a signer of tokens whose iss claim is the issuer's URL. The key must have at least 2048 bits.
func NewSigner(key *rsa.PrivateKey, issuer string) (*Signer, error) {
	switch {
	case issuer == "":
		return nil, errors.New("token: a signer needs an issuer")
	case key == nil || key.N.BitLen() < minRSA:
		return nil, fmt.Errorf("token: a signer needs an RSA key of %d bits or more", minRSA)
	}
	kid, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("making a signer for %s: %w", issuer, err)
	}
	public := jose.JSONWebKey{Key: &key.PublicKey, KeyID: kid, Algorithm: string(jose.RS256), Use: "sig"}
	return &Signer{issuer, signer, public}, nil
}

// keyID is the kid as Kubernetes makes it: base64url of the SHA-256 of the public key in DER.
func keyID(key *rsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("encoding a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// Issuer returns the iss claim of the tokens.
func (s *Signer) Issuer() string { return s.issuer }

// Sign makes a token of claims. The iss claim is the signer's, whatever the claims say.
func (s *Signer) Sign(claims map[string]any) (identity.Secret, error) {
	claims = maps.Clone(claims)
	if claims == nil {
		claims = map[string]any{}
	}
	claims["iss"] = s.issuer
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encoding claims: %w", err)
	}
	jws, err := s.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("signing a token of %s: %w", s.issuer, err)
	}
	raw, err := jws.CompactSerialize()
	return identity.Secret(raw), err
}

// ServiceAccountClaims returns the claims with which Kubernetes describes a pod in its projected tokens, ready to be signed.
// Times are cut to seconds; id becomes the jti claim. The node is left out if the subject has none.
func ServiceAccountClaims(s identity.Subject, audience, id string, issuedAt, expiresAt time.Time) map[string]any {
	kubernetes := map[string]any{
		"namespace":      s.Namespace,
		"serviceaccount": object{s.Name, s.ServiceAccountUID},
		"pod":            object{s.PodName, s.PodUID},
	}
	if s.NodeName != "" {
		kubernetes["node"] = map[string]string{"name": s.NodeName}
	}
	return map[string]any{
		"aud": []string{audience}, "sub": s.Subject(), "jti": id,
		"iat": issuedAt.Unix(), "nbf": issuedAt.Unix(), "exp": expiresAt.Unix(),
		"kubernetes.io": kubernetes,
	}
}

// JWKS returns the JSON web key set with which the tokens are verified.
func (s *Signer) JWKS() json.RawMessage {
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{s.public}})
	if err != nil {
		panic("token: encoding an RSA public key: " + err.Error()) // a key that NewSigner took can be encoded
	}
	return b
}

// DiscoveryDocument returns the OpenID Connect discovery document of an issuer that serves its keys at /keys.json under its URL, with the
// members that IAM and Kubernetes need.
// See https://github.com/aws/amazon-eks-pod-identity-webhook/blob/master/SELF_HOSTED_SETUP.md.
func DiscoveryDocument(issuer string) []byte {
	b, err := json.MarshalIndent(struct {
		Issuer        string   `json:"issuer"`
		JWKSURI       string   `json:"jwks_uri"`
		Authorization string   `json:"authorization_endpoint"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
		Claims        []string `json:"claims_supported"`
	}{
		issuer, issuer + "/keys.json", "urn:kubernetes:programmatic_authorization",
		[]string{"id_token"}, []string{"public"}, []string{"RS256"}, []string{"sub", "iss"},
	}, "", "  ")
	if err != nil {
		panic("token: encoding strings: " + err.Error())
	}
	return b
}
