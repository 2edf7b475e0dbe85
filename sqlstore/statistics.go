package sqlstore

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/tally"
)

// Summarize implements [webhook.Summarizer].
func (s *Store) Summarize(ctx context.Context, f webhook.StatisticsFilter) ([]webhook.Statistics, error) {
	t := newTallying(s.dialect, &f)
	err := s.read(ctx, func(q Querier) error {
		if len(t.endpoints) == 0 {
			return nil
		}
		return s.query(ctx, q, s.dialect.tally(t), t.args, t.scan)
	})
	if err != nil {
		return nil, fmt.Errorf("summarize: %w", err)
	}
	return t.statistics(), nil
}

// tallying reads the first and the last finished deliveries of each slice of each
// part, and some of the pending ones, which stand in no order of time.
type tallying struct {
	where            // the parameters
	parts            []webhook.Statistics
	perEndpoint      int      // parts
	endpoints, cells []string // rows of VALUES: their number, ID and, of a slice, its time
	buckets          []string // rows of VALUES: their number and time
	rows, backlog    int
	scoped, counted  string // the conditions that a delivery is in the scope, and that it is counted
	slicesPerPart    int
	durations        []tally.Durations
	sums             []sums
	seen             map[int]int // pending deliveries read, by endpoint
}

// sums are of deliveries in a part.
type sums struct{ delivered, exhausted, cancelled, pending, retried float64 }

func newTallying(d dialect, f *webhook.StatisticsFilter) *tallying {
	t := &tallying{parts: f.Parts(), perEndpoint: f.Buckets, seen: make(map[int]int)}
	t.slicesPerPart, t.rows = tally.Plan(len(t.parts))
	t.backlog = tally.Backlog(len(f.Endpoints))
	t.durations, t.sums = make([]tally.Durations, len(t.parts)), make([]sums, len(t.parts))
	t.scoped = t.within("tenant", f.Scope)
	t.counted = "origin <> 'test' AND " + t.scoped
	var times [][2]string // of the slices of an endpoint, the same for each
	for n, id := range f.Endpoints {
		if !isStorable(id) {
			continue
		}
		arg := t.arg(id) + "::text"
		t.endpoints = append(t.endpoints, fmt.Sprintf("(%d, %s)", n, arg))
		for bucket := range f.Buckets {
			part := n*f.Buckets + bucket
			p := &t.parts[part]
			span := p.To.Sub(p.From) / time.Duration(t.slicesPerPart)
			if len(times) <= bucket*t.slicesPerPart {
				t.buckets = append(t.buckets, fmt.Sprintf("(%d, %s, %s)", bucket, t.stamp(d, p.From), t.stamp(d, p.To)))
			}
			for slice := range t.slicesPerPart {
				from, to := p.From.Add(time.Duration(slice)*span).Truncate(time.Microsecond), p.From.Add(time.Duration(slice+1)*span).Truncate(time.Microsecond)
				if slice == t.slicesPerPart-1 {
					to = p.To
				}
				cell := bucket*t.slicesPerPart + slice
				if len(times) <= cell {
					times = append(times, [2]string{t.stamp(d, from), t.stamp(d, to)})
				}
				t.cells = append(t.cells, fmt.Sprintf("(%d, %s, %s, %s)", part*t.slicesPerPart+slice, arg, times[cell][0], times[cell][1]))
			}
		}
	}
	return t
}

func (t *tallying) stamp(d dialect, at time.Time) string {
	return t.arg(d.stamp(at)) + "::timestamptz"
}

// tallyQuery is the statement. Its rows are of two kinds: of a slice (kind 0), what
// was read of it; of an endpoint and a part (kind 1), the pending deliveries. Both
// have how many rows in the scope were read (n): where there are none, it must not
// show that there are others.
const tallyQuery = `
WITH cells (cell, endpoint, since, until) AS (VALUES %[1]s), owners (owner, endpoint) AS (VALUES %[2]s), buckets (bucket, since, until) AS (VALUES %[3]s)
SELECT 0 AS kind, c.cell AS place, 0 AS bucket, count(CASE WHEN f.scoped THEN 1 END) AS n, count(CASE WHEN f.counted AND f.state = 'delivered' THEN 1 END) AS delivered,
	count(CASE WHEN f.counted AND f.state = 'exhausted' THEN 1 END) AS exhausted, count(CASE WHEN f.counted AND f.state = 'cancelled' THEN 1 END) AS cancelled,
	count(CASE WHEN f.counted AND f.attempts > 1 THEN 1 END) AS retried, %[4]s AS numbers, coalesce(%[5]s, '') AS durations
FROM cells c %[6]s
GROUP BY c.cell
UNION ALL
SELECT 1, o.owner, coalesce(b.bucket, -1), count(CASE WHEN p.scoped THEN 1 END), count(CASE WHEN p.counted THEN 1 END), 0, 0, 0, '', ''
FROM owners o %[7]s LEFT JOIN buckets b ON p.created_at >= b.since AND p.created_at < b.until
GROUP BY o.owner, b.bucket`

