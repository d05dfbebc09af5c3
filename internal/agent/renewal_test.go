package agent

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

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

// A pod that had to make room while its credentials were being renewed, and has come back, is not what the renewal was for.
func TestRenewalOfADroppedPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{life: 6 * time.Hour}
		c := w.cache(t, func(c *Config) { c.CacheSize = 1 })
		first, second, other := token("web", 1, tomorrow()), token("web", 2, tomorrow()), token("other", 1, tomorrow())
		wantKey(t, c, first, "ASIA1")
		w.say(func(token string) error {
			if token == first {
				time.Sleep(8 * time.Second)
				return &APIError{Status: 400, Code: "ExpiredTokenException"}
			}
			return nil
		})
		for w.count() < 2 {
			time.Sleep(time.Second)
		}
		wantKey(t, c, other, "ASIA3")
		wantKey(t, c, second, "ASIA4")
		time.Sleep(2 * time.Minute)
		wantKey(t, c, second, "ASIA4")
		if pods, tokens := sizes(t, c); pods != 1 || tokens != 1 {
			t.Errorf("%d pods, %d tokens, want 1 of each", pods, tokens)
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
			t.Fatalf("order of renewals (-want +got):\n%s", diff)
		}
		if took := times[17].Sub(times[9]); took != 8*time.Second {
			t.Errorf("from the first to the ninth renewal it took %v, want 8s at one a second", took)
		}
	})
}
