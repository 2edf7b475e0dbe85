package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ids returns what a listing lists, in its order.
func ids[T any](items []T, id func(T) string) []string {
	found := make([]string, 0, len(items))
	for _, item := range items {
		found = append(found, id(item))
	}
	return found
}

func endpointID(e Endpoint) string { return e.ID }

func deliveryEvent(d Delivery) string { return d.EventID }

// settleDue makes one attempt at all that is due, without sending it, and ends
// it in the given state.
func settleDue(t *testing.T, d *Dispatcher, state State) {
	t.Helper()
	claimed, _, err := d.store.Claim(t.Context(), ClaimRequest{Max: 1000, PerEndpoint: 1000, Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var ss []Settlement
	for _, c := range claimed {
		a := &Attempt{ID: c.Delivery.ID + "-1", DeliveryID: c.Delivery.ID, Number: 1, StatusCode: 204}
		if state != StateDelivered {
			a.StatusCode, a.Error = 500, "status 500"
		}
		ss = append(ss, Settlement{DeliveryID: c.Delivery.ID, Lease: c.Lease, State: state, Attempt: a, Counted: true})
	}
	if stale, err := d.store.Settle(t.Context(), ss); err != nil || len(stale) > 0 {
		t.Fatal(stale, err)
	}
}

// mustContain fails unless the error matches the sentinel and its text holds
// all of texts.
func mustContain(t *testing.T, err, sentinel error, texts ...string) {
	t.Helper()
	if !errors.Is(err, sentinel) {
		t.Errorf("error is %v, want %v", err, sentinel)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error is %q, want it to hold %q", err, text)
		}
	}
}

func TestRegisterFillsTheDefaults(t *testing.T) {
	store := NewMemoryStore()
	now := time.Date(2026, 3, 14, 15, 9, 26, 535_000, time.UTC)
	store.SetClock(func() time.Time { return now })
	d := newDispatcher(t, store, Config{})
	e, err := d.Tenant("acme").Register(WithActor(t.Context(), "ada"), Endpoint{
		URL: "https://acme.example/hooks",
		// What only the library sets is not taken from the caller.
		Disabled: true, DisabledReason: "x", FailingSince: now, NotBefore: now, CreatedAt: now.Add(-1), UpdatedAt: now.Add(-1), Rev: 7,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.ID) != 36 {
		t.Errorf("ID is %q, want a UUID", e.ID)
	}
	if len(e.Secrets) != 1 || !strings.HasPrefix(e.Secrets[0].Value, "whsec_") {
		t.Errorf("%d secrets, want a generated one", len(e.Secrets))
	}
	want := Endpoint{
		ID: e.ID, URL: "https://acme.example/hooks", Tenant: "acme", Events: []string{"*"}, Secrets: e.Secrets,
		CreatedBy: "ada", CreatedAt: now, UpdatedAt: now, Rev: 1,
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("registered\n%+v, want\n%+v", e, want)
	}
}

func TestRegisterKeepsEveryField(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), Config{Profiles: map[string]Profile{"legacy": {}}})
	now := time.Now().UTC().Truncate(time.Microsecond)
	in := Endpoint{
		ID: "row-17", URL: "https://acme.example:8443/hooks?x=1", Description: "Ünïcode", Tenant: "acme/legal",
		Events: []string{"invoice.paid", "document.*", "document.*"}, Profile: "legacy",
		Secrets: []Secret{NewSecret(), {Value: NewSecret().Value, ExpiresAt: now.Add(time.Hour)}},
		Auth:    BasicAuth("user", "pa:ss"), Headers: map[string]string{"X-Route": "eu"},
		RateLimit: 2.5, Concurrency: 3, Ordered: true, CreatedBy: "ada",
	}
	registered := register(t, d.View, in)
	want := in
	want.Events = []string{"document.*", "invoice.paid"}
	want.CreatedAt, want.UpdatedAt, want.Rev = registered.CreatedAt, registered.UpdatedAt, 1
	if !reflect.DeepEqual(registered, want) {
		t.Errorf("registered\n%+v, want\n%+v", registered, want)
	}
	read, err := d.Endpoint(t.Context(), "row-17")
	if err != nil {
		t.Fatal(err)
	}
	want.Secrets, want.Auth.Secret = nil, Secret{}
	if !reflect.DeepEqual(read, want) {
		t.Errorf("read back\n%+v, want, without the secrets,\n%+v", read, want)
	}
}

func TestRegisterRefuses(t *testing.T) {
	config := Config{
		Profiles: map[string]Profile{
			"single":   {Signer: SecretHeader{Name: "X-Token"}},
			"optional": {Signer: HMAC{Header: "X-Signature", Optional: true}},
		},
		Catalog: []EventType{{Name: "document.signed"}, {Name: "invoice.paid"}},
		Network: Network{Deny: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
	}
	d := newDispatcher(t, NewMemoryStore(), config)
	const good = "https://acme.example/"
	register(t, d.View, Endpoint{ID: "taken", URL: good})
	tests := []struct {
		name     string
		view     *View
		endpoint Endpoint
		want     error
		text     string
	}{
		{"no URL", d.View, Endpoint{}, ErrInvalid, "URL"},
		{"plain HTTP", d.View, Endpoint{URL: "http://acme.example/"}, ErrInvalid, "Network.AllowHTTP"},
		{"another scheme", d.View, Endpoint{URL: "ftp://acme.example/"}, ErrInvalid, "must be https"},
		{"user information", d.View, Endpoint{URL: "https://u:p@acme.example/"}, ErrInvalid, "URL"},
		{"a fragment", d.View, Endpoint{URL: good + "#x"}, ErrInvalid, "URL"},
		{"a private address", d.View, Endpoint{URL: "https://10.0.0.1/"}, ErrBlockedAddress, "Network.Allow"},
		{"a denied address", d.View, Endpoint{URL: "https://192.0.2.1/"}, ErrBlockedAddress, "Network.Deny"},
		{"a metadata service", d.View, Endpoint{URL: "https://169.254.169.254/"}, ErrBlockedAddress, "URL"},
		{"this machine's name", d.View, Endpoint{URL: "https://localhost/"}, ErrBlockedAddress, "host name"},
		{"a name of the inside", d.View, Endpoint{URL: "https://billing.internal./"}, ErrBlockedAddress, "Network.Allow"},
		{"a port that is not allowed", d.View, Endpoint{URL: "https://acme.example:25/"}, ErrBlockedAddress, "Network.Ports"},
		{"a long description", d.View, Endpoint{URL: good, Description: strings.Repeat("x", 1025)}, ErrInvalid, "Description"},
		{"a description that is not UTF-8", d.View, Endpoint{URL: good, Description: "\xff"}, ErrInvalid, "Description"},
		{"a description with NUL", d.View, Endpoint{URL: good, Description: "\x00"}, ErrInvalid, "Description"},
		{"a long CreatedBy", d.View, Endpoint{URL: good, CreatedBy: strings.Repeat("x", 1025)}, ErrInvalid, "CreatedBy"},
		{"an ID with a space", d.View, Endpoint{URL: good, ID: "a b"}, ErrInvalid, "ID"},
		{"a long ID", d.View, Endpoint{URL: good, ID: strings.Repeat("x", 129)}, ErrInvalid, "ID"},
		{"an ID that exists", d.View, Endpoint{URL: good, ID: "taken"}, ErrConflict, "taken"},
		{"an ID of a tenant's choice", d.Tenant("acme"), Endpoint{URL: good, ID: "mine"}, ErrInvalid, "ID"},
		{"a malformed tenant", d.View, Endpoint{URL: good, Tenant: "a//b"}, ErrInvalid, "tenant"},
		{"another tenant", d.Tenant("acme"), Endpoint{URL: good, Tenant: "acme2"}, ErrInvalid, "Tenant"},
		{"the tenant that this one is within", d.Tenant("acme/legal"), Endpoint{URL: good, Tenant: "acme"}, ErrInvalid, "Tenant"},
		{"all tenants, by a tenant", d.Tenant("acme"), Endpoint{URL: good, AllTenants: true}, ErrInvalid, "AllTenants"},
		{"all tenants, by the tenant without a name", d.Tenant(""), Endpoint{URL: good, AllTenants: true}, ErrInvalid, "AllTenants"},
		{"all tenants, for a tenant", d.View, Endpoint{URL: good, Tenant: "acme", AllTenants: true}, ErrInvalid, "AllTenants"},
		{"a malformed pattern", d.View, Endpoint{URL: good, Events: []string{"doc*"}}, ErrInvalid, "doc*"},
		{"a pattern that nothing matches", d.View, Endpoint{URL: good, Events: []string{"*", "order.*"}}, ErrUnknownEventType, "order.*"},
		{"an unknown profile", d.View, Endpoint{URL: good, Profile: "none"}, ErrInvalid, "Profile"},
		{"a malformed secret", d.View, Endpoint{URL: good, Secrets: []Secret{{Value: "whsec_x"}}}, ErrInvalid, "Secrets[0]"},
		{"a newest secret that expires", d.View, Endpoint{URL: good, Secrets: []Secret{{Value: NewSecret().Value, ExpiresAt: time.Now()}}}, ErrInvalid, "Secrets[0]"},
		{"eleven secrets", d.View, Endpoint{URL: good, Secrets: slices.Repeat([]Secret{NewSecret()}, 11)}, ErrInvalid, "Secrets"},
		{"two secrets for one header", d.View, Endpoint{URL: good, Profile: "single", Secrets: []Secret{{Value: "a"}, {Value: "b"}}}, ErrNotSupported, "Secrets"},
		{"an unknown scheme of Auth", d.View, Endpoint{URL: good, Auth: Auth{Scheme: "digest"}}, ErrInvalid, "Auth"},
		{"Auth in the signature's header", d.View, Endpoint{URL: good, Profile: "single", Auth: APIKey("x-token", "k")}, ErrInvalid, "X-Token"},
		{"a reserved header", d.View, Endpoint{URL: good, Headers: map[string]string{"content-type": "x"}}, ErrInvalid, "Content-Type"},
		{"an idempotency key", d.View, Endpoint{URL: good, Headers: map[string]string{"Idempotency-Key": "x"}}, ErrInvalid, "Idempotency-Key"},
		{"the signature's header", d.View, Endpoint{URL: good, Headers: map[string]string{"webhook-id": "x"}}, ErrInvalid, "Webhook-Id"},
		{"the header of Auth", d.View, Endpoint{URL: good, Auth: BearerToken("t"), Headers: map[string]string{"authorization": "x"}}, ErrInvalid, "Authorization"},
		{"a header's value with a line break", d.View, Endpoint{URL: good, Headers: map[string]string{"X-A": "a\nb"}}, ErrInvalid, "X-A"},
		{"a negative rate", d.View, Endpoint{URL: good, RateLimit: -1}, ErrInvalid, "RateLimit"},
		{"a rate that is no number", d.View, Endpoint{URL: good, RateLimit: math.NaN()}, ErrInvalid, "RateLimit"},
		{"an infinite rate", d.View, Endpoint{URL: good, RateLimit: math.Inf(1)}, ErrInvalid, "RateLimit"},
		{"a negative concurrency", d.View, Endpoint{URL: good, Concurrency: -1}, ErrInvalid, "Concurrency"},
		{"more than Config.Concurrency", d.View, Endpoint{URL: good, Concurrency: 257}, ErrInvalid, "Concurrency"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, err := test.view.Register(t.Context(), test.endpoint)
			mustContain(t, err, test.want, "register: ", test.text)
			if !reflect.DeepEqual(e, Endpoint{}) {
				t.Errorf("returned %+v beside the error", e)
			}
		})
	}
	page, err := d.Endpoints(t.Context(), EndpointFilter{})
	if err != nil || page.Total != 1 {
		t.Errorf("%d endpoints, %v; want only the one that was there before", page.Total, err)
	}
}

func TestRegisterNamesEveryMistake(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), Config{})
	_, err := d.Tenant("acme").Register(t.Context(), Endpoint{
		ID: "own", URL: "ftp://x", Tenant: "other", Events: []string{"a.*", "b*", "c..d"}, Profile: "none", RateLimit: -1, Concurrency: -1,
		Auth: BearerToken(""), Description: "\x00",
	})
	mustContain(t, err, ErrInvalid, "ID", "URL", "Tenant", "b*", "c..d", "Profile", "RateLimit", "Concurrency", "Auth", "Description")
}

