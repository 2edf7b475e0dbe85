package webhook

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/outhook/webhook/internal/chain"
	"github.com/outhook/webhook/internal/cursor"
	"github.com/outhook/webhook/internal/fair"
	"github.com/outhook/webhook/internal/tally"
)

// Store keeps endpoints, events, deliveries and attempts. Package sqlstore has
// one for PostgreSQL and SQLite, [MemoryStore] is another; an application can
// write its own, of which examples/customstore is one on a bare key-value store,
// and prove it with package storetest.
//
// A Store matches and orders by the plain fields of the records and never looks
// into EndpointRecord.Config, which may be sealed, or EventRecord.Data. Byte fields are kept byte for
// byte, times to the microsecond at least; nil and empty are the same. IDs,
// tenants, types and patterns are ASCII without control characters; keys,
// reasons and the texts of an attempt are UTF-8, though a key that is looked up
// may be anything. All methods are safe for concurrent use, by several processes
// where the store is shared by them. A context that has ended is answered with
// its error, and nothing is changed. What a method returns is the caller's to
// keep: the store does not change it later. What a method is given may be kept:
// the caller does not change it later.
//
// The rules that have nothing to do with a database are methods of the records
// that a store may call: the filters' Matches, [Settlement.ApplyToDelivery] and
// [Settlement.ApplyToEndpoint]. A store with a method SetClock(func() time.Time)
// lets package storetest turn its clock.
//
// A Store that wraps another offers Unwrap() Store; the optional interfaces
// [Waker], [Purger], [OrderedQueue], [Presence] and [Summarizer] are looked for
// along that chain. [HandOver] is not, as it changes what Enqueue returns.
type Store interface {
	EndpointStore
	Queue
	Log
}

// EndpointStore keeps the endpoints.
type EndpointStore interface {
	// PutEndpoint inserts the record where r.Rev is 0 ([ErrConflict] if the ID
	// exists), and otherwise replaces exactly that Rev ([ErrConflict] if it is
	// another, [ErrNotFound] if the ID is gone). The stored Rev is one higher
	// (1 after the insert). CreatedAt is set by the insert and kept afterwards,
	// UpdatedAt is set always, both by the store's clock. FailingSince and
	// NotBefore are not taken from r: they are kept, and cleared when the
	// record goes from disabled to enabled. Returned is what is stored.
	PutEndpoint(ctx context.Context, r EndpointRecord) (EndpointRecord, error)
	// DeleteEndpoint removes the endpoint and makes its pending deliveries
	// cancelled in the same step; a later Settle of one of them is stale.
	// [ErrNotFound] if there is none.
	DeleteEndpoint(ctx context.Context, id string) error
	// GetEndpoint returns the record, or [ErrNotFound].
	GetEndpoint(ctx context.Context, id string) (EndpointRecord, error)
	// ListEndpoints lists oldest first, with the Total.
	ListEndpoints(ctx context.Context, f EndpointFilter) (Page[EndpointRecord], error)
}

// Queue takes events in and hands deliveries out.
type Queue interface {
	// Enqueue stores events and their deliveries in one atomic step: all
	// publications or, on an error, none. One result for each publication, in
	// their order.
	//
	// For each publication, with Endpoints nil: if neither Event.ID nor, where
	// it is not empty, Event.Key within Event.Tenant is known, the event is
	// stored (also when nothing matches) with CreatedAt by the store's clock,
	// and one delivery, pending and due at once, for each endpoint that is not
	// disabled, whose Tenant is in Tenants or which has AllTenants, and one of
	// whose Patterns is in Patterns, however many match. If it is known and
	// Sum is equal, nothing is stored and the result is a Duplicate with the
	// first one's ID; if Sum differs, or ID and Key name two different events,
	// the call fails with [ErrConflict]. A publication earlier in the same call
	// counts as known.
	//
	// With Endpoints not nil, the event is stored unless its ID is known (Sum is
	// then not compared, and Key is empty or that of the known one), and exactly
	// these endpoints, all different, get a delivery, disabled or not; those
	// that do not exist are passed over, and with Missing also those where a
	// delivery of the event is pending or delivered. The new deliveries are
	// returned in Created, in the order of Endpoints, with the stored event;
	// the result is no Duplicate. With Lease > 0 they are born leased, as if
	// claimed at once, but leave NotBefore alone.
	//
	// An error that matches [ErrUncertain] means that the outcome is unknown;
	// any other, that nothing was stored. Other methods may return ErrUncertain
	// too: the caller repeats a Settle, and reads before it repeats a put.
	Enqueue(ctx context.Context, ps []Publication) ([]Enqueued, error)
	// Claim leases deliveries that are pending and due and returns all that
	// sending them needs. A claim sets the due time to now + Lease and counts
	// the delivery's lease number up: a delivery whose lease ran out is simply
	// due again, and its Expired is one higher.
	//
	// Never claimed are deliveries of a disabled or deleted endpoint, or of one
	// whose NotBefore lies ahead. Once a NotBefore has passed, a claim takes
	// one delivery of that endpoint and moves NotBefore to now + Lease, until a
	// settlement with HealthSuccess, or enabling, clears it; the Claimed shows
	// it moved. Of an ordered endpoint only the
	// oldest pending delivery of each ordering key is claimed, and none of a
	// key whose oldest is leased or not yet due (see [OrderedQueue]); the key ""
	// is one like any other, and a delivery that was born leased stands outside
	// the order.
	//
	// The endpoints' tenants take turns, and endpoints within a tenant, also from
	// one claim to the next: with Max 1, each that has something due is served
	// in time. Whose turn it is may be kept in memory. Within an endpoint the
	// oldest due comes first. Concurrent claims return disjoint deliveries.
	// What a claim costs should depend on what it returns, not on the backlog
	// that it must leave.
	//
	// next says how long it is, when batch is empty, until something that this
	// request would take falls due; 0 or less means that the store cannot tell
	// or that nothing is waiting.
	Claim(ctx context.Context, r ClaimRequest) (batch []Claimed, next time.Duration, err error)
	// Settle reports the outcomes of claimed deliveries, in one step where the
	// store can. A settlement changes its delivery only while that is pending
	// and leased under the settlement's number (a lease that ran out counts
	// until the next claim); the IDs of the others are returned as stale, and
	// nothing of them is stored. A settlement whose
	// Attempt.ID is stored already is a no-op, and not stale: a Settle whose
	// answer was lost may be repeated.
	//
	// See [Settlement] for what it changes. Every settlement ends the lease
	// and sets Expired to 0.
	Settle(ctx context.Context, ss []Settlement) (stale []string, err error)
}

