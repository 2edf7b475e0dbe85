package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/pg"
	"github.com/outhook/webhook/sqlstore"
)

func TestAnEventSharesTheFateOfItsTransaction(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		dsn := b.database(t)
		receiver := newReceiver(t)
		a := b.newApp(t, dsn)
		a.register(t, t.Context(), receiver.url)
		b.newApp(t, dsn).run(t) // another process delivers

		for _, fate := range []string{"rolled-back", "committed"} {
			tx, ctx := a.begin(t, sql.LevelDefault)
			if _, err := tx.ExecContext(ctx, "INSERT INTO documents (id) VALUES ('"+fate+"')"); err != nil {
				t.Fatal(err)
			}
			if n := a.publish(t, ctx, fate); n != 1 {
				t.Errorf("the event that is to be %s has %d deliveries, want 1", fate, n)
			}
			if a.known(t, fate) {
				t.Errorf("the event that is to be %s is seen before that", fate)
			}
			end := tx.Commit
			if fate == "rolled-back" {
				end = tx.Rollback
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
		}

		wantDocuments(t, a, "committed")
		if a.known(t, "rolled-back") || !a.known(t, "committed") {
			t.Errorf("rolled back is known: %t, committed is known: %t, want only this", a.known(t, "rolled-back"), a.known(t, "committed"))
		}
		if id := receiver.next(t); id != "/committed" {
			t.Errorf("received %s, want the event that was committed", id)
		}
		// What is published now comes after anything that was left over.
		a.publish(t, t.Context(), "last")
		if id := receiver.next(t); id != "/last" {
			t.Errorf("received %s, want the last event", id)
		}
	})
}

func wantDocuments(t *testing.T, a *app, want ...string) {
	t.Helper()
	rows, err := a.db.QueryContext(t.Context(), "SELECT id FROM documents ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		got = append(got, id)
	}
	if err := rows.Err(); err != nil || !slices.Equal(got, want) {
		t.Errorf("the application's own table has %q, error %v, want %q", got, err, want)
	}
}

// pgxQuerier is the adapter that the documentation of WithQuerier shows.
type pgxQuerier struct{ pgx.Tx }

func (q pgxQuerier) Query(ctx context.Context, query string, args ...any) (sqlstore.Rows, error) {
	return q.Tx.Query(ctx, query, args...)
}

