package webhook

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/outhook/webhook/internal/seal"
)

// masterKey returns a key that is the same for the same ID.
func masterKey(id string) Key {
	raw := make([]byte, 32)
	copy(raw, "master key "+id)
	return Key{ID: id, Secret: Secret{Value: base64.StdEncoding.EncodeToString(raw)}}
}

// keysOf returns the keys of these IDs, the current one first.
func keysOf(t testing.TB, ids ...string) Keys {
	t.Helper()
	var keys []Key
	for _, id := range ids {
		keys = append(keys, masterKey(id))
	}
	k, err := NewKeys(keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// service is a key service, which takes a while to answer.
type service struct {
	Keys
	delay   time.Duration
	down    atomic.Bool // answers with an error
	hangs   atomic.Bool // does not answer
	stuck   sync.Map    // endpoints for which it does not answer, by their wrapped data keys
	unwraps atomic.Int64
	most    atomic.Int64 // at once
	now     atomic.Int64
}

var errServiceDown = errors.New("the key service is down")

func newService(t *testing.T, ids ...string) *service {
	return &service{Keys: keysOf(t, ids...), delay: 20 * time.Millisecond}
}

func (s *service) answer(ctx context.Context, wrapped string) error {
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for {
		if most := s.most.Load(); n <= most || s.most.CompareAndSwap(most, n) {
			break
		}
	}
	answer := time.After(s.delay)
	if _, stuck := s.stuck.Load(wrapped); stuck || s.hangs.Load() {
		answer = nil
	}
	select {
	case <-answer:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.down.Load() {
		return errServiceDown
	}
	return nil
}

func (s *service) Wrap(ctx context.Context, keyID string, dataKey []byte) ([]byte, error) {
	if err := s.answer(ctx, ""); err != nil {
		return nil, err
	}
	return s.Keys.Wrap(ctx, keyID, dataKey)
}

func (s *service) Unwrap(ctx context.Context, keyID string, wrapped []byte) ([]byte, error) {
	s.unwraps.Add(1)
	if err := s.answer(ctx, string(wrapped)); err != nil {
		return nil, err
	}
	return s.Keys.Unwrap(ctx, keyID, wrapped)
}

// stick makes it not answer for one endpoint.
func (s *service) stick(t *testing.T, store Store, id string) {
	t.Helper()
	r := stored(t, store, id)
	from := len("\x00seal\x01") + 1 + int(r.Config[len("\x00seal\x01")]) + 2
	s.stuck.Store(string(r.Config[from:from+60]), true)
}

func stored(t *testing.T, store Store, id string) EndpointRecord {
	t.Helper()
	r, err := store.GetEndpoint(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// withKeys is testConfig with keys.
func withKeys(r *receiver, k Keys) Config {
	c := testConfig(r)
	c.Keys = k
	return c
}

func TestNewKeysNamesEveryMistake(t *testing.T) {
	good := masterKey("good")
	of := func(n int) Secret { return Secret{Value: base64.StdEncoding.EncodeToString(make([]byte, n))} }
	for want, keys := range map[string][]Key{
		"current.ID: invalid: it is not":                     {{ID: "", Secret: good.Secret}},
		"older[0].ID: invalid: it is not":                    {good, {ID: "with space", Secret: good.Secret}},
		"older[1].ID: invalid: it is not":                    {good, masterKey("b"), {ID: strings.Repeat("x", 65), Secret: good.Secret}},
		`older[1].ID: invalid: "good" is there twice`:        {good, masterKey("b"), {ID: "good", Secret: masterKey("c").Secret}},
		"current.Secret: invalid: it is 0 bytes":             {{ID: "k"}},
		"current.Secret: invalid: it is 16 bytes in base64":  {{ID: "k", Secret: of(16)}},
		"older[0].Secret: invalid: it is 33 bytes in base64": {good, {ID: "k", Secret: of(33)}},
		"Secret: invalid: it is not standard base64":         {{ID: "k", Secret: Secret{Value: good.Secret.Value + "\n"}}},
		"Secret: invalid: a master key does not expire":      {{ID: "k", Secret: Secret{Value: good.Secret.Value, ExpiresAt: time.Now()}}},
	} {
		k, err := NewKeys(keys[0], keys[1:]...)
		if k != nil {
			t.Errorf("%s: there are keys beside the error", want)
		}
		mustContain(t, err, ErrInvalid, want)
		for _, key := range keys {
			if v := key.Secret.Value; v != "" && strings.Contains(err.Error(), strings.TrimSpace(v)) {
				t.Errorf("%v shows the key", err)
			}
		}
	}
	_, err := NewKeys(Key{ID: "a"}, Key{ID: ""})
	mustContain(t, err, ErrInvalid, "current.Secret", "older[0].ID")
}

func TestNewDispatcherRefusesKeysThatAreNil(t *testing.T) {
	_, err := NewDispatcher(NewMemoryStore(), Config{Keys: (*service)(nil)})
	mustContain(t, err, ErrInvalid, "Keys: invalid: it is a nil *webhook.service")
}

func TestKeysAndTheirHoldersPrintNoKey(t *testing.T) {
	key, k := masterKey("marked"), keysOf(t, "marked")
	for name, v := range map[string]any{"Key": key, "pointer": &key, "Keys": k, "Config": Config{Keys: k}.Keys, "slice": []Keys{k}} {
		for how, text := range renderings(t, v) {
			if strings.Contains(text, key.Secret.Value) || strings.Contains(text, "master key") || strings.Contains(text, "109 97 115 116") {
				t.Errorf("%s by %s: %s", name, how, text)
			}
		}
	}
}

// full is an endpoint of which each field is set that is sealed, with a mark.
func full() Endpoint {
	return Endpoint{
		URL: "http://receiver.example/hook?key=m4rked-query", Description: "m4rked-description", Profile: "other",
		Secrets: []Secret{NewSecret(), {Value: NewSecret().Value, ExpiresAt: time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)}},
		Auth:    APIKey("X-Key", "m4rked-key"), Headers: map[string]string{"X-Own": "m4rked-header"},
		RateLimit: 1000, Concurrency: 7, CreatedBy: "m4rked-creator", Tenant: "acme", Events: []string{"*"},
	}
}

func TestTheStoreSeesNothingOfASealedConfiguration(t *testing.T) {
	for name, k := range map[string]Keys{"held": keysOf(t, "k"), "a service": newService(t, "k")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReceiver(t, nil)
				store, clear := NewMemoryStore(), NewMemoryStore()
				config := withKeys(r, k)
				config.Profiles = map[string]Profile{"other": {}}
				d := newDispatcher(t, store, config)
				config.Keys = nil
				plain := newDispatcher(t, clear, config)
				want := full()
				want.ID = "e"
				got := register(t, d.View, want)
				if !reflect.DeepEqual(got, register(t, plain.View, want)) {
					t.Errorf("Register returns %#v", got)
				}
				text := string(stored(t, store, "e").Config)
				for _, part := range []string{"m4rked", want.Secrets[0].Value, want.Secrets[1].Value, "receiver", "X-Own", "{"} {
					if strings.Contains(text, part) && len(part) > 1 {
						t.Errorf("%q is in what is stored", part)
					}
				}
				if !seal.Is([]byte(text)) || seal.Is(stored(t, clear, "e").Config) {
					t.Error("it is not sealed, or is without keys")
				}

				if _, err := d.RotateSecret(t.Context(), "e", Secret{Value: want.Secrets[1].Value}, 0); err != nil {
					t.Error(err)
				}
				if secrets, err := d.Reveal(t.Context(), "e"); err != nil || len(secrets) != 1 || secrets[0].Value != want.Secrets[1].Value {
					t.Errorf("revealed are %d, %v", len(secrets), err)
				}
				read, err := d.Endpoint(t.Context(), "e")
				if err != nil || read.URL != want.URL || read.Headers["X-Own"] != "m4rked-header" || read.Unreadable {
					t.Errorf("it is read as %+v, %v", read, err)
				}
				page, err := d.Endpoints(t.Context(), EndpointFilter{})
				if err != nil || !reflect.DeepEqual(page.Items, []Endpoint{read}) {
					t.Errorf("it is listed as %+v, %v", page, err)
				}
				read.Description = "m4rked-new"
				if read, err = d.Update(t.Context(), read); err != nil || read.Description != "m4rked-new" {
					t.Errorf("it is updated to %+v, %v", read, err)
				}
				if strings.Contains(string(stored(t, store, "e").Config), "m4rked") {
					t.Error("the update is stored in clear")
				}
				for _, call := range []error{d.Disable(t.Context(), "e", "holiday"), d.Enable(t.Context(), "e")} {
					if call != nil {
						t.Error(call)
					}
				}

				start(t, d)
				id := publish(t, d, Event{Tenant: "acme"}).EventID
				time.Sleep(time.Second)
				if a, err := d.SendTest(t.Context(), "e", "ping"); err != nil || a.StatusCode != 204 {
					t.Errorf("the test is %+v, %v", a, err)
				}
				if _, err := d.Body(t.Context(), delivery(t, d, id).ID); err != nil {
					t.Error(err)
				}
				for _, q := range r.all() {
					if err := (StandardWebhooks{}).Verify(q.Header, q.Body, want.Secrets[1:], time.Now()); err != nil || q.Header.Get("X-Key") != "m4rked-key" || q.Path != "/hook?key=m4rked-query" {
						t.Errorf("the request is %+v: %v", q, err)
					}
				}
				if len(r.all()) != 2 || delivery(t, d, id).State != StateDelivered {
					t.Errorf("there are %d requests", len(r.all()))
				}
			})
		})
	}
}

