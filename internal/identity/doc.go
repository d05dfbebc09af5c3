// Package identity holds the nouns of podid and their identifiers: clusters, pod identity associations, roles, the subjects
// that service-account tokens speak for, the callers that sign requests, sessions and the credentials they are given.
//
// It decides nothing and touches nothing: no I/O, no clock, no log. Time and randomness come in as arguments. What a value may
// look like (names, ARNs, ids) is decided here, so that every service refuses the same things.
package identity
