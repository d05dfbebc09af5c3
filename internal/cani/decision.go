package cani

import (
	"slices"

	"github.com/podid/podid/internal/policy"
)

// question is one action of a principal on a resource, with all policies that bear on it as far as they are known.
type question struct {
	who      *principal
	action   string
	on       string
	keys     *policy.Context
	resource *policy.Named // or the trust policy of a role
	kind     policy.Kind   // Resource or Trust
	same     bool          // see [policy.Inputs]
	must     bool          // see [policy.Inputs]
	err      error         // why the resource's policy is not there
}

// names are what links are called and what they are of, by the kind of their policies.
type names map[policy.Kind][2]string

// links answers a question. What could not be read is taken to allow: whoever is denied even so is denied whatever it says, and all
// others are unknown.
func (q *question) links(called names) []Link {
	errs := map[policy.Kind]error{policy.Identity: q.who.policiesErr, policy.Boundary: q.who.boundaryErr, policy.Session: q.who.sessionErr, q.kind: q.err}
	in := &policy.Inputs{
		Identity: q.who.policies, Boundary: q.who.boundary, Session: q.who.sessionPolicies, Resource: q.resource, SameAccount: q.same, MustAllow: q.must,
	}
	if q.who.policiesErr != nil {
		in.Identity = append(slices.Clone(in.Identity), everything(policy.Identity, ""))
	}
	if q.who.boundaryErr != nil {
		in.Boundary = everything(policy.Boundary, "")
	}
	if q.who.sessionErr != nil {
		in.Session = append(slices.Clone(in.Session), everything(policy.Session, ""))
	}
	if q.err != nil {
		in.Resource = everything(q.kind, q.who.caller.ARN)
	}
	req := &policy.Request{Action: q.action, Resource: q.on, Principal: policy.Principal{Caller: q.who.caller}, Context: q.keys}
	var links []Link
	for _, step := range policy.Steps(req, in) {
		kind := step.Decision.Cause
		link := Link{Name: called[kind][0], Of: called[kind][1]}
		link.conclude(&step, errs[kind])
		links = append(links, link)
	}
	return links
}

// everything is a policy that allows all.
func everything(kind policy.Kind, principalARN string) *policy.Named {
	text := `{"Effect":"Allow","Action":"*","Resource":"*"}`
	switch kind {
	case policy.Resource:
		text = `{"Effect":"Allow","Principal":{"AWS":"` + principalARN + `"},"Action":"*","Resource":"*"}`
	case policy.Trust:
		text = `{"Effect":"Allow","Principal":{"AWS":"` + principalARN + `"},"Action":"*"}`
	}
	p, err := policy.Parse(kind, `{"Version":"2012-10-17","Statement":`+text+`}`)
	if err != nil {
		panic("cani: " + err.Error()) // only an ARN that is none could do that, and those are refused before
	}
	return &policy.Named{Name: "unread", Policy: p}
}

// first picks the links of the first action that is denied, else of the first that is unknown, else of the first.
func first(actions [][]Link) []Link {
	for _, verdict := range []Verdict{Denied, Unknown} {
		for _, links := range actions {
			if slices.ContainsFunc(links, func(l Link) bool { return l.Verdict == verdict }) {
				return links
			}
		}
	}
	return actions[0]
}
