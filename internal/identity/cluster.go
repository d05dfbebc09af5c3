package identity

import (
	"encoding/json"
	"time"
)

// PodIdentityAudience is the audience of the tokens that pods exchange through EKS Auth.
const PodIdentityAudience = "pods.eks.amazonaws.com"

// PodIdentityService is the service principal that a role's trust policy must allow for pods to get it.
const PodIdentityService = "pods.eks.amazonaws.com"

// Cluster is a Kubernetes cluster whose pods get credentials here.
type Cluster struct {
	Name      string            `json:"name"`
	Partition string            `json:"partition"`
	Region    string            `json:"region"`
	AccountID string            `json:"accountId"`
	Issuer    string            `json:"issuer"`             // the iss claim of the cluster's service-account tokens
	Keys      json.RawMessage   `json:"keys,omitempty"`     // JWKS of the issuer, if it was uploaded; else it is fetched by discovery
	Endpoint  string            `json:"endpoint,omitempty"` // URL of the Kubernetes API
	CA        []byte            `json:"ca,omitempty"`       // PEM, certificates of the endpoint
	Version   string            `json:"version,omitempty"`  // Kubernetes version, 1.36
	CreatedAt time.Time         `json:"createdAt"`
	Tags      map[string]string `json:"tags,omitempty"`
	Connector *Connector        `json:"connector,omitempty"` // of registered clusters; nil for built-in ones
}

// Connector is what RegisterCluster was told about a cluster outside of EKS. Nothing is decided by it.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_ConnectorConfigRequest.html.
type Connector struct {
	Provider      string `json:"provider"` // EKS_ANYWHERE, OTHER, …
	RoleARN       string `json:"roleArn"`
	ClientRequest string `json:"clientRequest,omitempty"` // idempotency token of the registration
}

// Active tells whether it is known who issues the cluster's tokens. A registered cluster is not active before.
func (c *Cluster) Active() bool { return c.Issuer != "" }

// ARN names the cluster: arn:aws:eks:us-west-2:111122223333:cluster/prod.
func (c *Cluster) ARN() string {
	return ARN{c.Partition, "eks", c.Region, c.AccountID, "cluster/" + c.Name}.String()
}

// ServiceAccount names a Kubernetes service account.
type ServiceAccount struct {
	Namespace string `json:"namespace"`
	Name      string `json:"serviceAccount"`
}

// Subject is the service account as the sub claim of its tokens spells it: system:serviceaccount:carts:carts.
func (s ServiceAccount) Subject() string {
	return "system:serviceaccount:" + s.Namespace + ":" + s.Name
}

// AssociationRef is the key under which the association with an id is stored.
type AssociationRef struct {
	Key string `json:"key"`
}

// Subject is whom a service-account token speaks for: a service account, and the pod that the token is bound to.
type Subject struct {
	ServiceAccount
	ServiceAccountUID string
	PodName           string
	PodUID            string
	NodeName          string // empty where the cluster does not say (Kubernetes before 1.30)
}

// Association maps a service account of a cluster to an IAM role.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_PodIdentityAssociation.html.
type Association struct {
	ServiceAccount
	ID                 string            `json:"id"`
	ClusterName        string            `json:"clusterName"`
	ARN                string            `json:"arn"`
	RoleARN            string            `json:"roleArn"`
	TargetRoleARN      string            `json:"targetRoleArn,omitempty"`
	ExternalID         string            `json:"externalId,omitempty"` // set with TargetRoleARN only
	DisableSessionTags bool              `json:"disableSessionTags,omitempty"`
	Policy             string            `json:"policy,omitempty"` // session policy, as the caller wrote it
	Tags               map[string]string `json:"tags,omitempty"`
	ClientRequest      string            `json:"clientRequest,omitempty"` // key of the ClientRequest that made it
	CreatedAt          time.Time         `json:"createdAt"`
	ModifiedAt         time.Time         `json:"modifiedAt"`
}

// ClientRequest remembers the request that made an association, so that the same request sent again gets the same answer.
type ClientRequest struct {
	Association string `json:"association"` // key of what the request made
	Digest      []byte `json:"digest"`      // SHA-256 of the request's parameters
}
