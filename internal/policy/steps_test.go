package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSteps(t *testing.T) {
	forRole := `{"Effect":"Allow","Principal":{"AWS":"` + roleARN + `"},"Action":"s3:GetObject","Resource":"*"}`
	forSession := strings.Replace(forRole, roleARN, sessionARN, 1)
	forAccount := strings.Replace(forRole, roleARN, "111122223333", 1)
	req := &Request{"s3:GetObject", "arn:aws:s3:::b/k", session(), nil}
	for name, test := range map[string]struct {
		in   *Inputs
		want []string // kind, what it says, whether it is needed
	}{
		"nothing": {&Inputs{SameAccount: true}, []string{"identity-based policy: denied because no identity-based policy allows the s3:GetObject action, needed"}},
		"own": {
			&Inputs{SameAccount: true, Identity: []*Named{named(t, Identity, "i", allow)}},
			[]string{`identity-based policy: allowed by identity-based policy "i", statement 1 (line 1, column 38), needed`},
		},
		"own, and a resource that is silent": {
			&Inputs{SameAccount: true, Identity: []*Named{named(t, Identity, "i", allow)}, Resource: named(t, Resource, "b", forAccount)},
			[]string{
				`identity-based policy: allowed by identity-based policy "i", statement 1 (line 1, column 38), needed`,
				`resource-based policy: allowed by resource-based policy "b", statement 1 (line 1, column 38)`,
			},
		},
		"resource for the role": {
			&Inputs{SameAccount: true, Boundary: named(t, Boundary, "limit", other), Resource: named(t, Resource, "b", forRole)},
			[]string{
				"identity-based policy: no identity-based policy allows the s3:GetObject action, and none needs to",
				"permissions boundary: denied because no permissions boundary allows the s3:GetObject action, needed",
				`resource-based policy: allowed by resource-based policy "b", statement 1 (line 1, column 38), needed`,
			},
		},
		"resource for the session": {
			&Inputs{
				SameAccount: true, Boundary: named(t, Boundary, "limit", other), Session: []*Named{named(t, Session, "s", other)},
				Resource: named(t, Resource, "b", forSession),
			},
			[]string{
				"identity-based policy: no identity-based policy allows the s3:GetObject action, and none needs to",
				"session policy: no session policy allows the s3:GetObject action, and none needs to",
				"permissions boundary: no permissions boundary allows the s3:GetObject action, and none needs to",
				`resource-based policy: allowed by resource-based policy "b", statement 1 (line 1, column 38), needed`,
			},
		},
		"another account, without a policy": {
			&Inputs{Identity: []*Named{named(t, Identity, "i", allow)}},
			[]string{
				`identity-based policy: allowed by identity-based policy "i", statement 1 (line 1, column 38), needed`,
				"resource-based policy: denied because no resource-based policy allows the s3:GetObject action, needed",
			},
		},
		"must allow": {
			&Inputs{SameAccount: true, MustAllow: true, Identity: []*Named{named(t, Identity, "i", allow)}, Resource: named(t, Resource, "b", strings.Replace(forRole, "web", "db", 1))},
			[]string{
				`identity-based policy: allowed by identity-based policy "i", statement 1 (line 1, column 38), needed`,
				"resource-based policy: denied because no resource-based policy allows the s3:GetObject action, needed",
			},
		},
	} {
		var got []string
		for _, step := range Steps(req, test.in) {
			says, _, _ := strings.Cut(step.String(), "\n")
			if step.Needed {
				says += ", needed"
			}
			got = append(got, step.Decision.Cause.String()+": "+says)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

// TestStepsAgreeWithDecide: a request is allowed exactly if no step denies and every needed one allows.
func TestStepsAgreeWithDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req, in := drawRequest(t), drawInputs(t)
		in.MustAllow = rapid.Bool().Draw(t, "must allow")
		want, got, explicit := Decide(req, in), true, false
		for _, step := range Steps(req, in) {
			d := step.Decision
			explicit = explicit || d.Explicit
			got = got && !d.Explicit && (d.Allowed || !step.Needed)
		}
		if got != want.Allowed || explicit != want.Explicit {
			t.Fatalf("Decide says %+v, the steps allow %v, deny %v", want, got, explicit)
		}
	})
}
