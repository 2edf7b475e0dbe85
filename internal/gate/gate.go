// Package gate decides what may start: so many in all, so many of one key, so
// many a second of one key, and no more than half of all for one key, or for
// all keys together that are not known to be quick.
//
// A key is quick while its work takes less than a second. One whose work takes
// longer, and one whose first work is not done yet, is wary: the wary together
// get at most half of the places, so that the other half is there for the quick.
// A key starts with a single place until its first work is done; one that is
// said to be failing then has at most a quarter with its like, so that a healthy
// one need not wait until they are all found out.
//
// A name may be parked, whatever its bounds: of one that nothing can be started of
// now, nothing is planned for a while.
//
// A Gate belongs to one goroutine.
package gate

import (
	"maps"
	"math"
	"time"

	"golang.org/x/time/rate"
)

// slowAfter is how long work may take before its key is no longer quick.
const slowAfter = time.Second

// relook is after how long a key that waits for its rate is offered all the
// same: its limits may have been changed, which only Key tells.
const relook = 10 * time.Second

// maxParked bounds the names that are parked at a time, and so what Plan costs.
const maxParked = 1000

// Gate admits work. New creates it.
type Gate struct {
	size     int
	inflight int
	held     int // in flight of wary keys
	changed  bool
	keys     map[string]*Key
	room     map[string]int
	wary     map[*Key]struct{}
	limited  map[*Key]struct{}    // keys that wait for their rate
	running  []*Pass              // young passes in the order of their starts; over ones too
	parked   map[string]time.Time // until when
}

// Key is one of the parties between which the places are shared.
type Key struct {
	name     string
	limit    int
	limiter  *rate.Limiter
	inflight int
	old      int // in flight for longer than slowAfter
	failing  bool
	known    bool
	wary     bool
	used     time.Time
}

// Pass is one piece of work that was let in. The zero Pass is ready for Enter.
type Pass struct {
	key     *Key
	started time.Time
	old     bool
	over    bool
}

// New returns a gate with that many places.
func New(size int) *Gate {
	return &Gate{
		size: size,
		keys: make(map[string]*Key), room: make(map[string]int),
		wary: make(map[*Key]struct{}), limited: make(map[*Key]struct{}),
		parked: make(map[string]time.Time),
	}
}

// Key returns the named key with these limits: limit places, perSecond starts a
// second with 0 for no bound. failing is what others say of it.
func (g *Gate) Key(name string, limit int, perSecond float64, failing bool, now time.Time) *Key {
	k := g.keys[name]
	if k == nil {
		k = &Key{name: name, wary: true}
		g.keys[name] = k
		g.wary[k] = struct{}{}
	}
	k.used = now
	k.limit, k.failing = limit, failing
	switch burst := max(1, int(math.Ceil(min(perSecond, 1e6)/10))); {
	case perSecond <= 0:
		k.limiter = nil
	case k.limiter == nil:
		k.limiter = rate.NewLimiter(rate.Limit(perSecond), burst)
	case k.limiter.Limit() != rate.Limit(perSecond):
		k.limiter.SetLimitAt(now, rate.Limit(perSecond))
		k.limiter.SetBurstAt(now, burst)
	}
	return k
}

// Plan returns how much may start now: free in all; of a key in room as much as
// stands there; of any other key one, after which it is in room. wait is until a
// key's rate allows more or what is parked is let go, 0 if none waits for that.
// room is valid until the next call of any method, and has not many more names
// than there are places or parked ones.
func (g *Gate) Plan(now time.Time) (free int, room map[string]int, wait time.Duration) {
	g.age(now)
	if g.changed {
		g.changed = false
		for k := range g.wary {
			g.refresh(k, now)
		}
	}
	for k := range g.limited {
		g.refresh(k, now)
	}
	for k := range g.limited {
		missing := max(1-k.limiter.TokensAt(now), 0)
		until := time.Duration(missing/float64(k.limiter.Limit())*float64(time.Second)) + 1
		if wait == 0 || until < wait {
			wait = until
		}
	}
	room = g.room
	if len(g.parked) > 0 {
		room, wait = g.withoutParked(wait, now)
	}
	return g.size - g.inflight, room, wait
}

// Park makes Plan leave no room for a name until then, unless very many are parked
// already.
func (g *Gate) Park(name string, until time.Time) {
	if len(g.parked) < maxParked {
		g.parked[name] = until
	}
}

