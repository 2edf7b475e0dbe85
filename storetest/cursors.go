package storetest

import (
	"context"
	"fmt"
	"slices"

	"github.com/outhook/webhook"
)

func cursorChecks() []check {
	return []check{
		{"cursor-scope", "a cursor of another scope shows nothing of that, not even whether its item is there", cursorScope},
		{"cursor-scope-purged", "a cursor of another scope does not show whether its item was purged", cursorScopePurged},
		{"cursor-blind", "a cursor of a scope is the same whatever happened in others", cursorBlind},
		{"cursor-filter", "a cursor is a place in the listing, under whatever filter it was made", cursorFilter},
		{"cursor-settled", "pages of deliveries show each once while some finish", cursorSettled},
		{"cursor-gone", "behind an item that is gone, a listing goes on and misses none", cursorGone},
		{"cursor-purged", "behind an item that was purged, a listing goes on and misses none", cursorPurged},
	}
}

// The scopes of the checks of cursors.
var (
	acme  = webhook.Scope{Tenant: "acme"}
	other = webhook.Scope{Tenant: "other"}
)

// next returns the cursor behind the first page of a listing.
func next[T, F any](t *trial, list func(context.Context, F) (webhook.Page[T], error), filter F) string {
	t.Helper()
	p := page(t, list, filter)
	if p.Next == "" {
		t.Fatalf("listing %+v has no next page after %d items", filter, len(p.Items))
	}
	return p.Next
}

// beside returns what a listing of "acme" answers to a cursor of "other": the IDs
// of its items, of which none may be the other's, or an error.
func beside[T, F any](t *trial, list func(context.Context, F) (webhook.Page[T], error), filter F, of func(T) (tenant, id string)) (ids []string) {
	t.Helper()
	p, err := list(t.ctx, filter)
	if err != nil {
		t.wantError("a listing with a cursor of another scope", err, webhook.ErrInvalid)
		return []string{"refused"}
	}
	for _, i := range p.Items {
		tenant, id := of(i)
		if !acme.Contains(tenant) {
			t.Errorf("a cursor of %q shows %q of tenant %q to %q", other.Tenant, id, tenant, acme.Tenant)
		}
		ids = append(ids, id)
	}
	return append(ids, fmt.Sprint("of ", p.Total))
}

func ownerOfEndpoint(r webhook.EndpointRecord) (tenant, id string) { return r.Tenant, r.ID }
func ownerOfDelivery(d webhook.Delivery) (tenant, id string)       { return d.Tenant, d.ID }
func ownerOfEvent(e webhook.EventRecord) (tenant, id string)       { return e.Tenant, e.ID }

func cursorScope(t *trial) {
	// As created together as a store can tell: what tells them apart is theirs.
	for n := range 3 {
		t.register("acme", fmt.Sprint("ours-", n))
		t.register("other", fmt.Sprint("theirs-", n))
	}
	for n := range 3 {
		theirs := next(t, t.store.ListEndpoints, webhook.EndpointFilter{Scope: other, Limit: n%2 + 1})
		look := func() []string {
			return beside(t, t.store.ListEndpoints, webhook.EndpointFilter{Scope: acme, Cursor: theirs}, ownerOfEndpoint)
		}
		before := look()
		named := fmt.Sprint("theirs-", n%2)
		t.deleteEndpoint(named)
		t.wantList("the endpoints behind a cursor of another scope, after its item was deleted", look(), before...)
		t.register("other", named)
	}
}

