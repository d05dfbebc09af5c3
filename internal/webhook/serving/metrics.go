package serving

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/podid/podid/internal/webhook/facts"
)

// metrics counts and times reviews, under the names of Amazon's webhook and, where a pod's wait is milliseconds and not seconds, under
// one of ours.
type metrics struct {
	requests  *prometheus.CounterVec
	latencies *prometheus.HistogramVec
	summary   *prometheus.SummaryVec
	seconds   prometheus.Histogram
}

func newMetrics(registry *prometheus.Registry, known *facts.Config) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "http_request_count", Help: "Requests by verb, path and status.",
		}, []string{"verb", "path", "code"}),
		latencies: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "http_request_latencies", Help: "Time to the answer in microseconds, by verb and path.",
			Buckets: prometheus.ExponentialBuckets(125000, 2, 7),
		}, []string{"verb", "path"}),
		summary: prometheus.NewSummaryVec(prometheus.SummaryOpts{
			Name: "http_request_duration_microseconds", Help: "Time to the answer in microseconds, by verb and path.", MaxAge: time.Hour,
		}, []string{"verb", "path"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "podid_webhook_review_duration_seconds", Help: "Time from a review's header to its answer.",
			Buckets: []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .5, 1, 5},
		}),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	associations := known.Associations
	registry.MustRegister(m.requests, m.latencies, m.summary, m.seconds,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		gauge("podid_webhook_associations", "Service accounts that are known to have an association.",
			func() float64 { return float64(associations.Len()) }),
		gauge("podid_webhook_revision", "Revision of podid's state that pods are judged by.",
			func() float64 { return float64(associations.Revision()) }),
		gauge("podid_webhook_associations_live", "1 while changes of associations are told as they happen.",
			func() float64 { return number(associations.Live()) }),
		gauge("podid_webhook_service_accounts", "Service accounts that are known.",
			func() float64 {
				if known.Accounts == nil {
					return 0
				}
				return float64(known.Accounts.Len())
			}),
		gauge("pod_identity_webhook_used", "1 if any service account has an association or a role of its own.",
			func() float64 {
				return number(associations.Len() > 0 || known.Accounts != nil && known.Accounts.Annotated() > 0)
			}),
	)
	return m
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// observe counts a request of /mutate. Verbs that a webhook is not called with are one, so that callers cannot make up labels.
func (m *metrics) observe(verb string, status int, took time.Duration) {
	if verb != http.MethodPost {
		verb = "other"
	}
	const path = "/mutate"
	m.requests.WithLabelValues(verb, path, strconv.Itoa(status)).Inc()
	m.latencies.WithLabelValues(verb, path).Observe(float64(took.Microseconds()))
	m.summary.WithLabelValues(verb, path).Observe(float64(took.Microseconds()))
	m.seconds.Observe(took.Seconds())
}
