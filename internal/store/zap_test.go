package store

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestHarmlessMessagesOfEtcd(t *testing.T) {
	for message, want := range map[string]string{
		"simple token is not cryptographically signed": "level=DEBUG",
		"failed to update storage version":             "level=DEBUG",
		"slow fdatasync":                               "level=ERROR",
	} {
		for _, least := range []slog.Level{slog.LevelDebug, slog.LevelWarn} {
			var out bytes.Buffer
			zapLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: least}))).Error(message, zap.Int("n", 1))
			logged := want != "level=DEBUG" || least == slog.LevelDebug
			if got := out.String(); strings.Contains(got, want) != logged || (got != "") != logged {
				t.Errorf("%q at level %v: got %q, want %s: %v", message, least, got, want, logged)
			}
		}
	}
}
