package sigv4

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxLine is the longest line of chunk header or trailer; those of AWS's clients have about a hundred bytes.
const maxLine = 1024

// ChunkedReader decodes the aws-chunked body of an S3 upload and proves it while it is read. It is not safe for concurrent use.
// See https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and …/sigv4-streaming-trailers.html.
type ChunkedReader struct {
	body    *bufio.Reader
	closer  io.Closer
	signer  *chunkSigner // nil where chunks are not signed
	trailer *trailer     // nil where the body has none
	size    int64
	left    int64 // decoded bytes still to be read
	chunk   int64 // of which in the chunk at hand
	err     error // what ended reading
}

// NewChunkedReader reads the body of a request whose [Signature.PayloadHash] is one of the STREAMING constants and whose
// signature has been verified with key. It returns [*IncompleteError] for any other request, and where the headers that such a
// request needs (x-amz-decoded-content-length, and x-amz-trailer) are missing, malformed or name a checksum that is not known.
func NewChunkedReader(r *http.Request, s *Signature, key Key) (*ChunkedReader, error) {
	c := &ChunkedReader{body: bufio.NewReaderSize(r.Body, maxLine), closer: r.Body}
	if s.PayloadHash == StreamingPayload || s.PayloadHash == StreamingPayloadTrailer {
		c.signer = newChunkSigner(s, key)
	}
	switch s.PayloadHash {
	case StreamingPayload:
	case StreamingPayloadTrailer, StreamingUnsignedTrailer:
		var err error
		if c.trailer, err = newTrailer(r.Header); err != nil {
			return nil, err
		}
	default:
		return nil, incomplete("x-amz-content-sha256 does not name an aws-chunked body.")
	}
	length, err := single(r.Header, "X-Amz-Decoded-Content-Length")
	if err != nil {
		return nil, err
	}
	size, err := strconv.ParseUint(length, 10, 63)
	if err != nil {
		return nil, incomplete("An aws-chunked body needs its length in x-amz-decoded-content-length.")
	}
	c.size, c.left = int64(size), int64(size)
	return c, nil
}

// Size is the length of the decoded body, x-amz-decoded-content-length.
func (c *ChunkedReader) Size() int64 { return c.size }

// Trailer returns the trailing headers (x-amz-checksum-…). They are known, and proved, once Read has returned the last byte.
func (c *ChunkedReader) Trailer() http.Header {
	if c.trailer == nil {
		return nil
	}
	return c.trailer.header
}

// Read reads decoded bytes. The last of them are handed out only after everything has been proved: the signatures of all chunks
// and of the trailer, the checksums, the length. If something is wrong Read returns an error that wraps [ErrMismatch],
// [ErrDigest] or [ErrFraming], and has then returned fewer than Size bytes: who reads just as many cannot miss it.
func (c *ChunkedReader) Read(p []byte) (int, error) {
	if c.err != nil || len(p) == 0 {
		return 0, c.err
	}
	var n int
	if c.left > 0 {
		n, c.err = c.read(p)
	}
	if c.err == nil && c.left == 0 {
		if c.err = c.finish(); c.err == nil {
			c.err = io.EOF
			if n > 0 {
				return n, nil
			}
			return 0, io.EOF
		}
	}
	if errors.Is(c.err, io.EOF) || errors.Is(c.err, io.ErrUnexpectedEOF) {
		c.err = fmt.Errorf("%w: it ends early", ErrFraming)
	}
	if c.err != nil {
		return 0, c.err
	}
	return n, nil
}

// Close closes the body of the request.
func (c *ChunkedReader) Close() error { return c.closer.Close() }

// read reads from one chunk.
func (c *ChunkedReader) read(p []byte) (int, error) {
	if c.chunk == 0 {
		size, err := c.nextChunk()
		if err != nil {
			return 0, err
		}
		if size == 0 || size > c.left {
			return 0, fmt.Errorf("%w: it is not as long as x-amz-decoded-content-length says", ErrFraming)
		}
		c.chunk = size
	}
	n, err := c.body.Read(p[:min(int64(len(p)), c.chunk)])
	if err != nil {
		return 0, err
	}
	if c.signer != nil {
		c.signer.digest.Write(p[:n])
	}
	if c.trailer != nil {
		c.trailer.write(p[:n])
	}
	c.chunk -= int64(n)
	c.left -= int64(n)
	if c.chunk > 0 {
		return n, nil
	}
	if err := c.blank(); err != nil {
		return 0, err
	}
	return n, c.endChunk()
}

