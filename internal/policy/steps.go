package policy

import "slices"

// Step is what the policies of one kind say about a request, apart from all others.
type Step struct {
	Explanation
	// Needed says that the request is denied unless these policies allow. Where it is false and they do not, those of another kind
	// make up for it.
	Needed bool
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
