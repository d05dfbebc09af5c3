package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podid/podid/internal/identity"
)

// generation is an agent that gives its name as the access key, so that a pod's answer tells which agent it is from.
type generation struct {
	*Agent
	t    *testing.T
	logs logs
	end  context.CancelFunc
	done chan error
}

func newGeneration(t *testing.T, dir, name string) *generation {
	t.Helper()
	g := &generation{t: t, done: make(chan error, 1)}
	a, err := New(Config{
		BindHosts: []string{"127.0.0.1"}, ProbeAddr: "127.0.0.1:0", MetricsAddr: "127.0.0.1:0", HandoverDir: dir,
		Retention: time.Hour, CacheSize: 100, RenewalsPerSecond: 3, Logger: g.logs.logger(),
		AssumeRole: func(context.Context, identity.Secret) (*Assumption, error) {
			return &Assumption{Credentials: identity.Credentials{AccessKeyID: name, ExpiresAt: time.Now().Add(time.Hour)}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	g.Agent = a
	return g
}

// run starts the agent and waits until it serves.
func (g *generation) run() *generation {
	g.t.Helper()
	if err := g.Listen(); err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.end = cancel
	go func() { g.done <- g.Run(ctx) }()
	g.t.Cleanup(g.stop)
	g.says("agent serves")
	return g
}

// stop ends the agent, once.
func (g *generation) stop() {
	g.t.Helper()
	if g.end == nil {
		return
	}
	g.end()
	g.end = nil
	if err := <-g.done; err != nil {
		g.t.Errorf("Run: %v", err)
	}
}

// says waits for a line in the log. Lines of before do not count.
func (g *generation) says(text string) {
	g.t.Helper()
	within(g.t, text, func() bool { return strings.Contains(g.logs.String(), text) })
	g.logs.mu.Lock()
	g.logs.text.Reset()
	g.logs.mu.Unlock()
}

func within(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %q", what)
		}
	}
}

// wantFrom asks as a pod on a connection of its own.
func wantFrom(t *testing.T, url, name string) {
	t.Helper()
	resp, body := fetchOnce(t, url, token("web-1", 1, tomorrow()))
	if resp.StatusCode != 200 || !strings.Contains(body, fmt.Sprintf("%q", name)) {
		t.Errorf("got %s %s, want an answer of %s", resp.Status, body, name)
	}
}

func fetchOnce(t *testing.T, url, token string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", token)
	resp, err := (&http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: 20 * time.Second}).RoundTrip(req)
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

func handoverDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "agent")
	if err := MakeHandoverDir(dir, os.Geteuid()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// One agent after the other gets the same sockets, and whoever is left when another ends serves on.
func TestHandover(t *testing.T) {
	dir := handoverDir(t)
	first := newGeneration(t, dir, "first").run()
	url, probe := first.url(), "http://"+first.listeners[1].Addr().String()+"/readyz"
	wantFrom(t, url, "first")

	second := newGeneration(t, dir, "second").run()
	first.says("stands by")
	if second.url() != url {
		t.Errorf("the second agent serves %s, the first %s", second.url(), url)
	}
	wantFrom(t, url, "second")
	if resp, _ := fetchOnce(t, probe, ""); resp.StatusCode != 200 {
		t.Errorf("probe: %s", resp.Status)
	}

	second.stop()
	first.says("serves again")
	wantFrom(t, url, "first")

	third := newGeneration(t, dir, "third").run()
	first.says("stands by")
	first.stop()
	wantFrom(t, url, "third")

	fourth := newGeneration(t, dir, "fourth").run()
	third.says("stands by")
	wantFrom(t, url, "fourth")
	third.stop()
	wantFrom(t, url, "fourth")
	fourth.stop()
	if _, err := net.Dial("tcp", first.Addrs()[0].String()); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after the last one has ended: got %v, want a refused connection", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "agent.sock" {
		t.Errorf("in the directory: %v, %v", left, err)
	}
	wantFrom(t, newGeneration(t, dir, "fifth").run().url(), "fifth") // the dead socket is in nobody's way
}

// An agent that dies in the midst of taking over leaves everything as it was.
func TestSuccessorThatDies(t *testing.T) {
	dir := handoverDir(t)
	first := newGeneration(t, dir, "first").run()
	second := newGeneration(t, dir, "second")
	if err := second.Listen(); err != nil {
		t.Fatal(err)
	}
	wantFrom(t, first.url(), "first") // it has not said that it serves
	_ = second.predecessor.Close()
	for _, l := range second.listeners {
		_ = l.Close()
	}
	first.says("successor has not come to serve")
	wantFrom(t, first.url(), "first")
	newGeneration(t, dir, "third").run()
	first.says("stands by")
	wantFrom(t, first.url(), "third")
}

// Pods ask all the time, on new connections and on old ones, while agents come and go. No request fails.
func TestHandoverUnderLoad(t *testing.T) {
	dir := handoverDir(t)
	current := newGeneration(t, dir, "0").run()
	url := current.url()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var requests, failures atomic.Int64
	var clients sync.WaitGroup
	for i := range 10 {
		clients.Go(func() {
			transport := &http.Transport{DisableKeepAlives: i%2 == 0, ResponseHeaderTimeout: 20 * time.Second}
			defer transport.CloseIdleConnections()
			text := token("web-1", 1, tomorrow())
			for ctx.Err() == nil {
				req, _ := http.NewRequest(http.MethodPost, url, nil) // which Go does not send twice
				req.Header.Set("Authorization", text)
				resp, err := transport.RoundTrip(req)
				requests.Add(1)
				if err != nil {
					failures.Add(1)
					t.Errorf("request %d: %v", requests.Load(), err)
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if err != nil || resp.StatusCode != 200 {
					failures.Add(1)
					t.Errorf("request %d: %s, %v", requests.Load(), resp.Status, err)
				}
			}
		})
	}
	busy := func() {
		seen := requests.Load()
		within(t, "load", func() bool { return requests.Load() > seen+300 || failures.Load() > 0 })
	}
	for i := range 10 {
		busy()
		next := newGeneration(t, dir, fmt.Sprint(i+1)).run()
		current.says("stands by")
		busy()
		if i%3 == 2 { // a successor that does not last
			next.stop()
			current.says("serves again")
			continue
		}
		current.stop()
		current = next
	}
	busy()
	cancel()
	clients.Wait()
	t.Logf("%d requests", requests.Load())
}

func TestHandoverDirMustBePrivate(t *testing.T) {
	dir := handoverDir(t)
	first := newGeneration(t, dir, "first").run()
	for name, tt := range map[string]struct {
		damage func() error
		want   string
	}{
		"open to others": {func() error { return os.Chmod(dir, 0o701) }, "mode 0700"},
		"open to group":  {func() error { return os.Chmod(dir, 0o720) }, "mode 0700"},
		"not there":      {func() error { return os.Rename(dir, dir+".away") }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.damage(); err != nil {
				t.Fatal(err)
			}
			err := newGeneration(t, dir, "second").Listen()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			_ = os.Rename(dir+".away", dir)
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		})
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 65534, -1); err != nil {
			t.Fatal(err)
		}
		if err := newGeneration(t, dir, "second").Listen(); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
			t.Errorf("of another user: got %v", err)
		}
		_ = os.Chown(dir, 0, -1)
	}
	wantFrom(t, first.url(), "first")
}

