package s3front

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/sigv4"
)

const (
	account = "111122223333"
	region  = "us-west-2"
	secret  = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

	adminKey = "AKIAADMINADMINADMIN1" // may do everything
	limitKey = "AKIALIMITLIMITLIMIT1" // may do what the test says
	farKey   = "AKIAFARFARFARFARFAR1" // may do everything, and is of another account
)

// allow is what the limited caller may do: it returns false for what it may not.
type allow func(action, resource string, keys map[string]string) bool

// testServer is a front on a real listener, with two static access keys.
type testServer struct {
	*Handler
	url string
	now time.Time // what the server's clock shows; zero for the real one
	// allow is asked for the limited caller; nil allows nothing.
	allow allow
	// policy is that of the bucket as Authorize was last given it.
	policy atomic.Pointer[policy.Named]
	// asked counts the calls of Authorize.
	asked atomic.Int64
	// fault is what Authorize fails with, if anything.
	fault error
}

func newServer(t *testing.T, dir string, change func(*Config)) *testServer {
	t.Helper()
	s := new(testServer)
	cfg := Config{
		Dir: dir, Region: region, AccountID: account,
		Now: func() time.Time {
			if s.now.IsZero() {
				return time.Now()
			}
			return s.now
		},
		Resolve: func(_ context.Context, sig *sigv4.Signature) (*identity.Caller, sigv4.Key, error) {
			switch {
			case !slices.Contains([]string{adminKey, limitKey, farKey}, sig.AccessKeyID):
				return nil, sigv4.Key{}, fmt.Errorf("looking up the key: %w", ErrUnknownKey)
			case sig.SecurityToken.Reveal() == "expired":
				return nil, sigv4.Key{}, ErrExpiredToken
			case sig.SecurityToken.Reveal() == "down":
				return nil, sigv4.Key{}, errors.New("store is down, secret detail")
			case sig.SecurityToken != "":
				return nil, sigv4.Key{}, ErrInvalidToken
			}
			caller := &identity.Caller{ARN: "arn:aws:iam::" + account + ":user/limited", AccountID: account, AccessKeyID: sig.AccessKeyID}
			if sig.AccessKeyID == farKey {
				caller.AccountID = "444455556666"
			}
			return caller, sigv4.DeriveKey(secret, sig.Date, sig.Region, sig.Service), nil
		},
		Authorize: func(_ context.Context, caller *identity.Caller, _ *http.Request, need Access) (string, error) {
			action, resource, keys := need.Action, need.Resource, need.Keys
			s.asked.Add(1)
			if s.fault != nil {
				return "", s.fault
			}
			s.policy.Store(need.Policy)
			if caller.AccessKeyID != limitKey || s.allow != nil && s.allow(action, resource, keys) {
				return "", nil
			}
			return fmt.Sprintf("User: %s is not authorized to perform: %s on resource: %q because no identity-based policy allows the %s action",
				caller.ARN, action, resource, action), nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(h)
	t.Cleanup(func() {
		ts.Close()
		h.Close()
	})
	s.Handler, s.url = h, ts.URL
	return s
}

func (s *testServer) client(keyID string, options ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{
		Region: region, BaseEndpoint: &s.url, UsePathStyle: true, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, ""),
	}, options...)
}

// demo returns a server that has the bucket demo, and an administrator's client.
func demo(t *testing.T) (*testServer, *s3.Client) {
	t.Helper()
	s := newServer(t, t.TempDir(), nil)
	if err := s.EnsureBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	return s, s.client(adminKey)
}

func put(t *testing.T, c *s3.Client, key, body string) {
	t.Helper()
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("demo"), Key: &key, Body: strings.NewReader(body)})
	if err != nil {
		t.Fatalf("putting %q: %v", key, err)
	}
}

func get(t *testing.T, c *s3.Client, key string) string {
	t.Helper()
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: &key})
	if err != nil {
		t.Fatalf("getting %q: %v", key, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatalf("reading %q: %v", key, err)
	}
	return string(body)
}

func keys(t *testing.T, c *s3.Client) []string {
	t.Helper()
	var names []string
	p := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: aws.String("demo")})
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			names = append(names, *o.Key)
		}
	}
	return names
}

