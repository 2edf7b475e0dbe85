package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/outhook/webhook/internal/hostile"
)

// plainStore is a store with none of the optional interfaces.
type plainStore struct{ Store }

// panickingSigner panics with what must not be seen.
type panickingSigner struct{}

func (panickingSigner) Sign(http.Header, Message, []Secret) error { panic("a secret value") }

// unknownSigner sends the secret in a header of which the library knows nothing.
type unknownSigner struct{}

func (unknownSigner) NewSecret() Secret { return NewSecret() }

func (unknownSigner) Sign(h http.Header, _ Message, secrets []Secret) error {
	h.Set("X-Unknown", secrets[0].Value)
	return nil
}

func TestNewDispatcherNamesEveryMistake(t *testing.T) {
	_, err := NewDispatcher(plainStore{NewMemoryStore()}, Config{
		Profile: Profile{
			Timeout:     time.Microsecond,
			ContentType: "text/plain\r\nX: y",
			UserAgent:   " spaces ",
			Signer:      StandardWebhooks{Prefix: "a b"},
			Retry:       Exponential{Jitter: 2},
		},
		Profiles: map[string]Profile{
			"":       {},
			"signer": {Signer: HMAC{}},
			"retry":  {Retry: WithJitter(nil, 3)},
			"slow":   {Timeout: time.Hour},
		},
		Catalog:             []EventType{{Name: "a"}, {Name: "a"}, {Name: "no spaces"}},
		Network:             Network{MaxResponseBytes: 1 << 30, Ports: []uint16{0}, Deny: []netip.Prefix{{}}},
		Concurrency:         -1,
		EndpointConcurrency: -2,
		Retention:           time.Hour,
		PollInterval:        -time.Second,
		Lease:               time.Second,
		DrainTimeout:        -time.Second,
	})
	for _, sentinel := range []error{ErrInvalid, ErrNotSupported} {
		if !errors.Is(err, sentinel) {
			t.Errorf("the error does not match %q", sentinel)
		}
	}
	if err == nil {
		t.FailNow()
	}
	for _, field := range []string{
		"Profile.Timeout", "Profile.ContentType", "Profile.UserAgent", "Profile.Signer", "Profile.Retry",
		"Profiles: ", `Profiles["signer"].Signer`, `Profiles["retry"].Retry`,
		"Catalog[1].Name", "Catalog[2].Name", "Network.MaxResponseBytes", "Network: ",
		"\nConcurrency", "EndpointConcurrency", "Retention", "PollInterval", "Lease", "DrainTimeout",
	} {
		if !strings.Contains("\n"+strings.TrimPrefix(err.Error(), "new dispatcher: "), field) {
			t.Errorf("the error does not name %s", strings.TrimSpace(field))
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

func TestNewDispatcherRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		store  Store
		config Config
		want   error
	}{
		{"no store", nil, Config{}, ErrInvalid},
		{"a nil MemoryStore", (*MemoryStore)(nil), Config{}, ErrInvalid},
		{"too much concurrency", NewMemoryStore(), Config{Concurrency: maxConcurrency + 1}, ErrInvalid},
		{"more for an endpoint than in all", NewMemoryStore(), Config{Concurrency: 2, EndpointConcurrency: 3}, ErrInvalid},
		{"a negative retention", NewMemoryStore(), Config{Retention: -1}, ErrInvalid},
		{"retention without a purger", plainStore{NewMemoryStore()}, Config{Retention: time.Hour}, ErrNotSupported},
		{"a lease as long as the timeout", NewMemoryStore(), Config{Profile: Profile{Timeout: time.Minute}, Lease: time.Minute}, ErrInvalid},
		{"a lease as long as another profile's timeout", NewMemoryStore(), Config{Profiles: map[string]Profile{"p": {Timeout: time.Minute}}, Lease: time.Minute}, ErrInvalid},
		{"an inherited mistake", NewMemoryStore(), Config{Profiles: map[string]Profile{"p": {Signer: Signers{}}}}, ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := NewDispatcher(tt.store, tt.config)
			if !errors.Is(err, tt.want) || d != nil {
				t.Errorf("got %v, %v; want an error that is %q", d, err, tt.want)
			}
			for _, other := range []error{ErrInvalid, ErrNotSupported} {
				if other != tt.want && errors.Is(err, other) {
					t.Errorf("the error matches %q too: %v", other, err)
				}
			}
		})
	}
}

func TestConfigHasDefaults(t *testing.T) {
	d := newDispatcher(t, plainStore{NewMemoryStore()}, Config{})
	c := d.config
	for _, tt := range []struct {
		field     string
		got, want any
	}{
		{"Profile.Signer", c.Profile.Signer, StandardWebhooks{}},
		{"Profile.ContentType", c.Profile.ContentType, "application/json"},
		{"Profile.UserAgent", c.Profile.UserAgent, "Outhook/1"},
		{"Profile.Timeout", c.Profile.Timeout, 15 * time.Second},
		{"Profile.Retry", len(timetable(c.Profile.Retry, 20)), 9},
		{"Network.MaxResponseBytes", c.Network.MaxResponseBytes, int64(16 << 10)},
		{"Concurrency", c.Concurrency, 256},
		{"EndpointConcurrency", c.EndpointConcurrency, 16},
		{"AutoDisable", c.AutoDisable, 5 * 24 * time.Hour},
		{"PollInterval", c.PollInterval, 800 * time.Millisecond},
		{"Lease", c.Lease, 45 * time.Second},
		{"DrainTimeout", c.DrainTimeout, 20 * time.Second},
		{"Logger", c.Logger != nil, true},
	} {
		if tt.got != tt.want {
			t.Errorf("%s is %v, want %v", tt.field, tt.got, tt.want)
		}
	}
	if c := newDispatcher(t, NewMemoryStore(), Config{Concurrency: 4}).config; c.EndpointConcurrency != 4 {
		t.Errorf("with Concurrency 4, EndpointConcurrency is %d", c.EndpointConcurrency)
	}
	if c := newDispatcher(t, NewMemoryStore(), Config{Profiles: map[string]Profile{"slow": {Timeout: time.Minute}}}).config; c.Lease != 90*time.Second {
		t.Errorf("with a Timeout of 1m in a profile, Lease is %v", c.Lease)
	}
}

func TestProfilesInheritFromTheDefaultOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, nil)
		config := testConfig(receiver)
		config.Profile = Profile{
			Signer: SecretHeader{Name: "X-Token"}, Envelope: DataEnvelope, ContentType: "application/one", UserAgent: "One/1",
			Headers: func(Message) http.Header { return http.Header{"X-One": {"1"}} },
		}
		config.Profiles = map[string]Profile{
			"same":  {},
			"other": {Envelope: StandardEnvelope, UserAgent: "Other/1", Headers: func(Message) http.Header { return http.Header{"X-Other": {"1"}} }},
		}
		d := newDispatcher(t, NewMemoryStore(), config)
		start(t, d)
		for _, name := range []string{"", "same", "other"} {
			register(t, d.View, Endpoint{Profile: name, URL: "http://p" + name + ".example/", Secrets: []Secret{{Value: "token"}}})
		}
		publish(t, d, Event{Data: 1})
		time.Sleep(time.Second)
		for host, want := range map[string]struct {
			header map[string]string
			body   string
		}{
			"p.example":      {map[string]string{"X-Token": "token", "Content-Type": "application/one", "User-Agent": "One/1", "X-One": "1"}, "1"},
			"psame.example":  {map[string]string{"X-Token": "token", "Content-Type": "application/one", "User-Agent": "One/1", "X-One": "1"}, "1"},
			"pother.example": {map[string]string{"X-Token": "token", "Content-Type": "application/one", "User-Agent": "Other/1", "X-One": "", "X-Other": "1"}, `{"type":"test","timestamp":"2000-01-01T00:00:00Z","data":1}`},
		} {
			got := receiver.to(host)
			if len(got) != 1 {
				t.Fatalf("%s received %d requests", host, len(got))
			}
			for name, value := range want.header {
				if got[0].Header.Get(name) != value {
					t.Errorf("%s: %s is %q, want %q", host, name, got[0].Header.Get(name), value)
				}
			}
			if string(got[0].Body) != want.body {
				t.Errorf("%s: the body is %s, want %s", host, got[0].Body, want.body)
			}
		}
	})
}

func TestPublishGeneratesAnOrderedID(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), Config{})
	before := ""
	for range 3 {
		receipt := publish(t, d, Event{})
		id, err := uuid.Parse(receipt.EventID)
		if err != nil || id.Version() != 7 {
			t.Errorf("%q is no UUIDv7", receipt.EventID)
		}
		if receipt.EventID <= before {
			t.Errorf("%q does not come after %q", receipt.EventID, before)
		}
		before = receipt.EventID
	}
}

func TestPublishRefuses(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), Config{Catalog: []EventType{
		{Name: "known"},
		{Name: "strict", Validate: func(data json.RawMessage) error { return fmt.Errorf("%s is not it", data) }},
		{Name: "panics", Validate: func(json.RawMessage) error { panic("oh") }},
	}})
	valid := Event{Type: "known"}
	with := func(edit func(*Event)) Event {
		e := valid
		edit(&e)
		return e
	}
	for _, tt := range []struct {
		name  string
		event Event
		want  error
	}{
		{"no type", with(func(e *Event) { e.Type = "" }), ErrInvalid},
		{"a type that is none", with(func(e *Event) { e.Type = "a b" }), ErrInvalid},
		{"a type that the catalogue does not hold", with(func(e *Event) { e.Type = "unknown" }), ErrUnknownEventType},
		{"an ID with a dot", with(func(e *Event) { e.ID = "a.b" }), ErrInvalid},
		{"an ID too long", with(func(e *Event) { e.ID = strings.Repeat("x", 129) }), ErrInvalid},
		{"a key too long", with(func(e *Event) { e.Key = strings.Repeat("x", 257) }), ErrInvalid},
		{"an ordering key that is not UTF-8", with(func(e *Event) { e.OrderingKey = "\xff" }), ErrInvalid},
		{"a tenant that is none", with(func(e *Event) { e.Tenant = "acme//legal" }), ErrInvalid},
		{"a time that RFC 3339 cannot write", with(func(e *Event) { e.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }), ErrInvalid},
		{"data that JSON cannot write", with(func(e *Event) { e.Data = func() {} }), ErrInvalid},
		{"a RawMessage that is no JSON", with(func(e *Event) { e.Data = json.RawMessage("{") }), ErrInvalid},
		{"an empty RawMessage", with(func(e *Event) { e.Data = json.RawMessage{} }), ErrInvalid},
		{"a marshaler that panics", with(func(e *Event) { e.Data = panickingMarshaler{} }), ErrInvalid},
		{"data that Validate refuses", with(func(e *Event) { e.Type = "strict" }), ErrInvalid},
		{"a Validate that panics", with(func(e *Event) { e.Type = "panics" }), ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			receipt, err := d.Publish(t.Context(), tt.event)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if receipt.EventID == "" || tt.event.ID != "" && receipt.EventID != tt.event.ID {
				t.Errorf("the receipt names event %q", receipt.EventID)
			}
			if _, err := d.store.GetEvent(t.Context(), receipt.EventID); !errors.Is(err, ErrNotFound) {
				t.Errorf("the event is stored all the same: %v", err)
			}
			receipts, err := d.PublishBatch(t.Context(), []Event{{ID: "first", Type: "known"}, tt.event})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), "event 1:") {
				t.Errorf("in a batch: got %v, want %v", err, tt.want)
			}
			if len(receipts) != 2 || receipts[0].EventID != "first" || receipts[1].EventID == "" {
				t.Errorf("in a batch: the receipts are %v", receipts)
			}
		})
	}
	if page, err := d.store.ListEvents(t.Context(), EventFilter{Scope: Scope{All: true}}); err != nil || len(page.Items) > 0 {
		t.Errorf("%d events are stored, %v", len(page.Items), err)
	}
}

func TestPublishKeepsTheIDWhenTheContextHasEnded(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	receipt, err := d.Publish(ctx, Event{Type: "test"})
	if !errors.Is(err, context.Canceled) || receipt.EventID == "" {
		t.Errorf("got %+v, %v", receipt, err)
	}
}

func TestPublishingAgain(t *testing.T) {
	base := Event{ID: "one", Key: "order-1", Type: "test", Tenant: "acme", Data: map[string]int{"n": 1}}
	with := func(edit func(*Event)) Event {
		e := base
		edit(&e)
		return e
	}
	for _, tt := range []struct {
		name  string
		event Event
		want  Receipt // with the zero one: a conflict
	}{
		{"the same", base, Receipt{EventID: "one", Duplicate: true}},
		{"the same ID alone", with(func(e *Event) { e.Key = "" }), Receipt{EventID: "one", Duplicate: true}},
		{"the same key alone", with(func(e *Event) { e.ID = "" }), Receipt{EventID: "one", Duplicate: true}},
		{"the same key with another ID", with(func(e *Event) { e.ID = "two" }), Receipt{EventID: "one", Duplicate: true}},
		{"at another time", with(func(e *Event) { e.Time = time.Unix(1, 0) }), Receipt{EventID: "one", Duplicate: true}},
		{"the same data, written otherwise", with(func(e *Event) { e.Data = json.RawMessage(`{"n":1}`) }), Receipt{EventID: "one", Duplicate: true}},
		{"the same key of another tenant", with(func(e *Event) { e.ID, e.Tenant = "two", "other" }), Receipt{EventID: "two", Deliveries: 1}},
		{"another ID and key", with(func(e *Event) { e.ID, e.Key = "two", "order-2" }), Receipt{EventID: "two", Deliveries: 1}},
		{"the ID for another tenant", with(func(e *Event) { e.Tenant = "other" }), Receipt{}},
		{"the ID for another type", with(func(e *Event) { e.Type = "other" }), Receipt{}},
		{"the ID for other data", with(func(e *Event) { e.Data = 2 }), Receipt{}},
		{"the key for other data", with(func(e *Event) { e.ID, e.Data = "", 2 }), Receipt{}},
		{"the ID and key of two events", Event{ID: "one", Key: "order-0", Type: "test", Tenant: "acme", Data: base.Data}, Receipt{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDispatcher(t, NewMemoryStore(), Config{})
			register(t, d.View, Endpoint{URL: "https://receiver.example/", AllTenants: true})
			publish(t, d, Event{ID: "zero", Key: "order-0", Tenant: "acme", Data: base.Data})
			if first := publish(t, d, base); first.Duplicate || first.Deliveries != 1 {
				t.Fatalf("the first receipt is %+v", first)
			}
			receipt, err := d.Publish(t.Context(), tt.event)
			switch {
			case tt.want == Receipt{}:
				if !errors.Is(err, ErrConflict) || receipt.EventID == "" {
					t.Errorf("got %+v, %v; want a conflict", receipt, err)
				}
			case err != nil || receipt != tt.want:
				t.Errorf("got %+v, %v; want %+v", receipt, err, tt.want)
			}
			if got, want := len(deliveries(t, d, DeliveryFilter{})), 2+tt.want.Deliveries; got != want {
				t.Errorf("there are %d deliveries, want %d", got, want)
			}
		})
	}
}

