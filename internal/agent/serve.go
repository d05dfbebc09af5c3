package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	maxHeaderBytes = 16 << 10 // a token has one to two kilobytes
	ioTimeout      = 30 * time.Second
	idleTimeout    = 5 * time.Second  // pods ask once an hour; a connection kept for them is memory wasted
	shutdownGrace  = 15 * time.Second // longer than an exchange lasts, shorter than Kubernetes waits
)

// listener is an address and what is served there.
type listener struct {
	net.Listener
	handler http.Handler
}

// endpoint is an address that pods call.
type endpoint struct {
	net.Listener // nil: it cannot be served
	host         netip.Addr
	err          error // why not
}

// Listen binds all addresses, so that one that is taken is known at once. [Agent.Run] calls it if it has not been called.
// On an error nothing stays bound. A bind host that the node does not have is no error: on Linux it is served from the moment that
// the node has it, elsewhere not, and on neither if there is no IPv6. But one must be left.
func (a *Agent) Listen() error {
	if a.listeners != nil {
		return nil
	}
	if err := a.listenAll(); err != nil {
		for _, bound := range a.listeners {
			_ = bound.Close()
		}
		a.listeners, a.endpoints = nil, nil
		return err
	}
	return nil
}

func (a *Agent) listenAll() error {
	port := strconv.Itoa(a.config.Port)
	bound, errs := 0, []error(nil)
	for _, host := range a.hosts {
		err := a.listen("the credentials endpoint", net.JoinHostPort(host.String(), port), a.Handler(), freeBind)
		switch {
		case err == nil:
			bound++
			a.endpoints = append(a.endpoints, endpoint{Listener: a.listeners[len(a.listeners)-1], host: host})
		case errors.Is(err, syscall.EAFNOSUPPORT), errors.Is(err, syscall.EADDRNOTAVAIL):
			errs = append(errs, err)
			a.endpoints = append(a.endpoints, endpoint{host: host, err: err})
		default:
			return err
		}
	}
	if bound == 0 {
		return errors.Join(errs...)
	}
	if err := a.listen("the probes", a.config.ProbeAddr, a.probes(), nil); err != nil {
		return err
	}
	return a.listen("the metrics", a.config.MetricsAddr, a.observability(), nil)
}

func (a *Agent) listen(what, addr string, handler http.Handler, control func(string, string, syscall.RawConn) error) error {
	if addr == "" {
		return nil
	}
	config := net.ListenConfig{Control: control}
	l, err := config.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("opening %s: %w", what, err)
	}
	a.listeners = append(a.listeners, listener{l, handler})
	return nil
}

// Addrs are the addresses of the credentials endpoint, in the order of the bind hosts, without those that cannot be served; none
// before [Agent.Listen].
func (a *Agent) Addrs() []net.Addr {
	var addrs []net.Addr
	for _, e := range a.endpoints {
		if e.Listener != nil {
			addrs = append(addrs, e.Addr())
		}
	}
	return addrs
}

// Run serves until ctx ends, then finishes the requests it has, and returns nil. It returns an error at once if an address
// cannot be bound. It can be called once.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.Listen(); err != nil {
		return err
	}
	for _, e := range a.endpoints {
		if err := e.absent(); err != nil {
			a.log.Warn("address is not served", "address", e.host.String(), "err", err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range a.listeners {
		server := &http.Server{
			Handler:           l.handler,
			ReadHeaderTimeout: idleTimeout,
			ReadTimeout:       ioTimeout,
			WriteTimeout:      ioTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		}
		group.Go(func() error {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving on %s: %w", l.Addr(), err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
			defer cancel()
			if err := server.Shutdown(grace); err != nil {
				_ = server.Close() // whoever has not read his answer by now
			}
			return nil
		})
	}
	group.Go(func() error {
		a.cache.renewAhead(ctx)
		return nil
	})
	a.log.Info("agent serves", "addresses", fmt.Sprint(a.Addrs()))
	err := group.Wait()
	a.cache.finish()
	return err
}
