package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/outhook/webhook"
)

// reference is a store that is as simple as can be: slices under a mutex and
// linear scans. A fault makes it break a promise.
type reference struct {
	now        func() time.Time
	fault      fault
	mu         sync.Mutex
	endpoints  []*webhook.EndpointRecord
	cached     []*webhook.EndpointRecord // for the fault fanOutCached
	events     []*webhook.EventRecord
	deliveries []*row
	created    int // numbers deliveries
	turn       int
	turns      map[string]int // by tenant and by endpoint: when it had its last one
	wakes      map[context.Context]chan struct{}
	present    map[string]time.Time
	busy       bool // for the faults enqueueBusy and settleBusy
}

// row is a delivery.
type row struct {
	webhook.Delivery
	event    *webhook.EventRecord
	number   int
	ordered  bool // of its endpoint, for the fault orderedFixed
	lease    int64
	leased   bool
	expired  int
	attempts []webhook.Attempt
}

func newReference(f fault) *reference {
	return &reference{fault: f, now: time.Now, turns: make(map[string]int), wakes: make(map[context.Context]chan struct{}), present: make(map[string]time.Time)}
}

func (s *reference) SetClock(now func() time.Time) { s.now = now }

func (s *reference) ClaimsOrdered() {}

func (s *reference) HandsOver(context.Context) bool { return true }

func (s *reference) Wakes(ctx context.Context) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wakes[ctx] = make(chan struct{}, 1)
	return s.wakes[ctx], nil
}

// begin locks the store, unless ctx has ended.
func (s *reference) begin(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil && s.fault != contextIgnored {
		return nil, err
	}
	s.mu.Lock()
	return s.mu.Unlock, nil
}

// pause lets others in between two steps, where there should be one.
func (s *reference) pause(f fault) {
	if s.fault == f {
		s.mu.Unlock()
		<-time.After(time.Millisecond)
		s.mu.Lock()
	}
}

// deadlock fails while another call is under way.
func (s *reference) deadlock(f fault) error {
	if s.fault == f && s.busy {
		return errors.New("deadlock detected")
	}
	s.busy = true
	s.pause(f)
	s.busy = false
	return nil
}

func (s *reference) find(id string) *webhook.EndpointRecord {
	for _, r := range s.endpoints {
		if r.ID == id {
			return r
		}
	}
	return nil
}

func (s *reference) PutEndpoint(ctx context.Context, r webhook.EndpointRecord) (webhook.EndpointRecord, error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return webhook.EndpointRecord{}, err
	}
	defer unlock()
	old := s.find(r.ID)
	switch {
	case old == nil && r.Rev != 0:
		return r, webhook.ErrNotFound
	case old != nil && old.Rev != r.Rev && s.fault != revIgnored:
		return r, webhook.ErrConflict
	}
	s.pause(putInTwoSteps)
	r.UpdatedAt = s.now()
	if old == nil || s.fault == createdAtMoves {
		r.CreatedAt = s.now()
	} else {
		r.CreatedAt = old.CreatedAt
	}
	if s.fault != putWritesHealth {
		r.FailingSince, r.NotBefore = time.Time{}, time.Time{}
		if old != nil && (!old.Disabled || r.Disabled || s.fault == enablingKeepsHealth) {
			r.FailingSince, r.NotBefore = old.FailingSince, old.NotBefore
		}
	}
	r.Rev++
	r.Patterns, r.Config = slices.Clone(r.Patterns), slices.Clone(r.Config)
	if s.fault == configAsText {
		r.Config = []byte(strings.ToValidUTF8(string(r.Config), "?"))
	}
	if old = s.find(r.ID); old != nil {
		*old = r
	} else {
		s.endpoints = append(s.endpoints, &r)
		s.cached = slices.Clone(s.endpoints)
		for _, d := range s.deliveries {
			if s.fault == reinsertRevives && d.EndpointID == r.ID && d.State == webhook.StateCancelled {
				d.State = webhook.StatePending
			}
		}
	}
	return s.copyEndpoint(&r), nil
}

func (s *reference) copyEndpoint(r *webhook.EndpointRecord) webhook.EndpointRecord {
	c := *r
	if s.fault != resultsShared {
		c.Patterns, c.Config = slices.Clone(r.Patterns), slices.Clone(r.Config)
	}
	return c
}

