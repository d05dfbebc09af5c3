package cani

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// owner is what has policies in IAM: a role, a user or a group. The three are asked in the same way by operations of different names.
type owner struct {
	group    string // its name, if it is one
	names    func(ctx context.Context, marker *string) (names []string, next *string, err error)
	document func(ctx context.Context, name string) (string, error)
	attached func(ctx context.Context, marker *string) (attached []types.AttachedPolicy, next *string, err error)
}

func (r *reader) ofRole(role string) owner {
	return owner{
		names: func(ctx context.Context, marker *string) ([]string, *string, error) {
			out, err := call(ctx, "iam:ListRolePolicies", r.iam.ListRolePolicies, &iam.ListRolePoliciesInput{RoleName: &role, Marker: marker})
			if err != nil {
				return nil, nil, err
			}
			return out.PolicyNames, out.Marker, nil
		},
		document: func(ctx context.Context, name string) (string, error) {
			out, err := call(ctx, "iam:GetRolePolicy", r.iam.GetRolePolicy, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &name})
			if err != nil {
				return "", err
			}
			return aws.ToString(out.PolicyDocument), nil
		},
		attached: func(ctx context.Context, marker *string) ([]types.AttachedPolicy, *string, error) {
			in := &iam.ListAttachedRolePoliciesInput{RoleName: &role, Marker: marker}
			out, err := call(ctx, "iam:ListAttachedRolePolicies", r.iam.ListAttachedRolePolicies, in)
			if err != nil {
				return nil, nil, err
			}
			return out.AttachedPolicies, out.Marker, nil
		},
	}
}

func (r *reader) ofUser(user string) owner {
	return owner{
		names: func(ctx context.Context, marker *string) ([]string, *string, error) {
			out, err := call(ctx, "iam:ListUserPolicies", r.iam.ListUserPolicies, &iam.ListUserPoliciesInput{UserName: &user, Marker: marker})
			if err != nil {
				return nil, nil, err
			}
			return out.PolicyNames, out.Marker, nil
		},
		document: func(ctx context.Context, name string) (string, error) {
			out, err := call(ctx, "iam:GetUserPolicy", r.iam.GetUserPolicy, &iam.GetUserPolicyInput{UserName: &user, PolicyName: &name})
			if err != nil {
				return "", err
			}
			return aws.ToString(out.PolicyDocument), nil
		},
		attached: func(ctx context.Context, marker *string) ([]types.AttachedPolicy, *string, error) {
			in := &iam.ListAttachedUserPoliciesInput{UserName: &user, Marker: marker}
			out, err := call(ctx, "iam:ListAttachedUserPolicies", r.iam.ListAttachedUserPolicies, in)
			if err != nil {
				return nil, nil, err
			}
			return out.AttachedPolicies, out.Marker, nil
		},
	}
}

func (r *reader) ofGroup(group string) owner {
	return owner{
		group: group,
		names: func(ctx context.Context, marker *string) ([]string, *string, error) {
			out, err := call(ctx, "iam:ListGroupPolicies", r.iam.ListGroupPolicies, &iam.ListGroupPoliciesInput{GroupName: &group, Marker: marker})
			if err != nil {
				return nil, nil, err
			}
			return out.PolicyNames, out.Marker, nil
		},
		document: func(ctx context.Context, name string) (string, error) {
			out, err := call(ctx, "iam:GetGroupPolicy", r.iam.GetGroupPolicy, &iam.GetGroupPolicyInput{GroupName: &group, PolicyName: &name})
			if err != nil {
				return "", err
			}
			return aws.ToString(out.PolicyDocument), nil
		},
		attached: func(ctx context.Context, marker *string) ([]types.AttachedPolicy, *string, error) {
			in := &iam.ListAttachedGroupPoliciesInput{GroupName: &group, Marker: marker}
			out, err := call(ctx, "iam:ListAttachedGroupPolicies", r.iam.ListAttachedGroupPolicies, in)
			if err != nil {
				return nil, nil, err
			}
			return out.AttachedPolicies, out.Marker, nil
		},
	}
}
