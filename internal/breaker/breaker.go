// Package breaker finds out that somebody keeps failing, or asks to be left
// alone.
//
// That one is left alone from then on is not a Breaker's to decide but that of
// whoever shares its verdict with others, of whom each has a Breaker of its own;
// see [Breaker.Shared].
package breaker

import (
	"sync"
	"time"
)

// patience is how long it may take to tell the others; it bounds what is lost if
// that comes to nothing.
const patience = time.Minute

// Breaker counts the different items that failed since the last success. That
// one item fails again and again does not open it. It is safe for concurrent
// use. New creates it.
type Breaker struct {
	limit  int
	window time.Duration

	mu          sync.Mutex
	failing     map[string]struct{}
	first, last time.Time // failures since the last success; zero: none
	asked       time.Time // when it was asked for a pause; zero: not
	until       time.Time // and until when
	known       time.Time // to the others, while it is open or paused
}

// New returns a closed Breaker that opens when limit different items have failed
// in a row, never if limit is 0. Failures that lie further apart than the window
// have nothing to do with each other.
func New(limit int, window time.Duration) *Breaker {
	return &Breaker{limit: limit, window: window, failing: make(map[string]struct{})}
}

// Failed counts an item that failed and reports whether the breaker is open, and
// how long ago the first failure was.
func (b *Breaker) Failed(item string, now time.Time) (open bool, span time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last.IsZero() || now.Sub(b.last) > b.window {
		b.first = now
	}
	b.last = now
	if b.limit > 0 && !b.open() {
		b.failing[item] = struct{}{}
		b.known = now.Add(patience)
	}
	return b.open(), now.Sub(b.first)
}

func (b *Breaker) open() bool { return b.limit > 0 && len(b.failing) >= b.limit }

// Ask notes that a pause is asked for, and returns how long the longest one lasts
// that was.
func (b *Breaker) Ask(pause time.Duration, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if pause > 0 {
		if b.asked.IsZero() {
			b.known = now.Add(patience)
		}
		b.asked = now
		if until := now.Add(pause); until.After(b.until) {
			b.until = until
		}
	}
	return max(b.until.Sub(now), 0)
}

// Asked reports whether a pause was asked for since the last success.
func (b *Breaker) Asked() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.asked.IsZero()
}

// Succeeded closes the breaker and ends the pause, unless that was asked for
// since the work began: it reports whether it does.
func (b *Breaker) Succeeded(began time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if began.Before(b.asked) {
		return false
	}
	b.clear()
	return true
}

func (b *Breaker) clear() {
	clear(b.failing)
	b.first, b.last, b.asked, b.until = time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

// Shared says that others know since now of the breaker or the pause: who asks
// them later hears of it, or else that it has ended.
func (b *Breaker) Shared(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.known) {
		b.known = now
	}
}

// Blocks reports whether work must not start that the others gave out as free,
// when they were asked at that time: the breaker has opened since, or a pause was
// asked for. If they knew of it, another has seen it end.
func (b *Breaker) Blocks(asked time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open() && b.asked.IsZero() {
		return false
	}
	if asked.After(b.known) {
		b.clear()
		return false
	}
	return true
}
