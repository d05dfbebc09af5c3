package directory

import "slices"

// HoldsAccount tells whether an account is one of this server's: it was told so, or a role or a user is in it. What such an account does
// not have does not exist; of what other accounts have nothing is known.
func (d *Directory) HoldsAccount(accountID string) bool {
	return slices.Contains(d.accounts, accountID) || d.roles.Len(accountID+"/") > 0 || d.users.Len(accountID+"/") > 0
}

// Counts says how much an account has.
type Counts struct {
	Roles, Users, Groups, Policies, Providers int
}

// Count counts what an account has.
func (d *Directory) Count(accountID string) Counts {
	in := accountID + "/"
	return Counts{d.roles.Len(in), d.users.Len(in), d.groups.Len(in), d.policies.Len(in), d.providers.Len(in)}
}
