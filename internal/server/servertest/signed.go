package servertest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Call is a request that an SDK would not send, or whose answer it would not show.
type Call struct {
	Service string      // that it is signed for: eks, eks-auth, …; empty for no signature
	Method  string      // GET if empty
	Target  string      // path, as it is spelled on the wire, and query
	Body    string      // sent as application/json, or to STS and IAM as a form, if there is one
	Header  http.Header // more headers, or others; signed too
	As      *aws.Config // who signs; nil for the administrator
	At      time.Time   // when it is signed; zero means now
}

// Sign makes the request.
func (s *Server) Sign(c Call) *http.Request {
	s.t.Helper()
	if c.Method == "" {
		c.Method = http.MethodGet
	}
	if c.As == nil {
		c.As = &s.Admin
	}
	if c.At.IsZero() {
		c.At = time.Now()
	}
	r, err := http.NewRequestWithContext(s.t.Context(), c.Method, s.URL+c.Target, strings.NewReader(c.Body))
	if err != nil {
		s.t.Fatal(err)
	}
	switch {
	case c.Body == "":
	case c.Service == "sts" || c.Service == "iam" || c.Target == "/":
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	default:
		r.Header.Set("Content-Type", "application/json")
	}
	maps.Copy(r.Header, c.Header)
	if c.Service == "" {
		return r
	}
	credentials, err := c.As.Credentials.Retrieve(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(c.Body))
	if err := v4.NewSigner().SignHTTP(s.t.Context(), credentials, r, hex.EncodeToString(sum[:]), c.Service, Region, c.At); err != nil {
		s.t.Fatal(err)
	}
	return r
}

// Send makes the request, sends it and reads the answer.
func (s *Server) Send(c Call) *Answer {
	s.t.Helper()
	return s.Do(s.Sign(c))
}

// Refusal is an error of a restJson1 service as its body spells it.
type Refusal struct {
	Code    string `json:"__type"`
	Message string `json:"message"`
	Cluster string `json:"clusterName"`
}

// Refusal reads the error; it fails the test if header and body do not name the same code, and is empty for an answer of status 200.
func (s *Server) Refusal(a *Answer) Refusal {
	s.t.Helper()
	var refusal Refusal
	if a.Status == http.StatusOK {
		return refusal
	}
	a.JSON(s.t, &refusal)
	if code := a.Header.Get("X-Amzn-Errortype"); code != refusal.Code {
		s.t.Errorf("the header X-Amzn-Errortype says %q and the body %q", code, refusal.Code)
	}
	return refusal
}
