package eks

import (
	"context"
	"errors"
	"maps"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/wire"
)

type tagInput struct {
	ARN  string            `uri:"arn" json:"-"`
	Tags map[string]string `json:"tags"`
}

func (in *tagInput) Validate() error {
	if len(in.Tags) == 0 {
		return errBadRequest("The request has no tags.")
	}
	if err := identity.CheckTags(identity.TagList(in.Tags)); err != nil {
		return errBadRequest("Invalid tags: %v.", err)
	}
	return nil
}

type empty struct{}

// TagResource adds tags to a cluster or an association, and overwrites those with the same keys.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_TagResource.html.
func (s *Service) TagResource(ctx context.Context, _ *wire.Call, in *tagInput) (*empty, error) {
	return &empty{}, s.changeTags(ctx, in.ARN, func(tags map[string]string) error {
		maps.Copy(tags, in.Tags)
		if err := identity.CheckTags(identity.TagList(tags)); err != nil {
			return errBadRequest("The resource cannot have these tags and those it has: %v.", err)
		}
		return nil
	})
}

type untagInput struct {
	ARN     string   `uri:"arn" json:"-"`
	TagKeys []string `query:"tagKeys" json:"-"`
}

func (in *untagInput) Validate() error {
	if len(in.TagKeys) == 0 {
		return errBadRequest("The request has no tagKeys.")
	}
	return nil
}

// UntagResource takes tags away; keys that are not there are passed over.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_UntagResource.html.
func (s *Service) UntagResource(ctx context.Context, _ *wire.Call, in *untagInput) (*empty, error) {
	return &empty{}, s.changeTags(ctx, in.ARN, func(tags map[string]string) error {
		for _, key := range in.TagKeys {
			delete(tags, key)
		}
		return nil
	})
}

type listTagsInput struct {
	ARN string `uri:"arn" json:"-"`
}

type listTagsOutput struct {
	Tags map[string]string `json:"tags"`
}

// ListTagsForResource returns the tags of a cluster or an association.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_ListTagsForResource.html.
func (s *Service) ListTagsForResource(_ context.Context, _ *wire.Call, in *listTagsInput) (*listTagsOutput, error) {
	tags, ok := s.tagsOf(in.ARN)
	if !ok {
		return nil, errNoResource(in.ARN)
	}
	return &listTagsOutput{presentTags(tags)}, nil
}

// changeTags changes the tags of what an ARN names. change gets a map of its own.
func (s *Service) changeTags(ctx context.Context, arn string, change func(map[string]string) error) error {
	apply := func(tags *map[string]string) error {
		changed := maps.Clone(presentTags(*tags))
		*tags = changed
		return change(changed)
	}
	name, id, _ := parseResource(arn) // tagAccess has found it
	var err error
	if id == "" {
		_, err = s.Directory.Clusters.Update(ctx, name, func(c *identity.Cluster) error { return apply(&c.Tags) })
	} else if a, ok := s.Directory.AssociationByID(name, id); ok {
		_, err = s.Directory.Associations.Update(ctx, directory.AssociationKey(name, a.ServiceAccount), func(a *identity.Association) error {
			if a.ID != id {
				return store.ErrNotFound // deleted and made again meanwhile
			}
			return apply(&a.Tags)
		})
	} else {
		err = store.ErrNotFound
	}
	if errors.Is(err, store.ErrNotFound) {
		return errNoResource(arn)
	}
	return err
}

// tagsOf finds the resource that an ARN names and returns its tags.
func (s *Service) tagsOf(arn string) (map[string]string, bool) {
	name, id, _ := parseResource(arn)
	cluster, ok := s.Directory.Cluster(name)
	if !ok {
		return nil, false
	}
	if id == "" {
		return cluster.Tags, cluster.ARN() == arn
	}
	a, ok := s.Directory.AssociationByID(name, id)
	if !ok || a.ARN != arn {
		return nil, false
	}
	return a.Tags, true
}

func errNoResource(arn string) *wire.Error {
	return errNotFound("No cluster or pod identity association is found for ARN %s.", arn[:min(len(arn), 300)])
}

func (s *Service) resourceAccess(action, arn string, more func(*policy.Context)) (wire.Access, error) {
	if _, _, ok := parseResource(arn); !ok {
		return wire.Access{}, errBadRequest("%q is not the ARN of an EKS resource: want arn:aws:eks:region:account:cluster/name or …:podidentityassociation/cluster/id.",
			arn[:min(len(arn), 300)])
	}
	tags, ok := s.tagsOf(arn)
	if !ok {
		return wire.Access{}, errNoResource(arn)
	}
	return wire.Access{Action: action, Resource: arn, Keys: func(keys *policy.Context) {
		keys.SetTags("aws:ResourceTag/", identity.TagList(tags))
		if more != nil {
			more(keys)
		}
	}}, nil
}

func (s *Service) tagAccess(_ *wire.Call, in *tagInput) (wire.Access, error) {
	return s.resourceAccess("eks:TagResource", in.ARN, func(keys *policy.Context) {
		directory.SetRequestTags(keys, identity.TagList(in.Tags))
	})
}

func (s *Service) untagAccess(_ *wire.Call, in *untagInput) (wire.Access, error) {
	return s.resourceAccess("eks:UntagResource", in.ARN, func(keys *policy.Context) { keys.SetMany("aws:TagKeys", in.TagKeys...) })
}

func (s *Service) listTagsAccess(_ *wire.Call, in *listTagsInput) (wire.Access, error) {
	return s.resourceAccess("eks:ListTagsForResource", in.ARN, nil)
}
