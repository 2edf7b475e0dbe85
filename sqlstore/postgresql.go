package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// postgreSQL calls the functions of postgresql/0002_functions.sql.
type postgreSQL struct{}

func (postgreSQL) stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

func (postgreSQL) schema() string { return "postgresql" }

func (postgreSQL) lockSchema(ctx context.Context, s *Store, q Querier) error {
	_, err := s.exec(ctx, q, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "outhook migrate "+s.prefix)
	return err
}

func (postgreSQL) seesAll(ctx context.Context, s *Store, q Querier) error {
	var level string
	if _, err := s.one(ctx, q, "SELECT current_setting('transaction_isolation')", nil, &level); err != nil {
		return err
	}
	if level != "read committed" {
		return fmt.Errorf("%w: the transaction is %s and would not see the newest deliveries; use READ COMMITTED", webhook.ErrNotSupported, level)
	}
	return nil
}

func (postgreSQL) tableExists() string { return "SELECT 1 WHERE to_regclass($1) IS NOT NULL" }

func (postgreSQL) never() any { return "infinity" }

func (postgreSQL) translate(query string) string { return query }

func (postgreSQL) member(column, kind, parameter string) string {
	return column + " = ANY (" + parameter + "::" + kind + "[])"
}

func (postgreSQL) list(values []string) any {
	a := newArray(len(values))
	for _, v := range values {
		a.text(v)
	}
	return a.String()
}

func (postgreSQL) estimates() bool { return true }

func (postgreSQL) finished(states []string) string {
	switch {
	case len(states) == 3:
		return "true"
	case len(states) == 1:
		return "state = " + states[0]
	case slices.Contains(states, "'delivered'"):
		return "state IN (" + strings.Join(states, ", ") + ")"
	}
	return "state <> 'delivered'"
}

// array builds the text of an array, which every driver passes on as it is.
type array struct{ strings.Builder }

func newArray(n int) *array {
	a := new(array)
	a.Grow(16*n + 2)
	return a
}

// String closes the array and returns it.
func (a *array) String() string {
	if a.Len() == 0 {
		return "{}"
	}
	a.WriteByte('}')
	return a.Builder.String()
}

func (a *array) comma() {
	if a.Len() == 0 {
		a.WriteByte('{')
	} else {
		a.WriteByte(',')
	}
}

func (a *array) null() {
	a.comma()
	a.WriteString("NULL")
}

