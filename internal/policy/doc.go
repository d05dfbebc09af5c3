// Package policy is the IAM policy language. It parses and compiles documents ([Parse]), evaluates one document for a request
// ([Policy.Evaluate]), combines the verdicts of all documents that bear on a request into a decision ([Decide]) and says why it
// came out that way ([Explain]).
//
// It does not know which policies are attached to whom, and it fills in no condition key: callers gather both. It has no clock
// and does no I/O, so the same request and the same documents always give the same decision.
//
// Two rules hold throughout. Whatever the package does not understand in a document is refused by [Parse] and never guessed at.
// Whatever it cannot make sense of in a request satisfies a Deny and never an Allow.
//
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html.
package policy
