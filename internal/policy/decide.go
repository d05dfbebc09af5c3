package policy

import "github.com/podid/podid/internal/identity"

// Named is a policy and what people call it.
type Named struct {
	Name   string // of the inline or managed policy, the bucket, the role
	ARN    string // of a managed policy; empty for all others
	Group  string // that brings the policy to a user; empty for all others
	Policy *Policy
}

// Inputs are the policies that bear on a request.
type Inputs struct {
	Identity    []*Named // all policies of the user or role, inline and managed
	Boundary    *Named   // permissions boundary of the user or role; nil means none
	Session     []*Named // session policies; none means the session is not restricted. One of them must allow
	Federated   bool     // the session is a federated user's, which without session policies may do nothing by itself
	Resource    *Named   // policy of the resource, or the trust policy of the role to be assumed; nil means none
	SameAccount bool     // the resource belongs to the principal's account
	MustAllow   bool     // the resource's policy must allow within its account too, as that of a key of KMS must, and a trust policy always
}

// Decision says whether a request is allowed, and what decided.
type Decision struct {
	Allowed   bool
	Explicit  bool       // a Deny statement matched; else, if not allowed, an Allow was missing
	Cause     Kind       // of the policies that decided, or that lack an Allow
	Policy    *Named     // that decided; nil if an Allow was missing, or the account's root user needed none
	Statement *Statement // that decided; nil as Policy
	Action    string     // of the request
	Resource  string     // of the request
}

// verdict is what the policies of one kind say together.
type verdict struct {
	Result
	kind  Kind
	named *Named
	reach reach
}

// join takes in one more policy of the kind: a Deny beats an Allow, and the first of each stands.
func (v *verdict) join(req *Request, n *Named) {
	if v.Effect == Deny || n == nil {
		return
	}
	result, reach := n.Policy.evaluate(req)
	if result.Effect == Deny || result.Effect == Allow && v.Effect == NoMatch {
		v.Result, v.named, v.reach = result, n, reach
	}
}

// Decide combines what all policies say. A Deny anywhere is final. Otherwise, within an account, either the identity's policies or
// that of the resource must allow, and the permissions boundary and the session policies must allow too. How directly the resource's
// policy names the principal matters: for an Allow of the role the identity's policies need not allow, for one of the very user or
// session none of its other policies need to, and one of the account counts for nothing by itself. Across accounts, and for
// assuming a role always, the resource's side must allow; across accounts the identity's side must as well.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html.
func Decide(req *Request, in *Inputs) Decision {
	var all verdicts
	all.judge(req, in)
	for _, v := range [...]*verdict{&all.own, &all.boundary, &all.session, &all.resource} {
		if v.Effect == Deny {
			return v.decision(req)
		}
	}
	needed := all.needed(req, in)
	for _, v := range needed {
		if v != nil && v.Effect != Allow {
			return v.decision(req)
		}
	}
	return needed[1].decision(req)
}

// verdicts are what the policies of each kind say.
type verdicts struct{ own, boundary, session, resource verdict }

func (all *verdicts) judge(req *Request, in *Inputs) {
	all.own.kind, all.boundary.kind, all.session.kind, all.resource.kind = Identity, Boundary, Session, Resource
	for _, n := range in.Identity {
		all.own.join(req, n)
	}
	all.boundary.join(req, in.Boundary)
	for _, n := range in.Session {
		all.session.join(req, n)
	}
	all.resource.join(req, in.Resource)
	if in.Resource != nil && in.Resource.Policy.kind == Trust {
		all.resource.kind = Trust
	}
	if c := req.Principal.caller(); c != nil && c.Type == identity.CallerRoot && all.own.Effect == NoMatch {
		all.own.Effect = Allow
	}
}

// needed returns those that must allow, in the order in which one that does not is named; unused places are nil. If all do, the second,
// which is always there, is named as what allows.
func (all *verdicts) needed(req *Request, in *Inputs) (needed [4]*verdict) {
	resource := &all.resource
	direct := asRole // from this reach on, the identity's policies need not allow
	if resource.kind == Resource {
		direct = asAnyone
	}
	if resource.Effect != Allow && (resource.kind == Trust || in.MustAllow || !in.SameAccount) {
		needed[0] = resource
	}
	needed[1] = &all.own
	switch {
	case req.Principal.caller() == nil: // services, web identities and strangers have no policies of their own
		needed[1] = resource
		return needed
	case in.SameAccount && resource.Effect == Allow && resource.reach == asSelf:
		needed[1] = resource
		return needed
	case in.SameAccount && resource.Effect == Allow && resource.reach >= direct:
		needed[1] = resource
	}
	if in.Boundary != nil {
		needed[2] = &all.boundary
	}
	if len(in.Session) > 0 || in.Federated {
		needed[3] = &all.session
	}
	return needed
}

func (v *verdict) decision(req *Request) Decision {
	return Decision{
		Allowed:   v.Effect == Allow,
		Explicit:  v.Effect == Deny,
		Cause:     v.kind,
		Policy:    v.named,
		Statement: v.Statement,
		Action:    req.Action,
		Resource:  req.Resource,
	}
}
