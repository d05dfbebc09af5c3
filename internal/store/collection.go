package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	schema   = 1       // of every value; a value with another is not read
	maxValue = 1 << 20 // bytes; etcd refuses requests over 1.5 MiB
	maxKey   = 1 << 10 // bytes
	maxTries = 64      // of Update before it gives up
)

// Collection is the stored objects of one type. T is encoded as JSON; an identity.Secret in it would be stored as [redacted].
type Collection[T any] struct {
	store   *Store
	prefix  string // with the closing slash
	indexes []follower[T]
}

// Define names a collection. The name is the part of the etcd keys before the objects' own keys, and may have slashes:
// "associations", "iam/roles". Define it once, before [Store.Load]; it panics after that, and if the name overlaps another's.
func Define[T any](s *Store, name string) *Collection[T] {
	c := &Collection[T]{store: s, prefix: root + name + "/"}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := validKey(name); err != nil || s.sealed {
		panic("store: collection " + name + " cannot be defined (any more)")
	}
	for _, other := range s.feeds {
		if strings.HasPrefix(c.prefix, other.under()) || strings.HasPrefix(other.under(), c.prefix) {
			panic("store: collection " + name + " overlaps " + other.under())
		}
	}
	s.feeds = append(s.feeds, c)
	return c
}

// Get reads one object from etcd itself: it sees every write that was acknowledged anywhere. It is for management; requests on
// the hot path use an [Index]. The error is [ErrNotFound] if there is none.
func (c *Collection[T]) Get(ctx context.Context, key string) (T, error) {
	value, _, err := c.get(ctx, key)
	return value, err
}

func (c *Collection[T]) get(ctx context.Context, key string) (value T, revision int64, err error) {
	if err := validKey(key); err != nil {
		return value, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := c.store.client.Get(ctx, c.prefix+key)
	if err != nil {
		return value, 0, fmt.Errorf("reading %s%s: %w", c.prefix, key, err)
	}
	if len(resp.Kvs) == 0 {
		return value, 0, fmt.Errorf("reading %s%s: %w", c.prefix, key, ErrNotFound)
	}
	value, err = c.decode(key, resp.Kvs[0].Value)
	return value, resp.Kvs[0].ModRevision, err
}

// Update changes one object and returns it as written. f may be called several times, each time with the newest state, when
// others change the object meanwhile, so it must do nothing but change its argument. If f fails its error is returned and nothing
// is written. A missing object is [ErrNotFound]; too many changes by others are [ErrConflict].
//
// After success all indexes of this store have the change.
func (c *Collection[T]) Update(ctx context.Context, key string, f func(*T) error) (T, error) {
	return c.Change(ctx, key, func(value *T) ([]Op, error) { return nil, f(value) })
}

// Change is [Collection.Update] for changes that concern other objects too: the operations that f returns are carried out in the
// same transaction. One that is not possible is an [*OpError], and nothing is written.
func (c *Collection[T]) Change(ctx context.Context, key string, f func(*T) ([]Op, error)) (T, error) {
	return c.swap(ctx, key, f, func(value T) Op { return c.Put(key, value) })
}

// Remove deletes one object, in one transaction with the operations that check returns for it, and returns the object as it was.
// check sees the object's newest state and may refuse: then its error is returned and nothing is written. Otherwise it is as
// [Collection.Change].
//
// After success no index of this store has the object any more.
func (c *Collection[T]) Remove(ctx context.Context, key string, check func(*T) ([]Op, error)) (T, error) {
	return c.swap(ctx, key, check, func(T) Op { return c.Delete(key) })
}

// Also is the change of an object in the transaction of another one's [Collection.Change] or [Collection.Remove], whose function calls
// it. f is as [Collection.Update]'s. If anybody writes the object before the transaction takes place, that function is called again. A
// missing object is [ErrNotFound].
func (c *Collection[T]) Also(ctx context.Context, key string, f func(*T) error) (Op, error) {
	value, read, err := c.get(ctx, key)
	if err != nil {
		return Op{}, err
	}
	if err := f(&value); err != nil {
		return Op{}, err
	}
	op := c.Put(key, value)
	op.read = read
	return op, nil
}

// swap reads an object, has f judge or change it, and writes it with what f adds, unless somebody has written it meanwhile: then it
// begins again.
func (c *Collection[T]) swap(ctx context.Context, key string, f func(*T) ([]Op, error), write func(T) Op) (T, error) {
	var none T
	full := c.prefix + key
	for try := range maxTries {
		value, read, err := c.get(ctx, key)
		if err != nil {
			return none, err
		}
		more, err := f(&value)
		if err != nil {
			return none, err
		}
		ops := append([]Op{write(value)}, more...)
		resp, err := c.store.transact(ctx, ops, clientv3.Compare(clientv3.ModRevision(full), "=", read))
		if err != nil {
			return none, err
		}
		if resp.Succeeded {
			return value, c.store.wait(ctx, resp.Header.Revision)
		}
		var reason *OpError
		if err := blame(ops, resp); errors.As(err, &reason) && reason.Key != full {
			return none, err
		}
		if err := pause(ctx, try); err != nil {
			return none, fmt.Errorf("writing %s: %w", full, err)
		}
	}
	return none, fmt.Errorf("writing %s: %w", full, ErrConflict)
}

// pause waits before the next try: at random up to 1, 2, 4 … 64 ms, so that competing writers spread out.
func pause(ctx context.Context, try int) error {
	limit := time.Millisecond << min(try, 6)
	select {
	case <-time.After(rand.N(limit)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// envelope is how a value is stored.
type envelope[T any] struct {
	Schema int `json:"v"`
	Data   T   `json:"d"`
}

func encode[T any](value T) (string, error) {
	b, err := json.Marshal(envelope[T]{schema, value})
	if err == nil && len(b) > maxValue {
		err = fmt.Errorf("%d bytes are more than the limit of %d", len(b), maxValue)
	}
	return string(b), err
}

func (c *Collection[T]) decode(key string, raw []byte) (value T, err error) {
	var e envelope[json.RawMessage]
	if err := json.Unmarshal(raw, &e); err != nil {
		return value, fmt.Errorf("decoding %s%s: %w", c.prefix, key, err)
	}
	if e.Schema != schema {
		return value, fmt.Errorf("decoding %s%s: its schema number is %d, and this podid knows only %d", c.prefix, key, e.Schema, schema)
	}
	if err := json.Unmarshal(e.Data, &value); err != nil {
		return value, fmt.Errorf("decoding %s%s: %w", c.prefix, key, err)
	}
	return value, nil
}

// validKey refuses keys that would make two spellings of one object, or leave the collection.
func validKey(key string) error {
	switch {
	case key == "":
		return errors.New("store: empty key")
	case len(key) > maxKey:
		return fmt.Errorf("store: key of %d bytes is over the limit of %d", len(key), maxKey)
	case key[0] == '/' || key[len(key)-1] == '/':
		return fmt.Errorf("store: key %q begins or ends with a slash", key)
	}
	return nil
}
