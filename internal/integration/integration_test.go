// Package integration tests webhooks on the databases and drivers that an
// application may have.
package integration

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
	_ "github.com/ncruces/go-sqlite3/driver"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/pg"
	"github.com/outhook/webhook/sqlstore"
)

func TestMain(m *testing.M) {
	if os.Getenv(migrationEnv) != "" {
		os.Exit(migrateInChild())
	}
	goleak.VerifyTestMain(m)
}

// backend is one way to a database.
type backend struct {
	name    string
	driver  string
	dialect sqlstore.Dialect
	// databases returns a function that returns the DSN of an empty database,
	// and may make the one before it unusable.
	databases func(t *testing.T) (next func(t *testing.T) (dsn string))
}

func postgreSQL() []backend {
	return []backend{
		{"pgx", "pgx", sqlstore.PostgreSQL, func(t *testing.T) func(*testing.T) string {
			return emptied(pg.ForTest(t).Database(t), "")
		}},
		{"pq", "postgres", sqlstore.PostgreSQL, func(t *testing.T) func(*testing.T) string {
			return emptied(pg.ForTest(t).Database(t), "")
		}},
		{"pgx-pgbouncer", "pgx", sqlstore.PostgreSQL, func(t *testing.T) func(*testing.T) string {
			return emptied(pg.BouncerForTest(t, pg.ForTest(t)).Database(t), "&default_query_exec_mode=exec")
		}},
	}
}

// unusual are further ways to PostgreSQL, for the tests of the store itself.
func unusual() []backend {
	return []backend{
		{"pq-pgbouncer", "postgres", sqlstore.PostgreSQL, func(t *testing.T) func(*testing.T) string {
			return emptied(pg.BouncerForTest(t, pg.ForTest(t)).Database(t), "&binary_parameters=yes")
		}},
		{"pgx-serializable", "pgx", sqlstore.PostgreSQL, func(t *testing.T) func(*testing.T) string {
			return emptied(pg.ForTest(t).Database(t), "&default_transaction_isolation=serializable")
		}},
	}
}

func sqlite() []backend {
	files := func(*testing.T) func(*testing.T) string {
		return func(t *testing.T) string { return sqlstore.SQLiteDSN(filepath.Join(t.TempDir(), "webhooks.db")) }
	}
	return []backend{
		{"modernc", "sqlite", sqlstore.SQLite, files},
		{"ncruces", "sqlite3", sqlstore.SQLite, files},
	}
}

// emptied returns a function that empties a database and returns its DSN with
// parameters for the driver.
func emptied(dsn, parameters string) func(*testing.T) string {
	return func(t *testing.T) string {
		pg.Empty(t, dsn)
		return dsn + parameters
	}
}

// forEach runs a test on each of the backends.
func forEach(t *testing.T, bs []backend, test func(t *testing.T, b backend)) {
	for _, b := range bs {
		t.Run(b.name, func(t *testing.T) { test(t, b) })
	}
}

func everywhere() []backend { return append(postgreSQL(), sqlite()...) }

// database returns the DSN of an empty database of the test's own.
func (b backend) database(t *testing.T) (dsn string) {
	t.Helper()
	return b.databases(t)(t)
}

// open opens a handle on a database.
func (b backend) open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(b.driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("close the database: %v", err)
		}
	})
	return db
}

// store opens a store whose tables exist, on a handle of its own.
func (b backend) store(t *testing.T, dsn string, options ...sqlstore.Option) *sqlstore.Store {
	t.Helper()
	store := sqlstore.New(b.open(t, dsn), b.dialect, options...)
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return store
}

// app is what an application has of the library, with a table of its own.
type app struct {
	*webhook.Dispatcher
	db    *sql.DB
	store *sqlstore.Store
}

// newApp opens a handle, as each process of an application does.
func (b backend) newApp(t *testing.T, dsn string, options ...sqlstore.Option) *app {
	t.Helper()
	return b.appOn(t, b.open(t, dsn), options...)
}

func (b backend) appOn(t *testing.T, db *sql.DB, options ...sqlstore.Option) *app {
	t.Helper()
	a := &app{db: db, store: sqlstore.New(db, b.dialect, options...)}
	if err := a.store.Migrate(t.Context()); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS documents (id text PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	var err error
	a.Dispatcher, err = webhook.NewDispatcher(a.store, webhook.Config{
		Network:      webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		PollInterval: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// run delivers until the test ends.
func (a *app) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// begin begins a transaction, which is rolled back at the end of the test at the
// latest, and returns the context under which events are published in it.
func (a *app) begin(t *testing.T, isolation sql.IsolationLevel) (*sql.Tx, context.Context) {
	t.Helper()
	tx, err := a.db.BeginTx(context.Background(), &sql.TxOptions{Isolation: isolation})
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	t.Cleanup(func() { _ = tx.Rollback() }) // an error says that it has ended
	return tx, a.store.WithTx(t.Context(), tx)
}

// register registers an endpoint that receives everything of tenant "".
func (a *app) register(t *testing.T, ctx context.Context, url string) webhook.Endpoint {
	t.Helper()
	e, err := a.Register(ctx, webhook.Endpoint{URL: url})
	if err != nil {
		t.Fatalf("register: %v", err)
	}
	return e
}

// publish publishes an event of that ID and returns how many deliveries it has.
func (a *app) publish(t *testing.T, ctx context.Context, id string) (deliveries int) {
	t.Helper()
	r, err := a.Publish(ctx, signed(id))
	if err != nil {
		t.Fatalf("publish %s: %v", id, err)
	}
	if r.Duplicate {
		t.Fatalf("publish %s: it is a duplicate", id)
	}
	return r.Deliveries
}

func signed(id string) webhook.Event {
	return webhook.Event{ID: id, Type: "document.signed", Data: map[string]string{"id": "doc_1"}}
}

// known reports whether the event is stored, as others see it.
func (a *app) known(t *testing.T, id string) bool {
	t.Helper()
	page, err := a.store.ListEvents(t.Context(), webhook.EventFilter{Scope: webhook.Scope{All: true}, Limit: 1000})
	if err != nil {
		t.Fatalf("list events: %v", err)
	}
	for _, e := range page.Items {
		if e.ID == id {
			return true
		}
	}
	return false
}

// nowhere is the URL of an endpoint that nothing is sent to in the test.
const nowhere = "http://127.0.0.1:9999/"

// receiver is a customer's server.
type receiver struct {
	url string
	ids chan string // of the messages, as they come
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{ids: make(chan string, 10_000)}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		r.ids <- request.URL.Path + request.Header.Get("Webhook-Id")
	}))
	t.Cleanup(server.Close)
	r.url = server.URL + "/"
	return r
}

// next returns the path and ID of the next message.
func (r *receiver) next(t *testing.T) string {
	t.Helper()
	select {
	case id := <-r.ids:
		return id
	case <-time.After(patience):
		t.Fatalf("nothing was received within %v", patience)
		return ""
	}
}

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// eventually waits for a condition.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.After(patience); !done(); {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}
