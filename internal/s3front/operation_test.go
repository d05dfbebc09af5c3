package s3front

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/rclone/gofakes3"
)

// TestOperations makes sure that no request can be two operations, and that each one asks for some permission.
func TestOperations(t *testing.T) {
	for i := range operations {
		op := &operations[i]
		if len(op.actions) == 0 && op.name != "DeleteObjects" {
			t.Errorf("%s needs no permission", op.name)
		}
		query := make(url.Values)
		for _, name := range op.needs {
			query.Set(name, "")
		}
		for j := range operations {
			other := &operations[j]
			if i != j && other.on == op.on && other.method == op.method && other.copies == op.copies && other.matches(query) {
				t.Errorf("a request for %s %q is also one for %s %q", op.name, op.needs, other.name, other.needs)
			}
		}
	}
}

// TestMisunderstood has requests that an SDK's signer would not leave as they are.
func TestMisunderstood(t *testing.T) {
	for target, code := range map[string]string{
		"/%2e%2e/k":                  "InvalidBucketName",
		"/demo/%ff":                  "InvalidURI",
		"/demo?prefix=a;b":           "InvalidURI",
		"/demo?prefix=%zz":           "InvalidURI",
		"/demo?prefix=a&prefix=a":    "InvalidArgument",
		"/demo?X-Amz-Signature=1":    "NotImplemented",
		"/demo?PREFIX=a":             "NotImplemented",
		"/demo/k?x-amz-meta-team=it": "NotImplemented",
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://s3.example.com"+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, refused := understand(r, false); refused == nil || refused.Code != code {
			t.Errorf("%s: got %v, want %s", target, refused, code)
		}
	}
}

// TestHoisted makes sure that what a presigned URL carries in place of a header counts like the header.
func TestHoisted(t *testing.T) {
	const target = "http://s3.example.com/demo/to?X-Amz-Signature=0&X-Amz-Copy-Source=demo%2Ffrom&x-amz-acl=public-read&x-id=CopyObject"
	r, err := http.NewRequestWithContext(t.Context(), "PUT", target, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, refused := understand(r, true)
	if refused != nil {
		t.Fatal(refused)
	}
	if c.op.name != "CopyObject" || *c.source != (source{"demo", "from"}) || !c.grants() {
		t.Errorf("got %s of %v, grants %v; want CopyObject of demo/from that grants", c.op.name, c.source, c.grants())
	}
	r.Header.Set("X-Amz-Copy-Source", "demo/other")
	if _, refused := understand(r, true); refused == nil || refused.Code != "InvalidArgument" {
		t.Errorf("header and parameter: got %v, want InvalidArgument", refused)
	}
}

// FuzzUnderstand checks that whatever was understood names one bucket and one key that are what they should be, and that
// gofakes3 would read the request that is made of it in the same way.
func FuzzUnderstand(f *testing.F) {
	f.Add("GET", "/demo/a//../%2F", "partNumber=1", "", false)
	f.Add("PUT", "/demo/k", "uploadId=1&partNumber=2", "/demo/%C3%BC+x?versionId=null", false)
	f.Add("GET", "//demo", "list-type=2&prefix=%2F", "", false)
	f.Add("PUT", "/demo/k", "X-Amz-Copy-Source=demo%2Fk&X-Amz-Signature=00", "", true)
	f.Fuzz(func(t *testing.T, method, path, query, source string, presigned bool) {
		u, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		u.RawQuery = query
		r := &http.Request{Method: method, URL: u, Header: make(http.Header)}
		if source != "" {
			r.Header.Set("X-Amz-Copy-Source", source)
		}
		c, refused := understand(r, presigned)
		if refused != nil {
			return
		}
		if (c.op.on == onService) != (c.bucket == "") || (c.op.on == onObject) != (c.key != "") {
			t.Errorf("%s on bucket %q, key %q", c.op.name, c.bucket, c.key)
		}
		if c.bucket != "" && gofakes3.ValidateBucketName(c.bucket) != nil {
			t.Errorf("bucket %q", c.bucket)
		}
		next := c.request(r, &body{})
		bucket, key, _ := strings.Cut(strings.TrimLeft(next.URL.Path, "/"), "/") // as gofakes3 does
		if bucket != c.bucket || key != c.key {
			t.Errorf("gofakes3 reads %q, %q; want %q, %q", bucket, key, c.bucket, c.key)
		}
		if c.op.copies {
			again, refused := parseSource(next.Header.Get("X-Amz-Copy-Source"))
			if refused != nil || *again != *c.source {
				t.Errorf("gofakes3 reads source %v, want %v", again, c.source)
			}
		} else if next.Header.Get("X-Amz-Copy-Source") != "" {
			t.Errorf("%s passes on a copy source", c.op.name)
		}
		for name := range next.URL.Query() {
			if strings.HasPrefix(strings.ToLower(name), "x-amz-") {
				t.Errorf("passes on the parameter %s", name)
			}
		}
	})
}
