package sigv4

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	signer "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/encoding/httpbinding"
	"pgregory.net/rapid"
)

const (
	testKeyID  = "AKIAIOSFODNN7EXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

var testTime = time.Date(2024, 1, 31, 23, 59, 59, 0, time.UTC)

// message is a request before it is signed.
type message struct {
	method, path, query, service, token, body string
	header                                    http.Header
	expires                                   string // of a presigned request
}

// request makes a client's request of m. The path is unencoded; S3's keeps its slashes, as the SDK sends it.
func (m message) request(t tb) *http.Request {
	u := &url.URL{Scheme: "http", Host: "podid.example.com:7070", Path: m.path, RawQuery: m.query}
	if m.service == serviceS3 {
		u.RawPath = httpbinding.EscapePath(m.path, false)
	} else {
		var segments []string
		for segment := range strings.SplitSeq(m.path, "/") {
			segments = append(segments, httpbinding.EscapePath(segment, true))
		}
		u.RawPath = strings.Join(segments, "/")
	}
	r, err := http.NewRequest(m.method, u.String(), strings.NewReader(m.body))
	if err != nil {
		t.Fatalf("making a request of %+v: %v", m, err)
	}
	for name, values := range m.header {
		r.Header[name] = values
	}
	return r
}

// sign has the AWS SDK sign m with a header, and returns the request as a server gets it.
func (m message) sign(t tb) *http.Request {
	r := m.request(t)
	err := signer.NewSigner().SignHTTP(context.Background(), m.credentials(), r, hashOf(m.body), m.service, "us-west-2", testTime, m.options)
	if err != nil {
		t.Fatalf("signing: %v", err)
	}
	return overWire(t, r)
}

// presign has the AWS SDK presign m, and returns the request as a server gets it.
func (m message) presign(t tb) *http.Request {
	r := m.request(t)
	if m.expires != "" {
		r.URL.RawQuery = strings.TrimPrefix(r.URL.RawQuery+"&X-Amz-Expires="+m.expires, "&")
	}
	signed, header, err := signer.NewSigner().PresignHTTP(context.Background(), m.credentials(), r, m.presignedHash(), m.service, "us-west-2", testTime, m.options)
	if err != nil {
		t.Fatalf("presigning: %v", err)
	}
	presigned, err := http.NewRequest(m.method, signed, strings.NewReader(m.body))
	if err != nil {
		t.Fatalf("making a request of %s: %v", signed, err)
	}
	for name, values := range header {
		presigned.Header[name] = values
	}
	return overWire(t, presigned)
}

func (m message) presignedHash() string {
	if m.service == serviceS3 {
		return UnsignedPayload
	}
	return hashOf(m.body)
}

func (m message) credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: testKeyID, SecretAccessKey: testSecret, SessionToken: m.token}
}

func (m message) options(o *signer.SignerOptions) { o.DisableURIPathEscaping = m.service == serviceS3 }

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	Fatalf(format string, args ...any)
}

// overWire writes a client's request and reads it as a server.
func overWire(t tb, r *http.Request) *http.Request {
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatalf("writing the request: %v", err)
	}
	received, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatalf("reading the request: %v", err)
	}
	return received
}

// verify does what a server does with a request at a time.
func verify(r *http.Request, now time.Time) error {
	s, err := Parse(r)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	hash := hashOf(string(body))
	if s.Presigned && s.Service == serviceS3 {
		hash = UnsignedPayload
	}
	return s.Verify(r, DeriveKey(testSecret, s.Date, s.Region, s.Service), hash, now)
}

