// Package directory is what the control plane knows, in memory: clusters and pod identity associations, roles with their policies
// compiled, users, groups, managed policies, access keys and OpenID Connect providers. Every replica holds all of it, kept current by the store's watch,
// so that requests are judged without waiting for anything.
//
// It also judges: [Directory.Authorize] says whether a caller may do something. It does not authenticate, and it writes nothing;
// the services write through its collections.
package directory

import (
	"iter"
	"strings"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store"
)

// Directory holds the collections, for writing and for reads that must see every acknowledged write, and indexes of them.
// Make it before the store is loaded.
type Directory struct {
	Clusters       *store.Collection[identity.Cluster]        // by name
	Associations   *store.Collection[identity.Association]    // by AssociationKey
	AssociationIDs *store.Collection[identity.AssociationRef] // by id
	ClientRequests *store.Collection[identity.ClientRequest]  // by cluster and token digest
	Roles          *store.Collection[identity.Role]           // by Key
	Users          *store.Collection[identity.User]           // by Key
	Groups         *store.Collection[identity.Group]          // by GroupKey
	GroupNames     *store.Collection[identity.GroupRef]       // by Key
	Policies       *store.Collection[identity.ManagedPolicy]  // by Key; without those of AWS
	AccessKeys     *store.Collection[identity.AccessKey]      // by id
	Providers      *store.Collection[identity.OIDCProvider]   // by ProviderKey
	BuiltIn        *store.Collection[BuiltInCluster]          // by name of the cluster; not held in memory

	AssociationChanges *store.Journal // of AssociationKeys

	clusters       *store.Index[*identity.Cluster]
	associations   *store.Index[*identity.Association]
	associationIDs *store.Index[identity.AssociationRef]
	clientRequests *store.Index[identity.ClientRequest]
	roles          *store.Index[*Role]
	users          *store.Index[*User]
	groups         *store.Index[*Group]
	groupNames     *store.Index[identity.GroupRef]
	policies       *store.Index[*Policy]
	accessKeys     *store.Index[*identity.AccessKey]
	providers      *store.Index[*identity.OIDCProvider]

	accounts []string // that the server was told to hold
}

// rememberedChanges is how many changes of associations are remembered, at about 100 bytes each: enough for somebody who comes back
// after minutes to be told only what has changed, also when all associations of a large cluster have.
const rememberedChanges = 8192

// BuiltInCluster is what a server needs to be a cluster's token issuer itself.
type BuiltInCluster struct {
	IssuerID  string `json:"issuerId"`  // last part of the issuer's URL
	SealedKey []byte `json:"sealedKey"` // signing key
}

// New defines the collections and their indexes in a store that is not loaded yet. The accounts are those that the server is to hold,
// also while nothing is in them.
func New(s *store.Store, accounts ...string) *Directory {
	d := &Directory{
		accounts:       accounts,
		Clusters:       store.Define[identity.Cluster](s, "clusters"),
		Associations:   store.Define[identity.Association](s, "associations"),
		AssociationIDs: store.Define[identity.AssociationRef](s, "association-ids"),
		ClientRequests: store.Define[identity.ClientRequest](s, "client-requests"),
		Roles:          store.Define[identity.Role](s, "iam/roles"),
		Users:          store.Define[identity.User](s, "iam/users"),
		Groups:         store.Define[identity.Group](s, "iam/groups"),
		GroupNames:     store.Define[identity.GroupRef](s, "iam/group-names"),
		Policies:       store.Define[identity.ManagedPolicy](s, "iam/policies"),
		AccessKeys:     store.Define[identity.AccessKey](s, "iam/access-keys"),
		Providers:      store.Define[identity.OIDCProvider](s, "iam/oidc-providers"),
		BuiltIn:        store.Define[BuiltInCluster](s, "built-in-clusters"),
	}
	d.clusters = store.NewIndex(d.Clusters, pointer[identity.Cluster])
	d.associations = store.NewIndex(d.Associations, pointer[identity.Association])
	d.AssociationChanges = store.NewJournal(d.Associations, rememberedChanges)
	d.associationIDs = store.NewIndex(d.AssociationIDs, func(_ string, ref identity.AssociationRef) identity.AssociationRef { return ref })
	d.clientRequests = store.NewIndex(d.ClientRequests, func(_ string, r identity.ClientRequest) identity.ClientRequest { return r })
	d.roles = store.NewIndex(d.Roles, compileRole)
	d.users = store.NewIndex(d.Users, compileUser)
	d.groups = store.NewIndex(d.Groups, compileGroup)
	d.groupNames = store.NewIndex(d.GroupNames, func(_ string, ref identity.GroupRef) identity.GroupRef { return ref })
	d.policies = store.NewIndex(d.Policies, compilePolicy)
	d.accessKeys = store.NewIndex(d.AccessKeys, pointer[identity.AccessKey])
	d.providers = store.NewIndex(d.Providers, pointer[identity.OIDCProvider])
	return d
}

func pointer[T any](_ string, value T) *T { return &value }

// Key is where a role, a user, a group's name or a managed policy is stored: names are unique in an account without regard to case.
func Key(accountID, name string) string { return accountID + "/" + strings.ToLower(name) }

// GroupKey is where a group is stored.
func GroupKey(accountID, id string) string { return accountID + "/" + id }

// AssociationKey is where a service account's association is stored.
func AssociationKey(cluster string, sa identity.ServiceAccount) string {
	return cluster + "/" + sa.Namespace + "/" + sa.Name
}

