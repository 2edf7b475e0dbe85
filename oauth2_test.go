package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
)

const (
	tokenURL     = "http://tokens.example/token"
	clientSecret = "s3cr3t&cl/ent"
)

// clientCredentials is RFC 6749, section 4.4, in few words.
var clientCredentials = AuthorizerFunc(func(ctx context.Context, client *http.Client, a Auth) (string, time.Time, error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {a.Name}, "client_secret": {a.Secret.Value}, "scope": {a.Scope}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.TokenURL, strings.NewReader(form.Encode()+"&"+a.Params))
	if err != nil {
		return "", time.Time{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := client.Do(r)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("asking for it: %w", err)
	}
	var answer struct {
		Token   string `json:"access_token"`
		Expires int    `json:"expires_in"`
	}
	if res.StatusCode != http.StatusOK {
		return "", time.Time{}, fmt.Errorf("status %d", res.StatusCode)
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return "", time.Time{}, errors.New("malformed answer")
	}
	return "Bearer " + answer.Token, time.Now().Add(time.Duration(answer.Expires) * time.Second), nil
})

// withTokens answers requests for a token with token1, token2 …, each good for so
// long, and all others as hook does.
func withTokens(life time.Duration, hook http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, q *http.Request) {
		if q.Host != "tokens.example" {
			hook(w, q)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"token%d","token_type":"bearer","expires_in":%d}`, n.Add(1), life/time.Second)
	}
}

// authorized is testConfig with an Authorizer.
func authorized(r *receiver) Config {
	c := testConfig(r)
	c.Authorizer = clientCredentials
	return c
}

// tokensOf returns what authorized the requests to a host.
func tokensOf(r *receiver, host string) (tokens []string) {
	for _, q := range r.to(host) {
		tokens = append(tokens, q.Header.Get("Authorization"))
	}
	return tokens
}

func TestOAuth2IsCheckedWhenItIsRegistered(t *testing.T) {
	closed, open := testConfig(nil), testConfig(nil)
	closed.Network.AllowHTTP, closed.Authorizer, open.Authorizer = false, clientCredentials, clientCredentials
	public := func(change func(*Auth)) Auth {
		a := OAuth2("https://tokens.example/token?tenant=a", "id", clientSecret, "hooks:write", "hooks:read")
		change(&a)
		return a
	}
	good := public(func(*Auth) {})
	for _, tt := range []struct {
		name   string
		config Config
		auth   Auth
		want   error
		text   string
	}{
		{"all of it", closed, public(func(a *Auth) { a.Params = "audience=https%3A%2F%2Fapi.example&resource=a&resource=b" }), nil, ""},
		{"neither scope nor parameters", closed, public(func(a *Auth) { a.Scope = "" }), nil, ""},
		{"http where that is allowed", open, OAuth2(tokenURL, "id", clientSecret), nil, ""},
		{"no authorizer", testConfig(nil), good, ErrNotSupported, "Config.Authorizer"},
		{"no token URL", closed, OAuth2("", "id", clientSecret), ErrInvalid, "Auth.TokenURL"},
		{"http", closed, OAuth2(tokenURL, "id", clientSecret), ErrInvalid, "Auth.TokenURL"},
		{"another scheme", closed, OAuth2("ftp://tokens.example/", "id", clientSecret), ErrInvalid, "Auth.TokenURL"},
		{"a fragment (RFC 6749, section 3.2)", closed, OAuth2("https://tokens.example/#a", "id", clientSecret), ErrInvalid, "fragment"},
		{"user information", closed, OAuth2("https://a:hunter2@tokens.example/", "id", clientSecret), ErrInvalid, "user information"},
		{"loopback", closed, OAuth2("https://127.0.0.1/", "id", clientSecret), ErrBlockedAddress, "Auth.TokenURL"},
		{"a metadata service", closed, OAuth2("https://169.254.169.254/", "id", clientSecret), ErrBlockedAddress, "Auth.TokenURL"},
		{"a port", closed, OAuth2("https://tokens.example:22/", "id", clientSecret), ErrBlockedAddress, "Network.Ports"},
		{"no client ID", closed, public(func(a *Auth) { a.Name = "" }), ErrInvalid, "client ID"},
		{"a client ID with a line break", closed, public(func(a *Auth) { a.Name = "a\n" }), ErrInvalid, "client ID"},
		{"no client secret", closed, public(func(a *Auth) { a.Secret.Value = "" }), ErrInvalid, "client secret"},
		{"a client secret beyond ASCII", closed, public(func(a *Auth) { a.Secret.Value = "hunter2ü" }), ErrInvalid, "client secret"},
		{"a secret that expires", closed, public(func(a *Auth) { a.Secret.ExpiresAt = time.Now() }), ErrInvalid, "expire"},
		{"two spaces in the scope", closed, public(func(a *Auth) { a.Scope = "a  b" }), ErrInvalid, "scope"},
		{"a quote in the scope", closed, public(func(a *Auth) { a.Scope = `a"b` }), ErrInvalid, "scope"},
		{"a backslash in the scope", closed, public(func(a *Auth) { a.Scope = `a\b` }), ErrInvalid, "scope"},
		{"malformed parameters", closed, public(func(a *Auth) { a.Params = "a=%zz" }), ErrInvalid, "parameters"},
		{"parameters that name the secret", closed, public(func(a *Auth) { a.Params = "a=b&client_secret=hunter2" }), ErrInvalid, "client_secret"},
		{"parameters that name the grant", closed, public(func(a *Auth) { a.Params = "grant_type=password" }), ErrInvalid, "grant_type"},
		{"too much of it", closed, public(func(a *Auth) { a.Params = "a=" + strings.Repeat("b", 8192) }), ErrInvalid, "8192 bytes"},
		{"a token URL of a bearer token", closed, Auth{Scheme: "bearer", Secret: Secret{Value: "hunter2"}, TokenURL: good.TokenURL}, ErrInvalid, "oauth2 alone"},
		{"a scope without a scheme", closed, Auth{Scope: "a"}, ErrInvalid, "oauth2 alone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDispatcher(t, NewMemoryStore(), tt.config)
			e, err := d.Register(t.Context(), Endpoint{URL: "https://receiver.example/", Auth: tt.auth})
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				read, err := d.Endpoint(t.Context(), e.ID)
				want := tt.auth
				want.Secret = Secret{}
				if err != nil || e.Auth != tt.auth || read.Auth != want {
					t.Errorf("registered %+v, read back %+v, %v", e.Auth, read.Auth, err)
				}
				return
			}
			mustContain(t, err, tt.want, "register: ", tt.text)
			e = register(t, d.View, Endpoint{URL: "https://receiver.example/"})
			e.Auth = tt.auth
			_, updated := d.Update(t.Context(), e)
			mustContain(t, updated, tt.want, "update endpoint ", tt.text)
			for _, err := range []error{err, updated} {
				if strings.Contains(err.Error(), clientSecret) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%v shows a secret", err)
				}
			}
		})
	}
}

