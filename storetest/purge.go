package storetest

import (
	"fmt"

	"github.com/outhook/webhook"
)

func purgeChecks() []check {
	return []check{
		{"purge", "what finished longer than age ago is removed, with its attempts and events", purge},
		{"purge-keeps", "what is pending, or finished a shorter time ago, is kept", purgeKeeps},
		{"purge-limit", "a purge removes about limit at most, and 0 means that nothing is left", purgeLimit},
		{"purge-forgets", "an event that was purged may be published anew", purgeForgets},
	}
}

// purge removes what is older than the given age until nothing is left.
func (t *trial) purge(p webhook.Purger, limit int) (total int) {
	t.Helper()
	for rounds := 0; ; rounds++ {
		n, err := p.Purge(t.ctx, short, limit)
		switch {
		case err != nil:
			t.Fatalf("Purge: %v", err)
		case n == 0:
			return total
		case n < 0 || n > 3*limit:
			t.Fatalf("Purge with limit %d removed %d", limit, n)
		case rounds > 1000:
			t.Fatalf("Purge does not come to an end")
		}
		total += n
	}
}

// purgeUntil purges until done, which a store on a clock of its own takes some
// time to come to.
func (t *trial) purgeUntil(p webhook.Purger, limit int, done func() bool) {
	t.Helper()
	t.pass(short)
	if !t.eventually(func() bool {
		t.purge(p, limit)
		return done()
	}) {
		t.Fatalf("Purge left %d deliveries and %d events", len(t.deliveries(webhook.DeliveryFilter{Limit: 1000}).Items),
			len(page(t, t.store.ListEvents, webhook.EventFilter{Limit: 1000}).Items))
	}
}

func (t *trial) isGone(eventID string) bool {
	_, err := t.store.GetEvent(t.ctx, eventID)
	return err != nil
}

func purge(t *trial) {
	p := need[webhook.Purger](t, "Purger")
	t.register("", "endpoint", "gone")
	t.publish("", "delivered", "cancelled")
	var gone []string
	for _, c := range t.collect(everything(long), 4) {
		gone = append(gone, c.Delivery.ID)
		if c.Delivery.EndpointID == "endpoint" {
			t.settle(attempted(c, webhook.StateDelivered, 200))
		} else {
			t.settle(attempted(c, webhook.StatePending, 500))
		}
	}
	t.deleteEndpoint("gone")
	t.publish("nobody's", "unmatched")
	t.purgeUntil(p, 100, func() bool {
		return t.isGone("delivered") && t.isGone("cancelled") && t.isGone("unmatched")
	})
	for _, id := range gone {
		_, err := t.store.GetDelivery(t.ctx, id)
		t.wantError("GetDelivery of what was purged", err, webhook.ErrNotFound)
		if as := t.attempts(id); len(as) > 0 {
			t.Errorf("%d attempts of a purged delivery are left", len(as))
		}
	}
	_, err := t.store.GetEvent(t.ctx, "delivered")
	t.wantError("GetEvent of what was purged", err, webhook.ErrNotFound)
	if n := len(t.deliveries(webhook.DeliveryFilter{Scope: allTenants()}).Items); n > 0 {
		t.Errorf("%d purged deliveries are listed", n)
	}
	if n := len(page(t, t.store.ListEvents, webhook.EventFilter{Scope: allTenants()}).Items); n > 0 {
		t.Errorf("%d purged events are listed", n)
	}
	t.endpoint("endpoint")
}

func purgeKeeps(t *trial) {
	p := need[webhook.Purger](t, "Purger")
	keeps := func(what string) {
		t.Helper()
		if n, err := p.Purge(t.ctx, long/2, 100); n != 0 || err != nil {
			t.Errorf("Purge of what is older than %v removed %d, error %v, want to keep %s", long/2, n, err, what)
		}
	}
	t.register("", "done", "open")
	t.publish("", "event")
	held := t.collect(everything(2*long), 2)
	t.publish("", "leased")
	t.collect(everything(2*long), 2)
	t.pass(long)
	keeps("what is pending, however old")
	open := ""
	for _, c := range held {
		s := attempted(c, webhook.StateExhausted, 500)
		if c.Delivery.EndpointID == "open" {
			s.State, s.Delay, open = webhook.StatePending, 2*long, c.Delivery.ID
		}
		t.settle(s)
	}
	keeps("what finished just now, however old it is")
	pending := t.delivery(open)
	t.publish("", "due")
	t.purgeUntil(p, 100, func() bool { return len(t.deliveriesOf("event")) == 1 })
	wantSame(t, "the pending delivery", t.delivery(open), pending)
	if as := t.attempts(open); len(as) != 1 {
		t.Errorf("the pending delivery has %d attempts logged, want 1", len(as))
	}
	for _, id := range []string{"event", "leased", "due"} {
		t.event(id)
	}
	t.wantSet("claimed after the purge", eventsOf(t.collect(everything(long), 2)), "due", "due")
}

func purgeLimit(t *trial) {
	p := need[webhook.Purger](t, "Purger")
	t.register("", "one", "two")
	ids := t.publishMany("", "event-", 20)
	var ss []webhook.Settlement
	for _, c := range t.collect(everything(long), 40) {
		ss = append(ss, outcome(c, webhook.StateDelivered))
	}
	t.settle(ss...)
	last := ids[len(ids)-1]
	t.purgeUntil(p, 3, func() bool { return t.isGone(last) && len(t.deliveries(webhook.DeliveryFilter{}).Items) == 0 })
	if n, err := p.Purge(t.ctx, short, 3); n != 0 || err != nil {
		t.Errorf("Purge removed %d when nothing was left, error %v", n, err)
	}
}

func purgeForgets(t *trial) {
	p := need[webhook.Purger](t, "Purger")
	t.register("", "endpoint")
	for round := range 2 {
		id := fmt.Sprintf("keyed-%d", round)
		for _, p := range []webhook.Publication{publication("event", ""), keyed(id, "", "key", "content")} {
			// Other content under the same ID or Key, which would be a conflict.
			p.Event.Sum[0] += byte(round)
			if got := t.enqueue(p)[0]; got.Duplicate || got.EventID != p.Event.ID || got.Deliveries != 1 {
				t.Fatalf("round %d: Enqueue(%q) returned %+v, want a new event with its delivery", round, p.Event.ID, got)
			}
		}
		for _, c := range t.collect(everything(long), 2) {
			t.settle(outcome(c, webhook.StateDelivered))
		}
		t.purgeUntil(p, 100, func() bool { return t.isGone("event") && t.isGone(id) })
	}
}
