package portal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

// call makes a request of a portal that is mounted as an application mounts it.
func call(t *testing.T, h http.Handler, method, path, body string, change ...func(*http.Request)) *http.Response {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/team/webhooks/", http.StripPrefix("/team/webhooks", h))
	r := httptest.NewRequestWithContext(t.Context(), method, "https://app.example/team/webhooks/"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	res := w.Result()
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func text(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func as(a Access) Options {
	return Options{Access: func(*http.Request) (Access, error) { return a, nil }}
}

func newPortal(t *testing.T, d *webhook.Dispatcher, o Options) http.Handler {
	t.Helper()
	h, err := New(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newDispatcher(t *testing.T) *webhook.Dispatcher {
	t.Helper()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAPortalWithoutAccessIsNone(t *testing.T) {
	d := newDispatcher(t)
	for name, open := range map[string]func() (http.Handler, error){
		"no dispatcher": func() (http.Handler, error) { return New(nil, as(Access{Operator: true})) },
		"no access":     func() (http.Handler, error) { return New(d, Options{}) },
		"no origin": func() (http.Handler, error) {
			o := as(Access{Operator: true})
			o.TrustedOrigins = []string{"app.example"}
			return New(d, o)
		},
	} {
		if h, err := open(); h != nil || !errors.Is(err, webhook.ErrInvalid) {
			t.Errorf("%s: %v, %v", name, h, err)
		}
	}
}

// Whatever the path and the method, nobody comes in whom Access does not let in.
func TestAccessIsAskedForEverything(t *testing.T) {
	d := newDispatcher(t)
	if _, err := d.Register(t.Context(), webhook.Endpoint{ID: "e1", URL: "https://example.com/secret-path"}); err != nil {
		t.Fatal(err)
	}
	denied := func(err error) Options {
		return Options{Access: func(*http.Request) (Access, error) { return Access{Operator: true}, err }}
	}
	for name, test := range map[string]struct {
		o        Options
		want     int
		location string
	}{
		"an error":        {denied(errors.New("session expired, says db-17")), 401, ""},
		"a refusal":       {denied(&Refusal{}), 401, ""},
		"forbidden":       {denied(&Refusal{Status: 403, Detail: "ask your administrator"}), 403, ""},
		"a strange one":   {denied(&Refusal{Status: 200}), 401, ""},
		"forbidden, told": {denied(&Refusal{Status: 403, Location: "/plans"}), 403, "/plans"},
		"a login":         {denied(&Refusal{Location: "/login?next=webhooks"}), 401, "/login?next=webhooks"},
		"the zero Access": {as(Access{}), 403, ""},
		"an actor alone":  {as(Access{Actor: "eve", RevealSecrets: true}), 403, ""},
	} {
		h := newPortal(t, d, test.o)
		p := h.(*portal)
		for _, r := range p.routes {
			if r.public {
				continue
			}
			path := strings.ReplaceAll(r.path, "{id}", "e1")
			res := call(t, h, r.method, path, "")
			body := text(t, res)
			want := test.want
			if api := strings.HasPrefix(r.path, "api/"); api && !strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") {
				t.Errorf("%s: %s %s is answered with %q", name, r.method, path, res.Header.Get("Content-Type"))
			} else if !api && test.location != "" {
				want = http.StatusSeeOther
				if got := res.Header.Get("Location"); got != test.location {
					t.Errorf("%s: %s %s leads to %q", name, r.method, path, got)
				}
			}
			if res.StatusCode != want || strings.Contains(body, "secret-path") || strings.Contains(body, "db-17") {
				t.Errorf("%s: %s %s: %d %s, want %d", name, r.method, path, res.StatusCode, body, want)
			}
		}
		if res := call(t, h, "GET", "api/v1/no/such/thing", ""); res.StatusCode != test.want {
			t.Errorf("%s: a path that is none is %d", name, res.StatusCode)
		}
	}
	o := as(Access{})
	o.SingleTenant = true
	if res := call(t, newPortal(t, d, o), "GET", "api/v1/endpoints/e1", ""); res.StatusCode != 200 {
		t.Errorf("the zero Access of a single tenant is %d", res.StatusCode)
	}
}

// A refusal says how to come in.
func TestRefusalsChallenge(t *testing.T) {
	const basic = `Basic realm="Acme"`
	for name, test := range map[string]struct {
		refusal    Refusal
		page, api  int
		ofPage, of string
	}{
		"a challenge":             {Refusal{Challenge: basic}, 401, 401, basic, basic},
		"none":                    {Refusal{}, 401, 401, "", ""},
		"of a login":              {Refusal{Challenge: basic, Location: "/login"}, 303, 401, "", basic},
		"of what stays forbidden": {Refusal{Challenge: basic, Status: 403}, 403, 403, "", ""},
	} {
		h := newPortal(t, newDispatcher(t), Options{Access: func(*http.Request) (Access, error) { return Access{}, &test.refusal }})
		page, api := call(t, h, "GET", "", ""), call(t, h, "GET", "api/v1/endpoints", "")
		if page.StatusCode != test.page || api.StatusCode != test.api || page.Header.Get("WWW-Authenticate") != test.ofPage || api.Header.Get("WWW-Authenticate") != test.of {
			t.Errorf("%s: the page is %d %v, the API %d %v", name, page.StatusCode, page.Header, api.StatusCode, api.Header)
		}
	}
}

// An outage of what Access asks is told to the operator.
func TestErrorsOfAccessAreLogged(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		want  int
		level string
	}{
		"an outage":   {errors.New("dial db-17: refused"), 401, "WARN"},
		"a refusal":   {fmt.Errorf("of db-17: %w", &Refusal{}), 401, ""},
		"too late":    {fmt.Errorf("of db-17: %w", context.DeadlineExceeded), 503, "ERROR"},
		"ended":       {fmt.Errorf("of db-17: %w", context.Canceled), 503, "ERROR"},
		"of ours too": {fmt.Errorf("of db-17: %w, %w", webhook.ErrNotFound, context.DeadlineExceeded), 503, "ERROR"},
	} {
		var log strings.Builder
		h := newPortal(t, newDispatcher(t), Options{
			Access: func(*http.Request) (Access, error) { return Access{Operator: true}, test.err },
			Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		for _, path := range []string{"", "api/v1/endpoints"} {
			log.Reset()
			res := call(t, h, "GET", path, "")
			if body := text(t, res); res.StatusCode != test.want || strings.Contains(body, "db-17") {
				t.Errorf("%s: %q is %d %s", name, path, res.StatusCode, body)
			}
			if got := log.String(); test.level == "" && got != "" || !strings.Contains(got, test.level) || strings.Contains(got, "db-17") != (test.level != "") {
				t.Errorf("%s: %q logs %s", name, path, got)
			}
		}
	}
}

func TestReadOnlyAccessChangesNothingAndSeesNoSecret(t *testing.T) {
	d := newDispatcher(t)
	ctx := webhook.WithActor(t.Context(), "ann")
	e, err := d.Register(ctx, webhook.Endpoint{ID: "e1", Tenant: "acme", URL: "https://example.com/hook"})
	if err != nil {
		t.Fatal(err)
	}
	h := newPortal(t, d, as(Access{Tenant: "acme", Actor: "ann", ReadOnly: true, RevealSecrets: true}))
	for _, r := range h.(*portal).routes {
		path := strings.ReplaceAll(r.path, "{id}", "e1")
		res := call(t, h, r.method, path, "")
		body := text(t, res)
		if r.method != http.MethodGet && res.StatusCode != http.StatusForbidden {
			t.Errorf("%s %s is %d", r.method, r.path, res.StatusCode)
		}
		if strings.Contains(body, e.Secrets[0].Value) {
			t.Errorf("%s %s shows the secret", r.method, r.path)
		}
	}
	after, err := d.Endpoint(t.Context(), "e1")
	if err != nil || after.Rev != e.Rev {
		t.Errorf("the endpoint was changed: %+v, %v", after, err)
	}
	if res := call(t, h, "GET", "api/v1/endpoints/e1", ""); res.StatusCode != 200 {
		t.Errorf("it cannot be read: %d", res.StatusCode)
	}
}

// observed are the notices of a dispatcher.
type observed []webhook.Notice

func (o *observed) Observe(_ context.Context, n webhook.Notice) { *o = append(*o, n) }

func TestSecretsAreShownToWhoCreatedTheEndpoint(t *testing.T) {
	var notices observed
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{Observer: &notices})
	if err != nil {
		t.Fatal(err)
	}
	for id, actor := range map[string]string{"ann's": "ann", "nobody's": ""} {
		if _, err := d.Register(webhook.WithActor(t.Context(), actor), webhook.Endpoint{ID: id, Tenant: "acme", URL: "https://example.com/hook"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		access Access
		id     string
		want   int
	}{
		{Access{Tenant: "acme", Actor: "ann"}, "ann's", 200},
		{Access{Tenant: "acme", Actor: "bob"}, "ann's", 403},
		{Access{Tenant: "acme", Actor: "Ann"}, "ann's", 403},
		{Access{Tenant: "acme"}, "ann's", 403},
		{Access{Tenant: "acme"}, "nobody's", 403},
		{Access{Tenant: "acme", Actor: "bob", RevealSecrets: true}, "ann's", 200},
		{Access{Tenant: "acme", Actor: "ann", ReadOnly: true}, "ann's", 403},
		{Access{Operator: true}, "ann's", 403},
		{Access{Operator: true, RevealSecrets: true}, "nobody's", 200},
		{Access{Tenant: "other", Actor: "ann", RevealSecrets: true}, "ann's", 404},
	} {
		notices = nil
		res := call(t, newPortal(t, d, as(test.access)), "POST", "api/v1/endpoints/"+url.PathEscape(test.id)+"/secret/reveal", "")
		body := text(t, res)
		if res.StatusCode != test.want || strings.Contains(body, "whsec_") != (test.want == 200) {
			t.Errorf("%+v of %s: %d %s", test.access, test.id, res.StatusCode, body)
		}
		revealed := len(notices) == 1 && notices[0].(webhook.SecretsRevealed).Actor == test.access.Actor
		if revealed != (test.want == 200) || !revealed && len(notices) > 0 {
			t.Errorf("%+v of %s: notices %+v", test.access, test.id, notices)
		}
	}
}

// Who may not see a secret does not get it by having it sent to him.
func TestASecretIsNotHadByChangingWhereItGoes(t *testing.T) {
	var got []http.Header // of the requests that eve's server receives
	eve := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header) }))
	defer eve.Close()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Profiles: map[string]webhook.Profile{"plain": {Signer: webhook.SecretHeader{Name: "X-Secret"}}},
		Network:  webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := newPortal(t, d, as(Access{Tenant: "acme", Actor: "eve"}))
	send := func(method, path, body string, status int, texts ...string) {
		t.Helper()
		res := call(t, h, method, path, body, func(r *http.Request) {
			if !strings.HasPrefix(path, "api/") {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
		})
		page := text(t, res)
		for _, want := range texts {
			if !strings.Contains(page, want) {
				t.Errorf("%s %s: there is no %q in %s", method, path, want, page)
			}
		}
		if res.StatusCode != status {
			t.Errorf("%s %s %s: %d %s, want %d", method, path, body, res.StatusCode, page, status)
		}
	}
	for _, profile := range []string{"", "plain"} {
		e, err := d.Tenant("acme").Register(webhook.WithActor(t.Context(), "boss"), webhook.Endpoint{URL: "https://boss.example/hook", Profile: profile})
		if err != nil {
			t.Fatal(err)
		}
		api, edit := "api/v1/endpoints/"+e.ID, "endpoints/"+e.ID+"/edit"
		form := url.Values{"url": {eve.URL}, "profile": {"plain"}, "all": {"1"}}
		send("PATCH", api, `{"url": "`+eve.URL+`", "profile": "plain"}`, 422, `"pointer":"/secrets"`, "give them anew")
		send("PUT", api, `{"url": "`+eve.URL+`", "profile": "plain", "events": ["*"]}`, 422, `"pointer":"/secrets"`)
		send("POST", edit, form.Encode(), 422, `id="f-secrets-error"`, "give them anew", "<details class=\"disclose\" open>")
		if profile == "" { // and in two steps
			send("PATCH", api, `{"url": "`+eve.URL+`"}`, 200)
			send("PATCH", api, `{"profile": "plain"}`, 422, `"pointer":"/secrets"`)
			send("POST", api+"/test", `{"eventType": "document.signed"}`, 200)
		}
		form.Set("secret", "eves-own")
		send("POST", edit, form.Encode(), 303)
		send("GET", edit, "", 200, `name="secret" type="password" value=""`, "Leave it empty to keep the present one")
		form.Set("secret", "")
		send("POST", edit, form.Encode(), 303)
		send("POST", api+"/test", `{"eventType": "document.signed"}`, 200)
		for _, header := range got {
			for _, values := range header {
				if strings.Contains(strings.Join(values, " "), e.Secrets[0].Value) {
					t.Errorf("of profile %q, eve has boss's secret: %v", profile, header)
				}
			}
		}
		if n := len(got); n == 0 || got[n-1].Get("X-Secret") != "eves-own" {
			t.Errorf("of profile %q, eve's own secret is not sent: %v", profile, got)
		}
	}
}

func TestOtherSitesAreRefused(t *testing.T) {
	d := newDispatcher(t)
	o := as(Access{Operator: true})
	o.TrustedOrigins = []string{"https://console.example"}
	h := newPortal(t, d, o)
	if _, err := d.Register(t.Context(), webhook.Endpoint{ID: "e1", URL: "https://example.com/hook"}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		headers map[string]string
		refused bool
	}{
		"no browser":         {nil, false},
		"the same origin":    {map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "https://app.example"}, false},
		"an address bar":     {map[string]string{"Sec-Fetch-Site": "none"}, false},
		"another site":       {map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, true},
		"another subdomain":  {map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "https://evil.app.example"}, true},
		"an old browser":     {map[string]string{"Origin": "https://evil.example"}, true},
		"a sandboxed frame":  {map[string]string{"Origin": "null"}, true},
		"an origin we trust": {map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://console.example"}, false},
	} {
		for _, r := range h.(*portal).routes {
			res := call(t, h, r.method, strings.ReplaceAll(r.path, "{id}", "absent"), "", func(r *http.Request) {
				for k, v := range test.headers {
					r.Header.Set(k, v)
				}
			})
			if refused := res.StatusCode == http.StatusForbidden; refused != (test.refused && r.method != http.MethodGet) {
				t.Errorf("%s: %s %s is %d", name, r.method, r.path, res.StatusCode)
			}
		}
	}
}

func TestEverythingHasTheHeadersOfSecurity(t *testing.T) {
	o := as(Access{Operator: true})
	o.Logo = "https://cdn.example/logo.svg"
	h := newPortal(t, newDispatcher(t), o)
	for _, path := range []string{"", "api/v1/endpoints", "api/v1/none", "none", "../x", "api/v1/openapi.json"} {
		header := call(t, h, "GET", path, "").Header
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin"} {
			if got := header.Get(name); got != want && path != "../x" {
				t.Errorf("%s of %q is %q", name, path, got)
			}
		}
		policy := header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "img-src 'self' data: https://cdn.example;", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) && path != "../x" {
				t.Errorf("the policy of %q is %q", path, policy)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("the policy of %q is %q", path, policy)
		}
	}
}

// brokenStore is a store whose database is gone.
type brokenStore struct{ *webhook.MemoryStore }

func (brokenStore) ListEndpoints(context.Context, webhook.EndpointFilter) (webhook.Page[webhook.EndpointRecord], error) {
	return webhook.Page[webhook.EndpointRecord]{}, errors.New("dial tcp db-17: password of postgres is wrong")
}

func TestWhatFailsHereIsLoggedAndNotShown(t *testing.T) {
	d, err := webhook.NewDispatcher(brokenStore{webhook.NewMemoryStore()}, webhook.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	o := as(Access{Operator: true})
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	h := newPortal(t, d, o)
	for _, path := range []string{"", "api/v1/endpoints"} {
		log.Reset()
		res := call(t, h, "GET", path, "")
		if body := text(t, res); res.StatusCode != 500 || strings.Contains(body, "db-17") || !strings.Contains(log.String(), "db-17") {
			t.Errorf("%q: %d %s, logged %s", path, res.StatusCode, body, log.String())
		}
	}
}

func TestIDsMayHaveAnyCharacter(t *testing.T) {
	d := newDispatcher(t)
	h := newPortal(t, d, as(Access{Operator: true}))
	for _, id := range []string{"a/b", "a//b", "a%2Fb", "a b"[:1] + "?b", "#", "...", "a&b=c", `"<>`, "%", "a..", "é"[:0] + "~"} {
		if _, err := d.Register(t.Context(), webhook.Endpoint{ID: id, URL: "https://example.com/hook"}); err != nil {
			t.Fatal(err)
		}
		res := call(t, h, "GET", "api/v1/endpoints/"+url.PathEscape(id), "")
		var e endpointJSON
		if err := json.Unmarshal([]byte(text(t, res)), &e); err != nil || e.ID != id {
			t.Errorf("%q is answered with %d, %q, %v", id, res.StatusCode, e.ID, err)
		}
	}
}

// A repeated creation must not be a way to another one's secrets.
func TestAKeyIsOneActorsOwn(t *testing.T) {
	d := newDispatcher(t)
	create := func(a Access, body string) (int, endpointJSON) {
		res := call(t, newPortal(t, d, as(a)), "POST", "api/v1/endpoints", body, func(r *http.Request) { r.Header.Set("Idempotency-Key", "key") })
		var e endpointJSON
		_ = json.Unmarshal([]byte(text(t, res)), &e)
		return res.StatusCode, e
	}
	const body = `{"url":"https://example.com/hook","events":["b","a","a"],"headers":{}}`
	ann := Access{Tenant: "acme", Actor: "ann"}
	status, first := create(ann, body)
	if status != 201 || len(first.Secrets) != 1 || first.CreatedBy != "ann" || first.Tenant != "acme" {
		t.Fatalf("%d %+v", status, first)
	}
	if status, again := create(ann, body); status != 201 || again.ID != first.ID || again.Secrets[0] != first.Secrets[0] {
		t.Errorf("repeated: %d %+v", status, again)
	}
	if status, _ := create(ann, `{"url":"https://example.com/other"}`); status != 409 {
		t.Errorf("with other content: %d", status)
	}
	seen := map[string]bool{first.ID: true}
	for _, a := range []Access{{Tenant: "acme", Actor: "bob"}, {Tenant: "acme/legal", Actor: "ann"}, {Tenant: "other", Actor: "ann"}, {Operator: true, Actor: "ann"}, {Tenant: "acme"}} {
		status, e := create(a, body)
		if status != 201 || seen[e.ID] {
			t.Errorf("%+v: %d %s", a, status, e.ID)
		}
		seen[e.ID] = true
	}
	if status, again := create(Access{Tenant: "acme"}, body); status != 201 || len(again.Secrets) > 0 {
		t.Errorf("nobody is shown secrets again: %d %+v", status, again)
	}
	for _, content := range []string{`{"url":"https://example.com/x","tenant":"other"}`, `{"url":"https://example.com/x","allTenants":true}`, `{"url":"https://example.com/x","tenant":"acme2"}`, `{"url":"https://example.com/x","id":"mine"}`} {
		if status, e := create(ann, content); status != 422 {
			t.Errorf("%s: %d %+v", content, status, e)
		}
	}
	page, err := d.Endpoints(t.Context(), webhook.EndpointFilter{})
	if err != nil || page.Total != len(seen) {
		t.Errorf("%d endpoints, %v, want %d", page.Total, err, len(seen))
	}
}

func TestEveryChangeTellsWhoMadeIt(t *testing.T) {
	var notices observed
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{Observer: &notices, Profile: webhook.Profile{Timeout: time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Register(t.Context(), webhook.Endpoint{ID: "e1", Tenant: "acme", URL: "https://no-such-host.example/hook"}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Publish(t.Context(), webhook.Event{Type: "x", Tenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	deliveries, err := d.Deliveries(t.Context(), webhook.DeliveryFilter{})
	if err != nil {
		t.Fatal(err)
	}
	h := newPortal(t, d, as(Access{Tenant: "acme", Actor: "ann", RevealSecrets: true}))
	for _, c := range []struct{ method, path, body string }{
		{"POST", "endpoints", `{"url":"https://example.com/hook"}`},
		{"PATCH", "endpoints/e1", `{"description":"x"}`},
		{"PUT", "endpoints/e1", `{"url":"https://example.com/hook","events":["*"]}`},
		{"POST", "endpoints/e1/secret/rotate", `{"overlapSeconds":60}`},
		{"POST", "endpoints/e1/secret/regenerate", ""},
		{"POST", "endpoints/e1/secret/reveal", ""},
		{"POST", "deliveries/" + deliveries.Items[0].ID + "/resend", ""},
		{"POST", "replay", `{"endpointId":"e1","missed":true}`},
		{"POST", "endpoints/e1/disable", `{"reason":"holiday"}`},
		{"POST", "endpoints/e1/enable", ""},
		{"DELETE", "endpoints/e1", ""},
	} {
		notices = nil
		res := call(t, h, c.method, "api/v1/"+c.path, c.body)
		body := text(t, res)
		if res.StatusCode > 299 || len(notices) != 1 {
			t.Errorf("%s %s: %d %s, notices %+v", c.method, c.path, res.StatusCode, body, notices)
			continue
		}
		told, err := json.Marshal(notices[0])
		if err != nil || !strings.Contains(string(told), `"Actor":"ann"`) {
			t.Errorf("%s %s tells %s, %v", c.method, c.path, told, err)
		}
	}
}
