package faults

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	_ "modernc.org/sqlite"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/crash/hookdb"
	"github.com/outhook/webhook/sqlstore"
)

// site is an application with a database that fails, a Dispatcher that runs, and
// receivers that do not fail. It knows what was accepted, and what was refused.
type site struct {
	d     *webhook.Dispatcher
	store *sqlstore.Store
	logs  *observer.ObservedLogs
	end   func() // ends Run

	mu        sync.Mutex
	key       string // OrderingKey of the next events
	behind    int    // the backlog that is not to keep the publishers waiting
	events    int
	accepted  map[string]bool
	refused   map[string]bool // with an error that says that nothing was stored
	uncertain map[string]bool
	received  map[string]map[string]bool // endpoints by event
	notices   []webhook.Notice           // StoreFailed and StoreRecovered
	delivered int                        // DeliveryDelivered notices
	spoiled   int                        // attempts whose record is not whole
	answer    chan struct{}              // unless nil, what requests wait for
	waiting   int                        // requests, since hold
	changed   chan struct{}              // closed and replaced at every change
}

// endpoints are those of a site, by ID: each receives everything.
var endpoints = map[string]webhook.Endpoint{
	"plain":   {},
	"ordered": {Ordered: true},
	"flaky":   {}, // the first request for some events fails
}

// newSite starts a site on an empty database.
func newSite(t *testing.T, db *sql.DB, dialect sqlstore.Dialect) *site {
	t.Helper()
	// What is cleaned up before this check are the things that start goroutines.
	ignored := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignored) })
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &site{
		store: sqlstore.New(db, dialect), key: "first", accepted: make(map[string]bool), refused: make(map[string]bool),
		uncertain: make(map[string]bool), received: make(map[string]map[string]bool), changed: make(chan struct{}),
	}
	if err := s.store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	receiver := httptest.NewServer(http.HandlerFunc(s.receive))
	t.Cleanup(receiver.Close)
	core, logs := observer.New(zap.InfoLevel)
	s.logs = logs
	var err error
	s.d, err = webhook.NewDispatcher(s.store, webhook.Config{
		Profile: webhook.Profile{
			Timeout: 2 * time.Second,
			Retry:   webhook.Exponential{Initial: 50 * time.Millisecond, Max: 500 * time.Millisecond, Multiplier: 2, MaxAttempts: 1000},
		},
		Network:      webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Concurrency:  32,
		PollInterval: 100 * time.Millisecond,
		Lease:        3 * time.Second,
		Logger:       zap.New(core),
		Observer:     webhook.ObserverFunc(s.observe),
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, e := range endpoints {
		e.ID, e.URL = id, receiver.URL+"/"+id
		if _, err := s.d.Register(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.d.Run(ctx) }()
	s.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.end)
	return s
}

// receive is the handler of all receivers.
func (s *site) receive(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // else the server would not see it when the client goes
	if answer := s.arrive(); answer != nil {
		select {
		case <-answer:
		case <-r.Context().Done():
		}
	}
	id, endpoint := r.Header.Get("Webhook-Id"), strings.TrimPrefix(r.URL.Path, "/")
	defer s.change()()
	if s.received[id] == nil {
		s.received[id] = make(map[string]bool)
	}
	if first := !s.received[id][endpoint]; first && endpoint == "flaky" && strings.HasSuffix(id, "0") {
		w.WriteHeader(http.StatusInternalServerError)
	}
	s.received[id][endpoint] = true
}

// arrive counts a request, and returns what it must wait for, if it must.
func (s *site) arrive() (answer <-chan struct{}) {
	defer s.change()()
	s.waiting++
	return s.answer
}

// hold keeps requests waiting for their answer, and returns when so many are; they
// wait until the function that it returns is called.
func (s *site) hold(t *testing.T, n int) (answer func()) {
	t.Helper()
	c := make(chan struct{})
	s.mu.Lock()
	s.answer, s.waiting = c, 0
	s.mu.Unlock()
	s.await(t, "requests", func() bool { return s.waiting >= n })
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		close(c)
		s.answer = nil
	}
}

// observe is the Observer.
func (s *site) observe(_ context.Context, n webhook.Notice) {
	defer s.change()()
	switch n.(type) {
	case webhook.StoreFailed, webhook.StoreRecovered:
		s.notices = append(s.notices, n)
	case webhook.DeliveryDelivered:
		s.delivered++
	}
}

