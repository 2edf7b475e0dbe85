package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/jsjson"
)

// SQLiteDSN returns the data source name of a database file for
// modernc.org/sqlite and ncruces/go-sqlite3, with what the store needs of a
// connection: WAL, so that readers and the writer do not wait for each other;
// synchronous=FULL, so that what is committed survives a power cut; a busy
// timeout of 10 s, so that processes wait for each other; and transactions that
// take the write lock when they begin, so that they need not fail later.
func SQLiteDSN(path string) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)"},
		"_txlock": {"immediate"},
	}.Encode()}
	return u.String()
}

// sqlite has one writer at a time, and a statement costs little more than what
// it does: a step of the queue is a few of them in one transaction, whatever the
// number of deliveries, which come and go as one JSON parameter. Times are
// microseconds since 1970.
type sqlite struct{}

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

func (sqlite) list(values []string) any {
	return list(values).String()
}

// exclusively runs f in a transaction that has the write lock from its
// beginning. Within the process, writers queue for it; a driver would make them
// poll. Once it has begun it is not interrupted: it is short.
func (s *Store) exclusively(ctx context.Context, f func(Querier) error) error {
	select {
	case s.writer <- struct{}{}:
		defer func() { <-s.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	steady := context.WithoutCancel(ctx)
	if _, err = conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err == nil {
		if err = f(steadyQuerier{conn}); err == nil {
			_, err = conn.ExecContext(steady, "COMMIT")
		}
	}
	if err != nil {
		// SQLite may have rolled back by itself, and an interrupted BEGIN have
		// succeeded.
		_, _ = conn.ExecContext(steady, "ROLLBACK")
	}
	return err
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

// steadyQuerier is a Querier whose statements do not end with their contexts.
type steadyQuerier struct{ conn *sql.Conn }

func (q steadyQuerier) Query(ctx context.Context, query string, args ...any) (Rows, error) {
	return sqlQuerier{q.conn}.Query(context.WithoutCancel(ctx), query, args...)
}

// rows runs a query that is SQLite's own.
func (sqlite) rows(ctx context.Context, s *Store, q Querier, query string, args []any, each func(Rows) error) error {
	return run(ctx, q, s.named(query), args, each)
}

// exec runs a statement that is SQLite's own and returns nothing.
func (sqlite) exec(ctx context.Context, s *Store, q Querier, statement string, args ...any) error {
	return run(ctx, q, s.named(statement), args, func(Rows) error { return nil })
}

// table is a JSON array of arrays, a parameter that a statement reads as rows.
type table []byte

func (t table) String() string {
	if len(t) == 0 {
		return "[]"
	}
	return "[" + string(t) + "]"
}

// row begins a row, which end ends.
func (t *table) row() *table { t.comma(); *t = append(*t, '['); return t }
func (t *table) end()        { *t = append(*t, ']') }

func (t *table) comma() {
	if n := len(*t); n > 0 && (*t)[n-1] != '[' {
		*t = append(*t, ',')
	}
}

func (t *table) text(s string) *table {
	t.comma()
	*t = jsjson.AppendString(*t, s)
	return t
}

func (t *table) integer(n int64) *table {
	t.comma()
	*t = strconv.AppendInt(*t, n, 10)
	return t
}

func (t *table) boolean(v bool) *table {
	if v {
		return t.integer(1)
	}
	return t.integer(0)
}

func (t *table) null() *table { return t.json("null") }

func (t *table) json(s string) *table {
	t.comma()
	*t = append(*t, s...)
	return t
}

func list(values []string) table {
	var t table
	for _, v := range values {
		t.text(v)
	}
	return t
}

const (
	sqliteInsertEvents = `INSERT INTO outhook_events (id, key, type, tenant, ordering_key, time, created_at, test, sum, data)
		SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, ?2, value->>6,
			substr(?3, 1 + value->>7, 32), substr(?3, 33 + value->>7, value->>8)
		FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING RETURNING id`
	sqliteMatch = `SELECT DISTINCT a.key, e.id, e.tenant, e.ordered
		FROM json_each(?1) a CROSS JOIN json_each(a.value, '$[0]') t CROSS JOIN json_each(a.value, '$[1]') p
			CROSS JOIN outhook_subscriptions s ON s.tenant = t.value AND s.pattern = p.value
			CROSS JOIN outhook_endpoints e ON e.id = s.endpoint_id
		WHERE NOT e.disabled`
	sqliteInsertDeliveries = `INSERT INTO outhook_pending (id, event_id, event_type, event_tenant, endpoint_id, tenant, origin,
			next_attempt, created_at, updated_at, lease, leased, outside, chain, head, size)
		SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6,
			value->>7, ?2, ?2, value->>8, value->>8, value->>8, value->>9, value->>9 IS NULL, value->>10
		FROM json_each(?1)`
	sqliteAlarm = `INSERT INTO outhook_alarms (due, endpoint_id, chain) SELECT value->>0, value->>1, value->>2 FROM json_each(?1)`
)

func (d sqlite) enqueue(ctx context.Context, s *Store, q Querier, calls []*call, _ time.Duration) error {
	now, err := s.now(ctx, q)
	if err != nil {
		return err
	}
	var events table
	var content []byte
	for _, c := range calls {
		for n := range c.ps {
			e := &c.ps[n].Event
			if events.row().text(e.ID); e.Key == "" {
				events.null()
			} else {
				events.text(e.Key)
			}
			events.text(e.Type).text(e.Tenant).text(e.OrderingKey).integer(e.Time.UnixMicro()).boolean(e.Test)
			events.integer(int64(len(content))).integer(int64(len(e.Data))).end()
			content = append(append(content, e.Sum[:]...), e.Data...)
		}
	}
	fresh := make(map[string]bool)
	err = d.rows(ctx, s, q, sqliteInsertEvents, []any{events.String(), now.UnixMicro(), content}, func(rows Rows) error {
		var id string
		err := rows.Scan(&id)
		fresh[id] = true
		return err
	})
	if err != nil {
		return err
	}
	var undone []string
	for _, c := range calls {
		if err := d.recognise(ctx, s, q, c, fresh); err != nil {
			return err
		}
		if c.err != nil {
			for n := range c.ps {
				undone = append(undone, c.ps[n].Event.ID)
			}
		}
	}
	if undone = slices.DeleteFunc(undone, func(id string) bool { return !fresh[id] }); len(undone) > 0 {
		if err := d.exec(ctx, s, q, "DELETE FROM outhook_events WHERE id IN (SELECT value FROM json_each(?1))", d.list(undone)); err != nil {
			return err
		}
	}
	return d.fanOut(ctx, s, q, calls, fresh, now)
}

// recognise sets what became of the publications of a call, the deliveries
// apart.
func (d sqlite) recognise(ctx context.Context, s *Store, q Querier, c *call, fresh map[string]bool) error {
	for n := range c.ps {
		p := &c.ps[n]
		e := &p.Event
		if fresh[e.ID] {
			c.set(n, e.ID, statusNew, 0)
			continue
		}
		var byID, byKey string
		var sum []byte
		if _, err := s.one(ctx, q, "SELECT id, sum FROM outhook_events WHERE id = ?1", []any{e.ID}, &byID, &sum); err != nil {
			return err
		}
		if e.Key != "" {
			if _, err := s.one(ctx, q, "SELECT id, sum FROM outhook_events WHERE tenant = ?1 AND key = ?2", []any{e.Tenant, e.Key}, &byKey, &sum); err != nil {
				return err
			}
		}
		switch addressed := p.Endpoints != nil; {
		case byID == "" && byKey == "":
			return fmt.Errorf("enqueue event %q: it was neither stored nor found", e.ID)
		case addressed && byID != "":
			c.set(n, e.ID, statusKnown, 0)
		case byID != "" && byKey != "" && byID != byKey:
			c.set(n, e.ID, statusOtherKey, 0)
		case string(sum) != string(e.Sum[:]) || addressed:
			c.set(n, e.ID, statusOther, 0)
		default:
			c.set(n, cmp.Or(byID, byKey), statusDuplicate, 0)
		}
	}
	return nil
}

// sqliteDelivery is a delivery to be.
type sqliteDelivery struct {
	event              *webhook.EventRecord // ID, Type, Tenant and OrderingKey
	size               int64
	endpointID, tenant string
	ordered            bool
	origin             webhook.Origin
	lease              int64 // born leased for so long, where greater than 0
}

// fanOut creates the deliveries of what is stored now.
func (d sqlite) fanOut(ctx context.Context, s *Store, q Querier, calls []*call, fresh map[string]bool, now time.Time) error {
	// Most publications of a group are for the same audience.
	var lines table
	audiences := make(map[string]int)
	audience := func(p *webhook.Publication) string {
		tenants := list(p.Tenants)
		return "[" + tenants.text(allTenants).String() + "," + list(p.Patterns).String() + "]"
	}
	each := func(f func(c *call, n int, audience string)) {
		for _, c := range calls {
			for n := range c.ps {
				if p := &c.ps[n]; c.err == nil && p.Endpoints == nil && fresh[p.Event.ID] {
					f(c, n, audience(p))
				}
			}
		}
	}
	each(func(_ *call, _ int, audience string) {
		if _, known := audiences[audience]; !known {
			audiences[audience] = len(audiences)
			lines.json(audience)
		}
	})
	if len(audiences) == 0 {
		return nil
	}
	reached := make([][]sqliteDelivery, len(audiences))
	err := d.rows(ctx, s, q, sqliteMatch, []any{lines.String()}, func(rows Rows) error {
		var n int
		var e sqliteDelivery
		err := rows.Scan(&n, &e.endpointID, &e.tenant, &e.ordered)
		reached[n] = append(reached[n], e)
		return err
	})
	if err != nil {
		return err
	}
	var deliveries []sqliteDelivery
	each(func(c *call, n int, audience string) {
		p := &c.ps[n]
		for _, e := range reached[audiences[audience]] {
			e.event, e.size, e.origin = &p.Event, int64(len(p.Event.Data)), p.Origin
			deliveries = append(deliveries, e)
			c.results[n].Deliveries++
		}
	})
	_, err = d.insert(ctx, s, q, deliveries, now)
	return err
}

func (d sqlite) address(ctx context.Context, s *Store, q Querier, ps []*webhook.Publication) (map[string][]string, error) {
	now, err := s.now(ctx, q)
	if err != nil {
		return nil, err
	}
	var deliveries []sqliteDelivery
	for _, p := range ps {
		event := &webhook.EventRecord{ID: p.Event.ID}
		err := d.rows(ctx, s, q, `SELECT v.type, v.tenant, v.ordering_key, length(v.data), e.id, e.tenant, e.ordered
			FROM outhook_events v CROSS JOIN json_each(?2) w CROSS JOIN outhook_endpoints e ON e.id = w.value
			WHERE v.id = ?1 AND NOT (?3
				AND (EXISTS (SELECT 1 FROM outhook_pending d WHERE d.event_id = v.id AND d.endpoint_id = e.id)
					OR EXISTS (SELECT 1 FROM outhook_finished d WHERE d.event_id = v.id AND d.endpoint_id = e.id AND d.state = 'delivered')))
			ORDER BY w.key`,
			[]any{p.Event.ID, d.list(p.Endpoints), p.Missing}, func(rows Rows) error {
				n := sqliteDelivery{event: event, origin: p.Origin, lease: microseconds(p.Lease)}
				err := rows.Scan(&event.Type, &event.Tenant, &event.OrderingKey, &n.size, &n.endpointID, &n.tenant, &n.ordered)
				deliveries = append(deliveries, n)
				return err
			})
		if err != nil {
			return nil, err
		}
	}
	ids, err := d.insert(ctx, s, q, deliveries, now)
	if err != nil {
		return nil, err
	}
	created := make(map[string][]string, len(ps))
	for n := range deliveries {
		event := deliveries[n].event.ID
		created[event] = append(created[event], ids[n])
	}
	return created, nil
}

// insert creates deliveries and returns their IDs.
func (d sqlite) insert(ctx context.Context, s *Store, q Querier, deliveries []sqliteDelivery, now time.Time) ([]string, error) {
	if len(deliveries) == 0 {
		return nil, nil
	}
	type alarm struct {
		due             int64
		endpoint, chain string
		chained         bool
	}
	var rows, alarms table
	ids, rung := make([]string, len(deliveries)), make(map[alarm]bool)
	for n := range deliveries {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		ids[n] = id.String()
		v := &deliveries[n]
		a := alarm{due: now.UnixMicro() + max(v.lease, 0), endpoint: v.endpointID, chained: v.ordered && v.lease <= 0}
		rows.row().text(ids[n]).text(v.event.ID).text(v.event.Type).text(v.event.Tenant).text(v.endpointID).text(v.tenant).text(string(v.origin))
		rows.integer(a.due).boolean(v.lease > 0)
		if a.chained {
			a.chain = v.event.OrderingKey
			rows.text(a.chain)
		} else {
			rows.null()
		}
		rows.integer(v.size).end()
		if rung[a] {
			continue
		}
		rung[a] = true
		if alarms.row().integer(a.due).text(a.endpoint); a.chained {
			alarms.text(a.chain)
		}
		alarms.end()
	}
	if err := d.exec(ctx, s, q, sqliteInsertDeliveries, rows.String(), now.UnixMicro()); err != nil {
		return nil, err
	}
	return ids, d.exec(ctx, s, q, sqliteAlarm, alarms.String())
}

// Those lanes that a request has room for; ?1 to ?3 are its PerEndpoint, the
// endpoints of its Room, and those that are to be passed over.
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
		SELECT ` + endpointColumns + `, l.tenant, l.turn, (SELECT max(turn) FROM outhook_lanes o WHERE o.wake IS NULL AND o.tenant = l.tenant), l.since
		FROM (SELECT tenant FROM later UNION ALL SELECT tenant FROM earlier) t
			CROSS JOIN outhook_lanes l CROSS JOIN outhook_endpoints e ON e.id = l.endpoint_id
		WHERE l.endpoint_id IN (
			SELECT endpoint_id FROM outhook_lanes
			WHERE wake IS NULL AND tenant = t.tenant AND ` + sqliteEligible + ` ORDER BY turn LIMIT ?5)
		LIMIT ?6`
	sqliteCandidates = `SELECT l.key, d.seq, d.next_attempt, d.size FROM json_each(?1) l CROSS JOIN outhook_pending d
		WHERE d.seq IN (SELECT seq FROM outhook_pending WHERE endpoint_id = l.value AND head = 1 ORDER BY next_attempt, seq LIMIT ?2)`
	sqliteMove = `UPDATE outhook_lanes SET since = n.value->>1, wake = n.value->>2, not_before = n.value->>3, turn = n.value->>4
		FROM json_each(?1) n WHERE outhook_lanes.endpoint_id = n.value->>0`
	sqliteNext = `SELECT wake FROM (SELECT wake FROM outhook_lanes WHERE wake IS NULL AND ` + sqliteEligible + ` LIMIT 1)
		UNION ALL
		SELECT wake FROM (SELECT wake FROM outhook_lanes WHERE wake IS NOT NULL AND ` + sqliteEligible + ` ORDER BY wake LIMIT 1)`
)

var sqliteLease = `UPDATE outhook_pending SET next_attempt = ?2, lease = lease + 1, expired = expired + leased, leased = 1
	WHERE seq IN (SELECT value FROM json_each(?1)) RETURNING ` + strings.ReplaceAll(pendingColumns, "::text", "") + `, seq, lease, expired`

// sqliteClaim is a claim in the making.
type sqliteClaim struct {
	sqlite
	*Store
	q       Querier
	request webhook.ClaimRequest
	at      int64
	until   int64
	after   string   // the tenant that was served last
	passed  []string // lanes that have no room, or have been looked at
	named   string
	moved   table
	taken   []int64 // seq
	bytes   int
	full    bool
	found   map[string]*webhook.EndpointRecord // of what is taken
}

// sqliteLane is a lane that it is the turn of.
type sqliteLane struct {
	tenant     string
	turn, last int64 // its turn, and the last one of the tenant
	since      int64
	rank       int
	endpoint   *webhook.EndpointRecord
	room       int
	due        []sqliteCandidate // the first deliveries of the lane
}

type sqliteCandidate struct {
	lane, size       int
	seq, nextAttempt int64
}

func (d sqlite) claim(ctx context.Context, s *Store, q Querier, r webhook.ClaimRequest) ([]webhook.Claimed, time.Duration, error) {
	now, err := s.now(ctx, q)
	if err != nil {
		return nil, 0, err
	}
	c := &sqliteClaim{Store: s, q: q, request: r, at: now.UnixMicro(), until: now.UnixMicro() + microseconds(r.Lease), found: make(map[string]*webhook.EndpointRecord)}
	var named table
	for id, room := range r.Room {
		if !isStorable(id) {
			continue
		}
		if named.text(id); room <= 0 {
			c.passed = append(c.passed, id)
		}
	}
	c.named = named.String()
	s.mu.Lock()
	c.after = s.after
	s.mu.Unlock()
	if err := d.exec(ctx, s, q, sqliteWake, c.at); err != nil {
		return nil, 0, err
	}
	roomless := d.list(c.passed)
	if err := c.take(ctx); err != nil {
		return nil, 0, err
	}
	if len(c.moved) > 0 {
		if err := d.exec(ctx, s, q, sqliteMove, c.moved.String()); err != nil {
			return nil, 0, err
		}
	}
	if len(c.taken) == 0 {
		next := time.Duration(0)
		err := d.rows(ctx, s, q, sqliteNext, []any{r.PerEndpoint, c.named, roomless}, func(rows Rows) error {
			var wake int64
			err := rows.Scan(&wake)
			if wake != never {
				next = max(time.Duration(wake-c.at)*time.Microsecond, time.Microsecond)
			}
			return err
		})
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

// take goes from lane to lane until it has what was asked for: first one of each
// tenant, then several. As a lane may have less than there is room for, it looks
// at more and more lanes at a time.
func (c *sqliteClaim) take(ctx context.Context) error {
	width, per := 1, max(c.request.PerEndpoint, 1)
	for wanted := (c.request.Max + per - 1) / per; !c.full && wanted > 0; wanted = min(4*wanted, c.request.Max) {
		lanes, err := c.choose(ctx, width, wanted)
		if err != nil || len(lanes) == 0 {
			return err
		}
		if err := c.look(ctx, lanes); err != nil {
			return err
		}
		tenants := make(map[string]bool, len(lanes))
		for _, l := range lanes {
			tenants[l.tenant] = true
			if !c.full {
				c.serve(l)
			}
		}
		width = 1
		if len(tenants) < wanted {
			width = (4*wanted + len(tenants) - 1) / len(tenants)
		}
	}
	return nil
}

// choose returns up to width lanes of each tenant in turn, about wanted in all.
func (c *sqliteClaim) choose(ctx context.Context, width, wanted int) (lanes []*sqliteLane, err error) {
	limit := wanted
	if width > 1 {
		limit = -1 // there are few tenants
	}
	ranks := make(map[string]int)
	err = c.rows(ctx, c.Store, c.q, sqliteChoose, []any{c.request.PerEndpoint, c.named, c.list(c.passed), c.after, width, limit}, func(rows Rows) error {
		l := &sqliteLane{endpoint: new(webhook.EndpointRecord)}
		err := scanEndpoint(widerRows{rows, []any{&l.tenant, &l.turn, &l.last, &l.since}}, l.endpoint)
		lanes = append(lanes, l)
		return err
	})
	if err != nil {
		return nil, err
	}
	if width > 1 {
		// A stable sort, by turn within a tenant, then by rank over all.
		slices.SortStableFunc(lanes, func(a, b *sqliteLane) int { return cmp.Compare(a.turn, b.turn) })
		for _, l := range lanes {
			l.rank = ranks[l.tenant]
			ranks[l.tenant]++
		}
		slices.SortStableFunc(lanes, func(a, b *sqliteLane) int { return cmp.Compare(a.rank, b.rank) })
	}
	return lanes, nil
}

// widerRows are Rows that end with columns of which who scans them knows nothing.
type widerRows struct {
	Rows
	more []any
}

func (r widerRows) Scan(dest ...any) error { return r.Rows.Scan(append(dest, r.more...)...) }

// look reads the first deliveries of the lanes: what there is room for, and one.
func (c *sqliteClaim) look(ctx context.Context, lanes []*sqliteLane) error {
	var ids []string
	most := 0
	for _, l := range lanes {
		c.passed = append(c.passed, l.endpoint.ID)
		ids = append(ids, l.endpoint.ID)
		switch room, named := c.request.Room[l.endpoint.ID]; {
		case l.endpoint.Disabled || !l.endpoint.NotBefore.IsZero() && l.endpoint.NotBefore.UnixMicro() > c.at:
		case !l.endpoint.NotBefore.IsZero():
			l.room = 1
		case named:
			l.room = room
		default:
			l.room = c.request.PerEndpoint
		}
		most = max(most, min(l.room, c.request.Max-len(c.taken)))
	}
	if most == 0 {
		return nil
	}
	err := c.rows(ctx, c.Store, c.q, sqliteCandidates, []any{c.list(ids), most + 1}, func(rows Rows) error {
		var d sqliteCandidate
		err := rows.Scan(&d.lane, &d.seq, &d.nextAttempt, &d.size)
		lanes[d.lane].due = append(lanes[d.lane].due, d)
		return err
	})
	for _, l := range lanes {
		slices.SortFunc(l.due, func(a, b sqliteCandidate) int {
			return cmp.Or(cmp.Compare(a.nextAttempt, b.nextAttempt), cmp.Compare(a.seq, b.seq))
		})
	}
	return err
}

// serve takes what is due in the lane and says when there will be more.
func (c *sqliteClaim) serve(l *sqliteLane) {
	taken := 0
	for _, d := range l.due {
		if taken == l.room || d.nextAttempt > c.at {
			break
		}
		c.bytes += d.size
		if c.full = c.request.MaxBytes > 0 && c.bytes > c.request.MaxBytes && len(c.taken) > 0; c.full {
			break
		}
		c.taken = append(c.taken, d.seq)
		taken++
		if c.full = len(c.taken) == c.request.Max; c.full {
			break
		}
	}
	e := l.endpoint
	if l.room > 0 {
		l.since = never
		if taken < len(l.due) {
			l.since = l.due[taken].nextAttempt
		}
	}
	if taken > 0 {
		l.since = min(l.since, c.until)
		l.turn = l.last + 1
		c.after = l.tenant
		c.found[e.ID] = e
		if !e.NotBefore.IsZero() {
			e.NotBefore = time.UnixMicro(c.until).UTC()
		}
	}
	wake := l.since
	switch {
	case e.Disabled:
		wake = never
	case !e.NotBefore.IsZero():
		wake = max(wake, e.NotBefore.UnixMicro())
	}
	if c.moved.row().text(e.ID).integer(l.since); wake > c.at {
		c.moved.integer(wake)
	} else {
		c.moved.null()
	}
	if e.NotBefore.IsZero() {
		c.moved.null()
	} else {
		c.moved.integer(e.NotBefore.UnixMicro())
	}
	c.moved.integer(l.turn).end()
}

// lease leases what was taken and reads all that sending it needs.
func (c *sqliteClaim) lease(ctx context.Context) ([]webhook.Claimed, error) {
	var seqs table
	place := make(map[int64]int, len(c.taken))
	for n, seq := range c.taken {
		seqs.integer(seq)
		place[seq] = n
	}
	batch := make([]webhook.Claimed, len(c.taken))
	events := make(map[string]*webhook.EventRecord)
	var ids table
	err := c.rows(ctx, c.Store, c.q, sqliteLease, []any{seqs.String(), c.until}, func(rows Rows) error {
		var d webhook.Claimed
		var seq int64
		if err := scanDelivery(rows, &d.Delivery, &seq, &d.Lease, &d.Expired); err != nil {
			return err
		}
		d.Endpoint = c.found[d.Delivery.EndpointID]
		d.Event = events[d.Delivery.EventID]
		if d.Event == nil {
			d.Event = new(webhook.EventRecord)
			events[d.Delivery.EventID] = d.Event
			ids.text(d.Delivery.EventID)
		}
		batch[place[seq]] = d
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = c.rows(ctx, c.Store, c.q, "SELECT "+eventColumns+" FROM outhook_events WHERE id IN (SELECT value FROM json_each(?1))", []any{ids.String()}, func(rows Rows) error {
		var e webhook.EventRecord
		err := scanEvent(rows, &e)
		*events[e.ID] = e
		return err
	})
	return batch, err
}

const (
	sqliteHeld = `SELECT o.key, d.seq, d.endpoint_id,
			EXISTS (SELECT 1 FROM outhook_attempts a WHERE a.delivery_id = o.value->>0 AND a.id = o.value->>2)
		FROM json_each(?1) o LEFT JOIN outhook_pending d ON d.id = o.value->>0 AND d.lease = o.value->>1 AND d.leased`
	sqliteLog = `INSERT INTO outhook_attempts (delivery_id, id, number, started_at, duration_us, url, status, error,
			request_headers, response_headers, body_sha256, response_body, truncated)
		SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->8, value->9,
			substr(?2, 1 + value->>10, 32), substr(?2, 33 + value->>10, value->>11), value->>12
		FROM json_each(?1)`
	// What an outcome makes of a delivery.
	sqliteOutcome = `d.attempts + (o.value->>2), iif(o.value->>2, o.value->>3, d.last_status), iif(o.value->>2, o.value->>4, d.last_error),
			iif(o.value->>2, coalesce(d.first_attempt, o.value->>5), d.first_attempt)`
	sqliteFinish = `INSERT INTO outhook_finished (seq, id, event_id, event_type, event_tenant, endpoint_id, tenant, state, origin,
			attempts, last_status, last_error, first_attempt, created_at, updated_at)
		SELECT d.seq, d.id, d.event_id, d.event_type, d.event_tenant, d.endpoint_id, d.tenant, o.value->>1, d.origin,
			` + sqliteOutcome + `, d.created_at, ?2
		FROM json_each(?1) o CROSS JOIN outhook_pending d ON d.seq = o.value->>0`
	sqliteRemove = `DELETE FROM outhook_pending WHERE seq IN (SELECT value->>0 FROM json_each(?1))`
	sqliteRetry  = `UPDATE outhook_pending AS d SET (attempts, last_status, last_error, first_attempt) = (SELECT ` + sqliteOutcome + `),
			next_attempt = ?2 + (o.value->>6), updated_at = ?2, lease = d.lease + 1, leased = 0, expired = 0
		FROM json_each(?1) o WHERE d.seq = o.value->>0`
	sqliteHealth = `SELECT e.id, l.failing_since, l.not_before, e.disabled` + endpointTables + ` WHERE e.id IN (SELECT value FROM json_each(?1))`
	// A lane that is left alone no longer has to look when something is due.
	sqliteHeal = `UPDATE outhook_lanes SET failing_since = n.value->>1, not_before = n.value->>2,
			wake = CASE WHEN n.value->>2 > ?2 THEN n.value->>2 ELSE min(wake, since) END
		FROM json_each(?1) n WHERE outhook_lanes.endpoint_id = n.value->>0`
	sqliteDisable = `UPDATE outhook_endpoints SET disabled = 1, disabled_reason = ?2, updated_at = ?3, rev = rev + 1 WHERE id = ?1`
)

func (d sqlite) settle(ctx context.Context, s *Store, q Querier, ss []*webhook.Settlement) (stale []int, err error) {
	now, err := s.now(ctx, q)
	if err != nil {
		return nil, err
	}
	var asked table
	for _, o := range ss {
		if asked.row().text(o.DeliveryID).integer(o.Lease); o.Attempt != nil {
			asked.text(storable(o.Attempt.ID))
		}
		asked.end()
	}
	var ended, again, alarms, attempts table
	var bodies []byte
	endpoints := make([]string, len(ss)) // whose settlements are applied
	err = d.rows(ctx, s, q, sqliteHeld, []any{asked.String()}, func(rows Rows) error {
		var n int
		var seq *int64
		var endpoint text
		var stored bool
		if err := rows.Scan(&n, &seq, &endpoint, &stored); err != nil {
			return err
		}
		switch {
		case stored:
			return nil
		case seq == nil:
			stale = append(stale, n)
			return nil
		}
		o := ss[n]
		endpoints[n] = string(endpoint)
		outcomes := &ended
		if !o.State.Finished() {
			outcomes = &again
			alarms.row().integer(now.UnixMicro() + microseconds(o.Delay)).text(endpoints[n]).end()
		}
		outcomes.row().integer(*seq).text(string(o.State)).boolean(o.Counted)
		if o.Counted {
			outcomes.integer(int64(o.Attempt.StatusCode)).text(storable(o.Attempt.Error)).integer(o.Attempt.StartedAt.UnixMicro())
		} else {
			outcomes.null().null().null()
		}
		outcomes.integer(microseconds(o.Delay)).end()
		if a := o.Attempt; a != nil {
			attempts.row().text(o.DeliveryID).text(storable(a.ID)).integer(int64(a.Number)).integer(a.StartedAt.UnixMicro())
			attempts.integer(int64(a.Duration / time.Microsecond)).text(storable(a.URL)).integer(int64(a.StatusCode)).text(storable(a.Error))
			attempts.json(headersText(a.RequestHeaders)).json(headersText(a.ResponseHeaders))
			attempts.integer(int64(len(bodies))).integer(int64(len(a.ResponseBody))).boolean(a.Truncated).end()
			bodies = append(append(bodies, a.BodySHA256[:]...), a.ResponseBody...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, step := range []struct {
		statement string
		rows      table
		args      []any
	}{
		{sqliteLog, attempts, []any{bodies}},
		{sqliteFinish, ended, []any{now.UnixMicro()}},
		{sqliteRemove, ended, nil},
		{sqliteRetry, again, []any{now.UnixMicro()}},
		{sqliteAlarm, alarms, nil},
	} {
		if len(step.rows) == 0 {
			continue
		}
		if err := d.exec(ctx, s, q, step.statement, append([]any{step.rows.String()}, step.args...)...); err != nil {
			return nil, err
		}
	}
	return stale, d.heal(ctx, s, q, ss, endpoints, now)
}

// heal applies to the endpoints what the settlements say of them, one after the
// other; "" is the endpoint of those that are not applied.
func (d sqlite) heal(ctx context.Context, s *Store, q Querier, ss []*webhook.Settlement, endpoints []string, now time.Time) error {
	health := make(map[string]*webhook.EndpointRecord)
	var ids table
	for n, id := range endpoints {
		if o := ss[n]; id == "" || o.Health == webhook.HealthUnchanged && o.Pause <= 0 && o.Disable == "" {
			continue
		}
		if _, known := health[id]; !known {
			health[id] = nil
			ids.text(id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	err := d.rows(ctx, s, q, sqliteHealth, []any{ids.String()}, func(rows Rows) error {
		e := new(webhook.EndpointRecord)
		var failingSince, notBefore stamp
		err := rows.Scan(&e.ID, &failingSince, &notBefore, &e.Disabled)
		e.FailingSince, e.NotBefore = failingSince.Time, notBefore.Time
		health[e.ID] = e
		return err
	})
	if err != nil {
		return err
	}
	changed := make(map[string]bool)
	for n, id := range endpoints {
		if e := health[id]; e != nil && ss[n].ApplyToEndpoint(e, now) {
			changed[id] = true
		}
	}
	if len(changed) == 0 {
		return nil
	}
	var lanes table
	for id := range changed {
		e := health[id]
		lanes.row().text(id)
		for _, t := range []time.Time{e.FailingSince, e.NotBefore} {
			if t.IsZero() {
				lanes.null()
			} else {
				lanes.integer(t.UnixMicro())
			}
		}
		lanes.end()
		if e.Rev > 0 { // disabled now
			if err := d.exec(ctx, s, q, sqliteDisable, id, storable(e.DisabledReason), now.UnixMicro()); err != nil {
				return err
			}
		}
	}
	return d.exec(ctx, s, q, sqliteHeal, lanes.String(), now.UnixMicro())
}
