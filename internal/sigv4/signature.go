package sigv4

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/podid/podid/internal/identity"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeLayout = "20060102T150405Z"
	serviceS3  = "s3"
)

// Sizes beyond which a request is refused unread.
const (
	maxAuthorization = 8 << 10
	maxQuery         = 64 << 10
	maxName          = 128 // an access key id, a region, a service
)

// maxExpires is the longest life of a presigned URL, seven days.
const maxExpires = 604800

// Values of x-amz-content-sha256 that are not a hash. Only S3 takes them.
// See https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html.
const (
	UnsignedPayload          = "UNSIGNED-PAYLOAD"
	StreamingPayload         = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingPayloadTrailer  = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	StreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// Signature is what a signed request says of its signature. Nothing of it is proved before [Signature.Verify].
type Signature struct {
	AccessKeyID string // AKIA… or ASIA…

	// The credential scope. Date is the day of Time, 20240131.
	Date, Region, Service string

	Time          time.Time       // when the request was signed, to the second
	SignedHeaders []string        // lower case and sorted; host is among them, and every x-amz-* header that the request has
	SecurityToken identity.Secret // the session token; empty for long-term keys
	PayloadHash   string          // x-amz-content-sha256 as sent: a hash or one of the constants; empty if not sent
	Presigned     bool            // the signature was in the query
	Expires       time.Duration   // X-Amz-Expires of a presigned request, 1 s to 7 days; 0 if not sent

	timestamp string // Time as signed
	scope     string // date/region/service/aws4_request as signed
	mac       Key    // the signature
}

// Parse takes the signature out of a request, without judging it. It returns [ErrMissing] for a request without one and
// [*IncompleteError] for one that is malformed, that is signed twice, or that has headers which must be signed and are not.
func Parse(r *http.Request) (*Signature, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, incomplete("The query is too long.")
	}
	authorization := r.Header["Authorization"]
	presigned := hasQueryAuth(r.URL.RawQuery)
	var p parts
	var err error
	switch {
	case len(authorization) == 0 && !presigned:
		return nil, ErrMissing
	case len(authorization) > 1, len(authorization) == 1 && presigned:
		return nil, incomplete("Only one auth mechanism allowed: the Authorization header, once, or the X-Amz-Algorithm query parameter.")
	case presigned:
		p, err = partsOfQuery(r)
	default:
		p, err = partsOfHeader(r.Header, authorization[0])
	}
	if err != nil {
		return nil, err
	}
	s, err := p.assemble(presigned)
	if err != nil {
		return nil, err
	}
	if err := s.checkSignedHeaders(r.Header); err != nil {
		return nil, err
	}
	return s, nil
}

// ScopeService returns the service that a request says it is signed for, to route it by. It is empty for unsigned requests.
// Nothing is checked: the request must still pass [Parse] and [Signature.Verify].
func ScopeService(r *http.Request) string {
	var credential string
	if authorization := r.Header["Authorization"]; len(authorization) > 0 {
		if strings.HasPrefix(authorization[0], algorithm) {
			_, rest, _ := strings.Cut(authorization[0], "Credential=")
			credential, _, _ = strings.Cut(rest, ",")
		}
	} else {
		for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
			if value, ok := strings.CutPrefix(pair, "X-Amz-Credential="); ok {
				credential, _ = url.PathUnescape(value)
				break
			}
		}
	}
	scope, ok := strings.CutSuffix(strings.TrimSpace(credential), "/"+terminator)
	if !ok {
		return ""
	}
	return scope[strings.LastIndexByte(scope, '/')+1:]
}
