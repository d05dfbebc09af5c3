package directory

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// Request is what a call contributes to decisions besides what it asks for.
type Request struct {
	Caller    *identity.Caller
	Time      time.Time
	Region    string // of the signature's scope
	SourceIP  string
	UserAgent string
	Secure    bool // it came over TLS
}

// Access is what a call asks for: an action on a resource, and the condition keys that only this operation has.
type Access struct {
	Action    string                // s3:GetObject
	Resource  string                // ARN, or "*"
	AccountID string                // that owns the resource; empty if the ARN says
	Policy    *policy.Named         // of the resource; nil if it has none
	Keys      func(*policy.Context) // sets aws:RequestTag/…, aws:ResourceTag/…, …; nil for none
}

var contexts = sync.Pool{New: func() any { return new(policy.Context) }}

// Authorize decides whether the caller may have access to a resource, by its identity policies and session policies and the policy of
// the resource. A resource of another account is refused unless its policy allows too. A denial says which statements came closest.
// An error means that nothing could be decided: a fault, not a denial.
func (d *Directory) Authorize(req *Request, need Access) (policy.Explanation, error) {
	in := policy.Inputs{Resource: need.Policy}
	if err := d.callerPolicies(req.Caller, &in); err != nil {
		return policy.Explanation{}, err
	}
	owner := need.AccountID
	if arn, err := identity.ParseARN(need.Resource); err == nil && owner == "" {
		owner = arn.AccountID
	}
	in.SameAccount = owner == "" || owner == req.Caller.AccountID
	return d.decide(req, need, owner, policy.Principal{Caller: req.Caller}, &in), nil
}

// AuthorizeTrust decides whether a principal may do sts:AssumeRole, sts:TagSession or the like on a role, by the role's trust policy
// and, for callers, by their own policies too. req.Caller may be nil where the principal is a service or a web identity.
func (d *Directory) AuthorizeTrust(req *Request, need Access, who policy.Principal, role *Role) (policy.Explanation, error) {
	if role.Err != nil {
		return policy.Explanation{}, role.Err
	}
	in := policy.Inputs{Resource: role.Trust}
	if who.Caller != nil {
		if err := d.callerPolicies(who.Caller, &in); err != nil {
			return policy.Explanation{}, err
		}
		in.SameAccount = who.Caller.AccountID == role.AccountID
	}
	return d.decide(req, need, role.AccountID, who, &in), nil
}

func (d *Directory) decide(req *Request, need Access, owner string, who policy.Principal, in *policy.Inputs) policy.Explanation {
	keys := contexts.Get().(*policy.Context)
	keys.Reset(nil)
	defer contexts.Put(keys)
	d.setKeys(keys, req)
	if identity.ValidAccountID(owner) {
		keys.Set("aws:ResourceAccount", owner)
	}
	if need.Keys != nil {
		need.Keys(keys)
	}
	return policy.Explain(&policy.Request{Action: need.Action, Resource: need.Resource, Principal: who, Context: keys}, in)
}

// callerPolicies finds the policies of a caller. A user or role that is gone, or was made again under the same name, has none, and
// neither its boundary nor what it was restricted to is known any more: no policy of a resource counts for it either, so that whatever
// still holds its credentials is denied.
func (d *Directory) callerPolicies(caller *identity.Caller, in *policy.Inputs) error {
	var err error
	if caller.Session != nil && caller.Session.RoleARN != "" {
		role, ok := d.sessionRole(caller.Session)
		if !ok {
			in.Resource = nil
			return nil
		}
		in.Identity, in.Boundary, err = d.RolePolicies(role)
	} else {
		user, ok := d.callerUser(caller)
		if !ok {
			in.Resource = nil
			return nil
		}
		in.Identity, in.Boundary, err = d.UserPolicies(user)
	}
	if err != nil || caller.Session == nil {
		return err
	}
	in.Federated = caller.Type == identity.CallerFederatedUser
	return d.sessionPolicies(caller, in)
}

// sessionRole is the role that a session is of, unless it is gone.
func (d *Directory) sessionRole(s *identity.Session) (*Role, bool) {
	role, ok := d.RoleByARN(s.RoleARN)
	return role, ok && role.ID == s.RoleID
}

