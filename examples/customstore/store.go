// Package customstore is a webhook.Store on bbolt, a key-value database in one
// file: what it takes to write a store for a database that the library does not
// know. It serves one process, since bbolt locks the file. Ordered endpoints and
// purging, which are optional, are left out.
package customstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/outhook/webhook"
	bolt "go.etcd.io/bbolt"
)

// The buckets, with their keys and values. Records are gobs, which keep every
// byte. In a key, each text ends with a zero byte; a stamp is a time and a
// sequence number.
const (
	endpoints   = "endpoint"     // id: endpoint
	registered  = "registered"   // stamp of CreatedAt: id of the endpoint
	subscribers = "subscriber"   // see subscriptions: id of an endpoint
	events      = "event"        // id: webhook.EventRecord
	eventKeys   = "event key"    // tenant, key: id of the event
	eventLog    = "event log"    // stamp of CreatedAt: id of the event, unless of a test send
	deliveries  = "delivery"     // id: delivery
	deliveryLog = "delivery log" // one of several prefixes, stamp of CreatedAt: id of the delivery
	queue       = "queue"        // endpoint's id, stamp of NextAttempt: id of a pending delivery
	turns       = "turn"         // tenant, endpoint's id: stamp of when a claim may take from its queue
	attempts    = "attempt"      // delivery's id, stamp of settlement: webhook.Attempt
	attemptIDs  = "attempt id"   // id: delivery's id
)

type endpoint struct {
	webhook.EndpointRecord
	Seq uint64
}

type delivery struct {
	webhook.Delivery
	Seq     uint64
	Lease   int64 // the number of the last lease
	Leased  bool  // that was not settled, whether it ran out or not
	Expired int
}

// Store is a webhook.Store in a file.
type Store struct {
	db    *bolt.DB
	clock func() time.Time

	// Whose turn it was last. Only Claim uses them, within an update, of which
	// bbolt runs one at a time.
	lastTenant   string
	lastEndpoint map[string]string // by tenant
}

// Open opens the store in the file, which is created where there is none. It
// fails if the file is open already and stays so for a second.
func Open(path string) (*Store, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range []string{endpoints, registered, subscribers, events, eventKeys, eventLog,
			deliveries, deliveryLog, queue, turns, attempts, attemptIDs} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Join(err, db.Close()))
	}
	return &Store{db: db, clock: time.Now, lastEndpoint: make(map[string]string)}, nil
}

// Close waits for the calls under way and closes the file.
func (s *Store) Close() error { return s.db.Close() }

// SetClock replaces time.Now as the store's clock, for tests. Call it before
// the store is used.
func (s *Store) SetClock(now func() time.Time) { s.clock = now }

// PutEndpoint implements webhook.EndpointStore.
func (s *Store) PutEndpoint(ctx context.Context, r webhook.EndpointRecord) (webhook.EndpointRecord, error) {
	e := endpoint{EndpointRecord: r}
	err := s.update(ctx, func(t *txn) {
		old, found := get[endpoint](t, endpoints, r.ID)
		switch {
		case r.Rev != 0 && !found:
			t.fail(fmt.Errorf("endpoint %q: %w", r.ID, webhook.ErrNotFound))
		case r.Rev != old.Rev:
			t.fail(fmt.Errorf("endpoint %q is at revision %d, not %d: %w", r.ID, old.Rev, r.Rev, webhook.ErrConflict))
		case !found:
			old.CreatedAt, old.Seq = t.now, t.sequence(registered)
			t.put(registered, stamp(old.CreatedAt, old.Seq), r.ID)
		}
		e.Seq, e.Rev, e.CreatedAt, e.UpdatedAt = old.Seq, old.Rev+1, old.CreatedAt, t.now
		e.FailingSince, e.NotBefore = old.FailingSince, old.NotBefore
		if old.Disabled && !e.Disabled {
			e.FailingSince, e.NotBefore = time.Time{}, time.Time{}
		}
		t.replace(old, e)
	})
	if err != nil {
		return webhook.EndpointRecord{}, err
	}
	return e.EndpointRecord, nil
}

