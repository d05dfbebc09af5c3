package cani

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// entity is a role or a user and all that decides what it may do, as far as it could be read.
type entity struct {
	arn, id   string
	accountID string
	tags      []identity.Tag
	trust     *policy.Named   // of a role
	policies  []*policy.Named // inline and attached ones; of a user those of its groups too
	boundary  *policy.Named   // nil if there is none
	missing   bool            // there is no such role or user

	trustErr    error // why trust is not there
	policiesErr error // why some of the policies are not
	boundaryErr error // why the boundary is not
}

// unknown is an entity of which nothing could be read.
func (e *entity) unknown(err error) *entity {
	e.trustErr, e.policiesErr = err, err
	return e
}

// outOfReach makes the entity unknown if it is of another account, in which IAM finds nobody by name.
func (r *reader) outOfReach(e *entity) bool {
	if e.accountID == r.account {
		return false
	}
	e.unknown(fmt.Errorf("reading %s: the credentials in use are of account %s and cannot read roles and users of another; "+
		"give a role of account %s that may with --reader-role", e.arn, r.account, e.accountID))
	return true
}

// role reads a role. IAM finds roles by name, so the answer may be another role than the one that is meant; the ARN tells, unless
// it is that of a session, in which the role's path is not.
func (r *reader) role(ctx context.Context, text string) *entity {
	out := &entity{arn: text}
	arn, name, err := identity.ParseRoleARN(text)
	if err != nil {
		return out.unknown(fmt.Errorf("reading role %s: %w", text, err))
	}
	return r.roleNamed(ctx, out, arn.AccountID, name, func(found string) bool { return found == text })
}

// roleNamed reads a role of that name into out, whose ARN becomes that of the role. Another one than is meant is missing.
func (r *reader) roleNamed(ctx context.Context, out *entity, accountID, name string, meant func(arn string) bool) *entity {
	text := out.arn
	r = r.of(accountID)
	if out.accountID = accountID; r.outOfReach(out) {
		return out
	}
	got, err := call(ctx, "iam:GetRole", r.iam.GetRole, &iam.GetRoleInput{RoleName: &name})
	var none *types.NoSuchEntityException
	switch {
	case errors.As(err, &none):
		out.missing = true
		return out
	case err != nil:
		return out.unknown(fmt.Errorf("reading role %s: %w", text, err))
	case got.Role == nil:
		return out.unknown(fmt.Errorf("reading role %s: the answer has no role", text))
	case !meant(aws.ToString(got.Role.Arn)): // a role of that name with another path
		out.missing = true
		return out
	}
	out.arn, out.id = aws.ToString(got.Role.Arn), aws.ToString(got.Role.RoleId)
	out.tags = tagsOf(got.Role.Tags)
	out.trust, out.trustErr = compile(policy.Trust, name, "", aws.ToString(got.Role.AssumeRolePolicyDocument))
	if out.trustErr != nil {
		out.trustErr = fmt.Errorf("reading the trust policy of %s: %w", text, out.trustErr)
	}
	r.readBoundary(ctx, out, got.Role.PermissionsBoundary)
	r.readPolicies(ctx, out, r.ofRole(name))
	return out
}

// user reads a user, with its groups.
func (r *reader) user(ctx context.Context, arn identity.ARN) *entity {
	out := &entity{arn: arn.String(), accountID: arn.AccountID}
	r = r.of(arn.AccountID)
	if r.outOfReach(out) {
		return out
	}
	name := lastPart(arn.Resource)
	got, err := call(ctx, "iam:GetUser", r.iam.GetUser, &iam.GetUserInput{UserName: &name})
	var none *types.NoSuchEntityException
	switch {
	case errors.As(err, &none):
		out.missing = true
		return out
	case err != nil:
		return out.unknown(fmt.Errorf("reading user %s: %w", out.arn, err))
	case got.User == nil:
		return out.unknown(fmt.Errorf("reading user %s: the answer has no user", out.arn))
	case aws.ToString(got.User.Arn) != out.arn:
		out.missing = true
		return out
	}
	out.id, out.tags = aws.ToString(got.User.UserId), tagsOf(got.User.Tags)
	r.readBoundary(ctx, out, got.User.PermissionsBoundary)
	owners := []owner{r.ofUser(name)}
	groups, err := r.groups(ctx, name)
	for _, group := range groups {
		owners = append(owners, r.ofGroup(group))
	}
	r.readPolicies(ctx, out, owners...)
	if err != nil {
		out.policiesErr = errors.Join(fmt.Errorf("reading the groups of %s: %w", out.arn, err), out.policiesErr)
	}
	return out
}

