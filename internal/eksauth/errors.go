package eksauth

import (
	"fmt"
	"net/http"

	"github.com/podid/podid/internal/wire"
)

// Node agents drop a pod's credentials on exactly four of these codes: ResourceNotFoundException, ExpiredTokenException,
// InvalidTokenException and AccessDeniedException. None of them may ever stand for a fault of ours.

// errAccessDenied is 400, not 403: so says the service's model.
func errAccessDenied(message string) *wire.Error {
	return &wire.Error{Code: "AccessDeniedException", Status: http.StatusBadRequest, Message: message}
}

func errExpiredToken(message string) *wire.Error {
	return &wire.Error{Code: "ExpiredTokenException", Status: http.StatusBadRequest, Message: message}
}

func errInvalidToken(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "InvalidTokenException", Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func errResourceNotFound(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "ResourceNotFoundException", Status: http.StatusNotFound, Message: fmt.Sprintf(format, args...)}
}

func errInvalidParameter(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "InvalidParameterException", Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func errServiceUnavailable(message string) *wire.Error {
	return &wire.Error{Code: "ServiceUnavailableException", Status: http.StatusServiceUnavailable, Message: message}
}

func errInternalServer(message string) *wire.Error {
	return &wire.Error{Code: "InternalServerException", Status: http.StatusInternalServerError, Message: message}
}
