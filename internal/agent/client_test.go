package agent

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
)

func TestAssumeRoleForPodIdentity(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, call int, _ string) { grant(w, call, time.Unix(1707565135, 0)) })
	got, err := u.client(t).AssumeRoleForPodIdentity(t.Context(), "a.b.c")
	if err != nil {
		t.Fatal(err)
	}
	want := &Assumption{
		Credentials: identity.Credentials{
			AccessKeyID: "ASIA1", SecretAccessKey: "secret-key", SessionToken: "session/<token>+==",
			ExpiresAt: time.Unix(1707565135, 0).UTC(),
		},
		AccountID:     "444455556666",
		SessionARN:    "arn:aws:sts::444455556666:assumed-role/web/eks-demo-web-1",
		AssociationID: "a-8mvwvh57cu74mgcst",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("assumption (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a.b.c"}, u.tokens); diff != "" {
		t.Errorf("tokens sent: %s", diff)
	}
	if want := "POST /clusters/demo/assume-role-for-pod-identity"; u.paths[0] != want {
		t.Errorf("called %s, want %s", u.paths[0], want)
	}
	if !strings.HasPrefix(u.auths[0], "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/") ||
		!strings.Contains(u.auths[0], "/us-west-2/eks-auth/aws4_request") {
		t.Errorf("signed %q", u.auths[0])
	}
}

func TestClientErrors(t *testing.T) {
	tests := []struct {
		name    string
		respond func(w http.ResponseWriter, call int, token string)
		calls   int
		want    *APIError // nil: another error
		text    string
	}{
		{"code in the header", func(w http.ResponseWriter, _ int, _ string) {
			deny(w, 404, "ResourceNotFoundException:http://internal.example.com/", "No association found")
		}, 1, &APIError{404, "ResourceNotFoundException", "No association found", "15df2cd5"},
			"[15df2cd5]: (ResourceNotFoundException): No association found, fault: client"},
		{"code in the body", func(w http.ResponseWriter, _ int, _ string) {
			w.WriteHeader(400)
			_, _ = w.Write([]byte(`{"Code":"InvalidTokenException","Message":"bad"}`))
		}, 1, &APIError{400, "InvalidTokenException", "bad", ""}, "[]: (InvalidTokenException): bad, fault: client"},
		{"type in the body", func(w http.ResponseWriter, _ int, _ string) {
			w.WriteHeader(400)
			_, _ = w.Write([]byte(`{"__type":"com.amazonaws.eksauth#ExpiredTokenException","message":"late"}`))
		}, 1, &APIError{400, "ExpiredTokenException", "late", ""}, "[]: (ExpiredTokenException): late, fault: client"},
		{"token quoted", func(w http.ResponseWriter, _ int, token string) {
			deny(w, 400, "InvalidParameterException", "Value '"+token+"' at 'token' failed")
		}, 1, &APIError{400, "InvalidParameterException", "Value '[redacted]' at 'token' failed", "15df2cd5"}, "redacted"},
		{"throttled", func(w http.ResponseWriter, _ int, _ string) { deny(w, 429, "ThrottlingException", "slow down") },
			3, &APIError{429, "ThrottlingException", "slow down", "15df2cd5"}, "fault: client"},
		{"throttled with 400", func(w http.ResponseWriter, _ int, _ string) { deny(w, 400, "ThrottlingException", "slow down") },
			3, &APIError{400, "ThrottlingException", "slow down", "15df2cd5"}, "fault: client"},
		{"a proxy's page", func(w http.ResponseWriter, _ int, _ string) { http.Error(w, "<html>", http.StatusBadGateway) },
			3, &APIError{502, "UnknownError", "EKS Auth answered 502 Bad Gateway", ""}, "fault: server"},
		{"a redirect", func(w http.ResponseWriter, _ int, _ string) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(307)
		}, 1, &APIError{307, "UnknownError", "EKS Auth answered 307 Temporary Redirect", ""}, "fault: client"},
		{"not JSON", func(w http.ResponseWriter, _ int, _ string) { _, _ = w.Write([]byte("hello")) }, 1, nil, "unusable answer"},
		{"no credentials", func(w http.ResponseWriter, _ int, _ string) { _, _ = w.Write([]byte("{}")) }, 1, nil, "incomplete"},
		{"too long", func(w http.ResponseWriter, _ int, _ string) { _, _ = w.Write(make([]byte, maxAnswerBytes+1)) },
			1, nil, "more than 262144 bytes"},
		{"cut off", func(w http.ResponseWriter, _ int, _ string) { panic(http.ErrAbortHandler) }, 3, nil, "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := newUpstream(t, tt.respond)
			_, err := u.client(t).AssumeRoleForPodIdentity(t.Context(), "a.b.c")
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want %q in it", err, tt.text)
			}
			if got, _ := errors.AsType[*APIError](err); !cmp.Equal(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if u.calls() != tt.calls {
				t.Errorf("%d calls, want %d", u.calls(), tt.calls)
			}
		})
	}
}

