package agent

import (
	"crypto/sha256"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/podid/podid/internal/identity"
)

var contentType = []string{"application/json"}

// Handler answers GET /v1/credentials; any method will do, and everything else is 404. The request carries the pod's token as the
// Authorization header, raw. It is refused
//   - with 429 if its address asks more often than the configuration allows, or if it, or its pod, has new tokens exchanged again and
//     again. Other addresses and pods are not affected,
//   - with 403 if its Host is not one of the addresses the agent listens on: a web page that lets a name of its own point here
//     (DNS rebinding) must not get credentials,
//   - with 400 if there is no token, or it is malformed, expired or not yet valid,
//   - with upstream's own status and words if EKS Auth refuses the token,
//   - with 503 if there is no answer yet after a time that SDKs wait,
//   - with 500 if EKS Auth cannot be reached or understood.
//
// The body of a refusal is JSON that SDKs print: code and message, in both spellings that they look for. The message says what was
// looked up, in Amazon's words, and what to do.
func (a *Agent) Handler() http.Handler { return http.HandlerFunc(a.serveCredentials) }

func (a *Agent) serveCredentials(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/v1/credentials" {
		http.NotFound(w, r) // which the probe relies on
		return
	}
	start := a.uptime()
	answer, claims, err := a.credentials(r)
	if err != nil {
		status := a.refuse(w, claims, err)
		a.metrics.refused(status, a.uptime()-start)
		return
	}
	header := w.Header()
	header["Content-Type"] = contentType
	header["Content-Length"] = answer.length
	_, _ = w.Write(answer.body) // the client is gone, nothing to tell anyone
	a.metrics.answered(claims.expiresAt.IsZero(), a.uptime()-start)
}

// credentials returns the answer to a request. The claims are those of its token; zero if there was no need to read it.
func (a *Agent) credentials(r *http.Request) (*answer, claims, error) {
	from := source(r.RemoteAddr)
	if a.requests != nil && !a.requests.allow(from, a.uptime()) {
		return nil, claims{}, throttled("%s sends more than %d a second. Pods at other addresses are not affected", from, a.config.RequestsPerSource)
	}
	if !a.addressed(r.Host) {
		return nil, claims{}, a.wrongHost(r.Host)
	}
	token := r.Header.Get("Authorization")
	if token == "" {
		return nil, claims{}, badToken("InvalidTokenException", "Service account token cannot be empty. The Authorization header must be "+
			"the content of the file that AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names")
	}
	f := fingerprint(sha256.Sum256([]byte(token)))
	if found := a.cache.lookup(f); found != nil {
		return found, claims{}, nil
	}
	claims, err := parseToken(token)
	if err != nil {
		return nil, claims, badToken("InvalidTokenException", "Service account token cannot be parsed: "+err.Error()+
			". The Authorization header must be the token alone, without the word Bearer")
	}
	if err := claims.check(a.now()); err != nil {
		return nil, claims, untimely(claims, a.now(), err)
	}
	// Cloned, because the header's value is a part of a string that holds all headers.
	found, err := a.cache.get(r.Context(), from, f, identity.Secret(strings.Clone(token)), claims)
	return found, claims, err
}

// source is the IP address that a request came from, as net/http has it. What comes by no network at all is one source.
func source(remote string) netip.Addr {
	addr, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap().WithZone("")
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
