// Package gate decides what may start: so many in all, so many of one key, so
// many a second of one key, and no more than half of all for one key, or for
// all keys together that are not known to be quick.
//
// One place of every 32, the last ones, is spared for keys that have nothing in
// flight, and the last half of these for keys whose group does not have half of all
// places: quick keys, too, may stop coming to an end all at once.
//
// A key is quick while its work takes less than a second. One whose work takes
// longer, and one whose first work is not done yet, is wary: the wary together
// get at most half of the places, so that the other half is there for the quick. A
// quarter of what the wary get is kept for work that was turned away before.
// A key starts with a single place until its first work is done; one that is
// said to be failing then has at most a quarter with its like, so that a healthy
// one need not wait until they are all found out.
//
// A key belongs to a group, such as a customer. Where the wary keys have more work
// than places are left to them, Ration shares these out among their groups, so that
// one of many keys gets no more than one of few.
//
// A name may be parked, whatever its bounds: of one that nothing can be started of
// now, nothing is planned for a while.
//
// A Gate belongs to one goroutine.
package gate

import (
	"maps"
	"math"
	"slices"
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
	held     int // in flight of wary keys,
	doubted  int // and of those among them that are said to be failing and not known
	changed  bool
	keys     map[string]*Key
	groups   map[string]int // in flight of each
	room     map[string]int
	wary     map[*Key]struct{}
	limited  map[*Key]struct{}    // keys that wait for their rate
	waiting  map[*Key]struct{}    // wary keys that have more work than the wary had places for
	slow     int                  // how many of these are known
	young    int                  // in flight for no longer than slowAfter, of keys that are not known
	running  []*Pass              // young passes in the order of their starts; over ones too
	parked   map[string]time.Time // until when
}

// Key is one of the parties between which the places are shared.
type Key struct {
	name     string
	group    string
	limit    int
	limiter  *rate.Limiter
	inflight int
	old      int // in flight for longer than slowAfter
	failing  bool
	known    bool
	wary     bool
	used     time.Time
	wanted   int // of the last Ration,
	offered  int // by it,
	came     int // to Enter since
}

// Pass is one piece of work that was let in. The zero Pass is ready for Enter.
type Pass struct {
	key     *Key
	started time.Time
	first   bool // it is young, and its key was not known
	old     bool
	over    bool
}

// New returns a gate with that many places.
func New(size int) *Gate {
	return &Gate{
		size: size,
		keys: make(map[string]*Key), groups: make(map[string]int), room: make(map[string]int),
		wary: make(map[*Key]struct{}), limited: make(map[*Key]struct{}), waiting: make(map[*Key]struct{}),
		parked: make(map[string]time.Time),
	}
}

// Key returns the named key, one of a group, with these limits: limit places,
// perSecond starts a second with 0 for no bound. failing is what others say of it.
func (g *Gate) Key(name, group string, limit int, perSecond float64, failing bool, now time.Time) *Key {
	k := g.keys[name]
	if k == nil {
		k = &Key{name: name, wary: true}
		g.keys[name] = k
		g.wary[k] = struct{}{}
	}
	k.used = now
	k.limit = limit
	g.count(k, -k.inflight)
	k.group, k.failing = group, failing
	g.count(k, k.inflight)
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
// than there are places or parked ones, unless the last few places are to be had,
// which a group with half of all gets nothing of.
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
	free, room = g.size-g.inflight, g.room
	if free > g.spared() {
		free -= g.spared()
	} else if free > 0 {
		free, room = g.strangers()
	}
	if len(g.parked) > 0 {
		room, wait = g.withoutParked(room, wait, now)
	}
	return free, room, wait
}

// spared is how many of the last places are not for every key.
func (g *Gate) spared() int { return g.size / 32 }

