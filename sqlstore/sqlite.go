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

// SQLiteDSN returns the data source name of a database file for
// modernc.org/sqlite and ncruces/go-sqlite3, with what the store needs of a
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
	taken atomic.Bool   // by the transaction, or by the caller who gave up
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

// commitChanges runs what is to be done in one transaction, or if that fails, in
// one each.
func (s *Store) commitChanges(changes []*change) {
	changes = slices.DeleteFunc(slices.Clone(changes), func(c *change) bool { return !c.taken.CompareAndSwap(false, true) })
	all := func(q Querier) error {
		for _, c := range changes {
			if err := c.f(q); err != nil {
				return err
			}
		}
		return nil
	}
	err := s.commit(all)
	for _, c := range changes {
		if c.err = err; err != nil && len(changes) > 1 && !errors.Is(err, webhook.ErrUncertain) {
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
	sqliteWake, sqliteChoose, sqliteDue, sqliteLease, sqliteMove, sqliteNext,
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
	// The tenants are found one by one, each by a step in the index, from the
	// one after ?4 on and round to it.
	sqliteChoose = `WITH RECURSIVE later (tenant) AS (
			SELECT min(tenant) FROM outhook_lanes WHERE wake IS NULL AND tenant > ?4
			UNION ALL
			SELECT (SELECT min(l.tenant) FROM outhook_lanes l WHERE l.wake IS NULL AND l.tenant > t.tenant) FROM later t WHERE t.tenant IS NOT NULL
		), earlier (tenant) AS (
			SELECT min(tenant) FROM outhook_lanes WHERE wake IS NULL AND tenant <= ?4
			UNION ALL
			SELECT (SELECT min(l.tenant) FROM outhook_lanes l WHERE l.wake IS NULL AND l.tenant > t.tenant AND l.tenant <= ?4)
			FROM earlier t WHERE t.tenant IS NOT NULL
		)
		SELECT ` + endpointColumns + `, l.tenant, l.turn, (SELECT max(turn) FROM outhook_lanes o WHERE o.wake IS NULL AND o.tenant = l.tenant)
		FROM (SELECT tenant FROM later UNION ALL SELECT tenant FROM earlier) t
			CROSS JOIN outhook_lanes l CROSS JOIN outhook_endpoints e ON e.id = l.endpoint_id
		WHERE l.endpoint_id IN (
			SELECT endpoint_id FROM outhook_lanes
			WHERE wake IS NULL AND tenant = t.tenant AND ` + sqliteEligible + ` ORDER BY turn LIMIT ?5 + 0)
		LIMIT ?6 + 0`
	// The columns of scanEvent, then those of scanDelivery, then more.
	sqliteDue = `SELECT v.id, v.key, v.type, v.tenant, v.ordering_key, v.time, v.created_at, v.test, v.data, v.sum,
			d.id, d.event_id, d.event_type, d.event_tenant, d.endpoint_id, d.tenant, 'pending', d.origin, d.attempts, d.last_status, d.last_error,
			d.first_attempt, d.next_attempt, d.created_at, d.updated_at, d.seq, d.lease, d.expired, d.leased
		FROM outhook_pending d CROSS JOIN outhook_events v ON v.id = d.event_id
		WHERE d.endpoint_id = ?1 AND d.head = 1 ORDER BY d.next_attempt, d.seq LIMIT ?2 + 0`
	sqliteLease = `UPDATE outhook_pending SET next_attempt = ?2, lease = ?3, expired = ?4, leased = 1 WHERE seq = ?1`
	sqliteMove  = `UPDATE outhook_lanes SET since = coalesce(?2, since), wake = ?3, not_before = ?4, turn = ?5 WHERE endpoint_id = ?1`
	sqliteNext  = `SELECT wake FROM (SELECT wake FROM outhook_lanes WHERE wake IS NULL AND ` + sqliteEligible + ` LIMIT 1)
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
	batch   []webhook.Claimed
	events  map[string]*webhook.EventRecord
	bytes   int
	full    bool
}

// sqliteLane is a lane whose turn it is.
type sqliteLane struct {
	endpoint   *webhook.EndpointRecord
	tenant     string
	turn, last int64 // its turn, and the last one of its tenant
}

// sqliteDelivery is a delivery that can be leased.
type sqliteDelivery struct {
	webhook.Claimed
	seq    int64
	leased bool
}

func newSQLiteClaim(ctx context.Context, s *Store, q Querier, r webhook.ClaimRequest) (*sqliteClaim, error) {
	step, err := newSQLiteStep(ctx, s, q)
	if err != nil {
		return nil, err
	}
	c := &sqliteClaim{sqliteStep: step, request: r, until: step.now + microseconds(r.Lease), events: make(map[string]*webhook.EventRecord)}
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
	if len(c.batch) == 0 {
		c.passed = roomless
		next, _, err := c.next(ctx)
		return nil, next, err
	}
	s.mu.Lock()
	s.after = c.after
	s.mu.Unlock()
	return c.batch, 0, nil
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

// take goes from lane to lane until it has what was asked for: first one of each
// tenant, then several. As a lane may have less than there is room for, it looks
// for more and more lanes at a time.
func (c *sqliteClaim) take(ctx context.Context) error {
	per := max(c.request.PerEndpoint, 1)
	if len(c.request.Room) > 0 {
		per = max(per, 8) // those that are known have more room, mostly
	}
	width, wanted := 1, (c.request.Max+per-1)/per
	for !c.full {
		lanes, err := c.choose(ctx, width, wanted)
		if err != nil || len(lanes) == 0 {
			return err
		}
		tenants := make(map[string]bool, len(lanes))
		for _, l := range lanes {
			if c.full {
				break
			}
			tenants[l.tenant] = true
			c.passed = append(c.passed, l.endpoint.ID)
			if err := c.serve(ctx, l); err != nil {
				return err
			}
		}
		wanted = min(4*wanted, c.request.Max)
		width = (wanted + len(tenants) - 1) / len(tenants)
	}
	return nil
}

// choose returns up to width lanes of each tenant in turn, about wanted in all.
func (c *sqliteClaim) choose(ctx context.Context, width, wanted int) (lanes []*sqliteLane, err error) {
	limit := wanted
	if width > 1 {
		limit = -1 // the tenants are few
	}
	err = c.query(ctx, sqliteChoose, []any{c.request.PerEndpoint, c.named, jsonList(c.passed), c.after, width, limit}, func(rows Rows) error {
		l := &sqliteLane{endpoint: new(webhook.EndpointRecord)}
		lanes = append(lanes, l)
		return scanEndpoint(row{rows, func(dest ...any) error {
			return rows.Scan(append(dest, &l.tenant, &l.turn, &l.last)...)
		}}, l.endpoint)
	})
	if err != nil || width == 1 {
		return lanes, err
	}
	// The first of each tenant, then the second of each.
	slices.SortStableFunc(lanes, func(a, b *sqliteLane) int { return cmp.Compare(a.turn, b.turn) })
	ranks, count := make(map[*sqliteLane]int, len(lanes)), make(map[string]int)
	for _, l := range lanes {
		ranks[l] = count[l.tenant]
		count[l.tenant]++
	}
	slices.SortStableFunc(lanes, func(a, b *sqliteLane) int { return cmp.Compare(ranks[a], ranks[b]) })
	return lanes, nil
}

// row is a row that is scanned by a function.
type row struct {
	Rows
	scan func(dest ...any) error
}

func (r row) Scan(dest ...any) error { return r.scan(dest...) }

// serve takes what is due in the lane and says when to look at it again.
func (c *sqliteClaim) serve(ctx context.Context, l *sqliteLane) error {
	e := l.endpoint
	room, named := c.request.Room[e.ID]
	if !named {
		room = c.request.PerEndpoint
	}
	probe := !e.NotBefore.IsZero()
	switch {
	case e.Disabled:
		return c.move(ctx, l, nil, never)
	case probe && e.NotBefore.UnixMicro() > c.now:
		return c.move(ctx, l, nil, e.NotBefore.UnixMicro())
	case probe:
		room = 1
	}
	due, since, err := c.due(ctx, e.ID, min(room, c.request.Max-len(c.batch)))
	if err != nil {
		return err
	}
	for n := range due {
		d := &due[n]
		if d.leased {
			d.Expired++
		}
		d.Lease++
		d.Delivery.NextAttempt = time.UnixMicro(c.until).UTC()
		d.Endpoint = e
		if _, err := c.exec(ctx, sqliteLease, d.seq, c.until, d.Lease, d.Expired); err != nil {
			return err
		}
		c.batch = append(c.batch, d.Claimed)
	}
	c.full = c.full || len(c.batch) == c.request.Max
	if len(due) == 0 {
		return c.move(ctx, l, since, since)
	}
	l.turn, c.after = l.last+1, l.tenant
	since = min(since, c.until)
	if probe {
		e.NotBefore = time.UnixMicro(c.until).UTC()
		return c.move(ctx, l, since, c.until)
	}
	return c.move(ctx, l, since, since)
}

// due returns what is due at an endpoint, up to so many deliveries, and when the
// next one is. It reads no more than these.
func (c *sqliteClaim) due(ctx context.Context, endpointID string, room int) (due []sqliteDelivery, since int64, err error) {
	rows, err := c.q.Query(ctx, c.store.named(sqliteDue), endpointID, room+1)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var d sqliteDelivery
		var event webhook.EventRecord
		if err := scanEvent(row{rows, func(dest ...any) error {
			return scanDelivery(row{rows, func(more ...any) error {
				return rows.Scan(append(dest, more...)...)
			}}, &d.Delivery, &d.seq, &d.Lease, &d.Expired, &d.leased)
		}}, &event); err != nil {
			return nil, 0, err
		}
		at := d.Delivery.NextAttempt.UnixMicro()
		if len(due) == room || at > c.now {
			return due, at, nil
		}
		if c.full = c.request.MaxBytes > 0 && len(c.batch)+len(due) > 0 && c.bytes+len(event.Data) > c.request.MaxBytes; c.full {
			return due, at, nil
		}
		c.bytes += len(event.Data)
		if c.events[event.ID] == nil {
			c.events[event.ID] = &event
		}
		d.Event = c.events[event.ID]
		due = append(due, d)
	}
	return due, never, rows.Err()
}

// move writes the lane, which sleeps until wake. A since that is nil stays.
func (c *sqliteClaim) move(ctx context.Context, l *sqliteLane, since any, wake int64) error {
	var until any
	if wake > c.now {
		until = wake
	}
	_, err := c.exec(ctx, sqliteMove, l.endpoint.ID, since, until, c.store.dialect.stamp(l.endpoint.NotBefore), l.turn)
	return err
}

const (
	sqliteHeld = `SELECT j.key, d.seq, d.lease, d.leased, d.endpoint_id, d.chain, EXISTS (SELECT 1 FROM outhook_attempts a WHERE a.delivery_id = j.value)
		FROM json_each(?1) j LEFT JOIN outhook_pending d ON d.id = j.value`
	sqliteLogged = `SELECT 1 FROM outhook_attempts WHERE delivery_id = ?1 AND id = ?2`
	sqliteLog    = `INSERT INTO outhook_attempts (delivery_id, id, number, started_at, duration_us, url, status, error,
			request_headers, response_headers, body_sha256, response_body, truncated)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)`
	sqliteFinish = `INSERT OR FAIL INTO outhook_finished (seq, id, event_id, event_type, event_tenant, endpoint_id, tenant, state, origin,
			attempts, last_status, last_error, first_attempt, created_at, updated_at)
		SELECT seq, id, event_id, event_type, event_tenant, endpoint_id, tenant, ?7, origin,
			attempts + ?3, iif(?3, ?4, last_status), iif(?3, ?5, last_error), iif(?3, coalesce(first_attempt, ?6), first_attempt), created_at, ?2
		FROM outhook_pending WHERE seq = ?1`
	sqliteRemove = `DELETE FROM outhook_pending WHERE seq = ?1`
	sqliteRetry  = `UPDATE outhook_pending SET next_attempt = ?7, updated_at = ?2, lease = lease + 1, leased = 0, expired = 0,
			attempts = attempts + ?3, last_status = iif(?3, ?4, last_status), last_error = iif(?3, ?5, last_error),
			first_attempt = iif(?3, coalesce(first_attempt, ?6), first_attempt)
		WHERE seq = ?1`
	sqliteHealth = `SELECT e.id, l.failing_since, l.not_before, e.disabled` + endpointTables + ` WHERE e.id IN (SELECT value FROM json_each(?1))`
	// A lane that is left alone no longer looks again when something is due.
	sqliteHeal = `UPDATE outhook_lanes SET failing_since = ?2, not_before = ?3,
		wake = CASE WHEN ?3 > ?4 THEN ?3 ELSE min(wake, since) END WHERE endpoint_id = ?1`
	sqliteDisable = `UPDATE outhook_endpoints SET disabled = 1, disabled_reason = ?2, updated_at = ?3, rev = rev + 1 WHERE id = ?1`
)

func (d sqlite) settle(ctx context.Context, s *Store, q Querier, ss []*webhook.Settlement) (stale []int, err error) {
	step, err := newSQLiteStep(ctx, s, q)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(ss))
	for n, o := range ss {
		ids[n] = o.DeliveryID
	}
	all := make([]sqliteHolding, len(ss))
	err = step.query(ctx, sqliteHeld, []any{jsonList(ids)}, func(rows Rows) error {
		var n int
		var h sqliteHolding
		err := rows.Scan(&n, &h.seq, &h.lease, &h.leased, &h.endpointID, &h.chain, &h.logged)
		all[n] = h
		return err
	})
	if err != nil {
		return nil, err
	}
	health := make(map[string][]*webhook.Settlement)
	for n, o := range ss {
		h := &all[n]
		if h.logged && o.Attempt != nil {
			repeated, err := step.exists(ctx, sqliteLogged, o.DeliveryID, storable(o.Attempt.ID))
			if err != nil {
				return nil, err
			}
			if repeated {
				continue
			}
		}
		if !h.leased.Bool || h.lease.Int64 != o.Lease {
			stale = append(stale, n)
			continue
		}
		if err := step.settle(ctx, o, h); err != nil {
			return nil, err
		}
		if o.Health != webhook.HealthUnchanged || o.Pause > 0 || o.Disable != "" {
			id := h.endpointID.String
			health[id] = append(health[id], o)
		}
	}
	return stale, step.heal(ctx, health)
}

// sqliteHolding is what is known of a delivery that is settled. All but logged is
// NULL if it is not pending.
type sqliteHolding struct {
	seq, lease        sql.NullInt64
	leased            sql.NullBool
	endpointID, chain sql.NullString
	logged            bool // an attempt, at least
}

// settle applies an outcome to its delivery.
func (s *sqliteStep) settle(ctx context.Context, o *webhook.Settlement, h *sqliteHolding) error {
	a := o.Attempt
	outcome := []any{h.seq, s.now, o.Counted, nil, nil, nil, string(o.State)}
	if o.Counted {
		outcome[3], outcome[4], outcome[5] = a.StatusCode, storable(a.Error), a.StartedAt.UnixMicro()
	}
	if a != nil {
		if _, err := s.exec(ctx, sqliteLog, o.DeliveryID, storable(a.ID), a.Number, a.StartedAt.UnixMicro(), int64(a.Duration/time.Microsecond),
			storable(a.URL), a.StatusCode, storable(a.Error), headersText(a.RequestHeaders), headersText(a.ResponseHeaders),
			a.BodySHA256[:], notNil(a.ResponseBody), a.Truncated); err != nil {
			return err
		}
	}
	if !o.State.Finished() {
		due := s.now + microseconds(o.Delay)
		outcome[6] = due
		if _, err := s.exec(ctx, sqliteRetry, outcome...); err != nil {
			return err
		}
		return s.ring(ctx, due, h.endpointID.String)
	}
	if _, err := s.exec(ctx, sqliteFinish, outcome...); err != nil {
		return err
	}
	if _, err := s.exec(ctx, sqliteRemove, h.seq); err != nil || !h.chain.Valid {
		return err
	}
	if err := s.promote(ctx, h.endpointID.String, h.chain.String); err != nil {
		return err
	}
	return s.ring(ctx, s.now, h.endpointID.String)
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
