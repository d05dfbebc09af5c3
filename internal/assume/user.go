package assume

import (
	"time"

	"github.com/podid/podid/internal/identity"
)

// UserRequest is a session that a user gets in exchange for its long-term key. Nobody is asked here: the service has done so.
type UserRequest struct {
	User       *identity.Caller // signs with a long-term key
	Name       string           // of a federated user; empty for the user itself, who has neither tags nor policies in its session
	Duration   time.Duration
	Tags       []identity.Tag
	Policies   []string // as Request's
	PolicyARNs []string

	Check func(*identity.Session) error // as Request's
}

// Exchange makes a session of a user.
func (a *Assumer) Exchange(req *UserRequest) (*Result, error) {
	now := a.Now().Truncate(time.Second)
	session := identity.Session{
		UserARN: req.User.ARN, UserID: req.User.UserID, AccountID: req.User.AccountID, Name: req.Name,
		Tags: req.Tags, Policies: req.Policies, PolicyARNs: req.PolicyARNs, IssuedAt: now, ExpiresAt: now.Add(req.Duration),
	}
	if req.Check != nil {
		if err := req.Check(&session); err != nil {
			return nil, err
		}
	}
	credentials, err := a.Keyring.Mint(&session)
	if err != nil {
		return nil, err
	}
	return &Result{session, credentials}, nil
}
