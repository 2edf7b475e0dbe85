package portal

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// mounted is a portal under a path, behind a proxy that strips another one, and
// a browser without scripts and cookies.
type mounted struct {
	t       *testing.T
	handler http.Handler
	d       *webhook.Dispatcher
	store   *webhook.MemoryStore
}

// prefix is the part of a URL that neither the portal nor the mux around it
// knows.
const prefix = "/outside/app/webhooks"

var testCatalog = []webhook.EventType{
	{Name: "document.signed", Group: "Documents", Description: "A recipient signs", Example: map[string]any{"id": 7}},
	{Name: "document.completed", Group: "Documents", Description: "All have signed"},
	{Name: "STEP_STARTED", Group: "Steps"},
	{Name: "STEP_FAILED", Group: "Steps"},
}

func mount(t *testing.T, access Access, change func(*webhook.Config, *Options)) *mounted {
	t.Helper()
	config := webhook.Config{
		Catalog: testCatalog,
		Network: webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	}
	options := Options{Access: func(*http.Request) (Access, error) { return access, nil }}
	if change != nil {
		change(&config, &options)
	}
	store := webhook.NewMemoryStore()
	d, err := webhook.NewDispatcher(store, config)
	if err != nil {
		t.Fatal(err)
	}
	return again(t, &mounted{d: d, store: store}, options)
}

// again mounts another portal on the same dispatcher.
func again(t *testing.T, m *mounted, o Options) *mounted {
	t.Helper()
	handler, err := New(m.d, o)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/", http.StripPrefix("/webhooks", handler))
	return &mounted{t: t, d: m.d, store: m.store, handler: http.StripPrefix(strings.TrimSuffix(prefix, "/webhooks"), mux)}
}

// answer is a page that the browser has arrived at.
type answer struct {
	*httptest.ResponseRecorder
	at   *url.URL
	body string
}

// get loads a page, given as seen from the root of the portal.
func (m *mounted) get(to string) *answer { m.t.Helper(); return m.load("GET", prefix+"/"+to, nil, nil) }

func (m *mounted) post(to string, form url.Values) *answer {
	m.t.Helper()
	return m.load("POST", prefix+"/"+to, form, nil)
}

// load makes a request, and follows where it leads.
func (m *mounted) load(method, to string, form url.Values, header http.Header) *answer {
	m.t.Helper()
	at, err := url.Parse(to)
	if err != nil {
		m.t.Fatal(err)
	}
	for range 5 {
		r := httptest.NewRequest(method, at.String(), strings.NewReader(form.Encode()))
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		for name, values := range header {
			r.Header[name] = values
		}
		if method == "POST" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		m.handler.ServeHTTP(w, r)
		location := w.Header().Get("Location")
		if location == "" {
			return &answer{w, at, w.Body.String()}
		}
		if strings.HasPrefix(location, "/") || strings.Contains(location, "://") {
			m.t.Fatalf("%s %s leads to %q, which is not relative", method, at, location)
		}
		next, err := at.Parse(location)
		if err != nil {
			m.t.Fatal(err)
		}
		method, form, at = "GET", nil, next
	}
	m.t.Fatalf("%s leads in circles", to)
	return nil
}

// want checks the status and that the page has all these texts.
func (a *answer) want(t *testing.T, status int, texts ...string) *answer {
	t.Helper()
	if a.Code != status {
		t.Fatalf("%s: status %d, want %d\n%s", a.at, a.Code, status, a.main())
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("%s: there is no %q in\n%s", a.at, text, a.main())
		}
	}
	return a
}

func (a *answer) without(t *testing.T, texts ...string) *answer {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(a.body, text) {
			t.Errorf("%s: there is %q in\n%s", a.at.Path, text, a.main())
		}
	}
	return a
}

// main is the text of the page without its frame.
func (a *answer) main() string {
	_, after, _ := strings.Cut(a.body, "<main")
	before, _, _ := strings.Cut(after, "</main>")
	text := strings.Join(strings.Fields(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(before, " ")), " ")
	return text[:min(len(text), 1000)]
}

// rel is where the page is, seen from the root of the portal.
func (a *answer) rel() string { return strings.TrimPrefix(a.at.Path, prefix+"/") }

// hidden returns the value of a hidden field.
func (a *answer) hidden(t *testing.T, name string) string {
	t.Helper()
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(a.body)
	if m == nil {
		t.Fatalf("%s: there is no field %q in\n%s", a.at, name, a.main())
	}
	return m[1]
}

