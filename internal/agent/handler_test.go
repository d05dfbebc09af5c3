package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
)

func TestCredentials(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, call int, _ string) {
		grant(w, call, time.Date(2096, 1, 2, 3, 4, 5, 0, time.UTC))
	})
	a := start(t, u, nil)
	want := `{"AccessKeyId":"ASIA1","SecretAccessKey":"secret-key","Token":"session/<token>+==",` +
		`"AccountId":"444455556666","Expiration":"2096-01-02T03:04:05Z"}` + "\n"
	text := token("web-1", 1, tomorrow())
	for range 2 {
		resp, body := fetch(t, a.url(), text)
		if resp.StatusCode != 200 || body != want || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s %v %s, want %s", resp.Status, resp.Header, body, want)
		}
		if resp.ContentLength != int64(len(want)) {
			t.Errorf("content length %d, want %d", resp.ContentLength, len(want))
		}
	}
	if u.calls() != 1 || u.tokens[0] != text {
		t.Errorf("%d calls, want one with the pod's token", u.calls())
	}
}

func TestRefusals(t *testing.T) {
	respond := func(code string, status int, message string) func(http.ResponseWriter, int, string) {
		return func(w http.ResponseWriter, _ int, _ string) { deny(w, status, code, message) }
	}
	good := token("web-1", 1, tomorrow())
	tests := []struct {
		name    string
		host    string
		token   string
		respond func(http.ResponseWriter, int, string)
		status  int
		code    string
		message string // as Amazon's agent has it
		advice  string // part of what follows; empty: nothing follows
	}{
		{"another host", "metadata.example.com", good, nil, 403, "AccessDeniedException",
			"Access Denied. Called agent through invalid address, please use either [127.0.0.1] address not metadata.example.com",
			"AWS_CONTAINER_CREDENTIALS_FULL_URI should be http://127.0.0.1:"},
		{"another address", "127.0.0.2:80", good, nil, 403, "AccessDeniedException",
			"Access Denied. Called agent through invalid address, please use either [127.0.0.1] address not 127.0.0.2",
			"AWS_CONTAINER_CREDENTIALS_FULL_URI should be http://127.0.0.1:"},
		{"another host, no token", "example.com", "", nil, 403, "AccessDeniedException",
			"Access Denied. Called agent through invalid address, please use either [127.0.0.1] address not example.com",
			"AWS_CONTAINER_CREDENTIALS_FULL_URI should be http://127.0.0.1:"},
		{"no token", "", "", nil, 400, "InvalidTokenException", "Service account token cannot be empty",
			"the file that AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE names"},
		{"not a token", "", "a.b", nil, 400, "InvalidTokenException",
			"Service account token cannot be parsed: token is malformed: token contains an invalid number of segments",
			"the token alone, without the word Bearer"},
		{"expired token", "", token("web-1", 1, time.Now().Add(-time.Second)), nil, 400, "ExpiredTokenException",
			"Service account token failed basic claim validations: token has invalid claims: token is expired",
			"neither a copy nor a subPath mount of a token is renewed"},
		{"token of tomorrow", "", token("web-1", 1, time.Now().Add(101*time.Hour)), nil, 400, "InvalidTokenException",
			"Service account token failed basic claim validations: token has invalid claims: token is not valid yet",
			"the clock of this node says 20"},
		{"expired upstream", "", good, respond("ExpiredTokenException", 400, "The token included in the request is expired"), 400,
			"ExpiredTokenException", "[15df2cd5]: (ExpiredTokenException): The token included in the request is expired, fault: client",
			""},
		{"no association", "", good, respond("ResourceNotFoundException", 404, "No association found"), 404,
			"ResourceNotFoundException", "[15df2cd5]: (ResourceNotFoundException): No association found, fault: client",
			"aws eks list-pod-identity-associations --cluster-name demo --namespace carts --service-account carts"},
		{"no association, and what to do", "", good, respond("ResourceNotFoundException", 404, "No association. aws eks create-pod-identity-association"),
			404, "ResourceNotFoundException",
			"[15df2cd5]: (ResourceNotFoundException): No association. aws eks create-pod-identity-association, fault: client", ""},
		{"agent may not", "", good, respond("AccessDeniedException", 403, "User: node is not authorized"), 403, "AccessDeniedException",
			"[15df2cd5]: (AccessDeniedException): User: node is not authorized, fault: client", "about the agent of this node, not about the pod"},
		{"denied", "", good, respond("AccessDeniedException", 400, "Unauthorized Exception!"), 400,
			"AccessDeniedException", "[15df2cd5]: (AccessDeniedException): Unauthorized Exception!, fault: client",
			"sts:AssumeRole and sts:TagSession to pods.eks.amazonaws.com"},
		{"throttled", "", good, respond("ThrottlingException", 429, "Rate exceeded"), 429,
			"ThrottlingException", "[15df2cd5]: (ThrottlingException): Rate exceeded, fault: client",
			""},
		{"upstream down", "", good, respond("ServiceUnavailableException", 503, "later"), 503,
			"ServiceUnavailableException", "[15df2cd5]: (ServiceUnavailableException): later, fault: server",
			""},
		{"redirect", "", good, respond("", 302, "go there"), 500,
			"UnknownError", "[15df2cd5]: (UnknownError): go there, fault: client",
			""},
		{"nonsense", "", good, func(w http.ResponseWriter, _ int, _ string) { fmt.Fprint(w, "<html>") }, 500,
			"InternalServerException",
			"unable to fetch credentials from EKS Auth: unusable answer from EKS Auth: not the JSON of an assumed role",
			"the pod is not at fault"},
		{"dead on arrival", "", good, func(w http.ResponseWriter, call int, _ string) { grant(w, call, time.Now()) }, 500,
			"InternalServerException", "fetched credentials are expired or will expire within the next 15 seconds",
			""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := start(t, newUpstream(t, tt.respond), func(c *Config) { c.ClusterName = "demo" })
			req := httptest.NewRequest(http.MethodGet, "/v1/credentials", nil)
			req.Host = "127.0.0.1"
			if tt.host != "" {
				req.Host = tt.host
			}
			if tt.token != "" {
				req.Header.Set("Authorization", tt.token)
			}
			rec := httptest.NewRecorder()
			a.Handler().ServeHTTP(rec, req)
			var got map[string]string
			if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
				t.Fatalf("body %s: %v", rec.Body, err)
			}
			message, linked := strings.CutSuffix(got["message"], ". See https://github.com/podid/podid/blob/main/docs/agent.md#refusals")
			if !linked || got["Message"] != got["message"] {
				t.Errorf("no link at the end of both: %q", got)
			}
			got["message"], got["Message"] = message, message
			advice := ""
			if tt.advice != "" {
				message, advice = message[:min(len(message), len(tt.message))], message[min(len(message), len(tt.message)):]
			}
			want := map[string]string{"code": tt.code, "Code": tt.code, "message": tt.message + advice, "Message": tt.message + advice}
			if diff := cmp.Diff(want, got); diff != "" || rec.Code != tt.status || message != tt.message {
				t.Errorf("status %d, want %d; body (-want +got):\n%s", rec.Code, tt.status, diff)
			}
			if !strings.Contains(advice, tt.advice) {
				t.Errorf("the advice is %q, want %q in it", advice, tt.advice)
			}
			if got := rec.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("content type %s", got)
			}
		})
	}
}

