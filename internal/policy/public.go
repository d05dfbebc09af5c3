package policy

import (
	"slices"
	"strings"
)

// fixingKeys are the condition keys by which a statement for everybody is for some only, if their values are fixed.
// See https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html#access-control-block-public-access-policy-status.
var fixingKeys = []string{
	"aws:PrincipalAccount", "aws:PrincipalArn", "aws:PrincipalOrgID", "aws:PrincipalOrgPaths", "aws:SourceAccount", "aws:SourceArn", "aws:SourceIp",
	"aws:SourceOrgID", "aws:SourceOwner", "aws:SourceVpc", "aws:SourceVpce", "aws:userid", "aws:VpcSourceIp",
	"s3:DataAccessPointAccount", "s3:DataAccessPointArn", "s3:x-amz-server-side-encryption-aws-kms-key-id",
}

// Public tells whether an Allow statement of a resource's policy is for everybody: its principal is "*", or all but some, and no
// condition holds it to fixed values of a key that says who asks or from where.
func (p *Policy) Public() bool {
	return slices.ContainsFunc(p.statements, func(s *statement) bool {
		return s.effect == Allow && s.principals != nil && (s.principals.everyone || s.principals.not) &&
			!slices.ContainsFunc(s.conditions, (*condition).fixes)
	})
}

// fixes tells whether the condition can only hold for fixed values of one of the keys.
func (c *condition) fixes() bool {
	same := func(key string) bool { return sameKey(key, c.key) }
	if c.isNull || c.absent == yes || c.negated || !slices.ContainsFunc(fixingKeys, same) {
		return false
	}
	return !slices.ContainsFunc(c.values, func(value string) bool { return !fixed(c.key, value) })
}

// fixed tells whether a value is not too wide to hold anybody off. In an ARN it is enough that the account is fixed, and in the id of a
// session that its role is.
func fixed(key, value string) bool {
	if sameKey(key, "aws:SourceIp") || sameKey(key, "aws:VpcSourceIp") {
		return !strings.HasSuffix(value, "/0")
	}
	if parts := splitARN(value, true); len(parts) == 6 && parts[4] != "" {
		value = parts[4]
	} else if sameKey(key, "aws:userid") {
		value, _, _ = strings.Cut(value, ":")
	}
	return !strings.ContainsAny(value, "*?$")
}
