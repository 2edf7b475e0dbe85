package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// What the documentation of Event and Endpoint says, in another notation.
var (
	typeForm    = regexp.MustCompile(`\A[A-Za-z0-9_:/-]+(\.[A-Za-z0-9_:/-]+){0,7}\z`)
	patternForm = regexp.MustCompile(`\A([A-Za-z0-9_:/-]+\.){1,7}\*\z`)
	tenantForm  = regexp.MustCompile(`\A[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*\z`)
	idForm      = regexp.MustCompile(`\A[!-\-/-~]{1,128}\z`)
)

// FuzzNames holds the checks of what names an event against regular expressions.
func FuzzNames(f *testing.F) {
	for _, s := range []string{
		"", "a", "a.b", "DOCUMENT_COMPLETED", "a.*", "*", ".*", "a*", "*.a", "a..b", ".", "..", "a/../b", "acme/legal", "/", "a/", "a//b", "acme%", "a\x00",
		"1.2.3.4.5.6.7.8", "1.2.3.4.5.6.7.8.9", "1.2.3.4.5.6.7.*", "1.2.3.4.5.6.7.8.*", "é", "a\n", "\xff", "a b", "acme\u2215legal",
		strings.Repeat("a", 126) + ".*", strings.Repeat("a", 127) + ".*", strings.Repeat("a", 128), strings.Repeat("a", 129), strings.Repeat("a/", 128) + "a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		climbs := slices.ContainsFunc(strings.Split(s, "/"), func(segment string) bool { return segment == "." || segment == ".." })
		for _, c := range []struct {
			name  string
			check func(string) error
			want  bool
		}{
			{"type", checkType, len(s) <= 128 && typeForm.MatchString(s)},
			{"pattern", checkPattern, len(s) <= 128 && (s == "*" || typeForm.MatchString(s) || patternForm.MatchString(s))},
			{"tenant", checkTenant, s == "" || len(s) <= 256 && tenantForm.MatchString(s) && !climbs},
			{"ID", checkID, idForm.MatchString(s)},
			{"key", func(s string) error { return checkKey("Key", s) }, len(s) <= 256 && utf8.ValidString(s) && !strings.Contains(s, "\x00")},
		} {
			err := c.check(s)
			if (err == nil) != c.want {
				t.Errorf("%s %q: %v, want it accepted: %t", c.name, s, err, c.want)
			}
			if err != nil && (!errors.Is(err, ErrInvalid) || len(err.Error()) > 500 || !utf8.ValidString(err.Error())) {
				t.Errorf("%s %q: %v", c.name, s, err)
			}
		}
	})
}

// matchSlowly is what Endpoint.Events says of a pattern, segment by segment.
func matchSlowly(pattern, eventType string) bool {
	want, have := strings.Split(pattern, "."), strings.Split(eventType, ".")
	if want[len(want)-1] != "*" {
		return slices.Equal(want, have)
	}
	want = want[:len(want)-1]
	return len(have) > len(want) && slices.Equal(have[:len(want)], want)
}

// withinSlowly is what Scope says of tenants, segment by segment.
func withinSlowly(scope, tenant string) bool {
	if scope == "" || tenant == "" {
		return scope == tenant
	}
	outer, inner := strings.Split(scope, "/"), strings.Split(tenant, "/")
	return len(inner) >= len(outer) && slices.Equal(inner[:len(outer)], outer)
}

func FuzzPatterns(f *testing.F) {
	f.Add("a.*", "a.b.c")
	f.Add("a.*", "ab.c")
	f.Add("*", "DOCUMENT_COMPLETED")
	f.Add("1.2.3.4.5.6.7.*", "1.2.3.4.5.6.7.8")
	f.Add("a.b.*", "a.b")
	f.Add("*.b", "a.b")
	f.Fuzz(func(t *testing.T, pattern, eventType string) {
		if checkType(eventType) != nil {
			return
		}
		all := patternsOf(eventType)
		if len(all) > maxSegments+1 || all[0] != eventType || all[len(all)-1] != "*" {
			t.Errorf("%q has the patterns %q", eventType, all)
		}
		for i, p := range all {
			if err := checkPattern(p); err != nil || !matchSlowly(p, eventType) || slices.Contains(all[:i], p) {
				t.Errorf("pattern %q of %q: %v; it matches: %t", p, eventType, err, matchSlowly(p, eventType))
			}
		}
		if checkPattern(pattern) != nil {
			if matches([]string{pattern}, eventType) {
				t.Errorf("%q is no pattern and yet matches %q", pattern, eventType)
			}
			return
		}
		if got, want := matches([]string{pattern}, eventType), matchSlowly(pattern, eventType); got != want {
			t.Errorf("matches(%q, %q) = %t, want %t", pattern, eventType, got, want)
		}
	})
}

