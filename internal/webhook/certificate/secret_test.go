package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/podid/podid/internal/kube/kubetest"
)

const (
	configurationPath = configurations + "hook"
	secretPath        = "/api/v1/namespaces/eks/secrets/certs"
)

var begin = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// world is a cluster whose webhook has replicas.
type world struct {
	t   *testing.T
	api *kubetest.API
	now time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{t, kubetest.New(t), begin}
	w.api.Put(configurationPath, kubetest.Object{"webhooks": []any{
		kubetest.Object{"clientConfig": kubetest.Object{"service": kubetest.Object{"name": "other", "namespace": "eks"}}},
		kubetest.Object{"clientConfig": kubetest.Object{"service": kubetest.Object{"name": "hook", "namespace": "eks"}}},
		kubetest.Object{"clientConfig": kubetest.Object{"url": "https://127.0.0.1:1/mutate"}},
	}})
	return w
}

func (w *world) replica() *keeper {
	return newKeeper(SecretConfig{
		Client: w.api.Client(w.t), Namespace: "eks", Secret: "certs", Service: "hook", Hosts: []string{"127.0.0.1"}, Configuration: "hook",
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Now: func() time.Time { return w.now },
	})
}

// round has replicas look, one after the other.
func (w *world) round(replicas ...*keeper) {
	w.t.Helper()
	for _, k := range replicas {
		if err := k.round(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// bundle is what API servers trust.
func (w *world) bundle() []byte {
	w.t.Helper()
	webhooks := w.api.Get(configurationPath)["webhooks"].([]any)
	of := func(i int) string {
		text, _ := webhooks[i].(kubetest.Object)["clientConfig"].(kubetest.Object)["caBundle"].(string)
		return text
	}
	if of(0) != "" || of(1) != of(2) {
		w.t.Errorf("bundles are %q, %q, %q; want none for the webhook of others", of(0), of(1), of(2))
	}
	bundle, err := base64.StdEncoding.DecodeString(of(1))
	if err != nil {
		w.t.Fatal(err)
	}
	return bundle
}

// accepted checks that an API server accepts what the replicas serve, by service name and by address.
func (w *world) accepted(replicas ...*keeper) {
	w.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.bundle())
	for i, k := range replicas {
		served, err := k.Get(nil)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, name := range []string{"hook.eks.svc", "127.0.0.1"} {
			if _, err := served.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: w.now}); err != nil {
				w.t.Errorf("at %s replica %d is not accepted as %s: %v", w.now.Format(time.DateOnly), i, name, err)
			}
		}
		if _, err := k.Ready(w.now); err != nil {
			w.t.Errorf("replica %d is not ready: %v", i, err)
		}
	}
}

// TestRotation goes through two years in steps of an hour with two replicas, one of which looks only twice a day. API servers must
// accept both at any time.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	a, b := w.replica(), w.replica()
	w.round(a, b)
	authorities, leaves := map[string]bool{}, map[string]bool{}
	for hour := range 2 * 365 * 24 {
		w.now = begin.Add(time.Duration(hour) * time.Hour)
		if hour%24 == 0 || len(authorities) == 0 {
			w.round(a)
			w.accepted(a, b)
			w.round(a)
		}
		if hour%24 == 12 {
			w.round(b)
			w.accepted(a, b)
		}
		held, _ := a.Get(nil)
		leaves[held.Leaf.SerialNumber.String()] = true
		authorities[fmt.Sprint(held.Leaf.AuthorityKeyId)] = true
	}
	if len(leaves) < 30 || len(leaves) > 45 || len(authorities) != 3 && len(authorities) != 4 {
		t.Errorf("%d certificates of %d authorities in two years", len(leaves), len(authorities))
	}
}

// TestRace has many replicas start at once: they must end with one authority.
func TestRace(t *testing.T) {
	w := newWorld(t)
	replicas := make([]*keeper, 8)
	var starting sync.WaitGroup
	for i := range replicas {
		replicas[i] = w.replica()
		starting.Go(func() {
			// The patch of the webhook configuration may find another version there: the next round tries again.
			_ = replicas[i].round(t.Context())
		})
	}
	starting.Wait()
	w.round(replicas...)
	w.accepted(replicas...)
	first, _ := replicas[0].Get(nil)
	for i, k := range replicas {
		if c, _ := k.Get(nil); !c.Leaf.Equal(first.Leaf) {
			t.Errorf("replica %d serves another certificate", i)
		}
	}
}

