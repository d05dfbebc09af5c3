package kube

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is a program that runs.
type program struct {
	cmd            *exec.Cmd
	stdout, stderr output
	ended          chan struct{}
	killed         bool
}

// start starts a program. At the end of the test it is told to end, and must. What it says on standard error is shown if the test
// fails.
func start(t testing.TB, env []string, name string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(filepath.Join(programs, name), args...), ended: make(chan struct{})}
	p.cmd.Env = append([]string{"HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "AWS_EC2_METADATA_DISABLED=true"}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // what it says is in ProcessState
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("%s says:\n%s", p.cmd, p.stderr.String())
		}
	})
	return p
}

// stop tells the program to end, unless it was killed, and waits until it has.
func (p *program) stop(t testing.TB) {
	if p.killed {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended already
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Error("it does not end")
		p.kill()
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("%s: exit code %d", p.cmd, code)
	}
}

// kill ends the program, as a node does that loses power.
func (p *program) kill() {
	p.killed = true
	_ = p.cmd.Process.Kill()
	<-p.ended
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
