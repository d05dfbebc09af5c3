// Package server is podid's control plane in one process: the EKS, EKS Auth, STS and IAM APIs on one port, with the issuers of its
// built-in clusters, health, and, where asked for, an embedded S3.
//
// It assembles what the other packages do. What it decides by itself is only which of them a request is for.
package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/podid/podid/internal/assume"
	"github.com/podid/podid/internal/audit"
	"github.com/podid/podid/internal/authn"
	"github.com/podid/podid/internal/credential"
	"github.com/podid/podid/internal/denial"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/eks"
	"github.com/podid/podid/internal/eksauth"
	"github.com/podid/podid/internal/iam"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/local"
	"github.com/podid/podid/internal/s3front"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/sts"
	"github.com/podid/podid/internal/token"
	"github.com/podid/podid/internal/wire"
)

// Config says what the control plane is.
type Config struct {
	// DataDir holds the embedded etcd, the root key and the audit log. It is created with mode 0700.
	DataDir string
	// Etcd is an external etcd cluster that holds the state instead. Any number of servers may share it, none of them special, that
	// also have the same root key. Nil: the embedded one.
	Etcd *Etcd
	// RootKeyFile is the file with the key that wraps all others; empty means root.key in DataDir. It is made if it is not there
	// and there is no state yet.
	RootKeyFile string
	// Region and AccountID go into the ARNs of built-in clusters; AccountID is also the administrator's. Required.
	Region, AccountID string
	// MemberAccountIDs are further accounts that the server holds. Each gets a role OrganizationAccountAccessRole, by which administrators
	// of the first account get into it; it is made again if it is missing when the server starts.
	MemberAccountIDs []string
	// Partition is the first part of every ARN; empty means aws.
	Partition string
	// Listener is where requests will come from. Required.
	Listener net.Listener
	// TLS is what requests are encrypted with; nil means plain HTTP.
	TLS *tls.Config
	// URL is where clients reach the server, without a closing slash. It is part of the URLs of built-in clusters. Empty means the
	// address of the listener.
	URL string
	// MetricsListener is where /metrics, /livez and /readyz are served, by plain HTTP; nil: only the latter two, on Listener.
	MetricsListener net.Listener
	// BuiltInClusters are clusters without nodes that the server itself issues tokens for, by name; see package local.
	BuiltInClusters []string
	// CredentialsFullURI is what pods of the built-in clusters are told to get credentials from; required with BuiltInClusters.
	CredentialsFullURI string
	// S3 serves the embedded S3, which keeps its objects in DataDir.
	S3 bool
	// AssociationLimit is how many associations a cluster may have; 0 means [eks.DefaultAssociationLimit].
	AssociationLimit int
	// Feed limits the feed of associations; what is zero has its default.
	Feed eks.FeedConfig
	// PieceDeadline is how long a client may take to take a piece of a feed; 0 means 10 seconds.
	PieceDeadline time.Duration
	// IAMQuotas are how many roles, users and the like an account may have.
	IAMQuotas iam.Quotas
	// AllowHTTP accepts web identities of issuers at http URLs, and their providers. Who can change what is fetched from there can
	// forge any of their tokens, so it is for loopback and laboratories.
	AllowHTTP bool
	// UnsafeNoSync makes the embedded etcd not wait for the disk. For tests and demonstrations.
	UnsafeNoSync bool
	// Registry gets the metrics; nil means one of the server's own.
	Registry *prometheus.Registry
	// Logger gets one line for each request and each fault. Nil means none.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Etcd is how an external etcd cluster is reached. See [store.Config] for what it must be.
type Etcd struct {
	Endpoints []string    // client URLs
	TLS       *tls.Config // nil for http endpoints
	Username  string      // empty for none
	Password  identity.Secret
}

func (c *Config) validate() error {
	var problems []error
	check := func(bad bool, problem string) {
		if bad {
			problems = append(problems, errors.New(problem))
		}
	}
	check(c.DataDir == "", "no data directory is given")
	check(c.Region == "", "no region is given")
	check(!identity.ValidAccountID(c.AccountID), fmt.Sprintf("account id %q is not twelve digits", c.AccountID))
	for _, id := range c.MemberAccountIDs {
		check(!identity.ValidAccountID(id), fmt.Sprintf("member account id %q is not twelve digits", id))
		check(id == c.AccountID, fmt.Sprintf("member account id %q is the server's first account", id))
	}
	check(c.Listener == nil, "no listener is given")
	check(c.Etcd != nil && c.UnsafeNoSync, "whether etcd waits for the disk is not for this server to say where it is an external one")
	check(len(c.BuiltInClusters) > 0 && c.CredentialsFullURI == "", "built-in clusters need a credentials URI")
	for _, name := range c.BuiltInClusters {
		check(!identity.ValidClusterName(name), fmt.Sprintf("%q is not a cluster name", name))
	}
	return errors.Join(problems...)
}

// Server is the control plane.
type Server struct {
	cfg       Config
	url       string
	store     *store.Store
	directory *directory.Directory
	keyring   *credential.Keyring
	tokens    *token.Verifier
	authn     *authn.Authenticator
	admin     Admin
	services  map[string]http.Handler // by the name in a signature's scope
	s3        *s3front.Handler        // nil without
	accounts  *local.ServiceAccounts  // of the built-in clusters
	clusters  map[string]http.Handler // Kubernetes APIs of the built-in clusters
	auditFile io.Closer
	closing   chan struct{} // closed when Run ends, before requests under way have their grace
}

// Admin is the administrator's long-term access key.
type Admin struct {
	AccessKeyID     string
	SecretAccessKey identity.Secret
}

// New opens the state and prepares everything. On first start it makes the root key, the administrator and the built-in clusters.
// If it fails, or when Run has returned, nothing stays open but the listener, which is the caller's until Run.
func New(ctx context.Context, cfg Config) (_ *Server, err error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Partition == "" {
		cfg.Partition = "aws"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	s := &Server{cfg: cfg, closing: make(chan struct{}), url: cfg.URL}
	if s.url == "" {
		s.url = scheme(cfg.TLS) + "://" + cfg.Listener.Addr().String()
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.openState(ctx); err != nil {
		return nil, err
	}
	if err := s.assemble(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// openState opens the store and what is in the data directory beside it.
func (s *Server) openState(ctx context.Context) error {
	if err := os.MkdirAll(s.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	where := store.Config{DataDir: filepath.Join(s.cfg.DataDir, "etcd"), UnsafeNoSync: s.cfg.UnsafeNoSync, Logger: s.cfg.Logger, Now: s.cfg.Now}
	if external := s.cfg.Etcd; external != nil {
		where.DataDir = ""
		where.Endpoints, where.TLS, where.Username, where.Password = external.Endpoints, external.TLS, external.Username, external.Password
	}
	var err error
	if s.store, err = store.Open(ctx, where); err != nil {
		return err
	}
	s.directory = directory.New(s.store, append([]string{s.cfg.AccountID}, s.cfg.MemberAccountIDs...)...)
	s.accounts = local.DefineServiceAccounts(s.store)
	state := newBootstrap(s)
	if err := s.store.Load(ctx); err != nil {
		return err
	}
	return state.run(ctx)
}

func (s *Server) assemble(ctx context.Context) error {
	var err error
	s.tokens, err = token.New(token.Config{Now: s.cfg.Now, Logger: s.cfg.Logger, AllowHTTP: s.cfg.AllowHTTP})
	if err != nil {
		return err
	}
	auditFile, err := os.OpenFile(filepath.Join(s.cfg.DataDir, "audit.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	s.auditFile = auditFile
	s.authn = authn.New(s.directory, s.keyring, s.cfg.Now)
	denials := &denial.Sealer{Keyring: s.keyring}
	assumer := &assume.Assumer{Directory: s.directory, Keyring: s.keyring, Now: s.cfg.Now}
	shared := wire.Config{
		Authenticator: s.authn, Directory: s.directory, Audit: audit.New(auditFile, 1000), Denials: denials,
		Metrics: wire.NewMetrics(s.cfg.Registry), Logger: s.cfg.Logger, Now: s.cfg.Now,
		PieceDeadline: s.cfg.PieceDeadline, Closing: s.closing,
	}
	s.services = map[string]http.Handler{}
	for _, service := range []wire.Service{
		eks.New(eks.Config{
			Store: s.store, Directory: s.directory, Keyring: s.keyring, AssociationLimit: s.cfg.AssociationLimit,
			Feed: s.cfg.Feed, Partition: s.cfg.Partition, Region: s.cfg.Region, AllowHTTP: s.cfg.AllowHTTP, Now: s.cfg.Now, Random: rand.Reader,
		}).API(),
		eksauth.New(eksauth.Config{Directory: s.directory, Tokens: s.tokens, Assumer: assumer, Random: rand.Reader}).API(),
		sts.New(sts.Config{Directory: s.directory, Assumer: assumer, Tokens: s.tokens, Denials: denials, Now: s.cfg.Now}).API(),
		iam.New(iam.Config{
			Store: s.store, Directory: s.directory, Keyring: s.keyring, LastUse: s.authn.LastUse, Quotas: s.cfg.IAMQuotas, Partition: s.cfg.Partition,
			AllowHTTP: s.cfg.AllowHTTP, Now: s.cfg.Now, Random: rand.Reader,
		}).API(),
	} {
		s.services[service.Name] = wire.New(shared, service)
	}
	if s.cfg.S3 {
		if s.s3, err = s.newS3(shared.Audit); err != nil {
			return err
		}
		s.services["s3"] = s.s3
	}
	s.clusters = map[string]http.Handler{}
	for _, name := range s.cfg.BuiltInClusters {
		if s.clusters[name], err = s.newBuiltInCluster(ctx, name); err != nil {
			return fmt.Errorf("preparing the built-in cluster %s: %w", name, err)
		}
	}
	return nil
}

func scheme(config *tls.Config) string {
	if config != nil {
		return "https"
	}
	return "http"
}

// URL is where the server is reached.
func (s *Server) URL() string { return s.url }

// Admin returns the administrator's access key.
func (s *Server) Admin() Admin { return s.admin }

// S3 returns the embedded S3, for putting something into it without a signature; nil without one.
func (s *Server) S3() *s3front.Handler { return s.s3 }

// shutdownGrace is how long requests under way may take to end.
const shutdownGrace = 5 * time.Second

// Run serves until ctx ends, then closes everything.
func (s *Server) Run(ctx context.Context) error {
	// Bodies have deadlines of their own (wire), since an upload to the embedded S3 may take longer than any of them.
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		TLSConfig: s.cfg.TLS, ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		serve := server.Serve
		if s.cfg.TLS != nil {
			serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
		}
		if err := serve(s.cfg.Listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error { return s.tokens.Run(groupCtx) })
	if s.cfg.MetricsListener != nil {
		s.serveMetrics(groupCtx, group)
	}
	group.Go(func() error {
		<-groupCtx.Done()
		close(s.closing)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if err := server.Shutdown(grace); err != nil {
			return server.Close() // what is still under way has had its time
		}
		return nil
	})
	return errors.Join(group.Wait(), s.close())
}

func (s *Server) close() error {
	var errs []error
	if s.s3 != nil {
		errs = append(errs, s.s3.Close())
	}
	if s.auditFile != nil {
		errs = append(errs, s.auditFile.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}
