// Package facts knows what the webhook has to know of a cluster's service accounts: which have an association, and what the others
// are annotated with or mapped to. Everything is in memory, kept current by podid's feed and by watches of the Kubernetes API, so
// that a pod waits for nothing; but for those of service accounts that are newer than the memory.
package facts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/webhook"
)

const (
	// askTimeout bounds the questions that one pod waits for. Kubernetes gives webhooks ten seconds.
	askTimeout = time.Second
	// asksPerSecond and askBurst bound them all, as Amazon's webhook does: 500 pods of unknown service accounts must not become 500
	// calls.
	asksPerSecond, askBurst = 10, 20
)

var errTooMany = errors.New("too many service accounts that are not known yet are asked for")

// Config is what a Lookup stands on.
type Config struct {
	Associations *Associations
	// Ask asks podid itself whether a service account has an association. Nil: only Associations count.
	Ask func(context.Context, identity.ServiceAccount) (bool, error)
	// Accounts may be nil: service accounts have no annotations then.
	Accounts *Accounts
	// Mapping may be nil.
	Mapping *Mapping
	Logger  *slog.Logger
}

// Lookup answers [webhook.Config].Lookup.
type Lookup struct {
	Config
	limit   *rate.Limiter
	flights singleflight.Group
}

// New makes a Lookup.
func New(cfg Config) *Lookup {
	return &Lookup{Config: cfg, limit: rate.NewLimiter(asksPerSecond, askBurst)}
}

// answer is what was asked for about a service account that is not in memory.
type answer struct {
	associated  bool
	found       bool
	annotations map[string]string
}

// Find tells everything about a service account. It is out of memory in nearly all cases. A service account that has not been seen
// is newer than what was seen last: then Kubernetes is asked for it, and podid whether it has an association, which may be as
// new. Podid is asked too while the feed is not up.
func (l *Lookup) Find(ctx context.Context, account identity.ServiceAccount) (webhook.ServiceAccountFacts, error) {
	facts := webhook.ServiceAccountFacts{Associated: l.Associations.Has(account)}
	if l.Accounts == nil {
		facts.Found = true
	} else {
		facts.Annotations, facts.Found = l.Accounts.Find(account)
	}
	if l.Mapping != nil {
		facts.Mapped = l.Mapping.Find(account)
	}
	isNew := !facts.Found
	if isNew || !facts.Associated && l.Ask != nil && !l.Associations.Live() {
		got, err := l.ask(ctx, account, isNew)
		facts.Associated = facts.Associated || got.associated
		if got.found {
			facts.Found, facts.Annotations = true, got.annotations
		}
		if err != nil && isNew && !facts.Associated && !l.hasRole(facts) {
			return facts, err
		}
	}
	return facts, nil
}

// hasRole tells whether the service account has a role without an association. That one is used while podid cannot be asked for an
// association, as for service accounts that are in memory.
func (l *Lookup) hasRole(facts webhook.ServiceAccountFacts) bool {
	return facts.Found && (facts.Mapped != nil || facts.Annotations[l.Accounts.prefix+"role-arn"] != "")
}

// ask asks Kubernetes and podid at once, for all pods of a service account that wait at the same time together.
func (l *Lookup) ask(ctx context.Context, account identity.ServiceAccount, isNew bool) (answer, error) {
	result := l.flights.DoChan(account.Namespace+"/"+account.Name, func() (any, error) {
		if !l.limit.Allow() {
			return answer{}, errTooMany
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		var got answer
		var group errgroup.Group
		if isNew {
			group.Go(func() (err error) {
				if got.annotations, got.found, err = l.Accounts.Read(ctx, account); err != nil {
					err = fmt.Errorf("reading the service account: %w", err)
				}
				return err
			})
		}
		if l.Ask != nil && !l.Associations.Has(account) {
			group.Go(func() (err error) {
				if got.associated, err = l.Ask(ctx, account); err != nil {
					err = fmt.Errorf("asking for its association: %w", err)
				}
				return err
			})
		}
		err := group.Wait()
		l.Logger.Debug("service account asked for", "namespace", account.Namespace, "service_account", account.Name,
			"found", got.found, "associated", got.associated, "err", err)
		return got, err
	})
	select {
	case r := <-result:
		return r.Val.(answer), r.Err
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}
