package sts

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/podid/podid/internal/assume"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

const (
	minDuration     = 900
	maxDuration     = 43200
	defaultDuration = 3600
	chainedDuration = 3600 // for a role assumed with a role's session
)

type tagStructure struct {
	Key   string `form:"Key"`
	Value string `form:"Value"`
}

// sessionInput is what AssumeRole and AssumeRoleWithWebIdentity have in common.
type sessionInput struct {
	RoleARN         string `form:"RoleArn"`
	RoleSessionName string `form:"RoleSessionName"`
	DurationSeconds *int32 `form:"DurationSeconds"`
	restriction
}

// Validate checks form and limits.
func (in *sessionInput) Validate() error {
	switch {
	case len(in.RoleARN) < 20 || len(in.RoleARN) > 2048:
		return errConstraint(in.RoleARN, "roleArn", "Member must have length between 20 and 2048")
	case !identity.ValidSessionName(in.RoleSessionName):
		if utf8.RuneCountInString(in.RoleSessionName) > 64 {
			return errConstraint(in.RoleSessionName, "roleSessionName", "Member must have length less than or equal to 64")
		}
		return errConstraint(in.RoleSessionName, "roleSessionName", `Member must satisfy regular expression pattern: [\w+=,.@-]{2,64}`)
	}
	if _, _, err := identity.ParseRoleARN(in.RoleARN); err != nil {
		return errValidation("%s is invalid: it is %v.", in.RoleARN[:min(len(in.RoleARN), 300)], err)
	}
	if err := checkDurationSeconds(in.DurationSeconds, maxDuration); err != nil {
		return err
	}
	return in.restriction.Validate()
}

func checkDurationSeconds(seconds *int32, most int32) error {
	if seconds != nil && (*seconds < minDuration || *seconds > most) {
		return errValidation("1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: "+
			"Member must have value between %d and %d", *seconds, minDuration, most)
	}
	return nil
}

func errConstraint(value, member, rule string) *wire.Error {
	return errValidation("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: %s", value[:min(len(value), 120)], member, rule)
}

// duration is how long the session is to last.
func (in *sessionInput) duration() time.Duration {
	return durationOf(in.DurationSeconds, defaultDuration)
}

func durationOf(seconds *int32, standard int32) time.Duration {
	if seconds != nil {
		standard = *seconds
	}
	return time.Duration(standard) * time.Second
}

type assumeRoleInput struct {
	sessionInput
	Tags              []tagStructure `form:"Tags"`
	TransitiveTagKeys []string       `form:"TransitiveTagKeys"`
	ExternalID        *string        `form:"ExternalId"`
	SourceIdentity    *string        `form:"SourceIdentity"`
	SerialNumber      *string        `form:"SerialNumber"`
	TokenCode         *string        `form:"TokenCode"`
}

// Validate checks form and limits.
func (in *assumeRoleInput) Validate() error {
	if err := in.sessionInput.Validate(); err != nil {
		return err
	}
	if err := identity.CheckTags(in.tags()); err != nil {
		return errInvalidParameterValue("Invalid session tags: %v.", err)
	}
	if len(in.TransitiveTagKeys) > identity.MaxTags {
		return errInvalidParameterValue("There are %d transitive tag keys; at most %d are allowed.", len(in.TransitiveTagKeys), identity.MaxTags)
	}
	for _, key := range in.TransitiveTagKeys {
		if identity.FindTag(in.tags(), key) < 0 {
			return errInvalidParameterValue("The transitive tag key %q is not the key of one of the session tags.", key)
		}
	}
	switch {
	case in.ExternalID != nil && !identity.ValidExternalID(*in.ExternalID):
		return errConstraint(*in.ExternalID, "externalId", `Member must satisfy regular expression pattern: [\w+=,.@:\/-]{2,1224}`)
	case in.SourceIdentity != nil && !identity.ValidSessionName(*in.SourceIdentity):
		return errConstraint(*in.SourceIdentity, "sourceIdentity", `Member must satisfy regular expression pattern: [\w+=,.@-]{2,64}`)
	case in.SerialNumber != nil || in.TokenCode != nil:
		return errNoMFA()
	}
	return nil
}

