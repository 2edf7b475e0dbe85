package crash

import (
	"bufio"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// Sender is a program that publishes and delivers until its standard input ends,
// and then drains; or until it is killed. It reads, a line each:
//
//	publish <event>  to be published once more: it may have been published
//	go               the end of these
//
// and writes:
//
//	try <event>          before it is published
//	accepted <event>     after that
//	delivered <delivery> the outcome is in the store
//	stale <delivery>     the store has refused an outcome
//	idle                 a claim found nothing
//	kill <point>         it is about to kill itself
//	failed <text>        something that should not
type Sender struct {
	Database    Database
	Generation  int  // of the process, sent with each request
	Publishers  int  // that publish all the time, one event after another
	Drain       bool // end when nothing is pending
	Point       Point
	Pass        int // of the point, at which it kills itself
	Lease       time.Duration
	Timeout     time.Duration
	Poll        time.Duration // zero for 100ms
	Concurrency int
}

// run is the program.
func (s *Sender) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	k := &killer{point: s.Point, report: report}
	k.left.Store(int64(s.Pass))
	db, store, err := s.Database.Open(k.statement)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	d, err := webhook.NewDispatcher(watched{store, k}, s.config())
	if err != nil {
		return err
	}
	var uncertain []EventID
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() && in.Text() != "go" {
		id, err := ParseEventID(strings.TrimPrefix(in.Text(), "publish "))
		if err != nil {
			return err
		}
		uncertain = append(uncertain, id)
	}
	go func() {
		for in.Scan() {
		}
		cancel()
	}()

	p := publisher{d: d, db: db, store: store, killer: k}
	var work sync.WaitGroup
	var failed error
	work.Go(func() { failed = d.Run(k.tracing(ctx)) })
	for _, id := range uncertain {
		p.publish(ctx, id)
	}
	for n := range s.Publishers {
		work.Go(func() { p.run(ctx, s.Generation, n) })
	}
	if s.Drain {
		work.Go(func() { failed = errors.Join(failed, untilEmpty(ctx, d)); cancel() })
	}
	work.Wait()
	return failed
}

// report writes a line, at once and whole.
func report(words ...string) { _, _ = os.Stdout.WriteString(strings.Join(words, " ") + "\n") }

// The headers by which the receiver knows the attempt.
const (
	headerDelivery   = "X-Delivery"
	headerGeneration = "X-Generation"
	headerStarted    = "X-Started" // microseconds, as in Attempt.StartedAt
)

func (s *Sender) config() webhook.Config {
	headers := func(m webhook.Message) http.Header {
		return http.Header{
			headerDelivery:   {m.DeliveryID},
			headerGeneration: {strconv.Itoa(s.Generation)},
			headerStarted:    {strconv.FormatInt(m.Timestamp.UnixMicro(), 10)},
		}
	}
	logger := zap.Must(zap.Config{
		Level: zap.NewAtomicLevelAt(zap.ErrorLevel), Encoding: "console", EncoderConfig: zap.NewDevelopmentEncoderConfig(),
		OutputPaths: []string{"stderr"}, ErrorOutputPaths: []string{"stderr"},
	}.Build())
	return webhook.Config{
		Profile: webhook.Profile{
			Headers: headers, Timeout: s.Timeout,
			Retry: webhook.Exponential{Initial: 50 * time.Millisecond, Max: 500 * time.Millisecond, Multiplier: 2, MaxAttempts: 1000},
		},
		Network:      webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Concurrency:  s.Concurrency,
		Lease:        s.Lease,
		PollInterval: cmp.Or(s.Poll, 100*time.Millisecond),
		Logger:       logger,
		Observer: webhook.ObserverFunc(func(_ context.Context, n webhook.Notice) {
			switch n := n.(type) {
			case webhook.DeliveryDelivered:
				report("delivered", n.Delivery.ID)
			case webhook.DeliveryExhausted:
				report("failed", "delivery", n.Delivery.ID, "of event", n.Delivery.EventID, "was given up")
			}
		}),
	}
}

// publisher publishes events of all kinds.
type publisher struct {
	d      *webhook.Dispatcher
	db     *sql.DB
	store  *sqlstore.Store
	killer *killer
}

// run publishes until ctx ends.
func (p publisher) run(ctx context.Context, generation, publisher int) {
	pause := time.NewTicker(publishEvery)
	defer pause.Stop()
	kinds := [...]Kind{Plain, InTx, Batch, Undo}
	for n := 0; ctx.Err() == nil; n++ {
		p.publish(ctx, EventID{Generation: generation, Publisher: publisher, Seq: 2 * n, Kind: kinds[n%len(kinds)]})
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

const publishEvery = 20 * time.Millisecond

// publish publishes an event, a Batch together with the next.
func (p publisher) publish(ctx context.Context, id EventID) {
	ids := []EventID{id}
	if id.Kind == Batch {
		ids = append(ids, EventID{id.Generation, id.Publisher, id.Seq + 1, Batch})
	}
	for _, id := range ids {
		report("try", id.String())
	}
	var err error
	switch id.Kind {
	case Plain:
		_, err = p.d.Publish(ctx, id.event())
	case Batch:
		_, err = p.d.PublishBatch(ctx, []webhook.Event{ids[0].event(), ids[1].event()})
	default:
		err = p.inTransaction(ctx, id)
	}
	switch {
	case err != nil && ctx.Err() == nil:
		report("failed", "to publish", id.String(), strconv.Quote(err.Error()))
	case err == nil && id.Kind != Undo:
		for _, id := range ids {
			report("accepted", id.String())
		}
	}
}

// inTransaction publishes the event together with a business row.
func (p publisher) inTransaction(ctx context.Context, id EventID) error {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (id) VALUES ($1)", id.String()); err != nil {
		return err
	}
	within := context.WithValue(p.store.WithTx(ctx, tx), inTransaction{}, true)
	if _, err := p.d.Publish(within, id.event()); err != nil {
		return err
	}
	p.killer.pass(Committing)
	if id.Kind == Undo {
		return tx.Rollback()
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	p.killer.pass(Enqueued)
	return nil
}

// untilEmpty returns when nothing is pending.
func untilEmpty(ctx context.Context, d *webhook.Dispatcher) error {
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		page, err := d.Deliveries(ctx, webhook.DeliveryFilter{States: []webhook.State{webhook.StatePending}, Limit: 1})
		if err != nil || len(page.Items) == 0 {
			return err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
