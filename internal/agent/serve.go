package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	maxHeaderBytes = 16 << 10 // a token has one to two kilobytes
	ioTimeout      = 30 * time.Second
	idleTimeout    = 5 * time.Second  // pods ask once an hour; a connection kept for them is memory wasted
	shutdownGrace  = 15 * time.Second // longer than an exchange lasts, shorter than Kubernetes waits
	drainPause     = 20 * time.Millisecond

	takeoverPatience = 5 * time.Second
	takeoverPause    = 20 * time.Millisecond
)

// listener is an address and what is served there.
type listener struct {
	*gate
	name    string // for the next agent
	handler http.Handler
}

// endpoint is an address that pods call.
type endpoint struct {
	net.Listener // nil: it cannot be served
	host         netip.Addr
	err          error // why not
}

// Listen binds all addresses, so that one that is taken is known at once, or takes them over from the agent that runs.
// [Agent.Run] calls it if it has not been called. On an error nothing stays bound. A bind host that the node does not have is no
// error: on Linux it is served from the moment that the node has it, elsewhere not, and on neither if there is no IPv6. But one must
// be left.
func (a *Agent) Listen() error {
	if a.listeners != nil {
		return nil
	}
	err := a.listenAll()
	// An agent that is about to end, or has lost its successor this moment, is not there for a successor but still has the sockets.
	for patience := time.Now().Add(takeoverPatience); a.config.HandoverDir != "" && transient(err) && time.Now().Before(patience); {
		time.Sleep(takeoverPause)
		err = a.listenAll()
	}
	return err
}

func transient(err error) bool {
	return errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
}

func (a *Agent) listenAll() (err error) {
	var inherited map[string]*net.TCPListener
	if a.config.HandoverDir != "" {
		if inherited, a.predecessor, err = inherit(a.config.HandoverDir); err != nil {
			return err
		}
	}
	if err = a.bindAll(inherited); err == nil {
		if a.predecessor != nil {
			a.log.Info("sockets taken over from the agent that runs", "left", slices.Sorted(maps.Keys(inherited)))
		}
		closeAll(inherited) // what is configured differently now
		return nil
	}
	closeAll(inherited)
	for _, bound := range a.listeners {
		_ = bound.Close()
	}
	if a.predecessor != nil {
		_ = a.predecessor.Close()
	}
	a.listeners, a.endpoints, a.predecessor = nil, nil, nil
	return err
}

// bindAll opens what is configured, or takes it from what is inherited.
func (a *Agent) bindAll(inherited map[string]*net.TCPListener) error {
	port := strconv.Itoa(a.config.Port)
	bound, errs := 0, []error(nil)
	for _, host := range a.hosts {
		err := a.bind(inherited, "the credentials endpoint", net.JoinHostPort(host.String(), port), a.Handler(), freeBind)
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
	if err := a.bind(inherited, "the probes", a.config.ProbeAddr, a.probes(), nil); err != nil {
		return err
	}
	return a.bind(inherited, "the metrics", a.config.MetricsAddr, a.observability(), nil)
}

func (a *Agent) bind(inherited map[string]*net.TCPListener, what, addr string, handler http.Handler, control control) error {
	if addr == "" {
		return nil
	}
	name := what + " on " + addr
	l, ok := inherited[name]
	delete(inherited, name)
	if !ok {
		config := net.ListenConfig{Control: control}
		opened, err := config.Listen(context.Background(), "tcp", addr)
		if err != nil {
			return fmt.Errorf("opening %s: %w", what, err)
		}
		l = opened.(*net.TCPListener)
	}
	a.listeners = append(a.listeners, listener{newGate(l), name, handler})
	return nil
}

type control func(network, address string, conn syscall.RawConn) error

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
		a.serve(ctx, group, l)
	}
	group.Go(func() error {
		a.cache.renewAhead(ctx)
		return nil
	})
	if a.config.Feed != nil {
		group.Go(func() error {
			a.config.Feed.Follow(ctx, "", a.cache.sink())
			return nil
		})
	}
	if a.config.HandoverDir != "" {
		group.Go(func() error { return a.succeed(ctx) })
	}
	a.log.Info("agent serves", "addresses", fmt.Sprint(a.Addrs()))
	err := group.Wait()
	a.cache.finish()
	return err
}

// serve serves on a listener until ctx ends.
func (a *Agent) serve(ctx context.Context, group *errgroup.Group, l listener) {
	var connections atomic.Int64
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if a.successors.Load() > 0 || ctx.Err() != nil {
				w.Header()["Connection"] = closeConnection // the next request is for another agent
			}
			l.handler.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: idleTimeout,
		ReadTimeout:       ioTimeout,
		WriteTimeout:      ioTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		ConnState: func(conn net.Conn, state http.ConnState) {
			a.crowd.note(conn, state)
			switch state {
			case http.StateNew:
				connections.Add(1)
			case http.StateClosed:
				connections.Add(-1)
			}
		},
	}
	group.Go(func() error {
		err := server.Serve(l)
		if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) && ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	})
	group.Go(func() error {
		<-ctx.Done()
		if a.company.Load() > 0 {
			// Another agent has the socket, so there is time: clients get to know by an answer that their connection ends, and those
			// that do not ask are gone when they have been idle for as long as any may be.
			_ = l.Close()
			for wait := time.Now().Add(idleTimeout); connections.Load() > 0 && time.Now().Before(wait); {
				time.Sleep(drainPause)
			}
		}
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if err := server.Shutdown(grace); err != nil {
			_ = server.Close() // whoever has not read his answer by now
		}
		return nil
	})
}

var closeConnection = []string{"close"}
