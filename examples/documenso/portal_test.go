package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/portal/browser"
	"github.com/outhook/webhook/internal/integration/portal/stage"
	"github.com/outhook/webhook/portal"
)

// TestTeamSetsUpAWebhookInTheBrowserAsThePageDescribes follows Documenso's page,
// section by section, while another team looks on.
func TestTeamSetsUpAWebhookInTheBrowserAsThePageDescribes(t *testing.T) {
	b := browser.Start(t)
	s := stage.Open(t, Config(), portal.Options{
		Name: "Documenso", Accent: "#5a8f29",
		Texts: map[string]string{"list.new": "Create Webhook", "form.new.title": "Create Webhook", "form.url": "Webhook URL", "endpoint.test": "Test", "test.send": "Send", "form.secret": "Secret"},
	})
	receiver := stage.NewReceiver(t)
	p := b.Visit(t, s.URL, stage.As("team-3", "ada")...)
	other := b.Visit(t, s.URL, stage.As("team-4", "bob")...)
	other.Open(stage.Path)
	other.See("No webhooks yet")

	// Creating a Webhook Endpoint.
	p.Open(stage.Path)
	p.See("Documenso", "No webhooks yet")
	p.Click("Create Webhook")
	p.Fill("Webhook URL", receiver.URL)
	p.Click("Selected events")
	p.Tick("DOCUMENT_COMPLETED All recipients have signed the document")
	p.Tick("DOCUMENT_SIGNED A recipient signs the document")
	p.Click("Use a secret of your own")
	p.Fill("Secret", "my-webhook-secret")
	p.Click("Create webhook")
	p.See("Your webhook is ready", "my-webhook-secret")
	p.Click("Copy")
	if got := p.Clipboard(); got != "my-webhook-secret" {
		t.Errorf("copied %q", got)
	}
	p.Click("Open the webhook")
	p.See("No calls yet")
	webhookPage := p.Address()

	// "The webhook is now active and will receive events."
	publish := func(eventType string) {
		t.Helper()
		s.Publish(t, webhook.Event{Type: eventType, Tenant: "team-3", Data: example("COMPLETED")},
			webhook.Event{Type: eventType, Tenant: "team-4", Data: example("COMPLETED")})
	}
	delivered := func(want string) {
		t.Helper()
		verify(t, receiver.Next(t), want, "my-webhook-secret")
	}
	publish("DOCUMENT_COMPLETED")
	delivered("DOCUMENT_COMPLETED")
	publish("DOCUMENT_OPENED")                          // was not selected
	p.Row("DOCUMENT_COMPLETED").See("Delivered", "200") // it updates by itself
	stage.Finished(t, s.View)
	receiver.None(t)

	// Retry policy: "non-2xx response … automatically retries".
	receiver.Then(stage.Answer{Status: http.StatusInternalServerError, Body: "the database is down"})
	publish("DOCUMENT_SIGNED")
	delivered("DOCUMENT_SIGNED")
	p.Row("DOCUMENT_SIGNED").See("Retrying", "next try in")
	p.Row("DOCUMENT_SIGNED").Click("DOCUMENT_SIGNED")
	p.See("This page follows the call until it is finished", "the database is down", "Next try")
	s.Advance(time.Minute) // "Attempt 2: 1 minute"
	delivered("DOCUMENT_SIGNED")
	p.See("Delivered", "Attempt 2")

	// Viewing webhook logs: "Click any call to see full details including headers
	// and response data."
	p.See("X-Documenso-Secret", "[redacted]", "Lease agreement.pdf", "signer@example.com", `"received": true`, "500")
	p.Gone("my-webhook-secret")
	call := p.Address()

	// Resending.
	p.Click("Resend")
	p.See("on its way again", "Resent by hand")
	delivered("DOCUMENT_SIGNED")
	p.See("Delivered")

	// Testing Webhooks: "Click the Test button", "Select an event type", "Click
	// Send", "view the response".
	p.Open(webhookPage)
	p.Click("Test")
	p.Choose("Event", "DOCUMENT_REJECTED")
	receiver.Then(stage.Answer{Status: http.StatusTeapot, Body: "short and stout"})
	p.Click("Send")
	delivered("DOCUMENT_REJECTED")
	p.See("Your server's answer", "418", "short and stout")
	p.Click("Open this call")
	p.See("DOCUMENT_REJECTED", "Test", "REJECTED", "short and stout")

	// Editing the selection, then all of it.
	p.Open(webhookPage)
	p.Click("Settings")
	p.Fill("Description", "Signed documents")
	p.Click("All events Including those that are added later.")
	p.Click("Save changes")
	p.See("The changes were saved", "Signed documents")
	publish("DOCUMENT_OPENED")
	delivered("DOCUMENT_OPENED")

	// The other team has seen none of it, wherever it looks.
	other.Open(stage.Path)
	other.See("No webhooks yet")
	other.Tolerate("404")
	for _, address := range []string{webhookPage, call, webhookPage + "/edit", webhookPage + "/verify", webhookPage + "/test", webhookPage + "/replay", webhookPage + "/delete", webhookPage + "/disable"} {
		other.Open(address)
		other.See("Nothing here")
		other.Gone("Signed documents", receiver.URL, "DOCUMENT_SIGNED")
	}

	// Deleting.
	p.Open(webhookPage)
	p.Click("Settings")
	p.Click("Delete")
	p.See("Delete this webhook?")
	p.Click("Delete webhook")
	p.See("The webhook was deleted", "No webhooks yet")
	publish("DOCUMENT_SIGNED")
	stage.Finished(t, s.View)
	receiver.None(t)
}

