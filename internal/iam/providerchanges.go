package iam

import (
	"context"
	"slices"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

// maxClientIDs is how many client ids (audiences) a provider may have.
const maxClientIDs = 100

type clientIDInput struct {
	providerInput
	ClientID string `form:"ClientID"`
}

// Validate checks the ARN and the client id.
func (in *clientIDInput) Validate() error {
	if err := in.providerInput.Validate(); err != nil {
		return err
	}
	return checkClientID("clientID", in.ClientID)
}

// AddClientIDToOpenIDConnectProvider accepts one more audience of tokens. One that is there already changes nothing.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_AddClientIDToOpenIDConnectProvider.html.
func (s *Service) AddClientIDToOpenIDConnectProvider(ctx context.Context, _ *wire.Call, in *clientIDInput) (*empty, error) {
	return &empty{}, s.updateProvider(ctx, &in.providerInput, func(p *identity.OIDCProvider) error {
		switch {
		case slices.Contains(p.ClientIDs, in.ClientID):
			return nil
		case len(p.ClientIDs) >= maxClientIDs:
			return errLimitExceeded("Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: %d", maxClientIDs)
		}
		p.ClientIDs = append(p.ClientIDs, in.ClientID)
		return nil
	})
}

// RemoveClientIDFromOpenIDConnectProvider stops accepting an audience. One that is not there changes nothing.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_RemoveClientIDFromOpenIDConnectProvider.html.
func (s *Service) RemoveClientIDFromOpenIDConnectProvider(ctx context.Context, _ *wire.Call, in *clientIDInput) (*empty, error) {
	return &empty{}, s.updateProvider(ctx, &in.providerInput, func(p *identity.OIDCProvider) error {
		p.ClientIDs = slices.DeleteFunc(p.ClientIDs, func(id string) bool { return id == in.ClientID })
		return nil
	})
}

type thumbprintInput struct {
	providerInput
	ThumbprintList []string `form:"ThumbprintList"`
}

// Validate checks the ARN and the thumbprints.
func (in *thumbprintInput) Validate() error {
	if err := in.providerInput.Validate(); err != nil {
		return err
	}
	return checkThumbprints(in.ThumbprintList)
}

// UpdateOpenIDConnectProviderThumbprint replaces the thumbprints, which are kept and not used.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateOpenIDConnectProviderThumbprint.html.
func (s *Service) UpdateOpenIDConnectProviderThumbprint(ctx context.Context, _ *wire.Call, in *thumbprintInput) (*empty, error) {
	return &empty{}, s.updateProvider(ctx, &in.providerInput, func(p *identity.OIDCProvider) error {
		p.Thumbprints = in.ThumbprintList
		return nil
	})
}

type tagProviderInput struct {
	providerInput
	Tags []tagStructure `form:"Tags"`
}

func (in *tagProviderInput) setKeys(keys *policy.Context) {
	directory.SetRequestTags(keys, tagsOf(in.Tags))
}

// TagOpenIDConnectProvider adds tags and overwrites those with the same keys, compared without regard to case.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_TagOpenIDConnectProvider.html.
func (s *Service) TagOpenIDConnectProvider(ctx context.Context, _ *wire.Call, in *tagProviderInput) (*empty, error) {
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	return &empty{}, s.updateProvider(ctx, &in.providerInput, func(p *identity.OIDCProvider) error {
		return addTags(&p.Tags, in.Tags, "TagsPerOpenIdConnectProvider")
	})
}

type untagProviderInput struct {
	providerInput
	TagKeys []string `form:"TagKeys"`
}

func (in *untagProviderInput) setKeys(keys *policy.Context) {
	keys.SetMany("aws:TagKeys", in.TagKeys...)
}

// UntagOpenIDConnectProvider takes tags away; keys that are not there are passed over.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_UntagOpenIDConnectProvider.html.
func (s *Service) UntagOpenIDConnectProvider(ctx context.Context, _ *wire.Call, in *untagProviderInput) (*empty, error) {
	return &empty{}, s.updateProvider(ctx, &in.providerInput, func(p *identity.OIDCProvider) error {
		removeTags(&p.Tags, in.TagKeys)
		return nil
	})
}

type pagedProviderInput struct {
	providerInput
	page
}

// Validate checks the ARN and the paging members.
func (in *pagedProviderInput) Validate() error {
	if err := in.providerInput.Validate(); err != nil {
		return err
	}
	return in.page.Validate()
}

// ListOpenIDConnectProviderTags returns a provider's tags.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListOpenIDConnectProviderTags.html.
func (s *Service) ListOpenIDConnectProviderTags(ctx context.Context, _ *wire.Call, in *pagedProviderInput) (*listTagsOutput, error) {
	p, err := s.Directory.Providers.Get(ctx, in.key())
	if err != nil {
		return nil, in.error(err)
	}
	return pageOfTags(p.Tags, &in.page), nil
}

func (s *Service) updateProvider(ctx context.Context, in *providerInput, change func(*identity.OIDCProvider) error) error {
	_, err := s.Directory.Providers.Update(ctx, in.key(), change)
	return in.error(err)
}
