package crash

import (
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// One process has claimed and sent when it is stopped, past its lease. Another
// takes over; half of its outcomes are settled, and half of its requests in
// flight, when the first one goes on. What that wants to say is refused, the
// answers that it has got as well as the timeouts.
func TestLateOutcomesOfAStalledProcessAreRefused(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, database Database) {
		t.Parallel()
		r := &holder{receipts: make(chan Receipt, 100), stalled: make(chan struct{}), other: make(chan struct{})}
		server := httptest.NewServer(r)
		t.Cleanup(server.Close)
		event := EventID{Kind: InTx}
		n := len(endpointsOf(event))
		setUp(t, database, server.URL)
		publish(t, database, event)

		w := &world{database: database, proof: NewProof(6 * time.Second)}
		s := Sender{Database: database, Lease: 6 * time.Second, Timeout: 5 * time.Second, Concurrency: 4 * n}
		s.Poll = time.Hour // so that it is in no transaction when it is stopped
		stalled := w.start(t, s)
		for range n {
			await(t, r.receipts)
		}
		awaitWord(t, stalled, "idle", 1)
		stalled.signal(syscall.SIGSTOP)

		s.Generation, s.Poll = 1, 0
		other := w.start(t, s)
		started := make(map[string]time.Time) // by delivery: the other's attempt
		for range n {
			receipt := await(t, r.receipts)
			started[receipt.Delivery] = time.UnixMicro(receipt.Started)
		}
		awaitWord(t, other, "delivered", n/2)
		close(r.stalled)
		stalled.signal(syscall.SIGCONT)
		awaitWord(t, stalled, "stale", n)
		close(r.other)
		awaitWord(t, other, "delivered", n-n/2)
		for _, p := range []*senderProcess{stalled, other} {
			if err := p.stop(); err != nil {
				t.Error(err)
			}
		}

		db, store, err := database.Open(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		deliveries, err := deliveriesOf(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		if len(deliveries) != n {
			t.Errorf("%d deliveries, want %d", len(deliveries), n)
		}
		for id, d := range deliveries {
			attempts, err := store.ListAttempts(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if d.State != webhook.StateDelivered || d.Attempts != 1 || len(attempts) != 1 || !attempts[0].StartedAt.Equal(started[id]) {
				t.Errorf("delivery %+v has the log %+v, want the one attempt of %v", d, attempts, started[id])
			}
			e, err := store.GetEndpoint(t.Context(), d.EndpointID)
			if err != nil {
				t.Fatal(err)
			}
			if !e.FailingSince.IsZero() || !e.NotBefore.IsZero() {
				t.Errorf("a refused outcome has changed the health of endpoint %s: %+v", e.ID, e)
			}
		}
	})
}

// Two processes publish and deliver, and are stopped past their leases in turn,
// wherever they are.
func TestNothingIsLostWhenProcessesStallUnderLoad(t *testing.T) {
	onEachDatabase(t, func(t *testing.T, database Database) {
		const stalls = 4
		w := newWorld(t, database)
		s := Sender{Database: database, Publishers: 2, Lease: lease, Timeout: timeout, Concurrency: concurrency}
		var both [2]*senderProcess
		for n := range both {
			s.Generation = n
			both[n] = w.start(t, s)
		}
		for n := range stalls {
			stalled, other := both[n%2], both[(n+1)%2]
			stalled.forget()
			awaitWord(t, stalled, "delivered", 10)
			stalled.signal(syscall.SIGSTOP)
			select {
			case <-time.After(lease + lease/3):
			case <-other.ended:
			}
			stalled.signal(syscall.SIGCONT)
		}
		for _, p := range both {
			if err := p.stop(); err != nil {
				t.Error(err)
			}
		}
		w.drain(t, s)
		figures := w.check(t)
		t.Logf("%d stalls: %+v", stalls, figures)
	})
}

// holder is a receiver that keeps two generations waiting: generation 0 at
// endpointFlaky for ever, and the other at half of the endpoints not at all.
type holder struct {
	receipts       chan Receipt
	stalled, other chan struct{} // closed when the generation may be answered
}

func (h *holder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // else the server would not see it when the client goes
	receipt, err := receiptOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.receipts <- receipt
	answer := h.stalled
	switch {
	case receipt.Generation == 0 && receipt.Endpoint == endpointFlaky:
		answer = nil
	case receipt.Generation == 0:
	case receipt.Endpoint == endpointFlaky || receipt.Endpoint == endpointAll:
		answer = h.other
	default:
		return
	}
	select {
	case <-answer:
	case <-r.Context().Done():
	}
}

// publish publishes an event from this process.
func publish(t *testing.T, database Database, id EventID) {
	t.Helper()
	db, store, err := database.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	d, err := webhook.NewDispatcher(store, webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Publish(t.Context(), id.event()); err != nil {
		t.Fatal(err)
	}
}

// patience is how long a test waits for what must come.
const patience = time.Minute

// await receives.
func await[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing has come for a minute")
	}
	return v
}

// forget forgets what the sender has said.
func (p *senderProcess) forget() {
	for {
		select {
		case <-p.words:
		default:
			return
		}
	}
}

// awaitWord waits until a sender has said the word so often.
func awaitWord(t *testing.T, p *senderProcess, word string, times int) {
	t.Helper()
	timeout := time.After(patience)
	for times > 0 {
		select {
		case said := <-p.words:
			if said == word {
				times--
			}
		case <-p.ended:
			t.Fatalf("the sender ended: %v", p.failure())
		case <-timeout:
			t.Fatalf("the sender has not said %q for a minute", word)
		}
	}
}