func TestTheAuthorizationHeaderBelongsToOAuth2(t *testing.T) {
	c := testConfig(nil)
	c.Authorizer = clientCredentials
	d := newDispatcher(t, NewMemoryStore(), c)
	_, err := d.Register(t.Context(), Endpoint{URL: receiverURL, Auth: OAuth2(tokenURL, "id", clientSecret), Headers: map[string]string{"authorization": "mine"}})
	mustContain(t, err, ErrInvalid, "register: ", "Authorization")
}

func TestAClientSecretIsKeptForItsOwnTokenEndpointOnly(t *testing.T) {
	c := testConfig(nil)
	c.Authorizer = clientCredentials
	d := newDispatcher(t, NewMemoryStore(), c)
	e := register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", clientSecret)})
	e.Auth = OAuth2(tokenURL, "id", "", "other")
	if e, err := d.Update(t.Context(), e); err != nil || e.Auth.Scope != "other" {
		t.Fatalf("%v, %v", e.Auth, err)
	}
	if stored, err := d.endpoint(t.Context(), e.ID); err != nil || stored.Auth != OAuth2(tokenURL, "id", clientSecret, "other") {
		t.Errorf("stored is %+v, %v: the secret was not kept", stored.Auth, err)
	}
	e.Rev, e.Auth = 0, OAuth2("http://thief.example/token", "id", "", "other")
	_, err := d.Update(t.Context(), e)
	mustContain(t, err, ErrInvalid, "update endpoint ", "client secret")
}

func TestATokenIsKeptAndReplacedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, withTokens(time.Hour, status(204)))
		d := newDispatcher(t, NewMemoryStore(), authorized(r))
		register(t, d.View, Endpoint{Auth: Auth{
			Scheme: "oauth2", Name: "id", Secret: Secret{Value: clientSecret}, TokenURL: tokenURL, Scope: "a b", Params: "audience=x%26y",
		}})
		start(t, d)
		for _, wait := range []time.Duration{0, 0, 58 * time.Minute, 2 * time.Minute} {
			time.Sleep(wait)
			id := publish(t, d, Event{}).EventID
			synctest.Wait()
			time.Sleep(time.Second)
			if a := attempts(t, d, id); len(a) != 1 || a[0].Error != "" || a[0].RequestHeaders.Get("Authorization") != "[redacted]" {
				t.Fatalf("attempts: %+v", a)
			}
		}
		want := []string{"Bearer token1", "Bearer token1", "Bearer token1", "Bearer token2"}
		if got := tokensOf(r, "receiver.example"); !slices.Equal(got, want) {
			t.Errorf("the receiver got %q, want %q", got, want)
		}
		asked := r.to("tokens.example")
		if len(asked) != 2 {
			t.Fatalf("%d tokens were fetched, want 2", len(asked))
		}
		form, err := url.ParseQuery(string(asked[0].Body))
		if err != nil || form.Get("client_secret") != clientSecret || form.Get("scope") != "a b" || form.Get("audience") != "x&y" {
			t.Errorf("the token was asked for with %q, %v", asked[0].Body, err)
		}
		if got := asked[0].Header.Get("User-Agent"); got != "Outhook/1" {
			t.Errorf("the token was asked for by %q", got)
		}
	})
}

func TestATokenIsFetchedOnceForAllThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issue := withTokens(time.Hour, status(204))
		r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			if q.Host == "tokens.example" {
				time.Sleep(2 * time.Second)
			}
			issue(w, q)
		})
		d := newDispatcher(t, NewMemoryStore(), authorized(r))
		for n := range 2 {
			register(t, d.View, Endpoint{URL: fmt.Sprintf("http://receiver%d.example/", n), Auth: OAuth2(tokenURL, "id", clientSecret), Concurrency: 50})
		}
		for range 100 {
			publish(t, d, Event{})
		}
		start(t, d)
		time.Sleep(10 * time.Second)
		for n := range 2 {
			got := tokensOf(r, fmt.Sprintf("receiver%d.example", n))
			if len(got) != 100 || len(slices.Compact(slices.Sorted(slices.Values(got)))) != 1 {
				t.Errorf("receiver %d got %d requests with %q, want 100 with one token", n, len(got), slices.Compact(got))
			}
		}
		if n := len(r.to("tokens.example")); n != 2 {
			t.Errorf("%d tokens were fetched, want one for each endpoint", n)
		}
	})
}

func TestATokenThatIsRefusedIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, withTokens(time.Hour, func(w http.ResponseWriter, q *http.Request) {
			if q.Header.Get("Authorization") == "Bearer token1" {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}))
		d := newDispatcher(t, NewMemoryStore(), authorized(r))
		register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", clientSecret)})
		start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(2 * time.Minute)
		if got, want := tokensOf(r, "receiver.example"), []string{"Bearer token1", "Bearer token2"}; !slices.Equal(got, want) {
			t.Errorf("the receiver got %q, want %q", got, want)
		}
		if a := attempts(t, d, id); len(a) != 2 || a[0].Error != "status 401" || a[1].Error != "" {
			t.Errorf("attempts: %+v", a)
		}
	})
}

func TestAChangedEndpointHasATokenOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, withTokens(time.Hour, status(204)))
		d := newDispatcher(t, NewMemoryStore(), authorized(r))
		e := register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", clientSecret)})
		start(t, d)
		publish(t, d, Event{})
		time.Sleep(time.Second)
		e.Auth = OAuth2(tokenURL, "id", "an0ther")
		if _, err := d.Update(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		publish(t, d, Event{})
		time.Sleep(time.Second)
		if got, want := tokensOf(r, "receiver.example"), []string{"Bearer token1", "Bearer token2"}; !slices.Equal(got, want) {
			t.Errorf("the receiver got %q, want %q", got, want)
		}
		if asked := r.to("tokens.example"); len(asked) != 2 || !bytes.Contains(asked[1].Body, []byte("an0ther")) {
			t.Errorf("the second token was asked for with %q", asked)
		}
	})
}

func TestATokenThatIsNotToBeHadIsAFailedAttemptOfItsEndpoint(t *testing.T) {
	body := strings.Repeat("the server's words ", 10)
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		change func(*Config)
		want   string // of Attempt.Error
		log    string
		took   time.Duration
	}{
		{"refused", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, body, http.StatusUnauthorized) }, nil, "no access token: status 401", "no access token: status 401", 0},
		{"malformed", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }, nil, "no access token: malformed answer", "malformed", 0},
		{"huge", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat(body, 10_000)) }, nil, "no access token: answer too large", "answer too large", 0},
		{"without an end", hang, nil, "no access token: timeout", "deadline exceeded", 15 * time.Second},
		{"elsewhere", func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "http://thief.example/", http.StatusTemporaryRedirect)
		}, nil, "no access token: status 307", "307", 0},
		{"no header", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"a\r\nHost: b"}`)
		}, nil, "no access token: it is not visible ASCII characters, of which there are at most 8192", "visible", 0},
		{"longer than a header", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintf(w, `{"access_token":"%09000d"}`, 1) }, nil, "no access token: it is not visible ASCII characters, of which there are at most 8192", "visible", 0},
		{"no longer allowed", nil, func(c *Config) {
			c.Authorizer = AuthorizerFunc(func(ctx context.Context, client *http.Client, _ Auth) (string, time.Time, error) {
				_, err := client.Get("http://10.0.0.1:8080/")
				return "", time.Time{}, err
			})
		}, "no access token: connection failed", "address not allowed", 0},
		{"an error that shows the secret", nil, func(c *Config) {
			c.Authorizer = AuthorizerFunc(func(_ context.Context, _ *http.Client, a Auth) (string, time.Time, error) {
				return "", time.Time{}, errors.New(body + url.QueryEscape(a.Secret.Value))
			})
		}, "no access token: the text of the *errors.errorString is withheld, it contains the client secret", "withheld", 0},
		{"an error that shows the credentials", nil, func(c *Config) {
			c.Authorizer = AuthorizerFunc(func(_ context.Context, _ *http.Client, a Auth) (string, time.Time, error) {
				r := &http.Request{Header: http.Header{}}
				r.SetBasicAuth(url.QueryEscape(a.Name), url.QueryEscape(a.Secret.Value))
				return "", time.Time{}, fmt.Errorf("sent %v", r.Header)
			})
		}, "no access token: the text of the *errors.errorString is withheld, it contains the client secret", "withheld", 0},
		{"an error of several lines", nil, func(c *Config) {
			c.Authorizer = AuthorizerFunc(func(context.Context, *http.Client, Auth) (string, time.Time, error) {
				return "", time.Time{}, errors.New("one\ntwo\x00\xff")
			})
		}, "no access token: one two \uFFFD", "one", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
					if q.Host == "tokens.example" {
						tt.answer(w, q)
					}
				})
				c := authorized(r)
				logger, observed := observedLog()
				c.Logger = logger
				if tt.change != nil {
					tt.change(&c)
				}
				d := newDispatcher(t, NewMemoryStore(), c)
				e := register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", clientSecret)})
				start(t, d)
				id := publish(t, d, Event{}).EventID
				time.Sleep(30 * time.Second)
				a := attempts(t, d, id)
				if len(a) != 1 || a[0].Error != tt.want || a[0].StatusCode != 0 || a[0].Duration != tt.took {
					t.Fatalf("attempts: %+v, want one that failed after %v with %q", a, tt.took, tt.want)
				}
				if e, err := d.Endpoint(t.Context(), e.ID); err != nil || e.FailingSince.IsZero() {
					t.Errorf("its endpoint is not blamed: %+v, %v", e, err)
				}
				if dv := delivery(t, d, id); dv.State != StatePending || dv.Attempts != 1 || dv.LastError != tt.want {
					t.Errorf("the delivery: %+v", dv)
				}
				if n := len(r.to("receiver.example")) + len(r.to("thief.example")); n != 0 {
					t.Errorf("%d requests were sent without a token", n)
				}
				entries := observed.FilterMessage("attempt").All()
				if text := fmt.Sprint(entries[0].ContextMap()["error"]); len(entries) != 1 || !strings.HasPrefix(text, "no access token: ") || !strings.Contains(text, tt.log) || strings.Contains(text, "words") || strings.Contains(text, "http://") {
					t.Errorf("the operator is told %q, want %q", text, tt.log)
				}
			})
		})
	}
}

func TestAnAuthorizerThatPanicsIsNotTheReceiversFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := authorized(newReceiver(t, nil))
		c.Authorizer = AuthorizerFunc(func(context.Context, *http.Client, Auth) (string, time.Time, error) { panic(clientSecret) })
		d := newDispatcher(t, NewMemoryStore(), c)
		e := register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", clientSecret)})
		start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(time.Second)
		if a := attempts(t, d, id); len(a) != 1 || a[0].Error != "no access token: the authorizer panicked: string" {
			t.Errorf("attempts: %+v", a)
		}
		if e, err := d.Endpoint(t.Context(), e.ID); err != nil || !e.FailingSince.IsZero() {
			t.Errorf("its endpoint is blamed: %+v, %v", e, err)
		}
	})
}

func TestATokenEndpointThatHangsHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			if q.Host == "tokens.example" {
				hang(w, q)
			}
		})
		d := newDispatcher(t, NewMemoryStore(), authorized(r))
		register(t, d.View, Endpoint{Tenant: "slow", Auth: OAuth2(tokenURL, "id", clientSecret)})
		register(t, d.View, Endpoint{Tenant: "quick"})
		start(t, d)
		for range 500 {
			publish(t, d, Event{Tenant: "slow"})
			publish(t, d, Event{Tenant: "quick"})
		}
		time.Sleep(time.Second)
		if n := len(r.to("receiver.example")); n != 500 {
			t.Errorf("%d of 500 deliveries were made in a second beside an endpoint whose tokens hang", n)
		}
		if n := r.most("tokens.example"); n != 1 {
			t.Errorf("%d requests for a token at once, want 1", n)
		}
	})
}

func TestWhoWaitsForATokenInVainIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issue, n := withTokens(time.Minute, status(204)), new(atomic.Int64)
		r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			if q.Host == "tokens.example" && n.Add(1) > 1 {
				hang(w, q)
				return
			}
			issue(w, q)
		})
		d := newDispatcher(t, NewMemoryStore(), authorized(r))
		register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", clientSecret)})
		start(t, d)
		publish(t, d, Event{}) // with it, the endpoint is known to be quick
		time.Sleep(time.Hour)
		for range 16 {
			publish(t, d, Event{})
		}
		time.Sleep(16 * time.Second)
		failed := deliveries(t, d, DeliveryFilter{States: []State{StatePending}})
		if len(failed) != 16 || r.most("tokens.example") != 1 {
			t.Errorf("%d failed, %d requests for a token at once, want 16 and 1", len(failed), r.most("tokens.example"))
		}
		for _, d := range failed { // the one that asked, and those that waited
			if d.Attempts != 1 || d.LastError != "no access token: timeout" {
				t.Errorf("after %d attempts it failed with %q", d.Attempts, d.LastError)
			}
		}
	})
}

func TestAShutdownThatCutsAFetchShortDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, hang)
		c := authorized(r)
		c.DrainTimeout = time.Second
		d := newDispatcher(t, NewMemoryStore(), c)
		e := register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", clientSecret)})
		stop := start(t, d)
		ids := []string{publish(t, d, Event{}).EventID, publish(t, d, Event{}).EventID} // one fetches, one waits
		time.Sleep(time.Second)
		stop()
		for _, id := range ids {
			if dv := delivery(t, d, id); dv.State != StatePending || dv.Attempts != 0 {
				t.Errorf("the delivery: %+v, want it pending and uncounted", dv)
			}
		}
		if e, err := d.Endpoint(t.Context(), e.ID); err != nil || !e.FailingSince.IsZero() {
			t.Errorf("its endpoint is blamed: %+v, %v", e, err)
		}
	})
}

func TestWithoutAnAuthorizerDeliveriesWaitForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, withTokens(time.Hour, status(204)))
		store := NewMemoryStore()
		e := register(t, newDispatcher(t, store, authorized(r)).View, Endpoint{Auth: OAuth2(tokenURL, "id", clientSecret)})
		without := newDispatcher(t, store, testConfig(r))
		_, err := without.SendTest(t.Context(), e.ID, "test")
		mustContain(t, err, ErrNotSupported, "send test to endpoint ", "Config.Authorizer")
		stop := start(t, without)
		id := publish(t, without, Event{}).EventID
		time.Sleep(5 * time.Minute)
		stop()
		if dv := delivery(t, without, id); dv.State != StatePending || dv.Attempts != 0 || len(r.all()) != 0 {
			t.Errorf("the delivery: %+v, and %d requests; want it given back", dv, len(r.all()))
		}
		with := newDispatcher(t, store, authorized(r))
		start(t, with)
		time.Sleep(2 * time.Minute)
		if dv := delivery(t, with, id); dv.State != StateDelivered {
			t.Errorf("the delivery: %+v, want it delivered by a process with an authorizer", dv)
		}
	})
}

func TestATestSendFetchesAToken(t *testing.T) {
	r := newReceiver(t, withTokens(time.Hour, status(204)))
	d := newDispatcher(t, NewMemoryStore(), authorized(r))
	e := register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", clientSecret)})
	a, err := d.SendTest(t.Context(), e.ID, "test")
	if err != nil || a.Error != "" || a.RequestHeaders.Get("Authorization") != "[redacted]" {
		t.Errorf("%+v, %v", a, err)
	}
	if got, want := tokensOf(r, "receiver.example"), []string{"Bearer token1"}; !slices.Equal(got, want) {
		t.Errorf("the receiver got %q, want %q", got, want)
	}
}

func TestARetryPolicyIsToldNothingSecretOfATokenEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := authorized(newReceiver(t, status(500)))
		failures := make(chan Failure, 1)
		c.Profile.Retry = RetryPolicyFunc(func(f Failure) (time.Duration, bool) { failures <- f; return 0, false })
		d := newDispatcher(t, NewMemoryStore(), c)
		register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", clientSecret)})
		start(t, d)
		publish(t, d, Event{})
		if f := <-failures; f.StatusCode != 0 || f.Err == nil || f.Err.Error() != "no access token: status 500" {
			t.Errorf("the policy is told %+v", f)
		}
	})
}

// Whatever is logged, told, listed or stored of an endpoint with OAuth 2.0 holds
// neither the client secret nor a token, in any encoding, its sealed place in the
// store excepted.
func TestClientSecretsAndTokensAreShownNowhere(t *testing.T) {
	const secret, token = "mark-of-the-client-secret+/=", "mark-of-the-access-token~"
	var marks []string
	for _, m := range []string{secret, token} {
		marks = append(marks, m, url.QueryEscape(m), url.PathEscape(m), hex.EncodeToString([]byte(m)), strconv.Quote(m))
		for offset := range 3 { // what base64 makes of it wherever it begins
			encoded := base64.StdEncoding.EncodeToString([]byte("???"[:offset] + m))
			marks = append(marks, encoded[4:len(encoded)-4])
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
			switch {
			case q.Host == "tokens.example" && n.Add(1)%2 == 0:
				w.WriteHeader(http.StatusBadRequest)
				_, _ = fmt.Fprintf(w, `{"error":"invalid_client","error_description":"not %s"}`, secret)
			case q.Host == "tokens.example":
				_, _ = fmt.Fprintf(w, `{"access_token":%q}`, token)
			default:
				w.Header().Set("X-Echo", q.Header.Get("Authorization"))
				w.WriteHeader(http.StatusUnauthorized)
				_ = json.NewEncoder(w).Encode(q.Header)
			}
		})
		c, told := authorized(r), new(notices)
		logger, logs := observedLog()
		c.Logger, c.Observer = logger, told
		d := newDispatcher(t, NewMemoryStore(), c)
		registered := register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", secret)})
		start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(time.Hour)
		as := attempts(t, d, id)
		if len(as) != 4 || len(r.to("receiver.example")) != 2 {
			t.Fatalf("%d attempts, %d requests; want both kinds of failure", len(as), len(r.to("receiver.example")))
		}
		test, err := d.SendTest(t.Context(), registered.ID, "test")
		read, _ := d.Endpoint(t.Context(), registered.ID)
		page, _ := d.Endpoints(t.Context(), EndpointFilter{})
		var b strings.Builder
		for _, v := range []any{registered, read, page, as, test, err, told.all(), deliveries(t, d, DeliveryFilter{}), d.config.Authorizer} {
			text, _ := json.Marshal(v)
			_, _ = fmt.Fprintf(&b, "%s\n%v\n%+v\n%#v\n", text, v, v, v)
		}
		for _, entry := range logs.All() {
			text, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "m"}).EncodeEntry(entry.Entry, entry.Context)
			if err != nil {
				t.Fatal(err)
			}
			b.WriteString(text.String())
		}
		for _, mark := range marks {
			if i := strings.Index(b.String(), mark); i >= 0 {
				t.Errorf("%q is shown: …%s", mark, b.String()[max(0, i-200):i+len(mark)])
			}
		}
	})
}

// An access token that a receiver repeats is a credential like any other.
func TestAnAccessTokenThatIsEchoedIsRedacted(t *testing.T) {
	const token = "mark-of-the-access-token"
	r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
		if q.Host == "tokens.example" {
			_, _ = fmt.Fprintf(w, `{"access_token":%q}`, token)
			return
		}
		w.Header().Set("X-Echo", q.Header.Get("Authorization"))
		_, _ = io.WriteString(w, q.Header.Get("Authorization"))
	})
	c := authorized(r)
	d := newDispatcher(t, NewMemoryStore(), c)
	e := register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", clientSecret)})
	a, err := d.SendTest(t.Context(), e.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %s", a.ResponseHeaders, a.ResponseBody); strings.Contains(text, token) {
		t.Errorf("the attempt holds the access token: %s", text)
	}
}

// The words of a token server are not for anybody.
func TestTheWordsOfATokenServerAreNotShown(t *testing.T) {
	logger, logs := observedLog()
	r := newReceiver(t, func(w http.ResponseWriter, q *http.Request) {
		_ = q.ParseForm()
		_, secret, _ := q.BasicAuth()
		if secret == "" {
			secret = q.Form.Get("client_secret")
		}
		w.Header().Set("Location", "http://[words-of-the-server "+fmt.Sprintf("%x", secret))
		w.WriteHeader(http.StatusFound)
	})
	c := authorized(r)
	c.Logger = logger
	d := newDispatcher(t, NewMemoryStore(), c)
	e := register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", "mark-of-the-client-secret")})
	a, err := d.SendTest(t.Context(), e.ID, "test")
	text := fmt.Sprint(a.Error, err) + logText(logs)
	for _, m := range []string{"words-of-the-server", fmt.Sprintf("%x", "mark-of-the-client-secret")} {
		if strings.Contains(text, m) {
			t.Errorf("%s is shown: %s", m, text)
		}
	}
}

func TestATokenEndpointIsGuardedWhenItIsDialled(t *testing.T) {
	c := testConfig(nil)
	c.Authorizer = clientCredentials
	c.Network.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} // so that the URL itself is well
	told := new(notices)
	c.Observer = told
	store := NewMemoryStore()
	e := register(t, newDispatcher(t, store, c).View, Endpoint{URL: "http://192.0.2.1:8080/", Auth: OAuth2("http://192.0.2.1:8080/token", "id", clientSecret)})
	c.Network.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	c.Network.Deny = []netip.Prefix{netip.MustParsePrefix("192.0.2.2/32")}
	record, err := store.GetEndpoint(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	record.Config = bytes.ReplaceAll(record.Config, []byte("192.0.2.1:8080/token"), []byte("192.0.2.2:8080/token")) // stored by other means
	if _, err := store.PutEndpoint(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	a, err := newDispatcher(t, store, c).SendTest(t.Context(), e.ID, "test")
	if err != nil || a.Error != "no access token: connection failed" {
		t.Errorf("%+v, %v", a, err)
	}
	if f := noticed[AttemptFinished](told); len(f) != 1 || !f[0].Blocked {
		t.Errorf("the operator is told %+v, want that it was blocked", f)
	}
}

func TestATokenEndpointIsReachedByTheNetworkOfTheTenant(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, `{"access_token":"token"}`)
	}))
	defer server.Close()
	loopback := Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	c := Config{Authorizer: clientCredentials, Networks: map[string]Network{"acme": loopback}}
	store := NewMemoryStore()
	d := newDispatcher(t, store, c)
	of := func(tenant string) Endpoint {
		return Endpoint{URL: "https://receiver.example/", Tenant: tenant, Auth: OAuth2(server.URL, "id", clientSecret)}
	}
	_, err := d.Register(t.Context(), of("other"))
	mustContain(t, err, ErrInvalid, "Auth.TokenURL")
	inside := of("acme/legal")
	inside.URL = server.URL
	e := register(t, d.View, inside)
	if a, err := d.SendTest(t.Context(), e.ID, "test"); err != nil || a.Error != "" || asked.Load() != 2 {
		t.Errorf("%+v, %v, %d requests", a, err, asked.Load())
	}
	// What got into the store when more was permitted is judged again.
	c.Networks["acme"] = Network{AllowHTTP: true}
	c.Network = loopback
	asked.Store(0)
	if a, err := newDispatcher(t, store, c).SendTest(t.Context(), e.ID, "test"); err != nil || a.Error != "connection failed" || asked.Load() != 0 {
		t.Errorf("%+v, %v, %d requests", a, err, asked.Load())
	}
}

func TestATokenThatAProxyKeepsAwayIsNobodysFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &egress{receiver: newReceiver(t, withTokens(time.Hour, status(204)))}
		c := p.behind("http://proxy.example:3128")
		choose := c.Network.Proxy
		c.Network.Proxy = func(r *http.Request) (*url.URL, error) { // for tokens alone
			if r.URL.Hostname() == "tokens.example" {
				return choose(r)
			}
			return nil, nil
		}
		c.Authorizer = clientCredentials
		d := newDispatcher(t, NewMemoryStore(), c)
		e := register(t, d.View, Endpoint{Auth: OAuth2(tokenURL, "id", clientSecret)})
		p.down.Store(true)
		start(t, d)
		id := publish(t, d, Event{}).EventID
		time.Sleep(10 * time.Minute)
		as := attempts(t, d, id)
		if dv := delivery(t, d, id); len(as) == 0 || as[0].Error != "no access token: "+notSent || dv.State != StatePending || dv.Attempts != 0 {
			t.Errorf("the delivery: %+v, its attempts: %+v", dv, as)
		}
		if e, err := d.Endpoint(t.Context(), e.ID); err != nil || !e.FailingSince.IsZero() {
			t.Errorf("its endpoint is blamed: %+v, %v", e, err)
		}
		p.down.Store(false)
		time.Sleep(3 * time.Minute)
		if dv := delivery(t, d, id); dv.State != StateDelivered {
			t.Errorf("after the outage the delivery is %+v", dv)
		}
	})
}
