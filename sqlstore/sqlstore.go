// Package sqlstore is a [webhook.Store] in the application's own database:
// PostgreSQL (13 or later) or SQLite, over database/sql, with any driver.
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	…
//	store := sqlstore.New(db, sqlstore.PostgreSQL)
//	if err := store.Migrate(ctx); err != nil {
//		…
//	}
//	dispatcher, err := webhook.NewDispatcher(store, webhook.Config{})
//
// For SQLite, [SQLiteDSN] gets the settings of a connection right:
//
//	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN("webhooks.db"))
//	store := sqlstore.New(db, sqlstore.SQLite)
//
// Connections without a busy timeout or WAL are refused by [Store.Migrate]: they
// fail under load. synchronous is for the application to decide: with less than
// FULL, a power cut may take back what was committed last, and with it an event
// that was accepted. A database in memory is for tests, and needs
// db.SetMaxOpenConns(1), since each connection has one of its own.
//
// It works unchanged with pgx's stdlib adapter and lib/pq, modernc.org/sqlite and
// ncruces/go-sqlite3, none of which it imports.
//
// # In the application's own transaction
//
// An event that is published under the context of [Store.WithTx] is written in
// the caller's transaction: it exists if and when that commits, and is then
// delivered. There is no outbox to relay and no second commit to lose.
//
//	tx, err := db.BeginTx(ctx, nil)
//	…
//	_, err = tx.ExecContext(ctx, "UPDATE documents SET state = 'signed' WHERE id = $1", id)
//	…
//	_, err = dispatcher.Publish(store.WithTx(ctx, tx), webhook.Event{Type: "document.signed", Data: document})
//	…
//	err = tx.Commit()
//
// In a transaction, publish under WithTx, even if the event might do without it. A
// Publish beside it waits, on SQLite, for the transaction that it is called in,
// which is to say for itself: it fails after the busy timeout, or twice that (10 s
// to 20 s with SQLiteDSN), and says that the database is locked. With one
// connection in the pool it waits, on any database, until its context ends.
//
// A *sql.Tx serves as it is, and sqlx and GORM have one inside (tx.Tx and
// tx.Statement.ConnPool); pgx.Tx and others are adapted in three lines, see
// [Store.WithQuerier]; examples/outbox has all four. Everything that is called
// under that context uses the transaction, reads too, until it ends. As nobody is
// told when it commits, the event is delivered after the next poll, see
// webhook.Config.PollInterval, in this process too; with package pgwake, at once.
//
// Which endpoints an event reaches follows from the isolation level. Under READ
// COMMITTED, PostgreSQL's default, these are the endpoints that are committed
// when Publish is called, and those that the transaction itself registered;
// under REPEATABLE READ and SERIALIZABLE, those that were when the transaction
// began; if one of these was deleted since, PostgreSQL says that it could not
// serialize access (SQLSTATE 40001), and the transaction is to be repeated. SQLite is
// always like the latter, and as it has one writer at a time, nothing can be
// registered between. An event ID that another, open transaction has published keeps
// this Publish waiting for that one's end, and others for some hundredths of a second
// at most; View.Unregister likewise waits for open transactions that have published to
// that endpoint, and one that is open itself keeps those waiting who publish to it.
//
// # Broken connections
//
// A Publish outside a transaction is repeated when its connection turns out to be
// broken. If the first try was carried out after all, the second one finds the
// event, and Receipt.Duplicate is true of an event that is published for the
// first time. That is harmless: it is stored once, under the Receipt's ID, and
// delivered, after the next poll, or when the lease ends under which the first try
// has handed it over. Where repeating does not tell, the error is
// [webhook.ErrUncertain].
//
// # Several processes
//
// Any number of processes on any number of machines may share one PostgreSQL
// database, also through a pooler such as PgBouncer in transaction mode, and
// several on one machine an SQLite file. Each has a Store and a Dispatcher of
// its own; they share the work and every process that dies or stalls is
// replaced by the others when its leases end. What a process publishes for
// others to deliver is found by their next poll; package pgwake, a module of its
// own beside this one, makes that milliseconds on PostgreSQL.
//
// A transaction that stays open for long in the same PostgreSQL database, that of a
// backup or a report, keeps what was deleted and rewritten meanwhile from being
// cleaned up, and so makes claims slower until it ends.
//
// # The tables
//
// [Store.Migrate] creates and updates them; [Migrations] returns the same SQL for
// a migration tool. All names begin with "outhook_" unless [TablePrefix] says
// otherwise. Reading them is fine: endpoints, events, pending and finished (the
// deliveries) and attempts are what their names say, and only columns are ever
// added to them. Nothing but this package should write them.
//
// [webhook.Config].Retention purges what is finished; [Store.Erase] removes all
// that belongs to a tenant.
package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/batch"
)

