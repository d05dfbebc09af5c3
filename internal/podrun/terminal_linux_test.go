package podrun

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podid/podid/internal/identity"
)

// TestTerminal runs a program that runs pods on a terminal of its own, and types Ctrl-C there.
func TestTerminal(t *testing.T) {
	terminal, tty := openTerminal(t)
	outer := exec.Command(os.Args[0], "child", "terminal", newKube(t, time.Now).endpoint.String())
	outer.Stdin, outer.Stderr = tty, os.Stderr
	outer.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	stdout, err := outer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := outer.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		text := lines.Text()
		if text == "type" {
			if _, err := terminal.Write([]byte{3}); err != nil { // Ctrl-C
				t.Fatal(err)
			}
			continue
		}
		// An interrupt that was passed on would have come before the termination; one that is typed comes by itself.
		if want := "115 102"; text != want {
			t.Errorf("exit codes %s, want %s", text, want)
		}
	}
	if err := outer.Wait(); err != nil {
		t.Error(err)
	}
}

func init() { children["terminal"] = func() { onATerminal(os.Args[3]) } }

// onATerminal is the program of TestTerminal. It starts a process twice: one it signals, the other is left to the keyboard.
func onATerminal(endpoint string) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT) // the keyboard reaches this process too
	kube, err := NewKube(KubeConfig{Endpoint: endpoint, Bearer: func(context.Context) (identity.Secret, error) { return "me", nil }})
	if err != nil {
		panic(err)
	}
	pod, err := Bare(identity.ServiceAccount{Namespace: "carts", Name: "carts"})
	if err != nil {
		panic(err)
	}
	run := func(then func(*Process)) int {
		r, w, err := os.Pipe()
		if err != nil {
			panic(err)
		}
		p, err := Start(context.Background(), Config{Kube: kube, Pod: pod, Command: []string{os.Args[0], "child", "catch"},
			Stdin: os.Stdin, Stdout: w, Stderr: os.Stderr, Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			panic(err)
		}
		if _, err := io.ReadFull(r, make([]byte, len("ready\n"))); err != nil {
			panic(err)
		}
		then(p)
		code, err := p.Wait()
		if err != nil {
			panic(err)
		}
		return code
	}
	signalled := run(func(p *Process) {
		for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
			if err := p.Signal(sig); err != nil {
				panic(err)
			}
		}
	})
	typed := run(func(*Process) { fmt.Println("type") })
	fmt.Println(signalled, typed)
}

// openTerminal makes a pseudo-terminal.
func openTerminal(t *testing.T) (terminal, tty *os.File) {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil && os.Getenv("CI") == "" {
		t.Skipf("no pseudo-terminals here: %v", err)
	} else if err != nil { // CI has them, and must not pass without this test
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	number, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return terminal, tty
}