func (s *reference) DeleteEndpoint(ctx context.Context, id string) error {
	unlock, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	r := s.find(id)
	if r == nil {
		return webhook.ErrNotFound
	}
	s.endpoints = slices.DeleteFunc(s.endpoints, func(e *webhook.EndpointRecord) bool { return e == r })
	for _, d := range s.deliveries {
		if d.EndpointID == id && d.State == webhook.StatePending && s.fault != deleteLeavesPending {
			d.State, d.UpdatedAt, d.NextAttempt = webhook.StateCancelled, s.now(), time.Time{}
		}
	}
	return nil
}

func (s *reference) GetEndpoint(ctx context.Context, id string) (webhook.EndpointRecord, error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return webhook.EndpointRecord{}, err
	}
	defer unlock()
	if r := s.find(id); r != nil {
		return s.copyEndpoint(r), nil
	}
	return webhook.EndpointRecord{}, s.notFound()
}

func (s *reference) notFound() error {
	if s.fault == notFoundAlien {
		return errors.New("sql: no rows in result set")
	}
	return webhook.ErrNotFound
}

// scope reports whether tenant is in the scope.
func (s *reference) scope(scope webhook.Scope, tenant string) bool {
	switch {
	case s.fault == scopeByPrefix && scope.Tenant != "":
		return scope.All || strings.HasPrefix(tenant, scope.Tenant)
	case s.fault == scopeIgnoresCase:
		return scope.Contains(tenant) || webhook.Scope{Tenant: strings.ToLower(scope.Tenant)}.Contains(strings.ToLower(tenant))
	case s.fault == scopeEmptyIsAll && scope.Tenant == "":
		return true
	case s.fault == scopeByRange && scope.Tenant != "":
		return scope.All || tenant >= scope.Tenant && tenant < scope.Tenant+"0"
	}
	return scope.Contains(tenant)
}

// entry is what pageOf needs to know of an item.
type entry struct {
	id, tenant string
	number     int // ascends with creation
	created    time.Time
	selected   bool // by the filter, the scope included
}

// query is what pageOf needs to know of a listing.
type query struct {
	scope       webhook.Scope
	newestFirst bool
	cursor      string
	limit       int
}

// pageOf cuts a page out of all items, which are in the order of the listing.
func pageOf[T any](s *reference, all []T, of func(T) entry, q query) (p webhook.Page[T], err error) {
	selected := func(items []T) []T {
		return slices.DeleteFunc(slices.Clone(items), func(i T) bool { return !of(i).selected })
	}
	items, skip := selected(all), 0
	if q.cursor != "" {
		var nano int64
		var id string
		n, err := fmt.Sscanf(q.cursor, "after %d %d %q", &nano, &skip, &id)
		created := time.Unix(0, nano)
		at := slices.IndexFunc(all, func(i T) bool {
			return of(i).id == id && (q.scope.Contains(of(i).tenant) || s.fault == cursorUnscoped || s.fault == cursorWidens) && of(i).created.Equal(created)
		})
		switch {
		case err != nil || n != 3:
			if s.fault != cursorUnchecked {
				return p, fmt.Errorf("cursor %q: %w", q.cursor, webhook.ErrInvalid)
			}
		case s.fault == cursorIsOffset:
			items = items[min(skip, len(items)):]
		case s.fault == cursorOfFilter:
			items = items[slices.IndexFunc(items, func(i T) bool { return of(i).id == id })+1:]
		case s.fault == cursorWidens && at >= 0 && !q.scope.Contains(of(all[at]).tenant):
			items = slices.Clone(all[at+1:])
		default:
			if at < 0 { // gone: those of its time come again
				for at+1 < len(all) && (!q.newestFirst && of(all[at+1]).created.Before(created) || q.newestFirst && of(all[at+1]).created.After(created)) {
					at++
				}
			}
			for at+1 < len(all) && of(all[at+1]).created.Equal(created) && (s.fault == cursorIsTime || s.fault == cursorLoses && (at < 0 || of(all[at]).id != id)) {
				at++
			}
			if items = selected(all[at+1:]); s.fault == cursorSkips && len(items) > 0 {
				items = items[1:]
			}
		}
	}
	limit := min(cmp.Or(q.limit, 100), 1000)
	if s.fault == limitIgnored {
		limit = 1 << 30
	}
	if p.Items = slices.Clone(items); len(items) > limit {
		p.Items = p.Items[:limit]
		last := of(items[limit-1])
		switch s.fault {
		case cursorIsOffset:
			skip += limit
		case cursorCounts:
			skip = last.number
		}
		p.Next = fmt.Sprintf("after %d %d %q", last.created.UnixNano(), skip, last.id)
	}
	return p, nil
}

