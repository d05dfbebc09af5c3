package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
)

// start runs an agent on loopback in front of the upstream until the test ends.
func start(t testing.TB, u *upstream, mutate func(*Config)) *Agent {
	t.Helper()
	config := Config{
		BindHosts: []string{"127.0.0.1"}, ProbeAddr: "127.0.0.1:0", MetricsAddr: "127.0.0.1:0", AssumeRole: u.client(t).AssumeRoleForPodIdentity,
		Retention: DefaultRetention, CacheSize: DefaultCacheSize, RenewalsPerSecond: DefaultRenewalsPerSecond,
	}
	if mutate != nil {
		mutate(&config)
	}
	a, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return a
}

func (a *Agent) url() string { return "http://" + a.endpoints[0].Addr().String() + "/v1/credentials" }

// fetch is a pod's request.
func fetch(t testing.TB, url, token string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

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
		message string
	}{
		{"another host", "metadata.example.com", good, nil, 403, "AccessDeniedException",
			"Access Denied. Called agent through invalid address, please use either [127.0.0.1] address not metadata.example.com"},
		{"another address", "127.0.0.2:80", good, nil, 403, "AccessDeniedException",
			"Access Denied. Called agent through invalid address, please use either [127.0.0.1] address not 127.0.0.2"},
		{"another host, no token", "example.com", "", nil, 403, "AccessDeniedException",
			"Access Denied. Called agent through invalid address, please use either [127.0.0.1] address not example.com"},
		{"no token", "", "", nil, 400, "InvalidTokenException", "Service account token cannot be empty"},
		{"not a token", "", "a.b", nil, 400, "InvalidTokenException",
			"Service account token cannot be parsed: token is malformed: token contains an invalid number of segments"},
		{"expired token", "", token("web-1", 1, time.Now().Add(-time.Second)), nil, 400, "ExpiredTokenException",
			"Service account token failed basic claim validations: token has invalid claims: token is expired"},
		{"token of tomorrow", "", token("web-1", 1, time.Now().Add(101*time.Hour)), nil, 400, "InvalidTokenException",
			"Service account token failed basic claim validations: token has invalid claims: token is not valid yet"},
		{"expired upstream", "", good, respond("ExpiredTokenException", 400, "The token included in the request is expired"), 400,
			"ExpiredTokenException", "[15df2cd5]: (ExpiredTokenException): The token included in the request is expired, fault: client"},
		{"no association", "", good, respond("ResourceNotFoundException", 404, "No association found"), 404,
			"ResourceNotFoundException", "[15df2cd5]: (ResourceNotFoundException): No association found, fault: client"},
		{"denied", "", good, respond("AccessDeniedException", 400, "Unauthorized Exception!"), 400,
			"AccessDeniedException", "[15df2cd5]: (AccessDeniedException): Unauthorized Exception!, fault: client"},
		{"throttled", "", good, respond("ThrottlingException", 429, "Rate exceeded"), 429,
			"ThrottlingException", "[15df2cd5]: (ThrottlingException): Rate exceeded, fault: client"},
		{"upstream down", "", good, respond("ServiceUnavailableException", 503, "later"), 503,
			"ServiceUnavailableException", "[15df2cd5]: (ServiceUnavailableException): later, fault: server"},
		{"redirect", "", good, respond("", 302, "go there"), 500,
			"UnknownError", "[15df2cd5]: (UnknownError): go there, fault: client"},
		{"nonsense", "", good, func(w http.ResponseWriter, _ int, _ string) { fmt.Fprint(w, "<html>") }, 500,
			"InternalServerException", "unable to fetch credentials from EKS Auth: unusable answer from EKS Auth: not the JSON of an assumed role"},
		{"dead on arrival", "", good, func(w http.ResponseWriter, call int, _ string) { grant(w, call, time.Now()) }, 500,
			"InternalServerException", "fetched credentials are expired or will expire within the next 15 seconds"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := start(t, newUpstream(t, tt.respond), nil)
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
			want := map[string]string{"code": tt.code, "Code": tt.code, "message": tt.message, "Message": tt.message}
			if diff := cmp.Diff(want, got); diff != "" || rec.Code != tt.status {
				t.Errorf("status %d, want %d; body (-want +got):\n%s", rec.Code, tt.status, diff)
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

func TestProbesAndMetrics(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, call int, token string) {
		if call == 1 {
			deny(w, 404, "ResourceNotFoundException", "No association found")
			return
		}
		grant(w, call, time.Now().Add(time.Hour))
	})
	a := start(t, u, nil)
	text := token("web-1", 1, tomorrow())
	for range 4 {
		fetch(t, a.url(), text)
	}
	probe, observe := "http://"+a.listeners[1].Addr().String(), "http://"+a.listeners[2].Addr().String()
	for _, url := range []string{probe + "/readyz", probe + "/healthz", observe + "/readyz", observe + "/healthz"} {
		if resp, body := fetch(t, url, ""); resp.StatusCode != 200 {
			t.Errorf("%s: %s %s", url, resp.Status, body)
		}
	}
	if resp, _ := fetch(t, probe+"/metrics", ""); resp.StatusCode != 404 {
		t.Errorf("metrics on the probe port: %s", resp.Status)
	}
	_, body := fetch(t, observe+"/metrics", "")
	for _, line := range []string{
		`pod_identity_http_response{code="200"} 3`,
		`pod_identity_http_response{code="404"} 1`,
		`pod_identity_cache_errors{code="ResourceNotFoundException",type="NonRecoverable"} 1`,
		`pod_identity_cache_state{state="hit"} 2`,
		`pod_identity_cache_state{state="miss"} 2`,
		`pod_identity_cache_state{state="evicted"} 0`,
		`process_resident_memory_bytes`,
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("metrics lack %s", line)
		}
	}
}

