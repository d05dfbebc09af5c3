package policy

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzParse parses whatever it is given. What is refused is refused with a position; what is not is the same policy however often it is
// parsed, or printed and parsed again.
func FuzzParse(f *testing.F) {
	f.Add(int(Identity), document(`{"Effect":"Allow","Action":"s3:Get*","Resource":["arn:aws:s3:::b/${aws:username, 'x'}/*"]}`))
	f.Add(int(Resource), document(`{"Effect":"Deny","NotPrincipal":{"AWS":"111122223333"},"NotAction":"s3:*","NotResource":"*"}`))
	seen := map[[2]string]bool{}
	eachCase(f, func(_ string, c policyCase) {
		for _, d := range c.documents(f) {
			if !seen[d] {
				f.Add(int(caseKinds[d[0]]), d[1])
			}
			seen[d] = true
		}
	})
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
		checkPrinted(t, Kind(kind), text, p, req, &Request{"sts:AssumeRole", roleARN, Principal{Service: podsEKS}, &Context{}},
			&Request{"s3:PutObject", "*", user(), keys("aws:username", "bob", "aws:SourceIp", "2001:db8::1")})
		for _, s := range p.statements {
			if (len(s.failures(req)) == 0) != (s.applies(req) != nobody) {
				t.Fatalf("applies is %v, failures are %v", s.applies(req), s.failures(req))
			}
		}
		resource, own := &Named{Name: "r", Policy: p}, []*Named{{Name: "i", Policy: again}}
		e := Explain(req, &Inputs{SameAccount: true, Resource: resource, Identity: own})
		if e.String() == "" {
			t.Fatal("no explanation")
		}
	})
}

// FuzzEvaluate asks a document whatever it is asked, and checks what must hold of any answer.
func FuzzEvaluate(f *testing.F) {
	f.Add(document(`{"Effect":"Allow","Action":"s3:Get*","Resource":"arn:aws:s3:::b/${aws:username}/*"}`), "s3:GetObject", "arn:aws:s3:::b/alice/k",
		"aws:username", "alice", false)
	f.Add(document(`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"ForAnyValue:StringLike":{"aws:TagKeys":["a*","?"]}}}`), "iam:TagUser", "*",
		"aws:TagKeys", "b,ab", true)
	f.Fuzz(func(t *testing.T, text, action, resource, key, value string, multi bool) {
		p, err := Parse(Identity, text)
		if err != nil {
			return
		}
		ctx, shouted := &Context{}, &Context{}
		if multi {
			ctx.SetMany(key, strings.Split(value, ",")...)
			shouted.SetMany(upper(key), strings.Split(value, ",")...)
		} else {
			ctx.Set(key, value)
			shouted.Set(upper(key), value)
		}
		req := &Request{action, resource, user(), ctx}
		in := &Inputs{SameAccount: true, Identity: []*Named{{Name: "p", Policy: p}}}
		d := Decide(req, in)
		if e := Explain(req, in); e.Decision != d || e.String() == "" {
			t.Fatalf("Decide says %v, Explain %v: %q", d, e.Decision, e.String())
		}
		if got := Decide(&Request{upper(action), resource, user(), shouted}, in); got.Allowed != d.Allowed || got.Explicit != d.Explicit {
			t.Fatalf("%v, and in capitals %v", d, got)
		}
		reversed := &Policy{kind: p.kind, statements: slices.Clone(p.statements)}
		slices.Reverse(reversed.statements)
		if got, want := reversed.Evaluate(req).Effect, p.Evaluate(req).Effect; got != want {
			t.Fatalf("%v, and in the other order %v", want, got)
		}
		limited := *in
		limited.Boundary, limited.Session = &Named{Policy: p}, in.Identity
		if got := Decide(req, &limited); got.Allowed != d.Allowed || got.Explicit != d.Explicit {
			t.Fatalf("%v, and limited by itself %v", d, got)
		}
		limited.Session = []*Named{named(t, Session, "deny", `{"Effect":"Deny","Action":"*","Resource":"*"}`)}
		if got := Decide(req, &limited); got.Allowed || !got.Explicit {
			t.Fatalf("%v although everything is denied", got)
		}
	})
}

// upper puts ASCII letters in upper case and leaves all others alone.
func upper(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}
