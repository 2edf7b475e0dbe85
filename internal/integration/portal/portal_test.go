// Package portal tests the pages of the portal in a browser and at size.
package portal

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/portal/browser"
	"github.com/outhook/webhook/internal/integration/portal/stage"
	"github.com/outhook/webhook/portal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config is that of an application with everything that pages can show.
func config() webhook.Config {
	return webhook.Config{
		Profile: webhook.Profile{Retry: webhook.Schedule(time.Hour)},
		Profiles: map[string]webhook.Profile{
			"github": {Signer: webhook.HMAC{Header: "X-Hub-Signature-256", Prefix: "sha256="}, Retry: webhook.Schedule()},
			"agreed": {Verification: webhook.ChallengeEcho{}},
		},
		Catalog: []webhook.EventType{
			{Name: "document.created", Group: "Documents", Description: "A new document is created", Example: map[string]any{"id": "doc_7", "title": "Lease"}},
			{Name: "document.signed", Group: "Documents", Description: "A recipient signs the document", Example: map[string]any{"id": "doc_7", "by": "zoë@example.com"}},
			{Name: "document.completed", Group: "Documents", Description: "All recipients have signed the document", Example: map[string]any{"id": "doc_7"}},
			{Name: "invoice.paid", Group: "Invoices", Description: "An invoice is paid", Example: map[string]any{"id": "inv_1", "amount": json.Number("1500.00")}},
		},
	}
}

// town is a tenant with webhooks in every state.
type town struct {
	*stage.Stage
	ids  map[string]string // of webhooks, by what is the matter with them
	call map[string]string // IDs of deliveries, by their state
}