func TestPublishBatchIsAllOrNone(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), Config{})
	register(t, d.View, Endpoint{URL: "https://receiver.example/"})
	receipts, err := d.PublishBatch(t.Context(), []Event{{ID: "a", Type: "t"}, {ID: "b", Type: "t"}, {ID: "a", Type: "t"}})
	want := []Receipt{{"a", 1, false}, {"b", 1, false}, {"a", 0, true}}
	if err != nil || !slices.Equal(receipts, want) {
		t.Errorf("got %v, %v; want %v", receipts, err, want)
	}
	receipts, err = d.PublishBatch(t.Context(), []Event{{ID: "c", Type: "t"}, {ID: "a", Type: "other"}})
	if !errors.Is(err, ErrConflict) || len(receipts) != 2 || receipts[0].EventID != "c" {
		t.Errorf("got %v, %v; want a conflict", receipts, err)
	}
	if got := deliveries(t, d, DeliveryFilter{}); len(got) != 2 {
		t.Errorf("there are %d deliveries, want 2", len(got))
	}
	if receipts, err := d.PublishBatch(t.Context(), nil); len(receipts) > 0 || err != nil {
		t.Errorf("of:nothing: got %v, %v", receipts, err)
	}
}

func TestDataTravelsByteForByte(t *testing.T) {
	raw := `{"b": 1.50,  "a":"\u0000\u003c<é` + "\u2028" + `","a":1e400, "n":12345678901234567890}`
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, nil)
		config := testConfig(receiver)
		config.Profile.Envelope = DataEnvelope
		d := newDispatcher(t, NewMemoryStore(), config)
		register(t, d.View, Endpoint{})
		buffer := json.RawMessage(raw)
		publish(t, d, Event{Data: buffer})
		copy(buffer, bytes.Repeat([]byte("x"), len(buffer))) // the caller uses it again
		start(t, d)
		time.Sleep(time.Second)
		if got := receiver.all(); len(got) != 1 || string(got[0].Body) != raw {
			t.Errorf("received %q, want %q", got[0].Body, raw)
		}
	})
}

func TestEventsWithoutEndpointsAreKept(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), Config{})
	receipt := publish(t, d, Event{Data: 1})
	if receipt.Deliveries != 0 || receipt.Duplicate {
		t.Errorf("got %+v", receipt)
	}
	e := register(t, d.View, Endpoint{URL: "https://receiver.example/"})
	result, err := d.Replay(t.Context(), ReplayFilter{EndpointID: e.ID, Missed: true})
	if err != nil || result.Created != 1 {
		t.Errorf("the replay to a later endpoint created %d deliveries, %v", result.Created, err)
	}
}

func TestWhoReceivesTheEventsOfATenant(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), Config{})
	for _, tenant := range []string{"", "acme", "acme/legal", "acme/legal/eu", "acme2", "acme_x", "acme.x", "other"} {
		register(t, d.View, Endpoint{ID: "of:" + tenant, URL: "https://receiver.example/", Tenant: tenant})
	}
	register(t, d.View, Endpoint{ID: "all", URL: "https://receiver.example/", AllTenants: true})
	for tenant, want := range map[string][]string{
		"":              {"all", "of:"},
		"acme":          {"all", "of:acme"},
		"acme/legal":    {"all", "of:acme", "of:acme/legal"},
		"acme/legal/eu": {"all", "of:acme", "of:acme/legal", "of:acme/legal/eu"},
		"acme/sales":    {"all", "of:acme"},
		"acme/legal2":   {"all", "of:acme"},
		"acme2":         {"all", "of:acme2"},
		"acme_x":        {"all", "of:acme_x"},
		"ac":            {"all"},
		"ACME":          {"all"},
	} {
		receipt := publish(t, d, Event{Tenant: tenant})
		var got []string
		for _, d := range deliveries(t, d, DeliveryFilter{EventID: receipt.EventID}) {
			got = append(got, d.EndpointID)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || receipt.Deliveries != len(want) {
			t.Errorf("tenant %q: received by %q (%d), want %q", tenant, got, receipt.Deliveries, want)
		}
	}
}

// sent publishes an event to one endpoint and returns the first request and what
// was logged of it.
func sent(t *testing.T, d *Dispatcher, r *receiver) (received, Attempt) {
	t.Helper()
	id := publish(t, d, Event{ID: "msg", Data: map[string]string{"k": "v"}}).EventID
	start(t, d)
	time.Sleep(time.Second)
	got, logged := r.all(), attempts(t, d, id)
	if len(got) != 1 || len(logged) != 1 {
		t.Fatalf("%d requests were received, %d logged: %v", len(got), len(logged), logged)
	}
	return got[0], logged[0]
}

func TestWhatIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, nil)
		config := testConfig(receiver)
		config.Profile.Headers = func(m Message) http.Header { return http.Header{"x-attempt": {strconv.Itoa(m.Attempt)}} }
		d := newDispatcher(t, NewMemoryStore(), config)
		e := register(t, d.View, Endpoint{URL: receiverURL + "?a=b&c", Headers: map[string]string{"x-custom": "one, two"}})
		got, logged := sent(t, d, receiver)
		if got.Method != "POST" || got.Host != "receiver.example" || got.Path != "/hook?a=b&c" {
			t.Errorf("%s %s %s", got.Method, got.Host, got.Path)
		}
		body := `{"type":"test","timestamp":"2000-01-01T00:00:00Z","data":{"k":"v"}}`
		if string(got.Body) != body {
			t.Errorf("the body is %s, want %s", got.Body, body)
		}
		want := http.Header{
			"Content-Length": {strconv.Itoa(len(body))}, "Content-Type": {"application/json"}, "User-Agent": {"Outhook/1"},
			"X-Custom": {"one, two"}, "X-Attempt": {"1"},
			"Webhook-Id": {"msg"}, "Webhook-Timestamp": {"946684800"}, "Webhook-Signature": got.Header["Webhook-Signature"],
		}
		if !maps.EqualFunc(got.Header, want, slices.Equal) {
			t.Errorf("the header is\n%v, want\n%v", got.Header, want)
		}
		if err := (StandardWebhooks{}).Verify(got.Header, got.Body, e.Secrets, got.At); err != nil {
			t.Error(err)
		}
		delete(want, "Content-Length")
		if !maps.EqualFunc(logged.RequestHeaders, want, slices.Equal) {
			t.Errorf("logged is\n%v, want\n%v", logged.RequestHeaders, want)
		}
		if logged.Number != 1 || logged.StatusCode != 204 || logged.Error != "" || logged.URL != e.URL || !logged.StartedAt.Equal(got.At) {
			t.Errorf("logged is %+v", logged)
		}
	})
}

func TestAMessageKeepsItsIDAndSignsEachAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, status(500))
		d := newDispatcher(t, NewMemoryStore(), testConfig(receiver))
		secrets := make(map[string][]Secret)
		for _, host := range []string{"a.example", "b.example"} {
			secrets[host] = register(t, d.View, Endpoint{URL: "http://" + host + "/"}).Secrets
		}
		start(t, d)
		id := publish(t, d, Event{Data: 1}).EventID
		time.Sleep(time.Hour)
		for host, other := range map[string]string{"a.example": "b.example", "b.example": "a.example"} {
			got := receiver.to(host)
			if len(got) != 4 {
				t.Fatalf("%s received %d requests", host, len(got))
			}
			for n, r := range got {
				if got := r.Header.Get("Webhook-Id"); got != id {
					t.Errorf("attempt %d has the ID %q, want %q", n+1, got, id)
				}
				if got, want := r.Header.Get("Webhook-Timestamp"), strconv.FormatInt(r.At.Unix(), 10); got != want {
					t.Errorf("attempt %d has the timestamp %s, want %s", n+1, got, want)
				}
				if !bytes.Equal(r.Body, got[0].Body) {
					t.Errorf("attempt %d has another body", n+1)
				}
				if err := (StandardWebhooks{}).Verify(r.Header, r.Body, secrets[host], r.At); err != nil {
					t.Errorf("attempt %d: %v", n+1, err)
				}
				if err := (StandardWebhooks{}).Verify(r.Header, r.Body, secrets[other], r.At); err == nil {
					t.Errorf("attempt %d verifies with another endpoint's secret", n+1)
				}
			}
		}
	})
}

func TestExpiredSecretsStopSigning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, status(500))
		d := newDispatcher(t, NewMemoryStore(), testConfig(receiver))
		newest, older, key := NewSecret(), NewSecret(), NewSigningKey()
		older.ExpiresAt, key.ExpiresAt = time.Now().Add(90*time.Second), time.Now().Add(30*time.Second)
		register(t, d.View, Endpoint{Secrets: []Secret{newest, older, key}})
		start(t, d)
		publish(t, d, Event{})
		time.Sleep(time.Hour)
		older.ExpiresAt, key.ExpiresAt = time.Time{}, time.Time{}
		want := [][3]bool{{true, true, true}, {true, true, false}, {true, false, false}, {true, false, false}}
		for n, r := range receiver.all() {
			for i, secret := range []Secret{newest, older, key} {
				err := StandardWebhooks{}.Verify(r.Header, r.Body, []Secret{secret}, r.At)
				if (err == nil) != want[n][i] {
					t.Errorf("attempt %d, secret %d: %v, want a signature: %t", n+1, i, err, want[n][i])
				}
			}
		}
		if got := len(receiver.all()); got != len(want) {
			t.Errorf("%d attempts, want %d", got, len(want))
		}
	})
}

func TestARotatedSecretSignsTheNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, status(500, 204))
		d := newDispatcher(t, NewMemoryStore(), testConfig(receiver))
		e := register(t, d.View, Endpoint{})
		start(t, d)
		publish(t, d, Event{})
		time.Sleep(time.Second)
		next, err := d.RotateSecret(t.Context(), e.ID, Secret{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r := receiver.all()[1]
		if err := (StandardWebhooks{}).Verify(r.Header, r.Body, []Secret{next}, r.At); err != nil {
			t.Error(err)
		}
		if err := (StandardWebhooks{}).Verify(r.Header, r.Body, e.Secrets, r.At); err == nil {
			t.Error("the former secret still signs")
		}
	})
}

func TestCredentialsAreSentAndRedactedInTheLog(t *testing.T) {
	const value = "s3cret-value"
	for _, tt := range []struct {
		name   string
		signer Signer
		auth   Auth
		header string
		want   string
	}{
		{"basic", nil, BasicAuth("user", value), "Authorization", "Basic dXNlcjpzM2NyZXQtdmFsdWU="},
		{"bearer", nil, BearerToken(value), "Authorization", "Bearer " + value},
		{"API key", nil, APIKey("x-api-key", value), "X-Api-Key", value},
		{"secret header", SecretHeader{Name: "X-Token"}, Auth{}, "X-Token", value},
		{"secret header among others", Signers{HMAC{Header: "X-Signature"}, SecretHeader{Name: "X-Token"}}, Auth{}, "X-Token", value},
		{"signer of an application", unknownSigner{}, Auth{}, "X-Unknown", value},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := newReceiver(t, nil)
				config := testConfig(receiver)
				config.Profile.Signer = tt.signer
				d := newDispatcher(t, NewMemoryStore(), config)
				e := Endpoint{Auth: tt.auth}
				if tt.signer != nil {
					e.Secrets = []Secret{{Value: value}}
				}
				register(t, d.View, e)
				got, logged := sent(t, d, receiver)
				if got := got.Header[tt.header]; !slices.Equal(got, []string{tt.want}) {
					t.Errorf("%s is %q, want %q", tt.header, got, tt.want)
				}
				if got := logged.RequestHeaders[tt.header]; !slices.Equal(got, []string{redacted}) {
					t.Errorf("%s is logged as %q", tt.header, got)
				}
				if text := fmt.Sprint(logged); strings.Contains(text, value) || strings.Contains(text, "dXNlcjpzM2NyZXQtdmFsdWU=") {
					t.Errorf("the log holds the secret: %s", text)
				}
			})
		})
	}
}

func TestProfileHeadersCannotReplaceWhatIsReserved(t *testing.T) {
	for _, name := range []string{
		"content-type", "Host", "Content-Length", "user-agent", "Transfer-Encoding", "Idempotency-Key", "X-Idempotency-Key", "Connection",
		"webhook-signature", "Webhook-Id", "WEBHOOK-TIMESTAMP", "authorization",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := newReceiver(t, nil)
				config := testConfig(receiver)
				config.Profile.Headers = func(Message) http.Header { return http.Header{name: {"forged"}} }
				d := newDispatcher(t, NewMemoryStore(), config)
				e := register(t, d.View, Endpoint{Auth: BearerToken("token")})
				start(t, d)
				id := publish(t, d, Event{}).EventID
				time.Sleep(time.Second)
				failedOfOurs(t, d, e.ID, id, "reserved")
				if got := receiver.all(); len(got) > 0 {
					t.Errorf("sent all the same: %v", got[0].Header)
				}
			})
		})
	}
}

// failedOfOurs checks that an event's attempt failed with such an error, that
// there will be another, and that the endpoint is not blamed.
func failedOfOurs(t *testing.T, d *Dispatcher, endpointID, eventID, text string) {
	t.Helper()
	got := delivery(t, d, eventID)
	if got.State != StatePending || got.Attempts != 1 || got.LastStatus != 0 || !strings.Contains(got.LastError, text) {
		t.Errorf("the delivery is %s after %d attempts, the last one %d %q; want %q", got.State, got.Attempts, got.LastStatus, got.LastError, text)
	}
	if wait := got.NextAttempt.Sub(got.UpdatedAt); wait != time.Minute {
		t.Errorf("the next attempt is %v later, want 1m", wait)
	}
	if e, err := d.Endpoint(t.Context(), endpointID); err != nil || !e.FailingSince.IsZero() || !e.NotBefore.IsZero() {
		t.Errorf("the endpoint is blamed for it: %+v, %v", e, err)
	}
}

func TestOutcomes(t *testing.T) {
	for code, want := range map[int]State{
		200: StateDelivered, 201: StateDelivered, 202: StateDelivered, 204: StateDelivered, 299: StateDelivered,
		300: StatePending, 301: StatePending, 302: StatePending, 303: StatePending, 304: StatePending, 307: StatePending, 308: StatePending,
		400: StatePending, 401: StatePending, 404: StatePending, 408: StatePending, 409: StatePending, 410: StateExhausted,
		422: StatePending, 429: StatePending, 500: StatePending, 503: StatePending, 599: StatePending, 999: StatePending,
	} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", "http://elsewhere.example/")
					w.WriteHeader(code)
				})
				d := newDispatcher(t, NewMemoryStore(), testConfig(receiver))
				endpoint := register(t, d.View, Endpoint{})
				start(t, d)
				id := publish(t, d, Event{}).EventID
				time.Sleep(30 * time.Second)
				got := delivery(t, d, id)
				if got.State != want || got.Attempts != 1 || got.LastStatus != code {
					t.Errorf("the delivery is %s after %d attempts, the last one answered %d; want %s", got.State, got.Attempts, got.LastStatus, want)
				}
				if want := "status " + strconv.Itoa(code); code >= 300 && got.LastError != want || code < 300 && got.LastError != "" {
					t.Errorf("the error is %q", got.LastError)
				}
				if wait := got.NextAttempt.Sub(got.UpdatedAt); want == StatePending && wait != time.Minute || want != StatePending && !got.NextAttempt.IsZero() {
					t.Errorf("the next attempt is at %v, the last one was at %v", got.NextAttempt, got.UpdatedAt)
				}
				if len(receiver.to("elsewhere.example")) > 0 {
					t.Error("the redirect was followed")
				}
				e, err := d.Endpoint(t.Context(), endpoint.ID)
				if err != nil || e.Disabled != (code == 410) || e.FailingSince.IsZero() != (code < 300) {
					t.Errorf("the endpoint is disabled: %t, failing since %v; %v", e.Disabled, e.FailingSince, err)
				}
			})
		})
	}
}

func TestGoneDisablesTheEndpointOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen notices
		answer := status(204, 410)
		receiver := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			time.Sleep(roundTrip)
			answer(w, q)
		})
		config := testConfig(receiver)
		config.Observer = &seen
		d := newDispatcher(t, NewMemoryStore(), config)
		e := register(t, d.View, Endpoint{Tenant: "acme"})
		start(t, d)
		publish(t, d, Event{Tenant: "acme"}) // from now on more than one at a time
		time.Sleep(time.Second)
		for range 3 {
			publish(t, d, Event{Tenant: "acme"})
		}
		time.Sleep(time.Second)
		got, err := d.Endpoint(t.Context(), e.ID)
		if err != nil || !got.Disabled || !strings.Contains(got.DisabledReason, "410") {
			t.Errorf("the endpoint is %+v, %v", got, err)
		}
		disabled := noticed[EndpointDisabled](&seen)
		want := EndpointDisabled{EndpointID: e.ID, Tenant: "acme", Reason: got.DisabledReason, Automatic: true}
		if len(disabled) != 1 || disabled[0] != want {
			t.Errorf("the notices are %+v, want one %+v", disabled, want)
		}
		if receipt := publish(t, d, Event{Tenant: "acme"}); receipt.Deliveries != 0 {
			t.Error("a disabled endpoint is fanned out to")
		}
		for _, delivery := range deliveries(t, d, DeliveryFilter{States: []State{StateExhausted}}) {
			if delivery.Attempts != 1 {
				t.Errorf("a delivery is exhausted after %d attempts", delivery.Attempts)
			}
		}
	})
}

func TestADisabledEndpointsDeliveriesWaitUntilItIsEnabled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, status(500, 204))
		d := newDispatcher(t, NewMemoryStore(), testConfig(receiver))
		e := register(t, d.View, Endpoint{})
		start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(time.Second)
		if err := d.Disable(t.Context(), e.ID, "maintenance"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if got := delivery(t, d, id); got.State != StatePending || len(receiver.all()) != 1 {
			t.Errorf("the delivery is %s after %d requests", got.State, len(receiver.all()))
		}
		if err := d.Enable(t.Context(), e.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := delivery(t, d, id); got.State != StateDelivered {
			t.Errorf("the delivery is %s once it is enabled", got.State)
		}
	})
}

// every waits for the same time again and again.
func every(delay time.Duration) RetryPolicy {
	return RetryPolicyFunc(func(Failure) (time.Duration, bool) { return delay, true })
}

func TestAnEndpointThatFailsForTooLongIsDisabled(t *testing.T) {
	for name, tt := range map[string]struct {
		autoDisable time.Duration
		events      int
		want        bool
	}{
		"one delivery":        {20 * time.Hour, 1, true},
		"many deliveries":     {20 * time.Hour, 40, true},
		"not for long enough": {40 * time.Hour, 40, false},
		"never":               {-1, 1, false},
		"too soon":            {time.Hour, 1, true}, // counts as disableSpread
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen notices
				receiver := newReceiver(t, status(500))
				config := testConfig(receiver)
				config.Observer, config.AutoDisable, config.Profile.Retry = &seen, tt.autoDisable, every(10*time.Minute)
				config.PollInterval = 10 * time.Second
				d := newDispatcher(t, NewMemoryStore(), config)
				e := register(t, d.View, Endpoint{})
				start(t, d)
				began := time.Now()
				for range tt.events {
					publish(t, d, Event{})
				}
				time.Sleep(time.Minute)
				if got, _ := d.Endpoint(t.Context(), e.ID); got.Disabled || !got.FailingSince.Equal(began) {
					t.Errorf("after a minute the endpoint is disabled: %t, failing since %v", got.Disabled, got.FailingSince)
				}
				time.Sleep(30 * time.Hour)
				got, _ := d.Endpoint(t.Context(), e.ID)
				disabled := noticed[EndpointDisabled](&seen)
				if warned := noticed[EndpointFailing](&seen); len(warned) > 1 || (len(warned) == 1) != (tt.autoDisable > 0) {
					t.Errorf("the warnings are %v", warned)
				} else if len(warned) == 1 {
					limit := max(tt.autoDisable, disableSpread)
					if w := warned[0]; w.EndpointID != e.ID || !w.Since.Equal(began) || !w.DisableAt.Equal(began.Add(limit)) {
						t.Errorf("the warning is %+v", w)
					}
				}
				if got.Disabled != tt.want || len(disabled) > 1 || (len(disabled) == 1) != tt.want {
					t.Fatalf("the endpoint is disabled: %t, want %t; the notices are %v", got.Disabled, tt.want, disabled)
				}
				if !tt.want {
					return
				}
				requests := receiver.all()
				last := requests[len(requests)-1].At.Sub(began)
				if limit := max(tt.autoDisable, disableSpread); last < limit || last > limit+20*time.Minute {
					t.Errorf("it was disabled after %v, want %v and a little more", last, limit)
				}
				if !disabled[0].Automatic || disabled[0].Reason != got.DisabledReason || got.DisabledReason == "" {
					t.Errorf("the notice is %+v, the reason %q", disabled[0], got.DisabledReason)
				}
			})
		})
	}
}

func TestFailuresFarApartDoNotDisableAnEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig(newReceiver(t, status(500)))
		config.Profile.Retry = Schedule()
		d := newDispatcher(t, NewMemoryStore(), config)
		id := register(t, d.View, Endpoint{}).ID
		start(t, d)
		for n, step := range []struct {
			after time.Duration
			want  bool
		}{{0, false}, {6 * 24 * time.Hour, false}, {time.Hour, false}, {13 * time.Hour, true}} {
			time.Sleep(step.after)
			publish(t, d, Event{})
			time.Sleep(time.Minute)
			if e, _ := d.Endpoint(t.Context(), id); e.Disabled != step.want {
				t.Fatalf("after failure %d the endpoint is disabled: %t (%s), want %t", n+1, e.Disabled, e.DisabledReason, step.want)
			}
		}
	})
}

func TestAnEndpointThatAsksForItIsLeftAloneAsAWhole(t *testing.T) {
	for name, tt := range map[string]struct {
		code       int
		retryAfter string
		want       time.Duration
	}{
		"429 for a while": {429, "120", 2 * time.Minute},
		"429":             {429, "", minPause},
		"503 for a while": {503, "60", time.Minute},
		"429 for ever":    {429, "86400", maxAsked},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mended atomic.Bool
				receiver := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
					time.Sleep(roundTrip)
					if !mended.Load() {
						w.Header().Set("Retry-After", tt.retryAfter)
						w.WriteHeader(tt.code)
					}
				})
				var seen notices
				config := testConfig(receiver)
				config.EndpointConcurrency, config.Observer, config.NoBreaker = 1, &seen, true
				config.Profile.Retry = every(time.Second)
				d := newDispatcher(t, NewMemoryStore(), config)
				register(t, d.View, Endpoint{})
				start(t, d)
				publish(t, d, Event{})
				time.Sleep(time.Second)
				mended.Store(true)
				for range 10 {
					publish(t, d, Event{})
				}
				time.Sleep(25 * time.Hour)
				requests := receiver.all()
				// The store's clock goes on while the outcome is on its way to it.
				if gap := requests[1].At.Sub(requests[0].At); len(requests) != 12 || gap < tt.want || gap > tt.want+time.Second {
					t.Errorf("of %d requests the second came after %v, want 12 and %v", len(requests), gap, tt.want)
				}
				if paused, resumed := noticed[EndpointPaused](&seen), noticed[EndpointResumed](&seen); len(paused) != 1 || len(resumed) != 1 {
					t.Errorf("the notices are %v and %v, want one of each", paused, resumed)
				}
			})
		})
	}
}

func TestWhatIsInFlightDoesNotEndAPauseThatIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pause = 2 * time.Minute
		var asked atomic.Int64
		receiver := newReceiver(t, func(w http.ResponseWriter, r *http.Request) {
			if asked.Load() > 0 && asked.Add(1)%8 == 0 {
				time.Sleep(10 * time.Millisecond)
				w.Header().Set("Retry-After", "120")
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			time.Sleep(200 * time.Millisecond)
		})
		d := newDispatcher(t, NewMemoryStore(), testConfig(receiver))
		register(t, d.View, Endpoint{})
		start(t, d)
		publish(t, d, Event{}) // makes the endpoint known
		time.Sleep(time.Second)
		asked.Store(1)
		for range 200 {
			publish(t, d, Event{})
		}
		time.Sleep(pause / 2)
		requests := receiver.all()[1:]
		for _, r := range requests {
			if after := r.At.Sub(requests[0].At); after > time.Second {
				t.Errorf("a request came %v after the first, within the pause", after)
			}
		}
		if len(requests) > 3*d.config.EndpointConcurrency {
			t.Errorf("%d requests were made", len(requests))
		}
	})
}

func TestADeadEndpointWithABacklogIsDisabledInTime(t *testing.T) {
	for name, perMinute := range map[string]int{"at once": 0, "all the time": 5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := testConfig(newReceiver(t, status(500)))
				config.AutoDisable, config.Profile.Retry = 24*time.Hour, nil
				d := newDispatcher(t, NewMemoryStore(), config)
				id := register(t, d.View, Endpoint{}).ID
				start(t, d)
				began := time.Now()
				for range 2000 {
					publish(t, d, Event{})
				}
				for time.Since(began) < 25*time.Hour {
					for range perMinute {
						publish(t, d, Event{})
					}
					time.Sleep(time.Minute)
				}
				if e, _ := d.Endpoint(t.Context(), id); !e.Disabled {
					t.Errorf("after %v it is not disabled", time.Since(began))
				}
			})
		})
	}
}

func TestAReceiverThatFailsAtOnceIsLeftAloneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, status(500))
		var seen notices
		config := testConfig(receiver)
		config.Observer, config.Profile.Retry = &seen, every(time.Minute)
		d := newDispatcher(t, NewMemoryStore(), config)
		id := register(t, d.View, Endpoint{}).ID
		for range 1000 {
			publish(t, d, Event{})
		}
		start(t, d)
		time.Sleep(time.Second)
		if got := len(receiver.all()); got > breakerLimit+d.config.EndpointConcurrency {
			t.Errorf("it received %d requests, want at most %d", got, breakerLimit+d.config.EndpointConcurrency)
		}
		e, _ := d.Endpoint(t.Context(), id)
		if paused := noticed[EndpointPaused](&seen); len(paused) != 1 || paused[0].EndpointID != id || paused[0].Until.IsZero() || e.NotBefore.IsZero() {
			t.Errorf("the notices are %+v, the endpoint is left alone until %v", paused, e.NotBefore)
		}
	})
}

func TestWithoutABreakerEveryDeliveryKeepsItsTimetable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events, attempts = 20, 4
		receiver := newReceiver(t, status(500))
		config := testConfig(receiver)
		config.NoBreaker, config.Profile.Retry = true, Schedule(time.Minute, time.Minute, time.Minute)
		d := newDispatcher(t, NewMemoryStore(), config)
		id := register(t, d.View, Endpoint{}).ID
		start(t, d)
		for range events {
			publish(t, d, Event{})
		}
		time.Sleep(5 * time.Minute)
		if got := len(receiver.all()); got != events*attempts {
			t.Errorf("it received %d requests, want %d", got, events*attempts)
		}
		if e, _ := d.Endpoint(t.Context(), id); !e.NotBefore.IsZero() || e.FailingSince.IsZero() {
			t.Errorf("it is left alone until %v, failing since %v", e.NotBefore, e.FailingSince)
		}
	})
}

func TestASuccessEndsTheTimeOfFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		receiver := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
			if since := time.Since(began); since < time.Hour || since > 90*time.Minute {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})
		config := testConfig(receiver)
		config.AutoDisable, config.Profile.Retry = 2*time.Hour, every(10*time.Minute)
		d := newDispatcher(t, NewMemoryStore(), config)
		id := register(t, d.View, Endpoint{}).ID
		start(t, d)
		publish(t, d, Event{})
		time.Sleep(80 * time.Minute)
		if e, _ := d.Endpoint(t.Context(), id); !e.FailingSince.IsZero() {
			t.Errorf("after a success it is failing since %v", e.FailingSince)
		}
		time.Sleep(40 * time.Minute)
		publish(t, d, Event{})
		again := time.Now()
		time.Sleep(110 * time.Minute)
		if e, _ := d.Endpoint(t.Context(), id); e.Disabled || !e.FailingSince.Equal(again) {
			t.Errorf("it is disabled: %t, failing since %v, want %v", e.Disabled, e.FailingSince, again)
		}
	})
}

// roundTrip is how long a receiver takes where it matters that the store has all
// outcomes before the next one: in a bubble, time stands still until then.
const roundTrip = 10 * time.Millisecond

func TestAFailingEndpointIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events, outage = 50, 2 * time.Hour
		began := time.Now()
		receiver := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(roundTrip)
			if time.Since(began) < outage {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})
		config := testConfig(receiver)
		config.EndpointConcurrency, config.Profile.Retry = 1, every(time.Minute)
		d := newDispatcher(t, NewMemoryStore(), config)
		id := register(t, d.View, Endpoint{}).ID
		start(t, d)
		for range events {
			publish(t, d, Event{})
		}
		time.Sleep(outage - time.Second)
		requests := receiver.all()
		opened := slices.IndexFunc(requests, func(r received) bool { return r.At.Sub(began) >= time.Second })
		// One more may have been claimed before the last failure was stored.
		if opened < breakerLimit || opened > breakerLimit+config.EndpointConcurrency {
			t.Errorf("%d requests were made before the endpoint was left alone, want %d", opened, breakerLimit)
		}
		var gaps []time.Duration
		for n := opened; n < len(requests); n++ {
			gaps = append(gaps, requests[n].At.Sub(requests[n-1].At)-roundTrip)
		}
		for n, gap := range gaps {
			if gap < minPause || gap > maxPause+time.Second || n > 0 && gap < gaps[n-1]-time.Second {
				t.Errorf("the probes come after %v, want growing times", gaps)
				break
			}
		}
		if len(gaps) < 10 || gaps[len(gaps)-1] < maxPause {
			t.Errorf("the probes come after %v, want the last after %v", gaps, maxPause)
		}
		if e, _ := d.Endpoint(t.Context(), id); !e.NotBefore.After(time.Now()) || !e.FailingSince.Equal(began.Add(roundTrip)) {
			t.Errorf("not before %v, failing since %v", e.NotBefore, e.FailingSince)
		}

		time.Sleep(maxPause + 2*time.Minute)
		if e, _ := d.Endpoint(t.Context(), id); !e.NotBefore.IsZero() || !e.FailingSince.IsZero() {
			t.Errorf("after the outage: not before %v, failing since %v", e.NotBefore, e.FailingSince)
		}
		if got := deliveries(t, d, DeliveryFilter{States: []State{StateDelivered}}); len(got) != events {
			t.Errorf("after the outage %d deliveries of %d are made", len(got), events)
		}
	})
}

func TestProcessesShareTheProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(roundTrip)
			w.WriteHeader(http.StatusInternalServerError)
		})
		store := NewMemoryStore()
		config := testConfig(receiver)
		config.EndpointConcurrency, config.Profile.Retry = 1, every(time.Minute)
		var d *Dispatcher
		for range 3 {
			d = newDispatcher(t, store, config)
			start(t, d)
		}
		register(t, d.View, Endpoint{})
		for range 100 {
			publish(t, d, Event{})
		}
		time.Sleep(time.Hour)
		requests := receiver.all()
		opened := slices.IndexFunc(requests, func(r received) bool { return r.At.Sub(requests[0].At) >= minPause })
		if opened < breakerLimit || opened > 3*(breakerLimit+config.EndpointConcurrency) {
			t.Fatalf("%d requests were made before the endpoint was left alone", opened)
		}
		for n := opened; n < len(requests); n++ {
			if gap := requests[n].At.Sub(requests[n-1].At); gap < minPause {
				t.Errorf("request %d came %v after the one before", n+1, gap)
			}
		}
	})
}

func TestALoneDeliveryIsNotSlowedByTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, status(500))
		config := testConfig(receiver)
		config.Profile.Retry = every(10 * time.Second)
		d := newDispatcher(t, NewMemoryStore(), config)
		id := register(t, d.View, Endpoint{}).ID
		start(t, d)
		publish(t, d, Event{})
		time.Sleep(time.Hour + time.Minute)
		if got := len(receiver.all()); got < 330 { // each at most a PollInterval late
			t.Errorf("%d attempts in an hour, want 360", got)
		}
		if e, _ := d.Endpoint(t.Context(), id); !e.NotBefore.IsZero() {
			t.Errorf("the endpoint is left alone until %v", e.NotBefore)
		}
	})
}

// What an endpoint has asked for is over when it is; that it fails then is as if it
// had never asked.
func TestAfterAPauseThatWasAskedForADeliveryKeepsItsTimetable(t *testing.T) {
	for name, without := range map[string]bool{"a lone delivery": false, "without a breaker": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Bool
				receiver := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
					if asked.CompareAndSwap(false, true) {
						w.WriteHeader(http.StatusTooManyRequests)
						return
					}
					w.WriteHeader(http.StatusInternalServerError)
				})
				config := testConfig(receiver)
				config.NoBreaker, config.Profile.Retry = without, every(10*time.Second)
				d := newDispatcher(t, NewMemoryStore(), config)
				register(t, d.View, Endpoint{})
				start(t, d)
				publish(t, d, Event{})
				time.Sleep(time.Hour + time.Minute)
				if got := len(receiver.all()); got < 330 { // each at most a PollInterval late
					t.Errorf("%d attempts in an hour, want 360", got)
				}
			})
		})
	}
}

func TestTheTimeoutCoversTheWholeAttempt(t *testing.T) {
	const timeout = 3 * time.Second
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		dial   bool
		state  State
		text   string
	}{
		{"dial", nil, true, StatePending, "timeout"},
		{"header", hang, false, StatePending, "timeout"},
		{"body that does not end", func(w http.ResponseWriter, q *http.Request) {
			for q.Context().Err() == nil {
				_, _ = w.Write([]byte("x"))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(100 * time.Millisecond)
			}
		}, false, StateDelivered, ""},
		{"body that stops", func(w http.ResponseWriter, q *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_ = http.NewResponseController(w).Flush()
			hang(w, q)
		}, false, StatePending, "status 500"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := newReceiver(t, tt.answer)
				config := testConfig(receiver)
				config.Profile.Timeout = timeout
				if tt.dial {
					config.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
						<-ctx.Done()
						return nil, ctx.Err()
					}
				}
				d := newDispatcher(t, NewMemoryStore(), config)
				register(t, d.View, Endpoint{})
				start(t, d)
				id := publish(t, d, Event{}).EventID
				time.Sleep(10 * time.Second)
				got, logged := delivery(t, d, id), attempts(t, d, id)
				if got.State != tt.state || got.LastError != tt.text {
					t.Errorf("the delivery is %s, %q; want %s, %q", got.State, got.LastError, tt.state, tt.text)
				}
				if len(logged) != 1 || logged[0].Duration != timeout {
					t.Fatalf("the attempts are %+v, want one of %v", logged, timeout)
				}
				if logged[0].Truncated != (logged[0].StatusCode != 0) {
					t.Errorf("truncated: %t", logged[0].Truncated)
				}
			})
		})
	}
}

func TestResponsesAreKeptWithinABound(t *testing.T) {
	const bound = 100
	for _, tt := range []struct {
		size      int
		truncated bool
	}{{0, false}, {1, false}, {bound - 1, false}, {bound, false}, {bound + 1, true}, {10 << 20, true}} {
		t.Run(strconv.Itoa(tt.size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Encoding", "gzip") // it is not, nobody looks
					_, _ = w.Write(bytes.Repeat([]byte("x"), tt.size))
				})
				config := testConfig(receiver)
				config.Network.MaxResponseBytes = bound
				d := newDispatcher(t, NewMemoryStore(), config)
				register(t, d.View, Endpoint{})
				_, logged := sent(t, d, receiver)
				if want := min(tt.size, bound); len(logged.ResponseBody) != want || logged.Truncated != tt.truncated {
					t.Errorf("%d bytes are kept, truncated %t; want %d, %t", len(logged.ResponseBody), logged.Truncated, want, tt.truncated)
				}
				if logged.StatusCode != 200 || logged.ResponseHeaders.Get("Content-Encoding") != "gzip" {
					t.Errorf("logged is %d, %v", logged.StatusCode, logged.ResponseHeaders)
				}
			})
		})
	}
}

// The bubble has no network: this receiver is on the real loopback interface.
func TestABlockedAddressIsRetriedAndToldToTheOperatorAlone(t *testing.T) {
	var hits atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	finished := make(chan AttemptFinished, 1)
	logger, logs := observedLog()
	d := newDispatcher(t, NewMemoryStore(), Config{
		Network: Network{AllowHTTP: true, Resolver: hostile.Resolver(func(string) []netip.Addr {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		})},
		Logger: logger, Profile: Profile{Retry: Schedule(time.Hour)},
		Observer: ObserverFunc(func(_ context.Context, n Notice) {
			if n, ok := n.(AttemptFinished); ok {
				finished <- n
			}
		}),
	})
	register(t, d.View, Endpoint{URL: "http://customer.example:" + port + "/"})
	stop := start(t, d)
	id := publish(t, d, Event{}).EventID
	if n := <-finished; !n.Blocked || n.Success || n.StatusCode != 0 {
		t.Errorf("the notice is %+v", n)
	}
	stop()
	if got := delivery(t, d, id); got.State != StatePending || got.LastError != "connection failed" {
		t.Errorf("the delivery is %s, %q", got.State, got.LastError)
	}
	if hits.Load() > 0 {
		t.Error("the request was made")
	}
	warned := logs.FilterLevelExact(zap.WarnLevel).FilterMessage("attempt").All()
	if len(warned) != 1 || !strings.Contains(fmt.Sprint(warned[0].ContextMap()["error"]), "not allowed") {
		t.Errorf("the operator is told %v", warned)
	}
}

func TestAnAddressThatIsBlockedMeanwhileIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen notices
		store := NewMemoryStore()
		config := testConfig(newReceiver(t, nil))
		config.Network.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		permissive := newDispatcher(t, store, config)
		config.Network.Allow, config.Observer = nil, &seen
		d := newDispatcher(t, store, config)
		register(t, permissive.View, Endpoint{URL: "http://10.0.0.1/"})
		start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(time.Second)
		if got := delivery(t, d, id); got.State != StatePending || got.LastError != "connection failed" {
			t.Errorf("the delivery is %s, %q", got.State, got.LastError)
		}
		if got := noticed[AttemptFinished](&seen); len(got) != 1 || !got[0].Blocked {
			t.Errorf("the notices are %+v", got)
		}
	})
}

func TestPanicsAndErrorsOfTheProfileFailTheAttempt(t *testing.T) {
	for _, tt := range []struct {
		name    string
		profile Profile
		want    string
	}{
		{"Signer", Profile{Signer: panickingSigner{}}, "signer panicked"},
		{"Signer without a secret", Profile{Signer: secretless{HMAC{Header: "X-Signature"}}}, "secret"},
		{"Envelope", Profile{Envelope: func(Event) ([]byte, error) { panic("oh") }}, "envelope panicked: oh"},
		{"Envelope's error", Profile{Envelope: func(Event) ([]byte, error) { return nil, errors.New("no way") }}, "envelope: no way"},
		{"Headers", Profile{Headers: func(Message) http.Header { panic("oh") }}, "headers panicked: oh"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := newReceiver(t, nil)
				logger, logs := observedLog()
				config := testConfig(receiver)
				config.Logger = logger
				tt.profile.Retry = config.Profile.Retry
				config.Profile = tt.profile
				d := newDispatcher(t, NewMemoryStore(), config)
				e := register(t, d.View, Endpoint{})
				start(t, d)
				id := publish(t, d, Event{}).EventID
				time.Sleep(time.Second)
				failedOfOurs(t, d, e.ID, id, tt.want)
				if got := len(receiver.all()); got > 0 {
					t.Errorf("%d requests were made", got)
				}
				warned := logs.FilterLevelExact(zap.WarnLevel).FilterMessage("attempt")
				if warned.Len() != 1 || !strings.Contains(fmt.Sprint(warned.All()[0].ContextMap()), tt.want) {
					t.Errorf("the operator is told %v", warned.All())
				}
			})
		})
	}
}

// secretless makes Register generate no secret for a scheme that needs one.
type secretless struct{ Signer }

func TestAPanickingRetryPolicyIsReplacedByTheDefaultOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, status(500, 204))
		logger, logs := observedLog()
		config := testConfig(receiver)
		config.Logger, config.Profile.Retry = logger, RetryPolicyFunc(func(Failure) (time.Duration, bool) { panic("oh") })
		d := newDispatcher(t, NewMemoryStore(), config)
		register(t, d.View, Endpoint{})
		start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(10 * time.Second)
		if got := attempts(t, d, id); len(got) != 2 || got[0].Error != "status 500; the retry policy panicked" || got[1].Error != "" {
			t.Errorf("the attempts are %+v", got)
		}
		if logs.FilterLevelExact(zap.ErrorLevel).Len() != 1 {
			t.Errorf("the operator is told %v", logs.All())
		}
	})
}

func TestAPanickingObserverIsALogLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, nil)
		logger, logs := observedLog()
		config := testConfig(receiver)
		config.Logger, config.Observer = logger, ObserverFunc(func(context.Context, Notice) { panic("oh") })
		d := newDispatcher(t, NewMemoryStore(), config)
		register(t, d.View, Endpoint{})
		start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(time.Second)
		if got := delivery(t, d, id); got.State != StateDelivered || got.Attempts != 1 {
			t.Errorf("the delivery is %s after %d attempts", got.State, got.Attempts)
		}
		// Registered, published, started, finished, delivered.
		if got := logs.FilterMessage("the observer panicked").Len(); got != 5 {
			t.Errorf("%d log lines, want 5", got)
		}
	})
}

func TestNoticesTellADeliverysLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen notices
		config := testConfig(newReceiver(t, status(503, 200, 500)))
		config.Observer, config.Profile.Retry = &seen, Schedule(time.Minute)
		d := newDispatcher(t, NewMemoryStore(), config)
		endpoint := register(t, d.View, Endpoint{Tenant: "acme"})
		want := []Notice{EndpointRegistered{EndpointID: endpoint.ID, Tenant: "acme"}}
		for range 2 {
			id := publish(t, d, Event{Tenant: "acme/legal"}).EventID
			stop := start(t, d) // not before: a delivery may overtake the notice of its event
			time.Sleep(time.Hour)
			stop()
			ref := DeliveryRef{
				ID: delivery(t, d, id).ID, EventID: id, EventType: "test", EventTenant: "acme/legal",
				EndpointID: endpoint.ID, Tenant: "acme", Origin: OriginPublish,
			}
			want = append(want, EventPublished{EventID: id, EventType: "test", Tenant: "acme/legal", Deliveries: 1})
			codes, end := []int{503, 200}, Notice(DeliveryDelivered{ref, 2})
			if len(want) > 7 {
				codes, end = []int{500, 500}, DeliveryExhausted{ref, 2}
			}
			for n, code := range codes {
				want = append(want, AttemptStarted{ref, n + 1}, AttemptFinished{Delivery: ref, Number: n + 1, StatusCode: code, Success: code == 200})
			}
			want = append(want, end)
		}
		if got := seen.all(); !slices.Equal(got, want) {
			t.Errorf("the notices are\n%+v, want\n%+v", got, want)
		}
	})
}

func TestADeliveryOfAnUnknownProfileWaitsForAProcessThatKnowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore()
		config := testConfig(newReceiver(t, nil))
		old := newDispatcher(t, store, config)
		config.Profiles = map[string]Profile{"new": {}}
		deployed := newDispatcher(t, store, config)
		register(t, deployed.View, Endpoint{Profile: "new"})
		stop := start(t, old)
		id := publish(t, old, Event{}).EventID
		time.Sleep(24*time.Hour + misconfigured/2)
		stop()
		got := delivery(t, old, id)
		if got.State != StatePending || got.Attempts != 0 || got.NextAttempt.Sub(got.UpdatedAt) != misconfigured {
			t.Errorf("the delivery is %s after %d attempts, due at %v", got.State, got.Attempts, got.NextAttempt)
		}
		if as := attempts(t, old, id); len(as) > 0 {
			t.Errorf("%d attempts are logged", len(as))
		}
		start(t, deployed)
		time.Sleep(2 * misconfigured)
		if got := delivery(t, old, id); got.State != StateDelivered || got.Attempts != 1 {
			t.Errorf("the delivery is %s after %d attempts", got.State, got.Attempts)
		}
	})
}

func TestADeliveryThatKillsTheProcessIsNotSentAgain(t *testing.T) {
	for _, crashes := range []int{maxExpired, maxExpired + 1} {
		t.Run(strconv.Itoa(crashes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := newReceiver(t, nil)
				store := NewMemoryStore()
				d := newDispatcher(t, store, testConfig(receiver))
				e := register(t, d.View, Endpoint{})
				id := publish(t, d, Event{}).EventID
				for range crashes { // claimed, and nothing heard of again
					claimed, _, err := store.Claim(t.Context(), ClaimRequest{Max: 1, PerEndpoint: 1, Lease: time.Second})
					if err != nil || len(claimed) != 1 {
						t.Fatalf("claimed %d, %v", len(claimed), err)
					}
					time.Sleep(time.Second)
				}
				start(t, d)
				time.Sleep(time.Second)
				got := delivery(t, d, id)
				if crashes <= maxExpired {
					if got.State != StateDelivered || got.Attempts != 1 {
						t.Errorf("the delivery is %s after %d attempts", got.State, got.Attempts)
					}
					return
				}
				failedOfOurs(t, d, e.ID, id, "lease ran out")
				if len(receiver.all()) > 0 {
					t.Error("it was sent once more")
				}
				time.Sleep(2 * time.Minute) // another chance, as after every failed attempt
				if got := delivery(t, d, id); got.State != StateDelivered || got.Attempts != 2 {
					t.Errorf("the delivery is %s after %d attempts", got.State, got.Attempts)
				}
			})
		})
	}
}

func TestRunFinishesWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, after(5*time.Second))
		config := testConfig(receiver)
		d := newDispatcher(t, NewMemoryStore(), config)
		register(t, d.View, Endpoint{URL: "http://a.example/"})
		register(t, d.View, Endpoint{URL: "http://b.example/"})
		stop := start(t, d)
		publish(t, d, Event{})
		last := publish(t, d, Event{}).EventID // waits: the endpoints have not answered yet
		time.Sleep(time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("Run returned after %v, want 4s", took)
		}
		if got := deliveries(t, d, DeliveryFilter{States: []State{StateDelivered}}); len(got) != 2 {
			t.Errorf("%d deliveries are made, want 2", len(got))
		}
		for _, got := range deliveries(t, d, DeliveryFilter{EventID: last}) {
			if got.State != StatePending || got.Attempts != 0 || got.NextAttempt.After(time.Now()) {
				t.Errorf("a delivery that had not started is %s after %d attempts, due at %v", got.State, got.Attempts, got.NextAttempt)
			}
		}
	})
}

func TestRunCutsShortWhatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen notices
		var slow atomic.Bool
		slow.Store(true)
		receiver := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			if slow.Load() {
				hang(w, q)
			}
		})
		config := testConfig(receiver)
		config.DrainTimeout, config.Observer = 3*time.Second, &seen
		d := newDispatcher(t, NewMemoryStore(), config)
		e := register(t, d.View, Endpoint{})
		stop := start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took != config.DrainTimeout {
			t.Errorf("Run returned after %v, want %v", took, config.DrainTimeout)
		}
		got := delivery(t, d, id)
		if got.State != StatePending || got.Attempts != 0 || !got.FirstAttempt.IsZero() || got.NextAttempt.After(time.Now()) {
			t.Errorf("the delivery is %+v", got)
		}
		if as := attempts(t, d, id); len(as) != 1 || as[0].Number != 1 || !strings.Contains(as[0].Error, "cut short") || as[0].Duration != 4*time.Second {
			t.Errorf("the attempts are %+v", as)
		}
		if finished := noticed[AttemptFinished](&seen); len(finished) != 1 || !finished[0].CutShort || finished[0].Success {
			t.Errorf("the notices are %+v", finished)
		}
		if e, _ := d.Endpoint(t.Context(), e.ID); !e.FailingSince.IsZero() {
			t.Error("the endpoint is blamed for it")
		}

		slow.Store(false)
		start(t, d)
		time.Sleep(time.Second)
		if got := delivery(t, d, id); got.State != StateDelivered || got.Attempts != 1 {
			t.Errorf("the next Run left the delivery %s after %d attempts", got.State, got.Attempts)
		}
	})
}

// testStore is a store whose methods can be made to behave otherwise.
type testStore struct {
	Store
	enqueue func() error
	claim   func() error
	claimed func([]Claimed)
	settle  func([]Settlement) error
}

func (s *testStore) Unwrap() Store { return s.Store }

func (s *testStore) Enqueue(ctx context.Context, ps []Publication) ([]Enqueued, error) {
	results, err := s.Store.Enqueue(ctx, ps)
	if s.enqueue != nil && err == nil {
		err = s.enqueue()
	}
	return results, err
}

func (s *testStore) Claim(ctx context.Context, r ClaimRequest) ([]Claimed, time.Duration, error) {
	if s.claim != nil {
		if err := s.claim(); err != nil {
			return nil, 0, err
		}
	}
	batch, next, err := s.Store.Claim(ctx, r)
	if s.claimed != nil {
		s.claimed(batch)
	}
	return batch, next, err
}

func (s *testStore) Settle(ctx context.Context, ss []Settlement) ([]string, error) {
	if s.settle != nil {
		if err := s.settle(ss); err != nil {
			return nil, err
		}
	}
	return s.Store.Settle(ctx, ss)
}

func TestRunGivesBackWhatItClaimedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		receiver := newReceiver(t, nil)
		store := &testStore{Store: NewMemoryStore(), claimed: func(batch []Claimed) {
			if len(batch) > 0 {
				cancel()
			}
		}}
		d := newDispatcher(t, store, testConfig(receiver))
		register(t, d.View, Endpoint{})
		id := publish(t, d, Event{}).EventID
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
		got := delivery(t, d, id)
		if got.State != StatePending || got.Attempts != 0 || got.NextAttempt.After(time.Now()) || len(receiver.all()) > 0 {
			t.Errorf("the delivery is %+v, sent %d times", got, len(receiver.all()))
		}
	})
}

func TestRunIsOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
		stop := start(t, d)
		synctest.Wait()
		if err := d.Run(t.Context()); !errors.Is(err, ErrConflict) {
			t.Errorf("a second Run: %v", err)
		}
		stop()
		start(t, d)
	})
}

func TestDispatchersShareTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const endpoints, events = 6, 50
		receiver := newReceiver(t, after(100*time.Millisecond))
		store := NewMemoryStore()
		config := testConfig(receiver)
		config.Concurrency = 8
		var d *Dispatcher
		for n := range 3 {
			config.Profile.UserAgent = "process/" + strconv.Itoa(n)
			d = newDispatcher(t, store, config)
			start(t, d)
		}
		for n := range endpoints {
			register(t, d.View, Endpoint{URL: "http://" + strconv.Itoa(n) + ".example/"})
		}
		for range events {
			publish(t, d, Event{})
		}
		time.Sleep(5 * time.Minute)
		times, share := make(map[string]int), make(map[string]int)
		for _, r := range receiver.all() {
			times[r.Host+r.Header.Get("Webhook-Id")]++
			share[r.Header.Get("User-Agent")]++
		}
		for id, n := range times {
			if n > 1 {
				t.Errorf("%s was sent %d times", id, n)
			}
		}
		if len(times) != endpoints*events || len(share) != 3 {
			t.Errorf("%d deliveries were sent, want %d; by %v", len(times), endpoints*events, share)
		}
		if got := deliveries(t, d, DeliveryFilter{States: []State{StatePending}}); len(got) > 0 {
			t.Errorf("%d deliveries are left", len(got))
		}
	})
}

func TestAnOutageOfTheStoreLosesNothing(t *testing.T) {
	for _, operation := range []string{"claim", "settle"} {
		t.Run(operation, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const outage = 30 * time.Second // shorter than a lease
				var seen notices
				logger, logs := observedLog()
				receiver := newReceiver(t, nil)
				store := &testStore{Store: NewMemoryStore()}
				broken := errors.New("the database is gone")
				began := time.Now()
				fail := func() error {
					if time.Since(began) < outage {
						return broken
					}
					return nil
				}
				if operation == "claim" {
					store.claim = fail
				} else {
					store.settle = func([]Settlement) error { return fail() }
				}
				config := testConfig(receiver)
				config.Observer, config.Logger = &seen, logger
				d := newDispatcher(t, store, config)
				register(t, d.View, Endpoint{})
				start(t, d)
				for range 5 {
					publish(t, d, Event{})
				}
				time.Sleep(outage + 20*time.Second)
				if got := deliveries(t, d, DeliveryFilter{States: []State{StateDelivered}}); len(got) != 5 {
					t.Errorf("%d deliveries of 5 are made", len(got))
				}
				if got := len(receiver.all()); got != 5 {
					t.Errorf("%d requests were made, want 5", got)
				}
				if got := noticed[StoreFailed](&seen); len(got) != 1 || got[0] != (StoreFailed{operation, broken}) {
					t.Errorf("the notices are %v", got)
				}
				if got := noticed[StoreRecovered](&seen); len(got) != 1 || got[0].Operation != operation {
					t.Errorf("the notices are %v", got)
				}
				for _, message := range []string{"the store fails; retrying", "the store works again"} {
					if got := logs.FilterMessage(message).Len(); got != 1 {
						t.Errorf("%d log lines %q, want 1", got, message)
					}
				}
			})
		})
	}
}

func TestALongOutageRepeatsAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		receiver := newReceiver(t, nil)
		store := &testStore{Store: NewMemoryStore(), settle: func([]Settlement) error {
			if time.Since(began) < 10*time.Minute {
				return errors.New("the database is gone")
			}
			return nil
		}}
		d := newDispatcher(t, store, testConfig(receiver))
		register(t, d.View, Endpoint{})
		start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(20 * time.Minute)
		if got := delivery(t, d, id); got.State != StateDelivered {
			t.Errorf("the delivery is %s after %d attempts", got.State, got.Attempts)
		}
		for _, r := range receiver.all() {
			if r.Header.Get("Webhook-Id") != id {
				t.Errorf("sent as %q", r.Header.Get("Webhook-Id"))
			}
		}
	})
}

// down is a store that cannot be reached until then.
type down struct {
	Store
	until time.Time
}

func (s *down) Settle(ctx context.Context, ss []Settlement) ([]string, error) {
	if time.Now().Before(s.until) {
		return nil, errors.New("the network is down")
	}
	return s.Store.Settle(ctx, ss)
}

func (s *down) GetDelivery(ctx context.Context, id string) (Delivery, error) {
	if time.Now().Before(s.until) {
		return Delivery{}, errors.New("the network is down")
	}
	return s.Store.GetDelivery(ctx, id)
}

func TestAnOutageSpoilsNoRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, status(500))
		config := testConfig(receiver)
		config.Lease = time.Hour
		config.Profile.Retry = Schedule()
		d := newDispatcher(t, &down{Store: NewMemoryStore(), until: time.Now().Add(10 * time.Minute)}, config)
		register(t, d.View, Endpoint{})
		start(t, d)
		event := publish(t, d, Event{}).EventID
		time.Sleep(20 * time.Minute)
		logged := attempts(t, d, event)
		if len(logged) != 1 || logged[0].RequestHeaders.Get("Webhook-Id") != event || logged[0].StatusCode != 500 || logged[0].Error == "" {
			t.Errorf("logged after the outage: %+v", logged)
		}
	})
}

func TestWhatWasHeldBeyondItsLeaseIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, nil)
		config := testConfig(receiver)
		stalls := 1
		store := &testStore{Store: NewMemoryStore(), claimed: func(batch []Claimed) {
			if len(batch) > 0 && stalls > 0 { // the process is stopped
				stalls--
				time.Sleep(10 * time.Minute)
			}
		}}
		d := newDispatcher(t, store, config)
		register(t, d.View, Endpoint{})
		start(t, d)
		event := publish(t, d, Event{}).EventID
		time.Sleep(20 * time.Minute)
		if got := delivery(t, d, event); got.State != StateDelivered || got.Attempts != 1 || len(receiver.all()) != 1 {
			t.Errorf("the delivery is %s after %d attempts and %d requests, want delivered after one", got.State, got.Attempts, len(receiver.all()))
		}
	})
}

func TestRunTellsOfOutcomesThatCouldNotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &testStore{Store: NewMemoryStore(), settle: func([]Settlement) error { return errors.New("gone") }}
		d := newDispatcher(t, store, testConfig(newReceiver(t, nil)))
		register(t, d.View, Endpoint{})
		publish(t, d, Event{})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		err := d.Run(ctx)
		if err == nil || !strings.Contains(err.Error(), "1 outcomes could not be stored") {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took > time.Second+flushTimeout {
			t.Errorf("Run returned after %v", took)
		}
	})
}

func TestARecordThatCannotBeWrittenHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			if q.Host == "3.example" {
				_, _ = w.Write([]byte("poison"))
			}
		})
		store := &testStore{Store: NewMemoryStore(), settle: func(ss []Settlement) error {
			for _, s := range ss {
				if s.Attempt != nil && string(s.Attempt.ResponseBody) == "poison" {
					return errors.New("this cannot be written")
				}
			}
			return nil
		}}
		d := newDispatcher(t, store, testConfig(receiver))
		for n := range 8 {
			register(t, d.View, Endpoint{URL: "http://" + strconv.Itoa(n) + ".example/"})
		}
		start(t, d)
		publish(t, d, Event{})
		time.Sleep(10 * time.Minute)
		if got := deliveries(t, d, DeliveryFilter{States: []State{StateDelivered}}); len(got) != 8 {
			t.Errorf("%d deliveries of 8 are made", len(got))
		}
		if got := len(receiver.all()); got != 8 {
			t.Errorf("%d requests were made, want 8", got)
		}
		for _, delivery := range deliveries(t, d, DeliveryFilter{}) {
			as, err := d.Attempts(t.Context(), delivery.ID)
			if err != nil || len(as) != 1 || as[0].StatusCode != 200 || len(as[0].ResponseBody) > 0 {
				t.Errorf("the attempts are %+v, %v", as, err)
			}
		}
	})
}

func TestAnUncertainPublishMayBeRepeated(t *testing.T) {
	store := &testStore{Store: NewMemoryStore(), enqueue: func() error { return fmt.Errorf("commit: %w", ErrUncertain) }}
	d := newDispatcher(t, store, Config{})
	register(t, d.View, Endpoint{URL: "https://receiver.example/"})
	receipt, err := d.Publish(t.Context(), Event{Type: "test"})
	if !errors.Is(err, ErrUncertain) || receipt.EventID == "" {
		t.Fatalf("got %+v, %v", receipt, err)
	}
	store.enqueue = nil
	again, err := d.Publish(t.Context(), Event{ID: receipt.EventID, Type: "test"})
	if err != nil || again != (Receipt{EventID: receipt.EventID, Duplicate: true}) {
		t.Errorf("again: got %+v, %v", again, err)
	}
	delivery(t, d, receipt.EventID)
}

func TestAnOutcomeOfAnUnregisteredEndpointIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen notices
		logger, logs := observedLog()
		config := testConfig(newReceiver(t, after(5*time.Second)))
		config.Observer, config.Logger = &seen, logger
		d := newDispatcher(t, NewMemoryStore(), config)
		e := register(t, d.View, Endpoint{})
		start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(time.Second)
		if err := d.Unregister(t.Context(), e.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := delivery(t, d, id); got.State != StateCancelled {
			t.Errorf("the delivery is %s", got.State)
		}
		if got := noticed[DeliveryDelivered](&seen); len(got) > 0 {
			t.Errorf("the notices are %v", got)
		}
		if got := logs.FilterLevelExact(zap.WarnLevel).Len(); got != 1 {
			t.Errorf("%d warnings, want 1: %v", got, logs.All())
		}
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name      string
		endpoints []int       // their own Concurrency
		most      map[int]int // by own Concurrency
		all       int
	}{
		{"of an endpoint", []int{0}, map[int]int{0: 3}, 3},
		{"of an endpoint with its own", []int{5}, map[int]int{5: 5}, 5},
		{"of an endpoint to half of all", []int{20}, map[int]int{20: 10}, 10},
		{"of all", []int{0, 5, 0, 5, 0, 5, 0, 5, 0, 5}, map[int]int{0: 3, 5: 5}, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const events = 60
				receiver := newReceiver(t, after(50*time.Millisecond))
				config := testConfig(receiver)
				config.Concurrency, config.EndpointConcurrency = 20, 3
				d := newDispatcher(t, NewMemoryStore(), config)
				for n, own := range tt.endpoints {
					register(t, d.View, Endpoint{URL: "http://" + strconv.Itoa(n) + ".example/", Concurrency: own})
				}
				start(t, d)
				for range events {
					publish(t, d, Event{})
				}
				time.Sleep(time.Minute)
				for n, own := range tt.endpoints {
					if got, most := receiver.most(strconv.Itoa(n)+".example"), tt.most[own]; got > most {
						t.Errorf("%d requests were in flight at once to endpoint %d, want %d", got, n, most)
					}
				}
				if got := receiver.most(""); got != tt.all {
					t.Errorf("%d requests were in flight at once, want %d", got, tt.all)
				}
				if got := len(receiver.all()); got != events*len(tt.endpoints) {
					t.Errorf("%d requests, want %d", got, events*len(tt.endpoints))
				}
			})
		})
	}
}

func TestTheRateIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, nil)
		d := newDispatcher(t, NewMemoryStore(), testConfig(receiver))
		register(t, d.View, Endpoint{URL: "http://limited.example/", RateLimit: 4})
		register(t, d.View, Endpoint{URL: "http://free.example/"})
		start(t, d)
		began := time.Now()
		for range 40 {
			publish(t, d, Event{})
		}
		time.Sleep(time.Minute)
		limited, free := receiver.to("limited.example"), receiver.to("free.example")
		if len(limited) != 40 || len(free) != 40 {
			t.Fatalf("%d and %d requests, want 40 of each", len(limited), len(free))
		}
		for n := 1; n < len(limited); n++ {
			if gap := limited[n].At.Sub(limited[n-1].At); gap < 249*time.Millisecond {
				t.Errorf("request %d came %v after the one before", n+1, gap)
			}
		}
		if took := limited[39].At.Sub(began); took > 11*time.Second {
			t.Errorf("40 requests took %v, want about 10s", took)
		}
		if took := free[39].At.Sub(began); took > 2*time.Second {
			t.Errorf("the other endpoint's took %v", took)
		}
	})
}

