package s3front

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"github.com/rclone/gofakes3"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/sigv4"
)

// authenticate finds out who signed a request. Its error is a refusal, or a fault.
func (h *Handler) authenticate(r *http.Request) (*identity.Caller, *sigv4.Signature, sigv4.Key, error) {
	sig, err := sigv4.Parse(r)
	if err == nil {
		err = plausible(sig)
	}
	var key sigv4.Key
	var caller *identity.Caller
	if err == nil {
		caller, key, err = h.cfg.Resolve(r.Context(), sig)
	}
	if err == nil {
		err = sig.Verify(r, key, payloadHash(sig), h.cfg.Now())
	}
	if err == nil {
		return caller, sig, key, nil
	}
	if incomplete, ok := errors.AsType[*sigv4.IncompleteError](err); ok {
		return nil, nil, key, errMalformed(r, incomplete.Reason)
	}
	if expired, ok := errors.AsType[*sigv4.ExpiredError](err); ok {
		return nil, nil, key, errTime(expired)
	}
	switch {
	case errors.Is(err, sigv4.ErrMissing):
		return nil, nil, key, errDenied("Access Denied")
	case errors.Is(err, sigv4.ErrMismatch):
		return nil, nil, key, errSignature()
	}
	if sig != nil {
		if refused, ok := errResolve(err, sig.AccessKeyID); ok {
			return nil, nil, key, refused
		}
	}
	return nil, nil, key, err
}

// plausible refuses signatures that are for something else than S3, or leave the body open where they must not.
func plausible(sig *sigv4.Signature) error {
	switch {
	case sig.Service != "s3":
		return &sigv4.IncompleteError{Reason: "Incorrect service " + strconv.Quote(sig.Service) + `. This endpoint belongs to "s3".`}
	case !sig.Presigned && sig.PayloadHash == "":
		return errInvalidRequest("Missing required header for this request: x-amz-content-sha256")
	}
	return nil
}