func TestRegisterGeneratesASecretOnlyWhereTheSchemeNeedsOne(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), Config{Profiles: map[string]Profile{
		"optional": {Signer: HMAC{Header: "X-Signature", Optional: true}},
		"unsigned": {Signer: plainSigner{}},
	}})
	for profile, want := range map[string]int{"": 1, "optional": 0, "unsigned": 0} {
		if e := register(t, d.View, Endpoint{URL: "https://acme.example/", Profile: profile}); len(e.Secrets) != want {
			t.Errorf("profile %q: %d secrets, want %d", profile, len(e.Secrets), want)
		}
	}
	given := NewSecret()
	if e := register(t, d.View, Endpoint{URL: "https://acme.example/", Secrets: []Secret{given}}); !slices.Equal(e.Secrets, []Secret{given}) {
		t.Error("a given secret is not the endpoint's")
	}
}

// unordered hides what a store can do beyond the interface, wrapped does not.
type (
	unordered struct{ Store }
	wrapped   struct{ Store }
)

func (w wrapped) Unwrap() Store { return w.Store }

func TestOrderedNeedsAStoreThatCan(t *testing.T) {
	ordered := Endpoint{URL: "https://acme.example/", Ordered: true}
	d := newDispatcher(t, unordered{NewMemoryStore()}, Config{})
	_, err := d.Register(t.Context(), ordered)
	mustContain(t, err, ErrNotSupported, "Ordered")

	e := register(t, d.View, Endpoint{URL: "https://acme.example/"})
	e.Ordered = true
	_, err = d.Update(t.Context(), e)
	mustContain(t, err, ErrNotSupported, "Ordered")

	register(t, newDispatcher(t, wrapped{wrapped{NewMemoryStore()}}, Config{}).View, ordered)
}

func TestRegisterReachesWhatIsWithinTheTenant(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	if e := register(t, d.Tenant("acme"), Endpoint{Tenant: "acme/legal"}); e.Tenant != "acme/legal" {
		t.Errorf("tenant is %q", e.Tenant)
	}
	if e := register(t, d.View, Endpoint{AllTenants: true}); !e.AllTenants {
		t.Error("an operator cannot register for all tenants")
	}
}

func TestCreatedByIsTheActorUnlessGiven(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	ctx := WithActor(t.Context(), "ada")
	for _, test := range []struct{ given, want string }{{"", "ada"}, {"bob", "bob"}} {
		e, err := d.Register(ctx, Endpoint{URL: receiverURL, CreatedBy: test.given})
		if err != nil || e.CreatedBy != test.want {
			t.Errorf("CreatedBy %q became %q, %v; want %q", test.given, e.CreatedBy, err, test.want)
		}
	}
}

func TestUpdateReplacesWhatMayChange(t *testing.T) {
	store := NewMemoryStore()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	store.SetClock(func() time.Time { return now })
	d := newDispatcher(t, store, testConfig(nil))
	old := register(t, d.View, Endpoint{URL: "https://acme.example/v1", Tenant: "acme", CreatedBy: "ada", Headers: map[string]string{"X-A": "a"}, Auth: BearerToken("t0ken")})
	created := now
	now = now.Add(time.Hour)

	in := Endpoint{
		ID: old.ID, URL: "https://acme.example/v2", Description: "new", Events: []string{"a.*"}, Auth: Auth{Scheme: "bearer"},
		RateLimit: 1, Concurrency: 2, Ordered: true, CreatedBy: "mallory", Rev: old.Rev,
		Disabled: true, DisabledReason: "x", FailingSince: now, NotBefore: now, CreatedAt: now,
	}
	got, err := d.Update(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want := Endpoint{
		ID: old.ID, URL: "https://acme.example/v2", Description: "new", Tenant: "acme", Events: []string{"a.*"}, Auth: Auth{Scheme: "bearer"},
		RateLimit: 1, Concurrency: 2, Ordered: true, CreatedBy: "ada", CreatedAt: created, UpdatedAt: now, Rev: 2,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("updated\n%+v, want\n%+v", got, want)
	}
	if read, err := d.Endpoint(t.Context(), old.ID); err != nil || !reflect.DeepEqual(read, want) {
		t.Errorf("read back\n%+v, %v; want\n%+v", read, err, want)
	}
}

func TestUpdateRefuses(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), Config{
		Catalog:  []EventType{{Name: "a"}},
		Profiles: map[string]Profile{"single": {Signer: SecretHeader{Name: "X-Token"}}},
	})
	const url = "https://acme.example/"
	register(t, d.View, Endpoint{ID: "e", URL: url, Tenant: "acme", Auth: BearerToken("t0ken")})
	register(t, d.View, Endpoint{ID: "nobodys", URL: url})
	good := Endpoint{ID: "e", URL: url, Events: []string{"a"}, Auth: Auth{Scheme: "bearer"}}
	tests := []struct {
		name   string
		view   *View
		change func(*Endpoint)
		want   error
		text   string
	}{
		{"an endpoint that does not exist", d.View, func(e *Endpoint) { e.ID = "none" }, ErrNotFound, "none"},
		{"an old Rev", d.View, func(e *Endpoint) { e.Rev = 7 }, ErrConflict, "rev is 1, not 7"},
		{"another tenant", d.View, func(e *Endpoint) { e.Tenant = "acme/legal" }, ErrInvalid, "Tenant"},
		{"all tenants, by its tenant", d.Tenant("acme"), func(e *Endpoint) { e.AllTenants = true }, ErrInvalid, "AllTenants"},
		{"all tenants, by the tenant without a name", d.Tenant(""), func(e *Endpoint) {
			e.ID, e.Auth, e.AllTenants = "nobodys", Auth{}, true
		}, ErrInvalid, "AllTenants"},
		{"all tenants, for a tenant", d.View, func(e *Endpoint) { e.AllTenants = true }, ErrInvalid, "AllTenants"},
		{"no events", d.View, func(e *Endpoint) { e.Events = nil }, ErrInvalid, "Events"},
		{"a pattern that nothing matches", d.View, func(e *Endpoint) { e.Events = []string{"b"} }, ErrUnknownEventType, `"b"`},
		{"no URL", d.View, func(e *Endpoint) { e.URL = "" }, ErrInvalid, "URL"},
		{"a blocked URL", d.View, func(e *Endpoint) { e.URL = "https://[::1]/" }, ErrBlockedAddress, "Network.Allow"},
		{"no secrets where one is needed", d.View, func(e *Endpoint) { e.Secrets = []Secret{} }, ErrInvalid, "Secrets"},
		{"two secrets for one header", d.View, func(e *Endpoint) {
			e.Profile, e.Secrets = "single", []Secret{{Value: "a"}, {Value: "b"}}
		}, ErrNotSupported, "Secrets"},
		{"an Auth whose secret belongs to another", d.View, func(e *Endpoint) { e.Auth = Auth{Scheme: "apikey", Name: "X-Key"} }, ErrInvalid, "Auth"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := good
			test.change(&e)
			_, err := test.view.Update(t.Context(), e)
			mustContain(t, err, test.want, "update endpoint ", test.text)
		})
	}
	if e, err := d.Endpoint(t.Context(), "e"); err != nil || e.Rev != 1 {
		t.Errorf("rev is %d, %v; want what was registered", e.Rev, err)
	}
}

func TestUpdateKeepsTheSecretsThatItIsNotGiven(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	old := register(t, d.View, Endpoint{Auth: APIKey("X-Key", "k3y")})
	stored := func() Endpoint {
		e, err := d.endpoint(t.Context(), old.ID)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	update := func(change func(*Endpoint)) {
		t.Helper()
		e, err := d.Endpoint(t.Context(), old.ID)
		if err != nil {
			t.Fatal(err)
		}
		change(&e)
		if e, err = d.Update(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if e.Secrets != nil || e.Auth.Secret != (Secret{}) {
			t.Error("Update returns secrets")
		}
	}

	update(func(e *Endpoint) { e.Description = "changed" })
	if e := stored(); !slices.Equal(e.Secrets, old.Secrets) || e.Auth != old.Auth {
		t.Error("what was read back and updated lost its secrets")
	}
	update(func(e *Endpoint) { e.Auth.Secret.Value = "n3w" })
	if e := stored(); e.Auth.Secret.Value != "n3w" {
		t.Error("a new Auth.Secret is not taken")
	}
	update(func(e *Endpoint) { e.Auth = Auth{} })
	if e := stored(); e.Auth != (Auth{}) {
		t.Error("Auth cannot be removed")
	}
	next := []Secret{NewSecret()}
	update(func(e *Endpoint) { e.Secrets = next })
	if e := stored(); !slices.Equal(e.Secrets, next) {
		t.Error("new Secrets are not taken")
	}
}

func TestOfConcurrentUpdatesOfOneRevOneSucceeds(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	e := register(t, d.View, Endpoint{})
	update := func(rev int64) (succeeded int) {
		const n = 8 // fewer than the times that an Update with Rev 0 tries
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				_, errs[i] = d.Update(t.Context(), Endpoint{ID: e.ID, URL: receiverURL, Events: []string{"*"}, Rev: rev})
			})
		}
		wg.Wait()
		for _, err := range errs {
			if err == nil {
				succeeded++
			} else if !errors.Is(err, ErrConflict) {
				t.Error(err)
			}
		}
		return succeeded
	}
	if n := update(e.Rev); n != 1 {
		t.Errorf("with one Rev %d updates succeeded, want 1", n)
	}
	if n := update(0); n != 8 {
		t.Errorf("with Rev 0 %d updates succeeded, want all 8", n)
	}
}

// contended lets other changes come between the next reads and writes of an
// endpoint.
type contended struct {
	Store
	changes *int
}

func (s contended) PutEndpoint(ctx context.Context, r EndpointRecord) (EndpointRecord, error) {
	if r.Rev > 0 && *s.changes > 0 {
		*s.changes--
		return EndpointRecord{}, fmt.Errorf("put: %w", ErrConflict)
	}
	return s.Store.PutEndpoint(ctx, r)
}

func TestUpdateOfAnyRevTriesAgainWhenAnotherComesFirst(t *testing.T) {
	changes := 0
	d := newDispatcher(t, contended{NewMemoryStore(), &changes}, testConfig(nil))
	e := register(t, d.View, Endpoint{})
	update := func(rev int64, others int) error {
		changes = others
		_, err := d.Update(t.Context(), Endpoint{ID: e.ID, URL: receiverURL, Events: []string{"*"}, Rev: rev})
		return err
	}
	mustContain(t, update(1, 1), ErrConflict)
	if err := update(0, 3); err != nil {
		t.Error(err)
	}
	mustContain(t, update(0, 1000), ErrConflict)
}

