package certificate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/podid/podid/internal/kube"
)

const (
	roundInterval = time.Minute     // between looks at the Secret and the webhook configuration
	retryInterval = 2 * time.Second // after a look that failed
	maxTries      = 5               // at writing the Secret, when other replicas write it too
)

// SecretConfig says where a certificate of our own is kept, and who is told to trust it.
type SecretConfig struct {
	Client    *kube.Client
	Namespace string // of Secret and Service
	Secret    string
	Service   string   // by which API servers call the webhook
	Hosts     []string // further names and addresses that the certificate is for
	// Configuration is the MutatingWebhookConfiguration that is told to trust the authority; empty: none.
	Configuration string
	Logger        *slog.Logger
	Now           func() time.Time // nil: time.Now
}

// KeepSecret makes a certificate of an authority of our own. Both are in a Secret, which all replicas share: whoever writes first
// has made them, by its resource version, and the others take what is there. A year's authority is followed by the next after eight
// months, a month's certificate after three weeks; a certificate of a new authority is served only after the webhook configuration has
// been seen to trust it.
func KeepSecret(cfg SecretConfig) *Source {
	k := newKeeper(cfg)
	k.run = k.keep
	return k.Source
}

func newKeeper(cfg SecretConfig) *keeper {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	k := &keeper{Source: &Source{}, cfg: cfg}
	k.hosts = append([]string{
		cfg.Service + "." + cfg.Namespace + ".svc", cfg.Service + "." + cfg.Namespace, cfg.Service,
		cfg.Service + "." + cfg.Namespace + ".svc.cluster.local",
	}, cfg.Hosts...)
	return k
}

type keeper struct {
	*Source
	cfg   SecretConfig
	hosts []string
}

