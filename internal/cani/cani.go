// Package cani answers whether a pod may do something and, if not, which link of the chain from its service account to the action is
// broken; and the same of users and roles. It asks nobody for permission: it reads associations, roles and policies through the EKS and IAM APIs, and evaluates them
// with the policy package as an exchange of the pod's token and its request would. So it answers alike for podid and for AWS.
//
// It changes nothing. Of the policies of resources it reads those of roles and buckets, others can be given; it does not look at service
// and resource control policies of organizations, nor at endpoint policies. A fact that it needs and cannot read makes the answer
// [Unknown], never [Denied].
package cani

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/errgroup"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// parallelReads is how many associations or roles are read at the same time; few enough for AWS not to throttle.
const parallelReads = 8

// What a pod is called where the question is about none in particular.
const (
	AnyPodName = "any-pod"
	AnyPodUID  = "00000000-0000-0000-0000-000000000000"
)

// Config says whom to ask.
type Config struct {
	// AWS has endpoint, region and credentials of the EKS, IAM and STS APIs.
	AWS aws.Config
	// ReaderRoles are ARNs of roles of other accounts, by which the roles, users and buckets there are read. There is one of an account.
	ReaderRoles []string
	// Now is the time that policies are judged at.
	Now func() time.Time
}

// Asker answers questions. It is safe for concurrent use.
type Asker struct {
	cfg    Config
	secure bool // pods' requests go over TLS
}

// New checks the configuration. It calls nothing.
func New(cfg Config) (*Asker, error) {
	switch {
	case cfg.AWS.Credentials == nil:
		return nil, errors.New("cani: no credentials")
	case cfg.AWS.Region == "":
		return nil, errors.New("cani: no region")
	case cfg.Now == nil:
		return nil, errors.New("cani: no clock")
	}
	if err := checkReaderRoles(cfg.ReaderRoles); err != nil {
		return nil, err
	}
	return &Asker{cfg, !strings.HasPrefix(aws.ToString(cfg.AWS.BaseEndpoint), "http://")}, nil
}

// Request is what a question is about.
type Request struct {
	// Action is one action: s3:GetObject.
	Action string
	// Resource is the ARN of one resource, or "*" for an action that is about none in particular.
	Resource string
	// Context has condition keys that only the request itself can know, such as s3:prefix or aws:SourceIp. It goes before what
	// is known otherwise. Two values or more make a multivalued key.
	Context map[string][]string
	// ResourcePolicy is the text of the resource's policy, where it is to be judged by that and not by the one that can be read; empty
	// if the resource has none.
	ResourcePolicy *string
	// ResourceAccount is the account that owns the resource, where its ARN does not say so and it is not that of the credentials.
	ResourceAccount string

	resourcePolicy *policy.Named // ResourcePolicy, compiled by Validate
}

var actionForm = regexp.MustCompile(`^[A-Za-z0-9-]+:[A-Za-z0-9]+$`)

// Validate refuses what no request is about. Wildcards belong into policies: whether "s3:*" is allowed is as many questions as S3
// has actions.
func (r *Request) Validate() error {
	switch _, err := identity.ParseARN(r.Resource); {
	case !actionForm.MatchString(r.Action):
		return fmt.Errorf("action %q: want one action without wildcards, such as s3:GetObject", r.Action)
	case r.Resource != "*" && (err != nil || strings.ContainsAny(r.Resource, "*?")):
		return fmt.Errorf(`resource %q: want the ARN of one resource without wildcards, such as arn:aws:s3:::demo/file.txt, `+
			`or "*" for an action that is about none in particular`, r.Resource)
	}
	if r.ResourceAccount != "" && !identity.ValidAccountID(r.ResourceAccount) {
		return fmt.Errorf("resource account %q: want twelve digits", r.ResourceAccount)
	}
	if r.ResourcePolicy != nil && *r.ResourcePolicy != "" {
		compiled, err := policy.Parse(policy.Resource, *r.ResourcePolicy)
		if err != nil {
			return fmt.Errorf("resource policy: %w", err)
		}
		r.resourcePolicy = &policy.Named{Name: "given", Policy: compiled}
	}
	for key := range r.Context {
		if prefix, name, _ := strings.Cut(key, ":"); prefix == "" || name == "" {
			return fmt.Errorf("condition key %q: want prefix:name, such as s3:prefix", key)
		}
	}
	return nil
}

