package breaker

import (
	"testing"
	"time"
)

func TestItOpensWhenSeveralItemsFailInARow(t *testing.T) {
	began := time.Unix(0, 0)
	b := New(3)
	for _, step := range []struct {
		item string
		want bool
	}{{"a", false}, {"a", false}, {"b", false}, {"a", false}, {"c", true}, {"a", true}, {"d", true}} {
		if got := b.Failed(step.item, began); got != step.want {
			t.Fatalf("after a failure of %s it is open: %t, want %t", step.item, got, step.want)
		}
	}
	b.Succeeded()
	for _, item := range []string{"a", "b"} {
		if b.Failed(item, began) {
			t.Fatalf("it is open after a success and a failure of %s", item)
		}
	}
}

func TestItBlocksUntilTheOthersKnow(t *testing.T) {
	began := time.Unix(0, 0)
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	b := New(1)
	if b.Shared(at(0)); b.Blocks(at(0)) {
		t.Error("it is open without a failure")
	}
	b.Failed("a", at(0))
	if !b.Blocks(at(0)) || !b.Blocks(at(9)) {
		t.Error("it lets work start that was given out before it opened")
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
		t.Error("it is open although another has closed it")
	}
	if b.Failed("b", at(13)); !b.Blocks(at(13)) {
		t.Error("it does not open again")
	}
}

func TestItDoesNotBlockForEverIfTheOthersAreNeverTold(t *testing.T) {
	began := time.Unix(0, 0)
	b := New(1)
	b.Failed("a", began)
	if !b.Blocks(began.Add(patience)) || b.Blocks(began.Add(patience+1)) {
		t.Error("it does not block for as long as telling the others may take")
	}
}
