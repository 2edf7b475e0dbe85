// Quickstart sends webhooks to three receivers, one of which fails twice, and
// prints what was delivered after how many attempts. It keeps them in an SQLite
// file: stop it with Ctrl-C at any time, start it again, and the rest is
// delivered.
//
//	go run ./examples/quickstart
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync/atomic"
	"text/tabwriter"
	"time"

	_ "modernc.org/sqlite"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

func main() {
	file := flag.String("db", filepath.Join(os.TempDir(), "outhook-quickstart.db"), "the SQLite `file`")
	wait := flag.Duration("wait", 2*time.Second, "how long to wait between publishing and delivering")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, *file, *wait); err != nil && !errors.Is(err, context.Canceled) {
		log.Fatal(err)
	}
}

// simple is a signature of our own design; the default is Standard Webhooks.
var simple = webhook.HMAC{Header: "X-Signature", Prefix: "sha256="}

func run(ctx context.Context, out io.Writer, file string, wait time.Duration) (err error) {
	// 1. A store on the application's database. Any driver will do.
	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN(file))
	if err != nil {
		return err
	}
	defer db.Close()
	store := sqlstore.New(db, sqlstore.SQLite)
	if err := store.Migrate(ctx); err != nil {
		return err
	}

	// 2. A dispatcher on the store.
	dispatcher, err := webhook.NewDispatcher(store, webhook.Config{
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
		Network:   webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Retention: 24 * time.Hour,
	})
	if err != nil {
		return err
	}

	defer func() { // after the dispatcher has drained
		if ctx.Err() != nil {
			err = errors.Join(err, interrupted(ctx, out, dispatcher, file))
		}
	}()

	// 3. Endpoints: three customers' receivers with different wishes.
	for _, c := range customers {
		server := httptest.NewServer(c.receiver(dispatcher))
		defer server.Close()
		if err := c.register(ctx, dispatcher, server.URL); err != nil {
			return err
		}
	}

	// 4. Business code publishes; each matching endpoint gets a delivery.
	left, err := pending(ctx, dispatcher)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		fmt.Fprintf(out, "%d deliveries are left from the last time.\n", len(left))
	}
	for _, event := range []webhook.Event{
		{Type: "document.sent", Data: map[string]any{"id": 7, "title": "Lease <draft> & annex"}},
		{Type: "document.signed", Data: map[string]any{"id": 7, "by": "zoë@example.com"}},
		{Type: "invoice.paid", Data: map[string]any{"id": 42, "amount": "1500.00"}},
	} {
		if _, err := dispatcher.Publish(ctx, event); err != nil {
			return err
		}
	}
	rest, err := pending(ctx, dispatcher)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d deliveries wait in %s; they go out in %v. Ctrl-C keeps them for the next time.\n", len(rest), file, wait)
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return ctx.Err()
	}

	// 5. The dispatcher delivers in the background. Ending its context drains:
	// requests in flight are finished, outcomes stored.
	running, stop := context.WithCancel(ctx)
	drained := make(chan error, 1)
	go func() { drained <- dispatcher.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-drained)
	}()
	for left := rest; len(left) > 0; {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		if left, err = pending(ctx, dispatcher); err != nil {
			return err
		}
	}

	// 6. Every delivery and attempt is in the log.
	return report(ctx, out, dispatcher, rest)
}

// interrupted prints what a run that Ctrl-C has ended leaves in the file.
func interrupted(ctx context.Context, out io.Writer, d *webhook.Dispatcher, file string) error {
	left, err := pending(context.WithoutCancel(ctx), d)
	if err == nil {
		fmt.Fprintf(out, "Stopped: %d deliveries are left in %s. Start it again, and they are delivered.\n", len(left), file)
	}
	return err
}

// customer is one of those who receive.
type customer struct {
	id, name string
	profile  string
	events   []string
	verify   func(h http.Header, body []byte, secrets []webhook.Secret) error
	failures int64 // before the first success
}

var customers = []customer{
	{"archive", "archive: every event", "", nil, standard, 0},
	{"crm", "crm: signatures, fails twice", "", []string{"document.signed"}, standard, 2},
	{"ledger", "ledger: invoices, own signature", "simple", []string{"invoice.*"}, ours, 0},
}

func standard(h http.Header, body []byte, secrets []webhook.Secret) error {
	return webhook.StandardWebhooks{}.Verify(h, body, secrets, time.Now())
}

func ours(h http.Header, body []byte, secrets []webhook.Secret) error {
	return simple.Verify(h, webhook.Message{Body: body}, secrets)
}

// register registers the customer's endpoint, or gives it its present URL where
// that was done the last time.
func (c customer) register(ctx context.Context, d *webhook.Dispatcher, url string) error {
	e, err := d.Endpoint(ctx, c.id)
	if errors.Is(err, webhook.ErrNotFound) {
		_, err = d.Register(ctx, webhook.Endpoint{ID: c.id, URL: url, Events: c.events, Profile: c.profile, Secrets: []webhook.Secret{webhook.NewSecret()}})
		return err
	}
	if err != nil {
		return err
	}
	e.URL = url
	_, err = d.Update(ctx, e)
	return err
}

// receiver answers 503 as many times as failures says, and 401 to a request that
// is not signed with the secret. A customer would have copied the secret.
func (c customer) receiver(d *webhook.Dispatcher) http.Handler {
	var requests atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secrets, err := d.Reveal(r.Context(), c.id)
		body, readErr := io.ReadAll(r.Body)
		if err = errors.Join(err, readErr); err == nil {
			err = c.verify(r.Header, body, secrets)
		}
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusUnauthorized)
		case requests.Add(1) <= c.failures:
			http.Error(w, "try again later", http.StatusServiceUnavailable)
		}
	})
}

// pending returns the deliveries that have not ended, the newest first.
func pending(ctx context.Context, d *webhook.Dispatcher) ([]webhook.Delivery, error) {
	page, err := d.Deliveries(ctx, webhook.DeliveryFilter{States: []webhook.State{webhook.StatePending}, Limit: 1000})
	return page.Items, err
}

// report prints what became of deliveries, the oldest first.
func report(ctx context.Context, out io.Writer, d *webhook.Dispatcher, deliveries []webhook.Delivery) error {
	names := make(map[string]string)
	for _, c := range customers {
		names[c.id] = c.name
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "EVENT\tENDPOINT\tSTATE\tATTEMPTS\tLAST STATUS")
	for _, before := range slices.Backward(deliveries) {
		now, err := d.Delivery(ctx, before.ID)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\n", now.EventType, names[now.EndpointID], now.State, now.Attempts, now.LastStatus)
	}
	return w.Flush()
}
