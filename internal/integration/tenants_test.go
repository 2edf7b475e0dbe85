package integration

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// position is a place in the arguments of a method of View for the ID of
// something that may be another tenant's.
type position struct {
	name string
	want outcome
	call func(ctx context.Context, v *webhook.View, id string) (any, error)
}

// outcome is what becomes of an ID that the tenant has not.
type outcome string

const (
	notFound outcome = "ErrNotFound"
	invalid  outcome = "ErrInvalid"
	nothing  outcome = "no error and nothing of it"
)

// none adapts a method that returns an error alone.
func none(err error) (any, error) { return nil, err }

// positions has a row for every exported method of View: what is added there has
// to be added here. What a Config says, and no tenant, has no position.
func positions() map[string][]position {
	endpointAt := func(id string) webhook.Endpoint {
		return webhook.Endpoint{ID: id, URL: nowhere, Events: []string{"*"}}
	}
	return map[string][]position{
		"EventTypes": nil, "Profiles": nil, "Profile": nil, "Capabilities": nil,
		"Register": {
			{"ID", invalid, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Register(ctx, endpointAt(id))
			}},
			{"Tenant", invalid, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Register(ctx, webhook.Endpoint{URL: nowhere, Tenant: id})
			}},
		},
		"Update": {
			{"ID", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Update(ctx, endpointAt(id))
			}},
			{"ID, of its Rev", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				e := endpointAt(id)
				e.Rev = 1
				return v.Update(ctx, e)
			}},
			{"ID, of another Rev", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				e := endpointAt(id)
				e.Rev = 99
				return v.Update(ctx, e)
			}},
			{"ID, with nonsense", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Update(ctx, webhook.Endpoint{ID: id, URL: "::", Tenant: "..", AllTenants: true})
			}},
		},
		"Unregister": {{"id", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
			return none(v.Unregister(ctx, id))
		}}},
		"Endpoint": {{"id", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
			return v.Endpoint(ctx, id)
		}}},
		"Endpoints": {{"Cursor", invalid, func(ctx context.Context, v *webhook.View, id string) (any, error) {
			return v.Endpoints(ctx, webhook.EndpointFilter{Cursor: id})
		}}},
		"Enable": {{"id", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
			return none(v.Enable(ctx, id))
		}}},
		"Verify": {{"id", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
			return none(v.Verify(ctx, id))
		}}},
		"Disable": {
			{"id", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return none(v.Disable(ctx, id, "mine"))
			}},
			{"id, with nonsense", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return none(v.Disable(ctx, id, "\xff"))
			}},
		},
		"Reveal": {{"id", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
			return v.Reveal(ctx, id)
		}}},
		"RotateSecret": {
			{"id", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.RotateSecret(ctx, id, webhook.Secret{}, time.Hour)
			}},
			{"id, with nonsense", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.RotateSecret(ctx, id, webhook.Secret{Value: "short"}, 0)
			}},
		},
		"SendTest": {
			{"endpointID", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.SendTest(ctx, id, "document.signed")
			}},
			{"endpointID, of no type", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.SendTest(ctx, id, "..")
			}},
		},
		"Resend": {{"deliveryID", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
			return v.Resend(ctx, id)
		}}},
		"Replay": {
			{"EndpointID", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Replay(ctx, webhook.ReplayFilter{EndpointID: id})
			}},
			{"EndpointID, in a dry run", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Replay(ctx, webhook.ReplayFilter{EndpointID: id, DryRun: true})
			}},
			{"EndpointID, of what it missed", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Replay(ctx, webhook.ReplayFilter{EndpointID: id, Missed: true})
			}},
			{"EventType", nothing, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Replay(ctx, webhook.ReplayFilter{EventType: id, DryRun: true})
			}},
			{"Cursor", invalid, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Replay(ctx, webhook.ReplayFilter{Cursor: id, DryRun: true})
			}},
		},
		"Deliveries": {
			{"EndpointID", nothing, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Deliveries(ctx, webhook.DeliveryFilter{EndpointID: id})
			}},
			{"EventID", nothing, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Deliveries(ctx, webhook.DeliveryFilter{EventID: id})
			}},
			{"EventID, in the scope of all", nothing, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Deliveries(ctx, webhook.DeliveryFilter{EventID: id, Scope: webhook.Scope{All: true}})
			}},
			{"EventType", nothing, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Deliveries(ctx, webhook.DeliveryFilter{EventType: id})
			}},
			{"States", nothing, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Deliveries(ctx, webhook.DeliveryFilter{States: []webhook.State{webhook.State(id)}})
			}},
			{"Cursor", invalid, func(ctx context.Context, v *webhook.View, id string) (any, error) {
				return v.Deliveries(ctx, webhook.DeliveryFilter{Cursor: id})
			}},
		},
		"Statistics": {{"Endpoints", nothing, func(ctx context.Context, v *webhook.View, id string) (any, error) {
			all, err := v.Statistics(ctx, webhook.StatisticsFilter{Endpoints: []string{id}, From: time.Unix(0, 0), To: time.Unix(4e9, 0), Buckets: 3})
			for n := range all {
				all[n].EndpointID = ""
			}
			return all, err
		}}},
		"Delivery": {{"id", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
			return v.Delivery(ctx, id)
		}}},
		"Attempts": {{"deliveryID", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
			return v.Attempts(ctx, id)
		}}},
		"Body": {{"deliveryID", notFound, func(ctx context.Context, v *webhook.View, id string) (any, error) {
			return v.Body(ctx, id)
		}}},
	}
}

