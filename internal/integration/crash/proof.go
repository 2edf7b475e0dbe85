package crash

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/outhook/webhook"
)

// Proof collects what the senders report and compares it in the end with the
// receiver's ledger and the store's log.
type Proof struct {
	lease time.Duration // of all senders

	mu        sync.Mutex
	tried     map[EventID]bool
	accepted  map[EventID]bool
	delivered map[string]time.Time // by delivery: when a sender had stored that outcome
	stale     map[string]bool      // deliveries of which an outcome was refused
	killed    map[int]bool         // generations
	hits      map[Point]int        // kills by point; those from outside are at ""
	failures  []string
}

// NewProof returns a Proof of nothing yet, for senders that claim for so long.
func NewProof(lease time.Duration) *Proof {
	return &Proof{
		lease: lease,
		tried: make(map[EventID]bool), accepted: make(map[EventID]bool), delivered: make(map[string]time.Time), stale: make(map[string]bool),
		killed: make(map[int]bool), hits: make(map[Point]int),
	}
}

// senderProcess is a Sender as its parent sees it.
type senderProcess struct {
	*process
	words   chan string // some of what it says: idle, stale, delivered; lossy
	killing chan Point  // where it is about to kill itself
}

// start starts a sender, which first publishes again what was tried before and
// may or may not have been accepted.
func (p *Proof) start(s Sender) (*senderProcess, error) {
	sp := &senderProcess{words: make(chan string, 1000), killing: make(chan Point, 1)}
	var err error
	sp.process, err = start(program{Sender: &s}, func(words []string) {
		switch words[0] {
		case "kill":
			sp.killing <- Point(words[1])
		case "idle", "stale", "delivered":
			select {
			case sp.words <- words[0]:
			default:
			}
		}
		p.note(s.Generation, words)
	})
	if err != nil {
		return nil, err
	}
	for _, id := range p.uncertain() {
		if _, err := fmt.Fprintln(sp.in, "publish", id); err != nil {
			return nil, err
		}
	}
	_, err = fmt.Fprintln(sp.in, "go")
	return sp, err
}

// note takes in a line of a sender.
func (p *Proof) note(generation int, words []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch words[0] {
	case "try", "accepted":
		id, err := ParseEventID(words[1])
		if err != nil {
			p.failures = append(p.failures, err.Error())
		} else if words[0] == "try" {
			p.tried[id] = true
		} else {
			p.accepted[id] = true
		}
	case "delivered":
		p.delivered[words[1]] = time.Now()
	case "stale":
		p.stale[words[1]] = true
	case "failed":
		p.failures = append(p.failures, fmt.Sprintf("generation %d: %s", generation, strings.Join(words[1:], " ")))
	}
}

// noteKill says that a generation was killed, at a point or from outside.
func (p *Proof) noteKill(generation int, at Point) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed[generation] = true
	p.hits[at]++
}