// ProviderKey is where an account's OpenID Connect provider is stored; the issuer may have its scheme or not.
func ProviderKey(accountID, issuer string) string {
	return accountID + "/" + identity.IssuerHostPath(issuer)
}

// Cluster finds a cluster. What is returned is shared and must not be changed; so it is with all that follow.
func (d *Directory) Cluster(name string) (*identity.Cluster, bool) { return d.clusters.Get(name) }

// ScanClusters goes through the clusters in the order of their names, beginning after a name.
func (d *Directory) ScanClusters(after string) iter.Seq2[string, *identity.Cluster] {
	return d.clusters.Scan("", after)
}

// Association finds the association of a service account.
func (d *Directory) Association(cluster string, sa identity.ServiceAccount) (*identity.Association, bool) {
	return d.associations.Get(AssociationKey(cluster, sa))
}

// AssociationByKey finds an association by its [AssociationKey].
func (d *Directory) AssociationByKey(key string) (*identity.Association, bool) {
	return d.associations.Get(key)
}

// AssociationByID finds an association of a cluster by its id.
func (d *Directory) AssociationByID(cluster, id string) (*identity.Association, bool) {
	ref, ok := d.associationIDs.Get(id)
	if !ok {
		return nil, false
	}
	association, ok := d.associations.Get(ref.Key)
	if !ok || association.ClusterName != cluster {
		return nil, false
	}
	return association, true
}

// ScanAssociations goes through the associations whose key begins with prefix, in the order of their keys, beginning after a key.
func (d *Directory) ScanAssociations(prefix, after string) iter.Seq2[string, *identity.Association] {
	return d.associations.Scan(prefix, after)
}

// CountAssociations counts a cluster's associations.
func (d *Directory) CountAssociations(cluster string) int { return d.associations.Len(cluster + "/") }

// ClientRequest finds the request that a client sent under an idempotency token.
func (d *Directory) ClientRequest(key string) (identity.ClientRequest, bool) {
	return d.clientRequests.Get(key)
}

// Role finds a role by account and name.
func (d *Directory) Role(accountID, name string) (*Role, bool) {
	return d.roles.Get(Key(accountID, name))
}

// RoleByARN finds a role by its ARN, the path included.
func (d *Directory) RoleByARN(text string) (*Role, bool) {
	arn, name, err := identity.ParseRoleARN(text)
	if err != nil {
		return nil, false
	}
	role, ok := d.Role(arn.AccountID, name)
	if !ok || role.ARN() != text {
		return nil, false
	}
	return role, true
}

// ScanRoles goes through the roles whose key begins with prefix, in the order of their keys, beginning after a key.
func (d *Directory) ScanRoles(prefix, after string) iter.Seq2[string, *Role] {
	return d.roles.Scan(prefix, after)
}

// User finds a user by account and name.
func (d *Directory) User(accountID, name string) (*User, bool) {
	return d.users.Get(Key(accountID, name))
}

// UserByARN finds a user by its ARN, the path included.
func (d *Directory) UserByARN(text string) (*User, bool) {
	arn, err := identity.ParseARN(text)
	if err != nil {
		return nil, false
	}
	user, ok := d.User(arn.AccountID, arn.Resource[strings.LastIndexByte(arn.Resource, '/')+1:])
	if !ok || user.ARN() != text {
		return nil, false
	}
	return user, true
}

// ScanUsers goes through an account's users in the order of their names, beginning after a name.
func (d *Directory) ScanUsers(accountID, after string) iter.Seq[*User] {
	if after != "" {
		after = Key(accountID, after)
	}
	return values(d.users.Scan(accountID+"/", after))
}

// Group finds a group by account and name.
func (d *Directory) Group(accountID, name string) (*Group, bool) {
	ref, ok := d.groupNames.Get(Key(accountID, name))
	if !ok {
		return nil, false
	}
	return d.groups.Get(GroupKey(accountID, ref.ID))
}

// GroupByARN finds a group by its ARN, the path included.
func (d *Directory) GroupByARN(text string) (*Group, bool) {
	arn, err := identity.ParseARN(text)
	if err != nil {
		return nil, false
	}
	group, ok := d.Group(arn.AccountID, arn.Resource[strings.LastIndexByte(arn.Resource, '/')+1:])
	if !ok || group.ARN() != text {
		return nil, false
	}
	return group, true
}

// ScanGroups goes through an account's groups in the order of their names, beginning after a name.
func (d *Directory) ScanGroups(accountID, after string) iter.Seq[*Group] {
	if after != "" {
		after = Key(accountID, after)
	}
	return func(yield func(*Group) bool) {
		for _, ref := range d.groupNames.Scan(accountID+"/", after) {
			if group, ok := d.groups.Get(GroupKey(accountID, ref.ID)); ok && !yield(group) {
				return
			}
		}
	}
}

// AccessKey finds a long-term access key.
func (d *Directory) AccessKey(id string) (*identity.AccessKey, bool) { return d.accessKeys.Get(id) }

// Provider finds the account's OpenID Connect provider for an issuer.
func (d *Directory) Provider(accountID, issuer string) (*identity.OIDCProvider, bool) {
	return d.providers.Get(ProviderKey(accountID, issuer))
}

// ScanProviders goes through an account's OpenID Connect providers.
func (d *Directory) ScanProviders(accountID string) iter.Seq[*identity.OIDCProvider] {
	return values(d.providers.Scan(accountID+"/", ""))
}

func values[V any](entries iter.Seq2[string, V]) iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, v := range entries {
			if !yield(v) {
				return
			}
		}
	}
}
