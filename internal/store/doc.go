// Package store keeps podid's objects in etcd: embedded in the process by default, an external cluster when one machine is not
// enough. Both are reached through the same client, so nothing above [Open] knows which it is.
//
// A [Collection] is objects of one type under one prefix, as JSON with a schema number. Writes go to etcd ([Store.Commit],
// [Collection.Update]); uniqueness and idempotency are etcd transactions, not locks. An [Index] is a collection held in memory,
// in key order, kept current by one watch. Requests are served from indexes and never wait for etcd.
//
// The package knows keys, values and revisions. What an object means, who may touch it and how keys are made is the business
// of the services. It does not encrypt: what must be secret at rest is sealed before it comes here.
//
// # Guarantees
//
//   - A write that returned nil is in every index of this process ("read your writes"), and soon in those of the others.
//   - An index shows each object's states in the order of their revisions, and is never emptied by losing the watch.
//     [Store.Fresh] tells when the store cannot make sure any more that the indexes have everything.
//   - [ErrNotFound], [ErrExists] and [ErrConflict] are facts about stored objects and mean that nothing was written. After any other
//     error of a write it is not known whether it took place; it is never retried behind the caller's back.
//
// # Keys
//
// The object "prod/carts/carts" of the collection "associations" is /podid/v1/associations/prod/carts/carts, and its value
// {"v":1,"d":{…}}. A value with another schema number, or one that does not decode, keeps [Store.Load] from succeeding: a
// podid that would misread its data must not start.
package store