// The probe tells apart an endpoint that serves, one on which somebody else serves, and one that nobody serves.
func TestProbeOfABrokenEndpoint(t *testing.T) {
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		want    int
	}{
		"served by us":   {http.NotFound, 200},
		"served by them": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }, 500},
		"hangs up":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 500},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, newUpstream(t, nil), nil)
			other := httptest.NewServer(tt.handler)
			defer other.Close()
			broken := &Agent{prober: a.prober, log: a.log, endpoints: []net.Listener{a.endpoints[0], other.Listener}}
			rec := httptest.NewRecorder()
			broken.probes().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz", nil))
			if rec.Code != tt.want {
				t.Errorf("got %d, want %d", rec.Code, tt.want)
			}
		})
	}
}

// The default chain of an AWS SDK, with what the webhook sets and nothing else.
func TestDefaultCredentialChain(t *testing.T) {
	u := newUpstream(t, nil)
	a := start(t, u, nil)
	home := t.TempDir()
	file := filepath.Join(home, "eks-pod-identity-token")
	if err := os.WriteFile(file, []byte(token("web-1", 1, tomorrow())), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"} {
		t.Setenv(name, "")
		_ = os.Unsetenv(name)
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_REGION", "us-west-2")
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", a.url())
	t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file)
	sdk, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, err := sdk.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.AccessKeyID != "ASIA1" || got.SecretAccessKey != "secret-key" || got.SessionToken != "session/<token>+==" ||
		got.AccountID != "444455556666" || !got.CanExpire {
		t.Errorf("got %+v", got)
	}

	// What the application logs when there is no association.
	u.respond = func(w http.ResponseWriter, _ int, _ string) {
		deny(w, 404, "ResourceNotFoundException", "No association found")
	}
	if err := os.WriteFile(file, []byte(token("web-2", 1, tomorrow())), 0o600); err != nil {
		t.Fatal(err)
	}
	if sdk, err = config.LoadDefaultConfig(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = sdk.Credentials.Retrieve(t.Context())
	if want := "ResourceNotFoundException: [15df2cd5]: (ResourceNotFoundException): No association found"; err == nil ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q in it", err, want)
	}
}

