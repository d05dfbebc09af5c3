package sigv4

import (
	"net/http"
	"strings"
	"testing"
)

// benchmarkMessage is an agent's AssumeRoleForPodIdentity call, made with session credentials.
func benchmarkMessage() message {
	return message{
		method: "POST", path: "/clusters/prod/assume-role-for-pod-identity", service: "eks-auth",
		body: strings.Repeat("x", 1200), token: strings.Repeat("t", 1200),
		header: http.Header{
			"Content-Type": {"application/json"}, "Amz-Sdk-Invocation-Id": {"8c6b6cf0-6a4f-4b3b-9bd5-6a8f6d2f6b5b"}, "Amz-Sdk-Request": {"attempt=1; max=3"},
		},
		expires: "60",
	}
}

func BenchmarkParseAndVerify(b *testing.B) {
	m := benchmarkMessage()
	presigned := m
	presigned.method, presigned.query, presigned.body, presigned.header = "GET", "Action=GetCallerIdentity&Version=2011-06-15", "", nil
	for name, r := range map[string]*http.Request{"header": m.sign(b), "presigned": presigned.presign(b)} {
		b.Run(name, func(b *testing.B) {
			hash := hashOf(m.body)
			if name == "presigned" {
				hash = emptyHash
			}
			keys := NewKeys(1000)
			b.ReportAllocs()
			for b.Loop() {
				s, err := Parse(r)
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Verify(r, keys.Derive(testSecret, s.Date, s.Region, s.Service), hash, testTime); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFloor is the hashing that a verification cannot do without: SHA-256 of the canonical request and one HMAC.
func BenchmarkFloor(b *testing.B) {
	canonical, stringToSign := strings.Repeat("x", 1800), make([]byte, 150)
	key := DeriveKey(testSecret, "20240131", "us-west-2", "eks-auth")
	b.ReportAllocs()
	for b.Loop() {
		hashOf(canonical)
		sum(key[:], stringToSign)
	}
}

func BenchmarkDeriveKey(b *testing.B) {
	keys := NewKeys(1000)
	b.Run("derived", func(b *testing.B) {
		for b.Loop() {
			DeriveKey(testSecret, "20240131", "us-west-2", "eks-auth")
		}
	})
	b.Run("remembered", func(b *testing.B) {
		for b.Loop() {
			keys.Derive(testSecret, "20240131", "us-west-2", "eks-auth")
		}
	})
}