func TestUnregisterCancelsWhatIsPending(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	e := register(t, d.View, Endpoint{})
	publish(t, d, Event{ID: "first"})
	settleDue(t, d, StateDelivered)
	publish(t, d, Event{ID: "second"})

	if err := d.Unregister(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	if got := delivery(t, d, "first").State; got != StateDelivered {
		t.Errorf("what was delivered is %s", got)
	}
	if got := delivery(t, d, "second").State; got != StateCancelled {
		t.Errorf("what was pending is %s, want cancelled", got)
	}
	if as := attempts(t, d, "first"); len(as) != 1 {
		t.Errorf("%d attempts are left in the log, want 1", len(as))
	}
	if r := publish(t, d, Event{}); r.Deliveries != 0 {
		t.Error("it still receives")
	}
	_, err := d.Endpoint(t.Context(), e.ID)
	mustContain(t, err, ErrNotFound)
	mustContain(t, d.Unregister(t.Context(), e.ID), ErrNotFound, "unregister endpoint")
	_, err = d.Body(t.Context(), delivery(t, d, "first").ID)
	mustContain(t, err, ErrNotFound, "its endpoint")
}

func TestEndpointsListsInPages(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	for n := range 7 {
		register(t, d.View, Endpoint{ID: fmt.Sprint(n), Auth: BearerToken("t0ken")})
	}
	for _, id := range []string{"1", "4"} {
		if err := d.Disable(t.Context(), id, ""); err != nil {
			t.Fatal(err)
		}
	}
	yes, no := true, false
	tests := []struct {
		name   string
		filter EndpointFilter
		pages  [][]string
	}{
		{"all", EndpointFilter{}, [][]string{{"0", "1", "2", "3", "4", "5", "6"}}},
		{"in pages", EndpointFilter{Limit: 3}, [][]string{{"0", "1", "2"}, {"3", "4", "5"}, {"6"}}},
		{"disabled", EndpointFilter{Disabled: &yes}, [][]string{{"1", "4"}}},
		{"enabled", EndpointFilter{Disabled: &no, Limit: 4}, [][]string{{"0", "2", "3", "5"}, {"6"}}},
		{"whatever Scope says", EndpointFilter{Scope: Scope{Tenant: "other"}, Limit: 1000}, [][]string{{"0", "1", "2", "3", "4", "5", "6"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var pages [][]string
			total := 0
			for more := true; more; more = test.filter.Cursor != "" {
				page, err := d.Endpoints(t.Context(), test.filter)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range page.Items {
					if e.Secrets != nil || e.Auth.Secret != (Secret{}) {
						t.Error("listed with secrets")
					}
				}
				pages = append(pages, ids(page.Items, endpointID))
				test.filter.Cursor, total = page.Next, page.Total
			}
			if !reflect.DeepEqual(pages, test.pages) {
				t.Errorf("pages are %v, want %v", pages, test.pages)
			}
			if want := len(slices.Concat(test.pages...)); total != want {
				t.Errorf("total is %d, want %d", total, want)
			}
		})
	}
}

func TestListingsRefuseLimitsAndCursorsOfNobody(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	register(t, d.View, Endpoint{ID: "e"})
	listings := map[string]func(limit int, cursor string) error{
		"Endpoints": func(limit int, cursor string) error {
			_, err := d.Endpoints(t.Context(), EndpointFilter{Limit: limit, Cursor: cursor})
			return err
		},
		"Deliveries": func(limit int, cursor string) error {
			_, err := d.Deliveries(t.Context(), DeliveryFilter{Limit: limit, Cursor: cursor})
			return err
		},
		"Replay of failures": func(limit int, cursor string) error {
			_, err := d.Replay(t.Context(), ReplayFilter{Limit: limit, Cursor: cursor})
			return err
		},
		"Replay of what was missed": func(limit int, cursor string) error {
			_, err := d.Replay(t.Context(), ReplayFilter{EndpointID: "e", Missed: true, Limit: limit, Cursor: cursor})
			return err
		},
	}
	for name, list := range listings {
		t.Run(name, func(t *testing.T) {
			mustContain(t, list(-1, ""), ErrInvalid, "Limit")
			mustContain(t, list(1001, ""), ErrInvalid, "Limit")
			mustContain(t, list(0, "x"), ErrInvalid, "cursor")
			if err := errors.Join(list(0, ""), list(1000, "")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDisabledEndpointsReceiveNothingUntilEnabled(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	e := register(t, d.View, Endpoint{})
	publish(t, d, Event{ID: "before"})
	if err := d.Disable(t.Context(), e.ID, "maintenance"); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Endpoint(t.Context(), e.ID); err != nil || !got.Disabled || got.DisabledReason != "maintenance" {
		t.Errorf("it is %+v, %v; want it disabled", got, err)
	}
	if r := publish(t, d, Event{ID: "meanwhile"}); r.Deliveries != 0 {
		t.Error("a disabled endpoint was fanned out to")
	}
	settleDue(t, d, StateDelivered)
	if got := delivery(t, d, "before").State; got != StatePending {
		t.Errorf("what was pending is %s", got)
	}
	updated, err := d.Update(t.Context(), Endpoint{ID: e.ID, URL: receiverURL, Events: []string{"*"}})
	if err != nil || !updated.Disabled || updated.DisabledReason != "maintenance" {
		t.Errorf("updated, it is %+v, %v; want it still disabled", updated, err)
	}

	if err := d.Enable(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Endpoint(t.Context(), e.ID); err != nil || got.Disabled || got.DisabledReason != "" {
		t.Errorf("it is %+v, %v; want it enabled", got, err)
	}
	settleDue(t, d, StateDelivered)
	if got := delivery(t, d, "before").State; got != StateDelivered {
		t.Errorf("what was pending is %s", got)
	}
	if r := publish(t, d, Event{}); r.Deliveries != 1 {
		t.Error("an enabled endpoint was not fanned out to")
	}
	if err := d.Enable(t.Context(), e.ID); err != nil {
		t.Error("enabling what is enabled:", err)
	}
	mustContain(t, d.Disable(t.Context(), e.ID, "\xff"), ErrInvalid, "reason")
	mustContain(t, d.Disable(t.Context(), "none", ""), ErrNotFound, "disable endpoint")
	mustContain(t, d.Enable(t.Context(), "none"), ErrNotFound, "enable endpoint")
}

// An overlap lets the receiver change over while both secrets sign.
func TestRotateSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
		first, second, third := NewSecret(), NewSecret(), NewSigningKey()
		e := register(t, d.View, Endpoint{Secrets: []Secret{first}})
		reveal := func() []Secret {
			t.Helper()
			secrets, err := d.Reveal(t.Context(), e.ID)
			if err != nil {
				t.Fatal(err)
			}
			return secrets
		}
		rotate := func(next Secret, overlap time.Duration) Secret {
			t.Helper()
			next, err := d.RotateSecret(t.Context(), e.ID, next, overlap)
			if err != nil {
				t.Fatal(err)
			}
			return next
		}
		until := func(s Secret, after time.Duration) Secret {
			s.ExpiresAt = time.Now().UTC().Add(after)
			return s
		}

		if got := rotate(second, 24*time.Hour); got != second {
			t.Error("it returns another secret than was given")
		}
		if got, want := reveal(), []Secret{second, until(first, 24*time.Hour)}; !slices.Equal(got, want) {
			t.Error("after a rotation with overlap, the former secret does not expire with it")
		}
		time.Sleep(20 * time.Hour)
		rotate(third, 10*time.Hour)
		if got, want := reveal(), []Secret{third, until(second, 10*time.Hour), until(first, 4*time.Hour)}; !slices.Equal(got, want) {
			t.Error("an overlap makes a secret sign for longer than it was to")
		}
		time.Sleep(5 * time.Hour)
		fourth := rotate(Secret{}, 10*time.Hour)
		if !strings.HasPrefix(fourth.Value, "whsec_") {
			t.Error("no secret was generated")
		}
		if got, want := reveal(), []Secret{fourth, until(third, 10*time.Hour), until(second, 5*time.Hour)}; !slices.Equal(got, want) {
			t.Error("an expired secret was kept, or a valid one lost")
		}
		rotate(first, 0)
		if got := reveal(); !slices.Equal(got, []Secret{first}) {
			t.Error("without overlap, former secrets go on signing")
		}
	})
}

func TestRotateSecretRefuses(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), Config{Profiles: map[string]Profile{
		"header":   {Signer: SecretHeader{Name: "X-Token"}},
		"hmac":     {Signer: HMAC{Header: "X-Signature"}},
		"optional": {Signer: HMAC{Header: "X-Signature", Optional: true}},
		"both":     {Signer: Signers{StandardWebhooks{}, HMAC{Header: "X-Signature"}}},
	}})
	for _, profile := range []string{"header", "hmac", "optional", "both"} {
		e := register(t, d.View, Endpoint{URL: "https://acme.example/", Profile: profile})
		_, err := d.RotateSecret(t.Context(), e.ID, Secret{}, time.Hour)
		mustContain(t, err, ErrNotSupported, "rotate secret of endpoint", "overlap")
		next, err := d.RotateSecret(t.Context(), e.ID, Secret{}, 0)
		if err != nil || next.Value == "" {
			t.Errorf("%s: rotating at once: %v", profile, err)
		}
	}
	e := register(t, d.View, Endpoint{ID: "e", URL: "https://acme.example/"})
	tests := []struct {
		name    string
		id      string
		next    Secret
		overlap time.Duration
		want    error
	}{
		{"a negative overlap", "e", Secret{}, -1, ErrInvalid},
		{"a malformed secret", "e", Secret{Value: "whsec_x"}, 0, ErrInvalid},
		{"a newest secret that expires", "e", Secret{Value: NewSecret().Value, ExpiresAt: time.Now()}, 0, ErrInvalid},
		{"an endpoint that does not exist", "none", Secret{}, 0, ErrNotFound},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			next, err := d.RotateSecret(t.Context(), test.id, test.next, test.overlap)
			mustContain(t, err, test.want, "rotate secret of endpoint")
			if next != (Secret{}) {
				t.Error("returned a secret beside the error")
			}
		})
	}
	if got, err := d.Reveal(t.Context(), "e"); err != nil || !slices.Equal(got, e.Secrets) {
		t.Error("a refused rotation changed the secrets", err)
	}
}

func TestSecretsSignUntilTheirOverlapEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, nil)
		d := newDispatcher(t, NewMemoryStore(), testConfig(r))
		e := register(t, d.View, Endpoint{})
		next, err := d.RotateSecret(t.Context(), e.ID, Secret{}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			after time.Duration
			old   bool
		}{{0, true}, {time.Hour - time.Second, true}, {time.Second, false}} {
			time.Sleep(test.after)
			if _, err := d.SendTest(t.Context(), e.ID, "ping"); err != nil {
				t.Fatal(err)
			}
			requests := r.all()
			q := requests[len(requests)-1]
			verify := func(s Secret) bool {
				return StandardWebhooks{}.Verify(q.Header, q.Body, []Secret{s}, time.Now()) == nil
			}
			if !verify(next) || verify(e.Secrets[0]) != test.old {
				t.Errorf("%v later, the new secret signs: %v, the old one: %v; want true, %v", test.after, verify(next), verify(e.Secrets[0]), test.old)
			}
		}
	})
}

// testSendConfig is testConfig with a catalogue: a type with an example and one
// without.
func testSendConfig(r *receiver) Config {
	c := testConfig(r)
	c.Catalog = []EventType{{Name: "invoice.paid", Example: map[string]int{"amount": 1500}}, {Name: "plain"}}
	return c
}

func TestSendTestSendsTheExample(t *testing.T) {
	r := newReceiver(t, nil)
	d := newDispatcher(t, NewMemoryStore(), testSendConfig(r))
	e := register(t, d.Tenant("acme"), Endpoint{Events: []string{"plain"}})
	for eventType, data := range map[string]string{"invoice.paid": `{"amount":1500}`, "plain": `{"test":true}`} {
		t.Run(eventType, func(t *testing.T) {
			a, err := d.SendTest(t.Context(), e.ID, eventType)
			if err != nil {
				t.Fatal(err)
			}
			if a.StatusCode != 204 || a.Error != "" || a.Number != 1 || a.URL != receiverURL {
				t.Errorf("attempt is %+v", a)
			}
			requests := r.all()
			q := requests[len(requests)-1]
			if want := `"data":` + data + `}`; !strings.HasSuffix(string(q.Body), want) || !strings.HasPrefix(string(q.Body), `{"type":"`+eventType+`",`) {
				t.Errorf("body is %s, want it to end with %s", q.Body, want)
			}
			if err := (StandardWebhooks{}).Verify(q.Header, q.Body, e.Secrets, time.Now()); err != nil {
				t.Error(err)
			}
			got, err := d.Delivery(t.Context(), a.DeliveryID)
			if err != nil || got.Origin != OriginTest || got.State != StateDelivered || got.EventTenant != "acme" || got.Attempts != 1 {
				t.Errorf("delivery is %+v, %v", got, err)
			}
			logged, err := d.Attempts(t.Context(), a.DeliveryID)
			if err != nil || len(logged) != 1 || !reflect.DeepEqual(logged[0], a) {
				t.Errorf("logged is %+v, %v; want the attempt", logged, err)
			}
			if body, err := d.Body(t.Context(), a.DeliveryID); err != nil || string(body) != string(q.Body) {
				t.Errorf("Body is %s, %v; want what was sent", body, err)
			}
		})
	}
}

