package webhook

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// consents answers an OPTIONS request with consent and this rate, none if empty,
// and all else as then does, nil with 204.
func consents(rate string, then http.HandlerFunc) http.HandlerFunc {
	if then == nil {
		then = status(http.StatusNoContent)
	}
	return func(w http.ResponseWriter, q *http.Request) {
		if q.Method != http.MethodOptions {
			then(w, q)
			return
		}
		w.Header().Set("WebHook-Allowed-Origin", "*")
		if rate != "" {
			w.Header().Set("WebHook-Allowed-Rate", rate)
		}
	}
}

// asking is testConfig with a profile that asks for consent, and one, "free", that
// does not.
func asking(r *receiver, v Verification) Config {
	c := testConfig(r)
	c.Profiles = map[string]Profile{"asking": {Verification: v}, "other": {Verification: v}, "free": {}}
	return c
}

var handshake = AbuseProtection{Origin: "webhooks.product.example"}

// verify is View.Verify where no error is expected.
func verify(t *testing.T, v *View, id string) Endpoint {
	t.Helper()
	if err := v.Verify(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return read(t, v, id)
}

func read(t *testing.T, v *View, id string) Endpoint {
	t.Helper()
	e, err := v.Endpoint(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestAnUnverifiedEndpointReceivesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, consents("", status(204)))
		c, told := asking(r, handshake), new(notices)
		c.Observer = told
		d := newDispatcher(t, NewMemoryStore(), c)
		e := register(t, d.View, Endpoint{Profile: "asking", Tenant: "acme", VerifiedAt: time.Now(), AllowedRate: 5})
		if !e.Disabled || e.DisabledReason != "not verified yet" || !e.VerifiedAt.IsZero() || e.AllowedRate != 0 || len(e.Secrets) != 1 {
			t.Errorf("registered %+v, want it unverified", e)
		}
		start(t, d)
		id := publish(t, d, Event{Tenant: "acme"}).EventID
		if ds := deliveries(t, d, DeliveryFilter{}); len(ds) != 0 {
			t.Errorf("deliveries %+v", ds)
		}
		_, err := d.SendTest(t.Context(), e.ID, "test")
		mustContain(t, err, ErrConflict, "send test to endpoint ", "Verify")
		mustContain(t, d.Enable(t.Context(), e.ID), ErrConflict, "enable endpoint ", "Verify")
		_, err = d.Replay(t.Context(), ReplayFilter{EndpointID: e.ID, Missed: true})
		mustContain(t, err, ErrConflict, "replay: ", "Verify")
		if result, err := d.Replay(t.Context(), ReplayFilter{EndpointID: e.ID, Missed: true, DryRun: true}); err != nil || result.Matched != 1 {
			t.Errorf("a dry run: %+v, %v", result, err)
		}
		if err := d.Disable(t.Context(), e.ID, "suspicious"); err != nil { // its reason goes, what it waits for stays
			t.Fatal(err)
		}
		mustContain(t, d.Enable(t.Context(), e.ID), ErrConflict, "Verify")
		if err := d.Disable(t.Context(), e.ID, reasonUnverified); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if n := len(r.all()); n != 0 || r.dialled.Load() != 0 {
			t.Fatalf("%d requests, %d connections before Verify", n, r.dialled.Load())
		}

		ctx := WithActor(t.Context(), "jo")
		if err := d.Tenant("acme").Verify(ctx, e.ID); err != nil {
			t.Fatal(err)
		}
		e = read(t, d.View, e.ID)
		if e.Disabled || e.DisabledReason != "" || !e.VerifiedAt.Equal(time.Now()) {
			t.Errorf("verified: %+v", e)
		}
		if got, want := noticed[EndpointVerified](told), []EndpointVerified{{e.ID, "acme", "jo"}}; !slices.Equal(got, want) {
			t.Errorf("notices %+v, want %+v", got, want)
		}
		if got, want := noticed[EndpointEnabled](told), []EndpointEnabled{{e.ID, "acme", "jo"}}; !slices.Equal(got, want) {
			t.Errorf("notices %+v, want %+v", got, want)
		}
		if result, err := d.Replay(t.Context(), ReplayFilter{EndpointID: e.ID, Missed: true}); err != nil || result.Created != 1 {
			t.Errorf("what it missed: %+v, %v", result, err)
		}
		time.Sleep(time.Second)
		got := r.all()
		if len(got) != 2 || got[0].Method != http.MethodOptions || got[1].Header.Get("Webhook-Id") != id {
			t.Fatalf("requests %+v, want the handshake and what was missed", got)
		}
		if o := got[1].Header.Get("WebHook-Request-Origin"); o != handshake.Origin { // section 2.1
			t.Errorf("the delivery's WebHook-Request-Origin is %q", o)
		}
		if a, err := d.SendTest(t.Context(), e.ID, "test"); err != nil || a.Error != "" {
			t.Errorf("a test send: %+v, %v", a, err)
		}
		if err := d.Enable(t.Context(), e.ID); err != nil {
			t.Errorf("Enable of an enabled one: %v", err)
		}
	})
}

