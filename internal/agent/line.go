package agent

import (
	"net/netip"
	"slices"
)

const (
	maxQueued          = 4096 // exchanges in the line; 429 beyond
	maxQueuedForSource = 256  // of one source; more than pods fit on most nodes
)

// lane is what has at most one exchange under way: a pod as the token names it, at the address that the token came from. Claims are
// nobody's word until upstream has accepted the token, so nobody can be held up by tokens that come from another address.
type lane struct {
	source netip.Addr
	pod    string // as in [claims.pod]
}

// line is where exchanges wait for their turn: sources take turns, and within a source it is first come, first served. A source
// that asks for much makes itself wait, not the others. The zero value is an empty line.
type line struct {
	queues map[netip.Addr][]*exchange
	turns  []netip.Addr // sources that have a queue; whose turn it is in front
	length int
}

// hasRoom tells whether one more exchange of the source fits.
func (l *line) hasRoom(source netip.Addr) bool {
	return l.length < maxQueued && len(l.queues[source]) < maxQueuedForSource
}

func (l *line) push(x *exchange) {
	if l.queues == nil {
		l.queues = map[netip.Addr][]*exchange{}
	}
	if len(l.queues[x.lane.source]) == 0 {
		l.turns = append(l.turns, x.lane.source)
	}
	l.queues[x.lane.source] = append(l.queues[x.lane.source], x)
	l.length++
}

// pop takes the exchange whose turn it is out of the line, among those that are ready; nil if there is none.
func (l *line) pop(ready func(*exchange) bool) *exchange {
	for i, source := range l.turns {
		at := slices.IndexFunc(l.queues[source], ready)
		if at < 0 {
			continue
		}
		x := l.queues[source][at]
		l.turns = append(slices.Delete(l.turns, i, i+1), source)
		l.remove(func(y *exchange) bool { return y == x }, source)
		return x
	}
	return nil
}

// drop takes all exchanges that are unwanted out of the line and returns them.
func (l *line) drop(unwanted func(*exchange) bool) []*exchange {
	var dropped []*exchange
	for _, source := range slices.Clone(l.turns) {
		l.remove(func(x *exchange) bool {
			if !unwanted(x) {
				return false
			}
			dropped = append(dropped, x)
			return true
		}, source)
	}
	return dropped
}

// remove takes exchanges out of the queue of a source.
func (l *line) remove(which func(*exchange) bool, source netip.Addr) {
	before := l.queues[source]
	n := len(before)
	after := slices.DeleteFunc(before, which)
	l.length -= n - len(after)
	if len(after) > 0 {
		l.queues[source] = after
		return
	}
	delete(l.queues, source)
	l.turns = slices.DeleteFunc(l.turns, func(s netip.Addr) bool { return s == source })
}
