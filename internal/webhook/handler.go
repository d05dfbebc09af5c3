package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid/podid/internal/identity"
)

// maxReviewBytes bounds an AdmissionReview: Kubernetes' own objects end at 3 MiB, and the review around one is small.
const maxReviewBytes = 3<<20 + 64<<10

// lookupTimeout bounds one lookup of a service account. The API server gives up on webhooks after ten seconds and then lets the pod
// through by itself; giving up earlier leaves time to say so in the log, the metrics and a warning.
const lookupTimeout = 5 * time.Second

// Config is what a Handler needs.
type Config struct {
	// Lookup tells what is known about a service account. That it has no association, or does not exist, is no error. Its error
	// lets the pod through unchanged. What it returns is not changed by anybody afterwards.
	Lookup func(ctx context.Context, account identity.ServiceAccount) (ServiceAccountFacts, error)
	// Settings of the cluster.
	Settings Settings
	// Logger gets a line for each mutated pod and each failure.
	Logger *slog.Logger
	// Registerer gets the metrics. Nil: they are not exported.
	Registerer prometheus.Registerer
}

// Handler answers the AdmissionReviews of one cluster's API server. It keeps no state.
type Handler struct {
	lookup   func(context.Context, identity.ServiceAccount) (ServiceAccountFacts, error)
	settings Settings
	log      *slog.Logger
	mutated  *prometheus.CounterVec
	missing  prometheus.Counter
	failed   prometheus.Counter
}

// New checks the configuration and registers the metrics.
func New(cfg Config) (*Handler, error) {
	switch {
	case cfg.Lookup == nil:
		return nil, errors.New("webhook: no Lookup function")
	case cfg.Logger == nil:
		return nil, errors.New("webhook: no logger")
	}
	if err := cfg.Settings.validate(); err != nil {
		return nil, err
	}
	h := &Handler{
		lookup:   cfg.Lookup,
		settings: cfg.Settings.complete(),
		log:      cfg.Logger,
		mutated: prometheus.NewCounterVec(prometheus.CounterOpts{ // named as in Amazon's webhook
			Name: "pod_identity_webhook_pod_count",
			Help: "Pods that were given credentials, by the way they get them.",
		}, []string{"method"}),
		missing: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pod_identity_webhook_missing_sa_count",
			Help: "Pods of service accounts that were not known, and so had no annotations.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "podid_webhook_failures_total",
			Help: "Pods that were let through unchanged because of an error, and so may run without credentials.",
		}),
	}
	if cfg.Registerer != nil {
		for _, c := range []prometheus.Collector{h.mutated, h.missing, h.failed} {
			if err := cfg.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("webhook: registering metrics: %w", err)
			}
		}
	}
	return h, nil
}

// Mutate works out what a pod of a namespace gets: nothing, without an error, where its service account has no role.
// An error means that this could not be found out, or that data is not a pod.
func (h *Handler) Mutate(ctx context.Context, namespace string, data []byte) (Mutation, error) {
	p, err := decodePod(data)
	if err != nil {
		return Mutation{}, err
	}
	m, _, err := h.mutate(ctx, namespace, p)
	return m, err
}

func (h *Handler) mutate(ctx context.Context, namespace string, p *pod) (Mutation, identity.ServiceAccount, error) {
	if err := p.check(); err != nil {
		return Mutation{}, identity.ServiceAccount{Namespace: namespace}, err
	}
	account := p.serviceAccount(namespace)
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	facts, err := h.lookup(ctx, account)
	if err != nil {
		return Mutation{}, account, fmt.Errorf("looking up the service account: %w", err)
	}
	m := inject(p, facts, h.settings)
	if len(m.Patch) > 0 { // not when Kubernetes asks a second time because another webhook has changed the pod
		h.mutated.WithLabelValues(m.Method).Inc()
		h.log.InfoContext(ctx, "pod mutated", "namespace", namespace, "service_account", account.Name, "method", m.Method,
			"operations", len(m.Patch))
	}
	if m.Method == "" && !facts.Found {
		h.missing.Inc()
	}
	return m, account, nil
}

// buffers are for the bodies of reviews, which are some kilobytes. What is decoded out of them is a copy.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// ServeHTTP answers POST requests, wherever it is mounted (Amazon's path is /mutate). It never keeps a pod from starting: on
// an error the pod is let through as it is, with a warning, and counted.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "want POST", http.StatusMethodNotAllowed)
		return
	}
	if r.Header.Get("Content-Type") != "application/json" {
		http.Error(w, "Invalid Content-Type, expected `application/json`", http.StatusUnsupportedMediaType)
		return
	}
	body := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(body)
	body.Reset()
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxReviewBytes)); err != nil {
		code := http.StatusBadRequest
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			code = http.StatusRequestEntityTooLarge
		}
		http.Error(w, "cannot read the request", code)
		return
	}
	reply, err := json.Marshal(h.admit(r.Context(), body.Bytes()))
	if err != nil { // cannot be: it is made of strings
		http.Error(w, "cannot encode the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(reply))) // else what is longer than 2 KiB goes out in chunks
	_, _ = w.Write(reply)                                      // the API server has gone, and with it whoever could be told
}

// review judges a pod that is to be created.
func (h *Handler) review(ctx context.Context, r *request, podErr error) (identity.ServiceAccount, response, error) {
	if podErr != nil {
		return identity.ServiceAccount{Namespace: r.Namespace}, response{}, podErr
	}
	m, account, err := h.mutate(ctx, r.Namespace, r.Object)
	if err != nil {
		return account, response{}, err
	}
	resp, err := approval(m)
	return account, resp, err
}

// admit answers an AdmissionReview.
func (h *Handler) admit(ctx context.Context, body []byte) *review {
	in, podErr, err := decodeReview(body)
	if err != nil {
		return (&review{}).answer(refusal("reading AdmissionReview: " + err.Error()))
	}
	if in.Request == nil {
		return in.answer(refusal("bad content"))
	}
	if !in.Request.createsPod() {
		return in.answer(response{Allowed: true})
	}
	account, resp, err := h.review(ctx, in.Request, podErr)
	if err != nil {
		h.failed.Inc()
		h.log.ErrorContext(ctx, "pod let through unchanged",
			"namespace", account.Namespace, "service_account", account.Name, "err", err)
		const warning = "podid could not tell which AWS role this pod has: it may start without AWS credentials"
		resp = response{Allowed: true, Warnings: []string{warning}}
	}
	return in.answer(resp)
}
