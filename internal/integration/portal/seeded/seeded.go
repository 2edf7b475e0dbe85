// Package seeded fills a PostgreSQL database with the log of an application that
// has sent many webhooks, and knows what its portal can be asked for then. Half of
// all deliveries are those of one endpoint.
package seeded

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

const (
	// Tenant has the large endpoint and three others; there are a hundred more
	// tenants with an endpoint each.
	Tenant = "acme"
	// Endpoint has half of all deliveries.
	Endpoint = "acme-1"

	tenants = 100
	step    = 250_000 // deliveries in a statement
)

// Config is that of the dispatcher. Of its event types, one is rare and one has
// never happened.
func Config() webhook.Config {
	var catalog []webhook.EventType
	for _, name := range []string{"document.created", "document.sent", "document.signed", "document.completed", "invoice.paid", "invoice.rare", "invoice.never"} {
		catalog = append(catalog, webhook.EventType{Name: name, Group: name[:7], Example: map[string]any{"id": "doc_7"}})
	}
	return webhook.Config{
		Catalog: catalog,
		Network: webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	}
}

// Fill registers the endpoints and writes n finished deliveries, which were made
// in the last thirty days, with their events and attempts, and some pending ones.
// Of a hundred deliveries, five were given up, after three attempts; one of 5,000
// was cancelled.
func Fill(ctx context.Context, db *sql.DB, n int) error {
	d, err := webhook.NewDispatcher(sqlstore.New(db, sqlstore.PostgreSQL), Config())
	if err != nil {
		return err
	}
	for i := range tenants + 4 {
		e := webhook.Endpoint{ID: fmt.Sprintf("acme-%d", i+1), Tenant: Tenant, URL: "https://hooks.example.com/" + fmt.Sprint(i), CreatedBy: "ada", Description: fmt.Sprintf("Webhook number %d", i+1)}
		if i >= 4 {
			e.ID = fmt.Sprintf("small-%d", i-4)
			e.Tenant = e.ID
		}
		if _, err := d.Register(ctx, e); err != nil {
			return err
		}
	}
	for first := 0; first < n; first += step {
		for _, statement := range statements {
			if _, err := db.ExecContext(ctx, statement, first, min(first+step, n), n); err != nil {
				return fmt.Errorf("fill: %w", err)
			}
		}
	}
	for _, statement := range append(later, "VACUUM ANALYZE") {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return nil
}

// Every delivery has an event of its own. Of its number depend whose it is and
// what became of it.
const log = `WITH log AS (
	SELECT i, ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid AS id, now() - interval '30 days' * (1 - i::float8 / $3::int) AS at,
		CASE WHEN i % 2 = 0 THEN 'acme-1' WHEN i % 10 = 1 THEN 'acme-' || 2 + i / 10 % 3 ELSE 'small-' || i / 10 % 100 END AS endpoint,
		CASE WHEN i % 50000 = 4 THEN 'invoice.rare' ELSE (ARRAY['document.created', 'document.sent', 'document.signed', 'document.completed', 'invoice.paid'])[1 + i / 2 % 5] END AS type,
		CASE WHEN i % 40 IN (6, 7) THEN 'exhausted' WHEN i % 5000 = 12 THEN 'cancelled' ELSE 'delivered' END AS state
	FROM generate_series($1::int, $2::int - 1) i
), deliveries AS (SELECT *, CASE WHEN endpoint LIKE 'acme%' THEN 'acme' ELSE endpoint END AS tenant FROM log)
`

var statements = []string{
	log + `INSERT INTO outhook_events (id, type, tenant, ordering_key, time, created_at, test, data, sum)
	SELECT 'event-' || i, type, tenant, '', at, at, false, '{"id":"doc_7","title":"Lease agreement","pages":12}', decode(repeat('00', 32), 'hex') FROM deliveries ORDER BY i`,
	log + `INSERT INTO outhook_finished (id, seq, event_id, event_type, event_tenant, endpoint_id, tenant, state, origin, attempts, last_status, last_error, first_attempt, created_at, updated_at)
	SELECT id, nextval('outhook_seq'), 'event-' || i, type, tenant, endpoint, tenant, state, 'publish', CASE state WHEN 'exhausted' THEN 3 WHEN 'cancelled' THEN 0 ELSE 1 END,
		CASE state WHEN 'exhausted' THEN 503 WHEN 'cancelled' THEN 0 ELSE 200 END, '', at, at, at + i % 1000 * interval '1 ms' FROM deliveries ORDER BY i`,
	log + `INSERT INTO outhook_attempts (delivery_id, id, number, started_at, duration_us, url, status, error, request_headers, response_headers, body_sha256, response_body, truncated)
	SELECT id, gen_random_uuid()::text, number, at, 1000 * (i % 1000), 'https://hooks.example.com/', CASE state WHEN 'exhausted' THEN 503 ELSE 200 END, '',
		'{"Content-Type":["application/json"],"Webhook-Id":["event"]}', '{"Content-Type":["application/json"]}', decode(repeat('00', 32), 'hex'), '{"received":true}', false
	FROM deliveries, generate_series(1, CASE state WHEN 'exhausted' THEN 3 WHEN 'cancelled' THEN 0 ELSE 1 END) number ORDER BY i`,
}

var later = []string{
	`INSERT INTO outhook_events (id, type, tenant, ordering_key, time, created_at, test, data, sum)
	SELECT 'later-' || i, 'document.signed', 'acme', '', now(), now(), false, '{"id":"doc_7"}', decode(repeat('00', 32), 'hex') FROM generate_series(1, 20000) i`,
	`INSERT INTO outhook_pending (id, event_id, event_type, event_tenant, endpoint_id, tenant, origin, attempts, last_status, due, next_attempt, created_at, updated_at, size)
	SELECT gen_random_uuid(), 'later-' || i, 'document.signed', 'acme', 'acme-1', 'acme', 'publish', 1, 503, now() + interval '1 day', now() + interval '1 day', now(), now(), 10
	FROM generate_series(1, 20000) i`,
}

// Request is something that the portal can be asked for.
type Request struct {
	Name     string
	Path     string // below the portal's root
	Operator bool   // asked by an operator, otherwise by Tenant
	Rows     int    // that its plan may read, where that is more than a page's: all that is pending
}

// Requests returns all pages, lists and filters, at the store that Fill has made
// with n deliveries.
func Requests(n int) []Request {
	at := func(path string, query ...string) string {
		v := url.Values{}
		for i := 0; i < len(query); i += 2 {
			v.Set(query[i], query[i+1])
		}
		if len(v) == 0 {
			return path
		}
		return path + "?" + v.Encode()
	}
	const page = "endpoints/" + Endpoint
	ago := func(d time.Duration) string { return time.Now().UTC().Add(-d).Format("2006-01-02T15:04") }
	const day = 24 * time.Hour
	delivery := fmt.Sprintf("deliveries/00000000-0000-7000-8000-%012x", n/2*2-40+6) // given up
	return []Request{
		{Name: "list", Path: ""},
		{Name: "list of all tenants", Path: "", Operator: true},
		{Name: "list, searched", Path: at("", "q", "number 77"), Operator: true},
		{Name: "list, disabled", Path: at("", "show", "disabled"), Operator: true},
		{Name: "new webhook", Path: "endpoints/new"},
		{Name: "webhook", Path: page},
		{Name: "webhook, 7 days", Path: at(page, "chart", "7d")},
		{Name: "webhook, 30 days", Path: at(page, "chart", "30d")},
		{Name: "webhook, a small one", Path: "endpoints/small-7", Operator: true},
		{Name: "calls, delivered", Path: at(page, "state", "delivered")},
		{Name: "calls, failed", Path: at(page, "state", "exhausted")},
		{Name: "calls, pending", Path: at(page, "state", "pending")},
		{Name: "calls, cancelled", Path: at(page, "state", "cancelled")},
		{Name: "calls of an event type", Path: at(page, "type", "document.signed")},
		{Name: "calls of a rare event type", Path: at(page, "type", "invoice.rare")},
		{Name: "calls of an event type that never happened", Path: at(page, "type", "invoice.never")},
		{Name: "calls, failed, of a rare event type", Path: at(page, "type", "invoice.rare", "state", "exhausted")},
		{Name: "calls, delivered, of an event type that never happened", Path: at(page, "type", "invoice.never", "state", "delivered")},
		{Name: "calls, last hour", Path: at(page, "range", "1h")},
		{Name: "calls, failed in the last 7 days", Path: at(page, "range", "7d", "state", "exhausted")},
		{Name: "calls, long ago", Path: at(page, "range", "custom", "from", ago(20*day), "to", ago(19*day))},
		{Name: "calls, cancelled long ago", Path: at(page, "range", "custom", "from", ago(29*day), "to", ago(28*day), "state", "cancelled")},
		{Name: "signature", Path: page + "/verify"},
		{Name: "settings", Path: page + "/edit"},
		{Name: "test", Path: page + "/test"},
		{Name: "delete", Path: page + "/delete"},
		{Name: "replay", Path: page + "/replay"},
		{Name: "replay, preview of failed ones of a day", Path: at(page+"/replay", "what", "failed", "range", "24h", "preview", "1")},
		{Name: "replay, preview of failed ones of 30 days", Path: at(page+"/replay", "what", "failed", "range", "30d", "preview", "1")},
		{Name: "replay, preview of everything missed in 30 days", Path: at(page+"/replay", "what", "missed", "range", "30d", "preview", "1")},
		{Name: "call", Path: delivery},
		{Name: "API: endpoints", Path: "api/v1/endpoints"},
		{Name: "API: deliveries", Path: "api/v1/deliveries", Rows: 20_000},
		{Name: "API: deliveries of all tenants", Path: "api/v1/deliveries", Operator: true, Rows: 20_000},
		{Name: "API: failed deliveries", Path: "api/v1/deliveries?state=exhausted"},
		{Name: "API: deliveries of an event", Path: "api/v1/deliveries?eventId=event-4"},
		{Name: "API: deliveries of a rare event type", Path: "api/v1/deliveries?endpointId=" + Endpoint + "&eventType=invoice.rare"},
		{Name: "API: delivery", Path: "api/v1/" + delivery},
		{Name: "API: statistics", Path: "api/v1/statistics?endpointId=" + Endpoint},
		{Name: "API: attempts", Path: "api/v1/" + delivery + "/attempts"},
	}
}
