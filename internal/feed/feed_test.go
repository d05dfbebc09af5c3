package feed_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"

	eksapi "github.com/podid/podid/internal/eks"
	"github.com/podid/podid/internal/feed"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

var (
	carts  = identity.ServiceAccount{Namespace: "carts", Name: "carts"}
	orders = identity.ServiceAccount{Namespace: "orders", Name: "api"}
)

// follow follows the cluster [servertest.Cluster] at a URL and returns what is told, a line each.
func follow(t *testing.T, s *servertest.Server, url, after string, change func(*feed.Config)) <-chan string {
	t.Helper()
	cfg := feed.Config{ClusterName: servertest.Cluster, Endpoint: url, Region: servertest.Region, Rand: func() float64 { return 0 }}
	if s != nil {
		cfg.Credentials = s.Admin.Credentials
	}
	if change != nil {
		change(&cfg)
	}
	client, err := feed.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 1000)
	tell := func(format string, args ...any) { told <- fmt.Sprintf(format, args...) }
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		client.Follow(ctx, after, feed.Sink{
			Cluster: func(c feed.Cluster) { tell("cluster %s %s %s %s", c.Name, c.Partition, c.Region, c.AccountID) },
			List:    func() { tell("list") },
			Put:     func(a feed.Association) { tell("put %s/%s %s", a.Namespace, a.Name, a.ID) },
			Delete:  func(a identity.ServiceAccount) { tell("delete %s/%s", a.Namespace, a.Name) },
			Mark:    func(m feed.Mark) { tell("mark listed=%v %s", m.Listed, m.Position) },
			Lost:    func(err error) { tell("lost: %v", err) },
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return told
}

// want reads the next lines, each of which must begin as it is wanted; bookmarks between them are passed over. It returns the last.
func want(t *testing.T, told <-chan string, lines ...string) (got string) {
	t.Helper()
	for _, line := range lines {
		for {
			select {
			case got = <-told:
			case <-time.After(30 * time.Second):
				t.Fatalf("%q never came", line)
			}
			if strings.HasPrefix(got, line) {
				break
			}
			if !strings.HasPrefix(got, "mark listed=false") {
				t.Fatalf("got %q, want %q", got, line)
			}
		}
	}
	return got
}

func position(mark string) string { return mark[strings.LastIndexByte(mark, ' ')+1:] }

const clusterLine = "cluster local aws us-west-2 111122223333"

func TestFollow(t *testing.T) {
	s := servertest.New(t, func(c *server.Config) { c.Feed.Heartbeat = 20 * time.Millisecond })
	role := s.MakeRole("carts", servertest.PodTrust, "")
	first := s.Associate(servertest.Cluster, carts, role, nil)
	s.Associate(servertest.Other, orders, role, nil)
	told := follow(t, s, s.URL, "", nil)
	want(t, told, clusterLine, "list", "put carts/carts "+first, "mark listed=true")

	s.Associate(servertest.Other, carts, role, nil) // of another cluster: not told
	second := s.Associate(servertest.Cluster, orders, role, nil)
	want(t, told, "put orders/api "+second, "mark listed=false")
	client := eks.NewFromConfig(s.Admin)
	name := aws.String(servertest.Cluster)
	if _, err := client.UpdatePodIdentityAssociation(t.Context(), &eks.UpdatePodIdentityAssociationInput{
		ClusterName: name, AssociationId: &second, DisableSessionTags: aws.Bool(true),
	}); err != nil {
		t.Fatal(err)
	}
	want(t, told, "put orders/api "+second)
	if _, err := client.DeletePodIdentityAssociation(t.Context(), &eks.DeletePodIdentityAssociationInput{
		ClusterName: name, AssociationId: &first,
	}); err != nil {
		t.Fatal(err)
	}
	want(t, told, "delete carts/carts", "mark listed=false", "mark listed=false") // the last is a heartbeat

	watched := 0
	for _, entry := range s.Audit() {
		if entry["operation"] == "WatchPodIdentityAssociations" {
			watched++
			if entry["cluster"] != servertest.Cluster || entry["caller"] != servertest.AdminARN || entry["status"] != 200.0 {
				t.Errorf("audit entry %v", entry)
			}
		}
	}
	if watched != 1 {
		t.Errorf("%d audit entries for one stream", watched)
	}
}

// TestResume cuts the connection and checks that only what changed meanwhile is told; after a restart of the server everything.
func TestResume(t *testing.T) {
	s := servertest.New(t, nil)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	s.Associate(servertest.Cluster, carts, role, nil)
	l := newLink(t, s.URL)
	told := follow(t, s, l.url, "", nil)
	mark := want(t, told, clusterLine, "list", "put carts/carts", "mark listed=true")
	l.cut()
	want(t, told, "lost: ")
	s.Associate(servertest.Cluster, orders, role, nil)
	l.mend()
	for got := ""; got != clusterLine; { // it may have failed to connect some times
		got = <-told
	}
	want(t, told, "put orders/api", "mark listed=false")

	want(t, follow(t, s, s.URL, position(mark), nil), clusterLine, "put orders/api", "mark listed=false")
	want(t, follow(t, s, s.URL, "another.1", nil), clusterLine, "list", "put carts/carts", "put orders/api", "mark listed=true")
	s.Stop()
	again := servertest.Open(t, s.DataDir, nil)
	want(t, follow(t, again, again.URL, position(mark), nil), clusterLine, "list", "put carts/carts", "put orders/api", "mark listed=true")
}

// TestRenewal checks that a stream that has lasted long enough is replaced without a gap or a new list.
func TestRenewal(t *testing.T) {
	s := servertest.New(t, func(c *server.Config) { c.Feed = eksapi.FeedConfig{Life: 30 * time.Millisecond} })
	role := s.MakeRole("carts", servertest.PodTrust, "")
	told := follow(t, s, s.URL, "", nil)
	want(t, told, clusterLine, "list", "mark listed=true", clusterLine, "mark listed=false", clusterLine)
	s.Associate(servertest.Cluster, carts, role, nil)
	for got := ""; !strings.HasPrefix(got, "put carts/carts"); {
		if got = <-told; strings.HasPrefix(got, "lost") || got == "list" {
			t.Fatalf("got %q", got)
		}
	}
}

func TestRefused(t *testing.T) {
	s := servertest.New(t, func(c *server.Config) { c.Feed.Streams = 1 })
	nobody := s.Limited("nobody", servertest.Allow(`["eks:DescribeCluster"]`, "*", ""))
	for _, test := range []struct {
		what   string
		change func(*feed.Config)
		want   string
	}{
		{"not allowed", func(c *feed.Config) { c.Credentials = nobody.Credentials }, "lost: AccessDeniedException: "},
		{"no such cluster", func(c *feed.Config) { c.ClusterName = "none" }, "lost: ResourceNotFoundException: No cluster found for name: none."},
		{"no credentials", func(c *feed.Config) {
			c.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, io.EOF })
		}, "lost: getting credentials"},
	} {
		t.Run(test.what, func(t *testing.T) { want(t, follow(t, s, s.URL, "", test.change), test.want, test.want) })
	}
	t.Run("unsigned", func(t *testing.T) {
		a := s.Send(servertest.Call{Target: "/podid/v1/clusters/local/pod-identity-associations"})
		if refusal := s.Refusal(a); a.Status != 403 || refusal.Code != "MissingAuthenticationTokenException" {
			t.Errorf("got %d %v", a.Status, refusal)
		}
	})
	t.Run("one too many", func(t *testing.T) {
		want(t, follow(t, s, s.URL, "", nil), clusterLine, "list", "mark listed=true")
		want(t, follow(t, s, s.URL, "", nil), "lost: ServiceUnavailableException: 1 feeds are open")
	})
}

