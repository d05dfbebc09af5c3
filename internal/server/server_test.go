package server_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/podid/podid/internal/server/servertest"
)

func TestRestartLosesNothing(t *testing.T) {
	first := servertest.New(t, nil)
	_, err := iam.NewFromConfig(first.Admin).CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: aws.String("kept"), AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":"sts:AssumeRole"}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := first.Admin.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first.Stop()

	second := servertest.Open(t, first.DataDir, nil)
	again, err := second.Admin.Credentials.Retrieve(t.Context())
	if err != nil || again.AccessKeyID != key.AccessKeyID || again.SecretAccessKey != key.SecretAccessKey {
		t.Errorf("the administrator has another key after a restart (%v)", err)
	}
	if _, err := iam.NewFromConfig(second.Admin).GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("kept")}); err != nil {
		t.Errorf("the role is gone: %v", err)
	}
}

func TestHealth(t *testing.T) {
	s := servertest.New(t, nil)
	for _, path := range []string{"/livez", "/readyz"} {
		r, err := http.NewRequest(http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := s.Do(r); a.Status != http.StatusOK || a.Body != "ok\n" {
			t.Errorf("%s: %d %q", path, a.Status, a.Body)
		}
	}
}

func TestIssuer(t *testing.T) {
	s := servertest.New(t, nil)
	get := func(url string) *servertest.Answer {
		r, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s.Do(r)
	}
	var version map[string]string
	get(s.URL+"/k8s/local/version").JSON(t, &version)
	var own struct{ Issuer, JWKSURI string }
	get(s.URL+"/k8s/local/.well-known/openid-configuration").JSON(t, &own)
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	get(own.Issuer+"/.well-known/openid-configuration").JSON(t, &document)
	if document.Issuer != own.Issuer || !strings.HasPrefix(document.Keys, own.Issuer) {
		t.Errorf("discovery document %+v of issuer %s", document, own.Issuer)
	}
	var keys struct{ Keys []map[string]string }
	get(document.Keys).JSON(t, &keys)
	if len(keys.Keys) != 1 || keys.Keys[0]["kty"] != "RSA" || keys.Keys[0]["d"] != "" {
		t.Errorf("keys %v", keys.Keys)
	}
	if a := get(s.URL + "/id/0123456789ABCDEF0123456789ABCDEF/keys.json"); a.Status != http.StatusNotFound {
		t.Errorf("an issuer that does not exist: %d", a.Status)
	}
}

// What is secret must not be readable by others, and must not be anywhere in the clear.
func TestFilesAtRest(t *testing.T) {
	s := servertest.New(t, nil)
	key, err := s.Admin.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sts.NewFromConfig(s.Admin).GetCallerIdentity(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	err = filepath.WalkDir(s.DataDir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 && filepath.Dir(path) == s.DataDir {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if d.IsDir() {
			return nil
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), key.SecretAccessKey) {
			t.Errorf("%s holds the administrator's secret access key", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if strings.Contains(s.Log.String(), key.SecretAccessKey) {
		t.Error("the log holds the administrator's secret access key")
	}
}

// kubectl and others authenticate with the token of "aws eks get-token".
func TestBearer(t *testing.T) {
	s := servertest.New(t, nil)
	call := func(bearer string) int {
		r, err := http.NewRequest(http.MethodPost, s.URL+"/k8s/local/api/v1/namespaces/carts/serviceaccounts/carts/token",
			strings.NewReader(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{
				"audiences":["x"],"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"p","uid":"5a20f883-6b1c-4d5e-9f00-0123456789ab"}}}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+bearer)
		return s.Do(r).Status
	}
	presign := func(cluster string) string {
		request, err := sts.NewPresignClient(sts.NewFromConfig(s.Admin)).PresignGetCallerIdentity(t.Context(), nil, servertest.WithClusterHeader(cluster))
		if err != nil {
			t.Fatal(err)
		}
		return "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(request.URL))
	}
	good := presign("local")
	for name, tt := range map[string]struct {
		bearer string
		want   int
	}{
		"good":              {good, http.StatusCreated},
		"for another":       {presign("edge"), http.StatusUnauthorized},
		"other prefix":      {strings.Replace(good, "v1", "v2", 1), http.StatusUnauthorized},
		"not base64":        {"k8s-aws-v1.!", http.StatusUnauthorized},
		"not a signed URL":  {"k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(s.URL+"/?Action=GetCallerIdentity")), http.StatusUnauthorized},
		"too long":          {"k8s-aws-v1." + strings.Repeat("A", 20000), http.StatusUnauthorized},
		"no URL whatsoever": {"k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte("\x00:")), http.StatusUnauthorized},
	} {
		if got := call(tt.bearer); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}
