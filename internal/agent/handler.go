package agent

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/podid/podid/internal/identity"
)

// refusal is an answer of the agent's own that carries no credentials.
type refusal struct {
	status  int
	code    string // EKS Auth's code that comes nearest
	message string // as in Amazon's agent
}

func (r *refusal) Error() string { return r.message }

var contentType = []string{"application/json"}

// Handler answers GET /v1/credentials; any method will do, and everything else is 404. The request carries the pod's token as the
// Authorization header, raw. It is refused
//   - with 403 if its Host is not one of the addresses the agent listens on: a web page that lets a name of its own point here
//     (DNS rebinding) must not get credentials,
//   - with 400 if there is no token, or it is malformed, expired or not yet valid,
//   - with upstream's own status and words if EKS Auth refuses the token,
//   - with 429 if more than 1,000 new tokens a second (500 at once) would have to go to EKS Auth. Answers from the cache are
//     not limited: they cost less than the refusal would,
//   - with 500 if EKS Auth cannot be reached or understood.
//
// The body of a refusal is JSON that SDKs print: code and message, in both spellings that they look for.
func (a *Agent) Handler() http.Handler { return http.HandlerFunc(a.serveCredentials) }

func (a *Agent) serveCredentials(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/credentials" {
		http.NotFound(w, r) // which the probe relies on
		return
	}
	answer, err := a.credentials(r)
	if err != nil {
		a.refuse(w, err)
		return
	}
	header := w.Header()
	header["Content-Type"] = contentType
	header["Content-Length"] = answer.length
	_, _ = w.Write(answer.body) // the client is gone, nothing to tell anyone
	a.metrics.ok.Add(1)
}

func (a *Agent) credentials(r *http.Request) (*answer, error) {
	if !a.addressed(r.Host) {
		return nil, &refusal{http.StatusForbidden, "AccessDeniedException", fmt.Sprintf(
			"Access Denied. Called agent through invalid address, please use either %v address not %s", a.hosts, hostname(r.Host))}
	}
	token := r.Header.Get("Authorization")
	if token == "" {
		return nil, &refusal{http.StatusBadRequest, "InvalidTokenException", "Service account token cannot be empty"}
	}
	f := fingerprint(sha256.Sum256([]byte(token)))
	if found := a.cache.lookup(f); found != nil {
		return found, nil
	}
	claims, err := parseToken(token)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "InvalidTokenException", "Service account token cannot be parsed: " + err.Error()}
	}
	if err := claims.check(a.now()); err != nil {
		code := "InvalidTokenException"
		if errors.Is(err, errExpired) {
			code = "ExpiredTokenException"
		}
		return nil, &refusal{http.StatusBadRequest, code, "Service account token failed basic claim validations: " + err.Error()}
	}
	// Cloned, because the header's value is a part of a string that holds all headers.
	return a.cache.get(r.Context(), f, identity.Secret(strings.Clone(token)), claims)
}

// refuse writes err as an answer.
func (a *Agent) refuse(w http.ResponseWriter, err error) {
	status, code, message := http.StatusInternalServerError, "InternalServerException", ""
	upstream, isUpstream := errors.AsType[*APIError](err)
	own, isOwn := errors.AsType[*refusal](err)
	switch {
	case isUpstream:
		code, message = upstream.Code, upstream.Error()
		if upstream.Status >= 400 {
			status = upstream.Status
		}
	case isOwn:
		status, code, message = own.status, own.code, own.message
	case errors.Is(err, errThrottled):
		status, code, message = http.StatusTooManyRequests, "ThrottlingException", "Too Many Requests"
	case errors.Is(err, context.Canceled): // the pod has hung up; this is for the count only
		status, code, message = http.StatusServiceUnavailable, "ServiceUnavailableException", "request canceled"
	default:
		message = err.Error()
	}
	a.metrics.refused(status)
	w.Header()["Content-Type"] = contentType
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	// Go reads code and message, JavaScript Code and Message, Python prints it all.
	_ = encoder.Encode(struct {
		Code1    string `json:"code"`
		Message1 string `json:"message"`
		Code2    string `json:"Code"`
		Message2 string `json:"Message"`
	}{code, message, code, message})
}

// addressed tells whether the Host of a request is an address that the agent listens on. The port is not compared: a client
// may have reached the agent through a forwarded one.
func (a *Agent) addressed(host string) bool {
	addr, err := netip.ParseAddr(hostname(host))
	return err == nil && slices.Contains(a.hosts, addr)
}

// hostname strips port and brackets from a Host.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}
