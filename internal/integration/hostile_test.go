package integration

import (
	"context"
	"io"
	"log"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/hostile"
)

// Whatever a receiver answers, the record of it can be written, and read by
// another process.
func TestRecordsOfHostileReceivers(t *testing.T) {
	previous := log.Writer()
	log.SetOutput(io.Discard) // net/http tells of what they do
	t.Cleanup(func() { log.SetOutput(previous) })
	forEach(t, everywhere(), func(t *testing.T, b backend) {
		dsn := b.database(t)
		finished := make(chan struct{}, 1000)
		d, err := webhook.NewDispatcher(b.store(t, dsn), webhook.Config{
			Network:  webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, TLS: hostile.ClientTLS()},
			Profile:  webhook.Profile{Timeout: patience, Retry: webhook.Schedule(time.Hour)},
			Profiles: map[string]webhook.Profile{"short": {Timeout: 4 * time.Second}},
			Observer: webhook.ObserverFunc(func(_ context.Context, n webhook.Notice) {
				if _, ok := n.(webhook.AttemptFinished); ok {
					finished <- struct{}{}
				}
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		receivers := hostile.Receivers()
		for n, r := range receivers {
			server, err := r.Start()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
			e := webhook.Endpoint{URL: server.URL + "?a=b", Tenant: strconv.Itoa(n)}
			if r.Hangs {
				e.Profile = "short"
			}
			if _, err := d.Register(t.Context(), e); err != nil {
				t.Fatal(r.Name, err)
			}
			size := min(max(r.Size, 1), 1<<20) // what is larger is none of the store's business
			if _, err := d.Publish(t.Context(), webhook.Event{Type: "test", Tenant: e.Tenant, Data: strings.Repeat("x", size)}); err != nil {
				t.Fatal(r.Name, err)
			}
		}
		(&app{Dispatcher: d}).until(t, finished, len(receivers))

		here, there := b.store(t, dsn), b.store(t, dsn)
		for n, r := range receivers {
			page, err := there.ListDeliveries(t.Context(), webhook.DeliveryFilter{Scope: webhook.Scope{Tenant: strconv.Itoa(n)}})
			if err != nil || len(page.Items) != 1 {
				t.Fatalf("%s: %d deliveries, %v; want 1", r.Name, len(page.Items), err)
			}
			got := page.Items[0]
			as, err := there.ListAttempts(t.Context(), got.ID)
			if err != nil || len(as) != 1 || got.Attempts != 1 {
				t.Errorf("%s: %+v with %d attempts, %v; want 1", r.Name, got, len(as), err)
				continue
			}
			if again, err := here.ListAttempts(t.Context(), got.ID); err != nil || !reflect.DeepEqual(again, as) {
				t.Errorf("%s: the attempts are %+v and %+v, %v", r.Name, as, again, err)
			}
			a := as[0]
			if a.StatusCode != got.LastStatus || a.Error != got.LastError || (got.State == webhook.StateDelivered) != (a.StatusCode/100 == 2) {
				t.Errorf("%s: the delivery is %+v, the attempt %d, %q", r.Name, got, a.StatusCode, a.Error)
			}
			// A request that is smaller than the receiver wants may fare better.
			if r.Size <= 1<<20 && a.StatusCode != r.Status && !(a.StatusCode == 0 && slices.Contains(r.Errors, a.Error)) {
				t.Errorf("%s: the attempt is %d, %q; want %d or %q", r.Name, a.StatusCode, a.Error, r.Status, r.Errors)
			}
			switch r.Name {
			case "body of NULs that is not UTF-8":
				if string(a.ResponseBody) != "\x00\x00\xff\xfe\xed\xa0\x80\x00" {
					t.Errorf("%s: kept as %q", r.Name, a.ResponseBody)
				}
			case "gzip bomb":
				if len(a.ResponseBody) > 16<<10 || a.ResponseHeaders.Get("Content-Encoding") != "gzip" || !strings.HasPrefix(string(a.ResponseBody), "\x1f\x8b") {
					t.Errorf("%s: %d bytes, %v", r.Name, len(a.ResponseBody), a.ResponseHeaders)
				}
			case "many cookies":
				if len(a.ResponseHeaders["Set-Cookie"]) != 100 {
					t.Errorf("%s: %d are kept", r.Name, len(a.ResponseHeaders["Set-Cookie"]))
				}
			}
		}
	})
}

// until delivers until so many attempts have finished and are stored.
func (a *app) until(t *testing.T, finished <-chan struct{}, attempts int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- a.Run(ctx) }()
	for n := range attempts {
		select {
		case <-finished:
		case <-time.After(3 * patience):
			t.Errorf("%d of %d attempts have finished", n, attempts)
			attempts = 0
		}
		if attempts == 0 {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
}
