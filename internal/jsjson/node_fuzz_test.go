package jsjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/outhook/webhook/internal/nodetest"
)

// FuzzTransformEqualsNode holds Transform, and what encoding/json deems valid,
// against JSON.parse and JSON.stringify of a real JavaScript engine.
func FuzzTransformEqualsNode(f *testing.F) {
	node := nodetest.Start(f, stringified)
	for _, tt := range transforms {
		f.Add([]byte(tt.in))
	}
	for _, text := range []string{
		"", " ", "\ufeff1", "\v1", "\u00a01", "[1,]", "{,}", `{"a":1,}`, "01", "-", "1.", ".5", "+1", "1e", "1e+", "0x1", "'a'", "/**/1",
		"\"\x1f\"", "\"\x7f\u0080\"", `"\a"`, `"\u12"`, `"\u12G4"`, `"\`, "NaN", "nul", "nullx", "true false", "[\"\xff\xe2\x82\"]", "[1e400]", "[-1e400,0]",
		"9007199254740993", "[1.0,9007199254740993]", "123456789012345678901234567890", strings.Repeat("[", 200) + strings.Repeat("]", 200),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		// Every byte that is not UTF-8 becomes a U+FFFD of its own in Go; Node
		// makes one of several.
		text := string([]rune(string(src)))
		want, thrown := node.Call(t, text)
		if thrown != nil && strings.Contains(thrown.Error(), "RangeError") {
			t.Skip("nested too deep for JSON.stringify")
		}
		got, err := Transform(src)
		switch {
		case errors.Is(err, strconv.ErrRange):
			if thrown != nil || !strings.Contains(want, "null") { // what JavaScript makes of infinity
				t.Fatalf("Transform(%q): %v, but Node says %s, %v", src, err, want, thrown)
			}
			return
		case err != nil:
			if thrown == nil && !strings.Contains(err.Error(), "exceeded max depth") {
				t.Fatalf("Transform(%q): %v, but Node says %s", src, err, want)
			}
			return
		case thrown != nil:
			t.Fatalf("Transform(%q) = %s, but %v", src, got, thrown)
		}
		if beyondExact(t, got) {
			// Digits that JavaScript loses are the one difference.
			rounded, thrown := node.Call(t, string(got))
			if thrown != nil {
				t.Fatal(thrown)
			}
			got = []byte(rounded)
		}
		if string(got) != want {
			t.Fatalf("Transform(%q) = %s, but Node says %s", src, got, want)
		}
	})
}

// FuzzMarshalEqualsNode marshals Go values of all kinds: what comes out must stay
// the same through JSON.parse and JSON.stringify, and mean what
// encoding/json writes.
func FuzzMarshalEqualsNode(f *testing.F) {
	node := nodetest.Start(f, stringified)
	random := rand.New(rand.NewPCG(3, 4))
	for n := range 24 {
		seed := make([]byte, 8<<(n/6))
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(append([]byte{byte(n)}, seed...))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		in := entropy{src}
		v := in.value(5)
		// An HTML escape within a string of the tag ",string" is text to Node.
		var plain bytes.Buffer
		encoder := json.NewEncoder(&plain)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(v); err != nil {
			t.Fatalf("encoding/json of %#v: %v", v, err)
		}
		got, err := Marshal(v)
		if errors.Is(err, strconv.ErrRange) {
			return // a text of the RawMessages
		}
		if err != nil {
			t.Fatalf("Marshal(%#v): %v", v, err)
		}
		want, thrown := node.Call(t, plain.String())
		if thrown != nil {
			t.Fatal(thrown)
		}
		again, thrown := node.Call(t, string(got))
		if thrown != nil {
			t.Fatal(thrown)
		}
		if again != want || !beyondExact(t, got) && string(got) != want {
			t.Fatalf("Marshal(%#v) = %s, which Node makes %s of; of encoding/json's, %s", v, got, again, want)
		}
	})
}

// beyondExact reports whether a JSON text holds an integer beyond 2^53.
func beyondExact(t *testing.T, text []byte) bool {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			return false // the end
		}
		number, ok := token.(json.Number)
		if !ok || strings.ContainsAny(string(number), ".e") {
			continue
		}
		if n, err := number.Int64(); err != nil || n > 1<<53 || n < -1<<53 {
			return true
		}
	}
}

// entropy makes values of bytes; where they end, zeros follow.
type entropy struct{ b []byte }

func (e *entropy) byte() byte {
	if len(e.b) == 0 {
		return 0
	}
	c := e.b[0]
	e.b = e.b[1:]
	return c
}

func (e *entropy) Uint64() (n uint64) {
	for range 8 {
		n = n<<8 | uint64(e.byte())
	}
	return n
}

func (e *entropy) string() string {
	n := min(int(e.byte())%12, len(e.b))
	s := string(e.b[:n])
	e.b = e.b[n:]
	return s
}

func (e *entropy) float() float64 {
	f := math.Float64frombits(e.Uint64())
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// tagged is a struct as applications have them.
type tagged struct {
	B    string         `json:"b"`
	A    any            `json:"a,omitempty"`
	Two  float32        `json:"2"`
	One  *int64         `json:"1,omitempty"`
	Text string         `json:",string"`
	More map[string]any `json:"<more>"`
}

func (e *entropy) value(depth int) any {
	kind := e.byte() % 16
	if depth == 0 {
		kind %= 8
	}
	switch kind {
	case 0:
		return nil
	case 1:
		return e.byte()%2 == 0
	case 2:
		return int64(e.Uint64())
	case 3:
		return e.Uint64() >> (e.byte() % 64)
	case 4:
		return e.float()
	case 5:
		if f := math.Float32frombits(uint32(e.Uint64())); f == f && !math.IsInf(float64(f), 0) {
			return f
		}
		return float32(1e-7)
	case 6:
		return e.string()
	case 7:
		return []byte(e.string())
	case 8, 9:
		list := make([]any, e.byte()%6)
		for i := range list {
			list[i] = e.value(depth - 1)
		}
		return list
	case 10:
		m := map[int64]any{}
		for range e.byte() % 6 {
			m[int64(e.Uint64())>>(e.byte()%64)] = e.value(depth - 1)
		}
		return m
	case 11:
		one := int64(e.byte())
		return tagged{B: e.string(), A: e.value(depth - 1), Two: float32(one) / 8, One: &one, Text: e.string(), More: map[string]any{e.string(): e.value(depth - 1)}}
	case 12:
		// Any spelling that the grammar allows.
		var b strings.Builder
		writeRandom(&b, rand.New(rand.NewPCG(e.Uint64(), 0)), min(depth, 2))
		return json.RawMessage(b.String())
	default:
		m := map[string]any{}
		for range e.byte() % 24 {
			m[e.string()] = e.value(depth - 1)
		}
		return m
	}
}
