package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// A tenant's data is spread over all tables. What is left is looked for in the
// tables themselves, since no listing would show a row that nothing refers to.
func TestErasingATenantLeavesNothingOfIt(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		register := func(e webhook.Endpoint) {
			t.Helper()
			e.URL = nowhere
			if _, err := a.Register(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		tenants := []string{"acme", "acme/legal", "acme2", "acm", ""}
		for _, tenant := range tenants {
			register(webhook.Endpoint{Tenant: tenant})
			register(webhook.Endpoint{Tenant: tenant, Ordered: true})
		}
		register(webhook.Endpoint{AllTenants: true, Ordered: true})
		publish := func(round string) {
			t.Helper()
			for _, tenant := range tenants {
				for n := range 2 {
					e := webhook.Event{ID: fmt.Sprintf("%s-%s-%d", round, tenant, n), Tenant: tenant, Type: "document.signed", Data: tenant}
					if _, err := a.Publish(t.Context(), e); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		// Some are delivered, one attempt is logged of others, the rest wait.
		publish("old")
		batch, _, err := a.store.Claim(t.Context(), webhook.ClaimRequest{Max: 100, PerEndpoint: 100, Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for n, c := range batch {
			s := webhook.Settlement{
				DeliveryID: c.Delivery.ID, Lease: c.Lease, State: []webhook.State{webhook.StateDelivered, webhook.StatePending}[n%2], Counted: true,
				Attempt: &webhook.Attempt{ID: fmt.Sprint("attempt-", n), DeliveryID: c.Delivery.ID, Number: 1, StartedAt: time.Now(), StatusCode: 200},
			}
			if _, err := a.store.Settle(t.Context(), []webhook.Settlement{s}); err != nil {
				t.Fatal(err)
			}
		}
		publish("new")

		for range 2 { // the second time there is nothing to do
			if err := a.store.Erase(t.Context(), "acme"); err != nil {
				t.Fatal(err)
			}
		}

		for name, query := range map[string]string{
			"endpoints":                    "SELECT tenant FROM outhook_endpoints",
			"lanes":                        "SELECT tenant FROM outhook_lanes",
			"subscriptions":                "SELECT tenant FROM outhook_subscriptions",
			"events":                       "SELECT tenant FROM outhook_events",
			"pending, by their endpoints":  "SELECT tenant FROM outhook_pending",
			"pending, by their events":     "SELECT event_tenant FROM outhook_pending",
			"finished, by their endpoints": "SELECT tenant FROM outhook_finished",
			"finished, by their events":    "SELECT event_tenant FROM outhook_finished",
		} {
			left := make(map[string]bool)
			for _, tenant := range a.column(t, query) {
				left[tenant] = true
			}
			for _, tenant := range tenants[:2] {
				if left[tenant] {
					t.Errorf("%s of tenant %q are left", name, tenant)
				}
			}
			for _, tenant := range tenants[2:] {
				if !left[tenant] {
					t.Errorf("%s of tenant %q are gone, too", name, tenant)
				}
			}
		}
		if orphans := a.column(t, `SELECT a.id FROM outhook_attempts a WHERE
				NOT EXISTS (SELECT 1 FROM outhook_pending d WHERE d.id = a.delivery_id) AND
				NOT EXISTS (SELECT 1 FROM outhook_finished d WHERE d.id = a.delivery_id)`); len(orphans) > 0 {
			t.Errorf("%d attempts are left of deliveries that are gone", len(orphans))
		}
		if b.dialect == sqlstore.SQLite { // where the above is a view
			if orphans := a.column(t, "SELECT id FROM outhook_log WHERE seq >> 24 NOT IN (SELECT seq FROM outhook_deliveries)"); len(orphans) > 0 {
				t.Errorf("%d attempts are left in the log of deliveries that are gone", len(orphans))
			}
			if kept, logged := a.column(t, "SELECT id FROM outhook_attempts"), a.column(t, "SELECT id FROM outhook_log"); len(kept) != len(logged) {
				t.Errorf("%d attempts are to be seen of %d in the log", len(kept), len(logged))
			}
		}

		// The others' go on, those in order too, one of which waited behind an
		// erased one at the endpoint of all tenants.
		pending := len(a.column(t, "SELECT CAST(id AS text) FROM outhook_pending"))
		eventually(t, "all others are claimed", func() bool {
			batch, _, err := a.store.Claim(t.Context(), webhook.ClaimRequest{Max: 1000, PerEndpoint: 1000, Lease: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range batch {
				s := webhook.Settlement{DeliveryID: c.Delivery.ID, Lease: c.Lease, State: webhook.StateDelivered}
				if stale, err := a.store.Settle(t.Context(), []webhook.Settlement{s}); err != nil || len(stale) > 0 {
					t.Fatalf("settle: stale %q, error %v", stale, err)
				}
				pending--
			}
			return pending == 0
		})
	})
}

// column returns the text of a query's only column.
func (a *app) column(t *testing.T, query string) (values []string) {
	t.Helper()
	rows, err := a.db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}
