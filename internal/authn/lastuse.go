package authn

import (
	"time"

	"github.com/podid/podid/internal/identity"
)

// Use is a verified use of a long-term access key, or of a role by a session of it.
type Use struct {
	Time    time.Time
	Service string // of the signature's scope
	Region  string // of the signature's scope
}

// LastUse tells when a long-term access key, or a role, by its unique id, was last used with this server, since the server started. It is
// kept in memory only: writing it down would be a write for each request.
func (a *Authenticator) LastUse(id string) (Use, bool) {
	use, ok := a.used.Load(id)
	if !ok {
		return Use{}, false
	}
	return use.(Use), true
}

// Note remembers a verified use. There are no more entries than keys and roles, since only what exists can be used.
func (a *Authenticator) Note(caller *identity.Caller, service, region string) {
	id := caller.AccessKeyID
	if caller.Session != nil {
		id = caller.Session.RoleID // sessions of users count for nobody
	}
	if id != "" {
		a.used.Store(id, Use{a.now(), service, region})
	}
}
