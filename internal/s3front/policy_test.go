package s3front

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// reads lets somebody read the bucket demo, and has spaces that must come back.
const reads = `{ "Version": "2012-10-17", "Statement": {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/limited"},
	"Action":"s3:GetObject","Resource":"arn:aws:s3:::demo/*"}}`

func putPolicy(t *testing.T, c *s3.Client, bucket, text string) error {
	t.Helper()
	_, err := c.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &text})
	return err
}

// getPolicy returns the policy of the bucket demo, or the error's code.
func getPolicy(t *testing.T, c *s3.Client) string {
	t.Helper()
	out, err := c.GetBucketPolicy(t.Context(), &s3.GetBucketPolicyInput{Bucket: aws.String("demo")})
	if err != nil {
		return code(err)
	}
	return *out.Policy
}

func TestBucketPolicy(t *testing.T) {
	dir := t.TempDir()
	s := newServer(t, dir, nil)
	if err := s.EnsureBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	c := s.client(adminKey)
	if got := getPolicy(t, c); got != "NoSuchBucketPolicy" {
		t.Errorf("before there is one: got %s, want NoSuchBucketPolicy", got)
	}
	put(t, c, "k", "x")
	if got := s.policy.Load(); got != nil {
		t.Errorf("judged by %v, want no policy", got)
	}
	if err := putPolicy(t, c, "demo", reads); err != nil {
		t.Fatal(err)
	}
	if got := getPolicy(t, c); got != reads {
		t.Errorf("got %s, want the text as it was put", got)
	}
	get(t, c, "k")
	if got := s.policy.Load(); got == nil || got.Name != "demo" || len(got.Policy.Principals()) != 1 {
		t.Errorf("judged by %v, want the policy of demo", got)
	}

	// What is refused changes nothing, and a restart neither.
	if err := putPolicy(t, c, "demo", "{}"); code(err) != "MalformedPolicy" {
		t.Errorf("got %v, want MalformedPolicy", err)
	}
	if err := s.Handler.Close(); err != nil {
		t.Fatal(err)
	}
	s = newServer(t, dir, nil)
	c = s.client(adminKey)
	if got := getPolicy(t, c); got != reads {
		t.Errorf("after a restart: got %s", got)
	}
	if got := get(t, c, "k"); got != "x" || s.policy.Load() == nil {
		t.Errorf("after a restart: got %q by %v", got, s.policy.Load())
	}
	for range 2 { // the second time there is nothing to delete
		if _, err := c.DeleteBucketPolicy(t.Context(), &s3.DeleteBucketPolicyInput{Bucket: aws.String("demo")}); err != nil {
			t.Fatal(err)
		}
	}
	if got := getPolicy(t, c); got != "NoSuchBucketPolicy" {
		t.Errorf("after deleting: got %s", got)
	}
	get(t, c, "k")
	if got := s.policy.Load(); got != nil {
		t.Errorf("after deleting: judged by %v", got)
	}
}

func TestBucketPolicyRefused(t *testing.T) {
	s, c := demo(t)
	nobody := "arn:aws:iam::111122223333:user/nobody"
	s.cfg.PrincipalID = func(arn string) (string, bool) { return "", arn != nobody }
	statement := func(principal, action, resource string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":"` + action + `","Resource":"` + resource + `"}]}`
	}
	object := "arn:aws:s3:::demo/*"
	for name, test := range map[string]struct{ text, says string }{
		"good":               {statement(`"*"`, "s3:GetObject", object), ""},
		"all actions":        {statement(`"*"`, "*", object), ""},
		"the bucket":         {statement(`"*"`, "S3:ListBucket", "arn:aws:s3:::demo"), ""},
		"names like it":      {statement(`"*"`, "s3:*", "arn:aws:s3:::d?m*/a"), ""},
		"everything":         {statement(`"*"`, "s3:*", "*"), ""},
		"a variable":         {statement(`"*"`, "s3:*", "arn:aws:s3:::${aws:username}/a"), ""},
		"not JSON":           {"policy", "the first byte must be '{'"},
		"white space before": {" " + statement(`"*"`, "s3:*", object), "the first byte must be '{'"},
		"cut off":            {`{"Version":"2012-10-17","Statement":[`, "line 1, column"},
		"no principal":       {`{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`, "Missing required field Principal"},
		"principal's name":   {statement(`{"AWS":"alice"}`, "s3:*", object), "Invalid principal in policy"},
		"nobody":             {statement(`{"AWS":"`+nobody+`"}`, "s3:*", object), "Invalid principal in policy"},
		"action of another":  {statement(`"*"`, "sqs:SendMessage", object), "Policy has invalid action"},
		"another bucket":     {statement(`"*"`, "s3:*", "arn:aws:s3:::other/*"), "Policy has invalid resource"},
		"longer name":        {statement(`"*"`, "s3:*", "arn:aws:s3:::demo2/*"), "Policy has invalid resource"},
		"another service":    {statement(`"*"`, "s3:*", "arn:aws:sqs:::demo"), "Policy has invalid resource"},
		"too long":           {statement(`"*"`, "s3:*", object+strings.Repeat("a", 20<<10)), "maximum allowed document size"},
	} {
		err := putPolicy(t, c, "demo", test.text)
		var response *smithyhttp.ResponseError
		switch {
		case test.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.says == "":
		case code(err) != "MalformedPolicy" || !strings.Contains(err.Error(), test.says) || !errors.As(err, &response) || response.HTTPStatusCode() != 400:
			t.Errorf("%s: got %v, want MalformedPolicy 400, %q", name, err, test.says)
		}
	}
	if err := putPolicy(t, c, "none", reads); code(err) != "NoSuchBucket" {
		t.Errorf("no bucket: got %v, want NoSuchBucket", err)
	}
	if err := putPolicy(t, s.client(farKey), "demo", reads); code(err) != "MethodNotAllowed" {
		t.Errorf("another account: got %v, want MethodNotAllowed", err)
	}
}

