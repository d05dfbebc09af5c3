package directory_test

import (
	"testing"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/store/storetest"
)

func TestHoldsAccount(t *testing.T) {
	const first, member, left, users, strange = "111122223333", "444455556666", "777788889999", "222233334444", "999999999999"
	s := storetest.New(t)
	d := directory.New(s, first, member)
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	held := func(want bool, accounts ...string) {
		t.Helper()
		for _, id := range accounts {
			if got := d.HoldsAccount(id); got != want {
				t.Errorf("holds account %q: %v, want %v", id, got, want)
			}
		}
	}
	held(true, first, member)
	held(false, left, users, strange, "", "1111", "aws")
	role := d.Roles.Create(directory.Key(left, "web"), identity.Role{AccountID: left, Name: "web", TrustPolicy: `{"Statement":[]}`})
	for _, op := range []store.Op{role, d.Users.Create(directory.Key(users, "Ann"), identity.User{AccountID: users, Name: "Ann"})} {
		if err := s.Commit(t.Context(), op); err != nil {
			t.Fatal(err)
		}
	}
	held(true, first, member, left, users)
	held(false, strange, "")
}
