package storetest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
)

func enqueueChecks() []check {
	return []check{
		{"enqueue-results", "there is one result for each publication, in their order", enqueueResults},
		{"enqueue-large", "1,000 publications are one call", enqueueLarge},
		{"event-fields", "an event is read back as it was published", eventFields},
		{"event-bytes", "Data is kept byte for byte", eventBytes},
		{"duplicate-id", "an event whose ID is known is a duplicate and changes nothing", duplicateID},
		{"duplicate-key", "an event whose Key is known within its tenant is a duplicate of the first one", duplicateKey},
		{"duplicate-in-call", "a publication earlier in the same call counts as known", duplicateInCall},
		{"conflict", "an ID or a Key that was used for other content is a conflict", conflict},
		{"all-or-none", "a call that fails with a conflict stores nothing", allOrNone},
		{"enqueue-race", "of concurrent publications of one event exactly one creates it", enqueueRace},
		{"enqueue-crossing", "concurrent calls that share events in opposite orders all succeed", enqueueCrossing},
		{"addressed", "with Endpoints exactly these get a delivery, though the event is known or they are disabled", addressedTo},
		{"addressed-missing", "with Missing an endpoint where the event is pending or delivered is passed over", addressedMissing},
		{"born-leased", "with Lease a delivery is born leased to the caller", bornLeased},
		{"behind", "Behind counts no delivery to an endpoint that has nothing due and does not rest", behind},
		{"handed-over", "with Places a delivery at an idle endpoint is handed over as if claimed", handedOver},
		{"handed-over-within", "no more than Places are handed over, the others are due at once", handedOverWithin},
		{"handed-over-never", "nothing is handed over where the queue would not give it first", handedOverNever},
	}
}

func enqueueResults(t *trial) {
	t.register("a", "a1", "a2")
	t.register("b", "b1")
	if results := t.enqueue(); len(results) != 0 {
		t.Errorf("no publications gave %d results", len(results))
	}
	t.publish("b", "known")
	var got []string
	for _, r := range t.enqueue(publication("z", "a"), publication("known", "b"), publication("y", "none"), publication("x", "b"), addressed("w", "a1", "b1", "nowhere")) {
		got = append(got, fmt.Sprintf("%s %t %d %d", r.EventID, r.Duplicate, r.Deliveries, len(r.Created)))
	}
	t.wantList("results: ID, Duplicate, Deliveries, Created", got, "z false 2 0", "known true 0 0", "y false 0 0", "x false 1 0", "w false 2 2")
}

func enqueueLarge(t *trial) {
	const n = 1000
	t.register("", "endpoint")
	want := t.publishMany("", "event-", n)
	listed := t.deliveries(webhook.DeliveryFilter{Limit: n})
	t.wantSet("events of the deliveries", collectStrings(listed.Items, eventOf), want...)
	if got := len(t.deliveries(webhook.DeliveryFilter{}).Items); got != 100 {
		t.Errorf("a page without Limit has %d deliveries, want 100", got)
	}
	batch := t.collect(everything(long), n)
	t.wantSet("events of the claims", eventsOf(batch), want...)
	var ss []webhook.Settlement
	for _, c := range batch {
		ss = append(ss, attempted(c, webhook.StateDelivered, 200))
	}
	t.settle(ss...)
	delivered := t.deliveries(webhook.DeliveryFilter{States: []webhook.State{webhook.StateDelivered}, Limit: n})
	t.wantSet("events delivered", collectStrings(delivered.Items, eventOf), want...)
	t.publishMany("", "another-", 2)
	if p := t.deliveries(webhook.DeliveryFilter{Limit: n}); len(p.Items) != n || p.Next == "" {
		t.Errorf("the first page of 1,002 deliveries has %d and Next %q, want %d and more", len(p.Items), p.Next, n)
	}
	if p := page(t, t.store.ListEvents, webhook.EventFilter{}); len(p.Items) != 100 || p.Next == "" {
		t.Errorf("the first page of events has %d and Next %q, want 100 and more", len(p.Items), p.Next)
	}
}