// TestUntrustedAuthority checks that a certificate of an authority that API servers do not know is not served while there is
// another, and is once they do.
func TestUntrustedAuthority(t *testing.T) {
	w := newWorld(t)
	k := w.replica()
	w.round(k)
	configuration := w.api.Get(configurationPath)
	w.now = begin.Add(authorityLife * 7 / 10)
	w.round(k) // it was away: its certificate has expired, and is replaced at once
	w.round(k) // there is a new authority now
	w.accepted(k)
	before, _ := k.Get(nil)
	w.api.Put(configurationPath, configuration) // as an installer does who knows only what he has written
	w.round(k)
	if after, _ := k.Get(nil); !after.Leaf.Equal(before.Leaf) {
		t.Error("the certificate was replaced though its authority was not trusted")
	}
	w.round(k)
	w.accepted(k)
	if after, _ := k.Get(nil); after.Leaf.Equal(before.Leaf) {
		t.Error("the certificate is still that of the old authority")
	}
}

// TestBrokenSecret checks that a Secret that makes no sense is replaced, and keeps what others have written into its metadata.
func TestBrokenSecret(t *testing.T) {
	w := newWorld(t)
	w.api.Put(secretPath, kubetest.Object{
		"metadata": kubetest.Object{"labels": kubetest.Object{"of": "others"}}, "data": kubetest.Object{"ca.crt": "bm9uc2Vuc2U="},
	})
	k := w.replica()
	w.round(k)
	w.accepted(k)
	if labels := w.api.Get(secretPath)["metadata"].(kubetest.Object)["labels"]; fmt.Sprint(labels) != "map[of:others]" {
		t.Errorf("labels are %v", labels)
	}
}

// TestOutage checks that a replica serves on while the Kubernetes API is away, and one that has nothing says so.
func TestOutage(t *testing.T) {
	w := newWorld(t)
	k, late := w.replica(), w.replica()
	w.round(k)
	w.api.Down(true)
	for _, replica := range []*keeper{k, late} {
		if err := replica.round(t.Context()); err == nil {
			t.Error("a round succeeded without the API")
		}
	}
	w.connects(k)
	if _, err := late.Ready(w.now); err == nil {
		t.Error("a replica without a certificate is ready")
	}
	w.now = begin.Add(leafLife + time.Hour)
	if _, err := k.Ready(w.now); err == nil {
		t.Error("a replica with an expired certificate is ready")
	}
}

// connects makes a TLS connection as an API server does.
func (w *world) connects(k *keeper) {
	w.t.Helper()
	w.api.Down(false)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.bundle())
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: k.Get})
	if err != nil {
		w.t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if c, err := listener.Accept(); err == nil {
			_ = c.(*tls.Conn).HandshakeContext(w.t.Context())
			_ = c.Close()
		}
	}()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", listener.Addr().String(),
		&tls.Config{RootCAs: roots, ServerName: "hook.eks.svc", Time: func() time.Time { return w.now }})
	if err != nil {
		w.t.Fatal(err)
	}
	_ = c.Close()
}

// TestNoConfiguration checks that a certificate is served although nobody can be told to trust it, and that this is what is said.
func TestNoConfiguration(t *testing.T) {
	w := newWorld(t)
	w.api.Delete(configurationPath)
	k := w.replica()
	err := k.round(t.Context())
	if want := "certificate is served, but API servers may not trust it"; err == nil || failure(err) != want {
		t.Errorf("got %v, which is told as %q, want %q", err, failure(err), want)
	}
	if _, err := k.Ready(w.now); err != nil {
		t.Error(err)
	}
	w.api.Down(true)
	if err := k.round(t.Context()); err == nil || failure(err) != "certificate could not be kept" {
		t.Errorf("without the API: got %v, which is told as %q", err, failure(err))
	}
}