func TestASealedRecordOpensForItsEndpointAndTenantAlone(t *testing.T) {
	store := NewMemoryStore()
	d := newDispatcher(t, store, withKeys(nil, keysOf(t, "k")))
	e := register(t, d.View, Endpoint{Tenant: "acme"})
	config := stored(t, store, e.ID).Config
	for _, r := range []EndpointRecord{{ID: "other", Tenant: "acme"}, {ID: "moved", Tenant: "acme/legal"}, {ID: "all", Tenant: "*", AllTenants: true}} {
		r.Patterns, r.Config = []string{"*"}, config
		if _, err := store.PutEndpoint(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		got, err := d.Reveal(t.Context(), r.ID)
		mustContain(t, err, ErrKey, `endpoint "`+r.ID+`" cannot be opened`, "for another record")
		if got != nil {
			t.Error("secrets are revealed")
		}
	}
	// The tenant as the store has it changes with AllTenants: that is sealed anew.
	e = register(t, d.View, Endpoint{})
	e.AllTenants = true
	if _, err := d.Update(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Endpoint(t.Context(), e.ID); err != nil || !got.AllTenants {
		t.Errorf("it is %+v, %v", got, err)
	}
}

func TestWhatWasStoredInClearIsSealedOnTheNextWriteOrByReseal(t *testing.T) {
	store := NewMemoryStore()
	before := newDispatcher(t, store, testConfig(nil))
	ids := make([]string, 4)
	secrets := make([][]Secret, len(ids))
	for n := range ids {
		e := register(t, before.View, Endpoint{})
		ids[n], secrets[n] = e.ID, e.Secrets
	}
	seen := &notices{}
	config := withKeys(nil, keysOf(t, "k"))
	config.Observer = seen
	d := newDispatcher(t, store, config)
	sealed := func() (n int) {
		for _, id := range ids {
			if seal.Is(stored(t, store, id).Config) {
				n++
			}
		}
		return n
	}
	for n, id := range ids {
		if got, err := d.Reveal(t.Context(), id); err != nil || !slices.Equal(got, secrets[n]) {
			t.Errorf("endpoint %d: %d secrets, %v", n, len(got), err)
		}
	}
	if _, err := d.Update(t.Context(), Endpoint{ID: ids[0], URL: receiverURL, Events: []string{"*"}}); err != nil || sealed() != 1 {
		t.Errorf("after an update %d are sealed, %v", sealed(), err)
	}
	if err := d.Disable(t.Context(), ids[1], "holiday"); err != nil {
		t.Error(err)
	}
	told := len(seen.all())
	for n, want := range []Resealed{{Sealed: 3, Current: 1}, {Current: 4}} {
		if got, err := d.Reseal(t.Context()); err != nil || got != want {
			t.Errorf("call %d: Reseal returns %+v, %v; want %+v", n, got, err, want)
		}
	}
	if sealed() != 4 || len(seen.all()) != told {
		t.Errorf("%d are sealed, and %d notices tell of it", sealed(), len(seen.all())-told)
	}
	if got, err := d.Endpoint(t.Context(), ids[1]); err != nil || !got.Disabled || got.DisabledReason != "holiday" {
		t.Errorf("the disabled one is %+v, %v", got, err)
	}
	for n, id := range ids {
		if got, err := d.Reveal(t.Context(), id); err != nil || !slices.Equal(got, secrets[n]) {
			t.Errorf("endpoint %d: %d secrets, %v", n, len(got), err)
		}
	}
	_, err := before.Reseal(t.Context())
	mustContain(t, err, ErrInvalid, "Config.Keys")
}

func TestRotationOfTheMasterKey(t *testing.T) {
	store := NewMemoryStore()
	first := newDispatcher(t, store, withKeys(nil, keysOf(t, "1")))
	a, b, c := register(t, first.View, Endpoint{}), register(t, first.View, Endpoint{}), register(t, first.View, Endpoint{})
	keyOf := func(e Endpoint) string {
		id, err := seal.KeyID(stored(t, store, e.ID).Config)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	both := newDispatcher(t, store, withKeys(nil, keysOf(t, "2", "1")))
	for _, e := range []Endpoint{a, b, c} {
		if got, err := both.Reveal(t.Context(), e.ID); err != nil || !slices.Equal(got, e.Secrets) {
			t.Errorf("with the older key: %d secrets, %v", len(got), err)
		}
	}
	rotated, err := both.RotateSecret(t.Context(), a.ID, Secret{}, 0)
	if err != nil || keyOf(a) != "2" || keyOf(b) != "1" {
		t.Errorf("a write leaves the key %q, another's is %q; %v", keyOf(a), keyOf(b), err)
	}
	if err := both.Disable(t.Context(), b.ID, ""); err != nil || keyOf(b) != "1" {
		t.Errorf("Disable makes the key %q, %v", keyOf(b), err)
	}
	// A process that has the new key alone says which is missing.
	last := newDispatcher(t, store, withKeys(nil, keysOf(t, "2")))
	_, err = last.Reveal(t.Context(), c.ID)
	mustContain(t, err, ErrKey, c.ID, `unwrap under "1": there is no such key`)
	got, err := last.Reseal(t.Context())
	mustContain(t, err, ErrKey, b.ID, c.ID, "2 endpoints")
	if got != (Resealed{Current: 1, Unreadable: 2}) {
		t.Errorf("without the older key, Reseal returns %+v", got)
	}
	if got, err := both.Reseal(t.Context()); err != nil || got != (Resealed{Sealed: 2, Current: 1}) {
		t.Errorf("Reseal returns %+v, %v", got, err)
	}
	for _, e := range []Endpoint{a, b, c} {
		want := e.Secrets
		if e.ID == a.ID {
			want = []Secret{rotated}
		}
		if got, err := last.Reveal(t.Context(), e.ID); err != nil || !slices.Equal(got, want) {
			t.Errorf("with the new key alone: %d secrets, %v", len(got), err)
		}
	}
}

func TestUnusableKeysAreErrorsOfEveryCallThatNeedsThem(t *testing.T) {
	store := NewMemoryStore()
	registered := newDispatcher(t, store, withKeys(nil, keysOf(t, "k")))
	e := register(t, registered.View, Endpoint{Tenant: "acme"})
	record := stored(t, store, e.ID)
	publish(t, registered, Event{ID: "m", Tenant: "acme"})
	of := delivery(t, registered, "m")
	damaged := keysOf(t, "k") // which is not the key, but called so
	raw := make([]byte, 32)
	wrong, err := NewKeys(Key{ID: "k", Secret: Secret{Value: base64.StdEncoding.EncodeToString(raw)}})
	if err != nil {
		t.Fatal(err)
	}
	down := newService(t, "k")
	down.down.Store(true)
	down.delay = 0
	for name, tt := range map[string]struct {
		keys Keys
		want string
		is   error
	}{
		"none":                 {nil, "there is no Config.Keys", ErrKey},
		"another of that ID":   {wrong, "with another key", ErrKey},
		"others":               {keysOf(t, "x", "y"), `unwrap under "k": there is no such key`, ErrKey},
		"a service that fails": {down, "the key service is down", errServiceDown},
		"panicking":            {panickingKeys{damaged}, "the keys panicked: string", ErrKey},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDispatcher(t, store, withKeys(nil, tt.keys))
			for _, view := range []*View{d.View, d.Tenant("acme")} {
				for _, c := range viewCalls() {
					id := e.ID
					if c.delivery {
						id = of.ID
					}
					switch c.name {
					case "Unregister", "Disable", "Enable", "Replay of failures", "Replay of what was missed", "Resend", "Delivery", "Attempts", "Update of a Rev":
						continue // they do not need the configuration
					}
					err := c.call(t.Context(), view, id)
					mustContain(t, err, ErrKey, e.ID)
					if view == d.View {
						mustContain(t, err, tt.is, tt.want)
					} else if strings.Contains(err.Error(), tt.want) || tt.is != ErrKey && errors.Is(err, tt.is) {
						t.Errorf("a tenant reads %v", err)
					}
				}
			}
			if tt.keys == down || name == "panicking" {
				_, err := d.Register(t.Context(), Endpoint{ID: "new", URL: receiverURL})
				mustContain(t, err, ErrKey, "cannot be sealed", tt.want)
				if _, err := store.GetEndpoint(t.Context(), "new"); !errors.Is(err, ErrNotFound) {
					t.Error("it is stored all the same:", err)
				}
			}
			page, err := d.Endpoints(t.Context(), EndpointFilter{})
			want := Endpoint{ID: e.ID, Tenant: "acme", Events: []string{"*"}, CreatedAt: record.CreatedAt, UpdatedAt: record.UpdatedAt, Rev: 1, Unreadable: true}
			if err != nil || page.Total != 1 || len(page.Items) != 1 || !reflect.DeepEqual(page.Items[0], want) {
				t.Errorf("it is listed as %+v, %v", page, err)
			}
			if got := stored(t, store, e.ID); !reflect.DeepEqual(got, record) {
				t.Error("the record was changed")
			}
		})
	}

	// What must work without: to stop it, and to be rid of it.
	d := newDispatcher(t, store, withKeys(nil, keysOf(t, "other")))
	for _, err := range []error{d.Disable(t.Context(), e.ID, "lost"), d.Enable(t.Context(), e.ID), d.Disable(t.Context(), e.ID, "lost")} {
		if err != nil {
			t.Error(err)
		}
	}
	if got, err := registered.Reveal(t.Context(), e.ID); err != nil || !slices.Equal(got, e.Secrets) {
		t.Errorf("it does not open any more: %v", err)
	}
	if err := d.Unregister(t.Context(), e.ID); err != nil {
		t.Error(err)
	}
}

type panickingKeys struct{ Keys }

func (panickingKeys) Wrap(context.Context, string, []byte) ([]byte, error)   { panic("a data key") }
func (panickingKeys) Unwrap(context.Context, string, []byte) ([]byte, error) { panic("a data key") }

func TestOneUnreadableEndpointDoesNotHideTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k := NewMemoryStore(), newService(t, "k")
		d := newDispatcher(t, store, withKeys(nil, k))
		for n := range 100 {
			register(t, d.View, Endpoint{ID: "e" + strconv.Itoa(n), Description: strconv.Itoa(n)})
		}
		k.stick(t, store, "e13")
		began := time.Now()
		page, err := d.Endpoints(t.Context(), EndpointFilter{})
		if err != nil || len(page.Items) != 100 {
			t.Fatalf("%d items, %v", len(page.Items), err)
		}
		for n, e := range page.Items {
			if e.ID != "e"+strconv.Itoa(n) || e.Unreadable != (n == 13) || !e.Unreadable && e.Description != strconv.Itoa(n) {
				t.Errorf("item %d is %+v", n, e)
			}
		}
		if took := time.Since(began); took != keyTimeout {
			t.Errorf("it took %v", took)
		}
		if most := k.most.Load(); most < 2 || most > keysAtATime {
			t.Errorf("%d data keys were unwrapped at once", most)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if page, err = d.Endpoints(ctx, EndpointFilter{}); !errors.Is(err, context.DeadlineExceeded) || len(page.Items) > 0 {
			t.Errorf("for a caller that waits no longer: %d items, %v", len(page.Items), err)
		}
	})
}

