package portal

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// endpointHead stands above all pages of an endpoint.
type endpointHead struct {
	ID, Href, URL string
	Title         string
	Tenant        string
	Health        health
	Disabled      bool
	Unreadable    bool
	Tabs          []segment
	Notes         []headNote
}

// headNote tells of what its owner should know. Action is where its button leads.
type headNote struct {
	Kind, Title, Text, More string
	Action, Label           string
}

// head returns what stands above a page of an endpoint, and makes the page's
// crumbs.
func (p *portal) head(r *request, u *ui, e *webhook.Endpoint, tab string) *endpointHead {
	at := r.root + endpointPath(e.ID)
	h := &endpointHead{
		ID: e.ID, Href: at, URL: visible(e.URL), Title: title(e), Health: p.healthOf(r, u, e), Disabled: e.Disabled, Unreadable: e.Unreadable,
	}
	if r.access.Operator {
		h.Tenant = e.Tenant
		if e.AllTenants {
			h.Tenant = u.T("list.tenants.all")
		}
	}
	h.Tabs = []segment{{at, u.T("tab.calls"), tab == "calls"}}
	if !e.Unreadable {
		h.Tabs = append(h.Tabs, segment{at + "/verify", u.T("tab.verify"), tab == "verify"})
	}
	if !r.access.ReadOnly && !e.Unreadable {
		h.Tabs = append(h.Tabs, segment{at + "/edit", u.T("tab.settings"), tab == "settings"})
	}
	h.notes(u, e, at)
	switch tab {
	case "calls":
		u.Title = h.Title
		u.Crumbs = append(u.Crumbs, crumb{h.Title, ""})
	default:
		u.Crumbs = append(u.Crumbs, crumb{h.Title, at}, crumb{u.Title, ""})
		u.Title += " · " + h.Title
	}
	return h
}

func (h *endpointHead) notes(u *ui, e *webhook.Endpoint, at string) {
	add := func(n headNote) { h.Notes = append(h.Notes, n) }
	switch {
	case e.Unreadable:
		add(headNote{Kind: "warn", Title: u.T("endpoint.unreadable"), Text: u.T("endpoint.unreadable.why")})
	case h.Health.Unverified:
		add(headNote{Kind: "warn", Title: u.T("endpoint.unverified"), Text: u.T("endpoint.unverified.why"), Action: at + "/consent", Label: u.T("endpoint.consent")})
	case e.Disabled:
		n := headNote{Kind: "warn", Title: u.T("endpoint.disabled.title"), Text: u.T("endpoint.disabled.text"), Action: at + "/enable", Label: u.T("endpoint.enable")}
		if e.DisabledReason != "" {
			n.More = u.T("endpoint.disabled.why", visible(e.DisabledReason))
		}
		add(n)
	case h.Health.Paused && !e.FailingSince.IsZero():
		add(headNote{Kind: "warn", Title: u.T("endpoint.paused.title", u.Date(e.NotBefore)), Text: u.T("endpoint.paused.text", u.Date(e.FailingSince))})
	case h.Health.Paused:
		add(headNote{Kind: "warn", Title: u.T("endpoint.paused.title", u.Date(e.NotBefore)), Text: u.T("endpoint.wait.text")})
	case !e.FailingSince.IsZero():
		add(headNote{Kind: "bad", Title: u.T("endpoint.failing.title"), Text: u.T("endpoint.failing.text", u.Date(e.FailingSince))})
	}
	if u.ReadOnly {
		for n := range h.Notes {
			h.Notes[n].Action = ""
		}
	}
}

// endpointPage shows an endpoint: its chart and its calls.
type endpointPage struct {
	*ui
	Head      *endpointHead
	Ranges    []segment
	Wide      chart
	Slim      chart
	Buckets   []bucketRow
	Quiet     bool // nothing was sent in the chart's time
	Estimated bool
	Figures   webhook.Statistics
	Calls     *calls
}

