package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

const (
	sqliteHeld = `SELECT j.key, q.seq, q.lane, q.lease, q.leased, q.logged, q.chain, d.attempts, d.last_status, d.last_error, d.first_attempt
		FROM json_each(?1) j CROSS JOIN outhook_deliveries d ON d.id = j.value CROSS JOIN outhook_queue q ON q.seq = d.seq`
	sqliteLogged  = `SELECT 1 FROM outhook_attempts WHERE delivery_id = ?1 AND id = ?2`
	sqliteLast    = `SELECT coalesce(max(seq) + 1, ?1 << 24) FROM outhook_log WHERE seq >= ?1 << 24 AND seq < ?1 + 1 << 24`
	sqliteOutcome = `UPDATE outhook_deliveries SET state = ?2, updated_at = ?3, attempts = ?4, last_status = ?5, last_error = ?6, first_attempt = ?7 WHERE seq = ?1`
	// The same for all deliveries whose first attempts had the same outcome, but for
	// their start, which is read from the log: each is in it, as its delivery's first.
	sqliteFirst = `UPDATE OR FAIL outhook_deliveries SET state = ?2, updated_at = ?3, attempts = 1, last_status = ?4, last_error = ?5,
			first_attempt = (SELECT l.started_at FROM outhook_log l WHERE l.seq = outhook_deliveries.seq << 24)
		WHERE seq IN (SELECT value FROM json_each(?1))`
	sqliteLeave = `DELETE FROM outhook_queue WHERE seq IN (SELECT value FROM json_each(?1))`
	sqliteRetry = `UPDATE outhook_queue SET due = ?2, lease = lease + 1, leased = 0, expired = 0, logged = logged OR ?3 WHERE seq = ?1`
	// Those of the lanes ?1, and those of ?2 that a success would change.
	sqliteHealth = `SELECT l.seq, e.id, l.failing_since, l.not_before, e.disabled FROM json_each(?1) j CROSS JOIN outhook_lanes l ON l.seq = j.value
			CROSS JOIN outhook_endpoints e ON e.id = l.endpoint_id
		UNION ALL
		SELECT l.seq, e.id, l.failing_since, l.not_before, e.disabled FROM json_each(?2) j CROSS JOIN outhook_lanes l ON l.seq = j.value
			CROSS JOIN outhook_endpoints e ON e.id = l.endpoint_id
		WHERE l.failing_since IS NOT NULL OR l.not_before IS NOT NULL`
	// A lane that is left alone no longer looks again when something is due.
	sqliteHeal = `UPDATE outhook_lanes SET failing_since = ?2, not_before = ?3,
		wake = CASE WHEN ?3 > ?4 THEN ?3 ELSE min(wake, since) END WHERE seq = ?1`
	sqliteDisable = `UPDATE outhook_endpoints SET disabled = 1, disabled_reason = ?2, updated_at = ?3, rev = rev + 1 WHERE id = ?1`
)

// sqliteTogether is how many attempts one statement logs: executing a statement
// costs about as much as inserting a row.
const sqliteTogether = 8

var sqliteLogOne, sqliteLogTogether = sqliteLog(1), sqliteLog(sqliteTogether)

// sqliteLog returns the statement that logs n attempts. For OR FAIL see exec.
func sqliteLog(n int) string {
	columns := []string{"seq", "id", "number", "started_at", "duration_us", "url", "status", "error",
		"request_headers", "response_headers", "body_sha256", "response_body", "truncated"}
	rows := make([]string, n)
	for row := range rows {
		parameters := make([]string, len(columns))
		for column := range parameters {
			parameters[column] = fmt.Sprint("?", row*len(columns)+column+1)
		}
		rows[row] = "(" + strings.Join(parameters, ", ") + ")"
	}
	return "INSERT OR FAIL INTO outhook_log (" + strings.Join(columns, ", ") + ") VALUES " + strings.Join(rows, ", ")
}

// sqliteHolding is a delivery that may be settled.
type sqliteHolding struct {
	webhook.Delivery // what an outcome changes of it
	seq, lane, lease int64
	leased, logged   bool
	chain            sql.NullString
}

// sqliteFirstOutcome is what a first attempt makes of a delivery, but for its time.
type sqliteFirstOutcome struct {
	state  webhook.State
	status int
	error  string
}

