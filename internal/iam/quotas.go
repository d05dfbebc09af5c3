package iam

import "cmp"

// Quotas are how many entities of each kind an account may have. Zero means what AWS gives every account.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html.
type Quotas struct {
	Roles     int // 1,000
	Users     int // 5,000
	Groups    int // 300
	Policies  int // 1,500 managed policies, those of AWS not counted
	Providers int // 100 OpenID Connect providers
}

func (q Quotas) withDefaults() Quotas {
	return Quotas{cmp.Or(q.Roles, 1000), cmp.Or(q.Users, 5000), cmp.Or(q.Groups, 300), cmp.Or(q.Policies, 1500), cmp.Or(q.Providers, 100)}
}

// checkQuota refuses one more entity in an account that has as many as it may have. One that exists is refused for that instead. Requests
// at the same moment may pass together.
func checkQuota(exists bool, kind string, has, quota int) error {
	if !exists && has >= quota {
		return errLimitExceeded("Cannot exceed quota for %sPerAccount: %d", kind, quota)
	}
	return nil
}
