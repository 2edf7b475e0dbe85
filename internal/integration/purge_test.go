package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/pg"
	"github.com/outhook/webhook/sqlstore"
)

// execute runs statements, one after another.
func (a *app) execute(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := a.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// recordDeletions makes PostgreSQL write down which transactions delete rows.
func (a *app) recordDeletions(t *testing.T, table string) (transactions func() int) {
	t.Helper()
	a.execute(t,
		"CREATE TABLE deletions (transaction bigint)",
		`CREATE FUNCTION record() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN INSERT INTO deletions VALUES (txid_current()); RETURN NULL; END $$`,
		"CREATE TRIGGER recorded AFTER DELETE ON "+table+" FOR EACH ROW EXECUTE FUNCTION record()")
	return func() int { return len(a.column(t, "SELECT DISTINCT transaction::text FROM deletions")) }
}

// An endpoint that is disabled may have a backlog of any size that is older than
// the retention.
func TestAPurgeDoesNotHoldWhatIsPending(t *testing.T) {
	const events, lonely, step = 20_000, 5, 1000
	forEach(t, postgreSQL()[:1], func(t *testing.T, b backend) {
		dsn := b.database(t)
		a := b.newApp(t, dsn)
		a.execute(t,
			fmt.Sprintf(`INSERT INTO outhook_events (id, type, tenant, ordering_key, time, created_at, test, data, sum)
				SELECT 'event-' || n, 'document.signed', '', '', at, at, false, '', ''
				FROM (SELECT n, now() - interval '8 days' + n * interval '1 second' AS at FROM generate_series(1, %d) n) e ORDER BY n`, events),
			fmt.Sprintf(`INSERT INTO outhook_pending (id, event_id, event_type, event_tenant, endpoint_id, tenant, origin, due, next_attempt, created_at, updated_at, size)
				SELECT gen_random_uuid(), id, type, tenant, 'disabled', '', 'publish', created_at, created_at, created_at, created_at, 0
				FROM outhook_events WHERE seq %% %d <> 0`, events/lonely),
			"VACUUM ANALYZE outhook_events", "VACUUM ANALYZE outhook_pending")
		transactions := a.recordDeletions(t, "outhook_events")

		removed := 0
		for n := 1; n > 0; removed += n {
			var err error
			if n, err = a.store.Purge(t.Context(), time.Hour, step); err != nil {
				t.Fatal(err)
			}
		}
		if removed != lonely {
			t.Errorf("removed %d events, want the %d without deliveries", removed, lonely)
		}
		if n := transactions(); n != lonely {
			t.Errorf("these were removed in %d transactions, want one for each %d events at most", n, step)
		}
		if locked := a.column(t, "SELECT id FROM outhook_events WHERE xmax::text <> '0'"); len(locked) > 0 {
			t.Errorf("%d events with deliveries were locked", len(locked))
		}

		for _, mode := range []string{"custom", "generic"} {
			x, fresh := pg.Explain(t, dsn), b.store(t, dsn)
			if _, err := x.Tx.Exec(t.Context(), "SET plan_cache_mode = force_"+mode+"_plan"); err != nil {
				t.Fatal(err)
			}
			plans := x.Plans(func() {
				if n, err := fresh.Purge(fresh.WithQuerier(t.Context(), pgxQuerier{x.Tx}), time.Hour, step); n != 0 || err != nil {
					t.Fatalf("removed %d, error %v, want nothing", n, err)
				}
			})
			if len(plans) < events/step {
				t.Fatalf("%d plans are known", len(plans))
			}
			for _, plan := range plans {
				if n := pg.RowsOf(plan); n > step {
					t.Fatalf("a step reads %d rows by a %s plan:\n%s", n, mode, plan)
				}
			}
		}
	})
}

func TestAPurgeOfEventsWithoutDeliveriesKeepsToItsLimit(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		now := time.Now()
		a.store.SetClock(func() time.Time { return now })
		for n := range 7 {
			a.publish(t, t.Context(), fmt.Sprint("event-", n))
		}
		now = now.Add(time.Hour)
		for _, want := range []int{3, 3, 1, 0} {
			if n, err := a.store.Purge(t.Context(), time.Minute, 3); n != want || err != nil {
				t.Errorf("removed %d, error %v, want %d", n, err, want)
			}
		}
	})
}

