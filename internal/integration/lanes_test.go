package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// A claim on SQLite takes several deliveries of an endpoint at once, since each
// endpoint is work of its own, but comes to all of them before it comes to one
// again, and leaves none out for which it has room.
func TestAClaimTakesSeveralOfAnEndpointAndComesToAll(t *testing.T) {
	const endpoints, most = 64, 128
	forEach(t, sqlite(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		for n := range endpoints {
			tenant := fmt.Sprint("tenant-", n)
			if _, err := a.Register(t.Context(), webhook.Endpoint{URL: nowhere, Tenant: tenant}); err != nil {
				t.Fatal(err)
			}
		}
		publish := func(of func(n int) int) {
			t.Helper()
			var events []webhook.Event
			for n := range endpoints {
				for range of(n) {
					events = append(events, webhook.Event{Type: "document.signed", Tenant: fmt.Sprint("tenant-", n)})
				}
			}
			if _, err := a.PublishBatch(t.Context(), events); err != nil {
				t.Fatal(err)
			}
		}
		claim := func() (taken map[string]int) {
			t.Helper()
			batch, _, err := a.store.Claim(t.Context(), webhook.ClaimRequest{Max: most, PerEndpoint: most, Lease: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			taken = make(map[string]int)
			for _, c := range batch {
				taken[c.Delivery.Tenant]++
			}
			return taken
		}

		publish(func(int) int { return 8 })
		served := make(map[string]int)
		for range endpoints * 8 / most {
			for tenant, n := range claim() {
				if n != 8 || served[tenant] > 0 {
					t.Errorf("%d of %s are taken after %d, want all 8 of them at once", n, tenant, served[tenant])
				}
				served[tenant] += n
			}
		}
		if len(served) != endpoints {
			t.Errorf("deliveries of %d endpoints are taken, want %d", len(served), endpoints)
		}

		// One of each, but a flood of the first, which takes what room is left.
		publish(func(n int) int { return map[bool]int{true: 2 * most, false: 1}[n == 0] })
		taken := claim()
		if len(taken) != endpoints || taken["tenant-0"] != most-endpoints+1 {
			t.Errorf("deliveries of %d endpoints and %d of the flood are taken, want %d and %d", len(taken), taken["tenant-0"], endpoints, most-endpoints+1)
		}
	})
}

// Of few endpoints a claim on SQLite takes all that it has room for, too, though one
// of them has less than its share.
func TestAClaimOfFewEndpointsIsFull(t *testing.T) {
	const most, few = 128, 10
	forEach(t, sqlite(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		for tenant, n := range map[string]int{"few": few, "many": 2 * most} {
			if _, err := a.Register(t.Context(), webhook.Endpoint{URL: nowhere, Tenant: tenant}); err != nil {
				t.Fatal(err)
			}
			events := make([]webhook.Event, n)
			for n := range events {
				events[n] = webhook.Event{Type: "document.signed", Tenant: tenant}
			}
			if _, err := a.PublishBatch(t.Context(), events); err != nil {
				t.Fatal(err)
			}
		}
		batch, _, err := a.store.Claim(t.Context(), webhook.ClaimRequest{Max: most, PerEndpoint: most, Lease: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		taken := make(map[string]int)
		for _, c := range batch {
			taken[c.Delivery.Tenant]++
		}
		if taken["few"] != few || taken["many"] != most-few {
			t.Errorf("taken are %v, want %d and %d", taken, few, most-few)
		}
	})
}

// PostgreSQL says of what is published to an endpoint that had something due, or
// that rests, that nobody needs to be woken: the events of one customer that is slow
// would cost a claim each.
func TestWhatIsPublishedToABusyEndpointIsBehind(t *testing.T) {
	forEach(t, postgreSQL(), func(t *testing.T, b backend) {
		store := b.store(t, b.database(t))
		ctx := t.Context()
		if _, err := store.PutEndpoint(ctx, webhook.EndpointRecord{ID: "e", Patterns: []string{"*"}}); err != nil {
			t.Fatal(err)
		}
		published := 0
		publish := func(why string, places, handed, behind int) {
			t.Helper()
			published++
			results, err := store.Enqueue(ctx, []webhook.Publication{{
				Event:    webhook.EventRecord{ID: fmt.Sprint(published), Type: "test", Data: []byte("{}"), Time: time.Now()},
				Patterns: []string{"*"}, Tenants: []string{""}, Origin: webhook.OriginPublish, Lease: time.Hour, Places: places,
			}})
			if err != nil {
				t.Fatal(err)
			}
			if r := results[0]; r.Deliveries != 1 || len(r.Created) != handed || r.Behind != behind {
				t.Errorf("%s: of %d deliveries %d are handed over and %d behind others, want %d and %d", why, r.Deliveries, len(r.Created), r.Behind, handed, behind)
			}
		}
		claim := func(most int) []webhook.Claimed {
			t.Helper()
			batch, _, err := store.Claim(ctx, webhook.ClaimRequest{Max: most, PerEndpoint: most, Lease: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			return batch
		}
		settle := func(c webhook.Claimed, pause time.Duration) {
			t.Helper()
			stale, err := store.Settle(ctx, []webhook.Settlement{{DeliveryID: c.Delivery.ID, Lease: c.Lease, State: webhook.StateDelivered, Pause: pause}})
			if err != nil || len(stale) > 0 {
				t.Fatalf("%v, %v", stale, err)
			}
		}
		publish("without places", 0, 0, 0)
		publish("again", 0, 0, 0)
		claimed := claim(1)
		publish("an endpoint of which a claim has left some", 1, 0, 1)
		claimed = append(claimed, claim(10)...)
		publish("one of which all is leased", 1, 1, 0)
		if len(claimed) != 3 {
			t.Fatalf("%d deliveries were claimed, want 3", len(claimed))
		}
		settle(claimed[0], time.Hour)
		publish("one that rests", 1, 0, 1)
	})
}

// What has been published while no process claimed does not hide what is published
// now: the first claim finds it beside that, however much it is.
func TestTheFirstClaimFindsWhatIsNewBesideAllThatWasPublishedBefore(t *testing.T) {
	const before, most = 1200, 16
	forEach(t, []backend{postgreSQL()[0], sqlite()[0]}, func(t *testing.T, b backend) {
		store := b.store(t, b.database(t))
		ctx := t.Context()
		for _, tenant := range []string{"old", "new"} {
			if _, err := store.PutEndpoint(ctx, webhook.EndpointRecord{ID: tenant, Tenant: tenant, Patterns: []string{"*"}}); err != nil {
				t.Fatal(err)
			}
		}
		publish := func(tenant string, n int) {
			t.Helper()
			if _, err := store.Enqueue(ctx, []webhook.Publication{{
				Event:    webhook.EventRecord{ID: fmt.Sprint(tenant, " ", n), Type: "t", Tenant: tenant, Time: time.Now()},
				Patterns: []string{"*"}, Tenants: []string{tenant}, Origin: webhook.OriginPublish,
			}}); err != nil {
				t.Fatal(err)
			}
		}
		for n := range before {
			publish("old", n)
		}
		publish("new", 0)
		batch, _, err := store.Claim(ctx, webhook.ClaimRequest{Max: most, PerEndpoint: most, Lease: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		claimed := make(map[string]int)
		for _, c := range batch {
			claimed[c.Delivery.Tenant]++
		}
		if claimed["new"] != 1 || claimed["old"] == 0 {
			t.Errorf("the first claim returned %v, want the new one beside some of the old", claimed)
		}
	})
}

func TestLeasesOfWhatIsSettledGoThoughEveryClaimFindsSomething(t *testing.T) {
	b := postgreSQL()[0]
	store := b.store(t, b.database(t))
	ctx := t.Context()
	if _, err := store.PutEndpoint(ctx, webhook.EndpointRecord{ID: "e", Patterns: []string{"*"}}); err != nil {
		t.Fatal(err)
	}
	publish := func(id string, places int) webhook.Enqueued {
		t.Helper()
		results, err := store.Enqueue(ctx, []webhook.Publication{{
			Event:    webhook.EventRecord{ID: id, Type: "t", Time: time.Now()},
			Patterns: []string{"*"}, Tenants: []string{""}, Origin: webhook.OriginPublish, Lease: time.Hour, Places: places,
		}})
		if err != nil {
			t.Fatal(err)
		}
		return results[0]
	}
	settle := func(cs []webhook.Claimed) {
		t.Helper()
		for _, c := range cs {
			if _, err := store.Settle(ctx, []webhook.Settlement{{DeliveryID: c.Delivery.ID, Lease: c.Lease, State: webhook.StateCancelled}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	handed := 0
	for n := range 40 {
		created := publish(fmt.Sprint("handed ", n), 1).Created
		handed += len(created)
		settle(created)
	}
	for n := range 10 {
		publish(fmt.Sprint("claimed ", n), 0)
		cs, _, err := store.Claim(ctx, webhook.ClaimRequest{Max: 1, PerEndpoint: 1, Lease: time.Hour})
		if err != nil || len(cs) != 1 {
			t.Fatalf("a claim returned %d deliveries and %v, want 1", len(cs), err)
		}
		settle(cs)
	}
	q, _ := store.Querier(ctx)
	rows, err := q.Query(ctx, "SELECT count(*) FROM outhook_leases")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var left int
	if !rows.Next() {
		t.Fatal("there is no count")
	}
	if err := rows.Scan(&left); err != nil {
		t.Fatal(err)
	}
	if handed != 40 || left > 5 {
		t.Errorf("of %d deliveries that were handed over and settled, and 10 that were claimed and settled, %d leases are left", handed, left)
	}
}