func TestAHandshakeAsksTheURLItself(t *testing.T) {
	r := newReceiver(t, consents("", nil))
	d := newDispatcher(t, NewMemoryStore(), asking(r, AbuseProtection{Origin: "webhooks.product.example", Rate: 120}))
	e := register(t, d.View, Endpoint{Profile: "asking", URL: receiverURL + "?a=b", Auth: BearerToken("t0ken"), Headers: map[string]string{"X-Route": "7"}})
	if e = verify(t, d.View, e.ID); e.AllowedRate != 2 {
		t.Errorf("without an answer about the rate it is %v, want the 2 that were asked for", e.AllowedRate)
	}
	q := r.all()[0]
	want := http.Header{
		"Webhook-Request-Origin": {"webhooks.product.example"}, "Webhook-Request-Rate": {"120"},
		"User-Agent": {"Outhook/1"}, "Authorization": {"Bearer t0ken"}, "X-Route": {"7"},
	}
	if got := fmt.Sprint(q.Header); q.Method != "OPTIONS" || q.Path != "/hook?a=b" || len(q.Body) != 0 || got != fmt.Sprint(want) {
		t.Errorf("asked by %s %s %v, want OPTIONS with %v", q.Method, q.Path, q.Header, want)
	}
}

func TestOnlyTheRightHeaderIsConsent(t *testing.T) {
	const none, other, malformed = "the answer has no header WebHook-Allowed-Origin", "the answer's header WebHook-Allowed-Origin is neither webhooks.product.example nor *", "the answer's header WebHook-Allowed-Rate is neither a number of requests per minute nor *"
	for _, tt := range []struct {
		name   string
		status int
		origin []string
		rate   []string
		want   string  // of the error
		limit  float64 // per second
	}{
		{"the origin", 200, []string{"webhooks.product.example"}, nil, "", 0},
		{"the origin in capitals", 200, []string{"WebHooks.Product.Example"}, nil, "", 0},
		{"any origin", 204, []string{"*"}, nil, "", 0},
		{"consent by one that does not handle OPTIONS otherwise", 405, []string{"*"}, nil, "", 0},
		{"a rate", 200, []string{"*"}, []string{"90"}, "", 1.5},
		{"the lowest rate", 200, []string{"*"}, []string{"1"}, "", 1.0 / 60},
		{"the highest rate", 200, []string{"*"}, []string{"999999999999999999"}, "", 999999999999999999.0 / 60},
		{"any rate", 200, []string{"*"}, []string{"*"}, "", 0},
		{"no header", 200, nil, nil, none, 0},
		{"no header, but a rate", 200, nil, []string{"*"}, none, 0},
		{"an empty one", 200, []string{""}, nil, other, 0},
		{"a failure", 500, nil, nil, none, 0},
		{"another origin", 200, []string{"product.example"}, nil, other, 0},
		{"a longer origin", 200, []string{"webhooks.product.example.evil.example"}, nil, other, 0},
		{"a list", 200, []string{"webhooks.product.example, *"}, nil, other, 0},
		{"two of them", 200, []string{"*", "webhooks.product.example"}, nil, other, 0},
		{"a pattern", 200, []string{"*.product.example"}, nil, other, 0},
		{"the rate 0", 200, []string{"*"}, []string{"0"}, malformed, 0},
		{"a negative rate", 200, []string{"*"}, []string{"-5"}, malformed, 0},
		{"a rate with a sign", 200, []string{"*"}, []string{"+5"}, malformed, 0},
		{"a rate with a fraction", 200, []string{"*"}, []string{"1.5"}, malformed, 0},
		{"a rate of 19 digits", 200, []string{"*"}, []string{"9999999999999999999"}, malformed, 0},
		{"an empty rate", 200, []string{"*"}, []string{""}, malformed, 0},
		{"two rates", 200, []string{"*"}, []string{"5", "*"}, malformed, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Webhook-Allowed-Origin"], w.Header()["Webhook-Allowed-Rate"] = tt.origin, tt.rate
				w.WriteHeader(tt.status)
			})
			d := newDispatcher(t, NewMemoryStore(), asking(r, handshake))
			e := register(t, d.View, Endpoint{Profile: "asking"})
			err := d.Verify(t.Context(), e.ID)
			after := read(t, d.View, e.ID)
			if tt.want == "" {
				if err != nil || after.Disabled || after.VerifiedAt.IsZero() || after.AllowedRate != tt.limit {
					t.Errorf("%v, and %+v; want it verified with the rate %v", err, after, tt.limit)
				}
				return
			}
			mustContain(t, err, ErrNotVerified)
			if want := fmt.Sprintf("verify endpoint %q: not verified: %s", e.ID, tt.want); err.Error() != want {
				t.Errorf("error is %q, want %q", err, want)
			}
			if !after.Disabled || !after.VerifiedAt.IsZero() || after.Rev != e.Rev {
				t.Errorf("it is %+v afterwards", after)
			}
		})
	}
}

