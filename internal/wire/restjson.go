package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
)

// RESTJSON is the restJson1 protocol: the path and the query carry some members of the input, a JSON body the others.
// Input structs tag them `uri:"name"`, `query:"maxResults"` and `json:"…"`.
// See https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html.
func RESTJSON() Protocol { return restJSON{} }

type restJSON struct{}

var restJSONErrors = protocolErrors{
	missingToken: "MissingAuthenticationTokenException", unknownKey: "UnrecognizedClientException",
	mismatch: "InvalidSignatureException", expired: "ExpiredTokenException",
	incomplete: "IncompleteSignatureException", incompleteStatus: http.StatusBadRequest,
	unknownOperation: "UnknownOperationException", unknownOperationStatus: http.StatusNotFound,
	malformed: "SerializationException", tooLarge: "RequestEntityTooLargeException",
}

func (restJSON) errors() *protocolErrors { return &restJSONErrors }

// splitRoute cuts "POST /clusters" in two; an empty route gives two empty parts.
func splitRoute(route string) (method, path string) {
	method, path, _ = strings.Cut(route, " ")
	return method, path
}

// route finds the operation by the escaped path, since an ARN in it has its slashes escaped. net/http's ServeMux is not
// used because it answers "//" and ".." in a path with a redirect before anybody has looked at the signature.
func (restJSON) route(ops []Operation, r *http.Request, _ []byte) (*Operation, params, error) {
	segments := strings.Split(r.URL.EscapedPath(), "/")
	for i := range ops {
		if ops[i].method != r.Method {
			continue
		}
		if labels, ok := matchPath(ops[i].path, segments); ok {
			return &ops[i], params{labels: labels, query: r.URL.Query()}, nil
		}
	}
	return nil, params{}, &Error{restJSONErrors.unknownOperation, restJSONErrors.unknownOperationStatus,
		fmt.Sprintf("No operation is served at %s %s. See the list of supported operations in docs/api.md.", r.Method, r.URL.EscapedPath()), nil}
}

func matchPath(pattern string, segments []string) (map[string]string, bool) {
	var labels map[string]string
	want := strings.Split(pattern, "/")
	for i, w := range want {
		if i >= len(segments) {
			return nil, false
		}
		name, isLabel := strings.CutPrefix(w, "{")
		if !isLabel {
			if w != segments[i] {
				return nil, false
			}
			continue
		}
		name = strings.TrimSuffix(name, "}")
		segment := segments[i]
		name, rest := strings.CutSuffix(name, "...")
		if rest {
			segment = strings.Join(segments[i:], "/")
			segments = segments[:i+1]
		}
		value, err := url.PathUnescape(segment)
		if err != nil || value == "" {
			return nil, false
		}
		if labels == nil {
			labels = make(map[string]string, 2)
		}
		labels[name] = value
	}
	return labels, len(segments) == len(want)
}

func (restJSON) decode(in any, p params, body []byte) error {
	if len(bytes.TrimSpace(body)) > 0 {
		if err := decodeJSON(in, body); err != nil {
			return err
		}
	}
	return eachField(reflect.ValueOf(in).Elem(), func(field reflect.StructField, value reflect.Value) error {
		if name := field.Tag.Get("uri"); name != "" {
			value.SetString(p.labels[name])
		}
		if name := field.Tag.Get("query"); name != "" && len(p.query[name]) > 0 {
			return setQuery(value, name, p.query[name])
		}
		return nil
	})
}

func setQuery(field reflect.Value, name string, values []string) error {
	switch field.Interface().(type) {
	case string:
		field.SetString(values[0])
	case []string:
		field.Set(reflect.ValueOf(values))
	case *int32:
		n, err := strconv.ParseInt(values[0], 10, 32)
		if err != nil {
			return malformedJSON(fmt.Sprintf("%s: %q is not a number.", name, values[0]))
		}
		n32 := int32(n)
		field.Set(reflect.ValueOf(&n32))
	default:
		panic("wire: a query member cannot be a " + field.Type().String())
	}
	return nil
}

// decodeJSON decodes one JSON object and says where and why it could not. Unknown members are ignored, as AWS does.
func decodeJSON(in any, body []byte) error {
	err := json.Unmarshal(body, in)
	var syntax *json.SyntaxError
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return malformedJSON(fmt.Sprintf("The request body is not valid JSON at byte %d: %s.", syntax.Offset, syntax.Error()))
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return malformedJSON(fmt.Sprintf("The request body must be a JSON object, and is of type %s.", wrongType.Value))
	case errors.As(err, &wrongType):
		return malformedJSON(fmt.Sprintf("Member %q must be of the JSON type %s, not %s (at byte %d).",
			wrongType.Field, jsonKind(wrongType.Type), wrongType.Value, wrongType.Offset))
	}
	return fmt.Errorf("decoding a request body: %w", err)
}

func malformedJSON(message string) *Error {
	return &Error{restJSONErrors.malformed, http.StatusBadRequest, message, nil}
}

func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return jsonKind(t.Elem())
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Slice:
		return "array"
	case reflect.Map, reflect.Struct:
		return "object"
	default:
		return "number"
	}
}

func (restJSON) writeAnswer(w http.ResponseWriter, _ string, _ string, out any) error {
	body, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encoding answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // else what is longer than 2 KiB goes out in chunks
	_, _ = w.Write(body)                                      // a client that went away is no error of ours
	return nil
}

func (restJSON) writeError(w http.ResponseWriter, _ string, e *Error) {
	members := map[string]string{"__type": e.Code, "message": e.Message}
	for name, value := range e.Fields {
		members[name] = value
	}
	body, _ := json.Marshal(members) // a map of strings always encodes
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", e.Code)
	w.WriteHeader(e.Status)
	_, _ = w.Write(body)
}
