// Podid is EKS Pod Identity for every Kubernetes cluster.
//
//	podid dev    runs everything on this machine: APIs, a cluster called local, node agent, S3
//	podid server runs the control plane for real clusters
//	podid run    runs a local command as a pod, with the pod's identity and nothing else's
//	podid demo   tells how a pod comes by its credentials, on real parts, in a few seconds
//	podid cluster registers Kubernetes clusters and lists them
//	podid webhook  gives the pods of a Kubernetes cluster what SDKs need to find their credentials
//	podid can-i  tells whether a pod may do something, and which link is broken if not
//	podid who-can lists the service accounts whose pods may do something
//
// Who calls the APIs is an IAM principal. Commands that call them take endpoint, credentials and region from where every AWS program
// has them: podid dev writes a file that sets them (. .podid/admin.env).
// Every flag can be given in the environment instead: --data-dir as PODID_DATA_DIR.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/podid/podid/internal/webhook/program"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // so that a second Ctrl-C does not wait for an orderly end
	cmd, err := command().ExecuteContextC(ctx)
	var exit exitCode
	if errors.As(err, &exit) {
		stop()
		os.Exit(int(exit))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "podid:", err)
		stop()
		code, _ := strconv.Atoi(cmp.Or(cmd.Annotations[errorExitCode], "1")) // always a number
		os.Exit(code)
	}
}

// errorExitCode is the annotation of commands whose errors end podid with another status than 1.
const errorExitCode = "error-exit-code"

// exitCode is the status of a process that podid ran in its own place; there is nothing to say about it.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func command() *cobra.Command {
	root := &cobra.Command{
		Use:               "podid",
		Short:             "EKS Pod Identity for every Kubernetes cluster",
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd.Flags()) },
	}
	webhook := program.Command()
	webhook.Version = version // a flag, as Amazon's webhook has it
	root.AddCommand(devCommand(), serverCommand(), runCommand(), demoCommand(), clusterCommand(), webhook, canICommand(), whoCanCommand(), &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "podid", version)
			return err
		},
	})
	return root
}

// fromEnvironment gives flags that are not on the command line the value of their PODID_ variable.
func fromEnvironment(flags *pflag.FlagSet) error {
	var problems []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "PODID_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, ok := os.LookupEnv(name); ok && !f.Changed && f.Name != "version" && !f.Hidden {
			if err := f.Value.Set(value); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", name, err))
			}
		}
	})
	return errors.Join(problems...)
}

// newLogger writes to standard error, in lines for people.
func newLogger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}
