package s3front

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rclone/gofakes3"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/sigv4"
)

// maxObjectSize is the most that S3 takes in one PUT.
const maxObjectSize = 5 << 30

// Config says where an embedded S3 keeps its objects and how it judges requests.
type Config struct {
	// Dir is the directory of the objects, made with mode 0700 if it is not there. No other process may use it.
	Dir string
	// Resolve tells whose signature it is and gives the key to verify it with. An error that wraps [ErrUnknownKey],
	// [ErrInvalidToken] or [ErrExpiredToken] is the answer; any other is a fault, and the client is told to try again.
	Resolve func(ctx context.Context, sig *sigv4.Signature) (*identity.Caller, sigv4.Key, error)
	// Authorize tells whether a caller may have access. Denied is empty if so, else AWS's text. It is called once for each
	// permission that a request needs. The request is there for what is common to all services (address, user agent).
	Authorize func(ctx context.Context, caller *identity.Caller, r *http.Request, need Access) (denied string, err error)
	// PrincipalID finds the unique id of the user or role of an ARN in a bucket policy, empty for principals that have none or are not
	// known here; exists is false if there is nobody of that ARN. Nil means that nobody is known.
	PrincipalID func(arn string) (id string, exists bool)
	// ShowPolicy is the text of a bucket policy for people, given the unique ids of its principals by their ARNs in it: who has gone
	// since is told by the id. Nil means that it is shown as it was put.
	ShowPolicy func(text string, ids map[string]string) string
	// Region is where the buckets are said to be, such as us-west-2. Requests may be signed for any region.
	Region string
	// AccountID owns all buckets.
	AccountID string
	// MaxObjectSize limits an object sent in one request, or a part of one, in bytes. 0 means 5 GiB.
	MaxObjectSize int64
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// Random gives the names of files and requests. Nil means crypto/rand.
	Random io.Reader
	// Logger gets one line for each request. Nil means none.
	Logger *slog.Logger
}

// Access is a permission that a request needs.
type Access struct {
	Action   string            // s3:GetObject
	Resource string            // arn:aws:s3:::bucket/key, or "*"
	Keys     map[string]string // condition keys of S3 by their names (s3:prefix); not to be kept
	Policy   *policy.Named     // of the bucket; nil if it has none
}

// Handler is an S3 endpoint. It is safe for concurrent use.
type Handler struct {
	cfg   Config
	disk  *disk
	inner http.Handler // gofakes3, which checks nobody
}

