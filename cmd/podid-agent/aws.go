package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/podid/podid/internal/agent"
	"github.com/podid/podid/internal/feed"
)

// credentialsInterval is how often the agent's own credentials are read anew with --rotate-credentials, as in Amazon's agent.
const credentialsInterval = time.Minute

// ownConfig reads where AWS programs have their configuration: the agent's credentials, region, CA bundle and proxies.
func ownConfig(ctx context.Context) (aws.Config, *http.Transport, error) {
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.Proxy = agent.PastLinkLocal(http.ProxyFromEnvironment)
	})
	own, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(client))
	if err != nil {
		return own, nil, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	transport := own.HTTPClient.(*awshttp.BuildableClient).GetTransport() // by now it carries AWS_CA_BUNDLE
	return own, transport, trustBoth(transport, os.Getenv("SSL_CERT_FILE"))
}

// ownEndpoint is the URL of EKS Auth in the configuration; empty: AWS's own.
// See https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html.
func ownEndpoint(own aws.Config) string {
	if ignored, _ := strconv.ParseBool(os.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")); ignored {
		return ""
	}
	return cmp.Or(os.Getenv("AWS_ENDPOINT_URL_EKS_AUTH"), aws.ToString(own.BaseEndpoint))
}

// trustBoth adds the certificates of SSL_CERT_FILE to those of AWS_CA_BUNDLE. Without the latter Go reads the former by itself; with
// it the SDK trusts nothing else, and whoever has set both means both.
func trustBoth(t *http.Transport, file string) error {
	if file == "" || t.TLSClientConfig == nil || t.TLSClientConfig.RootCAs == nil {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading SSL_CERT_FILE: %w", err)
	}
	both := t.TLSClientConfig.RootCAs.Clone()
	if !both.AppendCertsFromPEM(data) {
		return errors.New("reading SSL_CERT_FILE: no certificate in " + file)
	}
	t.TLSClientConfig.RootCAs = both
	return nil
}

// rereadCredentials goes through the default credential chain afresh, files included, and has the result used for a minute: on
// hybrid nodes another process replaces the shared credentials file.
func rereadCredentials(ctx context.Context) (aws.Credentials, error) {
	own, _, err := ownConfig(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	credentials, err := own.Credentials.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	if next := time.Now().Add(credentialsInterval); !credentials.CanExpire || credentials.Expires.After(next) {
		credentials.CanExpire, credentials.Expires = true, next
	}
	return credentials, nil
}

// warmUp fetches the agent's own credentials before the first pod needs them, and says so at once if that fails.
func warmUp(ctx context.Context, o options) {
	if _, err := o.client.Credentials.Retrieve(ctx); err != nil && ctx.Err() == nil {
		o.agent.Logger.Warn("the agent has no credentials of its own yet", "err", err)
	}
}

// newFeed follows the associations of the cluster that is served, at the same endpoint and with the same credentials.
func newFeed(o options) (*feed.Client, error) {
	if o.client.Endpoint == "" {
		return nil, errors.New("--follow-associations needs a podid as --endpoint: AWS has no feed of associations")
	}
	return feed.New(feed.Config{
		ClusterName: o.client.ClusterName, Endpoint: o.client.Endpoint, Region: o.client.Region, Credentials: o.client.Credentials,
		Transport: o.client.Transport, Logger: o.agent.Logger,
	})
}
