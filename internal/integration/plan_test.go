package integration

import (
	"context"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/outhook/webhook"
)

// A plan is made when a session claims for the first time, at whatever size the
// backlog has then, and kept. PostgreSQL may know nothing of the tables yet.
func TestAClaimReadsABacklogInItsOrderWheneverItsPlanWasMade(t *testing.T) {
	b := postgreSQL()[0]
	dsn := b.database(t)
	a := b.newApp(t, dsn)
	a.register(t, t.Context(), nowhere)
	if _, err := a.db.ExecContext(t.Context(), "ALTER TABLE outhook_pending SET (autovacuum_enabled = off)"); err != nil {
		t.Fatal(err)
	}
	events := make([]webhook.Event, 500)
	for n := range events {
		events[n] = webhook.Event{Type: "document.signed"}
	}
	sorted := regexp.MustCompile(`Bitmap Index Scan on outhook_ix_pending_due|(?m)Sort Key: (\w+\.)?due, (\w+\.)?seq$`)
	for backlog := 0; backlog <= 8000; backlog += len(events) {
		plans := a.plansOfAClaim(t, dsn)
		if len(plans) == 0 {
			t.Fatal("the plans are not known")
		}
		for _, plan := range plans {
			if sorted.MatchString(plan) {
				t.Fatalf("a claim that is planned at %d pending deliveries:\n%s", backlog, plan)
			}
		}
		if _, err := a.PublishBatch(t.Context(), events); err != nil {
			t.Fatal(err)
		}
	}
}

// plansOfAClaim returns what a new session executes in a claim, which is undone.
func (a *app) plansOfAClaim(t *testing.T, dsn string) (plans []string) {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { plans = append(plans, n.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
		SET auto_explain.log_level = 'notice'; SET client_min_messages = 'notice'`); err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	plans = nil
	if _, _, err := a.store.Claim(a.store.WithQuerier(t.Context(), pgxQuerier{tx}), webhook.ClaimRequest{Max: 9, PerEndpoint: 9, Lease: time.Minute}); err != nil {
		t.Fatal(err)
	}
	return plans
}
