package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// allTenants is the tenant that an endpoint of all tenants subscribes as.
const allTenants = "*"

// endpointColumns are those that scanEndpoint reads.
const endpointColumns = `e.id, e.tenant, e.all_tenants, e.patterns, e.ordered, e.disabled, e.disabled_reason,
	l.failing_since, l.not_before, e.created_at, e.updated_at, e.rev, e.config`

const endpointTables = " FROM outhook_endpoints e JOIN outhook_lanes l ON l.endpoint_id = e.id"

func scanEndpoint(rows Rows, r *webhook.EndpointRecord) error {
	var patterns string
	var failingSince, notBefore, createdAt, updatedAt stamp
	if err := rows.Scan(&r.ID, &r.Tenant, &r.AllTenants, &patterns, &r.Ordered, &r.Disabled, &r.DisabledReason,
		&failingSince, &notBefore, &createdAt, &updatedAt, &r.Rev, &r.Config); err != nil {
		return err
	}
	r.FailingSince, r.NotBefore, r.CreatedAt, r.UpdatedAt = failingSince.Time, notBefore.Time, createdAt.Time, updatedAt.Time
	return scanPatterns(patterns, r)
}

func scanPatterns(patterns string, r *webhook.EndpointRecord) error {
	return json.Unmarshal([]byte(patterns), &r.Patterns)
}

// PutEndpoint implements [webhook.EndpointStore].
func (s *Store) PutEndpoint(ctx context.Context, r webhook.EndpointRecord) (stored webhook.EndpointRecord, err error) {
	for _, text := range append([]string{r.ID, r.Tenant}, r.Patterns...) {
		if !isStorable(text) {
			return stored, fmt.Errorf("put endpoint %q: %w: %.64q is no UTF-8 without NUL", r.ID, webhook.ErrInvalid, text)
		}
	}
	r.DisabledReason = storable(r.DisabledReason)
	err = s.write(ctx, func(q Querier) error {
		now, err := s.now(ctx, q)
		if err != nil {
			return err
		}
		if r.Rev == 0 {
			err = s.insertEndpoint(ctx, q, &r, now)
		} else {
			err = s.replaceEndpoint(ctx, q, &r, now)
		}
		if err != nil {
			return err
		}
		stored, err = s.readEndpoint(ctx, q, r.ID)
		return err
	})
	if err != nil {
		return webhook.EndpointRecord{}, fmt.Errorf("put endpoint %q: %w", r.ID, err)
	}
	return stored, nil
}

func (s *Store) insertEndpoint(ctx context.Context, q Querier, r *webhook.EndpointRecord, now time.Time) error {
	patterns, err := json.Marshal(r.Patterns)
	if err != nil {
		return err
	}
	at := s.dialect.stamp(now)
	n, err := s.exec(ctx, q, `INSERT INTO outhook_endpoints (id, tenant, all_tenants, patterns, ordered, disabled, disabled_reason, created_at, updated_at, rev, config)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10) ON CONFLICT (id) DO NOTHING RETURNING id`,
		r.ID, r.Tenant, r.AllTenants, string(patterns), r.Ordered, r.Disabled, r.DisabledReason, at, at, notNil(r.Config))
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("%w: the ID exists", webhook.ErrConflict)
	}
	if _, err := s.exec(ctx, q, "INSERT INTO outhook_lanes (endpoint_id, tenant, wake, since) VALUES ($1, $2, $3::timestamptz, $3::timestamptz)", r.ID, r.Tenant, s.dialect.never()); err != nil {
		return err
	}
	return s.subscribe(ctx, q, r)
}

func (s *Store) replaceEndpoint(ctx context.Context, q Querier, r *webhook.EndpointRecord, now time.Time) error {
	patterns, err := json.Marshal(r.Patterns)
	if err != nil {
		return err
	}
	var old struct {
		rev               int64
		disabled, ordered bool
	}
	found, err := s.one(ctx, q, "SELECT rev, disabled, ordered FROM outhook_endpoints WHERE id = $1 FOR NO KEY UPDATE", []any{r.ID}, &old.rev, &old.disabled, &old.ordered)
	switch {
	case err != nil:
		return err
	case !found:
		return webhook.ErrNotFound
	case old.rev != r.Rev:
		return fmt.Errorf("%w: rev is %d, not %d", webhook.ErrConflict, old.rev, r.Rev)
	}
	at := s.dialect.stamp(now)
	if _, err := s.exec(ctx, q, `UPDATE outhook_endpoints SET tenant = $2, all_tenants = $3, patterns = $4, ordered = $5, disabled = $6,
		disabled_reason = $7, updated_at = $8, rev = rev + 1, config = $9 WHERE id = $1`,
		r.ID, r.Tenant, r.AllTenants, string(patterns), r.Ordered, r.Disabled, r.DisabledReason, at, notNil(r.Config)); err != nil {
		return err
	}
	if _, err := s.exec(ctx, q, "DELETE FROM outhook_subscriptions WHERE endpoint_id = $1", r.ID); err != nil {
		return err
	}
	if err := s.subscribe(ctx, q, r); err != nil {
		return err
	}
	if _, err := s.exec(ctx, q, "UPDATE outhook_lanes SET tenant = $2 WHERE endpoint_id = $1 AND tenant <> $2", r.ID, r.Tenant); err != nil {
		return err
	}
	if old.ordered != r.Ordered {
		if err := s.rechain(ctx, q, r, at); err != nil {
			return err
		}
	}
	if old.disabled && !r.Disabled {
		if _, err := s.exec(ctx, q, "UPDATE outhook_lanes SET failing_since = NULL, not_before = NULL WHERE endpoint_id = $1", r.ID); err != nil {
			return err
		}
		return s.alarm(ctx, q, at, r.ID)
	}
	return nil
}

