package ready

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errPasses = errors.New("not now")
	errLasts  = errors.New("never")
)

// thing says of what it was made, after what.
type thing struct{ text string }

// workshop makes things of strings; those in slow take long.
type workshop struct {
	*Shelf[string, thing]
	err    error
	slow   bool
	made   int
	closed []string
}

func newWorkshop() *workshop {
	w := new(workshop)
	w.Shelf = New(Options[string, thing]{
		Same: func(a, b string) bool { return a == b },
		Slow: func(string) bool { return w.slow }, Slots: 4,
		Make: func(of string, old *thing) (*thing, error) {
			w.made++
			if w.err != nil {
				return nil, w.err
			}
			if old != nil {
				of += " after " + old.text
			}
			return &thing{of}, nil
		},
		Passes: func(err error) bool { return errors.Is(err, errPasses) },
		Rest:   time.Minute,
		Close:  func(t *thing) { w.closed = append(w.closed, t.text) },
	})
	return w
}

func (w *workshop) get(name, of string) *Item[string, thing] { return w.Get(name, of, time.Now()) }

func check(t *testing.T, i *Item[string, thing], want string) {
	t.Helper()
	if i.Failed() || i.Slow() || i.Thing == nil || i.Thing.text != want || i.Wait(time.Now()) != 0 || i.Make() != i {
		t.Errorf("the item is %+v, want %q", i, want)
	}
}

func TestAThingIsMadeOnceUntilItChanges(t *testing.T) {
	w := newWorkshop()
	check(t, w.get("n", "a"), "a")
	check(t, w.get("n", "a"), "a")
	check(t, w.get("m", "a"), "a")
	if w.made != 2 || len(w.closed) > 0 {
		t.Errorf("%d were made, closed %q", w.made, w.closed)
	}
	check(t, w.get("n", "b"), "b after a")
	check(t, w.get("n", "b"), "b after a")
	if w.made != 3 || !slices.Equal(w.closed, []string{"a"}) {
		t.Errorf("%d were made, closed %q", w.made, w.closed)
	}
}

func TestAFailureThatMayPassIsTriedAgainEverMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop()
		w.get("n", "a")
		w.err = errPasses
		for n, want := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
			i := w.get("n", "b")
			if !i.Failed() || i.Thing == nil || w.made != n+2 {
				t.Fatalf("try %d: %+v, %d made", n, i, w.made)
			}
			if wait := i.Wait(time.Now()); wait != want {
				t.Errorf("try %d: wait %v, want %v", n, wait, want)
			}
			time.Sleep(want - time.Nanosecond)
			if w.get("n", "b") != i || i.Wait(time.Now()) != soon {
				t.Errorf("try %d: it was tried again too early", n)
			}
			time.Sleep(time.Nanosecond)
		}
		w.err = nil
		check(t, w.get("n", "b"), "b after a")
		w.err = errPasses
		if wait := w.get("n", "c").Wait(time.Now()); wait != 5*time.Second {
			t.Errorf("wait %v after a success", wait)
		}
	})
}

func TestAFailureThatLastsIsTriedAgainAfterAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop()
		w.err = errLasts
		for range 3 {
			if i := w.get("n", "a"); !i.Failed() || i.Thing != nil || i.Wait(time.Now()) != time.Minute {
				t.Errorf("the item is %+v", i)
			}
			time.Sleep(time.Hour)
		}
		if w.made != 1 {
			t.Errorf("it was tried %d times", w.made)
		}
		w.err = nil
		check(t, w.get("n", "b"), "b")

		w.err = errLasts
		w.get("m", "a")
		w.ForgetFailed()
		w.err = nil
		check(t, w.get("m", "a"), "a")
		check(t, w.get("n", "b"), "b")
	})
}

func TestWhatTakesLongIsMadeByWhoUsesIt(t *testing.T) {
	w := newWorkshop()
	w.slow = true
	i := w.get("n", "a")
	if !i.Slow() || w.made != 0 || i.Wait(time.Now()) != 0 {
		t.Fatalf("the item is %+v, %d made", i, w.made)
	}
	i.Begin()
	made := i.Make()
	check(t, made, "a")
	if got := w.get("n", "a"); got != made {
		t.Errorf("the item is %+v, want what was made", got)
	}
	changed := w.get("n", "b")
	if changed.Thing == nil || changed.Thing.text != "a" || !slices.Equal(w.closed, []string{"a"}) {
		t.Errorf("meanwhile it is %+v, closed %q", changed, w.closed)
	}
	changed.Begin()
	check(t, changed.Make(), "b after a")

	// One that changes while it is made.
	changed = w.get("n", "c")
	changed.Begin()
	check(t, changed.Make(), "c after b after a")
	changed = w.get("n", "d")
	changed.Begin()
	check(t, changed.Make(), "d after c after b after a")
	w.Forget("n")
	w.Forget("n")
	if last := w.closed[len(w.closed)-1]; last != "d after c after b after a" {
		t.Errorf("closed %q", w.closed)
	}
}

func TestNotMoreThanSoManySlowOnesAreMadeAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkshop()
		w.slow = true
		failed := w.get("failed", "a")
		failed.Begin()
		w.err = errPasses
		if made := failed.Make(); !made.Failed() || made.Wait(time.Now()) != 5*time.Second {
			t.Errorf("it is %+v", made)
		}
		time.Sleep(5 * time.Second)
		w.err = nil
		var begun []*Item[string, thing]
		for n := range 4 {
			failed := w.get("failed", "a")
			if wait := failed.Wait(time.Now()); (wait > 0) != (n >= 2) || wait > soon {
				t.Errorf("with %d, one that failed waits for %v", n, wait)
			}
			i := w.get(fmt.Sprint(n), "a")
			if wait := i.Wait(time.Now()); wait != 0 {
				t.Errorf("with %d, one that is new waits for %v", n, wait)
			}
			i.Begin()
			begun = append(begun, i)
		}
		if wait := w.get("n", "a").Wait(time.Now()); wait != soon {
			t.Errorf("with 4, one that is new waits for %v", wait)
		}
		for _, i := range begun {
			check(t, i.Make(), "a")
		}
		if wait := w.get("failed", "a").Wait(time.Now()); wait != 0 {
			t.Errorf("with none, one that failed waits for %v", wait)
		}
	})
}

func TestCloseClosesAll(t *testing.T) {
	w := newWorkshop()
	w.get("n", "a")
	w.slow = true
	i := w.get("m", "b")
	i.Begin()
	i.Make()
	w.err, w.slow = errLasts, false
	w.get("o", "c")
	w.Close()
	slices.Sort(w.closed)
	if !slices.Equal(w.closed, []string{"a", "b"}) {
		t.Errorf("closed %q", w.closed)
	}
}
