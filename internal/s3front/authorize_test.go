package s3front

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"
)

// signed makes a request and signs it for the administrator. The body is body, but the signature is for signedBody.
func (s *testServer) signed(t *testing.T, method, path, body, signedBody string, change func(*http.Request)) *http.Request {
	t.Helper()
	sum := sha256.Sum256([]byte(signedBody))
	r := s.request(t, method, path, body)
	r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	if change != nil {
		change(r)
	}
	err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: adminKey, SecretAccessKey: secret}, r,
		r.Header.Get("X-Amz-Content-Sha256"), "s3", region, time.Now(), func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (s *testServer) request(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAuthentication(t *testing.T) {
	s, c := demo(t)
	put(t, c, "k", "x")
	token := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", token) }
	}
	for _, test := range []struct {
		name    string
		request *http.Request
		tamper  func(*http.Request) // after signing
		status  int
		code    string
	}{
		{"good", s.signed(t, "GET", "/demo/k", "", "", nil), nil, 200, ""},
		{"unsigned", s.request(t, "GET", "/demo/k", ""), nil, 403, "AccessDenied"},
		{"unsigned, and no such operation", s.request(t, "PATCH", "/demo/k?acl", ""), nil, 403, "AccessDenied"},
		{"preflight", s.request(t, "OPTIONS", "/demo/k", ""), nil, 403, "AccessDenied"},
		{"garbage", s.request(t, "GET", "/demo/k", ""), func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 garbage")
		}, 400, "AuthorizationHeaderMalformed"},
		{"basic authentication", s.request(t, "GET", "/demo/k", ""), func(r *http.Request) {
			r.SetBasicAuth("a", "b")
		}, 400, "AuthorizationHeaderMalformed"},
		{"path changed", s.signed(t, "GET", "/demo/k", "", "", nil), func(r *http.Request) {
			r.URL.Path = "/demo/j"
		}, 403, "SignatureDoesNotMatch"},
		{"query added", s.signed(t, "GET", "/demo/k", "", "", nil), func(r *http.Request) {
			r.URL.RawQuery = "tagging="
		}, 403, "SignatureDoesNotMatch"},
		{"header added", s.signed(t, "PUT", "/demo/k", "x", "x", nil), func(r *http.Request) {
			r.Header.Set("X-Amz-Copy-Source", "demo/secret")
		}, 400, "AuthorizationHeaderMalformed"},
		{"unknown key", s.signed(t, "GET", "/demo/k", "", "", nil), func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), adminKey, "AKIANOBODYNOBODY1234", 1))
		}, 403, "InvalidAccessKeyId"},
		{"invalid token", s.signed(t, "GET", "/demo/k", "", "", token("bad")), nil, 400, "InvalidToken"},
		{"expired token", s.signed(t, "GET", "/demo/k", "", "", token("expired")), nil, 400, "ExpiredToken"},
		{"nobody knows", s.signed(t, "GET", "/demo/k", "", "", token("down")), nil, 500, "InternalError"},
		{"other service", s.signed(t, "GET", "/demo/k", "", "", nil), func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "/s3/", "/eks/", 1))
		}, 400, "AuthorizationHeaderMalformed"},
		{"no payload hash", s.signed(t, "GET", "/demo/k", "", "", func(r *http.Request) {
			r.Header.Del("X-Amz-Content-Sha256")
		}), nil, 400, "InvalidRequest"},
		{"payload hash is none", s.signed(t, "PUT", "/demo/k", "x", "x", func(r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", "none")
		}), nil, 400, "InvalidArgument"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.tamper != nil {
				test.tamper(test.request)
			}
			resp, e := exchange(t, test.request)
			if resp.StatusCode != test.status || e.Code != test.code {
				t.Errorf("got %d %q (%s), want %d %q", resp.StatusCode, e.Code, e.Message, test.status, test.code)
			}
			if strings.Contains(e.Message, "secret") {
				t.Errorf("an inner error's text is in the answer: %q", e.Message)
			}
			if allowed := resp.Header.Get("Access-Control-Allow-Origin"); allowed != "" {
				t.Errorf("got Access-Control-Allow-Origin %q, want none", allowed)
			}
		})
	}
	if got := get(t, c, "k"); got != "x" {
		t.Errorf("the object became %q", got)
	}
}