func TestRequestsOfTheSDK(t *testing.T) {
	meta := http.Header{"X-Amz-Meta-A": {"  two   spaces ", "second"}, "Content-Type": {"text/plain"}, "Range": {"bytes=0-9"}}
	tests := map[string]message{
		"root":                 {method: "GET", path: "/"},
		"no path":              {method: "GET"},
		"plain":                {method: "POST", path: "/clusters/prod/pod-identity-associations", body: `{"a":1}`},
		"trailing slash":       {method: "GET", path: "/clusters/"},
		"encoded slash":        {method: "POST", path: "/tags/arn:aws:eks:us-west-2:111122223333:cluster\u2215x"},
		"space and unicode":    {method: "GET", path: "/a b/ü+%2F€"},
		"query":                {method: "GET", path: "/clusters", query: "include=all&maxResults=5"},
		"query unsorted":       {method: "DELETE", path: "/tags/x", query: "tagKeys=b&tagKeys=a&tagKeys=a%2Fb&tagKeys=a-b&a="},
		"query odd":            {method: "GET", path: "/", query: "empty=&novalue&space=a%20b&plus=a%2Bb&pct=%25&eq=a%3Db&uni=%C3%BC&A=1&a=2&a1=3"},
		"form":                 {method: "POST", path: "/", body: "Action=GetCallerIdentity&Version=2011-06-15"},
		"headers":              {method: "GET", path: "/", header: meta},
		"s3 double slash":      {method: "PUT", path: "/demo//a//b/", service: "s3", body: "x"},
		"s3 dots":              {method: "GET", path: "/demo/a/../b/./c", service: "s3"},
		"s3 odd key":           {method: "GET", path: "/demo/a b+c%2Fd€!'()*$&,:;=@~_-.", service: "s3"},
		"s3 headers and query": {method: "GET", path: "/demo", query: "list-type=2&prefix=a%2Fb&delimiter=%2F", service: "s3", header: meta},
	}
	for name, m := range tests {
		if m.service == "" {
			m.service = "eks"
		}
		for _, token := range []string{"", "token+with/odd=characters"} {
			m.token = token
			t.Run(name, func(t *testing.T) {
				if err := verify(m.sign(t), testTime); err != nil {
					t.Errorf("signed: %v", err)
				}
				m.expires = "60"
				if err := verify(m.presign(t), testTime); err != nil {
					t.Errorf("presigned: %v", err)
				}
			})
		}
	}
}

// TestQueryOrder checks that the order of parameters does not matter. The SDK's signer sorts them before it sends them.
func TestQueryOrder(t *testing.T) {
	m := message{method: "DELETE", path: "/tags/x", query: "k=b&k=a&k=a%2Fb&k=a-b&a=&B=1", service: "eks", expires: "60"}
	for _, r := range []*http.Request{m.sign(t), m.presign(t)} {
		pairs := strings.Split(r.URL.RawQuery, "&")
		slices.Reverse(pairs)
		r.URL.RawQuery = "&" + strings.Join(pairs, "&&")
		if err := verify(r, testTime); err != nil {
			t.Errorf("%s: %v", r.URL.RawQuery, err)
		}
	}
}

// TestPathsOfTheWire checks paths that the SDK's signer cannot be asked for.
func TestPathsOfTheWire(t *testing.T) {
	tests := []struct{ service, wire, canonical string }{
		{"eks", "/tags/arn%3Aaws%3Aeks%3Aa%2Fb", "/tags/arn%253Aaws%253Aeks%253Aa%252Fb"},
		{"eks", "/a//b/./c/../d", "/a/b/d"},
		{"eks", "/../../a", "/a"},
		{"eks", "/a/%2e%2e/b", "/a/%252e%252e/b"},
		{"s3", "/a%2fb", "/a%2Fb"},
		{"s3", "/a//b/../c", "/a//b/../c"},
		{"s3", "/a(b)%7e$", "/a%28b%29~%24"},
		{"s3", "", "/"},
	}
	for _, tt := range tests {
		r := readRequest(t, "GET http://podid.example.com"+tt.wire+" HTTP/1.1\nHost: podid.example.com\n\n")
		var c canonical
		if !c.request(r, &Signature{Service: tt.service}, "") {
			t.Errorf("%s %s: malformed", tt.service, tt.wire)
		}
		if got := strings.Split(string(c.buf), "\n")[1]; got != tt.canonical {
			t.Errorf("%s %s: got %s, want %s", tt.service, tt.wire, got, tt.canonical)
		}
	}
}

// TestSignedUserAgent checks headers that the SDK's signer leaves out and other clients sign, by signing their canonical request.
func TestSignedUserAgent(t *testing.T) {
	r := readRequest(t, "POST / HTTP/1.1\nHost: podid.example.com\nUser-Agent:  a   b \nX-Amz-Date: 20240131T235959Z\nContent-Length: 2\nExpect: 100-continue\n"+
		"Authorization: AWS4-HMAC-SHA256 Credential="+testKeyID+"/20240131/us-west-2/sts/aws4_request, "+
		"SignedHeaders=content-length;expect;host;user-agent;x-amz-date, Signature="+emptyHash+"\n\nhi")
	s, err := Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	key := DeriveKey(testSecret, s.Date, s.Region, s.Service)
	canonical := "POST\n/\n\ncontent-length:2\nexpect:100-continue\nhost:podid.example.com\nuser-agent:a b\nx-amz-date:20240131T235959Z\n\n" +
		"content-length;expect;host;user-agent;x-amz-date\n" + hashOf("hi")
	s.mac = sum(key[:], []byte("AWS4-HMAC-SHA256\n20240131T235959Z\n20240131/us-west-2/sts/aws4_request\n"+hashOf(canonical)))
	if err := s.Verify(r, key, hashOf("hi"), testTime); err != nil {
		t.Error(err)
	}
}