// change locks the site, until the function that it returns is called, which
// lets those look again that wait for something.
func (s *site) change() (done func()) {
	s.mu.Lock()
	return func() {
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
}

// patience is how long a test waits for what must come.
const patience = time.Minute

// await waits until the condition, which is called under the lock, is true.
func (s *site) await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		met, changed := condition(), s.changed
		s.mu.Unlock()
		if met {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("in a minute, no %s", what)
		}
	}
}

// awaitDelivered waits until so many deliveries more have been delivered.
func (s *site) awaitDelivered(t *testing.T, n int) {
	t.Helper()
	s.mu.Lock()
	n += s.delivered
	s.mu.Unlock()
	s.await(t, "deliveries", func() bool { return s.delivered >= n })
}

// awaitFailure waits until the store fails to claim or to settle.
func (s *site) awaitFailure(t *testing.T) {
	t.Helper()
	s.await(t, "failure of the store", func() bool { return s.failing() > 0 })
}

// failing returns how many operations fail.
func (s *site) failing() (n int) {
	for _, notice := range s.notices {
		if _, failed := notice.(webhook.StoreFailed); failed {
			n++
		} else {
			n--
		}
	}
	return n
}

// publishUntilRefused publishes until that fails.
func (s *site) publishUntilRefused(t *testing.T) {
	t.Helper()
	for range 10_000 {
		if s.publish(t.Context(), s.newID()) != nil {
			return
		}
	}
	t.Fatal("nothing is refused")
}

// awaitFresh waits until so many events that are published from now on have been
// received everywhere.
func (s *site) awaitFresh(t *testing.T, n int) {
	t.Helper()
	s.mu.Lock()
	before := maps.Clone(s.accepted)
	s.mu.Unlock()
	s.await(t, "deliveries of fresh events", func() bool {
		done := 0
		for id := range s.accepted {
			if !before[id] && len(s.received[id]) == len(endpoints) {
				done++
			}
		}
		return done >= n
	})
}

func event(id string) webhook.Event {
	key, _, _ := strings.Cut(id, "-")
	return webhook.Event{ID: id, Type: "thing.happened", OrderingKey: key, Time: time.Unix(1_700_000_000, 0), Data: map[string]string{"id": id}}
}

// newID returns the ID of an event that is about to be published.
func (s *site) newID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events++
	return fmt.Sprintf("%s-%d", s.key, s.events)
}

// newKey makes the events from now on independent of those before: of their order,
// and of how many of them are pending.
func (s *site) newKey(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key, s.behind = key, s.backlog()
}

// accept notes that an event was accepted.
func (s *site) accept(id string) {
	defer s.change()()
	s.accepted[id] = true
}

// publish publishes an event and notes what came of it.
func (s *site) publish(ctx context.Context, id string) error {
	_, err := s.d.Publish(ctx, event(id))
	defer s.change()()
	switch {
	case err == nil:
		s.accepted[id] = true
		delete(s.uncertain, id)
	case errors.Is(err, webhook.ErrUncertain):
		s.uncertain[id] = true
	default:
		s.refused[id] = true
	}
	return err
}

// load is publishers that publish all the time, as long as the deliveries keep up.
type load struct {
	cancel     context.CancelFunc
	publishers sync.WaitGroup
}