func TestSkew(t *testing.T) {
	s, _ := demo(t)
	r := s.signed(t, "GET", "/demo", "", "", nil)
	s.now = time.Now().Add(16 * time.Minute)
	if resp, e := exchange(t, r); resp.StatusCode != 403 || e.Code != "RequestTimeTooSkewed" {
		t.Errorf("got %d %v, want 403 RequestTimeTooSkewed", resp.StatusCode, e)
	}
}

func TestTamperedBody(t *testing.T) {
	s, c := demo(t)
	put(t, c, "k", "old")
	long := strings.Repeat("x", 200_000)
	for _, test := range []struct{ name, body, signed string }{
		{"other body", "hallo", "hello"},
		{"last byte of a long body", long[1:] + "y", long},
		{"empty instead of some", "", "hello"},
		{"some instead of empty", "hello", ""},
	} {
		for _, path := range []string{"/demo/k", "/demo/new", "/demo/k?tagging"} {
			if len(test.body) > maxTagging && path == "/demo/k?tagging" {
				continue // refused unread
			}
			resp, e := exchange(t, s.signed(t, "PUT", path, test.body, test.signed, nil))
			if resp.StatusCode != 400 || e.Code != "XAmzContentSHA256Mismatch" {
				t.Errorf("%s to %s: got %d %v, want 400 XAmzContentSHA256Mismatch", test.name, path, resp.StatusCode, e)
			}
		}
	}
	if got := get(t, c, "k"); got != "old" {
		t.Errorf("the object became %.20q", got)
	}
	if diff := cmp.Diff([]string{"k"}, keys(t, c)); diff != "" {
		t.Error(diff)
	}
	for dir, want := range map[string]int{"tmp": 0, "buckets/demo/bodies": 1} {
		if got := files(t, s.disk, dir); len(got) != want {
			t.Errorf("%s has %q, want %d files", dir, got, want)
		}
	}
}

func TestShortBody(t *testing.T) {
	s, c := demo(t)
	r := s.signed(t, "PUT", "/demo/k", "", "", func(r *http.Request) {
		r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		r.ContentLength = -1 // sent in chunks, without a length
		r.Body = io.NopCloser(strings.NewReader("x"))
	})
	if resp, e := exchange(t, r); resp.StatusCode != 411 || e.Code != "MissingContentLength" {
		t.Errorf("got %d %v, want 411 MissingContentLength", resp.StatusCode, e)
	}
	if got := keys(t, c); len(got) != 0 {
		t.Errorf("got keys %q, want none", got)
	}
}

