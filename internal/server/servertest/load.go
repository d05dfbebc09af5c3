package servertest

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	connections = 8
	perBatch    = 64 // requests of each connection in a batch
)

// Pipe is a client that costs little beside the server under test: a kept connection, over which requests go that were made before.
type Pipe struct {
	conn net.Conn
	in   *bufio.Reader
}

// Dial opens the connections of one benchmark.
func Dial(b *testing.B, url string) []*Pipe {
	b.Helper()
	var pipes []*Pipe
	for range connections {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		pipes = append(pipes, &Pipe{conn, bufio.NewReaderSize(conn, 32<<10)})
	}
	return pipes
}

// Send sends one request and reads its answer. It returns the size of the answer's body.
func (p *Pipe) Send(request []byte) (size int, err error) {
	if _, err := p.conn.Write(request); err != nil {
		return 0, err
	}
	status, err := p.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		rest := make([]byte, p.in.Buffered())
		_, _ = p.in.Read(rest)
		return 0, fmt.Errorf("%s%s", status, rest)
	}
	size = -1
	for {
		line, err := p.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) == 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if size, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
	if size < 0 {
		return 0, errors.New("an answer without Content-Length")
	}
	_, err = p.in.Discard(size)
	return size, err
}

// Raw is a request as it goes over the wire.
func Raw(b *testing.B, r *http.Request) []byte {
	b.Helper()
	var out bytes.Buffer
	if err := r.Write(&out); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

// Floor is the least that a server of token exchanges could do: it verifies a token's RS256 signature, and writes an answer of a size.
// The request's body is the token.
func Floor(key *rsa.PublicKey, size int) http.Handler {
	answer := bytes.Repeat([]byte("x"), size)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		last := bytes.LastIndexByte(raw, '.')
		if err != nil || last < 0 {
			http.Error(w, "no token", http.StatusBadRequest)
			return
		}
		signature, err := base64.RawURLEncoding.DecodeString(string(raw[last+1:]))
		sum := sha256.Sum256(raw[:last])
		if err != nil || rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) != nil {
			http.Error(w, "bad token", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(size))
		_, _ = w.Write(answer)
	})
}

// Compare measures podid against a floor, batch by batch in turns, and reports the ratio. make makes a request for either; with fresh
// ones each is sent once, else the first batch again and again, after a turn that does not count.
func Compare(b *testing.B, podid, floor []*Pipe, fresh bool, make func() (ours, bare []byte)) {
	b.Helper()
	var ours, bare [connections * perBatch][]byte
	var took, least time.Duration
	rounds := 0
	for b.Loop() {
		b.StopTimer()
		if fresh || rounds == 0 {
			for i := range ours {
				ours[i], bare[i] = make()
			}
		}
		if !fresh && rounds == 0 {
			run(b, podid, ours[:])
		}
		b.StartTimer()
		least += run(b, floor, bare[:])
		took += run(b, podid, ours[:])
		rounds++
	}
	requests := float64(rounds * len(ours))
	b.ReportMetric(float64(took.Nanoseconds())/requests, "ns/op")
	b.ReportMetric(requests/took.Seconds(), "req/s")
	b.ReportMetric(requests/least.Seconds(), "floor-req/s")
	b.ReportMetric(least.Seconds()/took.Seconds(), "ratio-vs-floor")
}

// run sends a batch over all connections at once and returns how long it took.
func run(b *testing.B, pipes []*Pipe, batch [][]byte) time.Duration {
	b.Helper()
	var group sync.WaitGroup
	start := time.Now()
	for i, p := range pipes {
		group.Go(func() {
			for _, request := range batch[i*perBatch : (i+1)*perBatch] {
				if _, err := p.Send(request); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	return time.Since(start)
}
