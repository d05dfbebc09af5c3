// Podid-agent is the node agent of podid: it answers the AWS SDKs of the pods on a node with the credentials of the roles that
// pod identity associations give them. It takes the place of Amazon's eks-pod-identity-agent and has its flags.
//
//	podid-agent initialize
//	podid-agent server --cluster-name demo [--endpoint https://podid.example.com]
//
// The first gives the node the addresses that pods call, and needs CAP_NET_ADMIN in the node's network. The second serves them.
// Without --endpoint it calls EKS Auth in AWS. Its own credentials, region and CA bundle come from where AWS programs have
// them (AWS_REGION, AWS_ACCESS_KEY_ID, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_CA_BUNDLE, ~/.aws, …), the proxy from HTTPS_PROXY and
// NO_PROXY. Every flag can be given in the environment instead: --cluster-name as PODID_AGENT_CLUSTER_NAME.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/podid/podid/internal/agent"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "dev"

// restInterval is how often unused memory is given back to the system; it takes some milliseconds.
const restInterval = 15 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "podid-agent:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:               "podid-agent",
		Short:             "Gives the pods of a node their AWS credentials",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd.Flags()) },
	}
	root.PersistentFlags().StringP("verbosity", "v", "info", "log `level`: trace, debug, info, warn, error, fatal or panic")
	root.AddCommand(serverCommand(), initializeCommand(), probeCommand(), &cobra.Command{
		Use:   "version",
		Short: "Prints the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
			return err
		},
	})
	return root
}

// fromEnvironment sets the flags that were not given to what the environment says: --probe-port to PODID_AGENT_PROBE_PORT.
func fromEnvironment(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "PODID_AGENT_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if !ok || f.Changed {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("reading %s: %w", name, err))
		}
	})
	return errors.Join(errs...)
}

// options are the flags of the server command. Their names and defaults are those of Amazon's agent.
type options struct {
	client         agent.ClientConfig
	agent          agent.Config
	probePort      int
	metricsAddress string
	metricsPort    int
	rotate         bool
	follow         bool
}

func serverCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Serves credentials until it is told to stop",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logger(cmd)
			if err != nil {
				return err
			}
			o.agent.Logger = log
			return serve(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.client.ClusterName, "cluster-name", "c", "", "`name` of the cluster whose pods are served (required)")
	f.StringVar(&o.client.Endpoint, "endpoint", "",
		"`URL` of the EKS Auth API (default AWS_ENDPOINT_URL_EKS_AUTH or AWS_ENDPOINT_URL, or AWS's own in the region)")
	f.BoolVar(&o.rotate, "rotate-credentials", false, "read the agent's own credentials anew every minute")
	f.StringSliceVarP(&o.agent.BindHosts, "bind-hosts", "b", []string{"169.254.170.23", "[fd00:ec2::23]"},
		"`addresses` to serve credentials on; pods must call the agent by one of them")
	f.IntVarP(&o.agent.Port, "port", "p", 80, "`port` to serve credentials on")
	f.StringVar(&o.agent.HandoverDir, "handover-dir", "",
		"`directory` in which this agent takes the sockets of the one that runs, and gives them to the next (default: no hand-over)")
	f.IntVar(&o.probePort, "probe-port", 2703, "`port` on localhost to serve /readyz and /healthz on")
	f.StringVar(&o.metricsAddress, "metrics-address", "0.0.0.0", "`address` to serve /metrics on")
	f.IntVar(&o.metricsPort, "metrics-port", 2705, "`port` to serve /metrics on")
	f.DurationVar(&o.agent.Retention, "max-credential-retention-before-renewal", 3*time.Hour,
		"renew credentials when they are this old, however long they live; 0 switches the cache off")
	f.IntVar(&o.agent.CacheSize, "max-cache-size", 2000, "`pods` to keep credentials for; 0 switches the cache off")
	f.IntVar(&o.agent.RenewalsPerSecond, "max-service-qps", 3,
		"`renewals` ahead of need to ask of EKS Auth in a second")
	f.BoolVar(&o.follow, "follow-associations", false,
		"renew credentials as soon as an association has changed; needs a podid as --endpoint")
	f.IntVar(&o.agent.RequestsPerSource, "max-requests-per-source", 1000,
		"`requests` a second that one address may send; 0: as many as it likes")
	return cmd
}

// logger writes JSON lines to standard error.
func logger(cmd *cobra.Command) (*slog.Logger, error) {
	verbosity, err := cmd.Flags().GetString("verbosity")
	if err != nil {
		return nil, err
	}
	level, err := logLevel(verbosity)
	if err != nil {
		return nil, err
	}
	return slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}

// logLevel understands the levels of Amazon's agent; the finest and the gravest are not told apart.
func logLevel(verbosity string) (slog.Level, error) {
	switch strings.ToLower(verbosity) {
	case "trace", "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "fatal", "panic":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("verbosity %q: want trace, debug, info, warn, error, fatal or panic", verbosity)
}

func serve(ctx context.Context, o options) error {
	own, transport, err := ownConfig(ctx)
	if err != nil {
		return err
	}
	if own.Region == "" {
		return errors.New("no region: set AWS_REGION")
	}
	o.client.Region, o.client.Credentials = own.Region, own.Credentials
	o.client.Endpoint = cmp.Or(o.client.Endpoint, ownEndpoint(own))
	if o.rotate {
		o.client.Credentials = aws.NewCredentialsCache(aws.CredentialsProviderFunc(rereadCredentials))
	}
	o.client.Transport = transport
	client, err := agent.NewClient(o.client)
	if err != nil {
		return err
	}
	if o.follow {
		if o.agent.Feed, err = newFeed(o); err != nil {
			return err
		}
	}
	o.agent.AssumeRole, o.agent.ClusterName = client.AssumeRoleForPodIdentity, o.client.ClusterName
	o.agent.ProbeAddr = net.JoinHostPort("localhost", strconv.Itoa(o.probePort))
	o.agent.MetricsAddr = net.JoinHostPort(o.metricsAddress, strconv.Itoa(o.metricsPort))
	a, err := agent.New(o.agent)
	if err != nil {
		return err
	}
	go stayLean(ctx)
	go warmUp(ctx, o)
	return a.Run(ctx)
}

// stayLean has the program use little memory at the cost of a little time, for it runs on every node and mostly waits: measured
// with 2,000 pods in the cache it is a fifth less. Garbage is collected when there is a quarter as much as there is live data,
// and what a burst of requests leaves behind goes back to the system soon.
func stayLean(ctx context.Context) {
	debug.SetGCPercent(25)
	ticker := time.NewTicker(restInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			debug.FreeOSMemory()
		}
	}
}