func TestADeliveryWaitsForAProcessThatHasTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r := NewMemoryStore(), newReceiver(t, nil)
		d := newDispatcher(t, store, withKeys(r, keysOf(t, "k")))
		register(t, d.View, Endpoint{Secrets: []Secret{NewSecret()}})
		logger, logs := observedLog()
		seen := &notices{}
		config := withKeys(r, keysOf(t, "other"))
		config.Logger, config.Observer = logger, seen
		config.Profile.Retry = Schedule() // an attempt would be the last
		wrong := newDispatcher(t, store, config)
		healthy := register(t, wrong.View, Endpoint{URL: "http://healthy.example/"})
		stop := start(t, wrong)
		const hours = 24
		var ids []string
		for range hours {
			ids = append(ids, publish(t, wrong, Event{}).EventID)
			time.Sleep(time.Hour)
		}
		stop()
		if got := len(r.to("healthy.example")); got != hours || len(r.all()) != hours {
			t.Fatalf("%d requests to the healthy endpoint of %d in all, want %d", got, len(r.all()), hours)
		}
		for _, id := range ids {
			for _, of := range deliveries(t, d, DeliveryFilter{EventID: id}) {
				if of.EndpointID != healthy.ID && (of.State != StatePending || of.Attempts != 0 || of.LastError != "") {
					t.Fatalf("the delivery is %+v", of)
				}
			}
		}
		told := noticed[KeysFailed](seen)
		if n := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n < hours || n > hours*60+1 || n != len(told) {
			t.Errorf("it was logged %d times, and told of %d times", n, len(told))
		}
		if len(told) > 0 && !errors.Is(told[0].Err, ErrKey) {
			t.Errorf("told was %+v", told[0])
		}
		start(t, d)
		time.Sleep(2 * misconfigured)
		if got := r.to("receiver.example"); len(got) != hours {
			t.Errorf("%d requests, want %d", len(got), hours)
		}
	})
}