func eventFields(t *trial) {
	given := time.Date(2001, time.February, 3, 4, 5, 6, 0, time.UTC)
	for _, change := range []func(*webhook.EventRecord){
		func(e *webhook.EventRecord) { e.ID = "plain" },
		func(e *webhook.EventRecord) {
			e.ID, e.Key, e.Tenant = "keyed", "Ключ 🔑 \" ' \\ %", "acme/legal.eu/t-1_x"
		},
		func(e *webhook.EventRecord) { e.ID, e.OrderingKey = "ordered", "vertrag-№7 \t\n" },
		func(e *webhook.EventRecord) { e.ID, e.Test = "test", true },
		func(e *webhook.EventRecord) { e.ID, e.Type = "typed", "A-b_c:d/e.f" },
		func(e *webhook.EventRecord) { e.ID = "!\"#$%&'()*+,-/0:;<=>?@[\\]^_`{|}~" },
		func(e *webhook.EventRecord) { e.ID, e.Key = strings.Repeat("i", 128), strings.Repeat("k", 256) },
		func(e *webhook.EventRecord) { e.ID, e.Sum = "sum", [32]byte(allBytes()[224:]) },
		func(e *webhook.EventRecord) {
			e.ID, e.Time = "precise", time.Date(2026, 7, 8, 9, 10, 11, 123_456_789, time.UTC)
		},
		func(e *webhook.EventRecord) {
			e.ID, e.Time = "zoned", time.Date(2026, 7, 8, 9, 10, 11, 999_999_000, time.FixedZone("", -9*3600))
		},
		func(e *webhook.EventRecord) { e.ID, e.Time = "early", time.Date(1952, 7, 8, 9, 10, 11, 1000, time.UTC) },
		func(e *webhook.EventRecord) { e.ID, e.Time = "late", time.Date(2452, 7, 8, 9, 10, 11, 1000, time.UTC) },
		func(e *webhook.EventRecord) { e.ID, e.CreatedAt = "created", given },
		func(e *webhook.EventRecord) { e.ID = "CASE" },
		func(e *webhook.EventRecord) { e.ID = "case" },
	} {
		p := publication("", "")
		change(&p.Event)
		if got := t.enqueue(p)[0]; got.Duplicate || got.EventID != p.Event.ID {
			t.Errorf("Enqueue(%q) returned %+v, want a new event", p.Event.ID, got)
		}
		got, want := t.event(p.Event.ID), p.Event
		t.wantIn("CreatedAt of "+want.ID, got.CreatedAt, got.CreatedAt, 0)
		if sameTime(got.CreatedAt, given) {
			t.Errorf("CreatedAt is %v, as the caller gave it", given)
		}
		want.CreatedAt = got.CreatedAt
		wantSame(t, "event "+want.ID, got, want)
	}
	for _, e := range page(t, t.store.ListEvents, webhook.EventFilter{Scope: allTenants()}).Items {
		wantSame(t, "listed event "+e.ID, e, t.event(e.ID))
	}
}

func eventBytes(t *trial) {
	t.register("", "endpoint")
	for name, data := range map[string][]byte{
		"none":    nil,
		"nul":     []byte(`{"nul":"\u0000","raw":"` + "\x00" + `"}`),
		"all":     allBytes(),
		"order":   []byte("{\"b\" : 1.0,\n\t\"a\":1e2, \"b\":\"<&>\\u00e9\u2028\", \"n\":12345678901234567890 }\r\n "),
		"escapes": []byte(`\x00 \000 \\ E'\'' $1 ? :a @b %s {{}} --`),
		"large":   bytes.Repeat([]byte("\xff0123456789abcde"), 1<<16),
	} {
		p := publication(name, "")
		p.Event.Data = bytes.Clone(data)
		t.enqueue(p)
		claimed := t.collect(everything(long), 1)[0]
		for where, got := range map[string][]byte{"GetEvent": t.event(name).Data, "Claim": claimed.Event.Data} {
			if !bytes.Equal(got, data) {
				t.Errorf("%s returned data %s of %d bytes, want %s of %d", where, brief(got), len(got), brief(data), len(data))
			}
		}
	}
}

