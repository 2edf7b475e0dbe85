package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
)

func settleChecks() []check {
	return []check{
		{"settle-final", "a delivered or exhausted delivery is finished and never claimed again", settleFinal},
		{"settle-pending", "a delivery that is settled as pending is due again after its delay", settlePending},
		{"settle-counted", "a counted attempt is counted, with its start, status and error", settleCounted},
		{"settle-uncounted", "a delivery given back uncounted keeps its counts, and the attempt is logged", settleUncounted},
		{"stale-settlement", "a settlement under an old lease is stale and leaves no trace", staleSettlement},
		{"settled-lease", "every settlement ends the lease", settledLease},
		{"late-settlement", "a lease that ran out but was not claimed again still settles", lateSettlement},
		{"unknown-settlement", "a settlement of a delivery that does not exist is stale", unknownSettlement},
		{"repeated-settlement", "a settlement whose attempt is stored already is a no-op and not stale", repeatedSettlement},
		{"settle-batch", "a batch settles what it can and returns the rest as stale", settleBatch},
		{"settle-many", "each delivery of a large batch gets its own outcome and attempt", settleMany},
		{"settle-race", "of concurrent settlements of one lease exactly one counts", settleRace},
		{"settle-crossing", "concurrent batches that share endpoints in opposite orders all succeed", settleCrossing},
	}
}

func settleFinal(t *trial) {
	for _, state := range []webhook.State{webhook.StateDelivered, webhook.StateExhausted} {
		endpoint := "of " + string(state)
		t.register(endpoint, endpoint)
	}
	t.publish("of delivered", "delivered")
	t.publish("of exhausted", "exhausted")
	for _, c := range t.collect(everything(long), 2) {
		t.tick()
		state := webhook.State(c.Delivery.EventID)
		t.settle(outcome(c, state))
		got, want := t.delivery(c.Delivery.ID), c.Delivery
		want.State, want.NextAttempt, want.UpdatedAt = state, time.Time{}, got.UpdatedAt
		wantSame(t, "the delivery", got, want)
		if !got.UpdatedAt.After(got.CreatedAt) {
			t.Errorf("UpdatedAt is still %v", got.UpdatedAt)
		}
		t.wantIn("UpdatedAt", got.UpdatedAt, got.CreatedAt, 0)
	}
	t.pass(long)
	t.claimNothing(everything(long), "both are finished")
}

func settlePending(t *trial) {
	s := outcome(t.claimed(long), webhook.StatePending)
	s.Delay = short
	t.tick()
	t.settle(s)
	d := t.delivery(s.DeliveryID)
	t.wantIn("UpdatedAt", d.UpdatedAt, d.UpdatedAt, 0)
	t.wantIn("NextAttempt", d.NextAttempt, d.UpdatedAt, short)
	if d.State != webhook.StatePending || !d.UpdatedAt.After(d.CreatedAt) {
		t.Errorf("the delivery is %s, updated %v, want pending, updated after %v", d.State, d.UpdatedAt, d.CreatedAt)
	}
	s = outcome(t.reclaimed(long), webhook.StatePending)
	t.settle(s)
	d = t.delivery(s.DeliveryID)
	t.wantIn("NextAttempt without a delay", d.NextAttempt, d.UpdatedAt, 0)
	s = outcome(t.collect(everything(short), 1)[0], webhook.StatePending)
	s.Delay = long
	t.settle(s)
	t.claimNothing(everything(long), "its delay is not over")
	if t.clock != nil {
		t.clock.advance(long - time.Millisecond)
		t.claimNothing(everything(long), "its delay has a millisecond left")
		t.clock.advance(2 * time.Millisecond)
		t.collect(everything(long), 1)
	}
}

func settleCounted(t *trial) {
	c := t.claimed(long)
	start := time.Date(2026, time.August, 9, 10, 11, 12, 131_415_000, time.UTC)
	for n, step := range []struct {
		state  webhook.State
		status int
		error  string
	}{
		{webhook.StatePending, 503, "status 503 Überlastet"},
		{webhook.StatePending, 0, "connection refused"},
		{webhook.StatePending, 429, "status 429"},
		{webhook.StateDelivered, 204, ""},
	} {
		s := attempted(c, step.state, step.status)
		s.Attempt.Error = step.error
		s.Attempt.StartedAt = start.Add(time.Duration(n) * time.Minute)
		t.settle(s)
		got, want := t.delivery(c.Delivery.ID), c.Delivery
		want.State, want.Attempts, want.LastStatus, want.LastError, want.FirstAttempt = step.state, n+1, step.status, step.error, start
		want.NextAttempt, want.UpdatedAt = got.NextAttempt, got.UpdatedAt
		wantSame(t, fmt.Sprintf("after attempt %d", n+1), got, want)
		if step.state == webhook.StatePending {
			c = t.collect(everything(long), 1)[0]
			stored := t.delivery(c.Delivery.ID)
			stored.UpdatedAt = c.Delivery.UpdatedAt
			wantSame(t, fmt.Sprintf("claimed after attempt %d", n+1), c.Delivery, stored)
		}
	}
}

