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
	cfg := cluster.Config{Root: "../..", Node: os.Getenv(nodeVariable) != "", Say: os.Stderr}
	if cfg.Node && !cluster.Isolated() {
		return isolate(cfg)
	}
	err := build()
	if err == nil {
		kube, err = cluster.Start(context.Background(), cfg)
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

// nodeVariable is an environment variable that asks for a node, which takes root.
const nodeVariable = "PODID_KUBE_NODE"

// isolate builds all there is to build, and runs the tests in a process that can be a node.
func isolate(cfg cluster.Config) (code int) {
	_, err := cluster.Build(context.Background(), cfg)
	if err == nil {
		code, err = cluster.Isolate()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func build() (err error) {
	if programs, err = os.MkdirTemp("", "podid-kube-programs-"); err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", programs, "./cmd/podid", "./cmd/podid-agent", "./examples/list-files")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building podid: %w\n%s", err, out)
	}
	return nil
}
