package gate

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"
)

// house drives a gate with a clock of its own.
type house struct {
	*testing.T
	*Gate
	now time.Time
}

func newHouse(t *testing.T, size int) *house {
	return &house{t, New(size), time.Unix(1000, 0)}
}

func (h *house) enter(name string, limit int, rate float64) *Pass {
	p := new(Pass)
	if !h.Enter(h.Key(name, "", limit, rate, false, h.now), p, h.now) {
		return nil
	}
	return p
}

func (h *house) leave(ps ...*Pass) {
	for _, p := range ps {
		h.Leave(p, h.now)
	}
}

// prove makes keys quick.
func (h *house) prove(names ...string) {
	for _, name := range names {
		h.leave(h.enter(name, 100, 0))
	}
}

func (h *house) room(name string, want int) {
	h.Helper()
	free, room, _ := h.Plan(h.now)
	got, ok := room[name]
	if !ok {
		got = -1
	}
	if got != want {
		h.Errorf("room of %s is %d, want %d (free %d, all %v)", name, got, want, free, room)
	}
}

func (h *house) free(want int) {
	h.Helper()
	if free, _, _ := h.Plan(h.now); free != want {
		h.Errorf("free is %d, want %d", free, want)
	}
}

const unnamed = -1 // not in room

func TestPlacesAreBoundedInAllAndPerKey(t *testing.T) {
	h := newHouse(t, 4)
	h.prove("a", "b")
	a1, a2 := h.enter("a", 2, 0), h.enter("a", 2, 0)
	if h.enter("a", 2, 0) != nil {
		t.Error("a third of a was let in")
	}
	h.room("a", 0)
	h.room("b", 2)
	h.free(2)
	h.enter("b", 9, 0)
	h.enter("b", 9, 0)
	h.free(0)
	if h.enter("b", 9, 0) != nil {
		t.Error("a fifth was let in")
	}
	h.leave(a1, a2)
	h.room("a", 2)
	h.free(2)
}

func TestAKeyStartsWithOnePlaceUntilItIsKnown(t *testing.T) {
	h := newHouse(t, 10)
	p := h.enter("a", 5, 0)
	h.room("a", 0)
	h.leave(p)
	h.enter("a", 5, 0)
	h.room("a", 4)
}

func TestTheWaryHoldAtMostHalf(t *testing.T) {
	h := newHouse(t, 8)
	h.prove("quick")
	for n := range 4 {
		if h.enter(fmt.Sprint("new", n), 5, 0) == nil {
			t.Fatalf("new key %d was not let in", n)
		}
	}
	if h.enter("new5", 5, 0) != nil {
		t.Error("the wary hold more than half")
	}
	h.room("new5", 0)
	for range 4 {
		if h.enter("quick", 5, 0) == nil {
			t.Error("the quick did not find their half")
		}
	}
}

func TestWorkThatTakesLongMakesItsKeyWaryWhileItRuns(t *testing.T) {
	h := newHouse(t, 8)
	h.prove("slow", "quick")
	p := h.enter("slow", 8, 0)
	h.now = h.now.Add(slowAfter)
	for range 3 {
		h.enter("new", 8, 0)
	}
	for n := range 2 {
		h.enter(fmt.Sprint("new", n), 8, 0)
	}
	h.room("slow", 0) // 4 wary ones hold half
	h.free(4)
	h.room("quick", 4)
	h.leave(p)
	h.room("slow", unnamed)
	p = h.enter("slow", 8, 0)
	h.room("slow", 0)
	h.leave(p)
	h.enter("slow", 8, 0)
	h.room("slow", 3) // quick again
}

func TestOneKeyHoldsAtMostHalf(t *testing.T) {
	h := newHouse(t, 8)
	h.prove("a", "b")
	for range 4 {
		h.enter("a", 8, 0)
	}
	h.room("a", 0)
	if h.enter("a", 8, 0) != nil {
		t.Error("a key alone holds more than half")
	}
	h.room("b", 4)
}

func TestRoomNamesNotManyMoreIdleKeysThanThereArePlaces(t *testing.T) {
	h := newHouse(t, 4)
	for n := range 100 {
		h.prove(fmt.Sprint("key", n))
	}
	if _, room, _ := h.Plan(h.now); len(room) > 4 {
		t.Errorf("room names %d idle keys", len(room))
	}
}

