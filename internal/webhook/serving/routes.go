package serving

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// routes are those of the TLS port.
func (w *Webhook) routes() http.Handler {
	mux := w.probes()
	mux.HandleFunc("/mutate", w.serveMutate)
	if w.cfg.Debug {
		mux.HandleFunc("/debug/alpha/deny", serveDeny)
		mux.HandleFunc("/debug/alpha/500", serveFault)
	}
	return mux
}

// metricsRoutes are those of the plain port.
func (w *Webhook) metricsRoutes() http.Handler {
	mux := w.probes()
	mux.Handle("GET /metrics", promhttp.HandlerFor(w.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	if w.cfg.Debug {
		mux.HandleFunc("/debug/alpha/cache", w.serveCache)
	}
	return mux
}

func (w *Webhook) probes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, path := range []string{"/healthz", "/livez"} {
		mux.HandleFunc(path, func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte("ok")) })
	}
	mux.HandleFunc("/readyz", w.serveReady)
	return mux
}

func (w *Webhook) serveMutate(rw http.ResponseWriter, r *http.Request) {
	start := time.Now()
	answer := &statusWriter{rw, http.StatusOK}
	if admit := w.admit.Load(); admit != nil {
		admit.ServeHTTP(answer, r)
	} else {
		http.Error(answer, "not ready: associations are not known yet", http.StatusServiceUnavailable)
	}
	w.metrics.observe(r.Method, answer.status, time.Since(start))
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// check is one thing that readiness depends on: how it is, or what is wrong with it.
type check struct {
	name  string
	state string
	err   error
}

func (w *Webhook) checks() []check {
	state, err := w.cfg.Facts.Associations.Ready()
	checks := []check{{"associations", state, err}}
	state, err = w.cfg.Certificate.Ready(w.cfg.Now())
	checks = append(checks, check{"certificate", state, err})
	if accounts := w.cfg.Facts.Accounts; accounts != nil {
		c := check{name: "service-accounts", state: fmt.Sprintf("%d are known", accounts.Len())}
		if !accounts.Synced() {
			c.err = fmt.Errorf("not all are known yet")
		}
		checks = append(checks, c)
	}
	c := check{name: "admission"}
	switch {
	case w.closing.Load():
		c.err = fmt.Errorf("the webhook ends")
	case w.admit.Load() == nil:
		c.err = fmt.Errorf("it waits for the associations")
	}
	return append(checks, c)
}

// serveReady answers 200 if all is known that pods are judged by, and else 503 and why; with ?verbose everything in either case.
func (w *Webhook) serveReady(rw http.ResponseWriter, r *http.Request) {
	status := http.StatusOK
	var text strings.Builder
	verbose := r.URL.Query().Has("verbose")
	for _, c := range w.checks() {
		switch {
		case c.err != nil:
			status = http.StatusServiceUnavailable
			fmt.Fprintf(&text, "[-]%s not ready: %v\n", c.name, c.err)
		case verbose:
			fmt.Fprintf(&text, "%s\n", strings.TrimSuffix("[+]"+c.name+" ok: "+c.state, ": "))
		}
	}
	if status == http.StatusOK && !verbose {
		text.WriteString("ok")
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.WriteHeader(status)
	_, _ = rw.Write([]byte(text.String()))
}
