package cursor

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"
	"time"
)

var at = time.Date(2026, 3, 29, 0, 59, 58, 123_456_000, time.UTC)

func TestParseReadsWhatFormatWrites(t *testing.T) {
	for _, id := range []string{"x", "with a space", "0198f5c4-7d5e-7c3a-8b1e-0a1b2c3d4e5f", strings.Repeat("i", 128), "ä\x00\xff"} {
		for _, created := range []time.Time{at, time.UnixMicro(0), time.UnixMicro(-1), earliest, latest, at.In(time.FixedZone("", 3600))} {
			got, gotID, ok := Parse('e', Format('e', created, id))
			if !ok || gotID != id || !got.Equal(created) || got.Location() != time.UTC {
				t.Errorf("%v %q came back as %v %q, %v", created, id, got, gotID, ok)
			}
		}
	}
}

func TestParseRefusesWhatFormatCannotHaveMade(t *testing.T) {
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	made := Format('e', at, "x")
	for name, cursor := range map[string]string{
		"nothing":                    "",
		"no base64":                  "%%%",
		"padding":                    made + "=",
		"a line break":               made[:4] + "\n" + made[4:],
		"bits left over":             encode("e1 x1")[:6] + "F",
		"another kind":               Format('d', at, "x"),
		"no kind":                    encode("1 x"),
		"no time":                    encode("e x"),
		"no ID":                      encode("e1"),
		"an empty ID":                encode("e1 "),
		"a sign":                     encode("e+1 x"),
		"leading zeros":              encode("e01 x"),
		"a time out of range":        encode("e9223372036854775808 x"),
		"the last time of an int64":  Format('e', time.UnixMicro(math.MaxInt64), "x"),
		"the first time of an int64": Format('e', time.UnixMicro(math.MinInt64), "x"),
		"one after the latest":       Format('e', latest.Add(time.Microsecond), "x"),
		"the zero time":              Format('e', earliest.Add(-time.Microsecond), "x"),
	} {
		if created, id, ok := Parse('e', cursor); ok {
			t.Errorf("%s: %q was read as %v %q", name, cursor, created, id)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(byte('e'), Format('e', at, "x"))
	f.Add(byte('d'), "ZDEgeA")
	f.Add(byte('v'), "")
	f.Add(byte('e'), "%")
	f.Fuzz(func(t *testing.T, kind byte, cursor string) {
		created, id, ok := Parse(kind, cursor)
		if !ok {
			return
		}
		if again := Format(kind, created, id); again != cursor {
			t.Errorf("%q was read, and is written %q", cursor, again)
		}
		if year := created.Year(); id == "" || year < 1 || year > 9999 {
			t.Errorf("%q was read as %v %q", cursor, created, id)
		}
	})
}