func TestAKeyStaysWaryWhileOldWorkOfItHangs(t *testing.T) {
	h := newHouse(t, 4)
	h.prove("a")
	h.enter("a", 4, 0)
	b := h.enter("b", 4, 0) // new, and so wary
	h.now = h.now.Add(slowAfter)
	h.room("a", 0)
	h.leave(b)
	h.room("a", 1)
	h.leave(h.enter("a", 4, 0))
	h.enter("c", 4, 0)
	h.room("a", 0)
}

func TestARateSpreadsStarts(t *testing.T) {
	h := newHouse(t, 100)
	h.leave(h.enter("a", 50, 2))
	if h.enter("a", 50, 2) != nil {
		t.Error("the second start came at once")
	}
	_, _, wait := h.Plan(h.now)
	if wait < 490*time.Millisecond || wait > 510*time.Millisecond {
		t.Errorf("wait is %v, want 500ms", wait)
	}
	starts := 1
	for range 1000 {
		h.now = h.now.Add(10 * time.Millisecond)
		if p := h.enter("a", 50, 2); p != nil {
			h.leave(p)
			starts++
		}
	}
	if starts < 20 || starts > 21 {
		t.Errorf("%d starts in 10s at 2 per second", starts)
	}
	h.leave(h.enter("a", 50, 0))
	if _, _, wait := h.Plan(h.now); wait != 0 {
		t.Errorf("an unlimited key waits %v", wait)
	}
}

func TestAHighRateComesInBursts(t *testing.T) {
	h := newHouse(t, 1000)
	h.leave(h.enter("a", 500, 100))
	h.now = h.now.Add(time.Second)
	h.enter("a", 500, 100)
	h.room("a", 9)
}

func TestTheFailingThatAreNotKnownLeavePlacesToOthersThatAreNot(t *testing.T) {
	h := newHouse(t, 8)
	for n := range 3 {
		p := new(Pass)
		in := h.Enter(h.Key(fmt.Sprint("failing", n), "", 5, 0, true, h.now), p, h.now)
		if want := n < 2; in != want {
			t.Errorf("failing key %d was let in: %v", n, in)
		}
	}
	if h.enter("new", 5, 0) == nil {
		t.Error("a new key found no place beside the failing ones")
	}
}

func TestTheLastPlacesAreForOtherKeysAndOtherGroups(t *testing.T) {
	h := newHouse(t, 128) // of which 4 are spared, 2 of them for other groups
	enter := func(name, group string) bool {
		h.Helper()
		p := new(Pass)
		return h.Enter(h.Key(name, group, 64, 0, false, h.now), p, h.now)
	}
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		h.leave(h.enter(name, 64, 0))
	}
	for n := range 124 {
		if !enter([]string{"a", "b"}[n%2], "") {
			t.Fatalf("the %dth found no place", n+1)
		}
	}
	h.free(2)
	h.room("a", 0)
	h.room("c", 1)
	if enter("a", "") || !enter("c", "") || enter("c", "") || !enter("d", "") {
		t.Error("what is spared is not for one of each other key")
	}
	h.free(2)
	h.room("f", 0)
	if enter("f", "") || !enter("e", "other") || enter("e", "other") {
		t.Error("the last ones are not for other groups")
	}
	h.free(1)
	h.Key("g", "third", 1, 0, false, h.now)
	if !enter("g", "third") {
		t.Error("the last one is not for another group")
	}
	h.free(0)
}

func TestTheFailingThatAreNotKnownFindPlacesBesideTheSlow(t *testing.T) {
	h := newHouse(t, 16)
	slow := h.enter("slow", 5, 0)
	h.now = h.now.Add(2 * slowAfter)
	h.leave(slow)
	for range 5 {
		h.enter("slow", 5, 0)
	}
	key := h.Key("failing", "", 5, 0, true, h.now)
	first := new(Pass)
	if !h.Enter(key, first, h.now) {
		t.Fatal("a failing key found no place, though the slow have less than the half")
	}
	// It is doubted no more, whichever it is told first.
	h.Key("failing", "", 5, 0, false, h.now)
	h.leave(first)
	for n := range 3 {
		if p := new(Pass); h.Enter(h.Key(fmt.Sprint("other", n), "", 5, 0, true, h.now), p, h.now) {
			h.Undo(p, h.now)
		} else {
			t.Errorf("failing key %d found no place that was left", n)
		}
	}
}

