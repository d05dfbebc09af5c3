// Package serving is the webhook as a program: it serves the admission handler over TLS, with what [facts] knows, and tells how it
// is doing.
package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/podid/podid/internal/webhook"
	"github.com/podid/podid/internal/webhook/certificate"
	"github.com/podid/podid/internal/webhook/facts"
)

const (
	drainTime      = 5 * time.Second  // in which a Kubernetes Service hears that we are not ready any more
	shutdownGrace  = 10 * time.Second // as long as Kubernetes waits for a webhook
	pollInterval   = 20 * time.Millisecond
	maxHeaderBytes = 64 << 10
)

// Config is what the program consists of.
type Config struct {
	Listener        net.Listener // of the webhook, by TLS
	MetricsListener net.Listener // of /metrics and the probes, by plain HTTP; nil: not served
	Certificate     *certificate.Source
	MinTLSVersion   uint16   // 0: 1.2
	CipherSuites    []uint16 // of TLS 1.2; nil: Go's
	Debug           bool     // serve what Amazon's webhook serves below /debug/alpha, but for clearing a cache

	Facts facts.Config
	// Settings of the mutation. An empty Region is that of the cluster, as the feed tells it.
	Settings webhook.Settings
	// ComposeRoles completes roles that are given by name with the cluster's partition and account, as the feed tells them, unless
	// Settings has an account.
	ComposeRoles bool

	// Drain is how long it goes on serving, without being ready, when it is told to end; 0: 5 seconds.
	Drain  time.Duration
	Logger *slog.Logger
	Now    func() time.Time // nil: time.Now
}

// Webhook is the program. It is made by [New] and runs once.
type Webhook struct {
	cfg      Config
	registry *prometheus.Registry
	metrics  *metrics
	admit    atomic.Pointer[webhook.Handler] // nil until it is known what to inject
	closing  atomic.Bool
}

// New checks the configuration and starts nothing.
func New(cfg Config) (*Webhook, error) {
	switch {
	case cfg.Listener == nil:
		return nil, errors.New("no listener is given")
	case cfg.Certificate == nil:
		return nil, errors.New("no certificate is given")
	case cfg.Facts.Associations == nil:
		return nil, errors.New("no associations are given")
	case cfg.Logger == nil:
		return nil, errors.New("no logger is given")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Drain == 0 {
		cfg.Drain = drainTime
	}
	w := &Webhook{cfg: cfg, registry: prometheus.NewRegistry()}
	w.metrics = newMetrics(w.registry, &cfg.Facts)
	// What can be found wrong with the settings is found now, and not when the cluster is known.
	_, err := webhook.New(webhook.Config{Lookup: facts.New(cfg.Facts).Find, Settings: cfg.Settings, Logger: cfg.Logger})
	return w, err
}

// Run serves until ctx ends: then it stops being ready, serves on until nobody calls any more, and returns nil.
func (w *Webhook) Run(ctx context.Context) error {
	front := w.server(w.routes())
	front.TLSConfig = &tls.Config{
		GetCertificate: w.cfg.Certificate.Get, MinVersion: max(w.cfg.MinTLSVersion, tls.VersionTLS12), CipherSuites: w.cfg.CipherSuites,
	}
	// What is known must be kept current while the last pods come by, and end after them.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	w.startFacts(background, group)
	group.Go(func() error { return w.prepare(ctx) })
	group.Go(func() error { return served(front.ServeTLS(w.cfg.Listener, "", "")) })
	servers := []*http.Server{front}
	if w.cfg.MetricsListener != nil {
		back := w.server(w.metricsRoutes())
		servers = append(servers, back)
		group.Go(func() error { return served(back.Serve(w.cfg.MetricsListener)) })
	}
	group.Go(func() error {
		<-ctx.Done()
		defer stop()
		w.closing.Store(true)
		w.cfg.Logger.Info("webhook ends", "drain", w.cfg.Drain.String())
		time.Sleep(w.cfg.Drain) // the one thing that Kubernetes gives no sign of
		grace, cancel := context.WithTimeout(background, shutdownGrace)
		defer cancel()
		for _, server := range servers {
			if err := server.Shutdown(grace); err != nil {
				_ = server.Close() // whoever is not done has had his time
			}
		}
		return nil
	})
	return group.Wait()
}

func (w *Webhook) startFacts(ctx context.Context, group *errgroup.Group) {
	run := func(f func(context.Context)) {
		group.Go(func() error { f(ctx); return nil })
	}
	run(w.cfg.Certificate.Run)
	run(w.cfg.Facts.Associations.Run)
	if w.cfg.Facts.Accounts != nil {
		run(w.cfg.Facts.Accounts.Run)
	}
	if w.cfg.Facts.Mapping != nil {
		run(w.cfg.Facts.Mapping.Run)
	}
}

func (w *Webhook) server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(w.cfg.Logger.Handler(), slog.LevelDebug),
	}
}

func served(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// prepare makes the admission handler as soon as the associations are known, and with them what the cluster is.
func (w *Webhook) prepare(ctx context.Context) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if _, err := w.cfg.Facts.Associations.Ready(); err == nil {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	settings, cluster := w.cfg.Settings, w.cfg.Facts.Associations.Cluster()
	if settings.Region == "" {
		settings.Region = cluster.Region
	}
	if w.cfg.ComposeRoles && settings.AccountID == "" {
		settings.Partition, settings.AccountID = cluster.Partition, cluster.AccountID
	}
	handler, err := webhook.New(webhook.Config{
		Lookup: facts.New(w.cfg.Facts).Find, Settings: settings, Logger: w.cfg.Logger, Registerer: w.registry,
	})
	if err != nil {
		return err
	}
	w.admit.Store(handler)
	w.cfg.Logger.Info("webhook admits pods", "region", settings.Region, "address", w.cfg.Listener.Addr().String())
	return nil
}
