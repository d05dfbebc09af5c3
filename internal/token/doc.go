// Package token verifies the tokens that speak for workloads: service-account tokens of Kubernetes clusters, and the OpenID Connect
// tokens of other issuers. It finds and caches issuers' public keys, and it signs tokens for the issuers that podid itself is.
//
// It answers whether a token is what it claims to be: form, algorithm, issuer, signature, times. Who may use it for what is the
// services' business: they judge the audience ([Claims.HasAudience]), the pod ([Claims.PodSubject]) and the association or trust policy.
//
// # Three outcomes, never mixed
//
// A token is bad ([*InvalidError]), was good ([*ExpiredError]), or cannot be judged because its issuer's keys could not be had
// ([ErrUnavailable]). The last is a fault, not an answer: node agents throw credentials away when a token is called invalid, so an
// outage of an issuer must not look like that.
//
// # Keys
//
// Keys are uploaded with the issuer, or fetched by OpenID Connect discovery and refreshed in the background by [Verifier.Run], every 5
// minutes to 1 hour as the issuer's Cache-Control says. A token with an unknown key id has them fetched at once, but at most every
// 10 seconds, and not again for a key id that was found missing in the last minute. A token that is newer than the keys at hand, when they may
// not be fetched yet, cannot be judged. A fetch that fails, or brings no usable key, changes nothing: the
// keys at hand serve for up to 24 hours.
//
// A token that was verified is remembered for up to 60 seconds by its SHA-256, to skip the signature the next time. Everything
// else is checked each time, and it is forgotten at once when the issuer's keys change.
package token
