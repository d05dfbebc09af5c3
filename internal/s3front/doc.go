// Package s3front is the embedded S3 of podid: an S3 endpoint that authenticates every request by its signature, authorizes it
// against IAM policies, and keeps buckets and objects on the local file system.
//
// It owns what makes a store an access-controlled one: which S3 operation a request is, which actions on which resources that
// operation needs, the check of the body against what was signed, and S3's own error codes. It also owns the files.
// It does not own the S3 protocol (XML, listings, conditions, ranges: that is gofakes3), the credentials (Config.Resolve) or the
// policies (Config.Authorize).
//
// Nothing reaches the protocol code that was not authorized: it is given a request made anew from the parts that were judged, so
// that the two cannot read one request in two ways. An operation that is not in the table of this package is refused.
//
// Only path-style requests are understood (http://127.0.0.1:7070/bucket/key); SDKs use them by themselves for IP addresses.
// The handler must not be mounted in an http.ServeMux, which redirects keys that have "//" or ".." in them.
package s3front
