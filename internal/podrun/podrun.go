// Package podrun runs a local command as a pod: with the environment and the token that a pod of its service account would
// have, and nothing else that could give it another identity.
//
// It finds the pod in a manifest ([Load]), has a Kubernetes API admit it without creating it, so that the cluster's webhooks
// change it as they would any pod, and starts the command in what comes out ([Start]). It isolates nothing: file system, network
// and user are those of the caller. Neither does it read flags, environment or signals by itself. It is for Unix systems.
package podrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/podid/podid/internal/identity"
)

// killAfter is the time that a process has to end by itself once the context has ended.
const killAfter = 10 * time.Second

// Config says what to run, and as which pod.
type Config struct {
	// Kube admits the pod and gives its tokens.
	Kube *Kube
	// Pod to run as, of [Load] or [Bare].
	Pod Pod
	// Container whose environment the process gets. Empty: the one kubectl would take by default.
	Container string
	// Command is the program and its arguments. Empty: those of the container's manifest.
	Command []string
	// Environ is the caller's environment (os.Environ), of which PATH, HOME and TERM are passed on.
	Environ []string
	// ExtraEnv are more variables, NAME=value. They go before the pod's, and stand in for values out of secrets and config
	// maps, which are not read.
	ExtraEnv []string
	// SkipEnvFrom leaves out whole secrets and config maps (envFrom), which are an error otherwise.
	SkipEnvFrom bool
	// TempDir holds the private directory that tokens are written into. Empty: os.TempDir().
	TempDir string
	// Stdin, Stdout and Stderr of the process, as for os/exec.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Now is the clock that tokens are renewed by.
	Now func() time.Time
	// Logger gets a line for each token that could not be renewed.
	Logger *slog.Logger

	sleep time.Duration // in place of maxSleep, in tests
}

func (c *Config) validate() error {
	switch {
	case c.Kube == nil:
		return errors.New("podrun: no Kubernetes API")
	case len(c.Pod.JSON) == 0:
		return errors.New("podrun: no pod")
	case c.Now == nil:
		return errors.New("podrun: no clock")
	case c.Logger == nil:
		return errors.New("podrun: no logger")
	}
	return nil
}

// Process is a command that runs as a pod.
type Process struct {
	cmd      *exec.Cmd
	group    bool // it leads a process group of its own
	account  identity.ServiceAccount
	admitted []byte
	warnings []string
	dir      string
	root     *os.Root
	stop     context.CancelFunc
	stopped  chan struct{} // closed when no token is renewed any more
}

// Start admits the pod, writes its tokens into a new private directory, and starts the command. From then on until [Process.Wait]
// returns, a goroutine keeps the tokens fresh. The end of ctx terminates the process.
//
// The error says which of these failed; it is a [*StatusError] where the cluster said no, and exec.ErrNotFound where there is no
// such command.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	extra, err := parseEnv(cfg.ExtraEnv)
	if err != nil {
		return nil, err
	}
	unapplied, err := cfg.applyServiceAccount(ctx)
	if err != nil {
		return nil, err
	}
	admitted, warnings, err := cfg.Kube.DryRunCreate(ctx, cfg.Pod.Namespace, cfg.Pod.JSON)
	if err != nil {
		return nil, err
	}
	warnings = append(unapplied, warnings...)
	pod, err := readPod(admitted)
	if err != nil {
		return nil, err
	}
	container, err := pod.container(cfg.Container)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cfg.TempDir, "podid-run-") // with mode 0700
	if err != nil {
		return nil, fmt.Errorf("making private directory: %w", err)
	}
	p := &Process{admitted: admitted, warnings: warnings, dir: dir, stopped: make(chan struct{})}
	if err := p.start(ctx, &cfg, pod, container, extra); err != nil {
		return nil, errors.Join(err, p.clean())
	}
	return p, nil
}

// applyServiceAccount brings the manifest's service account into the cluster, where that is podid's own: elsewhere it is not for
// somebody who runs a command to change what pods get, and a warning says so.
func (c *Config) applyServiceAccount(ctx context.Context) (warnings []string, err error) {
	if c.Pod.ServiceAccount == nil {
		return nil, nil
	}
	var object struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(c.Pod.ServiceAccount, &object); err != nil {
		return nil, fmt.Errorf("reading service account: %w", err)
	}
	account := identity.ServiceAccount{Namespace: c.Pod.Namespace, Name: object.Metadata.Name}
	applied, err := c.Kube.ApplyServiceAccount(ctx, account, c.Pod.ServiceAccount)
	if err != nil || applied {
		return nil, err
	}
	return []string{fmt.Sprintf("ServiceAccount %s of the manifest is not applied: what the cluster has counts", account.Name)}, nil
}

