package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

func logChecks() []check {
	return []check{
		{"not-found", "what does not exist is ErrNotFound, however its ID looks", notFound},
		{"bad-cursor", "a cursor that the store did not make is ErrInvalid", badCursor},
		{"delivery-scope", "a scope shows the deliveries of its tenant's endpoints and those within it, and no other", deliveryScope},
		{"delivery-filter", "deliveries are listed by every field of the filter, alone and together", deliveryFilter},
		{"delivery-pages", "pages of deliveries are newest first, with none twice and none missed while some are added", deliveryPages},
		{"delivery-pages-even", "pages of deliveries that were created together show each once", deliveryPagesEven},
		{"event-scope", "a scope shows the events of its tenant and those within it, and no other", eventScope},
		{"event-filter", "events are listed by every field of the filter", eventFilter},
		{"event-pages", "pages of events are oldest first, with none twice and none missed while some are added", eventPages},
		{"test-events", "events of test sends are kept but not listed", testEvents},
	}
}

func notFound(t *trial) {
	t.claimed(long)
	for _, id := range strangeIDs() {
		_, err := t.store.GetEndpoint(t.ctx, id)
		t.wantError(fmt.Sprintf("GetEndpoint(%q)", id), err, webhook.ErrNotFound)
		_, err = t.store.GetDelivery(t.ctx, id)
		t.wantError(fmt.Sprintf("GetDelivery(%q)", id), err, webhook.ErrNotFound)
		_, err = t.store.GetEvent(t.ctx, id)
		t.wantError(fmt.Sprintf("GetEvent(%q)", id), err, webhook.ErrNotFound)
		t.wantError(fmt.Sprintf("DeleteEndpoint(%q)", id), t.store.DeleteEndpoint(t.ctx, id), webhook.ErrNotFound)
	}
	for _, id := range []string{"EVENT", "event ", "even", "event2", "ｅvent"} {
		_, err := t.store.GetEvent(t.ctx, id)
		t.wantError(fmt.Sprintf("GetEvent(%q) beside %q", id, "event"), err, webhook.ErrNotFound)
	}
}

func badCursor(t *trial) {
	t.claimed(long)
	for _, cursor := range []string{"no cursor of this store", "\x00", "\xff", "%%%", "' OR 1=1 --", strings.Repeat("x", 10_000)} {
		_, err := t.store.ListEndpoints(t.ctx, webhook.EndpointFilter{Cursor: cursor})
		t.wantError(fmt.Sprintf("ListEndpoints with cursor %.20q", cursor), err, webhook.ErrInvalid)
		_, err = t.store.ListDeliveries(t.ctx, webhook.DeliveryFilter{Cursor: cursor})
		t.wantError(fmt.Sprintf("ListDeliveries with cursor %.20q", cursor), err, webhook.ErrInvalid)
		_, err = t.store.ListEvents(t.ctx, webhook.EventFilter{Cursor: cursor})
		t.wantError(fmt.Sprintf("ListEvents with cursor %.20q", cursor), err, webhook.ErrInvalid)
	}
}

func deliveryScope(t *trial) {
	for _, tenant := range tenants() {
		t.register(tenant, "of:"+tenant)
		p := addressed("for:"+tenant, "of:"+tenant)
		p.Event.Tenant = "somebody else" // the endpoint's tenant counts
		t.enqueue(p)
	}
	for _, scope := range scopes() {
		got := t.deliveries(webhook.DeliveryFilter{Scope: scope}).Items
		t.wantSet(fmt.Sprintf("tenants in %+v", scope), collectStrings(got, func(d webhook.Delivery) string { return d.Tenant }), within(scope)...)
	}
	t.deleteEndpoint("of:acme")
	t.wantSet("tenants after an endpoint was deleted", collectStrings(t.deliveries(webhook.DeliveryFilter{Scope: webhook.Scope{Tenant: "acme"}}).Items, endpointOf),
		"of:acme", "of:acme/legal", "of:acme/legal/eu", "of:acme/legal2")
}