func duplicateID(t *trial) {
	t.register("", "endpoint")
	t.publish("", "event")
	first := t.event("event")
	t.register("", "later")
	for range 2 {
		p := publication("event", "")
		p.Event.Time = p.Event.Time.Add(time.Hour) // not part of Sum here, so not stored either
		if got := t.enqueue(p)[0]; !got.Duplicate || got.EventID != "event" || got.Deliveries != 0 {
			t.Errorf("Enqueue again returned %+v, want a duplicate", got)
		}
	}
	wantSame(t, "the event", t.event("event"), first)
	t.wantSet("endpoints of the event", collectStrings(t.deliveriesOf("event"), endpointOf), "endpoint")
}

// keyed publishes content under an ID and a key.
func keyed(id, tenant, key, content string) webhook.Publication {
	p := publication(content, tenant)
	p.Event.ID, p.Event.Key = id, key
	return p
}

func duplicateKey(t *trial) {
	t.register("acme", "endpoint")
	t.register("acme2", "endpoint2")
	t.enqueue(keyed("first", "acme", "key", "content"))
	for _, id := range []string{"second", "first"} {
		if got := t.enqueue(keyed(id, "acme", "key", "content"))[0]; !got.Duplicate || got.EventID != "first" || got.Deliveries != 0 {
			t.Errorf("the same Key with ID %q returned %+v, want a duplicate of %q", id, got, "first")
		}
	}
	_, err := t.store.GetEvent(t.ctx, "second")
	t.wantError("GetEvent of the duplicate's own ID", err, webhook.ErrNotFound)
	t.wantSet("deliveries", collectStrings(t.deliveries(webhook.DeliveryFilter{Scope: allTenants()}).Items, eventOf), "first")
	for _, p := range []webhook.Publication{
		keyed("other-tenant", "acme2", "key", "other"), keyed("other-key", "acme", "KEY", "content"),
		keyed("inner-tenant", "acme/legal", "key", "inner"), keyed("no-key", "acme", "", "none"), keyed("no-key-either", "acme", "", "none"),
	} {
		if got := t.enqueue(p)[0]; got.Duplicate || got.EventID != p.Event.ID {
			t.Errorf("Key %q of tenant %q returned %+v, want a new event", p.Event.Key, p.Event.Tenant, got)
		}
	}
}

func duplicateInCall(t *trial) {
	t.register("", "endpoint")
	var got []string
	for _, r := range t.enqueue(keyed("a", "", "key", "content"), keyed("a", "", "key", "content"), keyed("b", "", "key", "content"),
		keyed("c", "", "", "other"), keyed("c", "", "", "other")) {
		got = append(got, fmt.Sprintf("%s %t %d", r.EventID, r.Duplicate, r.Deliveries))
	}
	t.wantList("results: ID, Duplicate, Deliveries", got, "a false 1", "a true 0", "a true 0", "c false 1", "c true 0")
	t.wantSet("deliveries", collectStrings(t.deliveries(webhook.DeliveryFilter{}).Items, eventOf), "a", "c")
}

