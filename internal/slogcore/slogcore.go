// Package slogcore is a zapcore.Core that writes to a slog.Handler.
package slogcore

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"go.uber.org/zap/zapcore"
)

type core struct{ handler slog.Handler }

// New returns a core that hands every entry to h. Namespaces become groups;
// Fatal and Panic entries keep their effect and are written as errors.
func New(h slog.Handler) zapcore.Core { return core{h} }

func (c core) Enabled(l zapcore.Level) bool {
	return c.handler.Enabled(context.Background(), level(l))
}

func (c core) With(fields []zapcore.Field) zapcore.Core {
	for n, f := range fields {
		if f.Type == zapcore.NamespaceType {
			return core{c.handler.WithAttrs(attrs(fields[:n])).WithGroup(f.Key)}.With(fields[n+1:])
		}
	}
	return core{c.handler.WithAttrs(attrs(fields))}
}

func (c core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, level(e.Level), e.Message, e.Caller.PC)
	if e.LoggerName != "" {
		r.AddAttrs(slog.String("logger", e.LoggerName))
	}
	r.AddAttrs(attrs(fields)...)
	return c.handler.Handle(context.Background(), r)
}

func (core) Sync() error { return nil }

func level(l zapcore.Level) slog.Level {
	switch {
	case l <= zapcore.DebugLevel:
		return slog.LevelDebug
	case l == zapcore.InfoLevel:
		return slog.LevelInfo
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// attrs encodes each field by itself, which keeps their order.
func attrs(fields []zapcore.Field) []slog.Attr {
	as := make([]slog.Attr, 0, len(fields))
	for n, f := range fields {
		encoder := zapcore.NewMapObjectEncoder()
		if f.Type == zapcore.NamespaceType {
			return append(as, slog.Attr{Key: f.Key, Value: slog.GroupValue(attrs(fields[n+1:])...)})
		}
		f.AddTo(encoder)
		for _, key := range slices.Sorted(maps.Keys(encoder.Fields)) {
			as = append(as, slog.Any(key, encoder.Fields[key]))
		}
	}
	return as
}
