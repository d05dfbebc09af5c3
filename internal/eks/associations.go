package eks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/wire"
)

type associationStructure struct {
	ClusterName        string            `json:"clusterName"`
	Namespace          string            `json:"namespace"`
	ServiceAccount     string            `json:"serviceAccount"`
	RoleARN            string            `json:"roleArn"`
	AssociationARN     string            `json:"associationArn"`
	AssociationID      string            `json:"associationId"`
	Tags               map[string]string `json:"tags"`
	CreatedAt          wire.Time         `json:"createdAt"`
	ModifiedAt         wire.Time         `json:"modifiedAt"`
	DisableSessionTags bool              `json:"disableSessionTags"` // always there: Terraform reads a missing one as a change
	TargetRoleARN      string            `json:"targetRoleArn,omitempty"`
	ExternalID         string            `json:"externalId,omitempty"`
	Policy             string            `json:"policy,omitempty"`
}

type associationOutput struct {
	Association associationStructure `json:"association"`
}

func describeAssociation(a *identity.Association) *associationOutput {
	return &associationOutput{associationStructure{
		ClusterName: a.ClusterName, Namespace: a.Namespace, ServiceAccount: a.Name, RoleARN: a.RoleARN,
		AssociationARN: a.ARN, AssociationID: a.ID, Tags: presentTags(a.Tags),
		CreatedAt: wire.Time(a.CreatedAt), ModifiedAt: wire.Time(a.ModifiedAt),
		DisableSessionTags: a.DisableSessionTags, TargetRoleARN: a.TargetRoleARN, ExternalID: a.ExternalID, Policy: a.Policy,
	}}
}

type createInput struct {
	Cluster            string            `uri:"name" json:"-"`
	ClientRequestToken string            `json:"clientRequestToken"`
	Namespace          string            `json:"namespace"`
	ServiceAccount     string            `json:"serviceAccount"`
	RoleARN            string            `json:"roleArn"`
	TargetRoleARN      string            `json:"targetRoleArn"`
	DisableSessionTags bool              `json:"disableSessionTags"`
	Policy             string            `json:"policy"`
	Tags               map[string]string `json:"tags"`
}

// Validate checks what can be judged without looking anything up.
func (in *createInput) Validate() error {
	switch {
	case !identity.ValidNamespace(in.Namespace):
		return errInvalidParameter("The namespace %q is not a Kubernetes namespace: want at most 63 lower-case letters, digits and '-'.",
			in.Namespace[:min(len(in.Namespace), 80)])
	case !identity.ValidServiceAccountName(in.ServiceAccount):
		return errInvalidParameter("The service account %q is not a Kubernetes name: want at most 253 lower-case letters, digits, '-' and '.'.",
			in.ServiceAccount[:min(len(in.ServiceAccount), 80)])
	case len(in.ClientRequestToken) > 256:
		return errInvalidParameter("clientRequestToken has %d characters; at most 256 are allowed.", len(in.ClientRequestToken))
	}
	return checkTags(in.Tags)
}

func checkTags(tags map[string]string) error {
	if err := identity.CheckTags(identity.TagList(tags)); err != nil {
		return errInvalidParameter("Invalid tags: %v.", err)
	}
	return nil
}

