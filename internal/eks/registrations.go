package eks

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/token"
	"github.com/podid/podid/internal/wire"
)

// providers are the kinds of clusters that RegisterCluster knows.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_ConnectorConfigRequest.html.
var providers = []string{"EKS_ANYWHERE", "ANTHOS", "GKE", "AKS", "OPENSHIFT", "TANZU", "RANCHER", "EC2", "OTHER"}

// Limits of what is told about a cluster. Issuers and endpoints are URLs, which are nowhere longer.
const (
	maxURL     = 2048
	maxVersion = 100
	maxCA      = 256 << 10 // characters of base64 of PEM
)

type registerInput struct {
	Name               string             `json:"name"`
	ConnectorConfig    connectorStructure `json:"connectorConfig"`
	ClientRequestToken string             `json:"clientRequestToken"`
	Tags               map[string]string  `json:"tags"`
}

// Validate checks what can be judged without looking anything up.
func (in *registerInput) Validate() error {
	if err := (&clusterInput{in.Name}).Validate(); err != nil {
		return err
	}
	switch {
	case !slices.Contains(providers, in.ConnectorConfig.Provider):
		return errInvalidParameter("connectorConfig.provider %q is not one of %s.",
			in.ConnectorConfig.Provider[:min(len(in.ConnectorConfig.Provider), 40)], strings.Join(providers, ", "))
	case len(in.ClientRequestToken) > 256:
		return errInvalidParameter("clientRequestToken has %d characters; at most 256 are allowed.", len(in.ClientRequestToken))
	}
	if _, _, err := identity.ParseRoleARN(in.ConnectorConfig.RoleARN); err != nil {
		return errInvalidParameter("connectorConfig.roleArn %q is %v.", in.ConnectorConfig.RoleARN[:min(len(in.ConnectorConfig.RoleARN), 300)], err)
	}
	return checkTags(in.Tags)
}

func (s *Service) registerAccess(_ *wire.Call, in *registerInput) (wire.Access, error) {
	return wire.Access{Action: "eks:RegisterCluster", Resource: "*", Keys: func(keys *policy.Context) {
		directory.SetRequestTags(keys, identity.TagList(in.Tags))
	}}, nil
}

