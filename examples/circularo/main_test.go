package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/examples/internal/check"
	"github.com/outhook/webhook/examples/internal/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "Gh1!f5dFs0dA"

func endpoint(url string) webhook.Endpoint {
	return webhook.Endpoint{URL: url, Secrets: []webhook.Secret{{Value: secret}}}
}

func TestDemonstration(t *testing.T) {
	check.Runs(t, run,
		"X-Circularo-Signature: ",
		"{\"total\":2,\"results\":[",
		"{\"status\":\"SUCCESS\"}\n",
	)
}

func TestRequestIsThePages(t *testing.T) {
	event := webhook.Event{
		Type: "documentCompleted", Time: time.Date(2023, 7, 19, 12, 30, 0, 152e6, time.UTC),
		Data: Notification{DocumentID: "e2461c31-9d65-472d-8d85-90bcefbac3f7", Actor: "john.smith@example.com"},
	}
	const body = `{"documentId":"e2461c31-9d65-472d-8d85-90bcefbac3f7","event":"documentCompleted",` +
		`"actor":"john.smith@example.com","timestamp":"2023-07-19T12:30:00.152Z"}`
	t.Run("with a secret", func(t *testing.T) {
		check.Is(t, check.Request(t, Config(), endpoint(""), event), body, map[string]string{"x-circularo-signature": check.HMAC(secret, body)})
	})
	t.Run("without", func(t *testing.T) {
		check.Is(t, check.Request(t, Config(), webhook.Endpoint{}, event), body, nil)
	})
}

func TestPolicyIsThePages(t *testing.T) { check.HTTPSOnly(t, Config()) }

func events() []webhook.Event {
	var events []webhook.Event
	for n, document := range check.Documents() {
		// The page's values are strings; these are whatever is hard to carry.
		events = append(events, webhook.Event{Type: Catalog()[n].Name, Data: Notification{DocumentID: document, Actor: "<zoë&\u2028😀@example.com>"}})
	}
	return events
}

func TestVerificationOfThePageTakesAttemptAndRetry(t *testing.T) {
	for _, path := range []string{"/raw", "/parsed"} {
		t.Run(path, func(t *testing.T) {
			receiver := node.Start(t, "circularo.js", "HMAC_SECRET="+secret)
			reports := check.Retried(t, check.Case{Config: Config(), Endpoint: endpoint(receiver.URL + path), Events: events()}, receiver)
			check.Stringifiable(t, reports)
		})
	}
}

func TestVerificationOfThePageRefusesAnotherSecret(t *testing.T) {
	receiver := node.Start(t, "circularo.js", "HMAC_SECRET=another")
	check.Refused(t, check.Case{Config: Config(), Endpoint: endpoint(receiver.URL + "/raw"), Events: events()}, 401)
}

// api calls the API without a network.
type api struct {
	*testing.T
	http.Handler
}

func newAPI(t *testing.T) api {
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), Config())
	if err != nil {
		t.Fatal(err)
	}
	return api{t, API(d, func(r *http.Request) (User, error) {
		switch token := r.URL.Query().Get("token"); token {
		case "john", "jane":
			return User{Name: token, Tenant: "sandbox", Org: "org-1"}, nil
		case "other":
			return User{Name: token, Tenant: "sandbox", Org: "org-2"}, nil
		case "admin":
			return User{Name: token, Tenant: "sandbox"}, nil
		case "stranger":
			return User{Name: token, Tenant: "sandbox2"}, nil
		}
		return User{}, errors.New("unknown token")
	})}
}

func (a api) call(method, path, token, body string, status int, result any) {
	a.Helper()
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest(method, path+"?token="+token, strings.NewReader(body)))
	if w.Code != status {
		a.Errorf("%s %s as %s: %d %s, want %d", method, path, token, w.Code, w.Body, status)
		return
	}
	if result == nil {
		return
	}
	answer, _ := io.ReadAll(w.Body)
	if err := json.Unmarshal(answer, result); err != nil {
		a.Errorf("%s %s as %s: %s: %v", method, path, token, answer, err)
	}
}

func TestScopeListingAndDeletion(t *testing.T) {
	a := newAPI(t)
	var johns, admins, for2 Webhook
	const url = "https://hooks.example.com/7d041a97"
	a.call("POST", "/webhooks", "john", `{"type":"organization","callbackUrl":"`+url+`","hmacSecret":"`+secret+`"}`, 200, &johns)
	a.call("POST", "/webhooks", "admin", `{"type":"tenant","callbackUrl":"`+url+`"}`, 200, &admins)
	a.call("POST", "/webhooks", "admin", `{"type":"organization","name":"org-2","callbackUrl":"`+url+`"}`, 200, &for2)
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", johns.CreateDate); err != nil {
		t.Error(err)
	}
	johns.CreateDate = ""
	if want := (Webhook{ID: johns.ID, Creator: "john", Type: "organization", Name: "org-1", CallbackURL: url, HMACSecret: secret}); johns != want {
		t.Errorf("created %+v, want %+v", johns, want)
	}

	for _, test := range []struct {
		token   string
		total   int
		secrets int
	}{{"john", 1, 1}, {"jane", 1, 0}, {"other", 1, 0}, {"admin", 3, 0}, {"stranger", 0, 0}} {
		var listing struct {
			Total   int
			Results []Webhook
		}
		a.call("GET", "/webhooks", test.token, "", 200, &listing)
		secrets := 0
		for _, w := range listing.Results {
			if w.HMACSecret != "" {
				secrets++
			}
		}
		if listing.Total != test.total || len(listing.Results) != test.total || secrets != test.secrets {
			t.Errorf("%s sees %+v, want %d webhooks, %d with a secret", test.token, listing, test.total, test.secrets)
		}
	}

	a.call("DELETE", "/webhooks/"+johns.ID, "other", "", 404, nil)
	a.call("DELETE", "/webhooks/"+admins.ID, "john", "", 404, nil)
	var deleted map[string]string
	a.call("DELETE", "/webhooks/"+johns.ID, "john", "", 200, &deleted)
	if deleted["status"] != "SUCCESS" {
		t.Errorf("deleted: %v", deleted)
	}
	a.call("DELETE", "/webhooks/"+johns.ID, "john", "", 404, nil)
}

func TestRefusals(t *testing.T) {
	a := newAPI(t)
	for _, test := range []struct {
		name, token, body string
		status            int
	}{
		{"unknown token", "nobody", `{}`, 401},
		{"not JSON", "john", `{`, 400},
		{"tenant scope for an organization's administrator", "john", `{"type":"tenant","callbackUrl":"https://hooks.example.com/"}`, 400},
		{"http", "john", `{"type":"organization","callbackUrl":"http://hooks.example.com/"}`, 400},
		{"no organization", "admin", `{"type":"organization","callbackUrl":"https://hooks.example.com/"}`, 400},
		{"an organization that is no name", "admin", `{"type":"organization","name":"..","callbackUrl":"https://hooks.example.com/"}`, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			api{t, a.Handler}.call("POST", "/webhooks", test.token, test.body, test.status, nil)
		})
	}
}
