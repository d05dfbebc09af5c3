package policy

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	cartsOnly := `{"Sid":"Carts","Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{
		"StringEquals":{"aws:PrincipalTag/kubernetes-namespace":"carts"},"Bool":{"aws:SecureTransport":"true"}}}`
	trust := `{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}`
	tests := []struct {
		name string
		req  *Request
		in   *Inputs
		want []string // lines
	}{
		{
			"a condition failed",
			&Request{"s3:GetObject", "arn:aws:s3:::b/k", session(), keys("aws:PrincipalTag/kubernetes-namespace", "orders", "aws:SecureTransport", "true")},
			&Inputs{SameAccount: true, Identity: []*Named{named(t, Identity, "write", other), named(t, Identity, "read", cartsOnly)}},
			[]string{
				`denied because no identity-based policy allows the s3:GetObject action`,
				`  "read", statement 1 "Carts" (line 1, column 38):`,
				`    condition StringEquals aws:PrincipalTag/kubernetes-namespace: want "carts", request has "orders"`,
				`  "write", statement 1 (line 1, column 38):`,
				`    Action: want "s3:PutObject", request has "s3:GetObject"`,
			},
		},
		{
			"everything failed",
			&Request{"s3:ListBucket", "arn:aws:s3:::c", session(), keys("aws:SecureTransport", "fal\nse")},
			&Inputs{SameAccount: true, Identity: []*Named{named(t, Identity, "read", cartsOnly)}},
			[]string{
				`denied because no identity-based policy allows the s3:ListBucket action`,
				`  "read", statement 1 "Carts" (line 1, column 38):`,
				`    Action: want "s3:GetObject", request has "s3:ListBucket"`,
				`    Resource: want "arn:aws:s3:::b/*", request has "arn:aws:s3:::c"`,
				`    condition StringEquals aws:PrincipalTag/kubernetes-namespace: want "carts", request does not have the key`,
				`    condition Bool aws:SecureTransport: want "true", request has "fal\nse"`,
			},
		},
		{
			"negations",
			&Request{"s3:GetObject", "arn:aws:s3:::b/k", user(), keys("aws:username", "alice")},
			&Inputs{Resource: named(t, Resource, "b", `{"Effect":"Allow","NotPrincipal":{"AWS":["111122223333"]},"NotAction":["s3:*","iam:*"],
				"NotResource":"arn:aws:s3:::b/*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":[]},
				"StringNotLike":{"aws:username":["a*","b*"]}}}`)},
			[]string{
				`denied because no resource-based policy allows the s3:GetObject action`,
				`  "b", statement 1 (line 1, column 38):`,
				`    NotAction: want other than "s3:*" or "iam:*", request has "s3:GetObject"`,
				`    NotResource: want other than "arn:aws:s3:::b/*", request has "arn:aws:s3:::b/k"`,
				`    NotPrincipal: want other than "AWS 111122223333", request has "AWS arn:aws:iam::111122223333:user/alice"`,
				`    condition ForAnyValue:StringEquals aws:TagKeys: want nothing, request does not have the key`,
				`    condition StringNotLike aws:username: want other than "a*" or "b*", request has "alice"`,
			},
		},
		{
			"trust",
			&Request{"sts:AssumeRole", roleARN, Principal{Service: podsEKS}, nil},
			&Inputs{Resource: named(t, Trust, "web", trust)},
			[]string{
				`denied because no role trust policy allows the sts:AssumeRole action`,
				`  "web", statement 1 (line 1, column 38):`,
				`    Principal: want "Service ec2.amazonaws.com", request has "Service pods.eks.amazonaws.com"`,
			},
		},
		{
			"boundary",
			&Request{"s3:GetObject", "*", user(), nil},
			&Inputs{SameAccount: true, Identity: []*Named{named(t, Identity, "i", allow)}, Boundary: named(t, Boundary, "limit", other)},
			[]string{
				`denied because no permissions boundary allows the s3:GetObject action`,
				`  "limit", statement 1 (line 1, column 38):`,
				`    Action: want "s3:PutObject", request has "s3:GetObject"`,
			},
		},
		{
			"session policy",
			&Request{"s3:GetObject", "*", session(), nil},
			&Inputs{SameAccount: true, Identity: []*Named{named(t, Identity, "i", allow)}, Session: []*Named{named(t, Session, "passed", other)}},
			[]string{
				`denied because no session policy allows the s3:GetObject action`,
				`  "passed", statement 1 (line 1, column 38):`,
				`    Action: want "s3:PutObject", request has "s3:GetObject"`,
			},
		},
		{
			"no policy", &Request{"s3:GetObject", "*", user(), nil}, &Inputs{SameAccount: true},
			[]string{
				`denied because no identity-based policy allows the s3:GetObject action`,
				`  there is no identity-based policy with an Allow statement`,
			},
		},
		{
			"denied", &Request{"s3:GetObject", "*", user(), nil},
			&Inputs{SameAccount: true, Identity: []*Named{named(t, Identity, "i", allow+","+deny)}},
			[]string{`denied by identity-based policy "i", statement 2 (line 1, column 96)`},
		},
		{
			"allowed", &Request{"s3:GetObject", "*", user(), nil},
			&Inputs{SameAccount: true, Identity: []*Named{named(t, Identity, "i", allow)}},
			[]string{`allowed by identity-based policy "i", statement 1 (line 1, column 38)`},
		},
		{
			"root", &Request{"s3:GetObject", "*", root(), nil}, &Inputs{SameAccount: true},
			[]string{`allowed: the root user needs no policy`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, want := Explain(tt.req, tt.in).String(), strings.Join(tt.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestExplainNamesFew(t *testing.T) {
	in := &Inputs{SameAccount: true, Identity: []*Named{named(t, Identity, "i", strings.Repeat(other+",", 9)+other)}}
	if got := len(Explain(&Request{"s3:GetObject", "*", user(), nil}, in).Candidates); got != 3 {
		t.Errorf("got %d candidates, want 3", got)
	}
}
