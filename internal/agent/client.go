package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/time/rate"

	"github.com/podid/podid/internal/identity"
)

const (
	attempts       = 3                      // at one exchange, the first included
	attemptTimeout = time.Second            // of one attempt, answer included, as in Amazon's agent
	backoff        = 100 * time.Millisecond // before the second attempt; doubled before the third
	maxPause       = 2 * time.Second        // that upstream may ask for by Retry-After; if it asks for more, there is no other attempt
	// While upstream is down, attempts after the first add to what it has to bear when it comes back, so there are only so many of them.
	retriesPerSecond, retryBurst = 5, 50
	// invalidateAfter is how long the agent's own credentials are kept at least, whatever upstream says about them.
	invalidateAfter = time.Minute
	maxAnswerBytes  = 256 << 10 // many times the longest session token
)

// errAnswer is wrapped by the errors for answers that are not what EKS Auth answers. They are not retried.
var errAnswer = errors.New("unusable answer from EKS Auth")

// Assumption is what EKS Auth gives for a service-account token: a role assumed for the pod.
type Assumption struct {
	identity.Credentials
	AccountID     string // of the session; with a target role the target's. Empty if the answer did not say
	SessionARN    string // arn:aws:sts::111122223333:assumed-role/…; for the log
	AssociationID string // a-…; for the log
}

// ClientConfig says how an EKS Auth API is reached.
type ClientConfig struct {
	ClusterName string                  // the cluster whose tokens are exchanged; required
	Region      string                  // that requests are signed for; required
	Endpoint    string                  // URL of the API; empty: AWS's own for the region
	Credentials aws.CredentialsProvider // the agent's own, which sign the requests; should cache, as aws.CredentialsCache does; required
	Transport   *http.Transport         // its TLS and proxy settings are used; nil: Go's defaults and no proxy
	Now         func() time.Time        // nil: time.Now
	Rand        func() float64          // in [0, 1), for jitter; nil: math/rand
}

// Client calls the one operation of an EKS Auth API. It is safe for concurrent use.
type Client struct {
	url         string
	region      string
	credentials aws.CredentialsProvider
	http        *http.Client
	signer      *v4.Signer
	now         func() time.Time
	rand        func() float64
	retries     *rate.Limiter // attempts after the first
	invalidate  *rate.Limiter // of the agent's own credentials
}

// NewClient checks the configuration and makes the client. It does not connect.
func NewClient(config ClientConfig) (*Client, error) {
	if config.Endpoint == "" {
		config.Endpoint = "https://eks-auth." + config.Region + "." + dnsSuffix(config.Region)
	}
	endpoint, err := url.Parse(config.Endpoint)
	switch {
	case !identity.ValidClusterName(config.ClusterName):
		return nil, fmt.Errorf("cluster name %q: want 1 to 100 letters, digits, - and _", config.ClusterName)
	case config.Region == "":
		return nil, errors.New("region is required")
	case err != nil:
		return nil, fmt.Errorf("reading the endpoint: %w", err)
	case endpoint.Scheme != "http" && endpoint.Scheme != "https", endpoint.Host == "", endpoint.User != nil, endpoint.RawQuery != "":
		return nil, fmt.Errorf("endpoint %q: want http(s)://host[:port]", endpoint.Redacted())
	case config.Credentials == nil:
		return nil, errors.New("credentials are required")
	}
	transport := &http.Transport{}
	if config.Transport != nil {
		transport = config.Transport.Clone()
	}
	configure(transport)
	c := &Client{
		url:         endpoint.JoinPath("clusters", config.ClusterName, "assume-role-for-pod-identity").String(),
		region:      config.Region,
		credentials: config.Credentials,
		http:        &http.Client{Transport: transport, CheckRedirect: refuseRedirect},
		signer:      v4.NewSigner(),
		now:         config.Now,
		rand:        config.Rand,
		retries:     rate.NewLimiter(retriesPerSecond, retryBurst),
		invalidate:  rate.NewLimiter(rate.Every(invalidateAfter), 1),
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.rand == nil {
		c.rand = rand.Float64
	}
	return c, nil
}

// refuseRedirect keeps the token and the signature away from whatever host an answer points to.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// dnsSuffix is the dual-stack domain of the partition that a region belongs to, the only one EKS Auth has.
// See https://docs.aws.amazon.com/general/latest/gr/eks.html.
func dnsSuffix(region string) string {
	for prefix, suffix := range map[string]string{
		"cn-":      "api.amazonwebservices.com.cn",
		"eusc-":    "api.amazonwebservices.eu",
		"us-iso-":  "api.aws.ic.gov",
		"us-isob-": "api.aws.scloud",
		"us-isof-": "api.aws.hci.ic.gov",
		"eu-isoe-": "api.cloud-aws.adc-e.uk",
	} {
		if strings.HasPrefix(region, prefix) {
			return suffix
		}
	}
	return "api.aws"
}

// AssumeRoleForPodIdentity exchanges a service-account token for credentials. It makes up to three attempts of at most a second
// each: failures of the network, 5xx and throttling are tried again after a jittered pause, or the one that upstream asks for, as long
// as there are not too many of such attempts. A refusal is an [*APIError].
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_auth_AssumeRoleForPodIdentity.html.
func (c *Client) AssumeRoleForPodIdentity(ctx context.Context, token identity.Secret) (*Assumption, error) {
	body, err := json.Marshal(struct {
		Token string `json:"token"`
	}{token.Reveal()})
	if err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	for n := 1; ; n++ {
		data, wanted, err := c.attempt(ctx, body)
		if err == nil {
			return decodeAssumption(data)
		}
		if refusal, ok := errors.AsType[*APIError](err); ok {
			c.doubtOwnCredentials(refusal)
			// Validation errors quote the value they refuse.
			refusal.Message = strings.ReplaceAll(refusal.Message, token.Reveal(), "[redacted]")
		}
		if n == attempts || !retryable(err) || wanted > maxPause || !c.retries.AllowN(c.now(), 1) {
			return nil, err
		}
		pause := max(wanted, time.Duration((1+c.rand())/2*float64(backoff<<(n-1))))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			// The connection may lead nowhere, and with HTTP/2 all attempts would go that way.
			c.http.CloseIdleConnections()
		}
	}
}

