package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podid/podid/internal/link"
	"github.com/podid/podid/internal/link/netnstest"
)

const (
	agentUser = 65532
	overIPv4  = "http://169.254.170.23/v1/credentials"
	overIPv6  = "http://[fd00:ec2::23]/v1/credentials"
)

// node is a node with one pod. Each has a network of its own, and nothing but a wire leads from them to the control plane.
type node struct {
	*netnstest.Namespace
	t             *testing.T
	pod           *netnstest.Namespace
	d             *devServer
	program       string // podid-agent, where any user can run it
	handover      string
	upstream, sts *wire
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{Namespace: netnstest.New(t), t: t, pod: netnstest.New(t)}
	n.Connect(n.pod)
	n.d, _ = pods(t)
	n.upstream, n.sts = newWire(t, n.Namespace, n.d.url), newWire(t, n.pod, n.d.url)
	dir, err := os.MkdirTemp("", "podid-node-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program, err := os.ReadFile(filepath.Join(programs, "podid-agent"))
	if err != nil {
		t.Fatal(err)
	}
	n.program, n.handover = writeFile(t, filepath.Join(dir, "podid-agent"), string(program), 0o755), filepath.Join(dir, "run")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return n
}

// initialize runs the init container of the node.
func (n *node) initialize(args ...string) string {
	n.t.Helper()
	var got result
	n.Do(func() {
		got = run(n.t, environment(n.t), "", n.program, append([]string{"initialize", "--handover-user", strconv.Itoa(agentUser)}, args...)...)
	})
	if got.code != 0 || got.stdout != "" {
		n.t.Fatalf("initialize: %+v", got)
	}
	return got.stderr
}

// start starts an agent with as few rights as it can have, and waits until it serves.
func (n *node) start() *process {
	n.t.Helper()
	env := []string{"HOME=/nonexistent"}
	for _, name := range []string{"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		env = append(env, name+"="+value(n.d.env, name))
	}
	p := prepare(env, nil, n.program, "server", "--cluster-name", "local", "--endpoint", n.upstream.url, "--handover-dir", n.handover,
		"--max-requests-per-source", "1000000") // the load of a whole node comes from one pod here
	p.cmd.Dir = "/"
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: agentUser, Gid: agentUser}, AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE},
	}
	n.Do(func() { p.begin(n.t) })
	logs(n.t, p, "agent serves")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil || !strings.Contains(string(status), "CapEff:\t0000000000000400\n") {
		n.t.Errorf("the agent has other rights than to bind port 80: %s, %v", status, err)
	}
	return p
}

func logs(t *testing.T, p *process, text string) {
	t.Helper()
	eventually(t, text, func() error {
		if log := p.stderr.String(); !strings.Contains(log, text) {
			return fmt.Errorf("stderr is %q", log)
		}
		return nil
	})
}

// ready waits until the agent's probe, on the node, answers with a status, and returns the answer.
func (n *node) ready(status int) (body string) {
	n.t.Helper()
	client := n.client(n.Namespace, false)
	eventually(n.t, fmt.Sprint("probe answers ", status), func() error {
		resp, err := client.Get("http://localhost:2703/readyz?verbose")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != status {
			err = fmt.Errorf("%s: %s", resp.Status, text)
		}
		body = string(text)
		return err
	})
	return body
}

// client speaks HTTP from inside a namespace.
func (n *node) client(from *netnstest.Namespace, keepAlive bool) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: !keepAlive,
		DialContext: func(_ context.Context, network, addr string) (conn net.Conn, err error) {
			addr = strings.Replace(addr, "localhost", "127.0.0.1", 1) // a name would be looked up elsewhere
			from.Do(func() { conn, err = net.DialTimeout(network, addr, patience) })
			return conn, err
		},
	}}
}

