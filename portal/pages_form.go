package portal

import (
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/outhook/webhook"
)

// form is what was typed, as it was typed: it goes back into the page when
// something is wrong.
type form struct {
	URL, Description, Tenant string
	AllTenants               bool
	Profile                  string
	All                      bool
	Events, Groups           []string
	Patterns                 string
	Secret                   string
	Auth                     string
	User, Password           string
	Token                    string
	Header, Key              string
	TokenURL, Client         string
	ClientSecret             string
	Scope, Params            string
	Headers                  string
	Rate, Concurrency        string
	Ordered                  bool
	Roots, Certificate       string
	PrivateKey               string
	Rev                      string
	Once                     string // makes a second submission of the form find what the first has made
}

// formPage creates or edits an endpoint.
type formPage struct {
	*ui
	Head     *endpointHead // nil for a new one
	Form     form
	Errors   map[string][]string // by the JSON pointer of the field
	Mistakes []mistake           // all of them, for the summary
	Stale    string              // why it is to be sent again
	Groups   []eventGroup
	Profiles []choice
	OAuth2   bool
	Ordered  bool
	Auths    []choice
	AllOpen  bool // every section shows itself: something in it is set or wrong
	TLSOpen  bool
	Patterns bool
	// SecretHint says what an empty secret means; "" asks for none.
	SecretHint string
	Expires    string
	Kept       bool // a credential is stored already
}

type mistake struct{ Field, Text string }

type choice struct {
	Value, Text string
	Chosen      bool
}

// eventGroup is a group of the catalogue.
type eventGroup struct {
	Value   string // of the checkbox of all
	Label   string
	Checked bool
	Types   []eventChoice
}

type eventChoice struct {
	Name, Description string
	Checked           bool
}

// fieldView is what templates need of one field.
type fieldView struct {
	ID, Describes string
	Errors        []string
}

// At returns what is wrong with a field, and what describes it.
func (p formPage) At(pointer, hint string) fieldView {
	f := fieldView{ID: "f" + strings.ReplaceAll(pointer, "/", "-"), Describes: hint, Errors: p.Errors[pointer]}
	if len(f.Errors) > 0 {
		f.Describes = strings.TrimSpace(f.ID + "-error " + hint)
	}
	return f
}

// Error returns what is wrong with a field.
func (p formPage) Error(pointer string) []string { return p.Errors[pointer] }

func (p *portal) newPage(w http.ResponseWriter, r *request) error {
	f := form{All: true, Once: rand.Text()}
	if types := r.view.EventTypes(); len(types) > 0 {
		f.All = false
	}
	return p.showForm(w, r, http.StatusOK, nil, f, nil)
}

