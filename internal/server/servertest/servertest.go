// Package servertest starts a control plane for tests: all of it, on a real embedded etcd and a free port of the loopback interface.
// Tests call it as any client would, with the AWS SDK.
package servertest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/podrun"
	"github.com/podid/podid/internal/server"
)

// What every server for tests is.
const (
	Region    = "us-west-2"
	AccountID = "111122223333"
	Cluster   = "local" // a built-in cluster
	Other     = "edge"  // another one
)

// Server is a control plane under test.
type Server struct {
	URL     string
	DataDir string
	Admin   aws.Config // the administrator
	Log     *Log

	t    testing.TB
	stop func()
}

// New starts a server with the built-in clusters [Cluster] and [Other] and an embedded S3, which ends with the test. change, if not
// nil, may change the configuration before.
func New(t testing.TB, change func(*server.Config)) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "podid-") // a short path, since etcd's sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return Open(t, dir, change)
}

// Open is New with a data directory that another server may have used before.
func Open(t testing.TB, dir string, change func(*server.Config)) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := &Log{}
	cfg := server.Config{
		DataDir: dir, Region: Region, AccountID: AccountID, Listener: listener, BuiltInClusters: []string{Cluster, Other},
		CredentialsFullURI: "http://169.254.170.23/v1/credentials", S3: true, AllowHTTP: true, UnsafeNoSync: true,
		Logger: slog.New(slog.NewJSONHandler(log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	control, err := server.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- control.Run(ctx) }()
	s := &Server{URL: control.URL(), DataDir: dir, Log: log, t: t}
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with: %v", err)
		}
	})
	t.Cleanup(s.stop)
	admin := control.Admin()
	s.Admin = s.As(aws.Credentials{AccessKeyID: admin.AccessKeyID, SecretAccessKey: admin.SecretAccessKey.Reveal()})
	return s
}

// Stop ends the server before the test does.
func (s *Server) Stop() { s.stop() }

// As is an AWS configuration with other credentials. Calls are not tried again, so that a test sees the first answer.
func (s *Server) As(credentials aws.Credentials) aws.Config {
	return aws.Config{
		Region: Region, BaseEndpoint: aws.String(s.URL), RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return credentials, nil }),
	}
}

// Token returns a token of a pod, with the audience of EKS Pod Identity, from a built-in cluster.
func (s *Server) Token(cluster string, account identity.ServiceAccount, pod string) string {
	s.t.Helper()
	return s.TokenFor(cluster, account, pod, identity.PodIdentityAudience)
}

// TokenFor is Token with any audience.
func (s *Server) TokenFor(cluster string, account identity.ServiceAccount, pod, audience string) string {
	s.t.Helper()
	kube, err := podrun.Connect(s.t.Context(), s.Admin, cluster)
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := kube.Token(s.t.Context(), account, podrun.TokenRequest{
		Audience: audience, ExpirationSeconds: 3600, PodName: pod, PodUID: "5a20f883-0000-4000-8000-" + uidTail(pod),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return token.Value.Reveal()
}

func uidTail(pod string) string {
	tail := []byte("000000000000")
	for i := range min(len(pod), len(tail)) {
		tail[i] = "0123456789abcdef"[pod[i]&15]
	}
	return string(tail)
}

// Answer is an answer of the server as it came over the wire.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// JSON decodes the body.
func (a *Answer) JSON(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Body), v); err != nil {
		t.Fatalf("body %q: %v", a.Body, err)
	}
}

// Do sends a request as it is and reads the answer.
func (s *Server) Do(r *http.Request) *Answer {
	s.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return &Answer{resp.StatusCode, resp.Header, string(body)}
}

// Audit returns the lines of the audit log.
func (s *Server) Audit() []map[string]any {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.DataDir, "audit.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	var entries []map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	for decoder.More() {
		var entry map[string]any
		if err := decoder.Decode(&entry); err != nil {
			s.t.Fatal(err)
		}
		entries = append(entries, entry)
	}
	return entries
}

// Log is what the server has logged, as JSON lines.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write appends.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns all that was logged so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// WithClusterHeader signs a cluster's name into a presigned request, as "aws eks get-token" does.
func WithClusterHeader(cluster string) func(*sts.PresignOptions) {
	return func(o *sts.PresignOptions) {
		o.ClientOptions = append(o.ClientOptions, sts.WithAPIOptions(smithyhttp.AddHeaderValue("X-K8s-Aws-Id", cluster)))
	}
}
