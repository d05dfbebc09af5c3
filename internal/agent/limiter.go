package agent

import (
	"maps"
	"sync"
	"time"
)

// maxKeys is for how many keys a limiter remembers what they have used up. A node has some hundred pods.
const maxKeys = 4096

// pace lets so many events happen a second, and some more at once after a rest. Its time is an uptime, which a change of the clock
// does not touch.
type pace struct {
	interval time.Duration
	burst    int
	rested   time.Duration // uptime at which the whole burst is there again
}

func newPace(perSecond float64, burst int) pace {
	return pace{interval: time.Duration(float64(time.Second) / perSecond), burst: burst}
}

// pause is how long the next event has to wait.
func (p *pace) pause(uptime time.Duration) time.Duration {
	return max(0, p.rested-uptime-time.Duration(p.burst-1)*p.interval)
}

// take counts an event.
func (p *pace) take(uptime time.Duration) { p.rested = max(p.rested, uptime) + p.interval }

// limiter has a pace for each key, whatever the other keys do.
type limiter[K comparable] struct {
	pace pace // of a key that has rested

	mu     sync.Mutex
	rested map[K]time.Duration // as in pace; without those that have rested for long. Guarded by mu
}

func newLimiter[K comparable](perSecond float64, burst int) *limiter[K] {
	return &limiter[K]{pace: newPace(perSecond, burst), rested: map[K]time.Duration{}}
}

// allow tells whether the key may have an event now, and counts it if so.
func (l *limiter[K]) allow(key K, uptime time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	rested, known := l.rested[key]
	p := pace{l.pace.interval, l.pace.burst, rested}
	if p.pause(uptime) > 0 {
		return false
	}
	if !known && len(l.rested) >= maxKeys {
		l.forget(uptime)
	}
	p.take(uptime)
	l.rested[key] = p.rested
	return true
}

// prune drops all keys that have rested.
func (l *limiter[K]) prune(uptime time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.rested, func(_ K, rested time.Duration) bool { return rested <= uptime })
}

// forget makes room for a key: of some keys that it looks at it drops those that have rested. If none has, one is dropped all the
// same, and may have its burst again. Who calls from thousands of addresses gains by that; what all together can cause is limited
// elsewhere.
func (l *limiter[K]) forget(uptime time.Duration) {
	const looked = 64
	n := 0
	for key, rested := range l.rested { // in an order that is another each time
		if n++; rested <= uptime || n == looked && len(l.rested) >= maxKeys {
			delete(l.rested, key)
		}
		if n == looked {
			return
		}
	}
}
