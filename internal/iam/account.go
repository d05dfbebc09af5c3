package iam

import (
	"context"
	"encoding/xml"
	"maps"
	"slices"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/wire"
)

type listAliasesOutput struct {
	AccountAliases *empty `xml:"AccountAliases"`
	pageEnd
}

// ListAccountAliases returns an empty list: accounts have no other names here. Terraform asks it.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListAccountAliases.html.
func (s *Service) ListAccountAliases(_ context.Context, _ *wire.Call, _ *page) (*listAliasesOutput, error) {
	return &listAliasesOutput{AccountAliases: &empty{}}, nil
}

// summary is a map in the protocol's spelling: entries of key and value.
type summary map[string]int

// MarshalXML writes the entries in the order of their keys.
func (m summary) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	type entry struct {
		Key   string `xml:"key"`
		Value int    `xml:"value"`
	}
	var entries []entry
	for _, key := range slices.Sorted(maps.Keys(m)) {
		entries = append(entries, entry{key, m[key]})
	}
	return e.EncodeElement(struct {
		Entries []entry `xml:"entry"`
	}{entries}, start)
}

type accountSummaryOutput struct {
	SummaryMap summary `xml:"SummaryMap"`
}

// GetAccountSummary counts what the account has, and says the limits that podid keeps.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountSummary.html.
func (s *Service) GetAccountSummary(_ context.Context, call *wire.Call, _ *empty) (*accountSummaryOutput, error) {
	account := call.Caller.AccountID
	has := s.Directory.Count(account)
	count := summary{
		"Users": has.Users, "Roles": has.Roles, "Policies": has.Policies, "PolicyVersionsInUse": 0, "Providers": has.Providers, "Groups": has.Groups,
		"UsersQuota": s.Quotas.Users, "RolesQuota": s.Quotas.Roles, "PoliciesQuota": s.Quotas.Policies, "GroupsQuota": s.Quotas.Groups,
		"InstanceProfiles": 0, "ServerCertificates": 0, "MFADevices": 0, "MFADevicesInUse": 0, "AccountMFAEnabled": 0, "AccountAccessKeysPresent": 0,
		"AccessKeysPerUserQuota": maxAccessKeys, "AttachedPoliciesPerRoleQuota": maxAttachedPolicies, "AttachedPoliciesPerUserQuota": maxAttachedPolicies,
		"AttachedPoliciesPerGroupQuota": maxAttachedPolicies, "GroupsPerUserQuota": maxGroupsOfUser, "GroupPolicySizeQuota": maxInlinePoliciesOfGroup,
		"VersionsPerPolicyQuota": maxVersions, "PolicySizeQuota": maxManagedPolicy, "AssumeRolePolicySizeQuota": maxTrustPolicy,
		"RolePolicySizeQuota": maxInlinePolicies, "UserPolicySizeQuota": maxInlinePoliciesOfUser,
	}
	for p := range s.Directory.ScanPolicies(account) {
		count["PolicyVersionsInUse"] += len(p.Versions)
	}
	return &accountSummaryOutput{count}, nil
}

type authorizationDetailsInput struct {
	Filter []string `form:"Filter"`
	page
}

// Validate checks the filters and the paging members.
func (in *authorizationDetailsInput) Validate() error {
	for _, f := range in.Filter {
		if !slices.Contains([]string{"User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"}, f) {
			return errConstraint(f[:min(len(f), 60)], "filter", "Member must satisfy enum value set: [User, Role, Group, LocalManagedPolicy, AWSManagedPolicy]")
		}
	}
	return in.page.Validate()
}

func (in *authorizationDetailsInput) wants(kind string) bool {
	return len(in.Filter) == 0 || slices.Contains(in.Filter, kind)
}

type policyDetail struct {
	PolicyName     string `xml:"PolicyName"`
	PolicyDocument string `xml:"PolicyDocument"`
}

type userDetail struct {
	userStructure
	GroupList               []string         `xml:"GroupList>member"`
	UserPolicyList          []policyDetail   `xml:"UserPolicyList>member"`
	AttachedManagedPolicies []attachedPolicy `xml:"AttachedManagedPolicies>member"`
}

type groupDetail struct {
	groupStructure
	GroupPolicyList         []policyDetail   `xml:"GroupPolicyList>member"`
	AttachedManagedPolicies []attachedPolicy `xml:"AttachedManagedPolicies>member"`
}

type roleDetail struct {
	Path                     string             `xml:"Path"`
	RoleName                 string             `xml:"RoleName"`
	RoleID                   string             `xml:"RoleId"`
	ARN                      string             `xml:"Arn"`
	CreateDate               wire.Time          `xml:"CreateDate"`
	AssumeRolePolicyDocument string             `xml:"AssumeRolePolicyDocument"`
	PermissionsBoundary      *boundaryStructure `xml:"PermissionsBoundary"`
	Tags                     *tagList           `xml:"Tags"`
	RoleLastUsed             *roleLastUsed      `xml:"RoleLastUsed"`
	RolePolicyList           []policyDetail     `xml:"RolePolicyList>member"`
	AttachedManagedPolicies  []attachedPolicy   `xml:"AttachedManagedPolicies>member"`
}