// subscribe writes what an event finds the endpoint by.
func (s *Store) subscribe(ctx context.Context, q Querier, r *webhook.EndpointRecord) error {
	tenant := r.Tenant
	if r.AllTenants {
		tenant = allTenants
	}
	for _, pattern := range r.Patterns {
		if _, err := s.exec(ctx, q, "INSERT INTO outhook_subscriptions (tenant, pattern, endpoint_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
			tenant, pattern, r.ID); err != nil {
			return err
		}
	}
	return nil
}

// rechain makes what is pending follow a change of Ordered.
func (s *Store) rechain(ctx context.Context, q Querier, r *webhook.EndpointRecord, at any) error {
	// Claims keep away meanwhile.
	if _, err := s.exec(ctx, q, "SELECT endpoint_id FROM outhook_lanes WHERE endpoint_id = $1 FOR UPDATE", r.ID); err != nil {
		return err
	}
	if !r.Ordered {
		if _, err := s.exec(ctx, q, "UPDATE outhook_pending SET chain = NULL, head = true WHERE endpoint_id = $1 AND chain IS NOT NULL", r.ID); err != nil {
			return err
		}
		return s.alarm(ctx, q, s.dialect.stamp(time.Unix(0, 0)), r.ID) // they may be older than what the queue looks at
	}
	if _, err := s.exec(ctx, q, `UPDATE outhook_pending SET head = false,
			chain = (SELECT v.ordering_key FROM outhook_events v WHERE v.id = outhook_pending.event_id)
		WHERE endpoint_id = $1 AND NOT outside`, r.ID); err != nil {
		return err
	}
	_, err := s.exec(ctx, q, `INSERT INTO outhook_alarms (due, endpoint_id, chain)
		SELECT DISTINCT $2::timestamptz, endpoint_id, chain FROM outhook_pending WHERE endpoint_id = $1 AND chain IS NOT NULL`, r.ID, at)
	return err
}

// alarm makes the next claim look at the endpoint.
func (s *Store) alarm(ctx context.Context, q Querier, at any, endpointID string) error {
	_, err := s.exec(ctx, q, "INSERT INTO outhook_alarms (due, endpoint_id) VALUES ($1, $2)", at, endpointID)
	return err
}

// DeleteEndpoint implements [webhook.EndpointStore].
func (s *Store) DeleteEndpoint(ctx context.Context, id string) error {
	err := s.write(ctx, func(q Querier) error { return s.deleteEndpoint(ctx, q, id) })
	if err != nil {
		return fmt.Errorf("delete endpoint %q: %w", id, err)
	}
	return nil
}

func (s *Store) deleteEndpoint(ctx context.Context, q Querier, id string) error {
	if !isStorable(id) {
		return webhook.ErrNotFound
	}
	now, err := s.now(ctx, q)
	if err != nil {
		return err
	}
	if err := s.dialect.seesAll(ctx, s, q); err != nil {
		return err
	}
	// This waits for those who are creating deliveries for it.
	n, err := s.exec(ctx, q, "DELETE FROM outhook_endpoints WHERE id = $1 RETURNING id", id)
	if err != nil {
		return err
	}
	if n == 0 {
		return webhook.ErrNotFound
	}
	if _, err := s.exec(ctx, q, "DELETE FROM outhook_subscriptions WHERE endpoint_id = $1", id); err != nil {
		return err
	}
	if _, err := s.exec(ctx, q, "DELETE FROM outhook_lanes WHERE endpoint_id = $1", id); err != nil {
		return err
	}
	if _, err := s.exec(ctx, q, "SELECT id FROM outhook_pending WHERE endpoint_id = $1 ORDER BY id FOR UPDATE", id); err != nil {
		return err
	}
	if _, err := s.exec(ctx, q, `INSERT INTO outhook_finished (id, seq, event_id, event_type, event_tenant, endpoint_id, tenant, state, origin,
			attempts, last_status, last_error, first_attempt, created_at, updated_at)
		SELECT id, seq, event_id, event_type, event_tenant, endpoint_id, tenant, 'cancelled', origin,
			attempts, last_status, last_error, first_attempt, created_at, $2::timestamptz
		FROM outhook_pending WHERE endpoint_id = $1`, id, s.dialect.stamp(now)); err != nil {
		return err
	}
	_, err = s.exec(ctx, q, "DELETE FROM outhook_pending WHERE endpoint_id = $1", id)
	return err
}

