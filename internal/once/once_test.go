package once

import (
	"testing"
	"time"
)

func TestAChangeIsToldOnceWhenItBeginsAndOnceWhenItEnds(t *testing.T) {
	var c Changes
	for n, step := range []struct {
		name     string
		on, want bool
	}{
		{"a", false, false}, {"a", true, true}, {"a", true, false}, {"b", true, true},
		{"a", false, true}, {"a", false, false}, {"b", true, false}, {"a", true, true},
	} {
		if got := c.Set(step.name, step.on); got != step.want {
			t.Errorf("step %d: %v, want %v", n, got, step.want)
		}
	}
}

func TestWhatHappensOftenIsToldSeldomAndCounted(t *testing.T) {
	var s Seldom
	now := time.Unix(1000, 0)
	for n, step := range []struct {
		after time.Duration
		times int
		tell  bool
	}{
		{0, 1, true}, {0, 1, false}, {59 * time.Second, 2, false}, {time.Second, 3, true},
		{time.Second, 1, false}, {time.Hour, 2, true}, {time.Hour, 1, true},
	} {
		now = now.Add(step.after)
		if times, tell := s.Tell(now, time.Minute); times != step.times || tell != step.tell {
			t.Errorf("step %d: %d times, tell %v, want %d, %v", n, times, tell, step.times, step.tell)
		}
	}
}
