package main

import (
	"github.com/spf13/cobra"

	"github.com/podid/podid/internal/agent"
	"github.com/podid/podid/internal/link"
)

func initializeCommand() *cobra.Command {
	var remove bool
	var handoverDir string
	var handoverUser int
	cmd := &cobra.Command{
		Use:   "initialize",
		Short: "Gives the node the addresses that pods call",
		Long: "Makes the link " + link.Name + " with the addresses " + link.IPv4.String() + " and " + link.IPv6.String() + ",\n" +
			"and logs what it does. It can be run any number of times.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logger(cmd)
			if err != nil {
				return err
			}
			if remove {
				return link.Remove(log)
			}
			if handoverDir != "" {
				if err := agent.MakeHandoverDir(handoverDir, handoverUser); err != nil {
					return err
				}
				log.Info("hand-over directory is ready", "directory", handoverDir, "user", handoverUser)
			}
			return link.Initialize(log)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&remove, "remove", false, "take away what an earlier initialize has made")
	f.StringVar(&handoverDir, "handover-dir", "", "`directory` to make for the server command's flag of the same name")
	f.IntVar(&handoverUser, "handover-user", 0, "numeric `user` that the server runs as, who gets the hand-over directory")
	return cmd
}
