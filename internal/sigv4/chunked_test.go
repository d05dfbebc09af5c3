package sigv4

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

type chunkedResult struct {
	data    string
	trailer http.Header
	err     error
}

// readChunked reads body as that of the request r.
func readChunked(t testing.TB, r *http.Request, s *Signature, key Key, body string) chunkedResult {
	t.Helper()
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(iotest.HalfReader(strings.NewReader(body)))
	c, err := NewChunkedReader(r, s, key)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(c)
	return chunkedResult{string(data), c.Trailer(), err}
}
