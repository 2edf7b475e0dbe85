// Package jsjson writes JSON as JavaScript's JSON.stringify does, so that a
// reader who parses the text and stringifies it again gets the same bytes.
//
// In the words of ECMA-262, what it returns is JSON.stringify(JSON.parse(x)):
//
//   - no spaces between tokens;
//   - strings escape only what QuoteJSONString does: the quotation mark, the
//     backslash, control characters (\b \t \n \f \r, otherwise \u00xx in lower
//     case), and surrogates that stand alone (\udxxx); all else, <, >, & and
//     U+2028 included, is written as it is;
//   - numbers are written as Number::toString writes the nearest float64:
//     1500 for 1500.00, 100 for 1E2, 1e+21, 1e-7, and 0 for -0;
//   - the members of an object come in the order of OrdinaryOwnPropertyKeys:
//     array indices ("0" to "4294967294") first, ascending, then the others as
//     they stood; of members with the same name the last one's value counts, at
//     the place of the first.
//
// There are two differences, both in favour of keeping data:
//
//   - An integer literal (no fraction, no exponent) keeps all its digits. A
//     reader that parses numbers into float64 loses those beyond 2^53 and so
//     does not get the same bytes again; send such numbers as strings to it.
//   - A number with a fraction or an exponent that is beyond the range of
//     float64, which JavaScript would turn into null, is an error.
//
// A byte that is not valid UTF-8 becomes U+FFFD, as in encoding/json.
package jsjson

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth is how deep arrays and objects may nest: the limit of encoding/json
// when it reads, which it does not keep when it writes.
const maxDepth = 10000

// Marshal returns v as encoding/json encodes it, with its struct tags,
// Marshalers and errors, in the form that the package documentation describes.
// What a Marshaler or a json.RawMessage within v writes is brought into that
// form too. Values that nest deeper than 10,000 levels are an error.
func Marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return rewrite(buf.Bytes())
}

// Transform returns the JSON text src in the form that the package
// documentation describes. It returns src itself where that has the form
// already, and never changes it. A text that encoding/json would not read is
// an error.
func Transform(src []byte) ([]byte, error) {
	if !json.Valid(src) {
		var raw json.RawMessage
		return nil, json.Unmarshal(src, &raw) // says what is wrong, and where
	}
	return rewrite(src)
}

// AppendString appends s to dst as a JSON string with its quotation marks.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' {
				dst = append(dst, s[start:i]...)
				dst = appendRune(dst, rune(c))
				start = i + 1
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, s[start:i]...)
			dst = appendRune(dst, r)
			start = i + 1
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// rewrite brings src, which must be valid JSON, into the form. It returns src
// itself where nothing is to be changed.
func rewrite(src []byte) ([]byte, error) {
	w := writer{src: bytes.Trim(src, " \t\r\n"), members: make([]member, 0, 16)}
	if err := w.value(0); err != nil {
		return nil, err
	}
	return w.bytes(), nil
}

// writer reads src once, token by token, and notes only where the output
// differs from it: the output so far is out followed by src[done:pos]. While
// nothing differs, out stays empty and nothing is copied.
type writer struct {
	src  []byte
	pos  int // of the next byte to read
	out  []byte
	done int // src[:done] is in out

	members []member // of the objects around pos, the innermost last
	scratch []byte
}

// member is one member of an object, by offsets in the output.
type member struct {
	start, colon, end int   // the name without its colon is [start, colon)
	index             int64 // of the name as an array index; notIndex for others
}

const notIndex int64 = math.MaxUint32 // the greatest array index is one less

// bytes returns the whole output.
func (w *writer) bytes() []byte {
	if w.out == nil {
		return w.src
	}
	w.flush()
	return w.out
}

// written is the length of the output so far.
func (w *writer) written() int { return len(w.out) + w.pos - w.done }

// flush copies to out what is pending in src.
func (w *writer) flush() {
	if w.out == nil {
		w.out = make([]byte, 0, len(w.src)+len(w.src)/8)
	}
	w.out = append(w.out, w.src[w.done:w.pos]...)
	w.done = w.pos
}

// replace puts with in the place of the token that begins at pos and ends
// before end.
func (w *writer) replace(end int, with []byte) {
	w.flush()
	w.out = append(w.out, with...)
	w.pos, w.done = end, end
}

