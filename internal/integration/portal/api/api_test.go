package api

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/portal"
)

// newDispatcher returns one on the store that reaches receivers on loopback and
// resolves nothing.
func newDispatcher(t *testing.T, store webhook.Store) *webhook.Dispatcher {
	t.Helper()
	d, err := webhook.NewDispatcher(store, webhook.Config{
		Network: webhook.Network{
			AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
			Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }},
		},
		Profile: webhook.Profile{Timeout: 5 * time.Second, Retry: webhook.Schedule(time.Hour)},
		Profiles: map[string]webhook.Profile{
			"token":  {Signer: webhook.SecretHeader{Name: "X-Token"}},
			"github": {Signer: webhook.Signers{webhook.HMAC{Header: "X-Hub-Signature-256", Prefix: "sha256="}, webhook.Svix()}},
			"asking": {Verification: webhook.AbuseProtection{Origin: "app.example"}},
		},
		Catalog: []webhook.EventType{
			{Name: "document.signed", Group: "Documents", Description: "All have signed.", Example: map[string]any{"id": "doc_1"}},
			{Name: "document.sent", Group: "Documents"},
			{Name: "invoice.paid"},
		},
		Authorizer: webhook.AuthorizerFunc(func(context.Context, *http.Client, webhook.Auth) (string, time.Time, error) {
			return "Bearer x", time.Time{}, nil
		}),
		PollInterval: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// run delivers until the test ends.
func run(t *testing.T, d *webhook.Dispatcher) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// receiver answers with its status, and to OPTIONS with consent.
type receiver struct {
	*httptest.Server
	status atomic.Int64
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := new(receiver)
	r.status.Store(200)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodOptions {
			w.Header().Set("WebHook-Allowed-Origin", "app.example")
			w.Header().Set("WebHook-Allowed-Rate", "120")
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		w.WriteHeader(int(r.status.Load()))
		_, _ = io.WriteString(w, "<script>alert(1)</script>")
	}))
	t.Cleanup(r.Close)
	return r
}

type secret struct {
	Value     string
	ExpiresAt time.Time
}

type endpoint struct {
	ID, URL, Description, Tenant, Profile, CreatedBy, DisabledReason string
	AllTenants, Disabled, Ordered                                    bool
	Events                                                           []string
	Secrets                                                          []secret
	Auth                                                             map[string]string
	TLS                                                              map[string]string
	Headers                                                          map[string]string
	RateLimit, AllowedRate                                           float64
	Concurrency                                                      int
	Rev                                                              int64
	VerifiedAt                                                       time.Time
}

type problem struct {
	Type, Detail string
	Errors       []struct{ Pointer, Parameter, Detail string }
}

