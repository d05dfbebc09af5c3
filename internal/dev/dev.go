// Package dev runs all of podid in one process for a laptop or a CI job: the control plane with an embedded etcd, a built-in cluster
// called local, the node agent, and an embedded S3 with a bucket of example files.
//
// The parts talk to each other as they would over a network, with credentials and through the same checks as everybody: the agent
// calls EKS Auth with a session of a node role that was made by the IAM API.
package dev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/errgroup"

	"github.com/podid/podid/internal/agent"
	"github.com/podid/podid/internal/server"
)

// ClusterName is the built-in cluster.
const ClusterName = "local"

// Config says where to listen and where to keep the state.
type Config struct {
	Listen      string // host:port of the APIs; port 0 takes a free one
	AgentListen string // IP:port of the node agent's endpoint; port 0 takes a free one
	// MetricsListen is host:port of /metrics of the control plane; empty: not served.
	MetricsListen string
	DataDir       string // created with mode 0700
	Region        string
	AccountID     string // twelve digits
	// MemberAccountIDs are further accounts, see [server.Config].
	MemberAccountIDs []string
	// UnsafeNoSync does not wait for the disk; for demonstrations and tests, whose state nobody keeps.
	UnsafeNoSync bool
	Logger       *slog.Logger // nil: nothing is logged
}

// Dev is the running whole.
type Dev struct {
	cfg    Config
	server *server.Server
	agent  *agent.Agent
	group  *errgroup.Group
	cancel context.CancelFunc
	done   <-chan struct{}
}

// Start listens, opens the state and serves. When it returns everything is ready: the node role is there, the example files are in
// their bucket, and admin.env is written. It serves until ctx ends or [Dev.Close] is called.
func Start(ctx context.Context, cfg Config) (_ *Dev, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	listener, err := listen(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening for the APIs: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	d := &Dev{cfg: cfg, cancel: cancel}
	d.group, ctx = errgroup.WithContext(ctx)
	d.done = ctx.Done()
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
			_ = listener.Close() // unless the server has
		}
	}()
	var metrics net.Listener
	if cfg.MetricsListen != "" {
		if metrics, err = listen(cfg.MetricsListen); err != nil {
			return nil, fmt.Errorf("listening for metrics: %w", err)
		}
		defer func() {
			if err != nil {
				_ = metrics.Close() // unless the server has
			}
		}()
	}
	if err := d.newAgent("http://" + listener.Addr().String()); err != nil {
		return nil, err
	}
	d.server, err = server.New(ctx, server.Config{
		DataDir: cfg.DataDir, Region: cfg.Region, AccountID: cfg.AccountID, MemberAccountIDs: cfg.MemberAccountIDs,
		Listener: listener, S3: true,
		BuiltInClusters: []string{ClusterName}, CredentialsFullURI: "http://" + d.agent.Addrs()[0].String() + "/v1/credentials",
		AllowHTTP: true, UnsafeNoSync: cfg.UnsafeNoSync, MetricsListener: metrics, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	d.group.Go(func() error { return d.server.Run(ctx) })
	d.group.Go(func() error { return d.agent.Run(ctx) })
	if err := d.furnish(ctx); err != nil {
		return nil, err
	}
	return d, d.server.WriteAdminEnv("")
}

// listen takes loopback addresses only: what goes over the connection, secrets included, is not encrypted.
func listen(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("%s is not a loopback address, and plain HTTP must not leave this machine", address), listener.Close())
	}
	return listener, nil
}

// newAgent binds the agent's address at once, since pods are told it by the server's built-in cluster.
func (d *Dev) newAgent(serverURL string) error {
	host, portText, err := net.SplitHostPort(d.cfg.AgentListen)
	if err != nil {
		return fmt.Errorf("the agent's address: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return fmt.Errorf("the agent's address: port %q is not a number", portText)
	}
	if ip, err := netip.ParseAddr(host); err == nil && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
		return fmt.Errorf("the agent's address: %s is neither a loopback nor a link-local address, and plain HTTP must not leave this machine", host)
	}
	client, err := agent.NewClient(agent.ClientConfig{
		ClusterName: ClusterName, Region: d.cfg.Region, Endpoint: serverURL,
		Credentials: d.nodeCredentials(serverURL),
	})
	if err != nil {
		return err
	}
	d.agent, err = agent.New(agent.Config{
		BindHosts: []string{host}, Port: port, AssumeRole: client.AssumeRoleForPodIdentity,
		Retention: 3 * time.Hour, CacheSize: 2000, RenewalsPerSecond: 3, // the defaults of podid-agent
		Logger: d.cfg.Logger,
	})
	if err != nil {
		return err
	}
	return d.agent.Listen()
}

// URL is where the APIs are.
func (d *Dev) URL() string { return d.server.URL() }

// AgentURL is where the agent's endpoint is.
func (d *Dev) AgentURL() string { return "http://" + d.agent.Addrs()[0].String() }

// AdminEnv is the file with the administrator's environment.
func (d *Dev) AdminEnv() string { return server.AdminEnv(d.cfg.DataDir) }

// AdminEnvCommand makes a POSIX shell the administrator.
func (d *Dev) AdminEnvCommand() string { return server.AdminEnvCommand(d.cfg.DataDir) }

// Admin is an AWS configuration of the administrator, for calls to the APIs.
func (d *Dev) Admin() aws.Config { return d.config(d.URL(), d.adminCredentials()) }

// Done is closed when serving has ended or is about to; [Dev.Close] says why.
func (d *Dev) Done() <-chan struct{} { return d.done }

// Close ends everything, waits for it and returns what went wrong while it served.
func (d *Dev) Close() error {
	d.cancel()
	return d.group.Wait()
}

func (d *Dev) adminCredentials() aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		admin := d.server.Admin()
		return aws.Credentials{AccessKeyID: admin.AccessKeyID, SecretAccessKey: admin.SecretAccessKey.Reveal(), AccountID: d.cfg.AccountID}, nil
	})
}

func (d *Dev) config(url string, credentials aws.CredentialsProvider) aws.Config {
	return aws.Config{Region: d.cfg.Region, BaseEndpoint: aws.String(url), Credentials: credentials, RetryMaxAttempts: 3}
}