func TestAnOutageOfTheKeyServiceIsRiddenOut(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		t.Run(fmt.Sprintf("hangs %v", hangs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const endpoints, events = 200, 20
				store, r, k := NewMemoryStore(), newReceiver(t, nil), newService(t, "k")
				logger, logs := observedLog()
				config := withKeys(r, k)
				config.Logger = logger
				d := newDispatcher(t, store, config)
				open := register(t, d.View, Endpoint{URL: "http://open.example/", Events: []string{"open"}})
				for n := range endpoints {
					register(t, d.View, Endpoint{URL: "http://" + strconv.Itoa(n) + ".example/", Events: []string{"test"}})
				}
				k.unwraps.Store(0)
				start(t, d)
				publish(t, d, Event{Type: "open"})
				time.Sleep(time.Second)
				if len(r.to("open.example")) != 1 || k.unwraps.Load() != 1 {
					t.Fatalf("%d requests, %d unwraps", len(r.all()), k.unwraps.Load())
				}
				if hangs {
					k.hangs.Store(true)
				} else {
					k.down.Store(true)
				}
				for range events {
					publish(t, d, Event{})
				}
				// What is open already goes on as ever.
				for n := range 60 {
					id := publish(t, d, Event{Type: "open"}).EventID
					time.Sleep(time.Second)
					if got := delivery(t, d, id); got.State != StateDelivered || got.UpdatedAt.Sub(got.CreatedAt) > 50*time.Millisecond {
						t.Fatalf("second %d: the delivery is %s after %v", n, got.State, got.UpdatedAt.Sub(got.CreatedAt))
					}
				}
				if got := len(r.all()); got != 61 {
					t.Errorf("%d requests were made, want 61", got)
				}
				calls := k.unwraps.Load()
				if calls < endpoints/2 || calls > 8*endpoints {
					t.Errorf("the service was asked %d times about %d endpoints", calls, endpoints)
				}
				if most := k.most.Load(); most > 256/4 {
					t.Errorf("%d places were held at once by what is to be opened", most)
				}
				if n := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n < 1 || n > 2 {
					t.Errorf("the outage is logged %d times", n)
				}
				k.hangs.Store(false)
				k.down.Store(false)
				time.Sleep(2*misconfigured + 5*time.Second)
				if got := len(r.all()); got != 61+endpoints*events {
					t.Errorf("%d requests were made, want %d", got, 61+endpoints*events)
				}
				for _, of := range deliveries(t, d, DeliveryFilter{EndpointID: open.ID, Limit: 1000}) {
					if of.Attempts != 1 {
						t.Errorf("a delivery had %d attempts", of.Attempts)
					}
				}
				if page, err := d.Deliveries(t.Context(), DeliveryFilter{States: []State{StatePending, StateExhausted}}); err != nil || len(page.Items) > 0 {
					t.Errorf("%d deliveries did not arrive, %v", len(page.Items), err)
				}
			})
		})
	}
}

