package webhook

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/outhook/webhook/internal/seal"
)

// echo repeats in the response what it was sent, as some receivers do.
func echo(w http.ResponseWriter, q *http.Request) {
	for name, values := range q.Header {
		w.Header()["X-Echo-"+name] = values
	}
	w.Header().Set("Location", q.URL.String())
	code, _ := strconv.Atoi(strings.TrimPrefix(q.URL.Path, "/"))
	w.WriteHeader(max(code, 200))
	text, _ := json.Marshal(map[string]any{"headers": q.Header, "url": q.URL.String()})
	fmt.Fprintf(w, "%s", text)
}

// badAnswers are answers that net/http quotes in its errors, with what the receiver
// was sent in them.
var badAnswers = []string{
	"%s\r\n\r\n", "HTTP/1.1 %s x\r\n\r\n", "HTTP/1.1 200 OK\r\nX Y%s\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
}

// hostileEcho is echo, but for the hosts of a server of tokens, which issues token;
// of a proxy, which keeps what is meant for itself; of a receiver whose redirect is
// no URL; and of one that answers with what is no HTTP.
func hostileEcho(token string) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		q.Header.Del("Proxy-Authorization")
		switch host, _, _ := strings.Cut(q.Host, "."); host {
		case "tokens":
			_, _ = fmt.Fprintf(w, `{"access_token":%q,"expires_in":60}`, token)
		case "redirects":
			body, _ := io.ReadAll(q.Body)
			w.Header().Set("Location", fmt.Sprintf("http://[%s %v %s", q.URL, q.Header, body))
			w.WriteHeader(http.StatusFound)
		case "malformed":
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			form := badAnswers[int(q.URL.Path[1]-'0')]
			_, credentials, _ := strings.Cut(q.Header.Get("Authorization"), " ")
			_, _ = fmt.Fprintf(conn, form, fmt.Sprint(credentials, " ", q.URL.RawQuery, " ", q.Header.Get("X-Api-Key")))
			_ = conn.Close()
		default:
			echo(w, q)
		}
	}
}

// mark is a secret that must not be seen.
type mark struct {
	name  string
	value string
	// config says that it is no Secret but a part of an endpoint's configuration,
	// which an Endpoint shows, and which is hidden from the rest only where the
	// store must not see it either.
	config bool
	forms  []string
}

func newMark(name, value string, config bool) *mark {
	return &mark{name, value, config, formsOf(value)}
}

// formsOf returns what to search for: the value raw, quoted and escaped, in
// hexadecimal, in base64 at its three offsets, and as fmt prints bytes.
func formsOf(value string) (forms []string) {
	quoted := strconv.Quote(value)
	forms = append(forms, value, quoted[1:len(quoted)-1], url.QueryEscape(value), url.PathEscape(value))
	for _, escape := range []bool{true, false} {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(escape)
		if err := e.Encode(value); err != nil {
			panic(err)
		}
		forms = append(forms, strings.Trim(b.String(), "\"\n"))
	}
	forms = append(forms, hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value))))
	forms = append(forms, strings.Trim(fmt.Sprint([]byte(value)), "[]"), strings.Trim(fmt.Sprintf("%#v", []byte(value)), "[]byte{}"))
	for offset := range 3 {
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			// Three bytes make four characters: whole groups are the same
			// whatever stands around them.
			if whole := value[offset : offset+(len(value)-offset)/3*3]; len(whole) >= 6 {
				forms = append(forms, e.EncodeToString([]byte(whole)))
			}
		}
	}
	return forms
}

// window is how many bytes of a form tell whether it may be at a place.
const window = 8

// search finds all forms of all marks in one pass over a text.
type search struct {
	forms map[[window]byte][]form
	may   [1 << 16]bool // by the first two bytes
}

type form struct {
	text string
	mark *mark
}

