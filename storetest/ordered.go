package storetest

import (
	"time"

	"github.com/outhook/webhook"
)

func orderedChecks() []check {
	return []check{
		{"ordered-oldest", "of an ordered endpoint only the oldest pending delivery of each ordering key is claimed", orderedOldest},
		{"ordered-waits", "while the oldest of an ordering key is leased or waits, none of that key is claimed", orderedWaits},
		{"ordered-finish", "when the oldest of an ordering key is finished, the next follows", orderedFinish},
		{"ordered-switch", "an endpoint that becomes ordered is so for what is pending already", orderedSwitch},
	}
}

// ordered registers an ordered endpoint, if the store can have one.
func (t *trial) ordered(id string) {
	t.Helper()
	need[webhook.OrderedQueue](t, "OrderedQueue")
	r := endpoint(id, "")
	r.Ordered = true
	t.put(r)
}

// sequence enqueues events, each named by its ordering key and what tells it
// from the others, such as "a3", in one call.
func (t *trial) sequence(ids ...string) {
	t.Helper()
	var ps []webhook.Publication
	for _, id := range ids {
		p := publication(id, "")
		p.Event.OrderingKey = id[:1]
		ps = append(ps, p)
	}
	t.enqueue(ps...)
	t.tick()
}

func orderedOldest(t *trial) {
	t.ordered("ordered")
	t.register("", "free")
	// Neither their IDs nor their times of creation say in which order the
	// events of one call come.
	t.sequence("a9", "b9", "a5", "a7", "b1")
	t.sequence("a1", "c9")
	var got []string
	for _, c := range t.collect(everything(long), 10) {
		if c.Delivery.EndpointID == "ordered" {
			got = append(got, c.Delivery.EventID)
		}
	}
	t.wantSet("claimed of the ordered endpoint", got, "a9", "b9", "c9")
}

func orderedWaits(t *trial) {
	t.ordered("ordered")
	t.sequence("a9", "a8", "b9")
	first := t.collect(everything(long), 2)
	t.claimNothing(everything(long), "the oldest of each key is leased")
	for _, c := range first {
		if c.Delivery.EventID == "a9" {
			s := attempted(c, webhook.StatePending, 500)
			s.Delay = long
			t.settle(s)
		}
	}
	batch, next, err := t.store.Claim(t.ctx, everything(long))
	if err != nil || len(batch) > 0 {
		t.Fatalf("claimed %q, error %v, want nothing: the oldest of key a waits for its next attempt", eventsOf(batch), err)
	}
	if next > long || next > 0 && next < long-time.Minute {
		t.Errorf("next is %v, want about %v: nothing is due but what must wait", next, long)
	}
	t.sequence("c9", "a7")
	t.wantSet("claimed of other keys", eventsOf(t.collect(everything(long), 1)), "c9")
}

func orderedFinish(t *trial) {
	t.ordered("ordered")
	t.sequence("a9", "a8", "a7", "a6", "a5")
	only := func(want string, lease time.Duration) webhook.Claimed {
		t.Helper()
		c := t.reclaimed(lease)
		t.wantSet("claimed", eventsOf([]webhook.Claimed{c}), want)
		return c
	}
	only("a9", short)
	c := only("a9", long) // its lease ran out
	s := attempted(c, webhook.StatePending, 500)
	s.Delay = short
	t.settle(s)
	t.settle(attempted(only("a9", long), webhook.StateDelivered, 200))
	t.settle(attempted(only("a8", long), webhook.StateExhausted, 500))
	t.settle(outcome(only("a7", long), webhook.StatePending)) // given back
	t.settle(attempted(only("a7", long), webhook.StateDelivered, 200))
	t.disable("ordered", true)
	t.disable("ordered", false)
	t.settle(attempted(only("a6", long), webhook.StateDelivered, 200))
	t.settle(attempted(only("a5", long), webhook.StateDelivered, 200))
	t.claimNothing(everything(long), "all are finished")
	t.sequence("a4")
	only("a4", long)
}

func orderedSwitch(t *trial) {
	t.ordered("endpoint")
	change := func(ordered bool) {
		r := t.endpoint("endpoint")
		r.Ordered = ordered
		t.put(r)
	}
	change(false)
	t.sequence("a9", "a8", "a7", "b9")
	change(true)
	batch := t.collect(everything(long), 2)
	t.wantSet("claimed while it is ordered", eventsOf(batch), "a9", "b9")
	change(false)
	t.wantSet("claimed when it is not any more", eventsOf(t.collect(everything(long), 2)), "a8", "a7")
}
