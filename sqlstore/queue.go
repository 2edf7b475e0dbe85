package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/outhook/webhook"
)

// Claim implements [webhook.Queue].
func (s *Store) Claim(ctx context.Context, r webhook.ClaimRequest) (batch []webhook.Claimed, next time.Duration, err error) {
	if d, ok := s.dialect.(sqlite); ok && s.transaction(ctx) == nil && s.idle.Load() {
		idle := false
		err = s.read(ctx, func(q Querier) (err error) {
			next, idle, err = d.idle(ctx, s, q, r)
			return err
		})
		if err != nil {
			return nil, 0, fmt.Errorf("claim: %w", err)
		}
		if idle {
			return nil, next, nil
		}
	}
	err = s.statement(ctx, passing, func(q Querier) (err error) {
		batch, next, err = s.dialect.claim(ctx, s, q, r)
		return err
	})
	s.idle.Store(len(batch) == 0)
	if err != nil {
		return nil, 0, fmt.Errorf("claim: %w", err)
	}
	return batch, next, nil
}

// Settle implements [webhook.Queue].
func (s *Store) Settle(ctx context.Context, ss []webhook.Settlement) (stale []string, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	for _, round := range rounds(ss, &stale) {
		var positions []int
		settle := s.dialect.settling(round)
		err := s.statement(ctx, lasting, func(q Querier) (err error) {
			positions, err = settle(ctx, s, q)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("settle: %w", err)
		}
		for _, n := range positions {
			stale = append(stale, round[n].DeliveryID)
		}
	}
	return stale, nil
}

// Attend implements [webhook.Presence].
func (s *Store) Attend(ctx context.Context, dispatcher string, ttl time.Duration) (n int, err error) {
	err = s.write(ctx, func(q Querier) error {
		now, err := s.now(ctx, q)
		if err != nil {
			return err
		}
		if _, err := s.exec(ctx, q, `INSERT INTO outhook_dispatchers (id, until) VALUES ($1, $2)
			ON CONFLICT (id) DO UPDATE SET until = excluded.until`, storable(dispatcher), s.dialect.stamp(now.Add(ttl))); err != nil {
			return err
		}
		// Nobody waits for a row that another removes as well.
		if _, err := s.exec(ctx, q, `DELETE FROM outhook_dispatchers WHERE id IN (
			SELECT id FROM outhook_dispatchers WHERE until <= $1 FOR UPDATE SKIP LOCKED)`, s.dialect.stamp(now)); err != nil {
			return err
		}
		_, err = s.one(ctx, q, "SELECT count(*) FROM outhook_dispatchers WHERE until > $1", []any{s.dialect.stamp(now)}, &n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("attend: %w", err)
	}
	return n, nil
}

// rounds divides settlements so that none has two of one delivery, which is one
// round, usually. Those of what cannot exist are stale.
func rounds(ss []webhook.Settlement, stale *[]string) (rounds [][]*webhook.Settlement) {
	times := make(map[string]int, len(ss))
	for n := range ss {
		id := ss[n].DeliveryID
		if !isUUID(id) {
			*stale = append(*stale, id)
			continue
		}
		round := times[id]
		times[id]++
		if round == len(rounds) {
			rounds = append(rounds, make([]*webhook.Settlement, 0, len(ss)-n))
		}
		rounds[round] = append(rounds[round], &ss[n])
	}
	return rounds
}

// statement calls f, which is one statement on PostgreSQL, and repeats it if
// another transaction is in its way.
func (s *Store) statement(ctx context.Context, d durability, f func(Querier) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if q := s.transaction(ctx); q != nil {
		return ended(ctx, f(q))
	}
	for n := 1; ; n++ {
		isolated := s.isolated.Load()
		err := s.transact(ctx, d, f)
		if sqlState(err) == wrongIsolation && !isolated {
			s.isolated.Store(true) // the database's default is not READ COMMITTED: begin transactions
			continue
		}
		if err == nil || n == retries || !inTheWay(err) || ctx.Err() != nil {
			return ended(ctx, err)
		}
	}
}

// wrongIsolation is what the functions answer when all their statements would
// see the same snapshot.
const wrongIsolation = "25000"