// Log reads what was published and what became of it.
type Log interface {
	// GetDelivery returns the delivery, or [ErrNotFound]. Its ID is a UUID that
	// Enqueue made.
	GetDelivery(ctx context.Context, id string) (Delivery, error)
	// GetEvent returns the event, or [ErrNotFound].
	GetEvent(ctx context.Context, id string) (EventRecord, error)
	// ListDeliveries lists newest first: equal CreatedAt in the reverse order of
	// insertion. In this and the other listings, Limit is 1 to 1,000.
	//
	// A cursor is the place of a page's last item in the order of the listing. The
	// next page is what lies behind it: while items are added or change, and also
	// under other fields of the filter. Where the item is gone, none is left out;
	// those that were created together with it may come once more. A cursor tells
	// no more than the item itself: no number that counts what belongs to others.
	// An item outside Scope is one that is gone, so that nobody learns from a
	// cursor that he makes up whether there is one. A cursor that the listing
	// cannot have made is [ErrInvalid].
	ListDeliveries(ctx context.Context, f DeliveryFilter) (Page[Delivery], error)
	// ListAttempts returns the attempts of a delivery in the order of their
	// settlement; none for one that does not exist.
	ListAttempts(ctx context.Context, deliveryID string) ([]Attempt, error)
	// ListEvents lists oldest first and omits those with Test.
	ListEvents(ctx context.Context, f EventFilter) (Page[EventRecord], error)
}

// EndpointRecord is an [Endpoint] as a store keeps it: the fields that it works
// with, and the rest as bytes.
type EndpointRecord struct {
	ID             string
	Tenant         string // changes only together with AllTenants: "*" then, which only a Scope with All contains
	AllTenants     bool
	Patterns       []string
	Ordered        bool
	Disabled       bool
	DisabledReason string
	FailingSince   time.Time // zero while healthy
	NotBefore      time.Time // zero unless it is to be left alone until then
	CreatedAt      time.Time
	UpdatedAt      time.Time
	Rev            int64
	// Config is opaque: store it as bytes, not as text or a JSON type. It is JSON
	// in clear, with the endpoint's secrets in it, or, with [Config].Keys, sealed:
	// binary, some 150 bytes longer (more with a key service), and not the same
	// when the same is stored again. It is bound to ID and Tenant. A record prints
	// without it, but encodes with it, in JSON too: do not log that.
	Config []byte
}

// Format implements [fmt.Formatter]: all but Config, which may hold secrets.
func (r EndpointRecord) Format(f fmt.State, verb rune) {
	type plain EndpointRecord
	r.Config = nil
	_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), plain(r))
}

// String returns all but Config.
func (r EndpointRecord) String() string { return fmt.Sprintf("%+v", r) }

// LogValue implements [slog.LogValuer].
func (r EndpointRecord) LogValue() slog.Value { return slog.StringValue(r.String()) }

// EventRecord is an [Event] as a store keeps it.
type EventRecord struct {
	ID          string // unique over the whole store
	Key         string // unique within Tenant where not empty
	Type        string
	Tenant      string
	OrderingKey string
	Time        time.Time
	CreatedAt   time.Time // set by Enqueue, on the store's clock
	Test        bool      // of a test send: ListEvents omits it
	Data        []byte    // opaque; store it as bytes, not as a JSON type
	Sum         [32]byte  // of what must be equal for a repeated ID or Key to be a duplicate
}

// Publication is one event to enqueue, and for whom. See [Queue].Enqueue.
type Publication struct {
	Event     EventRecord
	Patterns  []string      // every pattern that matches the event's type
	Tenants   []string      // every tenant that the event's tenant is or is within
	Endpoints []string      // not nil: exactly these, instead of those that match
	Missing   bool          // with Endpoints: pass over where it is pending or delivered
	Origin    Origin        // of the deliveries
	Lease     time.Duration // with Endpoints: > 0, all are born leased. Without: those that are handed over, which Created says, are; all others are due at once
	Places    int           // without Endpoints, and with Lease: how many deliveries may be handed over, see [HandOver]; 0 elsewhere
}

// Enqueued is the result of a [Publication].
type Enqueued struct {
	EventID    string // the first one's, if Duplicate
	Duplicate  bool
	Deliveries int       // created now
	Created    []Claimed // those deliveries, when Publication.Endpoints is not nil; otherwise those that are handed over
	Behind     int       // of the others, those to endpoints that rest or had something due before: a dispatcher at work comes to them by itself, and is not woken at once; 0 is always right
}

// ClaimRequest says how much a dispatcher can start now.
type ClaimRequest struct {
	Max         int            // deliveries in all, at least 1
	PerEndpoint int            // deliveries of one endpoint that Room does not name; 0: none
	MaxBytes    int            // of EventRecord.Data over all deliveries: the batch ends before the one that would exceed it, but not empty; 0: no limit
	Room        map[string]int // by endpoint ID, instead of PerEndpoint; 0: none. Read during the call only
	Lease       time.Duration  // greater than zero
}

// Claimed is a delivery leased to the caller, with all that sending needs.
// Event and Endpoint may be shared within a batch and are read-only.
type Claimed struct {
	Delivery Delivery
	Lease    int64 // the lease number: Settlement.Lease
	Expired  int   // leases of this delivery that ran out since it was last settled
	Event    *EventRecord
	Endpoint *EndpointRecord
}

// Settlement is the outcome of a claimed delivery. Health, Pause and Disable
// apply to its endpoint, in this order.
type Settlement struct {
	DeliveryID string
	Lease      int64 // Claimed.Lease
	// State is the delivery's new state. Pending makes it due again after
	// Delay, by the store's clock.
	State State
	Delay time.Duration
	// Attempt is appended to the log unless nil. If Counted as well, the
	// delivery's Attempts goes up by one, FirstAttempt becomes
	// Attempt.StartedAt where it is zero, and LastStatus and LastError are the
	// attempt's. Counted comes only with an Attempt.
	Attempt *Attempt
	Counted bool
	// Health is what the outcome says of the endpoint.
	Health Health
	// Pause > 0 sets the endpoint's NotBefore to now + Pause; 0 leaves it.
	Pause time.Duration
	// Disable, if not empty, disables the endpoint for that reason, sets its
	// UpdatedAt and raises its Rev: always where IfFailingSince is zero,
	// otherwise only while its FailingSince is still that. One that is disabled
	// already stays as it is.
	Disable        string
	IfFailingSince time.Time
}

