package policy

import "unicode/utf8"

// symbols is a pattern taken apart for [pattern.sweep]: characters, each of which takes one of the text, and where a "*" stands.
type symbols struct {
	chars []rune // anyChar for a "?"
	stars bitset // bit k: a "*" before character k, or after the last one
	any   bitset // bit k: character k is a "?"
	at    map[rune][]int
	words int // of each set
}

const anyChar rune = -1

// symbols takes the pattern apart; ok is false if a variable has no value, or there are more characters than most.
func (p pattern) symbols(ctx *Context, most int) (out *symbols, ok bool) {
	out = &symbols{at: map[rune][]int{}}
	var stars []int
	for i := range p {
		switch p[i].kind {
		case anyRun:
			stars = append(stars, len(out.chars))
		case anyOne:
			if len(out.chars) == most {
				return nil, false
			}
			out.chars = append(out.chars, anyChar)
		default:
			text, ok := p[i].resolve(ctx)
			if !ok || len(out.chars)+utf8.RuneCountInString(text) > most {
				return nil, false
			}
			for len(text) > 0 {
				c, size := cutChar(text)
				out.at[c] = append(out.at[c], len(out.chars))
				out.chars, text = append(out.chars, c), text[size:]
			}
		}
	}
	out.words = len(out.chars)/64 + 1
	out.stars, out.any = make(bitset, out.words), make(bitset, out.words)
	for _, k := range stars {
		out.stars.add(k)
	}
	for k, c := range out.chars {
		if c == anyChar {
			out.any.add(k)
		}
	}
	return out, true
}

// cutChar returns the first character of a text. A byte that is not part of one stands for itself, outside of Unicode.
func cutChar(text string) (c rune, size int) {
	c, size = utf8.DecodeRuneInString(text)
	if c == utf8.RuneError && size == 1 {
		c = utf8.MaxRune + 1 + rune(text[0])
	}
	return c, size
}

// bitset is a set of small numbers.
type bitset []uint64

func (b bitset) add(k int)      { b[k/64] |= 1 << (k % 64) }
func (b bitset) has(k int) bool { return b[k/64]&(1<<(k%64)) != 0 }

// sweep answers as [pattern.walk] does, in a time that no pattern can make long: for each character of the text it takes one step
// for every 64 of the pattern. It keeps the set of all places that the pattern may have come to, and moves all of them at once.
func (p pattern) sweep(s string, ctx *Context, fold bool) bool {
	q, ok := p.symbols(ctx, len(s)) // more than the text has cannot match
	if !ok {
		return false
	}
	// Sets for the characters that are frequent in the pattern, of which there are no more than 64; places for the others.
	frequent := map[rune]bitset{}
	for c, places := range q.at {
		if len(places) > q.words {
			set := make(bitset, q.words)
			copy(set, q.any)
			for _, k := range places {
				set.add(k)
			}
			frequent[c] = set
		}
	}
	now, next := make(bitset, q.words), make(bitset, q.words)
	now.add(0)
	for len(s) > 0 {
		c, size := cutChar(s)
		s = s[size:]
		if fold && c < 0x80 {
			c = rune(lowerByte(byte(c)))
		}
		takes, isFrequent := frequent[c]
		if !isFrequent {
			takes = q.any
		}
		carry, some := uint64(0), uint64(0)
		for w, places := range now {
			moved := places & takes[w]
			next[w] = moved<<1 | carry | places&q.stars[w]
			carry = moved >> 63
			some |= next[w]
		}
		if !isFrequent {
			for _, k := range q.at[c] {
				if now.has(k) {
					next.add(k + 1)
					some = 1
				}
			}
		}
		if some == 0 {
			return false
		}
		now, next = next, now
	}
	return now.has(len(q.chars))
}
