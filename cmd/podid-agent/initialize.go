package main

import (
	"github.com/spf13/cobra"

	"github.com/podid/podid/internal/link"
)

func initializeCommand() *cobra.Command {
	var remove bool
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
			return link.Initialize(log)
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "take away what an earlier initialize has made")
	return cmd
}
