package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// wire is a TCP proxy that can be broken.
type wire struct {
	net.Listener
	to string

	mu    sync.Mutex
	fault fault
	pipes []*pipe
}

// fault is what a connection does.
type fault int

const (
	none       fault = iota
	silent           // nothing passes, and nobody is told
	cutRequest       // the connection is cut when the request is through
	halfAnswer       // and when half of the answer is
	noAnswer         // the client's half is closed after the request, and nothing comes
)

type pipe struct {
	near, far net.Conn
	silent    atomic.Bool
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, to: to}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { w.serve(near) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.mu.Lock()
		for _, p := range w.pipes {
			_, _ = p.near.Close(), p.far.Close()
		}
		w.mu.Unlock()
		running.Wait()
	})
	return w
}

func (w *wire) set(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = f
}

// hush has the connections that there are lead nowhere. New ones work.
func (w *wire) hush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pipes {
		p.silent.Store(true)
	}
}

func (w *wire) connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pipes)
}

func (w *wire) serve(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer far.Close()
	p := &pipe{near: near, far: far}
	w.mu.Lock()
	f := w.fault
	w.pipes = append(w.pipes, p)
	w.mu.Unlock()
	p.silent.Store(f == silent)
	var both sync.WaitGroup
	both.Go(func() {
		p.copy(far, near, func([]byte) bool { return f != cutRequest })
		if f == cutRequest {
			_, _ = near.Close(), far.Close()
		}
	})
	both.Go(func() {
		p.copy(near, far, func(data []byte) bool {
			switch f {
			case halfAnswer:
				_, _ = near.Write(data[:len(data)/2])
				return false
			case noAnswer:
				_ = near.(*net.TCPConn).CloseWrite()
				return false
			}
			return true
		})
		if f == halfAnswer {
			_, _ = near.Close(), far.Close()
		}
	})
	both.Wait()
}

