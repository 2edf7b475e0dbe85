package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/outhook/webhook"
)

const (
	short    = 150 * time.Millisecond // a lease, delay or pause that the check waits for
	long     = time.Hour              // one that does not end during the check
	patience = 10 * time.Second       // for what must happen on a store's own clock
)

// everything is a request that leaves nothing that is due.
func everything(lease time.Duration) webhook.ClaimRequest {
	return webhook.ClaimRequest{Max: 1000, PerEndpoint: 1000, Lease: lease}
}

// trial is one check at work on one store. Its failures name the promise.
type trial struct {
	tester
	ctx     context.Context
	promise string
	store   webhook.Store
	clock   *clock // nil when the store keeps its own
}

func newTrial(t tester, promise string, store webhook.Store) *trial {
	tr := &trial{tester: t, ctx: t.Context(), promise: promise, store: store}
	if s, ok := capability[interface{ SetClock(func() time.Time) }](store); ok {
		tr.clock = &clock{now: time.Date(2026, time.March, 29, 0, 59, 58, 123_456_000, time.UTC)}
		s.SetClock(tr.clock.read)
	}
	return tr
}

// Errorf reports that the promise is broken, and goes on.
func (t *trial) Errorf(format string, args ...any) {
	t.Helper()
	t.tester.Errorf("broken promise: %s: %s", t.promise, fmt.Sprintf(format, args...))
}

// Fatalf reports that the promise is broken, and ends the check.
func (t *trial) Fatalf(format string, args ...any) {
	t.Helper()
	t.tester.Fatalf("broken promise: %s: %s", t.promise, fmt.Sprintf(format, args...))
}

// pass lets d, and a little more, go by on an injected clock. On the store's own
// it goes by while the check asks again: see eventually.
func (t *trial) pass(d time.Duration) {
	if t.clock != nil {
		t.clock.advance(d + time.Millisecond)
	}
}

// tick makes what follows later than what came before.
func (t *trial) tick() {
	if t.clock != nil {
		t.clock.advance(time.Millisecond)
		return
	}
	<-time.After(2 * time.Millisecond)
}

// eventually reports whether done is true, now on an injected clock and within
// patience on the store's own.
func (t *trial) eventually(done func() bool) bool {
	if t.clock != nil {
		return done()
	}
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			return false
		}
		<-time.After(10 * time.Millisecond)
	}
	return true
}

// put puts a record that must be accepted.
func (t *trial) put(r webhook.EndpointRecord) webhook.EndpointRecord {
	t.Helper()
	stored, err := t.store.PutEndpoint(t.ctx, r)
	if err != nil {
		t.Fatalf("PutEndpoint(%q): %v", r.ID, err)
	}
	return stored
}

// register inserts endpoints of the tenant that subscribe to everything.
func (t *trial) register(tenant string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		t.put(endpoint(id, tenant))
	}
}

func (t *trial) deleteEndpoint(id string) {
	t.Helper()
	if err := t.store.DeleteEndpoint(t.ctx, id); err != nil {
		t.Fatalf("DeleteEndpoint(%q): %v", id, err)
	}
}

func (t *trial) endpoint(id string) webhook.EndpointRecord {
	t.Helper()
	r, err := t.store.GetEndpoint(t.ctx, id)
	if err != nil {
		t.Fatalf("GetEndpoint(%q): %v", id, err)
	}
	return r
}

// disable disables or enables an endpoint.
func (t *trial) disable(id string, disabled bool) {
	t.Helper()
	r := t.endpoint(id)
	r.Disabled, r.DisabledReason = disabled, ""
	t.put(r)
}

// enqueue makes one call that must succeed.
func (t *trial) enqueue(ps ...webhook.Publication) []webhook.Enqueued {
	t.Helper()
	results, err := t.store.Enqueue(t.ctx, ps)
	if err != nil {
		t.Fatalf("Enqueue: %v", err)
	}
	if len(results) != len(ps) {
		t.Fatalf("Enqueue returned %d results for %d publications", len(results), len(ps))
	}
	return results
}