func conflict(t *trial) {
	t.register("", "endpoint")
	t.enqueue(keyed("one", "", "key-one", "content"), keyed("two", "", "key-two", "content"))
	for name, ps := range map[string][]webhook.Publication{
		"a known ID with other content":          {keyed("one", "", "", "other")},
		"a known Key with other content":         {keyed("new", "", "key-one", "other")},
		"an ID and a Key of two events":          {keyed("one", "", "key-two", "content")},
		"other content for an ID in one call":    {keyed("new", "", "", "content"), keyed("new", "", "", "other")},
		"other content for a Key in one call":    {keyed("new", "", "key", "content"), keyed("new2", "", "key", "other")},
		"an ID and a Key of two in one call":     {keyed("new", "", "key", "content"), keyed("new2", "", "", "content"), keyed("new2", "", "key", "content")},
		"a known ID with a Key of the same call": {keyed("new", "", "key", "content"), keyed("one", "", "key", "content")},
	} {
		_, err := t.store.Enqueue(t.ctx, ps)
		t.wantError(name, err, webhook.ErrConflict)
	}
	t.wantSet("events", collectStrings(page(t, t.store.ListEvents, webhook.EventFilter{}).Items, eventID), "one", "two")
	t.wantSet("deliveries", collectStrings(t.deliveries(webhook.DeliveryFilter{}).Items, eventOf), "one", "two")
}

func allOrNone(t *trial) {
	t.register("", "endpoint")
	t.publish("", "known")
	for name, at := range map[string]int{"first": 0, "middle": 1, "last": 2} {
		ps := []webhook.Publication{keyed("new-1", "", "key-1", "content"), publication("new-2", ""), addressed("new-3", "endpoint")}
		ps = append(ps[:at], append([]webhook.Publication{keyed("known", "", "", "other")}, ps[at:]...)...)
		_, err := t.store.Enqueue(t.ctx, ps)
		t.wantError("a call whose "+name+" publication conflicts", err, webhook.ErrConflict)
	}
	for _, id := range []string{"new-1", "new-2", "new-3"} {
		_, err := t.store.GetEvent(t.ctx, id)
		t.wantError(fmt.Sprintf("GetEvent(%q) after the failed calls", id), err, webhook.ErrNotFound)
	}
	t.wantSet("claimed after the failed calls", eventsOf(t.collect(everything(long), 1)), "known")
	if got := t.enqueue(keyed("new-1", "", "key-1", "content"))[0]; got.Duplicate || got.Deliveries != 1 {
		t.Errorf("publishing after the failed calls returned %+v, want a new event with its delivery", got)
	}
}

func enqueueRace(t *trial) {
	t.register("", "endpoint-1", "endpoint-2")
	for round, id := range map[string]func(i int) webhook.Publication{
		"same ID":  func(int) webhook.Publication { return publication("event", "") },
		"same Key": func(i int) webhook.Publication { return keyed(fmt.Sprintf("keyed-%d", i), "", "key", "content") },
	} {
		var created, deliveries atomic.Int64
		ids := make([]string, 16)
		for _, err := range together(len(ids), func(i int) error {
			results, err := t.store.Enqueue(t.ctx, []webhook.Publication{id(i)})
			if err != nil {
				return err
			}
			ids[i] = results[0].EventID
			deliveries.Add(int64(results[0].Deliveries))
			if !results[0].Duplicate {
				created.Add(1)
			}
			return nil
		}) {
			if err != nil {
				t.Fatalf("%s: Enqueue: %v", round, err)
			}
		}
		if created.Load() != 1 || deliveries.Load() != 2 {
			t.Errorf("%s: %d calls created the event with %d deliveries, want 1 with 2", round, created.Load(), deliveries.Load())
		}
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("%s: the calls returned %q, want one event ID", round, ids)
			}
		}
		if ds := t.deliveriesOf(ids[0]); len(ds) != 2 {
			t.Errorf("%s: the event has %d deliveries, want 2", round, len(ds))
		}
	}
}

