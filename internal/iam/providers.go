package iam

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/wire"
)

type createProviderInput struct {
	URL            string         `form:"Url"`
	ClientIDList   []string       `form:"ClientIDList"`
	ThumbprintList []string       `form:"ThumbprintList"`
	Tags           []tagStructure `form:"Tags"`
}

// Validate checks lists and tags; the URL is the service's to judge, since http may be allowed.
func (in *createProviderInput) Validate() error {
	if len(in.ClientIDList) > maxClientIDs {
		return errLimitExceeded("Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: %d", maxClientIDs)
	}
	for _, id := range in.ClientIDList {
		if err := checkClientID("clientIDList", id); err != nil {
			return err
		}
	}
	if err := checkThumbprints(in.ThumbprintList); err != nil {
		return err
	}
	return checkTags(in.Tags)
}

func checkClientID(member, id string) error {
	if len(id) < 1 || len(id) > 255 {
		return errConstraint(id[:min(len(id), 60)], member, "Member must have length between 1 and 255")
	}
	return nil
}

func checkThumbprints(thumbprints []string) error {
	if len(thumbprints) > 5 {
		return errInvalidInput("Thumbprint list must contain fewer than 5 entries.")
	}
	for _, thumbprint := range thumbprints {
		if raw, err := hex.DecodeString(thumbprint); err != nil || len(raw) != 20 {
			return errConstraint(thumbprint[:min(len(thumbprint), 60)], "thumbprintList", "Member must be 40 hexadecimal digits")
		}
	}
	return nil
}

type createProviderOutput struct {
	ARN  string   `xml:"OpenIDConnectProviderArn"`
	Tags *tagList `xml:"Tags"`
}

// CreateOpenIDConnectProvider makes the account accept web identity tokens of an issuer. The thumbprints are kept and not used:
// podid verifies the issuer's certificate as any HTTPS client does.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html.
func (s *Service) CreateOpenIDConnectProvider(ctx context.Context, call *wire.Call, in *createProviderInput) (*createProviderOutput, error) {
	if err := s.checkProviderURL(in.URL); err != nil {
		return nil, err
	}
	_, exists := s.Directory.Provider(call.Caller.AccountID, in.URL)
	if err := checkQuota(exists, "OpenIdConnectProviders", s.Directory.Count(call.Caller.AccountID).Providers, s.Quotas.Providers); err != nil {
		return nil, err
	}
	provider := identity.OIDCProvider{
		AccountID: call.Caller.AccountID, Partition: s.Partition, URL: strings.TrimSuffix(in.URL, "/"),
		ClientIDs: in.ClientIDList, Thumbprints: in.ThumbprintList, Tags: tagsOf(in.Tags), CreatedAt: s.Now(),
	}
	err := s.Store.Commit(ctx, s.Directory.Providers.Create(directory.ProviderKey(provider.AccountID, provider.URL), provider))
	switch {
	case errors.Is(err, store.ErrExists):
		return nil, errEntityAlreadyExists("Provider with url %s already exists.", provider.URL)
	case err != nil:
		return nil, err
	}
	return &createProviderOutput{provider.ARN(), listTags(provider.Tags)}, nil
}

func (s *Service) checkProviderURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || len(text) > 255:
		return errValidation("Invalid Open ID Connect Provider URL: want https://host/path of at most 255 characters.")
	case u.Scheme != "https" && !(s.AllowHTTP && u.Scheme == "http"):
		return errValidation("Invalid Open ID Connect Provider URL: it must begin with https://.")
	case u.Port() != "" && !s.AllowHTTP:
		return errValidation("Invalid Open ID Connect Provider URL: it must not have a port.")
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return errValidation("Invalid Open ID Connect Provider URL: it must not have a query, a fragment or a user.")
	}
	return nil
}

type providerInput struct {
	ARN string `form:"OpenIDConnectProviderArn"`
}

// Validate checks that the ARN names an OpenID Connect provider.
func (in *providerInput) Validate() error {
	if arn, err := identity.ParseARN(in.ARN); err != nil || arn.Service != "iam" || !strings.HasPrefix(arn.Resource, "oidc-provider/") {
		return errValidation("Invalid ARN: want arn:aws:iam::111122223333:oidc-provider/host/path.")
	}
	return nil
}

// key is where the provider is stored: ARNs name it as keys do, by account, host and path.
func (in *providerInput) key() string {
	arn, _ := identity.ParseARN(in.ARN) // checked by Validate
	return directory.ProviderKey(arn.AccountID, strings.TrimPrefix(arn.Resource, "oidc-provider/"))
}

func (in *providerInput) error(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errNoSuchEntity("OpenIDConnect Provider not found for arn %s", in.ARN)
	case errors.Is(err, store.ErrConflict):
		return errConcurrentModification("The provider " + in.ARN)
	default:
		return err
	}
}

type getProviderOutput struct {
	URL            string    `xml:"Url"`
	ClientIDList   []string  `xml:"ClientIDList>member"`
	ThumbprintList []string  `xml:"ThumbprintList>member"`
	CreateDate     wire.Time `xml:"CreateDate"`
	Tags           *tagList  `xml:"Tags"`
}

// GetOpenIDConnectProvider describes a provider. As in IAM the URL comes without its scheme.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetOpenIDConnectProvider.html.
func (s *Service) GetOpenIDConnectProvider(ctx context.Context, _ *wire.Call, in *providerInput) (*getProviderOutput, error) {
	p, err := s.Directory.Providers.Get(ctx, in.key())
	if err != nil {
		return nil, in.error(err)
	}
	return &getProviderOutput{p.HostPath(), p.ClientIDs, p.Thumbprints, wire.Time(p.CreatedAt), listTags(p.Tags)}, nil
}

type listProvidersOutput struct {
	List []struct {
		ARN string `xml:"Arn"`
	} `xml:"OpenIDConnectProviderList>member"`
}

// ListOpenIDConnectProviders returns the ARNs of the account's providers.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListOpenIDConnectProviders.html.
func (s *Service) ListOpenIDConnectProviders(_ context.Context, call *wire.Call, _ *empty) (*listProvidersOutput, error) {
	out := &listProvidersOutput{}
	for provider := range s.Directory.ScanProviders(call.Caller.AccountID) {
		out.List = append(out.List, struct {
			ARN string `xml:"Arn"`
		}{provider.ARN()})
	}
	return out, nil
}

// DeleteOpenIDConnectProvider makes the account stop accepting an issuer's tokens.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteOpenIDConnectProvider.html.
func (s *Service) DeleteOpenIDConnectProvider(ctx context.Context, _ *wire.Call, in *providerInput) (*empty, error) {
	if err := s.Store.Commit(ctx, s.Directory.Providers.Delete(in.key())); err != nil {
		return nil, in.error(fmt.Errorf("deleting %s: %w", in.ARN, err))
	}
	return &empty{}, nil
}