func (r *reader) groups(ctx context.Context, user string) (names []string, err error) {
	in := &iam.ListGroupsForUserInput{UserName: &user}
	err = pages(func(token *string) (*string, error) {
		in.Marker = token
		out, err := call(ctx, "iam:ListGroupsForUser", r.iam.ListGroupsForUser, in)
		if err != nil {
			return nil, err
		}
		for _, g := range out.Groups {
			names = append(names, aws.ToString(g.GroupName))
		}
		return out.Marker, nil
	})
	return names, err
}

func tagsOf(given []types.Tag) (tags []identity.Tag) {
	for _, tag := range given {
		tags = append(tags, identity.Tag{Key: aws.ToString(tag.Key), Value: aws.ToString(tag.Value)})
	}
	return tags
}

func (r *reader) readBoundary(ctx context.Context, e *entity, boundary *types.AttachedPermissionsBoundary) {
	if boundary != nil {
		e.boundary, e.boundaryErr = r.managedPolicy(ctx, policy.Boundary, aws.ToString(boundary.PermissionsBoundaryArn))
	}
}

// readPolicies reads the policies of all owners. With an error those that could be read are there: they may hold a Deny.
func (r *reader) readPolicies(ctx context.Context, e *entity, owners ...owner) {
	var problems []error
	for _, o := range owners {
		inline, inlineErr := r.inlinePolicies(ctx, &o)
		attached, attachedErr := r.attachedPolicies(ctx, &o)
		e.policies = slices.Concat(e.policies, inline, attached)
		problems = append(problems, inlineErr, attachedErr)
	}
	if err := errors.Join(problems...); err != nil {
		e.policiesErr = fmt.Errorf("reading the policies of %s: %w", e.arn, err)
	}
}

// inlinePolicies reads an owner's inline policies. With an error it returns those that it could read.
func (r *reader) inlinePolicies(ctx context.Context, o *owner) (policies []*policy.Named, err error) {
	var names []string
	err = pages(func(token *string) (next *string, err error) {
		found, next, err := o.names(ctx, token)
		names = append(names, found...)
		return next, err
	})
	problems := []error{err}
	slices.Sort(names)
	for _, name := range names {
		text, err := o.document(ctx, name)
		if err == nil {
			var compiled *policy.Named
			if compiled, err = compile(policy.Identity, name, "", text); err == nil {
				compiled.Group = o.group
				policies = append(policies, compiled)
			}
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("policy %s: %w", name, err))
		}
	}
	return policies, errors.Join(problems...)
}

// attachedPolicies reads the managed policies that are attached to an owner, those that it can read if there is an error.
func (r *reader) attachedPolicies(ctx context.Context, o *owner) (policies []*policy.Named, err error) {
	var arns []string
	err = pages(func(token *string) (next *string, err error) {
		found, next, err := o.attached(ctx, token)
		for _, p := range found {
			arns = append(arns, aws.ToString(p.PolicyArn))
		}
		return next, err
	})
	problems := []error{err}
	for _, arn := range arns {
		compiled, err := r.managedPolicy(ctx, policy.Identity, arn)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		compiled.Group = o.group
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
	got, err := call(ctx, "iam:GetPolicy", r.iam.GetPolicy, &iam.GetPolicyInput{PolicyArn: &arn})
	if err != nil {
		return "", err
	}
	if got.Policy == nil {
		return "", errors.New("the answer has no policy")
	}
	in := &iam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: got.Policy.DefaultVersionId}
	version, err := call(ctx, "iam:GetPolicyVersion", r.iam.GetPolicyVersion, in)
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

func lastPart(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
