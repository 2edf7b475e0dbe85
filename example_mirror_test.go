package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/outhook/webhook"
)

// subscription is a row of a table that the application has had for long and
// goes on to own.
type subscription struct {
	ID       string
	Customer string
	URL      string
	Topics   []string
	Secret   string
}

// endpoint is the row as an endpoint. Nothing else knows how the two relate.
func (s subscription) endpoint() webhook.Endpoint {
	return webhook.Endpoint{
		ID:      s.ID,
		Tenant:  s.Customer,
		URL:     s.URL,
		Events:  s.Topics,
		Secrets: []webhook.Secret{{Value: s.Secret}},
	}
}

// subscriptions is the table. Its methods are where the application writes to
// it; with a store in the same database, both writes are one transaction.
type subscriptions struct {
	rows       map[string]subscription
	dispatcher *webhook.Dispatcher
}

// save inserts or updates a row and its endpoint. An Update has no Rev: the
// table is right, whatever the endpoint was.
func (t *subscriptions) save(ctx context.Context, s subscription) error {
	_, err := t.dispatcher.Update(ctx, s.endpoint())
	if errors.Is(err, webhook.ErrNotFound) {
		_, err = t.dispatcher.Register(ctx, s.endpoint())
	}
	if err != nil {
		return err
	}
	t.rows[s.ID] = s
	return nil
}

// remove deletes a row and its endpoint.
func (t *subscriptions) remove(ctx context.Context, id string) error {
	delete(t.rows, id)
	if err := t.dispatcher.Unregister(ctx, id); !errors.Is(err, webhook.ErrNotFound) {
		return err
	}
	return nil
}

// Endpoints that live in the application's own table are mirrored under the
// table's IDs. Only the unscoped Dispatcher lets the caller choose them.
func Example_mirror() {
	ctx := context.Background()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Profile: webhook.Profile{Signer: webhook.HMAC{Header: "X-Signature"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	table := subscriptions{rows: make(map[string]subscription), dispatcher: d}

	row := subscription{ID: "17", Customer: "acme", URL: "https://acme.example/hooks", Topics: []string{"order.*"}, Secret: "s3cret"}
	if err := table.save(ctx, row); err != nil {
		log.Fatal(err)
	}
	row.URL = "https://acme.example/v2/hooks"
	if err := table.save(ctx, row); err != nil {
		log.Fatal(err)
	}
	fmt.Println(must(d.Endpoint(ctx, "17")).URL)

	receipt := must(d.Publish(ctx, webhook.Event{Type: "order.paid", Tenant: "acme"}))
	fmt.Println("deliveries:", receipt.Deliveries)

	if err := table.remove(ctx, row.ID); err != nil {
		log.Fatal(err)
	}
	receipt = must(d.Publish(ctx, webhook.Event{Type: "order.paid", Tenant: "acme"}))
	fmt.Println("deliveries:", receipt.Deliveries)
	// Output:
	// https://acme.example/v2/hooks
	// deliveries: 1
	// deliveries: 0
}
