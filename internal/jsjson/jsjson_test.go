package jsjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/outhook/webhook/internal/nodetest"
)

// transforms are JSON texts and what JSON.stringify(JSON.parse(text)) is;
// TestTransformEqualsNode holds the second column against a real JavaScript
// engine, except where exact says that an integer keeps digits which it loses.
var transforms = []struct {
	name, in, want string
	exact          bool
}{
	{name: "null", in: `null`, want: `null`},
	{name: "true", in: `true`, want: `true`},
	{name: "false", in: ` false `, want: `false`},
	{name: "empty object", in: "{ \n}", want: `{}`},
	{name: "empty array", in: "[\t\r]", want: `[]`},
	{name: "empty name and string", in: `{"": ""}`, want: `{"":""}`},
	{name: "spaces between tokens", in: " { \"b\" : [ 1 , {\"c\"\t: null} ] ,\r\n \"a\" : true } ", want: `{"b":[1,{"c":null}],"a":true}`},
	{name: "spaces within strings", in: `[" a b "]`, want: `[" a b "]`},

	{name: "unescaped HTML", in: `["\u003cb\u003e \u0026 <>&'"]`, want: `["<b> & <>&'"]`},
	{name: "line separators", in: `"\u2028\u2029"`, want: "\"\u2028\u2029\""},
	{name: "solidus", in: `"\/ /"`, want: `"/ /"`},
	{name: "short escapes", in: `"\b\t\n\f\r\"\\"`, want: `"\b\t\n\f\r\"\\"`},
	{name: "short escapes spelt long", in: `"\u0008\u0009\u000A\u000c\u000D\u0022\u005C"`, want: `"\b\t\n\f\r\"\\"`},
	{name: "other control characters", in: `"\u0000\u001F\u000b\u007F"`, want: `"\u0000\u001f\u000b` + "\x7f\""},
	{name: "escaped letters", in: `"\u0041\u00e9\u20ac"`, want: `"Aé€"`},
	{name: "surrogate pair", in: `"\uD83D\uDe00"`, want: `"😀"`},
	{name: "raw astral character", in: `"😀"`, want: `"😀"`},
	{name: "lone high surrogate", in: `"\uD83D!"`, want: `"\ud83d!"`},
	{name: "lone low surrogate", in: `"\uDE00"`, want: `"\ude00"`},
	{name: "surrogates in the wrong order", in: `"\uDE00\uD83D"`, want: `"\ude00\ud83d"`},
	{name: "lone surrogate before a pair", in: `"\ud83d\ud83d\ude00"`, want: `"\ud83d😀"`},
	{name: "lone surrogate before another escape", in: `"\ud83d\u0041\ud83d\n"`, want: `"\ud83dA\ud83d\n"`},
	{name: "lone surrogate in a name", in: `{"\uD800":1,"\uD801":2,"\ud800":3}`, want: `{"\ud800":3,"\ud801":2}`},

	{name: "zero", in: `[0,-0,0.0,-0.0,0e9,-0E-9]`, want: `[0,0,0,0,0,0]`},
	{name: "trailing zeros", in: `[1500.00,1.50,-1.0]`, want: `[1500,1.5,-1]`},
	{name: "exponents", in: `[1E2,1e+2,1e-2,12.5e1,1e0]`, want: `[100,100,0.01,125,1]`},
	{name: "large", in: `[1e20,1e21,1E+21,123456789e20,1.5e300]`, want: `[100000000000000000000,1e+21,1e+21,1.23456789e+28,1.5e+300]`},
	{name: "small", in: `[0.000001,0.0000001,1e-7,123e-9,1.5E-300]`, want: `[0.000001,1e-7,1e-7,1.23e-7,1.5e-300]`},
	{name: "shortest digits", in: `[0.1,0.30000000000000004,0.1000000000000000055511151231257827,3.14]`, want: `[0.1,0.30000000000000004,0.1,3.14]`},
	{name: "limits of float64", in: `[5e-324,1e-400,-1e-400,1.7976931348623157e308,2.2250738585072014e-308]`, want: `[5e-324,0,0,1.7976931348623157e+308,2.2250738585072014e-308]`},
	{name: "limits of exact integers", in: `[9007199254740991,-9007199254740992]`, want: `[9007199254740991,-9007199254740992]`},
	{name: "integers beyond 2^53", in: `[9007199254740993,18446744073709551615,1` + strings.Repeat("0", 400) + `]`, want: `[9007199254740993,18446744073709551615,1` + strings.Repeat("0", 400) + `]`, exact: true},
	{name: "fractions beyond 2^53", in: `[9007199254740993.0]`, want: `[9007199254740992]`},

	{name: "names in their order", in: `{"b":1,"a":2,"B":3}`, want: `{"b":1,"a":2,"B":3}`},
	{name: "array indices first, ascending", in: `{"b":0,"10":1,"a":0,"9":2,"0":3}`, want: `{"0":3,"9":2,"10":1,"b":0,"a":0}`},
	{name: "limits of array indices", in: `{"a":0,"4294967295":1,"4294967294":2,"99999999999":3}`, want: `{"4294967294":2,"a":0,"4294967295":1,"99999999999":3}`},
	{name: "numbers that are no array indices", in: `{"a":0,"01":1,"-1":2,"1.0":3,"1e1":4," 1":5,"00":6}`, want: `{"a":0,"01":1,"-1":2,"1.0":3,"1e1":4," 1":5,"00":6}`},
	{name: "escaped array indices", in: `{"a":0,"\u0031\u0030":1,"2":2}`, want: `{"2":2,"10":1,"a":0}`},
	{name: "repeated name", in: `{"a":1,"b":2,"a":{"c":3}}`, want: `{"a":{"c":3},"b":2}`},
	{name: "repeated name in other spelling", in: `{"\u0061":1,"b":2,"a":3}`, want: `{"a":3,"b":2}`},
	{name: "repeated array index", in: `{"1":"x","b":2,"0":3,"1":"yyy"}`, want: `{"0":3,"1":"yyy","b":2}`},
	{name: "repeated name at once", in: `{"a":1,"a":2}`, want: `{"a":2}`},
	{name: "order within order", in: `{"b":{"1":[{"y":1.0,"3":2,"2":3}],"0":{}},"1":{"b":"\u0062","a":1,"b":2}}`, want: `{"1":{"b":2,"a":1},"b":{"0":{},"1":[{"2":3,"3":2,"y":1}]}}`},
	{name: "prototype", in: `{"__proto__":1,"a":2,"__proto__":3,"constructor":4}`, want: `{"__proto__":3,"a":2,"constructor":4}`},
	{name: "many names, one repeated", in: `{"z":0,` + members(40) + `,"n7":"again"}`, want: `{"z":0,` + strings.Replace(members(40), `"n7":7`, `"n7":"again"`, 1) + `}`},
	{name: "many names, none repeated", in: `{"z":0,` + members(40) + `}`, want: `{"z":0,` + members(40) + `}`},
}