// GetEndpoint implements [webhook.EndpointStore].
func (s *Store) GetEndpoint(ctx context.Context, id string) (r webhook.EndpointRecord, err error) {
	err = s.read(ctx, func(q Querier) error {
		r, err = s.readEndpoint(ctx, q, id)
		return err
	})
	if err != nil {
		return webhook.EndpointRecord{}, fmt.Errorf("endpoint %q: %w", id, err)
	}
	return r, nil
}

func (s *Store) readEndpoint(ctx context.Context, q Querier, id string) (r webhook.EndpointRecord, err error) {
	if !isStorable(id) {
		return r, webhook.ErrNotFound
	}
	found := false
	err = s.query(ctx, q, "SELECT "+endpointColumns+endpointTables+" WHERE e.id = $1", []any{id}, func(rows Rows) error {
		found = true
		return scanEndpoint(rows, &r)
	})
	if err == nil && !found {
		err = webhook.ErrNotFound
	}
	return r, err
}

// ListEndpoints implements [webhook.EndpointStore].
func (s *Store) ListEndpoints(ctx context.Context, f webhook.EndpointFilter) (page webhook.Page[webhook.EndpointRecord], err error) {
	var w where
	w.scope("e.tenant", f.Scope)
	if f.Disabled != nil {
		w.add("e.disabled = $", *f.Disabled)
	}
	err = s.read(ctx, func(q Querier) error {
		if _, err := s.one(ctx, q, "SELECT count(*)"+endpointTables+w.String(), w.args, &page.Total); err != nil {
			return err
		}
		bounds, err := w.bounds(s.dialect, endpointListing, f.Scope, time.Time{}, time.Time{}, f.Cursor)
		if err != nil {
			return err
		}
		w.conditions = append(w.conditions, bounds.conditions(nil)...)
		query := "SELECT " + endpointColumns + endpointTables + w.String() + " ORDER BY e.created_at, e.seq LIMIT " + strconv.Itoa(limit(f.Limit)+1)
		return s.query(ctx, q, query, w.args, func(rows Rows) error {
			var r webhook.EndpointRecord
			if err := scanEndpoint(rows, &r); err != nil {
				return err
			}
			add(&page, endpointListing, f.Limit, r, func(r *webhook.EndpointRecord) (time.Time, string) { return r.CreatedAt, r.ID })
			return nil
		})
	})
	if err != nil {
		return webhook.Page[webhook.EndpointRecord]{}, fmt.Errorf("list endpoints: %w", err)
	}
	return page, nil
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// where collects the conditions of a listing. A "$" at the end of a condition is
// its parameter.
type where struct {
	conditions []string
	args       []any
}

func (w *where) String() string {
	if len(w.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conditions, " AND ")
}

func (w *where) add(condition string, arg any) {
	w.conditions = append(w.conditions, condition[:len(condition)-1]+w.arg(arg))
}

// arg adds a parameter and returns its placeholder.
func (w *where) arg(arg any) string {
	w.args = append(w.args, arg)
	return "$" + strconv.Itoa(len(w.args))
}

// scope selects the tenants.
func (w *where) scope(column string, scope webhook.Scope) {
	if !scope.All {
		w.conditions = append(w.conditions, w.within(column, scope))
	}
}

// within returns the condition, by range, that a tenant is in the scope.
func (w *where) within(column string, scope webhook.Scope) string {
	switch {
	case scope.All:
		return "true"
	case scope.Tenant == "" || !isStorable(scope.Tenant):
		return column + " = " + w.arg(storable(scope.Tenant))
	}
	return fmt.Sprintf("(%[1]s = %[2]s OR %[1]s >= %[3]s AND %[1]s < %[4]s)",
		column, w.arg(scope.Tenant), w.arg(scope.Tenant+"/"), w.arg(scope.Tenant+"0")) // "0" follows "/"
}

// spans returns the conditions that a tenant is in the scope, one for each part of
// a listing: of a tenant alone, an index has the rows in their order, and the
// tenants below it, of which there seldom are any, are looked for only where there
// are some.
func (w *where) spans(table string, scope webhook.Scope) []string {
	if scope.All || scope.Tenant == "" || !isStorable(scope.Tenant) {
		return []string{w.within("tenant", scope)}
	}
	below := fmt.Sprintf("tenant >= %s AND tenant < %s", w.arg(scope.Tenant+"/"), w.arg(scope.Tenant+"0")) // "0" follows "/"
	return []string{"tenant = " + w.arg(scope.Tenant), "(SELECT true FROM " + table + " WHERE " + below + " LIMIT 1) AND " + below}
}

// ceiling rounds up to the microsecond: what is before t is before that as well.
func ceiling(t time.Time) time.Time {
	if c := t.Truncate(time.Microsecond); c.Before(t) {
		return c.Add(time.Microsecond)
	}
	return t
}
