package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
)

// SQLiteDSN returns the data source name of a database file, whose path it is
// given, for modernc.org/sqlite and ncruces/go-sqlite3, with what the store needs
// of a connection: WAL, so that readers and the writer do not wait for each
// other; synchronous=FULL, so that what is committed survives a power cut; a
// checkpoint every 2000 pages (16 MiB of WAL in a new file), so that a page that
// changes often is copied seldom; a busy timeout of 10 s, so that processes wait for
// each other; up to 8 MiB of cache, since a commit at times goes through all of it;
// and transactions that take the write lock when they begin, so that they need not
// fail later. A new file has pages of 8 KiB, so that a commit writes fewer; one that
// exists keeps its own.
func SQLiteDSN(path string) string {
	escaped := (&url.URL{Path: path}).EscapedPath()
	if strings.HasPrefix(path, "//") {
		escaped = "//" + escaped // or else it would begin with an authority
	}
	u := url.URL{Scheme: "file", Opaque: escaped, RawQuery: url.Values{
		// The page size must come before WAL, which fixes it. modernc.org/sqlite sorts
		// these by their text: the quotes put it in front.
		"_pragma": {"busy_timeout(10000)", `"page_size"(8192)`, "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-8192)", "wal_autocheckpoint(2000)"},
		"_txlock": {"immediate"},
	}.Encode()}
	return u.String()
}

// sqlite has one writer at a time, and a statement costs little more than what
// it does, once it is prepared. So a step of the queue is a transaction of many
// small ones, and these are they, by their text; they belong to the goroutine of
// Store.changes. Times are microseconds since 1970.
type sqlite map[string]*sql.Stmt

func (sqlite) stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

func (sqlite) schema() string { return "sqlite" }

// lockSchema need not do anything: the transaction has the write lock.
func (sqlite) lockSchema(context.Context, *Store, Querier) error { return nil }

// seesAll: there is one writer.
func (sqlite) seesAll(context.Context, *Store, Querier) error { return nil }

func (sqlite) tableExists() string {
	return "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1"
}

// never is a time after all others.
const never = math.MaxInt64

func (sqlite) never() any { return int64(never) }

var foreign = regexp.MustCompile(`::[a-z]+(\[\])?| FOR (NO KEY )?UPDATE( SKIP LOCKED)?|\$`)

// translate leaves out what only PostgreSQL has.
func (sqlite) translate(query string) string {
	return foreign.ReplaceAllStringFunc(query, func(s string) string {
		if s == "$" {
			return "?"
		}
		return ""
	})
}

func (sqlite) member(column, _, parameter string) string {
	return column + " IN (SELECT value FROM json_each(" + parameter + "))"
}

func (sqlite) list(values []string) any { return jsonList(values) }

func (sqlite) estimates() bool { return false }

func (sqlite) finished(states []string) string {
	if len(states) == 3 {
		return "true"
	}
	condition := "state IN (" + strings.Join(states, ", ") + ")"
	if !slices.Contains(states, "'delivered'") {
		condition += " AND state <> 'delivered'"
	}
	return condition
}

func jsonList(values []string) string {
	if len(values) == 0 {
		return "[]"
	}
	b, err := json.Marshal(values)
	if err != nil {
		panic(err) // strings can be marshalled
	}
	return string(b)
}

// sqliteList is a list of numbers as a parameter: JSON, but for its end.
type sqliteList []byte

func (l sqliteList) add(n int64) sqliteList {
	if len(l) == 0 {
		l = append(l, '[')
	} else {
		l = append(l, ',')
	}
	return strconv.AppendInt(l, n, 10)
}

func (l sqliteList) String() string {
	if len(l) == 0 {
		return "[]"
	}
	return string(l) + "]"
}

// change is what a caller wants to do in a transaction.
type change struct {
	durability
	f     func(Querier) error
	err   error
	taken atomic.Bool   // by a transaction that has begun, or by the caller who gave up
	done  chan struct{} // closed when f is committed or has failed
}

// exclusively runs f in a transaction that has the write lock from its
// beginning. What several want to do meanwhile shares the next one, since
// nothing costs as much as a commit. Within the process, writers queue; a driver
// would make them poll. f is repeated if another's f has failed.
func (s *Store) exclusively(ctx context.Context, d durability, f func(Querier) error) error {
	c := &change{durability: d, f: f, done: make(chan struct{})}
	if err := s.changes.Add(ctx, c, 0); err != nil {
		return err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		if c.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		<-c.done // it is short, and its outcome would be unknown
	}
	return c.err
}

