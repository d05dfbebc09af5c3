package agent

import (
	"bytes"
	"context"
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

	"github.com/podid/podid/internal/identity"
)

// start runs an agent on loopback in front of the upstream until the test ends.
func start(t testing.TB, u *upstream, mutate func(*Config)) *Agent {
	t.Helper()
	config := Config{
		BindHosts: []string{"127.0.0.1"}, ProbeAddr: "127.0.0.1:0", MetricsAddr: "127.0.0.1:0",
		AssumeRole: u.client(t).AssumeRoleForPodIdentity,
		Retention:  3 * time.Hour, CacheSize: 2000, RenewalsPerSecond: 3,
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

// fetch is a pod's request.
func fetch(t testing.TB, url, token string) (*http.Response, string) {
	t.Helper()
	return fetchBy(t, http.DefaultTransport, url, token)
}

func fetchBy(t testing.TB, transport http.RoundTripper, url, token string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := transport.RoundTrip(req)
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
		`# TYPE pod_identity_cache_state counter`,
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
			broken := &Agent{prober: a.prober, log: a.log, endpoints: []endpoint{a.endpoints[0], {Listener: other.Listener, host: a.hosts[0]}}}
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

func (l *logs) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
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
	for _, want := range []string{
		"namespace=carts", "service_account=carts", "pod=web-1", "association_id=a-8mvwvh57cu74mgcst", "expires_at=",
	} {
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
