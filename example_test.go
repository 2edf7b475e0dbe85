package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/outhook/webhook"
)

// loopback lets the examples send to a server of their own. Production leaves
// Network at its zero value: HTTPS to public addresses only.
var loopback = webhook.Network{
	AllowHTTP: true,
	Allow:     []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
}

// customer is a customer's server and what it has received.
type customer struct {
	*httptest.Server
	received chan string
}

// newCustomer starts a server that answers with 200 and remembers what show
// makes of each request.
func newCustomer(show func(h http.Header, body string) string) customer {
	received := make(chan string, 10)
	return customer{received: received, Server: httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- show(r.Header, string(body))
	}))}
}

func showBody(_ http.Header, body string) string { return body }

func showID(h http.Header, _ string) string { return h.Get("Webhook-Id") }

// run runs d until the returned function is called.
func run(d *webhook.Dispatcher) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			log.Fatal(err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// A whole program: a customer's server that verifies what it receives, an
// endpoint, an event, and its delivery.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()

	// The customer's server, which was told the secret.
	var secrets []webhook.Secret
	received := make(chan string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = webhook.StandardWebhooks{}.Verify(r.Header, body, secrets, time.Now())
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		received <- string(body)
	}))
	defer server.Close()

	// The application. With public receivers, Config needs no Network.
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network: webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil {
		log.Fatal(err)
	}
	endpoint, err := d.Register(ctx, webhook.Endpoint{
		URL:    server.URL,
		Tenant: "acme",
		Events: []string{"document.*"},
	})
	if err != nil {
		log.Fatal(err)
	}
	secrets = endpoint.Secrets // for the customer's page: they are shown this once

	done := make(chan error)
	go func() { done <- d.Run(ctx) }()

	_, err = d.Publish(ctx, webhook.Event{
		Type:   "document.completed",
		Tenant: "acme",
		Time:   time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC),
		Data:   map[string]any{"id": "doc_1", "pages": 3},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-received)

	stop()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
	// Output: {"type":"document.completed","timestamp":"2026-03-14T15:09:26Z","data":{"id":"doc_1","pages":3}}
}

// A product promises its own wire format in a Profile.
func ExampleNewDispatcher() {
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Profile: webhook.Profile{
			Signer:    webhook.HMAC{Header: "X-Acme-Signature", Prefix: "sha256="},
			Envelope:  webhook.DataEnvelope,
			UserAgent: "Acme-Webhooks/1.0",
			Timeout:   10 * time.Second,
			Retry:     webhook.Schedule(time.Minute, 10*time.Minute, time.Hour),
		},
		Network: loopback,
	})
	if err != nil {
		log.Fatal(err)
	}

	c := newCustomer(func(h http.Header, body string) string {
		signature := h.Get("X-Acme-Signature")
		return fmt.Sprintf("%s: %s (signed with %s…)", h.Get("User-Agent"), body, signature[:7])
	})
	defer c.Close()
	must(d.Register(context.Background(), webhook.Endpoint{URL: c.URL}))
	must(d.Publish(context.Background(), webhook.Event{Type: "invoice.paid", Data: map[string]int{"amount": 1500}}))
	stop := run(d)
	defer stop()
	fmt.Println(<-c.received)
	// Output: Acme-Webhooks/1.0: {"amount":1500} (signed with sha256=…)
}

// A mistake in the Config shows at the start.
func ExampleNewDispatcher_mistakes() {
	_, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Lease:        time.Second,
		PollInterval: -1,
	})
	fmt.Println(errors.Is(err, webhook.ErrInvalid))
	fmt.Println(err)
	// Output:
	// true
	// new dispatcher: PollInterval: invalid: -1ns is less than 1ms
	// Lease: invalid: 1s must exceed the longest Timeout, 15s
}

// With a Key, business code may publish the same event again, whatever became
// of the first try.
func ExampleDispatcher_Publish() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{}))
	must(d.Register(ctx, webhook.Endpoint{URL: "https://customer.example/webhooks", Tenant: "acme"}))

	event := webhook.Event{
		Type:   "order.shipped",
		Tenant: "acme",
		Key:    "order-42-shipped",
		Data:   map[string]string{"order": "42"},
	}
	for range 2 {
		receipt, err := d.Publish(ctx, event)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(receipt.Deliveries, receipt.Duplicate)
	}

	event.Data = map[string]string{"order": "43"}
	_, err := d.Publish(ctx, event)
	fmt.Println(errors.Is(err, webhook.ErrConflict))
	// Output:
	// 1 false
	// 0 true
	// true
}