func (k *keeper) keep(ctx context.Context) {
	said := ""
	for {
		pause, problem := roundInterval+rand.N(roundInterval/4), ""
		if err := k.round(ctx); err != nil && ctx.Err() == nil {
			if problem = err.Error(); problem != said {
				k.cfg.Logger.Error(failure(err), "secret", k.cfg.Namespace+"/"+k.cfg.Secret, "err", err)
			}
			pause = retryInterval + rand.N(retryInterval)
		}
		said = problem
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// errTrust is wrapped by the errors of a certificate that there is, and that API servers may not trust.
var errTrust = errors.New("telling API servers whom to trust")

func failure(err error) string {
	if errors.Is(err, errTrust) {
		return "certificate is served, but API servers may not trust it"
	}
	return "certificate could not be kept"
}

// round does what is due.
func (k *keeper) round(ctx context.Context) error {
	// Whether API servers trust the latest authority is asked before anything is written: they need a moment to hear of it.
	configuration, configErr := k.readConfiguration(ctx)
	now := k.cfg.Now()
	held, err := k.change(ctx, func(held *keys) (*keys, error) {
		switch {
		case held == nil:
			return newKeys(k.hosts, now)
		case !held.serves(k.hosts, now):
			return held, held.issue(k.hosts, now)
		case old(held.authorities[0], now):
			return held, held.addAuthority(now)
		case (old(held.leaf.Leaf, now) || !held.ofLatest()) && configErr == nil && k.trusted(configuration, held):
			return held, held.issue(k.hosts, now)
		}
		return nil, nil
	})
	if err != nil {
		return err
	}
	k.current.Store(&held.leaf)
	if configErr == nil {
		configErr = k.publish(ctx, configuration, held)
	}
	if configErr != nil {
		return fmt.Errorf("%w: %w", errTrust, configErr)
	}
	return nil
}

type secret struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   kube.Metadata     `json:"metadata"`
	Type       string            `json:"type"`
	Data       map[string][]byte `json:"data"`
}

// change reads the Secret, lets f change what is in it (nil: nothing that can be read), and writes what f returns, unless nil. If
// others were faster it begins again.
func (k *keeper) change(ctx context.Context, f func(*keys) (*keys, error)) (*keys, error) {
	path := "/api/v1/namespaces/" + k.cfg.Namespace + "/secrets"
	for range maxTries {
		var s secret
		err := k.cfg.Client.Do(ctx, http.MethodGet, path+"/"+k.cfg.Secret, nil, &s)
		missing := kube.IsCode(err, http.StatusNotFound)
		if err != nil && !missing {
			return nil, fmt.Errorf("reading the secret: %w", err)
		}
		held, err := parseKeys(s.Data)
		if err != nil && !missing && len(s.Data) > 0 {
			k.cfg.Logger.Warn("secret is written anew, since it cannot be read", "secret", k.cfg.Namespace+"/"+k.cfg.Secret, "err", err)
		}
		changed, err := f(held)
		if err != nil {
			return nil, fmt.Errorf("making a certificate: %w", err)
		}
		if changed == nil {
			return held, nil
		}
		if s.Data, err = changed.data(); err != nil {
			return nil, fmt.Errorf("encoding the certificate: %w", err)
		}
		if missing {
			s.APIVersion, s.Kind, s.Type = "v1", "Secret", "kubernetes.io/tls"
			s.Metadata = kube.Metadata{Name: k.cfg.Secret, Namespace: k.cfg.Namespace}
			err = k.cfg.Client.Do(ctx, http.MethodPost, path, &s, nil)
		} else {
			err = k.cfg.Client.Do(ctx, http.MethodPatch, path+"/"+k.cfg.Secret, []operation{
				{"test", "/metadata/resourceVersion", s.Metadata.ResourceVersion}, {"add", "/data", s.Data},
			}, nil)
		}
		if err == nil {
			k.cfg.Logger.Info("certificate made", "secret", k.cfg.Namespace+"/"+k.cfg.Secret,
				"expires_at", changed.leaf.Leaf.NotAfter, "authorities", len(changed.authorities))
			return changed, nil
		}
		// It exists by now, or the test of the patch has failed.
		if !kube.IsCode(err, http.StatusConflict) && !kube.IsCode(err, http.StatusUnprocessableEntity) {
			return nil, fmt.Errorf("writing the secret: %w", err)
		}
	}
	return nil, errors.New("writing the secret: changed by others at every try")
}

// operation is one of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// configuration is what matters of a MutatingWebhookConfiguration.
type configuration struct {
	Metadata kube.Metadata `json:"metadata"`
	Webhooks []struct {
		ClientConfig struct {
			CABundle []byte `json:"caBundle"`
			URL      string `json:"url"`
			Service  *struct {
				Name      string `json:"name"`
				Namespace string `json:"namespace"`
			} `json:"service"`
		} `json:"clientConfig"`
	} `json:"webhooks"`
}

const configurations = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/"

func (k *keeper) readConfiguration(ctx context.Context) (*configuration, error) {
	if k.cfg.Configuration == "" {
		return nil, nil
	}
	c := &configuration{}
	if err := k.cfg.Client.Do(ctx, http.MethodGet, configurations+k.cfg.Configuration, nil, c); err != nil {
		return nil, fmt.Errorf("reading the webhook configuration %s: %w", k.cfg.Configuration, err)
	}
	return c, nil
}

// ours are the indices of the webhooks that are this one.
func (k *keeper) ours(c *configuration) []int {
	var ours []int
	for i, w := range c.Webhooks {
		service := w.ClientConfig.Service
		if service != nil && service.Name == k.cfg.Service && service.Namespace == k.cfg.Namespace {
			ours = append(ours, i)
		}
		if u, err := url.Parse(w.ClientConfig.URL); err == nil && service == nil && slices.Contains(k.hosts, u.Hostname()) {
			ours = append(ours, i)
		}
	}
	return ours
}

// trusted tells whether API servers trust the latest authority. Where somebody else tells them, they are taken to after a day.
func (k *keeper) trusted(c *configuration, held *keys) bool {
	if c == nil {
		return k.cfg.Now().After(held.authorities[0].NotBefore.Add(backdated + 24*time.Hour))
	}
	for _, i := range k.ours(c) {
		if !bytes.Equal(c.Webhooks[i].ClientConfig.CABundle, held.bundle()) {
			return false
		}
	}
	return true
}

// publish writes the bundle into the webhook configuration, where it is another.
func (k *keeper) publish(ctx context.Context, c *configuration, held *keys) error {
	if c == nil {
		return nil
	}
	// The indices are good for this version only.
	patch := []operation{{"test", "/metadata/resourceVersion", c.Metadata.ResourceVersion}}
	ours, bundle := k.ours(c), held.bundle()
	for _, i := range ours {
		if !bytes.Equal(c.Webhooks[i].ClientConfig.CABundle, bundle) {
			patch = append(patch, operation{"add", "/webhooks/" + strconv.Itoa(i) + "/clientConfig/caBundle", bundle})
		}
	}
	switch {
	case len(ours) == 0:
		return fmt.Errorf("the webhook configuration %s has no webhook with the service %s/%s", k.cfg.Configuration, k.cfg.Namespace, k.cfg.Service)
	case len(patch) == 1:
		return nil
	}
	if err := k.cfg.Client.Do(ctx, http.MethodPatch, configurations+k.cfg.Configuration, patch, nil); err != nil {
		return fmt.Errorf("writing the webhook configuration %s: %w", k.cfg.Configuration, err)
	}
	k.cfg.Logger.Info("webhook configuration told whom to trust", "configuration", k.cfg.Configuration, "authorities", len(held.authorities))
	return nil
}
