package storetest

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/outhook/webhook"
)

func claimChecks() []check {
	return []check{
		{"claim-complete", "a claim returns all that sending needs", claimComplete},
		{"lease-hides", "a leased delivery is not claimed", leaseHides},
		{"lease-expires", "a delivery whose lease ran out is due again", leaseExpires},
		{"lease-number", "the lease number of a delivery goes up with every claim", leaseNumber},
		{"expired-count", "Expired counts the leases that ran out since the last settlement", expiredCount},
		{"claim-max", "a claim returns at most Max deliveries", claimMax},
		{"claim-per-endpoint", "a claim returns at most PerEndpoint deliveries of an endpoint", claimPerEndpoint},
		{"claim-room", "Room replaces PerEndpoint for the endpoints that it names", claimRoom},
		{"claim-max-bytes", "a claim returns at most MaxBytes of data, but at least one delivery", claimMaxBytes},
		{"claim-disjoint", "concurrent claims return disjoint deliveries", claimDisjoint},
		{"claim-disabled", "deliveries of a disabled endpoint wait until it is enabled", claimDisabled},
		{"claim-oldest", "within an endpoint the oldest due comes first", claimOldest},
		{"not-before-hides", "an endpoint whose NotBefore lies ahead is left alone, and no other", notBeforeHides},
		{"not-before-probe", "once NotBefore has passed, a claim takes one delivery and moves it on, until a success", notBeforeProbe},
		{"claim-next", "next is how long it takes until something falls due, and never longer", claimNext},
	}
}

func claimComplete(t *trial) {
	t.register("acme", "one", "two")
	t.publish("acme/legal", "first", "second")
	batch := t.collect(everything(long), 4)
	seen := make(map[string]bool)
	for _, c := range batch {
		seen[c.Delivery.EventID+" to "+c.Delivery.EndpointID] = true
		stored := t.delivery(c.Delivery.ID)
		if c.Delivery.EventID != c.Event.ID || c.Delivery.EndpointID != c.Endpoint.ID {
			t.Fatalf("the delivery of %q to %q comes with event %q and endpoint %q",
				c.Delivery.EventID, c.Delivery.EndpointID, c.Event.ID, c.Endpoint.ID)
		}
		stored.UpdatedAt = c.Delivery.UpdatedAt // whether a claim is an update is the store's affair
		wantSame(t, "the delivery", c.Delivery, stored)
		wantSame(t, "the event", *c.Event, t.event(c.Event.ID))
		wantSame(t, "the endpoint", *c.Endpoint, t.endpoint(c.Endpoint.ID))
		if c.Expired != 0 || c.Delivery.State != webhook.StatePending {
			t.Errorf("the first claim has Expired %d and state %s, want 0 and pending", c.Expired, c.Delivery.State)
		}
		if t.clock != nil {
			t.wantIn("NextAttempt, the end of the lease,", c.Delivery.NextAttempt, time.Time{}, long)
		}
	}
	t.wantSet("claimed", slices.Collect(maps.Keys(seen)), "first to one", "first to two", "second to one", "second to two")
}

func leaseHides(t *trial) {
	t.claimed(long)
	t.claimNothing(everything(long), "it is leased")
	if t.clock != nil {
		t.clock.advance(long - time.Second)
		t.claimNothing(everything(long), "its lease has a second left")
	}
	t.publish("", "another")
	t.wantSet("claimed beside it", eventsOf(t.collect(everything(long), 1)), "another")
}

func leaseExpires(t *trial) {
	first := t.claimed(short)
	second := t.reclaimed(long)
	if second.Delivery.ID != first.Delivery.ID || second.Delivery.State != webhook.StatePending {
		t.Errorf("claimed delivery %q, %s, want %q, pending", second.Delivery.ID, second.Delivery.State, first.Delivery.ID)
	}
	if second.Delivery.Attempts != 0 || len(t.attempts(first.Delivery.ID)) != 0 {
		t.Errorf("the lease that ran out left %d attempts, want none", second.Delivery.Attempts)
	}
	t.claimNothing(everything(long), "it is leased anew")
}

