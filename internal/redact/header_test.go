package redact

import (
	"net/http"
	"reflect"
	"slices"
	"testing"
)

func TestHeadersAreRedactedInACopy(t *testing.T) {
	h := http.Header{"Authorization": {"Bearer hunter2hunter2"}, "X-A": {"b"}}
	if got := Header(h, []string{"Cookie"}); reflect.ValueOf(got).Pointer() != reflect.ValueOf(h).Pointer() {
		t.Error("a copy was made for nothing")
	}
	got := Header(h, []string{"Cookie", "Authorization"})
	if want := (http.Header{"Authorization": {Mark}, "X-A": {"b"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if h.Get("Authorization") != "Bearer hunter2hunter2" {
		t.Error("what is sent was changed")
	}
}

func TestWordsAreTakenOutOfHeaders(t *testing.T) {
	h := http.Header{"X-Echo": {"a", "you sent hunter2hunter2"}}
	w := New("hunter2hunter2")
	w.Header(h)
	if want := (http.Header{"X-Echo": {"a", "you sent " + Mark}}); !reflect.DeepEqual(h, want) {
		t.Errorf("got %v, want %v", h, want)
	}
}

func TestTheWordsOfHeaders(t *testing.T) {
	h := http.Header{"Authorization": {"Bearer secret-token"}, "Cookie": {"a=first-secret; b=second-secret"}, "X-A": {"other"}}
	got := HeaderWords(h, []string{"Authorization", "Cookie", "X-Absent"})
	for _, want := range []string{"Bearer secret-token", "secret-token", "a=first-secret; b=second-secret", "first-secret", "second-secret"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among %q", want, got)
		}
	}
	if slices.Contains(got, "other") {
		t.Errorf("%q are too many", got)
	}
}

func TestTheWordsOfAURL(t *testing.T) {
	for address, want := range map[string][]string{
		"https://a.example":                             {"https://a.example"},
		"https://a.example/":                            {"https://a.example/"},
		"https://a.example?":                            {"https://a.example/" + Mark},
		"https://a.example:8443/p/long%2Bsegment/":      {"https://a.example:8443/" + Mark, "long%2Bsegment", "long+segment", "p"},
		"https://a.example/?key=a%20secret&x=y":         {"https://a.example/" + Mark, "a secret", "key=a%20secret&x=y", "y"},
		"https://a.example/%zz?key=secret&bad=%zz&k=s2": {"https://a.example/" + Mark, "%zz", "key=secret&bad=%zz&k=s2", "s2", "secret"},
		"no URL/of/any":                                 {"no URL/" + Mark, "any", "of"},
	} {
		marked, path, query := URL(address)
		words := slices.Concat(path, query)
		slices.Sort(words)
		words = slices.DeleteFunc(slices.Compact(words), func(w string) bool { return w == "" })
		if got := append([]string{marked}, words...); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
}
