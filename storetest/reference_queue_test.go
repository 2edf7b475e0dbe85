package storetest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/outhook/webhook"
)

func (s *reference) Enqueue(ctx context.Context, ps []webhook.Publication) ([]webhook.Enqueued, error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.deadlock(enqueueBusy); err != nil {
		return nil, err
	}
	events, deliveries := len(s.events), len(s.deliveries)
	var results []webhook.Enqueued
	for _, p := range ps {
		known := s.events
		if s.fault == knownBeforeCall {
			known = known[:events]
		}
		result, err := s.enqueue(p, known)
		if err != nil {
			if s.fault != enqueuePartial {
				s.events, s.deliveries = s.events[:events], s.deliveries[:deliveries]
			}
			return nil, err
		}
		results = append(results, result)
	}
	if s.fault == resultsSorted {
		slices.SortFunc(results, func(a, b webhook.Enqueued) int { return cmp.Compare(a.EventID, b.EventID) })
	}
	if len(s.deliveries) > deliveries && s.fault != neverWakes {
		for ctx, wake := range s.wakes {
			select {
			case wake <- struct{}{}:
			case <-ctx.Done():
				delete(s.wakes, ctx)
			default:
			}
		}
	}
	return results, nil
}

func (s *reference) enqueue(p webhook.Publication, known []*webhook.EventRecord) (result webhook.Enqueued, err error) {
	var byID, byKey *webhook.EventRecord
	for _, e := range known {
		if e.ID == p.Event.ID || s.fault == idsIgnoreCase && strings.EqualFold(e.ID, p.Event.ID) {
			byID = e
		}
		if p.Event.Key != "" && e.Key == p.Event.Key && (e.Tenant == p.Event.Tenant || s.fault == keyAcrossTenants) {
			byKey = e
		}
	}
	s.pause(enqueueInTwoSteps)
	addressed := p.Endpoints != nil
	if s.fault == emptyIsNil {
		addressed = len(p.Endpoints) > 0
	}
	event := byID
	if !addressed {
		event = cmp.Or(byID, byKey)
		switch {
		case event == nil:
		case byID != nil && byKey != nil && byID != byKey, event.Sum != p.Event.Sum && s.fault != sumIgnored:
			return result, webhook.ErrConflict
		default:
			result = webhook.Enqueued{EventID: event.ID, Duplicate: true}
			if s.fault == duplicateFansOut {
				result.Deliveries = len(s.fanOut(event, p))
			}
			return result, nil
		}
	}
	if event == nil {
		event = s.addEvent(p.Event)
	}
	result.EventID = event.ID
	var created []*row
	if addressed {
		created = s.address(event, p)
		for _, d := range created {
			result.Created = append(result.Created, s.claimed(d))
		}
	} else {
		created = s.fanOut(event, p)
		for _, d := range created {
			if d.leased || s.fault == handsOverUnleased && p.Places > 0 {
				result.Created = append(result.Created, s.claimed(d))
			}
		}
		if len(created) == 0 && s.fault == unmatchedDropped {
			s.events = s.events[:len(s.events)-1]
		}
	}
	result.Deliveries = len(created)
	if s.fault == behindAlways {
		result.Behind = result.Deliveries
	}
	return result, nil
}

func (s *reference) addEvent(e webhook.EventRecord) *webhook.EventRecord {
	e.CreatedAt = s.now()
	e.Data = slices.Clone(e.Data)
	switch s.fault {
	case dataAsJSON:
		var data any
		if json.Unmarshal(e.Data, &data) == nil {
			e.Data, _ = json.Marshal(data)
		}
	case timesInSeconds:
		e.Time = e.Time.Truncate(time.Second)
	}
	s.events = append(s.events, &e)
	return &e
}

func (s *reference) fanOut(event *webhook.EventRecord, p webhook.Publication) (created []*row) {
	endpoints := s.endpoints
	if s.fault == fanOutCached {
		endpoints = s.cached
	}
	var matching []*webhook.EndpointRecord
	for _, r := range endpoints {
		times := 0
		for _, pattern := range p.Patterns {
			if slices.Contains(r.Patterns, pattern) {
				times++
			}
		}
		within := r.AllTenants || slices.Contains(p.Tenants, r.Tenant)
		if s.fault == fanOutUpwards {
			within = within || r.Tenant == "" || strings.HasPrefix(event.Tenant, r.Tenant)
		}
		if times == 0 || !within || r.Disabled && s.fault != fanOutToDisabled || s.fault == fanOutLimited && len(matching) == 100 {
			continue
		}
		matching = append(matching, r)
		for ; times > 1 && s.fault == deliveryPerPattern; times-- {
			matching = append(matching, r)
		}
	}
	s.pause(fanOutInTwoSteps)
	lease, left := p.Lease, p.Places
	for _, r := range matching {
		p.Lease = 0
		if lease > 0 && p.Places > 0 && (left > 0 || s.fault == handsOverAll) && s.fault != handsOverUnleased && s.idle(r) {
			p.Lease = lease
			left--
		}
		created = append(created, s.addDelivery(event, r, p))
	}
	return created
}