func settleUncounted(t *trial) {
	c := t.claimed(long)
	t.settle(outcome(c, webhook.StatePending)) // given back before it was attempted
	c = t.collect(everything(long), 1)[0]
	if c.Delivery.Attempts != 0 || len(t.attempts(c.Delivery.ID)) != 0 {
		t.Errorf("a delivery that was never attempted has %d attempts, %d logged", c.Delivery.Attempts, len(t.attempts(c.Delivery.ID)))
	}
	for n, before := range []string{"before", "after"} {
		s := attempted(c, webhook.StatePending, 0) // cut short
		s.Counted = false
		t.settle(s)
		want := c.Delivery
		c = t.collect(everything(long), 1)[0]
		want.NextAttempt, want.UpdatedAt = c.Delivery.NextAttempt, c.Delivery.UpdatedAt
		wantSame(t, "given back "+before+" the first counted attempt", c.Delivery, want)
		if got := len(t.attempts(c.Delivery.ID)); got != 2*n+1 {
			t.Errorf("%d attempts are logged, want %d", got, 2*n+1)
		}
		t.settle(attempted(c, webhook.StatePending, 500))
		c = t.collect(everything(long), 1)[0]
	}
}

func staleSettlement(t *trial) {
	first := t.claimed(short)
	second := t.reclaimed(long)
	delivery, endpoint := t.delivery(first.Delivery.ID), t.endpoint("endpoint")
	for _, state := range []webhook.State{webhook.StateDelivered, webhook.StateExhausted, webhook.StatePending} {
		s := attempted(first, state, 500)
		s.Health, s.Pause, s.Disable = webhook.HealthFailure, long, "failing"
		t.settleStale("another has claimed it", s)
	}
	wantSame(t, "the delivery", t.delivery(first.Delivery.ID), delivery)
	wantSame(t, "the endpoint", t.endpoint("endpoint"), endpoint)
	if as := t.attempts(first.Delivery.ID); len(as) != 0 {
		t.Errorf("%d attempts are logged, want none", len(as))
	}
	t.settle(attempted(second, webhook.StateDelivered, 200))
	if d := t.delivery(first.Delivery.ID); d.State != webhook.StateDelivered {
		t.Errorf("the delivery is %s after its settlement, want delivered", d.State)
	}
	s := attempted(first, webhook.StateExhausted, 500)
	s.Health = webhook.HealthFailure
	t.settleStale("the delivery is finished", s)
	wantSame(t, "the endpoint", t.endpoint("endpoint"), endpoint)
	if d, as := t.delivery(first.Delivery.ID), t.attempts(first.Delivery.ID); d.State != webhook.StateDelivered || len(as) != 1 {
		t.Errorf("the delivery is %s with %d attempts logged, want delivered with 1", d.State, len(as))
	}
}

func settledLease(t *trial) {
	c := t.claimed(long)
	s := outcome(c, webhook.StatePending)
	s.Delay = long
	t.settle(s)
	before := t.delivery(c.Delivery.ID)
	t.settleStale("it was given back", outcome(c, webhook.StateDelivered))
	t.settleStale("it was given back", attempted(c, webhook.StateExhausted, 500))
	wantSame(t, "the delivery", t.delivery(c.Delivery.ID), before)
	if as := t.attempts(c.Delivery.ID); len(as) != 0 {
		t.Errorf("%d attempts are logged, want none", len(as))
	}
}

func lateSettlement(t *trial) {
	t.register("", "late", "witness")
	t.publish("", "event")
	one := webhook.ClaimRequest{Max: 1, PerEndpoint: 1, Lease: short, Room: map[string]int{"witness": 0}}
	late := t.collect(one, 1)[0]
	one.Room = map[string]int{"late": 0}
	t.collect(one, 1)
	t.pass(short)
	t.collect(one, 1) // so the earlier lease has run out, too
	t.settle(attempted(late, webhook.StateDelivered, 200))
	if d := t.delivery(late.Delivery.ID); d.State != webhook.StateDelivered || d.Attempts != 1 {
		t.Errorf("the delivery is %s with %d attempts, want delivered with 1", d.State, d.Attempts)
	}
}

