package sqlstore

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/cursor"
)

// FuzzHeadersText: what is written for headers is read back, is JSON in UTF-8,
// and holds no byte that a database refuses.
func FuzzHeadersText(f *testing.F) {
	for _, s := range []string{"", "application/json", `"a"`, `back\slash`, "tab\tand\nline", "é and \u2028", "\x00", "\x7f", "\xff", "</script>", strings.Repeat("a", 600)} {
		f.Add("Content-Type", s, "b", true)
		f.Add(s, "a", s, false)
	}
	f.Fuzz(func(t *testing.T, name, first, second string, two bool) {
		h := http.Header{name: {first}}
		if two {
			h[name] = append(h[name], second)
			h[name+"2"] = []string{}
		}
		text := headersText(h)
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			t.Fatalf("%q became %q", h, text)
		}
		var got http.Header
		if err := (headers{&got}).Scan(text); err != nil {
			t.Fatalf("%q became %s: %v", h, text, err)
		}
		valid := func(s string) string { return string([]rune(s)) }
		want := http.Header{}
		for name, values := range h {
			for _, v := range values {
				want[valid(name)] = append(want[valid(name)], valid(v))
			}
		}
		for name, values := range want {
			if !slices.Equal(got[name], values) {
				t.Fatalf("%q became %s, that is %q", h, text, got)
			}
		}
	})
}

// FuzzScan reads any value that a driver may hand over: it is an error or what
// it says, never a panic.
func FuzzScan(f *testing.F) {
	f.Add([]byte("{}"), int64(0))
	f.Add([]byte(`{"A":["b"]}`), int64(-1)<<63)
	f.Add([]byte(`{"A":"b"}`), int64(1)<<62)
	f.Add([]byte("null"), int64(-62135596800000000))
	f.Add([]byte("\xff{"), int64(253402300799999999))
	f.Fuzz(func(t *testing.T, b []byte, n int64) {
		for _, v := range []any{nil, b, string(b), n, float64(n), n > 0, time.UnixMicro(n)} {
			var s stamp
			switch err := s.Scan(v); v := v.(type) {
			case nil:
				if err != nil || !s.IsZero() {
					t.Errorf("a time of NULL is %v, %v", s, err)
				}
			case int64:
				if err != nil || s.UnixMicro() != v || s.Location() != time.UTC {
					t.Errorf("the time %d is %v, %v", v, s, err)
				}
			case time.Time:
				if err != nil || !s.Equal(v) || s.Location() != time.UTC {
					t.Errorf("the time %v is %v, %v", v, s, err)
				}
			default:
				if err == nil {
					t.Errorf("%T is the time %v", v, s)
				}
			}
			var got text
			switch err := got.Scan(v); v.(type) {
			case nil:
				if err != nil || got != "" {
					t.Errorf("NULL is %q, %v", got, err)
				}
			case []byte, string:
				if err != nil || string(got) != string(b) {
					t.Errorf("%q is %q, %v", b, got, err)
				}
			default:
				if err == nil {
					t.Errorf("%T is the text %q", v, got)
				}
			}
			var h http.Header
			err := (headers{&h}).Scan(v)
			var want map[string][]string
			wanted := json.Unmarshal(b, &want)
			switch v.(type) {
			case []byte, string:
				if (err == nil) != (wanted == nil) || len(h) != len(want) && err == nil {
					t.Errorf("%q are the headers %q, %v, want %q, %v", b, h, err, want, wanted)
				}
			default:
				if err == nil {
					t.Errorf("%T are the headers %q", v, h)
				}
			}
		}
	})
}

// FuzzTexts: what is stored of a text is what every database keeps, and a UUID is
// one in the form that is given out, of which PostgreSQL never complains.
func FuzzTexts(f *testing.F) {
	for _, s := range []string{"", "żółć", "a\x00b", "a\xffb\xfe\xff", "\xed\xa0\x80", "0190b6d5-8f3e-7c3a-9b1e-1a2b3c4d5e6f", "0190B6D5-8F3E-7C3A-9B1E-1A2B3C4D5E6F", "{0190b6d5-8f3e-7c3a-9b1e-1a2b3c4d5e6f}", "0190b6d58f3e7c3a9b1e1a2b3c4d5e6f", "urn:uuid:0190b6d5-8f3e-7c3a-9b1e-1a2b3c4d5e6f", "0190b6d5-8f3e-7c3a-9b1e-1a2b3c4d5e6g"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := storable(s)
		if !utf8.ValidString(got) || strings.ContainsRune(got, 0) || isStorable(s) != (got == s) || storable(got) != got {
			t.Errorf("storable(%q) is %q, isStorable %t", s, got, isStorable(s))
		}
		id, err := uuid.Parse(s)
		if want := err == nil && id.String() == s; isUUID(s) != want {
			t.Errorf("isUUID(%q) is %t, want %t", s, isUUID(s), want)
		}
		list := []string{s, got}
		var back []string
		if err := json.Unmarshal([]byte(jsonList(list)), &back); err != nil || len(back) != 2 || back[1] != got {
			t.Errorf("%q is the list %q, %v", list, jsonList(list), err)
		}
	})
}

