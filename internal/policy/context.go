package policy

import (
	"slices"

	"github.com/podid/podid/internal/identity"
)

// Context holds the condition keys of one request and their values. Keys are case-insensitive (ASCII), also in the part after the
// slash: aws:PrincipalTag/Team and aws:principaltag/team are one key. The zero Context is empty and ready to use, and a nil one
// can be read. A Context may be read by many at once, but not while it is being filled.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html.
type Context struct {
	// A list beats a map here: a request has a few dozen keys, and filling a map costs more than the few look-ups gain.
	entries []entry
	base    *Context
}

type entry struct {
	key   string // as given; see sameKey
	multi bool
	one   string   // the value of a single-valued key
	many  []string // the values of a multivalued key
}

// Reset empties the context, keeping its memory, and lays it over base, whose keys it then also has unless it sets them itself.
// base may be nil. It must not change while it is laid under. So what stays the same for all requests of a session is built once.
func (c *Context) Reset(base *Context) {
	clear(c.entries)
	c.entries, c.base = c.entries[:0], base
}

// Set gives a single-valued key its value, in place of what it had.
func (c *Context) Set(key, value string) { c.put(entry{key: key, one: value}) }

// SetMany gives a multivalued key (aws:TagKeys, sts:TransitiveTagKeys) its values, in place of what it had; the slice must not be
// changed afterwards. A key with no values counts as absent.
func (c *Context) SetMany(key string, values ...string) {
	c.put(entry{key: key, multi: true, many: values})
}

// SetTags sets prefix+key to the value of each tag: with "aws:PrincipalTag/" the tags of the caller. Where keys differ by case
// only the last one counts, so a role's tags go before those of the session.
func (c *Context) SetTags(prefix string, tags []identity.Tag) {
	for _, t := range tags {
		c.Set(prefix+t.Key, t.Value)
	}
}

func (c *Context) put(e entry) {
	for i := range c.entries {
		if sameKey(c.entries[i].key, e.key) {
			c.entries[i] = e
			return
		}
	}
	c.entries = append(c.entries, e)
}

// sameKey compares without regard to the case of ASCII letters, and of no others: under Unicode's rules the Kelvin sign would be a
// k, and a tag spelled with it could pass for another.
func sameKey(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

// find returns the entry of a key, nil if the request has no value for it.
func (c *Context) find(key string) *entry {
	for ; c != nil; c = c.base {
		for i := range c.entries {
			if e := &c.entries[i]; sameKey(e.key, key) {
				if e.multi && len(e.many) == 0 {
					return nil
				}
				return e
			}
		}
	}
	return nil
}

// empty tells whether the values are empty strings only, which IAM calls null.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition.html.
func (e *entry) empty() bool {
	if !e.multi {
		return e.one == ""
	}
	return !slices.ContainsFunc(e.many, func(value string) bool { return value != "" })
}

func (e *entry) values() []string {
	if e.multi {
		return e.many
	}
	return []string{e.one}
}