func TestSendTestSaysWhyItFailed(t *testing.T) {
	for code, want := range map[int]string{http.StatusInternalServerError: "status 500", http.StatusGone: "status 410", http.StatusFound: "status 302"} {
		t.Run(want, func(t *testing.T) {
			r := newReceiver(t, status(code))
			d := newDispatcher(t, NewMemoryStore(), testConfig(r))
			e := register(t, d.View, Endpoint{})
			a, err := d.SendTest(t.Context(), e.ID, "ping")
			if err != nil || a.StatusCode != code || a.Error != want {
				t.Fatalf("attempt is %+v, %v", a, err)
			}
			if got, err := d.Delivery(t.Context(), a.DeliveryID); err != nil || got.State != StateExhausted || got.LastError != want {
				t.Errorf("delivery is %+v, %v; want it not to be retried", got, err)
			}
			if got, err := d.Endpoint(t.Context(), e.ID); err != nil || got.Disabled || !got.FailingSince.IsZero() || !got.NotBefore.IsZero() || got.Rev != 1 {
				t.Errorf("endpoint is %+v, %v; want its health untouched", got, err)
			}
			for _, missed := range []bool{false, true} {
				result, err := d.Replay(t.Context(), ReplayFilter{EndpointID: e.ID, Missed: missed})
				if err != nil || result != (ReplayResult{}) {
					t.Errorf("Replay takes the test: %+v, %v", result, err)
				}
			}
		})
	}
}

func TestSendTestDoesNotHealAnEndpoint(t *testing.T) {
	r := newReceiver(t, nil)
	d := newDispatcher(t, NewMemoryStore(), testConfig(r))
	e := register(t, d.View, Endpoint{})
	publish(t, d, Event{})
	claimed, _, err := d.store.Claim(t.Context(), ClaimRequest{Max: 1, PerEndpoint: 1, Lease: time.Minute})
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	s := Settlement{DeliveryID: claimed[0].Delivery.ID, Lease: claimed[0].Lease, State: StatePending, Delay: time.Hour, Health: HealthFailure, Pause: time.Hour}
	if _, err := d.store.Settle(t.Context(), []Settlement{s}); err != nil {
		t.Fatal(err)
	}
	before, err := d.Endpoint(t.Context(), e.ID)
	if err != nil || before.FailingSince.IsZero() || before.NotBefore.IsZero() {
		t.Fatalf("endpoint is %+v, %v; want it failing", before, err)
	}
	if _, err := d.SendTest(t.Context(), e.ID, "ping"); err != nil {
		t.Fatal(err)
	}
	if after, err := d.Endpoint(t.Context(), e.ID); err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("endpoint is\n%+v, %v; want\n%+v", after, err, before)
	}
}

func TestSendTestReachesDisabledEndpoints(t *testing.T) {
	r := newReceiver(t, nil)
	d := newDispatcher(t, NewMemoryStore(), testConfig(r))
	e := register(t, d.View, Endpoint{Ordered: true})
	if err := d.Disable(t.Context(), e.ID, ""); err != nil {
		t.Fatal(err)
	}
	if a, err := d.SendTest(t.Context(), e.ID, "ping"); err != nil || a.StatusCode != 204 {
		t.Errorf("attempt is %+v, %v", a, err)
	}
}

func TestSendTestRefuses(t *testing.T) {
	r := newReceiver(t, nil)
	store := NewMemoryStore()
	config := testSendConfig(r)
	config.Profiles = map[string]Profile{"legacy": {}}
	d := newDispatcher(t, store, config)
	e := register(t, d.View, Endpoint{Profile: "legacy"})
	_, err := d.SendTest(t.Context(), e.ID, "none")
	mustContain(t, err, ErrUnknownEventType, "send test to endpoint")
	_, err = d.SendTest(t.Context(), "none", "plain")
	mustContain(t, err, ErrNotFound)

	// Another process, of an older version.
	d = newDispatcher(t, store, testConfig(r))
	_, err = d.SendTest(t.Context(), e.ID, "plain")
	mustContain(t, err, ErrInvalid, `no profile "legacy"`)
	_, err = d.RotateSecret(t.Context(), e.ID, Secret{}, 0)
	mustContain(t, err, ErrInvalid, `no profile "legacy"`)
	current := register(t, d.View, Endpoint{})
	_, err = d.SendTest(t.Context(), current.ID, "not a type")
	mustContain(t, err, ErrInvalid, "event type")
	if requests := r.all(); len(requests) > 0 {
		t.Errorf("%d requests were made", len(requests))
	}
}

func TestSendTestIsLoggedThoughItsCallerHasGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
		cancel()
		hang(w, q)
	})
	d := newDispatcher(t, NewMemoryStore(), testConfig(r))
	e := register(t, d.View, Endpoint{})
	a, err := d.SendTest(ctx, e.ID, "ping")
	mustContain(t, err, context.Canceled)
	if logged, err := d.Attempts(t.Context(), a.DeliveryID); err != nil || len(logged) != 1 {
		t.Errorf("%d attempts are logged, %v; want 1", len(logged), err)
	}
	if got, err := d.Delivery(t.Context(), a.DeliveryID); err != nil || got.State != StateExhausted {
		t.Errorf("delivery is %+v, %v; want it to be over", got, err)
	}
}

func TestResendDeliversOnceMoreWhateverBecameOfTheFirst(t *testing.T) {
	for _, state := range []State{StatePending, StateDelivered, StateExhausted} {
		t.Run(string(state), func(t *testing.T) {
			d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
			e := register(t, d.Tenant("acme"), Endpoint{})
			other := register(t, d.Tenant("acme"), Endpoint{Events: []string{"other"}})
			publish(t, d, Event{ID: "m", Tenant: "acme/legal"})
			if state != StatePending {
				settleDue(t, d, state)
			}
			old := delivery(t, d, "m")
			again, err := d.Tenant("acme").Resend(t.Context(), old.ID)
			if err != nil {
				t.Fatal(err)
			}
			if again.ID == old.ID || again.EventID != "m" || again.EndpointID != e.ID || again.State != StatePending ||
				again.Origin != OriginResend || again.Attempts != 0 || again.EventTenant != "acme/legal" || again.Tenant != "acme" {
				t.Errorf("new delivery is %+v", again)
			}
			if got, err := d.Delivery(t.Context(), again.ID); err != nil || got != again {
				t.Errorf("stored is %+v, %v", got, err)
			}
			if got, err := d.Delivery(t.Context(), old.ID); err != nil || got != old {
				t.Errorf("the old one became %+v, %v", got, err)
			}
			if ds := deliveries(t, d, DeliveryFilter{EndpointID: other.ID}); len(ds) != 0 {
				t.Error("another endpoint receives it")
			}
		})
	}
}

func TestResendRefuses(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	e := register(t, d.View, Endpoint{})
	publish(t, d, Event{ID: "m"})
	old := delivery(t, d, "m")
	if err := d.Disable(t.Context(), e.ID, ""); err != nil {
		t.Fatal(err)
	}
	_, err := d.Resend(t.Context(), old.ID)
	mustContain(t, err, ErrConflict, "resend delivery", "disabled")
	if err := d.Unregister(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	_, err = d.Resend(t.Context(), old.ID)
	mustContain(t, err, ErrNotFound, "its endpoint")
	_, err = d.Resend(t.Context(), "none")
	mustContain(t, err, ErrNotFound, `"none"`)
	if ds := deliveries(t, d, DeliveryFilter{}); len(ds) != 1 {
		t.Errorf("%d deliveries, want the first alone", len(ds))
	}
}

// replayAll replays page after page and returns what each call did.
func replayAll(t *testing.T, v *View, f ReplayFilter) (results []ReplayResult) {
	t.Helper()
	for more := true; more; more = f.Cursor != "" {
		r, err := v.Replay(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		f.Cursor, r.Next = r.Next, ""
		results = append(results, r)
	}
	return results
}

func TestReplayOfFailures(t *testing.T) {
	store := NewMemoryStore()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour) }
	hour := 0
	store.SetClock(func() time.Time { return at(hour) })
	d := newDispatcher(t, store, testConfig(nil))
	register(t, d.View, Endpoint{ID: "a", Tenant: "acme"})
	register(t, d.View, Endpoint{ID: "b", Tenant: "acme/legal", Events: []string{"b.*"}})
	register(t, d.View, Endpoint{ID: "x", Tenant: "other"})
	for n, eventType := range []string{"a.1", "b.1", "a.1", "a.2"} {
		hour = n
		publish(t, d, Event{ID: fmt.Sprint("m", n), Type: eventType, Tenant: "acme/legal"})
	}
	publish(t, d, Event{ID: "x", Tenant: "other"})
	settleDue(t, d, StateExhausted)
	publish(t, d, Event{ID: "ok", Tenant: "acme"})
	settleDue(t, d, StateDelivered)
	publish(t, d, Event{ID: "waits", Tenant: "acme"})

	tests := []struct {
		name   string
		view   *View
		filter ReplayFilter
		want   []ReplayResult
	}{
		{"all", d.View, ReplayFilter{}, []ReplayResult{{Matched: 6}}},
		{"of a tenant", d.Tenant("acme"), ReplayFilter{}, []ReplayResult{{Matched: 5}}},
		{"of a tenant within it", d.Tenant("acme/legal"), ReplayFilter{}, []ReplayResult{{Matched: 1}}},
		{"of an endpoint", d.View, ReplayFilter{EndpointID: "a"}, []ReplayResult{{Matched: 4}}},
		{"of a type", d.View, ReplayFilter{EventType: "a.1"}, []ReplayResult{{Matched: 2}}},
		{"from", d.Tenant("acme"), ReplayFilter{From: at(2)}, []ReplayResult{{Matched: 2}}},
		{"to", d.Tenant("acme"), ReplayFilter{To: at(2)}, []ReplayResult{{Matched: 3}}},
		{"in pages", d.Tenant("acme"), ReplayFilter{Limit: 2}, []ReplayResult{{Matched: 2}, {Matched: 2}, {Matched: 1}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := deliveries(t, d, DeliveryFilter{})
			test.filter.DryRun = true
			if got := replayAll(t, test.view, test.filter); !slices.Equal(got, test.want) {
				t.Errorf("a dry run says %+v, want %+v", got, test.want)
			}
			if after := deliveries(t, d, DeliveryFilter{}); !slices.Equal(after, before) {
				t.Error("a dry run changed something")
			}
		})
	}

	before := deliveries(t, d, DeliveryFilter{})
	want := []ReplayResult{{Matched: 2, Created: 2}, {Matched: 2, Created: 2}, {Matched: 1, Created: 1}}
	if got := replayAll(t, d.Tenant("acme"), ReplayFilter{Limit: 2}); !slices.Equal(got, want) {
		t.Errorf("a replay does %+v, want %+v", got, want)
	}
	created := deliveries(t, d, DeliveryFilter{})[:5]
	for _, c := range created {
		if c.Origin != OriginReplay || c.State != StatePending || c.Tenant == "other" {
			t.Errorf("created %+v", c)
		}
	}
	if after := deliveries(t, d, DeliveryFilter{})[5:]; !slices.Equal(after, before) {
		t.Error("a replay changed what was there")
	}
	for range 2 {
		if got := replayAll(t, d.Tenant("acme"), ReplayFilter{}); !slices.Equal(got, []ReplayResult{{}}) {
			t.Errorf("repeated, it does %+v, want nothing", got)
		}
		settleDue(t, d, StateDelivered)
	}
}

func TestReplayKeepsTheOrderOfPublish(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	register(t, d.View, Endpoint{})
	for _, id := range []string{"1", "2", "3"} {
		publish(t, d, Event{ID: id})
	}
	settleDue(t, d, StateExhausted)
	if _, err := d.Replay(t.Context(), ReplayFilter{}); err != nil {
		t.Fatal(err)
	}
	created := ids(deliveries(t, d, DeliveryFilter{States: []State{StatePending}}), deliveryEvent)
	if want := []string{"3", "2", "1"}; !slices.Equal(created, want) {
		t.Errorf("newest first, it created %v, want %v", created, want)
	}
}

func TestReplayDeliversOnceWhatFailedTwice(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	register(t, d.View, Endpoint{})
	publish(t, d, Event{ID: "m"})
	settleDue(t, d, StateExhausted)
	if _, err := d.Resend(t.Context(), delivery(t, d, "m").ID); err != nil {
		t.Fatal(err)
	}
	settleDue(t, d, StateExhausted)
	want := []ReplayResult{{Matched: 1, Created: 1}}
	if got := replayAll(t, d.View, ReplayFilter{}); !slices.Equal(got, want) {
		t.Errorf("it does %+v, want %+v", got, want)
	}
}

