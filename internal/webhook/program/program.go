// Package program is the command line of the webhook, which two programs have: podid webhook, and podid-webhook, which has nothing
// else in it.
package program

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/podid/podid/internal/feed"
	"github.com/podid/podid/internal/kube"
	"github.com/podid/podid/internal/webhook/certificate"
	"github.com/podid/podid/internal/webhook/facts"
	"github.com/podid/podid/internal/webhook/serving"
)

// options are the flags. Those that Amazon's webhook has too have its names and defaults.
type options struct {
	serving                           serving.Config
	bindHost                          string
	port, metricsPort                 int
	kubeconfig, kubeAPI               string
	inCluster                         bool
	tlsCert, tlsKey                   string
	tlsSecret, serviceName, namespace string
	tlsHosts, tlsCipherSuites         []string
	tlsMinVersion, configuration      string
	clusterName, endpoint             string
	identitiesFile, copyFile          string
	watchConfigMap                    bool
	logLevel                          string
}

// Command is the webhook as a command.
func Command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "webhook",
		Short: "Give the pods of a Kubernetes cluster what SDKs need to find their credentials",
		Long: `Answers the Kubernetes API server when a pod is created: pods whose service account has a pod identity association, or is annotated with
a role, get a token and the variables that lead SDKs to their credentials. It takes the place of Amazon's pod identity webhook and
has its flags.

It learns of associations from podid as they are made (--cluster-name; endpoint, region and credentials from where AWS programs have
them), or from a file as Amazon's does (--watch-container-credentials-config).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var level slog.Level
			if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
				return fmt.Errorf("log level %q: want debug, info, warn or error", o.logLevel)
			}
			o.serving.Logger = slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			return o.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.clusterName, "cluster-name", "", "`name` of the cluster whose associations count")
	flags.StringVar(&o.endpoint, "endpoint", "", "`URL` of podid (default AWS_ENDPOINT_URL)")
	flags.StringVar(&o.copyFile, "associations-copy", "", "`file` with a copy of the associations, for starts while podid cannot be reached; empty: none")
	flags.StringVar(&o.identitiesFile, "watch-container-credentials-config", "", "`file` with the associations, instead of podid's")
	flags.BoolVar(&o.watchConfigMap, "watch-config-map", false, "take roles from the config map pod-identity-webhook too")
	flags.BoolVar(&o.serving.ComposeRoles, "compose-role-arn", false, "complete roles that are given by name with the cluster's account")
	flags.StringVar(&o.serving.Settings.AccountID, "aws-account-id", "", "`account` of those roles; empty: the cluster's")

	flags.StringVar(&o.bindHost, "bind-host", "", "`address` to listen on; empty: all")
	flags.IntVar(&o.port, "port", 443, "`port` of the webhook")
	flags.IntVar(&o.metricsPort, "metrics-port", 9999, "`port` of /metrics and of probes by plain HTTP; 0: not served")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` that says how the Kubernetes API is reached; empty: as the pod's service account")
	flags.StringVar(&o.kubeAPI, "kube-api", "", "`URL` of the Kubernetes API, instead of the kubeconfig's")
	flags.StringVar(&o.namespace, "namespace", "eks", "`namespace` of the webhook's service, secret and config map")
	flags.StringVar(&o.serviceName, "service-name", "pod-identity-webhook", "`name` of the webhook's service")

	flags.BoolVar(&o.inCluster, "in-cluster", true, "keep a certificate of an own authority in the secret; false: take --tls-cert and --tls-key")
	flags.StringVar(&o.tlsSecret, "tls-secret", "pod-identity-webhook", "`name` of that secret")
	flags.StringVar(&o.configuration, "webhook-configuration", "pod-identity-webhook", "`name` of the MutatingWebhookConfiguration that is told to trust the authority; empty: none")
	flags.StringSliceVar(&o.tlsHosts, "tls-hosts", nil, "further `names` and addresses that the certificate is for")
	flags.StringVar(&o.tlsCert, "tls-cert", "/etc/webhook/certs/tls.crt", "`file` with the certificate; read again when it changes")
	flags.StringVar(&o.tlsKey, "tls-key", "/etc/webhook/certs/tls.key", "`file` with its key")
	flags.StringVar(&o.tlsMinVersion, "tls-min-version", "", "least `version`: 1.2 (default) or 1.3")
	flags.StringSliceVar(&o.tlsCipherSuites, "tls-cipher-suites", nil, "cipher `suites` of TLS 1.2, by their IANA names")

	s := &o.serving.Settings
	flags.StringVar(&s.AnnotationPrefix, "annotation-prefix", "eks.amazonaws.com", "`prefix` of the annotations")
	flags.StringVar(&s.Region, "aws-default-region", "", "`region` that pods are told; empty: the cluster's")
	flags.StringVar(&s.EndpointURL, "aws-endpoint-url", "", "`URL` that pods are told to call instead of AWS; empty: none")
	flags.BoolVar(&s.RegionalSTS, "sts-regional-endpoint", false, "tell pods to call STS in the region")
	flags.Int64Var(&s.TokenExpirationSeconds, "token-expiration", 86400, "life of tokens in `seconds`")
	flags.StringVar(&s.WebIdentityAudience, "token-audience", "sts.amazonaws.com", "`audience` of tokens for web identity")
	flags.StringVar(&s.WebIdentityMountPath, "token-mount-path", "/var/run/secrets/eks.amazonaws.com/serviceaccount", "`directory` of those tokens")
	flags.StringVar(&s.Audience, "container-credentials-audience", "pods.eks.amazonaws.com", "`audience` of tokens for Pod Identity")
	flags.StringVar(&s.MountPath, "container-credentials-token-mount-path", "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount", "`directory` of those tokens")
	flags.StringVar(&s.VolumeName, "container-credentials-token-volume-name", "eks-pod-identity-token", "`name` of their volume")
	flags.StringVar(&s.TokenFile, "container-credentials-token-path", "eks-pod-identity-token", "their `file` in the directory")
	flags.StringVar(&s.CredentialsFullURI, "container-credentials-full-uri", "http://169.254.170.23/v1/credentials", "`URL` of the node agent")
	flags.BoolVar(&s.AppendNoProxy, "append-no-proxy", false, "add the agent's address to the NO_PROXY that containers have")
	flags.BoolVar(&s.HostNetworkWithoutAgent, "host-network-without-agent", false, "pods in the host's network do not reach the node agent: warn of it")
	flags.StringVar(&o.logLevel, "log-level", "info", "least `level` that is logged: debug, info, warn or error")
	flags.BoolVar(&o.serving.Debug, "enable-debugging-handlers", false, "serve /debug/alpha/cache beside the metrics, and /debug/alpha/deny and /debug/alpha/500 beside /mutate")
	flags.Duration("resync-period", 0, "taken for Amazon's sake; watches need none")
	flags.Duration("service-account-lookup-grace-period", 0, "taken for Amazon's sake; unknown service accounts are asked for, not waited for")
	ignoreKlog(flags)
	return cmd
}

