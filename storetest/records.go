package storetest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// endpoint is a record that subscribes to everything.
func endpoint(id, tenant string) webhook.EndpointRecord {
	return webhook.EndpointRecord{ID: id, Tenant: tenant, Patterns: []string{"*"}, Config: []byte("config of " + id)}
}

// event is a record whose Data and Sum follow from id.
func event(id, tenant string) webhook.EventRecord {
	data := fmt.Appendf(nil, `{"of":%q}`, id)
	return webhook.EventRecord{
		ID: id, Type: "document.signed", Tenant: tenant, Data: data, Sum: sha256.Sum256(data),
		Time: time.Date(2026, time.January, 2, 3, 4, 5, 678_901_000, time.UTC),
	}
}

// publication publishes event(id, tenant) as a dispatcher would.
func publication(id, tenant string) webhook.Publication {
	return webhook.Publication{
		Event: event(id, tenant), Patterns: []string{"document.signed", "document.*", "*"},
		Tenants: lineage(tenant), Origin: webhook.OriginPublish,
	}
}

// addressed publishes event(id, "") to the named endpoints.
func addressed(id string, endpoints ...string) webhook.Publication {
	p := publication(id, "")
	p.Endpoints = append([]string{}, endpoints...)
	p.Origin = webhook.OriginReplay
	return p
}

// lineage returns the tenant and those that it is within.
func lineage(tenant string) []string {
	ts := []string{tenant}
	for i := strings.LastIndexByte(tenant, '/'); i >= 0; i = strings.LastIndexByte(tenant, '/') {
		tenant = tenant[:i]
		ts = append(ts, tenant)
	}
	return ts
}

// outcome settles a claimed delivery without an attempt.
func outcome(c webhook.Claimed, state webhook.State) webhook.Settlement {
	return webhook.Settlement{DeliveryID: c.Delivery.ID, Lease: c.Lease, State: state}
}

// attempted settles a claimed delivery with a counted attempt.
func attempted(c webhook.Claimed, state webhook.State, status int) webhook.Settlement {
	s := outcome(c, state)
	s.Counted = true
	s.Attempt = &webhook.Attempt{
		ID: newID(), DeliveryID: c.Delivery.ID, Number: c.Delivery.Attempts + 1, StatusCode: status,
		StartedAt: time.Date(2026, time.May, 6, 7, 8, 9, 123_456_000, time.UTC), Duration: 20 * time.Millisecond,
		URL: "https://example.com/hook",
	}
	if status < 200 || status > 299 {
		s.Attempt.Error = fmt.Sprintf("status %d", status)
	}
	return s
}

// failed gives a delivery back, due at once, and says so of the endpoint.
func failed(c webhook.Claimed) webhook.Settlement {
	s := outcome(c, webhook.StatePending)
	s.Health = webhook.HealthFailure
	return s
}

// newID returns a UUID (RFC 9562, version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func allTenants() webhook.Scope { return webhook.Scope{All: true} }

func eventsOf(batch []webhook.Claimed) []string {
	return collectStrings(batch, func(c webhook.Claimed) string { return c.Delivery.EventID })
}

func endpointsOf(batch []webhook.Claimed) []string {
	return collectStrings(batch, func(c webhook.Claimed) string { return c.Delivery.EndpointID })
}

func endpointOf(d webhook.Delivery) string     { return d.EndpointID }
func eventOf(d webhook.Delivery) string        { return d.EventID }
func eventID(e webhook.EventRecord) string     { return e.ID }
func recordID(r webhook.EndpointRecord) string { return r.ID }

func collectStrings[T any](items []T, of func(T) string) []string {
	var all []string
	for _, i := range items {
		all = append(all, of(i))
	}
	return all
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// sameTime allows for a store that rounds to the microsecond.
func sameTime(a, b time.Time) bool {
	return a.IsZero() == b.IsZero() && a.Sub(b).Abs() < time.Microsecond
}

// diff says in which fields two structs differ, "" if in none. Nil and empty are
// the same, and so are times that rounding to the microsecond explains.
func diff[T any](got, want T) string {
	var ds []string
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		a, b := g.Field(i).Interface(), w.Field(i).Interface()
		if !sameField(a, b) {
			ds = append(ds, fmt.Sprintf("%s is %s, want %s", g.Type().Field(i).Name, brief(a), brief(b)))
		}
	}
	return strings.Join(ds, "; ")
}

func sameField(got, want any) bool {
	switch w := want.(type) {
	case time.Time:
		return sameTime(got.(time.Time), w)
	case time.Duration:
		return (got.(time.Duration) - w).Abs() < time.Microsecond
	case []byte:
		return bytes.Equal(got.([]byte), w)
	case []string:
		return slices.Equal(got.([]string), w)
	case http.Header:
		return maps.EqualFunc(got.(http.Header), w, slices.Equal)
	}
	return got == want
}

// brief prints a value, however large.
func brief(v any) string {
	text := fmt.Sprint(v)
	switch v.(type) {
	case string, webhook.State, webhook.Origin, []byte, []string, http.Header:
		text = fmt.Sprintf("%q", v)
	}
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return text
}
