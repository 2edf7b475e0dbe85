// Package batch groups what many goroutines hand in into calls of one function.
package batch

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Options bound a batch. The zero value of each has the default that is named.
type Options struct {
	Items int           // in one batch; 100
	Bytes int           // in one batch, by the sizes given to Add, an item however large excepted; no bound
	Delay time.Duration // how long the first item waits for others; not at all
	Rest  time.Duration // the longest pause between two batches: as long as the first took, so that more gathers under load; none
	Queue int           // items that may wait for the next batch before Add blocks; twice Items
}

// Batcher calls its function with one batch after another. What is added while
// the function runs makes up the next batch, so batches grow with the load by
// themselves. Its goroutine lives while there is something to do.
type Batcher[T any] struct {
	options Options
	flush   func([]T)
	queue   chan entry[T]
	running atomic.Bool
	closing chan struct{}
	done    sync.WaitGroup
}

type entry[T any] struct {
	item T
	size int
}

// New returns a Batcher. flush must not keep the slice.
func New[T any](o Options, flush func([]T)) *Batcher[T] {
	if o.Items <= 0 {
		o.Items = 100
	}
	if o.Queue <= 0 {
		o.Queue = 2 * o.Items
	}
	return &Batcher[T]{options: o, flush: flush, queue: make(chan entry[T], o.Queue), closing: make(chan struct{})}
}

// Add hands in an item of that many bytes. It waits while the queue is full,
// until ctx ends; the item is then not handed in.
func (b *Batcher[T]) Add(ctx context.Context, item T, size int) error {
	e := entry[T]{item, size}
	select {
	case b.queue <- e:
	default:
		select {
		case b.queue <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if b.running.CompareAndSwap(false, true) {
		b.done.Go(b.run)
	}
	return nil
}

// Waiting reports whether something waits for the next batch.
func (b *Batcher[T]) Waiting() bool { return len(b.queue) > 0 }

// Close flushes all that was added, without waiting for more. Add must not be
// called any more, nor Close again. A Batcher need not be closed.
func (b *Batcher[T]) Close() {
	close(b.closing)
	b.done.Wait()
}

// run flushes until nothing is left.
func (b *Batcher[T]) run() {
	var items []T
	for {
		select {
		case first := <-b.queue:
			for more := true; more; {
				items = append(items[:0], first.item)
				first, more = b.fill(&items, first.size)
				began := time.Now()
				b.flush(items)
				clear(items)
				b.rest(min(time.Since(began), b.options.Rest))
			}
		default:
			b.running.Store(false)
			// What came in between has seen it running.
			if len(b.queue) == 0 || !b.running.CompareAndSwap(false, true) {
				return
			}
		}
	}
}

// rest waits for so long, or for Close.
func (b *Batcher[T]) rest(pause time.Duration) {
	if pause <= 0 {
		return
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.closing:
	}
}

// fill adds to the batch until it is full or nothing more comes, and returns the
// entry that did not fit, if there is one.
func (b *Batcher[T]) fill(items *[]T, bytes int) (next entry[T], more bool) {
	var timer <-chan time.Time
	if b.options.Delay > 0 {
		t := time.NewTimer(b.options.Delay)
		defer t.Stop()
		timer = t.C
	}
	for len(*items) < b.options.Items {
		e, ok := b.poll(timer)
		switch {
		case !ok:
			return e, false
		case b.options.Bytes > 0 && bytes+e.size > b.options.Bytes:
			return e, true
		}
		bytes += e.size
		*items = append(*items, e.item)
	}
	return next, false
}

// poll receives an entry: at once, or before the timer fires.
func (b *Batcher[T]) poll(timer <-chan time.Time) (e entry[T], ok bool) {
	if timer != nil {
		select {
		case e = <-b.queue:
			return e, true
		case <-timer:
			return e, false
		case <-b.closing:
		}
	}
	select {
	case e = <-b.queue:
		return e, true
	default:
		return e, false
	}
}