func TestReplayPassesOverEndpointsThatCannotReceive(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	for _, id := range []string{"enabled", "disabled", "gone"} {
		register(t, d.View, Endpoint{ID: id})
	}
	publish(t, d, Event{ID: "m"})
	settleDue(t, d, StateExhausted)
	if err := errors.Join(d.Disable(t.Context(), "disabled", ""), d.Unregister(t.Context(), "gone")); err != nil {
		t.Fatal(err)
	}
	for _, missed := range []bool{false, true} {
		_, err := d.Replay(t.Context(), ReplayFilter{EndpointID: "disabled", Missed: missed})
		mustContain(t, err, ErrConflict, "replay: ", "disabled")
		_, err = d.Replay(t.Context(), ReplayFilter{EndpointID: "gone", Missed: missed})
		mustContain(t, err, ErrNotFound, "replay: ")
		if r, err := d.Replay(t.Context(), ReplayFilter{EndpointID: "disabled", Missed: missed, DryRun: true}); err != nil || r.Matched != 1 {
			t.Errorf("a dry run says %+v, %v; want 1", r, err)
		}
	}
	want := []ReplayResult{{Matched: 1, Created: 1}}
	if got := replayAll(t, d.View, ReplayFilter{}); !slices.Equal(got, want) {
		t.Errorf("it does %+v, want %+v", got, want)
	}
	_, err := d.Replay(t.Context(), ReplayFilter{Missed: true})
	if err == nil {
		t.Error("what was missed is replayed without an endpoint")
	}
}

func TestReplayOfWhatAnEndpointMissed(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	publish(t, d, Event{ID: "early", Type: "a.1", Tenant: "acme"})
	e := register(t, d.View, Endpoint{ID: "e", Tenant: "acme", Events: []string{"a.*"}})
	publish(t, d, Event{ID: "delivered", Type: "a.1", Tenant: "acme"})
	settleDue(t, d, StateDelivered)
	publish(t, d, Event{ID: "failed", Type: "a.2", Tenant: "acme"})
	settleDue(t, d, StateExhausted)
	publish(t, d, Event{ID: "pending", Type: "a.1", Tenant: "acme"})
	if err := d.Disable(t.Context(), e.ID, ""); err != nil {
		t.Fatal(err)
	}
	publish(t, d, Event{ID: "missed", Type: "a.1", Tenant: "acme"})
	publish(t, d, Event{ID: "missed-within", Type: "a.1", Tenant: "acme/legal"})
	publish(t, d, Event{ID: "not-subscribed", Type: "b.1", Tenant: "acme"})
	publish(t, d, Event{ID: "not-theirs", Type: "a.1", Tenant: "acme2"})
	publish(t, d, Event{ID: "nobodys", Type: "a.1"})
	if err := d.Enable(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}

	dry := ReplayFilter{EndpointID: "e", Missed: true, DryRun: true}
	if got := replayAll(t, d.View, dry); !slices.Equal(got, []ReplayResult{{Matched: 4}}) {
		t.Errorf("a dry run says %+v, want 4", got)
	}
	dry.EventType = "a.2"
	if got := replayAll(t, d.View, dry); !slices.Equal(got, []ReplayResult{{Matched: 1}}) {
		t.Errorf("a dry run of one type says %+v, want 1", got)
	}
	total := 0
	for _, r := range replayAll(t, d.Tenant("acme"), ReplayFilter{EndpointID: "e", Missed: true, Limit: 2}) {
		if r.Matched != r.Created {
			t.Errorf("%+v created less than it matched", r)
		}
		total += r.Created
	}
	created := deliveries(t, d, DeliveryFilter{States: []State{StatePending}, EndpointID: "e"})
	if got, want := ids(created, deliveryEvent), []string{"missed-within", "missed", "failed", "early", "pending"}; total != 4 || !slices.Equal(got, want) {
		t.Errorf("%d created; pending are %v, want %v", total, got, want)
	}
	if got := replayAll(t, d.View, ReplayFilter{EndpointID: "e", Missed: true}); !slices.Equal(got, []ReplayResult{{}}) {
		t.Errorf("repeated, it does %+v, want nothing", got)
	}
}

func TestReplayForAllTenantsMissesNobody(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	for _, tenant := range []string{"", "acme", "acme/legal"} {
		publish(t, d, Event{Tenant: tenant})
	}
	register(t, d.View, Endpoint{ID: "all", AllTenants: true})
	register(t, d.View, Endpoint{ID: "none"})
	for id, want := range map[string]int{"all": 3, "none": 1} {
		if r, err := d.Replay(t.Context(), ReplayFilter{EndpointID: id, Missed: true}); err != nil || r.Created != want {
			t.Errorf("%s: %+v, %v; want %d", id, r, err, want)
		}
	}
}

func TestDeliveriesFilters(t *testing.T) {
	store := NewMemoryStore()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	store.SetClock(func() time.Time { return now })
	d := newDispatcher(t, store, testConfig(nil))
	register(t, d.View, Endpoint{ID: "a", Events: []string{"a"}})
	register(t, d.View, Endpoint{ID: "b"})
	for n, state := range []State{StateDelivered, StateExhausted, StatePending} {
		now = start.Add(time.Duration(n) * time.Hour)
		publish(t, d, Event{ID: fmt.Sprint("m", n), Type: string(rune('a' + n))})
		if state != StatePending {
			settleDue(t, d, state)
		}
	}
	publish(t, d, Event{ID: "m3", Type: "a"})

	tests := []struct {
		name   string
		filter DeliveryFilter
		pages  [][]string
	}{
		{"all", DeliveryFilter{}, [][]string{{"m3", "m3", "m2", "m1", "m0", "m0"}}},
		{"in pages", DeliveryFilter{Limit: 4}, [][]string{{"m3", "m3", "m2", "m1"}, {"m0", "m0"}}},
		{"in full pages", DeliveryFilter{Limit: 3}, [][]string{{"m3", "m3", "m2"}, {"m1", "m0", "m0"}}},
		{"of an endpoint", DeliveryFilter{EndpointID: "a"}, [][]string{{"m3", "m0"}}},
		{"of an event", DeliveryFilter{EventID: "m0"}, [][]string{{"m0", "m0"}}},
		{"of a type", DeliveryFilter{EventType: "b"}, [][]string{{"m1"}}},
		{"of no pattern", DeliveryFilter{EventType: "*"}, [][]string{{}}},
		{"in a state", DeliveryFilter{States: []State{StateExhausted}}, [][]string{{"m1"}}},
		{"in one of two states", DeliveryFilter{States: []State{StateExhausted, StateDelivered}}, [][]string{{"m1", "m0", "m0"}}},
		{"from, inclusive", DeliveryFilter{From: start.Add(time.Hour)}, [][]string{{"m3", "m3", "m2", "m1"}}},
		{"to, exclusive", DeliveryFilter{To: start.Add(time.Hour)}, [][]string{{"m0", "m0"}}},
		{"all at once", DeliveryFilter{EndpointID: "b", EventID: "m1", EventType: "b", States: []State{StateExhausted}, From: start, To: start.Add(2 * time.Hour)}, [][]string{{"m1"}}},
		{"whatever Scope says", DeliveryFilter{Scope: Scope{Tenant: "other"}, EventID: "m1"}, [][]string{{"m1"}}},
		{"of nobody", DeliveryFilter{EndpointID: "c"}, [][]string{{}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var pages [][]string
			for more := true; more; more = test.filter.Cursor != "" {
				page, err := d.Deliveries(t.Context(), test.filter)
				if err != nil {
					t.Fatal(err)
				}
				pages = append(pages, ids(page.Items, deliveryEvent))
				test.filter.Cursor = page.Next
			}
			if !reflect.DeepEqual(pages, test.pages) {
				t.Errorf("pages are %v, want %v", pages, test.pages)
			}
		})
	}
}

func TestCursorsStayValidWhileDeliveriesAreAdded(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	register(t, d.View, Endpoint{})
	for n := range 4 {
		publish(t, d, Event{ID: fmt.Sprint("m", n)})
	}
	first, err := d.Deliveries(t.Context(), DeliveryFilter{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, d, Event{ID: "late"})
	second, err := d.Deliveries(t.Context(), DeliveryFilter{Limit: 2, Cursor: first.Next})
	if got := ids(append(first.Items, second.Items...), deliveryEvent); err != nil || !slices.Equal(got, []string{"m3", "m2", "m1", "m0"}) {
		t.Errorf("pages are %v, %v", got, err)
	}
}

func TestAttemptsAndBodyShowWhatWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, status(503, 200))
		d := newDispatcher(t, NewMemoryStore(), testConfig(r))
		register(t, d.Tenant("acme"), Endpoint{Auth: BearerToken("t0ken")})
		stop := start(t, d)
		publish(t, d, Event{ID: "m", Tenant: "acme", Data: json.RawMessage(`{"a": 1.00}`)})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		stop()
		got, err := d.Tenant("acme").Attempts(t.Context(), delivery(t, d, "m").ID)
		if err != nil || len(got) != 2 {
			t.Fatal(got, err)
		}
		if got[0].Number != 1 || got[0].StatusCode != 503 || got[1].Number != 2 || got[1].StatusCode != 200 || got[1].Error != "" {
			t.Errorf("attempts are %+v", got)
		}
		if auth := got[1].RequestHeaders.Get("Authorization"); auth != "[redacted]" {
			t.Errorf("Authorization is logged as %q", auth)
		}
		body, err := d.Tenant("acme").Body(t.Context(), got[0].DeliveryID)
		if sent := r.all()[1].Body; err != nil || string(body) != string(sent) || !strings.Contains(string(body), `{"a": 1.00}`) {
			t.Errorf("Body is %s, %v; want what was sent, %s", body, err, sent)
		}
	})
}