// New opens the store in cfg.Dir, with all that was in it. Files that a crash left half-written are removed.
func New(cfg Config) (*Handler, error) {
	switch {
	case cfg.Dir == "":
		return nil, errors.New("s3front: Dir is missing")
	case cfg.Resolve == nil || cfg.Authorize == nil:
		return nil, errors.New("s3front: Resolve or Authorize is missing")
	case cfg.Region == "":
		return nil, errors.New("s3front: Region is missing")
	case !identity.ValidAccountID(cfg.AccountID):
		return nil, errors.New("s3front: AccountID must be twelve digits")
	case cfg.MaxObjectSize < 0:
		return nil, errors.New("s3front: MaxObjectSize must not be negative")
	}
	if cfg.MaxObjectSize == 0 {
		cfg.MaxObjectSize = maxObjectSize
	}
	if cfg.PrincipalID == nil {
		cfg.PrincipalID = func(string) (string, bool) { return "", true }
	}
	if cfg.ShowPolicy == nil {
		cfg.ShowPolicy = func(text string, _ map[string]string) string { return text }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d, err := openDisk(cfg.Dir, cfg.Now, cfg.Random)
	if err != nil {
		return nil, err
	}
	h := &Handler{cfg: cfg, disk: d}
	firstID, err := h.newRequestID()
	if err != nil {
		d.close()
		return nil, err
	}
	h.inner = gofakes3.New(d,
		gofakes3.WithTimeSkewLimit(0), // the time was judged with the signature
		gofakes3.WithTimeSource(clock(cfg.Now)),
		gofakes3.WithRequestID(firstID),
		gofakes3.WithLogger(faults{cfg.Logger}),
	).Server()
	return h, nil
}

// Close gives the directory free. No request may be under way.
func (h *Handler) Close() error { return h.disk.close() }

// EnsureBucket makes a bucket that is not there yet. It asks for nobody's permission.
func (h *Handler) EnsureBucket(ctx context.Context, name string) error {
	err := h.disk.CreateBucket(ctx, name)
	if err != nil && !gofakes3.IsAlreadyExists(err) {
		return fmt.Errorf("making bucket %s: %w", name, err)
	}
	return nil
}

// Put stores an object, in place of one that has the key already. It asks for nobody's permission.
func (h *Handler) Put(ctx context.Context, bucket, key, contentType string, body []byte) error {
	if refused := checkKey(key); refused != nil || key == "" {
		return fmt.Errorf("storing %s/%q: not a key", bucket, key)
	}
	_, err := h.disk.put(ctx, bucket, key, map[string]string{"Content-Type": contentType}, int64(len(body)),
		func(w io.Writer) error {
			_, err := w.Write(body)
			return err
		})
	if err != nil {
		return fmt.Errorf("storing %s/%s: %w", bucket, key, err)
	}
	return nil
}

// ServeHTTP answers one S3 request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := h.cfg.Now()
	t := &turn{response: response{ResponseWriter: w}}
	err := h.serve(t, r)
	if t.body != nil && t.body.failure != nil {
		err = t.body.failure // whatever else came of it
	}
	if err != nil {
		h.answer(t, r, err)
	}
	operation, caller := "", ""
	if t.call != nil {
		operation = t.call.op.name
	}
	if t.caller != nil {
		caller = t.caller.ARN
	}
	h.cfg.Logger.LogAttrs(r.Context(), slog.LevelInfo, "request", slog.String("service", "s3"), slog.String("operation", operation),
		slog.String("code", t.code), slog.Int("status", t.status), slog.String("request_id", w.Header().Get("x-amz-request-id")),
		slog.String("caller", caller), slog.Duration("duration", h.cfg.Now().Sub(began)))
}

// turn is what is known of a request while it is served.
type turn struct {
	response
	caller *identity.Caller
	call   *call
	code   string // of the refusal, if it was ours
}

// serve answers a request, or returns why not: a refusal, or a fault.
func (h *Handler) serve(t *turn, r *http.Request) error {
	caller, sig, key, err := h.authenticate(r)
	if err != nil {
		return err
	}
	t.caller = caller
	c, refused := understand(r, sig.Presigned)
	if refused != nil {
		return refused
	}
	t.call = c
	if c.grants() {
		return refuse(http.StatusBadRequest, "AccessControlListNotSupported", "The bucket does not allow ACLs")
	}
	t.body, err = openBody(r, sig, key, h.limit(c.op), tooLong(c.op))
	if err != nil {
		return err
	}
	if err := h.authorize(r, caller, sig, c, t.body); err != nil {
		return err
	}
	if c.op.bucketPolicy {
		return h.serveBucketPolicy(r.Context(), t)
	}
	return h.forward(t, r)
}

// grants tells whether a request wants to open an object to others by an access control list, which no bucket here has.
func (c *call) grants() bool {
	for name := range c.header {
		if strings.HasPrefix(name, "X-Amz-Grant-") {
			return true
		}
	}
	acl := c.header.Get("X-Amz-Acl")
	return acl != "" && acl != "private" && acl != "bucket-owner-full-control"
}

