package token

import (
	"sync"
	"time"
)

const (
	rememberFor = 60 * time.Second
	maxVerified = 100_000 // tokens remembered
)

// verifications remembers tokens whose signature was verified. Entries are kept in two maps: the young one takes the new ones,
// and becomes the old one, whose entries are dropped, when it is half of the limit or a minute old. So nothing has to be searched
// for what is out of date, and more tokens than the limit cost signatures, not memory.
type verifications struct {
	mu         sync.RWMutex // guards the following
	young, old map[[32]byte]verification
	turnedAt   time.Time
}

type verification struct {
	claims *Claims
	by     *keySet // the issuer's keys at the time
	at     time.Time
}

// get returns the claims of a token that was verified within the last minute with these very keys.
func (v *verifications) get(digest [32]byte, by *keySet, now time.Time) (*Claims, bool) {
	v.mu.RLock()
	found, ok := v.young[digest]
	if !ok {
		found, ok = v.old[digest]
	}
	v.mu.RUnlock()
	if !ok || by == nil || found.by != by || now.Sub(found.at) >= rememberFor {
		return nil, false
	}
	return found.claims, true
}

func (v *verifications) add(digest [32]byte, by *keySet, claims *Claims, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.young == nil || len(v.young) >= maxVerified/2 || now.Sub(v.turnedAt) >= rememberFor {
		v.young, v.old = map[[32]byte]verification{}, v.young
		v.turnedAt = now
	}
	v.young[digest] = verification{claims, by, now}
}
