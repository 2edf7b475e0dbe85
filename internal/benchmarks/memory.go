package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/outhook/webhook"
)

const (
	tenantEndpoints = 10 // endpoints of a tenant in the memory scenario
	eventDataSize   = 128
	claimSize       = 100
)

// memory measures the MemoryStore alone: what claiming and settling costs while
// much and while very much is pending, and what a pending delivery takes.
func memory(ctx context.Context, s size, _ *databases) ([]figure, error) {
	var stores [2]*filledStore
	overhead := make([][]float64, 2)
	for n, pending := range s.pending {
		var err error
		if stores[n], err = newFilledStore(ctx, webhook.NewMemoryStore(), s.endpoints); err != nil {
			return nil, err
		}
		before := heap()
		if err := stores[n].fill(ctx, pending); err != nil {
			return nil, err
		}
		overhead[n] = []float64{float64(heap()-before)/float64(pending) - eventDataSize}
	}
	times, walls := make([][]float64, 2), make([][]float64, 2)
	for round := -1; round < s.rounds; round++ {
		for turn := range stores {
			n := turn ^ round&1
			took, wall, err := stores[n].drain(ctx, min(s.deliveries, s.pending[n]))
			if err != nil {
				return nil, err
			}
			if round >= 0 {
				times[n] = append(times[n], took)
				walls[n] = append(walls[n], wall)
			}
		}
	}
	var figures []figure
	for n, pending := range s.pending {
		figures = append(figures,
			figure{name: fmt.Sprintf("%d pending: claim and settle", pending), unit: "ns CPU/delivery", rounds: times[n], bound: bound{atMost, 3000}},
			figure{name: fmt.Sprintf("%d pending: by the clock", pending), unit: "ns/delivery", rounds: walls[n]},
			figure{name: fmt.Sprintf("%d pending: beside the data", pending), unit: "B/delivery", rounds: overhead[n], bound: bound{atMost, 1024}},
		)
	}
	return append(figures, figure{
		name: fmt.Sprintf("%d / %d pending", s.pending[1], s.pending[0]), unit: "of its time",
		rounds: both(times[1], times[0], ratio), bound: bound{atMost, 1.3},
	}), nil
}

// heap returns the bytes of what is reachable.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // finalizers and pools need a second one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// filledStore is a Store with endpoints, each subscribed to a type of its own.
type filledStore struct {
	webhook.Store
	endpoints int
	tenants   [][]string
	types     []string
	published int
}

func newFilledStore(ctx context.Context, store webhook.Store, endpoints int) (*filledStore, error) {
	s := &filledStore{Store: store, endpoints: endpoints}
	for i := range endpoints {
		if i%tenantEndpoints == 0 {
			s.tenants = append(s.tenants, []string{"tenant-" + strconv.Itoa(len(s.tenants))})
		}
		s.types = append(s.types, "type-"+strconv.Itoa(i))
		_, err := s.PutEndpoint(ctx, webhook.EndpointRecord{
			ID: uuid.NewString(), Tenant: s.tenants[i/tenantEndpoints][0], Patterns: s.types[i : i+1],
			Config: make([]byte, 256),
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// fill adds n pending deliveries, each of an event of its own, to the endpoints
// in turn.
func (s *filledStore) fill(ctx context.Context, n int) error {
	publications := make([]webhook.Publication, 0, batchSize)
	for i := range n {
		at := s.published % s.endpoints
		s.published++
		tenants, eventType := s.tenants[at/tenantEndpoints], s.types[at:at+1]
		e := webhook.EventRecord{
			ID: uuid.Must(uuid.NewV7()).String(), Type: eventType[0], Tenant: tenants[0],
			Time: time.Now(), Data: make([]byte, eventDataSize),
		}
		publications = append(publications, webhook.Publication{Event: e, Patterns: eventType, Tenants: tenants, Origin: webhook.OriginPublish})
		if len(publications) < batchSize && i < n-1 {
			continue
		}
		if _, err := s.Enqueue(ctx, publications); err != nil {
			return err
		}
		publications = publications[:0]
	}
	return nil
}

// drain claims and settles n deliveries, returns the nanoseconds that one took,
// of processor time and by the clock, and then fills the store to the level that
// it had. The bound is on processor time: nothing but memory is waited for here,
// and so short a time by the clock is distorted by whatever else the machine does.
func (s *filledStore) drain(ctx context.Context, n int) (perDelivery, wall float64, err error) {
	b := newBatches(n)
	runtime.GC()
	start, began := cpuTime(), time.Now()
	for left := n; left > 0; {
		claimed, err := b.claim(ctx, s, webhook.ClaimRequest{Max: min(claimSize, left), PerEndpoint: 16})
		if err != nil {
			return 0, 0, err
		}
		if err := b.settle(ctx, s); err != nil {
			return 0, 0, err
		}
		left -= claimed
	}
	took, passed := cpuTime()-start, time.Since(began)
	if err := s.fill(ctx, n); err != nil {
		return 0, 0, err
	}
	for removed := 1; removed > 0; {
		if removed, err = s.Store.(webhook.Purger).Purge(ctx, 0, batchSize); err != nil {
			return 0, 0, err
		}
	}
	return float64(took) / float64(n), float64(passed) / float64(n), nil
}

// batches claims deliveries and settles them as delivered, as a Dispatcher does.
type batches struct {
	attempts    []webhook.Attempt // made beforehand
	settlements []webhook.Settlement
}

// newBatches returns what can settle n deliveries.
func newBatches(n int) *batches {
	b := &batches{attempts: make([]webhook.Attempt, n), settlements: make([]webhook.Settlement, 0, claimSize)}
	for i := range b.attempts {
		b.attempts[i] = webhook.Attempt{ID: uuid.Must(uuid.NewV7()).String(), Number: 1, StartedAt: time.Now(), StatusCode: 204}
	}
	return b
}

// claim claims a batch that is not empty.
func (b *batches) claim(ctx context.Context, s webhook.Store, r webhook.ClaimRequest) (int, error) {
	r.MaxBytes, r.Lease = 8<<20, time.Minute
	batch, _, err := s.Claim(ctx, r)
	if err == nil && len(batch) == 0 {
		err = errors.New("nothing to claim")
	}
	b.settlements = b.settlements[:0]
	for i := range batch {
		c := &batch[i]
		a := &b.attempts[0]
		b.attempts = b.attempts[1:]
		a.DeliveryID = c.Delivery.ID
		b.settlements = append(b.settlements, webhook.Settlement{
			DeliveryID: c.Delivery.ID, Lease: c.Lease, State: webhook.StateDelivered,
			Attempt: a, Counted: true, Health: webhook.HealthSuccess,
		})
	}
	return len(batch), err
}

// settle settles what was claimed.
func (b *batches) settle(ctx context.Context, s webhook.Store) error {
	stale, err := s.Settle(ctx, b.settlements)
	if err == nil && len(stale) > 0 {
		err = fmt.Errorf("%d of %d settlements are stale", len(stale), len(b.settlements))
	}
	return err
}