// FuzzTenants holds both ends of what a tenant receives and sees against the
// oracle: downwards (Scope.Contains) and upwards (the fan-out's tenantsOf).
func FuzzTenants(f *testing.F) {
	f.Add("acme", "acme/legal")
	f.Add("acme", "acme2")
	f.Add("acme", "acme_x/y")
	f.Add("acme/legal", "acme")
	f.Add("", "acme")
	f.Add("a/b", "a/b/c")
	f.Add("*", "a")
	f.Fuzz(func(t *testing.T, scope, tenant string) {
		if checkTenant(tenant) != nil {
			return
		}
		for _, up := range tenantsOf(tenant) {
			if err := checkTenant(up); err != nil {
				t.Errorf("tenant %q of %q: %v", up, tenant, err)
			}
		}
		// The endpoint of all tenants is the operator's.
		if (Scope{Tenant: tenant}).Contains(allTenants) || !(Scope{All: true}).Contains(tenant) {
			t.Errorf("%q contains the operator's endpoints, or the operator not %q", tenant, tenant)
		}
		if checkTenant(scope) != nil {
			return
		}
		want := withinSlowly(scope, tenant)
		if got := (Scope{Tenant: scope}).Contains(tenant); got != want {
			t.Errorf("%q contains %q: %t, want %t", scope, tenant, got, want)
		}
		if got := slices.Contains(tenantsOf(tenant), scope); got != want {
			t.Errorf("tenantsOf(%q) contains %q: %t, want %t", tenant, scope, got, want)
		}
	})
}

// FuzzFanOut publishes into the MemoryStore: who receives an event is what the
// slow matchers say.
func FuzzFanOut(f *testing.F) {
	f.Add("a.*", "acme", "a.b", "acme/legal", false)
	f.Add("a.b", "acme", "a.b", "acme2", false)
	f.Add("*", "", "a", "acme", false)
	f.Add("a.*", "", "a.b.c", "acme", true)
	f.Fuzz(func(t *testing.T, pattern, tenant, eventType, eventTenant string, all bool) {
		if all {
			tenant = ""
		}
		d := newDispatcher(t, NewMemoryStore(), Config{})
		_, err := d.Register(t.Context(), Endpoint{URL: "https://receiver.example/", Events: []string{pattern}, Tenant: tenant, AllTenants: all})
		if (err == nil) != (checkPattern(pattern) == nil && checkTenant(tenant) == nil) {
			t.Fatalf("Register: %v", err)
		}
		if err != nil {
			return
		}
		receipt, err := d.Publish(t.Context(), Event{Type: eventType, Tenant: eventTenant})
		if (err == nil) != (checkType(eventType) == nil && checkTenant(eventTenant) == nil) {
			t.Fatalf("Publish: %v", err)
		}
		if err != nil {
			return
		}
		want := 0
		if matchSlowly(pattern, eventType) && (all || withinSlowly(tenant, eventTenant)) {
			want = 1
		}
		if receipt.Deliveries != want {
			t.Errorf("an endpoint of %q (all: %t) for %q received %d of %q in %q, want %d", tenant, all, pattern, receipt.Deliveries, eventType, eventTenant, want)
		}
	})
}

