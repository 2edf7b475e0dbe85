package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/cursor"
)

const (
	defaultLimit = 100
	maxLimit     = 1000
)

const (
	deliveryColumns = "id::text, event_id, event_type, event_tenant, endpoint_id, tenant, %s, origin, attempts, last_status, last_error, first_attempt, %s, created_at, updated_at"
	eventColumns    = "id, key, type, tenant, ordering_key, time, created_at, test, data, sum"
	attemptColumns  = `id, number, started_at, duration_us, url, status, error, request_headers, response_headers, body_sha256, response_body, truncated`
)

// The columns that scanDelivery reads, from either table.
var (
	pendingColumns  = fmt.Sprintf(deliveryColumns, "'pending'", "next_attempt")
	finishedColumns = fmt.Sprintf(deliveryColumns, "state", "NULL::timestamptz")
)

// scanDelivery reads a row that begins with the columns of a delivery.
func scanDelivery(rows Rows, d *webhook.Delivery, more ...any) error {
	var state, origin string
	var firstAttempt, nextAttempt, createdAt, updatedAt stamp
	if err := rows.Scan(append([]any{&d.ID, &d.EventID, &d.EventType, &d.EventTenant, &d.EndpointID, &d.Tenant, &state, &origin,
		&d.Attempts, &d.LastStatus, &d.LastError, &firstAttempt, &nextAttempt, &createdAt, &updatedAt}, more...)...); err != nil {
		return err
	}
	d.State, d.Origin = webhook.State(state), webhook.Origin(origin)
	d.FirstAttempt, d.NextAttempt, d.CreatedAt, d.UpdatedAt = firstAttempt.Time, nextAttempt.Time, createdAt.Time, updatedAt.Time
	return nil
}

func scanEvent(rows Rows, e *webhook.EventRecord) error {
	var key text
	var at, createdAt stamp
	var sum []byte
	if err := rows.Scan(&e.ID, &key, &e.Type, &e.Tenant, &e.OrderingKey, &at, &createdAt, &e.Test, &e.Data, &sum); err != nil {
		return err
	}
	e.Key, e.Time, e.CreatedAt = string(key), at.Time, createdAt.Time
	copy(e.Sum[:], sum)
	return nil
}

func scanAttempt(rows Rows, a *webhook.Attempt) error {
	var startedAt stamp
	var duration int64
	var sum []byte
	if err := rows.Scan(&a.ID, &a.Number, &startedAt, &duration, &a.URL, &a.StatusCode, &a.Error,
		headers{&a.RequestHeaders}, headers{&a.ResponseHeaders}, &sum, &a.ResponseBody, &a.Truncated); err != nil {
		return err
	}
	a.StartedAt, a.Duration = startedAt.Time, time.Duration(duration)*time.Microsecond
	copy(a.BodySHA256[:], sum)
	return nil
}

// GetDelivery implements [webhook.Log].
func (s *Store) GetDelivery(ctx context.Context, id string) (d webhook.Delivery, err error) {
	found := false
	err = s.read(ctx, func(q Querier) error {
		if !isUUID(id) {
			return nil
		}
		return s.query(ctx, q, "SELECT "+pendingColumns+" FROM outhook_pending WHERE id = $1::uuid UNION ALL SELECT "+finishedColumns+" FROM outhook_finished WHERE id = $1::uuid",
			[]any{id}, func(rows Rows) error {
				found = true
				return scanDelivery(rows, &d)
			})
	})
	if err == nil && !found {
		err = webhook.ErrNotFound
	}
	if err != nil {
		return webhook.Delivery{}, fmt.Errorf("delivery %q: %w", id, err)
	}
	return d, nil
}

// GetEvent implements [webhook.Log].
func (s *Store) GetEvent(ctx context.Context, id string) (e webhook.EventRecord, err error) {
	found := false
	err = s.read(ctx, func(q Querier) error {
		if !isStorable(id) {
			return nil
		}
		return s.query(ctx, q, "SELECT "+eventColumns+" FROM outhook_events WHERE id = $1", []any{id}, func(rows Rows) error {
			found = true
			return scanEvent(rows, &e)
		})
	})
	if err == nil && !found {
		err = webhook.ErrNotFound
	}
	if err != nil {
		return webhook.EventRecord{}, fmt.Errorf("event %q: %w", id, err)
	}
	return e, nil
}

