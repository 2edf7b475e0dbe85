// Quickstart sends webhooks to three receivers, one of which fails twice, and
// prints what was delivered after how many attempts.
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/outhook/webhook"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// simple is a signature of our own design; the default is Standard Webhooks.
var simple = webhook.HMAC{Header: "X-Signature", Prefix: "sha256="}

func run(ctx context.Context, out io.Writer) (err error) {
	// 1. A dispatcher. An application would give it a store on its database.
	finished := make(chan webhook.Notice, 100)
	dispatcher, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Profile: webhook.Profile{
			Retry: webhook.Schedule(100*time.Millisecond, 200*time.Millisecond, 400*time.Millisecond),
		},
		Profiles: map[string]webhook.Profile{"simple": {Signer: simple}},
		Catalog: []webhook.EventType{
			{Name: "document.sent", Description: "A document is sent to its recipients."},
			{Name: "document.signed", Description: "A recipient signs a document."},
			{Name: "invoice.paid", Description: "An invoice is paid."},
		},
		// Without this line only HTTPS to public addresses is allowed.
		Network: webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Observer: webhook.ObserverFunc(func(_ context.Context, n webhook.Notice) {
			switch n.(type) {
			case webhook.DeliveryDelivered, webhook.DeliveryExhausted:
				finished <- n
			}
		}),
	})
	if err != nil {
		return err
	}

	// 2. It delivers in the background. Ending its context drains: requests in
	// flight are finished, outcomes stored.
	running, stop := context.WithCancel(ctx)
	drained := make(chan error, 1)
	go func() { drained <- dispatcher.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-drained)
	}()

	// 3. Endpoints: three customers' receivers with different wishes.
	standard := func(h http.Header, body []byte, s webhook.Secret) error {
		return webhook.StandardWebhooks{}.Verify(h, body, []webhook.Secret{s}, time.Now())
	}
	ours := func(h http.Header, body []byte, s webhook.Secret) error {
		return simple.Verify(h, webhook.Message{Body: body}, []webhook.Secret{s})
	}
	names := make(map[string]string)
	for _, customer := range []struct {
		name, profile string
		events        []string
		verify        verifier
		failures      int64
	}{
		{"archive: every event", "", nil, standard, 0},
		{"crm: signatures, fails twice", "", []string{"document.signed"}, standard, 2},
		{"ledger: invoices, own signature", "simple", []string{"invoice.*"}, ours, 0},
	} {
		secret := webhook.NewSecret()
		server := httptest.NewServer(receiver(secret, customer.verify, customer.failures))
		defer server.Close()
		endpoint, err := dispatcher.Register(ctx, webhook.Endpoint{
			URL: server.URL, Events: customer.events, Profile: customer.profile, Secrets: []webhook.Secret{secret},
		})
		if err != nil {
			return err
		}
		names[endpoint.ID] = customer.name
	}

	// 4. Business code publishes; each matching endpoint gets a delivery.
	deliveries := 0
	for _, event := range []webhook.Event{
		{Type: "document.sent", Data: map[string]any{"id": 7, "title": "Lease <draft> & annex"}},
		{Type: "document.signed", Data: map[string]any{"id": 7, "by": "zoë@example.com"}},
		{Type: "invoice.paid", Data: map[string]any{"id": 42, "amount": "1500.00"}},
	} {
		receipt, err := dispatcher.Publish(ctx, event)
		if err != nil {
			return err
		}
		deliveries += receipt.Deliveries
	}

	// 5. The observer tells of every delivery that ends.
	for range deliveries {
		select {
		case <-finished:
		case <-ctx.Done():
			return ctx.Err()
		}
	}

	// 6. Every delivery and attempt is in the log.
	return report(ctx, out, dispatcher, names)
}

type verifier func(h http.Header, body []byte, s webhook.Secret) error

// receiver answers 503 as many times as failures says, and 401 to a request that
// is not signed with the secret.
func receiver(secret webhook.Secret, verify verifier, failures int64) http.Handler {
	var requests atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = verify(r.Header, body, secret)
		}
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusUnauthorized)
		case requests.Add(1) <= failures:
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		}
	})
}

// report prints all deliveries, the oldest first.
func report(ctx context.Context, out io.Writer, d *webhook.Dispatcher, names map[string]string) error {
	page, err := d.Deliveries(ctx, webhook.DeliveryFilter{})
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "EVENT\tENDPOINT\tSTATE\tATTEMPTS\tLAST STATUS")
	for _, d := range slices.Backward(page.Items) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\n", d.EventType, names[d.EndpointID], d.State, d.Attempts, d.LastStatus)
	}
	return w.Flush()
}
