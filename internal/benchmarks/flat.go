package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/outhook/webhook"
)

const (
	fanOut   = 10      // deliveries of an event that are finished
	seedSize = 500_000 // deliveries in a statement
)

// flat compares what claiming and settling cost in a PostgreSQL database that
// keeps millions of deliveries, with what they cost in an empty one, and how long
// claims take before and after much has been published and delivered.
func flat(ctx context.Context, s size, d *databases) (_ []figure, err error) {
	if d.server == nil {
		return nil, nil
	}
	large, err := openDatabases(ctx, sharedBuffers()...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, large.close()) }()
	var stores [2]*filledStore // empty, full
	var noticing time.Duration
	for n := range stores {
		store, err := large.openPostgreSQL(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, store.close()) }()
		if stores[n], err = newFilledStore(ctx, store, s.endpoints); err != nil {
			return nil, err
		}
		if n == 1 {
			if err := seed(ctx, store, s.finished); err != nil {
				return nil, err
			}
			if err := stores[n].fill(ctx, s.waiting); err != nil {
				return nil, err
			}
			if noticing, err = notice(ctx, store); err != nil {
				return nil, err
			}
		}
		for _, statement := range []string{"VACUUM ANALYZE", "CHECKPOINT"} {
			if _, err := store.db.ExecContext(ctx, statement); err != nil {
				return nil, err
			}
		}
	}
	empty, full := stores[0], stores[1]
	turns, err := inTurns(s.rounds, []func() (turnover, error){
		func() (turnover, error) { return empty.turnOver(ctx, s.deliveries) },
		func() (turnover, error) { return full.turnOver(ctx, s.deliveries) },
	})
	if err != nil {
		return nil, err
	}
	before, after, err := full.churn(ctx, s)
	if err != nil {
		return nil, err
	}
	var figures []figure
	var rates [2][]float64
	for n, name := range []string{"empty", fmt.Sprintf("%d finished and %d pending", s.finished, s.waiting)} {
		var claims []float64
		for _, t := range turns[n] {
			rates[n] = append(rates[n], t.perSecond)
			claims = append(claims, median(t.claims))
		}
		figures = append(figures,
			figure{name: name + ": claim and settle", unit: "deliveries/s", rounds: rates[n]},
			figure{name: fmt.Sprintf("%s: median claim of %d", name, claimSize), unit: "ms", rounds: claims},
		)
	}
	return append(figures,
		figure{
			name: fmt.Sprintf("noticing the %d that are pending", s.waiting), unit: "µs of each",
			rounds: []float64{float64(noticing.Microseconds()) / float64(s.waiting)},
		},
		figure{name: "full / empty", unit: "of its speed", rounds: both(rates[1], rates[0], ratio), bound: bound{atLeast, 0.8}},
		figure{name: "full, median claim before churn", unit: "ms", rounds: before},
		figure{name: "full, median claim after " + s.churn.String() + " of churn", unit: "ms", rounds: after},
		figure{name: "after / before", unit: "of its time", rounds: []float64{median(after) / median(before)}, bound: bound{atMost, 1.2}},
	), nil
}

// sharedBuffers gives PostgreSQL a quarter of the machine's memory, from where its
// documentation lets a server of its own begin. With the default of 128 MiB, what
// is measured of a larger database is mostly the exchange of pages with the kernel.
func sharedBuffers() []string {
	var kilobytes int
	if _, err := fmt.Sscan(field("/proc/meminfo", "MemTotal"), &kilobytes); err != nil {
		return nil
	}
	return []string{fmt.Sprintf("shared_buffers = %dkB", kilobytes/4)}
}

