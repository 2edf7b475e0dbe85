package portal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/outhook/webhook"
)

var (
	errNoPage      = errors.New("there is nothing here")
	errCrossOrigin = errors.New("the request comes from another site")
	errReadOnly    = errors.New("read-only access changes nothing")
)

// methodError says that the path has other methods.
type methodError struct{ allowed []string }

func (e *methodError) Error() string { return "method not allowed" }

// problem is what a request ended with: an RFC 9457 problem of the API, and what
// an error page shows.
type problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail,omitempty"`
	Errors []fieldError `json:"errors,omitempty"`

	allow     []string // for 405
	challenge string   // for 401
	location  string   // where a page sends the browser instead
}

// fieldError is one thing that is wrong in what was sent: in a body, or in a
// parameter.
type fieldError struct {
	Pointer   string `json:"pointer,omitempty"` // RFC 6901: "/url", "/auth/tokenUrl"; "" for the body as a whole
	Parameter string `json:"parameter,omitempty"`
	Detail    string `json:"detail"`
}

// Error implements error: a problem is an error that says how it is answered.
func (e *problem) Error() string { return cmp.Or(e.Detail, e.Title) }

func newProblem(status int, kind, detail string) *problem {
	return &problem{Type: "urn:outhook:problem:" + kind, Title: http.StatusText(status), Status: status, Detail: detail}
}

// invalid is the problem of what was understood and cannot be done.
func invalid(errs ...fieldError) *problem {
	q := newProblem(http.StatusUnprocessableEntity, "invalid", "")
	q.Errors = errs
	return q
}

// problemOf returns what an error is to the caller. Of what is not his mistake it
// says nothing.
func problemOf(err error, operator bool) *problem {
	if e, ok := errors.AsType[*problem](err); ok {
		return e
	}
	if e, ok := errors.AsType[*Refusal](err); ok {
		q := newProblem(http.StatusUnauthorized, "unauthorized", e.Detail)
		q.challenge = e.Challenge
		if e.Status == http.StatusForbidden {
			q = newProblem(http.StatusForbidden, "forbidden", e.Detail)
		}
		q.location = e.Location
		return q
	}
	if e, ok := errors.AsType[*methodError](err); ok {
		q := newProblem(http.StatusMethodNotAllowed, "method-not-allowed", "")
		q.allow = e.allowed
		return q
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return newProblem(http.StatusRequestEntityTooLarge, "too-large", fmt.Sprintf("the body has more than %d bytes", e.Limit))
	}
	switch {
	case errors.Is(err, errNoPage), errors.Is(err, webhook.ErrNotFound):
		return newProblem(http.StatusNotFound, "not-found", "")
	case errors.Is(err, errCrossOrigin), errors.Is(err, errReadOnly):
		return newProblem(http.StatusForbidden, "forbidden", err.Error())
	case errors.Is(err, webhook.ErrInvalid), errors.Is(err, webhook.ErrUnknownEventType), errors.Is(err, webhook.ErrBlockedAddress):
		return invalid(fieldErrors(err, operator)...)
	case errors.Is(err, webhook.ErrNotSupported):
		q := newProblem(http.StatusUnprocessableEntity, "not-supported", "")
		q.Errors = fieldErrors(err, operator)
		return q
	case errors.Is(err, webhook.ErrConflict):
		return newProblem(http.StatusConflict, "conflict", words(err))
	case errors.Is(err, webhook.ErrNotVerified):
		return newProblem(http.StatusConflict, "not-verified", words(err))
	case errors.Is(err, webhook.ErrKey), errors.Is(err, webhook.ErrUncertain), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return newProblem(http.StatusServiceUnavailable, "unavailable", "")
	}
	return newProblem(http.StatusInternalServerError, "internal", "")
}

// doing is what the library's errors begin with: what was being done, which the
// caller knows.
var doing = regexp.MustCompile(`^(?:[a-z]+(?: [a-z]+)*(?: "(?:[^"\\]|\\.)*")?: )+`)

// words returns the text of an error without what was being done and without the
// sentinel's own words.
func words(err error) string {
	text := doing.ReplaceAllString(err.Error(), "")
	for _, sentinel := range []error{webhook.ErrConflict, webhook.ErrNotVerified, webhook.ErrInvalid} {
		text = strings.TrimPrefix(text, sentinel.Error()+": ")
	}
	return text
}

// pointers are where the library's fields are in a body. What is not among them
// belongs to the body as a whole.
var pointers = map[string]string{
	"ID": "/id", "URL": "/url", "Description": "/description", "Tenant": "/tenant", "AllTenants": "/allTenants", "Events": "/events", "Profile": "/profile",
	"Auth": "/auth", "Auth.Secret": "/auth", "Auth.TokenURL": "/auth/tokenUrl", "TLS": "/tls", "TLS.RootCAs": "/tls/rootCAs", "TLS.Certificate": "/tls/certificate", "TLS.Key": "/tls/key",
	"Headers": "/headers", "RateLimit": "/rateLimit", "Concurrency": "/concurrency", "Ordered": "/ordered", "Secrets": "/secrets",
	"From": "/from", "To": "/to", "Limit": "/limit", "Buckets": "/buckets", "Endpoints": "/endpointId", "EndpointID": "/endpointId", "overlap": "/overlapSeconds", "reason": "/reason",
}

