package sigv4

import (
	"errors"
	"strconv"
	"time"
)

var (
	// ErrMissing is returned for a request that carries no signature at all.
	ErrMissing = errors.New("request is not signed")
	// ErrMismatch is returned where the signature is not the one that the key gives for this request or chunk.
	ErrMismatch = errors.New("signature does not match the request")
	// ErrDigest is returned where the bytes of a chunked body do not have the checksum that its trailer gives.
	ErrDigest = errors.New("checksum does not match the body")
	// ErrFraming is returned for a body that is not well-formed aws-chunked, or not as long as the request says.
	ErrFraming = errors.New("body is not well-formed aws-chunked")
)

// IncompleteError says which part of a signature is missing or malformed. AWS answers IncompleteSignature.
type IncompleteError struct {
	Reason string // a sentence for the caller, without any part of the signature
}

// Error returns the reason.
func (e *IncompleteError) Error() string { return e.Reason }

// ExpiredError says that a signature was made too long ago, or is not valid yet.
type ExpiredError struct {
	Time      time.Time     // when the request says it was signed
	Now       time.Time     // when it was judged
	Window    time.Duration // how far the two may lie apart in this direction
	Presigned bool          // a presigned URL, for which S3 has another error
}

// NotYet tells whether the signature lies in the future.
func (e *ExpiredError) NotYet() bool { return e.Time.After(e.Now) }

// Error words it as AWS does: Signature expired: 20240101T000000Z is now earlier than 20240101T000501Z (20240101T001001Z - 5 min.)
func (e *ExpiredError) Error() string {
	signed, now := e.Time.UTC().Format(timeLayout), e.Now.UTC()
	window := strconv.FormatFloat(e.Window.Seconds(), 'f', -1, 64) + " sec.)"
	if e.Window%time.Minute == 0 {
		window = strconv.FormatInt(int64(e.Window/time.Minute), 10) + " min.)"
	}
	if e.NotYet() {
		return "Signature not yet current: " + signed + " is still later than " + now.Add(e.Window).Format(timeLayout) +
			" (" + now.Format(timeLayout) + " + " + window
	}
	return "Signature expired: " + signed + " is now earlier than " + now.Add(-e.Window).Format(timeLayout) +
		" (" + now.Format(timeLayout) + " - " + window
}
