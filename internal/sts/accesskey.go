package sts

import (
	"context"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/wire"
)

type accessKeyInput struct {
	AccessKeyID string `form:"AccessKeyId"`
}

// Validate checks the form.
func (in *accessKeyInput) Validate() error {
	if !identity.ValidAccessKeyID(in.AccessKeyID) {
		return errConstraint(in.AccessKeyID, "accessKeyId", `Member must satisfy regular expression pattern: [\w]{16,128}`)
	}
	return nil
}

type accessKeyOutput struct {
	Account string `xml:"Account"`
}

// GetAccessKeyInfo says which account an access key is of, long-term or temporary. The account is part of the id, so it is known also of
// keys that are gone, or of AWS.
// See https://docs.aws.amazon.com/STS/latest/APIReference/API_GetAccessKeyInfo.html.
func (s *Service) GetAccessKeyInfo(_ context.Context, _ *wire.Call, in *accessKeyInput) (*accessKeyOutput, error) {
	account, ok := identity.AccountOfAccessKey(in.AccessKeyID)
	if !ok {
		return nil, errValidation("The access key id %s does not tell its account.", in.AccessKeyID)
	}
	return &accessKeyOutput{account}, nil
}
