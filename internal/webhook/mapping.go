package webhook

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/podid/podid/internal/identity"
)

// MappedRole gives a service account a role without an annotation on it. What is left out is as the settings have it.
type MappedRole struct {
	RoleARN         string
	Audience        string
	UseRegionalSTS  *bool
	TokenExpiration int64 // seconds; zero is left out
}

// Mapping is the content of the ConfigMap pod-identity-webhook, which installers such as kOps write: roles by
// <namespace>/<service account>. A star stands for any text in either part, as in */carts or test-*/carts. It never changes.
type Mapping struct {
	exact    map[identity.ServiceAccount]*MappedRole
	patterns []mappedPattern // the most specific first
}

type mappedPattern struct {
	namespace, name string
	role            *MappedRole
}

// ParseMapping reads the key "config" of the ConfigMap. Entries that make no sense are left out and named in the error; the
// mapping is nil only if there is nothing to read at all.
func ParseMapping(config []byte) (*Mapping, error) {
	var entries map[string]*MappedRole
	if err := json.Unmarshal(config, &entries); err != nil {
		return nil, fmt.Errorf("reading the mapping: %w", err)
	}
	m := &Mapping{exact: map[identity.ServiceAccount]*MappedRole{}}
	var problems []error
	for key, role := range entries {
		namespace, name, ok := strings.Cut(key, "/")
		switch {
		case !ok || namespace == "" || name == "" || strings.Contains(name, "/"):
			problems = append(problems, fmt.Errorf("mapping entry %q: want <namespace>/<service account>", key))
		case role == nil || role.RoleARN == "":
			problems = append(problems, fmt.Errorf("mapping entry %q: it has no RoleARN", key))
		case strings.Contains(key, "*"):
			m.patterns = append(m.patterns, mappedPattern{namespace, name, role})
		default:
			m.exact[identity.ServiceAccount{Namespace: namespace, Name: name}] = role
		}
	}
	slices.SortFunc(m.patterns, mappedPattern.compare)
	slices.SortFunc(problems, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return m, errors.Join(problems...)
}

// compare puts the more specific pattern first: the one with more of the namespace in it, then with more of the name.
func (p mappedPattern) compare(q mappedPattern) int {
	literal := func(pattern string) int { return len(pattern) - strings.Count(pattern, "*") }
	return cmp.Or(
		cmp.Compare(literal(q.namespace), literal(p.namespace)),
		cmp.Compare(literal(q.name), literal(p.name)),
		cmp.Compare(p.namespace, q.namespace),
		cmp.Compare(p.name, q.name),
	)
}

// Find returns what there is for a service account: its own entry, else that of the most specific pattern, else nil. A nil
// mapping has nothing.
func (m *Mapping) Find(account identity.ServiceAccount) *MappedRole {
	if m == nil {
		return nil
	}
	if role, ok := m.exact[account]; ok {
		return role
	}
	for _, p := range m.patterns {
		if glob(p.namespace, account.Namespace) && glob(p.name, account.Name) {
			return p.role
		}
	}
	return nil
}

// glob tells whether s is what the pattern describes, in which a star stands for any text, also none.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}
