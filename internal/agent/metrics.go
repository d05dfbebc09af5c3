package agent

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// metrics counts under the names of Amazon's agent (https://github.com/aws/eks-pod-identity-agent) and writes the Prometheus text
// format (https://prometheus.io/docs/instrumenting/exposition_formats/). It is written out here because the Prometheus library
// makes up a fifth of the program and of its idle memory, on every node, for three counters.
type metrics struct {
	ok      atomic.Int64 // answers with credentials
	hit     atomic.Int64 // requests answered from the cache
	miss    atomic.Int64 // requests that had to wait for upstream
	evicted atomic.Int64 // pods dropped from the cache

	mu       sync.Mutex
	refusals map[int]int64     // answers without credentials, by status; guarded by mu
	failures map[failure]int64 // exchanges that gave no credentials; guarded by mu
}

// failure is the labels under which a failed exchange is counted.
type failure struct{ kind, code string }

func newMetrics() *metrics {
	return &metrics{refusals: map[int]int64{}, failures: map[failure]int64{}}
}

func (m *metrics) refused(status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refusals[status]++
}

// failed counts an exchange that gave no credentials. Only codes of the API become label values: what an upstream may send
// otherwise is without bound.
func (m *metrics) failed(err error) {
	f := failure{"Recoverable", "Other"}
	if final(err) {
		f.kind = "NonRecoverable"
	}
	if refusal, ok := errors.AsType[*APIError](err); ok {
		if _, known := apiCodes[refusal.Code]; known {
			f.code = refusal.Code
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures[f]++
}

func (m *metrics) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	responses, failures := maps.Clone(m.refusals), maps.Clone(m.failures)
	m.mu.Unlock()
	responses[http.StatusOK] = m.ok.Load()

	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	family := func(name, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s counter\n", name, help, name) }
	family("pod_identity_http_response", "Answers of the credentials endpoint, by HTTP status.")
	for _, status := range slices.Sorted(maps.Keys(responses)) {
		fmt.Fprintf(w, "pod_identity_http_response{code=%q} %d\n", strconv.Itoa(status), responses[status])
	}
	family("pod_identity_cache_errors", "Exchanges with EKS Auth that gave no credentials, by error code.")
	byLabels := func(a, b failure) int { return cmp.Or(cmp.Compare(a.code, b.code), cmp.Compare(a.kind, b.kind)) }
	for _, f := range slices.SortedFunc(maps.Keys(failures), byLabels) {
		fmt.Fprintf(w, "pod_identity_cache_errors{code=%q,type=%q} %d\n", f.code, f.kind, failures[f])
	}
	family("pod_identity_cache_state", "Requests answered from the cache (hit) or not (miss), and pods dropped from it (evicted).")
	fmt.Fprintf(w, "pod_identity_cache_state{state=\"evicted\"} %d\n", m.evicted.Load())
	fmt.Fprintf(w, "pod_identity_cache_state{state=\"hit\"} %d\n", m.hit.Load())
	fmt.Fprintf(w, "pod_identity_cache_state{state=\"miss\"} %d\n", m.miss.Load())
}