func unknownSettlement(t *trial) {
	c := t.claimed(long)
	for _, id := range strangeIDs() {
		s := attempted(c, webhook.StateDelivered, 200)
		s.DeliveryID, s.Attempt.DeliveryID, s.Health = id, id, webhook.HealthFailure
		t.settleStale("there is no such delivery", s)
		if as := t.attempts(id); len(as) != 0 {
			t.Errorf("%d attempts of %q are logged, want none", len(as), id)
		}
	}
	if d := t.delivery(c.Delivery.ID); d.State != webhook.StatePending {
		t.Errorf("the delivery that exists is %s, want pending", d.State)
	}
}

func repeatedSettlement(t *trial) {
	c := t.claimed(long)
	first := attempted(c, webhook.StatePending, 500)
	first.Health = webhook.HealthFailure
	t.settle(first)
	t.settle(first)
	c = t.collect(everything(long), 1)[0]
	claimed := t.delivery(c.Delivery.ID)
	t.settle(first) // another has claimed it meanwhile
	wantSame(t, "the delivery after the first attempt was repeated", t.delivery(c.Delivery.ID), claimed)
	again := first
	again.Lease = c.Lease
	t.settle(again) // even under a lease that is valid
	wantSame(t, "the delivery after the first attempt was repeated under the new lease", t.delivery(c.Delivery.ID), claimed)
	second := attempted(c, webhook.StateDelivered, 200)
	second.Health = webhook.HealthSuccess
	t.settle(second) // the lease is still that of the claim
	delivered, endpoint := t.delivery(c.Delivery.ID), t.endpoint("endpoint")
	t.tick()
	t.settle(first, second)
	t.settle(second)
	wantSame(t, "the delivery after both were repeated", t.delivery(c.Delivery.ID), delivered)
	wantSame(t, "the endpoint after both were repeated", t.endpoint("endpoint"), endpoint)
	if delivered.Attempts != 2 || delivered.State != webhook.StateDelivered {
		t.Errorf("the delivery is %s with %d attempts, want delivered with 2", delivered.State, delivered.Attempts)
	}
	got := collectStrings(t.attempts(c.Delivery.ID), func(a webhook.Attempt) string { return a.ID })
	t.wantList("attempts", got, first.Attempt.ID, second.Attempt.ID)
}

func settleBatch(t *trial) {
	t.settle() // nothing
	t.register("", "endpoint", "deleted")
	t.publish("", "repeated", "delivered", "exhausted", "waiting", "stale")
	held := make(map[string]webhook.Claimed)
	for _, c := range t.collect(everything(long), 10) {
		held[c.Delivery.EventID+" to "+c.Delivery.EndpointID] = c
	}
	of := func(event string) webhook.Claimed { return held[event+" to endpoint"] }
	repeated := attempted(of("repeated"), webhook.StateDelivered, 200)
	t.settle(repeated)
	t.deleteEndpoint("deleted")
	waiting := attempted(of("waiting"), webhook.StatePending, 500)
	waiting.Delay = long
	old := attempted(of("stale"), webhook.StateDelivered, 200)
	old.Lease--
	nowhere := outcome(of("stale"), webhook.StateDelivered)
	nowhere.DeliveryID = newID()
	cancelled := attempted(held["delivered to deleted"], webhook.StateDelivered, 200)
	stale := t.trySettle(old, attempted(of("delivered"), webhook.StateDelivered, 200), nowhere, repeated,
		attempted(of("exhausted"), webhook.StateExhausted, 500), cancelled, waiting)
	t.wantSet("stale", stale, old.DeliveryID, nowhere.DeliveryID, cancelled.DeliveryID)
	for event, want := range map[string]webhook.State{
		"repeated": webhook.StateDelivered, "delivered": webhook.StateDelivered, "exhausted": webhook.StateExhausted,
		"waiting": webhook.StatePending, "stale": webhook.StatePending,
	} {
		d, logged := t.delivery(of(event).Delivery.ID), 1
		if event == "stale" {
			logged = 0
		}
		if d.State != want || d.Attempts != logged || len(t.attempts(d.ID)) != logged {
			t.Errorf("%q is %s with %d attempts, %d logged, want %s with %d", event, d.State, d.Attempts, len(t.attempts(d.ID)), want, logged)
		}
	}
	t.claimNothing(everything(long), "one is leased, one waits, the others are finished")
}

