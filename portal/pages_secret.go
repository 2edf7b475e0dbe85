package portal

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/outhook/webhook"
)

// secretPage shows a new endpoint's secret.
type secretPage struct {
	*ui
	ID      string
	Secrets []shownSecret
	Owner   bool // may reveal it later
	Waits   bool // for the receiver's consent
	Open    string
	Test    string
	Code    string
	Consent string
}

type shownSecret struct{ Value, Until string }

func (u *ui) shown(secrets []webhook.Secret) []shownSecret {
	var all []shownSecret
	for _, s := range secrets {
		one := shownSecret{Value: s.Value}
		if !s.ExpiresAt.IsZero() {
			one.Until = u.T("secret.expires", u.Date(s.ExpiresAt))
		}
		all = append(all, one)
	}
	return all
}

func (p *portal) showCreated(w http.ResponseWriter, r *request, u *ui, e *webhook.Endpoint) error {
	at := r.root + endpointPath(e.ID)
	page := secretPage{
		ui: u, ID: e.ID, Secrets: u.shown(e.Secrets), Owner: r.mayReveal(e), Waits: e.Disabled,
		Open: at, Test: at + "/test", Code: at + "/verify", Consent: at + "/consent",
	}
	u.Place = at // as deep as this page: its links stay right
	u.Crumbs = append(u.Crumbs, crumb{title(e), at})
	return p.render(w, http.StatusCreated, "created", page)
}

// verifyPage says how to verify a signature, and has the secret.
type verifyPage struct {
	*ui
	Head      *endpointHead
	Schemes   []scheme
	Timeout   string
	MayReveal bool
	Revealed  bool
	Rotated   string // what has just happened to the old secret
	Secrets   []shownSecret
	Single    bool
	NoSecret  bool // the scheme does without
	Overlaps  []choice
	Rev       string
	Own       string
	Errors    []string
}

var overlaps = []struct {
	name string
	time time.Duration
}{{"0", 0}, {"1h", time.Hour}, {"24h", 24 * time.Hour}, {"7d", 7 * 24 * time.Hour}}

func (p *portal) verifyPage(w http.ResponseWriter, r *request) error {
	e, err := r.view.Endpoint(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	return p.render(w, http.StatusOK, "verify", p.verify(r, &e))
}

func (p *portal) verify(r *request, e *webhook.Endpoint) *verifyPage {
	page := &verifyPage{ui: p.newUI(r, "verify.title"), MayReveal: r.mayReveal(e), Rev: strconv.FormatInt(e.Rev, 10)}
	page.Head = p.head(r, page.ui, e, "verify")
	profile, ok := r.view.Profile(e.Profile)
	if !ok { // of another process
		page.Schemes = page.schemes(nil)
		return page
	}
	page.Schemes = page.schemes(profile.Signer)
	page.Timeout = page.Took(profile.Timeout)
	if s, ok := profile.Signer.(interface{ SingleSecret() bool }); ok {
		page.Single = s.SingleSecret()
	}
	for n, o := range overlaps {
		page.Overlaps = append(page.Overlaps, choice{o.name, page.T("secret.overlap." + o.name), n == 2})
	}
	return page
}

// submitSecret reveals the secret of an endpoint or replaces it, and shows it in the
// answer to the form: it must not be in a URL.
func (p *portal) submitSecret(w http.ResponseWriter, r *request) error {
	v, err := r.form()
	if err != nil {
		return err
	}
	e, err := r.view.Endpoint(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	page := p.verify(r, &e)
	page.Place = "verify"
	switch v.Get("do") {
	case "reveal":
		if !page.MayReveal {
			return errNotYours
		}
		secrets, err := r.view.Reveal(r.Context(), e.ID)
		if err != nil {
			return err
		}
		page.Secrets, page.Revealed = page.shown(secrets), true
	case "rotate":
		// A reload of the answer must not do it again.
		if v.Get("rev") != page.Rev {
			r.redirect(w, endpointPath(e.ID)+"/verify?done=unchanged")
			return nil
		}
		return p.rotateByForm(w, r, page, e.ID, v)
	default:
		return errMalformed
	}
	return p.render(w, http.StatusOK, "verify", page)
}

var errNotYours = newProblem(http.StatusForbidden, "forbidden", "")

func (p *portal) rotateByForm(w http.ResponseWriter, r *request, page *verifyPage, id string, v url.Values) error {
	var overlap time.Duration
	for _, o := range overlaps {
		if o.name == v.Get("overlap") && !page.Single {
			overlap = o.time
		}
	}
	page.Own = v.Get("secret")
	next, err := r.view.RotateSecret(r.Context(), id, webhook.Secret{Value: page.Own}, overlap)
	if errors.Is(err, webhook.ErrInvalid) {
		for _, e := range fieldErrors(err, r.access.Operator) {
			page.Errors = append(page.Errors, e.Detail)
		}
		return p.render(w, http.StatusUnprocessableEntity, "verify", page)
	}
	if err != nil {
		return err
	}
	e, err := r.view.Endpoint(r.Context(), id)
	if err != nil {
		return err
	}
	shown := p.verify(r, &e)
	shown.Place, shown.Secrets, shown.Rotated = "verify", page.shown([]webhook.Secret{next}), page.T("secret.rotated.now")
	if overlap > 0 {
		shown.Rotated = page.T("secret.rotated.until", page.Date(page.Now.Add(overlap)))
	}
	return p.render(w, http.StatusOK, "verify", shown)
}
