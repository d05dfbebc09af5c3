package policy

import (
	"slices"
	"strings"
)

// Key is a condition key of a request and its values.
type Key struct {
	Name   string // as given: aws:PrincipalTag/Team
	Values []string
}

// Keys lists the keys that the request has, in the order of their names.
func (c *Context) Keys() []Key {
	var keys []Key
	for at := c; at != nil; at = at.base {
		for i := range at.entries {
			e := &at.entries[i]
			if c.find(e.key) == e { // not laid over
				keys = append(keys, Key{e.key, e.values()})
			}
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return strings.Compare(a.Name, b.Name) })
	return keys
}

// Description is a statement as it is written.
type Description struct {
	Statement
	Effect     Effect
	Principals []string // AWS arn:aws:iam::…; empty in policies of identities, and in a statement with NotPrincipal
	Actions    []string // empty in a statement with NotAction
	Resources  []string // empty in a statement with NotResource, and in trust policies
	Conditions []Key    // without their operators
}

// Describe repeats one of the policy's statements.
func (p *Policy) Describe(s *Statement) Description {
	at := slices.IndexFunc(p.statements, func(own *statement) bool { return own.Number == s.Number })
	if at < 0 {
		return Description{Statement: *s}
	}
	own := p.statements[at]
	d := Description{Statement: own.Statement, Effect: own.effect}
	if own.principals != nil && !own.principals.not {
		d.Principals = own.principals.texts
	}
	if !own.actions.not {
		d.Actions = own.actions.texts
	}
	if !own.resources.not {
		d.Resources = own.resources.texts
	}
	for _, c := range own.conditions {
		d.Conditions = append(d.Conditions, Key{c.key, c.values})
	}
	return d
}