type bucketRow struct {
	From                       time.Time
	Delivered, Failed, Pending int
	Median, P95                string
}

// periods are those of the chart: half an hour, three and a half hours and half
// a day in a bar.
var periods = []struct {
	name    string
	time    time.Duration
	buckets int
}{{"24h", 24 * time.Hour, 48}, {"7d", 7 * 24 * time.Hour, 42}, {"30d", 30 * 24 * time.Hour, 30}}

func (p *portal) endpointPage(w http.ResponseWriter, r *request) error {
	e, err := p.anyEndpoint(r)
	if err != nil {
		return err
	}
	page := endpointPage{ui: p.newUI(r, "tab.calls")}
	page.Head = p.head(r, page.ui, &e, "calls")
	var deliveries []webhook.Delivery
	if page.Calls, deliveries, err = p.calls(r, page.ui, &e); err != nil {
		return err
	}
	if r.partial("calls") && r.URL.Query().Get("v") == page.Calls.Version {
		w.WriteHeader(http.StatusNoContent) // htmx leaves the page as it is
		return nil
	}
	if page.Calls.Rows, err = p.callRows(r, page.ui, &e, deliveries); err != nil {
		return err
	}
	if r.partial("calls") {
		return p.fragment(w, "endpoint", "poll", page)
	}
	if err := page.draw(r, &e); err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "endpoint", page)
}

// draw makes the chart.
func (page *endpointPage) draw(r *request, e *webhook.Endpoint) error {
	u := page.ui
	chosen := 0
	for n, period := range periods {
		if period.name == r.URL.Query().Get("chart") {
			chosen = n
		}
	}
	at := "./" + url.PathEscape(e.ID) // "a:b" alone would be a scheme
	for n, period := range periods {
		page.Ranges = append(page.Ranges, segment{at + "?chart=" + period.name, u.T("chart." + period.name), n == chosen})
	}
	period := periods[chosen]
	// The last bar is not yet full; those before it stand still while time goes on.
	step := period.time / time.Duration(period.buckets)
	to := u.Now.UTC().Truncate(step).Add(step)
	filter := webhook.StatisticsFilter{Endpoints: []string{e.ID}, From: to.Add(-period.time), To: to, Buckets: period.buckets}
	buckets, err := r.view.Statistics(r.Context(), filter)
	if err != nil {
		return err
	}
	filter.Buckets = 1
	whole, err := r.view.Statistics(r.Context(), filter)
	if err != nil {
		return err
	}
	page.Figures = sum(buckets)
	if len(whole) > 0 {
		page.Figures.Median, page.Figures.P95 = whole[0].Median, whole[0].P95
	}
	page.Quiet, page.Estimated = total(&page.Figures) == 0, page.Figures.Estimated
	text := u.T("chart." + period.name)
	page.Wide = u.newChart("wide", "wide", 1040, 230, buckets, text)
	page.Slim = u.newChart("slim", "slim", 330, 190, buckets, text)
	for n := range buckets {
		s := &buckets[n]
		if total(s) == 0 {
			continue
		}
		row := bucketRow{From: s.From, Delivered: s.Delivered, Failed: s.Exhausted, Pending: s.Pending, Median: "–", P95: "–"}
		if s.Median > 0 {
			row.Median, row.P95 = u.Took(s.Median), u.Took(s.P95)
		}
		page.Buckets = append(page.Buckets, row)
	}
	return nil
}

// calls is the log of an endpoint's deliveries.
type calls struct {
	Self          string // the relative URL of the page
	Poll          string // what htmx asks for
	Version       string // of what is shown
	Live          bool
	LiveHref      string
	States        []choice
	Types         []choice
	FreeType      bool // there is no catalogue
	Type          string
	Ranges        []choice
	From, To      string
	Filtered      bool
	Rows          []callRow
	Older, Newest string
	Chart         string
	Say           string // what a screen reader is told when it changes
}

