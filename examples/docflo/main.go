package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/examples/internal/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run shows a webhook for each way of authentication, the last one signed too,
// and one that is set to Inactive.
func run(ctx context.Context, out io.Writer) error {
	const tenant = "your-tenant-id"
	finished := make(demo.Finished, 100)
	config := Config()
	config.Network, config.Observer = demo.Loopback(), finished
	config.Profile.Retry = demo.Hasten(webhook.DefaultRetry(), 10_000)
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), config)
	if err != nil {
		return err
	}
	view := d.Tenant(tenant)

	receiver := demo.NewReceiver(0)
	defer receiver.Close()
	flaky := demo.NewReceiver(2)
	defer flaky.Close()
	processed := []string{"document.processed"}
	var last webhook.Endpoint
	for _, e := range []webhook.Endpoint{
		{URL: receiver.URL, Description: "none", Events: processed},
		{URL: receiver.URL, Description: "basic", Events: processed, Auth: webhook.BasicAuth("docflo", "s3cret")},
		{URL: receiver.URL, Description: "bearer", Events: processed, Auth: webhook.BearerToken("your-token")},
		{URL: flaky.URL, Description: "API key, signed, fails twice", Events: processed,
			Auth: webhook.APIKey("x-api-key", "your-api-key"), Secrets: []webhook.Secret{{Value: "your-signing-secret"}}},
		{URL: receiver.URL, Description: "inactive", Events: processed},
	} {
		if last, err = view.Register(ctx, e); err != nil {
			return err
		}
	}
	if err := view.Disable(ctx, last.ID, "set to Inactive"); err != nil {
		return err
	}

	return demo.While(ctx, d, func(ctx context.Context) error {
		n, err := demo.PublishAll(ctx, d, webhook.Event{Type: "document.processed", Tenant: tenant, Data: example("ANALYZED")})
		if err != nil {
			return err
		}
		if err := finished.Wait(ctx, n); err != nil {
			return err
		}
		fmt.Fprint(out, "The signed request:\n\n")
		demo.Show(out, flaky.Requests()[0])
		return demo.Print(ctx, out, view)
	})
}
