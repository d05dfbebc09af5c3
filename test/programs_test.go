// Package test tests the programs as their users run them: it builds them, starts them, and knows only what they print, the files
// that they write, and the APIs that they serve.
package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// programs is the directory of podid, podid-agent and list-files.
var programs string

// patience is how long anything may take that is waited for, however slow the machine is.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		os.Exit(child(os.Args[2]))
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "podid-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	build := exec.Command("go", "build", "-o", dir, "../cmd/podid", "../cmd/podid-webhook", "../cmd/podid-agent", "../examples/list-files")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the programs: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// environment is that of a user who has nothing to do with AWS, with a home and a directory for temporary files that are the
// test's own.
func environment(t testing.TB, more ...string) []string {
	t.Helper()
	return append([]string{
		"PATH=" + programs + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "AWS_EC2_METADATA_DISABLED=true",
	}, more...)
}

// value returns that of a variable in an environment; the last one counts.
func value(env []string, name string) string {
	found := ""
	for _, pair := range env {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			found = v
		}
	}
	return found
}

// result is what a program that has ended leaves.
type result struct {
	code           int
	stdout, stderr string
}

// line is how most failures are told: one line on standard error, exit code 1 and nothing else.
func (r result) line(t testing.TB, wants ...string) {
	t.Helper()
	if r.code != 1 || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "podid: ") {
		t.Errorf("exit code %d, stdout %q, stderr %q; want 1 and one line on stderr", r.code, r.stdout, r.stderr)
	}
	for _, want := range wants {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("stderr %q does not say %q", r.stderr, want)
		}
	}
}

// run runs a program to its end.
func run(t testing.TB, env []string, stdin, program string, args ...string) result {
	t.Helper()
	p := start(t, env, strings.NewReader(stdin), program, args...)
	code := p.wait(t)
	return result{code, p.stdout.String(), p.stderr.String()}
}

// process is a program that runs.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr output
	ended          chan struct{}
}

// start starts a program, which is killed at the end of the test if it has not ended by then.
func start(t testing.TB, env []string, stdin io.Reader, program string, args ...string) *process {
	t.Helper()
	p := prepare(env, stdin, program, args...)
	p.begin(t)
	return p
}

// prepare is a program that can still be changed before it begins.
func prepare(env []string, stdin io.Reader, program string, args ...string) *process {
	if !strings.Contains(program, "/") && strings.HasPrefix(program, "podid") {
		program = filepath.Join(programs, program)
	}
	p := &process{cmd: exec.Command(program, args...), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = env, stdin, &p.stdout, &p.stderr
	p.cmd.WaitDelay = time.Second // for children that hold the output
	return p
}

func (p *process) begin(t testing.TB) {
	t.Helper()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // what it says is in ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
}

// wait waits for the end and returns the exit code, -1 after a signal.
func (p *process) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("%s has not ended; stdout %q, stderr %q", p.cmd, p.stdout.String(), p.stderr.String())
		return -1
	}
}

func (p *process) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// stop ends the process by a signal and returns its exit code.
func (p *process) stop(t testing.TB, sig syscall.Signal) int {
	t.Helper()
	p.signal(t, sig)
	return p.wait(t)
}

// says waits until the standard output holds a text, and returns all of it.
func (p *process) says(t testing.TB, text string) string {
	t.Helper()
	var out string
	eventually(t, text, func() error {
		if out = p.stdout.String(); strings.Contains(out, text) {
			return nil
		}
		select {
		case <-p.ended:
			t.Fatalf("%s ended with %v before it said %q; stdout %q, stderr %q", p.cmd, p.cmd.ProcessState, text, out, p.stderr.String())
		default:
		}
		return fmt.Errorf("stdout is %q", out)
	})
	return out
}

// eventually tries until there is no error.
func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %q: %v", what, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// output is written to by a process and read by the test.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// freePort is a port of the loopback interface that nobody listens on at the moment.
func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// checkEmpty fails the test if anything was left in the directory for temporary files.
func checkEmpty(t testing.TB, env []string) {
	t.Helper()
	left, err := os.ReadDir(value(env, "TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func writeFile(t testing.TB, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), mode)); err != nil {
		t.Fatal(err)
	}
	return path
}
