package oracle

import (
	"slices"
	"strings"

	"github.com/podid/podid/internal/policy"
)

// rule is a known disagreement.
type rule struct {
	name    string
	applies func(*question) bool
	example question
	want    policy.Effect // the right answer to the example, which versitygw does not give
}

// In the comments "docs" are the pages at https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_….html.
var rules = []rule{
	{
		// docs, elements_condition_operators: "each of the six colon-delimited components of the ARN is checked separately".
		name:    "ARNs are compared part by part",
		applies: has(operator("Arn"), value("x:carts", "carts:d")),
		example: if1("ArnLike", "aws:SourceArn", "arn:aws:sns:*:carts:*", "arn:aws:sns:a:b:carts:d"),
		want:    policy.NoMatch,
	}, {
		// docs, single-vs-multi-valued-context-keys: ForAnyValue is false "if the key does not exist", and does not match in a Deny.
		name:    "ForAnyValue with a negated operator is false for an absent key",
		applies: has(operator("ForAnyValue:StringNot", "ForAnyValue:NumericNot", "ForAnyValue:DateNot", "ForAnyValue:NotIp", "ForAnyValue:ArnNot"), absent),
		example: if1("ForAnyValue:StringNotEquals", "aws:TagKeys", "red"),
		want:    policy.NoMatch,
	}, {
		// docs, elements_condition_operators: ForAllValues is true for "a null dataset, such as an empty string"; elements_condition: an
		// empty string is null.
		name:    "an empty value is null",
		applies: has(operator("ForAllValues:", "Null"), requestValue("")),
		example: if1("ForAllValues:StringEquals", "aws:PrincipalTag/team", "red", ""),
		want:    policy.Allow,
	}, {
		// docs, single-vs-multi-valued-context-keys: a set without values is as good as none.
		name:    "an empty set is absent",
		applies: func(q *question) bool { values, ok := q.keys["aws:TagKeys"]; return ok && len(values) == 0 },
		example: question{version: "2012-10-17", action: "s3:GetObject", resource: "*", keys: map[string][]string{"aws:TagKeys": {}},
			statements: []statement{{Effect: "Allow", Action: []string{"*"}, Resource: []string{"*"},
				Condition: map[string]map[string][]string{"Null": {"aws:TagKeys": {"true"}}}}}},
		want: policy.Allow,
	}, {
		// A value that the operator cannot compare keeps a Deny and never makes an Allow. Undocumented; the other way round a malformed
		// value would step around every Deny.
		name:    "a value that is not of the operator's type",
		applies: has(operator("Numeric", "Date", "Bool", "Binary", "Ip", "Arn"), requestValue("junk", "junk!", "", "0x0A", "Inf", "1")),
		example: if1("NumericNotEquals", "s3:max", "10", "junk"),
		want:    policy.NoMatch,
	}, {
		// docs, elements_condition_operators: dates are in one of the W3C's forms, and 2024 is a year there.
		name:    "dates without a time",
		applies: has(operator("Date"), value("2024-01-01", "2024")),
		example: if1("DateEquals", "aws:CurrentTime", "2024-01-01", "2024-01-01T00:00:00Z"),
		want:    policy.Allow,
	}, {
		// docs, elements_condition_operators: BinaryEquals compares "byte for byte" with what is encoded in base64.
		name:    "binary values are compared decoded",
		applies: has(operator("Binary"), requestValue("AAF=")),
		example: if1("BinaryEquals", "ex:Key", "AAE=", "AAF="),
		want:    policy.Allow,
	}, {
		// docs, elements_condition_operators: Bool supports policy variables.
		name:    "Bool with a variable",
		applies: has(operator("Bool"), value("${")),
		example: if1("Bool", "aws:SecureTransport", "${aws:SecureTransport}", "true"),
		want:    policy.Allow,
	}, {
		// docs, variables: tags are variables too.
		name:    "a tag as a variable",
		applies: has(value("${aws:PrincipalTag/team}")),
		example: if1("StringEquals", "aws:PrincipalTag/team", "${aws:PrincipalTag/team}", "red"),
		want:    policy.Allow,
	}, {
		// docs, single-vs-multi-valued-context-keys: "you cannot use a multivalued context key as a policy variable".
		name:    "a multivalued key as a variable",
		applies: has(value("${ex:Tags}")),
		example: with(if1("StringEquals", "aws:PrincipalTag/team", "${ex:Tags}", "red"), "ex:Tags", "red"),
		want:    policy.NoMatch,
	}, {
		// Undocumented; otherwise who may choose a tag's value may choose "*".
		name:    "wildcards in the value of a variable are plain characters",
		applies: func(q *question) bool { return slices.Contains(q.keys["aws:username"], "*") },
		example: with(if1("StringLike", "aws:PrincipalTag/team", "${aws:username}", "red"), "aws:username", "*"),
		want:    policy.NoMatch,
	}, {
		// docs, variables: under NotResource too a variable without a value matches no resource; podid takes that for no permission.
		name: "NotResource with a variable that has no value",
		applies: func(q *question) bool {
			_, named := q.keys["aws:username"]
			return !named && slices.ContainsFunc(q.statements, func(s statement) bool { return strings.Contains(strings.Join(s.NotResource, ""), "${") })
		},
		example: question{version: "2012-10-17", action: "s3:GetObject", resource: "arn:aws:s3:::b/key", statements: []statement{
			{Effect: "Allow", Action: []string{"*"}, NotResource: []string{"arn:aws:s3:::b/${aws:username}/*"}}}},
		want: policy.NoMatch,
	}, {
		// An address's zone says on which interface of the server it is met; it is the same network.
		name:    "addresses with a zone",
		applies: has(operator("IpAddress"), requestValue("fe80::1%eth0")),
		example: if1("IpAddress", "aws:SourceIp", "fe80::/10", "fe80::1%eth0"),
		want:    policy.Allow,
	}, {
		// docs, elements_condition_operators: "?" is a single-character wildcard, and é is one character of two bytes.
		name:    "a wildcard is a character, not a byte",
		applies: has(operator("Like"), requestValue("réd")),
		example: if1("StringLike", "aws:PrincipalTag/team", "r?d", "réd"),
		want:    policy.Allow,
	},
}

