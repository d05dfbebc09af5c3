package store

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxOps is how many operations etcd takes in one transaction.
const maxOps = 128

// Op is one write of a transaction, made by a collection and carried out by [Store.Commit].
type Op struct {
	key   string // in full
	value string
	kind  opKind
	read  int64 // of a put: the revision that the object must still be of; 0 for any
	err   error // why the op cannot be carried out: an invalid key, a value that does not encode
}

type opKind int

const (
	opCreate opKind = iota
	opDelete
	opPut
	opRequire
)

// OpError tells which operation kept a transaction from taking place.
type OpError struct {
	Key string // in full, /podid/v1/associations/…
	Err error  // ErrExists, ErrNotFound, or why the operation is not possible at all
}

// Error names the key and the reason.
func (e *OpError) Error() string { return fmt.Sprintf("writing %s: %v", e.Key, e.Err) }

// Unwrap returns the reason.
func (e *OpError) Unwrap() error { return e.Err }

// Create is the writing of an object whose key must be free, else the transaction fails with [ErrExists].
func (c *Collection[T]) Create(key string, value T) Op { return c.op(opCreate, key, &value) }

// Put is the writing of an object whatever was there before.
func (c *Collection[T]) Put(key string, value T) Op { return c.op(opPut, key, &value) }

// Delete is the removal of an object that must be there, else the transaction fails with [ErrNotFound].
func (c *Collection[T]) Delete(key string) Op { return c.op(opDelete, key, nil) }

// Require writes nothing: it makes the transaction fail with [ErrNotFound] where no object has the key.
func (c *Collection[T]) Require(key string) Op { return c.op(opRequire, key, nil) }

func (c *Collection[T]) op(kind opKind, key string, value *T) Op {
	o := Op{key: c.prefix + key, kind: kind, err: validKey(key)}
	if value != nil && o.err == nil {
		o.value, o.err = encode(*value)
	}
	return o
}

// Commit carries out all operations in one transaction, or none of them. At most 128, each on another key. An [*OpError] says
// that nothing was written and which operation is to blame, the first if several are. After any other error it is not known whether
// the transaction took place. After success all indexes of this store have the changes.
func (s *Store) Commit(ctx context.Context, ops ...Op) error {
	if len(ops) == 0 {
		return nil
	}
	resp, err := s.transact(ctx, ops)
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		return blame(ops, resp)
	}
	return s.wait(ctx, resp.Header.Revision)
}

// transact runs the operations if all their conditions hold, and the additional ones too. If not, nothing is written and the
// answer has, for each operation, how many objects have its key.
func (s *Store) transact(ctx context.Context, ops []Op, when ...clientv3.Cmp) (*clientv3.TxnResponse, error) {
	if len(ops) > maxOps {
		return nil, fmt.Errorf("store: %d operations are more than a transaction may have (%d)", len(ops), maxOps)
	}
	then := make([]clientv3.Op, 0, len(ops))
	otherwise := make([]clientv3.Op, 0, len(ops))
	seen := make(map[string]bool, len(ops))
	for _, o := range ops {
		switch {
		case o.err != nil:
			return nil, &OpError{o.key, o.err}
		case seen[o.key]:
			return nil, &OpError{o.key, errors.New("the key occurs twice in the transaction")}
		}
		seen[o.key] = true
		switch o.kind {
		case opCreate:
			when = append(when, clientv3.Compare(clientv3.CreateRevision(o.key), "=", 0))
		case opDelete, opRequire:
			when = append(when, clientv3.Compare(clientv3.CreateRevision(o.key), ">", 0))
		case opPut:
			if o.read > 0 {
				when = append(when, clientv3.Compare(clientv3.ModRevision(o.key), "=", o.read))
			}
		}
		switch o.kind {
		case opDelete:
			then = append(then, clientv3.OpDelete(o.key))
		case opCreate, opPut:
			then = append(then, clientv3.OpPut(o.key, o.value))
		case opRequire:
		}
		otherwise = append(otherwise, clientv3.OpGet(o.key, clientv3.WithCountOnly()))
	}
	resp, err := s.write(ctx, when, then, otherwise)
	if err != nil {
		return nil, fmt.Errorf("committing %s and %d more: %w", ops[0].key, len(ops)-1, err)
	}
	return resp, nil
}

// blame finds the first operation whose condition did not hold, from the counts that the transaction read instead of writing.
func blame(ops []Op, resp *clientv3.TxnResponse) error {
	for i, o := range ops {
		exists := resp.Responses[i].GetResponseRange().Count > 0
		switch {
		case o.kind == opCreate && exists:
			return &OpError{o.key, ErrExists}
		case (o.kind == opDelete || o.kind == opRequire) && !exists:
			return &OpError{o.key, ErrNotFound}
		}
	}
	return errors.New("store: a transaction failed though all its conditions hold")
}
