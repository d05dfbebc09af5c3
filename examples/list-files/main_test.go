package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

func TestHandler(t *testing.T) {
	bucket := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/demo" {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `<Error><Code>AccessDenied</Code><Message>not yours</Message></Error>`)
			return
		}
		if r.URL.Query().Get("continuation-token") == "" {
			io.WriteString(w, `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>2</NextContinuationToken>
				<Contents><Key>test-file-1.md</Key></Contents></ListBucketResult>`)
			return
		}
		io.WriteString(w, `<ListBucketResult><Contents><Key>test-file-2.md</Key></Contents></ListBucketResult>`)
	}))
	defer bucket.Close()
	static := credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "secret", "")
	none := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("no provider in the chain has any")
	})
	for _, test := range []struct {
		name, bucket string
		credentials  aws.CredentialsProvider
		status       int
		body         string
	}{
		{"files", "demo", static, 200, `{"files":["test-file-1.md","test-file-2.md"]}`},
		{"no credentials", "demo", none, 500, `{"error":"unable to load credentials: no provider in the chain has any"}`},
		{"denied", "other", static, 500, "AccessDenied: not yours"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := aws.Config{Region: "us-west-2", BaseEndpoint: &bucket.URL, Credentials: test.credentials, RetryMaxAttempts: 1}
			w := httptest.NewRecorder()
			handler(cfg, test.bucket).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.body) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, test.status, test.body)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("got type %q, want application/json", got)
			}
		})
	}
}
