package podrun

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/local"
)

func TestKubeErrors(t *testing.T) {
	account := identity.ServiceAccount{Namespace: "carts", Name: "carts"}
	for name, test := range map[string]struct {
		code int
		body string
		want string
		kind int // code of the StatusError, if it is one
	}{
		"status":         {403, `{"kind":"Status","message":"forbidden: no","reason":"Forbidden","code":403}`, "forbidden: no", 403},
		"a proxy's page": {502, "<html>hunter2</html>", "Kubernetes answered 502 Bad Gateway", 502},
		"empty":          {500, "", "Kubernetes answered 500 Internal Server Error", 500},
		"redirect":       {302, "", "Kubernetes answered 302 Found", 302},
		"not JSON":       {201, `{"status":{"token":"hunter2`, "not a TokenRequest", 0},
		"no token":       {201, `{"status":{}}`, "not a TokenRequest", 0},
		"no expiry":      {201, `{"status":{"token":"hunter2"}}`, "not a TokenRequest", 0},
		"bad expiry":     {201, `{"status":{"token":"hunter2","expirationTimestamp":"hunter2"}}`, "not a TokenRequest", 0},
		"too long":       {201, strings.Repeat(" ", maxAnswerBytes+1), "longer than", 0},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.code)
				_, _ = w.Write([]byte(test.body))
			}))
			defer s.Close()
			_, err := kubeAt(t, s.URL).Token(t.Context(), account, TokenRequest{})
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q", err, test.want)
			}
			var status *StatusError
			if errors.As(err, &status) != (test.kind != 0) || test.kind != 0 && status.Code != test.kind {
				t.Errorf("got %#v, want a StatusError of %d", status, test.kind)
			}
			if calls.Load() != 1 {
				t.Errorf("%d calls, want 1", calls.Load())
			}
		})
	}
}

// Only podid's own clusters are changed by running a pod.
func TestApplyServiceAccount(t *testing.T) {
	account := identity.ServiceAccount{Namespace: "carts", Name: "carts"}
	for version, want := range map[string]bool{local.Version: true, "v1.36.3": false, "v1.36.3-eks-1234567": false, "": false} {
		var calls []string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			calls = append(calls, r.Method+" "+r.URL.Path)
			_, _ = w.Write([]byte(`{"gitVersion":"` + version + `"}`))
		}))
		applied, err := kubeAt(t, s.URL).ApplyServiceAccount(t.Context(), account, []byte(`{}`))
		s.Close()
		wantCalls := []string{"GET /version", "PATCH /api/v1/namespaces/carts/serviceaccounts/carts"}
		if !want {
			wantCalls = wantCalls[:1]
		}
		if err != nil || applied != want || !slices.Equal(calls, wantCalls) {
			t.Errorf("%q: applied %v, %v, calls %q", version, applied, err, calls)
		}
	}
}

func TestNewKube(t *testing.T) {
	bearer := func(context.Context) (identity.Secret, error) { return "", nil }
	for name, cfg := range map[string]KubeConfig{
		"no endpoint":  {Bearer: bearer},
		"not http":     {Endpoint: "ftp://example.com", Bearer: bearer},
		"no host":      {Endpoint: "https:///k8s", Bearer: bearer},
		"control byte": {Endpoint: "https://example.com/\x00", Bearer: bearer},
		"no bearer":    {Endpoint: "https://example.com"},
	} {
		if _, err := NewKube(cfg); err == nil {
			t.Errorf("NewKube with %s succeeds", name)
		}
	}
}

func TestWarningText(t *testing.T) {
	for in, want := range map[string]string{
		`299 - "text"`:          "text",
		`299 - "say \"hi\""`:    `say "hi"`,
		`299 kube "text"`:       "text",
		`no warning at all`:     `no warning at all`,
		``:                      ``,
		`299 - "text" "a date"`: `299 - "text" "a date"`,
	} {
		if got := warningText(in); got != want {
			t.Errorf("warningText(%q) = %q, want %q", in, got, want)
		}
	}
}
