package test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/kube/kubetest"
	"github.com/podid/podid/internal/server/servertest"
)

const (
	configurationPath = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/pod-identity-webhook"
	accountsPath      = "/api/v1/namespaces/carts/serviceaccounts/"
	reviewOf          = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"7","kind":{"version":"v1","kind":"Pod"},` +
		`"namespace":"carts","operation":"CREATE","object":{"metadata":{"name":"web"},"spec":{"serviceAccountName":%q,` +
		`"containers":[{"name":"web","image":"example.com/web"}]}}}}`
)

// hook is a podid webhook under test.
type hook struct {
	*process
	api     *kubetest.API
	url     string // of the TLS port
	metrics string // URL of the plain port
}

// startWebhook starts podid webhook, or podid-webhook, for the cluster of a server and of a Kubernetes API.
func startWebhook(t testing.TB, s *servertest.Server, api *kubetest.API, program string, more ...string) *hook {
	t.Helper()
	ports := [2]string{freePort(t), freePort(t)}
	h := &hook{api: api, url: "https://127.0.0.1:" + ports[0], metrics: "http://127.0.0.1:" + ports[1]}
	api.Put(configurationPath, kubetest.Object{"webhooks": []any{
		kubetest.Object{"name": "other.example.com", "clientConfig": kubetest.Object{"url": "https://192.0.2.1/mutate"}},
		kubetest.Object{"name": "pods.example.com", "clientConfig": kubetest.Object{"url": h.url + "/mutate"}},
	}})
	admin, err := s.Admin.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	env := environment(t, "AWS_REGION="+servertest.Region, "AWS_ACCESS_KEY_ID="+admin.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+admin.SecretAccessKey)
	args := append([]string{"--cluster-name", servertest.Cluster, "--endpoint", s.URL, "--kube-api", api.URL, "--bind-host", "127.0.0.1",
		"--port", ports[0], "--metrics-port", ports[1], "--tls-hosts", "127.0.0.1"}, more...)
	if program == "podid" {
		args = append([]string{"webhook"}, args...)
	}
	h.process = start(t, env, nil, program, args...)
	return h
}

// until waits until f says yes.
func until(t testing.TB, h *hook, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s; the webhook said\n%s", what, h.stderr.String())
		}
	}
}

// get reads a page of the plain port; empty while nobody listens there.
func (h *hook) get(path string) (status int, body string) {
	resp, err := http.Get(h.metrics + path)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

func (h *hook) ready(t testing.TB) {
	t.Helper()
	until(t, h, "the webhook is ready", func() bool { status, _ := h.get("/readyz"); return status == http.StatusOK })
}

// client trusts whom the webhook configuration says.
func (h *hook) client(t testing.TB) *http.Client {
	t.Helper()
	text, _ := json.Marshal(h.api.Get(configurationPath))
	var configuration struct {
		Webhooks []struct {
			ClientConfig struct{ CABundle []byte }
		}
	}
	if err := json.Unmarshal(text, &configuration); err != nil {
		t.Fatal(err)
	}
	if configuration.Webhooks[0].ClientConfig.CABundle != nil {
		t.Error("the bundle of a webhook of others was changed")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(configuration.Webhooks[1].ClientConfig.CABundle) {
		t.Fatalf("no bundle in %s", text)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// patch returns the patch for a pod of a service account in the namespace carts; empty: it is let through as it is.
func (h *hook) patch(t testing.TB, client *http.Client, serviceAccount string) string {
	t.Helper()
	resp, err := client.Post(h.url+"/mutate", "application/json", strings.NewReader(fmt.Sprintf(reviewOf, serviceAccount)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var review struct {
		Response struct {
			UID     string
			Allowed bool
			Patch   []byte
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&review); err != nil {
		t.Fatal(err)
	}
	if review.Response.UID != "7" || !review.Response.Allowed {
		t.Errorf("got %+v", review.Response)
	}
	return string(review.Response.Patch)
}

func hasAll(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// TestWebhook runs the program as a cluster does: with an authority of its own, associations from a real server by the feed, and
// through an outage of that server, a restart included.
func TestWebhook(t *testing.T) {
	s := servertest.New(t, nil)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "carts", Name: "carts"}, role, nil)
	api := kubetest.New(t)
	for _, name := range []string{"carts", "default", "later"} {
		api.Put(accountsPath+name, kubetest.Object{})
	}
	api.Put(accountsPath+"irsa", kubetest.Object{"metadata": kubetest.Object{"annotations": kubetest.Object{
		"eks.amazonaws.com/role-arn": role, "example.com/other": "x",
	}}})
	copyFile := filepath.Join(t.TempDir(), "associations")
	h := startWebhook(t, s, api, "podid", "--associations-copy", copyFile)
	h.ready(t)
	client := h.client(t)
	const podIdentity, webIdentity = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_WEB_IDENTITY_TOKEN_FILE"
	if patch := h.patch(t, client, "carts"); !hasAll(patch, podIdentity, `"AWS_REGION","value":"us-west-2"`) {
		t.Errorf("associated: got %s", patch)
	}
	if patch := h.patch(t, client, "irsa"); !hasAll(patch, webIdentity, role) {
		t.Errorf("annotated: got %s", patch)
	}
	for _, name := range []string{"default", "later"} {
		if patch := h.patch(t, client, name); patch != "" {
			t.Errorf("%s: got %s", name, patch)
		}
	}
	s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "carts", Name: "later"}, role, nil)
	until(t, h, "the new association counts", func() bool { return hasAll(h.patch(t, client, "later"), podIdentity) })
	if status, text := h.get("/readyz?verbose"); status != 200 || !hasAll(text, "[+]associations ok: from the feed, revision ",
		"[+]certificate ok: valid until", "[+]service-accounts ok: 4 are known", "[+]admission ok") {
		t.Errorf("got %d %s", status, text)
	}
	if _, text := h.get("/metrics"); !hasAll(text, `http_request_count{code="200",path="/mutate",verb="POST"}`, "http_request_latencies_bucket",
		"http_request_duration_microseconds_count", `pod_identity_webhook_pod_count{method="container_credentials"}`,
		`pod_identity_webhook_pod_count{method="sts_web_identity"} 1`, "pod_identity_webhook_missing_sa_count 0", "pod_identity_webhook_used 1",
		"podid_webhook_associations 2", "podid_webhook_service_accounts 4", "podid_webhook_associations_live 1",
		"podid_webhook_review_duration_seconds_bucket") {
		t.Errorf("metrics\n%s", text)
	}

	// The copy has the association that was made last; nothing secret is in the log.
	until(t, h, "the copy is written", func() bool {
		text, _ := os.ReadFile(copyFile)
		return bytes.Contains(text, []byte(`"count":2}`))
	})
	if info, _ := os.Stat(copyFile); info.Mode().Perm() != 0o600 {
		t.Errorf("the copy has mode %v", info.Mode())
	}
	if secret := api.Get("/api/v1/namespaces/eks/secrets/pod-identity-webhook"); secret == nil {
		t.Error("there is no secret")
	} else if strings.Contains(h.stderr.String(), fmt.Sprint(secret["data"].(kubetest.Object)["ca.key"])) {
		t.Error("the log has the authority's key")
	}
	s.Stop()
	until(t, h, "the outage is told", func() bool {
		_, text := h.get("/readyz?verbose")
		return strings.Contains(text, "changes are not told")
	})
	if patch := h.patch(t, client, "carts"); !hasAll(patch, podIdentity) {
		t.Errorf("in an outage: got %s", patch)
	}
	h.stop(t)

	again := startWebhook(t, s, api, "podid", "--associations-copy", copyFile)
	again.ready(t)
	if _, text := again.get("/readyz?verbose"); !strings.Contains(text, "[+]associations ok: from the disk copy, revision ") {
		t.Errorf("after a restart in the outage: got %s", text)
	}
	client = again.client(t)
	for _, name := range []string{"carts", "later"} {
		if patch := again.patch(t, client, name); !hasAll(patch, podIdentity, `"AWS_REGION","value":"us-west-2"`) {
			t.Errorf("after a restart in the outage, %s: got %s", name, patch)
		}
	}
	again.stop(t)

	data, err := os.ReadFile(copyFile)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-40] ^= 1
	if err := os.WriteFile(copyFile, data, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := startWebhook(t, s, api, "podid", "--associations-copy", copyFile)
	until(t, broken, "the broken copy is told", func() bool { return strings.Contains(broken.stderr.String(), "its checksum is wrong") })
	until(t, broken, "it is not ready", func() bool {
		status, text := broken.get("/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(text, "[-]associations not ready: associations are not known yet: ")
	})

	open := servertest.Open(t, s.DataDir, nil)
	afresh := startWebhook(t, open, api, "podid-webhook")
	afresh.ready(t)
	if patch := afresh.patch(t, afresh.client(t), "later"); !hasAll(patch, podIdentity) {
		t.Errorf("after the outage: got %s", patch)
	}
}

// stop ends the program as Kubernetes does.
func (h *hook) stop(t testing.TB) {
	t.Helper()
	if err := h.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	until(t, h, "it is not ready while it ends", func() bool { status, _ := h.get("/readyz"); return status != http.StatusOK })
	if code := h.wait(t); code != 0 {
		t.Errorf("exit code %d: %s", code, h.stderr.String())
	}
}

// TestWebhookFiles runs the program in the way of Amazon's: associations and certificate in files.
func TestWebhookFiles(t *testing.T) {
	s := servertest.New(t, nil)
	api := kubetest.New(t)
	api.Put(accountsPath+"carts", kubetest.Object{})
	api.Put(accountsPath+"orders", kubetest.Object{"metadata": kubetest.Object{"annotations": kubetest.Object{"eks.amazonaws.com/role-arn": "shop/orders"}}})
	dir := t.TempDir()
	identities := filepath.Join(dir, "identities.json")
	replaceFile(t, identities, `{"identities":[]}`)
	certFile, keyFile := writeCertificate(t, dir)
	h := startWebhook(t, s, api, "podid-webhook", "--cluster-name", "", "--watch-container-credentials-config", identities, "--in-cluster=false",
		"--tls-cert", certFile, "--tls-key", keyFile, "--tls-min-version", "VersionTLS13", "--aws-default-region", "eu-central-1",
		"--token-expiration", "300", "--compose-role-arn", "--aws-account-id", "111122223333", "--enable-debugging-handlers", "--logtostderr", "-v=4")
	h.ready(t)
	client := trusting(t, certFile)
	if patch := h.patch(t, client, "carts"); patch != "" {
		t.Errorf("got %s", patch)
	}
	replaceFile(t, identities, `{"identities":[{"namespace":"carts","serviceAccount":"carts"}]}`)
	until(t, h, "the file counts", func() bool {
		return hasAll(h.patch(t, client, "carts"), "AWS_CONTAINER_CREDENTIALS_FULL_URI", "eu-central-1", `"expirationSeconds":600`)
	})
	if patch := h.patch(t, client, "orders"); !hasAll(patch, `"arn:aws:iam::111122223333:role/shop/orders"`) {
		t.Errorf("a role by its name: got %s", patch)
	}
	if status, text := h.get("/debug/alpha/cache"); status != http.StatusOK ||
		!hasAll(text, `"associations": 1`, `"carts/orders"`, `"eks.amazonaws.com/role-arn": "shop/orders"`) {
		t.Errorf("/debug/alpha/cache: got %d %s", status, text)
	}
	denied, err := client.Post(h.url+"/debug/alpha/deny", "application/json", strings.NewReader(fmt.Sprintf(reviewOf, "carts")))
	if err != nil {
		t.Fatal(err)
	}
	defer denied.Body.Close()
	if text, _ := io.ReadAll(denied.Body); !hasAll(string(text), `"kind":"AdmissionReview"`, `"uid":"7","allowed":false`, "Test deny message") {
		t.Errorf("/debug/alpha/deny: got %s", text)
	}
	replaceFile(t, identities, `nonsense!`)
	until(t, h, "the nonsense is told", func() bool { return strings.Contains(h.stderr.String(), "file of identities could not be read") })
	if patch := h.patch(t, client, "carts"); patch == "" {
		t.Error("a file that makes no sense empties the list")
	}

	_, _ = writeCertificate(t, dir)
	renewed := trusting(t, certFile)
	until(t, h, "the new certificate is served", func() bool {
		resp, err := renewed.Get(h.url + "/healthz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	old := &tls.Config{RootCAs: trusting(t, certFile).Transport.(*http.Transport).TLSClientConfig.RootCAs, MaxVersion: tls.VersionTLS12}
	if c, err := tls.Dial("tcp", strings.TrimPrefix(h.url, "https://"), old); err == nil {
		_ = c.Close()
		t.Error("TLS 1.2 was accepted")
	}
}

// TestWebhookCommandLine tries what ends the program at once.
func TestWebhookCommandLine(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--version"}, 0, "version dev\n"},
		{[]string{"--compose-role-arn"}, 1, "--compose-role-arn needs --cluster-name or --aws-account-id"},
		{[]string{"--aws-account-id", "111122223333"}, 1, "--aws-account-id is of no use without --compose-role-arn"},
		{[]string{"--tls-min-version", "1.1"}, 1, `TLS version "1.1": want 1.2 or 1.3`},
		{[]string{"--tls-cipher-suites", "TLS_RSA_WITH_RC4_128_SHA"}, 1, "is not known, or not safe"},
		{[]string{"--cluster-name", "demo", "--kube-api", "http://127.0.0.1:1"}, 1, "give --endpoint or AWS_ENDPOINT_URL"},
	} {
		got := run(t, environment(t, "PODID_VERSION=v1.2.3", "PODID_V=x"), "", "podid", append([]string{"webhook"}, test.args...)...)
		if got.code != test.code || !strings.Contains(got.stdout+got.stderr, test.says) {
			t.Errorf("%v: got %+v, want %d and %q", test.args, got, test.code, test.says)
		}
	}
}

// replaceFile writes a file so that nobody sees half of it.
func replaceFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func trusting(t testing.TB, certFile string) *http.Client {
	t.Helper()
	text, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bytes.TrimSpace(text))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	return &http.Client{Transport: transport}
}