// errMalformed words it differently for the two places a signature can be in.
func errMalformed(r *http.Request, reason string) *refusal {
	if r.Header.Get("Authorization") == "" {
		return refuse(http.StatusBadRequest, "AuthorizationQueryParametersError", reason)
	}
	return refuse(http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; "+reason)
}

// permission is an action on a bucket or an object, or on neither.
type permission struct{ action, bucket, key string }

func (p permission) resource() string {
	switch {
	case p.bucket == "":
		return "*"
	case p.key == "":
		return bucketARN(p.bucket)
	}
	return objectARN(p.bucket, p.key)
}

// permissions are all that the caller needs for the call, except for the keys that a DeleteObjects names.
func (h *Handler) permissions(c *call) []permission {
	var needed []permission
	for _, action := range c.op.actions {
		needed = append(needed, permission{action, c.bucket, c.key})
	}
	tagging := c.header.Get("X-Amz-Tagging") != "" && c.op.name != "UploadPart"
	if c.source != nil {
		needed = append(needed, permission{"s3:GetObject", c.source.bucket, c.source.key})
		if c.op.name == "CopyObject" && c.header.Get("X-Amz-Tagging-Directive") != "REPLACE" {
			tagging = h.disk.tags(c.source.bucket, c.source.key) != ""
			if tagging {
				needed = append(needed, permission{"s3:GetObjectTagging", c.source.bucket, c.source.key})
			}
		}
	}
	if tagging {
		needed = append(needed, permission{"s3:PutObjectTagging", c.bucket, c.key})
	}
	return needed
}

// authorize makes sure that the caller may do all that the call needs. Its error is a refusal, or a fault.
func (h *Handler) authorize(r *http.Request, caller *identity.Caller, sig *sigv4.Signature, c *call, b *body) error {
	keys := h.conditions(sig, c)
	if err := addRequestTags(keys, c, b); err != nil {
		return err
	}
	judge := func(ctx context.Context, p permission) (denied string, err error) {
		need := Access{Action: p.action, Resource: p.resource(), Keys: h.withObject(keys, p)}
		of, err := h.disk.policy(p.bucket)
		if err != nil {
			return "", err
		}
		if of != nil {
			need.Policy = of.compiled
		}
		return h.cfg.Authorize(ctx, caller, r, need)
	}
	c.guard = func(ctx context.Context, key string) (string, error) {
		return judge(ctx, permission{"s3:DeleteObject", c.bucket, key})
	}
	needed := h.permissions(c)
	if c.readsMissing(h.disk) {
		// Who may not list the bucket must not find out what is not in it.
		needed = append(needed, permission{"s3:ListBucket", c.bucket, ""})
	}
	for _, p := range needed {
		denied, err := judge(r.Context(), p)
		if err != nil {
			return err
		}
		if denied != "" {
			return errDenied(denied)
		}
	}
	return nil
}

// readsMissing tells whether the call reads an object that is not there.
func (c *call) readsMissing(d *disk) bool {
	reads := c.op.name == "GetObject" || c.op.name == "HeadObject" || c.op.name == "GetObjectAttributes"
	there, _ := d.BucketExists(context.Background(), c.bucket)
	return reads && there && !d.exists(c.bucket, c.key)
}

// conditions are the condition keys that the request gives, except those about an object. See
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html#amazons3-policy-keys.
func (h *Handler) conditions(sig *sigv4.Signature, c *call) map[string]string {
	keys := map[string]string{
		"s3:ResourceAccount":      h.cfg.AccountID,
		"s3:authType":             "REST-HEADER",
		"s3:signatureversion":     "AWS4-HMAC-SHA256",
		"s3:signatureAge":         strconv.FormatInt(h.cfg.Now().Sub(sig.Time).Milliseconds(), 10),
		"s3:x-amz-content-sha256": payloadHash(sig),
	}
	if sig.Presigned {
		keys["s3:authType"] = "REST-QUERY-STRING"
	}
	for _, name := range []string{"prefix", "delimiter", "max-keys"} {
		if c.op.on == onBucket && c.query.Has(name) {
			keys["s3:"+name] = c.query.Get(name)
		}
	}
	for _, name := range []string{
		"x-amz-acl", "x-amz-metadata-directive", "x-amz-server-side-encryption", "x-amz-storage-class",
		"x-amz-website-redirect-location", "if-match", "if-none-match",
	} {
		if v := c.header.Get(name); v != "" {
			keys["s3:"+name] = v
		}
	}
	if c.source != nil {
		keys["s3:x-amz-copy-source"] = c.source.bucket + "/" + c.source.key
	}
	if c.query.Has("versionId") {
		keys["s3:versionid"] = c.query.Get("versionId")
	}
	return keys
}

// maxTagging is the greatest size of the tags of one object as a document: 10 tags of 128 and 256 characters, and their XML.
const maxTagging = 64 << 10

// addRequestTags adds s3:RequestObjectTag/<key> for the tags that a request gives, in a header or its body.
func addRequestTags(keys map[string]string, c *call, b *body) error {
	if c.op.name != "PutObjectTagging" {
		tags, err := url.ParseQuery(c.header.Get("X-Amz-Tagging"))
		if err != nil {
			return errInvalidArgument("The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters " +
				"without tag name duplicates.")
		}
		addTags(keys, "s3:RequestObjectTag/", tags)
		return nil
	}
	if b.size > maxTagging {
		return tooLong(c.op)
	}
	document, err := io.ReadAll(b)
	if err != nil {
		return err
	}
	b.in, b.left, b.hash, b.chunked = bytes.NewReader(document), b.size, nil, false // proved; to be read once more
	var tagging struct {
		Tags []gofakes3.Tag `xml:"TagSet>Tag"`
	}
	if xml.Unmarshal(document, &tagging) != nil {
		return refuse(http.StatusBadRequest, "MalformedXML", gofakes3.ErrMalformedXML.Message())
	}
	for _, tag := range tagging.Tags {
		keys["s3:RequestObjectTag/"+tag.Key] = tag.Value
	}
	return nil
}

// withObject adds s3:ExistingObjectTag/<key> for the tags of the object that is asked about. PutObject does not have these keys.
func (h *Handler) withObject(keys map[string]string, p permission) map[string]string {
	if p.key == "" || p.action == "s3:PutObject" {
		return keys
	}
	tags, err := url.ParseQuery(h.disk.tags(p.bucket, p.key))
	if err != nil || len(tags) == 0 {
		return keys
	}
	keys = maps.Clone(keys)
	addTags(keys, "s3:ExistingObjectTag/", tags)
	return keys
}

func addTags(keys map[string]string, prefix string, tags url.Values) {
	for name := range tags {
		keys[prefix+name] = tags.Get(name)
	}
}

// guard tells whether the caller may delete a key: denied is empty if so, else the reason.
type guard func(ctx context.Context, key string) (denied string, err error)

type guardKey struct{}

// withGuard hands a guard down to [disk.DeleteMulti]. gofakes3 reads the list of keys from the body itself and gives the
// backend nothing of the request but its context.
func withGuard(ctx context.Context, g guard) context.Context {
	return context.WithValue(ctx, guardKey{}, g)
}

// guardFrom returns the guard of a request. Without one nothing may be deleted.
func guardFrom(ctx context.Context) guard {
	if g, ok := ctx.Value(guardKey{}).(guard); ok {
		return g
	}
	return func(context.Context, string) (string, error) { return "Access Denied", nil }
}
