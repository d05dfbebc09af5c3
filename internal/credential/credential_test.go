package credential

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/podid/podid/internal/identity"
)

var now = time.Date(2024, 1, 31, 23, 59, 59, 0, time.UTC)

// rootKey returns a root key of its own file.
func rootKey(t testing.TB) RootKey {
	t.Helper()
	root, err := LoadOrCreateRootKey(filepath.Join(t.TempDir(), "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func newEpoch(t testing.TB, root RootKey, id uint32) Epoch {
	t.Helper()
	e, err := root.NewEpoch(id, now)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func newKeyring(t testing.TB, root RootKey, epochs ...Epoch) *Keyring {
	t.Helper()
	k, err := NewKeyring(root, epochs...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// podSession is what a pod gets: the six session tags of EKS Pod Identity.
func podSession() *identity.Session {
	return &identity.Session{
		RoleARN: "arn:aws:iam::111122223333:role/team/carts", RoleID: "AROARTX3GSDSXGHO2UL2A", AccountID: "111122223333",
		Name: "eks-prod-carts-7d4b9c6f5-x2xkq-8c6b6cf0-6a4f-4b3b-9bd5-6a8f6d2f6b5b",
		Tags: []identity.Tag{
			{Key: "eks-cluster-arn", Value: "arn:aws:eks:us-west-2:111122223333:cluster/prod"},
			{Key: "eks-cluster-name", Value: "prod"},
			{Key: "kubernetes-namespace", Value: "carts"},
			{Key: "kubernetes-service-account", Value: "carts"},
			{Key: "kubernetes-pod-name", Value: "carts-7d4b9c6f5-x2xkq"},
			{Key: "kubernetes-pod-uid", Value: "8c6b6cf0-6a4f-4b3b-9bd5-6a8f6d2f6b5b"},
		},
		TransitiveTagKeys: []string{
			"eks-cluster-arn", "eks-cluster-name", "kubernetes-namespace", "kubernetes-service-account", "kubernetes-pod-name", "kubernetes-pod-uid",
		},
		IssuedAt: now, ExpiresAt: now.Add(6 * time.Hour),
	}
}

func mint(t testing.TB, k *Keyring, s *identity.Session) identity.Credentials {
	t.Helper()
	c, err := k.Mint(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMintAndOpen(t *testing.T) {
	root := rootKey(t)
	epoch := newEpoch(t, root, 1)
	full := podSession()
	full.Policies, full.SourceIdentity = []string{`{"Version":"2012-10-17","Statement":[]}`}, "alice"
	full.Federated = map[string]string{"oidc.example.com/id/1:sub": "system:serviceaccount:carts:carts"}
	for name, session := range map[string]*identity.Session{"pod": podSession(), "full": full, "bare": {AccountID: "444455556666"}} {
		t.Run(name, func(t *testing.T) {
			c := mint(t, newKeyring(t, root, epoch), session)
			// Another server, which knows nothing but the stored epoch.
			got, secret, err := newKeyring(t, root, epoch).Open(c.AccessKeyID, c.SessionToken)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(session, got); diff != "" {
				t.Errorf("session (-want +got)\n%s", diff)
			}
			if !secret.Equal(c.SecretAccessKey) || len(secret.Reveal()) != 40 {
				t.Errorf("opened another secret than was minted, or one of %d characters", len(secret.Reveal()))
			}
			if account, ok := identity.AccountOfID(c.AccessKeyID); !ok || account != session.AccountID || c.AccessKeyID[:4] != "ASIA" {
				t.Errorf("access key id %s carries account %s", c.AccessKeyID, account)
			}
			if !c.ExpiresAt.Equal(session.ExpiresAt) {
				t.Errorf("expires at %v, want %v", c.ExpiresAt, session.ExpiresAt)
			}
			again := mint(t, newKeyring(t, root, epoch), session)
			if again.AccessKeyID == c.AccessKeyID || again.SecretAccessKey == c.SecretAccessKey || again.SessionToken == c.SessionToken {
				t.Errorf("two sessions have something in common")
			}
		})
	}
	if n := len(mint(t, newKeyring(t, root, epoch), podSession()).SessionToken.Reveal()); n > 1536 {
		t.Errorf("the token of a pod has %d characters, want at most 1536", n)
	}
}

func TestMintRefuses(t *testing.T) {
	root := rootKey(t)
	k := newKeyring(t, root, newEpoch(t, root, 1))
	for name, s := range map[string]*identity.Session{
		"no account": {}, "odd account": {AccountID: "1111-2222-3333"},
		"too long": {AccountID: "111122223333", Policies: []string{strings.Repeat("x", maxToken)}},
	} {
		if c, err := k.Mint(s); err == nil {
			t.Errorf("%s: minted %v", name, c)
		}
	}
}

// TestEveryBitOfATokenCounts flips each bit of a token, of the bytes it encodes and of the access key id, and cuts and extends it.
func TestEveryBitOfATokenCounts(t *testing.T) {
	root := rootKey(t)
	k := newKeyring(t, root, newEpoch(t, root, 1))
	c := mint(t, k, podSession())
	token := c.SessionToken.Reveal()
	refused := func(what, id, token string) {
		t.Helper()
		if s, _, err := k.Open(id, identity.Secret(token)); !errors.Is(err, ErrInvalid) || s != nil {
			t.Fatalf("%s: got %v, want ErrInvalid", what, err)
		}
	}
	for i := range 8 * len(token) {
		changed := []byte(token)
		changed[i/8] ^= 1 << (i % 8)
		refused(fmt.Sprint("character ", i/8, " bit ", i%8), c.AccessKeyID, string(changed))
	}
	box, err := noPadding.DecodeString(strings.TrimPrefix(token, tokenPrefix))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(box) {
		changed := bytes.Clone(box)
		changed[i/8] ^= 1 << (i % 8)
		refused(fmt.Sprint("byte ", i/8, " bit ", i%8), c.AccessKeyID, tokenPrefix+noPadding.EncodeToString(changed))
	}
	for i := range token {
		refused(fmt.Sprint("cut at ", i), c.AccessKeyID, token[:i])
		refused(fmt.Sprint("line break at ", i), c.AccessKeyID, token[:i]+"\n"+token[i:])
	}
	for _, end := range []string{"\n", "=", "==", "A", "AAAA", "\x00", strings.Repeat("A", maxToken)} {
		refused("extended", c.AccessKeyID, token+end)
	}
	for i := range 8 * len(c.AccessKeyID) {
		changed := []byte(c.AccessKeyID)
		changed[i/8] ^= 1 << (i % 8)
		refused("other access key id", string(changed), token)
	}
	refused("access key id of another session", mint(t, k, podSession()).AccessKeyID, token)
	refused("no access key id", "", token)
	other := rootKey(t)
	k = newKeyring(t, other, newEpoch(t, other, 1))
	refused("another installation", c.AccessKeyID, token)
}

func TestSealIsBoundToItsPurpose(t *testing.T) {
	root := rootKey(t)
	k := newKeyring(t, root, newEpoch(t, root, 7))
	rapid.Check(t, func(t *rapid.T) {
		purpose, plain := rapid.String().Draw(t, "purpose"), rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		sealed, err := k.Seal(purpose, plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Unseal(purpose, sealed); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("got %x, %v, want %x", got, err, plain)
		}
		if other := rapid.String().Draw(t, "other"); other != purpose {
			if _, err := k.Unseal(other, sealed); !errors.Is(err, ErrInvalid) {
				t.Fatalf("for purpose %q: got %v, want ErrInvalid", other, err)
			}
		}
		i := rapid.IntRange(0, 8*len(sealed)-1).Draw(t, "bit")
		sealed[i/8] ^= 1 << (i % 8)
		if _, err := k.Unseal(purpose, sealed); !errors.Is(err, ErrInvalid) {
			t.Fatalf("bit %d flipped: got %v, want ErrInvalid", i, err)
		}
	})
	if _, err := k.Seal("p", make([]byte, maxSealed)); err == nil {
		t.Error("sealed what Unseal would refuse")
	}
	if _, err := k.Unseal("p", make([]byte, maxSealed+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("too long: got %v, want ErrInvalid", err)
	}
	// What is sealed as a session's token is not a stored secret, and the other way round.
	c := mint(t, k, podSession())
	box, _ := noPadding.DecodeString(strings.TrimPrefix(c.SessionToken.Reveal(), tokenPrefix))
	if _, err := k.Unseal(c.AccessKeyID, box); !errors.Is(err, ErrInvalid) {
		t.Errorf("a token as a stored secret: got %v, want ErrInvalid", err)
	}
	plain, _ := json.Marshal(podSession())
	sealed, _ := k.Seal(c.AccessKeyID, plain)
	if _, _, err := k.Open(c.AccessKeyID, identity.Secret(tokenPrefix+noPadding.EncodeToString(sealed))); !errors.Is(err, ErrInvalid) {
		t.Errorf("a stored secret as a token: got %v, want ErrInvalid", err)
	}
}

func TestRotation(t *testing.T) {
	root := rootKey(t)
	first, second := newEpoch(t, root, 1), newEpoch(t, root, 2)
	k := newKeyring(t, root, first)
	old := mint(t, k, podSession())
	if err := k.Add(second); err != nil {
		t.Fatal(err)
	}
	young := mint(t, k, podSession())
	opens := func(k *Keyring, c identity.Credentials) error {
		_, _, err := k.Open(c.AccessKeyID, c.SessionToken)
		return err
	}
	if err := errors.Join(opens(k, old), opens(k, young), opens(newKeyring(t, root, second, first), old)); err != nil {
		t.Errorf("with both epochs: %v", err)
	}
	for name, err := range map[string]error{
		"without the newer": opens(newKeyring(t, root, first), young),
		"without the older": opens(newKeyring(t, root, second), old),
	} {
		if !errors.Is(err, ErrUnknownEpoch) || !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrUnknownEpoch", name, err)
		}
	}
	if err := k.Add(first); err != nil || opens(newKeyring(t, root, second), mint(t, k, podSession())) != nil {
		t.Errorf("adding the older again: %v; the newer must still seal", err)
	}
	if err := k.Add(newEpoch(t, root, 2)); err == nil || errors.Is(err, ErrWrongRootKey) {
		t.Errorf("adding another key with the id of one: got %v, want an error", err)
	}
}

func TestEpochs(t *testing.T) {
	root := rootKey(t)
	epoch := newEpoch(t, root, 1)
	stored, err := json.Marshal(epoch)
	if err != nil {
		t.Fatal(err)
	}
	var loaded Epoch
	if err := json.Unmarshal(stored, &loaded); err != nil || cmp.Diff(epoch, loaded) != "" {
		t.Errorf("epoch after being stored: %v, %s", err, cmp.Diff(epoch, loaded))
	}
	renamed, damaged, cut := epoch, epoch, epoch
	renamed.ID = 2
	damaged.WrappedKey = bytes.Clone(epoch.WrappedKey)
	damaged.WrappedKey[20] ^= 1
	cut.WrappedKey = nil
	for name, e := range map[string]Epoch{"renamed": renamed, "damaged": damaged, "cut": cut, "of another root": newEpoch(t, rootKey(t), 1)} {
		if _, err := NewKeyring(root, e); !errors.Is(err, ErrWrongRootKey) {
			t.Errorf("%s: got %v, want ErrWrongRootKey", name, err)
		}
	}
	if _, err := NewKeyring(root); err == nil {
		t.Error("made a keyring without an epoch")
	}
	if _, err := (RootKey{}).NewEpoch(1, now); err == nil {
		t.Error("made an epoch without a root key")
	}
	if _, err := NewKeyring(RootKey{}, epoch); err == nil {
		t.Error("made a keyring without a root key")
	}
}

func TestConcurrentUse(t *testing.T) {
	root := rootKey(t)
	k := newKeyring(t, root, newEpoch(t, root, 1))
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 50 {
				c, err := k.Mint(podSession())
				if err == nil {
					_, _, err = k.Open(c.AccessKeyID, c.SessionToken)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for id := uint32(2); id < 10; id++ {
		if err := k.Add(newEpoch(t, root, id)); err != nil {
			t.Error(err)
		}
	}
	group.Wait()
}

func TestRootKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	root, err := LoadOrCreateRootKey(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("created with mode %v, %v, want 0600", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	again, err := LoadOrCreateRootKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewKeyring(again, newEpoch(t, root, 1)); err != nil {
		t.Errorf("read another key than was written: %v", err)
	}
}

func TestRootKeyFileIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	roots := make([]RootKey, 8)
	var group sync.WaitGroup
	for i := range roots {
		group.Go(func() {
			var err error
			if roots[i], err = LoadOrCreateRootKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	epoch := newEpoch(t, roots[0], 1)
	for _, root := range roots {
		if _, err := NewKeyring(root, epoch); err != nil {
			t.Errorf("two who start at the same time have different keys: %v", err)
		}
	}
}

func TestRootKeyFileRefused(t *testing.T) {
	good := strings.Repeat("0f", keySize)
	tests := map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"group can read":  {good, 0o640, "chmod 600"},
		"others can read": {good, 0o604, "chmod 600"},
		"group can write": {good, 0o620, "chmod 600"},
		"empty":           {"", 0o600, "64 hexadecimal digits"},
		"short":           {good[2:], 0o600, "64 hexadecimal digits"},
		"long":            {good + "00", 0o600, "64 hexadecimal digits"},
		"endless":         {strings.Repeat(good, 100), 0o600, "64 hexadecimal digits"},
		"not hexadecimal": {"zz" + good[2:], 0o600, "64 hexadecimal digits"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "root.key")
			if err := errors.Join(os.WriteFile(path, []byte(tt.text), 0o600), os.Chmod(path, tt.mode)); err != nil {
				t.Fatal(err)
			}
			_, err := LoadOrCreateRootKey(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), good[2:]) {
				t.Errorf("got %v, want an error with %q and not the key", err, tt.want)
			}
			if after, _ := os.ReadFile(path); string(after) != tt.text {
				t.Error("the file was changed")
			}
		})
	}
	if _, err := LoadOrCreateRootKey(t.TempDir()); err == nil {
		t.Error("a directory was taken for a file")
	}
	if _, err := LoadOrCreateRootKey(filepath.Join(t.TempDir(), "absent", "root.key")); err == nil {
		t.Error("a key was made in a directory that is not there")
	}
	for _, mode := range []os.FileMode{0o400, 0o600} {
		path := filepath.Join(t.TempDir(), "root.key")
		if err := os.WriteFile(path, []byte(good+"\n"), mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateRootKey(path); err != nil {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
}

func TestKeysNeverShow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	if err := os.WriteFile(path, []byte(strings.Repeat("0f", keySize)), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := LoadOrCreateRootKey(path)
	if err != nil {
		t.Fatal(err)
	}
	k := newKeyring(t, root, newEpoch(t, root, 1))
	epochKey := k.ring.Load().keys[1]
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s", "%d"} {
		shown := fmt.Sprintf(verb+verb+verb, root, &root, k)
		if strings.Contains(shown, "0f0f") || strings.Contains(shown, "15 15") || strings.Contains(shown, hex.EncodeToString(epochKey)) ||
			strings.Count(shown, "[redacted]") != 3 {
			t.Errorf("%s shows %s", verb, shown)
		}
	}
}

// FuzzOpen opens tokens from the network: whatever they are, they are refused without a panic.
func FuzzOpen(f *testing.F) {
	root := rootKey(f)
	k := newKeyring(f, root, newEpoch(f, root, 1))
	c := mint(f, k, podSession())
	f.Add(c.AccessKeyID, c.SessionToken.Reveal())
	f.Fuzz(func(t *testing.T, id, token string) {
		if id == c.AccessKeyID && token == c.SessionToken.Reveal() {
			return
		}
		if s, secret, err := k.Open(id, identity.Secret(token)); !errors.Is(err, ErrInvalid) || s != nil || secret != "" {
			t.Errorf("got %v, %v, want ErrInvalid", s, err)
		}
	})
}

func BenchmarkMint(b *testing.B) {
	root := rootKey(b)
	k := newKeyring(b, root, newEpoch(b, root, 1))
	s := podSession()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Mint(s); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(mint(b, k, s).SessionToken.Reveal())), "token-characters")
}

func BenchmarkOpen(b *testing.B) {
	root := rootKey(b)
	k := newKeyring(b, root, newEpoch(b, root, 1))
	c := mint(b, k, podSession())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := k.Open(c.AccessKeyID, c.SessionToken); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeSession is the part of BenchmarkOpen that is not cryptography.
func BenchmarkDecodeSession(b *testing.B) {
	plain, err := json.Marshal(podSession())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := json.Unmarshal(plain, new(identity.Session)); err != nil {
			b.Fatal(err)
		}
	}
}
