// Package iam is the embedded IAM's API: roles and users with their policies, boundaries and tags, groups, access keys, managed policies,
// and OpenID Connect providers.
//
// It writes what the directory package reads: who exists and what the policies say lives there, compiled, and decisions are
// made there. An operation that AWS has and podid has not is answered as InvalidAction.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/.
package iam

import (
	"io"
	"slices"
	"time"

	"github.com/podid/podid/internal/authn"
	"github.com/podid/podid/internal/credential"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/wire"
)

// Config is what the service stands on.
type Config struct {
	Store     *store.Store
	Directory *directory.Directory
	Keyring   *credential.Keyring               // seals the secrets of access keys
	LastUse   func(id string) (authn.Use, bool) // of a long-term access key or a role
	Quotas    Quotas
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
func New(cfg Config) *Service {
	cfg.Quotas = cfg.Quotas.withDefaults()
	return &Service{cfg}
}

// API declares the operations.
func (s *Service) API() wire.Service {
	return wire.Service{
		Name:       "iam",
		Protocol:   wire.Query("2010-05-08", "https://iam.amazonaws.com/doc/2010-05-08/"),
		Denied:     errAccessDenied,
		Fault:      errServiceFailure,
		Operations: slices.Concat(s.roleOperations(), s.userOperations(), s.groupOperations(), s.policyOperations(), s.providerOperations(), s.accountOperations()),
	}
}
