package portal

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/outhook/webhook"
)

var (
	errNoPage      = errors.New("there is nothing here")
	errCrossOrigin = errors.New("the request comes from another site")
	errReadOnly    = errors.New("read-only access changes nothing")
)

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

	allow    []string
	location string
}

// fieldError is one thing that is wrong in what was sent.
type fieldError struct {
	Pointer string `json:"pointer"` // RFC 6901: "/url", "/auth/tokenUrl"
	Detail  string `json:"detail"`
}

func (e *problem) Error() string { return cmp.Or(e.Detail, e.Title) }

// problemOf returns what an error is to the caller. Of what is not his mistake it
// says nothing.
func problemOf(err error, operator bool) *problem {
	if e, ok := errors.AsType[*problem](err); ok {
		return e
	}
	p := func(status int, kind, detail string) *problem {
		return &problem{Type: "urn:outhook:problem:" + kind, Title: http.StatusText(status), Status: status, Detail: detail}
	}
	if e, ok := errors.AsType[*Refusal](err); ok {
		status, kind := http.StatusUnauthorized, "unauthorized"
		if e.Status == http.StatusForbidden {
			status, kind = http.StatusForbidden, "forbidden"
		}
		q := p(status, kind, e.Detail)
		q.location = e.Location
		return q
	}
	if e, ok := errors.AsType[*methodError](err); ok {
		q := p(http.StatusMethodNotAllowed, "method-not-allowed", "")
		q.allow = e.allowed
		return q
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		_ = e
		return p(http.StatusRequestEntityTooLarge, "too-large", "the body is larger than 1 MiB")
	}
	switch {
	case errors.Is(err, errNoPage), errors.Is(err, webhook.ErrNotFound):
		return p(http.StatusNotFound, "not-found", "")
	case errors.Is(err, errCrossOrigin), errors.Is(err, errReadOnly):
		return p(http.StatusForbidden, "forbidden", err.Error())
	case errors.Is(err, webhook.ErrInvalid), errors.Is(err, webhook.ErrUnknownEventType), errors.Is(err, webhook.ErrBlockedAddress):
		q := p(http.StatusUnprocessableEntity, "invalid", "")
		q.Errors = fieldErrors(err, operator)
		return q
	case errors.Is(err, webhook.ErrConflict):
		return p(http.StatusConflict, "conflict", words(err))
	case errors.Is(err, webhook.ErrNotVerified):
		return p(http.StatusConflict, "not-verified", words(err))
	case errors.Is(err, webhook.ErrNotSupported):
		q := p(http.StatusConflict, "not-supported", words(err))
		q.Errors = fieldErrors(err, operator)
		return q
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return p(http.StatusServiceUnavailable, "unavailable", "")
	}
	return p(http.StatusInternalServerError, "internal", "")
}

// words returns the text of an error without what was being done.
func words(err error) string {
	return err.Error()
}

// fieldErrors returns what is wrong by field. Pages and API have the same
// pointers for the same fields.
func fieldErrors(err error, operator bool) []fieldError {
	return []fieldError{{Pointer: "", Detail: err.Error()}}
}

// fail answers with an error.
func (p *portal) fail(w http.ResponseWriter, r *request, err error) {
	q := problemOf(err, r.access.Operator)
	if q.Status >= 500 {
		p.log.Error("the portal could not answer", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if len(q.allow) > 0 {
		w.Header().Set("Allow", strings.Join(q.allow, ", "))
	}
	if r.api {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(q.Status)
		_ = json.NewEncoder(w).Encode(q)
		return
	}
	if q.location != "" && q.Status == http.StatusUnauthorized {
		w.Header().Set("Location", q.location)
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	p.errorPage(w, r, q)
}
