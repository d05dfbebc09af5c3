package sigv4

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// canonical builds canonical requests. It is reused, because one is built for every request that arrives.
type canonical struct {
	buf    []byte
	query  []byte  // the parameters, encoded, one after another
	params []param // where they lie in query
}

// param is a query parameter: name and value as half-open ranges of canonical.query.
type param struct{ name, value, end int }

var canonicals = sync.Pool{New: func() any { return &canonical{buf: make([]byte, 0, 2048)} }}

// release puts c back, unless a huge request has made it huge.
func (c *canonical) release() {
	if cap(c.buf)+cap(c.query) <= 64<<10 {
		canonicals.Put(c)
	}
}

// request builds the canonical form of a request in c.buf. It returns false where the path or query is malformed.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html#create-canonical-request.
//
// Path and query are taken as they came over the wire. The decoded ones would let two requests share a signature: a%2Fb and a/b.
func (c *canonical) request(r *http.Request, s *Signature, payloadHash string) bool {
	c.buf = append(append(c.buf[:0], r.Method...), '\n')
	path := r.URL.EscapedPath()
	if s.Service == serviceS3 {
		var ok bool
		if c.buf, ok = appendEncoded(c.buf, path, true); !ok {
			return false
		}
		if path == "" {
			c.buf = append(c.buf, '/')
		}
	} else {
		c.buf = appendNormalized(c.buf, path)
	}
	c.buf = append(c.buf, '\n')
	if !c.appendQuery(r.URL.RawQuery, s.Presigned) {
		return false
	}
	c.buf = append(c.buf, '\n')
	for _, name := range s.SignedHeaders {
		c.appendHeader(r, name)
	}
	c.buf = append(c.buf, '\n')
	for i, name := range s.SignedHeaders {
		if i > 0 {
			c.buf = append(c.buf, ';')
		}
		c.buf = append(c.buf, name...)
	}
	c.buf = append(append(c.buf, '\n'), payloadHash...)
	return true
}

// appendNormalized appends a path as all services but S3 want it: without empty, "." and ".." segments, and encoded once more
// on top of the encoding it came with.
func appendNormalized(buf []byte, path string) []byte {
	start := len(buf)
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			buf = buf[:max(start, start+bytes.LastIndexByte(buf[start:], '/'))]
		default:
			buf = append(buf, '/')
			for i := range len(segment) {
				buf = appendByte(buf, segment[i])
			}
		}
	}
	if len(buf) == start || strings.HasSuffix(path, "/") {
		buf = append(buf, '/')
	}
	return buf
}

// appendQuery appends the parameters, encoded and then sorted, without the signature itself in a presigned URL. A plus is a
// plus: clients encode a space as %20, and the services of AWS do not read it as one when they verify.
func (c *canonical) appendQuery(query string, presigned bool) bool {
	c.query, c.params = c.query[:0], c.params[:0]
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		p := param{name: len(c.query)}
		var nameOK, valueOK bool
		c.query, nameOK = appendEncoded(c.query, rawName, false)
		p.value = len(c.query)
		c.query, valueOK = appendEncoded(c.query, rawValue, false)
		p.end = len(c.query)
		if !nameOK || !valueOK {
			return false
		}
		if presigned && string(c.query[p.name:p.value]) == "X-Amz-Signature" {
			continue
		}
		c.params = append(c.params, p)
	}
	slices.SortFunc(c.params, func(a, b param) int {
		if order := bytes.Compare(c.query[a.name:a.value], c.query[b.name:b.value]); order != 0 {
			return order
		}
		return bytes.Compare(c.query[a.value:a.end], c.query[b.value:b.end])
	})
	for i, p := range c.params {
		if i > 0 {
			c.buf = append(c.buf, '&')
		}
		c.buf = append(append(c.buf, c.query[p.name:p.value]...), '=')
		c.buf = append(c.buf, c.query[p.value:p.end]...)
	}
	return true
}

// appendHeader appends a line for a signed header: all its values, trimmed, runs of spaces made one, joined by commas. Headers
// that net/http takes out of the map are put together again.
func (c *canonical) appendHeader(r *http.Request, name string) {
	c.buf = append(append(c.buf, name...), ':')
	values := r.Header.Values(name)
	switch {
	case name == "host":
		c.buf = append(c.buf, r.Host...)
		values = nil
	case name == "transfer-encoding":
		values = r.TransferEncoding
	case name == "content-length" && len(values) == 0 && r.ContentLength >= 0:
		c.buf = strconv.AppendInt(c.buf, r.ContentLength, 10)
	}
	for i, value := range values {
		if i > 0 {
			c.buf = append(c.buf, ',')
		}
		value = strings.Trim(value, " \t")
		for more := true; more; {
			var run string
			run, value, more = strings.Cut(value, "  ")
			c.buf = append(c.buf, run...)
			if more {
				c.buf = append(c.buf, ' ')
				value = strings.TrimLeft(value, " ")
			}
		}
	}
	c.buf = append(c.buf, '\n')
}

// appendEncoded appends s with its percent-encoding redone: all but the unreserved characters encoded, in upper case. Slashes
// are kept in a path, and an encoded slash stays encoded. It returns false if the encoding of s is malformed.
func appendEncoded(buf []byte, s string, path bool) ([]byte, bool) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return buf, false
			}
			buf = appendByte(buf, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		case c == '/' && path:
			buf = append(buf, c)
		default:
			buf = appendByte(buf, c)
		}
	}
	return buf, true
}

func appendByte(buf []byte, c byte) []byte {
	if unreserved[c] {
		return append(buf, c)
	}
	const digits = "0123456789ABCDEF"
	return append(buf, '%', digits[c>>4], digits[c&15])
}

// unreserved are the characters that are never percent-encoded (RFC 3986, section 2.3).
var unreserved = func() (table [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
		table[c] = true
	}
	return table
}()

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&15 + 9
}
