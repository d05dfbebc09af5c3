package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideVariable is set in the environment of a program that [Isolate] has started.
const insideVariable = "PODID_KUBE_ISOLATED"

// Isolated tells whether this process was started by [Isolate].
func Isolated() bool { return os.Getenv(insideVariable) != "" }

// Isolate runs this program once more, with the same arguments, where a node does no harm: with processes, mounts and a network of
// its own. All that is started there ends when it does. It returns the exit code. It needs root.
func Isolate() (code int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	before, err := controlGroups()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	starter := newStarter()
	defer starter.close()
	if err := starter.run(cmd); err != nil {
		return 0, fmt.Errorf("entering namespaces, which takes root: %w", err)
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code, err = max(1, exit.ExitCode()), nil // a signal is -1
	}
	return code, errors.Join(err, removeControlGroups(before))
}

// controlGroups lists those that containerd has made for containers, parents first.
func controlGroups() ([]string, error) {
	var all []string
	for _, pattern := range []string{"/sys/fs/cgroup/k8s.io", "/sys/fs/cgroup/*/k8s.io"} { // version 2, and each hierarchy of version 1
		parents, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, parent := range parents {
			entries, err := os.ReadDir(parent)
			if err != nil {
				return nil, err
			}
			all = append(all, parent)
			for _, entry := range entries {
				if entry.IsDir() {
					all = append(all, filepath.Join(parent, entry.Name()))
				}
			}
		}
	}
	return all, nil
}

// removeControlGroups removes those that were not there before: the kernel keeps them when their processes are gone. One that stays busy
// is somebody else's.
func removeControlGroups(before []string) error {
	after, err := controlGroups()
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range slices.Backward(after) {
		if slices.Contains(before, path) {
			continue
		}
		err := syscall.Rmdir(path)
		for range 20 { // it takes the kernel a moment to notice that the processes have gone
			if !errors.Is(err, syscall.EBUSY) {
				break
			}
			time.Sleep(50 * time.Millisecond)
			err = syscall.Rmdir(path)
		}
		if err != nil && !errors.Is(err, syscall.EBUSY) {
			errs = append(errs, fmt.Errorf("removing %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// The bridge has the node's address, and its pods are on it.
const (
	podSubnet = "10.244.0.0/24"
	bridge    = "cni0"
)

// prepareNode makes the mounts and the network of a process that [Isolate] has started into those of a node.
func prepareNode() error {
	if !Isolated() {
		return errors.New("a node is only for processes that Isolate has started")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts to ourselves: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	// What kubelet and containerd write into directories that cannot be configured.
	for _, dir := range []string{"/run", "/var/lib", "/var/log"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mounting a tmpfs on %s: %w", dir, err)
		}
	}
	if err := shieldSettings(); err != nil {
		return err
	}
	return prepareNetwork()
}

// settings of the kernel that kubelet changes, for the whole machine.
var settings = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// shieldSettings puts ordinary files in their place.
func shieldSettings() error {
	for _, name := range settings {
		path := filepath.Join("/proc/sys", name)
		value, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		shield := filepath.Join("/run", strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(shield, value, 0o600); err != nil {
			return err
		}
		if err := unix.Mount(shield, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("shielding %s: %w", path, err)
		}
	}
	return nil
}

// unmount takes away all that is mounted below a directory, so that it can be removed. What still uses it keeps it.
func unmount(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var below []string
	for line := range strings.Lines(string(mounts)) {
		// The fifth field is where it is mounted, see proc_pid_mountinfo(5).
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			below = append(below, fields[4])
		}
	}
	var errs []error
	for _, path := range slices.Backward(below) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// prepareNetwork makes the bridge that the node has its address on, and that pods will be connected to.
func prepareNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(NodeIP), Mask: net.CIDRMask(24, 32)}}
	for _, step := range []func() error{
		func() error { return netlink.LinkSetUp(lo) },
		func() error { return netlink.LinkAdd(link) },
		func() error { return netlink.AddrAdd(link, address) },
		func() error { return netlink.LinkSetUp(link) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("making the node's network: %w", err)
		}
	}
	return nil
}
