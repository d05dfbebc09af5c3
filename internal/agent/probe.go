package agent

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const probeTimeout = 10 * time.Second // of one probe of all addresses, as in Amazon's agent

// probes answers /readyz and /healthz: 200 if the credentials endpoint serves on every address it is bound to, 408 if one does
// not answer in time, otherwise 500.
func (a *Agent) probes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", a.serveProbe)
	mux.HandleFunc("/healthz", a.serveProbe)
	return mux
}

// observability answers /metrics besides the probes.
func (a *Agent) observability() *http.ServeMux {
	mux := a.probes()
	mux.Handle("/metrics", a.metrics)
	return mux
}

func (a *Agent) serveProbe(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	for _, addr := range a.Addrs() {
		err := a.probe(ctx, addr.String())
		if err == nil {
			continue
		}
		a.log.Warn("credentials endpoint does not serve", "address", addr.String(), "err", err)
		if ctx.Err() != nil {
			http.Error(w, http.StatusText(http.StatusRequestTimeout), http.StatusRequestTimeout)
			return
		}
		http.Error(w, "Internal Server Error occurred", http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// probe asks the endpoint for a page that it does not have. Anything but 404 means that somebody else serves on the address.
func (a *Agent) probe(ctx context.Context, addr string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	resp, err := a.prober.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		return fmt.Errorf("got %s, want 404", resp.Status)
	}
	return nil
}
