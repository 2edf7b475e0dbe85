package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
)

const (
	maxGroup      = 256     // calls that share a transaction
	maxGroupBytes = 4 << 20 // of their data
	// lockTimeout is how long a group waits for a transaction that holds one of
	// its events, before its calls go separate ways.
	lockTimeout = 30 * time.Millisecond
	// patience is how long a call that must wait tries before another one does.
	patience     = 250 * time.Millisecond
	groupTimeout = time.Minute
	// giveBackTimeout is how long a group may take to give back what was handed
	// over to nobody.
	giveBackTimeout = time.Second
)

// call is one call of Enqueue.
type call struct {
	ps      []webhook.Publication
	results []webhook.Enqueued
	err     error
	alone   bool // it is to be repeated apart from the group
	stage   atomic.Int32
	done    chan struct{} // closed when the group is through with it
}

// The stages of a call, on which its caller and the group's transaction agree.
const (
	waiting   = iota
	given     // up by the caller, before the transaction took it
	taken     // by the transaction
	abandoned // by the caller, after that
	through   // the caller can have the results
)

func newCall(ps []webhook.Publication) *call {
	return &call{ps: ps, results: make([]webhook.Enqueued, len(ps)), done: make(chan struct{})}
}

// Enqueue implements [webhook.Queue]. Concurrent calls share a transaction,
// except those under [Store.WithTx], without one suffering from another.
func (s *Store) Enqueue(ctx context.Context, ps []webhook.Publication) ([]webhook.Enqueued, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if len(ps) == 0 {
		return nil, nil
	}
	size := 0
	for n := range ps {
		if err := checkPublication(&ps[n]); err != nil {
			return nil, err
		}
		size += len(ps[n].Event.Data)
	}
	if !s.groupable(ctx, ps) {
		return s.enqueueAlone(ctx, ps)
	}
	c := newCall(ps)
	if err := s.groups.Add(ctx, c, size); err != nil {
		return nil, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		if c.stage.CompareAndSwap(waiting, given) {
			return nil, ctx.Err()
		}
		if c.stage.CompareAndSwap(taken, abandoned) {
			return nil, fmt.Errorf("enqueue: %w: %w", webhook.ErrUncertain, ctx.Err())
		}
	}
	if c.alone {
		return s.enqueueAlone(ctx, ps)
	}
	if c.err != nil {
		return nil, c.err
	}
	return c.results, nil
}

// checkPublication refuses what no database of the dialects can keep.
func checkPublication(p *webhook.Publication) error {
	e := &p.Event
	for _, text := range []string{e.ID, e.Key, e.Type, e.Tenant, e.OrderingKey} {
		if !isStorable(text) {
			return fmt.Errorf("enqueue event %q: %w: %.64q is no UTF-8 without NUL", e.ID, webhook.ErrInvalid, text)
		}
	}
	return nil
}

// HandsOver implements [webhook.HandOver]: not in the caller's transaction, which
// may yet fail, and on PostgreSQL alone.
func (s *Store) HandsOver(ctx context.Context) bool {
	_, ok := s.dialect.(postgreSQL)
	return ok && s.transaction(ctx) == nil
}

// handedOver returns how many deliveries of a publication may be.
func handedOver(p *webhook.Publication) int {
	if p.Endpoints != nil || p.Lease <= 0 {
		return 0
	}
	return p.Places
}

// groupable reports whether the call may share a transaction with others.
func (s *Store) groupable(ctx context.Context, ps []webhook.Publication) bool {
	if s.transaction(ctx) != nil || len(ps) > maxGroup || repeats(ps) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range ps {
		if ps[n].Endpoints != nil {
			return false
		}
		for _, i := range identitiesOf(&ps[n]) {
			if s.held[i] > 0 {
				return false
			}
		}
	}
	return true
}

// identity is what makes two publications the same event: the ID, or the key of
// a tenant.
type identity struct{ id, tenant, key string }

func identitiesOf(p *webhook.Publication) []identity {
	if p.Event.Key == "" {
		return []identity{{id: p.Event.ID}}
	}
	return []identity{{id: p.Event.ID}, {tenant: p.Event.Tenant, key: p.Event.Key}}
}

// identities are those of several calls.
type identities map[identity]struct{}

// add adds those of a call, unless one of them is there already.
func (is identities) add(ps []webhook.Publication) bool {
	for n := range ps {
		for _, i := range identitiesOf(&ps[n]) {
			if _, known := is[i]; known {
				return false
			}
		}
	}
	for n := range ps {
		for _, i := range identitiesOf(&ps[n]) {
			is[i] = struct{}{}
		}
	}
	return true
}