func TestEveryMethodOfAViewHasItsRowInTheMatrix(t *testing.T) {
	rows := positions()
	for m := range reflect.TypeFor[*webhook.View]().Methods() {
		if _, ok := rows[m.Name]; !ok {
			t.Errorf("View.%s has no row: what does it answer to another tenant's IDs?", m.Name)
		}
		delete(rows, m.Name)
	}
	for name := range rows {
		t.Errorf("there is a row for View.%s, which does not exist", name)
	}
}

// The tenants of the matrix: relatives and neighbours of each other.
var neighbours = []string{"", "acme", "acme/legal", "acme/legal/eu", "acme/legal2", "acme/sales", "acme2", "acme_x", "acme.x", "acme-x", "ACME", "Acme/Legal", "acm", "other/acme"}

// lookers returns whose eyes a test looks with: of those who have relatives of
// every degree, and of nobody in particular. Further ones look at the memory
// alone, as a database takes its time.
func (x *town) lookers(further ...string) []string {
	lookers := []string{"acme/legal", ""}
	if _, ok := x.store.Store.(*webhook.MemoryStore); ok {
		lookers = append(lookers, further...)
	}
	return lookers
}

// Every ID of whatever kind that another tenant has, in every position of every
// method, is as one that nothing has: the same error in the same words, the same
// result, the same calls of the store.
func TestWhatAnotherTenantHasIsAsWhatDoesNotExist(t *testing.T) {
	onEachStore(t, func(t *testing.T, open func(t *testing.T) webhook.Store) {
		x := newTown(t, open(t), neighbours...)
		before := x.everything(t)
		tried := 0
		for _, looker := range x.lookers("acme", "ACME", "acme_x") {
			v := x.Tenant(looker)
			for _, owner := range neighbours {
				if (webhook.Scope{Tenant: looker}).Contains(owner) {
					continue
				}
				for method, rows := range positions() {
					for _, p := range rows {
						for kind, id := range x.estates[owner].ids {
							what := fmt.Sprintf("%s of %q as the %s of %s by %q", kind, owner, p.name, method, looker)
							x.tryForeign(t, what, v, p, id)
							tried++
						}
					}
				}
			}
		}
		if after := x.everything(t); after != before {
			t.Errorf("something of others was changed:\n%s\nbefore:\n%s", after, before)
		}
		if len(*x.told) > 0 {
			t.Errorf("told of %#v", *x.told)
		}
		t.Logf("%d calls", 2*tried)
	})
}

