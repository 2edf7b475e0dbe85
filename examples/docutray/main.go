package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"time"

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

// run shows an endpoint that keeps failing until it is disabled automatically,
// has its secret regenerated, and is enabled again: what was pending arrives.
func run(ctx context.Context, out io.Writer) error {
	finished := make(demo.Finished, 100)
	config := Config()
	config.Network, config.Observer = demo.Loopback(), finished
	config.Profile.Retry = demo.Hasten(config.Profile.Retry, 10_000)
	config.AutoDisable = 20 * time.Millisecond
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), config)
	if err != nil {
		return err
	}

	receiver := demo.NewReceiver(1000)
	defer receiver.Close()
	endpoint, err := d.Register(ctx, webhook.Endpoint{
		URL: receiver.URL, Description: "conversions", Events: []string{"CONVERSION_COMPLETED", "CONVERSION_FAILED"},
	})
	if err != nil {
		return err
	}
	// Outside a demonstration, endpoint.Secrets[0].Value is shown to the user,
	// once: it is the automatically generated secret.

	return demo.While(ctx, d, func(ctx context.Context) error {
		if _, err := demo.PublishAll(ctx, d, webhook.Event{
			Type: "CONVERSION_COMPLETED", Data: map[string]any{"conversionId": "cnv_8Zk2"},
		}); err != nil {
			return err
		}
		if err := finished.Wait(ctx, 1); err != nil {
			return err
		}
		if endpoint, err = d.Endpoint(ctx, endpoint.ID); err != nil {
			return err
		}
		fmt.Fprintf(out, "Disabled: %s\n", endpoint.DisabledReason)

		secret, err := d.RotateSecret(ctx, endpoint.ID, webhook.Secret{}, 0)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "Regenerated the secret: %v, %d characters\n", secret, len(secret.Value))

		receiver.Recover()
		if err := d.Enable(ctx, endpoint.ID); err != nil {
			return err
		}
		if err := finished.Wait(ctx, 1); err != nil {
			return err
		}
		requests := receiver.Requests()
		fmt.Fprint(out, "Enabled again. The last request:\n\n")
		demo.Show(out, requests[len(requests)-1])
		return demo.Print(ctx, out, d.View)
	})
}
