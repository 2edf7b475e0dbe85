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

// run shows a team with two webhooks: one that works and is tested, and one that
// fails until it is given up, after which its call is looked at and resent.
func run(ctx context.Context, out io.Writer) error {
	finished := make(demo.Finished, 100)
	config := Config()
	config.Network, config.Observer = demo.Loopback(), finished
	config.Profile.Retry = demo.Hasten(config.Profile.Retry, 20_000)
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), config)
	if err != nil {
		return err
	}
	team := d.Tenant("team-3")

	healthy, failing := demo.NewReceiver(0), demo.NewReceiver(5)
	defer healthy.Close()
	defer failing.Close()
	all, err := team.Register(ctx, webhook.Endpoint{
		URL: healthy.URL, Description: "all events, with a secret",
		Secrets: []webhook.Secret{{Value: "my-webhook-secret"}},
	})
	if err != nil {
		return err
	}
	some, err := team.Register(ctx, webhook.Endpoint{
		URL: failing.URL, Description: "DOCUMENT_COMPLETED only, failing", Events: []string{"DOCUMENT_COMPLETED"},
	})
	if err != nil {
		return err
	}

	// The Test button sends the catalogue's sample, whether or not Run runs.
	test, err := team.SendTest(ctx, all.ID, "DOCUMENT_SIGNED")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Test: status %d. The request was:\n\n", test.StatusCode)
	demo.Show(out, healthy.Requests()[0])

	return demo.While(ctx, d, func(ctx context.Context) error {
		n, err := demo.PublishAll(ctx, d,
			webhook.Event{Type: "DOCUMENT_SIGNED", Tenant: "team-3", Data: example("PENDING")},
			webhook.Event{Type: "DOCUMENT_COMPLETED", Tenant: "team-3", Data: example("COMPLETED")},
		)
		if err != nil {
			return err
		}
		if err := finished.Wait(ctx, n); err != nil {
			return err
		}
		if err := showLog(ctx, out, team, some.ID); err != nil {
			return err
		}
		if err := resendFailed(ctx, team, some.ID); err != nil {
			return err
		}
		if err := finished.Wait(ctx, 1); err != nil {
			return err
		}
		return demo.Print(ctx, out, team)
	})
}

// showLog prints the calls of a webhook with their requests and responses.
func showLog(ctx context.Context, out io.Writer, team *webhook.View, endpointID string) error {
	page, err := team.Deliveries(ctx, webhook.DeliveryFilter{EndpointID: endpointID})
	if err != nil {
		return err
	}
	for _, call := range page.Items {
		body, err := team.Body(ctx, call.ID)
		if err != nil {
			return err
		}
		attempts, err := team.Attempts(ctx, call.ID)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "Log of %s, %s: %s\n", call.EventType, call.State, body)
		for _, a := range attempts {
			fmt.Fprintf(out, "  attempt %d: %d %q\n", a.Number, a.StatusCode, a.ResponseBody)
		}
	}
	_, err = fmt.Fprintln(out)
	return err
}

// resendFailed is the Resend button, on every call that was given up.
func resendFailed(ctx context.Context, team *webhook.View, endpointID string) error {
	failed, err := team.Deliveries(ctx, webhook.DeliveryFilter{
		EndpointID: endpointID, States: []webhook.State{webhook.StateExhausted},
	})
	if err != nil {
		return err
	}
	for _, call := range failed.Items {
		if _, err := team.Resend(ctx, call.ID); err != nil {
			return err
		}
	}
	return nil
}
