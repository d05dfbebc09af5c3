package wire

import (
	"errors"
	"net/http"

	"github.com/podid/podid/internal/authn"
)

// Error is an answer that says no: the code, status and message that the client gets. Services make them, one constructor for
// each code. The message says what was looked up and what to do; it never holds a token, a key or the text of an inner error.
type Error struct {
	Code    string
	Status  int
	Message string
	Fields  map[string]string // further members of a restJson1 error body: clusterName, …
}

// Error returns the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// protocolErrors are the codes of errors that arise before an operation runs, which the protocol decides, not the service.
type protocolErrors struct {
	missingToken, unknownKey, mismatch, expired, incomplete string
	incompleteStatus                                        int
	unknownOperation, malformed, tooLarge                   string
	unknownOperationStatus                                  int
}

// authenticationError spells a failure of authn. Anything else is a fault and is returned as it is.
func (p *protocolErrors) authenticationError(err error) error {
	var failure *authn.Failure
	if !errors.As(err, &failure) {
		return err
	}
	switch failure.Kind {
	case authn.Missing:
		return &Error{p.missingToken, http.StatusForbidden, failure.Message, nil}
	case authn.UnknownKey:
		return &Error{p.unknownKey, http.StatusForbidden, failure.Message, nil}
	case authn.ExpiredSession:
		return &Error{p.expired, http.StatusForbidden, failure.Message, nil}
	case authn.Incomplete:
		return &Error{p.incomplete, p.incompleteStatus, failure.Message, nil}
	default:
		return &Error{p.mismatch, http.StatusForbidden, failure.Message, nil}
	}
}