// ListDeliveries implements [webhook.Log].
func (s *Store) ListDeliveries(ctx context.Context, f webhook.DeliveryFilter) (page webhook.Page[webhook.Delivery], err error) {
	var w where
	w.scope("tenant", f.Scope)
	for column, value := range map[string]string{"endpoint_id": f.EndpointID, "event_id": f.EventID, "event_type": f.EventType} {
		if value != "" {
			w.add(column+" = $", storable(value))
		}
	}
	w.period(s.dialect, f.From, f.To)
	err = s.read(ctx, func(q Querier) error {
		if err := w.place(s.dialect, deliveryListing, f.Cursor, f.Scope); err != nil {
			return err
		}
		query := w.deliveries(f.States, limit(f.Limit)+1)
		if query == "" || !isStorable(f.EndpointID) || !isStorable(f.EventID) || !isStorable(f.EventType) {
			return nil
		}
		return s.query(ctx, q, query, w.args, func(rows Rows) error {
			var d webhook.Delivery
			if err := scanDelivery(rows, &d); err != nil {
				return err
			}
			add(&page, deliveryListing, f.Limit, d, func(d *webhook.Delivery) (time.Time, string) { return d.CreatedAt, d.ID })
			return nil
		})
	})
	if err != nil {
		return webhook.Page[webhook.Delivery]{}, fmt.Errorf("list deliveries: %w", err)
	}
	return page, nil
}

// deliveries returns the query over the tables that have any of the states.
func (w *where) deliveries(states []webhook.State, limit int) string {
	var tables []string
	table := func(columns, name, where string) {
		tables = append(tables, fmt.Sprintf("SELECT * FROM (SELECT %s, seq FROM %s%s ORDER BY created_at DESC, seq DESC LIMIT %d) t", columns, name, where, limit))
	}
	if len(states) == 0 || slices.Contains(states, webhook.StatePending) {
		table(strings.Replace(pendingColumns, "'pending'", "'pending' AS state", 1), "outhook_pending", w.String())
	}
	finished := slices.DeleteFunc(slices.Clone(states), func(s webhook.State) bool { return s == webhook.StatePending || !isStorable(string(s)) })
	if len(states) == 0 || len(finished) > 0 {
		in := *w
		if len(finished) > 0 {
			marks := make([]string, len(finished))
			for n, state := range finished {
				marks[n] = in.arg(string(state))
			}
			in.conditions = append(slices.Clone(w.conditions), "state IN ("+strings.Join(marks, ", ")+")")
			if !slices.Contains(finished, webhook.StateDelivered) {
				in.conditions = append(in.conditions, "state <> 'delivered'") // which an index is made for
			}
			w.args = in.args
		}
		table(strings.Replace(finishedColumns, "NULL::timestamptz", "NULL::timestamptz AS next_attempt", 1), "outhook_finished", in.String())
	}
	if len(tables) == 0 {
		return ""
	}
	return "SELECT " + strings.ReplaceAll(strings.Replace(fmt.Sprintf(deliveryColumns, "state", "next_attempt"), "id::text", "id", 1), "\n", "") +
		" FROM (" + strings.Join(tables, " UNION ALL ") + ") d ORDER BY created_at DESC, seq DESC LIMIT " + strconv.Itoa(limit)
}

