package authn

import (
	"errors"
	"fmt"
	"testing"

	"github.com/podid/podid/internal/identity"
)

func TestSessions(t *testing.T) {
	bad, calls := errors.New("not a token"), 0
	open := func(key string, token identity.Secret) (*identity.Session, identity.Secret, error) {
		calls++
		if token.Reveal() != "token of "+key {
			return nil, "", bad
		}
		return &identity.Session{Name: key}, identity.Secret("secret of " + key), nil
	}
	var s sessions
	check := func(key, token string, wantCalls int, wantErr error) {
		t.Helper()
		calls = 0
		session, secret, err := s.open(key, identity.Secret(token), open)
		if calls != wantCalls || !errors.Is(err, wantErr) {
			t.Errorf("%s, %s: %d calls and %v, want %d and %v", key, token, calls, err, wantCalls, wantErr)
		}
		if err == nil && (session.Name != key || secret.Reveal() != "secret of "+key) {
			t.Errorf("%s has the session of %s", key, session.Name)
		}
	}
	check("a", "token of a", 1, nil)
	check("a", "token of a", 0, nil)
	check("b", "token of a", 1, bad) // a token is good with its own access key only
	check("b", "token of a", 1, bad) // and what is not good is not remembered
	check("b", "token of b", 1, nil)
	check("a", "token of a", 0, nil)

	for i := range 3 * maxSessions {
		key := fmt.Sprint(i)
		check(key, "token of "+key, 1, nil)
		if n := len(s.young) + len(s.old); n > maxSessions {
			t.Fatalf("%d sessions are remembered", n)
		}
	}
	check(fmt.Sprint(3*maxSessions-1), fmt.Sprint("token of ", 3*maxSessions-1), 0, nil)
	check("a", "token of a", 1, nil) // crowded out
}