// tryForeign compares what becomes of an ID of another's and of one of nobody's.
func (x *town) tryForeign(t *testing.T, what string, v *webhook.View, p position, id string) {
	t.Helper()
	x.store.taken()
	foreign, foreignErr := p.call(t.Context(), v, id)
	foreignCalls := x.store.taken()
	other := absent(id)
	nobodys, nobodysErr := p.call(t.Context(), v, other)
	if nobodysCalls := x.store.taken(); !slices.Equal(foreignCalls, nobodysCalls) {
		t.Errorf("%s asks the store %q, that of nobody %q", what, foreignCalls, nobodysCalls)
	}
	if got, want := text(t, foreign), text(t, nobodys); got != want {
		t.Errorf("%s returns %s, that of nobody %s", what, got, want)
	}
	switch sentinel := map[outcome]error{notFound: webhook.ErrNotFound, invalid: webhook.ErrInvalid}[p.want]; {
	case !errors.Is(foreignErr, sentinel) || !errors.Is(nobodysErr, sentinel):
		t.Errorf("%s: error %v, that of nobody: %v; want %s", what, foreignErr, nobodysErr, p.want)
	case sentinel != nil && foreignErr.Error() != strings.ReplaceAll(nobodysErr.Error(), other, id):
		t.Errorf("%s: error %q, that of nobody: %q", what, foreignErr, nobodysErr)
	}
}

// The same rows answer to what a tenant has itself, or they would prove nothing.
func TestWhatATenantHasIsThereInEveryPosition(t *testing.T) {
	onEachStore(t, func(t *testing.T, open func(t *testing.T) webhook.Store) {
		x, row := newTown(t, open(t), "other"), 0
		for method, rows := range positions() {
			for _, p := range rows {
				if p.want != notFound || strings.Contains(p.name, "nonsense") || strings.Contains(p.name, "no type") || strings.Contains(p.name, "another Rev") {
					continue
				}
				row++
				of := fmt.Sprint("row.", row)
				e, err := x.Register(t.Context(), webhook.Endpoint{URL: nowhere, Tenant: "acme/legal", Events: []string{of}})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := x.Publish(t.Context(), webhook.Event{ID: fmt.Sprint("row-", row, "-0"), Type: of, Tenant: "acme/legal"}); err != nil {
					t.Fatal(err)
				}
				x.settle(t)
				page, err := x.Deliveries(t.Context(), webhook.DeliveryFilter{EndpointID: e.ID})
				if err != nil || len(page.Items) != 1 {
					t.Fatal(page.Items, err)
				}
				id := e.ID
				if strings.HasPrefix(p.name, "delivery") || method == "Delivery" {
					id = page.Items[0].ID
				}
				_, err = p.call(t.Context(), x.Tenant("acme"), id)
				if method == "Verify" && errors.Is(err, webhook.ErrNotSupported) {
					continue // it is there, and its profile asks for nothing
				}
				if err != nil {
					t.Errorf("%s: %v", method, err)
				}
			}
		}
	})
}

// Paths that are no tenant's, some of which look like one or would be one after
// some decoding, cleaning or cutting.
var climbers = []string{
	"*", "%", "_", "?", ".", "..", "...", "/", "//", "-", "acme/", "/acme", "acme//legal", "//acme", "acme/.", "acme/..", "./acme", "../acme", "acme/../other", "acme/./legal",
	"acme%", "acme*", "acme/*", "acme_%", "acme%2flegal", "%61cme", "acme\\legal", "acme:legal", "acme,other", "acme|other", "acme other", " acme", "acme ", "acme\n", "\tacme",
	"acme\x00", "acme\x00/legal", "\x00", "acme'", "acme' OR '1'='1", "acme\";--", "acme?tenant=other", "acme#", "acme@other", "acme+", "~acme", "$acme", "{acme}", "[a-z]cme",
	"аcme", "acmе", "ａｃｍｅ", "acme／legal", "acme⁄legal", "acme\u200b", "\ufeffacme", "acme\u0301", "ACME\u0130", "acme\u2044legal", "acme\u202e", "ſ", "acme\xff", "\xc0\xafacme",
	strings.Repeat("a", 257), strings.Repeat("a/", 128) + "a", strings.Repeat("acme/", 10_000), "acme/" + strings.Repeat("x", 252),
}

