package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

// printed writes a compiled policy as a document again, from nothing but what is compiled and its version. Whatever Parse took in from
// the document must be in it.
func printed(p *Policy, version string) string {
	statements := make([]string, len(p.statements))
	for i, s := range p.statements {
		var elements []string
		add := func(name string, value any) { elements = append(elements, encoded(name)+":"+encoded(value)) }
		if s.Sid != "" {
			add("Sid", s.Sid)
		}
		add("Effect", s.effect.String())
		if s.principals != nil {
			byKind := map[string][]string{}
			for _, text := range s.principals.texts {
				kind, value, _ := strings.Cut(text, " ")
				byKind[kind] = append(byKind[kind], value)
			}
			add(map[bool]string{false: "Principal", true: "NotPrincipal"}[s.principals.not], byKind)
		}
		add(s.actions.element("Action"), s.actions.texts)
		if !s.trust {
			add(s.resources.element("Resource"), s.resources.texts)
		}
		if len(s.conditions) > 0 {
			block := map[string]map[string][]string{}
			for _, c := range s.conditions {
				if block[c.operator] == nil {
					block[c.operator] = map[string][]string{}
				}
				block[c.operator][c.key] = append([]string{}, c.values...)
			}
			add("Condition", block)
		}
		statements[i] = "{" + strings.Join(elements, ",") + "}"
	}
	return `{"Version":` + encoded(version) + `,"Statement":[` + strings.Join(statements, ",") + `]}`
}

// encoded is JSON in ASCII: other characters come into values only escaped, and documents may not have them otherwise.
func encoded(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var b strings.Builder
	for _, r := range string(text) {
		if r < 0x80 {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// checkPrinted parses what is printed of a policy: it must be the same policy, for every request, and print the same.
func checkPrinted(t *testing.T, kind Kind, text string, p *Policy, requests ...*Request) {
	t.Helper()
	version := "2008-10-17"
	if root, err := decode(newSource(text)); err == nil && root.member("Version") != nil {
		version = root.member("Version").text
	}
	once := printed(p, version)
	if len(once) > MaxLength {
		return // the escapes made it too long
	}
	again, err := Parse(kind, once)
	if err != nil {
		t.Fatalf("%s\nis printed as\n%s\nwhich does not parse: %v", text, once, err)
	}
	if twice := printed(again, version); twice != once {
		t.Fatalf("%s\nis printed as\n%s\nand that as\n%s", text, once, twice)
	}
	if len(again.statements) != len(p.statements) {
		t.Fatalf("%d statements became %d:\n%s", len(p.statements), len(again.statements), once)
	}
	for _, req := range requests {
		if was, is := p.Evaluate(req), again.Evaluate(req); was.Effect != is.Effect {
			t.Fatalf("%s on %s: %v, and printed %v\n%s\n%s", req.Action, req.Resource, was.Effect, is.Effect, text, once)
		}
		for i := range p.statements {
			if diff := cmp.Diff(told(p.statements[i].failures(req)), told(again.statements[i].failures(req))); diff != "" {
				t.Fatalf("%s\n%s\n%s", diff, text, once)
			}
		}
	}
}

// told counts failures by their text; printing may change the order of conditions, and of principals of different kinds.
func told(failures []Failure) map[string]int {
	lines := map[string]int{}
	for _, f := range failures {
		f.Want = slices.Sorted(slices.Values(f.Want))
		lines[f.String()]++
	}
	return lines
}
