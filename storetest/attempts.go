package storetest

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

func attemptChecks() []check {
	return []check{
		{"attempt-fields", "an attempt is read back as it was settled", attemptFields},
		{"attempt-order", "attempts are listed in the order of their settlement", attemptOrder},
		{"attempt-hostile", "nothing that a receiver answers makes the record of it unwritable", attemptHostile},
	}
}

func attemptFields(t *trial) {
	c := t.claimed(long)
	var want []webhook.Attempt
	for _, change := range []func(*webhook.Attempt){
		func(*webhook.Attempt) {},
		func(a *webhook.Attempt) { a.Number = 7 },
		func(a *webhook.Attempt) { a.URL = "https://example.com/hook?a=%00&b=ü#'\"\\" },
		func(a *webhook.Attempt) { a.StatusCode, a.Error = 0, "dial tcp: lookup „…“: no such host\n" },
		func(a *webhook.Attempt) {
			a.RequestHeaders = http.Header{"Webhook-Id": {"event"}, "X-Many": {"one", "", "two, three"}, "lower": {"kept"}, "X-Ünï": {"ü\t\"'\\ <&>\u2028"}}
			a.ResponseHeaders = http.Header{"Set-Cookie": {"a=1", "b=2"}, "X-Empty": {""}}
		},
		func(a *webhook.Attempt) { a.BodySHA256 = [32]byte(allBytes()[224:]) },
		func(a *webhook.Attempt) { a.ResponseBody, a.Truncated = allBytes(), true },
		func(a *webhook.Attempt) { a.ResponseBody = []byte("{\"b\" : 1, \"a\":\"\\u0000\"}\n") },
		func(a *webhook.Attempt) { a.ResponseBody = []byte(strings.Repeat("\xff\x00", 8<<10)) },
		func(a *webhook.Attempt) {
			a.StartedAt, a.Duration = time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.FixedZone("", -8*3600)), 1234567*time.Nanosecond
		},
		func(a *webhook.Attempt) { a.Duration = 90 * time.Minute },
	} {
		s := attempted(c, webhook.StatePending, 500)
		s.Attempt.Number = len(want) + 1
		change(s.Attempt)
		t.settle(s)
		want = append(want, *s.Attempt)
		c = t.collect(everything(long), 1)[0]
	}
	got := t.attempts(c.Delivery.ID)
	if len(got) != len(want) {
		t.Fatalf("%d attempts are listed, want %d", len(got), len(want))
	}
	for n := range want {
		wantSame(t, fmt.Sprintf("attempt %d", n+1), got[n], want[n])
	}
}

func attemptOrder(t *trial) {
	t.register("", "endpoint", "other")
	t.publish("", "event")
	var want []string
	for n := range 5 {
		for _, c := range t.collect(everything(long), 2) {
			s := attempted(c, webhook.StatePending, 500)
			s.Attempt.StartedAt = s.Attempt.StartedAt.Add(-time.Duration(n) * time.Hour) // other processes' clocks
			s.Attempt.Number, s.Counted = 1, false
			t.settle(s)
			if c.Delivery.EndpointID == "endpoint" {
				want = append(want, s.Attempt.ID)
			}
		}
		t.tick()
	}
	for _, d := range t.deliveriesOf("event") {
		if d.EndpointID == "endpoint" {
			t.wantList("attempts", collectStrings(t.attempts(d.ID), func(a webhook.Attempt) string { return a.ID }), want...)
		}
	}
	for _, id := range strangeIDs() {
		if as := t.attempts(id); len(as) > 0 {
			t.Errorf("ListAttempts(%q) returned %d attempts, want none", id, len(as))
		}
	}
}

func attemptHostile(t *trial) {
	const hostile = "\x00 \xff\xfe \xed\xa0\x80 \\u0000 '; --"
	s := attempted(t.claimed(long), webhook.StateExhausted, 500)
	s.Attempt.Error = hostile
	s.Attempt.URL = "https://example.com/" + hostile
	s.Attempt.ResponseBody = []byte(hostile)
	s.Attempt.ResponseHeaders = http.Header{"X-Hostile": {hostile, hostile}, hostile: {"name"}, "X-Large": {strings.Repeat("\xff", 64<<10)}}
	s.Attempt.RequestHeaders = s.Attempt.ResponseHeaders
	t.settle(s)
	d, as := t.delivery(s.DeliveryID), t.attempts(s.DeliveryID)
	if d.State != webhook.StateExhausted || d.LastStatus != 500 || len(as) != 1 {
		t.Fatalf("the delivery is %s with status %d and %d attempts logged, want exhausted with 500 and 1", d.State, d.LastStatus, len(as))
	}
	// Text that is not Unicode may be kept changed, bytes may not.
	if string(as[0].ResponseBody) != hostile || as[0].StatusCode != 500 || len(as[0].ResponseHeaders.Values("X-Hostile")) != 2 {
		t.Errorf("the attempt is logged with status %d, body %q and headers %.200q", as[0].StatusCode, as[0].ResponseBody, as[0].ResponseHeaders)
	}
}
