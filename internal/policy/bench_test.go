package policy

import "testing"

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

func TestDecideDoesNotAllocate(t *testing.T) {
	req, in := typical(t)
	if d := Decide(req, in); !d.Allowed {
		t.Fatal(Explain(req, in))
	}
	if got := testing.AllocsPerRun(100, func() { Decide(req, in) }); got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}

func BenchmarkDecide(b *testing.B) {
	req, in := typical(b)
	b.ReportAllocs()
	for b.Loop() {
		Decide(req, in)
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