// DeleteEndpoint implements webhook.EndpointStore.
func (s *Store) DeleteEndpoint(ctx context.Context, id string) error {
	return s.update(ctx, func(t *txn) {
		e := must[endpoint](t, endpoints, id)
		for _, id := range t.ids(queue, key(id)) {
			d := must[delivery](t, deliveries, id)
			t.move(&d, webhook.StateCancelled, time.Time{})
		}
		for _, k := range subscriptions(e) {
			t.delete(subscribers, k)
		}
		t.delete(turns, key(e.Tenant, id))
		t.delete(registered, stamp(e.CreatedAt, e.Seq))
		t.delete(endpoints, []byte(id))
	})
}

// GetEndpoint implements webhook.EndpointStore.
func (s *Store) GetEndpoint(ctx context.Context, id string) (e webhook.EndpointRecord, err error) {
	err = s.view(ctx, func(t *txn) { e = must[endpoint](t, endpoints, id).EndpointRecord })
	return e, err
}

// ListEndpoints implements webhook.EndpointStore. It reads them all, for the
// Total.
func (s *Store) ListEndpoints(ctx context.Context, f webhook.EndpointFilter) (p webhook.Page[webhook.EndpointRecord], err error) {
	err = s.view(ctx, func(t *txn) {
		load := func(id string) (webhook.EndpointRecord, string, bool) {
			e := must[endpoint](t, endpoints, id)
			return e.EndpointRecord, e.Tenant, f.Matches(&e.EndpointRecord)
		}
		p = page(t, span{index: registered, scope: f.Scope, cursor: f.Cursor, limit: f.Limit}, load)
		for _, id := range t.ids(registered, nil) {
			if _, _, ok := load(id); ok {
				p.Total++
			}
		}
	})
	return p, err
}

