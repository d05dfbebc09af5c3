package agent

import (
	"cmp"
	"context"
	"slices"
	"time"
)

const (
	sweepInterval = time.Second
	retryInterval = time.Minute // after a renewal that failed; up to as much again is added at random
)

// renewAt says when fetched credentials are to be renewed: after the retention time or seven tenths of their life, whichever is
// sooner, brought forward by up to a fifth at random, so that pods that started together do not renew together. Credentials of
// 59 minutes are so renewed before they enter the last 15 minutes, in which botocore would ask for others again and again.
func (c *cache) renewAt(a *answer) moment {
	now := c.moment()
	age := min(c.retention, a.ends.until(now)*7/10)
	return now.add(age - time.Duration(c.rand()*float64(age)/5))
}

// renewAhead keeps the credentials in the cache fresh until ctx ends.
func (c *cache) renewAhead(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			c.sweep()
		}
	}
}

// sweep drops pods whose credentials nobody can get or nobody wants any more, and starts the renewals that are due, those that
// expire first in front. What exceeds the budget waits for a later sweep.
func (c *cache) sweep() {
	now := c.moment()
	c.podLimit.prune(now.uptime)
	c.sourceLimit.prune(now.uptime)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropAbandonedLocked()
	var due []*pod
	for _, p := range c.pods {
		switch {
		case p.useless(now):
			c.dropLocked(p)
		case p.renewAt.until(now) <= 0:
			due = append(due, p)
		}
	}
	slices.SortFunc(due, func(a, b *pod) int { return cmp.Compare(a.answer.ends.until(now), b.answer.ends.until(now)) })
	for _, p := range due {
		if !c.mayRenewLocked(now.uptime) {
			return
		}
		lane := lane{p.source, p.key}
		if c.lanes[lane] || c.exchanges[p.newest] != nil {
			continue // the pod itself asks, with another token
		}
		c.renewals.take(now.uptime)
		// On success this is set anew.
		p.renewAt = now.add(retryInterval + time.Duration(c.rand()*float64(retryInterval)))
		c.startLocked(&exchange{fingerprint: p.newest, token: p.token, claims: p.claims, lane: lane, renews: p, done: make(chan struct{})})
	}
}

// mayRenewLocked tells whether one more renewal may start. Whenever an exchange ends, a pod that waits goes first.
func (c *cache) mayRenewLocked(uptime time.Duration) bool {
	return uptime >= c.resumeAt && c.renewing < maxRenewing && len(c.lanes) < maxExchanges && c.renewals.pause(uptime) == 0
}

// useless tells whether the pod's credentials or all its tokens have expired, or the pod has not come back for new credentials
// when those it was given expired, which a living pod that uses them does.
func (p *pod) useless(now moment) bool {
	return p.answer.ends.until(now) < minLife || !now.wall.Before(p.claims.expiresAt) || p.neededTo.until(now) <= 0
}
