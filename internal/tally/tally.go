// Package tally tells how many rows there are in a time, and what their durations
// are like, from a few of them: it reads the beginning of each of some slices of
// the time, and extrapolates where there is more.
package tally

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// The bounds of what is read.
const (
	budget    = 12_000 // rows in all
	perPart   = 500    // rows of a part, at most
	atLeast   = 12     // rows of a slice
	perSlices = 4      // slices of a part, at most
)

// Plan returns into how many slices each of so many parts is cut, and how many
// rows of a slice are read.
func Plan(parts int) (slices, rows int) {
	perPart := min(budget/max(parts, 1), perPart)
	slices = max(1, min(perSlices, perPart/atLeast/4))
	return slices, max(perPart/slices, atLeast)
}

// Backlog returns how many rows are read that stand in no order of time, of each
// of so many owners.
func Backlog(owners int) int { return max(budget/max(owners, 1)/4, 100) }

// Place is where a row stands: ordered by time, then by number. All rows, also
// those of others, are numbered in about the order of their times.
type Place struct {
	At  time.Time
	Seq int64
}

// Slice is what was read of a slice of time: its first rows.
type Slice struct {
	From        time.Time
	Read        int
	First, Last Place // of the rows read
	End         Place // of the last row of the slice
}

// Weight returns how many rows each row read stands for: 1 if all were read.
//
// How often a row came among those read is how often one comes in the rest, by
// time and by number. The lower one of the two counts: a burst that is over would
// otherwise go on for the rest of the time.
func (s *Slice) Weight() float64 {
	if s.Read == 0 || s.Last == s.End {
		return 1
	}
	rest := math.Inf(1)
	if numbers := s.End.Seq - s.Last.Seq; numbers > 0 && s.Last.Seq >= s.First.Seq {
		rest = float64(s.Read) * float64(numbers) / float64(s.Last.Seq-s.First.Seq+1)
	}
	if span := s.Last.At.Sub(s.From); span > 0 {
		rest = min(rest, float64(s.Read)*float64(s.End.At.Sub(s.Last.At))/float64(span))
	}
	if math.IsInf(rest, 0) {
		rest = 0
	}
	return 1 + max(rest, 1)/float64(s.Read)
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