// RegisterCluster makes a cluster outside of EKS known. It is PENDING, and none of its pods gets anything, until PutClusterIssuer
// has said who issues its tokens. The connector's role is kept as it is given; podid has no use for it, nor for an activation code.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_RegisterCluster.html.
func (s *Service) RegisterCluster(ctx context.Context, call *wire.Call, in *registerInput) (*clusterOutput, error) {
	call.Entry.Cluster = in.Name
	cluster := identity.Cluster{
		Name: in.Name, Partition: s.Partition, Region: s.Region, AccountID: call.Caller.AccountID,
		CreatedAt: s.Now().Truncate(time.Millisecond), Tags: in.Tags,
		Connector: &identity.Connector{
			Provider: in.ConnectorConfig.Provider, RoleARN: in.ConnectorConfig.RoleARN, ClientRequest: in.ClientRequestToken,
		},
	}
	if _, ok := s.Directory.Cluster(in.Name); !ok {
		// What a deregistration that was cut off has left behind must not come back to life.
		if err := s.deleteAssociations(ctx, in.Name); err != nil {
			return nil, err
		}
	}
	err := s.Store.Commit(ctx, s.Directory.Clusters.Create(in.Name, cluster))
	if !errors.Is(err, store.ErrExists) {
		return describeCluster(&cluster), err
	}
	known, err := s.Directory.Clusters.Get(ctx, in.Name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if err == nil && known.Connector != nil && in.ClientRequestToken != "" && *known.Connector == *cluster.Connector && known.AccountID == cluster.AccountID {
		return describeCluster(&known), nil // the same request, sent again
	}
	return nil, errResourceInUse(in.Name, "Cluster already exists with name: %s", in.Name)
}

func (s *Service) deregisterAccess(_ *wire.Call, in *clusterInput) (wire.Access, error) {
	return s.clusterAccess("eks:DeregisterCluster", in.Name, nil)
}

// DeregisterCluster forgets a registered cluster and its associations: tokens of its pods are refused from then on.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_DeregisterCluster.html.
func (s *Service) DeregisterCluster(ctx context.Context, call *wire.Call, in *clusterInput) (*clusterOutput, error) {
	call.Entry.Cluster = in.Name
	removed, err := s.Directory.Clusters.Remove(ctx, in.Name, func(c *identity.Cluster) ([]store.Op, error) {
		return nil, checkRegistered(c)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoCluster(in.Name)
	}
	if err != nil {
		return nil, err
	}
	out := describeCluster(&removed)
	out.Cluster.Status = statusDeleting
	return out, s.deleteAssociations(ctx, in.Name)
}

// deleteAssociations deletes the associations of a cluster that is not there any more. None can be added meanwhile.
func (s *Service) deleteAssociations(ctx context.Context, cluster string) error {
	for key, found := range s.Directory.ScanAssociations(cluster+"/", "") {
		_, err := s.removeAssociation(ctx, key, found.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// checkRegistered refuses what cannot be done with a cluster that the server itself issues the tokens of.
func checkRegistered(c *identity.Cluster) error {
	if c.Connector == nil {
		return errInvalidRequest("Cluster %s is built in: the server itself issues its tokens, as long as it is configured to.", c.Name)
	}
	return nil
}

type keysInput struct {
	Name string          `uri:"name" json:"-"`
	Keys json.RawMessage `json:"keys"` // JWKS
}

// Validate checks the key set.
func (in *keysInput) Validate() error {
	if err := token.CheckKeys(in.Keys); err != nil {
		return errInvalidParameter("keys is not the JSON web key set of an issuer, as kubectl get --raw /openid/v1/jwks prints it: %v.", err)
	}
	return nil
}

type issuerInput struct {
	Name                 string               `uri:"name" json:"-"`
	Issuer               string               `json:"issuer"`
	Keys                 json.RawMessage      `json:"keys"`                 // empty: fetched from the issuer by discovery
	Endpoint             string               `json:"endpoint"`             // of the Kubernetes API
	CertificateAuthority certificateStructure `json:"certificateAuthority"` // of the endpoint, and of the issuer where keys are fetched
	Version              string               `json:"version"`
}

func (s *Service) putIssuerAccess(_ *wire.Call, in *issuerInput) (wire.Access, error) {
	return s.clusterAccess("podid:PutClusterIssuer", in.Name, nil)
}

func (s *Service) putKeysAccess(_ *wire.Call, in *keysInput) (wire.Access, error) {
	return s.clusterAccess("podid:PutClusterKeys", in.Name, nil)
}

// PutClusterIssuer says who issues the tokens of a registered cluster's pods, and activates the cluster. Any issuer is taken as it is:
// with the keys uploaded nothing is ever fetched from its URL, so several clusters may have the issuer that Kubernetes gives them
// by default. Without keys, the issuer must be an https URL where they are found by OpenID Connect discovery.
//
// This is podid's own: AWS has no such operation. Whoever may do it decides who can speak for the cluster's pods.
func (s *Service) PutClusterIssuer(ctx context.Context, call *wire.Call, in *issuerInput) (*clusterOutput, error) {
	ca, err := s.checkIssuer(in)
	if err != nil {
		return nil, err
	}
	return s.changeIssuer(ctx, call, in.Name, func(c *identity.Cluster) error {
		c.Issuer, c.Keys, c.Endpoint, c.CA, c.Version = in.Issuer, in.Keys, in.Endpoint, ca, in.Version
		return nil
	})
}

// PutClusterKeys replaces the uploaded keys of an active cluster, for the rotation of its signing key: upload the old and the new one
// together until the tokens of the old one have expired. It can change nothing else, so the cluster itself may be allowed to do it.
//
// This is podid's own: AWS has no such operation.
func (s *Service) PutClusterKeys(ctx context.Context, call *wire.Call, in *keysInput) (*clusterOutput, error) {
	return s.changeIssuer(ctx, call, in.Name, func(c *identity.Cluster) error {
		if len(c.Keys) == 0 {
			return errInvalidRequest("No keys have been uploaded for cluster %s; those of its issuer are fetched. PutClusterIssuer changes that.", c.Name)
		}
		c.Keys = in.Keys
		return nil
	})
}

func (s *Service) changeIssuer(ctx context.Context, call *wire.Call, name string, change func(*identity.Cluster) error) (*clusterOutput, error) {
	call.Entry.Cluster = name
	changed, err := s.Directory.Clusters.Update(ctx, name, func(c *identity.Cluster) error {
		if err := checkRegistered(c); err != nil {
			return err
		}
		return change(c)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoCluster(name)
	}
	if err != nil {
		return nil, err
	}
	return describeCluster(&changed), nil
}

// checkIssuer judges what PutClusterIssuer was told, and returns the certificates.
func (s *Service) checkIssuer(in *issuerInput) (ca []byte, err error) {
	switch {
	case in.Issuer == "" || len(in.Issuer) > maxURL || strings.ContainsFunc(in.Issuer, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, errInvalidParameter("issuer must be the value of the iss claim of the cluster's tokens, of 1 to %d visible ASCII characters.", maxURL)
	case len(in.Keys) == 0 && !s.fetchable(in.Issuer):
		return nil, errInvalidParameter("issuer %.200q is not an https URL, so its keys cannot be fetched. Upload them: keys.", in.Issuer)
	case in.Endpoint != "" && !fetchableURL(in.Endpoint, "https"):
		return nil, errInvalidParameter("endpoint %.200q is not an https URL of a Kubernetes API.", in.Endpoint)
	case len(in.Version) > maxVersion:
		return nil, errInvalidParameter("version has %d characters; at most %d are allowed.", len(in.Version), maxVersion)
	}
	if len(in.Keys) > 0 {
		if err := (&keysInput{Keys: in.Keys}).Validate(); err != nil {
			return nil, err
		}
	}
	return decodeCertificates(in.CertificateAuthority.Data)
}

func (s *Service) fetchable(issuer string) bool {
	return fetchableURL(issuer, "https") || s.AllowHTTP && fetchableURL(issuer, "http")
}

func fetchableURL(text, scheme string) bool {
	u, err := url.Parse(text)
	return err == nil && len(text) <= maxURL && u.Scheme == scheme && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// decodeCertificates reads base64 of PEM, as kubeconfigs have it, and returns the PEM.
func decodeCertificates(encoded string) ([]byte, error) {
	if len(encoded) > maxCA {
		return nil, errInvalidParameter("certificateAuthority.data has %d characters; at most %d are allowed.", len(encoded), maxCA)
	}
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errInvalidParameter("certificateAuthority.data is not base64.")
	}
	rest := bytes.TrimSpace(data)
	for len(rest) > 0 {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errInvalidParameter("certificateAuthority.data is not PEM of certificates alone, encoded as base64.")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return nil, errInvalidParameter("certificateAuthority.data has a certificate that cannot be read.")
		}
		rest = bytes.TrimSpace(rest)
	}
	return data, nil
}
