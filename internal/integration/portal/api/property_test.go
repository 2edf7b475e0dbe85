package api

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/pg"
	"github.com/outhook/webhook/portal"
	"github.com/outhook/webhook/sqlstore"
)

// operation is one of the document's.
type operation struct {
	method, path string
	parameters   []string // of its query
	types        []string // of its body
	example      any
}

// operations reads the document.
func operations(t *testing.T) (all []operation) {
	t.Helper()
	type parameter struct {
		Ref  string `json:"$ref"`
		Name string `json:"name"`
		In   string `json:"in"`
	}
	var d struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct{ Parameters map[string]parameter }
	}
	text, _ := document()
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
			if method == "parameters" {
				continue
			}
			var o struct {
				Parameters  []parameter
				RequestBody struct {
					Content map[string]struct{ Example any }
				}
			}
			if err := json.Unmarshal(d.Paths[path][method], &o); err != nil {
				t.Fatal(err)
			}
			op := operation{method: strings.ToUpper(method), path: path}
			for _, p := range o.Parameters {
				if p.Ref != "" {
					p = d.Components.Parameters[strings.TrimPrefix(p.Ref, "#/components/parameters/")]
				}
				if p.In == "query" {
					op.parameters = append(op.parameters, p.Name)
				}
			}
			for _, kind := range slices.Sorted(maps.Keys(o.RequestBody.Content)) {
				op.types, op.example = append(op.types, kind), o.RequestBody.Content[kind].Example
			}
			all = append(all, op)
		}
	}
	return all
}

