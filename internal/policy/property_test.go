package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The generators draw from few values, so that statements and requests often meet.

func quoted(t *rapid.T, label string, values ...string) string {
	chosen := rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, 2, rapid.ID[string]).Draw(t, label)
	return `["` + strings.Join(chosen, `","`) + `"]`
}

func drawStatement(t *rapid.T, kind Kind, effect string) string {
	not := func(label string) string { return rapid.SampledFrom([]string{"", "", "", "Not"}).Draw(t, "not "+label) }
	s := `{"Effect":"` + effect + `",` +
		`"` + not("action") + `Action":` + quoted(t, "actions", "*", "s3:*", "s3:Get*", "s3:getobject", "s3:PutObject", "sts:AssumeRole") + `,` +
		`"` + not("resource") + `Resource":` + quoted(t, "resources", "*", "arn:aws:s3:::b/*", "arn:aws:s3:::b/${aws:username}",
		"arn:aws:s3:::*/${aws:PrincipalTag/team, 'none'}/?")
	if kind == Resource {
		s += `,"` + not("principal") + `Principal":{"AWS":` + quoted(t, "principals", "*", "111122223333", "444455556666", roleARN, sessionARN, userARN) +
			rapid.SampledFrom([]string{`}`, `,"Service":"pods.eks.amazonaws.com"}`}).Draw(t, "service")
	}
	if rapid.Bool().Draw(t, "conditional") {
		operator := rapid.SampledFrom([]string{"", "ForAllValues:", "ForAnyValue:"}).Draw(t, "set") +
			rapid.SampledFrom([]string{"StringEquals", "StringNotEquals", "StringLike", "StringNotLike"}).Draw(t, "operator") +
			rapid.SampledFrom([]string{"", "IfExists"}).Draw(t, "suffix")
		key := rapid.SampledFrom([]string{"aws:username", "aws:PrincipalTag/team", "aws:TagKeys", "aws:PrincipalArn"}).Draw(t, "key")
		s += `,"Condition":{"` + operator + `":{"` + key + `":` + quoted(t, "values", "a", "b", "*", "${aws:username}") +
			`},"NumericLessThan":{"s3:max-keys":["10"]}}`
	}
	return s + `}`
}

func drawPolicy(t *rapid.T, kind Kind, label string) *Named {
	var statements []string
	for range rapid.IntRange(1, 3).Draw(t, label+" statements") {
		statements = append(statements, drawStatement(t, kind, rapid.SampledFrom([]string{"Allow", "Allow", "Allow", "Deny"}).Draw(t, "effect")))
	}
	return compile(t, kind, label, strings.Join(statements, ","))
}

func compile(t *rapid.T, kind Kind, label, statements string) *Named {
	p, err := Parse(kind, document(statements))
	if err != nil {
		t.Fatalf("parsing %s: %v", statements, err)
	}
	return &Named{Name: label, Policy: p}
}

func drawInputs(t *rapid.T) *Inputs {
	in := &Inputs{SameAccount: rapid.Bool().Draw(t, "same account")}
	for i := range rapid.IntRange(0, 2).Draw(t, "identity policies") {
		in.Identity = append(in.Identity, drawPolicy(t, Identity, fmt.Sprint("identity ", i)))
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "session policies") {
		in.Session = append(in.Session, drawPolicy(t, Session, fmt.Sprint("session ", i)))
	}
	if rapid.Bool().Draw(t, "has boundary") {
		in.Boundary = drawPolicy(t, Boundary, "boundary")
	}
	if rapid.Bool().Draw(t, "has resource policy") {
		in.Resource = drawPolicy(t, Resource, "resource")
	}
	return in
}

func drawRequest(t *rapid.T) *Request {
	ctx := &Context{}
	for _, key := range []string{"aws:username", "aws:PrincipalTag/team", "aws:PrincipalArn"} {
		if rapid.Bool().Draw(t, "has "+key) {
			ctx.Set(key, rapid.SampledFrom([]string{"a", "b", "*", ""}).Draw(t, key))
		}
	}
	ctx.SetMany("aws:TagKeys", rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 2).Draw(t, "aws:TagKeys")...)
	ctx.Set("s3:max-keys", rapid.SampledFrom([]string{"1", "100", "many"}).Draw(t, "s3:max-keys"))
	who := []Principal{session(), user(), root(), stranger(), {Service: podsEKS}}
	return &Request{
		Action:    rapid.SampledFrom([]string{"s3:GetObject", "s3:PutObject", "sts:AssumeRole"}).Draw(t, "action"),
		Resource:  rapid.SampledFrom([]string{"*", "arn:aws:s3:::b/a", "arn:aws:s3:::b/a/b", "arn:aws:s3:::c/none/x"}).Draw(t, "resource"),
		Principal: rapid.SampledFrom(who).Draw(t, "principal"),
		Context:   ctx,
	}
}

