package test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/textproto"
	"strconv"
	"testing"
)

// tlsClient is as light a client as can be, so that servers are what is measured: HTTP/1.1 on one kept connection.
type tlsClient struct {
	conn   *tls.Conn
	reader *textproto.Reader
	buffer []byte
}

func dialTLS(b *testing.B, address string, config *tls.Config) *tlsClient {
	b.Helper()
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return &tlsClient{conn: conn, reader: textproto.NewReader(bufio.NewReaderSize(conn, 16<<10))}
}

// post sends a review and returns the answer, which is good until the next.
func (c *tlsClient) post(b *testing.B, body []byte) []byte {
	c.buffer = fmt.Appendf(c.buffer[:0], "POST /mutate?timeout=10s HTTP/1.1\r\nHost: hook\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
	c.buffer = append(c.buffer, body...)
	if _, err := c.conn.Write(c.buffer); err != nil {
		b.Error(err)
		return nil
	}
	status, err := c.reader.ReadLine()
	if err != nil || status != "HTTP/1.1 200 OK" {
		b.Errorf("got %q, %v", status, err)
		return nil
	}
	header, err := c.reader.ReadMIMEHeader()
	if err != nil {
		b.Error(err)
		return nil
	}
	n, err := strconv.Atoi(header.Get("Content-Length"))
	if err != nil {
		b.Errorf("no length: %v", header)
		return nil
	}
	if cap(c.buffer) < n {
		c.buffer = make([]byte, n)
	}
	c.buffer = c.buffer[:n]
	if _, err := io.ReadFull(c.reader.R, c.buffer); err != nil {
		b.Error(err)
		return nil
	}
	return c.buffer
}
