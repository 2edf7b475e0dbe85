package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// publishers is how many goroutines publish at the same time.
const publishers = 64

// group compares how many events a second many goroutines publish that each
// publish one at a time, with one that has a connection and commits per event.
func group(ctx context.Context, s size, d *databases) ([]figure, error) {
	var figures []figure
	for _, k := range d.kinds() {
		rates, err := inTurns(s.rounds, []func() (float64, error){
			func() (float64, error) { return publishing(ctx, k, s.publishing, publishAlone) },
			func() (float64, error) { return publishing(ctx, k, s.publishing, publishTogether) },
		})
		if err != nil {
			return nil, err
		}
		figures = append(figures,
			figure{name: k.name + ": one that commits per event", unit: "events/s", rounds: rates[0]},
			figure{name: fmt.Sprintf("%s: %d that call Publish", k.name, publishers), unit: "events/s", rounds: rates[1]},
			figure{name: k.name + ": together / alone", unit: "of its speed", rounds: both(rates[1], rates[0], ratio), bound: bound{atLeast, 8}},
		)
	}
	return figures, nil
}

// publisher publishes events, each in a commit that it may share with others,
// until its context ends, and counts them.
type publisher func(ctx context.Context, s *store, d *webhook.Dispatcher, count *atomic.Int64) error

// publishing returns how many events a second are published into an empty store
// where each has one delivery.
func publishing(ctx context.Context, k kind, during time.Duration, p publisher) (rate float64, err error) {
	s, err := k.open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	d, err := newDispatcher(s, inFlight, inFlight)
	if err != nil {
		return 0, err
	}
	if _, err := d.Register(ctx, webhook.Endpoint{URL: "http://127.0.0.1:1024"}); err != nil {
		return 0, err
	}
	if err := s.ready(ctx); err != nil {
		return 0, err
	}
	var count atomic.Int64
	within, cancel := context.WithTimeout(ctx, during)
	defer cancel()
	start := time.Now()
	err = p(within, s, d, &count)
	return float64(count.Load()) / time.Since(start).Seconds(), err
}

// publishTogether has many goroutines publish.
func publishTogether(ctx context.Context, _ *store, d *webhook.Dispatcher, count *atomic.Int64) error {
	errs := make(chan error, publishers)
	var wait sync.WaitGroup
	for range publishers {
		wait.Go(func() {
			for ctx.Err() == nil {
				if err := publishOne(context.WithoutCancel(ctx), d); err != nil {
					errs <- err
					return
				}
				count.Add(1)
			}
		})
	}
	wait.Wait()
	close(errs)
	return <-errs
}

// publishAlone publishes on one connection, with as few statements as a commit
// for each event needs.
func publishAlone(ctx context.Context, s *store, d *webhook.Dispatcher, count *atomic.Int64) error {
	connected := context.WithoutCancel(ctx)
	conn, err := s.db.Conn(connected)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	durable := s.Store.(*sqlstore.Store)
	publish := func() error { return publishOne(durable.WithQuerier(connected, querier{conn}), d) }
	if s.dialect == sqlstore.SQLite { // where it is several statements
		publish = func() error {
			tx, err := conn.BeginTx(connected, nil)
			if err != nil {
				return err
			}
			if err := publishOne(durable.WithTx(connected, tx), d); err != nil {
				return errors.Join(err, tx.Rollback())
			}
			return tx.Commit()
		}
	}
	for ctx.Err() == nil {
		if err := publish(); err != nil {
			return err
		}
		count.Add(1)
	}
	return nil
}

func publishOne(ctx context.Context, d *webhook.Dispatcher) error {
	r, err := d.Publish(ctx, benchmarkEvent())
	if err == nil && r.Deliveries != 1 {
		err = fmt.Errorf("event %s has %d deliveries", r.EventID, r.Deliveries)
	}
	return err
}

// querier is a connection on which each statement is a transaction.
type querier struct{ *sql.Conn }

func (q querier) Query(ctx context.Context, query string, args ...any) (sqlstore.Rows, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	return closing{rows}, err
}

type closing struct{ *sql.Rows }

func (c closing) Close() { _ = c.Rows.Close() }
