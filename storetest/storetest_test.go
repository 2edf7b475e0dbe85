package storetest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/outhook/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryStore(t *testing.T) {
	Run(t, func(*testing.T) webhook.Store { return webhook.NewMemoryStore() })
}

func TestTheReferencePasses(t *testing.T) {
	Run(t, func(*testing.T) webhook.Store { return newReference(none) })
}

// wrapped is a store that offers nothing but what it wraps.
type wrapped struct{ webhook.Store }

func (w wrapped) Unwrap() webhook.Store { return w.Store }

func (w wrapped) HandsOver(ctx context.Context) bool {
	return w.Store.(webhook.HandOver).HandsOver(ctx)
}

func TestCapabilitiesAreFoundBehindWrappers(t *testing.T) {
	for _, c := range checks() {
		r := try(t, c, func() webhook.Store { return wrapped{wrapped{newReference(none)}} })
		if len(r.failures) > 0 || r.skipped != "" {
			t.Errorf("check %q failed (%q) or was skipped (%q)", c.name, r.failures, r.skipped)
		}
	}
}

// plain hides every optional interface.
type plain struct{ webhook.Store }

func TestChecksOfMissingCapabilitiesAreSkipped(t *testing.T) {
	for _, c := range slices.Concat(orderedChecks(), purgeChecks(), presenceChecks(), statisticsChecks(), storeChecks()[3:4], enqueueChecks()[15:]) {
		r := try(t, c, func() webhook.Store { return plain{newReference(none)} })
		if len(r.failures) > 0 || r.skipped == "" {
			t.Errorf("check %q was not skipped, failures %q", c.name, r.failures)
		}
	}
}

func TestNextMayBeUnknown(t *testing.T) {
	for _, c := range append(claimChecks(), orderedChecks()...) {
		if r := try(t, c, func() webhook.Store { return newReference(nextUnknown) }); len(r.failures) > 0 {
			t.Errorf("check %q failed: %q", c.name, r.failures)
		}
	}
}

// remote is a store on a clock of its own, an hour ahead, and with the latency
// of a slow database.
type remote struct {
	*reference
	latency time.Duration
}

func newRemote(latency time.Duration) *remote {
	s := newReference(none)
	s.now = func() time.Time { return time.Now().Add(time.Hour).Truncate(time.Microsecond) }
	return &remote{s, latency}
}

// SetClock is not the method that the suite looks for.
func (r *remote) SetClock() {}

func (r *remote) wait() { <-time.After(r.latency) }

func (r *remote) PutEndpoint(ctx context.Context, e webhook.EndpointRecord) (webhook.EndpointRecord, error) {
	r.wait()
	return r.reference.PutEndpoint(ctx, e)
}

func (r *remote) GetEndpoint(ctx context.Context, id string) (webhook.EndpointRecord, error) {
	r.wait()
	return r.reference.GetEndpoint(ctx, id)
}

func (r *remote) Enqueue(ctx context.Context, ps []webhook.Publication) ([]webhook.Enqueued, error) {
	r.wait()
	return r.reference.Enqueue(ctx, ps)
}

func (r *remote) Claim(ctx context.Context, c webhook.ClaimRequest) ([]webhook.Claimed, time.Duration, error) {
	r.wait()
	return r.reference.Claim(ctx, c)
}

func (r *remote) Settle(ctx context.Context, ss []webhook.Settlement) ([]string, error) {
	r.wait()
	return r.reference.Settle(ctx, ss)
}

func (r *remote) ListDeliveries(ctx context.Context, f webhook.DeliveryFilter) (webhook.Page[webhook.Delivery], error) {
	r.wait()
	return r.reference.ListDeliveries(ctx, f)
}

func TestAStoreOnItsOwnClockPassesInTime(t *testing.T) {
	for _, latency := range []time.Duration{3 * time.Millisecond, 50 * time.Millisecond} {
		var took time.Duration
		for _, c := range checks() {
			r := try(t, c, func() webhook.Store { return newRemote(latency) })
			if len(r.failures) > 0 || r.skipped != "" {
				t.Errorf("at a latency of %v check %q failed (%q) or was skipped (%q)", latency, c.name, r.failures, r.skipped)
			}
			took += r.took
		}
		if limit := 15 * time.Second; latency < 10*time.Millisecond && took > limit {
			t.Errorf("at a latency of %v the suite takes %v, want less than %v", latency, took, limit)
		}
	}
}

// unclocked hides the SetClock of a MemoryStore.
type unclocked struct{ *webhook.MemoryStore }

func (unclocked) SetClock() {}

func TestMemoryStoreOnItsOwnClock(t *testing.T) {
	for _, c := range checks() {
		r := try(t, c, func() webhook.Store { return unclocked{webhook.NewMemoryStore()} })
		if len(r.failures) > 0 || r.skipped != "" {
			t.Errorf("check %q failed (%q) or was skipped (%q)", c.name, r.failures, r.skipped)
		}
	}
}

// recorder is a tester that keeps what a check says.
type recorder struct {
	ctx      context.Context
	failures []string
	skipped  string
	took     time.Duration // on the clock of the bubble
}

// try runs a check in a bubble, in which waiting takes no time.
func try(t *testing.T, c check, open func() webhook.Store) *recorder {
	t.Helper()
	r := new(recorder)
	synctest.Test(t, func(t *testing.T) {
		r.ctx = t.Context()
		start := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.try(r, open())
		}()
		<-done
		r.took = time.Since(start)
	})
	return r
}

func (r *recorder) Helper() {}

func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