// idle reports whether a delivery at the endpoint may be handed over.
func (s *reference) idle(r *webhook.EndpointRecord) bool {
	return s.fault == handsOverAlways || !r.Ordered && r.NotBefore.IsZero() && !slices.ContainsFunc(s.deliveries, func(d *row) bool {
		return d.EndpointID == r.ID && d.State == webhook.StatePending && !d.NextAttempt.After(s.now())
	})
}

func (s *reference) address(event *webhook.EventRecord, p webhook.Publication) (created []*row) {
	for _, id := range p.Endpoints {
		r := s.find(id)
		reached := slices.ContainsFunc(s.deliveries, func(d *row) bool {
			return d.event == event && d.EndpointID == id &&
				(d.State == webhook.StatePending || d.State == webhook.StateDelivered || s.fault == missingNeverTried)
		})
		if r == nil || p.Missing && reached || s.fault == addressedSkipsDisabled && r.Disabled {
			continue
		}
		created = append(created, s.addDelivery(event, r, p))
	}
	return created
}

func (s *reference) addDelivery(event *webhook.EventRecord, r *webhook.EndpointRecord, p webhook.Publication) *row {
	now := s.now()
	s.created++
	d := &row{number: s.created, event: event, ordered: r.Ordered, Delivery: webhook.Delivery{
		ID: newID(), EventID: event.ID, EventType: event.Type, EventTenant: event.Tenant, EndpointID: r.ID, Tenant: r.Tenant,
		State: webhook.StatePending, Origin: p.Origin, NextAttempt: now.Add(p.Lease), CreatedAt: now, UpdatedAt: now,
	}}
	if d.leased = p.Lease > 0; d.leased {
		d.lease = 1
	}
	switch s.fault {
	case bornUnleased:
		d.NextAttempt = now
	case originLost:
		d.Origin = webhook.OriginPublish
	}
	s.deliveries = append(s.deliveries, d)
	return d
}

func (s *reference) claimed(d *row) webhook.Claimed {
	event, endpoint := s.copyEvent(d.event), webhook.EndpointRecord{ID: d.EndpointID}
	c := webhook.Claimed{Delivery: d.Delivery, Lease: d.lease, Expired: d.expired, Event: &event, Endpoint: &endpoint}
	switch r := s.find(d.EndpointID); {
	case r == nil: // only with a fault
	case s.fault == claimsShared:
		c.Endpoint = r
	default:
		endpoint = s.copyEndpoint(r)
	}
	if s.fault == claimWithoutConfig {
		c.Endpoint.Config = nil
	}
	return c
}

func (s *reference) Claim(ctx context.Context, r webhook.ClaimRequest) (batch []webhook.Claimed, next time.Duration, err error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer unlock()
	if s.fault == turnsForgotten {
		clear(s.turns)
	}
	now, bytes, taken := s.now(), 0, make(map[string]int)
	for len(batch) < r.Max || s.fault == maxIgnored {
		d := s.best(r, taken, now)
		if d == nil {
			break
		}
		s.pause(claimInTwoSteps)
		bytes += len(d.event.Data)
		if r.MaxBytes > 0 && bytes > r.MaxBytes && (len(batch) > 0 || s.fault == maxBytesStrict) && s.fault != maxBytesIgnored {
			break
		}
		if d.leased && s.fault != expiredUncounted {
			d.expired++
		}
		if d.leased = true; s.fault != leaseConstant || d.lease == 0 {
			d.lease++
		}
		if d.NextAttempt = now.Add(r.Lease); s.fault == leaseUnset {
			d.NextAttempt = now
		}
		if s.fault == leaseForEver {
			d.NextAttempt = now.AddDate(1, 0, 0)
		}
		if e := s.find(d.EndpointID); e != nil && !e.NotBefore.IsZero() && s.fault != probesAll {
			e.NotBefore = now.Add(r.Lease)
		}
		taken[d.EndpointID]++
		s.turn++
		s.turns["tenant "+d.Tenant], s.turns["endpoint "+d.EndpointID] = s.turn, s.turn
		batch = append(batch, s.claimed(d))
		if s.fault == leaseUnset {
			break // or this would not end
		}
	}
	if len(batch) == 0 {
		next = s.next(r, now)
	}
	return batch, next, nil
}

