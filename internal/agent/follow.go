package agent

import (
	"time"

	"github.com/podid/podid/internal/feed"
	"github.com/podid/podid/internal/identity"
)

const (
	// changeSpread is the time in which the pods of an association that has changed are renewed, so that not all nodes come at once.
	changeSpread = 2 * time.Second
	// listSpread is the same when the feed has lost its place and lists all associations: some may have changed, most have not.
	listSpread = 10 * time.Minute
)

// news is what the feed of associations has told.
type news struct {
	followed bool  // there is a feed
	up       bool  // it is connected
	revision int64 // of the server's state, up to which everything has been told
	// listed are the service accounts of the cached pods while all associations are listed, and whether they have been among them.
	listed map[identity.ServiceAccount]bool
}

// sink is what the cache does with the feed of associations: it renews the credentials of pods whose association has changed. What
// the feed says decides nothing else. EKS Auth alone says who gets credentials, so a feed that is wrong costs an exchange.
func (c *cache) sink() feed.Sink {
	return feed.Sink{
		List:   c.listBegins,
		Put:    func(a feed.Association) { c.told(a.ServiceAccount) },
		Delete: c.told,
		Mark:   c.listEnds,
		Lost: func(error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.news.up, c.news.listed = false, nil
		},
	}
}

// listBegins notes whose associations have to be among those that follow.
func (c *cache) listBegins() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.news.listed = map[identity.ServiceAccount]bool{}
	for _, p := range c.pods {
		c.news.listed[p.claims.subject.ServiceAccount] = false
	}
}

// told takes the word that a service account's association is there, has changed or is gone.
func (c *cache) told(account identity.ServiceAccount) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.news.listed == nil {
		c.changedLocked(account)
	} else if _, cached := c.news.listed[account]; cached {
		c.news.listed[account] = true
	}
}

// listEnds renews those that were not in the list at once, and the others some time.
func (c *cache) listEnds(mark feed.Mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	listed := c.news.listed
	if !c.news.up {
		c.log.Info("associations are followed", "revision", mark.Revision)
	}
	c.news = news{followed: true, up: true, revision: mark.Revision}
	if !mark.Listed || listed == nil {
		return
	}
	for _, p := range c.pods {
		there, cached := listed[p.claims.subject.ServiceAccount]
		switch {
		case !cached: // came while the list did
		case there:
			c.renewWithinLocked(p, listSpread)
		default:
			c.renewWithinLocked(p, changeSpread)
		}
	}
}

// changedLocked renews the credentials of the service account's pods. What is under way may have been made of what was before.
func (c *cache) changedLocked(account identity.ServiceAccount) {
	for _, p := range c.pods {
		if p.claims.subject.ServiceAccount == account {
			c.renewWithinLocked(p, changeSpread)
		}
	}
	for _, x := range c.exchanges {
		if x.claims.subject.ServiceAccount == account {
			x.outdated = x.started
		}
	}
}

// renewWithinLocked brings a pod's renewal forward to some moment within the span.
func (c *cache) renewWithinLocked(p *pod, span time.Duration) {
	now := c.moment()
	if at := now.add(time.Duration(c.rand() * float64(span))); at.until(now) < p.renewAt.until(now) {
		p.renewAt = at
	}
}
