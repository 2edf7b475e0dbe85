// Package desk hands things over from the many who make them to the one who works
// on them, as long as that one has places for them. Who is about to make some has
// places promised first; what comes of it is then handed over or not, and takes
// no more than that.
package desk

import "sync"

// Desk is where things are handed over. New creates it. Its methods are safe for
// concurrent use.
type Desk[T any] struct {
	places int
	limit  int
	ready  chan struct{}

	mu       sync.Mutex
	open     bool
	closed   bool
	used     int // places
	waiting  int // for one, of what was taken
	promised int
	things   []T
	spare    []T // the last result of Take, to be reused
}

// New returns a Desk with so many places, which promises some only while less than
// limit of them are in use. It promises none before Set opens it.
func New[T any](places, limit int) *Desk[T] {
	return &Desk[T]{places: places, limit: limit, ready: make(chan struct{}, 1)}
}

// Set says how many of the places are in use, how many of the things that Take has
// returned still wait for one, and whether others may be promised.
func (d *Desk[T]) Set(used, waiting int, open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used, d.waiting, d.open = used, waiting, open
}

// Pending returns how many places are promised, or for what waits to be taken.
func (d *Desk[T]) Pending() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.promised + len(d.things)
}

// Promise promises n makers places, the same number to each, and returns that
// number: at most most, and the fewer the fewer are left, so that others find some;
// 0 if there are not enough. Each promise must be redeemed by HandOver.
func (d *Desk[T]) Promise(n, most int) (each int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := d.places - d.used - d.waiting - d.promised - len(d.things)
	if !d.open || d.closed || d.used >= d.limit || left < n {
		return 0
	}
	each = max(1, min(most, left/(64*n)))
	d.promised += n * each
	return each
}

// HandOver redeems a promise of so many places with things, as many at the most. It
// reports false if the desk is closed: then they remain the caller's.
func (d *Desk[T]) HandOver(promised int, things []T) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.promised -= promised
	if len(things) == 0 {
		return true
	}
	if d.closed {
		return false
	}
	d.things = append(d.things, things...)
	select {
	case d.ready <- struct{}{}:
	default:
	}
	return true
}

// Ready returns a channel that receives when there is something to Take.
func (d *Desk[T]) Ready() <-chan struct{} { return d.ready }

// Take returns what was handed over since its last call. The slice is valid until
// the next one.
func (d *Desk[T]) Take() []T {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.spare)
	things := d.things
	d.things, d.spare = d.spare[:0], things
	d.used += len(things)
	return things
}

// Close ends handing over; what was handed over before can still be taken.
func (d *Desk[T]) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}
