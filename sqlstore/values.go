package sqlstore

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// stamp scans a time: PostgreSQL's, or microseconds since 1970. NULL is zero.
type stamp struct{ time.Time }

// Scan implements sql.Scanner.
func (s *stamp) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		s.Time = time.Time{}
	case time.Time:
		s.Time = v.UTC()
	case int64:
		s.Time = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("scan a time: unexpected %T", v)
	}
	return nil
}

// text scans a string that may be NULL.
type text string

// Scan implements sql.Scanner.
func (t *text) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*t = ""
	case string:
		*t = text(v)
	case []byte:
		*t = text(v)
	default:
		return fmt.Errorf("scan a text: unexpected %T", v)
	}
	return nil
}

// digest scans a SHA-256.
type digest [32]byte

// Scan implements sql.Scanner.
func (d *digest) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok {
		return fmt.Errorf("scan a digest: unexpected %T", v)
	}
	*d = digest{}
	copy(d[:], b)
	return nil
}

// headers scans what headersText has made.
type headers struct{ h *http.Header }

// Scan implements sql.Scanner.
func (h headers) Scan(v any) error {
	var t text
	if err := t.Scan(v); err != nil {
		return err
	}
	return json.Unmarshal([]byte(t), h.h)
}

// headersText returns headers as a JSON object. What needs no escaping, as
// nearly always, is written by hand: this is done twice for every attempt.
func headersText(h http.Header) string {
	text := make([]byte, 0, 512)
	plain := true
	quote := func(before byte, s string) {
		for i := range len(s) {
			c := s[i]
			plain = plain && ' ' <= c && c <= '~' && c != '"' && c != '\\'
		}
		text = append(append(append(text, before, '"'), s...), '"')
	}
	before := byte('{')
	for name, values := range h {
		quote(before, name)
		text = append(text, ':')
		before = '['
		for _, value := range values {
			quote(before, value)
			before = ','
		}
		plain = plain && before == ','
		text, before = append(text, ']'), ','
	}
	switch {
	case len(h) == 0:
		return "{}"
	case plain:
		return string(append(text, '}'))
	}
	b, err := json.Marshal(h)
	if err != nil {
		return "{}" // cannot be: it is made of strings
	}
	return string(b)
}

// storable returns a text as every database can keep it: what is no UTF-8, and
// the NUL that PostgreSQL refuses, become U+FFFD.
func storable(s string) string {
	if isStorable(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// isStorable reports whether a key may exist at all. What is asked for may be
// anything.
func isStorable(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// isUUID reports whether s is a UUID in the form that this package gives out.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}

// microseconds rounds up, so that what is greater than zero remains so.
func microseconds(d time.Duration) int64 {
	us := int64(d / time.Microsecond)
	if d%time.Microsecond > 0 {
		us++
	}
	return us
}