func TestAnEndpointFromItsCreationToItsEnd(t *testing.T) {
	d := newDispatcher(t, webhook.NewMemoryStore())
	c := newClient(t, d, portal.Access{Tenant: "acme", Actor: "ann"})
	rec := newReceiver(t)
	var e endpoint
	created := c.want(201, "POST", "/endpoints", map[string]any{
		"url": rec.URL, "description": "Production", "events": []string{"document.*"}, "profile": "",
		"auth":    map[string]any{"scheme": "oauth2", "name": "client", "secret": "hidden-credential", "tokenUrl": rec.URL + "/token", "scope": "a b", "params": "audience=x"},
		"headers": map[string]string{"X-Region": "eu"}, "rateLimit": 2.5, "concurrency": 3, "ordered": true,
	})
	created.into(t, &e)
	if e.Tenant != "acme" || e.CreatedBy != "ann" || len(e.Secrets) != 1 || e.RateLimit != 2.5 || e.Concurrency != 3 || !e.Ordered || e.Headers["X-Region"] != "eu" ||
		e.Auth["tokenUrl"] != rec.URL+"/token" || e.Auth["scope"] != "a b" || e.Auth["params"] != "audience=x" || created.header.Get("Location") != "endpoints/"+e.ID || created.header.Get("ETag") != `"1"` {
		t.Fatalf("created %+v, %v", e, created.header)
	}
	if strings.Contains(string(created.body), "hidden-credential") {
		t.Error("a credential came back")
	}
	path := "/endpoints/" + e.ID
	got := c.want(200, "GET", path, nil)
	if strings.Contains(string(got.body), e.Secrets[0].Value) || strings.Contains(string(got.body), "hidden-credential") {
		t.Errorf("secrets are read back: %s", got.body)
	}

	// A patch changes what it names; null takes back; credentials are kept.
	var patched endpoint
	c.want(200, "PATCH", path, `{"description":"Staging","headers":{"X-Region":null,"X-Zone":"a"},"rateLimit":null}`, "Content-Type", "application/merge-patch+json", "If-Match", `"1"`).into(t, &patched)
	if patched.Description != "Staging" || patched.Headers["X-Zone"] != "a" || len(patched.Headers) != 1 || patched.RateLimit != 0 || patched.Concurrency != 3 || patched.Rev != 2 {
		t.Errorf("patched %+v", patched)
	}
	c.want(412, "PATCH", path, `{"description":"x"}`, "If-Match", `"1"`)
	c.want(412, "PATCH", path, `{"description":"x"}`, "If-Match", `W/"2"`)
	c.want(409, "PATCH", path, `{"description":"x","rev":1}`)
	c.want(412, "DELETE", path, nil, "If-Match", `"1"`)
	c.want(409, "PUT", path, map[string]any{"url": rec.URL, "events": []string{"*"}, "rev": 1})
	c.want(200, "PATCH", path, `{"auth":{"scheme":"","name":null,"tokenUrl":null,"scope":null,"params":null}}`, "If-Match", "*")
	var put endpoint
	c.want(200, "PUT", path, map[string]any{"url": rec.URL, "events": []string{"*"}, "rev": 3}, "If-Match", `"3"`).into(t, &put)
	if put.Description != "" || put.Ordered || put.Rev != 4 || put.CreatedBy != "ann" {
		t.Errorf("replaced by %+v", put)
	}

	// Its secret.
	var revealed struct{ Items []secret }
	c.want(200, "POST", path+"/secret/reveal", nil).into(t, &revealed)
	if len(revealed.Items) != 1 || revealed.Items[0] != e.Secrets[0] {
		t.Errorf("revealed %+v, want %+v", revealed, e.Secrets)
	}
	var next secret
	c.want(200, "POST", path+"/secret/rotate", `{"overlapSeconds":3600}`).into(t, &next)
	c.want(200, "POST", path+"/secret/reveal", nil).into(t, &revealed)
	if len(revealed.Items) != 2 || revealed.Items[0] != next || revealed.Items[1].Value != e.Secrets[0].Value || revealed.Items[1].ExpiresAt.IsZero() {
		t.Errorf("after a rotation: %+v", revealed)
	}
	c.want(200, "POST", path+"/secret/regenerate", nil).into(t, &next)
	c.want(200, "POST", path+"/secret/reveal", nil).into(t, &revealed)
	if len(revealed.Items) != 1 || revealed.Items[0] != next {
		t.Errorf("after a new secret: %+v", revealed)
	}

	// A test, on and off, and the end.
	var attempt struct {
		DeliveryID, Error, ResponseBody string
		StatusCode                      int
	}
	c.want(200, "POST", path+"/test", `{"eventType":"document.signed"}`).into(t, &attempt)
	if attempt.StatusCode != 200 || attempt.ResponseBody != "<script>alert(1)</script>" {
		t.Errorf("the test was %+v", attempt)
	}
	body := c.want(200, "GET", "/deliveries/"+attempt.DeliveryID+"/body", nil)
	if !strings.Contains(string(body.body), "doc_1") || body.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%q %s", body.header, body.body)
	}
	var off endpoint
	c.want(200, "POST", path+"/disable", `{"reason":"holiday"}`).into(t, &off)
	if !off.Disabled || off.DisabledReason != "holiday" {
		t.Errorf("disabled: %+v", off)
	}
	var list struct {
		Items []endpoint
		Total int
	}
	c.want(200, "GET", "/endpoints?disabled=true", nil).into(t, &list)
	if list.Total != 1 || list.Items[0].ID != e.ID {
		t.Errorf("disabled ones: %+v", list)
	}
	c.want(200, "POST", path+"/enable", nil).into(t, &off)
	if off.Disabled {
		t.Error("it is not enabled")
	}
	c.want(204, "DELETE", path, nil)
	c.want(404, "GET", path, nil)
	c.want(404, "DELETE", path, nil)
	c.want(404, "GET", "/deliveries/"+attempt.DeliveryID+"/body", nil)
	c.want(200, "GET", "/deliveries/"+attempt.DeliveryID+"/attempts", nil)
}

