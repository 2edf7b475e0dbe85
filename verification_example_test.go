package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/outhook/webhook"
)

// The handshake of CloudEvents: nothing is sent to a receiver that has not agreed
// to it, and no more than it has agreed to.
func ExampleView_Verify() {
	ctx := context.Background()
	agrees := false
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions && agrees {
			w.Header().Set("WebHook-Allowed-Origin", r.Header.Get("WebHook-Request-Origin"))
			w.Header().Set("WebHook-Allowed-Rate", "120")
		}
	}))
	defer receiver.Close()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network: loopback,
		Profile: webhook.Profile{Verification: webhook.AbuseProtection{Origin: "webhooks.product.example"}},
	}))
	e := must(d.Register(ctx, webhook.Endpoint{ID: "orders", URL: receiver.URL}))
	fmt.Println(e.Disabled, e.DisabledReason)

	err := d.Verify(ctx, e.ID)
	fmt.Println(err)
	fmt.Println(errors.Is(err, webhook.ErrNotVerified))

	agrees = true
	fmt.Println(d.Verify(ctx, e.ID))
	e = must(d.Endpoint(ctx, e.ID))
	fmt.Println(e.Disabled, e.AllowedRate, "requests per second")
	// Output:
	// true not verified yet
	// verify endpoint "orders": not verified: the answer has no header WebHook-Allowed-Origin
	// true
	// <nil>
	// false 2 requests per second
}

// A receiver shows that it expects the webhooks by sending the challenge back.
func ExampleChallengeEcho() {
	ctx := context.Background()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct{ Type, Challenge string }
		if json.NewDecoder(r.Body).Decode(&m) == nil && m.Type == "endpoint.verification" {
			_, _ = io.WriteString(w, m.Challenge)
		}
	}))
	defer receiver.Close()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network: loopback,
		Profile: webhook.Profile{Verification: webhook.ChallengeEcho{}},
	}))
	e := must(d.Register(ctx, webhook.Endpoint{URL: receiver.URL}))
	fmt.Println(d.Verify(ctx, e.ID))
	fmt.Println(must(d.SendTest(ctx, e.ID, "ping")).StatusCode)
	// Output:
	// <nil>
	// 200
}

// A receiver that wants the tokens of its own authorization server. Module
// github.com/outhook/webhook/oauth2 has the Authorizer.
func ExampleOAuth2() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network: loopback,
		Authorizer: webhook.AuthorizerFunc(func(ctx context.Context, client *http.Client, a webhook.Auth) (string, time.Time, error) {
			// A real one asks a.TokenURL, with client, and returns when the token expires.
			return "Bearer a-token-of-" + a.Name, time.Now().Add(time.Hour), nil
		}),
	}))
	c := newCustomer(func(h http.Header, _ string) string { return h.Get("Authorization") })
	defer c.Close()
	e := must(d.Register(ctx, webhook.Endpoint{
		URL:  c.URL,
		Auth: webhook.OAuth2("https://login.customer.example/token", "acme", "s3cr3t", "hooks:write"),
	}))

	attempt := must(d.SendTest(ctx, e.ID, "ping"))
	fmt.Println(<-c.received)
	fmt.Println("in the log:", attempt.RequestHeaders.Get("Authorization"))
	// Output:
	// Bearer a-token-of-acme
	// in the log: [redacted]
}
