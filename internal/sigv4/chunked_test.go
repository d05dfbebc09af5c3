package sigv4

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
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

var (
	uploadSignature = &Signature{timestamp: "20240131T235959Z", scope: "20240131/us-west-2/s3/aws4_request", mac: Key{1}}
	uploadKey       = DeriveKey(testSecret, "20240131", "us-west-2", "s3")
)

// upload is an aws-chunked body and the headers that go with it.
type upload struct {
	mode, body, length, trailer string
}

// request returns the request and the signature that an upload comes with.
func (u upload) request() (*http.Request, *Signature) {
	r, _ := http.NewRequest("PUT", "https://podid.example.com/demo/a", strings.NewReader(u.body))
	r.Header.Set("X-Amz-Decoded-Content-Length", u.length)
	if u.trailer != "" {
		r.Header.Set("X-Amz-Trailer", u.trailer)
	}
	s := *uploadSignature
	s.PayloadHash = u.mode
	return r, &s
}

// encode makes the body of an upload of chunks, by the rules of AWS's documents and not by our code that reads them.
func encode(mode string, chunks ...string) upload {
	signature := hex.EncodeToString(uploadSignature.mac[:])
	sign := func(kind, digests string) string {
		mac := sum(uploadKey[:], []byte(kind+"\n20240131T235959Z\n20240131/us-west-2/s3/aws4_request\n"+signature+"\n"+digests))
		signature = hex.EncodeToString(mac[:])
		return signature
	}
	var body strings.Builder
	data := strings.Join(chunks, "")
	for _, chunk := range append(chunks, "") {
		fmt.Fprintf(&body, "%x", len(chunk))
		if mode != StreamingUnsignedTrailer {
			body.WriteString(";chunk-signature=" + sign("AWS4-HMAC-SHA256-PAYLOAD", emptyHash+"\n"+hashOf(chunk)))
		}
		body.WriteString("\r\n")
		if chunk != "" {
			body.WriteString(chunk + "\r\n")
		}
	}
	u := upload{mode: mode, length: fmt.Sprint(len(data))}
	if mode != StreamingPayload {
		sum := crc32.ChecksumIEEE([]byte(data))
		line := "x-amz-checksum-crc32:" + base64.StdEncoding.EncodeToString([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
		body.WriteString(line + "\r\n")
		if mode == StreamingPayloadTrailer {
			body.WriteString("x-amz-trailer-signature:" + sign("AWS4-HMAC-SHA256-TRAILER", hashOf(line+"\n")) + "\r\n")
		}
		u.trailer = "x-amz-checksum-crc32"
	}
	u.body = body.String() + "\r\n"
	return u
}

func TestChunkedReader(t *testing.T) {
	for _, mode := range []string{StreamingPayload, StreamingPayloadTrailer, StreamingUnsignedTrailer} {
		for _, chunks := range [][]string{nil, {"a"}, {"hello", " ", "world"}, {strings.Repeat("x", 10000), "y"}} {
			u := encode(mode, chunks...)
			r, s := u.request()
			want := strings.Join(chunks, "")
			got := readChunked(t, r, s, uploadKey, u.body)
			if got.err != nil || got.data != want || got.trailer.Get("X-Amz-Checksum-Crc32") == "" != (mode == StreamingPayload) {
				t.Errorf("%s %.20q: got %.20q, trailer %v, %v", mode, chunks, got.data, got.trailer, got.err)
			}
			if c, _ := NewChunkedReader(r, s, uploadKey); c.Size() != int64(len(want)) {
				t.Errorf("size %d, want %d", c.Size(), len(want))
			}
		}
	}
}

// TestChunkedByteChanged changes each byte of each kind of body. The bytes of a chunk's size and signature, of the data and of the
// trailer: none may change unseen, and a reader of exactly the announced length must see it too.
func TestChunkedByteChanged(t *testing.T) {
	for _, mode := range []string{StreamingPayload, StreamingPayloadTrailer, StreamingUnsignedTrailer} {
		u := encode(mode, "hello", "world")
		r, s := u.request()
		for i := range u.body {
			for _, c := range []byte("0zZ\n;") {
				changed := u.body[:i] + string(c) + u.body[i+1:]
				got := readChunked(t, r, s, uploadKey, changed)
				// A name may be in upper case, and a line may end with a line feed alone: neither changes what is proved.
				if strings.EqualFold(changed, u.body) || u.body[i] == '\r' && got.err == nil && got.data == "helloworld" {
					continue
				}
				if got.err == nil || len(got.data) >= len("helloworld") {
					t.Fatalf("%s: accepted %q", mode, changed)
				}
				if !errors.Is(got.err, ErrMismatch) && !errors.Is(got.err, ErrDigest) && !errors.Is(got.err, ErrFraming) {
					t.Fatalf("%s: %q: unexpected error %v", mode, changed, got.err)
				}
			}
		}
		for i := range u.body {
			if got := readChunked(t, r, s, uploadKey, u.body[:i]); !errors.Is(got.err, ErrFraming) && !errors.Is(got.err, ErrMismatch) {
				t.Fatalf("%s: cut after %d bytes: %v", mode, i, got.err)
			}
		}
	}
}

func TestChunkedReaderRefuses(t *testing.T) {
	unsigned := encode(StreamingUnsignedTrailer, "hello")
	signed := encode(StreamingPayloadTrailer, "hello", "world")
	with := func(u upload, old, new string) upload {
		u.body = strings.Replace(u.body, old, new, 1)
		return u
	}
	long := func(u upload, length string) upload {
		u.length = length
		return u
	}
	announcing := func(u upload, names string) upload {
		u.trailer = names
		return u
	}
	start, second := strings.Index(signed.body, "5;"), strings.LastIndex(signed.body, "5;")
	swapped := signed
	swapped.body = signed.body[second:strings.Index(signed.body, "0;chunk")] + signed.body[start:second] + signed.body[strings.Index(signed.body, "0;chunk"):]
	tests := map[string]struct {
		u    upload
		want error
	}{
		"wrong checksum":                 {with(unsigned, "hello", "hallo"), ErrDigest},
		"longer than announced":          {long(unsigned, "4"), ErrFraming},
		"shorter than announced":         {long(unsigned, "6"), ErrFraming},
		"nothing announced":              {long(unsigned, "0"), ErrFraming},
		"huge chunk":                     {with(unsigned, "5\r", "7fffffffffffffff\r"), ErrFraming},
		"overflowing chunk":              {with(unsigned, "5\r", "10000000000000005\r"), ErrFraming},
		"negative chunk":                 {with(unsigned, "5\r", "-5\r"), ErrFraming},
		"endless line":                   {with(unsigned, "5\r", "5;"+strings.Repeat("x", 2*maxLine)+"\r"), ErrFraming},
		"extension on an unsigned chunk": {with(unsigned, "5\r", "5;a=b\r"), ErrFraming},
		"trailer missing":                {with(unsigned, "x-amz-checksum-crc32:NhCmhg==\r\n", ""), ErrFraming},
		"trailer empty":                  {with(unsigned, "NhCmhg==", ""), ErrFraming},
		"trailer not announced":          {announcing(unsigned, "x-amz-checksum-sha1"), ErrFraming},
		"trailer once too often":         {with(unsigned, "x-amz-checksum-crc32:NhCmhg==\r\n", "x-amz-checksum-crc32:NhCmhg==\r\nx-amz-checksum-crc32:NhCmhg==\r\n"), ErrFraming},
		"trailer twice for two":          {announcing(with(unsigned, "x-amz-checksum-crc32:NhCmhg==\r\n", "x-amz-checksum-crc32:NhCmhg==\r\nx-amz-checksum-crc32:NhCmhg==\r\n"), "x-amz-checksum-crc32,x-amz-checksum-sha1"), ErrFraming},
		"something after the end":        {with(unsigned, "==\r\n\r\n", "==\r\n\r\nx"), ErrFraming},
		"chunks swapped":                 {swapped, ErrMismatch},
		"chunk left out":                 {long(with(signed, signed.body[start:second], ""), "5"), ErrMismatch},
		"chunk without signature":        {with(signed, ";chunk-signature=", ";"), ErrFraming},
		"trailer without signature":      {with(signed, "x-amz-trailer-signature", "x-amz-checksum-crc32"), ErrFraming},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, s := tt.u.request()
			got := readChunked(t, r, s, uploadKey, tt.u.body)
			if !errors.Is(got.err, tt.want) || fmt.Sprint(len(got.data)) == tt.u.length && got.data != "" {
				t.Errorf("got %q, %v, want %v", got.data, got.err, tt.want)
			}
		})
	}
	broken := errors.New("connection reset")
	r, s := unsigned.request()
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("5\r\nhel"), iotest.ErrReader(broken)))
	c, err := NewChunkedReader(r, s, uploadKey)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != broken {
		t.Errorf("a fault of the connection: got %v, want it unchanged", err)
	}
}

