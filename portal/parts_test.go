package portal

import (
	"bytes"
	"encoding/json"
	"go/format"
	"math"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

func testUI() *ui { return &ui{Now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)} }

func textOf(d document) string {
	var b strings.Builder
	for _, t := range d.Tokens {
		b.WriteString(t.Text)
	}
	return b.String()
}

func TestPretty(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for _, c := range []struct {
		name, body string
		whole      bool
		kind, want string
	}{
		{"nothing", "", true, "empty", ""},
		{"JSON keeps order and digits", `{"b":1.50,"a":[true,null,"x"],"e":{},"f":[ ]}`, true, "json",
			"{\n  \"b\": 1.50,\n  \"a\": [\n    true,\n    null,\n    \"x\"\n  ],\n  \"e\": {},\n  \"f\": []\n}"},
		{"a scalar", ` "a\"b" `, true, "json", `"a\"b"`},
		{"what broke off is text", `{"a":`, false, "text", `{"a":`},
		{"text with controls", "a\x1bb\r\n\u202ec\u200bd", true, "text", `a\u001bb\u000d` + "\n" + `\u202ec\u200bd`},
		{"controls in JSON strings", "\"a\u202eb\"", true, "json", `"a\u202eb"`},
		{"a character cut in two", "gr\xc3", false, "text", "gr"},
		{"bytes", "\x1f\x8b\x00", true, "binary", "00000000  1f 8b 00                                          |...|\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := pretty([]byte(c.body), c.whole)
			if got := textOf(d); d.Kind != c.kind || got != c.want || d.Cut {
				t.Errorf("%s %q (cut: %t), want %s %q", d.Kind, got, d.Cut, c.kind, c.want)
			}
		})
	}
	for name, body := range map[string]string{"deep JSON": deep + " ", "a long string": `"` + strings.Repeat("x", 200_000) + `"`, "long text": strings.Repeat("x", 200_000), "many bytes": strings.Repeat("\x00", 200_000)} {
		if d := pretty([]byte(body), true); !d.Cut || len(textOf(d)) > 2*maxShown {
			t.Errorf("%s: %d bytes are shown, cut: %t", name, len(textOf(d)), d.Cut)
		}
	}
}

func TestPrettyMarksWhatIsWhat(t *testing.T) {
	var marks []string
	for _, token := range pretty([]byte(`{"k":"s","n":-1e3,"w":false}`), true).Tokens {
		if token.Class != "" {
			marks = append(marks, token.Class+token.Text)
		}
	}
	if got := strings.Join(marks, " "); got != `j-key"k" j-string"s" j-key"n" j-number-1e3 j-key"w" j-wordfalse` {
		t.Errorf("the marks are %s", got)
	}
}

// FuzzPretty: whatever a receiver answers with, what is shown is bounded, has
// nothing invisible, and is the same JSON.
func FuzzPretty(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"a":[1,2,{"b":"\u00e9"}],"c":"\\"}`, "\xff", "[\"\\\\\"]", "\u202e", `[[[]]]`, `"\"`} {
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, whole bool) {
		d := pretty(body, whole)
		text := textOf(d)
		if len(text) > maxShown*8+4096 {
			t.Errorf("%d bytes are shown", len(text))
		}
		if i := strings.IndexFunc(text, hides); i >= 0 {
			t.Errorf("%q is shown as it is", text[i:])
		}
		if d.Kind == "json" && !d.Cut && strings.IndexFunc(string(body), hides) < 0 {
			var a, b bytes.Buffer
			if json.Compact(&a, body) != nil || json.Compact(&b, []byte(text)) != nil || a.String() != b.String() {
				t.Errorf("%q is shown as %q", body, text)
			}
		}
	})
}

func TestChart(t *testing.T) {
	u := testUI()
	buckets := make([]webhook.Statistics, 48)
	for n := range buckets {
		buckets[n].From = u.Now.Add(time.Duration(n-48) * 30 * time.Minute)
		buckets[n].To = buckets[n].From.Add(30 * time.Minute)
	}
	buckets[3] = webhook.Statistics{From: buckets[3].From, To: buckets[3].To, Delivered: 1_000_000, Exhausted: 1, Pending: 1, Median: 50 * time.Millisecond, P95: 3 * time.Hour}
	buckets[10].Delivered, buckets[10].Median, buckets[10].P95 = 5, time.Second, time.Second
	buckets[11].Delivered, buckets[11].Median, buckets[11].P95 = 5, time.Second, time.Second
	for _, width := range []int{1040, 330} {
		c := u.newChart("x", "", width, 200, buckets, "24 hours")
		if len(c.Bars) != 48 || len(c.Bars[3].Parts) != 3 || len(c.Ticks) < 2 || len(c.Dots) != 1 || strings.Count(c.Median, "M") != 1 {
			t.Errorf("%d: %d bars, %d parts, ticks %v, dots %v, line %q", width, len(c.Bars), len(c.Bars[3].Parts), c.Ticks, c.Dots, c.Median)
		}
		if !strings.Contains(c.Bars[3].Title, "1,000,000 delivered, 1 failed, 1 pending, median 50 ms") {
			t.Errorf("the bar is called %q", c.Bars[3].Title)
		}
		if c.Grid[len(c.Grid)-1].Count != "1.2M" {
			t.Errorf("the axis ends at %s", c.Grid[len(c.Grid)-1].Count)
		}
	}
	if c := u.newChart("x", "", 1040, 200, buckets[20:], "24 hours"); c.Median != "" || c.LatencyLabel != "" {
		t.Errorf("there is a line %q where nothing was delivered", c.Median)
	}
}