func leaseNumber(t *trial) {
	c := t.claimed(short)
	last := c.Lease
	for _, ends := range []string{"its end", "a settlement", "its end"} {
		if ends == "a settlement" {
			t.settle(outcome(c, webhook.StatePending))
		}
		c = t.reclaimed(short)
		if c.Lease <= last {
			t.Errorf("the claim after %s of the lease has number %d, want more than %d", ends, c.Lease, last)
		}
		last = c.Lease
	}
}

func expiredCount(t *trial) {
	want := func(c webhook.Claimed, want int, after string) {
		t.Helper()
		if c.Expired != want {
			t.Errorf("Expired is %d after %s, want %d", c.Expired, after, want)
		}
	}
	want(t.claimed(short), 0, "the first claim")
	want(t.reclaimed(short), 1, "a lease ran out")
	c := t.reclaimed(long)
	want(c, 2, "two leases ran out")
	t.settle(outcome(c, webhook.StatePending))
	c = t.collect(everything(long), 1)[0]
	want(c, 0, "a settlement")
	s := outcome(c, webhook.StatePending)
	s.Delay = short
	t.settle(s)
	want(t.reclaimed(short), 0, "a delay, which is no lease,")
	want(t.reclaimed(long), 1, "another lease ran out")
}

func claimMax(t *trial) {
	t.register("", "one", "two")
	t.publishMany("", "event-", 10)
	seen := make(map[string]int)
	for range 20 {
		batch := t.claim(webhook.ClaimRequest{Max: 3, PerEndpoint: 10, Lease: long})
		if len(batch) > 3 {
			t.Errorf("a claim with Max 3 returned %d deliveries", len(batch))
		}
		for _, c := range batch {
			seen[c.Delivery.ID]++
		}
	}
	if len(seen) != 20 {
		t.Errorf("20 claims with Max 3 returned %d of 20 deliveries", len(seen))
	}
}

// perEndpoint counts a batch.
func perEndpoint(batch []webhook.Claimed) map[string]int {
	n := make(map[string]int)
	for _, c := range batch {
		n[c.Delivery.EndpointID]++
	}
	return n
}

func claimPerEndpoint(t *trial) {
	t.register("acme", "one", "two")
	t.register("other", "three")
	t.publishMany("acme", "event-", 6)
	t.publishMany("other", "another-", 6)
	total := 0
	for range 20 {
		batch := t.claim(webhook.ClaimRequest{Max: 100, PerEndpoint: 2, Lease: long})
		for id, n := range perEndpoint(batch) {
			if n > 2 {
				t.Errorf("a claim with PerEndpoint 2 returned %d deliveries of endpoint %q", n, id)
			}
		}
		total += len(batch)
	}
	if total != 18 {
		t.Errorf("20 claims with PerEndpoint 2 returned %d of 18 deliveries", total)
	}
}

func claimRoom(t *trial) {
	t.register("", "none", "less", "more", "unnamed")
	t.publishMany("", "event-", 8)
	request := webhook.ClaimRequest{
		Max: 100, PerEndpoint: 3, Lease: long,
		Room: map[string]int{"none": 0, "less": 1, "more": 5, "unknown": 7},
	}
	limits := map[string]int{"none": 0, "less": 1, "more": 5, "unnamed": 3}
	total, above := make(map[string]int), false
	for range 10 {
		for id, n := range perEndpoint(t.claim(request)) {
			if n > limits[id] {
				t.Errorf("a claim returned %d deliveries of endpoint %q, want at most %d", n, id, limits[id])
			}
			above = above || n > request.PerEndpoint
			total[id] += n
		}
	}
	if want := (map[string]int{"less": 8, "more": 8, "unnamed": 8}); !maps.Equal(total, want) {
		t.Errorf("10 claims returned %v, want %v", total, want)
	}
	if !above {
		t.Errorf("no claim returned more than PerEndpoint of an endpoint that has more room")
	}
	request.Room = nil
	t.collect(request, 8)
}