// best returns the delivery whose turn it is.
func (s *reference) best(r webhook.ClaimRequest, taken map[string]int, now time.Time) (best *row) {
	for n, d := range s.deliveries {
		switch {
		case s.fault == windowed && n >= 900, !s.claimable(d, r, now), d.NextAttempt.After(now), s.notBefore(d).After(now):
		case s.room(d, r) <= taken[d.EndpointID]:
		case best == nil || s.compare(d, best) < 0:
			best = d
		}
	}
	return best
}

// claimable reports whether the request would take d, if it were due.
func (s *reference) claimable(d *row, r webhook.ClaimRequest, now time.Time) bool {
	e := s.find(d.EndpointID)
	switch {
	case d.State.Finished() && (s.fault != claimsFinished || d.State == webhook.StateCancelled):
		return false
	case e == nil:
		return s.fault == deleteLeavesPending
	case e.Disabled && s.fault != claimsDisabled, s.room(d, r) == 0:
		return false
	}
	ordered := e.Ordered
	if s.fault == orderedFixed {
		ordered = d.ordered
	}
	if !ordered || s.fault == orderIgnored {
		return true
	}
	return !slices.ContainsFunc(s.deliveries, func(o *row) bool {
		before := o.number < d.number
		if s.fault == orderedByID {
			before = o.CreatedAt.Before(d.CreatedAt) || o.CreatedAt.Equal(d.CreatedAt) && o.EventID < d.EventID
		}
		if s.fault == orderedWhileLeased && !o.leased && o.NextAttempt.After(now) {
			return false
		}
		open := o.State == webhook.StatePending || s.fault == exhaustedBlocks && o.State == webhook.StateExhausted
		return before && open && o.EndpointID == d.EndpointID && o.event.OrderingKey == d.event.OrderingKey
	})
}

func (s *reference) room(d *row, r webhook.ClaimRequest) int {
	n, named := r.Room[d.EndpointID]
	switch {
	case s.fault == perEndpointIgnored && !named:
		return r.Max
	case !named || s.fault == roomIgnored:
		return r.PerEndpoint
	case s.fault == roomOnlyLowers:
		return min(n, r.PerEndpoint)
	}
	return n
}

func (s *reference) notBefore(d *row) time.Time {
	e := s.find(d.EndpointID)
	if e == nil || s.fault == notBeforeIgnored {
		return time.Time{}
	}
	return e.NotBefore
}

func (s *reference) compare(a, b *row) int {
	due := cmp.Or(a.NextAttempt.Compare(b.NextAttempt), cmp.Compare(a.number, b.number))
	if s.fault == newestFirst {
		due = -due
	}
	tenants := cmp.Compare(s.turns["tenant "+a.Tenant], s.turns["tenant "+b.Tenant])
	endpoints := cmp.Compare(s.turns["endpoint "+a.EndpointID], s.turns["endpoint "+b.EndpointID])
	switch s.fault {
	case noTurns:
		return due
	case tenantsHaveNoTurns:
		return cmp.Or(endpoints, due)
	case endpointsHaveNoTurns:
		return cmp.Or(tenants, due)
	}
	return cmp.Or(tenants, endpoints, due)
}

func (s *reference) next(r webhook.ClaimRequest, now time.Time) (next time.Duration) {
	for _, d := range s.deliveries {
		at := d.NextAttempt
		if nb := s.notBefore(d); nb.After(at) {
			at = nb
		}
		if in := at.Sub(now); s.claimable(d, r, now) && (s.fault != nextIgnoresLeases || !d.leased) && (next == 0 || in < next) {
			next = in
		}
	}
	if s.fault == nextUnknown {
		return 0
	}
	return next
}

