package link

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	peerName = "pod-id-link1" // the other end, if the link is a veth
	alias    = "podid-agent"  // marks a link as made here
	label    = "lo:podid"     // marks the IPv4 address on lo as added here; IPv6 addresses have no labels

	settleTries, settlePause = 200, 10 * time.Millisecond
)

var errNotFound = errors.New("no such link")

// host is the network namespace of the thread.
type host struct {
	*netlink.Handle
	add func(netlink.Link) error // makes a link
	log *slog.Logger
}

func open(log *slog.Logger) (*host, error) {
	handle, err := netlink.NewHandle()
	if err != nil {
		return nil, fmt.Errorf("opening netlink: %w", err)
	}
	return &host{Handle: handle, add: handle.LinkAdd, log: log}, nil
}

// Initialize sees to it that the node has the addresses, on a link of their own or, where none can be made, on lo. What is there
// already stays as it is. Without IPv6 in the kernel, or with IPv6 switched off, there is only the IPv4 address, and a line in the
// log. It is an error if the IPv4 address cannot be had.
func Initialize(log *slog.Logger) error {
	h, err := open(log)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.initialize()
}

// Remove takes away what Initialize has made, and nothing else: the link of another program stays, even under this name.
func Remove(log *slog.Logger) error {
	h, err := open(log)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.remove()
}

func (h *host) initialize() error {
	link, err := h.find()
	if errors.Is(err, errNotFound) {
		link, err = h.create()
	}
	if err != nil {
		return err
	}
	if err := h.up(link); err != nil {
		return err
	}
	if err := h.assign(link, IPv4); err != nil {
		return err
	}
	if err := h.assign(link, IPv6); err != nil {
		h.log.Warn("no IPv6 address for pods", "err", err)
	}
	return nil
}

// find returns the link that the addresses belong on: ours, by name, or lo if an earlier run had to take that.
func (h *host) find() (netlink.Link, error) {
	link, err := h.byName(Name)
	if err == nil {
		h.log.Info("link is there", "link", Name, "kind", link.Type())
		return link, nil
	}
	if !errors.Is(err, errNotFound) {
		return nil, err
	}
	lo, marked, err := h.loopback()
	if err != nil {
		return nil, err
	}
	if !marked {
		return nil, fmt.Errorf("looking for %s: %w", Name, errNotFound)
	}
	return lo, nil
}

func (h *host) byName(name string) (netlink.Link, error) {
	link, err := settled(func() (netlink.Link, error) { return h.LinkByName(name) })
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return nil, fmt.Errorf("looking for %s: %w", name, errNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", name, err)
	}
	return link, nil
}

// loopback returns lo, and whether the IPv4 address was put there by an earlier run.
func (h *host) loopback() (lo netlink.Link, marked bool, err error) {
	if lo, err = h.byName("lo"); err != nil {
		return nil, false, err
	}
	addrs, err := settled(func() ([]netlink.Addr, error) { return h.AddrList(lo, netlink.FAMILY_V4) })
	if err != nil {
		return nil, false, fmt.Errorf("listing the addresses of lo: %w", err)
	}
	for _, addr := range addrs {
		if addr.Label == label && addr.IP.Equal(IPv4.AsSlice()) {
			return lo, true, nil
		}
	}
	return lo, false, nil
}

// create makes the link, of the first kind that the kernel has. A node that runs pods mostly has veth, for it is what pods are
// connected with.
func (h *host) create() (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = Name
	veth := netlink.NewVeth(attrs)
	veth.PeerName = peerName
	for _, link := range []netlink.Link{&netlink.Dummy{LinkAttrs: attrs}, veth} {
		err := h.add(link)
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("making the link %s: %w: CAP_NET_ADMIN is needed in the network of the node", Name, err)
		}
		if err != nil && !errors.Is(err, unix.EEXIST) { // somebody else can have made it at the same time
			h.log.Info("link cannot be of this kind", "kind", link.Type(), "err", err)
			continue
		}
		made, findErr := h.byName(Name)
		switch {
		case findErr != nil && err != nil:
			h.log.Info("link cannot be of this kind", "kind", link.Type(), "err", err)
			continue
		case findErr != nil || err != nil:
			return made, findErr
		}
		if err := h.LinkSetAlias(made, alias); err != nil {
			return nil, fmt.Errorf("marking the link %s: %w", Name, err)
		}
		h.log.Info("link made", "link", Name, "kind", made.Type())
		return made, nil
	}
	lo, _, err := h.loopback()
	return lo, err
}

