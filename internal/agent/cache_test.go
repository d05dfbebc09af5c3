package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
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

	mu    sync.Mutex
	calls []string // tokens
	times []time.Time
}

func (w *world) assume(_ context.Context, token identity.Secret) (*Assumption, error) {
	w.mu.Lock()
	w.calls, w.times = append(w.calls, token.Reveal()), append(w.times, time.Now())
	call, refuse, life := len(w.calls), w.refuse, w.life
	w.mu.Unlock()
	time.Sleep(w.delay)
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
		Retention: DefaultRetention, CacheSize: DefaultCacheSize, RenewalsPerSecond: DefaultRenewalsPerSecond,
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
		a.cache.running.Wait()
	})
	return a.cache
}

// ask asks the way the handler does and returns which call the credentials are from: ASIA1, ….
func ask(ctx context.Context, t *testing.T, c *cache, token string) (string, error) {
	t.Helper()
	f := fingerprint(sha256.Sum256([]byte(token)))
	found := c.lookup(f)
	if found == nil {
		claims, err := parseToken(token)
		if err == nil {
			err = claims.check(time.Now())
		}
		if err == nil {
			found, err = c.get(ctx, f, identity.Secret(token), claims)
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

func wantKey(t *testing.T, c *cache, token, want string) {
	t.Helper()
	if got, err := ask(t.Context(), t, c, token); got != want || err != nil {
		t.Errorf("got %q, %v, want %s", got, err, want)
	}
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

func notFound(string) error {
	return &APIError{Status: 404, Code: "ResourceNotFoundException", Message: "No association found"}
}

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
		for serial := range 50 {
			wantKey(t, c, token("web", serial, tomorrow()), fmt.Sprintf("ASIA%d", serial+1))
		}
		wantKey(t, c, token("web", 49, tomorrow()), "ASIA50")
		if pods, tokens := sizes(t, c); pods != 1 || tokens != tokensPerPod {
			t.Errorf("%d pods, %d tokens, want 1 and %d", pods, tokens, tokensPerPod)
		}
	})
}

func TestRenewalAheadOfExpiry(t *testing.T) {
	for _, tt := range []struct{ life, earliest, latest time.Duration }{
		{6 * time.Hour, 144 * time.Minute, 3 * time.Hour},                            // the retention time decides
		{59 * time.Minute, 59 * time.Minute * 56 / 100, 59 * time.Minute * 70 / 100}, // with a target role
		{15 * time.Minute, 15 * time.Minute * 56 / 100, 15 * time.Minute * 70 / 100},
	} {
		for _, random := range []float64{0, 0.5, 0.999} {
			synctest.Test(t, func(t *testing.T) {
				w := &world{life: tt.life, delay: time.Second}
				c := w.cache(t, func(c *Config) { c.Rand = func() float64 { return random } })
				text := token("web", 1, tomorrow())
				start := time.Now()
				wantKey(t, c, text, "ASIA1")
				for w.count() == 1 && time.Since(start) < tt.life {
					wantKey(t, c, text, "ASIA1") // nobody waits for a renewal
					time.Sleep(time.Second)
				}
				if age := time.Since(start); age < tt.earliest || age > tt.latest+5*time.Second {
					t.Errorf("life %v, random %v: renewed after %v, want %v to %v", tt.life, random, age, tt.earliest, tt.latest)
				}
				time.Sleep(2 * time.Second)
				wantKey(t, c, text, "ASIA2")
			})
		}
	}
}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: time.Hour}
		c := w.cache(t, nil)
		text := token("web", 1, tomorrow())
		start := time.Now()
		wantKey(t, c, text, "ASIA1")
		w.say(unavailable)
		time.Sleep(time.Hour - minLife)
		wantKey(t, c, text, "ASIA1") // up to the last moment
		_, times := w.record()
		for i, at := range times[2:] {
			if pause := at.Sub(times[i+1]); pause < time.Minute || pause > 2*time.Minute+2*time.Second {
				t.Errorf("renewal tried again after %v, want one to two minutes", pause)
			}
		}
		if n := w.count(); n < 8 {
			t.Errorf("%d exchanges in the outage", n)
		}
		time.Sleep(time.Second)
		if got, err := ask(t.Context(), t, c, text); err == nil {
			t.Errorf("got %s that expires in %v", got, time.Hour-time.Since(start))
		}
		w.say(nil)
		wantKey(t, c, text, fmt.Sprintf("ASIA%d", w.count()+1))
	})
}

func TestRefusedRenewal(t *testing.T) {
	tests := []struct {
		name string
		err  error
		kept bool
	}{
		{"association deleted", &APIError{Status: 404, Code: "ResourceNotFoundException"}, false},
		{"trust policy changed", &APIError{Status: 400, Code: "AccessDeniedException"}, false},
		{"pod deleted", &APIError{Status: 400, Code: "InvalidTokenException"}, false},
		{"token expired by upstream's clock", &APIError{Status: 400, Code: "ExpiredTokenException"}, false},
		{"agent's session expired", &APIError{Status: 403, Code: "ExpiredTokenException"}, true},
		{"agent may not", &APIError{Status: 403, Code: "AccessDeniedException"}, true},
		{"fault", &APIError{Status: 500, Code: "InternalServerException"}, true},
		{"a gateway's 404", &APIError{Status: 404, Code: "UnknownError"}, true},
		{"no network", errors.New("connection refused"), true},
		{"nonsense", errAnswer, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{life: 6 * time.Hour}
				c := w.cache(t, nil)
				text := token("web", 1, tomorrow())
				wantKey(t, c, text, "ASIA1")
				w.say(func(string) error { return tt.err })
				time.Sleep(3*time.Hour + time.Minute)
				if w.count() < 2 {
					t.Fatal("not renewed")
				}
				_, err := ask(t.Context(), t, c, text)
				if kept := err == nil; kept != tt.kept {
					t.Errorf("kept: %v, want %v", kept, tt.kept)
				}
			})
		})
	}
}

