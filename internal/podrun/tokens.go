package podrun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"time"
)

// A token is renewed when this share of its life is over, as the kubelet does; after a failure again and again.
const (
	renewAfter = 0.8
	retryAfter = 10 * time.Second
)

// maxSleep is how long the wait for the next renewal goes without a look at the clock: timers stand still while a laptop
// sleeps, tokens go on aging.
const maxSleep = time.Minute

// tokens keeps the token files of a pod fresh.
type tokens struct {
	root  *os.Root
	fetch func(context.Context, TokenRequest) (Token, error)
	files []*tokenFile
	sleep time.Duration // longest
	now   func() time.Time
	log   *slog.Logger
}

type tokenFile struct {
	path    string // below the root
	request TokenRequest
	due     time.Time
}

// project makes the directories of the token volumes that a container mounts, collects their token files, and tells where the
// container's paths are here. Volumes and sources of other kinds are left out: nothing is known here of what they hold.
func (t *tokens) project(p *pod, c *container) (paths, error) {
	var mapped paths
	done := map[string]bool{}
	for _, m := range c.VolumeMounts {
		for _, v := range p.Spec.Volumes {
			if v.Name != m.Name || v.Projected == nil || m.SubPathExpr != "" {
				continue
			}
			mapped.add(m.MountPath, filepath.Join(t.root.Name(), v.Name, filepath.FromSlash(m.SubPath)))
			if done[v.Name] {
				continue
			}
			done[v.Name] = true
			for _, source := range v.Projected.Sources {
				if source.ServiceAccountToken == nil {
					continue
				}
				if err := t.addFile(p, v.Name, source.ServiceAccountToken); err != nil {
					return nil, err
				}
			}
		}
	}
	return mapped, nil
}

func (t *tokens) addFile(p *pod, volume string, source *tokenSource) error {
	if !filepath.IsLocal(filepath.FromSlash(source.Path)) {
		return fmt.Errorf("volume %s: token path %q leaves the volume", volume, source.Path)
	}
	name := path.Join(volume, source.Path)
	if err := t.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return fmt.Errorf("making volume %s: %w", volume, err)
	}
	t.files = append(t.files, &tokenFile{path: name, request: TokenRequest{
		Audience:          source.Audience,
		ExpirationSeconds: source.ExpirationSeconds,
		PodName:           p.Metadata.Name,
		PodUID:            p.Metadata.UID,
	}})
	return nil
}

// start writes all tokens for the first time.
func (t *tokens) start(ctx context.Context) error {
	for _, f := range t.files {
		if err := t.renew(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// run renews the tokens until ctx ends.
func (t *tokens) run(ctx context.Context) {
	if len(t.files) == 0 {
		return
	}
	for {
		next := t.files[0].due
		for _, f := range t.files {
			if f.due.Before(next) {
				next = f.due
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(max(next.Sub(t.now()), 0), t.sleep)):
		}
		for _, f := range t.files {
			if f.due.After(t.now()) {
				continue
			}
			err := t.renew(ctx, f)
			if err == nil || ctx.Err() != nil {
				continue
			}
			f.due = t.now().Add(retryAfter)
			t.log.WarnContext(ctx, "token not renewed", "file", f.path, "err", err)
		}
	}
}

// renew gets a token and puts it in place of the old one, at once: a reader sees one or the other. The file ends without a
// line break, which several SDKs would take for part of the token and refuse.
func (t *tokens) renew(ctx context.Context, f *tokenFile) error {
	token, err := t.fetch(ctx, f.request)
	if err != nil {
		return err
	}
	// Round strips the monotonic clock, which stands still while the machine sleeps.
	now := t.now().Round(0)
	life := token.ExpiresAt.Sub(now)
	if life <= 0 {
		return errors.New("the new token has expired already: does the clock here agree with the cluster's?")
	}
	f.due = now.Add(time.Duration(renewAfter * float64(life)))
	next := f.path + ".next"
	if err := t.root.WriteFile(next, []byte(token.Value.Reveal()), 0o600); err != nil {
		return fmt.Errorf("writing token: %w", err)
	}
	if err := t.root.Rename(next, f.path); err != nil {
		return fmt.Errorf("writing token: %w", err)
	}
	return nil
}