// A batch is published as a whole or not at all.
func ExampleDispatcher_PublishBatch() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{}))
	must(d.Register(ctx, webhook.Endpoint{URL: "https://customer.example/webhooks", Events: []string{"order.*"}}))

	receipts, err := d.PublishBatch(ctx, []webhook.Event{
		{ID: "evt_1", Type: "order.paid"},
		{ID: "evt_2", Type: "order.shipped"},
		{ID: "evt_3", Type: "stock.changed"},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range receipts {
		fmt.Println(r.EventID, r.Deliveries)
	}
	// Output:
	// evt_1 1
	// evt_2 1
	// evt_3 0
}

// Handlers of a customer's requests work on that customer's View: an ID of
// somebody else does not exist there.
func ExampleDispatcher_Tenant() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{}))

	acme, globex := d.Tenant("acme"), d.Tenant("globex")
	e := must(acme.Register(ctx, webhook.Endpoint{URL: "https://acme.example/webhooks"}))
	fmt.Println("tenant:", e.Tenant)

	_, err := globex.Endpoint(ctx, e.ID)
	fmt.Println("globex finds it:", !errors.Is(err, webhook.ErrNotFound))
	page := must(acme.Endpoints(ctx, webhook.EndpointFilter{}))
	fmt.Println("acme has:", page.Total)
	// Output:
	// tenant: acme
	// globex finds it: false
	// acme has: 1
}

func ExampleView_Register() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{}))

	e, err := d.Tenant("acme").Register(ctx, webhook.Endpoint{
		URL:       "https://acme.example/webhooks",
		Events:    []string{"document.*", "invoice.paid"},
		RateLimit: 10,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("show once:", strings.HasPrefix(e.Secrets[0].Value, "whsec_"))

	e = must(d.Endpoint(ctx, e.ID))
	fmt.Println("read back:", e.Events, len(e.Secrets))

	// All mistakes are named at once, for a form to show.
	_, err = d.Tenant("acme").Register(ctx, webhook.Endpoint{URL: "http://169.254.169.254/", RateLimit: -1})
	fmt.Println(err)
	// Output:
	// show once: true
	// read back: [document.* invoice.paid] 0
	// register: URL: invalid: URL not permitted: its scheme must be https; Network.AllowHTTP permits http
	// RateLimit: invalid: -1 is not a number from 0
}

// For a day, requests carry the signatures of both secrets.
func ExampleView_RotateSecret() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{Network: loopback}))
	c := newCustomer(func(h http.Header, _ string) string {
		return fmt.Sprint("signatures: ", len(strings.Fields(h.Get("Webhook-Signature"))))
	})
	defer c.Close()
	e := must(d.Register(ctx, webhook.Endpoint{URL: c.URL}))

	next, err := d.RotateSecret(ctx, e.ID, webhook.Secret{}, 24*time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("new:", next.Value != e.Secrets[0].Value)
	must(d.SendTest(ctx, e.ID, "ping"))
	fmt.Println(<-c.received)
	// Output:
	// new: true
	// signatures: 2
}

// SendTest answers with the attempt, so that a customer sees at once why their
// endpoint does not work.
func ExampleView_SendTest() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network: loopback,
		Catalog: []webhook.EventType{{Name: "invoice.paid", Example: map[string]any{"id": "inv_1", "amount": 1500}}},
	}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "unknown route", http.StatusNotFound)
	}))
	defer server.Close()
	e := must(d.Register(ctx, webhook.Endpoint{URL: server.URL}))

	attempt, err := d.SendTest(ctx, e.ID, "invoice.paid")
	if err != nil {
		log.Fatal(err) // the test could not be made
	}
	fmt.Println("error:", attempt.Error)
	fmt.Printf("response: %s", attempt.ResponseBody)
	// Output:
	// error: status 404
	// response: unknown route
}

// A customer lost a message: their support sends it again, under the same
// message ID.
func ExampleView_Resend() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{Network: loopback}))
	c := newCustomer(showID)
	defer c.Close()
	must(d.Register(ctx, webhook.Endpoint{URL: c.URL}))
	must(d.Publish(ctx, webhook.Event{ID: "evt_1", Type: "invoice.paid"}))
	stop := run(d)
	defer stop()
	fmt.Println(<-c.received)

	page := must(d.Deliveries(ctx, webhook.DeliveryFilter{EventID: "evt_1"}))
	again, err := d.Resend(ctx, page.Items[0].ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(again.State, again.Origin)
	fmt.Println(<-c.received)
	// Output:
	// evt_1
	// pending resend
	// evt_1
}

