package credential

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/podid/podid/internal/identity"
)

// tokenPrefix begins every session token, so that one that has leaked is recognised. The rest is base64.
const tokenPrefix = "podid/"

// maxToken is the longest session token, in characters. It travels in a header, or in a URL.
const maxToken = 16 << 10

const sessionKind = "podid/session/v1"

// noPadding refuses what it would not have written itself: one token has one spelling.
var noPadding = base64.RawStdEncoding.Strict()

// Mint makes credentials for a session: an access key id that carries the account, a secret, and a token that has the session sealed
// in it and is bound to the access key id. It fails for a session without an account or that makes a token longer than 16 KiB.
func (k *Keyring) Mint(session *identity.Session) (identity.Credentials, error) {
	if !identity.ValidAccountID(session.AccountID) {
		return identity.Credentials{}, fmt.Errorf("minting credentials: %q is not an account id", session.AccountID)
	}
	plain, err := json.Marshal(session)
	if err != nil {
		return identity.Credentials{}, fmt.Errorf("encoding a session: %w", err)
	}
	id := identity.NewID(rand.Reader, identity.TemporaryAccessKey, session.AccountID)
	box, boxSecret, err := k.seal(sessionKind, id, plain)
	if err != nil {
		return identity.Credentials{}, fmt.Errorf("minting credentials: %w", err)
	}
	secret, err := secretAccessKey(boxSecret)
	if err != nil {
		return identity.Credentials{}, fmt.Errorf("minting credentials: %w", err)
	}
	token := tokenPrefix + noPadding.EncodeToString(box)
	if len(token) > maxToken {
		return identity.Credentials{}, fmt.Errorf("minting credentials: a token of %d characters is too long", len(token))
	}
	return identity.Credentials{
		AccessKeyID: id, SecretAccessKey: secret, SessionToken: identity.Secret(token), ExpiresAt: session.ExpiresAt,
	}, nil
}

// Open returns the session that a token carries, and the secret access key that belongs to it. It returns [ErrInvalid] on any
// doubt: a token that was changed, that is of another access key or of another installation.
//
// It does not judge whether the session has expired: the caller has the clock, and must compare [identity.Session].ExpiresAt.
// Nor does it prove that the caller holds the secret: the signature of the request does.
func (k *Keyring) Open(accessKeyID string, token identity.Secret) (*identity.Session, identity.Secret, error) {
	text, ok := strings.CutPrefix(token.Reveal(), tokenPrefix)
	if !ok || len(token) > maxToken {
		return nil, "", ErrInvalid
	}
	box, err := noPadding.DecodeString(text)
	if err != nil || noPadding.EncodedLen(len(box)) != len(text) { // the decoder skips line breaks
		return nil, "", ErrInvalid
	}
	plain, boxSecret, err := k.open(sessionKind, accessKeyID, box)
	if err != nil {
		return nil, "", err
	}
	session := new(identity.Session)
	if err := json.Unmarshal(plain, session); err != nil {
		return nil, "", fmt.Errorf("decoding a session: %w", err)
	}
	secret, err := secretAccessKey(boxSecret)
	if err != nil {
		return nil, "", err
	}
	return session, secret, nil
}

// secretAccessKey derives the secret of a session from what its token's key is derived from. It need not be in the token, which
// so is shorter, and it looks like AWS's: 40 characters.
func secretAccessKey(boxSecret []byte) (identity.Secret, error) {
	raw, err := hkdf.Expand(sha256.New, boxSecret, "podid/session-secret/v1", 30)
	if err != nil {
		return "", fmt.Errorf("deriving a secret access key: %w", err)
	}
	return identity.Secret(base64.StdEncoding.EncodeToString(raw)), nil
}