func (p *portal) editPage(w http.ResponseWriter, r *request) error {
	e, err := r.view.Endpoint(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	return p.showForm(w, r, http.StatusOK, &e, formOf(&e, r.view.EventTypes()), nil)
}

// showForm shows the form of a new endpoint or, with e, of that. wrong is why
// it was not accepted.
func (p *portal) showForm(w http.ResponseWriter, r *request, status int, e *webhook.Endpoint, f form, wrong error) error {
	if f.Once == "" {
		f.Once = rand.Text()
	}
	page := formPage{Form: f, Errors: map[string][]string{}}
	if e == nil {
		page.ui = p.newUI(r, "form.new.title")
		page.Crumbs = append(page.Crumbs, crumb{page.Title, ""})
	} else {
		page.ui = p.newUI(r, "form.edit.title")
		page.Head = p.head(r, page.ui, e, "settings")
		page.Kept = e.Auth.Scheme != ""
		if !e.TLS.NotAfter.IsZero() {
			page.Expires = page.T("form.tls.expires", page.Date(e.TLS.NotAfter))
		}
	}
	page.fill(r, e)
	if wrong != nil {
		page.explain(r, wrong)
	}
	page.SecretHint = page.secretHint(r, e)
	if f.Rate != "" || f.Concurrency != "" || f.Headers != "" || f.Ordered || page.any("/headers", "/rateLimit", "/concurrency", "/ordered") {
		page.AllOpen = true
	}
	page.TLSOpen = f.Roots != "" || f.Certificate != "" || page.any("/tls", "/tls/rootCAs", "/tls/certificate", "/tls/key")
	page.Patterns = f.Patterns != ""
	return p.render(w, status, "form", page)
}

// fill adds what there is to choose from.
func (page *formPage) fill(r *request, e *webhook.Endpoint) {
	u, f := page.ui, &page.Form
	page.Groups = u.eventGroups(r.view.EventTypes(), f)
	can := r.view.Capabilities()
	page.OAuth2, page.Ordered = can.OAuth2 || f.Auth == "oauth2", can.Ordered || f.Ordered
	for _, scheme := range []string{"", "basic", "bearer", "apikey", "oauth2"} {
		if scheme == "oauth2" && !page.OAuth2 {
			continue
		}
		key := scheme
		if key == "" {
			key = "none"
		}
		page.Auths = append(page.Auths, choice{scheme, u.T("form.auth." + key), scheme == f.Auth})
	}
	if names := r.view.Profiles(); len(names) > 1 {
		for _, name := range names {
			text := visible(name)
			if name == "" {
				text = u.T("form.profile.default")
			}
			page.Profiles = append(page.Profiles, choice{name, text, name == f.Profile})
		}
	}
}

// secretHint says what an empty secret means: of an endpoint that exists where a new
// one may have to be given, because its requests show it, or for what is wrong.
func (page *formPage) secretHint(r *request, e *webhook.Endpoint) string {
	p, ok := r.view.Profile(page.Form.Profile)
	switch {
	case e == nil && ok && len(page.Profiles) == 0 && !generates(p.Signer):
		return page.T("form.secret.optional")
	case e == nil:
		return page.T("form.secret.generated")
	case ok && reveals(p.Signer):
		return page.T("form.secret.kept")
	case page.Form.Secret != "" || page.any("/secrets"):
		return page.T("form.auth.kept")
	}
	return ""
}

// reveals reports whether a receiver may know the secret by what it receives: as
// [webhook.View.Update] sees it, or, of a scheme that is told by no name, more often.
func reveals(s webhook.Signer) bool {
	return slices.ContainsFunc(schemesOf(s), func(s schemeJSON) bool { return s.Scheme == "secret-header" || s.Scheme == "other" })
}

// generates reports whether Register makes a secret where none is given.
func generates(s webhook.Signer) bool {
	g, ok := s.(interface{ NewSecret() webhook.Secret })
	return ok && g.NewSecret().Value != ""
}

func (page *formPage) any(pointers ...string) bool {
	return slices.ContainsFunc(pointers, func(p string) bool { return len(page.Errors[p]) > 0 })
}

// formError is a mistake that the form itself finds.
type formError struct{ pointer, text string }

func (e *formError) Error() string { return e.text }

// explain puts each mistake next to its field, and all of them on top.
func (page *formPage) explain(r *request, wrong error) {
	var all []fieldError
	for _, err := range flatten(wrong) {
		if own, ok := errors.AsType[*formError](err); ok {
			all = append(all, fieldError{Pointer: own.pointer, Detail: own.text})
		} else if used, ok := errors.AsType[*problem](err); ok && used.Status == http.StatusConflict {
			page.Stale = page.T("form.used")
		} else if errors.Is(err, webhook.ErrConflict) {
			page.Stale = page.T("form.stale")
		} else {
			all = append(all, fieldErrors(err, r.access.Operator)...)
		}
	}
	for _, e := range all {
		pointer := formField(e.Pointer)
		page.Errors[pointer] = append(page.Errors[pointer], e.Detail)
	}
	for _, field := range slices.Concat(formFields, []formFieldText{{}}) {
		for _, text := range page.Errors[field.pointer] {
			if field.text != "" {
				text = page.T(field.text) + ": " + text
			}
			page.Mistakes = append(page.Mistakes, mistake{"f" + strings.ReplaceAll(field.pointer, "/", "-"), text})
		}
	}
}

// flatten takes apart what errors.Join has made of the form's own mistakes.
func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

type formFieldText struct{ pointer, text string }

// formFields are the fields that mistakes are told at, in the order of the form,
// and what they are called.
var formFields = []formFieldText{
	{"/url", "form.url"}, {"/description", "form.description"}, {"/tenant", "form.tenant"}, {"/allTenants", "form.tenants.all"},
	{"/profile", "form.profile"}, {"/events", "form.events"}, {"/secrets", "form.secret"}, {"/auth", "form.auth"}, {"/auth/tokenUrl", "form.auth.url"},
	{"/headers", "form.headers"}, {"/rateLimit", "form.rate"}, {"/concurrency", "form.concurrency"}, {"/ordered", "form.ordered"},
	{"/tls", "form.tls"}, {"/tls/rootCAs", "form.tls.roots"}, {"/tls/certificate", "form.tls.certificate"}, {"/tls/key", "form.tls.key"},
}

// formField returns the field of the form that a pointer is shown at: "" for
// none.
func formField(pointer string) string {
	longest := ""
	for _, field := range formFields {
		if (pointer == field.pointer || strings.HasPrefix(pointer, field.pointer+"/")) && len(field.pointer) > len(longest) {
			longest = field.pointer
		}
	}
	return longest
}

// eventGroups returns the catalogue as checkboxes: checked is what is asked for in
// so many words. The types of a group that is checked as a whole are not, as
// without scripts one that is unchecked would be received all the same; and a
// group of which all types are checked is not, as it would grow with the catalogue.
func (u *ui) eventGroups(types []webhook.EventType, f *form) []eventGroup {
	var groups []eventGroup
	for _, g := range groupsOf(types) {
		group := eventGroup{Value: g.name, Label: visible(g.name), Checked: slices.Contains(f.Groups, g.name)}
		if group.Label == "" {
			group.Label = u.T("form.events.other")
		}
		for _, t := range g.types {
			group.Types = append(group.Types, eventChoice{t.Name, visible(t.Description), slices.Contains(f.Events, t.Name)})
		}
		groups = append(groups, group)
	}
	return groups
}

// patternOfGroup returns the pattern that matches the types of a group and no
// others of the catalogue; "" if there is none. Types that join the group later
// are then received too.
func patternOfGroup(types []webhook.EventType, group string) string {
	prefix := ""
	for _, t := range types {
		if t.Group != group {
			continue
		}
		first, _, ok := strings.Cut(t.Name, ".")
		if !ok || prefix != "" && prefix != first {
			return ""
		}
		prefix = first
	}
	if prefix == "" {
		return ""
	}
	for _, t := range types {
		if t.Group != group && strings.HasPrefix(t.Name, prefix+".") {
			return ""
		}
	}
	return prefix + ".*"
}

// formOf returns an endpoint as the form has it.
func formOf(e *webhook.Endpoint, types []webhook.EventType) form {
	f := form{
		URL: e.URL, Description: e.Description, Tenant: e.Tenant, AllTenants: e.AllTenants, Profile: e.Profile,
		Auth: e.Auth.Scheme, Ordered: e.Ordered, Roots: e.TLS.RootCAs, Certificate: e.TLS.Certificate,
		Rev: strconv.FormatInt(e.Rev, 10),
	}
	switch e.Auth.Scheme {
	case "basic":
		f.User = e.Auth.Name
	case "apikey":
		f.Header = e.Auth.Name
	case "oauth2":
		f.Client, f.TokenURL, f.Scope, f.Params = e.Auth.Name, e.Auth.TokenURL, e.Auth.Scope, e.Auth.Params
	}
	if e.RateLimit > 0 {
		f.Rate = strconv.FormatFloat(e.RateLimit, 'g', -1, 64)
	}
	if e.Concurrency > 0 {
		f.Concurrency = strconv.Itoa(e.Concurrency)
	}
	var lines []string
	for name, value := range e.Headers {
		lines = append(lines, name+": "+value)
	}
	slices.Sort(lines)
	f.Headers = strings.Join(lines, "\n")
	f.sortPatterns(e.Events, types)
	return f
}

// sortPatterns tells apart what has a checkbox and what has not.
func (f *form) sortPatterns(patterns []string, types []webhook.EventType) {
	var others []string
	for _, p := range patterns {
		group := slices.IndexFunc(types, func(t webhook.EventType) bool { return patternOfGroup(types, t.Group) == p })
		switch {
		case p == "*":
			f.All = true
		case slices.ContainsFunc(types, func(t webhook.EventType) bool { return t.Name == p }):
			f.Events = append(f.Events, p)
		case group >= 0:
			f.Groups = append(f.Groups, types[group].Group)
		default:
			others = append(others, p)
		}
	}
	f.Patterns = strings.Join(others, "\n")
}

// readForm returns what was typed.
func readForm(r *request) (form, error) {
	v, err := r.form()
	if err != nil {
		return form{}, err
	}
	text := func(name string) string { return strings.TrimSpace(v.Get(name)) }
	return form{
		URL: text("url"), Description: strings.ReplaceAll(text("description"), "\r\n", "\n"), Tenant: text("tenant"), AllTenants: v.Get("allTenants") != "",
		Profile: v.Get("profile"), All: v.Get("all") == "1", Events: v["event"], Groups: v["group"],
		Patterns: strings.ReplaceAll(text("patterns"), "\r\n", "\n"), Secret: text("secret"), Auth: v.Get("auth"),
		User: text("user"), Password: v.Get("password"), Token: text("token"), Header: text("header"), Key: text("key"),
		TokenURL: text("tokenURL"), Client: text("client"), ClientSecret: v.Get("clientSecret"), Scope: text("scope"), Params: text("params"),
		Headers: strings.ReplaceAll(text("headers"), "\r\n", "\n"), Rate: text("rate"), Concurrency: text("concurrency"), Ordered: v.Get("ordered") != "",
		Roots: text("roots"), Certificate: text("certificate"), PrivateKey: text("privateKey"), Rev: v.Get("rev"), Once: v.Get("once"),
	}, nil
}

// endpoint returns what the form describes; the error has all that is wrong with
// the form itself.
func (f *form) endpoint(u *ui, types []webhook.EventType) (webhook.Endpoint, error) {
	var mistakes []error
	wrong := func(pointer, text string) { mistakes = append(mistakes, &formError{pointer, text}) }
	e := webhook.Endpoint{
		URL: f.URL, Description: f.Description, Tenant: f.Tenant, AllTenants: f.AllTenants, Profile: f.Profile,
		Ordered: f.Ordered, Events: f.patterns(types), Auth: f.auth(),
		TLS: webhook.EndpointTLS{RootCAs: f.Roots, Certificate: f.Certificate, Key: webhook.Secret{Value: f.PrivateKey}},
	}
	if len(e.Events) == 0 {
		wrong("/events", u.T("form.events.none"))
	}
	if f.Secret != "" {
		e.Secrets = []webhook.Secret{{Value: f.Secret}}
	}
	var err error
	if f.Rate != "" {
		if e.RateLimit, err = strconv.ParseFloat(strings.Replace(f.Rate, ",", ".", 1), 64); err != nil {
			wrong("/rateLimit", u.T("form.number"))
		}
	}
	if f.Concurrency != "" {
		if e.Concurrency, err = strconv.Atoi(f.Concurrency); err != nil {
			wrong("/concurrency", u.T("form.number"))
		}
	}
	n := 0
	for line := range strings.SplitSeq(f.Headers, "\n") {
		n++
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			wrong("/headers", u.T("form.header.line", n))
			continue
		}
		if _, twice := e.Headers[name]; twice {
			wrong("/headers", u.T("form.header.twice", name))
		}
		if e.Headers == nil {
			e.Headers = make(map[string]string)
		}
		e.Headers[name] = strings.TrimSpace(value)
	}
	if f.Rev != "" {
		if e.Rev, err = strconv.ParseInt(f.Rev, 10, 64); err != nil || e.Rev < 1 {
			return e, errMalformed
		}
	}
	return e, errors.Join(mistakes...)
}