func deliveryFilter(t *trial) {
	t.register("acme", "one", "two", "gone")
	t.register("other", "three")
	typed := func(id, tenant, eventType string) {
		p := publication(id, tenant)
		p.Event.Type = eventType
		t.enqueue(p)
		t.tick()
	}
	typed("a", "acme", "document.signed")
	typed("b", "other", "document.signed")
	typed("c", "acme", "document.signed.late")
	typed("d", "acme", "Document.signed")
	typed("e", "other", "invoice.paid")
	typed("f", "acme", "document.signed")
	for _, c := range t.collect(everything(long), 14) {
		switch c.Delivery.EventID + " to " + c.Delivery.EndpointID {
		case "a to one", "b to three", "d to two":
			t.settle(attempted(c, webhook.StateDelivered, 200))
		case "a to two", "c to one", "e to three":
			t.settle(attempted(c, webhook.StateExhausted, 500))
		}
	}
	t.deleteEndpoint("gone")
	all := t.deliveries(webhook.DeliveryFilter{Scope: allTenants()}).Items
	if len(all) != 14 {
		t.Fatalf("the empty filter lists %d deliveries, want 14", len(all))
	}
	times := []time.Time{{}}
	for _, id := range []string{"a", "c", "f"} {
		times = append(times, t.event(id).CreatedAt.In(time.FixedZone("", -7*3600)))
	}
	times = append(times, times[3].Add(time.Hour))
	// Random filters, against what the documentation of DeliveryFilter says.
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string {
		return from[random.IntN(len(from))]
	}
	for range 150 {
		f := webhook.DeliveryFilter{
			Scope:      webhook.Scope{Tenant: pick("acme", "other", "", ""), All: random.IntN(2) == 0},
			EndpointID: pick("", "", "", "one", "two", "gone", "ONE"), EventID: pick("", "", "", "a", "b", "f", "A"),
			EventType: pick("", "", "", "document.signed", "invoice.paid", "document.*", "document.signe_"),
			From:      times[random.IntN(len(times))], To: times[random.IntN(len(times))],
		}
		if random.IntN(2) == 0 {
			f.From, f.To = time.Time{}, time.Time{}
		}
		states := []webhook.State{webhook.StatePending, webhook.StateDelivered, webhook.StateExhausted, webhook.StateCancelled}
		f.States = states[random.IntN(4):][:random.IntN(2)]
		if random.IntN(3) == 0 {
			f.States = states[:2]
		}
		var want []string
		for _, d := range all {
			if f.Scope.Contains(d.Tenant) && (f.EndpointID == "" || d.EndpointID == f.EndpointID) && (f.EventID == "" || d.EventID == f.EventID) &&
				(f.EventType == "" || d.EventType == f.EventType) && (len(f.States) == 0 || slices.Contains(f.States, d.State)) &&
				!d.CreatedAt.Before(f.From) && (f.To.IsZero() || d.CreatedAt.Before(f.To)) {
				want = append(want, d.EventID+" to "+d.EndpointID)
			}
		}
		limit := 1 + random.IntN(14)
		got := collectStrings(paged(t, t.store.ListDeliveries, func(cursor string) webhook.DeliveryFilter {
			page := f
			page.Limit, page.Cursor = limit, cursor
			return page
		}, limit, func() {}), func(d webhook.Delivery) string { return d.EventID + " to " + d.EndpointID })
		t.wantList(fmt.Sprintf("listing %+v by %d", f, limit), got, want...)
	}
}

// paged reads all pages of a listing and calls between them.
func paged[T, F any](t *trial, list func(context.Context, F) (webhook.Page[T], error), filter func(cursor string) F, limit int, between func()) (all []T) {
	t.Helper()
	for cursor := ""; ; between() {
		p := page(t, list, filter(cursor))
		if len(p.Items) > limit || p.Total != 0 {
			t.Fatalf("a page of at most %d has %d items and Total %d, want 0", limit, len(p.Items), p.Total)
		}
		all = append(all, p.Items...)
		if cursor = p.Next; cursor == "" {
			return all
		}
		if len(p.Items) == 0 || len(all) > 1000 {
			t.Fatalf("after %d items there is an empty page or no end", len(all))
		}
	}
}

func deliveryPages(t *trial) {
	t.register("", "endpoint", "other")
	var want []string
	for n := range 10 {
		id := fmt.Sprintf("event-%d", (n+5)%10)
		t.publish("", id)
		want = append([]string{id}, want...)
	}
	added := 0
	got := paged(t, t.store.ListDeliveries, func(cursor string) webhook.DeliveryFilter {
		return webhook.DeliveryFilter{EndpointID: "endpoint", Limit: 3, Cursor: cursor}
	}, 3, func() {
		added++
		t.publish("", fmt.Sprintf("added-%d", added))
	})
	t.wantList("all pages", collectStrings(got, eventOf), want...)
	newest := t.deliveries(webhook.DeliveryFilter{EndpointID: "endpoint", Limit: 1})
	t.wantList("the first page afterwards", collectStrings(newest.Items, eventOf), fmt.Sprintf("added-%d", added))
	if newest.Next == "" || t.deliveries(webhook.DeliveryFilter{EventID: "event-1", Limit: 2}).Next != "" {
		t.Errorf("Next is %q where there is more, and must be empty where there is not", newest.Next)
	}
}

