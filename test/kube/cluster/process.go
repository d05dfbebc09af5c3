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

const (
	readSize = 256 << 10 // how much of a log is read
	tailSize = 4 << 10   // how much of that is worth showing
)

// tail returns the last lines of a log, without what only informs.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error() + "\n"
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > readSize {
		if _, err := f.Seek(-readSize, io.SeekEnd); err != nil {
			return err.Error() + "\n"
		}
	}
	log, err := io.ReadAll(io.LimitReader(f, readSize))
	if err != nil {
		return err.Error() + "\n"
	}
	var out strings.Builder
	for line := range strings.Lines(string(log)) {
		if !strings.HasPrefix(line, "I") { // as the programs of Kubernetes mark it: I1122 20:07:48.826
			out.WriteString(line)
		}
	}
	if out.Len() <= tailSize {
		return out.String()
	}
	_, whole, _ := strings.Cut(out.String()[out.Len()-tailSize:], "\n")
	return whole
}
