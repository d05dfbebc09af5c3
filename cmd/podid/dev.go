package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/podid/podid/internal/dev"
	"github.com/podid/podid/internal/store"
)

func devCommand() *cobra.Command {
	var cfg dev.Config
	var logLevel string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine: APIs, a cluster called local, node agent, S3",
		Long: `Runs the whole of podid on this machine, until it is interrupted: the EKS, EKS Auth, IAM and STS APIs and an S3 on one port, a
Kubernetes cluster without nodes called local, and the node agent. It writes DATA-DIR/admin.env; in another shell

    . .podid/admin.env

makes any AWS client the administrator, and podid run runs commands as pods of the cluster. The state is kept in DATA-DIR.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if cfg.Logger, err = newLogger(logLevel); err != nil {
				return err
			}
			d, err := dev.Start(cmd.Context(), cfg)
			if errors.Is(err, context.Canceled) {
				return nil // interrupted before it was ready
			}
			if err != nil {
				return explainStart(err, cfg.DataDir)
			}
			greet(cmd.OutOrStdout(), d, cfg.MemberAccountIDs)
			<-d.Done()
			return d.Close()
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.Listen, "listen", "127.0.0.1:7070", "`address` of all APIs and the S3")
	flags.StringVar(&cfg.AgentListen, "agent-listen", "127.0.0.1:7078", "`address` of the node agent's endpoint; its host must be an IP address")
	flags.StringVar(&cfg.MetricsListen, "metrics-listen", "", "`address` of /metrics, for Prometheus; empty: not served; a loopback address")
	flags.StringVar(&cfg.DataDir, "data-dir", ".podid", "`directory` of the state; made if it is not there")
	flags.StringVar(&cfg.Region, "region", "us-west-2", "AWS `region` of the cluster local and of its pods")
	flags.StringVar(&cfg.AccountID, "account-id", "111122223333", "AWS account `id` of the cluster local and of the administrator")
	flags.StringSliceVar(&cfg.MemberAccountIDs, "member-account-id", nil, "further AWS account `id`, entered by its OrganizationAccountAccessRole; may be repeated")
	flags.StringVar(&logLevel, "log-level", "warn", "least `level` that is logged: debug, info (a line for each request), warn or error")
	return cmd
}

// explainStart says in one line what the reader can do about the usual reasons.
func explainStart(err error, dataDir string) error {
	switch {
	case errors.Is(err, store.ErrLocked):
		return fmt.Errorf("the data directory %s is in use by another podid; stop that one, or give this one its own with --data-dir", dataDir)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; stop what listens there, or choose another address with --listen and --agent-listen", err)
	}
	return err
}

func greet(w io.Writer, d *dev.Dev, members []string) {
	fmt.Fprintf(w, `podid dev is ready.

  APIs and S3     %s   (eks, eks-auth, iam, sts, s3)
  Node agent      %s   (for pods of the cluster %s)
  Administrator   %s

In another shell:

  %s
  aws eks list-clusters
  podid run -n default --service-account default -- env
`, d.URL(), d.AgentURL(), dev.ClusterName, d.AdminEnv(), d.AdminEnvCommand())
	for _, id := range members {
		fmt.Fprintf(w, "  aws sts assume-role --role-session-name admin --role-arn arn:aws:iam::%s:role/OrganizationAccountAccessRole\n", id)
	}
	fmt.Fprintf(w, "\nCtrl-C ends it; the state stays in %s.\n", filepath.Dir(d.AdminEnv()))
}
