// Package api holds the portal's REST API against the document that it serves: no
// request of these tests but one that a validator has seen the answer of.
package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	invalid "github.com/pb33f/libopenapi-validator/errors"
	"go.uber.org/goleak"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/portal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const base = "/webhooks/api/v1"

// document returns the document as the handler serves it, and its validator.
var document = sync.OnceValues(func() ([]byte, validator.Validator) {
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{})
	if err != nil {
		panic(err)
	}
	h, err := portal.New(d, portal.Options{Access: func(*http.Request) (portal.Access, error) { return portal.Access{Operator: true}, nil }})
	if err != nil {
		panic(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/openapi.json", nil))
	text := w.Body.Bytes()
	// The validator finds paths by the server's path, which is relative here.
	doc, err := libopenapi.NewDocument(bytes.Replace(text, []byte(`"../v1"`), []byte(`"`+base+`"`), 1))
	if err != nil {
		panic(err)
	}
	v, errs := validator.NewValidator(doc, config.WithFormatAssertions(), config.WithoutSecurityValidation())
	if len(errs) > 0 {
		panic(errs)
	}
	return text, v
})

// client makes requests of a portal as one caller, and has each answer validated.
type client struct {
	t       *testing.T
	handler http.Handler
	// lenient leaves requests that succeed unvalidated, where they are made at random.
	lenient bool
}

func newClient(t *testing.T, d *webhook.Dispatcher, access portal.Access) *client {
	t.Helper()
	h, err := portal.New(d, portal.Options{Access: func(*http.Request) (portal.Access, error) { return access, nil }})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/webhooks/", http.StripPrefix("/webhooks", h))
	return &client{t: t, handler: mux}
}

// answer is a response, read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// into decodes the body.
func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
}

// do makes a request; path is that of the document with its {id} filled in, body
// nothing, JSON text or what is to be marshalled.
func (c *client) do(method, path string, body any, headers ...string) answer {
	c.t.Helper()
	var text []byte
	switch b := body.(type) {
	case nil:
	case string:
		text = []byte(b)
	case []byte:
		text = b
	default:
		var err error
		if text, err = json.Marshal(b); err != nil {
			c.t.Fatal(err)
		}
	}
	r := httptest.NewRequestWithContext(c.t.Context(), method, "https://app.example"+base+path, bytes.NewReader(text))
	if len(text) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	for n := 0; n+1 < len(headers); n += 2 {
		r.Header.Set(headers[n], headers[n+1])
		if headers[n+1] == "" {
			r.Header.Del(headers[n])
		}
	}
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	a := answer{w.Code, w.Header(), w.Body.Bytes()}
	c.validate(r, text, a)
	return a
}

// want is do with the status that is wanted.
func (c *client) want(status int, method, path string, body any, headers ...string) answer {
	c.t.Helper()
	a := c.do(method, path, body, headers...)
	if a.status != status {
		c.t.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.body, status)
	}
	return a
}

// validate holds the answer against the document, and the request too where it
// was accepted. What the document does not have must be refused as such.
func (c *client) validate(r *http.Request, body []byte, a answer) {
	c.t.Helper()
	_, v := document()
	response := func() *http.Response {
		return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)), Request: r}
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	if a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed {
		c.validateProblem(a)
	}
	if a.status == http.StatusMethodNotAllowed {
		return // no operation has that answer
	}
	var errs []*invalid.ValidationError
	if a.status < 300 && !c.lenient {
		_, errs = v.ValidateHttpRequestResponse(r, response())
	} else {
		_, errs = v.ValidateHttpResponse(r, response())
	}
	for _, e := range errs {
		if a.status == http.StatusNotFound && e.IsPathMissingError() {
			continue // checked above
		}
		c.t.Errorf("%s %s: %d %.2000s: %s: %s: %+v", r.Method, r.URL, a.status, a.body, e.Message, e.Reason, causes(e))
	}
}

func causes(e *invalid.ValidationError) (all []string) {
	for _, s := range e.SchemaValidationErrors {
		all = append(all, s.Reason+" at "+s.FieldPath)
	}
	return all
}

func (c *client) validateProblem(a answer) {
	c.t.Helper()
	var p struct {
		Type, Title string
		Status      int
	}
	if err := json.Unmarshal(a.body, &p); err != nil || p.Status != a.status || p.Title != http.StatusText(a.status) || !strings.HasPrefix(p.Type, "urn:outhook:problem:") ||
		a.header.Get("Content-Type") != "application/problem+json" {
		c.t.Errorf("%d %q %s is no problem of RFC 9457: %v", a.status, a.header.Get("Content-Type"), a.body, err)
	}
}

func TestTheDocumentIsOneOfOpenAPI(t *testing.T) {
	_, v := document()
	if ok, errs := v.ValidateDocument(); !ok {
		for _, e := range errs {
			t.Errorf("%s: %s: %v", e.Message, e.Reason, causes(e))
		}
	}
}

func TestTheClientNoticesWhatIsNotInTheDocument(t *testing.T) {
	for name, a := range map[string]struct {
		path   string
		status int
		body   string
		kind   string
	}{
		"an unknown field":   {"/replay", 200, `{"matched":1,"created":1,"more":true}`, "application/json"},
		"a missing field":    {"/replay", 200, `{"matched":1}`, "application/json"},
		"another type":       {"/replay", 200, `{"matched":"1","created":1}`, "application/json"},
		"another media type": {"/replay", 200, `{"matched":1,"created":1}`, "text/html"},
		"another status":     {"/replay", 418, `{"matched":1,"created":1}`, "application/json"},
		"no problem":         {"/replay", 422, `{"title":"x"}`, "application/problem+json"},
		"no path":            {"/replays", 200, `{}`, "application/json"},
	} {
		// A test that fails by itself, whose failure is looked at.
		inner := new(testing.T)
		c := &client{t: inner, lenient: true}
		done := make(chan struct{})
		go func() {
			defer close(done)
			r := httptest.NewRequestWithContext(t.Context(), "POST", "https://app.example"+base+a.path, nil)
			c.validate(r, nil, answer{a.status, http.Header{"Content-Type": {a.kind}}, []byte(a.body)})
		}()
		if <-done; !inner.Failed() {
			t.Errorf("%s: not noticed", name)
		}
	}
}
