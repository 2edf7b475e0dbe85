// Package insist has items stored by something that fails at times, for as long as
// that takes, and does not let one that is refused hold up the others.
package insist

import (
	"context"
	"time"
)

const (
	halve = 3 // failures in a row after which a batch is tried in halves,
	lean  = 5 // an item that alone is refused, with less in it,
	bare  = 7 // with next to nothing,
	aside = 9 // and set aside, as long as others wait
)

// Options say how items are stored.
type Options[T any] struct {
	// Store stores all items, or none and returns an error. again says that this
	// is the last try of one that was set aside.
	Store func(items []T, again bool) error
	// Pause is how long to wait after so many failures in a row.
	Pause func(failures int) time.Duration
	// Works reports whether the store works, so that it is the item that it does
	// not take.
	Works func(item T) bool
	// Lessen takes out of an item what can be spared, or, with bare, all that it
	// can be stored without.
	Lessen func(item T, bare bool) T
	// Aside is how many items may be set aside.
	Aside int
	// Dropped is told of an item that was refused for good.
	Dropped func(item T, err error)
}

// Keeper stores items. It belongs to one goroutine. New creates it.
type Keeper[T any] struct {
	options Options[T]
	aside   []T
	lost    int
}

// New returns a Keeper.
func New[T any](o Options[T]) *Keeper[T] { return &Keeper[T]{options: o} }

// Lost returns how many items were not stored: what ctx cut short, what was
// refused, and what is set aside still.
func (k *Keeper[T]) Lost() int { return k.lost + len(k.aside) }

// Keep stores the items, however long that takes until ctx ends; waiting reports
// whether others wait for it. An item that the store refuses for itself is then
// set aside, and tried once more when one of the others was taken.
func (k *Keeper[T]) Keep(ctx context.Context, items []T, waiting func() bool) {
	works := false // the store did, just before it did not take the items
	for failures := 0; ; {
		if err := k.options.Store(items, false); err == nil {
			k.retry()
			return
		}
		failures++
		select {
		case <-ctx.Done():
			k.lost += len(items)
			return
		case <-time.After(k.options.Pause(failures)):
		}
		if half := len(items) / 2; failures >= halve && half > 0 {
			k.Keep(ctx, items[:half], func() bool { return true })
			k.Keep(ctx, items[half:], waiting)
			return
		}
		if failures >= lean && works {
			items[0] = k.options.Lessen(items[0], failures >= bare)
		}
		if failures >= aside && len(k.aside) < k.options.Aside && waiting() {
			k.aside = append(k.aside, items[0])
			return
		}
		works = k.options.Works(items[0])
	}
}

// retry tries once more what was set aside. What is refused even now is dropped.
func (k *Keeper[T]) retry() {
	items := k.aside
	k.aside = nil
	for n := range items {
		if err := k.options.Store(items[n:n+1], true); err != nil {
			k.lost++
			k.options.Dropped(items[n], err)
		}
	}
}
