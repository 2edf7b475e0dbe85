package webhook

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// FuzzStoredConfig puts any bytes where a store keeps the configuration of an
// endpoint: what is unreadable is an error that says so, and nothing that Register
// would not have let in is ever sent.
func FuzzStoredConfig(f *testing.F) {
	good := `{"url":"http://receiver.example/","secrets":[{"value":"` + testSecret + `"}]`
	for _, config := range []string{
		"", "null", "{}", "[]", "1", `"x"`, "{", "\x00", "\xff", good, good + "}", good + `,"url":"http://10.0.0.1/"}`, good + `,"URL":"http://127.0.0.1/"}`,
		good + `,"headers":{"X-A":"b"}}`, good + `,"headers":{"Content-Length":"0"}}`, good + `,"headers":{"X-A":"b\r\nHost: evil"}}`, good + `,"headers":{"Idempotency-Key":"x"}}`,
		good + `,"authScheme":"oauth2","authSecret":"x"}`, good + `,"authScheme":"bearer","authSecret":"a b"}`, good + `,"authScheme":"basic","authName":"a","authSecret":"b"}`,
		good + `,"rateLimit":-1}`, good + `,"rateLimit":1e999}`, good + `,"concurrency":-1}`, good + `,"concurrency":9223372036854775807}`, good + `,"profile":"unknown"}`,
		`{"url":"http://receiver.example/"}`, `{"url":"http://receiver.example/","secrets":[{"value":"garbage"}]}`, `{"url":"http://receiver.example/","secrets":[{"value":"` + testSecret + `","expiresAt":"2001-01-01T00:00:00Z"}]}`,
		good + `,"rootCAs":"garbage"}`, good + `,"certificate":"garbage","key":"c4n4ry"}`, good + `,"key":"c4n4ry"}`, `{"url":"https://receiver.example/","certificate":"-----BEGIN PRIVATE KEY-----\nc4n4ry\n-----END PRIVATE KEY-----"}`,
		`{"url":"file:///etc/passwd","secrets":[{"value":"` + testSecret + `"}]}`, `{"url":"http://a@receiver.example/"}`, `{"secrets":"c4n4ry"}`,
	} {
		f.Add([]byte(config))
	}
	var requests atomic.Pointer[http.Request]
	config := Config{Network: Network{AllowHTTP: true}}
	config.dial = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			in := bufio.NewReader(theirs)
			if first, err := in.Peek(1); err != nil || first[0] != 'P' {
				return // a handshake
			}
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			requests.Store(r)
			_, _ = io.WriteString(theirs, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
		}()
		return ours, nil
	}
	d, err := NewDispatcher(NewMemoryStore(), config)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		requests.Store(nil)
		d.store = NewMemoryStore()
		record := EndpointRecord{ID: "e", Patterns: []string{"*"}, Config: config}
		if _, err := d.store.PutEndpoint(t.Context(), record); err != nil {
			t.Fatal(err)
		}
		e, unreadable := record.endpoint()
		_, read := d.Endpoint(t.Context(), "e")
		page, listed := d.Endpoints(t.Context(), EndpointFilter{})
		if listed != nil || len(page.Items) != 1 || page.Items[0].Unreadable != (unreadable != nil) {
			t.Fatalf("%q: %+v, %v", config, page, listed)
		}
		_, revealed := d.Reveal(t.Context(), "e")
		for _, err := range []error{read, revealed} {
			if (err == nil) != (unreadable == nil) || err != nil && !strings.HasSuffix(err.Error(), `configuration of endpoint "e" is unreadable`) {
				t.Fatalf("%q: %v, want %v", config, err, unreadable)
			}
		}
		attempt, err := d.SendTest(t.Context(), "e", "ping")
		r := requests.Load()
		if err != nil || attempt.Error != "" || attempt.StatusCode == 0 {
			if r != nil {
				t.Fatalf("%q was sent: %v, %+v", config, err, attempt)
			}
			if err == nil && attempt.Error == "" || err != nil && len(err.Error()) > 4096 {
				t.Fatalf("%q: %v, %+v", config, err, attempt)
			}
			return
		}
		if err := errors.Join(unreadable, d.checkURL("URL", e.Tenant, e.URL), checkAuth(e.Auth), checkHeaders(e.Headers, nil)); err != nil || r == nil || e.RateLimit < 0 || e.Concurrency < 0 || e.Concurrency > 1<<31 {
			t.Fatalf("%q was sent: %v, %+v", config, err, e)
		}
		body, _ := io.ReadAll(r.Body)
		if err := (StandardWebhooks{}).Verify(r.Header, body, e.Secrets, time.Now()); err != nil {
			t.Fatalf("%q was sent: %v", config, err)
		}
		if name, value := e.Auth.header(); name != "" && r.Header.Get(name) != value {
			t.Fatalf("%q was sent with %q, want %q", config, r.Header, value)
		}
	})
}

