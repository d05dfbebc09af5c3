package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/podid/podid/internal/identity"
)

const (
	exchangeTimeout = 10 * time.Second // of one exchange with all its attempts

	// The pods of a node start together after a reboot, and all of them ask at once when the agent was restarted. Upstream sees
	// that as a stream: so many exchanges under way, so many a second. 200 pods are served in a third of a second if upstream takes
	// 20 ms, and in two thirds if it takes 100 ms.
	maxExchanges       = 32 // under way, renewals included
	reservedRenewals   = 2  // of these, which waiting pods leave to renewals, lest those never come to pass
	maxRenewing        = 8  // of these, for renewals
	exchangesPerSecond = 500
	exchangeBurst      = 50

	// maxWait is how long a pod waits for an answer. It is told to ask again before the SDKs that wait longest, two seconds, give up
	// with an error that says nothing. Its exchange keeps its place, so that its next request finds it done or nearer to it.
	maxWait = 1800 * time.Millisecond
	// abandonAfter is how long an exchange stays in the line when nobody waits for it any more. SDKs come back after a second.
	abandonAfter = 5 * time.Second
	// throttlePause is for how long nothing is renewed when upstream has said that it is asked too much.
	throttlePause = 10 * time.Second

	// What one address may ask for of upstream, and one pod there. An exchange is needed when a pod starts and when its token is
	// rotated; what exceeds this is a loop, or somebody who tries tokens. Pods of the host network share an address.
	perSourceRate, perSourceBurst = 10, maxQueuedForSource
	perPodRate, perPodBurst       = 2, 20
	maxWaitingForSource           = 512 // requests of one address that wait at once
)

// errExchange is wrapped by the errors of exchanges that gave no credentials, in the words of Amazon's agent.
var errExchange = errors.New("unable to fetch credentials from EKS Auth")

// errAbandoned ends an exchange that nobody waits for any more. Nobody sees it.
var errAbandoned = errors.New("nobody waits for the exchange")

// exchange is a token on its way upstream. All who want its credentials meanwhile wait for it.
type exchange struct {
	fingerprint fingerprint
	token       identity.Secret
	claims      claims
	lane        lane
	renews      *pod          // nil: pods wait for it
	done        chan struct{} // closed when answer and err are set
	answer      *answer
	err         error

	// Guarded by cache.mu.
	started  bool
	outdated bool // the association has changed since it started
	waiters  int
	leftAt   time.Duration // uptime at which the last waiter left
}

// get returns the credentials for a token that lookup did not know. Any number of callers with one token cause one exchange;
// each waits for it as long as its own context lasts, and no longer than maxWait.
func (c *cache) get(ctx context.Context, source netip.Addr, f fingerprint, token identity.Secret, claims claims) (*answer, error) {
	c.mu.Lock()
	if found := c.lookupLocked(f, c.moment()); found != nil {
		c.mu.Unlock()
		return found, nil
	}
	c.metrics.miss.Add(1)
	x, err := c.joinLocked(source, f, token, claims)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	defer c.leave(source, x)

	timeout := time.NewTimer(maxWait)
	defer timeout.Stop()
	select {
	case <-x.done:
		return x.answer, x.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timeout.C:
		return nil, c.late(x)
	}
}

// joinLocked has the caller wait for the exchange of the token, which is put into the line if there is none yet.
func (c *cache) joinLocked(source netip.Addr, f fingerprint, token identity.Secret, claims claims) (*exchange, error) {
	if c.waiting[source] >= maxWaitingForSource {
		return nil, throttled("more than %d requests of %s wait already", maxWaitingForSource, source)
	}
	x := c.exchanges[f]
	if x == nil {
		now := c.uptime()
		lane := lane{source, claims.pod(f)}
		switch {
		case !c.line.hasRoom(source):
			return nil, throttled("too many requests for new credentials wait already")
		case !c.caches(): // then every request is an exchange
		case !c.podLimit.allow(lane, now):
			return nil, throttled("%s asks for new credentials again and again: more than %d times a second. "+
				"Other pods are not affected. Does it make a new token for each request?", claims.name(), perPodRate)
		case !c.sourceLimit.allow(source, now):
			return nil, throttled("%s asks for new credentials again and again: more than %d times a second. "+
				"Pods at other addresses are not affected.", source, perSourceRate)
		}
		x = &exchange{fingerprint: f, token: token, claims: claims, lane: lane, done: make(chan struct{})}
		c.exchanges[f] = x
		c.line.push(x)
		c.dispatchLocked()
	}
	x.waiters++
	c.waiting[source]++
	return x, nil
}

