// Package webhook gives pods what an AWS SDK needs to find its credentials: environment variables and a projected
// service-account token.
//
// It owns the mutation itself ([Inject], a pure function) and the admission endpoint that the Kubernetes API server calls
// ([Handler]). It does not know how associations are found, it is told by [Config].Lookup; and it serves no TLS. The names,
// the order and the conditions of everything it adds are those of Amazon's webhook,
// https://github.com/aws/amazon-eks-pod-identity-webhook, so that either can take the other's place.
package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"path"

	"github.com/podid/podid/internal/identity"
)

// Limits of a projected token's expirationSeconds. Kubernetes refuses pods outside of them, so a mutation must never leave them.
// See https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#launch-a-pod-using-service-account-token-projection.
const (
	minTokenExpiration = 600
	maxTokenExpiration = 1 << 32
)

// dayLong is the token expiration that is jittered, by up to jitterSeconds: a node that starts hundreds of pods at once would
// otherwise renew all their tokens at once, every day.
const (
	dayLong       = 86400
	jitterSeconds = 7200
)

// Settings say what to inject into the pods of one cluster. The zero value injects what Amazon EKS does, without a region.
type Settings struct {
	// Region is the cluster's AWS region, for AWS_DEFAULT_REGION and AWS_REGION. Empty: neither is set.
	Region string
	// RegionalSTS sets AWS_STS_REGIONAL_ENDPOINTS=regional, as managed EKS does.
	RegionalSTS bool
	// EndpointURL is set as AWS_ENDPOINT_URL where AWS's APIs are podid itself. Empty: not set, SDKs call AWS.
	EndpointURL string
	// CredentialsFullURI is where the agent answers, for AWS_CONTAINER_CREDENTIALS_FULL_URI.
	// Empty: http://169.254.170.23/v1/credentials.
	CredentialsFullURI string
	// Audience of the token. Empty: pods.eks.amazonaws.com.
	Audience string
	// MountPath is the directory of the token in containers. Empty: /var/run/secrets/pods.eks.amazonaws.com/serviceaccount.
	MountPath string
	// VolumeName is the volume's name in the pod. Empty: eks-pod-identity-token.
	VolumeName string
	// TokenFile is the token's file name below MountPath. Empty: eks-pod-identity-token.
	TokenFile string
	// TokenExpirationSeconds is the token's life, 600 to 2^32. Zero: 86400. A pod's annotation goes before it.
	TokenExpirationSeconds int64
	// AnnotationPrefix precedes the names of annotations that steer the mutation of a pod: <prefix>/skip-containers and
	// <prefix>/token-expiration. Empty: eks.amazonaws.com.
	AnnotationPrefix string
	// Jitter returns a number in [0, n) (math/rand/v2's Int64N does) that is taken off token lives of exactly one day, of at
	// most two hours. Nil: nothing is taken off.
	Jitter func(n int64) int64 `json:"-"`
}

// complete fills in what was left empty.
func (s Settings) complete() Settings {
	s.CredentialsFullURI = cmp.Or(s.CredentialsFullURI, "http://169.254.170.23/v1/credentials")
	s.Audience = cmp.Or(s.Audience, identity.PodIdentityAudience)
	s.MountPath = cmp.Or(s.MountPath, "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount")
	s.VolumeName = cmp.Or(s.VolumeName, "eks-pod-identity-token")
	s.TokenFile = cmp.Or(s.TokenFile, "eks-pod-identity-token")
	s.TokenExpirationSeconds = cmp.Or(s.TokenExpirationSeconds, dayLong)
	s.AnnotationPrefix = cmp.Or(s.AnnotationPrefix, "eks.amazonaws.com")
	return s
}

// validate finds settings whose pods Kubernetes would refuse or whose variables no SDK could read.
func (s Settings) validate() error {
	s = s.complete()
	switch {
	case !absoluteURL(s.CredentialsFullURI):
		return fmt.Errorf("webhook: credentials URI %q is not an http or https URL", s.CredentialsFullURI)
	case s.EndpointURL != "" && !absoluteURL(s.EndpointURL):
		return fmt.Errorf("webhook: endpoint %q is not an http or https URL", s.EndpointURL)
	case !path.IsAbs(s.MountPath):
		return fmt.Errorf("webhook: mount path %q is not absolute", s.MountPath)
	case path.Base(s.TokenFile) != s.TokenFile:
		return fmt.Errorf("webhook: token file %q is not a plain file name", s.TokenFile)
	case !identity.ValidNamespace(s.VolumeName): // volumes are named like namespaces: an RFC 1123 label
		return fmt.Errorf("webhook: volume name %q is not a DNS label", s.VolumeName)
	case s.TokenExpirationSeconds < minTokenExpiration || s.TokenExpirationSeconds > maxTokenExpiration:
		return errors.New("webhook: token expiration is not within 600 and 2^32 seconds")
	}
	return nil
}

func absoluteURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}
