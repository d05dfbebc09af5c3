package cani

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"

	"github.com/podid/podid/internal/identity"
)

const (
	// callTimeout bounds one call of an API, with what the SDK does to try it again.
	callTimeout = 30 * time.Second
	// maxPages bounds how long a list is followed.
	maxPages = 1000
)

// reader reads the facts of one question.
type reader struct {
	eks     *eks.Client
	iam     *iam.Client
	s3      *s3.Client
	sts     *sts.Client
	account string    // that the credentials are of; the only one whose roles, users and buckets they can read
	others  []*reader // of other accounts

	mu      sync.Mutex
	managed map[string]string // documents of managed policies by ARN, guarded by mu: many roles share one
}

func newReader(cfg aws.Config) *reader {
	return &reader{
		eks: eks.NewFromConfig(cfg), iam: iam.NewFromConfig(cfg), sts: sts.NewFromConfig(cfg), managed: map[string]string{},
		s3: s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = o.BaseEndpoint != nil }), // AWS alone has a name for each bucket
	}
}

// call is one call of an API with a deadline. A refusal is told by the permission that it needs.
func call[In, Out, Opt any](ctx context.Context, permission string, op func(context.Context, *In, ...Opt) (*Out, error), in *In, options ...Opt,
) (*Out, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out, err := op(ctx, in, options...)
	var refused smithy.APIError
	if errors.As(err, &refused) && (refused.ErrorCode() == "AccessDenied" || refused.ErrorCode() == "AccessDeniedException") {
		err = &refusal{permission, err}
	}
	return out, err
}

// refusal is the error of a read that needs a permission which the credentials in use do not have.
type refusal struct {
	permission string // iam:GetRole
	err        error
}

func (r *refusal) Error() string {
	return "this needs the permission " + r.permission + ": " + r.err.Error()
}

func (r *refusal) Unwrap() error { return r.err }

// missingPermissions collects the permissions of all refusals that an error is made of, each once.
func missingPermissions(err error) (missing []string) {
	var visit func(error)
	visit = func(err error) {
		switch err := err.(type) {
		case *refusal:
			if !slices.Contains(missing, err.permission) {
				missing = append(missing, err.permission)
			}
		case interface{ Unwrap() []error }:
			for _, e := range err.Unwrap() {
				visit(e)
			}
		default:
			if inner := errors.Unwrap(err); inner != nil {
				visit(inner)
			}
		}
	}
	visit(err)
	return missing
}

// pages reads a list page by page. read gets the token of a page and returns that of the next; nil is the first, and the end.
func pages(read func(token *string) (next *string, err error)) error {
	var token *string
	for range maxPages {
		next, err := read(token)
		if err != nil || aws.ToString(next) == "" {
			return err
		}
		token = next
	}
	return fmt.Errorf("the list has not ended after %d pages", maxPages)
}

func (r *reader) findAccount(ctx context.Context) error {
	out, err := call(ctx, "sts:GetCallerIdentity", r.sts.GetCallerIdentity, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("finding out who asks: %w", err)
	}
	r.account = aws.ToString(out.Account)
	return nil
}

// cluster reads as much of a cluster as session tags and condition keys say of it.
func (r *reader) cluster(ctx context.Context, name string) (*identity.Cluster, error) {
	out, err := call(ctx, "eks:DescribeCluster", r.eks.DescribeCluster, &eks.DescribeClusterInput{Name: &name})
	var none *ekstypes.ResourceNotFoundException
	switch {
	case errors.As(err, &none):
		return nil, fmt.Errorf("there is no cluster %s; aws eks list-clusters shows those there are", name)
	case err != nil:
		return nil, fmt.Errorf("reading cluster %s: %w", name, err)
	case out.Cluster == nil:
		return nil, fmt.Errorf("reading cluster %s: the answer has no cluster", name)
	}
	arn, err := identity.ParseARN(aws.ToString(out.Cluster.Arn))
	if err != nil || arn.Resource != "cluster/"+name {
		return nil, fmt.Errorf("reading cluster %s: %q is not its ARN", name, aws.ToString(out.Cluster.Arn))
	}
	return &identity.Cluster{Name: name, Partition: arn.Partition, Region: arn.Region, AccountID: arn.AccountID}, nil
}

// associations returns the ids of a cluster's associations, or only of that of a service account.
func (r *reader) associations(ctx context.Context, cluster string, account *identity.ServiceAccount) ([]string, error) {
	in := &eks.ListPodIdentityAssociationsInput{ClusterName: &cluster}
	if account != nil {
		in.Namespace, in.ServiceAccount = &account.Namespace, &account.Name
	}
	var ids []string
	err := pages(func(token *string) (*string, error) {
		in.NextToken = token
		out, err := call(ctx, "eks:ListPodIdentityAssociations", r.eks.ListPodIdentityAssociations, in)
		if err != nil {
			return nil, err
		}
		for _, a := range out.Associations {
			ids = append(ids, aws.ToString(a.AssociationId))
		}
		return out.NextToken, nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing pod identity associations of cluster %s: %w", cluster, err)
	}
	return ids, nil
}

// association reads one association, nil if it is gone.
func (r *reader) association(ctx context.Context, cluster, id string) (*identity.Association, error) {
	in := &eks.DescribePodIdentityAssociationInput{ClusterName: &cluster, AssociationId: &id}
	out, err := call(ctx, "eks:DescribePodIdentityAssociation", r.eks.DescribePodIdentityAssociation, in)
	var none *ekstypes.ResourceNotFoundException
	switch {
	case errors.As(err, &none):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading pod identity association %s: %w", id, err)
	case out.Association == nil:
		return nil, fmt.Errorf("reading pod identity association %s: the answer has no association", id)
	}
	a := out.Association
	return &identity.Association{
		ServiceAccount: identity.ServiceAccount{Namespace: aws.ToString(a.Namespace), Name: aws.ToString(a.ServiceAccount)},
		ID:             id, ClusterName: cluster, ARN: aws.ToString(a.AssociationArn), RoleARN: aws.ToString(a.RoleArn),
		TargetRoleARN: aws.ToString(a.TargetRoleArn), ExternalID: aws.ToString(a.ExternalId),
		DisableSessionTags: aws.ToBool(a.DisableSessionTags), Policy: aws.ToString(a.Policy),
	}, nil
}

// roles reads each role once. What could not be read of a role is said in the role; an error is about the question as a whole.
func (r *reader) roles(ctx context.Context, arns []string) (map[string]*entity, error) {
	arns = slices.Compact(slices.Sorted(slices.Values(arns)))
	read := make([]*entity, len(arns))
	var group errgroup.Group
	group.SetLimit(parallelReads)
	for i, arn := range arns {
		group.Go(func() error {
			read[i] = r.role(ctx, arn)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	byARN := make(map[string]*entity, len(arns))
	for i, arn := range arns {
		byARN[arn] = read[i]
	}
	return byARN, nil
}
