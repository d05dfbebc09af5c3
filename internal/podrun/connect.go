package podrun

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/podid/podid/internal/identity"
)

// Connect finds the Kubernetes API of a cluster by the EKS API, and returns a client that calls it as the AWS caller of cfg.
func Connect(ctx context.Context, cfg aws.Config, cluster string) (*Kube, error) {
	out, err := eks.NewFromConfig(cfg).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &cluster})
	if err != nil {
		return nil, fmt.Errorf("describing the cluster %s: %w", cluster, err)
	}
	if out.Cluster == nil || out.Cluster.Endpoint == nil {
		return nil, fmt.Errorf("the cluster %s has no Kubernetes endpoint", cluster)
	}
	return NewKube(KubeConfig{Endpoint: *out.Cluster.Endpoint, Bearer: bearer(cfg, cluster)})
}

// bearer makes the tokens by which a cluster knows an AWS caller: a presigned GetCallerIdentity request in which the cluster's name
// is signed, as "aws eks get-token" makes them.
// See https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster.
func bearer(cfg aws.Config, cluster string) func(context.Context) (identity.Secret, error) {
	presigner := sts.NewPresignClient(sts.NewFromConfig(cfg))
	return func(ctx context.Context) (identity.Secret, error) {
		request, err := presigner.PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.PresignOptions) {
			o.ClientOptions = append(o.ClientOptions, sts.WithAPIOptions(smithyhttp.AddHeaderValue("X-K8s-Aws-Id", cluster)))
		})
		if err != nil {
			return "", fmt.Errorf("signing for the cluster %s: %w", cluster, err)
		}
		return identity.Secret("k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(request.URL))), nil
	}
}
