package policy

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// matcher compares a value of the request with the compiled value of a policy.
type matcher interface {
	match(seen string, ctx *Context) outcome
}

// compiler reads a value in a policy. variables tells whether the document's version has policy variables.
type compiler func(value string, variables bool) (matcher, error)

type operator struct {
	compile compiler
	negated bool
}

// operators are all condition operators but Null, without set prefix and IfExists.
var operators = map[string]operator{
	"StringEquals":              {compile: compileText(false)},
	"StringNotEquals":           {compile: compileText(false), negated: true},
	"StringEqualsIgnoreCase":    {compile: compileFold},
	"StringNotEqualsIgnoreCase": {compile: compileFold, negated: true},
	"StringLike":                {compile: compileText(true)},
	"StringNotLike":             {compile: compileText(true), negated: true},

	"NumericEquals":            {compile: numeric(isEqual)},
	"NumericNotEquals":         {compile: numeric(isEqual), negated: true},
	"NumericLessThan":          {compile: numeric(isLess)},
	"NumericLessThanEquals":    {compile: numeric(isLessOrEqual)},
	"NumericGreaterThan":       {compile: numeric(isGreater)},
	"NumericGreaterThanEquals": {compile: numeric(isGreaterOrEqual)},

	"DateEquals":            {compile: date(isEqual)},
	"DateNotEquals":         {compile: date(isEqual), negated: true},
	"DateLessThan":          {compile: date(isLess)},
	"DateLessThanEquals":    {compile: date(isLessOrEqual)},
	"DateGreaterThan":       {compile: date(isGreater)},
	"DateGreaterThanEquals": {compile: date(isGreaterOrEqual)},

	"Bool":         {compile: compileBool},
	"BinaryEquals": {compile: compileComparison(base64.StdEncoding.DecodeString, bytes.Compare, isEqual)},

	"IpAddress":    {compile: compileNetwork},
	"NotIpAddress": {compile: compileNetwork, negated: true},

	"ArnEquals":    {compile: compileARN},
	"ArnNotEquals": {compile: compileARN, negated: true},
	"ArnLike":      {compile: compileARN},
	"ArnNotLike":   {compile: compileARN, negated: true},
}

// textMatcher is StringEquals and StringLike.
type textMatcher struct{ pattern }

func compileText(wildcards bool) compiler {
	return func(value string, variables bool) (matcher, error) {
		p, err := compilePattern(value, wildcards, variables)
		return textMatcher{p}, err
	}
}

func (m textMatcher) match(seen string, ctx *Context) outcome {
	return outcomeOf(m.pattern.match(seen, ctx))
}

// foldMatcher is StringEqualsIgnoreCase.
type foldMatcher struct{ pattern }

func compileFold(value string, variables bool) (matcher, error) {
	p, err := compilePattern(value, false, variables)
	return foldMatcher{p}, err
}

func (m foldMatcher) match(seen string, ctx *Context) outcome {
	want, ok := m.expand(ctx)
	return outcomeOf(ok && strings.EqualFold(want, seen))
}

// boolMatcher is Bool.
type boolMatcher struct{ foldMatcher }

func compileBool(value string, variables bool) (matcher, error) {
	p, err := compilePattern(value, false, variables)
	if err == nil && !p.hasVariables() && !isBool(value) {
		err = fmt.Errorf("want true or false, not %q", value)
	}
	return boolMatcher{foldMatcher{p}}, err
}

func (m boolMatcher) match(seen string, ctx *Context) outcome {
	if !isBool(seen) {
		return unsure
	}
	return m.foldMatcher.match(seen, ctx)
}

func isBool(s string) bool { return strings.EqualFold(s, "true") || strings.EqualFold(s, "false") }

// comparison is the operators of ordered types.
type comparison[T any] struct {
	want    T
	read    func(string) (T, error)
	compare func(a, b T) int
	holds   func(order int) bool // of the request's value to the policy's
}

func compileComparison[T any](read func(string) (T, error), compare func(a, b T) int, holds func(int) bool) compiler {
	return func(value string, _ bool) (matcher, error) {
		want, err := read(value)
		return comparison[T]{want, read, compare, holds}, err
	}
}

