package feed

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/podid/podid/internal/identity"
)

// maxLine is how long a line may be. The longest honest one names a service account and an ARN in about 700 bytes.
const maxLine = 16 << 10

// errSilent means that the server sent nothing for longer than it ever should.
var errSilent = errors.New("the server has been silent for too long")

// line is any line of the feed.
type line struct {
	Type           string `json:"type"`
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	AssociationID  string `json:"associationId"`
	AssociationARN string `json:"associationArn"`
	Revision       int64  `json:"revision"`
	Position       string `json:"position"`
	Name           string `json:"name"`
	Partition      string `json:"partition"`
	Region         string `json:"region"`
	AccountID      string `json:"accountId"`
	Code           string `json:"code"`
	Message        string `json:"message"`
}

// Follow tells the sink all associations, or, if after is the position of an earlier mark that the server still knows, what has
// changed since then; and then every change, until ctx ends. Whatever goes wrong is told to the sink and tried again.
func (c *Client) Follow(ctx context.Context, after string, sink Sink) {
	sink = sink.complete()
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		s := &stream{client: c, sink: sink, after: after}
		err := s.run(ctx)
		after = s.after
		if ctx.Err() != nil {
			return
		}
		if s.synced {
			pause = firstPause
		}
		if err != nil { // nil: the server ended a stream that had been open for long
			sink.Lost(err)
			c.cfg.Logger.Warn("feed of associations is cut off", "cluster", c.cfg.ClusterName, "err", err)
		}
		select {
		case <-time.After(time.Duration((1 + c.cfg.Rand()) / 2 * float64(pause))):
		case <-ctx.Done():
			return
		}
	}
}

func (s Sink) complete() Sink {
	if s.Cluster == nil {
		s.Cluster = func(Cluster) {}
	}
	if s.List == nil {
		s.List = func() {}
	}
	if s.Put == nil {
		s.Put = func(Association) {}
	}
	if s.Delete == nil {
		s.Delete = func(identity.ServiceAccount) {}
	}
	if s.Mark == nil {
		s.Mark = func(Mark) {}
	}
	if s.Lost == nil {
		s.Lost = func(error) {}
	}
	return s
}

// stream is one connection of the feed.
type stream struct {
	client  *Client
	sink    Sink
	after   string // position of the latest mark
	listing bool   // a list has begun
	synced  bool   // a mark has come
}

// run follows until the connection ends: nil if that was the orderly end of a stream that had begun well.
func (s *stream) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	target := s.client.base.JoinPath("podid", "v1", "clusters", s.client.cfg.ClusterName, "pod-identity-associations")
	if s.after != "" {
		target.RawQuery = url.Values{"after": {s.after}}.Encode()
	}
	resp, err := s.client.get(ctx, target)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	silence := time.AfterFunc(s.client.cfg.Silence, func() { cancel(errSilent) })
	defer silence.Stop()
	lines := bufio.NewReaderSize(resp.Body, maxLine)
	for {
		text, err := lines.ReadSlice('\n')
		switch {
		case err == io.EOF && s.synced && len(text) == 0:
			return nil
		case err == io.EOF:
			return io.ErrUnexpectedEOF
		case errors.Is(context.Cause(ctx), errSilent):
			return errSilent
		case err != nil:
			return fmt.Errorf("reading the feed: %w", err)
		}
		silence.Reset(s.client.cfg.Silence)
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("reading a line of the feed: %w", err)
		}
		if err := s.take(&l); err != nil {
			return err
		}
	}
}

// take passes a line on. Types that it does not know are of a newer server and tell nothing that must be known.
func (s *stream) take(l *line) error {
	account := identity.ServiceAccount{Namespace: l.Namespace, Name: l.ServiceAccount}
	switch l.Type {
	case "CLUSTER":
		s.sink.Cluster(Cluster{l.Name, l.Partition, l.Region, l.AccountID})
	case "LIST":
		s.listing = true
		s.sink.List()
	case "PUT":
		s.sink.Put(Association{account, l.AssociationID, l.AssociationARN})
	case "DELETE":
		s.sink.Delete(account)
	case "SYNCED", "BOOKMARK":
		s.after = l.Position
		s.sink.Mark(Mark{l.Revision, l.Position, s.listing})
		s.synced, s.listing = true, false
	case "END":
		return &Refusal{200, l.Code, l.Message}
	}
	return nil
}
