package authn

import (
	"time"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/sigv4"
)

// Use is a verified use of a long-term access key.
type Use struct {
	Time    time.Time
	Service string // of the signature's scope
	Region  string // of the signature's scope
}

// LastUse tells when a long-term access key was last used for an API of this server, since the server started. The embedded S3 is not
// counted. It is kept in memory only: writing it down would be a write for each request.
func (a *Authenticator) LastUse(accessKeyID string) (Use, bool) {
	use, ok := a.used.Load(accessKeyID)
	if !ok {
		return Use{}, false
	}
	return use.(Use), true
}

// note remembers a verified use. There are no more entries than keys, since only keys that exist can be used.
func (a *Authenticator) note(caller *identity.Caller, sig *sigv4.Signature) {
	if caller.Session == nil {
		a.used.Store(sig.AccessKeyID, Use{a.now(), sig.Service, sig.Region})
	}
}