// sqliteAttempt is a row of the log.
type sqliteAttempt struct {
	seq int64
	row []any // the other columns
}

// sqliteSettle is a settlement of many in the making.
type sqliteSettle struct {
	sqliteStep
	attempts []sqliteAttempt
	firsts   map[sqliteFirstOutcome][]*sqliteHolding
	left     sqliteList                      // the queue
	outcomes map[int64][]*webhook.Settlement // of endpoints, by lane
}

// settling makes up what is to be logged, so that the only writer does not.
func (d sqlite) settling(ss []*webhook.Settlement) func(context.Context, *Store, Querier) (stale []int, err error) {
	rows := make([][]any, len(ss)) // of the log, but for seq
	for n, o := range ss {
		if a := o.Attempt; a != nil {
			rows[n] = []any{storable(a.ID), a.Number, a.StartedAt.UnixMicro(), int64(a.Duration / time.Microsecond),
				storable(a.URL), a.StatusCode, storable(a.Error), headersText(a.RequestHeaders), headersText(a.ResponseHeaders),
				a.BodySHA256[:], notNil(a.ResponseBody), a.Truncated}
		}
	}
	return func(ctx context.Context, s *Store, q Querier) ([]int, error) { return d.settle(ctx, s, q, ss, rows) }
}

func (sqlite) settle(ctx context.Context, s *Store, q Querier, ss []*webhook.Settlement, rows [][]any) (stale []int, err error) {
	step, err := newSQLiteStep(ctx, s, q)
	if err != nil {
		return nil, err
	}
	t := &sqliteSettle{sqliteStep: step, firsts: make(map[sqliteFirstOutcome][]*sqliteHolding), outcomes: make(map[int64][]*webhook.Settlement)}
	pending, err := t.held(ctx, ss)
	if err != nil {
		return nil, err
	}
	for n, o := range ss {
		h := &pending[n]
		held := h.leased && h.lease == o.Lease
		if o.Attempt != nil && (!held || h.logged) {
			repeated, err := t.exists(ctx, sqliteLogged, o.DeliveryID, storable(o.Attempt.ID))
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
		if err := t.settle(ctx, o, h, rows[n]); err != nil {
			return nil, err
		}
		if o.Health != webhook.HealthUnchanged || o.Pause > 0 || o.Disable != "" {
			t.outcomes[h.lane] = append(t.outcomes[h.lane], o)
		}
	}
	if err := t.log(ctx); err != nil {
		return nil, err
	}
	if err := t.first(ctx); err != nil {
		return nil, err
	}
	if t.left != nil {
		if _, err := t.exec(ctx, sqliteLeave, t.left.String()); err != nil {
			return nil, err
		}
	}
	if err := t.next(ctx, pending); err != nil {
		return nil, err
	}
	return stale, t.heal(ctx)
}

// held reads what is pending of the deliveries, each at the place of its
// settlement.
func (s *sqliteSettle) held(ctx context.Context, ss []*webhook.Settlement) ([]sqliteHolding, error) {
	ids := make([]string, len(ss))
	for n, o := range ss {
		ids[n] = o.DeliveryID
	}
	pending := make([]sqliteHolding, len(ss))
	var h sqliteHolding
	var n int
	var firstAttempt stamp
	err := s.query(ctx, sqliteHeld, []any{jsonList(ids)}, func(rows Rows) error {
		err := rows.Scan(&n, &h.seq, &h.lane, &h.lease, &h.leased, &h.logged, &h.chain, &h.Attempts, &h.LastStatus, &h.LastError, &firstAttempt)
		h.FirstAttempt = firstAttempt.Time
		pending[n] = h
		return err
	})
	return pending, err
}

// settle applies an outcome to its delivery. What it adds to attempts, firsts and
// left remains to be written.
func (s *sqliteSettle) settle(ctx context.Context, o *webhook.Settlement, h *sqliteHolding, row []any) error {
	if row != nil {
		seq := h.seq << 24
		if h.logged {
			if err := s.query(ctx, sqliteLast, []any{h.seq}, func(rows Rows) error { return rows.Scan(&seq) }); err != nil {
				return err
			}
		}
		s.attempts = append(s.attempts, sqliteAttempt{seq, row})
	}
	o.ApplyToDelivery(&h.Delivery, time.UnixMicro(s.now).UTC())
	if o.Counted && !h.logged {
		first := sqliteFirstOutcome{h.State, h.LastStatus, h.LastError}
		s.firsts[first] = append(s.firsts[first], h)
	} else if err := s.outcome(ctx, h); err != nil {
		return err
	}
	if o.State.Finished() {
		s.left = s.left.add(h.seq)
		return nil
	}
	due := s.now + microseconds(o.Delay)
	if _, err := s.exec(ctx, sqliteRetry, h.seq, due, o.Attempt != nil); err != nil {
		return err
	}
	return s.ring(ctx, due, h.lane)
}

// outcome writes what has become of a delivery.
func (s *sqliteSettle) outcome(ctx context.Context, h *sqliteHolding) error {
	_, err := s.exec(ctx, sqliteOutcome, h.seq, string(h.State), s.now, h.Attempts, h.LastStatus, storable(h.LastError), s.store.dialect.stamp(h.FirstAttempt))
	return err
}

// log logs the attempts, in the order of the table, which grows at its end.
func (s *sqliteSettle) log(ctx context.Context) error {
	slices.SortFunc(s.attempts, func(a, b sqliteAttempt) int { return cmp.Compare(a.seq, b.seq) })
	for len(s.attempts) > 0 {
		statement, n := sqliteLogOne, 1
		if len(s.attempts) >= sqliteTogether {
			statement, n = sqliteLogTogether, sqliteTogether
		}
		args := make([]any, 0, n*(1+len(s.attempts[0].row)))
		for _, a := range s.attempts[:n] {
			args = append(append(args, a.seq), a.row...)
		}
		if _, err := s.exec(ctx, statement, args...); err != nil {
			return err
		}
		s.attempts = s.attempts[n:]
	}
	return nil
}

// first writes the outcomes of first attempts, once these are logged.
func (s *sqliteSettle) first(ctx context.Context) error {
	for o, deliveries := range s.firsts {
		if len(deliveries) == 1 { // as where every error has a text of its own
			if err := s.outcome(ctx, deliveries[0]); err != nil {
				return err
			}
			continue
		}
		var seqs sqliteList
		for _, h := range deliveries {
			seqs = seqs.add(h.seq)
		}
		if _, err := s.exec(ctx, sqliteFirst, seqs.String(), string(o.state), s.now, o.status, storable(o.error)); err != nil {
			return err
		}
	}
	return nil
}

// next lets those be claimed that waited for one that has left the queue.
func (s *sqliteSettle) next(ctx context.Context, settled []sqliteHolding) error {
	for n := range settled {
		h := &settled[n]
		if !h.chain.Valid || !h.State.Finished() {
			continue
		}
		if err := s.promote(ctx, h.lane, h.chain.String); err != nil {
			return err
		}
		if err := s.ring(ctx, s.now, h.lane); err != nil {
			return err
		}
	}
	return nil
}

// heal applies to the endpoints what the outcomes say of them.
func (s *sqliteSettle) heal(ctx context.Context) error {
	var some, successes sqliteList
	for lane, outcomes := range s.outcomes {
		if slices.ContainsFunc(outcomes, func(o *webhook.Settlement) bool {
			return o.Health != webhook.HealthSuccess || o.Pause > 0 || o.Disable != ""
		}) {
			some = some.add(lane)
		} else {
			successes = successes.add(lane)
		}
	}
	if len(s.outcomes) == 0 {
		return nil
	}
	changed := make(map[int64]*webhook.EndpointRecord)
	err := s.query(ctx, sqliteHealth, []any{some.String(), successes.String()}, func(rows Rows) error {
		var lane int64
		e := new(webhook.EndpointRecord)
		var failingSince, notBefore stamp
		if err := rows.Scan(&lane, &e.ID, &failingSince, &notBefore, &e.Disabled); err != nil {
			return err
		}
		e.FailingSince, e.NotBefore = failingSince.Time, notBefore.Time
		applied := false
		for _, o := range s.outcomes[lane] {
			applied = o.ApplyToEndpoint(e, time.UnixMicro(s.now).UTC()) || applied
		}
		if applied {
			changed[lane] = e
		}
		return nil
	})
	if err != nil {
		return err
	}
	for lane, e := range changed {
		if _, err := s.exec(ctx, sqliteHeal, lane, s.store.dialect.stamp(e.FailingSince), s.store.dialect.stamp(e.NotBefore), s.now); err != nil {
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
