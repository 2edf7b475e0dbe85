package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
)

const (
	wideEvents = 5 // of an endpoint
	// usualFiles is how many files a process may open unless it asks for more.
	usualFiles = 1024
)

// wide measures what many endpoints, each on an address of its own, take of the
// sender's file descriptors and memory. It needs Linux, which has that many
// addresses on its loopback interface, and /proc.
func wide(ctx context.Context, s size, d *databases) ([]figure, error) {
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	r, err := startReceiver(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	urls, err := r.listen(s.wide)
	if err != nil {
		return nil, err
	}
	var figures []figure
	for _, k := range kindsOf(s, d) {
		spread, err := wideOf(ctx, k, urls, r)
		if err != nil {
			return nil, err
		}
		figures = append(figures, spread...)
	}
	return figures, nil
}

// wideOf measures with one kind of store.
func wideOf(ctx context.Context, k kind, urls []string, r *receiver) ([]figure, error) {
	var failed atomic.Int64
	config := newConfig(defaultConcurrency, defaultEndpointConcurrency)
	config.Observer = webhook.ObserverFunc(func(_ context.Context, n webhook.Notice) {
		if a, ok := n.(webhook.AttemptFinished); ok && !a.Success {
			failed.Add(1)
		}
	})
	var before, most footprint
	spread := contender{name: k.name, prepare: func(ctx context.Context, _ string, n int) (func(context.Context) error, error) {
		store, err := k.open(ctx)
		if err != nil {
			return nil, err
		}
		d, err := webhook.NewDispatcher(store, config)
		if err == nil {
			err = publishWide(ctx, d, urls, n)
		}
		if err == nil {
			err = store.ready(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, store.close())
		}
		debug.FreeOSMemory() // what the scenarios before this one used
		before = footprintNow()
		return func(stop context.Context) error {
			finish := watch(&most)
			err := deliver(ctx, stop, d)
			finish()
			if err == nil {
				err = store.logged(ctx, n)
			}
			return errors.Join(err, store.close())
		}, nil
	}}
	n := len(urls) * wideEvents
	taken, err := spread.measure(ctx, r, n)
	if err != nil {
		return nil, err
	}
	one := func(name, unit string, value float64, b bound) figure {
		return figure{name: k.name + ": " + name, unit: unit, rounds: []float64{value}, bound: b}
	}
	const megabyte = 1 << 20
	return []figure{
		// Fewer, and more, would have been an error.
		one(fmt.Sprintf("delivered to %d endpoints", len(urls)), "deliveries", float64(n), bound{atLeast, float64(n)}),
		one("attempts that failed", "attempts", float64(failed.Load()), bound{atMost, 0}),
		one("until the last one had arrived", "s", seconds(taken), bound{}),
		one("file descriptors, before", "open", before.files, bound{}),
		one("file descriptors, at most", "open", most.files, bound{atMost, usualFiles}),
		one("heap, before", "MiB", before.heap/megabyte, bound{}),
		one("heap, at most", "MiB", most.heap/megabyte, bound{}),
		one("resident, before", "MiB", before.resident/megabyte, bound{}),
		one("resident, at most", "MiB", most.resident/megabyte, bound{}),
	}, nil
}

// publishWide registers an endpoint at each URL, each of a tenant of its own, and
// publishes n events to them in turn.
func publishWide(ctx context.Context, d *webhook.Dispatcher, urls []string, n int) error {
	tenants := make([]string, len(urls))
	for i, url := range urls {
		tenants[i] = "tenant-" + strconv.Itoa(i)
		if _, err := d.Register(ctx, webhook.Endpoint{URL: url + "/quick", Tenant: tenants[i]}); err != nil {
			return err
		}
	}
	return publish(ctx, d, n, tenants)
}

// footprint is what this process holds.
type footprint struct {
	files          float64 // open file descriptors
	heap, resident float64 // bytes
}

func footprintNow() (f footprint) {
	entries, _ := os.ReadDir("/proc/self/fd")
	f.files = float64(max(len(entries)-1, 0)) // without the one that reads this
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	f.heap = float64(sample[0].Value.Uint64())
	status, _ := os.ReadFile("/proc/self/status")
	_, line, _ := bytes.Cut(status, []byte("VmRSS:"))
	_, _ = fmt.Sscan(string(line), &f.resident) // in units of 1,024 bytes
	f.resident *= 1024
	return f
}

// watch keeps in most what this process holds at most, looking fifty times a
// second until finish is called.
func watch(most *footprint) (finish func()) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Second / 50)
		defer tick.Stop()
		for {
			now := footprintNow()
			most.files = max(most.files, now.files)
			most.heap = max(most.heap, now.heap)
			most.resident = max(most.resident, now.resident)
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}
