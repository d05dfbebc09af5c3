package iam

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/wire"
)

type groupInput struct {
	GroupName string `form:"GroupName"`
}

func (in *groupInput) Validate() error { return checkName("groupName", in.GroupName, 128) }

type createGroupInput struct {
	groupInput
	Path string `form:"Path"`
}

// Validate checks the name and the path; a missing path is /.
func (in *createGroupInput) Validate() error {
	if err := in.groupInput.Validate(); err != nil {
		return err
	}
	return checkPath(&in.Path)
}

type groupStructure struct {
	Path       string    `xml:"Path"`
	GroupName  string    `xml:"GroupName"`
	GroupID    string    `xml:"GroupId"`
	ARN        string    `xml:"Arn"`
	CreateDate wire.Time `xml:"CreateDate"`
}

func describeGroup(g *identity.Group) groupStructure {
	return groupStructure{Path: g.Path, GroupName: g.Name, GroupID: g.ID, ARN: g.ARN(), CreateDate: wire.Time(g.CreatedAt)}
}

type groupOutput struct {
	Group groupStructure `xml:"Group"`
}

// CreateGroup makes a group, which has no users and no policies yet.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateGroup.html.
func (s *Service) CreateGroup(ctx context.Context, call *wire.Call, in *createGroupInput) (*groupOutput, error) {
	_, exists := s.Directory.Group(call.Caller.AccountID, in.GroupName)
	if err := checkQuota(exists, "Groups", s.Directory.Count(call.Caller.AccountID).Groups, s.Quotas.Groups); err != nil {
		return nil, err
	}
	group := identity.Group{
		AccountID: call.Caller.AccountID, Partition: s.Partition, Path: in.Path, Name: in.GroupName,
		ID: identity.NewID(s.Random, identity.GroupID, call.Caller.AccountID), CreatedAt: s.Now(),
	}
	err := s.Store.Commit(ctx,
		s.Directory.GroupNames.Create(directory.Key(group.AccountID, group.Name), identity.GroupRef{ID: group.ID}),
		s.Directory.Groups.Create(directory.GroupKey(group.AccountID, group.ID), group))
	switch {
	case errors.Is(err, store.ErrExists):
		return nil, errEntityAlreadyExists("Group with name %s already exists.", in.GroupName)
	case err != nil:
		return nil, err
	}
	return &groupOutput{describeGroup(&group)}, nil
}

type listGroupsOutput struct {
	Groups []groupStructure `xml:"Groups>member"`
	pageEnd
}

// ListGroups returns the account's groups in the order of their names.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListGroups.html.
func (s *Service) ListGroups(_ context.Context, call *wire.Call, in *listInput) (*listGroupsOutput, error) {
	out := &listGroupsOutput{}
	last := ""
	for group := range s.Directory.ScanGroups(call.Caller.AccountID, in.after("")) {
		if !strings.HasPrefix(group.Path, in.PathPrefix) {
			continue
		}
		if len(out.Groups) == in.limit() {
			out.truncate(last)
			break
		}
		last = group.Name
		out.Groups = append(out.Groups, describeGroup(&group.Group))
	}
	return out, nil
}

type updateGroupInput struct {
	groupInput
	NewPath      string `form:"NewPath"`
	NewGroupName string `form:"NewGroupName"`
}

// Validate checks the new name and path where they are given.
func (in *updateGroupInput) Validate() error {
	if err := in.groupInput.Validate(); err != nil {
		return err
	}
	if in.NewGroupName != "" {
		if err := checkName("newGroupName", in.NewGroupName, 128); err != nil {
			return err
		}
	}
	if in.NewPath == "" {
		return nil
	}
	return checkPath(&in.NewPath)
}

