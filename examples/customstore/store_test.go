package customstore

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) webhook.Store {
		return open(t, filepath.Join(t.TempDir(), "store.db"))
	})
}

func TestOpenRefusesAFileThatIsOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	open(t, path)
	if s, err := Open(path); err == nil {
		s.Close()
		t.Fatal("a second Open succeeded")
	}
}

// The process is killed while four requests are in flight, after three were
// answered and before thirteen were made: the file is opened again as it was at
// that instant.
func TestNothingIsLostInACrash(t *testing.T) {
	const published, answered, inFlight = 20, 3, 4

	var mu sync.Mutex
	received := make(map[string]int) // requests by message ID
	arrived, release := make(chan struct{}, 2*published), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		received[r.Header.Get("webhook-id")]++
		wait := len(received) > answered
		mu.Unlock()
		arrived <- struct{}{}
		if wait {
			<-release
		}
	}))
	defer receiver.Close()

	before, after := filepath.Join(t.TempDir(), "before.db"), filepath.Join(t.TempDir(), "after.db")
	store := open(t, before)
	d, delivered := dispatcher(t, store)
	_, err := d.Register(t.Context(), webhook.Endpoint{URL: receiver.URL, Concurrency: inFlight})
	if err != nil {
		t.Fatal(err)
	}
	for range published {
		if _, err := d.Publish(t.Context(), webhook.Event{Type: "document.completed"}); err != nil {
			t.Fatal(err)
		}
	}
	stop := run(t, d)
	receive(arrived, answered+inFlight)
	receive(delivered, answered)
	err = store.db.View(func(tx *bolt.Tx) error { return tx.CopyFile(after, 0o600) })
	close(release)
	stop()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}

	store = open(t, after)
	store.SetClock(func() time.Time { return time.Now().Add(time.Hour) }) // all leases have run out
	mu.Lock()
	clear(received)
	mu.Unlock()
	d, delivered = dispatcher(t, store)
	stop = run(t, d)
	receive(delivered, published-answered)
	stop()

	if n := len(received); n != published-answered {
		t.Errorf("%d events were received after the crash, not %d", n, published-answered)
	}
	page, err := d.Deliveries(t.Context(), webhook.DeliveryFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(page.Items); n != published {
		t.Errorf("%d deliveries are stored, not %d", n, published)
	}
	for _, delivery := range page.Items {
		if delivery.State != webhook.StateDelivered || delivery.Attempts != 1 {
			t.Errorf("delivery %s is %s after %d attempts", delivery.ID, delivery.State, delivery.Attempts)
		}
	}
}

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// dispatcher returns a dispatcher and a channel that tells of each delivery.
func dispatcher(t *testing.T, s webhook.Store) (*webhook.Dispatcher, <-chan struct{}) {
	t.Helper()
	delivered := make(chan struct{}, 100)
	d, err := webhook.NewDispatcher(s, webhook.Config{
		Network: webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Observer: webhook.ObserverFunc(func(_ context.Context, n webhook.Notice) {
			if _, ok := n.(webhook.DeliveryDelivered); ok {
				delivered <- struct{}{}
			}
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return d, delivered
}

// run runs the dispatcher until stop, which waits for it.
func run(t *testing.T, d *webhook.Dispatcher) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func receive(c <-chan struct{}, n int) {
	for range n {
		<-c
	}
}