// CreatePodIdentityAssociation maps a service account to a role. Neither namespace nor service account need to exist yet. The
// same clientRequestToken with the same parameters gives the association that the first request made.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_CreatePodIdentityAssociation.html.
func (s *Service) CreatePodIdentityAssociation(ctx context.Context, call *wire.Call, in *createInput) (*associationOutput, error) {
	cluster, ok := s.Directory.Cluster(in.Cluster)
	if !ok {
		return nil, errNoCluster(in.Cluster)
	}
	if made, err := s.madeBefore(in); made != nil || err != nil {
		return made, err
	}
	a := s.newAssociation(cluster, in)
	recordAssociation(call, &a)
	if err := s.checkRole(call, cluster, &a); err != nil {
		return nil, err
	}
	if err := checkSession(&a); err != nil {
		return nil, err
	}
	if n := s.Directory.CountAssociations(cluster.Name); n >= s.AssociationLimit {
		return nil, errResourceLimit(cluster.Name, "Cluster %s has %d pod identity associations, and at most %d are allowed.",
			cluster.Name, n, s.AssociationLimit)
	}
	key := directory.AssociationKey(cluster.Name, a.ServiceAccount)
	ops := []store.Op{
		s.Directory.Clusters.Require(cluster.Name), // or a cluster registered later under the name would have the association
		s.Directory.Associations.Create(key, a), s.Directory.AssociationIDs.Create(a.ID, identity.AssociationRef{Key: key}),
	}
	if a.ClientRequest != "" {
		ops = append(ops, s.Directory.ClientRequests.Create(a.ClientRequest, identity.ClientRequest{Association: key, Digest: in.digest()}))
	}
	err := s.Store.Commit(ctx, ops...)
	switch {
	case errors.Is(err, store.ErrExists):
		return s.exists(ctx, in, key)
	case errors.Is(err, store.ErrNotFound):
		return nil, errNoCluster(in.Cluster)
	case err != nil:
		return nil, err
	}
	return describeAssociation(&a), nil
}

func (s *Service) newAssociation(cluster *identity.Cluster, in *createInput) identity.Association {
	id, now := identity.NewAssociationID(s.Random), s.Now().Truncate(time.Millisecond)
	arn := identity.ARN{Partition: cluster.Partition, Service: "eks", Region: cluster.Region, AccountID: cluster.AccountID,
		Resource: "podidentityassociation/" + cluster.Name + "/" + id}
	a := identity.Association{
		ServiceAccount: identity.ServiceAccount{Namespace: in.Namespace, Name: in.ServiceAccount},
		ID:             id, ClusterName: cluster.Name, ARN: arn.String(), RoleARN: in.RoleARN, TargetRoleARN: in.TargetRoleARN,
		DisableSessionTags: in.DisableSessionTags, Policy: in.Policy, Tags: in.Tags, ClientRequest: in.requestKey(),
		CreatedAt: now, ModifiedAt: now,
	}
	a.ExternalID = externalID(cluster, &a)
	return a
}

// externalID is what the first role passes when it assumes the target role, so that the target's trust policy can name the
// association. There is none without a target role.
func externalID(cluster *identity.Cluster, a *identity.Association) string {
	if a.TargetRoleARN == "" {
		return ""
	}
	return cluster.Region + "/" + cluster.AccountID + "/" + cluster.Name + "/" + a.Namespace + "/" + a.Name
}

// requestKey is where the request's idempotency token is remembered; empty without a token. The token is hashed, since it may
// hold characters that a key may not.
func (in *createInput) requestKey() string {
	if in.ClientRequestToken == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(in.ClientRequestToken))
	return in.Cluster + "/" + hex.EncodeToString(sum[:])
}

// digest is over all that the request asks for.
func (in *createInput) digest() []byte {
	parameters := *in
	parameters.ClientRequestToken = ""
	encoded, _ := json.Marshal(parameters) // strings, booleans and a map of strings always encode
	sum := sha256.Sum256(encoded)
	return sum[:]
}

// madeBefore answers a request that was sent before under the same token: with what the first one made, or, if it asks for
// something else now, with an error. It returns nothing for a new request.
func (s *Service) madeBefore(in *createInput) (*associationOutput, error) {
	key := in.requestKey()
	if key == "" {
		return nil, nil
	}
	request, ok := s.Directory.ClientRequest(key)
	if !ok {
		return nil, nil
	}
	if !bytes.Equal(request.Digest, in.digest()) {
		return nil, errTokenReused()
	}
	if a, ok := s.Directory.AssociationByKey(request.Association); ok && a.ClientRequest == key {
		return describeAssociation(a), nil
	}
	return nil, nil
}

