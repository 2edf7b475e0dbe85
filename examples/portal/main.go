// Portal is an application with two customers, to whom it shows their webhooks.
// It keeps them in an SQLite file, publishes an event every few seconds, and has
// receivers of all kinds built in: one that works, one that is flaky, one that
// fails, one that is slow, and an inbox to which you can send what you like.
//
//	go run ./examples/portal
//
// Then open http://127.0.0.1:8090/ in a browser.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	_ "modernc.org/sqlite"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/portal"
	"github.com/outhook/webhook/sqlstore"
)

func main() {
	var o options
	flag.StringVar(&o.file, "db", filepath.Join(os.TempDir(), "outhook-portal.db"), "the SQLite `file`")
	flag.StringVar(&o.address, "addr", "127.0.0.1:8090", "the `address` to listen on; the receivers are there too")
	flag.DurationVar(&o.every, "every", 5*time.Second, "how often a sample event is published; 0 for never")
	flag.BoolVar(&o.history, "history", true, "begin an empty file with the calls of a day")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, o); err != nil {
		log.Fatal(err)
	}
}

type options struct {
	file, address string
	every         time.Duration
	history       bool
}

func run(ctx context.Context, out io.Writer, o options) (err error) {
	// 1. A store and a dispatcher, as in every application.
	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN(o.file))
	if err != nil {
		return err
	}
	defer db.Close()
	store := sqlstore.New(db, sqlstore.SQLite)
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	dispatcher, err := webhook.NewDispatcher(store, config())
	if err != nil {
		return err
	}

	// 2. The portal, mounted with one line. Access says who may see what: here a
	// cookie does, in yours the session.
	webhooks, err := portal.New(dispatcher, portal.Options{
		Name:   "Papyrus",
		Access: access,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/", http.StripPrefix("/webhooks", webhooks))

	// 3. The rest of the application, and the receivers of its customers.
	app := newApplication(dispatcher)
	app.routes(mux)
	listener, err := net.Listen("tcp", o.address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.NewCrossOriginProtection().Handler(mux), ReadHeaderTimeout: 10 * time.Second}
	app.url = "http://" + listener.Addr().String()

	ctx, stop := context.WithCancel(ctx)
	var background sync.WaitGroup
	failures := make(chan error, 3)
	start := func(f func() error) { background.Go(func() { failures <- f(); stop() }) }
	defer func() {
		stop()
		err = errors.Join(err, server.Close())
		background.Wait()
		close(failures)
		for failure := range failures {
			if !errors.Is(failure, http.ErrServerClosed) {
				err = errors.Join(err, failure)
			}
		}
	}()
	start(func() error { return server.Serve(listener) })
	if err := app.register(ctx); err != nil {
		return err
	}
	if o.history {
		fmt.Fprintln(out, "An empty file gets the calls of a day first; that takes a few seconds.")
		if err := app.history(ctx, store); err != nil {
			return err
		}
	}

	// 4. The dispatcher delivers until Ctrl-C, while the application publishes.
	start(func() error { return dispatcher.Run(ctx) })
	start(func() error { return app.work(ctx, o.every) })
	fmt.Fprintf(out, "Open %s/ in a browser. Ctrl-C ends it; everything is kept in %s.\n", app.url, o.file)
	<-ctx.Done()
	return nil
}

// config is that of the dispatcher.
func config() webhook.Config {
	example := func(id string) map[string]any {
		return map[string]any{"id": id, "title": "Lease agreement", "pages": 12, "signers": []string{"zoë@example.com", "max@example.com"}}
	}
	invoice := map[string]any{"id": "inv_2041", "amount": "1500.00", "currency": "EUR"}
	return webhook.Config{
		Profile: webhook.Profile{
			UserAgent: "Papyrus-Webhooks/1.0",
			Retry:     webhook.Schedule(5*time.Second, 30*time.Second, 2*time.Minute, 10*time.Minute, time.Hour),
		},
		Catalog: []webhook.EventType{
			{Name: "document.sent", Group: "Documents", Description: "A document is sent to its signers", Example: example("doc_7")},
			{Name: "document.signed", Group: "Documents", Description: "A signer signs", Example: example("doc_7")},
			{Name: "document.completed", Group: "Documents", Description: "Everybody has signed", Example: example("doc_7")},
			{Name: "document.declined", Group: "Documents", Description: "A signer declines", Example: example("doc_7")},
			{Name: "invoice.paid", Group: "Invoices", Description: "An invoice is paid", Example: invoice},
			{Name: "invoice.overdue", Group: "Invoices", Description: "An invoice is overdue", Example: invoice},
		},
		Retention: 30 * 24 * time.Hour,
		// Without this line only HTTPS to public addresses is allowed, as it has to
		// be in production.
		Network: webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	}
}
