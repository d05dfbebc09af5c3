package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

// sourceInput names the user, group or role whose policies are looked at.
type sourceInput struct {
	PolicySourceARN string `form:"PolicySourceArn"`
}

// Validate checks that the ARN is one of a user, a group or a role.
func (in *sourceInput) Validate() error {
	arn, err := identity.ParseARN(in.PolicySourceARN)
	kind, _, _ := strings.Cut(arn.Resource, "/")
	if err != nil || len(in.PolicySourceARN) > 2048 || arn.Service != "iam" || !slices.Contains([]string{"user", "group", "role"}, kind) {
		return errInvalidInput("PolicySourceArn %s is not the ARN of a user, a group or a role.", in.PolicySourceARN[:min(len(in.PolicySourceARN), 200)])
	}
	return nil
}

// entity is the user, group or role, which must be one of the caller's account.
func (in *sourceInput) entity(s *Service, call *wire.Call) (entity, error) {
	if arn, _ := identity.ParseARN(in.PolicySourceARN); arn.Partition != s.Partition || arn.AccountID != call.Caller.AccountID {
		return entity{}, errNoSuchEntity("The entity with ARN %s cannot be found.", in.PolicySourceARN)
	}
	return entity{arn: in.PolicySourceARN}, nil
}

type contextKeysOutput struct {
	ContextKeyNames []string `xml:"ContextKeyNames>member"`
}

type customKeysInput struct {
	PolicyInputList []string `form:"PolicyInputList"`
}

// GetContextKeysForCustomPolicy returns the condition keys that given policies ask for.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetContextKeysForCustomPolicy.html.
func (s *Service) GetContextKeysForCustomPolicy(_ context.Context, _ *wire.Call, in *customKeysInput) (*contextKeysOutput, error) {
	if len(in.PolicyInputList) == 0 {
		return nil, errConstraint("[]", "policyInputList", "Member must not be null")
	}
	given, err := parseInputs("PolicyInputList", policy.Identity, in.PolicyInputList)
	if err != nil {
		return nil, err
	}
	return &contextKeysOutput{contextKeys(given...)}, nil
}

type principalKeysInput struct {
	sourceInput
	PolicyInputList []string `form:"PolicyInputList"`
}

// GetContextKeysForPrincipalPolicy returns the condition keys that the policies of a user, group or role ask for, and others that are given.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetContextKeysForPrincipalPolicy.html.
func (s *Service) GetContextKeysForPrincipalPolicy(_ context.Context, _ *wire.Call, in *principalKeysInput) (*contextKeysOutput, error) {
	all, err := parseInputs("PolicyInputList", policy.Identity, in.PolicyInputList)
	if err != nil {
		return nil, err
	}
	sim := &simulation{}
	if err := s.readPrincipal(in.PolicySourceARN, sim); err != nil {
		return nil, err
	}
	for _, n := range sim.sources {
		all = append(all, n.Named)
	}
	return &contextKeysOutput{contextKeys(append(all, sim.boundary)...)}, nil
}

// contextKeys returns the condition keys that policies ask for, each once, without regard to case. A nil policy asks for none.
func contextKeys(policies ...*policy.Named) []string {
	keys := []string{}
	for _, n := range policies {
		if n == nil {
			continue
		}
		for _, key := range n.Policy.ContextKeys() {
			if !slices.ContainsFunc(keys, func(other string) bool { return strings.EqualFold(other, key) }) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}