func TestWhoMayHaveTheSockets(t *testing.T) {
	for _, tt := range []struct {
		peer, own, owner uint32
		want             bool
	}{
		{0, 65532, 65532, true},
		{65532, 65532, 0, true},
		{65532, 65532, 65532, true},
		{65532, 0, 65532, true}, // the agent before was root's, the directory was given to the next one's user
		{65532, 0, 0, false},
		{65532, 1000, 1000, false},
		{1000, 65532, 65532, false},
	} {
		if got := mayHave(tt.peer, tt.own, tt.owner); got != tt.want {
			t.Errorf("user %d asks user %d in a directory of %d: got %v", tt.peer, tt.own, tt.owner, got)
		}
	}
}

// What the other end sends is not trusted to be well made, and leaves no descriptor open.
func TestBadOffers(t *testing.T) {
	listening, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	tcp, _ := listening.(*net.TCPListener).File()
	defer tcp.Close()
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, tt := range map[string]struct {
		data  string
		files []*os.File
		want  string
	}{
		"good":              {`{"Version":1,"Sockets":["a"]}`, []*os.File{tcp}, ""},
		"not JSON":          {`hello`, []*os.File{tcp}, "not understood"},
		"version":           {`{"Version":2,"Sockets":["a"]}`, []*os.File{tcp}, "version 2"},
		"fewer sockets":     {`{"Version":1,"Sockets":["a","b"]}`, []*os.File{tcp}, "2 names for 1 sockets"},
		"more sockets":      {`{"Version":1,"Sockets":["a"]}`, []*os.File{tcp, tcp}, "1 names for 2 sockets"},
		"no sockets":        {`{"Version":1,"Sockets":["a"]}`, nil, "1 names for 0 sockets"},
		"the same twice":    {`{"Version":1,"Sockets":["a","a"]}`, []*os.File{tcp, tcp}, "the second one"},
		"no socket":         {`{"Version":1,"Sockets":["a"]}`, []*os.File{file}, "the socket for a"},
		"too long":          {`{"Version":1,"Sockets":["` + strings.Repeat("a", maxOffer) + `"]}`, []*os.File{tcp}, "does not deliver"},
		"nothing, then end": {"", nil, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			var fds []int
			for _, f := range tt.files {
				fds = append(fds, int(f.Fd()))
			}
			if tt.data != "" {
				if err := unix.Sendmsg(pair[0], []byte(tt.data), unix.UnixRights(fds...), nil, 0); err != nil {
					t.Fatal(err)
				}
			}
			_ = unix.Close(pair[0])
			f := os.NewFile(uintptr(pair[1]), "pair")
			conn, err := net.FileConn(f)
			_ = f.Close()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			before := descriptors(t)
			sockets, err := receive(conn.(*net.UnixConn))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err == nil && sockets["a"].Addr().String() != listening.Addr().String() {
				t.Errorf("got %v", sockets)
			}
			closeAll(sockets)
			if after := descriptors(t); after != before {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
