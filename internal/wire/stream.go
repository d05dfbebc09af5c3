package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// defaultPieceDeadline is how long a client may take to take a piece of a stream; one that reads at all is faster.
const defaultPieceDeadline = 10 * time.Second

// Stream is the answer of an operation that goes on: JSON values, a line each, for as long as the operation has something to tell.
// The call itself has ended when the first line goes out: it is in the audit log, and counted, with the time until then.
type Stream struct {
	// Tell sends, until it has told everything, its context ends or send fails: when the client has gone, does not read, or the
	// server ends. What is sent at once goes out at once; the last line should say why it is the last.
	Tell func(ctx context.Context, send func(lines ...any) error)
	// End is called once, when the stream has ended or will not begin.
	End func()
}

// tell runs a stream, whose client has been given the header already.
func (h *Handler) tell(w http.ResponseWriter, r *http.Request, stream *Stream) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-h.cfg.Closing: // nil never comes
			cancel()
		case <-ctx.Done():
		}
	}()
	connection := http.NewResponseController(w)
	stream.Tell(ctx, func(lines ...any) error {
		var piece bytes.Buffer
		encoder := json.NewEncoder(&piece)
		for _, line := range lines {
			if err := encoder.Encode(line); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		_ = connection.SetWriteDeadline(time.Now().Add(h.cfg.PieceDeadline)) // a recorder in a test has none to set
		if _, err := w.Write(piece.Bytes()); err != nil {
			return err
		}
		return connection.Flush()
	})
}