// leave ends a wait.
func (c *cache) leave(source netip.Addr, x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[source]--; c.waiting[source] == 0 {
		delete(c.waiting, source)
	}
	if x.waiters--; x.waiters == 0 {
		x.leftAt = c.uptime()
	}
}

// late is what a pod is told that has waited for maxWait.
func (c *cache) late(x *exchange) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x.started {
		return notYet("EKS Auth has not answered the agent of this node yet. The agent goes on; ask again")
	}
	return notYet("%d requests for new credentials are under way on this node. This one keeps its place; ask again",
		c.line.length+len(c.lanes))
}

// dispatchLocked starts the exchanges in the line that may start now. It is called whenever that may have changed.
func (c *cache) dispatchLocked() {
	ready := func(x *exchange) bool { return !c.lanes[x.lane] }
	for !c.ended && len(c.lanes)-c.renewing < maxExchanges-reservedRenewals && len(c.lanes) < maxExchanges && c.line.length > 0 {
		if pause := c.pace.pause(c.uptime()); pause > 0 {
			if c.alarm == nil {
				c.alarm = time.AfterFunc(pause, c.dispatchLater)
			}
			return
		}
		x := c.line.pop(ready)
		if x == nil {
			return // those in the line wait for another exchange of their pod
		}
		c.pace.take(c.uptime())
		c.startLocked(x)
	}
}

// dispatchLater goes on with what the pace did not allow before.
func (c *cache) dispatchLater() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alarm = nil
	c.dispatchLocked()
}

func (c *cache) startLocked(x *exchange) {
	x.started = true
	c.exchanges[x.fingerprint] = x
	c.lanes[x.lane] = true
	if x.renews != nil {
		c.renewing++
	}
	c.running.Go(func() { c.run(x) })
}

// run takes the token upstream and keeps what comes back.
func (c *cache) run(x *exchange) {
	ctx, cancel := context.WithTimeout(context.Background(), exchangeTimeout)
	defer cancel()
	start := c.uptime()
	assumption, err := c.assume(ctx, x.token)
	if err != nil {
		x.err = fmt.Errorf("%w: %w", errExchange, err)
	} else {
		x.answer, x.err = newAnswer(assumption, c.moment())
	}
	c.report(x, assumption, c.uptime()-start)

	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.exchanges, x.fingerprint)
	delete(c.lanes, x.lane)
	if x.renews != nil {
		c.renewing--
	}
	if asksTooMuch(x.err) {
		c.resumeAt = c.uptime() + throttlePause
	}
	c.keepLocked(x)
	close(x.done)
	c.dispatchLocked()
}

// report logs and counts the outcome of an exchange.
func (c *cache) report(x *exchange, a *Assumption, took time.Duration) {
	c.metrics.exchanged(x, took, c.now())
	who := x.claims.subject
	log := c.log.With("namespace", who.Namespace, "service_account", who.Name, "pod", who.PodName,
		"token", x.fingerprint.String(), "renewal", x.renews != nil)
	if x.err == nil {
		log.Info("credentials fetched", "session_arn", a.SessionARN, "association_id", a.AssociationID, "expires_at", a.ExpiresAt)
		return
	}
	log.Warn("credentials not fetched", "final", final(x.err), "err", x.err)
}

// dropAbandonedLocked clears the line of exchanges that nobody waits for any more.
func (c *cache) dropAbandonedLocked() {
	now := c.uptime()
	for _, x := range c.line.drop(func(x *exchange) bool { return x.waiters == 0 && now-x.leftAt >= abandonAfter }) {
		delete(c.exchanges, x.fingerprint)
		x.err = errAbandoned
		close(x.done)
	}
}

// state is what the metrics show of the cache.
func (c *cache) state() state {
	c.mu.Lock()
	defer c.mu.Unlock()
	return state{news: c.news, pods: len(c.pods), tokens: len(c.tokens), line: c.line.length, waiting: len(c.lanes) - c.renewing, renewing: c.renewing}
}

// finish waits for the exchanges that are under way, and starts no others.
func (c *cache) finish() {
	c.mu.Lock()
	c.ended = true
	if c.alarm != nil {
		c.alarm.Stop()
	}
	c.mu.Unlock()
	c.running.Wait()
}
