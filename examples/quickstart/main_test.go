package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outhook/webhook/examples/internal/check"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestQuickstartDeliversEverythingAndPrintsTheAttempts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "quickstart.db")
	check.Runs(t, func(ctx context.Context, out io.Writer) error { return run(ctx, out, file, 0) },
		"document.sent     archive: every event              delivered   1          200\n",
		"document.signed   archive: every event              delivered   1          200\n",
		"document.signed   crm: signatures, fails twice      delivered   3          200\n",
		"invoice.paid      archive: every event              delivered   1          200\n",
		"invoice.paid      ledger: invoices, own signature   delivered   1          200\n",
	)
}

// interruption ends a context when the announcement is printed.
type interruption struct {
	strings.Builder
	interrupt context.CancelFunc
}

func (w *interruption) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "Ctrl-C") {
		w.interrupt()
	}
	return w.Builder.Write(b)
}

func TestQuickstartDeliversTheRestWhenItIsStartedAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "quickstart.db")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := &interruption{interrupt: cancel}
	if err := run(ctx, first, file, time.Hour); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted between publishing and delivery, it returned %v and printed\n%s", err, first.String())
	}
	if text := first.String(); !strings.HasSuffix(text, "\nStopped: 5 deliveries are left in "+file+". Start it again, and they are delivered.\n") {
		t.Errorf("interrupted, it printed\n%s", text)
	}
	var second strings.Builder
	if err := run(t.Context(), &second, file, 0); err != nil {
		t.Fatal(err)
	}
	text := second.String()
	if n := strings.Count(text, "   delivered   "); n != 10 || !strings.HasPrefix(text, "5 deliveries are left from the last time.\n") {
		t.Errorf("started again, it delivered %d, want 10, and printed\n%s", n, text)
	}
}