// patterns returns what the endpoint subscribes to.
func (f *form) patterns(types []webhook.EventType) []string {
	if f.All {
		return []string{"*"}
	}
	var all []string
	whole := make(map[string]bool) // groups that a pattern stands for
	for _, group := range f.Groups {
		if p := patternOfGroup(types, group); p != "" {
			all = append(all, p)
			whole[group] = true
			continue
		}
		for _, t := range types {
			if t.Group == group {
				all = append(all, t.Name)
			}
		}
	}
	for _, name := range f.Events {
		at := slices.IndexFunc(types, func(t webhook.EventType) bool { return t.Name == name })
		if at < 0 || !whole[types[at].Group] {
			all = append(all, name)
		}
	}
	all = append(all, strings.FieldsFunc(f.Patterns, func(r rune) bool { return r == '\n' || r == ',' || r == ' ' })...)
	slices.Sort(all)
	return slices.Compact(all)
}

func (f *form) auth() webhook.Auth {
	switch f.Auth {
	case "basic":
		return webhook.BasicAuth(f.User, f.Password)
	case "bearer":
		return webhook.BearerToken(f.Token)
	case "apikey":
		return webhook.APIKey(f.Header, f.Key)
	case "oauth2":
		a := webhook.OAuth2(f.TokenURL, f.Client, f.ClientSecret, strings.Fields(f.Scope)...)
		a.Params = f.Params
		return a
	}
	return webhook.Auth{Scheme: f.Auth}
}

