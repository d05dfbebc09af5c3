package sigv4

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/podid/podid/internal/identity"
)

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func hashOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// readRequest reads a request as a server does. The lines are separated by line feeds.
func readRequest(t testing.TB, text string) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n"))))
	if err != nil {
		t.Fatalf("reading %q: %v", text, err)
	}
	return r
}

// TestPublishedExamples holds the verifier against signatures that AWS has published: the examples of
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, of the page on query parameters beside it, of the
// General Reference (ListUsers), and requests of the Signature Version 4 test suite. The suite's paths that normalise to "/" have the signature
// of get-vanilla, because the signature is over the normalised path.
func TestPublishedExamples(t *testing.T) {
	const (
		s3Key    = identity.Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
		suiteKey = identity.Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
		s3Scope  = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
		s3Empty  = "x-amz-content-sha256:" + emptyHash + "\nx-amz-date: 20130524T000000Z\n"
		suite    = "\nHost:example.amazonaws.com\nX-Amz-Date:20150830T123600Z\nAuthorization: AWS4-HMAC-SHA256 " +
			"Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders="
		vanilla = "host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\n\n"
	)
	s3Time, suiteTime := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC), time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	tests := []struct {
		name    string
		secret  identity.Secret
		now     time.Time
		hash    string
		request string
	}{
		{"s3 get object", s3Key, s3Time, emptyHash, "GET /test.txt HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\nAuthorization: " +
			s3Scope + "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date," +
			"Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\nRange: bytes=0-9\n" + s3Empty + "\n"},
		{"s3 put object", s3Key, s3Time, hashOf("Welcome to Amazon S3."), "PUT /test$file.text HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\n" +
			"Date: Fri, 24 May 2013 00:00:00 GMT\nAuthorization: " + s3Scope + "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;" +
			"x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd\n" +
			"x-amz-date: 20130524T000000Z\nx-amz-storage-class: REDUCED_REDUNDANCY\nx-amz-content-sha256: " +
			"44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\n\n"},
		{"s3 get lifecycle", s3Key, s3Time, emptyHash, "GET /?lifecycle HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\nAuthorization: " +
			s3Scope + "SignedHeaders=host;x-amz-content-sha256;x-amz-date," +
			"Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543\n" + s3Empty + "\n"},
		{"s3 list objects", s3Key, s3Time, emptyHash, "GET /?max-keys=2&prefix=J HTTP/1.1\nHost: examplebucket.s3.amazonaws.com\nAuthorization: " +
			s3Scope + "SignedHeaders=host;x-amz-content-sha256;x-amz-date," +
			"Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7\n" + s3Empty + "\n"},
		{"s3 presigned", s3Key, s3Time.Add(24 * time.Hour), UnsignedPayload, "GET /test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" +
			"&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z" +
			"&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
			"&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404 HTTP/1.1\n" +
			"Host: examplebucket.s3.amazonaws.com\n\n"},
		{"iam list users", suiteKey, suiteTime, emptyHash, "GET /?Action=ListUsers&Version=2010-05-08 HTTP/1.1\nHost: iam.amazonaws.com\n" +
			"Content-Type: application/x-www-form-urlencoded; charset=utf-8\nX-Amz-Date: 20150830T123600Z\n" +
			"Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, " +
			"SignedHeaders=content-type;host;x-amz-date, " +
			"Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7\n\n"},
		{"get-vanilla", suiteKey, suiteTime, emptyHash, "GET / HTTP/1.1" + suite + vanilla},
		{"get-relative", suiteKey, suiteTime, emptyHash, "GET /example/.. HTTP/1.1" + suite + vanilla},
		{"get-relative-relative", suiteKey, suiteTime, emptyHash, "GET /example1/example2/../.. HTTP/1.1" + suite + vanilla},
		{"get-slash", suiteKey, suiteTime, emptyHash, "GET // HTTP/1.1" + suite + vanilla},
		{"get-slash-dot-slash", suiteKey, suiteTime, emptyHash, "GET /./ HTTP/1.1" + suite + vanilla},
		{"get-vanilla-query-order-key-case", suiteKey, suiteTime, emptyHash, "GET /?Param2=value2&Param1=value1 HTTP/1.1" + suite +
			"host;x-amz-date, Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500\n\n"},
		{"post-vanilla", suiteKey, suiteTime, emptyHash, "POST / HTTP/1.1" + suite +
			"host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b\n\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := readRequest(t, tt.request)
			s, err := Parse(r)
			if err != nil {
				t.Fatal(err)
			}
			key := DeriveKey(tt.secret, s.Date, s.Region, s.Service)
			if err := s.Verify(r, key, tt.hash, tt.now); err != nil {
				t.Errorf("verifying: %v", err)
			}
			if err := s.Verify(r, DeriveKey("other", s.Date, s.Region, s.Service), tt.hash, tt.now); err != ErrMismatch {
				t.Errorf("verifying with another secret: got %v, want ErrMismatch", err)
			}
			if got := ScopeService(r); got != s.Service {
				t.Errorf("ScopeService: got %q, want %q", got, s.Service)
			}
		})
	}
}

