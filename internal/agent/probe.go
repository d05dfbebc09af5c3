package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

const probeTimeout = 10 * time.Second // of one probe of all addresses, as in Amazon's agent

// errAbsent is wrapped by the errors for an address that cannot be served because the node does not have it.
var errAbsent = errors.New("not an address of this node")

// probes answers /readyz and /healthz: 200 if the credentials endpoint serves on every bind host that the node has, and it has one;
// 408 if one does not answer in time, otherwise 500. With ?verbose there is a line for each bind host.
func (a *Agent) probes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", a.serveProbe)
	mux.HandleFunc("/healthz", a.serveProbe)
	return mux
}

// observability answers /metrics besides the probes.
func (a *Agent) observability() *http.ServeMux {
	mux := a.probes()
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		a.metrics.ServeHTTP(w, r)
		a.writeServed(w)
	})
	return mux
}

// writeServed adds which bind hosts the node has to the metrics.
func (a *Agent) writeServed(w io.Writer) {
	const name = "pod_identity_address_served"
	fmt.Fprintf(w, "# HELP %s 1 if the node has the address and it is served, otherwise 0.\n# TYPE %s gauge\n", name, name)
	for _, e := range a.endpoints {
		served := 1
		if e.absent() != nil {
			served = 0
		}
		fmt.Fprintf(w, "%s{address=%q} %d\n", name, e.host, served)
	}
}

func (a *Agent) serveProbe(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	var report strings.Builder
	serving, faults := 0, 0
	for _, e := range a.endpoints {
		err := e.absent()
		if err == nil {
			err = a.probe(ctx, e.Addr().String())
		}
		switch {
		case err == nil:
			serving++
			fmt.Fprintf(&report, "%s serves\n", e.host)
			continue
		case !errors.Is(err, errAbsent):
			faults++
			a.log.Warn("credentials endpoint does not serve", "address", e.host.String(), "err", err)
		}
		fmt.Fprintf(&report, "%s does not serve: %v\n", e.host, err)
	}
	if serving == 0 && faults == 0 {
		a.log.Warn("the node has none of the addresses to serve on: initialize adds them")
	}
	switch {
	case ctx.Err() != nil:
		http.Error(w, http.StatusText(http.StatusRequestTimeout), http.StatusRequestTimeout)
	case serving == 0 || faults > 0:
		http.Error(w, "Internal Server Error occurred", http.StatusInternalServerError)
	}
	if r.URL.Query().Has("verbose") {
		_, _ = io.WriteString(w, report.String())
	}
}

// absent returns why the address cannot be served whatever the agent does, and nil if it can. It asks the kernel each time, for
// addresses are added and removed while the agent runs. In doubt the node has the address, and the probe will tell.
func (e endpoint) absent() error {
	if e.Listener == nil {
		return fmt.Errorf("%w: %w", errAbsent, e.err)
	}
	conn, err := net.ListenPacket("udp", net.JoinHostPort(e.host.String(), "0"))
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return errAbsent
	}
	if err == nil {
		_ = conn.Close()
	}
	return nil
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
