package agent

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/podid/podid/internal/identity"
)

const (
	minLife         = 15 * time.Second // credentials with less left are not handed out, as in Amazon's agent
	exchangeTimeout = 10 * time.Second // of one exchange with all its attempts
	tokensPerPod    = 4                // accepted tokens remembered for a pod: its latest ones, while a rotation is on its way
	missesPerSecond = 1000             // exchanges for waiting pods; Amazon's agent has this limit for all requests
	missBurst       = 500
)

// errThrottled is given to pods while more new tokens arrive than may be sent upstream.
var errThrottled = errors.New("too many exchanges")

// fingerprint stands for a token in the cache, so that a token is looked up without being parsed or compared.
type fingerprint [sha256.Size]byte

// String is how a token is named in the log: eight hexadecimal digits, which join lines and give nothing away.
func (f fingerprint) String() string { return hex.EncodeToString(f[:4]) }

// answer is what a pod is given: credentials, encoded once.
type answer struct {
	body      []byte
	length    []string // value of the Content-Length header
	expiresAt time.Time
}

// newAnswer encodes credentials as SDKs expect them from a container credentials endpoint. Expiration has no fraction of a second:
// old parsers do not take one. See https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html.
func newAnswer(a *Assumption, now time.Time) (*answer, error) {
	if a.ExpiresAt.Sub(now) < minLife {
		return nil, fmt.Errorf("fetched credentials are expired or will expire within the next %d seconds", minLife/time.Second)
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(struct {
		AccessKeyID     string `json:"AccessKeyId"`
		SecretAccessKey string
		Token           string
		AccountID       string `json:"AccountId,omitempty"`
		Expiration      string
	}{
		a.AccessKeyID, a.SecretAccessKey.Reveal(), a.SessionToken.Reveal(), a.AccountID,
		a.ExpiresAt.UTC().Format("2006-01-02T15:04:05Z"),
	})
	if err != nil {
		return nil, fmt.Errorf("encoding credentials: %w", err)
	}
	return &answer{bytes.Clone(body.Bytes()), []string{strconv.Itoa(body.Len())}, a.ExpiresAt}, nil
}

// pod is the cached credentials of one pod, and the tokens that they may be had for.
type pod struct {
	key       string
	claims    claims          // of the newest token
	token     identity.Secret // the newest token, with which credentials are renewed
	newest    fingerprint
	tokens    []fingerprint // accepted ones, oldest first
	answer    *answer
	renewAt   time.Time
	neededTo  time.Time     // when the credentials last handed out expire; a pod that has not come back by then is gone
	placement *list.Element // in cache.recent
}

// accepted is a token that upstream has accepted.
type accepted struct {
	pod       *pod
	expiresAt time.Time
}

// exchange is a token on its way upstream. All who want its credentials meanwhile wait for it.
type exchange struct {
	fingerprint fingerprint
	token       identity.Secret
	claims      claims
	renews      *pod          // nil: a pod waits for it
	done        chan struct{} // closed when answer and err are set
	answer      *answer
	err         error
}

// cache holds credentials by pod. Credentials are served for a token only after upstream has accepted that token, and until the
// token or they expire. An exchange goes on when those who wait for it give up, so that their next request finds it done.
type cache struct {
	assume    func(context.Context, identity.Secret) (*Assumption, error)
	size      int           // pods kept; 0: none, every request goes upstream
	retention time.Duration // after which credentials are renewed, however long they live; 0 as with size
	now       func() time.Time
	rand      func() float64
	log       *slog.Logger
	metrics   *metrics
	misses    *rate.Limiter // exchanges for waiting pods
	renewals  *rate.Limiter // exchanges ahead of need

	running sync.WaitGroup // exchanges

	mu        sync.Mutex // guards all below, and the fields of pods; those of an exchange are its goroutine's until done
	tokens    map[fingerprint]accepted
	pods      map[string]*pod
	recent    *list.List // of *pod, the one asked for last in front
	exchanges map[fingerprint]*exchange
	renewing  int // exchanges that renew
}

func newCache(config Config, m *metrics) *cache {
	return &cache{
		assume:    config.AssumeRole,
		size:      config.CacheSize,
		retention: config.Retention,
		now:       config.Now,
		rand:      config.Rand,
		log:       config.Logger,
		metrics:   m,
		misses:    rate.NewLimiter(missesPerSecond, missBurst),
		renewals:  rate.NewLimiter(rate.Limit(config.RenewalsPerSecond), config.RenewalsPerSecond),
		tokens:    map[fingerprint]accepted{},
		pods:      map[string]*pod{},
		recent:    list.New(),
		exchanges: map[fingerprint]*exchange{},
	}
}

// lookup returns the credentials for a token that upstream has accepted, or nil.
func (c *cache) lookup(f fingerprint) *answer {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lookupLocked(f, now)
}

func (c *cache) lookupLocked(f fingerprint, now time.Time) *answer {
	known, ok := c.tokens[f]
	if !ok || !now.Before(known.expiresAt) {
		return nil
	}
	p := known.pod
	if p.answer.expiresAt.Sub(now) < minLife {
		c.dropLocked(p)
		return nil
	}
	p.neededTo = p.answer.expiresAt
	c.recent.MoveToFront(p.placement)
	c.metrics.hit.Add(1)
	return p.answer
}

// get returns the credentials for a token that lookup did not know. Any number of callers with one token cause one exchange;
// each waits for it as long as its own context lasts.
func (c *cache) get(ctx context.Context, f fingerprint, token identity.Secret, claims claims) (*answer, error) {
	now := c.now()
	c.mu.Lock()
	if found := c.lookupLocked(f, now); found != nil {
		c.mu.Unlock()
		return found, nil
	}
	c.metrics.miss.Add(1)
	x := c.exchanges[f]
	if x == nil {
		if !c.misses.AllowN(now, 1) {
			c.mu.Unlock()
			return nil, errThrottled
		}
		x = &exchange{fingerprint: f, token: token, claims: claims}
		c.startLocked(x)
	}
	c.mu.Unlock()
	select {
	case <-x.done:
		return x.answer, x.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *cache) startLocked(x *exchange) {
	x.done = make(chan struct{})
	c.exchanges[x.fingerprint] = x
	c.running.Go(func() { c.run(x) })
}

// run takes the token upstream and keeps what comes back.
func (c *cache) run(x *exchange) {
	ctx, cancel := context.WithTimeout(context.Background(), exchangeTimeout)
	defer cancel()
	assumption, err := c.assume(ctx, x.token)
	if err != nil {
		x.err = fmt.Errorf("unable to fetch credentials from EKS Auth: %w", err)
	} else {
		x.answer, x.err = newAnswer(assumption, c.now())
	}
	c.report(x, assumption)

	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.exchanges, x.fingerprint)
	c.keepLocked(x, c.now())
	close(x.done)
}

// report logs and counts the outcome of an exchange.
func (c *cache) report(x *exchange, a *Assumption) {
	who := x.claims.subject
	log := c.log.With("namespace", who.Namespace, "service_account", who.Name, "pod", who.PodName,
		"token", x.fingerprint.String(), "renewal", x.renews != nil)
	if x.err == nil {
		log.Info("credentials fetched", "session_arn", a.SessionARN, "association_id", a.AssociationID, "expires_at", a.ExpiresAt)
		return
	}
	c.metrics.failed(x.err)
	log.Warn("credentials not fetched", "final", final(x.err), "err", x.err)
}

// keepLocked puts the outcome of an exchange into the cache. A refusal never touches what other, accepted tokens have brought:
// claims of a refused token are nobody's word, and refusing an old token says nothing about a newer one.
func (c *cache) keepLocked(x *exchange, now time.Time) {
	if c.size == 0 || c.retention == 0 {
		return
	}
	if x.renews == nil {
		if x.err == nil {
			c.acceptLocked(x, now)
		}
		return
	}
	c.renewing--
	p := x.renews
	switch {
	case c.pods[p.key] != p: // dropped meanwhile
	case x.err == nil:
		p.answer, p.renewAt = x.answer, c.renewAt(x.answer, now)
	case final(x.err) && p.newest == x.fingerprint:
		c.dropLocked(p)
	}
}

// acceptLocked adds a token that upstream has accepted, and the credentials it brought, to its pod.
func (c *cache) acceptLocked(x *exchange, now time.Time) {
	key := x.claims.pod(x.fingerprint)
	p := c.pods[key]
	if p == nil {
		p = &pod{key: key}
		p.placement = c.recent.PushFront(p)
		c.pods[key] = p
	}
	p.answer, p.renewAt, p.neededTo = x.answer, c.renewAt(x.answer, now), x.answer.expiresAt
	if !x.claims.expiresAt.Before(p.claims.expiresAt) {
		p.claims, p.token, p.newest = x.claims, x.token, x.fingerprint
	}
	c.tokens[x.fingerprint] = accepted{p, x.claims.expiresAt}
	p.tokens = append(p.tokens, x.fingerprint)
	if len(p.tokens) > tokensPerPod {
		delete(c.tokens, p.tokens[0])
		p.tokens = append(p.tokens[:0], p.tokens[1:]...)
	}
	for len(c.pods) > c.size {
		c.dropLocked(c.recent.Back().Value.(*pod))
	}
}

func (c *cache) dropLocked(p *pod) {
	for _, f := range p.tokens {
		delete(c.tokens, f)
	}
	delete(c.pods, p.key)
	c.recent.Remove(p.placement)
	c.metrics.evicted.Add(1)
}
