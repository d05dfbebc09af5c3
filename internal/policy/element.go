package policy

import (
	"slices"
	"strings"
)

// principal reads Principal or NotPrincipal.
func (p *parser) principal(n *node, s *statement) error {
	element, not, err := p.either(n, "Principal")
	if err != nil {
		return err
	}
	switch {
	case p.kind != Resource && p.kind != Trust:
		if element != nil {
			return p.fail(element.start, errPrincipal, "only policies of resources and trust policies have principals")
		}
		return nil
	case element == nil:
		return p.fail(n.start, errNoPrincipal, "the statement does not say who it is for")
	case not && p.kind == Trust:
		return p.fail(element.start, "Has prohibited field NotPrincipal", "a trust policy must say who may assume the role")
	}
	s.principals = &principals{not: not}
	if element.kind == text && element.text == "*" {
		s.principals.add("AWS", "*", s.trust)
		return nil
	}
	if err := p.elements(element, "Principal", "AWS", "Service", "Federated", "CanonicalUser"); err != nil {
		return err
	}
	for _, m := range element.members {
		values, err := p.oneOrMore(m.value, m.name, text)
		if err != nil {
			return err
		}
		for _, v := range values {
			if !s.principals.add(m.name, v.text, s.trust) {
				return p.fail(v.start, `Invalid principal in policy: "`+m.name+`":"`+v.text+`"`, "want an account, user, role, "+
					`role session, service or identity provider by its full name, or {"AWS":"*"}`)
			}
		}
	}
	return nil
}

// action reads Action or NotAction.
func (p *parser) action(n *node, s *statement) error {
	element, not, err := p.either(n, "Action")
	if err != nil {
		return err
	}
	if element == nil {
		return p.fail(n.start, errNoActions, "the statement has neither Action nor NotAction")
	}
	values, err := p.oneOrMore(element, "Action", text)
	if err != nil {
		return err
	}
	if len(values) == 0 {
		return p.fail(element.start, errNoActions, "the list of actions is empty")
	}
	s.actions.not = not
	for _, v := range values {
		if err := p.checkAction(v); err != nil {
			return err
		}
		compiled, _ := compilePattern(lower(v.text), true, false)
		s.actions.add(v.text, compiled)
	}
	return nil
}

func (p *parser) checkAction(v *node) error {
	if v.text == "*" {
		return nil
	}
	vendor, name, _ := strings.Cut(v.text, ":")
	switch {
	case name == "":
		return p.fail(v.start, errVendor, "action %q does not have the form service:Action", v.text)
	case strings.Contains(name, ":"):
		return p.fail(v.start, errOneColon, "action %q does not have the form service:Action", v.text)
	case vendor == "" || strings.ContainsFunc(vendor, notInVendor):
		return p.fail(v.start, "Vendor "+vendor+" is not valid", "in action %q", v.text)
	case p.kind == Trust && lower(vendor) != "sts":
		return p.fail(v.start, errTrustAction, "action %q is not one of STS", v.text)
	}
	return nil
}

func notInVendor(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune("-.*?", r)
}

// resource reads Resource or NotResource.
func (p *parser) resource(n *node, s *statement) error {
	element, not, err := p.either(n, "Resource")
	if err != nil {
		return err
	}
	switch {
	case p.kind == Trust && element != nil:
		return p.fail(element.start, "Has prohibited field Resource", "a trust policy is about the role it belongs to")
	case p.kind == Trust:
		return nil
	case element == nil:
		return p.fail(n.start, errNoResources, "the statement has neither Resource nor NotResource")
	}
	values, err := p.oneOrMore(element, "Resource", text)
	if err != nil {
		return err
	}
	if len(values) == 0 {
		return p.fail(element.start, errNoResources, "the list of resources is empty")
	}
	s.resources.not = not
	for _, v := range values {
		if err := p.checkResource(v); err != nil {
			return err
		}
		compiled, err := compilePattern(v.text, true, p.variables)
		if err != nil {
			return p.fail(v.start, errSyntax, "resource %q: %s", v.text, err)
		}
		s.resources.add(v.text, compiled)
	}
	return nil
}

func (p *parser) checkResource(v *node) error {
	if v.text == "*" {
		return nil
	}
	parts := splitARN(v.text, p.variables)
	if parts[0] != "arn" || len(parts) == 1 {
		return p.fail(v.start, "Resource "+v.text+` must be in ARN format or "*".`, "want arn:partition:service:region:account:resource")
	}
	// A closing "*" also stands for the parts after it: arn:aws:lambda:*.
	if len(parts) < 6 && (len(parts) < 4 || !strings.HasSuffix(v.text, "*")) {
		return p.fail(v.start, errLegacy, "resource %q has fewer than the six parts of an ARN", v.text)
	}
	if parts[1] == "" || parts[2] == "" || strings.ContainsAny(parts[2], "*?") {
		return p.fail(v.start, errLegacy, "resource %q must name a partition, and a service without wildcards", v.text)
	}
	// Taken literally, a variable here would match nothing, and a Deny would quietly do nothing.
	if p.variables && strings.Contains(strings.Join(parts[:min(len(parts), 5)], ""), "${") {
		return p.fail(v.start, errSyntax, "resource %q has a policy variable before the fifth colon", v.text)
	}
	return nil
}

// conditions reads Condition.
func (p *parser) conditions(n *node, s *statement) error {
	block := n.member("Condition")
	if block == nil {
		return nil
	}
	if err := p.expect(block, "Condition", object); err != nil {
		return err
	}
	for _, operator := range block.members {
		if err := p.expect(operator.value, operator.name, object); err != nil {
			return err
		}
		if _, _, ok := newCondition(operator.name); !ok {
			return p.fail(operator.start, errSyntax, "there is no condition operator %q", operator.name)
		}
		first := len(s.conditions)
		for _, key := range operator.value.members {
			c, err := p.condition(operator.name, key)
			if err != nil {
				return err
			}
			same := func(other *condition) bool { return sameKey(other.key, c.key) }
			if slices.ContainsFunc(s.conditions[first:], same) {
				return p.fail(key.start, errSyntax, "condition key %q is there twice, in different case", key.name)
			}
			s.conditions = append(s.conditions, c)
		}
	}
	return nil
}

func (p *parser) condition(operator string, key member) (*condition, error) {
	c, compile, _ := newCondition(operator)
	if vendor, rest, _ := strings.Cut(key.name, ":"); vendor == "" || rest == "" || strings.HasSuffix(rest, "/") {
		return nil, p.fail(key.start, errVendor, "condition key %q does not have the form service:key", key.name)
	}
	c.key = key.name
	values, err := p.oneOrMore(key.value, key.name, text, number, boolean)
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		c.values = append(c.values, v.text)
		if c.isNull {
			if v.text != "true" && v.text != "false" {
				return nil, p.fail(v.start, errSyntax, "Null %s: want true or false, not %q", key.name, v.text)
			}
			continue
		}
		m, err := compile(v.text, p.variables)
		if err != nil {
			return nil, p.fail(v.start, errSyntax, "%s %s: %s", operator, key.name, err)
		}
		c.matchers = append(c.matchers, m)
	}
	return c, nil
}