func claimMaxBytes(t *trial) {
	t.register("", "one", "two")
	for i, tenth := range []int{10, 10, 10, 30, 5, 5, 5} {
		p := publication(fmt.Sprintf("event-%d", i), "")
		p.Event.Data = make([]byte, tenth*100)
		p.Endpoints = []string{[]string{"one", "two"}[i%2]}
		t.enqueue(p)
	}
	total := 0
	for rounds := 0; total < 7; rounds++ {
		batch := t.claim(webhook.ClaimRequest{Max: 100, PerEndpoint: 100, MaxBytes: 2500, Lease: long})
		bytes := 0
		for _, c := range batch {
			bytes += len(c.Event.Data)
		}
		if bytes > 2500 && len(batch) > 1 {
			t.Errorf("a claim with MaxBytes 2500 returned %d bytes in %d deliveries", bytes, len(batch))
		}
		total += len(batch)
		if rounds > 20 {
			t.Fatalf("%d claims returned %d of 7 deliveries", rounds, total)
		}
	}
	t.publishMany("", "small-", 5)
	if n := len(t.claim(everything(long))); n < 2 {
		t.Errorf("a claim with MaxBytes 0 returned %d of 10 deliveries, want no limit", n)
	}
}

func claimDisjoint(t *trial) {
	const n = 200
	t.register("a", "a1", "a2")
	t.register("b", "b1", "b2")
	t.publishMany("a", "of-a-", n/4)
	t.publishMany("b", "of-b-", n/4)
	var mu sync.Mutex
	seen := make(map[string]int)
	for _, err := range together(8, func(int) error {
		for range n {
			batch, _, err := t.store.Claim(t.ctx, webhook.ClaimRequest{Max: 7, PerEndpoint: 5, Lease: long})
			if err != nil {
				return err
			}
			mu.Lock()
			for _, c := range batch {
				seen[c.Delivery.ID]++
			}
			done := len(seen) == n
			mu.Unlock()
			if done || len(batch) == 0 {
				return nil
			}
		}
		return nil
	}) {
		if err != nil {
			t.Fatalf("a concurrent Claim: %v", err)
		}
	}
	for _, c := range t.collect(everything(long), n-len(seen)) { // what each thought another would take
		seen[c.Delivery.ID]++
	}
	for id, times := range seen {
		if times > 1 {
			t.Errorf("delivery %q was claimed %d times within one lease", id, times)
		}
	}
	t.claimNothing(everything(long), "all are claimed")
}

func claimDisabled(t *trial) {
	t.register("", "off", "on", "failing")
	t.publish("", "event")
	t.disable("off", true)
	s := outcome(t.collect(webhook.ClaimRequest{Max: 1, PerEndpoint: 1, Lease: long, Room: map[string]int{"on": 0}}, 1)[0], webhook.StatePending)
	s.Disable = "it answered 410"
	t.settle(s)
	on := t.collect(everything(long), 1)
	t.wantSet("claimed for", endpointsOf(on), "on")
	t.claimNothing(everything(long), "the other endpoints are disabled")
	for _, c := range t.deliveriesOf("event") {
		if c.State != webhook.StatePending {
			t.Errorf("the delivery to %q is %s, want pending", c.EndpointID, c.State)
		}
	}
	t.disable("on", true)
	t.settle(attempted(on[0], webhook.StateDelivered, 200)) // what is claimed already is settled as ever
	t.disable("off", false)
	t.disable("failing", false)
	t.wantSet("claimed for after enabling", endpointsOf(t.collect(everything(long), 2)), "off", "failing")
}