func TestBodySaysWhyItCannotBeBuilt(t *testing.T) {
	store := NewMemoryStore()
	config := testConfig(nil)
	config.Profiles = map[string]Profile{
		"failing":   {Envelope: func(Event) ([]byte, error) { return nil, errors.New("no body") }},
		"panicking": {Envelope: func(Event) ([]byte, error) { panic("no body") }},
	}
	d := newDispatcher(t, store, config)
	for profile, want := range map[string]string{"failing": "envelope: no body", "panicking": "envelope panicked: no body"} {
		e := register(t, d.View, Endpoint{Profile: profile, Events: []string{profile}})
		publish(t, d, Event{ID: profile, Type: profile})
		_, err := d.Body(t.Context(), delivery(t, d, profile).ID)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error is %v, want %q", profile, err, want)
		}
		_, err = newDispatcher(t, store, testConfig(nil)).Body(t.Context(), delivery(t, d, profile).ID)
		mustContain(t, err, ErrInvalid, "no profile")
		if err := d.Unregister(t.Context(), e.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// viewCall is a method of View that takes an ID: of an endpoint, or of a
// delivery.
type viewCall struct {
	name     string
	delivery bool
	call     func(ctx context.Context, v *View, id string) error
}

func viewCalls() []viewCall {
	return []viewCall{
		{"Update", false, func(ctx context.Context, v *View, id string) error {
			_, err := v.Update(ctx, Endpoint{ID: id, URL: receiverURL, Events: []string{"*"}})
			return err
		}},
		{"Update of a Rev", false, func(ctx context.Context, v *View, id string) error {
			_, err := v.Update(ctx, Endpoint{ID: id, Rev: 99})
			return err
		}},
		{"Unregister", false, func(ctx context.Context, v *View, id string) error { return v.Unregister(ctx, id) }},
		{"Endpoint", false, func(ctx context.Context, v *View, id string) error {
			_, err := v.Endpoint(ctx, id)
			return err
		}},
		{"Enable", false, func(ctx context.Context, v *View, id string) error { return v.Enable(ctx, id) }},
		{"Disable", false, func(ctx context.Context, v *View, id string) error { return v.Disable(ctx, id, "mine") }},
		{"Reveal", false, func(ctx context.Context, v *View, id string) error {
			secrets, err := v.Reveal(ctx, id)
			if len(secrets) > 0 && err != nil {
				return errors.New("secrets beside an error")
			}
			return err
		}},
		{"RotateSecret", false, func(ctx context.Context, v *View, id string) error {
			_, err := v.RotateSecret(ctx, id, Secret{}, time.Hour)
			return err
		}},
		{"SendTest", false, func(ctx context.Context, v *View, id string) error {
			_, err := v.SendTest(ctx, id, "test")
			return err
		}},
		{"Replay of failures", false, func(ctx context.Context, v *View, id string) error {
			_, err := v.Replay(ctx, ReplayFilter{EndpointID: id})
			return err
		}},
		{"Replay of what was missed", false, func(ctx context.Context, v *View, id string) error {
			_, err := v.Replay(ctx, ReplayFilter{EndpointID: id, Missed: true, DryRun: true})
			return err
		}},
		{"Resend", true, func(ctx context.Context, v *View, id string) error {
			_, err := v.Resend(ctx, id)
			return err
		}},
		{"Delivery", true, func(ctx context.Context, v *View, id string) error {
			_, err := v.Delivery(ctx, id)
			return err
		}},
		{"Attempts", true, func(ctx context.Context, v *View, id string) error {
			_, err := v.Attempts(ctx, id)
			return err
		}},
		{"Body", true, func(ctx context.Context, v *View, id string) error {
			_, err := v.Body(ctx, id)
			return err
		}},
	}
}

// The tenants of the tests of scopes: who looks, and what is there.
var lookers = []string{"", "acme", "acme2", "acme_x", "acme/legal", "acme/legal/eu", "acm", "ACME", "other"}

func TestWhatLiesOutsideTheScopeDoesNotExist(t *testing.T) {
	r := newReceiver(t, nil)
	seen := &notices{}
	config := testConfig(r)
	config.Observer = seen
	d := newDispatcher(t, NewMemoryStore(), config)
	for _, owner := range lookers {
		e := register(t, d.View, Endpoint{Tenant: owner})
		event := publish(t, d, Event{Tenant: owner})
		settleDue(t, d, StateExhausted)
		of := deliveries(t, d, DeliveryFilter{EndpointID: e.ID})[0]
		if of.EventID != event.EventID {
			t.Fatal("not the delivery that was asked for")
		}
		before := snapshot(t, d)
		told := len(seen.all())
		for _, looker := range lookers {
			if (Scope{Tenant: looker}).Contains(owner) {
				continue
			}
			for _, c := range viewCalls() {
				id := e.ID
				if c.delivery {
					id = of.ID
				}
				foreign := c.call(t.Context(), d.Tenant(looker), id)
				absent := c.call(t.Context(), d.Tenant(looker), "absent")
				if !errors.Is(foreign, ErrNotFound) || !errors.Is(absent, ErrNotFound) {
					t.Errorf("%s of %q by %q: %v; of none: %v; want ErrNotFound", c.name, owner, looker, foreign, absent)
				} else if want := strings.ReplaceAll(absent.Error(), "absent", id); foreign.Error() != want {
					t.Errorf("%s of %q by %q says %q, of none %q", c.name, owner, looker, foreign, want)
				}
			}
		}
		if !reflect.DeepEqual(snapshot(t, d), before) || len(r.all()) > 0 {
			t.Errorf("the calls of others changed something of %q", owner)
		}
		if n := len(seen.all()); n != told {
			t.Errorf("the calls of others told of %v", seen.all()[told:])
		}
	}
}

// snapshot returns all endpoints and deliveries.
func snapshot(t *testing.T, d *Dispatcher) any {
	t.Helper()
	page, err := d.Endpoints(t.Context(), EndpointFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return []any{page, deliveries(t, d, DeliveryFilter{Limit: 1000})}
}

func TestWhatLiesWithinTheScopeIsThere(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(newReceiver(t, nil)))
	e := register(t, d.View, Endpoint{Tenant: "acme/legal"})
	publish(t, d, Event{ID: "m", Tenant: "acme/legal"})
	calls := viewCalls()
	slices.SortStableFunc(calls, func(a, b viewCall) int { // what removes it comes last
		return strings.Compare(fmt.Sprint(a.name == "Unregister"), fmt.Sprint(b.name == "Unregister"))
	})
	of := delivery(t, d, "m")
	for _, c := range calls {
		id := e.ID
		if c.delivery {
			id = of.ID
		}
		err := c.call(t.Context(), d.Tenant("acme"), id)
		if c.name == "Disable" {
			err = errors.Join(err, d.Enable(t.Context(), id))
		}
		if c.name == "Update of a Rev" && errors.Is(err, ErrConflict) {
			err = nil
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestListingsShowWhatLiesWithinTheScopeAlone(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	for _, owner := range lookers {
		register(t, d.View, Endpoint{Tenant: owner})
	}
	for _, owner := range lookers {
		publish(t, d, Event{Tenant: owner})
	}
	settleDue(t, d, StateExhausted)
	// An event is delivered to the endpoints of the tenants that it is within.
	tests := map[string]struct{ endpoints, deliveries int }{
		"":              {1, 1},
		"acme":          {3, 3 + 2 + 1},
		"acme2":         {1, 1},
		"acme_x":        {1, 1},
		"acme/legal":    {2, 2 + 1},
		"acme/legal/eu": {1, 1},
		"acm":           {1, 1},
		"ACME":          {1, 1},
		"other":         {1, 1},
		"nobody":        {0, 0},
	}
	for _, looker := range append(slices.Clone(lookers), "nobody") {
		want, scope := tests[looker], Scope{Tenant: looker}
		v := d.Tenant(looker)
		// The caller's Scope must not widen the view's.
		endpoints, err := v.Endpoints(t.Context(), EndpointFilter{Scope: Scope{All: true}})
		if err != nil || endpoints.Total != want.endpoints || len(endpoints.Items) != want.endpoints {
			t.Errorf("%q lists %d endpoints of %d, %v; want %d", looker, len(endpoints.Items), endpoints.Total, err, want.endpoints)
		}
		for _, e := range endpoints.Items {
			if !scope.Contains(e.Tenant) {
				t.Errorf("%q sees an endpoint of %q", looker, e.Tenant)
			}
		}
		page, err := v.Deliveries(t.Context(), DeliveryFilter{Scope: Scope{All: true}})
		if err != nil || len(page.Items) != want.deliveries {
			t.Errorf("%q lists %d deliveries, %v; want %d", looker, len(page.Items), err, want.deliveries)
		}
		for _, of := range page.Items {
			if !scope.Contains(of.Tenant) {
				t.Errorf("%q sees a delivery of %q", looker, of.Tenant)
			}
		}
		if r, err := v.Replay(t.Context(), ReplayFilter{DryRun: true}); err != nil || r.Matched != want.deliveries {
			t.Errorf("%q counts %d failures, %v; want %d", looker, r.Matched, err, want.deliveries)
		}
	}
	theirs, err := d.Tenant("acme/legal").Endpoints(t.Context(), EndpointFilter{})
	if err != nil {
		t.Fatal(err)
	}
	page, err := d.Tenant("other").Deliveries(t.Context(), DeliveryFilter{EndpointID: theirs.Items[0].ID})
	if err != nil || len(page.Items) != 0 {
		t.Errorf("by another's endpoint ID, %d deliveries are listed, %v", len(page.Items), err)
	}
}

func TestMalformedTenantsAreInvalidEverywhere(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	e := register(t, d.View, Endpoint{})
	publish(t, d, Event{ID: "m"})
	calls := append(viewCalls(),
		viewCall{name: "Register", call: func(ctx context.Context, v *View, _ string) error {
			_, err := v.Register(ctx, Endpoint{URL: receiverURL})
			return err
		}},
		viewCall{name: "Endpoints", call: func(ctx context.Context, v *View, _ string) error {
			_, err := v.Endpoints(ctx, EndpointFilter{})
			return err
		}},
		viewCall{name: "Deliveries", call: func(ctx context.Context, v *View, _ string) error {
			_, err := v.Deliveries(ctx, DeliveryFilter{})
			return err
		}},
		viewCall{name: "Replay", call: func(ctx context.Context, v *View, _ string) error {
			_, err := v.Replay(ctx, ReplayFilter{})
			return err
		}},
	)
	for _, path := range []string{"*", ".", "..", "acme/", "/acme", "/", "acme%", "a//b", "acme/../other", "acme legal", "acme\x00", "ä", strings.Repeat("a", 257)} {
		v := d.Tenant(path)
		for _, c := range calls {
			id := e.ID
			if c.delivery {
				id = delivery(t, d, "m").ID
			}
			if err := c.call(t.Context(), v, id); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "tenant") {
				t.Errorf("%s by %q: %v; want ErrInvalid", c.name, path, err)
			}
		}
	}
}

func TestEventTypesAreTheCatalogue(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testSendConfig(nil))
	if got := ids(d.Tenant("acme").EventTypes(), func(e EventType) string { return e.Name }); !slices.Equal(got, []string{"invoice.paid", "plain"}) {
		t.Errorf("types are %v", got)
	}
}

func TestScopeContains(t *testing.T) {
	tests := []struct {
		scope  Scope
		tenant string
		want   bool
	}{
		{Scope{}, "", true},
		{Scope{}, "acme", false},
		{Scope{}, "/", false},
		{Scope{All: true}, "", true},
		{Scope{All: true}, "acme/legal", true},
		{Scope{All: true, Tenant: "acme"}, "other", true},
		{Scope{Tenant: "acme"}, "acme", true},
		{Scope{Tenant: "acme"}, "acme/legal", true},
		{Scope{Tenant: "acme"}, "acme/legal/eu", true},
		{Scope{Tenant: "acme"}, "", false},
		{Scope{Tenant: "acme"}, "acm", false},
		{Scope{Tenant: "acme"}, "acme2", false},
		{Scope{Tenant: "acme"}, "acme_x", false},
		{Scope{Tenant: "acme"}, "acme.x", false},
		{Scope{Tenant: "acme"}, "acme-x", false},
		{Scope{Tenant: "acme"}, "ACME", false},
		{Scope{Tenant: "acme"}, "ACME/legal", false},
		{Scope{Tenant: "acme"}, "x/acme", false},
		{Scope{Tenant: "acme_"}, "acmex", false},
		{Scope{Tenant: "acme/legal"}, "acme", false},
		{Scope{Tenant: "acme/legal"}, "acme/legal", true},
		{Scope{Tenant: "acme/legal"}, "acme/legal2", false},
		{Scope{Tenant: "acme/legal"}, "acme/legal/eu", true},
	}
	for _, test := range tests {
		if got := test.scope.Contains(test.tenant); got != test.want {
			t.Errorf("%+v contains %q: %v, want %v", test.scope, test.tenant, got, test.want)
		}
	}
}

func TestManagementCallsAreToldWithTheirActor(t *testing.T) {
	r := newReceiver(t, nil)
	seen := &notices{}
	config := testConfig(r)
	config.Observer = seen
	d := newDispatcher(t, NewMemoryStore(), config)
	v, ctx := d.Tenant("acme"), WithActor(t.Context(), "ada")
	e, err := v.Register(ctx, Endpoint{URL: receiverURL})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, d, Event{ID: "m", Tenant: "acme"})
	settleDue(t, d, StateExhausted)
	old := delivery(t, d, "m")
	tell := func(what string, want Notice, call func() error) {
		t.Helper()
		told := len(seen.all())
		if err := call(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		got := seen.all()[told:]
		switch got := got[len(got)-1].(type) {
		case TestSent:
			if got.Actor != "ada" || got.Delivery.EndpointID != e.ID || got.Delivery.Tenant != "acme" || got.Delivery.Origin != OriginTest {
				t.Errorf("%s told of %+v", what, got)
			}
		case DeliveryResent:
			if got.Actor != "ada" || got.DeliveryID != old.ID || got.Delivery.EventID != "m" || got.Delivery.Origin != OriginResend || got.Delivery.ID == old.ID {
				t.Errorf("%s told of %+v", what, got)
			}
		default:
			if got != want {
				t.Errorf("%s told of %#v, want %#v", what, got, want)
			}
		}
		if want != nil && len(got) != 1 {
			t.Errorf("%s told of %#v, want one notice", what, got)
		}
	}
	if got := seen.all()[0]; got != (EndpointRegistered{e.ID, "acme", "ada"}) {
		t.Errorf("Register told of %#v", got)
	}
	tell("Update", EndpointUpdated{e.ID, "acme", "ada"}, func() error {
		_, err := v.Update(ctx, Endpoint{ID: e.ID, URL: receiverURL, Events: []string{"*"}})
		return err
	})
	tell("Disable", EndpointDisabled{EndpointID: e.ID, Tenant: "acme", Actor: "ada", Reason: "broken"}, func() error { return v.Disable(ctx, e.ID, "broken") })
	tell("Enable", EndpointEnabled{e.ID, "acme", "ada"}, func() error { return v.Enable(ctx, e.ID) })
	tell("Reveal", SecretsRevealed{e.ID, "acme", "ada"}, func() error {
		_, err := v.Reveal(ctx, e.ID)
		return err
	})
	tell("RotateSecret", SecretRotated{e.ID, "acme", "ada", time.Hour}, func() error {
		_, err := v.RotateSecret(ctx, e.ID, Secret{}, time.Hour)
		return err
	})
	tell("Replay", DeliveriesReplayed{e.ID, "acme", "ada", 1}, func() error {
		_, err := v.Replay(ctx, ReplayFilter{EndpointID: e.ID})
		return err
	})
	tell("Resend", nil, func() error {
		_, err := v.Resend(ctx, old.ID)
		return err
	})
	tell("SendTest", nil, func() error {
		_, err := v.SendTest(ctx, e.ID, "ping")
		return err
	})
	tell("Unregister", EndpointUnregistered{e.ID, "acme", "ada"}, func() error { return v.Unregister(ctx, e.ID) })

	told := len(seen.all())
	if _, err := v.Replay(ctx, ReplayFilter{DryRun: true}); err != nil {
		t.Fatal(err)
	}
	_, err = v.Register(ctx, Endpoint{})
	mustContain(t, err, ErrInvalid)
	if got := seen.all()[told:]; len(got) != 0 {
		t.Errorf("a dry run and a refused call told of %#v", got)
	}
}

func TestNoSecretReachesAnErrorANoticeOrARecord(t *testing.T) {
	r := newReceiver(t, status(500))
	seen := &notices{}
	logger, logs := observedLog()
	config := testConfig(r)
	config.Observer, config.Logger = seen, logger
	config.Profiles = map[string]Profile{"header": {Signer: SecretHeader{Name: "X-Token"}}, "hmac": {Signer: HMAC{Header: "X-Signature"}}}
	d := newDispatcher(t, NewMemoryStore(), config)
	const canary = "c4n4ry"
	bad := canary + " \n"
	var texts []string
	say := func(v any, err error) {
		texts = append(texts, fmt.Sprintf("%v %+v %#v", err, v, v))
		encoded, _ := json.Marshal(v)
		texts = append(texts, string(encoded))
	}
	for _, e := range []Endpoint{
		{Secrets: []Secret{{Value: bad}}},
		{Secrets: []Secret{{Value: "whsec_" + canary}}},
		{Secrets: []Secret{{Value: "whsk_" + canary}}},
		{Profile: "header", Secrets: []Secret{{Value: bad}}},
		{Auth: BearerToken(bad)},
		{Auth: BasicAuth("user", bad)},
		{Auth: APIKey("X-Key", bad)},
		{Auth: Auth{Secret: Secret{Value: bad}}},
		{URL: "https://user:" + canary + "@acme.example/"},
		{URL: "https://user:" + canary + "@acme.example:x/"},
		{Headers: map[string]string{"X-A": bad}},
	} {
		if e.URL == "" {
			e.URL = receiverURL
		}
		_, err := d.Register(t.Context(), e)
		mustContain(t, err, ErrInvalid)
		say(nil, err)
	}
	for _, e := range []Endpoint{
		{Profile: "header", Secrets: []Secret{{Value: canary}}, Auth: BasicAuth("user", canary)},
		{Profile: "hmac", Secrets: []Secret{{Value: canary}}, Auth: APIKey("X-Key", canary)},
		{Auth: BearerToken(canary)},
	} {
		e = register(t, d.View, e)
		say(e, nil)
		say(d.SendTest(t.Context(), e.ID, "ping"))
		say(d.Reveal(t.Context(), e.ID))
		say(d.RotateSecret(t.Context(), e.ID, Secret{Value: bad}, 0))
		say(d.Endpoint(t.Context(), e.ID))
		say(d.Update(t.Context(), Endpoint{ID: e.ID, URL: receiverURL, Events: []string{"*"}, Secrets: []Secret{{}, {Value: canary}}}))
	}
	for _, of := range deliveries(t, d, DeliveryFilter{}) {
		say(d.Attempts(t.Context(), of.ID))
	}
	for _, n := range seen.all() {
		say(n, nil)
	}
	for _, entry := range logs.All() {
		say(entry.ContextMap(), errors.New(entry.Message))
	}
	for _, text := range texts {
		if strings.Contains(text, canary) {
			t.Errorf("a secret is in %s", text)
		}
	}
	if len(r.all()) != 3 {
		t.Errorf("%d test requests were made, want 3", len(r.all()))
	}
}

// failingStore fails in the methods that it names.
type failingStore struct {
	Store
	fails map[string]error
}

func (s failingStore) PutEndpoint(ctx context.Context, r EndpointRecord) (EndpointRecord, error) {
	if err := s.fails["PutEndpoint"]; err != nil {
		return EndpointRecord{}, err
	}
	return s.Store.PutEndpoint(ctx, r)
}

func (s failingStore) DeleteEndpoint(ctx context.Context, id string) error {
	if err := s.fails["DeleteEndpoint"]; err != nil {
		return err
	}
	return s.Store.DeleteEndpoint(ctx, id)
}

func (s failingStore) GetEndpoint(ctx context.Context, id string) (EndpointRecord, error) {
	if err := s.fails["GetEndpoint"]; err != nil {
		return EndpointRecord{}, err
	}
	return s.Store.GetEndpoint(ctx, id)
}

func (s failingStore) ListEndpoints(ctx context.Context, f EndpointFilter) (Page[EndpointRecord], error) {
	if err := s.fails["ListEndpoints"]; err != nil {
		return Page[EndpointRecord]{}, err
	}
	return s.Store.ListEndpoints(ctx, f)
}

func (s failingStore) Enqueue(ctx context.Context, ps []Publication) ([]Enqueued, error) {
	if err := s.fails["Enqueue"]; err != nil {
		return nil, err
	}
	return s.Store.Enqueue(ctx, ps)
}

func (s failingStore) Settle(ctx context.Context, ss []Settlement) ([]string, error) {
	if err := s.fails["Settle"]; err != nil {
		return nil, err
	}
	return s.Store.Settle(ctx, ss)
}

func (s failingStore) GetDelivery(ctx context.Context, id string) (Delivery, error) {
	if err := s.fails["GetDelivery"]; err != nil {
		return Delivery{}, err
	}
	return s.Store.GetDelivery(ctx, id)
}

func (s failingStore) GetEvent(ctx context.Context, id string) (EventRecord, error) {
	if err := s.fails["GetEvent"]; err != nil {
		return EventRecord{}, err
	}
	return s.Store.GetEvent(ctx, id)
}

func (s failingStore) ListDeliveries(ctx context.Context, f DeliveryFilter) (Page[Delivery], error) {
	if err := s.fails["ListDeliveries"]; err != nil {
		return Page[Delivery]{}, err
	}
	return s.Store.ListDeliveries(ctx, f)
}

func (s failingStore) ListAttempts(ctx context.Context, id string) ([]Attempt, error) {
	if err := s.fails["ListAttempts"]; err != nil {
		return nil, err
	}
	return s.Store.ListAttempts(ctx, id)
}

func (s failingStore) ListEvents(ctx context.Context, f EventFilter) (Page[EventRecord], error) {
	if err := s.fails["ListEvents"]; err != nil {
		return Page[EventRecord]{}, err
	}
	return s.Store.ListEvents(ctx, f)
}

func TestTheStoresFailuresArePassedOn(t *testing.T) {
	errDown := errors.New("the database is down")
	tests := map[string][]string{
		"PutEndpoint":    {"Register", "Update", "Enable", "Disable", "RotateSecret"},
		"DeleteEndpoint": {"Unregister"},
		"GetEndpoint": {"Update", "Update of a Rev", "Unregister", "Endpoint", "Enable", "Disable", "Reveal", "RotateSecret", "SendTest",
			"Replay of failures", "Replay of what was missed", "Resend", "Body"},
		"ListEndpoints":  {"Endpoints"},
		"Enqueue":        {"SendTest", "Replay of failures", "Resend"},
		"Settle":         {"SendTest"},
		"GetDelivery":    {"Resend", "Delivery", "Attempts", "Body"},
		"GetEvent":       {"Resend", "Body", "Replay of failures"},
		"ListDeliveries": {"Replay of failures", "Replay of what was missed", "Deliveries"},
		"ListAttempts":   {"Attempts"},
		"ListEvents":     {"Replay of what was missed"},
	}
	calls := make(map[string]viewCall)
	for _, c := range viewCalls() {
		calls[c.name] = c
	}
	calls["Register"] = viewCall{call: func(ctx context.Context, v *View, _ string) error {
		_, err := v.Register(ctx, Endpoint{URL: receiverURL})
		return err
	}}
	calls["Endpoints"] = viewCall{call: func(ctx context.Context, v *View, _ string) error {
		_, err := v.Endpoints(ctx, EndpointFilter{})
		return err
	}}
	calls["Deliveries"] = viewCall{call: func(ctx context.Context, v *View, _ string) error {
		_, err := v.Deliveries(ctx, DeliveryFilter{})
		return err
	}}
	for _, method := range slices.Sorted(maps.Keys(tests)) {
		for _, name := range tests[method] {
			t.Run(method+" in "+name, func(t *testing.T) {
				store := failingStore{NewMemoryStore(), make(map[string]error)}
				seen := &notices{}
				config := testConfig(newReceiver(t, nil))
				config.Observer = seen
				d := newDispatcher(t, store, config)
				e := register(t, d.View, Endpoint{})
				publish(t, d, Event{ID: "m"})
				settleDue(t, d, StateExhausted)
				id := e.ID
				if calls[name].delivery {
					id = delivery(t, d, "m").ID
				}
				if name == "Enable" && method == "PutEndpoint" { // of an enabled one it would be a no-op
					if err := d.Disable(t.Context(), id, "maintenance"); err != nil {
						t.Fatal(err)
					}
				}
				told := len(seen.all())
				store.fails[method] = errDown
				mustContain(t, calls[name].call(t.Context(), d.View, id), errDown)
				for _, n := range seen.all()[told:] {
					switch n.(type) {
					case AttemptStarted, AttemptFinished:
					default:
						t.Errorf("told of %#v, which did not happen", n)
					}
				}
			})
		}
	}
}

func TestAnEndpointThatVanishesDuringACallIsNotFound(t *testing.T) {
	r := newReceiver(t, nil)
	d := newDispatcher(t, vanishing{NewMemoryStore()}, testConfig(r))
	register(t, d.View, Endpoint{})
	publish(t, d, Event{ID: "m"})
	_, err := d.Resend(t.Context(), delivery(t, d, "m").ID)
	mustContain(t, err, ErrNotFound, "its endpoint")
	e := register(t, d.View, Endpoint{})
	_, err = d.SendTest(t.Context(), e.ID, "ping")
	mustContain(t, err, ErrNotFound)
}

// vanishing removes every endpoint as soon as it was read.
type vanishing struct{ Store }

func (s vanishing) GetEndpoint(ctx context.Context, id string) (EndpointRecord, error) {
	r, err := s.Store.GetEndpoint(ctx, id)
	if err == nil {
		err = s.DeleteEndpoint(ctx, id)
	}
	return r, err
}

func TestAnUnreadableConfigurationIsAnErrorThatDoesNotQuoteIt(t *testing.T) {
	store := NewMemoryStore()
	d := newDispatcher(t, store, testConfig(newReceiver(t, nil)))
	if _, err := store.PutEndpoint(t.Context(), EndpointRecord{ID: "e", Patterns: []string{"*"}, Config: []byte(`{"secrets":"c4n4ry"}`)}); err != nil {
		t.Fatal(err)
	}
	page, err := d.Endpoints(t.Context(), EndpointFilter{})
	if err != nil || len(page.Items) != 1 || !page.Items[0].Unreadable || page.Items[0].ID != "e" {
		t.Errorf("it is listed as %+v, %v", page.Items, err)
	}
	_, read := d.Endpoint(t.Context(), "e")
	_, revealed := d.Reveal(t.Context(), "e")
	_, sent := d.SendTest(t.Context(), "e", "ping")
	for _, err := range []error{read, revealed, sent} {
		if err == nil || !strings.Contains(err.Error(), `endpoint "e" is unreadable`) || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("error is %v", err)
		}
	}
	if err := d.Unregister(t.Context(), "e"); err != nil {
		t.Error("it cannot be removed:", err)
	}
}

func TestOnlyTheOperatorSeesAnEndpointOfAllTenants(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(newReceiver(t, nil)))
	e := register(t, d.View, Endpoint{AllTenants: true})
	if e.Tenant != "" || !e.AllTenants {
		t.Errorf("registered as tenant %q, all %v", e.Tenant, e.AllTenants)
	}
	publish(t, d, Event{ID: "m", Tenant: "acme"})
	for _, tenant := range []string{"", "acme"} {
		v := d.Tenant(tenant)
		if _, err := v.Endpoint(t.Context(), e.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("tenant %q: endpoint: %v", tenant, err)
		}
		if _, err := v.Reveal(t.Context(), e.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("tenant %q: reveal: %v", tenant, err)
		}
		if page, err := v.Deliveries(t.Context(), DeliveryFilter{}); err != nil || len(page.Items) != 0 {
			t.Errorf("tenant %q sees %d deliveries, %v", tenant, len(page.Items), err)
		}
	}
	if page, err := d.Deliveries(t.Context(), DeliveryFilter{}); err != nil || len(page.Items) != 1 {
		t.Errorf("the operator sees %d deliveries, %v", len(page.Items), err)
	}
}

func TestEnableAndDisableAreNoOpsWhereNothingChanges(t *testing.T) {
	seen := &notices{}
	config := testConfig(newReceiver(t, nil))
	config.Observer = seen
	d := newDispatcher(t, NewMemoryStore(), config)
	e := register(t, d.View, Endpoint{})
	told := len(seen.all())
	if err := d.Enable(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	if again, err := d.Endpoint(t.Context(), e.ID); err != nil || again.Rev != e.Rev {
		t.Errorf("rev is %d, was %d, %v", again.Rev, e.Rev, err)
	}
	for range 2 {
		if err := d.Disable(t.Context(), e.ID, "paused"); err != nil {
			t.Fatal(err)
		}
	}
	if again, err := d.Endpoint(t.Context(), e.ID); err != nil || again.Rev != e.Rev+1 {
		t.Errorf("rev is %d after disabling twice, was %d, %v", again.Rev, e.Rev, err)
	}
	if n := len(seen.all()) - told; n != 1 {
		t.Errorf("%d notices, want 1", n)
	}
}

func TestSecretsThatCannotBeKeptAreRefused(t *testing.T) {
	config := testConfig(newReceiver(t, nil))
	config.Profile.Signer = HMAC{Header: "X-Signature"}
	d := newDispatcher(t, NewMemoryStore(), config)
	_, err := d.Register(t.Context(), Endpoint{URL: receiverURL, Secrets: []Secret{{Value: "\xff\xfe key"}}})
	mustContain(t, err, ErrInvalid, "UTF-8")

	d = newDispatcher(t, NewMemoryStore(), testConfig(newReceiver(t, nil)))
	late := Secret{Value: NewSecret().Value, ExpiresAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}
	_, err = d.Register(t.Context(), Endpoint{URL: receiverURL, Secrets: []Secret{NewSecret(), late}})
	mustContain(t, err, ErrInvalid, "year 10000")
}

func TestRevealOmitsExpiredAndRotationRepeatsNoSecret(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(newReceiver(t, nil)))
	expired := Secret{Value: NewSecret().Value, ExpiresAt: time.Now().Add(-time.Minute)}
	e := register(t, d.View, Endpoint{Secrets: []Secret{NewSecret(), expired}})
	if _, err := d.RotateSecret(t.Context(), e.ID, e.Secrets[0], time.Hour); err != nil {
		t.Fatal(err)
	}
	secrets, err := d.Reveal(t.Context(), e.ID)
	if err != nil || len(secrets) != 1 || secrets[0].Value != e.Secrets[0].Value {
		t.Errorf("revealed %d secrets, %v; want the one current", len(secrets), err)
	}
}

func TestReplayOfWhatWasMissedNeedsAnEndpoint(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(newReceiver(t, nil)))
	_, err := d.Replay(t.Context(), ReplayFilter{Missed: true})
	mustContain(t, err, ErrInvalid, "EndpointID")
}

