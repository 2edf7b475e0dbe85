package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outhook/webhook"
)

func TestAnImpossibleStoreSaysSoInEveryMethod(t *testing.T) {
	db := sql.OpenDB(unreachable{})
	for name, s := range map[string]*Store{
		"no database":      New(nil, PostgreSQL),
		"no dialect":       New(db, 0),
		"an empty prefix":  New(db, PostgreSQL, TablePrefix("")),
		"an injection":     New(db, PostgreSQL, TablePrefix("x; DROP TABLE y")),
		"upper case":       New(db, PostgreSQL, TablePrefix("Outhook_")),
		"two schemas":      New(db, PostgreSQL, TablePrefix("a.b.c_")),
		"a schema, SQLite": New(db, SQLite, TablePrefix("webhooks.")),
	} {
		ctx := t.Context()
		errs := []error{s.Validate(), s.Migrate(ctx), s.DeleteEndpoint(ctx, "x"), s.Erase(ctx, "x")}
		add := func(_ any, err error) { errs = append(errs, err) }
		add(s.PutEndpoint(ctx, webhook.EndpointRecord{}))
		add(s.GetEndpoint(ctx, "x"))
		add(s.ListEndpoints(ctx, webhook.EndpointFilter{}))
		add(s.Enqueue(ctx, []webhook.Publication{{}}))
		add(s.Settle(ctx, nil))
		add(s.GetDelivery(ctx, ""))
		add(s.GetEvent(ctx, ""))
		add(s.ListDeliveries(ctx, webhook.DeliveryFilter{}))
		add(s.ListAttempts(ctx, ""))
		add(s.ListEvents(ctx, webhook.EventFilter{}))
		add(s.Purge(ctx, 0, 1))
		add(webhook.NewDispatcher(s, webhook.Config{}))
		_, _, err := s.Claim(ctx, webhook.ClaimRequest{})
		for n, err := range append(errs, err) {
			if !errors.Is(err, webhook.ErrInvalid) {
				t.Errorf("%s: call %d returned %v, want one that matches %q", name, n, err, webhook.ErrInvalid)
			}
		}
	}
}

func TestADispatcherNeedsAStoreThatWasMade(t *testing.T) {
	for name, s := range map[string]webhook.Store{
		"a nil Store":              (*Store)(nil),
		"a zero Store":             new(Store),
		"an embedded nil Store":    struct{ *Store }{},
		"a wrapped zero Store":     wrapped{new(Store)},
		"a wrapped nil Store":      wrapped{(*Store)(nil)},
		"a Store without database": wrapped{New(nil, SQLite)},
	} {
		if _, err := webhook.NewDispatcher(s, webhook.Config{}); !errors.Is(err, webhook.ErrInvalid) {
			t.Errorf("%s: NewDispatcher returned %v, want one that matches %q", name, err, webhook.ErrInvalid)
		}
	}
	if _, err := webhook.NewDispatcher(wrapped{New(sql.OpenDB(unreachable{}), SQLite)}, webhook.Config{}); err != nil {
		t.Errorf("a database that is not asked anything: %v", err)
	}
}

type wrapped struct{ webhook.Store }

func (w wrapped) Unwrap() webhook.Store { return w.Store }

// unreachable is a database that nobody answers for.
type unreachable struct{}

func (unreachable) Connect(context.Context) (driver.Conn, error) { return nil, io.ErrUnexpectedEOF }
func (unreachable) Driver() driver.Driver                        { return nil }

func TestNothingIsUncertainWhileTheDatabaseCannotBeReached(t *testing.T) {
	s := New(sql.OpenDB(unreachable{}), PostgreSQL)
	for _, endpoints := range [][]string{nil, {"addressed"}} {
		_, err := s.Enqueue(t.Context(), []webhook.Publication{{Event: webhook.EventRecord{ID: "x"}, Endpoints: endpoints}})
		if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, webhook.ErrUncertain) {
			t.Errorf("Enqueue returned %v, want the connection's error, certain", err)
		}
	}
}

// lost is a database whose connections break at the first statement, of which
// nobody knows whether it was carried out; there are only so many of them.
type lost struct{ connections atomic.Int32 }

func (l *lost) Connect(context.Context) (driver.Conn, error) {
	if l.connections.Add(-1) < 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return lostConn{}, nil
}
func (*lost) Driver() driver.Driver { return nil }

type lostConn struct{}