// The refusal of an old token, on its way when the pod came with a new one, says nothing about the new one.
func TestRefusalOfAnOldToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: 6 * time.Hour, delay: 5 * time.Second}
		c := w.cache(t, func(c *Config) { c.Rand = func() float64 { return 0 } })
		first, second := token("web", 1, tomorrow()), token("web", 2, tomorrow().Add(time.Hour))
		wantKey(t, c, first, "ASIA1")
		var refused atomic.Bool
		w.say(func(token string) error {
			if token == first {
				refused.Store(true)
				time.Sleep(5 * time.Second)
				return &APIError{Status: 400, Code: "ExpiredTokenException"}
			}
			return nil
		})
		for w.count() < 2 {
			time.Sleep(time.Second)
		}
		wantKey(t, c, second, "ASIA3")
		time.Sleep(10 * time.Second)
		wantKey(t, c, second, "ASIA3")
		if !refused.Load() {
			t.Error("the renewal with the first token did not fail")
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

func TestPodsThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: 6 * time.Hour}
		c := w.cache(t, nil)
		wantKey(t, c, token("gone", 1, tomorrow()), "ASIA1")
		wantKey(t, c, token("short", 1, time.Now().Add(time.Hour)), "ASIA2")
		time.Sleep(time.Hour + time.Second)
		if pods, _ := sizes(t, c); pods != 1 {
			t.Errorf("%d pods, want 1: all tokens of the other have expired", pods)
		}
		time.Sleep(5*time.Hour + time.Second)
		if pods, tokens := sizes(t, c); pods != 0 || tokens != 0 {
			t.Errorf("%d pods, %d tokens, want none: nobody has asked for the renewed credentials", pods, tokens)
		}
		calls := w.count()
		time.Sleep(12 * time.Hour)
		if w.count() != calls {
			t.Errorf("%d exchanges for pods that are gone", w.count()-calls)
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

// What goes upstream is limited; what is in the cache is not.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: 6 * time.Hour, delay: time.Second}
		c := w.cache(t, nil)
		cached := token("cached", 1, tomorrow())
		wantKey(t, c, cached, "ASIA1")
		time.Sleep(time.Second)
		var throttled, served int
		var mu sync.Mutex
		var waiters sync.WaitGroup
		for i := range missBurst + 100 {
			waiters.Go(func() {
				_, err := ask(t.Context(), t, c, token(fmt.Sprintf("p%d", i), 1, tomorrow()))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					served++
				case errors.Is(err, errThrottled):
					throttled++
				default:
					t.Error(err)
				}
			})
		}
		for range 10 * missBurst {
			wantKey(t, c, cached, "ASIA1")
		}
		waiters.Wait()
		if served != missBurst || throttled != 100 {
			t.Errorf("%d served, %d throttled, want %d and 100", served, throttled, missBurst)
		}
	})
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

// A node's pods start together, and each asks now and then as SDKs do. For two days nobody but the first time waits for upstream,
// and renewals stay within the budget.
func TestRenewalBudget(t *testing.T) {
	const pods, budget = 100, 1
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: 6 * time.Hour, delay: 100 * time.Millisecond}
		c := w.cache(t, func(c *Config) { c.RenewalsPerSecond = budget })
		var tokens []string
		for i := range pods {
			tokens = append(tokens, token(fmt.Sprintf("p%d", i), 1, time.Now().Add(72*time.Hour)))
			if _, err := ask(t.Context(), t, c, tokens[i]); err != nil {
				t.Fatal(err)
			}
		}
		for range 48 {
			time.Sleep(time.Hour)
			for i, text := range tokens {
				f := fingerprint(sha256.Sum256([]byte(text)))
				if c.lookup(f) == nil {
					t.Fatalf("pod %d has to wait", i)
				}
			}
		}
		_, times := w.record()
		for i := pods + budget; i < len(times); i++ {
			if gap := times[i].Sub(times[i-budget]); gap < 990*time.Millisecond {
				t.Fatalf("renewals %v apart, want %d a second", gap, budget)
			}
		}
		if renewals := w.count() - pods; renewals < pods*48/3 || renewals > pods*48*10/24 {
			t.Errorf("%d renewals in 48 hours, want one per pod in 2.4 to 3 hours", renewals)
		}
	})
}

// One renewal takes one unit of the budget, and what is most urgent goes first.
func TestRenewalOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: time.Hour}
		c := w.cache(t, func(c *Config) { c.Rand, c.RenewalsPerSecond = func() float64 { return 0 }, 1 })
		for i := range 9 {
			w.mu.Lock()
			w.life = time.Hour + time.Duration(9-i)*time.Millisecond
			w.mu.Unlock()
			if _, err := ask(t.Context(), t, c, token(fmt.Sprintf("p%d", i), 1, tomorrow())); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(42*time.Minute + 10*time.Second)
		var order []string
		calls, times := w.record()
		for _, text := range calls[9:] {
			claims, err := parseToken(text)
			if err != nil {
				t.Fatal(err)
			}
			order = append(order, claims.subject.PodName)
		}
		if diff := cmp.Diff([]string{"p8", "p7", "p6", "p5", "p4", "p3", "p2", "p1", "p0"}, order); diff != "" {
			t.Errorf("order of renewals (-want +got):\n%s", diff)
		}
		if took := times[17].Sub(times[9]); took != 8*time.Second {
			t.Errorf("from the first to the ninth renewal it took %v, want 8s at one a second", took)
		}
	})
}