func TestAKeyThatWaitsForItsRateIsLookedAtAgain(t *testing.T) {
	h := newHouse(t, 8)
	h.leave(h.enter("a", 5, 1.0/3600))
	h.enter("a", 5, 1.0/3600)
	h.room("a", 0)
	h.now = h.now.Add(relook)
	h.room("a", unnamed)
	if h.enter("a", 5, 1.0/3600) != nil {
		t.Error("the rate was exceeded")
	}
	h.room("a", 0)
	h.now = h.now.Add(relook)
	h.room("a", unnamed)
	if h.enter("a", 5, 0) == nil {
		t.Error("the limit was lifted")
	}
}

func TestForgetRemembersStartsThatStillCount(t *testing.T) {
	h := newHouse(t, 8)
	h.leave(h.enter("a", 5, 1.0/86400))
	h.now = h.now.Add(3 * time.Hour)
	h.Forget(h.now, func(name string) { t.Errorf("forgot %s", name) })
	if h.enter("a", 5, 1.0/86400) != nil {
		t.Error("a second start within a day")
	}
}

func TestForgetDropsWhatWasNotUsed(t *testing.T) {
	h := newHouse(t, 8)
	h.prove("idle")
	h.enter("busy", 1, 0)
	h.now = h.now.Add(time.Minute)
	h.prove("fresh")
	var gone []string
	h.Forget(h.now, func(name string) { gone = append(gone, name) })
	if fmt.Sprint(gone) != "[idle]" {
		t.Errorf("forgot %v, want [idle]", gone)
	}
}

// TestBoundsHoldInALongRandomRun checks after every step that no bound is
// exceeded and that what Plan offers can be entered.
func TestBoundsHoldInALongRandomRun(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	h := newHouse(t, 16)
	var running []*Pass
	for range 50_000 {
		name := fmt.Sprint(random.IntN(12))
		limit := 1 + len(name)*3
		switch random.IntN(5) {
		case 4:
			_, room, _ := h.Plan(h.now)
			h.Ration(maps.Clone(room))
		case 0, 1:
			free, room, _ := h.Plan(h.now)
			offered, named := room[name]
			if !named {
				offered = 1
			}
			p := h.enter(name, limit, 0)
			if named && (p != nil) != (free > 0 && offered > 0) {
				t.Fatalf("offered %d of %d, let in: %v", offered, free, p != nil)
			}
			if p != nil {
				running = append(running, p)
			}
		case 2:
			if len(running) > 0 {
				n := random.IntN(len(running))
				h.leave(running[n])
				running = append(running[:n], running[n+1:]...)
			}
		case 3:
			h.now = h.now.Add(time.Duration(random.IntN(300)) * time.Millisecond)
		}
		h.age(h.now)
		perKey, held := make(map[*Key]int), 0
		for _, p := range running {
			perKey[p.key]++
			if p.key.wary {
				held++
			}
		}
		if len(running) > 16 || h.inflight != len(running) || h.held != held {
			t.Fatalf("%d running, counted %d; %d wary, counted %d", len(running), h.inflight, held, h.held)
		}
		slow := 0
		for k := range h.waiting {
			if k.known && k.wary {
				slow++
			}
		}
		young := 0
		for _, p := range running {
			if p.first && h.now.Sub(p.started) < slowAfter {
				young++
			}
		}
		if h.slow != slow || h.young != young {
			t.Fatalf("%d known and wary keys wait, counted %d; %d first works are young, counted %d", slow, h.slow, young, h.young)
		}
		for k, n := range perKey {
			if n > k.limit {
				t.Fatalf("%d of a key with limit %d", n, k.limit)
			}
		}
		if len(h.running) > 2*16+65 {
			t.Fatalf("%d passes are remembered", len(h.running))
		}
	}
}

