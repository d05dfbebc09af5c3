package agent

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// freeBind lets a socket be bound to an address that the node does not have, or not yet (ip(7), IP_FREEBIND). It takes no right.
func freeBind(network, _ string, conn syscall.RawConn) error {
	level, option := unix.IPPROTO_IP, unix.IP_FREEBIND
	if network == "tcp6" {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
	}
	var err error
	if refused := conn.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }); refused != nil {
		return refused
	}
	return err
}
