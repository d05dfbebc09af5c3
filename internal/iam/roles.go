package iam

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/wire"
)

// maxTrustPolicy is the size limit of a trust policy in characters, white space not counted.
const maxTrustPolicy = 2048

type roleInput struct {
	RoleName string `form:"RoleName"`
}

func (in *roleInput) Validate() error { return checkName("roleName", in.RoleName, 64) }

type createRoleInput struct {
	RoleName                 string         `form:"RoleName"`
	Path                     string         `form:"Path"`
	AssumeRolePolicyDocument string         `form:"AssumeRolePolicyDocument"`
	Description              string         `form:"Description"`
	MaxSessionDuration       *int32         `form:"MaxSessionDuration"`
	PermissionsBoundary      string         `form:"PermissionsBoundary"`
	Tags                     []tagStructure `form:"Tags"`
}

func (in *createRoleInput) Validate() error {
	if err := checkName("roleName", in.RoleName, 64); err != nil {
		return err
	}
	if err := checkPath(&in.Path); err != nil {
		return err
	}
	if err := checkDescription(&in.Description); err != nil {
		return err
	}
	if err := checkDuration(in.MaxSessionDuration); err != nil {
		return err
	}
	return checkTags(in.Tags)
}

type roleStructure struct {
	Path                     string             `xml:"Path"`
	RoleName                 string             `xml:"RoleName"`
	RoleID                   string             `xml:"RoleId"`
	ARN                      string             `xml:"Arn"`
	CreateDate               wire.Time          `xml:"CreateDate"`
	AssumeRolePolicyDocument string             `xml:"AssumeRolePolicyDocument"`
	Description              string             `xml:"Description,omitempty"`
	MaxSessionDuration       int32              `xml:"MaxSessionDuration,omitempty"`
	PermissionsBoundary      *boundaryStructure `xml:"PermissionsBoundary"`
	Tags                     *tagList           `xml:"Tags"`
	RoleLastUsed             *roleLastUsed      `xml:"RoleLastUsed"`
}

// roleLastUsed is empty if the role is not known to have been used.
type roleLastUsed struct {
	LastUsedDate *wire.Time `xml:"LastUsedDate"`
	Region       string     `xml:"Region,omitempty"`
}

// describeLastUse tells when a session of the role last signed a request to this server since it started.
func (s *Service) describeLastUse(r *identity.Role) *roleLastUsed {
	use, ok := s.LastUse(r.ID)
	if !ok {
		return &roleLastUsed{}
	}
	date := wire.Time(use.Time)
	return &roleLastUsed{&date, use.Region}
}

type roleOutput struct {
	Role roleStructure `xml:"Role"`
}

// describeRole leaves the tags and the boundary out, as ListRoles does.
func (s *Service) describeRole(r *identity.Role) roleStructure {
	return roleStructure{
		Path: r.Path, RoleName: r.Name, RoleID: r.ID, ARN: r.ARN(), CreateDate: wire.Time(r.CreatedAt),
		AssumeRolePolicyDocument: escapeDocument(s.Directory.TrustPolicy(r)), Description: r.Description, MaxSessionDuration: r.MaxSessionDuration,
	}
}

func (s *Service) describeWholeRole(r *identity.Role) *roleOutput {
	out := &roleOutput{s.describeRole(r)}
	out.Role.Tags, out.Role.PermissionsBoundary = listTags(r.Tags), describeBoundary(r.Boundary)
	return out
}

