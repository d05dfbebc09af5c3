package sts

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/podid/podid/internal/assume"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/token"
	"github.com/podid/podid/internal/wire"
)

// maxSubject is how long the claims of a web identity are at most, of which a session tells.
const maxSubject = 255

type webIdentityInput struct {
	sessionInput
	WebIdentityToken string `form:"WebIdentityToken"`
	ProviderID       string `form:"ProviderId"`
}

// Validate checks form and limits. The message does not repeat the token.
func (in *webIdentityInput) Validate() error {
	switch err := in.sessionInput.Validate(); {
	case err != nil:
		return err
	case len(in.WebIdentityToken) < 4 || len(in.WebIdentityToken) > 20000:
		return errValidation("1 validation error detected: Value at 'webIdentityToken' failed to satisfy constraint: Member must have length between 4 and 20000")
	case in.ProviderID != "":
		return errValidation("ProviderId is for OAuth 2.0 access tokens, which are not supported. Call without it.")
	}
	return nil
}

type webIdentityOutput struct {
	Credentials      credentialsStructure `xml:"Credentials"`
	Subject          string               `xml:"SubjectFromWebIdentityToken"`
	AssumedRoleUser  assumedRoleUser      `xml:"AssumedRoleUser"`
	PackedPolicySize *int                 `xml:"PackedPolicySize"`
	Provider         string               `xml:"Provider"`
	Audience         string               `xml:"Audience"`
	SourceIdentity   string               `xml:"SourceIdentity,omitempty"`
}

// AssumeRoleWithWebIdentity gives the subject of an OpenID Connect token a session of a role, if the role's account has a provider
// for the token's issuer and audience and the role's trust policy allows it. This is the exchange of IRSA.
// See https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html.
func (s *Service) AssumeRoleWithWebIdentity(ctx context.Context, call *wire.Call, in *webIdentityInput) (*webIdentityOutput, error) {
	policies, err := in.policies()
	if err != nil {
		return nil, err
	}
	call.Entry.RoleARN = in.RoleARN
	claims, provider, err := s.verify(ctx, in)
	if err != nil {
		return nil, err
	}
	audience, err := checkAudience(claims, provider)
	if err != nil {
		return nil, err
	}
	call.Entry.Caller = provider.ARN() + " " + claims.Subject
	tags, err := tagsOf(claims)
	if err != nil {
		return nil, err
	}
	if err := checkClaims(claims, tags); err != nil {
		return nil, err
	}
	var packed *int
	result, err := s.Assumer.Assume(&assume.Request{
		Call: call.Request(), Action: "sts:AssumeRoleWithWebIdentity", Principal: policy.Principal{Federated: provider.ARN()},
		RoleARN: in.RoleARN, SessionName: in.RoleSessionName, Duration: in.duration(),
		Tags: tags, TransitiveTagKeys: claims.TransitiveTagKeys, Policies: policies, PolicyARNs: in.arns(), SourceIdentity: claims.SourceIdentity,
		Federated: federatedKeys(claims, provider, audience),
		Check: func(session *identity.Session) (err error) {
			if err = s.checkAssumed(&in.sessionInput, session); err == nil {
				packed, err = packedSize(session)
			}
			return err
		},
	})
	var refused *assume.Refused
	if errors.As(err, &refused) {
		call.Entry.Reason = refused.Reason()
		return nil, errAccessDenied("Not authorized to perform " + refused.Action)
	}
	if err != nil {
		return nil, err
	}
	record(call, result)
	return &webIdentityOutput{
		Credentials: revealCredentials(&result.Credentials), Subject: claims.Subject,
		AssumedRoleUser:  assumedRoleUser{result.Session.ID(), result.Session.ARN()},
		PackedPolicySize: packed, Provider: provider.ARN(), Audience: audience, SourceIdentity: claims.SourceIdentity,
	}, nil
}

// verify finds the provider for the token's issuer in the role's account, and verifies the token with the issuer's keys: those
// of a cluster that podid knows by this issuer, else those that the issuer publishes.
func (s *Service) verify(ctx context.Context, in *webIdentityInput) (*token.Claims, *identity.OIDCProvider, error) {
	raw, err := token.Parse(in.WebIdentityToken)
	if err != nil {
		return nil, nil, tokenError(err)
	}
	issuer := raw.Issuer()
	role, _, _ := identity.ParseRoleARN(in.RoleARN) // checked by Validate
	provider, ok := s.Directory.Provider(role.AccountID, issuer)
	if !ok || provider.URL != strings.TrimSuffix(issuer, "/") {
		return nil, nil, errInvalidIdentityToken("No OpenIDConnect provider found in your account for %s", issuer)
	}
	from, err := s.issuer(role.AccountID, issuer)
	if err != nil {
		return nil, nil, err
	}
	claims, err := s.Tokens.VerifyParsed(ctx, raw, from)
	if err != nil {
		return nil, nil, tokenError(err)
	}
	return claims, provider, nil
}

