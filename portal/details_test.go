package portal

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/outhook/webhook"
)

// racingStore lets somebody else's change come first, once.
type racingStore struct {
	*webhook.MemoryStore
	race bool
}

func (s *racingStore) PutEndpoint(ctx context.Context, r webhook.EndpointRecord) (webhook.EndpointRecord, error) {
	if s.race {
		s.race = false
		other, err := s.GetEndpoint(ctx, r.ID)
		if err == nil {
			_, err = s.MemoryStore.PutEndpoint(ctx, other)
		}
		if err != nil {
			return r, err
		}
	}
	return s.MemoryStore.PutEndpoint(ctx, r)
}

func TestAPreconditionHoldsUntilTheChangeIsMade(t *testing.T) {
	for _, test := range []struct {
		match, body string
		want        int
	}{
		{`"1"`, `{"description":"mine"}`, 412},
		{`"1", "7"`, `{"description":"mine"}`, 412},
		{"*", `{"description":"mine"}`, 200},
		{"", `{"description":"mine"}`, 200},
		{"", `{"description":"mine","rev":1}`, 409},
	} {
		store := &racingStore{MemoryStore: webhook.NewMemoryStore()}
		d, err := webhook.NewDispatcher(store, webhook.Config{})
		if err != nil {
			t.Fatal(err)
		}
		e, err := d.Register(t.Context(), webhook.Endpoint{ID: "e1", URL: "https://example.com/hook"})
		if err != nil || e.Rev != 1 {
			t.Fatal(e.Rev, err)
		}
		store.race = true
		res := call(t, newPortal(t, d, as(Access{Operator: true})), "PATCH", "api/v1/endpoints/e1", test.body, func(r *http.Request) {
			if test.match != "" {
				r.Header.Set("If-Match", test.match)
			}
		})
		if body := text(t, res); res.StatusCode != test.want || store.race || test.want == 412 && !strings.Contains(body, `its ETag is \"2\"`) {
			t.Errorf("If-Match %s with %s: %d %s, want %d", test.match, test.body, res.StatusCode, body, test.want)
		}
	}
}

func TestAllowNamesHEAD(t *testing.T) {
	h := newPortal(t, newDispatcher(t), as(Access{Operator: true}))
	for path, want := range map[string]string{"": "GET, HEAD", "api/v1/replay": "POST", "api/v1/endpoints": "GET, HEAD, POST"} {
		res := call(t, h, "OPTIONS", path, "")
		if got := res.Header.Get("Allow"); res.StatusCode != 405 || got != want {
			t.Errorf("%q: %d, Allow %q, want %q", path, res.StatusCode, got, want)
		}
	}
}

func TestTheTestPageShowsItsOwnAnswersOnly(t *testing.T) {
	m := mount(t, acme, nil)
	one := m.register(webhook.Endpoint{URL: receiver(t, 200, "answer of the first")})
	other := m.register(webhook.Endpoint{URL: receiver(t, 200, "answer of the other")})
	sent, err := m.d.SendTest(t.Context(), other.ID, "document.signed")
	if err != nil {
		t.Fatal(err)
	}
	m.get("endpoints/"+other.ID+"/test?sent="+sent.DeliveryID).want(t, 200, "answer of the other")
	m.get("endpoints/"+one.ID+"/test?sent="+sent.DeliveryID).want(t, 404).without(t, "answer of the other")
}

// What is saved unchanged stays as it was: an endpoint that asks for all types of a
// group one by one does not begin to receive those that are added later.
func TestSavingTheSettingsUnchangedWidensNothing(t *testing.T) {
	m := mount(t, acme, nil)
	for _, events := range [][]string{{"document.completed", "document.signed"}, {"document.*"}, {"STEP_FAILED", "STEP_STARTED"}, {"document.*", "document.signed"}} {
		e := m.register(webhook.Endpoint{URL: "https://receiver.example/", Events: events, Description: "One\nof\n\ntwo"})
		at := "endpoints/" + e.ID + "/edit"
		page := m.get(at).want(t, 200, "One\nof\n\ntwo</textarea>")
		form := url.Values{"rev": {page.hidden(t, "rev")}, "url": {e.URL}, "description": {"One\r\nof\r\n\r\ntwo"}, "all": {"0"}}
		for _, name := range []string{"group", "event"} {
			for _, part := range strings.Split(page.body, `name="`+name+`" value="`)[1:] {
				value, rest, _ := strings.Cut(part, `"`)
				if attributes, _, _ := strings.Cut(rest, ">"); strings.HasSuffix(attributes, " checked") {
					form.Add(name, html.UnescapeString(value))
				}
			}
		}
		m.post(at, form).want(t, 200, "The changes were saved.")
		after, err := m.d.Endpoint(t.Context(), e.ID)
		want := events
		if len(events) == 2 && events[0] == "document.*" {
			want = events[:1] // which the other is in
		}
		if err != nil || fmt.Sprint(after.Events) != fmt.Sprint(want) || after.Description != e.Description {
			t.Errorf("%v became %v, %q became %q (%v)", events, after.Events, e.Description, after.Description, err)
		}
	}
}

func TestLogosAndStyleSheetsThatCannotBeLoadedAreRefused(t *testing.T) {
	d := newDispatcher(t)
	for _, test := range []struct{ url, policy string }{
		{"https://cdn.example/x", "https://cdn.example"}, {"http://localhost:8080/x", "http://localhost:8080"},
		{"//cdn.example/x", "cdn.example"}, {"/static/x", ""},
		{"x.svg", "refused"}, {"./x.svg", "refused"}, {"data:image/svg+xml,x", "refused"}, {"javascript:alert(1)", "refused"},
		{"https:x", "refused"}, {"https://a;script-src/x", "refused"}, {"//", "refused"}, {"%zz", "refused"},
	} {
		for n, set := range []func(*Options){func(o *Options) { o.Logo = test.url }, func(o *Options) { o.Stylesheet = test.url }} {
			o := as(Access{Operator: true})
			set(&o)
			h, err := New(d, o)
			if refused := errors.Is(err, webhook.ErrInvalid); refused != (test.policy == "refused") || refused != (h == nil) {
				t.Errorf("%q: %v", test.url, err)
			}
			if h == nil {
				continue
			}
			res := call(t, h, "GET", "", "")
			want := []string{"img-src 'self' data: " + test.policy, "style-src 'self' " + test.policy}[n]
			if got := res.Header.Get("Content-Security-Policy"); !strings.Contains(got, strings.TrimSpace(want)+";") {
				t.Errorf("%q: the policy is %q", test.url, got)
			}
			if body := text(t, res); !strings.Contains(body, `="`+test.url+`"`) {
				t.Errorf("%q is not in the page", test.url)
			}
		}
	}
}

// The API and the pages say the same of a signer and of a pointer to it.
func TestPointersToSignersAreWhatTheyPointTo(t *testing.T) {
	hmac := webhook.HMAC{Header: "X-A", Prefix: "v=", Optional: true}
	values := webhook.Signers{webhook.StandardWebhooks{}, hmac, webhook.SecretHeader{Name: "X-B"}}
	pointers := webhook.Signers{&webhook.StandardWebhooks{}, &hmac, &webhook.SecretHeader{Name: "X-B"}}
	if a, b := schemesOf(values), schemesOf(&pointers); len(a) != 3 || !reflect.DeepEqual(a, b) {
		t.Errorf("%+v, of pointers %+v", a, b)
	}
	if a, b := testUI().schemes(values), testUI().schemes(&pointers); len(a) != 3 || !reflect.DeepEqual(a, b) {
		t.Errorf("%+v, of pointers %+v", a, b)
	}
}