func TestDispatchersShareOutTheLimitsOfAnEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond, concurrency, dispatchers = 30, 6, 3
		var inFlight, most atomic.Int64
		receiver := newReceiver(t, func(http.ResponseWriter, *http.Request) {
			if n := inFlight.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(300 * time.Millisecond)
			inFlight.Add(-1)
		})
		store := NewMemoryStore()
		var d *Dispatcher
		for range dispatchers {
			d = newDispatcher(t, store, testConfig(receiver))
			start(t, d)
		}
		time.Sleep(attendEvery) // until all know of all
		limited := register(t, d.View, Endpoint{Concurrency: concurrency, RateLimit: perSecond})
		for range 600 {
			publish(t, d, Event{})
		}
		time.Sleep(20 * time.Second)
		if got := most.Load(); got != concurrency {
			t.Errorf("%d requests were in flight at once, want %d", got, concurrency)
		}
		if err := d.Unregister(t.Context(), limited.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)

		register(t, d.View, Endpoint{RateLimit: perSecond})
		before := len(receiver.all())
		for range 600 {
			publish(t, d, Event{})
		}
		time.Sleep(10 * time.Second)
		if got := len(receiver.all()) - before; got < 9*perSecond || got > 11*perSecond {
			t.Errorf("%d requests were started in 10 s, want %d", got, 10*perSecond)
		}
	})
}

func TestSlowEndpointsHoldHalfOfThePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow, most atomic.Int64
		receiver := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			if q.Host == "quick.example" {
				after(10*time.Millisecond)(w, q)
				return
			}
			n := slow.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			after(5*time.Second)(w, q)
			slow.Add(-1)
		})
		config := testConfig(receiver)
		config.Concurrency, config.EndpointConcurrency = 10, 10
		d := newDispatcher(t, NewMemoryStore(), config)
		start(t, d)
		register(t, d.View, Endpoint{URL: "http://quick.example/", Events: []string{"quick", "warm"}})
		publish(t, d, Event{Type: "warm"})
		time.Sleep(time.Second)
		for n := range 4 {
			register(t, d.View, Endpoint{URL: "http://slow" + strconv.Itoa(n) + ".example/", Events: []string{"slow"}})
		}
		for range 30 {
			publish(t, d, Event{Type: "slow"})
		}
		time.Sleep(20 * time.Second)
		for range 50 {
			published := time.Now()
			id := publish(t, d, Event{Type: "quick"}).EventID
			time.Sleep(100 * time.Millisecond)
			got := receiver.to("quick.example")
			if last := got[len(got)-1]; last.Header.Get("Webhook-Id") != id || last.At.Sub(published) > 50*time.Millisecond {
				t.Fatalf("a quick endpoint has to wait for slow ones")
			}
		}
		if got := most.Load(); got != 5 {
			t.Errorf("slow endpoints held %d places of 10, want 5", got)
		}
	})
}

// Endpoints that have been quick may stop answering all at once, so many of one
// tenant even that each has but one request. Another tenant's, and another endpoint,
// find a place nevertheless.
func TestQuickEndpointsThatStopAnsweringTogetherLeavePlaces(t *testing.T) {
	for name, tt := range map[string]struct {
		endpoints, events int
		others            []string
	}{
		"a few with a backlog": {16, 40, []string{"acme", "other"}},
		"many with an event":   {300, 1, []string{"other"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var stopped atomic.Bool
				receiver := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
					if stopped.Load() && !strings.HasPrefix(q.Host, "healthy") {
						hang(w, q)
					}
				})
				d := newDispatcher(t, NewMemoryStore(), testConfig(receiver))
				start(t, d)
				for n := range tt.endpoints {
					register(t, d.View, Endpoint{URL: fmt.Sprintf("http://stopping%d.example/", n), Tenant: "acme", Events: []string{"turn"}})
				}
				for _, tenant := range tt.others {
					register(t, d.View, Endpoint{URL: "http://healthy-" + tenant + ".example/", Tenant: tenant, Events: []string{"single"}})
					publish(t, d, Event{Type: "single", Tenant: tenant})
				}
				publish(t, d, Event{Type: "turn", Tenant: "acme"})
				time.Sleep(2 * time.Second) // all are known to be quick
				stopped.Store(true)
				for range tt.events {
					publish(t, d, Event{Type: "turn", Tenant: "acme"})
				}
				time.Sleep(500 * time.Millisecond)
				for _, tenant := range tt.others {
					published := time.Now()
					id := publish(t, d, Event{Type: "single", Tenant: tenant}).EventID
					time.Sleep(time.Second)
					got := receiver.to("healthy-" + tenant + ".example")
					if last := got[len(got)-1]; last.Header.Get("Webhook-Id") != id || last.At.Sub(published) > 50*time.Millisecond {
						t.Errorf("an event of %s waits for endpoints that do not answer", tenant)
					}
				}
			})
		})
	}
}

func TestAnOrderedEndpointKeepsTheOrderOfEachKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perKey = 10
		var mu sync.Mutex
		tries := make(map[string]int)
		receiver := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			id := q.Header.Get("Webhook-Id")
			tries[id]++
			switch {
			case strings.HasSuffix(id, "7"): // given up in the end
				w.WriteHeader(http.StatusInternalServerError)
			case strings.HasPrefix(id, "a") && tries[id] < 3:
				w.WriteHeader(http.StatusBadGateway)
			}
		})
		config := testConfig(receiver)
		config.Profile.Retry = Schedule(time.Minute, time.Minute, time.Minute)
		d := newDispatcher(t, NewMemoryStore(), config)
		register(t, d.View, Endpoint{Ordered: true})
		start(t, d)
		for n := range perKey {
			for _, key := range []string{"a", "b", "c"} {
				publish(t, d, Event{ID: key + strconv.Itoa(n), OrderingKey: key})
			}
		}
		time.Sleep(5 * time.Hour)
		order := make(map[string][]string)
		for _, r := range receiver.all() {
			id := r.Header.Get("Webhook-Id")
			if ids := order[id[:1]]; len(ids) == 0 || ids[len(ids)-1] != id {
				order[id[:1]] = append(ids, id)
			}
		}
		for key, ids := range order {
			if len(ids) != perKey || !slices.IsSorted(ids) {
				t.Errorf("key %s was sent as %v", key, ids)
			}
		}
		if len(order) != 3 {
			t.Errorf("%d keys were sent", len(order))
		}
		for _, got := range deliveries(t, d, DeliveryFilter{}) {
			want := StateDelivered
			if strings.HasSuffix(got.EventID, "7") {
				want = StateExhausted
			}
			if got.State != want {
				t.Errorf("%s is %s after %d attempts, want %s", got.EventID, got.State, got.Attempts, want)
			}
		}
	})
}

func TestOrderedDeliveriesDoNotWaitForAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events = 100
		receiver := newReceiver(t, after(time.Millisecond))
		config := testConfig(receiver)
		config.PollInterval = time.Hour
		d := newDispatcher(t, NewMemoryStore(), config)
		register(t, d.View, Endpoint{Ordered: true})
		start(t, d)
		for range events {
			publish(t, d, Event{OrderingKey: "key"})
		}
		time.Sleep(time.Second)
		if got := len(receiver.all()); got != events {
			t.Errorf("%d events of %d were sent within a second", got, events)
		}
	})
}

// What is settled may fall due before the end of the lease that the last claim
// reported.
func TestRetriesDoNotWaitForAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, status(500))
		config := testConfig(receiver)
		config.PollInterval, config.Profile.Retry = time.Hour, Schedule(0, time.Second, 5*time.Second)
		d := newDispatcher(t, NewMemoryStore(), config)
		register(t, d.View, Endpoint{})
		start(t, d)
		publish(t, d, Event{})
		time.Sleep(time.Minute)
		var times []time.Time
		for _, r := range receiver.all() {
			times = append(times, r.At)
		}
		if got, want := delaysBetween(times), []time.Duration{0, time.Second, 5 * time.Second}; !slices.Equal(got, want) {
			t.Errorf("retries after %v, want %v", got, want)
		}
	})
}

func TestRetentionPurgesWhatIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			if q.Host == "failing.example" {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})
		store := NewMemoryStore()
		config := testConfig(receiver)
		config.Retention, config.Profile.Retry, config.PollInterval = time.Hour, every(30*time.Minute), time.Minute
		d := newDispatcher(t, store, config)
		register(t, d.View, Endpoint{Events: []string{"a"}})
		register(t, d.View, Endpoint{URL: "http://failing.example/", Events: []string{"b"}})
		start(t, d)
		for _, kind := range []string{"a", "b", "c"} {
			publish(t, d, Event{ID: kind, Type: kind})
		}
		time.Sleep(50 * time.Minute)
		for _, kind := range []string{"a", "b", "c"} {
			if _, err := store.GetEvent(t.Context(), kind); err != nil {
				t.Errorf("before its time: %v", err)
			}
		}
		time.Sleep(time.Hour)
		for kind, want := range map[string]bool{"a": false, "b": true, "c": false} {
			if _, err := store.GetEvent(t.Context(), kind); (err == nil) != want {
				t.Errorf("event %s is kept: %t, want %t", kind, err == nil, want)
			}
			if got := len(deliveries(t, d, DeliveryFilter{EventID: kind})) > 0; got != want {
				t.Errorf("the delivery of %s is kept: %t, want %t", kind, got, want)
			}
		}
		if again := publish(t, d, Event{ID: "a", Type: "a"}); again.Duplicate {
			t.Error("a purged event is remembered")
		}
	})
}

func TestAnotherProcessesEventsAreDelivered(t *testing.T) {
	for _, tt := range []struct {
		name  string
		store Store
		least time.Duration
		most  time.Duration
	}{
		{"with the next poll", plainStore{NewMemoryStore()}, time.Second, 10 * time.Second},
		{"at once where the store wakes", NewMemoryStore(), 0, 0},
		{"at once where a wrapped store wakes", &testStore{Store: NewMemoryStore()}, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := newReceiver(t, nil)
				config := testConfig(receiver)
				config.PollInterval = 10 * time.Second
				publisher := newDispatcher(t, tt.store, config)
				register(t, publisher.View, Endpoint{})
				start(t, newDispatcher(t, tt.store, config))
				time.Sleep(35 * time.Second)
				published := time.Now()
				publish(t, publisher, Event{})
				time.Sleep(time.Minute)
				if got := receiver.all(); len(got) != 1 || got[0].At.Sub(published) < tt.least || got[0].At.Sub(published) > tt.most {
					t.Errorf("%d requests, the first one after %v, want one after %v to %v", len(got), got[0].At.Sub(published), tt.least, tt.most)
				}
			})
		})
	}
}

func TestNoSecretIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const auth, query, token = "auth-s3cret", "query-s3cret", "token-s3cret"
		signing, next := NewSecret(), NewSecret()
		var seen notices
		logger, logs := observedLog()
		receiver := newReceiver(t, status(500, 301, 410))
		config := testConfig(receiver)
		config.Logger, config.Observer, config.Profile.Retry = logger, &seen, Schedule(time.Second, time.Second)
		config.Profiles = map[string]Profile{
			"token":  {Signer: SecretHeader{Name: "X-Token"}},
			"panics": {Signer: panickingSigner{}},
		}
		failing := config.dial
		config.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "down.") {
				return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
			}
			return failing(ctx, network, address)
		}
		d := newDispatcher(t, NewMemoryStore(), config)
		ids := make([]string, 0, 8)
		for n, e := range []Endpoint{
			{Secrets: []Secret{signing}, Auth: BearerToken(auth)},
			{Secrets: []Secret{signing}, Auth: BasicAuth("user", auth)},
			{Secrets: []Secret{signing}, Auth: APIKey("X-Key", auth), URL: "http://down.example/?key=" + query},
			{Secrets: []Secret{{Value: token}}, Profile: "token"},
			{Secrets: []Secret{{Value: token}}, Profile: "panics"},
		} {
			if e.URL == "" {
				e.URL = "http://" + strconv.Itoa(n) + ".example/?key=" + query
			}
			ids = append(ids, register(t, d.View, e).ID)
		}
		start(t, d)
		publish(t, d, Event{Data: "payload-s3cret"})
		time.Sleep(time.Minute)
		var errs []error
		_, err := d.RotateSecret(t.Context(), ids[0], next, time.Hour)
		errs = append(errs, err)
		_, err = d.RotateSecret(t.Context(), ids[0], Secret{Value: "bad " + token}, 0)
		errs = append(errs, err)
		_, err = d.Register(t.Context(), Endpoint{URL: receiverURL, Profile: "token", Secrets: []Secret{{Value: token + "\n"}}, Auth: BearerToken(auth + " ")})
		errs = append(errs, err)
		_, err = d.Register(t.Context(), Endpoint{URL: "http://user:" + auth + "@receiver.example/?" + query})
		errs = append(errs, err)
		_, err = d.Reveal(t.Context(), ids[0])
		errs = append(errs, err)

		var text strings.Builder
		for _, entry := range logs.All() {
			fmt.Fprintf(&text, "%s %v\n", entry.Message, entry.ContextMap())
		}
		if logs.Len() < 10 || len(seen.all()) < 20 {
			t.Errorf("only %d log lines and %d notices", logs.Len(), len(seen.all()))
		}
		fmt.Fprintf(&text, "%+v\n%v\n", seen.all(), errs)
		for _, got := range deliveries(t, d, DeliveryFilter{}) {
			fmt.Fprintln(&text, got.LastError)
		}
		for _, secret := range []string{"s3cret", signing.Value, strings.TrimPrefix(signing.Value, "whsec_"), next.Value, "dXNlcjp", "a secret value"} {
			if at := strings.Index(text.String(), secret); at >= 0 {
				t.Errorf("the secret %q is told: …%s…", secret, text.String()[max(0, at-100):min(text.Len(), at+50)])
			}
		}
	})
}

func TestNewLoggerWritesToSlog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		config := testConfig(newReceiver(t, status(500)))
		config.Logger = NewLogger(slog.NewJSONHandler(&out, nil)) // without debug
		config.Profile.Retry = Schedule()
		d := newDispatcher(t, NewMemoryStore(), config)
		e := register(t, d.View, Endpoint{})
		stop := start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(time.Second)
		stop()
		var line struct {
			Level, Msg, Delivery, Endpoint string
			Attempts                       int
		}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatalf("want one line: %v: %s", err, out.Bytes())
		}
		if line.Level != "WARN" || line.Msg != "a delivery was given up" || line.Delivery != delivery(t, d, id).ID || line.Endpoint != e.ID || line.Attempts != 1 {
			t.Errorf("the line is %s", out.Bytes())
		}
	})
}

func TestRunEndsAlthoughAClaimHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(t, hangingStore{NewMemoryStore()}, testConfig(nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Minute+flushTimeout {
			t.Errorf("Run returned after %v", took)
		}
	})
}

// hangingStore never answers a claim.
type hangingStore struct{ Store }

func (hangingStore) Claim(ctx context.Context, _ ClaimRequest) ([]Claimed, time.Duration, error) {
	<-ctx.Done()
	return nil, 0, ctx.Err()
}

func TestRunEndsAlthoughNothingCanBeGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &testStore{Store: NewMemoryStore(), settle: func([]Settlement) error { return errors.New("gone") }}
		config := testConfig(nil)
		config.Profiles = map[string]Profile{"new": {}}
		register(t, newDispatcher(t, store, config).View, Endpoint{Profile: "new"})
		config.Profiles, config.Concurrency = nil, 1
		d := newDispatcher(t, store, config)
		for range 20 {
			publish(t, d, Event{})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if err := d.Run(ctx); err == nil {
			t.Error("Run does not tell of what could not be stored")
		}
		if took := time.Since(began); took > time.Minute+2*flushTimeout {
			t.Errorf("Run returned after %v", took)
		}
	})
}

func TestAnErrorThatCannotBeWrittenHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, nil)
		store := &testStore{Store: NewMemoryStore(), settle: func(ss []Settlement) error {
			for _, s := range ss {
				if s.Attempt != nil && strings.Contains(s.Attempt.Error, "poison") {
					return errors.New("this cannot be written")
				}
			}
			return nil
		}}
		config := testConfig(receiver)
		config.Profile.Retry = Schedule()
		config.Profiles = map[string]Profile{"bad": {Envelope: func(Event) ([]byte, error) { return nil, errors.New("poison") }}}
		d := newDispatcher(t, store, config)
		register(t, d.View, Endpoint{Profile: "bad"})
		for n := range 5 {
			register(t, d.View, Endpoint{URL: "http://" + strconv.Itoa(n) + ".example/"})
		}
		start(t, d)
		for range 3 {
			publish(t, d, Event{})
			time.Sleep(10 * time.Minute)
		}
		for state, want := range map[State]int{StateDelivered: 15, StateExhausted: 3} {
			if got := deliveries(t, d, DeliveryFilter{States: []State{state}}); len(got) != want {
				t.Errorf("%d deliveries are %s, want %d", len(got), state, want)
			}
		}
		if got := len(receiver.all()); got != 15 {
			t.Errorf("%d requests were made, want 15", got)
		}
	})
}

// Not every store can write any text: PostgreSQL refuses NUL and what is not
// UTF-8.
func TestErrorsAreTextThatAnyStoreCanWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig(newReceiver(t, nil))
		config.Profile.Envelope = func(Event) ([]byte, error) { return nil, errors.New("\x00\xff" + strings.Repeat("é", 1<<20)) }
		d := newDispatcher(t, NewMemoryStore(), config)
		register(t, d.View, Endpoint{})
		start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(time.Second)
		got := delivery(t, d, id).LastError
		if !strings.HasPrefix(got, "envelope: ") || !utf8.ValidString(got) || strings.Contains(got, "\x00") || len(got) > 4<<10 {
			t.Errorf("the error is %d bytes: %.100q", len(got), got)
		}
	})
}

// refusing is a store that never takes the outcome of one delivery.
type refusing struct {
	Store
	id atomic.Value
}

func (s *refusing) Settle(ctx context.Context, ss []Settlement) ([]string, error) {
	for _, o := range ss {
		if o.DeliveryID == s.id.Load() {
			return nil, errors.New("value cannot be written")
		}
	}
	return s.Store.Settle(ctx, ss)
}

func TestAnOutcomeThatIsAlwaysRefusedHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, nil)
		store := &refusing{Store: NewMemoryStore()}
		d := newDispatcher(t, store, testConfig(receiver))
		register(t, d.View, Endpoint{Tenant: "unlucky", URL: "http://unlucky.example/"})
		register(t, d.View, Endpoint{Tenant: "other", URL: "http://other.example/"})
		store.id.Store(delivery(t, d, publish(t, d, Event{Tenant: "unlucky"}).EventID).ID)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		time.Sleep(time.Second)
		for range 100 {
			publish(t, d, Event{Tenant: "other"})
		}
		time.Sleep(6 * time.Hour)
		if n := len(deliveries(t, d, DeliveryFilter{States: []State{StateDelivered}})); n != 100 {
			t.Errorf("%d of 100 others are delivered", n)
		}
		if n := len(receiver.to("other.example")); n != 100 {
			t.Errorf("100 others were sent in %d requests", n)
		}
		if n := len(receiver.to("unlucky.example")); n < 1 || n > maxExpired+1 {
			t.Errorf("the refused one was sent %d times, want at most %d", n, maxExpired+1)
		}
		cancel()
		if err := <-ended; err == nil {
			t.Error("Run does not say that an outcome was lost")
		}
	})
}

// closedWakes is a store whose wake-ups end.
type closedWakes struct {
	Store
	claims atomic.Int64
}

func (s *closedWakes) Wakes(context.Context) (<-chan struct{}, error) {
	wakes := make(chan struct{})
	close(wakes)
	return wakes, nil
}

func (s *closedWakes) Claim(ctx context.Context, r ClaimRequest) ([]Claimed, time.Duration, error) {
	s.claims.Add(1)
	return s.Store.Claim(ctx, r)
}

func TestWakeUpsThatEndLeavePolling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &closedWakes{Store: NewMemoryStore()}
		stop := start(t, newDispatcher(t, store, testConfig(newReceiver(t, nil))))
		time.Sleep(10 * time.Second)
		stop()
		if n := store.claims.Load(); n > 20 {
			t.Errorf("%d claims in 10 seconds of nothing", n)
		}
	})
}

func TestEventsDoNotFollowAnEndpointIDToAnotherTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newReceiver(t, status(500))
		config := testConfig(receiver)
		config.Profile.Retry = Schedule()
		d := newDispatcher(t, NewMemoryStore(), config)
		register(t, d.View, Endpoint{ID: "7", Tenant: "acme", URL: "http://acme.example/"})
		start(t, d)
		publish(t, d, Event{ID: "m", Tenant: "acme"})
		synctest.Wait()
		if err := d.Unregister(t.Context(), "7"); err != nil {
			t.Fatal(err)
		}
		register(t, d.View, Endpoint{ID: "7", Tenant: "globex", URL: "http://globex.example/"})
		if r, err := d.Replay(t.Context(), ReplayFilter{}); err != nil || r.Created != 0 {
			t.Errorf("replay: %+v, %v", r, err)
		}
		if _, err := d.Resend(t.Context(), delivery(t, d, "m").ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("resend: %v, want %v", err, ErrNotFound)
		}
		synctest.Wait()
		if n := len(receiver.to("globex.example")); n != 0 {
			t.Errorf("the other tenant received %d requests", n)
		}
	})
}

func TestSwitchingOrderedOnKeepsWhatIsInFlightInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := status(500, 204)
		receiver := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			time.Sleep(time.Second)
			fails(w, q)
		})
		d := newDispatcher(t, NewMemoryStore(), testConfig(receiver))
		e := register(t, d.View, Endpoint{})
		start(t, d)
		publish(t, d, Event{ID: "first"})
		synctest.Wait()
		e.Ordered = true
		if _, err := d.Update(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		publish(t, d, Event{ID: "second"})
		time.Sleep(10 * time.Minute)
		var ids []string
		for _, q := range receiver.all() {
			ids = append(ids, q.Header.Get("Webhook-Id"))
		}
		if got, want := fmt.Sprint(ids), "[first first second]"; got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
	})
}

func TestSendTestReturnsACopyOfTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(t, NewMemoryStore(), testConfig(newReceiver(t, nil)))
		e := register(t, d.View, Endpoint{})
		a, err := d.SendTest(t.Context(), e.ID, "test")
		if err != nil {
			t.Fatal(err)
		}
		a.RequestHeaders.Set("X-Changed", "by the caller")
		logged, err := d.Attempts(t.Context(), a.DeliveryID)
		if err != nil || len(logged) != 1 || logged[0].RequestHeaders.Get("X-Changed") != "" {
			t.Errorf("the caller changed the log: %v, %v", logged, err)
		}
	})
}

func TestAPanicInProxyIsAFailedAttempt(t *testing.T) {
	config := testConfig(nil)
	config.Network.Proxy = func(*http.Request) (*url.URL, error) { panic("boom") }
	d := newDispatcher(t, NewMemoryStore(), config)
	e := register(t, d.View, Endpoint{})
	a, err := d.SendTest(t.Context(), e.ID, "test")
	if err != nil || a.Error != "not sent: the sender's own network failed" {
		t.Errorf("attempt: %q, %v", a.Error, err)
	}
}

func TestClaimsOfLargeEventsTakeTurns(t *testing.T) {
	s := NewMemoryStore()
	d := newDispatcher(t, s, testConfig(newReceiver(t, nil)))
	for range 8 {
		register(t, d.View, Endpoint{Tenant: "a"})
	}
	register(t, d.View, Endpoint{Tenant: "b"})
	large := strings.Repeat("x", maxBatchBytes*5/8)
	for range 3 {
		publish(t, d, Event{Tenant: "a", Data: large})
		publish(t, d, Event{Tenant: "b", Data: large})
	}
	turns := ""
	for range 4 {
		batch, _, err := s.Claim(t.Context(), ClaimRequest{Max: 100, PerEndpoint: 1, MaxBytes: maxBatchBytes, Lease: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range batch {
			turns += c.Delivery.Tenant
		}
	}
	if turns != "abab" {
		t.Errorf("the tenants' turns were %s, want abab", turns)
	}
}

// What stands for a word may be longer than that.
func TestABodyIsNoLongerThanItsLimitOnceItIsRedacted(t *testing.T) {
	const word = "mark0123"
	for _, limit := range []int64{100, 16 << 10} {
		body := strings.Repeat(word+".", int(limit)/9)
		c := testConfig(newReceiver(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		c.Network.MaxResponseBytes = limit
		d := newDispatcher(t, NewMemoryStore(), c)
		e := register(t, d.View, Endpoint{Auth: BearerToken(word)})
		a, err := d.SendTest(t.Context(), e.ID, "test")
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(a.ResponseBody)) != limit || !a.Truncated || bytes.Contains(a.ResponseBody, []byte("mark")) || !bytes.HasPrefix(a.ResponseBody, []byte("[redacted].[redacted].")) {
			t.Errorf("limit %d: %d bytes are kept, truncated: %v: %.40s", limit, len(a.ResponseBody), a.Truncated, a.ResponseBody)
		}
	}
}

func TestWhatIsPublishedWhereNothingWaitsIsHandedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, status(200))
		s := &queueWatch{Store: NewMemoryStore()}
		d := newDispatcher(t, s, testConfig(r))
		register(t, d.View, Endpoint{URL: "http://one.example/"})
		stop := start(t, d)
		synctest.Wait()
		for range 20 {
			publish(t, d, Event{Type: "a"})
			synctest.Wait()
		}
		if n := len(r.all()); n != 20 {
			t.Errorf("%d requests arrived without time going by, want 20", n)
		}
		if n := s.claimed.Load(); n != 0 {
			t.Errorf("%d deliveries were claimed, want none", n)
		}
		stop()
		publish(t, d, Event{Type: "a"})
		synctest.Wait()
		if n := len(r.all()); n != 20 {
			t.Errorf("%d requests arrived after Run has ended, want 20", n)
		}
		stop = start(t, d)
		synctest.Wait()
		if n := s.claimed.Load(); n != 1 {
			t.Errorf("%d deliveries were claimed by the next Run, want the one that waited", n)
		}
		stop()
	})
}

func TestAWrapperHandsOverOnlyIfItSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, status(200))
		claimed := 0
		s := &testStore{Store: NewMemoryStore(), claimed: func(batch []Claimed) { claimed += len(batch) }}
		d := newDispatcher(t, s, testConfig(r)) // which has Unwrap alone
		register(t, d.View, Endpoint{})
		start(t, d)
		synctest.Wait()
		for range 5 {
			publish(t, d, Event{})
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if claimed != 5 {
			t.Errorf("the wrapper's Claim has seen %d deliveries, want all 5", claimed)
		}
	})
}

func TestAnObserverDoesNotHoldUpWhatItIsToldOf(t *testing.T) {
	for name, wrap := range map[string]func(Store) Store{
		"handed over": func(s Store) Store { return s },
		"claimed":     func(s Store) Store { return struct{ Store }{s} }, // which has no wake-ups either
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newReceiver(t, status(200))
			config := testConfig(r)
			config.PollInterval = time.Hour
			config.Observer = ObserverFunc(func(_ context.Context, n Notice) {
				if _, ok := n.(EventPublished); ok {
					time.Sleep(time.Minute)
				}
			})
			d := newDispatcher(t, wrap(NewMemoryStore()), config)
			register(t, d.View, Endpoint{})
			start(t, d)
			synctest.Wait()
			before := time.Now()
			publish(t, d, Event{})
			if took := time.Since(before); took != time.Minute {
				t.Errorf("%s: Publish took %v, want the observer's minute", name, took)
			}
			if got := r.all(); len(got) != 1 || got[0].At.Sub(before) > time.Second {
				t.Errorf("%s: the requests were %v, want one at once", name, got)
			}
		})
	}
}

func TestWhatTheGateRefusesOfWhatIsHandedOverIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, after(time.Second/2))
		d := newDispatcher(t, NewMemoryStore(), testConfig(r))
		e := register(t, d.View, Endpoint{URL: "http://one.example/", Concurrency: 1})
		defer start(t, d)()
		synctest.Wait()
		var ids []string
		for range 4 {
			ids = append(ids, publish(t, d, Event{Type: "a"}).EventID)
		}
		time.Sleep(5 * time.Second)
		for _, id := range ids {
			if got := delivery(t, d, id); got.State != StateDelivered || got.Attempts != 1 {
				t.Errorf("the delivery to %s is %s after %d attempts, want delivered after 1", e.ID, got.State, got.Attempts)
			}
		}
		if n := r.most("one.example"); n != 1 {
			t.Errorf("%d requests were in flight at once, want 1", n)
		}
	})
}

// queueWatch is a store that counts what is asked of its queue.
type queueWatch struct {
	Store
	claims    atomic.Int64
	claimed   atomic.Int64
	givenBack atomic.Int64 // deliveries settled without an attempt
}

func (s *queueWatch) Unwrap() Store { return s.Store }

func (s *queueWatch) HandsOver(ctx context.Context) bool { return s.Store.(HandOver).HandsOver(ctx) }

func (s *queueWatch) Claim(ctx context.Context, r ClaimRequest) ([]Claimed, time.Duration, error) {
	batch, next, err := s.Store.Claim(ctx, r)
	s.claims.Add(1)
	s.claimed.Add(int64(len(batch)))
	return batch, next, err
}

func (s *queueWatch) Settle(ctx context.Context, ss []Settlement) ([]string, error) {
	for _, settlement := range ss {
		if settlement.Attempt == nil {
			s.givenBack.Add(1)
		}
	}
	return s.Store.Settle(ctx, ss)
}

// handing is a store that hands over and can be looked into meanwhile.
type handing struct {
	*testStore
	enqueued func([]Publication, []Enqueued)
}

func (s *handing) HandsOver(ctx context.Context) bool { return s.Store.(HandOver).HandsOver(ctx) }

func (s *handing) Enqueue(ctx context.Context, ps []Publication) ([]Enqueued, error) {
	results, err := s.testStore.Enqueue(ctx, ps)
	if s.enqueued != nil && err == nil {
		s.enqueued(ps, results)
	}
	return results, err
}

// slowClaims makes claims take 5 s while the result is true.
func (s *handing) slowClaims() *atomic.Bool {
	slow := new(atomic.Bool)
	s.claim = func() error {
		if slow.Load() {
			time.Sleep(5 * time.Second)
		}
		return nil
	}
	return slow
}

func TestNothingIsHandedOverWhileAClaimWasCutShortByItsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &handing{testStore: &testStore{Store: NewMemoryStore()}}
		d := newDispatcher(t, s, testConfig(newReceiver(t, status(200))))
		data := strings.Repeat("x", 1<<20)
		for n := range 12 {
			pattern := "n" + strconv.Itoa(n)
			register(t, d.View, Endpoint{Events: []string{pattern}})
			publish(t, d, Event{Type: pattern, Data: data})
		}
		register(t, d.View, Endpoint{Events: []string{"other"}})
		var during []int // places asked for while there is more
		claims := 0
		s.enqueued = func(ps []Publication, _ []Enqueued) { during = append(during, ps[0].Places) }
		s.claim = func() error {
			if claims++; claims == 2 {
				publish(t, d, Event{Type: "other"})
			}
			return nil
		}
		start(t, d)
		time.Sleep(time.Second)
		synctest.Wait()
		publish(t, d, Event{Type: "other"})
		if len(during) != 2 || during[0] != 0 || during[1] == 0 {
			t.Errorf("asked for were %v places, want none while the claim before had no bytes left, and some afterwards", during)
		}
	})
}