// Dialect is the kind of a database.
type Dialect uint8

// The dialects.
const (
	PostgreSQL Dialect = iota + 1 // version 13 or later
	SQLite                        // version 3.38 or later
)

func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "PostgreSQL"
	case SQLite:
		return "SQLite"
	}
	return fmt.Sprintf("Dialect(%d)", uint8(d))
}

// Option changes how a [Store] works.
type Option func(*Store)

// TablePrefix is what the names of all tables begin with, instead of "outhook_".
// It may name a schema of PostgreSQL, which Migrate then creates: "webhooks." or
// "webhooks.app_". It consists of lower-case letters, digits and underscores.
func TablePrefix(prefix string) Option {
	return func(s *Store) { s.prefix = prefix }
}

const defaultPrefix = "outhook_"

var prefixes = regexp.MustCompile(`^([a-z_][a-z0-9_]*\.)?[a-z_][a-z0-9_]*$|^[a-z_][a-z0-9_]*\.$`)

// Store is a [webhook.Store] on a database. It implements [webhook.Purger],
// [webhook.OrderedQueue], [webhook.Presence], [webhook.Summarizer] and, on
// PostgreSQL, [webhook.HandOver]. Its methods are safe for concurrent use; it starts no
// goroutine that lasts, and need not be closed.
type Store struct {
	db      *sql.DB
	dialect dialect
	prefix  string
	names   *strings.Replacer // of the tables and indexes
	invalid error             // in how New was called
	groups  *batch.Batcher[*call]
	changes *batch.Batcher[*change] // SQLite's
	// isolated says that the database's default isolation is not READ COMMITTED.
	isolated atomic.Bool

	mu      sync.Mutex
	clock   func() time.Time
	after   string           // the tenant that was served last
	held    map[identity]int // what may wait for others, and how many calls do
	seen    arrival          // up to where Purge has looked for events without deliveries
	patient chan struct{}    // held by the call that waits for an open transaction
	idle    atomic.Bool      // SQLite: the last claim found nothing
}

// dialect is what differs between the databases.
type dialect interface {
	// stamp returns t as a parameter of a query.
	stamp(t time.Time) any
	// schema is the folder of the migrations.
	schema() string
	// lockSchema makes others wait who migrate.
	lockSchema(ctx context.Context, s *Store, q Querier) error
	// seesAll is an error where a transaction would not see what another has
	// committed while it waited for it.
	seesAll(ctx context.Context, s *Store, q Querier) error
	// tableExists is a query with the table's name as its parameter.
	tableExists() string
	// never is a time after all others.
	never() any
	// translate rewrites a query that is written for PostgreSQL.
	translate(query string) string
	// member is the condition that a column, of type text or uuid, is in a
	// parameter that list has made.
	member(column, kind, parameter string) string
	list(values []string) any
	// estimates is whether the planner chooses by what it thinks is common.
	estimates() bool
	// finished is the condition that a finished delivery has one of the states,
	// quoted, in words that the planner knows the partial indexes by.
	finished(states []string) string
	// enqueue stores calls of which no two share an event, and sets what became
	// of each; lockTimeout, unless zero, bounds how long it waits for others.
	enqueue(ctx context.Context, s *Store, q Querier, calls []*call, lockTimeout time.Duration) error
	// address creates the deliveries of publications that name their endpoints.
	address(ctx context.Context, s *Store, q Querier, ps []*webhook.Publication) (map[string][]string, error)
	claim(ctx context.Context, s *Store, q Querier, r webhook.ClaimRequest) ([]webhook.Claimed, time.Duration, error)
	// tally is the query that a tallying scans.
	tally(t *tallying) string
	// settling prepares settlements of different deliveries. The function that it
	// returns applies them in a transaction, and again if that is undone, and returns
	// the positions of those that are stale.
	settling(ss []*webhook.Settlement) func(ctx context.Context, s *Store, q Querier) (stale []int, err error)
}

