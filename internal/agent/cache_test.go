package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
)

// world is EKS Auth as the cache sees it, within a bubble of fake time.
type world struct {
	delay  time.Duration
	life   time.Duration            // of the credentials
	refuse func(token string) error // nil, or says no

	mu      sync.Mutex
	calls   []string // tokens
	times   []time.Time
	running int
	most    int // of running
}

func (w *world) assume(_ context.Context, token identity.Secret) (*Assumption, error) {
	w.mu.Lock()
	w.calls, w.times = append(w.calls, token.Reveal()), append(w.times, time.Now())
	call, refuse, life, delay := len(w.calls), w.refuse, w.life, w.delay
	w.running++
	w.most = max(w.most, w.running)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.running--
	}()
	time.Sleep(delay)
	if refuse != nil {
		if err := refuse(token.Reveal()); err != nil {
			return nil, err
		}
	}
	return &Assumption{Credentials: identity.Credentials{
		AccessKeyID: fmt.Sprintf("ASIA%d", call), SecretAccessKey: "s", SessionToken: "t", ExpiresAt: time.Now().Add(life),
	}}, nil
}

func (w *world) count() int {
	calls, _ := w.record()
	return len(calls)
}

// record returns the tokens that came and when.
func (w *world) record() ([]string, []time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls), slices.Clone(w.times)
}

func (w *world) say(refuse func(string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = refuse
}

// cache makes a cache on the world that renews until the test ends.
func (w *world) cache(t *testing.T, mutate func(*Config)) *cache {
	t.Helper()
	config := Config{
		BindHosts: []string{"127.0.0.1"}, AssumeRole: w.assume,
		Retention: 3 * time.Hour, CacheSize: 2000, RenewalsPerSecond: 3,
	}
	if mutate != nil {
		mutate(&config)
	}
	a, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.cache.renewAhead(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		a.cache.finish()
	})
	return a.cache
}

// ask asks the way the handler does and returns which call the credentials are from: ASIA1, ….
func ask(ctx context.Context, t *testing.T, c *cache, token string) (string, error) {
	t.Helper()
	return askFrom(ctx, t, c, netip.Addr{}, token)
}

// askFrom asks from an address; from the pod's own if it is zero.
func askFrom(ctx context.Context, t *testing.T, c *cache, from netip.Addr, token string) (string, error) {
	t.Helper()
	f := fingerprint(sha256.Sum256([]byte(token)))
	found := c.lookup(f)
	if found == nil {
		claims, err := parseToken(token)
		if err == nil {
			err = claims.check(time.Now())
		}
		if err == nil {
			if !from.IsValid() {
				from = address(claims.subject.PodName)
			}
			found, err = c.get(ctx, from, f, identity.Secret(token), claims)
		}
		if err != nil {
			return "", err
		}
	}
	var key string
	if _, err := fmt.Sscanf(string(found.body), `{"AccessKeyId":%q`, &key); err != nil {
		t.Errorf("reading %s: %v", found.body, err)
	}
	return key, nil
}

// address is the IP address of a pod.
func address(pod string) netip.Addr {
	sum := sha256.Sum256([]byte(pod))
	return netip.AddrFrom4([4]byte{10, sum[0], sum[1], sum[2]})
}

// wantKey asks until there is an answer, as SDKs do.
func wantKey(t *testing.T, c *cache, token, want string) {
	t.Helper()
	got, err := ask(t.Context(), t, c, token)
	for n := 0; n < 10 && isLate(err); n++ {
		got, err = ask(t.Context(), t, c, token)
	}
	if got != want || err != nil {
		t.Errorf("got %q, %v, want %s", got, err, want)
	}
}

// isLate tells whether the pod is to ask again.
func isLate(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.status == http.StatusServiceUnavailable
}

// sizes counts the pods and the tokens in the cache.
func sizes(t *testing.T, c *cache) (pods, tokens int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recent.Len() != len(c.pods) {
		t.Errorf("%d pods, but %d in the list", len(c.pods), c.recent.Len())
	}
	for _, known := range c.tokens {
		if c.pods[known.pod.key] != known.pod {
			t.Error("a token leads to a pod that has been dropped")
		}
	}
	return len(c.pods), len(c.tokens)
}

func tomorrow() time.Time { return time.Now().Add(24 * time.Hour) }

func unavailable(string) error { return &APIError{Status: 503, Code: "ServiceUnavailableException"} }

func TestOneExchangeForAllWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{delay: 20 * time.Millisecond, life: 6 * time.Hour}
		c := w.cache(t, nil)
		text := token("web", 1, tomorrow())
		start := time.Now()
		var waiters sync.WaitGroup
		for range 200 {
			waiters.Go(func() {
				wantKey(t, c, text, "ASIA1")
				if took := time.Since(start); took != w.delay { // by the bubble's clock, which no load can disturb
					t.Errorf("waited %v, want %v", took, w.delay)
				}
			})
		}
		waiters.Wait()
		wantKey(t, c, text, "ASIA1")
		if w.count() != 1 {
			t.Errorf("%d exchanges, want 1", w.count())
		}
	})
}

func TestExchangeOutlivesItsWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{delay: 3 * time.Second, life: 6 * time.Hour}
		c := w.cache(t, nil)
		text := token("web", 1, tomorrow())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := ask(ctx, t, c, text); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want a timeout", err)
		}
		time.Sleep(2500 * time.Millisecond)
		wantKey(t, c, text, "ASIA1")
		if w.count() != 1 {
			t.Errorf("%d exchanges, want 1", w.count())
		}
	})
}

func TestOnlyAcceptedTokensAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: 6 * time.Hour}
		c := w.cache(t, nil)
		genuine, forged := token("web", 1, tomorrow()), token("web", 666, tomorrow())
		wantKey(t, c, genuine, "ASIA1")
		w.say(func(token string) error {
			if token == forged {
				return &APIError{Status: 400, Code: "InvalidTokenException", Message: "signature"}
			}
			return nil
		})
		for range 2 {
			if got, err := ask(t.Context(), t, c, forged); !final(err) {
				t.Errorf("forged token got %q, %v", got, err)
			}
		}
		wantKey(t, c, genuine, "ASIA1") // and has lost nothing
		if w.count() != 3 {
			t.Errorf("%d exchanges, want 3: refusals are not cached", w.count())
		}
	})
}

func TestRotatedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: 6 * time.Hour}
		c := w.cache(t, func(c *Config) { c.Rand = func() float64 { return 0 } })
		first, second := token("web", 1, time.Now().Add(2*time.Hour)), token("web", 2, tomorrow())
		wantKey(t, c, first, "ASIA1")
		time.Sleep(time.Hour)
		wantKey(t, c, second, "ASIA2")
		wantKey(t, c, first, "ASIA2") // the pod's credentials are one
		if pods, tokens := sizes(t, c); pods != 1 || tokens != 2 {
			t.Errorf("%d pods, %d tokens, want 1 and 2", pods, tokens)
		}
		time.Sleep(3*time.Hour + 2*time.Second)
		calls, _ := w.record()
		if diff := cmp.Diff([]string{first, second, second}, calls); diff != "" {
			t.Errorf("renewed with another than the newest token:\n%s", diff)
		}
		wantKey(t, c, second, "ASIA3")
		if _, err := ask(t.Context(), t, c, first); !errors.Is(err, errExpired) {
			t.Errorf("expired token of a cached pod: %v, want %v", err, errExpired)
		}
	})
}

// Every token of a pod costs memory, and whoever runs in a pod can have as many made as he likes.
func TestTokensOfAPodAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: 6 * time.Hour}
		c := w.cache(t, nil)
		var text string
		for serial := range 50 {
			text = token("web", serial, tomorrow())
			wantKey(t, c, text, fmt.Sprintf("ASIA%d", serial+1))
			time.Sleep(time.Second / perPodRate)
		}
		wantKey(t, c, text, "ASIA50")
		if pods, tokens := sizes(t, c); pods != 1 || tokens != tokensPerPod {
			t.Errorf("%d pods, %d tokens, want 1 and %d", pods, tokens, tokensPerPod)
		}
	})
}

func TestLeastRecentlyAskedForGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: 6 * time.Hour}
		c := w.cache(t, func(c *Config) { c.CacheSize = 2 })
		a, b, d := token("a", 1, tomorrow()), token("b", 1, tomorrow()), token("d", 1, tomorrow())
		wantKey(t, c, a, "ASIA1")
		wantKey(t, c, b, "ASIA2")
		wantKey(t, c, a, "ASIA1")
		wantKey(t, c, d, "ASIA3")
		wantKey(t, c, a, "ASIA1")
		wantKey(t, c, d, "ASIA3")
		wantKey(t, c, b, "ASIA4")
		if pods, tokens := sizes(t, c); pods != 2 || tokens != 2 {
			t.Errorf("%d pods, %d tokens, want 2 of each", pods, tokens)
		}
	})
}

func TestWithoutCache(t *testing.T) {
	for name, mutate := range map[string]func(*Config){
		"no size":      func(c *Config) { c.CacheSize = 0 },
		"no retention": func(c *Config) { c.Retention = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{life: 6 * time.Hour}
				c := w.cache(t, mutate)
				text := token("web", 1, tomorrow())
				wantKey(t, c, text, "ASIA1")
				wantKey(t, c, text, "ASIA2")
				time.Sleep(6 * time.Hour)
				if _, tokens := sizes(t, c); w.count() != 2 || tokens != 0 {
					t.Errorf("%d exchanges, %d tokens kept, want 2 and none", w.count(), tokens)
				}
			})
		})
	}
}

func TestCredentialsAboutToExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: minLife - time.Second}
		c := w.cache(t, nil)
		_, err := ask(t.Context(), t, c, token("web", 1, tomorrow()))
		if want := "fetched credentials are expired or will expire within the next 15 seconds"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}