// ignoreKlog takes the flags of klog, which the command lines of Amazon's webhook have: its own deployment sets --logtostderr.
func ignoreKlog(flags *pflag.FlagSet) {
	for _, name := range []string{"add_dir_header", "alsologtostderr", "log_backtrace_at", "log_dir", "log_file", "log_file_max_size", "logtostderr",
		"one_output", "skip_headers", "skip_log_headers", "stderrthreshold", "vmodule"} {
		flags.AddFlag(ignored(name, ""))
	}
	verbosity := ignored("v", "v")
	verbosity.NoOptDefVal = "" // it is never without a value
	flags.AddFlag(verbosity)
}

func ignored(name, shorthand string) *pflag.Flag {
	return &pflag.Flag{Name: name, Shorthand: shorthand, Usage: "taken for Amazon's sake", Value: new(anything), NoOptDefVal: "true", Hidden: true}
}

// anything is the value of a flag that does not matter.
type anything struct{}

func (*anything) String() string   { return "" }
func (*anything) Set(string) error { return nil }
func (*anything) Type() string     { return "string" }

func (o *options) run(ctx context.Context) error {
	cfg := o.serving
	cfg.Settings.Jitter = rand.Int64N
	cfg.Settings.TokenExpirationSeconds = max(cfg.Settings.TokenExpirationSeconds, 600) // which is the least that Kubernetes takes
	switch {
	case cfg.ComposeRoles && cfg.Settings.AccountID == "" && o.clusterName == "":
		return errors.New("--compose-role-arn needs --cluster-name or --aws-account-id, to know the account of the roles")
	case !cfg.ComposeRoles && cfg.Settings.AccountID != "":
		return errors.New("--aws-account-id is of no use without --compose-role-arn")
	}
	var err error
	if cfg.MinTLSVersion, cfg.CipherSuites, err = o.tls(); err != nil {
		return err
	}
	client, err := kube.Connect(o.kubeconfig, o.kubeAPI)
	if err != nil {
		return err
	}
	if cfg.Facts, err = o.facts(ctx, client); err != nil {
		return err
	}
	if cfg.Certificate, err = o.certificate(client); err != nil {
		return err
	}
	if cfg.Listener, err = net.Listen("tcp", net.JoinHostPort(o.bindHost, strconv.Itoa(o.port))); err != nil {
		return fmt.Errorf("opening the webhook's port: %w", err)
	}
	defer cfg.Listener.Close()
	if o.metricsPort != 0 {
		if cfg.MetricsListener, err = net.Listen("tcp", net.JoinHostPort(o.bindHost, strconv.Itoa(o.metricsPort))); err != nil {
			return fmt.Errorf("opening the metrics' port: %w", err)
		}
		defer cfg.MetricsListener.Close()
	}
	w, err := serving.New(cfg)
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

func (o *options) facts(ctx context.Context, client *kube.Client) (facts.Config, error) {
	log := o.serving.Logger
	known := facts.Config{Accounts: facts.FollowAccounts(client, o.serving.Settings.AnnotationPrefix, log), Logger: log}
	if o.watchConfigMap {
		known.Mapping = facts.FollowMapping(client, o.namespace, log)
	}
	switch {
	case o.identitiesFile != "" && o.clusterName != "":
		return known, errors.New("--cluster-name and --watch-container-credentials-config are two sources of associations: give one")
	case o.identitiesFile != "":
		known.Associations = facts.WatchFile(o.identitiesFile, log)
		return known, nil
	case o.clusterName == "":
		log.Warn("neither --cluster-name nor --watch-container-credentials-config is given: only annotated roles count")
		known.Associations = facts.NoAssociations()
		return known, nil
	}
	own, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(awshttp.NewBuildableClient()))
	if err != nil {
		return known, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	endpoint := cmp.Or(o.endpoint, aws.ToString(own.BaseEndpoint))
	if endpoint == "" {
		return known, errors.New("where podid is is not known: give --endpoint or AWS_ENDPOINT_URL")
	}
	follower, err := feed.New(feed.Config{
		ClusterName: o.clusterName, Endpoint: endpoint, Region: own.Region, Credentials: own.Credentials,
		Transport: own.HTTPClient.(*awshttp.BuildableClient).GetTransport(), Logger: log,
	})
	if err != nil {
		return known, err
	}
	known.Ask = follower.Associated
	known.Associations = facts.FollowFeed(facts.FeedConfig{
		Client: follower, Endpoint: endpoint, Cluster: o.clusterName, Copy: o.copyFile, Logger: log,
	})
	return known, nil
}

func (o *options) certificate(client *kube.Client) (*certificate.Source, error) {
	if !o.inCluster {
		return certificate.WatchFiles(o.tlsCert, o.tlsKey, o.serving.Logger)
	}
	return certificate.KeepSecret(certificate.SecretConfig{
		Client: client, Namespace: o.namespace, Secret: o.tlsSecret, Service: o.serviceName, Hosts: o.tlsHosts,
		Configuration: o.configuration, Logger: o.serving.Logger,
	}), nil
}

// tls reads version and cipher suites by the names that Kubernetes' programs take them by.
func (o *options) tls() (version uint16, suites []uint16, err error) {
	version, known := map[string]uint16{
		"": 0, "1.2": tls.VersionTLS12, "VersionTLS12": tls.VersionTLS12, "1.3": tls.VersionTLS13, "VersionTLS13": tls.VersionTLS13,
	}[o.tlsMinVersion]
	if !known {
		return 0, nil, fmt.Errorf("TLS version %q: want 1.2 or 1.3", o.tlsMinVersion)
	}
	for _, name := range o.tlsCipherSuites {
		name = strings.TrimSpace(name)
		before := len(suites)
		for _, suite := range tls.CipherSuites() {
			if suite.Name == name {
				suites = append(suites, suite.ID)
			}
		}
		if len(suites) == before {
			return 0, nil, fmt.Errorf("cipher suite %q is not known, or not safe", name)
		}
	}
	return version, suites, nil
}