// New returns a store on the database, whose schema [Store.Migrate] creates. A
// nil db, an unknown dialect or an impossible prefix is [webhook.ErrInvalid] from
// webhook.NewDispatcher and from every method.
func New(db *sql.DB, d Dialect, options ...Option) *Store {
	s := &Store{db: db, prefix: defaultPrefix, held: make(map[identity]int), seen: arrival{created: time.Unix(0, 0)}, patient: make(chan struct{}, 1)}
	for _, o := range options {
		o(s)
	}
	switch d {
	case PostgreSQL:
		s.dialect = postgreSQL{}
	case SQLite:
		s.dialect = sqlite{}
	}
	switch {
	case db == nil:
		s.invalid = fmt.Errorf("sqlstore: %w: db is nil", webhook.ErrInvalid)
	case s.dialect == nil:
		s.invalid = fmt.Errorf("sqlstore: %w: unknown dialect %v", webhook.ErrInvalid, d)
	case !s.validPrefix(d):
		s.invalid = fmt.Errorf("sqlstore: %w: table prefix %q is not made of lower-case letters, digits and underscores, after a schema and a dot on PostgreSQL", webhook.ErrInvalid, s.prefix)
	}
	s.names = strings.NewReplacer("outhook_ix_", s.prefix[strings.Index(s.prefix, ".")+1:]+"ix_", defaultPrefix, s.prefix)
	s.groups = batch.New(batch.Options{Items: maxGroup, Bytes: maxGroupBytes, Queue: 4 * maxGroup}, s.commitGroup)
	s.changes = batch.New(batch.Options{Items: 64}, s.commitChanges)
	return s
}

// Validate returns what is wrong with how the store was made, as
// [webhook.ErrInvalid]. It asks the database nothing. webhook.NewDispatcher calls
// it.
func (s *Store) Validate() error {
	if s == nil || s.dialect == nil && s.invalid == nil {
		return fmt.Errorf("sqlstore: %w: the store is nil or zero; New makes one", webhook.ErrInvalid)
	}
	return s.invalid
}

func (s *Store) validPrefix(d Dialect) bool {
	return prefixes.MatchString(s.prefix) && !(d == SQLite && strings.Contains(s.prefix, "."))
}

// SetClock replaces the clock, for tests: the database server's on PostgreSQL,
// this machine's on SQLite.
func (s *Store) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = now
}

// ClaimsOrdered implements [webhook.OrderedQueue].
func (s *Store) ClaimsOrdered() {}

// Querier is what the store needs of a transaction. The placeholders of a query
// are $1, $2 … on PostgreSQL and ?1, ?2 … on SQLite; arguments are strings,
// byte slices, integers, booleans, times and nil. A query that returns no rows
// has been executed when its Rows are closed.
type Querier interface {
	Query(ctx context.Context, query string, args ...any) (Rows, error)
}

// Rows are what a [Querier] returns. pgx.Rows is such, and *sql.Rows but for what
// Close returns.
type Rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close()
}

// transactionKey is the context's key for the transaction of one store.
type transactionKey struct{ store *Store }

// WithTx returns a context under which every method of this store, and so the
// Dispatcher's Publish, Register, Update and all others, works inside tx. The
// caller commits or rolls back, and uses the context no longer after that. When
// a method has failed, PostgreSQL has in general aborted the transaction, which
// can only be rolled back then.
//
// While a transaction is open, everything that the same code does with the store
// belongs under WithTx. On SQLite, which has one writer at a time, a Publish
// without it waits for its own caller until the busy timeout has passed, once or
// twice, and then fails because the database is locked.
//
// On PostgreSQL, unregistering an endpoint needs READ COMMITTED and is
// [webhook.ErrNotSupported] otherwise. While a transaction that updates an
// endpoint is open, the endpoint cannot be disabled because of what it answers;
// one that unregisters it, or changes Ordered, keeps the outcomes of its deliveries
// from being stored meanwhile: those that are then still pending are repeated.
//
// Claiming and settling, by Dispatcher.Run or SendTest, are not meant for it: a
// test send would keep the transaction open during the request.
//
// Another Store, even on the same database, knows nothing of it: use the one that
// the Dispatcher was made with.
func (s *Store) WithTx(ctx context.Context, tx *sql.Tx) context.Context {
	if tx == nil {
		return s.WithQuerier(ctx, nil)
	}
	return s.WithQuerier(ctx, sqlQuerier{tx})
}

// WithQuerier is [Store.WithTx] for transactions of another kind. For pgx.Tx the
// adapter is
//
//	type querier struct{ pgx.Tx }
//
//	func (q querier) Query(ctx context.Context, query string, args ...any) (sqlstore.Rows, error) {
//		return q.Tx.Query(ctx, query, args...)
//	}
//
// and the context store.WithQuerier(ctx, querier{tx}).
func (s *Store) WithQuerier(ctx context.Context, q Querier) context.Context {
	if q == nil {
		q = noTransaction{}
	}
	return context.WithValue(ctx, transactionKey{s}, q)
}

