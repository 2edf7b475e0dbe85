package portal

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// chart is deliveries and latency over time, as an SVG: bars of what was
// delivered, failed and is pending, and the line of the time that it took.
type chart struct {
	ID            string // distinguishes the chart's own IDs from another's
	Class         string
	Name, Desc    string
	Width, Height int
	Left, Right   int // of the plot
	Bottom        int
	Grid          []gridLine
	Bars          []bar
	Ticks         []tick
	Median, P95   string // paths
	Dots          []dot  // medians that stand alone: a line needs two
	Marks         []mark
	CountLabel    string
	LatencyLabel  string // "" where nothing was delivered
}

// CountX, LatencyX and TickY are where the labels of the axes stand.
func (c chart) CountX() int   { return c.Left - 6 }
func (c chart) LatencyX() int { return c.Right + 8 }
func (c chart) TickY() int    { return c.Bottom + 17 }

type gridLine struct {
	Y     int
	Count string
}

type dot struct{ X, Y string }

// mark is a label of the latency's axis.
type mark struct{ Y, Text string }

type bar struct {
	X, Width, Top, Height string // of the place to point at
	Title                 string
	Parts                 []part
}

type part struct{ Class, X, Y, Width, Height string }

type tick struct{ X, Text, Anchor string }

const (
	chartTop    = 20
	chartBottom = 24 // below the plot
)

// newChart draws the buckets of one endpoint.
func (u *ui) newChart(id, class string, width, height int, buckets []webhook.Statistics, period string) chart {
	c := chart{
		ID: id, Class: class, Width: width, Height: height, Left: 38, Right: width - 50, Bottom: height - chartBottom,
		Name: u.T("chart.name", period), CountLabel: u.T("chart.axis.count"),
	}
	if len(buckets) == 0 {
		return c
	}
	c.Desc = u.T("chart.desc", u.Number(len(buckets)), u.Took(buckets[0].To.Sub(buckets[0].From)))
	most := 0
	scale := newScale(buckets)
	for n := range buckets {
		most = max(most, total(&buckets[n]))
	}
	if len(scale) == 0 {
		c.Right = width - 8
	}
	c.grid(u, niceCount(most))
	c.bars(u, buckets, niceCount(most))
	c.ticks(u, buckets)
	if len(scale) > 0 {
		c.LatencyLabel = u.T("chart.axis.latency")
		c.latencies(u, buckets, scale)
	}
	return c
}

// total is what a bar is made of; what was cancelled with its endpoint is not.
func total(s *webhook.Statistics) int { return s.Delivered + s.Exhausted + s.Pending }

func (c *chart) grid(u *ui, top int) {
	steps := min(4, top)
	for n := 0; n <= steps; n++ {
		c.Grid = append(c.Grid, gridLine{
			Y:     c.Bottom - (c.Bottom-chartTop)*n/steps,
			Count: compact(u, float64(top)*float64(n)/float64(steps)),
		})
	}
}

func (c *chart) bars(u *ui, buckets []webhook.Statistics, top int) {
	slot := float64(c.Right-c.Left) / float64(len(buckets))
	gap := math.Min(3, slot*.22)
	for n := range buckets {
		s := &buckets[n]
		x := float64(c.Left) + slot*float64(n)
		b := bar{
			X: number(x), Width: number(slot), Top: strconv.Itoa(chartTop), Height: strconv.Itoa(c.Bottom - chartTop),
			Title: u.bucketTitle(s),
		}
		y := float64(c.Bottom)
		for _, p := range []struct {
			class string
			count int
		}{{"fill-good", s.Delivered}, {"fill-bad", s.Exhausted}, {"fill-idle", s.Pending}} {
			if p.count == 0 {
				continue
			}
			// What is there can be seen, however much else there is.
			height := math.Max(float64(c.Bottom-chartTop)*float64(p.count)/float64(top), 1.5)
			y -= height
			b.Parts = append(b.Parts, part{p.class, number(x + gap/2), number(y), number(slot - gap), number(height)})
		}
		c.Bars = append(c.Bars, b)
	}
}

func (u *ui) bucketTitle(s *webhook.Statistics) string {
	title := u.T("chart.bucket", u.Date(s.From), u.Number(s.Delivered), u.Number(s.Exhausted), u.Number(s.Pending))
	if s.Median > 0 {
		title += u.T("chart.bucket.took", u.Took(s.Median))
	}
	return title
}

// ticks writes times below the axis: as many as there is room for, at round ones.
func (c *chart) ticks(u *ui, buckets []webhook.Statistics) {
	from, to := buckets[0].From, buckets[len(buckets)-1].To
	room := max(2, (c.Right-c.Left)/64)
	step, layout := 24*time.Hour, u.T("format.day")
	if to.Sub(from) <= 48*time.Hour {
		layout = u.T("format.hour")
		step = time.Hour
	}
	for _, more := range []int{1, 2, 3, 4, 6, 12, 24} {
		if s := step * time.Duration(more); to.Sub(from)/s <= time.Duration(room) {
			step = s
			break
		}
	}
	for t := from.UTC().Truncate(step).Add(step); t.Before(to); t = t.Add(step) {
		x := float64(c.Left) + float64(c.Right-c.Left)*float64(t.Sub(from))/float64(to.Sub(from))
		if x < float64(c.Left)+14 || x > float64(c.Right)-14 {
			continue
		}
		c.Ticks = append(c.Ticks, tick{number(x), t.Format(layout), "middle"})
	}
}