func enqueueCrossing(t *trial) {
	t.register("", "endpoint")
	var created atomic.Int64
	for _, err := range together(8, func(worker int) error {
		for round := range 5 {
			ps := make([]webhook.Publication, 20)
			for i := range ps {
				at := i
				if worker%2 == 1 {
					at = len(ps) - 1 - i
				}
				ps[at] = publication(fmt.Sprintf("event-%d-%d", round, i), "")
			}
			results, err := t.store.Enqueue(t.ctx, ps)
			if err != nil {
				return err
			}
			for _, r := range results {
				created.Add(int64(r.Deliveries))
			}
		}
		return nil
	}) {
		if err != nil {
			t.Fatalf("Enqueue: %v", err)
		}
	}
	if got := len(t.deliveries(webhook.DeliveryFilter{Limit: 1000}).Items); got != 100 || created.Load() != 100 {
		t.Errorf("%d deliveries are stored and %d reported, want 100", got, created.Load())
	}
}

func addressedTo(t *trial) {
	t.register("", "matching", "named", "off")
	t.register("elsewhere", "foreign")
	t.disable("off", true)
	for _, id := range []string{"new", "known"} {
		if id == "known" {
			t.publish("", id)
		}
		got := t.enqueue(publication("before-"+id, ""), addressed(id, "foreign", "named", "nowhere", "off"))
		created := got[1].Created
		if len(got[0].Created) > 0 {
			t.Errorf("Created has %d deliveries where Endpoints is nil", len(got[0].Created))
		}
		t.wantSet("Created for the "+id+" event", collectStrings(created, func(c webhook.Claimed) string { return c.Delivery.EndpointID }), "foreign", "named", "off")
		if got[1].Deliveries != 3 || got[1].EventID != id {
			t.Errorf("Enqueue returned %d deliveries of event %q, want 3 of %q", got[1].Deliveries, got[1].EventID, id)
		}
		for _, c := range created {
			if c.Event == nil || c.Endpoint == nil {
				t.Fatalf("Created has event %v and endpoint %v, want both", c.Event, c.Endpoint)
			}
			wantSame(t, "Created's delivery", c.Delivery, t.delivery(c.Delivery.ID))
			wantSame(t, "Created's event", *c.Event, t.event(id))
			wantSame(t, "Created's endpoint", *c.Endpoint, t.endpoint(c.Delivery.EndpointID))
			if c.Delivery.Origin != webhook.OriginReplay || c.Delivery.State != webhook.StatePending {
				t.Errorf("Created's delivery is %s of origin %q, want pending of %q", c.Delivery.State, c.Delivery.Origin, webhook.OriginReplay)
			}
		}
		if again := t.enqueue(addressed(id, "named"))[0]; again.Deliveries != 1 {
			t.Errorf("the same endpoint again got %d deliveries, want 1", again.Deliveries)
		}
	}
	if got := t.enqueue(addressed("nobody"))[0]; got.Deliveries != 0 || len(t.deliveriesOf("nobody")) != 0 {
		t.Errorf("an empty list of endpoints got %d deliveries, want none", len(t.deliveriesOf("nobody")))
	}
	t.event("nobody")
}

func addressedMissing(t *trial) {
	t.register("", "pending", "delivered", "exhausted", "cancelled")
	t.publish("", "event")
	for _, c := range t.collect(everything(long), 4) {
		switch c.Delivery.EndpointID {
		case "delivered":
			t.settle(attempted(c, webhook.StateDelivered, 200))
		case "exhausted":
			t.settle(attempted(c, webhook.StateExhausted, 500))
		}
	}
	t.deleteEndpoint("cancelled")
	t.register("", "cancelled", "never")
	missing := func(want ...string) {
		t.Helper()
		p := addressed("event", "pending", "delivered", "exhausted", "cancelled", "never", "nowhere")
		p.Missing = true
		got := t.enqueue(p)[0]
		t.wantSet("endpoints where it is missing", endpointsOf(got.Created), want...)
		if got.Deliveries != len(want) {
			t.Errorf("Deliveries is %d, want %d", got.Deliveries, len(want))
		}
	}
	missing("exhausted", "cancelled", "never")
	missing() // now it is pending there
	p := addressed("unknown", "pending", "never")
	p.Missing = true
	t.wantSet("endpoints where a new event is missing", endpointsOf(t.enqueue(p)[0].Created), "pending", "never")
}

