package agent

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/podid/podid/internal/identity"
)

const tokensPerPod = 4 // accepted tokens remembered for a pod: its latest ones, while a rotation is on its way

// fingerprint stands for a token in the cache, so that a token is looked up without being parsed or compared.
type fingerprint [sha256.Size]byte

// String is how a token is named in the log: eight hexadecimal digits, which join lines and give nothing away.
func (f fingerprint) String() string { return hex.EncodeToString(f[:4]) }

// pod is the cached credentials of one pod, and the tokens that they may be had for.
type pod struct {
	key       string
	source    netip.Addr      // from which the newest token came
	claims    claims          // of the newest token
	token     identity.Secret // the newest token, with which credentials are renewed
	newest    fingerprint
	tokens    []fingerprint // accepted ones, oldest first
	answer    *answer
	renewAt   moment
	neededTo  moment        // when the credentials last handed out expire; a pod that has not come back by then is gone
	placement *list.Element // in cache.recent
}

// accepted is a token that upstream has accepted.
type accepted struct {
	pod       *pod
	expiresAt time.Time
}

// cache holds credentials by pod. Credentials are served for a token only after upstream has accepted that token, and until the
// token or they expire. An exchange goes on when those who wait for it give up, so that their next request finds it done.
type cache struct {
	assume      func(context.Context, identity.Secret) (*Assumption, error)
	size        int           // pods kept; 0: none, every request goes upstream
	retention   time.Duration // after which credentials are renewed, however long they live; 0 as with size
	now         func() time.Time
	uptime      func() time.Duration
	rand        func() float64
	log         *slog.Logger
	metrics     *metrics
	podLimit    *limiter[lane]
	sourceLimit *limiter[netip.Addr]

	running sync.WaitGroup // exchanges

	mu        sync.Mutex // guards all below, and the fields of pods; those of an exchange are its goroutine's until done
	tokens    map[fingerprint]accepted
	pods      map[string]*pod
	recent    *list.List // of *pod, the one asked for last in front
	exchanges map[fingerprint]*exchange
	line      line               // exchanges that have not started
	lanes     map[lane]bool      // with an exchange under way
	renewing  int                // exchanges under way that renew
	waiting   map[netip.Addr]int // requests that wait, by source
	pace      pace               // of exchanges for waiting pods
	renewals  pace               // of exchanges ahead of need
	resumeAt  time.Duration      // uptime before which nothing is renewed
	alarm     *time.Timer        // calls dispatchLater; nil: not set
	ended     bool               // no exchange starts any more
	news      news               // of the feed of associations
}

func newCache(config Config, uptime func() time.Duration, m *metrics) *cache {
	return &cache{
		assume:      config.AssumeRole,
		size:        config.CacheSize,
		retention:   config.Retention,
		now:         config.Now,
		uptime:      uptime,
		rand:        config.Rand,
		log:         config.Logger,
		metrics:     m,
		podLimit:    newLimiter[lane](perPodRate, perPodBurst),
		sourceLimit: newLimiter[netip.Addr](perSourceRate, perSourceBurst),
		tokens:      map[fingerprint]accepted{},
		pods:        map[string]*pod{},
		recent:      list.New(),
		exchanges:   map[fingerprint]*exchange{},
		lanes:       map[lane]bool{},
		waiting:     map[netip.Addr]int{},
		news:        news{followed: config.Feed != nil},
		pace:        newPace(exchangesPerSecond, exchangeBurst),
		renewals:    newPace(float64(config.RenewalsPerSecond), config.RenewalsPerSecond),
	}
}

// caches tells whether anything is kept at all.
func (c *cache) caches() bool { return c.size > 0 && c.retention > 0 }

func (c *cache) moment() moment { return moment{c.now().Round(0), c.uptime()} }

// lookup returns the credentials for a token that upstream has accepted, or nil.
func (c *cache) lookup(f fingerprint) *answer {
	now := c.moment()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lookupLocked(f, now)
}

func (c *cache) lookupLocked(f fingerprint, now moment) *answer {
	known, ok := c.tokens[f]
	if !ok || !now.wall.Before(known.expiresAt) {
		return nil
	}
	p := known.pod
	if p.answer.ends.until(now) < minLife {
		c.dropLocked(p)
		return nil
	}
	p.neededTo = p.answer.ends
	c.recent.MoveToFront(p.placement)
	c.metrics.hit.Add(1)
	return p.answer
}

// keepLocked puts the outcome of an exchange into the cache. A refusal never touches what other, accepted tokens have brought:
// claims of a refused token are nobody's word, and refusing an old token says nothing about a newer one.
func (c *cache) keepLocked(x *exchange) {
	if !c.caches() {
		return
	}
	if x.renews == nil {
		if x.err == nil {
			c.acceptLocked(x)
		}
		return
	}
	p := x.renews
	switch {
	case c.pods[p.key] != p: // dropped meanwhile
	case x.err == nil:
		p.answer, p.renewAt = x.answer, c.renewAt(x.answer)
		if x.outdated {
			c.renewWithinLocked(p, changeSpread)
		}
	case final(x.err) && p.newest == x.fingerprint:
		c.dropLocked(p)
	}
}

// acceptLocked adds a token that upstream has accepted, and the credentials it brought, to its pod.
func (c *cache) acceptLocked(x *exchange) {
	key := x.claims.pod(x.fingerprint)
	p := c.pods[key]
	if p == nil {
		p = &pod{key: key}
		p.placement = c.recent.PushFront(p)
		c.pods[key] = p
	}
	p.answer, p.renewAt, p.neededTo = x.answer, c.renewAt(x.answer), x.answer.ends
	if !x.claims.expiresAt.Before(p.claims.expiresAt) {
		p.claims, p.token, p.newest, p.source = x.claims, x.token, x.fingerprint, x.lane.source
	}
	if x.outdated {
		c.renewWithinLocked(p, changeSpread)
	}
	c.tokens[x.fingerprint] = accepted{p, x.claims.expiresAt}
	p.tokens = append(p.tokens, x.fingerprint)
	if len(p.tokens) > tokensPerPod {
		delete(c.tokens, p.tokens[0])
		p.tokens = append(p.tokens[:0], p.tokens[1:]...)
	}
	for len(c.pods) > c.size {
		c.dropLocked(c.recent.Back().Value.(*pod))
	}
}

func (c *cache) dropLocked(p *pod) {
	for _, f := range p.tokens {
		delete(c.tokens, f)
	}
	delete(c.pods, p.key)
	c.recent.Remove(p.placement)
	c.metrics.evicted.Add(1)
}
