package iam

import (
	"context"
	"maps"
	"slices"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/wire"
)

// maxInlinePoliciesOfUser is [maxInlinePolicies] for users.
const maxInlinePoliciesOfUser = 2048

type userPolicyInput struct {
	userInput
	PolicyName string `form:"PolicyName"`
}

// Validate checks both names.
func (in *userPolicyInput) Validate() error {
	if err := in.userInput.Validate(); err != nil {
		return err
	}
	return checkName("policyName", in.PolicyName, 128)
}

type putUserPolicyInput struct {
	userPolicyInput
	PolicyDocument string `form:"PolicyDocument"`
}

// PutUserPolicy writes an inline policy of a user, a new one or over the one of that name.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutUserPolicy.html.
func (s *Service) PutUserPolicy(ctx context.Context, call *wire.Call, in *putUserPolicyInput) (*empty, error) {
	if err := checkPolicy(in.PolicyDocument); err != nil {
		return nil, err
	}
	return &empty{}, s.updateUser(ctx, call, in.UserName, func(u *identity.User) error {
		return putInline(&u.Permissions, in.PolicyName, in.PolicyDocument, maxInlinePoliciesOfUser, "user "+u.Name)
	})
}

type getUserPolicyOutput struct {
	UserName       string `xml:"UserName"`
	PolicyName     string `xml:"PolicyName"`
	PolicyDocument string `xml:"PolicyDocument"`
}

// GetUserPolicy returns an inline policy as it was written.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetUserPolicy.html.
func (s *Service) GetUserPolicy(ctx context.Context, call *wire.Call, in *userPolicyInput) (*getUserPolicyOutput, error) {
	user, err := s.user(ctx, call, in.UserName)
	if err != nil {
		return nil, err
	}
	text, ok := user.InlinePolicies[in.PolicyName]
	if !ok {
		return nil, errNoSuchEntity("The user policy with name %s cannot be found.", in.PolicyName)
	}
	return &getUserPolicyOutput{user.Name, in.PolicyName, escapeDocument(text)}, nil
}

// DeleteUserPolicy deletes an inline policy.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteUserPolicy.html.
func (s *Service) DeleteUserPolicy(ctx context.Context, call *wire.Call, in *userPolicyInput) (*empty, error) {
	return &empty{}, s.updateUser(ctx, call, in.UserName, func(u *identity.User) error {
		if _, ok := u.InlinePolicies[in.PolicyName]; !ok {
			return errNoSuchEntity("The user policy with name %s cannot be found.", in.PolicyName)
		}
		delete(u.InlinePolicies, in.PolicyName)
		return nil
	})
}

type listUserPoliciesOutput struct {
	PolicyNames []string `xml:"PolicyNames>member"`
	pageEnd
}

// ListUserPolicies returns the names of a user's inline policies.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListUserPolicies.html.
func (s *Service) ListUserPolicies(ctx context.Context, call *wire.Call, in *pagedUserInput) (*listUserPoliciesOutput, error) {
	user, err := s.user(ctx, call, in.UserName)
	if err != nil {
		return nil, err
	}
	out := &listUserPoliciesOutput{}
	names := slices.Collect(maps.Keys(user.InlinePolicies))
	out.PolicyNames = paginate(names, &in.page, &out.pageEnd, func(name string) string { return name })
	return out, nil
}

type tagUserInput struct {
	userInput
	Tags []tagStructure `form:"Tags"`
}

// TagUser adds tags and overwrites those with the same keys, compared without regard to case.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_TagUser.html.
func (s *Service) TagUser(ctx context.Context, call *wire.Call, in *tagUserInput) (*empty, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return &empty{}, s.updateUser(ctx, call, in.UserName, func(u *identity.User) error {
		return addTags(&u.Tags, in.Tags, "TagsPerUser")
	})
}

type untagUserInput struct {
	userInput
	TagKeys []string `form:"TagKeys"`
}

// UntagUser takes tags away; keys that are not there are passed over.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_UntagUser.html.
func (s *Service) UntagUser(ctx context.Context, call *wire.Call, in *untagUserInput) (*empty, error) {
	return &empty{}, s.updateUser(ctx, call, in.UserName, func(u *identity.User) error {
		removeTags(&u.Tags, in.TagKeys)
		return nil
	})
}

// ListUserTags returns a user's tags.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListUserTags.html.
func (s *Service) ListUserTags(ctx context.Context, call *wire.Call, in *pagedUserInput) (*listTagsOutput, error) {
	user, err := s.user(ctx, call, in.UserName)
	if err != nil {
		return nil, err
	}
	return pageOfTags(user.Tags, &in.page), nil
}
