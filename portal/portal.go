// Package portal shows an application's customers their webhooks: pages on which
// these are created, tested, watched and resent, and a REST API for the same.
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"net/http"
//
//		"github.com/outhook/webhook"
//		"github.com/outhook/webhook/portal"
//	)
//
//	func main() {
//		d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
//			Catalog: []webhook.EventType{
//				{Name: "document.signed", Group: "Documents", Example: map[string]any{"id": "doc_1"}},
//			},
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		handler, err := portal.New(d, portal.Options{
//			Name: "Acme Sign",
//			// Who is it? Ask the application's own session.
//			Access: func(r *http.Request) (portal.Access, error) {
//				user, password, _ := r.BasicAuth()
//				if password != "swordfish" {
//					return portal.Access{}, &portal.Refusal{Challenge: `Basic realm="Acme Sign"`}
//				}
//				return portal.Access{Tenant: "company-of-" + user, Actor: user}, nil
//			},
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		go func() { log.Fatal(d.Run(context.Background())) }()
//		mux := http.NewServeMux()
//		mux.Handle("/webhooks/", http.StripPrefix("/webhooks", handler))
//		log.Fatal(http.ListenAndServe("localhost:8080", mux))
//	}
//
// # Mounting
//
// The handler is mounted under any path, which is stripped before it, and that
// path ends with a slash. Every link, form and redirect is relative, so it works
// behind a proxy that strips a prefix of its own as well. An endpoint whose ID an
// operator chose to be "." or ".." cannot be addressed, and one called "new" by the
// API alone.
//
// # Access
//
// [Options].Access says who makes a request; there is no default that lets anyone
// in. What it answers decides which [webhook.View] is asked: that of a tenant, for
// which nothing else exists, or, for an operator, that of all. Whatever changes
// something is told to [webhook.Config].Observer with the actor's name.
//
// A signing secret is shown once, when it is made. Afterwards it is shown to the
// actor who created the endpoint, and to those with Access.RevealSecrets; all others
// may generate a new one. With Access.ReadOnly nothing is changed, and no secret
// shown. Credentials are never shown.
//
// A browser's requests that change something are refused if they come from
// another site. What receivers answer with is shown as inert text, under a
// Content-Security-Policy that lets no script run but the portal's own file.
//
// # REST API
//
// It lies below api/v1/, and api/v1/openapi.json is its description in OpenAPI 3.1.
// Errors are problems as RFC 9457 has them, with a JSON pointer to each field that
// is wrong. A script needs the same Access as a browser: let Options.Access accept
// the application's API keys too.
//
// An Idempotency-Key makes the creation of an endpoint repeatable: the endpoint's ID
// is derived from it, the tenant and the actor. What is repeated with the same
// content has the same answer, with the secrets if the caller may see them; what has
// other content is a conflict. Credentials are not compared.
package portal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/outhook/webhook"
)

// Options configures a portal. Access is required; the zero value of everything
// else is useful.
type Options struct {
	// Access says who makes a request and what he may see and do. It is asked for
	// every request but those of the portal's own style sheet and script. Who is not
	// to come in gets a [Refusal]. Any other error is answered with 401 Unauthorized
	// too, and logged as a warning: it may be an outage. That of a context, such as a
	// session store which took too long, is answered with 503 Service Unavailable.
	Access func(*http.Request) (Access, error)
	// SingleTenant says that the application has one tenant only, "". Without it,
	// an Access with neither Tenant nor Operator is refused with 403 Forbidden.
	SingleTenant bool

	// Name is the application's, for the head of each page. Defaults to "Webhooks".
	Name string
	// Logo is the URL of an image that stands beside Name: an absolute one, or one
	// that begins with "/" or "//". A relative one would be another on each page, and
	// "data:" is none for a page: both are [webhook.ErrInvalid].
	Logo string
	// Accent is the colour of buttons and links, as "#rrggbb".
	Accent string
	// Stylesheet is the URL of a style sheet that is loaded after the portal's own,
	// of the same kinds as Logo.
	Stylesheet string
	// Language is the language of Texts, as in HTML's lang attribute. Defaults to
	// "en".
	Language string
	// Texts replaces texts of the pages by their keys.
	Texts map[string]string

	// TrustedOrigins are other origins, such as "https://app.example", whose pages
	// may make requests that change something. From all others a browser's are
	// refused with 403 Forbidden; see [http.CrossOriginProtection].
	TrustedOrigins []string
	// Logger is told of what fails for reasons that are not the caller's; nil is
	// silent. Such an error's text is never shown.
	Logger *slog.Logger
}

// Access is who makes a request and what he may see and do.
type Access struct {
	// Tenant is whose endpoints and deliveries are shown: its own and those of the
	// tenants within it.
	Tenant string
	// Operator shows those of all tenants. Tenant is then ignored.
	Operator bool
	// Actor names the person or key that acts, for the notices of what is changed.
	// It becomes [webhook.Endpoint].CreatedBy, and who has that name is shown the
	// endpoint's secrets: names are unique over all tenants, such as a user's ID is,
	// and none is given to somebody else later.
	Actor string
	// ReadOnly refuses everything that changes something, and shows no secrets.
	ReadOnly bool
	// RevealSecrets shows the secrets of all endpoints. Without it, they are shown
	// to the Actor who created the endpoint.
	RevealSecrets bool
}

// Refusal is an error of [Options].Access that says how it is answered.
type Refusal struct {
	// Status is 401 or 403. Defaults to 401.
	Status int
	// Location, unless empty, is where pages send the browser instead, such as
	// that of the application's login, or, with 403, to what says why.
	Location string
	// Challenge is the WWW-Authenticate of a 401, which says how to authenticate
	// (RFC 9110, section 15.5.2), such as `Basic realm="Acme"`: a browser then asks
	// for name and password. Pages with a Location go there instead.
	Challenge string
	// Detail is shown to the caller.
	Detail string
}

// Error implements error.
func (e *Refusal) Error() string {
	return cmp.Or(e.Detail, http.StatusText(cmp.Or(e.Status, http.StatusUnauthorized)))
}

// New returns a handler for the dispatcher's endpoints. It is mounted under any
// path, which is stripped before it; all its links are relative. A nil dispatcher,
// Options without Access, and what else is wrong in them is [webhook.ErrInvalid].
func New(d *webhook.Dispatcher, o Options) (http.Handler, error) {
	p := &portal{d: d, o: o, log: o.Logger}
	var mistakes []error
	if d == nil {
		mistakes = append(mistakes, fmt.Errorf("dispatcher: %w: it is nil", webhook.ErrInvalid))
	}
	if o.Access == nil {
		mistakes = append(mistakes, fmt.Errorf("Access: %w: there is none", webhook.ErrInvalid))
	}
	for _, origin := range o.TrustedOrigins {
		if err := p.crossOrigin.AddTrustedOrigin(origin); err != nil {
			mistakes = append(mistakes, fmt.Errorf("TrustedOrigins: %w: %w", webhook.ErrInvalid, err))
		}
	}
	for name, raw := range map[string]string{"Logo": o.Logo, "Stylesheet": o.Stylesheet} {
		if err := checkResource(raw); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w: %w", name, webhook.ErrInvalid, err))
		}
	}
	site, err := newSite(o)
	if err != nil {
		mistakes = append(mistakes, err)
	}
	p.site = site
	if err := errors.Join(mistakes...); err != nil {
		return nil, fmt.Errorf("new portal: %w", err)
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.o.Name = cmp.Or(o.Name, "Webhooks")
	p.o.Language = cmp.Or(o.Language, "en")
	p.policy = p.securityPolicy()
	p.routes = slices.Concat(p.pages(), p.api())
	return p, nil
}

// portal is the handler.
type portal struct {
	d           *webhook.Dispatcher
	o           Options
	log         *slog.Logger
	crossOrigin http.CrossOriginProtection
	site        *site
	policy      string // Content-Security-Policy
	routes      []route
}

// request is a request that may be answered: the caller is known, and has the
// right to use the route.
type request struct {
	*http.Request // its context carries the actor
	view          *webhook.View
	access        Access
	root          string            // the relative URL of the list page: "./", "../", "../../" …
	values        map[string]string // of the path's {names}
	api           bool
}

// value returns what stands for {name} in the path.
func (r *request) value(name string) string { return r.values[name] }

// route is one method on one path.
type route struct {
	method  string // GET serves HEAD as well
	path    string // "endpoints/{id}", without slashes at its ends
	change  bool   // it changes something: refused with Access.ReadOnly
	public  bool   // Access is not asked: r has no view
	handler func(w http.ResponseWriter, r *request) error
}

// maxBody bounds the body of a request.
const maxBody = 1 << 20

const apiPath = "api"

// ServeHTTP implements [http.Handler].
func (p *portal) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	segments, ok := segmentsOf(hr.URL)
	r := &request{Request: hr, root: rootOf(segments), api: len(segments) > 0 && segments[0] == apiPath}
	h := w.Header()
	h.Set("Content-Security-Policy", p.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	var err error
	if !ok {
		err = errNoPage
	} else {
		err = p.serve(w, r, segments)
	}
	if err != nil {
		p.fail(w, r, err)
	}
}

// serve finds the route, asks who the caller is, and whether he may use it.
func (p *portal) serve(w http.ResponseWriter, r *request, segments []string) error {
	found, missing := p.match(r, segments)
	if found != nil && found.public {
		return found.handler(w, r)
	}
	if err := p.admit(r); err != nil {
		return err
	}
	if found == nil {
		return missing
	}
	if err := p.crossOrigin.Check(r.Request); err != nil {
		return errCrossOrigin
	}
	if found.change && r.access.ReadOnly {
		return errReadOnly
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	return found.handler(w, r)
}

// match returns the route of a request, or the error where there is none.
func (p *portal) match(r *request, segments []string) (*route, error) {
	var allowed []string
	for n := range p.routes {
		route := &p.routes[n]
		values, ok := route.match(segments)
		if !ok {
			continue
		}
		if route.method == r.Method || route.method == http.MethodGet && r.Method == http.MethodHead {
			r.values = values
			return route, nil
		}
		if allowed = append(allowed, route.method); route.method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	if len(allowed) > 0 {
		return nil, &methodError{allowed}
	}
	return nil, errNoPage
}

// match returns the values of the path's {names}.
func (r *route) match(segments []string) (map[string]string, bool) {
	pattern := strings.Split(r.path, "/")
	if r.path == "" {
		pattern = nil
	}
	if len(pattern) != len(segments) {
		return nil, false
	}
	values := make(map[string]string)
	for n, want := range pattern {
		if name, ok := strings.CutPrefix(want, "{"); ok {
			values[strings.TrimSuffix(name, "}")] = segments[n]
		} else if want != segments[n] {
			return nil, false
		}
	}
	return values, true
}

// admit asks who the caller is.
func (p *portal) admit(r *request) error {
	access, err := p.o.Access(r.Request)
	if err != nil {
		if _, ok := errors.AsType[*Refusal](err); ok {
			return err
		}
		for _, ended := range []error{context.DeadlineExceeded, context.Canceled} {
			if errors.Is(err, ended) || errors.Is(r.Context().Err(), ended) {
				return fmt.Errorf("access: %v: %w", err, ended)
			}
		}
		p.log.Warn("the portal does not know who makes a request", "error", err)
		return &Refusal{}
	}
	r.access = access
	switch {
	case access.Operator:
		r.view = p.d.View
	case access.Tenant == "" && !p.o.SingleTenant:
		return &Refusal{Status: http.StatusForbidden}
	default:
		r.view = p.d.Tenant(access.Tenant)
	}
	r.Request = r.WithContext(webhook.WithActor(r.Context(), access.Actor))
	return nil
}

// mayReveal reports whether the caller may see the endpoint's secrets.
func (r *request) mayReveal(e *webhook.Endpoint) bool {
	return !r.access.ReadOnly && (r.access.RevealSecrets || r.access.Actor != "" && r.access.Actor == e.CreatedBy)
}

// segmentsOf returns the segments of a path: none for the root. An ID may have
// any character in it, escaped. A path that is not in its shortest form is none.
func segmentsOf(u *url.URL) ([]string, bool) {
	path := strings.TrimPrefix(u.EscapedPath(), "/")
	if path == "" {
		return nil, true
	}
	segments := strings.Split(path, "/")
	for n, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil || plain == "" || plain == "." || plain == ".." {
			return segments, false
		}
		segments[n] = plain
	}
	return segments, true
}

// rootOf returns the relative URL of the root, as seen from a path.
func rootOf(segments []string) string {
	if len(segments) <= 1 {
		return "./"
	}
	return strings.Repeat("../", len(segments)-1)
}

// redirect sends the browser to a place below the root after a form was
// submitted. The reference is relative (RFC 9110, section 10.2.2): nobody here
// knows what was stripped from the path.
func (r *request) redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", r.root+to)
	w.WriteHeader(http.StatusSeeOther)
}

// securityPolicy returns the Content-Security-Policy: nothing inline, nothing
// from elsewhere but what the application has named.
func (p *portal) securityPolicy() string {
	images, styles := "'self' data:", "'self'"
	if o := originOf(p.o.Logo); o != "" {
		images += " " + o
	}
	if o := originOf(p.o.Stylesheet); o != "" {
		styles += " " + o
	}
	return "default-src 'none'; script-src 'self'; style-src " + styles + "; img-src " + images +
		"; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// checkResource refuses the URL of an image or a style sheet that no page could
// load: what is not the same from all pages, and what the policy cannot name.
func checkResource(raw string) error {
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return err
	case u.Host == "" && u.Scheme == "" && strings.HasPrefix(u.Path, "/"):
		return nil
	case u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "":
		return fmt.Errorf("%q is neither an http or https URL nor begins with a slash", raw)
	case strings.ContainsAny(u.Host, ";,'\" "):
		return fmt.Errorf("%q has a host that is none", raw)
	}
	return nil
}

// originOf returns the origin of an absolute URL as a policy has it, without a
// scheme where that is the page's own, and "" of one on the same host.
func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return ""
	}
	if u.Scheme == "" {
		return u.Host
	}
	return u.Scheme + "://" + u.Host
}
