package iam

import (
	"slices"
	"strings"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

// entity is what an operation is about, as far as policies ask.
type entity struct {
	arn      string
	tags     []identity.Tag
	boundary string // ARN of its permissions boundary; empty without
}

// about is an input that knows which entity its operation is about.
type about[In any] interface {
	*In
	entity(*Service, *wire.Call) (entity, error)
}

// keyed is an input that brings condition keys besides those of its entity. Only inputs themselves have the method, never parts of
// them: of two parts that had it Go would take neither, and the keys were missing.
type keyed interface{ setKeys(*policy.Context) }

// boundaryActions are the actions in which policies may ask for the entity's permissions boundary. Actions that set it ask for the
// one that is to be.
// See https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html.
var boundaryActions = []string{
	"iam:AttachRolePolicy", "iam:DetachRolePolicy", "iam:PutRolePolicy", "iam:DeleteRolePolicy", "iam:DeleteRolePermissionsBoundary",
	"iam:AttachUserPolicy", "iam:DetachUserPolicy", "iam:PutUserPolicy", "iam:DeleteUserPolicy", "iam:DeleteUserPermissionsBoundary",
}

// on is permission for an action on what the input is about.
func on[In any, P about[In]](s *Service, action string) func(*wire.Call, *In) (wire.Access, error) {
	return func(call *wire.Call, in *In) (wire.Access, error) {
		e, err := P(in).entity(s, call)
		if err != nil {
			return wire.Access{}, err
		}
		keys := func(keys *policy.Context) {
			keys.SetTags("aws:ResourceTag/", e.tags)
			keys.SetTags("iam:ResourceTag/", e.tags)
			if e.boundary != "" && slices.Contains(boundaryActions, action) {
				keys.Set("iam:PermissionsBoundary", e.boundary)
			}
			if in, ok := any(in).(keyed); ok {
				in.setKeys(keys)
			}
		}
		// AWS's policies are in no account, so the owner must be said.
		return wire.Access{Action: action, Resource: e.arn, AccountID: call.Caller.AccountID, Keys: keys}, nil
	}
}

// inAccount is permission for an action on the account as a whole, or on everything of a kind in it: "role/".
func inAccount[In any](s *Service, action, kind string) func(*wire.Call, *In) (wire.Access, error) {
	return func(call *wire.Call, _ *In) (wire.Access, error) {
		if kind == "" {
			return wire.Access{Action: action, Resource: "*"}, nil
		}
		return wire.Access{Action: action, Resource: s.arn(call, kind)}, nil
	}
}

// arn names something of the caller's account.
func (s *Service) arn(call *wire.Call, resource string) string {
	return identity.ARN{Partition: s.Partition, Service: "iam", AccountID: call.Caller.AccountID, Resource: resource}.String()
}

// entity is a role. The ARN holds the role's path, so the role is looked up; for one that does not exist the ARN is what it would be
// without a path, and the operation says afterwards that there is none.
func (in *roleInput) entity(s *Service, call *wire.Call) (entity, error) {
	role, ok := s.Directory.Role(call.Caller.AccountID, in.RoleName)
	if !ok {
		return entity{arn: s.arn(call, "role/"+in.RoleName)}, nil
	}
	return entity{role.ARN(), role.Tags, role.Boundary}, nil
}

func (in *createRoleInput) entity(s *Service, call *wire.Call) (entity, error) {
	return entity{arn: s.arn(call, "role"+in.Path+in.RoleName)}, nil
}

func (in *createRoleInput) setKeys(keys *policy.Context) {
	directory.SetRequestTags(keys, tagsOf(in.Tags))
	setBoundary(keys, in.PermissionsBoundary)
}

func (in *tagRoleInput) setKeys(keys *policy.Context) {
	directory.SetRequestTags(keys, tagsOf(in.Tags))
}

func (in *untagRoleInput) setKeys(keys *policy.Context) { keys.SetMany("aws:TagKeys", in.TagKeys...) }

// listAccess is permission to list the entities of a kind below a path.
func (s *Service) listAccess(call *wire.Call, action, kind string, in *listInput) wire.Access {
	prefix := in.PathPrefix
	if prefix == "" {
		prefix = "/"
	}
	return wire.Access{Action: action, Resource: s.arn(call, kind+prefix)}
}

func setBoundary(keys *policy.Context, arn string) {
	if arn != "" {
		keys.Set("iam:PermissionsBoundary", arn)
	}
}

// entity is a user, as a role is.
func (in *userInput) entity(s *Service, call *wire.Call) (entity, error) {
	user, ok := s.Directory.User(call.Caller.AccountID, in.UserName)
	if !ok {
		return entity{arn: s.arn(call, "user/"+in.UserName)}, nil
	}
	return entity{user.ARN(), user.Tags, user.Boundary}, nil
}

// entity is a user, that of the caller if none is named.
func (in *ownUserInput) entity(s *Service, call *wire.Call) (entity, error) {
	name, err := in.name(call)
	if err != nil {
		return entity{}, err
	}
	return (&userInput{name}).entity(s, call)
}

func (in *createUserInput) entity(s *Service, call *wire.Call) (entity, error) {
	return entity{arn: s.arn(call, "user"+in.Path+in.UserName)}, nil
}

func (in *createUserInput) setKeys(keys *policy.Context) {
	directory.SetRequestTags(keys, tagsOf(in.Tags))
	setBoundary(keys, in.PermissionsBoundary)
}

func (in *tagUserInput) setKeys(keys *policy.Context) {
	directory.SetRequestTags(keys, tagsOf(in.Tags))
}

func (in *untagUserInput) setKeys(keys *policy.Context) { keys.SetMany("aws:TagKeys", in.TagKeys...) }

// entity is a group, as a role is.
func (in *groupInput) entity(s *Service, call *wire.Call) (entity, error) {
	group, ok := s.Directory.Group(call.Caller.AccountID, in.GroupName)
	if !ok {
		return entity{arn: s.arn(call, "group/"+in.GroupName)}, nil
	}
	return entity{arn: group.ARN()}, nil
}

func (in *createGroupInput) entity(s *Service, call *wire.Call) (entity, error) {
	return entity{arn: s.arn(call, "group"+in.Path+in.GroupName)}, nil
}

// entity is an OpenID Connect provider, which must be one of the caller's own account. Its ARN must be spelled as podid spells it, else
// a policy that denies the provider would not know it.
func (in *providerInput) entity(s *Service, call *wire.Call) (entity, error) {
	_, issuer, _ := strings.Cut(in.ARN, ":oidc-provider/")
	if in.ARN != s.providerARN(call, issuer) {
		return entity{}, errNoSuchEntity("OpenIDConnect Provider not found for arn %s", in.ARN)
	}
	e := entity{arn: in.ARN}
	if provider, ok := s.Directory.Provider(call.Caller.AccountID, issuer); ok {
		e.tags = provider.Tags
	}
	return e, nil
}

func (in *createProviderInput) entity(s *Service, call *wire.Call) (entity, error) {
	return entity{arn: s.providerARN(call, in.URL)}, nil
}

func (in *createProviderInput) setKeys(keys *policy.Context) {
	directory.SetRequestTags(keys, tagsOf(in.Tags))
}

// providerARN names a provider of the caller's account.
func (s *Service) providerARN(call *wire.Call, issuer string) string {
	return s.arn(call, "oidc-provider/"+identity.IssuerHostPath(issuer))
}
