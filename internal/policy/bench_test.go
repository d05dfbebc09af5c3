package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/podid/podid/internal/identity"
)

// typical is what most requests of a pod meet: its role's policies, one of them by session tag, with a deny on top.
func typical(tb testing.TB) (*Request, *Inputs) {
	ctx := keys("aws:PrincipalTag/eks-cluster-name", "demo", "aws:PrincipalTag/kubernetes-namespace", "carts", "aws:PrincipalTag/kubernetes-service-account",
		"carts", "aws:PrincipalArn", roleARN, "aws:PrincipalAccount", "111122223333", "aws:PrincipalType", "AssumedRole", "aws:userid",
		"AROAEXAMPLEEXAMPLE123:one", "aws:SourceIp", "203.0.113.7", "aws:SecureTransport", "true", "aws:RequestedRegion", "us-west-2",
		"aws:CurrentTime", "2024-01-01T00:00:00Z", "aws:TagKeys", "a,b", "s3:prefix", "carts/")
	in := &Inputs{
		SameAccount: true,
		Identity: []*Named{
			named(tb, Identity, "logs", `{"Effect":"Allow","Action":["logs:CreateLogStream","logs:PutLogEvents"],"Resource":"arn:aws:logs:*:*:*"}`),
			named(tb, Identity, "data", `
				{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}},
				{"Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":["203.0.113.0/24","10.0.0.0/8"]}}},
				{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::data/${aws:PrincipalTag/kubernetes-namespace}/*",
				 "Condition":{"StringEquals":{"aws:PrincipalTag/eks-cluster-name":["prod","demo"]},"DateGreaterThan":{"aws:CurrentTime":"2020-01-01"},
				 "ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/team/*"},"ForAllValues:StringLike":{"aws:TagKeys":["a*","b*"]}}}`),
		},
	}
	return &Request{"s3:GetObject", "arn:aws:s3:::data/carts/2024/01/list.json", session(), ctx}, in
}

// podIdentity is a role's trust policy for EKS Pod Identity, and the request that EKS makes for a pod with the pod's six session tags.
func podIdentity(tb testing.TB) (*Request, *Inputs) { return podIdentityIf(tb, "{}") }

// podIdentityTags is the same with a condition on each of the tags.
func podIdentityTags(tb testing.TB) (*Request, *Inputs) {
	return podIdentityIf(tb, `{"StringEquals":{"aws:RequestTag/eks-cluster-name":["prod","demo"],"aws:RequestTag/kubernetes-namespace":"carts",
		"aws:RequestTag/kubernetes-service-account":"carts","aws:SourceAccount":"111122223333"},
		"StringLike":{"aws:RequestTag/kubernetes-pod-name":"carts-*","aws:RequestTag/kubernetes-pod-uid":"*-*"},
		"ArnLike":{"aws:RequestTag/eks-cluster-arn":"arn:aws:eks:*:111122223333:cluster/*"}}`)
}

func podIdentityIf(tb testing.TB, condition string) (*Request, *Inputs) {
	tags := []identity.Tag{
		{Key: "eks-cluster-arn", Value: "arn:aws:eks:us-west-2:111122223333:cluster/demo"}, {Key: "eks-cluster-name", Value: "demo"},
		{Key: "kubernetes-namespace", Value: "carts"}, {Key: "kubernetes-service-account", Value: "carts"},
		{Key: "kubernetes-pod-name", Value: "carts-5d8f6c7b9-x2x4z"}, {Key: "kubernetes-pod-uid", Value: "6a1cfa4c-0f6f-4b0e-9c1d-2f6f7f4f1f10"},
	}
	ctx := keys("aws:SourceAccount", "111122223333", "aws:SourceArn", tags[0].Value, "aws:CurrentTime", "2024-01-01T00:00:00Z",
		"aws:SecureTransport", "true")
	ctx.SetTags("aws:RequestTag/", tags)
	ctx.SetMany("aws:TagKeys", tags[0].Key, tags[1].Key, tags[2].Key, tags[3].Key, tags[4].Key, tags[5].Key)
	ctx.SetMany("sts:TransitiveTagKeys", tags[0].Key, tags[1].Key, tags[2].Key, tags[3].Key, tags[4].Key, tags[5].Key)
	return &Request{"sts:TagSession", roleARN, Principal{Service: podsEKS}, ctx}, &Inputs{Resource: named(tb, Trust, "web", `{
		"Sid":"AllowEksAuthToAssumeRoleForPodIdentity","Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},
		"Action":["sts:AssumeRole","sts:TagSession"],"Condition":`+condition+`}`)}
}

// hundred is a role whose policy has a hundred statements, of which only the last allows the request.
func hundred(tb testing.TB) (*Request, *Inputs) {
	var statements []string
	for i := range 100 {
		statements = append(statements, fmt.Sprintf(`{"Effect":"Allow","Action":["s3:Get*","s3:ListBucket"],
			"Resource":["arn:aws:s3:::bucket-%d","arn:aws:s3:::bucket-%d/${aws:PrincipalTag/kubernetes-namespace}/*"],
			"Condition":{"StringEquals":{"aws:PrincipalTag/eks-cluster-name":["prod","demo"]},"Bool":{"aws:SecureTransport":"true"}}}`, i, i))
	}
	req, _ := typical(tb)
	req.Resource = "arn:aws:s3:::bucket-99/carts/2024/01/list.json"
	return req, &Inputs{SameAccount: true, Identity: []*Named{named(tb, Identity, "hundred", strings.Join(statements, ","))}}
}

var questions = map[string]func(testing.TB) (*Request, *Inputs){
	"typical": typical, "pod-identity": podIdentity, "pod-identity-tags": podIdentityTags, "hundred-statements": hundred,
}

func TestDecideDoesNotAllocate(t *testing.T) {
	for name, question := range questions {
		t.Run(name, func(t *testing.T) {
			req, in := question(t)
			if d := Decide(req, in); !d.Allowed {
				t.Fatal(Explain(req, in))
			}
			if got := testing.AllocsPerRun(100, func() { Decide(req, in) }); got != 0 {
				t.Errorf("got %v allocations, want none", got)
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	for name, question := range questions {
		b.Run(name, func(b *testing.B) {
			req, in := question(b)
			b.ReportAllocs()
			for b.Loop() {
				Decide(req, in)
			}
		})
	}
}

func BenchmarkContext(b *testing.B) {
	base := keys("aws:PrincipalTag/kubernetes-namespace", "carts", "aws:PrincipalArn", roleARN)
	var ctx Context
	b.ReportAllocs()
	for b.Loop() {
		ctx.Reset(base)
		ctx.Set("aws:SourceIp", "203.0.113.7")
		ctx.Set("aws:SecureTransport", "true")
		ctx.Set("aws:CurrentTime", "2024-01-01T00:00:00Z")
	}
}

func BenchmarkParse(b *testing.B) {
	text := document(`{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::data/${aws:username}/*",
		"Condition":{"StringEquals":{"aws:PrincipalTag/eks-cluster-name":["prod","demo"]}}}`)
	b.ReportAllocs()
	for b.Loop() {
		mustParse(b, Identity, text)
	}
}