func TestPatternsAreBoundedInNumber(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(newReceiver(t, nil)))
	_, err := d.Register(t.Context(), Endpoint{URL: receiverURL, Events: make([]string, 1001)})
	mustContain(t, err, ErrInvalid, "1001", "1000")
}

// Who may call Update but does not know a credential cannot have it sent to
// himself.
func TestACredentialIsKeptForItsOwnOriginOnly(t *testing.T) {
	r := newReceiver(t, withTokens(time.Hour, status(204)))
	d := newDispatcher(t, NewMemoryStore(), authorized(r))
	v := d.Tenant("acme")
	for name, auth := range map[string]Auth{
		"a password": BasicAuth("user", "mark-of-the-password"), "a bearer token": BearerToken("mark-of-the-bearer-token"),
		"an API key": APIKey("X-Key", "mark-of-the-key"), "a token": OAuth2(tokenURL, "id", clientSecret), "none": {},
	} {
		for url, kept := range map[string]bool{
			"http://customer.example/other?path": true, "http://CUSTOMER.example:80/hook": true,
			"http://attacker.example/hook": false, "http://customer.example:8080/hook": false, "https://customer.example/hook": false,
			"http://customer.example.attacker.example/hook": false,
		} {
			e := register(t, v, Endpoint{URL: "http://customer.example/hook", Auth: auth})
			e, err := v.Endpoint(t.Context(), e.ID)
			if err != nil {
				t.Fatal(err)
			}
			e.URL = url
			_, err = v.Update(t.Context(), e)
			if kept || name == "none" {
				if err != nil {
					t.Errorf("%s, %s: %v", name, url, err)
				}
				if opened, err := v.endpoint(t.Context(), e.ID); err != nil || opened.Auth != auth || opened.URL != url {
					t.Errorf("%s, %s: stored is %+v, %v", name, url, opened.Auth, err)
				}
				continue
			}
			mustContain(t, err, ErrInvalid, "Auth.Secret: ", "give it anew")
			e.Auth = auth
			if _, err := v.Update(t.Context(), e); err != nil {
				t.Errorf("%s, %s, given anew: %v", name, url, err)
			}
			e, _ = v.Endpoint(t.Context(), e.ID)
			e.URL, e.Auth = url, Auth{}
			if _, err := v.Update(t.Context(), e); err != nil {
				t.Errorf("%s, %s, without: %v", name, url, err)
			}
		}
	}
}

