package wire

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid/podid/internal/audit"
)

// Metrics counts and times requests, for all services together.
type Metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// NewMetrics registers podid_api_requests_total and podid_api_request_duration_seconds. The label code is the error code, empty
// for success: a bounded set, since only services make codes.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podid_api_requests_total", Help: "Requests answered, by service, operation and error code (empty: success).",
		}, []string{"service", "operation", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "podid_api_request_duration_seconds", Help: "Time from the request's header to its answer.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5},
		}, []string{"service", "operation"}),
	}
	registry.MustRegister(m.requests, m.seconds)
	return m
}

func (m *Metrics) observe(e *audit.Entry) {
	m.requests.WithLabelValues(e.Service, e.Operation, e.Code).Inc()
	m.seconds.WithLabelValues(e.Service, e.Operation).Observe(e.Duration.Seconds())
}