type managedPolicyDetail struct {
	policyStructure
	PolicyVersionList []versionStructure `xml:"PolicyVersionList>member"`
}

type authorizationDetailsOutput struct {
	UserDetailList  []userDetail          `xml:"UserDetailList>member"`
	GroupDetailList []groupDetail         `xml:"GroupDetailList>member"`
	RoleDetailList  []roleDetail          `xml:"RoleDetailList>member"`
	Policies        []managedPolicyDetail `xml:"Policies>member"`
	pageEnd
}

// detail is one item of the answer: what it is paged by, and what adds it.
type detail struct {
	marker string
	add    func(*authorizationDetailsOutput)
}

// GetAccountAuthorizationDetails returns users, groups, roles and managed policies with all policies that they have.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountAuthorizationDetails.html.
func (s *Service) GetAccountAuthorizationDetails(_ context.Context, call *wire.Call, in *authorizationDetailsInput) (*authorizationDetailsOutput, error) {
	account, used := call.Caller.AccountID, s.countUses(call.Caller.AccountID)
	var all []detail
	if in.wants("User") {
		for user := range s.Directory.ScanUsers(account, "") {
			groups, err := s.Directory.GroupsOf(&user.User)
			if err != nil {
				return nil, err
			}
			all = append(all, detail{"user " + user.Name, func(out *authorizationDetailsOutput) {
				out.UserDetailList = append(out.UserDetailList, detailUser(&user.User, groups))
			}})
		}
	}
	if in.wants("Group") {
		for group := range s.Directory.ScanGroups(account, "") {
			all = append(all, detail{"group " + group.Name, func(out *authorizationDetailsOutput) {
				out.GroupDetailList = append(out.GroupDetailList, detailGroup(&group.Group))
			}})
		}
	}
	if in.wants("Role") {
		for _, role := range s.Directory.ScanRoles(account+"/", "") {
			all = append(all, detail{"role " + role.Name, func(out *authorizationDetailsOutput) {
				out.RoleDetailList = append(out.RoleDetailList, s.detailRole(&role.Role))
			}})
		}
	}
	addPolicy := func(p *identity.ManagedPolicy) {
		all = append(all, detail{"policy " + policyMarker(p.ARN()), func(out *authorizationDetailsOutput) {
			out.Policies = append(out.Policies, detailPolicy(p, used))
		}})
	}
	if in.wants("LocalManagedPolicy") {
		for p := range s.Directory.ScanPolicies(account) {
			addPolicy(&p.ManagedPolicy)
		}
	}
	if in.wants("AWSManagedPolicy") {
		for _, p := range s.Directory.AWSPolicies(s.Partition) {
			addPolicy(&p.ManagedPolicy)
		}
	}
	out := &authorizationDetailsOutput{}
	for _, d := range paginate(all, &in.page, &out.pageEnd, func(d detail) string { return d.marker }) {
		d.add(out)
	}
	return out, nil
}

func detailPermissions(p *identity.Permissions) (inline []policyDetail, attached []attachedPolicy) {
	for _, name := range slices.Sorted(maps.Keys(p.InlinePolicies)) {
		inline = append(inline, policyDetail{name, escapeDocument(p.InlinePolicies[name])})
	}
	return inline, listAttached(p, "", &page{}).AttachedPolicies
}

func detailUser(u *identity.User, groups []*directory.Group) userDetail {
	d := userDetail{userStructure: describeWholeUser(u).User}
	for _, group := range groups {
		d.GroupList = append(d.GroupList, group.Name)
	}
	d.UserPolicyList, d.AttachedManagedPolicies = detailPermissions(&u.Permissions)
	return d
}

func detailGroup(g *identity.Group) groupDetail {
	d := groupDetail{groupStructure: describeGroup(g)}
	d.GroupPolicyList, d.AttachedManagedPolicies = detailPermissions(&g.Permissions)
	return d
}

func (s *Service) detailRole(r *identity.Role) roleDetail {
	d := roleDetail{
		Path: r.Path, RoleName: r.Name, RoleID: r.ID, ARN: r.ARN(), CreateDate: wire.Time(r.CreatedAt),
		AssumeRolePolicyDocument: escapeDocument(s.Directory.TrustPolicy(r)), PermissionsBoundary: describeBoundary(r.Boundary), Tags: listTags(r.Tags),
		RoleLastUsed: s.describeLastUse(r),
	}
	d.RolePolicyList, d.AttachedManagedPolicies = detailPermissions(&r.Permissions)
	return d
}

func detailPolicy(p *identity.ManagedPolicy, used uses) managedPolicyDetail {
	d := managedPolicyDetail{policyStructure: describePolicy(p, used)}
	d.Description = p.Description
	for i := range p.Versions {
		v := describeVersion(p, &p.Versions[i])
		v.Document = escapeDocument(p.Versions[i].Document)
		d.PolicyVersionList = append(d.PolicyVersionList, v)
	}
	return d
}
