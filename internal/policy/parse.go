package policy

import (
	"fmt"
	"slices"
	"strings"
)

// MaxLength is the greatest length of a policy document in characters, white space included.
const MaxLength = 131072

// Kind says what a document is for. It decides which elements the document may have, and in a [Decision] which kind of policy decided.
type Kind int

// The kinds. Identity, Boundary and Session policies are written alike.
const (
	Identity Kind = iota // attached to a user or role, inline or managed
	Boundary             // a permissions boundary
	Session              // passed when a role is assumed
	Resource             // attached to a resource, such as a bucket
	Trust                // a role's trust policy
)

// The sentences IAM says about malformed documents. A [SyntaxError] has one of them as its Message.
const (
	errSyntax      = "Syntax errors in policy."
	errVersion     = "Policy document must be version 2012-10-17 or greater."
	errNoActions   = "Policy statement must contain actions."
	errNoResources = "Policy statement must contain resources."
	errNoPrincipal = "Missing required field Principal"
	errVendor      = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
	errOneColon    = "Actions/Condition can contain only one colon."
	errSids        = "Statement IDs (SID) in a single policy must be unique."
	errPrincipal   = "Policy document should not specify a principal."
	errLegacy      = "The policy failed legacy parsing"
	errTrustAction = "AssumeRole policy may only specify STS AssumeRole actions."
)

// SyntaxError says where and why a policy document was refused.
type SyntaxError struct {
	Line, Column int    // from 1; columns count characters
	Message      string // what IAM says, "Syntax errors in policy."
	Reason       string // what exactly is wrong, quoting the document
}

// Error gives IAM's sentence first, which clients look for, and then what they can act on.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s (line %d, column %d: %s)", e.Message, e.Line, e.Column, e.Reason)
}

func (s *source) fail(offset int, message, format string, args ...any) error {
	at := s.position(offset)
	return &SyntaxError{Line: at.Line, Column: at.Column, Message: message, Reason: fmt.Sprintf(format, args...)}
}

// Policy is a compiled policy document. It is immutable, and many may use it at once.
type Policy struct {
	kind       Kind
	statements []*statement
}

// parser compiles one document.
type parser struct {
	*source
	kind      Kind
	variables bool // of the document's version; the old one takes ${…} literally
	sids      map[string]bool
}

// Parse reads and compiles a policy document. It refuses whatever it does not understand: unknown or repeated elements, operators
// that do not exist, values of the wrong type, elements that this kind of document may not have. Errors are [*SyntaxError].
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html.
func Parse(kind Kind, text string) (*Policy, error) {
	p := &parser{source: newSource(text), kind: kind, sids: map[string]bool{}}
	characters := 0
	for i, r := range text {
		// The characters IAM takes. An invalid byte shows up as U+FFFD, which is not among them.
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r > 0xff {
			return nil, p.fail(i, errSyntax, "character %U is not allowed", r)
		}
		if characters++; characters > MaxLength {
			return nil, p.fail(i, errSyntax, "the document is longer than %d characters", MaxLength)
		}
	}
	root, err := decode(p.source)
	if err != nil {
		return nil, err
	}
	return p.document(root)
}

func (p *parser) document(n *node) (*Policy, error) {
	if err := p.elements(n, "the document", "Version", "Id", "Statement"); err != nil {
		return nil, err
	}
	if v := n.member("Version"); v != nil {
		if v.kind != text || v.text != "2012-10-17" && v.text != "2008-10-17" {
			return nil, p.fail(v.start, errVersion, `Version is neither "2012-10-17" nor "2008-10-17"`)
		}
		p.variables = v.text == "2012-10-17"
	}
	if id := n.member("Id"); id != nil {
		if err := p.expect(id, "Id", text); err != nil {
			return nil, err
		}
	}
	statements := n.member("Statement")
	if statements == nil {
		return nil, p.fail(n.start, errSyntax, "the document has no Statement")
	}
	if err := p.expect(statements, "Statement", object, list); err != nil {
		return nil, err
	}
	items := statements.items
	if statements.kind == object {
		items = []*node{statements}
	}
	if len(items) == 0 {
		return nil, p.fail(statements.start, errSyntax, "Statement is empty")
	}
	policy := &Policy{kind: p.kind}
	for i, item := range items {
		s, err := p.statement(item, i+1)
		if err != nil {
			return nil, err
		}
		policy.statements = append(policy.statements, s)
	}
	return policy, nil
}

// elements checks that a value is an object with no other members than these.
func (p *parser) elements(n *node, what string, names ...string) error {
	if err := p.expect(n, what, object); err != nil {
		return err
	}
	for _, m := range n.members {
		if !slices.Contains(names, m.name) {
			return p.fail(m.start, errSyntax, "%s has an unknown element %q; it may have %s", what, m.name, strings.Join(names, ", "))
		}
	}
	return nil
}

func (p *parser) statement(n *node, number int) (*statement, error) {
	err := p.elements(n, "a statement",
		"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition")
	if err != nil {
		return nil, err
	}
	s := &statement{trust: p.kind == Trust}
	s.Number, s.Start = number, p.position(n.start)
	for _, read := range []func(*node, *statement) error{p.sid, p.effect, p.principal, p.action, p.resource, p.conditions} {
		if err := read(n, s); err != nil {
			return nil, err
		}
	}
	s.End = p.position(n.end - 1)
	return s, nil
}

func (p *parser) sid(n *node, s *statement) error {
	sid := n.member("Sid")
	if sid == nil {
		return nil
	}
	if err := p.expect(sid, "Sid", text); err != nil {
		return err
	}
	notAlphanumeric := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}
	if p.kind != Resource && strings.ContainsFunc(sid.text, notAlphanumeric) {
		return p.fail(sid.start, errSyntax, "Sid %q has other characters than A-Z, a-z and 0-9", sid.text)
	}
	if sid.text != "" && p.sids[sid.text] {
		return p.fail(sid.start, errSids, "Sid %q is there twice", sid.text)
	}
	p.sids[sid.text] = true
	s.Sid = sid.text
	return nil
}

func (p *parser) effect(n *node, s *statement) error {
	effect := n.member("Effect")
	switch {
	case effect == nil:
		return p.fail(n.start, errSyntax, "the statement has no Effect")
	case effect.kind == text && effect.text == "Allow":
		s.effect = Allow
	case effect.kind == text && effect.text == "Deny":
		s.effect = Deny
	default:
		return p.fail(effect.start, errSyntax, `Effect is neither "Allow" nor "Deny"`)
	}
	return nil
}

// either returns the element of that name, or the one with Not before its name, and nil if the statement has neither.
func (p *parser) either(n *node, name string) (element *node, not bool, err error) {
	element, inverse := n.member(name), n.member("Not"+name)
	switch {
	case element != nil && inverse != nil:
		return nil, false, p.fail(n.start, errSyntax, "the statement has both %s and Not%s", name, name)
	case inverse != nil:
		return inverse, true, nil
	}
	return element, false, nil
}

// oneOrMore returns the values of an element that may be a single value or a list.
func (p *parser) oneOrMore(n *node, what string, kinds ...nodeKind) ([]*node, error) {
	if err := p.expect(n, what, append(kinds, list)...); err != nil {
		return nil, err
	}
	if n.kind != list {
		return []*node{n}, nil
	}
	for _, item := range n.items {
		if err := p.expect(item, "a value of "+what, kinds...); err != nil {
			return nil, err
		}
	}
	return n.items, nil
}
