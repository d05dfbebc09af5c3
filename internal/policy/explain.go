package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxCandidates is how many statements an explanation names.
const maxCandidates = 3

// Explanation is a decision and, where an Allow was missing, the statements that came closest to giving it.
type Explanation struct {
	Decision   Decision
	Candidates []Candidate // closest first, at most three
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
	if e.Decision.Allowed || e.Decision.Explicit {
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

// Step is what the policies of one kind say about a request, apart from all others.
type Step struct {
	Explanation
	// Needed says that the request is denied unless these policies allow. Where it is false and they do not, those of another kind
	// make up for it.
	Needed bool
}

// String explains the step as [Explanation.String] does.
func (s *Step) String() string {
	if d := s.Decision; !d.Allowed && !d.Explicit && !s.Needed {
		return "no " + d.Cause.String() + " allows the " + d.Action + " action, and none needs to"
	}
	return s.Explanation.String()
}

// Steps takes a decision apart, into the kinds of policies that the request meets: those of the identity, session policies, its
// boundary, and those of the resource.
func Steps(req *Request, in *Inputs) []Step {
	var all verdicts
	all.judge(req, in)
	needed := all.needed(req, in)
	var steps []Step
	for _, v := range [...]*verdict{&all.own, &all.session, &all.boundary, &all.resource} {
		step := Step{Explanation: Explanation{Decision: v.decision(req)}, Needed: slices.Contains(needed[:], v)}
		who := v == &all.own && req.Principal.caller() != nil // always a step, if only to say that there are no policies
		if len(in.of(v.kind)) == 0 && !step.Needed && !who {
			continue
		}
		if v.Effect == NoMatch {
			step.find(req, in)
		}
		steps = append(steps, step)
	}
	return steps
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

// String puts a failure in one line, such as:
//
//	condition StringEquals aws:PrincipalTag/kubernetes-namespace: want "carts", request has "orders"
func (f Failure) String() string {
	name := f.Element
	if f.Element == "Condition" {
		name = "condition " + f.Operator + " " + f.Key
	}
	seen := "does not have the key"
	if len(f.Seen) > 0 {
		seen = "has " + quoteAll(f.Seen, " and ")
	}
	want := "want "
	if strings.HasPrefix(f.Element, "Not") || strings.Contains(f.Operator, "Not") {
		want = "want other than "
	}
	return name + ": " + want + quoteAll(f.Want, " or ") + ", request " + seen
}

// quoteAll quotes each text, for they may hold line breaks and control characters.
func quoteAll(texts []string, separator string) string {
	if len(texts) == 0 {
		return "nothing"
	}
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = fmt.Sprintf("%q", t)
	}
	return strings.Join(quoted, separator)
}

// String names the statement for people: statement 2 "ReadOnly" (line 7, column 5).
func (s *Statement) String() string {
	sid := ""
	if s.Sid != "" {
		sid = fmt.Sprintf(" %q", s.Sid)
	}
	return fmt.Sprintf("statement %d%s (line %d, column %d)", s.Number, sid, s.Start.Line, s.Start.Column)
}

// String explains the decision in a few lines of text, without a line break at the end.
func (e Explanation) String() string {
	d := e.Decision
	var b strings.Builder
	switch {
	case d.Allowed && d.Policy == nil:
		b.WriteString("allowed: the root user needs no policy")
	case d.Allowed:
		fmt.Fprintf(&b, "allowed by %s %s, %s", d.Cause, d.Policy, d.Statement)
	case d.Explicit:
		fmt.Fprintf(&b, "denied by %s %s, %s", d.Cause, d.Policy, d.Statement)
	default:
		fmt.Fprintf(&b, "denied %s", d.Reason())
		if len(e.Candidates) == 0 {
			fmt.Fprintf(&b, "\n  there is no %s with an Allow statement", d.Cause)
		}
	}
	for _, c := range e.Candidates {
		fmt.Fprintf(&b, "\n  %s, %s:", c.Policy, c.Statement)
		for _, f := range c.Failures {
			b.WriteString("\n    " + f.String())
		}
	}
	return b.String()
}
