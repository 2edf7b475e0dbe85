package nodetest

import (
	"strconv"
	"strings"
	"testing"
)

func TestFunctionsReturnAndThrow(t *testing.T) {
	f := Start(t, `text => { if (text === "no") throw new RangeError("not\nso"); return text + text.length; }`)
	for _, text := range []string{"", "a", "\n\x00\r", "é€😀", strings.Repeat("x", 1<<20)} {
		length := len([]rune(text))
		if text == "é€😀" {
			length++ // UTF-16
		}
		want := text + strconv.Itoa(length)
		if got, err := f.Call(t, text); err != nil || got != want {
			t.Errorf("%.20q: %.20q, %v, want %.20q", text, got, err, want)
		}
	}
	if got, err := f.Call(t, "a\xff"); err != nil || got != "a\uFFFD2" {
		t.Errorf("not UTF-8: %q, %v", got, err)
	}
	if got, err := f.Call(t, "no"); err == nil || got != "" || !strings.Contains(err.Error(), "RangeError: not\nso") {
		t.Errorf("%q, %v, want what was thrown", got, err)
	}
	if got, err := f.Call(t, "yes"); err != nil || got != "yes3" {
		t.Errorf("after it threw: %q, %v", got, err)
	}
}
