package iam

import (
	"context"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

type boundaryStructure struct {
	Type string `xml:"PermissionsBoundaryType"`
	ARN  string `xml:"PermissionsBoundaryArn"`
}

func describeBoundary(arn string) *boundaryStructure {
	if arn == "" {
		return nil
	}
	return &boundaryStructure{"PermissionsBoundaryPolicy", arn}
}

// checkBoundary refuses a boundary that is no managed policy of the account or of AWS; none is fine.
func (s *Service) checkBoundary(call *wire.Call, arn string) error {
	if arn == "" {
		return nil
	}
	if err := checkPolicyARN(arn); err != nil {
		return err
	}
	return s.checkPolicyExists(call, arn)
}

type putRoleBoundaryInput struct {
	roleInput
	PermissionsBoundary string `form:"PermissionsBoundary"`
}

// Validate checks the role's name and the form of the ARN.
func (in *putRoleBoundaryInput) Validate() error {
	if err := in.roleInput.Validate(); err != nil {
		return err
	}
	return checkPolicyARN(in.PermissionsBoundary)
}

func (in *putRoleBoundaryInput) setKeys(keys *policy.Context) {
	setBoundary(keys, in.PermissionsBoundary)
}

// PutRolePermissionsBoundary makes a managed policy the most that a role may do, whatever its other policies say.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutRolePermissionsBoundary.html.
func (s *Service) PutRolePermissionsBoundary(ctx context.Context, call *wire.Call, in *putRoleBoundaryInput) (*empty, error) {
	if err := s.checkBoundary(call, in.PermissionsBoundary); err != nil {
		return nil, err
	}
	return &empty{}, s.updateRole(ctx, call, in.RoleName, func(r *identity.Role) error {
		r.Boundary = in.PermissionsBoundary
		return nil
	})
}

// DeleteRolePermissionsBoundary lifts a role's boundary; if there is none nothing changes.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteRolePermissionsBoundary.html.
func (s *Service) DeleteRolePermissionsBoundary(ctx context.Context, call *wire.Call, in *roleInput) (*empty, error) {
	return &empty{}, s.updateRole(ctx, call, in.RoleName, func(r *identity.Role) error {
		r.Boundary = ""
		return nil
	})
}

type putUserBoundaryInput struct {
	userInput
	PermissionsBoundary string `form:"PermissionsBoundary"`
}

// Validate checks the user's name and the form of the ARN.
func (in *putUserBoundaryInput) Validate() error {
	if err := in.userInput.Validate(); err != nil {
		return err
	}
	return checkPolicyARN(in.PermissionsBoundary)
}

func (in *putUserBoundaryInput) setKeys(keys *policy.Context) {
	setBoundary(keys, in.PermissionsBoundary)
}

// PutUserPermissionsBoundary makes a managed policy the most that a user may do, whatever its other policies say.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutUserPermissionsBoundary.html.
func (s *Service) PutUserPermissionsBoundary(ctx context.Context, call *wire.Call, in *putUserBoundaryInput) (*empty, error) {
	if err := s.checkBoundary(call, in.PermissionsBoundary); err != nil {
		return nil, err
	}
	return &empty{}, s.updateUser(ctx, call, in.UserName, func(u *identity.User) error {
		u.Boundary = in.PermissionsBoundary
		return nil
	})
}

// DeleteUserPermissionsBoundary lifts a user's boundary; if there is none nothing changes.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteUserPermissionsBoundary.html.
func (s *Service) DeleteUserPermissionsBoundary(ctx context.Context, call *wire.Call, in *userInput) (*empty, error) {
	return &empty{}, s.updateUser(ctx, call, in.UserName, func(u *identity.User) error {
		u.Boundary = ""
		return nil
	})
}
