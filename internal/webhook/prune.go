package webhook

import (
	"bytes"
	"reflect"
	"strings"
)

// shape is what of a JSON value a Go type takes: the members of an object, or the same of each element of an array. The zero value
// takes all.
type shape struct {
	members  map[string]*shape
	initials uint32 // of the members, a bit for each letter
	each     *shape
}

// shapeOf derives the shape of a type that encoding/json decodes by its fields' tags.
func shapeOf(t reflect.Type) *shape {
	switch t.Kind() {
	case reflect.Pointer:
		return shapeOf(t.Elem())
	case reflect.Slice:
		return &shape{each: shapeOf(t.Elem())}
	case reflect.Struct:
		s := &shape{members: map[string]*shape{}}
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			s.members[name] = shapeOf(t.Field(i).Type)
			s.initials |= 1 << (name[0] | 0x20 - 'a')
		}
		return s
	}
	return &shape{}
}

// reviewShape is of what is read of an AdmissionReview.
var reviewShape = shapeOf(reflect.TypeFor[review]())

// prune appends to out what a shape takes of a JSON document. encoding/json reads everything twice, and of a pod little is needed: not
// its managed fields, probes and resources. The rest is only looked at for where it ends; that it is JSON is left to the API server,
// which has encoded it itself. It is false for whatever it does not see through, which encoding/json must judge then.
func prune(out, document []byte, s *shape) ([]byte, bool) {
	p := pruner{in: document, out: out}
	if !p.value(s) {
		return out, false
	}
	p.space()
	return p.out, p.at == len(p.in)
}

type pruner struct {
	in  []byte
	at  int // how far in is read
	out []byte
}

// value takes a value, as much of it as the shape wants.
func (p *pruner) value(s *shape) bool {
	switch c := p.next(); {
	case c == '{' && s.members != nil:
		return p.object(s)
	case c == '[' && s.each != nil:
		return p.array(s)
	}
	begin := p.at
	if !p.skip() {
		return false
	}
	p.out = append(p.out, p.in[begin:p.at]...)
	return true
}

func (p *pruner) object(s *shape) bool {
	p.at++
	p.out = append(p.out, '{')
	if p.next() == '}' {
		p.at++
		p.out = append(p.out, '}')
		return true
	}
	for first := true; ; {
		key, ok := p.key()
		if !ok {
			return false
		}
		member, ok := s.members[string(key)]
		switch {
		case !ok && s.folds(key): // encoding/json would take it
			return false
		case !ok:
			if !p.skip() {
				return false
			}
		default:
			if !first {
				p.out = append(p.out, ',')
			}
			first = false
			p.out = append(p.out, '"')
			p.out = append(p.out, key...)
			p.out = append(p.out, '"', ':')
			if !p.value(member) {
				return false
			}
		}
		if more, ok := p.more('}'); !ok || !more {
			return ok
		}
	}
}

// key reads a member's name and the colon.
func (p *pruner) key() (key []byte, ok bool) {
	if p.next() != '"' {
		return nil, false
	}
	begin := p.at + 1
	if !p.text() {
		return nil, false
	}
	key = p.in[begin : p.at-1]
	if p.next() != ':' || bytes.IndexByte(key, '\\') >= 0 {
		return nil, false
	}
	p.at++
	return key, true
}

// folds tells whether a name is a member's but for the case of its letters, or may be.
func (s *shape) folds(key []byte) bool {
	if len(key) == 0 {
		return false
	}
	if key[0] >= 0x80 { // there are letters outside of ASCII that fold to some inside
		return true
	}
	if letter := key[0] | 0x20; letter < 'a' || letter > 'z' || s.initials&(1<<(letter-'a')) == 0 {
		return false
	}
	for name := range s.members {
		if strings.EqualFold(name, string(key)) {
			return true
		}
	}
	return false
}

func (p *pruner) array(s *shape) bool {
	p.at++
	p.out = append(p.out, '[')
	if p.next() == ']' {
		p.at++
		p.out = append(p.out, ']')
		return true
	}
	for {
		if !p.value(s.each) {
			return false
		}
		more, ok := p.more(']')
		if !ok || !more {
			return ok
		}
		p.out = append(p.out, ',')
	}
}

// more reads a comma, or the end, which it writes.
func (p *pruner) more(end byte) (more, ok bool) {
	switch p.next() {
	case ',':
		p.at++
		return true, true
	case end:
		p.at++
		p.out = append(p.out, end)
		return false, true
	}
	return false, false
}

// next returns the next byte that is not space, without reading it; 0 at the end.
func (p *pruner) next() byte {
	p.space()
	if p.at == len(p.in) {
		return 0
	}
	return p.in[p.at]
}

func (p *pruner) space() {
	for p.at < len(p.in) {
		switch p.in[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// skip reads a value without a look at it but for where it ends.
func (p *pruner) skip() bool {
	depth := 0
	for begin := p.next(); p.at < len(p.in); {
		switch c := p.in[p.at]; c {
		case '"':
			if !p.text() {
				return false
			}
			if depth == 0 {
				return true
			}
		case '{', '[':
			depth++
			p.at++
		case '}', ']':
			depth--
			p.at++
			if depth <= 0 {
				return depth == 0
			}
		default:
			if depth == 0 {
				return p.word(begin)
			}
			p.at++
		}
	}
	return false
}

// word reads a number, true, false or null.
func (p *pruner) word(begin byte) bool {
	if begin != '-' && begin != 't' && begin != 'f' && begin != 'n' && (begin < '0' || begin > '9') {
		return false
	}
	for p.at < len(p.in) {
		switch p.in[p.at] {
		case ',', '}', ']', ' ', '\t', '\n', '\r':
			return true
		}
		p.at++
	}
	return true
}

// text reads a string, from its quote to behind the closing one.
func (p *pruner) text() bool {
	for at := p.at + 1; ; {
		i := bytes.IndexByte(p.in[at:], '"')
		if i < 0 {
			return false
		}
		end := at + i
		backslashes := 0
		for p.in[end-1-backslashes] == '\\' { // the opening quote ends this at the latest
			backslashes++
		}
		at = end + 1
		if backslashes%2 == 0 {
			p.at = at
			return true
		}
	}
}