func (a *array) text(s string) {
	a.comma()
	a.WriteByte('"')
	for {
		n := strings.IndexAny(s, `"\`)
		if n < 0 {
			break
		}
		a.WriteString(s[:n])
		a.WriteByte('\\')
		a.WriteByte(s[n])
		s = s[n+1:]
	}
	a.WriteString(s)
	a.WriteByte('"')
}

func (a *array) integer(n int64) {
	a.comma()
	var b [20]byte
	a.Write(strconv.AppendInt(b[:0], n, 10))
}

func (a *array) boolean(v bool) {
	a.comma()
	if v {
		a.WriteByte('t')
	} else {
		a.WriteByte('f')
	}
}

func (a *array) time(t time.Time) {
	if t.IsZero() {
		a.null()
		return
	}
	a.comma()
	a.WriteByte('"')
	a.WriteString(t.UTC().Format("2006-01-02 15:04:05.999999Z07:00"))
	a.WriteByte('"')
}

func (d postgreSQL) enqueue(ctx context.Context, s *Store, q Querier, calls []*call, lockTimeout time.Duration) error {
	count, size := 0, 0
	for _, c := range calls {
		count += len(c.ps)
		for n := range c.ps {
			size += len(c.ps[n].Event.Data)
		}
	}
	var owners, ids, keys, types, tenants, orderingKeys, times, tests, offsets, sizes, patterns, lineages, origins, addressed, places, leases array
	data, sums := make([]byte, 0, size), make([]byte, 0, 32*count)
	for owner, c := range calls {
		for n := range c.ps {
			p := &c.ps[n]
			e := &p.Event
			owners.integer(int64(owner))
			ids.text(e.ID)
			if e.Key == "" {
				keys.null()
			} else {
				keys.text(e.Key)
			}
			types.text(e.Type)
			tenants.text(e.Tenant)
			orderingKeys.text(e.OrderingKey)
			times.time(e.Time)
			tests.boolean(e.Test)
			offsets.integer(int64(len(data)))
			sizes.integer(int64(len(e.Data)))
			data, sums = append(data, e.Data...), append(sums, e.Sum[:]...)
			patterns.text(d.list(p.Patterns).(string))
			lineages.text(d.list(append(slices.Clip(p.Tenants), allTenants)).(string))
			origins.text(string(p.Origin))
			addressed.boolean(p.Endpoints != nil)
			places.integer(int64(handedOver(p)))
			leases.integer(microseconds(p.Lease))
		}
	}
	var wait any
	if lockTimeout > 0 {
		wait = strconv.FormatInt(lockTimeout.Milliseconds(), 10)
	}
	b := enqueuedBatch{calls: calls}
	return s.query(ctx, q, `SELECT n, event_id, status, deliveries, behind, id::text, created_at, next_attempt, endpoint_id, tenant, all_tenants, patterns,
			failing_since, endpoint_created_at, endpoint_updated_at, rev, config
		FROM outhook_enqueue($1::timestamptz, $2::text, $3::integer[], $4::text[], $5::text[],
		$6::text[], $7::text[], $8::text[], $9::timestamptz[], $10::boolean[], $11::bytea, $12::integer[], $13::integer[], $14::bytea,
		$15::text[], $16::text[], $17::text[], $18::boolean[], $19::integer[], $20::bigint[])`,
		[]any{d.stamp(s.injected()), wait, owners.String(), ids.String(), keys.String(), types.String(), tenants.String(), orderingKeys.String(),
			times.String(), tests.String(), data, offsets.String(), sizes.String(), sums, patterns.String(), lineages.String(), origins.String(), addressed.String(),
			places.String(), leases.String()},
		b.scan)
}

// enqueuedBatch hands out what outhook_enqueue returns.
type enqueuedBatch struct {
	calls  []*call
	call   int   // whose row was the last,
	last   int64 // of that publication
	before int64 // publications of the calls before that one
}

// scan takes a row: of the next publication, or another delivery of the same.
func (b *enqueuedBatch) scan(rows Rows) error {
	var nth int64
	var event, status string
	var deliveries, behind int
	var id, endpointID, tenant, patterns text
	var createdAt, nextAttempt, failingSince, endpointCreatedAt, endpointUpdatedAt stamp
	var allTenants *bool
	var rev *int64
	var config []byte
	if err := rows.Scan(&nth, &event, &status, &deliveries, &behind, &id, &createdAt, &nextAttempt, &endpointID, &tenant, &allTenants, &patterns,
		&failingSince, &endpointCreatedAt, &endpointUpdatedAt, &rev, &config); err != nil {
		return err
	}
	for nth-b.before > int64(len(b.calls[b.call].ps)) {
		b.before += int64(len(b.calls[b.call].ps))
		b.call++
	}
	c, n := b.calls[b.call], int(nth-b.before)-1
	p, result := &c.ps[n], &c.results[n]
	if further := len(result.Created) > 0 && b.last == nth; !further {
		c.set(n, event, status, deliveries)
		result.Behind = behind
	}
	b.last = nth
	if id == "" {
		return nil
	}
	r := &webhook.EndpointRecord{
		ID: string(endpointID), Tenant: string(tenant), AllTenants: *allTenants, Rev: *rev, Config: config,
		FailingSince: failingSince.Time, CreatedAt: endpointCreatedAt.Time, UpdatedAt: endpointUpdatedAt.Time,
	}
	if err := scanPatterns(string(patterns), r); err != nil {
		return err
	}
	e := &p.Event
	result.Created = append(result.Created, webhook.Claimed{
		Lease: 1, Event: storedEvent(e, createdAt.Time), Endpoint: r,
		Delivery: webhook.Delivery{
			ID: string(id), EventID: e.ID, EventType: e.Type, EventTenant: e.Tenant, EndpointID: r.ID, Tenant: r.Tenant,
			State: webhook.StatePending, Origin: p.Origin, NextAttempt: nextAttempt.Time, CreatedAt: createdAt.Time, UpdatedAt: createdAt.Time,
		},
	})
	return nil
}

// storedEvent returns the event as it is stored.
func storedEvent(e *webhook.EventRecord, createdAt time.Time) *webhook.EventRecord {
	stored := *e
	stored.CreatedAt = createdAt
	return &stored
}

func (d postgreSQL) address(ctx context.Context, s *Store, q Querier, ps []*webhook.Publication) (map[string][]string, error) {
	var ids, origins, endpoints, missing, leases array
	created := make(map[string][]string, len(ps))
	for _, p := range ps {
		created[p.Event.ID] = nil
		ids.text(p.Event.ID)
		origins.text(string(p.Origin))
		endpoints.text(d.list(slices.DeleteFunc(slices.Clone(p.Endpoints), func(id string) bool { return !isStorable(id) })).(string))
		missing.boolean(p.Missing)
		leases.integer(microseconds(p.Lease))
	}
	err := s.query(ctx, q, "SELECT event_id, id::text FROM outhook_address($1::timestamptz, $2::text[], $3::text[], $4::text[], $5::boolean[], $6::bigint[])",
		[]any{d.stamp(s.injected()), ids.String(), origins.String(), endpoints.String(), missing.String(), leases.String()},
		func(rows Rows) error {
			var event, id string
			err := rows.Scan(&event, &id)
			created[event] = append(created[event], id)
			return err
		})
	return created, err
}

func (d postgreSQL) claim(ctx context.Context, s *Store, q Querier, r webhook.ClaimRequest) ([]webhook.Claimed, time.Duration, error) {
	var named, rooms array
	for id, room := range r.Room {
		if isStorable(id) {
			named.text(id)
			rooms.integer(int64(room))
		}
	}
	s.mu.Lock()
	after := s.after
	s.mu.Unlock()
	b := claimedBatch{events: make(map[string]*webhook.EventRecord), endpoints: make(map[string]*webhook.EndpointRecord)}
	err := s.query(ctx, q, `SELECT next_us, nth, id::text, origin, attempts, last_status, last_error, first_attempt, next_attempt, created_at, updated_at, lease, expired,
		event_id, event_type, event_tenant, key, ordering_key, event_time, event_created_at, test, data, sum,
		endpoint_id, tenant, endpoint_tenant, all_tenants, patterns, ordered, failing_since, not_before, endpoint_created_at, endpoint_updated_at, rev, config
		FROM outhook_claim($1::timestamptz, $2::integer, $3::integer, $4::text[], $5::integer[], $6::bigint, $7::bigint, $8::text)`,
		[]any{d.stamp(s.injected()), r.Max, r.PerEndpoint, named.String(), rooms.String(), r.MaxBytes, microseconds(r.Lease), after}, b.scan)
	if err != nil || len(b.rows) == 0 {
		return nil, b.next, err
	}
	served := make(map[string]bool)
	for n := range b.rows {
		if tenant := b.rows[n].Endpoint.Tenant; !served[tenant] {
			served[tenant], after = true, tenant
		}
	}
	s.mu.Lock()
	s.after = after
	s.mu.Unlock()
	return b.rows, 0, nil
}

// claimedBatch collects what outhook_claim returns.
type claimedBatch struct {
	next      time.Duration
	rows      []webhook.Claimed
	events    map[string]*webhook.EventRecord
	endpoints map[string]*webhook.EndpointRecord
	columns   claimedColumns
}

// claimedColumns are those of one row. They are scanned into the same place for
// every row, as their addresses escape.
type claimedColumns struct {
	wait, nth, lease, rev                                                      *int64
	attempts, lastStatus, expired                                              *int
	id, origin, lastError, eventID, eventType, eventTenant                     text
	key, orderingKey, endpointID, tenant, endpointTenant, patterns             text
	firstAttempt, nextAttempt, createdAt, updatedAt, eventTime, eventCreatedAt stamp
	failingSince, notBefore, endpointCreatedAt, endpointUpdatedAt              stamp
	test, allTenants, ordered                                                  *bool
	data, sum, config                                                          []byte
}

func (c *claimedColumns) scan(rows Rows) error {
	return rows.Scan(&c.wait, &c.nth, &c.id, &c.origin, &c.attempts, &c.lastStatus, &c.lastError, &c.firstAttempt, &c.nextAttempt, &c.createdAt, &c.updatedAt,
		&c.lease, &c.expired, &c.eventID, &c.eventType, &c.eventTenant, &c.key, &c.orderingKey, &c.eventTime, &c.eventCreatedAt, &c.test, &c.data, &c.sum,
		&c.endpointID, &c.tenant, &c.endpointTenant, &c.allTenants, &c.patterns, &c.ordered, &c.failingSince, &c.notBefore,
		&c.endpointCreatedAt, &c.endpointUpdatedAt, &c.rev, &c.config)
}

// scan adds a row. What the event and the endpoint are comes with one of the rows
// that share them.
func (b *claimedBatch) scan(rows Rows) error {
	c := &b.columns
	*c = claimedColumns{}
	if err := c.scan(rows); err != nil {
		return err
	}
	if c.id == "" {
		if c.wait != nil {
			b.next = max(time.Duration(*c.wait)*time.Microsecond, time.Microsecond)
		}
		return nil
	}
	e, r := b.events[string(c.eventID)], b.endpoints[string(c.endpointID)]
	if e == nil {
		e = &webhook.EventRecord{ID: string(c.eventID), Type: string(c.eventType), Tenant: string(c.eventTenant)}
		b.events[e.ID] = e
	}
	if c.test != nil {
		e.Key, e.OrderingKey, e.Time, e.CreatedAt, e.Test, e.Data = string(c.key), string(c.orderingKey), c.eventTime.Time, c.eventCreatedAt.Time, *c.test, c.data
		copy(e.Sum[:], c.sum)
	}
	if r == nil {
		r = &webhook.EndpointRecord{ID: string(c.endpointID)}
		b.endpoints[r.ID] = r
	}
	if c.rev != nil {
		r.Tenant, r.AllTenants, r.Ordered, r.Rev, r.Config = string(c.endpointTenant), *c.allTenants, *c.ordered, *c.rev, c.config
		r.FailingSince, r.NotBefore, r.CreatedAt, r.UpdatedAt = c.failingSince.Time, c.notBefore.Time, c.endpointCreatedAt.Time, c.endpointUpdatedAt.Time
		if err := scanPatterns(string(c.patterns), r); err != nil {
			return err
		}
	}
	if missing := int(*c.nth) - len(b.rows); missing > 0 { // they may come in any order
		b.rows = append(b.rows, make([]webhook.Claimed, missing)...)
	}
	b.rows[*c.nth-1] = webhook.Claimed{
		Lease: *c.lease, Expired: *c.expired, Event: e, Endpoint: r,
		Delivery: webhook.Delivery{
			ID: string(c.id), EventID: e.ID, EventType: e.Type, EventTenant: e.Tenant,
			EndpointID: r.ID, Tenant: string(c.tenant), State: webhook.StatePending, Origin: webhook.Origin(c.origin),
			Attempts: *c.attempts, LastStatus: *c.lastStatus, LastError: string(c.lastError),
			FirstAttempt: c.firstAttempt.Time, NextAttempt: c.nextAttempt.Time, CreatedAt: c.createdAt.Time, UpdatedAt: c.updatedAt.Time,
		},
	}
	return nil
}

func (d postgreSQL) settling(ss []*webhook.Settlement) func(context.Context, *Store, Querier) (stale []int, err error) {
	return func(ctx context.Context, s *Store, q Querier) ([]int, error) { return d.settle(ctx, s, q, ss) }
}

// settle repeats those that another transaction has locked, which is a matter of
// milliseconds unless an application keeps one open in which it unregisters the
// endpoint. Others must not wait for that, so these count as stale: either the
// delivery ends as cancelled, or it is repeated when its lease ends.
func (d postgreSQL) settle(ctx context.Context, s *Store, q Querier, ss []*webhook.Settlement) (stale []int, err error) {
	// To be careful costs a little more. In a transaction there is one chance only.
	careful := s.isolated.Load() || s.transaction(ctx) != nil
	stale, locked, err := d.trySettle(ctx, s, q, ss, careful)
	if sqlState(err) == lockNotAvailable && !careful {
		stale, locked, err = d.trySettle(ctx, s, q, ss, true)
	}
	for wait := 2 * time.Millisecond; len(locked) > 0 && err == nil; wait *= 2 {
		if wait > 200*time.Millisecond {
			return append(stale, locked...), nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		again := make([]*webhook.Settlement, len(locked))
		for n, at := range locked {
			again[n] = ss[at]
		}
		var staleNow, lockedNow []int
		staleNow, lockedNow, err = d.trySettle(ctx, s, q, again, true)
		for _, n := range staleNow {
			stale = append(stale, locked[n])
		}
		for n, at := range lockedNow {
			lockedNow[n] = locked[at]
		}
		locked = lockedNow
	}
	return stale, err
}

func (d postgreSQL) trySettle(ctx context.Context, s *Store, q Querier, ss []*webhook.Settlement, careful bool) (stale, locked []int, err error) {
	var ids, leases, states, delays, counted, attempts, numbers, starts, durations, urls, statuses, errs, requests, responses array
	var offsets, sizes, truncated, healths, pauses, reasons, ifs array
	for a, size := range map[*array]int{&ids: 40, &states: 12, &attempts: 40, &starts: 32, &urls: 64, &requests: 512, &responses: 256} {
		a.Grow(size * len(ss)) // roughly
	}
	sums, bodies := make([]byte, 0, 32*len(ss)), []byte{}
	for _, o := range ss {
		ids.text(o.DeliveryID)
		leases.integer(o.Lease)
		states.text(string(o.State))
		delays.integer(microseconds(o.Delay))
		counted.boolean(o.Counted)
		a := o.Attempt
		if a == nil {
			attempts.null()
			a = new(webhook.Attempt)
		} else {
			attempts.text(storable(a.ID))
		}
		numbers.integer(int64(a.Number))
		starts.time(a.StartedAt)
		durations.integer(int64(a.Duration / time.Microsecond))
		urls.text(storable(a.URL))
		statuses.integer(int64(a.StatusCode))
		errs.text(storable(a.Error))
		requests.text(headersText(a.RequestHeaders))
		responses.text(headersText(a.ResponseHeaders))
		offsets.integer(int64(len(bodies)))
		sizes.integer(int64(len(a.ResponseBody)))
		sums, bodies = append(sums, a.BodySHA256[:]...), append(bodies, a.ResponseBody...)
		truncated.boolean(a.Truncated)
		healths.integer(int64(o.Health))
		pauses.integer(microseconds(o.Pause))
		reasons.text(storable(o.Disable))
		ifs.time(o.IfFailingSince)
	}
	err = s.query(ctx, q, `SELECT n, reason FROM outhook_settle($1::timestamptz, $2::boolean, $3::uuid[], $4::bigint[], $5::text[], $6::bigint[], $7::boolean[],
		$8::text[], $9::integer[], $10::timestamptz[], $11::bigint[], $12::text[], $13::integer[], $14::text[], $15::text[], $16::text[],
		$17::bytea, $18::bytea, $19::integer[], $20::integer[], $21::boolean[], $22::integer[], $23::bigint[], $24::text[], $25::timestamptz[])`,
		[]any{d.stamp(s.injected()), careful, ids.String(), leases.String(), states.String(), delays.String(), counted.String(),
			attempts.String(), numbers.String(), starts.String(), durations.String(), urls.String(), statuses.String(), errs.String(), requests.String(), responses.String(),
			sums, bodies, offsets.String(), sizes.String(), truncated.String(), healths.String(), pauses.String(), reasons.String(), ifs.String()},
		func(rows Rows) error {
			var n int64
			var reason string
			if err := rows.Scan(&n, &reason); err != nil {
				return err
			}
			switch reason {
			case "stale":
				stale = append(stale, int(n)-1)
			case "locked":
				locked = append(locked, int(n)-1)
			}
			return nil
		})
	return stale, locked, err
}
