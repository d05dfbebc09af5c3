package podrun

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Signals are those that a program that runs a Process should catch and give to [Process.Signal].
func Signals() []os.Signal {
	return []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}
}

// keyboard are the signals that a terminal sends to all processes in its foreground.
var keyboard = []os.Signal{syscall.SIGINT, syscall.SIGQUIT}

// Signal passes a signal on. A process that reads from the terminal shares the process group of this one, and so has had the
// keyboard's signals (Ctrl-C) already: they are not passed on, since many programs take a second one for impatience. One that
// does not leads a group of its own, all of which gets the signal. Passing a signal to a process that has ended does nothing.
func (p *Process) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("passing on signal %v: not one of this system", sig)
	}
	if !p.group && slices.Contains(keyboard, sig) {
		return nil
	}
	if err := p.send(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("passing on signal %v: %w", sig, err)
	}
	return nil
}

func (p *Process) send(sig syscall.Signal) error {
	if !p.group {
		return p.cmd.Process.Signal(sig)
	}
	// Asked first, because the number of a process that was waited for may be another's by now.
	if err := p.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		return err
	}
	if err := syscall.Kill(-p.cmd.Process.Pid, sig); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return os.ErrProcessDone
}

// onTerminal tells whether r is the terminal that controls this process.
func onTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil
}
