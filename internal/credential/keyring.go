package credential

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
)

var (
	// ErrInvalid is returned for a token or sealed secret that this keyring has not made, that was changed, or that belongs to
	// another access key or purpose. Which of these it is cannot be told.
	ErrInvalid = errors.New("not sealed by this keyring for this purpose")
	// ErrUnknownEpoch is the [ErrInvalid] for one that says it was sealed under an epoch that the keyring does not have: a forgery, or
	// an epoch that this server has yet to learn of, or one that was dropped.
	ErrUnknownEpoch = fmt.Errorf("%w: its epoch is unknown", ErrInvalid)
)

// maxSealed is the largest sealed secret, in bytes.
const maxSealed = 64 << 10

// A box is version ‖ epoch ‖ salt ‖ nonce ‖ ciphertext ‖ tag. Every box has a key of its own, derived from the epoch's and the
// salt, so the number of boxes has no bound to keep (NIST SP 800-38D allows 2³² random nonces for a key). The epoch is selected
// by its id and not by trying, since AES-GCM does not commit to a key.
const (
	boxVersion = 1
	saltSize   = 16
	headerSize = 1 + 4 + saltSize
)

// Keyring seals and opens. It is safe for concurrent use.
type Keyring struct {
	root RootKey
	mu   sync.Mutex // held while a ring is replaced
	ring atomic.Pointer[ring]
}

// ring is the epochs' keys. It is replaced, never changed.
type ring struct {
	newest uint32
	keys   map[uint32][]byte
}

// Format writes [redacted].
func (*Keyring) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// NewKeyring unwraps the epochs, of which there must be at least one. It returns [ErrWrongRootKey] if root did not wrap them.
func NewKeyring(root RootKey, epochs ...Epoch) (*Keyring, error) {
	if len(epochs) == 0 {
		return nil, errors.New("making a keyring: no epoch")
	}
	k := &Keyring{root: root}
	k.ring.Store(new(ring))
	for _, e := range epochs {
		if err := k.Add(e); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// Add adds an epoch. If it is the newest, it seals from now on; servers that do not have it yet cannot open what it seals.
// Adding one again changes nothing. It returns [ErrWrongRootKey], or an error if another key has the same id.
func (k *Keyring) Add(e Epoch) error {
	key, err := k.root.unwrap(e)
	if err != nil {
		return fmt.Errorf("unwrapping key epoch %d: %w", e.ID, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.ring.Load()
	if known, ok := old.keys[e.ID]; ok && !bytes.Equal(known, key) {
		return fmt.Errorf("adding key epoch %d: another key has this id", e.ID)
	}
	next := &ring{newest: max(old.newest, e.ID), keys: map[uint32][]byte{e.ID: key}}
	maps.Copy(next.keys, old.keys)
	k.ring.Store(next)
	return nil
}

// Seal seals a secret that is to be stored, at most 64 KiB less 49 bytes. Purpose says what it is, and which (access-key/AKIA…):
// only who names the same purpose can open it, so one stored secret cannot be put in the place of another.
func (k *Keyring) Seal(purpose string, plain []byte) ([]byte, error) {
	box, _, err := k.seal("podid/seal/v1", purpose, plain)
	if err == nil && len(box) > maxSealed {
		return nil, fmt.Errorf("sealing %s: %d bytes are too many", purpose, len(plain))
	}
	return box, err
}

// Unseal opens what Seal has sealed for the same purpose. It returns [ErrInvalid].
func (k *Keyring) Unseal(purpose string, sealed []byte) ([]byte, error) {
	if len(sealed) > maxSealed {
		return nil, ErrInvalid
	}
	plain, _, err := k.open("podid/seal/v1", purpose, sealed)
	return plain, err
}

// seal makes a box that is bound to what kind of thing it is and to which. It also returns the secret that the box's key was
// derived from, for further keys.
func (k *Keyring) seal(kind, bound string, plain []byte) (box, boxSecret []byte, err error) {
	r := k.ring.Load()
	box = make([]byte, 0, headerSize+12+len(plain)+16)
	box = binary.BigEndian.AppendUint32(append(box, boxVersion), r.newest)
	box = append(box, randomBytes(saltSize)...)
	boxSecret, key, err := derive(r.keys[r.newest], box, kind)
	if err != nil {
		return nil, nil, err
	}
	return newAEAD(key).Seal(box, nil, plain, append(bytes.Clone(box), bound...)), boxSecret, nil
}

// open is the reverse of seal.
func (k *Keyring) open(kind, bound string, box []byte) (plain, boxSecret []byte, err error) {
	if len(box) < headerSize || box[0] != boxVersion {
		return nil, nil, ErrInvalid
	}
	header := box[:headerSize:headerSize]
	epochKey, ok := k.ring.Load().keys[binary.BigEndian.Uint32(header[1:])]
	if !ok {
		return nil, nil, ErrUnknownEpoch
	}
	boxSecret, key, err := derive(epochKey, header, kind)
	if err != nil {
		return nil, nil, err
	}
	plain, err = newAEAD(key).Open(nil, nil, box[headerSize:], append(header, bound...))
	if err != nil {
		return nil, nil, ErrInvalid
	}
	return plain, boxSecret, nil
}

// derive derives the key of a box from its epoch's and the salt in its header.
func derive(epochKey, header []byte, kind string) (boxSecret, key []byte, err error) {
	boxSecret, err = hkdf.Extract(sha256.New, epochKey, header[headerSize-saltSize:])
	if err != nil {
		return nil, nil, fmt.Errorf("deriving a key: %w", err)
	}
	key, err = hkdf.Expand(sha256.New, boxSecret, kind, keySize)
	if err != nil {
		return nil, nil, fmt.Errorf("deriving a key: %w", err)
	}
	return boxSecret, key, nil
}