func (lostConn) Prepare(string) (driver.Stmt, error) { return nil, driver.ErrBadConn }
func (lostConn) Begin() (driver.Tx, error)           { return nil, driver.ErrBadConn }
func (lostConn) Close() error                        { return nil }

func TestWhatABrokenConnectionLeftOpenIsUncertain(t *testing.T) {
	for name, connections := range map[string]int32{"no other connection": 1, "every connection breaks": 1000} {
		l := new(lost)
		l.connections.Store(connections)
		_, err := New(sql.OpenDB(l), PostgreSQL).Enqueue(t.Context(), []webhook.Publication{{Event: webhook.EventRecord{ID: "x"}}})
		if !errors.Is(err, webhook.ErrUncertain) {
			t.Errorf("%s: Enqueue returned %v, want %v", name, err, webhook.ErrUncertain)
		}
	}
}

func TestOnlyWhatMayHaveHappenedIsUncertain(t *testing.T) {
	for _, c := range []struct {
		err       error
		uncertain bool
	}{
		{nil, false},
		{state("23505"), false},
		{state("55P03"), false},
		{state("40001"), false},
		{state("57014"), false}, // cancelled
		{state("42601"), false}, // syntax_error
		{errors.New("SQL logic error: no such function: outhook_enqueue (1)"), false},
		{errors.New(`near "SELECT": syntax error`), false},
		{state("57P01"), true}, // the server shuts down
		{state("08006"), true},
		{state("XX000"), true},
		{io.ErrUnexpectedEOF, true},
		{context.DeadlineExceeded, true},
		{driver.ErrBadConn, false}, // by its definition; see transact
		{sql.ErrTxDone, false},
	} {
		if got := errors.Is(uncertain(c.err), webhook.ErrUncertain); got != c.uncertain {
			t.Errorf("%v: uncertain is %t, want %t", c.err, got, c.uncertain)
		}
	}
}

// state is an error of a PostgreSQL driver.
type state string

func (s state) Error() string    { return "server error " + string(s) }
func (s state) SQLState() string { return string(s) }

