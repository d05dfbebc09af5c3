// Package assume lets somebody assume a role: it asks the role's trust policy, and mints credentials for the new session. STS and
// EKS Auth differ in who asks and in how they say no; what happens here is the same for both. Assuming a second role with the first
// one's session is calling [Assumer.Assume] twice. A user's own session ([Assumer.Exchange]) is minted here too.
//
// It does not verify tokens or signatures: who asks has been established before. It does not know durations' limits either, which
// are the services'.
package assume

import (
	"errors"
	"slices"
	"time"

	"github.com/podid/podid/internal/credential"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// ErrInheritedTag is returned for a session tag that is already inherited, as a transitive tag, from the caller's session.
var ErrInheritedTag = errors.New("a session tag of the same key is inherited from the caller's session")

// ErrSourceIdentity is returned for a source identity other than the one that the caller's session has, which stays.
var ErrSourceIdentity = errors.New("the caller's session has another source identity")

// Assumer assumes roles of the embedded IAM.
type Assumer struct {
	Directory *directory.Directory
	Keyring   *credential.Keyring
	Now       func() time.Time
}

// Request is one role to be assumed.
type Request struct {
	Call      directory.Request // of the API call; its Caller is ignored, see Principal
	Action    string            // sts:AssumeRole or sts:AssumeRoleWithWebIdentity
	Principal policy.Principal  // who wants the role, in the words of its trust policy
	RoleARN   string

	SessionName       string
	Duration          time.Duration
	Tags              []identity.Tag // session tags, without those that the caller's session hands down
	TransitiveTagKeys []string
	Policies          []string // session policies, which have been parsed before; none means no restriction
	PolicyARNs        []string // managed session policies, which the caller has to look up
	ExternalID        string
	SourceIdentity    string
	Federated         map[string]string     // condition keys of a web identity, kept in the session
	Keys              func(*policy.Context) // further condition keys: aws:SourceArn, …; nil for none

	// Check is asked about the session of a role that may be assumed, before there are credentials for it; nil for nothing to ask.
	// Its error ends the request as it is.
	Check func(*identity.Session) error
}

// Result is a session and its credentials.
type Result struct {
	Session     identity.Session
	Credentials identity.Credentials
}

// Refused is the answer no: the role is not there, or a policy decided against it. The explanation repeats values of the policies
// and of the request, so it is for audit: not for whoever asked.
type Refused struct {
	RoleARN string
	Action  string             // sts:AssumeRole, sts:TagSession, …
	NoRole  bool               // the role is not there
	Why     policy.Explanation // if it is not, that of a role which does not trust the principal
}

// Error says what was refused and why, in AWS's words without the caller.
func (r *Refused) Error() string {
	if r.NoRole {
		return "the role " + r.RoleARN + " does not exist"
	}
	return r.Why.Decision.Refusal()
}

// Reason says why at length, for the audit log.
func (r *Refused) Reason() string {
	if r.NoRole {
		return r.Error()
	}
	return r.Why.String()
}

// Assume makes a session of a role. The error is [*Refused], [ErrInheritedTag], [ErrSourceIdentity], that of Check, or a fault. What is wrong with
// the request itself is found before the role is looked for, so that it does not tell whether there is one.
func (a *Assumer) Assume(req *Request) (*Result, error) {
	tags, transitive, err := req.sessionTags()
	if err != nil {
		return nil, err
	}
	source, err := req.sourceIdentity()
	if err != nil {
		return nil, err
	}
	role, ok := a.Directory.RoleByARN(req.RoleARN)
	if !ok {
		none := policy.Explanation{Decision: policy.Decision{Cause: policy.Trust, Action: req.Action, Resource: req.RoleARN}}
		return nil, &Refused{RoleARN: req.RoleARN, Action: req.Action, NoRole: true, Why: none}
	}
	if err := a.checkTrust(req, role, tags, transitive, source); err != nil {
		return nil, err
	}
	now := a.Now().Truncate(time.Second)
	session := identity.Session{
		RoleARN: req.RoleARN, RoleID: role.ID, AccountID: role.AccountID, Name: req.SessionName,
		Tags: tags, TransitiveTagKeys: transitive, Policies: req.Policies, PolicyARNs: req.PolicyARNs,
		SourceIdentity: source, Federated: req.Federated, IssuedAt: now, ExpiresAt: now.Add(req.Duration),
	}
	if req.Check != nil {
		if err := req.Check(&session); err != nil {
			return nil, err
		}
	}
	credentials, err := a.Keyring.Mint(&session)
	if err != nil {
		return nil, err
	}
	return &Result{session, credentials}, nil
}

// sessionTags joins the tags that the caller's session hands down with those of the request. An inherited tag cannot be replaced.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_role-chaining.
func (req *Request) sessionTags() (tags []identity.Tag, transitive []string, err error) {
	tags, transitive = req.Tags, req.TransitiveTagKeys
	if req.Principal.Caller == nil || req.Principal.Caller.Session == nil {
		return tags, transitive, nil
	}
	from := req.Principal.Caller.Session
	var inherited []identity.Tag
	for _, key := range from.TransitiveTagKeys {
		if identity.FindTag(req.Tags, key) >= 0 {
			return nil, nil, ErrInheritedTag
		}
		if i := identity.FindTag(from.Tags, key); i >= 0 {
			inherited = append(inherited, from.Tags[i])
		}
	}
	return append(inherited, tags...), slices.Concat(from.TransitiveTagKeys, transitive), nil
}

// sourceIdentity is that of the request, or the one that the caller's session has: once set it stays the same along a chain of roles.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html.
func (req *Request) sourceIdentity() (string, error) {
	caller := req.Principal.Caller
	switch {
	case caller == nil || caller.Session == nil || caller.Session.SourceIdentity == "":
		return req.SourceIdentity, nil
	case req.SourceIdentity != "" && req.SourceIdentity != caller.Session.SourceIdentity:
		return "", ErrSourceIdentity
	}
	return caller.Session.SourceIdentity, nil
}

// checkTrust asks for each permission that the request needs: to assume the role, to tag the session if it gets tags, and to set
// a source identity if it gets one.
func (a *Assumer) checkTrust(req *Request, role *directory.Role, tags []identity.Tag, transitive []string, source string) error {
	actions := []string{req.Action}
	if len(tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	if source != "" {
		actions = append(actions, "sts:SetSourceIdentity")
	}
	call := req.Call
	call.Caller = req.Principal.Caller
	keys := func(keys *policy.Context) {
		directory.SetRequestTags(keys, tags)
		keys.SetMany("sts:TransitiveTagKeys", transitive...)
		keys.SetTags("aws:ResourceTag/", role.Tags)
		keys.SetTags("iam:ResourceTag/", role.Tags)
		keys.Set("sts:RoleSessionName", req.SessionName)
		set := func(key, value string) {
			if value != "" {
				keys.Set(key, value)
			}
		}
		set("sts:ExternalId", req.ExternalID)
		set("sts:SourceIdentity", source)
		for key, value := range req.Federated {
			keys.Set(key, value)
		}
		if req.Keys != nil {
			req.Keys(keys)
		}
	}
	for _, action := range actions {
		need := directory.Access{Action: action, Resource: req.RoleARN, Keys: keys}
		why, err := a.Directory.AuthorizeTrust(&call, need, req.Principal, role)
		if err != nil {
			return err
		}
		if !why.Decision.Allowed {
			return &Refused{RoleARN: req.RoleARN, Action: action, Why: why}
		}
	}
	return nil
}
