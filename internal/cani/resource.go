package cani

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// resource is what is acted on: who owns it, and what its own policy says.
type resource struct {
	accountID string        // that owns it; empty if it is nobody's in particular, or not known
	foreign   string        // account that does not own it, if that is all that is known; see sameAccount
	policy    *policy.Named // nil if it has none
	err       error         // why it is not known whether it has one, or what that says
	unread    bool          // it may have one; podid does not read those of its service
	mustAllow bool          // see [policy.Inputs]
}

// sameAccount tells whether the resource belongs to an account. In doubt it does: what is not known is said by err.
func (r *resource) sameAccount(accountID string) bool {
	if r.accountID == "" {
		return accountID != r.foreign
	}
	return accountID == r.accountID
}

// without are the services whose resources have no policies, and "iam", whose roles are asked by their trust policies. Of others it is
// not known.
var without = map[string]bool{"iam": true, "sts": true, "eks": true, "eks-auth": true}

// resource finds out about the resource of a question.
func (r *reader) resource(ctx context.Context, req *Request) *resource {
	arn, err := identity.ParseARN(req.Resource)
	if err != nil { // "*": the action is about none in particular
		return &resource{}
	}
	out := &resource{accountID: req.ResourceAccount, mustAllow: arn.Service == "kms" && strings.HasPrefix(arn.Resource, "key/")}
	if out.accountID == "" && identity.ValidAccountID(arn.AccountID) {
		out.accountID = arn.AccountID
	}
	switch {
	case req.resourcePolicy != nil:
		out.policy = req.resourcePolicy
	case req.ResourcePolicy != nil: // it has none
	case arn.Service == "s3" && arn.AccountID == "":
		bucket, _, _ := strings.Cut(arn.Resource, "/")
		r.of(out.accountID).readBucketPolicy(ctx, bucket, out)
		if out.err != nil && out.accountID == "" {
			r.readBucketPolicyElsewhere(ctx, bucket, out)
		}
	case out.mustAllow:
		out.err = errors.New("the policy of a key must allow the request too, and that is not read; give it with --resource-policy")
	case out.accountID != "" && out.accountID != r.account:
		out.unread = true
		out.err = errors.New("the resource belongs to account " + out.accountID + ", so its own policy must allow the request too, " +
			"and that is not read; give it with --resource-policy")
	default:
		out.unread = !without[arn.Service]
	}
	return out
}

// readBucketPolicy reads the policy of a bucket. Only callers of the account that owns the bucket can, so who owns it is known then.
func (r *reader) readBucketPolicy(ctx context.Context, bucket string, out *resource) {
	text, err := r.bucketPolicy(ctx, bucket)
	var refused smithy.APIError
	code := ""
	if errors.As(err, &refused) {
		code = refused.ErrorCode()
	}
	switch {
	case code == "MethodNotAllowed":
		out.foreign = r.account
		out.err = fmt.Errorf("reading the policy of bucket %s: it belongs to another account than %s; give it with --resource-policy", bucket, r.account)
	case code == "NoSuchBucketPolicy", code == "NoSuchBucket": // one that is not there yet can be made
		out.own(r.account)
	case err != nil:
		out.err = fmt.Errorf("reading the policy of bucket %s: %w", bucket, err)
	default:
		out.own(r.account)
		compiled, err := policy.Parse(policy.Resource, text)
		if err != nil {
			out.err = fmt.Errorf("reading the policy of bucket %s: podid does not understand the document: %w", bucket, err)
			return
		}
		out.policy = &policy.Named{Name: bucket, Policy: compiled}
	}
}

// readBucketPolicyElsewhere reads the policy of a bucket that may be of one of the other accounts.
func (r *reader) readBucketPolicyElsewhere(ctx context.Context, bucket string, out *resource) {
	for _, other := range r.others {
		found := &resource{}
		if other.readBucketPolicy(ctx, bucket, found); found.accountID != "" {
			*out = *found
			return
		}
	}
}

// own gives the resource an owner if the question did not.
func (r *resource) own(accountID string) {
	if r.accountID == "" {
		r.accountID = accountID
	}
}

// bucketPolicy asks where the bucket is if another region than that of the configuration answers for it.
func (r *reader) bucketPolicy(ctx context.Context, bucket string) (string, error) {
	in := &s3.GetBucketPolicyInput{Bucket: &bucket}
	out, err := call(ctx, "s3:GetBucketPolicy", r.s3.GetBucketPolicy, in)
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && (response.HTTPStatusCode() == http.StatusMovedPermanently || response.HTTPStatusCode() == http.StatusBadRequest) {
		if region := response.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			out, err = call(ctx, "s3:GetBucketPolicy", r.s3.GetBucketPolicy, in, func(o *s3.Options) { o.Region = region })
		}
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Policy), nil
}
