package iam

import (
	"context"
	"errors"
	"slices"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/wire"
)

// maxGroupsOfUser is how many groups a user may be in.
const maxGroupsOfUser = 10

type memberInput struct {
	groupInput
	UserName string `form:"UserName"`
}

// Validate checks both names.
func (in *memberInput) Validate() error {
	if err := in.groupInput.Validate(); err != nil {
		return err
	}
	return checkName("userName", in.UserName, 64)
}

// AddUserToGroup puts a user into a group, whose policies then count for it at once. Adding it again changes nothing.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_AddUserToGroup.html.
func (s *Service) AddUserToGroup(ctx context.Context, call *wire.Call, in *memberInput) (*empty, error) {
	return &empty{}, s.changeMember(ctx, call, in, func(u *identity.User, id string) (int, error) {
		if slices.Contains(u.GroupIDs, id) {
			return 0, nil
		}
		if len(u.GroupIDs) >= maxGroupsOfUser {
			return 0, errLimitExceeded("Cannot exceed quota for GroupsPerUser: %d", maxGroupsOfUser)
		}
		u.GroupIDs = append(u.GroupIDs, id)
		return 1, nil
	})
}

// RemoveUserFromGroup takes a user out of a group. One that is not in it changes nothing.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_RemoveUserFromGroup.html.
func (s *Service) RemoveUserFromGroup(ctx context.Context, call *wire.Call, in *memberInput) (*empty, error) {
	return &empty{}, s.changeMember(ctx, call, in, func(u *identity.User, id string) (int, error) {
		i := slices.Index(u.GroupIDs, id)
		if i < 0 {
			return 0, nil
		}
		u.GroupIDs = slices.Delete(u.GroupIDs, i, i+1)
		return -1, nil
	})
}

// changeMember changes a user's groups, and how many users the group has by what change returns, in one transaction: so a group that is
// being deleted gets no new users.
func (s *Service) changeMember(ctx context.Context, call *wire.Call, in *memberInput, change func(u *identity.User, groupID string) (int, error)) error {
	at, err := s.groupKey(ctx, call, in.GroupName)
	if err != nil {
		return err
	}
	_, err = s.Directory.Users.Change(ctx, directory.Key(call.Caller.AccountID, in.UserName), func(u *identity.User) ([]store.Op, error) {
		op, err := s.Directory.Groups.Also(ctx, at, func(g *identity.Group) error {
			n, err := change(u, g.ID)
			g.Members += n
			return err
		})
		if errors.Is(err, store.ErrNotFound) {
			return nil, errGroupNotFound(in.GroupName)
		}
		return []store.Op{op}, err
	})
	return userError(err, in.UserName)
}

type pagedGroupInput struct {
	groupInput
	page
}

// Validate checks the group's name and the paging members.
func (in *pagedGroupInput) Validate() error {
	if err := in.groupInput.Validate(); err != nil {
		return err
	}
	return in.page.Validate()
}

type getGroupOutput struct {
	Group groupStructure  `xml:"Group"`
	Users []userStructure `xml:"Users>member"`
	pageEnd
}

// GetGroup describes a group and the users in it.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetGroup.html.
func (s *Service) GetGroup(ctx context.Context, call *wire.Call, in *pagedGroupInput) (*getGroupOutput, error) {
	group, err := s.group(ctx, call, in.GroupName)
	if err != nil {
		return nil, err
	}
	out := &getGroupOutput{Group: describeGroup(&group)}
	last := ""
	for user := range s.Directory.ScanUsers(call.Caller.AccountID, in.after("")) {
		if !slices.Contains(user.GroupIDs, group.ID) {
			continue
		}
		if len(out.Users) == in.limit() {
			out.truncate(last)
			break
		}
		last = user.Name
		out.Users = append(out.Users, describeUser(&user.User))
	}
	return out, nil
}

// ListGroupsForUser returns the groups that a user is in.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListGroupsForUser.html.
func (s *Service) ListGroupsForUser(ctx context.Context, call *wire.Call, in *pagedUserInput) (*listGroupsOutput, error) {
	user, err := s.user(ctx, call, in.UserName)
	if err != nil {
		return nil, err
	}
	groups, err := s.Directory.GroupsOf(&user)
	if err != nil {
		return nil, err
	}
	out := &listGroupsOutput{}
	for _, group := range paginate(groups, &in.page, &out.pageEnd, func(g *directory.Group) string { return g.Name }) {
		out.Groups = append(out.Groups, describeGroup(&group.Group))
	}
	return out, nil
}