func (p *Process) start(ctx context.Context, cfg *Config, pod *pod, c *container, extra *environment) error {
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return fmt.Errorf("opening private directory: %w", err)
	}
	p.root = root
	const empty = "empty"
	if err := root.WriteFile(empty, nil, 0o600); err != nil {
		return fmt.Errorf("writing private directory: %w", err)
	}
	p.account = identity.ServiceAccount{Namespace: pod.Metadata.Namespace, Name: pod.Spec.ServiceAccountName}
	t := &tokens{root: root, sleep: maxSleep, now: cfg.Now, log: cfg.Logger}
	t.fetch = func(ctx context.Context, in TokenRequest) (Token, error) { return cfg.Kube.Token(ctx, p.account, in) }
	if cfg.sleep > 0 {
		t.sleep = cfg.sleep
	}
	mapped, err := t.project(pod, c)
	if err != nil {
		return err
	}
	env, references, err := envSource{
		pod: pod, container: c, caller: cfg.Environ, extra: extra, paths: mapped,
		empty: filepath.Join(p.dir, empty), skipFrom: cfg.SkipEnvFrom,
	}.build()
	if err != nil {
		return err
	}
	command, err := c.command(cfg.Command, references, mapped)
	if err != nil {
		return err
	}
	if err := t.start(ctx); err != nil {
		return err
	}
	p.prepare(ctx, cfg, command, env)
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", command[0], err)
	}
	var renewing context.Context
	renewing, p.stop = context.WithCancel(context.WithoutCancel(ctx)) // tokens stay fresh while the process is ending
	go func() {
		defer close(p.stopped)
		t.run(renewing)
	}()
	return nil
}

// command is what to execute: what was given, or what the manifest says. Only the latter is written for the container and has
// its references and paths replaced.
func (c *container) command(given []string, references map[string]string, mapped paths) ([]string, error) {
	switch {
	case len(given) > 0:
		return given, nil
	case len(c.Command) == 0 && len(c.Args) > 0:
		return nil, fmt.Errorf("container %s has arguments, but its program is in its image: give a command", c.Name)
	case len(c.Command) == 0:
		return nil, fmt.Errorf("container %s has no command in the manifest: give one", c.Name)
	}
	var command []string
	for _, list := range [][]string{c.Command, c.Args} {
		for _, arg := range list {
			command = append(command, mapped.rewrite(expand(arg, references)))
		}
	}
	return command, nil
}

func (p *Process) prepare(ctx context.Context, cfg *Config, command []string, env *environment) {
	p.cmd = exec.CommandContext(ctx, command[0], command[1:]...)
	p.cmd.Env = env.list()
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = cfg.Stdin, cfg.Stdout, cfg.Stderr
	// A process in a group of its own may not read from the terminal, and job control would not reach it.
	p.group = !onTerminal(cfg.Stdin)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: p.group}
	p.cmd.Cancel = func() error { return p.send(syscall.SIGTERM) }
	p.cmd.WaitDelay = killAfter
}

// Wait waits for the process to end, and removes its tokens. It must be called once after every Start. The code is the
// process's exit code, or 128 and the number of the signal that ended it, as shells count. The error is not about the code: it
// says that waiting or removing failed.
func (p *Process) Wait() (code int, err error) {
	waitErr := p.cmd.Wait()
	p.stop()
	<-p.stopped
	err = p.clean()
	// An exit code is no fault, neither is the end of the context, nor a grandchild that has inherited the output and still
	// holds it.
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) && !errors.Is(waitErr, exec.ErrWaitDelay) &&
		!errors.Is(waitErr, context.Canceled) && !errors.Is(waitErr, context.DeadlineExceeded) {
		err = errors.Join(fmt.Errorf("waiting for the process: %w", waitErr), err)
	}
	state := p.cmd.ProcessState
	if state == nil {
		return -1, err
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), err
	}
	return state.ExitCode(), err
}

// Admitted is the pod as the cluster admitted it, JSON: the manifest's, with the cluster's defaults and its webhooks' changes.
func (p *Process) Admitted() []byte { return p.admitted }

// ServiceAccount is the one that the pod was admitted with.
func (p *Process) ServiceAccount() identity.ServiceAccount { return p.account }

// HasCredentials tells whether the process was given any AWS credentials, or a way to some: by the cluster's webhook, by the
// manifest or as an extra variable. What the process finds by itself is not known.
func (p *Process) HasCredentials() bool {
	return slices.ContainsFunc(p.cmd.Env, func(pair string) bool {
		name, value, _ := strings.Cut(pair, "=")
		return value != "" && slices.Contains(credentialSources, name)
	})
}

// credentialSources are the variables that the SDKs take credentials from, or the way to them.
// See https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html.
var credentialSources = []string{
	"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ACCESS_KEY_ID",
}

// Warnings are what the cluster had to say about the pod.
func (p *Process) Warnings() []string { return p.warnings }

// Env is the environment of the process, NAME=value. It may hold secrets of the pod.
func (p *Process) Env() []string { return p.cmd.Env }

// clean removes the private directory and all tokens.
func (p *Process) clean() error {
	var closing error
	if p.root != nil {
		closing = p.root.Close()
	}
	if err := errors.Join(closing, os.RemoveAll(p.dir)); err != nil {
		return fmt.Errorf("removing tokens: %w", err)
	}
	return nil
}
