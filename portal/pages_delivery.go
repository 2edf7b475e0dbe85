package portal

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// deliveryPage shows a delivery and all its attempts.
type deliveryPage struct {
	*ui
	ID, EventID, EventType string
	Self, Poll             string
	State                  pill
	Origin                 string
	CreatedAt              time.Time
	FinishedAt             time.Time // zero while pending
	NextAt                 time.Time
	Next                   string
	Attempts               int
	EventTenant            string
	Endpoint               string // what it is called; "" when it is gone
	EndpointHref           string
	MayResend              bool
	Live                   bool
	Body                   *document
	BodyChanged            bool
	Tries                  []try
}

// try is an attempt as the page shows it.
type try struct {
	ID              string
	Number          int
	Open            bool
	Good            bool
	StartedAt       time.Time
	Took            string
	Status, Class   string
	URL             string
	Error           string
	RequestHeaders  []headerLine
	ResponseHeaders []headerLine
	Responded       bool
	Body            *document
	Truncated       bool
}

type headerLine struct{ Name, Value string }

func (p *portal) deliveryPage(w http.ResponseWriter, r *request) error {
	d, err := r.view.Delivery(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	page, err := p.delivery(r, &d)
	if err != nil {
		return err
	}
	if r.partial("call") && page.Live && page.Poll == page.Self+"?v="+r.URL.Query().Get("v") {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if err := page.fill(r, &d); err != nil {
		return err
	}
	if r.partial("call") {
		return p.fragment(w, "delivery", "call", page)
	}
	return p.render(w, http.StatusOK, "delivery", page)
}

// delivery returns the page of a delivery, but for its body and its attempts: a
// poll that finds nothing new needs neither. While it is pending the page follows
// it.
func (p *portal) delivery(r *request, d *webhook.Delivery) (*deliveryPage, error) {
	page := &deliveryPage{
		ui: p.newUI(r, "delivery.title"), ID: d.ID, EventID: d.EventID, EventType: d.EventType, Self: "./" + url.PathEscape(d.ID),
		CreatedAt: d.CreatedAt, Attempts: d.Attempts,
	}
	u := page.ui
	page.State, page.Origin = u.pillOf(d), u.T("origin."+string(d.Origin))
	if d.State.Finished() {
		page.FinishedAt = d.UpdatedAt
	}
	if r.access.Operator || d.EventTenant != d.Tenant {
		page.EventTenant = d.EventTenant
	}
	e, err := r.view.Endpoint(r.Context(), d.EndpointID)
	switch {
	case err == nil:
		page.Endpoint, page.EndpointHref = title(&e), r.root+endpointPath(e.ID)
		u.Crumbs = append(u.Crumbs, crumb{page.Endpoint, page.EndpointHref})
		page.MayResend = !u.ReadOnly && !e.Disabled
		page.when(d, &e)
	case !errors.Is(err, webhook.ErrNotFound) && !errors.Is(err, webhook.ErrKey):
		return nil, err
	}
	u.Crumbs = append(u.Crumbs, crumb{d.EventType, ""})
	u.Title = d.EventType + " · " + u.Title
	if page.Live = !d.State.Finished(); page.Live {
		h := fnv.New64a()
		fmt.Fprintf(h, "%d %d %s %d %t %t", u.Now.Unix()/60, d.UpdatedAt.UnixMicro(), d.State, d.Attempts, page.MayResend, page.NextAt.IsZero())
		page.Poll = page.Self + fmt.Sprintf("?v=%x", h.Sum64())
	}
	return page, nil
}

// fill adds the body and the attempts.
func (page *deliveryPage) fill(r *request, d *webhook.Delivery) error {
	attempts, err := r.view.Attempts(r.Context(), d.ID)
	if err != nil {
		return err
	}
	for n := range attempts {
		page.Tries = append(page.Tries, page.try(&attempts[n]))
	}
	slices.Reverse(page.Tries)
	if len(page.Tries) > 0 {
		page.Tries[0].Open = true
	}
	return page.body(r, d, attempts)
}

// when says when the next attempt is.
func (page *deliveryPage) when(d *webhook.Delivery, e *webhook.Endpoint) {
	if d.State.Finished() {
		return
	}
	if e.Disabled {
		page.Next = page.T("delivery.disabled")
		return
	}
	page.Next, page.NextAt = page.nextTry(d, e), d.NextAttempt
	if e.NotBefore.After(page.NextAt) {
		page.NextAt = e.NotBefore
	}
	if !page.NextAt.After(page.Now) {
		page.NextAt = time.Time{}
	}
}

// body adds the request's body, and says if an attempt was sent with another.
func (page *deliveryPage) body(r *request, d *webhook.Delivery, attempts []webhook.Attempt) error {
	body, err := r.view.Body(r.Context(), d.ID)
	switch {
	case errors.Is(err, webhook.ErrNotFound), errors.Is(err, webhook.ErrKey), errors.Is(err, webhook.ErrInvalid):
		return nil
	case err != nil:
		return err
	}
	shown := pretty(body, true)
	page.Body = &shown
	digest := sha256.Sum256(body)
	page.BodyChanged = slices.ContainsFunc(attempts, func(a webhook.Attempt) bool {
		return a.BodySHA256 != digest && a.BodySHA256 != [sha256.Size]byte{}
	})
	return nil
}

func (u *ui) try(a *webhook.Attempt) try {
	t := try{
		ID: a.ID, Number: a.Number, StartedAt: a.StartedAt, Took: u.Took(a.Duration), URL: visible(a.URL), Error: visible(a.Error),
		Good: a.Error == "", Responded: a.StatusCode != 0, Truncated: a.Truncated,
		RequestHeaders: headerLines(a.RequestHeaders), ResponseHeaders: headerLines(a.ResponseHeaders),
	}
	body := pretty(a.ResponseBody, !a.Truncated)
	t.Body = &body
	if t.Error == fmt.Sprintf("status %d", a.StatusCode) {
		t.Error = "" // the status itself is shown
	}
	t.Status, t.Class = u.response(a.StatusCode, 1, a.Error)
	return t
}

// headerLines returns headers by name, each value on a line of its own.
func headerLines(h http.Header) []headerLine {
	var lines []headerLine
	for name, values := range h {
		for _, value := range values {
			lines = append(lines, headerLine{visible(name), visible(value)})
		}
	}
	slices.SortStableFunc(lines, func(a, b headerLine) int { return strings.Compare(a.Name, b.Name) })
	return lines
}

// submitResend delivers once more, and shows the new delivery.
func (p *portal) submitResend(w http.ResponseWriter, r *request) error {
	d, err := r.view.Resend(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	r.redirect(w, done(deliveryPath(d.ID), "resent"))
	return nil
}
