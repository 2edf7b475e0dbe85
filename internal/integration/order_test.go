package integration

import (
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// claim claims all that is due and returns the IDs of the events.
func (a *app) claim(t *testing.T, r webhook.ClaimRequest) (batch []webhook.Claimed, ids string) {
	t.Helper()
	r.Lease = time.Minute
	batch, _, err := a.store.Claim(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range batch {
		ids += " " + c.Event.ID
	}
	return batch, strings.TrimSpace(ids)
}

// An event that was published first may be committed last.
func TestWhatIsCommittedLateDoesNotOvertakeWhatIsUnderWay(t *testing.T) {
	forEach(t, postgreSQL(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		if _, err := a.Register(t.Context(), webhook.Endpoint{URL: nowhere, Ordered: true}); err != nil {
			t.Fatal(err)
		}
		tx, ctx := a.begin(t, sql.LevelDefault)
		a.publish(t, ctx, "early")
		a.publish(t, t.Context(), "late")
		all := webhook.ClaimRequest{Max: 9, PerEndpoint: 9}
		batch, ids := a.claim(t, all)
		if ids != "late" {
			t.Fatalf("claimed %q before the other was committed, want late", ids)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, ids := a.claim(t, all); ids != "" {
				t.Errorf("claimed %q while another of its key is under way", ids)
			}
		}
		for n, want := range []string{"early", "late"} {
			state := []webhook.State{webhook.StatePending, webhook.StateDelivered}[n]
			s := webhook.Settlement{DeliveryID: batch[0].Delivery.ID, Lease: batch[0].Lease, State: state}
			if stale, err := a.store.Settle(t.Context(), []webhook.Settlement{s}); err != nil || len(stale) > 0 {
				t.Fatalf("settle: stale %q, error %v", stale, err)
			}
			if batch, ids = a.claim(t, all); ids != want {
				t.Fatalf("claimed %q, want %q: it is the oldest", ids, want)
			}
		}
	})
}

// One that does not fit into the rest of a batch is the first of another.
func TestALargeEventIsNotPassedOverForEver(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		for _, tenant := range []string{"a", "b", "c"} {
			if _, err := a.Register(t.Context(), webhook.Endpoint{URL: nowhere, Tenant: tenant}); err != nil {
				t.Fatal(err)
			}
		}
		publish := func(tenant string, size int) {
			t.Helper()
			if _, err := a.Publish(t.Context(), webhook.Event{Tenant: tenant, Type: "document.signed", Data: strings.Repeat("x", size)}); err != nil {
				t.Fatal(err)
			}
		}
		publish("b", 95)
		for range 8 {
			publish("a", 10)
			publish("c", 10)
			batch, _ := a.claim(t, webhook.ClaimRequest{Max: 8, PerEndpoint: 8, MaxBytes: 100})
			for _, c := range batch {
				if c.Event.Tenant == "b" {
					return
				}
			}
		}
		t.Error("8 claims have passed over the large event")
	})
}

func TestUnregisteringNeedsToSeeTheNewestDeliveries(t *testing.T) {
	forEach(t, postgreSQL()[:1], func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		e := a.register(t, t.Context(), nowhere)
		_, ctx := a.begin(t, sql.LevelRepeatableRead)
		wantNotSupported(t, a.Unregister(ctx, e.ID))
	})
}

func wantNotSupported(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, webhook.ErrNotSupported) {
		t.Errorf("the error is %v, want one that matches %v", err, webhook.ErrNotSupported)
	}
}

// setClock makes the store's time stand still, until it is advanced.
func (a *app) setClock() (advance func(time.Duration)) {
	now := time.Now().Truncate(time.Second)
	a.store.SetClock(func() time.Time { return now })
	return func(d time.Duration) { now = now.Add(d) }
}

// What was in flight when its endpoint became ordered, in a process that died, is
// the first of its key.
func TestALeaseThatEndsAfterTheEndpointBecameOrdered(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		advance := a.setClock()
		e := a.register(t, t.Context(), nowhere)
		a.publish(t, t.Context(), "one")
		all := webhook.ClaimRequest{Max: 9, PerEndpoint: 9}
		if _, ids := a.claim(t, all); ids != "one" {
			t.Fatalf("claimed %q, want one", ids)
		}
		e.Ordered = true
		if _, err := a.Update(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		a.publish(t, t.Context(), "two")
		if _, ids := a.claim(t, all); ids != "" {
			t.Errorf("claimed %q while the first is in flight", ids)
		}
		advance(2 * time.Minute)
		if _, ids := a.claim(t, all); ids != "one" {
			t.Errorf("after the lease claimed %q, want one", ids)
		}
	})
}

// What overtook another that was committed late, and was lost in a crash, comes
// after it.
func TestALeaseThatEndsDoesNotComeBeforeTheOldest(t *testing.T) {
	forEach(t, postgreSQL()[:1], func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		advance := a.setClock()
		if _, err := a.Register(t.Context(), webhook.Endpoint{URL: nowhere, Ordered: true}); err != nil {
			t.Fatal(err)
		}
		tx, ctx := a.begin(t, sql.LevelDefault)
		a.publish(t, ctx, "early")
		a.publish(t, t.Context(), "late")
		all := webhook.ClaimRequest{Max: 9, PerEndpoint: 9}
		if _, ids := a.claim(t, all); ids != "late" {
			t.Fatalf("claimed %q, want late", ids)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if _, ids := a.claim(t, all); ids != "" {
			t.Errorf("claimed %q while another of its key is under way", ids)
		}
		advance(2 * time.Minute)
		if _, ids := a.claim(t, all); ids != "early" {
			t.Errorf("after the lease claimed %q, want early: it is the oldest", ids)
		}
	})
}
