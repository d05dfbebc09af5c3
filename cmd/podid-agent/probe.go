package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const maxReport = 16 << 10 // of what an agent says about itself

func probeCommand() *cobra.Command {
	var port int
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Asks the agent on this node whether it is ready; exits 0 or 1",
		Long: "Asks the agent on this node whether it is ready, says what it answers, and exits 0 or 1. It is for an exec probe in an image\n" +
			"without a shell, and for people.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			report, err := probe(ctx, "http://"+net.JoinHostPort("localhost", strconv.Itoa(port))+"/readyz?verbose")
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), report)
			return err
		},
	}
	f := cmd.Flags()
	f.IntVar(&port, "probe-port", 2703, "`port` on localhost on which the agent serves /readyz")
	f.DurationVar(&timeout, "timeout", 10*time.Second, "how long to wait for its answer")
	return cmd
}

// probe returns what the agent says about itself, as an error if it is not ready.
func probe(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("making the request: %w", err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req) // by no proxy
	if err != nil {
		return "", fmt.Errorf("the agent does not answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReport))
	if err != nil {
		return "", fmt.Errorf("reading the agent's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", errors.New("the agent is not ready: " + resp.Status + "\n" + strings.TrimSpace(string(body)))
	}
	return string(body), nil
}
