package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
	"github.com/outhook/webhook/sqlstore/pgwake"
)

// quiet is how long after a delivery, which a poll follows at once, a Dispatcher
// is idle for certain.
const quiet = 20 * time.Millisecond

// pauses are how long after the last delivery an idle Dispatcher is given the next
// event by another process.
var pauses = []time.Duration{quiet, 250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond}

// idle measures how often a Dispatcher that has nothing to do asks its database,
// and how soon it delivers what another process has published.
func idle(ctx context.Context, s size, d *databases) ([]figure, error) {
	figures, err := ofEach(ctx, d.kinds(), func(k kind, r *receiver) ([]figure, error) { return idleOf(ctx, k, s, r) })
	if err != nil || d.server == nil {
		return figures, err
	}
	waking := []kind{{name: "PostgreSQL with pgwake", open: d.openPostgreSQL}}
	woken, err := ofEach(ctx, waking, func(k kind, r *receiver) ([]figure, error) { return wokenOf(ctx, k, s, r) })
	return append(figures, woken...), err
}

// idleOf measures with one kind of store.
func idleOf(ctx context.Context, k kind, s size, r *receiver) (_ []figure, err error) {
	store, err := k.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	publisher, err := newDispatcher(store, inFlight, inFlight)
	if err != nil {
		return nil, err
	}
	if _, err := publisher.Register(ctx, webhook.Endpoint{URL: r.url + "/quick"}); err != nil {
		return nil, err
	}
	db, calls, err := store.counted()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// As another process has it: nothing but the database is shared.
	deliverer, err := newDispatcher(sqlstore.New(db, store.dialect), inFlight, inFlight)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- deliverer.Run(running) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	var rates, latencies []float64
	for range s.rounds {
		var slowest time.Duration
		for _, pause := range pauses {
			latency, err := latencyOf(ctx, publisher, r, pause)
			if err != nil {
				return nil, err
			}
			slowest = max(slowest, latency)
		}
		latencies = append(latencies, float64(slowest)/float64(time.Millisecond))
		if err := wait(ctx, time.Second); err != nil { // the last outcome is settled by then
			return nil, err
		}
		before, start := calls.Load(), time.Now()
		if err := wait(ctx, s.idling); err != nil {
			return nil, err
		}
		rates = append(rates, float64(calls.Load()-before)/time.Since(start).Seconds())
	}
	asked := figure{name: k.name + ": idle", unit: "statements/s", rounds: rates}
	if store.dialect == sqlstore.PostgreSQL {
		asked.unit, asked.bound = "calls of the server/s", bound{atMost, 2}
	}
	return []figure{asked, {
		name: fmt.Sprintf("%s: from Publish to the request, slowest of %d", k.name, len(pauses)),
		unit: "ms", rounds: latencies, bound: bound{atMost, 1000},
	}}, nil
}

// wokenOf measures how soon a Dispatcher that never polls delivers what another
// process has published, of which pgwake tells.
func wokenOf(ctx context.Context, k kind, s size, r *receiver) (_ []figure, err error) {
	store, err := k.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.close()) }()
	publisher, err := newDispatcher(pgwake.New(sqlstore.New(store.db, store.dialect), nil), inFlight, inFlight)
	if err != nil {
		return nil, err
	}
	if _, err := publisher.Register(ctx, webhook.Endpoint{URL: r.url + "/quick"}); err != nil {
		return nil, err
	}
	// As another process has it: nothing but the database is shared.
	db, err := sql.Open(store.driver, store.dsn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	config := newConfig(inFlight, inFlight)
	config.PollInterval = time.Hour
	deliverer, err := webhook.NewDispatcher(pgwake.New(sqlstore.New(db, store.dialect), func(ctx context.Context) (*pgx.Conn, error) {
		return pgx.Connect(ctx, store.dsn)
	}), config)
	if err != nil {
		return nil, err
	}
	var medians, p99s []float64
	err = whileRunning(ctx, deliverer, "", func() error {
		// No sample: it waits until the deliverer listens.
		if _, err := latencyOf(ctx, publisher, r, 0); err != nil {
			return err
		}
		latencies := make([]float64, s.woken)
		for range s.rounds {
			for n := range latencies {
				latency, err := latencyOf(ctx, publisher, r, quiet)
				if err != nil {
					return err
				}
				latencies[n] = float64(latency) / float64(time.Millisecond)
			}
			medians, p99s = append(medians, percentile(latencies, 50)), append(p99s, percentile(latencies, 99))
		}
		return nil
	})
	return []figure{
		{name: k.name + ": median from Publish to the request", unit: "ms", rounds: medians},
		{name: fmt.Sprintf("%s: p99 from Publish to the request of %d", k.name, s.woken), unit: "ms", rounds: p99s, bound: bound{atMost, 20}},
	}, err
}

// latencyOf publishes an event and returns how long it took to arrive.
func latencyOf(ctx context.Context, d *webhook.Dispatcher, r *receiver, pause time.Duration) (time.Duration, error) {
	answered, err := r.expect(1)
	if err != nil {
		return 0, err
	}
	if err := wait(ctx, pause); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := publishOne(ctx, d); err != nil {
		return 0, err
	}
	select {
	case err := <-answered:
		return time.Since(start), err
	case <-time.After(roundTimeout / 10):
		return 0, errors.New("the event did not arrive")
	}
}

// wait waits for so long, unless ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// counted opens the store's database once more, so that what is sent to its
// server is counted: a call is one or several messages that are sent at once,
// such as a statement with its arguments, or a check of the driver's whether the
// connection still works. SQLite has no server; its statements are counted, those
// that begin and end a transaction among them.
func (s *store) counted() (*sql.DB, *atomic.Int64, error) {
	calls := new(atomic.Int64)
	if s.dialect != sqlstore.PostgreSQL {
		count := func(sqlite3.TraceEvent, any, any) error {
			calls.Add(1)
			return nil
		}
		db, err := driver.Open(s.dsn, func(c *sqlite3.Conn) error { return c.Trace(sqlite3.TRACE_STMT, count) })
		return db, calls, err
	}
	config, err := pgx.ParseConfig(s.dsn)
	if err != nil {
		return nil, nil, err
	}
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		return countedConn{c, calls}, err
	}
	return stdlib.OpenDB(*config), calls, nil
}

// countedConn counts what is sent.
type countedConn struct {
	net.Conn
	calls *atomic.Int64
}

func (c countedConn) Write(b []byte) (int, error) {
	c.calls.Add(1)
	return c.Conn.Write(b)
}
