package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid/podid/internal/identity"
)

const cartsPod = `{"metadata":{"name":"carts"},"spec":{"serviceAccountName":"carts","containers":[{"name":"app"}]}}`

// associations answers from a fixed list, and with an error for the service account "broken".
func associations(accounts ...identity.ServiceAccount) func(context.Context, identity.ServiceAccount) (ServiceAccountFacts, error) {
	return func(_ context.Context, account identity.ServiceAccount) (ServiceAccountFacts, error) {
		if account.Name == "broken" {
			return ServiceAccountFacts{}, errors.New("list is gone")
		}
		return ServiceAccountFacts{Associated: slices.Contains(accounts, account)}, nil
	}
}

func newHandler(t testing.TB, registerer prometheus.Registerer) *Handler {
	t.Helper()
	h, err := New(Config{
		Lookup: associations(
			identity.ServiceAccount{Namespace: "carts", Name: "carts"}, identity.ServiceAccount{Namespace: "carts", Name: "default"}),
		Settings:   Settings{Region: "us-west-2", Jitter: half},
		Logger:     slog.New(slog.DiscardHandler),
		Registerer: registerer,
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func reviewOf(namespace, object string) string {
	return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u-1",` +
		`"kind":{"group":"","version":"v1","kind":"Pod"},` +
		`"resource":{"group":"","version":"v1","resource":"pods"},"namespace":"` + namespace + `","operation":"CREATE","object":` + object + `}}`
}

func TestHandler(t *testing.T) {
	server := httptest.NewServer(newHandler(t, nil))
	defer server.Close()
	pod := func(account string) string {
		return strings.Replace(cartsPod, `"serviceAccountName":"carts"`, account, 1)
	}
	for name, test := range map[string]struct {
		body    string
		allowed bool
		patched bool
		message string // part of status.message
		warning string // part of the first warning
		version string // of the answer, if not v1
	}{
		"associated": {body: reviewOf("carts", cartsPod), allowed: true, patched: true},
		"v1beta1": {body: strings.Replace(reviewOf("carts", cartsPod), "io/v1", "io/v1beta1", 1),
			allowed: true, patched: true, version: "admission.k8s.io/v1beta1"},
		"other account":      {body: reviewOf("carts", pod(`"serviceAccountName":"orders"`)), allowed: true},
		"other namespace":    {body: reviewOf("orders", cartsPod), allowed: true},
		"no account":         {body: reviewOf("carts", pod(`"x":1`)), allowed: true, patched: true},
		"empty account":      {body: reviewOf("carts", pod(`"serviceAccountName":""`)), allowed: true, patched: true},
		"deprecated account": {body: reviewOf("carts", pod(`"serviceAccount":"carts"`)), allowed: true, patched: true},
		"lookup fails":       {body: reviewOf("carts", pod(`"serviceAccountName":"broken"`)), allowed: true, warning: "could not tell"},
		"pod of the future":  {body: reviewOf("carts", `{"spec":{"containers":{"app":{}}}}`), allowed: true, warning: "could not tell"},
		"no object":          {body: reviewOf("carts", "null"), allowed: true, warning: "could not tell"},
		"update":             {body: strings.Replace(reviewOf("carts", cartsPod), "CREATE", "UPDATE", 1), allowed: true},
		"ephemeral": {body: strings.Replace(reviewOf("carts", cartsPod), `"operation"`, `"subResource":"ephemeralcontainers","operation"`, 1),
			allowed: true},
		"not a pod":                 {body: strings.Replace(reviewOf("carts", cartsPod), `"kind":"Pod"`, `"kind":"Deployment"`, 1), allowed: true},
		"not a pod, and unlike one": {body: strings.Replace(reviewOf("carts", `{"spec":{"containers":7}}`), `"kind":"Pod"`, `"kind":"Widget"`, 1), allowed: true},
		"number for a pod":          {body: reviewOf("carts", "7"), allowed: true, warning: "could not tell"},
		"no request":                {body: `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, message: "bad content"},
		"null":                      {body: `null`, message: "bad content"},
		"empty":                     {body: ``, message: "unexpected end of JSON input"},
		"not JSON":                  {body: `{"request":`, message: "unexpected end of JSON input"},
		"wrong type":                {body: `{"request":{"uid":7}}`, message: "cannot unmarshal number"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := http.Post(server.URL+"/mutate", "application/json", strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var out review
			if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusOK || out.Response == nil || out.Request != nil {
				t.Fatalf("got %s %+v", resp.Status, out)
			}
			if want := map[bool]string{true: "admission.k8s.io/v1", false: test.version}[test.version == ""]; out.APIVersion != want {
				t.Errorf("answered in %s, want %s", out.APIVersion, want)
			}
			r := out.Response
			if r.Allowed != test.allowed || (len(r.Patch) > 0) != test.patched || (r.PatchType == "JSONPatch") != test.patched {
				t.Errorf("allowed %v, patch %s of type %q; want %v, patched %v", r.Allowed, r.Patch, r.PatchType, test.allowed, test.patched)
			}
			if test.allowed && r.UID != "u-1" {
				t.Errorf("uid %q, want u-1", r.UID)
			}
			if r.Status != nil && !strings.Contains(r.Status.Message, test.message) || (r.Status != nil) != (test.message != "") {
				t.Errorf("status %+v, want message with %q", r.Status, test.message)
			}
			if got := strings.Join(r.Warnings, "\n"); !strings.Contains(got, test.warning) || (got != "") != (test.warning != "") {
				t.Errorf("warnings %q, want one with %q", got, test.warning)
			}
		})
	}
}

// TestHandlerPatch checks that the patch on the wire is the one that Inject makes.
func TestHandlerPatch(t *testing.T) {
	h := newHandler(t, nil)
	out := h.admit(t.Context(), []byte(reviewOf("carts", cartsPod)))
	m, err := Inject([]byte(cartsPod), associated, h.settings)
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(m.Patch)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(out.Response.Patch)); diff != "" {
		t.Errorf("patch (-want +got):\n%s", diff)
	}
}

func TestHandlerHTTP(t *testing.T) {
	server := httptest.NewServer(newHandler(t, nil))
	defer server.Close()
	body := reviewOf("carts", cartsPod)
	for name, test := range map[string]struct {
		method, contentType, body string
		code                      int
		text                      string
	}{
		"get":           {"GET", "application/json", "", 405, "want POST"},
		"no type":       {"POST", "", body, 415, "Invalid Content-Type, expected `application/json`"},
		"yaml":          {"POST", "application/yaml", body, 415, "Invalid Content-Type, expected `application/json`"},
		"with charset":  {"POST", "application/json; charset=utf-8", body, 415, "Invalid Content-Type, expected `application/json`"},
		"large":         {"POST", "application/json", reviewOf("carts", `{"x":"`+strings.Repeat("x", 3<<20)+`","spec":{}}`), 200, `"allowed":true`},
		"too large":     {"POST", "application/json", strings.Repeat(" ", maxReviewBytes+1), 413, "cannot read"},
		"as it must be": {"POST", "application/json", body, 200, `"allowed":true`},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest(test.method, server.URL+"/mutate", strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", test.contentType)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.code || !strings.Contains(string(text), test.text) {
				t.Errorf("got %d %s, want %d with %q", resp.StatusCode, text, test.code, test.text)
			}
		})
	}
}

func TestHandlerMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	h := newHandler(t, registry)
	mutated := cartsPod
	for range 2 { // the second time there is nothing to do any more
		out := h.admit(t.Context(), []byte(reviewOf("carts", mutated)))
		if len(out.Response.Patch) > 0 {
			var m Mutation
			if err := json.Unmarshal(out.Response.Patch, &m.Patch); err != nil {
				t.Fatal(err)
			}
			mutated = string(apply(t, []byte(mutated), m))
		}
	}
	h.admit(t.Context(), []byte(reviewOf("carts", strings.ReplaceAll(cartsPod, "carts", "broken"))))
	want := map[string]float64{
		"pod_identity_webhook_missing_sa_count":                       0,
		"pod_identity_webhook_pod_count method=container_credentials": 1,
		"podid_webhook_failures_total":                                1,
	}
	if diff := cmp.Diff(want, gather(t, registry)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestMutate(t *testing.T) {
	h := newHandler(t, nil)
	if m, err := h.Mutate(t.Context(), "carts", []byte(cartsPod)); err != nil || len(m.Patch) == 0 {
		t.Errorf("associated: %+v, %v", m, err)
	}
	if m, err := h.Mutate(t.Context(), "orders", []byte(cartsPod)); err != nil || len(m.Patch) != 0 {
		t.Errorf("not associated: %+v, %v; want nothing", m, err)
	}
	for name, pod := range map[string]string{"broken": strings.ReplaceAll(cartsPod, "carts", "broken"), "no pod": "[]"} {
		if m, err := h.Mutate(t.Context(), "carts", []byte(pod)); err == nil {
			t.Errorf("%s: %+v, want an error", name, m)
		}
	}
}

func TestNew(t *testing.T) {
	valid := func() Config { return Config{Lookup: associations(), Logger: slog.New(slog.DiscardHandler)} }
	if _, err := New(valid()); err != nil {
		t.Fatal(err)
	}
	for name, mutate := range map[string]func(*Config){
		"no lookup":            func(c *Config) { c.Lookup = nil },
		"no logger":            func(c *Config) { c.Logger = nil },
		"relative URI":         func(c *Config) { c.Settings.CredentialsFullURI = "/v1/credentials" },
		"endpoint not http":    func(c *Config) { c.Settings.EndpointURL = "ftp://example.com" },
		"relative mount path":  func(c *Config) { c.Settings.MountPath = "run/secrets" },
		"relative token mount": func(c *Config) { c.Settings.WebIdentityMountPath = "run/secrets" },
		"bad account":          func(c *Config) { c.Settings.AccountID = "1111" },
		"token file with path": func(c *Config) { c.Settings.TokenFile = "../token" },
		"bad volume name":      func(c *Config) { c.Settings.VolumeName = "Token_1" },
		"too short a life":     func(c *Config) { c.Settings.TokenExpirationSeconds = 599 },
		"too long a life":      func(c *Config) { c.Settings.TokenExpirationSeconds = 1<<32 + 1 },
		"metrics taken": func(c *Config) {
			c.Registerer = prometheus.NewRegistry()
			newHandler(t, c.Registerer)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := valid()
			mutate(&cfg)
			if _, err := New(cfg); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// TestHandlerMethods sees both ways of getting credentials counted, and service accounts that are not known.
func TestHandlerMethods(t *testing.T) {
	registry := prometheus.NewRegistry()
	facts := map[string]ServiceAccountFacts{
		"associated": {Associated: true},
		"annotated":  {Found: true, Annotations: map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/carts"}},
		"mapped":     {Mapped: &MappedRole{RoleARN: "arn:aws:iam::111122223333:role/carts"}},
		"plain":      {Found: true},
	}
	h, err := New(Config{
		Lookup: func(_ context.Context, account identity.ServiceAccount) (ServiceAccountFacts, error) {
			return facts[account.Name], nil
		},
		Logger: slog.New(slog.DiscardHandler), Registerer: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	for account, want := range map[string]string{
		"associated": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "annotated": "AWS_ROLE_ARN", "mapped": "AWS_ROLE_ARN", "plain": "", "unknown": "",
	} {
		pod := strings.Replace(cartsPod, `"serviceAccountName":"carts"`, `"serviceAccountName":"`+account+`"`, 1)
		r := h.admit(t.Context(), []byte(reviewOf("carts", pod))).Response
		if !r.Allowed || (len(r.Patch) > 0) != (want != "") || !strings.Contains(string(r.Patch), want) {
			t.Errorf("%s: got %v %s, want %q", account, r.Allowed, r.Patch, want)
		}
	}
	want := map[string]float64{
		"pod_identity_webhook_missing_sa_count":                       1,
		"pod_identity_webhook_pod_count method=container_credentials": 1,
		"pod_identity_webhook_pod_count method=sts_web_identity":      2,
		"podid_webhook_failures_total":                                0,
	}
	if diff := cmp.Diff(want, gather(t, registry)); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

// gather returns the values of all counters.
func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			for _, label := range metric.GetLabel() {
				name += " " + label.GetName() + "=" + label.GetValue()
			}
			got[name] = metric.GetCounter().GetValue()
		}
	}
	return got
}

// FuzzAdmit: whatever the bytes, there is one answer, and a patch only together with a yes.
func FuzzAdmit(f *testing.F) {
	h := newHandler(f, nil)
	f.Add([]byte(reviewOf("carts", cartsPod)))
	f.Fuzz(func(t *testing.T, body []byte) {
		out := h.admit(t.Context(), body)
		if out.Response == nil || len(out.Response.Patch) > 0 && !out.Response.Allowed {
			t.Fatalf("answer %+v", out)
		}
		if _, err := json.Marshal(out); err != nil {
			t.Fatal(err)
		}
		if p := out.Response.Patch; len(p) > 0 && !json.Valid(p) {
			t.Fatalf("patch %s", p)
		}
	})
}

// BenchmarkHandler is one review of a pod of some size through the handler, without the network.
func BenchmarkHandler(b *testing.B) {
	h := newHandler(b, nil)
	pod := readYAML(b, "testdata/everything/in.yaml")
	body := []byte(reviewOf("carts", string(pod)))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/mutate", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}
