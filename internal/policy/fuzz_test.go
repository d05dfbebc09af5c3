package policy

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func FuzzParse(f *testing.F) {
	f.Add(int(Identity), document(`{"Effect":"Allow","Action":"s3:Get*","Resource":["arn:aws:s3:::b/${aws:username, 'x'}/*"]}`))
	f.Add(int(Resource), document(`{"Effect":"Deny","NotPrincipal":{"AWS":"111122223333"},"NotAction":"s3:*","NotResource":"*"}`))
	f.Fuzz(func(t *testing.T, kind int, text string) {
		if kind < int(Identity) || kind > int(Trust) {
			return
		}
		p, err := Parse(Kind(kind), text)
		again, errAgain := Parse(Kind(kind), text)
		if err != nil {
			var refused *SyntaxError
			if !errors.As(err, &refused) || refused.Line < 1 || refused.Column < 1 {
				t.Fatalf("got %#v, want a SyntaxError with a position", err)
			}
			if diff := cmp.Diff(err, errAgain); diff != "" {
				t.Fatal(diff)
			}
			return
		}
		if len(p.statements) != len(again.statements) {
			t.Fatalf("%d statements, then %d", len(p.statements), len(again.statements))
		}
		ctx := keys("aws:username", "alice", "aws:TagKeys", "a,b", "aws:SourceIp", "203.0.113.7", "aws:CurrentTime", "2024-01-01T00:00:00Z")
		req := &Request{"s3:GetObject", "arn:aws:s3:::b/alice/k", session(), ctx}
		if a, b := p.Evaluate(req), again.Evaluate(req); !cmp.Equal(a, b) {
			t.Fatalf("%v, then %v", a, b)
		}
		for _, s := range p.statements {
			if (len(s.failures(req)) == 0) != (s.applies(req) != nobody) {
				t.Fatalf("applies is %v, failures are %v", s.applies(req), s.failures(req))
			}
		}
		e := Explain(req, &Inputs{SameAccount: true, Resource: &Named{"r", "", p}, Identity: []*Named{{"i", "", again}}})
		if e.String() == "" {
			t.Fatal("no explanation")
		}
	})
}
