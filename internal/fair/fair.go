// Package fair schedules timed items so that no group and no lane monopolises
// what takes them. Items wait in lanes, and lanes belong to groups. Groups take
// turns, lanes within a group take turns, and within a lane the earliest due
// item comes first. Taking costs what is taken: a backlog that may not be
// touched is passed over in one step for its lane, however long it is.
//
// Times are nanoseconds of the caller's clock. A Queue is not safe for
// concurrent use.
package fair

import (
	"container/heap"
	"iter"
)

// Queue schedules the items of its lanes. The zero Queue is empty and ready.
type Queue[T any] struct {
	groups  map[string]*group[T]
	turns   ring[*group[T]] // the groups that have lanes in their ring
	waiting waitingLanes[T] // the lanes whose next item is due later
	pushed  uint64          // orders items that are due at the same time
	takes   uint64          // numbers the calls of Take
	passed  []*Lane[T]      // scratch of Take: lanes without room
}

type group[T any] struct {
	name    string
	size    int            // lanes in existence
	lanes   ring[*Lane[T]] // the lanes that have something due
	inTurns bool
}

// Lane is a queue of items. [Queue.NewLane] creates it.
type Lane[T any] struct {
	ID        string // the caller's
	queue     *Queue[T]
	group     *group[T]
	fresh     ring[entry[T]] // pushed in the order of their due times
	freshDue  int64          // of the last one
	items     dueItems[T]    // the others: pushed out of order, moved or taken
	notBefore int64
	stopped   bool
	inRing    bool // stays true until popped, even if nothing is due any more
	waitIndex int  // in queue.waiting, -1 when it is not there
	wake      int64
	take      uint64 // the Take that taken counts for
	taken     int
}

// Item is an entry of a lane. Embed it in the value it stands for, set Value,
// then [Lane.Push] it: an entry costs no allocation of its own.
type Item[T any] struct {
	Value T
	due   int64
	order uint64
	index int      // in lane.items, -1 while it is in lane.fresh
	lane  *Lane[T] // nil while it is in none
}

// entry is a place in lane.fresh. It is void once the item has left it: most
// items arrive in order and leave from the front, for which a heap, with its
// random walk through memory, would be several times slower.
type entry[T any] struct {
	item  *Item[T]
	order uint64
}

// NewLane adds an empty lane to the named group.
func (q *Queue[T]) NewLane(groupName string) *Lane[T] {
	if q.groups == nil {
		q.groups = make(map[string]*group[T])
	}
	g := q.groups[groupName]
	if g == nil {
		g = &group[T]{name: groupName}
		q.groups[groupName] = g
	}
	g.size++
	return &Lane[T]{queue: q, group: g, waitIndex: -1}
}

// Take hands out at most limit due items, in turn. room says how many of a lane
// may be taken by this call; take is told of each item and returns its new due
// time, later than now, or false to end the call without taking it. Neither may
// change the queue.
func (q *Queue[T]) Take(now int64, limit int, room func(*Lane[T]) int, take func(*Item[T]) (due int64, ok bool)) {
	q.takes++
	q.Wait(now)
	q.passed = q.passed[:0]
	for limit > 0 && q.turns.len() > 0 {
		g := q.turns.pop()
		g.inTurns = false
		l := q.next(g, now, room)
		if l == nil {
			continue
		}
		first := l.first()
		due, ok := take(first)
		if !ok { // the next call begins with it
			l.enter(true)
			break
		}
		limit--
		l.taken++
		l.move(first, due)
		if l.notBefore != 0 {
			l.notBefore = due
		}
		l.place(now)
		if g.lanes.len() > 0 && !g.inTurns {
			g.inTurns = true
			q.turns.push(g)
		}
	}
	// A lane that got nothing keeps its turn; one that got its share waits for
	// the next.
	for n := len(q.passed) - 1; n >= 0; n-- {
		if l := q.passed[n]; l.taken == 0 {
			l.enter(true)
		}
	}
	for _, l := range q.passed {
		l.enter(false)
	}
	clear(q.passed)
}

// next pops the group's lanes until one has an item due and room for it.
func (q *Queue[T]) next(g *group[T], now int64, room func(*Lane[T]) int) *Lane[T] {
	for g.lanes.len() > 0 {
		l := g.lanes.pop()
		l.inRing = false
		if l.stopped || l.wakeAt() > now {
			continue // place has put it among the waiting, if it has items
		}
		if l.take != q.takes {
			l.take, l.taken = q.takes, 0
		}
		if room(l) > l.taken {
			return l
		}
		q.passed = append(q.passed, l)
	}
	return nil
}

