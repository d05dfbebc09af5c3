// Package credential makes session credentials that carry themselves, and opens them again. All that a session is lies sealed
// in its session token, so any server that holds the keys can judge a request without having seen the session being made, and
// without a table of sessions. With the same keys it seals the secrets that are stored.
//
// Keys come in two layers. The root key is a file. Epoch keys are random, stored wrapped by the root key, and rotated by adding
// another: the newest seals, all open. Dropping an epoch ends every session that was sealed under it.
//
// The package does not know the time, so it does not judge whether a session has expired, and it does not store anything but
// the root key.
package credential
