package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/outhook/webhook"
)

func statisticsChecks() []check {
	return []check{
		{"statistics", "deliveries are counted by endpoint, time and state, those of other tenants and of test sends excepted", statistics},
		{"statistics-many", "of more deliveries than are counted, an estimate is near and says so", statisticsMany},
		{"statistics-foreign", "of an endpoint outside the scope, however busy, statistics are those of one that does not exist", statisticsForeign},
	}
}

func (t *trial) summarize(s webhook.Summarizer, f webhook.StatisticsFilter) []webhook.Statistics {
	t.Helper()
	got, err := s.Summarize(t.ctx, f)
	if err != nil {
		t.Fatalf("Summarize(%+v): %v", f, err)
	}
	if want := len(f.Endpoints) * f.Buckets; len(got) != want {
		t.Fatalf("Summarize returned %d parts, want %d for %d endpoints and %d buckets", len(got), want, len(f.Endpoints), f.Buckets)
	}
	return got
}

func statistics(t *trial) {
	s := need[webhook.Summarizer](t, "Summarizer")
	t.register("acme", "one", "gone")
	t.register("acme/legal", "within")
	t.register("other", "foreign")
	t.publish("acme", "a", "b", "c")
	t.publish("acme/legal", "d")
	t.publish("other", "e", "f")
	first := t.deliveriesOf("a")[0].CreatedAt
	for _, c := range t.collect(everything(long), 3*2+3+2) { // of acme's events, of that of acme/legal, and of other's
		switch {
		case c.Delivery.EventID == "a":
			t.settle(attempted(c, webhook.StatePending, 500))
		case c.Delivery.EventID == "b", c.Delivery.EventID == "f":
			t.settle(attempted(c, webhook.StateExhausted, 500))
		case c.Delivery.EventID == "d":
			t.settle(attempted(c, webhook.StateDelivered, 200))
		}
	}
	for _, c := range t.collect(everything(long), 2) {
		t.settle(attempted(c, webhook.StateDelivered, 200)) // the second attempt of a
	}
	test := addressed("test", "one")
	test.Event.Test, test.Origin, test.Lease = true, webhook.OriginTest, long
	t.enqueue(test)
	t.deleteEndpoint("gone")
	all := t.deliveries(webhook.DeliveryFilter{Scope: allTenants(), Limit: 1000}).Items
	last := all[0].CreatedAt
	for _, scope := range []webhook.Scope{{All: true}, {Tenant: "acme"}, {Tenant: "acme/legal"}, {Tenant: "other"}, {Tenant: "acm"}, {}} {
		for _, buckets := range []int{1, 2, 5} {
			for _, period := range [][2]time.Time{{first, last.Add(time.Second)}, {first, last}, {first.Add(time.Microsecond), last.Add(time.Microsecond)}, {first.Add(-time.Hour), first}, {last, last.Add(time.Hour)}} {
				f := webhook.StatisticsFilter{Scope: scope, Endpoints: []string{"foreign", "one", "ONE", "gone", "within", "no\x00ne"}, From: period[0], To: period[1], Buckets: buckets}
				for n, got := range t.summarize(s, f) {
					want := counted(f, all, n)
					got.Median, got.P95, want.Median, want.P95 = got.Median.Round(time.Microsecond), got.P95.Round(time.Microsecond), want.Median.Round(time.Microsecond), want.P95.Round(time.Microsecond)
					if d := diff(got, want); d != "" {
						t.Errorf("part %d of %+v: %s", n, f, d)
					}
				}
			}
		}
	}
}

// counted returns what the documentation of Statistics says of a part.
func counted(f webhook.StatisticsFilter, all []webhook.Delivery, part int) webhook.Statistics {
	want := f.Parts()[part]
	var durations []time.Duration
	for _, d := range all {
		if d.EndpointID != want.EndpointID || d.Origin == webhook.OriginTest || !f.Scope.Contains(d.Tenant) || d.CreatedAt.Before(want.From) || !d.CreatedAt.Before(want.To) {
			continue
		}
		want.Created++
		switch d.State {
		case webhook.StatePending:
			want.Pending++
		case webhook.StateDelivered:
			want.Delivered++
			durations = append(durations, d.UpdatedAt.Sub(d.CreatedAt))
		case webhook.StateExhausted:
			want.Exhausted++
		case webhook.StateCancelled:
			want.Cancelled++
		}
		if d.State.Finished() && d.Attempts > 1 {
			want.Retried++
		}
	}
	if slices.Sort(durations); len(durations) > 0 {
		want.Median = durations[(len(durations)+1)/2-1]
		want.P95 = durations[min(len(durations)-1, (95*len(durations)+99)/100-1)]
	}
	return want
}

