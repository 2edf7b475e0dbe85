// Package check is what the examples' tests have in common: documents that are
// hard to carry, and deliveries whose first attempt fails.
package check

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/examples/internal/demo"
	"github.com/outhook/webhook/examples/internal/node"
)

// Documents returns documents with everything that a careless encoder changes:
// as Go values, as a struct with raw parts, and as raw JSON with spaces.
func Documents() []any {
	const raw = ` { "id" : 7, "_id": "raw", "type":"invoice", "title" : "\u003cb\u003e & \u2028 \ud83d\ude00 \ud800",
		"amount" : 1500.00 , "large":1e21, "small": 1E-7, "tenth":0.10, "zero":-0, "2":"b", "1":"a",
		"__proto__" : { "empty" : [ { } , [ ] , "" ] }, "twice": 1, "twice": 2 } `
	type document struct {
		ID     int             `json:"id"`
		Text   string          `json:"_id"`
		Type   string          `json:"type"`
		Title  string          `json:"title"`
		Amount json.Number     `json:"amount"`
		Large  float64         `json:"large"`
		Raw    json.RawMessage `json:"raw"`
	}
	return []any{
		map[string]any{
			"id": 7, "_id": "map", "type": "invoice", "title": "<a href=\"?x=1&y=2\">'\u2028\u2029\u0000\b\t\u007f\\/ 📄👩‍⚖️ naïve",
			"amounts": []any{0.1, 1e21, 1e-7, json.Number("1500.00"), json.Number("1E21"), 9007199254740991},
			"empty":   map[string]any{"object": map[string]any{}, "array": []any{}, "string": "", "null": nil, "nested": []any{[]any{[]any{}}, map[string]any{"": ""}}},
			"10":      "ten", "9": "nine", "01": "not an index",
		},
		document{7, "struct", "invoice", "<&>\u2028😀", "1500.00", 1e21, json.RawMessage(raw)},
		json.RawMessage(raw),
	}
}

// Case is a webhook and what is delivered to it: fewer than five events, because
// so many first attempts that fail make the library leave the endpoint alone.
type Case struct {
	Config   webhook.Config
	Endpoint webhook.Endpoint
	Events   []webhook.Event
}

// Retried delivers the events to a receiver whose code must accept each of them
// twice: the first acceptance becomes a failure on its way back. It returns the
// reports.
func Retried(t *testing.T, c Case, r *node.Receiver) []node.Report {
	t.Helper()
	var reports []node.Report
	for _, d := range Delivered(t, c, 2) {
		for range d.Attempts {
			reports = append(reports, r.Next(t))
		}
	}
	for _, report := range reports {
		if report.Status != http.StatusOK {
			t.Errorf("the receiver's code answered %d to %s", report.Status, report.Body)
		}
	}
	return reports
}

// Delivered delivers the events and checks how many attempts each takes.
func Delivered(t *testing.T, c Case, attempts int) []webhook.Delivery {
	t.Helper()
	// Short delays, and room for one attempt too many; Delays looks at the
	// product's own policy.
	c.Config.Profile.Retry = webhook.Schedule(slices.Repeat([]time.Duration{time.Millisecond}, attempts)...)
	deliveries := deliver(t, c)
	if len(deliveries) != len(c.Events) {
		t.Fatalf("%d deliveries, want %d", len(deliveries), len(c.Events))
	}
	for _, d := range deliveries {
		if d.State != webhook.StateDelivered || d.Attempts != attempts {
			t.Errorf("%s: %s after %d attempts (%d %s), want delivered after %d", d.EventType, d.State, d.Attempts, d.LastStatus, d.LastError, attempts)
		}
	}
	return deliveries
}

// Refused delivers the events to a receiver that must accept none of them.
func Refused(t *testing.T, c Case, status int) {
	t.Helper()
	c.Config.Profile.Retry = webhook.Schedule()
	deliveries := deliver(t, c)
	if len(deliveries) != len(c.Events) {
		t.Errorf("%d deliveries, want %d", len(deliveries), len(c.Events))
	}
	for _, d := range deliveries {
		if d.State != webhook.StateExhausted || d.LastStatus != status {
			t.Errorf("%s: %s with status %d, want exhausted with %d", d.EventType, d.State, d.LastStatus, status)
		}
	}
}

