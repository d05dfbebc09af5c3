package servertest

import (
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// Form is a call of STS or IAM: the action, its service's version, and members as name, value, name, value.
func Form(service, action string, members ...string) Call {
	version := map[string]string{"sts": "2011-06-15", "iam": "2010-05-08"}[service]
	body := "Action=" + action + "&Version=" + version
	for i := 0; i+1 < len(members); i += 2 {
		body += "&" + url.QueryEscape(members[i]) + "=" + url.QueryEscape(members[i+1])
	}
	return Call{Service: service, Method: http.MethodPost, Target: "/", Body: body}
}

// Clock is a clock that runs as the real one does, and can be put ahead.
type Clock struct{ ahead atomic.Int64 }

// Now is what the clock shows.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Advance puts it ahead.
func (c *Clock) Advance(d time.Duration) { c.ahead.Add(int64(d)) }
