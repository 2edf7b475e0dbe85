package portal

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outhook/webhook"
)

// countingStore counts what a poll must not ask for.
type countingStore struct {
	*webhook.MemoryStore
	attempts, bodies int
}

func (s *countingStore) ListAttempts(ctx context.Context, delivery string) ([]webhook.Attempt, error) {
	s.attempts++
	return s.MemoryStore.ListAttempts(ctx, delivery)
}

func (s *countingStore) GetEvent(ctx context.Context, id string) (webhook.EventRecord, error) {
	s.bodies++
	return s.MemoryStore.GetEvent(ctx, id)
}

var polled = regexp.MustCompile(`hx-get="\./([^"]*\bv=[^"]*)"`)

// poll is what htmx asks for, and how it does.
func (m *mounted) poll(a *answer, target string) *answer {
	m.t.Helper()
	found := polled.FindStringSubmatch(a.body)
	if found == nil {
		m.t.Fatalf("%s polls nothing", a.at)
	}
	at := a.at.Path[:strings.LastIndex(a.at.Path, "/")+1]
	return m.load("GET", at+strings.ReplaceAll(found[1], "&amp;", "&"), nil, http.Header{"Hx-Request": {"true"}, "Hx-Target": {target}})
}

func TestAPollThatFindsNothingNewAsksForNoAttemptsAndNoBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mount(t, acme, nil)
		counting := &countingStore{MemoryStore: m.store}
		d, err := webhook.NewDispatcher(counting, webhook.Config{Catalog: testCatalog})
		if err != nil {
			t.Fatal(err)
		}
		m.d = d
		m = again(t, m, as(acme))
		e := m.register(webhook.Endpoint{URL: "https://receiver.example/"})
		retried := failed()
		retried.State, retried.Delay = webhook.StatePending, time.Hour
		m.finish("document.signed", retried)
		page := m.get("endpoints/"+e.ID).want(t, 200, "Retrying")
		call := m.get(regexp.MustCompile(`deliveries/[0-9a-f-]{36}`).FindString(page.body)).want(t, 200, "Attempt 1")
		counting.attempts, counting.bodies = 0, 0
		m.poll(page, "calls").want(t, 204)
		m.poll(call, "call").want(t, 204)
		if counting.attempts+counting.bodies > 0 {
			t.Errorf("the polls asked for attempts %d times and for bodies %d times", counting.attempts, counting.bodies)
		}
	})
}

// "3 min ago" is not true for long, nor is that an endpoint is well.
func TestALivePageStaysTrue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mount(t, acme, nil)
		e := m.register(webhook.Endpoint{URL: "https://receiver.example/"})
		retried := failed()
		retried.State, retried.Health, retried.Delay = webhook.StatePending, webhook.HealthUnchanged, 90*time.Second
		m.finish("document.signed", retried)
		page := m.get("endpoints/"+e.ID).want(t, 200, "just now", "Active")
		call := m.get(regexp.MustCompile(`deliveries/[0-9a-f-]{36}`).FindString(page.body)).want(t, 200, "in 1 min")
		m.poll(page, "calls").want(t, 204)
		m.poll(call, "call").want(t, 204)
		time.Sleep(62 * time.Second)
		m.poll(page, "calls").want(t, 200, "1 min ago", `<span id="health" hx-swap-oob="true"><span class="pill good">Active`)
		call = m.poll(call, "call").want(t, 200, "in 28 s")
		time.Sleep(29 * time.Second)
		m.poll(call, "call").want(t, 200, "<dd>now</dd>")

		page = m.get("endpoints/" + e.ID)
		m.finish("document.signed", failed())
		m.poll(page, "calls").want(t, 200, `<span id="health" hx-swap-oob="true"><span class="pill bad">Failing`, "This webhook is failing").without(t, "<h1>")
	})
}

// A page that polls must not be given the sign-in in place of its calls.
func TestHTMXIsNotSentToTheSignIn(t *testing.T) {
	m := mount(t, acme, nil)
	e := m.register(webhook.Endpoint{URL: "https://receiver.example/"})
	for _, refusal := range []error{&Refusal{Location: "/login"}, &Refusal{}, errors.New("expired")} {
		out := again(t, m, Options{Access: func(*http.Request) (Access, error) { return Access{}, refusal }})
		a := out.load("GET", prefix+"/endpoints/"+e.ID+"?v=1", nil, http.Header{"Hx-Request": {"true"}, "Hx-Target": {"calls"}}).want(t, 401)
		if a.Header().Get("Hx-Refresh") != "true" {
			t.Errorf("%v: the page is not loaded anew: %v", refusal, a.Header())
		}
	}
}
