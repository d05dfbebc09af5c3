package cani

import (
	"strconv"
	"time"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// requestKeys are the condition keys that every request has. The address it comes from is not among them, for nobody knows it.
func (a *Asker) requestKeys(region string) *policy.Context {
	keys, now := new(policy.Context), a.cfg.Now()
	keys.Set("aws:CurrentTime", now.UTC().Format(time.RFC3339))
	keys.Set("aws:EpochTime", strconv.FormatInt(now.Unix(), 10))
	keys.Set("aws:SecureTransport", strconv.FormatBool(a.secure))
	keys.Set("aws:PrincipalIsAWSService", "false")
	keys.Set("aws:RequestedRegion", region)
	return keys
}

// setPrincipal sets those that say who asks. Tags of a session go before those of its role.
func setPrincipal(keys *policy.Context, p *principal) {
	keys.Set("aws:PrincipalArn", p.caller.PrincipalARN())
	keys.Set("aws:PrincipalAccount", p.accountID)
	keys.Set("aws:PrincipalType", string(p.caller.Type))
	keys.Set("aws:userid", p.caller.UserID)
	keys.SetTags("aws:PrincipalTag/", p.entity.tags)
	if p.caller.UserName != "" {
		keys.Set("aws:username", p.caller.UserName)
	}
	if s := p.caller.Session; s != nil {
		keys.SetTags("aws:PrincipalTag/", s.Tags)
		keys.Set("aws:TokenIssueTime", s.IssuedAt.UTC().Format(time.RFC3339))
	}
}

// setAssume sets those of assuming a role, for a session of that name, which gets these tags. All of them are transitive.
func setAssume(keys *policy.Context, name string, tags []identity.Tag, to *entity) {
	names := make([]string, len(tags))
	for i, tag := range tags {
		names[i] = tag.Key
	}
	keys.SetTags("aws:RequestTag/", tags)
	keys.SetMany("aws:TagKeys", names...)
	keys.SetMany("sts:TransitiveTagKeys", names...)
	keys.SetTags("aws:ResourceTag/", to.tags)
	keys.SetTags("iam:ResourceTag/", to.tags)
	keys.Set("aws:ResourceAccount", to.accountID)
	keys.Set("sts:RoleSessionName", name)
}

func setValues(keys *policy.Context, key string, values []string) {
	switch len(values) {
	case 0:
	case 1:
		keys.Set(key, values[0])
	default:
		keys.SetMany(key, values...)
	}
}
