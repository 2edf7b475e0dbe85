package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// onEachStore runs a test on each kind of store, empty and at a standing clock.
func onEachStore(t *testing.T, test func(t *testing.T, open func(t *testing.T) webhook.Store)) {
	t.Run("memory", func(t *testing.T) {
		test(t, func(*testing.T) webhook.Store { return stopped(webhook.NewMemoryStore()) })
	})
	forEach(t, []backend{postgreSQL()[0], sqlite()[0]}, func(t *testing.T, b backend) {
		next := b.databases(t)
		test(t, func(t *testing.T) webhook.Store { return stopped(b.store(t, next(t))) })
	})
}

// stopped makes a store's clock stand still, so that all is created at once and
// nothing but the store's own numbers tells it apart.
func stopped[S interface {
	webhook.Store
	SetClock(func() time.Time)
}](s S) webhook.Store {
	s.SetClock(func() time.Time { return standing })
	return s
}

var standing = time.Date(2026, 3, 4, 5, 6, 7, 891_000_000, time.UTC)

// watched is a store that notes which of its methods are called.
type watched struct {
	webhook.Store
	mu    sync.Mutex
	calls []string
}

func (w *watched) Unwrap() webhook.Store { return w.Store }

func (w *watched) note(method string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, method)
}

// taken returns the calls since the last time.
func (w *watched) taken() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

func (w *watched) PutEndpoint(ctx context.Context, r webhook.EndpointRecord) (webhook.EndpointRecord, error) {
	w.note("PutEndpoint")
	return w.Store.PutEndpoint(ctx, r)
}

func (w *watched) DeleteEndpoint(ctx context.Context, id string) error {
	w.note("DeleteEndpoint")
	return w.Store.DeleteEndpoint(ctx, id)
}

func (w *watched) GetEndpoint(ctx context.Context, id string) (webhook.EndpointRecord, error) {
	w.note("GetEndpoint")
	return w.Store.GetEndpoint(ctx, id)
}

func (w *watched) ListEndpoints(ctx context.Context, f webhook.EndpointFilter) (webhook.Page[webhook.EndpointRecord], error) {
	w.note("ListEndpoints")
	return w.Store.ListEndpoints(ctx, f)
}

func (w *watched) Enqueue(ctx context.Context, ps []webhook.Publication) ([]webhook.Enqueued, error) {
	w.note("Enqueue")
	return w.Store.Enqueue(ctx, ps)
}

func (w *watched) Settle(ctx context.Context, ss []webhook.Settlement) ([]string, error) {
	w.note("Settle")
	return w.Store.Settle(ctx, ss)
}

func (w *watched) GetDelivery(ctx context.Context, id string) (webhook.Delivery, error) {
	w.note("GetDelivery")
	return w.Store.GetDelivery(ctx, id)
}

func (w *watched) GetEvent(ctx context.Context, id string) (webhook.EventRecord, error) {
	w.note("GetEvent")
	return w.Store.GetEvent(ctx, id)
}

func (w *watched) ListDeliveries(ctx context.Context, f webhook.DeliveryFilter) (webhook.Page[webhook.Delivery], error) {
	w.note("ListDeliveries")
	return w.Store.ListDeliveries(ctx, f)
}

func (w *watched) ListAttempts(ctx context.Context, id string) ([]webhook.Attempt, error) {
	w.note("ListAttempts")
	return w.Store.ListAttempts(ctx, id)
}

func (w *watched) ListEvents(ctx context.Context, f webhook.EventFilter) (webhook.Page[webhook.EventRecord], error) {
	w.note("ListEvents")
	return w.Store.ListEvents(ctx, f)
}

// estate is what a tenant has.
type estate struct {
	tenant     string
	endpointID string
	deliveries []webhook.Delivery
	ids        map[string]string // all that names something of it, by what it names
}

// town is a store with several tenants, and what was told of it.
type town struct {
	*webhook.Dispatcher
	store   *watched
	estates map[string]*estate
	told    *[]webhook.Notice
}

