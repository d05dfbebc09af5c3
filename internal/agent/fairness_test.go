package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func isThrottled(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.status == http.StatusTooManyRequests
}

// A node that has started: all of its pods ask at once, and upstream sees a stream.
func TestPodsOfANodeThatStarts(t *testing.T) {
	for _, tt := range []struct{ delay, all time.Duration }{ // by the bubble's clock
		{20 * time.Millisecond, 500 * time.Millisecond}, {100 * time.Millisecond, 900 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			const pods = 200
			w := &world{delay: tt.delay, life: 6 * time.Hour}
			c := w.cache(t, nil)
			start := time.Now()
			var waiters sync.WaitGroup
			for i := range pods {
				waiters.Go(func() {
					if _, err := ask(t.Context(), t, c, token(fmt.Sprintf("p%d", i), 1, tomorrow())); err != nil {
						t.Error(err)
					}
				})
			}
			waiters.Wait()
			if took := time.Since(start); took > tt.all {
				t.Errorf("upstream takes %v: the last pod waited %v, want at most %v", tt.delay, took, tt.all)
			}
			if w.most > maxExchanges-reservedRenewals {
				t.Errorf("%d exchanges at once, want at most %d", w.most, maxExchanges-reservedRenewals)
			}
			_, times := w.record()
			for i := range times {
				for j := range i {
					if most := exchangeBurst + exchangesPerSecond*times[i].Sub(times[j]).Seconds() + 1; float64(i-j+1) > most {
						t.Fatalf("%d exchanges within %v, want at most %.0f", i-j+1, times[i].Sub(times[j]), most)
					}
				}
			}
			if w.count() != pods {
				t.Errorf("%d exchanges, want %d", w.count(), pods)
			}
		})
	}
}

// Whoever has as many exchanges as he is let have makes himself wait, not the pod that comes last.
func TestSourcesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{delay: time.Second, life: 6 * time.Hour}
		c := w.cache(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var waiters sync.WaitGroup
		for i := range maxQueuedForSource + 100 {
			waiters.Go(func() {
				_, err := askFrom(ctx, t, c, netip.MustParseAddr("10.0.0.66"), token(fmt.Sprintf("forged%d", i), 1, tomorrow()))
				if err == nil || !isThrottled(err) && !isLate(err) {
					return
				}
			})
		}
		synctest.Wait()
		text, start := token("web", 1, tomorrow()), time.Now()
		if _, err := ask(ctx, t, c, text); !isLate(err) {
			t.Errorf("got %v, want to be told to ask again", err)
		}
		if _, err := ask(ctx, t, c, text); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 2*w.delay {
			t.Errorf("waited %v, want at most the exchange before and its own", took)
		}
		cancel()
		waiters.Wait()
	})
}

// One pod tries tokens without end, under its own name or under others'. It is refused, and so much of it reaches upstream; the pod
// whose name it uses, and those at other addresses, notice nothing.
func TestFloodOfTokens(t *testing.T) {
	for name, pod := range map[string]func(i int) string{
		"its own":  func(int) string { return "bad" },
		"others'":  func(i int) string { return fmt.Sprintf("p%d", i) },
		"victim's": func(int) string { return "web" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{life: 6 * time.Hour}
				c := w.cache(t, nil)
				genuine := token("web", 1, tomorrow())
				wantKey(t, c, genuine, "ASIA1")
				w.say(func(token string) error {
					if strings.HasSuffix(token, genuine[len(genuine)-10:]) || !strings.HasPrefix(token, genuine[:10]) {
						return nil
					}
					return &APIError{Status: 400, Code: "InvalidTokenException"}
				})
				throttled := 0
				for i := range 2000 {
					_, err := askFrom(t.Context(), t, c, netip.MustParseAddr("10.0.0.66"), token(pod(i), i+1000, tomorrow()))
					switch {
					case isThrottled(err):
						throttled++
					case !final(err):
						t.Fatalf("forged token: %v", err)
					}
				}
				most := perPodBurst
				if name == "others'" {
					most = perSourceBurst
				}
				if n := w.count() - 1; n > most+perSourceRate || throttled < 2000-most-perSourceRate {
					t.Errorf("%d of 2000 reached upstream, %d were throttled; want at most %d upstream", n, throttled, most)
				}
				wantKey(t, c, genuine, "ASIA1")
				calls := w.count()
				w.say(nil)
				wantKey(t, c, token("web", 2, tomorrow()), fmt.Sprintf("ASIA%d", calls+1))
				wantKey(t, c, token("other", 1, tomorrow()), fmt.Sprintf("ASIA%d", calls+2))
				c.mu.Lock()
				if c.line.length != 0 || len(c.line.queues) != 0 || len(c.line.turns) != 0 || len(c.lanes) != 0 || len(c.exchanges) != 0 || len(c.waiting) != 0 {
					t.Errorf("something is left of it: %+v, %d lanes, %d exchanges, %d waiting", c.line, len(c.lanes), len(c.exchanges), len(c.waiting))
				}
				c.mu.Unlock()
			})
		})
	}
}

