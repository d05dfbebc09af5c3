package agent

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// gate is a listener that can be shut for a while. Connections that come meanwhile wait in the kernel's queue, for this process when
// it opens the gate again or for another one that has the same socket.
type gate struct {
	*net.TCPListener
	mu     sync.Mutex
	opened chan struct{} // closed while the gate is open; guarded by mu
	closed chan struct{}
	once   sync.Once // closes closed
}

func newGate(l *net.TCPListener) *gate {
	g := &gate{TCPListener: l, opened: make(chan struct{}), closed: make(chan struct{})}
	close(g.opened)
	return g
}

// Accept waits for a connection and for the gate to be open.
func (g *gate) Accept() (net.Conn, error) {
	for {
		g.mu.Lock()
		opened := g.opened
		g.mu.Unlock()
		select {
		case <-opened:
		case <-g.closed:
			return nil, net.ErrClosed
		}
		conn, err := g.TCPListener.Accept()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue // it was shut
		}
		return conn, err
	}
}

// shut keeps Accept from taking more connections. One that it is about to return is still served.
func (g *gate) shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.opened:
		g.opened = make(chan struct{})
	default:
	}
	return g.SetDeadline(time.Unix(1, 0)) // in the past: wakes Accept
}

func (g *gate) open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.SetDeadline(time.Time{})
	select {
	case <-g.opened:
	default:
		close(g.opened)
	}
	return err
}

func (g *gate) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.TCPListener.Close()
}
