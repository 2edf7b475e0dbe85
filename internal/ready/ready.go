// Package ready keeps things that are made of something else, and makes them
// again when that has changed.
//
// Making one may fail for a while, and may take longer than the one goroutine has
// that hands them out: then whoever is to use the thing makes it first, of whom
// there are only so many at a time.
package ready

import (
	"sync/atomic"
	"time"
)

const (
	// retry is how long after a failure that may pass another try is made,
	// doubled with each one in a row up to Options.Rest.
	retry = 5 * time.Second
	// soon is the shortest wait, and how long to wait while too many others are
	// being made.
	soon = 250 * time.Millisecond
)

// Options say how a Shelf makes a *T of an S.
type Options[S, T any] struct {
	// Same reports whether what is made of one is as good for the other.
	Same func(a, b S) bool
	// Slow reports whether making takes long. Such are made at most Slots at a
	// time, of which half are kept for what has not failed before.
	Slow  func(of S) bool
	Slots int
	// Make makes one. old is the one before it, also of another S; nil if there
	// was none.
	Make func(of S, old *T) (*T, error)
	// Passes reports whether a failure may pass. Another one lasts until the S
	// changes.
	Passes func(error) bool
	// Rest is how long to wait where a failure lasts, and at the most where it
	// may pass.
	Rest time.Duration
	// Close is called for each that is not handed out any more. Some may be in
	// use, and it may be called more than once.
	Close func(*T)
}

// Shelf keeps things by their names. Its methods belong to one goroutine. New
// creates it.
type Shelf[S, T any] struct {
	options Options[S, T]
	items   map[string]*Item[S, T]
	making  atomic.Int64 // slow ones that have begun
}

// Item is a thing that is made, could not be made, or has yet to be made by Make.
type Item[S, T any] struct {
	// Thing is what was made; where there is none yet, or it failed, the one that
	// was before it, nil if there was none.
	Thing *T

	shelf    *Shelf[S, T]
	of       S
	slow     bool // it has yet to be made
	made     atomic.Pointer[Item[S, T]]
	err      error
	failures int       // that may pass, in a row
	again    time.Time // when to try again; zero: never
}

// New returns an empty shelf.
func New[S, T any](o Options[S, T]) *Shelf[S, T] {
	return &Shelf[S, T]{options: o, items: make(map[string]*Item[S, T])}
}

// Get returns the item of that name: the one that is there, if it was made of the
// same, otherwise a new one.
func (s *Shelf[S, T]) Get(name string, of S, now time.Time) *Item[S, T] {
	item := s.items[name]
	if item != nil && s.options.Same(item.of, of) {
		if made := item.made.Load(); made != nil {
			item = made
			s.items[name] = item
		}
		if item.err == nil || item.again.IsZero() || now.Before(item.again) {
			return item
		}
	}
	next := &Item[S, T]{shelf: s, of: of, slow: true}
	if item != nil {
		next.Thing, next.failures = item.latest(), item.failures
	}
	if !s.options.Slow(of) {
		next = next.make()
	}
	if item != nil {
		item.close()
	}
	s.items[name] = next
	return next
}

// Wait returns how long to wait before the item can be used, or made; with 0 that
// may be now.
func (i *Item[S, T]) Wait(now time.Time) time.Duration {
	switch {
	case i.slow && !i.mayBegin():
		return soon
	case i.err == nil:
		return 0
	case i.again.IsZero():
		return i.shelf.options.Rest
	}
	return max(i.again.Sub(now), soon)
}

func (i *Item[S, T]) mayBegin() bool {
	slots := i.shelf.options.Slots
	if i.failures > 0 {
		slots /= 2
	}
	return i.shelf.making.Load() < int64(slots)
}

// Slow reports whether the item has yet to be made, by Make after a Begin, which
// must be one at a time for a name.
func (i *Item[S, T]) Slow() bool { return i.slow }

// Failed reports whether the item could not be made.
func (i *Item[S, T]) Failed() bool { return i.err != nil }

// Begin takes the place of a Make that follows.
func (i *Item[S, T]) Begin() {
	if i.slow {
		i.shelf.making.Add(1)
	}
}

// Make returns the item itself, or what comes of making it. Any goroutine may call
// it, once after each Begin.
func (i *Item[S, T]) Make() *Item[S, T] {
	if !i.slow {
		return i
	}
	defer i.shelf.making.Add(-1)
	made := i.make()
	i.made.Store(made)
	return made
}

func (i *Item[S, T]) make() *Item[S, T] {
	o := &i.shelf.options
	made := &Item[S, T]{Thing: i.Thing, shelf: i.shelf, of: i.of}
	thing, err := o.Make(i.of, i.Thing)
	switch made.err = err; {
	case err == nil:
		made.Thing = thing
	case o.Passes(err):
		made.again = time.Now().Add(min(retry<<min(i.failures, 10), o.Rest))
		made.failures = i.failures + 1
	}
	return made
}

func (i *Item[S, T]) latest() *T {
	if made := i.made.Load(); made != nil {
		return made.Thing
	}
	return i.Thing
}

func (i *Item[S, T]) close() {
	if thing := i.latest(); thing != nil {
		i.shelf.options.Close(thing)
	}
}

// Forget drops an item.
func (s *Shelf[S, T]) Forget(name string) {
	if item := s.items[name]; item != nil {
		item.close()
		delete(s.items, name)
	}
}

// ForgetFailed drops those that could not be made.
func (s *Shelf[S, T]) ForgetFailed() {
	for name, item := range s.items {
		if item.err != nil {
			s.Forget(name)
		}
	}
}

// Close closes all. What is being made meanwhile is not waited for.
func (s *Shelf[S, T]) Close() {
	for _, item := range s.items {
		item.close()
	}
}
