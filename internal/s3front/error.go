package s3front

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/podid/podid/internal/sigv4"
)

// Facts that Config.Resolve reports by wrapping one of these. Any other error of it is a fault.
var (
	// ErrUnknownKey says that there is no such access key.
	ErrUnknownKey = errors.New("access key does not exist")
	// ErrInvalidToken says that the session token is not a good one, or not that of the access key.
	ErrInvalidToken = errors.New("session token is invalid")
	// ErrExpiredToken says that the session is over.
	ErrExpiredToken = errors.New("session token is expired")
)

// refusal is an answer other than success, in S3's spelling. See
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
type refusal struct {
	XMLName xml.Name `xml:"Error"`
	Code    string
	Message string

	// Members that only some codes have.
	AccessKeyID string `xml:"AWSAccessKeyId,omitempty"`
	BucketName  string `xml:",omitempty"`
	Key         string `xml:",omitempty"`
	RequestTime string `xml:",omitempty"`
	ServerTime  string `xml:",omitempty"`
	MaxSkew     int64  `xml:"MaxAllowedSkewMilliseconds,omitempty"`
	ClientHash  string `xml:"ClientComputedContentSHA256,omitempty"`
	ServerHash  string `xml:"S3ComputedContentSHA256,omitempty"`

	RequestID string `xml:"RequestId"`
	status    int
}

// Error makes a refusal an error, so that it can pass through readers.
func (e *refusal) Error() string { return e.Code + ": " + e.Message }

func refuse(status int, code, message string) *refusal {
	return &refusal{status: status, Code: code, Message: message}
}

func errDenied(message string) *refusal { return refuse(http.StatusForbidden, "AccessDenied", message) }

func errFault() *refusal {
	return refuse(http.StatusInternalServerError, "InternalError", "We encountered an internal error. Please try again.")
}

func errNoSuchBucket(bucket string) *refusal {
	e := refuse(http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	e.BucketName = bucket
	return e
}

func errNoSuchBucketPolicy(bucket string) *refusal {
	e := refuse(http.StatusNotFound, "NoSuchBucketPolicy", "The bucket policy does not exist")
	e.BucketName = bucket
	return e
}

func errMalformedPolicy(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, "MalformedPolicy", fmt.Sprintf(format, args...))
}

func errMethodNotAllowed() *refusal {
	return refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource.")
}

func errNotImplemented() *refusal {
	return refuse(http.StatusNotImplemented, "NotImplemented",
		"A header or query parameter you provided implies functionality that is not implemented.")
}

func errInvalidArgument(message string) *refusal {
	return refuse(http.StatusBadRequest, "InvalidArgument", message)
}

func errInvalidRequest(message string) *refusal {
	return refuse(http.StatusBadRequest, "InvalidRequest", message)
}

func errMissingLength() *refusal {
	return refuse(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
}

func errIncompleteBody() *refusal {
	return refuse(http.StatusBadRequest, "IncompleteBody",
		"You did not provide the number of bytes specified by the Content-Length HTTP header.")
}

func errSignature() *refusal {
	return refuse(http.StatusForbidden, "SignatureDoesNotMatch",
		"The request signature we calculated does not match the signature you provided. Check your key and signing method.")
}

func errBodyHash(client, server string) *refusal {
	e := refuse(http.StatusBadRequest, "XAmzContentSHA256Mismatch",
		"The provided 'x-amz-content-sha256' header does not match what was computed.")
	e.ClientHash, e.ServerHash = client, server
	return e
}

// errTime words that a signature is of another time than now.
func errTime(e *sigv4.ExpiredError) *refusal {
	if e.Presigned {
		if e.NotYet() {
			return errDenied("Request is not yet valid")
		}
		return errDenied("Request has expired")
	}
	out := refuse(http.StatusForbidden, "RequestTimeTooSkewed",
		"The difference between the request time and the current time is too large.")
	out.RequestTime = e.Time.UTC().Format(time.RFC3339)
	out.ServerTime = e.Now.UTC().Format(time.RFC3339)
	out.MaxSkew = e.Window.Milliseconds()
	return out
}

// errResolve gives the answer to an error of Config.Resolve, or false for a fault.
func errResolve(err error, accessKeyID string) (*refusal, bool) {
	switch {
	case errors.Is(err, ErrUnknownKey):
		e := refuse(http.StatusForbidden, "InvalidAccessKeyId",
			"The AWS Access Key Id you provided does not exist in our records.")
		e.AccessKeyID = accessKeyID
		return e, true
	case errors.Is(err, ErrInvalidToken):
		return refuse(http.StatusBadRequest, "InvalidToken", "The provided token is malformed or otherwise invalid."), true
	case errors.Is(err, ErrExpiredToken):
		return refuse(http.StatusBadRequest, "ExpiredToken", "The provided token has expired."), true
	}
	return nil, false
}

// write answers with the refusal. A HEAD request gets its status and nothing else.
func (e *refusal) write(w http.ResponseWriter, r *http.Request, requestID string) {
	e.RequestID = requestID
	w.Header().Set("x-amz-request-id", requestID)
	if r.Method == http.MethodHead {
		w.WriteHeader(e.status)
		return
	}
	body, err := xml.Marshal(e)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	body = append([]byte(xml.Header), body...)
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.status)
	_, _ = w.Write(body)
}
