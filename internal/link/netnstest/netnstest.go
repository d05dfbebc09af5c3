//go:build linux

// Package netnstest gives tests network namespaces of their own, in which they may make links, change addresses and open any port.
package netnstest

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace that lasts until the end of the test, or of the last process in it.
type Namespace struct {
	t      testing.TB
	handle netns.NsHandle
}

// New makes an empty namespace with lo up. It skips the test if that takes rights that the user does not have, but not in CI.
func New(t testing.TB) *Namespace {
	t.Helper()
	n := &Namespace{t: t}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine, and nobody else gets into the namespace
		var err error
		n.handle, err = netns.New()
		failed <- err
	}()
	err := <-failed
	if errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
		t.Skip("making a network namespace takes CAP_SYS_ADMIN, as root has it")
	}
	if err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	t.Cleanup(func() { _ = n.handle.Close() })
	n.Do(func() { n.must(netlink.LinkSetUp(n.Link("lo"))) })
	return n
}

// Do calls a function in the namespace. What it opens, and processes that it starts, stay there. Goroutines that it starts are
// elsewhere.
func (n *Namespace) Do(f func()) {
	n.t.Helper()
	returned, done := false, make(chan struct{})
	go func() {
		defer close(done) // also if f ends the test
		runtime.LockOSThread()
		n.must(netns.Set(n.handle))
		f()
		returned = true
	}()
	<-done
	if !returned {
		n.t.FailNow()
	}
}

// Sysctl sets a kernel parameter of the namespace: "net/ipv6/conf/all/disable_ipv6". For use inside [Namespace.Do].
func (n *Namespace) Sysctl(name, value string) {
	n.t.Helper()
	file := filepath.Join("/proc/sys", name)
	n.must(os.WriteFile(file, []byte(value), 0))
	if got, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(got)) != value {
		n.t.Errorf("%s is %q, %v", name, got, err)
	}
}

// Link finds a link by its name. For use inside [Namespace.Do].
func (n *Namespace) Link(name string) netlink.Link {
	n.t.Helper()
	link, err := netlink.LinkByName(name)
	n.must(err)
	return link
}

// Connect puts a pod next to a node: the two namespaces get the ends of a veth, and the pod a default route to the node.
func (n *Namespace) Connect(pod *Namespace) {
	n.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "pod0"
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerNamespace = "eth0", netlink.NsFd(pod.handle)
	n.Do(func() {
		n.must(netlink.LinkAdd(veth))
		n.addresses("pod0", "10.0.0.1/24", "fd00:1::1/64")
	})
	pod.Do(func() {
		pod.addresses("eth0", "10.0.0.2/24", "fd00:1::2/64")
		for _, gateway := range []string{"10.0.0.1/32", "fd00:1::1/128"} {
			via, err := netlink.ParseIPNet(gateway)
			n.must(err)
			n.must(netlink.RouteAdd(&netlink.Route{LinkIndex: pod.Link("eth0").Attrs().Index, Gw: via.IP}))
		}
	})
}

func (n *Namespace) addresses(link string, addresses ...string) {
	n.t.Helper()
	l := n.Link(link)
	n.must(netlink.LinkSetUp(l))
	for _, text := range addresses {
		addr, err := netlink.ParseAddr(text)
		n.must(err)
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD
		}
		n.must(netlink.AddrAdd(l, addr))
	}
}

// must ends the test on an error, by way of [Namespace.Do].
func (n *Namespace) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Error(err)
		runtime.Goexit()
	}
}