func TestNewChunkedReaderRefuses(t *testing.T) {
	for name, u := range map[string]upload{
		"not chunked":       {mode: UnsignedPayload, length: "5"},
		"no length":         {mode: StreamingPayload},
		"negative length":   {mode: StreamingPayload, length: "-1"},
		"overflowing":       {mode: StreamingPayload, length: "9223372036854775808"},
		"no trailer":        {mode: StreamingUnsignedTrailer, length: "5"},
		"unknown checksum":  {mode: StreamingUnsignedTrailer, length: "5", trailer: "x-amz-checksum-xxhash3"},
		"one unknown":       {mode: StreamingUnsignedTrailer, length: "5", trailer: "x-amz-checksum-crc32, x-amz-meta-a"},
		"nothing after all": {mode: StreamingPayloadTrailer, length: "5", trailer: ","},
	} {
		r, s := u.request()
		var incomplete *IncompleteError
		if _, err := NewChunkedReader(r, s, uploadKey); !errors.As(err, &incomplete) {
			t.Errorf("%s: got %v, want an IncompleteError", name, err)
		}
	}
}

// TestTrailerOfMinIO reads the trailer as minio-go writes it: its line ends with a line feed, and a blank line comes before the
// signature.
func TestTrailerOfMinIO(t *testing.T) {
	u := encode(StreamingPayloadTrailer, "hello")
	r, s := u.request()
	body := strings.Replace(u.body, "\r\nx-amz-trailer-signature", "\n\r\nx-amz-trailer-signature", 1)
	if got := readChunked(t, r, s, uploadKey, body); got.err != nil || body == u.body {
		t.Error(got.err)
	}
}