// with returns the inputs with one more policy of a kind.
func (in Inputs) with(n *Named, kind Kind) *Inputs {
	switch kind {
	case Identity:
		in.Identity = append(slices.Clone(in.Identity), n)
	case Session:
		in.Session = append(slices.Clone(in.Session), n)
	case Boundary:
		in.Boundary = merge(in.Boundary, n)
	case Resource:
		in.Resource = merge(in.Resource, n)
	}
	return &in
}

// merge puts the statements of two policies into one.
func merge(a, b *Named) *Named {
	if a == nil {
		return b
	}
	return &Named{Name: a.Name, Policy: &Policy{kind: a.Policy.kind, statements: slices.Concat(a.Policy.statements, b.Policy.statements)}}
}

func TestDenyNeverWidens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req, in := drawRequest(t), drawInputs(t)
		kind := rapid.SampledFrom([]Kind{Identity, Boundary, Session, Resource}).Draw(t, "kind")
		after := in.with(compile(t, kind, "added", drawStatement(t, kind, "Deny")), kind)
		if Decide(req, after).Allowed && !Decide(req, in).Allowed {
			t.Fatal("a Deny made it allowed")
		}
	})
}

func TestAllowNeverNarrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req, in := drawRequest(t), drawInputs(t)
		kinds := []Kind{Identity, Resource}
		if in.Boundary != nil {
			kinds = append(kinds, Boundary)
		}
		if len(in.Session) > 0 {
			kinds = append(kinds, Session)
		}
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		after := in.with(compile(t, kind, "added", drawStatement(t, kind, "Allow")), kind)
		if !Decide(req, after).Allowed && Decide(req, in).Allowed {
			t.Fatal("an Allow made it denied")
		}
	})
}

func TestRestrictionsNeverWiden(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req, in := drawRequest(t), drawInputs(t)
		restricted := Decide(req, in).Allowed
		in.Session = nil
		noSession := Decide(req, in).Allowed
		in.Boundary = nil
		free := Decide(req, in).Allowed
		if restricted && !noSession || noSession && !free {
			t.Fatalf("allowed: restricted %v, without session policies %v, without boundary %v", restricted, noSession, free)
		}
	})
}

func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req, in := drawRequest(t), drawInputs(t)
		want := Decide(req, in)
		for _, n := range slices.Concat(in.Identity, in.Session) {
			slices.Reverse(n.Policy.statements)
		}
		slices.Reverse(in.Identity)
		slices.Reverse(in.Session)
		if got := Decide(req, in); got.Allowed != want.Allowed || got.Explicit != want.Explicit || got.Cause != want.Cause {
			t.Fatalf("got %+v, in the other order %+v", want, got)
		}
	})
}

func TestExplainAgreesWithDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		req, in := drawRequest(t), drawInputs(t)
		e := Explain(req, in)
		if e.Decision != Decide(req, in) {
			t.Fatalf("Explain decided %+v, Decide %+v", e.Decision, Decide(req, in))
		}
		for _, c := range e.Candidates {
			if len(c.Failures) == 0 {
				t.Fatalf("%s is named as failed, but nothing failed: %s", c.Statement, e)
			}
		}
		for _, s := range drawPolicy(t, Resource, "any").Policy.statements {
			if failures := s.failures(req); (len(failures) == 0) != (s.applies(req) != nobody) {
				t.Fatalf("statement applies %v, failures %v", s.applies(req), failures)
			}
		}
	})
}

// TestGlob compares with the definition: a "*" is nothing, or one character and itself again.
func TestGlob(t *testing.T) {
	var matches func(p, s string) bool
	matches = func(p, s string) bool {
		switch {
		case p == "":
			return s == ""
		case p[0] == '*':
			return matches(p[1:], s) || s != "" && matches(p, s[1:])
		}
		return s != "" && (p[0] == '?' || p[0] == s[0]) && matches(p[1:], s[1:])
	}
	rapid.Check(t, func(t *rapid.T) {
		text, s := rapid.StringMatching(`[ab*?]{0,8}`).Draw(t, "pattern"), rapid.StringMatching(`[ab]{0,8}`).Draw(t, "text")
		p, err := compilePattern(text, true, false)
		if err != nil {
			t.Fatal(err)
		}
		want := matches(text, s)
		if got := p.match(s, nil); got != want {
			t.Fatalf("%q matches %q: got %v, want %v", text, s, got, want)
		}
		if got := p.sweep(s, nil, false); got != want {
			t.Fatalf("%q matches %q, swept: got %v, want %v", text, s, got, want)
		}
	})
}

