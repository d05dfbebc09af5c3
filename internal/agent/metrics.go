package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// metrics counts under the names of Amazon's agent (https://github.com/aws/eks-pod-identity-agent), and what Amazon's does not count
// under names of its own, and writes the Prometheus text format (https://prometheus.io/docs/instrumenting/exposition_formats/). It
// is written out here because the Prometheus library makes up a fifth of the program and of its idle memory, on every node.
type metrics struct {
	hit     atomic.Int64 // requests answered from the cache
	miss    atomic.Int64 // requests that had to wait for upstream
	evicted atomic.Int64 // pods dropped from the cache

	fromCache, fromExchange, refusal histogram // of requests
	waiting, renewal                 histogram // of exchanges, for pods that wait and ahead of need
	succeededAt                      atomic.Int64

	state func() state // of the cache

	mu       sync.Mutex
	refusals map[int]int64     // answers without credentials, by status; guarded by mu
	failures map[failure]int64 // exchanges that gave no credentials; guarded by mu
}

// failure is the labels under which a failed exchange is counted.
type failure struct{ kind, code string }

// state is what there is at the moment.
type state struct {
	news              news
	pods, tokens      int // in the cache
	line              int // exchanges that have not started
	waiting, renewing int // exchanges under way
}

func newMetrics() *metrics {
	return &metrics{refusals: map[int]int64{}, failures: map[failure]int64{}}
}

// answered counts an answer with credentials.
func (m *metrics) answered(cached bool, took time.Duration) {
	if cached {
		m.fromCache.observe(took)
	} else {
		m.fromExchange.observe(took)
	}
}

// refused counts an answer without.
func (m *metrics) refused(status int, took time.Duration) {
	m.refusal.observe(took)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refusals[status]++
}

// exchanged counts an exchange that has ended. Only codes of the API become label values: what an upstream may send otherwise is
// without bound.
func (m *metrics) exchanged(x *exchange, took time.Duration, now time.Time) {
	if x.renews == nil {
		m.waiting.observe(took)
	} else {
		m.renewal.observe(took)
	}
	if x.err == nil {
		m.succeededAt.Store(now.Unix())
		return
	}
	f := failure{"Recoverable", "Other"}
	if final(x.err) {
		f.kind = "NonRecoverable"
	}
	if refusal, ok := errors.AsType[*APIError](x.err); ok {
		if _, known := apiCodes[refusal.Code]; known {
			f.code = refusal.Code
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures[f]++
}

func (m *metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	m.writeAmazons(w)
	m.writeOwn(w)
}

func family(w io.Writer, name, kind, help string) {
	fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (m *metrics) writeAmazons(w io.Writer) {
	m.mu.Lock()
	responses, failures := maps.Clone(m.refusals), maps.Clone(m.failures)
	m.mu.Unlock()
	responses[http.StatusOK] = m.fromCache.count() + m.fromExchange.count()

	family(w, "pod_identity_http_response", "counter", "Answers of the credentials endpoint, by HTTP status.")
	for _, status := range slices.Sorted(maps.Keys(responses)) {
		fmt.Fprintf(w, "pod_identity_http_response{code=%q} %d\n", strconv.Itoa(status), responses[status])
	}
	family(w, "pod_identity_cache_errors", "counter", "Exchanges with EKS Auth that gave no credentials, by error code.")
	byLabels := func(a, b failure) int { return cmp.Or(cmp.Compare(a.code, b.code), cmp.Compare(a.kind, b.kind)) }
	for _, f := range slices.SortedFunc(maps.Keys(failures), byLabels) {
		fmt.Fprintf(w, "pod_identity_cache_errors{code=%q,type=%q} %d\n", f.code, f.kind, failures[f])
	}
	family(w, "pod_identity_cache_state", "counter",
		"Requests answered from the cache (hit) or not (miss), and pods dropped from it (evicted).")
	fmt.Fprintf(w, "pod_identity_cache_state{state=\"evicted\"} %d\n", m.evicted.Load())
	fmt.Fprintf(w, "pod_identity_cache_state{state=\"hit\"} %d\n", m.hit.Load())
	fmt.Fprintf(w, "pod_identity_cache_state{state=\"miss\"} %d\n", m.miss.Load())
}

func (m *metrics) writeOwn(w io.Writer) {
	name := "podid_agent_request_duration_seconds"
	family(w, name, "histogram", "How long requests of pods took, by where the answer was from.")
	m.fromCache.write(w, name, `answer="cache"`)
	m.fromExchange.write(w, name, `answer="exchange"`)
	m.refusal.write(w, name, `answer="refusal"`)
	name = "podid_agent_exchange_duration_seconds"
	family(w, name, "histogram", "How long exchanges with EKS Auth took with all their attempts, by whom they were for.")
	m.waiting.write(w, name, `for="pod"`)
	m.renewal.write(w, name, `for="renewal"`)

	now := m.state()
	family(w, "podid_agent_exchanges_in_flight", "gauge", "Exchanges with EKS Auth under way, by whom they are for.")
	fmt.Fprintf(w, "podid_agent_exchanges_in_flight{for=\"pod\"} %d\n", now.waiting)
	fmt.Fprintf(w, "podid_agent_exchanges_in_flight{for=\"renewal\"} %d\n", now.renewing)
	for _, gauge := range []struct {
		name, help string
		value      int64
	}{
		{"podid_agent_exchanges_waiting", "Exchanges with EKS Auth that wait for their turn.", int64(now.line)},
		{"podid_agent_cache_pods", "Pods whose credentials are kept.", int64(now.pods)},
		{"podid_agent_cache_tokens", "Tokens that credentials are kept for.", int64(now.tokens)},
		{"podid_agent_last_success_timestamp_seconds", "When EKS Auth last gave credentials; 0: never.", m.succeededAt.Load()},
	} {
		family(w, gauge.name, "gauge", gauge.help)
		fmt.Fprintf(w, "%s %d\n", gauge.name, gauge.value)
	}
	if now.news.followed {
		up := 0
		if now.news.up {
			up = 1
		}
		family(w, "podid_agent_feed_up", "gauge", "1 if the feed of associations is connected, otherwise 0.")
		fmt.Fprintf(w, "podid_agent_feed_up %d\n", up)
		family(w, "podid_agent_feed_revision", "gauge", "Revision of the server's state up to which changes of associations are known.")
		fmt.Fprintf(w, "podid_agent_feed_revision %d\n", now.news.revision)
	}
}