// Two tokens of one pod go upstream one after the other. Tokens from another address that bear the pod's name do not hold it up.
func TestOneExchangeForEachPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{delay: time.Second, life: 6 * time.Hour}
		c := w.cache(t, nil)
		var waiters sync.WaitGroup
		for serial := range 3 {
			text := token("web", serial, tomorrow())
			waiters.Go(func() {
				for {
					_, err := ask(t.Context(), t, c, text)
					if err == nil {
						return
					}
					if !isLate(err) {
						t.Error(err)
						return
					}
				}
			})
		}
		waiters.Wait()
		if w.most != 1 || w.count() != 3 {
			t.Errorf("%d exchanges, %d at once, want 3, one at a time", w.count(), w.most)
		}
		waiters.Go(func() {
			_, err := askFrom(t.Context(), t, c, netip.MustParseAddr("10.0.0.66"), token("web", 66, tomorrow()))
			if err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		start := time.Now()
		wantKey(t, c, token("web", 4, tomorrow()), "ASIA5")
		if took := time.Since(start); took != w.delay {
			t.Errorf("waited %v, want %v", took, w.delay)
		}
		waiters.Wait()
	})
}

// A pod is told to ask again before its SDK gives up, and finds its place kept.
func TestPlaceInTheLineIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{delay: 3 * time.Second, life: 6 * time.Hour}
		c := w.cache(t, nil)
		const ahead = maxExchanges - reservedRenewals
		var waiters sync.WaitGroup
		for i := range ahead {
			waiters.Go(func() { _, _ = ask(t.Context(), t, c, token(fmt.Sprintf("p%d", i), 1, tomorrow())) })
			if i == 0 {
				time.Sleep(time.Millisecond) // its exchange ends alone, so that one place is free before there are more
			}
		}
		synctest.Wait()
		text := token("web", 1, tomorrow())
		start := time.Now()
		_, err := ask(t.Context(), t, c, text)
		if took := time.Since(start); !isLate(err) || took != maxWait || !strings.Contains(err.Error(), "31 requests for new credentials are under way") {
			t.Errorf("got %v after %v, want to be told to ask again after %v", err, took, maxWait)
		}
		time.Sleep(time.Second)
		waiters.Go(func() { _, _ = ask(t.Context(), t, c, token("later", 1, tomorrow())) })
		wantKey(t, c, text, fmt.Sprintf("ASIA%d", ahead+1))
		waiters.Wait()
		if w.count() != ahead+2 {
			t.Errorf("%d exchanges, want %d", w.count(), ahead+2)
		}
	})
}

// Those that do not come back leave the line.
func TestAbandonedExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{delay: 9 * time.Second, life: 6 * time.Hour}
		c := w.cache(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var waiters sync.WaitGroup
		for i := range 200 {
			waiters.Go(func() { _, _ = ask(ctx, t, c, token(fmt.Sprintf("p%d", i), 1, tomorrow())) })
		}
		waiters.Wait()
		time.Sleep(abandonAfter + 2*sweepInterval)
		if now := c.state(); now.line != 0 || now.waiting != maxExchanges-reservedRenewals {
			t.Errorf("%+v, want an empty line", now)
		}
		time.Sleep(10 * time.Second)
		if w.count() != maxExchanges-reservedRenewals {
			t.Errorf("%d exchanges, want %d", w.count(), maxExchanges-reservedRenewals)
		}
	})
}

// Pods that wait go before renewals, and renewals come to pass all the same.
func TestRenewalsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: time.Hour}
		c := w.cache(t, func(c *Config) { c.RenewalsPerSecond, c.Rand = 100, func() float64 { return 0 } })
		for i := range 80 {
			wantKey(t, c, token(fmt.Sprintf("old%d", i), 1, tomorrow()), fmt.Sprintf("ASIA%d", i+1))
		}
		time.Sleep(41 * time.Minute)
		w.mu.Lock()
		w.delay = 5 * time.Second
		w.mu.Unlock()
		ctx, cancel := context.WithCancel(t.Context())
		var waiters sync.WaitGroup
		for i := range 800 {
			text := token(fmt.Sprintf("new%d", i), 1, tomorrow())
			waiters.Go(func() {
				for ctx.Err() == nil {
					if _, err := ask(ctx, t, c, text); err == nil || !isLate(err) {
						return
					}
				}
			})
		}
		most := func(span time.Duration) (renewing int, crowded bool) {
			for range span / (100 * time.Millisecond) {
				time.Sleep(100 * time.Millisecond)
				now := c.state()
				renewing, crowded = max(renewing, now.renewing), crowded || now.line > 0
				if now.waiting > maxExchanges-reservedRenewals || now.waiting+now.renewing > maxExchanges {
					t.Fatalf("%+v are too many", now)
				}
			}
			return renewing, crowded
		}
		time.Sleep(time.Minute) // now renewals are due
		if n, crowded := most(20 * time.Second); !crowded || n != reservedRenewals {
			t.Errorf("%d renewals at once while pods wait (%v), want %d", n, crowded, reservedRenewals)
		}
		cancel()
		waiters.Wait()
		if n, _ := most(30 * time.Second); n != maxRenewing {
			t.Errorf("%d renewals at once when no pod waits, want %d", n, maxRenewing)
		}
		time.Sleep(time.Minute)
	})
}

// An upstream that says it is asked too much is left alone by what can wait.
func TestThrottledUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: time.Hour}
		c := w.cache(t, func(c *Config) { c.Rand = func() float64 { return 0 } })
		for i := range 20 {
			wantKey(t, c, token(fmt.Sprintf("p%d", i), 1, tomorrow()), fmt.Sprintf("ASIA%d", i+1))
		}
		w.say(func(string) error { return &APIError{Status: 429, Code: "ThrottlingException"} })
		time.Sleep(42*time.Minute + 5*time.Second)
		if n := w.count() - 20; n > 3 {
			t.Errorf("%d renewals after upstream said that it is too much, want those that were under way", n)
		}
		w.say(nil)
		time.Sleep(2 * time.Minute)
		if n := w.count() - 20; n < 20 {
			t.Errorf("%d renewals, want all when the pause is over", n)
		}
	})
}

func TestLimiter(t *testing.T) {
	l := newLimiter[int](10, 3)
	for range 3 {
		if !l.allow(1, 0) {
			t.Fatal("the burst is refused")
		}
	}
	if l.allow(1, 0) || l.allow(1, 99*time.Millisecond) {
		t.Error("more than the burst is allowed")
	}
	if !l.allow(2, 0) {
		t.Error("another key is refused")
	}
	if !l.allow(1, 100*time.Millisecond) || l.allow(1, 100*time.Millisecond) {
		t.Error("after an interval there is one more")
	}
	for range 3 {
		if !l.allow(1, time.Hour) {
			t.Fatal("after a rest the burst is refused")
		}
	}
	if l.allow(1, time.Hour) {
		t.Error("a long rest gives more than the burst")
	}
	for key := range 3 * maxKeys {
		if !l.allow(key+10, time.Hour) {
			t.Fatal("a new key is refused")
		}
		if len(l.rested) > maxKeys {
			t.Fatalf("%d keys are remembered, want at most %d", len(l.rested), maxKeys)
		}
	}
}

// An address that sends more than it may is refused, with a text that says who is meant; another one is not.
func TestRequestsOfASource(t *testing.T) {
	a := start(t, newUpstream(t, nil), func(c *Config) { c.RequestsPerSource = 10 })
	text := token("web-1", 1, tomorrow())
	from := func(address string) (status int, body string, header http.Header) {
		transport := &http.Transport{DisableKeepAlives: true,
			DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext}
		resp, body := fetchBy(t, transport, a.url(), text)
		return resp.StatusCode, body, resp.Header
	}
	refused := 0
	for range 30 {
		status, body, header := from("127.0.0.1")
		if status == http.StatusOK {
			continue
		}
		refused++
		if want := "Too Many Requests: 127.0.0.1 sends more than 10 a second."; status != http.StatusTooManyRequests ||
			!strings.Contains(body, want) || header.Get("Retry-After") != "1" {
			t.Errorf("got %d %v %s, want %s", status, header, body, want)
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	if status, body, _ := from("127.0.0.2"); status != http.StatusOK {
		t.Errorf("from another address: %d %s", status, body)
	}
}

func TestSource(t *testing.T) {
	for remote, want := range map[string]string{
		"10.0.0.1:1234": "10.0.0.1", "[::ffff:10.0.0.1]:1234": "10.0.0.1", "[fe80::1%eth0]:80": "fe80::1", "@": "invalid IP",
	} {
		if got := source(remote); got.String() != want {
			t.Errorf("%s is %v, want %s", remote, got, want)
		}
	}
}

// Requests of one address that wait are bounded, whatever they wait for.
func TestWaitingRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{delay: time.Second, life: 6 * time.Hour}
		c := w.cache(t, nil)
		text := token("web", 1, tomorrow())
		var mu sync.Mutex
		served, refused := 0, 0
		var waiters sync.WaitGroup
		for range maxWaitingForSource + 100 {
			waiters.Go(func() {
				_, err := ask(t.Context(), t, c, text)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					served++
				} else if isThrottled(err) {
					refused++
				}
			})
		}
		waiters.Wait()
		if served != maxWaitingForSource || refused != 100 {
			t.Errorf("%d served, %d refused, want %d and 100", served, refused, maxWaitingForSource)
		}
	})
}

// An address can have so many connections open; one more is closed, and another address does not notice.
func TestConnectionsOfASource(t *testing.T) {
	a := start(t, newUpstream(t, nil), nil)
	open := func(address string) net.Conn {
		t.Helper()
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).Dial("tcp", a.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	closed := func(conn net.Conn) bool {
		if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", a.Addrs()[0]); err != nil {
			return true
		}
		_, err := conn.Read(make([]byte, 1))
		return err != nil
	}
	count := func() int {
		a.crowd.mu.Lock()
		defer a.crowd.mu.Unlock()
		return a.crowd.open[netip.MustParseAddr("127.0.0.2")]
	}
	var conns []net.Conn
	for range maxConnections {
		conns = append(conns, open("127.0.0.2"))
	}
	for n := 0; n < 1000 && count() < maxConnections; n++ { // until all have been accepted
		time.Sleep(time.Millisecond)
	}
	if !closed(open("127.0.0.2")) {
		t.Error("one connection more than there may be is served")
	}
	if closed(conns[maxConnections-1]) || closed(open("127.0.0.3")) {
		t.Error("others are not served")
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	for n := 0; n < 5000 && count() > 0; n++ {
		time.Sleep(time.Millisecond)
	}
	if n := count(); n != 0 {
		t.Errorf("%d connections are still counted", n)
	}
}
