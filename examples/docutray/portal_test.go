package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/examples/internal/check"
	"github.com/outhook/webhook/examples/internal/demo"
	"github.com/outhook/webhook/internal/integration/portal/browser"
	"github.com/outhook/webhook/internal/integration/portal/stage"
	"github.com/outhook/webhook/portal"
)

// organization is one of two that have webhooks at the same time.
type organization struct {
	*browser.Page
	name     string
	receiver *stage.Receiver
	secret   string
}

// TestOrganizationsManageWebhooksInTheBrowserAsThePageDescribes follows Docutray's
// page, step by step, in two organizations at once.
func TestOrganizationsManageWebhooksInTheBrowserAsThePageDescribes(t *testing.T) {
	b := browser.Start(t)
	config := Config()
	config.Profile.Retry = demo.Hasten(config.Profile.Retry, 100_000)
	s := stage.Open(t, config, portal.Options{Name: "Docutray"})
	one := &organization{Page: b.Visit(t, s.URL, stage.As("notaria", "ana")...), name: "notaria", receiver: stage.NewReceiver(t)}
	two := &organization{Page: b.Visit(t, s.URL, stage.As("banco", "luis")...), name: "banco", receiver: stage.NewReceiver(t)}
	for _, o := range []*organization{one, two} {
		o.create(t)
	}
	if one.secret == two.secret {
		t.Error("both have the same secret")
	}
	publish := func(o *organization, event string) {
		t.Helper()
		s.Publish(t, webhook.Event{Type: event, Tenant: o.name, Data: map[string]any{"of": o.name}})
	}
	for _, o := range []*organization{one, two} {
		publish(o, "CONVERSION_COMPLETED")
		publish(o, "STEP_FAILED")
		publish(o, "IDENTIFICATION_FAILED") // was not selected
		o.gets(t)
		o.gets(t)
	}
	stage.Finished(t, s.View)
	for _, o := range []*organization{one, two} {
		o.receiver.None(t)
		o.Open(stage.Path)
		o.Row("of "+o.name).See("Active", "CONVERSION_COMPLETED", "2 delivered")
		o.See("1 webhook")
		o.Gone("of " + map[string]string{"notaria": "banco", "banco": "notaria"}[o.name])
	}

	// Edit a webhook: options menu, Edit.
	one.menu("Edit")
	one.Tick("IDENTIFICATION_FAILED An identification has failed")
	one.Click("Save changes")
	one.See("The changes were saved")
	publish(one, "IDENTIFICATION_FAILED")
	one.gets(t)

	// Enable/Disable, in the list.
	one.menu("Disable")
	one.See("Disable this webhook?")
	one.Fill("Reason", "moving house")
	one.Click("Disable webhook")
	one.See("Disabled", "moving house")
	publish(one, "STEP_FAILED")
	publish(two, "STEP_FAILED")
	two.gets(t)
	one.menu("Enable")
	one.See("The webhook is enabled", "Active")
	publish(one, "STEP_STARTED")
	one.gets(t)

	// What was missed meanwhile can be replayed, after a look at how much it is.
	one.Open(stage.Path)
	one.Click("Conversions of notaria")
	one.Click("Replay")
	one.Click("Everything missed Also what happened while this webhook was disabled or did not exist yet.")
	one.Click("Preview")
	one.See("2 events would be sent again") // one from before it was selected
	one.receiver.None(t)
	one.Click("Send them again")
	one.See("The replay is finished", "2 events are on their way again")
	one.gets(t)
	one.gets(t)

	// Regenerate secret: "The old secret will stop working immediately."
	one.menu("Signature and secret")
	one.Click("Regenerate secret")
	one.See("the old one stops working immediately")
	one.rotate()
	old := one.secret
	one.secret = one.copied("The new secret is in use")
	if one.secret == old || one.secret == "" {
		t.Errorf("the secret is still %q", one.secret)
	}
	publish(one, "STEP_COMPLETED")
	one.gets(t)

	// "If your endpoint doesn't respond consistently, the webhook may be
	// automatically disabled": the page says so, and why.
	one.receiver.Always(stage.Answer{Status: http.StatusServiceUnavailable})
	s.Advance(-25 * time.Hour) // when it began
	fail := func() {
		t.Helper()
		publish(one, "STEP_FAILED")
		stage.Finished(t, s.View)
	}
	fail()
	one.Open(stage.Path)
	one.Click("Conversions of notaria")
	one.See("This webhook is failing")
	one.Row("503").See("Failed", "STEP_FAILED")
	s.Advance(12 * time.Hour)
	fail()
	s.Advance(13 * time.Hour)
	// Attempts have the time of the process that makes them.
	if _, err := s.DB.ExecContext(t.Context(), "UPDATE outhook_deliveries SET first_attempt = created_at WHERE state = 'exhausted'"); err != nil {
		t.Fatal(err)
	}
	publish(one, "STEP_FAILED")
	for !one.Has("This webhook is disabled") { // at its first attempt
		one.Open(one.Address())
	}
	one.See("failing without one success since")
	one.Open(stage.Path)
	one.Row("of " + one.name).See("Disabled")
	two.Open(stage.Path)
	two.Row("of " + two.name).See("Active")

	// Delete a webhook, from the menu; "This action cannot be undone."
	one.menu("Delete")
	one.See("Delete this webhook?", "cannot be undone")
	one.Click("Cancel")
	one.Gone("Delete this webhook?")
	one.menu("Delete")
	one.Click("Delete webhook")
	one.See("The webhook was deleted", "No webhooks yet")
	two.Open(stage.Path)
	two.See("1 webhook", "Conversions of banco")
	publish(two, "STEP_COMPLETED")
	two.gets(t)
}

