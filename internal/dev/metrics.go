package dev

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serveMetrics serves what the control plane counts, with the metrics of the process and of the embedded etcd, until ctx ends.
func (d *Dev) serveMetrics(ctx context.Context) (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	if d.cfg.MetricsListen == "" {
		return registry, nil
	}
	listener, err := listen(d.cfg.MetricsListen)
	if err != nil {
		return nil, fmt.Errorf("listening for metrics: %w", err)
	}
	registry.MustRegister(collectors.NewBuildInfoCollector())
	// etcd registers with the default registry, which has the metrics of the process too.
	all := prometheus.Gatherers{registry, prometheus.DefaultGatherer}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(all, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	d.group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	d.group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return registry, nil
}
