package token

import (
	"slices"
	"time"

	"github.com/podid/podid/internal/identity"
)

// Claims is what a verified token says. It may be shared between callers and must not be changed.
type Claims struct {
	Issuer          string   // iss
	Subject         string   // sub
	Audiences       []string // aud
	AuthorizedParty string   // azp; empty if absent
	ExpiresAt       time.Time
	NotBefore       time.Time // zero if absent
	IssuedAt        time.Time // zero if absent
	ID              string    // jti; empty if absent
	KeyID           string    // of the key that signed it

	// Kubernetes is the claim "kubernetes.io" of service-account tokens; nil if absent. Use PodSubject to have it checked.
	Kubernetes *identity.Subject

	// PrincipalTags and TransitiveTagKeys are the session tags of the claim "https://aws.amazon.com/tags".
	// See https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_adding-assume-role-idp.
	PrincipalTags     map[string][]string
	TransitiveTagKeys []string
	// SourceIdentity is the claim "https://aws.amazon.com/source_identity".
	// See https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html.
	SourceIdentity string
	// AMR is the claim amr, how the subject authenticated.
	AMR []string
}

// HasAudience tells whether the token was made for an audience.
func (c *Claims) HasAudience(audience string) bool { return slices.Contains(c.Audiences, audience) }

// PodSubject returns the pod that a service-account token is bound to. It is an [*InvalidError] if the token is not bound to a pod, or
// if its sub claim names another service account than its kubernetes.io claim.
// See https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#schema-for-service-account-private-claims.
func (c *Claims) PodSubject() (identity.Subject, error) {
	k := c.Kubernetes
	switch {
	case k == nil:
		return identity.Subject{}, &InvalidError{"it is not a Kubernetes service account token: it has no kubernetes.io claim"}
	case !identity.ValidNamespace(k.Namespace) || !identity.ValidServiceAccountName(k.Name):
		return identity.Subject{}, &InvalidError{"its kubernetes.io claim names no service account"}
	case k.PodName == "" || k.PodUID == "":
		return identity.Subject{}, &InvalidError{"it is not bound to a pod"}
	case c.Subject != k.Subject():
		return identity.Subject{}, &InvalidError{"its sub claim is not the service account of its kubernetes.io claim"}
	}
	return *k, nil
}
