package store

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// FailBefore makes writes fail without taking place; FailAfter makes them fail having taken place. Nil err ends it.
func (s *Store) FailBefore(err error) { s.fail(err, false) }
func (s *Store) FailAfter(err error)  { s.fail(err, true) }

func (s *Store) fail(err error, applied bool) {
	s.txn = func(ctx context.Context, when []clientv3.Cmp, then, otherwise []clientv3.Op) (resp *clientv3.TxnResponse, _ error) {
		if err == nil || applied {
			resp, _ = s.client.Txn(ctx).If(when...).Then(then...).Else(otherwise...).Commit()
		}
		return resp, err
	}
}

// SetPulse changes how often the store makes sure that it is up to date. Call it before Load.
func (s *Store) SetPulse(d time.Duration) { s.pulse = d }

// AfterGet has f called after each read from etcd. Call it before Load.
func (s *Store) AfterGet(f func()) { s.client.KV = afterGet{s.client.KV, f} }

type afterGet struct {
	clientv3.KV
	f func()
}

func (k afterGet) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := k.KV.Get(ctx, key, opts...)
	k.f()
	return resp, err
}

// Deafen has the watch open and tell nothing. Call it before Load.
func (s *Store) Deafen() { s.client.Watcher = deaf{s.client.Watcher} }

type deaf struct{ clientv3.Watcher }

func (deaf) Watch(ctx context.Context, _ string, _ ...clientv3.OpOption) clientv3.WatchChan {
	c := make(chan clientv3.WatchResponse)
	context.AfterFunc(ctx, func() { close(c) })
	return c
}

func (deaf) RequestProgress(context.Context) error { return nil }

// The limits, for tests to reach.
const (
	StaleAfter = staleAfter
	MaxTries   = maxTries
)