// code is the error code that a client got, or "" for none.
func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	if err != nil {
		return "not an API error: " + err.Error()
	}
	return ""
}

func TestPutGetDelete(t *testing.T) {
	_, c := demo(t)
	odd := []string{
		"plain.txt", "a//b", "/leading", "//", "../x", "a/../../b", ".", "..", "ü +%2F", "a b+c", "日本語/ファイル", "q?x=1&y#z",
		"tab\there", strings.Repeat("k", 1024), strings.Repeat("a/", 512), "%00", "*", "~!@$^()_=[]{}|;:',<>",
	}
	for i, key := range odd {
		put(t, c, key, fmt.Sprint("body of ", i))
	}
	for i, key := range odd {
		if got, want := get(t, c, key), fmt.Sprint("body of ", i); got != want {
			t.Errorf("%q: got body %q, want %q", key, got, want)
		}
	}
	if got := len(keys(t, c)); got != len(odd) {
		t.Errorf("got %d keys, want %d", got, len(odd))
	}
	for _, key := range odd {
		if _, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("demo"), Key: &key}); err != nil {
			t.Errorf("deleting %q: %v", key, err)
		}
	}
	if got := keys(t, c); len(got) != 0 {
		t.Errorf("got keys %q after deleting all", got)
	}
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("demo"), Key: aws.String(strings.Repeat("k", 1025)), Body: strings.NewReader("x"),
	})
	if code(err) != "KeyTooLongError" {
		t.Errorf("key of 1025 bytes: got %v, want KeyTooLongError", err)
	}
}

func TestObjectHeaders(t *testing.T) {
	_, c := demo(t)
	_, err := c.PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("demo"), Key: aws.String("k"), Body: strings.NewReader("hello"),
		ContentType: aws.String("text/markdown"), Metadata: map[string]string{"team": "carts"}, Tagging: aws.String("env=dev"),
		ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{
		Bucket: aws.String("demo"), Key: aws.String("k"), ChecksumMode: types.ChecksumModeEnabled,
	})
	if err != nil {
		t.Fatal(err)
	}
	type facts struct {
		Size               int64
		Type, ETag, SHA256 string
		Metadata           map[string]string
		Recent             bool
	}
	got := facts{
		*out.ContentLength, *out.ContentType, *out.ETag, aws.ToString(out.ChecksumSHA256), out.Metadata,
		time.Since(*out.LastModified) < time.Hour,
	}
	want := facts{
		5, "text/markdown", `"5d41402abc4b2a76b9719d911017c592"`, "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
		map[string]string{"team": "carts"}, true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	tags, err := c.GetObjectTagging(t.Context(), &s3.GetObjectTaggingInput{Bucket: aws.String("demo"), Key: aws.String("k")})
	if err != nil || len(tags.TagSet) != 1 || *tags.TagSet[0].Key != "env" {
		t.Errorf("got tags %v, %v; want env=dev", tags, err)
	}
}

func TestRange(t *testing.T) {
	_, c := demo(t)
	put(t, c, "k", "0123456789")
	for _, test := range []struct{ ask, body, header string }{
		{"bytes=2-4", "234", "bytes 2-4/10"},
		{"bytes=7-", "789", "bytes 7-9/10"},
		{"bytes=-3", "789", "bytes 7-9/10"},
		{"bytes=8-99", "89", "bytes 8-9/10"},
	} {
		out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: aws.String("k"), Range: &test.ask})
		if err != nil {
			t.Errorf("%s: %v", test.ask, err)
			continue
		}
		body, _ := io.ReadAll(out.Body)
		out.Body.Close()
		if string(body) != test.body || aws.ToString(out.ContentRange) != test.header {
			t.Errorf("%s: got %q, %q; want %q, %q", test.ask, body, aws.ToString(out.ContentRange), test.body, test.header)
		}
	}
	_, err := c.GetObject(t.Context(), &s3.GetObjectInput{
		Bucket: aws.String("demo"), Key: aws.String("k"), Range: aws.String("bytes=10-"),
	})
	if code(err) != "InvalidRange" {
		t.Errorf("beyond the end: got %v, want InvalidRange", err)
	}
}