func TestAChallengeHasToComeBackAlone(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter, challenge string, body []byte)
		want   string
	}{
		{"the challenge", func(w http.ResponseWriter, challenge string, _ []byte) { _, _ = io.WriteString(w, challenge) }, ""},
		{"with a line break", func(w http.ResponseWriter, challenge string, _ []byte) { _, _ = io.WriteString(w, challenge+"\r\n") }, ""},
		{"created", func(w http.ResponseWriter, challenge string, _ []byte) {
			w.WriteHeader(201)
			_, _ = io.WriteString(w, challenge)
		}, ""},
		{"nothing", func(http.ResponseWriter, string, []byte) {}, "the answer's body is not the challenge"},
		{"what echoes every request", func(w http.ResponseWriter, _ string, body []byte) { _, _ = w.Write(body) }, "the answer's body is not the challenge"},
		{"half of it", func(w http.ResponseWriter, challenge string, _ []byte) { _, _ = io.WriteString(w, challenge[:20]) }, "the answer's body is not the challenge"},
		{"more than it", func(w http.ResponseWriter, challenge string, _ []byte) {
			_, _ = io.WriteString(w, challenge+" "+challenge)
		}, "the answer's body is not the challenge"},
		{"another", func(w http.ResponseWriter, challenge string, _ []byte) {
			_, _ = io.WriteString(w, strings.Repeat("A", len(challenge)))
		}, "the answer's body is not the challenge"},
		{"a failure that echoes", func(w http.ResponseWriter, challenge string, _ []byte) {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, challenge)
		}, "status 404"},
		{"a redirect", func(w http.ResponseWriter, challenge string, _ []byte) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(307)
			_, _ = io.WriteString(w, challenge)
		}, "status 307"},
		{"a body without end", func(w http.ResponseWriter, challenge string, _ []byte) {
			_, _ = io.WriteString(w, challenge+strings.Repeat(" ", 1<<20))
		}, "answer too large"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			challenges := make(map[string]bool)
			r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
				body, _ := io.ReadAll(q.Body)
				var asked struct{ Type, Challenge string }
				if err := json.Unmarshal(body, &asked); err != nil || asked.Type != "endpoint.verification" || len(asked.Challenge) != 43 {
					t.Errorf("asked with %s, %v", body, err)
					return
				}
				challenges[asked.Challenge] = true
				tt.answer(w, asked.Challenge, body)
			})
			d := newDispatcher(t, NewMemoryStore(), asking(r, ChallengeEcho{}))
			e := register(t, d.View, Endpoint{Profile: "asking", Auth: BasicAuth("user", "word")})
			for range 2 {
				err := d.Verify(t.Context(), e.ID)
				if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrNotVerified) || !strings.HasSuffix(err.Error(), ": not verified: "+tt.want)) {
					t.Errorf("error is %v, want %q", err, tt.want)
				}
			}
			if after := read(t, d.View, e.ID); after.Disabled != (tt.want != "") {
				t.Errorf("it is %+v afterwards", after)
			}
			if len(challenges) != 2 {
				t.Errorf("%d different challenges for two calls", len(challenges))
			}
			q := r.all()[0]
			if err := (StandardWebhooks{}).Verify(q.Header, q.Body, e.Secrets, time.Now()); err != nil {
				t.Errorf("the request is not signed: %v", err)
			}
			if q.Method != "POST" || q.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(q.Header.Get("Authorization"), "Basic ") {
				t.Errorf("asked by %s with %v", q.Method, q.Header)
			}
		})
	}
}

func TestAChallengeMayHaveATypeOfItsOwn(t *testing.T) {
	r, err := ChallengeEcho{Type: "url_verification"}.Request("https://receiver.example/", "abc")
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(r.Body); string(body) != `{"type":"url_verification","challenge":"abc"}` {
		t.Errorf("the body is %s", body)
	}
}

func TestAReceiverIsNotSentMoreThanItHasGranted(t *testing.T) {
	for _, tt := range []struct {
		granted string
		own     float64
		want    int // requests in 10 minutes
	}{
		{"1", 0, 10}, {"30", 0, 300}, {"30", 0.25, 150}, {"15", 10, 150}, {"*", 0, 1000}, {"", 0.5, 300},
	} {
		t.Run(fmt.Sprintf("%q beside %v", tt.granted, tt.own), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReceiver(t, consents(tt.granted, status(204)))
				d := newDispatcher(t, NewMemoryStore(), asking(r, handshake))
				e := register(t, d.View, Endpoint{Profile: "asking", RateLimit: tt.own})
				e = verify(t, d.View, e.ID)
				e.AllowedRate, e.Description = 1000, "changed" // read-only
				if _, err := d.Update(t.Context(), e); err != nil {
					t.Fatal(err)
				}
				for range 1000 {
					publish(t, d, Event{})
				}
				start(t, d)
				time.Sleep(10 * time.Minute)
				if n := len(r.all()) - 1; n < tt.want || n > tt.want+2 {
					t.Errorf("%d requests in 10 minutes, want %d", n, tt.want)
				}
			})
		})
	}
}