func TestTooLong(t *testing.T) {
	s := newServer(t, t.TempDir(), func(c *Config) { c.MaxObjectSize = 10 })
	if err := s.EnsureBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{strings.Repeat("x", 10): "", strings.Repeat("x", 11): "EntityTooLarge"} {
		if _, e := exchange(t, s.signed(t, "PUT", "/demo/k", body, body, nil)); e.Code != want {
			t.Errorf("%d bytes: got %q, want %q", len(body), e.Code, want)
		}
	}
	huge := s.signed(t, "POST", "/demo?delete", "", "", func(r *http.Request) {
		r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		r.ContentLength = 11 << 20
		r.Body = io.NopCloser(io.LimitReader(zeros{}, r.ContentLength))
	})
	if _, e := exchange(t, huge); e.Code != "MaxMessageLengthExceeded" {
		t.Errorf("document of 11 MiB: got %q, want MaxMessageLengthExceeded", e.Code)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestPresigned(t *testing.T) {
	s, c := demo(t)
	put(t, c, "ü +%2F", "body")
	p := s3.NewPresignClient(c)
	url, err := p.PresignGetObject(t.Context(), &s3.GetObjectInput{
		Bucket: aws.String("demo"), Key: aws.String("ü +%2F"), ResponseContentType: aws.String("text/x-test"),
	}, s3.WithPresignExpires(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	fetch := func(url string) (*http.Response, s3Error) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		return exchange(t, r)
	}
	if resp, _ := fetch(url.URL); resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/x-test" {
		t.Errorf("got %d, type %q; want 200, text/x-test", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	if _, e := fetch(strings.Replace(url.URL, "text%2Fx-test", "text%2Fhtml", 1)); e.Code != "SignatureDoesNotMatch" {
		t.Errorf("changed URL: got %q, want SignatureDoesNotMatch", e.Code)
	}
	s.now = time.Now().Add(2 * time.Minute)
	if resp, e := fetch(url.URL); resp.StatusCode != 403 || e.Code != "AccessDenied" || e.Message != "Request has expired" {
		t.Errorf("later: got %d %v, want 403 AccessDenied, Request has expired", resp.StatusCode, e)
	}
	s.now = time.Time{}

	// What a presigned URL carries instead of a header counts like the header.
	upload, err := p.PresignPutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("demo"), Key: aws.String("up"), ACL: types.ObjectCannedACLPublicRead,
	})
	if err != nil {
		t.Fatal(err)
	}
	r, _ := http.NewRequestWithContext(t.Context(), "PUT", upload.URL, strings.NewReader("x"))
	for name, values := range upload.SignedHeader {
		if name != "Host" && name != "Content-Length" {
			r.Header[name] = values
		}
	}
	if resp, e := exchange(t, r); e.Code != "AccessControlListNotSupported" {
		t.Errorf("public upload: got %d %v, want AccessControlListNotSupported", resp.StatusCode, e)
	}
}

func TestDenied(t *testing.T) {
	s, admin := demo(t)
	for _, key := range []string{"k", "open/a", "closed/a"} {
		put(t, admin, key, "x")
	}
	var asked []string
	s.allow = func(action, resource string, keys map[string]string) bool {
		asked = append(asked, action+" "+resource)
		return false
	}
	c := s.client(limitKey)
	bucket, key := aws.String("demo"), aws.String("k")
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("changed")})
	want := `User: arn:aws:iam::111122223333:user/limited is not authorized to perform: s3:PutObject on resource: ` +
		`"arn:aws:s3:::demo/k" because no identity-based policy allows the s3:PutObject action`
	if code(err) != "AccessDenied" || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want AccessDenied: %s", err, want)
	}
	for name, call := range map[string]func() error{
		"s3:GetObject arn:aws:s3:::demo/k": func() error {
			_, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key})
			return err
		},
		"s3:GetObject arn:aws:s3:::demo/other": func() error {
			_, err := c.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: bucket, Key: key, CopySource: aws.String("/demo/other")})
			return err
		},
		"s3:DeleteObject arn:aws:s3:::demo/k": func() error {
			_, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: key})
			return err
		},
		"s3:ListBucket arn:aws:s3:::demo": func() error {
			_, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: bucket})
			return err
		},
		"s3:ListAllMyBuckets *": func() error {
			_, err := c.ListBuckets(t.Context(), nil)
			return err
		},
		"s3:CreateBucket arn:aws:s3:::other": func() error {
			_, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("other")})
			return err
		},
		"s3:DeleteBucket arn:aws:s3:::demo": func() error {
			_, err := c.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: bucket})
			return err
		},
		"s3:PutObject arn:aws:s3:::demo/k": func() error {
			_, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
			return err
		},
		"s3:PutObjectTagging arn:aws:s3:::demo/k": func() error {
			_, err := c.PutObjectTagging(t.Context(), &s3.PutObjectTaggingInput{
				Bucket: bucket, Key: key, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}},
			})
			return err
		},
	} {
		asked = nil
		s.allow = func(action, resource string, keys map[string]string) bool {
			asked = append(asked, action+" "+resource)
			return action+" "+resource != name // all but this
		}
		if err := call(); code(err) != "AccessDenied" {
			t.Errorf("%s: got %v, want AccessDenied (asked %q)", name, err, asked)
		}
	}
	if got := get(t, admin, "k"); got != "x" {
		t.Errorf("the object became %q", got)
	}
	s.allow = nil
	_, err = c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: key})
	if code(err) != "Forbidden" {
		t.Errorf("head: got %v, want Forbidden", err)
	}
}

