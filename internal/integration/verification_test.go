package integration

import (
	"database/sql"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/outhook/webhook"
)

func TestAnEndpointIsVerifiedAfterTheTransactionThatRegistersIt(t *testing.T) {
	forEach(t, []backend{postgreSQL()[0], sqlite()[0]}, func(t *testing.T, b backend) {
		var asked, sent atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodOptions {
				asked.Add(1)
				w.Header().Set("WebHook-Allowed-Origin", "*")
				w.Header().Set("WebHook-Allowed-Rate", "600")
				return
			}
			sent.Add(1)
		}))
		t.Cleanup(server.Close)
		a := b.newApp(t, b.database(t))
		var err error
		a.Dispatcher, err = webhook.NewDispatcher(a.store, webhook.Config{
			Network: webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
			Profile: webhook.Profile{Verification: webhook.AbuseProtection{Origin: "webhooks.product.example"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		a.run(t)

		lost, ctx := a.begin(t, sql.LevelDefault)
		id := a.register(t, ctx, server.URL).ID
		if err := lost.Rollback(); err != nil {
			t.Fatal(err)
		}
		if err := a.Verify(t.Context(), id); !errors.Is(err, webhook.ErrNotFound) {
			t.Errorf("Verify of one that was rolled back: %v", err)
		}
		tx, ctx := a.begin(t, sql.LevelDefault)
		id = a.register(t, ctx, server.URL).ID
		if n := a.publish(t, ctx, "early"); n != 0 {
			t.Errorf("what is published before Verify has %d deliveries", n)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if n := asked.Load(); n != 0 {
			t.Errorf("the receiver was asked %d times before Verify", n)
		}
		if err := a.Verify(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		e, err := a.Endpoint(t.Context(), id)
		if err != nil || e.Disabled || e.VerifiedAt.IsZero() || e.AllowedRate != 10 {
			t.Errorf("it is %+v, %v; want it verified, with 10 requests per second", e, err)
		}
		a.publish(t, t.Context(), "late")
		eventually(t, "what is published after Verify is sent", func() bool { return sent.Load() == 1 })
	})
}
