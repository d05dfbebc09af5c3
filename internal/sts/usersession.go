package sts

import (
	"context"
	"slices"
	"strings"

	"github.com/podid/podid/internal/assume"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

// For sessions of users.
const (
	maxUserDuration     = 129600
	defaultUserDuration = 43200
)

// refuse refuses an operation to callers of some types, whatever policies say. Of users it means those with a session's credentials.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_sts-comparison.html.
func refuse(call *wire.Call, operation string, types ...identity.CallerType) error {
	if call.Caller.Session != nil && slices.Contains(types, call.Caller.Type) {
		return errAccessDenied("Cannot call " + operation + " with session credentials")
	}
	return nil
}

type sessionTokenInput struct {
	DurationSeconds *int32  `form:"DurationSeconds"`
	SerialNumber    *string `form:"SerialNumber"`
	TokenCode       *string `form:"TokenCode"`
}

// Validate checks the duration. There are no MFA devices, so a code of one cannot be right.
func (in *sessionTokenInput) Validate() error {
	if in.SerialNumber != nil || in.TokenCode != nil {
		return errNoMFA()
	}
	return checkDurationSeconds(in.DurationSeconds, maxUserDuration)
}

type sessionTokenOutput struct {
	Credentials credentialsStructure `xml:"Credentials"`
}

// GetSessionToken gives a user who signs with a long-term key credentials of a session. No policy can deny it: the session may do what
// the user may, and less of IAM and STS.
// See https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html.
func (s *Service) GetSessionToken(_ context.Context, call *wire.Call, in *sessionTokenInput) (*sessionTokenOutput, error) {
	if err := refuse(call, "GetSessionToken", identity.CallerAssumedRole, identity.CallerUser, identity.CallerFederatedUser); err != nil {
		return nil, err
	}
	result, err := s.Assumer.Exchange(&assume.UserRequest{User: &call.Caller, Duration: durationOf(in.DurationSeconds, defaultUserDuration)})
	if err != nil {
		return nil, err
	}
	record(call, result)
	return &sessionTokenOutput{revealCredentials(&result.Credentials)}, nil
}

type federationTokenInput struct {
	Name            string         `form:"Name"`
	DurationSeconds *int32         `form:"DurationSeconds"`
	Tags            []tagStructure `form:"Tags"`
	restriction
}

// Validate checks form and limits.
func (in *federationTokenInput) Validate() error {
	if !identity.ValidFederatedUserName(in.Name) {
		return errConstraint(in.Name, "name", `Member must satisfy regular expression pattern: [\w+=,.@-]{2,32}`)
	}
	if err := checkDurationSeconds(in.DurationSeconds, maxUserDuration); err != nil {
		return err
	}
	if err := in.restriction.Validate(); err != nil {
		return err
	}
	if err := identity.CheckTags(tagList(in.Tags)); err != nil {
		return errInvalidParameterValue("Invalid session tags: %v.", err)
	}
	return nil
}

// federatedUser is the ARN that a caller's federated user of a name has.
func federatedUser(call *wire.Call, name string) string {
	partition := strings.Split(call.Caller.ARN, ":")[1]
	return identity.FederatedUserARN(partition, call.Caller.AccountID, name)
}

// access is permission to give a federated user of a name credentials, asked of callers who may call at all.
func (in *federationTokenInput) access(call *wire.Call) (wire.Access, error) {
	err := refuse(call, "GetFederationToken", identity.CallerAssumedRole, identity.CallerUser, identity.CallerFederatedUser)
	return in.need(call, "sts:GetFederationToken"), err
}

func (in *federationTokenInput) need(call *wire.Call, action string) wire.Access {
	return wire.Access{Action: action, Resource: federatedUser(call, in.Name), Keys: func(keys *policy.Context) {
		directory.SetRequestTags(keys, tagList(in.Tags))
	}}
}

type federatedUserStructure struct {
	ID  string `xml:"FederatedUserId"`
	ARN string `xml:"Arn"`
}

type federationTokenOutput struct {
	Credentials      credentialsStructure   `xml:"Credentials"`
	FederatedUser    federatedUserStructure `xml:"FederatedUser"`
	PackedPolicySize *int                   `xml:"PackedPolicySize"`
}

// GetFederationToken gives a user who signs with a long-term key credentials for somebody else, who may do what both the user's policies
// and the session policies allow; so without session policies nothing.
// See https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html.
func (s *Service) GetFederationToken(_ context.Context, call *wire.Call, in *federationTokenInput) (*federationTokenOutput, error) {
	if len(in.Tags) > 0 {
		if err := call.Authorize(in.need(call, "sts:TagSession")); err != nil {
			return nil, err
		}
	}
	policies, err := in.policies()
	if err != nil {
		return nil, err
	}
	if err := s.checkManaged(call.Caller.AccountID, in.arns()); err != nil {
		return nil, err
	}
	var packed *int
	result, err := s.Assumer.Exchange(&assume.UserRequest{
		User: &call.Caller, Name: in.Name, Duration: durationOf(in.DurationSeconds, defaultUserDuration), Tags: tagList(in.Tags),
		Policies: policies, PolicyARNs: in.arns(),
		Check: func(session *identity.Session) (err error) {
			packed, err = packedSize(session)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	record(call, result)
	return &federationTokenOutput{
		Credentials:   revealCredentials(&result.Credentials),
		FederatedUser: federatedUserStructure{result.Session.ID(), result.Session.ARN()}, PackedPolicySize: packed,
	}, nil
}
