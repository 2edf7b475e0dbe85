package storetest

import (
	"net/http"
	"time"

	"github.com/outhook/webhook"
)

func healthChecks() []check {
	return []check{
		{"health-failure", "the first failure sets FailingSince, the later ones leave it", healthFailure},
		{"health-success", "a success clears FailingSince and NotBefore", healthSuccess},
		{"health-unchanged", "an outcome that says nothing of the endpoint leaves it as it is", healthUnchanged},
		{"pause", "Pause sets NotBefore from now", pause},
		{"disable", "Disable disables the endpoint for that reason and raises its Rev", disable},
		{"disable-if", "Disable with IfFailingSince acts only while FailingSince is still that", disableIf},
		{"disable-again", "Disable leaves an endpoint that is disabled already as it is", disableAgain},
		{"health-rev", "a settlement raises Rev only when it disables", healthRev},
	}
}

// again gives the delivery back with what change says, and claims it anew.
func (t *trial) again(c webhook.Claimed, change func(*webhook.Settlement)) webhook.Claimed {
	t.Helper()
	s := outcome(c, webhook.StatePending)
	change(&s)
	t.tick()
	t.settle(s)
	return t.collect(everything(long), 1)[0]
}

func fail(s *webhook.Settlement)    { s.Health = webhook.HealthFailure }
func succeed(s *webhook.Settlement) { s.Health = webhook.HealthSuccess }

func healthFailure(t *trial) {
	c := t.claimed(long)
	t.register("", "bystander")
	c = t.again(c, fail)
	since := t.endpoint("endpoint").FailingSince
	t.wantIn("FailingSince", since, t.delivery(c.Delivery.ID).UpdatedAt, 0)
	for range 2 {
		c = t.again(c, fail)
		if got := t.endpoint("endpoint").FailingSince; !sameTime(got, since) {
			t.Fatalf("FailingSince went from %v to %v", since, got)
		}
	}
	if got := t.endpoint("bystander").FailingSince; !got.IsZero() {
		t.Errorf("FailingSince of another endpoint is %v, want none", got)
	}
	c = t.again(c, succeed)
	t.again(c, fail)
	if got := t.endpoint("endpoint").FailingSince; !got.After(since) {
		t.Errorf("FailingSince is %v after the next series of failures began, want later than %v", got, since)
	}
}

func healthSuccess(t *trial) {
	t.register("", "endpoint")
	t.publish("", "event", "other")
	held := t.collect(everything(long), 2)
	s := failed(held[0])
	s.Pause = long
	t.settle(s)
	s = outcome(held[1], webhook.StateDelivered)
	succeed(&s)
	t.settle(s)
	if r := t.endpoint("endpoint"); !r.FailingSince.IsZero() || !r.NotBefore.IsZero() {
		t.Errorf("FailingSince is %v and NotBefore %v, want neither", r.FailingSince, r.NotBefore)
	}
	t.collect(everything(long), 1)
}

func healthUnchanged(t *trial) {
	t.register("", "endpoint")
	t.publish("", "a", "b", "c", "d", "e")
	held := t.collect(everything(long), 5)
	unchanged := func(c webhook.Claimed, state webhook.State) {
		t.Helper()
		before := t.endpoint("endpoint")
		t.tick()
		t.settle(attempted(c, state, http.StatusTeapot))
		wantSame(t, "the endpoint", t.endpoint("endpoint"), before)
	}
	unchanged(held[0], webhook.StateDelivered)
	unchanged(held[1], webhook.StatePending)
	s := failed(held[2])
	s.Pause = long
	t.settle(s)
	unchanged(held[3], webhook.StateDelivered)
	unchanged(held[4], webhook.StateExhausted)
}