// scale is the axis of latency: times a factor apart. It is logarithmic, because
// a delivery takes milliseconds, or the hours of its retries.
type scale []time.Duration

var scaleSteps = scale{
	time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second, time.Minute,
	10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour,
}

// newScale returns one that has all values on it; none if there are none.
func newScale(buckets []webhook.Statistics) scale {
	lo, hi := time.Duration(math.MaxInt64), time.Duration(0)
	for n := range buckets {
		for _, v := range []time.Duration{buckets[n].Median, buckets[n].P95} {
			if v > 0 {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
	}
	if hi == 0 {
		return nil
	}
	first, last := 0, len(scaleSteps)-1
	for first < last-1 && scaleSteps[first+1] <= lo {
		first++
	}
	for last > first+1 && scaleSteps[last-1] >= hi {
		last--
	}
	return scaleSteps[first : last+1]
}

// at returns where a value lies, from 0 to 1.
func (s scale) at(v time.Duration) float64 {
	lo, hi := math.Log(float64(s[0])), math.Log(float64(s[len(s)-1]))
	return math.Min(1, math.Max(0, (math.Log(float64(max(v, 1)))-lo)/(hi-lo)))
}

func (c *chart) latencies(u *ui, buckets []webhook.Statistics, s scale) {
	y := func(v time.Duration) string {
		return number(float64(c.Bottom) - float64(c.Bottom-chartTop)*s.at(v))
	}
	for _, step := range s {
		c.Marks = append(c.Marks, mark{y(step), u.Took(step)})
	}
	slot := float64(c.Right-c.Left) / float64(len(buckets))
	path := func(of func(*webhook.Statistics) time.Duration, lone func(x, y string)) string {
		var b strings.Builder
		for n := range buckets {
			v := of(&buckets[n])
			if v == 0 {
				continue
			}
			x := number(float64(c.Left) + slot*(float64(n)+.5))
			before, after := n > 0 && of(&buckets[n-1]) > 0, n+1 < len(buckets) && of(&buckets[n+1]) > 0
			switch {
			case before:
				b.WriteString("L" + x + " " + y(v))
			case after:
				b.WriteString("M" + x + " " + y(v))
			default:
				lone(x, y(v))
			}
		}
		return b.String()
	}
	c.Median = path(func(s *webhook.Statistics) time.Duration { return s.Median }, func(x, y string) { c.Dots = append(c.Dots, dot{x, y}) })
	c.P95 = path(func(s *webhook.Statistics) time.Duration { return s.P95 }, func(string, string) {})
}

// share is a small bar of what became of the deliveries of an endpoint.
type share struct {
	Parts []part
	Text  string
}

// newShare fills a bar of the given width.
func (u *ui) newShare(s *webhook.Statistics) share {
	all := total(s)
	if all == 0 {
		return share{Text: u.T("list.quiet")}
	}
	const width = 120.0
	sh := share{Text: u.counts(s)}
	x := 0.0
	for _, p := range []struct {
		class string
		count int
	}{{"fill-good", s.Delivered}, {"fill-bad", s.Exhausted}, {"fill-idle", s.Pending}} {
		if p.count > 0 {
			w := math.Max(width*float64(p.count)/float64(all), 3)
			sh.Parts = append(sh.Parts, part{p.class, number(x), "0", number(w), "6"})
			x += w
		}
	}
	return sh
}

// counts writes what became of deliveries, leaving out what did not happen.
func (u *ui) counts(s *webhook.Statistics) string {
	var parts []string
	for _, p := range []struct {
		key   string
		count int
	}{{"stat.delivered.n", s.Delivered}, {"stat.failed.n", s.Exhausted}, {"stat.pending.n", s.Pending}} {
		if p.count > 0 {
			parts = append(parts, strings.ReplaceAll(u.N(p.key, p.count), " ", "\u00a0"))
		}
	}
	text := strings.Join(parts, " · ")
	if s.Estimated {
		return u.T("stat.about", text)
	}
	return text
}

// sum adds the counts of buckets up. Medians cannot be added.
func sum(buckets []webhook.Statistics) webhook.Statistics {
	var all webhook.Statistics
	for n := range buckets {
		s := &buckets[n]
		all.Created += s.Created
		all.Delivered += s.Delivered
		all.Exhausted += s.Exhausted
		all.Cancelled += s.Cancelled
		all.Pending += s.Pending
		all.Estimated = all.Estimated || s.Estimated
	}
	return all
}

func number(v float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
}

// niceCount returns a round number that is at least n, and divisible by the
// chart's steps.
func niceCount(n int) int {
	if n <= 4 {
		return max(n, 1)
	}
	for size := 1; ; size *= 10 {
		for _, nice := range []int{4, 8, 12, 20} {
			if nice*size >= n {
				return nice * size
			}
		}
	}
}

// compact writes a number as the side of a chart has room for.
func compact(u *ui, v float64) string {
	suffix := ""
	switch {
	case v >= 1e6:
		v, suffix = v/1e6, "M"
	case v >= 1e4:
		v, suffix = v/1e3, "k"
	}
	s := strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
	return strings.Replace(s, ".", u.T("format.decimal"), 1) + suffix
}