func cursorScopePurged(t *trial) {
	p := need[webhook.Purger](t, "Purger")
	t.register("acme", "ours")
	t.register("other", "theirs")
	var ps []webhook.Publication
	for n := range 3 {
		ps = append(ps, publication(fmt.Sprint("ours-", n), "acme"), publication(fmt.Sprint("theirs-", n), "other"))
	}
	t.enqueue(ps...)
	// The middle one, from either side.
	events := webhook.EventFilter{Scope: acme, Cursor: next(t, t.store.ListEvents, webhook.EventFilter{Scope: other, Limit: 2})}
	deliveries := webhook.DeliveryFilter{Scope: acme, Cursor: next(t, t.store.ListDeliveries, webhook.DeliveryFilter{Scope: other, Limit: 2})}
	shown := t.deliveries(webhook.DeliveryFilter{Scope: other, Limit: 2}).Items[1].EventID
	look := func() []string {
		return append(beside(t, t.store.ListEvents, events, ownerOfEvent), beside(t, t.store.ListDeliveries, deliveries, ownerOfDelivery)...)
	}
	before := look()
	for _, c := range t.collect(everything(long), 6) {
		if c.Delivery.EventID == "theirs-1" || c.Delivery.EventID == shown {
			t.settle(outcome(c, webhook.StateDelivered))
		}
	}
	t.purgeUntil(p, 100, func() bool { return t.isGone("theirs-1") && t.isGone(shown) })
	t.wantList("the events and deliveries behind cursors of another scope, after their items were purged", look(), before...)
}

func cursorBlind(t *trial) {
	if t.clock == nil {
		return // the same endpoint cannot be made twice
	}
	start := t.clock.read()
	listing := func() (cursors []string) {
		t.register("acme", "a", "b")
		cursors = append(cursors, next(t, t.store.ListEndpoints, webhook.EndpointFilter{Scope: acme, Limit: 1}))
		t.enqueue(publication("a", "acme"), publication("b", "acme"))
		return append(cursors, next(t, t.store.ListEvents, webhook.EventFilter{Scope: acme, Limit: 1}))
	}
	before := listing()
	t.deleteEndpoint("a")
	t.deleteEndpoint("b")
	p, ok := capability[webhook.Purger](t.store)
	if ok {
		t.purgeUntil(p, 100, func() bool { return t.isGone("a") && t.isGone("b") })
	} else {
		before = before[:1]
	}
	t.clock.advance(start.Sub(t.clock.read()))
	t.register("other", "c", "d", "e")
	t.publishManyNow("other", "event-", 20)
	if ok {
		t.wantList("the cursors behind the same endpoint and the same event", listing(), before...)
		return
	}
	t.register("acme", "a", "b")
	t.wantList("the cursor behind the same endpoint", []string{next(t, t.store.ListEndpoints, webhook.EndpointFilter{Scope: acme, Limit: 1})}, before...)
}

func cursorFilter(t *trial) {
	t.register("acme", "e0", "e1", "e2", "e3", "e4", "e5")
	for _, id := range []string{"e0", "e2", "e4", "e5"} {
		t.disable(id, true)
	}
	yes, no := true, false
	second := next(t, t.store.ListEndpoints, webhook.EndpointFilter{Limit: 2, Scope: acme})
	list := func(f webhook.EndpointFilter) []string {
		return collectStrings(page(t, t.store.ListEndpoints, f).Items, recordID)
	}
	t.wantList("the disabled endpoints behind e1", list(webhook.EndpointFilter{Scope: acme, Disabled: &yes, Cursor: second}), "e2", "e4", "e5")
	t.wantList("the enabled endpoints behind e1", list(webhook.EndpointFilter{Scope: acme, Disabled: &no, Cursor: second}), "e3")

	var ps []webhook.Publication
	for n := range 6 {
		p := publication(fmt.Sprint("event-", n), "acme")
		p.Event.Type = []string{"even", "odd"}[n%2]
		ps = append(ps, p)
	}
	t.enqueue(ps...)
	event := next(t, t.store.ListEvents, webhook.EventFilter{Scope: acme, Limit: 2})
	t.wantList("the even events behind event-1", collectStrings(page(t, t.store.ListEvents, webhook.EventFilter{Scope: acme, Type: "even", Cursor: event}).Items, eventID),
		"event-2", "event-4")

	all := t.deliveries(webhook.DeliveryFilter{Scope: acme}).Items
	place := next(t, t.store.ListDeliveries, webhook.DeliveryFilter{Scope: acme, Limit: 4})
	for _, f := range []webhook.DeliveryFilter{
		{Scope: acme}, {Scope: acme, EventType: "even"}, {Scope: acme, EventType: "odd"}, {Scope: acme, EndpointID: "e1"}, {Scope: acme, EndpointID: "e3"},
		{Scope: acme, EventID: all[5].EventID}, {Scope: acme, States: []webhook.State{webhook.StatePending}}, {Scope: acme, States: []webhook.State{webhook.StateDelivered}},
	} {
		var want []string
		for _, d := range all[4:] {
			if f.Matches(&d) {
				want = append(want, d.ID)
			}
		}
		f.Cursor = place
		t.wantList(fmt.Sprintf("the deliveries of %+v behind the fourth", f), collectStrings(t.deliveries(f).Items, deliveryID), want...)
	}
}

