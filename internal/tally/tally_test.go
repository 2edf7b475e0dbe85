package tally

import (
	"math/rand/v2"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// read reads the first rows of a slice as a store does.
func read(rows []Place, from, to time.Time, limit int) Slice {
	s := Slice{From: from}
	for _, r := range rows {
		if r.At.Before(from) || !r.At.Before(to) {
			continue
		}
		if s.End = r; s.Read == limit {
			continue
		}
		if s.Read++; s.Read == 1 {
			s.First = r
		}
		s.Last = r
	}
	return s
}

func estimate(rows []Place, length time.Duration, limit int) float64 {
	s := read(rows, start, start.Add(length), limit)
	return float64(s.Read) * s.Weight()
}

func TestWhatWasReadWholeIsCounted(t *testing.T) {
	var rows []Place
	for n := range 50 {
		rows = append(rows, Place{start.Add(time.Duration(n) * time.Minute), int64(7 * n)})
		if got := estimate(rows, time.Hour, 50); got != float64(n+1) {
			t.Fatalf("%d rows are taken for %v", n+1, got)
		}
	}
	if got := (&Slice{}).Weight(); got != 1 {
		t.Errorf("no row stands for %v", got)
	}
}

func TestEvenRowsAreExtrapolated(t *testing.T) {
	var rows []Place
	for n := range 10_000 {
		rows = append(rows, Place{start.Add(time.Duration(n) * 360 * time.Millisecond), int64(3 * n)})
	}
	if got := estimate(rows, time.Hour, 100); got < 9_800 || got > 10_200 {
		t.Errorf("10,000 rows are taken for %v", got)
	}
}

func TestABurstIsNotTakenForTheRestOfTheTime(t *testing.T) {
	var rows []Place
	for n := range 1000 {
		rows = append(rows, Place{start.Add(time.Second + time.Duration(n)*time.Millisecond), int64(n)})
	}
	rows = append(rows, Place{start.Add(59 * time.Minute), 1100})
	if got := estimate(rows, time.Hour, 100); got < 900 || got > 1_300 {
		t.Errorf("1,001 rows, all but one within a second, are taken for %v", got)
	}
	// The others were busy after it: the numbers went on, but the time of the burst
	// tells nothing either. It is no more than what they were.
	rows[1000].Seq = 50_000
	if got := estimate(rows, time.Hour, 100); got > 50_001 {
		t.Errorf("1,001 rows among 50,000 are taken for %v", got)
	}
}

func TestRowsAtOneTimeAreExtrapolatedByTheirNumbers(t *testing.T) {
	var rows []Place
	for n := range 1000 {
		rows = append(rows, Place{start, int64(n)})
	}
	if got := estimate(rows, time.Hour, 100); got < 990 || got > 1010 {
		t.Errorf("1,000 rows at the beginning are taken for %v", got)
	}
	for n := range rows {
		rows[n].Seq = -int64(n) // numbers against the order of time, by a clock that was set back
	}
	if got := estimate(rows, time.Hour, 100); got < 101 || got > 1010 {
		t.Errorf("1,000 rows in the order of no number are taken for %v", got)
	}
}

func TestPlansReadNoMoreThanTheirBounds(t *testing.T) {
	for parts := range 1001 {
		slices, rows := Plan(parts)
		if slices < 1 || rows < atLeast || slices*rows*parts > budget+parts*slices*atLeast || slices*rows > perPart {
			t.Fatalf("%d parts: %d slices of %d rows", parts, slices, rows)
		}
	}
	if slices, rows := Plan(1); slices != perSlices || slices*rows != perPart {
		t.Errorf("one part: %d slices of %d rows", slices, rows)
	}
}

func TestQuantiles(t *testing.T) {
	var d Durations
	if d.Quantile(0.5) != 0 {
		t.Error("the median of nothing is not 0")
	}
	for _, n := range rand.Perm(100) {
		d.Add(time.Duration(n+1)*time.Second, 1)
	}
	for part, want := range map[float64]time.Duration{0: time.Second, 0.5: 50 * time.Second, 0.95: 95 * time.Second, 1: 100 * time.Second} {
		if got := d.Quantile(part); got != want {
			t.Errorf("quantile %v is %v, want %v", part, got, want)
		}
	}
	d.Add(time.Hour, 900)
	if got := d.Quantile(0.5); got != time.Hour {
		t.Errorf("the median is %v, but nine in ten are an hour", got)
	}
}
