// Package tally tells how many rows there are in a time, and what their durations
// are like, from a few of them: it reads the first and the last rows of a slice of
// the time, and extrapolates what lies between.
package tally

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// The bounds of what is read.
const (
	budget  = 12_000 // rows in all
	perPart = 500    // rows of a part, at most
	fewest  = 8      // rows at an end of a slice
)

// Plan returns into how many slices each of so many parts is cut, and how many
// rows at either end of a slice are read.
func Plan(parts int) (slices, rows int) {
	slices, rows = 1, min(budget/max(parts, 1), perPart)
	if rows == perPart {
		slices = 2
	}
	return slices, max(rows/slices/2, fewest)
}

// Backlog returns how many rows are read that stand in no order of time, of each
// of so many owners.
func Backlog(owners int) int { return max(budget/max(owners, 1)/4, 100) }

// Weight returns how many rows each of those stands for that were read at the two
// ends of a slice, so many at each. All rows, also those of others, are numbered in
// about the order of their times; these are the numbers of the rows read.
//
// Fewer than asked for are all there are. Otherwise a row is as frequent among the
// numbers between the ends as it is on the verges, of which the mean is taken: by
// number rather than by time, so that a burst is no more than what came together.
func Weight(numbers []int64, rows int) float64 {
	if len(numbers) < 2*rows {
		return 1
	}
	slices.Sort(numbers)
	verge := max(rows/2, 2)
	gap := float64(max(numbers[rows]-numbers[rows-1]-1, 0))
	density := func(verge []int64) float64 {
		return min(float64(len(verge)-1)/float64(max(verge[len(verge)-1]-verge[0], 1)), 1)
	}
	between := gap * math.Sqrt(density(numbers[rows-verge:rows])*density(numbers[rows:rows+verge]))
	return 1 + between/float64(len(numbers))
}

// Durations are durations, each of which stands for so many.
type Durations []weighted

type weighted struct {
	duration time.Duration
	weight   float64
}

// Add adds a duration.
func (d *Durations) Add(duration time.Duration, weight float64) {
	*d = append(*d, weighted{max(duration, 0), weight})
}

// Quantile returns the smallest duration that so large a part of them does not
// exceed; 0 of none.
func (d Durations) Quantile(part float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.SortFunc(d, func(a, b weighted) int { return cmp.Compare(a.duration, b.duration) })
	var all float64
	for _, w := range d {
		all += w.weight
	}
	var sum float64
	for _, w := range d {
		if sum += w.weight; sum >= part*all*(1-1e-9) {
			return w.duration
		}
	}
	return d[len(d)-1].duration
}
