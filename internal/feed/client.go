package feed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/podid/podid/internal/identity"
)

const (
	dialTimeout    = 5 * time.Second
	headerTimeout  = 10 * time.Second // from the request to the header of its answer
	firstPause     = 200 * time.Millisecond
	longestPause   = 15 * time.Second
	defaultSilence = 35 * time.Second // three heartbeats of the server and a little
	maxAnswerBytes = 64 << 10         // of an answer that is no stream
)

// Config says which cluster is followed, and how its EKS API is reached.
type Config struct {
	ClusterName string                  // required
	Endpoint    string                  // URL of podid; required
	Region      string                  // that requests are signed for; required
	Credentials aws.CredentialsProvider // should cache; required
	Transport   *http.Transport         // its TLS and proxy settings are used, its dialer is not; nil: Go's defaults and no proxy
	Silence     time.Duration           // after which a connection is taken for dead; 0: 35 seconds
	Logger      *slog.Logger            // nil: nothing is logged
	Now         func() time.Time        // nil: time.Now
	Rand        func() float64          // in [0, 1), for jitter; nil: math/rand
}

// Client follows one cluster. It is safe for concurrent use.
type Client struct {
	cfg    Config
	base   *url.URL
	http   *http.Client
	signer *v4.Signer
}

// Refusal is an answer of the server that says no.
type Refusal struct {
	Status  int // 200: said at the end of a stream
	Code    string
	Message string
}

// Error returns the code and the message.
func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

// New checks the configuration. It does not connect.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.Endpoint)
	switch {
	case !identity.ValidClusterName(cfg.ClusterName):
		return nil, fmt.Errorf("cluster name %q: want 1 to 100 letters, digits, - and _", cfg.ClusterName)
	case cfg.Region == "":
		return nil, errors.New("region is required")
	case err != nil:
		return nil, fmt.Errorf("reading the endpoint: %w", err)
	case base.Scheme != "http" && base.Scheme != "https", base.Host == "", base.User != nil, base.RawQuery != "":
		return nil, fmt.Errorf("endpoint %q: want http(s)://host[:port]", base.Redacted())
	case cfg.Credentials == nil:
		return nil, errors.New("credentials are required")
	}
	if cfg.Silence == 0 {
		cfg.Silence = defaultSilence
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	transport := &http.Transport{}
	if cfg.Transport != nil {
		transport = cfg.Transport.Clone()
	}
	transport.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	transport.TLSHandshakeTimeout = dialTimeout
	transport.ResponseHeaderTimeout = headerTimeout
	transport.MaxResponseHeaderBytes = maxAnswerBytes
	refuseRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{cfg, base, &http.Client{Transport: transport, CheckRedirect: refuseRedirect}, v4.NewSigner()}, nil
}

// Associated asks the server itself whether a service account has an association: it knows of one as soon as the call that made it
// has returned.
func (c *Client) Associated(ctx context.Context, account identity.ServiceAccount) (bool, error) {
	target := c.base.JoinPath("clusters", c.cfg.ClusterName, "pod-identity-associations")
	target.RawQuery = url.Values{"namespace": {account.Namespace}, "serviceAccount": {account.Name}, "maxResults": {"1"}}.Encode()
	resp, err := c.get(ctx, target)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	var out struct {
		Associations []struct {
			Namespace      string `json:"namespace"`
			ServiceAccount string `json:"serviceAccount"`
		} `json:"associations"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswerBytes)).Decode(&out); err != nil {
		return false, fmt.Errorf("reading the list of associations: %w", err)
	}
	for _, a := range out.Associations {
		if a.Namespace == account.Namespace && a.ServiceAccount == account.Name {
			return true, nil
		}
	}
	return false, nil
}

// get sends a signed request. Any status but 200 is a [*Refusal].
func (c *Client) get(ctx context.Context, target *url.URL) (*http.Response, error) {
	credentials, err := c.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, fmt.Errorf("getting credentials for the EKS API: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("User-Agent", "podid")
	none := sha256.Sum256(nil)
	if err := c.signer.SignHTTP(ctx, credentials, req, hex.EncodeToString(none[:]), "eks", c.cfg.Region, c.cfg.Now()); err != nil {
		return nil, fmt.Errorf("signing the request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	refusal := &Refusal{Status: resp.StatusCode, Code: resp.Header.Get("X-Amzn-Errortype"), Message: resp.Status}
	var body struct {
		Message string `json:"message"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, maxAnswerBytes)).Decode(&body) == nil && body.Message != "" {
		refusal.Message = body.Message
	}
	return nil, refusal
}
