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
	err = s.read(ctx, func(q Querier) error {
		var w where
		bounds, err := w.bounds(s.dialect, deliveryListing, f.Scope, f.From, f.To, f.Cursor)
		if err != nil {
			return err
		}
		query := w.deliveries(s.dialect, bounds, f)
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

// deliveriesQuery is a query over the tables that have any of the states, in the
// making. Each part reads one table, or a part of it, in the order of an index.
type deliveriesQuery struct {
	*where
	dialect             dialect
	place               bounds
	filter              webhook.DeliveryFilter
	endpoint, eventType []column // that are asked for
	event               []string // the condition that it is the event's
	parts               []string
}

// deliveries returns the query; "" if it would find nothing.
func (w *where) deliveries(d dialect, b bounds, f webhook.DeliveryFilter) string {
	q := &deliveriesQuery{where: w, dialect: d, place: b, filter: f}
	if f.EndpointID != "" {
		q.endpoint = []column{{"endpoint_id", w.arg(storable(f.EndpointID))}}
	}
	if f.EventType != "" {
		q.eventType = []column{{"event_type", w.arg(storable(f.EventType))}}
	}
	if f.EventID != "" {
		q.event = []string{"event_id = " + w.arg(storable(f.EventID))}
	}
	var within string
	if q.asksFor(webhook.StatePending) || f.EndpointID != "" || f.EventID != "" { // no parameter may be left over
		within = w.within("tenant", f.Scope)
	}
	owned := "true" // whether the endpoint is registered by a tenant in the scope
	if f.EndpointID != "" && !f.Scope.All && d.estimates() {
		owned = fmt.Sprintf("(SELECT %s FROM outhook_endpoints WHERE id = %s)", within, q.endpoint[0].value)
	}
	q.pending(within, owned)
	q.finished(within, owned)
	if len(q.parts) == 0 {
		return ""
	}
	return "SELECT " + strings.Replace(fmt.Sprintf(deliveryColumns, "state", "next_attempt"), "id::text", "id", 1) +
		" FROM (" + strings.Join(q.parts, " UNION ALL ") + ") d ORDER BY created_at DESC, seq DESC LIMIT " + strconv.Itoa(limit(f.Limit)+1)
}

func (q *deliveriesQuery) asksFor(state webhook.State) bool {
	return len(q.filter.States) == 0 || slices.Contains(q.filter.States, state)
}

// part adds what lies in a table where the leading columns have their values, and
// under the conditions.
func (q *deliveriesQuery) part(columns, table string, lead []column, conditions ...string) {
	if !q.dialect.estimates() {
		lead, conditions = nil, append(equal(lead), conditions...)
	}
	in := where{conditions: slices.Concat(q.place.conditions(lead), q.event, conditions)}
	q.parts = append(q.parts, fmt.Sprintf("SELECT * FROM (SELECT %s, seq FROM %s%s ORDER BY %screated_at DESC, seq DESC LIMIT %d) t",
		columns, table, in.String(), descending(lead), limit(q.filter.Limit)+1))
}

func (q *deliveriesQuery) pending(within, owned string) {
	if q.asksFor(webhook.StatePending) {
		q.part(strings.Replace(pendingColumns, "'pending'", "'pending' AS state", 1), "outhook_pending", q.endpoint,
			append(equal(q.eventType), mostly(within), owned+" IS TRUE")...)
	}
}

// finished adds what has any of the other states. These are part of the statement,
// rather than its parameters: how common each is decides which index is the best,
// and there is one for what failed.
func (q *deliveriesQuery) finished(within, owned string) {
	var states []string
	for _, state := range []webhook.State{webhook.StateDelivered, webhook.StateExhausted, webhook.StateCancelled} {
		if q.asksFor(state) {
			states = append(states, "'"+string(state)+"'")
		}
	}
	if len(states) == 0 {
		return
	}
	part := func(lead []column, conditions ...string) {
		q.part(strings.Replace(finishedColumns, "NULL::timestamptz", "NULL::timestamptz AS next_attempt", 1), "outhook_finished",
			lead, append(conditions, q.dialect.finished(states))...)
	}
	ofEndpoint, ofType := q.endpoint, equal(q.eventType)
	if len(q.endpoint) > 0 && q.asksFor(webhook.StateDelivered) { // which the index for what failed has not
		ofEndpoint, ofType = slices.Concat(q.eventType, q.endpoint), nil
	}
	switch {
	case q.filter.EventID != "":
		part(nil, append(append(equal(q.endpoint), equal(q.eventType)...), mostly(within))...)
	case q.filter.EndpointID == "":
		for _, span := range q.spans("outhook_finished", q.filter.Scope) {
			part(nil, append(equal(q.eventType), span)...)
		}
	default:
		part(ofEndpoint, append(ofType, mostly(within), owned+" IS TRUE")...)
		if owned == "true" {
			return
		}
		// Under the ID of an endpoint that is removed, or is a stranger's now, the
		// scope's own log is searched: what time that takes tells of nothing else.
		for _, span := range q.spans("outhook_finished", q.filter.Scope) {
			part(nil, append(equal(q.eventType), span, "endpoint_id || '' = "+q.endpoint[0].value, owned+" IS NOT TRUE")...)
		}
	}
}

// mostly returns a condition that holds for nearly all there is under others, as
// that all an endpoint has is its tenant's, in words of which planners expect that.
// To one that took the two for independent, next to nothing would be left, and worth
// sorting.
func mostly(condition string) string { return "nullif(" + condition + ", false) IS NOT NULL" }

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
	err = s.read(ctx, func(q Querier) error {
		var w where
		bounds, err := w.bounds(s.dialect, eventListing, f.Scope, f.From, f.To, f.Cursor)
		if err != nil || !isStorable(f.Type) {
			return err
		}
		return s.query(ctx, q, w.events(bounds, f), w.args, func(rows Rows) error {
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

// events returns the query.
func (w *where) events(b bounds, f webhook.EventFilter) string {
	const order = " ORDER BY created_at, seq LIMIT "
	limit := strconv.Itoa(limit(f.Limit) + 1)
	conditions := append(b.conditions(nil), "NOT test")
	if f.Type != "" {
		conditions = append(conditions, "type = "+w.arg(storable(f.Type)))
	}
	var parts []string
	for _, span := range w.spans("outhook_events", f.Scope) {
		in := where{conditions: append(slices.Clip(conditions), span)}
		parts = append(parts, "SELECT * FROM (SELECT "+eventColumns+", seq FROM outhook_events"+in.String()+order+limit+") t")
	}
	return "SELECT " + eventColumns + " FROM (" + strings.Join(parts, " UNION ALL ") + ") e" + order + limit
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

// bounds are parameters between which a page of a listing lies; those of a time may
// be empty, and those of an item both.
type bounds struct {
	*listing
	from, to string // times
	at, seq  string // behind that item
}

// bounds are those of a period, and of what is behind the item that a cursor names.
// The number that breaks ties is looked up rather than told, since it counts what
// belongs to others, and looked up within the scope alone, since a caller may make
// up a cursor to learn whether an ID exists. Without it, all that was created at
// that time is listed, some of it once more.
func (w *where) bounds(d dialect, l *listing, scope webhook.Scope, from, to time.Time, text string) (b bounds, err error) {
	b.listing = l
	if !from.IsZero() {
		b.from = w.arg(d.stamp(ceiling(from))) + "::timestamptz"
	}
	if !to.IsZero() {
		b.to = w.arg(d.stamp(ceiling(to))) + "::timestamptz"
	}
	if text == "" {
		return b, nil
	}
	created, id, ok := cursor.Parse(l.kind, text)
	if !ok || !isStorable(id) || l.uuid && !isUUID(id) {
		return b, fmt.Errorf("%w: cursor %.64q was not made by this listing", webhook.ErrInvalid, text)
	}
	at, item, within := w.arg(d.stamp(created))+"::timestamptz", w.arg(id), w.within("tenant", scope)
	if l.uuid {
		item += "::uuid"
	}
	var seqs []string
	for _, table := range l.tables {
		seqs = append(seqs, "SELECT seq FROM "+table+" WHERE id = "+item+" AND created_at = "+at+" AND "+within)
	}
	none := "0"
	if l.newestFirst {
		none = "9223372036854775807"
	}
	b.at, b.seq = at, fmt.Sprintf("coalesce((%s), %s)", strings.Join(seqs, " UNION ALL "), none)
	return b, nil
}

// column is one that a listing is bound to a value of.
type column struct{ name, value string }

// equal returns the conditions that the columns have their values.
func equal(columns []column) (conditions []string) {
	for _, c := range columns {
		conditions = append(conditions, c.name+" = "+c.value)
	}
	return conditions
}

// conditions returns what holds between the bounds where the leading columns have
// their values. These are compared as parts of rows, and ordered by (see
// descending), as if they could vary: so no index gives that order but those that
// begin with them, whatever the planner takes for common, and they are entered at a
// bound.
func (b bounds) conditions(lead []column) (conditions []string) {
	compare := func(comparison, columns string, values ...string) {
		var names, own []string
		for _, c := range lead {
			names, own = append(names, c.name), append(own, c.value)
		}
		if columns != "" {
			names = append(names, columns)
		}
		conditions = append(conditions, fmt.Sprintf("(%s) %s (%s)", strings.Join(names, ", "), comparison, strings.Join(append(own, values...), ", ")))
	}
	created, item := b.alias+"created_at", b.alias+"created_at, "+b.alias+"seq"
	switch {
	case b.at != "" && !b.newestFirst:
		if compare(">", item, b.at, b.seq); b.from != "" {
			conditions = append(conditions, created+" >= "+b.from)
		}
	case b.from != "":
		compare(">=", created, b.from)
	case len(lead) > 0:
		compare(">=", "")
	}
	switch {
	case b.at != "" && b.newestFirst:
		if compare("<", item, b.at, b.seq); b.to != "" {
			conditions = append(conditions, created+" < "+b.to)
		}
	case b.to != "":
		compare("<", created, b.to)
	case len(lead) > 0:
		compare("<=", "")
	}
	return conditions
}

// descending is the part of an order that the leading columns are.
func descending(lead []column) (order string) {
	for _, c := range lead {
		order += c.name + " DESC, "
	}
	return order
}
