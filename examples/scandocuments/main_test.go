package main

import (
	"encoding/json"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/examples/internal/check"
	"github.com/outhook/webhook/examples/internal/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The secret of Svix's own documentation.
const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func endpoint(url string) webhook.Endpoint {
	return webhook.Endpoint{URL: url, Secrets: []webhook.Secret{{Value: secret}}}
}

func TestDemonstration(t *testing.T) {
	check.Runs(t, run,
		"A request whose signature was verified:\n",
		"file.created     file events                   publish   delivered   1          200\n",
		"task.completed   finished tasks, fails twice   publish   delivered   3          200\n",
	)
}

func TestRequestIsThePages(t *testing.T) {
	got := check.Request(t, Config(), endpoint(""), webhook.Event{
		ID: "event_wal69rzpapqrm7yj", Type: "file.deleted", Time: time.Date(2025, 4, 12, 15, 55, 19, 0, time.UTC),
		Data: json.RawMessage(`{"id":"file_y9f6oitmeoncvcou","name":"file-example","type":"image/png"}`),
	})
	const body = `{"data":{"id":"file_y9f6oitmeoncvcou","name":"file-example","type":"image/png"},` +
		`"id":"event_wal69rzpapqrm7yj","timestamp":"2025-04-12T15:55:19.000Z","type":"file.deleted"}`
	timestamp := got.Header.Get("svix-timestamp")
	check.Recent(t, timestamp)
	check.Is(t, got, body, map[string]string{
		"svix-id": "event_wal69rzpapqrm7yj", "svix-timestamp": timestamp,
		"svix-signature": "v1," + check.HMAC64(t, secret, "event_wal69rzpapqrm7yj."+timestamp+"."+body),
	})
}

func TestPolicyIsThePages(t *testing.T) {
	for range 100 { // the jitter
		delays := check.Delays(Profile().Retry, 1000)
		sum := time.Duration(0)
		for n, d := range delays {
			sum += d
			if n > 0 && n < 8 && float64(d) < 1.5*float64(delays[n-1]) {
				t.Fatalf("delays %v do not grow exponentially", delays)
			}
		}
		if sum > 48*time.Hour || sum < 40*time.Hour {
			t.Fatalf("delays of %v in all, want up to 48 hours", sum)
		}
	}
	if Profile().Timeout != 5*time.Second {
		t.Errorf("timeout %v", Profile().Timeout)
	}
	check.HTTPSOnly(t, Config())
}

func events() []webhook.Event {
	var events []webhook.Event
	for n, document := range check.Documents() {
		events = append(events, webhook.Event{Type: Catalog()[n].Name, Data: document})
	}
	return events
}

func TestSvixVerifiesAttemptAndRetry(t *testing.T) {
	receiver := node.Start(t, "svix.mjs", "SIGNING_SECRET="+secret)
	check.Retried(t, check.Case{Config: Config(), Endpoint: endpoint(receiver.URL + "/webhook"), Events: events()}, receiver)
}

func TestSvixVerifiesTheGeneratedSecretAndBothDuringARotation(t *testing.T) {
	receiver := node.Start(t, "svix.mjs", "SIGNING_SECRET="+secret)
	e := endpoint(receiver.URL + "/webhook")
	e.Secrets = []webhook.Secret{webhook.NewSecret(), {Value: secret, ExpiresAt: time.Now().Add(time.Hour)}}
	check.Retried(t, check.Case{Config: Config(), Endpoint: e, Events: events()[:1]}, receiver)
}

func TestSvixRefusesAnotherSecret(t *testing.T) {
	receiver := node.Start(t, "svix.mjs", "SIGNING_SECRET="+webhook.NewSecret().Value)
	check.Refused(t, check.Case{Config: Config(), Endpoint: endpoint(receiver.URL + "/webhook"), Events: events()}, 400)
}