func newTown(t *testing.T) *town {
	w := &town{Stage: stage.Open(t, config(), portal.Options{Name: "Papyrus"}), ids: make(map[string]string), call: make(map[string]string)}
	failing := stage.NewReceiver(t)
	failing.Always(stage.Answer{Status: http.StatusServiceUnavailable, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html><body><h1>503 Service Unavailable</h1></body></html>"})
	fine := stage.NewReceiver(t)
	add := func(name string, e webhook.Endpoint) {
		t.Helper()
		e.Tenant, e.CreatedBy = "acme", "ada"
		if e.URL == "" {
			e.URL = fine.URL
		}
		e, err := w.Register(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		w.ids[name] = e.ID
	}
	add("fine", webhook.Endpoint{Description: "Document archive", Events: []string{"document.*"}})
	add("everything", webhook.Endpoint{Events: []string{"*"}, Headers: map[string]string{"X-Team": "billing"}, RateLimit: 10, Concurrency: 2, Ordered: true, Auth: webhook.BasicAuth("user", "password")})
	add("failing", webhook.Endpoint{URL: failing.URL, Description: "CRM of the sales department, which has a long description that does not fit into one line of the list", Events: []string{"document.created", "document.signed", "document.completed", "invoice.paid"}, Profile: "github"})
	add("retrying", webhook.Endpoint{URL: failing.URL + "/a/rather/long/path/" + strings.Repeat("of-many-words/", 8), Events: []string{"invoice.*"}})
	add("disabled", webhook.Endpoint{Description: "Old ERP", Events: []string{"invoice.paid"}})
	add("unverified", webhook.Endpoint{Description: "New partner", Profile: "agreed"})
	add("quiet", webhook.Endpoint{Description: "Nothing sent yet", Events: []string{"document.created"}, Profile: "github"})
	if err := w.Disable(t.Context(), w.ids["disabled"], "moved to the new one"); err != nil {
		t.Fatal(err)
	}
	for n := range 12 {
		w.Publish(t, webhook.Event{Type: "document.signed", Tenant: "acme", Data: map[string]any{"id": fmt.Sprint("doc_", n), "title": "Lease <draft> & annex", "pages": n, "nested": map[string]any{"list": []any{1, true, nil, "text"}}}})
	}
	w.Publish(t, webhook.Event{Type: "invoice.paid", Tenant: "acme", Data: map[string]any{"id": "inv_1", "note": strings.Repeat("a long text ", 40)}})
	w.settle(t)
	if _, err := w.SendTest(t.Context(), w.ids["fine"], "document.completed"); err != nil {
		t.Fatal(err)
	}
	for state, endpoint := range map[webhook.State]string{webhook.StateDelivered: "fine", webhook.StateExhausted: "failing", webhook.StatePending: "retrying"} {
		page, err := w.Deliveries(t.Context(), webhook.DeliveryFilter{EndpointID: w.ids[endpoint], States: []webhook.State{state}, Limit: 1})
		if err != nil || len(page.Items) == 0 {
			t.Fatalf("nothing is %s at %s: %v", state, endpoint, err)
		}
		w.call[string(state)] = page.Items[0].ID
	}
	return w
}

// settle waits until every delivery has ended or waits for its next attempt.
func (w *town) settle(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		page, err := w.Deliveries(t.Context(), webhook.DeliveryFilter{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		under := 0
		for _, d := range page.Items {
			if d.State == webhook.StatePending && d.Attempts == 0 {
				under++
			}
		}
		if under == 0 {
			return
		}
		if time.Now().After(deadline) {
			// Those of a webhook that is left alone wait without an attempt.
			return
		}
	}
}

// scene is a page in a state worth looking at.
type scene struct {
	name  string
	path  string
	as    []*http.Cookie
	steps func(p *browser.Page)
}

func (w *town) scenes() []scene {
	at := func(name, rest string) string { return "endpoints/" + w.ids[name] + rest }
	ada := stage.As("acme", "ada")
	reader, operator, nobody := stage.As("acme", "bob", "readonly"), stage.As("", "root", "operator", "reveal"), stage.As("empty", "eve")
	return []scene{
		{name: "list", as: ada},
		{name: "list-menu", as: ada, steps: func(p *browser.Page) { p.Click("Actions for Document archive") }},
		{name: "list-empty", as: nobody},
		{name: "list-search", path: "?q=crm", as: ada},
		{name: "list-nothing", path: "?q=xyzzy", as: ada},
		{name: "list-readonly", as: reader},
		{name: "list-operator", as: operator},
		{name: "new", path: "endpoints/new", as: ada},
		{name: "new-wrong", path: "endpoints/new", as: ada, steps: func(p *browser.Page) {
			p.Tolerate("422")
			p.Fill("URL", "ftp://example.com/")
			p.Click("Selected events")
			p.Tick("All of Documents")
			p.Click("API key")
			p.Click("Create webhook")
			p.See("need")
		}},
		{name: "new-operator", path: "endpoints/new", as: operator},
		{name: "created", path: "endpoints/new", as: stage.As("other", "ada"), steps: func(p *browser.Page) {
			p.Fill("URL", w.URL+"/nowhere")
			p.Click("All events Including those that are added later.")
			p.Click("Create webhook")
			p.See("Your webhook is ready")
		}},
		{name: "webhook", path: at("fine", ""), as: ada},
		{name: "webhook-week", path: at("fine", "?chart=7d"), as: ada},
		{name: "webhook-table", path: at("fine", ""), as: ada, steps: func(p *browser.Page) { p.Click("Show as a table") }},
		{name: "webhook-quiet", path: at("quiet", ""), as: ada},
		{name: "webhook-failing", path: at("failing", ""), as: ada},
		{name: "webhook-retrying", path: at("retrying", ""), as: ada},
		{name: "webhook-disabled", path: at("disabled", ""), as: ada},
		{name: "webhook-unverified", path: at("unverified", ""), as: ada},
		{name: "webhook-readonly", path: at("fine", ""), as: reader},
		{name: "webhook-filtered", path: at("failing", "?state=exhausted&range=custom&from=2026-01-01T00:00&to=2036-01-01T00:00"), as: ada},
		{name: "webhook-none", path: at("fine", "?state=cancelled"), as: ada},
		{name: "signature", path: at("fine", "/verify"), as: ada},
		{name: "signature-github", path: at("failing", "/verify"), as: ada, steps: func(p *browser.Page) { p.Click("Python") }},
		{name: "signature-rotate", path: at("everything", "/verify"), as: ada, steps: func(p *browser.Page) { p.Click("Regenerate secret") }},
		{name: "signature-revealed", path: at("fine", "/verify"), as: ada, steps: func(p *browser.Page) {
			p.Click("Reveal secret")
			p.See("whsec_")
		}},
		{name: "settings", path: at("everything", "/edit"), as: ada},
		{name: "disable", path: at("fine", "/disable"), as: ada},
		{name: "disable-dialog", path: at("fine", ""), as: ada, steps: func(p *browser.Page) {
			p.Click("Disable")
			p.See("Disable this webhook?")
		}},
		{name: "delete", path: at("fine", "/delete"), as: ada},
		{name: "test", path: at("fine", "/test"), as: ada},
		{name: "test-sent", path: at("failing", "/test"), as: ada, steps: func(p *browser.Page) {
			p.In("Sample data").Click("Send test")
			p.See("Your server's answer")
		}},
		{name: "replay", path: at("failing", "/replay"), as: ada},
		{name: "replay-preview", path: at("failing", "/replay"), as: ada, steps: func(p *browser.Page) {
			p.Click("Preview")
			p.See("sent again")
		}},
		{name: "call-delivered", path: "deliveries/" + w.call["delivered"], as: ada},
		{name: "call-failed", path: "deliveries/" + w.call["exhausted"], as: ada},
		{name: "call-retrying", path: "deliveries/" + w.call["pending"], as: ada},
		{name: "missing", path: "endpoints/nothing", as: ada, steps: func(p *browser.Page) { p.Tolerate("404") }},
		{name: "refused", as: stage.As("", "eve"), steps: func(p *browser.Page) { p.Tolerate("403") }},
	}
}

// Every page, in the light and in the dark, wide and narrow, is one that axe-core
// has nothing against, that does not scroll sideways, and in which nothing goes
// wrong. Where OUTHOOK_SCREENSHOTS names a folder, pictures are written there.
func TestPagesAreAccessibleInEveryLightAndWidth(t *testing.T) {
	browser.NeedAudit(t)
	b := browser.Start(t)
	w := newTown(t)
	pictures := os.Getenv("OUTHOOK_SCREENSHOTS")
	for _, s := range w.scenes() {
		t.Run(s.name, func(t *testing.T) {
			p := b.Visit(t, w.URL, s.as...)
			p.Tolerate("status of 40") // what the steps expect
			p.Look(1280, 900, false)
			p.Open(stage.Path + s.path)
			if s.steps != nil {
				s.steps(p)
			}
			for _, look := range []struct {
				name          string
				width, height int64
				dark          bool
				rules         []string // none: all; what is dark differs in colours alone
			}{
				{"wide-light", 1280, 900, false, nil}, {"wide-dark", 1280, 900, true, []string{"color-contrast"}},
				{"narrow-dark", 390, 844, true, nil}, {"narrow-light", 390, 844, false, []string{"color-contrast"}},
			} {
				p.Look(look.width, look.height, look.dark)
				for _, violation := range p.Violations(look.rules...) {
					t.Errorf("%s: axe: %s", look.name, violation)
				}
				if over := p.Evaluate(`document.documentElement.scrollWidth - document.documentElement.clientWidth`); over != "0" {
					t.Errorf("%s: the page scrolls sideways by %s pixels", look.name, over)
				}
				if pictures != "" {
					p.Shoot(filepath.Join(pictures, s.name+"-"+look.name+".png"), 6000)
				}
			}
		})
	}
}

// A step that htmx makes and that fails is not silent: the error takes the place of
// the page, as it does without scripts.
func TestErrorsUnderHTMXAreAccessibleToo(t *testing.T) {
	browser.NeedAudit(t)
	b := browser.Start(t)
	w := newTown(t)
	p := b.Visit(t, w.URL, stage.As("acme", "ada")...)
	p.Tolerate("status of 404")
	p.Tolerate("Response Status Error Code 404") // which htmx writes
	p.Open(stage.Path + "endpoints/" + w.ids["failing"] + "/replay?preview=1&range=24h")
	p.See("would be sent again")
	if err := w.Unregister(t.Context(), w.ids["failing"]); err != nil {
		t.Fatal(err)
	}
	p.Click("Send them again")
	p.See("Nothing here")
	p.Gone("would be sent again")
	for _, violation := range p.Violations() {
		t.Errorf("axe: %s", violation)
	}
	p.Click("All webhooks")
	p.See("Document archive")
}
