package link

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podid/podid/internal/link/netnstest"
)

// kernel is a network namespace in which links of some kinds cannot be made, whatever the kernel of this machine can do.
type kernel struct {
	*netnstest.Namespace
	t    *testing.T
	lack []string
	logs bytes.Buffer
}

func newKernel(t *testing.T, lack ...string) *kernel {
	t.Helper()
	k := &kernel{Namespace: netnstest.New(t), t: t, lack: lack}
	k.Do(func() {
		// A kernel with veth alone is enough for the tests, and one with dummies is taken as one with dummies.
		err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "probe"}})
		if errors.Is(err, unix.EOPNOTSUPP) {
			k.lack = append(k.lack, "dummy")
		} else if err != nil {
			t.Error(err)
		} else if err := netlink.LinkDel(k.Link("probe")); err != nil {
			t.Error(err)
		}
	})
	return k
}

// call runs a function on the namespace as it is to the program.
func (k *kernel) call(f func(*host) error) (err error) {
	k.Do(func() {
		var h *host
		if h, err = open(slog.New(slog.NewTextHandler(&k.logs, nil))); err != nil {
			return
		}
		defer h.Close()
		h.add = func(link netlink.Link) error {
			if slices.Contains(k.lack, link.Type()) {
				return unix.EOPNOTSUPP
			}
			return netlink.LinkAdd(link)
		}
		err = f(h)
	})
	return err
}

func (k *kernel) initialize() {
	k.t.Helper()
	if err := k.call((*host).initialize); err != nil {
		k.t.Errorf("initialize: %v", err)
	}
}

func (k *kernel) remove() {
	k.t.Helper()
	if err := k.call((*host).remove); err != nil {
		k.t.Errorf("remove: %v", err)
	}
}

// state lists what initialize may make: links besides lo, the pods' addresses with the kind of their link, and the routes to them.
func (k *kernel) state() []string {
	k.t.Helper()
	var state []string
	k.Do(func() {
		links, err := netlink.LinkList()
		if err != nil {
			k.t.Error(err)
		}
		for _, l := range links {
			name := l.Attrs().Name
			if name != "lo" {
				state = append(state, "link "+name)
			}
			addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				k.t.Error(err)
			}
			for _, a := range addrs {
				if ip, _ := netip.AddrFromSlice(a.IP); ip.Unmap() == IPv4 || ip == IPv6 {
					state = append(state, fmt.Sprintf("address %s %s", a.IPNet, name))
					if a.Flags&unix.IFA_F_TENTATIVE != 0 {
						k.t.Errorf("%s cannot be used yet", ip)
					}
				}
			}
			routes, err := netlink.RouteList(l, netlink.FAMILY_ALL)
			if err != nil {
				k.t.Error(err)
			}
			for _, r := range routes {
				if r.Dst.IP.Equal(IPv4.AsSlice()) || r.Dst.IP.Equal(IPv6.AsSlice()) {
					state = append(state, fmt.Sprintf("route %s %s", r.Dst, name))
				}
			}
		}
	})
	slices.Sort(state)
	return state
}

func (k *kernel) want(what string, want ...string) {
	k.t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, k.state()); diff != "" {
		k.t.Errorf("%s (-want +got)\n%s\nlog:\n%s", what, diff, k.logs.String())
	}
}

// serves tells whether the addresses can be bound and connected to, which takes local routes and addresses that are not tentative.
func (k *kernel) serves(ips ...netip.Addr) {
	k.t.Helper()
	k.Do(func() {
		for _, ip := range ips {
			l, err := net.Listen("tcp", netip.AddrPortFrom(ip, 80).String())
			if err != nil {
				k.t.Error(err)
				continue
			}
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				k.t.Error(err)
			} else {
				_ = conn.Close()
			}
			_ = l.Close()
		}
	})
}

func on(link string) []string {
	return []string{
		"link " + link, "address 169.254.170.23/32 " + link, "address fd00:ec2::23/128 " + link,
		"route 169.254.170.23/32 " + link, "route fd00:ec2::23/128 " + link,
	}
}

// onLo has a route as well, for IPv6 makes one by itself.
var onLo = []string{"address 169.254.170.23/32 lo", "address fd00:ec2::23/128 lo", "route fd00:ec2::23/128 lo"}

func TestInitialize(t *testing.T) {
	for name, tt := range map[string]struct {
		lack []string
		want []string
	}{
		"with dummies":             {nil, on(Name)},
		"without dummies":          {[]string{"dummy"}, append(on(Name), "link "+peerName)},
		"without any kind of link": {[]string{"dummy", "veth"}, onLo},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t, tt.lack...)
			if tt.lack == nil && k.lack != nil {
				t.Skip("this kernel has no dummies")
			}
			k.initialize()
			k.want("after initialize", tt.want...)
			k.serves(IPv4, IPv6)
			k.initialize()
			k.want("after the second initialize", tt.want...)
			k.remove()
			k.want("after remove")
			k.remove()
			k.want("after the second remove")
			k.initialize()
			k.want("after another initialize", tt.want...)
		})
	}
}

