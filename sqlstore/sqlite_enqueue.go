package sqlstore

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/outhook/webhook"
)

const (
	sqliteInsertEvent = `INSERT INTO outhook_events (id, key, type, tenant, ordering_key, time, created_at, test, sum, data)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING`
	sqliteMatch = `SELECT DISTINCT e.id, e.tenant, e.ordered, l.seq
		FROM json_each(?1) t CROSS JOIN json_each(?2) p
			CROSS JOIN outhook_subscriptions s ON s.tenant = t.value AND s.pattern = p.value
			CROSS JOIN outhook_endpoints e ON e.id = s.endpoint_id
			CROSS JOIN outhook_lanes l ON l.endpoint_id = e.id
		WHERE NOT e.disabled`
	sqliteAddressed = `SELECT v.seq, v.type, v.tenant, v.ordering_key, length(v.data), e.id, e.tenant, e.ordered, l.seq
		FROM outhook_events v CROSS JOIN json_each(?2) w CROSS JOIN outhook_endpoints e ON e.id = w.value
			CROSS JOIN outhook_lanes l ON l.endpoint_id = e.id
		WHERE v.id = ?1 AND NOT (?3 AND EXISTS (SELECT 1 FROM outhook_deliveries d
			WHERE d.event_id = v.id AND d.endpoint_id = e.id AND d.state IN ('pending', 'delivered')))
		ORDER BY w.key`
	sqliteInsertDelivery = `INSERT INTO outhook_deliveries (id, event_seq, event_id, event_type, event_tenant, endpoint_id, tenant, state, origin, created_at, updated_at)
		VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending', ?8, ?9, ?9)`
	sqliteInsertQueued = `INSERT INTO outhook_queue (seq, lane, due, lease, leased, expired, outside, chain, head, size)
		VALUES (?1, ?2, ?3, ?4, ?4, 0, ?4, ?5, ?5 IS NULL, ?6)`
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
	lane       int64
}

// sqliteAlarm is what a lane has been told.
type sqliteAlarm struct {
	due, lane int64
	chain     string
	chained   bool
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
	fresh := make(map[int]int64, len(c.ps))
	for n := range c.ps {
		seq, id, status, err := e.store(ctx, &c.ps[n])
		if err != nil {
			return err
		}
		if c.set(n, id, status, 0); status == statusNew {
			fresh[n] = seq
		}
	}
	for n := range c.ps {
		p := &c.ps[n]
		seq, ok := fresh[n]
		if !ok {
			continue
		}
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
			if _, err := e.deliver(ctx, sqliteEvent{&p.Event, seq, len(p.Event.Data)}, t, p.Origin, 0); err != nil {
				return err
			}
		}
		c.results[n].Deliveries = len(targets)
	}
	return nil
}

// store stores the event of a publication unless it is known, and returns its ID
// and what became of it.
func (e *sqliteEnqueue) store(ctx context.Context, p *webhook.Publication) (seq int64, id, status string, err error) {
	v := &p.Event
	var key any
	if v.Key != "" {
		key = v.Key
	}
	seq, fresh, err := e.insert(ctx, sqliteInsertEvent, v.ID, key, v.Type, v.Tenant, v.OrderingKey, v.Time.UnixMicro(), e.now, v.Test, v.Sum[:], notNil(v.Data))
	if err != nil || fresh {
		return seq, v.ID, statusNew, err
	}
	var byID, byKey string
	var sum []byte
	scan := func(id *string) func(Rows) error {
		return func(rows Rows) error { return rows.Scan(id, &sum) }
	}
	if err := e.query(ctx, "SELECT id, sum FROM outhook_events WHERE id = ?1", []any{v.ID}, scan(&byID)); err != nil {
		return 0, "", "", err
	}
	if err := e.query(ctx, "SELECT id, sum FROM outhook_events WHERE tenant = ?1 AND key = ?2", []any{v.Tenant, key}, scan(&byKey)); err != nil {
		return 0, "", "", err
	}
	switch addressed := p.Endpoints != nil; {
	case addressed && byID != "":
		return 0, v.ID, statusKnown, nil
	case byID != "" && byKey != "" && byID != byKey:
		return 0, v.ID, statusOtherKey, nil
	case addressed || !bytes.Equal(sum, v.Sum[:]):
		return 0, v.ID, statusOther, nil
	}
	return 0, cmp.Or(byID, byKey), statusDuplicate, nil
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
		err := rows.Scan(&t.id, &t.tenant, &t.ordered, &t.lane)
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
		event := sqliteEvent{EventRecord: &webhook.EventRecord{ID: p.Event.ID}}
		var targets []sqliteTarget
		err := e.query(ctx, sqliteAddressed, []any{event.ID, jsonList(p.Endpoints), p.Missing}, func(rows Rows) error {
			var t sqliteTarget
			err := rows.Scan(&event.seq, &event.Type, &event.Tenant, &event.OrderingKey, &event.size, &t.id, &t.tenant, &t.ordered, &t.lane)
			targets = append(targets, t)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, t := range targets {
			id, err := e.deliver(ctx, event, t, p.Origin, max(microseconds(p.Lease), 0))
			if err != nil {
				return nil, err
			}
			created[event.ID] = append(created[event.ID], id)
		}
	}
	return created, nil
}

// sqliteEvent is a stored event; its data may be missing.
type sqliteEvent struct {
	*webhook.EventRecord
	seq  int64
	size int // of its data
}

// deliver creates a delivery, born leased for lease unless that is 0, and
// returns its ID.
func (e *sqliteEnqueue) deliver(ctx context.Context, v sqliteEvent, t sqliteTarget, origin webhook.Origin, lease int64) (string, error) {
	u, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	id := u.String()
	ring := sqliteAlarm{due: e.now + lease, lane: t.lane, chained: t.ordered && lease == 0}
	var chain any
	if ring.chained {
		ring.chain, chain = v.OrderingKey, v.OrderingKey
	}
	seq, _, err := e.insert(ctx, sqliteInsertDelivery, id, v.seq, v.ID, v.Type, v.Tenant, t.id, t.tenant, string(origin), e.now)
	if err != nil {
		return "", err
	}
	if _, err := e.exec(ctx, sqliteInsertQueued, seq, t.lane, ring.due, lease > 0, chain, v.size); err != nil || e.rung[ring] {
		return id, err
	}
	e.rung[ring] = true
	if err := e.ring(ctx, ring.due, t.lane); err != nil || !ring.chained {
		return id, err
	}
	return id, e.promote(ctx, t.lane, ring.chain)
}
