package local

import (
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/token"
)

// Life of tokens in seconds. Like EKS this cluster shortens what is asked for beyond a day, without an error.
// See https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/.
const (
	minExpiration     = 600
	maxExpiration     = 86400
	defaultExpiration = 3600
	endOfExpiration   = 1 << 32 // beyond this it is an error
)

type tokenRequest struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   objectMeta     `json:"metadata"`
	Spec       tokenSpec      `json:"spec"`
	Status     *tokenResponse `json:"status,omitempty"`
}

type objectMeta struct {
	Name              string    `json:"name,omitempty"`
	Namespace         string    `json:"namespace,omitempty"`
	CreationTimestamp time.Time `json:"creationTimestamp,omitzero"`
}

type tokenSpec struct {
	Audiences         []string `json:"audiences"`
	ExpirationSeconds *int64   `json:"expirationSeconds"`
	BoundObjectRef    *ref     `json:"boundObjectRef"`
}

type ref struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
}

type tokenResponse struct {
	Token               string    `json:"token"` // revealed: this is where it is handed over
	ExpirationTimestamp time.Time `json:"expirationTimestamp"`
}

// createToken gives a service account a token, bound to a pod. Whether there was such a pod is not known here; who may ask for
// tokens may ask for any.
func (c *Cluster) createToken(r *http.Request) (*answer, error) {
	account, err := requestedAccount(r)
	if err != nil {
		return nil, err
	}
	var in tokenRequest
	if err := readJSON(r, maxTokenRequestBytes, &in); err != nil {
		return nil, err
	}
	if err := in.complete(c.cfg.Signer.Issuer()); err != nil {
		return nil, err
	}
	now := c.cfg.Now().UTC().Truncate(time.Second)
	expires := now.Add(time.Duration(*in.Spec.ExpirationSeconds) * time.Second)
	pod := in.Spec.BoundObjectRef
	claims := token.ServiceAccountClaims(identity.Subject{
		ServiceAccount:    account,
		ServiceAccountUID: c.uid(account),
		PodName:           pod.Name,
		PodUID:            pod.UID,
		NodeName:          NodeName,
	}, "", identity.NewUUID(c.cfg.Random), now, expires)
	claims["aud"] = in.Spec.Audiences
	signed, err := c.cfg.Signer.Sign(claims)
	if err != nil {
		return nil, fmt.Errorf("signing token of %s: %w", account.Subject(), err)
	}
	c.cfg.Logger.InfoContext(r.Context(), "token issued", "cluster", c.cfg.Name, "namespace", account.Namespace,
		"service_account", account.Name, "pod", pod.Name)
	in.Metadata = objectMeta{account.Name, account.Namespace, now}
	in.Status = &tokenResponse{signed.Reveal(), expires}
	return jsonAnswer(http.StatusCreated, in)
}

// complete checks a request and gives it defaults.
func (t *tokenRequest) complete(issuer string) error {
	const kind = "TokenRequest"
	if t.Kind != kind || t.APIVersion != "authentication.k8s.io/v1" {
		return badRequest("the body is not a TokenRequest of apiVersion authentication.k8s.io/v1")
	}
	if len(t.Spec.Audiences) == 0 {
		t.Spec.Audiences = []string{issuer} // the API server's own audience
	}
	seconds := int64(defaultExpiration)
	if t.Spec.ExpirationSeconds != nil {
		seconds = *t.Spec.ExpirationSeconds
	}
	switch {
	case seconds < minExpiration:
		return invalid(kind, "spec.expirationSeconds", "Invalid value: may not specify a duration less than 10 minutes")
	case seconds > endOfExpiration:
		return invalid(kind, "spec.expirationSeconds", "Invalid value: may not specify a duration larger than 2^32 seconds")
	}
	seconds = min(seconds, maxExpiration)
	t.Spec.ExpirationSeconds = &seconds
	switch pod := t.Spec.BoundObjectRef; {
	case pod == nil:
		return invalid(kind, "spec.boundObjectRef", "Required value: this cluster gives tokens to pods only")
	case pod.Kind != "Pod" || pod.APIVersion != "v1":
		return invalid(kind, "spec.boundObjectRef", "Unsupported value: want a Pod of apiVersion v1")
	case !identity.ValidServiceAccountName(pod.Name): // pods are named by the same rule
		return invalid(kind, "spec.boundObjectRef.name", "not a DNS subdomain")
	case uuid.Validate(pod.UID) != nil:
		return invalid(kind, "spec.boundObjectRef.uid", "not a UUID")
	}
	return nil
}

// uid is the service account's uid, always the same for the same name.
func (c *Cluster) uid(account identity.ServiceAccount) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("podid:"+c.cfg.Name+"/"+account.Namespace+"/"+account.Name)).String()
}
