package integration

import (
	"testing"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/pg"
)

// A page costs what it shows, in a log of 100,000 deliveries and events as well,
// and so does the next one: the item that a cursor names is looked up, and the
// index entered behind it, by a plan made for any parameters as well.
func TestAPageIsReadFromItsIndexHoweverLongTheLog(t *testing.T) {
	b := postgreSQL()[0]
	dsn := b.database(t)
	a := b.newApp(t, dsn)
	// Every other row is the large tenant's, 1 in 1,000 is each of the others', and
	// ten share each time.
	for _, statement := range []string{
		`CREATE TEMP VIEW log AS SELECT n, CASE WHEN n % 2 = 0 THEN 'large' ELSE 'small-' || n / 2 % 500 END AS tenant,
			timestamptz '2026-01-01 00:00:00Z' + n / 10 * interval '1 second' AS at FROM generate_series(1, 100000) n`,
		`INSERT INTO outhook_events (id, type, tenant, ordering_key, time, created_at, test, data, sum)
			SELECT 'event-' || n, 'document.signed', tenant, '', at, at, false, '', '' FROM log ORDER BY n`,
		`INSERT INTO outhook_finished (id, seq, event_id, event_type, event_tenant, endpoint_id, tenant, state, origin, attempts, last_status, last_error, created_at, updated_at)
			SELECT gen_random_uuid(), nextval('outhook_seq'), 'event-' || n, 'document.signed', tenant, tenant || '-' || n / 2 % 5, tenant,
				CASE WHEN n / 10 % 10 = 0 THEN 'exhausted' ELSE 'delivered' END, 'publish', 1, 200, '', at, at FROM log ORDER BY n`,
		`INSERT INTO outhook_endpoints (id, tenant, all_tenants, patterns, ordered, disabled, disabled_reason, created_at, updated_at, rev, config)
			SELECT 'endpoint-' || n, tenant, false, '["*"]', false, false, '', at, at, 1, '{"url":"https://example.com/"}' FROM log ORDER BY n`,
		`INSERT INTO outhook_endpoints (id, tenant, all_tenants, patterns, ordered, disabled, disabled_reason, created_at, updated_at, rev, config)
			SELECT DISTINCT endpoint_id, tenant, false, '["*"]', false, false, '', now(), now(), 1, '{"url":"https://example.com/"}'::bytea FROM outhook_finished`,
		`INSERT INTO outhook_lanes (endpoint_id, tenant, wake, since) SELECT id, tenant, 'infinity', 'infinity' FROM outhook_endpoints`,
	} {
		if _, err := a.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	for _, table := range []string{"events", "finished", "endpoints", "lanes", "pending"} {
		if _, err := a.db.ExecContext(t.Context(), "VACUUM ANALYZE outhook_"+table); err != nil {
			t.Fatal(err)
		}
	}
	x := pg.Explain(t, dsn)
	views := map[string]*webhook.View{"all": a.View, "large": a.Tenant("large"), "small": a.Tenant("small-7")}
	for _, mode := range []string{"custom", "generic"} {
		if _, err := x.Tx.Exec(t.Context(), "SET plan_cache_mode = force_"+mode+"_plan"); err != nil {
			t.Fatal(err)
		}
		for _, looker := range []string{"all", "large", "small"} {
			v, tenant := views[looker], map[string]string{"all": "large", "large": "large", "small": "small-7"}[looker]
			ctx := a.store.WithQuerier(t.Context(), pgxQuerier{x.Tx})
			listings := map[string]func(cursor string, limit int) (string, error){
				"deliveries": func(cursor string, limit int) (string, error) {
					p, err := v.Deliveries(ctx, webhook.DeliveryFilter{Limit: limit, Cursor: cursor})
					return p.Next, err
				},
				"deliveries of an endpoint": func(cursor string, limit int) (string, error) {
					p, err := v.Deliveries(ctx, webhook.DeliveryFilter{Limit: limit, Cursor: cursor, EndpointID: tenant + "-2"})
					return p.Next, err
				},
				"failures of an endpoint": func(cursor string, limit int) (string, error) {
					p, err := v.Deliveries(ctx, webhook.DeliveryFilter{Limit: limit, Cursor: cursor, EndpointID: tenant + "-2", States: []webhook.State{webhook.StateExhausted}})
					return p.Next, err
				},
				"deliveries of a stranger's endpoint": func(cursor string, limit int) (string, error) {
					p, err := v.Deliveries(ctx, webhook.DeliveryFilter{Limit: limit, Cursor: cursor, EndpointID: "large-2"})
					return p.Next, err
				},
				"events": func(cursor string, limit int) (string, error) {
					scope := webhook.Scope{Tenant: tenant, All: looker == "all"}
					p, err := a.store.ListEvents(ctx, webhook.EventFilter{Scope: scope, Limit: limit, Cursor: cursor})
					return p.Next, err
				},
				"endpoints": func(cursor string, limit int) (string, error) {
					p, err := v.Endpoints(ctx, webhook.EndpointFilter{Limit: limit, Cursor: cursor})
					return p.Next, err
				},
			}
			if looker != "small" || mode == "generic" {
				delete(listings, "endpoints") // their Total counts them, and so may the plan for any tenant
			}
			for name, list := range listings {
				read := func(cursor string, limit int) (next string, plans []string) {
					t.Helper()
					plans = x.Plans(func() {
						var err error
						if next, err = list(cursor, limit); err != nil {
							t.Fatal(err)
						}
					})
					if len(plans) == 0 {
						t.Fatal("the plans are not known")
					}
					return next, plans
				}
				far, _ := read("", map[string]int{"all": 1000, "large": 1000, "small": 30}[looker])
				for page, cursor := range map[string]string{"the first page": "", "a page far behind": far} {
					_, plans := read(cursor, 20)
					for _, plan := range plans {
						if n := pg.RowsOf(plan); n > 500 {
							t.Errorf("%s of the %s of %s reads %d rows by a %s plan:\n%s", page, name, looker, n, mode, plan)
						}
					}
				}
			}
		}
	}
}
