package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

func endpointChecks() []check {
	return []check{
		{"endpoint-fields", "an endpoint is read back as it was put", endpointFields},
		{"endpoint-times", "CreatedAt is set by the insert and kept, UpdatedAt is set by every put", endpointTimes},
		{"endpoint-rev", "an endpoint is inserted with Rev 0 and replaced only at its Rev", endpointRev},
		{"endpoint-rev-race", "of puts at the same Rev exactly one succeeds", endpointRevRace},
		{"put-keeps-health", "a put never writes FailingSince or NotBefore", putKeepsHealth},
		{"enabling-clears-health", "enabling an endpoint clears FailingSince and NotBefore", enablingClearsHealth},
		{"delete-cancels", "deleting an endpoint cancels its pending deliveries in the same step", deleteCancels},
		{"delete-stale", "a settlement after the endpoint was deleted is stale", deleteStale},
		{"delete-reinsert", "an endpoint whose ID was used before begins anew", deleteReinsert},
		{"endpoint-scope", "a scope shows the endpoints of its tenant and those within it, and no other", endpointScope},
		{"endpoint-filter", "endpoints are listed by Disabled, with the Total of all pages", endpointFilter},
		{"endpoint-pages", "pages of endpoints are oldest first, with none twice and none missed while some are added", endpointPages},
	}
}

func endpointFields(t *trial) {
	many := make([]string, 50)
	for i := range many {
		many[i] = fmt.Sprintf("type-%d.*", 50-i)
	}
	records := []webhook.EndpointRecord{
		{ID: "plain", Patterns: []string{"*"}, Config: []byte(`{"url":"https://example.com"}`)},
		{ID: "tenant", Tenant: "acme/legal.eu/t-1_x", Patterns: []string{"b.*", "a", "c.d"}, Ordered: true},
		{ID: "all", Tenant: "ops", AllTenants: true, Patterns: many, Config: []byte{}},
		{ID: "disabled", Patterns: []string{"*"}, Disabled: true, DisabledReason: "zu viele Fehler — 失敗 🙈 'quoted' \"twice\" \\ %s\n"},
		{ID: "bytes", Patterns: []string{"*"}, Config: allBytes()},
		{ID: "large", Patterns: []string{"*"}, Config: []byte(strings.Repeat("large\x00", 20_000))},
		{ID: "!\"#$%&'()*+,-/0:;<=>?@[\\]^_`{|}~", Patterns: []string{"*"}},
		{ID: strings.Repeat("x", 128), Patterns: []string{"*"}},
		{ID: "UPPER", Patterns: []string{"*"}, Config: []byte("not upper")},
		{ID: "upper", Patterns: []string{"*"}, Config: []byte("not UPPER")},
	}
	for _, r := range records {
		stored := t.put(r)
		want := r
		want.Rev, want.CreatedAt, want.UpdatedAt = 1, stored.CreatedAt, stored.UpdatedAt
		wantSame(t, "inserted "+r.ID, stored, want)
		wantSame(t, "read "+r.ID, t.endpoint(r.ID), want)
	}
	replaced := webhook.EndpointRecord{
		ID: "plain", Rev: 1, AllTenants: true, Patterns: []string{"new.*"}, Ordered: true,
		Disabled: true, DisabledReason: "holiday", Config: []byte("\x00new"),
	}
	stored := t.put(replaced)
	want := replaced
	want.Rev, want.CreatedAt, want.UpdatedAt = 2, stored.CreatedAt, stored.UpdatedAt
	wantSame(t, "replaced", stored, want)
	wantSame(t, "read after it was replaced", t.endpoint("plain"), want)
	for _, listed := range page(t, t.store.ListEndpoints, webhook.EndpointFilter{Scope: allTenants()}).Items {
		wantSame(t, "listed "+listed.ID, listed, t.endpoint(listed.ID))
	}
}