// ListAttempts implements [webhook.Log].
func (s *Store) ListAttempts(ctx context.Context, deliveryID string) (attempts []webhook.Attempt, err error) {
	err = s.read(ctx, func(q Querier) error {
		if !isUUID(deliveryID) {
			return nil
		}
		return s.query(ctx, q, "SELECT "+attemptColumns+" FROM outhook_attempts WHERE delivery_id = $1::uuid ORDER BY seq", []any{deliveryID}, func(rows Rows) error {
			a := webhook.Attempt{DeliveryID: deliveryID}
			err := scanAttempt(rows, &a)
			attempts = append(attempts, a)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("attempts of delivery %q: %w", deliveryID, err)
	}
	return attempts, nil
}

// ListEvents implements [webhook.Log].
func (s *Store) ListEvents(ctx context.Context, f webhook.EventFilter) (page webhook.Page[webhook.EventRecord], err error) {
	w := where{conditions: []string{"NOT test"}}
	w.scope("tenant", f.Scope)
	if f.Type != "" {
		w.add("type = $", storable(f.Type))
	}
	w.period(s.dialect, f.From, f.To)
	err = s.read(ctx, func(q Querier) error {
		if err := w.place(s.dialect, eventListing, f.Cursor, f.Scope); err != nil {
			return err
		}
		if !isStorable(f.Type) {
			return nil
		}
		query := "SELECT " + eventColumns + " FROM outhook_events" + w.String() + " ORDER BY created_at, seq LIMIT " + strconv.Itoa(limit(f.Limit)+1)
		return s.query(ctx, q, query, w.args, func(rows Rows) error {
			var e webhook.EventRecord
			if err := scanEvent(rows, &e); err != nil {
				return err
			}
			add(&page, eventListing, f.Limit, e, func(e *webhook.EventRecord) (time.Time, string) { return e.CreatedAt, e.ID })
			return nil
		})
	})
	if err != nil {
		return webhook.Page[webhook.EventRecord]{}, fmt.Errorf("list events: %w", err)
	}
	return page, nil
}

// limit returns how many items a page may have.
func limit(asked int) int {
	if asked <= 0 {
		return defaultLimit
	}
	return min(asked, maxLimit)
}

// listing is what the listings differ in.
type listing struct {
	kind        byte // of its cursors
	newestFirst bool
	alias       string   // of its table
	tables      []string // in which an item may be
	uuid        bool     // its IDs are
}

var (
	endpointListing = &listing{kind: 'e', alias: "e.", tables: []string{"outhook_endpoints"}}
	deliveryListing = &listing{kind: 'd', newestFirst: true, tables: []string{"outhook_pending", "outhook_finished"}, uuid: true}
	eventListing    = &listing{kind: 'v', tables: []string{"outhook_events"}}
)

// add adds an item to a page, of which one more than there is room for is read,
// to know whether there is a next page.
func add[T any](page *webhook.Page[T], l *listing, asked int, item T, position func(*T) (time.Time, string)) {
	if len(page.Items) < limit(asked) {
		page.Items = append(page.Items, item)
		return
	}
	created, id := position(&page.Items[len(page.Items)-1])
	page.Next = cursor.Format(l.kind, created, id)
}

// place continues behind the item that the cursor names. The number that breaks
// ties is looked up rather than told, since it counts what belongs to others,
// and looked up within the scope alone, since a caller may make up a cursor to
// learn whether an ID exists. Without it, all that was created at that time is
// listed, some of it once more.
func (w *where) place(d dialect, l *listing, text string, scope webhook.Scope) error {
	if text == "" {
		return nil
	}
	created, id, ok := cursor.Parse(l.kind, text)
	if !ok || !isStorable(id) || l.uuid && !isUUID(id) {
		return fmt.Errorf("%w: cursor %.64q was not made by this listing", webhook.ErrInvalid, text)
	}
	at, item, within := w.arg(d.stamp(created))+"::timestamptz", w.arg(id), w.within("tenant", scope)
	if l.uuid {
		item += "::uuid"
	}
	var seqs []string
	for _, table := range l.tables {
		seqs = append(seqs, "SELECT seq FROM "+table+" WHERE id = "+item+" AND created_at = "+at+" AND "+within)
	}
	comparison, none := ">", "0"
	if l.newestFirst {
		comparison, none = "<", "9223372036854775807"
	}
	w.conditions = append(w.conditions, fmt.Sprintf("(%[1]screated_at, %[1]sseq) %[2]s (%[3]s, coalesce((%[4]s), %[5]s))",
		l.alias, comparison, at, strings.Join(seqs, " UNION ALL "), none))
	return nil
}
