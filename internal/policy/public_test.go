package policy

import (
	"strings"
	"testing"
)

func TestPublic(t *testing.T) {
	if0 := func(condition string) string {
		return `{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":` + condition + `}`
	}
	for name, test := range map[string]struct {
		statements string
		want       bool
	}{
		"everybody":            {`{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`, true},
		"AWS everybody":        {`{"Effect":"Allow","Principal":{"AWS":["111122223333","*"]},"Action":"*","Resource":"*"}`, true},
		"all but some":         {`{"Effect":"Allow","NotPrincipal":{"AWS":"111122223333"},"Action":"*","Resource":"*"}`, true},
		"some":                 {`{"Effect":"Allow","Principal":{"AWS":"444455556666"},"Action":"*","Resource":"*"}`, false},
		"deny":                 {`{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}`, false},
		"one of two":           {`{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"},` + if0(`{"Bool":{"aws:SecureTransport":"true"}}`), true},
		"account":              {if0(`{"StringEquals":{"aws:PrincipalAccount":"111122223333"}}`), false},
		"organization":         {if0(`{"StringEquals":{"AWS:principalorgid":"o-a1b2c3"}}`), false},
		"any organization":     {if0(`{"StringLike":{"aws:PrincipalOrgID":"o-*"}}`), true},
		"some, and any":        {if0(`{"StringLike":{"aws:PrincipalOrgID":["o-a1b2c3","*"]}}`), true},
		"another organization": {if0(`{"StringNotEquals":{"aws:PrincipalOrgID":"o-a1b2c3"}}`), true},
		"if there is one":      {if0(`{"StringEqualsIfExists":{"aws:PrincipalOrgID":"o-a1b2c3"}}`), true},
		"no values or these":   {if0(`{"ForAllValues:StringEquals":{"aws:PrincipalOrgPaths":"o-a1b2c3/"}}`), true},
		"has the key":          {if0(`{"Null":{"aws:PrincipalOrgID":"false"}}`), true},
		"another key":          {if0(`{"StringEquals":{"s3:prefix":"a"}}`), true},
		"variable":             {if0(`{"StringEquals":{"aws:PrincipalAccount":"${aws:ResourceAccount}"}}`), true},
		"addresses":            {if0(`{"IpAddress":{"aws:SourceIp":["192.0.2.0/24","2001:db8::/32"]}}`), false},
		"all addresses":        {if0(`{"IpAddress":{"aws:SourceIp":["192.0.2.0/24","0.0.0.0/0"]}}`), true},
		"roles of an account":  {if0(`{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/*"}}`), false},
		"roles of any account": {if0(`{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/web"}}`), true},
		"a bucket":             {if0(`{"ArnEquals":{"aws:SourceArn":"arn:aws:s3:::data"}}`), false},
		"any bucket":           {if0(`{"ArnLike":{"aws:SourceArn":"arn:aws:s3:::*"}}`), true},
		"sessions of a role":   {if0(`{"StringLike":{"aws:userid":"AROAEXAMPLEEXAMPLE123:*"}}`), false},
		"any session":          {if0(`{"StringLike":{"aws:userid":"*:name"}}`), true},
	} {
		p, err := Parse(Resource, document(test.statements))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := p.Public(); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

func TestNamesInDocument(t *testing.T) {
	p, err := Parse(Resource, document(`{"Effect":"Allow","Principal":{"AWS":"`+roleARN+`"},"Action":["s3:Get*","s3:PutObject"],"Resource":"arn:aws:s3:::b"},
		{"Effect":"Deny","Principal":"*","NotAction":"s3:Get*","NotResource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}`))
	if err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string][]string{
		"s3:Get* s3:PutObject":            p.Actions(),
		"arn:aws:s3:::b arn:aws:s3:::b/*": p.Resources(),
		roleARN:                           p.Principals(),
	} {
		if joined := strings.Join(got, " "); joined != what {
			t.Errorf("got %q, want %q", joined, what)
		}
	}
}
