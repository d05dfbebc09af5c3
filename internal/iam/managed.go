package iam

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/wire"
)

// maxManagedPolicy is how large a managed policy may be, in characters, white space not counted.
const maxManagedPolicy = 6144

type policyInput struct {
	PolicyARN string `form:"PolicyArn"`
}

// Validate checks the form of the ARN.
func (in *policyInput) Validate() error { return checkPolicyARN(in.PolicyARN) }

// entity is a managed policy of the caller's account or of AWS; for one that does not exist it is what it was asked for as.
func (in *policyInput) entity(s *Service, call *wire.Call) (entity, error) {
	if p, ok := s.policy(call, in.PolicyARN); ok {
		return entity{arn: p.ARN(), tags: p.Tags}, nil
	}
	arn, _ := identity.ParseARN(in.PolicyARN) // checked by Validate
	if arn.Partition != s.Partition || arn.AccountID != call.Caller.AccountID && arn.AccountID != identity.AWSAccount {
		return entity{}, errNoPolicy(in.PolicyARN)
	}
	return entity{arn: in.PolicyARN}, nil
}

func errNoPolicy(arn string) error { return errNoSuchEntity("Policy %s was not found.", arn) }

// policy finds a managed policy that the caller's account may use: its own and AWS's.
func (s *Service) policy(call *wire.Call, text string) (*directory.Policy, bool) {
	arn, _, err := identity.ParsePolicyARN(text)
	if err != nil || arn.Partition != s.Partition || arn.AccountID != call.Caller.AccountID && arn.AccountID != identity.AWSAccount {
		return nil, false
	}
	return s.Directory.PolicyByARN(text)
}

type createPolicyInput struct {
	PolicyName     string         `form:"PolicyName"`
	Path           string         `form:"Path"`
	PolicyDocument string         `form:"PolicyDocument"`
	Description    string         `form:"Description"`
	Tags           []tagStructure `form:"Tags"`
}

// Validate checks the members; a missing path is /.
func (in *createPolicyInput) Validate() error {
	if err := checkName("policyName", in.PolicyName, 128); err != nil {
		return err
	}
	if err := checkPath(&in.Path); err != nil {
		return err
	}
	if err := checkDescription(&in.Description); err != nil {
		return err
	}
	return checkTags(in.Tags)
}

func (in *createPolicyInput) entity(s *Service, call *wire.Call) (entity, error) {
	return entity{arn: s.arn(call, "policy"+in.Path+in.PolicyName)}, nil
}

func (in *createPolicyInput) setKeys(keys *policy.Context) {
	directory.SetRequestTags(keys, tagsOf(in.Tags))
}

type policyStructure struct {
	PolicyName                    string    `xml:"PolicyName"`
	PolicyID                      string    `xml:"PolicyId"`
	ARN                           string    `xml:"Arn"`
	Path                          string    `xml:"Path"`
	DefaultVersionID              string    `xml:"DefaultVersionId"`
	AttachmentCount               int       `xml:"AttachmentCount"`
	PermissionsBoundaryUsageCount int       `xml:"PermissionsBoundaryUsageCount"`
	IsAttachable                  bool      `xml:"IsAttachable"`
	Description                   string    `xml:"Description,omitempty"`
	CreateDate                    wire.Time `xml:"CreateDate"`
	UpdateDate                    wire.Time `xml:"UpdateDate"`
	Tags                          *tagList  `xml:"Tags"`
}

type policyOutput struct {
	Policy policyStructure `xml:"Policy"`
}

// describePolicy leaves the description and the tags out, as ListPolicies does.
func describePolicy(p *identity.ManagedPolicy, used uses) policyStructure {
	return policyStructure{
		PolicyName: p.Name, PolicyID: p.ID, ARN: p.ARN(), Path: p.Path, DefaultVersionID: p.DefaultVersion, IsAttachable: true,
		AttachmentCount: used.attached[p.ARN()], PermissionsBoundaryUsageCount: used.boundaries[p.ARN()],
		CreateDate: wire.Time(p.CreatedAt), UpdateDate: wire.Time(p.UpdatedAt),
	}
}

// uses counts for managed policies, by ARN, the roles, users and groups that they are attached to and whose boundary they are.
type uses struct{ attached, boundaries map[string]int }