// submitNew registers an endpoint and shows its secret. That cannot be in a URL, so
// the answer to the form is the page itself. Sent once more, by a reload or a second
// click, whose answer replaces the first, it shows the same again to whoever may
// see it, and leads others to what it has made.
func (p *portal) submitNew(w http.ResponseWriter, r *request) error {
	f, err := readForm(r)
	if err != nil {
		return err
	}
	u := p.newUI(r, "secret.created.title")
	e, wrong := f.endpoint(u, r.view.EventTypes())
	if wrong == nil {
		e.Rev = 0
		var created webhook.Endpoint
		var again bool
		if created, again, wrong = p.registerOnce(r, e, f.Once); wrong == nil {
			if again && !r.mayReveal(&created) {
				r.redirect(w, done(endpointPath(created.ID), "repeated"))
				return nil
			}
			return p.showCreated(w, r, u, &created)
		}
	}
	if used, ok := errors.AsType[*problem](wrong); ok && used.Status == http.StatusConflict {
		f.Once = rand.Text() // the browser went back to the form: sent again, it makes another
		return p.showForm(w, r, used.Status, nil, f, wrong)
	}
	if !isMistake(wrong) {
		return wrong
	}
	return p.showForm(w, r, http.StatusUnprocessableEntity, nil, f, wrong)
}