// exists answers after the transaction found something there: an equal request that was faster, another one under the same token,
// or another association. All may be newer than this server's memory, so the store is asked.
func (s *Service) exists(ctx context.Context, in *createInput, key string) (*associationOutput, error) {
	same := false // an equal request has been carried out under this token
	if token := in.requestKey(); token != "" {
		request, err := s.Directory.ClientRequests.Get(ctx, token)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		same = err == nil && bytes.Equal(request.Digest, in.digest())
		if err == nil && !same {
			return nil, errTokenReused()
		}
	}
	a, err := s.Directory.Associations.Get(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, errResourceInUse(in.Cluster, "The association of service account %s in namespace %s is being changed. Try again.",
			in.ServiceAccount, in.Namespace)
	case err != nil:
		return nil, err
	case same && a.ClientRequest == in.requestKey():
		return describeAssociation(&a), nil
	}
	return nil, errResourceInUse(in.Cluster, "Association already exists: %s", a.ID)
}

type associationInput struct {
	Cluster string `uri:"name" json:"-"`
	ID      string `uri:"id" json:"-"`
}

func (in *associationInput) Validate() error {
	switch {
	case len(in.ID) != 19:
		return errInvalidParameter("parameter associationId should be 19 characters long")
	case !identity.ValidAssociationID(in.ID):
		return errInvalidParameter("parameter associationId should be a- and 17 lower-case letters and digits, not %q", in.ID)
	}
	return nil
}

// DescribePodIdentityAssociation returns an association.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_DescribePodIdentityAssociation.html.
func (s *Service) DescribePodIdentityAssociation(_ context.Context, _ *wire.Call, in *associationInput) (*associationOutput, error) {
	a, ok := s.Directory.AssociationByID(in.Cluster, in.ID)
	if !ok {
		return nil, errNoAssociation(in.Cluster, in.ID)
	}
	return describeAssociation(a), nil
}

type listInput struct {
	Cluster        string `uri:"name" json:"-"`
	Namespace      string `query:"namespace" json:"-"`
	ServiceAccount string `query:"serviceAccount" json:"-"`
	MaxResults     *int32 `query:"maxResults" json:"-"`
	NextToken      string `query:"nextToken" json:"-"`
}

type summaryStructure struct {
	ClusterName    string `json:"clusterName"`
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	AssociationARN string `json:"associationArn"`
	AssociationID  string `json:"associationId"`
}

type listOutput struct {
	Associations []summaryStructure `json:"associations"`
	NextToken    *string            `json:"nextToken,omitempty"`
}