func TestAnUpdateThatChangesWhereItGoesMakesItUnverified(t *testing.T) {
	for _, tt := range []struct {
		name     string
		change   func(*Endpoint)
		disabled bool
		verified bool
	}{
		{"the URL", func(e *Endpoint) { e.URL = "http://elsewhere.example/" }, true, false},
		{"its path", func(e *Endpoint) { e.URL += "/2" }, true, false},
		{"the profile, to another that asks", func(e *Endpoint) { e.Profile = "other" }, true, false},
		{"the profile, to one that does not ask", func(e *Endpoint) { e.Profile = "free" }, false, false},
		{"anything else", func(e *Endpoint) {
			e.Description, e.RateLimit, e.Headers, e.Auth, e.Events = "new", 5, map[string]string{"X-A": "b"}, BearerToken("t"), []string{"a"}
			e.VerifiedAt, e.AllowedRate = time.Time{}, 0
		}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, told := asking(newReceiver(t, consents("60", nil)), handshake), new(notices)
			c.Observer = told
			d := newDispatcher(t, NewMemoryStore(), c)
			e := verify(t, d.View, register(t, d.View, Endpoint{Profile: "asking"}).ID)
			tt.change(&e)
			updated, err := d.Update(WithActor(t.Context(), "jo"), e)
			if err != nil {
				t.Fatal(err)
			}
			after := read(t, d.View, e.ID)
			for _, e := range []Endpoint{updated, after} {
				if e.Disabled != tt.disabled || tt.disabled && e.DisabledReason != "not verified yet" || e.VerifiedAt.IsZero() == tt.verified || (e.AllowedRate == 1) != tt.verified {
					t.Errorf("it is %+v, want disabled %t, verified %t", e, tt.disabled, tt.verified)
				}
			}
			want := []EndpointDisabled{{EndpointID: e.ID, Reason: "not verified yet", Automatic: true}}
			if got := noticed[EndpointDisabled](told); tt.disabled && !slices.Equal(got, want) || !tt.disabled && len(got) != 0 {
				t.Errorf("notices %+v", got)
			}
			if err := d.Enable(t.Context(), e.ID); (err != nil) != tt.disabled {
				t.Errorf("Enable: %v", err)
			}
			if tt.disabled {
				if e := verify(t, d.View, e.ID); e.Disabled {
					t.Errorf("verified again, it is %+v", e)
				}
			}
		})
	}
}

func TestWhatIsPendingWaitsForTheNewURLToBeVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, consents("", func(w http.ResponseWriter, q *http.Request) {
			if q.Host == "receiver.example" {
				w.WriteHeader(503)
			}
		}))
		d := newDispatcher(t, NewMemoryStore(), asking(r, handshake))
		e := verify(t, d.View, register(t, d.View, Endpoint{Profile: "asking"}).ID)
		start(t, d)
		publish(t, d, Event{})
		time.Sleep(time.Second)
		e.URL = "http://elsewhere.example/"
		if _, err := d.Update(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if n := len(r.to("elsewhere.example")); n != 0 {
			t.Fatalf("%d requests before Verify", n)
		}
		verify(t, d.View, e.ID)
		time.Sleep(time.Minute)
		if got := r.to("elsewhere.example"); len(got) != 2 || got[1].Method != "POST" {
			t.Errorf("requests after Verify: %+v", got)
		}
	})
}

func TestAnEndpointThatWasUnverifiedIsEnabledUnderAProfileThatDoesNotAsk(t *testing.T) {
	d := newDispatcher(t, NewMemoryStore(), asking(nil, handshake))
	e := register(t, d.View, Endpoint{Profile: "asking"})
	e.Profile = "free"
	e, err := d.Update(t.Context(), e)
	if err != nil || !e.Disabled {
		t.Fatalf("%+v, %v; want that Update enables nothing", e, err)
	}
	mustContain(t, d.Verify(t.Context(), e.ID), ErrNotSupported, "no Verification")
	if err := d.Enable(t.Context(), e.ID); err != nil {
		t.Errorf("Enable: %v", err)
	}
}

func TestDisablingKeepsAnEndpointVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, consents("", status(410)))
		d := newDispatcher(t, NewMemoryStore(), asking(r, handshake))
		e := verify(t, d.View, register(t, d.View, Endpoint{Profile: "asking"}).ID)
		at := e.VerifiedAt
		start(t, d)
		publish(t, d, Event{})
		time.Sleep(time.Second)
		if e = read(t, d.View, e.ID); !e.Disabled || !e.VerifiedAt.Equal(at) {
			t.Fatalf("after 410 it is %+v, want disabled and verified", e)
		}
		if err := d.Enable(t.Context(), e.ID); err != nil {
			t.Errorf("Enable: %v", err)
		}
		if err := d.Disable(t.Context(), e.ID, "holiday"); err != nil {
			t.Fatal(err)
		}
		if a, err := d.SendTest(t.Context(), e.ID, "test"); err != nil || a.StatusCode != 410 {
			t.Errorf("a test send to a disabled endpoint: %+v, %v", a, err)
		}
		time.Sleep(time.Second)
		if e = verify(t, d.View, e.ID); !e.Disabled || e.DisabledReason != "holiday" || !e.VerifiedAt.After(at) {
			t.Errorf("verified again it is %+v, want it disabled as it was", e)
		}
	})
}