type callRow struct {
	Href, Type string
	State      pill
	At         time.Time
	Next       string
	Response   string
	Class      string // of the response
	Took       string
	Attempts   int
	Origin     string
}

type pill struct{ Kind, Text string }

// pillOf returns a delivery's state.
func (u *ui) pillOf(d *webhook.Delivery) pill {
	switch d.State {
	case webhook.StateDelivered:
		return pill{"good", u.T("state.delivered")}
	case webhook.StateExhausted:
		return pill{"bad", u.T("state.exhausted")}
	case webhook.StateCancelled:
		return pill{"idle", u.T("state.cancelled")}
	}
	if d.Attempts > 0 {
		return pill{"warn", u.T("state.retrying")}
	}
	return pill{"idle", u.T("state.pending")}
}

var spans = map[string]time.Duration{"1h": time.Hour, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "30d": 30 * 24 * time.Hour}

// minute is how <input type="datetime-local"> writes a time.
const minute = "2006-01-02T15:04"

// calls makes the log but for its rows, whose deliveries it returns: a poll that
// finds nothing new needs none.
func (p *portal) calls(r *request, u *ui, e *webhook.Endpoint) (*calls, []webhook.Delivery, error) {
	q := r.URL.Query()
	c := &calls{Self: "./" + url.PathEscape(e.ID), Chart: q.Get("chart"), Live: q.Get("live") != "off", Type: q.Get("type")}
	f := webhook.DeliveryFilter{EndpointID: e.ID, EventType: c.Type, Cursor: q.Get("cursor"), Limit: pageSize}
	keep := url.Values{}
	set := func(name, value string) {
		if value != "" {
			keep.Set(name, value)
		}
	}
	c.choose(u, r.view.EventTypes(), q, &f)
	if from, err := time.Parse(minute, q.Get("from")); err == nil && q.Get("range") == "custom" {
		f.From, c.From = from, q.Get("from")
	}
	if to, err := time.Parse(minute, q.Get("to")); err == nil && q.Get("range") == "custom" {
		f.To, c.To = to, q.Get("to")
	}
	for _, name := range []string{"state", "type", "range", "from", "to", "chart"} {
		set(name, q.Get(name))
	}
	c.Filtered = q.Get("state") != "" || c.Type != "" || q.Get("range") != ""
	page, err := r.view.Deliveries(r.Context(), f)
	if err != nil {
		return nil, nil, err
	}
	c.Version, c.Say = version(page.Items, e, u.Now), u.N("calls.shown", len(page.Items))
	c.links(keep, f.Cursor, page.Next)
	return c, page.Items, nil
}

// choose fills the filters.
func (c *calls) choose(u *ui, types []webhook.EventType, q url.Values, f *webhook.DeliveryFilter) {
	c.States = []choice{{"", u.T("calls.state.all"), false}}
	for _, s := range []webhook.State{webhook.StateDelivered, webhook.StateExhausted, webhook.StatePending, webhook.StateCancelled} {
		chosen := q.Get("state") == string(s)
		if chosen {
			f.States = []webhook.State{s}
		}
		c.States = append(c.States, choice{string(s), u.T("state." + string(s)), chosen})
	}
	c.FreeType = len(types) == 0
	c.Types = []choice{{"", u.T("calls.type.all"), false}}
	for _, t := range types {
		c.Types = append(c.Types, choice{t.Name, t.Name, t.Name == c.Type})
	}
	if c.Type != "" && !slices.ContainsFunc(c.Types, func(t choice) bool { return t.Chosen }) {
		c.Types = append(c.Types, choice{c.Type, c.Type, true})
	}
	for _, name := range []string{"", "1h", "24h", "7d", "30d", "custom"} {
		key := name
		if key == "" {
			key = "all"
		}
		c.Ranges = append(c.Ranges, choice{name, u.T("calls.range." + key), q.Get("range") == name})
	}
	if span, ok := spans[q.Get("range")]; ok {
		f.From = u.Now.Add(-span)
	}
}

