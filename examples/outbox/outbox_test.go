package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	"go.uber.org/goleak"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	_ "modernc.org/sqlite"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/examples/internal/demo"
	"github.com/outhook/webhook/internal/integration/pg"
	"github.com/outhook/webhook/sqlstore"
)

func TestMain(m *testing.M) {
	// GORM never ends the one that looks after prepared statements.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1"))
}

// completer is one of the ways to hold a transaction.
type completer interface {
	Complete(ctx context.Context, id, account string) error
}

// app is what an application has of the library, and the server of a customer.
type app struct {
	db         *sql.DB
	store      *sqlstore.Store
	dispatcher *webhook.Dispatcher
	finished   demo.Finished
	receiver   *demo.Receiver
}

func TestSQL(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		a := newApp(t, openPostgreSQL(t), sqlstore.PostgreSQL)
		a.check(t, &SQL{a.db, a.store, a.dispatcher})
	})
	t.Run("SQLite", func(t *testing.T) {
		a := newApp(t, openSQLite(t), sqlstore.SQLite)
		a.check(t, &SQL{a.db, a.store, a.dispatcher})
	})
}

func TestSQLX(t *testing.T) {
	t.Run("PostgreSQL", func(t *testing.T) {
		a := newApp(t, openPostgreSQL(t), sqlstore.PostgreSQL)
		a.check(t, &SQLX{sqlx.NewDb(a.db, "pgx"), a.store, a.dispatcher})
	})
	t.Run("SQLite", func(t *testing.T) {
		a := newApp(t, openSQLite(t), sqlstore.SQLite)
		a.check(t, &SQLX{sqlx.NewDb(a.db, "sqlite"), a.store, a.dispatcher})
	})
}

func TestGORM(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		a := newApp(t, openPostgreSQL(t), sqlstore.PostgreSQL)
		a.check(t, &GORM{openGORM(t, a.db, false), a.store, a.dispatcher})
	})
	t.Run("with prepared statements", func(t *testing.T) {
		a := newApp(t, openPostgreSQL(t), sqlstore.PostgreSQL)
		a.check(t, &GORM{openGORM(t, a.db, true), a.store, a.dispatcher})
	})
}

func TestPGX(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), pg.ForTest(t).Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	a := newApp(t, stdlib.OpenDBFromPool(pool), sqlstore.PostgreSQL)
	a.check(t, &PGX{pool, a.store, a.dispatcher})
}

func openPostgreSQL(t *testing.T) *sql.DB {
	t.Helper()
	return open(t, "pgx", pg.ForTest(t).Database(t))
}

func openSQLite(t *testing.T) *sql.DB {
	t.Helper()
	return open(t, "sqlite", sqlstore.SQLiteDSN(filepath.Join(t.TempDir(), "app.db")))
}

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func openGORM(t *testing.T, db *sql.DB, prepare bool) *gorm.DB {
	t.Helper()
	g, err := gorm.Open(postgres.New(postgres.Config{Conn: db}), &gorm.Config{PrepareStmt: prepare, Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// newApp creates all tables. The database is closed when the test ends.
func newApp(t *testing.T, db *sql.DB, dialect sqlstore.Dialect) *app {
	t.Helper()
	a := &app{db: db, store: sqlstore.New(db, dialect), finished: make(demo.Finished, 10), receiver: demo.NewReceiver(0)}
	t.Cleanup(func() {
		a.receiver.Close()
		if err := db.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	a.exec(t, Schema)
	if err := a.store.Migrate(t.Context()); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	var err error
	a.dispatcher, err = webhook.NewDispatcher(a.store, webhook.Config{
		Network: demo.Loopback(), Observer: a.finished, PollInterval: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.dispatcher.Register(t.Context(), webhook.Endpoint{URL: a.receiver.URL}); err != nil {
		t.Fatalf("register: %v", err)
	}
	return a
}

// check completes three documents, for the second of which there is no credit,
// while the dispatcher delivers what was published.
func (a *app) check(t *testing.T, c completer) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a.exec(t, "INSERT INTO accounts VALUES ('acme', 1)")
	a.exec(t, "INSERT INTO documents VALUES ('doc_1', false), ('doc_2', false), ('doc_3', false)")

	err := demo.While(ctx, a.dispatcher, func(ctx context.Context) error {
		if err := c.Complete(ctx, "doc_1", "acme"); err != nil {
			return err
		}
		if err := a.finished.Wait(ctx, 1); err != nil {
			return err
		}
		if err := c.Complete(ctx, "doc_2", "acme"); err == nil || !strings.Contains(err.Error(), "credit") {
			t.Errorf("completing a document without credit: error %v", err)
		}
		a.exec(t, "UPDATE accounts SET credit = 1")
		if err := c.Complete(ctx, "doc_3", "acme"); err != nil {
			return err
		}
		return a.finished.Wait(ctx, 1)
	})
	if err != nil {
		t.Fatal(err)
	}

	want := []string{"doc_1", "doc_3"}
	if got := a.completed(t); !slices.Equal(got, want) {
		t.Errorf("completed are %q, want %q", got, want)
	}
	if got := a.received(t); !slices.Equal(got, want) {
		t.Errorf("received was the completion of %q, want that of %q", got, want)
	}
	events, err := a.store.ListEvents(t.Context(), webhook.EventFilter{Scope: webhook.Scope{All: true}, Limit: 10})
	if err != nil || len(events.Items) != len(want) {
		t.Errorf("%d events are stored, error %v, want %d", len(events.Items), err, len(want))
	}
}

// completed returns the documents that are.
func (a *app) completed(t *testing.T) (ids []string) {
	t.Helper()
	rows, err := a.db.QueryContext(t.Context(), "SELECT id FROM documents WHERE completed ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
}

// received returns the documents whose completion the receiver was told.
func (a *app) received(t *testing.T) (ids []string) {
	t.Helper()
	for _, r := range a.receiver.Requests() {
		var body struct {
			Type string
			Data Document
		}
		if err := json.Unmarshal(r.Body, &body); err != nil || body.Type != "document.completed" || !body.Data.Completed {
			t.Errorf("the body %s, error %v", r.Body, err)
		}
		ids = append(ids, body.Data.ID)
	}
	return ids
}

func (a *app) exec(t *testing.T, query string) {
	t.Helper()
	if _, err := a.db.ExecContext(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
