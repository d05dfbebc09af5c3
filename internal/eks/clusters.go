package eks

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

type clusterInput struct {
	Name string `uri:"name" json:"-"`
}

func (in *clusterInput) Validate() error {
	if !identity.ValidClusterName(in.Name) {
		return errInvalidParameter(`The cluster name %q is invalid: want 1 to 100 characters that match ^[0-9A-Za-z][A-Za-z0-9\-_]*`,
			in.Name[:min(len(in.Name), 120)])
	}
	return nil
}

type clusterStructure struct {
	Name                 string               `json:"name"`
	ARN                  string               `json:"arn"`
	CreatedAt            wire.Time            `json:"createdAt"`
	Version              string               `json:"version,omitempty"`
	Endpoint             string               `json:"endpoint,omitempty"`
	Identity             *identityStructure   `json:"identity,omitempty"` // once it is known
	Status               string               `json:"status"`
	CertificateAuthority certificateStructure `json:"certificateAuthority"`
	Health               healthStructure      `json:"health"`
	Tags                 map[string]string    `json:"tags"`
	ConnectorConfig      *connectorStructure  `json:"connectorConfig,omitempty"`
}

type connectorStructure struct {
	Provider string `json:"provider"`
	RoleARN  string `json:"roleArn"`
}

type identityStructure struct {
	OIDC struct {
		Issuer string `json:"issuer"`
	} `json:"oidc"`
}

type certificateStructure struct {
	Data string `json:"data,omitempty"` // base64 of PEM
}

type healthStructure struct {
	Issues []struct{} `json:"issues"`
}

type clusterOutput struct {
	Cluster clusterStructure `json:"cluster"`
}

// The states of a cluster. Its life is not podid's to manage: a registered cluster waits for its issuer, and is active from then on.
const (
	statusActive   = "ACTIVE"
	statusPending  = "PENDING"
	statusDeleting = "DELETING"
)

func describeCluster(cluster *identity.Cluster) *clusterOutput {
	out := &clusterOutput{clusterStructure{
		Name: cluster.Name, ARN: cluster.ARN(), CreatedAt: wire.Time(cluster.CreatedAt), Version: cluster.Version,
		Endpoint: cluster.Endpoint, Status: statusActive,
		CertificateAuthority: certificateStructure{base64.StdEncoding.EncodeToString(cluster.CA)},
		Health:               healthStructure{[]struct{}{}}, Tags: presentTags(cluster.Tags),
	}}
	if !cluster.Active() {
		out.Cluster.Status = statusPending
	} else {
		out.Cluster.Identity = new(identityStructure)
		out.Cluster.Identity.OIDC.Issuer = cluster.Issuer
	}
	if cluster.Connector != nil {
		out.Cluster.ConnectorConfig = &connectorStructure{cluster.Connector.Provider, cluster.Connector.RoleARN}
	}
	return out
}

// DescribeCluster returns a cluster.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_DescribeCluster.html.
func (s *Service) DescribeCluster(_ context.Context, _ *wire.Call, in *clusterInput) (*clusterOutput, error) {
	cluster, ok := s.Directory.Cluster(in.Name)
	if !ok {
		return nil, errNoCluster(in.Name)
	}
	return describeCluster(cluster), nil
}

type listClustersInput struct {
	MaxResults *int32 `query:"maxResults" json:"-"`
	NextToken  string `query:"nextToken" json:"-"`
}

type listClustersOutput struct {
	Clusters  []string `json:"clusters"`
	NextToken *string  `json:"nextToken,omitempty"`
}

// ListClusters returns the names of the clusters of the caller's account, in order.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_ListClusters.html.
func (s *Service) ListClusters(_ context.Context, call *wire.Call, in *listClustersInput) (*listClustersOutput, error) {
	page, err := s.openPage("clusters", in.MaxResults, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := &listClustersOutput{Clusters: []string{}}
	for name, cluster := range s.Directory.ScanClusters(page.after) {
		if cluster.AccountID != call.Caller.AccountID {
			continue
		}
		if len(out.Clusters) == page.limit {
			out.NextToken, err = s.nextToken("clusters", out.Clusters[page.limit-1])
			return out, err
		}
		out.Clusters = append(out.Clusters, name)
	}
	return out, nil
}

// clusterAccess is permission for an action on a cluster. A cluster that does not exist is told right away, before permission
// is asked, since there is nothing to ask it for.
func (s *Service) clusterAccess(action, name string, more func(*policy.Context)) (wire.Access, error) {
	if err := (&clusterInput{name}).Validate(); err != nil {
		return wire.Access{}, err
	}
	cluster, ok := s.Directory.Cluster(name)
	if !ok {
		return wire.Access{}, errNoCluster(name)
	}
	return wire.Access{Action: action, Resource: cluster.ARN(), Keys: func(keys *policy.Context) {
		keys.SetTags("aws:ResourceTag/", identity.TagList(cluster.Tags))
		if more != nil {
			more(keys)
		}
	}}, nil
}

func (s *Service) describeClusterAccess(_ *wire.Call, in *clusterInput) (wire.Access, error) {
	return s.clusterAccess("eks:DescribeCluster", in.Name, nil)
}

func (s *Service) listClustersAccess(call *wire.Call, _ *listClustersInput) (wire.Access, error) {
	return wire.Access{Action: "eks:ListClusters", Resource: "*"}, nil
}

// presentTags makes an empty map of none: clients expect the member.
func presentTags(tags map[string]string) map[string]string {
	if tags == nil {
		return map[string]string{}
	}
	return tags
}

// parseResource finds what a tag operation's ARN names: a cluster, or one of its associations.
func parseResource(text string) (cluster, association string, ok bool) {
	arn, err := identity.ParseARN(text)
	if err != nil || arn.Service != "eks" {
		return "", "", false
	}
	kind, rest, _ := strings.Cut(arn.Resource, "/")
	switch kind {
	case "cluster":
		return rest, "", rest != ""
	case "podidentityassociation":
		cluster, association, _ = strings.Cut(rest, "/")
		return cluster, association, association != ""
	}
	return "", "", true // some other kind of resource, of which there is none
}
