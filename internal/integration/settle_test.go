package integration

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// several are more than two statements of eight take, and a rest.
const several = 19

// attempted publishes events for an endpoint, claims their deliveries, and returns
// settlements of these, each with an attempt that began at a time of its own.
func (a *app) attempted(t *testing.T) []webhook.Settlement {
	t.Helper()
	a.register(t, t.Context(), nowhere)
	for n := range several {
		a.publish(t, t.Context(), fmt.Sprint("event-", n))
	}
	claimed, _, err := a.store.Claim(t.Context(), webhook.ClaimRequest{Max: several, PerEndpoint: several, Lease: time.Hour})
	if err != nil || len(claimed) != several {
		t.Fatalf("%d claimed, error %v", len(claimed), err)
	}
	ss := make([]webhook.Settlement, several)
	for n, c := range claimed {
		ss[n] = webhook.Settlement{DeliveryID: c.Delivery.ID, Lease: c.Lease, State: webhook.StateDelivered, Counted: true, Attempt: &webhook.Attempt{
			ID: uuid.NewString(), DeliveryID: c.Delivery.ID, Number: 1, StartedAt: time.Unix(1_790_000_000+int64(n), 0).UTC(), StatusCode: 200 + n%2,
		}}
	}
	return ss
}

// wantSettled checks that all are settled, or none is.
func (a *app) wantSettled(t *testing.T, ss []webhook.Settlement, settled bool) {
	t.Helper()
	for _, s := range ss {
		d, err := a.store.GetDelivery(t.Context(), s.DeliveryID)
		if err != nil {
			t.Fatal(err)
		}
		attempts, err := a.store.ListAttempts(t.Context(), s.DeliveryID)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case !settled && (d.State != webhook.StatePending || d.Attempts != 0 || len(attempts) != 0):
			t.Errorf("a delivery is %s with %d attempts, %d logged, want pending with none", d.State, d.Attempts, len(attempts))
		case settled && (d.State != webhook.StateDelivered || d.Attempts != 1 || d.LastStatus != s.Attempt.StatusCode || !d.FirstAttempt.Equal(s.Attempt.StartedAt)):
			t.Errorf("a delivery is %s with %d attempts, the first at %v with status %d, want delivered with that of %v with %d",
				d.State, d.Attempts, d.FirstAttempt, d.LastStatus, s.Attempt.StartedAt, s.Attempt.StatusCode)
		case settled && (len(attempts) != 1 || attempts[0].ID != s.Attempt.ID):
			t.Errorf("%d attempts are logged, want that of the settlement", len(attempts))
		}
	}
}

func TestASettlementSharesTheFateOfItsTransaction(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		ss := a.attempted(t)
		for _, settled := range []bool{false, true} {
			tx, ctx := a.begin(t, sql.LevelDefault)
			if stale, err := a.store.Settle(ctx, ss); err != nil || len(stale) > 0 {
				t.Fatalf("stale %v, error %v", stale, err)
			}
			end := tx.Rollback
			if settled {
				end = tx.Commit
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
			a.wantSettled(t, ss, settled)
		}
	})
}

func TestAConnectionOfSQLiteDSNHasWhatItPromises(t *testing.T) {
	forEach(t, sqlite(), func(t *testing.T, b backend) {
		for _, size := range []string{"8192", "4096"} {
			path := filepath.Join(t.TempDir(), "webhooks.db")
			if size == "4096" { // SQLite's own, of a file that exists
				db, err := sql.Open(b.driver, "file:"+path)
				if err != nil {
					t.Fatal(err)
				}
				_, err = db.ExecContext(t.Context(), "CREATE TABLE documents (id TEXT)")
				if err := errors.Join(err, db.Close()); err != nil {
					t.Fatal(err)
				}
			}
			dsn := sqlstore.SQLiteDSN(path)
			b.store(t, dsn)
			for pragma, want := range map[string]string{
				"page_size": size, "journal_mode": "wal", "synchronous": "2", "cache_size": "-8192", "wal_autocheckpoint": "2000", "busy_timeout": "10000",
			} {
				if got := b.strings(t, dsn, "PRAGMA "+pragma); len(got) != 1 || got[0] != want {
					t.Errorf("pages of %s bytes: %s is %v, want %s", size, pragma, got, want)
				}
			}
		}
	})
}
