package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"

	"github.com/podid/podid/internal/authn"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/local"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/token"
	"github.com/podid/podid/internal/webhook"
)

// localVersion is the Kubernetes version whose tokens and pods a built-in cluster imitates.
const localVersion = "1.36"

// newBuiltInCluster opens a cluster that the server itself issues tokens for, or makes it.
func (s *Server) newBuiltInCluster(ctx context.Context, name string) (http.Handler, error) {
	cluster, signer, err := s.openBuiltInCluster(ctx, name)
	if err != nil {
		return nil, err
	}
	mutation, err := webhook.New(webhook.Config{
		Lookup: func(_ context.Context, account identity.ServiceAccount) (webhook.ServiceAccountFacts, error) {
			_, ok := s.directory.Association(name, account)
			annotations, found := s.accounts.Annotations(name, account)
			return webhook.ServiceAccountFacts{Associated: ok, Found: found, Annotations: annotations}, nil
		},
		Settings: webhook.Settings{
			Region: cluster.Region, RegionalSTS: true, EndpointURL: s.url, CredentialsFullURI: s.cfg.CredentialsFullURI,
			Partition: cluster.Partition, AccountID: cluster.AccountID, Jitter: mathrand.Int64N,
		},
		Logger: s.cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	return local.New(local.Config{
		Name: name, Signer: signer, Webhook: mutation, ServiceAccounts: s.accounts, Store: s.store, Random: rand.Reader, Now: s.cfg.Now, Logger: s.cfg.Logger,
		Authorize: func(_ context.Context, bearer identity.Secret) error { return s.authorizeKubernetes(bearer, cluster) },
	})
}

// authorizeKubernetes lets those use a built-in cluster who may do eks:AccessKubernetesApi on it.
func (s *Server) authorizeKubernetes(bearer identity.Secret, cluster *identity.Cluster) error {
	caller, err := s.authn.AuthenticateBearer(bearer.Reveal(), cluster.Name)
	var failure *authn.Failure
	if errors.As(err, &failure) {
		return fmt.Errorf("%w: %s", local.ErrUnauthorized, failure.Message)
	}
	if err != nil {
		return err
	}
	need := directory.Access{Action: "eks:AccessKubernetesApi", Resource: cluster.ARN()}
	why, err := s.directory.Authorize(&directory.Request{Caller: caller, Time: s.cfg.Now(), Region: cluster.Region}, need)
	if err != nil {
		return err
	}
	if !why.Decision.Allowed {
		return fmt.Errorf("%w: %s", local.ErrForbidden, why.Decision.Message(caller.ARN))
	}
	return nil
}

// clusterKeyPurpose is what the signing key of a built-in cluster is sealed for.
const clusterKeyPurpose = "cluster/signing-key/"

// openBuiltInCluster finds the cluster's record and its signing key, or makes both. The address that the server listens on is part
// of the issuer, so where that has changed the record follows.
func (s *Server) openBuiltInCluster(ctx context.Context, name string) (*identity.Cluster, *token.Signer, error) {
	known, ok := s.directory.Cluster(name)
	switch {
	case ok && (known.AccountID != s.cfg.AccountID || known.Region != s.cfg.Region):
		return nil, nil, fmt.Errorf("in this data directory it is of account %s and region %s: start with these, or with another data directory",
			known.AccountID, known.Region)
	case !ok:
		if err := s.makeBuiltInCluster(ctx, name); err != nil && !errors.Is(err, store.ErrExists) {
			return nil, nil, err
		}
	}
	record, err := s.directory.BuiltIn.Get(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, errors.New("a cluster of this name is registered, and it is not a built-in one")
	}
	if err != nil {
		return nil, nil, err
	}
	der, err := s.keyring.Unseal(clusterKeyPurpose+name, record.SealedKey)
	if err != nil {
		return nil, nil, fmt.Errorf("unsealing the signing key: %w", err)
	}
	key, err := token.ParseKey(der)
	if err != nil {
		return nil, nil, err
	}
	signer, err := token.NewSigner(key, s.url+"/id/"+record.IssuerID)
	if err != nil {
		return nil, nil, err
	}
	cluster, err := s.directory.Clusters.Update(ctx, name, func(c *identity.Cluster) error {
		c.Issuer, c.Keys, c.Endpoint = signer.Issuer(), signer.JWKS(), s.url+"/k8s/"+name
		return nil
	})
	return &cluster, signer, err
}

func (s *Server) makeBuiltInCluster(ctx context.Context, name string) error {
	key, err := token.GenerateKey()
	if err != nil {
		return err
	}
	der, err := token.MarshalKey(key)
	if err != nil {
		return err
	}
	sealed, err := s.keyring.Seal(clusterKeyPurpose+name, der)
	if err != nil {
		return err
	}
	return s.store.Commit(ctx,
		s.directory.BuiltIn.Create(name, directory.BuiltInCluster{IssuerID: identity.NewIssuerID(rand.Reader), SealedKey: sealed}),
		s.directory.Clusters.Create(name, identity.Cluster{
			Name: name, Partition: s.cfg.Partition, Region: s.cfg.Region, AccountID: s.cfg.AccountID, Version: localVersion, CreatedAt: s.cfg.Now(),
		}),
	)
}