// seed writes the log of n finished deliveries to the endpoints in turn, as it is
// after they were made in the last month.
func seed(ctx context.Context, s *store, n int) error {
	for first := 0; first < n; first += seedSize {
		last := min(first+seedSize, n)
		for _, statement := range []string{
			`INSERT INTO outhook_events (id, type, tenant, ordering_key, time, created_at, test, data, sum)
			SELECT 'old-' || i, 'type-0', 'tenant-0', '', t, t, false, decode(repeat('00', 100), 'hex'), decode(repeat('00', 32), 'hex')
			FROM (SELECT i, now() - interval '30 days' * (1 - i::float8 / $3) AS t FROM generate_series($1::int, $2::int - 1, $4::int) i) e`,
			`WITH finished AS (
				INSERT INTO outhook_finished (id, seq, event_id, event_type, event_tenant, endpoint_id, tenant, state, origin,
					attempts, last_status, last_error, first_attempt, created_at, updated_at)
				SELECT (lpad(to_hex((extract(epoch FROM t) * 1000)::bigint), 12, '0') || '7' || substr(md5(i::text), 1, 3) || '8' || substr(md5(i::text), 4, 15))::uuid, nextval('outhook_seq'), 'old-' || i - i % $4, 'type-0', 'tenant-0', p.ids[1 + i % cardinality(p.ids)], 'tenant-0', 'delivered', 'publish',
					1, 204, '', t, t, t
				FROM (SELECT i, now() - interval '30 days' * (1 - i::float8 / $3) AS t FROM generate_series($1::int, $2::int - 1) i) e,
					(SELECT array_agg(id) AS ids FROM outhook_endpoints) p
				RETURNING id, created_at
			)
			INSERT INTO outhook_attempts (delivery_id, id, number, started_at, duration_us, url, status, error,
				request_headers, response_headers, body_sha256, response_body, truncated)
			SELECT id, id::text, 1, created_at, 1000, 'https://customer.example/webhooks', 204, '', '{}', '{}', decode(repeat('00', 32), 'hex'), '', false
			FROM finished`,
		} {
			if _, err := s.db.ExecContext(ctx, statement, first, last, n, fanOut); err != nil {
				return fmt.Errorf("seed: %w", err)
			}
		}
	}
	return nil
}

// notice claims, without room for anything, until the queue has looked at all that
// was published, and returns how long that took.
func notice(ctx context.Context, s *store) (time.Duration, error) {
	start := time.Now()
	for unnoticed := true; unnoticed; {
		if _, _, err := s.Claim(ctx, webhook.ClaimRequest{Max: 1, Lease: time.Minute}); err != nil {
			return 0, err
		}
		if err := s.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM outhook_alarms)").Scan(&unnoticed); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// turnover is what claiming and settling took.
type turnover struct {
	perSecond float64   // deliveries
	claims    []float64 // milliseconds of each
}

// turnOver claims and settles about n deliveries, as many at a time as were
// published before, which is not timed.
func (s *filledStore) turnOver(ctx context.Context, n int) (turnover, error) {
	var t turnover
	var took time.Duration
	b := newBatches(n + claimSize)
	done := 0
	for done < n {
		if err := s.fill(ctx, claimSize); err != nil {
			return t, err
		}
		start := time.Now()
		claimed, err := b.claim(ctx, s, webhook.ClaimRequest{Max: claimSize, PerEndpoint: 1})
		if err != nil {
			return t, err
		}
		t.claims = append(t.claims, float64(time.Since(start))/float64(time.Millisecond))
		if err := b.settle(ctx, s); err != nil {
			return t, err
		}
		took += time.Since(start)
		done += claimed
	}
	t.perSecond = float64(done) / took.Seconds()
	return t, nil
}

// churn turns deliveries over for a while, and returns the median claim of each
// round before and after that.
func (s *filledStore) churn(ctx context.Context, size size) (before, after []float64, err error) {
	claims := func() (medians []float64, err error) {
		for range size.rounds {
			t, err := s.turnOver(ctx, size.deliveries)
			if err != nil {
				return nil, err
			}
			medians = append(medians, median(t.claims))
		}
		return medians, nil
	}
	if before, err = claims(); err != nil {
		return nil, nil, err
	}
	for start := time.Now(); time.Since(start) < size.churn; {
		if _, err := s.turnOver(ctx, batchSize); err != nil {
			return nil, nil, err
		}
	}
	after, err = claims()
	return before, after, err
}
