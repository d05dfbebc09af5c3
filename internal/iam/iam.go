// Package iam is the embedded IAM's API: roles with their trust and inline policies, tags, and OpenID Connect providers.
//
// It writes what the directory package reads: who exists and what the policies say lives there, compiled, and decisions are
// made there. An operation that AWS has and podid has not is answered as InvalidAction.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/.
package iam

import (
	"io"
	"time"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/wire"
)

// Config is what the service stands on.
type Config struct {
	Store     *store.Store
	Directory *directory.Directory
	Partition string           // aws, aws-cn, …: the first part of every ARN
	AllowHTTP bool             // accept OIDC providers with http URLs and ports, for laboratories
	Now       func() time.Time //
	Random    io.Reader        // of new ids
}

// Service implements the operations.
type Service struct {
	Config
}

// New returns the service.
func New(cfg Config) *Service { return &Service{cfg} }

// API declares the operations.
func (s *Service) API() wire.Service {
	role := func(action string) func(*wire.Call, *roleInput) (wire.Access, error) {
		return func(call *wire.Call, in *roleInput) (wire.Access, error) {
			return s.roleAccess(call, action, in.RoleName), nil
		}
	}
	return wire.Service{
		Name:     "iam",
		Protocol: wire.Query("2010-05-08", "https://iam.amazonaws.com/doc/2010-05-08/"),
		Denied:   errAccessDenied,
		Fault:    errServiceFailure,
		Operations: []wire.Operation{
			wire.Op("CreateRole", "", s.createRoleAccess, s.CreateRole),
			wire.Op("GetRole", "", role("iam:GetRole"), s.GetRole),
			wire.Op("ListRoles", "", s.listRolesAccess, s.ListRoles),
			wire.Op("UpdateRole", "", s.updateRoleAccess, s.UpdateRole),
			wire.Op("UpdateAssumeRolePolicy", "", s.updateTrustAccess, s.UpdateAssumeRolePolicy),
			wire.Op("DeleteRole", "", role("iam:DeleteRole"), s.DeleteRole),
			wire.Op("PutRolePolicy", "", s.putPolicyAccess, s.PutRolePolicy),
			wire.Op("GetRolePolicy", "", s.policyAccess("iam:GetRolePolicy"), s.GetRolePolicy),
			wire.Op("DeleteRolePolicy", "", s.policyAccess("iam:DeleteRolePolicy"), s.DeleteRolePolicy),
			wire.Op("ListRolePolicies", "", s.pagedRoleAccess("iam:ListRolePolicies"), s.ListRolePolicies),
			wire.Op("ListAttachedRolePolicies", "", s.pagedRoleAccess("iam:ListAttachedRolePolicies"), s.ListAttachedRolePolicies),
			wire.Op("ListInstanceProfilesForRole", "", s.pagedRoleAccess("iam:ListInstanceProfilesForRole"), s.ListInstanceProfilesForRole),
			wire.Op("TagRole", "", s.tagRoleAccess, s.TagRole),
			wire.Op("UntagRole", "", s.untagRoleAccess, s.UntagRole),
			wire.Op("ListRoleTags", "", s.pagedRoleAccess("iam:ListRoleTags"), s.ListRoleTags),
			wire.Op("CreateOpenIDConnectProvider", "", s.createProviderAccess, s.CreateOpenIDConnectProvider),
			wire.Op("GetOpenIDConnectProvider", "", s.providerAccess("iam:GetOpenIDConnectProvider"), s.GetOpenIDConnectProvider),
			wire.Op("ListOpenIDConnectProviders", "", s.listProvidersAccess, s.ListOpenIDConnectProviders),
			wire.Op("DeleteOpenIDConnectProvider", "", s.providerAccess("iam:DeleteOpenIDConnectProvider"), s.DeleteOpenIDConnectProvider),
		},
	}
}
