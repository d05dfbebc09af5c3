package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of the algorithms
	_ "crypto/sha512"
	"math/big"
)

// algorithm is a signature algorithm of JSON web tokens.
// See https://www.rfc-editor.org/rfc/rfc7518#section-3.1.
type algorithm struct {
	hash  crypto.Hash
	curve elliptic.Curve // nil: RSA with PKCS #1 v1.5
}

// algorithms are those that AWS takes in web identities. A token never chooses beyond them: none would need no key, and
// HS256 would take the public key for a shared secret.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html.
var algorithms = map[string]algorithm{
	"RS256": {crypto.SHA256, nil}, "RS384": {crypto.SHA384, nil}, "RS512": {crypto.SHA512, nil},
	"ES256": {crypto.SHA256, elliptic.P256()}, "ES384": {crypto.SHA384, elliptic.P384()}, "ES512": {crypto.SHA512, elliptic.P521()},
}

// verifies tells whether signature is the one of text by a public key. A key of another kind than the algorithm's verifies nothing.
func (a algorithm) verifies(key any, text, signature []byte) bool {
	h := a.hash.New()
	h.Write(text)
	digest := h.Sum(nil)
	switch key := key.(type) {
	case *rsa.PublicKey:
		return a.curve == nil && rsa.VerifyPKCS1v15(key, a.hash, digest, signature) == nil
	case *ecdsa.PublicKey:
		if a.curve == nil || key.Curve != a.curve {
			return false
		}
		size := (a.curve.Params().BitSize + 7) / 8 // of each of the two numbers, one after the other
		return len(signature) == 2*size &&
			ecdsa.Verify(key, digest, new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:]))
	}
	return false
}
