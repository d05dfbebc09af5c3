package servertest

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Raw is a request that an SDK would not send, or whose answer it would hide. What is empty is what an ordinary client sends.
type Raw struct {
	Service string // of the signature's scope; empty: unsigned
	Method  string // POST
	Path    string // "/", with the query
	Type    string // Content-Type; application/x-www-form-urlencoded for sts and iam, application/json for others
	Body    string
	Header  map[string]string // further ones, signed too
	As      aws.Config        // whose credentials; the administrator's
	At      time.Time         // of signing; now
}

// Sign builds the request, signed.
func (s *Server) Sign(raw Raw) *http.Request {
	s.t.Helper()
	query := raw.Service == "" || raw.Service == "sts" || raw.Service == "iam"
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	fill(&raw.Method, http.MethodPost)
	fill(&raw.Path, "/")
	if query {
		fill(&raw.Type, "application/x-www-form-urlencoded; charset=utf-8")
	}
	fill(&raw.Type, "application/json")
	if raw.As.Credentials == nil {
		raw.As = s.Admin
	}
	if raw.At.IsZero() {
		raw.At = time.Now()
	}
	r, err := http.NewRequestWithContext(s.t.Context(), raw.Method, s.URL+raw.Path, strings.NewReader(raw.Body))
	if err != nil {
		s.t.Fatal(err)
	}
	if raw.Body != "" {
		r.Header.Set("Content-Type", raw.Type)
	}
	for name, value := range raw.Header {
		r.Header.Set(name, value)
	}
	if raw.Service == "" {
		return r
	}
	credentials, err := raw.As.Credentials.Retrieve(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(raw.Body))
	if err := v4.NewSigner().SignHTTP(s.t.Context(), credentials, r, hex.EncodeToString(sum[:]), raw.Service, Region, raw.At); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// Send signs the request and sends it.
func (s *Server) Send(raw Raw) *Answer {
	s.t.Helper()
	return s.Do(s.Sign(raw))
}

// Form is the body of a call of STS or IAM: the action, its service's version, and members as name, value, name, value.
func Form(service, action string, members ...string) string {
	version := map[string]string{"sts": "2011-06-15", "iam": "2010-05-08"}[service]
	form := "Action=" + action + "&Version=" + version
	for i := 0; i+1 < len(members); i += 2 {
		form += "&" + url.QueryEscape(members[i]) + "=" + url.QueryEscape(members[i+1])
	}
	return form
}

// Clock is a clock that runs as the real one does, and can be put ahead.
type Clock struct{ ahead atomic.Int64 }

// Now is what the clock shows.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Advance puts it ahead.
func (c *Clock) Advance(d time.Duration) { c.ahead.Add(int64(d)) }