// Wait moves the lanes whose time has come to their groups' rings and returns
// when the next one's will; ok is false when no lane waits.
func (q *Queue[T]) Wait(now int64) (next int64, ok bool) {
	for len(q.waiting) > 0 {
		l := q.waiting[0]
		if l.wake > now {
			return l.wake, true
		}
		l.place(now)
	}
	return 0, false
}

// Push puts an item that is in no lane into l.
func (l *Lane[T]) Push(i *Item[T], due, now int64) {
	l.queue.pushed++
	i.due, i.order, i.lane = due, l.queue.pushed, l
	if l.fresh.len() == 0 || due >= l.freshDue {
		i.index = -1
		l.freshDue = due
		l.fresh.push(entry[T]{i, i.order})
	} else {
		heap.Push(&l.items, i)
	}
	l.place(now)
}

// PushTaken puts an item that is in no lane into l as if Take had taken it.
func (l *Lane[T]) PushTaken(i *Item[T], due, now int64) {
	l.queue.pushed++
	i.due, i.order, i.lane = due, l.queue.pushed, l
	heap.Push(&l.items, i)
	l.place(now)
}

// Idle reports whether Take would find nothing in the lane, at that time, that is
// not held back by SetNotBefore or Stop either.
func (l *Lane[T]) Idle(now int64) bool {
	return l.notBefore == 0 && !l.stopped && l.wakeAt() > now
}

// Stop makes Take pass the lane over until Start.
func (l *Lane[T]) Stop() {
	l.stopped = true
	l.leaveWaiting()
}

// Start undoes Stop.
func (l *Lane[T]) Start(now int64) {
	l.stopped = false
	l.place(now)
}

// SetNotBefore makes Take pass the lane over until t. Once a t other than 0 has
// passed, Take takes a single item and moves t to that item's new due time.
func (l *Lane[T]) SetNotBefore(t, now int64) {
	l.notBefore = t
	l.place(now)
}

// NotBefore returns what SetNotBefore or Take set.
func (l *Lane[T]) NotBefore() int64 { return l.notBefore }

// Values yields the values of the lane's items, in no particular order.
func (l *Lane[T]) Values() iter.Seq[T] {
	return func(yield func(T) bool) {
		for i := range l.all() {
			if !yield(i.Value) {
				return
			}
		}
	}
}

// Close ends the lane: its items are in no lane any more.
func (l *Lane[T]) Close() {
	l.Stop()
	for i := range l.all() {
		i.lane = nil
	}
	l.items, l.fresh = nil, ring[entry[T]]{}
	if l.group.size--; l.group.size == 0 {
		delete(l.queue.groups, l.group.name)
	}
}

// wakeAt returns when the lane's next item may be taken.
func (l *Lane[T]) wakeAt() int64 {
	if first := l.first(); first != nil {
		return max(first.due, l.notBefore)
	}
	return never
}

// first returns the item that is due first, nil if there is none.
func (l *Lane[T]) first() *Item[T] {
	var first *Item[T]
	for l.fresh.len() > 0 {
		if e := l.fresh.at(0); e.holds(l) {
			first = e.item
			break
		}
		l.fresh.pop()
	}
	if len(l.items) > 0 && (first == nil || l.items[0].before(first)) {
		first = l.items[0]
	}
	return first
}

// move changes when an item falls due, and takes it out of fresh.
func (l *Lane[T]) move(i *Item[T], due int64) {
	i.due = due
	if i.index < 0 {
		heap.Push(&l.items, i)
	} else {
		heap.Fix(&l.items, i.index)
	}
}

func (l *Lane[T]) all() iter.Seq[*Item[T]] {
	return func(yield func(*Item[T]) bool) {
		for n := range l.fresh.len() {
			if e := l.fresh.at(n); e.holds(l) && !yield(e.item) {
				return
			}
		}
		for _, i := range l.items {
			if !yield(i) {
				return
			}
		}
	}
}

// holds reports whether the entry's item is still in l.fresh, by this entry.
func (e entry[T]) holds(l *Lane[T]) bool {
	return e.item.lane == l && e.item.index < 0 && e.item.order == e.order
}

