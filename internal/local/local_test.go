package local

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store/storetest"
	"github.com/podid/podid/internal/token"
	"github.com/podid/podid/internal/webhook"
)

const (
	issuer = "https://podid.example.com/id/D43CF17C27A865933144EA99A26FB128"
	bearer = "k8s-aws-v1.dGVzdA"
	podUID = "5a20f883-aaaa-4bbb-8ccc-0123456789ab"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)

// signer is shared, since making a key takes long.
var signer = sync.OnceValue(func() *token.Signer {
	key, err := token.GenerateKey()
	if err != nil {
		panic(err)
	}
	s, err := token.NewSigner(key, issuer)
	if err != nil {
		panic(err)
	}
	return s
})

func validConfig(t *testing.T) Config {
	t.Helper()
	hook, err := webhook.New(webhook.Config{
		Lookup: func(_ context.Context, account identity.ServiceAccount) (webhook.ServiceAccountFacts, error) {
			if account.Name == "broken" {
				return webhook.ServiceAccountFacts{}, errors.New("list is gone")
			}
			return webhook.ServiceAccountFacts{Associated: account.Namespace == "carts"}, nil
		},
		Settings: webhook.Settings{Region: "us-west-2"},
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	kept := storetest.New(t)
	accounts := DefineServiceAccounts(kept)
	if err := kept.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return Config{
		Name:            "local",
		Signer:          signer(),
		Webhook:         hook,
		ServiceAccounts: accounts,
		Store:           kept,
		Authorize: func(_ context.Context, got identity.Secret) error {
			switch got {
			case bearer:
				return nil
			case "forbidden":
				return ErrForbidden
			case "fault":
				return errors.New("cannot tell, hunter2")
			}
			return ErrUnauthorized
		},
		Random: rand.Reader,
		Now:    func() time.Time { return now },
		Logger: slog.New(slog.DiscardHandler),
	}
}

func newServer(t *testing.T) *httptest.Server {
	t.Helper()
	c, err := New(validConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.StripPrefix("/k8s/local", c))
	t.Cleanup(s.Close)
	return s
}

type request struct {
	method, path, contentType, authorization, body string
}

func (r request) send(t *testing.T, s *httptest.Server) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(r.method, s.URL+"/k8s/local"+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", r.contentType)
	if r.authorization != "" {
		req.Header.Set("Authorization", r.authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func validPod() request {
	return request{"POST", "/api/v1/namespaces/carts/pods?dryRun=All", "application/json", "Bearer " + bearer,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"carts-"},"spec":{"serviceAccountName":"carts",` +
			`"containers":[{"name":"app","future":12345678901234567890}]}}`}
}

func validToken() request {
	return request{"POST", "/api/v1/namespaces/carts/serviceaccounts/carts/token", "application/json", "Bearer " + bearer,
		`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":["pods.eks.amazonaws.com"],` +
			`"expirationSeconds":7200,"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"carts-x","uid":"` + podUID + `"}}}`}
}

func replaceBody(old, new string) func(*request) {
	return func(r *request) { r.body = strings.Replace(r.body, old, new, 1) }
}

func TestCreatePod(t *testing.T) {
	resp, body := validPod().send(t, newServer(t))
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("got %s %s", resp.Status, body)
	}
	var pod struct {
		Metadata map[string]any `json:"metadata"`
		Spec     map[string]any `json:"spec"`
	}
	if err := json.Unmarshal(body, &pod); err != nil {
		t.Fatal(err)
	}
	name, _ := pod.Metadata["name"].(string)
	if len(name) != len("carts-")+5 || !strings.HasPrefix(name, "carts-") || !identity.ValidServiceAccountName(name) {
		t.Errorf("name %q", name)
	}
	if uid, _ := pod.Metadata["uid"].(string); len(uid) != 36 {
		t.Errorf("uid %q", uid)
	}
	want := map[string]any{"namespace": "carts", "creationTimestamp": "2026-01-02T03:04:05Z", "generateName": "carts-",
		"labels": map[string]any{webhook.Label: "enabled"}}
	delete(pod.Metadata, "name")
	delete(pod.Metadata, "uid")
	if diff := cmp.Diff(want, pod.Metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	for field, want := range map[string]any{"serviceAccountName": "carts", "serviceAccount": "carts", "nodeName": NodeName} {
		if pod.Spec[field] != want {
			t.Errorf("%s is %v, want %v", field, pod.Spec[field], want)
		}
	}
	for _, text := range []string{"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "eks-pod-identity-token", "12345678901234567890"} {
		if !strings.Contains(string(body), text) {
			t.Errorf("%s is missing in %s", text, body)
		}
	}
}

func TestCreatePodDefaults(t *testing.T) {
	s := newServer(t)
	for name, test := range map[string]struct {
		mutate func(*request)
		want   string // part of the pod
	}{
		"service account": {replaceBody(`"serviceAccountName":"carts",`, ""), `"serviceAccountName":"default"`},
		"its alias":       {replaceBody(`"serviceAccountName"`, `"serviceAccount"`), `"serviceAccountName":"carts"`},
		"given name":      {replaceBody(`"generateName":"carts-"`, `"name":"mine"`), `"name":"mine"`},
		"long prefix":     {replaceBody(`"carts-"`, `"`+strings.Repeat("a", 70)+`"`), `"name":"` + strings.Repeat("a", 58)},
		"same namespace":  {replaceBody(`"generateName"`, `"namespace":"carts","generateName"`), `"namespace":"carts"`},
		"no association": {func(r *request) { r.path = strings.Replace(r.path, "carts", "orders", 1) },
			`"spec":{"containers":[{"future":12345678901234567890,"name":"app"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			r := validPod()
			test.mutate(&r)
			resp, body := r.send(t, s)
			if resp.StatusCode != http.StatusCreated || !strings.Contains(string(body), test.want) {
				t.Errorf("got %s %s, want %s", resp.Status, body, test.want)
			}
			var pod struct{ Metadata struct{ Name string } }
			if err := json.Unmarshal(body, &pod); err != nil || len(pod.Metadata.Name) > 63 {
				t.Errorf("name %q, %v", pod.Metadata.Name, err)
			}
		})
	}
}

func TestCreatePodWarns(t *testing.T) {
	r := validPod()
	replaceBody(`"name":"app"`, `"name":"app","env":[{"name":"AWS_ACCESS_KEY_ID"}]`)(&r)
	resp, _ := r.send(t, newServer(t))
	want := `299 - "container \"app\" sets AWS_ACCESS_KEY_ID, which AWS SDKs use instead of Pod Identity"`
	if diff := cmp.Diff([]string{want}, resp.Header.Values("Warning")); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestCreateToken(t *testing.T) {
	s := newServer(t)
	resp, body := validToken().send(t, s)
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("got %s %s", resp.Status, body)
	}
	var out tokenRequest
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatal(err)
	}
	expires := now.Truncate(time.Second).Add(2 * time.Hour)
	if !out.Status.ExpirationTimestamp.Equal(expires) {
		t.Errorf("expires %v, want %v", out.Status.ExpirationTimestamp, expires)
	}
	claims := verify(t, s, out.Status.Token)
	subject, err := claims.PodSubject()
	if err != nil {
		t.Fatal(err)
	}
	account := identity.ServiceAccount{Namespace: "carts", Name: "carts"}
	want := identity.Subject{ServiceAccount: account, ServiceAccountUID: subject.ServiceAccountUID,
		PodName: "carts-x", PodUID: podUID, NodeName: NodeName}
	if diff := cmp.Diff(want, subject); diff != "" {
		t.Errorf("subject (-want +got):\n%s", diff)
	}
	if len(subject.ServiceAccountUID) != 36 || !claims.HasAudience(identity.PodIdentityAudience) || claims.ID == "" {
		t.Errorf("claims %+v", claims)
	}
	// The service account's uid stays, everything else about another token is new.
	_, body = validToken().send(t, s)
	var other tokenRequest
	if err := json.Unmarshal(body, &other); err != nil {
		t.Fatal(err)
	}
	again := verify(t, s, other.Status.Token)
	if again.Kubernetes.ServiceAccountUID != subject.ServiceAccountUID || again.ID == claims.ID {
		t.Errorf("second token: uid %s, id %s", again.Kubernetes.ServiceAccountUID, again.ID)
	}
}

// verify verifies a token with the keys that the cluster publishes.
func verify(t *testing.T, s *httptest.Server, raw string) *token.Claims {
	t.Helper()
	v, err := token.New(token.Config{Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	_, keys := request{method: "GET", path: "/openid/v1/jwks"}.send(t, s)
	claims, err := v.Verify(t.Context(), raw, token.Issuer{URL: issuer, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestCreateTokenExpiration(t *testing.T) {
	s := newServer(t)
	for given, want := range map[string]time.Duration{
		`"expirationSeconds":600,`:        10 * time.Minute,
		`"expirationSeconds":86401,`:      24 * time.Hour,
		`"expirationSeconds":4294967296,`: 24 * time.Hour,
		`"expirationSeconds":null,`:       time.Hour,
		``:                                time.Hour,
	} {
		r := validToken()
		replaceBody(`"expirationSeconds":7200,`, given)(&r)
		resp, body := r.send(t, s)
		var out tokenRequest
		if err := json.Unmarshal(body, &out); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("%s: got %s %s", given, resp.Status, body)
		}
		if life := out.Status.ExpirationTimestamp.Sub(now.Truncate(time.Second)); life != want {
			t.Errorf("%s: lives %v, want %v", given, life, want)
		}
	}
}

func TestCreateTokenAudience(t *testing.T) {
	s := newServer(t)
	for given, want := range map[string][]string{
		`"audiences":["a","b"],`: {"a", "b"},
		`"audiences":[],`:        {issuer},
		``:                       {issuer},
	} {
		r := validToken()
		replaceBody(`"audiences":["pods.eks.amazonaws.com"],`, given)(&r)
		_, body := r.send(t, s)
		var out tokenRequest
		if err := json.Unmarshal(body, &out); err != nil || out.Status == nil {
			t.Fatalf("%s: %s", given, body)
		}
		if diff := cmp.Diff(want, verify(t, s, out.Status.Token).Audiences); diff != "" {
			t.Errorf("%s: audiences (-want +got):\n%s", given, diff)
		}
	}
}

func TestPublic(t *testing.T) {
	s := newServer(t)
	for path, want := range map[string]string{
		"/openid/v1/jwks":                   `"kty":"RSA"`,
		"/.well-known/openid-configuration": `"issuer": "` + issuer + `"`,
		"/version":                          `"major":"1"`,
	} {
		resp, body := request{method: "GET", path: path}.send(t, s)
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: got %s %s, want %s", path, resp.Status, body, want)
		}
	}
}

func TestErrors(t *testing.T) {
	s := newServer(t)
	for name, test := range map[string]struct {
		request request
		mutate  func(*request)
		code    int
		reason  string
		message string // part of it
	}{
		"no bearer":       {validPod(), func(r *request) { r.authorization = "" }, 401, "Unauthorized", "Unauthorized"},
		"empty bearer":    {validPod(), func(r *request) { r.authorization = "Bearer " }, 401, "Unauthorized", "Unauthorized"},
		"basic":           {validPod(), func(r *request) { r.authorization = "Basic " + bearer }, 401, "Unauthorized", "Unauthorized"},
		"wrong bearer":    {validToken(), func(r *request) { r.authorization = "Bearer wrong" }, 401, "Unauthorized", "Unauthorized"},
		"forbidden":       {validToken(), func(r *request) { r.authorization = "Bearer forbidden" }, 403, "Forbidden", "may not use"},
		"fault":           {validToken(), func(r *request) { r.authorization = "Bearer fault" }, 500, "InternalError", "Internal error"},
		"unknown path":    {validPod(), func(r *request) { r.path = "/api/v1/nodes" }, 404, "NotFound", "could not find"},
		"wrong method":    {validPod(), func(r *request) { r.method = "GET" }, 405, "MethodNotAllowed", "does not allow"},
		"not a dry run":   {validPod(), func(r *request) { r.path = strings.TrimSuffix(r.path, "?dryRun=All") }, 405, "MethodNotAllowed", "podid run"},
		"other dry run":   {validPod(), func(r *request) { r.path += "x" }, 400, "BadRequest", "dryRun"},
		"yaml":            {validPod(), func(r *request) { r.contentType = "application/yaml" }, 415, "UnsupportedMediaType", "application/json"},
		"too large":       {validPod(), replaceBody("{", "{"+strings.Repeat(" ", maxPodBytes)), 413, "RequestEntityTooLarge", "too large"},
		"not JSON":        {validPod(), func(r *request) { r.body = r.body[1:] }, 400, "BadRequest", "not the object"},
		"two values":      {validPod(), func(r *request) { r.body += "{}" }, 400, "BadRequest", "more in the body"},
		"null":            {validPod(), func(r *request) { r.body = "null" }, 400, "BadRequest", "not a Pod"},
		"other kind":      {validPod(), replaceBody(`"Pod"`, `"Service"`), 400, "BadRequest", "not a Pod"},
		"other namespace": {validPod(), replaceBody(`"generateName"`, `"namespace":"orders","generateName"`), 400, "BadRequest", "does not match"},
		"bad namespace":   {validPod(), func(r *request) { r.path = strings.Replace(r.path, "carts", "Carts", 1) }, 400, "BadRequest", "namespace"},
		"no name":         {validPod(), replaceBody(`"generateName":"carts-"`, ""), 422, "Invalid", "metadata.name"},
		"bad name":        {validPod(), replaceBody(`"carts-"`, `"Carts-"`), 422, "Invalid", "metadata.name"},
		"no spec":         {validPod(), replaceBody(`"spec"`, `"spek"`), 422, "Invalid", "spec"},
		"bad account":     {validPod(), replaceBody(`"carts",`, `"Carts",`), 422, "Invalid", "serviceAccountName"},
		"no containers":   {validPod(), replaceBody(`"containers":[`, `"containers":[],"x":[`), 422, "Invalid", "spec.containers"},
		"unnamed":         {validPod(), replaceBody(`"name":"app",`, ""), 422, "Invalid", "containers[0].name"},
		"mistyped":        {validPod(), replaceBody(`"name":"app"`, `"name":"app","env":{"A":"b"}`), 400, "BadRequest", "env"},
		"webhook fails":   {validPod(), replaceBody(`"carts",`, `"broken",`), 500, "InternalError", "Internal error"},
		"token of nobody": {validToken(), func(r *request) { r.path = strings.Replace(r.path, "carts/token", "Carts/token", 1) },
			400, "BadRequest", "service account"},
		"other request":    {validToken(), replaceBody(`"TokenRequest"`, `"TokenReview"`), 400, "BadRequest", "not a TokenRequest"},
		"short life":       {validToken(), replaceBody("7200", "599"), 422, "Invalid", "10 minutes"},
		"endless life":     {validToken(), replaceBody("7200", "4294967297"), 422, "Invalid", "2^32"},
		"life as text":     {validToken(), replaceBody("7200", `"7200"`), 400, "BadRequest", "not the object"},
		"unbound":          {validToken(), replaceBody(`"boundObjectRef"`, `"x"`), 422, "Invalid", "boundObjectRef"},
		"bound to secret":  {validToken(), replaceBody(`"Pod"`, `"Secret"`), 422, "Invalid", "boundObjectRef"},
		"bad pod name":     {validToken(), replaceBody(`"carts-x"`, `"../x"`), 422, "Invalid", "boundObjectRef.name"},
		"bad pod uid":      {validToken(), replaceBody(podUID, "1"), 422, "Invalid", "boundObjectRef.uid"},
		"token too large":  {validToken(), replaceBody("{", "{"+strings.Repeat(" ", maxTokenRequestBytes)), 413, "RequestEntityTooLarge", "too large"},
		"token unreadable": {validToken(), func(r *request) { r.body = "" }, 400, "BadRequest", "not the object"},
	} {
		t.Run(name, func(t *testing.T) {
			r := test.request
			test.mutate(&r)
			resp, body := r.send(t, s)
			var status struct {
				Kind, APIVersion, Status, Reason, Message string
				Code                                      int
			}
			if err := json.Unmarshal(body, &status); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			if resp.StatusCode != test.code || status.Code != test.code || status.Reason != test.reason ||
				!strings.Contains(status.Message, test.message) || status.Kind != "Status" || status.Status != "Failure" {
				t.Errorf("got %s %s, want %d %s with %q", resp.Status, body, test.code, test.reason, test.message)
			}
			if strings.Contains(string(body), "hunter2") {
				t.Error("the fault's own text reaches the client")
			}
		})
	}
}

func TestNew(t *testing.T) {
	for name, mutate := range map[string]func(*Config){
		"name":      func(c *Config) { c.Name = "no/name" },
		"signer":    func(c *Config) { c.Signer = nil },
		"webhook":   func(c *Config) { c.Webhook = nil },
		"authorize": func(c *Config) { c.Authorize = nil },
		"random":    func(c *Config) { c.Random = nil },
		"now":       func(c *Config) { c.Now = nil },
		"logger":    func(c *Config) { c.Logger = nil },
	} {
		cfg := validConfig(t)
		mutate(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("New without a %s succeeds", name)
		}
	}
}
