package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func writeCertificate(t *testing.T, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// otherCertificate is one of a CA that has nothing to do with anything here.
func otherCertificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "example.com"}, NotAfter: time.Now().Add(time.Hour), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return writeCertificate(t, der)
}

// Both variables that name certificates do, each alone and both together.
func TestCertificates(t *testing.T) {
	private := httptest.NewTLSServer(eksAuth(t).Config.Handler)
	defer private.Close()
	good, other := writeCertificate(t, private.Certificate().Raw), otherCertificate(t)
	for name, tt := range map[string]struct {
		env    []string
		status int
	}{
		"AWS_CA_BUNDLE":            {[]string{"AWS_CA_BUNDLE=" + good}, 200},
		"SSL_CERT_FILE":            {[]string{"SSL_CERT_FILE=" + good}, 200},
		"SSL_CERT_FILE of the two": {[]string{"AWS_CA_BUNDLE=" + other, "SSL_CERT_FILE=" + good}, 200},
		"AWS_CA_BUNDLE of the two": {[]string{"AWS_CA_BUNDLE=" + good, "SSL_CERT_FILE=" + other}, 200},
		"neither":                  {[]string{"AWS_CA_BUNDLE=" + other, "SSL_CERT_FILE=" + other}, 500},
	} {
		t.Run(name, func(t *testing.T) {
			_, port := startAgent(t, os.Args[0], environment(t, tt.env...), "-c", "demo", "--endpoint", private.URL)
			if status, body := get(t, http.DefaultClient, port, token(1)); status != tt.status ||
				status == 500 && !strings.Contains(body, "certificate signed by unknown authority") {
				t.Errorf("got %d %s, want %d", status, body, tt.status)
			}
		})
	}
}

// A proxy is used for names, and never for link-local addresses, whatever NO_PROXY says.
func TestProxy(t *testing.T) {
	upstream := eksAuth(t)
	var proxied atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxied.Add(1)
		r.URL = &url.URL{Path: r.URL.Path}
		upstream.Config.Handler.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	env := environment(t, "HTTP_PROXY="+proxy.URL, "NO_PROXY=unrelated.example.com")
	_, port := startAgent(t, os.Args[0], env, "-c", "demo", "--endpoint", "http://eks-auth.example.com")
	if status, body := get(t, http.DefaultClient, port, token(1)); status != 200 || proxied.Load() != 1 {
		t.Errorf("got %d %s, %d requests by the proxy", status, body, proxied.Load())
	}
	_, port = startAgent(t, os.Args[0], env, "-c", "demo", "--endpoint", upstream.URL)
	if status, body := get(t, http.DefaultClient, port, token(1)); status != 200 || proxied.Load() != 1 {
		t.Errorf("got %d %s, %d requests by the proxy", status, body, proxied.Load())
	}
}

// Without --endpoint the variables count that SDKs read.
func TestEndpointOfTheEnvironment(t *testing.T) {
	upstream := eksAuth(t)
	const nowhere = "http://127.0.0.1:1"
	for name, env := range map[string][]string{
		"AWS_ENDPOINT_URL":          {"AWS_ENDPOINT_URL=" + upstream.URL},
		"AWS_ENDPOINT_URL_EKS_AUTH": {"AWS_ENDPOINT_URL_EKS_AUTH=" + upstream.URL, "AWS_ENDPOINT_URL=" + nowhere},
	} {
		t.Run(name, func(t *testing.T) {
			_, port := startAgent(t, os.Args[0], environment(t, env...), "-c", "demo")
			if status, body := get(t, http.DefaultClient, port, token(1)); status != 200 {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
	_, port := startAgent(t, os.Args[0], environment(t, "AWS_ENDPOINT_URL_EKS_AUTH="+nowhere), "-c", "demo", "--endpoint", upstream.URL)
	if status, body := get(t, http.DefaultClient, port, token(1)); status != 200 {
		t.Errorf("the flag goes first: got %d %s", status, body)
	}
}

// In a cluster the agent is what its own service account may be: the SDK's variables lead to STS.
func TestOwnWebIdentity(t *testing.T) {
	var assumed atomic.Int64
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("WebIdentityToken") != "own.service.account" ||
			r.FormValue("RoleArn") != "arn:aws:iam::111122223333:role/podid-agent" {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		assumed.Add(1)
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAOWN</AccessKeyId>
			<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials>
			</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	defer sts.Close()
	upstream := eksAuth(t)
	signed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=ASIAOWN/") || r.Header.Get("X-Amz-Security-Token") != "t" {
			http.Error(w, "who is it?", http.StatusForbidden)
			return
		}
		upstream.Config.Handler.ServeHTTP(w, r)
	}))
	defer signed.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("own.service.account"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := withoutKeys(t, "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/podid-agent", "AWS_WEB_IDENTITY_TOKEN_FILE="+file,
		"AWS_ENDPOINT_URL_STS="+sts.URL)
	_, port := startAgent(t, os.Args[0], env, "-c", "demo", "--endpoint", signed.URL)
	for pod := range 3 {
		if status, body := get(t, http.DefaultClient, port, token(pod)); status != 200 {
			t.Errorf("got %d %s", status, body)
		}
	}
	if assumed.Load() != 1 {
		t.Errorf("%d calls of STS, want one for all", assumed.Load())
	}
}

// The file of shared credentials is replaced by somebody else.
func TestRotatedCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CA_BUNDLE"} {
		t.Setenv(name, "")
		_ = os.Unsetenv(name)
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, key := range []string{"AKIA1", "AKIA2"} {
		if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = "+key+"\naws_secret_access_key = s\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := rereadCredentials(t.Context())
		if err != nil || got.AccessKeyID != key {
			t.Errorf("got %s, %v, want %s", got.AccessKeyID, err, key)
		}
		if !got.CanExpire || time.Until(got.Expires) > credentialsInterval {
			t.Errorf("used until %v, want for a minute", got.Expires)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got, err := rereadCredentials(t.Context()); err == nil {
		t.Errorf("got %s without a file", got.AccessKeyID)
	}
}

// An agent without credentials of its own says so when it starts, not when the first pod asks.
func TestNoOwnCredentials(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // after which it is killed
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "server", "-c", "demo", "-b", "127.0.0.1", "-p", freePort(t), "--probe-port", freePort(t),
		"--metrics-address", "127.0.0.1", "--metrics-port", freePort(t))
	cmd.Env = withoutKeys(t)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := false
	for lines := bufio.NewScanner(stderr); !said && lines.Scan(); {
		said = strings.Contains(lines.Text(), "the agent has no credentials of its own yet")
	}
	if !said {
		t.Error("it does not say so")
	}
	_ = cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, stderr)
	_ = cmd.Wait()
}
