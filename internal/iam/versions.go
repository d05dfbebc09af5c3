package iam

import (
	"context"
	"slices"
	"strconv"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

// maxVersions is how many versions of a managed policy are kept.
const maxVersions = 5

type createVersionInput struct {
	policyInput
	PolicyDocument string `form:"PolicyDocument"`
	SetAsDefault   bool   `form:"SetAsDefault"`
}

type versionStructure struct {
	Document         string    `xml:"Document,omitempty"`
	VersionID        string    `xml:"VersionId"`
	IsDefaultVersion bool      `xml:"IsDefaultVersion"`
	CreateDate       wire.Time `xml:"CreateDate"`
}

type versionOutput struct {
	PolicyVersion versionStructure `xml:"PolicyVersion"`
}

// describeVersion leaves the document out, which only GetPolicyVersion gives.
func describeVersion(p *identity.ManagedPolicy, v *identity.PolicyVersion) versionStructure {
	return versionStructure{VersionID: v.ID, IsDefaultVersion: v.ID == p.DefaultVersion, CreateDate: wire.Time(v.CreatedAt)}
}

// CreatePolicyVersion adds a text to a managed policy. Only as default version does it count.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreatePolicyVersion.html.
func (s *Service) CreatePolicyVersion(ctx context.Context, call *wire.Call, in *createVersionInput) (*versionOutput, error) {
	if err := checkManagedPolicy(in.PolicyDocument); err != nil {
		return nil, err
	}
	out := &versionOutput{}
	err := s.updatePolicy(ctx, call, in.PolicyARN, func(p *identity.ManagedPolicy) error {
		if len(p.Versions) >= maxVersions {
			return errLimitExceeded("A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxVersions)
		}
		stored := len(in.PolicyDocument)
		for _, v := range p.Versions {
			stored += len(v.Document)
		}
		if stored > maxStored {
			return errStored("policy " + p.Name)
		}
		p.LastVersion++
		v := identity.PolicyVersion{ID: "v" + strconv.Itoa(p.LastVersion), Document: in.PolicyDocument, CreatedAt: s.Now()}
		p.Versions = append(p.Versions, v)
		if in.SetAsDefault {
			p.DefaultVersion, p.UpdatedAt = v.ID, v.CreatedAt
		}
		out.PolicyVersion = describeVersion(p, &v)
		return nil
	})
	return out, err
}

type versionInput struct {
	policyInput
	VersionID string `form:"VersionId"`
}

// Validate checks the ARN and the form of the version's id.
func (in *versionInput) Validate() error {
	if n, err := strconv.Atoi(in.VersionID[min(len(in.VersionID), 1):]); err != nil || "v"+strconv.Itoa(n) != in.VersionID || n < 1 {
		return errConstraint(in.VersionID[:min(len(in.VersionID), 60)], "versionId", `Member must satisfy regular expression pattern: v[1-9][0-9]*(\.[A-Za-z0-9-]*)?`)
	}
	return in.policyInput.Validate()
}

func (in *versionInput) missing() error {
	return errNoSuchEntity("Policy %s version %s does not exist or is not attachable.", in.PolicyARN, in.VersionID)
}

// GetPolicyVersion returns a version with its text as it was written.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetPolicyVersion.html.
func (s *Service) GetPolicyVersion(ctx context.Context, call *wire.Call, in *versionInput) (*versionOutput, error) {
	p, err := s.readPolicy(ctx, call, in.PolicyARN)
	if err != nil {
		return nil, err
	}
	v, ok := p.Version(in.VersionID)
	if !ok {
		return nil, in.missing()
	}
	out := &versionOutput{describeVersion(&p, v)}
	out.PolicyVersion.Document = escapeDocument(v.Document)
	return out, nil
}

type pagedPolicyInput struct {
	policyInput
	page
}

// Validate checks the ARN and the paging members.
func (in *pagedPolicyInput) Validate() error {
	if err := in.policyInput.Validate(); err != nil {
		return err
	}
	return in.page.Validate()
}

type listVersionsOutput struct {
	Versions []versionStructure `xml:"Versions>member"`
	pageEnd
}

// newestFirst is a key by whose order newer versions come first.
func newestFirst(v identity.PolicyVersion) string {
	n, _ := strconv.Atoi(v.ID[1:]) // made by us
	return strconv.Itoa(1<<30 - n)
}

// ListPolicyVersions returns a managed policy's versions, the newest first, without their texts.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListPolicyVersions.html.
func (s *Service) ListPolicyVersions(ctx context.Context, call *wire.Call, in *pagedPolicyInput) (*listVersionsOutput, error) {
	p, err := s.readPolicy(ctx, call, in.PolicyARN)
	if err != nil {
		return nil, err
	}
	out := &listVersionsOutput{}
	for _, v := range paginate(p.Versions, &in.page, &out.pageEnd, newestFirst) {
		out.Versions = append(out.Versions, describeVersion(&p, &v))
	}
	return out, nil
}

// SetDefaultPolicyVersion lets another version count, at once and wherever the policy is attached.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_SetDefaultPolicyVersion.html.
func (s *Service) SetDefaultPolicyVersion(ctx context.Context, call *wire.Call, in *versionInput) (*empty, error) {
	return &empty{}, s.updatePolicy(ctx, call, in.PolicyARN, func(p *identity.ManagedPolicy) error {
		if _, ok := p.Version(in.VersionID); !ok {
			return in.missing()
		}
		p.DefaultVersion, p.UpdatedAt = in.VersionID, s.Now()
		return nil
	})
}

// DeletePolicyVersion deletes a version other than the default one.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeletePolicyVersion.html.
func (s *Service) DeletePolicyVersion(ctx context.Context, call *wire.Call, in *versionInput) (*empty, error) {
	return &empty{}, s.updatePolicy(ctx, call, in.PolicyARN, func(p *identity.ManagedPolicy) error {
		switch _, ok := p.Version(in.VersionID); {
		case !ok:
			return in.missing()
		case in.VersionID == p.DefaultVersion:
			return errDeleteConflict("Cannot delete the default version of a policy.")
		}
		p.Versions = slices.DeleteFunc(p.Versions, func(v identity.PolicyVersion) bool { return v.ID == in.VersionID })
		return nil
	})
}

type tagPolicyInput struct {
	policyInput
	Tags []tagStructure `form:"Tags"`
}

func (in *tagPolicyInput) setKeys(keys *policy.Context) {
	directory.SetRequestTags(keys, tagsOf(in.Tags))
}

// TagPolicy adds tags and overwrites those with the same keys, compared without regard to case.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_TagPolicy.html.
func (s *Service) TagPolicy(ctx context.Context, call *wire.Call, in *tagPolicyInput) (*empty, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return &empty{}, s.updatePolicy(ctx, call, in.PolicyARN, func(p *identity.ManagedPolicy) error {
		return addTags(&p.Tags, in.Tags, "TagsPerPolicy")
	})
}

type untagPolicyInput struct {
	policyInput
	TagKeys []string `form:"TagKeys"`
}

func (in *untagPolicyInput) setKeys(keys *policy.Context) { keys.SetMany("aws:TagKeys", in.TagKeys...) }

// UntagPolicy takes tags away; keys that are not there are passed over.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_UntagPolicy.html.
func (s *Service) UntagPolicy(ctx context.Context, call *wire.Call, in *untagPolicyInput) (*empty, error) {
	return &empty{}, s.updatePolicy(ctx, call, in.PolicyARN, func(p *identity.ManagedPolicy) error {
		removeTags(&p.Tags, in.TagKeys)
		return nil
	})
}

// ListPolicyTags returns a managed policy's tags.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListPolicyTags.html.
func (s *Service) ListPolicyTags(ctx context.Context, call *wire.Call, in *pagedPolicyInput) (*listTagsOutput, error) {
	p, err := s.readPolicy(ctx, call, in.PolicyARN)
	if err != nil {
		return nil, err
	}
	return pageOfTags(p.Tags, &in.page), nil
}
