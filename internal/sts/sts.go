// Package sts is the embedded STS: roles assumed by callers and by web identities, and who a caller is.
// See https://docs.aws.amazon.com/STS/latest/APIReference/.
package sts

import (
	"context"
	"net/http"
	"time"

	"github.com/podid/podid/internal/assume"
	"github.com/podid/podid/internal/denial"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/token"
	"github.com/podid/podid/internal/wire"
)

// Config is what the service stands on.
type Config struct {
	Directory *directory.Directory
	Assumer   *assume.Assumer
	Tokens    *token.Verifier
	Denials   *denial.Sealer
	Now       func() time.Time
}

// Service implements the operations.
type Service struct {
	Config
}

// New returns the service.
func New(cfg Config) *Service { return &Service{cfg} }

// API declares the operations. Most of them do not ask for permission in the ordinary way: everybody may ask who they are, a user may
// always have a session of its own, and who may assume a role is for its trust policy to say.
func (s *Service) API() wire.Service {
	return wire.Service{
		Name:     "sts",
		Protocol: wire.Query("2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/"),
		Denied:   errAccessDenied,
		Fault: func(message string) *wire.Error {
			return &wire.Error{Code: "InternalFailure", Status: http.StatusInternalServerError, Message: message}
		},
		Operations: []wire.Operation{
			wire.Op("GetCallerIdentity", "", nil, s.GetCallerIdentity),
			wire.Op("AssumeRole", "", nil, s.AssumeRole),
			wire.Op("AssumeRoleWithWebIdentity", "", nil, s.AssumeRoleWithWebIdentity).Anonymous(),
			wire.Op("GetSessionToken", "", nil, s.GetSessionToken),
			wire.Op("GetFederationToken", "", func(call *wire.Call, in *federationTokenInput) (wire.Access, error) { return in.access(call) }, s.GetFederationToken),
			wire.Op("GetAccessKeyInfo", "", func(call *wire.Call, _ *accessKeyInput) (wire.Access, error) {
				return forAccount(call, "GetAccessKeyInfo")
			}, s.GetAccessKeyInfo),
			wire.Op("DecodeAuthorizationMessage", "", func(call *wire.Call, _ *messageInput) (wire.Access, error) {
				return forAccount(call, "DecodeAuthorizationMessage")
			}, s.DecodeAuthorizationMessage),
			wire.Unserved("AssumeRoleWithSAML").Anonymous(), wire.Unserved("AssumeRoot"),
			wire.Unserved("GetDelegatedAccessToken"), wire.Unserved("GetWebIdentityToken"),
		},
	}
}

// forAccount is permission for an operation that is about nothing in particular, for callers who may call it at all.
func forAccount(call *wire.Call, operation string) (wire.Access, error) {
	return wire.Access{Action: "sts:" + operation, Resource: "*"}, refuse(call, operation, identity.CallerUser, identity.CallerFederatedUser)
}

type callerIdentityInput struct{}

type callerIdentityOutput struct {
	UserID  string `xml:"UserId"`
	Account string `xml:"Account"`
	ARN     string `xml:"Arn"`
}

// GetCallerIdentity says who signed the request. No policy can deny it.
// See https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html.
func (s *Service) GetCallerIdentity(_ context.Context, call *wire.Call, _ *callerIdentityInput) (*callerIdentityOutput, error) {
	return &callerIdentityOutput{call.Caller.UserID, call.Caller.AccountID, call.Caller.ARN}, nil
}

type credentialsStructure struct {
	AccessKeyID     string    `xml:"AccessKeyId"`
	SecretAccessKey string    `xml:"SecretAccessKey"`
	SessionToken    string    `xml:"SessionToken"`
	Expiration      wire.Time `xml:"Expiration"`
}

func revealCredentials(c *identity.Credentials) credentialsStructure {
	return credentialsStructure{c.AccessKeyID, c.SecretAccessKey.Reveal(), c.SessionToken.Reveal(), wire.Time(c.ExpiresAt)}
}

type assumedRoleUser struct {
	AssumedRoleID string `xml:"AssumedRoleId"`
	ARN           string `xml:"Arn"`
}

// record notes in the audit entry what was given out.
func record(call *wire.Call, result *assume.Result) {
	call.Entry.RoleARN, call.Entry.Session = result.Session.RoleARN, result.Session.ARN()
	call.Entry.IssuedKey = result.Credentials.AccessKeyID
}