func claimOldest(t *trial) {
	t.register("", "endpoint")
	t.publish("", "e", "d", "c", "b", "a")
	one := webhook.ClaimRequest{Max: 1, PerEndpoint: 1, Lease: long}
	var batch []webhook.Claimed
	for range 3 {
		batch = append(batch, t.collect(one, 1)...)
	}
	t.wantList("claimed one by one", eventsOf(batch), "e", "d", "c")
	t.tick()
	t.settle(outcome(batch[0], webhook.StatePending)) // due now, so later than b and a
	batch = nil
	for range 3 {
		batch = append(batch, t.collect(one, 1)...)
	}
	t.wantList("claimed after the first was given back", eventsOf(batch), "b", "a", "e")
}

func notBeforeHides(t *trial) {
	s := failed(t.claimed(long))
	s.Pause = long
	t.settle(s)
	t.wantIn("NotBefore after the pause", t.endpoint("endpoint").NotBefore, t.delivery(s.DeliveryID).UpdatedAt, long)
	t.register("acme", "other")
	t.publish("acme", "of-other")
	t.wantSet("claimed", eventsOf(t.collect(everything(long), 1)), "of-other")
	t.claimNothing(everything(long), "NotBefore lies ahead")
	if t.clock != nil {
		t.clock.advance(long - time.Second)
		t.claimNothing(everything(long), "NotBefore is still ahead")
	}
}

func notBeforeProbe(t *trial) {
	t.register("", "endpoint")
	t.publishMany("", "event-", 5)
	one := webhook.ClaimRequest{Max: 1, PerEndpoint: 1, Lease: long}
	first, second := t.collect(one, 1)[0], t.collect(one, 1)[0]
	pause := failed(first)
	pause.Pause = short
	t.settle(pause)
	t.reclaimed(short)
	c := t.reclaimed(long) // the lease of the first probe ran out: one more
	if t.clock != nil {
		t.wantIn("NotBefore after a probe", t.endpoint("endpoint").NotBefore, time.Time{}, long)
	}
	t.claimNothing(everything(long), "a probe is under way")
	t.settle(failed(c))
	t.claimNothing(everything(long), "only a success clears NotBefore")
	pause = failed(second)
	pause.Pause = short
	t.settle(pause)
	success := attempted(t.reclaimed(long), webhook.StateDelivered, 200)
	success.Health = webhook.HealthSuccess
	t.settle(success)
	t.collect(everything(long), 4)
}

func claimNext(t *trial) {
	next := func(what string, due time.Duration) {
		t.Helper()
		batch, next, err := t.store.Claim(t.ctx, everything(long))
		switch {
		case err != nil || len(batch) > 0:
			t.Fatalf("%s: Claim returned %q and error %v, want neither", what, eventsOf(batch), err)
		case next > due:
			t.Errorf("%s: next is %v, later than what falls due in %v", what, next, due)
		case next > 0 && next < due-time.Minute:
			t.Errorf("%s: next is %v, want about %v", what, next, due)
		}
	}
	next("nothing is stored", 0)
	c := t.claimed(50 * time.Minute)
	next("a lease", 50*time.Minute)
	s := outcome(c, webhook.StatePending)
	s.Delay = 40 * time.Minute
	t.settle(s)
	next("a delay", 40*time.Minute)
	t.publish("", "another")
	c = t.collect(everything(30*time.Minute), 1)[0]
	next("a lease before the end of a delay", 30*time.Minute)
	s = outcome(c, webhook.StatePending)
	s.Pause = 20 * time.Minute
	t.settle(s)
	next("a pause of what is due", 20*time.Minute)
	t.register("acme", "other")
	t.publish("acme", "of-other")
	t.collect(everything(10*time.Minute), 1)
	next("a lease at another endpoint before the end of the pause", 10*time.Minute)
	t.deleteEndpoint("other")
	next("after that endpoint was deleted", 20*time.Minute)
}
