// Package registration makes Kubernetes clusters known to podid: it reads from a cluster who issues its service-account tokens, and
// with which keys, and tells the EKS API.
//
// It changes nothing in the cluster, and it decides nothing: the server does, by the same API and permissions as for everybody.
package registration

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"k8s.io/client-go/rest"
)

const (
	maxBody     = 1 << 20 // of an answer
	callTimeout = 30 * time.Second
)

// Issuer is what podid must know of a cluster to verify the tokens of its pods, and what it is shown with.
type Issuer struct {
	// URL is the iss claim of the tokens, exactly.
	URL string `json:"issuer"`
	// Keys is the JSON web key set. Empty: podid fetches it from URL.
	Keys json.RawMessage `json:"keys,omitempty"`
	// Endpoint is the URL of the Kubernetes API; may be empty.
	Endpoint string `json:"endpoint,omitempty"`
	// CertificateAuthority is PEM, of the endpoint and of the URL; may be empty.
	CertificateAuthority []byte `json:"-"`
	// Version of Kubernetes; may be empty.
	Version string `json:"version,omitempty"`
}

// Discover reads the issuer of a cluster from its API server, as whoever the configuration authenticates. Kubernetes lets all
// authenticated users read it if the role system:service-account-issuer-discovery is bound to them, and administrators anyway.
// See https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery.
func Discover(ctx context.Context, config *rest.Config) (*Issuer, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("reading the Kubernetes configuration: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("reading the Kubernetes configuration: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var discovery struct {
		Issuer string `json:"issuer"`
	}
	if err := get(ctx, client, base, "/.well-known/openid-configuration", &discovery); err != nil {
		return nil, err
	}
	if discovery.Issuer == "" {
		return nil, fmt.Errorf("%s names no issuer in its openid-configuration", base)
	}
	issuer := &Issuer{URL: discovery.Issuer, Endpoint: strings.TrimSuffix(base.String(), "/"), CertificateAuthority: config.CAData}
	if err := get(ctx, client, base, "/openid/v1/jwks", &issuer.Keys); err != nil {
		return nil, err
	}
	var version struct {
		Major string `json:"major"`
		Minor string `json:"minor"`
	}
	if err := get(ctx, client, base, "/version", &version); err != nil {
		return nil, err
	}
	issuer.Version = version.Major + "." + strings.TrimSuffix(version.Minor, "+")
	return issuer, nil
}

// get reads a JSON document of the Kubernetes API.
func get(ctx context.Context, client *http.Client, base *url.URL, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath(path).String(), nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", base, err)
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("asking the Kubernetes API: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	switch {
	case err != nil:
		return fmt.Errorf("reading %s of %s: %w", path, base, err)
	case resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("you may not read %s of %s (%s): an administrator of the cluster may, or bind "+
			"the cluster role system:service-account-issuer-discovery", path, base, resp.Status)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %s for %s", base, resp.Status, path)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s of %s is not JSON: %w", path, base, err)
	}
	return nil
}

// Client makes clusters known to the EKS API of podid.
type Client struct {
	eks    *eks.Client
	config aws.Config
}

// NewClient calls the API that the configuration names, as its caller. The configuration is one of config.LoadDefaultConfig, which has a
// client for HTTP only where the environment says something about it.
func NewClient(config aws.Config) *Client {
	if config.HTTPClient == nil {
		config.HTTPClient = awshttp.NewBuildableClient()
	}
	return &Client{eks.NewFromConfig(config), config}
}

// Register registers a cluster, unless it is already, and says who its issuer is. It may be called again, with the same result; a
// cluster that has another issuer gets the new one.
func (c *Client) Register(ctx context.Context, name string, issuer *Issuer) error {
	caller, err := sts.NewFromConfig(c.config).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("asking who you are: %w", err)
	}
	_, err = c.eks.RegisterCluster(ctx, &eks.RegisterClusterInput{
		Name: &name,
		ConnectorConfig: &types.ConnectorConfigRequest{
			Provider: types.ConnectorConfigProviderOther,
			// AWS asks for the role of its connector. podid has none and only keeps the name.
			RoleArn: aws.String("arn:aws:iam::" + *caller.Account + ":role/AmazonEKSConnectorAgentRole"),
		},
	})
	if exists := (*types.ResourceInUseException)(nil); err != nil && !errors.As(err, &exists) {
		return fmt.Errorf("registering %s: %w", name, err)
	}
	return c.PutIssuer(ctx, name, issuer)
}

// PutIssuer says who issues the tokens of a registered cluster.
func (c *Client) PutIssuer(ctx context.Context, name string, issuer *Issuer) error {
	type certificate struct {
		Data []byte `json:"data,omitempty"`
	}
	body, err := json.Marshal(struct {
		*Issuer
		CertificateAuthority certificate `json:"certificateAuthority"`
	}{issuer, certificate{issuer.CertificateAuthority}})
	if err != nil {
		return fmt.Errorf("encoding the issuer of %s: %w", name, err)
	}
	return c.put(ctx, "/podid/v1/clusters/"+url.PathEscape(name)+"/issuer", body)
}

// put sends a request of podid's own, signed like those of the EKS API that it is part of.
func (c *Client) put(ctx context.Context, path string, body []byte) error {
	if c.config.BaseEndpoint == nil {
		return errors.New("no endpoint is set here, and AWS has no such operation: set AWS_ENDPOINT_URL to that of podid")
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, strings.TrimSuffix(*c.config.BaseEndpoint, "/")+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	credentials, err := c.config.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("finding AWS credentials: %w", err)
	}
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), "eks", c.config.Region, time.Now()); err != nil {
		return fmt.Errorf("signing the request: %w", err)
	}
	resp, err := c.config.HTTPClient.Do(req) // it knows AWS_CA_BUNDLE and the proxy
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var refusal struct {
			Message string `json:"message"`
		}
		_ = json.Unmarshal(answer, &refusal) // what is not JSON comes from something in between
		return fmt.Errorf("%s: %s %s", req.URL.Host, resp.Header.Get("X-Amzn-Errortype"), cmp.Or(refusal.Message, resp.Status))
	}
	return nil
}