func (s *reference) ListEndpoints(ctx context.Context, f webhook.EndpointFilter) (p webhook.Page[webhook.EndpointRecord], err error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return p, err
	}
	defer unlock()
	selected := func(r *webhook.EndpointRecord) bool {
		return s.scope(f.Scope, r.Tenant) && (f.Disabled == nil || *f.Disabled == r.Disabled)
	}
	all := slices.Clone(s.endpoints)
	if s.fault == endpointsByID {
		slices.SortFunc(all, func(a, b *webhook.EndpointRecord) int { return cmp.Compare(a.ID, b.ID) })
	}
	found, err := pageOf(s, all, func(r *webhook.EndpointRecord) entry {
		return entry{r.ID, r.Tenant, slices.Index(s.endpoints, r), r.CreatedAt, selected(r)}
	}, query{scope: f.Scope, cursor: f.Cursor, limit: f.Limit})
	for _, r := range found.Items {
		p.Items = append(p.Items, s.copyEndpoint(r))
	}
	p.Next = found.Next
	for _, r := range all {
		if selected(r) {
			p.Total++
		}
	}
	if s.fault == totalOfPage {
		p.Total = len(p.Items)
	}
	return p, err
}

func (s *reference) GetDelivery(ctx context.Context, id string) (webhook.Delivery, error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return webhook.Delivery{}, err
	}
	defer unlock()
	if d := s.row(id); d != nil {
		return d.Delivery, nil
	}
	return webhook.Delivery{}, s.notFound()
}

func (s *reference) row(id string) *row {
	for _, d := range s.deliveries {
		if d.ID == id {
			return d
		}
	}
	return nil
}

func (s *reference) GetEvent(ctx context.Context, id string) (webhook.EventRecord, error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return webhook.EventRecord{}, err
	}
	defer unlock()
	if e := s.eventByID(id); e != nil {
		return s.copyEvent(e), nil
	}
	return webhook.EventRecord{}, s.notFound()
}

func (s *reference) eventByID(id string) *webhook.EventRecord {
	for _, e := range s.events {
		if e.ID == id || s.fault == idsIgnoreCase && strings.EqualFold(e.ID, id) {
			return e
		}
	}
	return nil
}

func (s *reference) copyEvent(e *webhook.EventRecord) webhook.EventRecord {
	c := *e
	if s.fault != resultsShared {
		c.Data = slices.Clone(e.Data)
	}
	return c
}

// between reports whether t is in a filter's span.
func (s *reference) between(t, from, to time.Time) bool {
	switch {
	case s.fault == fromExclusive && t.Equal(from), s.fault != toInclusive && t.Equal(to):
		return false
	}
	return !t.Before(from) && (to.IsZero() || !t.After(to))
}

func (s *reference) ListDeliveries(ctx context.Context, f webhook.DeliveryFilter) (p webhook.Page[webhook.Delivery], err error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return p, err
	}
	defer unlock()
	selected := func(d *row) bool {
		return s.scope(f.Scope, d.Tenant) && cmp.Or(f.EndpointID, d.EndpointID) == d.EndpointID && cmp.Or(f.EventID, d.EventID) == d.EventID &&
			cmp.Or(f.EventType, d.EventType) == d.EventType && s.between(d.CreatedAt, f.From, f.To) &&
			(len(f.States) == 0 || slices.Contains(f.States, d.State) || s.fault == statesIgnored)
	}
	all := slices.Clone(s.deliveries)
	slices.Reverse(all)
	if s.fault == finishedMove {
		slices.SortStableFunc(all, func(a, b *row) int {
			return cmp.Compare(strconv.FormatBool(a.State.Finished()), strconv.FormatBool(b.State.Finished()))
		})
	}
	rows, err := pageOf(s, all, func(d *row) entry {
		return entry{d.ID, d.Tenant, d.number, d.CreatedAt, selected(d)}
	}, query{scope: f.Scope, newestFirst: true, cursor: f.Cursor, limit: f.Limit})
	p.Next = rows.Next
	for _, d := range rows.Items {
		p.Items = append(p.Items, d.Delivery)
	}
	return p, err
}

