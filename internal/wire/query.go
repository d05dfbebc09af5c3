package wire

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// Query is the awsQuery protocol of a service: a form with Action and Version in, XML in the given namespace out.
// Input structs tag their members `form:"RoleName"`; lists are spelled RoleName.member.1, structures Tags.member.1.Key.
// See https://smithy.io/2.0/aws/protocols/aws-query-protocol.html.
func Query(version, namespace string) Protocol { return query{version, namespace} }

type query struct{ version, namespace string }

var queryErrors = protocolErrors{
	missingToken: "MissingAuthenticationToken", unknownKey: "InvalidClientTokenId",
	mismatch: "SignatureDoesNotMatch", expired: "ExpiredToken",
	incomplete: "IncompleteSignature", incompleteStatus: http.StatusBadRequest,
	unknownOperation: "InvalidAction", unknownOperationStatus: http.StatusBadRequest,
	malformed: "MalformedInput", tooLarge: "RequestEntityTooLarge",
}

// maxFormMembers bounds the work that one form can ask for: 50 tags are 100 members.
const maxFormMembers = 1000

// maxMemberName bounds the length of a member's name, since every part of a dotted name is looked at. The longest useful one,
// ContextEntries.member.100.ContextKeyValues.member.100, has 52 bytes.
const maxMemberName = 256

func (query) errors() *protocolErrors { return &queryErrors }

func (q query) route(ops []Operation, r *http.Request, body []byte) (*Operation, params, error) {
	form, err := parseForm(r, body)
	if err != nil {
		return nil, params{}, err
	}
	action := form.Get("Action")
	if version := form.Get("Version"); version == q.version {
		for i := range ops {
			if ops[i].name == action {
				return &ops[i], params{query: form}, nil
			}
		}
	}
	if action == "" {
		return nil, params{}, &Error{"MissingAction", http.StatusBadRequest, "The request must contain the parameter Action.", nil}
	}
	return nil, params{}, &Error{queryErrors.unknownOperation, queryErrors.unknownOperationStatus,
		fmt.Sprintf("Could not find operation %s for version %s", action, form.Get("Version")), nil}
}

// parseForm reads the query string (presigned requests) and, of a POST, the body. A member that is given twice is refused:
// clients never do it, and which one a proxy in between has judged is not to be guessed.
func parseForm(r *http.Request, body []byte) (url.Values, error) {
	source := r.URL.RawQuery
	if r.Method == http.MethodPost {
		if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" && len(body) > 0 {
			return nil, malformedForm(fmt.Sprintf("Content-Type %q is not application/x-www-form-urlencoded.", kind))
		}
		if source != "" && len(body) > 0 {
			source += "&"
		}
		source += string(body)
	}
	if strings.Count(source, "&") >= maxFormMembers {
		return nil, malformedForm(fmt.Sprintf("The form has more than %d members.", maxFormMembers))
	}
	form, err := url.ParseQuery(source)
	if err != nil {
		return nil, malformedForm(fmt.Sprintf("The form cannot be parsed: %v.", err))
	}
	for name, values := range form {
		if len(name) > maxMemberName {
			return nil, malformedForm(fmt.Sprintf("The form has a member whose name is longer than %d bytes.", maxMemberName))
		}
		if len(values) > 1 {
			return nil, malformedForm(fmt.Sprintf("The form has %s %d times.", name, len(values)))
		}
	}
	return form, nil
}

func malformedForm(message string) *Error {
	return &Error{queryErrors.malformed, http.StatusBadRequest, message, nil}
}

func (query) decode(in any, p params, _ []byte) error {
	f := form{values: p.query, prefixes: make(map[string]bool, len(p.query))}
	for name := range p.query {
		for i := range len(name) {
			if name[i] == '.' {
				f.prefixes[name[:i]] = true
			}
		}
	}
	return f.decodeStruct("", reflect.ValueOf(in).Elem())
}

