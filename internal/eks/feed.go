package eks

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/wire"
)

// FeedConfig limits the feed of associations.
type FeedConfig struct {
	// Heartbeat is how long a stream is silent at most; 0 means 10 seconds.
	Heartbeat time.Duration
	// Life is how long a stream lasts at most; the client's next one is judged anew. 0 means 15 minutes.
	Life time.Duration
	// Streams is how many may be open at once; 0 means 2,000.
	Streams int
}

func (c FeedConfig) complete() FeedConfig {
	if c.Heartbeat == 0 {
		c.Heartbeat = 10 * time.Second
	}
	if c.Life == 0 {
		c.Life = 15 * time.Minute
	}
	if c.Streams == 0 {
		c.Streams = 2000
	}
	return c
}

// Types of the lines of a feed.
const (
	lineCluster  = "CLUSTER"  // what the cluster is; the first line
	lineList     = "LIST"     // what follows, up to SYNCED, is all there is
	linePut      = "PUT"      // an association is there, or is another now
	lineDelete   = "DELETE"   // a service account's association is not there
	lineSynced   = "SYNCED"   // all that there was when the stream began has been told
	lineBookmark = "BOOKMARK" // all changes up to the revision have been told
	lineEnd      = "END"      // why this is the last line
)

// Lines of a feed, by the members they have besides the type.
type (
	clusterLine struct {
		Type      string `json:"type"`
		Name      string `json:"name"`
		Partition string `json:"partition"`
		Region    string `json:"region"`
		AccountID string `json:"accountId"`
	}
	changeLine struct {
		Type           string `json:"type"`
		Namespace      string `json:"namespace"`
		ServiceAccount string `json:"serviceAccount"`
		AssociationID  string `json:"associationId,omitempty"`
		AssociationARN string `json:"associationArn,omitempty"`
		Revision       int64  `json:"revision"`
	}
	// markLine tells where to go on after a cut: position, which means nothing to clients, is what they send as "after".
	markLine struct {
		Type     string `json:"type"`
		Revision int64  `json:"revision"`
		Position string `json:"position,omitempty"`
	}
	endLine struct {
		Type    string `json:"type"`
		Code    string `json:"code"`
		Message string `json:"message"`
	}
)

type watchInput struct {
	Cluster string `uri:"name" json:"-"`
	After   string `query:"after" json:"-"`
}

// WatchPodIdentityAssociations tells a cluster's associations, or what has changed since a position, and then all changes as they
// happen. It is podid's own: with it a webhook knows of an association as soon as the call that made it has returned. It tells
// which service accounts have an association, and not which role.
func (s *Service) WatchPodIdentityAssociations(_ context.Context, call *wire.Call, in *watchInput) (*wire.Stream, error) {
	call.Entry.Cluster = in.Cluster
	select {
	case s.streams <- struct{}{}:
	default:
		return nil, errUnavailable("%d feeds are open, which is the limit. Try again later.", cap(s.streams))
	}
	return &wire.Stream{
		Tell: func(ctx context.Context, send func(...any) error) {
			s.tell(ctx, in.Cluster, parsePosition(in.After), send)
		},
		End: func() { <-s.streams },
	}, nil
}

// tell tells until it may not or cannot any more.
func (s *Service) tell(ctx context.Context, cluster string, told store.Position, send func(...any) error) {
	// Streams that began together, after a restart of the server, do not all end together.
	life := time.NewTimer(s.Feed.Life - rand.N(s.Feed.Life/3+1))
	defer life.Stop()
	beat := time.NewTicker(s.Feed.Heartbeat)
	defer beat.Stop()
	for first := true; ; first = false {
		_, next := s.Store.Advanced() // before looking, so that nothing is missed
		c, ok := s.Directory.Cluster(cluster)
		if !ok {
			e := errNoCluster(cluster)
			_ = send(endLine{lineEnd, e.Code, e.Message})
			return
		}
		if first {
			if err := send(clusterLine{lineCluster, c.Name, c.Partition, c.Region, c.AccountID}); err != nil {
				return
			}
		}
		here, err := s.tellNews(cluster, told, first, send)
		if err != nil {
			return
		}
		told = here
		select {
		case <-next:
		case <-beat.C:
			if err := send(mark(lineBookmark, told)); err != nil {
				return
			}
		case <-life.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// tellNews tells what has changed since a position, or all associations if that is not known, and returns where that leads.
func (s *Service) tellNews(cluster string, told store.Position, first bool, send func(...any) error) (here store.Position, err error) {
	keys, here, ok := s.Directory.AssociationChanges.Since(told)
	if !ok {
		return here, s.tellAll(cluster, here, send)
	}
	var lines []any
	for _, key := range keys {
		if strings.HasPrefix(key, cluster+"/") {
			lines = append(lines, s.changeOf(key, here.Revision))
		}
	}
	switch {
	case first:
		lines = append(lines, mark(lineSynced, here))
	case len(lines) > 0:
		lines = append(lines, mark(lineBookmark, here))
	default:
		return here, nil
	}
	return here, send(lines...)
}

// changeOf tells what an association that has changed is now.
func (s *Service) changeOf(key string, revision int64) changeLine {
	if a, ok := s.Directory.AssociationByKey(key); ok {
		return changeLine{linePut, a.Namespace, a.Name, a.ID, a.ARN, revision}
	}
	parts := strings.Split(key, "/") // no part of an AssociationKey has a slash
	return changeLine{Type: lineDelete, Namespace: parts[1], ServiceAccount: parts[2], Revision: revision}
}

// tellAll tells all associations, in pieces, so that neither side needs much memory.
func (s *Service) tellAll(cluster string, here store.Position, send func(...any) error) error {
	const piece = 500
	lines := []any{markLine{Type: lineList, Revision: here.Revision}}
	for _, a := range s.Directory.ScanAssociations(cluster+"/", "") {
		lines = append(lines, changeLine{linePut, a.Namespace, a.Name, a.ID, a.ARN, here.Revision})
		if len(lines) == piece {
			if err := send(lines...); err != nil {
				return err
			}
			lines = lines[:0]
		}
	}
	return send(append(lines, mark(lineSynced, here))...)
}

func mark(kind string, p store.Position) markLine {
	return markLine{kind, p.Revision, p.Epoch + "." + strconv.FormatInt(p.Revision, 10)}
}

// parsePosition reads the position of a mark. What is not one is nowhere.
func parsePosition(text string) store.Position {
	epoch, number, _ := strings.Cut(text, ".")
	revision, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return store.Position{}
	}
	return store.Position{Epoch: epoch, Revision: revision}
}
