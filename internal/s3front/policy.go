package s3front

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// maxPolicySize is the greatest size of a bucket policy in bytes. See
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/add-bucket-policy.html.
const maxPolicySize = 20 << 10

// serveBucketPolicy answers the operations on a bucket's policy. They are for callers of the account that owns the bucket: others who
// may are told so. See https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html.
func (h *Handler) serveBucketPolicy(ctx context.Context, t *turn) error {
	bucket := t.call.bucket
	there, err := h.disk.BucketExists(ctx, bucket)
	switch {
	case err != nil:
		return err
	case !there:
		return errNoSuchBucket(bucket)
	case t.caller.AccountID != h.cfg.AccountID:
		return errMethodNotAllowed()
	}
	switch t.call.op.name {
	case "PutBucketPolicy":
		return h.putBucketPolicy(t)
	case "DeleteBucketPolicy":
		if err := h.disk.setPolicy(bucket, "", nil); err != nil {
			return err
		}
		return h.write(t, http.StatusNoContent, "", nil)
	}
	text, compiled, err := h.disk.policy(bucket)
	switch {
	case err != nil:
		return err
	case compiled == nil:
		return errNoSuchBucketPolicy(bucket)
	case t.call.op.name == "GetBucketPolicy":
		return h.write(t, http.StatusOK, "application/json", []byte(text))
	}
	return h.writeXML(t, struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ PolicyStatus"`
		IsPublic string
	}{IsPublic: strings.ToUpper(fmt.Sprint(compiled.Policy.Public()))})
}

func (h *Handler) putBucketPolicy(t *turn) error {
	text, err := io.ReadAll(t.body)
	if err != nil {
		return err
	}
	compiled, refused := h.checkPolicy(t.call.bucket, string(text))
	if refused != nil {
		return refused
	}
	if err := h.disk.setPolicy(t.call.bucket, string(text), compiled); err != nil {
		return err
	}
	return h.write(t, http.StatusNoContent, "", nil)
}

// checkPolicy compiles a policy for a bucket. Besides what any policy must be, it must be about S3 and this bucket, and name
// principals that there are.
func (h *Handler) checkPolicy(bucket, text string) (*policy.Named, *refusal) {
	if !strings.HasPrefix(text, "{") {
		return nil, errMalformedPolicy("Policies must be valid JSON and the first byte must be '{'")
	}
	compiled, err := compilePolicy(bucket, text)
	if err != nil {
		return nil, errMalformedPolicy("%s", err)
	}
	for _, action := range compiled.Policy.Actions() {
		if vendor, _, _ := strings.Cut(action, ":"); action != "*" && !strings.EqualFold(vendor, "s3") {
			return nil, errMalformedPolicy("Policy has invalid action (%q is not one of S3)", action)
		}
	}
	for _, resource := range compiled.Policy.Resources() {
		if !about(bucket, resource) {
			return nil, errMalformedPolicy("Policy has invalid resource (%q is neither the bucket nor in it)", resource)
		}
	}
	for _, principal := range compiled.Policy.Principals() {
		if h.cfg.PrincipalExists != nil && !h.cfg.PrincipalExists(principal) {
			return nil, errMalformedPolicy("Invalid principal in policy (%q does not exist)", principal)
		}
	}
	return compiled, nil
}

// about tells whether a resource of a policy can be the bucket or an object in it. Wildcards are taken as path.Match takes them; a
// variable may stand for anything.
func about(bucket, resource string) bool {
	if resource == "*" {
		return true
	}
	arn, err := identity.ParseARN(resource)
	if err != nil || arn.Service != "s3" || arn.Region != "" || arn.AccountID != "" {
		return false
	}
	name, _, _ := strings.Cut(arn.Resource, "/")
	if strings.Contains(name, "${") {
		return true
	}
	matched, err := path.Match(name, bucket)
	return matched && err == nil
}

func compilePolicy(bucket, text string) (*policy.Named, error) {
	p, err := policy.Parse(policy.Resource, text)
	if err != nil {
		return nil, err
	}
	return &policy.Named{Name: bucket, Policy: p}, nil
}

// policy returns the policy of a bucket as it was put and compiled, and nothing if there is none or no such bucket. An error is a
// fault: there is one, and what it says is not known.
func (d *disk) policy(name string) (text string, compiled *policy.Named, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	b := d.buckets[name]
	switch {
	case b == nil:
		return "", nil, nil
	case b.policyErr != nil:
		return "", nil, fmt.Errorf("compiling the stored policy of bucket %s: %w", name, b.policyErr)
	}
	return b.Policy, b.compiled, nil
}

// setPolicy gives a bucket a policy, or none if compiled is nil.
func (d *disk) setPolicy(name, text string, compiled *policy.Named) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.buckets[name]
	if b == nil {
		return errNoSuchBucket(name) // it was deleted meanwhile
	}
	changed := *b
	changed.Policy, changed.compiled, changed.policyErr = text, compiled, nil
	if err := d.writeJSON(path.Join(b.dir(), "bucket.json"), &changed); err != nil {
		return fmt.Errorf("storing the policy of bucket %s: %w", name, err)
	}
	d.buckets[name] = &changed
	return nil
}