// repeats reports whether two of the publications are the same event.
func repeats(ps []webhook.Publication) bool {
	if len(ps) == 1 {
		return false
	}
	known := make(identities, len(ps))
	for n := range ps {
		if !known.add(ps[n : n+1]) {
			return true
		}
	}
	return false
}

// commitGroup stores calls in one transaction. If that fails, each is left to its
// caller, unless the outcome is unknown.
func (s *Store) commitGroup(calls []*call) {
	together, known := make([]*call, 0, len(calls)), make(identities, len(calls))
	for _, c := range calls {
		switch {
		case !c.stage.CompareAndSwap(waiting, taken): // its caller is gone
		case known.add(c.ps):
			together = append(together, c)
		default:
			c.alone = true
			defer close(c.done)
		}
	}
	if len(together) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
	defer cancel()
	err := s.transact(ctx, lasting, func(q Querier) error { return s.dialect.enqueue(ctx, s, q, together, lockTimeout) })
	var gone []*call
	for _, c := range together {
		if err != nil && !errors.Is(err, webhook.ErrUncertain) {
			c.alone = true
		} else if err != nil {
			c.err = fmt.Errorf("enqueue: %w", err)
		}
		if !c.stage.CompareAndSwap(taken, through) && err == nil {
			gone = append(gone, c)
		}
		close(c.done)
	}
	s.giveBack(gone)
}

// giveBack returns to the queue what was handed over to callers who are gone. Where
// that fails, it returns when its lease ends. Further calls wait meanwhile.
func (s *Store) giveBack(calls []*call) {
	var ss []webhook.Settlement
	for _, call := range calls {
		for _, r := range call.results {
			for _, c := range r.Created {
				ss = append(ss, webhook.Settlement{DeliveryID: c.Delivery.ID, Lease: c.Lease, State: webhook.StatePending})
			}
		}
	}
	if len(ss) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), giveBackTimeout)
	defer cancel()
	_, _ = s.Settle(ctx, ss)
}

