package sqlstore

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/outhook/webhook"
)

const (
	sqliteHeld = `SELECT j.key, q.seq, q.lane, q.lease, q.leased, q.logged, q.chain, d.attempts, d.last_status, d.last_error, d.first_attempt
		FROM json_each(?1) j CROSS JOIN outhook_deliveries d ON d.id = j.value CROSS JOIN outhook_queue q ON q.seq = d.seq`
	sqliteLogged = `SELECT 1 FROM outhook_attempts WHERE delivery_id = ?1 AND id = ?2`
	sqliteLog    = `INSERT INTO outhook_log (seq, id, number, started_at, duration_us, url, status, error,
			request_headers, response_headers, body_sha256, response_body, truncated)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)`
	sqliteLast    = `SELECT coalesce(max(seq) + 1, ?1 << 24) FROM outhook_log WHERE seq >= ?1 << 24 AND seq < ?1 + 1 << 24`
	sqliteOutcome = `UPDATE outhook_deliveries SET state = ?2, updated_at = ?3, attempts = ?4, last_status = ?5, last_error = ?6, first_attempt = ?7 WHERE seq = ?1`
	sqliteLeave   = `DELETE FROM outhook_queue WHERE seq IN (SELECT value FROM json_each(?1))`
	sqliteRetry   = `UPDATE outhook_queue SET due = ?2, lease = lease + 1, leased = 0, expired = 0, logged = logged OR ?3 WHERE seq = ?1`
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

// sqliteHolding is a delivery that may be settled.
type sqliteHolding struct {
	webhook.Delivery // what an outcome changes of it
	seq, lane, lease int64
	leased, logged   bool
	chain            sql.NullString
}

// sqliteSettle is a settlement of many in the making.
type sqliteSettle struct {
	sqliteStep
	left     sqliteList                      // the queue
	outcomes map[int64][]*webhook.Settlement // of endpoints, by lane
}

func (sqlite) settle(ctx context.Context, s *Store, q Querier, ss []*webhook.Settlement) (stale []int, err error) {
	step, err := newSQLiteStep(ctx, s, q)
	if err != nil {
		return nil, err
	}
	t := &sqliteSettle{sqliteStep: step, outcomes: make(map[int64][]*webhook.Settlement)}
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
		if err := t.settle(ctx, o, h); err != nil {
			return nil, err
		}
		if o.Health != webhook.HealthUnchanged || o.Pause > 0 || o.Disable != "" {
			t.outcomes[h.lane] = append(t.outcomes[h.lane], o)
		}
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

// settle applies an outcome to its delivery, which remains to be taken out of
// the queue if it is finished.
func (s *sqliteSettle) settle(ctx context.Context, o *webhook.Settlement, h *sqliteHolding) error {
	if a := o.Attempt; a != nil {
		seq := h.seq << 24
		if h.logged {
			if err := s.query(ctx, sqliteLast, []any{h.seq}, func(rows Rows) error { return rows.Scan(&seq) }); err != nil {
				return err
			}
		}
		if _, err := s.exec(ctx, sqliteLog, seq, storable(a.ID), a.Number, a.StartedAt.UnixMicro(), int64(a.Duration/time.Microsecond),
			storable(a.URL), a.StatusCode, storable(a.Error), headersText(a.RequestHeaders), headersText(a.ResponseHeaders),
			a.BodySHA256[:], notNil(a.ResponseBody), a.Truncated); err != nil {
			return err
		}
	}
	o.ApplyToDelivery(&h.Delivery, time.UnixMicro(s.now).UTC())
	if _, err := s.exec(ctx, sqliteOutcome, h.seq, string(h.State), s.now, h.Attempts, h.LastStatus, storable(h.LastError), s.store.dialect.stamp(h.FirstAttempt)); err != nil {
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