func TestOneThatIsDisabledForAnotherReasonStaysSo(t *testing.T) {
	c, told := asking(newReceiver(t, consents("", nil)), handshake), new(notices)
	c.Observer = told
	d := newDispatcher(t, NewMemoryStore(), c)
	e := register(t, d.View, Endpoint{Profile: "asking"})
	if err := d.Disable(t.Context(), e.ID, "fraud"); err != nil {
		t.Fatal(err)
	}
	if e = verify(t, d.View, e.ID); !e.Disabled || e.DisabledReason != "fraud" || e.VerifiedAt.IsZero() {
		t.Errorf("it is %+v", e)
	}
	if n := len(noticed[EndpointEnabled](told)); n != 0 {
		t.Errorf("%d notices that it is enabled", n)
	}
	if err := d.Enable(t.Context(), e.ID); err != nil {
		t.Errorf("Enable once verified: %v", err)
	}
}

func TestTheNoticesOfAVerificationSayWhoseEndpointItIs(t *testing.T) {
	c, told := asking(newReceiver(t, consents("", nil)), handshake), new(notices)
	c.Observer = told
	d := newDispatcher(t, NewMemoryStore(), c)
	e := verify(t, d.View, register(t, d.View, Endpoint{Profile: "asking", AllTenants: true}).ID)
	e.Profile = "other"
	if _, err := d.Update(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	for _, n := range told.all() {
		if got, want := managedBy(t, n), (managed{EndpointID: e.ID, Tenant: "*"}); got != want {
			t.Errorf("told of %#v, want %+v", n, want)
		}
	}
	if n := len(told.all()); n != 5 {
		t.Errorf("%d notices, want registered, verified, enabled, updated, disabled", n)
	}
}

func TestASealedEndpointIsUnverifiedAsAnyOther(t *testing.T) {
	for _, auth := range []Auth{{}, OAuth2(tokenURL, "id", clientSecret)} {
		r := newReceiver(t, withTokens(time.Hour, consents("60", nil)))
		c := asking(r, handshake)
		c.Keys, c.Authorizer = keysOf(t, "k"), clientCredentials
		d := newDispatcher(t, NewMemoryStore(), c)
		e := register(t, d.View, Endpoint{Profile: "asking", Auth: auth})
		publish(t, d, Event{})
		mustContain(t, d.Enable(t.Context(), e.ID), ErrConflict, "Verify")
		_, err := d.SendTest(t.Context(), e.ID, "test")
		mustContain(t, err, ErrConflict, "Verify")
		_, err = d.Replay(t.Context(), ReplayFilter{EndpointID: e.ID, Missed: true})
		mustContain(t, err, ErrConflict, "Verify")
		if n := r.dialled.Load(); n != 0 {
			t.Errorf("%d connections before Verify", n)
		}
		if e := verify(t, d.View, e.ID); e.Disabled || e.AllowedRate != 1 {
			t.Errorf("verified it is %+v", e)
		}
		if a, err := d.SendTest(t.Context(), e.ID, "test"); err != nil || a.Error != "" {
			t.Errorf("%+v, %v", a, err)
		}
	}
}

func TestOnceVerifiedARefusalChangesNothing(t *testing.T) {
	answer := consents("60", nil)
	r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) { answer(w, q) })
	d := newDispatcher(t, NewMemoryStore(), asking(r, handshake))
	e := verify(t, d.View, register(t, d.View, Endpoint{Profile: "asking"}).ID)
	answer = status(200)
	mustContain(t, d.Verify(t.Context(), e.ID), ErrNotVerified)
	if after := read(t, d.View, e.ID); after.Rev != e.Rev || after.Disabled {
		t.Errorf("it is %+v, was %+v", after, e)
	}
	answer = consents("120", nil)
	if e := verify(t, d.View, e.ID); e.AllowedRate != 2 {
		t.Errorf("the new rate is %v, want 2", e.AllowedRate)
	}
}

func TestVerifyDoesNotTellBlockedFromUnreachable(t *testing.T) {
	logger, logs := observedLog()
	c := asking(nil, handshake)
	c.Logger = logger
	c.Network.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("192.0.2.0/24")}
	store := NewMemoryStore()
	d := newDispatcher(t, store, c)
	registered := []Endpoint{
		register(t, d.View, Endpoint{URL: "http://127.0.0.1:1024/", Profile: "asking"}), // nobody listens there
		register(t, d.View, Endpoint{URL: "http://192.0.2.1:1024/", Profile: "asking"}),
	}
	c.Network.Allow = c.Network.Allow[:1]
	d = newDispatcher(t, store, c)
	var texts []string
	for _, e := range registered {
		err := d.Verify(t.Context(), e.ID)
		mustContain(t, err, ErrNotVerified)
		if errors.Is(err, ErrBlockedAddress) {
			t.Errorf("%v matches ErrBlockedAddress", err)
		}
		for e := err; e != nil; {
			if text := fmt.Sprintf("%v %+v", e, e); strings.Contains(text, "allowed") || strings.Contains(text, "refused") {
				t.Errorf("%q tells the two apart", text)
			}
			u, ok := e.(interface{ Unwrap() []error })
			if !ok {
				break
			}
			e = u.Unwrap()[1]
		}
		texts = append(texts, strings.ReplaceAll(err.Error(), e.ID, ""))
	}
	if texts[0] != texts[1] || !strings.HasSuffix(texts[0], ": not verified: connection failed") {
		t.Errorf("the errors are %q", texts)
	}
	entries := logs.FilterMessage("an endpoint is not verified").All()
	if len(entries) != 2 || !strings.Contains(fmt.Sprint(entries[0].ContextMap()["error"]), "refused") ||
		!strings.Contains(fmt.Sprint(entries[1].ContextMap()["error"]), "not allowed") || entries[1].Level != zap.WarnLevel {
		t.Errorf("the operator is told %+v", entries)
	}
}

func TestVerifyEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(t, NewMemoryStore(), asking(newReceiver(t, hang), handshake))
		e := register(t, d.View, Endpoint{Profile: "asking"})
		began := time.Now()
		err := d.Verify(t.Context(), e.ID)
		if mustContain(t, err, ErrNotVerified, "timeout"); time.Since(began) != 15*time.Second {
			t.Errorf("after %v, want the profile's Timeout", time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := d.Verify(ctx, e.ID); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrNotVerified) {
			t.Errorf("when the caller leaves: %v", err)
		}
	})
}

func TestVerifyOfAnotherTenantsEndpointAsksNobody(t *testing.T) {
	r := newReceiver(t, consents("", nil))
	d := newDispatcher(t, NewMemoryStore(), asking(r, handshake))
	e := register(t, d.View, Endpoint{ID: "id", Profile: "asking", Tenant: "acme"})
	for _, v := range []*View{d.Tenant("globex"), d.Tenant("acm"), d.Tenant("acme/legal"), d.Tenant("")} {
		err, none := v.Verify(t.Context(), e.ID), v.Verify(t.Context(), "no")
		mustContain(t, err, ErrNotFound)
		if a, b := err.Error(), strings.Replace(none.Error(), `"no"`, `"id"`, 1); a != b {
			t.Errorf("%q for another's, %q for none", a, b)
		}
	}
	mustContain(t, d.Tenant("*").Verify(t.Context(), e.ID), ErrInvalid)
	if n := r.dialled.Load(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

func TestConsentCountsForTheURLThatGaveIt(t *testing.T) {
	var d *Dispatcher
	var e Endpoint
	var once sync.Once
	r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
		once.Do(func() {
			e.URL = "http://victim.example/"
			if _, err := d.Update(context.Background(), e); err != nil {
				t.Error(err)
			}
		})
		consents("", nil)(w, q)
	})
	d = newDispatcher(t, NewMemoryStore(), asking(r, handshake))
	e = register(t, d.View, Endpoint{Profile: "asking"})
	mustContain(t, d.Verify(t.Context(), e.ID), ErrConflict, "meanwhile")
	if e := read(t, d.View, e.ID); !e.Disabled || !e.VerifiedAt.IsZero() {
		t.Errorf("it is %+v", e)
	}
}

func TestEndpointsFromBeforeTheVerificationGoOn(t *testing.T) {
	r := newReceiver(t, consents("", nil))
	c := testConfig(r)
	c.Profiles = map[string]Profile{"asking": {}}
	store := NewMemoryStore()
	e := register(t, newDispatcher(t, store, c).View, Endpoint{Profile: "asking"})
	d := newDispatcher(t, store, asking(r, handshake))
	e.Description = "changed"
	if e, err := d.Update(t.Context(), e); err != nil || e.Disabled {
		t.Fatalf("%+v, %v", e, err)
	}
	if a, err := d.SendTest(t.Context(), e.ID, "test"); err != nil || a.Error != "" {
		t.Errorf("%+v, %v", a, err)
	}
	if err := d.Disable(t.Context(), e.ID, "for now"); err != nil {
		t.Fatal(err)
	}
	mustContain(t, d.Enable(t.Context(), e.ID), ErrConflict, "Verify")
}

func TestAProcessThatDoesNotKnowTheProfileEnablesNothing(t *testing.T) {
	store := NewMemoryStore()
	e := register(t, newDispatcher(t, store, asking(nil, handshake)).View, Endpoint{Profile: "asking"})
	d := newDispatcher(t, store, testConfig(nil))
	mustContain(t, d.Enable(t.Context(), e.ID), ErrConflict, "Verify")
	mustContain(t, d.Verify(t.Context(), e.ID), ErrInvalid, "no profile")
}