// escapeDocument percent-encodes a policy document, the form in which IAM returns it.
func escapeDocument(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

// CreateRole makes a role. The trust policy is kept as the caller wrote it, white space included, and beside it who the roles and users
// are that it names.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html.
func (s *Service) CreateRole(ctx context.Context, call *wire.Call, in *createRoleInput) (*roleOutput, error) {
	trusted, err := s.checkTrustPolicy(in.AssumeRolePolicyDocument)
	if err != nil {
		return nil, err
	}
	if err := s.checkBoundary(call, in.PermissionsBoundary); err != nil {
		return nil, err
	}
	_, exists := s.Directory.Role(call.Caller.AccountID, in.RoleName)
	if err := checkQuota(exists, "Roles", s.Directory.Count(call.Caller.AccountID).Roles, s.Quotas.Roles); err != nil {
		return nil, err
	}
	role := identity.Role{
		AccountID: call.Caller.AccountID, Partition: s.Partition, Path: in.Path, Name: in.RoleName,
		ID:          identity.NewID(s.Random, identity.RoleID, call.Caller.AccountID),
		Description: in.Description, TrustPolicy: in.AssumeRolePolicyDocument, TrustedIDs: trusted, MaxSessionDuration: 3600,
		Permissions: identity.Permissions{Boundary: in.PermissionsBoundary},
		Tags:        tagsOf(in.Tags), CreatedAt: s.Now(),
	}
	if in.MaxSessionDuration != nil {
		role.MaxSessionDuration = *in.MaxSessionDuration
	}
	err = s.Store.Commit(ctx, s.Directory.Roles.Create(directory.Key(role.AccountID, role.Name), role))
	switch {
	case errors.Is(err, store.ErrExists):
		return nil, errEntityAlreadyExists("Role with name %s already exists.", in.RoleName)
	case err != nil:
		return nil, err
	}
	out := s.describeWholeRole(&role)
	out.Role.MaxSessionDuration = 0 // IAM's answer to CreateRole does not have it
	return out, nil
}

// GetRole returns a role with its tags, its permissions boundary and its last use.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRole.html.
func (s *Service) GetRole(ctx context.Context, call *wire.Call, in *roleInput) (*roleOutput, error) {
	role, err := s.role(ctx, call, in.RoleName)
	if err != nil {
		return nil, err
	}
	out := s.describeWholeRole(&role)
	out.Role.RoleLastUsed = s.describeLastUse(&role)
	return out, nil
}

// listInput is the input of operations that list the account's roles or users.
type listInput struct {
	PathPrefix string `form:"PathPrefix"`
	page
}

// Validate checks the path and the paging members.
func (in *listInput) Validate() error {
	if in.PathPrefix != "" && !identity.ValidIAMPath(strings.TrimSuffix(in.PathPrefix, "/")+"/") {
		return errConstraint(in.PathPrefix[:min(len(in.PathPrefix), 200)], "pathPrefix", `Member must satisfy regular expression pattern: \u002F[\u0021-\u007F]*`)
	}
	return in.page.Validate()
}

type listRolesOutput struct {
	Roles []roleStructure `xml:"Roles>member"`
	pageEnd
}

// ListRoles returns the account's roles in the order of their names, without their tags.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListRoles.html.
func (s *Service) ListRoles(_ context.Context, call *wire.Call, in *listInput) (*listRolesOutput, error) {
	out := &listRolesOutput{Roles: []roleStructure{}}
	account := call.Caller.AccountID + "/"
	last := ""
	for key, role := range s.Directory.ScanRoles(account, in.after(account)) {
		if !strings.HasPrefix(role.Path, in.PathPrefix) {
			continue
		}
		if len(out.Roles) == in.limit() {
			out.truncate(strings.TrimPrefix(last, account))
			break
		}
		last = key
		out.Roles = append(out.Roles, s.describeRole(&role.Role))
	}
	return out, nil
}

type updateRoleInput struct {
	roleInput
	Description        *string `form:"Description"`
	MaxSessionDuration *int32  `form:"MaxSessionDuration"`
}

type empty struct{}

// emptyResult has a Result element with nothing in it, as UpdateRole's answer does.
type emptyResult struct {
	Nothing *empty `xml:"Nothing"`
}

// UpdateRole changes the description and the longest session; what is not given stays.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateRole.html.
func (s *Service) UpdateRole(ctx context.Context, call *wire.Call, in *updateRoleInput) (*emptyResult, error) {
	if in.Description != nil {
		if err := checkDescription(in.Description); err != nil {
			return nil, err
		}
	}
	if err := checkDuration(in.MaxSessionDuration); err != nil {
		return nil, err
	}
	return &emptyResult{}, s.updateRole(ctx, call, in.RoleName, func(r *identity.Role) error {
		if in.Description != nil {
			r.Description = *in.Description
		}
		if in.MaxSessionDuration != nil {
			r.MaxSessionDuration = *in.MaxSessionDuration
		}
		return nil
	})
}

type roleDescriptionInput struct {
	roleInput
	Description string `form:"Description"`
}

// UpdateRoleDescription changes the description and returns the role. Terraform uses it; all others use UpdateRole.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateRoleDescription.html.
func (s *Service) UpdateRoleDescription(ctx context.Context, call *wire.Call, in *roleDescriptionInput) (*roleOutput, error) {
	if err := checkDescription(&in.Description); err != nil {
		return nil, err
	}
	var changed identity.Role
	err := s.updateRole(ctx, call, in.RoleName, func(r *identity.Role) error {
		r.Description = in.Description
		changed = *r
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.describeWholeRole(&changed), nil
}

type updateTrustInput struct {
	roleInput
	PolicyDocument string `form:"PolicyDocument"`
}

// UpdateAssumeRolePolicy replaces the trust policy.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateAssumeRolePolicy.html.
func (s *Service) UpdateAssumeRolePolicy(ctx context.Context, call *wire.Call, in *updateTrustInput) (*empty, error) {
	trusted, err := s.checkTrustPolicy(in.PolicyDocument)
	if err != nil {
		return nil, err
	}
	return &empty{}, s.updateRole(ctx, call, in.RoleName, func(r *identity.Role) error {
		r.TrustPolicy, r.TrustedIDs = in.PolicyDocument, trusted
		return nil
	})
}

// DeleteRole deletes a role that has no policies, inline or attached. Its sessions lose their permissions at once.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteRole.html.
func (s *Service) DeleteRole(ctx context.Context, call *wire.Call, in *roleInput) (*empty, error) {
	_, err := s.Directory.Roles.Remove(ctx, directory.Key(call.Caller.AccountID, in.RoleName), func(r *identity.Role) ([]store.Op, error) {
		return nil, checkNoPolicies(&r.Permissions)
	})
	return &empty{}, roleError(err, in.RoleName)
}

// role reads a role of the caller's account.
func (s *Service) role(ctx context.Context, call *wire.Call, name string) (identity.Role, error) {
	role, err := s.Directory.Roles.Get(ctx, directory.Key(call.Caller.AccountID, name))
	return role, roleError(err, name)
}

func (s *Service) updateRole(ctx context.Context, call *wire.Call, name string, change func(*identity.Role) error) error {
	_, err := s.Directory.Roles.Update(ctx, directory.Key(call.Caller.AccountID, name), change)
	return roleError(err, name)
}

// roleError spells the store's facts about a role; anything else stays a fault.
func roleError(err error, name string) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errRoleNotFound(name)
	case errors.Is(err, store.ErrConflict):
		return errConcurrentModification("The role " + name)
	default:
		return err
	}
}

// checkTrustPolicy refuses a trust policy that does not parse, is too large, or names roles or users that do not exist, and returns the
// unique ids of those that do, by ARN.
func (s *Service) checkTrustPolicy(text string) (trusted map[string]string, err error) {
	parsed, err := policy.Parse(policy.Trust, text)
	if err != nil {
		return nil, errMalformedPolicyDocument(err.Error())
	}
	if size := documentSize(text); size > maxTrustPolicy {
		return nil, errLimitExceeded("Cannot exceed quota for ACLSizePerRole: %d", maxTrustPolicy)
	}
	trusted = map[string]string{}
	for _, principal := range parsed.Principals() {
		id, exists := s.Directory.PrincipalID(principal)
		switch {
		case !exists:
			return nil, errMalformedPolicyDocument(`Invalid principal in policy: "AWS":"` + principal + `"`)
		case id != "":
			trusted[principal] = id
		}
	}
	return trusted, nil
}
