// Package pgwake lets processes that share a PostgreSQL database wake each other:
// what one publishes, another delivers within milliseconds, instead of at its
// next poll.
//
//	store := pgwake.New(sqlstore.New(db, sqlstore.PostgreSQL), func(ctx context.Context) (*pgx.Conn, error) {
//		return pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
//	})
//	dispatcher, err := webhook.NewDispatcher(store, webhook.Config{})
//
// It does so by NOTIFY and LISTEN. A process that runs its Dispatcher keeps one
// connection more than before, for listening; one that only publishes does not.
//
// A wake-up is a hint. Deliveries are found by polling, as they are without this
// package, when a notification could not be sent, while the listening connection
// is broken, or when another process publishes through a plain [sqlstore.Store].
//
// # What it costs
//
// PostgreSQL lets only one transaction at a time commit with a notification in
// it. Publishing on its own therefore does not notify in its transaction but
// after it, once for all that was published in the meantime: the first at once,
// and from then on every 5 milliseconds at most.
//
// Under [sqlstore.Store.WithTx] and WithQuerier, the notification is a part of
// the caller's transaction, by one more query for each Publish: it arrives if and
// when that commits, in this process too, whose Dispatcher could not know
// otherwise. Such transactions commit one after the other, throughout the
// database server; 32 at a time on two cores were three times slower than
// without. They cannot be prepared for a two-phase commit, and fail to commit
// while the server's queue of notifications is full, which takes a listening
// session that stays in one transaction until there are 8 GB. Where this is too
// much, publish in transactions by a second Dispatcher, on the embedded
// [sqlstore.Store], and leave these events to polling.
package pgwake

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// channel is what notifications are sent through. Their payload is the table
// prefix, so that stores in one database do not wake each other.
const channel = "outhook"

const (
	interval     = 5 * time.Millisecond // between two notifications
	timeout      = 5 * time.Second      // of sending one, and of closing a connection
	firstBackOff = 100 * time.Millisecond
	maxBackOff   = 10 * time.Second
)

// Store is a [sqlstore.Store] that notifies when it has stored deliveries, and
// implements [webhook.Waker]. It need not be closed.
type Store struct {
	*sqlstore.Store
	connect  func(context.Context) (*pgx.Conn, error)
	notifier notifier
}

// New returns a store that works on the given one, and listens on a connection
// that connect opens, whenever one is needed, and Wakes closes. It is a
// connection to the database of the store, by the server itself: a pooler in
// transaction mode, such as PgBouncer, accepts LISTEN but passes nothing on, and
// a standby refuses it. Publishing may go through the pooler.
//
// Errors of connect are not reported, but followed by another call after 0.1 to
// 10 seconds; connect may log them. It may be nil in a process that only
// publishes.
func New(store *sqlstore.Store, connect func(ctx context.Context) (*pgx.Conn, error)) *Store {
	s := &Store{Store: store, connect: connect}
	s.notifier.send = func() {
		q, _ := s.Querier(context.Background())
		_ = s.notify(context.Background(), q) // if it fails, the next poll finds what there is
	}
	return s
}

// Unwrap returns the store that this one works on.
func (s *Store) Unwrap() webhook.Store { return s.Store }

// Enqueue implements [webhook.Queue], and notifies if there is something to
// deliver. In the caller's own transaction, a failed notification is an error,
// since it has aborted the transaction; elsewhere it is ignored.
func (s *Store) Enqueue(ctx context.Context, ps []webhook.Publication) ([]webhook.Enqueued, error) {
	results, err := s.Store.Enqueue(ctx, ps)
	if err != nil || !claimable(ps, results) {
		return results, err
	}
	q, inTransaction := s.Querier(ctx)
	if !inTransaction {
		s.notifier.add()
		return results, nil
	}
	if err := s.notify(ctx, q); err != nil {
		return nil, fmt.Errorf("enqueue: notify: %w", err)
	}
	return results, nil
}

// Wakes implements [webhook.Waker]. The channel also receives whenever a
// connection has been opened, since something may have been missed before. The
// connection is closed soon after ctx has ended.
func (s *Store) Wakes(ctx context.Context) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.connect == nil {
		return nil, fmt.Errorf("pgwake: %w: connect is nil", webhook.ErrInvalid)
	}
	wakes := make(chan struct{}, 1)
	go s.listen(ctx, wakes)
	return wakes, nil
}

// claimable reports whether deliveries were created that are due at once, and not
// behind others: who had room for these was woken for the first of them, and who has
// it later claims then, or polls. Where some might have been handed over, those that
// were are in Created.
func claimable(ps []webhook.Publication, results []webhook.Enqueued) bool {
	for n := range results {
		r := &results[n]
		d := r.Deliveries - r.Behind
		if d > 0 && (ps[n].Lease == 0 || ps[n].Endpoints == nil && d > len(r.Created)) {
			return true
		}
	}
	return false
}

// notify sends a notification. It is not cut short with ctx: what is stored stays
// stored, unless the transaction itself breaks.
func (s *Store) notify(ctx context.Context, q sqlstore.Querier) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	rows, err := q.Query(ctx, "SELECT pg_notify($1, $2)", channel, s.TablePrefix())
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

// listen passes notifications on until ctx ends, on one connection after another.
func (s *Store) listen(ctx context.Context, wakes chan<- struct{}) {
	delays := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstBackOff), backoff.WithMaxInterval(maxBackOff), backoff.WithMaxElapsedTime(0))
	_ = backoff.Retry(func() error {
		start := time.Now()
		err := s.receive(ctx, wakes)
		if time.Since(start) > maxBackOff { // it had worked
			delays.Reset()
		}
		return err
	}, backoff.WithContext(delays, ctx))
}

// receive passes notifications on until the connection breaks.
func (s *Store) receive(ctx context.Context, wakes chan<- struct{}) error {
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	wake(wakes)
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		if n.Channel == channel && n.Payload == s.TablePrefix() {
			wake(wakes)
		}
	}
}

// wake sends unless something is waiting there already.
func wake(wakes chan<- struct{}) {
	select {
	case wakes <- struct{}{}:
	default:
	}
}

// notifier sends the first notification at once and further ones, each for all
// that were added meanwhile, at intervals. Its goroutine lives while there is
// something to do.
type notifier struct {
	send func()

	mu             sync.Mutex
	added, running bool
}

func (n *notifier) add() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.added = true
	if !n.running {
		n.running = true
		go n.run()
	}
}

func (n *notifier) run() {
	for n.next() {
		n.send()
		time.Sleep(interval)
	}
}

// next reports whether there is something to send.
func (n *notifier) next() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running, n.added = n.added, false
	return n.running
}