// create follows "Create a New Webhook".
func (o *organization) create(t *testing.T) {
	t.Helper()
	o.Open(stage.Path)
	o.Click("Add webhook")
	o.Fill("URL", o.receiver.URL)
	o.Fill("Description", "Conversions of "+o.name)
	o.Click("Selected events")
	o.Tick("All of Conversion Events")
	o.Tick("All of Steps Events")
	o.Untick("STEP_FAILED A step has failed")
	o.Tick("STEP_FAILED A step has failed")
	o.Click("Create webhook")
	o.See("Your webhook is ready", "Copy the signing secret now")
	o.secret = o.copied("Your webhook is ready")
	o.Click("Open the webhook")
}

// copied copies the secret that is shown under a title.
func (o *organization) copied(title string) string {
	o.Helper()
	o.See(title)
	if title == "The new secret is in use" {
		o.In(title).Click("Copy")
	} else {
		o.Click("Copy")
	}
	secret := o.Clipboard()
	if secret == "" || !o.Has(secret) {
		o.Errorf("copied %q", secret)
	}
	return secret
}

// menu chooses from the options menu of the webhook, in the list.
func (o *organization) menu(item string) {
	o.Helper()
	o.Open(stage.Path)
	o.Click("Actions for Conversions of " + o.name)
	o.Click(item)
}

// rotate regenerates the secret in the form that was opened.
func (o *organization) rotate() {
	o.Helper()
	o.In("Leave it empty and we generate a strong one.").Click("Regenerate secret")
	o.See("The new secret is in use", "The old one has stopped working")
}

// gets waits for a request and verifies both signatures with the secret that was
// copied.
func (o *organization) gets(t *testing.T) {
	t.Helper()
	r := o.receiver.Next(t)
	h := r.Header
	if got, want := h.Get("X-Docutray-Signature"), "sha256="+check.HMAC(o.secret, string(r.Body)); got != want {
		t.Errorf("%s: signature %s, want %s", o.name, got, want)
	}
	content := h.Get("X-Docutray-Timestamp") + "." + h.Get("X-Docutray-Request-Id") + "." + h.Get("X-Docutray-Event")
	if got, want := h.Get("X-Docutray-Auth-Signature"), "sha256="+check.HMAC(o.secret, content); got != want {
		t.Errorf("%s: signature of the metadata %s, want %s", o.name, got, want)
	}
}