func endpointTimes(t *trial) {
	old := time.Date(2001, time.February, 3, 4, 5, 6, 0, time.UTC)
	r := endpoint("endpoint", "")
	r.CreatedAt, r.UpdatedAt = old, old
	first := t.put(r)
	if sameTime(first.CreatedAt, old) {
		t.Errorf("CreatedAt is %v after the insert, as the caller gave it", first.CreatedAt)
	}
	t.wantIn("CreatedAt after the insert", first.CreatedAt, first.CreatedAt, 0)
	t.wantIn("UpdatedAt after the insert", first.UpdatedAt, first.CreatedAt, 0)
	t.tick()
	r = first
	r.CreatedAt, r.UpdatedAt = old, old
	second := t.put(r)
	if !sameTime(second.CreatedAt, first.CreatedAt) {
		t.Errorf("CreatedAt went from %v to %v", first.CreatedAt, second.CreatedAt)
	}
	if !second.UpdatedAt.After(first.UpdatedAt) {
		t.Errorf("UpdatedAt went from %v to %v, want later", first.UpdatedAt, second.UpdatedAt)
	}
	t.wantIn("UpdatedAt after a replacement", second.UpdatedAt, second.UpdatedAt, 0)
}

func endpointRev(t *trial) {
	try := func(call string, r webhook.EndpointRecord, sentinel error) {
		t.Helper()
		r.Config = []byte("refused")
		_, err := t.store.PutEndpoint(t.ctx, r)
		t.wantError(call, err, sentinel)
	}
	r := endpoint("endpoint", "")
	r.Rev = 1
	try("a replacement of an endpoint that never existed", r, webhook.ErrNotFound)
	first := t.put(endpoint("endpoint", ""))
	try("an insert of an ID that exists", endpoint("endpoint", ""), webhook.ErrConflict)
	second := t.put(first)
	if first.Rev != 1 || second.Rev != 2 {
		t.Errorf("Rev is %d after the insert and %d after a replacement, want 1 and 2", first.Rev, second.Rev)
	}
	for _, rev := range []int64{1, 3, -1} {
		r := second
		r.Rev = rev
		try(fmt.Sprintf("a replacement of Rev %d where it is 2", rev), r, webhook.ErrConflict)
	}
	wantSame(t, "after the refused puts", t.endpoint("endpoint"), second)
	t.deleteEndpoint("endpoint")
	try("a replacement of a deleted endpoint", second, webhook.ErrNotFound)
}

func endpointRevRace(t *trial) {
	for _, rev := range []int64{0, 1} {
		errs := together(8, func(i int) error {
			r := endpoint("endpoint", "")
			r.Rev, r.Config = rev, fmt.Append(nil, i)
			_, err := t.store.PutEndpoint(t.ctx, r)
			return err
		})
		won := 0
		for i, err := range errs {
			if err != nil {
				t.wantError("a put that lost", err, webhook.ErrConflict)
				continue
			}
			won++
			if config := string(t.endpoint("endpoint").Config); won == 1 && config != fmt.Sprint(i) {
				t.Errorf("put %d succeeded, but that of %s is stored", i, config)
			}
		}
		if won != 1 {
			t.Errorf("%d of %d puts at Rev %d succeeded, want 1", won, len(errs), rev)
		}
	}
}

func putKeepsHealth(t *trial) {
	given := time.Date(2031, time.February, 3, 4, 5, 6, 0, time.UTC)
	r := endpoint("endpoint", "")
	r.FailingSince, r.NotBefore = given, given
	r = t.put(r)
	if !r.FailingSince.IsZero() || !r.NotBefore.IsZero() {
		t.Fatalf("the insert stored FailingSince %v and NotBefore %v, want neither", r.FailingSince, r.NotBefore)
	}
	t.publish("", "event")
	s := failed(t.collect(everything(long), 1)[0])
	s.Pause = long
	t.settle(s)
	sick := t.endpoint("endpoint")
	if sick.FailingSince.IsZero() || sick.NotBefore.IsZero() {
		t.Fatalf("after a failure and a pause FailingSince is %v and NotBefore %v, want both", sick.FailingSince, sick.NotBefore)
	}
	for _, given := range []time.Time{{}, given} {
		for _, disabled := range []bool{false, true} {
			r := t.endpoint("endpoint")
			if r.Disabled && !disabled {
				continue // that clears them
			}
			r.FailingSince, r.NotBefore, r.Disabled = given, given, disabled
			r = t.put(r)
			if !sameTime(r.FailingSince, sick.FailingSince) || !sameTime(r.NotBefore, sick.NotBefore) {
				t.Errorf("a put made FailingSince %v and NotBefore %v, want still %v and %v",
					r.FailingSince, r.NotBefore, sick.FailingSince, sick.NotBefore)
			}
		}
	}
}