// links makes the URLs of pages. Only the newest page is live: on another,
// nothing new can come.
func (c *calls) links(keep url.Values, cursor, next string) {
	to := func(name, value string) string {
		v := url.Values{}
		for key := range keep {
			v.Set(key, keep.Get(key))
		}
		if !c.Live && name != "live" {
			v.Set("live", "off")
		}
		if value != "" {
			v.Set(name, value)
		}
		if len(v) == 0 {
			return c.Self
		}
		return c.Self + "?" + v.Encode()
	}
	if next != "" {
		c.Older = to("cursor", next)
	}
	if cursor != "" {
		c.Newest = to("cursor", "")
		return
	}
	if c.Live {
		c.Poll = to("v", c.Version)
		c.LiveHref = to("live", "off")
	} else {
		c.LiveHref = to("live", "")
	}
}

func (p *portal) callRows(r *request, u *ui, e *webhook.Endpoint, ds []webhook.Delivery) ([]callRow, error) {
	rows := make([]callRow, len(ds))
	for n := range ds {
		d := &ds[n]
		row := callRow{
			Href: r.root + deliveryPath(d.ID), Type: d.EventType, State: u.pillOf(d), At: d.CreatedAt, Attempts: d.Attempts,
		}
		if d.Origin != webhook.OriginPublish {
			row.Origin = u.T("origin." + string(d.Origin))
		}
		if d.State == webhook.StatePending && !e.Disabled {
			row.Next = u.T("calls.next", u.nextTry(d, e))
		}
		row.Response, row.Class = u.response(d.LastStatus, d.Attempts, d.LastError)
		took, err := p.took(r, d)
		if err != nil {
			return nil, err
		}
		if row.Took = "–"; took > 0 {
			row.Took = u.Took(took)
		}
		rows[n] = row
	}
	return rows, nil
}

// took returns how long the last attempt of a delivery lasted.
func (p *portal) took(r *request, d *webhook.Delivery) (time.Duration, error) {
	if d.Attempts == 0 {
		return 0, nil
	}
	attempts, err := r.view.Attempts(r.Context(), d.ID)
	if err != nil || len(attempts) == 0 {
		return 0, err
	}
	return attempts[len(attempts)-1].Duration, nil
}

// nextTry writes when a pending delivery is due: not before its endpoint is.
func (u *ui) nextTry(d *webhook.Delivery, e *webhook.Endpoint) string {
	at := d.NextAttempt
	if e.NotBefore.After(at) {
		at = e.NotBefore
	}
	if !at.After(u.Now) {
		return u.T("delivery.soon")
	}
	return u.Ago(at)
}

// response writes what came back.
func (u *ui) response(status, attempts int, wrong string) (text, class string) {
	switch {
	case status == 0 && attempts == 0 && wrong == "":
		return u.T("calls.notyet"), "muted"
	case status == 0:
		return u.T("calls.noresponse"), "code-bad"
	case status >= 200 && status < 300:
		return statusText(status), "code-good"
	}
	return statusText(status), "code-bad"
}

func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

// version changes when what is shown of the calls does: with them, with the health
// of their endpoint and, as there are times such as "3 min ago", with each minute
// and when an attempt becomes due.
func version(ds []webhook.Delivery, e *webhook.Endpoint, now time.Time) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %t %s %d %t %d", now.Unix()/60, e.Disabled, e.DisabledReason, e.NotBefore.Unix(), e.NotBefore.After(now), e.FailingSince.Unix())
	for n := range ds {
		fmt.Fprintf(h, "%s %d %s %d %t|", ds[n].ID, ds[n].UpdatedAt.UnixMicro(), ds[n].State, ds[n].Attempts, ds[n].NextAttempt.After(now))
	}
	return fmt.Sprintf("%x", h.Sum64())
}