func (s *Service) countUses(account string) uses {
	used := uses{map[string]int{}, map[string]int{}}
	count := func(p *identity.Permissions) {
		for _, arn := range p.AttachedPolicies {
			used.attached[arn]++
		}
		used.boundaries[p.Boundary]++
	}
	for _, role := range s.Directory.ScanRoles(account+"/", "") {
		count(&role.Permissions)
	}
	for user := range s.Directory.ScanUsers(account, "") {
		count(&user.Permissions)
	}
	for group := range s.Directory.ScanGroups(account, "") {
		count(&group.Permissions)
	}
	return used
}

// CreatePolicy makes a managed policy of one version, v1. The document is kept as the caller wrote it.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreatePolicy.html.
func (s *Service) CreatePolicy(ctx context.Context, call *wire.Call, in *createPolicyInput) (*policyOutput, error) {
	if err := checkManagedPolicy(in.PolicyDocument); err != nil {
		return nil, err
	}
	_, exists := s.Directory.PolicyByARN(s.arn(call, "policy"+in.Path+in.PolicyName))
	if err := checkQuota(exists, "Policies", s.Directory.Count(call.Caller.AccountID).Policies, s.Quotas.Policies); err != nil {
		return nil, err
	}
	now := s.Now()
	p := identity.ManagedPolicy{
		AccountID: call.Caller.AccountID, Partition: s.Partition, Path: in.Path, Name: in.PolicyName,
		ID:          identity.NewID(s.Random, identity.PolicyID, call.Caller.AccountID),
		Description: in.Description, Versions: []identity.PolicyVersion{{ID: "v1", Document: in.PolicyDocument, CreatedAt: now}},
		DefaultVersion: "v1", LastVersion: 1, Tags: tagsOf(in.Tags), CreatedAt: now, UpdatedAt: now,
	}
	err := s.Store.Commit(ctx, s.Directory.Policies.Create(directory.Key(p.AccountID, p.Name), p))
	switch {
	case errors.Is(err, store.ErrExists):
		return nil, errEntityAlreadyExists("A policy called %s already exists. Duplicate names are not allowed.", in.PolicyName)
	case err != nil:
		return nil, err
	}
	out := &policyOutput{describePolicy(&p, uses{})}
	out.Policy.Tags = listTags(p.Tags)
	return out, nil
}

func checkManagedPolicy(text string) error {
	if err := checkPolicy(text); err != nil {
		return err
	}
	if documentSize(text) > maxManagedPolicy {
		return errLimitExceeded("Cannot exceed quota for PolicySize: %d", maxManagedPolicy)
	}
	return nil
}

// GetPolicy describes a managed policy of the account or of AWS; GetPolicyVersion has its text.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetPolicy.html.
func (s *Service) GetPolicy(ctx context.Context, call *wire.Call, in *policyInput) (*policyOutput, error) {
	p, err := s.readPolicy(ctx, call, in.PolicyARN)
	if err != nil {
		return nil, err
	}
	out := &policyOutput{describePolicy(&p, s.countUses(call.Caller.AccountID))}
	out.Policy.Description, out.Policy.Tags = p.Description, listTags(p.Tags)
	return out, nil
}

type listPoliciesInput struct {
	listInput
	Scope             string `form:"Scope"`
	OnlyAttached      bool   `form:"OnlyAttached"`
	PolicyUsageFilter string `form:"PolicyUsageFilter"`
}

// Validate checks the filters, the path and the paging members.
func (in *listPoliciesInput) Validate() error {
	if !slices.Contains([]string{"", "All", "AWS", "Local"}, in.Scope) {
		return errConstraint(in.Scope[:min(len(in.Scope), 60)], "scope", "Member must satisfy enum value set: [All, AWS, Local]")
	}
	if !slices.Contains([]string{"", "PermissionsPolicy", "PermissionsBoundary"}, in.PolicyUsageFilter) {
		return errConstraint(in.PolicyUsageFilter[:min(len(in.PolicyUsageFilter), 60)], "policyUsageFilter",
			"Member must satisfy enum value set: [PermissionsPolicy, PermissionsBoundary]")
	}
	return in.listInput.Validate()
}

type listPoliciesOutput struct {
	Policies []policyStructure `xml:"Policies>member"`
	pageEnd
}

