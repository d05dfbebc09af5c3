package agent

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// maxConnections is how many connections one address may have open. Each costs some ten kilobytes whether a request comes by it or
// not, so without a limit one pod could take all the memory that the agent of its node may use.
const maxConnections = 2 * maxWaitingForSource

// crowd counts open connections by address, and closes what is too much. It is safe for concurrent use.
type crowd struct {
	mu   sync.Mutex
	open map[netip.Addr]int // guarded by mu
}

// note is told when a connection changes its state, as [http.Server.ConnState].
func (c *crowd) note(conn net.Conn, state http.ConnState) {
	if state != http.StateNew && state != http.StateClosed {
		return
	}
	from := source(conn.RemoteAddr().String())
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateClosed {
		if c.open[from]--; c.open[from] == 0 {
			delete(c.open, from)
		}
		return
	}
	if c.open == nil {
		c.open = map[netip.Addr]int{}
	}
	if c.open[from]++; c.open[from] > maxConnections {
		_ = conn.Close() // the server notices, and notes that it is closed
	}
}
