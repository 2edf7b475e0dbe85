package storetest

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/outhook/webhook"
)

func fanOutChecks() []check {
	return []check{
		{"fan-out", "an event gets one delivery for each endpoint that is of its tenants and has one of its patterns", fanOut},
		{"fan-out-disabled", "a disabled endpoint is not fanned out to", fanOutDisabled},
		{"fan-out-current", "what a put or a deletion returned from decides the very next fan-out", fanOutCurrent},
		{"fan-out-nothing", "an event that nothing matches is kept", fanOutNothing},
		{"fan-out-large", "an event reaches 500 endpoints in one step", fanOutLarge},
		{"fan-out-race", "fan-out and delivery are one step, also beside changes of endpoints", fanOutRace},
		{"new-delivery", "a new delivery is pending, due at once and says whose it is", newDelivery},
	}
}

func fanOut(t *trial) {
	put := func(id, tenant string, all bool, patterns ...string) {
		t.put(webhook.EndpointRecord{ID: id, Tenant: tenant, AllTenants: all, Patterns: patterns})
	}
	put("root", "", false, "*")
	put("acme", "acme", false, "*")
	put("acme-document", "acme", false, "document.*")
	put("acme-many", "acme", false, "document.signed", "document.*", "*", "document.signed")
	put("acme-invoice", "acme", false, "invoice.*")
	put("acme-alike", "acme", false, "document.signe_", "%", "document.%", "DOCUMENT.SIGNED", "document", "document.signed.*", "")
	put("acme-none", "acme", false)
	put("legal", "acme/legal", false, "*")
	put("tax", "acme/tax", false, "*")
	put("acme2", "acme2", false, "*")
	put("ACME", "ACME", false, "*")
	put("all", "ops", true, "*")
	put("all-many", "acme", true, "*", "document.*")
	put("all-invoice", "ops", true, "invoice.*")

	for _, c := range []struct {
		tenant string
		want   []string
	}{
		{"", []string{"root", "all", "all-many"}},
		{"acme", []string{"acme", "acme-document", "acme-many", "all", "all-many"}},
		{"acme/legal", []string{"acme", "acme-document", "acme-many", "legal", "all", "all-many"}},
		{"acme/legal/eu", []string{"acme", "acme-document", "acme-many", "legal", "all", "all-many"}},
		{"stranger", []string{"all", "all-many"}},
	} {
		id := "for:" + c.tenant
		got := t.enqueue(publication(id, c.tenant))[0]
		t.wantSet(fmt.Sprintf("endpoints of an event of %q", c.tenant), collectStrings(t.deliveriesOf(id), endpointOf), c.want...)
		if got.Deliveries != len(c.want) {
			t.Errorf("Deliveries is %d for an event of %q, want %d", got.Deliveries, c.tenant, len(c.want))
		}
	}
	p := publication("unmatched", "acme")
	p.Patterns = nil
	t.enqueue(p)
	t.wantSet("endpoints of an event without patterns", collectStrings(t.deliveriesOf("unmatched"), endpointOf))
}

func fanOutDisabled(t *trial) {
	t.register("", "on", "off")
	off := endpoint("all", "ops")
	off.AllTenants, off.Disabled = true, true
	t.put(off)
	t.disable("off", true)
	got := t.enqueue(publication("event", ""))[0]
	t.wantSet("endpoints of the event", collectStrings(t.deliveriesOf("event"), endpointOf), "on")
	if got.Deliveries != 1 {
		t.Errorf("Deliveries is %d, want 1", got.Deliveries)
	}
}

func fanOutCurrent(t *trial) {
	step := 0
	expect := func(after string, want ...string) {
		t.Helper()
		step++
		id := fmt.Sprintf("event-%d", step)
		t.enqueue(publication(id, ""))
		t.wantSet("endpoints after "+after, collectStrings(t.deliveriesOf(id), endpointOf), want...)
	}
	change := func(change func(*webhook.EndpointRecord)) {
		t.Helper()
		r := t.endpoint("endpoint")
		change(&r)
		t.put(r)
	}
	expect("nothing")
	t.register("", "endpoint")
	expect("the insert", "endpoint")
	change(func(r *webhook.EndpointRecord) { r.Patterns = []string{"invoice.*"} })
	expect("other patterns")
	change(func(r *webhook.EndpointRecord) { r.Patterns = []string{"invoice.*", "document.signed"} })
	expect("a pattern more", "endpoint")
	t.disable("endpoint", true)
	expect("disabling")
	t.disable("endpoint", false)
	expect("enabling", "endpoint")
	change(func(r *webhook.EndpointRecord) { r.AllTenants = true })
	expect("AllTenants", "endpoint")
	change(func(r *webhook.EndpointRecord) { r.AllTenants = false })
	expect("AllTenants was taken back", "endpoint")
	for _, c := range t.claim(everything(long)) {
		if c.Delivery.EventID == "event-2" {
			s := outcome(c, webhook.StatePending)
			s.Disable = "gone"
			t.settle(s)
		}
	}
	expect("a settlement that disables")
	t.disable("endpoint", false)
	t.deleteEndpoint("endpoint")
	expect("the deletion")
}