// Pod answers whether a pod may do something. Only service account and, where policies ask for them, name and UID of the pod matter;
// empty ones stand for [AnyPodName] and [AnyPodUID]. The error says that the question makes no sense or that nothing could be read.
func (a *Asker) Pod(ctx context.Context, clusterName string, pod identity.Subject, req Request) (*Answer, error) {
	if err := cmp.Or(req.Validate(), validPod(pod)); err != nil {
		return nil, err
	}
	r, cluster, err := a.read(ctx, clusterName)
	if err != nil {
		return nil, err
	}
	ids, err := r.associations(ctx, clusterName, &pod.ServiceAccount)
	if err != nil {
		return nil, err
	}
	f := &facts{cluster: cluster}
	for _, id := range ids { // there is one at most
		if f.association, err = r.association(ctx, clusterName, id); err != nil {
			return nil, err
		}
	}
	if f.roles, err = r.roles(ctx, f.needs(&req)); err != nil {
		return nil, err
	}
	f.resource = r.resource(ctx, &req)
	return a.judgePod(f, pod, &req), ctx.Err()
}

// Principal answers whether a principal may do something: a user, any session of a role, one session of it, or the root user of an
// account. A session has no session tags but those in the request's context (aws:PrincipalTag/…).
func (a *Asker) Principal(ctx context.Context, arn string, req Request) (*Answer, error) {
	if err := req.Validate(); err != nil {
		return nil, err
	}
	r, err := a.reader(ctx)
	if err != nil {
		return nil, err
	}
	who, err := a.principal(ctx, r, arn)
	if err != nil {
		return nil, err
	}
	roles, err := r.roles(ctx, assumed(&req))
	if err != nil {
		return nil, err
	}
	return a.judgePrincipal(who, roles, r.resource(ctx, &req), &req), ctx.Err()
}

// Who answers for every service account of a cluster that has an association, in the order of their names.
func (a *Asker) Who(ctx context.Context, clusterName string, req Request) ([]*Answer, error) {
	if err := req.Validate(); err != nil {
		return nil, err
	}
	r, cluster, err := a.read(ctx, clusterName)
	if err != nil {
		return nil, err
	}
	ids, err := r.associations(ctx, clusterName, nil)
	if err != nil {
		return nil, err
	}
	all := make([]*facts, len(ids))
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for i, id := range ids {
		group.Go(func() error {
			association, err := r.association(groupContext, clusterName, id)
			all[i] = &facts{cluster: cluster, association: association}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(f *facts) bool { return f.association == nil }) // deleted meanwhile
	var arns []string
	for _, f := range all {
		arns = append(arns, f.needs(&req)...)
	}
	roles, err := r.roles(ctx, arns)
	if err != nil {
		return nil, err
	}
	answers, on := make([]*Answer, len(all)), r.resource(ctx, &req)
	for i, f := range all {
		f.roles, f.resource = roles, on
		answers[i] = a.judgePod(f, identity.Subject{ServiceAccount: f.association.ServiceAccount}, &req)
	}
	slices.SortFunc(answers, func(a, b *Answer) int {
		return strings.Compare(a.Namespace+"/"+a.ServiceAccount, b.Namespace+"/"+b.ServiceAccount)
	})
	return answers, ctx.Err()
}

// read begins to read: who asks, and the cluster.
func (a *Asker) read(ctx context.Context, cluster string) (*reader, *identity.Cluster, error) {
	if !identity.ValidClusterName(cluster) {
		return nil, nil, fmt.Errorf("%q cannot be the name of a cluster", cluster)
	}
	r, err := a.reader(ctx)
	if err != nil {
		return nil, nil, err
	}
	found, err := r.cluster(ctx, cluster)
	return r, found, err
}

func validPod(pod identity.Subject) error {
	switch {
	case !identity.ValidNamespace(pod.Namespace):
		return fmt.Errorf("%q cannot be the name of a namespace", pod.Namespace)
	case !identity.ValidServiceAccountName(pod.Name):
		return fmt.Errorf("%q cannot be the name of a service account", pod.Name)
	case pod.PodName != "" && !identity.ValidServiceAccountName(pod.PodName): // both are RFC 1123 subdomains
		return fmt.Errorf("%q cannot be the name of a pod", pod.PodName)
	}
	return nil
}
