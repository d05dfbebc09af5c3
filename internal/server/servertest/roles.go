package servertest

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/podid/podid/internal/identity"
)

// PodTrust is a trust policy as EKS Pod Identity needs it.
const PodTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},` +
	`"Action":["sts:AssumeRole","sts:TagSession"]}]}`

// MakeRole makes a role with a trust policy and, unless it is empty, a policy, and returns its ARN.
func (s *Server) MakeRole(name, trust, policy string) string {
	s.t.Helper()
	client := iam.NewFromConfig(s.Admin)
	out, err := client.CreateRole(s.t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if err != nil {
		s.t.Fatal(err)
	}
	if policy != "" {
		_, err := client.PutRolePolicy(s.t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("own"), PolicyDocument: &policy})
		if err != nil {
			s.t.Fatal(err)
		}
	}
	return *out.Role.Arn
}

// Limited is an AWS configuration of somebody who may do only what a policy allows: a session of a role of that name, made for it.
func (s *Server) Limited(name, policy string) aws.Config {
	s.t.Helper()
	arn := s.MakeRole(name, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+AccountID+`"},"Action":"sts:AssumeRole"}]}`, policy)
	out, err := sts.NewFromConfig(s.Admin).AssumeRole(s.t.Context(), &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: aws.String("limited")})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.As(aws.Credentials{
		AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken,
	})
}

// Associate makes an association and returns its id. change, if not nil, may change the request before.
func (s *Server) Associate(cluster string, account identity.ServiceAccount, role string, change func(*eks.CreatePodIdentityAssociationInput)) string {
	s.t.Helper()
	in := &eks.CreatePodIdentityAssociationInput{
		ClusterName: &cluster, Namespace: &account.Namespace, ServiceAccount: &account.Name, RoleArn: &role,
	}
	if change != nil {
		change(in)
	}
	out, err := eks.NewFromConfig(s.Admin).CreatePodIdentityAssociation(s.t.Context(), in)
	if err != nil {
		s.t.Fatal(err)
	}
	return *out.Association.AssociationId
}