// issuer finds where the keys of an issuer are: with the cluster of the account that has this issuer, or at its URL. Clusters of
// other accounts do not count, for whoever registers a cluster chooses its issuer. Where several clusters share an issuer, as they do
// with the one that Kubernetes has by default, a token does not tell which of them it is from, and none is believed.
func (s *Service) issuer(account, issuer string) (token.Issuer, error) {
	from := token.Issuer{URL: issuer}
	var names []string
	for name, cluster := range s.Directory.ScanClusters("") {
		if cluster.Issuer == issuer && cluster.AccountID == account {
			names = append(names, name)
			from.Keys, from.CA = cluster.Keys, cluster.CA
		}
	}
	if len(names) > 1 {
		return token.Issuer{}, errInvalidIdentityToken("The clusters %s all have the issuer %s: a token does not tell them apart. "+
			"Give each of them an issuer of its own (--service-account-issuer) to use it as a web identity.", strings.Join(names, ", "), issuer)
	}
	return from, nil
}

func tokenError(err error) error {
	var invalid *token.InvalidError
	var expired *token.ExpiredError
	switch {
	case errors.As(err, &expired):
		return errExpiredToken(expired.Error())
	case errors.As(err, &invalid):
		return errInvalidIdentityToken("The web identity token provided could not be validated: %s", invalid.Reason)
	case errors.Is(err, token.ErrUnavailable):
		return errIDPCommunication()
	}
	return err
}

// checkAudience finds the audience that the provider accepts: the authorized party if the token has one, else one of its audiences.
func checkAudience(claims *token.Claims, provider *identity.OIDCProvider) (string, error) {
	audiences := claims.Audiences
	if claims.AuthorizedParty != "" {
		audiences = []string{claims.AuthorizedParty}
	}
	if len(audiences) == 0 {
		return "", errInvalidIdentityToken("Missing a required claim: aud")
	}
	for _, audience := range audiences {
		if slices.Contains(provider.ClientIDs, audience) {
			return audience, nil
		}
	}
	return "", errInvalidIdentityToken("Incorrect token audience")
}

// federatedKeys are the condition keys by which trust policies and later requests know the web identity.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-wif.
func federatedKeys(claims *token.Claims, provider *identity.OIDCProvider, audience string) map[string]string {
	issuer := provider.HostPath()
	keys := map[string]string{
		"aws:FederatedProvider": provider.ARN(),
		issuer + ":sub":         claims.Subject,
		issuer + ":aud":         audience,
	}
	if len(claims.AMR) > 0 {
		keys[issuer+":amr"] = claims.AMR[0]
	}
	return keys
}

// checkClaims refuses what a verified token says of itself and no session can have.
func checkClaims(claims *token.Claims, tags []identity.Tag) error {
	switch {
	case len(claims.Subject) > maxSubject:
		return errRejectedClaim("The sub claim of the token is longer than %d characters.", maxSubject)
	case len(claims.AMR) > 0 && len(claims.AMR[0]) > maxSubject:
		return errRejectedClaim("The amr claim of the token is longer than %d characters.", maxSubject)
	case claims.SourceIdentity != "" && !identity.ValidSessionName(claims.SourceIdentity):
		return errRejectedClaim(`The source identity of the token must satisfy regular expression pattern: [\w+=,.@-]{2,64}`)
	}
	for _, key := range claims.TransitiveTagKeys {
		if identity.FindTag(tags, key) < 0 {
			return errRejectedClaim("The transitive tag key %.128q of the token is not the key of one of its tags.", key)
		}
	}
	return nil
}

func tagsOf(claims *token.Claims) ([]identity.Tag, error) {
	tags := make([]identity.Tag, 0, len(claims.PrincipalTags))
	for key, values := range claims.PrincipalTags {
		if len(values) != 1 {
			return nil, errRejectedClaim("The tag %q of the token must have exactly one value.", key)
		}
		tags = append(tags, identity.Tag{Key: key, Value: values[0]})
	}
	slices.SortFunc(tags, func(a, b identity.Tag) int { return strings.Compare(a.Key, b.Key) })
	if err := identity.CheckTags(tags); err != nil {
		return nil, errRejectedClaim("The tags of the token are invalid: %v.", err)
	}
	return tags, nil
}
