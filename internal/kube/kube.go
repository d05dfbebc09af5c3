// Package kube reads, follows and writes the few Kubernetes objects that podid's programs need.
//
// It speaks plain JSON over the HTTP client that client-go makes of a kubeconfig or of a pod's own service account. client-go's
// reflectors are not used: they hold a whole list at once, and decode all of every object, where most of our programs want some
// annotations out of 100,000 objects and little memory.
package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	callTimeout  = 10 * time.Second
	maxAnswer    = 64 << 20 // bytes; a page of the largest objects that are listed here is far smaller
	maxErrorBody = 64 << 10
)

// Client calls the API of one cluster. It is safe for concurrent use.
type Client struct {
	base *url.URL
	http *http.Client
}

// Metadata is what all objects have.
type Metadata struct {
	Name            string            `json:"name"`
	Namespace       string            `json:"namespace,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
	Labels          map[string]string `json:"labels,omitempty"`
}

// StatusError is an answer of the API that says no.
type StatusError struct {
	Code    int
	Reason  string
	Message string
}

// Error returns what the API said.
func (e *StatusError) Error() string { return fmt.Sprintf("%s (%d %s)", e.Message, e.Code, e.Reason) }

// IsCode tells whether an error is an answer of that HTTP status.
func IsCode(err error, code int) bool {
	status, ok := errors.AsType[*StatusError](err)
	return ok && status.Code == code
}

// Connect takes address and credentials from a kubeconfig file or an API server's URL, or, with neither, from the pod that the
// program runs in. It does not connect yet.
func Connect(kubeconfig, server string) (*Client, error) {
	cfg, err := clientcmd.BuildConfigFromFlags(server, kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("finding the Kubernetes API: %w", err)
	}
	cfg.UserAgent = "podid"
	return New(cfg)
}

// New is Connect with a configuration of client-go.
func New(cfg *rest.Config) (*Client, error) {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("preparing the Kubernetes client: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("reading the address of the Kubernetes API: %w", err)
	}
	return &Client{base, client}, nil
}

// Do makes one call within ten seconds: in, unless nil, is sent as JSON (to PATCH as a JSON patch), and the answer decoded into out,
// unless nil. An answer that says no is a [*StatusError].
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	resp, err := c.send(ctx, method, path, nil, "application/json", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("reading the answer to %s %s: %w", method, path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, query url.Values, accept string, body io.Reader) (*http.Response, error) {
	target := c.base.JoinPath(path)
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Accept", accept)
	switch {
	case body == nil:
	case method == http.MethodPatch:
		req.Header.Set("Content-Type", "application/json-patch+json")
	default:
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	refusal := &StatusError{Code: resp.StatusCode}
	var status struct{ Reason, Message string }
	if json.Unmarshal(text, &status) == nil && status.Message != "" {
		refusal.Reason, refusal.Message = status.Reason, status.Message
	} else {
		refusal.Message = fmt.Sprintf("%s %s: %s", method, path, strings.TrimSpace(string(text[:min(len(text), 200)])))
	}
	return nil, refusal
}
