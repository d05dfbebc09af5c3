package wire

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/podid/podid/internal/audit"
	"github.com/podid/podid/internal/authn"
	"github.com/podid/podid/internal/denial"
	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
)

const (
	// maxBody caps a request body. The largest useful one is a policy document, 131,072 characters that a form may triple.
	maxBody = 1 << 20
	// promptBody is how much memory a body gets because its header says so. More it gets as it arrives.
	promptBody = 16 << 10
	// defaultBodyDeadline is how long a client may take to send its body. The slowest honest ones send a policy of 100 KB by modem.
	defaultBodyDeadline = 10 * time.Second
	// callDeadline is how long an operation may take. SDKs give up after about a minute.
	callDeadline = 30 * time.Second
)

// authorizationMessage is the header of a denial with the message that sts:DecodeAuthorizationMessage decodes. AWS's services that give
// such messages put them into the text, where nobody can read the text any more.
const authorizationMessage = "X-Podid-Authorization-Message"

// Protocol is how a service's requests, answers and errors are spelled: [RESTJSON] or [Query].
type Protocol interface {
	errors() *protocolErrors
	route(ops []Operation, r *http.Request, body []byte) (*Operation, params, error)
	decode(in any, p params, body []byte) error
	writeAnswer(w http.ResponseWriter, operation, requestID string, out any) error
	writeError(w http.ResponseWriter, requestID string, e *Error)
}

// params are the parts of a request that the router has already read.
type params struct {
	labels map[string]string // of the path, unescaped
	query  url.Values        // of the URL in restJson1, the whole form in awsQuery
}

// Config is what all services' handlers share.
type Config struct {
	Authenticator *authn.Authenticator
	Directory     *directory.Directory
	Audit         *audit.Log
	Denials       *denial.Sealer // nil: denials come without a sealed explanation
	Metrics       *Metrics
	Logger        *slog.Logger
	Now           func() time.Time
	BodyDeadline  time.Duration   // how long a client may take to send its body; 0 means 10 seconds
	PieceDeadline time.Duration   // how long a client may take to take a piece of a stream; 0 means 10 seconds
	Closing       <-chan struct{} // closed when the server ends, and streams with it; nil: never
}

// Handler serves one service.
type Handler struct {
	cfg     Config
	service Service
}

// New returns the handler of a service.
func New(cfg Config, service Service) *Handler {
	if cfg.BodyDeadline == 0 {
		cfg.BodyDeadline = defaultBodyDeadline
	}
	if cfg.PieceDeadline == 0 {
		cfg.PieceDeadline = defaultPieceDeadline
	}
	return &Handler{cfg, service}
}

// ServeHTTP answers one request: the only place that writes answers, audit entries, request log lines and metrics.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.cfg.Now()
	ctx, cancel := context.WithTimeout(r.Context(), callDeadline)
	defer cancel()
	call := h.newCall(r, start)
	out, err := h.serve(ctx, w, r, call)

	entry := call.Entry
	answer := h.refusal(err, entry)
	entry.Status, entry.Duration = http.StatusOK, h.cfg.Now().Sub(start)
	if answer != nil {
		entry.Status, entry.Code, entry.Message = answer.Status, answer.Code, answer.Message
	}
	if err := h.cfg.Audit.Append(entry); err != nil { // no record, no effect: the client must not get what it asked for
		answer = h.refusal(err, entry)
		entry.Status, entry.Code = answer.Status, answer.Code
	}
	w.Header().Set("X-Amzn-Requestid", entry.RequestID)
	if answer != nil && call.sealed != "" {
		w.Header().Set(authorizationMessage, call.sealed)
	}
	// A client that does not read its answer must not hold the connection. Later answers on it have deadlines of their own.
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(callDeadline)) // a recorder in a test has none to set
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	stream, goesOn := out.(*Stream)
	if goesOn {
		defer stream.End()
		goesOn = answer == nil
	}
	switch {
	case goesOn:
		w.Header().Set("Content-Type", "application/x-ndjson")
	case answer == nil:
		if err := h.service.Protocol.writeAnswer(w, entry.Operation, entry.RequestID, out); err != nil {
			answer = h.refusal(err, entry)
		}
	}
	if answer != nil {
		h.service.Protocol.writeError(w, entry.RequestID, answer)
	}
	h.cfg.Metrics.observe(entry)
	h.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "request", slog.String("service", entry.Service), slog.String("operation", entry.Operation),
		slog.String("code", entry.Code), slog.Int("status", entry.Status), slog.String("request_id", entry.RequestID),
		slog.String("caller", entry.Caller), slog.Duration("duration", entry.Duration))
	if goesOn {
		h.tell(w, r, stream)
	}
}

