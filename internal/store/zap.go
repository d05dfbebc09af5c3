package store

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger gives etcd, which logs by zap, a logger that writes to ours.
func zapLogger(log *slog.Logger) *zap.Logger {
	return zap.New(slogCore{log.With("component", "etcd")})
}

// slogCore is a zapcore.Core on a slog logger. etcd's informational messages are details to us, so they become debug messages.
type slogCore struct{ log *slog.Logger }

func level(l zapcore.Level) slog.Level {
	switch {
	case l < zapcore.WarnLevel:
		return slog.LevelDebug
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	default:
		return slog.LevelError
	}
}

// Enabled is part of zapcore.Core.
func (c slogCore) Enabled(l zapcore.Level) bool { return c.log.Enabled(context.Background(), level(l)) }

// With is part of zapcore.Core.
func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{slog.New(c.log.Handler().WithAttrs(attributes(fields)))}
}

// Check is part of zapcore.Core.
func (c slogCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write is part of zapcore.Core.
func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	l := level(e.Level)
	if harmless[e.Message] {
		l = slog.LevelDebug
	}
	if c.log.Enabled(context.Background(), l) {
		c.log.LogAttrs(context.Background(), l, e.Message, attributes(fields)...)
	}
	return nil
}

// harmless are warnings and errors of etcd that every start of an embedded member brings, and that nobody can or need do
// anything about. They become debug messages.
var harmless = map[string]bool{
	// It means client listeners that serve two protocols; there are none.
	"Running http and grpc server on single port. This is not recommended for production.": true,
	// It means the tokens of etcd's own authentication, which is off.
	"simple token is not cryptographically signed": true,
	// The first start looks for the schema's version before the first entry of the log, which brings it, has been applied.
	"Failed to detect schema version":  true,
	"failed to update storage version": true,
}

// Sync is part of zapcore.Core.
func (c slogCore) Sync() error { return nil }

func attributes(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	attrs := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
		if value, ok := enc.Fields[f.Key]; ok {
			attrs = append(attrs, slog.Any(f.Key, value))
		}
	}
	return attrs
}