// withoutParked returns the room that is left when nothing of what is parked is
// started, and how long to wait at the most.
func (g *Gate) withoutParked(wait time.Duration, now time.Time) (map[string]int, time.Duration) {
	room := maps.Clone(g.room)
	for name, until := range g.parked {
		left := until.Sub(now)
		if left <= 0 {
			delete(g.parked, name)
			continue
		}
		room[name] = 0
		if wait <= 0 || left < wait {
			wait = left
		}
	}
	return room, wait
}

// Enter lets one piece of work in, if there is room for it.
func (g *Gate) Enter(k *Key, p *Pass, now time.Time) bool {
	k.used = now
	if g.inflight >= g.size || g.allowed(k, now) < 1 {
		g.refresh(k, now)
		return false
	}
	if k.limiter != nil {
		k.limiter.AllowN(now, 1)
	}
	*p = Pass{key: k, started: now}
	g.inflight++
	k.inflight++
	if k.wary {
		g.held++
		g.changed = true
	}
	g.refresh(k, now)
	if len(g.running) > 2*g.size+64 {
		g.compact()
	}
	g.running = append(g.running, p)
	return true
}

// Leave ends what Enter let in.
func (g *Gate) Leave(p *Pass, now time.Time) {
	k := p.key
	p.over = true
	k.known = true
	k.used = now
	g.inflight--
	k.inflight--
	if k.wary {
		g.held--
		g.changed = true
	}
	if p.old {
		k.old--
	}
	g.setWary(k, k.old > 0 || now.Sub(p.started) >= slowAfter)
	g.refresh(k, now)
}

// Undo ends what Enter let in and was not worked on: it says nothing of the key.
func (g *Gate) Undo(p *Pass, now time.Time) {
	k := p.key
	p.over = true
	g.inflight--
	k.inflight--
	if k.wary {
		g.held--
		g.changed = true
	}
	if p.old {
		k.old--
	}
	g.refresh(k, now)
}

// Forget drops the keys that were not used since then, and tells of each.
func (g *Gate) Forget(since time.Time, forgotten func(name string)) {
	for name, k := range g.keys {
		// A limiter that is not full remembers starts that still count.
		full := k.limiter == nil || k.limiter.TokensAt(since) >= float64(k.limiter.Burst())
		if k.inflight == 0 && full && k.used.Before(since) {
			delete(g.keys, name)
			delete(g.room, name)
			delete(g.wary, k)
			delete(g.limited, k)
			forgotten(name)
		}
	}
}

// age makes the keys wary whose work has been running for long.
func (g *Gate) age(now time.Time) {
	n := 0
	for ; n < len(g.running); n++ {
		p := g.running[n]
		if p.over {
			continue
		}
		if now.Sub(p.started) < slowAfter {
			break
		}
		p.old = true
		p.key.old++
		g.setWary(p.key, true)
	}
	if n > 0 {
		young := g.running[:copy(g.running, g.running[n:])]
		clear(g.running[len(young):])
		g.running = young
	}
}

func (g *Gate) compact() {
	young := g.running[:0]
	for _, p := range g.running {
		if !p.over {
			young = append(young, p)
		}
	}
	clear(g.running[len(young):])
	g.running = young
}

func (g *Gate) setWary(k *Key, wary bool) {
	if k.wary == wary {
		return
	}
	k.wary = wary
	g.changed = true
	if wary {
		g.wary[k] = struct{}{}
		g.held += k.inflight
	} else {
		delete(g.wary, k)
		g.held -= k.inflight
	}
}

// allowed returns how much of the key may start now.
func (g *Gate) allowed(k *Key, now time.Time) int {
	half := max(1, g.size/2)
	n, share := min(k.limit, half), half
	if !k.known {
		n = min(n, 1)
		if k.failing {
			share = max(1, half/2)
		}
	}
	n -= k.inflight
	if k.wary {
		n = min(n, share-g.held)
	}
	if k.limiter != nil && n > 0 {
		n = min(n, int(k.limiter.TokensAt(now)))
		if n < 1 {
			g.limited[k] = struct{}{}
		}
	}
	return max(n, 0)
}

// refresh brings the key's entry in room up to date.
func (g *Gate) refresh(k *Key, now time.Time) {
	delete(g.limited, k)
	n := g.allowed(k, now)
	_, limited := g.limited[k]
	idle := k.inflight == 0 && (n > 0 || limited && now.Sub(k.used) >= relook)
	delete(g.room, k.name)
	// A quick key keeps its room between two pieces of work, unless there are so
	// many keys that each needs one place at most.
	if !idle || n > 1 && !k.wary && k.limiter == nil && len(g.room) < g.size {
		g.room[k.name] = n
	}
}