func TestTheKeyServiceIsAskedOncePerEndpointAndChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r, k := NewMemoryStore(), newReceiver(t, after(100*time.Millisecond)), newService(t, "k")
		d := newDispatcher(t, store, withKeys(r, k))
		e := register(t, d.View, Endpoint{})
		other := newDispatcher(t, store, withKeys(nil, keysOf(t, "k")))
		start(t, d)
		const events = 500
		for n := range 3 {
			for range events {
				publish(t, d, Event{})
			}
			if n == 1 { // in the midst of it
				time.Sleep(150 * time.Millisecond)
				if _, err := other.RotateSecret(t.Context(), e.ID, Secret{}, 0); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
		}
		if got := len(r.all()); got != 3*events {
			t.Errorf("%d requests, want %d", got, 3*events)
		}
		if got := k.unwraps.Load(); got != 2 {
			t.Errorf("%d data keys were unwrapped, want 2", got)
		}
		if got := r.most(""); got != 16 {
			t.Errorf("%d requests at once, want 16", got)
		}
	})
}

// One endpoint whose data key cannot be had must not hold up the others, whatever
// its backlog, nor be looked at without end.
func TestOneSlowUnwrapHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r, k := &testStore{Store: NewMemoryStore()}, newReceiver(t, nil), newService(t, "k")
		var claims, taken atomic.Int64
		store.claimed = func(batch []Claimed) {
			claims.Add(1)
			taken.Add(int64(len(batch)))
		}
		config := withKeys(r, k)
		config.Concurrency = 4
		d := newDispatcher(t, store, config)
		stuck := register(t, d.View, Endpoint{URL: "http://stuck.example/", Events: []string{"stuck"}})
		k.stick(t, store, stuck.ID)
		for range 2000 {
			publish(t, d, Event{Type: "stuck"})
		}
		for n := range 10 {
			register(t, d.View, Endpoint{URL: "http://" + strconv.Itoa(n) + ".example/", Events: []string{"test"}})
		}
		start(t, d)
		publish(t, d, Event{})
		time.Sleep(3 * time.Second) // the stuck one has not failed yet
		for range 59 {
			id := publish(t, d, Event{}).EventID
			time.Sleep(time.Second)
			if left := deliveries(t, d, DeliveryFilter{EventID: id, States: []State{StatePending}}); len(left) > 0 {
				t.Fatalf("%d deliveries wait", len(left))
			}
		}
		if got := len(r.all()); got != 600 {
			t.Errorf("%d requests, want 600", got)
		}
		// Each second there is a claim by poll, one after each publish, some more.
		if claims.Load() > 60*20 || taken.Load() > 600+200 {
			t.Errorf("%d claims took %d deliveries", claims.Load(), taken.Load())
		}
	})
}

