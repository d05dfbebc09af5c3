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

type userInput struct {
	UserName string `form:"UserName"`
}

func (in *userInput) Validate() error { return checkName("userName", in.UserName, 64) }

// ownUserInput may leave the name out: then the user who calls is meant.
type ownUserInput struct {
	UserName string `form:"UserName"`
}

func (in *ownUserInput) Validate() error {
	if in.UserName == "" {
		return nil
	}
	return checkName("userName", in.UserName, 64)
}

func (in *ownUserInput) name(call *wire.Call) (string, error) {
	switch {
	case in.UserName != "":
		return in.UserName, nil
	case call.Caller.Type == identity.CallerUser:
		return call.Caller.UserName, nil
	}
	return "", errValidation("Must specify userName when calling with non-User credentials")
}

// pagedOwnUserInput is that of lists of what a user has.
type pagedOwnUserInput struct {
	ownUserInput
	page
}

// Validate checks the user's name and the paging members.
func (in *pagedOwnUserInput) Validate() error {
	if err := in.ownUserInput.Validate(); err != nil {
		return err
	}
	return in.page.Validate()
}

type createUserInput struct {
	userInput
	Path                string         `form:"Path"`
	PermissionsBoundary string         `form:"PermissionsBoundary"`
	Tags                []tagStructure `form:"Tags"`
}

// Validate checks the members; a missing path is /.
func (in *createUserInput) Validate() error {
	if err := in.userInput.Validate(); err != nil {
		return err
	}
	if err := checkPath(&in.Path); err != nil {
		return err
	}
	return checkTags(in.Tags)
}

type userStructure struct {
	Path                string             `xml:"Path"`
	UserName            string             `xml:"UserName"`
	UserID              string             `xml:"UserId"`
	ARN                 string             `xml:"Arn"`
	CreateDate          wire.Time          `xml:"CreateDate"`
	PermissionsBoundary *boundaryStructure `xml:"PermissionsBoundary"`
	Tags                *tagList           `xml:"Tags"`
}

type userOutput struct {
	User userStructure `xml:"User"`
}

// describeUser leaves the tags and the boundary out, as ListUsers does.
func describeUser(u *identity.User) userStructure {
	return userStructure{Path: u.Path, UserName: u.Name, UserID: u.ID, ARN: u.ARN(), CreateDate: wire.Time(u.CreatedAt)}
}

func describeWholeUser(u *identity.User) *userOutput {
	out := &userOutput{describeUser(u)}
	out.User.Tags, out.User.PermissionsBoundary = listTags(u.Tags), describeBoundary(u.Boundary)
	return out
}

// CreateUser makes a user, which may do nothing yet and has no access key.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateUser.html.
func (s *Service) CreateUser(ctx context.Context, call *wire.Call, in *createUserInput) (*userOutput, error) {
	if err := s.checkBoundary(call, in.PermissionsBoundary); err != nil {
		return nil, err
	}
	_, exists := s.Directory.User(call.Caller.AccountID, in.UserName)
	if err := checkQuota(exists, "Users", s.Directory.Count(call.Caller.AccountID).Users, s.Quotas.Users); err != nil {
		return nil, err
	}
	user := identity.User{
		AccountID: call.Caller.AccountID, Partition: s.Partition, Path: in.Path, Name: in.UserName,
		ID:          identity.NewID(s.Random, identity.UserID, call.Caller.AccountID),
		Permissions: identity.Permissions{Boundary: in.PermissionsBoundary}, Tags: tagsOf(in.Tags), CreatedAt: s.Now(),
	}
	err := s.Store.Commit(ctx, s.Directory.Users.Create(directory.Key(user.AccountID, user.Name), user))
	switch {
	case errors.Is(err, store.ErrExists):
		return nil, errEntityAlreadyExists("User with name %s already exists.", in.UserName)
	case err != nil:
		return nil, err
	}
	return describeWholeUser(&user), nil
}

// GetUser describes a user, that of the caller if none is named.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetUser.html.
func (s *Service) GetUser(ctx context.Context, call *wire.Call, in *ownUserInput) (*userOutput, error) {
	name, err := in.name(call)
	if err != nil {
		return nil, err
	}
	user, err := s.user(ctx, call, name)
	if err != nil {
		return nil, err
	}
	return describeWholeUser(&user), nil
}

type listUsersOutput struct {
	Users []userStructure `xml:"Users>member"`
	pageEnd
}