// stores are those that the run is made on.
func stores() map[string]func(t *testing.T) webhook.Store {
	open := func(t *testing.T, driver, dsn string, dialect sqlstore.Dialect) webhook.Store {
		db, err := sql.Open(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		s := sqlstore.New(db, dialect)
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s
	}
	return map[string]func(t *testing.T) webhook.Store{
		"memory": func(*testing.T) webhook.Store { return webhook.NewMemoryStore() },
		"SQLite": func(t *testing.T) webhook.Store {
			return open(t, "sqlite", sqlstore.SQLiteDSN(filepath.Join(t.TempDir(), "webhooks.db")), sqlstore.SQLite)
		},
		"PostgreSQL": func(t *testing.T) webhook.Store {
			return open(t, "pgx", pg.ForTest(t).Database(t), sqlstore.PostgreSQL)
		},
	}
}

// world is two tenants: the one that asks, and one whose things bear a mark.
type world struct {
	*rand.Rand
	ids  []string            // of endpoints, deliveries and events of both, and what is none
	more []any               // values for fields
	url  string              // of a receiver
	own  map[string][]string // IDs of the caller's, by the first part of the path
}

const mark = "STRANGER"

// settled are the things of the stranger as they must stay.
func settled(t *testing.T, d *webhook.Dispatcher) (state []string) {
	t.Helper()
	v := d.Tenant("stranger")
	endpoints, err := v.Endpoints(t.Context(), webhook.EndpointFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints.Items {
		secrets, err := v.Reveal(t.Context(), e.ID)
		if err != nil {
			t.Fatal(err)
		}
		state = append(state, fmt.Sprintf("%+v %s", e, secrets[0].Value))
	}
	deliveries, err := v.Deliveries(t.Context(), webhook.DeliveryFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, delivery := range deliveries.Items {
		attempts, err := v.Attempts(t.Context(), delivery.ID)
		if err != nil {
			t.Fatal(err)
		}
		state = append(state, fmt.Sprintf("%+v %d", delivery, len(attempts)))
	}
	return state
}

func newWorld(t *testing.T, d *webhook.Dispatcher, seed uint64) *world {
	t.Helper()
	w := &world{Rand: rand.New(rand.NewPCG(seed, 6)), url: newReceiver(t).URL}
	w.own = make(map[string][]string)
	for _, of := range [][2]string{{"acme", "mine"}, {"stranger", mark}} {
		tenant, name := of[0], of[1]
		e, err := d.Tenant(tenant).Register(t.Context(), webhook.Endpoint{
			URL: w.url + "/" + name, Description: name, Headers: map[string]string{"X-Name": name}, CreatedBy: name + "@example.com",
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Publish(t.Context(), webhook.Event{ID: "event-" + name, Type: "document.signed", Tenant: tenant, Data: map[string]any{"name": name}}); err != nil {
			t.Fatal(err)
		}
		page, err := d.Tenant(tenant).Deliveries(t.Context(), webhook.DeliveryFilter{})
		if err != nil || len(page.Items) != 1 {
			t.Fatal(page, err)
		}
		w.ids = append(w.ids, e.ID, page.Items[0].ID, page.Items[0].EventID)
		if tenant == "acme" {
			w.own["/endpoints"], w.own["/deliveries"] = []string{e.ID}, []string{page.Items[0].ID}
		}
	}
	w.ids = append(w.ids, w.ids...)
	w.ids = append(w.ids, "x", "*", "..%2f", "00000000-0000-0000-0000-000000000000", "\x00", "\xff\xfe", "é", "a/b", strings.Repeat("i", 3000), "' OR 1=1 --", "%", " ", "\r\nX: y")
	for _, id := range w.ids {
		w.more = append(w.more, id)
	}
	w.more = append(w.more, nil, true, false, 0, -1, 1, 1000, 1<<31, 1e308, -0.5, json.Number("1e999"), json.Number("123456789012345678901234567890"), "", "*", "document.*", "document.signed", "stranger", "acme", "acme/legal",
		"token", "github", "asking", w.url, "https://[::1]/", "2026-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "basic", "bearer", "oauth2", "whsec_AAAA", "\x00", "\u2028</script>", "\U0001F4A9",
		strings.Repeat("long ", 5000), []any{}, map[string]any{}, []any{"*"}, []any{nil, 1, "x"}, map[string]any{"a": map[string]any{"b": []any{1}}}, []any{map[string]any{"value": "x"}}, map[string]any{"X-Name": "y"}, map[string]any{"scheme": "apikey", "name": "X-Key", "secret": "k"})
	return w
}

func pick[T any](w *world, from []T) T { return from[w.IntN(len(from))] }

var fields = []string{
	"id", "url", "description", "tenant", "allTenants", "events", "profile", "secrets", "auth", "tls", "headers", "rateLimit", "concurrency", "ordered", "rev", "reason", "eventType", "overlapSeconds", "value",
	"endpointId", "from", "to", "missed", "dryRun", "cursor", "limit", "unknown", "", "__proto__", "a.b/c~d",
}

// query makes up parameters, of those that there are and others.
func (w *world) query(o operation, cursors []string) string {
	values := url.Values{}
	for _, name := range append(slices.Clone(o.parameters), "unknown") {
		for w.IntN(3) == 0 && (name != "unknown" || w.IntN(10) == 0) {
			value := fmt.Sprint(pick(w, w.more))
			switch {
			case w.IntN(3) == 0 && len(cursors) > 0 && name == "cursor":
				value = pick(w, cursors)
			case w.IntN(2) == 0 && name == "state":
				value = pick(w, []string{"pending", "delivered", "exhausted", "failed"})
			case w.IntN(2) == 0 && (name == "endpointId" || name == "eventId"):
				value = pick(w, w.ids)
			}
			values.Add(name, value)
		}
	}
	text := values.Encode()
	if w.IntN(30) == 0 {
		text += pick(w, []string{"&%zz", ";x=1", "&limit=%00", "&=&", "?"})
	}
	return text
}

// body makes up a body: mostly the example of the document, changed.
func (w *world) body(o operation) []byte {
	switch w.IntN(12) {
	case 0:
		return nil
	case 1:
		return []byte(pick(w, []string{"{", "[]", "null", `"x"`, "1", "{}{}", `{"a":`, "\xff", "\ufeff{}", `{"url":"\ud800"}`, strings.Repeat("[", 20_000), `{"url":` + strings.Repeat(" ", 1<<20) + `1}`, `{"url":"a","url":"b"}`}))
	}
	changed := map[string]any{}
	if example, ok := o.example.(map[string]any); ok {
		maps.Copy(changed, example)
		for name := range changed {
			if w.IntN(8) == 0 {
				delete(changed, name)
			}
		}
		if _, ok := changed["url"]; ok {
			changed["url"] = w.url
		}
		if _, ok := changed["endpointId"]; ok {
			changed["endpointId"] = pick(w, w.ids)
		}
	}
	for range w.IntN(4) {
		changed[pick(w, fields)] = pick(w, w.more)
	}
	text, err := json.Marshal(changed)
	if err != nil {
		return []byte("{}") // a number that JSON does not have
	}
	return text
}

// Whatever is sent to whatever operation: nothing fails here, nothing of another
// tenant's is read or changed, and every answer is one that the document has.
func TestNoRequestFailsHereOrReachesAnotherTenant(t *testing.T) {
	const rounds = 60 // of each operation
	ops := operations(t)
	if len(ops) < 20 {
		t.Fatalf("%d operations", len(ops))
	}
	for name, open := range stores() {
		t.Run(name, func(t *testing.T) {
			d := newDispatcher(t, open(t))
			w := newWorld(t, d, 20261129)
			before := settled(t, d)
			c := newClient(t, d, portal.Access{Tenant: "acme", Actor: "ann", RevealSecrets: true})
			c.lenient = true
			var cursors []string
			statuses := make(map[int]int)
			succeeded := make(map[string]bool)
			for n := range rounds * len(ops) {
				o := ops[n%len(ops)]
				if o.method == "DELETE" && w.IntN(4) > 0 {
					continue // something should be left to be asked for
				}
				id, kind := pick(w, w.ids), "/"+strings.Split(o.path, "/")[1]
				if w.IntN(2) == 0 && o.method != "DELETE" && len(w.own[kind]) > 0 {
					id = pick(w, w.own[kind])
				}
				path := strings.ReplaceAll(o.path, "{id}", url.PathEscape(id))
				if query := w.query(o, cursors); query != "" {
					path += "?" + query
				}
				var body []byte
				headers := []string{"If-Match", pick(w, []string{"", "", "", "*", `"1"`, "x", `W/"1"`})}
				if len(o.types) > 0 {
					body = w.body(o)
					headers = append(headers, "Content-Type", pick(w, append(slices.Repeat(o.types, 8), "", "text/plain", "application/json; charset=utf-8", "application/json; charset=latin1", ";;")))
				}
				if w.IntN(20) == 0 {
					headers = append(headers, "Content-Encoding", "gzip")
				}
				if o.path == "/endpoints" && o.method == "POST" && w.IntN(3) == 0 {
					headers = append(headers, "Idempotency-Key", pick(w, []string{"1", "2", "\xff", strings.Repeat("k", 300)}))
				}
				a := c.do(o.method, path, body, headers...)
				statuses[a.status]++
				if a.status < 300 {
					succeeded[o.method+" "+o.path] = true
				}
				if a.status >= 500 {
					t.Errorf("%s %s %q %.300q: %d %s", o.method, path, headers, body, a.status, a.body)
				}
				// What the caller sent may come back in an error.
				if sent := path + string(body); bytes.Contains(a.body, []byte(mark)) && !strings.Contains(sent, mark) {
					t.Errorf("%s %s: %.500s", o.method, path, a.body)
				}
				var next struct {
					ID, Next string
				}
				if json.Unmarshal(a.body, &next) == nil {
					if next.Next != "" {
						cursors = append(cursors, next.Next)
					}
					if a.status == http.StatusCreated && len(w.own[kind]) < 4 {
						w.own[kind] = append(w.own[kind], next.ID)
					}
				}
			}
			if own := w.own["/endpoints"]; len(own) > 1 {
				c.do("DELETE", "/endpoints/"+own[len(own)-1], nil) // which the run does seldom
				succeeded["DELETE /endpoints/{id}"] = true
			}
			if after := settled(t, d); !slices.Equal(after, before) {
				t.Errorf("the stranger had\n%s\nand has\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			// A run in which everything is refused tells little.
			for _, o := range ops {
				if !succeeded[o.method+" "+o.path] && !strings.HasSuffix(o.path, "/verify") && !strings.HasSuffix(o.path, "/resend") { // which depend on what came before
					t.Errorf("%s %s never succeeded", o.method, o.path)
				}
			}
			if statuses[http.StatusNotFound] == 0 || statuses[http.StatusUnprocessableEntity] == 0 || statuses[http.StatusBadRequest] == 0 || statuses[http.StatusUnsupportedMediaType] == 0 {
				t.Errorf("statuses %v", statuses)
			}
			t.Log(statuses)
		})
	}
}