// Describe takes from a request what policies may ask about it, besides its caller and its region.
func Describe(r *http.Request, now time.Time) directory.Request {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	userAgent := r.UserAgent()
	return directory.Request{Time: now, SourceIP: host, UserAgent: userAgent[:min(len(userAgent), 256)], Secure: r.TLS != nil}
}

func (h *Handler) newCall(r *http.Request, now time.Time) *Call {
	call := &Call{request: Describe(r, now), directory: h.cfg.Directory, denials: h.cfg.Denials, denied: h.service.Denied}
	call.request.Caller = &call.Caller
	call.Entry = &audit.Entry{
		Time: now, RequestID: identity.NewUUID(rand.Reader), Service: h.service.Name, Operation: "Unknown",
		SourceIP: call.request.SourceIP, UserAgent: call.request.UserAgent,
	}
	return call
}

// serve takes the request through authentication and its operation. A panic of an operation is that request's fault only.
func (h *Handler) serve(ctx context.Context, w http.ResponseWriter, r *http.Request, call *Call) (out any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	spelling := h.service.Protocol.errors()
	body, err := h.readBody(w, r)
	if err != nil {
		return nil, err
	}
	operation, params, routeErr := h.service.Protocol.route(h.service.Operations, r, body)
	if operation != nil {
		call.Entry.Operation = operation.name
	}
	if operation == nil || !operation.anonymous {
		if err := h.authenticate(r, body, call); err != nil {
			return nil, spelling.authenticationError(err)
		}
	}
	if routeErr != nil {
		return nil, routeErr
	}
	in := reflect.New(operation.input).Interface()
	if err := h.service.Protocol.decode(in, params, body); err != nil {
		return nil, err
	}
	return operation.run(ctx, call, in)
}

// readBody reads the body within its size and its time. The deadline is lifted afterwards: where there is no body net/http is
// already waiting for the client to leave, and would take the end of the deadline for that.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(h.cfg.BodyDeadline)) // a recorder in a test has none to set
	var buffer bytes.Buffer
	buffer.Grow(int(min(max(r.ContentLength, 0), promptBody)) + bytes.MinRead)
	_, err := buffer.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &Error{h.service.Protocol.errors().tooLarge, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("The request body is larger than %d bytes.", maxBody), nil}
	} else if err != nil {
		return nil, &Error{"RequestTimeout", http.StatusRequestTimeout, fmt.Sprintf("The request body did not arrive whole within %v.", h.cfg.BodyDeadline), nil}
	}
	_ = connection.SetReadDeadline(time.Time{})
	return buffer.Bytes(), nil
}

func (h *Handler) authenticate(r *http.Request, body []byte, call *Call) error {
	caller, region, err := h.cfg.Authenticator.Authenticate(r, h.service.Name, body)
	if err != nil {
		return err
	}
	call.Caller, call.Region = *caller, region
	call.request.Region = region
	call.Entry.Caller, call.Entry.AccessKey, call.Entry.Region = caller.ARN, caller.AccessKeyID, region
	return nil
}

// refusal turns an error into what the client gets. A fault is logged here, once, and the client learns only the request id.
func (h *Handler) refusal(err error, entry *audit.Entry) *Error {
	if err == nil {
		return nil
	}
	var answer *Error
	if errors.As(err, &answer) {
		return answer
	}
	h.cfg.Logger.Error("fault", "service", entry.Service, "operation", entry.Operation, "request_id", entry.RequestID, "err", err)
	return h.service.Fault("The request failed inside podid. It may be tried again; the server's log names the cause under request id " + entry.RequestID + ".")
}
