package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/outhook/webhook"
)

func storeChecks() []check {
	return []check{
		{"context", "a context that has ended is answered with its error, and nothing is changed", contextEnded},
		{"results-are-the-callers", "what a caller does to what a method returned does not change the store", resultsAreTheCallers},
		{"results-stay", "what a method returned is not changed by the store later", resultsStay},
		{"wakes", "a channel of Wakes receives soon after deliveries were created", wakes},
	}
}

func contextEnded(t *trial) {
	t.register("", "endpoint")
	t.publish("", "held", "due")
	c := t.collect(webhook.ClaimRequest{Max: 1, PerEndpoint: 1, Lease: long}, 1)[0]
	other := "due"
	if c.Delivery.EventID == other {
		other = "held"
	}
	cancelled, cancel := context.WithCancel(t.ctx)
	cancel()
	late, stop := context.WithDeadline(t.ctx, time.Now().Add(-time.Hour))
	defer stop()
	for _, ctx := range []context.Context{cancelled, late} {
		r := t.endpoint("endpoint")
		r.Config = []byte("changed")
		for method, call := range map[string]func() error{
			"PutEndpoint, an insert": func() error {
				_, err := t.store.PutEndpoint(ctx, endpoint("new", ""))
				return err
			},
			"PutEndpoint, a replacement": func() error {
				_, err := t.store.PutEndpoint(ctx, r)
				return err
			},
			"DeleteEndpoint": func() error { return t.store.DeleteEndpoint(ctx, "endpoint") },
			"GetEndpoint": func() error {
				_, err := t.store.GetEndpoint(ctx, "endpoint")
				return err
			},
			"ListEndpoints": func() error {
				_, err := t.store.ListEndpoints(ctx, webhook.EndpointFilter{})
				return err
			},
			"Enqueue": func() error {
				_, err := t.store.Enqueue(ctx, []webhook.Publication{publication("new", "")})
				return err
			},
			"Claim": func() error {
				_, _, err := t.store.Claim(ctx, everything(2*long))
				return err
			},
			"Settle": func() error {
				_, err := t.store.Settle(ctx, []webhook.Settlement{attempted(c, webhook.StateDelivered, 200)})
				return err
			},
			"GetDelivery": func() error {
				_, err := t.store.GetDelivery(ctx, c.Delivery.ID)
				return err
			},
			"GetEvent": func() error {
				_, err := t.store.GetEvent(ctx, "held")
				return err
			},
			"ListDeliveries": func() error {
				_, err := t.store.ListDeliveries(ctx, webhook.DeliveryFilter{})
				return err
			},
			"ListAttempts": func() error {
				_, err := t.store.ListAttempts(ctx, c.Delivery.ID)
				return err
			},
			"ListEvents": func() error {
				_, err := t.store.ListEvents(ctx, webhook.EventFilter{})
				return err
			},
		} {
			if err := call(); !errors.Is(err, ctx.Err()) {
				t.Errorf("%s returned error %v, want one that matches %q", method, err, ctx.Err())
			}
		}
	}
	if e := t.endpoint("endpoint"); e.Rev != 1 {
		t.Errorf("the endpoint was replaced")
	}
	t.wantSet("endpoints", collectStrings(page(t, t.store.ListEndpoints, webhook.EndpointFilter{}).Items, recordID), "endpoint")
	t.wantSet("events", collectStrings(page(t, t.store.ListEvents, webhook.EventFilter{}).Items, eventID), "held", "due")
	t.wantSet("claimed", eventsOf(t.collect(everything(long), 1)), other)
	if d, as := t.delivery(c.Delivery.ID), t.attempts(c.Delivery.ID); d.State != webhook.StatePending || len(as) != 0 {
		t.Errorf("the claimed delivery is %s with %d attempts, want pending with none", d.State, len(as))
	}
	t.settle(attempted(c, webhook.StateDelivered, 200))
}