func (h *host) up(link netlink.Link) error {
	links := []netlink.Link{link}
	if link.Type() == "veth" {
		peer, err := h.byName(peerName)
		if err != nil && !errors.Is(err, errNotFound) {
			return err
		}
		if err == nil { // one that another program has made may have its other end anywhere
			links = append(links, peer)
		}
	}
	for _, l := range links {
		if err := h.LinkSetUp(l); err != nil {
			return fmt.Errorf("bringing %s up: %w", l.Attrs().Name, err)
		}
	}
	return nil
}

// assign adds an address to a link, and a route to it to the main table: packets do not need the route, for the kernel makes one in
// its local table, but programs that look only at the main table do.
func (h *host) assign(link netlink.Link, ip netip.Addr) error {
	name := link.Attrs().Name
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}}
	if ip.Is6() {
		addr.Flags = unix.IFA_F_NODAD // nobody on this link could have the same one, and until that were known it would not work
	} else if name == "lo" {
		addr.Label, addr.Scope = label, unix.RT_SCOPE_HOST // never the source of what the node sends elsewhere
	}
	err := h.AddrAdd(link, addr)
	switch {
	case errors.Is(err, unix.EEXIST):
		h.log.Info("address is there", "address", ip.String(), "link", name)
	case err != nil:
		return fmt.Errorf("adding %s to %s: %w", ip, name, err)
	default:
		h.log.Info("address added", "address", ip.String(), "link", name)
	}
	if name != "lo" {
		if err := h.route(link, addr); err != nil {
			return err
		}
	}
	return h.local(ip)
}

// local waits until the node delivers packets for an address to itself. The kernel sees to that for IPv6 a little later than it
// says that the address is added, and until then connections would be tried on the link, and hang.
func (h *host) local(ip netip.Addr) error {
	for range settleTries {
		routes, err := h.RouteGet(ip.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		time.Sleep(settlePause)
	}
	return fmt.Errorf("the node has %s but does not take packets for it", ip)
}

func (h *host) route(link netlink.Link, to *netlink.Addr) error {
	name, index := link.Attrs().Name, link.Attrs().Index
	family := netlink.FAMILY_V4
	if to.IP.To4() == nil {
		family = netlink.FAMILY_V6
	}
	routes, err := settled(func() ([]netlink.Route, error) { return h.RouteList(nil, family) })
	if err != nil {
		return fmt.Errorf("listing the routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil || r.Dst.String() != to.IPNet.String() {
			continue
		}
		if r.LinkIndex != index {
			return fmt.Errorf("there is a route to %s that leads to link %d and not to %s: remove it", r.Dst, r.LinkIndex, name)
		}
		return nil
	}
	err = h.RouteAdd(&netlink.Route{LinkIndex: index, Dst: to.IPNet, Scope: netlink.SCOPE_LINK})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("adding a route to %s: %w", to.IPNet, err)
	}
	h.log.Info("route added", "address", to.IP.String(), "link", name)
	return nil
}

func (h *host) remove() error {
	link, err := h.byName(Name)
	switch {
	case errors.Is(err, errNotFound):
	case err != nil:
		return err
	case link.Attrs().Alias != alias:
		h.log.Warn("link was made by another program and stays", "link", Name, "kind", link.Type())
	default:
		if err := h.LinkDel(link); err != nil {
			return fmt.Errorf("removing the link %s: %w", Name, err)
		}
		h.log.Info("link removed", "link", Name, "kind", link.Type())
	}
	lo, marked, err := h.loopback()
	if err != nil || !marked {
		return err
	}
	for _, ip := range []netip.Addr{IPv6, IPv4} { // the marked one last, so that a run that was cut short can be repeated
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}}
		err := h.AddrDel(lo, addr)
		switch {
		case err == nil:
			h.log.Info("address removed", "address", ip.String(), "link", "lo")
		case ip == IPv4:
			return fmt.Errorf("removing %s from lo: %w", ip, err)
		case !errors.Is(err, unix.EADDRNOTAVAIL):
			h.log.Info("address not removed", "address", ip.String(), "link", "lo", "err", err)
		}
	}
	return nil
}

// settled asks the kernel for a list until nothing in it changed while it was being sent. On a node whose links never rest it
// takes what it has after some attempts: what is looked for here does not come and go.
func settled[T any](list func() (T, error)) (T, error) {
	for range 5 {
		found, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return found, err
		}
	}
	found, err := list()
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return found, err
}