// What was let in and came back at once has not shown that its key is quick.
func TestWhatIsUndoneSaysNothingOfItsKey(t *testing.T) {
	g := New(8)
	now := time.Unix(0, 0)
	k := g.Key("slow", "", 8, 0, false, now)
	var slow, back Pass
	if !g.Enter(k, &slow, now) {
		t.Fatal("not let in")
	}
	g.Leave(&slow, now.Add(time.Minute))
	now = now.Add(time.Minute)
	for range 10 {
		if !g.Enter(k, &back, now) {
			t.Fatal("not let in again")
		}
		g.Undo(&back, now)
	}
	if free, room, _ := g.Plan(now); free != 8 || room["slow"] > 4 {
		t.Errorf("free %d, room %v", free, room)
	}
	var passes [8]Pass
	in := 0
	for n := range passes {
		if g.Enter(k, &passes[n], now) {
			in++
		}
	}
	other := g.Key("other", "", 8, 0, false, now)
	if in != 4 || g.Enter(other, new(Pass), now) {
		t.Errorf("%d of a slow key are let in beside one that is not known, want 4 in all", in)
	}

	fresh := New(8)
	k = fresh.Key("unknown", "", 8, 0, false, now)
	fresh.Enter(k, &back, now)
	fresh.Undo(&back, now)
	fresh.Enter(k, &back, now)
	if fresh.Enter(k, new(Pass), now) {
		t.Error("a key whose first work was not done is known")
	}
}

func TestNothingIsPlannedOfWhatIsParked(t *testing.T) {
	h := newHouse(t, 8)
	h.prove("a", "b")
	before := map[string]int{"a": 4, "b": 4}
	h.Park("a", h.now.Add(2*time.Second))
	h.Park("new", h.now.Add(time.Second))
	h.room("a", 0)
	h.room("b", before["b"])
	h.room("new", 0)
	if _, _, wait := h.Plan(h.now); wait != time.Second {
		t.Errorf("wait %v, want until the first is let go", wait)
	}
	h.now = h.now.Add(time.Second)
	h.room("a", 0)
	h.room("new", -1)
	if _, _, wait := h.Plan(h.now); wait != time.Second {
		t.Errorf("wait %v, want until the second is let go", wait)
	}
	h.now = h.now.Add(time.Second)
	h.room("a", before["a"])
	if _, _, wait := h.Plan(h.now); wait != 0 {
		t.Errorf("wait %v, want none", wait)
	}
}

func TestNotMoreThanSoManyAreParked(t *testing.T) {
	h := newHouse(t, 8)
	for n := range 2 * maxParked {
		h.Park(fmt.Sprint(n), h.now.Add(time.Second))
	}
	if _, room, _ := h.Plan(h.now); len(room) != maxParked {
		t.Errorf("%d are parked, want %d", len(room), maxParked)
	}
	h.now = h.now.Add(time.Second)
	if _, room, _ := h.Plan(h.now); len(room) != 0 {
		t.Errorf("%d are parked for ever", len(room))
	}
}

func TestWaryKeysThatWaitShareWhatIsLeftForThem(t *testing.T) {
	h := newHouse(t, 16)
	names := []string{"a", "b", "c", "d", "e", "f"}
	for _, name := range names { // each is slow: four places of eight are taken
		p := h.enter(name, 16, 0)
		h.now = h.now.Add(slowAfter)
		h.leave(p)
	}
	for _, name := range names[:5] {
		h.enter(name, 16, 0)
	}
	ration := func() (sum, given int, rationed bool) {
		_, planned, _ := h.Plan(h.now)
		room := make(map[string]int)
		for name, n := range planned {
			room[name] = n
		}
		rationed = h.Ration(room)
		for _, name := range names {
			n, named := room[name]
			if !named {
				n = 1
			}
			if sum += n; n > 0 {
				given++
			}
		}
		return sum, given, rationed
	}
	if sum, _, rationed := ration(); rationed || sum != 5*3+1 {
		t.Errorf("before any was turned away, the room is %d, rationed %t; want what each may have alone", sum, rationed)
	}
	var in []*Pass
	for range 2 { // three are let in, and all have more
		for _, name := range names {
			if p := h.enter(name, 16, 0); p != nil {
				in = append(in, p)
			}
		}
	}
	h.now = h.now.Add(slowAfter)
	h.leave(in[:2]...)
	for range 10 {
		sum, given, rationed := ration()
		if sum != 2 || given != 2 || !rationed {
			t.Fatalf("of two places, %d keys were offered %d, rationed %t", given, sum, rationed)
		}
		// Those that were offered room and did not come have nothing that waits.
		if len(h.waiting) == 0 {
			break
		}
		for k := range h.waiting {
			k.came = k.offered
		}
	}
	ration()
	for range len(names) { // none comes: in the end none is thought to wait
		ration()
	}
	if len(h.waiting) > 0 {
		t.Errorf("%d keys are thought to have work that waits, and none came when offered room", len(h.waiting))
	}
}

