// Package eks is the EKS API as far as podid goes: pod identity associations, clusters and their tags.
//
// It decides what may be associated with what. Who a pod is and what it gets is decided when its token is exchanged, by eksauth.
// See https://docs.aws.amazon.com/eks/latest/APIReference/.
package eks

import (
	"io"
	"time"

	"github.com/podid/podid/internal/credential"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/wire"
)

// DefaultAssociationLimit is how many associations a cluster may have if nothing else is configured.
const DefaultAssociationLimit = 5000

// Config is what the service stands on.
type Config struct {
	Store            *store.Store
	Directory        *directory.Directory
	Keyring          *credential.Keyring // seals paging tokens
	AssociationLimit int                 // per cluster; 0 means DefaultAssociationLimit
	Feed             FeedConfig          // of associations
	Partition        string              // of registered clusters
	Region           string              // of registered clusters
	AllowHTTP        bool                // issuers at http URLs
	Now              func() time.Time
	Random           io.Reader // of new ids
}

// Service implements the operations.
type Service struct {
	Config
	streams chan struct{} // holds one for each stream that is open
}

// New returns the service.
func New(cfg Config) *Service {
	if cfg.AssociationLimit == 0 {
		cfg.AssociationLimit = DefaultAssociationLimit
	}
	cfg.Feed = cfg.Feed.complete()
	return &Service{cfg, make(chan struct{}, cfg.Feed.Streams)}
}

// API declares the operations.
func (s *Service) API() wire.Service {
	const (
		associations = "/clusters/{name}/pod-identity-associations"
		own          = "/podid/v1" // of what AWS does not have
	)
	return wire.Service{
		Name:     "eks",
		Protocol: wire.RESTJSON(),
		Denied:   errAccessDenied,
		Fault:    errServer,
		Operations: []wire.Operation{
			wire.Op("CreatePodIdentityAssociation", "POST "+associations, s.createAccess, s.CreatePodIdentityAssociation),
			wire.Op("ListPodIdentityAssociations", "GET "+associations, s.listAccess, s.ListPodIdentityAssociations),
			wire.Op("DescribePodIdentityAssociation", "GET "+associations+"/{id}", s.describeAccess, s.DescribePodIdentityAssociation),
			wire.Op("UpdatePodIdentityAssociation", "POST "+associations+"/{id}", s.updateAccess, s.UpdatePodIdentityAssociation),
			wire.Op("DeletePodIdentityAssociation", "DELETE "+associations+"/{id}", s.deleteAccess, s.DeletePodIdentityAssociation),
			wire.Op("WatchPodIdentityAssociations", "GET "+own+associations, s.watchAccess, s.WatchPodIdentityAssociations),
			wire.Op("ListClusters", "GET /clusters", s.listClustersAccess, s.ListClusters),
			wire.Op("DescribeCluster", "GET /clusters/{name}", s.describeClusterAccess, s.DescribeCluster),
			wire.Op("RegisterCluster", "POST /cluster-registrations", s.registerAccess, s.RegisterCluster),
			wire.Op("DeregisterCluster", "DELETE /cluster-registrations/{name}", s.deregisterAccess, s.DeregisterCluster),
			wire.Op("PutClusterIssuer", "PUT "+own+"/clusters/{name}/issuer", s.putIssuerAccess, s.PutClusterIssuer),
			wire.Op("PutClusterKeys", "PUT "+own+"/clusters/{name}/keys", s.putKeysAccess, s.PutClusterKeys),
			wire.Op("TagResource", "POST /tags/{arn...}", s.tagAccess, s.TagResource),
			wire.Op("UntagResource", "DELETE /tags/{arn...}", s.untagAccess, s.UntagResource),
			wire.Op("ListTagsForResource", "GET /tags/{arn...}", s.listTagsAccess, s.ListTagsForResource),
		},
	}
}