func statisticsMany(t *trial) {
	const rounds, each = 40, 50
	s := need[webhook.Summarizer](t, "Summarizer")
	t.register("acme", "one")
	t.register("busy", "other")
	for n := range rounds {
		t.publishMany("acme", fmt.Sprintf("mine-%02d-", n), each)
		t.publishMany("busy", fmt.Sprintf("theirs-%02d-", n), 20)
	}
	delivered := 0
	for range rounds {
		var ss []webhook.Settlement
		for n, c := range t.claim(everything(long)) {
			state := webhook.StateDelivered
			if n%4 == 0 {
				state = webhook.StateExhausted
			} else if c.Delivery.EndpointID == "one" {
				delivered++
			}
			ss = append(ss, attempted(c, state, 200))
		}
		t.settle(ss...)
	}
	all := t.deliveries(webhook.DeliveryFilter{EndpointID: "one", Scope: allTenants(), Limit: 1}).Items
	f := webhook.StatisticsFilter{Scope: webhook.Scope{Tenant: "acme"}, Endpoints: []string{"one"}, From: all[0].CreatedAt.Add(-time.Minute), To: all[0].CreatedAt.Add(time.Minute), Buckets: 1}
	for _, f.Buckets = range []int{1, 48} {
		var created, succeeded int
		estimated := false
		for _, p := range t.summarize(s, f) {
			created, succeeded, estimated = created+p.Created, succeeded+p.Delivered, estimated || p.Estimated
			if p.Created != p.Delivered+p.Exhausted+p.Cancelled+p.Pending {
				t.Errorf("%+v: Created is not the sum of its parts", p)
			}
		}
		if slack := rounds * each / 2; created < rounds*each-slack || created > rounds*each+slack || succeeded < delivered-slack || succeeded > delivered+slack ||
			!estimated && (created != rounds*each || succeeded != delivered) {
			t.Errorf("%d deliveries, %d of them delivered, are taken for %d and %d in %d parts, estimated: %v", rounds*each, delivered, created, succeeded, f.Buckets, estimated)
		}
	}
}

func statisticsForeign(t *trial) {
	const rounds, each = 25, 50 // finished and pending, both of them more than a store need read
	s := need[webhook.Summarizer](t, "Summarizer")
	t.register("acme", "one")
	t.register("acme/legal", "within")
	t.register("busy", "other")
	for n := range rounds {
		t.publishMany("busy", fmt.Sprintf("finished-%02d-", n), each)
		var ss []webhook.Settlement
		for _, c := range t.collect(everything(long), each) {
			ss = append(ss, attempted(c, webhook.StateDelivered, 200))
		}
		t.settle(ss...)
	}
	for n := range rounds {
		t.publishMany("busy", fmt.Sprintf("pending-%02d-", n), each)
	}
	newest := t.deliveries(webhook.DeliveryFilter{EndpointID: "other", Scope: allTenants(), Limit: 1}).Items[0].CreatedAt
	f := webhook.StatisticsFilter{Endpoints: []string{"other", "none", "within"}, From: newest.Add(-time.Hour), To: newest.Add(time.Minute)}
	for _, f.Buckets = range []int{1, 2, 48} {
		for _, scope := range []webhook.Scope{{Tenant: "acme"}, {Tenant: "acme/legal"}, {Tenant: "bus"}, {Tenant: "busy/within"}, {}} {
			f.Scope = scope
			for n, got := range t.summarize(s, f) {
				if d := diff(got, f.Parts()[n]); d != "" {
					t.Errorf("part %d of %+v, where there is nothing: %s", n, f, d)
				}
			}
		}
		f.Scope = webhook.Scope{Tenant: "busy"}
		var finished, pending int
		for _, p := range t.summarize(s, f) {
			finished, pending = finished+p.Delivered, pending+p.Pending
		}
		if finished == 0 || pending == 0 {
			t.Errorf("%+v: %d deliveries, %d pending ones are seen by their own tenant", f, finished, pending)
		}
	}
}