func TestChecksums(t *testing.T) {
	want := map[string]string{ // of the digits 1 to 9, the check value of every catalogue of CRCs
		"x-amz-checksum-crc32":     "cbf43926",
		"x-amz-checksum-crc32c":    "e3069283",
		"x-amz-checksum-crc64nvme": "ae8b14860a799888",
		"x-amz-checksum-md5":       "25f9e794323b453885f5181f1b624d0b",
		"x-amz-checksum-sha1":      "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
		"x-amz-checksum-sha256":    "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
		"x-amz-checksum-sha512":    "d9e6762dd1c8eaf6d61b3c6192fc408d4d6d5f1176d0c29169bc24e71c3f274ad27fcd5811b313d681f7e55ec02d73d499c95455b6b5bb503acf574fba8ffe85",
	}
	for name, newHash := range checksums {
		h := newHash()
		h.Write([]byte("123456789"))
		if got := hex.EncodeToString(h.Sum(nil)); got != want[name] {
			t.Errorf("%s: got %s, want %s", name, got, want[name])
		}
	}
}

// TestUploadsOfTheSDK has a real S3 client upload: over TLS it sends unsigned chunks with a trailing checksum.
func TestUploadsOfTheSDK(t *testing.T) {
	stored := make(map[string]string)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := Parse(r)
		if err == nil {
			if s.PayloadHash == "" && s.Presigned {
				s.PayloadHash = UnsignedPayload
			}
			err = s.Verify(r, DeriveKey(testSecret, s.Date, s.Region, s.Service), s.PayloadHash, time.Now())
		}
		var data []byte
		if err == nil && s.PayloadHash == StreamingUnsignedTrailer {
			var c *ChunkedReader
			if c, err = NewChunkedReader(r, s, Key{}); err == nil {
				data, err = io.ReadAll(c)
			}
		} else if err == nil {
			data, err = io.ReadAll(r.Body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		stored[s.PayloadHash+" "+r.URL.Path] = string(data)
	}))
	t.Cleanup(server.Close)
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(server.URL), Region: "us-west-2", UsePathStyle: true, HTTPClient: server.Client(), RetryMaxAttempts: 1,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return message{token: "token+/="}.credentials(), nil
		}),
	})
	data := strings.Repeat("0123456789", 30000)
	for _, algorithm := range []types.ChecksumAlgorithm{
		"", types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmCrc64nvme,
		types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256,
	} {
		for _, body := range []io.Reader{strings.NewReader(data), io.MultiReader(strings.NewReader(data))} {
			clear(stored)
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
				Bucket: aws.String("demo"), Key: aws.String("a//b/../ü +%2F"), Body: body, ContentLength: aws.Int64(int64(len(data))),
				ChecksumAlgorithm: algorithm, Metadata: map[string]string{"a": "b  c"},
			})
			if err != nil || stored[StreamingUnsignedTrailer+" /demo/a//b/../ü +%2F"] != data {
				t.Errorf("uploading with %q: %v; stored %d objects", algorithm, err, len(stored))
			}
		}
	}
	signed, err := s3.NewPresignClient(client).PresignPutObject(t.Context(), &s3.PutObjectInput{
		Bucket: aws.String("demo"), Key: aws.String("p q"), ContentType: aws.String("text/plain"), Metadata: map[string]string{"a": "b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), signed.Method, signed.URL, strings.NewReader("presigned"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = signed.SignedHeader
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || stored[UnsignedPayload+" /demo/p q"] != "presigned" {
		t.Errorf("uploading to a presigned URL: %s; stored %v", answer.Status, stored)
	}
}

func BenchmarkChunkedReader(b *testing.B) {
	for _, mode := range []string{StreamingPayload, StreamingUnsignedTrailer} {
		chunk := strings.Repeat("x", 64<<10)
		u := encode(mode, chunk, chunk, chunk, chunk)
		r, s := u.request()
		b.Run(mode, func(b *testing.B) {
			b.SetBytes(int64(4 * len(chunk)))
			b.ReportAllocs()
			for b.Loop() {
				r.Body = io.NopCloser(bytes.NewReader([]byte(u.body)))
				c, err := NewChunkedReader(r, s, uploadKey)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, c); err != nil || n != c.Size() {
					b.Fatal(n, err)
				}
			}
		})
	}
}
