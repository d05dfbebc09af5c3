package directory_test

import (
	"testing"
	"time"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/store/storetest"
)

// TestGoneCallers wants those whose user or role is gone to be denied by every resource, also by one that lets everybody: a request may
// have been authenticated a moment before.
func TestGoneCallers(t *testing.T) {
	s := storetest.New(t)
	d := directory.New(s)
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	const account, trusting = "111122223333", `{"Statement":{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}}`
	role := identity.Role{AccountID: account, Partition: "aws", Path: "/", Name: "web", ID: "AROAEXAMPLEEXAMPLE123", TrustPolicy: trusting}
	user := identity.User{AccountID: account, Partition: "aws", Path: "/", Name: "ann", ID: "AIDAEXAMPLEEXAMPLE123"}
	if err := s.Commit(t.Context(), d.Roles.Create(directory.Key(account, "web"), role)); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), d.Users.Create(directory.Key(account, "ann"), user)); err != nil {
		t.Fatal(err)
	}
	open, err := policy.Parse(policy.Resource, `{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}`)
	if err != nil {
		t.Fatal(err)
	}
	session := func(roleID string) *identity.Caller {
		s := &identity.Session{RoleARN: role.ARN(), RoleID: roleID, AccountID: account, Name: "one"}
		return &identity.Caller{Type: identity.CallerAssumedRole, AccountID: account, ARN: s.ARN(), UserID: s.ID(), Session: s}
	}
	person := func(id string) *identity.Caller {
		return &identity.Caller{Type: identity.CallerUser, AccountID: account, ARN: user.ARN(), UserID: id, UserName: user.Name}
	}
	for name, test := range map[string]struct {
		caller *identity.Caller
		want   bool
	}{
		"role":              {session(role.ID), true},
		"role made again":   {session("AROAEXAMPLEEXAMPLE999"), false},
		"user":              {person(user.ID), true},
		"user made again":   {person("AIDAEXAMPLEEXAMPLE999"), false},
		"session of a user": {&identity.Caller{Type: identity.CallerUser, AccountID: account, ARN: user.ARN(), Session: &identity.Session{UserARN: user.ARN(), UserID: "AIDAEXAMPLEEXAMPLE999"}}, false},
	} {
		why, err := d.Authorize(&directory.Request{Caller: test.caller, Time: time.Now()}, directory.Access{
			Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k", AccountID: account, Policy: &policy.Named{Name: "b", Policy: open},
		})
		if err != nil || why.Decision.Allowed != test.want {
			t.Errorf("%s: got %s, %v; want allowed %v", name, why, err, test.want)
		}
	}
}