func TestScaleHasAllValues(t *testing.T) {
	for _, d := range []time.Duration{1, time.Millisecond, 20 * time.Millisecond, time.Minute, 3 * time.Hour, 365 * 24 * time.Hour} {
		s := newScale([]webhook.Statistics{{Median: d, P95: 2 * d}})
		if at := s.at(d); len(s) < 2 || math.IsNaN(at) || at < 0 || at > 1 {
			t.Errorf("%v is at %v of %v", d, at, s)
		}
	}
}

func TestTimesAndNumbers(t *testing.T) {
	u := testUI()
	for _, c := range []struct{ got, want string }{
		{u.Number(0), "0"}, {u.Number(999), "999"}, {u.Number(1000), "1,000"}, {u.Number(-1234567), "-1,234,567"},
		{u.Ago(time.Time{}), "never"}, {u.Ago(u.Now), "just now"}, {u.Ago(u.Now.Add(-90 * time.Second)), "1 min ago"},
		{u.Ago(u.Now.Add(3 * time.Hour)), "in 3 h"}, {u.Ago(u.Now.Add(-72 * time.Hour)), "3 days ago"},
		{u.Took(0), "< 1 ms"}, {u.Took(12 * time.Millisecond), "12 ms"}, {u.Took(1500 * time.Millisecond), "1.5 s"}, {u.Took(100 * time.Millisecond), "100 ms"},
		{u.Took(15 * time.Second), "15 s"}, {u.Took(90 * time.Minute), "1.5 h"}, {u.Took(10 * time.Minute), "10 min"},
		{u.Date(u.Now), "4 Mar 2026, 05:06:07 UTC"}, {u.N("list.total", 1), "1 webhook"}, {u.N("list.total", 2000), "2,000 webhooks"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// unknown is a scheme of an application's own.
type unknown struct{}

func (unknown) Sign(http.Header, webhook.Message, []webhook.Secret) error { return nil }
func (unknown) SignatureHeaders() []string                                { return []string{"X-Own"} }

func TestSnippets(t *testing.T) {
	own := func(webhook.Message) []byte { return nil }
	key := func(s string) ([]byte, error) { return []byte(s), nil }
	for _, c := range []struct {
		name   string
		signer webhook.Signer
		codes  []int // samples of each scheme
		has    []string
	}{
		{"Standard Webhooks", webhook.StandardWebhooks{}, []int{3}, []string{`h.Get("webhook-signature")`, `headers["webhook-id"]`}},
		{"Svix", webhook.Svix(), []int{3}, []string{`h.Get("svix-signature")`, "Svix"}},
		{"HMAC in hex", webhook.HMAC{Header: "X-Docutray-Signature", Prefix: "sha256="}, []int{3}, []string{`"sha256=" + hex.EncodeToString`, `headers["x-docutray-signature"]`, `"sha256=" + mac.hexdigest()`}},
		{"HMAC in base64", webhook.HMAC{Header: "X-Sig", Encoding: webhook.Base64, Optional: true}, []int{3}, []string{`"" + base64.StdEncoding.EncodeToString`, `mac.digest("base64")`, "base64.b64encode(mac.digest())", "left out while there is no secret"}},
		{"HMAC of other content", webhook.HMAC{Header: "X-Sig", Content: own}, []int{0}, []string{"documentation"}},
		{"HMAC with another key", webhook.HMAC{Header: "X-Sig", Key: key}, []int{0}, []string{"documentation describes"}},
		{"a secret", webhook.SecretHeader{Name: "X-Documenso-Secret"}, []int{3}, []string{`h.Get("X-Documenso-Secret")`, "constant time"}},
		{"several", webhook.Signers{webhook.HMAC{Header: "X-A"}, webhook.Signers{webhook.HMAC{Header: "X-B", Content: own}}, &webhook.StandardWebhooks{}}, []int{3, 0, 3}, []string{"X-A", "X-B"}},
		{"unknown", unknown{}, []int{0}, []string{"X-Own", "of this product's own"}},
		{"none", nil, []int{0}, []string{"of this product's own"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all strings.Builder
			schemes := testUI().schemes(c.signer)
			if len(schemes) != len(c.codes) {
				t.Fatalf("there are %d schemes, want %d", len(schemes), len(c.codes))
			}
			for n, s := range schemes {
				if len(s.Samples) != c.codes[n] {
					t.Errorf("there are %d samples, want %d", len(s.Samples), c.codes[n])
				}
				all.WriteString(s.Text + strings.Join(s.Notes, " "))
				for _, h := range s.Headers {
					all.WriteString(h.Name)
				}
				for _, code := range s.Samples {
					all.WriteString(code.Code)
					if code.Language == "go" {
						checkGo(t, code.Code)
					}
				}
			}
			for _, want := range c.has {
				if !strings.Contains(all.String(), want) {
					t.Errorf("there is no %q in %s", want, all.String())
				}
			}
			if strings.ContainsAny(all.String(), "«»") {
				t.Error("a name was not filled in")
			}
		})
	}
}

// checkGo: the code is formatted, and imports what it uses and nothing else.
func checkGo(t *testing.T, code string) {
	t.Helper()
	formatted, err := format.Source([]byte(code))
	if err != nil || string(formatted) != code {
		t.Errorf("the code is not formatted (%v):\n%s", err, code)
	}
	head, body, _ := strings.Cut(code, ")\n")
	for _, m := range regexp.MustCompile(`"(?:\w+/)*(\w+)"`).FindAllStringSubmatch(head, -1) {
		if !strings.Contains(body, m[1]+".") {
			t.Errorf("%s is imported for nothing", m[1])
		}
	}
}

func TestAccentIsLegibleInBothThemes(t *testing.T) {
	for _, accent := range []string{"#000000", "#ffffff", "#f2a20c", "#3a56c5", "#ff0000", "#00ff00", "#777777"} {
		css, err := themeOf(accent)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`--(accent|fill|fill-hover|on-fill): (#\w{6});`).FindAllStringSubmatch(css, -1)
		if len(found) != 8 {
			t.Fatalf("%s: %s", accent, css)
		}
		for n, ground := range []string{"#f1f3f6", "#1e232b"} { // --hover of portal.css
			of := map[string]colour{}
			of["ground"], _ = parseColour(ground)
			for _, m := range found[4*n : 4*n+4] {
				of[m[1]], _ = parseColour(m[2])
			}
			for _, pair := range [][2]string{{"accent", "ground"}, {"on-fill", "fill"}, {"on-fill", "fill-hover"}} {
				if got := contrast(of[pair[0]], of[pair[1]]); got < 4.5 {
					t.Errorf("%s: %s on %s has a contrast of %.2f in\n%s", accent, pair[0], pair[1], got, css)
				}
			}
		}
	}
	for _, wrong := range []string{"red", "#fff", "#12345g", "#1234567", "x123456", "#+12345"} {
		if css, err := themeOf(wrong); err == nil {
			t.Errorf("%q is %s", wrong, css)
		}
	}
}

// TestColoursOfTheStyleSheetAreLegible holds text against the grounds that it
// stands on: WCAG 2.2, 1.4.3 and 1.4.11.
func TestColoursOfTheStyleSheetAreLegible(t *testing.T) {
	css, err := assetFiles.ReadFile("assets/portal.css")
	if err != nil {
		t.Fatal(err)
	}
	light, rest, _ := strings.Cut(string(css), "@media (prefers-color-scheme: dark)")
	dark, _, _ := strings.Cut(rest, "\n}\n")
	for theme, text := range map[string]string{"light": light, "dark": dark} {
		of := map[string]colour{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#\w{6});`).FindAllStringSubmatch(text, -1) {
			of[m[1]], _ = parseColour(m[2])
		}
		for _, pair := range []struct {
			fore  string
			backs []string
			least float64
		}{
			{"text", []string{"bg", "surface", "sunken", "hover"}, 7},
			{"muted", []string{"bg", "surface", "sunken", "hover"}, 4.5},
			{"accent", []string{"bg", "surface", "sunken", "hover", "accent-soft"}, 4.5},
			{"on-fill", []string{"fill", "fill-hover"}, 4.5},
			{"good", []string{"surface", "hover", "good-soft", "sunken"}, 4.5}, {"bad", []string{"surface", "hover", "bad-soft", "sunken"}, 4.5},
			{"warn", []string{"warn-soft"}, 4.5}, {"idle", []string{"idle-soft"}, 4.5},
			{"j-key", []string{"sunken"}, 4.5}, {"j-string", []string{"sunken"}, 4.5}, {"j-number", []string{"sunken"}, 4.5}, {"j-word", []string{"sunken"}, 4.5},
			{"line-strong", []string{"surface"}, 3}, {"good-mark", []string{"surface"}, 3}, {"bad-mark", []string{"surface"}, 3}, {"latency", []string{"surface"}, 3},
		} {
			for _, back := range pair.backs {
				f, ok := of[pair.fore]
				b, ok2 := of[back]
				if got := contrast(f, b); !ok || !ok2 || got < pair.least {
					t.Errorf("%s: %s on %s has a contrast of %.2f, want %.1f", theme, pair.fore, back, got, pair.least)
				}
			}
		}
	}
}
