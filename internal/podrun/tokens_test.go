package podrun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
)

// TestRenewal writes down when which token is asked for.
func TestRenewal(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		begin := time.Now()
		var asked []string
		k := &tokens{root: root, sleep: maxSleep, now: time.Now, log: slog.New(slog.DiscardHandler),
			fetch: func(_ context.Context, in TokenRequest) (Token, error) {
				at := time.Since(begin).Round(time.Second)
				asked = append(asked, fmt.Sprintf("%s %v", in.Audience, at))
				if 850*time.Second < at && at < 1616*time.Second {
					return Token{}, errors.New("down")
				}
				life := time.Duration(in.ExpirationSeconds) * time.Second
				return Token{identity.Secret(fmt.Sprint(in.Audience, at)), time.Now().Add(life)}, nil
			},
			files: []*tokenFile{
				{path: "hour", request: TokenRequest{Audience: "hour", ExpirationSeconds: 3600}},
				{path: "short", request: TokenRequest{Audience: "short", ExpirationSeconds: 1000}},
			},
		}
		if err := k.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			k.run(ctx)
		}()
		time.Sleep(2900 * time.Second)
		cancel()
		<-ended
		want := []string{
			"hour 0s", "short 0s", "short 13m20s", // 800 s
			"short 26m40s", "short 26m50s", "short 27m0s", // 1600 s and 1610 s, which fail, 1620 s
			"short 40m20s", // 2420 s
			"hour 48m0s",   // 2880 s
		}
		if diff := cmp.Diff(want, asked); diff != "" {
			t.Errorf("asked for (-want +got):\n%s", diff)
		}
	})
	for name, want := range map[string]string{"hour": "hour48m0s", "short": "short40m20s"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v; want %q", name, got, err, want)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestExpiredTokenIsRefused(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	k := &tokens{root: root, now: time.Now, files: []*tokenFile{{path: "t"}},
		fetch: func(context.Context, TokenRequest) (Token, error) {
			return Token{"x", time.Now().Add(-time.Second)}, nil
		}}
	if err := k.start(t.Context()); err == nil {
		t.Error("started with an expired token")
	}
}
