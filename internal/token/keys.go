package token

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

const (
	maxKeys      = 100              // in a key set
	cooldown     = 10 * time.Second // between fetches that tokens cause
	retryAfter   = 30 * time.Second // a background refresh that failed
	minRefresh   = 5 * time.Minute  // between background refreshes
	maxRefresh   = time.Hour
	maxAge       = 24 * time.Hour // of keys that could not be refreshed
	missingFor   = time.Minute    // how long a key id that was not found is not asked for again
	maxMissing   = 1000           // such key ids remembered per issuer
	fetchTimeout = 10 * time.Second
)

// keySet is the public keys of an issuer at one time, by key id. It is never changed: another address means other keys.
type keySet struct {
	source []byte // what it was parsed from
	byID   map[string]*jose.JSONWebKey
}

// parseKeySet reads a JSON web key set. Keys that cannot sign tokens as we take them are left out: other kinds, for encryption, without an
// id, private or too short. A set in which no key is left is an error.
func parseKeySet(source []byte) (*keySet, error) {
	if len(source) > maxBody {
		return nil, fmt.Errorf("a JSON web key set of %d bytes is over the limit of %d", len(source), maxBody)
	}
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(source, &raw); err != nil {
		return nil, fmt.Errorf("reading a JSON web key set: %w", err)
	}
	if len(raw.Keys) > maxKeys {
		return nil, fmt.Errorf("a JSON web key set of %d keys is over the limit of %d", len(raw.Keys), maxKeys)
	}
	set := &keySet{source, map[string]*jose.JSONWebKey{}}
	for _, r := range raw.Keys {
		var secret struct{ D, K json.RawMessage } // checked first: reading a private key is costly
		var key jose.JSONWebKey
		if json.Unmarshal(r, &secret) != nil || secret.D != nil || secret.K != nil || json.Unmarshal(r, &key) != nil || !usable(&key) {
			continue
		}
		if _, twice := set.byID[key.KeyID]; !twice {
			set.byID[key.KeyID] = &key
		}
	}
	if len(set.byID) == 0 {
		return nil, errors.New("a JSON web key set has no key with an id that can verify RS256 or ES256 and the like")
	}
	return set, nil
}

// CheckKeys tells whether a JSON web key set may be uploaded as [Issuer].Keys: at most 1 MiB and 100 keys, and at least one of them of use.
func CheckKeys(jwks json.RawMessage) error {
	_, err := parseKeySet(jwks)
	return err
}

func usable(key *jose.JSONWebKey) bool {
	if key.KeyID == "" || key.Use != "" && key.Use != "sig" || !key.Valid() {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() >= minRSA
	case *ecdsa.PublicKey:
		return true
	default:
		return false
	}
}

// keys is the current keys of one issuer and how they are renewed.
type keys struct {
	url      string // of the issuer
	log      *slog.Logger
	now      func() time.Time
	fetch    func(ctx context.Context) (source []byte, refresh time.Duration, err error) // nil if the keys were uploaded
	flight   singleflight.Group
	mu       sync.Mutex           // guards the following
	set      *keySet              // nil until the first fetch that succeeded
	asOf     time.Time            // when the set was the issuer's
	tried    time.Time            // when the last fetch began
	fetching bool                 // it has not ended
	failure  error                // of the last fetch; nil if it succeeded
	refresh  time.Time            // when the background refresh is due
	missing  map[string]time.Time // when key ids were last found not to be in the set
	used     time.Time            // when a token of the issuer was last seen
}

// current returns the keys at hand, nil if there are none.
func (k *keys) current() *keySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.currentLocked()
}

func (k *keys) currentLocked() *keySet {
	if k.set == nil || k.fetch != nil && k.now().Sub(k.asOf) >= maxAge {
		return nil
	}
	return k.set
}

// get returns the set that has a key, for a token that was issued at a time. If no set at hand has it the keys are fetched, once
// for all who wait.
func (k *keys) get(ctx context.Context, id string, issuedAt time.Time) (*keySet, error) {
	set, err := k.lookup(id, issuedAt)
	if set != nil || err != nil {
		return set, err
	}
	asked := k.now()
	select {
	case <-k.flight.DoChan("", func() (any, error) { k.renewNow(context.WithoutCancel(ctx)); return nil, nil }):
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	set = k.currentLocked()
	switch {
	case set.has(id):
		return set, nil
	case k.failure != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, k.failure)
	case k.asOf.Before(asked) && !k.coversLocked(issuedAt): // it was under way when we asked
		return nil, tooNew(id)
	}
	if len(k.missing) >= maxMissing {
		clear(k.missing)
	}
	k.missing[id] = asked
	return nil, unknownKey(id)
}

// lookup answers from what is at hand. Neither a set nor an error means that the keys should be fetched.
func (k *keys) lookup(id string, issuedAt time.Time) (*keySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	set := k.currentLocked()
	since, missed := k.missing[id]
	switch {
	case set.has(id):
		return set, nil
	case k.fetch == nil:
		return nil, unknownKey(id)
	case missed && now.Sub(since) < missingFor:
		return nil, unknownKey(id)
	case k.fetching || now.Sub(k.tried) >= cooldown:
		return nil, nil
	case k.failure != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, k.failure)
	case k.coversLocked(issuedAt):
		return nil, unknownKey(id)
	}
	return nil, tooNew(id)
}

// coversLocked tells whether the set at hand must have the key of a token that was issued at a time: issuers publish keys before they
// sign with them. The times of tokens are whole seconds.
func (k *keys) coversLocked(issuedAt time.Time) bool {
	return issuedAt.Before(k.asOf.Truncate(time.Second))
}

func (s *keySet) has(id string) bool { return s != nil && s.byID[id] != nil }

func unknownKey(id string) error {
	return &InvalidError{fmt.Sprintf("its issuer has no key with the id %.100q", id)}
}

// tooNew is the fault that a token is newer than the keys at hand, so that its key may be too, and they may not be fetched again yet.
func tooNew(id string) error {
	return fmt.Errorf("%w: the key with the id %.100q is not among those fetched a moment ago", ErrUnavailable, id)
}

// renewNow renews the keys unless that was done a moment ago, by another flight that ended just before ours began.
func (k *keys) renewNow(ctx context.Context) {
	k.mu.Lock()
	done := k.now().Sub(k.tried) < cooldown
	k.mu.Unlock()
	if !done {
		_ = k.renew(ctx) // kept as k.failure
	}
}

// renew fetches the keys. On failure those at hand stay, and the log tells why: those who wait for the keys are not told.
func (k *keys) renew(ctx context.Context) error {
	err := k.fetchSet(ctx)
	if err != nil && ctx.Err() == nil {
		k.log.WarnContext(ctx, "keys of an issuer could not be fetched", "issuer", k.url, "err", err)
	}
	return err
}

func (k *keys) fetchSet(ctx context.Context) error {
	began := k.now()
	k.mu.Lock()
	k.tried, k.fetching = began, true
	k.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	source, refresh, err := k.fetch(ctx)
	var set *keySet
	if err == nil {
		set, err = parseKeySet(source)
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	k.failure, k.fetching = err, false
	if err != nil {
		k.refresh = began.Add(retryAfter)
		return err
	}
	if k.set == nil || !bytes.Equal(k.set.source, source) { // the same keys stay the same set, and verifications by it stay good
		k.set = set
	}
	k.asOf = began
	k.refresh = began.Add(min(max(refresh, minRefresh), maxRefresh))
	return nil
}
