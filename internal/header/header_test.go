package header

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWhatIsSaidOfHeaders(t *testing.T) {
	many := make(map[string]string)
	for n := range maxHeaders + 1 {
		many["X-"+strings.Repeat("A", n+1)] = ""
	}
	for _, tt := range []struct {
		name    string
		headers map[string]string
		want    string // "": nothing
	}{
		{"none", nil, ""},
		{"ordinary ones", map[string]string{"X-A": "two words", "x-b": "", "!#$%&'*+-.^_`|~": "a\tb", "X-A-1": "~"}, ""},
		{"too many", many, "there are 51, want at most 50"},
		{"too much", map[string]string{"X-A": strings.Repeat("a", MaxBytes-2)}, "they have 8193 bytes"},
		{"an empty name", map[string]string{"": "v"}, `"" is not a header name`},
		{"a space in a name", map[string]string{"X A": "v"}, `"X A" is not`},
		{"a colon in a name", map[string]string{"X-A:": "v"}, `"X-A:" is not`},
		{"a letter that is not ASCII", map[string]string{"\u212aeep-Alive": "v"}, "is not a header name"},
		{"invalid UTF-8", map[string]string{"X-\xff": "v"}, "is not a header name"},
		{"a reserved name", map[string]string{"host": "v"}, "the header Host is reserved"},
		{"a reserved name, as CGI reads it", map[string]string{"CONTENT_LENGTH": "v"}, "the header Content-Length is reserved"},
		{"two spellings", map[string]string{"X-Env": "a", "x-env": "b"}, "X-Env is there twice"},
		{"two spellings, as CGI reads them", map[string]string{"X-Env": "a", "X_Env": "b"}, "X_env is there twice"},
		{"a line break in a value", map[string]string{"X-A": "hunter2\r\nHost: b"}, "X-A: the value is not"},
		{"a space after a value", map[string]string{"X-A": "hunter2 "}, "X-A: the value is not"},
		{"a letter in a value that is not ASCII", map[string]string{"X-A": "hunter2é"}, "X-A: the value is not"},
	} {
		err := Check(tt.headers)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v shows a value", tt.name, err)
		}
	}
}

func TestWhatCanBeACredential(t *testing.T) {
	for value, want := range map[string]bool{
		"a": true, "two words": true, "~!": true,
		"": false, " a": false, "a ": false, "a\tb": false, "a\n": false, "ä": false, "\x7f": false,
	} {
		if got := IsCredential(value); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

func TestNamesThatAReceiverMayTakeForOthers(t *testing.T) {
	names := []string{"Webhook-Id", "X-Api-Key"}
	for name, want := range map[string]bool{
		"webhook-id": true, "WEBHOOK_ID": true, "X-Api_Key": true, "Webhook-Id-2": false, "Webhookid": false, "": false,
	} {
		if got := Among(names, name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// FuzzCheck: what passes arrives as it is.
func FuzzCheck(f *testing.F) {
	for _, h := range [][2]string{{"X-A", "b"}, {"x_a", "two words"}, {"X-A", "b\r\nHost: evil"}, {"X-A", "\x00"}, {"Content_Length", "0"}, {":path", "/"}} {
		f.Add(h[0], h[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		if Check(map[string]string{name: value}) != nil {
			return
		}
		sent := httptest.NewRequest(http.MethodPost, "http://a.example/", nil)
		sent.Header.Set(name, value)
		var text strings.Builder
		if err := sent.Header.Write(&text); err != nil {
			t.Fatal(err)
		}
		if want := http.CanonicalHeaderKey(name) + ": " + value + "\r\n"; text.String() != want {
			t.Errorf("%q was sent as %q", want, text.String())
		}
	})
}