// at returns the bytes of the output from start to end, which lie within one
// token.
func (w *writer) at(start, end int) []byte {
	if end <= len(w.out) {
		return w.out[start:end]
	}
	shift := w.done - len(w.out)
	return w.src[start+shift : end+shift]
}

// space drops white space.
func (w *writer) space() {
	end := w.pos
	for w.src[end] <= ' ' {
		end++
	}
	if end > w.pos {
		w.replace(end, nil)
	}
}

// value reads a value that is depth levels deep.
func (w *writer) value(depth int) error {
	switch c := w.src[w.pos]; c {
	case '{', '[':
		if depth == maxDepth {
			return fmt.Errorf("json: nested deeper than %d levels", maxDepth)
		}
		if c == '{' {
			return w.object(depth + 1)
		}
		return w.array(depth + 1)
	case '"':
		w.string()
	case 't', 'n':
		w.pos += len("true")
	case 'f':
		w.pos += len("false")
	default:
		return w.number()
	}
	return nil
}

func (w *writer) array(depth int) error {
	for closed := w.next(']'); !closed; closed = w.next(']') {
		if err := w.value(depth); err != nil {
			return err
		}
	}
	return nil
}

// next passes the opening bracket or a comma, and reports whether it passed
// the closing bracket as well.
func (w *writer) next(closing byte) (closed bool) {
	w.space()
	if w.src[w.pos] != closing {
		w.pos++
		w.space()
	}
	if w.src[w.pos] != closing {
		return false
	}
	w.pos++
	return true
}

func (w *writer) object(depth int) error {
	first := len(w.members)
	for closed := w.next('}'); !closed; closed = w.next('}') {
		m := member{start: w.written()}
		w.string()
		m.colon = w.written()
		m.index = arrayIndex(w.at(m.start, m.colon))
		w.space()
		w.pos++ // the colon
		w.space()
		if err := w.value(depth); err != nil {
			return err
		}
		m.end = w.written()
		w.members = append(w.members, m)
	}
	w.order(w.members[first:])
	w.members = w.members[:first]
	return nil
}

// order puts the members of the object that was just read into their order.
func (w *writer) order(ms []member) {
	sorted := slices.IsSortedFunc(ms, byIndex)
	if sorted && !w.repeated(ms) {
		return
	}
	start, end := ms[0].start, ms[len(ms)-1].end
	kept := w.unique(ms)
	slices.SortStableFunc(kept, byIndex)

	w.flush()
	w.scratch = w.scratch[:0]
	for i, m := range kept {
		if i > 0 {
			w.scratch = append(w.scratch, ',')
		}
		w.scratch = append(w.scratch, w.out[m.start:m.end]...)
	}
	tail := w.out[end:] // the closing bracket
	w.out = append(append(w.out[:start], w.scratch...), tail...)
}

// repeated reports whether a name occurs twice. Most objects are maps, whose
// names encoding/json sorts, or small: these cost no map.
func (w *writer) repeated(ms []member) bool {
	name := func(m member) []byte { return w.at(m.start, m.colon) }
	ascending := true
	for i := 1; i < len(ms) && ascending; i++ {
		ascending = bytes.Compare(name(ms[i-1]), name(ms[i])) < 0
	}
	if ascending {
		return false
	}
	if len(ms) <= 16 {
		for i, m := range ms {
			if slices.ContainsFunc(ms[:i], func(o member) bool { return bytes.Equal(name(o), name(m)) }) {
				return true
			}
		}
		return false
	}
	return len(w.unique(ms)) < len(ms)
}

// unique returns the members with distinct names: each where its name occurred
// first, with the value that it had last.
func (w *writer) unique(ms []member) []member {
	kept := make([]member, 0, len(ms))
	place := make(map[string]int, len(ms))
	for _, m := range ms {
		name := string(w.at(m.start, m.colon))
		if i, ok := place[name]; ok {
			kept[i] = m
			continue
		}
		place[name] = len(kept)
		kept = append(kept, m)
	}
	return kept
}

func byIndex(a, b member) int { return cmp.Compare(a.index, b.index) }

// arrayIndex returns the array index that a name, given with its quotation
// marks, spells in canonical form (ECMA-262, section 6.1.7), or notIndex.
func arrayIndex(name []byte) int64 {
	digits := name[1 : len(name)-1]
	if len(digits) == 0 || len(digits) > len("4294967294") || digits[0] == '0' && len(digits) > 1 {
		return notIndex
	}
	n := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return notIndex
		}
		n = n*10 + int64(c-'0')
	}
	return min(n, notIndex)
}