// doubtOwnCredentials has the agent's own credentials fetched anew if upstream does not accept them: they may have become void before
// their time.
func (c *Client) doubtOwnCredentials(refusal *APIError) {
	own, cached := c.credentials.(interface{ Invalidate() })
	if cached && refusal.Status == http.StatusForbidden && c.invalidate.AllowN(c.now(), 1) {
		own.Invalidate()
	}
}

// attempt signs and sends the request once and returns the body of a 200, or an error and the pause that upstream asks for.
func (c *Client) attempt(ctx context.Context, body []byte) (data []byte, wanted time.Duration, err error) {
	// Getting the agent's own credentials may take calls of its own, so their time is not part of the attempt's.
	credentials, err := c.credentials.Retrieve(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errOwnCredentials, err)
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, 0, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "podid-agent")
	digest := sha256.Sum256(body)
	if err := c.signer.SignHTTP(ctx, credentials, req, hex.EncodeToString(digest[:]), "eks-auth", c.region, c.now()); err != nil {
		return nil, 0, fmt.Errorf("signing the request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	data, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("reading the answer: %w", err)
	case len(data) > maxAnswerBytes:
		return nil, 0, fmt.Errorf("%w: more than %d bytes", errAnswer, maxAnswerBytes)
	case resp.StatusCode != http.StatusOK:
		return nil, retryAfter(resp), decodeError(resp, data)
	}
	return data, 0, nil
}

// retryAfter is the pause that an answer asks for, in seconds; 0 if it asks for none, or for one until a date.
func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// decodeAssumption reads the answer. All of its members are required by the API's model; only those that credentials cannot do
// without are required here.
func decodeAssumption(data []byte) (*Assumption, error) {
	var out struct {
		Association struct {
			ID string `json:"associationId"`
		} `json:"podIdentityAssociation"`
		AssumedRoleUser struct {
			ARN string `json:"arn"`
		} `json:"assumedRoleUser"`
		Credentials struct {
			AccessKeyID     string  `json:"accessKeyId"`
			SecretAccessKey string  `json:"secretAccessKey"`
			SessionToken    string  `json:"sessionToken"`
			Expiration      float64 `json:"expiration"` // seconds since the epoch
		} `json:"credentials"`
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("%w: not the JSON of an assumed role", errAnswer)
	}
	got := out.Credentials
	if got.AccessKeyID == "" || got.SecretAccessKey == "" || got.SessionToken == "" || !validEpoch(got.Expiration) {
		return nil, fmt.Errorf("%w: credentials are missing or incomplete", errAnswer)
	}
	a := &Assumption{
		Credentials: identity.Credentials{
			AccessKeyID:     got.AccessKeyID,
			SecretAccessKey: identity.Secret(got.SecretAccessKey),
			SessionToken:    identity.Secret(got.SessionToken),
			ExpiresAt:       time.Unix(int64(got.Expiration), 0).UTC(),
		},
		SessionARN:    out.AssumedRoleUser.ARN,
		AssociationID: out.Association.ID,
	}
	if arn, err := identity.ParseARN(a.SessionARN); err == nil {
		a.AccountID = arn.AccountID
	}
	return a, nil
}

// validEpoch tells whether seconds since the epoch are a time with a four-digit year, which is all that RFC 3339 can write.
func validEpoch(seconds float64) bool { return 0 < seconds && seconds < 253402300800 }