var (
	anyText = rapid.StringOfN(rapid.RuneFrom([]rune("abXYZ019-_.~ +%/?&=:;,@!$'()*ü€\t")), 0, 12, -1)
	safe    = rapid.StringMatching(`[a-zA-Z0-9 _/=+,.;-]{1,20}`)
)

// drawMessage draws a request that a client may send.
func drawMessage(t *rapid.T) message {
	m := message{
		method:  rapid.SampledFrom([]string{"GET", "PUT", "POST", "DELETE"}).Draw(t, "method"),
		service: rapid.SampledFrom([]string{"s3", "eks", "sts"}).Draw(t, "service"),
		token:   rapid.SampledFrom([]string{"", "token+/="}).Draw(t, "token"),
		body:    anyText.Draw(t, "body"),
		header:  http.Header{"X-Amz-Meta-Always": {"here"}},
		expires: "60",
	}
	for range rapid.IntRange(1, 4).Draw(t, "segments") {
		segment := anyText.Filter(func(s string) bool { return s != "" && s != "." && s != ".." }).Draw(t, "segment")
		if m.service != serviceS3 {
			segment = strings.ReplaceAll(segment, "/", "-")
		}
		m.path += "/" + segment
	}
	values := url.Values{}
	for range rapid.IntRange(0, 4).Draw(t, "parameters") {
		values.Add(anyText.Draw(t, "name"), anyText.Draw(t, "value"))
	}
	m.query = values.Encode()
	for range rapid.IntRange(0, 3).Draw(t, "headers") {
		m.header.Add("X-Amz-Meta-"+rapid.StringMatching(`[A-Z][a-z]{0,5}`).Draw(t, "header"), safe.Draw(t, "header value"))
	}
	return m
}

// TestOneChangeIsRefused signs arbitrary requests with the SDK, which must be accepted, and changes one thing, after which they
// must not be.
func TestOneChangeIsRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		sign := m.sign
		if rapid.Bool().Draw(t, "presigned") {
			sign = m.presign
		}
		r := sign(t)
		if err := verify(r, testTime); err != nil {
			t.Fatalf("%s %s: %v", r.Method, r.RequestURI, err)
		}
		changes := map[string]func(){
			"method":           func() { r.Method = "PATCH" },
			"host":             func() { r.Host += "x" },
			"path":             func() { r.URL.RawPath, r.URL.Path = r.URL.EscapedPath()+"x", r.URL.Path+"x" },
			"parameter":        func() { r.URL.RawQuery = strings.TrimPrefix(r.URL.RawQuery+"&x=", "&") },
			"header value":     func() { r.Header["X-Amz-Meta-Always"] = []string{"there"} },
			"header removed":   func() { r.Header.Del("X-Amz-Meta-Always") },
			"header doubled":   func() { r.Header.Add("X-Amz-Meta-Always", "too") },
			"header smuggled":  func() { r.Header.Set("X-Amz-Acl", "public-read") },
			"token":            func() { r.Header.Set("X-Amz-Security-Token", "other") },
			"second signature": func() { r.Header.Add("Authorization", "AWS4-HMAC-SHA256 x") },
			"hash":             func() { r.Header.Set("X-Amz-Content-Sha256", hashOf("other")) },
		}
		if r.Header.Get("Authorization") != "" || m.service != serviceS3 {
			changes["body"] = func() { r.Body = io.NopCloser(strings.NewReader(m.body + "x")) }
		}
		r = sign(t)
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(changes))).Draw(t, "change")
		changes[name]()
		if err := verify(r, testTime); err == nil {
			t.Fatalf("accepted after a change of the %s", name)
		}
	})
}

// TestOneByteOfThePresignedURL changes any one byte of a presigned URL's path and query.
func TestOneByteOfThePresignedURL(t *testing.T) {
	m := message{method: "GET", path: "/demo/a b", query: "versionId=x", service: "s3", expires: "60", token: "token+/="}
	wire := m.presign(t).RequestURI
	for i := range wire {
		for _, c := range []byte("a0/%&=+;") {
			if wire[i] == c || i == 0 {
				continue
			}
			changed := wire[:i] + string(c) + wire[i+1:]
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + changed + " HTTP/1.1\r\nHost: podid.example.com:7070\r\n\r\n")))
			if err != nil {
				continue
			}
			if verify(r, testTime) == nil {
				t.Errorf("accepted %s\n     for %s", changed, wire)
			}
		}
	}
}