func TestATenantThatCannotBeReachesNothing(t *testing.T) {
	onEachStore(t, func(t *testing.T, open func(t *testing.T) webhook.Store) {
		x := newTown(t, open(t), neighbours...)
		own := []string{"...", "-", "_"} // which can be: they are made of the letters that there are
		for _, path := range climbers {
			v := x.Tenant(path)
			for method, rows := range positions() {
				for _, p := range rows {
					for kind, id := range x.estates["acme/legal"].ids {
						x.store.taken()
						_, err := p.call(t.Context(), v, id)
						if slices.Contains(own, path) {
							if p.want != nothing && err == nil {
								t.Errorf("%q reaches %s as the %s of %s", path, kind, p.name, method)
							}
							continue
						}
						if calls := x.store.taken(); !errors.Is(err, webhook.ErrInvalid) || !strings.Contains(err.Error(), "tenant") || len(err.Error()) > 1000 || len(calls) > 0 {
							t.Errorf("%s by %.64q: %v after the calls %q; want ErrInvalid before any", method, path, err, calls)
						}
					}
				}
			}
			if endpoints, err := v.Endpoints(t.Context(), webhook.EndpointFilter{}); len(endpoints.Items) > 0 || endpoints.Total > 0 || endpoints.Next != "" {
				t.Errorf("%q lists %d endpoints of %d, %v", path, len(endpoints.Items), endpoints.Total, err)
			}
			if deliveries, err := v.Deliveries(t.Context(), webhook.DeliveryFilter{}); len(deliveries.Items) > 0 || deliveries.Next != "" {
				t.Errorf("%q lists %d deliveries, %v", path, len(deliveries.Items), err)
			}
			// Nor may anybody register an endpoint for it, or publish.
			for _, v := range []*webhook.View{x.View, x.Tenant("acme"), x.Tenant("")} {
				if slices.Contains(own, path) && v == x.View {
					continue
				}
				if e, err := v.Register(t.Context(), webhook.Endpoint{URL: nowhere, Tenant: path}); !errors.Is(err, webhook.ErrInvalid) {
					t.Errorf("an endpoint of %q is registered as one of %q, %v", path, e.Tenant, err)
				}
			}
			if _, err := x.Publish(t.Context(), webhook.Event{Type: "document.signed", Tenant: path}); !slices.Contains(own, path) && !errors.Is(err, webhook.ErrInvalid) {
				t.Errorf("an event of %q is published, %v", path, err)
			}
		}
		longest := strings.Repeat("a", 256)
		if _, err := x.Tenant(longest).Register(t.Context(), webhook.Endpoint{URL: nowhere}); err != nil {
			t.Error("the longest tenant:", err)
		}
	})
}