// TestBucketPolicyPermissions wants each operation to ask for its own permission, on the bucket.
func TestBucketPolicyPermissions(t *testing.T) {
	s, admin := demo(t)
	if err := putPolicy(t, admin, "demo", reads); err != nil {
		t.Fatal(err)
	}
	c, bucket := s.client(limitKey), aws.String("demo")
	for name, call := range map[string]func() error{
		"s3:PutBucketPolicy": func() error { return putPolicy(t, c, "demo", reads) },
		"s3:GetBucketPolicy": func() error {
			_, err := c.GetBucketPolicy(t.Context(), &s3.GetBucketPolicyInput{Bucket: bucket})
			return err
		},
		"s3:DeleteBucketPolicy": func() error {
			_, err := c.DeleteBucketPolicy(t.Context(), &s3.DeleteBucketPolicyInput{Bucket: bucket})
			return err
		},
		"s3:GetBucketPolicyStatus": func() error {
			_, err := c.GetBucketPolicyStatus(t.Context(), &s3.GetBucketPolicyStatusInput{Bucket: bucket})
			return err
		},
	} {
		s.allow = func(action, resource string, _ map[string]string) bool {
			return action+" "+resource != name+" arn:aws:s3:::demo"
		}
		if err := call(); code(err) != "AccessDenied" {
			t.Errorf("%s: got %v, want AccessDenied", name, err)
		}
	}
	if got := getPolicy(t, admin); got != reads {
		t.Errorf("the policy became %s", got)
	}
}

func TestBucketPolicyStatus(t *testing.T) {
	_, c := demo(t)
	if _, err := c.GetBucketPolicyStatus(t.Context(), &s3.GetBucketPolicyStatusInput{Bucket: aws.String("demo")}); code(err) != "NoSuchBucketPolicy" {
		t.Errorf("without a policy: got %v, want NoSuchBucketPolicy", err)
	}
	for text, want := range map[string]bool{reads: false, strings.Replace(reads, `{"AWS":"arn:aws:iam::111122223333:user/limited"}`, `"*"`, 1): true} {
		if err := putPolicy(t, c, "demo", text); err != nil {
			t.Fatal(err)
		}
		out, err := c.GetBucketPolicyStatus(t.Context(), &s3.GetBucketPolicyStatusInput{Bucket: aws.String("demo")})
		if err != nil || out.PolicyStatus == nil || aws.ToBool(out.PolicyStatus.IsPublic) != want {
			t.Errorf("got %+v, %v; want public %v", out, err, want)
		}
	}
}

// TestUnsigned has a policy that lets everybody: that is everybody who signs.
func TestUnsigned(t *testing.T) {
	s, c := demo(t)
	put(t, c, "k", "x")
	if err := putPolicy(t, c, "demo", strings.Replace(reads, `{"AWS":"arn:aws:iam::111122223333:user/limited"}`, `"*"`, 1)); err != nil {
		t.Fatal(err)
	}
	if resp, e := exchange(t, s.request(t, "GET", "/demo/k", "")); resp.StatusCode != http.StatusForbidden || e.Code != "AccessDenied" {
		t.Errorf("got %d %q, want 403 AccessDenied", resp.StatusCode, e.Code)
	}
}

// TestStoredPolicyNotUnderstood wants a fault where the policy that is stored cannot be read as one, and never an answer.
func TestStoredPolicyNotUnderstood(t *testing.T) {
	dir := t.TempDir()
	s := newServer(t, dir, nil)
	if err := s.EnsureBucket(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	put(t, s.client(adminKey), "k", "x")
	if err := s.Handler.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "buckets", "demo", "bucket.json")
	record, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(strings.Replace(string(record), "{", `{"policy":"{}",`, 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s = newServer(t, dir, nil)
	asked := s.asked.Load()
	if resp, e := exchange(t, s.signed(t, "GET", "/demo/k", "", "", nil)); resp.StatusCode != 500 || s.asked.Load() != asked {
		t.Errorf("got %d %v, and authorization was asked for; want a fault before that", resp.StatusCode, e)
	}
}