// The keys of some customers may be elsewhere, and gone.
func TestManyThatNeverOpenLeaveRoomForNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, r, k := NewMemoryStore(), newReceiver(t, nil), newService(t, "k")
		config := withKeys(r, k)
		config.Concurrency = 16
		d := newDispatcher(t, store, config)
		for n := range 100 {
			e := register(t, d.View, Endpoint{URL: "http://stuck" + strconv.Itoa(n) + ".example/", Events: []string{"stuck"}})
			k.stick(t, store, e.ID)
		}
		start(t, d)
		for range 10 {
			publish(t, d, Event{Type: "stuck"})
			time.Sleep(time.Minute)
		}
		for n := range 20 {
			register(t, d.View, Endpoint{URL: "http://new.example/" + strconv.Itoa(n), Events: []string{"new" + strconv.Itoa(n)}})
			id := publish(t, d, Event{Type: "new" + strconv.Itoa(n)}).EventID
			time.Sleep(3 * time.Second)
			if got := delivery(t, d, id); got.State != StateDelivered {
				t.Fatalf("endpoint %d: the delivery is %s", n, got.State)
			}
		}
		if got := len(r.all()); got != 20 {
			t.Errorf("%d requests, want 20", got)
		}
	})
}

func TestShutdownDoesNotWaitForTheKeyService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, k := NewMemoryStore(), newService(t, "k")
		logger, logs := observedLog()
		config := withKeys(newReceiver(t, nil), k)
		config.DrainTimeout, config.Logger = time.Second, logger
		d := newDispatcher(t, store, config)
		register(t, d.View, Endpoint{})
		k.hangs.Store(true)
		id := publish(t, d, Event{}).EventID
		stop := start(t, d)
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		if got := delivery(t, d, id); got.State != StatePending || got.Attempts != 0 {
			t.Errorf("the delivery is %+v", got)
		}
		if n := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n > 0 {
			t.Errorf("%d errors are logged", n)
		}
	})
}

func TestResealLosesNoConcurrentChange(t *testing.T) {
	store := NewMemoryStore()
	first := newDispatcher(t, store, withKeys(nil, keysOf(t, "1")))
	const endpoints, updates = 30, 40
	for n := range endpoints {
		register(t, first.View, Endpoint{ID: "e" + strconv.Itoa(n), Description: "0"})
	}
	d := newDispatcher(t, store, withKeys(nil, keysOf(t, "2", "1")))
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() { // some still write under the former key
			by := []*Dispatcher{d, first}[worker%2]
			for n := range updates {
				id := "e" + strconv.Itoa((n*7+worker)%endpoints)
				for {
					e, err := d.Endpoint(t.Context(), id)
					if err != nil {
						t.Error(err)
						return
					}
					count, _ := strconv.Atoi(e.Description)
					e.Description = strconv.Itoa(count + 1)
					if _, err = by.Update(t.Context(), e); err == nil {
						break
					}
					if !errors.Is(err, ErrConflict) && !errors.Is(err, ErrKey) {
						t.Error(err)
						return
					}
					by = d // the other cannot read what was sealed anew
				}
			}
		})
	}
	for range 10 {
		if _, err := d.Reseal(t.Context()); err != nil && !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
	}
	group.Wait()
	if got, err := d.Reseal(t.Context()); err != nil || got.Sealed+got.Current != endpoints {
		t.Errorf("Reseal returns %+v, %v", got, err)
	}
	last := newDispatcher(t, store, withKeys(nil, keysOf(t, "2")))
	total := 0
	for n := range endpoints {
		e, err := last.Endpoint(t.Context(), "e"+strconv.Itoa(n))
		if err != nil {
			t.Fatal(err)
		}
		count, _ := strconv.Atoi(e.Description)
		total += count
	}
	if total != 4*updates {
		t.Errorf("%d updates are left of %d", total, 4*updates)
	}
}

// before calls a function before each PutEndpoint.
type before struct {
	Store
	put func(EndpointRecord) error
}

func (s before) PutEndpoint(ctx context.Context, r EndpointRecord) (EndpointRecord, error) {
	if err := s.put(r); err != nil {
		return EndpointRecord{}, err
	}
	return s.Store.PutEndpoint(ctx, r)
}

func TestResealYieldsToWhatComesBetween(t *testing.T) {
	store := NewMemoryStore()
	old := newDispatcher(t, store, testConfig(nil))
	for _, id := range []string{"a", "updated", "removed", "d"} {
		register(t, old.View, Endpoint{ID: id})
	}
	once := make(map[string]bool)
	d := newDispatcher(t, before{store, func(r EndpointRecord) error {
		if once[r.ID] {
			return nil
		}
		once[r.ID] = true
		switch r.ID {
		case "updated":
			_, err := old.Update(t.Context(), Endpoint{ID: r.ID, URL: receiverURL, Events: []string{"new"}, Description: "new"})
			return err
		case "removed":
			return old.Unregister(t.Context(), r.ID)
		}
		return nil
	}}, withKeys(nil, keysOf(t, "k")))
	if got, err := d.Reseal(t.Context()); err != nil || got != (Resealed{Sealed: 3}) {
		t.Errorf("Reseal returns %+v, %v", got, err)
	}
	if e, err := d.Endpoint(t.Context(), "updated"); err != nil || e.Description != "new" || !slices.Equal(e.Events, []string{"new"}) {
		t.Errorf("the update is lost: %+v, %v", e, err)
	}
	if !seal.Is(stored(t, store, "updated").Config) {
		t.Error("the update is not sealed")
	}
}