// Whatever a tenant asks a listing for, it shows what is the tenant's, counts
// that alone, and shows it once.
func TestListingsShowATenantItsOwnWhateverItAsksFor(t *testing.T) {
	onEachStore(t, func(t *testing.T, open func(t *testing.T) webhook.Store) {
		x := newTown(t, open(t), neighbours...)
		all, err := x.Deliveries(t.Context(), webhook.DeliveryFilter{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		cursors := x.cursors(t)
		for _, looker := range x.lookers("acme", "ACME", "acme2", "nobody") {
			v, scope := x.Tenant(looker), webhook.Scope{Tenant: looker}
			own := 0
			for _, tenant := range neighbours {
				if scope.Contains(tenant) {
					own++
				}
			}
			for _, limit := range []int{1, 2, 1000} {
				seen := 0
				for f := (webhook.EndpointFilter{Limit: limit, Scope: webhook.Scope{All: true}}); ; {
					page, err := v.Endpoints(t.Context(), f)
					if err != nil || page.Total != own {
						t.Fatalf("%q counts %d endpoints, %v; want %d", looker, page.Total, err, own)
					}
					for _, e := range page.Items {
						if seen++; !scope.Contains(e.Tenant) || seen > own {
							t.Fatalf("%q sees, as number %d of %d, an endpoint of %q", looker, seen, own, e.Tenant)
						}
					}
					if f.Cursor = page.Next; f.Cursor == "" {
						break
					}
				}
				if seen != own {
					t.Errorf("%q sees %d endpoints on pages of %d, want %d", looker, seen, limit, own)
				}
			}
			for _, f := range []webhook.DeliveryFilter{
				{}, {Limit: 1}, {Limit: 2}, {States: []webhook.State{webhook.StateExhausted}}, {States: []webhook.State{webhook.StatePending}, Limit: 1},
				{States: []webhook.State{webhook.StateDelivered, webhook.StatePending}, Limit: 2}, {EventType: "document.signed"},
				{From: standing}, {To: standing}, {From: standing, To: standing.Add(time.Microsecond)}, {From: standing.Add(time.Microsecond)},
				{From: time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)},
			} {
				var want, got []string
				for _, d := range all.Items {
					if only := f; scope.Contains(d.Tenant) {
						if only.Scope.All = true; only.Matches(&d) {
							want = append(want, d.ID)
						}
					}
				}
				for f.Scope.All = true; ; {
					page, err := v.Deliveries(t.Context(), f)
					if err != nil {
						t.Fatal(err)
					}
					for _, d := range page.Items {
						got = append(got, d.ID)
					}
					if f.Cursor = page.Next; f.Cursor == "" || len(got) > len(want) {
						break
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%q lists %q by %+v, want %q", looker, got, f, want)
				}
			}
			failed := 0
			for _, d := range all.Items {
				if scope.Contains(d.Tenant) && d.State == webhook.StateExhausted {
					failed++
				}
			}
			if r, err := v.Replay(t.Context(), webhook.ReplayFilter{DryRun: true}); err != nil || r.Matched != failed {
				t.Errorf("%q counts %d failures, %v; want %d", looker, r.Matched, err, failed)
			}
			x.tryCursors(t, looker, cursors)
		}
	})
}

// cursors returns those of all listings of all tenants, by whose they are.
func (x *town) cursors(t *testing.T) map[string][]string {
	t.Helper()
	cursors, known := make(map[string][]string), make(map[string]bool)
	for _, owner := range append(slices.Clone(neighbours), "operator") {
		v := x.Tenant(owner)
		if owner == "operator" {
			v = x.View
		}
		for limit := range 3 {
			endpoints, err := v.Endpoints(t.Context(), webhook.EndpointFilter{Limit: limit + 1})
			deliveries, err2 := v.Deliveries(t.Context(), webhook.DeliveryFilter{Limit: limit + 1})
			failures, err3 := v.Replay(t.Context(), webhook.ReplayFilter{Limit: limit + 1, DryRun: true})
			all := []string{endpoints.Next, deliveries.Next, failures.Next}
			var err4 error
			if owner != "operator" {
				missed, err := v.Replay(t.Context(), webhook.ReplayFilter{EndpointID: x.estates[owner].endpointID, Missed: true, Limit: limit + 1, DryRun: true})
				all, err4 = append(all, missed.Next), err
			}
			if err := errors.Join(err, err2, err3, err4); err != nil {
				t.Fatal(err)
			}
			for _, cursor := range all {
				if known[cursor] || cursor == "" {
					continue
				}
				known[cursor] = true
				cursors[owner] = append(cursors[owner], cursor)
			}
		}
	}
	return cursors
}

// tryCursors uses every cursor that is not the tenant's in all its listings: what
// one shows does not depend on whether its item exists.
func (x *town) tryCursors(t *testing.T, looker string, cursors map[string][]string) {
	t.Helper()
	v := x.Tenant(looker)
	listings := map[string]func(cursor string) (any, error){
		"Endpoints": func(cursor string) (any, error) {
			return v.Endpoints(t.Context(), webhook.EndpointFilter{Cursor: cursor})
		},
		"Deliveries": func(cursor string) (any, error) {
			return v.Deliveries(t.Context(), webhook.DeliveryFilter{Cursor: cursor})
		},
		"Replay": func(cursor string) (any, error) {
			return v.Replay(t.Context(), webhook.ReplayFilter{Cursor: cursor, DryRun: true})
		},
		"Replay of what was missed": func(cursor string) (any, error) {
			own, ok := x.estates[looker]
			if !ok {
				return nil, nil
			}
			return v.Replay(t.Context(), webhook.ReplayFilter{EndpointID: own.endpointID, Missed: true, Cursor: cursor, DryRun: true})
		},
	}
	for _, owner := range slices.Sorted(maps.Keys(cursors)) {
		for _, cursor := range cursors[owner] {
			plain, err := base64.RawURLEncoding.DecodeString(cursor)
			if err != nil {
				t.Fatal(err)
			}
			at, id, _ := strings.Cut(string(plain), " ")
			if (webhook.Scope{Tenant: looker}).Contains(x.ownerOf(t, at[0], id)) {
				continue // a parent's or the operator's may name what is the tenant's
			}
			madeUp := base64.RawURLEncoding.EncodeToString([]byte(at + " " + absent(id)))
			for name, list := range listings {
				foreign, foreignErr := list(cursor)
				nobodys, nobodysErr := list(madeUp)
				if got, want := text(t, foreign), text(t, nobodys); got != want {
					t.Errorf("%s of %q, with the cursor %q of %q, is %s; with one of nobody's %s", name, looker, plain, owner, got, want)
				}
				if (foreignErr == nil) != (nobodysErr == nil) || foreignErr != nil &&
					(!errors.Is(foreignErr, webhook.ErrInvalid) || foreignErr.Error() != strings.ReplaceAll(nobodysErr.Error(), madeUp[:min(len(madeUp), 64)], cursor[:min(len(cursor), 64)])) {
					t.Errorf("%s of %q, with the cursor %q of %q: %v; with one of nobody's: %v", name, looker, plain, owner, foreignErr, nobodysErr)
				}
			}
		}
	}
}

// ownerOf returns whose the item of a cursor is.
func (x *town) ownerOf(t *testing.T, kind byte, id string) (tenant string) {
	t.Helper()
	var err error
	switch kind {
	case 'e':
		var e webhook.Endpoint
		e, err = x.Endpoint(t.Context(), id)
		tenant = e.Tenant
	case 'd':
		var d webhook.Delivery
		d, err = x.Delivery(t.Context(), id)
		tenant = d.Tenant
	case 'v':
		var e webhook.EventRecord
		e, err = x.store.GetEvent(t.Context(), id)
		tenant = e.Tenant
	}
	if err != nil {
		t.Fatal(err)
	}
	return tenant
}

func TestACursorHoldsWhenItsItemWasCreatedAndItsIDAlone(t *testing.T) {
	onEachStore(t, func(t *testing.T, open func(t *testing.T) webhook.Store) {
		x := newTown(t, open(t), neighbours...)
		v := x.Tenant("acme")
		endpoints, err := v.Endpoints(t.Context(), webhook.EndpointFilter{Limit: 2})
		deliveries, err2 := v.Deliveries(t.Context(), webhook.DeliveryFilter{Limit: 2})
		events, err3 := x.store.ListEvents(t.Context(), webhook.EventFilter{Scope: webhook.Scope{Tenant: "acme"}, Limit: 2})
		if err := errors.Join(err, err2, err3); err != nil {
			t.Fatal(err)
		}
		for cursor, want := range map[string]string{
			endpoints.Next:  fmt.Sprintf("e%d %s", standing.UnixMicro(), endpoints.Items[1].ID),
			deliveries.Next: fmt.Sprintf("d%d %s", standing.UnixMicro(), deliveries.Items[1].ID),
			events.Next:     fmt.Sprintf("v%d %s", standing.UnixMicro(), events.Items[1].ID),
		} {
			if got, err := base64.RawURLEncoding.DecodeString(cursor); err != nil || string(got) != want {
				t.Errorf("a cursor holds %q, %v; want %q", got, err, want)
			}
		}
	})
}

// What a tenant does and sees is the same, to the byte, in a store of its own and
// in one where others register, publish, fail, replay and disappear between any
// two of its calls. IDs and secrets, which are random, and the times of attempts
// excepted.
func TestATenantCannotTellWhatOthersDo(t *testing.T) {
	onEachStore(t, func(t *testing.T, open func(t *testing.T) webhook.Store) {
		quiet := transcript(t, open(t), func(*town) {})
		n := 0
		noisy := transcript(t, open(t), func(x *town) {
			n++
			x.noise(t, n)
		})
		for line := range min(len(quiet), len(noisy)) {
			if quiet[line] != noisy[line] {
				t.Errorf("alone:\n%s\namong others:\n%s", quiet[line], noisy[line])
			}
		}
		if len(quiet) < 40 || len(quiet) != len(noisy) {
			t.Errorf("%d lines alone, %d among others", len(quiet), len(noisy))
		}
	})
}

// noise is what others do: neighbours of "acme" with the same keys and types.
func (x *town) noise(t *testing.T, n int) {
	t.Helper()
	ctx, tenant := t.Context(), []string{"", "acme2", "ACME", "other"}[n%4]
	v := x.Tenant(tenant)
	e, err := v.Register(ctx, webhook.Endpoint{URL: nowhere})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		if _, err := x.Publish(ctx, webhook.Event{ID: fmt.Sprintf("noise-%d-%d", n, round), Key: fmt.Sprint("key-", n%12), Type: "type.1", Tenant: tenant, Data: n}); err != nil && !errors.Is(err, webhook.ErrConflict) {
			t.Fatal(err)
		}
	}
	if _, err := v.RotateSecret(ctx, e.ID, webhook.Secret{}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if n%3 == 0 {
		if err := v.Unregister(ctx, e.ID); err != nil {
			t.Fatal(err)
		}
	}
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// transcript returns what a tenant is answered, with noise before each call, and
// names for its random IDs.
func transcript(t *testing.T, store webhook.Store, noise func(*town)) (lines []string) {
	t.Helper()
	x := newTown(t, store)
	v, ctx := x.Tenant("acme"), t.Context()
	names := make(map[string]string)
	say := func(what string, result any, err error) {
		t.Helper()
		if len(lines) > 500 {
			t.Fatalf("there is no end of %s", what)
		}
		line := uuids.ReplaceAllStringFunc(fmt.Sprintf("%s: %s, error %v", what, text(t, result), err), func(id string) string {
			if names[id] == "" {
				names[id] = fmt.Sprint("ID", len(names))
			}
			return names[id]
		})
		lines = append(lines, line)
		noise(x)
	}
	// A cursor is shown decoded, since it holds an ID.
	plain := func(cursor *string) (used string) {
		used = *cursor
		if b, err := base64.RawURLEncoding.DecodeString(used); err == nil {
			*cursor = string(b)
		}
		return used
	}
	noise(x)
	var ids []string
	for n := range 4 {
		e, err := v.Register(ctx, webhook.Endpoint{URL: nowhere, Events: []string{fmt.Sprint("type.", n)}, Tenant: []string{"acme", "acme/legal"}[n%2]})
		ids = append(ids, e.ID)
		e.Secrets = nil
		say("register", e, err)
	}
	for n := range 12 {
		r, err := x.Publish(ctx, webhook.Event{ID: fmt.Sprint("event-", n%10, "-", n%3), Key: fmt.Sprint("key-", n%10), Type: fmt.Sprint("type.", n%10%4), Tenant: "acme/legal", Time: standing})
		say("publish", r, err)
		if n == 5 {
			x.settle(t)
		}
	}
	x.settle(t)
	list := func() {
		for f := (webhook.EndpointFilter{Limit: 1}); ; {
			page, err := v.Endpoints(ctx, f)
			f.Cursor = plain(&page.Next)
			say("endpoints", page, err)
			if f.Cursor == "" {
				break
			}
		}
		for _, f := range []webhook.DeliveryFilter{{Limit: 2}, {States: []webhook.State{webhook.StateExhausted}, Limit: 1}, {EndpointID: ids[1]}, {EventType: "type.2"}} {
			for {
				page, err := v.Deliveries(ctx, f)
				f.Cursor = plain(&page.Next)
				say("deliveries", page, err)
				if f.Cursor == "" {
					break
				}
			}
		}
		for _, f := range []webhook.ReplayFilter{{DryRun: true, Limit: 1}, {DryRun: true, EndpointID: ids[0], Missed: true, Limit: 2}} {
			for {
				r, err := v.Replay(ctx, f)
				f.Cursor = plain(&r.Next)
				say("replay", r, err)
				if f.Cursor == "" {
					break
				}
			}
		}
	}
	list()
	page, err := v.Deliveries(ctx, webhook.DeliveryFilter{States: []webhook.State{webhook.StateExhausted}})
	if err != nil || len(page.Items) == 0 {
		t.Fatalf("%d have failed, %v", len(page.Items), err)
	}
	for _, d := range page.Items {
		attempts, err := v.Attempts(ctx, d.ID)
		say("attempts", attempts, err)
		body, err := v.Body(ctx, d.ID)
		say("body", string(body), err)
	}
	d, err := v.Resend(ctx, page.Items[0].ID)
	say("resend", d, err)
	e, err := v.Update(ctx, webhook.Endpoint{ID: ids[1], URL: nowhere, Events: []string{"type.1"}, Description: "new"})
	say("update", e, err)
	_, err = v.Update(ctx, webhook.Endpoint{ID: ids[1], URL: nowhere, Events: []string{"type.1"}, Rev: 1})
	say("update an old one", nil, err)
	_, err = v.RotateSecret(ctx, ids[1], webhook.Secret{}, time.Hour)
	say("rotate", nil, err)
	say("disable", nil, v.Disable(ctx, ids[2], "holiday"))
	r, err := v.Replay(ctx, webhook.ReplayFilter{EndpointID: ids[2]})
	say("replay at a disabled one", r, err)
	say("enable", nil, v.Enable(ctx, ids[2]))
	r, err = v.Replay(ctx, webhook.ReplayFilter{})
	say("replay", r, err)
	say("unregister", nil, v.Unregister(ctx, ids[3]))
	_, err = v.Endpoint(ctx, ids[3])
	say("what is gone", nil, err)
	_, err = v.Delivery(ctx, "nothing")
	say("what never was", nil, err)
	list()
	return lines
}

// The ID of an endpoint that is gone may become another tenant's. Each sees his part
// of what was sent under it, before and after, and a stranger sees nothing.
func TestAnEndpointsIDThatChangesHandsShowsEachHisPart(t *testing.T) {
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		a := b.newApp(t, b.database(t))
		see := func(when string, want map[string]int) {
			t.Helper()
			for tenant, n := range want {
				for _, states := range [][]webhook.State{nil, {webhook.StateCancelled, webhook.StatePending}} {
					page, err := a.Tenant(tenant).Deliveries(t.Context(), webhook.DeliveryFilter{EndpointID: "shared", States: states})
					if err != nil || len(page.Items) != n {
						t.Errorf("%s, %s sees %d deliveries of states %v (%v), want %d", when, tenant, len(page.Items), states, err, n)
					}
				}
			}
		}
		sees := map[string]int{"first": 0, "second": 0, "second/part": 0, "third": 0, "fourth": 0}
		for _, tenant := range []string{"first", "second", "third"} {
			if _, err := a.Register(t.Context(), webhook.Endpoint{ID: "shared", Tenant: tenant, URL: nowhere}); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Publish(t.Context(), webhook.Event{Type: "document.signed", Tenant: tenant}); err != nil {
				t.Fatal(err)
			}
			sees[tenant] = 1
			see("while it is of "+tenant, sees)
			if err := a.Unregister(t.Context(), "shared"); err != nil {
				t.Fatal(err)
			}
			see("after it was of "+tenant, sees)
		}
	})
}
