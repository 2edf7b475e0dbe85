package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/outhook/webhook"
)

// customer is a server of one of the companies: an endpoint, and how it behaves.
type customer struct {
	id, tenant, by, description string
	events                      []string
	behave                      func(ctx context.Context, n int, quick bool) int // the status of its answer to request n
}

var customers = []customer{
	{"archive", "acme", "ada@acme.example", "Document archive", []string{"document.*"}, steady},
	{"crm", "acme", "ada@acme.example", "CRM (flaky)", []string{"document.signed", "document.completed", "document.declined"}, flaky},
	{"reports", "acme", "ada@acme.example", "Reports (slow)", []string{"document.completed", "invoice.*"}, slow},
	{"erp", "acme", "ada@acme.example", "Old ERP system (failing)", []string{"invoice.*"}, failing},
	{"chat", "globex", "grace@globex.example", "Chat bot", []string{"*"}, steady},
}

func steady(context.Context, int, bool) int  { return http.StatusOK }
func failing(context.Context, int, bool) int { return http.StatusInternalServerError }

func flaky(_ context.Context, n int, _ bool) int {
	if n%3 == 0 {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

func slow(ctx context.Context, n int, quick bool) int {
	wait := time.Duration(500+n%5*400) * time.Millisecond
	if quick {
		wait /= 50
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done(): // the sender has given up, or ends
	}
	return http.StatusAccepted
}

// letter is what arrived in an inbox.
type letter struct {
	At      time.Time
	Headers []string
	Body    string
}

// receivers are the servers of the customers, which in truth are elsewhere.
type receivers struct {
	d     *webhook.Dispatcher
	mu    sync.Mutex
	count map[string]int
	inbox map[string][]letter

	behind atomic.Int64 // how long ago it is, while history is made
}

// now is the time of the store, as history has it.
func (r *receivers) now() time.Time { return time.Now().Add(-time.Duration(r.behind.Load())) }

// register registers the endpoints of the customers, or gives them their present
// URLs where that was done the last time. The inboxes have none: those you add.
func (a *application) register(ctx context.Context) error {
	for _, c := range customers {
		url := a.url + "/receivers/" + c.id
		e, err := a.Endpoint(ctx, c.id)
		switch {
		case errors.Is(err, webhook.ErrNotFound):
			_, err = a.Register(ctx, webhook.Endpoint{
				ID: c.id, Tenant: c.tenant, URL: url, Description: c.description, Events: c.events, CreatedBy: c.by,
			})
		case err == nil && e.URL != url:
			e.URL = url
			_, err = a.Update(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// receive is any of the receivers.
func (r *receivers) receive(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name := request.PathValue("name")
	if tenant, ok := strings.CutPrefix(name, "inbox-of-"); ok && known(tenant) {
		r.deliver(tenant, request.Header, body)
		answer(w, http.StatusOK, map[string]any{"received": true})
		return
	}
	for _, c := range customers {
		if c.id != name {
			continue
		}
		// A customer would have copied the secret.
		secrets, err := r.d.Reveal(request.Context(), c.id)
		if err == nil {
			err = webhook.StandardWebhooks{}.Verify(request.Header, body, secrets, time.Now())
		}
		if err != nil {
			answer(w, http.StatusUnauthorized, map[string]any{"error": err.Error()})
			return
		}
		status := c.behave(request.Context(), r.next(name), r.behind.Load() > 0)
		answer(w, status, map[string]any{"status": http.StatusText(status), "server": c.description})
		return
	}
	http.NotFound(w, request)
}

func answer(w http.ResponseWriter, status int, content map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(content)
}

// next counts the requests of a receiver.
func (r *receivers) next(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = make(map[string]int)
	}
	r.count[name]++
	return r.count[name]
}

// deliver puts a request into an inbox.
func (r *receivers) deliver(tenant string, h http.Header, body []byte) {
	l := letter{At: time.Now(), Body: string(body)}
	for name, values := range h {
		if strings.HasPrefix(name, "Webhook-") {
			l.Headers = append(l.Headers, strings.ToLower(name)+": "+strings.Join(values, ", "))
		}
	}
	slices.Sort(l.Headers)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inbox == nil {
		r.inbox = make(map[string][]letter)
	}
	box := append([]letter{l}, r.inbox[tenant]...)
	r.inbox[tenant] = box[:min(len(box), 10)]
}

// letters returns the last requests to an inbox, the newest first.
func (r *receivers) letters(tenant string) []letter {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.inbox[tenant])
}
