package dev

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const (
	nodeRole        = "podid-local-node"
	nodeTrustPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:user/admin"},"Action":"sts:AssumeRole"}]}`
	nodePolicy      = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"eks-auth:AssumeRoleForPodIdentity","Resource":"*"}]}`
	demoBucket      = "demo"
)

// furnish makes what a real cluster has from elsewhere: the role of its nodes, and something in S3 worth reading. It does so with
// the public APIs. What is there from an earlier start is left as it is.
func (d *Dev) furnish(ctx context.Context) error {
	if err := d.makeNodeRole(ctx); err != nil {
		return fmt.Errorf("making the node role: %w", err)
	}
	if err := d.fillBucket(ctx); err != nil {
		return fmt.Errorf("filling the bucket %s: %w", demoBucket, err)
	}
	return nil
}

func (d *Dev) makeNodeRole(ctx context.Context) error {
	client := iam.NewFromConfig(d.Admin())
	trust := fmt.Sprintf(nodeTrustPolicy, d.cfg.AccountID)
	_, err := client.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: aws.String(nodeRole), Description: aws.String("The node agent of podid dev"), AssumeRolePolicyDocument: &trust,
	})
	var exists *iamtypes.EntityAlreadyExistsException
	if errors.As(err, &exists) {
		return renewTrust(ctx, client, trust)
	}
	if err != nil {
		return err
	}
	_, err = client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: aws.String(nodeRole), PolicyName: aws.String("eks-auth"), PolicyDocument: aws.String(nodePolicy),
	})
	return err
}

// renewTrust lets the administrator assume the node role again if the role trusts one that is gone: the server has made the
// administrator anew then, and a trust policy means the user who was there when it was written.
func renewTrust(ctx context.Context, client *iam.Client, trust string) error {
	out, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(nodeRole)})
	if err != nil {
		return err
	}
	shown, err := url.PathUnescape(aws.ToString(out.Role.AssumeRolePolicyDocument))
	if err != nil {
		return fmt.Errorf("reading the trust policy: %w", err)
	}
	before, rest, _ := strings.Cut(trust, "arn:")
	_, after, _ := strings.Cut(rest, "user/admin")
	if !strings.HasPrefix(shown, before+"AIDA") || !strings.HasSuffix(shown, after) {
		return nil
	}
	_, err = client.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String(nodeRole), PolicyDocument: &trust})
	return err
}

func (d *Dev) fillBucket(ctx context.Context) error {
	client := s3.NewFromConfig(d.Admin(), func(o *s3.Options) { o.UsePathStyle = true })
	_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{
		Bucket:                    aws.String(demoBucket),
		CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: s3types.BucketLocationConstraint(d.cfg.Region)},
	})
	var owned *s3types.BucketAlreadyOwnedByYou
	var exists *s3types.BucketAlreadyExists
	if errors.As(err, &owned) || errors.As(err, &exists) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range []string{"test-file-1.md", "test-file-2.md"} {
		_, err := client.PutObject(ctx, &s3.PutObjectInput{
			Bucket: aws.String(demoBucket), Key: aws.String(name), ContentType: aws.String("text/markdown"),
			Body: strings.NewReader("# " + name + "\n\nRead with the credentials of a pod.\n"),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// nodeCredentials gives sessions of the node role, as an instance profile would.
func (d *Dev) nodeCredentials(serverURL string) aws.CredentialsProvider {
	role := "arn:aws:iam::" + d.cfg.AccountID + ":role/" + nodeRole
	client := sts.NewFromConfig(d.config(serverURL, d.adminCredentials()))
	return aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(client, role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "node-localhost"
	}))
}