func (in *assumeRoleInput) tags() []identity.Tag { return tagList(in.Tags) }

func tagList(structures []tagStructure) []identity.Tag {
	tags := make([]identity.Tag, 0, len(structures))
	for _, tag := range structures {
		tags = append(tags, identity.Tag(tag))
	}
	return tags
}

type assumeRoleOutput struct {
	Credentials      credentialsStructure `xml:"Credentials"`
	AssumedRoleUser  assumedRoleUser      `xml:"AssumedRoleUser"`
	PackedPolicySize *int                 `xml:"PackedPolicySize"`
	SourceIdentity   string               `xml:"SourceIdentity,omitempty"`
}

// AssumeRole gives the caller a session of a role, if the role's trust policy and the caller's own policies allow it.
// See https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html.
func (s *Service) AssumeRole(_ context.Context, call *wire.Call, in *assumeRoleInput) (*assumeRoleOutput, error) {
	if err := refuse(call, "AssumeRole", identity.CallerFederatedUser); err != nil {
		return nil, err
	}
	policies, err := in.policies()
	if err != nil {
		return nil, err
	}
	call.Entry.RoleARN, call.Entry.Resource = in.RoleARN, in.RoleARN
	chained := call.Caller.Type == identity.CallerAssumedRole
	if chained && in.duration() > chainedDuration*time.Second {
		return nil, errValidation("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	request := &assume.Request{
		Call: call.Request(), Action: "sts:AssumeRole", Principal: policy.Principal{Caller: &call.Caller}, RoleARN: in.RoleARN,
		SessionName: in.RoleSessionName, Duration: in.duration(), Tags: in.tags(), TransitiveTagKeys: in.TransitiveTagKeys,
		Policies: policies, PolicyARNs: in.arns(),
	}
	var packed *int
	request.Check = func(session *identity.Session) (err error) {
		if err = s.checkAssumed(&in.sessionInput, session); err == nil {
			packed, err = packedSize(session)
		}
		return err
	}
	if in.ExternalID != nil {
		request.ExternalID = *in.ExternalID
	}
	if in.SourceIdentity != nil {
		request.SourceIdentity = *in.SourceIdentity
	}
	result, err := s.Assumer.Assume(request)
	var refused *assume.Refused
	switch {
	case errors.As(err, &refused):
		return nil, refusal(call, refused)
	case errors.Is(err, assume.ErrInheritedTag):
		return nil, errInvalidParameterValue("One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
	case errors.Is(err, assume.ErrSourceIdentity):
		return nil, errInvalidParameterValue("The source identity of the calling session cannot be changed. Call without SourceIdentity to keep it.")
	case err != nil:
		return nil, err
	}
	record(call, result)
	return &assumeRoleOutput{
		Credentials:      revealCredentials(&result.Credentials),
		AssumedRoleUser:  assumedRoleUser{result.Session.ID(), result.Session.ARN()},
		PackedPolicySize: packed, SourceIdentity: result.Session.SourceIdentity,
	}, nil
}

// refusal words a refusal. A role that is not there is refused in the words of one that does not trust the caller, so that nobody
// learns which roles exist.
func refusal(call *wire.Call, refused *assume.Refused) error {
	call.Entry.Reason = refused.Reason()
	return errAccessDenied(refused.Why.Decision.Message(call.Caller.ARN))
}

// checkAssumed compares with the role's own limit, and looks for the managed session policies in its account. It is asked only for
// roles that were assumed, so it tells nobody else anything.
func (s *Service) checkAssumed(in *sessionInput, session *identity.Session) error {
	role, ok := s.Directory.RoleByARN(in.RoleARN)
	if ok && in.duration() > time.Duration(role.MaxSessionDuration)*time.Second {
		return errValidation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role (%d seconds).", role.MaxSessionDuration)
	}
	return s.checkManaged(session.AccountID, in.arns())
}