// noTransaction is what a caller has whose transaction did not begin.
type noTransaction struct{}

func (noTransaction) Query(context.Context, string, ...any) (Rows, error) {
	return nil, fmt.Errorf("sqlstore: %w: the transaction is nil", webhook.ErrInvalid)
}

// transaction returns the caller's own transaction, if there is one.
func (s *Store) transaction(ctx context.Context) Querier {
	q, _ := ctx.Value(transactionKey{s}).(Querier)
	return q
}

// Querier returns what the methods work on under ctx: the caller's transaction,
// see [Store.WithTx], or the database. It is for extensions of the store.
func (s *Store) Querier(ctx context.Context) (q Querier, inTransaction bool) {
	if q := s.transaction(ctx); q != nil {
		return q, true
	}
	return sqlQuerier{s.db}, false
}

// TablePrefix returns what the names of all tables begin with, see [TablePrefix].
// It is for extensions of the store.
func (s *Store) TablePrefix() string { return s.prefix }

// sqlQuerier is a Querier on a *sql.DB, *sql.Conn or *sql.Tx.
type sqlQuerier struct {
	q interface {
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
}

func (q sqlQuerier) Query(ctx context.Context, query string, args ...any) (Rows, error) {
	rows, err := q.q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return sqlRows{rows}, nil
}

type sqlRows struct{ *sql.Rows }

func (r sqlRows) Close() { _ = r.Rows.Close() }

// begin answers what cannot be done at all.
func (s *Store) begin(ctx context.Context) error {
	if s.invalid != nil {
		return s.invalid
	}
	return ctx.Err()
}

// read calls f on the caller's transaction, or on the database.
func (s *Store) read(ctx context.Context, f func(Querier) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	q, _ := s.Querier(ctx)
	return ended(ctx, f(q))
}

// retries is how often what another transaction got in the way of is repeated.
const retries = 10

// write calls f in the caller's transaction, or in one of its own that is
// repeated if another gets in its way.
func (s *Store) write(ctx context.Context, f func(Querier) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if q := s.transaction(ctx); q != nil {
		return ended(ctx, f(q))
	}
	for n := 1; ; n++ {
		err := s.atomically(ctx, lasting, f)
		if err == nil || n == retries || !inTheWay(err) || ctx.Err() != nil {
			return ended(ctx, err)
		}
	}
}

// durability is what a transaction must survive. Leases end with the processes
// that hold them: where all of these share a machine they need not survive it.
type durability bool

const (
	lasting durability = false // a power cut
	passing durability = true  // the end of this process
)

// atomically runs f in a transaction.
func (s *Store) atomically(ctx context.Context, d durability, f func(Querier) error) error {
	if _, ok := s.dialect.(sqlite); ok {
		return s.exclusively(ctx, d, f)
	}
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := f(sqlQuerier{tx}); err != nil {
		return err
	}
	err = tx.Commit()
	if errors.Is(err, driver.ErrBadConn) { // some drivers say so after sending it, too
		return fmt.Errorf("%w: %w", webhook.ErrUncertain, err)
	}
	return uncertain(err)
}

// transact calls f in a transaction of its own. On PostgreSQL f is a single
// statement, which is one. It is repeated when the connection turns out to be
// broken, which may be after it was carried out: pgx says so only of what was not
// sent, lib/pq also of what it had no answer to. So f must be one that finds out:
// an event that is stored already is a duplicate, a settlement whose attempt is
// there is none, and what a lost claim has leased is due again after its lease.
// Where no other try tells, the outcome is uncertain.
func (s *Store) transact(ctx context.Context, d durability, f func(Querier) error) error {
	if _, ok := s.dialect.(sqlite); ok || s.isolated.Load() {
		return s.atomically(ctx, d, f)
	}
	broken := func(err error) error { return fmt.Errorf("%w: %w", webhook.ErrUncertain, err) }
	for n := 1; ; n++ {
		conn, err := s.db.Conn(ctx)
		switch {
		case err != nil && n > 1: // and what was carried out before remains unknown
			return broken(err)
		case err != nil:
			return err
		}
		err = f(sqlQuerier{conn})
		_ = conn.Close() // gives it back
		switch {
		case !errors.Is(err, driver.ErrBadConn):
			return uncertain(err)
		case n == retries:
			return broken(err)
		}
	}
}

// now returns the time of the store's clock, to the microsecond.
func (s *Store) now(ctx context.Context, q Querier) (time.Time, error) {
	if t := s.injected(); !t.IsZero() {
		return t, nil
	}
	if _, ok := s.dialect.(sqlite); ok {
		return time.Now().UTC().Truncate(time.Microsecond), nil
	}
	var now stamp
	_, err := s.one(ctx, q, "SELECT clock_timestamp()", nil, &now)
	return now.Time, err
}

// injected returns the time of the clock that SetClock has set, zero for none.
func (s *Store) injected() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clock == nil {
		return time.Time{}
	}
	return s.clock().UTC().Truncate(time.Microsecond)
}