// forward has gofakes3 answer the call, or answers the few for which gofakes3's answer is not S3's.
func (h *Handler) forward(t *turn, r *http.Request) (err error) {
	c := t.call
	there, err := h.disk.BucketExists(r.Context(), c.bucket)
	if err != nil {
		return err
	}
	switch version := c.query.Get("versionId"); {
	case c.op.name == "CreateBucket" && there:
		e := refuse(http.StatusConflict, "BucketAlreadyOwnedByYou",
			"Your previous request to create the named bucket succeeded and you already own it.")
		e.BucketName = c.bucket
		return e
	case c.op.name == "GetBucketLocation" && there:
		return h.location(t)
	case version != "" && version != "null":
		e := refuse(http.StatusNotFound, "NoSuchVersion", "The specified version does not exist.")
		e.Key = c.key
		return e
	}
	if there && c.op.on == onBucket {
		t.Header().Set("x-amz-bucket-region", h.cfg.Region)
	}
	defer func() { // gofakes3 trusts some numbers of a request, such as part-number-marker
		if p := recover(); p == http.ErrAbortHandler {
			panic(p)
		} else if p != nil {
			err = fmt.Errorf("serving %s: panic: %v", c.op.name, p)
		}
	}()
	h.inner.ServeHTTP(&t.response, c.request(r, t.body))
	t.WriteHeader(http.StatusOK) // where gofakes3 leaves that to the server
	return nil
}

// request makes the request for gofakes3: from what was judged, and without what concerned the signature and the framing only.
func (c *call) request(r *http.Request, b *body) *http.Request {
	next := r.WithContext(withGuard(r.Context(), c.guard))
	next.URL = &url.URL{Path: "/" + c.bucket, RawQuery: c.query.Encode()}
	if c.key != "" {
		next.URL.Path += "/" + c.key
	}
	next.RequestURI, next.TransferEncoding, next.Form, next.PostForm = "", nil, nil, nil
	next.Header, next.Body, next.ContentLength = c.header, b, b.size
	for _, name := range []string{
		"Authorization", "Date", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256",
		"X-Amz-Decoded-Content-Length", "X-Amz-Trailer", "X-Amz-Copy-Source",
	} {
		next.Header.Del(name)
	}
	next.Header.Set("Content-Length", strconv.FormatInt(b.size, 10))
	if c.source != nil {
		next.Header.Set("X-Amz-Copy-Source", "/"+c.source.bucket+"/"+url.QueryEscape(c.source.key))
	}
	return next
}

// location answers GetBucketLocation. The oldest region has no name there.
func (h *Handler) location(t *turn) error {
	region := h.cfg.Region
	if region == "us-east-1" {
		region = ""
	}
	return h.writeXML(t, struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
		Region  string   `xml:",chardata"`
	}{Region: region})
}

// writeXML answers with a document.
func (h *Handler) writeXML(t *turn, v any) error {
	body, err := xml.Marshal(v)
	if err != nil {
		return err
	}
	return h.write(t, http.StatusOK, "application/xml", append([]byte(xml.Header), body...))
}

// write gives an answer that is not gofakes3's.
func (h *Handler) write(t *turn, status int, contentType string, body []byte) error {
	id, err := h.newRequestID()
	if err != nil {
		return err
	}
	t.Header().Set("x-amz-request-id", formatRequestID(id))
	if contentType != "" {
		t.Header().Set("Content-Type", contentType)
	}
	t.WriteHeader(status)
	_, _ = t.Write(body)
	return nil
}

// answer tells the client why its request was not served, unless the answer has begun already.
func (h *Handler) answer(t *turn, r *http.Request, err error) {
	id, idErr := h.newRequestID()
	requestID := formatRequestID(id)
	refused, ok := errors.AsType[*refusal](err)
	if !ok || idErr != nil {
		h.cfg.Logger.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("service", "s3"),
			slog.String("request_id", requestID), slog.Any("err", errors.Join(err, idErr)))
		refused = errFault()
	}
	t.code = refused.Code
	if t.begin() {
		refused.write(t.ResponseWriter, r, requestID)
		t.status = refused.status
	}
}

func (h *Handler) newRequestID() (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(h.cfg.Random, b[:]); err != nil {
		return 0, fmt.Errorf("naming a request: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

func formatRequestID(id uint64) string {
	return strings.ToUpper(hex.EncodeToString(binary.BigEndian.AppendUint64(nil, id)))
}