func cursorSettled(t *trial) {
	t.register("", "endpoint")
	t.publishMany("", "event-", 12)
	want := collectStrings(t.deliveries(webhook.DeliveryFilter{}).Items, deliveryID)
	states := []webhook.State{webhook.StateDelivered, webhook.StateExhausted, webhook.StatePending}
	got := paged(t, t.store.ListDeliveries, func(cursor string) webhook.DeliveryFilter {
		return webhook.DeliveryFilter{Limit: 2, Cursor: cursor}
	}, 2, func() {
		for n, c := range t.claim(webhook.ClaimRequest{Max: 3, PerEndpoint: 3, Lease: long}) {
			s := outcome(c, states[n])
			s.Delay = long
			t.settle(s)
		}
		t.tick()
	})
	t.wantList("all pages", collectStrings(got, deliveryID), want...)
}

func cursorGone(t *trial) {
	t.register("", "e0", "e1", "e2", "e3", "e4", "e5")
	t.tick()
	t.register("", "later")
	cursor := next(t, t.store.ListEndpoints, webhook.EndpointFilter{Limit: 3})
	t.deleteEndpoint("e2")
	p := page(t, t.store.ListEndpoints, webhook.EndpointFilter{Cursor: cursor})
	wantBehind(t, "the endpoints behind one that is gone", collectStrings(p.Items, recordID), []string{"e0", "e1"}, "e3", "e4", "e5", "later")
	cursor = next(t, t.store.ListEndpoints, webhook.EndpointFilter{Limit: 5})
	for _, id := range []string{"e0", "e1", "e3", "e4", "e5"} {
		t.deleteEndpoint(id)
	}
	p = page(t, t.store.ListEndpoints, webhook.EndpointFilter{Cursor: cursor})
	t.wantList("the endpoints behind many that are gone", collectStrings(p.Items, recordID), "later")
}

// wantBehind checks what a listing shows behind an item that is gone: everything
// that stood there, in order, once, and before that perhaps what was created
// together with it.
func wantBehind(t *trial, what string, got, maybe []string, want ...string) {
	t.Helper()
	for _, id := range maybe {
		if len(got) > 0 && got[0] == id {
			got = got[1:]
		}
	}
	t.wantList(what, got, want...)
}

func cursorPurged(t *trial) {
	p := need[webhook.Purger](t, "Purger")
	t.register("", "endpoint")
	t.publishMany("", "older-", 2)
	t.publishMany("", "event-", 7)
	t.publishMany("", "newer-", 2)
	order := collectStrings(t.deliveries(webhook.DeliveryFilter{}).Items, eventOf)
	listed := collectStrings(page(t, t.store.ListEvents, webhook.EventFilter{}).Items, eventID)
	backward := next(t, t.store.ListDeliveries, webhook.DeliveryFilter{Limit: 5})
	forward := next(t, t.store.ListEvents, webhook.EventFilter{Limit: 5})
	gone := []string{order[4], listed[4]}
	for _, c := range t.collect(everything(2*long), 11) {
		if slices.Contains(gone, c.Delivery.EventID) {
			t.settle(outcome(c, webhook.StateDelivered))
		}
	}
	t.purgeUntil(p, 100, func() bool { return t.isGone(gone[0]) && t.isGone(gone[1]) })
	left := func(ids []string) []string {
		return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return slices.Contains(gone, id) })
	}
	wantBehind(t, "the deliveries behind one that was purged", collectStrings(t.deliveries(webhook.DeliveryFilter{Cursor: backward}).Items, eventOf),
		left(order[2:4]), left(order[5:])...)
	wantBehind(t, "the events behind one that was purged", collectStrings(page(t, t.store.ListEvents, webhook.EventFilter{Cursor: forward}).Items, eventID),
		left(listed[2:4]), left(listed[5:])...)
}

func deliveryID(d webhook.Delivery) string { return d.ID }
