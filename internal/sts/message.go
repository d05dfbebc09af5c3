package sts

import (
	"context"
	"errors"

	"github.com/podid/podid/internal/denial"
	"github.com/podid/podid/internal/wire"
)

type messageInput struct {
	EncodedMessage string `form:"EncodedMessage"`
}

// Validate checks the length.
func (in *messageInput) Validate() error {
	if in.EncodedMessage == "" || len(in.EncodedMessage) > 10240 {
		return errConstraint(in.EncodedMessage, "encodedMessage", "Member must have length between 1 and 10240")
	}
	return nil
}

type messageOutput struct {
	DecodedMessage string `xml:"DecodedMessage"`
}

// DecodeAuthorizationMessage tells why somebody of the caller's account was denied.
// See https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html.
func (s *Service) DecodeAuthorizationMessage(_ context.Context, call *wire.Call, in *messageInput) (*messageOutput, error) {
	text, err := s.Denials.Open(call.Caller.AccountID, in.EncodedMessage)
	if errors.Is(err, denial.ErrInvalid) {
		return nil, errInvalidAuthorizationMessage()
	}
	if err != nil {
		return nil, err
	}
	return &messageOutput{text}, nil
}
