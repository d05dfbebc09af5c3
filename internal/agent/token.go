package agent

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/podid/podid/internal/identity"
)

// The reasons why a token is refused here, in the words of Amazon's agent.
var (
	errSegments    = errors.New("token is malformed: token contains an invalid number of segments")
	errHeader      = errors.New("token is malformed: could not base64 decode header")
	errHeaderJSON  = errors.New("token is malformed: could not JSON decode header")
	errClaim       = errors.New("token is malformed: could not base64 decode claim")
	errClaimJSON   = errors.New("token is malformed: could not JSON decode claim")
	errNoExpiry    = errors.New("token has invalid claims: token is missing required claim: exp claim is required")
	errExpired     = errors.New("token has invalid claims: token is expired")
	errNotYetValid = errors.New("token has invalid claims: token is not valid yet")
)

// clockSkew is how far the clock of the node may be behind that of the token's issuer, so that a pod's brand-new token is not
// refused. There is none for the expiry: kubelets renew tokens long before it.
const clockSkew = time.Minute

// claims is what a token says about itself. Nothing of it is verified, so it may only decide what costs nobody else anything:
// that a token is not worth sending upstream, and, once upstream has accepted the token, which pod it belongs to.
type claims struct {
	subject   identity.Subject // zero if the token does not name a pod and a service account by valid names
	notBefore time.Time        // zero if the token does not say
	expiresAt time.Time
}

// parseToken reads the claims of a service-account token.
// See https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens.
func parseToken(token string) (claims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return claims{}, errSegments
	}
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return claims{}, errHeader
	}
	if !json.Valid(header) || !bytes.HasPrefix(header, []byte("{")) {
		return claims{}, errHeaderJSON
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims{}, errClaim
	}
	type object struct{ Name, UID string }
	var body struct {
		Exp, Nbf   float64
		Kubernetes struct {
			Namespace      string
			Pod            object
			ServiceAccount object
		} `json:"kubernetes.io"`
	}
	if err := json.Unmarshal(payload, &body); err != nil {
		return claims{}, errClaimJSON
	}
	if !validEpoch(body.Exp) {
		return claims{}, errNoExpiry
	}
	c := claims{expiresAt: time.Unix(int64(body.Exp), 0)}
	if validEpoch(body.Nbf) {
		c.notBefore = time.Unix(int64(body.Nbf), 0)
	}
	k := body.Kubernetes
	if identity.ValidNamespace(k.Namespace) && identity.ValidServiceAccountName(k.ServiceAccount.Name) &&
		identity.ValidServiceAccountName(k.Pod.Name) && 0 < len(k.Pod.UID) && len(k.Pod.UID) <= 64 {
		c.subject = identity.Subject{
			ServiceAccount: identity.ServiceAccount{Namespace: k.Namespace, Name: k.ServiceAccount.Name},
			PodName:        k.Pod.Name,
			PodUID:         k.Pod.UID,
		}
	}
	return c, nil
}

// check refuses a token that upstream would refuse at this time anyway.
func (c claims) check(now time.Time) error {
	switch {
	case !now.Before(c.expiresAt):
		return errExpired
	case now.Add(clockSkew).Before(c.notBefore):
		return errNotYetValid
	}
	return nil
}

// pod is the key under which the credentials of the token's pod are kept. A token that names no pod is a pod of its own.
func (c claims) pod(f fingerprint) string {
	if c.subject.PodUID == "" {
		return string(f[:])
	}
	return c.subject.Namespace + "/" + c.subject.Name + "/" + c.subject.PodUID
}

// name is how the token's pod is called in messages.
func (c claims) name() string {
	if c.subject.PodName == "" {
		return "this token"
	}
	return "pod " + c.subject.Namespace + "/" + c.subject.PodName
}