// string reads a string.
func (w *writer) string() {
	plain := true
	end := w.pos + 1
	for {
		switch c := w.src[end]; {
		case c == '"':
			end++
			if plain {
				w.pos = end
			} else {
				w.replaceString(end)
			}
			return
		case c == '\\':
			plain = plain && plainEscape(w.src[end+1])
			end += 2
		case c < utf8.RuneSelf:
			end++
		default:
			r, size := utf8.DecodeRune(w.src[end:])
			plain = plain && (r != utf8.RuneError || size > 1)
			end += size
		}
	}
}

// plainEscape reports whether the escape \c is the form in which its character
// is written.
func plainEscape(c byte) bool { return c != 'u' && c != '/' }

// replaceString rewrites the string that begins at pos and ends before end.
func (w *writer) replaceString(end int) {
	w.flush()
	w.out = append(w.out, '"')
	for s := w.src[w.pos+1 : end-1]; len(s) > 0; {
		r, size := decode(s)
		w.out = appendRune(w.out, r)
		s = s[size:]
	}
	w.out = append(w.out, '"')
	w.pos, w.done = end, end
}

// decode returns the first character of the inside of a JSON string and how
// many bytes it takes there. It may be a surrogate that stands alone.
func decode(s []byte) (rune, int) {
	if s[0] != '\\' {
		return utf8.DecodeRune(s)
	}
	switch s[1] {
	case 'b':
		return '\b', 2
	case 't':
		return '\t', 2
	case 'n':
		return '\n', 2
	case 'f':
		return '\f', 2
	case 'r':
		return '\r', 2
	case 'u':
		r := unhex(s[2:6])
		if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
			if pair := utf16.DecodeRune(r, unhex(s[8:12])); pair != utf8.RuneError {
				return pair, 12
			}
		}
		return r, 6
	}
	return rune(s[1]), 2
}

// unhex returns the number that four hexadecimal digits spell.
func unhex(digits []byte) (r rune) {
	for _, c := range digits {
		if c <= '9' {
			c -= '0'
		} else {
			c = c | 0x20 - 'a' + 10
		}
		r = r<<4 | rune(c)
	}
	return r
}

// appendRune appends one character of a string as QuoteJSONString does
// (ECMA-262, section 25.5.2.3).
func appendRune(dst []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(dst, '\\', byte(r))
	case r == '\b':
		return append(dst, `\b`...)
	case r == '\t':
		return append(dst, `\t`...)
	case r == '\n':
		return append(dst, `\n`...)
	case r == '\f':
		return append(dst, `\f`...)
	case r == '\r':
		return append(dst, `\r`...)
	case r < ' ' || utf16.IsSurrogate(r):
		const hex = "0123456789abcdef"
		return append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
	}
	return utf8.AppendRune(dst, r)
}

// number reads a number.
func (w *writer) number() error {
	end, integer := w.pos, true
	for ; end < len(w.src) && isNumeric(w.src[end]); end++ {
		integer = integer && w.src[end] != '.' && w.src[end]|0x20 != 'e'
	}
	literal := w.src[w.pos:end]
	switch {
	case integer && string(literal) == "-0":
		w.replace(end, []byte("0"))
		return nil
	case integer:
		w.pos = end
		return nil
	}
	f, err := strconv.ParseFloat(string(literal), 64)
	if err != nil {
		return fmt.Errorf("json: number %.32s: %w", literal, errors.Unwrap(err))
	}
	w.scratch = appendFloat(w.scratch[:0], f)
	if bytes.Equal(w.scratch, literal) {
		w.pos = end
	} else {
		w.replace(end, w.scratch)
	}
	return nil
}

func isNumeric(c byte) bool {
	return '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.' || c|0x20 == 'e'
}

// appendFloat appends f as Number::toString writes it (ECMA-262, section
// 6.1.6.1.20).
func appendFloat(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0') // -0 too
	}
	if abs := math.Abs(f); 1e-6 <= abs && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') {
		dst[n-2] = dst[n-1] // e-07 is e-7
		dst = dst[:n-1]
	}
	return dst
}
