package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/outhook/webhook"
)

// SQLiteDSN returns the data source name of a database file, whose path it is
// given, for modernc.org/sqlite and ncruces/go-sqlite3, with what the store needs of a
// connection: WAL, so that readers and the writer do not wait for each other;
// synchronous=FULL, so that what is committed survives a power cut; a busy
// timeout of 10 s, so that processes wait for each other; up to 32 MiB of cache;
// and transactions that take the write lock when they begin, so that they need
// not fail later.
func SQLiteDSN(path string) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-32768)"},
		"_txlock": {"immediate"},
	}.Encode()}
	return u.String()
}

// sqlite has one writer at a time, and a statement costs little more than what
// it does, once it is prepared. So a step of the queue is a transaction of many
// small ones, and these are they, by their text; they belong to the holder of
// Store.writer. Times are microseconds since 1970.
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

// change is what a caller wants to do in a transaction.
type change struct {
	f     func(Querier) error
	err   error
	taken atomic.Bool   // by a transaction that has begun, or by the caller who gave up
	done  chan struct{} // closed when f is committed or has failed
}

// exclusively runs f in a transaction that has the write lock from its
// beginning. What several want to do meanwhile shares the next one, since
// nothing costs as much as a commit. Within the process, writers queue; a driver
// would make them poll. f is repeated if another's f has failed.
func (s *Store) exclusively(ctx context.Context, f func(Querier) error) error {
	c := &change{f: f, done: make(chan struct{})}
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

// commitChanges runs what is to be done in one transaction, or if a part of it
// fails, in one each.
func (s *Store) commitChanges(changes []*change) {
	changes = slices.Clone(changes)
	begun := false
	err := s.commit(func(q Querier) error {
		begun = true
		changes = slices.DeleteFunc(changes, func(c *change) bool { return !c.taken.CompareAndSwap(false, true) })
		for _, c := range changes {
			if err := c.f(q); err != nil {
				return err
			}
		}
		return nil
	})
	for _, c := range changes {
		if c.err = err; err != nil && begun && len(changes) > 1 && !errors.Is(err, webhook.ErrUncertain) {
			c.err = s.commit(c.f)
		}
		close(c.done)
	}
}

// commit runs f in a transaction.
func (s *Store) commit(f func(Querier) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	prepared := s.dialect.(sqlite)
	prepared.prepare(ctx, s)
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
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
	sqliteLock, sqliteRing, sqlitePromote, sqliteInsertEvent, sqliteMatch, sqliteInsertDelivery,
	sqliteWake, sqliteChoose, sqliteDue, sqliteLease, sqliteTaken, sqliteMove, sqliteNext,
	sqliteHeld, sqliteLog, sqliteFinish, sqliteRemove, sqliteRetry, sqliteHealth,
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

// exec runs a statement that writes to one row, and reports whether it did. One
// that could write to more, or has a RETURNING clause, would copy every page
// before it changes it, to be able to undo a part of what it did.
func (s *sqliteStep) exec(ctx context.Context, statement string, args ...any) (done bool, err error) {
	statement = s.store.named(statement)
	if t, ok := s.q.(*sqliteTx); ok {
		ctx = context.WithoutCancel(ctx)
		if stmt := t.statement(ctx, statement); stmt != nil {
			result, err := stmt.ExecContext(ctx, args...)
			if err != nil {
				return false, err
			}
			n, err := result.RowsAffected()
			return n > 0, err
		}
	}
	return s.exists(ctx, statement+" RETURNING 1", args...)
}

const (
	// What the triggers of outhook_alarms do.
	sqliteRing = `UPDATE outhook_lanes SET since = min(since, ?1), wake = min(wake, max(?1, coalesce(not_before, 0)))
		WHERE endpoint_id = ?2 AND (since > ?1 OR wake > max(?1, coalesce(not_before, 0)))`
	sqlitePromote = `UPDATE outhook_pending SET head = 1
		WHERE seq = (SELECT min(seq) FROM outhook_pending WHERE endpoint_id = ?1 AND chain = ?2) AND NOT head`
)

// ring tells a lane that something falls due.
func (s *sqliteStep) ring(ctx context.Context, due int64, endpointID string) error {
	_, err := s.exec(ctx, sqliteRing, due, endpointID)
	return err
}

// promote makes the first delivery of a chain one that can be claimed.
func (s *sqliteStep) promote(ctx context.Context, endpointID, chain string) error {
	_, err := s.exec(ctx, sqlitePromote, endpointID, chain)
	return err
}

const (
	sqliteInsertEvent = `INSERT INTO outhook_events (id, key, type, tenant, ordering_key, time, created_at, test, sum, data)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING`
	sqliteMatch = `SELECT DISTINCT e.id, e.tenant, e.ordered
		FROM json_each(?1) t CROSS JOIN json_each(?2) p
			CROSS JOIN outhook_subscriptions s ON s.tenant = t.value AND s.pattern = p.value
			CROSS JOIN outhook_endpoints e ON e.id = s.endpoint_id
		WHERE NOT e.disabled`
	sqliteAddressed = `SELECT v.type, v.tenant, v.ordering_key, length(v.data), e.id, e.tenant, e.ordered
		FROM outhook_events v CROSS JOIN json_each(?2) w CROSS JOIN outhook_endpoints e ON e.id = w.value
		WHERE v.id = ?1 AND NOT (?3
			AND (EXISTS (SELECT 1 FROM outhook_pending d WHERE d.event_id = v.id AND d.endpoint_id = e.id)
				OR EXISTS (SELECT 1 FROM outhook_finished d WHERE d.event_id = v.id AND d.endpoint_id = e.id AND d.state = 'delivered')))
		ORDER BY w.key`
	sqliteInsertDelivery = `INSERT INTO outhook_pending (id, event_id, event_type, event_tenant, endpoint_id, tenant, origin,
			next_attempt, created_at, updated_at, lease, leased, outside, chain, head, size)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, ?10, ?10, ?11, ?11 IS NULL, ?12)`
)

// sqliteEnqueue is an enqueue in the making.
type sqliteEnqueue struct {
	sqliteStep
	audiences map[[2]string][]sqliteTarget
	rung      map[sqliteAlarm]bool
}

// sqliteTarget is an endpoint that an event is for.
type sqliteTarget struct {
	id, tenant string
	ordered    bool
}

// sqliteAlarm is what a lane has been told.
type sqliteAlarm struct {
	due               int64
	endpointID, chain string
	chained           bool
}

func newSQLiteEnqueue(ctx context.Context, s *Store, q Querier) (*sqliteEnqueue, error) {
	step, err := newSQLiteStep(ctx, s, q)
	return &sqliteEnqueue{step, make(map[[2]string][]sqliteTarget), make(map[sqliteAlarm]bool)}, err
}

func (sqlite) enqueue(ctx context.Context, s *Store, q Querier, calls []*call, _ time.Duration) error {
	e, err := newSQLiteEnqueue(ctx, s, q)
	if err != nil {
		return err
	}
	for _, c := range calls {
		if err := e.call(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// call stores the publications of a call, unless one of them is a conflict.
func (e *sqliteEnqueue) call(ctx context.Context, c *call) error {
	c.err = nil // of a transaction that is repeated
	fresh := make([]int, 0, len(c.ps))
	for n := range c.ps {
		id, status, err := e.store(ctx, &c.ps[n])
		if err != nil {
			return err
		}
		if c.set(n, id, status, 0); status == statusNew {
			fresh = append(fresh, n)
		}
	}
	for _, n := range fresh {
		p := &c.ps[n]
		if c.err != nil {
			if _, err := e.exec(ctx, "DELETE FROM outhook_events WHERE id = ?1", p.Event.ID); err != nil {
				return err
			}
			continue
		}
		if p.Endpoints != nil {
			continue
		}
		targets, err := e.match(ctx, p)
		if err != nil {
			return err
		}
		for _, t := range targets {
			if _, err := e.deliver(ctx, &p.Event, len(p.Event.Data), t, p.Origin, 0); err != nil {
				return err
			}
		}
		c.results[n].Deliveries = len(targets)
	}
	return nil
}

// store stores the event of a publication unless it is known, and returns its ID
// and what became of it.
func (e *sqliteEnqueue) store(ctx context.Context, p *webhook.Publication) (id, status string, err error) {
	v := &p.Event
	var key any
	if v.Key != "" {
		key = v.Key
	}
	fresh, err := e.exec(ctx, sqliteInsertEvent, v.ID, key, v.Type, v.Tenant, v.OrderingKey, v.Time.UnixMicro(), e.now, v.Test, v.Sum[:], notNil(v.Data))
	if err != nil || fresh {
		return v.ID, statusNew, err
	}
	var byID, byKey string
	var sum []byte
	scan := func(id *string) func(Rows) error {
		return func(rows Rows) error { return rows.Scan(id, &sum) }
	}
	if err := e.query(ctx, "SELECT id, sum FROM outhook_events WHERE id = ?1", []any{v.ID}, scan(&byID)); err != nil {
		return "", "", err
	}
	if err := e.query(ctx, "SELECT id, sum FROM outhook_events WHERE tenant = ?1 AND key = ?2", []any{v.Tenant, key}, scan(&byKey)); err != nil {
		return "", "", err
	}
	switch addressed := p.Endpoints != nil; {
	case addressed && byID != "":
		return v.ID, statusKnown, nil
	case byID != "" && byKey != "" && byID != byKey:
		return v.ID, statusOtherKey, nil
	case addressed || !bytes.Equal(sum, v.Sum[:]):
		return v.ID, statusOther, nil
	}
	return cmp.Or(byID, byKey), statusDuplicate, nil
}

// match returns the endpoints that a publication reaches. Most of a group reach
// the same.
func (e *sqliteEnqueue) match(ctx context.Context, p *webhook.Publication) ([]sqliteTarget, error) {
	audience := [2]string{jsonList(append(slices.Clip(p.Tenants), allTenants)), jsonList(p.Patterns)}
	if targets, known := e.audiences[audience]; known {
		return targets, nil
	}
	var targets []sqliteTarget
	err := e.query(ctx, sqliteMatch, []any{audience[0], audience[1]}, func(rows Rows) error {
		var t sqliteTarget
		err := rows.Scan(&t.id, &t.tenant, &t.ordered)
		targets = append(targets, t)
		return err
	})
	e.audiences[audience] = targets
	return targets, err
}

func (sqlite) address(ctx context.Context, s *Store, q Querier, ps []*webhook.Publication) (map[string][]string, error) {
	e, err := newSQLiteEnqueue(ctx, s, q)
	if err != nil {
		return nil, err
	}
	created := make(map[string][]string, len(ps))
	for _, p := range ps {
		event := &webhook.EventRecord{ID: p.Event.ID}
		var size int
		var targets []sqliteTarget
		err := e.query(ctx, sqliteAddressed, []any{event.ID, jsonList(p.Endpoints), p.Missing}, func(rows Rows) error {
			var t sqliteTarget
			err := rows.Scan(&event.Type, &event.Tenant, &event.OrderingKey, &size, &t.id, &t.tenant, &t.ordered)
			targets = append(targets, t)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, t := range targets {
			id, err := e.deliver(ctx, event, size, t, p.Origin, max(microseconds(p.Lease), 0))
			if err != nil {
				return nil, err
			}
			created[event.ID] = append(created[event.ID], id)
		}
	}
	return created, nil
}

// deliver creates a delivery, born leased for lease unless that is 0, and
// returns its ID.
func (e *sqliteEnqueue) deliver(ctx context.Context, v *webhook.EventRecord, size int, t sqliteTarget, origin webhook.Origin, lease int64) (string, error) {
	u, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	id := u.String()
	ring := sqliteAlarm{due: e.now + lease, endpointID: t.id, chained: t.ordered && lease == 0}
	var chain any
	if ring.chained {
		ring.chain, chain = v.OrderingKey, v.OrderingKey
	}
	if _, err := e.exec(ctx, sqliteInsertDelivery, id, v.ID, v.Type, v.Tenant, t.id, t.tenant, string(origin),
		ring.due, e.now, lease > 0, chain, size); err != nil || e.rung[ring] {
		return id, err
	}
	e.rung[ring] = true
	if err := e.ring(ctx, ring.due, t.id); err != nil || !ring.chained {
		return id, err
	}
	return id, e.promote(ctx, t.id, ring.chain)
}

// sqliteEligible are the lanes that a request has room for: ?1 to ?3 are its
// PerEndpoint, the endpoints of its Room, and those to be passed over.
const sqliteEligible = `(?1 > 0 OR endpoint_id IN (SELECT value FROM json_each(?2))) AND endpoint_id NOT IN (SELECT value FROM json_each(?3))`

const (
	sqliteWake = `UPDATE outhook_lanes SET wake = NULL,
			turn = 1 + coalesce((SELECT max(turn) FROM outhook_lanes o WHERE o.wake IS NULL AND o.tenant = outhook_lanes.tenant), 0)
		WHERE wake <= ?1`
	// Lanes that are awake, about ?5 in all and as many of each tenant, the
	// tenants in turn. These are found one by one, each by a step in the index,
	// from the one after ?4 on and round to it.
	sqliteChoose = `WITH RECURSIVE later (tenant) AS (
			SELECT min(tenant) FROM outhook_lanes WHERE wake IS NULL AND tenant > ?4
			UNION ALL
			SELECT (SELECT min(l.tenant) FROM outhook_lanes l WHERE l.wake IS NULL AND l.tenant > t.tenant) FROM later t WHERE t.tenant IS NOT NULL
		), earlier (tenant) AS (
			SELECT min(tenant) FROM outhook_lanes WHERE wake IS NULL AND tenant <= ?4
			UNION ALL
			SELECT (SELECT min(l.tenant) FROM outhook_lanes l WHERE l.wake IS NULL AND l.tenant > t.tenant AND l.tenant <= ?4)
			FROM earlier t WHERE t.tenant IS NOT NULL
		), tenants AS MATERIALIZED (
			SELECT tenant FROM (SELECT tenant FROM later UNION ALL SELECT tenant FROM earlier) t
			WHERE EXISTS (SELECT 1 FROM outhook_lanes WHERE wake IS NULL AND tenant = t.tenant AND ` + sqliteEligible + `)
			LIMIT ?5 + 0
		)
		SELECT ` + endpointColumns + `, l.tenant, l.turn, (SELECT max(turn) FROM outhook_lanes o WHERE o.wake IS NULL AND o.tenant = l.tenant)
		FROM tenants t CROSS JOIN outhook_lanes l CROSS JOIN outhook_endpoints e ON e.id = l.endpoint_id
		WHERE l.endpoint_id IN (
			SELECT endpoint_id FROM outhook_lanes
			WHERE wake IS NULL AND tenant = t.tenant AND ` + sqliteEligible + `
			ORDER BY turn LIMIT (SELECT (?5 + count(*) - 1) / max(count(*), 1) FROM tenants))`
	sqliteDue   = `SELECT seq, next_attempt, size FROM outhook_pending WHERE endpoint_id = ?1 AND head = 1 ORDER BY next_attempt, seq LIMIT ?2 + 0 OFFSET ?3 + 0`
	sqliteLease = `UPDATE outhook_pending SET next_attempt = ?2, lease = lease + 1, expired = expired + leased, leased = 1 WHERE seq = ?1`
	// The columns of scanEvent, then those of scanDelivery, then more.
	sqliteTaken = `SELECT v.id, v.key, v.type, v.tenant, v.ordering_key, v.time, v.created_at, v.test, v.data, v.sum,
			d.id, d.event_id, d.event_type, d.event_tenant, d.endpoint_id, d.tenant, 'pending', d.origin, d.attempts, d.last_status, d.last_error,
			d.first_attempt, d.next_attempt, d.created_at, d.updated_at, d.lease, d.expired
		FROM json_each(?1) j CROSS JOIN outhook_pending d ON d.seq = j.value CROSS JOIN outhook_events v ON v.id = d.event_id`
	sqliteMove = `UPDATE outhook_lanes SET since = coalesce(?2, since), wake = ?3, not_before = ?4, turn = ?5 WHERE endpoint_id = ?1`
	sqliteNext = `SELECT wake FROM (SELECT wake FROM outhook_lanes WHERE wake IS NULL AND ` + sqliteEligible + ` LIMIT 1)
		UNION ALL
		SELECT wake FROM (SELECT wake FROM outhook_lanes WHERE wake IS NOT NULL AND ` + sqliteEligible + ` ORDER BY wake LIMIT 1)`
)

// sqliteClaim is a claim in the making.
type sqliteClaim struct {
	sqliteStep
	request webhook.ClaimRequest
	until   int64
	after   string   // the tenant that was served last
	named   string   // the endpoints of request.Room
	passed  []string // those of them without any, and those that were served
	taken   []int64  // the deliveries, by seq
	from    map[string]*webhook.EndpointRecord
	bytes   int
	full    bool
}

// sqliteLane is a lane whose turn it is.
type sqliteLane struct {
	endpoint   *webhook.EndpointRecord
	tenant     string
	turn, last int64 // its turn, and the last one of its tenant
	room       int
	taken      int
	seen       bool
	since      int64 // when the first that is not taken is due
}

func newSQLiteClaim(ctx context.Context, s *Store, q Querier, r webhook.ClaimRequest) (*sqliteClaim, error) {
	step, err := newSQLiteStep(ctx, s, q)
	if err != nil {
		return nil, err
	}
	c := &sqliteClaim{sqliteStep: step, request: r, until: step.now + microseconds(r.Lease), from: make(map[string]*webhook.EndpointRecord)}
	var named []string
	for id, room := range r.Room {
		if !isStorable(id) {
			continue
		}
		if named = append(named, id); room <= 0 {
			c.passed = append(c.passed, id)
		}
	}
	c.named = jsonList(named)
	return c, nil
}

// idle reports whether a claim would find nothing, and how long it is until it
// would. It waits for nobody.
func (sqlite) idle(ctx context.Context, s *Store, q Querier, r webhook.ClaimRequest) (next time.Duration, idle bool, err error) {
	c, err := newSQLiteClaim(ctx, s, q, r)
	if err != nil {
		return 0, false, err
	}
	return c.next(ctx)
}

func (sqlite) claim(ctx context.Context, s *Store, q Querier, r webhook.ClaimRequest) ([]webhook.Claimed, time.Duration, error) {
	c, err := newSQLiteClaim(ctx, s, q, r)
	if err != nil {
		return nil, 0, err
	}
	roomless := slices.Clip(c.passed)
	s.mu.Lock()
	c.after = s.after
	s.mu.Unlock()
	if _, err := c.exec(ctx, sqliteWake, c.now); err != nil {
		return nil, 0, err
	}
	if err := c.take(ctx); err != nil {
		return nil, 0, err
	}
	if len(c.taken) == 0 {
		c.passed = roomless
		next, _, err := c.next(ctx)
		return nil, next, err
	}
	batch, err := c.lease(ctx)
	if err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	s.after = c.after
	s.mu.Unlock()
	return batch, 0, nil
}

// next returns how long it is until a lane is to be looked at, and whether none
// is now. It is 0 if none is ever.
func (c *sqliteClaim) next(ctx context.Context) (next time.Duration, idle bool, err error) {
	idle = true
	err = c.query(ctx, sqliteNext, []any{c.request.PerEndpoint, c.named, jsonList(c.passed)}, func(rows Rows) error {
		var wake sql.NullInt64
		err := rows.Scan(&wake)
		if wake.Int64 <= c.now { // or NULL
			idle = false
		} else if wake.Int64 < never {
			next = time.Duration(wake.Int64-c.now) * time.Microsecond
		}
		return err
	})
	return next, idle, err
}

// take goes from lane to lane until it has what was asked for: an equal share of
// each, and again of those that have more. What was published together is taken
// together so, and lies on the same pages.
func (c *sqliteClaim) take(ctx context.Context) error {
	for !c.full {
		lanes, err := c.choose(ctx)
		if err != nil || len(lanes) == 0 {
			return err
		}
		for open := lanes; len(open) > 0 && !c.full; {
			share := (c.request.Max - len(c.taken) + len(open) - 1) / len(open)
			var more []*sqliteLane
			for _, l := range open {
				if c.full {
					break
				}
				if err := c.pick(ctx, l, share); err != nil {
					return err
				}
				if l.taken < l.room && l.since <= c.now {
					more = append(more, l)
				}
			}
			open = more
		}
		for _, l := range lanes {
			if err := c.move(ctx, l); err != nil {
				return err
			}
		}
	}
	return nil
}

// choose returns lanes, the first of each tenant, then the second of each. They
// are passed over from now on.
func (c *sqliteClaim) choose(ctx context.Context) (lanes []*sqliteLane, err error) {
	err = c.query(ctx, sqliteChoose, []any{c.request.PerEndpoint, c.named, jsonList(c.passed), c.after, c.request.Max - len(c.taken)}, func(rows Rows) error {
		l := &sqliteLane{endpoint: new(webhook.EndpointRecord)}
		lanes = append(lanes, l)
		return scanEndpoint(row{rows, func(dest ...any) error {
			return rows.Scan(append(dest, &l.tenant, &l.turn, &l.last)...)
		}}, l.endpoint)
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(lanes, func(a, b *sqliteLane) int { return cmp.Compare(a.turn, b.turn) })
	ranks, count := make(map[*sqliteLane]int, len(lanes)), make(map[string]int)
	for _, l := range lanes {
		ranks[l] = count[l.tenant]
		count[l.tenant]++
		l.room = c.room(l.endpoint)
		c.passed = append(c.passed, l.endpoint.ID)
	}
	slices.SortStableFunc(lanes, func(a, b *sqliteLane) int { return cmp.Compare(ranks[a], ranks[b]) })
	return lanes, nil
}

// room returns how many deliveries may be taken of an endpoint.
func (c *sqliteClaim) room(e *webhook.EndpointRecord) int {
	if e.Disabled || e.NotBefore.UnixMicro() > c.now {
		return 0
	}
	if !e.NotBefore.IsZero() {
		return 1
	}
	if room, named := c.request.Room[e.ID]; named {
		return room
	}
	return c.request.PerEndpoint
}

// row is a row that is scanned by a function.
type row struct {
	Rows
	scan func(dest ...any) error
}

func (r row) Scan(dest ...any) error { return r.scan(dest...) }

// pick takes of the lane what is due, up to a share. It reads no more than that,
// and the one after, which says when to look again.
func (c *sqliteClaim) pick(ctx context.Context, l *sqliteLane, share int) error {
	if l.seen = true; l.room == 0 {
		return nil
	}
	share = min(share, l.room-l.taken, c.request.Max-len(c.taken))
	before := l.taken
	l.since = never
	return c.query(ctx, sqliteDue, []any{l.endpoint.ID, share + 1, before}, func(rows Rows) error {
		var seq, due int64
		var size int
		if err := rows.Scan(&seq, &due, &size); err != nil {
			return err
		}
		take := due <= c.now && l.taken-before < share && !c.full
		if take && c.request.MaxBytes > 0 && len(c.taken) > 0 && c.bytes+size > c.request.MaxBytes {
			take, c.full = false, true
		}
		if !take {
			l.since = min(l.since, due)
			return nil
		}
		c.bytes += size
		c.taken = append(c.taken, seq)
		c.full = len(c.taken) == c.request.Max
		c.from[l.endpoint.ID], c.after = l.endpoint, l.tenant
		l.taken++
		return nil
	})
}

// move writes the lane: when to look at it again, and its next turn.
func (c *sqliteClaim) move(ctx context.Context, l *sqliteLane) error {
	if !l.seen {
		return nil
	}
	e := l.endpoint
	var since any = l.since
	wake := l.since
	switch {
	case l.room == 0:
		since, wake = nil, e.NotBefore.UnixMicro()
		if e.Disabled {
			wake = never
		}
	case l.taken > 0:
		l.turn = l.last + 1
		since, wake = min(l.since, c.until), min(l.since, c.until)
		if !e.NotBefore.IsZero() {
			e.NotBefore = time.UnixMicro(c.until).UTC()
			wake = c.until
		}
	}
	var until any
	if wake > c.now {
		until = wake
	}
	_, err := c.exec(ctx, sqliteMove, e.ID, since, until, c.store.dialect.stamp(e.NotBefore), l.turn)
	return err
}

// lease leases what was taken and reads all that sending it needs.
func (c *sqliteClaim) lease(ctx context.Context) ([]webhook.Claimed, error) {
	for _, seq := range c.taken {
		if _, err := c.exec(ctx, sqliteLease, seq, c.until); err != nil {
			return nil, err
		}
	}
	seqs, err := json.Marshal(c.taken)
	if err != nil {
		return nil, err
	}
	batch := make([]webhook.Claimed, 0, len(c.taken))
	events := make(map[string]*webhook.EventRecord, len(c.taken))
	err = c.query(ctx, sqliteTaken, []any{string(seqs)}, func(rows Rows) error {
		var d webhook.Claimed
		var event webhook.EventRecord
		err := scanEvent(row{rows, func(dest ...any) error {
			return scanDelivery(row{rows, func(more ...any) error {
				return rows.Scan(append(dest, more...)...)
			}}, &d.Delivery, &d.Lease, &d.Expired)
		}}, &event)
		if events[event.ID] == nil {
			events[event.ID] = &event
		}
		d.Event, d.Endpoint = events[event.ID], c.from[d.Delivery.EndpointID]
		batch = append(batch, d)
		return err
	})
	return batch, err
}

// sqliteHeld has the columns of scanDelivery, then more.
var sqliteHeld = sqlite{}.translate("SELECT " + pendingColumns + `, seq, lease, leased, chain,
		EXISTS (SELECT 1 FROM outhook_attempts a WHERE a.delivery_id = d.id)
	FROM outhook_pending d WHERE id IN (SELECT value FROM json_each(?1))`)

const (
	sqliteLogged = `SELECT 1 FROM outhook_attempts WHERE delivery_id = ?1 AND id = ?2`
	sqliteLog    = `INSERT INTO outhook_attempts (delivery_id, id, number, started_at, duration_us, url, status, error,
			request_headers, response_headers, body_sha256, response_body, truncated)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)`
	sqliteFinish = `INSERT INTO outhook_finished (seq, id, event_id, event_type, event_tenant, endpoint_id, tenant, state, origin,
			attempts, last_status, last_error, first_attempt, created_at, updated_at)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)`
	sqliteRemove = `DELETE FROM outhook_pending WHERE seq = ?1`
	sqliteRetry  = `UPDATE outhook_pending SET next_attempt = ?2, updated_at = ?3, attempts = ?4, last_status = ?5, last_error = ?6, first_attempt = ?7,
			lease = lease + 1, leased = 0, expired = 0
		WHERE seq = ?1`
	sqliteHealth = `SELECT e.id, l.failing_since, l.not_before, e.disabled` + endpointTables + ` WHERE e.id IN (SELECT value FROM json_each(?1))`
	// A lane that is left alone no longer looks again when something is due.
	sqliteHeal = `UPDATE outhook_lanes SET failing_since = ?2, not_before = ?3,
		wake = CASE WHEN ?3 > ?4 THEN ?3 ELSE min(wake, since) END WHERE endpoint_id = ?1`
	sqliteDisable = `UPDATE outhook_endpoints SET disabled = 1, disabled_reason = ?2, updated_at = ?3, rev = rev + 1 WHERE id = ?1`
)

// sqliteHolding is a delivery that may be settled.
type sqliteHolding struct {
	webhook.Delivery
	seq, lease int64
	leased     bool
	chain      sql.NullString
	logged     bool // an attempt, at least
}

func (sqlite) settle(ctx context.Context, s *Store, q Querier, ss []*webhook.Settlement) (stale []int, err error) {
	step, err := newSQLiteStep(ctx, s, q)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(ss))
	for n, o := range ss {
		ids[n] = o.DeliveryID
	}
	pending := make(map[string]*sqliteHolding, len(ss))
	err = step.query(ctx, sqliteHeld, []any{jsonList(ids)}, func(rows Rows) error {
		h := new(sqliteHolding)
		err := scanDelivery(rows, &h.Delivery, &h.seq, &h.lease, &h.leased, &h.chain, &h.logged)
		pending[h.ID] = h
		return err
	})
	if err != nil {
		return nil, err
	}
	health := make(map[string][]*webhook.Settlement)
	for n, o := range ss {
		h := pending[o.DeliveryID]
		held := h != nil && h.leased && h.lease == o.Lease
		if o.Attempt != nil && (!held || h.logged) {
			repeated, err := step.exists(ctx, sqliteLogged, o.DeliveryID, storable(o.Attempt.ID))
			if err != nil {
				return nil, err
			}
			if repeated {
				continue
			}
		}
		if !held {
			stale = append(stale, n)
			continue
		}
		if err := step.settle(ctx, o, h); err != nil {
			return nil, err
		}
		if o.Health != webhook.HealthUnchanged || o.Pause > 0 || o.Disable != "" {
			health[h.EndpointID] = append(health[h.EndpointID], o)
		}
	}
	return stale, step.heal(ctx, health)
}

// settle applies an outcome to its delivery.
func (s *sqliteStep) settle(ctx context.Context, o *webhook.Settlement, h *sqliteHolding) error {
	if a := o.Attempt; a != nil {
		if _, err := s.exec(ctx, sqliteLog, o.DeliveryID, storable(a.ID), a.Number, a.StartedAt.UnixMicro(), int64(a.Duration/time.Microsecond),
			storable(a.URL), a.StatusCode, storable(a.Error), headersText(a.RequestHeaders), headersText(a.ResponseHeaders),
			a.BodySHA256[:], notNil(a.ResponseBody), a.Truncated); err != nil {
			return err
		}
	}
	o.ApplyToDelivery(&h.Delivery, time.UnixMicro(s.now).UTC())
	firstAttempt := s.store.dialect.stamp(h.FirstAttempt)
	if !o.State.Finished() {
		due := s.now + microseconds(o.Delay)
		if _, err := s.exec(ctx, sqliteRetry, h.seq, due, s.now, h.Attempts, h.LastStatus, storable(h.LastError), firstAttempt); err != nil {
			return err
		}
		return s.ring(ctx, due, h.EndpointID)
	}
	if _, err := s.exec(ctx, sqliteFinish, h.seq, h.ID, h.EventID, h.EventType, h.EventTenant, h.EndpointID, h.Tenant, string(h.State), string(h.Origin),
		h.Attempts, h.LastStatus, storable(h.LastError), firstAttempt, h.CreatedAt.UnixMicro(), s.now); err != nil {
		return err
	}
	if _, err := s.exec(ctx, sqliteRemove, h.seq); err != nil || !h.chain.Valid {
		return err
	}
	if err := s.promote(ctx, h.EndpointID, h.chain.String); err != nil {
		return err
	}
	return s.ring(ctx, s.now, h.EndpointID)
}

// heal applies to the endpoints what the outcomes say of them.
func (s *sqliteStep) heal(ctx context.Context, outcomes map[string][]*webhook.Settlement) error {
	if len(outcomes) == 0 {
		return nil
	}
	var changed []*webhook.EndpointRecord
	err := s.query(ctx, sqliteHealth, []any{jsonList(slices.Collect(maps.Keys(outcomes)))}, func(rows Rows) error {
		e := new(webhook.EndpointRecord)
		var failingSince, notBefore stamp
		if err := rows.Scan(&e.ID, &failingSince, &notBefore, &e.Disabled); err != nil {
			return err
		}
		e.FailingSince, e.NotBefore = failingSince.Time, notBefore.Time
		applied := false
		for _, o := range outcomes[e.ID] {
			applied = o.ApplyToEndpoint(e, time.UnixMicro(s.now).UTC()) || applied
		}
		if applied {
			changed = append(changed, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range changed {
		if _, err := s.exec(ctx, sqliteHeal, e.ID, s.store.dialect.stamp(e.FailingSince), s.store.dialect.stamp(e.NotBefore), s.now); err != nil {
			return err
		}
		if e.Rev > 0 { // which it is only if it has just been disabled
			if _, err := s.exec(ctx, sqliteDisable, e.ID, storable(e.DisabledReason), s.now); err != nil {
				return err
			}
		}
	}
	return nil
}