func settleMany(t *trial) {
	const n = 21 // several statements of a store that writes some together, and a rest
	t.register("", "endpoint")
	t.publishMany("", "many", n)
	start := time.Date(2026, time.August, 9, 10, 11, 12, 131_415_000, time.UTC)
	deliveries := make(map[string]webhook.Delivery)
	logged := make(map[string][]webhook.Attempt)
	for round, left := 0, n; left > 0; round++ {
		held := t.collect(everything(long), left)
		slices.Reverse(held) // requests do not end in the order in which they began
		ss := make([]webhook.Settlement, len(held))
		left = 0
		for i, c := range held {
			s := attempted(c, webhook.StateDelivered, []int{204, 200, 500}[i%3])
			s.Attempt.StartedAt = start.Add(time.Duration(round*n+i) * time.Minute)
			if s.Attempt.Error != "" {
				s.Attempt.Error = fmt.Sprintf("status 500: %d", i%4)
				s.State = webhook.StateExhausted
				if round < 2 {
					s.State = webhook.StatePending
					s.Counted = i%2 == 0 // or cut short
					left++
				}
			}
			d := c.Delivery
			s.ApplyToDelivery(&d, d.UpdatedAt)
			ss[i], deliveries[d.ID], logged[d.ID] = s, d, append(logged[d.ID], *s.Attempt)
		}
		t.settle(ss...)
	}
	for id, want := range deliveries {
		got := t.delivery(id)
		want.NextAttempt, want.UpdatedAt = got.NextAttempt, got.UpdatedAt
		wantSame(t, "of "+got.EventID, got, want)
		attempts := t.attempts(id)
		if len(attempts) != len(logged[id]) {
			t.Fatalf("%d attempts of %s are logged, want %d", len(attempts), got.EventID, len(logged[id]))
		}
		for n, a := range attempts {
			wantSame(t, fmt.Sprintf("attempt %d of %s", n+1, got.EventID), a, logged[id][n])
		}
	}
}

func settleRace(t *trial) {
	c := t.claimed(long)
	var settled atomic.Int64
	for _, err := range together(8, func(int) error {
		stale, err := t.store.Settle(t.ctx, []webhook.Settlement{attempted(c, webhook.StatePending, 500)})
		settled.Add(int64(1 - len(stale)))
		return err
	}) {
		if err != nil {
			t.Fatalf("a concurrent Settle: %v", err)
		}
	}
	d, as := t.delivery(c.Delivery.ID), t.attempts(c.Delivery.ID)
	if settled.Load() != 1 || d.Attempts != 1 || len(as) != 1 {
		t.Errorf("%d settlements were not stale, %d attempts counted and %d logged, want 1", settled.Load(), d.Attempts, len(as))
	}
	c = t.collect(everything(long), 1)[0]
	repeated := attempted(c, webhook.StateDelivered, 200)
	for _, err := range together(8, func(int) error {
		stale, err := t.store.Settle(t.ctx, []webhook.Settlement{repeated})
		if len(stale) > 0 {
			return errors.New("a repetition is stale")
		}
		return err
	}) {
		if err != nil {
			t.Fatalf("one settlement repeated at the same time: %v", err)
		}
	}
	if d, as := t.delivery(c.Delivery.ID), t.attempts(c.Delivery.ID); d.Attempts != 2 || len(as) != 2 {
		t.Errorf("%d attempts counted and %d logged, want 2", d.Attempts, len(as))
	}
}

func settleCrossing(t *trial) {
	const workers, size = 8, 10
	var ids []string
	for i := range size {
		ids = append(ids, fmt.Sprintf("endpoint-%d", i))
	}
	t.register("", ids...)
	t.publishMany("", "event-", workers)
	held := make(map[string]webhook.Claimed)
	for _, c := range t.collect(everything(long), workers*size) {
		held[c.Delivery.EventID+c.Delivery.EndpointID] = c
	}
	for _, err := range together(workers, func(worker int) error {
		ss := make([]webhook.Settlement, size)
		for i, id := range ids {
			at := i
			if worker%2 == 1 {
				at = size - 1 - i
			}
			ss[at] = attempted(held[fmt.Sprintf("event-%04d", worker)+id], webhook.StateDelivered, 200)
			ss[at].Health = []webhook.Health{webhook.HealthSuccess, webhook.HealthFailure}[worker/2%2]
		}
		stale, err := t.store.Settle(t.ctx, ss)
		if len(stale) > 0 {
			return fmt.Errorf("%d of %d are stale", len(stale), size)
		}
		return err
	}) {
		if err != nil {
			t.Fatalf("a concurrent Settle: %v", err)
		}
	}
	if n := len(t.deliveries(webhook.DeliveryFilter{States: []webhook.State{webhook.StateDelivered}}).Items); n != workers*size {
		t.Errorf("%d deliveries are delivered, want %d", n, workers*size)
	}
}

// strangeIDs are of nothing that exists. They come out of URLs.
func strangeIDs() []string {
	return []string{newID(), "", "no-uuid", "00000000-0000-0000-0000-000000000000", "' OR 1=1 --", "%", "\x00", "\xff\xfe", "ключ"}
}