func TestUploads(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 20_000)
	for name, option := range map[string]func(*s3.Options){
		"signed payload":   func(*s3.Options) {},
		"unsigned payload": s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware),
		"no checksum": func(o *s3.Options) {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := demo(t)
			c := s.client(adminKey, option)
			put(t, c, "k", body)
			put(t, c, "empty", "")
			if got := get(t, c, "k"); got != body {
				t.Errorf("got %d bytes, want %d", len(got), len(body))
			}
			if got := get(t, c, "empty"); got != "" {
				t.Errorf("got %q, want nothing", got)
			}
		})
	}
}

func TestUnseekableBody(t *testing.T) {
	s := newServer(t, t.TempDir(), nil)
	if err := s.EnsureBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewTLSServer(s.Handler) // a body that cannot be read twice is only sent with a trailer, and only over TLS
	defer ts.Close()
	c := s3.New(s3.Options{
		Region: region, BaseEndpoint: &ts.URL, UsePathStyle: true, HTTPClient: ts.Client(), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(adminKey, secret, ""),
	})
	for _, body := range []string{"", "x", strings.Repeat("y", 300_000)} {
		_, err := c.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("demo"), Key: aws.String("k"), Body: io.MultiReader(strings.NewReader(body)),
			ContentLength: aws.Int64(int64(len(body))),
		})
		if err != nil {
			t.Fatalf("%d bytes: %v", len(body), err)
		}
		if got := get(t, c, "k"); got != body {
			t.Errorf("got %d bytes, want %d", len(got), len(body))
		}
	}
}

func TestMultipart(t *testing.T) {
	s, c := demo(t)
	bucket, key := aws.String("demo"), aws.String("big")
	start, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{
		Bucket: bucket, Key: key, ContentType: aws.String("text/plain"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var done []types.CompletedPart
	for i, body := range []string{"first ", "second ", "third"} {
		number := aws.Int32(int32(i + 1))
		part, err := c.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: bucket, Key: key, UploadId: start.UploadId, PartNumber: number, Body: strings.NewReader(body),
		})
		if err != nil {
			t.Fatal(err)
		}
		done = append(done, types.CompletedPart{ETag: part.ETag, PartNumber: number})
	}
	complete := func(parts ...types.CompletedPart) error {
		_, err := c.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
			Bucket: bucket, Key: key, UploadId: start.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		return err
	}
	if err := complete(done[1], done[0]); code(err) != "InvalidPartOrder" {
		t.Errorf("wrong order: got %v, want InvalidPartOrder", err)
	}
	wrong := types.CompletedPart{ETag: aws.String(`"00"`), PartNumber: aws.Int32(1)}
	if err := complete(wrong); code(err) != "InvalidPart" {
		t.Errorf("wrong ETag: got %v, want InvalidPart", err)
	}
	parts, err := c.ListParts(t.Context(), &s3.ListPartsInput{Bucket: bucket, Key: key, UploadId: start.UploadId})
	if err != nil || len(parts.Parts) != 3 {
		t.Errorf("got parts %v, %v; want 3", parts, err)
	}
	_, err = c.ListParts(t.Context(), &s3.ListPartsInput{
		Bucket: bucket, Key: key, UploadId: start.UploadId, PartNumberMarker: aws.String("9000"),
	})
	if err != nil && code(err) != "InternalError" {
		t.Errorf("marker beyond the parts: got %v, want an answer", err)
	}
	if got := keys(t, c); len(got) != 0 {
		t.Errorf("got keys %q before completion, want none", got)
	}
	if err := complete(done...); err != nil {
		t.Fatal(err)
	}
	if got, want := get(t, c, "big"), "first second third"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if left := files(t, s.disk, "tmp"); len(left) != 0 {
		t.Errorf("left in tmp: %q", left)
	}
}

func TestAbortMultipart(t *testing.T) {
	s, c := demo(t)
	bucket, key := aws.String("demo"), aws.String("big")
	start, err := c.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	part := &s3.UploadPartInput{
		Bucket: bucket, Key: key, UploadId: start.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("x"),
	}
	if _, err := c.UploadPart(t.Context(), part); err != nil {
		t.Fatal(err)
	}
	_, err = c.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: bucket, Key: key, UploadId: start.UploadId})
	if err != nil {
		t.Fatal(err)
	}
	part.Body = strings.NewReader("y")
	if _, err := c.UploadPart(t.Context(), part); code(err) != "NoSuchUpload" {
		t.Errorf("part of an aborted upload: got %v, want NoSuchUpload", err)
	}
	if left := files(t, s.disk, "tmp"); len(left) != 0 {
		t.Errorf("left in tmp: %q", left)
	}
}