// if1 is the question whether a document that allows everything under one condition allows a request, which has the key if seen is given.
func if1(operator, key, want string, seen ...string) question {
	q := question{version: "2012-10-17", action: "s3:GetObject", resource: "*", keys: map[string][]string{},
		statements: []statement{{Effect: "Allow", Action: []string{"*"}, Resource: []string{"*"},
			Condition: map[string]map[string][]string{operator: {key: {want}}}}}}
	if len(seen) > 0 {
		q.keys[key] = seen
	}
	return q
}

// with adds a key to a question.
func with(q question, key string, values ...string) question {
	q.keys[key] = values
	return q
}

// trait tells whether a condition of the question has some property.
type trait func(q *question, operator, key string, values []string) bool

// has tells whether the question has a condition with all of these traits.
func has(traits ...trait) func(*question) bool {
	return func(q *question) bool {
		for _, s := range q.statements {
			for operator, keys := range s.Condition {
				for key, values := range keys {
					lacks := func(has trait) bool { return !has(q, operator, key, values) }
					if !slices.ContainsFunc(traits, lacks) {
						return true
					}
				}
			}
		}
		return false
	}
}

// operator tells whether the operator's name contains one of these.
func operator(names ...string) trait {
	return func(_ *question, operator, _ string, _ []string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(operator, name) })
	}
}

// absent tells whether the request does not have the key.
func absent(q *question, _, key string, _ []string) bool { return len(q.keys[key]) == 0 }

// requestValue tells whether one of these is among the request's values of the key.
func requestValue(values ...string) trait {
	return func(q *question, _, key string, _ []string) bool {
		return slices.ContainsFunc(q.keys[key], func(seen string) bool { return slices.Contains(values, seen) })
	}
}

// value tells whether one of the policy's or the request's values of the key contains one of these.
func value(parts ...string) trait {
	return func(q *question, _, key string, values []string) bool {
		return slices.ContainsFunc(slices.Concat(values, q.keys[key]), func(v string) bool {
			return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(v, part) })
		})
	}
}
