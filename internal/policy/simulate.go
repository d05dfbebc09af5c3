package policy

import "slices"

// Matching returns the statements of the policy that apply to a request and have that effect, in the order of the document.
// [Policy.Evaluate] names only the one that decides.
func (p *Policy) Matching(req *Request, effect Effect) []*Statement {
	var matching []*Statement
	for _, s := range p.statements {
		if s.effect == effect && s.applies(req) != nobody {
			matching = append(matching, &s.Statement)
		}
	}
	return matching
}

// ContextKeys returns the condition keys that the policy asks for, in conditions and as variables, each once and as first written.
func (p *Policy) ContextKeys() []string {
	var keys []string
	add := func(key string) {
		if !slices.ContainsFunc(keys, func(other string) bool { return sameKey(other, key) }) {
			keys = append(keys, key)
		}
	}
	addVariables := func(patterns ...pattern) {
		for _, p := range patterns {
			for _, part := range p {
				if part.kind == variable {
					add(part.text)
				}
			}
		}
	}
	for _, s := range p.statements {
		addVariables(s.resources.compiled...)
		for _, c := range s.conditions {
			add(c.key)
			for _, m := range c.matchers {
				switch m := m.(type) {
				case textMatcher:
					addVariables(m.pattern)
				case foldMatcher:
					addVariables(m.pattern)
				case boolMatcher:
					addVariables(m.pattern)
				case arnMatcher:
					addVariables(m...)
				}
			}
		}
	}
	return keys
}

// Has tells whether the context has a value for a key.
func (c *Context) Has(key string) bool { return c.find(key) != nil }
