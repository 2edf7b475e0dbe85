package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/outhook/webhook"
)

// Purge implements [webhook.Purger], in small transactions: one for up to limit
// finished deliveries, and one for each step of looking for events without any.
func (s *Store) Purge(ctx context.Context, age time.Duration, limit int) (removed int, err error) {
	var now time.Time
	var before any
	err = s.write(ctx, func(q Querier) (err error) {
		if now, err = s.now(ctx, q); err != nil {
			return err
		}
		before = s.dialect.stamp(now.Add(-age))
		removed, err = s.purgeFinished(ctx, q, before, limit)
		return err
	})
	if err == nil && removed < limit {
		var n int
		n, err = s.purgeLonely(ctx, now, before, limit-removed)
		removed += n
	}
	if err != nil {
		return 0, fmt.Errorf("purge: %w", err)
	}
	return removed, nil
}

// purgeFinished removes finished deliveries, and events of which these were the
// last.
func (s *Store) purgeFinished(ctx context.Context, q Querier, before any, limit int) (removed int, err error) {
	var deliveries, events []string
	// What finished before was created before. That is an index less for every
	// delivery to maintain.
	err = s.query(ctx, q, `DELETE FROM outhook_finished WHERE id IN (
			SELECT id FROM outhook_finished WHERE created_at < $1 AND updated_at < $1 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)
		RETURNING id::text, event_id`, []any{before, limit}, func(rows Rows) error {
		var id, event string
		err := rows.Scan(&id, &event)
		deliveries, events = append(deliveries, id), append(events, event)
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := s.forgetAttempts(ctx, q, deliveries); err != nil {
		return 0, err
	}
	n, err := s.forgetEvents(ctx, q, events, before)
	return len(deliveries) + n, err
}

const (
	// purgeStep is how many events purgeLonely looks at in one transaction.
	purgeStep = 1000
	// purgeAgain is how long after its end purgeLonely begins anew.
	purgeAgain = 24 * time.Hour
)

// arrival is an event's place in the order of their creation.
type arrival struct {
	created time.Time
	seq     int64
	again   time.Time // once all are seen: when to begin anew
}

// purgeLonely removes events that found no endpoint. It goes through the events
// by age: those with deliveries go when the last of these is purged. It begins
// anew now and then, for those whose last deliveries two processes purged at
// once, each of which saw the other's.
func (s *Store) purgeLonely(ctx context.Context, now time.Time, before any, limit int) (removed int, err error) {
	s.mu.Lock()
	seen := s.seen
	s.mu.Unlock()
	if !seen.again.IsZero() && !now.Before(seen.again) {
		seen = arrival{created: time.Unix(0, 0)}
	}
	for ended := false; removed < limit && !ended; {
		var n int
		var at arrival
		err := s.write(ctx, func(q Querier) (err error) {
			n, at, err = s.purgeLonelyStep(ctx, q, before, limit-removed, seen)
			return err
		})
		if err != nil {
			return removed, err
		}
		removed += n
		if ended = at.seq == seen.seq; ended && at.again.IsZero() {
			at.again = now.Add(purgeAgain)
		}
		seen = at
		if s.transaction(ctx) == nil {
			s.mu.Lock()
			s.seen = seen
			s.mu.Unlock()
		}
	}
	return removed, nil
}

// purgeLonelyStep looks at the events behind at and returns up to where it has:
// at, if there are none.
func (s *Store) purgeLonelyStep(ctx context.Context, q Querier, before any, limit int, at arrival) (removed int, seen arrival, err error) {
	seen = at
	var lonely []string
	// A subquery for one value, unlike EXISTS, is never made a hash of the table.
	err = s.query(ctx, q, fmt.Sprintf(`SELECT e.id, e.created_at, e.seq,
			(SELECT 1 FROM outhook_pending d WHERE d.event_id = e.id LIMIT 1) IS NULL AND
			(SELECT 1 FROM outhook_finished d WHERE d.event_id = e.id LIMIT 1) IS NULL
		FROM outhook_events e WHERE (e.created_at, e.seq) > ($1::timestamptz, $2) AND e.created_at < $3
		ORDER BY e.created_at, e.seq LIMIT %d`, purgeStep),
		[]any{s.dialect.stamp(at.created), at.seq, before}, func(rows Rows) error {
			if len(lonely) == limit {
				return nil // the rest is for the next step
			}
			var id string
			var created stamp
			var alone bool
			err := rows.Scan(&id, &created, &seen.seq, &alone)
			seen.created = created.Time
			if alone {
				lonely = append(lonely, id)
			}
			return err
		})
	if err != nil {
		return 0, at, err
	}
	removed, err = s.forgetEvents(ctx, q, lonely, before)
	return removed, seen, err
}

// forgetAttempts removes the attempts of deliveries.
func (s *Store) forgetAttempts(ctx context.Context, q Querier, deliveries []string) error {
	if len(deliveries) == 0 {
		return nil
	}
	_, err := s.exec(ctx, q, "DELETE FROM outhook_attempts WHERE "+s.dialect.member("delivery_id", "uuid", "$1"), s.dialect.list(deliveries))
	return err
}

// forgetEvents removes those of the events that are older than before and have
// no deliveries left. It locks them first, so that nobody adds a delivery while
// it looks.
func (s *Store) forgetEvents(ctx context.Context, q Querier, events []string, before any) (removed int, err error) {
	if len(events) == 0 {
		return 0, nil
	}
	slices.Sort(events)
	events = slices.Compact(events)
	var locked []string
	err = s.query(ctx, q, "SELECT id FROM outhook_events WHERE "+s.dialect.member("id", "text", "$1")+" AND created_at < $2 ORDER BY id FOR UPDATE SKIP LOCKED",
		[]any{s.dialect.list(events), before}, func(rows Rows) error {
			var id string
			err := rows.Scan(&id)
			locked = append(locked, id)
			return err
		})
	if err != nil || len(locked) == 0 {
		return 0, err
	}
	return s.exec(ctx, q, "DELETE FROM outhook_events WHERE "+s.dialect.member("id", "text", "$1")+`
		AND NOT EXISTS (SELECT 1 FROM outhook_pending d WHERE d.event_id = outhook_events.id)
		AND NOT EXISTS (SELECT 1 FROM outhook_finished d WHERE d.event_id = outhook_events.id) RETURNING id`, s.dialect.list(locked))
}

// eraseStep is how many events or deliveries Erase removes in one transaction.
const eraseStep = 500

// Erase removes all that belongs to a tenant and to the tenants within it, as a
// law or a contract may ask for: endpoints with their secrets, events, and the
// deliveries and attempts of either, pending ones too, which are not sent any
// more. Events that its endpoints received from elsewhere, those of all tenants
// that is, stay with their owners. The zero tenant "" is that tenant alone.
//
// It works in transactions of up to 500 events or deliveries, and may be repeated
// after an error. These are small, but for two things: an endpoint goes with all
// that is pending for it, as when it is unregistered, and an event with all its
// deliveries.
//
// What is published or registered meanwhile may be left: stop that first.
func (s *Store) Erase(ctx context.Context, tenant string) error {
	scope := webhook.Scope{Tenant: tenant}
	steps := []func(Querier) (int, error){
		func(q Querier) (int, error) { return s.eraseEndpoint(ctx, q, scope) },
		func(q Querier) (int, error) { return s.eraseEvents(ctx, q, scope) },
		// No index leads to those that are pending: they are searched until none is
		// left, and not again before every step of the finished ones.
		func(q Querier) (int, error) { return s.eraseDeliveries(ctx, q, "outhook_pending", scope) },
		func(q Querier) (int, error) { return s.eraseDeliveries(ctx, q, "outhook_finished", scope) },
	}
	for _, step := range steps {
		for {
			n := 0
			err := s.write(ctx, func(q Querier) (err error) { n, err = step(q); return err })
			if err != nil {
				return fmt.Errorf("erase tenant %q: %w", tenant, err)
			}
			if n == 0 {
				break
			}
		}
	}
	return nil
}

// selectIDs returns the IDs of up to limit rows of a table in the scope.
func (s *Store) selectIDs(ctx context.Context, q Querier, table string, scope webhook.Scope, limit int) (ids []string, err error) {
	var w where
	w.scope("tenant", scope)
	err = s.query(ctx, q, "SELECT id::text FROM "+table+w.String()+fmt.Sprintf(" LIMIT %d", limit), w.args, func(rows Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	return ids, err
}

// eraseEndpoint removes one endpoint, whose backlog may be large.
func (s *Store) eraseEndpoint(ctx context.Context, q Querier, scope webhook.Scope) (int, error) {
	ids, err := s.selectIDs(ctx, q, "outhook_endpoints", scope, 1)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	if err := s.deleteEndpoint(ctx, q, ids[0]); err != nil && !errors.Is(err, webhook.ErrNotFound) { // unregistered meanwhile
		return 0, err
	}
	return 1, nil
}

func (s *Store) eraseEvents(ctx context.Context, q Querier, scope webhook.Scope) (int, error) {
	ids, err := s.selectIDs(ctx, q, "outhook_events", scope, eraseStep)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	list := s.dialect.list(ids)
	// In this order, nobody can add a delivery to what is gone.
	if _, err := s.exec(ctx, q, "DELETE FROM outhook_events WHERE "+s.dialect.member("id", "text", "$1"), list); err != nil {
		return 0, err
	}
	return len(ids), s.eraseWhere(ctx, q, s.dialect.member("event_id", "text", "$1"), list)
}

func (s *Store) eraseDeliveries(ctx context.Context, q Querier, table string, scope webhook.Scope) (int, error) {
	ids, err := s.selectIDs(ctx, q, table, scope, eraseStep)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	return len(ids), s.eraseWhere(ctx, q, s.dialect.member("id", "uuid", "$1"), s.dialect.list(ids))
}

// eraseWhere removes deliveries with their attempts.
func (s *Store) eraseWhere(ctx context.Context, q Querier, condition string, list any) error {
	now, err := s.now(ctx, q)
	if err != nil {
		return err
	}
	// Claims keep away meanwhile.
	if _, err := s.exec(ctx, q, "SELECT endpoint_id FROM outhook_lanes WHERE endpoint_id IN (SELECT endpoint_id FROM outhook_pending WHERE "+
		condition+") ORDER BY endpoint_id FOR UPDATE", list); err != nil {
		return err
	}
	type chain struct{ endpointID, key string }
	chains := make(map[chain]bool)
	for _, from := range [][2]string{{"outhook_pending", "chain"}, {"outhook_finished", "NULL::text"}} {
		var ids []string
		if err := s.query(ctx, q, "DELETE FROM "+from[0]+" WHERE "+condition+" RETURNING id::text, endpoint_id, "+from[1], []any{list}, func(rows Rows) error {
			var id, endpointID string
			var key sql.NullString
			err := rows.Scan(&id, &endpointID, &key)
			ids = append(ids, id)
			if key.Valid {
				chains[chain{endpointID, key.String}] = true
			}
			return err
		}); err != nil {
			return err
		}
		if err := s.forgetAttempts(ctx, q, ids); err != nil {
			return err
		}
	}
	// What waited for one of these in its chain need not any more.
	for c := range chains {
		if _, err := s.exec(ctx, q, "INSERT INTO outhook_alarms (due, endpoint_id, chain) VALUES ($1, $2, $3)", s.dialect.stamp(now), c.endpointID, c.key); err != nil {
			return err
		}
	}
	return nil
}