func newTown(t *testing.T, store webhook.Store, tenants ...string) *town {
	t.Helper()
	x := &town{store: &watched{Store: store}, estates: make(map[string]*estate), told: new([]webhook.Notice)}
	var err error
	x.Dispatcher, err = webhook.NewDispatcher(x.store, webhook.Config{
		Network:  webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Observer: webhook.ObserverFunc(func(_ context.Context, n webhook.Notice) { *x.told = append(*x.told, n) }),
	})
	if err != nil {
		t.Fatal(err)
	}
	// All at once, so that what belongs to one lies between what belongs to others.
	var events []webhook.Event
	for n, tenant := range tenants {
		e, err := x.Register(t.Context(), webhook.Endpoint{ID: fmt.Sprint("endpoint-", n), URL: nowhere, Tenant: tenant})
		if err != nil {
			t.Fatal(err)
		}
		x.estates[tenant] = &estate{tenant: tenant, endpointID: e.ID}
	}
	for round := range 3 {
		for n, tenant := range tenants {
			events = append(events, webhook.Event{ID: fmt.Sprintf("event-%d-%d", n, round), Key: fmt.Sprintf("key-%d-%d", n, round),
				Type: "document.signed", Tenant: tenant, Time: standing})
		}
	}
	if _, err := x.PublishBatch(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	x.settle(t)
	for n, tenant := range tenants {
		s := x.estates[tenant]
		page, err := x.Deliveries(t.Context(), webhook.DeliveryFilter{EndpointID: s.endpointID, EventID: fmt.Sprintf("event-%d-0", n)})
		if err != nil || len(page.Items) != 1 {
			t.Fatalf("%q has %d deliveries of its own event, %v", tenant, len(page.Items), err)
		}
		s.deliveries = page.Items
		attempts, err := x.Attempts(t.Context(), page.Items[0].ID)
		if err != nil || len(attempts) != 1 {
			t.Fatalf("a delivery of %q has %d attempts, %v", tenant, len(attempts), err)
		}
		s.ids = map[string]string{
			"an endpoint": s.endpointID, "a delivery": page.Items[0].ID, "an event": page.Items[0].EventID, "an attempt": attempts[0].ID,
			"a key": fmt.Sprintf("key-%d-0", n), "a delivery in capitals": strings.ToUpper(page.Items[0].ID),
		}
	}
	x.store.taken()
	*x.told = nil
	return x
}

// settle ends what is due: by turns exhausted, delivered, and to be tried again.
func (x *town) settle(t *testing.T) {
	t.Helper()
	batch, _, err := x.store.Claim(t.Context(), webhook.ClaimRequest{Max: 1000, PerEndpoint: 1000, Lease: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var ss []webhook.Settlement
	for _, c := range batch {
		round := c.Delivery.EventID[strings.LastIndexByte(c.Delivery.EventID, '-')+1:]
		s := webhook.Settlement{DeliveryID: c.Delivery.ID, Lease: c.Lease, Counted: true, Delay: time.Hour,
			State:   map[string]webhook.State{"0": webhook.StateExhausted, "1": webhook.StateDelivered, "2": webhook.StatePending}[round],
			Attempt: &webhook.Attempt{ID: "attempt-of-" + c.Delivery.ID, DeliveryID: c.Delivery.ID, Number: 1, StartedAt: standing, StatusCode: 500, URL: nowhere}}
		ss = append(ss, s)
	}
	if stale, err := x.store.Settle(t.Context(), ss); err != nil || len(stale) > 0 {
		t.Fatal(stale, err)
	}
}

// everything returns all that the operator sees.
func (x *town) everything(t *testing.T) string {
	t.Helper()
	endpoints, err := x.Endpoints(t.Context(), webhook.EndpointFilter{Limit: 1000})
	deliveries, err2 := x.Deliveries(t.Context(), webhook.DeliveryFilter{Limit: 1000})
	events, err3 := x.store.ListEvents(t.Context(), webhook.EventFilter{Scope: webhook.Scope{All: true}, Limit: 1000})
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	all := []any{endpoints, deliveries, events}
	for _, d := range deliveries.Items {
		attempts, err := x.Attempts(t.Context(), d.ID)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, attempts)
	}
	return text(t, all)
}

// text returns a value as JSON.
func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// absent returns an ID of the same form that nothing has.
func absent(id string) string {
	if !uuids.MatchString(strings.ToLower(id)) {
		return strings.ReplaceAll(id, "-", "_")
	}
	return strings.NewReplacer("0", "4", "1", "5", "2", "6", "3", "7", "4", "8", "5", "9", "6", "0", "7", "1", "8", "2", "9", "3").Replace(id)
}