func TestANilTransactionIsInvalid(t *testing.T) {
	for _, s := range []*Store{New(sql.OpenDB(unreachable{}), PostgreSQL), New(sql.OpenDB(unreachable{}), SQLite)} {
		_, err := s.Enqueue(s.WithTx(t.Context(), nil), []webhook.Publication{{Event: webhook.EventRecord{ID: "x"}}})
		if !errors.Is(err, webhook.ErrInvalid) {
			t.Errorf("Enqueue under a nil transaction returned %v, want %v", err, webhook.ErrInvalid)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		err  error
		hint string
	}{
		{state("42P01"), "call Store.Migrate"},
		{state("42883"), "call Store.Migrate"},
		{errors.New("SQL logic error: no such table: outhook_events (1)"), "call Store.Migrate"},
		{state("42601"), "use sqlstore.PostgreSQL"},
		{errors.New("sqlite3: SQL logic error: no such function: outhook_enqueue"), "use sqlstore.SQLite"},
		{errors.New("database is locked (5) (SQLITE_BUSY)"), "must be under Store.WithTx"},
		{errors.New("sqlite3: database is locked"), "SQLiteDSN"},
	} {
		if got := ended(t.Context(), c.err); !errors.Is(got, c.err) || !strings.Contains(got.Error(), c.hint) {
			t.Errorf("%v became %v, want one that says %q", c.err, got, c.hint)
		}
	}
	for _, err := range []error{state("23505"), io.ErrUnexpectedEOF, errors.New("SQL logic error: cannot commit (1)")} {
		if got := ended(t.Context(), err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestMigrationsCarryThePrefix(t *testing.T) {
	for _, c := range []struct {
		dialect          Dialect
		prefix           string
		table, index     string
		schema, leftover string
	}{
		{PostgreSQL, "outhook_", "CREATE TABLE outhook_pending (", "CREATE INDEX outhook_ix_pending_due ON outhook_pending ", "", ""},
		{PostgreSQL, "app_", "CREATE TABLE app_pending (", "CREATE INDEX app_ix_pending_due ON app_pending ", "", "outhook_"},
		{PostgreSQL, "webhooks.", "CREATE TABLE webhooks.pending (", "CREATE INDEX ix_pending_due ON webhooks.pending ", "CREATE SCHEMA IF NOT EXISTS webhooks;", "outhook_"},
		{PostgreSQL, "webhooks.a_", "CREATE TABLE webhooks.a_pending (", "CREATE INDEX a_ix_pending_due ON webhooks.a_pending ", "CREATE SCHEMA IF NOT EXISTS webhooks;", "outhook_"},
		{PostgreSQL, "my_outhook_", "CREATE TABLE my_outhook_pending (", "CREATE INDEX my_outhook_ix_pending_due ON my_outhook_pending ", "", "my_my_"},
		{SQLite, "app_", "CREATE TABLE app_queue (", "CREATE INDEX app_ix_queue_due ON app_queue ", "", "outhook_"},
	} {
		var all strings.Builder
		migrations, err := Migrations(c.dialect, TablePrefix(c.prefix))
		if err != nil {
			t.Fatal(err)
		}
		for n, m := range migrations {
			if !strings.HasPrefix(m.Name, "000"+string(rune('1'+n))+"_") {
				t.Errorf("step %d is named %q", n+1, m.Name)
			}
			all.WriteString(m.SQL)
		}
		for _, want := range []string{c.table, c.index, c.schema} {
			if !strings.Contains(all.String(), want) {
				t.Errorf("%v, prefix %q: no %q", c.dialect, c.prefix, want)
			}
		}
		if c.leftover != "" && strings.Contains(all.String(), c.leftover) {
			t.Errorf("%v, prefix %q: contains %q", c.dialect, c.prefix, c.leftover)
		}
	}
}

func TestMigrationsOfAnImpossibleStoreAreInvalid(t *testing.T) {
	for _, c := range []struct {
		dialect Dialect
		prefix  string
	}{{0, "a_"}, {PostgreSQL, ""}, {SQLite, "a."}} {
		if _, err := Migrations(c.dialect, TablePrefix(c.prefix)); !errors.Is(err, webhook.ErrInvalid) {
			t.Errorf("%v, prefix %q: %v, want %v", c.dialect, c.prefix, err, webhook.ErrInvalid)
		}
	}
}

func TestStatementsAreSplit(t *testing.T) {
	got := statements("-- a; comment\nSELECT 1; -- one;\n\nCREATE FUNCTION f() AS $$\n\tSELECT 2;\nBEGIN x; END $$;\nSELECT\n\t3;\n-- the end\n")
	want := []string{"-- a; comment\nSELECT 1; -- one;\n", "\nCREATE FUNCTION f() AS $$\n\tSELECT 2;\nBEGIN x; END $$;\n", "SELECT\n\t3;\n"}
	if !slices.Equal(got, want) {
		t.Errorf("statements are %q, want %q", got, want)
	}
}

func TestArraysAreQuoted(t *testing.T) {
	var a array
	if got := a.String(); got != "{}" {
		t.Errorf("an empty array is %s", got)
	}
	a.text("")
	a.text(`a"b\c{d},e`)
	a.null()
	a.integer(-12)
	a.boolean(true)
	a.time(time.Time{})
	a.time(time.Date(1952, 7, 8, 9, 10, 11, 120_000_000, time.FixedZone("", 3600)))
	if got, want := a.String(), `{"","a\"b\\c{d},e",NULL,-12,t,NULL,"1952-07-08 08:10:11.12Z"}`; got != want {
		t.Errorf("the array is %s, want %s", got, want)
	}
}

func TestWhatCannotBeStoredIsReplaced(t *testing.T) {
	for in, want := range map[string]string{"": "", "żółć": "żółć", "a\x00b": "a\uFFFDb", "a\xffb\xfe\xff": "a\uFFFDb\uFFFD"} {
		if got := storable(in); got != want {
			t.Errorf("storable(%q) is %q, want %q", in, got, want)
		}
		if got := isStorable(in); got != (in == want) {
			t.Errorf("isStorable(%q) is %t", in, got)
		}
	}
}

func TestDurationsGreaterThanZeroRemainSo(t *testing.T) {
	for d, want := range map[time.Duration]int64{0: 0, 1: 1, time.Microsecond: 1, time.Microsecond + 1: 2, 1<<63 - 1: 9223372036854776} {
		if got := microseconds(d); got != want {
			t.Errorf("microseconds(%d ns) is %d, want %d", d, got, want)
		}
	}
}

func TestSQLiteDSNEscapesThePath(t *testing.T) {
	for path, want := range map[string]string{
		"webhooks.db":         "webhooks.db",
		"/var/lib/a b?c#d.db": "/var/lib/a b?c#d.db",
		"dir/100%.db":         "dir/100%.db",
	} {
		dsn := SQLiteDSN(path)
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		got := u.Path
		if u.Opaque != "" {
			got, err = url.PathUnescape(u.Opaque)
		}
		if err != nil || got != want {
			t.Errorf("%s: the path is %q, error %v, want %q", dsn, got, err, want)
		}
		if q := u.Query(); q.Get("_txlock") != "immediate" || !slices.Contains(q["_pragma"], "synchronous(FULL)") {
			t.Errorf("%s lacks a setting", dsn)
		}
	}
}

// handing is a dialect that hands over without a database: a delivery that has the
// ID of its event.
type handing struct {
	postgreSQL
	entered chan []*call  // by a group,
	leave   chan struct{} // which waits for this
	settled chan []*webhook.Settlement
}

func (d *handing) enqueue(_ context.Context, _ *Store, _ Querier, calls []*call, _ time.Duration) error {
	d.entered <- calls
	<-d.leave
	for _, c := range calls {
		c.results[0] = webhook.Enqueued{EventID: c.ps[0].Event.ID, Deliveries: 1, Created: []webhook.Claimed{
			{Lease: 7, Delivery: webhook.Delivery{ID: c.ps[0].Event.ID}},
		}}
	}
	return nil
}

func (d *handing) settling(ss []*webhook.Settlement) func(context.Context, *Store, Querier) ([]int, error) {
	return func(ctx context.Context, _ *Store, _ Querier) ([]int, error) {
		d.settled <- ss
		<-ctx.Done() // a database that does not answer
		return nil, ctx.Err()
	}
}

// connected is a database that accepts connections, and nothing else.
type connected struct{ unreachable }

func (connected) Connect(context.Context) (driver.Conn, error) { return idle{}, nil }

type idle struct{ driver.Conn }

func (idle) Close() error { return nil }

func TestWhatIsHandedOverToACallerWhoIsGoneIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := sql.OpenDB(connected{})
		defer db.Close()
		s := New(db, PostgreSQL)
		d := &handing{entered: make(chan []*call), leave: make(chan struct{}), settled: make(chan []*webhook.Settlement, 1)}
		s.dialect = d
		enqueue := func(ctx context.Context, ids ...string) <-chan error {
			errs := make(chan error, len(ids))
			for _, id := range ids {
				go func() {
					results, err := s.Enqueue(ctx, []webhook.Publication{{Event: webhook.EventRecord{ID: id}, Lease: time.Minute, Places: 1}})
					if err == nil && len(results[0].Created) != 1 {
						err = errors.New("nothing was handed over")
					}
					errs <- err
				}()
			}
			synctest.Wait()
			return errs
		}
		first := enqueue(t.Context(), "first") // which the others wait for, so that they share a group
		<-d.entered
		ctx, cancel := context.WithCancel(t.Context())
		const one, two = "00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002"
		gone, stays := enqueue(ctx, one, two), enqueue(t.Context(), "stays")
		d.leave <- struct{}{}
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		if calls := <-d.entered; len(calls) != 3 {
			t.Fatalf("%d calls share a group, want 3", len(calls))
		}
		cancel()
		for range 2 {
			if err := <-gone; !errors.Is(err, webhook.ErrUncertain) {
				t.Errorf("a call that was given up returned %v, want %v", err, webhook.ErrUncertain)
			}
		}
		before := time.Now()
		d.leave <- struct{}{}
		if err := <-stays; err != nil || time.Since(before) > 0 {
			t.Errorf("the call that was not given up returned %v after %v, want success at once", err, time.Since(before))
		}
		var got []string
		for _, o := range <-d.settled {
			if o.Lease != 7 || o.State != webhook.StatePending || o.Counted || o.Attempt != nil {
				t.Errorf("settled was %+v, want one that gives back", o)
			}
			got = append(got, o.DeliveryID)
		}
		if slices.Sort(got); !slices.Equal(got, []string{one, two}) {
			t.Errorf("given back was %q, want what was handed over to those who are gone", got)
		}
		next := enqueue(t.Context(), "next")
		<-d.entered
		if took := time.Since(before); took > 2*time.Second {
			t.Errorf("the next group began after %v: that of giving back is 1 s", took)
		}
		d.leave <- struct{}{}
		if err := <-next; err != nil {
			t.Error(err)
		}
	})
}