// What is missing is put back; what is there stays.
func TestInitializeRepairs(t *testing.T) {
	k := newKernel(t)
	k.initialize()
	whole := k.state()
	k.Do(func() {
		l := k.Link(Name)
		addr, _ := netlink.ParseAddr("169.254.170.23/32")
		if err := errors.Join(netlink.AddrDel(l, addr), netlink.LinkSetDown(l)); err != nil {
			t.Error(err)
		}
	})
	k.initialize()
	k.want("repaired", whole...)
	k.serves(IPv4, IPv6)
}

// A kernel that has a better kind by the next run does not get the addresses twice.
func TestInitializeStaysWhereItIs(t *testing.T) {
	k := newKernel(t, "dummy", "veth")
	k.initialize()
	k.lack = nil
	k.initialize()
	k.want("still on lo", onLo...)
}

func TestInitializeWithoutIPv6(t *testing.T) {
	for name, lack := range map[string][]string{"own link": nil, "lo": {"dummy", "veth"}} {
		t.Run(name, func(t *testing.T) {
			k := newKernel(t, lack...)
			k.Do(func() {
				k.Sysctl("net/ipv6/conf/all/disable_ipv6", "1")
				k.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
			})
			k.initialize()
			k.serves(IPv4)
			for _, line := range k.state() {
				if strings.Contains(line, "fd00") {
					t.Errorf("there is %s", line)
				}
			}
			if !strings.Contains(k.logs.String(), "no IPv6 address for pods") {
				t.Errorf("the log does not say so: %s", k.logs.String())
			}
			k.Do(func() {
				k.Sysctl("net/ipv6/conf/all/disable_ipv6", "0")
				k.Sysctl("net/ipv6/conf/default/disable_ipv6", "0")
			})
			k.initialize()
			k.serves(IPv4, IPv6)
			k.remove()
			k.want("after remove")
		})
	}
}

// Amazon's agent calls its link the same. It is used, and not removed.
func TestLinkOfAnotherProgram(t *testing.T) {
	k := newKernel(t)
	k.Do(func() {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: Name}}); err != nil {
			t.Error(err)
		}
	})
	k.initialize()
	k.want("after initialize", on(Name)...)
	k.serves(IPv4, IPv6)
	k.remove()
	k.want("after remove", on(Name)...)
}

func TestAddressOfAnotherProgramOnLo(t *testing.T) {
	k := newKernel(t)
	k.Do(func() {
		addr, _ := netlink.ParseAddr("169.254.170.23/32")
		if err := netlink.AddrAdd(k.Link("lo"), addr); err != nil {
			t.Error(err)
		}
	})
	k.remove()
	k.want("after remove", "address 169.254.170.23/32 lo")
}

func TestRouteInTheWay(t *testing.T) {
	k := newKernel(t)
	k.Do(func() {
		to, _ := netlink.ParseIPNet("169.254.170.23/32")
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: k.Link("lo").Attrs().Index, Dst: to}); err != nil {
			t.Error(err)
		}
	})
	err := k.call((*host).initialize)
	if err == nil || !strings.Contains(err.Error(), "there is a route to 169.254.170.23/32") {
		t.Errorf("got %v", err)
	}
}

func TestWithoutTheRight(t *testing.T) {
	k := newKernel(t)
	err := k.call(func(h *host) error {
		h.add = func(netlink.Link) error { return unix.EPERM }
		return h.initialize()
	})
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("got %v", err)
	}
	k.want("nothing")
}

// Two that start at the same moment make one link.
func TestInitializeTwiceAtOnce(t *testing.T) {
	k := newKernel(t)
	err := k.call(func(h *host) error {
		add := h.add
		h.add = func(link netlink.Link) error {
			if slices.Contains(k.lack, link.Type()) {
				return unix.EOPNOTSUPP
			}
			if err := add(link); err != nil { // the other one is faster
				return err
			}
			return add(link)
		}
		return h.initialize()
	})
	if err != nil {
		t.Fatal(err)
	}
	k.serves(IPv4, IPv6)
}

func TestSettled(t *testing.T) {
	fault := errors.New("fault")
	for name, tt := range map[string]struct {
		interruptions int
		then          error
		calls         int
		want          error
	}{
		"quiet":       {0, nil, 1, nil},
		"fault":       {0, fault, 1, fault},
		"busy":        {2, nil, 3, nil},
		"busy, fault": {2, fault, 3, fault},
		"never rests": {100, nil, 6, nil},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			got, err := settled(func() (int, error) {
				calls++
				if calls <= tt.interruptions {
					return calls, netlink.ErrDumpInterrupted
				}
				return calls, tt.then
			})
			if got != tt.calls || calls != tt.calls || !errors.Is(err, tt.want) {
				t.Errorf("got %d and %v after %d calls, want %v after %d", got, err, calls, tt.want, tt.calls)
			}
		})
	}
}