func (postgreSQL) tally(t *tallying) string {
	end := func(order string) string {
		return fmt.Sprintf(`(SELECT seq, created_at, updated_at, state, attempts, %[1]s AS scoped, %[2]s AS counted FROM outhook_finished
			WHERE endpoint_id = c.endpoint AND created_at >= c.since AND created_at < c.until ORDER BY created_at %[3]s, seq %[3]s LIMIT %[4]d)`, t.scoped, t.counted, order, t.rows)
	}
	finished := "CROSS JOIN LATERAL (" + end("ASC") + " UNION " + end("DESC") + ") f"
	pending := fmt.Sprintf("CROSS JOIN LATERAL (SELECT created_at, %s AS scoped, %s AS counted FROM outhook_pending WHERE endpoint_id = o.endpoint ORDER BY head, due, seq LIMIT %d) p", t.scoped, t.counted, t.backlog)
	return t.query("string_agg(f.seq::text, ' ')",
		"string_agg(CASE WHEN f.counted AND f.state = 'delivered' THEN (extract(epoch FROM f.updated_at - f.created_at) * 1000000)::bigint::text END, ' ')", finished, pending)
}

func (sqlite) tally(t *tallying) string {
	end := func(order string) string {
		return fmt.Sprintf(`SELECT seq FROM (SELECT seq FROM outhook_deliveries WHERE endpoint_id = c.endpoint AND created_at >= c.since AND created_at < c.until
			AND state <> 'pending' ORDER BY created_at %[1]s, seq %[1]s LIMIT %[2]d)`, order, t.rows)
	}
	finished := fmt.Sprintf("JOIN (SELECT *, %s AS scoped, %s AS counted FROM outhook_deliveries) f ON f.seq IN (%s UNION %s)", t.scoped, t.counted, end("ASC"), end("DESC"))
	pending := fmt.Sprintf(`JOIN (SELECT seq AS lane_seq, endpoint_id AS lane_endpoint FROM outhook_lanes) l ON l.lane_endpoint = o.endpoint
		JOIN (SELECT seq AS pending_seq, created_at, %s AS scoped, %s AS counted FROM outhook_deliveries) p ON p.pending_seq IN (SELECT seq FROM outhook_queue WHERE lane = l.lane_seq LIMIT %d)`, t.scoped, t.counted, t.backlog)
	return t.query("group_concat(f.seq, ' ')", "group_concat(CASE WHEN f.counted AND f.state = 'delivered' THEN f.updated_at - f.created_at END, ' ')", finished, pending)
}

func (t *tallying) query(numbers, durations, finished, pending string) string {
	list := func(rows []string) string { return strings.Join(rows, ", ") }
	return fmt.Sprintf(tallyQuery, list(t.cells), list(t.endpoints), list(t.buckets), numbers, durations, finished, pending)
}

// scan reads a row of either kind.
func (t *tallying) scan(rows Rows) error {
	var kind, place, bucket, n, delivered, exhausted, cancelled, retried int
	var numbers, durations text
	if err := rows.Scan(&kind, &place, &bucket, &n, &delivered, &exhausted, &cancelled, &retried, &numbers, &durations); err != nil {
		return err
	}
	if kind == 1 {
		if t.seen[place] += n; bucket >= 0 {
			t.sums[place*t.perEndpoint+bucket].pending += float64(delivered)
		}
		return nil
	}
	if n == 0 {
		return nil
	}
	seqs, err := integers(numbers)
	if err != nil {
		return err
	}
	microseconds, err := integers(durations)
	if err != nil {
		return err
	}
	weight, part := tally.Weight(seqs, t.rows), place/t.slicesPerPart
	if weight > 1 {
		t.parts[part].Estimated = true
	}
	sum := &t.sums[part]
	sum.delivered += weight * float64(delivered)
	sum.exhausted += weight * float64(exhausted)
	sum.cancelled += weight * float64(cancelled)
	sum.retried += weight * float64(retried)
	for _, us := range microseconds {
		t.durations[part].Add(time.Duration(us)*time.Microsecond, weight)
	}
	return nil
}

// integers returns the numbers that a query has joined.
func integers(joined text) ([]int64, error) {
	var all []int64
	for field := range strings.FieldsSeq(string(joined)) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("scan numbers: %w", err)
		}
		all = append(all, n)
	}
	return all, nil
}

// statistics returns what was read.
func (t *tallying) statistics() []webhook.Statistics {
	round := func(f float64) int { return int(math.Round(f)) }
	for n := range t.parts {
		p, sum := &t.parts[n], t.sums[n]
		p.Delivered, p.Exhausted, p.Cancelled, p.Pending = round(sum.delivered), round(sum.exhausted), round(sum.cancelled), round(sum.pending)
		p.Retried, p.Created = round(sum.retried), p.Delivered+p.Exhausted+p.Cancelled+p.Pending
		p.Median, p.P95 = t.durations[n].Quantile(0.5), t.durations[n].Quantile(0.95)
		p.Estimated = p.Estimated || t.seen[n/t.perEndpoint] >= t.backlog
	}
	return t.parts
}