// ListUsers returns the account's users in the order of their names, without their tags.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListUsers.html.
func (s *Service) ListUsers(_ context.Context, call *wire.Call, in *listInput) (*listUsersOutput, error) {
	out := &listUsersOutput{}
	last := ""
	for user := range s.Directory.ScanUsers(call.Caller.AccountID, in.after("")) {
		if !strings.HasPrefix(user.Path, in.PathPrefix) {
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

type updateUserInput struct {
	userInput
	NewPath     string `form:"NewPath"`
	NewUserName string `form:"NewUserName"`
}

// Validate checks the new name and path where they are given.
func (in *updateUserInput) Validate() error {
	if err := in.userInput.Validate(); err != nil {
		return err
	}
	if in.NewUserName != "" {
		if err := checkName("newUserName", in.NewUserName, 64); err != nil {
			return err
		}
	}
	if in.NewPath == "" {
		return nil
	}
	return checkPath(&in.NewPath)
}

// UpdateUser gives a user another name, another path or both. It keeps its unique id, its policies, its groups and its access keys;
// policies that name its ARN do not follow, except trust policies.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateUser.html.
func (s *Service) UpdateUser(ctx context.Context, call *wire.Call, in *updateUserInput) (*empty, error) {
	from := directory.Key(call.Caller.AccountID, in.UserName)
	to := from
	if in.NewUserName != "" {
		to = directory.Key(call.Caller.AccountID, in.NewUserName)
	}
	// change returns what must be written besides: the keys, which name their user.
	change := func(u *identity.User) ([]store.Op, error) {
		if in.NewPath != "" {
			u.Path = in.NewPath
		}
		if in.NewUserName == "" {
			return nil, nil
		}
		u.Name = in.NewUserName
		var ops []store.Op
		for _, id := range u.AccessKeyIDs {
			op, err := s.Directory.AccessKeys.Also(ctx, id, func(key *identity.AccessKey) error {
				key.UserName = in.NewUserName
				return nil
			})
			if err != nil {
				return nil, err
			}
			ops = append(ops, op)
		}
		return ops, nil
	}
	if err := s.authorizeMove(call, in); err != nil {
		return nil, err
	}
	var err error
	if from == to {
		_, err = s.Directory.Users.Change(ctx, from, change)
	} else {
		_, err = s.Directory.Users.Remove(ctx, from, func(u *identity.User) ([]store.Op, error) {
			ops, err := change(u)
			return append(ops, s.Directory.Users.Create(to, *u)), err
		})
	}
	if errors.Is(err, store.ErrExists) {
		return nil, errEntityAlreadyExists("User with name %s already exists.", in.NewUserName)
	}
	return &empty{}, userError(err, in.UserName)
}

// authorizeMove asks for permission on the user as it will be; that on the user as it is has been asked for.
func (s *Service) authorizeMove(call *wire.Call, in *updateUserInput) error {
	path, name := "/", in.UserName
	if user, ok := s.Directory.User(call.Caller.AccountID, in.UserName); ok {
		path, name = user.Path, user.Name
	}
	resource := "user" + cmp.Or(in.NewPath, path) + cmp.Or(in.NewUserName, name)
	return call.Authorize(wire.Access{Action: "iam:UpdateUser", Resource: s.arn(call, resource)})
}

// DeleteUser deletes a user that has no access keys and no policies and is in no group. The administrator is a user like any other: the server makes it
// again when it starts.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteUser.html.
func (s *Service) DeleteUser(ctx context.Context, call *wire.Call, in *userInput) (*empty, error) {
	_, err := s.Directory.Users.Remove(ctx, directory.Key(call.Caller.AccountID, in.UserName), func(u *identity.User) ([]store.Op, error) {
		switch {
		case len(u.AccessKeyIDs) > 0:
			return nil, errDeleteConflict("Cannot delete entity, must delete access keys first.")
		case len(u.GroupIDs) > 0:
			return nil, errDeleteConflict("Cannot delete entity, must remove users from group first.")
		}
		return nil, checkNoPolicies(&u.Permissions)
	})
	return &empty{}, userError(err, in.UserName)
}

type pagedUserInput struct {
	userInput
	page
}

// Validate checks the user's name and the paging members.
func (in *pagedUserInput) Validate() error {
	if err := in.userInput.Validate(); err != nil {
		return err
	}
	return in.page.Validate()
}

// user reads a user of the caller's account.
func (s *Service) user(ctx context.Context, call *wire.Call, name string) (identity.User, error) {
	user, err := s.Directory.Users.Get(ctx, directory.Key(call.Caller.AccountID, name))
	return user, userError(err, name)
}

func (s *Service) updateUser(ctx context.Context, call *wire.Call, name string, change func(*identity.User) error) error {
	_, err := s.Directory.Users.Update(ctx, directory.Key(call.Caller.AccountID, name), change)
	return userError(err, name)
}

// userError spells the store's facts about a user; anything else stays a fault.
func userError(err error, name string) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errNoSuchEntity("The user with name %s cannot be found.", name)
	case errors.Is(err, store.ErrConflict):
		return errConcurrentModification("The user " + name)
	default:
		return err
	}
}
