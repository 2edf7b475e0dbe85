// Package illness remembers that something many depend on is ill, so that they
// leave it alone but for a probe now and then, and hear of it once.
package illness

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	minRest = time.Second // between two probes: a quarter of the time
	maxRest = time.Minute // that it has been ill for, within these bounds
	// memory is how long after its last fault a relapse still belongs to the
	// same illness, so that what is well and ill in turns is not told of, nor
	// run into, every second.
	memory = 5 * time.Minute
	// spread is between two pieces of work that come back, so that a great many
	// of them cost little while they wait, and do not come back all at once.
	spread    = 5 * time.Millisecond
	maxSpread = 5 * time.Minute
)

// Illness counts the faults of one thing in a row. It is safe for concurrent
// use. New creates it.
type Illness struct {
	limit int

	mu     sync.Mutex
	faults int       // since it was well
	since  time.Time // of the illness's first fault
	last   time.Time // fault
	next   time.Time // probe: no earlier
	probed time.Time // until when one is on its way, if nothing is heard of it
	parked int       // pieces of work that wait since the last probe
}

// New returns an Illness that breaks out with that many faults in a row.
func New(limit int) *Illness { return &Illness{limit: limit} }

// Fault counts one, and reports whether the illness broke out with it and how
// long the work that met with it should wait.
func (i *Illness) Fault(now time.Time) (out bool, wait time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.last.IsZero() || now.Sub(i.last) > memory {
		i.since = now
	}
	i.last = now
	i.faults++
	i.next, i.probed = now.Add(i.rest(now)), time.Time{}
	return i.faults == i.limit, jittered(i.rest(now))
}

// Well says that work which began at that time succeeded, and reports whether
// that ends the illness. Work that began before the last fault proves nothing.
func (i *Illness) Well(began time.Time) (over bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.faults == 0 || began.Before(i.last) {
		return false
	}
	over = i.faults >= i.limit
	i.faults, i.probed = 0, time.Time{}
	return over
}

// Wait returns how long work should wait; with 0 it may start, as the one probe
// while the illness lasts. A probe of which neither Fault nor Well tells within a
// minute is forgotten.
func (i *Illness) Wait(now time.Time) time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.faults < i.limit {
		return 0
	}
	wait := i.next.Sub(now)
	if now.Before(i.probed) {
		wait = max(wait, i.rest(now))
	}
	if wait > 0 {
		i.parked++
		return jittered(wait + min(time.Duration(i.parked)*spread, maxSpread))
	}
	i.probed, i.parked = now.Add(maxRest), 0
	return 0
}

func (i *Illness) rest(now time.Time) time.Duration {
	return min(max(now.Sub(i.since)/4, minRest), maxRest)
}

// jittered adds up to a half, in whole milliseconds: who keeps times may not keep
// finer ones.
func jittered(d time.Duration) time.Duration {
	return (d + rand.N(d/2+minRest/2)).Truncate(time.Millisecond) + time.Millisecond
}
