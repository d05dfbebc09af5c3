package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/webhook/certificate"
)

// serverOptions are the flags of podid server.
type serverOptions struct {
	server.Config
	listen, metricsListen, tlsCert, tlsKey, caBundle, logLevel string
	etcdEndpoints                                              []string
	etcdCA, etcdCert, etcdKey, etcdUsername, etcdPasswordFile  string
}

func serverCommand() *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the control plane: the EKS, EKS Auth, IAM and STS APIs",
		Long: `Runs the control plane until it is interrupted: the EKS, EKS Auth, IAM and STS APIs on one port. Its state is in an embedded etcd in
DATA-DIR, or, with --etcd-endpoints, in an etcd cluster that any number of servers share; they must have the same root key then. It
writes DATA-DIR/admin.env, which makes any AWS client the administrator.

    podid server --data-dir /var/lib/podid --listen :7443 --tls-cert tls.crt --tls-key tls.key --url https://podid.example.com:7443

Without a certificate it listens on loopback addresses only.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runServer(cmd.Context(), cmd.OutOrStdout(), o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.listen, "listen", "127.0.0.1:7443", "`address` of all APIs")
	flags.StringVar(&o.URL, "url", "", "`URL` that clients reach the server by; else the address")
	flags.StringVar(&o.tlsCert, "tls-cert", "", "`file` with the certificate chain, PEM; read again when it changes")
	flags.StringVar(&o.tlsKey, "tls-key", "", "`file` with the certificate's key, PEM")
	flags.StringVar(&o.caBundle, "ca-bundle", "", "`file` with the authorities that clients must trust, for admin.env; needed where the certificate is of a private one")
	flags.StringVar(&o.metricsListen, "metrics-listen", "", "`address` of /metrics, /livez and /readyz, by plain HTTP; empty: not served")
	flags.StringVar(&o.DataDir, "data-dir", "/var/lib/podid", "`directory` of state, root key and audit log; made if it is not there")
	flags.StringVar(&o.RootKeyFile, "root-key-file", "", "`file` with the root key; else root.key in the data directory")
	flags.StringSliceVar(&o.etcdEndpoints, "etcd-endpoints", nil, "client `URLs` of an etcd cluster for the state; else etcd is embedded")
	flags.StringVar(&o.etcdCA, "etcd-ca", "", "`file` with the authorities of etcd's certificates; else those of the system")
	flags.StringVar(&o.etcdCert, "etcd-cert", "", "`file` with the client certificate for etcd; read again for each connection")
	flags.StringVar(&o.etcdKey, "etcd-key", "", "`file` with its key")
	flags.StringVar(&o.etcdUsername, "etcd-username", "", "`name` of the etcd user")
	flags.StringVar(&o.etcdPasswordFile, "etcd-password-file", "", "`file` with its password")
	flags.StringVar(&o.Region, "region", "us-west-2", "AWS `region` of registered clusters")
	flags.StringVar(&o.AccountID, "account-id", "111122223333", "AWS account `id` of the administrator")
	flags.StringSliceVar(&o.MemberAccountIDs, "member-account-id", nil, "further AWS account `id`, entered by its OrganizationAccountAccessRole; may be repeated")
	flags.IntVar(&o.AssociationLimit, "association-limit", 0, "`associations` that a cluster may have; 0: 5000")
	flags.BoolVar(&o.AllowHTTP, "allow-http-issuers", false, "accept issuers at http URLs; for laboratories: whoever changes what is fetched can forge their tokens")
	flags.StringVar(&o.logLevel, "log-level", "warn", "least `level` that is logged: debug, info (a line for each request), warn or error")
	return cmd
}

func runServer(ctx context.Context, out io.Writer, o serverOptions) error {
	var err error
	if o.Logger, err = newLogger(o.logLevel); err != nil {
		return err
	}
	if o.Etcd, err = o.etcd(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := o.useTLS(ctx); err != nil {
		return err
	}
	if o.Listener, err = net.Listen("tcp", o.listen); err != nil {
		return fmt.Errorf("listening for the APIs: %w", err)
	}
	defer o.Listener.Close()
	if o.TLS == nil && !o.Listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		return fmt.Errorf("%s is not a loopback address, and plain HTTP must not leave this machine: give --tls-cert and --tls-key", o.listen)
	}
	if o.metricsListen != "" {
		if o.MetricsListener, err = net.Listen("tcp", o.metricsListen); err != nil {
			return fmt.Errorf("listening for metrics: %w", err)
		}
		defer o.MetricsListener.Close()
	}
	s, err := server.New(ctx, o.Config)
	if errors.Is(err, context.Canceled) {
		return nil // interrupted before it was ready
	}
	if err != nil {
		return explainStart(err, o.DataDir)
	}
	writeErr := s.WriteAdminEnv(o.caBundle)
	if writeErr != nil {
		cancel()
	} else {
		fmt.Fprintf(out, "podid server is ready at %s. To be its administrator: %s\n", s.URL(), server.AdminEnvCommand(o.DataDir))
	}
	return errors.Join(writeErr, s.Run(ctx))
}

// useTLS has the server encrypt with the certificate of the files, and follows them until ctx ends.
func (o *serverOptions) useTLS(ctx context.Context) error {
	if o.tlsCert == "" && o.tlsKey == "" {
		return nil
	}
	if o.tlsCert == "" || o.tlsKey == "" {
		return errors.New("give both --tls-cert and --tls-key")
	}
	source, err := certificate.WatchFiles(o.tlsCert, o.tlsKey, o.Logger)
	if err != nil {
		return err
	}
	go source.Run(ctx)
	o.TLS = &tls.Config{GetCertificate: source.Get, MinVersion: tls.VersionTLS12}
	return nil
}

// etcd is nil without endpoints.
func (o *serverOptions) etcd() (*server.Etcd, error) {
	if len(o.etcdEndpoints) == 0 {
		if o.etcdCA != "" || o.etcdCert != "" || o.etcdKey != "" || o.etcdUsername != "" || o.etcdPasswordFile != "" {
			return nil, errors.New("the flags of etcd are of no use without --etcd-endpoints")
		}
		return nil, nil
	}
	etcd := &server.Etcd{Endpoints: o.etcdEndpoints, Username: o.etcdUsername}
	encrypted := strings.HasPrefix(o.etcdEndpoints[0], "https://")
	for _, endpoint := range o.etcdEndpoints {
		if strings.HasPrefix(endpoint, "https://") != encrypted || !encrypted && !strings.HasPrefix(endpoint, "http://") {
			return nil, fmt.Errorf("--etcd-endpoints: %q: want URLs that all begin with https:// or all with http://", endpoint)
		}
	}
	if encrypted {
		etcd.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if o.etcdCA != "" {
		pem, err := os.ReadFile(o.etcdCA)
		if err != nil {
			return nil, fmt.Errorf("reading the authorities of etcd: %w", err)
		}
		roots := x509.NewCertPool()
		if !encrypted || !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--etcd-ca %s: want PEM of certificates, and https endpoints", o.etcdCA)
		}
		etcd.TLS.RootCAs = roots
	}
	if o.etcdCert != "" || o.etcdKey != "" {
		if !encrypted {
			return nil, errors.New("--etcd-cert and --etcd-key are of no use for http endpoints")
		}
		if _, err := tls.LoadX509KeyPair(o.etcdCert, o.etcdKey); err != nil {
			return nil, fmt.Errorf("reading --etcd-cert and --etcd-key: %w", err)
		}
		etcd.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(o.etcdCert, o.etcdKey)
			return &pair, err
		}
	}
	if o.etcdPasswordFile != "" {
		password, err := os.ReadFile(o.etcdPasswordFile)
		if err != nil {
			return nil, fmt.Errorf("reading the password for etcd: %w", err)
		}
		etcd.Password = identity.Secret(strings.TrimRight(string(password), "\r\n"))
	}
	return etcd, nil
}