// callerUser is the user that a caller is, or whose session a caller has, unless it is gone.
func (d *Directory) callerUser(caller *identity.Caller) (*User, bool) {
	if s := caller.Session; s != nil {
		user, ok := d.UserByARN(s.UserARN)
		return user, ok && user.ID == s.UserID
	}
	if caller.Type != identity.CallerUser {
		return nil, false
	}
	user, ok := d.User(caller.AccountID, caller.UserName)
	return user, ok && user.ID == caller.UserID
}

// SessionStands tells whether the role or user that a session is of is still there. One that was made again under the same name is
// another.
func (d *Directory) SessionStands(s *identity.Session) bool {
	if s.RoleARN != "" {
		_, ok := d.sessionRole(s)
		return ok
	}
	_, ok := d.callerUser(&identity.Caller{Session: s})
	return ok
}

// denyAll stands for a managed session policy that is gone. What it denied is not known any more, so nothing may be done.
var denyAll = sync.OnceValue(func() *policy.Policy {
	p, err := policy.Parse(policy.Session, `{"Version":"2012-10-17","Statement":{"Sid":"PolicyIsGone","Effect":"Deny","Action":"*","Resource":"*"}}`)
	if err != nil {
		panic("directory: " + err.Error())
	}
	return p
})

// sessionPolicies finds the session policies of a caller: the texts that are sealed in the session, and the managed policies by their
// ARNs, which are looked up for each decision as attached ones are.
func (d *Directory) sessionPolicies(caller *identity.Caller, in *policy.Inputs) error {
	for i, text := range caller.Session.Policies {
		p, err := policy.Parse(policy.Session, text)
		if err != nil {
			return fmt.Errorf("compiling session policy %d of %s: %w", i+1, caller.ARN, err)
		}
		in.Session = append(in.Session, &policy.Named{Name: "session policy " + strconv.Itoa(i+1), Policy: p})
	}
	for _, arn := range caller.Session.PolicyARNs {
		managed, ok := d.PolicyByARN(arn)
		switch {
		case !ok:
			in.Session = append(in.Session, &policy.Named{Name: arn, ARN: arn, Policy: denyAll()})
		case managed.Err != nil:
			return managed.Err
		default:
			in.Session = append(in.Session, managed.Compiled)
		}
	}
	return nil
}

// setKeys sets the condition keys that every request has.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html.
func (d *Directory) setKeys(keys *policy.Context, req *Request) {
	keys.Set("aws:CurrentTime", req.Time.UTC().Format(time.RFC3339))
	keys.Set("aws:EpochTime", strconv.FormatInt(req.Time.Unix(), 10))
	keys.Set("aws:SecureTransport", strconv.FormatBool(req.Secure))
	keys.Set("aws:PrincipalIsAWSService", "false")
	set := func(key, value string) {
		if value != "" {
			keys.Set(key, value)
		}
	}
	set("aws:SourceIp", req.SourceIP)
	set("aws:UserAgent", req.UserAgent)
	set("aws:RequestedRegion", req.Region)
	caller := req.Caller
	if caller == nil || caller.Type == identity.CallerAnonymous || caller.Type == "" {
		return
	}
	keys.Set("aws:PrincipalArn", caller.PrincipalARN())
	keys.Set("aws:PrincipalAccount", caller.AccountID)
	keys.Set("aws:PrincipalType", string(caller.Type))
	keys.Set("aws:userid", caller.UserID)
	set("aws:username", caller.UserName)
	session := caller.Session
	if session == nil || session.RoleARN == "" {
		if user, ok := d.callerUser(caller); ok {
			keys.SetTags("aws:PrincipalTag/", user.Tags)
		}
	} else if role, ok := d.sessionRole(session); ok {
		keys.SetTags("aws:PrincipalTag/", role.Tags)
	}
	if session == nil {
		return
	}
	keys.SetTags("aws:PrincipalTag/", session.Tags) // over those of the role or user
	keys.Set("aws:TokenIssueTime", session.IssuedAt.UTC().Format(time.RFC3339))
	if session.UserARN != "" {
		keys.Set("aws:MultiFactorAuthPresent", "false")
	}
	set("aws:SourceIdentity", session.SourceIdentity)
	for key, value := range session.Federated {
		keys.Set(key, value)
	}
}

// SetRequestTags sets the condition keys for tags that a request brings.
func SetRequestTags(keys *policy.Context, tags []identity.Tag) {
	names := make([]string, len(tags))
	for i, tag := range tags {
		names[i] = tag.Key
	}
	keys.SetTags("aws:RequestTag/", tags)
	keys.SetMany("aws:TagKeys", names...)
}