// form is a parsed form and the prefixes of its dotted names, so that looking for a list's next member costs one look-up.
type form struct {
	values   url.Values
	prefixes map[string]bool
}

func (f *form) decodeStruct(prefix string, v reflect.Value) error {
	return eachField(v, func(field reflect.StructField, value reflect.Value) error {
		if name := field.Tag.Get("form"); name != "" {
			return f.decodeField(prefix+name, value)
		}
		return nil
	})
}

func (f *form) decodeField(name string, v reflect.Value) error {
	values, given := f.values[name]
	switch v.Kind() {
	case reflect.Slice:
		return f.decodeList(name, v)
	case reflect.Struct:
		return f.decodeStruct(name+".", v)
	case reflect.Pointer:
		if !given {
			return nil
		}
		v.Set(reflect.New(v.Type().Elem()))
		return f.decodeField(name, v.Elem())
	}
	if !given {
		return nil
	}
	switch text := values[0]; v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int32:
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return malformedForm(fmt.Sprintf("%s: %q is not a number.", name, text))
		}
		v.SetInt(n)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return malformedForm(fmt.Sprintf("%s: %q is neither true nor false.", name, text))
		}
		v.SetBool(b)
	default:
		panic("wire: a form member cannot be a " + v.Type().String())
	}
	return nil
}

// decodeList reads name.member.1, name.member.2, … An empty list arrives as "name=", which adds nothing.
func (f *form) decodeList(name string, v reflect.Value) error {
	for i := 1; ; i++ {
		member := name + ".member." + strconv.Itoa(i)
		if _, ok := f.values[member]; !ok && !f.prefixes[member] {
			return nil
		}
		item := reflect.New(v.Type().Elem()).Elem()
		if err := f.decodeField(member, item); err != nil {
			return err
		}
		v.Set(reflect.Append(v, item))
	}
}

// encoder writes XML to its buffer. It is used again and again, since making one costs as much as most answers do.
type encoder struct {
	buffer bytes.Buffer
	xml    *xml.Encoder
}

var encoders = sync.Pool{New: func() any {
	e := &encoder{}
	e.xml = xml.NewEncoder(&e.buffer)
	return e
}}

// maxKept is the size of a buffer that is not kept: an account's whole authorization details, say.
const maxKept = 64 << 10

func (q query) writeAnswer(w http.ResponseWriter, operation, requestID string, out any) error {
	e := encoders.Get().(*encoder)
	b := &e.buffer
	b.WriteString("<" + operation + "Response xmlns=\"" + q.namespace + "\">\n")
	if reflect.TypeOf(out).Elem().NumField() > 0 { // an operation without output has no Result element
		if err := e.xml.EncodeElement(out, xml.StartElement{Name: xml.Name{Local: operation + "Result"}}); err != nil {
			return fmt.Errorf("encoding answer: %w", err) // the encoder is in the middle of something, and not used again
		}
	}
	b.WriteString("<ResponseMetadata><RequestId>" + requestID + "</RequestId></ResponseMetadata></" + operation + "Response>\n")
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len())) // else what is longer than 2 KiB goes out in chunks
	_, _ = w.Write(b.Bytes())
	if b.Cap() <= maxKept {
		clear(b.Bytes()) // there may have been a secret
		b.Reset()
		encoders.Put(e)
	}
	return nil
}

func (q query) writeError(w http.ResponseWriter, requestID string, e *Error) {
	fault := "Sender"
	if e.Status >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "<ErrorResponse xmlns=%q>\n<Error><Type>%s</Type><Code>%s</Code><Message>", q.namespace, fault, e.Code)
	_ = xml.EscapeText(&b, []byte(e.Message)) // a bytes.Buffer takes everything
	fmt.Fprintf(&b, "</Message></Error>\n<RequestId>%s</RequestId></ErrorResponse>\n", requestID)
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(e.Status)
	_, _ = w.Write(b.Bytes())
}