// Each of two transactions that purge the last deliveries of an event sees the
// other's still.
func TestAnEventWhoseDeliveriesTwoPurgedAtOnceGoesWithinADay(t *testing.T) {
	forEach(t, postgreSQL()[:1], func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		now := time.Now()
		a.store.SetClock(func() time.Time { return now })
		purge := func(ctx context.Context, want int) {
			t.Helper()
			if n, err := a.store.Purge(ctx, time.Minute, 1); n != want || err != nil {
				t.Fatalf("removed %d, error %v, want %d", n, err, want)
			}
		}
		first, second := a.register(t, t.Context(), nowhere), a.register(t, t.Context(), nowhere)
		a.publish(t, t.Context(), "event")
		now = now.Add(time.Hour)
		purge(t.Context(), 0)
		for _, e := range []webhook.Endpoint{first, second} {
			if err := a.store.DeleteEndpoint(t.Context(), e.ID); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(time.Hour)
		var txs []*sql.Tx
		for range 2 {
			tx, ctx := a.begin(t, sql.LevelReadCommitted)
			purge(ctx, 1)
			txs = append(txs, tx)
		}
		for _, tx := range txs {
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		if !a.known(t, "event") {
			t.Fatal("the event went with its deliveries: this test shows nothing")
		}
		now = now.Add(24 * time.Hour)
		purge(t.Context(), 1)
		purge(t.Context(), 0)
		if a.known(t, "event") {
			t.Error("the event outlives the retention")
		}
	})
}

// watchedQuerier tells of queries before they are executed.
type watchedQuerier struct {
	sqlstore.Querier
	before func(query string)
}

func (q watchedQuerier) Query(ctx context.Context, query string, args ...any) (sqlstore.Rows, error) {
	q.before(query)
	return q.Querier.Query(ctx, query, args...)
}

// watched returns the context of a transaction whose queries are told of, and the
// one of the same transaction in silence.
func (a *app) watched(t *testing.T, before func(query string)) (ctx, silent context.Context) {
	t.Helper()
	_, silent = a.begin(t, sql.LevelDefault)
	q, _ := a.store.Querier(silent)
	return a.store.WithQuerier(t.Context(), watchedQuerier{q, before}), silent
}

func TestAnErasureGoesOnIfAnEndpointIsUnregisteredMeanwhile(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		var ids []string
		for range 2 {
			ids = append(ids, a.register(t, t.Context(), nowhere).ID)
		}
		var ctx, silent context.Context
		unregistered := false
		ctx, silent = a.watched(t, func(query string) {
			if !unregistered && strings.HasPrefix(query, "DELETE FROM outhook_endpoints") {
				unregistered = true
				for _, id := range ids {
					if err := a.store.DeleteEndpoint(silent, id); err != nil {
						t.Error(err)
					}
				}
			}
		})
		if err := a.store.Erase(ctx, ""); err != nil || !unregistered {
			t.Errorf("erase: %v, with endpoints unregistered meanwhile: %t", err, unregistered)
		}
		for _, id := range ids {
			if _, err := a.store.GetEndpoint(silent, id); !errors.Is(err, webhook.ErrNotFound) {
				t.Errorf("an endpoint is left, error %v", err)
			}
		}
	})
}

func TestAnErasureTakesATransactionForEachEndpoint(t *testing.T) {
	forEach(t, postgreSQL()[:1], func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		for range 3 {
			a.register(t, t.Context(), nowhere)
		}
		transactions := a.recordDeletions(t, "outhook_endpoints")
		if err := a.store.Erase(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if n := transactions(); n != 3 {
			t.Errorf("3 endpoints went in %d transactions", n)
		}
	})
}

func TestAnErasureSearchesWhatIsPendingOnce(t *testing.T) {
	search := regexp.MustCompile(`FROM outhook_pending WHERE .*tenant.* LIMIT`) // not that of an endpoint, which has an index
	forEach(t, []backend{postgreSQL()[0], sqlite()[0]}, func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		if _, err := a.Register(t.Context(), webhook.Endpoint{URL: nowhere, Tenant: "acme"}); err != nil {
			t.Fatal(err)
		}
		events := make([]webhook.Event, 500)
		for n := range events {
			events[n] = webhook.Event{Type: "document.signed", Tenant: "acme"}
		}
		for range 3 {
			if _, err := a.PublishBatch(t.Context(), events); err != nil {
				t.Fatal(err)
			}
		}
		a.execute(t, "UPDATE outhook_events SET tenant = 'other'") // so that they do not take their deliveries with them
		searches := 0
		ctx, silent := a.watched(t, func(query string) {
			if search.MatchString(query) {
				searches++
			}
		})
		if err := a.store.Erase(ctx, "acme"); err != nil {
			t.Fatal(err)
		}
		if searches != 1 {
			t.Errorf("what is pending was searched %d times", searches)
		}
		page, err := a.store.ListDeliveries(silent, webhook.DeliveryFilter{Scope: webhook.Scope{All: true}})
		if err != nil || len(page.Items) > 0 {
			t.Errorf("%d deliveries are left, error %v", len(page.Items), err)
		}
	})
}
