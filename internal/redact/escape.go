package redact

import (
	"bytes"
	"encoding/hex"
	"iter"
	"unicode/utf16"
	"unicode/utf8"
)

// view is a text without its escapes.
type view struct {
	text []byte
	// at is where each byte of text stood, and where the first stood that has no
	// part in it.
	at []int32
}

// escapes is what escapes begin with.
const escapes = `\%+`

// maxNested is how often JSON is looked for in strings of JSON.
const maxNested = 3

// views returns b without the escapes that there are in it: of JSON, of JSON
// within JSON, of a URL, of a form. With cut, half an escape at the end is none.
func views(b []byte, cut bool) iter.Seq[view] {
	return func(yield func(view) bool) {
		whole := view{text: b}
		of := whole
		for n := 0; n < maxNested && bytes.IndexByte(of.text, '\\') >= 0; n++ {
			if of = of.without(inJSON, cut); !yield(of) {
				return
			}
		}
		if bytes.IndexByte(b, '%') >= 0 && !yield(whole.without(inURL, cut)) {
			return
		}
		if bytes.IndexByte(b, '+') >= 0 {
			yield(whole.without(inForm, cut))
		}
	}
}

// decoder appends what the escape stands for that b begins with, or its first
// byte, and returns how long that is in b: 0 if b ends within an escape.
type decoder func(text, b []byte) ([]byte, int)

// without returns the view without one more kind of escapes.
func (v view) without(decode decoder, cut bool) view {
	from := func(at int) int32 {
		if v.at == nil {
			return int32(at)
		}
		return v.at[at]
	}
	next := view{text: make([]byte, 0, len(v.text)), at: make([]int32, 0, len(v.text)+1)}
	at := 0
	for at < len(v.text) {
		text, width := decode(next.text, v.text[at:])
		if width == 0 {
			if cut {
				break
			}
			text, width = append(text, v.text[at]), 1
		}
		for range len(text) - len(next.text) {
			next.at = append(next.at, from(at))
		}
		next.text = text
		at += width
	}
	next.at = append(next.at, from(at))
	return next
}

// inJSON knows the escapes of JSON, those that a writer has to make and those that
// it may, and \x of other languages.
func inJSON(text, b []byte) ([]byte, int) {
	if b[0] != '\\' {
		return append(text, b[0]), 1
	}
	if len(b) < 2 {
		return text, 0
	}
	switch b[1] {
	case 'b':
		return append(text, '\b'), 2
	case 'f':
		return append(text, '\f'), 2
	case 'n':
		return append(text, '\n'), 2
	case 'r':
		return append(text, '\r'), 2
	case 't':
		return append(text, '\t'), 2
	case '"', '\\', '/', '\'':
		return append(text, b[1]), 2
	case 'x':
		if n, width := digits(b, 2, 2); width > 0 {
			return append(text, byte(n)), width
		} else if width == 0 {
			return text, 0
		}
	case 'u':
		n, width := digits(b, 2, 4)
		if width == 0 {
			return text, 0
		}
		if width < 0 {
			break
		}
		r := rune(n)
		if utf16.IsSurrogate(r) {
			switch low, end := second(b[width:]); {
			case end == 0:
				return text, 0
			case end > 0:
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					width += end
				}
			}
		}
		return utf8.AppendRune(text, r), width
	}
	return append(text, '\\'), 1
}

// second returns the other half of a surrogate pair and its length; -1 if there is
// none, 0 if b ends before that is known.
func second(b []byte) (r rune, width int) {
	if len(b) > 0 && b[0] != '\\' || len(b) > 1 && b[1] != 'u' {
		return 0, -1
	}
	n, width := digits(b, 2, 4)
	return rune(n), width
}

// inURL knows percent-encoding.
func inURL(text, b []byte) ([]byte, int) {
	if b[0] == '%' {
		if n, width := digits(b, 1, 2); width >= 0 {
			if width == 0 {
				return text, 0
			}
			return append(text, byte(n)), width
		}
	}
	return append(text, b[0]), 1
}

// inForm is inURL where a plus sign is a space.
func inForm(text, b []byte) ([]byte, int) {
	if b[0] == '+' {
		return append(text, ' '), 1
	}
	return inURL(text, b)
}

// digits returns the number that so many hexadecimal digits behind the first bytes
// of b are, and the length of all that: -1 if there are other characters, 0 if b
// ends too early.
func digits(b []byte, first, count int) (n, width int) {
	if len(b) < first+count {
		for _, c := range b[min(first, len(b)):] {
			if !isHex(c) {
				return 0, -1
			}
		}
		return 0, 0
	}
	var d [2]byte
	if _, err := hex.Decode(d[:], b[first:first+count]); err != nil {
		return 0, -1
	}
	if count == 2 {
		return int(d[0]), first + count
	}
	return int(d[0])<<8 | int(d[1]), first + count
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
