package agent

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// errOwnCredentials is wrapped by the errors for an agent that cannot sign: it has no credentials of its own.
var errOwnCredentials = errors.New("retrieving the agent's own credentials")

// APIError is a refusal by EKS Auth, as it was worded there.
type APIError struct {
	Status    int    // HTTP status
	Code      string // ResourceNotFoundException, …; UnknownError if the answer has none
	Message   string // at most 2,048 bytes
	RequestID string // of upstream's log; may be empty
}

// Error is the text that Amazon's agent gives to pods: [request id]: (Code): message, fault: client.
func (e *APIError) Error() string {
	fault := "client"
	if e.Status >= 500 {
		fault = "server"
	}
	return fmt.Sprintf("[%s]: (%s): %s, fault: %s", e.RequestID, e.Code, e.Message, fault)
}

// apiCodes are the errors of EKS Auth with their statuses, and whether one says that a pod shall have no credentials.
// See https://docs.aws.amazon.com/eks/latest/APIReference/API_auth_AssumeRoleForPodIdentity.html#API_auth_AssumeRoleForPodIdentity_Errors.
var apiCodes = map[string]struct {
	status int
	final  bool
}{
	"AccessDeniedException":       {http.StatusBadRequest, true},
	"ExpiredTokenException":       {http.StatusBadRequest, true},
	"InvalidTokenException":       {http.StatusBadRequest, true},
	"ResourceNotFoundException":   {http.StatusNotFound, true},
	"InvalidParameterException":   {http.StatusBadRequest, false},
	"InvalidRequestException":     {http.StatusBadRequest, false},
	"ThrottlingException":         {http.StatusTooManyRequests, false},
	"InternalServerException":     {http.StatusInternalServerError, false},
	"ServiceUnavailableException": {http.StatusServiceUnavailable, false},
}

// final tells whether err is upstream's word that the pod shall have no credentials, so that those in the cache must go.
//
// The status must be the code's own as well: with 403, ExpiredTokenException and AccessDeniedException speak of the agent's
// credentials, not of the pod's token. An agent that has lost its own rights must not take everybody's credentials with it.
func final(err error) bool {
	refusal, ok := errors.AsType[*APIError](err)
	if !ok {
		return false
	}
	known := apiCodes[refusal.Code]
	return known.final && known.status == refusal.Status
}

// retryable tells whether the same request may succeed a moment later.
func retryable(err error) bool {
	refusal, ok := errors.AsType[*APIError](err)
	if !ok {
		return !errors.Is(err, errAnswer) && !errors.Is(err, errOwnCredentials)
	}
	return refusal.Status >= 500 || refusal.throttles()
}

// throttles tells whether upstream is asked too much.
func (e *APIError) throttles() bool {
	codes := []string{"Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException"}
	return e.Status == http.StatusTooManyRequests || slices.Contains(codes, e.Code)
}

// asksTooMuch tells whether err is upstream's word that it is asked too much.
func asksTooMuch(err error) bool {
	refusal, ok := errors.AsType[*APIError](err)
	return ok && refusal.throttles()
}

// decodeError reads an error answer the way the AWS SDKs do: the code from the header or else from the body, without what precedes
// '#' (a namespace) or follows ':' (a URL).
// See https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization.
func decodeError(resp *http.Response, data []byte) *APIError {
	var body struct { // encoding/json takes Code and Message as well
		Code    string `json:"code"`
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(data, &body) // an answer that is not JSON comes from something in between; its status is all there is
	code := cmp.Or(resp.Header.Get("X-Amzn-ErrorType"), body.Code, body.Type)
	code, _, _ = strings.Cut(code, ":")
	code = code[strings.LastIndexByte(code, '#')+1:]
	if body.Message == "" {
		body.Message = "EKS Auth answered " + resp.Status
	}
	return &APIError{
		Status:    resp.StatusCode,
		Code:      limit(cmp.Or(code, "UnknownError"), 128),
		Message:   limit(body.Message, 2048),
		RequestID: limit(resp.Header.Get("X-Amzn-RequestId"), 128),
	}
}

// limit cuts s to n bytes.
func limit(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }
