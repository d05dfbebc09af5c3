package agent

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// wallClock is a clock that can be set. The uptime, which the bubble's clock stands for, takes no part in that.
type wallClock struct{ ahead atomic.Int64 }

func (w *wallClock) now() time.Time          { return time.Now().Add(time.Duration(w.ahead.Load())).Round(0) }
func (w *wallClock) set(ahead time.Duration) { w.ahead.Store(int64(ahead)) }

// cached tells whether credentials are there without an exchange.
func cached(c *cache, token string) bool { return c.lookup(sha256.Sum256([]byte(token))) != nil }

// The machine sleeps, or the clock is put forward: the uptime stands still meanwhile. What has expired by the wall clock is not
// handed out, and what is due is renewed at once, within the budget.
func TestClockForward(t *testing.T) {
	for _, tt := range []struct {
		life time.Duration
		kept bool
	}{{time.Hour, false}, {6 * time.Hour, true}} {
		synctest.Test(t, func(t *testing.T) {
			var clock wallClock
			w := &world{life: tt.life}
			c := w.cache(t, func(c *Config) { c.Now, c.Rand = clock.now, func() float64 { return 0 } })
			var tokens []string
			for i := range 30 {
				tokens = append(tokens, token(fmt.Sprintf("p%d", i), 1, tomorrow()))
				wantKey(t, c, tokens[i], fmt.Sprintf("ASIA%d", i+1))
			}
			clock.set(2 * time.Hour)
			if got := cached(c, tokens[0]); got != tt.kept {
				t.Errorf("life %v: two hours later the cache has it: %v, want %v", tt.life, got, tt.kept)
			}
			time.Sleep(30 * time.Minute)
			if n := w.count() - 30; n != 0 {
				t.Errorf("life %v: %d exchanges, want none: nothing is due, or nobody has asked", tt.life, n)
			}
			time.Sleep(30 * time.Minute) // retention is over by the wall clock
			if tt.kept {
				synctest.Wait()
				if n := w.count() - 30; n > 3 {
					t.Errorf("%d renewals in the first second, want the budget", n)
				}
				time.Sleep(15 * time.Second)
				if n := w.count() - 30; n != 30 {
					t.Errorf("%d renewals, want all", n)
				}
			}
		})
	}
}

// The clock is put back by an hour. Credentials neither look younger than they are nor are they renewed an hour late.
func TestClockBackward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clock wallClock
		w := &world{life: time.Hour}
		c := w.cache(t, func(c *Config) { c.Now, c.Rand = clock.now, func() float64 { return 0 } })
		text := token("web", 1, tomorrow())
		wantKey(t, c, text, "ASIA1")
		w.say(unavailable)
		clock.set(-time.Hour)
		time.Sleep(42*time.Minute + 2*time.Second)
		if w.count() != 2 {
			t.Errorf("%d exchanges, want the renewal at seven tenths of the life", w.count())
		}
		time.Sleep(17 * time.Minute)
		if !cached(c, text) {
			t.Error("the credentials are gone before their time")
		}
		time.Sleep(time.Minute)
		if cached(c, text) {
			t.Error("expired credentials are handed out because the clock was put back")
		}
	})
}

// A clock that was wrong and is put right does not stop the line or the limits, which go by the uptime.
func TestClockDoesNotTouchLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var clock wallClock
		w := &world{life: 6 * time.Hour, delay: 10 * time.Millisecond}
		c := w.cache(t, func(c *Config) { c.Now = clock.now })
		for i := range perPodBurst {
			wantKey(t, c, token("web", i, tomorrow()), fmt.Sprintf("ASIA%d", i+1))
		}
		clock.set(2 * time.Hour)
		if _, err := ask(t.Context(), t, c, token("web", 99, tomorrow())); !isThrottled(err) {
			t.Errorf("got %v, want 429: a clock put forward is no rest", err)
		}
		clock.set(-2 * time.Hour)
		time.Sleep(time.Second)
		wantKey(t, c, token("web", 100, tomorrow()), fmt.Sprintf("ASIA%d", perPodBurst+1))
	})
}

// Six hours of a node with 2,000 pods, whose SDKs ask when a quarter of an hour is left, as botocore does. Exchanges stay within their
// budget, none expires in the cache, and no pod waits after its first request. The figures are printed.
func TestSixHoursOfANode(t *testing.T) {
	if testing.Short() {
		t.Skip("a figure of some ten thousand exchanges, which takes the race detector minutes")
	}
	const pods, qps, span = 2000, 3, 6 * time.Hour
	for _, tt := range []struct {
		name string
		life time.Duration
	}{{"six hours", 6 * time.Hour}, {"59 minutes, with a target role", 59 * time.Minute}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2))
				w := &world{life: tt.life, delay: 50 * time.Millisecond}
				c := w.cache(t, func(c *Config) { c.RenewalsPerSecond, c.Rand = qps, random.Float64 })
				start := time.Now()
				type pod struct {
					fingerprint fingerprint
					asksAt      time.Time
				}
				var all []pod
				for i := range pods {
					text := token(fmt.Sprintf("p%d", i), 1, start.Add(2*span))
					if _, err := ask(t.Context(), t, c, text); err != nil {
						t.Fatal(err)
					}
					all = append(all, pod{sha256.Sum256([]byte(text)), time.Now().Add(tt.life - 15*time.Minute)})
				}
				started := w.count()
				for time.Since(start) < span {
					time.Sleep(time.Minute)
					for i := range all {
						if time.Now().Before(all[i].asksAt) {
							continue
						}
						a := c.lookup(all[i].fingerprint)
						if a == nil {
							t.Fatalf("pod %d has to wait after %v", i, time.Since(start))
						}
						left := a.ends.until(c.moment())
						if left < 15*time.Minute {
							t.Fatalf("pod %d gets credentials that last %v, which its SDK would renew at once", i, left)
						}
						all[i].asksAt = time.Now().Add(left - 15*time.Minute)
					}
				}
				_, times := w.record()
				renewals := times[started:]
				peak := 0
				for i := range renewals {
					n, _ := slices.BinarySearchFunc(renewals, renewals[i].Add(time.Second), time.Time.Compare)
					peak = max(peak, n-i)
				}
				t.Logf("%d pods, credentials of %v, %v: %d exchanges ahead of need, %.2f a second, at most %d in one second (budget %d); none expired",
					pods, tt.life, span, len(renewals), float64(len(renewals))/span.Seconds(), peak, qps)
				if peak > qps {
					t.Errorf("%d renewals in one second, want at most %d", peak, qps)
				}
			})
		})
	}
}