func TestCopy(t *testing.T) {
	_, c := demo(t)
	put(t, c, "from/ü +%2F", "copied")
	_, err := c.CopyObject(t.Context(), &s3.CopyObjectInput{
		Bucket: aws.String("demo"), Key: aws.String("to"), CopySource: aws.String("demo/from/%C3%BC%20%2B%252F"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := get(t, c, "to"); got != "copied" {
		t.Errorf("got %q, want copied", got)
	}
}

func TestBuckets(t *testing.T) {
	_, c := demo(t)
	if _, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("second.bucket")}); err != nil {
		t.Fatal(err)
	}
	_, err := c.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("demo")})
	if code(err) != "BucketAlreadyOwnedByYou" {
		t.Errorf("second creation: got %v, want BucketAlreadyOwnedByYou", err)
	}
	list, err := c.ListBuckets(t.Context(), nil)
	if err != nil || len(list.Buckets) != 2 || *list.Buckets[0].Name != "demo" {
		t.Errorf("got buckets %v, %v; want demo and second.bucket", list, err)
	}
	where, err := c.GetBucketLocation(t.Context(), &s3.GetBucketLocationInput{Bucket: aws.String("demo")})
	if err != nil || string(where.LocationConstraint) != region {
		t.Errorf("got location %v, %v; want %s", where, err, region)
	}
	head, err := c.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("demo")})
	if err != nil || aws.ToString(head.BucketRegion) != region {
		t.Errorf("got %v, %v; want region %s", head, err, region)
	}
	put(t, c, "k", "x")
	if _, err := c.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String("demo")}); code(err) != "BucketNotEmpty" {
		t.Errorf("deleting a full bucket: got %v, want BucketNotEmpty", err)
	}
	if _, err := c.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: aws.String("second.bucket")}); err != nil {
		t.Error(err)
	}
	_, err = c.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("second.bucket")})
	if code(err) != "NotFound" {
		t.Errorf("head of a deleted bucket: got %v, want NotFound", err)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s := newServer(t, dir, nil)
	if err := s.EnsureBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "demo", "seed.md", "text/markdown", []byte("# seed")); err != nil {
		t.Fatal(err)
	}
	c := s.client(adminKey)
	put(t, c, "a//../b", "old")
	put(t, c, "a//../b", "new")
	put(t, c, "gone", "x")
	if _, err := c.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("demo"), Key: aws.String("gone")}); err != nil {
		t.Fatal(err)
	}
	before, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("demo"), Key: aws.String("seed.md")})
	if err != nil {
		t.Fatal(err)
	}

	again := newServer(t, dir, nil)
	if err := again.EnsureBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	c = again.client(adminKey)
	if diff := cmp.Diff([]string{"a//../b", "seed.md"}, keys(t, c)); diff != "" {
		t.Error(diff)
	}
	if got := get(t, c, "a//../b"); got != "new" {
		t.Errorf("got %q, want new", got)
	}
	after, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("demo"), Key: aws.String("seed.md")})
	if err != nil {
		t.Fatal(err)
	}
	if *after.ETag != *before.ETag || !after.LastModified.Equal(*before.LastModified) || *after.ContentType != "text/markdown" {
		t.Errorf("got %v, want %v", after, before)
	}
}

// s3Error is an error as S3 words it.
type s3Error struct {
	Code, Message, RequestId string
}

// exchange sends a request as it is and returns the answer and the error that it carries.
func exchange(t *testing.T, r *http.Request) (*http.Response, s3Error) {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e s3Error
	if resp.StatusCode >= 300 && len(body) > 0 {
		if err := xml.NewDecoder(bytes.NewReader(body)).Decode(&e); err != nil {
			t.Errorf("answer %q is not S3's XML: %v", body, err)
		}
		if e.RequestId == "" || e.RequestId != resp.Header.Get("x-amz-request-id") {
			t.Errorf("got request id %q in the body, %q in the header", e.RequestId, resp.Header.Get("x-amz-request-id"))
		}
	}
	return resp, e
}
