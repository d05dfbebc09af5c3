package webhook

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/podid/podid/internal/identity"
)

func TestMapping(t *testing.T) {
	m, err := ParseMapping([]byte(`{
		"carts/app":   {"RoleARN": "exact", "Audience": "a", "UseRegionalSTS": false, "TokenExpiration": 700},
		"*/app":       {"RoleARN": "any namespace", "UseRegionalSTS": true},
		"test-*/app":  {"RoleARN": "test namespaces"},
		"test-a*/app": {"RoleARN": "longer"},
		"test-b/*":    {"RoleARN": "any name"},
		"test-b/w*r":  {"RoleARN": "some names"},
		"*-*-x/app":   {"RoleARN": "two stars"}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	for account, want := range map[string]string{
		"carts/app": "exact", "orders/app": "any namespace", "test-/app": "test namespaces", "test-1/app": "test namespaces",
		"test-a/app": "longer", "test-abc/app": "longer", "test-b/app": "any name", "test-b/worker": "some names", "test-b/wr": "some names",
		"test-b/w": "any name", "carts/worker": "", "test/app": "any namespace", "a-b-x/app": "two stars", "a-x/app": "any namespace",
		"test-1/ap": "", "test-1/app2": "", "*/app": "any namespace",
	} {
		namespace, name, _ := strings.Cut(account, "/")
		got := ""
		if role := m.Find(identity.ServiceAccount{Namespace: namespace, Name: name}); role != nil {
			got = role.RoleARN
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", account, got, want)
		}
	}
	role := m.Find(identity.ServiceAccount{Namespace: "carts", Name: "app"})
	if role.Audience != "a" || role.UseRegionalSTS == nil || *role.UseRegionalSTS || role.TokenExpiration != 700 {
		t.Errorf("got %+v", role)
	}
	if got := (*Mapping)(nil).Find(identity.ServiceAccount{}); got != nil {
		t.Errorf("no mapping has %+v", got)
	}
}

func TestMappingOddEntries(t *testing.T) {
	m, err := ParseMapping([]byte(`{"carts/app":{"RoleARN":"x"},"noslash":{"RoleARN":"x"},"a/b/c":{"RoleARN":"x"},"/app":{"RoleARN":"x"},` +
		`"carts/":{"RoleARN":"x"},"carts/norole":{},"carts/null":null}`))
	if m.Find(identity.ServiceAccount{Namespace: "carts", Name: "app"}) == nil {
		t.Error("the good entry is lost")
	}
	for _, key := range []string{"noslash", "a/b/c", "/app", "carts/", "carts/norole", "carts/null"} {
		if err == nil || !strings.Contains(err.Error(), `"`+key+`"`) {
			t.Errorf("%s is not in the error %v", key, err)
		}
	}
	for _, text := range []string{"", "{", "[]", `{"a/b":[]}`, `{"a/b":{"TokenExpiration":"x"}}`} {
		if m, err := ParseMapping([]byte(text)); err == nil || m != nil {
			t.Errorf("%s: got %+v, %v", text, m, err)
		}
	}
}

// TestGlob compares with the definition: a star stands for any text.
func TestGlob(t *testing.T) {
	var matches func(pattern, s string) bool
	matches = func(pattern, s string) bool {
		switch {
		case pattern == "":
			return s == ""
		case pattern[0] == '*':
			return matches(pattern[1:], s) || s != "" && matches(pattern, s[1:])
		}
		return s != "" && s[0] == pattern[0] && matches(pattern[1:], s[1:])
	}
	for pattern, s := range map[string]string{"a*a": "a", "ab*ba": "aba", "a*b*a": "aba", "*": "", "**": "", "a**": "a", "": "", "*a": "ba"} {
		if got, want := glob(pattern, s), matches(pattern, s); got != want {
			t.Errorf("glob(%q, %q) = %v", pattern, s, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab*]{0,6}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab]{0,8}`).Draw(t, "s")
		if got, want := glob(pattern, s), matches(pattern, s); got != want {
			t.Fatalf("glob(%q, %q) = %v", pattern, s, got)
		}
	})
}