// FuzzEndpointConfig: what Register lets in is what is read back.
func FuzzEndpointConfig(f *testing.F) {
	f.Add("https://a.example/", "text", testSecret, "bearer", "", "token", "X-A", "b", 2.5, 3, int64(1614265330), int64(1), 0)
	f.Add("https://a.example/?<>&\u2028", "\u2028<\u00e9", "\u00e9", "basic", "j\u00fcrgen", "p\u00e4", "x", "", 0.0, 0, int64(0), int64(0), 0)
	f.Add("https://a.example/", "\xff", "\xff", "basic", "\xff", "\xff", "\xff", "\xff", 1e308, -1, int64(253402300799), int64(999999999), 14*3600)
	f.Add("https://a.example/", "", testSecret, "apikey", "X-Key", "a b", "X", "1", 5e-324, 256, int64(253402300799), int64(0), 3600)
	f.Add("https://a.example/", "", testSecret, "", "", "", "X", "1", 1.0, 1, int64(4000000000), int64(1), 3208) // as Paris and others once had it
	f.Add("https://a.example/", "", testSecret, "", "", "", "X", "1", 1.0, 1, int64(4000000000), int64(1), 25*3600)
	d, err := NewDispatcher(NewMemoryStore(), Config{Profile: Profile{Signer: plainSigner{}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, url, text, secret, scheme, name, credential, header, value string, rate float64, concurrency int, seconds, nanoseconds int64, zone int) {
		expires := time.Unix(seconds, nanoseconds).In(time.FixedZone("", zone%(48*3600)))
		e := Endpoint{
			ID: "e", URL: url, Description: text, CreatedBy: text, Events: []string{"*"}, Secrets: []Secret{{Value: secret}, {Value: secret, ExpiresAt: expires}},
			Auth: Auth{Scheme: scheme, Name: name, Secret: Secret{Value: credential}}, Headers: map[string]string{header: value}, RateLimit: rate, Concurrency: concurrency,
		}
		if d.checkEndpoint(&e) != nil {
			return
		}
		record, err := e.record()
		if err != nil {
			t.Fatalf("%#v is let in: %v", e, err)
		}
		back, err := record.endpoint()
		if err != nil {
			t.Fatal(err)
		}
		if !back.Secrets[1].ExpiresAt.Equal(expires) || back.Secrets[0] != e.Secrets[0] || back.Secrets[1].Value != secret || back.Auth != e.Auth || back.URL != url ||
			back.Description != text || back.CreatedBy != text || len(back.Headers) != 1 || back.Headers[header] != value || back.RateLimit != rate || back.Concurrency != concurrency {
			t.Fatalf("%#v came back as %#v from %s; the secret expires at %v and %v", e, back, record.Config, expires, back.Secrets[1].ExpiresAt)
		}
	})
}

// FuzzMemoryStoreCursors asks each listing to go on behind any cursor: it is
// ErrInvalid, or the rest of what the listing shows, whose cursors lead on to its
// end, and never anything beyond the scope.
func FuzzMemoryStoreCursors(f *testing.F) {
	for _, cursor := range []string{"", "1", "2", "0", "-1", "+1", "01", "1 ", "x", "18446744073709551615", "18446744073709551616", "\x00", "\xff", "' OR 1=1 --", strings.Repeat("9", 10_000)} {
		f.Add(cursor, 2, true)
		f.Add(cursor, 0, false)
	}
	store := NewMemoryStore()
	d, err := NewDispatcher(store, Config{})
	if err != nil {
		f.Fatal(err)
	}
	for n := range 6 {
		tenant := []string{"a", "b"}[n%2]
		if _, err := d.Register(f.Context(), Endpoint{ID: strconv.Itoa(n), URL: "https://a.example/", Tenant: tenant}); err != nil {
			f.Fatal(err)
		}
		if _, err := d.Publish(f.Context(), Event{ID: strconv.Itoa(n), Type: "t", Tenant: tenant}); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, cursor string, limit int, all bool) {
		scope := Scope{Tenant: "a", All: all}
		goOn(t, "endpoints", cursor, limit, func(cursor string, limit int) ([]string, string, error) {
			page, err := store.ListEndpoints(t.Context(), EndpointFilter{Scope: scope, Cursor: cursor, Limit: limit})
			return ids(page.Items, func(e EndpointRecord) string { return e.ID }), page.Next, err
		})
		goOn(t, "deliveries", cursor, limit, func(cursor string, limit int) ([]string, string, error) {
			page, err := store.ListDeliveries(t.Context(), DeliveryFilter{Scope: scope, Cursor: cursor, Limit: limit})
			return ids(page.Items, func(d Delivery) string { return d.ID }), page.Next, err
		})
		goOn(t, "events", cursor, limit, func(cursor string, limit int) ([]string, string, error) {
			page, err := store.ListEvents(t.Context(), EventFilter{Scope: scope, Cursor: cursor, Limit: limit})
			return ids(page.Items, func(e EventRecord) string { return e.ID }), page.Next, err
		})
		if _, err := d.Tenant("a").Replay(t.Context(), ReplayFilter{Cursor: cursor, DryRun: true}); err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("replay from %q: %v", cursor, err)
		}
	})
}

