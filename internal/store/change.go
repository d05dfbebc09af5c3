package store

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Change changes one object, in one transaction with the operations that f returns for it, and returns the object as written. It is
// [Collection.Update] for changes that concern other objects too; an operation that is not possible is an [*OpError].
func (c *Collection[T]) Change(ctx context.Context, key string, f func(*T) ([]Op, error)) (T, error) {
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
		ops := append([]Op{c.Put(key, value)}, more...)
		resp, err := c.store.transact(ctx, ops, clientv3.Compare(clientv3.ModRevision(full), "=", read))
		if err != nil {
			return none, err
		}
		if resp.Succeeded {
			return value, c.store.wait(ctx, resp.Header.Revision)
		}
		var reason *OpError
		if err := blame(ops, resp); errors.As(err, &reason) {
			return none, err
		}
		if err := pause(ctx, try); err != nil {
			return none, fmt.Errorf("changing %s: %w", full, err)
		}
	}
	return none, fmt.Errorf("changing %s: %w", full, ErrConflict)
}