// ListPodIdentityAssociations returns a cluster's associations in the order of namespace and service account, all or those that
// match the given names exactly.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_ListPodIdentityAssociations.html.
func (s *Service) ListPodIdentityAssociations(_ context.Context, _ *wire.Call, in *listInput) (*listOutput, error) {
	list := "associations\x01" + in.Cluster + "\x01" + in.Namespace + "\x01" + in.ServiceAccount
	page, err := s.openPage(list, in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	prefix := in.Cluster + "/"
	if in.Namespace != "" {
		prefix += in.Namespace + "/"
	}
	out := &listOutput{Associations: []summaryStructure{}}
	last := ""
	for key, a := range s.Directory.ScanAssociations(prefix, page.after) {
		if in.ServiceAccount != "" && a.Name != in.ServiceAccount {
			continue
		}
		if len(out.Associations) == page.limit {
			out.NextToken, err = s.nextToken(list, last)
			return out, err
		}
		out.Associations = append(out.Associations, summaryStructure{a.ClusterName, a.Namespace, a.Name, a.ARN, a.ID})
		last = key
	}
	return out, nil
}

type updateInput struct {
	associationInput
	ClientRequestToken string  `json:"clientRequestToken"`
	RoleARN            *string `json:"roleArn"`
	TargetRoleARN      *string `json:"targetRoleArn"`
	DisableSessionTags *bool   `json:"disableSessionTags"`
	Policy             *string `json:"policy"`
}

// UpdatePodIdentityAssociation changes what is given and leaves the rest; an empty targetRoleArn or policy takes it away. Sending
// what is there already succeeds and changes nothing.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_UpdatePodIdentityAssociation.html.
func (s *Service) UpdatePodIdentityAssociation(ctx context.Context, call *wire.Call, in *updateInput) (*associationOutput, error) {
	ref, ok := s.Directory.AssociationByID(in.Cluster, in.ID)
	cluster, known := s.Directory.Cluster(in.Cluster)
	if !ok || !known {
		return nil, errNoAssociation(in.Cluster, in.ID)
	}
	changed, err := s.Directory.Associations.Update(ctx, directory.AssociationKey(in.Cluster, ref.ServiceAccount), func(a *identity.Association) error {
		if a.ID != in.ID {
			return store.ErrNotFound // deleted and made again meanwhile
		}
		before := *a
		in.apply(a)
		a.ExternalID = externalID(cluster, a)
		recordAssociation(call, a)
		if in.RoleARN != nil || a.DisableSessionTags != before.DisableSessionTags {
			if err := s.checkRole(call, cluster, a); err != nil {
				return err
			}
		}
		if err := checkSession(a); err != nil {
			return err
		}
		if a.RoleARN != before.RoleARN || a.TargetRoleARN != before.TargetRoleARN || a.Policy != before.Policy ||
			a.DisableSessionTags != before.DisableSessionTags {
			a.ModifiedAt = s.Now().Truncate(time.Millisecond)
		}
		return nil
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, errNoAssociation(in.Cluster, in.ID)
	case errors.Is(err, store.ErrConflict):
		return nil, errResourceInUse(in.Cluster, "Association %s is being changed by many requests at the same time. Try again.", in.ID)
	case err != nil:
		return nil, err
	}
	return describeAssociation(&changed), nil
}

func (in *updateInput) apply(a *identity.Association) {
	set := func(to *string, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&a.RoleARN, in.RoleARN)
	set(&a.TargetRoleARN, in.TargetRoleARN)
	set(&a.Policy, in.Policy)
	if in.DisableSessionTags != nil {
		a.DisableSessionTags = *in.DisableSessionTags
	}
}

// DeletePodIdentityAssociation deletes an association and returns what it was. Credentials that were given out stay valid until
// they expire.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_DeletePodIdentityAssociation.html.
func (s *Service) DeletePodIdentityAssociation(ctx context.Context, call *wire.Call, in *associationInput) (*associationOutput, error) {
	ref, ok := s.Directory.AssociationByID(in.Cluster, in.ID)
	if !ok {
		return nil, errNoAssociation(in.Cluster, in.ID)
	}
	key := directory.AssociationKey(in.Cluster, ref.ServiceAccount)
	deleted, err := s.removeAssociation(ctx, key, in.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoAssociation(in.Cluster, in.ID)
	}
	if err != nil {
		return nil, err
	}
	recordAssociation(call, &deleted)
	return describeAssociation(&deleted), nil
}

// removeAssociation deletes the association of an id with all that belongs to it. The error is [store.ErrNotFound] where another one
// has taken its place.
func (s *Service) removeAssociation(ctx context.Context, key, id string) (identity.Association, error) {
	return s.Directory.Associations.Remove(ctx, key, func(a *identity.Association) ([]store.Op, error) {
		if a.ID != id {
			return nil, store.ErrNotFound
		}
		ops := []store.Op{s.Directory.AssociationIDs.Delete(a.ID)}
		if a.ClientRequest != "" {
			ops = append(ops, s.Directory.ClientRequests.Delete(a.ClientRequest))
		}
		return ops, nil
	})
}

func recordAssociation(call *wire.Call, a *identity.Association) {
	e := call.Entry
	e.Cluster, e.Namespace, e.ServiceAccount, e.AssociationID, e.RoleARN = a.ClusterName, a.Namespace, a.Name, a.ID, a.RoleARN
}
