package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	"github.com/podid/podid/internal/identity"
)

// Key is a signing key: derived from a secret access key, good for one day, region and service.
type Key [sha256.Size]byte

// Format writes [redacted]: a signing key is as secret as what it was derived from.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// DeriveKey derives the signing key of a secret access key for a credential scope. Date is 20240131.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html#derive-signing-key.
func DeriveKey(secret identity.Secret, date, region, service string) Key {
	key := sum([]byte("AWS4"+secret.Reveal()), []byte(date))
	key = sum(key[:], []byte(region))
	key = sum(key[:], []byte(service))
	return sum(key[:], []byte("aws4_request"))
}

// sum is HMAC-SHA256.
func sum(key, message []byte) (mac Key) {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	h.Sum(mac[:0])
	return mac
}

// Keys remembers derived signing keys, because a client signs all its requests of a day with the same one. It is safe for
// concurrent use. The secret itself is part of what a key is found by, so a rotated secret cannot meet an old key.
type Keys struct {
	limit int // of either generation

	mu         sync.RWMutex
	young, old map[derivation]Key // guarded by mu; at most limit keys each
}

type derivation struct {
	secret                identity.Secret
	date, region, service string
}

// NewKeys makes a cache of at most limit keys, about 200 bytes each.
func NewKeys(limit int) *Keys {
	return &Keys{limit: max(limit/2, 1), young: make(map[derivation]Key)}
}

// Derive is [DeriveKey], remembered.
func (k *Keys) Derive(secret identity.Secret, date, region, service string) Key {
	d := derivation{secret, date, region, service}
	k.mu.RLock()
	key, young := k.young[d]
	known := young
	if !young {
		key, known = k.old[d]
	}
	k.mu.RUnlock()
	if young {
		return key
	}
	if !known {
		key = DeriveKey(secret, date, region, service)
	}
	// The strings are parts of a request's headers, and would keep those alive.
	d = derivation{
		identity.Secret(strings.Clone(secret.Reveal())), strings.Clone(date), strings.Clone(region), strings.Clone(service),
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.young) >= k.limit { // what nobody asked for during a whole generation is dropped: yesterday's keys above all
		k.old, k.young = k.young, make(map[derivation]Key)
	}
	k.young[d] = key
	return key
}
