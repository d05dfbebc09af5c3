package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/podid/podid/internal/demo"
)

func demoCommand() *cobra.Command {
	cfg := demo.Config{Environ: os.Environ(), Now: time.Now}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Tell how a pod comes by its credentials, on real parts",
		Long: `Starts all of podid in a temporary directory and on free ports, and tells the five steps of EKS Pod Identity one by one: the role, the
association, the pod's mutation, the exchange of its token, and access; and what is refused. Nothing stays behind. The exit code is 0 only
if every step went as it should.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.App == "" {
				self, err := os.Executable()
				if err != nil {
					return err
				}
				cfg.App = filepath.Join(filepath.Dir(self), "list-files")
			}
			if _, err := os.Stat(cfg.App); errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("the example application is not at %s; make build puts it there, or name it with --app", cfg.App)
			}
			cfg.Out = cmd.OutOrStdout()
			cfg.Color = cfg.Out == os.Stdout && isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == ""
			return demo.Run(cmd.Context(), cfg)
		},
	}
	cmd.Flags().BoolVar(&cfg.JSON, "json", false, "print one JSON object for each step")
	cmd.Flags().StringVar(&cfg.App, "app", "", "`program` of examples/list-files; else list-files beside podid")
	return cmd
}

// isTerminal tells whether people see what is written there.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