func TestUpstreamUnreachable(t *testing.T) {
	u := newUpstream(t, nil)
	a := start(t, u, nil)
	u.Close()
	resp, body := fetch(t, a.url(), token("web-1", 1, tomorrow()))
	if resp.StatusCode != 500 || !strings.Contains(body, "unable to fetch credentials from EKS Auth: Post ") {
		t.Errorf("got %s %s, want a fault", resp.Status, body)
	}
}

func TestPathsAndMethods(t *testing.T) {
	a := start(t, newUpstream(t, nil), nil)
	text := token("web-1", 1, tomorrow())
	for request, want := range map[string]int{
		"GET /v1/credentials":     200,
		"POST /v1/credentials":    200,
		"GET /v1/credentials?a=b": 200,
		"GET /":                   404,
		"GET /v1/credentials/":    404,
		"GET //v1/credentials":    404,
		"GET /metrics":            404,
	} {
		method, target, _ := strings.Cut(request, " ")
		req := httptest.NewRequest(method, "http://127.0.0.1"+target, nil)
		req.Header.Set("Authorization", text)
		rec := httptest.NewRecorder()
		a.Handler().ServeHTTP(rec, req)
		if rec.Code != want {
			t.Errorf("%s: %d, want %d", request, rec.Code, want)
		}
	}
}

func TestAddressed(t *testing.T) {
	a, err := New(Config{
		BindHosts: []string{"169.254.170.23", "[fd00:ec2::23]"}, RenewalsPerSecond: 1,
		AssumeRole: func(context.Context, identity.Secret) (*Assumption, error) { return nil, errors.New("not called") },
	})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"169.254.170.23": true, "169.254.170.23:80": true, "[fd00:ec2::23]": true, "[fd00:ec2::23]:80": true, "fd00:ec2::23": true,
		"[fd00:ec2:0:0:0:0:0:23]": true,
		"":                        false, "localhost": false, "127.0.0.1": false, "169.254.170.23.example.com": false,
		"169.254.170.2": false, "0xa9.0xfe.0xaa.0x17": false, "[fd00:ec2::23%eth0]": false, "169.254.170.23:80:80": false,
	} {
		if got := a.addressed(host); got != want {
			t.Errorf("host %q: %v, want %v", host, got, want)
		}
	}
}

// Pods are told the URL that leads to this agent.
func TestURL(t *testing.T) {
	for host, want := range map[string]string{
		"169.254.170.23": "http://169.254.170.23/v1/credentials", "[fd00:ec2::23]": "http://[fd00:ec2::23]/v1/credentials",
	} {
		a, err := New(Config{BindHosts: []string{host}, Port: 80, RenewalsPerSecond: 1,
			AssumeRole: func(context.Context, identity.Secret) (*Assumption, error) { return nil, errors.New("not called") }})
		if err != nil {
			t.Fatal(err)
		}
		if got := a.url(); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}
