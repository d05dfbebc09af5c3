package oracle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/podid/podid/internal/policy"
)

// question is an identity policy and a request. Keys with an "s" or "S" at the end are multivalued, all others have one value.
type question struct {
	version    string
	statements []statement
	action     string
	resource   string
	keys       map[string][]string
}

type statement struct {
	Effect      string
	Action      []string                       `json:",omitempty"`
	NotAction   []string                       `json:",omitempty"`
	Resource    []string                       `json:",omitempty"`
	NotResource []string                       `json:",omitempty"`
	Condition   map[string]map[string][]string `json:",omitempty"`
}

func (q *question) document() string {
	text, err := json.Marshal(map[string]any{"Version": q.version, "Statement": q.statements})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (q *question) context() *policy.Context {
	ctx := &policy.Context{}
	for key, values := range q.keys {
		if isMulti(key) {
			ctx.SetMany(key, values...)
		} else {
			ctx.Set(key, values[0])
		}
	}
	return ctx
}

func isMulti(key string) bool { return strings.HasSuffix(strings.ToLower(key), "s") }

func (q *question) String() string {
	return fmt.Sprintf("%s\n%s on %s with %q", q.document(), q.action, q.resource, q.keys)
}

// family is the operators that compare one type, the keys that they are tried on, and values that meet often.
type family struct {
	operators []string
	keys      []string // a single-valued and a multivalued one
	policy    []string
	request   []string
}

var families = []family{
	{
		operators: []string{
			"StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike",
		},
		keys: []string{"aws:PrincipalTag/team", "aws:TagKeys"},
		policy: []string{
			"red", "Red", "r*", "?ed", "*ed", "*", "blue", "", "${aws:username}", "${aws:username}-*", "${ex:Tags}", "${aws:PrincipalTag/team}",
		},
		request: []string{"red", "RED", "rose", "blue", "alice", "alice-1", "", "réd", "*"},
	}, {
		operators: []string{
			"NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals",
		},
		keys:    []string{"s3:max", "ex:Sizes"},
		policy:  []string{"10", "9.5", "-1", "1e2"},
		request: []string{"10", "9.5", "10.0", "100", "-2", "junk", "", "0x0A", "Inf"},
	}, {
		operators: []string{"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals", "DateGreaterThan", "DateGreaterThanEquals"},
		keys:      []string{"aws:CurrentTime", "ex:Dates"},
		policy:    []string{"2024-01-01T00:00:00Z", "1704067200", "2024-06-30T12:00:00+02:00", "2024-01-01"},
		request:   []string{"2024-01-01T00:00:00Z", "2024-06-30T10:00:00Z", "1704067200", "2025-01-01T00:00:00.5Z", "junk", "2024"},
	}, {
		operators: []string{"Bool"},
		keys:      []string{"aws:SecureTransport", "ex:Flags"},
		policy:    []string{"true", "false", "${aws:SecureTransport}"},
		request:   []string{"true", "false", "True", "1", "junk"},
	}, {
		operators: []string{"BinaryEquals"},
		keys:      []string{"ex:Key", "ex:Digests"},
		policy:    []string{"AAE=", "AAEC"},
		request:   []string{"AAE=", "AAF=", "AAEC", "junk!"},
	}, {
		operators: []string{"IpAddress", "NotIpAddress"},
		keys:      []string{"aws:SourceIp", "ex:Addresses"},
		policy:    []string{"10.0.0.0/8", "203.0.113.7", "2001:db8::/32", "2001:db8::1", "fe80::/10", "0.0.0.0/0", "10.1.2.3/8"},
		request:   []string{"10.1.2.3", "203.0.113.7", "203.0.113.8", "2001:db8::1", "2001:db8::2", "::ffff:10.1.2.3", "fe80::1%eth0", "junk"},
	}, {
		operators: []string{"ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"},
		keys:      []string{"aws:SourceArn", "ex:Arns"},
		policy: []string{
			"arn:aws:sns:us-west-2:111122223333:carts", "arn:aws:sns:*:111122223333:c*", "arn:aws:sns:*:*:?arts",
			"arn:aws:sns:us-west-2:111122223333:${aws:username}", "arn:aws:sns:*:carts:*",
		},
		request: []string{
			"arn:aws:sns:us-west-2:111122223333:carts", "arn:aws:sns:eu-west-1:111122223333:carts", "arn:aws:sns:us-west-2:111122223333:alice",
			"arn:aws:sns:us-west-2:111122223333:x:carts", "arn:aws:sns:us-west-2:444455556666:carts", "arn:aws:sns:a:b:carts:d", "junk",
		},
	},
}

// variables are the keys that documents have as variables, and their values.
var variables = []struct {
	key    string
	values []string
}{{"aws:username", []string{"alice", "red", "*"}}, {"ex:Tags", []string{"red", "blue"}}}

// odd are values that one of the rules is about. They are seldom drawn, lest the rules excuse too much.
var odd = []string{
	"junk", "junk!", "", "0x0A", "Inf", "1", "*", "réd", "AAF=", "2024", "2024-01-01", "fe80::1%eth0", "${ex:Tags}", "${aws:PrincipalTag/team}",
	"${aws:SecureTransport}", "arn:aws:sns:us-west-2:111122223333:x:carts", "arn:aws:sns:a:b:carts:d",
}

func some(t *rapid.T, label string, most int, from []string) []string {
	if rapid.IntRange(0, 9).Draw(t, label+" odd") > 0 {
		from = slices.DeleteFunc(slices.Clone(from), func(v string) bool { return slices.Contains(odd, v) })
	}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, most, rapid.ID[string]).Draw(t, label)
}

