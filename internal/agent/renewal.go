package agent

import (
	"context"
	"slices"
	"time"
)

const (
	sweepInterval = time.Second
	retryInterval = time.Minute // after a renewal that failed; up to as much again is added at random
	maxRenewing   = 32          // renewals at once: a bound for goroutines and connections while upstream is slow
)

// renewAt says when fetched credentials are to be renewed: after the retention time or seven tenths of their life, whichever is
// sooner, brought forward by up to a fifth at random, so that pods that started together do not renew together. Credentials of
// 59 minutes are so renewed before they enter the last 15 minutes, in which botocore would ask for others again and again.
func (c *cache) renewAt(a *answer, now time.Time) time.Time {
	now = now.Round(0) // by the wall clock, which goes on while the machine sleeps
	age := min(c.retention, a.expiresAt.Sub(now)*7/10)
	return now.Add(age - time.Duration(c.rand()*float64(age)/5))
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
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	var due []*pod
	for _, p := range c.pods {
		switch {
		case p.useless(now):
			c.dropLocked(p)
		case !now.Before(p.renewAt):
			due = append(due, p)
		}
	}
	slices.SortFunc(due, func(a, b *pod) int { return a.answer.expiresAt.Compare(b.answer.expiresAt) })
	for _, p := range due {
		if c.renewing >= maxRenewing || !c.renewals.AllowN(now, 1) {
			return
		}
		// On success this is set anew.
		p.renewAt = now.Add(retryInterval + time.Duration(c.rand()*float64(retryInterval)))
		c.renewing++
		c.startLocked(&exchange{fingerprint: p.newest, token: p.token, claims: p.claims, renews: p})
	}
}

// useless tells whether the pod's credentials or all its tokens have expired, or the pod has not come back for new credentials
// when those it was given expired, which a living pod that uses them does.
func (p *pod) useless(now time.Time) bool {
	return p.answer.expiresAt.Sub(now) < minLife || !now.Before(p.claims.expiresAt) || !now.Before(p.neededTo)
}