// uncertain returns the events that may be published once more.
func (p *Proof) uncertain() (ids []EventID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.tried {
		if !p.accepted[id] && (id.Kind == Plain || id.Kind == Batch && id.Seq%2 == 0) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Figures are what a Proof has counted.
type Figures struct {
	Accepted    int // events
	Lost        int // accepted events that are not stored, or not delivered to all of their endpoints
	Unaccepted  int // events that are stored, though their sender was killed before it said so
	Deliveries  int
	Requests    int
	Retries     int // that followed on a failure
	Repeated    int // requests that were repeated because their process was killed before it had settled them
	MostAtKill  int // of these, at one kill
	Late        int // requests whose outcome came, or would have come, after their lease
	Unexplained int // requests that were repeated for no such reason
}

// check compares everything, when nothing is pending any more. The error joins
// all that is wrong.
func (p *Proof) check(ctx context.Context, db *sql.DB, store webhook.Store, receipts []Receipt) (f Figures, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var wrong findings
	for _, f := range p.failures {
		wrong.add("%s", f)
	}
	events, err := eventsOf(ctx, store, &wrong)
	if err != nil {
		return f, err
	}
	orders, err := ordersOf(ctx, db, &wrong)
	if err != nil {
		return f, err
	}
	deliveries, err := deliveriesOf(ctx, store)
	if err != nil {
		return f, err
	}
	f = Figures{Accepted: len(p.accepted), Unaccepted: len(events) - len(p.accepted), Deliveries: len(deliveries), Requests: len(receipts)}
	p.checkEvents(events, orders, &wrong)
	checkFanOut(events, deliveries, &wrong)
	received := make(map[string][]Receipt, len(deliveries))
	for _, r := range receipts {
		received[r.Delivery] = append(received[r.Delivery], r)
		if _, known := deliveries[r.Delivery]; !known {
			wrong.add("the receiver has seen delivery %s of event %s, which is not in the store", r.Delivery, r.Event)
		}
	}
	unsettled := make(map[int]int)
	for id, d := range deliveries {
		attempts, err := store.ListAttempts(ctx, id)
		if err != nil {
			return f, err
		}
		checkLog(d, attempts, received[id], &wrong)
		p.checkRepeats(d, attempts, received[id], unsettled, &f, &wrong)
	}
	for _, n := range unsettled {
		f.MostAtKill = max(f.MostAtKill, n)
	}
	f.Lost = p.lost(deliveries, receipts)
	checkOrder(receipts, &wrong)
	return f, wrong.error()
}

// checkEvents checks that what was accepted is in the store, nothing that was
// rolled back is, and of a business transaction all or nothing.
func (p *Proof) checkEvents(events, orders map[EventID]bool, wrong *findings) {
	for id := range p.accepted {
		if !events[id] {
			wrong.add("event %v was accepted and is lost", id)
		}
	}
	for id := range events {
		switch {
		case !p.tried[id]:
			wrong.add("event %v is in the store and was never published", id)
		case id.Kind == Undo:
			wrong.add("event %v is in the store, and its business transaction was rolled back", id)
		case id.Kind == InTx && !orders[id]:
			wrong.add("event %v is in the store without its business row", id)
		case id.Kind == Batch && !events[EventID{id.Generation, id.Publisher, id.Seq ^ 1, Batch}]:
			wrong.add("event %v is in the store without the other of its batch", id)
		}
	}
	for id := range orders {
		if !events[id] {
			wrong.add("the business row of event %v is there without the event", id)
		}
	}
}

// checkFanOut checks that each event has one delivery for each of its endpoints,
// and that it has been delivered.
func checkFanOut(events map[EventID]bool, deliveries map[string]webhook.Delivery, wrong *findings) {
	byEvent := make(map[string][]string, len(events))
	for id, d := range deliveries {
		byEvent[d.EventID] = append(byEvent[d.EventID], d.EndpointID)
		if d.State != webhook.StateDelivered {
			wrong.add("delivery %s of event %s at endpoint %s is %s", id, d.EventID, d.EndpointID, d.State)
		}
	}
	for id := range events {
		got, want := byEvent[id.String()], endpointsOf(id)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			wrong.add("event %v has deliveries to %v, want %v", id, got, want)
		}
	}
}

// checkLog checks that a delivery's log is sound, failures and then one success,
// and that the receiver has answered so what was answered in time.
func checkLog(d webhook.Delivery, attempts []webhook.Attempt, receipts []Receipt, wrong *findings) {
	if len(receipts) == 0 {
		wrong.add("delivery %s of event %s was never received", d.ID, d.EventID)
	}
	if d.Attempts != len(attempts) {
		wrong.add("delivery %s counts %d attempts, its log has %d", d.ID, d.Attempts, len(attempts))
	}
	for n, a := range attempts {
		if last := n == len(attempts)-1; a.Number != n+1 || (a.Error == "") != last {
			wrong.add("delivery %s: attempt %d of %d has number %d and error %q", d.ID, n+1, len(attempts), a.Number, a.Error)
		}
		status := 0
		for _, r := range receipts {
			if r.Started == a.StartedAt.UnixMicro() {
				status = r.Status
			}
		}
		if a.StatusCode != status && a.StatusCode != 0 {
			wrong.add("delivery %s: attempt %d is logged with status %d, the receiver answered %d", d.ID, a.Number, a.StatusCode, status)
		}
	}
}

// checkRepeats checks that each request that is not in the log was in flight, or
// its outcome unsettled, when its process was killed. If the same process has sent
// the delivery again, or an outcome was refused, that is no explanation: only that
// somebody was too slow is, so that a lease ran out and the next request came that
// much later. (An attempt begins in the first third of its lease.)
func (p *Proof) checkRepeats(d webhook.Delivery, attempts []webhook.Attempt, receipts []Receipt, unsettled map[int]int, f *Figures, wrong *findings) {
	f.Retries += max(0, len(attempts)-1)
	reported, settled := p.delivered[d.ID]
	for n, r := range receipts {
		again := slices.IndexFunc(receipts[n+1:], func(later Receipt) bool { return later.Generation == r.Generation })
		if settled && !p.stale[d.ID] && time.UnixMicro(r.Started).After(reported) {
			wrong.add("delivery %s was sent by generation %d, after it had been settled", d.ID, r.Generation)
		}
		switch {
		case slices.ContainsFunc(attempts, func(a webhook.Attempt) bool { return a.StartedAt.UnixMicro() == r.Started }):
		case p.killed[r.Generation] && again < 0:
			f.Repeated++
			unsettled[r.Generation]++
		case p.stale[d.ID] && slices.ContainsFunc(receipts, func(o Receipt) bool { return p.apart(o, r) }),
			p.killed[r.Generation] && again >= 0 && p.apart(receipts[n+1+again], r):
			f.Late++
		default:
			f.Unexplained++
			wrong.add("delivery %s of event %s was sent by generation %d at %v, which no log and no kill explains",
				d.ID, d.EventID, r.Generation, time.UnixMicro(r.Started).UTC())
		}
	}
}

// apart reports whether a lease may have run out between two requests.
func (p *Proof) apart(a, b Receipt) bool {
	between := a.Started - b.Started
	return max(between, -between) > p.lease.Microseconds()/2
}

// lost counts the accepted events that are not both logged as delivered at and
// received by all of their endpoints.
func (p *Proof) lost(deliveries map[string]webhook.Delivery, receipts []Receipt) (n int) {
	type target struct{ event, endpoint string }
	logged, received := make(map[target]bool), make(map[target]bool)
	for _, d := range deliveries {
		if d.State == webhook.StateDelivered {
			logged[target{d.EventID, d.EndpointID}] = true
		}
	}
	for _, r := range receipts {
		received[target{r.Event, r.Endpoint}] = true
	}
	for id := range p.accepted {
		if slices.ContainsFunc(endpointsOf(id), func(endpoint string) bool {
			t := target{id.String(), endpoint}
			return !logged[t] || !received[t]
		}) {
			n++
		}
	}
	return n
}

// checkOrder checks that the ordered endpoint has received the events of each
// publisher in their order, each only after the one before had succeeded. That
// may be repeated until the next one begins, but not later.
func checkOrder(receipts []Receipt, wrong *findings) {
	type place struct {
		seq       int
		succeeded bool
	}
	latest := make(map[string]place) // by ordering key
	for _, r := range receipts {
		if r.Endpoint != endpointOrdered {
			continue
		}
		id, err := ParseEventID(r.Event)
		if err != nil {
			wrong.add("%v", err)
			continue
		}
		before, ok := latest[id.orderingKey()]
		switch {
		case ok && id.Seq < before.seq:
			wrong.add("event %v was received after number %d of its publisher", id, before.seq)
			continue
		case ok && id.Seq > before.seq && !before.succeeded:
			wrong.add("event %v was received before number %d of its publisher had succeeded", id, before.seq)
		}
		latest[id.orderingKey()] = place{id.Seq, r.Status/100 == 2 || before.succeeded && id.Seq == before.seq}
	}
}

func eventsOf(ctx context.Context, store webhook.Log, wrong *findings) (map[EventID]bool, error) {
	events := make(map[EventID]bool)
	for f := (webhook.EventFilter{Scope: webhook.Scope{All: true}, Limit: pageSize}); ; {
		page, err := store.ListEvents(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Items {
			id, err := ParseEventID(e.ID)
			if err != nil {
				wrong.add("%v", err)
			}
			events[id] = true
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			return events, nil
		}
	}
}

func deliveriesOf(ctx context.Context, store webhook.Log) (map[string]webhook.Delivery, error) {
	deliveries := make(map[string]webhook.Delivery)
	for f := (webhook.DeliveryFilter{Scope: webhook.Scope{All: true}, Limit: pageSize}); ; {
		page, err := store.ListDeliveries(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, d := range page.Items {
			deliveries[d.ID] = d
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			return deliveries, nil
		}
	}
}

const pageSize = 1000

func ordersOf(ctx context.Context, db *sql.DB, wrong *findings) (map[EventID]bool, error) {
	rows, err := db.QueryContext(ctx, "SELECT id FROM orders")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	orders := make(map[EventID]bool)
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		id, err := ParseEventID(text)
		if err != nil {
			wrong.add("%v", err)
		}
		orders[id] = true
	}
	return orders, rows.Err()
}

// findings are what is wrong.
type findings struct {
	errs []error
	more int
}

const maxFindings = 20

func (f *findings) add(format string, args ...any) {
	if len(f.errs) == maxFindings {
		f.more++
		return
	}
	f.errs = append(f.errs, fmt.Errorf(format, args...))
}

func (f *findings) error() error {
	if f.more > 0 {
		f.errs = append(f.errs, fmt.Errorf("and %d more", f.more))
	}
	return errors.Join(f.errs...)
}
