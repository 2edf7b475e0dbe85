package oauth2

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/oauth2"

	"github.com/outhook/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 20 * time.Second // how long a test waits for what must happen
	id       = "client:1"
	secret   = `s3cr3t +&%/"` // what both forms of RFC 6749, section 2.3.1, encode
)

// server is a token endpoint that knows one client, and what it was asked.
type server struct {
	style  oauth2.AuthStyle // the only one that it accepts; 0: either
	issue  http.HandlerFunc // to those who are known
	mu     sync.Mutex
	asked  []url.Values // of all requests, the client's ID and secret as they came
	styles []oauth2.AuthStyle
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	style, form := oauth2.AuthStyleInParams, r.PostForm
	user, password, ok := r.BasicAuth()
	if ok {
		style = oauth2.AuthStyleInHeader
		user, _ = url.QueryUnescape(user)
		password, _ = url.QueryUnescape(password)
		form.Set("client_id", user)
		form.Set("client_secret", password)
	}
	s.mu.Lock()
	s.asked, s.styles = append(s.asked, form), append(s.styles, style)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.Method != http.MethodPost || form.Get("grant_type") != "client_credentials":
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"unsupported_grant_type"}`)
	case form.Get("client_id") != id || form.Get("client_secret") != secret || s.style != 0 && style != s.style:
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, `{"error":"invalid_client","error_description":%q}`, form.Get("client_secret"))
	default:
		s.issue(w, r)
	}
}

func (s *server) all() ([]url.Values, []oauth2.AuthStyle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked), slices.Clone(s.styles)
}

// numbered issues token1, token2 …
func numbered() http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"access_token":"token%d","token_type":"bearer","expires_in":3600}`, n.Add(1))
	}
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// startTLS starts an HTTPS server on loopback.
func startTLS(t *testing.T, h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// newDispatcher returns a Dispatcher that trusts the certificate of httptest.
func newDispatcher(t *testing.T, c webhook.Config, trusted *httptest.Server) *webhook.Dispatcher {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(trusted.Certificate())
	c.Network.TLS = &tls.Config{RootCAs: roots}
	c.Network.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if c.Authorizer == nil {
		c.Authorizer = new(ClientCredentials)
	}
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func register(t *testing.T, d *webhook.Dispatcher, receiver string, a webhook.Auth) webhook.Endpoint {
	t.Helper()
	e, err := d.Register(t.Context(), webhook.Endpoint{URL: receiver, Auth: a})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// test sends a test and returns the attempt.
func test(t *testing.T, d *webhook.Dispatcher, e webhook.Endpoint) webhook.Attempt {
	t.Helper()
	a, err := d.SendTest(t.Context(), e.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestTokensAreFetchedInTheStyleOfTheServer(t *testing.T) {
	header, body := oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams
	for _, tt := range []struct {
		name           string
		accepts, style oauth2.AuthStyle
		want           []oauth2.AuthStyle // of the requests for three tokens
	}{
		{"either", 0, 0, []oauth2.AuthStyle{header, header, header}},
		{"in the header", header, 0, []oauth2.AuthStyle{header, header, header}},
		{"in the body", body, 0, []oauth2.AuthStyle{header, body, body, body}},
		{"in the body, as is known", body, body, []oauth2.AuthStyle{body, body, body}},
		{"in the header, as is known", 0, header, []oauth2.AuthStyle{header, header, header}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tokens := &server{style: tt.accepts, issue: numbered()}
			endpoint := startTLS(t, tokens)
			got := make(chan string, 1)
			receiver := startTLS(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Authorization") }))
			d := newDispatcher(t, webhook.Config{Authorizer: &ClientCredentials{Style: tt.style}}, endpoint)
			auth := webhook.OAuth2(endpoint.URL+"/token?tenant=a", id, secret, "hooks:write", "hooks:read")
			auth.Params = "audience=https%3A%2F%2Fapi.example&resource=a&resource=b"
			e := register(t, d, receiver.URL, auth)
			for n := range 3 {
				if a := test(t, d, e); a.Error != "" {
					t.Fatal(a.Error)
				}
				if got, want := <-got, fmt.Sprintf("Bearer token%d", n+1); got != want {
					t.Errorf("the receiver got %q, want %q", got, want)
				}
			}
			asked, styles := tokens.all()
			if !slices.Equal(styles, tt.want) {
				t.Errorf("the token endpoint was asked in the styles %v, want %v", styles, tt.want)
			}
			for _, form := range asked {
				if form.Get("scope") != "hooks:write hooks:read" || form.Get("audience") != "https://api.example" || len(form["resource"]) != 2 {
					t.Errorf("the token endpoint was asked %v", form)
				}
			}
		})
	}
}

func TestFailuresAreToldWithoutTheServersWords(t *testing.T) {
	const words = "mark of the server"
	known := func(status int, code string) http.HandlerFunc {
		return says(status, fmt.Sprintf(`{"error":%q,"error_description":%q,"error_uri":"https://%s/"}`, code, words+secret, "mark"))
	}
	for _, tt := range []struct {
		name   string
		issue  http.HandlerFunc
		secret string
		want   string
	}{
		{"a wrong secret", nil, "mark", "the token endpoint answered with status 401, invalid_client"},
		{"invalid_scope", known(400, "invalid_scope"), secret, "the token endpoint answered with status 400, invalid_scope"},
		{"invalid_request", known(400, "invalid_request"), secret, "the token endpoint answered with status 400, invalid_request"},
		{"unauthorized_client", known(400, "unauthorized_client"), secret, "the token endpoint answered with status 400, unauthorized_client"},
		{"a code of its own", known(400, words), secret, "the token endpoint answered with status 400"},
		{"an error that is called a success", known(200, "invalid_client"), secret, "the token endpoint answered with the error invalid_client"},
		{"an error of its own that is called a success", known(200, words), secret, "the token endpoint answered with the error that it names"},
		{"unavailable", says(503, words), secret, "the token endpoint answered with status 503"},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/mark", http.StatusTemporaryRedirect)
		}, secret, "the token endpoint answered with status 307"},
		{"nowhere", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://[mark "+secret)
			w.WriteHeader(http.StatusFound)
		}, secret, "the token endpoint answered with status 302"},
		{"no JSON", says(200, "<html>"+words), secret, "the token endpoint's answer is malformed"},
		{"an empty answer", says(200, ""), secret, "the token endpoint's answer is malformed"},
		{"no token", says(200, `{"token_type":"bearer","mark":"`+words+`"}`), secret, "the token endpoint's answer is malformed"},
		{"a token of another form", says(200, `{"access_token":{"mark":1}}`), secret, "the token endpoint's answer is malformed"},
		{"a token of another type", says(200, `{"access_token":"mark","token_type":"mac"}`), secret, "its type is not Bearer"},
		{"a token with a line break", says(200, `{"access_token":"mark\r\nX-Mark: 1","token_type":"bearer"}`), secret, "it is not visible ASCII characters"},
		{"a token with a space", says(200, `{"access_token":"mark mark"}`), secret, "it is not visible ASCII characters"},
		{"a huge answer", says(200, `{"access_token":"`+strings.Repeat("mark", 1<<18)+`"}`), secret, "answer too large"},
		{"a long token", says(200, `{"access_token":"`+strings.Repeat("mark", 1<<12)+`"}`), secret, "it is not visible ASCII characters, of which there are at most 8192"},
		{"an answer that breaks off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"access_token":"mark`)
		}, secret, "connection closed before a response"},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, secret, "connection closed before a response"},
		{"an answer that never comes", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, secret, "timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tokens := startTLS(t, &server{issue: tt.issue})
			d := newDispatcher(t, webhook.Config{Profile: webhook.Profile{Timeout: time.Second}}, tokens)
			e := register(t, d, tokens.URL, webhook.OAuth2(tokens.URL, id, tt.secret)) // it hears nothing
			if a := test(t, d, e); a.Error != "no access token: "+tt.want || a.StatusCode != 0 {
				t.Errorf("the attempt says %q, want %q", a.Error, tt.want)
			}
		})
	}
}

func TestACertificateThatIsNotTrustedIsTold(t *testing.T) {
	tokens := startTLS(t, &server{issue: numbered()})
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Authorizer: new(ClientCredentials), Network: webhook.Network{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := test(t, d, register(t, d, tokens.URL, webhook.OAuth2(tokens.URL, id, secret)))
	if !strings.HasPrefix(a.Error, "no access token: TLS: certificate is ") {
		t.Errorf("the attempt says %q", a.Error)
	}
}

func TestManyDeliveriesShareATokenUntilItIsRefused(t *testing.T) {
	const events = 300
	tokens := &server{issue: numbered()}
	endpoint := startTLS(t, tokens)
	var served atomic.Int64
	done := make(chan struct{})
	receiver := startTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer token1" && served.Load() >= events/2 { // revoked meanwhile
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if served.Add(1) == events {
			close(done)
		}
	}))
	d := newDispatcher(t, webhook.Config{NoBreaker: true, Profile: webhook.Profile{Retry: webhook.Schedule(0, 0, 0)}}, endpoint)
	register(t, d, receiver.URL, webhook.OAuth2(endpoint.URL, id, secret))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	for range events {
		if _, err := d.Publish(t.Context(), webhook.Event{Type: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Errorf("%d of %d were delivered", served.Load(), events)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if asked, _ := tokens.all(); len(asked) != 2 {
		t.Errorf("%d tokens were fetched for %d deliveries, want 2", len(asked), events)
	}
}

// transportFunc is a server in memory.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// serve returns a client whose requests h answers.
func serve(h http.Handler) *http.Client {
	return &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result(), nil
	})}
}

func TestUntilWhenATokenIsGood(t *testing.T) {
	for _, tt := range []struct {
		answer string
		want   time.Duration // 0: not known
	}{
		{`{"access_token":"t","token_type":"Bearer","expires_in":3600}`, time.Hour},
		{`{"access_token":"t","token_type":"BEARER","expires_in":"60"}`, time.Minute},
		{`{"access_token":"t","token_type":"bearer"}`, 0},
		{`{"access_token":"t"}`, 0},
		{`{"access_token":"t","expires_in":null}`, 0},
		{`{"access_token":"t","expires_in":-5}`, -5 * time.Second},
		{`{"access_token":"t","expires_in":99999999999}`, (1<<31 - 1) * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			var c ClientCredentials
			client := serve(&server{issue: says(200, tt.answer)})
			header, until, err := c.Authorize(t.Context(), client, webhook.OAuth2("https://tokens.example/", id, secret))
			if header != "Bearer t" || err != nil {
				t.Fatalf("%s: %q, %v", tt.answer, header, err)
			}
			if tt.want == 0 && !until.IsZero() || tt.want != 0 && !until.Equal(time.Now().Add(tt.want)) {
				t.Errorf("%s: good until %v, now is %v, want %v from now", tt.answer, until, time.Now(), tt.want)
			}
		})
	}
}

func TestAStyleIsForgottenWhenItIsRefused(t *testing.T) {
	s := &server{style: oauth2.AuthStyleInParams, issue: numbered()}
	var c ClientCredentials
	auth := webhook.OAuth2("https://tokens.example/", id, secret)
	ask := func() error {
		_, _, err := c.Authorize(t.Context(), serve(s), auth)
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	s.style = oauth2.AuthStyleInHeader
	if err := ask(); err == nil || err.Error() != "the token endpoint answered with status 401, invalid_client" {
		t.Errorf("the server has changed its mind: %v", err)
	}
	if err := ask(); err != nil {
		t.Errorf("asked once more: %v", err)
	}
}

func TestOnlyARefusalIsAReasonToSendTheSecretAgain(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    http.HandlerFunc
		want int
	}{
		{"unavailable", says(503, ""), 1},
		{"a scope", says(400, `{"error":"invalid_scope"}`), 1},
		{"malformed", says(200, "?"), 1},
		{"a redirect", says(302, ""), 1},
		{"refused", says(401, ""), 2},
		{"refused without a word", says(400, ""), 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c ClientCredentials
			n := 0
			_, _, err := c.Authorize(t.Context(), serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n++
				tt.h(w, r)
			})), webhook.OAuth2("https://tokens.example/", id, secret))
			if err == nil || n != tt.want {
				t.Errorf("%d requests, %v; want %d", n, err, tt.want)
			}
		})
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	c := ClientCredentials{styles: make(map[client]oauth2.AuthStyle)}
	for n := range maxStyles + 1 {
		c.remember(client{id: fmt.Sprint(n)}, oauth2.AuthStyleInParams)
	}
	if n := len(c.styles); n > maxStyles {
		t.Errorf("%d styles are remembered", n)
	}
	if c.style(client{id: fmt.Sprint(maxStyles)}) != oauth2.AuthStyleInParams {
		t.Error("the last one is not")
	}
}

func TestNothingOfTheServerIsInAnError(t *testing.T) {
	marks := []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id) + ":" + url.QueryEscape(secret))), "mark", "tokens.example"}
	for _, client := range []*http.Client{
		serve(says(401, `{"error":"mark","error_description":"mark `+secret+`"}`)),
		serve(says(200, "mark")),
		serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // of which http.Client makes an error that quotes it
			w.Header().Set("Location", "http://[mark "+secret)
			w.WriteHeader(http.StatusFound)
		})),
		{Transport: transportFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("unreachable") })},
	} {
		var c ClientCredentials
		_, _, err := c.Authorize(t.Context(), client, webhook.OAuth2("https://tokens.example/?mark", id, secret))
		for _, mark := range marks {
			if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), mark) {
				t.Errorf("%v, which holds %q", err, mark)
			}
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if _, ok := e.(*oauth2.RetrieveError); ok {
				t.Errorf("%v wraps what the server has said", err)
			}
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(200, "application/json", `{"access_token":"t","token_type":"bearer","expires_in":3600}`)
	f.Add(200, "application/x-www-form-urlencoded", "access_token=t&token_type=bearer&expires_in=-1")
	f.Add(400, "text/plain", "error=invalid_client&error_description=%zz")
	f.Add(401, "", `{"error":"invalid_client","error_description":"\u0000"}`)
	f.Add(200, "application/json", `{"access_token":"a\r\nb","expires_in":1e400}`)
	f.Fuzz(func(t *testing.T, status int, contentType, body string) {
		if status < 200 || status > 599 {
			return
		}
		var c ClientCredentials
		header, _, err := c.Authorize(t.Context(), serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			says(status, body)(w, r)
		})), webhook.OAuth2("https://tokens.example/", id, secret))
		switch {
		case err == nil:
			token, ok := strings.CutPrefix(header, "Bearer ")
			if !ok || token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("the header is %q", header)
			}
		case strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) || len(err.Error()) > 100:
			t.Errorf("the error is %q", err)
		}
	})
}
