package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/policy"
)

func TestContextKeys(t *testing.T) {
	for text, want := range map[string][]string{
		`{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::b/${aws:username}/*","arn:aws:s3:::b/${aws:PrincipalTag/team, 'x'}"],"Condition":{
				"StringLike":{"s3:Prefix":"${AWS:UserName}/*"},"StringEqualsIgnoreCase":{"a:b":"${c:fold}"},"Bool":{"a:bool":"${c:bool}"},
				"ArnLike":{"aws:SourceArn":"arn:aws:s3:::${c:arn}"},"Null":{"a:null":"true"}}},
			{"Effect":"Deny","NotAction":"s3:*","NotResource":"arn:aws:s3:::${c:not}","Condition":{"StringEquals":{"s3:prefix":"${*}"}}}]}`: {
			"aws:username", "aws:PrincipalTag/team", "s3:Prefix", "a:b", "c:fold", "a:bool", "c:bool", "aws:SourceArn", "c:arn", "a:null", "c:not",
		},
		// The old version has no variables.
		`{"Version":"2008-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:username}"}}`: nil,
	} {
		p, err := policy.Parse(policy.Identity, text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, p.ContextKeys()); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
	}
}

func TestMatching(t *testing.T) {
	p, err := policy.Parse(policy.Identity, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"s3:*","Resource":"*"}, {"Effect":"Allow","Action":"s3:Get*","Resource":"*"},
		{"Effect":"Deny","Action":"s3:Put*","Resource":"*"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		action string
		effect policy.Effect
		want   []int
	}{
		{"s3:GetObject", policy.Allow, []int{1, 2}}, {"s3:PutObject", policy.Allow, []int{1}}, {"s3:PutObject", policy.Deny, []int{3}}, {"iam:GetRole", policy.Allow, nil},
	} {
		var got []int
		for _, s := range p.Matching(&policy.Request{Action: tt.action, Resource: "*"}, tt.effect) {
			got = append(got, s.Number)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s %s: %s", tt.action, tt.effect, diff)
		}
	}
}