// publish enqueues events of the tenant, one after the other.
func (t *trial) publish(tenant string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		t.enqueue(publication(id, tenant))
		t.tick()
	}
}

// publishMany enqueues n events of the tenant in one call and returns their IDs.
func (t *trial) publishMany(tenant, prefix string, n int) []string {
	t.Helper()
	ids := t.publishManyNow(tenant, prefix, n)
	t.tick()
	return ids
}

// publishManyNow is publishMany for what is published together with more.
func (t *trial) publishManyNow(tenant, prefix string, n int) []string {
	t.Helper()
	ids, ps := make([]string, n), make([]webhook.Publication, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s%04d", prefix, i)
		ps[i] = publication(ids[i], tenant)
	}
	t.enqueue(ps...)
	return ids
}

// claim makes one call and checks what holds for every batch.
func (t *trial) claim(r webhook.ClaimRequest) []webhook.Claimed {
	t.Helper()
	batch, _, err := t.store.Claim(t.ctx, r)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	for _, c := range batch {
		if c.Event == nil || c.Endpoint == nil {
			t.Fatalf("claimed delivery %q comes with event %v and endpoint %v, want both", c.Delivery.ID, c.Event, c.Endpoint)
		}
	}
	return batch
}

// collect claims until there are n deliveries, by as many calls as it takes.
func (t *trial) collect(r webhook.ClaimRequest, n int) []webhook.Claimed {
	t.Helper()
	var got []webhook.Claimed
	t.eventually(func() bool {
		for len(got) < n {
			batch := t.claim(r)
			if len(batch) == 0 {
				return false
			}
			got = append(got, batch...)
		}
		return true
	})
	if len(got) != n {
		t.Fatalf("claimed %d deliveries %q, want %d", len(got), eventsOf(got), n)
	}
	return got
}

// claimNothing makes a call that must return an empty batch.
func (t *trial) claimNothing(r webhook.ClaimRequest, why string) {
	t.Helper()
	if batch := t.claim(r); len(batch) > 0 {
		t.Fatalf("claimed %q of endpoints %q, want nothing: %s", eventsOf(batch), endpointsOf(batch), why)
	}
}

// claimed sets up the usual case: endpoint "endpoint" has one delivery, of
// "event", which is claimed for the lease.
func (t *trial) claimed(lease time.Duration) webhook.Claimed {
	t.Helper()
	t.register("", "endpoint")
	t.publish("", "event")
	return t.collect(everything(lease), 1)[0]
}

// reclaimed lets the short lease of the only claimed delivery run out and claims
// it again.
func (t *trial) reclaimed(lease time.Duration) webhook.Claimed {
	t.Helper()
	t.pass(short)
	return t.collect(everything(lease), 1)[0]
}

// settle makes one call in which nothing may be stale.
func (t *trial) settle(ss ...webhook.Settlement) {
	t.Helper()
	if stale := t.trySettle(ss...); len(stale) > 0 {
		t.Fatalf("Settle answered %q as stale, want none", stale)
	}
}

// settleStale makes one call in which everything must be stale.
func (t *trial) settleStale(why string, ss ...webhook.Settlement) {
	t.Helper()
	var want []string
	for _, s := range ss {
		want = append(want, s.DeliveryID)
	}
	if stale := t.trySettle(ss...); !sameSet(stale, want) {
		t.Errorf("Settle answered %q as stale, want %q: %s", stale, want, why)
	}
}

func (t *trial) trySettle(ss ...webhook.Settlement) (stale []string) {
	t.Helper()
	stale, err := t.store.Settle(t.ctx, ss)
	if err != nil {
		t.Fatalf("Settle: %v", err)
	}
	return stale
}

func (t *trial) delivery(id string) webhook.Delivery {
	t.Helper()
	d, err := t.store.GetDelivery(t.ctx, id)
	if err != nil {
		t.Fatalf("GetDelivery(%q): %v", id, err)
	}
	return d
}

