package policy

import "strings"

// outcome is what comparing a request with a part of a statement comes to.
type outcome byte

const (
	no outcome = iota
	yes
	unsure // the request's value is not of the operator's type, so there is no telling
)

func outcomeOf(b bool) outcome {
	if b {
		return yes
	}
	return no
}

// met tells whether the part counts as matched in a statement with that effect. Doubt keeps a Deny and never makes an Allow.
func (o outcome) met(effect Effect) bool { return o == yes || o == unsure && effect == Deny }

// condition is one key under one operator of a Condition block.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html.
type condition struct {
	operator string // as written, ForAnyValue:StringLikeIfExists
	key      string
	values   []string
	matchers []matcher // one for each value
	isNull   bool      // the Null operator, which has no matchers
	negated  bool      // …Not… operators: no value may match
	forAll   bool      // with ForAllValues
	every    bool      // of the request's values each must satisfy, not just one
	absent   outcome   // if the request does not have the key
}

// operatorPrefixes are the set operators, which say how the request's values are quantified.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html.
const (
	forAllValues = "ForAllValues:"
	forAnyValue  = "ForAnyValue:"
)

// newCondition takes an operator's name apart; ok is false if there is no such operator.
//
// A multivalued key without a set operator is an error to AWS's linter but not to IAM. It is read so that negation stays negation:
// StringEquals is satisfied by one equal value, StringNotEquals only if none is equal.
func newCondition(name string) (c *condition, compile compiler, ok bool) {
	base, all := strings.CutPrefix(name, forAllValues)
	base, some := strings.CutPrefix(base, forAnyValue)
	base, ifExists := strings.CutSuffix(base, "IfExists")
	if base == "Null" && !all && !some && !ifExists {
		return &condition{operator: name, isNull: true}, nil, true
	}
	op, ok := operators[base]
	if !ok || all && some {
		return nil, nil, false
	}
	c = &condition{operator: name, negated: op.negated, forAll: all, every: all || op.negated && !some}
	c.absent = outcomeOf(ifExists || c.every)
	return c, op.compile, true
}

// evaluate compares the request's values of the key with those of the policy. To Null and to ForAllValues a key that has an empty
// value is as good as absent: that is how Null guards against what ForAllValues lets pass.
func (c *condition) evaluate(ctx *Context) outcome {
	e := ctx.find(c.key)
	switch {
	case c.isNull:
		for _, v := range c.values {
			if (v == "true") == (e == nil || e.empty()) {
				return yes
			}
		}
		return no
	case e == nil:
		return c.absent
	case c.forAll && e.empty():
		return yes
	case !e.multi:
		return c.compare(e.one, ctx)
	}
	result := outcomeOf(c.every)
	for _, seen := range e.many {
		switch o := c.compare(seen, ctx); {
		case o == unsure:
			result = unsure
		case (o == yes) != c.every: // one is enough to decide
			return o
		}
	}
	return result
}

// namesPrincipal tells whether the condition says which principals the statement is for.
func (c *condition) namesPrincipal() bool {
	return !c.negated && !c.isNull && sameKey(c.key, "aws:PrincipalArn")
}

// compare judges one value of the request: with a positive operator one of the policy's values must match it, with a negated
// one none may.
func (c *condition) compare(seen string, ctx *Context) outcome {
	result := no
	for _, m := range c.matchers {
		switch m.match(seen, ctx) {
		case yes:
			return outcomeOf(!c.negated)
		case unsure:
			result = unsure
		}
	}
	if result == unsure {
		return unsure
	}
	return outcomeOf(c.negated)
}