func TestClientTriesAgain(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, call int, _ string) {
		if call < 3 {
			deny(w, 503, "ServiceUnavailableException", "not now")
			return
		}
		grant(w, call, time.Now().Add(time.Hour))
	})
	got, err := u.client(t).AssumeRoleForPodIdentity(t.Context(), "a.b.c")
	if err != nil || got.AccessKeyID != "ASIA3" {
		t.Errorf("got %v, %v, want the third answer", got, err)
	}
}

func TestClientWithoutCredentials(t *testing.T) {
	u := newUpstream(t, nil)
	client, err := NewClient(ClientConfig{ClusterName: "demo", Region: "us-west-2", Endpoint: u.URL,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("no IMDS here")
		})})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.AssumeRoleForPodIdentity(t.Context(), "a.b.c")
	if !errors.Is(err, errOwnCredentials) || final(err) || u.calls() != 0 {
		t.Errorf("got %v after %d calls, want a fault without a call", err, u.calls())
	}
}

func TestNewClient(t *testing.T) {
	valid := ClientConfig{ClusterName: "demo", Region: "us-west-2", Credentials: agentCredentials}
	tests := []struct {
		name   string
		mutate func(*ClientConfig)
		want   string // URL, or a part of the error
	}{
		{"AWS", func(*ClientConfig) {}, "https://eks-auth.us-west-2.api.aws/clusters/demo/assume-role-for-pod-identity"},
		{"China", func(c *ClientConfig) { c.Region = "cn-north-1" },
			"https://eks-auth.cn-north-1.api.amazonwebservices.com.cn/clusters/demo/assume-role-for-pod-identity"},
		{"GovCloud", func(c *ClientConfig) { c.Region = "us-gov-west-1" },
			"https://eks-auth.us-gov-west-1.api.aws/clusters/demo/assume-role-for-pod-identity"},
		{"endpoint with a path", func(c *ClientConfig) { c.Endpoint = "https://podid.example.com/base/" },
			"https://podid.example.com/base/clusters/demo/assume-role-for-pod-identity"},
		{"no cluster", func(c *ClientConfig) { c.ClusterName = "" }, "cluster name"},
		{"cluster with a slash", func(c *ClientConfig) { c.ClusterName = "a/b" }, "cluster name"},
		{"no region", func(c *ClientConfig) { c.Region = "" }, "region is required"},
		{"no credentials", func(c *ClientConfig) { c.Credentials = nil }, "credentials are required"},
		{"endpoint without a scheme", func(c *ClientConfig) { c.Endpoint = "podid.example.com" }, "want http(s)://"},
		{"endpoint with a password", func(c *ClientConfig) { c.Endpoint = "https://a:hunter2@podid.example.com" }, "want http(s)://"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := valid
			tt.mutate(&config)
			client, err := NewClient(config)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("error %v, want %q", err, tt.want)
				}
			} else if client.url != tt.want {
				t.Errorf("url %s, want %s", client.url, tt.want)
			}
		})
	}
}

func TestFinal(t *testing.T) {
	tests := []struct {
		code   string
		status int
		want   bool
	}{
		{"ResourceNotFoundException", 404, true},
		{"ExpiredTokenException", 400, true},
		{"InvalidTokenException", 400, true},
		{"AccessDeniedException", 400, true},
		{"ExpiredTokenException", 403, false}, // of the agent's own session
		{"AccessDeniedException", 403, false}, // the agent may not call
		{"UnrecognizedClientException", 403, false},
		{"InvalidRequestException", 400, false},
		{"ThrottlingException", 429, false},
		{"InternalServerException", 500, false},
		{"UnknownError", 404, false}, // not EKS Auth, but something in its place
		{"ResourceNotFoundException", 500, false},
	}
	for _, tt := range tests {
		if got := final(&APIError{Status: tt.status, Code: tt.code}); got != tt.want {
			t.Errorf("%s with %d: final %v, want %v", tt.code, tt.status, got, tt.want)
		}
	}
}