// ApplyToDelivery changes d as a settlement that is not stale does, at the time
// now of the store. The lease, its number and Expired are the store's own.
func (s *Settlement) ApplyToDelivery(d *Delivery, now time.Time) {
	d.State, d.UpdatedAt = s.State, now
	if d.NextAttempt = now.Add(s.Delay); s.State.Finished() {
		d.NextAttempt = time.Time{}
	}
	if !s.Counted {
		return
	}
	d.Attempts++
	if d.FirstAttempt.IsZero() {
		d.FirstAttempt = s.Attempt.StartedAt
	}
	d.LastStatus, d.LastError = s.Attempt.StatusCode, s.Attempt.Error
}

// ApplyToEndpoint changes e as a settlement that is not stale does, at the time
// now of the store, and reports whether it did.
func (s *Settlement) ApplyToEndpoint(e *EndpointRecord, now time.Time) (changed bool) {
	switch {
	case s.Health == HealthSuccess && !(e.FailingSince.IsZero() && e.NotBefore.IsZero()):
		e.FailingSince, e.NotBefore = time.Time{}, time.Time{}
		changed = true
	case s.Health == HealthFailure && e.FailingSince.IsZero():
		e.FailingSince = now
		changed = true
	}
	if s.Pause > 0 {
		e.NotBefore = now.Add(s.Pause)
		changed = true
	}
	if s.Disable != "" && !e.Disabled && (s.IfFailingSince.IsZero() || s.IfFailingSince.Equal(e.FailingSince)) {
		e.Disabled, e.DisabledReason, e.UpdatedAt = true, s.Disable, now
		e.Rev++
		changed = true
	}
	return changed
}

// Health is what an outcome says of an endpoint.
type Health uint8

// The values of [Health].
const (
	HealthUnchanged Health = iota
	HealthSuccess          // clears FailingSince and NotBefore
	HealthFailure          // sets FailingSince to now where it is zero
)

// Waker is implemented by stores that can tell a dispatcher that deliveries
// became due, so that it need not wait for its next poll. It is a hint: nothing
// rests on it.
type Waker interface {
	// Wakes returns a channel that receives soon after an Enqueue, of any
	// process, created deliveries. The store stops sending when ctx ends.
	Wakes(ctx context.Context) (<-chan struct{}, error)
}

// Purger is implemented by stores that can forget what is finished;
// [Config].Retention needs it.
type Purger interface {
	// Purge removes deliveries that finished longer than age ago, with their
	// attempts, and events older than age that have no delivery left; at most
	// about limit of them in one call. It returns how many it removed; 0 means
	// that nothing is left to remove.
	Purge(ctx context.Context, age time.Duration, limit int) (int, error)
}

// OrderedQueue is implemented by stores whose Claim respects
// EndpointRecord.Ordered. Without it, Register and Update answer
// [ErrNotSupported] for [Endpoint].Ordered.
type OrderedQueue interface {
	ClaimsOrdered()
}

// Presence is implemented by stores that can count the dispatchers that run on
// them, so that these share out the limits of endpoints; see [Endpoint].RateLimit.
// Without it, each has the whole.
type Presence interface {
	// Attend says that a dispatcher runs until ttl from now, or, where ttl is 0,
	// that it has ended. It returns how many run, this one included if it does.
	Attend(ctx context.Context, dispatcher string, ttl time.Duration) (int, error)
}

// Summarizer is implemented by stores that can summarize a log which is too long
// to be listed. Without it, [View.Statistics] lists deliveries.
type Summarizer interface {
	// Summarize returns f.Parts with what they count. All fields of f are set: no
	// endpoint comes twice, and the times are within the years 0 to 9999. A
	// delivery outside Scope, or of OriginTest, is not counted. A part may be
	// Estimated where it has more than 10 finished deliveries in Scope, or its
	// endpoint more than 100 pending ones: those outside do not show, not even by it.
	Summarize(ctx context.Context, f StatisticsFilter) ([]Statistics, error)
}

// HandOver is implemented by stores whose Enqueue can hand new deliveries over to
// the dispatcher that publishes them, so that it need not claim them.
//
// A publication with Places, and with Lease > 0, but without Endpoints, asks for
// that: so many of its deliveries may be born leased, exactly as if claimed at
// once, and are returned in Created, in any order. Which and how many is for the
// store to say, and none is always right, with one rule: where the queue's turns
// would give another delivery of the endpoint first, or could not give this one,
// there is no handing over. So it is for endpoints that are not Ordered, have no
// NotBefore, and where nothing is due, as far as the queue has been looked at: what
// came to it after that may be overtaken, for no longer than until the next claim.
// All others are pending and due at once, as those of any publication.
//
// What is handed over to a caller whose context ends before he is answered is due
// at once, or when the lease ends. If the process of the publisher dies, what was
// handed over to it waits for the end of the lease, as what it has claimed does,
// though others might have sent it at once: nothing is lost, but Lease is how late
// it may be.
//
// It is looked for at the store that a dispatcher is given, and not along the chain
// of Unwrap, since what is handed over does not pass through Claim. A Store that
// wraps another has a method HandsOver that asks the other, if its Enqueue passes
// Lease and Places on and returns Created as it is: what that hides waits for the
// end of the lease. One that embeds the other's type, such as *MemoryStore, has the
// method by that alone, unlike one that embeds a Store; if its Claim must see every
// delivery, it overrides the method with one that returns false.
type HandOver interface {
	// HandsOver reports whether an Enqueue under this context may: not where what
	// it stores may yet be undone by the caller. A dispatcher sets Places only
	// where this is true.
	HandsOver(ctx context.Context) bool
}

// capability finds an optional interface along the chain of Unwrap methods.
func capability[T any](s Store) (T, bool) {
	for s != nil {
		if c, ok := s.(T); ok {
			return c, true
		}
		u, ok := s.(interface{ Unwrap() Store })
		if !ok {
			break
		}
		s = u.Unwrap()
	}
	var none T
	return none, false
}

