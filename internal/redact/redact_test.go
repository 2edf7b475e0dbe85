package redact

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

const word = `s3cret/+"<&=value`

func TestWordsAreReplacedAsTheyAreRepeated(t *testing.T) {
	inJSON, err := json.Marshal(word)
	if err != nil {
		t.Fatal(err)
	}
	w := New(word, "short", "", "another word", word+" and more")
	for text, want := range map[string]string{
		"":                      "",
		"nothing of it":         "nothing of it",
		"short":                 "short",
		"got " + word + ".":     "got [redacted].",
		word + word:             "[redacted][redacted]",
		word + " and more":      "[redacted]",
		string(inJSON):          `"[redacted]"`,
		url.QueryEscape(word):   "[redacted]",
		url.PathEscape(word):    "[redacted]",
		"another word " + word:  "[redacted] [redacted]",
		word + " and mor":       "[redacted] and mor",
		"another " + word[1:]:   "another " + word[1:],
		word[:12]:               word[:12],
		"truncated " + word[:9]: "truncated " + word[:9],
	} {
		if got := w.String(text); got != want {
			t.Errorf("String(%q) = %q, want %q", text, got, want)
		}
		if got := w.Bytes([]byte(text), false); string(got) != want {
			t.Errorf("Bytes(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestAWordThatIsCutOffIsReplacedToo(t *testing.T) {
	w := New(word)
	for n := 1; n < len(word); n++ {
		text := "got " + word[:n]
		want := text
		if n >= 4 {
			want = "got [redacted]"
		}
		b := []byte(text)
		if got := w.Bytes(b, true); string(got) != want || string(b) != text {
			t.Errorf("Bytes(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestNoWordsChangeNothing(t *testing.T) {
	b := []byte(`some text \/ +%20`)
	none, tiny, others := Words{}, New("", "tiny"), New("other words")
	for _, w := range []*Words{&none, &tiny, &others} {
		if got := w.Bytes(b, true); &got[0] != &b[0] {
			t.Error("the text was copied")
		}
	}
}

// The words overlap, or one begins as the other does: none of it stays.
func TestWordsThatOverlapAreReplacedAsOne(t *testing.T) {
	w := New("abcdefgh", "efghijklmnop", "abcdefghijkl", "Bearer 0123456789", "0123456789", "aaaaaaaa", "aaaaaaaaaaaa0", "aaaaaaaaaaaa1")
	for text, want := range map[string]string{
		"xabcdefghijklmnopx":          "x[redacted]x",
		"xabcdefghijklx":              "x[redacted]x",
		"xabcdefghix":                 "x[redacted]ix",
		"Bearer 0123456789, 01234567": "[redacted], 01234567",
		"aaaaaaaaaaaaaaaaaaaa1":       "[redacted]",
		"aaaaaaaaaaaaaaaaaaaa2":       "[redacted]2",
		"aaaaaaa0":                    "aaaaaaa0",
	} {
		if got := w.String(text); got != want {
			t.Errorf("String(%q) = %q, want %q", text, got, want)
		}
	}
}

// What writers other than Go's make of a word.
func TestWordsAreReplacedHoweverTheyAreEscaped(t *testing.T) {
	const word = `mark/of"a<word&+é😀-0123456789`
	w := New(word, "mark of a form")
	for name, text := range map[string]string{
		"JSON.stringify":       `mark/of\"a<word&+é😀-0123456789`,
		"json_encode of PHP":   `mark\/of\"a<word&+\u00e9\ud83d\ude00-0123456789`,
		"json.dumps of Python": `mark/of\"a<word&+\u00e9\ud83d\ude00-0123456789`,
		"repr of Python":       `mark/of"a<word&+é\ud83d\ude00-0123456789`,
		"System.Text.Json":     `mark/of\u0022a\u003Cword\u0026\u002B\u00E9\uD83D\uDE00-0123456789`,
		"JSON in JSON":         `mark\\\/of\\\"a<word&+\\u00e9😀-0123456789`,
		"bytes":                `mark/of"a<word&+\xc3\xa9\xF0\x9f\x98\x80-0123456789`,
		"a query":              url.QueryEscape(word),
		"a path":               url.PathEscape(word),
		"a query in lower":     strings.ToLower(url.QueryEscape(word)),
		"a form":               `mark+of%20a+form`,
		"encodeURI":            `mark/of%22a%3Cword&+%C3%A9%F0%9F%98%80-0123456789`,
		"all of it":            `%6dark%2fof%22a%3cword%26%2B%c3%a9%F0%9F%98%80%2D0123456789`,
	} {
		if got := w.String(`{"a":"` + text + `","b":"\n+"}`); got != `{"a":"[redacted]","b":"\n+"}` {
			t.Errorf("%s: %s", name, got)
		}
		if !Holds("a: "+text+" ", word) && !Holds(text, "mark of a form") {
			t.Errorf("%s: it is not found", name)
		}
		for n := 1; n < len(text); n++ { // in one view or another, the half of it is seen
			b := []byte("got " + text[:n])
			if got := string(w.Bytes(b, true)); strings.HasPrefix(got, "got ") && strings.Contains(got, "k") && len(got) > len("got [redacted]") {
				t.Errorf("%s: cut off after %d bytes: %s", name, n, got)
			}
		}
	}
	for _, text := range []string{`\`, `\u`, `\u00`, `\ud83d`, `\ud83d\`, `\ud83d\u00e9`, `\x`, `\xzz`, `\uzzzz`, `%`, `%z`, `%zz`, `\q`, "\\\\\\"} {
		for _, cut := range []bool{true, false} {
			if got := w.Bytes([]byte("some text "+text), cut); string(got) != "some text "+text {
				t.Errorf("Bytes(%q) = %q", text, got)
			}
		}
	}
}

func TestHoldsFindsAWordInAnyEncoding(t *testing.T) {
	texts := map[string]string{
		"raw": word, "%q": fmt.Sprintf("%q", word), "hex": hex.EncodeToString([]byte(word)), "%X": fmt.Sprintf("%X", word),
		"query": url.QueryEscape(word), "path": url.PathEscape(word),
	}
	for n := range 4 {
		before := strings.Repeat("x", n)
		for name, e := range map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.URLEncoding, "raw": base64.RawStdEncoding} {
			texts[fmt.Sprintf("base64 %s at %d", name, n)] = e.EncodeToString([]byte(before + word + "and more"))
		}
	}
	for name, text := range texts {
		if !Holds("an error: "+text+" is bad", word) {
			t.Errorf("%s: %s is not found", name, text)
		}
	}
	for _, text := range []string{"", "s3cret", "an error", word[1:], base64.StdEncoding.EncodeToString([]byte("something else altogether"))} {
		if Holds(text, word) {
			t.Errorf("it is found in %q", text)
		}
	}
	if !Holds("the pin is 1234", "1234") || Holds("anything", "") || Holds(hex.EncodeToString([]byte("1234")), "1234") {
		t.Error("short words are looked for as they are, and an empty one is nowhere")
	}
	if binary := "\xff\xfe\x00\x01binary key"; !Holds(fmt.Sprintf("%x", binary), binary) || !Holds(fmt.Sprintf("%q", binary), binary) {
		t.Error("a key that is no text is not found")
	}
}

// What is done after each attempt at a receiver that answers in a few words.
func BenchmarkWords(b *testing.B) {
	w := New("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=", "Bearer 0123456789abcdef", "0123456789abcdef")
	headers := []string{"Mon, 02 Jan 2006 15:04:05 GMT", "application/json; charset=utf-8", "15", "nginx/1.27.0", "keep-alive"}
	body := []byte(`{"ok":true,"id":"0193e6b5-5f6f-7c6e-8d0a-0d2f7c1f0a11"}`)
	b.ReportAllocs()
	for b.Loop() {
		w.Bytes(body, false)
		for _, h := range headers {
			w.String(h)
		}
	}
}

// As many words as a tenant can make, and the bodies that cost most; "copies" is
// how often the body could be copied meanwhile.
func BenchmarkManyWords(b *testing.B) {
	var words []string
	for n := range 50 { // of 8 KiB of headers
		words = append(words, strings.Repeat("a", 140)+fmt.Sprint(n))
	}
	for n := range 180 { // of a query
		words = append(words, fmt.Sprintf("aaaaaa%02x", n))
	}
	w := New(words...)
	const size = 1 << 20
	prose := strings.Repeat(`{"id":"0193e6b5-5f6f-7c6e-8d0a-0d2f7c1f0a11","state":"ok"},`, size/40)[:size]
	for name, text := range map[string]string{
		"prose": prose, "a": strings.Repeat("a", size), "almost": strings.Repeat(strings.Repeat("a", 141)+"x", size/142+1)[:size],
		"words": strings.Repeat("aaaaaa00", size/8), "escaped": strings.Repeat(`\\u0061`, size/7+1)[:size], "percent": strings.Repeat("%61", size/3+1)[:size],
	} {
		b.Run(name, func(b *testing.B) {
			body := []byte(text)
			b.SetBytes(size)
			for b.Loop() {
				w.Bytes(body, true)
			}
			took := b.Elapsed()
			to, start := make([]byte, size), time.Now()
			for range b.N {
				copy(to, body)
			}
			b.ReportMetric(float64(took)/float64(time.Since(start)), "copies")
		})
	}
}
