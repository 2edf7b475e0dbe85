package integration

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// wantMistake checks that an error is ErrInvalid and says what to do.
func wantMistake(t *testing.T, err error, remedy string) {
	t.Helper()
	if !errors.Is(err, webhook.ErrInvalid) || errors.Is(err, webhook.ErrUncertain) || !strings.Contains(err.Error(), remedy) {
		t.Errorf("error %v, want ErrInvalid with %q", err, remedy)
	}
}

func TestMigrateNamesTheRightDialect(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		wrong := map[sqlstore.Dialect]sqlstore.Dialect{sqlstore.PostgreSQL: sqlstore.SQLite, sqlstore.SQLite: sqlstore.PostgreSQL}[b.dialect]
		store := sqlstore.New(b.open(t, b.database(t)), wrong)
		wantMistake(t, store.Migrate(t.Context()), "use sqlstore."+b.dialect.String())
	})
}

func TestNothingIsUncertainInTheWrongDialect(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		wrong := map[sqlstore.Dialect]sqlstore.Dialect{sqlstore.PostgreSQL: sqlstore.SQLite, sqlstore.SQLite: sqlstore.PostgreSQL}[b.dialect]
		dispatcher, err := webhook.NewDispatcher(sqlstore.New(b.open(t, b.database(t)), wrong), webhook.Config{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = dispatcher.Publish(t.Context(), signed("event"))
		if err == nil || errors.Is(err, webhook.ErrUncertain) {
			t.Errorf("error %v, want a certain one", err)
		}
	})
}

func TestMigrateRefusesConnectionsThatWouldFailUnderLoad(t *testing.T) {
	forEach(t, sqlite(), func(t *testing.T, b backend) {
		file := func() string { return "file:" + filepath.Join(t.TempDir(), "webhooks.db") }
		for _, c := range []struct{ dsn, remedy string }{
			{file() + "?_pragma=busy_timeout(0)&_pragma=journal_mode(WAL)", "sqlstore.SQLiteDSN"},
			{file() + "?_pragma=busy_timeout(1000)", "sqlstore.SQLiteDSN"},
			{file(), "sqlstore.SQLiteDSN"},
			{":memory:", "SetMaxOpenConns(1)"},
		} {
			wantMistake(t, sqlstore.New(b.open(t, c.dsn), b.dialect).Migrate(t.Context()), c.remedy)
		}
	})
}

// A PRAGMA by hand reaches one connection of the pool.
func TestMigrateLooksAtMoreThanOneConnection(t *testing.T) {
	forEach(t, sqlite(), func(t *testing.T, b backend) {
		dsn := "file:" + filepath.Join(t.TempDir(), "webhooks.db") + "?_pragma=busy_timeout(0)&_pragma=journal_mode(WAL)"
		db := b.open(t, dsn)
		if _, err := db.ExecContext(t.Context(), "PRAGMA busy_timeout = 1000"); err != nil {
			t.Fatal(err)
		}
		wantMistake(t, sqlstore.New(db, b.dialect).Migrate(t.Context()), "busy_timeout")
	})
}

func TestMigrateDoesNotWaitForASecondConnection(t *testing.T) {
	forEach(t, sqlite(), func(t *testing.T, b backend) {
		db := b.open(t, b.database(t))
		db.SetMaxOpenConns(2)
		held, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		if err := sqlstore.New(db, b.dialect).Migrate(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestOneConnectionToADatabaseInMemoryIsEnough(t *testing.T) {
	forEach(t, sqlite(), func(t *testing.T, b backend) {
		receiver := newReceiver(t)
		db := b.open(t, ":memory:")
		db.SetMaxOpenConns(1)
		a := b.appOn(t, db)
		a.register(t, t.Context(), receiver.url)
		a.publish(t, t.Context(), "event")
		a.run(t)
		if got := receiver.next(t); got != "/event" {
			t.Errorf("received %s, want the event", got)
		}
	})
}

// Such a Publish waits for its own caller.
func TestPublishBesideTheOpenTransactionOfItsCallerSaysWhatIsWrong(t *testing.T) {
	forEach(t, sqlite(), func(t *testing.T, b backend) {
		dsn := b.database(t)
		b.store(t, dsn)
		a := b.appOn(t, b.open(t, strings.Replace(dsn, "busy_timeout%2810000%29", "busy_timeout%2850%29", 1)))
		tx, within := a.begin(t, 0)
		if _, err := tx.ExecContext(t.Context(), "INSERT INTO documents VALUES ('doc_1')"); err != nil {
			t.Fatal(err)
		}
		_, err := a.Publish(t.Context(), signed("event"))
		if err == nil || errors.Is(err, webhook.ErrUncertain) || !strings.Contains(err.Error(), "locked") || !strings.Contains(err.Error(), "WithTx") {
			t.Errorf("error %v, want one that says that the database is locked and names WithTx", err)
		}
		a.publish(t, within, "event")
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestMigrateInATransactionLooksAtItsConnection(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		db := b.open(t, b.database(t))
		db.SetMaxOpenConns(1)
		store := sqlstore.New(db, b.dialect)
		tx, err := db.BeginTx(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if err := store.Migrate(store.WithTx(t.Context(), tx)); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	})
}