func (s *reference) ListAttempts(ctx context.Context, deliveryID string) (as []webhook.Attempt, err error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if d := s.row(deliveryID); d != nil {
		for _, a := range d.attempts {
			if s.fault != resultsShared {
				a.RequestHeaders, a.ResponseHeaders, a.ResponseBody = a.RequestHeaders.Clone(), a.ResponseHeaders.Clone(), slices.Clone(a.ResponseBody)
			}
			as = append(as, a)
		}
	}
	if s.fault == attemptsByStart {
		slices.SortFunc(as, func(a, b webhook.Attempt) int { return a.StartedAt.Compare(b.StartedAt) })
	}
	return as, nil
}

func (s *reference) ListEvents(ctx context.Context, f webhook.EventFilter) (p webhook.Page[webhook.EventRecord], err error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return p, err
	}
	defer unlock()
	all := slices.Clone(s.events)
	if s.fault == eventsNewestFirst {
		slices.Reverse(all)
	}
	found, err := pageOf(s, all, func(e *webhook.EventRecord) entry {
		selected := (!e.Test || s.fault == testsListed) && s.scope(f.Scope, e.Tenant) && cmp.Or(f.Type, e.Type) == e.Type && s.between(e.CreatedAt, f.From, f.To)
		return entry{e.ID, e.Tenant, slices.Index(s.events, e), e.CreatedAt, selected}
	}, query{scope: f.Scope, cursor: f.Cursor, limit: f.Limit})
	p.Next = found.Next
	for _, e := range found.Items {
		p.Items = append(p.Items, s.copyEvent(e))
	}
	return p, err
}

func (s *reference) Attend(_ context.Context, dispatcher string, ttl time.Duration) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ttl > 0:
		s.present[dispatcher] = s.now().Add(ttl)
	case s.fault != staysPresent:
		delete(s.present, dispatcher)
	}
	for _, until := range s.present {
		if until.After(s.now()) || s.fault == presentForEver {
			n++
		}
	}
	return n, nil
}

func (s *reference) Summarize(ctx context.Context, f webhook.StatisticsFilter) ([]webhook.Statistics, error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var all []webhook.Delivery
	for _, d := range s.deliveries {
		c := d.Delivery
		if c.Origin == webhook.OriginTest && s.fault == testsCounted {
			c.Origin = webhook.OriginResend
		}
		if s.fault == strangersCounted {
			c.Tenant = f.Scope.Tenant
		}
		if s.fault == lastBucketOpen && !c.CreatedAt.Before(f.To) {
			c.CreatedAt = f.To.Add(-time.Microsecond)
		}
		all = append(all, c)
	}
	if s.fault == fewCounted {
		all = all[:min(len(all), 100)]
	}
	parts := f.Parts()
	for n := range parts {
		parts[n] = counted(f, all, n)
		if s.fault == strangersSeen {
			parts[n].Estimated = slices.ContainsFunc(all, func(d webhook.Delivery) bool { return d.EndpointID == parts[n].EndpointID })
		}
	}
	return parts, nil
}

func (s *reference) Purge(ctx context.Context, age time.Duration, limit int) (removed int, err error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer unlock()
	before := s.now().Add(-age)
	s.deliveries = slices.DeleteFunc(s.deliveries, func(d *row) bool {
		at := d.UpdatedAt
		if s.fault == purgeByCreation {
			at = d.CreatedAt
		}
		gone := at.Before(before) && (d.State.Finished() || s.fault == purgePending) && removed < limit
		if s.fault == purgeUnlimited {
			gone = d.State.Finished() && at.Before(before)
		}
		if gone {
			removed++
		}
		return gone
	})
	if s.fault == purgeLeavesEvents {
		return removed, nil
	}
	s.events = slices.DeleteFunc(s.events, func(e *webhook.EventRecord) bool {
		gone := e.CreatedAt.Before(before) && removed < limit && !slices.ContainsFunc(s.deliveries, func(d *row) bool { return d.event == e })
		if gone {
			removed++
			if s.fault == purgeKeepsKeys && e.Key != "" {
				e.ID, e.CreatedAt, e.Test = "purged:"+e.ID, s.now().Add(24*time.Hour), true
				return false
			}
		}
		return gone
	})
	return removed, nil
}

// keptHeaders is how the fault headersSingle keeps headers.
func keptHeaders(h http.Header) http.Header {
	kept := maps.Clone(h)
	for name, values := range kept {
		kept[name] = values[:1]
	}
	return kept
}