func enablingClearsHealth(t *trial) {
	s := failed(t.claimed(long))
	s.Pause = long
	t.settle(s)
	t.disable("endpoint", true)
	sick := t.endpoint("endpoint")
	if sick.FailingSince.IsZero() || sick.NotBefore.IsZero() {
		t.Fatalf("disabling cleared FailingSince (%v) or NotBefore (%v)", sick.FailingSince, sick.NotBefore)
	}
	sick.Disabled = false
	for what, r := range map[string]webhook.EndpointRecord{"returned": t.put(sick), "stored": t.endpoint("endpoint")} {
		if !r.FailingSince.IsZero() || !r.NotBefore.IsZero() {
			t.Errorf("%s after enabling: FailingSince %v and NotBefore %v, want neither", what, r.FailingSince, r.NotBefore)
		}
	}
	t.collect(everything(long), 1) // the pause is over
}

func deleteCancels(t *trial) {
	t.register("", "gone", "other")
	t.publish("", "done")
	for _, c := range t.collect(everything(long), 2) {
		t.settle(attempted(c, webhook.StateDelivered, 200))
	}
	t.publish("", "leased")
	t.collect(everything(long), 2)
	t.publish("", "waiting")
	for _, c := range t.collect(everything(long), 2) {
		s := outcome(c, webhook.StatePending)
		s.Delay = long
		t.settle(s)
	}
	t.publish("", "fresh")
	t.deleteEndpoint("gone")
	for event, want := range map[string]webhook.State{
		"done": webhook.StateDelivered, "leased": webhook.StateCancelled, "waiting": webhook.StateCancelled, "fresh": webhook.StateCancelled,
	} {
		for _, d := range t.deliveriesOf(event) {
			switch {
			case d.EndpointID == "other" && d.State == webhook.StateCancelled:
				t.Errorf("the delivery of %q at another endpoint was cancelled", event)
			case d.EndpointID == "gone" && d.State != want:
				t.Errorf("the delivery of %q is %s, want %s", event, d.State, want)
			case d.State == webhook.StateCancelled && !d.NextAttempt.IsZero():
				t.Errorf("the cancelled delivery of %q has NextAttempt %v, want none", event, d.NextAttempt)
			}
		}
	}
	if left := t.collect(everything(long), 1); left[0].Delivery.EndpointID != "other" || left[0].Delivery.EventID != "fresh" {
		t.Errorf("claimed %q of %q, want what is left of another endpoint", eventsOf(left), endpointsOf(left))
	}
	t.pass(long) // neither the end of a lease nor that of a delay brings one back
	if slices.Contains(endpointsOf(t.claim(everything(long))), "gone") {
		t.Errorf("a cancelled delivery was claimed")
	}
	t.publish("", "later")
	t.wantSet("endpoints of an event after the deletion", collectStrings(t.deliveriesOf("later"), endpointOf), "other")
	_, err := t.store.GetEndpoint(t.ctx, "gone")
	t.wantError("GetEndpoint of a deleted endpoint", err, webhook.ErrNotFound)
	for _, id := range []string{"gone", "never"} {
		t.wantError(fmt.Sprintf("DeleteEndpoint(%q)", id), t.store.DeleteEndpoint(t.ctx, id), webhook.ErrNotFound)
	}
}

func deleteStale(t *trial) {
	c := t.claimed(long)
	t.deleteEndpoint("endpoint")
	before := t.delivery(c.Delivery.ID)
	for _, state := range []webhook.State{webhook.StateDelivered, webhook.StatePending} {
		t.settleStale("its endpoint was deleted", attempted(c, state, 200))
	}
	wantSame(t, "the cancelled delivery", t.delivery(c.Delivery.ID), before)
	if before.State != webhook.StateCancelled || len(t.attempts(c.Delivery.ID)) > 0 {
		t.Errorf("the delivery is %s with %d attempts, want cancelled with none", before.State, len(t.attempts(c.Delivery.ID)))
	}
}

func deleteReinsert(t *trial) {
	c := t.claimed(long)
	t.deleteEndpoint("endpoint")
	if r := t.put(endpoint("endpoint", "")); r.Rev != 1 {
		t.Errorf("Rev is %d after the second insert, want 1", r.Rev)
	}
	t.claimNothing(everything(long), "what the former endpoint left is cancelled")
	t.settleStale("it was claimed for the former endpoint", outcome(c, webhook.StateDelivered))
	t.publish("", "new")
	t.wantSet("claimed for the new endpoint", eventsOf(t.collect(everything(long), 1)), "new")
}