// FuzzRawMessage: a json.RawMessage is accepted if encoding/json deems it valid,
// then it is kept byte for byte, and arrives so within every envelope.
func FuzzRawMessage(f *testing.F) {
	for _, text := range []string{
		"", "null", " {\"a\" : 1.0, \"a\": \"\\u003c\"}\n", "{}", "[1,]", "{\"a\":}", "\"\xff\"", "\"\\ud800\"", "1e400", "-0", "\ufeff1", "1 2", "1}", "1,\"type\":\"x\"", "\"\x00\"", "tru",
		strings.Repeat("[", 300) + strings.Repeat("]", 300),
	} {
		f.Add([]byte(text))
	}
	envelopes := map[string]Envelope{"StandardEnvelope": StandardEnvelope, "DataEnvelope": DataEnvelope, "CloudEvents": CloudEvents("/s")}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := bytes.Clone(text)
		p, err := newPublication(Event{ID: "m", Type: "a", Data: json.RawMessage(text)})
		if (err == nil) != json.Valid(text) {
			t.Fatalf("%q: %v, valid: %t", text, err, json.Valid(text))
		}
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(p.Event.Data, before) || !bytes.Equal(text, before) {
			t.Fatalf("%q is kept as %q, and became %q", before, p.Event.Data, text)
		}
		for name, envelope := range envelopes {
			body, err := envelope(p.Event.event())
			if err != nil || !json.Valid(body) {
				t.Fatalf("%s of %q: %q, %v", name, text, body, err)
			}
			want := append([]byte(`"data":`), append(before, '}')...)
			if name == "DataEnvelope" {
				want = before
			}
			if !bytes.HasSuffix(body, want) {
				t.Fatalf("%s of %q: %q", name, text, body)
			}
		}
	})
}

// FuzzEnvelopes: whatever an event holds, an envelope says that and no more.
func FuzzEnvelopes(f *testing.F) {
	f.Add("m", "a.b", "https://app.example/", int64(1614265330), int64(999), `{"a":1}`)
	f.Add(`","x":"`, "a\"\\\x00\u2028<", "urn:é%20", int64(-62135596800), int64(0), "null")
	f.Add("\xff", "", "/", int64(253402300799), int64(999999999), "[\"\xff\"]")
	f.Fuzz(func(t *testing.T, id, eventType, source string, seconds, nanoseconds int64, data string) {
		e := Event{ID: id, Type: eventType, Time: time.Unix(seconds, nanoseconds), Data: json.RawMessage(data)}
		if source == "" || checkTime(e.Time) != nil || !json.Valid([]byte(data)) {
			return
		}
		if _, err := url.Parse(source); err != nil {
			return
		}
		text := func(s string) string { return string([]rune(s)) } // each stray byte is U+FFFD
		at := e.Time.UTC().Truncate(time.Microsecond)
		for _, c := range []struct {
			envelope Envelope
			want     map[string]string
			at       string
		}{
			{StandardEnvelope, map[string]string{"type": text(eventType)}, "timestamp"},
			{CloudEvents(source), map[string]string{
				"specversion": "1.0", "datacontenttype": "application/json", "id": text(id), "source": text(source), "type": text(eventType),
			}, "time"},
		} {
			body, err := c.envelope(e)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]json.RawMessage
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatalf("%q: %v", body, err)
			}
			for name, want := range c.want {
				var s string
				if err := json.Unmarshal(got[name], &s); err != nil || s != want {
					t.Errorf("%s is %s, %v, want %q", name, got[name], err, want)
				}
			}
			var when time.Time
			if err := json.Unmarshal(got[c.at], &when); err != nil || !when.Equal(at) {
				t.Errorf("%s is %s, %v, want %v", c.at, got[c.at], err, at)
			}
			if len(got) != len(c.want)+2 || !bytes.Equal(bytes.TrimSpace(got["data"]), bytes.TrimSpace([]byte(data))) {
				t.Errorf("%q, want data %q", body, data)
			}
		}
	})
}

// FuzzShortTexts: what others say is repeated in errors and logs in short, as
// UTF-8 without control characters.
func FuzzShortTexts(f *testing.F) {
	f.Add("")
	f.Add(strings.Repeat("a", 62) + "€€")
	f.Add(strings.Repeat("€", 400) + "\x00\xff\n")
	f.Fuzz(func(t *testing.T, s string) {
		if got := errorText(errors.New(s)); len(got) > 3*maxText || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }) || !utf8.ValidString(got) {
			t.Errorf("errorText(%q) = %q", s, got)
		}
		if got := quote(s); len(got) > 4*64+len(`""…`) || !utf8.ValidString(got) || len(s) <= 64 && got != fmt.Sprintf("%q", s) {
			t.Errorf("quote(%q) = %q", s, got)
		}
	})
}
