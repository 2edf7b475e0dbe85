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

// run shows two endpoints of one account, each with the events it selected. The
// receiver of one fails twice; that of the other verifies what came.
func run(ctx context.Context, out io.Writer) error {
	finished := make(demo.Finished, 100)
	config := Config()
	config.Network, config.Observer = demo.Loopback(), finished
	config.Profile.Retry = demo.Hasten(config.Profile.Retry, 100)
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), config)
	if err != nil {
		return err
	}

	archive, worker := demo.NewReceiver(0), demo.NewReceiver(2)
	defer archive.Close()
	defer worker.Close()
	files, err := d.Register(ctx, webhook.Endpoint{URL: archive.URL, Description: "file events", Events: []string{"file.*"}})
	if err != nil {
		return err
	}
	secrets := files.Secrets // the Signing Secret that the dashboard shows
	if _, err := d.Register(ctx, webhook.Endpoint{
		URL: worker.URL, Description: "finished tasks, fails twice", Events: []string{"task.completed", "task.failed"},
	}); err != nil {
		return err
	}

	return demo.While(ctx, d, func(ctx context.Context) error {
		n, err := demo.PublishAll(ctx, d,
			webhook.Event{ID: "event_wal69rzpapqrm7yj", Type: "file.created", Data: map[string]any{"id": "file_y9f6oitmeoncvcou"}},
			webhook.Event{ID: "event_euyrvozb9302uwhq", Type: "task.created", Data: map[string]any{"id": "task_k2v0tqj8w1cz7hxd"}},
			webhook.Event{ID: "event_0c5d3nq7z1m8xk2f", Type: "task.completed", Data: map[string]any{"id": "task_k2v0tqj8w1cz7hxd"}},
		)
		if err != nil {
			return err
		}
		if err := finished.Wait(ctx, n); err != nil {
			return err
		}
		got := archive.Requests()[0]
		if err := webhook.Svix().Verify(got.Header, got.Body, secrets, time.Now()); err != nil {
			return err
		}
		fmt.Fprint(out, "A request whose signature was verified:\n\n")
		demo.Show(out, got)
		return demo.Print(ctx, out, d.View)
	})
}