func TestConsentComesFirst(t *testing.T) {
	d := newDispatcher(t, webhook.NewMemoryStore())
	c := newClient(t, d, portal.Access{Tenant: "acme"})
	rec := newReceiver(t)
	var e endpoint
	c.want(201, "POST", "/endpoints", map[string]any{"url": rec.URL, "profile": "asking"}).into(t, &e)
	path := "/endpoints/" + e.ID
	c.want(409, "POST", path+"/enable", nil)
	c.want(409, "POST", path+"/test", `{"eventType":"invoice.paid"}`)
	c.want(200, "POST", path+"/verify", nil).into(t, &e)
	if e.Disabled || e.VerifiedAt.IsZero() || e.AllowedRate != 2 {
		t.Errorf("verified: %+v", e)
	}
	c.want(201, "POST", "/endpoints", map[string]any{"url": "http://127.0.0.1:1025", "profile": "asking"}).into(t, &e)
	var p problem
	c.want(409, "POST", "/endpoints/"+e.ID+"/verify", nil).into(t, &p)
	if p.Type != "urn:outhook:problem:not-verified" {
		t.Errorf("%+v", p)
	}
	c.want(201, "POST", "/endpoints", map[string]any{"url": rec.URL}).into(t, &e)
	c.want(422, "POST", "/endpoints/"+e.ID+"/verify", nil).into(t, &p)
	if p.Type != "urn:outhook:problem:not-supported" {
		t.Errorf("%+v", p)
	}
}

func TestDeliveriesAreFoundResentAndReplayed(t *testing.T) {
	d := newDispatcher(t, webhook.NewMemoryStore())
	c := newClient(t, d, portal.Access{Tenant: "acme", Actor: "ann"})
	rec := newReceiver(t)
	rec.status.Store(410) // disables it, and its delivery ends
	var e endpoint
	c.want(201, "POST", "/endpoints", map[string]any{"url": rec.URL}).into(t, &e)
	run(t, d)
	publish := func(id, eventType string) {
		t.Helper()
		if _, err := d.Publish(t.Context(), webhook.Event{ID: id, Type: eventType, Tenant: "acme", Data: map[string]any{"id": id}}); err != nil {
			t.Fatal(err)
		}
	}
	type delivery struct {
		ID, EventID, State, Origin string
		Attempts, LastStatus       int
	}
	type page struct {
		Items []delivery
		Next  string
	}
	find := func(query string) (p page) {
		t.Helper()
		c.want(200, "GET", "/deliveries?"+query, nil).into(t, &p)
		return p
	}
	wait := func(query string, n int) page {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; {
			p := find(query)
			if len(p.Items) == n {
				return p
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v, want %d", query, p, n)
			}
			<-time.After(5 * time.Millisecond)
		}
	}
	publish("failed", "document.signed")
	gone := wait("state=exhausted&endpointId="+e.ID, 1).Items[0]
	if gone.LastStatus != 410 || gone.Attempts != 1 {
		t.Errorf("the failure is %+v", gone)
	}
	publish("missed", "invoice.paid")
	c.want(409, "POST", "/deliveries/"+gone.ID+"/resend", nil)
	rec.status.Store(200)
	c.want(200, "POST", "/endpoints/"+e.ID+"/enable", nil)
	var resent delivery
	a := c.want(201, "POST", "/deliveries/"+gone.ID+"/resend", nil)
	a.into(t, &resent)
	if a.header.Get("Location") != "../"+resent.ID || resent.EventID != "failed" || resent.Origin != "resend" {
		t.Errorf("resent as %+v, %v", resent, a.header)
	}
	wait("state=delivered&eventId=failed", 1)
	var replayed struct {
		Matched, Created int
		Next             string
	}
	for _, dry := range []bool{true, false} {
		c.want(200, "POST", "/replay", map[string]any{"endpointId": e.ID, "missed": true, "dryRun": dry, "from": time.Now().Add(-time.Hour), "to": time.Now().Add(time.Hour)}).into(t, &replayed)
		if replayed.Matched != 1 || replayed.Created == 1 == dry {
			t.Errorf("dry run %v: %+v", dry, replayed)
		}
	}
	wait("state=delivered&eventType=invoice.paid", 1)
	c.want(200, "POST", "/replay", map[string]any{"endpointId": e.ID, "missed": true, "limit": 1}).into(t, &replayed)
	if replayed.Matched != 0 || replayed.Next == "" {
		t.Errorf("once more, page by page: %+v", replayed)
	}
	c.want(200, "POST", "/replay", map[string]any{"endpointId": e.ID, "missed": true, "cursor": replayed.Next})

	// Page by page along Link.
	var seen []string
	for query := "limit=1&state=delivered&state=exhausted"; query != ""; {
		a := c.want(200, "GET", "/deliveries?"+query, nil)
		var p page
		a.into(t, &p)
		for _, item := range p.Items {
			seen = append(seen, item.ID)
		}
		link, ok := strings.CutSuffix(a.header.Get("Link"), `>; rel="next"`)
		if query = strings.TrimPrefix(link, "<?"); ok != (p.Next != "") {
			t.Errorf("Link %q, next %q", a.header.Get("Link"), p.Next)
		}
	}
	if len(seen) != 3 {
		t.Errorf("pages of one: %v", seen)
	}
	if p := find("from=" + url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339))); len(p.Items) > 0 {
		t.Errorf("in an hour: %+v", p)
	}
	if p := find("state=pending&state=cancelled"); len(p.Items) > 0 {
		t.Errorf("pending and cancelled: %+v", p)
	}
	var attempts struct {
		Items []struct {
			RequestHeaders map[string][]string
			URL            string
			StatusCode     int
		}
	}
	c.want(200, "GET", "/deliveries/"+gone.ID+"/attempts", nil).into(t, &attempts)
	if len(attempts.Items) != 1 || attempts.Items[0].StatusCode != 410 || len(attempts.Items[0].RequestHeaders["Webhook-Signature"]) != 1 {
		t.Errorf("attempts %+v", attempts)
	}
	var numbers struct {
		Items []struct{ Created, Delivered, Exhausted, Pending int }
	}
	c.want(200, "GET", "/statistics?buckets=2&endpointId="+e.ID+"&endpointId=none", nil).into(t, &numbers)
	if len(numbers.Items) != 4 || numbers.Items[1].Delivered != 2 || numbers.Items[1].Exhausted != 1 || numbers.Items[1].Created != 3 || numbers.Items[3].Created != 0 {
		t.Errorf("statistics %+v", numbers)
	}
}

