package facts

import (
	"crypto/sha256"
	"sync"

	"github.com/podid/podid/internal/identity"
)

// digest stands for a service account in a [set]: half of a SHA-256, so that 100,000 take some megabytes however long their names.
type digest [16]byte

func digestOf(account identity.ServiceAccount) (d digest) {
	text := make([]byte, 0, 128)
	text = append(text, account.Namespace...)
	text = append(text, '/')
	text = append(text, account.Name...)
	sum := sha256.Sum256(text)
	copy(d[:], sum[:])
	return d
}

// set is a set of service accounts. It is safe for concurrent use by many who ask and one who changes it.
//
// It can be brought up to date by a list without being empty meanwhile: what was there stays until the list has ended without it.
type set struct {
	mu      sync.RWMutex     // guards the following
	members map[digest]uint8 // and the list that each was last seen in
	list    uint8            // the latest
}

func newSet() *set { return &set{members: map[digest]uint8{}} }

func (s *set) has(account identity.ServiceAccount) bool {
	d := digestOf(account)
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.members[d]
	return ok
}

// add returns whether the account was new.
func (s *set) add(account identity.ServiceAccount) bool { return s.addDigest(digestOf(account)) }

func (s *set) addDigest(d digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, had := s.members[d]
	s.members[d] = s.list
	return !had
}

// remove returns whether the account was there.
func (s *set) remove(account identity.ServiceAccount) bool {
	d := digestOf(account)
	s.mu.Lock()
	defer s.mu.Unlock()
	_, had := s.members[d]
	delete(s.members, d)
	return had
}

// beginList says that all members will be added now.
func (s *set) beginList() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list++
	if s.list != 0 {
		return
	}
	for d := range s.members { // it has come round: no member may look as if it had just been listed
		s.members[d] = 255
	}
}

// endList removes the members that were not added since beginList, and returns how many.
func (s *set) endList() (removed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, list := range s.members {
		if list != s.list {
			delete(s.members, d)
			removed++
		}
	}
	return removed
}

func (s *set) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.members)
}

// digests returns all members.
func (s *set) digests() []digest {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]digest, 0, len(s.members))
	for d := range s.members {
		all = append(all, d)
	}
	return all
}
