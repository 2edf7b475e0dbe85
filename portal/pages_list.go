package portal

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

const (
	pageSize   = 25
	listSize   = 50
	maxSearch  = 1000 // endpoints that a search looks at
	maxFound   = 200  // of those found, that are shown
	shownTypes = 2    // event types in a row of the list
)

// listPage shows the endpoints and how they fare.
type listPage struct {
	*ui
	Rows                []endpointRow
	Total               int
	Search, Show        string
	Shows               []segment
	Filtered            bool // nothing matches, although there may be some
	Partial             bool // the search did not look at all
	Cut                 bool // not all that were found are shown
	SearchMax           int
	Next, First         string // URLs of pages
	ShowsTenant, Simple bool
}

type segment struct {
	Href, Text string
	Current    bool
}

type endpointRow struct {
	Href       string
	ID         string
	Title, Sub string
	Tenant     string
	Health     health
	Patterns   []string
	More       int
	AllEvents  bool
	Share      share
	Disabled   bool
	Unverified bool
}

func (p *portal) listPage(w http.ResponseWriter, r *request) error {
	q := r.URL.Query()
	page := listPage{ui: p.newUI(r, "list.title"), Search: strings.TrimSpace(q.Get("q")), Show: q.Get("show"), SearchMax: maxSearch}
	page.Crumbs = nil
	filter := webhook.EndpointFilter{Cursor: q.Get("cursor"), Limit: listSize}
	switch page.Show {
	case "enabled", "disabled":
		disabled := page.Show == "disabled"
		filter.Disabled = &disabled
	default:
		page.Show = ""
	}
	var found webhook.Page[webhook.Endpoint]
	var err error
	if page.Search == "" {
		found, err = r.view.Endpoints(r.Context(), filter)
	} else {
		found, page.Partial, err = search(r, filter, page.Search)
	}
	if err != nil {
		return err
	}
	page.Total = found.Total
	page.Cut = page.Search != "" && found.Total > len(found.Items)
	page.Filtered = page.Search != "" || page.Show != ""
	page.ShowsTenant = r.access.Operator
	if page.Rows, err = p.endpointRows(r, page.ui, found.Items); err != nil {
		return err
	}
	link := func(show, cursor string) string {
		v := url.Values{}
		for key, value := range map[string]string{"q": page.Search, "show": show, "cursor": cursor} {
			if value != "" {
				v.Set(key, value)
			}
		}
		if len(v) == 0 {
			return "./"
		}
		return "?" + v.Encode()
	}
	for _, show := range []string{"", "enabled", "disabled"} {
		key := "list.show.all"
		if show != "" {
			key = "list.show." + show
		}
		page.Shows = append(page.Shows, segment{link(show, ""), page.T(key), show == page.Show})
	}
	if found.Next != "" {
		page.Next = link(page.Show, found.Next)
	}
	if filter.Cursor != "" {
		page.First = link(page.Show, "")
	}
	page.Simple = !page.Filtered && page.Total <= 3 && filter.Cursor == ""
	return p.render(w, http.StatusOK, "list", page)
}

// search looks for a word in the first endpoints: their configuration may be
// sealed, so that no store could.
func search(r *request, f webhook.EndpointFilter, word string) (found webhook.Page[webhook.Endpoint], partial bool, err error) {
	word = strings.ToLower(word)
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), word) }
	f.Limit, f.Cursor = maxSearch, ""
	page, err := r.view.Endpoints(r.Context(), f)
	if err != nil {
		return found, false, err
	}
	for _, e := range page.Items {
		if has(e.URL) || has(e.Description) || has(e.ID) || r.access.Operator && has(e.Tenant) || slices.ContainsFunc(e.Events, has) {
			found.Items = append(found.Items, e)
		}
	}
	found.Total = len(found.Items)
	found.Items = found.Items[:min(len(found.Items), maxFound)]
	return found, page.Next != "", nil
}

func (p *portal) endpointRows(r *request, u *ui, es []webhook.Endpoint) ([]endpointRow, error) {
	if len(es) == 0 {
		return nil, nil
	}
	ids := make([]string, len(es))
	for n := range es {
		ids[n] = es[n].ID
	}
	stats, err := r.view.Statistics(r.Context(), webhook.StatisticsFilter{Endpoints: ids, To: u.Now, From: u.Now.Add(-24 * time.Hour)})
	if err != nil {
		return nil, err
	}
	rows := make([]endpointRow, len(es))
	for n := range es {
		e := &es[n]
		h := p.healthOf(r, u, e)
		row := endpointRow{
			Href: r.root + endpointPath(e.ID), ID: e.ID, Title: title(e), Sub: visible(e.URL), Tenant: e.Tenant,
			Health: h, Disabled: e.Disabled, Unverified: h.Unverified, AllEvents: slices.Contains(e.Events, "*"),
		}
		if e.AllTenants {
			row.Tenant = u.T("list.tenants.all")
		}
		if row.Patterns = e.Events; len(row.Patterns) > shownTypes+1 {
			row.Patterns, row.More = row.Patterns[:shownTypes], len(row.Patterns)-shownTypes
		}
		if n < len(stats) {
			row.Share = u.newShare(&stats[n])
		}
		rows[n] = row
	}
	return rows, nil
}

// health is an endpoint's state in a word.
type health struct {
	Kind       string // "good", "bad", "warn" or "idle"
	Text, More string
	Unverified bool
	Paused     bool
	At         time.Time // what More tells of; zero: no time
}

func (p *portal) healthOf(r *request, u *ui, e *webhook.Endpoint) health {
	switch {
	case e.Unreadable:
		return health{Kind: "warn", Text: u.T("health.unreadable")}
	case e.Disabled && unverified(r, e):
		return health{Kind: "warn", Text: u.T("health.unverified"), Unverified: true}
	case e.Disabled:
		return health{Kind: "idle", Text: u.T("health.disabled"), More: visible(e.DisabledReason)}
	case e.NotBefore.After(u.Now):
		return health{Kind: "warn", Text: u.T("health.paused"), More: u.T("health.until", u.Ago(e.NotBefore)), At: e.NotBefore, Paused: true}
	case !e.FailingSince.IsZero():
		return health{Kind: "bad", Text: u.T("health.failing"), More: u.T("health.since", u.span(u.Now.Sub(e.FailingSince))), At: e.FailingSince}
	}
	return health{Kind: "good", Text: u.T("health.active")}
}

// unverified reports whether an endpoint waits for its receiver's consent.
func unverified(r *request, e *webhook.Endpoint) bool {
	p, ok := r.view.Profile(e.Profile)
	return ok && p.Verification != nil && e.VerifiedAt.IsZero()
}