var (
	fieldOf    = regexp.MustCompile(`^([A-Z][A-Za-z]*(?:\.[A-Z][A-Za-z]*)?|overlap|reason)(?:\[(\d+)\])?(?::| )`)
	ofNetwork  = regexp.MustCompile(`; (?:with )?Network\.[A-Za-z]+ .*$`)
	says       = regexp.MustCompile(`(?:invalid|unknown event type).*$`)
	saysFields = []struct{ text, pointer string }{
		{"invalid pattern ", "/events"}, {"unknown event type: pattern ", "/events"}, {"unknown event type ", "/eventType"}, {"invalid event type ", "/eventType"},
		{"invalid tenant ", "/tenant"}, {"invalid secret", "/value"}, {"cursor ", "/cursor"}, {"invalid: cursor ", "/cursor"},
	}
)

// fieldErrors returns what is wrong by field. Pages and API have the same
// pointers for the same fields.
func fieldErrors(err error, operator bool) []fieldError {
	var all []fieldError
	for _, mistake := range mistakes(err) {
		e := fieldError{Detail: mistake.Error()}
		if m := fieldOf.FindStringSubmatch(e.Detail); m != nil && pointers[m[1]] != "" {
			if e.Pointer = pointers[m[1]]; m[2] != "" {
				e.Pointer += "/" + m[2]
			}
			e.Detail = e.Detail[len(m[0]):]
		} else {
			e.Detail = doing.ReplaceAllStringFunc(e.Detail, func(s string) string { return s[len(s)-len(says.FindString(s)):] })
			for _, s := range saysFields {
				if strings.HasPrefix(e.Detail, s.text) {
					e.Pointer = s.pointer
					break
				}
			}
		}
		e.Detail = strings.TrimPrefix(strings.TrimSpace(e.Detail), "invalid: ")
		if !operator { // whose settings they are
			if e.Detail = ofNetwork.ReplaceAllString(e.Detail, ""); errors.Is(mistake, webhook.ErrBlockedAddress) {
				e.Detail = "requests may not be sent to this address"
			}
		}
		all = append(all, e)
	}
	return all
}

// mistakes takes what errors.Join has joined apart.
func mistakes(err error) []error {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		var texts []string
		for _, part := range e.Unwrap() {
			texts = append(texts, part.Error())
		}
		if strings.Join(texts, "\n") != err.Error() {
			return []error{err} // several %w
		}
		var all []error
		for _, part := range e.Unwrap() {
			all = append(all, mistakes(part)...)
		}
		return all
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil && !fieldOf.MatchString(err.Error()) && carries(inner) {
			return mistakes(inner)
		}
	}
	return []error{err}
}

// carries reports whether an error says more than a sentinel does.
func carries(err error) bool {
	switch err {
	case webhook.ErrInvalid, webhook.ErrBlockedAddress, webhook.ErrUnknownEventType, webhook.ErrNotSupported:
		return false
	}
	return true
}

// fail answers with an error.
func (p *portal) fail(w http.ResponseWriter, r *request, err error) {
	q := problemOf(err, r.access.Operator)
	if q.Status >= 500 && r.Context().Err() == nil {
		p.log.Error("the portal could not answer", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if len(q.allow) > 0 {
		w.Header().Set("Allow", strings.Join(q.allow, ", "))
	}
	away := q.location != "" && !r.api
	if q.challenge != "" && !away {
		w.Header().Set("WWW-Authenticate", q.challenge)
	}
	switch {
	case r.api:
		p.failAPI(w, r, q)
		return
	case r.Header.Get("HX-Request") == "true" && (away || q.Status == http.StatusUnauthorized):
		// A redirect is followed, and what it leads to becomes a part of the page. Loaded
		// anew as a whole, the page leads there itself.
		w.Header().Set("HX-Refresh", "true")
	case away:
		w.Header().Set("Location", q.location)
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	p.errorPage(w, r, q)
}

// failAPI writes an RFC 9457 problem.
func (p *portal) failAPI(w http.ResponseWriter, r *request, q *problem) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		named := *q
		named.Errors = nil
		for _, e := range q.Errors {
			if e.Parameter == "" && e.Pointer != "" {
				e.Parameter, e.Pointer = strings.TrimPrefix(e.Pointer, "/"), ""
			}
			named.Errors = append(named.Errors, e)
		}
		q = &named
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(q.Status)
	_ = json.NewEncoder(w).Encode(q)
}
