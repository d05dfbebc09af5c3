package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/wire"
)

type listEntitiesInput struct {
	pagedPolicyInput
	EntityFilter      string `form:"EntityFilter"`
	PathPrefix        string `form:"PathPrefix"`
	PolicyUsageFilter string `form:"PolicyUsageFilter"`
}

// Validate checks the filters, the ARN and the paging members.
func (in *listEntitiesInput) Validate() error {
	if !slices.Contains([]string{"", "User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"}, in.EntityFilter) {
		return errConstraint(in.EntityFilter[:min(len(in.EntityFilter), 60)], "entityFilter",
			"Member must satisfy enum value set: [User, Role, Group, LocalManagedPolicy, AWSManagedPolicy]")
	}
	return in.pagedPolicyInput.Validate()
}

type policyUser struct {
	UserName string `xml:"UserName"`
	UserID   string `xml:"UserId"`
}

type policyRole struct {
	RoleName string `xml:"RoleName"`
	RoleID   string `xml:"RoleId"`
}

type policyGroup struct {
	GroupName string `xml:"GroupName"`
	GroupID   string `xml:"GroupId"`
}

type listEntitiesOutput struct {
	PolicyGroups []policyGroup `xml:"PolicyGroups>member"`
	PolicyUsers  []policyUser  `xml:"PolicyUsers>member"`
	PolicyRoles  []policyRole  `xml:"PolicyRoles>member"`
	pageEnd
}

// policyEntity is a user, group or role that a policy is attached to.
type policyEntity struct {
	kind, path, name, id string
}

// ListEntitiesForPolicy returns the users, groups and roles that a managed policy is attached to or is the boundary of.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListEntitiesForPolicy.html.
func (s *Service) ListEntitiesForPolicy(ctx context.Context, call *wire.Call, in *listEntitiesInput) (*listEntitiesOutput, error) {
	if _, err := s.readPolicy(ctx, call, in.PolicyARN); err != nil {
		return nil, err
	}
	var found []policyEntity
	add := func(p *identity.Permissions, e policyEntity) {
		attached := slices.Contains(p.AttachedPolicies, in.PolicyARN) && in.PolicyUsageFilter != "PermissionsBoundary"
		bounds := p.Boundary == in.PolicyARN && in.PolicyUsageFilter != "PermissionsPolicy"
		if (attached || bounds) && (in.EntityFilter == "" || in.EntityFilter == e.kind) && strings.HasPrefix(e.path, in.PathPrefix) {
			found = append(found, e)
		}
	}
	for user := range s.Directory.ScanUsers(call.Caller.AccountID, "") {
		add(&user.Permissions, policyEntity{"User", user.Path, user.Name, user.ID})
	}
	for group := range s.Directory.ScanGroups(call.Caller.AccountID, "") {
		add(&group.Permissions, policyEntity{"Group", group.Path, group.Name, group.ID})
	}
	for _, role := range s.Directory.ScanRoles(call.Caller.AccountID+"/", "") {
		add(&role.Permissions, policyEntity{"Role", role.Path, role.Name, role.ID})
	}
	out := &listEntitiesOutput{}
	for _, e := range paginate(found, &in.page, &out.pageEnd, func(e policyEntity) string { return e.kind + "/" + e.name }) {
		switch e.kind {
		case "User":
			out.PolicyUsers = append(out.PolicyUsers, policyUser{e.name, e.id})
		case "Group":
			out.PolicyGroups = append(out.PolicyGroups, policyGroup{e.name, e.id})
		default:
			out.PolicyRoles = append(out.PolicyRoles, policyRole{e.name, e.id})
		}
	}
	return out, nil
}
