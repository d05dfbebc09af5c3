// Podid-webhook is podid webhook as a program of its own: a third of the size, and a bit more than half of the memory.
//
//	podid-webhook --cluster-name demo --endpoint https://podid.example.com
//
// Every flag can be given in the environment instead: --cluster-name as PODID_CLUSTER_NAME.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
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
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "podid-webhook:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	cmd := program.Command()
	cmd.Use, cmd.Version = "podid-webhook", version
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd.Flags()) }
	return cmd
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
