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

// run shows an endpoint that does not answer until its delivery is given up. It
// is disabled, as the library does by itself when that goes on for a day; has its
// secret regenerated; is enabled again; and what was given up is sent once more.
func run(ctx context.Context, out io.Writer) error {
	finished := make(demo.Finished, 100)
	config := Config()
	config.Network, config.Observer = demo.Loopback(), finished
	config.Profile.Retry = demo.Hasten(config.Profile.Retry, 10_000)
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
		if err := d.Disable(ctx, endpoint.ID, "it does not respond consistently"); err != nil {
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
		failed, err := d.Deliveries(ctx, webhook.DeliveryFilter{States: []webhook.State{webhook.StateExhausted}})
		if err != nil {
			return err
		}
		for _, delivery := range failed.Items {
			if _, err := d.Resend(ctx, delivery.ID); err != nil {
				return err
			}
		}
		if err := finished.Wait(ctx, len(failed.Items)); err != nil {
			return err
		}
		requests := receiver.Requests()
		fmt.Fprint(out, "Enabled again. The last request:\n\n")
		demo.Show(out, requests[len(requests)-1])
		return demo.Print(ctx, out, d.View)
	})
}
