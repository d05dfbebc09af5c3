// Package kube tests podid with a real Kubernetes: pods that a real API server admits, with tokens that it has signed. The programs of
// podid are run as their users run them.
package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/podid/podid/test/kube/cluster"
)

var (
	kube     *cluster.Cluster // one for all tests; each has a namespace of its own in it
	programs string           // directory of podid and podid-agent
)

// patience is how long anything may take that is waited for, however slow the machine is.
const patience = time.Minute

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	err := build()
	if err == nil {
		kube, err = cluster.Start(context.Background(), cluster.Config{Root: "../..", Say: os.Stderr})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, errors.Join(err, os.RemoveAll(programs)))
		return 1
	}
	code = m.Run()
	if code != 0 {
		kube.WriteLogs(os.Stderr)
	}
	if err := errors.Join(kube.Stop(), os.RemoveAll(programs)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func build() (err error) {
	if programs, err = os.MkdirTemp("", "podid-kube-programs-"); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", programs, "./cmd/podid", "./cmd/podid-agent")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building podid: %w\n%s", err, out)
	}
	return nil
}
