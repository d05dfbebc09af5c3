package iam

import (
	"context"
	"maps"
	"slices"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

// maxInlinePoliciesOfGroup is [maxInlinePolicies] for groups.
const maxInlinePoliciesOfGroup = 5120

type groupPolicyInput struct {
	groupInput
	PolicyName string `form:"PolicyName"`
}

// Validate checks both names.
func (in *groupPolicyInput) Validate() error {
	if err := in.groupInput.Validate(); err != nil {
		return err
	}
	return checkName("policyName", in.PolicyName, 128)
}

type putGroupPolicyInput struct {
	groupPolicyInput
	PolicyDocument string `form:"PolicyDocument"`
}

// PutGroupPolicy writes an inline policy of a group, a new one or over the one of that name.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutGroupPolicy.html.
func (s *Service) PutGroupPolicy(ctx context.Context, call *wire.Call, in *putGroupPolicyInput) (*empty, error) {
	if err := checkPolicy(in.PolicyDocument); err != nil {
		return nil, err
	}
	return &empty{}, s.updateGroup(ctx, call, in.GroupName, func(g *identity.Group) error {
		return putInline(&g.Permissions, in.PolicyName, in.PolicyDocument, maxInlinePoliciesOfGroup, "group "+g.Name)
	})
}

type getGroupPolicyOutput struct {
	GroupName      string `xml:"GroupName"`
	PolicyName     string `xml:"PolicyName"`
	PolicyDocument string `xml:"PolicyDocument"`
}

func errNoGroupPolicy(name string) error {
	return errNoSuchEntity("The group policy with name %s cannot be found.", name)
}

// GetGroupPolicy returns an inline policy as it was written.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetGroupPolicy.html.
func (s *Service) GetGroupPolicy(ctx context.Context, call *wire.Call, in *groupPolicyInput) (*getGroupPolicyOutput, error) {
	group, err := s.group(ctx, call, in.GroupName)
	if err != nil {
		return nil, err
	}
	text, ok := group.InlinePolicies[in.PolicyName]
	if !ok {
		return nil, errNoGroupPolicy(in.PolicyName)
	}
	return &getGroupPolicyOutput{group.Name, in.PolicyName, escapeDocument(text)}, nil
}

// DeleteGroupPolicy deletes an inline policy.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteGroupPolicy.html.
func (s *Service) DeleteGroupPolicy(ctx context.Context, call *wire.Call, in *groupPolicyInput) (*empty, error) {
	return &empty{}, s.updateGroup(ctx, call, in.GroupName, func(g *identity.Group) error {
		if _, ok := g.InlinePolicies[in.PolicyName]; !ok {
			return errNoGroupPolicy(in.PolicyName)
		}
		delete(g.InlinePolicies, in.PolicyName)
		return nil
	})
}

type listGroupPoliciesOutput struct {
	PolicyNames []string `xml:"PolicyNames>member"`
	pageEnd
}

// ListGroupPolicies returns the names of a group's inline policies.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListGroupPolicies.html.
func (s *Service) ListGroupPolicies(ctx context.Context, call *wire.Call, in *pagedGroupInput) (*listGroupPoliciesOutput, error) {
	group, err := s.group(ctx, call, in.GroupName)
	if err != nil {
		return nil, err
	}
	out := &listGroupPoliciesOutput{}
	names := slices.Collect(maps.Keys(group.InlinePolicies))
	out.PolicyNames = paginate(names, &in.page, &out.pageEnd, func(name string) string { return name })
	return out, nil
}

type attachGroupPolicyInput struct {
	groupInput
	PolicyARN string `form:"PolicyArn"`
}

// Validate checks the group's name and the form of the ARN.
func (in *attachGroupPolicyInput) Validate() error {
	if err := in.groupInput.Validate(); err != nil {
		return err
	}
	return checkPolicyARN(in.PolicyARN)
}

func (in *attachGroupPolicyInput) setKeys(keys *policy.Context) {
	keys.Set("iam:PolicyARN", in.PolicyARN)
}

// AttachGroupPolicy lets a managed policy count for the users of a group. Attaching it again changes nothing.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_AttachGroupPolicy.html.
func (s *Service) AttachGroupPolicy(ctx context.Context, call *wire.Call, in *attachGroupPolicyInput) (*empty, error) {
	if err := s.checkPolicyExists(call, in.PolicyARN); err != nil {
		return nil, err
	}
	return &empty{}, s.updateGroup(ctx, call, in.GroupName, func(g *identity.Group) error { return attach(&g.Permissions, in.PolicyARN, "Group") })
}

// DetachGroupPolicy takes a managed policy from a group.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DetachGroupPolicy.html.
func (s *Service) DetachGroupPolicy(ctx context.Context, call *wire.Call, in *attachGroupPolicyInput) (*empty, error) {
	return &empty{}, s.updateGroup(ctx, call, in.GroupName, func(g *identity.Group) error { return detach(&g.Permissions, in.PolicyARN) })
}

type listAttachedGroupPoliciesInput struct {
	pagedGroupInput
	PathPrefix string `form:"PathPrefix"`
}

// ListAttachedGroupPolicies returns the managed policies that are attached to a group.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListAttachedGroupPolicies.html.
func (s *Service) ListAttachedGroupPolicies(ctx context.Context, call *wire.Call, in *listAttachedGroupPoliciesInput) (*listAttachedOutput, error) {
	group, err := s.group(ctx, call, in.GroupName)
	if err != nil {
		return nil, err
	}
	return listAttached(&group.Permissions, in.PathPrefix, &in.page), nil
}
