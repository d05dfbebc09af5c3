// Package sigv4 verifies AWS Signature Version 4: that a request was signed with the secret of the access key it names, is of
// now, and arrived as it was signed. Signatures in the Authorization header and in the query (presigned URLs) are understood,
// and the aws-chunked bodies of S3 uploads.
//
// It does not know whose access key it is, does not read the body of an ordinary request (the caller hashes it), and never
// signs. [Parse] takes the signature out of a request, the caller finds the secret, [Keys.Derive] makes the signing key of it,
// and [Signature.Verify] compares.
//
// The rules are those of https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. Where AWS
// leaves a choice, the stricter one is taken: what a signature does not cover must not be there.
package sigv4
