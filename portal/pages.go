package portal

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

//go:embed templates
var templateFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// pages returns the routes of the pages and of their assets. GET shows; POST
// changes something and then sends the browser to a page, except where what it
// answers with must not be in a URL: a secret.
func (p *portal) pages() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{method: get, path: "", handler: p.listPage},
		{method: get, path: "endpoints/new", change: true, handler: p.newPage},
		{method: post, path: "endpoints/new", change: true, handler: p.submitNew},
		{method: get, path: "endpoints/{id}", handler: p.endpointPage},
		{method: get, path: "endpoints/{id}/edit", change: true, handler: p.editPage},
		{method: post, path: "endpoints/{id}/edit", change: true, handler: p.submitEdit},
		{method: get, path: "endpoints/{id}/verify", handler: p.verifyPage},
		{method: post, path: "endpoints/{id}/verify", change: true, handler: p.submitSecret},
		{method: post, path: "endpoints/{id}/consent", change: true, handler: p.submitConsent},
		{method: get, path: "endpoints/{id}/test", change: true, handler: p.testPage},
		{method: post, path: "endpoints/{id}/test", change: true, handler: p.submitTest},
		{method: get, path: "endpoints/{id}/replay", change: true, handler: p.replayPage},
		{method: post, path: "endpoints/{id}/replay", change: true, handler: p.submitReplay},
		{method: post, path: "endpoints/{id}/enable", change: true, handler: p.submitEnable},
		{method: get, path: "endpoints/{id}/disable", change: true, handler: p.disablePage},
		{method: post, path: "endpoints/{id}/disable", change: true, handler: p.submitDisable},
		{method: get, path: "endpoints/{id}/delete", change: true, handler: p.deletePage},
		{method: post, path: "endpoints/{id}/delete", change: true, handler: p.submitDelete},
		{method: get, path: "deliveries/{id}", handler: p.deliveryPage},
		{method: post, path: "deliveries/{id}/resend", change: true, handler: p.submitResend},
		{method: get, path: "assets/{file}", public: true, handler: p.asset},
	}
}

// site is what all pages share, made once.
type site struct {
	templates map[string]*template.Template
	assets    map[string][]byte
	version   string // of the assets: a change makes browsers fetch them anew
}

func newSite(o Options) (*site, error) {
	s := &site{templates: make(map[string]*template.Template), assets: make(map[string][]byte)}
	base, err := template.ParseFS(templateFiles, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return nil, err
	}
	pages, err := templateFiles.ReadDir("templates")
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		name := strings.TrimSuffix(page.Name(), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		t, err := base.Clone()
		if err == nil {
			t, err = t.ParseFS(templateFiles, "templates/"+page.Name())
		}
		if err != nil {
			return nil, err
		}
		s.templates[name] = t
	}
	files, err := assetFiles.ReadDir("assets")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if s.assets[file.Name()], err = assetFiles.ReadFile("assets/" + file.Name()); err != nil {
			return nil, err
		}
	}
	if o.Accent != "" {
		css, err := themeOf(o.Accent)
		if err != nil {
			return nil, err
		}
		s.assets[themeFile] = []byte(css)
	}
	digest := sha256.New()
	for _, name := range []string{"portal.css", "portal.js", "htmx.min.js", themeFile} {
		digest.Write(s.assets[name])
	}
	s.version = hex.EncodeToString(digest.Sum(nil)[:6])
	return s, nil
}

const themeFile = "theme.css"

var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// asset serves a file of the portal's own. Its URL has its version, so that it
// never has to be asked for again.
func (p *portal) asset(w http.ResponseWriter, r *request) error {
	name := r.value("file")
	content, ok := p.site.assets[name]
	kind := assetTypes[path.Ext(name)]
	if !ok || kind == "" {
		return errNoPage
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "public, max-age=3600")
	if r.URL.Query().Get("v") == p.site.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r.Request, "", time.Time{}, bytes.NewReader(content))
	return nil
}

// ui is what every template has.
type ui struct {
	texts map[string]string

	Root          string // the relative URL of the list page
	Now           time.Time
	Lang, Version string
	Name, Logo    string
	Theme         bool
	Stylesheet    string
	ReadOnly      bool
	Operator      bool
	Tenant        string

	Title  string
	Crumbs []crumb
	Flash  *flash
	// Place makes the browser forget that it sent a form: the relative URL that
	// the page has from then on, "." for the same.
	Place string
}

type crumb struct{ Text, Href string }

// flash is what has just been done. Kind is "good", "bad" or "warn".
type flash struct{ Kind, Text string }

// newUI returns what the page of a request has. What was just done is in its
// URL as a word of this list, never as text.
func (p *portal) newUI(r *request, title string, crumbs ...crumb) *ui {
	u := &ui{
		texts: p.o.Texts, Root: r.root, Now: time.Now(), Lang: p.o.Language, Version: p.site.version,
		Name: p.o.Name, Logo: p.o.Logo, Stylesheet: p.o.Stylesheet, Theme: p.o.Accent != "",
		ReadOnly: r.access.ReadOnly, Operator: r.access.Operator, Tenant: r.access.Tenant,
	}
	u.Title = u.T(title)
	u.Crumbs = append([]crumb{{u.T("nav.webhooks"), r.root}}, crumbs...)
	switch done := r.URL.Query().Get("done"); done {
	case "saved", "enabled", "disabled", "deleted", "verified", "resent":
		u.Flash = &flash{"good", u.T("flash." + done)}
	case "repeated", "unchanged":
		u.Flash = &flash{"warn", u.T("flash." + done)}
	}
	if u.Flash != nil {
		u.Place = withoutDone(r.URL)
	}
	return u
}

