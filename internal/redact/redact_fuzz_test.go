package redact

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzWords compares with the obvious way: mark each byte of each word, wherever
// it is.
func FuzzWords(f *testing.F) {
	f.Add("abcdefgh", "efghijklmnop", "xabcdefghijklmnopx")
	f.Add("aaaaaaaa", "aaaaaaaaab", "aaaaaaaaaaaaaaaaaabaaaaaaa")
	f.Add(`a"b\/<é😀>+ %`, "Bearer a+b/c==", `{"a":"a\"b\\\/\u003cé\ud83d\ude00> %2B","Bearer+a%2bb`)
	f.Fuzz(func(t *testing.T, one, two, text string) {
		words := []string{one, two}
		w := New(words...)
		got := w.String(text)
		if b := w.Bytes([]byte(text), false); string(b) != got {
			t.Errorf("Bytes makes %q, String %q", b, got)
		}
		if !strings.ContainsAny(text, escapes) {
			if want := obvious(text, words); got != want {
				t.Errorf("String(%q) of %q = %q, want %q", text, words, got, want)
			}
		}
		for _, word := range words {
			if len(word) < minWord {
				continue
			}
			if strings.Contains(text, word) && !Holds(text, word) {
				t.Errorf("%q is not found in %q", word, text)
			}
			for _, escaped := range ways(word) {
				for _, around := range []string{"", `{"a":"`, "x "} { // no half of another escape
					if got := w.String(around + escaped); strings.Contains(got, escaped) && !strings.Contains(Mark, escaped) {
						t.Errorf("%q of %q stays: %q", escaped, word, got)
					}
				}
			}
		}
		for n := range len(text) + 1 { // never more than without the end, and the rest is untouched
			cut := w.Bytes([]byte(text[:n]), true)
			if kept, _, found := bytes.Cut(cut, []byte(Mark)); !found && string(cut) != text[:n] || !bytes.HasPrefix([]byte(text), kept) {
				t.Errorf("Bytes(%q) = %q", text[:n], cut)
			}
			if n > 200 {
				break
			}
		}
	})
}

// ways returns a word as it is escaped by some.
func ways(word string) []string {
	all := []string{word, url.QueryEscape(word), url.PathEscape(word)}
	if utf8.ValidString(word) {
		b, _ := json.Marshal(word)
		inner := string(b[1 : len(b)-1])
		again, _ := json.Marshal(inner)
		all = append(all, inner, strings.ReplaceAll(inner, "/", `\/`), string(again[1:len(again)-1]))
	}
	return all
}

func obvious(text string, words []string) string {
	in := make([]int, len(text)+1) // the number of the part that each byte belongs to
	part := 0
	for at := range len(text) {
		longest := 0
		for _, word := range words {
			if len(word) >= minWord && strings.HasPrefix(text[at:], word) {
				longest = max(longest, len(word))
			}
		}
		if longest > 0 {
			if in[at] == 0 {
				part++
			}
			for n := range longest {
				in[at+n] = part
			}
		}
	}
	var out strings.Builder
	for at := range len(text) {
		switch {
		case in[at] == 0:
			out.WriteByte(text[at])
		case at == 0 || in[at] != in[at-1]:
			out.WriteString(Mark)
		}
	}
	return out.String()
}
