package s3front

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"os"

	"github.com/rclone/gofakes3"

	"github.com/podid/podid/internal/sigv4"
)

// body reads the body of a request and proves that it is the one that was signed. It knows how long it must be, and does not
// hand out the last bytes before everything is proved: a reader that stops at the length, as gofakes3 does, has not missed the
// verdict. What fails is remembered, because what gofakes3 makes of a reader's error is not S3's answer.
type body struct {
	in      io.Reader
	size    int64 // of the decoded body
	left    int64
	chunked bool
	want    []byte    // SHA-256 that the signature covers; nil if it covers none, or that of each chunk
	hash    hash.Hash // of what was read; nil if want is
	failure *refusal
}

// openBody prepares the body of a request whose signature has been verified with key. Limit is its greatest size.
func openBody(r *http.Request, sig *sigv4.Signature, key sigv4.Key, limit int64, tooLong *refusal) (*body, error) {
	b := &body{in: r.Body, size: r.ContentLength}
	switch payload := payloadHash(sig); payload {
	case sigv4.UnsignedPayload:
	case sigv4.StreamingPayload, sigv4.StreamingPayloadTrailer, sigv4.StreamingUnsignedTrailer:
		in, err := sigv4.NewChunkedReader(r, sig, key)
		if incomplete, ok := errors.AsType[*sigv4.IncompleteError](err); ok {
			return nil, errInvalidRequest(incomplete.Reason)
		}
		if err != nil {
			return nil, err
		}
		b.in, b.size, b.chunked = in, in.Size(), true
	default:
		want, err := hex.DecodeString(payload)
		if err != nil || len(want) != sha256.Size {
			return nil, errInvalidArgument("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, " +
				"STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.")
		}
		b.want, b.hash = want, sha256.New()
	}
	switch {
	case b.size < 0:
		return nil, errMissingLength()
	case b.size > limit:
		return nil, tooLong
	}
	b.left = b.size
	if b.left == 0 && b.finish() != nil { // nobody reads an empty body
		return nil, b.failure
	}
	return b, nil
}

// payloadHash is what a signature says of the body. A presigned URL that says nothing leaves it open.
func payloadHash(sig *sigv4.Signature) string {
	if sig.Presigned && sig.PayloadHash == "" {
		return sigv4.UnsignedPayload
	}
	return sig.PayloadHash
}

// tooLong is the answer to a body over the limit.
func tooLong(op *operation) *refusal {
	if op.bucketPolicy {
		return errMalformedPolicy("Policy exceeds the maximum allowed document size of %d bytes.", maxPolicySize)
	}
	if op.storesObject() {
		return refuse(http.StatusBadRequest, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
	}
	return refuse(http.StatusBadRequest, "MaxMessageLengthExceeded", "Your request was too big.")
}

// Read reads decoded bytes. Its errors are refusals.
func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.failure != nil:
		return 0, b.failure
	case b.left == 0:
		return 0, io.EOF
	case int64(len(p)) > b.left:
		p = p[:b.left]
	}
	n, err := b.in.Read(p)
	if b.hash != nil {
		b.hash.Write(p[:n])
	}
	b.left -= int64(n)
	if err != nil && (err != io.EOF || b.left > 0) {
		b.failure = errRead(err)
		return 0, b.failure
	}
	if b.left == 0 && b.finish() != nil {
		return 0, b.failure
	}
	return n, nil
}

// finish judges a body of which all bytes were read.
func (b *body) finish() *refusal {
	if b.hash != nil {
		if got := b.hash.Sum(nil); string(got) != string(b.want) {
			b.failure = errBodyHash(hex.EncodeToString(b.want), hex.EncodeToString(got))
		}
	}
	if b.chunked { // the end of the last chunk and the trailer, which an empty body has too
		var more [1]byte
		if _, err := io.ReadFull(b.in, more[:]); err == nil {
			b.failure = errIncompleteBody()
		} else if err != io.EOF {
			b.failure = errRead(err)
		}
	}
	return b.failure
}

// errRead gives the answer to a body that cannot be read or is not the one that was signed.
func errRead(err error) *refusal {
	switch {
	case errors.Is(err, sigv4.ErrMismatch):
		return errSignature()
	case errors.Is(err, sigv4.ErrDigest):
		return refuse(http.StatusBadRequest, "BadDigest", "The checksum you specified did not match what we received.")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusBadRequest, "RequestTimeout",
			"Your socket connection to the server was not read from or written to within the timeout period.")
	}
	return errIncompleteBody()
}

// Close does nothing: the server closes the body of its request itself.
func (b *body) Close() error { return nil }

// limit is the greatest size of a request's body.
func (h *Handler) limit(op *operation) int64 {
	if op.bucketPolicy {
		return maxPolicySize
	}
	if op.storesObject() {
		return h.cfg.MaxObjectSize
	}
	return gofakes3.MaxXMLBodySize
}