// commitChanges runs what is to be done in one transaction. If a part of it
// fails, it does so again, each part apart from the others.
func (s *Store) commitChanges(changes []*change) {
	changes = slices.Clone(changes)
	begun := false
	err := s.commit(durabilityOf(changes), func(q Querier) error {
		begun = true
		changes = slices.DeleteFunc(changes, func(c *change) bool { return !c.taken.CompareAndSwap(false, true) })
		for _, c := range changes {
			if err := c.f(q); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && begun && len(changes) > 1 && !errors.Is(err, webhook.ErrUncertain) {
		s.commitApart(changes)
	} else {
		for _, c := range changes {
			c.err = err
		}
	}
	for _, c := range changes {
		close(c.done)
	}
}

// commitApart runs changes in one transaction that undoes those that fail, or if
// that cannot be, since some errors end the transaction, in one each.
func (s *Store) commitApart(changes []*change) {
	err := s.commit(durabilityOf(changes), func(q Querier) error {
		for _, c := range changes {
			var err error
			if c.err, err = s.undoable(q, c.f); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range changes {
		switch {
		case errors.Is(err, webhook.ErrUncertain):
			c.err = cmp.Or(c.err, err)
		case err != nil:
			c.err = s.commit(c.durability, c.f)
		}
	}
}

// undoable runs f, of which nothing is left if it fails. What it returns beside
// that is an error of the transaction.
func (s *Store) undoable(q Querier, f func(Querier) error) (failed, err error) {
	ctx := context.Background()
	if err := execute(ctx, q, "SAVEPOINT one_change"); err != nil {
		return nil, err
	}
	if failed = f(q); failed != nil {
		if err := execute(ctx, q, "ROLLBACK TO SAVEPOINT one_change"); err != nil {
			return failed, err
		}
	}
	err = execute(ctx, q, "RELEASE SAVEPOINT one_change")
	return failed, err
}

func durabilityOf(changes []*change) durability {
	if slices.ContainsFunc(changes, func(c *change) bool { return c.durability == lasting }) {
		return lasting
	}
	return passing
}

// commit runs f in a transaction.
func (s *Store) commit(d durability, f func(Querier) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	prepared := s.dialect.(sqlite)
	prepared.prepare(ctx, s)
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if d == passing {
		restore, err := relax(ctx, conn)
		if err != nil {
			return err
		}
		defer restore()
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	t := &sqliteTx{Tx: tx, prepared: prepared, ready: make(sqlite, len(prepared))}
	if lock := t.statement(ctx, s.named(sqliteLock)); lock != nil {
		if _, err := lock.ExecContext(ctx); err != nil {
			return err
		}
	}
	if err := f(t); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return uncommitted(err)
	}
	return nil
}

// relax makes commits on the connection not wait for the disk until restore: the
// next one that does, on any connection, makes them last as well.
func relax(ctx context.Context, conn *sql.Conn) (restore func(), err error) {
	var journal string
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return nil, err
	}
	var synchronous int
	if err := conn.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous); err != nil {
		return nil, err
	}
	const normal = 1
	if synchronous <= normal || journal != "wal" {
		return func() {}, nil
	}
	q := sqlQuerier{conn}
	if err := execute(ctx, q, fmt.Sprint("PRAGMA synchronous = ", normal)); err != nil {
		return nil, err
	}
	return func() {
		if execute(ctx, q, fmt.Sprint("PRAGMA synchronous = ", synchronous)) != nil {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // never to be used again
		}
	}, nil
}

// connect waits for others who open a new file at the same time: while it
// becomes WAL, SQLite does not wait by itself. Only the text of the error tells,
// in all drivers.
func (s *Store) connect(ctx context.Context) (*sql.Conn, error) {
	for wait := time.Millisecond; ; wait *= 2 {
		conn, err := s.db.Conn(ctx)
		if err == nil || wait > 4*time.Second || !strings.Contains(err.Error(), "database is locked") {
			return conn, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// uncommitted returns the error of a commit, which is an uncertain one unless
// SQLite says that it waited in vain for a lock or found no room: of a write or
// sync that failed, recovery after a crash may find enough. What the drivers'
// errors have in common is SQLite's text.
func uncommitted(err error) error {
	for _, certain := range []string{"database is locked", "database or disk is full"} {
		if strings.Contains(err.Error(), certain) {
			return err
		}
	}
	return uncertain(err)
}

// prepare prepares the statements in the database, which remembers on which
// connections it has done so: that costs several times what they do. Before
// Migrate it cannot, and they are executed as they are.
func (d sqlite) prepare(ctx context.Context, s *Store) {
	if len(d) > 0 {
		return
	}
	for _, statement := range sqliteStatements {
		statement = s.named(statement)
		stmt, err := s.db.PrepareContext(ctx, statement)
		if err != nil {
			for _, stmt := range d {
				_ = stmt.Close()
			}
			clear(d)
			return
		}
		d[statement] = stmt
	}
}

// sqliteStatements are the statements of the queue.
var sqliteStatements = []string{
	sqliteLock, sqliteRing, sqlitePromote, sqliteInsertEvent, sqliteMatch, sqliteInsertDelivery, sqliteInsertQueued,
	sqliteWake, sqliteChoose, sqliteDue, sqliteLease, sqliteTaken, sqliteMove, sqliteNext,
	sqliteHeld, sqliteLogOne, sqliteLogTogether, sqliteOutcome, sqliteFirst, sqliteLeave, sqliteRetry, sqliteHealth,
}

// sqliteLock takes the write lock where BEGIN has not.
const sqliteLock = "UPDATE outhook_schema SET version = version WHERE version < 0"

// sqliteTx is a transaction of the store's own. Its statements do not end with
// their contexts.
type sqliteTx struct {
	*sql.Tx
	prepared sqlite
	ready    sqlite // on the connection of the transaction
}

// statement returns the prepared statement, or nil.
func (t *sqliteTx) statement(ctx context.Context, text string) *sql.Stmt {
	stmt := t.ready[text]
	if prepared := t.prepared[text]; stmt == nil && prepared != nil {
		stmt = t.StmtContext(ctx, prepared)
		t.ready[text] = stmt
	}
	return stmt
}

// Query implements Querier.
func (t *sqliteTx) Query(ctx context.Context, query string, args ...any) (Rows, error) {
	ctx = context.WithoutCancel(ctx)
	stmt := t.statement(ctx, query)
	if stmt == nil {
		return sqlQuerier{t.Tx}.Query(ctx, query, args...)
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	return sqlRows{rows}, nil
}

// sqliteStep is a step of the queue, in a transaction.
type sqliteStep struct {
	store *Store
	q     Querier
	now   int64
}

func newSQLiteStep(ctx context.Context, s *Store, q Querier) (sqliteStep, error) {
	now, err := s.now(ctx, q)
	return sqliteStep{s, q, now.UnixMicro()}, err
}

// query calls each for every row of a query.
func (s *sqliteStep) query(ctx context.Context, query string, args []any, each func(Rows) error) error {
	return run(ctx, s.q, s.store.named(query), args, each)
}

// exists reports whether a query returns anything.
func (s *sqliteStep) exists(ctx context.Context, query string, args ...any) (found bool, err error) {
	err = s.query(ctx, query, args, func(Rows) error { found = true; return nil })
	return found, err
}

// exec runs a statement that writes, and reports whether it did. One that could
// write to several rows, or has a RETURNING clause, would copy every page before it
// changes it, to be able to undo a part of what it did. So those that do, and where
// it matters, are OR FAIL, which leaves undoing to the end of the transaction, or
// nothing can make them fail midway, as no row of outhook_queue that is deleted or
// whose columns may be null.
func (s *sqliteStep) exec(ctx context.Context, statement string, args ...any) (done bool, err error) {
	result, err := s.prepared(ctx, statement, args)
	switch {
	case err != nil:
		return false, err
	case result == nil:
		return s.exists(ctx, s.store.named(statement)+" RETURNING 1", args...)
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// insert is exec for a row that has a seq, which it returns.
func (s *sqliteStep) insert(ctx context.Context, statement string, args ...any) (seq int64, done bool, err error) {
	result, err := s.prepared(ctx, statement, args)
	switch {
	case err != nil:
		return 0, false, err
	case result == nil:
		err = s.query(ctx, statement+" RETURNING seq", args, func(rows Rows) error { done = true; return rows.Scan(&seq) })
		return seq, done, err
	}
	n, err := result.RowsAffected()
	if err != nil || n == 0 {
		return 0, false, err
	}
	seq, err = result.LastInsertId()
	return seq, true, err
}

// prepared executes a statement that is prepared. There is no result where none
// is.
func (s *sqliteStep) prepared(ctx context.Context, statement string, args []any) (sql.Result, error) {
	t, ok := s.q.(*sqliteTx)
	if !ok {
		return nil, nil
	}
	ctx = context.WithoutCancel(ctx)
	stmt := t.statement(ctx, s.store.named(statement))
	if stmt == nil {
		return nil, nil
	}
	return stmt.ExecContext(ctx, args...)
}

const (
	// What the triggers of outhook_alarms do.
	sqliteRing = `UPDATE outhook_lanes SET since = min(since, ?1), wake = min(wake, max(?1, coalesce(not_before, 0)))
		WHERE seq = ?2 AND (since > ?1 OR wake > max(?1, coalesce(not_before, 0)))`
	sqlitePromote = `UPDATE outhook_queue SET head = 1
		WHERE seq = (SELECT min(seq) FROM outhook_queue WHERE lane = ?1 AND chain = ?2) AND NOT head`
)

// ring tells a lane that something falls due.
func (s *sqliteStep) ring(ctx context.Context, due, lane int64) error {
	_, err := s.exec(ctx, sqliteRing, due, lane)
	return err
}

// promote makes the first delivery of a chain one that can be claimed.
func (s *sqliteStep) promote(ctx context.Context, lane int64, chain string) error {
	_, err := s.exec(ctx, sqlitePromote, lane, chain)
	return err
}
