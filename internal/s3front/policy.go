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
		if err := h.disk.setPolicy(&bucketPolicy{bucket: bucket}); err != nil {
			return err
		}
		return h.write(t, http.StatusNoContent, "", nil)
	}
	found, err := h.disk.policy(bucket)
	switch {
	case err != nil:
		return err
	case found == nil:
		return errNoSuchBucketPolicy(bucket)
	case t.call.op.name == "GetBucketPolicy":
		return h.write(t, http.StatusOK, "application/json", []byte(h.cfg.ShowPolicy(found.text, found.ids)))
	}
	return h.writeXML(t, struct {
		XMLName  xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ PolicyStatus"`
		IsPublic string
	}{IsPublic: strings.ToUpper(fmt.Sprint(found.compiled.Policy.Public()))})
}

func (h *Handler) putBucketPolicy(t *turn) error {
	text, err := io.ReadAll(t.body)
	if err != nil {
		return err
	}
	checked, refused := h.checkPolicy(t.call.bucket, string(text))
	if refused != nil {
		return refused
	}
	if err := h.disk.setPolicy(checked); err != nil {
		return err
	}
	return h.write(t, http.StatusNoContent, "", nil)
}

// bucketPolicy is the policy of a bucket.
type bucketPolicy struct {
	bucket   string
	text     string            // as it was put
	ids      map[string]string // of the users and roles that it names, by their ARNs
	compiled *policy.Named     // nil if there is none
}

// checkPolicy compiles a policy for a bucket. Besides what any policy must be, it must be about S3 and this bucket, and name
// principals that there are. The users and roles are meant by their unique ids from then on.
func (h *Handler) checkPolicy(bucketName, text string) (*bucketPolicy, *refusal) {
	if !strings.HasPrefix(text, "{") {
		return nil, errMalformedPolicy("Policies must be valid JSON and the first byte must be '{'")
	}
	parsed, err := policy.Parse(policy.Resource, text)
	if err != nil {
		return nil, errMalformedPolicy("%s", err)
	}
	for _, action := range parsed.Actions() {
		if vendor, _, _ := strings.Cut(action, ":"); action != "*" && !strings.EqualFold(vendor, "s3") {
			return nil, errMalformedPolicy("Policy has invalid action (%q is not one of S3)", action)
		}
	}
	for _, resource := range parsed.Resources() {
		if !about(bucketName, resource) {
			return nil, errMalformedPolicy("Policy has invalid resource (%q is neither the bucket nor in it)", resource)
		}
	}
	ids := map[string]string{}
	for _, principal := range parsed.Principals() {
		id, exists := h.cfg.PrincipalID(principal)
		if !exists {
			return nil, errMalformedPolicy("Invalid principal in policy (%q does not exist)", principal)
		}
		if id != "" {
			ids[principal] = id
		}
	}
	return &bucketPolicy{bucketName, text, ids, &policy.Named{Name: bucketName, Policy: parsed.Pinned(ids)}}, nil
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

// compilePolicy compiles the policy of a stored bucket.
func compilePolicy(b *bucket) (*policy.Named, error) {
	p, err := policy.Parse(policy.Resource, b.Policy)
	if err != nil {
		return nil, err
	}
	return &policy.Named{Name: b.Name, Policy: p.Pinned(b.PolicyIDs)}, nil
}

// policy returns the policy of a bucket, nil if there is none or no such bucket. An error is a fault: there is one, and what it says is
// not known.
func (d *disk) policy(name string) (*bucketPolicy, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	b := d.buckets[name]
	switch {
	case b == nil || b.Policy == "":
		return nil, nil
	case b.policyErr != nil:
		return nil, fmt.Errorf("compiling the stored policy of bucket %s: %w", name, b.policyErr)
	}
	return &bucketPolicy{name, b.Policy, b.PolicyIDs, b.compiled}, nil
}

// setPolicy gives a bucket a policy, or none if nothing is compiled.
func (d *disk) setPolicy(p *bucketPolicy) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.buckets[p.bucket]
	if b == nil {
		return errNoSuchBucket(p.bucket) // it was deleted meanwhile
	}
	changed := *b
	changed.Policy, changed.PolicyIDs, changed.compiled, changed.policyErr = p.text, p.ids, p.compiled, nil
	if err := d.writeJSON(path.Join(b.dir(), "bucket.json"), &changed); err != nil {
		return fmt.Errorf("storing the policy of bucket %s: %w", p.bucket, err)
	}
	d.buckets[p.bucket] = &changed
	return nil
}
