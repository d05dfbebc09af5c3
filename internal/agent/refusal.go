package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// refusal is an answer of the agent's own that carries no credentials.
type refusal struct {
	status  int
	code    string // EKS Auth's code that comes nearest
	message string // begins as in Amazon's agent
}

func (r *refusal) Error() string { return r.message }

// throttled refuses what is too much.
func throttled(format string, args ...any) *refusal {
	return &refusal{http.StatusTooManyRequests, "ThrottlingException", "Too Many Requests: " + fmt.Sprintf(format, args...)}
}

// notYet refuses what may succeed a moment later.
func notYet(format string, args ...any) *refusal {
	return &refusal{http.StatusServiceUnavailable, "ServiceUnavailableException", fmt.Sprintf(format, args...)}
}

func badToken(code, message string) *refusal { return &refusal{http.StatusBadRequest, code, message} }

// wrongHost refuses a request that came by another name than the agent's own addresses.
func (a *Agent) wrongHost(host string) *refusal {
	return &refusal{http.StatusForbidden, "AccessDeniedException", fmt.Sprintf(
		"Access Denied. Called agent through invalid address, please use either %v address not %s. AWS_CONTAINER_CREDENTIALS_FULL_URI should be %s",
		a.hosts, limit(hostname(host), 253), a.url())}
}

// url is what pods should call.
func (a *Agent) url() string {
	authority := net.JoinHostPort(a.hosts[0].String(), strconv.Itoa(a.config.Port))
	if addrs := a.Addrs(); len(addrs) > 0 {
		authority = addrs[0].String() // with the port that was free
	}
	return "http://" + strings.TrimSuffix(authority, ":80") + "/v1/credentials"
}

// untimely refuses a token whose time has not come or is over.
func untimely(c claims, now time.Time, why error) *refusal {
	text := "Service account token failed basic claim validations: " + why.Error()
	if errors.Is(why, errExpired) {
		return badToken("ExpiredTokenException", fmt.Sprintf("%s. It expired at %s, %v ago. The application does not read the file "+
			"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE anew, or the file is a copy: neither a copy nor a subPath mount of a token is renewed",
			text, c.expiresAt.UTC().Format(time.RFC3339), now.Sub(c.expiresAt).Round(time.Second)))
	}
	return badToken("InvalidTokenException", fmt.Sprintf("%s. It is valid from %s on, and the clock of this node says %s",
		text, c.notBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
}

// advice is what to do about an error of an exchange, if it can be told from here; empty, or a sentence to be added to its text. An
// upstream that says so itself, as podid does, is not repeated.
func (a *Agent) advice(c claims, err error) string {
	upstream, ok := errors.AsType[*APIError](err)
	switch {
	case errors.Is(err, errOwnCredentials):
		return ". The agent of this node has no AWS credentials of its own; the pod is not at fault"
	case !ok:
		return ". The agent of this node cannot get an answer of EKS Auth; the pod is not at fault"
	case upstream.Status == http.StatusForbidden:
		return ". This is about the agent of this node, not about the pod: the agent's role must be allowed eks-auth:AssumeRoleForPodIdentity" +
			", and the node's clock must be right"
	case upstream.Code == "ResourceNotFoundException" && !strings.Contains(upstream.Message, "create-pod-identity-association") &&
		a.config.ClusterName != "" && c.subject.Name != "":
		return fmt.Sprintf(". The token is of service account %[2]s/%[3]s. See what it has: aws eks list-pod-identity-associations "+
			"--cluster-name %[1]s --namespace %[2]s --service-account %[3]s", a.config.ClusterName, c.subject.Namespace, c.subject.Name)
	case upstream.Code == "AccessDeniedException" && !strings.Contains(upstream.Message, "sts:"):
		return ". Check the role's trust policy: it must allow sts:AssumeRole and sts:TagSession to pods.eks.amazonaws.com"
	}
	return ""
}

// help is where more is said about refusals.
const help = "https://github.com/podid/podid/blob/main/docs/agent.md#refusals"

// withHelp ends a message with the link.
func withHelp(message string) string {
	message = strings.TrimSuffix(message, ".")
	if !strings.HasSuffix(message, "?") {
		message += "."
	}
	return message + " See " + help
}

// refuse writes err as an answer.
func (a *Agent) refuse(w http.ResponseWriter, claims claims, err error) int {
	status, code, message := http.StatusInternalServerError, "InternalServerException", ""
	upstream, isUpstream := errors.AsType[*APIError](err)
	own, isOwn := errors.AsType[*refusal](err)
	switch {
	case isUpstream:
		code, message = upstream.Code, upstream.Error()+a.advice(claims, err)
		if upstream.Status >= 400 {
			status = upstream.Status
		}
	case isOwn:
		status, code, message = own.status, own.code, own.message
	case errors.Is(err, context.Canceled): // the pod has hung up; this is for the count only
		status, code, message = http.StatusServiceUnavailable, "ServiceUnavailableException", "request canceled"
	case errors.Is(err, errExchange):
		message = err.Error() + a.advice(claims, err)
	default:
		message = err.Error()
	}
	header := w.Header()
	header["Content-Type"] = contentType
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		header.Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	message = withHelp(message)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	// Go and Java read code and message, JavaScript Code and Message, Python prints it all.
	_ = encoder.Encode(struct {
		Code1    string `json:"code"`
		Message1 string `json:"message"`
		Code2    string `json:"Code"`
		Message2 string `json:"Message"`
	}{code, message, code, message})
	return status
}
