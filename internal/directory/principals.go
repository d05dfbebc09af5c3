package directory

import (
	"fmt"
	"maps"
	"slices"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// Role is a role with its policies compiled.
type Role struct {
	identity.Role
	Trust    *policy.Named
	Policies []*policy.Named
	Err      error // a stored policy does not compile: nothing can be decided by this role, and asking is a fault
}

// User is a user with its policies compiled.
type User struct {
	identity.User
	Policies []*policy.Named
	Err      error // as Role's
}

// Group is a group with its policies compiled.
type Group struct {
	identity.Group
	Policies []*policy.Named
	Err      error // as Role's
}

func compileRole(_ string, r identity.Role) *Role {
	role := &Role{Role: r}
	trust, err := policy.Parse(policy.Trust, r.TrustPolicy)
	if err != nil {
		role.Err = fmt.Errorf("compiling the stored trust policy of %s: %w", r.ARN(), err)
		return role
	}
	role.Trust = &policy.Named{Name: r.Name, Policy: trust.Pinned(r.TrustedIDs)}
	role.Policies, role.Err = compileInline(r.ARN(), r.InlinePolicies)
	return role
}

func compileUser(_ string, u identity.User) *User {
	user := &User{User: u}
	user.Policies, user.Err = compileInline(u.ARN(), u.InlinePolicies)
	return user
}

func compileGroup(_ string, g identity.Group) *Group {
	group := &Group{Group: g}
	group.Policies, group.Err = compileInline(g.ARN(), g.InlinePolicies)
	for _, n := range group.Policies {
		n.Group = g.Name
	}
	return group
}

// compileInline compiles in the order of the names, so that of several deciding policies always the same one is named.
func compileInline(owner string, texts map[string]string) ([]*policy.Named, error) {
	compiled := make([]*policy.Named, 0, len(texts))
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		p, err := policy.Parse(policy.Identity, texts[name])
		if err != nil {
			return nil, fmt.Errorf("compiling the stored policy %s of %s: %w", name, owner, err)
		}
		compiled = append(compiled, &policy.Named{Name: name, Policy: p})
	}
	return compiled, nil
}
