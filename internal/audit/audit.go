// Package audit writes one record for every decision of the control plane: who asked for what, and what came of it.
//
// It does not decide, filter or rotate. A decision that cannot be recorded must not take effect: [Log.Append] returns the error,
// and the caller answers with a fault.
package audit

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// Entry is the record of one request. It never holds a token or a secret; Token is a fingerprint that joins the lines of one
// service-account token. Empty members are left out.
type Entry struct {
	Time      time.Time     `json:"time"`
	RequestID string        `json:"requestId"`
	Service   string        `json:"service"`   // eks, eks-auth, sts, iam, s3
	Operation string        `json:"operation"` // as AWS names it
	Region    string        `json:"region,omitempty"`
	SourceIP  string        `json:"sourceIp,omitempty"`
	UserAgent string        `json:"userAgent,omitempty"`
	Caller    string        `json:"caller,omitempty"`    // ARN of who signed the request
	AccessKey string        `json:"accessKey,omitempty"` // id of the key it was signed with
	Status    int           `json:"status"`              // of the HTTP answer
	Code      string        `json:"code,omitempty"`      // error code; empty means success
	Message   string        `json:"message,omitempty"`   // what the client was told
	Reason    string        `json:"reason,omitempty"`    // of a denial: what decided, and what came closest to an Allow
	Duration  time.Duration `json:"durationNs"`

	Resource       string `json:"resource,omitempty"` // ARN that the permission was asked for
	Cluster        string `json:"cluster,omitempty"`
	Namespace      string `json:"namespace,omitempty"`
	ServiceAccount string `json:"serviceAccount,omitempty"`
	Pod            string `json:"pod,omitempty"`
	PodUID         string `json:"podUid,omitempty"`
	Token          string `json:"token,omitempty"` // first 8 hex digits of the SHA-256
	AssociationID  string `json:"associationId,omitempty"`
	RoleARN        string `json:"roleArn,omitempty"`
	Session        string `json:"session,omitempty"`   // ARN of the session that was made
	IssuedKey      string `json:"issuedKey,omitempty"` // access key id that was given out
}

// Log appends entries to a writer as JSON lines and remembers the latest ones. It is safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	w      io.Writer
	recent []Entry // ring
	next   int     // where the next entry goes
}

// New returns a log that writes to w, one Write a line, and remembers the latest keep entries (at least 1).
// A file should be opened with O_APPEND, so that it may be rotated by copying and truncating.
func New(w io.Writer, keep int) *Log {
	return &Log{w: w, recent: make([]Entry, 0, max(keep, 1))}
}

// Append writes the entry. If it fails the decision that the entry records must not take effect.
func (l *Log) Append(e *Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding audit entry: %w", err)
	}
	line = append(line, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.w.Write(line); err != nil {
		return fmt.Errorf("writing audit entry: %w", err)
	}
	if len(l.recent) < cap(l.recent) {
		l.recent = append(l.recent, *e)
	} else {
		l.recent[l.next] = *e
	}
	l.next = (l.next + 1) % cap(l.recent)
	return nil
}

// Recent returns the remembered entries, latest first.
func (l *Log) Recent() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Entry, 0, len(l.recent))
	for i := range l.recent {
		at := l.next - 1 - i
		if at < 0 {
			at += len(l.recent)
		}
		out = append(out, l.recent[at])
	}
	return out
}
