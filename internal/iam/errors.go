package iam

import (
	"fmt"
	"net/http"

	"github.com/podid/podid/internal/wire"
)

func errAccessDenied(message string) *wire.Error {
	return &wire.Error{Code: "AccessDenied", Status: http.StatusForbidden, Message: message}
}

func errServiceFailure(message string) *wire.Error {
	return &wire.Error{Code: "ServiceFailure", Status: http.StatusInternalServerError, Message: message}
}

func errNoSuchEntity(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "NoSuchEntity", Status: http.StatusNotFound, Message: fmt.Sprintf(format, args...)}
}

func errEntityAlreadyExists(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "EntityAlreadyExists", Status: http.StatusConflict, Message: fmt.Sprintf(format, args...)}
}

func errMalformedPolicyDocument(message string) *wire.Error {
	return &wire.Error{Code: "MalformedPolicyDocument", Status: http.StatusBadRequest, Message: message}
}

func errValidation(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "ValidationError", Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func errInvalidInput(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "InvalidInput", Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func errLimitExceeded(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "LimitExceeded", Status: http.StatusConflict, Message: fmt.Sprintf(format, args...)}
}

func errDeleteConflict(message string) *wire.Error {
	return &wire.Error{Code: "DeleteConflict", Status: http.StatusConflict, Message: message}
}

func errConcurrentModification(what string) *wire.Error {
	return &wire.Error{Code: "ConcurrentModification", Status: http.StatusConflict,
		Message: what + " is being changed by many requests at the same time. Try again."}
}

func errRoleNotFound(name string) *wire.Error {
	return errNoSuchEntity("The role with name %s cannot be found.", name)
}
