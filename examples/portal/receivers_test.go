package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/outhook/webhook"
)

// routes is the application without its store and its deliveries.
func routes(t *testing.T) (*application, http.Handler) {
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), config())
	if err != nil {
		t.Fatal(err)
	}
	app, mux := newApplication(d), http.NewServeMux()
	app.url = "http://127.0.0.1:8090"
	if err := app.register(t.Context()); err != nil {
		t.Fatal(err)
	}
	app.routes(mux)
	return app, http.NewCrossOriginProtection().Handler(mux)
}

func post(h http.Handler, path, body string, header ...string) *http.Response {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	for n := 0; n < len(header); n += 2 {
		r.Header.Set(header[n], header[n+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// Whoever sends something to the receivers gets it into no inbox but those of the
// customers, and past no verification.
func TestReceiversTakeWhatIsTheirs(t *testing.T) {
	app, h := routes(t)
	for path, want := range map[string]int{"inbox-of-acme": 200, "inbox-of-globex": 200, "inbox-of-": 404, "inbox-of-anyone": 404, "nobody": 404, "archive": 401} {
		res := post(h, "/receivers/"+path, "{}", "X-History", "yes")
		if res.StatusCode != want {
			t.Errorf("%s is %d, want %d", path, res.StatusCode, want)
		}
		var content map[string]any
		if err := json.NewDecoder(res.Body).Decode(&content); err != nil && want != 404 {
			t.Errorf("%s does not answer with JSON: %v", path, err)
		}
	}
	if len(app.inbox) != 2 {
		t.Errorf("there are %d inboxes", len(app.inbox))
	}
}

func TestNobodyIsSignedInByALink(t *testing.T) {
	_, h := routes(t)
	form := url.Values{"tenant": {"acme"}}.Encode()
	const kind, urlencoded, site = "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site"
	for name, test := range map[string]struct {
		res  *http.Response
		want int
	}{
		"the form":     {post(h, "/sign-in", form, kind, urlencoded, site, "same-origin"), 303},
		"another site": {post(h, "/sign-in", form, kind, urlencoded, site, "cross-site"), 403},
		"a stranger":   {post(h, "/sign-in", "tenant=other", kind, urlencoded), 422},
	} {
		if got := len(test.res.Cookies()) > 0; test.res.StatusCode != test.want || got != (test.want == 303) {
			t.Errorf("%s: %d, with a cookie: %t", name, test.res.StatusCode, got)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/sign-in?tenant=acme", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("a link is %d", w.Code)
	}
}

// The calls of the day before are signed and verified like any others.
func TestHistoryIsVerified(t *testing.T) {
	if testing.Short() {
		t.Skip("a day takes some seconds")
	}
	at := start(t, options{history: true})
	r, err := http.NewRequestWithContext(t.Context(), "GET", at+"/webhooks/endpoints/archive", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(&http.Cookie{Name: session, Value: "acme"})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(page), "200 OK") || strings.Contains(string(page), "401 Unauthorized") {
		t.Errorf("%d, %v: %.3000s", res.StatusCode, err, page)
	}
}