// UpdateGroup gives a group another name, another path or both. It keeps its unique id, its policies and its users.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateGroup.html.
func (s *Service) UpdateGroup(ctx context.Context, call *wire.Call, in *updateGroupInput) (*empty, error) {
	if err := s.authorizeGroupMove(call, in); err != nil {
		return nil, err
	}
	err := s.changeGroup(ctx, call, in.GroupName, func(g *identity.Group) ([]store.Op, error) {
		from := directory.Key(g.AccountID, g.Name)
		g.Path, g.Name = cmp.Or(in.NewPath, g.Path), cmp.Or(in.NewGroupName, g.Name)
		to := directory.Key(g.AccountID, g.Name)
		if from == to {
			return nil, nil
		}
		return []store.Op{s.Directory.GroupNames.Delete(from), s.Directory.GroupNames.Create(to, identity.GroupRef{ID: g.ID})}, nil
	})
	if errors.Is(err, store.ErrExists) {
		return nil, errEntityAlreadyExists("Group with name %s already exists.", in.NewGroupName)
	}
	return &empty{}, err
}

// authorizeGroupMove asks for permission on the group as it will be; that on the group as it is has been asked for.
func (s *Service) authorizeGroupMove(call *wire.Call, in *updateGroupInput) error {
	path, name := "/", in.GroupName
	if group, ok := s.Directory.Group(call.Caller.AccountID, in.GroupName); ok {
		path, name = group.Path, group.Name
	}
	resource := "group" + cmp.Or(in.NewPath, path) + cmp.Or(in.NewGroupName, name)
	return call.Authorize(wire.Access{Action: "iam:UpdateGroup", Resource: s.arn(call, resource)})
}

// DeleteGroup deletes a group that has no users and no policies.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteGroup.html.
func (s *Service) DeleteGroup(ctx context.Context, call *wire.Call, in *groupInput) (*empty, error) {
	at, err := s.groupKey(ctx, call, in.GroupName)
	if err != nil {
		return nil, err
	}
	_, err = s.Directory.Groups.Remove(ctx, at, func(g *identity.Group) ([]store.Op, error) {
		switch {
		case !strings.EqualFold(g.Name, in.GroupName):
			return nil, errGroupNotFound(in.GroupName)
		case g.Members > 0:
			return nil, errDeleteConflict("Cannot delete entity, must remove users from group first.")
		}
		return []store.Op{s.Directory.GroupNames.Delete(directory.Key(g.AccountID, g.Name))}, checkNoPolicies(&g.Permissions)
	})
	return &empty{}, groupError(err, in.GroupName)
}

// groupKey finds by its name where a group of the caller's account is stored.
func (s *Service) groupKey(ctx context.Context, call *wire.Call, name string) (string, error) {
	ref, err := s.Directory.GroupNames.Get(ctx, directory.Key(call.Caller.AccountID, name))
	return directory.GroupKey(call.Caller.AccountID, ref.ID), groupError(err, name)
}

// group reads a group of the caller's account.
func (s *Service) group(ctx context.Context, call *wire.Call, name string) (identity.Group, error) {
	at, err := s.groupKey(ctx, call, name)
	if err != nil {
		return identity.Group{}, err
	}
	group, err := s.Directory.Groups.Get(ctx, at)
	return group, groupError(err, name)
}

func (s *Service) updateGroup(ctx context.Context, call *wire.Call, name string, change func(*identity.Group) error) error {
	return s.changeGroup(ctx, call, name, func(g *identity.Group) ([]store.Op, error) { return nil, change(g) })
}

func (s *Service) changeGroup(ctx context.Context, call *wire.Call, name string, change func(*identity.Group) ([]store.Op, error)) error {
	at, err := s.groupKey(ctx, call, name)
	if err != nil {
		return err
	}
	_, err = s.Directory.Groups.Change(ctx, at, func(g *identity.Group) ([]store.Op, error) {
		if !strings.EqualFold(g.Name, name) { // it has been renamed just now
			return nil, errGroupNotFound(name)
		}
		return change(g)
	})
	return groupError(err, name)
}

func errGroupNotFound(name string) error {
	return errNoSuchEntity("The group with name %s cannot be found.", name)
}

// groupError spells the store's facts about a group; anything else stays a fault.
func groupError(err error, name string) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errGroupNotFound(name)
	case errors.Is(err, store.ErrConflict):
		return errConcurrentModification("The group " + name)
	default:
		return err
	}
}