func TestWhatIsHandedOverWhenRunEndsIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, status(200))
		s := &handing{testStore: &testStore{Store: NewMemoryStore()}}
		d := newDispatcher(t, s, testConfig(r))
		register(t, d.View, Endpoint{})
		stop := start(t, d)
		synctest.Wait()
		handed := 0
		s.enqueued = func(_ []Publication, results []Enqueued) {
			handed += len(results[0].Created)
			s.enqueued = nil
			stop()
		}
		before := time.Now()
		id := publish(t, d, Event{}).EventID
		if n := len(r.all()); handed != 1 || n != 0 {
			t.Fatalf("%d deliveries were handed over and %d requests made, want 1 and none, as Run has ended", handed, n)
		}
		start(t, d)
		synctest.Wait()
		if got := delivery(t, d, id); got.State != StateDelivered || got.Attempts != 1 || time.Since(before) > time.Second {
			t.Errorf("by the next Run, after %v, the delivery is %s after %d attempts; want delivered at once", time.Since(before), got.State, got.Attempts)
		}
	})
}

func TestTheDeskClosesWithRunThoughAClaimGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, status(200))
		s := &handing{testStore: &testStore{Store: NewMemoryStore()}}
		slow := s.slowClaims()
		d := newDispatcher(t, s, testConfig(r))
		register(t, d.View, Endpoint{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		synctest.Wait()
		slow.Store(true)
		time.Sleep(time.Second) // the next one has begun
		places := 0
		s.enqueued = func(ps []Publication, _ []Enqueued) { places = ps[0].Places; cancel(); synctest.Wait() }
		publish(t, d, Event{})
		time.Sleep(time.Millisecond)
		if n := len(r.all()); places == 0 || n != 0 {
			t.Errorf("with %d places asked for, %d requests were made after the context had ended; want none", places, n)
		}
		publish(t, d, Event{})
		if places != 0 {
			t.Errorf("%d places were asked for after the context had ended", places)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestRequestsThatEndDuringAClaimMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, after(50*time.Millisecond))
		config := testConfig(r)
		config.Concurrency, config.EndpointConcurrency = 1, 1
		s := &handing{testStore: &testStore{Store: NewMemoryStore()}}
		slow := s.slowClaims()
		d := newDispatcher(t, s, config)
		register(t, d.View, Endpoint{})
		start(t, d)
		synctest.Wait()
		slow.Store(true)
		time.Sleep(time.Second) // the next one has begun
		for range 4 {
			publish(t, d, Event{})
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(r.all()); n != 4 {
			t.Errorf("%d requests were made while one claim lasted, want 4, one after the other", n)
		}
	})
}

// A request that ends while a claim is under way makes room that this claim did not
// know of.
func TestRoomThatOpensDuringAClaimIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, after(time.Second))
		config := testConfig(r)
		config.PollInterval = time.Hour
		s := &behindStore{queueWatch: &queueWatch{Store: NewMemoryStore()}}
		s.slow = 2 * time.Second
		d := newDispatcher(t, s, config)
		register(t, d.View, Endpoint{Concurrency: 1})
		start(t, d)
		time.Sleep(3 * time.Second) // the first claim has found nothing
		publish(t, d, Event{})
		publish(t, d, Event{}) // is given back, and claimed for 2 s
		time.Sleep(6 * time.Second)
		if got := len(r.all()); got != 2 {
			t.Errorf("%d requests were made, want 2", got)
		}
	})
}

func TestAFullEndpointIsHandedOverNoMoreThanOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, after(20*time.Second))
		s := &queueWatch{Store: NewMemoryStore()}
		d := newDispatcher(t, s, testConfig(r))
		register(t, d.View, Endpoint{Concurrency: 1})
		start(t, d)
		synctest.Wait()
		const events = 100
		for range events {
			publish(t, d, Event{})
			synctest.Wait()
		}
		time.Sleep(10 * time.Second)
		// The first is on its way, the second finds no place, and where it waits
		// nothing more is handed over.
		if got, want := len(r.all()), 1; got != want {
			t.Errorf("%d requests arrived, want %d", got, want)
		}
		if got := s.givenBack.Load(); got != 1 {
			t.Errorf("%d deliveries were given back, want 1", got)
		}
		if got := s.claimed.Load(); got != 0 {
			t.Errorf("%d deliveries were claimed of an endpoint without room", got)
		}
		if got, most := s.claims.Load(), int64(2*events+20); got > most {
			t.Errorf("%d claims were made, want %d at the most: two for each event, of which the store wakes too, and one for each poll", got, most)
		}
	})
}

// behindStore is a store that says of what is published to an endpoint with
// something due that it is behind that, and wakes nobody itself.
type behindStore struct {
	*queueWatch
	keeps atomic.Bool   // what is published: nothing is handed over
	slow  time.Duration // of claims
}

func (s *behindStore) Claim(ctx context.Context, r ClaimRequest) ([]Claimed, time.Duration, error) {
	batch, next, err := s.queueWatch.Claim(ctx, r)
	time.Sleep(s.slow)
	return batch, next, err
}

func (s *behindStore) Unwrap() Store { return nil }

func (s *behindStore) Enqueue(ctx context.Context, ps []Publication) ([]Enqueued, error) {
	for n := range ps {
		if s.keeps.Load() {
			ps[n].Places, ps[n].Lease = 0, 0
		}
	}
	results, err := s.Store.Enqueue(ctx, ps)
	for n := range results {
		if s.givenBack.Load() > 0 {
			results[n].Behind = results[n].Deliveries - len(results[n].Created)
		}
	}
	return results, err
}

func TestWhatIsBehindOthersWakesNobodyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &behindStore{queueWatch: &queueWatch{Store: NewMemoryStore()}}
		config := testConfig(newReceiver(t, after(10*time.Second)))
		config.PollInterval = time.Hour
		d := newDispatcher(t, s, config)
		register(t, d.View, Endpoint{Concurrency: 1, Events: []string{"test"}})
		start(t, d)
		synctest.Wait()
		const events = 20
		publish(t, d, Event{})
		publish(t, d, Event{}) // is given back: there is no place
		time.Sleep(time.Second)
		before := s.claims.Load()
		for range events - 2 {
			publish(t, d, Event{})
			time.Sleep(10 * time.Millisecond)
		}
		if got := s.claims.Load() - before; got > 2 {
			t.Errorf("%d claims were made within 0.2 s for what waits behind others, want one every %v", got, behindPatience)
		}
		time.Sleep(events * 11 * time.Second)
		if got := len(deliveries(t, d, DeliveryFilter{States: []State{StateDelivered}})); got != events {
			t.Errorf("%d of %d deliveries are delivered", got, events)
		}

		// What it was behind may be gone when it comes.
		register(t, d.View, Endpoint{URL: "http://other.example/", Events: []string{"other"}})
		s.keeps.Store(true)
		id := publish(t, d, Event{Type: "other"}).EventID
		const took = 10*time.Second + behindPatience + time.Millisecond
		time.Sleep(took)
		if got := delivery(t, d, id); got.State != StateDelivered {
			t.Errorf("%v after it was published as if behind others, a delivery is %s", took, got.State)
		}
	})
}

func TestSlowEndpointsShareClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The requests of a round end one after the other, every 10 ms.
		const endpoints, rounds, round = 200, 5, 2 * time.Second
		var first sync.Map
		r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			delay := round
			if _, again := first.LoadOrStore(q.Host, true); !again {
				n, _ := strconv.Atoi(strings.TrimSuffix(q.Host, ".example"))
				delay += time.Duration(n) * round / endpoints
			}
			after(delay)(w, q)
		})
		s := &queueWatch{Store: NewMemoryStore()}
		config := testConfig(r)
		config.Concurrency = 4 * endpoints
		d := newDispatcher(t, s, config)
		for n := range endpoints {
			register(t, d.View, Endpoint{URL: fmt.Sprintf("http://%d.example/", n), Concurrency: 1})
		}
		for range rounds {
			publish(t, d, Event{})
		}
		start(t, d)
		time.Sleep(round + round*rounds + rounds*rationing)
		if got := len(r.all()); got != endpoints*rounds {
			t.Errorf("%d of %d requests were made: the endpoints were kept waiting", got, endpoints*rounds)
		}
		if got, most := s.claims.Load(), int64(rounds*round/rationing+20); got > most {
			t.Errorf("%d claims were made, want %d at the most: one every %v while requests end, and the polls", got, most, rationing)
		}
	})
}

// The room of a quick endpoint is used as soon as it opens.
func TestAQuickEndpointIsNotKeptWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events = 100
		r := newReceiver(t, after(10*time.Millisecond))
		d := newDispatcher(t, NewMemoryStore(), testConfig(r))
		register(t, d.View, Endpoint{Concurrency: 1})
		for range events {
			publish(t, d, Event{})
		}
		start(t, d)
		time.Sleep(events*10*time.Millisecond + 100*time.Millisecond)
		if got := len(r.all()); got != events {
			t.Errorf("%d of %d requests were made one after the other", got, events)
		}
	})
}

// registerEach registers so many endpoints, the nth for events of the type "n" + n.
func registerEach(t *testing.T, d *Dispatcher, endpoints int) {
	t.Helper()
	for n := range endpoints {
		register(t, d.View, Endpoint{URL: fmt.Sprintf("http://%d.example/", n), Events: []string{"n" + strconv.Itoa(n)}})
	}
}

// publishToEach publishes at the same time an event to each of so many endpoints.
func publishToEach(t *testing.T, d *Dispatcher, endpoints int) {
	var publishing sync.WaitGroup
	for n := range endpoints {
		publishing.Go(func() { publish(t, d, Event{Type: "n" + strconv.Itoa(n)}) })
	}
	publishing.Wait()
	synctest.Wait()
}

func TestFirstDeliveriesToManyEndpointsAreNotGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const endpoints = 12 // the half of 16 places, and a quarter that waits
		r := newReceiver(t, after(100*time.Millisecond))
		config := testConfig(r)
		config.Concurrency = 16
		s := &queueWatch{Store: NewMemoryStore()}
		d := newDispatcher(t, s, config)
		registerEach(t, d, endpoints)
		start(t, d)
		synctest.Wait()
		publishToEach(t, d, endpoints)
		time.Sleep(250 * time.Millisecond)
		if got := len(r.all()); got != endpoints {
			t.Errorf("%d of %d requests were made", got, endpoints)
		}
		if back, claimed := s.givenBack.Load(), s.claimed.Load(); back != 0 || claimed != 0 {
			t.Errorf("%d deliveries were given back and %d claimed", back, claimed)
		}
	})
}

// What waits for a place has the first one that a request leaves, though a claim goes
// on; but none once Run is to end, when it is given back at once.
func TestWhatWaitsForAPlaceHasTheFirstThoughAClaimGoesOn(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		t.Run(fmt.Sprint("stopped ", stopped), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const endpoints = 9 // the half of 16 places, and one that waits
				r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
					if q.Host == "0.example" {
						after(100*time.Millisecond)(w, q)
					} else {
						hang(w, q)
					}
				})
				config := testConfig(r)
				config.Concurrency, config.DrainTimeout = 16, time.Millisecond
				s := &handing{testStore: &testStore{Store: NewMemoryStore()}}
				slow := s.slowClaims()
				var back atomic.Int64
				s.settle = func(ss []Settlement) error {
					for _, settlement := range ss {
						if settlement.Attempt == nil {
							back.Add(1)
						}
					}
					return nil
				}
				d := newDispatcher(t, s, config)
				registerEach(t, d, endpoints)
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- d.Run(ctx) }()
				synctest.Wait()
				slow.Store(true)
				time.Sleep(time.Second) // the next one has begun
				for n := range endpoints {
					publish(t, d, Event{Type: "n" + strconv.Itoa(n)})
				}
				time.Sleep(50 * time.Millisecond)
				before, want := len(r.all()), endpoints
				if stopped {
					want--
					stop()
				}
				time.Sleep(100 * time.Millisecond)
				if got := len(r.all()); before != endpoints-1 || got != want {
					t.Errorf("%d requests were made, and %d when one had ended, want %d and %d", before, got, endpoints-1, want)
				}
				if n := back.Load(); stopped != (n == 1) {
					t.Errorf("%d deliveries were given back while the claim went on", n)
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestWhatWaitsForAPlaceGoesBackAfterASecondOrWithRun(t *testing.T) {
	for name, stopped := range map[string]bool{"after a second": false, "after a second of a claim": false, "with Run": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const endpoints = 10 // the half of 16 places, and two that wait
				config := testConfig(newReceiver(t, hang))
				config.Concurrency, config.DrainTimeout, config.PollInterval = 16, time.Millisecond, time.Hour
				s := &behindStore{queueWatch: &queueWatch{Store: NewMemoryStore()}}
				d := newDispatcher(t, s, config)
				registerEach(t, d, endpoints)
				stop := start(t, d)
				synctest.Wait()
				if name == "after a second of a claim" {
					s.slow = 5 * time.Second
					d.rouse()
					synctest.Wait()
				}
				publishToEach(t, d, endpoints)
				time.Sleep(lobbyPatience - time.Millisecond)
				if back := s.givenBack.Load(); back != 0 {
					t.Errorf("%d deliveries were given back within %v", back, lobbyPatience)
				}
				if stopped {
					stop()
				} else {
					time.Sleep(10 * time.Millisecond)
				}
				if back := s.givenBack.Load(); back != 2 {
					t.Errorf("%d deliveries were given back, want 2", back)
				}
			})
		})
	}
}

func TestWhatIsHandedOverLeavesPlacesToTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places, flooded, backlog = 16, 1000, 40
		r := newReceiver(t, after(100*time.Millisecond))
		config := testConfig(r)
		config.Concurrency, config.EndpointConcurrency = places, 1
		store := NewMemoryStore()
		d := newDispatcher(t, store, config)
		for n := range flooded {
			register(t, d.View, Endpoint{Tenant: "many", URL: "http://many.example/", Events: []string{"n" + strconv.Itoa(n)}})
		}
		register(t, d.View, Endpoint{Tenant: "one", URL: "http://one.example/"})
		start(t, d)
		synctest.Wait()
		stop := make(chan struct{})
		var flood sync.WaitGroup
		flood.Go(func() { // a tight loop: far more than there are places for
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					publish(t, d, Event{Tenant: "many", Type: "n" + strconv.Itoa(n%flooded)})
				}
			}
		})
		time.Sleep(time.Second)
		for range backlog { // whose endpoint has a place for one at a time
			publish(t, d, Event{Tenant: "one"})
		}
		time.Sleep(backlog * 250 * time.Millisecond)
		close(stop)
		flood.Wait()
		if got := len(r.to("one.example")); got < backlog {
			t.Errorf("%d of %d deliveries were made, beside another tenant's flood", got, backlog)
		}
		if got := len(r.to("many.example")); got < 500 {
			t.Errorf("%d deliveries of the flood were made", got)
		}
	})
}

func TestAPauseWhoseTimeIsOverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(t, NewMemoryStore(), testConfig(nil))
		r := newRun(t.Context(), d)
		before := time.Now()
		for _, rest := range []time.Duration{-time.Hour, -1, 0, 1} {
			r.pause(t.Context(), rest, nil, nil, ends(math.MaxInt)) // otherwise this would deadlock
		}
		if took := time.Since(before); took != 1 {
			t.Errorf("pauses of no more than 1 ns took %v", took)
		}
		if err := r.drain(); err != nil {
			t.Error(err)
		}
	})
}
