// Package oracle compares podid's policy evaluator with an independent one, that of versitygw: random documents, asked random
// questions. It is a module of its own, so that the other evaluator never becomes a dependency of podid.
//
// Where the two disagree and podid is right, a rule says so: what the question has in it, which answer is right and why. A disagreement
// that no rule explains fails the test. "make oracle" runs it at length and lists how often each rule was needed.
package oracle

import (
	"testing"

	versity "github.com/versity/versitygw/iamapi/policy"
	"github.com/versity/versitygw/iamapi/types"
	"pgregory.net/rapid"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// ours asks podid.
func ours(t rapid.TB, q *question) policy.Effect {
	p, err := policy.Parse(policy.Identity, q.document())
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return p.Evaluate(&policy.Request{Action: q.action, Resource: q.resource, Context: q.context()}).Effect
}

// theirs asks versitygw.
func theirs(t rapid.TB, q *question) policy.Effect {
	// A document that it refuses it takes for a Deny, which would look like an answer.
	if err := versity.Parse(q.document()); err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	d := versity.EvaluateIdentityPolicies([]types.PolicyEntry{{PolicyDocument: q.document()}},
		versity.RequestContext{Action: q.action, Resource: q.resource, Condition: q.keys})
	return map[versity.Decision]policy.Effect{
		versity.DecisionNoMatch: policy.NoMatch, versity.DecisionAllow: policy.Allow, versity.DecisionDeny: policy.Deny,
	}[d]
}

func TestEvaluatorsAgree(t *testing.T) {
	agreed, excused := map[policy.Effect]int{}, map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		q := drawQuestion(rt)
		our, their := ours(rt, q), theirs(rt, q)
		if our == their {
			agreed[our]++
			return
		}
		for _, r := range rules {
			if r.applies(q) {
				excused[r.name]++
				return
			}
		}
		rt.Fatalf("podid says %v, versitygw %v\n%s", our, their, q)
	})
	t.Logf("the same answers: %v", agreed)
	for name, n := range excused {
		t.Logf("%d known disagreements: %s", n, name)
	}
}

// TestRules shows of each rule that it is needed, and which answer is right.
func TestRules(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			q := &r.example
			if !r.applies(q) {
				t.Errorf("the rule does not apply to its example %s", q)
			}
			if got := ours(t, q); got != r.want {
				t.Errorf("podid says %v, want %v\n%s", got, r.want, q)
			}
			if got := theirs(t, q); got == r.want {
				t.Errorf("versitygw says %v too: the rule is not needed\n%s", got, q)
			}
		})
	}
}

// TestTrustEvaluatorsAgree compares trust policies for web identities.
func TestTrustEvaluatorsAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		document, subject, audience := drawTrust(rt), drawSubject(rt), rapid.SampledFrom(audiences).Draw(rt, "aud")
		match, _ := versity.EvaluateWebIdentityTrust(document,
			func(arn string) (string, bool) { return identity.IssuerHostPath(issuers[arn]), issuers[arn] != "" },
			versity.WebIdentityContext{ProviderURL: issuer, Subject: subject, Audience: audience})
		their := map[versity.WebIdentityMatch]policy.Effect{versity.Allowed: policy.Allow, versity.ExplicitlyDenied: policy.Deny}[match]

		p, err := policy.Parse(policy.Trust, document)
		if err != nil {
			rt.Fatalf("%s: %v", document, err)
		}
		keys := &policy.Context{}
		keys.Set(issuer+":sub", subject)
		keys.Set(issuer+":aud", audience)
		keys.Set("aws:SecureTransport", "false")
		our := p.Evaluate(&policy.Request{
			Action: "sts:AssumeRoleWithWebIdentity", Principal: policy.Principal{Federated: provider}, Context: keys}).Effect
		if our != their {
			rt.Fatalf("podid says %v, versitygw %v\n%s\nsub %q, aud %q", our, their, document, subject, audience)
		}
	})
}
