package tally

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// estimate reads the ends of a slice as a store does.
func estimate(numbers []int64, rows int) float64 {
	read := numbers
	if len(numbers) > 2*rows {
		read = slices.Concat(numbers[:rows], numbers[len(numbers)-rows:])
	}
	read = slices.Clone(read)
	return float64(len(read)) * Weight(read, rows)
}

// every returns n numbers, one in so many.
func every(n, step int) []int64 {
	numbers := make([]int64, n)
	for i := range numbers {
		numbers[i] = int64(1000 + i*step)
	}
	return numbers
}

func TestWhatWasReadWholeIsCounted(t *testing.T) {
	for n := range 100 {
		if got := estimate(every(n, 7), 50); got != float64(n) {
			t.Fatalf("%d rows are taken for %v", n, got)
		}
	}
}

func TestWhatLiesBetweenIsExtrapolated(t *testing.T) {
	quietThenBusy := every(60, 500)
	for i := range 5000 {
		quietThenBusy = append(quietThenBusy, quietThenBusy[59]+int64(2*i+1))
	}
	for i := range 60 {
		quietThenBusy = append(quietThenBusy, quietThenBusy[5059]+int64(500*i+1))
	}
	batches := []int64{}
	for i := range 100 {
		for j := range 50 {
			batches = append(batches, int64(140*i+j))
		}
	}
	for name, numbers := range map[string][]int64{
		"all of one's own":        every(5000, 1),
		"one in three":            every(5000, 3),
		"one in a thousand":       every(5000, 1000),
		"a burst in a quiet time": quietThenBusy,
		"batches between others'": batches,
	} {
		if got, want := estimate(numbers, 125), float64(len(numbers)); got < want/2 || got > want*2 {
			t.Errorf("%s: %v rows are taken for %v", name, want, got)
		}
	}
	if got := estimate(every(10_000, 3), 50); got < 9_800 || got > 10_200 {
		t.Errorf("10,000 even rows are taken for %v", got)
	}
}

func TestAnEstimateIsNoMoreThanThereAreNumbers(t *testing.T) {
	bursts := append(every(100, 1), 50_000)
	for i := range 99 {
		bursts = append(bursts, int64(50_001+i))
	}
	bursts = append(bursts, 60_000)
	if got := estimate(bursts, 50); got > 60_000 {
		t.Errorf("there are not %v numbers", got)
	}
	same := make([]int64, 200) // no store numbers so
	if got := estimate(same, 50); got != 100 {
		t.Errorf("rows of one number are taken for %v", got)
	}
}

func TestPlansReadNoMoreThanTheirBounds(t *testing.T) {
	for parts := range 1001 {
		slices, rows := Plan(parts)
		if slices < 1 || rows < fewest || 2*slices*rows*parts > budget+2*parts*fewest || 2*slices*rows > perPart {
			t.Fatalf("%d parts: %d slices of %d rows", parts, slices, rows)
		}
	}
	if slices, rows := Plan(1); 2*slices*rows != perPart {
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
