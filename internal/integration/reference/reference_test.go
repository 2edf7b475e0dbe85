// Package reference holds signatures against the reference library of Standard
// Webhooks. It is apart from the databases, which take minutes to be made ready
// for fuzzing.
package reference

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/outhook/webhook"
)

// FuzzVerifyAsTheReferenceDoes holds StandardWebhooks against the reference
// library of the specification: what we sign it verifies and the reverse, and
// what we accept it accepts. What it accepts beside that is listed. In the fuzzed
// header "$" stands for the right signature.
func FuzzVerifyAsTheReferenceDoes(f *testing.F) {
	key := bytes.Repeat([]byte{7}, 24)
	for _, signature := range []string{"", "$", "v1,x $", "$ v1,x", "v1a,$ v2,$", "$,x", " $ ", "$\n", "v1, $", strings.Repeat("v1,x ", 40) + "$"} {
		f.Add("msg_1", "1614265330", signature, []byte(`{"a":1}`), key)
		f.Add("msg.1", "+1614265330", signature, []byte("\x00"), bytes.Repeat(key, 3))
	}
	f.Add("", "01614265330", "$", []byte(nil), []byte(nil))
	f.Add("a", "-1", "$", []byte(nil), key)
	f.Add("a", "9223372036854775807", "$", []byte(nil), key)
	f.Fuzz(func(t *testing.T, id, timestamp, signature string, body, key []byte) {
		secret := webhook.Secret{Value: "whsec_" + base64.StdEncoding.EncodeToString(key)}
		reference, err := standardwebhooks.NewWebhook(secret.Value)
		if err != nil {
			t.Fatal(err)
		}
		scheme, secrets := webhook.StandardWebhooks{}, []webhook.Secret{secret}
		seconds, unreadable := strconv.ParseInt(timestamp, 10, 64)
		at := time.Unix(seconds, 0)
		right, err := reference.Sign(id, at, body)
		if err != nil {
			t.Fatal(err)
		}

		h := http.Header{}
		err = scheme.Sign(h, webhook.Message{ID: id, Timestamp: at, Body: body}, secrets)
		if refused := scheme.CheckSecret(secret) != nil || id == "" || strings.Contains(id, "."); (err != nil) != refused {
			t.Fatalf("Sign: %v", err)
		}
		if err == nil {
			if got := h.Get("webhook-signature"); got != right {
				t.Fatalf("signed %q, the reference %q", got, right)
			}
			if err := reference.VerifyIgnoringTimestamp(body, h); err != nil {
				t.Fatalf("the reference refuses %q: %v", h, err)
			}
		}

		h = http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {timestamp}, "Webhook-Signature": {strings.ReplaceAll(signature, "$", right)}}
		ours := scheme.Verify(h, body, secrets, at)
		theirs := reference.VerifyIgnoringTimestamp(body, h)
		if ours == nil && theirs != nil {
			t.Fatalf("%q is accepted, the reference says: %v", h, theirs)
		}
		if ours != nil && !errors.Is(ours, webhook.ErrBadSignature) {
			t.Fatal(ours)
		}
		if ours != nil && theirs == nil {
			tokens := strings.Split(h.Get("webhook-signature"), " ")
			switch {
			case scheme.CheckSecret(secret) != nil: // keys of 24 to 64 bytes, says the specification
			case strings.Contains(id, "."): // two messages would have one signature
			case unreadable != nil, strconv.FormatInt(seconds, 10) != timestamp, len(timestamp) > 12:
			case len(tokens) > 32:
			case !slices.Contains(tokens, right): // "v1,signature,anything"
			default:
				t.Fatalf("%q is refused: %v", h, ours)
			}
		}
	})
}