// MemoryStore is a [Store] in the process's memory, for tests, for development
// and for deliveries that may be lost with the process; package sqlstore keeps
// them. Several Dispatchers may share one. It implements [Waker], [Purger],
// [OrderedQueue], [Presence], [Summarizer] and [HandOver].
//
// It keeps everything until it is purged: set [Config].Retention in a process
// that runs for long.
type MemoryStore struct {
	mu          sync.Mutex
	clock       func() time.Time
	queue       fair.Queue[*memoryDelivery]
	endpoints   map[string]*memoryEndpoint
	interested  map[interest]map[*memoryEndpoint]struct{}
	events      map[string]*memoryEvent
	keys        map[tenantKey]*memoryEvent
	deliveries  map[string]*memoryDelivery
	log         []*memoryDelivery    // in the order of their creation
	backwards   bool                 // the clock went back meanwhile: log is not in the order of CreatedAt
	eventLog    []*memoryEvent       // in the order of their creation
	finished    []*memoryDelivery    // in the order of their ends
	fresh       []*memoryEvent       // in the order of their creation, until looked at by Purge
	dispatchers map[string]time.Time // until when each runs
	purged      int                  // entries of log and eventLog that are gone
	arrivals    uint64               // numbers endpoints, events and deliveries
	fanouts     uint64               // numbers fan-outs
	wakes       map[chan struct{}]struct{}
}

// interest is what the fan-out looks up: who subscribed to a pattern.
type interest struct {
	tenant, pattern string
	allTenants      bool
}

type tenantKey struct{ tenant, key string }

type memoryEndpoint struct {
	record  *EndpointRecord // replaced, never modified: claims share it
	arrival uint64
	fanout  uint64 // the last one that found it
	lane    *fair.Lane[*memoryDelivery]
	// Where ordered, by ordering key: only the first of each is in the lane.
	chains chain.Chains[string, *memoryDelivery]
}

type memoryEvent struct {
	record     *EventRecord // never modified: claims share it
	arrival    uint64
	deliveries *memoryDelivery // linked by nextOfEvent
	purged     bool
}

type memoryDelivery struct {
	fair.Item[*memoryDelivery]
	Delivery
	event       *memoryEvent
	endpoint    *memoryEndpoint
	nextOfEvent *memoryDelivery
	link        chain.Link[*memoryDelivery]
	attempts    []*Attempt
	arrival     uint64
	lease       int64
	expired     int32
	leased      bool
	outside     bool // born leased: outside the order
	purged      bool
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{
		clock:      time.Now,
		endpoints:  make(map[string]*memoryEndpoint),
		interested: make(map[interest]map[*memoryEndpoint]struct{}),
		events:     make(map[string]*memoryEvent),
		keys:       make(map[tenantKey]*memoryEvent),
		deliveries: make(map[string]*memoryDelivery),
		wakes:      make(map[chan struct{}]struct{}),

		dispatchers: make(map[string]time.Time),
	}
}

// SetClock replaces time.Now as the store's clock, for tests.
func (s *MemoryStore) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = now
}

// HandsOver implements [HandOver].
func (s *MemoryStore) HandsOver(context.Context) bool { return true }

// ClaimsOrdered implements [OrderedQueue].
func (s *MemoryStore) ClaimsOrdered() {}

// Wakes implements [Waker].
func (s *MemoryStore) Wakes(ctx context.Context) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	wake := make(chan struct{}, 1)
	s.mu.Lock()
	s.wakes[wake] = struct{}{}
	s.mu.Unlock()
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.wakes, wake)
	})
	return wake, nil
}

// PutEndpoint implements [EndpointStore].
func (s *MemoryStore) PutEndpoint(ctx context.Context, r EndpointRecord) (EndpointRecord, error) {
	now, unlock, err := s.begin(ctx)
	if err != nil {
		return EndpointRecord{}, err
	}
	defer unlock()
	e := s.endpoints[r.ID]
	switch {
	case r.Rev == 0 && e != nil:
		return EndpointRecord{}, fmt.Errorf("put endpoint %q: %w: the ID exists", r.ID, ErrConflict)
	case r.Rev != 0 && e == nil:
		return EndpointRecord{}, fmt.Errorf("put endpoint %q: %w", r.ID, ErrNotFound)
	case e != nil && e.record.Rev != r.Rev:
		return EndpointRecord{}, fmt.Errorf("put endpoint %q: %w: rev is %d, not %d", r.ID, ErrConflict, e.record.Rev, r.Rev)
	}
	r.FailingSince, r.NotBefore, r.CreatedAt = time.Time{}, time.Time{}, now
	if e == nil {
		s.arrivals++
		e = &memoryEndpoint{arrival: s.arrivals, lane: s.queue.NewLane(r.Tenant)}
		s.endpoints[r.ID] = e
	} else {
		old := e.record
		r.CreatedAt = old.CreatedAt
		if !old.Disabled || r.Disabled {
			r.FailingSince, r.NotBefore = old.FailingSince, old.NotBefore
		}
		s.unsubscribe(e)
	}
	r.Rev++
	r.UpdatedAt = now
	r.Patterns, r.Config = slices.Clone(r.Patterns), slices.Clone(r.Config)
	wasOrdered := e.record != nil && e.record.Ordered
	e.record = &r
	s.subscribe(e)
	if r.Ordered != wasOrdered {
		e.requeue(&s.queue, now)
	}
	e.apply(now)
	return r.clone(), nil
}

// DeleteEndpoint implements [EndpointStore].
func (s *MemoryStore) DeleteEndpoint(ctx context.Context, id string) error {
	now, unlock, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	e := s.endpoints[id]
	if e == nil {
		return fmt.Errorf("delete endpoint %q: %w", id, ErrNotFound)
	}
	s.unsubscribe(e)
	delete(s.endpoints, id)
	pending := e.pending()
	e.lane.Close()
	for _, d := range pending {
		d.lease++
		d.leased = false
		d.State, d.NextAttempt, d.UpdatedAt = StateCancelled, time.Time{}, now
	}
	s.finished = append(s.finished, pending...)
	return nil
}

// GetEndpoint implements [EndpointStore].
func (s *MemoryStore) GetEndpoint(ctx context.Context, id string) (EndpointRecord, error) {
	_, unlock, err := s.begin(ctx)
	if err != nil {
		return EndpointRecord{}, err
	}
	defer unlock()
	if e := s.endpoints[id]; e != nil {
		return e.record.clone(), nil
	}
	return EndpointRecord{}, fmt.Errorf("endpoint %q: %w", id, ErrNotFound)
}