func goOn(t *testing.T, what, cursor string, limit int, list func(cursor string, limit int) (ids []string, next string, err error)) {
	t.Helper()
	whole, next, err := list("", 1000)
	if err != nil || next != "" {
		t.Fatalf("%s: %v, and then %q", what, err, next)
	}
	got, next, err := list(cursor, limit)
	if err != nil {
		if !errors.Is(err, ErrInvalid) || len(err.Error()) > 500 || len(got) > 0 {
			t.Errorf("%s behind %q: %q, %v", what, cursor, got, err)
		}
		return
	}
	for next != "" {
		var more []string
		if more, next, err = list(next, limit); err != nil || len(more) == 0 {
			t.Fatalf("%s behind %q, further on: %q, %v", what, cursor, more, err)
		}
		got = append(got, more...)
	}
	if len(got) > len(whole) || !slices.Equal(got, whole[len(whole)-len(got):]) {
		t.Errorf("%s behind %q: %q, of %q", what, cursor, got, whole)
	}
	if arrival, err := strconv.ParseUint(cursor, 10, 64); err == nil && arrival > 1<<32 && what != "deliveries" && len(got) > 0 {
		t.Errorf("%s behind the end: %q", what, got)
	}
}

// FuzzParseRetryAfter: what is asked for is within a day, and is what RFC 9110,
// section 10.2.3 says, or nothing.
func FuzzParseRetryAfter(f *testing.F) {
	const now = 784111740 // Sun, 06 Nov 1994 08:49:00 GMT
	for _, value := range []string{
		"", "0", "120", " 120\t", "0120", "86401", "-1", "+1", "1.5", "1e3", "0x10", "1_000", "120, 240", "99999999999999999999", "18446744073709551616", strings.Repeat("0", 5000) + "1", "\u0661", "120\x00",
		"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Nov 1994 08:49:60 GMT", "sun, 06 nov 1994 08:49:37 gmt",
		"Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 0001 00:00:00 GMT", "Mon, 30 Feb 1994 00:00:00 GMT", " Sun, 06 Nov 1994 08:49:37 GMT ",
	} {
		f.Add(value, int64(now))
	}
	f.Add("Fri, 31 Dec 9999 23:59:59 GMT", int64(-1)<<62)
	f.Add("Thu, 01 Jan 0001 00:00:00 GMT", int64(1)<<62)
	number := regexp.MustCompile(`\A[0-9]+\z`)
	f.Fuzz(func(t *testing.T, value string, now int64) {
		at := time.Unix(now%1e11, 0)
		got := parseRetryAfter(http.Header{"Retry-After": {value}}, at)
		trimmed := strings.TrimSpace(value)
		want := time.Duration(0)
		if number.MatchString(trimmed) {
			digits := strings.TrimLeft(trimmed, "0")
			want = 24 * time.Hour
			if len(digits) <= 5 {
				seconds, _ := strconv.Atoi("0" + digits)
				want = min(want, time.Duration(seconds)*time.Second)
			}
		} else {
			for _, layout := range []string{http.TimeFormat, time.RFC850, time.ANSIC} {
				if date, err := time.Parse(layout, trimmed); err == nil {
					want = min(max(date.Sub(at), 0), 24*time.Hour)
					break
				}
			}
		}
		if got != want {
			t.Fatalf("%q at %v: %v, want %v", value, at, got, want)
		}
	})
}
