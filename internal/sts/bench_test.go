package sts_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
	"github.com/podid/podid/internal/token"
)

// BenchmarkAssumeRoleWithWebIdentity compares exchanges of IRSA over HTTP, with everything that belongs to them, with the least that
// such a server could do. Fresh tokens were never seen before; repeated ones are remembered.
func BenchmarkAssumeRoleWithWebIdentity(b *testing.B) {
	for name, fresh := range map[string]bool{"fresh": true, "repeated": false} {
		b.Run(name, func(b *testing.B) { benchmarkWebIdentity(b, fresh) })
	}
}

func benchmarkWebIdentity(b *testing.B, fresh bool) {
	key, err := token.GenerateKey()
	if err != nil {
		b.Fatal(err)
	}
	var signer *token.Signer
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "openid-configuration") {
			_, _ = w.Write(token.DiscoveryDocument(signer.Issuer()))
			return
		}
		_, _ = w.Write(signer.JWKS())
	}))
	b.Cleanup(issuer.Close)
	if signer, err = token.NewSigner(key, issuer.URL); err != nil {
		b.Fatal(err)
	}
	log, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = log.Close() })
	s := servertest.New(b, func(cfg *server.Config) {
		cfg.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	provider, err := iam.NewFromConfig(s.Admin).CreateOpenIDConnectProvider(b.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(issuer.URL), ClientIDList: []string{stsAudience},
	})
	if err != nil {
		b.Fatal(err)
	}
	_, host, _ := strings.Cut(issuer.URL, "://")
	role := s.MakeRole("carts", servertest.Trust(`{"Federated":"`+*provider.OpenIDConnectProviderArn+`"}`, `"sts:AssumeRoleWithWebIdentity"`,
		`{"StringEquals":{"`+host+`:sub":"system:serviceaccount:carts:carts","`+host+`:aud":"sts.amazonaws.com"}}`), servertest.AllowAll)

	pods := 0
	makeToken := func() string {
		pods++
		raw, err := signer.Sign(token.ServiceAccountClaims(identity.Subject{
			ServiceAccount: carts, ServiceAccountUID: "a720ba5c-0000-4000-8000-000000000000", PodName: fmt.Sprintf("carts-%d", pods),
			PodUID: fmt.Sprintf("5a20f883-0000-4000-8000-%012d", pods), NodeName: "ip-10-0-1-2",
		}, stsAudience, fmt.Sprintf("0c9f1f2e-0000-4000-8000-%012d", pods), time.Now(), time.Now().Add(time.Hour)))
		if err != nil {
			b.Fatal(err)
		}
		return raw.Reveal()
	}
	exchange := func(raw string) []byte {
		call := servertest.Form("sts", "AssumeRoleWithWebIdentity", "RoleArn", role, "RoleSessionName", "botocore-session-1795379182", "WebIdentityToken", raw)
		call.Service = ""
		return servertest.Raw(b, s.Sign(call))
	}
	verify := func(raw string) []byte {
		r, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader(raw))
		if err != nil {
			b.Fatal(err)
		}
		return servertest.Raw(b, r)
	}
	podid := servertest.Dial(b, s.URL)
	size, err := podid[0].Send(exchange(makeToken()))
	if err != nil {
		b.Fatal(err)
	}
	bare := httptest.NewServer(servertest.Floor(&key.PublicKey, size))
	b.Cleanup(bare.Close)
	servertest.Compare(b, podid, servertest.Dial(b, bare.URL), fresh, func() (ours, least []byte) {
		raw := makeToken()
		return exchange(raw), verify(raw)
	})
}