// isMistake reports whether an error is told next to a field.
func isMistake(err error) bool {
	if _, own := errors.AsType[*formError](err); own {
		return true
	}
	for _, kind := range []error{webhook.ErrInvalid, webhook.ErrUnknownEventType, webhook.ErrBlockedAddress, webhook.ErrNotSupported, webhook.ErrConflict} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// submitEdit changes an endpoint.
func (p *portal) submitEdit(w http.ResponseWriter, r *request) error {
	f, err := readForm(r)
	if err != nil {
		return err
	}
	id := r.value("id")
	old, err := r.view.Endpoint(r.Context(), id)
	if err != nil {
		return err
	}
	u := p.newUI(r, "form.edit.title")
	e, wrong := f.endpoint(u, r.view.EventTypes())
	if wrong == nil {
		e.ID, e.Tenant = id, ""
		if !r.access.Operator {
			e.AllTenants = old.AllTenants
		}
		if _, wrong = r.view.Update(r.Context(), e); wrong == nil {
			r.redirect(w, done(endpointPath(id), "saved"))
			return nil
		}
	}
	if !isMistake(wrong) {
		return wrong
	}
	status := http.StatusUnprocessableEntity
	if errors.Is(wrong, webhook.ErrConflict) {
		status = http.StatusConflict
		f.Rev = strconv.FormatInt(old.Rev, 10) // saved again, it replaces what is there
	}
	return p.showForm(w, r, status, &old, f, wrong)
}

// registerOnce adds an endpoint, and reports whether the form was sent before.
func (p *portal) registerOnce(r *request, e webhook.Endpoint, once string) (registered webhook.Endpoint, again bool, err error) {
	input := inputOf(&e)
	input.Secrets, input.Auth.Secret, input.TLS.Key = secretsOf(e.Secrets), e.Auth.Secret.Value, e.TLS.Key.Value
	registered, created, err := p.register(r, input, once)
	return registered, !created, err
}
