package sigv4

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/podid/podid/internal/identity"
)

// parts are the strings that a signature is made of, wherever they were found.
type parts struct {
	algorithm, credential, signedHeaders, signature, date, expires, token, payloadHash string
}

// partsOfHeader reads Authorization: AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=… and the headers that go with it.
func partsOfHeader(h http.Header, authorization string) (p parts, err error) {
	if len(authorization) > maxAuthorization {
		return p, incomplete("The Authorization header is too long.")
	}
	var rest string
	p.algorithm, rest, _ = strings.Cut(authorization, " ")
	if p.algorithm == algorithm {
		for part := range strings.SplitSeq(rest, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch {
			case name == "Credential" && p.credential == "":
				p.credential = value
			case name == "SignedHeaders" && p.signedHeaders == "":
				p.signedHeaders = value
			case name == "Signature" && p.signature == "":
				p.signature = value
			default:
				return p, incomplete("Authorization header must have 'Credential', 'SignedHeaders' and 'Signature', once each and nothing else.")
			}
		}
	}
	if p.token, err = single(h, "X-Amz-Security-Token"); err != nil {
		return p, err
	}
	if p.payloadHash, err = single(h, "X-Amz-Content-Sha256"); err != nil {
		return p, err
	}
	p.date, err = dateOf(h)
	return p, err
}

// dateOf returns the time of signing in the form that is signed. X-Amz-Date goes before Date, which may also have HTTP's form.
func dateOf(h http.Header) (string, error) {
	if date, err := single(h, "X-Amz-Date"); err != nil || date != "" {
		return date, err
	}
	date, err := single(h, "Date")
	if t, notHTTP := http.ParseTime(date); notHTTP == nil {
		date = t.UTC().Format(timeLayout)
	}
	return date, err
}

// single returns the value of a header that must not be there twice, because it could be read in two ways. The name is in
// Go's canonical form.
func single(h http.Header, name string) (string, error) {
	switch values := h[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", incomplete("The " + name + " header is there more than once.")
}

// hasQueryAuth tells whether a query has a part of a signature.
func hasQueryAuth(query string) bool {
	for pair := range strings.SplitSeq(query, "&") {
		switch name, _, _ := strings.Cut(pair, "="); name {
		case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature":
			return true
		}
	}
	return false
}

// partsOfQuery reads the X-Amz-… parameters of a presigned URL.
// See https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html.
func partsOfQuery(r *http.Request) (p parts, err error) {
	into := map[string]*string{
		"X-Amz-Algorithm": &p.algorithm, "X-Amz-Credential": &p.credential, "X-Amz-SignedHeaders": &p.signedHeaders,
		"X-Amz-Signature": &p.signature, "X-Amz-Date": &p.date, "X-Amz-Expires": &p.expires,
		"X-Amz-Security-Token": &p.token, "X-Amz-Content-Sha256": &p.payloadHash,
	}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, nameErr := url.PathUnescape(rawName) // unlike QueryUnescape it leaves a plus alone
		value, valueErr := url.PathUnescape(rawValue)
		if nameErr != nil || valueErr != nil {
			return p, incomplete("The query has a malformed percent-encoding.")
		}
		field := into[name]
		switch {
		case field == nil:
		case *field != "":
			return p, incomplete("The query has '" + name + "' more than once.")
		default:
			*field = value
		}
	}
	if len(r.Header["X-Amz-Security-Token"]) > 0 {
		return p, incomplete("X-Amz-Security-Token must be in the query of a presigned request, not in a header.")
	}
	hash, err := single(r.Header, "X-Amz-Content-Sha256")
	if hash != "" {
		p.payloadHash = hash
	}
	return p, err
}