// An endpoint was down for longer than the retries last. Once it is back, all
// that it missed is delivered.
func ExampleView_Replay() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{Network: loopback}))
	c := newCustomer(showID)
	defer c.Close()
	e := must(d.Register(ctx, webhook.Endpoint{URL: c.URL, Concurrency: 1}))
	if err := d.Disable(ctx, e.ID, "maintenance"); err != nil {
		log.Fatal(err)
	}
	must(d.Publish(ctx, webhook.Event{ID: "evt_1", Type: "invoice.paid"}))
	must(d.Publish(ctx, webhook.Event{ID: "evt_2", Type: "invoice.paid"}))
	if err := d.Enable(ctx, e.ID); err != nil {
		log.Fatal(err)
	}

	filter := webhook.ReplayFilter{EndpointID: e.ID, Missed: true, From: time.Now().Add(-24 * time.Hour)}
	for {
		result, err := d.Replay(ctx, filter)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("created:", result.Created)
		if result.Next == "" {
			break
		}
		filter.Cursor = result.Next
	}
	stop := run(d)
	defer stop()
	fmt.Println(<-c.received)
	fmt.Println(<-c.received)
	// Output:
	// created: 2
	// evt_1
	// evt_2
}

// What happened to an event, for a page that shows it.
func ExampleView_Deliveries() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network: loopback,
		Profile: webhook.Profile{Retry: webhook.Schedule(time.Millisecond)},
	}))
	requests := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests <- struct{}{}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer server.Close()
	must(d.Register(ctx, webhook.Endpoint{URL: server.URL}))
	must(d.Publish(ctx, webhook.Event{ID: "evt_1", Type: "invoice.paid"}))
	stop := run(d)
	<-requests
	<-requests
	stop() // when the second attempt is logged

	page, err := d.Deliveries(ctx, webhook.DeliveryFilter{States: []webhook.State{webhook.StateExhausted}})
	if err != nil {
		log.Fatal(err)
	}
	for _, delivery := range page.Items {
		fmt.Println(delivery.EventID, delivery.State, "after", delivery.Attempts, "attempts")
		for _, a := range must(d.Attempts(ctx, delivery.ID)) {
			fmt.Println(a.Number, a.Error)
		}
	}
	// Output:
	// evt_1 exhausted after 2 attempts
	// 1 status 500
	// 2 status 500
}

// With a Catalog, a typing error is refused instead of being sent to nobody, and
// a payload that breaks the product's promise is never sent.
func ExampleEventType() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Catalog: []webhook.EventType{{
			Name:        "invoice.paid",
			Group:       "Invoices",
			Description: "An invoice was paid in full.",
			Example:     map[string]any{"id": "inv_1", "amount": 1500},
			Validate: func(data json.RawMessage) error {
				var invoice struct{ ID string }
				if err := json.Unmarshal(data, &invoice); err != nil {
					return err
				}
				if invoice.ID == "" {
					return errors.New("id is missing")
				}
				return nil
			},
		}},
	}))

	_, err := d.Publish(ctx, webhook.Event{Type: "invoice.payed"})
	fmt.Println(errors.Is(err, webhook.ErrUnknownEventType))
	_, err = d.Publish(ctx, webhook.Event{Type: "invoice.paid", Data: map[string]any{"amount": 1500}})
	fmt.Println(err)
	_, err = d.Register(ctx, webhook.Endpoint{URL: "https://acme.example/", Events: []string{"order.*"}})
	fmt.Println(errors.Is(err, webhook.ErrUnknownEventType))
	// Output:
	// true
	// publish: invalid Data of event type "invoice.paid": id is missing
	// true
}

// Metrics are counted, and alerts raised, by an Observer.
func ExampleObserverFunc() {
	ctx := context.Background()
	delivered := make(chan int, 1)
	observer := webhook.ObserverFunc(func(_ context.Context, n webhook.Notice) {
		switch n := n.(type) {
		case webhook.AttemptFinished:
			// histogram.Observe(n.Duration.Seconds())
		case webhook.DeliveryDelivered:
			delivered <- n.Attempts
		case webhook.EndpointDisabled:
			log.Printf("endpoint %s of %s was disabled: %s", n.EndpointID, n.Tenant, n.Reason)
		}
	})
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{Network: loopback, Observer: observer}))
	c := newCustomer(showID)
	defer c.Close()
	must(d.Register(ctx, webhook.Endpoint{URL: c.URL}))
	must(d.Publish(ctx, webhook.Event{Type: "invoice.paid"}))
	stop := run(d)
	defer stop()
	fmt.Println("delivered after", <-delivered, "attempt")
	// Output: delivered after 1 attempt
}

// An application that logs with slog passes its handler on.
func ExampleNewLogger() {
	ctx := context.Background()
	handler := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug, // each attempt; problems alone from LevelWarn
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.LevelKey, slog.MessageKey, "status": // the same each time
				return a
			}
			return slog.Attr{}
		},
	})
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network: loopback,
		Logger:  webhook.NewLogger(handler),
	}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	e := must(d.Register(ctx, webhook.Endpoint{URL: server.URL}))
	must(d.SendTest(ctx, e.ID, "ping"))
	// Output: level=DEBUG msg=attempt status=204
}