func TestTheOriginIsTheProfilesToSay(t *testing.T) {
	c := asking(newReceiver(t, consents("", nil)), handshake)
	c.Profiles["asking"] = Profile{Verification: handshake, Headers: func(Message) http.Header { return http.Header{"webhook-request-origin": {"mine"}} }}
	d := newDispatcher(t, NewMemoryStore(), c)
	for _, e := range []Endpoint{
		{Profile: "asking", URL: receiverURL, Headers: map[string]string{"WebHook-Request-Origin": "mine"}},
		{Profile: "asking", URL: receiverURL, Auth: APIKey("WebHook-Request-Origin", "mine")},
	} {
		_, err := d.Register(t.Context(), e)
		mustContain(t, err, ErrInvalid, "Webhook-Request-Origin")
	}
	e := verify(t, d.View, register(t, d.View, Endpoint{Profile: "asking"}).ID)
	if a, err := d.SendTest(t.Context(), e.ID, "test"); err != nil || !strings.Contains(a.Error, "Webhook-Request-Origin is reserved") {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestVerificationIsCheckedAndInherited(t *testing.T) {
	for _, v := range []AbuseProtection{
		{}, {Origin: "https://product.example"}, {Origin: "product.example:443"}, {Origin: "a b"}, {Origin: ".example"}, {Origin: "a..b"}, {Origin: "*"},
		{Origin: strings.Repeat("a", 254)}, {Origin: "product.example", Rate: -1}, {Origin: "a\r\nb"},
	} {
		_, err := NewDispatcher(NewMemoryStore(), Config{Profile: Profile{Verification: v}})
		mustContain(t, err, ErrInvalid, "Profile.Verification")
	}
	c := testConfig(nil)
	c.Profile.Verification, c.Profiles = handshake, map[string]Profile{"other": {}}
	d := newDispatcher(t, NewMemoryStore(), c)
	for _, profile := range []string{"", "other"} {
		if e := register(t, d.View, Endpoint{Profile: profile}); !e.Disabled {
			t.Errorf("profile %q does not ask", profile)
		}
	}
}

// ownVerification is a Verification of an application's own.
type ownVerification struct {
	request func(url, challenge string) (*http.Request, error)
	consent func(res *http.Response, challenge string) (float64, error)
}

func (c ownVerification) Request(url, challenge string) (*http.Request, error) {
	return c.request(url, challenge)
}

func (c ownVerification) Consent(res *http.Response, challenge string) (float64, error) {
	return c.consent(res, challenge)
}

func TestAVerificationOfAnApplicationsOwn(t *testing.T) {
	get := func(url, challenge string) (*http.Request, error) {
		return http.NewRequest(http.MethodGet, url+"?hub.challenge="+challenge, nil)
	}
	echo := func(res *http.Response, challenge string) (float64, error) {
		if body, _ := io.ReadAll(res.Body); string(body) != challenge {
			return 0, errors.New("no echo")
		}
		return 3, nil
	}
	wrong := errors.New("wrong")
	for _, tt := range []struct {
		name string
		v    ownVerification
		want error
		text string
	}{
		{"by GET", ownVerification{get, echo}, nil, ""},
		{"a request that cannot be made", ownVerification{func(string, string) (*http.Request, error) { return nil, wrong }, echo}, wrong, "verification: wrong"},
		{"a panic before", ownVerification{func(string, string) (*http.Request, error) { panic("oh") }, echo}, nil, "panicked: oh"},
		{"no request", ownVerification{func(string, string) (*http.Request, error) { return nil, nil }, echo}, nil, "panicked"},
		{"a panic after", ownVerification{get, func(*http.Response, string) (float64, error) { panic("oh") }}, ErrNotVerified, "panicked: oh"},
		{"a refusal", ownVerification{get, func(*http.Response, string) (float64, error) { return 0, wrong }}, wrong, "not verified: wrong"},
		{"a rate that is none", ownVerification{get, func(*http.Response, string) (float64, error) { return math.NaN(), nil }}, ErrNotVerified, "rate"},
		{"a negative rate", ownVerification{get, func(*http.Response, string) (float64, error) { return -1, nil }}, ErrNotVerified, "rate"},
		{"somewhere else", ownVerification{func(string, string) (*http.Request, error) {
			return http.NewRequest(http.MethodGet, "http://169.254.169.254/latest", nil)
		}, echo}, ErrNotVerified, "connection failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
				_, _ = io.WriteString(w, q.URL.Query().Get("hub.challenge"))
			})
			d := newDispatcher(t, NewMemoryStore(), asking(r, tt.v))
			e := register(t, d.View, Endpoint{Profile: "asking"})
			err := d.Verify(t.Context(), e.ID)
			after := read(t, d.View, e.ID)
			if tt.text == "" {
				if err != nil || after.Disabled || after.AllowedRate != 3 {
					t.Errorf("%v, %+v", err, after)
				}
				return
			}
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || !after.Disabled {
				t.Errorf("%v, want %v with %q; %+v", err, tt.want, tt.text, after)
			}
		})
	}
}

func TestAnEndpointWithOAuth2IsVerifiedWithAToken(t *testing.T) {
	r := newReceiver(t, withTokens(time.Hour, consents("", nil)))
	c := asking(r, handshake)
	c.Authorizer = clientCredentials
	d := newDispatcher(t, NewMemoryStore(), c)
	e := register(t, d.View, Endpoint{Profile: "asking", Auth: OAuth2(tokenURL, "id", clientSecret)})
	verify(t, d.View, e.ID)
	if got, want := tokensOf(r, "receiver.example"), []string{"Bearer token1"}; !slices.Equal(got, want) {
		t.Errorf("asked with %q, want %q", got, want)
	}
	without := newDispatcher(t, d.store, asking(r, handshake))
	mustContain(t, without.Verify(t.Context(), e.ID), ErrNotSupported, "Config.Authorizer")
	refusing := asking(newReceiver(t, status(400)), handshake)
	refusing.Authorizer = clientCredentials
	err := newDispatcher(t, d.store, refusing).Verify(t.Context(), e.ID)
	mustContain(t, err, ErrNotVerified, "no access token: status 400")
}