// members returns n members: "n0":0,"n1":1 and so on.
func members(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"n%d":%d`, i, i)
	}
	return strings.Join(list, ",")
}

func TestTransform(t *testing.T) {
	for _, tt := range transforms {
		t.Run(tt.name, func(t *testing.T) {
			src := []byte(tt.in)
			got, err := Transform(src)
			if err != nil || string(got) != tt.want {
				t.Errorf("Transform(%s) = %s, %v, want %s", tt.in, got, err, tt.want)
			}
			if string(src) != tt.in {
				t.Errorf("Transform changed its argument to %s", src)
			}
		})
	}
}

func TestTransformReplacesInvalidUTF8(t *testing.T) {
	got, err := Transform([]byte("{\"a\xff\":\"\xed\xa0\x80\",\"\xe2\x82\":\"€\uFFFD\"}"))
	want := "{\"a\uFFFD\":\"\uFFFD\uFFFD\uFFFD\",\"\uFFFD\uFFFD\":\"€\uFFFD\"}"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestTransformReturnsItsArgumentWhereNothingChanges(t *testing.T) {
	src := []byte(`{"1":"é\n\"","a":[1,-2.5,1e+21,true,null],"b":{"c":{},"d":[]}}`)
	got, err := Transform(src)
	if err != nil || &got[0] != &src[0] || len(got) != len(src) {
		t.Errorf("got %s, %v, want the argument itself", got, err)
	}
}

func TestTransformRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", ``, "unexpected end"},
		{"half a value", `{"a":`, "unexpected end"},
		{"two values", `1 2`, "after top-level value"},
		{"a trailing comma", `[1,]`, "looking for beginning of value"},
		{"not a number", `NaN`, "invalid character"},
		{"too large a number", `[1e400]`, "number 1e400: value out of range"},
		{"too large a negative number", `-1.5E+309`, "number -1.5E+309: value out of range"},
		{"too deep a text", strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), "exceeded max depth"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Transform([]byte(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %s, %v, want an error with %q", got, err, tt.want)
			}
		})
	}
}

// list nests as deep as it is long.
type list struct {
	Next *list `json:"next"`
}

func nested(depth int) *list {
	var l *list
	for range depth {
		l = &list{l}
	}
	return l
}

type marshaler string

func (m marshaler) MarshalJSON() ([]byte, error) { return []byte(m), nil }

func TestMarshal(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   any
		want string
	}{
		{"nil", nil, `null`},
		{"HTML", "<a href=\"x\">&</a>", `"<a href=\"x\">&</a>"`},
		{"line separators", "\u2028\u2029", "\"\u2028\u2029\""},
		{"control characters", "\x00\b\t\n\v\f\r\x1f\x7f", `"\u0000\b\t\n\u000b\f\r\u001f` + "\x7f\""},
		{"invalid UTF-8", "a\xff", "\"a\uFFFD\""},
		{"struct tags", struct {
			B int    `json:"b"`
			A string `json:"a,omitempty"`
			C string `json:"-"`
			D int    `json:",string"`
		}{B: 1, D: 2}, `{"b":1,"D":"2"}`},
		{"map", map[string]int{"b": 1, "a": 2, "10": 3, "9": 4}, `{"9":4,"10":3,"a":2,"b":1}`},
		{"map of numbers", map[int]bool{10: true, 9: false, -1: true}, `{"9":false,"10":true,"-1":true}`},
		{"floats", []float64{1500, 0.1, 1e21, 1e-7, math.Copysign(0, -1), 1 << 53}, `[1500,0.1,1e+21,1e-7,0,9007199254740992]`},
		{"float32", []float32{0.1, 1e21, 1e-6}, `[0.1,1e+21,0.000001]`},
		{"integers", []any{int64(math.MinInt64), uint64(math.MaxUint64)}, `[-9223372036854775808,18446744073709551615]`},
		{"json.Number", []json.Number{"1500.00", "1E2", "123456789012345678901234567890"}, `[1500,100,123456789012345678901234567890]`},
		{"bytes and time", []any{[]byte("hi"), time.Unix(0, 0).UTC()}, `["aGk=","1970-01-01T00:00:00Z"]`},
		{"raw message", json.RawMessage(`{ "b" : "\u003c" , "1" : 1.0 }`), `{"1":1,"b":"<"}`},
		{"raw message within", []any{json.RawMessage(`{"a":1,"a":2}`)}, `[{"a":2}]`},
		{"marshaler", map[string]any{"a": marshaler("\n[\"\\/\"]")}, `{"a":["/"]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Marshal(tt.in)
			if err != nil || string(got) != tt.want {
				t.Errorf("got %s, %v, want %s", got, err, tt.want)
			}
		})
	}
}

func TestMarshalRefuses(t *testing.T) {
	failure := errors.New("no text")
	for _, tt := range []struct {
		name string
		in   any
		want string
	}{
		{"a channel", make(chan int), "unsupported type"},
		{"not a number", math.NaN(), "unsupported value"},
		{"an invalid raw message", json.RawMessage(`{`), "unexpected end"},
		{"a marshaler that fails", failing{failure}, failure.Error()},
		{"too large a number", json.Number("1e400"), "value out of range"},
		{"too deep a value", nested(maxDepth + 1), "nested deeper than 10000 levels"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Marshal(tt.in)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %s, %v, want an error with %q", got, err, tt.want)
			}
		})
	}
	if _, err := Marshal(failing{failure}); !errors.Is(err, failure) {
		t.Errorf("errors.Is does not find the marshaler's error in %v", err)
	}
	if _, err := Marshal(nested(maxDepth)); err != nil {
		t.Errorf("the deepest value: %v", err)
	}
}

type failing struct{ err error }

func (f failing) MarshalJSON() ([]byte, error) { return nil, f.err }

func TestAppendString(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", `""`},
		{"plain", `"plain"`},
		{`"\/`, `"\"\\/"`},
		{"\b\t\n\f\r\x00\x1f\x7f", `"\b\t\n\f\r\u0000\u001f` + "\x7f\""},
		{"<é\u2028😀>", "\"<é\u2028😀>\""},
		{"\xffa\xed\xa0\x80\uFFFD", "\"\uFFFDa\uFFFD\uFFFD\uFFFD\uFFFD\""},
	} {
		if got := string(AppendString([]byte("x"), tt.in)); got != "x"+tt.want {
			t.Errorf("AppendString(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

// stringified is JSON.stringify(JSON.parse(text)) in Node.js.
const stringified = `text => JSON.stringify(JSON.parse(text))`

// TestTransformEqualsNode compares with Node.js, over the table above and
// pseudo-random documents. FuzzTransformEqualsNode does so over any bytes.
func TestTransformEqualsNode(t *testing.T) {
	node := nodetest.Start(t, stringified)
	var texts []string
	for _, tt := range transforms {
		if !tt.exact {
			texts = append(texts, tt.in)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		var b strings.Builder
		writeRandom(&b, random, 3)
		texts = append(texts, b.String())
	}
	for _, text := range texts {
		want, err := node.Call(t, text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Transform([]byte(text)); err != nil || string(got) != want {
			t.Fatalf("Transform(%s) = %s, %v, want %s", text, got, err, want)
		}
	}
}

// writeRandom writes a random JSON text, in any spelling that the grammar
// allows, with integers up to 2^53 and numbers within float64.
func writeRandom(b *strings.Builder, r *rand.Rand, depth int) {
	kind := r.IntN(8)
	if depth == 0 {
		kind = r.IntN(5)
	}
	writeSpace(b, r)
	defer writeSpace(b, r)
	switch kind {
	case 0:
		b.WriteString([]string{"null", "true", "false"}[r.IntN(3)])
	case 1:
		writeString(b, r, r.IntN(8))
	case 2, 3, 4:
		b.WriteString(randomNumber(r))
	case 5:
		b.WriteByte('[')
		for i := range r.IntN(5) {
			if i > 0 {
				b.WriteByte(',')
			}
			writeRandom(b, r, depth-1)
		}
		writeSpace(b, r)
		b.WriteByte(']')
	default:
		b.WriteByte('{')
		for i := range r.IntN(24) {
			if i > 0 {
				b.WriteByte(',')
			}
			writeSpace(b, r)
			if r.IntN(2) == 0 {
				writeString(b, r, r.IntN(2))
			} else {
				fmt.Fprintf(b, "%q", strconv.FormatUint(r.Uint64N(1<<r.IntN(36)), 10))
			}
			writeSpace(b, r)
			b.WriteByte(':')
			writeRandom(b, r, depth-1)
		}
		writeSpace(b, r)
		b.WriteByte('}')
	}
}

func writeSpace(b *strings.Builder, r *rand.Rand) {
	if r.IntN(4) == 0 {
		b.WriteString([]string{" ", "\t", "\n", "\r\n  "}[r.IntN(4)])
	}
}

func writeString(b *strings.Builder, r *rand.Rand, n int) {
	b.WriteByte('"')
	for range n {
		switch r.IntN(6) {
		case 0:
			b.WriteString([]string{`\b`, `\t`, `\n`, `\f`, `\r`, `\"`, `\\`, `\/`}[r.IntN(8)])
		case 1:
			fmt.Fprintf(b, `\u%04x`, r.IntN(256))
		case 2:
			fmt.Fprintf(b, `\u%04X`, 0xD800+r.IntN(0x800))
		case 3:
			fmt.Fprintf(b, `\u%04x\u%04X`, 0xD800+r.IntN(0x400), 0xDC00+r.IntN(0x400))
		case 4:
			b.WriteRune([]rune{'é', '€', '😀', '\u2028', '\x7f', '\uFEFF', '\uFFFD'}[r.IntN(7)])
		default:
			b.WriteByte("abc<>&' /0123"[r.IntN(13)])
		}
	}
	b.WriteByte('"')
}

func randomNumber(r *rand.Rand) string {
	switch r.IntN(4) {
	case 0:
		return strconv.FormatInt(r.Int64N(1<<54)-1<<53, 10)
	case 1:
		for {
			f := math.Float64frombits(r.Uint64())
			if !math.IsNaN(f) && !math.IsInf(f, 0) {
				return strconv.FormatFloat(f, 'e', []int{-1, 3, 16, 25}[r.IntN(4)], 64)
			}
		}
	case 2:
		return strconv.FormatFloat(r.NormFloat64()*1000, 'f', r.IntN(20)+1, 64)
	default:
		return fmt.Sprintf("%d.%de%+d", r.IntN(100), r.IntN(100), r.IntN(60)-30)
	}
}

func FuzzTransform(f *testing.F) {
	for _, tt := range transforms {
		f.Add([]byte(tt.in))
	}
	f.Add([]byte("[\"\xff\",1e400]"))
	f.Fuzz(func(t *testing.T, src []byte) {
		before := bytes.Clone(src)
		got, err := Transform(src)
		if !bytes.Equal(src, before) {
			t.Fatalf("changed its argument %q to %q", before, src)
		}
		if err != nil {
			if json.Valid(src) && !errors.Is(err, strconv.ErrRange) {
				t.Fatalf("refused %q: %v", src, err)
			}
			return
		}
		if !json.Valid(got) || !utf8.Valid(got) {
			t.Fatalf("Transform(%q) = %q, which is not JSON in UTF-8", src, got)
		}
		again, err := Transform(got)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("Transform(%q) = %q, again %q, %v", src, got, again, err)
		}
		want, ambiguous := parse(t, src)
		if have, _ := parse(t, got); !ambiguous && !reflect.DeepEqual(have, want) {
			t.Fatalf("Transform(%q) = %q, which means %v, not %v", src, got, have, want)
		}
	})
}

// parse returns what a JSON text means, its numbers as Transform should write
// them. It is ambiguous where a name holds U+FFFD, which is what encoding/json
// makes of every lone surrogate, so that distinct names may look the same.
func parse(t *testing.T, text []byte) (v any, ambiguous bool) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("parsing %q: %v", text, err)
	}
	var walk func(v any) any
	walk = func(v any) any {
		switch v := v.(type) {
		case []any:
			for i := range v {
				v[i] = walk(v[i])
			}
		case map[string]any:
			for name := range v {
				ambiguous = ambiguous || strings.ContainsRune(name, utf8.RuneError)
				v[name] = walk(v[name])
			}
		case json.Number:
			if string(v) == "-0" {
				return "0"
			}
			if f, err := v.Float64(); err == nil && strings.ContainsAny(string(v), ".eE") {
				text, _ := json.Marshal(f + 0) // 0 for -0
				return string(text)
			}
			return string(v)
		}
		return v
	}
	return walk(v), ambiguous
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "<\u2028\"\\/>", "\x00\x1f\x7f\b\v", "\xff\xed\xa0\x80😀"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := AppendString(nil, s)
		var back string
		if err := json.Unmarshal(got, &back); err != nil || back != string([]rune(s)) {
			t.Fatalf("AppendString(%q) = %s, which means %q, %v", s, got, back, err)
		}
		if want, err := Marshal(s); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("AppendString(%q) = %s, Marshal %s, %v", s, got, want, err)
		}
	})
}

func BenchmarkMarshal(b *testing.B) {
	type party struct{ Name, Email, Role string }
	v := struct {
		ID      string         `json:"id"`
		Title   string         `json:"title"`
		Amount  float64        `json:"amount"`
		Parties []party        `json:"parties"`
		Meta    map[string]any `json:"meta"`
	}{"doc_1", "Contract <A>", 1500, make([]party, 10), map[string]any{"a": 1, "b": "é", "c": []int{1, 2, 3}}}
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jsjson", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Marshal(v); err != nil {
				b.Fatal(err)
			}
		}
	})
}