// FuzzCursor: a cursor changes parameters and never the statement, and one that
// names no time that a database knows is refused before it is asked.
func FuzzCursor(f *testing.F) {
	for _, created := range []time.Time{time.Unix(1614265330, 0), time.Unix(0, 1000), time.Unix(253402300799, 999999000)} {
		for _, id := range []string{"0190b6d5-8f3e-7c3a-9b1e-1a2b3c4d5e6f", "e", "", "' OR 1=1 --", "$1", "a\x00", "\xff", "a b"} {
			f.Add(cursor.Format('d', created, id), false)
			f.Add(cursor.Format('v', created, id), false)
		}
	}
	for _, s := range []string{"", "d", "d1614265330000000 e", "d99999999999999999999 e", "d-62135596800000000 e", "d253402300800000000 e", "d+1 e", "x e"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, text string, encode bool) {
		if encode {
			text = base64.RawURLEncoding.EncodeToString([]byte(text))
		}
		for _, d := range []dialect{postgreSQL{}, sqlite{}} {
			for _, uuid := range []bool{true, false} {
				w := where{args: []any{"acme"}}
				l := &listing{kind: 'd', newestFirst: true, tables: []string{"t"}, uuid: uuid}
				b, err := w.bounds(d, l, webhook.Scope{All: true}, time.Time{}, time.Time{}, text)
				if err != nil {
					if !errors.Is(err, webhook.ErrInvalid) || len(err.Error()) > 500 || !utf8.ValidString(err.Error()) || len(w.args) != 1 {
						t.Fatalf("%q: %v, %v", text, err, w.args)
					}
					continue
				}
				if text == "" {
					continue
				}
				item := "$3"
				if uuid {
					item += "::uuid"
				}
				if got, want := strings.Join(b.conditions(nil), " AND "), "(created_at, seq) < ($2::timestamptz, coalesce((SELECT seq FROM t WHERE id = "+item+
					" AND created_at = $2::timestamptz AND true), 9223372036854775807))"; got != want {
					t.Fatalf("%q: the statement is %q", text, got)
				}
				created, id, ok := cursor.Parse('d', text)
				if !ok || len(w.args) != 3 || w.args[2] != id || !isStorable(id) || uuid && !isUUID(id) {
					t.Fatalf("%q: %q", text, w.args)
				}
				at, ok := w.args[1].(time.Time)
				if n, isNumber := w.args[1].(int64); isNumber {
					at, ok = time.UnixMicro(n).UTC(), true
				}
				if !ok || !at.Equal(created) || at.Year() < 1 || at.Year() > 9999 {
					t.Fatalf("%q: it continues behind %v", text, w.args[1])
				}
			}
		}
	})
}

// FuzzSQLiteDSN: the path that SQLite and both drivers read from the name is the
// one that was given, and the settings are ours.
func FuzzSQLiteDSN(f *testing.F) {
	settings, _, _ := strings.Cut(SQLiteDSN("x"), "?")
	if settings != "file:x" {
		f.Fatal(settings)
	}
	_, settings, _ = strings.Cut(SQLiteDSN("x"), "?")
	for _, path := range []string{"webhooks.db", "/var/lib/a b?c#d.db", "dir/100%.db", "//data/x.db", "///x", "a:b", ":memory:", "file:x?mode=ro", "?_pragma=x", "ä", "\xff", "a%00b", "C:\\x", "a&b=c;d+e", "./x", ""} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		dsn := SQLiteDSN(path)
		rest, ok := strings.CutPrefix(dsn, "file:")
		name, query, found := strings.Cut(rest, "?")
		if !ok || !found || query != settings || strings.ContainsAny(name, "#") {
			t.Fatalf("%q became %q", path, dsn)
		}
		// https://sqlite.org/uri.html: what stands between "//" and "/" is an
		// authority, which must be empty.
		if after, ok := strings.CutPrefix(name, "//"); ok {
			authority, _, _ := strings.Cut(after, "/")
			if authority != "" {
				t.Fatalf("%q became %q, which has an authority", path, dsn)
			}
			name = after
		}
		if got, err := url.PathUnescape(name); err != nil || got != path {
			t.Fatalf("%q became %q, which is the path %q, %v", path, dsn, got, err)
		}
	})
}

// FuzzMicroseconds: a duration is rounded up, without overflow.
func FuzzMicroseconds(f *testing.F) {
	f.Add(int64(0))
	f.Add(int64(1))
	f.Add(int64(math.MaxInt64))
	f.Add(int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, n int64) {
		got := microseconds(time.Duration(n))
		if back := float64(got) * 1000; got > 0 != (n > 0) && n >= 0 || back-float64(n) > 1000 || float64(n)-back > 1000 {
			t.Errorf("%d ns are %d µs", n, got)
		}
	})
}
