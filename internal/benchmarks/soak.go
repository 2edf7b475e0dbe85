package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
)

const (
	soakEndpoints = 100  // of a tenant each
	soakWindow    = 2000 // events under way to the healthy ones
	soakSick      = 100 * time.Millisecond
	soakRetention = 2 * time.Second
	soakParts     = 10
	soakHealthy   = "flooded" // the path of the healthy ones
)

// soak keeps a Dispatcher at full load for a while, and compares what it holds
// then with what it held near the beginning.
func soak(ctx context.Context, s size, d *databases) ([]figure, error) {
	return ofEach(ctx, kindsOf(s, d), func(k kind, r *receiver) ([]figure, error) { return soakOf(ctx, k, s.soaking, r) })
}

// soakOf measures with one kind of store.
func soakOf(ctx context.Context, k kind, lasting time.Duration, r *receiver) (_ []figure, err error) {
	store, err := k.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	m := soakRun{room: make(chan struct{}, 1)}
	config := newConfig(defaultConcurrency, defaultEndpointConcurrency)
	config.Profile.Timeout = mixTimeout
	config.Retention = soakRetention
	config.Observer = webhook.ObserverFunc(func(_ context.Context, n webhook.Notice) { m.observe(n) })
	if m.d, err = webhook.NewDispatcher(store.Store, config); err != nil {
		return nil, err
	}
	for n := range soakEndpoints {
		path, tenants := "/"+soakHealthy, &m.healthy
		if !isHealthy(n) {
			path, tenants = mixPath(n), &m.sick
		}
		tenant := fmt.Sprintf("%s-%d", path[1:], n)
		if _, err := m.d.Register(ctx, webhook.Endpoint{URL: r.url + path, Tenant: tenant}); err != nil {
			return nil, err
		}
		*tenants = append(*tenants, tenant)
	}
	if _, err := r.ask(0); err != nil {
		return nil, err
	}
	runtime.GC()
	var took time.Duration
	if err := whileRunning(ctx, m.d, "", func() error {
		start := time.Now()
		defer func() { took = time.Since(start) }()
		return m.run(ctx, lasting)
	}); err != nil {
		return nil, err
	}
	arrived, _, err := r.arrivals()
	if err != nil {
		return nil, err
	}
	if published := m.published.Load(); arrived < published {
		return nil, fmt.Errorf("%d of %d events have arrived", arrived, published)
	}
	held := func(part int, of func(holding) float64) float64 {
		n := len(m.holdings)
		return median(each(m.holdings[part*n/soakParts:max((part+1)*n/soakParts, part*n/soakParts+1)], of))
	}
	// What is kept of the log grows during the first part.
	const early, late = 2, soakParts - 1
	one := func(name, unit string, value float64, b bound) figure {
		return figure{name: k.name + ": " + name, unit: unit, rounds: []float64{value}, bound: b}
	}
	const megabyte = 1 << 20
	heap := func(h holding) float64 { return h.heap / megabyte }
	resident := func(h holding) float64 { return h.resident / megabyte }
	goroutines := func(h holding) float64 { return h.goroutines }
	return []figure{
		one("at full load for", "s", took.Seconds(), bound{}),
		one("delivered to healthy endpoints", "deliveries/s", float64(m.delivered.Load())/took.Seconds(), bound{}),
		one("repeated to healthy endpoints", "requests", float64(arrived-m.published.Load()), bound{}),
		one("live heap, in the third tenth", "MiB", held(early, heap), bound{}),
		one("live heap, last tenth / third", "of it", held(late, heap)/held(early, heap), bound{atMost, 1.2}),
		one("resident, last tenth / third", "of it", held(late, resident)/held(early, resident), bound{atMost, 1.2}),
		one("goroutines, in the third tenth", "goroutines", held(early, goroutines), bound{}),
		one("goroutines, last tenth / third", "of them", held(late, goroutines)/held(early, goroutines), bound{atMost, 1.2}),
	}, nil
}

// soakRun keeps a Dispatcher at full load.
type soakRun struct {
	d             *webhook.Dispatcher
	healthy, sick []string // tenants, each with one endpoint
	published     atomic.Int64
	delivered     atomic.Int64
	room          chan struct{} // says that some were delivered
	holdings      []holding
}

// holding is what this process holds at a time.
type holding struct{ heap, resident, goroutines float64 }

// observe counts what the healthy endpoints have.
func (m *soakRun) observe(n webhook.Notice) {
	if n, ok := n.(webhook.DeliveryDelivered); ok && strings.HasPrefix(n.Delivery.Tenant, soakHealthy) {
		m.delivered.Add(1)
		select {
		case m.room <- struct{}{}:
		default:
		}
	}
}

// run publishes for a while, then waits for what is under way.
func (m *soakRun) run(ctx context.Context, lasting time.Duration) error {
	within, cancel := context.WithTimeout(ctx, lasting)
	defer cancel()
	sick := make(chan error, 1)
	go func() { sick <- m.publishSick(within, ctx) }()
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		m.look(within, lasting)
	}()
	err := m.publishHealthy(within, ctx)
	cancel()
	<-looked
	if err = errors.Join(err, <-sick); err != nil {
		return err
	}
	return m.wait(ctx, 0)
}

// publishHealthy keeps a window of events under way until the context within ends.
func (m *soakRun) publishHealthy(within, ctx context.Context) error {
	for within.Err() == nil {
		if err := m.wait(ctx, soakWindow-batchSize); err != nil {
			return err
		}
		if err := publish(ctx, m.d, batchSize, m.healthy); err != nil {
			return err
		}
		m.published.Add(batchSize)
	}
	return nil
}

// wait waits until no more than n events are under way.
func (m *soakRun) wait(ctx context.Context, n int64) error {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	for m.published.Load()-m.delivered.Load() > n {
		select {
		case <-m.room:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d events are delivered: %w", m.delivered.Load(), m.published.Load(), ctx.Err())
		}
	}
	return nil
}

// publishSick publishes an event now and then to the others.
func (m *soakRun) publishSick(within, ctx context.Context) error {
	tick := time.NewTicker(soakSick)
	defer tick.Stop()
	for n := 0; ; n++ {
		if err := publish(ctx, m.d, 1, m.sick[n%len(m.sick):]); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-within.Done():
			return nil
		}
	}
}

// look notes what the process holds until ctx ends: a thousand times, but not more
// often than every millisecond, nor less often than five times a second.
func (m *soakRun) look(ctx context.Context, lasting time.Duration) {
	tick := time.NewTicker(min(max(lasting/1000, time.Millisecond), time.Second/5))
	defer tick.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		metrics.Read(live)
		m.holdings = append(m.holdings, holding{
			heap: float64(live[0].Value.Uint64()), resident: footprintNow().resident, goroutines: float64(runtime.NumGoroutine()),
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
