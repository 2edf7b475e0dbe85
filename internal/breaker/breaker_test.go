package breaker

import (
	"testing"
	"time"
)

// at is a time of the tests.
func at(seconds int) time.Time { return time.Unix(int64(seconds), 0) }

const window = 100 * time.Second

func failed(b *Breaker, item string, seconds int) (open bool) {
	open, _ = b.Failed(item, at(seconds))
	return open
}

func TestItOpensWhenSeveralItemsFailInARow(t *testing.T) {
	b := New(3, window)
	for _, step := range []struct {
		item string
		want bool
	}{{"a", false}, {"a", false}, {"b", false}, {"a", false}, {"c", true}, {"a", true}, {"d", true}} {
		if got := failed(b, step.item, 1); got != step.want {
			t.Fatalf("after a failure of %s it is open: %t, want %t", step.item, got, step.want)
		}
	}
	b.Succeeded(at(1))
	for _, item := range []string{"a", "b"} {
		if failed(b, item, 1) {
			t.Fatalf("it is open after a success and a failure of %s", item)
		}
	}
}

func TestItNeverOpensWithoutALimit(t *testing.T) {
	b := New(0, window)
	for _, item := range []string{"a", "b", "c"} {
		if failed(b, item, 1) || b.Blocks(at(1)) {
			t.Fatalf("it is open after a failure of %s", item)
		}
	}
}

func TestItBlocksUntilTheOthersKnow(t *testing.T) {
	for name, fail := range map[string]func(b *Breaker, seconds int){
		"open":  func(b *Breaker, seconds int) { failed(b, "a", seconds) },
		"asked": func(b *Breaker, seconds int) { b.Ask(time.Hour, at(seconds)) },
	} {
		t.Run(name, func(t *testing.T) {
			b := New(1, window)
			if b.Shared(at(0)); b.Blocks(at(0)) {
				t.Error("it blocks without a failure")
			}
			fail(b, 1)
			if !b.Blocks(at(1)) || !b.Blocks(at(9)) {
				t.Error("it lets work start that was given out before")
			}
			b.Shared(at(10))
			b.Shared(at(20)) // it is known already
			if !b.Blocks(at(9)) {
				t.Error("it lets work start that was given out before the others knew")
			}
			if b.Blocks(at(12)) {
				t.Error("it blocks what the others gave out although they knew")
			}
			if b.Blocks(at(9)) {
				t.Error("it blocks although another has seen it end")
			}
			if fail(b, 13); !b.Blocks(at(13)) {
				t.Error("it does not block again")
			}
		})
	}
}

func TestItDoesNotBlockForEverIfTheOthersAreNeverTold(t *testing.T) {
	b := New(1, window)
	failed(b, "a", 0)
	if known := at(0).Add(patience); !b.Blocks(known) || b.Blocks(known.Add(1)) {
		t.Error("it does not block for as long as telling the others may take")
	}
}

func TestASuccessDoesNotEndAPauseThatWasAskedForSince(t *testing.T) {
	b := New(5, window)
	b.Ask(time.Minute, at(10))
	if b.Succeeded(at(9)) || !b.Blocks(at(9)) {
		t.Error("work that began before ends the pause")
	}
	if got := b.Ask(5*time.Second, at(20)); got != 50*time.Second {
		t.Errorf("a shorter pause leaves %v, want 50s", got)
	}
	if got := b.Ask(0, at(30)); got != 40*time.Second {
		t.Errorf("%v are left, want 40s", got)
	}
	if !b.Succeeded(at(70)) || b.Blocks(at(9)) || b.Ask(0, at(70)) != 0 {
		t.Error("work that began after it does not end the pause")
	}
}

func TestFailuresFarApartHaveNothingToDoWithEachOther(t *testing.T) {
	b := New(5, window)
	for _, step := range []struct{ at, want int }{{0, 0}, {50, 50}, {150, 150}, {251, 0}, {300, 49}} {
		if _, span := b.Failed("a", at(step.at)); span != time.Duration(step.want)*time.Second {
			t.Errorf("at %d the first failure was %v ago, want %d s", step.at, span, step.want)
		}
	}
	b.Succeeded(at(310))
	if _, span := b.Failed("a", at(320)); span != 0 {
		t.Errorf("after a success the first failure was %v ago", span)
	}
}
