package credential

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const keySize = 32

// ErrWrongRootKey is returned for an epoch that another root key has wrapped, or that is damaged.
var ErrWrongRootKey = errors.New("not wrapped by this root key: the root key file does not belong to this data")

// RootKey wraps the epoch keys. It is shown as [redacted]. The zero RootKey is not usable.
type RootKey struct{ aead cipher.AEAD }

// Format writes [redacted].
func (RootKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// LoadOrCreateRootKey reads the root key from a file, which holds 64 hexadecimal digits and may be read by its owner only.
// If there is no file it makes a key and the file: complete and on disk, or not at all, even if another process does the same.
func LoadOrCreateRootKey(path string) (RootKey, error) {
	key, err := readRootKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createRootKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return RootKey{}, fmt.Errorf("creating the root key: %w", err)
		}
		key, err = readRootKey(path)
	}
	if err != nil {
		return RootKey{}, fmt.Errorf("reading the root key: %w", err)
	}
	return RootKey{newAEAD(key)}, nil
}

func readRootKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %v; it must be a file that only its owner can read: chmod 600", path, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keySize { // err is not shown: it would quote the file
		return nil, fmt.Errorf("%s must hold %d hexadecimal digits", path, 2*keySize)
	}
	return key, nil
}

// createRootKey writes a new key beside the file and then gives it the file's name, which fails with [fs.ErrExist] if somebody
// was faster.
func createRootKey(path string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".root-key-*") // mode 0600, O_EXCL
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.WriteString(hex.EncodeToString(randomBytes(keySize)) + "\n"); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Epoch is a key that sessions and secrets are sealed with, as it is stored: wrapped by the root key.
type Epoch struct {
	ID         uint32    `json:"id"` // rises; the highest seals
	WrappedKey []byte    `json:"wrappedKey"`
	CreatedAt  time.Time `json:"createdAt"`
}

// NewEpoch makes a random key and wraps it.
func (r RootKey) NewEpoch(id uint32, now time.Time) (Epoch, error) {
	if r.aead == nil {
		return Epoch{}, errors.New("making an epoch: no root key")
	}
	return Epoch{ID: id, WrappedKey: r.aead.Seal(nil, nil, randomBytes(keySize), wrapData(id)), CreatedAt: now}, nil
}

func (r RootKey) unwrap(e Epoch) ([]byte, error) {
	if r.aead == nil {
		return nil, errors.New("no root key")
	}
	key, err := r.aead.Open(nil, nil, e.WrappedKey, wrapData(e.ID))
	if err != nil || len(key) != keySize {
		return nil, ErrWrongRootKey
	}
	return key, nil
}

// wrapData binds a wrapped key to its purpose and id, so that one cannot be stored in the place of another.
func wrapData(id uint32) []byte { return binary.BigEndian.AppendUint32([]byte("podid/epoch/v1/"), id) }

// newAEAD returns AES-256-GCM that draws its nonces itself and puts them before the ciphertext.
func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("credential: " + err.Error()) // the length of a key is never in doubt
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("credential: " + err.Error())
	}
	return aead
}

// randomBytes always draws from the system. Keys are no place for a source that can be replaced.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it ends the program instead
	return b
}
