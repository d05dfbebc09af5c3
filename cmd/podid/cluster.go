package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"text/tabwriter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podid/podid/internal/registration"
)

func clusterCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cluster", Short: "Make Kubernetes clusters known, and show those that are"}
	cmd.AddCommand(clusterRegisterCommand(), clusterListCommand(), clusterDescribeCommand(), clusterRemoveCommand())
	for _, sub := range cmd.Commands() {
		run := sub.RunE
		sub.RunE = func(cmd *cobra.Command, args []string) error { return explainCall(run(cmd, args)) }
	}
	return cmd
}

// explainCall tells of a call of the API that has failed what a person needs: what the API said, or that nothing is there.
func explainCall(err error) error {
	var refusal smithy.APIError
	switch {
	case errors.As(err, &refusal):
		return fmt.Errorf("%s (%s)", refusal.ErrorMessage(), refusal.ErrorCode())
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens there; is the server running, and is its environment set here (. DATA-DIR/admin.env)? (%w)", err)
	}
	return err
}

// registerOptions are the flags of podid cluster register.
type registerOptions struct {
	kubeconfig, context, issuer string
}

func clusterRegisterCommand() *cobra.Command {
	var o registerOptions
	cmd := &cobra.Command{
		Use:   "register NAME [--kubeconfig FILE] [--context NAME] | register NAME --issuer URL",
		Short: "Make a Kubernetes cluster known, so that its pods can have associations",
		Long: `Makes a Kubernetes cluster known under a name: reads from its API server who issues its service-account tokens and with which keys,
and tells podid. Nothing is changed in the cluster, and its issuer is taken as it is. May be called again, also after the signing key of
the cluster has changed. A cluster whose issuer is public may be registered by its URL alone; its keys are then fetched from there.

    podid cluster register prod --kubeconfig ~/.kube/config --context prod
    podid cluster register prod --issuer https://oidc.example.com/prod

It needs eks:RegisterCluster and podid:PutClusterIssuer.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return registerCluster(cmd.Context(), cmd.OutOrStdout(), args[0], o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` with the access to the cluster; else that of kubectl")
	flags.StringVar(&o.context, "context", "", "`name` of the context in it; else the current one")
	flags.StringVar(&o.issuer, "issuer", "", "`URL` of a public issuer; the cluster itself is not asked")
	return cmd
}

func registerCluster(ctx context.Context, out io.Writer, name string, o registerOptions) error {
	cfg, err := loadAWS(ctx)
	if err != nil {
		return err
	}
	issuer, err := o.find(ctx)
	if err != nil {
		return err
	}
	if err := registration.NewClient(cfg).Register(ctx, name, issuer); err != nil {
		return err
	}
	fmt.Fprintf(out, `Cluster %s is registered. Its tokens are issued by %s.

Next, map a service account to a role:

  aws eks create-pod-identity-association --cluster-name %s --namespace NAMESPACE --service-account NAME --role-arn ARN
`, name, issuer.URL, name)
	return nil
}

// find reads the issuer from where the flags say.
func (o registerOptions) find(ctx context.Context) (*registration.Issuer, error) {
	if o.issuer != "" {
		if o.kubeconfig != "" || o.context != "" {
			return nil, errors.New("give --issuer alone, or --kubeconfig and --context")
		}
		return &registration.Issuer{URL: o.issuer}, nil
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.context}).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("there is no kubeconfig: give one with --kubeconfig, or the URL of a public issuer with --issuer")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if config.CAFile != "" && len(config.CAData) == 0 {
		if config.CAData, err = os.ReadFile(config.CAFile); err != nil {
			return nil, fmt.Errorf("reading the kubeconfig: %w", err)
		}
	}
	return registration.Discover(ctx, config)
}

func clusterListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the clusters that are known",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := eksClient(cmd.Context())
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
			fmt.Fprintln(table, "NAME\tSTATUS\tVERSION\tISSUER")
			pages := eks.NewListClustersPaginator(client, &eks.ListClustersInput{Include: []string{"all"}})
			for pages.HasMorePages() {
				page, err := pages.NextPage(cmd.Context())
				if err != nil {
					return err
				}
				for _, name := range page.Clusters {
					got, err := client.DescribeCluster(cmd.Context(), &eks.DescribeClusterInput{Name: &name})
					if err != nil {
						return err
					}
					c := got.Cluster
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, c.Status, aws.ToString(c.Version), issuerOf(c))
				}
			}
			return table.Flush()
		},
	}
}

func clusterDescribeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "describe NAME",
		Short: "Show what is known of a cluster",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := eksClient(cmd.Context())
			if err != nil {
				return err
			}
			got, err := client.DescribeCluster(cmd.Context(), &eks.DescribeClusterInput{Name: &args[0]})
			if err != nil {
				return err
			}
			c := got.Cluster
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
			for _, line := range [][2]string{
				{"Name", aws.ToString(c.Name)},
				{"ARN", aws.ToString(c.Arn)},
				{"Status", string(c.Status)},
				{"Issuer", issuerOf(c)},
				{"Endpoint", aws.ToString(c.Endpoint)},
				{"Version", aws.ToString(c.Version)},
				{"Registered", aws.ToTime(c.CreatedAt).Format("2006-01-02 15:04:05 MST")},
			} {
				if line[1] != "" {
					fmt.Fprintf(table, "%s\t%s\n", line[0], line[1])
				}
			}
			return table.Flush()
		},
	}
}

// issuerOf is empty where the issuer is not known yet.
func issuerOf(c *types.Cluster) string {
	if c.Identity == nil || c.Identity.Oidc == nil {
		return ""
	}
	return aws.ToString(c.Identity.Oidc.Issuer)
}

func clusterRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Forget a registered cluster, with its associations",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := eksClient(cmd.Context())
			if err != nil {
				return err
			}
			if _, err := client.DeregisterCluster(cmd.Context(), &eks.DeregisterClusterInput{Name: &args[0]}); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Cluster %s and its associations are gone. Its pods get no new credentials; those that they have end with their time.\n", args[0])
			return nil
		},
	}
}

func eksClient(ctx context.Context) (*eks.Client, error) {
	cfg, err := loadAWS(ctx)
	if err != nil {
		return nil, err
	}
	return eks.NewFromConfig(cfg), nil
}