func bornLeased(t *trial) {
	t.register("", "endpoint")
	born := func(id string, lease time.Duration) webhook.Claimed {
		t.Helper()
		p := addressed(id, "endpoint")
		p.Origin, p.Event.Test, p.Lease = webhook.OriginTest, true, lease
		got := t.enqueue(p)[0]
		if len(got.Created) != 1 {
			t.Fatalf("Created has %d deliveries, want 1", len(got.Created))
		}
		return got.Created[0]
	}
	c := born("settled", long)
	t.wantIn("NextAttempt", c.Delivery.NextAttempt, c.Delivery.CreatedAt, long)
	t.claimNothing(everything(long), "it is leased to its creator")
	t.settle(attempted(c, webhook.StateDelivered, 200))
	if d := t.delivery(c.Delivery.ID); d.State != webhook.StateDelivered || d.Attempts != 1 {
		t.Errorf("after its settlement the delivery is %s with %d attempts, want delivered with 1", d.State, d.Attempts)
	}
	c = born("lapsed", short)
	again := t.reclaimed(long)
	if again.Delivery.ID != c.Delivery.ID || again.Expired != 1 || again.Lease <= c.Lease {
		t.Errorf("after the lease ran out: delivery %q, Expired %d, lease %d; want %q, 1 and more than %d",
			again.Delivery.ID, again.Expired, again.Lease, c.Delivery.ID, c.Lease)
	}
	t.settleStale("another has claimed it", outcome(c, webhook.StateDelivered))
}

func behind(t *trial) {
	ask := publication
	if h, ok := t.store.(webhook.HandOver); ok && h.HandsOver(t.ctx) {
		ask = func(id, tenant string) webhook.Publication {
			p := publication(id, tenant)
			p.Lease, p.Places = long, 1
			return p
		}
	}
	publish := func(id, why string, most int) (created []webhook.Claimed) {
		t.Helper()
		r := t.enqueue(ask(id, ""))[0]
		if r.Behind < 0 || r.Behind > min(most, r.Deliveries-len(r.Created)) {
			t.Errorf("%s: Behind is %d of %d deliveries, of which %d are handed over; want at most %d", why, r.Behind, r.Deliveries, len(r.Created), most)
		}
		return r.Created
	}
	deliver := func(batch []webhook.Claimed) {
		for _, c := range batch {
			t.settle(attempted(c, webhook.StateDelivered, 200))
		}
	}
	t.register("", "endpoint")
	first := publish("first", "an endpoint that never had a delivery", 0)
	deliver(append(first, t.collect(everything(long), 1-len(first))...))
	second := publish("second", "one that had one", 0)
	second = append(second, t.collect(everything(long), 1-len(second))...)
	third := publish("third", "one whose delivery is leased", 0)
	deliver(append(append(second, third...), t.collect(everything(long), 1-len(third))...))
	t.publish("", "fourth", "fifth")
	fourth := t.collect(webhook.ClaimRequest{Max: 1, PerEndpoint: 1, Lease: long}, 1)
	publish("sixth", "one of which a claim has left some", 1)
	t.register("", "beside")
	seventh := publish("seventh", "such a one, and another that never had a delivery", 1)
	for _, c := range slices.Concat(fourth, seventh, t.collect(everything(long), 4-len(seventh))) {
		o := attempted(c, webhook.StateDelivered, 200)
		o.Pause = long
		t.settle(o)
	}
	publish("eighth", "two that rest", 2)
	if _, ok := capability[webhook.OrderedQueue](t.store); !ok {
		return
	}
	t.disable("endpoint", true)
	t.disable("beside", true)
	t.ordered("ordered")
	publish("head", "an ordered endpoint", 0)
	head := t.collect(everything(long), 1)
	other := publication("other", "")
	other.Event.OrderingKey = "another key"
	if r := t.enqueue(other)[0]; r.Behind != 0 {
		t.Errorf("of an ordered endpoint, Behind is %d where another key's delivery is leased, want 0", r.Behind)
	}
	deliver(append(head, t.collect(everything(long), 1)...))
}