func TestNoTokenIsFetchedForAURLThatIsRefused(t *testing.T) {
	r := newReceiver(t, withTokens(time.Hour, consents("", nil)))
	c := asking(r, handshake)
	c.Authorizer = clientCredentials
	c.Network.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	store := NewMemoryStore()
	e := register(t, newDispatcher(t, store, c).View, Endpoint{URL: "http://192.0.2.1/", Profile: "asking", Auth: OAuth2(tokenURL, "id", clientSecret)})
	c.Network.Allow = nil
	mustContain(t, newDispatcher(t, store, c).Verify(t.Context(), e.ID), ErrNotVerified, "connection failed")
	if n := len(r.all()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestVerifyLogsNoSecrets(t *testing.T) {
	logger, logs := observedLog()
	c := asking(newReceiver(t, status(200)), ChallengeEcho{})
	c.Logger = logger
	d := newDispatcher(t, NewMemoryStore(), c)
	e := register(t, d.View, Endpoint{Profile: "asking", URL: receiverURL + "?key=qu3ry", Auth: BearerToken("t0ken")})
	err := d.Verify(t.Context(), e.ID)
	text := fmt.Sprint(err)
	for _, entry := range logs.All() {
		text += fmt.Sprint(entry.Message, entry.ContextMap())
	}
	for _, mark := range []string{"qu3ry", "t0ken", e.Secrets[0].Value, strings.TrimPrefix(e.Secrets[0].Value, "whsec_")} {
		if strings.Contains(text, mark) {
			t.Errorf("%q is shown in %s", mark, text)
		}
	}
	if !bytes.Contains([]byte(text), []byte("receiver.example/hook")) {
		t.Errorf("the operator is not told which receiver it is: %s", text)
	}
}

// A redirect to what is no URL makes http.Client fail with an error that has the
// URL of the request.
func TestConsentIsFoundInARedirectThatIsNoURL(t *testing.T) {
	logger, logs := observedLog()
	c := asking(newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Location", "http://[::1")
		w.Header().Set("WebHook-Allowed-Origin", "*")
		w.WriteHeader(http.StatusFound)
	}), handshake)
	c.Logger, c.Keys = logger, keysOf(t, "k")
	d := newDispatcher(t, NewMemoryStore(), c)
	e := register(t, d.View, Endpoint{Profile: "asking", URL: receiverURL + "?key=mark-of-the-query"})
	err := d.Verify(t.Context(), e.ID)
	if text := fmt.Sprint(err) + logText(logs); strings.Contains(text, "mark-of-the-query") {
		t.Errorf("the query is shown: %s", text)
	}
	if err != nil {
		t.Errorf("the receiver has agreed, whatever its status is: %v", err)
	}
}

// "It makes one request."
func TestVerifyMakesOneRequest(t *testing.T) {
	var n atomic.Int64
	conns := 0
	c := asking(nil, handshake)
	c.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		conns++
		client, server := net.Pipe()
		go func() {
			defer func() { _ = server.Close() }()
			br := bufio.NewReader(server)
			for served := 0; ; served++ {
				q, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, q.Body)
				n.Add(1)
				if served > 0 {
					return
				}
				if _, err := io.WriteString(server, "HTTP/1.1 200 OK\r\nWebHook-Allowed-Origin: *\r\nContent-Length: 0\r\n\r\n"); err != nil {
					return
				}
			}
		}()
		return client, nil
	}
	d := newDispatcher(t, NewMemoryStore(), c)
	start(t, d)
	for !d.running.Load() {
		time.Sleep(time.Millisecond)
	}
	e := register(t, d.View, Endpoint{Profile: "asking"})
	if err := d.Verify(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	before := n.Load()
	err := d.Verify(t.Context(), e.ID)
	if made := n.Load() - before; made != 1 {
		t.Errorf("the second Verify made %d requests (%d connections): %v", made, conns, err)
	}
}

// What is ours is not the receiver's refusal.
func TestAFaultOfOursIsNoRefusal(t *testing.T) {
	c := asking(newReceiver(t, consents("", nil)), handshake)
	c.Authorizer = AuthorizerFunc(func(context.Context, *http.Client, Auth) (string, time.Time, error) { panic("x") })
	d := newDispatcher(t, NewMemoryStore(), c)
	e := register(t, d.View, Endpoint{Profile: "asking", Auth: OAuth2(tokenURL, "id", "secret")})
	err := d.Verify(t.Context(), e.ID)
	if err == nil || errors.Is(err, ErrNotVerified) || !strings.Contains(err.Error(), "the authorizer panicked") {
		t.Errorf("an authorizer panics: %v", err)
	}
	c.Network.Proxy = func(*http.Request) (*url.URL, error) { return nil, errors.New("no proxy today") }
	d = newDispatcher(t, NewMemoryStore(), c)
	e = register(t, d.View, Endpoint{Profile: "asking"})
	err = d.Verify(t.Context(), e.ID)
	if err == nil || errors.Is(err, ErrNotVerified) || !strings.Contains(err.Error(), "the sender's own network failed") {
		t.Errorf("a proxy fails: %v", err)
	}
}
