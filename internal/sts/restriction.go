package sts

import (
	"unicode/utf8"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

const (
	maxPolicyText = 2048 // characters of an inline session policy and of the ARNs of managed ones together
	maxPolicyARNs = 10
)

type policyARNStructure struct {
	ARN string `form:"arn"` // lower case on the wire
}

// restriction is what a session is restricted by, besides the policies of its role or user.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html#policies_session.
type restriction struct {
	Policy     *string              `form:"Policy"`
	PolicyARNs []policyARNStructure `form:"PolicyArns"`
}

// Validate checks form and limits. Whether the managed policies are there is asked later.
func (in *restriction) Validate() error {
	size := 0
	if in.Policy != nil {
		size = utf8.RuneCountInString(*in.Policy)
	}
	switch {
	case in.Policy != nil && (*in.Policy == "" || size > maxPolicyText):
		return errValidation("1 validation error detected: Value at 'policy' failed to satisfy constraint: Member must have length between 1 and %d", maxPolicyText)
	case len(in.PolicyARNs) > maxPolicyARNs:
		return errValidation("1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to %d", maxPolicyARNs)
	}
	for _, p := range in.PolicyARNs {
		if len(p.ARN) < 20 || len(p.ARN) > 2048 {
			return errConstraint(p.ARN, "policyArns.member.arn", "Member must have length between 20 and 2048")
		}
		if _, _, err := identity.ParsePolicyARN(p.ARN); err != nil {
			return errValidation("%s is invalid: it is %v.", p.ARN[:min(len(p.ARN), 300)], err)
		}
		size += len(p.ARN)
	}
	if size > maxPolicyText {
		return errValidation("The session policy and the ARNs of the managed session policies have %d characters together; at most %d are allowed.", size, maxPolicyText)
	}
	return nil
}

// policies are the texts of the session's policies, parsed for their errors.
func (in *restriction) policies() ([]string, error) {
	if in.Policy == nil {
		return nil, nil
	}
	if _, err := policy.Parse(policy.Session, *in.Policy); err != nil {
		return nil, errMalformedPolicyDocument(err.Error())
	}
	return []string{*in.Policy}, nil
}

// arns are those of the managed session policies.
func (in *restriction) arns() []string {
	var arns []string
	for _, p := range in.PolicyARNs {
		arns = append(arns, p.ARN)
	}
	return arns
}

// checkManaged looks for managed session policies, which must be of the account that the session is of, or AWS's.
func (s *Service) checkManaged(accountID string, arns []string) error {
	for _, text := range arns {
		arn, _, err := identity.ParsePolicyARN(text)
		if err != nil || arn.AccountID != accountID && arn.AccountID != identity.AWSAccount {
			return errValidation("The managed session policy %s is not of the account %s, and not one of AWS.", text, accountID)
		}
		if _, ok := s.Directory.PolicyByARN(text); !ok {
			return errValidation("The managed session policy %s does not exist or is not attachable.", text)
		}
	}
	return nil
}
