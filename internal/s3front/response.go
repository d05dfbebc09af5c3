package s3front

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/rclone/gofakes3"
)

// response stands between gofakes3 and the client. Once the body of the request has failed it holds gofakes3's answer back,
// which would be an internal error, so that the refusal can be answered instead.
type response struct {
	http.ResponseWriter
	body   *body
	status int  // 0 until the answer begins
	held   bool // gofakes3's answer was held back
}

// WriteHeader implements [http.ResponseWriter].
func (w *response) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	if w.body != nil && w.body.failure != nil {
		w.held = true
		return
	}
	for name := range w.Header() {
		if strings.HasPrefix(name, "Access-Control-") { // gofakes3 opens everything to every web page; S3 does not
			w.Header().Del(name)
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.held {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap gives [http.ResponseController] the writer of the server.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// begin tells whether a refusal can still be answered, and removes what gofakes3 prepared for its own answer.
func (w *response) begin() bool {
	if w.status != 0 && !w.held {
		return false
	}
	if w.held {
		clear(w.Header())
	}
	return true
}

// clock is a function as gofakes3 wants a clock.
type clock func() time.Time

// Now implements [gofakes3.TimeSource].
func (c clock) Now() time.Time { return c() }

// Since implements [gofakes3.TimeSource].
func (c clock) Since(t time.Time) time.Duration { return c().Sub(t) }

// faults logs what gofakes3 could not do. Its other messages repeat the requests.
type faults struct{ logger *slog.Logger }

// Print implements [gofakes3.Logger].
func (f faults) Print(level gofakes3.LogLevel, v ...any) {
	for _, a := range v {
		if _, ok := a.(*refusal); ok {
			return // the body that the client sent was wrong
		}
	}
	if level == gofakes3.LogErr {
		f.logger.Error("s3 backend failed", "err", fmt.Sprint(v...))
	}
}