func resultsAreTheCallers(t *trial) {
	r := endpoint("endpoint", "")
	r.Patterns = []string{"document.*", "*"}
	r = t.put(r)
	scribble := func(r webhook.EndpointRecord) {
		clear(r.Patterns)
		clear(r.Config)
	}
	scribble(r)
	scribble(t.endpoint("endpoint"))
	scribble(only(t, page(t, t.store.ListEndpoints, webhook.EndpointFilter{}).Items))
	if r := t.endpoint("endpoint"); !slices.Equal(r.Patterns, []string{"document.*", "*"}) || string(r.Config) != "config of endpoint" {
		t.Errorf("the endpoint has patterns %q and config %q after a caller changed its copy", r.Patterns, r.Config)
	}

	want := event("event", "").Data
	t.publish("", "event")
	clear(t.event("event").Data)
	clear(only(t, page(t, t.store.ListEvents, webhook.EventFilter{}).Items).Data)
	if got := t.event("event").Data; !bytes.Equal(got, want) {
		t.Errorf("the event has data %q after a caller changed its copy, want %q", got, want)
	}

	listed := t.deliveries(webhook.DeliveryFilter{}).Items
	clear(listed)
	c := t.collect(everything(long), 1)[0]
	if d := t.deliveryOf("event"); d.State != webhook.StatePending {
		t.Errorf("the delivery is %q after a caller changed its copy", d.State)
	}
	s := attempted(c, webhook.StateDelivered, 200)
	attempt := func() webhook.Attempt { // the store may keep what it is given, so each is a copy of its own
		a := *s.Attempt
		a.RequestHeaders, a.ResponseHeaders = http.Header{"A": {"1"}}, http.Header{"B": {"2"}}
		a.ResponseBody = []byte("body")
		return a
	}
	given := attempt()
	s.Attempt = &given
	t.settle(s)
	a := only(t, t.attempts(c.Delivery.ID))
	for _, h := range []http.Header{a.RequestHeaders, a.ResponseHeaders} {
		for _, values := range h {
			clear(values)
		}
		clear(h)
	}
	clear(a.ResponseBody)
	wantSame(t, "the attempt after a caller changed its copy", only(t, t.attempts(c.Delivery.ID)), attempt())
}

func resultsStay(t *trial) {
	r := endpoint("endpoint", "")
	r.Patterns = []string{"document.*", "*"}
	t.put(r)
	t.publish("", "event")
	c := t.collect(everything(long), 1)[0]
	d, e, got := c.Delivery, *c.Event, *c.Endpoint
	e.Data, got.Config, got.Patterns = slices.Clone(e.Data), slices.Clone(got.Config), slices.Clone(got.Patterns)
	read := t.endpoint("endpoint")
	s := attempted(c, webhook.StatePending, 500)
	s.Health, s.Pause = webhook.HealthFailure, long
	t.tick()
	t.settle(s)
	r = t.endpoint("endpoint")
	r.Patterns, r.Config, r.Disabled = []string{"x", "y", "z"}, []byte("new config"), true
	t.put(r)
	t.deleteEndpoint("endpoint")
	wantSame(t, "the claimed delivery", c.Delivery, d)
	wantSame(t, "the claimed event", *c.Event, e)
	wantSame(t, "the claimed endpoint", *c.Endpoint, got)
	wantSame(t, "the endpoint that was read", read, got)
}

func wakes(t *trial) {
	w := need[webhook.Waker](t, "Waker")
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	wake, err := w.Wakes(ctx)
	if err != nil {
		t.Fatalf("Wakes: %v", err)
	}
	t.register("", "endpoint")
	for n := range 100 { // the subscription may take a while to be known
		t.publish("", fmt.Sprintf("event-%d", n))
		select {
		case <-wake:
			return
		case <-time.After(patience / 100):
		}
	}
	t.Errorf("nothing was received within %v", patience)
}
