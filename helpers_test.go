package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiverURL is an endpoint that a [receiver] answers for. It answers for every
// other host as well: tests tell endpoints apart by host or path.
const receiverURL = "http://receiver.example/hook"

// receiver is an HTTP server on connections in memory, so that it can live in a
// bubble of package synctest, and a record of what it was sent.
type receiver struct {
	connections chan net.Conn
	closed      chan struct{}
	closeOnce   sync.Once
	dialled     atomic.Int64

	mu       sync.Mutex
	requests []received
	inflight map[string]int // by host
	peak     map[string]int // by host, and of all under ""
}

// received is a request as it arrived.
type received struct {
	At     time.Time
	Method string
	Host   string
	Path   string // with the query
	Header http.Header
	Body   []byte
}

// newReceiver starts a receiver that records each request before it answers. A
// nil answer is 204. The test's cleanup closes it with all its connections; an
// answer that blocks must end with the request's context.
func newReceiver(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	if answer == nil {
		answer = status(http.StatusNoContent)
	}
	r := &receiver{
		connections: make(chan net.Conn), closed: make(chan struct{}),
		inflight: make(map[string]int), peak: make(map[string]int),
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			body, err := io.ReadAll(q.Body)
			if err != nil {
				return // the sender gave up while sending
			}
			q.Body = io.NopCloser(bytes.NewReader(body))
			defer r.enter(q, body)()
			answer(w, q)
		}),
		ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(r)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return r
}

func (r *receiver) enter(q *http.Request, body []byte) (leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, received{
		At: time.Now(), Method: q.Method, Host: q.Host, Path: q.URL.RequestURI(), Header: q.Header.Clone(), Body: body,
	})
	for _, host := range []string{q.Host, ""} {
		r.inflight[host]++
		r.peak[host] = max(r.peak[host], r.inflight[host])
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.inflight[q.Host]--
		r.inflight[""]--
	}
}

// Accept, Close and Addr make r the listener of its own server.
func (r *receiver) Accept() (net.Conn, error) {
	select {
	case c := <-r.connections:
		return c, nil
	case <-r.closed:
		return nil, net.ErrClosed
	}
}

func (r *receiver) Close() error {
	r.closeOnce.Do(func() { close(r.closed) })
	return nil
}

func (*receiver) Addr() net.Addr { return new(net.UnixAddr) }

// dial is Config.dial.
func (r *receiver) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case r.connections <- server:
		r.dialled.Add(1)
		return client, nil
	case <-r.closed:
		return nil, errors.New("the receiver is closed")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// all returns the requests so far, in the order of their arrival.
func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// to returns the requests to a host so far.
func (r *receiver) to(host string) []received {
	return slices.DeleteFunc(r.all(), func(q received) bool { return q.Host != host })
}

// most returns how many requests were in flight at once: to a host, or in all
// for "".
func (r *receiver) most(host string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peak[host]
}

// status answers with one status after the other, and with the last one from
// then on.
func status(codes ...int) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(codes[min(int(n.Add(1)), len(codes))-1])
	}
}

// hang never answers.
func hang(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }

// after answers with 204 when so much time has passed.
func after(delay time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		select {
		case <-time.After(delay):
			w.WriteHeader(http.StatusNoContent)
		case <-q.Context().Done():
		}
	}
}

// testConfig is a Config whose requests reach r, whatever their host, and whose
// retries come without jitter.
func testConfig(r *receiver) Config {
	c := Config{Network: Network{AllowHTTP: true}, Profile: Profile{Retry: Schedule(time.Minute, time.Minute, time.Minute)}}
	if r != nil {
		c.dial = r.dial
	}
	return c
}

// newDispatcher is NewDispatcher where no error is expected.
func newDispatcher(t *testing.T, store Store, c Config) *Dispatcher {
	t.Helper()
	d, err := NewDispatcher(store, c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// start runs d until the returned function is called, or the test ends, and
// waits for the end of Run, which must be nil.
func start(t *testing.T, d *Dispatcher) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// register adds an endpoint, with [receiverURL] where it has no URL.
func register(t *testing.T, v *View, e Endpoint) Endpoint {
	t.Helper()
	if e.URL == "" {
		e.URL = receiverURL
	}
	registered, err := v.Register(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return registered
}

// publish publishes an event, of type "test" where it has none.
func publish(t *testing.T, d *Dispatcher, e Event) Receipt {
	t.Helper()
	if e.Type == "" {
		e.Type = "test"
	}
	receipt, err := d.Publish(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

// deliveries returns the deliveries that f selects, newest first.
func deliveries(t *testing.T, d *Dispatcher, f DeliveryFilter) []Delivery {
	t.Helper()
	page, err := d.Deliveries(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return page.Items
}

// delivery returns the one delivery of an event.
func delivery(t *testing.T, d *Dispatcher, eventID string) Delivery {
	t.Helper()
	ds := deliveries(t, d, DeliveryFilter{EventID: eventID})
	if len(ds) != 1 {
		t.Fatalf("event %s has %d deliveries, want 1", eventID, len(ds))
	}
	return ds[0]
}

// attempts returns the attempts of the one delivery of an event.
func attempts(t *testing.T, d *Dispatcher, eventID string) []Attempt {
	t.Helper()
	as, err := d.Attempts(t.Context(), delivery(t, d, eventID).ID)
	if err != nil {
		t.Fatal(err)
	}
	return as
}

// notices is an Observer that remembers all.
type notices struct {
	mu   sync.Mutex
	list []Notice
}

func (n *notices) Observe(_ context.Context, notice Notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, notice)
}

// all returns the notices so far.
func (n *notices) all() []Notice {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.list)
}

// noticed returns the notices of one type so far.
func noticed[N Notice](n *notices) (found []N) {
	for _, notice := range n.all() {
		if notice, ok := notice.(N); ok {
			found = append(found, notice)
		}
	}
	return found
}

// observedLog returns a logger and what it has logged, from the debug level.
func observedLog() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return zap.New(core), logs
}

// logText returns all that was logged.
func logText(logs *observer.ObservedLogs) string {
	text := ""
	for _, entry := range logs.All() {
		text += fmt.Sprintln(entry.Message, entry.ContextMap())
	}
	return text
}