// Stringifiable checks that a receiver which stringifies the parsed body gets
// the bytes that came.
func Stringifiable(t *testing.T, reports []node.Report) {
	t.Helper()
	for _, r := range reports {
		if !r.Same {
			t.Errorf("JSON.stringify(JSON.parse(body)) differs from the body %s", r.Body)
		}
	}
}

// Request publishes one event and returns the request that came of it.
func Request(t *testing.T, config webhook.Config, endpoint webhook.Endpoint, event webhook.Event) demo.Request {
	t.Helper()
	receiver := demo.NewReceiver(0)
	defer receiver.Close()
	endpoint.URL = receiver.URL
	deliver(t, Case{Config: config, Endpoint: endpoint, Events: []webhook.Event{event}})
	requests := receiver.Requests()
	if len(requests) != 1 {
		t.Fatalf("%d requests, want 1", len(requests))
	}
	return requests[0]
}

// Is checks that a request is a POST with this body and exactly these headers;
// Content-Type, Content-Length and the default User-Agent are added to them.
func Is(t *testing.T, got demo.Request, body string, headers map[string]string) {
	t.Helper()
	want := http.Header{"User-Agent": {"Outhook/1"}, "Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(len(body))}}
	for name, value := range headers {
		want[http.CanonicalHeaderKey(name)] = []string{value}
	}
	if got.Method != http.MethodPost {
		t.Errorf("method %s", got.Method)
	}
	if string(got.Body) != body {
		t.Errorf("body\n got %s\nwant %s", got.Body, body)
	}
	if !maps.EqualFunc(got.Header, want, slices.Equal) {
		t.Errorf("headers\n got %v\nwant %v", got.Header, want)
	}
}

// HMAC returns the hex HMAC-SHA256 of a text, by the standard library alone.
func HMAC(secret, text string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// HMAC64 returns the base64 HMAC-SHA256 of a text, by the standard library alone.
// The key is what follows "whsec_", in base64.
func HMAC64(t *testing.T, secret, text string) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Recent checks that a timestamp is that of the last minute, in Unix seconds.
func Recent(t *testing.T, timestamp string) {
	t.Helper()
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if age := time.Since(time.Unix(seconds, 0)); err != nil || age < 0 || age > time.Minute {
		t.Errorf("timestamp %q", timestamp)
	}
}

// Delays returns the waits of a policy until it gives up, at most so many.
func Delays(p webhook.RetryPolicy, most int) []time.Duration {
	var delays []time.Duration
	elapsed := time.Duration(0)
	for attempt := 1; attempt <= most; attempt++ {
		delay, again := p.Next(webhook.Failure{Attempt: attempt, Elapsed: elapsed, StatusCode: http.StatusServiceUnavailable})
		if !again {
			break
		}
		delays = append(delays, delay)
		elapsed += delay
	}
	return delays
}

// HTTPSOnly checks that the product's own configuration refuses http URLs and
// addresses that are not public.
func HTTPSOnly(t *testing.T, config webhook.Config) {
	t.Helper()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), config)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"http://hooks.example.com/", "https://127.0.0.1/"} {
		if _, err := d.Register(t.Context(), webhook.Endpoint{URL: url}); err == nil {
			t.Errorf("%s was registered", url)
		}
	}
	if _, err := d.Register(t.Context(), webhook.Endpoint{URL: "https://hooks.example.com/"}); err != nil {
		t.Errorf("an https URL: %v", err)
	}
}

// Runs runs a demonstration to its end and checks that it prints each line.
func Runs(t *testing.T, run func(context.Context, io.Writer) error, lines ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if !bytes.Contains(out.Bytes(), []byte(line)) {
			t.Errorf("the demonstration did not print %q but:\n%s", line, out.Bytes())
		}
	}
}

// deliver publishes the events on the loopback interface, waits for the end of
// their deliveries and returns these.
func deliver(t *testing.T, c Case) []webhook.Delivery {
	t.Helper()
	finished := make(demo.Finished, 100)
	config := c.Config
	config.Network, config.Observer = demo.Loopback(), finished
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Register(t.Context(), c.Endpoint); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var page webhook.Page[webhook.Delivery]
	if err := demo.While(ctx, d, func(ctx context.Context) error {
		n, err := demo.PublishAll(ctx, d, c.Events...)
		if err != nil {
			return err
		}
		if err := finished.Wait(ctx, n); err != nil {
			return err
		}
		page, err = d.Deliveries(ctx, webhook.DeliveryFilter{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return page.Items
}
