package portal

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/outhook/webhook"
)

// confirmPage asks before something is done.
type confirmPage struct {
	*ui
	Head         *endpointHead
	Action       string // the relative URL that does it
	Text, Button string
	Danger       bool
	Reason       bool // asks for one
	Cancel       string
}

func (p *portal) disablePage(w http.ResponseWriter, r *request) error {
	return p.confirm(w, r, "disable", confirmPage{Reason: true})
}

func (p *portal) deletePage(w http.ResponseWriter, r *request) error {
	return p.confirm(w, r, "delete", confirmPage{Danger: true})
}

func (p *portal) confirm(w http.ResponseWriter, r *request, what string, page confirmPage) error {
	e, err := p.anyEndpoint(r)
	if err != nil {
		return err
	}
	page.ui = p.newUI(r, "confirm."+what+".title")
	page.Cancel = r.root + endpointPath(e.ID)
	page.Crumbs = append(page.Crumbs, crumb{title(&e), page.Cancel}, crumb{page.T("endpoint." + what), ""})
	page.Action, page.Text, page.Button = what, page.T("confirm."+what+".text", hostOf(&e)), page.T("confirm."+what+".do")
	return p.render(w, http.StatusOK, "confirm", page)
}

// anyEndpoint returns an endpoint even if its configuration cannot be read: it
// can be disabled and deleted all the same.
func (p *portal) anyEndpoint(r *request) (webhook.Endpoint, error) {
	e, err := r.view.Endpoint(r.Context(), r.value("id"))
	if errors.Is(err, webhook.ErrKey) {
		return webhook.Endpoint{ID: r.value("id"), Unreadable: true}, nil
	}
	return e, err
}

func (p *portal) submitEnable(w http.ResponseWriter, r *request) error {
	return p.act(w, r, "enabled", r.view.Enable(r.Context(), r.value("id")))
}

func (p *portal) submitDisable(w http.ResponseWriter, r *request) error {
	v, err := r.form()
	if err != nil {
		return err
	}
	return p.act(w, r, "disabled", r.view.Disable(r.Context(), r.value("id"), v.Get("reason")))
}

func (p *portal) submitConsent(w http.ResponseWriter, r *request) error {
	return p.act(w, r, "verified", r.view.Verify(r.Context(), r.value("id")))
}

// act leads back to the endpoint's page.
func (p *portal) act(w http.ResponseWriter, r *request, what string, err error) error {
	if err != nil {
		return err
	}
	r.redirect(w, done(endpointPath(r.value("id")), what))
	return nil
}

func (p *portal) submitDelete(w http.ResponseWriter, r *request) error {
	if err := r.view.Unregister(r.Context(), r.value("id")); err != nil {
		return err
	}
	r.redirect(w, done("", "deleted"))
	return nil
}

// testPage sends a test and shows the answer.
type testPage struct {
	*ui
	Head     *endpointHead
	Types    []testGroup
	Type     string
	Free     bool
	Errors   []string
	Sent     *try
	SentHref string
}

type testGroup struct {
	Name  string
	Types []choice
}

func (p *portal) testPage(w http.ResponseWriter, r *request) error {
	return p.showTest(w, r, http.StatusOK, r.URL.Query().Get("type"), r.URL.Query().Get("sent"), nil)
}

// submitTest sends one and leads to its answer, which a reload shows again without
// sending another.
func (p *portal) submitTest(w http.ResponseWriter, r *request) error {
	v, err := r.form()
	if err != nil {
		return err
	}
	kind := v.Get("type")
	attempt, err := r.view.SendTest(r.Context(), r.value("id"), kind)
	switch {
	case errors.Is(err, webhook.ErrInvalid), errors.Is(err, webhook.ErrUnknownEventType):
		return p.showTest(w, r, http.StatusUnprocessableEntity, kind, "", err)
	case err != nil:
		return err
	}
	r.redirect(w, endpointPath(r.value("id"))+"/test?type="+url.QueryEscape(kind)+"&sent="+url.QueryEscape(attempt.DeliveryID))
	return nil
}

