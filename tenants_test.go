package webhook

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// managed is what every notice of a management call has, or its Delivery has.
type managed struct{ EndpointID, Tenant, Actor string }

// managedBy reads these fields of a notice.
func managedBy(t *testing.T, n Notice) managed {
	t.Helper()
	v := reflect.ValueOf(n)
	of := v
	if d := v.FieldByName("Delivery"); d.IsValid() {
		of = d
	}
	for _, name := range []string{"EndpointID", "Tenant"} {
		if !of.FieldByName(name).IsValid() {
			t.Fatalf("%T has no %s", n, name)
		}
	}
	if !v.FieldByName("Actor").IsValid() {
		t.Fatalf("%T has no Actor", n)
	}
	return managed{of.FieldByName("EndpointID").String(), of.FieldByName("Tenant").String(), v.FieldByName("Actor").String()}
}

// A notice names whose endpoint it is, not who looks at it: a parent's view and
// the operator's say the same of it as the tenant's own. The tenant of one with
// AllTenants is "*", so that nobody takes it for that of the tenant "".
func TestNoticesSayWhoseEndpointItIsAndWhoActed(t *testing.T) {
	tests := map[string]struct {
		view     func(d *Dispatcher) *View
		endpoint Endpoint
		want     string
	}{
		"a tenant's own":             {func(d *Dispatcher) *View { return d.Tenant("acme/legal") }, Endpoint{}, "acme/legal"},
		"a child's":                  {func(d *Dispatcher) *View { return d.Tenant("acme") }, Endpoint{Tenant: "acme/legal"}, "acme/legal"},
		"a tenant's, by an operator": {func(d *Dispatcher) *View { return d.View }, Endpoint{Tenant: "acme"}, "acme"},
		"that of the tenant \"\"":    {func(d *Dispatcher) *View { return d.Tenant("") }, Endpoint{}, ""},
		"that of all tenants":        {func(d *Dispatcher) *View { return d.View }, Endpoint{AllTenants: true}, "*"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			seen := &notices{}
			config := testConfig(newReceiver(t, status(500)))
			config.Observer = seen
			d := newDispatcher(t, NewMemoryStore(), config)
			v, ctx := test.view(d), WithActor(t.Context(), "ada")
			test.endpoint.URL = receiverURL
			e, err := v.Register(ctx, test.endpoint)
			if err != nil {
				t.Fatal(err)
			}
			publish(t, d, Event{ID: "m", Tenant: strings.Trim(test.want, "*")})
			settleDue(t, d, StateExhausted)
			_, failed := v.Replay(ctx, ReplayFilter{EndpointID: e.ID})
			_, missed := v.Replay(ctx, ReplayFilter{EndpointID: e.ID, Missed: true})
			e.Events, e.Rev = []string{"*"}, 0
			_, updated := v.Update(ctx, e)
			disabled, enabled := v.Disable(ctx, e.ID, "holiday"), v.Enable(ctx, e.ID)
			_, revealed := v.Reveal(ctx, e.ID)
			_, rotated := v.RotateSecret(ctx, e.ID, Secret{}, time.Hour)
			_, sent := v.SendTest(ctx, e.ID, "ping")
			_, resent := v.Resend(ctx, deliveries(t, d, DeliveryFilter{EventID: "m"})[0].ID)
			if err := errors.Join(failed, missed, updated, disabled, enabled, revealed, rotated, sent, resent, v.Unregister(ctx, e.ID)); err != nil {
				t.Fatal(err)
			}
			kinds := make(map[string]bool)
			for _, n := range seen.all() {
				switch n.(type) {
				case EventPublished, AttemptStarted, AttemptFinished:
					continue
				}
				kinds[reflect.TypeOf(n).Name()] = true
				if got, want := managedBy(t, n), (managed{e.ID, test.want, "ada"}); got != want {
					t.Errorf("told of %#v, want %+v", n, want)
				}
			}
			for _, kind := range []string{"EndpointRegistered", "EndpointUpdated", "EndpointUnregistered", "EndpointEnabled", "EndpointDisabled",
				"SecretsRevealed", "SecretRotated", "TestSent", "DeliveryResent", "DeliveriesReplayed"} {
				if !kinds[kind] {
					t.Errorf("not told of %s", kind)
				}
			}
		})
	}
}

func TestAReplayOfNoEndpointIsToldAsTheViews(t *testing.T) {
	seen := &notices{}
	config := testConfig(nil)
	config.Observer = seen
	d := newDispatcher(t, NewMemoryStore(), config)
	for want, v := range map[string]*View{"acme": d.Tenant("acme"), "": d.Tenant(""), "*": d.View} {
		if _, err := v.Replay(t.Context(), ReplayFilter{}); err != nil {
			t.Fatal(err)
		}
		all := seen.all()
		if got := all[len(all)-1]; got != (DeliveriesReplayed{Tenant: want}) {
			t.Errorf("told of %#v, want tenant %q", got, want)
		}
	}
}

// A change of AllTenants is one of whose the endpoint is.
func TestAChangeOfAllTenantsIsToldAsWhatItBecame(t *testing.T) {
	seen := &notices{}
	config := testConfig(nil)
	config.Observer = seen
	d := newDispatcher(t, NewMemoryStore(), config)
	e := register(t, d.View, Endpoint{Events: []string{"*"}})
	for _, all := range []bool{true, false} {
		e.AllTenants, e.Rev = all, 0
		if _, err := d.Update(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	updated := noticed[EndpointUpdated](seen)
	if len(updated) != 2 || updated[0].Tenant != "*" || updated[1].Tenant != "" {
		t.Errorf("told of %+v", updated)
	}
}

func TestAPeriodThatNoDatabaseKnowsIsInvalid(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
	e := register(t, d.View, Endpoint{})
	utc := time.UTC
	calls := map[string]func(ctx context.Context, from, to time.Time) error{
		"Deliveries": func(ctx context.Context, from, to time.Time) error {
			_, err := d.Deliveries(ctx, DeliveryFilter{From: from, To: to})
			return err
		},
		"Replay": func(ctx context.Context, from, to time.Time) error {
			_, err := d.Replay(ctx, ReplayFilter{From: from, To: to})
			return err
		},
		"Replay of what was missed": func(ctx context.Context, from, to time.Time) error {
			_, err := d.Replay(ctx, ReplayFilter{EndpointID: e.ID, Missed: true, From: from, To: to})
			return err
		},
	}
	for name, call := range calls {
		for _, at := range []time.Time{time.Date(-1, 12, 31, 0, 0, 0, 0, utc), time.Date(10000, 1, 1, 0, 0, 0, 0, utc), time.Unix(1<<60, 0), time.Unix(-1<<60, 0)} {
			mustContain(t, call(t.Context(), at, time.Time{}), ErrInvalid, "From")
			mustContain(t, call(t.Context(), time.Time{}, at), ErrInvalid, "To")
		}
		for _, at := range []time.Time{{}, time.Date(0, 1, 1, 0, 0, 0, 0, utc), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, utc)} {
			if err := call(t.Context(), at, at); err != nil {
				t.Errorf("%s from and to %v: %v", name, at, err)
			}
		}
	}
}
