package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

const minLife = 15 * time.Second // credentials with less left are not handed out, as in Amazon's agent

// moment is a point in time on two clocks. The wall clock goes on while the machine sleeps but may be set, in either direction; the
// uptime does neither. Whatever has a time limit ends when either of them says so, so that neither a machine that slept nor a clock
// that was put back makes credentials look fresher than they are.
type moment struct {
	wall   time.Time // without a monotonic reading
	uptime time.Duration
}

func (m moment) add(d time.Duration) moment { return moment{m.wall.Add(d), m.uptime + d} }

// until is how long it takes from now to m, by the clock that says less.
func (m moment) until(now moment) time.Duration {
	return min(m.wall.Sub(now.wall), m.uptime-now.uptime)
}

// answer is what a pod is given: credentials, encoded once.
type answer struct {
	body   []byte
	length []string // value of the Content-Length header
	ends   moment   // when the credentials expire
}

// newAnswer encodes credentials as SDKs expect them from a container credentials endpoint. Expiration has no fraction of a second:
// old parsers do not take one. See https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html.
func newAnswer(a *Assumption, now moment) (*answer, error) {
	life := a.ExpiresAt.Sub(now.wall)
	if life < minLife {
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
	return &answer{bytes.Clone(body.Bytes()), []string{strconv.Itoa(body.Len())}, now.add(life)}, nil
}
