package slogcore

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestEntriesReachTheHandler(t *testing.T) {
	var out strings.Builder
	handler := slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelInfo,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return a
		},
	})
	log := zap.New(New(handler))
	log.Debug("too fine")
	log.Named("sub").With(zap.Int("a", 1)).Info("hello", zap.String("b", "two"), zap.Error(errors.New("bad")), zap.Duration("d", time.Second))
	log.Warn("grouped", zap.Namespace("ns"), zap.Bool("c", true))
	log.With(zap.Int("a", 1), zap.Namespace("in"), zap.Int("b", 2)).Warn("nested", zap.Int("c", 3))
	log.Error("worse")
	if err := log.Sync(); err != nil {
		t.Error(err)
	}
	want := `level=INFO msg=hello a=1 logger=sub b=two error=bad d=1s
level=WARN msg=grouped ns.c=true
level=WARN msg=nested a=1 in.b=2 in.c=3
level=ERROR msg=worse
`
	if out.String() != want {
		t.Errorf("wrote\n%swant\n%s", out.String(), want)
	}
}
