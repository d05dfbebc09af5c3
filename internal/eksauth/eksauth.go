// Package eksauth is the EKS Auth API: it exchanges a pod's service-account token for credentials of the role that the pod's
// association names. Everything it needs is in memory, so an exchange waits for nothing.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_auth_AssumeRoleForPodIdentity.html.
package eksauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/podid/podid/internal/assume"
	"github.com/podid/podid/internal/authn"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/token"
	"github.com/podid/podid/internal/wire"
)

const (
	sessionDuration = 6 * time.Hour
	// chainedDuration is how long both sessions of an association with a target role last: role chaining is limited to an hour, and
	// a minute is left for the second call.
	chainedDuration = 59 * time.Minute
	// maxToken caps a service-account token. Real ones have about 1,200 characters.
	maxToken = 16 << 10
)

// Config is what the service stands on.
type Config struct {
	Directory *directory.Directory
	Tokens    *token.Verifier
	Assumer   *assume.Assumer
	Random    io.Reader // of session names; nil means crypto/rand
}

// Service implements the operation.
type Service struct {
	Config
}

// New returns the service.
func New(cfg Config) *Service {
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	return &Service{cfg}
}

// API declares the operation.
func (s *Service) API() wire.Service {
	return wire.Service{
		Name:     "eks-auth",
		Protocol: wire.RESTJSON(),
		Denied:   errAccessDenied,
		Fault:    errInternalServer,
		Operations: []wire.Operation{
			wire.Op("AssumeRoleForPodIdentity", "POST /clusters/{name}/assume-role-for-pod-identity", s.access, s.AssumeRoleForPodIdentity),
		},
	}
}

type input struct {
	Cluster string `uri:"name" json:"-"`
	Token   string `json:"token"`
}

type output struct {
	Subject         subject         `json:"subject"`
	Audience        string          `json:"audience"`
	Association     association     `json:"podIdentityAssociation"`
	AssumedRoleUser assumedRoleUser `json:"assumedRoleUser"`
	Credentials     credentials     `json:"credentials"`
}

type subject struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
}

type association struct {
	ARN string `json:"associationArn"`
	ID  string `json:"associationId"`
}

type assumedRoleUser struct {
	ARN string `json:"arn"`
	ID  string `json:"assumeRoleId"` // so spelled by EKS Auth, unlike STS
}

type credentials struct {
	SessionToken    string    `json:"sessionToken"`
	SecretAccessKey string    `json:"secretAccessKey"`
	AccessKeyID     string    `json:"accessKeyId"`
	Expiration      wire.Time `json:"expiration"`
}

// Validate checks the form that the API's model gives for a token: three parts, nothing around them.
func (in *input) Validate() error {
	switch {
	case !identity.ValidClusterName(in.Cluster):
		return errInvalidParameter(`The cluster name is invalid: want 1 to 100 characters that match ^[0-9A-Za-z][A-Za-z0-9\-_]*`)
	case in.Token == "":
		return errInvalidParameter("token is missing. Pass the service account token of the pod, the content of the file that AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names.")
	case len(in.Token) > maxToken:
		return errInvalidParameter("token has %d characters; at most %d are allowed.", len(in.Token), maxToken)
	case strings.HasPrefix(in.Token, "Bearer "):
		return errInvalidParameter("token must be the token alone, without the word Bearer.")
	case strings.ContainsAny(in.Token, " \t\r\n"):
		return errInvalidParameter("token has white space in it or at its end. It must be the token alone, without a line break.")
	case strings.Count(in.Token, ".") != 2:
		return errInvalidParameter("token is not a JSON web token: it must have three parts with dots between them.")
	}
	return nil
}

func (s *Service) access(_ *wire.Call, in *input) (wire.Access, error) {
	cluster, ok := s.Directory.Cluster(in.Cluster)
	if !ok {
		return wire.Access{}, errResourceNotFound("No cluster found for name: %s. Check the cluster name that the node agent was started with.", in.Cluster)
	}
	return wire.Access{Action: "eks-auth:AssumeRoleForPodIdentity", Resource: cluster.ARN(), Keys: func(keys *policy.Context) {
		keys.SetTags("aws:ResourceTag/", identity.TagList(cluster.Tags))
	}}, nil
}