// place puts the lane where its next item belongs: among those that have
// something due, among the waiting, or nowhere.
func (l *Lane[T]) place(now int64) {
	if l.stopped {
		return
	}
	switch at := l.wakeAt(); {
	case at <= now:
		l.leaveWaiting()
		l.enter(false)
	case at == never:
		l.leaveWaiting()
	case l.waitIndex >= 0:
		l.wake = at
		heap.Fix(&l.queue.waiting, l.waitIndex)
	default:
		l.wake = at
		heap.Push(&l.queue.waiting, l)
	}
}

// enter puts the lane into its group's ring, and the group into the turns.
func (l *Lane[T]) enter(front bool) {
	if l.inRing {
		return
	}
	l.inRing = true
	g := l.group
	if front {
		g.lanes.pushFront(l)
	} else {
		g.lanes.push(l)
	}
	switch {
	case g.inTurns:
	case front:
		g.inTurns = true
		l.queue.turns.pushFront(g)
	default:
		g.inTurns = true
		l.queue.turns.push(g)
	}
}

func (l *Lane[T]) leaveWaiting() {
	if l.waitIndex >= 0 {
		heap.Remove(&l.queue.waiting, l.waitIndex)
	}
}

// Queued reports whether the item is in a lane.
func (i *Item[T]) Queued() bool { return i.lane != nil }

// Move changes when a queued item falls due.
func (i *Item[T]) Move(due, now int64) {
	i.lane.move(i, due)
	i.lane.place(now)
}

// Remove takes a queued item out of its lane.
func (i *Item[T]) Remove(now int64) {
	l := i.lane
	if i.index >= 0 {
		heap.Remove(&l.items, i.index)
	}
	i.lane = nil
	l.place(now)
}

// before reports whether i comes before j: it is due earlier, or was pushed
// earlier.
func (i *Item[T]) before(j *Item[T]) bool {
	return i.due < j.due || i.due == j.due && i.order < j.order
}

const never = 1<<63 - 1

// dueItems is a heap.Interface of items, the earliest due first.
type dueItems[T any] []*Item[T]

func (h dueItems[T]) Len() int           { return len(h) }
func (h dueItems[T]) Less(a, b int) bool { return h[a].before(h[b]) }
func (h dueItems[T]) Swap(a, b int) {
	h[a], h[b] = h[b], h[a]
	h[a].index, h[b].index = a, b
}
func (h *dueItems[T]) Push(x any) {
	i := x.(*Item[T])
	i.index = len(*h)
	*h = append(*h, i)
}
func (h *dueItems[T]) Pop() any {
	last := len(*h) - 1
	i := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return i
}

// waitingLanes is a heap.Interface of lanes, the first to wake first.
type waitingLanes[T any] []*Lane[T]

func (h waitingLanes[T]) Len() int           { return len(h) }
func (h waitingLanes[T]) Less(a, b int) bool { return h[a].wake < h[b].wake }
func (h waitingLanes[T]) Swap(a, b int) {
	h[a], h[b] = h[b], h[a]
	h[a].waitIndex, h[b].waitIndex = a, b
}
func (h *waitingLanes[T]) Push(x any) {
	l := x.(*Lane[T])
	l.waitIndex = len(*h)
	*h = append(*h, l)
}
func (h *waitingLanes[T]) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	l.waitIndex = -1
	return l
}

// ring is a double-ended queue. The zero ring is empty.
type ring[T any] struct {
	slots []T // its length is a power of two
	head  int
	count int
}

func (r *ring[T]) len() int { return r.count }

func (r *ring[T]) at(n int) T { return r.slots[(r.head+n)&(len(r.slots)-1)] }

func (r *ring[T]) push(v T) {
	r.grow()
	r.slots[(r.head+r.count)&(len(r.slots)-1)] = v
	r.count++
}

func (r *ring[T]) pushFront(v T) {
	r.grow()
	r.head = (r.head - 1) & (len(r.slots) - 1)
	r.slots[r.head] = v
	r.count++
}

func (r *ring[T]) pop() T {
	v := r.slots[r.head]
	var none T
	r.slots[r.head] = none
	r.head = (r.head + 1) & (len(r.slots) - 1)
	r.count--
	return v
}

func (r *ring[T]) grow() {
	if r.count < len(r.slots) {
		return
	}
	slots := make([]T, max(4, 2*len(r.slots)))
	for n := range r.count {
		slots[n] = r.slots[(r.head+n)&(len(r.slots)-1)]
	}
	r.slots, r.head = slots, 0
}