func TestResealCanBeCutShortAndGoesOnWhereItEnded(t *testing.T) {
	store := NewMemoryStore()
	old := newDispatcher(t, store, testConfig(nil))
	for range 2500 { // three pages
		register(t, old.View, Endpoint{})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	puts := 0
	failed := errors.New("the store failed")
	d := newDispatcher(t, before{store, func(EndpointRecord) error {
		switch puts++; puts {
		case 1100:
			cancel()
		case 2000:
			return failed
		}
		return nil
	}}, withKeys(nil, keysOf(t, "k")))
	first, err := d.Reseal(ctx)
	if !errors.Is(err, context.Canceled) || first.Sealed < 1099 || first.Sealed > 1100 || first.Unreadable != 0 {
		t.Errorf("the first call returns %+v, %v", first, err)
	}
	second, err := d.Reseal(t.Context())
	if !errors.Is(err, failed) || second.Current != first.Sealed {
		t.Errorf("the second call returns %+v, %v", second, err)
	}
	third, err := d.Reseal(t.Context())
	if err != nil || third.Current != first.Sealed+second.Sealed || third.Current+third.Sealed != 2500 {
		t.Errorf("the third call returns %+v, %v", third, err)
	}
}

func TestAttemptsHoldNothingOfASealedConfiguration(t *testing.T) {
	echo := newReceiver(t, echo)
	config := withKeys(echo, keysOf(t, "k"))
	config.Profiles = map[string]Profile{"other": {}}
	for _, sealed := range []bool{true, false} {
		if !sealed {
			config.Keys = nil
		}
		d := newDispatcher(t, NewMemoryStore(), config)
		e := full()
		e.Headers["Cookie"] = "m4rked-cookie"
		e.URL = "http://receiver.example/services/m4rked%20path?key=m4rked-query"
		id := register(t, d.View, e).ID
		a, err := d.SendTest(t.Context(), id, "ping")
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%s %v %v %s", a.URL, a.RequestHeaders, a.ResponseHeaders, a.ResponseBody)
		text = strings.ReplaceAll(text, "%20", " ")
		for part, hidden := range map[string]bool{
			"m4rked-key": true, "m4rked-cookie": true, "m4rked-query": sealed, "m4rked-header": sealed, "m4rked path": sealed,
		} {
			if strings.Contains(text, part) == hidden {
				t.Errorf("sealed %v: %s hidden should be %v: %s", sealed, part, hidden, text)
			}
		}
		if a.RequestHeaders.Get("Cookie") != redacted || a.RequestHeaders.Get("X-Key") != redacted {
			t.Errorf("the headers are recorded as %v", a.RequestHeaders)
		}
		if sealed && a.URL != "http://receiver.example/[redacted]" {
			t.Errorf("the URL is recorded as %s", a.URL)
		}
	}
}

// A later version has put there what this one has no name for.
func TestWhatALaterVersionHasStoredIsKept(t *testing.T) {
	store := NewMemoryStore()
	d := newDispatcher(t, store, testConfig(newReceiver(t, nil)))
	sealing := newDispatcher(t, store, withKeys(newReceiver(t, nil), keysOf(t, "k")))
	for name, write := range map[string]func(id string) error{
		"Reseal": func(string) error { _, err := sealing.Reseal(t.Context()); return err },
		"Update": func(id string) error {
			_, err := sealing.Update(t.Context(), Endpoint{ID: id, URL: receiverURL, Events: []string{"*"}})
			return err
		},
		"RotateSecret": func(id string) error { _, err := d.RotateSecret(t.Context(), id, Secret{}, 0); return err },
	} {
		e := register(t, d.View, Endpoint{Headers: map[string]string{"X-Own": "old"}})
		r := stored(t, store, e.ID)
		r.Config = append(r.Config[:len(r.Config)-1], `,"ofALaterVersion":{"a":[1,"<kept>"]},"URL":"http://other.example/","url":"`+receiverURL+`"}`...)
		if _, err := store.PutEndpoint(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := write(e.ID); err != nil {
			t.Fatal(err)
		}
		r = stored(t, store, e.ID)
		plain, err := sealing.unseal(t.Context(), &r)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(plain.Config, &members); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(members["ofALaterVersion"]); got != "map[a:[1 <kept>]]" || members["url"] != receiverURL {
			t.Errorf("%s makes the configuration %s", name, plain.Config)
		}
		if _, ok := members["headers"]; ok == (name == "Update") {
			t.Errorf("%s makes the configuration %s", name, plain.Config)
		}
	}
}

type panicsAtCurrent struct{ Keys }

func (panicsAtCurrent) Current() string { panic("down") }

func TestAPanicOfCurrentIsAnErrorOfReseal(t *testing.T) {
	store := NewMemoryStore()
	d := newDispatcher(t, store, withKeys(nil, keysOf(t, "k")))
	e := register(t, d.View, Endpoint{})
	panics := newDispatcher(t, store, withKeys(nil, panicsAtCurrent{keysOf(t, "k")}))
	done, err := panics.Reseal(t.Context())
	mustContain(t, err, ErrKey, "the keys panicked: string", e.ID)
	if done != (Resealed{Unreadable: 1}) {
		t.Errorf("Reseal returns %+v", done)
	}
}

// During an outage it does not ask for each endpoint in turn. One that is lost,
// which a key service says at once, keeps nothing from the others.
func TestResealInAnOutageEndsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, service := NewMemoryStore(), newService(t, "new", "old")
		d := newDispatcher(t, store, withKeys(nil, keysOf(t, "lost")))
		for range 100 {
			register(t, d.View, Endpoint{})
		}
		d = newDispatcher(t, store, withKeys(nil, keysOf(t, "old")))
		for range 1000 {
			register(t, d.View, Endpoint{})
		}
		d = newDispatcher(t, store, withKeys(nil, service))
		service.hangs.Store(true)
		start := time.Now()
		done, err := d.Reseal(t.Context())
		mustContain(t, err, ErrKey, "given up, the key service does not answer")
		if took := time.Since(start); took > time.Minute || done.Sealed != 0 || done.Unreadable > 10 {
			t.Errorf("it took %v: %+v", took, done)
		}
		service.hangs.Store(false)
		done, err = d.Reseal(t.Context())
		mustContain(t, err, ErrKey, "100 endpoints are left as they were")
		if done != (Resealed{Sealed: 1000, Unreadable: 100}) {
			t.Errorf("Reseal returns %+v", done)
		}
	})
}

