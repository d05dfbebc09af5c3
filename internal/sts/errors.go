package sts

import (
	"fmt"
	"net/http"

	"github.com/podid/podid/internal/wire"
)

func errAccessDenied(message string) *wire.Error {
	return &wire.Error{Code: "AccessDenied", Status: http.StatusForbidden, Message: message}
}

func errValidation(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "ValidationError", Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func errNoMFA() *wire.Error {
	return errValidation("Multi-factor authentication is not supported: call without SerialNumber and TokenCode.")
}

func errInvalidParameterValue(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "InvalidParameterValue", Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func errMalformedPolicyDocument(message string) *wire.Error {
	return &wire.Error{Code: "MalformedPolicyDocument", Status: http.StatusBadRequest, Message: message}
}

func errPackedPolicyTooLarge(what string, percent int) *wire.Error {
	return &wire.Error{Code: "PackedPolicyTooLarge", Status: http.StatusBadRequest,
		Message: fmt.Sprintf("Packed size of %s consumes %d%% of allotted space.", what, percent)}
}

func errInvalidAuthorizationMessage() *wire.Error {
	return &wire.Error{Code: "InvalidAuthorizationMessageException", Status: http.StatusBadRequest,
		Message: "The message is not valid: it is not the one of a denial in this account, or it is not whole."}
}

func errInvalidIdentityToken(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "InvalidIdentityToken", Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

// errRejectedClaim is for a token that its issuer has signed, with a claim that cannot be taken over.
func errRejectedClaim(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "IDPRejectedClaim", Status: http.StatusForbidden, Message: fmt.Sprintf(format, args...)}
}

func errExpiredToken(message string) *wire.Error {
	return &wire.Error{Code: "ExpiredTokenException", Status: http.StatusBadRequest, Message: message}
}

// errIDPCommunication is for an issuer whose keys cannot be had. SDKs try again.
func errIDPCommunication() *wire.Error {
	return &wire.Error{Code: "IDPCommunicationError", Status: http.StatusBadRequest,
		Message: "Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity documentation for requirements"}
}
