package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/podid/podid/internal/feed"
	"github.com/podid/podid/internal/identity"
)

// Config says where the agent listens, where credentials come from and how they are kept.
type Config struct {
	// BindHosts are the IP addresses that the credentials endpoint is served on, IPv6 with or without brackets. Only requests
	// that name one of them as their Host are answered, so the unspecified address is not accepted. At least one.
	BindHosts []string
	// Port of the endpoint; 0: any free one, see [Agent.Addrs].
	Port int
	// ProbeAddr is host:port for /readyz and /healthz; empty: not served.
	ProbeAddr string
	// MetricsAddr is host:port for /metrics, /readyz and /healthz; empty: not served.
	MetricsAddr string
	// HandoverDir is a directory in which the agent that runs and the next one meet, so that the next one gets the sockets without a
	// gap. Only the agent's user may get into it: see [MakeHandoverDir]. Empty: there is no hand-over. Linux only.
	HandoverDir string
	// AssumeRole exchanges a service-account token for credentials: [Client.AssumeRoleForPodIdentity]. It must return when its
	// context ends. An [*APIError] is passed on to the pod as it is. Required.
	AssumeRole func(context.Context, identity.Secret) (*Assumption, error)
	// ClusterName is the cluster that AssumeRole asks about, for what pods are told to do; may be empty.
	ClusterName string
	// Feed tells of changed associations, whose pods' credentials are then renewed at once; nil: they are when it is their time.
	Feed *feed.Client
	// RequestsPerSource is how many requests a second one address may send, half as many at once; 0: as many as it likes.
	RequestsPerSource int
	// Retention is how long credentials are kept at most before they are renewed; 0: nothing is cached.
	Retention time.Duration
	// CacheSize is for how many pods credentials are kept; those asked for longest ago go first. 0: nothing is cached.
	CacheSize int
	// RenewalsPerSecond is how many exchanges a second, and how many at once, may renew credentials ahead of need. Pods that wait
	// do not count. Where it is too small, credentials expire in the cache and the pod waits for its next ones. At least 1.
	RenewalsPerSecond int
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Rand is in [0, 1) and spreads renewals; nil: math/rand.
	Rand func() float64
	// Logger; nil: nothing is logged.
	Logger *slog.Logger
}

// Agent serves credentials to pods. It is safe for concurrent use.
type Agent struct {
	config    Config
	hosts     []netip.Addr // of config.BindHosts
	cache     *cache
	crowd     crowd
	requests  *limiter[netip.Addr] // nil: no limit
	metrics   *metrics
	log       *slog.Logger
	now       func() time.Time
	uptime    func() time.Duration
	prober    *http.Transport
	endpoints []endpoint // in the order of config.BindHosts
	listeners []listener // all that are open

	// Of the hand-over of the sockets to another agent.
	predecessor *net.UnixConn // nil: the sockets were bound, or given up
	successors  atomic.Int32  // that serve in this one's place
	company     atomic.Int32  // other agents that have the sockets, and live
}

// New checks the configuration and makes the agent. It starts nothing.
func New(config Config) (*Agent, error) {
	var hosts []netip.Addr
	for _, h := range config.BindHosts {
		addr, err := netip.ParseAddr(strings.Trim(h, "[]"))
		if err != nil || addr.IsUnspecified() {
			return nil, fmt.Errorf("bind host %q: want the one IP address that pods are told", h)
		}
		hosts = append(hosts, addr)
	}
	switch {
	case len(hosts) == 0:
		return nil, errors.New("at least one bind host is required")
	case config.Port < 0 || config.Port > 65535:
		return nil, fmt.Errorf("port %d: want 0 to 65535", config.Port)
	case config.AssumeRole == nil:
		return nil, errors.New("a source of credentials is required")
	case config.Retention < 0:
		return nil, fmt.Errorf("retention %v: want 0 or more", config.Retention)
	case config.CacheSize < 0:
		return nil, fmt.Errorf("cache size %d: want 0 or more", config.CacheSize)
	case config.RequestsPerSource < 0:
		return nil, fmt.Errorf("%d requests a second: want 0 or more", config.RequestsPerSource)
	case config.RenewalsPerSecond < 1:
		return nil, fmt.Errorf("%d renewals a second: want 1 or more", config.RenewalsPerSecond)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Rand == nil {
		config.Rand = rand.Float64
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	start := time.Now()
	uptime := func() time.Duration { return time.Since(start) }
	a := &Agent{
		config: config, hosts: hosts, metrics: newMetrics(), log: config.Logger, now: config.Now, uptime: uptime,
		prober: &http.Transport{DisableKeepAlives: true}, // and no proxy
	}
	a.cache = newCache(config, uptime, a.metrics)
	a.metrics.state = a.cache.state
	if config.RequestsPerSource > 0 {
		a.requests = newLimiter[netip.Addr](float64(config.RequestsPerSource), max(1, config.RequestsPerSource/2))
	}
	return a, nil
}
