package agent

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkCachedHit measures credentials from the cache over loopback HTTP against a bare handler that writes the same bytes, in
// turns. The clients are as light as can be, so that the servers are what is compared.
func BenchmarkCachedHit(b *testing.B) {
	const connections, batch = 4, 200
	// The limit of an address is asked each time, as in practice; here it has to let everything through.
	a := start(b, newUpstream(b, nil), func(c *Config) { c.RequestsPerSource = 1e9 })
	text := token("web-1", 1, tomorrow())
	_, body := fetch(b, a.url(), text)
	bare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	})}
	go func() { _ = server.Serve(bare) }()
	defer server.Close()

	contenders := [2][]*client{}
	for range connections {
		contenders[0] = append(contenders[0], dial(b, bare.Addr().String(), text))
		contenders[1] = append(contenders[1], dial(b, a.Addrs()[0].String(), text))
	}
	var ratios, rates []float64
	for turn := 0; b.Loop(); turn++ {
		var took [2]time.Duration
		for i := range contenders {
			who := (i + turn) % 2 // first and second place alternate too
			start := time.Now()
			var running sync.WaitGroup
			for _, c := range contenders[who] {
				running.Go(func() {
					for range batch {
						c.get(b)
					}
				})
			}
			running.Wait()
			took[who] = time.Since(start)
		}
		ratios = append(ratios, took[0].Seconds()/took[1].Seconds())
		rates = append(rates, connections*batch/took[1].Seconds())
	}
	b.ReportMetric(median(ratios), "ratio-vs-bare")
	b.ReportMetric(median(rates), "req/s")
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// client sends one request again and again on one connection.
type client struct {
	conn    net.Conn
	request []byte
	answer  []byte // buffer of the answer's size
}

// dial opens a connection and sends the request for the first time.
func dial(b *testing.B, addr, token string) *client {
	return dialFrom(b, net.IPv4(127, 0, 0, 1), addr, token)
}

// dialFrom does so from an address of its own, as pods have.
func dialFrom(b *testing.B, from net.IP, addr, token string) *client {
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).Dial("tcp", addr)
	if err != nil {
		b.Error(err)
		return nil
	}
	b.Cleanup(func() { _ = conn.Close() })
	c := &client{conn: conn}
	c.request = fmt.Appendf(nil, "GET /v1/credentials HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAuthorization: %s\r\n\r\n",
		addr, token)
	if _, err := conn.Write(c.request); err != nil {
		b.Error(err)
	}
	counted := &counter{from: conn}
	resp, err := http.ReadResponse(bufio.NewReader(counted), nil)
	if err != nil {
		b.Error(err)
		return nil
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		b.Errorf("got %s, %v", resp.Status, err)
	}
	c.answer = make([]byte, counted.n) // all answers are alike, headers included
	return c
}

func (c *client) get(b *testing.B) {
	if _, err := c.conn.Write(c.request); err != nil {
		b.Error(err)
	}
	if _, err := io.ReadFull(c.conn, c.answer); err != nil {
		b.Error(err)
	}
}

type counter struct {
	from io.Reader
	n    int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += n
	return n, err
}

// BenchmarkFirstRequests lets 200 clients, each on a connection of its own, ask at once, while upstream takes 20 ms: for the
// credentials of one new token, or each for those of a pod of its own.
func BenchmarkFirstRequests(b *testing.B) {
	b.Run("one pod", func(b *testing.B) { firstRequests(b, func(int) string { return "web-1" }) })
	b.Run("200 pods", func(b *testing.B) { firstRequests(b, func(i int) string { return fmt.Sprint("web-", i) }) })
}

func firstRequests(b *testing.B, pod func(i int) string) {
	const clients = 200
	u := newUpstream(b, func(w http.ResponseWriter, call int, _ string) {
		time.Sleep(20 * time.Millisecond)
		grant(w, call, time.Now().Add(time.Hour))
	})
	a := start(b, u, nil)
	var slowest []float64
	for serial := 0; b.Loop(); serial++ {
		b.StopTimer()
		var texts []string
		for i := range clients {
			texts = append(texts, token(pod(i), serial, tomorrow()))
		}
		b.StartTimer()
		took := make([]float64, clients)
		var waiting sync.WaitGroup
		start := time.Now()
		for i := range clients {
			waiting.Go(func() {
				c := dialFrom(b, net.IPv4(127, 0, byte(1+serial%250), byte(1+i)), a.Addrs()[0].String(), texts[i])
				took[i] = float64(time.Since(start).Microseconds()) / 1000
				if c != nil {
					_ = c.conn.Close()
				}
			})
		}
		waiting.Wait()
		slowest = append(slowest, slices.Max(took))
	}
	b.ReportMetric(float64(u.calls())/float64(len(slowest)), "calls")
	b.ReportMetric(slices.Min(slowest), "slowest-ms-best")
	b.ReportMetric(median(slowest), "slowest-ms")
}
