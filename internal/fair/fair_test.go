package fair

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

const (
	lease = 1000
	all   = 1 << 30
)

func unlimited(*Lane[string]) int { return all }

// take returns the values that one Take hands out, leased for lease.
func take(q *Queue[string], now int64, limit int, room func(*Lane[string]) int) string {
	var got []string
	q.Take(now, limit, room, func(i *Item[string]) (int64, bool) {
		got = append(got, i.Value)
		return now + lease, true
	})
	return strings.Join(got, " ")
}

func push(l *Lane[string], due int64, values ...string) []*Item[string] {
	var items []*Item[string]
	for _, v := range values {
		i := &Item[string]{Value: v}
		l.Push(i, due, 0)
		items = append(items, i)
	}
	return items
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("took %q, want %q", got, want)
	}
}

func TestGroupsTakeTurnsAndLanesWithinThem(t *testing.T) {
	var q Queue[string]
	push(q.NewLane("a"), 0, "a1.1", "a1.2", "a1.3")
	push(q.NewLane("a"), 0, "a2.1", "a2.2")
	push(q.NewLane("b"), 0, "b1.1", "b1.2")
	expect(t, take(&q, 0, 3, unlimited), "a1.1 b1.1 a2.1")
	expect(t, take(&q, 0, all, unlimited), "b1.2 a1.2 a2.2 a1.3")
}

func TestTheEarliestDueOfALaneComesFirstAndEqualsInOrder(t *testing.T) {
	var q Queue[string]
	l := q.NewLane("g")
	push(l, 5, "five", "five too")
	push(l, 3, "three")
	push(l, 20, "later")
	expect(t, take(&q, 10, all, unlimited), "three five five too")
}

func TestATakenItemIsDueAgainWhenItsNewTimeComes(t *testing.T) {
	var q Queue[string]
	push(q.NewLane("g"), 0, "x")
	expect(t, take(&q, 0, all, unlimited), "x")
	expect(t, take(&q, lease-1, all, unlimited), "")
	if next, ok := q.Wait(lease - 1); !ok || next != lease {
		t.Errorf("Wait = %d, %v, want %d", next, ok, lease)
	}
	expect(t, take(&q, lease, all, unlimited), "x")
}

func TestALaneWithoutRoomIsPassedOverAndKeepsItsTurn(t *testing.T) {
	var q Queue[string]
	full, free := q.NewLane("g"), q.NewLane("g")
	push(full, 0, "full")
	push(free, 0, "free 1", "free 2")
	roomy := func(l *Lane[string]) int {
		if l == full {
			return 0
		}
		return 1
	}
	expect(t, take(&q, 0, all, roomy), "free 1")
	expect(t, take(&q, 0, all, unlimited), "full free 2")
}

func TestRoomBoundsWhatOneTakeTakesOfALane(t *testing.T) {
	var q Queue[string]
	push(q.NewLane("g"), 0, "1", "2", "3", "4", "5")
	two := func(*Lane[string]) int { return 2 }
	expect(t, take(&q, 0, all, two), "1 2")
	expect(t, take(&q, 0, all, two), "3 4")
	expect(t, take(&q, 0, all, two), "5")
}

func TestRefusingAnItemEndsTheTakeAndLeavesIt(t *testing.T) {
	var q Queue[string]
	push(q.NewLane("g"), 0, "1", "2", "3")
	count := 0
	q.Take(0, all, unlimited, func(*Item[string]) (int64, bool) { count++; return lease, count < 2 })
	if count != 2 {
		t.Errorf("asked %d times, want 2", count)
	}
	expect(t, take(&q, 0, all, unlimited), "2 3")
}

func TestTheNextTakeBeginsWithWhatWasRefused(t *testing.T) {
	var q Queue[string]
	for _, name := range []string{"a1", "a2", "a3"} {
		push(q.NewLane("a"), 0, name, name)
	}
	push(q.NewLane("b"), 0, "b1", "b1")
	var got []string
	for range 6 { // one each, as if a second were too large
		first := true
		q.Take(0, all, unlimited, func(i *Item[string]) (int64, bool) {
			if first {
				got = append(got, i.Value)
			}
			defer func() { first = false }()
			return lease, first
		})
	}
	expect(t, strings.Join(got, " "), "a1 b1 a2 b1 a3 a1")
}