func (s *reference) Settle(ctx context.Context, ss []webhook.Settlement) (stale []string, err error) {
	unlock, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.deadlock(settleBusy); err != nil {
		return nil, err
	}
	for n, o := range ss {
		if a := o.Attempt; a != nil && s.fault == hostileRefused && !utf8.ValidString(a.Error) {
			return nil, errors.New("invalid byte sequence for encoding UTF8")
		}
		if first := ss[0].Attempt; s.fault == startsShared && first != nil && o.Attempt != nil {
			a := *o.Attempt
			a.StartedAt, o.Attempt = first.StartedAt, &a
		}
		d := s.row(o.DeliveryID)
		repeated := d != nil && o.Attempt != nil && slices.ContainsFunc(d.attempts, func(a webhook.Attempt) bool { return a.ID == o.Attempt.ID })
		switch {
		case d == nil && s.fault == unknownSettles, repeated && s.fault != repeatIsStale && s.fault != repeatStored:
		case d == nil, !s.settles(d, o, repeated):
			stale = append(stale, o.DeliveryID)
			if s.fault == staleEndsBatch {
				for _, o := range ss[n+1:] {
					stale = append(stale, o.DeliveryID)
				}
				return stale, nil
			}
		default:
			s.pause(settleInTwoSteps)
			s.settle(d, o)
		}
	}
	if s.fault == logsMixedUp && len(ss) > 1 {
		if a, b := s.row(ss[0].DeliveryID), s.row(ss[1].DeliveryID); a != nil && b != nil {
			a.attempts, b.attempts = b.attempts, a.attempts
		}
	}
	return stale, nil
}

func (s *reference) settles(d *row, o webhook.Settlement, repeated bool) bool {
	switch {
	case s.fault == cancelledSettles && d.State == webhook.StateCancelled, repeated && s.fault == repeatStored, s.fault == staleAccepted:
		return true
	case s.fault == expiredIsStale && !d.NextAttempt.After(s.now()):
		return false
	}
	return d.State == webhook.StatePending && d.lease == o.Lease && (d.leased || s.fault == leaseSurvives)
}

func (s *reference) settle(d *row, o webhook.Settlement) {
	now := s.now()
	d.leased = false
	if s.fault != expiredKept {
		d.expired = 0
	}
	d.State, d.NextAttempt, d.UpdatedAt = o.State, time.Time{}, now
	if o.State == webhook.StatePending {
		d.NextAttempt = now.Add(o.Delay)
	}
	switch {
	case s.fault == retryLost && o.State == webhook.StatePending && o.Delay > 0:
		d.NextAttempt = now.AddDate(1, 0, 0)
	case s.fault == delayIgnored && o.State == webhook.StatePending:
		d.NextAttempt = now
	}
	if a := o.Attempt; a != nil {
		kept := *a
		kept.RequestHeaders, kept.ResponseHeaders, kept.ResponseBody = a.RequestHeaders.Clone(), a.ResponseHeaders.Clone(), slices.Clone(a.ResponseBody)
		if s.fault == headersSingle {
			kept.RequestHeaders, kept.ResponseHeaders = keptHeaders(kept.RequestHeaders), keptHeaders(kept.ResponseHeaders)
		}
		d.attempts = append(d.attempts, kept)
		if o.Counted || s.fault == uncountedCounted {
			d.Attempts++
			if d.FirstAttempt.IsZero() || s.fault == firstAttemptMoves {
				d.FirstAttempt = a.StartedAt
			}
			d.LastStatus, d.LastError = a.StatusCode, a.Error
		}
	}
	if r := s.find(d.EndpointID); r != nil {
		s.judge(r, o, now)
	}
}

func (s *reference) judge(r *webhook.EndpointRecord, o webhook.Settlement, now time.Time) {
	since := r.FailingSince
	if s.fault == deliveredIsHealthy && o.State == webhook.StateDelivered {
		o.Health = webhook.HealthSuccess
	}
	switch o.Health {
	case webhook.HealthSuccess:
		r.FailingSince = time.Time{}
		if s.fault != successKeepsPause {
			r.NotBefore = time.Time{}
		}
	case webhook.HealthFailure:
		if since.IsZero() || s.fault == everyFailureIsFirst {
			r.FailingSince = now
		}
	}
	if at := now.Add(o.Pause); o.Pause > 0 && (s.fault != pauseOnlyExtends || at.After(r.NotBefore)) {
		r.NotBefore = at
	}
	if o.Disable != "" && (!r.Disabled || s.fault == disableAgainRev) && (o.IfFailingSince.IsZero() || o.IfFailingSince.Equal(since) || s.fault == disableAlways) {
		r.Disabled, r.DisabledReason, r.UpdatedAt = true, o.Disable, now
		if s.fault != disableKeepsRev {
			r.Rev++
		}
	} else if s.fault == healthRaisesRev && o.Health != webhook.HealthUnchanged {
		r.Rev++
	}
}
