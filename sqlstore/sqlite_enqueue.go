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
