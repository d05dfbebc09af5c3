package policy

import "slices"

// Effect is what a statement or a policy says about a request.
type Effect int

// The effects. A Deny beats any Allow; where nothing matches, the request is denied in the end, but implicitly.
const (
	NoMatch Effect = iota
	Allow
	Deny
)

// String returns NoMatch, Allow or Deny.
func (e Effect) String() string { return [...]string{"NoMatch", "Allow", "Deny"}[e] }

// Request is what a caller wants to do.
type Request struct {
	Action    string    // s3:ListBucket
	Resource  string    // an ARN, or "*" for an action that is about no resource in particular
	Principal Principal // read by trust policies and the policies of resources
	Context   *Context  // condition keys; nil means none
}

// Statement identifies a statement of a policy.
type Statement struct {
	Number     int      // from 1
	Sid        string   // empty if it has none
	Start, End Position // of its opening and its closing brace
}

type statement struct {
	Statement
	effect     Effect
	trust      bool        // it is in a trust policy, whose resource is the role
	principals *principals // nil in policies of identities
	actions    patterns
	resources  patterns
	conditions []*condition
}

// patterns are the values of Action or Resource, or of their negation.
type patterns struct {
	not      bool
	texts    []string // as written
	compiled []pattern
}

func (p *patterns) add(text string, compiled pattern) {
	p.texts, p.compiled = append(p.texts, text), append(p.compiled, compiled)
}

// Result is what one policy says about a request.
type Result struct {
	Effect    Effect
	Statement *Statement // that decided; nil for NoMatch
}

// Evaluate tells what the policy alone says about a request. Where several statements of the same effect match, the first of
// them is named; in a trust policy or a resource's, the first Allow that names the principal most directly.
func (p *Policy) Evaluate(req *Request) Result {
	r, _ := p.evaluate(req)
	return r
}

func (p *Policy) evaluate(req *Request) (Result, reach) {
	var best Result
	var named reach
	for _, s := range p.statements {
		r := s.applies(req)
		switch {
		case r == nobody:
		case s.effect == Deny:
			return Result{Deny, &s.Statement}, r
		case r > named:
			best, named = Result{Allow, &s.Statement}, r
		}
	}
	return best, named
}

// applies tells whether all elements of the statement match, and how directly it names the principal.
func (s *statement) applies(req *Request) reach {
	if !s.matchAction(req) || !s.matchResource(req) {
		return nobody
	}
	named := s.reach(req)
	if named == nobody {
		return nobody
	}
	for _, c := range s.conditions {
		if !c.evaluate(req.Context).met(s.effect) {
			return nobody
		}
	}
	return named
}

// reach is how directly the statement names the principal. A policy of an identity is about that identity. In a policy of a resource
// "*" with a condition on aws:PrincipalArn is another way to name principals, one that neither boundary nor session policies limit.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-roles.
func (s *statement) reach(req *Request) reach {
	if s.principals == nil {
		return asSelf
	}
	named := s.principals.reach(req.Principal, s.effect, s.trust)
	if named == asAnyone && !s.trust && !s.principals.not && slices.ContainsFunc(s.conditions, (*condition).namesPrincipal) {
		return asSelf
	}
	return named
}

func (s *statement) matchAction(req *Request) bool {
	for _, p := range s.actions.compiled {
		if p.matchFold(req.Action) {
			return !s.actions.not
		}
	}
	return s.actions.not
}

// matchResource compares the resource. A pattern with a variable that has no value matches no resource. Under NotResource that
// would let an Allow reach every resource, so such an Allow does not apply; a Deny does.
func (s *statement) matchResource(req *Request) bool {
	if s.trust {
		return true
	}
	for _, p := range s.resources.compiled {
		if p.match(req.Resource, req.Context) {
			return !s.resources.not
		}
	}
	unresolved := func(p pattern) bool { return !p.resolved(req.Context) }
	return s.resources.not && (s.effect == Deny || !slices.ContainsFunc(s.resources.compiled, unresolved))
}

// Principals returns the ARNs of users, roles and sessions that the document names, each once and as written. IAM refuses a
// document that names one which does not exist; only the caller can know that.
func (p *Policy) Principals() []string {
	return p.texts(func(s *statement) []string {
		if s.principals == nil {
			return nil
		}
		return s.principals.arns
	})
}

// Actions returns the actions that the document names, each once and as written.
func (p *Policy) Actions() []string {
	return p.texts(func(s *statement) []string { return s.actions.texts })
}

// Resources returns the resources that the document names, each once and as written.
func (p *Policy) Resources() []string {
	return p.texts(func(s *statement) []string { return s.resources.texts })
}

func (p *Policy) texts(of func(*statement) []string) []string {
	var all []string
	for _, s := range p.statements {
		for _, text := range of(s) {
			if !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	return all
}
