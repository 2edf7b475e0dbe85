package pgwake

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/pg"
	"github.com/outhook/webhook/sqlstore"
	"github.com/outhook/webhook/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func TestStoreKeepsEveryPromise(t *testing.T) {
	dsn := pg.ForTest(t).Database(t)
	storetest.Run(t, func(t *testing.T) webhook.Store {
		pg.Empty(t, dsn)
		return newStore(t, dsn)
	})
}

func TestEventOfAnotherProcessIsReceivedWithinMilliseconds(t *testing.T) {
	const events = 300
	dsn := pg.ForTest(t).Database(t)
	received := make(chan string, events)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		received <- r.Header.Get("Webhook-Id")
	}))
	defer server.Close()
	publisher, deliverer := newDispatcher(t, newStore(t, dsn)), newDispatcher(t, newStore(t, dsn))
	register(t, publisher, server.URL)
	run(t, deliverer)

	published, latencies := make([]time.Duration, events), make([]time.Duration, events)
	for n := range latencies {
		start := time.Now()
		id := publish(t, publisher, t.Context())
		published[n] = time.Since(start)
		select {
		case got := <-received:
			if got != id {
				t.Fatalf("received %s, want %s", got, id)
			}
		case <-time.After(patience):
			t.Fatalf("event %d was not received", n+1)
		}
		latencies[n] = time.Since(start)
	}
	slices.Sort(published)
	slices.Sort(latencies)
	const median, p99th = events / 2, events * 99 / 100
	t.Logf("from before Publish to the receiver: p50 %v, p99 %v; Publish alone: p50 %v, p99 %v",
		latencies[median], latencies[p99th], published[median], published[p99th])
	if p99 := latencies[p99th]; p99 > time.Second {
		t.Errorf("p99 %v, want 20ms or thereabouts", p99)
	}
}

func TestBurstIsNotifiedOfOnceInAWhile(t *testing.T) {
	const publishers, events = 64, 1000
	dsn := pg.ForTest(t).Database(t)
	d := newDispatcher(t, newStore(t, dsn))
	register(t, d, "http://127.0.0.1:9999/")
	notifications := listen(t, dsn)

	start := time.Now()
	var group sync.WaitGroup
	for p := range publishers {
		group.Go(func() {
			for n := p; n < events; n += publishers {
				publish(t, d, t.Context())
			}
		})
	}
	group.Wait()
	took := time.Since(start)
	// The last one may be on its way.
	count := 1
	receive(t, notifications)
	for quiet := false; !quiet; {
		select {
		case <-notifications:
			count++
		case <-time.After(20 * interval):
			quiet = true
		}
	}
	t.Logf("%d events in %v made %d notifications", events, took, count)
	if most := 3 + int(took/interval); count > most {
		t.Errorf("%d notifications within %v, want at most %d", count, took, most)
	}
}

func TestWakeUpArrivesWithTheCommitOfItsTransaction(t *testing.T) {
	dsn := pg.ForTest(t).Database(t)
	store := newStore(t, dsn)
	d := newDispatcher(t, store)
	register(t, d, "http://127.0.0.1:9999/")
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	notifications := listen(t, dsn)

	for kind, begin := range map[string]func() (ctx context.Context, commit, rollback func() error){
		"sql.Tx": func() (context.Context, func() error, func() error) {
			tx, err := database(t, dsn).Begin()
			if err != nil {
				t.Fatal(err)
			}
			return store.WithTx(t.Context(), tx), tx.Commit, tx.Rollback
		},
		"pgx.Tx": func() (context.Context, func() error, func() error) {
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return store.WithQuerier(t.Context(), querier{tx}),
				func() error { return tx.Commit(t.Context()) }, func() error { return tx.Rollback(t.Context()) }
		},
	} {
		t.Run(kind, func(t *testing.T) {
			ctx, _, rollback := begin()
			publish(t, d, ctx)
			if err := rollback(); err != nil {
				t.Fatal(err)
			}
			ctx, commit, _ := begin()
			publish(t, d, ctx)
			publish(t, d, ctx)
			// Notifications arrive in the order of the commits: what was sent
			// before this one has come before it.
			mark(t, dsn, "before the commit")
			if got := receive(t, notifications); got != "before the commit" {
				t.Errorf("before the commit, %q was notified", got)
			}
			if err := commit(); err != nil {
				t.Fatal(err)
			}
			mark(t, dsn, "after the commit")
			if got := receive(t, notifications); got != "outhook_" {
				t.Errorf("after the commit, %q was notified", got)
			}
			if got := receive(t, notifications); got != "after the commit" {
				t.Errorf("%q was notified beyond the commit", got)
			}
		})
	}
}

func TestEventOfATransactionIsDeliveredAtItsCommit(t *testing.T) {
	dsn := pg.ForTest(t).Database(t)
	received := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		received <- r.Header.Get("Webhook-Id")
	}))
	defer server.Close()
	store := newStore(t, dsn)
	d := newDispatcher(t, store)
	register(t, d, server.URL)
	run(t, d)

	tx, err := database(t, dsn).Begin()
	if err != nil {
		t.Fatal(err)
	}
	id := publish(t, d, store.WithTx(t.Context(), tx))
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, received); got != id {
		t.Errorf("received %s, want %s", got, id)
	}
}