func TestGroupsOfWaryKeysGetTheSame(t *testing.T) {
	const many = 100
	g, now := New(16), time.Now()
	var passes []*Pass
	enter := func(name, group string) bool {
		p := new(Pass)
		in := g.Enter(g.Key(name, group, 1, 0, false, now), p, now)
		if in {
			passes = append(passes, p)
		}
		return in
	}
	for n := range 8 { // all that the wary may have
		enter(fmt.Sprint("first", n), "")
	}
	for n := range many {
		enter(fmt.Sprint("many", n), "many")
	}
	enter("one", "one")
	for range 2 { // places for each of the two groups
		p := passes[0]
		passes = passes[1:]
		g.Undo(p, now)
	}
	_, room, _ := g.Plan(now)
	room = maps.Clone(room)
	if !g.Ration(room) {
		t.Error("most have nothing, and nothing was rationed")
	}
	if n, named := room["one"]; !named || n != 1 {
		t.Errorf("the one key of its group may have %d of 2 places, want 1", n)
	}
	sum := 0
	for n := range many {
		sum += room[fmt.Sprint("many", n)]
	}
	if sum != 1 {
		t.Errorf("the %d keys of the other may have %d of 2 places, want 1", many, sum)
	}
}

func TestWorkThatHasNotWaitedStandsBehindWhatHas(t *testing.T) {
	g, now := New(4), time.Now()
	key := func(name string) *Key { return g.Key(name, "", 1, 0, false, now) }
	var first, second Pass
	if !g.EnterBehind(key("a"), &first, now) || !g.EnterBehind(key("b"), &second, now) {
		t.Fatal("where nothing waits, work was not let in")
	}
	if g.Enter(key("waits"), new(Pass), now) {
		t.Fatal("the wary hold more than half")
	}
	g.Undo(&first, now)
	if g.EnterBehind(key("c"), new(Pass), now) {
		t.Error("work of a wary key has overtaken that which was turned away")
	}
	now = now.Add(time.Millisecond)
	g.Leave(&second, now) // b is quick
	if !g.EnterBehind(key("b"), new(Pass), now) {
		t.Error("work of a quick key waits for that of wary ones")
	}
	g.Undo(g.running[0], now)
	g.unwait(key("c"))
	if !g.EnterBehind(key("d"), &first, now) {
		t.Error("work waits though there are places for all that was turned away, and for itself")
	}
	g.Undo(&first, now)
	if !g.Enter(key("waits"), new(Pass), now) {
		t.Error("what was turned away found no place")
	}
}

func TestAKeyAtItsOwnLimitIsInNobodysWay(t *testing.T) {
	g, now := New(8), time.Now()
	key := func(name string) *Key { return g.Key(name, "", 1, 0, false, now) }
	g.Enter(key("full"), new(Pass), now)
	if g.Enter(key("full"), new(Pass), now) {
		t.Fatal("a key has more than its limit")
	}
	var last Pass
	for _, name := range []string{"a", "b", "c"} {
		if !g.EnterBehind(key(name), &last, now) {
			t.Fatal("work stands behind that of a key which waits for itself")
		}
	}
	g.Enter(key("waits"), new(Pass), now) // all places of the wary are taken
	g.Undo(&last, now)
	for range 2 { // offered the place, and come, it waits for itself from now on
		_, room, _ := g.Plan(now)
		g.Ration(maps.Clone(room))
		g.Enter(key("waits"), new(Pass), now)
	}
	g.Undo(g.running[1], now)
	_, room, _ := g.Plan(now)
	g.Ration(maps.Clone(room))
	if !g.EnterBehind(key("d"), new(Pass), now) {
		t.Error("work stands behind that of a key which waits for itself")
	}
}

