package iam

import (
	"context"
	"slices"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/wire"
)

// tagStructure is a tag on its way in or out.
type tagStructure struct {
	Key   string `form:"Key" xml:"Key"`
	Value string `form:"Value" xml:"Value"`
}

// tagList is a Tags element, which is left out where there are no tags.
type tagList struct {
	Members []tagStructure `xml:"member"`
}

func listTags(tags []identity.Tag) *tagList {
	if len(tags) == 0 {
		return nil
	}
	list := &tagList{}
	for _, tag := range tags {
		list.Members = append(list.Members, tagStructure(tag))
	}
	return list
}

func tagsOf(in []tagStructure) []identity.Tag {
	tags := make([]identity.Tag, 0, len(in))
	for _, tag := range in {
		tags = append(tags, identity.Tag(tag))
	}
	return tags
}

func checkTags(in []tagStructure) error {
	if err := identity.CheckTags(tagsOf(in)); err != nil {
		return errInvalidInput("Invalid tags: %v.", err)
	}
	return nil
}

// addTags adds tags and overwrites those with the same keys, compared without regard to case.
func addTags(tags *[]identity.Tag, in []tagStructure, quota string) error {
	for _, tag := range tagsOf(in) {
		if i := identity.FindTag(*tags, tag.Key); i >= 0 {
			(*tags)[i] = tag
		} else {
			*tags = append(*tags, tag)
		}
	}
	if len(*tags) > identity.MaxTags {
		return errLimitExceeded("Cannot exceed quota for %s: %d", quota, identity.MaxTags)
	}
	return nil
}

func removeTags(tags *[]identity.Tag, keys []string) {
	for _, key := range keys {
		if i := identity.FindTag(*tags, key); i >= 0 {
			*tags = slices.Delete(*tags, i, i+1)
		}
	}
}

// listTagsOutput is the answer of all operations that list tags.
type listTagsOutput struct {
	Tags []tagStructure `xml:"Tags>member"`
	pageEnd
}

func pageOfTags(tags []identity.Tag, in *page) *listTagsOutput {
	out := &listTagsOutput{Tags: []tagStructure{}}
	for _, tag := range paginate(tags, in, &out.pageEnd, func(t identity.Tag) string { return t.Key }) {
		out.Tags = append(out.Tags, tagStructure(tag))
	}
	return out
}

type tagRoleInput struct {
	roleInput
	Tags []tagStructure `form:"Tags"`
}

// TagRole adds tags and overwrites those with the same keys, compared without regard to case.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_TagRole.html.
func (s *Service) TagRole(ctx context.Context, call *wire.Call, in *tagRoleInput) (*empty, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return &empty{}, s.updateRole(ctx, call, in.RoleName, func(r *identity.Role) error {
		return addTags(&r.Tags, in.Tags, "TagsPerRole")
	})
}

type untagRoleInput struct {
	roleInput
	TagKeys []string `form:"TagKeys"`
}

// UntagRole takes tags away; keys that are not there are passed over.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_UntagRole.html.
func (s *Service) UntagRole(ctx context.Context, call *wire.Call, in *untagRoleInput) (*empty, error) {
	return &empty{}, s.updateRole(ctx, call, in.RoleName, func(r *identity.Role) error {
		removeTags(&r.Tags, in.TagKeys)
		return nil
	})
}

// ListRoleTags returns a role's tags.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListRoleTags.html.
func (s *Service) ListRoleTags(ctx context.Context, call *wire.Call, in *pagedRoleInput) (*listTagsOutput, error) {
	role, err := s.role(ctx, call, in.RoleName)
	if err != nil {
		return nil, err
	}
	return pageOfTags(role.Tags, &in.page), nil
}
