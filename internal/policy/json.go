package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Policies nest no deeper than document, statement list, statement, condition block, operator, value list.
const maxDepth = 8

const whiteSpace = " \t\r\n"

// node is a JSON value that remembers where in the text it stands.
type node struct {
	kind       nodeKind
	text       string // of a string, number or boolean
	start, end int    // byte offsets of its first byte and of the byte after its last
	members    []member
	items      []*node
}

type member struct {
	name  string
	start int
	value *node
}

type nodeKind string

const (
	object  nodeKind = "an object"
	list    nodeKind = "a list"
	text    nodeKind = "a string"
	number  nodeKind = "a number"
	boolean nodeKind = "true or false"
	null    nodeKind = "null"
)

// member returns the value of a member of an object, nil if the object has none of that name.
func (n *node) member(name string) *node {
	for _, m := range n.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// Position is a place in a policy document. Lines and columns count from 1, columns in characters.
type Position struct{ Line, Column int }

// source is a document's text. It finds the positions of byte offsets; asked in ascending order, it reads the text only once.
type source struct {
	text   string
	offset int
	at     Position // of offset
}

func newSource(text string) *source { return &source{text: text, at: Position{1, 1}} }

func (s *source) position(offset int) Position {
	if offset < s.offset {
		s.offset, s.at = 0, Position{1, 1}
	}
	for s.offset < offset {
		r, size := utf8.DecodeRuneInString(s.text[s.offset:])
		s.offset += size
		s.at.Column++
		if r == '\n' {
			s.at = Position{s.at.Line + 1, 1}
		}
	}
	return s.at
}

// decoder builds the tree of a JSON document. encoding/json does the lexing; what it lacks is added here: positions, and an error for
// a member that an object has twice, of which each reader of a policy may otherwise see another.
type decoder struct {
	*source
	tokens *json.Decoder
}

// decode reads one JSON value and requires that nothing but white space follows it.
func decode(s *source) (*node, error) {
	d := &decoder{source: s, tokens: json.NewDecoder(strings.NewReader(s.text))}
	d.tokens.UseNumber()
	n, err := d.value(0)
	if err != nil {
		return nil, err
	}
	if rest := strings.TrimLeft(s.text[n.end:], whiteSpace); rest != "" {
		return nil, s.fail(len(s.text)-len(rest), errSyntax, "something follows the end of the document")
	}
	return n, nil
}

// next is where the next token begins.
func (d *decoder) next() int {
	offset := int(d.tokens.InputOffset())
	return offset + len(d.text[offset:]) - len(strings.TrimLeft(d.text[offset:], whiteSpace+",:"))
}

func (d *decoder) value(depth int) (*node, error) {
	n := &node{start: d.next()}
	token, err := d.tokens.Token()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, d.fail(len(d.text), errSyntax, "the document ends too early")
	case err != nil:
		return nil, d.fail(n.start, errSyntax, "%s", err)
	case depth > maxDepth:
		return nil, d.fail(n.start, errSyntax, "the document is nested too deeply")
	}
	switch token := token.(type) {
	case json.Delim:
		n.kind = list
		if token == '{' {
			n.kind = object
		}
		err = d.children(n, depth)
	case string:
		n.kind, n.text = text, token
	case json.Number:
		n.kind, n.text = number, token.String()
	case bool:
		n.kind, n.text = boolean, fmt.Sprint(token)
	case nil:
		n.kind = null
	}
	n.end = int(d.tokens.InputOffset())
	return n, err
}

// children reads what is inside an object or a list, its closing bracket included.
func (d *decoder) children(n *node, depth int) error {
	seen := map[string]bool{}
	for d.tokens.More() {
		child, err := d.value(depth + 1)
		if err != nil {
			return err
		}
		if n.kind == list {
			n.items = append(n.items, child)
			continue
		}
		if seen[child.text] {
			return d.fail(child.start, errSyntax, "%q is there twice", child.text)
		}
		seen[child.text] = true
		m := member{name: child.text, start: child.start}
		if m.value, err = d.value(depth + 1); err != nil {
			return err
		}
		n.members = append(n.members, m)
	}
	closing := d.next()
	if _, err := d.tokens.Token(); err != nil {
		return d.fail(closing, errSyntax, "%s is not closed", n.kind)
	}
	return nil
}

// expect checks that a value is of one of some kinds.
func (s *source) expect(n *node, what string, kinds ...nodeKind) error {
	if slices.Contains(kinds, n.kind) {
		return nil
	}
	want := make([]string, len(kinds))
	for i, k := range kinds {
		want[i] = string(k)
	}
	return s.fail(n.start, errSyntax, "%s must be %s, not %s", what, strings.Join(want, " or "), n.kind)
}
