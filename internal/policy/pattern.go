package policy

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// pattern is compiled text that may hold wildcards and policy variables. What a variable stands for is compared literally: a tag
// whose value is "*" matches an asterisk and nothing else.
type pattern []part

type part struct {
	kind     partKind
	text     string  // literal: the text; variable: the condition key
	fallback *string // variable: its default value, nil if it has none
}

type partKind byte

const (
	literal  partKind = iota
	anyRun            // * any characters, also none
	anyOne            // ? one character
	variable          // ${key} or ${key, 'default'}
)

// compilePattern reads text. Wildcards and variables are plain characters where they are not switched on.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html.
func compilePattern(text string, wildcards, variables bool) (pattern, error) {
	var p pattern
	begin := 0 // of the literal text that is being gathered
	flush := func(end int) {
		if begin < end {
			p = append(p, part{kind: literal, text: text[begin:end]})
		}
	}
	for i := 0; i < len(text); {
		switch {
		case wildcards && text[i] == '*':
			flush(i)
			p = append(p, part{kind: anyRun})
			i++
			begin = i
		case wildcards && text[i] == '?':
			flush(i)
			p = append(p, part{kind: anyOne})
			i++
			begin = i
		case variables && strings.HasPrefix(text[i:], "${"):
			flush(i)
			inner, length, err := cutVariable(text[i:])
			if err != nil {
				return nil, err
			}
			v, err := compileVariable(inner)
			if err != nil {
				return nil, err
			}
			p = append(p, v)
			i += length
			begin = i
		default:
			i++
		}
	}
	flush(len(text))
	return p, nil
}

// cutVariable takes text that starts with "${" and returns what is in the braces, and how long the variable is with them.
// A brace within single quotes, where default values stand, does not close it.
func cutVariable(text string) (inner string, length int, err error) {
	quoted := false
	for i := 2; i < len(text); i++ {
		switch {
		case text[i] == '\'':
			quoted = !quoted
		case text[i] == '}' && !quoted:
			return text[2:i], i + 1, nil
		}
	}
	return "", 0, errors.New("a policy variable is not closed: want ${key} or ${key, 'default'}")
}

func compileVariable(inner string) (part, error) {
	if inner == "*" || inner == "?" || inner == "$" {
		return part{kind: literal, text: inner}, nil
	}
	key, fallback, hasDefault := strings.Cut(inner, ",")
	if key == "" || key != strings.TrimSpace(key) || strings.ContainsAny(key, "${'") {
		return part{}, errors.New("a policy variable must name a condition key: want ${key} or ${key, 'default'}")
	}
	v := part{kind: variable, text: key}
	if hasDefault {
		fallback = strings.TrimSpace(fallback)
		if len(fallback) < 2 || fallback[0] != '\'' || strings.IndexByte(fallback[1:], '\'') != len(fallback)-2 {
			return part{}, errors.New("the default value of a policy variable must stand in single quotes: want ${key, 'default'}")
		}
		fallback = fallback[1 : len(fallback)-1]
		v.fallback = &fallback
	}
	return v, nil
}

// hasVariables tells whether what the pattern matches depends on the request.
func (p pattern) hasVariables() bool {
	for _, part := range p {
		if part.kind == variable {
			return true
		}
	}
	return false
}

// resolved tells whether every variable of the pattern has a value in this request.
func (p pattern) resolved(ctx *Context) bool {
	for i := range p {
		if _, ok := p[i].resolve(ctx); !ok {
			return false
		}
	}
	return true
}

// resolve returns the text that a literal or a variable stands for. Only keys with a single value can be variables.
func (p *part) resolve(ctx *Context) (string, bool) {
	if p.kind != variable {
		return p.text, true
	}
	if e := ctx.find(p.text); e != nil && !e.multi {
		return e.one, true
	}
	if p.fallback != nil {
		return *p.fallback, true
	}
	return "", false
}

// expand returns the text of a pattern without wildcards; ok is false if a variable has no value.
func (p pattern) expand(ctx *Context) (s string, ok bool) {
	if len(p) == 1 {
		return p[0].resolve(ctx)
	}
	var b strings.Builder
	for i := range p {
		s, ok := p[i].resolve(ctx)
		if !ok {
			return "", false
		}
		b.WriteString(s)
	}
	return b.String(), true
}

// match tells whether the pattern matches all of s. A pattern with a variable that has no value matches nothing.
func (p pattern) match(s string, ctx *Context) bool { return p.glob(s, ctx, false) }

// matchFold is match without regard to the case of ASCII letters; the pattern itself must be in lower case.
func (p pattern) matchFold(s string) bool { return p.glob(s, nil, true) }

// glob matches by walking, which takes a fraction of a microsecond for all but patterns made to be slow. Those are swept.
func (p pattern) glob(s string, ctx *Context, fold bool) bool {
	matched, left := p.walk(s, ctx, fold, effort(len(p), len(s)))
	if left < 0 {
		return p.sweep(s, ctx, fold)
	}
	return matched
}

// effort is how many steps walking may take before sweeping is the better way.
func effort(pattern, text int) int { return 1024 + 2*(pattern+text) }

// walk walks pattern and text together. After a mismatch it goes back to the latest "*" only and lets that take one character
// more: an earlier one never needs to be tried again. It gives up, with less than nothing left, when it has taken so many steps.
func (p pattern) walk(s string, ctx *Context, fold bool, steps int) (matched bool, left int) {
	star, mark := -1, 0 // the latest "*", and where in s the text after it was last tried
	i, j := 0, 0
	for ; i < len(p) || j < len(s); steps-- {
		if steps < 0 {
			return false, steps
		}
		if i < len(p) {
			switch part := &p[i]; part.kind {
			case anyRun:
				if i == len(p)-1 {
					return true, steps
				}
				star, mark = i, j
				i++
				continue
			case anyOne:
				if j < len(s) {
					j += runeLength(s[j:])
					i++
					continue
				}
			default:
				text, ok := part.resolve(ctx)
				if !ok {
					return false, steps
				}
				if hasPrefix(s[j:], text, fold) {
					j += len(text)
					i++
					continue
				}
				steps -= len(text) / 16 // has been compared
			}
		}
		if star < 0 || mark >= len(s) {
			return false, steps
		}
		mark += runeLength(s[mark:])
		i, j = star+1, mark
	}
	return true, steps
}

func hasPrefix(s, prefix string, fold bool) bool {
	if fold {
		return hasPrefixFold(s, prefix)
	}
	return strings.HasPrefix(s, prefix)
}

func runeLength(s string) int {
	_, size := utf8.DecodeRuneInString(s)
	return size
}

func hasPrefixFold(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lowerByte(s[i]) != prefix[i] {
			return false
		}
	}
	return true
}

// lower puts ASCII letters in lower case and leaves all others alone.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		b[i] = lowerByte(c)
	}
	return string(b)
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// splitARN cuts an ARN pattern at its first five colons, as far as it has them. With variables, colons inside "${…}" do not count.
func splitARN(text string, variables bool) []string {
	var parts []string
	begin := 0
	for i := 0; i < len(text) && len(parts) < 5; {
		if variables && strings.HasPrefix(text[i:], "${") {
			if _, length, err := cutVariable(text[i:]); err == nil {
				i += length
				continue
			}
		}
		if text[i] == ':' {
			parts = append(parts, text[begin:i])
			begin = i + 1
		}
		i++
	}
	return append(parts, text[begin:])
}