// logs collects what an agent logs.
type logs struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestLogHoldsNoSecrets(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, call int, token string) {
		switch call {
		case 1:
			grant(w, call, time.Now().Add(time.Hour))
		case 2:
			deny(w, 400, "InvalidParameterException", "Value '"+token+"' at 'token' is bad")
		default:
			fmt.Fprintf(w, "what is %s?", token)
		}
	})
	var out logs
	a := start(t, u, func(c *Config) {
		c.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))
	})
	var tokens, shown []string
	for serial := range 3 {
		tokens = append(tokens, token("web-1", serial, tomorrow()))
		_, body := fetch(t, a.url(), tokens[serial])
		if serial > 0 {
			shown = append(shown, body)
		}
	}
	broken := tokens[0][:40] + "!" + tokens[0][40:]
	_, body := fetch(t, a.url(), broken)
	shown = append(shown, body, out.String())
	for _, text := range shown {
		for _, secret := range []string{tokens[0][40:], tokens[1][40:], tokens[2][40:], "secret-key", "session/", "agent-secret"} {
			for part := range strings.SplitSeq(secret, ".") {
				if strings.Contains(text, part) {
					t.Errorf("%q shows in %s", part, text)
				}
			}
		}
	}
	for _, want := range []string{"namespace=carts", "service_account=carts", "pod=web-1", "association_id=a-8mvwvh57cu74mgcst", "expires_at="} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, out.String())
		}
	}
}

func TestPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	a, err := New(Config{
		BindHosts: []string{"127.0.0.1"}, Port: taken.Addr().(*net.TCPAddr).Port, RenewalsPerSecond: 1,
		AssumeRole: newUpstream(t, nil).client(t).AssumeRoleForPodIdentity,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = a.Run(t.Context())
	if want := fmt.Sprintf("opening the credentials endpoint: listen tcp %s: bind: address already in use", taken.Addr()); err == nil ||
		err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// An agent that is told to stop answers those it has let in.
func TestShutdown(t *testing.T) {
	arrived, release := make(chan bool), make(chan bool)
	u := newUpstream(t, func(w http.ResponseWriter, call int, _ string) {
		close(arrived)
		<-release
		grant(w, call, time.Now().Add(time.Hour))
	})
	a, err := New(Config{BindHosts: []string{"127.0.0.1"}, RenewalsPerSecond: 1, AssumeRole: u.client(t).AssumeRoleForPodIdentity})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped, answered := make(chan error, 1), make(chan int, 1)
	go func() { stopped <- a.Run(ctx) }()
	go func() {
		resp, _ := fetch(t, a.url(), token("web-1", 1, tomorrow()))
		answered <- resp.StatusCode
	}()
	<-arrived
	cancel()
	for { // until nobody is let in any more
		conn, err := net.Dial("tcp", a.Addrs()[0].String())
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(release)
	if status := <-answered; status != 200 {
		t.Errorf("got %d, want 200", status)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestNew(t *testing.T) {
	valid := Config{
		BindHosts: []string{"127.0.0.1"}, RenewalsPerSecond: 1, CacheSize: 1, Retention: time.Hour,
		AssumeRole: func(context.Context, identity.Secret) (*Assumption, error) { return nil, errors.New("not called") },
	}
	tests := []struct {
		name   string
		mutate func(*Config)
		want   string
	}{
		{"valid", func(*Config) {}, ""},
		{"no bind hosts", func(c *Config) { c.BindHosts = nil }, "bind host is required"},
		{"a name", func(c *Config) { c.BindHosts = []string{"localhost"} }, `bind host "localhost"`},
		{"every address", func(c *Config) { c.BindHosts = []string{"0.0.0.0"} }, `bind host "0.0.0.0"`},
		{"every IPv6 address", func(c *Config) { c.BindHosts = []string{"[::]"} }, `bind host "[::]"`},
		{"port", func(c *Config) { c.Port = 65536 }, "port 65536"},
		{"source", func(c *Config) { c.AssumeRole = nil }, "source of credentials"},
		{"retention", func(c *Config) { c.Retention = -1 }, "retention -1ns"},
		{"cache size", func(c *Config) { c.CacheSize = -1 }, "cache size -1"},
		{"renewals", func(c *Config) { c.RenewalsPerSecond = 0 }, "0 renewals a second"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			config := valid
			tt.mutate(&config)
			_, err := New(config)
			if got := fmt.Sprint(err); (err == nil) != (tt.want == "") || !strings.Contains(got, tt.want) && err != nil {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
