package iam

import (
	"strings"
	"unicode/utf8"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

// errConstraint spells a violated constraint of the API's model.
func errConstraint(value any, member, rule string) *wire.Error {
	return errValidation("1 validation error detected: Value '%v' at '%s' failed to satisfy constraint: %s", value, member, rule)
}

func checkName(member, name string, limit int) error {
	switch {
	case name == "":
		return errConstraint("", member, "Member must have length greater than or equal to 1")
	case len(name) > limit:
		return errValidation("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: "+
			"Member must have length less than or equal to %d", name[:min(len(name), 200)], member, limit)
	case !identity.ValidIAMName(name, limit):
		return errConstraint(name, member, `Member must satisfy regular expression pattern: [\w+=,.@-]+`)
	}
	return nil
}

// checkPath refuses what is no path; a missing one becomes /.
func checkPath(path *string) error {
	if *path == "" {
		*path = "/"
	}
	if !identity.ValidIAMPath(*path) {
		return errValidation("The specified value for path is invalid. It must begin and end with / and contain only printable ASCII characters.")
	}
	return nil
}

// checkPolicy refuses an identity policy that does not parse; the message says where.
func checkPolicy(text string) error {
	if _, err := policy.Parse(policy.Identity, text); err != nil {
		return errMalformedPolicyDocument(err.Error())
	}
	return nil
}

func checkDescription(text *string) error {
	if utf8.RuneCountInString(*text) > 1000 {
		return errConstraint((*text)[:40]+"…", "description", "Member must have length less than or equal to 1000")
	}
	return nil
}

func checkDuration(seconds *int32) error {
	if seconds != nil && (*seconds < 3600 || *seconds > 43200) {
		return errConstraint(*seconds, "maxSessionDuration", "Member must have value between 3600 and 43200")
	}
	return nil
}

// maxStored bounds the policy texts of one entity together, in bytes, white space included. IAM's limits do not count white space, but
// the store must take it.
const maxStored = 400_000

func errStored(owner string) error {
	return errLimitExceeded("The policies of %s have more than %d bytes together, white space included", owner, maxStored)
}

// documentSize counts a document's characters as IAM's limits do: without white space.
func documentSize(text string) int {
	n := 0
	for _, r := range text {
		if !strings.ContainsRune(" \t\r\n", r) {
			n++
		}
	}
	return n
}