// assemble checks the parts and puts them together.
func (p *parts) assemble(presigned bool) (*Signature, error) {
	switch {
	case p.algorithm != algorithm:
		return nil, incomplete("Unsupported AWS 'algorithm', want '" + algorithm + "'.")
	case p.credential == "":
		return nil, incomplete("Authorization requires 'Credential' parameter.")
	case p.signature == "":
		return nil, incomplete("Authorization requires 'Signature' parameter.")
	case p.signedHeaders == "":
		return nil, incomplete("Authorization requires 'SignedHeaders' parameter.")
	case p.date == "":
		return nil, incomplete("Authorization requires existence of either a 'X-Amz-Date' or a 'Date' header or parameter.")
	}
	s := &Signature{
		SecurityToken: identity.Secret(p.token), PayloadHash: p.payloadHash, Presigned: presigned, timestamp: p.date,
		SignedHeaders: strings.Split(p.signedHeaders, ";"),
	}
	if err := s.setCredential(p.credential); err != nil {
		return nil, err
	}
	var err error
	s.Time, err = time.Parse(timeLayout, p.date)
	if err != nil || len(p.date) != len(timeLayout) { // the length, because Parse also takes a fraction of a second
		return nil, incomplete("Date must be in ISO-8601 'basic format', as 20240131T235959Z.")
	}
	if s.Date != p.date[:8] {
		return nil, incomplete("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.")
	}
	if len(p.signature) != 2*len(s.mac) || strings.ToLower(p.signature) != p.signature {
		return nil, incomplete("Signature must be 64 lower-case hexadecimal digits.")
	}
	if _, err := hex.Decode(s.mac[:], []byte(p.signature)); err != nil {
		return nil, incomplete("Signature must be 64 lower-case hexadecimal digits.")
	}
	if err := s.setExpires(p.expires); err != nil {
		return nil, err
	}
	return s, nil
}

// setCredential reads AKIAIOSFODNN7EXAMPLE/20240131/us-west-2/eks/aws4_request.
func (s *Signature) setCredential(credential string) error {
	var end string
	s.AccessKeyID, s.scope, _ = strings.Cut(credential, "/")
	rest := s.scope
	s.Date, rest, _ = strings.Cut(rest, "/")
	s.Region, rest, _ = strings.Cut(rest, "/")
	s.Service, end, _ = strings.Cut(rest, "/")
	if end != terminator || !isName(s.AccessKeyID) || !isName(s.Region) || !isName(s.Service) || len(s.Date) != 8 {
		return incomplete("Credential must have exactly 5 slash-delimited elements: keyid/YYYYMMDD/region/service/aws4_request.")
	}
	return nil
}

// isName tells whether s may be an access key id, a region or a service: 1 to 128 letters, digits, - and _.
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !unreserved[c] || c == '.' || c == '~' {
			return false
		}
	}
	return 1 <= len(s) && len(s) <= maxName
}

// setExpires reads the life of a presigned URL. S3 requires one, other services do not.
func (s *Signature) setExpires(expires string) error {
	if expires == "" && !(s.Presigned && s.Service == serviceS3) {
		return nil
	}
	seconds, err := strconv.ParseUint(expires, 10, 32)
	if err != nil || seconds < 1 || seconds > maxExpires {
		return incomplete("X-Amz-Expires must be a number of seconds between 1 and 604800.")
	}
	s.Expires = time.Duration(seconds) * time.Second
	return nil
}

// checkSignedHeaders makes sure that the signature covers what gives a request its meaning: the host, so that it cannot be
// replayed to another one, and every x-amz-* header, so that none can be slipped in.
func (s *Signature) checkSignedHeaders(h http.Header) error {
	for i, name := range s.SignedHeaders {
		if !isHeaderName(name) || i > 0 && name <= s.SignedHeaders[i-1] {
			return incomplete("SignedHeaders must be lower-case header names, sorted, separated by semicolons.")
		}
	}
	if !s.signs("host") {
		return incomplete("'Host' must be a 'SignedHeader' in the AWS Authorization.")
	}
	for name := range h {
		if len(name) > 6 && strings.EqualFold(name[:6], "x-amz-") && !s.signs(strings.ToLower(name)) {
			return incomplete("There were headers present in the request which were not signed: " + strings.ToLower(name) + ".")
		}
	}
	return nil
}

func (s *Signature) signs(name string) bool {
	_, ok := slices.BinarySearch(s.SignedHeaders, name)
	return ok
}

func isHeaderName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == ':' || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return s != ""
}

func incomplete(reason string) error { return &IncompleteError{reason} }