func fanOutNothing(t *trial) {
	if got := t.enqueue(publication("event", "acme"))[0]; got.Deliveries != 0 || got.Duplicate || got.EventID != "event" {
		t.Errorf("Enqueue returned %+v, want event ID %q without deliveries", got, "event")
	}
	want := event("event", "acme")
	want.CreatedAt = t.event("event").CreatedAt
	wantSame(t, "the event", t.event("event"), want)
	p := page(t, t.store.ListEvents, webhook.EventFilter{Scope: allTenants()})
	t.wantSet("ListEvents", collectStrings(p.Items, eventID), "event")
	t.register("acme", "late")
	if got := t.enqueue(publication("event", "acme"))[0]; !got.Duplicate || got.Deliveries != 0 {
		t.Errorf("Enqueue again returned %+v, want a duplicate without deliveries", got)
	}
}

func fanOutLarge(t *trial) {
	const n = 500
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprintf("endpoint-%03d", i))
	}
	t.register("acme", ids...)
	if got := t.enqueue(publication("event", "acme"))[0]; got.Deliveries != n {
		t.Errorf("Deliveries is %d, want %d", got.Deliveries, n)
	}
	t.wantSet("endpoints of the event", collectStrings(t.deliveriesOf("event"), endpointOf), ids...)

	// All of these were created at about the same time.
	var got []string
	for filter := (webhook.EndpointFilter{Scope: allTenants()}); len(got) <= n; {
		p := page(t, t.store.ListEndpoints, filter)
		if len(p.Items) > 100 || p.Total != n {
			t.Fatalf("a page without Limit has %d items and Total %d, want at most 100 and %d", len(p.Items), p.Total, n)
		}
		got = append(got, collectStrings(p.Items, recordID)...)
		if filter.Cursor = p.Next; p.Next == "" {
			break
		}
	}
	t.wantSet("all pages of endpoints", got, ids...)
	t.wantSet("endpoints claimed for", endpointsOf(t.collect(everything(long), n)), ids...)
}

// fanOutRace deletes endpoints while others publish. Each deletion begins when a
// publish has just returned, and the publishers go on until the last one has
// returned, so that it always meets some that are under way.
func fanOutRace(t *trial) {
	const publishers, most = 4, 1000 // events of each publisher, should the deletions not end
	goes := []string{"goes-1", "goes-2", "goes-3", "goes-4", "goes-5"}
	t.register("", "stays")
	t.register("", goes...)
	var events, published atomic.Int64
	returned := make(chan struct{})
	going, stop := context.WithCancel(t.ctx)
	deleteAll := func() error {
		for _, id := range goes {
			select {
			case <-returned:
			case <-going.Done(): // a publisher has failed
			}
			if err := t.store.DeleteEndpoint(t.ctx, id); err != nil {
				return err
			}
		}
		return nil
	}
	publish := func(worker int) error {
		for n := 0; n < most && going.Err() == nil; n++ {
			result, err := t.store.Enqueue(t.ctx, []webhook.Publication{publication(fmt.Sprintf("event-%d-%d", worker, n), "")})
			if err != nil {
				return err
			}
			events.Add(1)
			published.Add(int64(result[0].Deliveries))
			select {
			case returned <- struct{}{}:
			default:
				runtime.Gosched()
			}
		}
		return nil
	}
	errs := together(publishers+1, func(worker int) error {
		defer stop()
		if worker == 0 {
			return deleteAll()
		}
		return publish(worker)
	})
	for _, err := range errs {
		if err != nil {
			t.Fatalf("a concurrent call: %v", err)
		}
	}
	var stays, gone int64
	for filter := (webhook.DeliveryFilter{Scope: allTenants(), Limit: 1000}); ; {
		p := t.deliveries(filter)
		for _, d := range p.Items {
			switch {
			case d.EndpointID == "stays":
				stays++
			case d.State == webhook.StateCancelled:
				gone++
			default:
				t.Errorf("the delivery of %q to a deleted endpoint is %s, want cancelled", d.EventID, d.State)
			}
		}
		if filter.Cursor = p.Next; p.Next == "" || len(p.Items) == 0 {
			break
		}
	}
	if stays != events.Load() || stays+gone != published.Load() {
		t.Errorf("%d deliveries for the endpoint that stays and %d for the others, want %d and %d", stays, gone, events.Load(), published.Load()-events.Load())
	}
}

func newDelivery(t *trial) {
	t.register("acme", "endpoint")
	p := publication("event", "acme/legal")
	p.Origin = webhook.OriginReplay
	t.enqueue(p, publication("other", "acme"))
	d := t.deliveryOf("event")
	if len(d.ID) != len("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx") || d.ID == t.deliveryOf("other").ID {
		t.Errorf("the ID is %q and that of another %q, want UUIDs of their own", d.ID, t.deliveryOf("other").ID)
	}
	wantSame(t, "the new delivery", d, webhook.Delivery{
		ID: d.ID, EventID: "event", EventType: "document.signed", EventTenant: "acme/legal", EndpointID: "endpoint", Tenant: "acme",
		State: webhook.StatePending, Origin: webhook.OriginReplay, NextAttempt: d.CreatedAt, CreatedAt: d.CreatedAt, UpdatedAt: d.CreatedAt,
	})
	t.wantIn("CreatedAt", d.CreatedAt, t.event("event").CreatedAt, 0)
	wantSame(t, "GetDelivery and ListDeliveries differ", t.delivery(d.ID), d)
	t.wantSet("claimed at once", eventsOf(t.collect(everything(long), 2)), "event", "other")
}
