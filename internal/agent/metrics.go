package agent

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics counts under the names of Amazon's agent. See https://github.com/aws/eks-pod-identity-agent.
type metrics struct {
	registry  *prometheus.Registry
	responses *prometheus.CounterVec
	ok        prometheus.Counter // of responses
	failures  *prometheus.CounterVec
	hit       prometheus.Counter // requests answered from the cache
	miss      prometheus.Counter // requests that had to wait for upstream
	evicted   prometheus.Counter // pods dropped from the cache
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		responses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_http_response", Help: "Answers of the credentials endpoint, by HTTP status.",
		}, []string{"code"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_cache_errors", Help: "Exchanges with EKS Auth that gave no credentials, by error code.",
		}, []string{"type", "code"}),
	}
	state := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pod_identity_cache_state", Help: "Requests answered from the cache (hit) or not (miss), and pods dropped from it (evicted).",
	}, []string{"state"})
	m.ok = m.responses.WithLabelValues("200")
	m.hit, m.miss, m.evicted = state.WithLabelValues("hit"), state.WithLabelValues("miss"), state.WithLabelValues("evicted")
	m.registry.MustRegister(m.responses, m.failures, state, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) refused(status int) { m.responses.WithLabelValues(strconv.Itoa(status)).Inc() }

// failed counts an exchange that gave no credentials. Only codes of the API become label values: what an upstream may send
// otherwise is without bound.
func (m *metrics) failed(err error) {
	kind, code := "Recoverable", "Other"
	if final(err) {
		kind = "NonRecoverable"
	}
	if refusal, ok := errors.AsType[*APIError](err); ok {
		if _, known := apiCodes[refusal.Code]; known {
			code = refusal.Code
		}
	}
	m.failures.WithLabelValues(kind, code).Inc()
}
