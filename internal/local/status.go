package local

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/podid/podid/internal/identity"
)

// statusError is an error as the Kubernetes API answers it.
// See https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/.
type statusError struct {
	code    int // of HTTP
	reason  string
	message string // for the person at the client
}

func (e *statusError) Error() string { return e.message }

func (e *statusError) write(w http.ResponseWriter) {
	body, err := json.Marshal(map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": struct{}{},
		"status": "Failure", "message": e.message, "reason": e.reason, "code": e.code,
	})
	if err != nil { // strings and a number always encode
		body = nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.code)
	_, _ = w.Write(body) // a client that has gone cannot be told
}

// The errors that always read the same, in Kubernetes' words where it has some.
var (
	errNotFound = &statusError{http.StatusNotFound, "NotFound", "the server could not find the requested resource"}
	errMethod   = &statusError{http.StatusMethodNotAllowed, "MethodNotAllowed",
		"the server does not allow this method on the requested resource"}
	errUnauthorized = &statusError{http.StatusUnauthorized, "Unauthorized", "Unauthorized"}
	errForbidden    = &statusError{http.StatusForbidden, "Forbidden", "forbidden: the caller may not use this cluster"}
	errMediaType    = &statusError{http.StatusUnsupportedMediaType, "UnsupportedMediaType",
		"the body of the request was in an unknown format - accepted media types include: application/json"}
	errPatchType = &statusError{http.StatusUnsupportedMediaType, "UnsupportedMediaType",
		"the body of the request was in an unknown format - accepted media types include: " +
			strings.Join([]string{jsonPatch, mergePatch, strategicPatch, applyPatch}, ", ")}
	errTooLarge = &statusError{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "the body of the request is too large"}
	errInternal = &statusError{http.StatusInternalServerError, "InternalError", "Internal error occurred: see the log of podid"}
	errNoNodes  = &statusError{http.StatusMethodNotAllowed, "MethodNotAllowed",
		"this cluster runs no pods: it has no nodes. Run a command as the pod with podid run, or add dryRun=All"}
)

func badRequest(message string) *statusError {
	return &statusError{http.StatusBadRequest, "BadRequest", message}
}

func accountNotFound(account identity.ServiceAccount) *statusError {
	return &statusError{http.StatusNotFound, "NotFound", fmt.Sprintf("serviceaccounts %q not found", account.Name)}
}

func accountExists(account identity.ServiceAccount) *statusError {
	return &statusError{http.StatusConflict, "AlreadyExists", fmt.Sprintf("serviceaccounts %q already exists", account.Name)}
}

func accountConflict(account identity.ServiceAccount) *statusError {
	return &statusError{http.StatusConflict, "Conflict", fmt.Sprintf("Operation cannot be fulfilled on serviceaccounts %q: "+
		"the object has been modified; please apply your changes to the latest version and try again", account.Name)}
}

// invalid refuses a field of an object.
func invalid(kind, field, why string) *statusError {
	return &statusError{http.StatusUnprocessableEntity, "Invalid", kind + " is invalid: " + field + ": " + why}
}
