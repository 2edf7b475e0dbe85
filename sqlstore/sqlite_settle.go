package sqlstore

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"github.com/outhook/webhook"
)

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