// TestSlowReader checks that a client that does not read loses its place to one that does.
func TestSlowReader(t *testing.T) {
	s := servertest.New(t, func(c *server.Config) {
		c.Feed.Streams = 1
		c.PieceDeadline = 50 * time.Millisecond
		c.Listener = smallBuffers{c.Listener}
	})
	role := s.MakeRole("carts", servertest.PodTrust, "")
	for i := range 400 { // 90 KB of lines
		s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "carts", Name: fmt.Sprintf("carts-%d", i)}, role, nil)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			err = c.(*net.TCPConn).SetReadBuffer(4096)
		}
		return c, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	resp, err := transport.RoundTrip(s.Sign(servertest.Call{Service: "eks", Target: "/podid/v1/clusters/local/pod-identity-associations"}))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %v, %v", resp, err)
	}
	defer resp.Body.Close() // and does not read it
	told := follow(t, s, s.URL, "", nil)
	for got := ""; !strings.HasPrefix(got, "mark listed=true"); {
		select {
		case got = <-told:
		case <-time.After(30 * time.Second):
			t.Fatal("the slow reader was not cut")
		}
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the slow reader got everything")
	}
}

type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(4096)
	}
	return c, err
}

// TestShutdown checks that a server that ends does not wait for its streams, and ends them in order.
func TestShutdown(t *testing.T) {
	s := servertest.New(t, nil)
	resp, err := http.DefaultTransport.RoundTrip(s.Sign(servertest.Call{Service: "eks", Target: "/podid/v1/clusters/local/pod-identity-associations"}))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body := bufio.NewReader(resp.Body)
	for line := ""; !strings.Contains(line, "SYNCED"); {
		if line, err = body.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop()
	if _, err := io.ReadAll(body); err != nil {
		t.Errorf("the answer ends with %v; want it whole", err)
	}
}

// TestSilence checks that a connection on which nothing comes is given up.
func TestSilence(t *testing.T) {
	dead := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"type":"SYNCED","position":"a.1"}`+"\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(dead.Close)
	told := follow(t, nil, dead.URL, "", func(c *feed.Config) {
		c.Silence = 20 * time.Millisecond
		c.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "x"}, nil
		})
	})
	want(t, told, "mark", "lost: the server has been silent for too long", "mark")
}

func TestAssociated(t *testing.T) {
	s := servertest.New(t, nil)
	s.Associate(servertest.Cluster, carts, s.MakeRole("carts", servertest.PodTrust, ""), nil)
	client, err := feed.New(feed.Config{ClusterName: servertest.Cluster, Endpoint: s.URL, Region: servertest.Region, Credentials: s.Admin.Credentials})
	if err != nil {
		t.Fatal(err)
	}
	for account, want := range map[identity.ServiceAccount]bool{carts: true, orders: false} {
		if got, err := client.Associated(t.Context(), account); got != want || err != nil {
			t.Errorf("%v: got %v, %v, want %v", account, got, err, want)
		}
	}
	s.Stop()
	if _, err := client.Associated(t.Context(), carts); err == nil {
		t.Error("got an answer from a server that has ended")
	}
}

// link is a way to a server that can be cut.
type link struct {
	url string
	to  string

	mu     sync.Mutex // guards the following
	broken bool
	active []net.Conn
}

func newLink(t *testing.T, url string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{url: "http://" + listener.Addr().String(), to: strings.TrimPrefix(url, "http://")}
	t.Cleanup(func() { _ = listener.Close(); l.cut() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			l.serve(c)
		}
	}()
	return l
}

func (l *link) serve(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	up, err := net.Dial("tcp", l.to)
	if l.broken || err != nil {
		_ = c.Close()
		if err == nil {
			_ = up.Close()
		}
		return
	}
	l.active = append(l.active, c, up)
	go func() { _, _ = io.Copy(up, c); _ = up.Close() }()
	go func() { _, _ = io.Copy(c, up); _ = c.Close() }()
}

func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
	for _, c := range l.active {
		_ = c.Close()
	}
	l.active = nil
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = false
}

// BenchmarkChange measures how long after the call that made an association its follower is told of it.
func BenchmarkChange(b *testing.B) {
	s := servertest.New(b, nil)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	client, err := feed.New(feed.Config{ClusterName: servertest.Cluster, Endpoint: s.URL, Region: servertest.Region, Credentials: s.Admin.Credentials})
	if err != nil {
		b.Fatal(err)
	}
	told, ready := make(chan time.Time, 1), make(chan struct{})
	begin := sync.OnceFunc(func() { close(ready) })
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go client.Follow(ctx, "", feed.Sink{
		Put:  func(feed.Association) { told <- time.Now() },
		Mark: func(feed.Mark) { begin() },
	})
	<-ready
	var late []time.Duration
	n := 0
	for b.Loop() {
		s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "carts", Name: fmt.Sprintf("carts-%d", n)}, role, nil)
		returned := time.Now()
		late = append(late, max((<-told).Sub(returned), 0)) // it may have been told before the call returned
		n++
	}
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "ms-p50-told")
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "ms-p99-told")
}
