package iam

import (
	"context"

	"github.com/podid/podid/internal/wire"
)

// The operations of this file are about what users may have in AWS and have not here: passwords, MFA devices, and credentials other than
// access keys. Whoever deletes a user asks them first.

func errNoLoginProfile(name string) error {
	return errNoSuchEntity("Login Profile for User %s cannot be found.", name)
}

// GetLoginProfile tells of every user that it has no password.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetLoginProfile.html.
func (s *Service) GetLoginProfile(ctx context.Context, call *wire.Call, in *ownUserInput) (*empty, error) {
	name, err := s.ownUser(ctx, call, in)
	if err != nil {
		return nil, err
	}
	return nil, errNoLoginProfile(name)
}

// DeleteLoginProfile tells of every user that it has no password.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteLoginProfile.html.
func (s *Service) DeleteLoginProfile(ctx context.Context, call *wire.Call, in *ownUserInput) (*empty, error) {
	return s.GetLoginProfile(ctx, call, in)
}

type listMFADevicesOutput struct {
	MFADevices *empty `xml:"MFADevices"`
	pageEnd
}

// ListMFADevices returns an empty list.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListMFADevices.html.
func (s *Service) ListMFADevices(ctx context.Context, call *wire.Call, in *pagedOwnUserInput) (*listMFADevicesOutput, error) {
	_, err := s.ownUser(ctx, call, &in.ownUserInput)
	return &listMFADevicesOutput{MFADevices: &empty{}}, err
}

type listVirtualMFADevicesOutput struct {
	VirtualMFADevices *empty `xml:"VirtualMFADevices"`
	pageEnd
}

// ListVirtualMFADevices returns an empty list.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListVirtualMFADevices.html.
func (s *Service) ListVirtualMFADevices(context.Context, *wire.Call, *page) (*listVirtualMFADevicesOutput, error) {
	return &listVirtualMFADevicesOutput{VirtualMFADevices: &empty{}}, nil
}

type listSSHPublicKeysOutput struct {
	SSHPublicKeys *empty `xml:"SSHPublicKeys"`
	pageEnd
}

// ListSSHPublicKeys returns an empty list.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListSSHPublicKeys.html.
func (s *Service) ListSSHPublicKeys(ctx context.Context, call *wire.Call, in *pagedOwnUserInput) (*listSSHPublicKeysOutput, error) {
	_, err := s.ownUser(ctx, call, &in.ownUserInput)
	return &listSSHPublicKeysOutput{SSHPublicKeys: &empty{}}, err
}

type listSigningCertificatesOutput struct {
	Certificates *empty `xml:"Certificates"`
	pageEnd
}

// ListSigningCertificates returns an empty list.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListSigningCertificates.html.
func (s *Service) ListSigningCertificates(ctx context.Context, call *wire.Call, in *pagedOwnUserInput) (*listSigningCertificatesOutput, error) {
	_, err := s.ownUser(ctx, call, &in.ownUserInput)
	return &listSigningCertificatesOutput{Certificates: &empty{}}, err
}

type listServiceCredentialsOutput struct {
	ServiceSpecificCredentials *empty `xml:"ServiceSpecificCredentials"`
}

// ListServiceSpecificCredentials returns an empty list.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListServiceSpecificCredentials.html.
func (s *Service) ListServiceSpecificCredentials(ctx context.Context, call *wire.Call, in *ownUserInput) (*listServiceCredentialsOutput, error) {
	_, err := s.ownUser(ctx, call, in)
	return &listServiceCredentialsOutput{&empty{}}, err
}

// ownUser returns the name of the user that is meant, who must exist.
func (s *Service) ownUser(ctx context.Context, call *wire.Call, in *ownUserInput) (string, error) {
	name, err := in.name(call)
	if err != nil {
		return "", err
	}
	user, err := s.user(ctx, call, name)
	return user.Name, err
}