// query runs a query whose tables begin with "outhook_" and calls each for every
// row.
func (s *Store) query(ctx context.Context, q Querier, query string, args []any, each func(Rows) error) error {
	return run(ctx, q, s.dialect.translate(s.named(query)), args, each)
}

// run runs a query as it is.
func run(ctx context.Context, q Querier, query string, args []any, each func(Rows) error) error {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// execute runs a statement as it is.
func execute(ctx context.Context, q Querier, statement string) error {
	return run(ctx, q, statement, nil, func(Rows) error { return nil })
}

// one runs a query for its first row, if there is one.
func (s *Store) one(ctx context.Context, q Querier, query string, args []any, dest ...any) (found bool, err error) {
	err = s.query(ctx, q, query, args, func(r Rows) error {
		if found {
			return nil
		}
		found = true
		return r.Scan(dest...)
	})
	return found, err
}

// exec runs a query that returns nothing of interest and returns the number of
// its rows.
func (s *Store) exec(ctx context.Context, q Querier, query string, args ...any) (rows int, err error) {
	err = s.query(ctx, q, query, args, func(Rows) error { rows++; return nil })
	return rows, err
}

// named puts the table prefix into a query.
func (s *Store) named(query string) string {
	if s.prefix == defaultPrefix {
		return query
	}
	return s.names.Replace(query)
}

// uncertain marks an error that leaves open whether the transaction was
// committed: not if the server itself says that it failed, unless it does so
// because it is going down, not if the statement means nothing to the database,
// and not if nothing was sent.
func uncertain(err error) error {
	state := sqlState(err)
	failed := len(state) == 5 && state[:2] != "08" && state[:2] != "XX" && (state[:2] != "57" || state == "57014")
	if err == nil || failed || misunderstood(err) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return fmt.Errorf("%w: %w", webhook.ErrUncertain, err)
}

// ended makes the error of a call whose context has ended match the context's,
// and says what to do about one that follows from how the application uses the
// store.
func ended(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if hint := hint(err); hint != "" {
		err = fmt.Errorf("%w (%s)", err, hint)
	}
	if c := ctx.Err(); c != nil && !errors.Is(err, c) {
		return fmt.Errorf("%w: %w", c, err)
	}
	return err
}

// hint says what to do about an error, where that is known.
func hint(err error) string {
	state, text := sqlState(err), err.Error()
	switch {
	case state == "42P01", state == "42883", state == "" && strings.Contains(text, "no such table"): // undefined_table, undefined_function
		return "the schema is missing or older than this package: call Store.Migrate"
	case state == "42601": // syntax_error; PostgreSQL knows its own statements
		return "this is a PostgreSQL database: use sqlstore.PostgreSQL"
	case state == "" && containsAny(text, foreignToSQLite...):
		return "this is an SQLite database: use sqlstore.SQLite"
	case state == "" && strings.Contains(text, "database is locked"):
		return "another transaction has been writing for too long: what the application does within an open transaction of its own must be under Store.WithTx, and a connection waits as long as the busy timeout says, see SQLiteDSN"
	}
	return ""
}

// foreignToSQLite is what SQLite says to PostgreSQL's statements.
var foreignToSQLite = []string{"no such function", "syntax error", "unrecognized token"}

// misunderstood reports whether SQLite has refused a statement for what it says
// (its code 1, SQLITE_ERROR): nothing has happened. What the drivers' errors have
// in common is SQLite's text.
func misunderstood(err error) bool {
	return err != nil && sqlState(err) == "" &&
		(containsAny(err.Error(), "SQL logic error", "no such table", "no such column") || containsAny(err.Error(), foreignToSQLite...))
}

func containsAny(text string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
}

// sqlState returns the SQLSTATE of an error that the server reported, "" for any
// other. The drivers for PostgreSQL have this method in common.
func sqlState(err error) string {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState()
	}
	return ""
}

// inTheWay reports whether a transaction failed because of another and may
// succeed when it is repeated.
func inTheWay(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01": // serialization_failure, deadlock_detected
		return true
	}
	return false
}
