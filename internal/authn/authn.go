// Package authn establishes who signed a request: a user with a long-term access key, or a role session with the credentials it was
// given. Sessions are not stored anywhere; what they are is sealed in their token, which [credential.Keyring] opens.
//
// It does not say what the caller may do (directory), and not how a refusal is spelled (wire, s3front).
package authn

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/podid/podid/internal/credential"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/sigv4"
)

// Kind says in which way authentication failed.
type Kind int

// The kinds.
const (
	Missing        Kind = iota // the request is not signed
	Incomplete                 // the signature is malformed
	UnknownKey                 // there is no such access key, or the session token is not its own
	ExpiredSession             // the session is over
	Mismatch                   // the signature is wrong, or of another time
)

// Failure is an answer: the request is not authenticated, and the message, in AWS's words, says why. Any other error of this package
// is a fault.
type Failure struct {
	Kind    Kind
	Message string
}

// Error returns the message.
func (f *Failure) Error() string { return f.Message }

// AccessKeyPurpose is what the secrets of access keys are sealed for.
const AccessKeyPurpose = "iam/access-key/"

// signingKeys bounds the derived signing keys that are remembered: 100,000 sessions with one day, region and service each.
const signingKeys = 100_000

// Authenticator authenticates requests. It is safe for concurrent use.
type Authenticator struct {
	directory *directory.Directory
	keyring   *credential.Keyring
	keys      *sigv4.Keys
	sessions  sessions
	now       func() time.Time
	used      sync.Map // of Use, by id of a long-term access key or a role
}

// New returns an authenticator.
func New(d *directory.Directory, k *credential.Keyring, now func() time.Time) *Authenticator {
	return &Authenticator{directory: d, keyring: k, keys: sigv4.NewKeys(signingKeys), now: now}
}

// Authenticate verifies the signature of a request to a service, whose body has been read, and returns the caller and the region
// of the signature's scope.
func (a *Authenticator) Authenticate(r *http.Request, service string, body []byte) (*identity.Caller, string, error) {
	sig, err := parse(r)
	if err != nil {
		return nil, "", err
	}
	if sig.Service != service {
		return nil, "", &Failure{Mismatch, "Credential should be scoped to correct service: '" + service + "'."}
	}
	caller, key, err := a.Resolve(sig)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(body)
	if err := a.verify(sig, r, key, hex.EncodeToString(sum[:])); err != nil {
		return nil, "", err
	}
	// IAM takes the sessions of roles only. Those of users would need multi-factor authentication, and AWS's words for that are these.
	// See https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html.
	if service == "iam" && caller.Session != nil && caller.Session.UserARN != "" {
		return nil, "", errUnknownKey
	}
	a.Note(caller, service, sig.Region)
	return caller, sig.Region, nil
}

func parse(r *http.Request) (*sigv4.Signature, error) {
	sig, err := sigv4.Parse(r)
	var incomplete *sigv4.IncompleteError
	switch {
	case errors.Is(err, sigv4.ErrMissing):
		return nil, &Failure{Missing, "Missing Authentication Token"}
	case errors.As(err, &incomplete):
		return nil, &Failure{Incomplete, incomplete.Reason}
	}
	return sig, err
}

func (a *Authenticator) verify(sig *sigv4.Signature, r *http.Request, key sigv4.Key, payloadHash string) error {
	err := sig.Verify(r, key, payloadHash, a.now())
	var expired *sigv4.ExpiredError
	switch {
	case errors.As(err, &expired):
		return &Failure{Mismatch, expired.Error()}
	case errors.Is(err, sigv4.ErrMismatch):
		return &Failure{Mismatch, "The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
	}
	return err
}

// Resolve finds the caller that a signature names and the key to verify it with. Nothing is proved before the signature has been
// verified with that key.
func (a *Authenticator) Resolve(sig *sigv4.Signature) (*identity.Caller, sigv4.Key, error) {
	var caller *identity.Caller
	var secret identity.Secret
	var err error
	if sig.SecurityToken != "" {
		caller, secret, err = a.session(sig)
	} else {
		caller, secret, err = a.user(sig.AccessKeyID)
	}
	if err != nil {
		return nil, sigv4.Key{}, err
	}
	caller.AccessKeyID = sig.AccessKeyID
	return caller, a.keys.Derive(secret, sig.Date, sig.Region, sig.Service), nil
}

var errUnknownKey = &Failure{UnknownKey, "The security token included in the request is invalid."}

func (a *Authenticator) session(sig *sigv4.Signature) (*identity.Caller, identity.Secret, error) {
	session, secret, err := a.sessions.open(sig.AccessKeyID, sig.SecurityToken, a.keyring.Open)
	switch {
	case errors.Is(err, credential.ErrInvalid):
		return nil, "", errUnknownKey
	case err != nil:
		return nil, "", err
	case !a.now().Before(session.ExpiresAt):
		return nil, "", &Failure{ExpiredSession, "The security token included in the request is expired"}
	}
	// The sessions of a role or user end with it, also where one of the same name has been made since.
	if !a.directory.SessionStands(session) {
		return nil, "", errUnknownKey
	}
	return SessionCaller(session), secret, nil
}

// SessionCaller is the caller that signs with a session's credentials.
func SessionCaller(session *identity.Session) *identity.Caller {
	caller := &identity.Caller{
		Type: session.Type(), AccountID: session.AccountID, ARN: session.ARN(), UserID: session.ID(), Session: session,
	}
	if caller.Type == identity.CallerUser {
		caller.UserName = session.UserARN[strings.LastIndexByte(session.UserARN, '/')+1:]
	}
	return caller
}

func (a *Authenticator) user(keyID string) (*identity.Caller, identity.Secret, error) {
	key, ok := a.directory.AccessKey(keyID)
	if !ok || key.Inactive {
		return nil, "", errUnknownKey
	}
	user, ok := a.directory.User(key.AccountID, key.UserName)
	if !ok {
		return nil, "", errUnknownKey
	}
	secret, err := a.keyring.Unseal(AccessKeyPurpose+key.ID, key.SealedSecret)
	if err != nil {
		return nil, "", err
	}
	return &identity.Caller{
		Type: identity.CallerUser, AccountID: user.AccountID, ARN: user.ARN(), UserID: user.ID, UserName: user.Name,
	}, identity.Secret(secret), nil
}

var errBearer = &Failure{Mismatch, "The bearer token is not one of `aws eks get-token` for this cluster."}

// AuthenticateBearer verifies the token with which "aws eks get-token" proves to a cluster who calls: a presigned
// GetCallerIdentity request, in which the cluster's name is signed.
// See https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster.
func (a *Authenticator) AuthenticateBearer(token, cluster string) (*identity.Caller, error) {
	encoded, ok := strings.CutPrefix(token, "k8s-aws-v1.")
	if !ok || len(encoded) > 16<<10 {
		return nil, errBearer
	}
	presigned, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errBearer
	}
	r, err := http.NewRequest(http.MethodGet, string(presigned), nil)
	if err != nil {
		return nil, errBearer
	}
	r.Header.Set("X-K8s-Aws-Id", cluster)
	sig, err := parse(r)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(sig.SignedHeaders, "x-k8s-aws-id") || !sig.Presigned || sig.Service != "sts" || r.URL.Path != "/" || r.URL.Query().Get("Action") != "GetCallerIdentity" {
		return nil, errBearer
	}
	caller, key, err := a.Resolve(sig)
	if err != nil {
		return nil, err
	}
	empty := sha256.Sum256(nil)
	return caller, a.verify(sig, r, key, hex.EncodeToString(empty[:]))
}