// withoutDone is the relative URL of the same page without the word of what was
// done, so that a reload does not say it again.
func withoutDone(u *url.URL) string {
	q := u.Query()
	q.Del("done")
	segments := strings.Split(u.EscapedPath(), "/")
	at := "./" + segments[len(segments)-1]
	if len(q) == 0 {
		return at
	}
	return at + "?" + q.Encode()
}

// Asset is the URL of a file of the portal's own.
func (u *ui) Asset(name string) string { return u.Root + "assets/" + name + "?v=" + u.Version }

// endpointPath is the path of an endpoint's page below the root.
func endpointPath(id string) string { return "endpoints/" + url.PathEscape(id) }

func deliveryPath(id string) string { return "deliveries/" + url.PathEscape(id) }

// render writes a page, whole or not at all.
func (p *portal) render(w http.ResponseWriter, status int, page string, data any) error {
	return p.write(w, status, page, "layout", data)
}

// fragment writes a part of a page, for htmx.
func (p *portal) fragment(w http.ResponseWriter, page, name string, data any) error {
	return p.write(w, http.StatusOK, page, name, data)
}

func (p *portal) write(w http.ResponseWriter, status int, page, name string, data any) error {
	var b bytes.Buffer
	if err := p.site.templates[page].ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("page %q: %w", page, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Add("Vary", "HX-Request")
	w.WriteHeader(status)
	_, err := w.Write(b.Bytes())
	if err != nil {
		p.log.Debug("a page could not be sent", "error", err)
	}
	return nil
}

// partial reports whether htmx asks for the element with that ID alone.
func (r *request) partial(id string) bool {
	return r.Header.Get("HX-Request") == "true" && r.Header.Get("HX-Target") == id
}

// errMalformed is the problem of a form that no page of the portal sends.
var errMalformed = newProblem(http.StatusBadRequest, "malformed", "")

// form returns what a form has sent. What cannot be read is the sender's mistake.
func (r *request) form() (url.Values, error) {
	if err := r.ParseForm(); err != nil {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, tooLarge
		}
		return nil, errMalformed
	}
	return r.PostForm, nil
}

// done is where a form leads to: a page below the root that says what was done.
func done(to, what string) string { return to + "?done=" + what }

// errorPage shows what a request ended with.
func (p *portal) errorPage(w http.ResponseWriter, r *request, q *problem) {
	type page struct {
		*ui
		Status int
		Text   string
		Detail []string
		Back   string // the endpoint that it was about
	}
	u := p.newUI(r, fmt.Sprintf("problem.%d", q.Status))
	u.Flash, u.Place = nil, ""
	switch q.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusConflict,
		http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
	default:
		u.Title = u.T("problem.500")
	}
	data := page{ui: u, Status: q.Status, Text: q.Detail}
	if id := r.value("id"); q.Status == http.StatusConflict && strings.HasPrefix(strings.TrimPrefix(r.URL.Path, "/"), "endpoints/") {
		data.Back = r.root + endpointPath(id)
	}
	if key := fmt.Sprintf("problem.%d.text", q.Status); data.Text == "" && u.T(key) != key {
		data.Text = u.T(key)
	}
	for _, e := range q.Errors {
		data.Detail = append(data.Detail, e.Detail)
	}
	if err := p.render(w, q.Status, "problem", data); err != nil {
		p.log.Error("the portal could not show an error", "error", err)
		http.Error(w, http.StatusText(q.Status), q.Status)
	}
}

// title is what an endpoint is called: its description or, without one, where it
// leads to.
func title(e *webhook.Endpoint) string {
	if e.Description != "" {
		line, _, _ := strings.Cut(e.Description, "\n")
		return shorten(visible(line))
	}
	return hostOf(e)
}

func hostOf(e *webhook.Endpoint) string {
	if u, err := url.Parse(e.URL); err == nil && u.Host != "" {
		return shorten(visible(u.Host + strings.TrimSuffix(u.EscapedPath(), "/")))
	}
	if e.URL == "" {
		return e.ID
	}
	return shorten(visible(e.URL))
}

// shorten keeps what is called something in a heading from filling the page.
func shorten(s string) string {
	const most = 72
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return strings.TrimSpace(string(runes[:most])) + "…"
}

// bodyView and attemptView carry the texts along with what a template shows.
type bodyView struct {
	U        *ui
	Document *document
}

type attemptView struct {
	U   *ui
	Try try
}

// With returns a body as its template takes it.
func (u *ui) With(d *document) bodyView { return bodyView{u, d} }

// Attempt returns an attempt as its template takes it.
func (u *ui) Attempt(t try) attemptView { return attemptView{u, t} }
