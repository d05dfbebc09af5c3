package test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/podid/podid/examples"
	"github.com/podid/podid/internal/agent"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/token"
)

// authority is a certificate authority for one test, in files.
type authority struct {
	dir, caFile string
	cert        *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, "ca", &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "podid test"},
	})
	a.caFile = filepath.Join(a.dir, "ca.crt")
	return a
}

// issue makes a certificate and writes it and its key as name.crt and name.key. The authority's own is signed by itself.
func (a *authority) issue(t *testing.T, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(a.dir, name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// pair issues a certificate for the loopback interface and for clients, and returns its files.
func (a *authority) pair(t *testing.T, name string) (cert, key string) {
	t.Helper()
	a.issue(t, name, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
}

// transport trusts the authority.
func (a *authority) transport() *http.Transport {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
}

// startEtcd starts a cluster of three members that want certificates of their clients, and returns them with their client URLs.
func startEtcd(t *testing.T, a *authority) (members []*process, endpoints []string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "etcd")
	if out, err := exec.Command("go", "build", "-o", program, "go.etcd.io/etcd/server/v3").CombinedOutput(); err != nil {
		t.Fatalf("building etcd: %v\n%s", err, out)
	}
	cert, key := a.pair(t, "etcd")
	var peers, cluster []string
	for i := range 3 {
		peers = append(peers, "http://127.0.0.1:"+freePort(t))
		cluster = append(cluster, fmt.Sprintf("m%d=%s", i, peers[i]))
		endpoints = append(endpoints, "https://127.0.0.1:"+freePort(t))
	}
	for i := range 3 {
		members = append(members, start(t, environment(t), nil, program,
			"--name", fmt.Sprintf("m%d", i), "--data-dir", filepath.Join(t.TempDir(), "etcd"), "--log-level", "error", "--unsafe-no-fsync",
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i], "--initial-cluster", strings.Join(cluster, ","),
			"--listen-client-urls", endpoints[i], "--advertise-client-urls", endpoints[i],
			"--cert-file", cert, "--key-file", key, "--client-cert-auth", "--trusted-ca-file", a.caFile))
	}
	return members, endpoints
}

// replica is a podid server that shares its state with others.
type replica struct {
	*process
	url    string
	config aws.Config // of the administrator
}

func startReplica(t *testing.T, a *authority, endpoints []string, rootKey string) *replica {
	t.Helper()
	name := "replica-" + freePort(t)
	cert, key := a.pair(t, name)
	etcdCert, etcdKey := a.pair(t, name+"-etcd")
	dir, env := t.TempDir(), environment(t)
	p := start(t, env, nil, "podid", "server", "--data-dir", dir, "--root-key-file", rootKey, "--listen", "127.0.0.1:0",
		"--tls-cert", cert, "--tls-key", key, "--ca-bundle", a.caFile,
		"--etcd-endpoints", strings.Join(endpoints, ","), "--etcd-ca", a.caFile, "--etcd-cert", etcdCert, "--etcd-key", etcdKey)
	p.says(t, "podid server is ready")
	env = source(t, env, filepath.Join(dir, "admin.env"))
	if value(env, "AWS_CA_BUNDLE") != a.caFile {
		t.Errorf("AWS_CA_BUNDLE is %q, want %q", value(env, "AWS_CA_BUNDLE"), a.caFile)
	}
	r := &replica{process: p, url: value(env, "AWS_ENDPOINT_URL")}
	r.config = aws.Config{
		Region: value(env, "AWS_REGION"), BaseEndpoint: &r.url, HTTPClient: &http.Client{Transport: a.transport(), Timeout: 15 * time.Second}, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(value(env, "AWS_ACCESS_KEY_ID"), value(env, "AWS_SECRET_ACCESS_KEY"), ""),
	}
	return r
}

// metal is a Kubernetes cluster as far as registering one goes: an API server that tells its issuer, keys and version.
const metal = "metal"

func registerMetal(t *testing.T, a *authority, r *replica) *token.Signer {
	t.Helper()
	key, err := token.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(key, "https://kubernetes.default.svc.cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer let-me-in":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/.well-known/openid-configuration":
			_, _ = w.Write(token.DiscoveryDocument(signer.Issuer()))
		case r.URL.Path == "/openid/v1/jwks":
			_, _ = w.Write(signer.JWKS())
		case r.URL.Path == "/version":
			_, _ = w.Write([]byte(`{"major":"1","minor":"36"}`))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	cert, certKey := a.pair(t, "kubernetes")
	pair, err := tls.LoadX509KeyPair(cert, certKey)
	if err != nil {
		t.Fatal(err)
	}
	api.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	api.StartTLS()
	t.Cleanup(api.Close)
	ca, err := os.ReadFile(a.caFile)
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"m","contexts":[{"name":"m","context":{"cluster":"m","user":"u"}}],`+
		`"clusters":[{"name":"m","cluster":{"server":%q,"certificate-authority-data":%q}}],"users":[{"name":"u","user":{"token":"let-me-in"}}]}`,
		api.URL, base64.StdEncoding.EncodeToString(ca))
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	who, err := r.config.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	env := environment(t, "AWS_ENDPOINT_URL="+r.url, "AWS_CA_BUNDLE="+a.caFile, "AWS_REGION="+r.config.Region,
		"AWS_ACCESS_KEY_ID="+who.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+who.SecretAccessKey)
	if got := run(t, env, "", "podid", "cluster", "register", metal, "--kubeconfig", kubeconfig); got.code != 0 || !strings.Contains(got.stdout, "is registered") {
		t.Fatalf("registering: %+v", got)
	}
	if got := run(t, env, "", "podid", "cluster", "list"); got.code != 0 || !strings.Contains(got.stdout, metal+"   ACTIVE   1.36      "+signer.Issuer()) {
		t.Errorf("listing: %+v", got)
	}
	return signer
}

func podTokenOf(t *testing.T, signer *token.Signer, account identity.ServiceAccount, pod string) identity.Secret {
	t.Helper()
	now := time.Now()
	signed, err := signer.Sign(token.ServiceAccountClaims(
		identity.Subject{ServiceAccount: account, ServiceAccountUID: "sa", PodName: pod, PodUID: "uid-" + pod}, identity.PodIdentityAudience, "id", now, now.Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// exchange exchanges a pod's token at one replica, in a single attempt or a few.
func exchange(ctx context.Context, a *authority, r *replica, token identity.Secret) (*agent.Assumption, error) {
	client, err := agent.NewClient(agent.ClientConfig{
		ClusterName: metal, Region: r.config.Region, Endpoint: r.url, Credentials: r.config.Credentials, Transport: a.transport(),
	})
	if err != nil {
		return nil, err
	}
	return client.AssumeRoleForPodIdentity(ctx, token)
}

func associate(ctx context.Context, r *replica, account identity.ServiceAccount, role string) error {
	_, err := eks.NewFromConfig(r.config).CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{
		ClusterName: aws.String(metal), Namespace: &account.Namespace, ServiceAccount: &account.Name, RoleArn: &role,
	})
	return err
}

// Two servers on three members of etcd are one podid, and stay it when one of each is killed.
func TestReplicas(t *testing.T) {
	a := newAuthority(t)
	members, endpoints := startEtcd(t, a)
	rootKey := filepath.Join(t.TempDir(), "root.key")
	one := startReplica(t, a, endpoints, rootKey)
	two := startReplica(t, a, endpoints, rootKey)

	// Who has not got the root key is told so, and does not make another.
	stranger := run(t, environment(t), "", "podid", "server", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0",
		"--etcd-endpoints", endpoints[0], "--etcd-ca", a.caFile, "--etcd-cert", filepath.Join(a.dir, "etcd.crt"), "--etcd-key", filepath.Join(a.dir, "etcd.key"))
	stranger.line(t, "another root key", "root.key")

	signer := registerMetal(t, a, one)
	role, err := iam.NewFromConfig(two.config).CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: aws.String("web"), AssumeRolePolicyDocument: &examples.TrustPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	arn := *role.Role.Arn
	measureSpread(t, a, one, two, signer, arn)

	first := identity.ServiceAccount{Namespace: "shop", Name: "first"}
	if err := associate(t.Context(), one, first, arn); err != nil {
		t.Fatal(err)
	}
	minted, err := exchange(t.Context(), a, one, podTokenOf(t, signer, first, "first-0"))
	if err != nil {
		t.Fatal(err)
	}
	as := two.config.Copy()
	as.Credentials = credentials.NewStaticCredentialsProvider(minted.AccessKeyID, minted.SecretAccessKey.Reveal(), minted.SessionToken.Reveal())
	if who, err := sts.NewFromConfig(as).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); err != nil || *who.Arn != minted.SessionARN {
		t.Errorf("credentials of the one at the other: %+v, %v", who, err)
	}
	killUnderLoad(t, a, one, two, members, signer, first, arn)
}

// measureSpread tells how soon what is written through one replica is served by the other.
func measureSpread(t *testing.T, a *authority, one, two *replica, signer *token.Signer, role string) {
	t.Helper()
	var slowest time.Duration
	for i := range 20 {
		account := identity.ServiceAccount{Namespace: "spread", Name: fmt.Sprintf("n%d", i)}
		pod := podTokenOf(t, signer, account, account.Name)
		if err := associate(t.Context(), one, account, role); err != nil {
			t.Fatal(err)
		}
		since := time.Now()
		eventually(t, "an exchange at the other replica", func() error {
			_, err := exchange(t.Context(), a, two, pod)
			return err
		})
		slowest = max(slowest, time.Since(since))
	}
	t.Logf("written through one replica, exchanged at the other: slowest of 20 after %s", slowest.Round(time.Millisecond))
}

// killUnderLoad kills one replica and one member of etcd while associations are made and tokens exchanged, through whichever replica
// answers. No association that was acknowledged may be missing afterwards, and no token refused in between.
func killUnderLoad(t *testing.T, a *authority, one, two *replica, members []*process, signer *token.Signer, first identity.ServiceAccount, role string) {
	t.Helper()
	const writes = 150
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	var exchanged, failed atomic.Int64
	var load sync.WaitGroup
	written := make(chan struct{})
	for range 4 {
		load.Go(func() {
			pod := podTokenOf(t, signer, first, "first-0")
			for {
				select {
				case <-written:
					return
				default:
				}
				for _, r := range []*replica{one, two} {
					_, err := exchange(t.Context(), a, r, pod)
					var refusal *agent.APIError
					if errors.As(err, &refusal) && refusal.Status < 500 && refusal.Status != http.StatusTooManyRequests {
						t.Errorf("a valid token is refused: %v", err)
					}
					if err == nil {
						exchanged.Add(1)
					} else {
						failed.Add(1)
					}
				}
			}
		})
	}
	var next atomic.Int64
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for {
				n := next.Add(1)
				if n > writes {
					return
				}
				if n == writes/3 { // in the middle of it
					one.signal(t, syscall.SIGKILL)
					members[0].signal(t, syscall.SIGKILL)
				}
				account := identity.ServiceAccount{Namespace: "load", Name: fmt.Sprintf("n%d", n)}
				for try := range 20 {
					err := associate(t.Context(), []*replica{one, two}[(int(n)+try)%2], account, role)
					var exists *ekstypes.ResourceInUseException
					if err == nil || errors.As(err, &exists) { // exists: an earlier try whose answer was lost
						mu.Lock()
						acknowledged[account.Name] = true
						mu.Unlock()
						break
					}
				}
			}
		})
	}
	writers.Wait()
	close(written)
	load.Wait()

	kept := map[string]bool{}
	pages := eks.NewListPodIdentityAssociationsPaginator(eks.NewFromConfig(two.config), &eks.ListPodIdentityAssociationsInput{
		ClusterName: aws.String(metal), Namespace: aws.String("load"),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range page.Associations {
			kept[*found.ServiceAccount] = true
		}
	}
	for name := range acknowledged {
		if !kept[name] {
			t.Errorf("the association of %s was acknowledged and is lost", name)
		}
	}
	if len(acknowledged) != writes {
		t.Errorf("%d of %d associations were acknowledged", len(acknowledged), writes)
	}
	t.Logf("%d associations acknowledged and kept; %d exchanges succeeded, %d found no server", len(acknowledged), exchanged.Load(), failed.Load())
}

// What cannot be meant is told in one line.
func TestServerRefuses(t *testing.T) {
	cert := filepath.Join(t.TempDir(), "tls.crt")
	for _, test := range []struct{ args, says string }{
		{"--listen 0.0.0.0:0", "--tls-cert"},
		{"--tls-cert " + cert, "--tls-key"},
		{"--tls-cert " + cert + " --tls-key " + cert, cert},
		{"--etcd-ca " + cert, "--etcd-endpoints"},
		{"--etcd-endpoints localhost:2379", "http://"},
		{"--etcd-endpoints http://127.0.0.1:1,https://127.0.0.1:1", "all"},
		{"--etcd-endpoints http://127.0.0.1:1 --etcd-cert " + cert, "http endpoints"},
		{"--listen 127.0.0.1:99999", "99999"},
	} {
		args := append([]string{"server", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0"}, strings.Fields(test.args)...)
		run(t, environment(t), "", "podid", args...).line(t, test.says)
	}
}
