package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMarshalJSONWritesAsJavaScriptDoes(t *testing.T) {
	v := struct {
		HTML string          `json:"html"`
		Sum  json.Number     `json:"sum"`
		Raw  json.RawMessage `json:"raw"`
		Big  int64           `json:"big"`
	}{"<b>&\u2028", "1500.00", json.RawMessage(`{ "b": 1E2, "1": "\u003c" }`), 1<<53 + 1}
	got, err := MarshalJSON(v)
	want := "{\"html\":\"<b>&\u2028\",\"sum\":1500,\"raw\":{\"1\":\"<\",\"b\":100},\"big\":9007199254740993}"
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestMarshalJSONRefusesWhatCannotBeEncoded(t *testing.T) {
	for _, v := range []any{make(chan int), json.Number("1e400"), json.RawMessage("{")} {
		if got, err := MarshalJSON(v); !errors.Is(err, ErrInvalid) {
			t.Errorf("MarshalJSON(%v) = %s, %v, want ErrInvalid", v, got, err)
		}
	}
}

// occurred is in a zone of its own, with nanoseconds that envelopes leave out.
var occurred = time.Date(2022, 11, 3, 21, 26, 10, 344522999, time.FixedZone("", 3600))

func TestEnvelopes(t *testing.T) {
	raw := json.RawMessage(`{ "amount": 1500.00, "1": "\u003c" }`)
	for _, tt := range []struct {
		name     string
		envelope Envelope
		event    Event
		want     string
	}{
		{"standard", StandardEnvelope, Event{Type: "contact.created", Time: occurred, Data: raw},
			`{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":` + string(raw) + `}`},
		{"standard at a full second", StandardEnvelope, Event{Type: "a", Time: time.Unix(0, 0), Data: raw},
			`{"type":"a","timestamp":"1970-01-01T00:00:00Z","data":` + string(raw) + `}`},
		{"standard called by hand", StandardEnvelope, Event{Type: "a", Time: time.Unix(0, 0), Data: map[string]string{"b": "<"}},
			`{"type":"a","timestamp":"1970-01-01T00:00:00Z","data":{"b":"<"}}`},
		{"standard without data", StandardEnvelope, Event{Type: "a", Time: time.Unix(0, 0)},
			`{"type":"a","timestamp":"1970-01-01T00:00:00Z","data":null}`},
		{"data", DataEnvelope, Event{Type: "a", Data: raw}, string(raw)},
		{"CloudEvents", CloudEvents(`https://app.example/"a"`), Event{ID: `msg_"1"`, Type: "a.b", Time: occurred, Data: raw},
			`{"specversion":"1.0","id":"msg_\"1\"","source":"https://app.example/\"a\"","type":"a.b","time":"2022-11-03T20:26:10.344522Z","datacontenttype":"application/json","data":` + string(raw) + `}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.envelope(tt.event)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s, %v, want %s", got, err, tt.want)
			}
			if !json.Valid(got) {
				t.Errorf("not valid JSON: %s", got)
			}
		})
	}
	for name, envelope := range map[string]Envelope{"standard": StandardEnvelope, "data": DataEnvelope, "CloudEvents": CloudEvents("/a")} {
		for _, data := range []any{json.RawMessage(nil), make(chan int)} {
			if got, err := envelope(Event{Type: "a", Data: data}); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s envelope of %#v: %s, %v, want ErrInvalid", name, data, got, err)
			}
		}
	}
}

func TestEnvelopesAllocateTheBodyAlone(t *testing.T) {
	e := Event{ID: "msg_1", Type: "document.signed", Time: occurred, Data: json.RawMessage(`{"a":1}`)}
	for name, envelope := range map[string]Envelope{"standard": StandardEnvelope, "CloudEvents": CloudEvents("/a")} {
		if n := testing.AllocsPerRun(100, func() { _, _ = envelope(e) }); n > 1 {
			t.Errorf("%s envelope: %v allocations, want 1", name, n)
		}
	}
}

func TestCloudEventsHeaders(t *testing.T) {
	m := Message{ID: `a"%é`, EventType: "com.example.signed", EventTime: occurred}
	got := CloudEventsHeaders("/Euro € 😀")(m)
	want := http.Header{}
	want.Set("ce-id", "a%22%25%C3%A9")
	want.Set("ce-source", "/Euro%20%E2%82%AC%20%F0%9F%98%80") // the example of section 3.1.3.2
	want.Set("ce-specversion", "1.0")
	want.Set("ce-type", "com.example.signed")
	want.Set("ce-time", "2022-11-03T20:26:10.344522Z")
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCloudEventsRefusesASourceThatIsNone(t *testing.T) {
	for _, source := range []string{"", "http://[", "a\nb"} {
		for name, call := range map[string]func(){
			"CloudEvents":        func() { CloudEvents(source) },
			"CloudEventsHeaders": func() { CloudEventsHeaders(source) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s(%q) does not panic", name, source)
					}
				}()
				call()
			}()
		}
	}
}

func FuzzPercentEncode(f *testing.F) {
	f.Add("Euro € 😀")
	f.Add("a%20\"\r\n\x7f\xff~!")
	f.Fuzz(func(t *testing.T, s string) {
		got := percentEncode(s)
		for i := range len(got) {
			if c := got[i]; c < '!' || c > '~' || c == '"' {
				t.Fatalf("percentEncode(%q) = %q holds %q", s, got, c)
			}
		}
		if back, err := url.PathUnescape(got); err != nil || back != s {
			t.Fatalf("percentEncode(%q) = %q, which decodes to %q, %v", s, got, back, err)
		}
	})
}

func TestChecks(t *testing.T) {
	x := strings.Repeat
	for _, tt := range []struct {
		name    string
		check   func(string) error
		valid   []string
		invalid []string
	}{
		{"checkID", checkID,
			[]string{"a", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", "!~/:{}\"", x("a", 128)},
			[]string{"", "a.b", "a b", "a\n", "\x7f", "é", x("a", 129)}},
		{"checkTenant", checkTenant,
			[]string{"", "acme", "acme/legal", "A-Z_0.9/...", ".a/a.", x("a", 256)},
			[]string{"/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.", "a b", "a%", "é", "a\x00", x("a", 257)}},
		{"checkType", checkType,
			[]string{"a", "DOCUMENT_COMPLETED", "document.signed", "a-b:c/d.0", "1.2.3.4.5.6.7.8", x("a", 128)},
			[]string{"", ".", "a.", ".a", "a..b", "*", "a.*", "a b", "é", "a\n", "1.2.3.4.5.6.7.8.9", x("a", 129), "@", "[", "`", "{"}},
		{"checkPattern", checkPattern,
			[]string{"*", "a", "a.*", "a.b.*", "1.2.3.4.5.6.7.8", "1.2.3.4.5.6.7.*", x("a", 128), x("a", 126) + ".*"},
			[]string{"", ".*", "**", "a*", "a.b*", "*.a", "a.*.b", "a.*.*", "1.2.3.4.5.6.7.8.*", x("a", 129), x("a", 127) + ".*", " *"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, s := range tt.valid {
				if err := tt.check(s); err != nil {
					t.Errorf("refuses %q: %v", s, err)
				}
			}
			for _, s := range tt.invalid {
				err := tt.check(s)
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("%q: %v, want ErrInvalid", s, err)
				} else if !strings.Contains(err.Error(), quote(s)+": want ") || len(err.Error()) > 250 {
					t.Errorf("%q: the error does not say what was wrong, in short: %v", s, err)
				}
			}
		})
	}
}

func TestCheckTimeWantsWhatRFC3339CanWrite(t *testing.T) {
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	for _, at := range []time.Time{{}, occurred, last, time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if err := checkTime(at); err != nil {
			t.Errorf("refuses %v: %v", at, err)
		}
	}
	west := time.FixedZone("", -3600)
	for _, at := range []time.Time{last.Add(time.Second), time.Date(9999, 12, 31, 23, 30, 0, 0, west), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if err := checkTime(at); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v: %v, want ErrInvalid", at, err)
		}
	}
}