func (t *trial) event(id string) webhook.EventRecord {
	t.Helper()
	e, err := t.store.GetEvent(t.ctx, id)
	if err != nil {
		t.Fatalf("GetEvent(%q): %v", id, err)
	}
	return e
}

func (t *trial) attempts(deliveryID string) []webhook.Attempt {
	t.Helper()
	as, err := t.store.ListAttempts(t.ctx, deliveryID)
	if err != nil {
		t.Fatalf("ListAttempts(%q): %v", deliveryID, err)
	}
	return as
}

// deliveries lists one page.
func (t *trial) deliveries(f webhook.DeliveryFilter) webhook.Page[webhook.Delivery] {
	t.Helper()
	return page(t, t.store.ListDeliveries, f)
}

// deliveriesOf returns all deliveries of an event.
func (t *trial) deliveriesOf(eventID string) []webhook.Delivery {
	t.Helper()
	return t.deliveries(webhook.DeliveryFilter{Scope: allTenants(), EventID: eventID, Limit: 1000}).Items
}

// deliveryOf returns the only delivery of an event.
func (t *trial) deliveryOf(eventID string) webhook.Delivery {
	t.Helper()
	return only(t, t.deliveriesOf(eventID))
}

// page makes one call of a listing that must succeed.
func page[T, F any](t *trial, list func(context.Context, F) (webhook.Page[T], error), filter F) webhook.Page[T] {
	t.Helper()
	p, err := list(t.ctx, filter)
	if err != nil {
		t.Fatalf("listing %+v: %v", filter, err)
	}
	return p
}

// only returns the only item.
func only[T any](t *trial, items []T) T {
	t.Helper()
	if len(items) != 1 {
		t.Fatalf("got %d items %+v, want 1", len(items), items)
	}
	return items[0]
}

// wantError checks that err matches the sentinel.
func (t *trial) wantError(call string, err, sentinel error) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Errorf("%s returned error %v, want one that matches %q", call, err, sentinel)
	}
}

// wantSet checks that the strings are the same, in any order.
func (t *trial) wantSet(what string, got []string, want ...string) {
	t.Helper()
	if !sameSet(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// wantList checks that the strings are the same, in the same order.
func (t *trial) wantList(what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q in this order", what, got, want)
	}
}

// wantSame checks that two records are, as far as a store must keep them.
func wantSame[T any](t *trial, what string, got, want T) {
	t.Helper()
	if d := diff(got, want); d != "" {
		t.Errorf("%s: %s", what, d)
	}
}

// wantIn checks that at is the store's time of the step that since, a time of
// the same step, belongs to, and in from then.
func (t *trial) wantIn(what string, at, since time.Time, in time.Duration) {
	t.Helper()
	if t.clock != nil {
		if want := t.clock.read().Add(in); !sameTime(at, want) {
			t.Errorf("%s is %v, want %v", what, at, want)
		}
		return
	}
	if d := at.Sub(since); d < in-time.Second || d > in+patience {
		t.Errorf("%s is %v, %v from %v, want %v", what, at, d, since, in)
	}
}

// together calls f n times at once and returns the errors.
func together(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errs
}

// capability finds an optional interface along the chain of Unwrap methods.
func capability[T any](s webhook.Store) (T, bool) {
	for s != nil {
		if c, ok := s.(T); ok {
			return c, true
		}
		u, ok := s.(interface{ Unwrap() webhook.Store })
		if !ok {
			break
		}
		s = u.Unwrap()
	}
	var none T
	return none, false
}

// need returns an optional interface of the store or skips the check.
func need[T any](t *trial, name string) T {
	c, ok := capability[T](t.store)
	if !ok {
		t.Skipf("the store does not implement webhook.%s", name)
	}
	return c
}

// clock is the time that the suite injects. It stands still between steps.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
