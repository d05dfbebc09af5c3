package eksauth_test

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
	"github.com/podid/podid/internal/token"
)

const (
	connections = 8
	perBatch    = 64 // requests of each connection in a batch
)

// pipe is a client that costs little beside the server under test: a kept connection, over which requests go that were made before.
type pipe struct {
	conn net.Conn
	in   *bufio.Reader
}

func dial(b *testing.B, url string) []*pipe {
	b.Helper()
	var pipes []*pipe
	for range connections {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		pipes = append(pipes, &pipe{conn, bufio.NewReaderSize(conn, 32<<10)})
	}
	return pipes
}

// send sends one request and reads its answer. It returns the size of the answer's body.
func (p *pipe) send(request []byte) (size int, err error) {
	if _, err := p.conn.Write(request); err != nil {
		return 0, err
	}
	status, err := p.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		rest := make([]byte, p.in.Buffered())
		_, _ = p.in.Read(rest)
		return 0, fmt.Errorf("%s%s", status, rest)
	}
	size = -1
	for {
		line, err := p.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) == 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if size, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
	if size < 0 {
		return 0, fmt.Errorf("an answer without Content-Length")
	}
	_, err = p.in.Discard(size)
	return size, err
}

// run sends a batch over all connections at once and returns how long it took.
func run(b *testing.B, pipes []*pipe, batch [][]byte) time.Duration {
	b.Helper()
	var group sync.WaitGroup
	start := time.Now()
	for i, p := range pipes {
		group.Go(func() {
			for _, request := range batch[i*perBatch : (i+1)*perBatch] {
				if _, err := p.send(request); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	return time.Since(start)
}

// raw is a request as it goes over the wire.
func raw(b *testing.B, r *http.Request) []byte {
	b.Helper()
	var out bytes.Buffer
	if err := r.Write(&out); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

// floor is the least that a server of such exchanges could do: it verifies a token's RS256 signature, and writes an answer of a size.
func floor(key *rsa.PublicKey, size int) http.Handler {
	answer := bytes.Repeat([]byte("x"), size)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		last := bytes.LastIndexByte(raw, '.')
		if err != nil || last < 0 {
			http.Error(w, "no token", http.StatusBadRequest)
			return
		}
		signature, err := base64.RawURLEncoding.DecodeString(string(raw[last+1:]))
		sum := sha256.Sum256(raw[:last])
		if err != nil || rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) != nil {
			http.Error(w, "bad token", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = w.Write(answer)
	})
}

// bench is a server with everything on, and the floor beside it.
type bench struct {
	signer       *token.Signer
	server       *servertest.Server
	node         aws.Config // an agent, which may do what it must and no more
	podid, floor []*pipe
	pods         int
}

func newBench(b *testing.B) *bench {
	b.Helper()
	key, err := token.GenerateKey()
	if err != nil {
		b.Fatal(err)
	}
	signer, err := token.NewSigner(key, "https://oidc.example.com/id/1")
	if err != nil {
		b.Fatal(err)
	}
	log, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = log.Close() })
	s := servertest.Open(b, withState(b, nil, clusterOf(registered, signer.Issuer(), signer.JWKS())), func(cfg *server.Config) {
		cfg.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	t := &bench{signer: signer, server: s}
	t.node = s.Limited("node", policyOf(`{"Effect":"Allow","Action":"eks-auth:AssumeRoleForPodIdentity","Resource":"arn:aws:eks:us-west-2:111122223333:cluster/`+registered+`"}`))
	t.podid = dial(b, s.URL)
	size, err := t.podid[0].send(t.exchange(b, t.token(b)))
	if err != nil {
		b.Fatal(err)
	}
	bare := httptest.NewServer(floor(&key.PublicKey, size))
	b.Cleanup(bare.Close)
	t.floor = dial(b, bare.URL)
	return t
}

// token is one of a pod that had none before.
func (t *bench) token(b *testing.B) string {
	b.Helper()
	t.pods++
	claims := token.ServiceAccountClaims(identity.Subject{
		ServiceAccount: carts, ServiceAccountUID: "a720ba5c-0000-4000-8000-000000000000", PodName: "carts-" + strconv.Itoa(t.pods),
		PodUID: fmt.Sprintf("5a20f883-0000-4000-8000-%012d", t.pods), NodeName: "ip-10-0-1-2",
	}, identity.PodIdentityAudience, fmt.Sprintf("0c9f1f2e-0000-4000-8000-%012d", t.pods), time.Now(), time.Now().Add(time.Hour))
	return sign(b, t.signer, claims)
}

func (t *bench) exchange(b *testing.B, token string) []byte {
	b.Helper()
	call := servertest.ExchangeCall(registered, token)
	call.As = &t.node
	return raw(b, t.server.Sign(call))
}

func (t *bench) verify(b *testing.B, token string) []byte {
	b.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader(token))
	if err != nil {
		b.Fatal(err)
	}
	return raw(b, r)
}

// BenchmarkAssumeRoleForPodIdentity compares exchanges over HTTP, with everything that belongs to them, with the floor, batch by
// batch in turns. Fresh tokens were never seen before; repeated ones are remembered, as when agents are restarted.
func BenchmarkAssumeRoleForPodIdentity(b *testing.B) {
	for name, fresh := range map[string]bool{"fresh": true, "repeated": false} {
		b.Run(name, func(b *testing.B) {
			t := newBench(b)
			tokens := make([]string, connections*perBatch)
			ours, bare := make([][]byte, len(tokens)), make([][]byte, len(tokens))
			var podid, floor time.Duration
			rounds := 0
			for b.Loop() {
				b.StopTimer()
				for i := range tokens {
					if fresh || rounds == 0 {
						tokens[i] = t.token(b)
					}
					ours[i], bare[i] = t.exchange(b, tokens[i]), t.verify(b, tokens[i])
				}
				if !fresh && rounds == 0 {
					run(b, t.podid, ours)
				}
				b.StartTimer()
				floor += run(b, t.floor, bare)
				podid += run(b, t.podid, ours)
				rounds++
			}
			requests := float64(rounds * len(tokens))
			b.ReportMetric(float64(podid.Nanoseconds())/requests, "ns/op")
			b.ReportMetric(requests/podid.Seconds(), "req/s")
			b.ReportMetric(requests/floor.Seconds(), "floor-req/s")
			b.ReportMetric(floor.Seconds()/podid.Seconds(), "ratio-vs-floor")
		})
	}
}

// BenchmarkAssociationToExchange measures from the request that creates an association, which the disk has to take, to the end of the
// first exchange that it allows, which is not tried twice.
func BenchmarkAssociationToExchange(b *testing.B) {
	s := servertest.New(b, func(cfg *server.Config) { cfg.UnsafeNoSync = false })
	client := eks.NewFromConfig(s.Admin)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	token := s.Token(servertest.Cluster, carts, pod)
	var slowest time.Duration
	for b.Loop() {
		start := time.Now()
		id := s.Associate(servertest.Cluster, carts, role, nil)
		s.Exchange(servertest.Cluster, token)
		slowest = max(slowest, time.Since(start))
		b.StopTimer()
		_, err := client.DeletePodIdentityAssociation(b.Context(), &eks.DeletePodIdentityAssociationInput{ClusterName: aws.String(servertest.Cluster), AssociationId: &id})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/association")
	b.ReportMetric(float64(slowest.Microseconds())/1000, "ms-slowest")
}