// tenants are neighbours of "acme" that prefixes, LIKE patterns, collations and
// ignored case take for it or for each other.
func tenants() []string {
	return []string{
		"", "acme", "acme/legal", "acme/legal/eu", "acme/legal2", "acme2", "acme0", "acme_x", "acme-x", "acme.x", "acme-",
		"acm", "ACME", "Acme/legal", "a_me", "a_me/legal", "legal", "other/acme", "zz",
	}
}

// scopes are what the tenants, and some that are none, may be asked for.
func scopes() []webhook.Scope {
	all := []webhook.Scope{{All: true}, {All: true, Tenant: "acme"}, {Tenant: "acme%"}, {Tenant: "acme/"}, {Tenant: "%"}, {Tenant: "nobody"}}
	for _, tenant := range tenants() {
		all = append(all, webhook.Scope{Tenant: tenant})
	}
	return all
}

// within returns the tenants that the scope contains.
func within(s webhook.Scope) []string {
	return slices.DeleteFunc(tenants(), func(tenant string) bool { return !s.Contains(tenant) })
}

func endpointScope(t *trial) {
	for _, tenant := range tenants() {
		t.register(tenant, "of:"+tenant)
	}
	for _, scope := range scopes() {
		p := page(t, t.store.ListEndpoints, webhook.EndpointFilter{Scope: scope})
		got := collectStrings(p.Items, func(r webhook.EndpointRecord) string { return r.Tenant })
		t.wantSet(fmt.Sprintf("tenants in %+v", scope), got, within(scope)...)
		if p.Total != len(within(scope)) {
			t.Errorf("Total of %+v is %d, want %d", scope, p.Total, len(within(scope)))
		}
	}
}

func endpointFilter(t *trial) {
	t.register("acme", "on-1", "on-2", "on-3", "off-1", "off-2")
	t.register("other", "off-3", "on-4")
	for _, id := range []string{"off-1", "off-2", "off-3"} {
		t.disable(id, true)
	}
	acme, yes, no := webhook.Scope{Tenant: "acme"}, true, false
	for _, c := range []struct {
		filter webhook.EndpointFilter
		want   []string
	}{
		{webhook.EndpointFilter{Scope: acme}, []string{"on-1", "on-2", "on-3", "off-1", "off-2"}},
		{webhook.EndpointFilter{Scope: acme, Disabled: &yes}, []string{"off-1", "off-2"}},
		{webhook.EndpointFilter{Scope: acme, Disabled: &no}, []string{"on-1", "on-2", "on-3"}},
		{webhook.EndpointFilter{Scope: allTenants(), Disabled: &yes}, []string{"off-1", "off-2", "off-3"}},
		{webhook.EndpointFilter{Scope: webhook.Scope{Tenant: "nobody"}}, nil},
	} {
		var got []string
		for c.filter.Limit = 2; ; {
			p := page(t, t.store.ListEndpoints, c.filter)
			if p.Total != len(c.want) {
				t.Errorf("Total of %+v is %d, want %d", c.filter, p.Total, len(c.want))
			}
			got = append(got, collectStrings(p.Items, recordID)...)
			if c.filter.Cursor = p.Next; p.Next == "" || len(got) > 10 {
				break
			}
		}
		t.wantSet(fmt.Sprintf("listing %+v", c.filter), got, c.want...)
	}
}

func endpointPages(t *trial) {
	var want []string
	add := func() {
		id := fmt.Sprintf("endpoint-%d", 99-len(want))
		t.register("", id)
		t.tick()
		want = append(want, id)
	}
	for range 10 {
		add()
	}
	filter := webhook.EndpointFilter{Limit: 3}
	var got []string
	for range 10 {
		p := page(t, t.store.ListEndpoints, filter)
		if len(p.Items) > 3 {
			t.Errorf("a page of at most 3 has %d", len(p.Items))
		}
		got = append(got, collectStrings(p.Items, recordID)...)
		if filter.Cursor = p.Next; p.Next == "" {
			break
		}
		if len(want) < 13 {
			add()
		}
	}
	t.wantList("all pages", got, want...)
}

// allBytes holds every byte, so it is not UTF-8.
func allBytes() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}