// It would tell of the operator's account there.
func TestATenantIsNotToldWhatTheKeyServiceSays(t *testing.T) {
	store := NewMemoryStore()
	registered := newDispatcher(t, store, withKeys(newReceiver(t, nil), keysOf(t, "k")))
	e := register(t, registered.View, Endpoint{Tenant: "acme"})
	s := newService(t, "k")
	s.down.Store(true)
	config := withKeys(newReceiver(t, nil), s)
	logger, logs := observedLog()
	config.Logger = logger
	d := newDispatcher(t, store, config)
	_, read := d.Tenant("acme").Endpoint(t.Context(), e.ID)
	_, written := d.Tenant("acme").Register(t.Context(), Endpoint{URL: receiverURL})
	for _, err := range []error{read, written} {
		mustContain(t, err, ErrKey, "endpoint")
		if errors.Is(err, errServiceDown) || strings.Contains(err.Error(), "service") || strings.Contains(err.Error(), `"k"`) {
			t.Errorf("the tenant reads: %v", err)
		}
	}
	if text := logText(logs); strings.Count(text, errServiceDown.Error()) != 2 || !strings.Contains(text, e.ID) || !strings.Contains(text, "acme") {
		t.Errorf("the operator reads: %s", text)
	}
	_, err := d.Endpoint(t.Context(), e.ID)
	mustContain(t, err, errServiceDown, e.ID)
	s.down.Store(false)
	s.hangs.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Tenant("acme").Endpoint(ctx, e.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has gone reads: %v", err)
	}
}

// A claim whose answer has taken so long that an attempt could outlive the lease is
// given back: another process would make a second one.
func TestTheLeaseCoversTheAttemptAfterASlowClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore()
		r := newReceiver(t, after(9*time.Second))
		c := testConfig(r)
		c.Profile.Timeout, c.Lease = 10*time.Second, 40*time.Second
		var once sync.Once
		d := newDispatcher(t, &testStore{Store: store, claimed: func(batch []Claimed) {
			if len(batch) > 0 {
				once.Do(func() { time.Sleep(35 * time.Second) })
			}
		}}, c)
		register(t, d.View, Endpoint{})
		id := publish(t, d, Event{}).EventID
		start(t, d)
		synctest.Wait()
		start(t, newDispatcher(t, store, c))
		time.Sleep(5 * time.Minute)
		if n := len(r.all()); n != 1 {
			t.Errorf("%d requests for one delivery", n)
		}
		if got := delivery(t, d, id); got.State != StateDelivered || got.Attempts != 1 {
			t.Errorf("the delivery is %+v", got)
		}
	})
}

// An endpoint that takes long to open is sent to under a lease that covers the
// attempt, or not at all.
func TestTheLeaseCoversOpeningAndAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, service := NewMemoryStore(), newService(t, "k")
		r := newReceiver(t, after(9*time.Second))
		c := withKeys(r, service)
		c.Profile.Timeout, c.Lease = 10*time.Second, 11*time.Second
		d := newDispatcher(t, store, c)
		register(t, d.View, Endpoint{})
		service.delay = 4 * time.Second
		start(t, d)
		start(t, newDispatcher(t, store, c))
		id := publish(t, d, Event{}).EventID
		time.Sleep(5 * time.Minute)
		if n := len(r.all()); n != 1 {
			t.Errorf("%d requests for one delivery", n)
		}
		if got := delivery(t, d, id); got.State != StateDelivered || got.Attempts != 1 {
			t.Errorf("the delivery is %+v", got)
		}
	})
}

// As Reseal says.
func TestAttemptsFromBeforeThereWereKeysStayAsTheyAre(t *testing.T) {
	store, r := NewMemoryStore(), newReceiver(t, nil)
	d := newDispatcher(t, store, testConfig(r))
	e := register(t, d.View, Endpoint{URL: receiverURL + "?key=mark-of-the-query", Headers: map[string]string{"X-Own": "mark-of-the-header"}})
	before, err := d.SendTest(t.Context(), e.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	d = newDispatcher(t, store, withKeys(r, keysOf(t, "k")))
	if done, err := d.Reseal(t.Context()); err != nil || done.Sealed != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	after, err := d.SendTest(t.Context(), e.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		attempt Attempt
		hidden  bool
	}{{before, false}, {after, true}} {
		as, err := store.ListAttempts(t.Context(), tt.attempt.DeliveryID)
		if text := fmt.Sprint(as, err); strings.Contains(text, "mark-of") == tt.hidden {
			t.Errorf("hidden should be %v: %s", tt.hidden, text)
		}
	}
}