func TestNotBeforeHoldsALaneBackAndThenLetsOneThrough(t *testing.T) {
	var q Queue[string]
	l := q.NewLane("g")
	push(l, 0, "1", "2", "3")
	l.SetNotBefore(100, 0)
	expect(t, take(&q, 99, all, unlimited), "")
	expect(t, take(&q, 100, all, unlimited), "1")
	if l.NotBefore() != 100+lease {
		t.Errorf("NotBefore = %d, want %d", l.NotBefore(), 100+lease)
	}
	expect(t, take(&q, 99+lease, all, unlimited), "")
	l.SetNotBefore(0, 99+lease)
	expect(t, take(&q, 99+lease, all, unlimited), "2 3")
}

func TestAStoppedLaneIsLeftAloneUntilItStarts(t *testing.T) {
	var q Queue[string]
	l := q.NewLane("g")
	push(l, 0, "1")
	push(l, 50, "2")
	l.Stop()
	expect(t, take(&q, 60, all, unlimited), "")
	if _, ok := q.Wait(0); ok {
		t.Error("a stopped lane is waited for")
	}
	l.Start(60)
	expect(t, take(&q, 60, all, unlimited), "1 2")
}

func TestMovedAndRemovedItems(t *testing.T) {
	var q Queue[string]
	l := q.NewLane("g")
	items := push(l, 0, "1", "2", "3")
	items[0].Move(500, 0)
	items[1].Remove(0)
	expect(t, take(&q, 0, all, unlimited), "3")
	expect(t, take(&q, 500, all, unlimited), "1")
	if items[1].Queued() || !items[0].Queued() {
		t.Error("Queued does not say which items are in a lane")
	}
}

func TestAClosedLaneForgetsItsItemsAndItsGroup(t *testing.T) {
	var q Queue[string]
	l := q.NewLane("g")
	items := push(l, 0, "1", "2")
	l.Close()
	expect(t, take(&q, all, all, unlimited), "")
	if items[0].Queued() || len(q.groups) != 0 {
		t.Error("a closed lane left something behind")
	}
}

// TestEverythingIsTakenOnceAndOnTime compares a long random run with the plain
// definition: what is due, of a lane that is not held back, is taken.
func TestEverythingIsTakenOnceAndOnTime(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var q Queue[string]
	type lane struct {
		*Lane[string]
		items   []*Item[string]
		stopped bool
	}
	var lanes []*lane
	for n := range 20 {
		lanes = append(lanes, &lane{Lane: q.NewLane(fmt.Sprint(n % 4))})
	}
	now := int64(0)
	for range 20_000 {
		l := lanes[random.IntN(len(lanes))]
		switch random.IntN(8) {
		case 0, 1, 2:
			i := &Item[string]{Value: "x"}
			l.Push(i, now+random.Int64N(300)-50, now)
			l.items = append(l.items, i)
		case 3:
			if len(l.items) > 0 {
				n := random.IntN(len(l.items))
				l.items[n].Remove(now)
				l.items = append(l.items[:n], l.items[n+1:]...)
			}
		case 4:
			if l.stopped = !l.stopped; l.stopped {
				l.Stop()
			} else {
				l.Start(now)
			}
		case 5:
			l.SetNotBefore([]int64{0, now + random.Int64N(200)}[random.IntN(2)], now)
		default:
			now += random.Int64N(50)
			want := 0
			for _, l := range lanes {
				due := 0
				for _, i := range l.items {
					if i.due <= now {
						due++
					}
				}
				switch {
				case l.stopped || l.notBefore > now:
				case l.notBefore != 0:
					want += min(due, 1)
				default:
					want += min(due, 3)
				}
			}
			got := 0
			q.Take(now, all, func(*Lane[string]) int { return 3 }, func(i *Item[string]) (int64, bool) {
				if i.due > now {
					t.Fatalf("took an item that is due in %d", i.due-now)
				}
				got++
				return now + 20, true
			})
			if got != want {
				t.Fatalf("took %d, want %d", got, want)
			}
		}
	}
}