func TestTheCatalogueAndTheProfiles(t *testing.T) {
	d := newDispatcher(t, webhook.NewMemoryStore())
	c := newClient(t, d, portal.Access{Tenant: "acme", ReadOnly: true})
	var types struct {
		Groups []struct {
			Name       string
			EventTypes []struct {
				Name, Description string
				Example           json.RawMessage
			}
		}
	}
	c.want(200, "GET", "/event-types", nil).into(t, &types)
	if len(types.Groups) != 2 || types.Groups[0].Name != "Documents" || len(types.Groups[0].EventTypes) != 2 || string(types.Groups[0].EventTypes[0].Example) != `{"id":"doc_1"}` || string(types.Groups[1].EventTypes[0].Example) != `{"test":true}` {
		t.Errorf("%+v", types)
	}
	var profiles struct {
		Items []struct {
			Name         string
			SingleSecret bool
			Verification bool
			Signatures   []struct {
				Scheme, Prefix, Encoding string
				Headers                  []string
			}
		}
	}
	c.want(200, "GET", "/profiles", nil).into(t, &profiles)
	if len(profiles.Items) != 4 {
		t.Fatalf("%+v", profiles)
	}
	if p := profiles.Items[2]; p.Name != "github" || !p.SingleSecret || len(p.Signatures) != 2 || p.Signatures[0].Scheme != "hmac-sha256" || p.Signatures[0].Prefix != "sha256=" || p.Signatures[0].Encoding != "hex" || p.Signatures[1].Scheme != "standard-webhooks" {
		t.Errorf("%+v", p)
	}
	if p := profiles.Items[3]; p.Signatures[0].Scheme != "secret-header" || p.Signatures[0].Headers[0] != "X-Token" || p.Verification || !profiles.Items[1].Verification {
		t.Errorf("%+v", profiles)
	}
	served := c.want(200, "GET", "/openapi.json", nil)
	if text, _ := document(); string(served.body) != string(text) {
		t.Error("another document is served")
	}
}

