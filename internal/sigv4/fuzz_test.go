package sigv4

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
)

// FuzzParse parses and verifies requests from the network with the key's secret unknown to them: whatever they are, they are
// refused without a panic, and a signature that is parsed has what the rest of the program relies on.
func FuzzParse(f *testing.F) {
	f.Add("GET", "/clusters?a=b", "podid.example.com", goodHeader, "20240131T235959Z", "")
	f.Add("GET", "/demo/a%2Fb?"+goodQuery, "podid.example.com", "", "", "")
	f.Fuzz(func(t *testing.T, method, target, host, authorization, date, token string) {
		head := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n"
		for name, value := range map[string]string{"Authorization": authorization, "X-Amz-Date": date, "X-Amz-Security-Token": token} {
			if value != "" {
				head += name + ": " + value + "\r\n"
			}
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\r\n")))
		if err != nil {
			return
		}
		service := ScopeService(r)
		s, err := Parse(r)
		if (s == nil) == (err == nil) {
			t.Fatalf("signature %v with error %v", s, err)
		}
		if err != nil {
			return
		}
		if s.Service != service || s.AccessKeyID == "" || s.Region == "" || s.Date != s.Time.Format("20060102") || !s.signs("host") {
			t.Errorf("parsed %+v, routed to %q", s, service)
		}
		if s.Verify(r, DeriveKey(testSecret, s.Date, s.Region, s.Service), emptyHash, s.Time) == nil {
			t.Errorf("verified a signature that nobody made")
		}
	})
}

// FuzzChunkedReader reads bodies from the network: one that is accepted has the announced length.
func FuzzChunkedReader(f *testing.F) {
	for _, mode := range []string{StreamingPayload, StreamingPayloadTrailer, StreamingUnsignedTrailer} {
		f.Add(mode, encode(mode, "hello", "world").body)
	}
	f.Fuzz(func(t *testing.T, mode, body string) {
		r, s := upload{mode: mode, body: body, length: "10", trailer: "x-amz-checksum-crc32"}.request()
		c, err := NewChunkedReader(r, s, uploadKey)
		if err != nil {
			return
		}
		data, err := io.ReadAll(c)
		if (len(data) == 10) != (err == nil) {
			t.Errorf("%d bytes with error %v", len(data), err)
		}
		if mode != StreamingUnsignedTrailer && err == nil && string(data) != "helloworld" {
			t.Errorf("accepted %q, which nobody signed", data)
		}
	})
}