func newSearch(marks ...*mark) *search {
	s := &search{forms: make(map[[window]byte][]form)}
	for _, m := range marks {
		for _, text := range m.forms {
			if len(text) < window {
				panic("the mark " + m.name + " is too short")
			}
			key := [window]byte([]byte(text))
			s.forms[key] = append(s.forms[key], form{text, m})
			s.may[uint16(text[0])<<8|uint16(text[1])] = true
		}
	}
	return s
}

// in calls found with each form that is in the text.
func (s *search) in(text string, found func(form, int)) {
	var key [window]byte
	for at := 0; at+window <= len(text); at++ {
		if !s.may[uint16(text[at])<<8|uint16(text[at+1])] {
			continue
		}
		copy(key[:], text[at:])
		for _, f := range s.forms[key] {
			if strings.HasPrefix(text[at:], f.text) {
				found(f, at)
			}
		}
	}
}

func (m *mark) in(text string) (found bool) {
	newSearch(m).in(text, func(form, int) { found = true })
	return found
}

func TestTheSearchForLeaksFindsThem(t *testing.T) {
	const value = `m4rk<&"/+?=\ value`
	m := newMark("mark", value, false)
	inJSON, _ := json.Marshal("before " + value)
	for name, text := range map[string]string{
		"raw": value, "%q": fmt.Sprintf("%q", value), "%x": fmt.Sprintf("%x", value), "%X": fmt.Sprintf("%X", []byte(value)),
		"bytes": fmt.Sprint([]byte(value)), "Go bytes": fmt.Sprintf("%#v", []byte(value)), "JSON": string(inJSON),
		"query": url.QueryEscape(value), "path": url.PathEscape(value), "bytes in JSON": func() string {
			b, _ := json.Marshal([]byte(value))
			return string(b)
		}(),
	} {
		if found := m.in("before " + text + " after"); !found {
			t.Errorf("%s is not found: %s", name, text)
		}
	}
	for before := range 4 {
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			if found := m.in(e.EncodeToString([]byte("user"[:before] + value + "after"))); !found {
				t.Errorf("it is not found in base64 after %d bytes", before)
			}
		}
	}
	if found := m.in("something else"); found {
		t.Error("it is found where it is not")
	}
}

// hunt is a search for marks in all that can be seen.
type hunt struct {
	t     *testing.T
	keys  Keys
	marks []*mark
	seen  []sight
}

type sight struct {
	source, text string
	shows        func(*mark) bool // what may be seen here; nil: nothing
}

// mark makes a value one that must not be seen, and returns it.
func (h *hunt) mark(name, value string) string {
	h.marks = append(h.marks, newMark(name, value, false))
	return value
}

// secret marks a signing secret, and the key that it is in base64.
func (h *hunt) secret(name string, s Secret) Secret {
	h.mark(name, s.Value)
	_, encoded, ok := strings.Cut(s.Value, "_")
	if ok {
		h.mark(name+", without its prefix", encoded)
	} else {
		encoded = s.Value
	}
	if raw, ok := decodeBase64(encoded); ok {
		h.mark(name+", the key", string(raw))
	}
	return s
}

func (h *hunt) config(name, value string) string {
	h.marks = append(h.marks, newMark(name, value, true))
	return value
}

// see remembers a value in every form in which it can be printed, and an error.
func (h *hunt) see(source string, v any, err error) {
	h.t.Helper()
	if err != nil {
		h.seen = append(h.seen, sight{source + ", the error", fmt.Sprintf("%v\n%+v\n%#v\n%q", err, err, err, err), nil})
	}
	var shows func(*mark) bool
	switch v.(type) {
	case nil:
		return
	case Endpoint, Page[Endpoint]: // its own fields, no Secret
		shows = func(m *mark) bool { return m.config }
	case []Attempt, Attempt:
		shows = func(m *mark) bool { return m.config && h.keys == nil && m.name != "a cookie" }
	}
	for how, text := range h.print(v) {
		h.seen = append(h.seen, sight{source + " by " + how, text, shows})
	}
}

