// Package batch groups what many goroutines hand in into calls of one function.
package batch

import (
	"context"
	"sync"
	"time"
)

// Options bound a batch. The zero value of each has the default that is named.
type Options struct {
	Items int           // in one batch; 100
	Bytes int           // in one batch, by the sizes given to Add, an item however large excepted; no bound
	Delay time.Duration // how long the first item waits for others; not at all
	Queue int           // items that may wait for the next batch before Add blocks; twice Items
}

// Batcher calls its function with one batch after another. What is added while
// the function runs makes up the next batch, so batches grow with the load by
// themselves.
type Batcher[T any] struct {
	options Options
	flush   func([]T)
	queue   chan entry[T]
	done    sync.WaitGroup
}

type entry[T any] struct {
	item T
	size int
}

// New starts a Batcher, which the caller must Close. flush must not keep the
// slice.
func New[T any](o Options, flush func([]T)) *Batcher[T] {
	if o.Items <= 0 {
		o.Items = 100
	}
	if o.Queue <= 0 {
		o.Queue = 2 * o.Items
	}
	b := &Batcher[T]{options: o, flush: flush, queue: make(chan entry[T], o.Queue)}
	b.done.Go(b.run)
	return b
}

// Add hands in an item of that many bytes. It waits while the queue is full,
// until ctx ends; the item is then not handed in.
func (b *Batcher[T]) Add(ctx context.Context, item T, size int) error {
	e := entry[T]{item, size}
	select {
	case b.queue <- e:
		return nil
	default:
	}
	select {
	case b.queue <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Waiting reports whether something waits for the next batch.
func (b *Batcher[T]) Waiting() bool { return len(b.queue) > 0 }

// Close returns when all that was added is flushed. Add must not be called any
// more.
func (b *Batcher[T]) Close() {
	close(b.queue)
	b.done.Wait()
}

func (b *Batcher[T]) run() {
	var items []T
	first, ok := <-b.queue
	for ok {
		items = append(items[:0], first.item)
		first, ok = b.fill(&items, first.size)
		b.flush(items)
		clear(items)
		if ok && first.size < 0 {
			first, ok = <-b.queue
		}
	}
}

// fill adds to the batch until it is full or nothing more comes. It returns the
// entry that did not fit, with size -1 if there is none, and whether the queue
// is still open.
func (b *Batcher[T]) fill(items *[]T, bytes int) (next entry[T], open bool) {
	var timer <-chan time.Time
	if b.options.Delay > 0 {
		t := time.NewTimer(b.options.Delay)
		defer t.Stop()
		timer = t.C
	}
	for len(*items) < b.options.Items {
		e, ok, got := b.poll(timer)
		switch {
		case !ok:
			return entry[T]{}, false
		case !got:
			return entry[T]{size: -1}, true
		case b.options.Bytes > 0 && bytes+e.size > b.options.Bytes:
			return e, true
		}
		bytes += e.size
		*items = append(*items, e.item)
	}
	return entry[T]{size: -1}, true
}

// poll receives an entry: at once, or before the timer fires.
func (b *Batcher[T]) poll(timer <-chan time.Time) (e entry[T], open, got bool) {
	if timer == nil {
		select {
		case e, open = <-b.queue:
			return e, open, true
		default:
			return e, true, false
		}
	}
	select {
	case e, open = <-b.queue:
		return e, open, true
	case <-timer:
		return e, true, false
	}
}
