// Package chain keeps what has the same key in order: only the first one of each
// chain may go on, and the next when that is done.
package chain

import "iter"

// Chains are chains by their keys. The zero value has none.
type Chains[K comparable, T any] struct {
	ends map[K]*ends[T]
}

type ends[T any] struct{ first, last *Link[T] }

// Link is the place of one value in a chain. The zero Link is in none.
type Link[T any] struct {
	Value      T
	prev, next *Link[T]
	in         bool
}

// Add puts a link at the end of the key's chain, and reports whether it is the first.
func (c *Chains[K, T]) Add(key K, l *Link[T]) (first bool) {
	l.in = true
	if e := c.ends[key]; e != nil {
		l.prev, e.last.next, e.last = e.last, l, l
		return false
	}
	if c.ends == nil {
		c.ends = make(map[K]*ends[T])
	}
	c.ends[key] = &ends[T]{l, l}
	return true
}

// Remove takes a link out of the key's chain, if it is in it. Where it was the
// first, and another follows, that is the first now and ok.
func (c *Chains[K, T]) Remove(key K, l *Link[T]) (first T, ok bool) {
	if !l.in {
		return first, false
	}
	e := c.ends[key]
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		e.first = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	} else {
		e.last = l.prev
	}
	if l.prev == nil && l.next != nil {
		first, ok = l.next.Value, true
	}
	if e.first == nil {
		delete(c.ends, key)
	}
	l.Reset()
	return first, ok
}

// Behind yields the values that follow a link, in their order.
func (l *Link[T]) Behind() iter.Seq[T] {
	return func(yield func(T) bool) {
		for next := l.next; next != nil && yield(next.Value); next = next.next {
		}
	}
}

// Reset takes the link out of chains that are not used any more.
func (l *Link[T]) Reset() { l.prev, l.next, l.in = nil, nil, false }
