package eks

import (
	"fmt"
	"net/http"

	"github.com/podid/podid/internal/wire"
)

func errAccessDenied(message string) *wire.Error {
	return &wire.Error{Code: "AccessDeniedException", Status: http.StatusForbidden, Message: message}
}

func errServer(message string) *wire.Error {
	return &wire.Error{Code: "ServerException", Status: http.StatusInternalServerError, Message: message}
}

func errUnavailable(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "ServiceUnavailableException", Status: http.StatusServiceUnavailable, Message: fmt.Sprintf(format, args...)}
}

func errInvalidParameter(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "InvalidParameterException", Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func errInvalidRequest(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "InvalidRequestException", Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func errResourceNotFound(cluster, format string, args ...any) *wire.Error {
	return &wire.Error{Code: "ResourceNotFoundException", Status: http.StatusNotFound, Message: fmt.Sprintf(format, args...),
		Fields: map[string]string{"clusterName": cluster}}
}

func errResourceInUse(cluster, format string, args ...any) *wire.Error {
	return &wire.Error{Code: "ResourceInUseException", Status: http.StatusConflict, Message: fmt.Sprintf(format, args...),
		Fields: map[string]string{"clusterName": cluster}}
}

// errResourceLimit is 400, not 429 or 409: so says the service's model.
func errResourceLimit(cluster, format string, args ...any) *wire.Error {
	return &wire.Error{Code: "ResourceLimitExceededException", Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...),
		Fields: map[string]string{"clusterName": cluster}}
}

// errBadRequest and errNotFound are the tag operations' own codes.
func errBadRequest(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "BadRequestException", Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func errNotFound(format string, args ...any) *wire.Error {
	return &wire.Error{Code: "NotFoundException", Status: http.StatusNotFound, Message: fmt.Sprintf(format, args...)}
}

func errTokenReused() *wire.Error {
	return errInvalidRequest("The clientRequestToken was used before with other parameters. Use a new token for a new request.")
}

func errNoCluster(name string) *wire.Error {
	return errResourceNotFound(name, "No cluster found for name: %s.", name)
}

func errNoAssociation(cluster, id string) *wire.Error {
	return errResourceNotFound(cluster, "No association found for id: %s in cluster: %s. List the cluster's associations to see their ids.", id, cluster)
}
