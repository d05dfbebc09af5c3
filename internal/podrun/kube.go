package podrun

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/local"
)

// callTimeout bounds one call of the Kubernetes API: twice what an API server grants the webhooks of one admission.
const callTimeout = 20 * time.Second

// maxAnswerBytes bounds what is read of an answer. Kubernetes' objects end at 3 MiB.
const maxAnswerBytes = 4 << 20

// KubeConfig says which Kubernetes API to call, and as whom.
type KubeConfig struct {
	// Endpoint is the API's URL, with a path where it is not at the root of its host.
	Endpoint string
	// Bearer makes the bearer token of one request.
	Bearer func(ctx context.Context) (identity.Secret, error)
	// HTTPClient carries the requests, and so the certificate authorities. Nil: one with Go's defaults.
	HTTPClient *http.Client
}

// Kube is a client for the few calls that running a pod here takes.
type Kube struct {
	endpoint *url.URL
	bearer   func(context.Context) (identity.Secret, error)
	client   *http.Client
}

// NewKube checks the configuration. It calls nothing.
func NewKube(cfg KubeConfig) (*Kube, error) {
	endpoint, err := url.Parse(cfg.Endpoint)
	switch {
	case err != nil:
		return nil, fmt.Errorf("podrun: reading Kubernetes endpoint: %w", err)
	case endpoint.Scheme != "http" && endpoint.Scheme != "https" || endpoint.Host == "":
		return nil, fmt.Errorf("podrun: Kubernetes endpoint %q is not an http or https URL", cfg.Endpoint)
	case cfg.Bearer == nil:
		return nil, errors.New("podrun: no Bearer function")
	}
	client := http.Client{}
	if cfg.HTTPClient != nil {
		client = *cfg.HTTPClient
	}
	// The API never redirects a create; whoever does is not the API, and must not see the token.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Kube{endpoint: endpoint, bearer: cfg.Bearer, client: &client}, nil
}

// StatusError is an answer of the Kubernetes API that is not a success.
// See https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/.
type StatusError struct {
	Code    int    `json:"code"` // of HTTP
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Error is the API's own message.
func (e *StatusError) Error() string {
	if e.Message == "" {
		return "Kubernetes answered " + strconv.Itoa(e.Code) + " " + http.StatusText(e.Code)
	}
	return e.Message
}

// DryRunCreate takes a pod through everything that creating it would, defaults and webhooks above all, and returns what would
// have been created; nothing is. The warnings are what kubectl would show.
// See https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run.
func (k *Kube) DryRunCreate(ctx context.Context, namespace string, pod []byte) (admitted []byte, warnings []string, err error) {
	u := k.endpoint.JoinPath("api/v1/namespaces", url.PathEscape(namespace), "pods")
	u.RawQuery = "dryRun=All"
	admitted, header, err := k.post(ctx, u, pod)
	if err != nil {
		return nil, nil, fmt.Errorf("admitting pod: %w", err)
	}
	for _, value := range header.Values("Warning") {
		warnings = append(warnings, warningText(value))
	}
	return admitted, warnings, nil
}

// ApplyServiceAccount creates a service account, or changes it to what object says, in a built-in cluster of podid. Any other cluster is
// left as it is, and applied is false.
func (k *Kube) ApplyServiceAccount(ctx context.Context, account identity.ServiceAccount, object []byte) (applied bool, err error) {
	answer, _, err := k.do(ctx, http.MethodGet, k.endpoint.JoinPath("version"), "", nil)
	if err != nil {
		return false, fmt.Errorf("asking for the cluster's version: %w", err)
	}
	var version struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(answer, &version); err != nil || version.GitVersion != local.Version {
		return false, nil
	}
	u := k.endpoint.JoinPath("api/v1/namespaces", url.PathEscape(account.Namespace), "serviceaccounts", url.PathEscape(account.Name))
	u.RawQuery = "fieldManager=podid&force=true"
	if _, _, err := k.do(ctx, http.MethodPatch, u, "application/apply-patch+yaml", object); err != nil {
		return false, fmt.Errorf("applying %s: %w", account.Subject(), err)
	}
	return true, nil
}

// TokenRequest asks for a token of a service account.
type TokenRequest struct {
	// Audience of the token. Empty: the Kubernetes API itself.
	Audience string
	// ExpirationSeconds is the life asked for; the cluster may shorten it. Zero: one hour.
	ExpirationSeconds int64
	// PodName and PodUID name the pod that the token is bound to.
	PodName, PodUID string
}

// Token is a service-account token.
type Token struct {
	Value     identity.Secret
	ExpiresAt time.Time
}

type tokenRequest struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Audiences         []string `json:"audiences,omitempty"`
		ExpirationSeconds int64    `json:"expirationSeconds,omitempty"`
		BoundObjectRef    boundRef `json:"boundObjectRef"`
	} `json:"spec"`
}

type boundRef struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	UID        string `json:"uid"`
}

// Token gets a token for a service account, as a kubelet does for the pods of its node.
// See https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/.
func (k *Kube) Token(ctx context.Context, account identity.ServiceAccount, in TokenRequest) (Token, error) {
	body := tokenRequest{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"}
	if in.Audience != "" {
		body.Spec.Audiences = []string{in.Audience}
	}
	body.Spec.ExpirationSeconds = in.ExpirationSeconds
	body.Spec.BoundObjectRef = boundRef{"v1", "Pod", in.PodName, in.PodUID}
	data, err := json.Marshal(body)
	if err != nil {
		return Token{}, fmt.Errorf("encoding token request: %w", err)
	}
	u := k.endpoint.JoinPath("api/v1/namespaces", url.PathEscape(account.Namespace),
		"serviceaccounts", url.PathEscape(account.Name), "token")
	answer, _, err := k.post(ctx, u, data)
	if err != nil {
		return Token{}, fmt.Errorf("getting token for %s: %w", account.Subject(), err)
	}
	var out struct {
		Status struct {
			Token               string    `json:"token"`
			ExpirationTimestamp time.Time `json:"expirationTimestamp"`
		} `json:"status"`
	}
	if err := json.Unmarshal(answer, &out); err != nil || out.Status.Token == "" || out.Status.ExpirationTimestamp.IsZero() {
		// The decoder's error may quote the answer, and with it the token.
		return Token{}, fmt.Errorf("getting token for %s: the answer is not a TokenRequest with a status", account.Subject())
	}
	return Token{identity.Secret(out.Status.Token), out.Status.ExpirationTimestamp}, nil
}

func (k *Kube) post(ctx context.Context, u *url.URL, body []byte) ([]byte, http.Header, error) {
	return k.do(ctx, http.MethodPost, u, "application/json", body)
}

func (k *Kube) do(ctx context.Context, method string, u *url.URL, contentType string, body []byte) ([]byte, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	bearer, err := k.bearer(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("making bearer token: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+bearer.Reveal())
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("reading answer: %w", err)
	case len(answer) > maxAnswerBytes:
		return nil, nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswerBytes)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		status := &StatusError{}
		if json.Unmarshal(answer, status) != nil { // not from Kubernetes: a proxy's page
			status = &StatusError{}
		}
		status.Code = resp.StatusCode
		return nil, nil, status
	}
	return answer, resp.Header, nil
}

// warningText takes the text out of a Warning header: 299 - "text" (RFC 7234, section 5.5).
func warningText(value string) string {
	parts := strings.SplitN(value, " ", 3)
	if len(parts) == 3 {
		if text, err := strconv.Unquote(parts[2]); err == nil {
			return text
		}
	}
	return value
}
