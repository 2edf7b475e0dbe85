package integration

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// lock keeps rows locked until the test ends.
func (a *app) lock(t *testing.T, query string, args ...any) {
	t.Helper()
	tx, _ := a.begin(t, sql.LevelDefault)
	if _, err := tx.ExecContext(t.Context(), query+" FOR UPDATE", args...); err != nil {
		t.Fatal(err)
	}
}

func TestAnOutcomeDisablesItsOwnEndpointAlone(t *testing.T) {
	forEach(t, postgreSQL()[:1], func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		gone, locked := a.register(t, t.Context(), nowhere), a.register(t, t.Context(), nowhere)
		a.publish(t, t.Context(), "event")
		batch, _ := a.claim(t, webhook.ClaimRequest{Max: 9, PerEndpoint: 9})
		if len(batch) != 2 {
			t.Fatalf("claimed %d deliveries, want 2", len(batch))
		}
		a.lock(t, "SELECT 1 FROM outhook_lanes WHERE endpoint_id = $1", locked.ID)
		var outcomes []webhook.Settlement
		for _, c := range batch {
			s := webhook.Settlement{DeliveryID: c.Delivery.ID, Lease: c.Lease, State: webhook.StatePending, Delay: time.Hour, Counted: true, Health: webhook.HealthFailure}
			if c.Delivery.EndpointID == gone.ID {
				s.Disable = "gone"
			}
			outcomes = append(outcomes, s)
		}
		if stale, err := a.store.Settle(t.Context(), outcomes); err != nil || len(stale) > 0 {
			t.Fatalf("settle: stale %q, error %v", stale, err)
		}
		for id, want := range map[string]bool{gone.ID: true, locked.ID: false} {
			e, err := a.store.GetEndpoint(t.Context(), id)
			if err != nil || e.Disabled != want {
				t.Errorf("endpoint %s is disabled: %t (%q), want %t; error %v", id, e.Disabled, e.DisabledReason, want, err)
			}
		}
	})
}

func TestAFewEndpointsOfSeveralTenantsFillAClaim(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		var events []webhook.Event
		for n := range 4 {
			tenant := fmt.Sprint("tenant", n)
			if _, err := a.Register(t.Context(), webhook.Endpoint{URL: nowhere, Tenant: tenant}); err != nil {
				t.Fatal(err)
			}
			for range 50 {
				events = append(events, webhook.Event{Type: "document.signed", Tenant: tenant, Data: 1})
			}
		}
		if _, err := a.PublishBatch(t.Context(), events); err != nil {
			t.Fatal(err)
		}
		if batch, _ := a.claim(t, webhook.ClaimRequest{Max: 100, PerEndpoint: 100}); len(batch) != 100 {
			t.Errorf("claimed %d of 200 deliveries, want 100", len(batch))
		}
	})
}

// An application that keeps a transaction open in which it has changed an
// endpoint holds up that one alone, whatever has happened to it meanwhile.
func TestALockedEndpointDoesNotHideWhatOthersHave(t *testing.T) {
	forEach(t, postgreSQL()[:1], func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		locked := a.register(t, t.Context(), nowhere)
		if _, err := a.db.ExecContext(t.Context(),
			"INSERT INTO outhook_alarms (due, endpoint_id) SELECT now() - interval '1 hour', $1 FROM generate_series(1, 2500)", locked.ID); err != nil {
			t.Fatal(err)
		}
		a.lock(t, "SELECT 1 FROM outhook_lanes WHERE endpoint_id = $1", locked.ID)
		a.register(t, t.Context(), nowhere)
		a.publish(t, t.Context(), "event")
		if _, ids := a.claim(t, webhook.ClaimRequest{Max: 9, PerEndpoint: 9}); ids != "event" {
			t.Errorf("claimed %q, want the event of the other endpoint", ids)
		}
	})
}

func TestALeaseThatEndsWhileItsDeliveryIsLockedIsNotForgotten(t *testing.T) {
	forEach(t, postgreSQL()[:1], func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		a.register(t, t.Context(), nowhere)
		a.publish(t, t.Context(), "event")
		batch, _, err := a.store.Claim(t.Context(), webhook.ClaimRequest{Max: 1, PerEndpoint: 1, Lease: time.Microsecond})
		if err != nil || len(batch) != 1 {
			t.Fatalf("claimed %d, error %v", len(batch), err)
		}
		tx, _ := a.begin(t, sql.LevelDefault)
		if _, err := tx.ExecContext(t.Context(), "SELECT 1 FROM outhook_pending FOR UPDATE"); err != nil {
			t.Fatal(err)
		}
		all := webhook.ClaimRequest{Max: 9, PerEndpoint: 9}
		if _, ids := a.claim(t, all); ids != "" {
			t.Errorf("claimed %q, which another has locked", ids)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		var ids string
		eventually(t, "it is claimed again", func() bool {
			_, ids = a.claim(t, all)
			return ids != ""
		})
	})
}

func TestAnErasureInATransactionHoldsUpNobodyElse(t *testing.T) {
	forEach(t, postgreSQL()[:1], func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		for _, tenant := range []string{"a", "other"} {
			if _, err := a.Register(t.Context(), webhook.Endpoint{URL: nowhere, Tenant: tenant}); err != nil {
				t.Fatal(err)
			}
		}
		for _, tenant := range []string{"a/b", "other"} {
			if _, err := a.Publish(t.Context(), webhook.Event{ID: "of-" + tenant[:1], Type: "document.signed", Tenant: tenant}); err != nil {
				t.Fatal(err)
			}
		}
		_, ctx := a.begin(t, sql.LevelDefault)
		if err := a.store.Erase(ctx, "a/b"); err != nil {
			t.Fatal(err)
		}
		if _, ids := a.claim(t, webhook.ClaimRequest{Max: 9, PerEndpoint: 9}); ids != "of-o" {
			t.Errorf("claimed %q, want the event of the other tenant", ids)
		}
	})
}
