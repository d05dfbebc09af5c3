package kube

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	listPage     = 500
	watchTime    = 5 * time.Minute // that a watch lasts at least; at most twice as long
	firstPause   = 200 * time.Millisecond
	longestPause = 30 * time.Second
)

// errGone means that the API server has forgotten the changes since our resource version.
var errGone = errors.New("the resource version is too old")

// Resource says what is followed.
type Resource struct {
	Path     string // /api/v1/serviceaccounts
	Name     string // of the only object that matters; empty: all
	Metadata bool   // only the metadata is asked for
}

// Sink gets what is followed, one call at a time. What is nil is not told.
type Sink struct {
	List   func()                           // all objects follow; those that are not among them, up to Synced, are gone
	Put    func(m *Metadata, object []byte) // it is there, or has changed; object is the JSON of it and good during the call
	Delete func(m *Metadata)                // it is gone
	Synced func()                           // everything has been told
	Lost   func(err error)                  // the API could not be followed, and is tried again
}

// Follow lists a resource and then tells every change, until ctx ends. The memory it needs is that of one page of the list.
func (c *Client) Follow(ctx context.Context, r Resource, sink Sink) {
	if sink.List == nil {
		sink.List = func() {}
	}
	f := &follower{client: c, resource: r, sink: sink}
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		before := f.progress
		err := f.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if f.progress > before {
			pause = firstPause
		}
		if errors.Is(err, errGone) {
			f.version = ""
		} else if err != nil && sink.Lost != nil {
			sink.Lost(err)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return
		}
	}
}

// follower is where one has got with a resource.
type follower struct {
	client   *Client
	resource Resource
	sink     Sink
	version  string // the resource version that has been told; empty: a list comes first
	progress int    // lists and watches that were answered
}

func (f *follower) run(ctx context.Context) error {
	if f.version == "" {
		if err := f.list(ctx); err != nil {
			return err
		}
	}
	return f.watch(ctx)
}

func (f *follower) query() url.Values {
	q := url.Values{}
	if f.resource.Name != "" {
		q.Set("fieldSelector", "metadata.name="+f.resource.Name)
	}
	return q
}

func (f *follower) accept(kind string) string {
	if !f.resource.Metadata {
		return "application/json"
	}
	return "application/json;as=" + kind + ";g=meta.k8s.io;v=v1"
}

// list tells all objects, page by page.
func (f *follower) list(ctx context.Context) error {
	f.sink.List()
	q := f.query()
	q.Set("limit", strconv.Itoa(listPage))
	for {
		var page struct {
			Metadata struct {
				ResourceVersion string `json:"resourceVersion"`
				Continue        string `json:"continue"`
			} `json:"metadata"`
			Items []json.RawMessage `json:"items"`
		}
		if err := f.page(ctx, q, &page); err != nil {
			return fmt.Errorf("listing %s: %w", f.resource.Path, err)
		}
		for _, item := range page.Items {
			m, err := metadata(item)
			if err != nil {
				return fmt.Errorf("listing %s: %w", f.resource.Path, err)
			}
			f.sink.Put(m, item)
		}
		if page.Metadata.Continue == "" {
			f.version = page.Metadata.ResourceVersion
			f.progress++
			f.sink.Synced()
			return nil
		}
		q.Set("continue", page.Metadata.Continue)
	}
}

func (f *follower) page(ctx context.Context, q url.Values, page any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := f.client.send(ctx, http.MethodGet, f.resource.Path, q, f.accept("PartialObjectMetadataList"), nil)
	if err != nil {
		return gone(err)
	}
	defer resp.Body.Close()
	return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(page)
}

// watch tells changes until the watch ends, as it does now and then.
func (f *follower) watch(ctx context.Context) error {
	lasts := watchTime + rand.N(watchTime)
	ctx, cancel := context.WithTimeout(ctx, lasts+callTimeout)
	defer cancel()
	q := f.query()
	q.Set("watch", "true")
	q.Set("allowWatchBookmarks", "true")
	q.Set("resourceVersion", f.version)
	q.Set("timeoutSeconds", strconv.Itoa(int(lasts.Seconds())))
	resp, err := f.client.send(ctx, http.MethodGet, f.resource.Path, q, f.accept("PartialObjectMetadata"), nil)
	if err != nil {
		return gone(err)
	}
	defer resp.Body.Close()
	f.progress++
	events := json.NewDecoder(bufio.NewReader(resp.Body))
	for {
		var event struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := events.Decode(&event); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("watching %s: %w", f.resource.Path, err)
		}
		if err := f.take(event.Type, event.Object); err != nil {
			return err
		}
	}
}

func (f *follower) take(kind string, object []byte) error {
	if kind == "ERROR" {
		status := &StatusError{}
		if err := json.Unmarshal(object, status); err != nil {
			return fmt.Errorf("watching %s: %w", f.resource.Path, err)
		}
		return gone(status)
	}
	m, err := metadata(object)
	if err != nil {
		return fmt.Errorf("watching %s: %w", f.resource.Path, err)
	}
	switch kind {
	case "ADDED", "MODIFIED":
		f.sink.Put(m, object)
	case "DELETED":
		f.sink.Delete(m)
	}
	f.version = m.ResourceVersion // of bookmarks too
	return nil
}

func metadata(object []byte) (*Metadata, error) {
	var o struct {
		Metadata *Metadata `json:"metadata"`
	}
	if err := json.Unmarshal(object, &o); err != nil {
		return nil, err
	}
	if o.Metadata == nil {
		return nil, errors.New("an object has no metadata")
	}
	return o.Metadata, nil
}

// gone turns the answer 410, which comes when the API server has compacted its history, into errGone.
func gone(err error) error {
	if IsCode(err, http.StatusGone) {
		return errGone
	}
	return err
}
