package token

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	maxIssuers = 10_000           // whose keys are kept
	unusedFor  = 24 * time.Hour   // after which an issuer's keys are dropped
	patrol     = 10 * time.Second // how often Run looks for keys to refresh
	parallel   = 8                // refreshes at a time
)

// issuers is the keys of all issuers in use.
type issuers struct {
	mu   sync.RWMutex // guards byID
	byID map[issuerID]*keys
}

// issuerID is what tells issuers apart. The URL alone does not: clusters that were made alike share it, each with its own keys. An
// issuer whose keys are uploaded anew is another one, so the old keys are out of use at once.
type issuerID struct{ url, keys, ca string }

// keysOf finds or makes the keys of an issuer. It fetches nothing.
func (v *Verifier) keysOf(issuer Issuer, now time.Time) (*keys, error) {
	v.issuers.mu.RLock()
	known := v.issuers.byID[issuerID{issuer.URL, string(issuer.Keys), string(issuer.CA)}]
	v.issuers.mu.RUnlock()
	if known == nil {
		made, err := v.open(issuer)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		made.used = now
		return v.issuers.add(issuerID{issuer.URL, string(issuer.Keys), string(issuer.CA)}, made), nil
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	known.used = now
	return known, nil
}

// add keeps the keys of an issuer, unless another call was faster. The issuer that was unused for longest makes room.
func (s *issuers) add(id issuerID, made *keys) *keys {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.byID[id]; known != nil {
		return known
	}
	if len(s.byID) >= maxIssuers {
		var oldest issuerID
		var since time.Time
		for id, k := range s.byID {
			if used := k.lastUsed(); since.IsZero() || used.Before(since) {
				oldest, since = id, used
			}
		}
		delete(s.byID, oldest)
	}
	s.byID[id] = made
	return made
}

func (k *keys) lastUsed() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.used
}

// open makes the keys of an issuer, from those uploaded or with the way to fetch them.
func (v *Verifier) open(issuer Issuer) (*keys, error) {
	k := &keys{url: issuer.URL, log: v.cfg.Logger, now: v.cfg.Now, missing: map[string]time.Time{}}
	if len(issuer.Keys) > 0 {
		var err error
		k.set, err = parseKeySet(issuer.Keys)
		return k, err
	}
	f, err := v.newFetcher(issuer)
	if err != nil {
		return nil, err
	}
	k.fetch = f.fetch
	return k, nil
}

// Run refreshes the keys of the issuers in use until ctx ends, and returns nil then.
func (v *Verifier) Run(ctx context.Context) error {
	tick := time.NewTicker(patrol)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			v.refresh(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// refresh renews all keys that are due and drops those of issuers that are not in use.
func (v *Verifier) refresh(ctx context.Context) {
	now := v.cfg.Now()
	due := map[issuerID]*keys{}
	v.issuers.mu.Lock()
	for id, k := range v.issuers.byID {
		k.mu.Lock()
		switch {
		case now.Sub(k.used) >= unusedFor:
			delete(v.issuers.byID, id)
		case k.fetch != nil && k.set != nil && !now.Before(k.refresh):
			due[id] = k
		}
		k.mu.Unlock()
	}
	v.issuers.mu.Unlock()

	var group errgroup.Group
	group.SetLimit(parallel)
	for _, k := range due {
		group.Go(func() error {
			_, _, _ = k.flight.Do("", func() (any, error) { return nil, k.renew(ctx) }) // a failure is kept, and has been logged
			return nil
		})
	}
	_ = group.Wait() // no refresh returns an error
}
