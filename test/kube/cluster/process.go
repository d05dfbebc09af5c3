package cluster

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// process is a program that runs until it is killed, and writes its log to a file.
type process struct {
	name, log string
	cmd       *exec.Cmd
	ended     chan struct{}
}

// start runs a program. The operating system kills it should this process end without having done so.
func (c *Cluster) start(path string, args ...string) (*process, error) {
	name := filepath.Base(path)
	p := &process{name: name, log: filepath.Join(c.dir, name+".log"), cmd: exec.Command(path, args...), ended: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the program has its own
	p.cmd.Dir, p.cmd.Env = c.dir, []string{"HOME=" + c.dir, "PATH=" + os.Getenv("PATH")}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := c.starter.run(p.cmd); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // what it says is in ProcessState
		close(p.ended)
	}()
	c.processes = append(c.processes, p)
	return p, nil
}

// kill ends the process and waits until it has.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails if it has ended already
	<-p.ended
}

// failure returns why the process has ended, with the end of its log; nil while it runs.
func (p *process) failure() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s has ended with %v; its last words:\n%s", p.name, p.cmd.ProcessState, tail(p.log))
	default:
		return nil
	}
}

// tailSize is how much of a log is worth showing.
const tailSize = 4 << 10

// tail returns the last lines of a file.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	cut := false
	if info, err := f.Stat(); err == nil && info.Size() > tailSize {
		_, err = f.Seek(-tailSize, io.SeekEnd)
		cut = err == nil
	}
	text, err := io.ReadAll(io.LimitReader(f, tailSize))
	if err != nil {
		return err.Error()
	}
	if _, whole, ok := strings.Cut(string(text), "\n"); ok && cut {
		return whole
	}
	return string(text)
}
