// Package redact takes words that must not be seen out of what others have
// written.
//
// A word is found as it stands and where it is escaped, in JSON or in a URL,
// whoever has escaped what of it: the text is unescaped and searched again, rather
// than the word escaped in all the ways there are. A search passes over a text
// once, however many words there are.
package redact

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// Mark stands for a word that was taken out.
const Mark = "[redacted]"

const (
	// minWord is the length from which on a word is looked for: a shorter one is
	// no secret, and is found where it does not stand for itself.
	minWord = 8
	// minCut is how much of a word that is cut off by the end of a text is taken
	// for one.
	minCut = minWord / 2
)

// Words are words that must not be seen. The zero value has none.
type Words struct {
	words []string // sorted
	// nodes are the beginnings of words, as Aho and Corasick link them ("Efficient
	// string matching", 1975): the shorter before the longer, those that differ in
	// their last byte alone beside each other. The first is "", the last no node.
	nodes  []node
	last   []byte     // of each node
	filter [16]uint64 // of what words begin with
}

type node struct {
	length int32
	first  int32 // of those that are one byte longer, up to the first of the next node
	back   int32 // the longest other node that this one ends with
	word   int32 // the length of the longest word that it ends with, 0 for none
}

// New returns the words, but for those that are too short to be a secret.
func New(words ...string) Words {
	words = slices.DeleteFunc(slices.Clone(words), func(s string) bool { return len(s) < minWord })
	slices.Sort(words)
	words = slices.Compact(words)
	if len(words) == 0 {
		return Words{}
	}
	w := Words{words: words, nodes: make([]node, 1), last: make([]byte, 1)}
	for _, word := range words {
		bit := hash([]byte(word[:minCut]))
		w.filter[bit/64] |= 1 << (bit % 64)
	}
	ranges := []span{{0, len(words)}} // of the words that begin with each node
	for n := 0; n < len(w.nodes); n++ {
		of, length := ranges[n], w.nodes[n].length
		if len(words[of.from]) == int(length) {
			of.from++
		}
		w.nodes[n].first = int32(len(w.nodes))
		for of.from < of.to {
			c, to := words[of.from][length], of.from+1
			for to < of.to && words[to][length] == c {
				to++
			}
			next := node{length: length + 1}
			if n > 0 {
				next.back = w.step(w.nodes[n].back, c)
			}
			if next.word = w.nodes[next.back].word; len(words[of.from]) == int(next.length) {
				next.word = next.length
			}
			w.nodes, w.last, ranges = append(w.nodes, next), append(w.last, c), append(ranges, span{of.from, to})
			of.from = to
		}
	}
	w.nodes = slices.Clip(append(w.nodes, node{first: int32(len(w.nodes))}))
	w.last = slices.Clip(w.last)
	return w
}

// Bytes returns b with each word replaced; b itself if there is none. cut says
// that b is only the beginning of something: a word that begins at its end is
// replaced too.
func (w *Words) Bytes(b []byte, cut bool) []byte {
	spans := w.spans(b, cut)
	if len(spans) == 0 {
		return b
	}
	return replace(b, spans)
}

// String is Bytes of a whole text.
func (w *Words) String(s string) string {
	if spans := w.spans([]byte(s), false); len(spans) > 0 {
		return string(replace([]byte(s), spans))
	}
	return s
}

// Holds reports whether a text contains one of the words, as the function Holds
// does.
func (w *Words) Holds(text string) bool {
	return slices.ContainsFunc(w.words, func(word string) bool { return Holds(text, word) })
}

// Holds reports whether a text contains the word: as it is, quoted, escaped, in
// hexadecimal, or anywhere within something in base64.
func Holds(text, word string) bool {
	if word == "" || len(word) > len(text) { // in no encoding is it shorter
		return false
	}
	quoted := strconv.Quote(word)
	if strings.Contains(text, word) || strings.Contains(text, quoted[1:len(quoted)-1]) {
		return true
	}
	for v := range views([]byte(text), false) {
		if strings.Contains(string(v.text), word) {
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

// span is a part of a text.
type span struct{ from, to int }

// spans returns what has to be taken out of b, in order. Parts that overlap are
// one.
func (w *Words) spans(b []byte, cut bool) []span {
	if len(w.words) == 0 {
		return nil
	}
	found := w.find(b, cut)
	if !bytes.ContainsAny(b, escapes) {
		return found
	}
	for v := range views(bytes.Clone(b), cut) { // of a copy: a string that is b here is not copied otherwise
		for _, s := range w.find(v.text, cut) {
			s = span{int(v.at[s.from]), int(v.at[s.to])}
			if cut && s.to == int(v.at[len(v.text)]) {
				s.to = len(b) // with the half of an escape
			}
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Compare(a.to, b.to) })
	apart := found[:0]
	for _, s := range found {
		apart = join(apart, s)
	}
	return apart
}

// join adds a span that ends no earlier than the last one.
func join(spans []span, s span) []span {
	for n := len(spans) - 1; n >= 0 && spans[n].to > s.from; n-- {
		s.from = min(s.from, spans[n].from)
		spans = spans[:n]
	}
	return append(spans, s)
}

// find returns where words are in b, as they are.
func (w *Words) find(b []byte, cut bool) (spans []span) {
	n := int32(0)
	for at := 0; at < len(b); at++ {
		if n == 0 { // most of a text begins no word
			for at+minCut <= len(b) && !w.may(b[at:]) {
				at++
			}
			if at+minCut > len(b) {
				break
			}
		}
		n = w.step(n, b[at])
		if length := int(w.nodes[n].word); length > 0 {
			spans = join(spans, span{at + 1 - length, at + 1})
		}
	}
	if length := int(w.nodes[n].length); cut && length >= minCut {
		spans = join(spans, span{len(b) - length, len(b)})
	}
	return spans
}

// step returns the longest node that n and then c end with.
func (w *Words) step(n int32, c byte) int32 {
	for {
		first := w.nodes[n].first
		if at := bytes.IndexByte(w.last[first:w.nodes[n+1].first], c); at >= 0 {
			return first + int32(at)
		}
		if n == 0 {
			return 0
		}
		n = w.nodes[n].back
	}
}

// may reports whether a word may begin with the first bytes of b.
func (w *Words) may(b []byte) bool {
	bit := hash(b)
	return w.filter[bit/64]&(1<<(bit%64)) != 0
}

// hash returns a number below 1,024 for the first minCut bytes.
func hash(b []byte) uint32 { return binary.LittleEndian.Uint32(b) * 0x9E3779B1 >> 22 }

func replace(b []byte, spans []span) []byte {
	out := make([]byte, 0, len(b)+len(spans)*len(Mark))
	at := 0
	for _, s := range spans {
		out = append(out, b[at:s.from]...)
		out = append(out, Mark...)
		at = s.to
	}
	return append(out, b[at:]...)
}