// whoami runs a program with an AWS SDK in the pod, whose credentials come from a URL, and returns what it says.
func (n *node) whoami(uri string) result {
	n.t.Helper()
	file := writeFile(n.t, filepath.Join(n.t.TempDir(), "token"), n.d.token(n.t, "carts"), 0o600)
	var got result
	n.pod.Do(func() {
		got = run(n.t, environment(n.t, "AWS_REGION=us-west-2", "AWS_ENDPOINT_URL="+n.sts.url, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+uri,
			"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+file), "", os.Args[0], "child", "whoami")
	})
	return got
}

func (n *node) isCarts(uris ...string) {
	n.t.Helper()
	for _, uri := range uris {
		if got := n.whoami(uri); got.code != 0 || !strings.Contains(got.stdout, ":assumed-role/carts/eks-local-carts-0-") {
			n.t.Errorf("by %s the pod is %+v", uri, got)
		}
	}
}

// request asks as the pod on a client's connection. It is a POST, which Go's client sends only once.
func request(client *http.Client, uri, token string) error {
	req, err := http.NewRequest(http.MethodPost, uri, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", token)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return err
}

// A pod gets its credentials at the addresses that it has them at in EKS, from a node of which it sees nothing else.
func TestLink(t *testing.T) {
	n := newNode(t)
	n.initialize("--handover-dir", n.handover) // the directory is the agent's, and it is there before the link goes again
	n.initialize("--remove")

	agent := n.start() // before there is an address
	logs(t, agent, "address is not served")
	n.ready(http.StatusInternalServerError)
	n.initialize()
	if got, want := n.ready(http.StatusOK), "169.254.170.23 serves\nfd00:ec2::23 serves\n"; got != want {
		t.Errorf("ready: %q, want %q", got, want)
	}
	n.isCarts(overIPv4, overIPv6)
	if again := n.initialize(); strings.Contains(again, "added") || strings.Contains(again, "made") {
		t.Errorf("the second initialize: %s", again)
	}
	n.isCarts(overIPv4, overIPv6)

	for _, gone := range []struct{ address, uri, other string }{
		{"169.254.170.23/32", overIPv4, overIPv6}, {"fd00:ec2::23/128", overIPv6, overIPv4},
	} {
		n.Do(func() {
			addr, err := netlink.ParseAddr(gone.address)
			if err = errors.Join(err, netlink.AddrDel(n.Link(link.Name), addr)); err != nil {
				t.Error(err)
			}
		})
		host, _, _ := strings.Cut(gone.address, "/")
		if got := n.ready(http.StatusOK); !strings.Contains(got, host+" does not serve: not an address of this node\n") {
			t.Errorf("ready without %s: %q", host, got)
		}
		n.isCarts(gone.other)
		n.initialize()
		n.isCarts(gone.uri)
	}

	n.initialize("--remove")
	n.ready(http.StatusInternalServerError)
	if code := agent.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// Where no link can be made the addresses are on lo, and pods reach them there too.
func TestLinkOnLoopback(t *testing.T) {
	n := newNode(t)
	n.Do(func() { // as an earlier initialize has left it
		addr, err := netlink.ParseAddr("169.254.170.23/32")
		if err == nil {
			addr.Label, addr.Scope = "lo:podid", unix.RT_SCOPE_HOST
			err = netlink.AddrAdd(n.Link("lo"), addr)
		}
		if err != nil {
			t.Error(err)
		}
	})
	n.initialize("--handover-dir", n.handover)
	n.start()
	n.ready(http.StatusOK)
	n.isCarts(overIPv4, overIPv6)
}

func TestLinkWithoutIPv6(t *testing.T) {
	n := newNode(t)
	n.Do(func() {
		n.Sysctl("net/ipv6/conf/all/disable_ipv6", "1")
		n.Sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	})
	if log := n.initialize("--handover-dir", n.handover); !strings.Contains(log, "no IPv6 address for pods") {
		t.Errorf("initialize: %s", log)
	}
	n.start()
	if got, want := n.ready(http.StatusOK), "169.254.170.23 serves\nfd00:ec2::23 does not serve: not an address of this node\n"; got != want {
		t.Errorf("ready: %q, want %q", got, want)
	}
	n.isCarts(overIPv4)
}

// While pods ask without a pause, on new connections and on old ones, by both addresses, one agent after the other takes over.
func TestUpgradeUnderLoad(t *testing.T) {
	const clients, requests = 10, 3000
	n := newNode(t)
	n.initialize("--handover-dir", n.handover)
	agent, token := n.start(), n.d.token(t, "carts")

	var done atomic.Int64
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			client, uri := n.client(n.pod, i%4 > 1), []string{overIPv4, overIPv6}[i%2]
			defer client.CloseIdleConnections()
			for range requests {
				if err := request(client, uri, token); err != nil {
					t.Errorf("client %d, after %d requests of all: %v", i, done.Load(), err)
				}
				done.Add(1)
			}
		})
	}
	takeovers := 0
	for done.Load() < clients*requests*9/10 {
		before := done.Load()
		next := n.start()
		logs(t, agent, "stands by")
		if code := agent.stop(t, syscall.SIGTERM); code != 0 {
			t.Errorf("exit code %d, want 0; stderr %s", code, agent.stderr.String())
		}
		agent = next
		takeovers++
		eventually(t, "load", func() error {
			if now := done.Load(); now < min(before+1000, clients*requests) {
				return fmt.Errorf("%d requests", now)
			}
			return nil
		})
	}
	all.Wait()
	t.Logf("%d requests, %d takeovers", done.Load(), takeovers)
	if takeovers < 3 {
		t.Errorf("only %d agents took over in all that time", takeovers)
	}
}

// A new version that does not live leaves the old one serving.
func TestUpgradeToABrokenVersion(t *testing.T) {
	n := newNode(t)
	n.initialize("--handover-dir", n.handover)
	old := n.start()
	n.isCarts(overIPv4)
	for range 3 {
		broken := n.start()
		logs(t, old, "stands by")
		broken.stop(t, syscall.SIGKILL)
		n.isCarts(overIPv4) // at once: what comes too early waits in the kernel
	}
	n.start()
	old.stop(t, syscall.SIGTERM)
	n.isCarts(overIPv4, overIPv6)
}

// A control plane that is slow or out of reach takes no pod's credentials.
func TestUpstreamSlowAndCut(t *testing.T) {
	n := newNode(t)
	n.initialize("--handover-dir", n.handover)
	n.start()
	client, early, late := n.client(n.pod, true), n.d.token(t, "carts"), n.d.token(t, "carts")
	n.upstream.delay.Store(int64(300 * time.Millisecond))
	if err := request(client, overIPv4, early); err != nil {
		t.Errorf("slow: %v", err)
	}
	n.upstream.sever()
	if err := request(client, overIPv4, early); err != nil {
		t.Errorf("cut, a pod that has credentials: %v", err)
	}
	if late == early {
		t.Fatal("two tokens are the same")
	}
	if err := request(client, overIPv4, late); err == nil || !strings.HasPrefix(err.Error(), "5") {
		t.Errorf("cut, a token that nobody has seen: got %v, want a server's error", err)
	}
	n.upstream.mend()
	eventually(t, "credentials after the cut", func() error { return request(client, overIPv4, late) })
}

// wire forwards TCP connections out of a namespace. It can be slow, and it can be cut.
type wire struct {
	url   string
	delay atomic.Int64 // nanoseconds, for each piece of data

	mu    sync.Mutex
	cut   bool                  // guarded by mu
	conns map[net.Conn]struct{} // both ends of all connections; guarded by mu
}

func newWire(t *testing.T, from *netnstest.Namespace, to string) *wire {
	t.Helper()
	w := &wire{conns: map[net.Conn]struct{}{}}
	var l net.Listener
	from.Do(func() {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Error(err)
		}
	})
	w.url = "http://" + l.Addr().String()
	t.Cleanup(func() {
		_ = l.Close()
		w.sever()
	})
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", strings.TrimPrefix(to, "http://"))
			if err != nil || !w.hold(near, far) {
				_ = near.Close()
				continue
			}
			go w.forward(near, far)
			go w.forward(far, near)
		}
	}()
	return w
}

// hold remembers connections, and closes the second if there is a cut.
func (w *wire) hold(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		_ = conns[1].Close()
		return false
	}
	for _, c := range conns {
		w.conns[c] = struct{}{}
	}
	return true
}

func (w *wire) forward(to, from net.Conn) {
	data := make([]byte, 32<<10)
	for {
		n, err := from.Read(data)
		time.Sleep(time.Duration(w.delay.Load()))
		if _, writeErr := to.Write(data[:n]); err != nil || writeErr != nil {
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range []net.Conn{to, from} {
		_ = c.Close()
		delete(w.conns, c)
	}
}

func (w *wire) sever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for c := range w.conns {
		_ = c.Close()
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = false
}