// print is renderings without the unusual ones, of which there are many.
func (h *hunt) print(v any) map[string]string {
	out := make(map[string]string)
	for _, verb := range strings.Fields("%v %+v %#v %s %q %x") {
		out[verb] = fmt.Sprintf(verb, v)
	}
	text, err := json.Marshal(v)
	var b bytes.Buffer
	leakyLog(&b).Info("m", zap.Any("v", v))
	slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "v", v)
	out["JSON"], out["logging"] = fmt.Sprintf("%s %v", text, err), b.String()
	return out
}

// check searches.
func (h *hunt) check() {
	h.t.Helper()
	if len(h.seen) < 3000 || len(h.marks) < 20 {
		h.t.Errorf("only %d texts were searched for %d marks", len(h.seen), len(h.marks))
	}
	search := newSearch(h.marks...)
	told := make(map[string]bool)
	for _, s := range h.seen {
		search.in(s.text, func(f form, at int) {
			what, _, _ := strings.Cut(s.source, " by ")
			if s.shows != nil && s.shows(f.mark) || told[what+f.mark.name] {
				return
			}
			told[what+f.mark.name] = true // once is enough to read
			h.t.Errorf("%s shows %s: …%.300s…", s.source, f.mark.name, s.text[max(0, at-100):])
		})
	}
}

// leakyLog returns a logger at the debug level that writes in every form there
// is.
func leakyLog(out *bytes.Buffer) *zap.Logger {
	config := zap.NewProductionEncoderConfig()
	w := zapcore.Lock(zapcore.AddSync(out))
	options := &slog.HandlerOptions{Level: slog.LevelDebug}
	return zap.New(zapcore.NewTee(
		zapcore.NewCore(zapcore.NewJSONEncoder(config), w, zap.DebugLevel),
		zapcore.NewCore(zapcore.NewConsoleEncoder(config), w, zap.DebugLevel),
		NewLogger(slog.NewTextHandler(w, options)).Core(),
		NewLogger(slog.NewJSONHandler(w, options)).Core(),
	), zap.AddCaller(), zap.AddStacktrace(zap.ErrorLevel))
}

// quotingSigner fails with an error that quotes the secret in some encoding.
type quotingSigner string

func (s quotingSigner) Sign(_ http.Header, _ Message, secrets []Secret) error {
	v := secrets[0].Value
	if raw, ok := decodeBase64(strings.TrimPrefix(v, macPrefix)); ok {
		return fmt.Errorf("bad key "+string(s), raw)
	}
	return fmt.Errorf("bad secret "+string(s), v)
}

func (s quotingSigner) CheckSecret(secret Secret) error {
	if strings.Contains(secret.Value, "bad") {
		return fmt.Errorf("refused "+string(s), secret.Value)
	}
	return nil
}

// Every secret that an application gives to the library is marked, everything is
// done that can be done, rightly and wrongly, and all that can be seen of it is
// searched.
func TestNothingLeaks(t *testing.T) {
	for _, keys := range []string{"none", "held", "a service"} {
		t.Run("keys: "+keys, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hunt{t: t}
				var service *service
				switch keys {
				case "held":
					h.keys = keysOf(t, "leak")
				case "a service":
					service = newService(t, "leak")
					h.keys = service
				}
				h.secret("the master key", masterKey("leak").Secret)
				h.mark("the master key's bytes", "master key leak\x00\x00")
				h.run(service)
				h.check()
			})
		})
	}
}