func TestFirstWorkMayBeginSoonWhereTheWaryAreMany(t *testing.T) {
	g, now := New(8), time.Now()
	key := func(name string, failing bool) *Key { return g.Key(name, "", 2, 0, failing, now) }
	soon := func(why, name string, want bool) {
		t.Helper()
		if g.Soon(name, false) != want {
			t.Errorf("Soon is %t for %s", !want, why)
		}
	}
	soon("a key for which there is a place", "new", false)
	var slow, last Pass
	for _, p := range []*Pass{&slow, new(Pass), new(Pass), &last} {
		name := fmt.Sprint("key", g.Inflight())
		if !g.EnterBehind(key(name, false), p, now) {
			t.Fatal("half of the places are not to be had")
		}
	}
	soon("a new key", "new", true)
	soon("one whose first work is under way", "key1", false)
	key("failing", true)
	soon("one that is said to be failing", "failing", false)
	now = now.Add(2 * slowAfter)
	g.Leave(&slow, now)
	soon("a new key for which there is a place again", "new", false)
	if !g.EnterBehind(key("new", false), &slow, now) {
		t.Error("it was not let in")
	}
	soon("one that is known to be slow", "key0", false)
	if g.Enter(key("waits", false), new(Pass), now) {
		t.Fatal("the wary hold more than half")
	}
	g.Leave(&last, now)
	soon("a new key, where another waits for the only place", "next", true)
	if g.Soon("next", true) {
		t.Error("Soon is true for work that waits, for which there is a place")
	}
	if !g.Enter(key("new2", false), new(Pass), now) || !g.Soon("next", true) {
		t.Error("Soon is false for work that waits, for which there is no place")
	}
	slowOne := key("key0", false)
	if g.Enter(slowOne, new(Pass), now) {
		t.Fatal("the wary hold more than half")
	}
	soon("a new key, where one waits that is known to be slow", "next", false)
	g.unwait(slowOne)
	soon("a new key, where that does not wait any more", "next", true)
	if g.slow != 0 {
		t.Errorf("%d slow keys are counted as waiting, want 0", g.slow)
	}
}

func TestNothingBeginsSoonWhereAllThatIsUnderWayTakesLong(t *testing.T) {
	h := newHouse(t, 8)
	for n := range 4 {
		h.enter(fmt.Sprint("key", n), 1, 0)
	}
	if !h.Soon("new", false) {
		t.Error("Soon is false where first work has all places")
	}
	h.now = h.now.Add(2 * slowAfter)
	h.Plan(h.now)
	if h.Soon("new", false) {
		t.Error("Soon is true where first work has had all places for long")
	}
}

func TestWhatWasTurnedAwayHasAQuarterOfTheWarysPlaces(t *testing.T) {
	h := newHouse(t, 32)
	var passes []*Pass
	for n := range 16 {
		passes = append(passes, h.enter(fmt.Sprint("key", n), 1, 0))
	}
	for n := range 10 {
		if h.enter(fmt.Sprint("waits", n), 1, 0) != nil {
			t.Fatal("the wary hold more than half")
		}
	}
	for _, p := range passes[:6] {
		h.Undo(p, h.now)
	}
	let := 0
	for n := range 6 {
		if h.EnterBehind(h.Key(fmt.Sprint("new", n), "", 1, 0, false, h.now), new(Pass), h.now) {
			let++
		}
	}
	if let != 2 {
		t.Errorf("%d were let in that had not waited, want 2 of the 6 places that are left to 10 that have", let)
	}
}

func TestOpenedTellsTheQuickFromTheWary(t *testing.T) {
	h := newHouse(t, 8)
	h.prove("quick")
	quick := h.enter("quick", 1, 0)
	slow := h.enter("slow", 1, 0)
	_, room, _ := h.Plan(h.now)
	shut := Shut(room)
	opened := func(wantQuick, wantWary bool) {
		t.Helper()
		_, room, _ := h.Plan(h.now)
		if quick, wary := h.Opened(shut, room); quick != wantQuick || wary != wantWary {
			t.Errorf("of %q, quick ones opened: %t, wary ones: %t; want %t and %t", shut, quick, wary, wantQuick, wantWary)
		}
	}
	if len(shut) != 2 {
		t.Fatalf("shut are %q, want both", shut)
	}
	opened(false, false)
	h.now = h.now.Add(2 * slowAfter)
	h.leave(slow)
	opened(false, true)
	h.now = h.now.Add(-2 * slowAfter)
	h.leave(quick)
	if quick, _ := h.Opened([]string{"quick"}, nil); !quick || h.Wary("quick") || !h.Wary("slow") || h.Wary("unknown") {
		t.Error("what is quick and what is wary is told wrong")
	}
	if quick, _ := h.Opened([]string{"unknown"}, nil); !quick {
		t.Error("a name that the gate does not know is not one that may start")
	}
}
