package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// standIn has a podid dev answer for AWS: whoever uses the proxy that it returns, and trusts the certificate in the file, gets its
// answers at the hosts of AWS.
func standIn(t *testing.T, d *devServer) (proxy, certificate string) {
	t.Helper()
	to, err := url.Parse(d.url)
	if err != nil {
		t.Fatal(err)
	}
	relay := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host }} // the host is signed
	hosts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bucket, _, isBucket := strings.Cut(r.Host, ".s3.")
		if !isBucket {
			relay.ServeHTTP(w, r)
			return
		}
		// podid's S3 has no host for each bucket: the one question that is asked there is passed on in words.
		out, err := d.s3().GetBucketPolicy(r.Context(), &s3.GetBucketPolicyInput{Bucket: &bucket})
		var refused smithy.APIError
		switch {
		case errors.As(err, &refused):
			w.WriteHeader(http.StatusNotFound)
			_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", refused.ErrorCode())
		case err != nil:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			_, _ = io.WriteString(w, aws.ToString(out.Policy))
		}
	}))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stand-in"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"*.amazonaws.com", "*.us-west-2.amazonaws.com", "*.s3.us-west-2.amazonaws.com"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	hosts.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	hosts.StartTLS()
	t.Cleanup(hosts.Close)
	certificate = filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), 0o600)

	tunnels := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || !strings.HasSuffix(r.Host, ".amazonaws.com:443") {
			t.Errorf("%s %s was sent to the proxy", r.Method, r.Host)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		inner, err := net.Dial("tcp", hosts.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer inner.Close()
		outer, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer outer.Close()
		_, _ = io.WriteString(outer, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(inner, buffered)
			_ = inner.Close()
		}()
		_, _ = io.Copy(outer, inner)
	}))
	t.Cleanup(tunnels.Close)
	return tunnels.URL, certificate
}

// TestCanIReadsAWS has --aws read associations, roles, users, groups and bucket policies where AWS has them, while an endpoint of podid is
// set that nobody answers.
func TestCanIReadsAWS(t *testing.T) {
	d, env := pods(t)
	proxy, certificate := standIn(t, d)
	env = plus(env, "AWS_ENDPOINT_URL=http://127.0.0.1:1", "HTTPS_PROXY="+proxy, "AWS_CA_BUNDLE="+certificate, "AWS_REGION=us-west-2", "AWS_MAX_ATTEMPTS=1")
	bucketPolicy := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:role/carts"},` +
		`"Action":"s3:PutObject","Resource":"arn:aws:s3:::demo/*"}}`
	if _, err := d.s3().PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String("demo"), Policy: &bucketPolicy}); err != nil {
		t.Fatal(err)
	}
	carts := []string{"--service-account", "carts/carts", "--aws"}
	for name, test := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"by the role": {append([]string{"s3:GetObject", testFile}, carts...), 0, []string{`✓ permissions`, `identity-based policy "s3"`, "– resource policy"}},
		"by the bucket": {
			append([]string{"s3:PutObject", testFile}, carts...), 0, []string{"– permissions", `✓ resource policy of ` + testFile + `: allowed by resource-based policy "demo"`},
		},
		"by neither":               {append([]string{"s3:DeleteObject", testFile}, carts...), 1, []string{"✗ permissions"}},
		"bucket that is not there": {append([]string{"s3:GetObject", "arn:aws:s3:::none/x"}, carts...), 1, []string{"✗ permissions"}},
		"a user":                   {[]string{"s3:DeleteObject", testFile, "--aws", "--principal", "arn:aws:iam::111122223333:user/admin"}, 0, []string{"✓ permissions"}},
	} {
		got := run(t, env, "", "podid", append([]string{"can-i"}, test.args...)...)
		if got.code != test.code {
			t.Errorf("%s: got %+v, want exit code %d", name, got, test.code)
		}
		for _, want := range test.says {
			if !strings.Contains(got.stdout, want) {
				t.Errorf("%s: got %s, want %q", name, got.stdout, want)
			}
		}
	}
	got := run(t, env, "", "podid", "who-can", "s3:PutObject", testFile, "--aws")
	if got.code != 0 || strings.Count(got.stdout, "\n") != 2 || !strings.Contains(got.stdout, "arn:aws:iam::111122223333:role/carts") {
		t.Errorf("who-can: got %+v, want carts, whom the bucket lets", got)
	}
}
