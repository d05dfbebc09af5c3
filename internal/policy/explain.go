package policy

import (
	"cmp"
	"slices"
)

// maxCandidates is how many statements an explanation names.
const maxCandidates = 3

// Explanation is a decision and, where an Allow was missing, the statements that came closest to giving it.
type Explanation struct {
	Decision   Decision
	Candidates []Candidate // closest first, at most three
	Keys       []Key       // of the request, if it is denied
}

// Candidate is an Allow statement that did not match.
type Candidate struct {
	Policy    *Named
	Statement *Statement
	Failures  []Failure // at least one
}

// Failure is an element of a statement that did not match the request.
type Failure struct {
	Element  string   // Action, NotAction, Resource, NotResource, Principal, NotPrincipal or Condition
	Operator string   // of a condition, as written: StringEquals
	Key      string   // of a condition, as written: aws:PrincipalTag/kubernetes-namespace
	Want     []string // as written
	Seen     []string // in the request; empty if it does not have the key
}

// Explain decides as [Decide] does and adds why. It is slower and meant for people, not for every request.
func Explain(req *Request, in *Inputs) Explanation {
	e := Explanation{Decision: Decide(req, in)}
	if e.Decision.Allowed {
		return e
	}
	e.Keys = req.Context.Keys()
	if e.Decision.Explicit {
		return e
	}
	e.find(req, in)
	return e
}

// find looks for the statements that came closest to an Allow of the kind that lacks one.
func (e *Explanation) find(req *Request, in *Inputs) {
	for _, n := range in.of(e.Decision.Cause) {
		for _, s := range n.Policy.statements {
			if s.effect == Allow {
				if failures := s.failures(req); len(failures) > 0 {
					e.Candidates = append(e.Candidates, Candidate{n, &s.Statement, failures})
				}
			}
		}
	}
	slices.SortStableFunc(e.Candidates, func(a, b Candidate) int { return cmp.Compare(a.distance(), b.distance()) })
	e.Candidates = e.Candidates[:min(len(e.Candidates), maxCandidates)]
}

// of returns the policies of a kind.
func (in *Inputs) of(kind Kind) []*Named {
	one := in.Resource
	switch kind {
	case Identity:
		return in.Identity
	case Session:
		return in.Session
	case Boundary:
		one = in.Boundary
	}
	if one == nil {
		return nil
	}
	return []*Named{one}
}

// distance orders candidates: a statement about another action is further off than one about another resource or principal, and
// that further than one with a condition that failed.
func (c *Candidate) distance() int {
	weights := map[string]int{"Action": 10000, "NotAction": 10000, "Condition": 1}
	sum := 0
	for _, f := range c.Failures {
		sum += cmp.Or(weights[f.Element], 100)
	}
	return sum
}

// failures lists the elements that keep the statement from applying; there are none exactly if it applies.
func (s *statement) failures(req *Request) []Failure {
	var failures []Failure
	if !s.matchAction(req) {
		failures = append(failures, Failure{Element: s.actions.element("Action"), Want: s.actions.texts, Seen: []string{req.Action}})
	}
	if !s.matchResource(req) {
		failures = append(failures,
			Failure{Element: s.resources.element("Resource"), Want: s.resources.texts, Seen: []string{req.Resource}})
	}
	if s.reach(req) == nobody {
		f := Failure{Element: "Principal", Want: s.principals.texts, Seen: []string{req.Principal.String()}}
		if s.principals.not {
			f.Element = "NotPrincipal"
		}
		failures = append(failures, f)
	}
	for _, c := range s.conditions {
		if c.evaluate(req.Context).met(s.effect) {
			continue
		}
		f := Failure{Element: "Condition", Operator: c.operator, Key: c.key, Want: c.values}
		if e := req.Context.find(c.key); e != nil {
			f.Seen = e.values()
		}
		failures = append(failures, f)
	}
	return failures
}

func (p *patterns) element(name string) string {
	if p.not {
		return "Not" + name
	}
	return name
}