func TestAnEventSharesTheFateOfAPgxTransaction(t *testing.T) {
	forEach(t, []backend{postgreSQL()[0], postgreSQL()[2]}, func(t *testing.T, b backend) {
		dsn := b.database(t)
		receiver := newReceiver(t)
		a := b.newApp(t, dsn)
		a.run(t)
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		for _, fate := range []string{"rolled-back", "committed"} {
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ctx := a.store.WithQuerier(t.Context(), pgxQuerier{tx})
			if _, err := tx.Exec(ctx, "INSERT INTO documents (id) VALUES ($1)", fate); err != nil {
				t.Fatal(err)
			}
			e := a.register(t, ctx, receiver.url+fate+"/")
			if n := a.publish(t, ctx, fate); n != 1 {
				t.Errorf("the event that is to be %s has %d deliveries, want 1", fate, n)
			}
			if _, err := a.Endpoint(t.Context(), e.ID); !errors.Is(err, webhook.ErrNotFound) {
				t.Errorf("the endpoint that is to be %s is seen before that: error %v", fate, err)
			}
			end := tx.Commit
			if fate == "rolled-back" {
				end = tx.Rollback
			}
			if err := end(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		wantDocuments(t, a, "committed")
		if id := receiver.next(t); id != "/committed/committed" {
			t.Errorf("received %s, want the event that was committed", id)
		}
		if a.known(t, "rolled-back") {
			t.Error("the event that was rolled back is stored")
		}
	})
}

func TestEverythingUnderATransactionHappensInIt(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		kept := a.register(t, t.Context(), nowhere+"kept")
		gone := a.register(t, t.Context(), nowhere+"gone")

		tx, in := a.begin(t, sql.LevelDefault)
		added := a.register(t, in, nowhere+"added")
		changed := kept
		changed.Description = "changed"
		if _, err := a.Update(in, changed); err != nil {
			t.Fatalf("update: %v", err)
		}
		if err := a.Unregister(in, gone.ID); err != nil {
			t.Fatalf("unregister: %v", err)
		}
		if n := a.publish(t, in, "event"); n != 2 {
			t.Errorf("the event has %d deliveries, want 2: to the endpoint that was kept and the one that was added", n)
		}
		if r, err := a.Publish(in, signed("event")); err != nil || !r.Duplicate {
			t.Errorf("published again within the transaction: %+v, error %v, want a duplicate", r, err)
		}

		view := func(ctx context.Context) (urls []string, description string, deliveries int) {
			t.Helper()
			endpoints, err := a.Endpoints(ctx, webhook.EndpointFilter{})
			if err != nil {
				t.Fatalf("list endpoints: %v", err)
			}
			for _, e := range endpoints.Items {
				urls = append(urls, e.URL)
			}
			if len(urls) != endpoints.Total {
				t.Errorf("%d endpoints with total %d", len(urls), endpoints.Total)
			}
			slices.Sort(urls)
			e, err := a.Endpoint(ctx, kept.ID)
			if err != nil {
				t.Fatalf("get the endpoint: %v", err)
			}
			page, err := a.Deliveries(ctx, webhook.DeliveryFilter{})
			if err != nil {
				t.Fatalf("list deliveries: %v", err)
			}
			for _, d := range page.Items {
				if _, err := a.Delivery(ctx, d.ID); err != nil {
					t.Errorf("get the delivery: %v", err)
				}
				if body, err := a.Body(ctx, d.ID); err != nil || len(body) == 0 {
					t.Errorf("read the body: %q, error %v", body, err)
				}
			}
			return urls, e.Description, len(page.Items)
		}
		want := func(when string, ctx context.Context, description string, deliveries int, urls ...string) {
			t.Helper()
			gotURLs, gotDescription, gotDeliveries := view(ctx)
			for n := range urls {
				urls[n] = nowhere + urls[n]
			}
			if !slices.Equal(gotURLs, urls) || gotDescription != description || gotDeliveries != deliveries {
				t.Errorf("%s are seen endpoints %q, description %q, %d deliveries, want %q, %q, %d",
					when, gotURLs, gotDescription, gotDeliveries, urls, description, deliveries)
			}
		}
		want("within the transaction", in, "changed", 2, "added", "kept")
		want("outside the transaction", t.Context(), "", 0, "gone", "kept")
		if _, err := a.Endpoint(t.Context(), added.ID); !errors.Is(err, webhook.ErrNotFound) {
			t.Errorf("the added endpoint is seen outside the transaction: error %v", err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		want("after the rollback", t.Context(), "", 0, "gone", "kept")
	})
}

func TestATransactionIsThatOfOneStoreAlone(t *testing.T) {
	forEach(t, postgreSQL(), func(t *testing.T, b backend) {
		dsn := b.database(t)
		a, other := b.newApp(t, dsn), b.newApp(t, dsn, sqlstore.TablePrefix("other_"))
		tx, ctx := a.begin(t, sql.LevelDefault)
		a.publish(t, ctx, "event")
		other.publish(t, ctx, "event")
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		if a.known(t, "event") || !other.known(t, "event") {
			t.Errorf("after the rollback the store has the event: %t, the other store: %t, want only this", a.known(t, "event"), other.known(t, "event"))
		}
	})
}

func TestABatchUnderATransactionSharesItsFate(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		a.register(t, t.Context(), nowhere)
		tx, ctx := a.begin(t, sql.LevelDefault)
		rs, err := a.PublishBatch(ctx, []webhook.Event{signed("one"), signed("two"), signed("one")})
		if err != nil || rs[0].Duplicate || rs[1].Duplicate || !rs[2].Duplicate || rs[1].Deliveries != 1 {
			t.Errorf("a batch: %+v, error %v", rs, err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if !a.known(t, "one") || !a.known(t, "two") {
			t.Error("the batch was committed and is not stored")
		}
	})
}

// A group commit that took in a call made under a transaction would commit what
// is to be rolled back, or keep a stranger's event until the transaction ends.
func TestCallsUnderATransactionStayApartFromGroups(t *testing.T) {
	const each = 30
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		a.register(t, t.Context(), nowhere)
		var group sync.WaitGroup
		for p := range 8 {
			group.Go(func() {
				for n := range each {
					if _, err := a.Publish(t.Context(), signed(fmt.Sprintf("plain-%d-%d", p, n))); err != nil {
						t.Errorf("publish: %v", err)
					}
				}
			})
		}
		for p, fate := range []string{"committed", "rolled-back"} {
			group.Go(func() {
				for n := range each {
					tx, err := a.db.BeginTx(t.Context(), nil)
					if err != nil {
						t.Errorf("begin: %v", err)
						return
					}
					if _, err := a.Publish(a.store.WithTx(t.Context(), tx), signed(fmt.Sprintf("%s-%d-%d", fate, p, n))); err != nil {
						t.Errorf("publish: %v", err)
					}
					end := tx.Commit
					if fate == "rolled-back" {
						end = tx.Rollback
					}
					if err := end(); err != nil {
						t.Errorf("%s: %v", fate, err)
					}
				}
			})
		}
		group.Wait()
		page, err := a.store.ListEvents(t.Context(), webhook.EventFilter{Scope: webhook.Scope{All: true}, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		kinds := make(map[string]int)
		for _, e := range page.Items {
			kinds[e.ID[:5]]++
		}
		if kinds["plain"] != 8*each || kinds["commi"] != each || kinds["rolle"] != 0 {
			t.Errorf("stored are %d plain events, %d committed ones and %d rolled back, want %d, %d and 0",
				kinds["plain"], kinds["commi"], kinds["rolle"], 8*each, each)
		}
	})
}

// published is what a Publish in the background returned.
type published struct {
	webhook.Receipt
	err error
}

func TestAnOpenTransactionDelaysOnlyWhoPublishesTheSameEvent(t *testing.T) {
	ends := map[string]func(*sql.Tx) error{"commit": (*sql.Tx).Commit, "rollback": (*sql.Tx).Rollback}
	for _, c := range []struct {
		name           string
		events         int // that the transaction holds
		callers        int // who publish each of them
		maxConnections int // of the application, 0 for no limit
	}{
		{"one caller waits", 1, 1, 0},
		{"more callers wait than there are connections", 1, 16, 8},
		{"callers wait for more events than there are connections", 16, 1, 8},
	} {
		for name, end := range ends {
			t.Run(c.name+" for the "+name, func(t *testing.T) {
				forEach(t, postgreSQL(), func(t *testing.T, b backend) {
					a := b.newApp(t, b.database(t))
					a.db.SetMaxOpenConns(c.maxConnections)
					a.register(t, t.Context(), nowhere)
					tx, ctx := a.begin(t, sql.LevelDefault)
					results := make(chan published, c.events*c.callers)
					for n := range c.events {
						a.publish(t, ctx, heldID(n))
					}
					var group sync.WaitGroup
					for n := range c.events * c.callers {
						group.Go(func() {
							r, err := a.Publish(t.Context(), signed(heldID(n%c.events)))
							results <- published{r, err}
						})
					}

					a.publishFrom(t, 64)
					select {
					case p := <-results:
						t.Errorf("a held event was published before the transaction ended: %+v", p)
					default:
					}
					if err := end(tx); err != nil {
						t.Fatal(err)
					}
					group.Wait()
					close(results)
					stored := 0
					for p := range results {
						if p.err != nil || p.Duplicate != (p.Deliveries == 0) {
							t.Errorf("publishing a held event: %+v", p)
						}
						stored += p.Deliveries
					}
					if want := map[string]int{"commit": 0, "rollback": c.events}[name]; stored != want {
						t.Errorf("the callers who waited stored %d events, want %d; the rest are duplicates", stored, want)
					}
				})
			})
		}
	}
}

func heldID(n int) string { return fmt.Sprintf("held-%d", n) }

// publishFrom publishes events from that many goroutines at once, several each,
// and fails unless each is stored. Whoever waits for something that the caller
// ends only afterwards waits for ever, so there is no need to measure a time.
func (a *app) publishFrom(t *testing.T, publishers int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	failed := make(chan error, publishers)
	var group sync.WaitGroup
	for p := range publishers {
		group.Go(func() {
			for n := range 5 {
				r, err := a.Publish(ctx, signed(fmt.Sprintf("other-%d-%d", p, n)))
				if err == nil && r.Deliveries != 1 {
					err = fmt.Errorf("%d deliveries, want 1", r.Deliveries)
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	group.Wait()
	if len(failed) > 0 {
		t.Errorf("%d of %d publishers failed, the first with %v", len(failed), publishers, <-failed)
	}
}

func TestOtherContentUnderAHeldIDIsAConflictOnceThatIsCommitted(t *testing.T) {
	forEach(t, postgreSQL(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		a.register(t, t.Context(), nowhere)
		tx, ctx := a.begin(t, sql.LevelDefault)
		a.publish(t, ctx, "held")
		other := signed("held")
		other.Data = "something else"
		result := make(chan published)
		go func() {
			r, err := a.Publish(t.Context(), other)
			result <- published{r, err}
		}()
		a.publishFrom(t, 8)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if p := <-result; !errors.Is(p.err, webhook.ErrConflict) {
			t.Errorf("other content under the ID: %+v, want ErrConflict", p)
		}
	})
}

func TestACallerWhoGivesUpOnAHeldEventReturnsAtOnce(t *testing.T) {
	forEach(t, postgreSQL(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		a.register(t, t.Context(), nowhere)
		tx, held := a.begin(t, sql.LevelDefault)
		a.publish(t, held, "held")

		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := a.Publish(ctx, signed("held"))
		// The transaction is still open: had Publish waited for it, it would not
		// have returned.
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Publish returned error %v, want the context's", err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		// Whatever became of it, doing it again is safe.
		r, err := a.Publish(t.Context(), signed("held"))
		if err != nil || r.Duplicate == (r.Deliveries == 1) {
			t.Errorf("published again: %+v, error %v", r, err)
		}
		page, err := a.Deliveries(t.Context(), webhook.DeliveryFilter{EventID: "held"})
		if err != nil || len(page.Items) != 1 {
			t.Errorf("%d deliveries, error %v, want 1", len(page.Items), err)
		}
	})
}

// silence withholds what a server answers, while it is locked.
type silence struct{ sync.RWMutex }

type silenced struct {
	net.Conn
	silence *silence
}

func (s silenced) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if n > 0 { // reading is also how pgx sees whether the connection is alive
		s.silence.RLock()
		defer s.silence.RUnlock()
	}
	return n, err
}

func TestACallerWhoGivesUpOnItsGroupDoesNotKnowTheOutcome(t *testing.T) {
	dsn := pg.ForTest(t).Database(t)
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	var silence silence
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return silenced{c, &silence}, err
	}
	outside := postgreSQL()[0].newApp(t, dsn)
	noPing := func(context.Context, stdlib.ShouldPingParams) bool { return false }
	a := &app{db: stdlib.OpenDB(*config, stdlib.OptionShouldPing(noPing))}
	defer a.db.Close()
	a.db.SetMaxOpenConns(1) // which the first event makes ready
	a.store = sqlstore.New(a.db, sqlstore.PostgreSQL)
	if a.Dispatcher, err = webhook.NewDispatcher(a.store, webhook.Config{}); err != nil {
		t.Fatal(err)
	}
	a.publish(t, t.Context(), "first")

	silence.Lock()
	speak := sync.OnceFunc(silence.Unlock)
	defer speak()
	give := func(id string, up func()) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		result := make(chan error, 1)
		go func() {
			_, err := a.Publish(ctx, signed(id))
			result <- err
		}()
		up()
		cancel()
		select {
		case err := <-result:
			return err
		case <-time.After(time.Second):
			return errors.New("it did not return at once")
		}
	}
	err = give("sent", func() { eventually(t, "the event is stored", func() bool { return outside.known(t, "sent") }) })
	if !errors.Is(err, webhook.ErrUncertain) || !errors.Is(err, context.Canceled) {
		t.Errorf("giving up on an event that was sent: error %v, want ErrUncertain and the context's", err)
	}
	err = give("queued", func() {})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("giving up on an event that was not sent: error %v, want the context's", err)
	}
	speak()

	r, err := a.Publish(t.Context(), signed("sent"))
	if err != nil || !r.Duplicate {
		t.Errorf("publishing again what was sent: %+v, error %v, want a duplicate", r, err)
	}
	if outside.known(t, "queued") {
		t.Error("the event that was not sent is stored, though its Publish did not say that this may be")
	}
}

func TestWhichEndpointsAnEventReachesFollowsFromTheIsolationLevel(t *testing.T) {
	want := map[sql.IsolationLevel]int{
		sql.LevelDefault: 2, sql.LevelReadCommitted: 2, // those of the moment of Publish
		sql.LevelRepeatableRead: 1, sql.LevelSerializable: 1, // those of the transaction's beginning
	}
	forEach(t, postgreSQL(), func(t *testing.T, b backend) {
		for level, deliveries := range want {
			t.Run(level.String(), func(t *testing.T) {
				dsn := b.database(t)
				a, other := b.newApp(t, dsn), b.newApp(t, dsn)
				a.register(t, t.Context(), nowhere)
				tx, ctx := a.begin(t, level)
				if _, err := tx.ExecContext(ctx, "SELECT FROM documents"); err != nil {
					t.Fatal(err)
				}
				other.register(t, t.Context(), nowhere)
				if n := a.publish(t, ctx, "event"); n != deliveries {
					t.Errorf("the event has %d deliveries, want %d", n, deliveries)
				}
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
			})
		}
	})
}

func TestOnSQLiteNobodyRegistersDuringATransaction(t *testing.T) {
	forEach(t, sqlite(), func(t *testing.T, b backend) {
		dsn := b.database(t)
		a, other := b.newApp(t, dsn), b.newApp(t, dsn)
		tx, ctx := a.begin(t, sql.LevelDefault)
		registered := make(chan error)
		go func() {
			_, err := other.Register(t.Context(), webhook.Endpoint{URL: nowhere})
			registered <- err
		}()
		if n := a.publish(t, ctx, "event"); n != 0 {
			t.Errorf("the event has %d deliveries, want none", n)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := <-registered; err != nil {
			t.Errorf("register: %v", err)
		}
		if n := a.publish(t, t.Context(), "later"); n != 1 {
			t.Errorf("the later event has %d deliveries, want 1", n)
		}
	})
}
