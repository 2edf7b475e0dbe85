package main

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/examples/internal/check"
	"github.com/outhook/webhook/examples/internal/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

func endpoint(url string) webhook.Endpoint {
	return webhook.Endpoint{URL: url, Secrets: []webhook.Secret{{Value: secret}}}
}

func TestDemonstration(t *testing.T) {
	check.Runs(t, run,
		"Disabled: it does not respond consistently\n",
		"Regenerated the secret: [redacted], 50 characters\n",
		"CONVERSION_COMPLETED   conversions   publish   exhausted",
		"CONVERSION_COMPLETED   conversions   resend    delivered",
	)
}

func TestRequestIsThePages(t *testing.T) {
	got := check.Request(t, Config(), endpoint(""), webhook.Event{
		Type: "CONVERSION_COMPLETED", Time: time.Date(2025, 3, 10, 17, 53, 46, 0, time.UTC), Data: map[string]any{"conversionId": "cnv_8Zk2"},
	})
	const body = `{"type":"CONVERSION_COMPLETED","timestamp":"2025-03-10T17:53:46Z","data":{"conversionId":"cnv_8Zk2"}}`
	timestamp, id := got.Header.Get("X-Docutray-Timestamp"), got.Header.Get("X-Docutray-Request-Id")
	check.Recent(t, timestamp)
	if err := uuid.Validate(id); err != nil {
		t.Errorf("X-Docutray-Request-Id: %v", err)
	}
	check.Is(t, got, body, map[string]string{
		"User-Agent":                "Docutray-Webhook/1.0",
		"X-Docutray-Signature":      "sha256=" + check.HMAC(secret, body),
		"X-Docutray-Auth-Signature": "sha256=" + check.HMAC(secret, timestamp+"."+id+".CONVERSION_COMPLETED"),
		"X-Docutray-Timestamp":      timestamp,
		"X-Docutray-Request-Id":     id,
		"X-Docutray-Event":          "CONVERSION_COMPLETED",
	})
}

func TestPolicyIsThePages(t *testing.T) {
	want := []time.Duration{30 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}
	if got := check.Delays(Profile().Retry, 100); !slices.Equal(got, want) {
		t.Errorf("delays %v, want %v", got, want)
	}
	if Profile().Timeout != 30*time.Second {
		t.Errorf("timeout %v", Profile().Timeout)
	}
	if Config().AutoDisable <= 0 {
		t.Error("an endpoint that keeps failing is never disabled")
	}
	check.HTTPSOnly(t, Config())
}

func TestSecretIsGeneratedAndRegeneratedWithoutOverlap(t *testing.T) {
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), Config())
	if err != nil {
		t.Fatal(err)
	}
	e, err := d.Register(t.Context(), webhook.Endpoint{URL: "https://hooks.example.com/"})
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Secrets) != 1 || e.Secrets[0].Value == "" {
		t.Fatal("no secret was generated")
	}
	if _, err := d.RotateSecret(t.Context(), e.ID, webhook.Secret{}, time.Hour); !errors.Is(err, webhook.ErrNotSupported) {
		t.Errorf("regenerate with an overlap: %v, want ErrNotSupported", err)
	}
	next, err := d.RotateSecret(t.Context(), e.ID, webhook.Secret{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	now, err := d.Reveal(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if next == e.Secrets[0] || len(now) != 1 || now[0] != next {
		t.Error("the new secret is not the only one")
	}
}

func events() []webhook.Event {
	var events []webhook.Event
	for n, document := range check.Documents() {
		events = append(events, webhook.Event{Type: Catalog()[n].Name, Data: document})
	}
	return events
}

func TestReceiverVerifiesBothSignaturesOfAttemptAndRetry(t *testing.T) {
	receiver := node.Start(t, "docutray.js", "WEBHOOK_SECRET="+secret)
	reports := check.Retried(t, check.Case{Config: Config(), Endpoint: endpoint(receiver.URL + "/webhook"), Events: events()}, receiver)
	ids := make(map[string]string)
	for _, r := range reports {
		id := r.Headers["x-docutray-request-id"]
		if before, ok := ids[r.Body]; ok && before != id {
			t.Errorf("request ID %s at the retry, %s before", id, before)
		}
		ids[r.Body] = id
	}
	if len(ids) != len(events()) {
		t.Errorf("request IDs %v, want one for each of %d deliveries", ids, len(events()))
	}
}

func TestReceiverRefusesAnotherSecret(t *testing.T) {
	receiver := node.Start(t, "docutray.js", "WEBHOOK_SECRET=another")
	check.Refused(t, check.Case{Config: Config(), Endpoint: endpoint(receiver.URL + "/webhook"), Events: events()}, 401)
}
