// Package breaker finds out that something keeps failing.
//
// That it is left alone from then on is not a Breaker's to decide but that of
// whoever shares its verdict with others, of whom each has a Breaker of its own;
// see [Breaker.Shared].
package breaker

import (
	"sync"
	"time"
)

// Breaker counts the different items that failed since the last success. That
// one item fails again and again does not open it. It is safe for concurrent
// use. New creates it.
type Breaker struct {
	limit int

	mu      sync.Mutex
	failing map[string]struct{}
	known   time.Time // to the others, while it is open
}

// patience is how long it may take to tell the others; it bounds what is lost if
// that comes to nothing.
const patience = time.Minute

// New returns a closed Breaker that opens when limit different items have failed
// in a row.
func New(limit int) *Breaker { return &Breaker{limit: limit, failing: make(map[string]struct{})} }

// Failed counts an item that failed and reports whether the breaker is open.
func (b *Breaker) Failed(item string, now time.Time) (open bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open() {
		b.failing[item] = struct{}{}
		b.known = now.Add(patience)
	}
	return b.open()
}

func (b *Breaker) open() bool { return len(b.failing) >= b.limit }

// Succeeded closes the breaker.
func (b *Breaker) Succeeded() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.failing)
}

// Shared says that others know since now that the breaker is open: who asks them
// later hears of it, or else that it was closed.
func (b *Breaker) Shared(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.known) {
		b.known = now
	}
}

// Blocks reports whether work must not start that the others gave out as free,
// when they were asked at that time: the breaker has opened since. If they knew
// of it, another has closed it.
func (b *Breaker) Blocks(asked time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open() {
		return false
	}
	if asked.After(b.known) {
		clear(b.failing)
		return false
	}
	return true
}
