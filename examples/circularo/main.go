package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/examples/internal/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// The users of the demonstration, by their token.
func users() map[string]User {
	return map[string]User{
		"org-token":    {Name: "john.doe@circularo.com", Tenant: "sandbox", Org: "494f4f2f"},
		"tenant-token": {Name: "admin@circularo.com", Tenant: "sandbox"},
	}
}

func authenticate(r *http.Request) (User, error) {
	user, ok := users()[r.URL.Query().Get("token")]
	if !ok {
		return user, fmt.Errorf("unknown token")
	}
	return user, nil
}

// run walks through the page's steps: create, receive, list, delete. The webhook
// of the organization has a secret and fails twice, that of the tenant has none
// and hears of every organization.
func run(ctx context.Context, out io.Writer) error {
	finished := make(demo.Finished, 100)
	config := Config()
	config.Network, config.Observer = demo.Loopback(), finished
	config.Profile.Retry = demo.Hasten(webhook.DefaultRetry(), 10_000)
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), config)
	if err != nil {
		return err
	}
	api := httptest.NewServer(API(d, authenticate))
	defer api.Close()
	client := client{out, api.URL}

	organization, tenant := demo.NewReceiver(2), demo.NewReceiver(0)
	defer organization.Close()
	defer tenant.Close()
	var created Webhook
	for _, step := range []struct{ token, kind, url, secret string }{
		{"org-token", "organization", organization.URL, "Gh1!f5dFs0dA"},
		{"tenant-token", "tenant", tenant.URL, ""},
	} {
		body := map[string]string{"type": step.kind, "callbackUrl": step.url, "hmacSecret": step.secret}
		if err := client.do(ctx, "POST", "/webhooks", step.token, body, &created); err != nil {
			return err
		}
	}

	if err := demo.While(ctx, d, func(ctx context.Context) error {
		n, err := demo.PublishAll(ctx, d,
			webhook.Event{Type: "documentCompleted", Tenant: "sandbox/494f4f2f", Data: Notification{"e2461c31", "john.smith@example.com"}},
			webhook.Event{Type: "documentSigned", Tenant: "sandbox/another", Data: Notification{"7d041a97", "jane@example.com"}},
		)
		if err != nil {
			return err
		}
		return finished.Wait(ctx, n)
	}); err != nil {
		return err
	}
	fmt.Fprint(out, "The signed request:\n\n")
	demo.Show(out, organization.Requests()[0])

	// The tenant's administrator sees both webhooks, but not the other's secret.
	for _, token := range []string{"org-token", "tenant-token"} {
		if err := client.do(ctx, "GET", "/webhooks", token, nil, nil); err != nil {
			return err
		}
	}
	if err := client.do(ctx, "DELETE", "/webhooks/"+created.ID, "tenant-token", nil, nil); err != nil {
		return err
	}
	return demo.Print(ctx, out, d.View)
}

// client calls the API and prints the answers.
type client struct {
	out io.Writer
	url string
}

func (c client) do(ctx context.Context, method, path, token string, body, result any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+path+"?token="+token, bytes.NewReader(text))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s /webhooks as %s: %d\n%s\n", method, token, response.StatusCode, answer)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: status %d", method, path, response.StatusCode)
	}
	return json.Unmarshal(answer, cmp.Or[any](result, new(any)))
}
