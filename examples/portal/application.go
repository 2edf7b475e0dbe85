package main

import (
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/portal"
)

// person is who can sign in; a real application asks for a password.
type person struct{ Name, Company, Tenant, Email string }

var people = []person{
	{"Ada", "Acme", "acme", "ada@acme.example"},
	{"Grace", "Globex", "globex", "grace@globex.example"},
}

// known reports whether there is such a customer.
func known(tenant string) bool {
	return slices.ContainsFunc(people, func(p person) bool { return p.Tenant == tenant })
}

// session is the cookie with the tenant of who is signed in.
const session = "tenant"

func signedIn(r *http.Request) (person, bool) {
	if c, err := r.Cookie(session); err == nil {
		for _, p := range people {
			if p.Tenant == c.Value {
				return p, true
			}
		}
	}
	return person{}, false
}

// access tells the portal who makes a request, and sends others to the sign-in.
func access(r *http.Request) (portal.Access, error) {
	p, ok := signedIn(r)
	if !ok {
		return portal.Access{}, &portal.Refusal{Location: "/"}
	}
	return portal.Access{Tenant: p.Tenant, Actor: p.Email}, nil
}

// application is what the customers use, besides the portal.
type application struct {
	*webhook.Dispatcher
	receivers
	url string
}

func newApplication(d *webhook.Dispatcher) *application {
	return &application{Dispatcher: d, receivers: receivers{d: d}}
}

func (a *application) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("POST /sign-in", signIn)
	mux.HandleFunc("POST /publish", a.publish)
	mux.HandleFunc("POST /receivers/{name}", a.receive)
}

// signIn switches to a customer. It takes a POST, which no link of another site can
// make.
func signIn(w http.ResponseWriter, r *http.Request) {
	tenant := r.PostFormValue("tenant")
	if !known(tenant) {
		http.Error(w, "nobody is called that", http.StatusUnprocessableEntity)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: session, Value: tenant, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// publish is what a button of the application does.
func (a *application) publish(w http.ResponseWriter, r *http.Request) {
	p, ok := signedIn(r)
	if !ok {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	event := sample(r.PostFormValue("type"))
	event.Tenant = p.Tenant
	if _, err := a.Publish(r.Context(), event); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	http.Redirect(w, r, "/#inbox", http.StatusSeeOther)
}

// work is the business of the customers: an event every now and then.
func (a *application) work(ctx context.Context, every time.Duration) error {
	if every <= 0 {
		<-ctx.Done()
		return nil
	}
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
			event := anyEvent(rand.N)
			if _, err := a.Publish(ctx, event); err != nil && ctx.Err() == nil {
				return fmt.Errorf("publish: %w", err)
			}
		}
	}
}

// anyEvent is an event of one of the customers.
func anyEvent(n func(int) int) webhook.Event {
	types := config().Catalog
	event := sample(types[n(len(types))].Name)
	event.Tenant = people[n(len(people))].Tenant
	return event
}

// sample is an event with the catalogue's example, which is as good as any here.
func sample(name string) webhook.Event {
	event := webhook.Event{Type: name}
	for _, t := range config().Catalog {
		if t.Name == name {
			event.Data = t.Example
		}
	}
	return event
}

//go:embed home.html
var homeHTML string

var homePage = template.Must(template.New("home").Parse(homeHTML))

func (a *application) home(w http.ResponseWriter, r *http.Request) {
	type page struct {
		People  []person
		Who     person
		In      bool
		Types   []webhook.EventType
		Inbox   string
		Letters []letter
	}
	p, ok := signedIn(r)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = homePage.Execute(w, page{people, p, ok, config().Catalog, a.url + "/receivers/inbox-of-" + p.Tenant, a.letters(p.Tenant)})
}