// receiver answers with a status and a body.
func receiver(t *testing.T, status int, body string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Hostile", `<script>alert("header")</script>`)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

var acme = Access{Tenant: "acme", Actor: "ada"}

func (m *mounted) register(e webhook.Endpoint) webhook.Endpoint {
	m.t.Helper()
	e, err := m.d.Tenant("acme").Register(webhook.WithActor(m.t.Context(), "ada"), e)
	if err != nil {
		m.t.Fatal(err)
	}
	return e
}

// finish publishes an event and ends its delivery in that way.
func (m *mounted) finish(eventType string, s webhook.Settlement) {
	m.t.Helper()
	ctx := m.t.Context()
	if _, err := m.d.Publish(ctx, webhook.Event{Type: eventType, Tenant: "acme", Data: map[string]any{"id": 1}}); err != nil {
		m.t.Fatal(err)
	}
	claimed, _, err := m.store.Claim(ctx, webhook.ClaimRequest{Max: 100, PerEndpoint: 100, Lease: time.Minute})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, c := range claimed {
		s.DeliveryID, s.Lease, s.Counted = c.Delivery.ID, c.Lease, true
		attempt := *s.Attempt
		attempt.ID, attempt.DeliveryID, attempt.Number, attempt.StartedAt = c.Delivery.ID+"-1", c.Delivery.ID, 1, time.Now()
		one := s
		one.Attempt = &attempt
		if _, err := m.store.Settle(ctx, []webhook.Settlement{one}); err != nil {
			m.t.Fatal(err)
		}
	}
}

func ok() webhook.Settlement {
	return webhook.Settlement{State: webhook.StateDelivered, Health: webhook.HealthSuccess, Attempt: &webhook.Attempt{StatusCode: 200, Duration: 120 * time.Millisecond}}
}

func failed() webhook.Settlement {
	return webhook.Settlement{State: webhook.StateExhausted, Health: webhook.HealthFailure, Attempt: &webhook.Attempt{StatusCode: 500, Error: "status 500", ResponseBody: []byte(`{"a":[1,"<b>"]}`)}}
}

func TestEverythingWorksWithFormsAlone(t *testing.T) {
	m := mount(t, acme, nil)
	target := receiver(t, 200, `{"received":true}`)
	m.get("").want(t, 200, "No webhooks yet", `href="endpoints/new"`)

	page := m.get("endpoints/new").want(t, 200, "document.signed", "All of Documents")
	form := url.Values{"once": {page.hidden(t, "once")}, "url": {target + "/hook"}, "description": {"Production"}, "all": {"0"}, "group": {"Documents"}, "event": {"STEP_FAILED"}, "auth": {""}}
	created := m.post("endpoints/new", form).want(t, 201, "Your webhook is ready", "whsec_", "you can reveal it")
	if created.at.RawQuery != "" {
		t.Errorf("the page of a secret has the URL %s", created.at)
	}
	id := regexp.MustCompile(`endpoints/([0-9a-f-]{36})`).FindStringSubmatch(created.body)[1]
	e, err := m.d.Endpoint(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(fmt.Sprintln(e.Events, e.Tenant, e.CreatedBy, e.Description)); got != "[STEP_FAILED document.*] acme ada Production" {
		t.Errorf("the endpoint is %s", got)
	}

	at := "endpoints/" + id
	m.get(at+"/test").want(t, 200, `<option value="STEP_FAILED"`)
	sent := m.post(at+"/test", url.Values{"type": {"document.signed"}}).want(t, 200, "200 OK", "received", "Open this call")
	if sent.rel() != at+"/test" {
		t.Errorf("the answer to a test is at %s", sent.rel())
	}
	m.post(at+"/test", url.Values{"type": {"nothing"}}).want(t, 422, "unknown event type", `aria-invalid="true" aria-describedby="type-error"`, `id="type-error"`)

	m.finish("document.signed", failed())
	calls := m.get(at).want(t, 200, "Failed", "500 Internal Server Error", "document.signed", "<svg class=\"chart")
	call := regexp.MustCompile(`deliveries/[0-9a-f-]{36}`).FindString(calls.body)
	m.get(call).want(t, 200, "Attempt 1", "500 Internal Server Error", "Request body", "Resend")
	resent := m.post(call+"/resend", nil).want(t, 200, "on its way again", "Pending", "Resent by hand")
	if resent.rel() == call {
		t.Error("resending leads back to the old call")
	}

	m.finish("document.completed", failed()) // ends the one that was resent as well
	preview := m.get(at+"/replay?preview=1&what=failed&range=24h").want(t, 200, "2 events would be sent again", "Send them again")
	plan := url.Values{"what": {"failed"}, "type": {""}, "start": {preview.hidden(t, "start")}, "end": {preview.hidden(t, "end")}}
	m.post(at+"/replay", plan).want(t, 200, "The replay is finished", "2 events are on their way again")
	m.post(at+"/replay", plan).want(t, 200, "0 events are on their way again")

	m.get(at+"/disable").want(t, 200, "Disable this webhook?", `name="reason"`)
	m.post(at+"/disable", url.Values{"reason": {"moving house"}}).want(t, 200, "The webhook is disabled.", "Reason: moving house")
	m.post(at+"/enable", nil).want(t, 200, "The webhook is enabled.")
	m.get(at+"/delete").want(t, 200, "Delete this webhook?")
	m.post(at+"/delete", nil).want(t, 200, "The webhook was deleted.", "No webhooks yet")
	m.get(at).want(t, 404, "Nothing here")
	m.get(call).want(t, 200, "deleted").without(t, "Resend</button>")
}

func TestACreatedSecretIsShownOnceAndAReloadMakesNoSecondEndpoint(t *testing.T) {
	m := mount(t, acme, nil)
	form := url.Values{"once": {m.get("endpoints/new").hidden(t, "once")}, "url": {"https://receiver.example/"}, "all": {"1"}}
	shown := regexp.MustCompile(`whsec_[^<]+`)
	first := m.post("endpoints/new", form).want(t, 201, "whsec_")
	if second := m.post("endpoints/new", form).want(t, 201, "Your webhook is ready"); shown.FindString(second.body) != shown.FindString(first.body) {
		t.Error("sent once more, the form shows another secret")
	}
	other := url.Values{"once": form["once"], "url": {"https://other.example/"}, "all": {"1"}}
	other.Set("once", m.post("endpoints/new", other).want(t, 409, "Send it again to create another one", "https://other.example/").hidden(t, "once"))
	page, err := m.d.Endpoints(t.Context(), webhook.EndpointFilter{})
	if err != nil || page.Total != 1 {
		t.Errorf("there are %d endpoints (%v), want 1", page.Total, err)
	}
	m.post("endpoints/new", other).want(t, 201, "whsec_")

	// Nobody's secrets are not revealed again.
	anyone := again(t, m, as(Access{Tenant: "acme"}))
	anyone.post("endpoints/new", form).want(t, 201, "whsec_")
	anyone.post("endpoints/new", form).want(t, 200, "already created").without(t, "whsec_")
}

func TestSecretsAreRotatedAndRevealedInTheAnswerToAFormOnly(t *testing.T) {
	m := mount(t, acme, nil)
	e := m.register(webhook.Endpoint{URL: "https://receiver.example/"})
	at := "endpoints/" + e.ID + "/verify"
	page := m.get(at).want(t, 200, "webhook-signature", "Reveal secret", "package main", "createHmac", "import hmac").without(t, e.Secrets[0].Value)
	m.post(at, url.Values{"do": {"reveal"}}).want(t, 200, htmlOf(e.Secrets[0].Value))
	rotate := url.Values{"do": {"rotate"}, "rev": {page.hidden(t, "rev")}, "overlap": {"24h"}}
	m.post(at, rotate).want(t, 200, "The new secret is in use", "Both secrets sign until", "whsec_").without(t, htmlOf(e.Secrets[0].Value))
	m.post(at, rotate).want(t, 200, "changed meanwhile").without(t, "whsec_5", "The new secret is in use")
	secrets, err := m.d.Reveal(t.Context(), e.ID)
	if err != nil || len(secrets) != 2 || secrets[1].Value != e.Secrets[0].Value {
		t.Errorf("there are %d secrets (%v), want the new one and the old one", len(secrets), err)
	}
	own := url.Values{"do": {"rotate"}, "rev": {m.get(at).hidden(t, "rev")}, "overlap": {"0"}, "secret": {"too short"}}
	m.post(at, own).want(t, 422, "invalid secret", `aria-describedby="own-error own-hint" aria-invalid="true"`, `id="own-error"`)

	other := again(t, m, Options{Access: func(*http.Request) (Access, error) { return Access{Tenant: "acme", Actor: "bob"}, nil }})
	other.get(at).want(t, 200, "Only the person who created").without(t, `value="reveal"`)
	other.post(at, url.Values{"do": {"reveal"}}).want(t, 403).without(t, "whsec_")
}

func htmlOf(s string) string { return strings.ReplaceAll(s, "+", "&#43;") }

func TestMistakesAreToldNextToTheirFieldsAndNothingTypedIsLost(t *testing.T) {
	m := mount(t, acme, nil)
	typed := url.Values{
		"url": {"https://user@receiver.example/"}, "description": {"My <own> one"}, "all": {"0"}, "event": {"STEP_STARTED"}, "patterns": {"nope.*"},
		"auth": {"basic"}, "user": {"with:colon"}, "password": {"hunter2hunter2"}, "headers": {"Host: x\nX-Team: billing"}, "rate": {"-2"}, "concurrency": {"100000"},
	}
	page := m.post("endpoints/new", typed).want(t, 422, "things need your attention",
		`value="https://user@receiver.example/"`, "My &lt;own&gt; one</textarea>", `value="STEP_STARTED" data-each checked`, "nope.*</textarea>",
		`value="basic" checked`, `value="with:colon"`, `value="hunter2hunter2"`, "Host: x\nX-Team: billing</textarea>", `value="-2"`, `value="100000"`)
	for _, id := range []string{"f-url", "f-events", "f-auth", "f-headers", "f-rateLimit", "f-concurrency"} {
		if !strings.Contains(page.body, `id="`+id+`-error"`) || !strings.Contains(page.body, `href="#`+id+`"`) {
			t.Errorf("nothing is said at %s in\n%s", id, page.main())
		}
	}
	m.post("endpoints/new", url.Values{"url": {"https://receiver.example/"}, "all": {"0"}, "rate": {"fast"}, "headers": {"nonsense"}}).
		want(t, 422, "Select at least one event", "This is not a number.", "Line 1 is not of the form")
}

func TestEditing(t *testing.T) {
	m := mount(t, acme, nil)
	e := m.register(webhook.Endpoint{
		URL: "https://receiver.example/", Events: []string{"document.*", "STEP_FAILED"}, Headers: map[string]string{"X-B": "2", "X-A": "1"},
		Auth: webhook.BasicAuth("outhook", "hunter2hunter2"), RateLimit: 2.5, Concurrency: 3, Description: "One",
	})
	at := "endpoints/" + e.ID + "/edit"
	page := m.get(at).want(t, 200, `value="Documents" data-all checked`, `value="STEP_FAILED" data-each checked`,
		"X-A: 1\nX-B: 2</textarea>", `value="2.5"`, `value="3"`, `value="outhook"`, "keep the present one").without(t, `name="secret"`, "hunter2", `value="STEP_STARTED" data-each checked`, `value="document.signed" data-each checked`)
	form := url.Values{
		"rev": {page.hidden(t, "rev")}, "url": {"https://other.example/"}, "all": {"0"}, "group": {"Steps"}, "event": {"document.signed"},
		"auth": {"basic"}, "user": {"outhook"}, "headers": {""}, "rate": {""}, "concurrency": {""}, "ordered": {"1"},
	}
	m.post(at, form).want(t, 422, `id="f-auth-error"`, "give it anew", "https://other.example/") // whose host has not had the password
	form.Set("password", "hunter2hunter2")
	m.post(at, form).want(t, 200, "The changes were saved.", "other.example")
	got, err := m.d.Endpoint(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.TrimSpace(fmt.Sprintln(got.URL, got.Events, got.Headers, got.RateLimit, got.Concurrency, got.Ordered, got.Auth.Scheme, got.Description)); s != "https://other.example/ [STEP_FAILED STEP_STARTED document.signed] map[] 0 0 true basic" {
		t.Errorf("the endpoint is %s", s)
	}
	form.Set("url", "https://third.example/")
	stale := m.post(at, form).want(t, 409, "Somebody else has changed", "https://third.example/")
	form.Set("rev", stale.hidden(t, "rev"))
	m.post(at, form).want(t, 200, "The changes were saved.", "third.example")
}

func TestStatesAreExplained(t *testing.T) {
	m := mount(t, acme, func(c *webhook.Config, _ *Options) {
		c.Profiles = map[string]webhook.Profile{"asks": {Verification: webhook.ChallengeEcho{}}}
	})
	e := m.register(webhook.Endpoint{URL: "https://receiver.example/", Events: []string{"document.signed"}})
	at := "endpoints/" + e.ID
	m.get("").want(t, 200, "Active", "Nothing sent")
	m.get(at).want(t, 200, "No calls yet", "Nothing was sent in this time.")

	m.finish("document.signed", ok())
	m.get("").want(t, 200, "1\u00a0delivered", "fill-good")
	m.get(at).want(t, 200, "200 OK", "120 ms", "Delivered").without(t, "failing")

	m.finish("document.signed", failed())
	m.get("").want(t, 200, "Failing", "1\u00a0failed", "fill-bad")
	m.get(at).want(t, 200, "This webhook is failing")

	paused := failed()
	paused.State, paused.Delay, paused.Pause = webhook.StatePending, time.Hour, 2*time.Hour
	m.finish("document.signed", paused)
	m.get("").want(t, 200, "Paused", "next try in 1 h", "1\u00a0pending")
	calls := m.get(at).want(t, 200, "Deliveries are paused until", "Retrying", "next try in 1 h")
	call := regexp.MustCompile(`deliveries/[0-9a-f-]{36}`).FindString(calls.body)
	m.get(call).want(t, 200, "Next try", "in 1 h", "every 3s")

	if err := m.d.Disable(t.Context(), e.ID, "because"); err != nil {
		t.Fatal(err)
	}
	m.get("").want(t, 200, "Disabled", "because")
	m.get(at).want(t, 200, "This webhook is disabled", "Reason: because", at[len("endpoints/"):]+"/enable")
	m.get(call).want(t, 200, "once the webhook is enabled").without(t, "Resend</button>")

	waits := m.register(webhook.Endpoint{URL: "https://waits.example/", Profile: "asks"})
	m.get("").want(t, 200, "Not verified")
	m.get("endpoints/"+waits.ID).want(t, 200, "not verified yet", "Verify now", "/consent").without(t, "Send test")
	m.post("endpoints/"+waits.ID+"/enable", nil).want(t, 409, "Back to the webhook", `href="../../endpoints/`+waits.ID)
}

// TestAnUnreadableEndpointCanBeLookedAtAndDeleted: its configuration is sealed
// with a key that this process does not have.
func TestAnUnreadableEndpointCanBeLookedAtAndDeleted(t *testing.T) {
	keys := func(id string, fill byte) webhook.Keys {
		k, err := webhook.NewKeys(webhook.Key{ID: id, Secret: webhook.Secret{Value: base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, 32))}})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	m := mount(t, acme, func(c *webhook.Config, _ *Options) { c.Keys = keys("one", 1) })
	e := m.register(webhook.Endpoint{URL: "https://receiver.example/"})
	d, err := webhook.NewDispatcher(m.store, webhook.Config{Keys: keys("two", 2)})
	if err != nil {
		t.Fatal(err)
	}
	m.d = d
	m = again(t, m, Options{Access: func(*http.Request) (Access, error) { return acme, nil }})
	at := "endpoints/" + e.ID
	m.get("").want(t, 200, "Unreadable").without(t, "receiver.example")
	m.get(at).want(t, 200, "cannot be read", at[len("endpoints/"):]+"/delete").without(t, "Send test", "Settings", "/verify")
	m.post(at+"/disable", nil).want(t, 200, "The webhook is disabled.")
	m.post(at+"/delete", nil).want(t, 200, "The webhook was deleted.")
}

func TestTheListIsSearchedAndPaged(t *testing.T) {
	m := mount(t, acme, nil)
	for n := range listSize + 3 {
		m.register(webhook.Endpoint{URL: fmt.Sprintf("https://r%d.example/", n), Description: fmt.Sprintf("Number %d.", n)})
	}
	first := m.get("").want(t, 200, "Number 0.", "53 webhooks", "Next").without(t, "Number 50.", "First page")
	next := regexp.MustCompile(`href="(\?cursor=[^"]+)" rel="next"`).FindStringSubmatch(first.body)
	m.get(next[1]).want(t, 200, "Number 52.", "First page").without(t, "Number 49.", ">Next<")
	m.get("?q=NUMBER+52.").want(t, 200, "Number 52.", "1 match").without(t, "Number 5.")
	m.get("?q=nowhere").want(t, 200, "Nothing matches")
	m.get("?q=number").want(t, 200, "53 matches").without(t, "are shown")
	for range maxFound {
		m.register(webhook.Endpoint{URL: "https://again.example/", Description: "Number again"})
	}
	if found := m.get("?q=number").want(t, 200, "253 matches · The first 200 are shown."); strings.Count(found.body, `<tr role="row">`) != 1+maxFound {
		t.Errorf("%d rows are shown", strings.Count(found.body, `<tr role="row">`)-1)
	}
	m.get("?show=disabled").want(t, 200, "No webhook is in this state.")
}

func TestCallsAreFilteredPagedAndPolled(t *testing.T) {
	m := mount(t, acme, nil)
	e := m.register(webhook.Endpoint{URL: "https://receiver.example/"})
	at := "endpoints/" + e.ID
	for range pageSize {
		m.finish("document.signed", ok())
	}
	m.finish("STEP_FAILED", failed())
	m.get(at).want(t, 200, "Older", "STEP_FAILED")
	older := regexp.MustCompile(`href="([^"]*cursor=[^"]+)" rel="next"`).FindStringSubmatch(m.get(at).body)
	m.get("endpoints/"+strings.TrimPrefix(older[1], "./")).want(t, 200, "Newest", "document.signed").without(t, "hx-trigger=\"every")
	m.get(at+"?state=exhausted").want(t, 200, ">STEP_FAILED</a>").without(t, ">document.signed</a>", "Older")
	m.get(at+"?type=document.signed&range=1h").want(t, 200, ">document.signed</a>").without(t, ">STEP_FAILED</a>")
	m.get(at+"?range=custom&to=2001-01-01T00:00").want(t, 200, "No calls match")
	m.get(at+"?live=off").want(t, 200, "Updates paused").without(t, "hx-trigger=\"every")

	poll := regexp.MustCompile(`hx-get="([^"]*\bv=[^"]*)"`).FindStringSubmatch(m.get(at).body)[1]
	poll = strings.TrimPrefix(poll, "./")
	htmx := http.Header{"Hx-Request": {"true"}, "Hx-Target": {"calls"}}
	m.load("GET", prefix+"/endpoints/"+poll, nil, htmx).want(t, 204)
	m.finish("STEP_STARTED", ok())
	m.load("GET", prefix+"/endpoints/"+poll, nil, htmx).want(t, 200, `id="calls"`, "STEP_STARTED", `href="../deliveries/`).without(t, "<html", "<svg")
}

func TestTextsAreReplacedAndAllAreThere(t *testing.T) {
	m := mount(t, acme, func(_ *webhook.Config, o *Options) {
		o.Language, o.Name = "de", "Dokumente"
		o.Texts = map[string]string{"list.empty.title": "Noch keine Webhooks", "list.new": "Webhook anlegen"}
	})
	m.get("").want(t, 200, `<html lang="de">`, "Noch keine Webhooks", "Webhook anlegen", "· Dokumente</title>")

	used := regexp.MustCompile(`\.([TN])[ (]"([a-z0-9.]+)"`)
	table := Texts()
	for _, pattern := range []string{"templates/*.html", "*.go"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range used.FindAllStringSubmatch(string(text), -1) {
				keys := []string{m[2]}
				if m[1] == "N" {
					keys = []string{m[2] + ".one", m[2] + ".other"}
				}
				for _, key := range keys {
					if table[key] == "" && !strings.HasSuffix(key, ".") {
						t.Errorf("%s uses %q, which is not in the table", file, key)
					}
				}
			}
		}
	}
}

// A text that nothing shows is work for translators all the same.
func TestEveryTextIsUsed(t *testing.T) {
	var sources strings.Builder
	for _, pattern := range []string{"templates/*.html", "*.go"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			code, _, _ := strings.Cut(string(text), "var english =") // where they are all
			if !strings.HasSuffix(file, "_test.go") {
				sources.WriteString(code)
			}
		}
	}
	// What stands behind these is a value.
	dynamic := regexp.MustCompile(`^(origin|state|chart|list\.show|calls\.range|flash|form\.auth|secret\.overlap|confirm|problem)\.`)
	for key := range Texts() {
		plain := strings.TrimSuffix(strings.TrimSuffix(key, ".one"), ".other")
		if !strings.Contains(sources.String(), `"`+key+`"`) && !strings.Contains(sources.String(), `"`+plain+`"`) && !dynamic.MatchString(key) {
			t.Errorf("nothing shows %q", key)
		}
	}
}
