// Package feed follows the pod identity associations of a cluster: which service accounts have one, and each change as it happens.
//
// It is the client of podid's WatchPodIdentityAssociations. It reconnects when it is cut off and goes on where it was; what it
// hears goes to a [Sink], which keeps what it needs of it. Losing the connection empties nothing: what was told stays true until
// the feed says otherwise.
package feed

import (
	"github.com/podid/podid/internal/identity"
)

// Association is what the feed tells of an association. It does not tell the role.
type Association struct {
	identity.ServiceAccount
	ID  string // a-…; another one after it was deleted and made anew
	ARN string
}

// Cluster is what the feed tells of the cluster itself.
type Cluster struct {
	Name      string
	Partition string
	Region    string
	AccountID string
}

// Mark says that everything up to a revision has been told.
type Mark struct {
	// Revision of the server's state. It grows, except when the server was restored from a backup.
	Revision int64
	// Position is where [Client.Follow] can go on, also in another process.
	Position string
	// Listed: all associations have been told since [Sink].List was called; what was not among them is gone.
	Listed bool
}

// Sink gets what the feed tells, one call at a time. What is nil is not told.
type Sink struct {
	Cluster func(Cluster)                 // at the beginning of each connection
	List    func()                        // all associations follow; if it ends in a Mark that is not Listed, it was cut short
	Put     func(Association)             // it is there, or has changed
	Delete  func(identity.ServiceAccount) // it has none
	Mark    func(Mark)                    // everything up to here has been told; the feed is up
	Lost    func(error)                   // the feed is not up any more, or still not, and why
}