// verify checks a request as a receiver of Documenso's does.
func verify(t *testing.T, r stage.Request, event, secret string) {
	t.Helper()
	if err := (webhook.SecretHeader{Name: "X-Documenso-Secret"}).Verify(r.Header, []webhook.Secret{{Value: secret}}); err != nil {
		t.Error(err)
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(r.Body, &body); err != nil || string(body["event"]) != `"`+event+`"` {
		t.Errorf("got %s, want %s (%v)", r.Body, event, err)
	}
	if names := slices.Sorted(maps.Keys(body)); !slices.Equal(names, []string{"createdAt", "event", "payload"}) {
		t.Errorf("the body has %v", names)
	}
}

// "HTTPS required (HTTP not allowed in production)", and nothing that is not
// public: the form says so beside the field, and keeps what was typed.
func TestFormSaysWhyAURLIsRefused(t *testing.T) {
	b := browser.Start(t)
	s := stage.Open(t, Config(), portal.Options{})
	p := b.Visit(t, s.URL, stage.As("team-3", "ada")...)
	p.Tolerate("422")
	for _, address := range []string{"not a URL", "ftp://example.com/", "http://10.0.0.1/", "http://user:password@127.0.0.1/"} {
		p.Open(stage.Path + "endpoints/new")
		p.Fill("URL", address)
		p.Fill("Description", "my <server> & co")
		p.Click("Selected events")
		p.Tick("DOCUMENT_SENT A document is sent to recipients")
		p.Click("Create webhook")
		p.See("One thing needs your attention")
		if got := p.Value("Description"); got != "my <server> & co" {
			t.Errorf("%s: the description became %q", address, got)
		}
		if p.Value("DOCUMENT_SENT A document is sent to recipients") != "true" {
			t.Errorf("%s: the selection is lost", address)
		}
		if got := p.Value("URL"); got != address {
			t.Errorf("%s: the URL became %q", address, got)
		}
	}
	page, err := s.Endpoints(t.Context(), webhook.EndpointFilter{})
	if err != nil || page.Total != 0 {
		t.Errorf("%d endpoints, %v", page.Total, err)
	}
	if u, err := url.Parse(p.Address()); err != nil || strings.Contains(u.RawQuery, "password") {
		t.Errorf("the address is %v", u)
	}
}
