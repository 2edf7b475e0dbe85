package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
)

const (
	singleEvery  = 100 * time.Millisecond
	singleTenant = "single"
	floodTenant  = "flood"
)

// flood measures how soon a tenant's single events arrive while another one's
// flood is published, and delivered, by the same process.
func flood(ctx context.Context, s size, d *databases) ([]figure, error) {
	return ofEach(ctx, kindsOf(s, d), func(k kind, r *receiver) ([]figure, error) { return floodOf(ctx, k, s, r) })
}

// floodOf measures with one kind of store.
func floodOf(ctx context.Context, k kind, s size, r *receiver) (_ []figure, err error) {
	opened, err := k.open(ctx)
	if err != nil {
		return nil, err
	}
	store := &settledStore{store: opened, settled: make(chan struct{}, 1)}
	defer func() { err = errors.Join(err, store.close()) }()
	d, err := newDispatcher(store, defaultConcurrency, defaultEndpointConcurrency)
	if err != nil {
		return nil, err
	}
	for tenant, path := range map[string]string{floodTenant: "/flooded", singleTenant: "/quick"} {
		if _, err := d.Register(ctx, webhook.Endpoint{URL: r.url + path, Tenant: tenant}); err != nil {
			return nil, err
		}
	}
	if err := store.ready(ctx); err != nil {
		return nil, err
	}
	singles := max(1, int(s.flooding/singleEvery))
	answered, err := r.expect(singles)
	if err != nil {
		return nil, err
	}
	profile := ""
	if s.cpuProfile != "" {
		profile = s.cpuProfile + "-flood-" + k.name
	}
	runtime.GC()
	var m floodRun
	err = whileRunning(ctx, d, profile, func() error { return m.measure(ctx, d, store, r, s.flood, singles, answered) })
	if err != nil {
		return nil, err
	}
	limit := 250.0
	if k.name == inMemory.name {
		limit = 50
	}
	one := func(name, unit string, value float64, b bound) figure {
		return figure{name: k.name + ": " + name, unit: unit, rounds: []float64{value}, bound: b}
	}
	return []figure{
		one("flood published", "events/s", float64(s.flood)/m.publishing.Seconds(), bound{}),
		one("flood delivered meanwhile", "deliveries/s", float64(m.flooded)/m.passed.Seconds(), bound{}),
		one("flood that waits after the last single event", "deliveries", float64(m.published-m.flooded), bound{}),
		one("single events, p50 from Publish", "ms", percentile(m.latencies, 50), bound{}),
		one(fmt.Sprintf("single events, p99 from Publish of %d", singles), "ms", percentile(m.latencies, 99), bound{atMost, limit}),
		one("single events, slowest", "ms", slices.Max(m.latencies), bound{}),
		one("single events, p99 from when Publish was due", "ms", percentile(m.fromDue, 99), bound{}),
	}, nil
}

// floodRun is what was measured of one flood.
type floodRun struct {
	publishing         time.Duration // that publishing the first events of the flood took
	passed             time.Duration // until the last single event had arrived,
	published, flooded int64         // and how much of the flood was published and had arrived by then
	latencies, fromDue []float64     // of the single events
}

// measure publishes the flood and, from its beginning, the single events. The
// store is the one of d.
func (m *floodRun) measure(ctx context.Context, d *webhook.Dispatcher, store *settledStore, r *receiver, events, singles int, answered <-chan error) error {
	start := time.Now()
	beside, stop := context.WithCancel(ctx)
	defer stop()
	var published atomic.Int64
	// What is being published counts: the store may have delivered it already.
	publishSome := func(n int) error {
		published.Add(int64(n))
		return publish(ctx, d, n, []string{floodTenant})
	}
	flooded := make(chan error, 1)
	go func() {
		var err error
		for left := events; left > 0 && err == nil; left -= batchSize {
			err = publishSome(min(left, batchSize))
		}
		m.publishing = time.Since(start)
		enough := max(events/2, batchSize)
		for err == nil && store.fallBelow(beside, &published, int64(enough)) {
			err = publishSome(batchSize)
		}
		flooded <- err
	}()
	single, err := publishPaced(ctx, d, singles, float64(time.Second/singleEvery), func(int) string { return singleTenant })
	if err == nil {
		err = await(ctx, answered)
	}
	m.passed, m.published = time.Since(start), published.Load()
	stop()
	if err == nil {
		var arrived map[string]int64
		m.flooded, arrived, err = r.arrivals()
		m.latencies, m.fromDue = single.latencies(arrived, func(int) bool { return true })
	}
	if err = errors.Join(err, <-flooded); err != nil { // the first events are published to the end
		return err
	}
	if m.flooded >= m.published {
		return fmt.Errorf("nothing of the flood waits after the last single event: %d events have arrived", m.flooded)
	}
	return nil
}

// settledStore counts what is delivered. An Observer could too, but is told far
// more than that, which takes its time.
type settledStore struct {
	*store
	delivered atomic.Int64  // the single events too, which are few
	settled   chan struct{} // says that there are more
}

func (s *settledStore) Settle(ctx context.Context, settlements []webhook.Settlement) ([]string, error) {
	stale, err := s.store.Settle(ctx, settlements)
	if err != nil {
		return stale, err
	}
	delivered := -len(stale)
	for n := range settlements {
		if settlements[n].State == webhook.StateDelivered {
			delivered++
		}
	}
	s.delivered.Add(int64(delivered))
	select {
	case s.settled <- struct{}{}:
	default:
	}
	return stale, nil
}

// fallBelow waits until fewer than n of those published are not yet delivered, and
// reports whether that is before ctx ends.
func (s *settledStore) fallBelow(ctx context.Context, published *atomic.Int64, n int64) bool {
	for ctx.Err() == nil {
		if published.Load()-s.delivered.Load() < n {
			return true
		}
		select {
		case <-s.settled:
		case <-ctx.Done():
		}
	}
	return false
}
