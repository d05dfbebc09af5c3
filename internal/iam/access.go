package iam

import (
	"strings"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

// roleAccess is permission for an action on a role. The ARN holds the role's path, so the role is looked up; for one that does
// not exist the ARN is what it would be without a path, and the operation says afterwards that there is none.
func (s *Service) roleAccess(call *wire.Call, action, name string) wire.Access {
	role, ok := s.Directory.Role(call.Caller.AccountID, name)
	if !ok {
		arn := identity.ARN{Partition: s.Partition, Service: "iam", AccountID: call.Caller.AccountID, Resource: "role/" + name}
		return wire.Access{Action: action, Resource: arn.String()}
	}
	return wire.Access{Action: action, Resource: role.ARN(), Keys: func(keys *policy.Context) {
		keys.SetTags("aws:ResourceTag/", role.Tags)
		keys.SetTags("iam:ResourceTag/", role.Tags)
	}}
}

func (s *Service) createRoleAccess(call *wire.Call, in *createRoleInput) (wire.Access, error) {
	arn := identity.ARN{Partition: s.Partition, Service: "iam", AccountID: call.Caller.AccountID, Resource: "role" + in.Path + in.RoleName}
	return wire.Access{Action: "iam:CreateRole", Resource: arn.String(), Keys: func(keys *policy.Context) {
		directory.SetRequestTags(keys, tagsOf(in.Tags))
	}}, nil
}

func (s *Service) listRolesAccess(call *wire.Call, in *listRolesInput) (wire.Access, error) {
	prefix := in.PathPrefix
	if prefix == "" {
		prefix = "/"
	}
	arn := identity.ARN{Partition: s.Partition, Service: "iam", AccountID: call.Caller.AccountID, Resource: "role" + prefix}
	return wire.Access{Action: "iam:ListRoles", Resource: arn.String()}, nil
}

func (s *Service) updateRoleAccess(call *wire.Call, in *updateRoleInput) (wire.Access, error) {
	return s.roleAccess(call, "iam:UpdateRole", in.RoleName), nil
}

func (s *Service) updateTrustAccess(call *wire.Call, in *updateTrustInput) (wire.Access, error) {
	return s.roleAccess(call, "iam:UpdateAssumeRolePolicy", in.RoleName), nil
}

func (s *Service) putPolicyAccess(call *wire.Call, in *putRolePolicyInput) (wire.Access, error) {
	return s.roleAccess(call, "iam:PutRolePolicy", in.RoleName), nil
}

func (s *Service) policyAccess(action string) func(*wire.Call, *rolePolicyInput) (wire.Access, error) {
	return func(call *wire.Call, in *rolePolicyInput) (wire.Access, error) {
		return s.roleAccess(call, action, in.RoleName), nil
	}
}

func (s *Service) pagedRoleAccess(action string) func(*wire.Call, *pagedRoleInput) (wire.Access, error) {
	return func(call *wire.Call, in *pagedRoleInput) (wire.Access, error) {
		return s.roleAccess(call, action, in.RoleName), nil
	}
}

func (s *Service) tagRoleAccess(call *wire.Call, in *tagRoleInput) (wire.Access, error) {
	access := s.roleAccess(call, "iam:TagRole", in.RoleName)
	resource := access.Keys
	access.Keys = func(keys *policy.Context) {
		if resource != nil {
			resource(keys)
		}
		directory.SetRequestTags(keys, tagsOf(in.Tags))
	}
	return access, nil
}

func (s *Service) untagRoleAccess(call *wire.Call, in *untagRoleInput) (wire.Access, error) {
	access := s.roleAccess(call, "iam:UntagRole", in.RoleName)
	resource := access.Keys
	access.Keys = func(keys *policy.Context) {
		if resource != nil {
			resource(keys)
		}
		keys.SetMany("aws:TagKeys", in.TagKeys...)
	}
	return access, nil
}

func (s *Service) createProviderAccess(call *wire.Call, in *createProviderInput) (wire.Access, error) {
	return wire.Access{
		Action:   "iam:CreateOpenIDConnectProvider",
		Resource: s.providerARN(call, in.URL),
		Keys:     func(keys *policy.Context) { directory.SetRequestTags(keys, tagsOf(in.Tags)) },
	}, nil
}

// providerAccess is permission for an action on a provider, which must be one of the caller's own account. Its ARN must be spelled
// as podid spells it, else a policy that denies the provider would not know it.
func (s *Service) providerAccess(action string) func(*wire.Call, *providerInput) (wire.Access, error) {
	return func(call *wire.Call, in *providerInput) (wire.Access, error) {
		_, provider, _ := strings.Cut(in.ARN, ":oidc-provider/")
		if in.ARN != s.providerARN(call, provider) {
			return wire.Access{}, errNoSuchEntity("OpenIDConnect Provider not found for arn %s", in.ARN)
		}
		return wire.Access{Action: action, Resource: in.ARN}, nil
	}
}

func (s *Service) listProvidersAccess(call *wire.Call, _ *empty) (wire.Access, error) {
	return wire.Access{Action: "iam:ListOpenIDConnectProviders", Resource: s.providerARN(call, "*")}, nil
}

// providerARN names a provider of the caller's account.
func (s *Service) providerARN(call *wire.Call, issuer string) string {
	return identity.ARN{Partition: s.Partition, Service: "iam", AccountID: call.Caller.AccountID,
		Resource: "oidc-provider/" + identity.IssuerHostPath(issuer)}.String()
}
