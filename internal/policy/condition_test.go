package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
)

// Each row says whether an Allow and whether a Deny with the condition applies.
func TestConditions(t *testing.T) {
	const both, none, denyOnly = "Allow Deny", "NoMatch NoMatch", "NoMatch Deny"
	tests := []struct {
		condition string
		request   []string
		want      string
	}{
		{`"StringEquals":{"aws:a":"x"}`, []string{"aws:a", "x"}, both},
		{`"StringEquals":{"aws:a":"x"}`, []string{"aws:a", "X"}, none},
		{`"StringEquals":{"aws:a":"x"}`, nil, none},
		{`"StringEquals":{"aws:a":"x*"}`, []string{"aws:a", "xy"}, none},
		{`"StringEquals":{"aws:a":["x","y"]}`, []string{"aws:a", "y"}, both},
		{`"StringEquals":{"aws:a":[]}`, []string{"aws:a", "y"}, none},
		{`"StringEquals":{"aws:a":""}`, []string{"aws:a", ""}, both},
		{`"StringEquals":{"aws:a":"1"}`, []string{"aws:a", "1"}, both},
		{`"StringEquals":{"aws:a":1}`, []string{"aws:a", "1"}, both},
		{`"StringEquals":{"AWS:principalTAG/TEAM":"x"}`, []string{"aws:PrincipalTag/Team", "x"}, both},
		{`"StringEquals":{"aws:a":"x","aws:b":"y"}`, []string{"aws:a", "x", "aws:b", "y"}, both},
		{`"StringEquals":{"aws:a":"x","aws:b":"y"}`, []string{"aws:a", "x", "aws:b", "z"}, none},
		{`"StringEquals":{"aws:a":"x"},"StringLike":{"aws:a":"y*"}`, []string{"aws:a", "x"}, none},
		{`"StringNotEquals":{"aws:a":"x"}`, []string{"aws:a", "y"}, both},
		{`"StringNotEquals":{"aws:a":"x"}`, []string{"aws:a", "x"}, none},
		{`"StringNotEquals":{"aws:a":["x","y"]}`, []string{"aws:a", "y"}, none},
		{`"StringNotEquals":{"aws:a":["x","y"]}`, []string{"aws:a", "z"}, both},
		{`"StringNotEquals":{"aws:a":"x"}`, nil, both}, // a missing key is not equal to anything
		{`"StringEqualsIgnoreCase":{"aws:a":"Größe"}`, []string{"aws:a", "GRÖSSE"}, none},
		{`"StringEqualsIgnoreCase":{"aws:a":"GRÖßE"}`, []string{"aws:a", "größe"}, both},
		{`"StringNotEqualsIgnoreCase":{"aws:a":"X"}`, []string{"aws:a", "x"}, none},
		{`"StringLike":{"aws:a":"a/*/c"}`, []string{"aws:a", "a/b/b/c"}, both},
		{`"StringLike":{"aws:a":"a?c"}`, []string{"aws:a", "abc"}, both},
		{`"StringLike":{"aws:a":"a.c"}`, []string{"aws:a", "abc"}, none},
		{`"StringLike":{"aws:a":"(a+)+$"}`, []string{"aws:a", "aaa"}, none},
		{`"StringLike":{"aws:a":"a"}`, []string{"aws:a", "ab"}, none},
		{`"StringLike":{"aws:a":"*"}`, []string{"aws:a", ""}, both},
		{`"StringLike":{"aws:a":"*"}`, nil, none},
		{`"StringLike":{"aws:a":"A*"}`, []string{"aws:a", "ab"}, none},
		{`"StringLike":{"aws:a":"${*}x"}`, []string{"aws:a", "*x"}, both},
		{`"StringLike":{"aws:a":"${*}x"}`, []string{"aws:a", "yx"}, none},
		{`"StringNotLike":{"aws:a":["a*","b*"]}`, []string{"aws:a", "bx"}, none},
		{`"StringNotLike":{"aws:a":["a*","b*"]}`, []string{"aws:a", "cx"}, both},

		// Variables.
		{`"StringEquals":{"aws:a":"${aws:b}"}`, []string{"aws:a", "x", "aws:b", "x"}, both},
		{`"StringEquals":{"aws:a":"p-${aws:b}-s"}`, []string{"aws:a", "p-x-s", "aws:b", "x"}, both},
		{`"StringEqualsIgnoreCase":{"aws:a":"p-${aws:b}"}`, []string{"aws:a", "P-X", "aws:b", "x"}, both},
		{`"StringEqualsIgnoreCase":{"aws:a":"p-${aws:b}"}`, []string{"aws:a", "P-"}, none},
		{`"StringEquals":{"aws:a":"${aws:b}"}`, []string{"aws:a", ""}, none},
		{`"StringNotEquals":{"aws:a":"${aws:b}"}`, []string{"aws:a", "x"}, both}, // nothing is equal to a value that is not there
		{`"StringNotEquals":{"aws:a":"${aws:b}"}`, []string{"aws:a", "x", "aws:b", "x"}, none},
		{`"StringLike":{"aws:a":"${aws:b}"}`, []string{"aws:a", "abc", "aws:b", "a*"}, none},
		{`"StringEquals":{"aws:a":"${aws:b, 'dflt'}"}`, []string{"aws:a", "dflt"}, both},
		{`"StringEquals":{"aws:a":"${aws:PrincipalTag/cost center}"}`, []string{"aws:a", "x", "aws:principaltag/Cost Center", "x"}, both},
		{`"ArnLike":{"aws:a":"${aws:b}"}`, []string{"aws:a", userARN, "aws:b", userARN}, both},
		{`"ArnLike":{"aws:a":"arn:aws:iam::111122223333:user/${aws:b}"}`, []string{"aws:a", userARN, "aws:b", "alice"}, both},
		{`"ArnLike":{"aws:a":"arn:aws:iam::${aws:b}:user/alice"}`, []string{"aws:a", userARN, "aws:b", "111122223333"}, both},
		{`"Bool":{"aws:a":"${aws:b}"}`, []string{"aws:a", "true", "aws:b", "true"}, both},

		// Numbers.
		{`"NumericEquals":{"aws:a":"10"}`, []string{"aws:a", "10.0"}, both},
		{`"NumericNotEquals":{"aws:a":"10"}`, []string{"aws:a", "11"}, both},
		{`"NumericNotEquals":{"aws:a":"10"}`, []string{"aws:a", "10"}, none},
		{`"NumericLessThan":{"aws:a":"10"}`, []string{"aws:a", "9"}, both},
		{`"NumericLessThan":{"aws:a":"10"}`, []string{"aws:a", "10"}, none},
		{`"NumericLessThanEquals":{"aws:a":10}`, []string{"aws:a", "10"}, both},
		{`"NumericGreaterThan":{"aws:a":"-1.5"}`, []string{"aws:a", "-1.4"}, both},
		{`"NumericGreaterThan":{"aws:a":"10"}`, []string{"aws:a", "10"}, none},
		{`"NumericGreaterThanEquals":{"aws:a":"10"}`, []string{"aws:a", "10"}, both},
		{`"NumericLessThan":{"aws:a":"10"}`, nil, none},
		{`"NumericNotEquals":{"aws:a":"10"}`, nil, both},

		// Values of the request that make no sense keep a Deny and never make an Allow.
		{`"NumericLessThan":{"aws:a":"10"}`, []string{"aws:a", "abc"}, denyOnly},
		{`"NumericEquals":{"aws:a":"10"}`, []string{"aws:a", "NaN"}, denyOnly},
		{`"NumericNotEquals":{"aws:a":"10"}`, []string{"aws:a", "0x0a"}, denyOnly},
		{`"DateGreaterThan":{"aws:a":"2024-01-01"}`, []string{"aws:a", "soon"}, denyOnly},
		{`"Bool":{"aws:a":"true"}`, []string{"aws:a", "yes"}, denyOnly},
		{`"IpAddress":{"aws:a":"10.0.0.0/8"}`, []string{"aws:a", "here"}, denyOnly},
		{`"NotIpAddress":{"aws:a":"10.0.0.0/8"}`, []string{"aws:a", ""}, denyOnly},
		{`"BinaryEquals":{"aws:a":"eA=="}`, []string{"aws:a", "?"}, denyOnly},
		{`"ArnNotLike":{"aws:a":"arn:aws:s3:::*"}`, []string{"aws:a", "x"}, denyOnly},
		{`"ForAnyValue:NumericEquals":{"aws:a":"1"}`, []string{"aws:a", "x,1"}, both},
		{`"ForAnyValue:NumericEquals":{"aws:a":"1"}`, []string{"aws:a", "x,2"}, denyOnly},
		{`"ForAllValues:NumericEquals":{"aws:a":"1"}`, []string{"aws:a", "x,1"}, denyOnly},
		{`"ForAllValues:NumericEquals":{"aws:a":"1"}`, []string{"aws:a", "x,2"}, none},

		// Dates.
		{`"DateEquals":{"aws:a":"2024-01-01T00:00:00Z"}`, []string{"aws:a", "2024-01-01T01:00:00+01:00"}, both},
		{`"DateEquals":{"aws:a":"1704067200"}`, []string{"aws:a", "2024-01-01T00:00Z"}, both},
		{`"DateNotEquals":{"aws:a":"2024"}`, []string{"aws:a", "2024-01-01"}, none},
		{`"DateLessThan":{"aws:a":"2024-02"}`, []string{"aws:a", "2024-01-31T23:59:59.999Z"}, both},
		{`"DateLessThanEquals":{"aws:a":1704067200}`, []string{"aws:a", "2024-01-01"}, both},
		{`"DateGreaterThan":{"aws:a":"2024-01-01"}`, []string{"aws:a", "2024-01-01T00:00:00Z"}, none},
		{`"DateGreaterThanEquals":{"aws:a":"2024-01-01"}`, []string{"aws:a", "1704067200"}, both},

		{`"Bool":{"aws:a":"true"}`, []string{"aws:a", "true"}, both},
		{`"Bool":{"aws:a":true}`, []string{"aws:a", "True"}, both},
		{`"Bool":{"aws:a":"false"}`, []string{"aws:a", "true"}, none},
		{`"Bool":{"aws:a":"false"}`, nil, none},
		{`"BoolIfExists":{"aws:a":"false"}`, nil, both},
		{`"BinaryEquals":{"aws:a":"QmluYXJ5"}`, []string{"aws:a", "QmluYXJ5"}, both},
		{`"BinaryEquals":{"aws:a":"QmluYXJ5"}`, []string{"aws:a", "QmluYXJ6"}, none},

		// Addresses.
		{`"IpAddress":{"aws:a":"203.0.113.0/24"}`, []string{"aws:a", "203.0.113.255"}, both},
		{`"IpAddress":{"aws:a":"203.0.113.0/24"}`, []string{"aws:a", "203.0.114.0"}, none},
		{`"IpAddress":{"aws:a":"203.0.113.7/24"}`, []string{"aws:a", "203.0.113.9"}, both},
		{`"IpAddress":{"aws:a":"203.0.113.7"}`, []string{"aws:a", "203.0.113.7"}, both},
		{`"IpAddress":{"aws:a":"203.0.113.7"}`, []string{"aws:a", "203.0.113.8"}, none},
		{`"IpAddress":{"aws:a":["10.0.0.0/8","2001:db8::/32"]}`, []string{"aws:a", "2001:db8::1"}, both},
		{`"IpAddress":{"aws:a":"2001:db8::1"}`, []string{"aws:a", "2001:db8::2"}, none},
		{`"IpAddress":{"aws:a":"10.0.0.0/8"}`, []string{"aws:a", "::ffff:10.1.2.3"}, both},
		{`"IpAddress":{"aws:a":"::ffff:10.0.0.0/104"}`, []string{"aws:a", "10.1.2.3"}, both},
		{`"IpAddress":{"aws:a":"fe80::/10"}`, []string{"aws:a", "fe80::1%eth0"}, both},
		{`"NotIpAddress":{"aws:a":["10.0.0.0/8","192.168.0.0/16"]}`, []string{"aws:a", "192.168.1.1"}, none},
		{`"NotIpAddress":{"aws:a":"10.0.0.0/8"}`, []string{"aws:a", "11.0.0.1"}, both},
		{`"NotIpAddress":{"aws:a":"10.0.0.0/8"}`, nil, both},

		// ARNs: a wildcard stays within its part.
		{`"ArnEquals":{"aws:a":"arn:aws:eks:us-west-2:111122223333:cluster/demo"}`, []string{"aws:a", "arn:aws:eks:us-west-2:111122223333:cluster/demo"}, both},
		{`"ArnEquals":{"aws:a":"arn:aws:eks:us-west-2:111122223333:cluster/*"}`, []string{"aws:a", "arn:aws:eks:us-west-2:111122223333:cluster/demo"}, both},
		{`"ArnLike":{"aws:a":"arn:aws:sns:*:111122223333:*"}`, []string{"aws:a", "arn:aws:sns:us-west-2:111122223333:a:b"}, both},
		{`"ArnLike":{"aws:a":"arn:aws:sns:*:123"}`, []string{"aws:a", "arn:aws:sns:us-west-2:999999999999:x:123"}, ""},
		{`"ArnLike":{"aws:a":"arn:aws:sns:*:*:123"}`, []string{"aws:a", "arn:aws:sns:us-west-2:111122223333:x:123"}, none},
		{`"ArnLike":{"aws:a":"*:*:*:*:*:*"}`, []string{"aws:a", userARN}, both},
		{`"ArnLike":{"aws:a":"*"}`, []string{"aws:a", userARN}, both},
		{`"ArnLike":{"aws:a":"arn:aws:iam::111122223333:USER/*"}`, []string{"aws:a", userARN}, none},
		{`"ArnNotEquals":{"aws:a":"arn:aws:iam::*:user/*"}`, []string{"aws:a", userARN}, none},
		{`"ArnNotLike":{"aws:a":"arn:aws:iam::*:user/*"}`, []string{"aws:a", roleARN}, both},
		{`"ArnNotLike":{"aws:a":"arn:aws:iam::*:user/*"}`, nil, both},

		{`"Null":{"aws:a":"true"}`, nil, both},
		{`"Null":{"aws:a":"true"}`, []string{"aws:a", "x"}, none},
		{`"Null":{"aws:a":false}`, []string{"aws:a", "x"}, both},
		{`"Null":{"aws:a":"false"}`, nil, none},
		{`"Null":{"aws:a":"true"}`, []string{"aws:a", ","}, both},
		{`"Null":{"aws:a":["true","false"]}`, nil, both},

		{`"Null":{"aws:a":"true"}`, []string{"aws:a", ""}, both}, // an empty value is null
		{`"Null":{"aws:a":"false"}`, []string{"aws:a", ""}, none},
		{`"Null":{"aws:a":"false"}`, []string{"aws:a", ",,x"}, both},

		// IfExists.
		{`"StringEqualsIfExists":{"aws:a":"x"}`, nil, both},
		{`"StringEqualsIfExists":{"aws:a":"x"}`, []string{"aws:a", "y"}, none},
		{`"StringNotEqualsIfExists":{"aws:a":"x"}`, []string{"aws:a", "x"}, none},
		{`"ForAnyValue:StringEqualsIfExists":{"aws:a":"x"}`, nil, both},

		// Sets.
		{`"ForAllValues:StringEquals":{"aws:a":["x","y"]}`, []string{"aws:a", "x,y"}, both},
		{`"ForAllValues:StringEquals":{"aws:a":["x","y"]}`, []string{"aws:a", "x,z"}, none},
		{`"ForAllValues:StringEquals":{"aws:a":["x","y"]}`, nil, both},
		{`"ForAllValues:StringEquals":{"aws:a":["x","y"]}`, []string{"aws:a", ","}, both},
		{`"ForAllValues:StringEquals":{"aws:a":[]}`, []string{"aws:a", ",x"}, none},
		{`"ForAllValues:StringEquals":{"aws:a":"x"}`, []string{"aws:a", ""}, both},
		{`"ForAllValues:StringEquals":{"aws:a":"x"}`, []string{"aws:a", ",,"}, both},
		{`"ForAllValues:StringEquals":{"aws:a":"x"}`, []string{"aws:a", ",,x"}, none},
		{`"ForAllValues:ArnLike":{"aws:a":"arn:aws:s3:::*"}`, []string{"aws:a", ""}, both},
		{`"ForAnyValue:StringEquals":{"aws:a":""}`, []string{"aws:a", ""}, both},
		{`"ForAnyValue:StringEquals":{"aws:a":["x","y"]}`, []string{"aws:a", "z,y"}, both},
		{`"ForAnyValue:StringEquals":{"aws:a":["x","y"]}`, []string{"aws:a", "z,w"}, none},
		{`"ForAnyValue:StringEquals":{"aws:a":["x","y"]}`, nil, none},
		{`"ForAnyValue:StringLike":{"aws:a":"eks-*"}`, []string{"aws:a", "a,eks-b"}, both},
		{`"ForAllValues:StringNotEquals":{"aws:a":["x","y"]}`, []string{"aws:a", "a,b"}, both},
		{`"ForAllValues:StringNotEquals":{"aws:a":["x","y"]}`, []string{"aws:a", "a,x"}, none},
		{`"ForAnyValue:StringNotEquals":{"aws:a":["x","y"]}`, []string{"aws:a", "a,x"}, both},
		{`"ForAnyValue:StringNotEquals":{"aws:a":["x","y"]}`, []string{"aws:a", "y,x"}, none},
		{`"ForAnyValue:StringNotEquals":{"aws:a":["x","y"]}`, nil, none},
		{`"ForAllValues:StringEquals":{"aws:a":"x"}`, []string{"aws:a", "x"}, both},
		{`"ForAnyValue:StringEquals":{"aws:a":"x"}`, []string{"aws:a", "y"}, none},
		// Several values without a set operator.
		{`"StringEquals":{"aws:a":"x"}`, []string{"aws:a", "x,y"}, both},
		{`"StringNotEquals":{"aws:a":"x"}`, []string{"aws:a", "x,y"}, none},
		{`"StringNotEquals":{"aws:a":"x"}`, []string{"aws:a", "z,y"}, both},
	}
	for _, tt := range tests {
		var got []string
		for _, effect := range []string{"Allow", "Deny"} {
			p, err := Parse(Identity, document(`{"Effect":"`+effect+`","Action":"*","Resource":"*","Condition":{`+tt.condition+`}}`))
			if (err != nil) != (tt.want == "") {
				t.Fatalf("%s: %v", tt.condition, err)
			}
			if err == nil {
				got = append(got, p.Evaluate(&Request{"s3:GetObject", "*", Principal{}, keys(tt.request...)}).Effect.String())
			}
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%s, request %q: got %q, want %q", tt.condition, tt.request, got, tt.want)
		}
	}
}

func TestContext(t *testing.T) {
	var base, ctx Context
	base.SetTags("aws:PrincipalTag/", []identity.Tag{{Key: "Team", Value: "a"}, {Key: "team", Value: "b"}, {Key: "Cost", Value: "c"}})
	base.SetMany("aws:TagKeys", "x")
	ctx.Reset(&base)
	ctx.Set("AWS:PRINCIPALTAG/COST", "d")
	ctx.SetMany("aws:tagkeys")
	ctx.Set("aws:PrincipalTag/\u212aind", "forged") // the Kelvin sign is no k
	get := func(key string) []string {
		if e := ctx.find(key); e != nil {
			return e.values()
		}
		return nil
	}
	for key, want := range map[string][]string{
		"aws:principaltag/team": {"b"}, "aws:principaltag/cost": {"d"}, "aws:tagkeys": nil, "aws:none": nil,
		"aws:principaltag/kind": nil,
	} {
		if diff := cmp.Diff(want, get(key)); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
	ctx.Reset(nil)
	if got := get("aws:principaltag/cost"); got != nil {
		t.Errorf("after Reset: got %q, want nothing", got)
	}
}
