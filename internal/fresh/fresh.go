// Package fresh keeps a value that is good for a while only, and gets the next
// one before the last goes bad: once, however many want it.
package fresh

import (
	"context"
	"sync"
	"time"
)

const (
	// early is how long before its end a value is replaced, so that it is still
	// good when it arrives; less where a tenth of its life is less.
	early = time.Minute
	// unlimited is how long a value is kept that comes without an end.
	unlimited = time.Hour
)

// Value is such a value. It is safe for concurrent use. New creates it.
type Value[T comparable] struct {
	fetch func(context.Context) (T, time.Time, error)

	mu     sync.Mutex
	value  T
	until  time.Time // when it is to be replaced; zero: there is none
	flight *flight[T]
}

// flight is a fetch that is under way. Its results are there once done is closed.
type flight[T any] struct {
	done      chan struct{}
	value     T
	err       error
	abandoned bool // its caller's context ended, which says nothing of the value
}

// New returns a Value that fetch gets, with the time until which it is good;
// zero means that this is not known. fetch returns by the end of its context.
func New[T comparable](fetch func(context.Context) (T, time.Time, error)) *Value[T] {
	return &Value[T]{fetch: fetch}
}

// Get returns the value, which one of those that wait for it fetches within its
// own context. All of them share what comes of that, also an error, which is not
// remembered; only if the context ended, another one tries.
func (v *Value[T]) Get(ctx context.Context) (T, error) {
	for {
		v.mu.Lock()
		if time.Now().Before(v.until) {
			defer v.mu.Unlock()
			return v.value, nil
		}
		f := v.flight
		if f == nil {
			f = &flight[T]{done: make(chan struct{})}
			v.flight = f
			v.mu.Unlock()
			v.lead(ctx, f)
			return f.value, f.err
		}
		v.mu.Unlock()
		select {
		case <-f.done:
			if !f.abandoned {
				return f.value, f.err
			}
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
}

// lead fetches the value for all that wait for f.
func (v *Value[T]) lead(ctx context.Context, f *flight[T]) {
	f.abandoned = true // should fetch panic
	start := time.Now()
	var until time.Time
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if !f.abandoned && f.err == nil {
			v.value, v.until = f.value, replaceAt(start, until)
		}
		v.flight = nil
		close(f.done)
	}()
	f.value, until, f.err = v.fetch(ctx)
	f.abandoned = f.err != nil && ctx.Err() != nil
}

func replaceAt(start, until time.Time) time.Time {
	if until.IsZero() {
		return start.Add(unlimited)
	}
	return until.Add(-min(early, until.Sub(start)/10))
}

// Drop forgets the value, if it is still the given one.
func (v *Value[T]) Drop(value T) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.value == value {
		var none T
		v.value, v.until = none, time.Time{}
	}
}