// handsOver skips the check of a store that does not, and returns a publication
// that asks for it.
func handsOver(t *trial) func(id string, lease time.Duration, places int) webhook.Publication {
	t.Helper()
	if h, ok := t.store.(webhook.HandOver); !ok || !h.HandsOver(t.ctx) {
		t.Skipf("the store does not hand over")
	}
	return func(id string, lease time.Duration, places int) webhook.Publication {
		p := publication(id, "")
		p.Lease, p.Places = lease, places
		return p
	}
}

func handedOver(t *trial) {
	asking := handsOver(t)
	t.register("", "endpoint")
	hand := func(id string, lease time.Duration) webhook.Claimed {
		t.Helper()
		got := t.enqueue(asking(id, lease, 1))[0]
		if got.Deliveries != 1 || len(got.Created) != 1 {
			t.Fatalf("an idle endpoint's delivery: Deliveries is %d and Created has %d, want 1 and 1", got.Deliveries, len(got.Created))
		}
		return got.Created[0]
	}
	c := hand("settled", long)
	if c.Event == nil || c.Endpoint == nil {
		t.Fatalf("it comes with event %v and endpoint %v, want both", c.Event, c.Endpoint)
	}
	if c.Event.ID != "settled" || !bytes.Equal(c.Event.Data, event("settled", "").Data) || !c.Event.CreatedAt.Equal(c.Delivery.CreatedAt) {
		t.Errorf("its event is %+v, want that which was published, as stored", c.Event)
	}
	if want := t.endpoint("endpoint"); c.Endpoint.ID != want.ID || c.Endpoint.Rev != want.Rev || !bytes.Equal(c.Endpoint.Config, want.Config) || !c.Endpoint.UpdatedAt.Equal(want.UpdatedAt) {
		t.Errorf("its endpoint is %+v, want %+v", c.Endpoint, want)
	}
	if stored := t.delivery(c.Delivery.ID); stored != c.Delivery {
		t.Errorf("its delivery is %+v, stored is %+v", c.Delivery, stored)
	}
	t.wantIn("NextAttempt", c.Delivery.NextAttempt, c.Delivery.CreatedAt, long)
	t.claimNothing(everything(long), "it is leased to its publisher")
	if again := t.enqueue(asking("settled", long, 1))[0]; !again.Duplicate || len(again.Created) > 0 {
		t.Errorf("published again, Duplicate is %t with %d created, want a duplicate with none", again.Duplicate, len(again.Created))
	}
	t.settle(attempted(c, webhook.StateDelivered, 200))
	if d := t.delivery(c.Delivery.ID); d.State != webhook.StateDelivered || d.Attempts != 1 {
		t.Errorf("after its settlement the delivery is %s with %d attempts, want delivered with 1", d.State, d.Attempts)
	}

	// Given back, and when its lease has run out, it is as any other.
	c = hand("given back", long)
	t.settle(outcome(c, webhook.StatePending))
	again := t.collect(everything(long), 1)[0]
	if again.Delivery.ID != c.Delivery.ID || again.Lease <= c.Lease || again.Expired != 0 {
		t.Errorf("given back, delivery %q was claimed with lease %d, Expired %d; want %q, more than %d and 0", again.Delivery.ID, again.Lease, again.Expired, c.Delivery.ID, c.Lease)
	}
	t.settle(attempted(again, webhook.StateDelivered, 200))
	c = hand("lapsed", short)
	again = t.reclaimed(long)
	if again.Delivery.ID != c.Delivery.ID || again.Expired != 1 || again.Lease <= c.Lease {
		t.Errorf("after the lease ran out: delivery %q, Expired %d, lease %d; want %q, 1 and more than %d",
			again.Delivery.ID, again.Expired, again.Lease, c.Delivery.ID, c.Lease)
	}
	t.settleStale("another has claimed it", outcome(c, webhook.StateDelivered))
}

