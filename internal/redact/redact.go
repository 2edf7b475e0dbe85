// Package redact takes words that must not be seen out of what others have
// written.
package redact

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Mark stands for a word that was taken out.
const Mark = "[redacted]"

// minWord is the length from which on a word is looked for: a shorter one is no
// secret, and is found where it does not stand for itself.
const minWord = 8

// Words are words that must not be seen. The zero value has none.
type Words []form

// form is one form of a word, twice, so that no search needs to copy it.
type form struct {
	text  string
	bytes []byte
}

// New returns the words in the forms in which somebody who was sent them repeats
// them: as they are, in JSON, in a URL.
func New(words ...string) Words {
	var w Words
	for _, word := range words {
		if len(word) < minWord {
			continue
		}
		for _, text := range escaped(word) {
			if !slices.ContainsFunc(w, func(f form) bool { return f.text == text }) {
				w = append(w, form{text, []byte(text)})
			}
		}
	}
	// The longer first: it may contain the shorter.
	slices.SortStableFunc(w, func(a, b form) int { return cmp.Compare(len(b.text), len(a.text)) })
	return w
}

// Bytes returns b with each word replaced; b itself if there is none. cut says
// that b is only the beginning of something: a word that begins at its end is
// replaced too.
func (w Words) Bytes(b []byte, cut bool) []byte {
	for _, word := range w {
		if bytes.Contains(b, word.bytes) {
			b = bytes.ReplaceAll(b, word.bytes, []byte(Mark))
		}
	}
	if !cut {
		return b
	}
	for _, word := range w {
		for n := min(len(word.bytes)-1, len(b)); n >= minWord/2; n-- {
			if bytes.HasSuffix(b, word.bytes[:n]) {
				return append(slices.Clone(b[:len(b)-n]), Mark...)
			}
		}
	}
	return b
}

// String is Bytes of a whole text.
func (w Words) String(s string) string {
	for _, word := range w {
		if strings.Contains(s, word.text) {
			s = strings.ReplaceAll(s, word.text, Mark)
		}
	}
	return s
}

// Header replaces each word in the values of h.
func (w Words) Header(h http.Header) {
	for _, values := range h {
		for n := range values {
			values[n] = w.String(values[n])
		}
	}
}

// Header returns a copy of h with [Mark] as the value of those of these names,
// canonical ones, that it has; h itself if it has none.
func Header(h http.Header, names []string) http.Header {
	if !slices.ContainsFunc(names, func(name string) bool { return h[name] != nil }) {
		return h
	}
	h = maps.Clone(h)
	for _, name := range names {
		if h[name] != nil {
			h[name] = []string{Mark}
		}
	}
	return h
}

// HeaderWords returns the words in the headers of these names: each value, what
// follows the scheme in it, and those of cookies.
func HeaderWords(h http.Header, names []string) []string {
	var words []string
	for _, name := range names {
		value := h.Get(name)
		_, credentials, _ := strings.Cut(value, " ")
		words = append(words, value, credentials)
		if name == "Cookie" {
			cookies, _ := http.ParseCookie(value)
			for _, c := range cookies {
				words = append(words, c.Value)
			}
		}
	}
	return words
}

// Query returns a URL with [Mark] as its query, if it has one, and the words in
// that: itself and each value.
func Query(address string) (marked string, words []string) {
	before, query, ok := strings.Cut(address, "?")
	if !ok {
		return address, nil
	}
	values, _ := url.ParseQuery(query) // what there is, also where some is malformed
	return before + "?" + Mark, append(slices.Concat(slices.Collect(maps.Values(values))...), query)
}

// Holds reports whether a text contains the word: as it is, quoted, escaped, in
// hexadecimal, or anywhere within something in base64.
func Holds(text, word string) bool {
	if word == "" {
		return false
	}
	quoted := strconv.Quote(word)
	for _, escaped := range append(escaped(word), quoted[1:len(quoted)-1]) {
		if strings.Contains(text, escaped) {
			return true
		}
	}
	if len(word) < minWord { // too little to be recognised in the rest
		return false
	}
	if strings.Contains(strings.ToLower(text), hex.EncodeToString([]byte(word))) {
		return true
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for offset := range 3 {
			// The characters that depend on the neighbours are left out.
			encoded := encoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + word))
			first := (offset*8 + 5) / 6
			last := (offset + len(word)) * 8 / 6
			if strings.Contains(text, encoded[first:last]) {
				return true
			}
		}
	}
	return false
}

// escaped returns the word, and how it stands in JSON and in a URL.
func escaped(word string) []string {
	forms := []string{word, url.QueryEscape(word), url.PathEscape(word)}
	if utf8.ValidString(word) {
		text, _ := json.Marshal(word) // escapes for HTML, as most writers do
		forms = append(forms, string(text[1:len(text)-1]))
	}
	return forms
}
