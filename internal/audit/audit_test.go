package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestAppend(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, 3)
	for i := range 5 {
		if err := log.Append(&Entry{RequestID: strconv.Itoa(i), Service: "eks"}); err != nil {
			t.Fatal(err)
		}
		recent := log.Recent()
		if want := min(i+1, 3); len(recent) != want {
			t.Fatalf("after %d entries: %d remembered, want %d", i+1, len(recent), want)
		}
		for j, e := range recent {
			if want := strconv.Itoa(i - j); e.RequestID != want {
				t.Errorf("after %d entries: place %d is %s, want %s", i+1, j, e.RequestID, want)
			}
		}
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 5 {
		t.Fatalf("%d lines, want 5", len(lines))
	}
	var e Entry
	if err := json.Unmarshal([]byte(lines[4]), &e); err != nil || e.RequestID != "4" {
		t.Errorf("last line %q: %v", lines[4], err)
	}
}

func TestAppendConcurrently(t *testing.T) {
	var out bytes.Buffer
	log := New(&out, 10)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				_ = log.Append(&Entry{Message: "a \"quoted\"\nline"})
				log.Recent()
			}
		})
	}
	wg.Wait()
	if got := strings.Count(out.String(), "\n"); got != 400 {
		t.Errorf("%d lines, want 400", got)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestAppendFails(t *testing.T) {
	log := New(full{}, 1)
	if err := log.Append(&Entry{}); err == nil {
		t.Error("a failed write went unnoticed")
	}
	if len(log.Recent()) != 0 {
		t.Error("an entry that was not written is remembered")
	}
}
