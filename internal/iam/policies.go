package iam

import (
	"context"
	"maps"
	"slices"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/wire"
)

// maxInlinePolicies is how large all inline policies of a role may be together, in characters, white space not counted.
const maxInlinePolicies = 10240

type rolePolicyInput struct {
	roleInput
	PolicyName string `form:"PolicyName"`
}

// Validate checks both names.
func (in *rolePolicyInput) Validate() error {
	if err := in.roleInput.Validate(); err != nil {
		return err
	}
	return checkName("policyName", in.PolicyName, 128)
}

type putRolePolicyInput struct {
	rolePolicyInput
	PolicyDocument string `form:"PolicyDocument"`
}

// PutRolePolicy writes an inline policy of a role, a new one or over the one of that name.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutRolePolicy.html.
func (s *Service) PutRolePolicy(ctx context.Context, call *wire.Call, in *putRolePolicyInput) (*empty, error) {
	if err := checkPolicy(in.PolicyDocument); err != nil {
		return nil, err
	}
	return &empty{}, s.updateRole(ctx, call, in.RoleName, func(r *identity.Role) error {
		return putInline(&r.Permissions, in.PolicyName, in.PolicyDocument, maxInlinePolicies, "role "+r.Name)
	})
}

// putInline writes an inline policy of a role, user or group, whose inline policies must not be larger than limit together.
func putInline(p *identity.Permissions, name, text string, limit int, owner string) error {
	policies := maps.Clone(p.InlinePolicies)
	if policies == nil {
		policies = map[string]string{}
	}
	policies[name] = text
	size, stored := 0, 0
	for _, text := range policies {
		size, stored = size+documentSize(text), stored+len(text)
	}
	switch {
	case size > limit:
		return errLimitExceeded("Maximum policy size of %d bytes exceeded for %s", limit, owner)
	case stored > maxStored:
		return errStored(owner)
	}
	p.InlinePolicies = policies
	return nil
}

type getRolePolicyOutput struct {
	RoleName       string `xml:"RoleName"`
	PolicyName     string `xml:"PolicyName"`
	PolicyDocument string `xml:"PolicyDocument"`
}

// GetRolePolicy returns an inline policy as it was written.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRolePolicy.html.
func (s *Service) GetRolePolicy(ctx context.Context, call *wire.Call, in *rolePolicyInput) (*getRolePolicyOutput, error) {
	role, err := s.role(ctx, call, in.RoleName)
	if err != nil {
		return nil, err
	}
	text, ok := role.InlinePolicies[in.PolicyName]
	if !ok {
		return nil, errNoSuchEntity("The role policy with name %s cannot be found.", in.PolicyName)
	}
	return &getRolePolicyOutput{role.Name, in.PolicyName, escapeDocument(text)}, nil
}

// DeleteRolePolicy deletes an inline policy.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteRolePolicy.html.
func (s *Service) DeleteRolePolicy(ctx context.Context, call *wire.Call, in *rolePolicyInput) (*empty, error) {
	return &empty{}, s.updateRole(ctx, call, in.RoleName, func(r *identity.Role) error {
		if _, ok := r.InlinePolicies[in.PolicyName]; !ok {
			return errNoSuchEntity("The role policy with name %s cannot be found.", in.PolicyName)
		}
		delete(r.InlinePolicies, in.PolicyName)
		return nil
	})
}

type pagedRoleInput struct {
	roleInput
	page
}

// Validate checks the role's name and the paging members.
func (in *pagedRoleInput) Validate() error {
	if err := in.roleInput.Validate(); err != nil {
		return err
	}
	return in.page.Validate()
}

type listRolePoliciesOutput struct {
	PolicyNames []string `xml:"PolicyNames>member"`
	pageEnd
}

// ListRolePolicies returns the names of a role's inline policies.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListRolePolicies.html.
func (s *Service) ListRolePolicies(ctx context.Context, call *wire.Call, in *pagedRoleInput) (*listRolePoliciesOutput, error) {
	role, err := s.role(ctx, call, in.RoleName)
	if err != nil {
		return nil, err
	}
	out := &listRolePoliciesOutput{}
	names := slices.Collect(maps.Keys(role.InlinePolicies))
	out.PolicyNames = paginate(names, &in.page, &out.pageEnd, func(name string) string { return name })
	return out, nil
}

type listInstanceProfilesForRoleOutput struct {
	InstanceProfiles *empty `xml:"InstanceProfiles"`
	pageEnd
}

// ListInstanceProfilesForRole returns an empty list: there are no instances. Terraform and eksctl ask it before they delete a role.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListInstanceProfilesForRole.html.
func (s *Service) ListInstanceProfilesForRole(ctx context.Context, call *wire.Call, in *pagedRoleInput) (*listInstanceProfilesForRoleOutput, error) {
	_, err := s.role(ctx, call, in.RoleName)
	return &listInstanceProfilesForRoleOutput{InstanceProfiles: &empty{}}, err
}