func (p *portal) showTest(w http.ResponseWriter, r *request, status int, kind, sent string, wrong error) error {
	e, err := r.view.Endpoint(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	page := testPage{ui: p.newUI(r, "test.title"), Type: kind}
	page.Head = p.head(r, page.ui, &e, "")
	types := r.view.EventTypes()
	page.Free = len(types) == 0
	if page.Type == "" && !page.Free {
		page.Type = firstSubscribed(types, e.Events)
	}
	for _, g := range groupsOf(types) {
		group := testGroup{Name: visible(g.name)}
		for _, t := range g.types {
			group.Types = append(group.Types, choice{t.Name, t.Name, t.Name == page.Type})
		}
		page.Types = append(page.Types, group)
	}
	if wrong != nil {
		for _, e := range fieldErrors(wrong, r.access.Operator) {
			page.Errors = append(page.Errors, e.Detail)
		}
	}
	if sent != "" {
		if err := page.answer(r, sent); err != nil {
			return err
		}
	}
	return p.render(w, status, "test", page)
}

// answer shows what a delivery to this endpoint was answered with.
func (page *testPage) answer(r *request, sent string) error {
	d, err := r.view.Delivery(r.Context(), sent)
	if err != nil {
		return err
	}
	if d.EndpointID != page.Head.ID {
		return errNoPage
	}
	attempts, err := r.view.Attempts(r.Context(), sent)
	if err != nil {
		return err
	}
	if len(attempts) > 0 {
		t := page.try(&attempts[len(attempts)-1])
		page.Sent, page.SentHref = &t, r.root+deliveryPath(sent)
	}
	return nil
}

// firstSubscribed returns a type that the endpoint asks for, if there is one.
func firstSubscribed(types []webhook.EventType, patterns []string) string {
	for _, t := range types {
		if slices.Contains(patterns, t.Name) {
			return t.Name
		}
	}
	return types[0].Name
}

// replayPage plans a replay and follows it.
type replayPage struct {
	*ui
	Head     *endpointHead
	Missed   bool
	Type     string
	Types    []choice
	Free     bool
	Ranges   []choice
	From, To string
	// Start and End are the period, fixed when it was previewed: "last hour" would
	// go on while the replay runs.
	Start, End  string
	Preview     bool
	Count       int
	AtLeast     bool
	Disabled    bool
	Running     bool
	Finished    bool
	Cursor      string
	Created     int
	Looked      int
	CallsHref   string
	RestartHref string
	Errors      []string
}

const (
	replayStep    = 100                   // deliveries or events in a step
	previewTime   = 50 * time.Millisecond // that a preview takes another step in: it counts as far as it gets
	defaultReplay = "24h"
)

func (p *portal) replayPage(w http.ResponseWriter, r *request) error {
	e, err := r.view.Endpoint(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	q := r.URL.Query()
	page := p.newReplay(r, &e, q)
	if q.Get("preview") != "" {
		page.Preview = true
		f, err := page.filter(q, e.ID)
		if err != nil {
			return err
		}
		page.Start, page.End = f.From.UTC().Format(time.RFC3339Nano), f.To.UTC().Format(time.RFC3339Nano)
		if err := page.count(r, f); err != nil {
			return err
		}
	}
	return p.render(w, http.StatusOK, "replay", page)
}

func (p *portal) newReplay(r *request, e *webhook.Endpoint, q url.Values) *replayPage {
	page := &replayPage{
		ui: p.newUI(r, "replay.title"), Missed: q.Get("what") == "missed", Type: q.Get("type"),
		From: q.Get("from"), To: q.Get("to"), Disabled: e.Disabled,
		CallsHref: r.root + endpointPath(e.ID), RestartHref: r.root + endpointPath(e.ID) + "/replay",
	}
	page.Head = p.head(r, page.ui, e, "")
	types := r.view.EventTypes()
	page.Free = len(types) == 0
	page.Types = []choice{{"", page.T("calls.type.all"), page.Type == ""}}
	for _, t := range types {
		page.Types = append(page.Types, choice{t.Name, t.Name, t.Name == page.Type})
	}
	chosen := q.Get("range")
	if chosen == "" {
		chosen = defaultReplay
	}
	for _, name := range []string{"1h", "24h", "7d", "30d", "custom"} {
		page.Ranges = append(page.Ranges, choice{name, page.T("calls.range." + name), name == chosen})
	}
	return page
}

// filter returns what is to be replayed.
func (page *replayPage) filter(q url.Values, id string) (webhook.ReplayFilter, error) {
	f := webhook.ReplayFilter{EndpointID: id, EventType: page.Type, Missed: page.Missed, Limit: replayStep, To: page.Now}
	span, ok := spans[q.Get("range")]
	if !ok && q.Get("range") == "" {
		span, ok = spans[defaultReplay], true
	}
	if ok {
		f.From = f.To.Add(-span)
		return f, nil
	}
	if from, err := time.Parse(minute, q.Get("from")); err == nil {
		f.From = from
	}
	if to, err := time.Parse(minute, q.Get("to")); err == nil && to.Before(f.To) {
		f.To = to
	}
	return f, nil
}

// count adds up a dry run for as long as somebody may be asked to wait.
func (page *replayPage) count(r *request, f webhook.ReplayFilter) error {
	f.DryRun = true
	for began := time.Now(); ; {
		result, err := r.view.Replay(r.Context(), f)
		if err != nil {
			return err
		}
		page.Count += result.Matched
		if f.Cursor = result.Next; f.Cursor == "" {
			return nil
		}
		if time.Since(began) > previewTime {
			page.AtLeast = true
			return nil
		}
	}
}

// submitReplay does one step and shows how far it is. The next one follows by itself
// or, without JavaScript, by a button. A step that is sent twice does nothing
// the second time.
func (p *portal) submitReplay(w http.ResponseWriter, r *request) error {
	v, err := r.form()
	if err != nil {
		return err
	}
	e, err := r.view.Endpoint(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	page := p.newReplay(r, &e, v)
	page.Start, page.End = v.Get("start"), v.Get("end")
	from, err1 := time.Parse(time.RFC3339Nano, page.Start)
	to, err2 := time.Parse(time.RFC3339Nano, page.End)
	if err := errors.Join(err1, err2); err != nil {
		return errMalformed
	}
	result, err := r.view.Replay(r.Context(), webhook.ReplayFilter{
		EndpointID: e.ID, EventType: page.Type, From: from, To: to, Missed: page.Missed, Cursor: v.Get("cursor"), Limit: replayStep,
	})
	if err != nil {
		return err
	}
	before, _ := strconv.Atoi(v.Get("created"))
	page.Created = max(before, 0) + result.Created
	page.Cursor = result.Next
	page.Looked = result.Matched
	page.Running, page.Finished = result.Next != "", result.Next == ""
	if r.partial("replay") {
		return p.fragment(w, "replay", "progress", page)
	}
	return p.render(w, http.StatusOK, "replay", page)
}
