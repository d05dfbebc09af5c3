package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"
)

// How far the time of signing may lie from ours. The query and rest-json services say 5 minutes in their error texts; S3
// documents 15 minutes (RequestTimeTooSkewed).
const (
	skew   = 5 * time.Minute
	skewS3 = 15 * time.Minute
)

// presignedLife is how long a presigned request to a service other than S3 is good for. AWS honours X-Amz-Expires in S3 only;
// STS takes a presigned GetCallerIdentity for 15 minutes whatever it says, and the tokens of "aws eks get-token", which say 60
// seconds and are used for 14 minutes, depend on that.
const presignedLife = 15 * time.Minute

// Verify tells whether a request was signed with key, is unchanged, and is of now. It returns [*ExpiredError] or [ErrMismatch].
//
// PayloadHash is the hexadecimal SHA-256 of the body, which the caller has computed; a request that names another hash is
// refused. S3's front passes what the request names instead ([Signature.PayloadHash]; a presigned request that names none means
// [UnsignedPayload]) and checks the body while it is read.
func (s *Signature) Verify(r *http.Request, key Key, payloadHash string, now time.Time) error {
	if err := s.checkTime(now); err != nil {
		return err
	}
	if s.PayloadHash != "" && s.PayloadHash != payloadHash {
		return ErrMismatch
	}
	c := canonicals.Get().(*canonical)
	defer c.release()
	if !c.request(r, s, payloadHash) {
		return ErrMismatch
	}
	hash := sha256.Sum256(c.buf)
	c.buf = append(c.buf[:0], algorithm+"\n"...)
	c.buf = append(append(c.buf, s.timestamp...), '\n')
	c.buf = append(append(c.buf, s.scope...), '\n')
	c.buf = hex.AppendEncode(c.buf, hash[:])
	mac := sum(key[:], c.buf)
	if !hmac.Equal(mac[:], s.mac[:]) {
		return ErrMismatch
	}
	return nil
}

func (s *Signature) checkTime(now time.Time) error {
	past, future := skew, skew
	if s.Service == serviceS3 {
		past, future = skewS3, skewS3
	}
	switch {
	case s.Presigned && s.Service == serviceS3:
		past = s.Expires
	case s.Presigned:
		past = presignedLife
	}
	switch age := now.Sub(s.Time); {
	case age > past:
		return &ExpiredError{s.Time, now, past, s.Presigned}
	case age < -future:
		return &ExpiredError{s.Time, now, future, s.Presigned}
	}
	return nil
}
