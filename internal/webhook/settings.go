// Package webhook gives pods what an AWS SDK needs to find its credentials: environment variables and a projected
// service-account token, for EKS Pod Identity or for IAM roles for service accounts (web identity).
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
	// EndpointURL is set as AWS_ENDPOINT_URL, and with web identity as AWS_ENDPOINT_URL_STS too, where AWS's APIs are podid itself.
	// Empty: not set, SDKs call AWS.
	EndpointURL string
	// CredentialsFullURI is where the agent answers, for AWS_CONTAINER_CREDENTIALS_FULL_URI.
	// Empty: http://169.254.170.23/v1/credentials.
	CredentialsFullURI string
	// Audience of Pod Identity's token. Empty: pods.eks.amazonaws.com.
	Audience string
	// MountPath is the directory of that token in containers. Empty: /var/run/secrets/pods.eks.amazonaws.com/serviceaccount.
	MountPath string
	// VolumeName is its volume's name in the pod. Empty: eks-pod-identity-token.
	VolumeName string
	// TokenFile is its file name below MountPath. Empty: eks-pod-identity-token.
	TokenFile string
	// WebIdentityAudience is the audience of web identity's token. Empty: sts.amazonaws.com. A service account's annotation goes
	// before it.
	WebIdentityAudience string
	// WebIdentityMountPath is the directory of that token in containers, in volume aws-iam-token and file token.
	// Empty: /var/run/secrets/eks.amazonaws.com/serviceaccount.
	WebIdentityMountPath string
	// Partition and AccountID complete roles of service accounts that are given by name instead of by ARN. Empty: the account's is
	// aws; without an account such names stay as they are.
	Partition, AccountID string
	// TokenExpirationSeconds is the tokens' life, 600 to 2^32. Zero: 86400. Annotations of pod and service account go before it.
	TokenExpirationSeconds int64
	// AnnotationPrefix precedes the names of annotations that steer the mutation: skip-containers of a pod, token-expiration of a
	// pod or a service account, role-arn, audience and sts-regional-endpoints of a service account. Empty: eks.amazonaws.com.
	AnnotationPrefix string
	// AppendNoProxy adds the agent's address to the NO_PROXY and no_proxy that containers have.
	AppendNoProxy bool
	// HostNetworkWithoutAgent says that pods in the host's network do not reach the node agent.
	HostNetworkWithoutAgent bool
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
	s.WebIdentityAudience = cmp.Or(s.WebIdentityAudience, "sts.amazonaws.com")
	s.WebIdentityMountPath = cmp.Or(s.WebIdentityMountPath, "/var/run/secrets/eks.amazonaws.com/serviceaccount")
	s.Partition = cmp.Or(s.Partition, "aws")
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
	case !path.IsAbs(s.WebIdentityMountPath):
		return fmt.Errorf("webhook: mount path %q is not absolute", s.WebIdentityMountPath)
	case s.AccountID != "" && !identity.ValidAccountID(s.AccountID):
		return fmt.Errorf("webhook: account id %q is not twelve digits", s.AccountID)
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