// showing has the methods of a scheme that shows nothing, and is another.
type showing struct{ HMAC }

func (s *showing) Sign(h http.Header, _ Message, secrets []Secret) error {
	h.Set("X-Own", secrets[0].Value)
	return nil
}

func TestSecretsAreKeptWhereNobodyElseIsShownThem(t *testing.T) {
	shown, hidden := SecretHeader{Name: "X-Secret"}, HMAC{Header: "X-Signature"}
	both := Signers{Svix(), Signers{shown}}
	neither := Signers{Svix(), &hidden}
	signers := map[string]Signer{
		"StandardWebhooks": StandardWebhooks{}, "Svix": Svix(), "*StandardWebhooks": &StandardWebhooks{}, "HMAC": hidden, "*HMAC": &hidden, "Signers": neither, "*Signers": &neither,
		"shown SecretHeader": shown, "shown *SecretHeader": &shown, "shown Signers": both, "shown *Signers": &both, "shown of its own": &showing{hidden},
	}
	config := testConfig(nil)
	config.Profiles = map[string]Profile{}
	for name, s := range signers {
		config.Profiles[name], config.Profiles[name+" again"] = Profile{Signer: s}, Profile{Signer: s}
	}
	d := newDispatcher(t, NewMemoryStore(), config)
	v := d.Tenant("acme")
	for name := range signers {
		for _, to := range []struct {
			url, profile string
			same         bool
		}{
			{"http://customer.example/other?path", name, true}, {"http://CUSTOMER.example:80/hook", name, true},
			{"http://attacker.example/hook", name, false}, {"http://customer.example:8080/hook", name, false}, {"https://customer.example/hook", name, false},
			{"http://customer.example/hook", name + " again", false}, {"http://attacker.example/hook", name + " again", false},
		} {
			old := register(t, v, Endpoint{URL: "http://customer.example/hook", Profile: name})
			e, err := v.Endpoint(t.Context(), old.ID)
			if err != nil {
				t.Fatal(err)
			}
			e.URL, e.Profile = to.url, to.profile
			_, err = v.Update(t.Context(), e)
			if to.same || !strings.HasPrefix(name, "shown ") {
				if opened, openErr := v.endpoint(t.Context(), e.ID); err != nil || openErr != nil || !slices.Equal(opened.Secrets, old.Secrets) || opened.URL != to.url || opened.Profile != to.profile {
					t.Errorf("%s, %+v: %v, %v, stored is %+v", name, to, err, openErr, opened)
				}
				continue
			}
			mustContain(t, err, ErrInvalid, "Secrets: ", "the stored ones were given for another ", "give them anew, or rotate them")
			if opened, err := v.endpoint(t.Context(), e.ID); err != nil || opened.URL != old.URL || opened.Profile != old.Profile {
				t.Errorf("%s, %+v: what was refused is stored: %+v, %v", name, to, opened, err)
			}
			e.Secrets = []Secret{NewSecret()}
			if _, err := v.Update(t.Context(), e); err != nil {
				t.Errorf("%s, %+v, given anew: %v", name, to, err)
			}
		}
		for shown := range signers { // from where it was not shown
			e := register(t, v, Endpoint{URL: "http://customer.example/hook", Profile: "HMAC"})
			e.Profile, e.Secrets = shown, nil
			if _, err := v.Update(t.Context(), e); (err != nil) != strings.HasPrefix(shown, "shown ") {
				t.Errorf("from HMAC to %s: %v", shown, err)
			}
		}
	}
}

func TestWithoutSecretsThereIsNothingToShow(t *testing.T) {
	config := testConfig(nil)
	config.Profiles = map[string]Profile{"a": {Signer: SecretHeader{Name: "X-Secret", Optional: true}}, "b": {Signer: SecretHeader{Name: "X-Other", Optional: true}}}
	d := newDispatcher(t, NewMemoryStore(), config)
	e := register(t, d.View, Endpoint{URL: "http://customer.example/", Profile: "a"})
	for _, to := range []Endpoint{{URL: "http://other.example/", Profile: "a"}, {URL: "http://customer.example/", Profile: "b"}, {URL: "http://customer.example/", Profile: "a"}} {
		e.URL, e.Profile, e.Rev = to.URL, to.Profile, 0
		if _, err := d.Update(t.Context(), e); err != nil {
			t.Errorf("%+v: %v", to, err)
		}
	}
	if len(e.Secrets) > 0 {
		t.Error("an optional secret was made")
	}
}

func TestBothKindsOfSecretsAreAskedForAtOnce(t *testing.T) {
	config := testConfig(nil)
	config.Profiles = map[string]Profile{"a": {Signer: SecretHeader{Name: "X-Secret"}}}
	d := newDispatcher(t, NewMemoryStore(), config)
	e := register(t, d.View, Endpoint{URL: "http://customer.example/", Profile: "a", Auth: BearerToken("token")})
	e.URL, e.Secrets, e.Auth.Secret = "http://other.example/", nil, Secret{}
	_, err := d.Update(t.Context(), e)
	mustContain(t, err, ErrInvalid, "\nAuth.Secret: ", "Secrets: ")
}
