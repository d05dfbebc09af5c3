package eksauth_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
	"github.com/podid/podid/internal/token"
)

// bench is a server with everything on, and the floor beside it.
type bench struct {
	signer       *token.Signer
	server       *servertest.Server
	node         aws.Config // an agent, which may do what it must and no more
	podid, floor []*servertest.Pipe
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
	t.podid = servertest.Dial(b, s.URL)
	size, err := t.podid[0].Send(t.exchange(b, t.token(b)))
	if err != nil {
		b.Fatal(err)
	}
	bare := httptest.NewServer(servertest.Floor(&key.PublicKey, size))
	b.Cleanup(bare.Close)
	t.floor = servertest.Dial(b, bare.URL)
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
	return servertest.Raw(b, t.server.Sign(call))
}

func (t *bench) verify(b *testing.B, token string) []byte {
	b.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader(token))
	if err != nil {
		b.Fatal(err)
	}
	return servertest.Raw(b, r)
}

// BenchmarkAssumeRoleForPodIdentity compares exchanges over HTTP, with everything that belongs to them, with the floor, batch by
// batch in turns. Fresh tokens were never seen before; repeated ones are remembered, as when agents are restarted.
func BenchmarkAssumeRoleForPodIdentity(b *testing.B) {
	for name, fresh := range map[string]bool{"fresh": true, "repeated": false} {
		b.Run(name, func(b *testing.B) {
			t := newBench(b)
			servertest.Compare(b, t.podid, t.floor, fresh, func() (ours, bare []byte) {
				token := t.token(b)
				return t.exchange(b, token), t.verify(b, token)
			})
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