func TestDeleteObjects(t *testing.T) {
	s, admin := demo(t)
	for _, key := range []string{"open/a", "open/b", "closed/a"} {
		put(t, admin, key, "x")
	}
	s.allow = func(action, resource string, _ map[string]string) bool {
		return action == "s3:DeleteObject" && strings.HasPrefix(resource, "arn:aws:s3:::demo/open/")
	}
	out, err := s.client(limitKey).DeleteObjects(t.Context(), &s3.DeleteObjectsInput{
		Bucket: aws.String("demo"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{
			{Key: aws.String("open/a")}, {Key: aws.String("closed/a")}, {Key: aws.String("open/never")},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Deleted) != 2 || len(out.Errors) != 1 || *out.Errors[0].Key != "closed/a" || *out.Errors[0].Code != "AccessDenied" {
		t.Errorf("got %v and errors %v, want open/a and open/never deleted, closed/a denied", out.Deleted, out.Errors)
	}
	if diff := cmp.Diff([]string{"closed/a", "open/b"}, keys(t, admin)); diff != "" {
		t.Error(diff)
	}
}

func TestMissingKey(t *testing.T) {
	s, _ := demo(t)
	c := s.client(limitKey)
	in := &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("missing")}
	mayList := false
	s.allow = func(action, resource string, _ map[string]string) bool {
		return action == "s3:GetObject" || mayList && action == "s3:ListBucket" && resource == "arn:aws:s3:::demo"
	}
	if _, err := c.GetObject(t.Context(), in); code(err) != "AccessDenied" {
		t.Errorf("without s3:ListBucket: got %v, want AccessDenied", err)
	}
	mayList = true
	if _, err := c.GetObject(t.Context(), in); code(err) != "NoSuchKey" {
		t.Errorf("with s3:ListBucket: got %v, want NoSuchKey", err)
	}
	in.Bucket = aws.String("no-such-bucket")
	if _, err := c.GetObject(t.Context(), in); code(err) != "NoSuchBucket" {
		t.Errorf("no bucket: got %v, want NoSuchBucket", err)
	}
}

func TestConditions(t *testing.T) {
	s, admin := demo(t)
	_, err := admin.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("demo"), Key: aws.String("k"), Body: strings.NewReader("x"), Tagging: aws.String("team=carts"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	s.allow = func(_, _ string, keys map[string]string) bool { got = keys; return true }
	c := s.client(limitKey)
	check := func(name string, err error, want map[string]string) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for key, value := range want {
			if got[key] != value {
				t.Errorf("%s: got %s = %q, want %q", name, key, got[key], value)
			}
		}
	}
	_, err = c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{
		Bucket: aws.String("demo"), Prefix: aws.String("home/"), Delimiter: aws.String("/"), MaxKeys: aws.Int32(7),
	})
	check("list", err, map[string]string{
		"s3:prefix": "home/", "s3:delimiter": "/", "s3:max-keys": "7", "s3:authType": "REST-HEADER", "s3:ResourceAccount": account,
	})
	_, err = c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("demo")})
	check("list all", err, nil)
	if _, ok := got["s3:prefix"]; ok {
		t.Error("list all: s3:prefix is there, want it absent")
	}
	_, err = c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")})
	check("get", err, map[string]string{"s3:ExistingObjectTag/team": "carts"})
	_, err = c.PutObjectTagging(t.Context(), &s3.PutObjectTaggingInput{
		Bucket: aws.String("demo"), Key: aws.String("k"),
		Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("team"), Value: aws.String("shop")}}},
	})
	check("tag", err, map[string]string{"s3:RequestObjectTag/team": "shop", "s3:ExistingObjectTag/team": "carts"})
	_, err = c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")})
	check("get again", err, map[string]string{"s3:ExistingObjectTag/team": "shop"})

	var asked []string
	s.allow = func(action, resource string, _ map[string]string) bool {
		asked = append(asked, action+" "+resource)
		return true
	}
	_, err = c.CopyObject(t.Context(), &s3.CopyObjectInput{
		Bucket: aws.String("demo"), Key: aws.String("to"), CopySource: aws.String("demo/k"),
	})
	if err != nil {
		t.Error(err)
	}
	want := []string{
		"s3:PutObject arn:aws:s3:::demo/to", "s3:GetObject arn:aws:s3:::demo/k",
		"s3:GetObjectTagging arn:aws:s3:::demo/k", "s3:PutObjectTagging arn:aws:s3:::demo/to",
	}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("copying a tagged object: %s", diff)
	}
}

func TestAuthorizeFault(t *testing.T) {
	s, c := demo(t)
	put(t, c, "k", "x")
	s.fault = errors.New("policies are not loaded")
	resp, e := exchange(t, s.signed(t, "GET", "/demo/k", "", "", nil))
	if resp.StatusCode != 500 || e.Code != "InternalError" || strings.Contains(e.Message, "policies") {
		t.Errorf("got %d %v, want 500 InternalError without the reason", resp.StatusCode, e)
	}
}