// copy passes on what comes until pass says no. A silent pipe swallows it.
func (p *pipe) copy(to, from net.Conn, pass func([]byte) bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !p.silent.Load() {
			if !pass(buffer[:n]) {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// What is broken for one attempt is mended by the next, on a connection of its own.
func TestBrokenConnections(t *testing.T) {
	for name, f := range map[string]fault{
		"silent": silent, "cut after the request": cutRequest, "cut in the answer": halfAnswer, "half closed": noAnswer,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t, nil)
			w := newWire(t, u.Listener.Addr().String())
			w.set(f)
			client, err := NewClient(ClientConfig{ClusterName: "demo", Region: "us-west-2", Endpoint: "http://" + w.Addr().String(),
				Credentials: agentCredentials})
			if err != nil {
				t.Fatal(err)
			}
			first := make(chan bool)
			go func() {
				defer close(first)
				for w.connections() == 0 {
					time.Sleep(time.Millisecond)
				}
				w.set(none)
			}()
			got, err := client.AssumeRoleForPodIdentity(t.Context(), "a.b.c")
			<-first
			if err != nil || !strings.HasPrefix(got.AccessKeyID, "ASIA") {
				t.Errorf("got %v, %v", got, err)
			}
			if n := w.connections(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

// A kept connection of HTTP/2 that leads nowhere any more is given up with the first attempt that it swallows.
func TestSilentKeptConnection(t *testing.T) {
	u := newUpstream(t, nil)
	private := httptest.NewUnstartedServer(u.Config.Handler)
	private.EnableHTTP2 = true
	private.StartTLS()
	t.Cleanup(private.Close)
	w := newWire(t, private.Listener.Addr().String())
	transport := private.Client().Transport.(*http.Transport).Clone()
	client, err := NewClient(ClientConfig{ClusterName: "demo", Region: "us-west-2", Endpoint: "https://" + w.Addr().String(),
		Credentials: agentCredentials, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := client.AssumeRoleForPodIdentity(t.Context(), "a.b.c"); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.connections(); n != 1 {
		t.Errorf("%d connections, want one that is kept", n)
	}
	w.hush()
	if _, err := client.AssumeRoleForPodIdentity(t.Context(), "a.b.c"); err != nil {
		t.Errorf("after the connection died: %v", err)
	}
	if n := w.connections(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// Upstream hangs, in the middle of an answer or before it: the attempts end, and so does the exchange.
func TestSlowUpstream(t *testing.T) {
	for name, respond := range map[string]func(http.ResponseWriter, <-chan struct{}){
		"nothing comes": func(_ http.ResponseWriter, end <-chan struct{}) { <-end },
		"drop by drop": func(w http.ResponseWriter, end <-chan struct{}) {
			for {
				select {
				case <-end:
					return
				case <-time.After(50 * time.Millisecond):
					_, _ = io.WriteString(w, " ")
					_ = http.NewResponseController(w).Flush()
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			end := make(chan struct{})
			u := newUpstream(t, func(w http.ResponseWriter, _ int, _ string) { respond(w, end) })
			defer close(end)
			_, err := u.client(t).AssumeRoleForPodIdentity(t.Context(), "a.b.c")
			if !errors.Is(err, context.DeadlineExceeded) || u.calls() != attempts {
				t.Errorf("got %v after %d calls, want a timeout after %d", err, u.calls(), attempts)
			}
		})
	}
}

// Upstream says when it wants to be asked again. What is longer than a pod waits is not waited for.
func TestRetryAfter(t *testing.T) {
	for value, wanted := range map[string]struct{ calls int }{"1": {2}, "3": {1}, "86400": {1}, "Sun, 06 Nov 1994 08:49:37 GMT": {2}, "-1": {2}} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			var times [2]time.Time
			u := newUpstream(t, func(w http.ResponseWriter, call int, _ string) {
				times[min(call, 2)-1] = time.Now()
				if call == 1 {
					w.Header().Set("Retry-After", value)
					deny(w, 429, "ThrottlingException", "Rate exceeded")
					return
				}
				grant(w, call, time.Now().Add(time.Hour))
			})
			_, err := u.client(t).AssumeRoleForPodIdentity(t.Context(), "a.b.c")
			if u.calls() != wanted.calls || (err == nil) != (wanted.calls == 2) {
				t.Errorf("%d calls, %v, want %d", u.calls(), err, wanted.calls)
			}
			if value == "1" && times[1].Sub(times[0]) < time.Second {
				t.Error("asked again before the time that upstream wanted")
			}
		})
	}
}

// While everything fails, exchanges make one attempt each when the others have been used up.
func TestRetriesAreBounded(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, _ int, _ string) { deny(w, 500, "InternalServerException", "down") })
	clock := time.Now()
	client, err := NewClient(ClientConfig{ClusterName: "demo", Region: "us-west-2", Endpoint: u.URL, Credentials: agentCredentials,
		Now: func() time.Time { return clock }})
	if err != nil {
		t.Fatal(err)
	}
	const exchanges = 100
	var running sync.WaitGroup
	for range exchanges {
		running.Go(func() {
			if _, err := client.AssumeRoleForPodIdentity(t.Context(), "a.b.c"); err == nil {
				t.Error("no error")
			}
		})
	}
	running.Wait()
	if u.calls() != exchanges+retryBurst {
		t.Errorf("%d calls, want %d and %d more", u.calls(), exchanges, retryBurst)
	}
}

// caching is a provider of credentials that can be told that they are void.
type caching struct {
	aws.CredentialsProvider
	invalidated int
}

func (c *caching) Invalidate() { c.invalidated++ }

// Own credentials that upstream does not accept are fetched anew, but not for each request.
func TestOwnCredentialsNotAccepted(t *testing.T) {
	for code, want := range map[string]int{"UnrecognizedClientException": 403, "ExpiredTokenException": 400} {
		u := newUpstream(t, func(w http.ResponseWriter, _ int, _ string) { deny(w, want, code, "no") })
		own := &caching{CredentialsProvider: agentCredentials}
		client, err := NewClient(ClientConfig{ClusterName: "demo", Region: "us-west-2", Endpoint: u.URL, Credentials: own})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_, _ = client.AssumeRoleForPodIdentity(t.Context(), "a.b.c")
		}
		if n := own.invalidated; n != map[int]int{403: 1, 400: 0}[want] {
			t.Errorf("%s with %d: fetched anew %d times", code, want, n)
		}
	}
}

func TestProxyIsNotForLinkLocalAddresses(t *testing.T) {
	proxy := PastLinkLocal(func(*http.Request) (*url.URL, error) { return url.Parse("http://proxy.example.com") })
	for target, want := range map[string]bool{
		"https://eks-auth.us-west-2.api.aws/": true, "http://10.0.0.1/": true, "http://169.254.1.1/": false,
		"http://169.254.169.254/latest": false, "http://169.254.170.23/v1/credentials": false, "http://[fd00:ec2::23]/v1/credentials": false,
		"http://[fd00:ec2::254]/": false, "http://[fe80::1%25eth0]/": false, "http://127.0.0.1:7070/": false, "http://[::1]/": false,
	} {
		r, err := http.NewRequest(http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := proxy(r)
		if err != nil || (got != nil) != want {
			t.Errorf("%s: %v, %v, want a proxy: %v", target, got, err, want)
		}
	}
}

// The whole path: what pods are told while upstream is broken in one way after the other, and that they are served right after.
func TestAgentInFrontOfABrokenUpstream(t *testing.T) {
	var mode atomic.Value
	mode.Store("down")
	u := newUpstream(t, func(w http.ResponseWriter, call int, token string) {
		switch mode.Load() {
		case "down":
			deny(w, 500, "InternalServerException", "down")
		case "throttled":
			w.Header().Set("Retry-After", "60")
			deny(w, 429, "ThrottlingException", "Rate exceeded")
		case "wrong JSON":
			_, _ = io.WriteString(w, `{"credentials":{"accessKeyId":7}}`)
		case "huge":
			_, _ = w.Write(make([]byte, 2*maxAnswerBytes))
		case "cut":
			panic(http.ErrAbortHandler)
		default:
			grant(w, call, time.Now().Add(time.Hour))
		}
	})
	a := start(t, u, nil)
	for i, tt := range []struct {
		mode   string
		status int
		text   string
	}{
		{"down", 500, "(InternalServerException): down, fault: server"}, {"throttled", 429, "(ThrottlingException): Rate exceeded"},
		{"wrong JSON", 500, "not the JSON of an assumed role"}, {"huge", 500, "more than 262144 bytes"}, {"cut", 500, "EOF"}, {"well", 200, "ASIA"},
	} {
		mode.Store(tt.mode)
		resp, body := fetch(t, a.url(), token("web-1", i, tomorrow()))
		if resp.StatusCode != tt.status || !strings.Contains(body, tt.text) {
			t.Errorf("%s: %s %s, want %d with %q", tt.mode, resp.Status, body, tt.status, tt.text)
		}
	}
	_, body := fetch(t, "http://"+a.listeners[2].Addr().String()+"/metrics", "")
	for _, line := range []string{
		`pod_identity_cache_errors{code="InternalServerException",type="Recoverable"} 1`,
		`pod_identity_cache_errors{code="Other",type="Recoverable"} 3`,
		`podid_agent_exchange_duration_seconds_count{for="pod"} 6`,
		`podid_agent_request_duration_seconds_count{answer="refusal"} 5`,
		`podid_agent_request_duration_seconds_bucket{answer="exchange",le="+Inf"} 1`,
		`podid_agent_cache_pods 1`, `podid_agent_exchanges_waiting 0`, fmt.Sprintf(`podid_agent_last_success_timestamp_seconds %d`, time.Now().Unix()/1e4),
	} {
		if !strings.Contains(body, "\n"+line) {
			t.Errorf("metrics lack %s", line)
		}
	}
}
