package cluster

import (
	"os/exec"
	"runtime"
	"syscall"
)

// starter starts programs that do not outlive this process, even where it is killed or panics. Linux sends the signal when the
// thread ends that started the program, so all are started from one that stays.
type starter struct{ work chan func() }

func newStarter() *starter {
	s := &starter{make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range s.work {
			f()
		}
	}()
	return s
}

// close lets the thread end, and with it all programs that still run.
func (s *starter) close() { close(s.work) }

func (s *starter) run(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	s.work <- func() { started <- cmd.Start() }
	return <-started
}