// TestUnknownOperatorsAreRefused misspells operators: whatever is not exactly one of them must not be read as one, nor as a
// condition that always holds.
func TestUnknownOperatorsAreRefused(t *testing.T) {
	known := map[string]bool{"Null": true}
	for base := range operators {
		for _, prefix := range []string{"", "ForAllValues:", "ForAnyValue:"} {
			known[prefix+base], known[prefix+base+"IfExists"] = true, true
		}
	}
	names := slices.Sorted(maps.Keys(known))
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "name")
		at := rapid.IntRange(0, len(name)).Draw(t, "at")
		cut := rapid.IntRange(at, min(at+3, len(name))).Draw(t, "cut")
		name = name[:at] + rapid.SampledFrom([]string{"", "x", "Not", "IfExists", "ForAllValues:", " "}).Draw(t, "put in") + name[cut:]
		effect := rapid.SampledFrom([]string{"Allow", "Deny"}).Draw(t, "effect")
		_, err := Parse(Identity, document(`{"Effect":"`+effect+`","Action":"*","Resource":"*","Condition":{"`+name+`":{}}}`))
		if (err == nil) != known[name] {
			t.Fatalf("operator %q: %v", name, err)
		}
	})
}

// TestSweepIsAsWalk compares the two ways to match on patterns of more than a word, with variables and letters that are not ASCII.
func TestSweepIsAsWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`(a|b|é|\*|\?|\$\{aws:username\}|[c-z]){0,20}(ab\?|\*b|aé){0,60}`).Draw(t, "pattern")
		s := rapid.StringMatching(`([abé*]|\x{10FFFF}|[A-z]){0,20}(abé|[ab]b|aé){0,60}`).Draw(t, "text") + rapid.SampledFrom([]string{"", "\xff", "\xc3"}).Draw(t, "end")
		if rapid.Bool().Draw(t, "is meant") {
			s = strings.NewReplacer("?", "é", "*", "abaé", "${aws:username}", "ab").Replace(text) + rapid.SampledFrom([]string{"", "b"}).Draw(t, "more")
		}
		ctx := new(Context)
		if rapid.Bool().Draw(t, "has a name") {
			ctx.Set("aws:username", rapid.SampledFrom([]string{"", "*", "ab", "é"}).Draw(t, "name"))
		}
		fold := rapid.Bool().Draw(t, "fold")
		p, err := compilePattern(text, true, !fold)
		if err != nil {
			t.Fatal(err)
		}
		want, left := p.walk(s, ctx, fold, 1<<30)
		if got := p.sweep(s, ctx, fold); got != want || left < 0 {
			t.Fatalf("%q matches %q: swept %v, walked %v", text, s, got, want)
		}
	})
}

// TestGlobIsLinear counts steps on patterns that make backtracking matchers slow: walking ends or is given up after some that grow as
// pattern and text do, and sweeping finds the answer.
func TestGlobIsLinear(t *testing.T) {
	patterns := map[string]string{
		"stars and letters":  strings.Repeat("*a", 10000) + "b",
		"letters after star": "*" + strings.Repeat("a?", 10000) + "b",
		"stars only":         strings.Repeat("*", 10000) + "b",
		"stars and marks":    strings.Repeat("*?", 10000) + "b",
		"alternating":        strings.Repeat("*a*b", 10000) + "c",
		"ends like it":       "*" + strings.Repeat("a", 10000) + "b",
		"all of it, often":   strings.Repeat("*"+strings.Repeat("a?", 500)+"b", 20),
	}
	for name, text := range patterns {
		t.Run(name, func(t *testing.T) {
			p, err := compilePattern(text, true, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, length := range []int{2000, 30000} {
				s := strings.Repeat("a", length)
				most := effort(len(p), length)
				matched, left := p.walk(s, nil, false, most)
				if slowest := len(text)/16 + 1; matched || left < -slowest {
					t.Errorf("matched %v, %d steps of %d left", matched, left, most)
				}
				if p.match(s, nil) || p.sweep(s, nil, false) || p.matchFold(s) {
					t.Error("matches a text without the last letter")
				}
			}
		})
	}
}
