package portal

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/outhook/webhook"
)

// A form that cannot be read is the sender's mistake, wherever it is sent, and
// nothing comes of what could be read of it.
func TestMalformedFormsAreTheSendersMistake(t *testing.T) {
	m := mount(t, acme, nil)
	e := m.register(webhook.Endpoint{URL: "https://receiver.example/"})
	for _, to := range []string{"new", e.ID + "/edit", e.ID + "/verify", e.ID + "/test", e.ID + "/replay", e.ID + "/disable"} {
		for body, want := range map[string]int{"reason=a&type=document.signed&do=rotate&x=%zz": 400, "reason=" + strings.Repeat("a", maxBody): 413} {
			r := httptest.NewRequest("POST", prefix+"/endpoints/"+to, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			m.handler.ServeHTTP(w, r)
			if w.Code != want || strings.Contains(w.Body.String(), "Something went wrong") {
				t.Errorf("%s: %.20q is answered with %d, want %d", to, body, w.Code, want)
			}
		}
	}
	after, err := m.d.Endpoint(t.Context(), e.ID)
	if err != nil || after.Rev != e.Rev {
		t.Errorf("the endpoint was changed: %+v (%v)", after, err)
	}
}

// What a reader can reach with the keyboard has a name by which htmx finds it
// again in what it swaps in: otherwise each step would take the focus away.
func TestAReplayThatRunsKeepsTheFocus(t *testing.T) {
	m := mount(t, acme, nil)
	e := m.register(webhook.Endpoint{URL: "https://receiver.example/", Events: []string{"document.signed"}})
	for range replayStep + 1 {
		m.finish("document.signed", failed())
	}
	at := "endpoints/" + e.ID + "/replay"
	preview := m.get(at+"?preview=1&range=24h").want(t, 200, "101 events")
	plan := url.Values{"what": {"failed"}, "start": {preview.hidden(t, "start")}, "end": {preview.hidden(t, "end")}}
	m.post(at, plan).want(t, 200, `id="replay-continue"`, `id="replay-stop"`)
}