func TestMistakesAreProblems(t *testing.T) {
	d := newDispatcher(t, webhook.NewMemoryStore())
	c := newClient(t, d, portal.Access{Tenant: "acme", Actor: "ann"})
	var e endpoint
	c.want(201, "POST", "/endpoints", `{"url":"https://example.com/hook","profile":"token"}`).into(t, &e)
	path := "/endpoints/" + e.ID
	for name, test := range map[string]struct {
		method, path string
		body         any
		headers      []string
		status       int
		where        string // pointer or parameter of the first mistake
	}{
		"no JSON":                {"POST", "/endpoints", `{"url":`, nil, 400, ""},
		"no UTF-8":               {"POST", "/endpoints", "{\"url\":\"\xff\"}", nil, 400, ""},
		"something after it":     {"POST", "/endpoints", `{} {}`, nil, 400, ""},
		"deeply nested":          {"POST", "/endpoints", strings.Repeat("[", 100_000), nil, 400, ""},
		"another type":           {"POST", "/endpoints", `url=x`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, ""},
		"text":                   {"POST", "/endpoints", `{}`, []string{"Content-Type", "text/plain"}, 415, ""},
		"no type":                {"POST", "/endpoints", `{}`, []string{"Content-Type", ""}, 415, ""},
		"another charset":        {"POST", "/endpoints", `{}`, []string{"Content-Type", "application/json; charset=utf-16"}, 415, ""},
		"encoded":                {"POST", "/endpoints", `{}`, []string{"Content-Encoding", "gzip"}, 415, ""},
		"a merge patch":          {"POST", "/endpoints", `{}`, []string{"Content-Type", "application/merge-patch+json"}, 415, ""},
		"too large":              {"POST", "/endpoints", `{"description":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 413, ""},
		"nothing":                {"POST", "/endpoints", nil, nil, 422, "/url"},
		"an array":               {"POST", "/endpoints", `[]`, nil, 422, ""},
		"a number for a URL":     {"POST", "/endpoints", `{"url":1}`, nil, 422, "/url"},
		"a name for a limit":     {"POST", "/endpoints", `{"url":"https://example.com/","concurrency":1.5}`, nil, 422, "/concurrency"},
		"a string in auth":       {"POST", "/endpoints", `{"url":"https://example.com/","auth":{"scheme":7}}`, nil, 422, "/auth/scheme"},
		"an unknown field":       {"POST", "/endpoints", `{"url":"https://example.com/","secret":"x"}`, nil, 422, "/secret"},
		"another case":           {"POST", "/endpoints", `{"URL":"https://example.com/"}`, nil, 422, "/URL"},
		"an unknown inner field": {"POST", "/endpoints", `{"url":"https://example.com/","auth":{"a/b~":1}}`, nil, 422, "/auth/a~1b~0"},
		"one of a list":          {"POST", "/endpoints", `{"url":"https://example.com/","secrets":[{"value":"x"},{"key":"x"}]}`, nil, 422, "/secrets/1/key"},
		"a time that is none":    {"POST", "/replay", `{"from":"yesterday"}`, nil, 422, ""},
		"a blocked address":      {"POST", "/endpoints", `{"url":"https://10.0.0.1/"}`, nil, 422, "/url"},
		"an unknown type":        {"POST", "/endpoints", `{"url":"https://example.com/","events":["nope"]}`, nil, 422, "/events"},
		"another's tenant":       {"POST", "/endpoints", `{"url":"https://example.com/","tenant":"other"}`, nil, 422, "/tenant"},
		"all tenants":            {"POST", "/endpoints", `{"url":"https://example.com/","allTenants":true}`, nil, 422, "/allTenants"},
		"a long key":             {"POST", "/endpoints", `{"url":"https://example.com/"}`, []string{"Idempotency-Key", strings.Repeat("x", 256)}, 422, "Idempotency-Key"},
		"another ID":             {"PUT", path, `{"id":"x","url":"https://example.com/","events":["*"]}`, nil, 422, "/id"},
		"a patch that is none":   {"PATCH", path, `"x"`, nil, 422, ""},
		"an empty patch":         {"PATCH", path, nil, nil, 400, ""},
		"no patterns":            {"PATCH", path, `{"events":[]}`, nil, 422, "/events"},
		"an overlap of one":      {"POST", path + "/secret/rotate", `{"overlapSeconds":1}`, nil, 422, "/overlapSeconds"},
		"a negative overlap":     {"POST", path + "/secret/rotate", `{"overlapSeconds":-1}`, nil, 422, "/overlapSeconds"},
		"an unusable secret":     {"POST", path + "/secret/rotate", `{"value":"a\nb"}`, nil, 422, "/value"},
		"an action's argument":   {"POST", path + "/enable", `{"now":true}`, nil, 422, "/now"},
		"a test of no type":      {"POST", path + "/test", `{}`, nil, 422, "/eventType"},
		"an unknown parameter":   {"GET", "/deliveries?status=failed", nil, nil, 422, "status"},
		"a parameter twice":      {"GET", "/deliveries?limit=1&limit=2", nil, nil, 422, "limit"},
		"an endpoint twice":      {"GET", "/deliveries?endpointId=a&endpointId=b", nil, nil, 422, "endpointId"},
		"no number":              {"GET", "/deliveries?limit=ten", nil, nil, 422, "limit"},
		"too many":               {"GET", "/deliveries?limit=1001", nil, nil, 422, "limit"},
		"no state":               {"GET", "/deliveries?state=failed", nil, nil, 422, "state"},
		"no time":                {"GET", "/deliveries?from=today", nil, nil, 422, "from"},
		"no cursor":              {"GET", "/deliveries?cursor=x", nil, nil, 422, "cursor"},
		"no flag":                {"GET", "/endpoints?disabled=1", nil, nil, 422, "disabled"},
		"no endpoint":            {"GET", "/statistics", nil, nil, 422, "endpointId"},
		"no span":                {"GET", "/statistics?endpointId=x&from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", nil, nil, 422, "from"},
		"too many parts":         {"GET", "/statistics?endpointId=x&endpointId=y&buckets=600", nil, nil, 422, "buckets"},
		"a far year":             {"GET", "/deliveries?to=9999-12-31T23:59:59-10:00", nil, nil, 422, "to"},
		"no path":                {"GET", "/nothing", nil, nil, 404, ""},
		"no delivery":            {"GET", "/deliveries/x", nil, nil, 404, ""},
		"no UUID":                {"POST", "/deliveries/%00/resend", nil, nil, 404, ""},
		"no endpoint of theirs":  {"POST", "/replay", `{"endpointId":"x"}`, nil, 404, ""},
		"no method":              {"PUT", "/endpoints", `{}`, nil, 405, ""},
		"no deletion of a log":   {"DELETE", "/deliveries/x", nil, nil, 405, ""},
	} {
		a := c.do(test.method, test.path, test.body, test.headers...)
		var p problem
		a.into(t, &p)
		where := ""
		if len(p.Errors) > 0 {
			where = p.Errors[0].Pointer + p.Errors[0].Parameter
		}
		if a.status != test.status || where != test.where || a.status == 405 && a.header.Get("Allow") == "" {
			t.Errorf("%s: %d %s at %q, want %d at %q", name, a.status, a.body, where, test.status, test.where)
		}
	}
	if after, err := d.Endpoint(t.Context(), e.ID); err != nil || after.Rev != 1 {
		t.Errorf("a mistake changed the endpoint: %+v, %v", after, err)
	}
}

// Two who patch different fields at once both succeed.
func TestPatchesAtOnceLoseNothing(t *testing.T) {
	d := newDispatcher(t, webhook.NewMemoryStore())
	var e endpoint
	newClient(t, d, portal.Access{Tenant: "acme"}).want(201, "POST", "/endpoints", `{"url":"https://example.com/hook"}`).into(t, &e)
	statuses := make(chan int)
	for _, patch := range []string{`{"description":"x"}`, `{"rateLimit":7}`, `{"headers":{"X-A":"1"}}`} {
		c := newClient(t, d, portal.Access{Tenant: "acme"})
		go func() { statuses <- c.do("PATCH", "/endpoints/"+e.ID, patch).status }()
	}
	for range 3 {
		if got := <-statuses; got != 200 {
			t.Errorf("a patch is %d", got)
		}
	}
	after, err := d.Endpoint(t.Context(), e.ID)
	if err != nil || after.Description != "x" || after.RateLimit != 7 || after.Headers["X-A"] != "1" {
		t.Errorf("%+v, %v", after, err)
	}
}
