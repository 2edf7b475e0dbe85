package portal

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/outhook/webhook"
)

func (p *portal) listDeliveries(w http.ResponseWriter, r *request) error {
	q := r.query("endpointId", "eventId", "eventType", "state", "from", "to", "cursor", "limit")
	if len(q.values["endpointId"]) > 1 {
		q.fail("endpointId", "it is there more than once")
	}
	f := webhook.DeliveryFilter{
		EndpointID: q.text("endpointId"), EventID: q.text("eventId"), EventType: q.text("eventType"), States: q.states(),
		From: q.time("from"), To: q.time("to"), Cursor: q.text("cursor"), Limit: q.number("limit", 1, 1000),
	}
	if err := q.err(); err != nil {
		return err
	}
	page, err := r.view.Deliveries(r.Context(), f)
	if err != nil {
		return err
	}
	answer := pageJSON[deliveryJSON]{Items: []deliveryJSON{}, Next: page.Next}
	for n := range page.Items {
		answer.Items = append(answer.Items, deliveryOf(&page.Items[n]))
	}
	r.link(w, page.Next)
	return reply(w, http.StatusOK, answer)
}

func (p *portal) getDelivery(w http.ResponseWriter, r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	d, err := r.view.Delivery(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, deliveryOf(&d))
}

func (p *portal) listAttempts(w http.ResponseWriter, r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	attempts, err := r.view.Attempts(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	page := pageJSON[attemptJSON]{Items: []attemptJSON{}}
	for n := range attempts {
		page.Items = append(page.Items, attemptOf(&attempts[n]))
	}
	return reply(w, http.StatusOK, page)
}

// getBody answers with bytes, which no browser takes for a page.
func (p *portal) getBody(w http.ResponseWriter, r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	body, err := r.view.Body(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="body"`)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
	return nil
}

func (p *portal) resend(w http.ResponseWriter, r *request) error {
	if err := r.empty(); err != nil {
		return err
	}
	d, err := r.view.Resend(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	w.Header().Set("Location", "../"+d.ID)
	return reply(w, http.StatusCreated, deliveryOf(&d))
}

func (p *portal) replay(w http.ResponseWriter, r *request) error {
	var input struct {
		EndpointID string    `json:"endpointId"`
		EventType  string    `json:"eventType"`
		From       time.Time `json:"from"`
		To         time.Time `json:"to"`
		Missed     bool      `json:"missed"`
		DryRun     bool      `json:"dryRun"`
		Cursor     string    `json:"cursor"`
		Limit      int       `json:"limit"`
	}
	if err := errors.Join(r.query().err(), r.decode(&input)); err != nil {
		return err
	}
	result, err := r.view.Replay(r.Context(), webhook.ReplayFilter(input))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, struct {
		Matched int    `json:"matched"`
		Created int    `json:"created"`
		Next    string `json:"next,omitempty"`
	}{result.Matched, result.Created, result.Next})
}