// TestPublishedChunks reads the examples of https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and
// …/sigv4-streaming-trailers.html: 65 KiB of the letter a in two chunks.
func TestPublishedChunks(t *testing.T) {
	const scope = "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders="
	data := strings.Repeat("a", 66560)
	tests := []struct {
		name, head, first, second, last, trailer string
	}{
		{
			name: "signed",
			head: "PUT /examplebucket/chunkObject.txt HTTP/1.1\nHost: s3.amazonaws.com\nx-amz-date: 20130524T000000Z\n" +
				"x-amz-storage-class: REDUCED_REDUNDANCY\nAuthorization: AWS4-HMAC-SHA256 " + scope +
				"content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class," +
				"Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9\n" +
				"x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\nContent-Encoding: aws-chunked\n" +
				"x-amz-decoded-content-length: 66560\nContent-Length: 66824\n\n",
			first:  "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
			second: "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
			last:   "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
		},
		{
			name: "signed with trailer",
			head: "PUT /examplebucket/chunkObject.txt HTTP/1.1\nHost: s3.amazonaws.com\nx-amz-date: 20130524T000000Z\n" +
				"x-amz-storage-class: REDUCED_REDUNDANCY\nAuthorization: AWS4-HMAC-SHA256 " + scope +
				"content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer," +
				"Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e\n" +
				"x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER\nContent-Encoding: aws-chunked\n" +
				"x-amz-decoded-content-length: 66560\nx-amz-trailer: x-amz-checksum-crc32c\nContent-Length: 66946\n\n",
			first:   "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
			second:  "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
			last:    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
			trailer: "x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			head := readRequest(t, tt.head)
			s, err := Parse(head)
			if err != nil {
				t.Fatal(err)
			}
			key := DeriveKey("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", s.Date, s.Region, s.Service)
			if err := s.Verify(head, key, s.PayloadHash, s.Time); err != nil {
				t.Errorf("verifying the request: %v", err)
			}
			body := "10000;chunk-signature=" + tt.first + "\r\n" + data[:65536] + "\r\n" +
				"400;chunk-signature=" + tt.second + "\r\n" + data[65536:] + "\r\n" +
				"0;chunk-signature=" + tt.last + "\r\n" + tt.trailer + "\r\n"
			if got := readChunked(t, head, s, key, body); got.err != nil || got.data != data {
				t.Errorf("reading the body: %d bytes, %v", len(got.data), got.err)
			}
			tampered := strings.Replace(body, "aaaa", "aaba", 1)
			if got := readChunked(t, head, s, key, tampered); got.err == nil || len(got.data) == len(data) {
				t.Errorf("reading a tampered body: %d bytes, %v", len(got.data), got.err)
			}
		})
	}
}