func TestQuoteShortens(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", `""`},
		{"a\n\"", `"a\n\""`},
		{strings.Repeat("a", 64), `"` + strings.Repeat("a", 64) + `"`},
		{strings.Repeat("a", 65), `"` + strings.Repeat("a", 64) + `"…`},
		{strings.Repeat("a", 62) + "€€", `"` + strings.Repeat("a", 62) + `"…`},
	} {
		if got := quote(tt.in); got != tt.want {
			t.Errorf("quote(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestPatternsOf(t *testing.T) {
	for eventType, want := range map[string][]string{
		"a":     {"a", "*"},
		"a.b":   {"a.b", "a.*", "*"},
		"a.b.c": {"a.b.c", "a.b.*", "a.*", "*"},
	} {
		if got := patternsOf(eventType); !slices.Equal(got, want) {
			t.Errorf("patternsOf(%q) = %q, want %q", eventType, got, want)
		}
	}
}

func TestTenantsOf(t *testing.T) {
	for tenant, want := range map[string][]string{
		"":                {""},
		"acme":            {"acme"},
		"acme/legal":      {"acme/legal", "acme"},
		"acme/legal/team": {"acme/legal/team", "acme/legal", "acme"},
	} {
		if got := tenantsOf(tenant); !slices.Equal(got, want) {
			t.Errorf("tenantsOf(%q) = %q, want %q", tenant, got, want)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		patterns  []string
		eventType string
		want      bool
	}{
		{nil, "a", false},
		{[]string{"*"}, "a.b", true},
		{[]string{"a"}, "a", true},
		{[]string{"a"}, "a.b", false},
		{[]string{"a.*"}, "a", false},
		{[]string{"a.*"}, "a.b.c", true},
		{[]string{"a.*"}, "ab.c", false},
		{[]string{"A.*"}, "a.b", false},
		{[]string{"x", "y.*", "a.b"}, "a.b", true},
	} {
		if got := matches(tt.patterns, tt.eventType); got != tt.want {
			t.Errorf("matches(%q, %q) = %t, want %t", tt.patterns, tt.eventType, got, tt.want)
		}
	}
}

type panickingMarshaler struct{}

func (panickingMarshaler) MarshalJSON() ([]byte, error) { panic("no text") }

var errNoText = errors.New("no text")

type failingMarshaler struct{}

func (failingMarshaler) MarshalJSON() ([]byte, error) { return nil, errNoText }

func TestMarshalData(t *testing.T) {
	raw := json.RawMessage(" {\"a\" : 1.0, \"a\": \"\\u003c\"}\n")
	got, err := marshalData(raw)
	if err != nil || string(got) != string(raw) {
		t.Errorf("json.RawMessage: %s, %v, want it byte for byte", got, err)
	}
	clear(raw)
	if got[0] != ' ' {
		t.Error("json.RawMessage: the copy changes with the original")
	}
	if got, err := marshalData(map[int]string{10: "<", 9: "\u2028"}); err != nil || string(got) != "{\"9\":\"\u2028\",\"10\":\"<\"}" {
		t.Errorf("map: %s, %v", got, err)
	}
	if got, err := marshalData(nil); err != nil || string(got) != "null" {
		t.Errorf("nil: %s, %v", got, err)
	}
	for _, v := range []any{json.RawMessage(nil), json.RawMessage(`{"secret":`), make(chan int), panickingMarshaler{}, failingMarshaler{}} {
		got, err := marshalData(v)
		if !errors.Is(err, ErrInvalid) || got != nil {
			t.Errorf("%T: %s, %v, want ErrInvalid", v, got, err)
		} else if !strings.Contains(err.Error(), fmt.Sprintf("%T", v)) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%T: want the type and not the data in %q", v, err)
		}
	}
	if _, err := marshalData(failingMarshaler{}); !errors.Is(err, errNoText) {
		t.Errorf("errors.Is does not find the Marshaler's error in %v", err)
	}
}

func TestEventSumKeepsItsPartsApart(t *testing.T) {
	seen := map[[32]byte][]string{}
	for _, parts := range [][]string{
		{"", "a", "1"}, {"a", "", "1"}, {"a", "1", ""}, {"", "a1", ""}, {"", "", "a1"},
		{"a", "b", "1"}, {"ab", "", "1"}, {"a", "b", "2"}, {"a", "c", "1"}, {"c", "b", "1"},
	} {
		sum := eventSum(parts[0], parts[1], []byte(parts[2]))
		if other, ok := seen[sum]; ok {
			t.Errorf("%q and %q have the same sum", parts, other)
		}
		seen[sum] = parts
		if sum != eventSum(parts[0], parts[1], []byte(parts[2])) {
			t.Errorf("%q has two sums", parts)
		}
	}
}

// TestEventSumStays pins the digest: stores keep it, so that another value would
// turn a repeated event into a conflict after an upgrade.
func TestEventSumStays(t *testing.T) {
	got := fmt.Sprintf("%x", eventSum("acme/legal", "document.signed", []byte(`{"id":1}`)))
	if want := "e6eb76ac4c2e076c9f8dac89ec561a0f799d45123fc8a9e810de535dc0e28ac1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

var errUnsigned = errors.New("unsigned")

// validateSigned is a Validate that wants {"signed":true}.
func validateSigned(data json.RawMessage) error {
	var v struct{ Signed bool }
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	if !v.Signed {
		return errUnsigned
	}
	return nil
}

func testCatalog(t *testing.T) *catalog {
	t.Helper()
	c, err := newCatalog([]EventType{
		{Name: "document.signed", Group: "documents", Example: map[string]any{"signed": true, "by": "<ada>"}, Validate: validateSigned},
		{Name: "document.page.added"},
		{Name: "PANIC", Validate: func(json.RawMessage) error { panic("at the validator") }},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCatalogCheck(t *testing.T) {
	c := testCatalog(t)
	for _, tt := range []struct {
		eventType, data string
		want            error
	}{
		{"document.signed", `{"signed":true}`, nil},
		{"document.signed", `{}`, errUnsigned},
		{"document.signed", `[]`, ErrInvalid},
		{"document.page.added", `{}`, nil},
		{"PANIC", `{}`, ErrInvalid},
		{"document", `{}`, ErrUnknownEventType},
		{"", `{}`, ErrUnknownEventType},
	} {
		err := c.check(tt.eventType, []byte(tt.data))
		if !errors.Is(err, tt.want) {
			t.Errorf("check(%q, %s) = %v, want %v", tt.eventType, tt.data, err, tt.want)
		}
		if invalid := err != nil && tt.want != ErrUnknownEventType; errors.Is(err, ErrInvalid) != invalid {
			t.Errorf("check(%q, %s) = %v, ErrInvalid: %t", tt.eventType, tt.data, err, !invalid)
		}
		if err != nil && !strings.Contains(err.Error(), quote(tt.eventType)) {
			t.Errorf("check(%q, %s) = %v, which does not name the type", tt.eventType, tt.data, err)
		}
	}
}

func TestCatalogCheckPatterns(t *testing.T) {
	c := testCatalog(t)
	if err := c.checkPatterns([]string{"*", "document.*", "document.page.*", "document.signed", "PANIC"}); err != nil {
		t.Error(err)
	}
	for _, pattern := range []string{"document", "document.page", "document.signed.*", "invoice.*", "panic"} {
		err := c.checkPatterns([]string{"*", pattern})
		if !errors.Is(err, ErrUnknownEventType) || !strings.Contains(err.Error(), quote(pattern)) {
			t.Errorf("%q: %v, want ErrUnknownEventType", pattern, err)
		}
	}
}

func TestCatalogExample(t *testing.T) {
	c := testCatalog(t)
	for eventType, want := range map[string]string{
		"document.signed":     `{"by":"<ada>","signed":true}`,
		"document.page.added": `{"test":true}`,
	} {
		for range 2 { // what is returned is the caller's
			got, err := c.example(eventType)
			if err != nil || string(got) != want {
				t.Fatalf("example(%q) = %s, %v, want %s", eventType, got, err, want)
			}
			clear(got)
		}
	}
	if got, err := c.example("invoice.paid"); !errors.Is(err, ErrUnknownEventType) {
		t.Errorf("unknown type: %s, %v, want ErrUnknownEventType", got, err)
	}
}

func TestCatalogTypesAreTheCallersToKeep(t *testing.T) {
	given := []EventType{{Name: "b"}, {Name: "a", Group: "g", Description: "d", Example: 1}}
	c, err := newCatalog(given)
	if err != nil {
		t.Fatal(err)
	}
	given[0].Name = "changed"
	want := []EventType{{Name: "b"}, {Name: "a", Group: "g", Description: "d", Example: 1}}
	for range 2 {
		got := c.types()
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		got[0].Name = "changed"
	}
}

func TestEmptyCatalogKnowsEveryType(t *testing.T) {
	empty, err := newCatalog(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*catalog{"nil": nil, "empty": empty} {
		if err := c.check("any.type", []byte(`{}`)); err != nil {
			t.Errorf("%s: check: %v", name, err)
		}
		if err := c.checkPatterns([]string{"any.*"}); err != nil {
			t.Errorf("%s: checkPatterns: %v", name, err)
		}
		if got, err := c.example("any.type"); err != nil || string(got) != `{"test":true}` {
			t.Errorf("%s: example: %s, %v", name, got, err)
		}
		if got := c.types(); len(got) != 0 {
			t.Errorf("%s: types: %v", name, got)
		}
	}
}

func TestNewCatalogReportsEveryMistake(t *testing.T) {
	_, err := newCatalog([]EventType{
		{Name: "good", Example: json.RawMessage(`{"signed":true}`), Validate: validateSigned},
		{Name: "bad type", Example: make(chan int)},
		{Name: "good"},
		{Name: "refused", Example: map[string]bool{"signed": false}, Validate: validateSigned},
		{Name: "panics", Example: 1, Validate: func(json.RawMessage) error { panic("no") }},
		{Name: "unproven", Validate: validateSigned}, // the default example is not held against it
	})
	if err == nil {
		t.Fatal("no error")
	}
	mistakes := err.(interface{ Unwrap() []error }).Unwrap()
	wants := []string{
		`in Catalog[1].Name: invalid event type "bad type": want 1 to 8 segments`,
		`in Catalog[1].Example: invalid Data of type chan int`,
		`in Catalog[2].Name: invalid event type "good": want each type once`,
		`in Catalog[3].Example: invalid Data of event type "refused": unsigned`,
		`in Catalog[4].Example: invalid Data of event type "panics": panic in Validate: no`,
	}
	if len(mistakes) != len(wants) {
		t.Fatalf("%d mistakes, want %d: %v", len(mistakes), len(wants), err)
	}
	for i, want := range wants {
		if !errors.Is(mistakes[i], ErrInvalid) || !strings.HasPrefix(mistakes[i].Error(), want) {
			t.Errorf("got %v, want %s", mistakes[i], want)
		}
	}
	if !errors.Is(err, errUnsigned) {
		t.Errorf("errors.Is does not find the error of Validate in %v", err)
	}
}
