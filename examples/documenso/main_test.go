package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/examples/internal/check"
	"github.com/outhook/webhook/examples/internal/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDemonstration(t *testing.T) {
	check.Runs(t, run,
		"X-Documenso-Secret: my-webhook-secret\n",
		"  attempt 5: 503 \"try again later\\n\"\n",
		"DOCUMENT_SIGNED      all events, with a secret          test      delivered   1          200\n",
		"DOCUMENT_COMPLETED   DOCUMENT_COMPLETED only, failing   publish   exhausted   5          503\n",
		"DOCUMENT_COMPLETED   DOCUMENT_COMPLETED only, failing   resend    delivered   1          200\n",
	)
}

func TestRequestIsThePages(t *testing.T) {
	event := webhook.Event{
		Type: "DOCUMENT_COMPLETED", Time: time.Date(2025, 3, 10, 18, 53, 46, 0, time.FixedZone("CET", 3600)),
		Data: json.RawMessage(`{"title":"a < b & c","id":10,"recipients":[]}`),
	}
	const body = `{"event":"DOCUMENT_COMPLETED","payload":{"title":"a < b & c","id":10,"recipients":[]},"createdAt":"2025-03-10T17:53:46.000Z"}`
	t.Run("with a secret", func(t *testing.T) {
		got := check.Request(t, Config(), webhook.Endpoint{Secrets: []webhook.Secret{{Value: "my-webhook-secret"}}}, event)
		check.Is(t, got, body, map[string]string{"X-Documenso-Secret": "my-webhook-secret"})
	})
	t.Run("without", func(t *testing.T) {
		check.Is(t, check.Request(t, Config(), webhook.Endpoint{}, event), body, nil)
	})
}

func TestPolicyIsThePages(t *testing.T) {
	want := []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour}
	if got := check.Delays(Profile().Retry, 100); !slices.Equal(got, want) {
		t.Errorf("delays %v, want %v", got, want)
	}
	if Profile().Timeout != 30*time.Second {
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

func TestGoReceiverOfThePageTakesAttemptAndRetry(t *testing.T) {
	var mu sync.Mutex
	requests := make(map[string]int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		webhookHandler(answer, r)
		var got struct{ Event, CreatedAt string }
		if err := json.Unmarshal(body, &got); err != nil || answer.Code != http.StatusOK || answer.Body.String() != "{\"received\":true}\n" {
			t.Errorf("the page's handler answered %d %s to %s", answer.Code, answer.Body, body)
		}
		if _, err := time.Parse("2006-01-02T15:04:05.000Z", got.CreatedAt); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if requests[string(body)]++; requests[string(body)] == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	check.Delivered(t, check.Case{Config: Config(), Endpoint: webhook.Endpoint{URL: server.URL + "/webhooks/documenso"}, Events: events()}, 2)
	if len(requests) != len(events()) {
		t.Errorf("%d different bodies, want %d", len(requests), len(events()))
	}
}

func TestExpressReceiverOfThePageTakesAttemptAndRetry(t *testing.T) {
	receiver := node.Start(t, "documenso.js")
	reports := check.Retried(t, check.Case{
		Config: Config(), Events: events(),
		Endpoint: webhook.Endpoint{URL: receiver.URL + "/webhooks/documenso", Secrets: []webhook.Secret{{Value: "s3cret"}}},
	}, receiver)
	check.Stringifiable(t, reports)
	for _, r := range reports {
		if r.Headers["x-documenso-secret"] != "s3cret" {
			t.Errorf("headers %v", r.Headers)
		}
	}
	for _, line := range []string{"Received event: DOCUMENT_CREATED\n", "Document ID: 7\n", "Document title: <&>\u2028😀\n"} {
		if got := strings.Count(receiver.Printed(), line); got < 2 {
			t.Errorf("the receiver printed %q %d times, want it for attempt and retry:\n%s", line, got, receiver.Printed())
		}
	}
}

func TestSampleOfATestIsADocument(t *testing.T) {
	for _, e := range Catalog() {
		if _, ok := e.Example.(Document); !ok || reflect.ValueOf(e.Example).IsZero() {
			t.Errorf("%s: example %v", e.Name, e.Example)
		}
	}
}