// TestRefused sends what is not served. None of it may do anything, whoever asks.
func TestRefused(t *testing.T) {
	s, c := demo(t)
	put(t, c, "k", "x")
	for _, test := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"PUT", "/demo/k?acl", 501, "NotImplemented"},
		{"PUT", "/demo/k?restore", 501, "NotImplemented"},
		{"PUT", "/demo/k?something-new=1", 501, "NotImplemented"},
		{"PUT", "/demo/k?uploadId=1", 501, "NotImplemented"},
		{"PUT", "/demo/k?X-Amz-Acl=public-read", 501, "NotImplemented"},
		{"DELETE", "/demo?location", 501, "NotImplemented"},
		{"DELETE", "/demo/k?uploads", 501, "NotImplemented"},
		{"POST", "/demo?policy", 501, "NotImplemented"},
		{"GET", "/demo?policy=x&prefix=a", 501, "NotImplemented"},
		{"GET", "/demo/k?policy", 501, "NotImplemented"},
		{"GET", "/demo/k?list-type=2", 501, "NotImplemented"},
		{"PUT", "/demo?versioning", 501, "NotImplemented"},
		{"POST", "/demo", 501, "NotImplemented"},
		{"POST", "/demo/k", 501, "NotImplemented"},
		{"PATCH", "/demo/k", 405, "MethodNotAllowed"},
		{"OPTIONS", "/demo/k", 405, "MethodNotAllowed"},
		{"DELETE", "/", 405, "MethodNotAllowed"},
		{"GET", "/demo/k?versionId=3", 404, "NoSuchVersion"},
		{"DELETE", "/demo/k?versionId=3", 404, "NoSuchVersion"},
		{"GET", "/demo?prefix=a&prefix=b", 400, "InvalidArgument"},
		{"GET", "//demo/k", 400, "InvalidBucketName"},
		{"GET", "/demo%2Fk", 400, "InvalidBucketName"},
		{"GET", "/De_mo", 400, "InvalidBucketName"},
		{"PUT", "/demo/%FF", 400, "InvalidURI"},
		{"PUT", "/demo/k?tagging", 400, "MalformedXML"},
		{"POST", "/demo?delete", 400, "MalformedXML"},
	} {
		resp, e := exchange(t, s.signed(t, test.method, test.path, "<x", "<x", nil))
		if resp.StatusCode != test.status || e.Code != test.code {
			t.Errorf("%s %s: got %d %q (%s), want %d %q", test.method, test.path, resp.StatusCode, e.Code, e.Message, test.status, test.code)
		}
	}
	if got := get(t, c, "k"); got != "x" {
		t.Errorf("the object became %q", got)
	}
	if diff := cmp.Diff([]string{"k"}, keys(t, c)); diff != "" {
		t.Error(diff)
	}
}

// TestChunked sends bodies in AWS's framing that are broken in ways an SDK does not produce.
func TestChunked(t *testing.T) {
	s, c := demo(t)
	put(t, c, "k", "old")
	for _, test := range []struct{ name, body, length, code string }{
		{"good", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "5", ""},
		{"wrong checksum", "5\r\nhallo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "5", "BadDigest"},
		{"wrong checksum of nothing", "0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "0", "BadDigest"},
		{"no trailer", "5\r\nhello\r\n0\r\n\r\n", "5", "IncompleteBody"},
		{"short", "5\r\nhel", "5", "IncompleteBody"},
		{"longer than said", "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", "4", "IncompleteBody"},
		{"not framed", "hello", "5", "IncompleteBody"},
		{"no length", "5\r\nhello\r\n0\r\n\r\n", "", "InvalidRequest"},
		{"length over the limit", "5\r\nhello\r\n0\r\n\r\n", strconv.FormatInt(maxObjectSize+1, 10), "EntityTooLarge"},
	} {
		r := s.signed(t, "PUT", "/demo/k", test.body, "", func(r *http.Request) {
			r.Header.Set("X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
			r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
			r.Header.Set("Content-Encoding", "aws-chunked")
			if test.length != "" {
				r.Header.Set("X-Amz-Decoded-Content-Length", test.length)
			}
		})
		if resp, e := exchange(t, r); e.Code != test.code {
			t.Errorf("%s: got %d %q (%s), want %q", test.name, resp.StatusCode, e.Code, e.Message, test.code)
		}
		if got := get(t, c, "k"); got != "hello" {
			t.Errorf("%s: the object became %q", test.name, got)
		}
	}
	out, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("demo"), Key: aws.String("k")})
	if err != nil || aws.ToString(out.ContentEncoding) != "" {
		t.Errorf("got encoding %q, %v; want none", aws.ToString(out.ContentEncoding), err)
	}
}