// ListPolicies returns the account's managed policies and those of AWS that podid knows.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListPolicies.html.
func (s *Service) ListPolicies(_ context.Context, call *wire.Call, in *listPoliciesInput) (*listPoliciesOutput, error) {
	var all []*directory.Policy
	if in.Scope != "AWS" {
		all = slices.Collect(s.Directory.ScanPolicies(call.Caller.AccountID))
	}
	if in.Scope == "" || in.Scope == "All" || in.Scope == "AWS" {
		all = append(all, s.Directory.AWSPolicies(s.Partition)...)
	}
	used := s.countUses(call.Caller.AccountID)
	var matching []policyStructure
	for _, p := range all {
		d := describePolicy(&p.ManagedPolicy, used)
		switch {
		case !strings.HasPrefix(p.Path, in.PathPrefix):
		case in.OnlyAttached && d.AttachmentCount+d.PermissionsBoundaryUsageCount == 0:
		case in.PolicyUsageFilter == "PermissionsPolicy" && d.AttachmentCount == 0:
		case in.PolicyUsageFilter == "PermissionsBoundary" && d.PermissionsBoundaryUsageCount == 0:
		default:
			matching = append(matching, d)
		}
	}
	out := &listPoliciesOutput{}
	out.Policies = paginate(matching, &in.page, &out.pageEnd, func(p policyStructure) string { return policyMarker(p.ARN) })
	return out, nil
}

// policyMarker is what managed policies are paged by: the name, which is unique in an account and among AWS's, and the account. Whole
// ARNs are longer than markers may be.
func policyMarker(text string) string {
	arn, name, _ := identity.ParsePolicyARN(text) // checked before it was stored
	return name + " " + arn.AccountID
}

// DeletePolicy deletes a managed policy that is attached nowhere, is nobody's boundary, and has no version besides the default one.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeletePolicy.html.
func (s *Service) DeletePolicy(ctx context.Context, call *wire.Call, in *policyInput) (*empty, error) {
	at, err := s.policyKey(call, in.PolicyARN)
	if err != nil {
		return nil, err
	}
	_, err = s.Directory.Policies.Remove(ctx, at, func(p *identity.ManagedPolicy) ([]store.Op, error) {
		used := s.countUses(call.Caller.AccountID)
		switch {
		case p.ARN() != in.PolicyARN:
			return nil, errNoPolicy(in.PolicyARN)
		case used.attached[p.ARN()] > 0 || used.boundaries[p.ARN()] > 0:
			return nil, errDeleteConflict("Cannot delete a policy attached to entities.")
		case len(p.Versions) > 1:
			return nil, errDeleteConflict("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. " +
				"The default version is deleted with the policy.")
		}
		return nil, nil
	})
	return &empty{}, policyError(err, in.PolicyARN)
}

// readPolicy reads a managed policy of the account, or finds one of AWS.
func (s *Service) readPolicy(ctx context.Context, call *wire.Call, text string) (identity.ManagedPolicy, error) {
	arn, name, err := identity.ParsePolicyARN(text)
	if err != nil {
		return identity.ManagedPolicy{}, errNoPolicy(text)
	}
	if arn.AccountID == identity.AWSAccount {
		p, ok := s.policy(call, text)
		if !ok {
			return identity.ManagedPolicy{}, errNoPolicy(text)
		}
		return p.ManagedPolicy, nil
	}
	p, err := s.Directory.Policies.Get(ctx, directory.Key(call.Caller.AccountID, name))
	if err == nil && p.ARN() != text {
		return identity.ManagedPolicy{}, errNoPolicy(text)
	}
	return p, policyError(err, text)
}

// policyKey is where a managed policy of the caller's account is stored. AWS's policies cannot be changed.
func (s *Service) policyKey(call *wire.Call, text string) (string, error) {
	arn, name, err := identity.ParsePolicyARN(text)
	switch {
	case err != nil:
		return "", errNoPolicy(text)
	case arn.AccountID == identity.AWSAccount:
		return "", errInvalidInput("Policy %s is one of AWS's, which cannot be changed.", text)
	}
	return directory.Key(call.Caller.AccountID, name), nil
}

func (s *Service) updatePolicy(ctx context.Context, call *wire.Call, text string, change func(*identity.ManagedPolicy) error) error {
	at, err := s.policyKey(call, text)
	if err != nil {
		return err
	}
	_, err = s.Directory.Policies.Update(ctx, at, func(p *identity.ManagedPolicy) error {
		if p.ARN() != text {
			return errNoPolicy(text)
		}
		return change(p)
	})
	return policyError(err, text)
}

// policyError spells the store's facts about a managed policy; anything else stays a fault.
func policyError(err error, arn string) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errNoPolicy(arn)
	case errors.Is(err, store.ErrConflict):
		return errConcurrentModification("The policy " + arn)
	default:
		return err
	}
}
