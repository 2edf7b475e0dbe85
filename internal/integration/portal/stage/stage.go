// Package stage is an application with the portal in it, for the tests that look
// at it as its customers do: on an SQLite file, with receivers on loopback.
package stage

import (
	"context"
	"database/sql"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/portal"
	"github.com/outhook/webhook/sqlstore"
)

// Path is where the application has mounted the portal.
const Path = "/app/webhooks/"

// Stage is the application. Its Dispatcher delivers.
type Stage struct {
	*webhook.Dispatcher
	URL   string // of the application, without a path
	DB    *sql.DB
	ahead atomic.Int64
}

// Open starts the application, until the test ends, with the config of a product;
// only its Network is replaced. Who a visitor is stands in the cookies of [As].
func Open(t testing.TB, config webhook.Config, options portal.Options) *Stage {
	t.Helper()
	db, err := sql.Open("sqlite", sqlstore.SQLiteDSN(filepath.Join(t.TempDir(), "webhooks.db")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := &Stage{DB: db}
	store := sqlstore.New(db, sqlstore.SQLite)
	store.SetClock(func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) })
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Mount(t, store, config, options)
	return s
}

// Mount starts the application on a store.
func (s *Stage) Mount(t testing.TB, store webhook.Store, config webhook.Config, options portal.Options) {
	t.Helper()
	config.Network = webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	var err error
	if s.Dispatcher, err = webhook.NewDispatcher(store, config); err != nil {
		t.Fatal(err)
	}
	options.Access = access
	options.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	handler, err := portal.New(s.Dispatcher, options)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(Path, http.StripPrefix(Path[:len(Path)-1], handler))
	server := httptest.NewServer(mux)
	s.URL = server.URL
	ctx, stop := context.WithCancel(context.Background())
	drained := make(chan error, 1)
	go func() { drained <- s.Run(ctx) }()
	t.Cleanup(func() {
		server.Close()
		stop()
		if err := <-drained; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// Advance moves the store's clock on.
func (s *Stage) Advance(by time.Duration) { s.ahead.Add(int64(by)) }

// As are the cookies of somebody who works for a tenant. Rights may be "operator",
// "readonly" and "reveal".
func As(tenant, actor string, rights ...string) []*http.Cookie {
	cookies := []*http.Cookie{{Name: "tenant", Value: tenant}, {Name: "actor", Value: actor}}
	for _, right := range rights {
		cookies = append(cookies, &http.Cookie{Name: right, Value: "yes"})
	}
	return cookies
}

func access(r *http.Request) (portal.Access, error) {
	value := func(name string) string {
		c, err := r.Cookie(name)
		if err != nil {
			return ""
		}
		return c.Value
	}
	return portal.Access{
		Tenant: value("tenant"), Actor: value("actor"),
		Operator: value("operator") != "", ReadOnly: value("readonly") != "", RevealSecrets: value("reveal") != "",
	}, nil
}

// Publish publishes an event.
func (s *Stage) Publish(t testing.TB, events ...webhook.Event) {
	t.Helper()
	if _, err := s.PublishBatch(t.Context(), events); err != nil {
		t.Fatal(err)
	}
}

// Finished waits until all deliveries of a view have ended.
func Finished(t testing.TB, v *webhook.View) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		page, err := v.Deliveries(t.Context(), webhook.DeliveryFilter{States: []webhook.State{webhook.StatePending}, Limit: 1})
		switch {
		case err != nil:
			t.Fatal(err)
		case len(page.Items) == 0:
			return
		case time.Now().After(deadline):
			t.Fatalf("%+v does not end", page.Items[0])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Request is what a [Receiver] was sent.
type Request struct {
	Header http.Header
	Body   []byte
}

// Answer is what a [Receiver] answers.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Receiver is a customer's server.
type Receiver struct {
	URL      string
	requests chan Request
	mu       sync.Mutex
	next     []Answer
	always   Answer
}

// NewReceiver starts a receiver that answers 200 to everything.
func NewReceiver(t testing.TB) *Receiver {
	t.Helper()
	r := &Receiver{requests: make(chan Request, 10_000), always: Answer{Status: http.StatusOK, Body: `{"received":true}`, Header: http.Header{"Content-Type": {"application/json"}}}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.URL = server.URL + "/hooks"
	return r
}

// Then says how the next requests are answered, each in its turn.
func (r *Receiver) Then(answers ...Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = append(r.next, answers...)
}

// Always says how all requests are answered from now on.
func (r *Receiver) Always(a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next, r.always = nil, a
}

// Next waits for the next request.
func (r *Receiver) Next(t testing.TB) Request {
	t.Helper()
	select {
	case request := <-r.requests:
		return request
	case <-time.After(20 * time.Second):
		t.Fatal("the receiver gets nothing")
		panic("unreachable")
	}
}

// None fails the test if there is a request that was not waited for.
func (r *Receiver) None(t testing.TB) {
	t.Helper()
	select {
	case request := <-r.requests:
		t.Errorf("the receiver got %s", request.Body)
	default:
	}
}

// ServeHTTP implements [http.Handler].
func (r *Receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	answer := r.always
	if len(r.next) > 0 {
		answer, r.next = r.next[0], r.next[1:]
	}
	r.mu.Unlock()
	for name, values := range answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Status)
	_, _ = io.WriteString(w, answer.Body)
	r.requests <- Request{request.Header, body}
}