// AssumeRoleForPodIdentity verifies the token, finds the association of its service account and assumes the association's role,
// and with it the target role if there is one.
func (s *Service) AssumeRoleForPodIdentity(ctx context.Context, call *wire.Call, in *input) (*output, error) {
	cluster, ok := s.Directory.Cluster(in.Cluster)
	if !ok {
		return nil, errResourceNotFound("No cluster found for name: %s.", in.Cluster)
	}
	fingerprint := sha256.Sum256([]byte(in.Token))
	call.Entry.Cluster, call.Entry.Token = cluster.Name, hex.EncodeToString(fingerprint[:4])
	pod, err := s.verify(ctx, cluster, in.Token)
	if err != nil {
		return nil, err
	}
	call.Entry.Namespace, call.Entry.ServiceAccount, call.Entry.Pod, call.Entry.PodUID = pod.Namespace, pod.Name, pod.PodName, pod.PodUID
	found, ok := s.Directory.Association(cluster.Name, pod.ServiceAccount)
	if !ok {
		return nil, errResourceNotFound("No association found for namespace %s and service account %s in cluster %s.%s "+
			"Create one with: aws eks create-pod-identity-association --cluster-name %s --namespace %s --service-account %s --role-arn …",
			pod.Namespace, pod.Name, cluster.Name, s.nearest(cluster.Name, pod.ServiceAccount), cluster.Name, pod.Namespace, pod.Name)
	}
	call.Entry.AssociationID = found.ID
	result, err := s.assume(call, cluster, found, pod)
	if err != nil {
		return nil, err
	}
	call.Entry.RoleARN, call.Entry.Session, call.Entry.IssuedKey = result.Session.RoleARN, result.Session.ARN(), result.Credentials.AccessKeyID
	return &output{
		Subject: subject{pod.Namespace, pod.Name}, Audience: identity.PodIdentityAudience,
		Association:     association{found.ARN, found.ID},
		AssumedRoleUser: assumedRoleUser{result.Session.ARN(), result.Session.ID()},
		Credentials: credentials{
			SessionToken: result.Credentials.SessionToken.Reveal(), SecretAccessKey: result.Credentials.SecretAccessKey.Reveal(),
			AccessKeyID: result.Credentials.AccessKeyID, Expiration: wire.Time(result.Credentials.ExpiresAt),
		},
	}, nil
}

// verify makes sure that the token is one of this cluster, for us, of a pod. An issuer whose keys cannot be had is a fault:
// agents throw credentials away when they are told that a token is invalid.
func (s *Service) verify(ctx context.Context, cluster *identity.Cluster, raw string) (identity.Subject, error) {
	if !cluster.Active() {
		return identity.Subject{}, errServiceUnavailable("Cluster " + cluster.Name + " is registered, but the issuer of its tokens has not been told yet. " +
			"An administrator must do so: podid cluster register " + cluster.Name)
	}
	claims, err := s.Tokens.Verify(ctx, raw, token.Issuer{URL: cluster.Issuer, Keys: cluster.Keys, CA: cluster.CA})
	var invalid *token.InvalidError
	var expired *token.ExpiredError
	switch {
	case errors.As(err, &expired):
		return identity.Subject{}, errExpiredToken(expired.Error())
	case errors.As(err, &invalid):
		return identity.Subject{}, errInvalidToken("The token is not a valid service account token of cluster %s: %s", cluster.Name, invalid.Reason)
	case errors.Is(err, token.ErrUnavailable):
		return identity.Subject{}, errServiceUnavailable("The signing keys of cluster " + cluster.Name + " cannot be had at the moment. Try again.")
	case err != nil:
		return identity.Subject{}, err
	}
	if !claims.HasAudience(identity.PodIdentityAudience) {
		return identity.Subject{}, errInvalidToken("The token's audience is %q; it must be %q. Was it projected for something else, such as IRSA?",
			claims.Audiences, identity.PodIdentityAudience)
	}
	pod, err := claims.PodSubject()
	if errors.As(err, &invalid) {
		return identity.Subject{}, errInvalidToken("The token is not that of a pod: %s", invalid.Reason)
	}
	return pod, err
}

// assume assumes the association's role, and the target role with it if there is one. The session policy is for the last of the two.
func (s *Service) assume(call *wire.Call, cluster *identity.Cluster, a *identity.Association, pod identity.Subject) (*assume.Result, error) {
	request := &assume.Request{
		Call: call.Request(), Action: "sts:AssumeRole", Principal: policy.Principal{Service: identity.PodIdentityService},
		RoleARN: a.RoleARN, SessionName: identity.PodSessionName(cluster.Name, pod.PodName, identity.NewUUID(s.Random)), Duration: sessionDuration,
		Keys: func(keys *policy.Context) {
			keys.Set("aws:SourceArn", cluster.ARN())
			keys.Set("aws:SourceAccount", cluster.AccountID)
			keys.Set("aws:PrincipalIsAWSService", "true")
			keys.Set("aws:PrincipalServiceName", identity.PodIdentityService)
		},
	}
	if !a.DisableSessionTags {
		request.Tags = identity.PodSessionTags(cluster, pod)
		for _, tag := range request.Tags {
			request.TransitiveTagKeys = append(request.TransitiveTagKeys, tag.Key)
		}
	}
	if a.TargetRoleARN == "" {
		request.Policies = sessionPolicies(a)
		return s.tryAssume(call, request)
	}
	request.Duration = chainedDuration
	first, err := s.tryAssume(call, request)
	if err != nil {
		return nil, err
	}
	return s.tryAssume(call, &assume.Request{
		Call: call.Request(), Action: "sts:AssumeRole", Principal: policy.Principal{Caller: authn.SessionCaller(&first.Session)},
		RoleARN: a.TargetRoleARN, SessionName: request.SessionName, Duration: chainedDuration,
		Policies: sessionPolicies(a), ExternalID: a.ExternalID,
	})
}

func sessionPolicies(a *identity.Association) []string {
	if a.Policy == "" {
		return nil
	}
	return []string{a.Policy}
}

func (s *Service) tryAssume(call *wire.Call, request *assume.Request) (*assume.Result, error) {
	result, err := s.Assumer.Assume(request)
	var refused *assume.Refused
	if !errors.As(err, &refused) {
		return result, err
	}
	call.Entry.RoleARN, call.Entry.Reason = refused.RoleARN, refused.Reason()
	return nil, errAccessDenied("Unauthorized Exception! EKS does not have permissions to assume the associated role: " + refused.Error() + ".")
}
