package integration

import (
	"strings"
	"testing"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/pg"
)

// What statistics cost does not depend on how many deliveries there are: each
// slice of time is entered through the index, and only its first rows are read.
func TestStatisticsReadTheBeginningsOfSlicesOfTime(t *testing.T) {
	b := postgreSQL()[0]
	dsn := b.database(t)
	a := b.newApp(t, dsn)
	const rows = 200_000
	for _, statement := range []string{
		`INSERT INTO outhook_finished (id, seq, event_id, event_type, event_tenant, endpoint_id, tenant, state, origin, attempts, last_status, last_error, created_at, updated_at)
			SELECT gen_random_uuid(), nextval('outhook_seq'), 'event-' || n, 'document.signed', 'acme', CASE WHEN n % 10 = 0 THEN 'small' ELSE 'large' END, 'acme',
				CASE WHEN n % 5 = 0 THEN 'exhausted' ELSE 'delivered' END, 'publish', 1 + n % 2, 200, '', at, at + n * 7919 % 100003 % 100 * interval '10 ms'
			FROM (SELECT n, timestamptz '2026-01-01 00:00:00Z' + n * interval '0.432 second' AS at FROM generate_series(0, 199999) n) log`,
		`INSERT INTO outhook_pending (id, event_id, event_type, event_tenant, endpoint_id, tenant, origin, due, next_attempt, created_at, updated_at, size)
			SELECT gen_random_uuid(), 'event-' || n, 'document.signed', 'acme', 'large', 'acme', 'publish', now(), now(), timestamptz '2026-01-01 12:00:00Z', now(), 1
			FROM generate_series(1, 50000) n`,
	} {
		if _, err := a.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	for _, table := range []string{"finished", "pending"} {
		if _, err := a.db.ExecContext(t.Context(), "VACUUM ANALYZE outhook_"+table); err != nil {
			t.Fatal(err)
		}
	}
	x := pg.Explain(t, dsn)
	ctx := a.store.WithQuerier(t.Context(), pgxQuerier{x.Tx})
	day := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	for _, buckets := range []int{1, 48} {
		f := webhook.StatisticsFilter{Endpoints: []string{"large", "small", "none"}, From: day, To: day.AddDate(0, 0, 1), Buckets: buckets}
		var got []webhook.Statistics
		plans := x.Plans(func() {
			var err error
			if got, err = a.Tenant("acme").Statistics(ctx, f); err != nil {
				t.Fatal(err)
			}
		})
		if len(plans) != 1 {
			t.Errorf("%d statements, want one", len(plans))
		}
		for _, plan := range plans {
			if strings.Contains(plan, "Seq Scan on outhook_") {
				t.Errorf("a table is read as a whole:\n%s", plan[strings.Index(plan, "Append"):])
			}
			if n := pg.RowsOf(plan); n > 20_000 {
				t.Errorf("%d rows are read:\n%s", n, plan[strings.Index(plan, "Append"):])
			}
		}
		sums := make(map[string]*webhook.Statistics)
		for n := range got {
			s := sums[got[n].EndpointID]
			if s == nil {
				s = new(webhook.Statistics)
				sums[got[n].EndpointID] = s
			}
			s.Delivered, s.Exhausted = s.Delivered+got[n].Delivered, s.Exhausted+got[n].Exhausted
			s.Pending, s.Retried = s.Pending+got[n].Pending, s.Retried+got[n].Retried
			s.Estimated = s.Estimated || got[n].Estimated
			if m, p := got[n].Median, got[n].P95; got[n].EndpointID == "large" && (m < 350*time.Millisecond || m > 650*time.Millisecond || p < 850*time.Millisecond || p > time.Second) {
				t.Errorf("median %v and P95 %v, want about 0.5s and 0.95s", m, p)
			}
		}
		near := func(what string, got, want int) {
			if got < want*9/10 || got > want*11/10 {
				t.Errorf("in %d parts, %s are %d, want about %d", buckets, what, got, want)
			}
		}
		near("deliveries to the large one", sums["large"].Delivered, rows*8/10)
		near("failures of the large one", sums["large"].Exhausted, rows/10)
		near("failures of the small one", sums["small"].Exhausted, rows/10)
		near("retries of the large one", sums["large"].Retried, rows/2)
		if !sums["large"].Estimated || sums["large"].Pending < 100 || sums["none"].Delivered > 0 || sums["none"].Estimated {
			t.Errorf("sums %+v, of none %+v", sums["large"], sums["none"])
		}
	}
}
