package webhook

import (
	"context"
	"time"
)

// Store keeps endpoints, events, deliveries and attempts. [MemoryStore] is one;
// package sqlstore has one for PostgreSQL and SQLite; an application can write
// its own in a few hundred lines and prove it with package storetest.
//
// A Store matches and orders by the plain fields of the records and never looks
// into EndpointRecord.Config or EventRecord.Data. Byte fields are kept byte for
// byte, times to the microsecond at least. All methods are safe for concurrent
// use, by several processes where the store is shared by them. A context that
// has ended is answered with its error, and nothing is changed. What a method
// returns is the caller's to keep: the store does not change it later. What a
// method is given may be kept: the caller does not change it later.
//
// A Store that wraps another offers Unwrap() Store; the optional interfaces
// [Waker], [Purger] and [OrderedQueue] are looked for along that chain.
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
	// ListEndpoints lists by CreatedAt and ID, oldest first, with the Total.
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
	// With Endpoints not nil, the event is stored unless its ID is known, and
	// exactly these endpoints get a delivery, disabled or not; those that do
	// not exist are passed over, and with Missing also those where a delivery
	// of the event is pending or delivered. The new deliveries are returned in
	// Created. With Lease > 0 they are born leased, as if claimed at once.
	//
	// An error that matches [ErrUncertain] means that the outcome is unknown;
	// any other, that nothing was stored.
	Enqueue(ctx context.Context, ps []Publication) ([]Enqueued, error)
	// Claim leases deliveries that are pending and due and returns all that
	// sending them needs. A claim sets the due time to now + Lease and counts
	// the delivery's lease number up: a delivery whose lease ran out is simply
	// due again, and its Expired is one higher.
	//
	// Never claimed are deliveries of a disabled or deleted endpoint, or of one
	// whose NotBefore lies ahead. Once a NotBefore has passed, a claim takes
	// one delivery of that endpoint and moves NotBefore to now + Lease, until a
	// settlement with HealthSuccess clears it. Of an ordered endpoint only the
	// oldest pending delivery of each ordering key is claimed, and none of a
	// key whose oldest is leased or not yet due (see [OrderedQueue]).
	//
	// Tenants take turns, and endpoints within a tenant; within an endpoint the
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
	// and its lease number is the settlement's; the IDs of the others are
	// returned as stale, and nothing of them is stored. A settlement whose
	// Attempt.ID is stored already is a no-op, and not stale: a Settle whose
	// answer was lost may be repeated.
	//
	// See [Settlement] for what it changes. Every settlement ends the lease
	// and sets Expired to 0.
	Settle(ctx context.Context, ss []Settlement) (stale []string, err error)
}

// Log reads what was published and what became of it.
type Log interface {
	// GetDelivery returns the delivery, or [ErrNotFound].
	GetDelivery(ctx context.Context, id string) (Delivery, error)
	// GetEvent returns the event, or [ErrNotFound].
	GetEvent(ctx context.Context, id string) (EventRecord, error)
	// ListDeliveries lists newest first. A cursor stays valid while deliveries
	// are added; one that the store did not make is [ErrInvalid].
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
	Tenant         string
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
	Config         []byte // opaque; store it as bytes, not as a JSON type
}

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
	Patterns  []string // every pattern that matches the event's type
	Tenants   []string // every tenant that the event's tenant is or is within
	Endpoints []string // not nil: exactly these, instead of those that match
	Missing   bool     // with Endpoints: pass over where it is pending or delivered
	Origin    Origin   // of the deliveries
	Lease     time.Duration
}

// Enqueued is the result of a [Publication].
type Enqueued struct {
	EventID    string // the first one's, if Duplicate
	Duplicate  bool
	Deliveries int       // created now
	Created    []Claimed // those deliveries, when Publication.Endpoints is not nil
}

// ClaimRequest says how much a dispatcher can start now.
type ClaimRequest struct {
	Max         int            // deliveries in all
	PerEndpoint int            // deliveries of one endpoint that Room does not name
	MaxBytes    int            // of EventRecord.Data in all, at least one delivery however large; 0: no limit
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

// Settlement is the outcome of a claimed delivery.
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
	// Disable, if not empty, disables the endpoint for that reason and raises
	// its Rev: always where IfFailingSince is zero, otherwise only while its
	// FailingSince is still that.
	Disable        string
	IfFailingSince time.Time
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
