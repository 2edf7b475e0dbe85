package portal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// document is a body from a stranger as a page shows it: inert text, bounded.
type document struct {
	Kind   string // "empty", "json", "text" or "binary"
	Tokens []token
	Cut    bool // there is more than is shown
}

// token is a run of text; Class is "" or that of a <span>.
type token struct{ Class, Text string }

const (
	maxShown  = 64 << 10 // bytes of text
	maxParsed = 1 << 20  // bytes of JSON that are looked at as such
	maxHex    = 512      // bytes of what is no text
	maxIndent = 40       // levels; what lies deeper is not moved further in
)

// pretty returns how a body is shown. whole says that it is all there: what broke
// off is no JSON.
func pretty(body []byte, whole bool) document {
	switch {
	case len(body) == 0:
		return document{Kind: "empty"}
	case whole && len(body) <= maxParsed && json.Valid(body) && utf8.Valid(body):
		return prettyJSON(body)
	}
	shown, cut := body, false
	if len(shown) > maxShown {
		shown, cut = shown[:maxShown], true
	}
	if cut || !whole { // not in the middle of a character
		shown = bytes.TrimRightFunc(shown, func(r rune) bool { return r == utf8.RuneError })
	}
	if !utf8.Valid(shown) || bytes.IndexByte(shown, 0) >= 0 {
		shown = body[:min(len(body), maxHex)]
		return document{Kind: "binary", Tokens: []token{{Text: hex.Dump(shown)}}, Cut: len(body) > maxHex}
	}
	return document{Kind: "text", Tokens: []token{{Text: visible(string(shown))}}, Cut: cut}
}

// printer writes tokens until there are enough of them.
type printer struct {
	tokens []token
	plain  strings.Builder
	size   int
}

func (p *printer) text(s string) {
	p.plain.WriteString(s)
	p.size += len(s)
}

func (p *printer) token(class, s string) {
	p.flush()
	p.tokens = append(p.tokens, token{class, s})
	p.size += len(s)
}

func (p *printer) flush() {
	if p.plain.Len() > 0 {
		p.tokens = append(p.tokens, token{Text: p.plain.String()})
		p.plain.Reset()
	}
}

func (p *printer) line(depth int) {
	p.text("\n" + strings.Repeat("  ", min(max(depth, 0), maxIndent)))
}

// prettyJSON indents valid JSON. It keeps the order of keys and the digits of
// numbers, and costs no more than what is shown, however deep it is.
func prettyJSON(b []byte) document {
	var p printer
	depth, cut := 0, false
	for at := 0; at < len(b); {
		if p.size > maxShown {
			cut = true
			break
		}
		switch c := b[at]; c {
		case ' ', '\t', '\r', '\n':
			at++
		case '{', '[':
			at++
			if end := skipSpace(b, at); b[end] == c+2 { // '}' and ']' are two after
				p.text(string(c) + string(c+2))
				at = end + 1
				break
			}
			p.text(string(c))
			depth++
			p.line(depth)
		case '}', ']':
			at++
			depth--
			p.line(depth)
			p.text(string(c))
		case ',':
			at++
			p.text(",")
			p.line(depth)
		case ':':
			at++
			p.text(": ")
		default:
			end := scalarEnd(b, at)
			p.token(scalarClass(b, at, end), visible(string(b[at:min(end, at+maxShown)])))
			cut = cut || end > at+maxShown
			at = end
		}
	}
	p.flush()
	return document{Kind: "json", Tokens: p.tokens, Cut: cut}
}

func skipSpace(b []byte, at int) int {
	for at < len(b) && strings.IndexByte(" \t\r\n", b[at]) >= 0 {
		at++
	}
	return at
}

// scalarEnd returns where the string, number or word at a place ends.
func scalarEnd(b []byte, at int) int {
	if b[at] != '"' {
		for at < len(b) && strings.IndexByte(" \t\r\n,]}:", b[at]) < 0 {
			at++
		}
		return at
	}
	for at++; b[at] != '"'; at++ {
		if b[at] == '\\' {
			at++
		}
	}
	return at + 1
}

func scalarClass(b []byte, at, end int) string {
	switch c := b[at]; {
	case c == '"':
		if next := skipSpace(b, end); next < len(b) && b[next] == ':' {
			return "j-key"
		}
		return "j-string"
	case c == '-' || '0' <= c && c <= '9':
		return "j-number"
	}
	return "j-word"
}

// visible writes out what would hide or move text: control characters, and those
// that change its direction or have no width.
func visible(s string) string {
	if strings.IndexFunc(s, hides) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !hides(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func hides(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r))
}
