package cani

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// role is a role and all that decides what its sessions may do, as far as it could be read.
type role struct {
	arn, id   string
	accountID string
	tags      []identity.Tag
	trust     *policy.Named
	policies  []*policy.Named // inline and attached ones
	boundary  *policy.Named   // nil if there is none
	missing   bool            // there is no such role

	trustErr    error // why trust is not there
	policiesErr error // why some of the policies are not
	boundaryErr error // why the boundary is not
}

// unknown is a role of which nothing could be read.
func (r *role) unknown(err error) *role {
	r.trustErr, r.policiesErr = err, err
	return r
}

// role reads a role. IAM finds roles by name in the account of who asks, so the answer may be another role than the one that is
// meant; the ARN tells.
func (r *reader) role(ctx context.Context, text string) *role {
	out := &role{arn: text}
	arn, name, err := identity.ParseRoleARN(text)
	if err != nil {
		return out.unknown(fmt.Errorf("reading role %s: %w", text, err))
	}
	if out.accountID = arn.AccountID; arn.AccountID != r.account {
		return out.unknown(fmt.Errorf("reading role %s: the credentials in use are of account %s and cannot read roles of another", text, r.account))
	}
	got, err := call(ctx, r.iam.GetRole, &iam.GetRoleInput{RoleName: &name})
	var none *types.NoSuchEntityException
	switch {
	case errors.As(err, &none):
		out.missing = true
		return out
	case err != nil:
		return out.unknown(fmt.Errorf("reading role %s: %w", text, err))
	case got.Role == nil:
		return out.unknown(fmt.Errorf("reading role %s: the answer has no role", text))
	case aws.ToString(got.Role.Arn) != text: // a role of that name with another path
		out.missing = true
		return out
	}
	out.id = aws.ToString(got.Role.RoleId)
	for _, tag := range got.Role.Tags {
		out.tags = append(out.tags, identity.Tag{Key: aws.ToString(tag.Key), Value: aws.ToString(tag.Value)})
	}
	out.trust, out.trustErr = compile(policy.Trust, name, "", aws.ToString(got.Role.AssumeRolePolicyDocument))
	if out.trustErr != nil {
		out.trustErr = fmt.Errorf("reading the trust policy of %s: %w", text, out.trustErr)
	}
	if boundary := got.Role.PermissionsBoundary; boundary != nil {
		out.boundary, out.boundaryErr = r.managedPolicy(ctx, policy.Boundary, aws.ToString(boundary.PermissionsBoundaryArn))
	}
	inline, inlineErr := r.inlinePolicies(ctx, name)
	attached, attachedErr := r.attachedPolicies(ctx, name)
	out.policies = append(inline, attached...)
	if err := errors.Join(inlineErr, attachedErr); err != nil {
		out.policiesErr = fmt.Errorf("reading the policies of %s: %w", text, err)
	}
	return out
}

// inlinePolicies reads a role's inline policies. With an error it returns those that it could read: they may hold a Deny.
func (r *reader) inlinePolicies(ctx context.Context, role string) (policies []*policy.Named, err error) {
	in := &iam.ListRolePoliciesInput{RoleName: &role}
	var names []string
	err = pages(func(token *string) (*string, error) {
		in.Marker = token
		out, err := call(ctx, r.iam.ListRolePolicies, in)
		if err != nil {
			return nil, err
		}
		names = append(names, out.PolicyNames...)
		return out.Marker, nil
	})
	problems := []error{err}
	slices.Sort(names)
	for _, name := range names {
		got, err := call(ctx, r.iam.GetRolePolicy, &iam.GetRolePolicyInput{RoleName: &role, PolicyName: &name})
		if err != nil {
			problems = append(problems, fmt.Errorf("policy %s: %w", name, err))
			continue
		}
		compiled, err := compile(policy.Identity, name, "", aws.ToString(got.PolicyDocument))
		if err != nil {
			problems = append(problems, fmt.Errorf("policy %s: %w", name, err))
			continue
		}
		policies = append(policies, compiled)
	}
	return policies, errors.Join(problems...)
}

// attachedPolicies reads the managed policies that are attached to a role, those that it can read if there is an error.
func (r *reader) attachedPolicies(ctx context.Context, role string) (policies []*policy.Named, err error) {
	in := &iam.ListAttachedRolePoliciesInput{RoleName: &role}
	var arns []string
	err = pages(func(token *string) (*string, error) {
		in.Marker = token
		out, err := call(ctx, r.iam.ListAttachedRolePolicies, in)
		if err != nil {
			return nil, err
		}
		for _, p := range out.AttachedPolicies {
			arns = append(arns, aws.ToString(p.PolicyArn))
		}
		return out.Marker, nil
	})
	problems := []error{err}
	for _, arn := range arns {
		compiled, err := r.managedPolicy(ctx, policy.Identity, arn)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		policies = append(policies, compiled)
	}
	return policies, errors.Join(problems...)
}

// managedPolicy reads the version of a managed policy that is in force.
func (r *reader) managedPolicy(ctx context.Context, kind policy.Kind, arn string) (*policy.Named, error) {
	text, err := r.managedDocument(ctx, arn)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", arn, err)
	}
	name := arn
	if parsed, err := identity.ParseARN(arn); err == nil {
		name = lastPart(parsed.Resource)
	}
	compiled, err := compile(kind, name, arn, text)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", arn, err)
	}
	return compiled, nil
}

func (r *reader) managedDocument(ctx context.Context, arn string) (string, error) {
	r.mu.Lock()
	text, ok := r.managed[arn]
	r.mu.Unlock()
	if ok {
		return text, nil
	}
	got, err := call(ctx, r.iam.GetPolicy, &iam.GetPolicyInput{PolicyArn: &arn})
	if err != nil {
		return "", err
	}
	if got.Policy == nil {
		return "", errors.New("the answer has no policy")
	}
	version, err := call(ctx, r.iam.GetPolicyVersion, &iam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: got.Policy.DefaultVersionId})
	if err != nil {
		return "", err
	}
	if version.PolicyVersion == nil {
		return "", errors.New("the answer has no policy version")
	}
	text = aws.ToString(version.PolicyVersion.Document)
	r.mu.Lock()
	r.managed[arn] = text
	r.mu.Unlock()
	return text, nil
}

// compile reads a document as IAM returns it, percent-encoded.
func compile(kind policy.Kind, name, arn, encoded string) (*policy.Named, error) {
	text, err := url.PathUnescape(encoded)
	if err != nil {
		return nil, err
	}
	compiled, err := policy.Parse(kind, text)
	if err != nil {
		return nil, fmt.Errorf("podid does not understand the document: %w", err)
	}
	return &policy.Named{Name: name, ARN: arn, Policy: compiled}, nil
}
