package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outhook/webhook/internal/integration/portal/browser"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs the application until the test ends and returns its URL.
func start(t *testing.T, o options) string {
	t.Helper()
	o.file, o.address = filepath.Join(t.TempDir(), "webhooks.db"), cmp.Or(o.address, "127.0.0.1:0")
	ctx, stop := context.WithCancel(context.Background())
	printed, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, out, o)
		_ = out.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the application: %v", err)
		}
	})
	var text []byte
	for buffer := make([]byte, 1000); ; {
		n, err := printed.Read(buffer)
		text = append(text, buffer[:n]...)
		if m := regexp.MustCompile(`Open (http://\S+)/ in a browser`).FindSubmatch(text); m != nil {
			go func() { _, _ = io.Copy(io.Discard, printed) }()
			return string(m[1])
		}
		if err != nil {
			t.Fatalf("the application printed %q: %v", text, err)
		}
	}
}

// What README.md promises to somebody who has never seen it: from nothing to a
// webhook that was delivered, inspected and resent.
func TestNewcomerDeliversInspectsAndResends(t *testing.T) {
	b := browser.Start(t)
	url := start(t, options{})
	p := b.Visit(t, url)
	p.Open("/")
	p.Click("Sign in as Ada of Acme")
	p.See("Your inbox", url+"/receivers/inbox-of-acme")
	p.Click("Webhooks of Acme")
	p.See("Papyrus", "Document archive", "CRM (flaky)", "4 webhooks")
	p.Click("Add webhook")
	p.Fill("URL", url+"/receivers/inbox-of-acme")
	p.Fill("Description", "My inbox")
	p.Click("All events Including those that are added later.")
	p.Click("Create webhook")
	p.See("Your webhook is ready")
	p.Click("Open the webhook")
	webhook := p.Address()

	p.Open("/")
	p.Click("A signer signs")
	for !p.Has("webhook-signature: v1,") { // it takes a moment
		p.Open("/")
	}
	p.See(`"type":"document.signed"`)

	p.Open(webhook)
	p.Row("document.signed").See("Delivered", "200")
	p.Row("document.signed").Click("document.signed")
	p.See("Lease agreement", "Webhook-Signature", `"received": true`)
	p.Click("Resend")
	p.See("Resent by hand", "Delivered")

	// The other company sees its own alone.
	p.Open("/")
	p.Click("Be Grace of Globex instead")
	p.Click("Webhooks of Globex")
	p.See("Chat bot", "1 webhook")
	p.Tolerate("404")
	p.Open(webhook)
	p.See("Nothing here")
}

// Whoever has not signed in is sent to do so.
func TestStrangerIsSentToTheSignIn(t *testing.T) {
	b := browser.Start(t)
	p := b.Visit(t, start(t, options{}))
	p.Open("/webhooks/endpoints/archive")
	p.See("Who are you?")
}

// With OUTHOOK_SCREENSHOTS, the pictures of README.md are made anew in docs.
func TestPicturesOfTheReadme(t *testing.T) {
	if os.Getenv("OUTHOOK_SCREENSHOTS") == "" {
		t.Skip("OUTHOOK_SCREENSHOTS is not set")
	}
	b := browser.Start(t)
	url := start(t, options{address: "127.0.0.1:8090", history: true, every: 300 * time.Millisecond})
	p := b.Visit(t, url)
	p.Look(1100, 600, false)
	p.Open("/")
	p.Click("Sign in as Ada of Acme")
	p.Click("Webhooks of Acme")
	p.See("delivered")
	p.Shoot("../../docs/portal-list.png", 600)
	p.Click("CRM (flaky)")
	p.See("Delivered")
	p.Shoot("../../docs/portal-webhook.png", 900)
}