func TestNothingIsNotifiedWhereNothingIsDue(t *testing.T) {
	dsn := pg.ForTest(t).Database(t)
	store := newStore(t, dsn)
	d := newDispatcher(t, store)
	notifications := listen(t, dsn)

	publish(t, d, t.Context()) // without an endpoint
	e := register(t, d, "http://127.0.0.1:9999/")
	if _, err := store.Enqueue(t.Context(), []webhook.Publication{{ // as a test send does
		Event: webhook.EventRecord{ID: "leased", Type: "test", Time: time.Now()}, Endpoints: []string{e.ID},
		Origin: webhook.OriginTest, Lease: time.Minute,
	}}); err != nil {
		t.Fatal(err)
	}
	handed := enqueueAsking(t, store, "handed over")
	if handed.Deliveries != 1 || len(handed.Created) != 1 {
		t.Fatalf("%d of %d deliveries to an idle endpoint were handed over, want 1 of 1", len(handed.Created), handed.Deliveries)
	}
	c := handed.Created[0]
	if _, err := store.Settle(t.Context(), []webhook.Settlement{{DeliveryID: c.Delivery.ID, Lease: c.Lease, State: webhook.StateDelivered, Pause: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	if d := enqueueAsking(t, store, "behind"); d.Deliveries != 1 || d.Behind != 1 {
		t.Fatalf("Behind is %d of %d deliveries to an endpoint that rests, want 1 of 1", d.Behind, d.Deliveries)
	}
	store.notifier.mu.Lock()
	running := store.notifier.running
	store.notifier.mu.Unlock()
	if running {
		t.Error("a notification is being sent")
	}
	mark(t, dsn, "mark")
	if got := receive(t, notifications); got != "mark" {
		t.Errorf("%q was notified", got)
	}
}

// enqueueAsking stores an event of which one delivery may be handed over.
func enqueueAsking(t *testing.T, store webhook.Store, id string) webhook.Enqueued {
	t.Helper()
	results, err := store.Enqueue(t.Context(), []webhook.Publication{{
		Event:    webhook.EventRecord{ID: id, Type: "test", Time: time.Now()},
		Patterns: []string{"*", "test"}, Tenants: []string{""}, Origin: webhook.OriginPublish, Lease: time.Minute, Places: 1,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

func TestWhatIsNotHandedOverIsNotified(t *testing.T) {
	dsn := pg.ForTest(t).Database(t)
	store := newStore(t, dsn)
	d := newDispatcher(t, store)
	notifications := listen(t, dsn)
	register(t, d, "http://127.0.0.1:9999/")
	register(t, d, "http://127.0.0.1:9998/")
	if d := enqueueAsking(t, store, "one of two"); d.Deliveries != 2 || len(d.Created) != 1 {
		t.Fatalf("%d of %d deliveries were handed over, want 1 of 2", len(d.Created), d.Deliveries)
	}
	if got := receive(t, notifications); got != "outhook_" {
		t.Errorf("%q was notified, want outhook_", got)
	}
}

func TestListeningSurvivesALostConnection(t *testing.T) {
	dsn := pg.ForTest(t).Database(t)
	backends := make(chan uint32, 10)
	store := New(sqlstore.New(database(t, dsn), sqlstore.PostgreSQL), func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := pgx.Connect(ctx, dsn)
		if err == nil {
			backends <- conn.PgConn().PID()
		}
		return conn, err
	})
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := newDispatcher(t, store)
	register(t, d, "http://127.0.0.1:9999/")
	wakes, err := store.Wakes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	receive(t, wakes) // it listens
	for range 3 {
		if err := pg.Exec(t.Context(), dsn, fmt.Sprintf("SELECT pg_terminate_backend(%d)", receive(t, backends))); err != nil {
			t.Fatal(err)
		}
		receive(t, wakes) // it listens again, and what was missed is looked for
		publish(t, d, t.Context())
		receive(t, wakes)
	}
}

func TestListeningBeginsWhenAConnectionSucceeds(t *testing.T) {
	dsn := pg.ForTest(t).Database(t)
	calls := 0
	store := New(sqlstore.New(database(t, dsn), sqlstore.PostgreSQL), func(ctx context.Context) (*pgx.Conn, error) {
		if calls++; calls < 3 {
			return nil, errors.New("no connection")
		}
		return pgx.Connect(ctx, dsn)
	})
	wakes, err := store.Wakes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	receive(t, wakes)
	if calls != 3 {
		t.Errorf("connect was called %d times, want 3", calls)
	}
}

func TestTheConnectionIsClosedWhenTheContextEnds(t *testing.T) {
	dsn := pg.ForTest(t).Database(t)
	conns := make(chan *pgx.Conn, 1)
	store := New(sqlstore.New(database(t, dsn), sqlstore.PostgreSQL), func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := pgx.Connect(ctx, dsn)
		conns <- conn
		return conn, err
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wakes, err := store.Wakes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	receive(t, wakes)
	conn := receive(t, conns)
	cancel()
	receive(t, conn.PgConn().CleanupDone())
	if _, err := store.Wakes(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wakes under a context that has ended: error %v", err)
	}
}

func TestStoresOfOtherTablesAreNotWoken(t *testing.T) {
	dsn := pg.ForTest(t).Database(t)
	mine, other := newStore(t, dsn), newStore(t, dsn, sqlstore.TablePrefix("other."))
	wakes, err := mine.Wakes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	receive(t, wakes) // it listens
	notifications := listen(t, dsn)
	d := newDispatcher(t, other)
	register(t, d, "http://127.0.0.1:9999/")
	publish(t, d, t.Context())
	if got := receive(t, notifications); got != "other." {
		t.Errorf("%q was notified", got)
	}
	select {
	case <-wakes:
		t.Error("it was woken for the other's event")
	case <-time.After(20 * interval):
	}

	d = newDispatcher(t, mine)
	register(t, d, "http://127.0.0.1:9999/")
	publish(t, d, t.Context())
	receive(t, wakes)
}

func TestPublishingMayGoThroughAPooler(t *testing.T) {
	server := pg.ForTest(t)
	pooled := pg.BouncerForTest(t, server).Database(t, "default_query_exec_mode=exec")
	config, err := pgx.ParseConfig(pooled)
	if err != nil {
		t.Fatal(err)
	}
	db := database(t, pooled)
	store := New(sqlstore.New(db, sqlstore.PostgreSQL), func(ctx context.Context) (*pgx.Conn, error) {
		return pgx.Connect(ctx, server.DSN(config.Database))
	})
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	wakes, err := store.Wakes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	receive(t, wakes) // it listens
	d := newDispatcher(t, store)
	register(t, d, "http://127.0.0.1:9999/")
	publish(t, d, t.Context())
	receive(t, wakes)

	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	publish(t, d, store.WithTx(t.Context(), tx))
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	receive(t, wakes)
}

func TestAProcessThatOnlyPublishesNeedsNoConnection(t *testing.T) {
	dsn := pg.ForTest(t).Database(t)
	store := New(newStore(t, dsn).Store, nil)
	d := newDispatcher(t, store)
	register(t, d, "http://127.0.0.1:9999/")
	notifications := listen(t, dsn)
	publish(t, d, t.Context())
	receive(t, notifications)
	if _, err := store.Wakes(t.Context()); !errors.Is(err, webhook.ErrInvalid) {
		t.Errorf("Wakes: error %v, want ErrInvalid", err)
	}
}

// querier is the adapter that the documentation of WithQuerier shows.
type querier struct{ pgx.Tx }

func (q querier) Query(ctx context.Context, query string, args ...any) (sqlstore.Rows, error) {
	return q.Tx.Query(ctx, query, args...)
}

func database(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
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

// newStore opens a store on a handle of its own, as each process does.
func newStore(t *testing.T, dsn string, options ...sqlstore.Option) *Store {
	t.Helper()
	store := New(sqlstore.New(database(t, dsn), sqlstore.PostgreSQL, options...), func(ctx context.Context) (*pgx.Conn, error) {
		return pgx.Connect(ctx, dsn)
	})
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return store
}

// newDispatcher returns a dispatcher that polls too rarely for a test to see it.
func newDispatcher(t *testing.T, store webhook.Store) *webhook.Dispatcher {
	t.Helper()
	d, err := webhook.NewDispatcher(store, webhook.Config{
		Network:      webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		PollInterval: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// run delivers until the test ends.
func run(t *testing.T, d *webhook.Dispatcher) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func register(t *testing.T, d *webhook.Dispatcher, url string) webhook.Endpoint {
	t.Helper()
	e, err := d.Register(t.Context(), webhook.Endpoint{URL: url})
	if err != nil {
		t.Fatalf("register: %v", err)
	}
	return e
}

func publish(t *testing.T, d *webhook.Dispatcher, ctx context.Context) (id string) {
	t.Helper()
	r, err := d.Publish(ctx, webhook.Event{Type: "document.signed", Data: map[string]string{"id": "doc_1"}})
	if err != nil {
		t.Errorf("publish: %v", err)
	}
	return r.EventID
}

// listen returns the payloads of all notifications from now on.
func listen(t *testing.T, dsn string) <-chan string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "LISTEN "+channel); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	notifications, done := make(chan string, 10_000), make(chan struct{})
	go func() {
		defer close(done)
		for {
			n, err := conn.WaitForNotification(ctx)
			if err != nil {
				return
			}
			notifications <- n.Payload
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = conn.Close(context.Background())
	})
	return notifications
}

// mark sends a notification of the test's own.
func mark(t *testing.T, dsn, text string) {
	t.Helper()
	if err := pg.Exec(t.Context(), dsn, "NOTIFY "+channel+", '"+text+"'"); err != nil {
		t.Fatal(err)
	}
}

// receive waits for something, or for a channel's end.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing came within %v", patience)
		panic("unreachable")
	}
}