// strangers returns what may start in the places that are spared, one of a key.
func (g *Gate) strangers() (free int, room map[string]int) {
	room = maps.Clone(g.room)
	for name, n := range room {
		if room[name] = min(n, 1); g.keys[name].inflight > 0 {
			room[name] = 0
		}
	}
	if free = g.size - g.spared()/2 - g.inflight; free > 0 {
		return free, room
	}
	for name, k := range g.keys {
		if g.groups[k.group] >= g.half() {
			room[name] = 0
		}
	}
	return g.size - g.inflight, room
}

// isFor reports whether the next place is for a key.
func (g *Gate) isFor(k *Key) bool {
	switch left := g.size - g.inflight; {
	case left > g.spared():
		return true
	case left > g.spared()/2:
		return k.inflight == 0
	default:
		return left > 0 && k.inflight == 0 && g.groups[k.group] < g.half()
	}
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
func (g *Gate) withoutParked(room map[string]int, wait time.Duration, now time.Time) (map[string]int, time.Duration) {
	room = maps.Clone(room)
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

// Ration takes from room, a copy of what Plan returned, what wary keys cannot have
// all together: to be called before work is fetched. Otherwise all of them would
// be offered the few places that are left for them, and most of what comes turned
// away again. It shares these out among the groups of the keys that have more work
// than was let in, as Enter has seen, so that a group of many keys gets no more than
// one of few, and reports whether that leaves some with nothing this time.
func (g *Gate) Ration(room map[string]int) (rationed bool) {
	left := g.half() - g.held
	groups := make(map[string][]*Key)
	for k := range g.waiting {
		n, named := room[k.name]
		if !named {
			n = 1
		}
		done := k.came < k.offered || !k.wary
		k.wanted, k.offered, k.came = n, 0, 0
		switch {
		case done, n <= 0 && left > 0: // the latter waits for something else
			g.unwait(k)
		case n > 0:
			room[k.name] = 0
			groups[k.group] = append(groups[k.group], k)
		}
	}
	for len(groups) > 0 {
		for name, keys := range groups { // in any order
			if left <= 0 {
				return slices.ContainsFunc(keys, func(k *Key) bool { return k.offered == 0 }) || len(groups) > 1
			}
			left--
			k := keys[0]
			k.offered++
			room[k.name] = k.offered
			if keys = keys[1:]; k.offered < k.wanted {
				keys = append(keys, k)
			}
			if groups[name] = keys; len(keys) == 0 {
				delete(groups, name)
			}
		}
	}
	return false
}

// Shut returns the names of which nothing may start, in the room that Plan returns.
func Shut(room map[string]int) (names []string) {
	for name, n := range room {
		if n <= 0 {
			names = append(names, name)
		}
	}
	return names
}

// Opened reports whether, in the room that a later Plan returns, something of one of
// the names may start: of a key that is not wary, or of wary ones only.
func (g *Gate) Opened(names []string, room map[string]int) (quick, wary bool) {
	for _, name := range names {
		if n, named := room[name]; named && n <= 0 {
			continue
		}
		if !g.Wary(name) {
			return true, false
		}
		wary = true
	}
	return false, wary
}

// Wary reports whether the named key is. One that the gate does not know is not.
func (g *Gate) Wary(name string) bool {
	k := g.keys[name]
	return k != nil && k.wary
}

// Inflight returns how many places are taken.
func (g *Gate) Inflight() int { return g.inflight }

// Enter lets one piece of work in, if there is room for it.
func (g *Gate) Enter(k *Key, p *Pass, now time.Time) bool {
	k.used = now
	k.came++
	if !g.isFor(k) || g.allowed(k, now) < 1 {
		if k.wary && g.held >= g.half() {
			g.wait(k)
		}
		g.refresh(k, now)
		return false
	}
	if k.limiter != nil {
		k.limiter.AllowN(now, 1)
	}
	*p = Pass{key: k, started: now, first: !k.known}
	if p.first {
		g.young++
	}
	g.inflight++
	k.inflight++
	g.count(k, 1)
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

// EnterBehind is Enter for work that has not waited for its turn: of a wary key, it
// leaves places to that of wary keys which was turned away before, and could
// otherwise be overtaken for ever.
func (g *Gate) EnterBehind(k *Key, p *Pass, now time.Time) bool {
	if k.wary && g.crowded() {
		k.used = now
		k.came++
		g.wait(k)
		return false
	}
	return g.Enter(k, p, now)
}

// Soon reports whether the first work of a key has no place for the only reason that
// other keys' first work has those, most of which will have ended in a moment. waits
// says that it has been so before: then it needs a place, but not one that is kept
// for others.
func (g *Gate) Soon(name string, waits bool) bool {
	if g.young == 0 || g.slow > 0 || !g.crowded() || waits && g.held < g.half() {
		return false
	}
	k := g.keys[name]
	return k == nil || !k.known && !k.failing && k.inflight == 0
}

// crowded reports whether what has not waited finds no place among the wary: a
// quarter of these is kept for what was turned away.
func (g *Gate) crowded() bool {
	return g.held+min(len(g.waiting), max(1, g.half()/4)) >= g.half()
}

// wait notes that a key has work that was turned away, and unwait that it has not.
func (g *Gate) wait(k *Key) {
	if _, waits := g.waiting[k]; !waits {
		g.waiting[k] = struct{}{}
		g.countSlow(k, 1)
	}
}

func (g *Gate) unwait(k *Key) {
	g.countSlow(k, -1)
	delete(g.waiting, k)
}

// countSlow counts n more waiting keys that are known and wary, if this is one.
func (g *Gate) countSlow(k *Key, n int) {
	if _, waits := g.waiting[k]; waits && k.known && k.wary {
		g.slow += n
	}
}

// Leave ends what was let in.
func (g *Gate) Leave(p *Pass, now time.Time) {
	k := p.key
	p.over = true
	g.ages(p)
	g.count(k, -k.inflight)
	g.countSlow(k, -1)
	k.known = true
	g.countSlow(k, 1)
	k.used = now
	g.inflight--
	k.inflight--
	g.count(k, k.inflight)
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
	g.ages(p)
	g.count(k, -1)
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
			g.unwait(k)
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
		g.ages(p)
		p.key.old++
		g.setWary(p.key, true)
	}
	if n > 0 {
		young := g.running[:copy(g.running, g.running[n:])]
		clear(g.running[len(young):])
		g.running = young
	}
}

// ages counts a pass that is young no longer.
func (g *Gate) ages(p *Pass) {
	if p.first {
		p.first = false
		g.young--
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
	g.countSlow(k, -1)
	k.wary = wary
	g.countSlow(k, 1)
	g.changed = true
	if wary {
		g.wary[k] = struct{}{}
		g.held += k.inflight
	} else {
		delete(g.wary, k)
		g.held -= k.inflight
	}
}

// doubted reports whether a key is said to be failing, and whether it still is has
// yet to be found out. Such a key is wary.
func (k *Key) doubted() bool { return k.failing && !k.known }

// count counts n more in flight of a key, in its group and, if it is doubted, among
// these.
func (g *Gate) count(k *Key, n int) {
	if g.groups[k.group] += n; g.groups[k.group] == 0 {
		delete(g.groups, k.group)
	}
	if k.doubted() {
		g.doubted += n
	}
}

// half is what one key, and the wary ones together, may have of the places.
func (g *Gate) half() int { return max(1, g.size/2) }

// allowed returns how much of the key may start now.
func (g *Gate) allowed(k *Key, now time.Time) int {
	half := g.half()
	n := min(k.limit, half)
	if !k.known {
		n = min(n, 1)
	}
	n -= k.inflight
	if k.wary {
		n = min(n, half-g.held)
	}
	if k.doubted() {
		n = min(n, max(1, half/2)-g.doubted)
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
