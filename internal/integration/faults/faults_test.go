package faults

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outhook/webhook/internal/integration/crash/hookdb"
	"github.com/outhook/webhook/internal/integration/pg"
	"github.com/outhook/webhook/sqlstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPostgreSQLMayRestartUnderLoad(t *testing.T) {
	restarts := 10
	if testing.Short() {
		restarts = 2
	}
	server, err := pg.Start(t.Context(), pg.Options{}) // for itself alone
	switch {
	case errors.Is(err, pg.ErrMissing) && os.Getenv("OUTHOOK_REQUIRE") == "":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	s := newSite(t, postgreSQL(t, server.DSN("postgres"), nil), sqlstore.PostgreSQL)
	load := s.load(t, 8)
	for range restarts {
		s.awaitDelivered(t, 50)
		if err := server.Restart(t.Context(), pg.Immediate); err != nil {
			t.Fatal(err)
		}
	}
	s.awaitDelivered(t, 50)
	load.stop()
	s.check(t, restarts)
}

func TestConnectionsMayBeCutUnderLoad(t *testing.T) {
	cuts := 30
	if testing.Short() {
		cuts = 5
	}
	server := pg.ForTest(t)
	dsn := server.Database(t)
	s := newSite(t, postgreSQL(t, dsn, nil), sqlstore.PostgreSQL)
	load := s.load(t, 8)
	for range cuts {
		s.awaitDelivered(t, 20)
		err := pg.Exec(t.Context(), dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		if err != nil {
			t.Fatal(err)
		}
	}
	s.awaitDelivered(t, 20)
	load.stop()
	s.check(t, 2*cuts) // one session may come to its end a little later than the others
}

// The application holds the only connection in a transaction, in which it
// publishes; everything else waits, and nothing waits for itself.
func TestThePoolMayBeExhausted(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, db *sql.DB, dialect sqlstore.Dialect) {
		db.SetMaxOpenConns(1)
		s := newSite(t, db, dialect)
		load := s.load(t, 8)
		for range 3 {
			s.awaitDelivered(t, 10)
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			id := s.newID()
			if _, err := s.d.Publish(s.store.WithTx(t.Context(), tx), event(id)); err != nil {
				t.Fatal(err)
			}
			waiting, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			if err := s.publish(waiting, s.newID()); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("publishing without a connection: %v, want the context's error", err)
			}
			cancel()
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			s.accept(id)
		}
		s.awaitDelivered(t, 10)
		load.stop()
		s.check(t, 0)
	})
}

// Now and then a statement fails, before or after it was executed, as another
// transaction got in its way; and for a while all do.
func TestSerializationFailuresAndDeadlocksAreRiddenOut(t *testing.T) {
	var rate atomic.Int64 // per thousand
	var injected atomic.Int64
	hook := func(_ context.Context, query string) (executed func() error, err error) {
		if query == "ROLLBACK" || rand.Int64N(1000) >= rate.Load() {
			return nil, nil
		}
		injected.Add(1)
		failure := &hookdb.Failure{State: []string{"40001", "40P01"}[rand.IntN(2)]}
		if rand.IntN(2) == 0 || query == "COMMIT" {
			return nil, failure
		}
		return func() error { return failure }, nil
	}
	s := newSite(t, postgreSQL(t, pg.ForTest(t).Database(t), hook), sqlstore.PostgreSQL)
	load := s.load(t, 8)
	s.awaitDelivered(t, 50)
	rate.Store(200)
	for injected.Load() < 100 {
		s.awaitDelivered(t, 10)
	}
	now := injected.Load()
	s.checkNotices(t, 0)
	rate.Store(1000)
	s.awaitFailure(t)
	rate.Store(0)
	s.awaitDelivered(t, 50)
	load.stop()
	s.check(t, 1)
	t.Logf("%d failures injected one by one, %d in a row", now, injected.Load()-now)
}

func TestAFullSQLiteDatabaseIsRiddenOut(t *testing.T) {
	db := sqlite(t)
	db.SetMaxOpenConns(1) // which PRAGMA max_page_count is about
	s := newSite(t, db, sqlstore.SQLite)
	load := s.load(t, 4)
	const rounds = 3
	for range rounds {
		s.awaitDelivered(t, 20)
		answer := s.hold(t, 8)
		pragma(t, db, "PRAGMA max_page_count = 1") // what it has already
		s.publishUntilRefused(t)
		answer() // so that outcomes are to be stored where there is no room
		s.awaitFailure(t)
		pragma(t, db, "PRAGMA max_page_count = 1000000")
	}
	s.awaitDelivered(t, 20)
	load.stop()
	s.check(t, rounds)
}

// What is pending while the clock is ahead, and what must follow on it in an order,
// may wait until it is so late again; all else goes on at once.
func TestTheClockMayMoveByAnHourUnderLoad(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, db *sql.DB, dialect sqlstore.Dialect) {
		var offset atomic.Int64
		s := newSite(t, db, dialect)
		s.store.SetClock(func() time.Time { return time.Now().Add(time.Duration(offset.Load())) })
		load := s.load(t, 4)
		for n, hours := range []int{0, 1, 0, -1, 0, 1, -1, 0} {
			offset.Store(int64(hours) * int64(time.Hour))
			s.newKey(fmt.Sprint(n))
			s.awaitFresh(t, 5)
		}
		load.stop()
		offset.Store(int64(2 * time.Hour))
		s.check(t, 0)
	})
}

func onEachDatabase(t *testing.T, test func(*testing.T, *sql.DB, sqlstore.Dialect)) {
	t.Run("PostgreSQL", func(t *testing.T) {
		test(t, postgreSQL(t, pg.ForTest(t).Database(t), nil), sqlstore.PostgreSQL)
	})
	t.Run("SQLite", func(t *testing.T) { test(t, sqlite(t), sqlstore.SQLite) })
}