// ListEndpoints implements [EndpointStore].
func (s *MemoryStore) ListEndpoints(ctx context.Context, f EndpointFilter) (Page[EndpointRecord], error) {
	_, unlock, err := s.begin(ctx)
	if err != nil {
		return Page[EndpointRecord]{}, err
	}
	defer unlock()
	place, err := parsePlace(f.Cursor, endpointCursor, func(id string, created time.Time) (arrival uint64) {
		if e := s.endpoints[id]; e != nil && f.Scope.Contains(e.record.Tenant) && e.record.CreatedAt.Equal(created) {
			arrival = e.arrival
		}
		return arrival
	})
	if err != nil {
		return Page[EndpointRecord]{}, err
	}
	var found []*memoryEndpoint
	for _, e := range s.endpoints {
		if f.Matches(e.record) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *memoryEndpoint) int { return int(a.arrival) - int(b.arrival) })
	page := Page[EndpointRecord]{Total: len(found)}
	for _, e := range found {
		if !place.precedes(e.arrival, e.record.CreatedAt) {
			continue
		}
		if n := len(page.Items); n == pageLimit(f.Limit) {
			page.Next = cursor.Format(endpointCursor, page.Items[n-1].CreatedAt, page.Items[n-1].ID)
			break
		}
		page.Items = append(page.Items, e.record.clone())
	}
	return page, nil
}