func deliveryPagesEven(t *trial) {
	t.register("", "a", "b", "c", "d", "e")
	want := t.publishMany("", "event-", 5)
	want = slices.Repeat(want, 5)
	for limit := range 8 {
		limit++
		got := paged(t, t.store.ListDeliveries, func(cursor string) webhook.DeliveryFilter {
			return webhook.DeliveryFilter{Limit: limit, Cursor: cursor}
		}, limit, func() {})
		t.wantSet(fmt.Sprintf("all pages of %d", limit), collectStrings(got, eventOf), want...)
		events := paged(t, t.store.ListEvents, func(cursor string) webhook.EventFilter {
			return webhook.EventFilter{Limit: limit, Cursor: cursor}
		}, limit, func() {})
		t.wantSet(fmt.Sprintf("all pages of %d events", limit), collectStrings(events, eventID), want[:5]...)
	}
}

func eventScope(t *trial) {
	all := endpoint("all", "acme")
	all.AllTenants = true
	t.put(all)
	for _, tenant := range tenants() {
		t.enqueue(publication("for:"+tenant, tenant))
	}
	for _, scope := range scopes() {
		got := page(t, t.store.ListEvents, webhook.EventFilter{Scope: scope}).Items
		t.wantSet(fmt.Sprintf("tenants in %+v", scope), collectStrings(got, func(e webhook.EventRecord) string { return e.Tenant }), within(scope)...)
	}
}

func eventFilter(t *trial) {
	var at []time.Time
	for n, eventType := range []string{"document.signed", "invoice.paid", "document.signed", "Document.signed", "document.signed.late"} {
		p := publication(fmt.Sprint("event-", n), "")
		p.Event.Type = eventType
		p.Event.Time = p.Event.Time.AddDate(0, 0, -n) // CreatedAt counts
		t.enqueue(p)
		t.tick()
		at = append(at, t.event(p.Event.ID).CreatedAt.In(time.FixedZone("", 9*3600)))
	}
	for _, c := range []struct {
		filter webhook.EventFilter
		want   []string
	}{
		{webhook.EventFilter{}, []string{"event-0", "event-1", "event-2", "event-3", "event-4"}},
		{webhook.EventFilter{Type: "document.signed"}, []string{"event-0", "event-2"}},
		{webhook.EventFilter{Type: "document.*"}, nil},
		{webhook.EventFilter{From: at[1]}, []string{"event-1", "event-2", "event-3", "event-4"}},
		{webhook.EventFilter{To: at[1]}, []string{"event-0"}},
		{webhook.EventFilter{From: at[1], To: at[3]}, []string{"event-1", "event-2"}},
		{webhook.EventFilter{From: at[1], To: at[3], Type: "document.signed"}, []string{"event-2"}},
		{webhook.EventFilter{From: at[3], To: at[3]}, nil},
		{webhook.EventFilter{Scope: webhook.Scope{Tenant: "acme"}, Type: "document.signed"}, nil},
	} {
		t.wantList(fmt.Sprintf("listing %+v", c.filter), collectStrings(page(t, t.store.ListEvents, c.filter).Items, eventID), c.want...)
	}
}

func eventPages(t *trial) {
	var want []string
	add := func() {
		id := fmt.Sprintf("event-%d", 99-len(want))
		t.publish("", id)
		want = append(want, id)
	}
	for range 10 {
		add()
	}
	got := paged(t, t.store.ListEvents, func(cursor string) webhook.EventFilter {
		return webhook.EventFilter{Limit: 3, Cursor: cursor}
	}, 3, func() {
		if len(want) < 13 {
			add()
		}
	})
	t.wantList("all pages", collectStrings(got, eventID), want...)
}

func testEvents(t *trial) {
	t.register("", "endpoint")
	test := addressed("test", "endpoint")
	test.Event.Test, test.Origin = true, webhook.OriginTest
	t.enqueue(publication("before", ""))
	t.tick()
	t.enqueue(test)
	t.tick()
	t.enqueue(publication("after", ""))
	t.wantList("ListEvents", collectStrings(page(t, t.store.ListEvents, webhook.EventFilter{}).Items, eventID), "before", "after")
	if e := t.event("test"); !e.Test {
		t.Errorf("GetEvent returned the test event without Test")
	}
	if d := t.deliveryOf("test"); d.Origin != webhook.OriginTest {
		t.Errorf("the delivery of the test event has origin %q, want %q", d.Origin, webhook.OriginTest)
	}
}