func (m comparison[T]) match(seen string, _ *Context) outcome {
	v, err := m.read(seen)
	if err != nil {
		return unsure
	}
	return outcomeOf(m.holds(m.compare(v, m.want)))
}

func isEqual(order int) bool          { return order == 0 }
func isLess(order int) bool           { return order < 0 }
func isLessOrEqual(order int) bool    { return order <= 0 }
func isGreater(order int) bool        { return order > 0 }
func isGreaterOrEqual(order int) bool { return order >= 0 }

func numeric(holds func(int) bool) compiler {
	return compileComparison(readNumber, decimal.compare, holds)
}

// decimal is a number and its text.
type decimal struct {
	float float64
	text  string
}

// readNumber reads an integer or decimal, but none of the other forms that Go takes for one (hexadecimal, Inf, NaN).
func readNumber(s string) (decimal, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || strings.Trim(s, "0123456789+-.eE") != "" {
		return decimal{}, fmt.Errorf("%q is not a number", s)
	}
	return decimal{n, s}, nil
}

// exactDigits is how many digits a float64 keeps apart.
const exactDigits = 15

// compare is exact also where numbers have more digits than a float64 and are rounded to the same one. Numbers with an exponent are left
// at that: written out they may have millions of digits.
func (a decimal) compare(b decimal) int {
	order := cmp.Compare(a.float, b.float)
	if order != 0 || max(len(a.text), len(b.text)) <= exactDigits || strings.ContainsAny(a.text+b.text, "eE") {
		return order
	}
	x, okX := new(big.Rat).SetString(a.text)
	y, okY := new(big.Rat).SetString(b.text)
	if !okX || !okY {
		return order
	}
	return x.Cmp(y)
}

func date(holds func(int) bool) compiler {
	return compileComparison(readDate, time.Time.Compare, holds)
}

// readDate reads a date in one of the forms of https://www.w3.org/TR/NOTE-datetime, or as seconds since 1970. Four digits are a year.
func readDate(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly, "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	if seconds, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(seconds, 0), nil
	}
	return time.Time{}, fmt.Errorf("%q is not a date: want 2006-01-02T15:04:05Z or seconds since 1970", s)
}

// network is IpAddress.
type network netip.Prefix

func compileNetwork(value string, _ bool) (matcher, error) {
	prefix, err := netip.ParsePrefix(value)
	if err != nil {
		addr, err := readAddr(value)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an IP address nor a CIDR block", value)
		}
		return network(netip.PrefixFrom(addr, addr.BitLen())), nil
	}
	if addr := prefix.Addr(); addr.Is4In6() {
		if prefix.Bits() < 96 {
			return nil, fmt.Errorf("CIDR block %q mixes IPv4 and IPv6", value)
		}
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	return network(prefix), nil
}

func (n network) match(seen string, _ *Context) outcome {
	addr, err := readAddr(seen)
	if err != nil {
		return unsure
	}
	return outcomeOf(netip.Prefix(n).Contains(addr))
}

// readAddr reads an IP address. An IPv4 address in IPv6 clothes is that IPv4 address, and a zone says nothing about the network:
// otherwise either would step around a Deny.
func readAddr(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	return addr.WithZone("").Unmap(), err
}

// arnMatcher is ArnLike, and ArnEquals, which is the same: each of the six parts of the ARN is matched by itself.
type arnMatcher []pattern

func compileARN(value string, variables bool) (matcher, error) {
	parts := splitARN(value, variables)
	if value == "*" {
		parts = strings.Split("*:*:*:*:*:*", ":")
	}
	m := make(arnMatcher, len(parts))
	for i, text := range parts {
		p, err := compilePattern(text, true, variables)
		if err != nil {
			return nil, err
		}
		m[i] = p
	}
	// A single part is right only where a variable stands for a whole ARN.
	if len(m) != 6 && !(len(m) == 1 && m[0].hasVariables()) {
		return nil, errors.New("want an ARN of six parts: arn:partition:service:region:account:resource")
	}
	return m, nil
}

func (m arnMatcher) match(seen string, ctx *Context) outcome {
	if strings.Count(seen, ":") < 5 {
		return unsure
	}
	for i := range m {
		part := seen
		if i < len(m)-1 {
			part, seen, _ = strings.Cut(seen, ":")
		}
		if !m[i].match(part, ctx) {
			return no
		}
	}
	return yes
}