// enqueueAlone stores the publications of one call, in the caller's transaction
// or one of its own.
func (s *Store) enqueueAlone(ctx context.Context, ps []webhook.Publication) ([]webhook.Enqueued, error) {
	if s.transaction(ctx) != nil {
		return s.tryEnqueue(ctx, ps, 0)
	}
	defer s.holding(ps)()
	results, err := s.tryEnqueue(ctx, ps, lockTimeout)
	// Somebody's open transaction holds one of the events. However many calls
	// wait for such, they take up one connection together.
	for sqlState(err) == lockNotAvailable {
		select {
		case s.patient <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		results, err = s.tryEnqueue(ctx, ps, patience)
		<-s.patient
	}
	return results, err
}

// lockNotAvailable is what ends a transaction after its lock timeout.
const lockNotAvailable = "55P03"

func (s *Store) tryEnqueue(ctx context.Context, ps []webhook.Publication, lockTimeout time.Duration) (results []webhook.Enqueued, err error) {
	err = s.write(ctx, func(q Querier) (err error) {
		results, err = s.enqueueIn(ctx, q, ps, lockTimeout)
		return err
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// holding notes that what these publications wait for would hold up a group,
// until the function that it returns is called.
func (s *Store) holding(ps []webhook.Publication) (release func()) {
	add := func(n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range ps {
			for _, id := range identitiesOf(&ps[i]) {
				if s.held[id] += n; s.held[id] == 0 {
					delete(s.held, id)
				}
			}
		}
	}
	add(1)
	return func() { add(-1) }
}

// enqueueIn stores the publications of one call in a transaction, all or none.
func (s *Store) enqueueIn(ctx context.Context, q Querier, ps []webhook.Publication, lockTimeout time.Duration) ([]webhook.Enqueued, error) {
	if !repeats(ps) {
		return s.enqueueDistinct(ctx, q, ps, lockTimeout)
	}
	// Those that repeat others find them stored.
	if _, err := s.exec(ctx, q, "SAVEPOINT one_call"); err != nil {
		return nil, err
	}
	results := make([]webhook.Enqueued, 0, len(ps))
	for n := range ps {
		r, err := s.enqueueDistinct(ctx, q, ps[n:n+1], lockTimeout)
		if err != nil {
			_, undo := s.exec(ctx, q, "ROLLBACK TO SAVEPOINT one_call")
			return nil, errors.Join(err, undo)
		}
		results = append(results, r...)
	}
	_, err := s.exec(ctx, q, "RELEASE SAVEPOINT one_call")
	return results, err
}

func (s *Store) enqueueDistinct(ctx context.Context, q Querier, ps []webhook.Publication, lockTimeout time.Duration) ([]webhook.Enqueued, error) {
	c := newCall(ps)
	if err := s.dialect.enqueue(ctx, s, q, []*call{c}, lockTimeout); err != nil {
		return nil, err
	}
	if c.err != nil {
		return nil, c.err
	}
	var addressed []*webhook.Publication
	for n := range ps {
		if ps[n].Endpoints != nil {
			addressed = append(addressed, &ps[n])
		}
	}
	if len(addressed) == 0 {
		return c.results, nil
	}
	created, err := s.dialect.address(ctx, s, q, addressed)
	if err != nil {
		return nil, err
	}
	claimed, err := s.readClaimed(ctx, q, created)
	if err != nil {
		return nil, err
	}
	for n := range ps {
		if ps[n].Endpoints == nil {
			continue
		}
		r := &c.results[n]
		r.Created = claimed[ps[n].Event.ID]
		r.Deliveries = len(r.Created)
		slices.SortFunc(r.Created, func(a, b webhook.Claimed) int {
			return slices.Index(ps[n].Endpoints, a.Delivery.EndpointID) - slices.Index(ps[n].Endpoints, b.Delivery.EndpointID)
		})
	}
	return c.results, nil
}

// readClaimed reads deliveries as a claim returns them. It is given their IDs by
// event, and so returns them.
func (s *Store) readClaimed(ctx context.Context, q Querier, ids map[string][]string) (map[string][]webhook.Claimed, error) {
	var events, deliveries []string
	for event, created := range ids {
		events = append(events, event)
		deliveries = append(deliveries, created...)
	}
	read := make(map[string]*webhook.EventRecord, len(events))
	err := s.query(ctx, q, "SELECT "+eventColumns+" FROM outhook_events WHERE "+s.dialect.member("id", "text", "$1"),
		[]any{s.dialect.list(events)}, func(rows Rows) error {
			e := new(webhook.EventRecord)
			err := scanEvent(rows, e)
			read[e.ID] = e
			return err
		})
	if err != nil {
		return nil, err
	}
	endpoints := make(map[string]*webhook.EndpointRecord)
	claimed := make(map[string][]webhook.Claimed, len(events))
	err = s.query(ctx, q, "SELECT "+pendingColumns+", lease, expired FROM outhook_pending WHERE "+s.dialect.member("id", "uuid", "$1"),
		[]any{s.dialect.list(deliveries)}, func(rows Rows) error {
			var c webhook.Claimed
			err := scanDelivery(rows, &c.Delivery, &c.Lease, &c.Expired)
			c.Event = read[c.Delivery.EventID]
			claimed[c.Delivery.EventID] = append(claimed[c.Delivery.EventID], c)
			endpoints[c.Delivery.EndpointID] = nil
			return err
		})
	if err != nil {
		return nil, err
	}
	for id := range endpoints {
		e, err := s.readEndpoint(ctx, q, id)
		if err != nil {
			return nil, err
		}
		endpoints[id] = &e
	}
	for _, cs := range claimed {
		for n := range cs {
			cs[n].Endpoint = endpoints[cs[n].Delivery.EndpointID]
		}
	}
	return claimed, nil
}

// set records what became of a publication; status is one of those below.
func (c *call) set(n int, event, status string, deliveries int) {
	switch p := &c.ps[n].Event; status {
	case statusNew, statusKnown, statusUndone:
		c.results[n] = webhook.Enqueued{EventID: event, Deliveries: deliveries}
	case statusDuplicate:
		c.results[n] = webhook.Enqueued{EventID: event, Duplicate: true}
	case statusOtherKey:
		c.err = fmt.Errorf("enqueue event %q: %w: its key is that of another event", p.ID, webhook.ErrConflict)
	default:
		c.err = fmt.Errorf("enqueue event %q: %w: its ID or key was used for other content", p.ID, webhook.ErrConflict)
	}
}

// What can become of a publication.
const (
	statusNew       = "new"            // stored
	statusKnown     = "known"          // stored already, and addressed to certain endpoints
	statusDuplicate = "duplicate"      // stored already
	statusOtherKey  = "key of another" // a conflict
	statusOther     = "other content"  // a conflict
	statusUndone    = "undone"         // another of the same call is a conflict
)
