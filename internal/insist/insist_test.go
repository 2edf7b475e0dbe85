package insist

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shop is a store that fails as often as it is told to, and refuses items by their
// text.
type shop struct {
	*Keeper[string]
	calls    int
	failing  int // calls that fail from now on
	refused  map[string]bool
	works    bool
	stored   []string
	again    []string // of stored: those that were set aside before
	dropped  []string
	lessened []string
}

func newShop(aside int, refused ...string) *shop {
	s := &shop{refused: make(map[string]bool), works: true}
	for _, item := range refused {
		s.refused[item] = true
	}
	s.Keeper = New(Options[string]{
		Store: s.store, Aside: aside,
		Pause: func(failures int) time.Duration { return time.Duration(failures) * time.Second },
		Works: func(string) bool { return s.works },
		Lessen: func(item string, bare bool) string {
			item = item[:1] + map[bool]string{false: "-", true: "--"}[bare]
			s.lessened = append(s.lessened, item)
			return item
		},
		Dropped: func(item string, err error) { s.dropped = append(s.dropped, item) },
	})
	return s
}

func (s *shop) store(items []string, again bool) error {
	s.calls++
	if s.failing > 0 {
		s.failing--
		return errors.New("down")
	}
	if slices.ContainsFunc(items, func(item string) bool { return s.refused[item] }) {
		return errors.New("refused")
	}
	s.stored = append(s.stored, items...)
	if again {
		s.again = append(s.again, items...)
	}
	return nil
}

func none() bool { return false }
func some() bool { return true }

func (s *shop) check(t *testing.T, stored, dropped []string, lost int) {
	t.Helper()
	if !slices.Equal(s.stored, stored) || !slices.Equal(s.dropped, dropped) || s.Lost() != lost {
		t.Errorf("stored %q, dropped %q, %d lost, want %q, %q, %d", s.stored, s.dropped, s.Lost(), stored, dropped, lost)
	}
}

func TestAFailureIsRiddenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(9)
		s.failing, s.works = 20, false
		began := time.Now()
		s.Keep(t.Context(), []string{"a"}, none)
		s.check(t, []string{"a"}, nil, 0)
		if took := time.Since(began); took != 210*time.Second || s.calls != 21 {
			t.Errorf("it took %v and %d calls", took, s.calls)
		}
		if len(s.lessened) > 0 {
			t.Error("an item was lessened, though the store did not work at all")
		}
	})
}

func TestWhatIsRefusedIsStoredWithLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, refused := range [][]string{{"c"}, {"c", "c-"}} {
			s := newShop(9, refused...)
			s.Keep(t.Context(), []string{"a", "b", "c", "d", "e"}, none)
			last := []string{"c-", "c--"}[len(refused)-1]
			s.check(t, []string{"a", "b", last, "d", "e"}, nil, 0)
		}
	})
}

func TestWhatIsRefusedEvenSoIsSetAsideForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(9, "a", "a-", "a--")
		s.Keep(t.Context(), []string{"a", "b"}, none)
		s.check(t, []string{"b"}, []string{"a--"}, 1)

		s = newShop(9, "a", "a-", "a--")
		s.Keep(t.Context(), []string{"a"}, some)
		s.check(t, nil, nil, 1)
		delete(s.refused, "a--") // it was a fault after all
		s.Keep(t.Context(), []string{"b"}, none)
		s.check(t, []string{"b", "a--"}, nil, 0)
		if !slices.Equal(s.again, []string{"a--"}) {
			t.Errorf("stored again: %q", s.again)
		}
	})
}

func TestNotMoreThanSoManyAreSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(1, "a", "a-", "a--", "b", "b-", "b--")
		s.Keep(t.Context(), []string{"a"}, some)
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		s.Keep(ctx, []string{"b"}, some)
		if ctx.Err() == nil {
			t.Error("a second item was set aside")
		}
		s.check(t, nil, nil, 2)
	})
}

func TestTheEndCutsItShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShop(9)
		s.failing = 1 << 30
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var items []string
		for n := range 10 {
			items = append(items, fmt.Sprint(n))
		}
		s.Keep(ctx, items, none)
		s.check(t, nil, nil, 10)
	})
}
