package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

// maxAttachedPolicies is how many managed policies may be attached to a role, a user or a group.
const maxAttachedPolicies = 10

type attachRolePolicyInput struct {
	roleInput
	PolicyARN string `form:"PolicyArn"`
}

// Validate checks the role's name and the form of the ARN.
func (in *attachRolePolicyInput) Validate() error {
	if err := in.roleInput.Validate(); err != nil {
		return err
	}
	return checkPolicyARN(in.PolicyARN)
}

func (in *attachRolePolicyInput) setKeys(keys *policy.Context) {
	keys.Set("iam:PolicyARN", in.PolicyARN)
}

// AttachRolePolicy lets a managed policy count for a role. Attaching it again changes nothing.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_AttachRolePolicy.html.
func (s *Service) AttachRolePolicy(ctx context.Context, call *wire.Call, in *attachRolePolicyInput) (*empty, error) {
	if err := s.checkPolicyExists(call, in.PolicyARN); err != nil {
		return nil, err
	}
	return &empty{}, s.updateRole(ctx, call, in.RoleName, func(r *identity.Role) error { return attach(&r.Permissions, in.PolicyARN, "Role") })
}

// DetachRolePolicy takes a managed policy from a role.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DetachRolePolicy.html.
func (s *Service) DetachRolePolicy(ctx context.Context, call *wire.Call, in *attachRolePolicyInput) (*empty, error) {
	return &empty{}, s.updateRole(ctx, call, in.RoleName, func(r *identity.Role) error { return detach(&r.Permissions, in.PolicyARN) })
}

type attachUserPolicyInput struct {
	userInput
	PolicyARN string `form:"PolicyArn"`
}

// Validate checks the user's name and the form of the ARN.
func (in *attachUserPolicyInput) Validate() error {
	if err := in.userInput.Validate(); err != nil {
		return err
	}
	return checkPolicyARN(in.PolicyARN)
}

func (in *attachUserPolicyInput) setKeys(keys *policy.Context) {
	keys.Set("iam:PolicyARN", in.PolicyARN)
}

// AttachUserPolicy lets a managed policy count for a user. Attaching it again changes nothing.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_AttachUserPolicy.html.
func (s *Service) AttachUserPolicy(ctx context.Context, call *wire.Call, in *attachUserPolicyInput) (*empty, error) {
	if err := s.checkPolicyExists(call, in.PolicyARN); err != nil {
		return nil, err
	}
	return &empty{}, s.updateUser(ctx, call, in.UserName, func(u *identity.User) error { return attach(&u.Permissions, in.PolicyARN, "User") })
}

// DetachUserPolicy takes a managed policy from a user.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DetachUserPolicy.html.
func (s *Service) DetachUserPolicy(ctx context.Context, call *wire.Call, in *attachUserPolicyInput) (*empty, error) {
	return &empty{}, s.updateUser(ctx, call, in.UserName, func(u *identity.User) error { return detach(&u.Permissions, in.PolicyARN) })
}

func checkPolicyARN(arn string) error {
	if _, _, err := identity.ParsePolicyARN(arn); err != nil || len(arn) > 2048 {
		return errInvalidInput("ARN %s is not valid.", arn[:min(len(arn), 200)])
	}
	return nil
}

// checkPolicyExists refuses a managed policy that is not there, or not the account's own or AWS's. One that is deleted at the very moment
// at which it is attached stays attached; then nobody can say what it denied, and every decision that needs it fails until it is detached.
func (s *Service) checkPolicyExists(call *wire.Call, arn string) error {
	if _, ok := s.policy(call, arn); !ok {
		return errNoSuchEntity("Policy %s does not exist or is not attachable.", arn)
	}
	return nil
}

func attach(p *identity.Permissions, arn, kind string) error {
	if slices.Contains(p.AttachedPolicies, arn) {
		return nil
	}
	if len(p.AttachedPolicies) >= maxAttachedPolicies {
		return errLimitExceeded("Cannot exceed quota for PoliciesPer%s: %d", kind, maxAttachedPolicies)
	}
	p.AttachedPolicies = append(p.AttachedPolicies, arn)
	return nil
}

func detach(p *identity.Permissions, arn string) error {
	i := slices.Index(p.AttachedPolicies, arn)
	if i < 0 {
		return errNoSuchEntity("Policy %s was not found.", arn)
	}
	p.AttachedPolicies = slices.Delete(p.AttachedPolicies, i, i+1)
	return nil
}

// checkNoPolicies refuses to delete what still has policies. A permissions boundary goes with it.
func checkNoPolicies(p *identity.Permissions) error {
	switch {
	case len(p.AttachedPolicies) > 0:
		return errDeleteConflict("Cannot delete entity, must detach all policies first.")
	case len(p.InlinePolicies) > 0:
		return errDeleteConflict("Cannot delete entity, must delete policies first.")
	}
	return nil
}

type attachedPolicy struct {
	PolicyName string `xml:"PolicyName"`
	PolicyARN  string `xml:"PolicyArn"`
}

type listAttachedOutput struct {
	AttachedPolicies []attachedPolicy `xml:"AttachedPolicies>member"`
	pageEnd
}

// listAttached describes attached policies whose path begins with a prefix.
func listAttached(p *identity.Permissions, prefix string, in *page) *listAttachedOutput {
	out := &listAttachedOutput{}
	var arns []string
	for _, arn := range p.AttachedPolicies {
		if _, path, _ := strings.Cut(arn, ":policy"); strings.HasPrefix(path, prefix) {
			arns = append(arns, arn)
		}
	}
	for _, arn := range paginate(arns, in, &out.pageEnd, policyMarker) {
		out.AttachedPolicies = append(out.AttachedPolicies, attachedPolicy{arn[strings.LastIndexByte(arn, '/')+1:], arn})
	}
	return out
}

type listAttachedRolePoliciesInput struct {
	pagedRoleInput
	PathPrefix string `form:"PathPrefix"`
}

// ListAttachedRolePolicies returns the managed policies that are attached to a role.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListAttachedRolePolicies.html.
func (s *Service) ListAttachedRolePolicies(ctx context.Context, call *wire.Call, in *listAttachedRolePoliciesInput) (*listAttachedOutput, error) {
	role, err := s.role(ctx, call, in.RoleName)
	if err != nil {
		return nil, err
	}
	return listAttached(&role.Permissions, in.PathPrefix, &in.page), nil
}

type listAttachedUserPoliciesInput struct {
	pagedUserInput
	PathPrefix string `form:"PathPrefix"`
}

// ListAttachedUserPolicies returns the managed policies that are attached to a user.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListAttachedUserPolicies.html.
func (s *Service) ListAttachedUserPolicies(ctx context.Context, call *wire.Call, in *listAttachedUserPoliciesInput) (*listAttachedOutput, error) {
	user, err := s.user(ctx, call, in.UserName)
	if err != nil {
		return nil, err
	}
	return listAttached(&user.Permissions, in.PathPrefix, &in.page), nil
}
