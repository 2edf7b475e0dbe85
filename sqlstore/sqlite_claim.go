package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/outhook/webhook"
)

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
		), share (lanes) AS MATERIALIZED (SELECT (?5 + count(*) - 1) / max(count(*), 1) FROM tenants)
		SELECT ` + endpointColumns + `, l.seq, l.tenant, l.turn, (SELECT max(turn) FROM outhook_lanes o WHERE o.wake IS NULL AND o.tenant = l.tenant),
			(SELECT lanes FROM share)
		FROM tenants t CROSS JOIN outhook_lanes l CROSS JOIN outhook_endpoints e ON e.id = l.endpoint_id
		WHERE l.endpoint_id IN (
			SELECT endpoint_id FROM outhook_lanes
			WHERE wake IS NULL AND tenant = t.tenant AND ` + sqliteEligible + `
			ORDER BY turn LIMIT (SELECT lanes FROM share))`
	sqliteDue   = `SELECT seq, due, size, lease, expired + leased FROM outhook_queue WHERE lane = ?1 AND head = 1 ORDER BY due, seq LIMIT ?2 + 0 OFFSET ?3 + 0`
	sqliteLease = `UPDATE outhook_queue SET due = ?2, lease = lease + 1, expired = expired + leased, leased = 1
		WHERE seq IN (SELECT value FROM json_each(?1))`
	sqliteTaken = `SELECT v.id, v.key, v.type, v.tenant, v.ordering_key, v.time, v.created_at, v.test, v.data, v.sum, j.key,
			d.id, d.tenant, d.origin, d.attempts, d.last_status, d.last_error, d.first_attempt, d.created_at, d.updated_at
		FROM json_each(?1) j CROSS JOIN outhook_deliveries d ON d.seq = j.value CROSS JOIN outhook_events v ON v.seq = d.event_seq`
	sqliteMove = `UPDATE outhook_lanes SET since = coalesce(?2, since), wake = ?3, not_before = ?4, turn = ?5 WHERE seq = ?1`
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
	taken   []sqliteLeased
	bytes   int
	full    bool
}

// sqliteLeased is a delivery that is taken.
type sqliteLeased struct {
	seq, lease int64
	expired    int
	endpoint   *webhook.EndpointRecord
}

// sqliteLane is a lane whose turn it is.
type sqliteLane struct {
	seq        int64
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
	c := &sqliteClaim{sqliteStep: step, request: r, until: step.now + microseconds(r.Lease)}
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
// each, and again of those that have more. It begins with a part of the lanes, of
// which it takes several each, since what was published together lies on the same
// pages and every lane is work of its own; the others' turn is next.
func (c *sqliteClaim) take(ctx context.Context) error {
	var lanes, open []*sqliteLane
	rest := true // there may be lanes that were not chosen yet
	for first := true; rest && !c.full; first = false {
		most := c.request.Max - len(c.taken)
		if first {
			share := min(max(most/sqliteFewest, 1), sqliteShare)
			most = (most + share - 1) / share
		}
		var chosen []*sqliteLane
		var err error
		if chosen, rest, err = c.choose(ctx, most); err != nil {
			return err
		}
		lanes, open = append(lanes, chosen...), append(chosen, open...)
		for again := true; again && len(open) > 0 && !c.full; again = !first || !rest {
			if open, err = c.pass(ctx, open); err != nil {
				return err
			}
		}
	}
	for _, l := range lanes {
		if err := c.move(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

const (
	sqliteShare  = 8  // deliveries that are taken of a lane at once
	sqliteFewest = 16 // lanes that share a claim, if there are so many
)

// pass takes an equal share of each lane, and returns those that have more.
func (c *sqliteClaim) pass(ctx context.Context, open []*sqliteLane) (more []*sqliteLane, err error) {
	share := (c.request.Max - len(c.taken) + len(open) - 1) / len(open)
	for _, l := range open {
		if c.full {
			break
		}
		if err := c.pick(ctx, l, share); err != nil {
			return nil, err
		}
		if l.taken < l.room && l.since <= c.now {
			more = append(more, l)
		}
	}
	return more, nil
}

// choose returns about so many lanes, the first of each tenant, then the second of
// each, and whether there may be more. They are passed over from now on.
func (c *sqliteClaim) choose(ctx context.Context, most int) (lanes []*sqliteLane, more bool, err error) {
	var share int // as many lanes of each tenant, if it has them
	err = c.query(ctx, sqliteChoose, []any{c.request.PerEndpoint, c.named, jsonList(c.passed), c.after, most}, func(rows Rows) error {
		l := &sqliteLane{endpoint: new(webhook.EndpointRecord)}
		lanes = append(lanes, l)
		return scanEndpoint(row{rows, func(dest ...any) error {
			return rows.Scan(append(dest, &l.seq, &l.tenant, &l.turn, &l.last, &share)...)
		}}, l.endpoint)
	})
	if err != nil {
		return nil, false, err
	}
	slices.SortStableFunc(lanes, func(a, b *sqliteLane) int { return cmp.Compare(a.turn, b.turn) })
	ranks, count := make(map[*sqliteLane]int, len(lanes)), make(map[string]int)
	for _, l := range lanes {
		ranks[l] = count[l.tenant]
		count[l.tenant]++
		more = more || count[l.tenant] == share
		l.room = c.room(l.endpoint)
		c.passed = append(c.passed, l.endpoint.ID)
	}
	slices.SortStableFunc(lanes, func(a, b *sqliteLane) int { return cmp.Compare(ranks[a], ranks[b]) })
	return lanes, more, nil
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
	var due int64
	var size int
	d := sqliteLeased{endpoint: l.endpoint}
	return c.query(ctx, sqliteDue, []any{l.seq, share + 1, before}, func(rows Rows) error {
		if err := rows.Scan(&d.seq, &due, &size, &d.lease, &d.expired); err != nil {
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
		c.taken = append(c.taken, d)
		c.full = len(c.taken) == c.request.Max
		c.after = l.tenant
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
	_, err := c.exec(ctx, sqliteMove, l.seq, since, until, c.store.dialect.stamp(e.NotBefore), l.turn)
	return err
}

// lease leases what was taken and reads all that sending it needs.
func (c *sqliteClaim) lease(ctx context.Context) ([]webhook.Claimed, error) {
	var list sqliteList
	for _, d := range c.taken {
		list = list.add(d.seq)
	}
	seqs := list.String()
	if _, err := c.exec(ctx, sqliteLease, seqs, c.until); err != nil {
		return nil, err
	}
	batch := make([]webhook.Claimed, 0, len(c.taken))
	events := make(map[string]*webhook.EventRecord, len(c.taken))
	r := newSQLiteTaken(time.UnixMicro(c.until).UTC())
	err := c.query(ctx, sqliteTaken, []any{seqs}, func(rows Rows) error {
		if err := rows.Scan(r.columns...); err != nil {
			return err
		}
		v, d := r.read()
		if events[v.ID] == nil {
			event := v
			events[v.ID] = &event
		}
		taken := &c.taken[r.n]
		d.EndpointID = taken.endpoint.ID
		batch = append(batch, webhook.Claimed{Delivery: d, Lease: taken.lease + 1, Expired: taken.expired, Event: events[v.ID], Endpoint: taken.endpoint})
		return nil
	})
	return batch, err
}

// sqliteTakenRow is a row of sqliteTaken. All rows are scanned into the same one:
// what each would leave to the collector otherwise is more than what is kept.
type sqliteTakenRow struct {
	n        int
	event    webhook.EventRecord
	delivery webhook.Delivery
	key      text
	sum      digest
	origin   string

	at, createdAt                              stamp // of the event
	firstAttempt, deliveryCreatedAt, updatedAt stamp
	columns                                    []any
}

func newSQLiteTaken(until time.Time) *sqliteTakenRow {
	r := &sqliteTakenRow{delivery: webhook.Delivery{State: webhook.StatePending, NextAttempt: until}}
	v, d := &r.event, &r.delivery
	r.columns = []any{&v.ID, &r.key, &v.Type, &v.Tenant, &v.OrderingKey, &r.at, &r.createdAt, &v.Test, &v.Data, &r.sum, &r.n,
		&d.ID, &d.Tenant, &r.origin, &d.Attempts, &d.LastStatus, &d.LastError, &r.firstAttempt, &r.deliveryCreatedAt, &r.updatedAt}
	return r
}

// read returns what was scanned, but for the endpoint's ID.
func (r *sqliteTakenRow) read() (webhook.EventRecord, webhook.Delivery) {
	v, d := r.event, r.delivery
	r.event.Data = nil // it is kept
	v.Key, v.Time, v.CreatedAt, v.Sum = string(r.key), r.at.Time, r.createdAt.Time, r.sum
	d.EventID, d.EventType, d.EventTenant, d.Origin = v.ID, v.Type, v.Tenant, webhook.Origin(r.origin)
	d.FirstAttempt, d.CreatedAt, d.UpdatedAt = r.firstAttempt.Time, r.deliveryCreatedAt.Time, r.updatedAt.Time
	return v, d
}