// nextChunk reads a chunk's header, <hexadecimal size>;chunk-signature=<signature>, or the size alone.
func (c *ChunkedReader) nextChunk() (int64, error) {
	line, err := c.line()
	if err != nil {
		return 0, err
	}
	digits := line
	if c.signer != nil {
		var ok bool
		if digits, c.signer.claimed, ok = strings.Cut(line, ";chunk-signature="); !ok {
			return 0, fmt.Errorf("%w: a chunk has no signature", ErrFraming)
		}
	}
	size, err := strconv.ParseUint(digits, 16, 63)
	if err != nil {
		return 0, fmt.Errorf("%w: a chunk has no size", ErrFraming)
	}
	return int64(size), nil
}

// endChunk checks the signature of the chunk that has been read.
func (c *ChunkedReader) endChunk() error {
	if c.signer == nil {
		return nil
	}
	return c.signer.checkChunk()
}

// finish reads what follows the data: the last chunk, which is empty, and the trailer.
func (c *ChunkedReader) finish() error {
	size, err := c.nextChunk()
	if err != nil {
		return err
	}
	if size != 0 {
		return fmt.Errorf("%w: it is longer than x-amz-decoded-content-length says", ErrFraming)
	}
	if err := c.endChunk(); err != nil {
		return err
	}
	if c.trailer != nil {
		err = c.readTrailer()
	} else {
		err = c.blank()
	}
	if err != nil {
		return err
	}
	switch _, err := c.body.ReadByte(); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: something follows its end", ErrFraming)
	default:
		return err
	}
}

// readTrailer reads a name:value line for each checksum announced, the signature over them if chunks are signed, and a blank line.
func (c *ChunkedReader) readTrailer() error {
	for range c.trailer.sums {
		line, err := c.line()
		if err != nil {
			return err
		}
		if err := c.trailer.add(line); err != nil {
			return err
		}
	}
	if c.signer != nil {
		line, err := c.line()
		if err == nil && line == "" { // minio-go ends the lines above with a line feed, and then puts a blank one
			line, err = c.line()
		}
		if err != nil {
			return err
		}
		claimed, ok := strings.CutPrefix(line, "x-amz-trailer-signature:")
		if !ok {
			return fmt.Errorf("%w: its trailer is not signed, or is not what x-amz-trailer announces", ErrFraming)
		}
		if err := c.signer.checkTrailer(c.trailer.signed.Bytes(), claimed); err != nil {
			return err
		}
	}
	if err := c.trailer.check(); err != nil {
		return err
	}
	return c.blank()
}

// blank reads the line break that ends a chunk, and the blank line that ends the body.
func (c *ChunkedReader) blank() error {
	line, err := c.line()
	if err == nil && line != "" {
		err = fmt.Errorf("%w: a line break is missing after the data or the trailer", ErrFraming)
	}
	return err
}

// line reads a line and cuts its end.
func (c *ChunkedReader) line() (string, error) {
	line, err := c.body.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("%w: a line is too long", ErrFraming)
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
}

// chunkSigner checks the chain of signatures: each covers the one before it, the first of which is the request's.
type chunkSigner struct {
	key      Key
	scope    string    // timestamp and credential scope, as they are signed
	previous string    // the signature before, hexadecimal
	claimed  string    // the signature that the chunk at hand came with
	digest   hash.Hash // of the chunk at hand
}

func newChunkSigner(s *Signature, key Key) *chunkSigner {
	return &chunkSigner{
		key: key, scope: "\n" + s.timestamp + "\n" + s.scope + "\n",
		previous: hex.EncodeToString(s.mac[:]), digest: sha256.New(),
	}
}

func (c *chunkSigner) checkChunk() error {
	const ofNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	var digest [sha256.Size]byte
	c.digest.Sum(digest[:0])
	c.digest.Reset()
	return c.check("AWS4-HMAC-SHA256-PAYLOAD"+c.scope+c.previous+"\n"+ofNothing+"\n"+hex.EncodeToString(digest[:]), c.claimed)
}

func (c *chunkSigner) checkTrailer(signed []byte, claimed string) error {
	digest := sha256.Sum256(signed)
	return c.check("AWS4-HMAC-SHA256-TRAILER"+c.scope+c.previous+"\n"+hex.EncodeToString(digest[:]), claimed)
}

func (c *chunkSigner) check(stringToSign, claimed string) error {
	mac := sum(c.key[:], []byte(stringToSign))
	c.previous = hex.EncodeToString(mac[:])
	if !hmac.Equal([]byte(c.previous), []byte(claimed)) {
		return fmt.Errorf("reading an aws-chunked body: %w", ErrMismatch)
	}
	return nil
}