func pause(t *trial) {
	t.register("", "endpoint")
	t.publish("", "a", "b", "c")
	held := t.collect(everything(long), 3)
	for n, d := range []time.Duration{2 * long, long} { // the later one counts, though it is shorter
		s := outcome(held[n], webhook.StatePending)
		s.Pause = d
		t.tick()
		t.settle(s)
		r := t.endpoint("endpoint")
		t.wantIn("NotBefore", r.NotBefore, t.delivery(s.DeliveryID).UpdatedAt, d)
		if !r.FailingSince.IsZero() || r.Disabled {
			t.Errorf("a pause made FailingSince %v and Disabled %t", r.FailingSince, r.Disabled)
		}
	}
	before := t.endpoint("endpoint").NotBefore
	t.settle(failed(held[2]))
	if got := t.endpoint("endpoint").NotBefore; !sameTime(got, before) {
		t.Errorf("a failure without Pause made NotBefore %v, want still %v", got, before)
	}
}

func disable(t *trial) {
	c := t.claimed(long)
	t.register("", "bystander")
	before := t.endpoint("endpoint")
	s := attempted(c, webhook.StatePending, http.StatusGone)
	s.Health, s.Disable = webhook.HealthFailure, "the endpoint answered 410 „Gone“"
	t.tick()
	t.settle(s)
	want, got := before, t.endpoint("endpoint")
	want.Disabled, want.DisabledReason, want.Rev = true, s.Disable, before.Rev+1
	want.FailingSince, want.UpdatedAt = got.FailingSince, got.UpdatedAt
	wantSame(t, "the endpoint", got, want)
	if t.endpoint("bystander").Disabled {
		t.Errorf("another endpoint is disabled, too")
	}
	_, err := t.store.PutEndpoint(t.ctx, before)
	t.wantError("a put at the Rev before", err, webhook.ErrConflict)
	t.claimNothing(everything(long), "the endpoint is disabled")
	got.Disabled, got.DisabledReason = false, ""
	t.put(got)
	t.collect(everything(long), 1)
}

func disableIf(t *trial) {
	t.register("", "endpoint")
	t.publish("", "a", "b", "c", "d", "e")
	held := t.collect(everything(long), 5)
	try := func(c webhook.Claimed, what string, since time.Time, health webhook.Health, want bool) {
		t.Helper()
		s := outcome(c, webhook.StatePending)
		s.Disable, s.IfFailingSince, s.Health = "failing for days", since, health
		rev := t.endpoint("endpoint").Rev
		t.tick()
		t.settle(s)
		if want {
			rev++
		}
		if r := t.endpoint("endpoint"); r.Disabled != want || r.Rev != rev || (r.DisabledReason != "") != want {
			t.Errorf("where FailingSince %s, Disabled is %t for %q with Rev %d, want %t and Rev %d", what, r.Disabled, r.DisabledReason, r.Rev, want, rev)
		}
	}
	now := t.delivery(held[0].Delivery.ID).CreatedAt
	try(held[0], "is zero", now, webhook.HealthUnchanged, false)
	try(held[1], "was zero and is set by the same settlement", now.Add(-time.Hour), webhook.HealthFailure, false)
	since := t.endpoint("endpoint").FailingSince
	try(held[2], "is another", since.Add(-time.Second), webhook.HealthFailure, false)
	try(held[3], "is that, in another zone,", since.In(time.FixedZone("", 5*3600)), webhook.HealthFailure, true)
	t.disable("endpoint", false)
	try(held[4], "was cleared meanwhile", since, webhook.HealthUnchanged, false)
}

func disableAgain(t *trial) {
	t.register("", "endpoint")
	t.publish("", "a", "b")
	for n, c := range t.collect(everything(long), 2) {
		s := attempted(c, webhook.StatePending, http.StatusGone)
		s.Disable = []string{"the first reason", "the second reason"}[n]
		t.tick()
		t.settle(s)
		if r := t.endpoint("endpoint"); r.DisabledReason != "the first reason" || r.Rev != 2 {
			t.Errorf("after %d settlements it is disabled for %q with Rev %d, want the first reason and Rev 2", n+1, r.DisabledReason, r.Rev)
		}
	}
}

func healthRev(t *trial) {
	c := t.claimed(long)
	r := t.endpoint("endpoint")
	c = t.again(c, fail)
	c = t.again(c, succeed)
	s := failed(c)
	s.Pause = long
	t.settle(s)
	if got := t.endpoint("endpoint").Rev; got != r.Rev {
		t.Errorf("Rev went from %d to %d", r.Rev, got)
	}
	t.put(r)
}
