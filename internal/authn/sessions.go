package authn

import (
	"strings"
	"sync"

	"github.com/podid/podid/internal/identity"
)

// maxSessions bounds the session tokens that are remembered, a few KiB each.
const maxSessions = 10_000

// sessions remembers session tokens that were opened, because whoever has one sends it with every request: a node agent all day.
// What is sealed in a token never changes. Whether the session is over, and whether its role is still there, is asked every time.
type sessions struct {
	mu         sync.RWMutex
	young, old map[sealed]opened // guarded by mu; at most maxSessions together
}

// sealed is what a token is opened with. Both must be the same for the same answer: a token is bound to its access key.
type sealed struct {
	accessKeyID string
	token       identity.Secret
}

type opened struct {
	session *identity.Session // shared by all requests; nobody changes it
	secret  identity.Secret
}

// open returns what open has returned before for the same token, or asks it.
func (s *sessions) open(accessKeyID string, token identity.Secret, open func(string, identity.Secret) (*identity.Session, identity.Secret, error)) (*identity.Session, identity.Secret, error) {
	key := sealed{accessKeyID, token}
	s.mu.RLock()
	found, ok := s.young[key]
	if !ok {
		found, ok = s.old[key]
	}
	s.mu.RUnlock()
	if ok {
		return found.session, found.secret, nil
	}
	session, secret, err := open(accessKeyID, token)
	if err != nil {
		return nil, "", err // not remembered: tokens that are made up must not push out those that are not
	}
	// The strings are parts of a request's headers, and would keep those alive.
	key = sealed{strings.Clone(accessKeyID), identity.Secret(strings.Clone(token.Reveal()))}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || len(s.young) >= maxSessions/2 { // what nobody has opened during a whole generation is dropped
		s.young, s.old = map[sealed]opened{}, s.young
	}
	s.young[key] = opened{session, secret}
	return session, secret, nil
}
