package sqlstore

import (
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
)

func TestHeadersAreStoredAsTheyAre(t *testing.T) {
	for _, h := range []http.Header{
		nil,
		{"Content-Type": {"application/json"}},
		{"Content-Type": {"application/json"}, "Set-Cookie": {"a=1", "b=2"}, "Webhook-Signature": {"v1,K5oZfz+/="}},
		{"A": {}},
		{"A": {}, "B": {"b"}},
		{"A": {""}},
		{`Quoted"`: {"a"}},
		{"A": {`"a"`, "b"}},
		{"A": {"b", `back\slash`}},
		{"A": {"tab\tand\nline"}},
		{"A": {"é and \u2028"}},
	} {
		text := sqliteHeaders(h)
		var got http.Header
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Errorf("%q became %s: %v", h, text, err)
			continue
		}
		if len(h)+len(got) > 0 && !reflect.DeepEqual(got, h) {
			t.Errorf("%q became %s, that is %q", h, text, got)
		}
	}
}