func (h *hunt) run(service *service) {
	t, ctx := h.t, h.t.Context()
	token := h.mark("an access token", "m4rk-access-token~+/0123456789==")
	r := newReceiver(t, hostileEcho(token))
	out, seen := new(bytes.Buffer), &notices{}
	config := withKeys(r, h.keys)
	config.Logger, config.Observer = leakyLog(out), seen
	config.Profile.Retry = Schedule(time.Second, time.Second)
	config.Authorizer = clientCredentials
	proxied := config.Network
	password := h.mark("a proxy's password", "m4rk-proxy-password+/=")
	proxied.Proxy = func(*http.Request) (*url.URL, error) {
		return &url.URL{Scheme: "http", User: url.UserPassword("user", password), Host: "proxy.example:3128"}, nil
	}
	config.Networks = map[string]Network{"acme/proxied": proxied}
	config.Catalog = []EventType{{Name: "test"}, {Name: "ping"}}
	config.Profiles = map[string]Profile{
		"token": {Signer: SecretHeader{Name: "X-Token"}}, "hmac": {Signer: HMAC{Header: "X-Signature", Key: hex.DecodeString}},
		"unknown": {Signer: unknownSigner{}}, "panics": {Signer: panickingSigner{}}, "several": {Signer: Signers{StandardWebhooks{}, unknownSigner{}}},
		"asks": {Verification: ChallengeEcho{}}, "shakes": {Verification: handshake},
		"quotes": {Signer: quotingSigner("%s")}, "quotes %x": {Signer: quotingSigner("%x")}, "quotes %q": {Signer: quotingSigner("%+q")},
	}
	store := &testStore{Store: NewMemoryStore()}
	d := newDispatcher(t, store, config)

	// Endpoints of every kind, at receivers that repeat what they are sent.
	query := func(n int) string {
		return "?key=" + h.config("a query", "m4rk-query+/="+strconv.Itoa(n)+"-0123456789")
	}
	auths := []Auth{
		BasicAuth("user", h.mark("a password", `m4rk-pass"<word>\`)), BearerToken(h.mark("a token", "m4rk-token~+/0123456789==")),
		APIKey("X-Api-Key", h.mark("an API key", `m4rk "key" <0123456789>`)), {},
		OAuth2(tokenURL, "m4rk-id", h.mark("a client secret", "m4rk-client-secret&/+0123456789"), "scope"),
	}
	var ids []string
	for n, profile := range []string{"", "token", "hmac", "unknown", "panics", "several", "quotes", "quotes %x", "quotes %q"} {
		codes := []string{"500"}
		if n < 2 {
			codes = append(codes, "200", "410")
		}
		for _, code := range codes {
			secret := NewSecret()
			switch profile {
			case "token":
				secret.Value = "m4rk token \"" + secret.Value
			case "hmac":
				secret.Value = hex.EncodeToString([]byte("m4rk" + secret.Value))
			}
			e := Endpoint{
				URL: "http://r" + strconv.Itoa(n) + ".example/" + code + query(n), Profile: profile, Tenant: "acme",
				Secrets: []Secret{h.secret("a secret", secret)}, Auth: auths[n%len(auths)],
				Headers: map[string]string{"X-Own": h.config("a header", "m4rk-header <"+strconv.Itoa(n)+"> 0123456789"), "Cookie": h.config("a cookie", "session=m4rk-cookie-0123456789")},
			}
			got, err := d.Register(ctx, e)
			if err != nil {
				t.Fatal(err)
			}
			h.see("Register", got, nil)
			ids = append(ids, got.ID)
		}
	}
	h.others(d, auths, query)
	generated, err := d.Register(ctx, Endpoint{URL: "http://generated.example/200", Tenant: "acme"})
	if err != nil {
		t.Fatal(err)
	}
	h.secret("a generated secret", generated.Secrets[0])
	h.see("Register", generated, nil)
	h.sealed(store, append(ids, generated.ID))

	stop := start(t, d)
	for range 7 {
		publish(t, d, Event{Tenant: "acme"})
	}
	publish(t, d, Event{Tenant: "acme/proxied"})
	time.Sleep(time.Minute)
	if service != nil { // an outage
		service.down.Store(true)
		_, err := d.Register(ctx, Endpoint{URL: receiverURL, Secrets: []Secret{h.secret("a secret that was not stored", NewSecret())}})
		h.see("Register", nil, err)
		for _, c := range viewCalls() {
			if c.name != "Unregister" { // which would succeed
				h.see(c.name+" in an outage", nil, c.call(ctx, d.View, ids[0]))
			}
		}
		_, err = d.Reseal(ctx)
		h.see("Reseal in an outage", nil, err)
		service.down.Store(false)
	}
	h.manage(d, append(ids, generated.ID))
	publish(t, d, Event{Tenant: "acme"})
	time.Sleep(time.Hour)
	h.mistakes(d, ids)
	h.failures(d, store, config, ids)
	stop()

	// What was stored, told and logged.
	h.sealed(store, append(ids, generated.ID))
	attempts := 0
	for _, of := range h.list(d) {
		h.see("a delivery", of, nil)
		as, err := store.ListAttempts(ctx, of.ID)
		h.see("its attempts", as, err)
		attempts += len(as)
	}
	for _, n := range seen.all() {
		h.see(fmt.Sprintf("%T", n), n, nil)
	}
	h.see("the dispatcher", d, nil)
	h.see("the store", store.Store, nil)
	h.see("Keys", []any{h.keys}, nil)
	h.seen = append(h.seen, sight{"the log", out.String(), nil})
	if attempts < 100 || strings.Count(out.String(), "\n") < 400 || len(seen.all()) < 200 {
		t.Errorf("only %d attempts, %d lines of log, %d notices", attempts, strings.Count(out.String(), "\n"), len(seen.all()))
	}
	// The marks were on their way: what is not seen is not merely not there.
	var sent strings.Builder
	for _, q := range r.all() {
		fmt.Fprintln(&sent, q.Path, q.Header, string(q.Body))
	}
	for _, part := range []string{"m4rk-query", "m4rk-header", "m4rk-cookie", "m4rk-token", `m4rk "key"`, `m4rk token "whsec_`, base64.StdEncoding.EncodeToString([]byte(`user:m4rk-pass"<word>\`)),
		"m4rk-access-token", "m4rk-client-secret", base64.StdEncoding.EncodeToString([]byte("user:" + password))} {
		if !strings.Contains(sent.String(), part) {
			t.Errorf("%s was never sent", part)
		}
	}
}

// others registers endpoints that are sent to, but not managed: behind a proxy,
// with a client certificate, at receivers that answer badly, and some that are asked
// for their consent.
func (h *hunt) others(d *Dispatcher, auths []Auth, query func(int) string) {
	t, ctx := h.t, h.t.Context()
	sender := authority(t, "authority", nil).client(t, x509.Certificate{})
	key := sender.keyPEM(t)
	block, _ := pem.Decode([]byte(h.mark("a client's key", key.Value)))
	h.mark("a client's key, its bytes", string(block.Bytes))
	es := []Endpoint{
		{URL: "https://tls.example/200" + query(20), TLS: EndpointTLS{Certificate: sender.pem(), Key: key}},
		{URL: "http://behind.example/200" + query(21), Tenant: "acme/proxied", Auth: auths[1]},
		{URL: "http://behind.example/407" + query(22), Tenant: "acme/proxied", Auth: auths[4]},
	}
	for n := range badAnswers {
		es = append(es, Endpoint{URL: fmt.Sprintf("http://malformed.example/%d%s", n, query(30+n)), Auth: auths[n%len(auths)]})
	}
	for _, profile := range []string{"asks", "shakes"} {
		for n, host := range []string{"echoes", "redirects", "malformed"} {
			es = append(es, Endpoint{URL: "http://" + host + ".example/0" + query(40+n), Auth: auths[(n+4)%len(auths)], Profile: profile})
		}
	}
	for n, e := range es {
		setDefault(&e.Tenant, "acme")
		e.Secrets = []Secret{h.secret(fmt.Sprint("a secret of another ", n), NewSecret())}
		got, err := d.Register(ctx, e)
		if err != nil {
			t.Fatal(err)
		}
		h.see("Register", got, nil)
		if e.Profile == "" {
			a, err := d.SendTest(ctx, got.ID, "ping")
			h.see("SendTest", a, err)
			continue
		}
		if err := d.Verify(ctx, got.ID); errors.Is(err, ErrNotVerified) {
			h.see("Verify", nil, err)
		} else {
			t.Errorf("%s: Verify returns %v", e.URL, err)
		}
	}
}

// list returns all deliveries.
func (h *hunt) list(d *Dispatcher) (all []Delivery) {
	for f := (DeliveryFilter{Limit: 1000}); ; {
		page, err := d.Deliveries(h.t.Context(), f)
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, page.Items...)
		if f.Cursor = page.Next; f.Cursor == "" {
			return all
		}
	}
}

// sealed looks at what is stored of endpoints, and marks the sealed form itself:
// nobody but the store needs to see it.
func (h *hunt) sealed(store Store, ids []string) {
	for _, id := range ids {
		r := stored(h.t, store, id)
		for _, v := range []any{r, &r, Claimed{Endpoint: &r}, Page[EndpointRecord]{Items: []EndpointRecord{r}}} {
			for _, verb := range strings.Fields("%v %+v %#v %s %q %x %X %d") {
				h.seen = append(h.seen, sight{fmt.Sprintf("a %T by %s", v, verb), fmt.Sprintf(verb, v), nil})
			}
		}
		var b bytes.Buffer
		leakyLog(&b).Info("m", zap.Any("record", r), zap.Any("pointer", &r), zap.Stringer("stringer", r))
		slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "record", r)
		h.seen = append(h.seen, sight{"a record in a log", b.String(), nil})
		if seal.Is(r.Config) != (h.keys != nil) {
			h.t.Errorf("the record is sealed: %v", seal.Is(r.Config))
		}
		if h.keys == nil {
			continue
		}
		text, err := json.Marshal(r)
		h.seen = append(h.seen, sight{"a sealed configuration", string(r.Config), isSealed}, sight{"a sealed record in JSON", string(text), isSealed})
		if err != nil {
			h.t.Error(err)
		}
		h.mark("the sealed form", string(r.Config[len(r.Config)-40:]))
		h.mark("the wrapped data key", string(r.Config[20:44]))
	}
}

func isSealed(m *mark) bool {
	return m.name == "the sealed form" || m.name == "the wrapped data key"
}

// manage makes every public call that succeeds.
func (h *hunt) manage(d *Dispatcher, ids []string) {
	t, ctx := h.t, WithActor(h.t.Context(), "operator")
	for _, id := range ids {
		revealed, err := d.Reveal(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		h.see("Reveal", revealed, nil)
		a, err := d.SendTest(ctx, id, "ping")
		h.see("SendTest", a, err)
		e, err := d.Endpoint(ctx, id)
		h.see("Endpoint", e, err)
		e.Description = "changed"
		e, err = d.Update(ctx, e)
		h.see("Update", e, err)
		h.see("Enable", nil, d.Enable(ctx, id))
		next := Secret{}
		switch e.Profile {
		case "hmac":
			next.Value = hex.EncodeToString([]byte(NewSecret().Value))
		case "token":
			next.Value = "m4rk " + NewSecret().Value
		}
		overlap := time.Minute
		if next.Value != "" {
			overlap = 0
		}
		next, err = d.RotateSecret(ctx, id, next, overlap)
		if err != nil {
			t.Fatal(err)
		}
		h.secret("a rotated secret", next)
		h.see("RotateSecret", next, nil)
	}
	page, err := d.Endpoints(ctx, EndpointFilter{Limit: 1000})
	h.see("Endpoints", page, err)
	replayed, err := d.Replay(ctx, ReplayFilter{Limit: 1000})
	h.see("Replay", replayed, err)
	for _, of := range h.list(d)[:3] {
		again, err := d.Resend(ctx, of.ID)
		h.see("Resend", again, err)
		body, err := d.Body(ctx, of.ID)
		h.see("Body", body, err)
		as, err := d.Attempts(ctx, of.ID)
		h.see("Attempts", as, err)
	}
	if h.keys != nil {
		resealed, err := d.Reseal(ctx)
		h.see("Reseal", resealed, err)
	}
}

// mistakes makes calls that are refused for what they are given.
func (h *hunt) mistakes(d *Dispatcher, ids []string) {
	t, ctx := h.t, h.t.Context()
	bad := h.mark("a bad value", "m4rk-bad \n\x01value+/=")
	word := h.mark("a bad word", "m4rk-bad-word-0123456789")
	refused := []Endpoint{
		{Auth: BasicAuth("us:er", word)}, {Auth: BasicAuth("user", bad)}, {Auth: BearerToken(bad)}, {Auth: APIKey("X-Key", bad)}, {Auth: APIKey(bad, "X-Key")},
		{Auth: Auth{Secret: Secret{Value: word}}}, {Auth: Auth{Scheme: "digest", Secret: Secret{Value: word}}}, {Auth: Auth{Scheme: "bearer", Name: word, Secret: Secret{Value: word}}},
		{Auth: Auth{Scheme: "bearer", Secret: Secret{Value: word, ExpiresAt: time.Now()}}}, {Auth: APIKey("Content-Length", word)}, {Auth: BearerToken(word + strings.Repeat("x", 9000))},
		{Headers: map[string]string{"X-Own": bad}}, {Headers: map[string]string{"Host": word}}, {Headers: map[string]string{"Webhook-Id": word}},
		{Headers: map[string]string{"X-A": word, "x-a": word}}, {Headers: map[string]string{"X-Long": word + strings.Repeat("x", 9000)}},
		{Secrets: []Secret{{Value: word}, {Value: word}}, Profile: "token"}, {Secrets: slices.Repeat([]Secret{{Value: word}}, 11)},
		{Secrets: []Secret{{Value: word, ExpiresAt: time.Now()}}, Profile: "unknown"}, {Profile: word[:0] + "missing", Secrets: []Secret{{Value: word}}},
	}
	for _, value := range []string{bad, word, "whsec_" + word, "whsk_" + word, "whpk_" + word, word + "_" + word, "whsec_" + base64.StdEncoding.EncodeToString([]byte(word[:12])), word + "\xff", word + strings.Repeat("x", 9000)} {
		refused = append(refused, Endpoint{Secrets: []Secret{{Value: value}}})
	}
	for _, profile := range []string{"token", "hmac", "quotes", "quotes %x", "quotes %q"} {
		refused = append(refused, Endpoint{Profile: profile, Secrets: []Secret{{Value: bad}}})
	}
	for _, u := range []string{"http://user:%s@receiver.example/", "http://%s@receiver.example/", "http://receiver.example/?key=%s#fragment", "ftp://receiver.example/%s", "http://receiver.example:x/?key=%s",
		"http://receiver.example/%%zz?key=%s", "%s", "http://127.0.0.1/?key=%s", "http://receiver.example:1/?key=%s", "http:///?key=%s", "http://receiver.example/?key=%s\x01"} {
		refused = append(refused, Endpoint{URL: fmt.Sprintf(u, word)})
	}
	for n, e := range refused {
		if e.URL == "" {
			e.URL = receiverURL
		}
		e.Tenant = "acme"
		if _, err := d.Register(ctx, e); err == nil {
			t.Errorf("mistake %d is accepted", n)
		} else {
			h.see("a refused Register", nil, err)
		}
		e.ID, e.Events = ids[0], []string{"*"}
		_, err := d.Update(ctx, e)
		h.see("a refused Update", nil, err)
		for _, s := range e.Secrets {
			_, err := d.RotateSecret(ctx, ids[n%len(ids)], s, 0)
			h.see("a refused RotateSecret", nil, err)
			_, err = PublicKey(s)
			h.see("PublicKey", nil, err)
			_, err = NewKeys(Key{ID: "k", Secret: s})
			h.see("NewKeys", nil, err)
			h.see("Verify", nil, StandardWebhooks{}.Verify(http.Header{"Webhook-Id": {"m"}, "Webhook-Timestamp": {strconv.FormatInt(time.Now().Unix(), 10)}, "Webhook-Signature": {"v1," + word}}, nil, []Secret{s}, time.Now()))
			h.see("Verify", nil, HMAC{Header: "X-S", Key: hex.DecodeString}.Verify(http.Header{"X-S": {"00"}}, Message{}, []Secret{s}))
			h.see("Verify", nil, SecretHeader{Name: "X-S"}.Verify(http.Header{"X-S": {word + "x"}}, []Secret{s}))
		}
	}
	for _, c := range viewCalls() {
		h.see(c.name+" of nothing", nil, c.call(ctx, d.View, "missing"))
		h.see(c.name+" of another tenant", nil, c.call(ctx, d.Tenant("other"), ids[0]))
	}
	_, err := d.Publish(ctx, Event{Type: "unknown"})
	h.see("a refused Publish", nil, err)
}

// failures makes the calls at processes and stores that are broken.
func (h *hunt) failures(d *Dispatcher, store *testStore, config Config, ids []string) {
	t, ctx := h.t, h.t.Context()
	down := errors.New("the database is down")
	fails := make(map[string]error)
	for _, method := range []string{"PutEndpoint", "DeleteEndpoint", "Enqueue", "Settle"} {
		fails[method] = down
	}
	broken := newDispatcher(t, failingStore{Store: store, fails: fails}, config)
	config.Keys = keysOf(t, "another")
	config.Profiles = nil
	stranger := newDispatcher(t, store, config)
	for name, d := range map[string]*Dispatcher{"a broken store": broken, "other keys and profiles": stranger} {
		for _, c := range viewCalls() {
			if c.name == "Unregister" || c.name == "Enable" || c.name == "Disable" || c.name == "RotateSecret" || c.name == "Update" {
				if d == stranger {
					continue // they would succeed
				}
			}
			h.see(c.name+" with "+name, nil, c.call(ctx, d.View, ids[0]))
		}
		_, err := d.Register(ctx, Endpoint{URL: receiverURL, Tenant: "nobody", Secrets: []Secret{h.secret("a secret of "+name, NewSecret())}})
		h.see("Register with "+name, nil, err)
		if h.keys != nil {
			_, err = d.Reseal(ctx)
			h.see("Reseal with "+name, nil, err)
		}
	}
	// Records that were damaged, and in clear ones that are no JSON.
	for n, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:len(b)-1] }, func(b []byte) []byte { return append(slices.Clone(b), 'x') },
		func(b []byte) []byte { return b[1:] }, func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"`), []byte(`'`)) },
	} {
		r := stored(t, store, ids[0])
		r.ID, r.Rev, r.Tenant, r.Config = "damaged-"+strconv.Itoa(n), 0, "other", damage(r.Config)
		if _, err := store.PutEndpoint(ctx, r); err != nil {
			t.Fatal(err)
		}
		for _, c := range viewCalls() {
			if !c.delivery && c.name != "Unregister" {
				h.see(c.name+" of a damaged record", nil, c.call(ctx, d.View, r.ID))
			}
		}
	}
	publish(t, d, Event{Tenant: "other"})
	time.Sleep(5 * time.Minute)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	h.see("Run", nil, stranger.Run(ended))
}
