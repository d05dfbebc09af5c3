package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/podid/podid/internal/identity"
)

// Facts about stored objects. They are wrapped; ask with errors.Is.
var (
	ErrNotFound = errors.New("not found")                       // no object has the key
	ErrExists   = errors.New("already exists")                  // an object has the key
	ErrConflict = errors.New("changed by others at every try")  // Update gave up; nothing was written
	ErrLocked   = errors.New("is in use by another podid")      // Open: another process holds the data directory
	errNotReady = errors.New("the store has not been loaded")   // Fresh before Load
	errClosed   = errors.New("the store has been closed")       // waiting for a revision that will not come
	errBlind    = errors.New("changes may have been missed")    // Fresh: etcd or the watch is not up
	errUnread   = errors.New("stored values cannot be decoded") // Fresh: an index keeps older values
)

// root is where all our keys are. It holds the version of the layout, not of the values: those carry their own.
const root = "/podid/v1/"

// requestTimeout bounds every call to etcd for which the caller set no earlier deadline.
const requestTimeout = 10 * time.Second

// Config says where the state is. Exactly one of DataDir and Endpoints must be given.
type Config struct {
	// DataDir is the directory of an embedded etcd. It is created with mode 0700. One process may use it at a time.
	DataDir string
	// UnsafeNoSync makes the embedded etcd not wait for the disk: a crash of the machine loses data. For tests.
	UnsafeNoSync bool

	// Endpoints are the client URLs of an external etcd cluster, version 3.5.33, 3.6.14, 3.7.1 or newer.
	// It must be etcd itself: kine and others that serve only what Kubernetes needs are refused.
	Endpoints []string
	// TLS is for the external cluster; nil for http endpoints.
	TLS *tls.Config
	// Username and Password are for an external cluster with authentication; empty for none.
	Username string
	Password identity.Secret

	// Logger gets warnings and errors of etcd and the state of the watch. Nil discards them.
	Logger *slog.Logger
	// Now tells the time. Nil means time.Now.
	Now func() time.Time
}

// Store is a connection to the state. It is safe for concurrent use.
type Store struct {
	log    *slog.Logger
	now    func() time.Time
	client *clientv3.Client
	stop   func() error // ends what Open started besides the client

	// txn runs one transaction. It is a field so that tests can make it fail before and after it took place.
	txn func(ctx context.Context, when []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error)

	pulse time.Duration // a field so that tests need not wait for it

	watching sync.WaitGroup // the goroutines that Load started
	cancel   context.CancelFunc
	closing  sync.Once
	closed   chan struct{}

	mu       sync.Mutex       // guards the following
	feeds    []feed           // the collections; fixed, and read without the lock, once sealed
	sealed   bool             // Load was called: no collection or index may be added
	loaded   bool             // Load succeeded
	applied  int64            // all indexes have the changes up to this revision
	advanced chan struct{}    // closed and replaced when applied changes
	heard    time.Time        // all that was written before is in the indexes
	unread   map[string]error // keys whose newest value could not be decoded
}

// Open starts the embedded etcd, or connects to the external one, and makes sure that it answers. The caller defines its
// collections and indexes next, then calls [Store.Load].
//
// If another process uses the data directory the error is [ErrLocked], at once.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	switch {
	case cfg.DataDir == "" && len(cfg.Endpoints) == 0:
		return nil, errors.New("store: neither a data directory nor etcd endpoints given")
	case cfg.DataDir != "" && len(cfg.Endpoints) > 0:
		return nil, errors.New("store: both a data directory and etcd endpoints given")
	case cfg.UnsafeNoSync && cfg.DataDir == "":
		return nil, errors.New("store: UnsafeNoSync is for the embedded etcd only")
	}
	s := &Store{
		log: cfg.Logger, now: cfg.Now, pulse: pulse,
		closed: make(chan struct{}), advanced: make(chan struct{}), unread: map[string]error{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	var err error
	if cfg.DataDir != "" {
		s.client, s.stop, err = embedded(ctx, cfg, s.log)
	} else {
		s.client, s.stop, err = external(ctx, cfg, s.log)
	}
	if err != nil {
		return nil, err
	}
	s.txn = func(ctx context.Context, when []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
		return s.client.Txn(ctx).If(when...).Then(then...).Else(otherwise...).Commit()
	}
	return s, nil
}

// Close ends the watch, the connection and the embedded etcd. Calls that are under way fail. A second Close does nothing.
func (s *Store) Close() (err error) {
	s.closing.Do(func() {
		close(s.closed)
		if s.cancel != nil {
			s.cancel()
		}
		s.watching.Wait()
		err = s.client.Close()
		if errors.Is(err, context.Canceled) { // what the in-process client always says
			err = nil
		}
		err = errors.Join(err, s.stop())
	})
	return err
}

// Revision is the etcd revision that all indexes have reached: changes up to it are being served. It is 0 before Load.
func (s *Store) Revision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied
}

// Fresh returns nil while the indexes follow etcd, and else why not: Load has not succeeded, it is 10 seconds since the indexes
// were known to have all that was written, or a stored value could not be decoded. The indexes serve what they have all the same; it
// is for readiness.
func (s *Store) Fresh() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded {
		return errNotReady
	}
	if silence := s.now().Sub(s.heard); silence > staleAfter {
		return fmt.Errorf("%w for %s, at revision %d", errBlind, silence.Round(time.Second), s.applied)
	}
	for _, err := range s.unread {
		return fmt.Errorf("%w: %d in all, one is %w", errUnread, len(s.unread), err)
	}
	return nil
}

// write runs one transaction within a deadline.
func (s *Store) write(ctx context.Context, when []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.txn(ctx, when, then, otherwise)
}

// wait returns when all indexes have reached a revision.
func (s *Store) wait(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for {
		s.mu.Lock()
		reached, advanced := !s.loaded || s.applied >= revision, s.advanced
		s.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return fmt.Errorf("written at revision %d, which is not being served yet: %w", revision, ctx.Err())
		case <-s.closed:
			return errClosed
		}
	}
}