func handedOverWithin(t *trial) {
	asking := handsOver(t)
	t.register("", "e1", "e2", "e3", "disabled")
	t.disable("disabled", true)
	got := t.enqueue(asking("two", long, 2), asking("none", long, 0))
	if got[0].Deliveries != 3 || len(got[0].Created) > 2 {
		t.Errorf("with 2 Places, %d of %d deliveries were handed over, want at most 2 of 3", len(got[0].Created), got[0].Deliveries)
	}
	if got[1].Deliveries != 3 || len(got[1].Created) != 0 {
		t.Errorf("without Places, %d of %d deliveries were handed over, want 0 of 3", len(got[1].Created), got[1].Deliveries)
	}
	t.collect(everything(long), 6-len(got[0].Created))

	// A call that fails leaves nothing, nor leases it.
	_, err := t.store.Enqueue(t.ctx, []webhook.Publication{asking("undone", long, 8), keyed("two", "", "", "other")})
	t.wantError("a call whose second publication conflicts", err, webhook.ErrConflict)
	if got := t.enqueue(publication("undone", ""))[0]; got.Duplicate || got.Deliveries != 3 {
		t.Errorf("published after that call has failed, Duplicate is %t with %d deliveries, want a new event with 3", got.Duplicate, got.Deliveries)
	}
	t.wantSet("claimed after a call that failed", eventsOf(t.collect(everything(long), 3)), "undone", "undone", "undone")
}

func handedOverNever(t *trial) {
	asking := handsOver(t)
	t.register("", "backlog")
	ordered := endpoint("ordered", "")
	if _, ok := capability[webhook.OrderedQueue](t.store); ok {
		ordered.Ordered = true
		t.put(ordered)
	}
	t.publish("", "first", "second")
	claimed := t.collect(webhook.ClaimRequest{Max: 1, PerEndpoint: 0, Room: map[string]int{"backlog": 1}, Lease: long}, 1)
	if created := t.enqueue(asking("third", long, 8))[0].Created; len(created) > 0 {
		t.Errorf("handed over was %v, where an endpoint has something due and another is ordered", endpointsOf(created))
	}
	// A pause, though nothing is due.
	t.register("", "paused")
	c := t.enqueue(asking("pausing", long, 8))[0].Created
	if len(c) != 1 || c[0].Delivery.EndpointID != "paused" {
		t.Fatalf("handed over was %v, want that of the new endpoint", endpointsOf(c))
	}
	o := attempted(c[0], webhook.StateDelivered, 200)
	o.Pause = long
	t.settle(o)
	if created := t.enqueue(asking("while it is", long, 8))[0].Created; len(created) > 0 {
		t.Errorf("handed over was %v, of which one has a NotBefore", endpointsOf(created))
	}
	// A pause that is over, which the next claim probes.
	t.register("", "probed")
	c = t.enqueue(asking("before", long, 8))[0].Created
	if len(c) != 1 || c[0].Delivery.EndpointID != "probed" {
		t.Fatalf("handed over was %v, want that of the new endpoint", endpointsOf(c))
	}
	o = attempted(c[0], webhook.StateDelivered, 200)
	o.Pause = short
	t.settle(o)
	t.pass(short)
	if created := t.enqueue(asking("afterwards", long, 8))[0].Created; len(created) > 0 {
		t.Errorf("handed over was %v, of which one has a NotBefore that has passed", endpointsOf(created))
	}
	t.settle(attempted(claimed[0], webhook.StateDelivered, 200))
}