// Requests reach the company's own network as well, but not its database hosts.
func ExampleNetwork() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network: webhook.Network{
			Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Deny:  []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")},
		},
	}))
	for _, url := range []string{
		"https://customer.example/webhooks",
		"https://10.1.2.3/webhooks",
		"https://10.9.0.1/webhooks",
		"https://169.254.169.254/latest/meta-data",
	} {
		_, err := d.Register(ctx, webhook.Endpoint{URL: url})
		fmt.Println(url, errors.Is(err, webhook.ErrBlockedAddress))
	}
	// Output:
	// https://customer.example/webhooks false
	// https://10.1.2.3/webhooks false
	// https://10.9.0.1/webhooks true
	// https://169.254.169.254/latest/meta-data true
}

// A receiver behind a gateway asks for a token, beside the signature.
func ExampleAuth() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{Network: loopback}))
	c := newCustomer(func(h http.Header, _ string) string { return h.Get("Authorization") })
	defer c.Close()
	e := must(d.Register(ctx, webhook.Endpoint{URL: c.URL, Auth: webhook.BearerToken("t0ken")}))

	attempt := must(d.SendTest(ctx, e.ID, "ping"))
	fmt.Println(<-c.received)
	fmt.Println("in the log:", attempt.RequestHeaders.Get("Authorization"))
	// Output:
	// Bearer t0ken
	// in the log: [redacted]
}

// What happens to one document arrives in order, even when an attempt fails;
// what happens to others does not wait.
func ExampleEndpoint_ordered() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network: loopback,
		Profile: webhook.Profile{Retry: webhook.Schedule(time.Millisecond)},
	}))
	requests := make(chan string)
	var busy sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r.Header.Get("Webhook-Id")
		busy.Do(func() { w.WriteHeader(http.StatusServiceUnavailable) })
	}))
	defer server.Close()
	must(d.Register(ctx, webhook.Endpoint{URL: server.URL, Ordered: true}))

	for _, what := range []string{"created", "signed", "archived"} {
		must(d.Publish(ctx, webhook.Event{ID: what, Type: "document." + what, OrderingKey: "doc_1"}))
	}
	stop := run(d)
	defer stop()
	for range 4 {
		fmt.Println(<-requests)
	}
	// Output:
	// created
	// created
	// signed
	// archived
}

// One process serves customers of the current format and of the one before it.
func ExampleConfig_profiles() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network: loopback,
		Profiles: map[string]webhook.Profile{
			"legacy": {
				Signer: webhook.SecretHeader{Name: "X-Legacy-Token"},
				Envelope: func(e webhook.Event) ([]byte, error) {
					return webhook.MarshalJSON(map[string]any{"event": e.Type, "payload": e.Data})
				},
			},
		},
	}))
	current, legacy := newCustomer(showBody), newCustomer(showBody)
	defer current.Close()
	defer legacy.Close()
	must(d.Register(ctx, webhook.Endpoint{URL: current.URL}))
	must(d.Register(ctx, webhook.Endpoint{URL: legacy.URL, Profile: "legacy"}))

	must(d.Publish(ctx, webhook.Event{Type: "invoice.paid", Time: signedAt, Data: map[string]string{"id": "inv_1"}}))
	stop := run(d)
	defer stop()
	fmt.Println(<-current.received)
	fmt.Println(<-legacy.received)
	// Output:
	// {"type":"invoice.paid","timestamp":"2026-03-14T15:09:26.535Z","data":{"id":"inv_1"}}
	// {"event":"invoice.paid","payload":{"id":"inv_1"}}
}

// Receivers of CloudEvents in structured mode.
func ExampleProfile_cloudEvents() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network: loopback,
		Profile: webhook.Profile{
			Envelope:    webhook.CloudEvents("https://app.example/documents"),
			ContentType: "application/cloudevents+json",
		},
	}))
	c := newCustomer(func(h http.Header, body string) string { return h.Get("Content-Type") + "\n" + body })
	defer c.Close()
	must(d.Register(ctx, webhook.Endpoint{URL: c.URL}))
	must(d.Publish(ctx, webhook.Event{ID: "evt_1", Type: "document.signed", Time: signedAt, Data: json.RawMessage(`{"id":"doc_1"}`)}))
	stop := run(d)
	defer stop()
	fmt.Println(<-c.received)
	// Output:
	// application/cloudevents+json
	// {"specversion":"1.0","id":"evt_1","source":"https://app.example/documents","type":"document.signed","time":"2026-03-14T15:09:26.535Z","datacontenttype":"application/json","data":{"id":"doc_1"}}
}
