package directory

import (
	"strings"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// PrincipalID returns the unique id of the role or user that an AWS principal of a policy names; exists is false if there is none of that
// ARN. Principals of other kinds (accounts, sessions) and those of accounts that this server does not hold are taken as they are, without
// an id.
func (d *Directory) PrincipalID(principal string) (id string, exists bool) {
	arn, err := identity.ParseARN(principal)
	kind, _, _ := strings.Cut(arn.Resource, "/")
	if err != nil || arn.Service != "iam" || kind != "role" && kind != "user" || !d.HoldsAccount(arn.AccountID) {
		return "", true
	}
	if role, ok := d.RoleByARN(principal); ok {
		return role.ID, true
	}
	if user, ok := d.UserByARN(principal); ok {
		return user.ID, true
	}
	return "", false
}

// PrincipalExists tells whether an AWS principal of a policy names somebody, as far as this server can know.
func (d *Directory) PrincipalExists(principal string) bool {
	_, exists := d.PrincipalID(principal)
	return exists
}

// ShowPolicy is a policy whose principals are meant by their unique ids, as IAM shows it: as it was written, but for the roles and users
// that have gone since, also where others have got their names. In their places stand their ids, and for a user who was renamed the
// present ARN.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-roles.
func (d *Directory) ShowPolicy(text string, ids map[string]string) string {
	moved := map[string]string{}
	for arn, id := range ids {
		if now, _ := d.PrincipalID(arn); now != id {
			moved[arn] = d.principalByID(arn, id)
		}
	}
	if len(moved) == 0 {
		return text
	}
	shown, err := policy.ReplacePrincipals(text, func(principal string) string {
		if now, ok := moved[principal]; ok {
			return now
		}
		return principal
	})
	if err != nil { // a stored text that does not parse lets nobody in, and is best shown as it is
		return text
	}
	return shown
}

// TrustPolicy is a role's trust policy as IAM shows it.
func (d *Directory) TrustPolicy(role *identity.Role) string {
	return d.ShowPolicy(role.TrustPolicy, role.TrustedIDs)
}

// principalByID is the present ARN of somebody who had another one, or the id if there is nobody of that id any more. Only users can be
// renamed.
func (d *Directory) principalByID(was, id string) string {
	arn, err := identity.ParseARN(was)
	if err != nil || !strings.HasPrefix(id, string(identity.UserID)) {
		return id
	}
	for user := range d.ScanUsers(arn.AccountID, "") {
		if user.ID == id {
			return user.ARN()
		}
	}
	return id
}