func (s *site) load(t *testing.T, publishers int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	for range publishers {
		l.publishers.Go(func() {
			for pause := time.NewTicker(20 * time.Millisecond); ; {
				select {
				case <-pause.C:
				case <-ctx.Done():
					pause.Stop()
					return
				}
				if s.keepsUp() {
					_ = s.publish(context.WithoutCancel(ctx), s.newID())
				}
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (s *site) keepsUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.backlog() < s.behind+maxBacklog
}

const maxBacklog = 60

func (s *site) backlog() int { return len(s.accepted)*len(endpoints) - s.delivered }

func (l *load) stop() {
	l.cancel()
	l.publishers.Wait()
}

// check lets the Dispatcher deliver what is pending, ends it and checks that
// nothing is lost, and that it told of so many outages once each.
func (s *site) check(t *testing.T, outages int) {
	t.Helper()
	for _, id := range slices.Collect(maps.Keys(s.uncertain)) {
		if err := s.publish(t.Context(), id); err != nil {
			t.Errorf("%s may have been stored, and cannot be published again: %v", id, err)
		}
	}
	s.awaitEmpty(t)
	s.await(t, "recovery of the store", func() bool { return s.failing() == 0 }) // attending has its turn every 10 seconds
	s.end()
	s.checkNotices(t, outages)

	deliveries := make(map[string][]webhook.Delivery) // by event
	for f := (webhook.DeliveryFilter{Limit: 1000}); ; {
		page, err := s.d.Deliveries(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Items {
			deliveries[d.EventID] = append(deliveries[d.EventID], d)
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			break
		}
	}
	lost := 0
	for id := range s.accepted {
		if len(deliveries[id]) != len(endpoints) || len(s.received[id]) != len(endpoints) {
			lost++
			t.Errorf("%s was accepted, has %d deliveries and was received by %d endpoints, want %d", id, len(deliveries[id]), len(s.received[id]), len(endpoints))
		}
	}
	for id, ds := range deliveries {
		if !s.accepted[id] {
			t.Errorf("%s was not accepted, and has been stored all the same", id)
		}
		for _, d := range ds {
			s.checkLog(t, d)
		}
	}
	t.Logf("%d events accepted, %d lost; %d refused; %d attempts recorded without their headers; notices: %s",
		len(s.accepted), lost, len(s.refused), s.spoiled, s.summary())
}

// checkLog checks that the log of a delivery ends with its only success.
func (s *site) checkLog(t *testing.T, d webhook.Delivery) {
	t.Helper()
	attempts, err := s.d.Attempts(t.Context(), d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if d.State != webhook.StateDelivered || d.Attempts != len(attempts) {
		t.Errorf("delivery %s of %s is %s after %d attempts, %d of them logged", d.ID, d.EventID, d.State, d.Attempts, len(attempts))
	}
	for n, a := range attempts {
		if last := n == len(attempts)-1; a.Number != n+1 || (a.Error == "") != last {
			t.Errorf("delivery %s of %s: attempt %d of %d has number %d and error %q", d.ID, d.EventID, n+1, len(attempts), a.Number, a.Error)
		}
		if len(a.RequestHeaders) == 0 {
			s.spoiled++
		}
	}
}

// checkNotices checks that each operation failed at most so often, has recovered
// each time, and that the log says the same.
func (s *site) checkNotices(t *testing.T, outages int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	failing, failures := make(map[string]bool), make(map[string]int)
	total := 0
	for _, n := range s.notices {
		switch n := n.(type) {
		case webhook.StoreFailed:
			if failing[n.Operation] {
				t.Errorf("%s: told twice that it fails", n.Operation)
			}
			failing[n.Operation] = true
			total++
			if failures[n.Operation]++; failures[n.Operation] > outages {
				t.Errorf("%s failed for the time number %d in %d outages: %v", n.Operation, failures[n.Operation], outages, n.Err)
			}
		case webhook.StoreRecovered:
			if !failing[n.Operation] {
				t.Errorf("%s: told that it works again, and it did not fail", n.Operation)
			}
			failing[n.Operation] = false
		}
	}
	for operation, fails := range failing {
		if fails {
			t.Errorf("%s: not told that it works again", operation)
		}
	}
	if logged := s.logs.FilterMessage("the store fails; retrying").Len(); logged != total {
		t.Errorf("%d failures were logged, the Observer was told of %d", logged, total)
	}
}

// summary counts the notices by operation.
func (s *site) summary() string {
	counts := make(map[string]int)
	for _, n := range s.notices {
		switch n := n.(type) {
		case webhook.StoreFailed:
			counts[n.Operation+" failed"]++
		case webhook.StoreRecovered:
			counts[n.Operation+" recovered"]++
		}
	}
	return fmt.Sprint(counts)
}

// awaitEmpty waits until nothing is pending.
func (s *site) awaitEmpty(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		page, err := s.d.Deliveries(ctx, webhook.DeliveryFilter{States: []webhook.State{webhook.StatePending}, Limit: 1})
		if err == nil && len(page.Items) == 0 {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("deliveries stay pending: %+v, error %v", page.Items, err)
		}
	}
}

// postgreSQL opens a database of a DSN.
func postgreSQL(t *testing.T, dsn string, hook hookdb.Hook) *sql.DB {
	t.Helper()
	if hook == nil {
		hook = func(context.Context, string) (func() error, error) { return nil, nil }
	}
	db, err := hookdb.Open("pgx", dsn, hook)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(10)
	return db
}

// sqlite opens a new database file.
func sqlite(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN(filepath.Join(t.TempDir(), "webhooks.db")))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func pragma(t *testing.T, db *sql.DB, text string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}