// Enqueue implements webhook.Queue.
func (s *Store) Enqueue(ctx context.Context, ps []webhook.Publication) ([]webhook.Enqueued, error) {
	results := make([]webhook.Enqueued, len(ps))
	err := s.update(ctx, func(t *txn) {
		for i, p := range ps {
			if p.Endpoints == nil {
				results[i] = t.publish(p)
			} else {
				results[i] = t.send(p)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// publish stores an event and fans it out, unless it is known.
func (t *txn) publish(p webhook.Publication) webhook.Enqueued {
	byID, known := get[webhook.EventRecord](t, events, p.Event.ID)
	first := byID
	if id := t.bucket(eventKeys).Get(key(p.Event.Tenant, p.Event.Key)); id != nil {
		first = must[webhook.EventRecord](t, events, string(id))
		if known && first.ID != byID.ID {
			t.fail(fmt.Errorf("event %q has the key of event %q: %w", byID.ID, first.ID, webhook.ErrConflict))
		}
		known = true
	}
	if known {
		if first.Sum != p.Event.Sum {
			t.fail(fmt.Errorf("event %q is known with other content: %w", first.ID, webhook.ErrConflict))
		}
		return webhook.Enqueued{EventID: first.ID, Duplicate: true}
	}

	event := t.store(p.Event)
	var matching []string
	for _, pattern := range p.Patterns {
		matching = append(matching, t.ids(subscribers, key("all", pattern))...)
		for _, tenant := range p.Tenants {
			matching = append(matching, t.ids(subscribers, key("tenant", tenant, pattern))...)
		}
	}
	slices.Sort(matching)
	matching = slices.Compact(matching)
	for _, id := range matching {
		t.deliver(&event, id, p.Origin, 0)
	}
	return webhook.Enqueued{EventID: event.ID, Deliveries: len(matching)}
}

// send delivers an event, known or not, to the endpoints that p names.
func (t *txn) send(p webhook.Publication) webhook.Enqueued {
	event, known := get[webhook.EventRecord](t, events, p.Event.ID)
	if !known {
		event = t.store(p.Event)
	}
	result := webhook.Enqueued{EventID: event.ID}
	for _, id := range p.Endpoints {
		there := func(id string) bool {
			state := must[delivery](t, deliveries, id).State
			return state == webhook.StatePending || state == webhook.StateDelivered
		}
		if t.bucket(endpoints).Get([]byte(id)) == nil ||
			p.Missing && slices.ContainsFunc(t.ids(deliveryLog, key("both", event.ID, id)), there) {
			continue
		}
		result.Created = append(result.Created, t.deliver(&event, id, p.Origin, p.Lease))
	}
	result.Deliveries = len(result.Created)
	return result
}

func (t *txn) store(e webhook.EventRecord) webhook.EventRecord {
	e.CreatedAt = t.now
	t.save(events, []byte(e.ID), e)
	if e.Key != "" {
		t.put(eventKeys, key(e.Tenant, e.Key), e.ID)
	}
	if !e.Test {
		t.put(eventLog, stamp(t.now, t.sequence(eventLog)), e.ID)
	}
	return e
}

// deliver adds a delivery, leased where lease > 0.
func (t *txn) deliver(event *webhook.EventRecord, id string, origin webhook.Origin, lease time.Duration) webhook.Claimed {
	e := must[endpoint](t, endpoints, id)
	d := delivery{Seq: t.sequence(deliveryLog), Delivery: webhook.Delivery{
		ID: uuid.NewString(), Origin: origin, CreatedAt: t.now,
		EventID: event.ID, EventType: event.Type, EventTenant: event.Tenant,
		EndpointID: e.ID, Tenant: e.Tenant,
	}}
	for _, prefix := range [][]byte{key("all"), key("endpoint", e.ID), key("event", event.ID), key("both", event.ID, e.ID)} {
		t.put(deliveryLog, append(prefix, stamp(t.now, d.Seq)...), d.ID)
	}
	if lease > 0 {
		d.Lease, d.Leased = 1, true
	}
	t.move(&d, webhook.StatePending, t.later(lease))
	t.schedule(e)
	return claimed(d, event, &e)
}

// Claim implements webhook.Queue. It looks at the turn of every endpoint that
// has something pending, and then at the deliveries that it returns.
func (s *Store) Claim(ctx context.Context, r webhook.ClaimRequest) (batch []webhook.Claimed, next time.Duration, err error) {
	err = s.update(ctx, func(t *txn) {
		tenants, lines, wait := t.due(r)
		if len(tenants) == 0 {
			next = wait
			t.fail(errNothing)
		}
		rotate(tenants, func(tenant string) bool { return tenant > s.lastTenant })
		for tenant := range lines {
			rotate(lines[tenant], func(l *line) bool { return l.id > s.lastEndpoint[tenant] })
		}
		size, seen := 0, make(map[string]*webhook.EventRecord)
		for len(tenants) > 0 && len(batch) < r.Max && t.err == nil {
			tenant := tenants[0]
			l := lines[tenant][0]
			d, event := t.head(l, seen)
			size += len(event.Data)
			if r.MaxBytes > 0 && size > r.MaxBytes && len(batch) > 0 {
				break
			}
			more := t.claim(l, &d, r.Lease)
			batch = append(batch, claimed(d, event, l.endpoint))
			s.lastTenant, s.lastEndpoint[tenant] = tenant, l.id
			tenants, lines[tenant] = tenants[1:], lines[tenant][1:]
			if more {
				lines[tenant] = append(lines[tenant], l)
			}
			if len(lines[tenant]) > 0 {
				tenants = append(tenants, tenant)
			}
		}
	})
	if errors.Is(err, errNothing) {
		return nil, next, nil
	}
	if err != nil {
		return nil, 0, err
	}
	return batch, 0, nil
}

// errNothing rolls back a claim that changes nothing, which spares bbolt
// writing the file at every poll.
var errNothing = errors.New("nothing to claim")

// A line is an endpoint's part in a claim.
type line struct {
	id       string
	room     int
	endpoint *endpoint // nil before its first turn
}

// due returns the tenants that have something to claim, sorted, with the lines
// of each, sorted; if there are none, how long it is until there are.
func (t *txn) due(r webhook.ClaimRequest) (tenants []string, lines map[string][]*line, wait time.Duration) {
	lines = make(map[string][]*line)
	for k, v := range t.within(turns, nil) {
		texts := bytes.Split(k, []byte{0})
		tenant, id := string(texts[0]), string(texts[1])
		room, ok := r.Room[id]
		if !ok {
			room = r.PerEndpoint
		}
		if room <= 0 {
			continue
		}
		if d := unstamp(v).Sub(t.now); d > 0 {
			wait = min(cmp.Or(wait, d), d)
			continue
		}
		if lines[tenant] == nil {
			tenants = append(tenants, tenant)
		}
		lines[tenant] = append(lines[tenant], &line{id: id, room: room})
	}
	return tenants, lines, wait
}

// head returns the first of the line's queue, and its event from seen.
func (t *txn) head(l *line, seen map[string]*webhook.EventRecord) (delivery, *webhook.EventRecord) {
	if l.endpoint == nil {
		e := must[endpoint](t, endpoints, l.id)
		l.endpoint = &e
	}
	_, id := t.bucket(queue).Cursor().Seek(key(l.id))
	d := must[delivery](t, deliveries, string(id))
	if seen[d.EventID] == nil {
		event := must[webhook.EventRecord](t, events, d.EventID)
		seen[d.EventID] = &event
	}
	return d, seen[d.EventID]
}

// claim leases the delivery and reports whether the line may have another turn.
func (t *txn) claim(l *line, d *delivery, lease time.Duration) (more bool) {
	if d.Leased {
		d.Expired++
	}
	d.Lease, d.Leased = d.Lease+1, true
	t.move(d, webhook.StatePending, t.later(lease))
	if e := l.endpoint; !e.NotBefore.IsZero() { // it has passed: this is a probe
		e.NotBefore = t.later(lease)
		t.save(endpoints, []byte(e.ID), e)
	}
	l.room--
	ready, ok := t.schedule(*l.endpoint)
	return l.room > 0 && ok && !ready.After(t.now)
}

func claimed(d delivery, event *webhook.EventRecord, e *endpoint) webhook.Claimed {
	return webhook.Claimed{Delivery: d.Delivery, Lease: d.Lease, Expired: d.Expired, Event: event, Endpoint: &e.EndpointRecord}
}

// Settle implements webhook.Queue.
func (s *Store) Settle(ctx context.Context, ss []webhook.Settlement) (stale []string, err error) {
	err = s.update(ctx, func(t *txn) {
		for _, st := range ss {
			if !t.settle(st) {
				stale = append(stale, st.DeliveryID)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return stale, nil
}

// settle reports whether the settlement is not stale.
func (t *txn) settle(st webhook.Settlement) bool {
	a := st.Attempt
	if a != nil && t.bucket(attemptIDs).Get([]byte(a.ID)) != nil {
		return true // repeated
	}
	d, found := get[delivery](t, deliveries, st.DeliveryID)
	if !found || d.State.Finished() || !d.Leased || d.Lease != st.Lease {
		return false
	}
	if a != nil {
		t.put(attemptIDs, []byte(a.ID), d.ID)
		t.save(attempts, append(key(d.ID), stamp(t.now, t.sequence(attempts))...), a)
	}
	d.Leased, d.Expired = false, 0
	t.change(&d, func(d *webhook.Delivery) { st.ApplyToDelivery(d, t.now) })
	e := must[endpoint](t, endpoints, d.EndpointID)
	if old := e; st.ApplyToEndpoint(&e.EndpointRecord, t.now) {
		t.replace(old, e)
	} else {
		t.schedule(e)
	}
	return true
}

// GetDelivery implements webhook.Log.
func (s *Store) GetDelivery(ctx context.Context, id string) (d webhook.Delivery, err error) {
	err = s.view(ctx, func(t *txn) { d = must[delivery](t, deliveries, id).Delivery })
	return d, err
}

// GetEvent implements webhook.Log.
func (s *Store) GetEvent(ctx context.Context, id string) (e webhook.EventRecord, err error) {
	err = s.view(ctx, func(t *txn) { e = must[webhook.EventRecord](t, events, id) })
	return e, err
}

// ListDeliveries implements webhook.Log. It reads those of the endpoint, of the
// event or of both, within From and To, and picks by the other fields.
func (s *Store) ListDeliveries(ctx context.Context, f webhook.DeliveryFilter) (p webhook.Page[webhook.Delivery], err error) {
	prefix := key("all")
	switch {
	case f.EndpointID != "" && f.EventID != "":
		prefix = key("both", f.EventID, f.EndpointID)
	case f.EndpointID != "":
		prefix = key("endpoint", f.EndpointID)
	case f.EventID != "":
		prefix = key("event", f.EventID)
	}
	err = s.view(ctx, func(t *txn) {
		r := span{index: deliveryLog, prefix: prefix, all: key("all"), scope: f.Scope, from: f.From, to: f.To, newestFirst: true, cursor: f.Cursor, limit: f.Limit}
		p = page(t, r, func(id string) (webhook.Delivery, string, bool) {
			d := must[delivery](t, deliveries, id).Delivery
			return d, d.Tenant, f.Matches(&d)
		})
	})
	return p, err
}

// ListAttempts implements webhook.Log.
func (s *Store) ListAttempts(ctx context.Context, deliveryID string) (as []webhook.Attempt, err error) {
	err = s.view(ctx, func(t *txn) {
		for k := range t.within(attempts, key(deliveryID)) {
			as = append(as, must[webhook.Attempt](t, attempts, string(k)))
		}
	})
	return as, err
}

// ListEvents implements webhook.Log.
func (s *Store) ListEvents(ctx context.Context, f webhook.EventFilter) (p webhook.Page[webhook.EventRecord], err error) {
	err = s.view(ctx, func(t *txn) {
		r := span{index: eventLog, scope: f.Scope, from: f.From, to: f.To, cursor: f.Cursor, limit: f.Limit}
		p = page(t, r, func(id string) (webhook.EventRecord, string, bool) {
			e := must[webhook.EventRecord](t, events, id)
			return e, e.Tenant, f.Matches(&e)
		})
	})
	return p, err
}

// A txn is a transaction, its time and its first error, with which it is rolled
// back: what runs in it need not look at errors.
type txn struct {
	tx  *bolt.Tx
	now time.Time // to the microsecond, as stamps are
	err error
}

// update runs fn in a transaction of its own. If the commit fails, the file may
// have been written or not.
func (s *Store) update(ctx context.Context, fn func(*txn)) error {
	committing := false
	err := s.db.Update(func(tx *bolt.Tx) error {
		err := s.run(ctx, tx, fn)
		committing = err == nil
		return err
	})
	if committing && err != nil {
		return fmt.Errorf("%w: commit: %w", webhook.ErrUncertain, err)
	}
	return err
}

func (s *Store) view(ctx context.Context, fn func(*txn)) error {
	return s.db.View(func(tx *bolt.Tx) error { return s.run(ctx, tx, fn) })
}

func (s *Store) run(ctx context.Context, tx *bolt.Tx, fn func(*txn)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &txn{tx: tx, now: s.clock().UTC().Truncate(time.Microsecond)}
	fn(t)
	return t.err
}

func (t *txn) fail(err error) { t.err = cmp.Or(t.err, err) }

func (t *txn) later(d time.Duration) time.Time {
	return t.now.Add(max(d, 0)).Truncate(time.Microsecond)
}

func (t *txn) bucket(name string) *bolt.Bucket { return t.tx.Bucket([]byte(name)) }

func (t *txn) sequence(bucket string) uint64 {
	n, err := t.bucket(bucket).NextSequence()
	t.fail(err)
	return n
}

func (t *txn) put(bucket string, key []byte, value string) {
	t.fail(t.bucket(bucket).Put(key, []byte(value)))
}

func (t *txn) delete(bucket string, key []byte) { t.fail(t.bucket(bucket).Delete(key)) }

func (t *txn) save(bucket string, key []byte, record any) {
	var b bytes.Buffer
	t.fail(gob.NewEncoder(&b).Encode(record))
	t.fail(t.bucket(bucket).Put(key, b.Bytes()))
}

// get returns a record, and false if there is none.
func get[T any](t *txn, bucket, key string) (record T, found bool) {
	b := t.bucket(bucket).Get([]byte(key))
	if b != nil {
		t.fail(gob.NewDecoder(bytes.NewReader(b)).Decode(&record))
	}
	return record, b != nil
}

// must returns a record and fails with webhook.ErrNotFound if there is none.
func must[T any](t *txn, bucket, key string) T {
	record, found := get[T](t, bucket, key)
	if !found {
		t.fail(fmt.Errorf("%s %q: %w", bucket, key, webhook.ErrNotFound))
	}
	return record
}

// within ranges over the keys with a prefix. The bucket must not be changed
// meanwhile.
func (t *txn) within(bucket string, prefix []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		c := t.bucket(bucket).Cursor()
		for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix) && yield(k, v); {
			k, v = c.Next()
		}
	}
}

// ids returns the values of the keys with a prefix.
func (t *txn) ids(index string, prefix []byte) (ids []string) {
	for _, v := range t.within(index, prefix) {
		ids = append(ids, string(v))
	}
	return ids
}

// change saves a changed delivery, and in the queue while it is pending. Its
// endpoint is to be scheduled after that.
func (t *txn) change(d *delivery, edit func(*webhook.Delivery)) {
	t.delete(queue, append(key(d.EndpointID), stamp(d.NextAttempt, d.Seq)...))
	edit(&d.Delivery)
	d.NextAttempt = d.NextAttempt.Truncate(time.Microsecond)
	if !d.State.Finished() {
		t.put(queue, append(key(d.EndpointID), stamp(d.NextAttempt, d.Seq)...), d.ID)
	}
	t.save(deliveries, []byte(d.ID), d)
}

// move is the change of a delivery's state and time alone.
func (t *txn) move(d *delivery, state webhook.State, next time.Time) {
	t.change(d, func(d *webhook.Delivery) { d.State, d.NextAttempt, d.UpdatedAt = state, next, t.now })
}

// replace saves an endpoint and schedules it.
func (t *txn) replace(old, e endpoint) {
	for _, k := range subscriptions(old) {
		t.delete(subscribers, k)
	}
	for _, k := range subscriptions(e) {
		t.put(subscribers, k, e.ID)
	}
	t.save(endpoints, []byte(e.ID), e)
	t.schedule(e)
}

// subscriptions returns the keys by which publish finds the endpoint.
func subscriptions(e endpoint) (keys [][]byte) {
	if e.Disabled {
		return nil
	}
	for _, pattern := range e.Patterns {
		if e.AllTenants {
			keys = append(keys, key("all", pattern, e.ID))
		} else {
			keys = append(keys, key("tenant", e.Tenant, pattern, e.ID))
		}
	}
	return keys
}

// schedule notes when a claim may take the endpoint's next delivery, if it ever
// may. It follows every change of its queue, Disabled and NotBefore.
func (t *txn) schedule(e endpoint) (ready time.Time, ok bool) {
	turn, first := key(e.Tenant, e.ID), key(e.ID)
	k, _ := t.bucket(queue).Cursor().Seek(first)
	if e.Disabled || !bytes.HasPrefix(k, first) {
		t.delete(turns, turn)
		return time.Time{}, false
	}
	ready = unstamp(k[len(first):])
	if e.NotBefore.After(ready) {
		ready = e.NotBefore
	}
	t.put(turns, turn, string(stamp(ready, 0)))
	return ready, true
}

// key joins texts, each with a zero byte behind it.
func key(texts ...string) (k []byte) {
	for _, s := range texts {
		k = append(append(k, s...), 0)
	}
	return k
}

// stamp is 16 bytes that sort by time and, within a microsecond, by seq.
func stamp(t time.Time, seq uint64) []byte {
	k := binary.BigEndian.AppendUint64(nil, uint64(t.UnixMicro())^1<<63)
	return binary.BigEndian.AppendUint64(k, seq)
}

func unstamp(k []byte) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(k) ^ 1<<63)).UTC()
}

// rotate brings the first that is later to the front.
func rotate[T any](s []T, later func(T) bool) {
	if i := slices.IndexFunc(s, later); i > 0 {
		copy(s, slices.Concat(s[i:], s[:i]))
	}
}

// A span is what a page is taken from: the keys of an index that are a prefix
// and a stamp.
type span struct {
	index       string
	prefix      []byte
	all         []byte // the prefix under which the index has every item
	scope       webhook.Scope
	from, to    time.Time
	newestFirst bool
	cursor      string // the last item's time and ID, see cursor
	limit       int
}

// page returns the next items of a span that load accepts. load also returns
// whose an item is.
func page[T any](t *txn, s span, load func(id string) (item T, tenant string, ok bool)) (p webhook.Page[T]) {
	lo, hi := stamp(s.from, 0), stamp(s.to, 0) // from lo to before hi
	if s.to.IsZero() {
		hi = bytes.Repeat([]byte{0xff}, len(hi))
	}
	if s.cursor != "" {
		place := t.place(s, func(id string) bool {
			_, tenant, _ := load(id)
			return s.scope.Contains(tenant)
		})
		if s.newestFirst {
			hi = slices.MinFunc([][]byte{hi, place}, bytes.Compare)
		} else {
			lo = slices.MaxFunc([][]byte{lo, place}, bytes.Compare)
		}
	}
	lo, hi = slices.Concat(s.prefix, lo), slices.Concat(s.prefix, hi)

	c := t.bucket(s.index).Cursor()
	k, v := c.Seek(lo)
	step := c.Next
	if s.newestFirst {
		step = c.Prev
		if k, _ = c.Seek(hi); k == nil {
			k, v = c.Last()
		} else {
			k, v = c.Prev()
		}
	}
	limit := min(cmp.Or(s.limit, 100), 1000)
	var last, lastID []byte
	for ; t.err == nil && k != nil && bytes.Compare(k, lo) >= 0 && bytes.Compare(k, hi) < 0; k, v = step() {
		item, _, ok := load(string(v))
		if ok && len(p.Items) == limit {
			p.Next = cursor(last[len(s.prefix):], lastID)
			break
		}
		if ok {
			p.Items, last, lastID = append(p.Items, item), k, v
		}
	}
	return p
}

// cursor is an item's time and ID, in hexadecimal. The sequence number would tell
// how much there is of others.
func cursor(stamp, id []byte) string { return hex.EncodeToString(slices.Concat(stamp[:8], id)) }

// place returns the stamp that the next page ends before or, where the oldest
// come first, begins with. Where the item that the cursor names is gone, or not
// the caller's, that is the end or the beginning of its microsecond.
func (t *txn) place(s span, mine func(id string) bool) []byte {
	c, err := hex.DecodeString(s.cursor)
	if err != nil || len(c) <= 8 || s.cursor != hex.EncodeToString(c) {
		t.fail(fmt.Errorf("cursor %.64q: %w", s.cursor, webhook.ErrInvalid))
		return nil
	}
	at, id := c[:8], string(c[8:])
	for k, v := range t.within(s.index, slices.Concat(s.all, at)) {
		if seq := k[len(s.all)+8:]; string(v) == id && mine(id) {
			place := slices.Concat(at, seq)
			if !s.newestFirst {
				place = append(place, 0)
			}
			return place
		}
	}
	if s.newestFirst {
		return slices.Concat(at, bytes.Repeat([]byte{0xff}, 8))
	}
	return at
}
