package storetest

import (
	"fmt"
	"slices"

	"github.com/outhook/webhook"
)

// A flood is flood deliveries, claimed in batches of at most sip. A store may
// come to the others by degrees, but in half the claims at the latest that the
// flood itself would take.
const (
	flood     = 600
	sip       = 4
	soonCalls = flood / sip / 2
)

func turnChecks() []check {
	return []check{
		{"endpoints-take-turns", "an endpoint with a flood of deliveries does not starve another of its tenant", endpointsTakeTurns},
		{"tenants-take-turns", "a tenant with a flood of deliveries at many endpoints does not starve another tenant", tenantsTakeTurns},
		{"turns-last", "whose turn it is outlives the claim: with Max 1 each endpoint and each tenant is served in time", turnsLast},
		{"backlog-apart", "a backlog that must not be touched does not hide what is behind it", backlogApart},
	}
}

// soon claims in small batches, delivering each, until all of the events are
// among them.
func (t *trial) soon(ids []string) {
	t.Helper()
	missing := slices.Clone(ids)
	for range soonCalls {
		var ss []webhook.Settlement
		for _, c := range t.claim(webhook.ClaimRequest{Max: sip, PerEndpoint: sip, Lease: long}) {
			ss = append(ss, outcome(c, webhook.StateDelivered))
			missing = slices.DeleteFunc(missing, func(id string) bool { return id == c.Delivery.EventID })
		}
		t.settle(ss...)
		if len(missing) == 0 {
			return
		}
	}
	t.Errorf("%d claims of up to %d left %d of %d deliveries behind a flood of %d", soonCalls, sip, len(missing), len(ids), flood)
}

func endpointsTakeTurns(t *trial) {
	t.register("acme", "flooded", "behind")
	flooded := make([]webhook.Publication, flood)
	for i := range flooded {
		flooded[i] = addressed(fmt.Sprintf("flood-%03d", i), "flooded")
	}
	t.enqueue(flooded...)
	t.tick()
	var ids []string
	for i := range 10 {
		ids = append(ids, fmt.Sprintf("behind-%d", i))
		t.enqueue(addressed(ids[i], "behind"))
	}
	t.soon(ids)
}

func tenantsTakeTurns(t *trial) {
	for i := range 20 {
		t.register("flooded", fmt.Sprintf("endpoint-%d", i))
	}
	t.register("behind", "endpoint")
	t.publishMany("flooded", "flood-", flood/20)
	t.soon(t.publishMany("behind", "behind-", 30))
}

// turnsLast has floods that come before and after the others in any order of
// keys.
func turnsLast(t *trial) {
	t.register("m", "a-flooded", "m-behind", "z-flooded")
	t.register("a", "a")
	t.register("z", "z")
	const most = 60
	for n := range most {
		for _, id := range []string{"a-flooded", "z-flooded", "a", "z"} {
			t.enqueue(addressed(fmt.Sprintf("%s-%d", id, n), id))
		}
	}
	t.tick()
	t.enqueue(addressed("behind", "m-behind"))
	for range most {
		for _, c := range t.claim(webhook.ClaimRequest{Max: 1, PerEndpoint: 1, Lease: long}) {
			if c.Delivery.EventID == "behind" {
				return
			}
			t.settle(outcome(c, webhook.StateDelivered))
		}
	}
	t.Errorf("%d claims of one delivery did not reach the one behind four floods", most)
}

func backlogApart(t *trial) {
	ids := []string{"full", "off", "paused", "leased", "waiting"}
	t.register("acme", ids...)
	t.register("", "free")
	paused := publication("pause", "acme")
	paused.Endpoints = []string{"paused"}
	t.enqueue(paused)
	s := failed(t.collect(everything(long), 1)[0])
	s.Pause = long
	t.settle(s)

	t.publishMany("acme", "backlog-", 200)
	t.disable("off", true)
	room := webhook.ClaimRequest{Max: 1000, PerEndpoint: 200, Room: map[string]int{"full": 0}, Lease: long}
	var ss []webhook.Settlement
	for _, c := range t.collect(room, 400) {
		if s := outcome(c, webhook.StatePending); c.Delivery.EndpointID == "waiting" {
			s.Delay = long
			ss = append(ss, s)
		}
	}
	t.settle(ss...)

	want := t.publishMany("", "free-", 3)
	var got []string
	for range 10 {
		request := webhook.ClaimRequest{Max: 10, PerEndpoint: 10, Room: map[string]int{"full": 0}, Lease: long}
		got = append(got, eventsOf(t.claim(request))...)
	}
	t.wantSet("claimed beside the backlog", got, want...)
}
