package crash

import (
	"context"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/outhook/webhook"
)

// Point is a place in the path of an event at which a sender kills itself.
type Point string

// The points.
const (
	Enqueued   Point = "enqueued"   // after the enqueue's commit, before Publish returns
	Committing Point = "committing" // between a Publish and the commit of its business transaction
	Claimed    Point = "claimed"    // after the claim
	Sent       Point = "sent"       // after the request has been received, before the settle
	Settling   Point = "settling"   // between a statement of the settle and its commit
	Settled    Point = "settled"    // after the settle's commit, before the dispatcher knows
)

// Points are all points, in the order of the path.
var Points = [...]Point{Enqueued, Committing, Claimed, Sent, Settling, Settled}

// killer kills its process when it has passed a point so often.
type killer struct {
	point  Point // empty for none
	left   atomic.Int64
	report func(words ...string)
}

func (k *killer) pass(p Point) {
	if p != k.point || k.left.Add(-1) != 0 {
		return
	}
	k.report("kill", string(p))
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}

// statement is a hookdb.Hook that passes Settling.
func (k *killer) statement(ctx context.Context, query string) (executed func() error, err error) {
	if k.point != Settling || ctx.Value(settling{}) == nil {
		return nil, nil
	}
	switch verb, _, _ := strings.Cut(query, " "); verb {
	case "BEGIN", "COMMIT", "ROLLBACK":
		return nil, nil
	}
	return func() error { k.pass(Settling); return nil }, nil
}

// settling marks the contexts of what a Settle does with the database.
type settling struct{}

// tracing returns a context under which requests pass Sent.
func (k *killer) tracing(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotFirstResponseByte: func() { k.pass(Sent) },
	})
}

// watched is a store that passes the points, and reports what its callers do not
// show.
type watched struct {
	webhook.Store
	killer *killer
}

// Unwrap lets the Dispatcher find the store's optional interfaces.
func (w watched) Unwrap() webhook.Store { return w.Store }

// HandsOver implements [webhook.HandOver] where the Store does.
func (w watched) HandsOver(ctx context.Context) bool {
	h, ok := w.Store.(webhook.HandOver)
	return ok && h.HandsOver(ctx)
}

// inTransaction marks the contexts of a business transaction.
type inTransaction struct{}

func (w watched) Enqueue(ctx context.Context, ps []webhook.Publication) ([]webhook.Enqueued, error) {
	results, err := w.Store.Enqueue(ctx, ps)
	if err == nil && ctx.Value(inTransaction{}) == nil {
		w.killer.pass(Enqueued)
	}
	return results, err
}

func (w watched) Claim(ctx context.Context, r webhook.ClaimRequest) (batch []webhook.Claimed, next time.Duration, err error) {
	batch, next, err = w.Store.Claim(ctx, r)
	switch {
	case len(batch) > 0:
		w.killer.pass(Claimed)
	case err == nil:
		w.killer.report("idle")
	}
	return batch, next, err
}

func (w watched) Settle(ctx context.Context, ss []webhook.Settlement) (stale []string, err error) {
	stale, err = w.Store.Settle(context.WithValue(ctx, settling{}, true), ss)
	if err == nil {
		w.killer.pass(Settled)
	}
	for _, id := range stale {
		w.killer.report("stale", id)
	}
	return stale, err
}