// Enqueue implements [Queue].
func (s *MemoryStore) Enqueue(ctx context.Context, ps []Publication) ([]Enqueued, error) {
	now, unlock, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	known, err := s.resolve(ps)
	if err != nil {
		return nil, err
	}
	results := make([]Enqueued, len(ps))
	waiting := 0
	for n := range ps {
		p, result := &ps[n], &results[n]
		result.EventID = known[n]
		event := s.events[known[n]]
		switch {
		case event == nil:
			event = s.addEvent(&p.Event, now)
		case p.Endpoints == nil:
			result.Duplicate = true
			continue
		}
		if p.Endpoints == nil {
			result.Deliveries, result.Created = s.fanOut(event, p, now)
			waiting += result.Deliveries - len(result.Created)
		} else {
			result.Created = s.address(event, p, now)
			result.Deliveries = len(result.Created)
			waiting += result.Deliveries
		}
	}
	if waiting > 0 {
		for wake := range s.wakes {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}
	return results, nil
}

// Claim implements [Queue].
func (s *MemoryStore) Claim(ctx context.Context, r ClaimRequest) ([]Claimed, time.Duration, error) {
	now, unlock, err := s.begin(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer unlock()
	var batch []Claimed
	bytes := 0
	at, until := now.UnixNano(), now.Add(r.Lease)
	room := func(l *fair.Lane[*memoryDelivery]) int {
		if len(r.Room) > 0 {
			if n, ok := r.Room[l.ID]; ok {
				return n
			}
		}
		return r.PerEndpoint
	}
	s.queue.Take(at, r.Max, room, func(i *fair.Item[*memoryDelivery]) (int64, bool) {
		d := i.Value
		bytes += len(d.event.record.Data)
		if r.MaxBytes > 0 && bytes > r.MaxBytes && len(batch) > 0 {
			return 0, false
		}
		if d.leased {
			d.expired++
		}
		d.leased = true
		d.lease++
		d.NextAttempt = until
		if !d.endpoint.record.NotBefore.IsZero() { // a probe: Take moves it in the lane
			d.endpoint.modify(func(r *EndpointRecord) { r.NotBefore = until })
		}
		batch = append(batch, d.claimed())
		return until.UnixNano(), true
	})
	if len(batch) > 0 {
		return batch, 0, nil
	}
	if next, ok := s.queue.Wait(at); ok {
		return nil, time.Duration(next - at), nil
	}
	return nil, 0, nil
}

// Settle implements [Queue].
func (s *MemoryStore) Settle(ctx context.Context, ss []Settlement) (stale []string, err error) {
	now, unlock, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for n := range ss {
		if !s.settle(&ss[n], now) {
			stale = append(stale, ss[n].DeliveryID)
		}
	}
	return stale, nil
}

// GetDelivery implements [Log].
func (s *MemoryStore) GetDelivery(ctx context.Context, id string) (Delivery, error) {
	_, unlock, err := s.begin(ctx)
	if err != nil {
		return Delivery{}, err
	}
	defer unlock()
	if d := s.deliveries[id]; d != nil {
		return d.Delivery, nil
	}
	return Delivery{}, fmt.Errorf("delivery %q: %w", id, ErrNotFound)
}

// GetEvent implements [Log].
func (s *MemoryStore) GetEvent(ctx context.Context, id string) (EventRecord, error) {
	_, unlock, err := s.begin(ctx)
	if err != nil {
		return EventRecord{}, err
	}
	defer unlock()
	if e := s.events[id]; e != nil {
		return e.record.clone(), nil
	}
	return EventRecord{}, fmt.Errorf("event %q: %w", id, ErrNotFound)
}

// ListDeliveries implements [Log].
func (s *MemoryStore) ListDeliveries(ctx context.Context, f DeliveryFilter) (Page[Delivery], error) {
	_, unlock, err := s.begin(ctx)
	if err != nil {
		return Page[Delivery]{}, err
	}
	defer unlock()
	place, err := parsePlace(f.Cursor, deliveryCursor, func(id string, created time.Time) (arrival uint64) {
		if d := s.deliveries[id]; d != nil && f.Scope.Contains(d.Tenant) && d.CreatedAt.Equal(created) {
			arrival = d.arrival
		}
		return arrival
	})
	if err != nil {
		return Page[Delivery]{}, err
	}
	var page Page[Delivery]
	for d := range s.newestFirst(f.EventID, place.arrival) {
		if !place.follows(d.arrival, d.CreatedAt) || !f.Matches(&d.Delivery) {
			continue
		}
		if n := len(page.Items); n == pageLimit(f.Limit) {
			page.Next = cursor.Format(deliveryCursor, page.Items[n-1].CreatedAt, page.Items[n-1].ID)
			break
		}
		page.Items = append(page.Items, d.Delivery)
	}
	return page, nil
}

// newestFirst yields the deliveries of an event, or at least all that came before
// an arrival, 0 for the end.
func (s *MemoryStore) newestFirst(eventID string, before uint64) iter.Seq[*memoryDelivery] {
	return func(yield func(*memoryDelivery) bool) {
		if eventID != "" {
			if e := s.events[eventID]; e != nil {
				for d := e.deliveries; d != nil && yield(d); d = d.nextOfEvent {
				}
			}
			return
		}
		n := len(s.log)
		if before > 0 {
			n, _ = slices.BinarySearchFunc(s.log, before, func(d *memoryDelivery, at uint64) int { return cmp.Compare(d.arrival, at) })
		}
		for n--; n >= 0 && (s.log[n].purged || yield(s.log[n])); n-- {
		}
	}
}

// ListAttempts implements [Log].
func (s *MemoryStore) ListAttempts(ctx context.Context, deliveryID string) ([]Attempt, error) {
	_, unlock, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	d := s.deliveries[deliveryID]
	if d == nil {
		return nil, nil
	}
	attempts := make([]Attempt, len(d.attempts))
	for n, a := range d.attempts {
		attempts[n] = a.clone()
	}
	return attempts, nil
}

// ListEvents implements [Log].
func (s *MemoryStore) ListEvents(ctx context.Context, f EventFilter) (Page[EventRecord], error) {
	_, unlock, err := s.begin(ctx)
	if err != nil {
		return Page[EventRecord]{}, err
	}
	defer unlock()
	place, err := parsePlace(f.Cursor, eventCursor, func(id string, created time.Time) (arrival uint64) {
		if e := s.events[id]; e != nil && f.Scope.Contains(e.record.Tenant) && e.record.CreatedAt.Equal(created) {
			arrival = e.arrival
		}
		return arrival
	})
	if err != nil {
		return Page[EventRecord]{}, err
	}
	var page Page[EventRecord]
	n, _ := slices.BinarySearchFunc(s.eventLog, place.arrival+1, func(e *memoryEvent, at uint64) int { return cmp.Compare(e.arrival, at) })
	for ; n < len(s.eventLog); n++ {
		e := s.eventLog[n]
		if e.purged || !place.precedes(e.arrival, e.record.CreatedAt) || !f.Matches(e.record) {
			continue
		}
		if n := len(page.Items); n == pageLimit(f.Limit) {
			page.Next = cursor.Format(eventCursor, page.Items[n-1].CreatedAt, page.Items[n-1].ID)
			break
		}
		page.Items = append(page.Items, e.record.clone())
	}
	return page, nil
}

// Purge implements [Purger].
func (s *MemoryStore) Purge(ctx context.Context, age time.Duration, limit int) (int, error) {
	now, unlock, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	before := now.Add(-age)
	removed := 0
	for removed < limit && len(s.finished) > 0 && s.finished[0].UpdatedAt.Before(before) {
		d := s.finished[0]
		s.finished[0], s.finished = nil, s.finished[1:]
		d.purged = true
		delete(s.deliveries, d.ID)
		removed++
		if d.event.forget(d); d.event.deliveries == nil && d.event.record.CreatedAt.Before(before) {
			removed += s.purgeEvent(d.event)
		}
	}
	// Only an event that found no endpoint is left for this: the others go with
	// their last delivery.
	for removed < limit && len(s.fresh) > 0 && s.fresh[0].record.CreatedAt.Before(before) {
		e := s.fresh[0]
		s.fresh[0], s.fresh = nil, s.fresh[1:]
		if e.deliveries == nil {
			removed += s.purgeEvent(e)
		}
	}
	if s.purged > (len(s.log)+len(s.eventLog))/2 {
		s.log = slices.DeleteFunc(s.log, func(d *memoryDelivery) bool { return d.purged })
		s.backwards = !slices.IsSortedFunc(s.log, func(a, b *memoryDelivery) int { return a.CreatedAt.Compare(b.CreatedAt) })
		s.eventLog = slices.DeleteFunc(s.eventLog, func(e *memoryEvent) bool { return e.purged })
		s.purged = 0
	}
	s.purged += removed
	return removed, nil
}

// Attend implements [Presence].
func (s *MemoryStore) Attend(ctx context.Context, dispatcher string, ttl time.Duration) (int, error) {
	now, unlock, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	s.dispatchers[dispatcher] = now.Add(ttl)
	maps.DeleteFunc(s.dispatchers, func(_ string, until time.Time) bool { return !until.After(now) })
	return len(s.dispatchers), nil
}

// Summarize implements [Summarizer]. It counts everything, and reads what was created
// since f.From.
func (s *MemoryStore) Summarize(ctx context.Context, f StatisticsFilter) ([]Statistics, error) {
	_, unlock, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c := newCount(&f)
	for d := range s.newestFirst("", 0) {
		if !s.backwards && d.CreatedAt.Before(f.From) {
			break
		}
		if f.Scope.Contains(d.Tenant) {
			c.add(&d.Delivery, 1)
		}
	}
	return c.statistics(), nil
}

// count counts deliveries by the parts of a filter.
type count struct {
	filter    *StatisticsFilter
	parts     []Statistics
	first     map[string]int // of an endpoint's parts
	sums      []struct{ delivered, exhausted, cancelled, pending, retried float64 }
	durations []tally.Durations
}

func newCount(f *StatisticsFilter) *count {
	c := &count{filter: f, parts: f.Parts(), first: make(map[string]int)}
	c.sums = make([]struct{ delivered, exhausted, cancelled, pending, retried float64 }, len(c.parts))
	c.durations = make([]tally.Durations, len(c.parts))
	for n, id := range f.Endpoints {
		c.first[id] = n * f.Buckets
	}
	return c
}

// add counts a delivery, and others like it.
func (c *count) add(d *Delivery, weight float64) {
	first, asked := c.first[d.EndpointID]
	if !asked || d.Origin == OriginTest || d.CreatedAt.Before(c.filter.From) || !d.CreatedAt.Before(c.filter.To) {
		return
	}
	n := first + c.filter.bucket(d.CreatedAt)
	sum := &c.sums[n]
	if d.State.Finished() && d.Attempts > 1 {
		sum.retried += weight
	}
	switch d.State {
	case StatePending:
		sum.pending += weight
	case StateDelivered:
		sum.delivered += weight
		c.durations[n].Add(d.UpdatedAt.Sub(d.CreatedAt), weight)
	case StateExhausted:
		sum.exhausted += weight
	case StateCancelled:
		sum.cancelled += weight
	}
}

func (c *count) statistics() []Statistics {
	round := func(f float64) int { return int(math.Round(f)) }
	for n := range c.parts {
		p, sum := &c.parts[n], &c.sums[n]
		p.Delivered, p.Exhausted, p.Cancelled, p.Pending = round(sum.delivered), round(sum.exhausted), round(sum.cancelled), round(sum.pending)
		p.Retried, p.Created = round(sum.retried), p.Delivered+p.Exhausted+p.Cancelled+p.Pending
		p.Median, p.P95 = c.durations[n].Quantile(0.5), c.durations[n].Quantile(0.95)
	}
	return c.parts
}

// begin locks the store and reads its clock, unless ctx has ended.
func (s *MemoryStore) begin(ctx context.Context) (now time.Time, unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, nil, err
	}
	s.mu.Lock()
	return s.clock().UTC().Truncate(time.Microsecond), s.mu.Unlock, nil
}

func (s *MemoryStore) subscribe(e *memoryEndpoint) {
	for i := range e.interests() {
		if s.interested[i] == nil {
			s.interested[i] = make(map[*memoryEndpoint]struct{})
		}
		s.interested[i][e] = struct{}{}
	}
}

func (s *MemoryStore) unsubscribe(e *memoryEndpoint) {
	for i := range e.interests() {
		if delete(s.interested[i], e); len(s.interested[i]) == 0 {
			delete(s.interested, i)
		}
	}
}

// resolve finds the ID of the event that each publication is: its own, or that
// of the event that it repeats.
func (s *MemoryStore) resolve(ps []Publication) ([]string, error) {
	ids := make([]string, len(ps))
	events, keys := make(map[string]*EventRecord), make(map[tenantKey]*EventRecord)
	for n := range ps {
		p := &ps[n].Event
		ids[n] = p.ID
		if ps[n].Endpoints != nil {
			continue
		}
		byID, byKey := events[p.ID], (*EventRecord)(nil)
		if e := s.events[p.ID]; e != nil {
			byID = e.record
		}
		key := tenantKey{p.Tenant, p.Key}
		if p.Key != "" {
			byKey = keys[key]
			if e := s.keys[key]; e != nil {
				byKey = e.record
			}
		}
		first := cmp.Or(byID, byKey)
		switch {
		case first == nil:
			events[p.ID] = p
			if p.Key != "" {
				keys[key] = p
			}
		case byID != nil && byKey != nil && byID.ID != byKey.ID:
			return nil, fmt.Errorf("enqueue event %q: %w: its key is that of another event", p.ID, ErrConflict)
		case first.Sum != p.Sum:
			return nil, fmt.Errorf("enqueue event %q: %w: its ID or key was used for other content", p.ID, ErrConflict)
		default:
			ids[n] = first.ID
		}
	}
	return ids, nil
}

func (s *MemoryStore) addEvent(r *EventRecord, now time.Time) *memoryEvent {
	record := *r
	record.CreatedAt = now
	s.arrivals++
	e := &memoryEvent{record: &record, arrival: s.arrivals}
	s.events[record.ID] = e
	if record.Key != "" {
		s.keys[tenantKey{record.Tenant, record.Key}] = e
	}
	s.eventLog = append(s.eventLog, e)
	s.fresh = append(s.fresh, e)
	return e
}

// fanOut adds a delivery for each endpoint that matches, and returns those that it
// hands over.
func (s *MemoryStore) fanOut(event *memoryEvent, p *Publication, now time.Time) (count int, handed []Claimed) {
	s.fanouts++
	add := func(i interest) {
		for e := range s.interested[i] {
			if e.fanout == s.fanouts || e.record.Disabled {
				continue
			}
			e.fanout = s.fanouts
			count++
			if len(handed) < p.Places && p.Lease > 0 && !e.record.Ordered && e.lane.Idle(now.UnixNano()) {
				handed = append(handed, s.addDelivery(event, e, p, p.Lease, now).claimed())
			} else {
				s.addDelivery(event, e, p, 0, now)
			}
		}
	}
	for _, pattern := range p.Patterns {
		add(interest{pattern: pattern, allTenants: true})
		for _, tenant := range p.Tenants {
			add(interest{tenant: tenant, pattern: pattern})
		}
	}
	return count, handed
}

// address adds a delivery for each endpoint that the publication names.
func (s *MemoryStore) address(event *memoryEvent, p *Publication, now time.Time) (created []Claimed) {
	for _, id := range p.Endpoints {
		e := s.endpoints[id]
		if e == nil || p.Missing && event.reaches(id) {
			continue
		}
		created = append(created, s.addDelivery(event, e, p, p.Lease, now).claimed())
	}
	return created
}

func (s *MemoryStore) addDelivery(event *memoryEvent, e *memoryEndpoint, p *Publication, lease time.Duration, now time.Time) *memoryDelivery {
	s.arrivals++
	d := &memoryDelivery{
		Delivery: Delivery{
			ID:      uuid.Must(uuid.NewV7()).String(),
			EventID: event.record.ID, EventType: event.record.Type, EventTenant: event.record.Tenant,
			EndpointID: e.record.ID, Tenant: e.record.Tenant,
			State: StatePending, Origin: p.Origin,
			NextAttempt: now.Add(lease), CreatedAt: now, UpdatedAt: now,
		},
		event: event, endpoint: e, nextOfEvent: event.deliveries, arrival: s.arrivals,
	}
	if lease > 0 {
		d.leased, d.lease, d.outside = true, 1, p.Endpoints != nil
	}
	d.Value, d.link.Value = d, d
	event.deliveries = d
	s.deliveries[d.ID] = d
	if n := len(s.log); n > 0 && now.Before(s.log[n-1].CreatedAt) {
		s.backwards = true
	}
	s.log = append(s.log, d)
	e.enqueue(d, now)
	return d
}

// settle applies one settlement and reports whether it was not stale.
func (s *MemoryStore) settle(o *Settlement, now time.Time) bool {
	d := s.deliveries[o.DeliveryID]
	if d == nil {
		return false
	}
	if a := o.Attempt; a != nil && slices.ContainsFunc(d.attempts, func(b *Attempt) bool { return b.ID == a.ID }) {
		return true
	}
	if d.State != StatePending || d.lease != o.Lease {
		return false
	}
	d.lease++
	d.leased, d.expired = false, 0
	if o.Attempt != nil {
		d.attempts = append(d.attempts, o.Attempt)
	}
	o.ApplyToDelivery(&d.Delivery, now)
	if o.State.Finished() {
		d.endpoint.dequeue(d, now)
		s.finished = append(s.finished, d)
	} else if d.Queued() {
		d.Move(d.NextAttempt.UnixNano(), now.UnixNano())
	}
	if r := *d.endpoint.record; o.ApplyToEndpoint(&r, now) {
		d.endpoint.record = new(r)
		d.endpoint.apply(now)
	}
	return true
}

func (s *MemoryStore) purgeEvent(e *memoryEvent) int {
	if e.purged {
		return 0
	}
	e.purged = true
	delete(s.events, e.record.ID)
	if e.record.Key != "" {
		delete(s.keys, tenantKey{e.record.Tenant, e.record.Key})
	}
	return 1
}

// interests yields what the endpoint subscribed to.
func (e *memoryEndpoint) interests() iter.Seq[interest] {
	return func(yield func(interest) bool) {
		for _, pattern := range e.record.Patterns {
			i := interest{tenant: e.record.Tenant, pattern: pattern}
			if e.record.AllTenants {
				i = interest{pattern: pattern, allTenants: true}
			}
			if !yield(i) {
				return
			}
		}
	}
}

// modify replaces the record by a changed copy.
func (e *memoryEndpoint) modify(change func(*EndpointRecord)) {
	r := *e.record
	change(&r)
	e.record = &r
}

// apply makes the lane behave as the record says.
func (e *memoryEndpoint) apply(now time.Time) {
	at, notBefore := now.UnixNano(), int64(0)
	if !e.record.NotBefore.IsZero() {
		notBefore = e.record.NotBefore.UnixNano()
	}
	e.lane.ID = e.record.ID
	e.lane.SetNotBefore(notBefore, at)
	if e.record.Disabled {
		e.lane.Stop()
	} else {
		e.lane.Start(at)
	}
}

// enqueue makes a pending delivery claimable when its turn comes.
func (e *memoryEndpoint) enqueue(d *memoryDelivery, now time.Time) {
	chained := e.record.Ordered && !d.outside
	switch due, at := d.NextAttempt.UnixNano(), now.UnixNano(); {
	case chained && !e.chains.Add(d.event.record.OrderingKey, &d.link):
	case d.leased:
		e.lane.PushTaken(&d.Item, due, at)
	default:
		e.lane.Push(&d.Item, due, at)
	}
}

// dequeue undoes enqueue and lets the next of the chain follow.
func (e *memoryEndpoint) dequeue(d *memoryDelivery, now time.Time) {
	if d.Queued() {
		d.Remove(now.UnixNano())
	}
	if next, ok := e.chains.Remove(d.event.record.OrderingKey, &d.link); ok {
		e.lane.Push(&next.Item, next.NextAttempt.UnixNano(), now.UnixNano())
	}
}

// pending returns what enqueue has taken in, the oldest first.
func (e *memoryEndpoint) pending() []*memoryDelivery {
	var ds []*memoryDelivery
	for d := range e.lane.Values() {
		ds = slices.AppendSeq(append(ds, d), d.link.Behind())
	}
	slices.SortFunc(ds, func(a, b *memoryDelivery) int { return cmp.Compare(a.arrival, b.arrival) })
	return ds
}

// requeue rebuilds the lane after Ordered has changed.
func (e *memoryEndpoint) requeue(q *fair.Queue[*memoryDelivery], now time.Time) {
	pending := e.pending()
	e.lane.Close()
	e.lane, e.chains = q.NewLane(e.record.Tenant), chain.Chains[string, *memoryDelivery]{}
	for _, d := range pending {
		d.link.Reset()
		e.enqueue(d, now)
	}
}

// reaches reports whether the event is pending or delivered at the endpoint.
func (e *memoryEvent) reaches(endpointID string) bool {
	for d := e.deliveries; d != nil; d = d.nextOfEvent {
		if d.EndpointID == endpointID && (d.State == StatePending || d.State == StateDelivered) {
			return true
		}
	}
	return false
}

// forget takes a purged delivery off the event's list.
func (e *memoryEvent) forget(d *memoryDelivery) {
	at := &e.deliveries
	for *at != d {
		at = &(*at).nextOfEvent
	}
	*at = d.nextOfEvent
}

func (d *memoryDelivery) claimed() Claimed {
	return Claimed{
		Delivery: d.Delivery, Lease: d.lease, Expired: int(d.expired),
		Event: d.event.record, Endpoint: d.endpoint.record,
	}
}

func (r *EndpointRecord) clone() EndpointRecord {
	c := *r
	c.Patterns, c.Config = slices.Clone(r.Patterns), slices.Clone(r.Config)
	return c
}

func (r *EventRecord) clone() EventRecord {
	c := *r
	c.Data = slices.Clone(r.Data)
	return c
}

func pageLimit(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return min(limit, maxLimit)
}

// The kinds of cursors of a MemoryStore.
const (
	endpointCursor byte = 'e'
	deliveryCursor byte = 'd'
	eventCursor    byte = 'v'
)

// memoryPlace is where a page of a MemoryStore begins: behind the item of that
// arrival or, where that is gone or none of the caller's, at its time. What was
// created at that time then comes again, rather than not at all.
type memoryPlace struct {
	arrival uint64    // 0: of none
	created time.Time // zero: of none
}

// precedes reports whether an item comes after the place, the oldest first.
func (p memoryPlace) precedes(arrival uint64, created time.Time) bool {
	return arrival > p.arrival && !created.Before(p.created)
}

// follows is precedes, the newest first.
func (p memoryPlace) follows(arrival uint64, created time.Time) bool {
	return (p.arrival == 0 || arrival < p.arrival) && (p.created.IsZero() || !created.After(p.created))
}

// parsePlace reads a cursor. find returns the arrival of what it names, 0 if the
// caller has no such item: a stranger's is as one that never was.
func parsePlace(text string, kind byte, find func(id string, created time.Time) (arrival uint64)) (memoryPlace, error) {
	if text == "" {
		return memoryPlace{}, nil
	}
	created, id, ok := cursor.Parse(kind, text)
	if !ok {
		return memoryPlace{}, fmt.Errorf("%w: cursor %.64q was not made by this listing", ErrInvalid, text)
	}
	if arrival := find(id, created); arrival > 0 {
		return memoryPlace{arrival: arrival}, nil
	}
	return memoryPlace{created: created}, nil
}