func drawQuestion(t *rapid.T) *question {
	q := &question{
		version: rapid.SampledFrom([]string{"2012-10-17", "2012-10-17", "2012-10-17", "2008-10-17"}).Draw(t, "version"),
		action:  rapid.SampledFrom([]string{"s3:GetObject", "s3:PutObject", "iam:GetUser", "S3:getobject"}).Draw(t, "action"),
		resource: rapid.SampledFrom([]string{"*", "arn:aws:s3:::b", "arn:aws:s3:::b/key", "arn:aws:s3:::b/alice/key", "arn:aws:s3:::b/red/x/y",
			"arn:aws:sqs:us-west-2:111122223333:queue"}).Draw(t, "resource"),
		keys: map[string][]string{},
	}
	for _, f := range families {
		for _, key := range f.keys {
			if rapid.IntRange(0, 3).Draw(t, "has "+key) == 0 {
				continue
			}
			most := 1
			if isMulti(key) {
				most = 3
			}
			q.keys[key] = some(t, key, most, f.request)
		}
	}
	for _, v := range variables {
		if rapid.IntRange(0, 3).Draw(t, "has "+v.key) > 0 {
			q.keys[v.key] = some(t, v.key, 1, v.values)
		}
	}
	if rapid.IntRange(0, 19).Draw(t, "empty set") == 0 {
		q.keys["aws:TagKeys"] = []string{}
	}
	for range rapid.IntRange(1, 3).Draw(t, "statements") {
		q.statements = append(q.statements, drawStatement(t))
	}
	if strings.Contains(q.document(), "${aws:SecureTransport}") {
		q.version = "2012-10-17" // in the old one it would be a boolean that is none
	}
	return q
}

func drawStatement(t *rapid.T) statement {
	s := statement{Effect: rapid.SampledFrom([]string{"Allow", "Allow", "Deny"}).Draw(t, "effect")}
	actions := some(t, "actions", 2, []string{"*", "s3:*", "s3:Get*", "s3:getobject", "S3:?utObject", "iam:*User*"})
	resources := some(t, "resources", 2, []string{"*", "arn:aws:s3:::b/*", "arn:aws:s3:::b/k?y", "arn:aws:s3:::b/${aws:username}/*",
		"arn:aws:s3:::*/y", "arn:aws:s3:::*/key", "arn:aws:sqs:*:111122223333:q*", "arn:aws:s3:::b"})
	if rapid.IntRange(0, 3).Draw(t, "not action") == 0 {
		s.NotAction = actions
	} else {
		s.Action = actions
	}
	if rapid.IntRange(0, 3).Draw(t, "not resource") == 0 {
		s.NotResource = resources
	} else {
		s.Resource = resources
	}
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		operator, key, values := drawCondition(t)
		if s.Condition == nil {
			s.Condition = map[string]map[string][]string{}
		}
		s.Condition[operator] = map[string][]string{key: values}
	}
	return s
}

func drawCondition(t *rapid.T) (operator, key string, values []string) {
	if rapid.IntRange(0, 9).Draw(t, "null") == 0 {
		f := rapid.SampledFrom(families).Draw(t, "family")
		return "Null", rapid.SampledFrom(f.keys).Draw(t, "key"), some(t, "values", 1, []string{"true", "false"})
	}
	f := rapid.SampledFrom(families).Draw(t, "family")
	set := rapid.SampledFrom([]string{"", "ForAllValues:", "ForAnyValue:"}).Draw(t, "set")
	operator = set + rapid.SampledFrom(f.operators).Draw(t, "operator") + rapid.SampledFrom([]string{"", "", "IfExists"}).Draw(t, "suffix")
	return operator, rapid.SampledFrom(f.keys).Draw(t, "key"), some(t, "values", 2, f.policy)
}

const (
	issuer   = "oidc.example.com/id/1"
	provider = "arn:aws:iam::111122223333:oidc-provider/" + issuer
)

// issuers are the identity providers that exist.
var issuers = map[string]string{provider: "https://" + issuer, provider + "2": "https://" + issuer + "2"}

var (
	subjects  = []string{"system:serviceaccount:carts:carts", "system:serviceaccount:carts:orders", "system:serviceaccount:prod:carts"}
	audiences = []string{"sts.amazonaws.com", "other"}
)

func drawSubject(t *rapid.T) string { return rapid.SampledFrom(subjects).Draw(t, "sub") }

// drawTrust draws a trust policy for web identities.
func drawTrust(t *rapid.T) string {
	var statements []map[string]any
	for range rapid.IntRange(1, 3).Draw(t, "statements") {
		conditions := map[string]map[string][]string{}
		for range rapid.IntRange(0, 2).Draw(t, "conditions") {
			operator := rapid.SampledFrom([]string{"", "ForAllValues:", "ForAnyValue:"}).Draw(t, "set") +
				rapid.SampledFrom(families[0].operators).Draw(t, "operator") + rapid.SampledFrom([]string{"", "IfExists"}).Draw(t, "suffix")
			conditions[operator] = map[string][]string{issuer + rapid.SampledFrom([]string{":sub", ":aud"}).Draw(t, "claim"): some(t, "values", 3,
				slices.Concat(subjects, audiences, []string{"system:serviceaccount:carts:*", "*:carts", "STS.amazonaws.com"}))}
		}
		statements = append(statements, map[string]any{
			"Effect":    rapid.SampledFrom([]string{"Allow", "Allow", "Deny"}).Draw(t, "effect"),
			"Principal": map[string]any{"Federated": some(t, "providers", 2, []string{provider, provider + "2", provider + "3"})},
			"Action":    some(t, "actions", 2, []string{"sts:AssumeRoleWithWebIdentity", "sts:assumerole*", "sts:AssumeRole", "sts:*"}),
			"Condition": conditions,
		})
	}
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		panic(err)
	}
	return string(text)
}
