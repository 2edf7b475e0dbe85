package redact

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
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
	b := []byte("some text")
	if got := New("", "tiny").Bytes(b, true); &got[0] != &b[0] {
		t.Error("the text was copied")
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

func TestHeadersAreRedactedInACopy(t *testing.T) {
	h := http.Header{"Authorization": {"Bearer hunter2hunter2"}, "X-A": {"b"}}
	if got := Header(h, []string{"Cookie"}); reflect.ValueOf(got).Pointer() != reflect.ValueOf(h).Pointer() {
		t.Error("a copy was made for nothing")
	}
	got := Header(h, []string{"Cookie", "Authorization"})
	if want := (http.Header{"Authorization": {Mark}, "X-A": {"b"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if h.Get("Authorization") != "Bearer hunter2hunter2" {
		t.Error("what is sent was changed")
	}
}

func TestWordsAreTakenOutOfHeaders(t *testing.T) {
	h := http.Header{"X-Echo": {"a", "you sent hunter2hunter2"}}
	New("hunter2hunter2").Header(h)
	if want := (http.Header{"X-Echo": {"a", "you sent " + Mark}}); !reflect.DeepEqual(h, want) {
		t.Errorf("got %v, want %v", h, want)
	}
}

func TestTheWordsOfHeaders(t *testing.T) {
	h := http.Header{"Authorization": {"Bearer secret-token"}, "Cookie": {"a=first-secret; b=second-secret"}, "X-A": {"other"}}
	got := HeaderWords(h, []string{"Authorization", "Cookie", "X-Absent"})
	for _, want := range []string{"Bearer secret-token", "secret-token", "a=first-secret; b=second-secret", "first-secret", "second-secret"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among %q", want, got)
		}
	}
	if slices.Contains(got, "other") {
		t.Errorf("%q are too many", got)
	}
}

func TestTheWordsOfAQuery(t *testing.T) {
	for address, want := range map[string][]string{
		"https://a.example/p":                           {"https://a.example/p"},
		"https://a.example/p?":                          {"https://a.example/p?" + Mark, ""},
		"https://a.example/p?key=a%20secret&x=y":        {"https://a.example/p?" + Mark, "a secret", "key=a%20secret&x=y", "y"},
		"https://a.example/p?key=secret&bad=%zz&key=s2": {"https://a.example/p?" + Mark, "key=secret&bad=%zz&key=s2", "s2", "secret"},
	} {
		marked, words := Query(address)
		slices.Sort(words)
		if got := append([]string{marked}, words...); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
}
