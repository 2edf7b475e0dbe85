package portal

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/outhook/webhook"
)

// hostile is what a stranger writes where he can.
const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}javascript:'` + "\u202e"

func TestHostileDataIsInert(t *testing.T) {
	m := mount(t, acme, func(c *webhook.Config, _ *Options) {
		c.Catalog = []webhook.EventType{{Name: "a.b", Group: hostile, Description: hostile, Example: map[string]any{hostile: hostile}}}
		c.Profiles = map[string]webhook.Profile{hostile: {Signer: webhook.HMAC{Header: "X-Sig", Prefix: hostile[:20]}}}
	})
	target := receiver(t, 500, hostile+`{"x":1}`)
	e := m.register(webhook.Endpoint{URL: target + `/?q=<script>`, Description: hostile, Headers: map[string]string{"X-A": hostile[:len(hostile)-3]}, Profile: hostile})
	m.finish("a.b", webhook.Settlement{State: webhook.StateExhausted, Health: webhook.HealthFailure, Attempt: &webhook.Attempt{
		Error: hostile, URL: hostile, RequestHeaders: http.Header{hostile: {hostile}}, ResponseHeaders: http.Header{hostile: {hostile}}, StatusCode: 418, ResponseBody: []byte(hostile),
	}})
	sent := m.post("endpoints/"+e.ID+"/test", url.Values{"type": {"a.b"}})
	if err := m.d.Disable(t.Context(), e.ID, hostile); err != nil {
		t.Fatal(err)
	}
	typed := strings.TrimSuffix(hostile, "\u202e")
	query := "?q=" + url.QueryEscape(typed) + "&type=" + url.QueryEscape(typed) + "&range=custom&from=" + url.QueryEscape(typed) + "&state=" + url.QueryEscape(typed) + "&done=" + url.QueryEscape(typed)
	at := "endpoints/" + e.ID
	pages := []*answer{sent, m.get(query), m.get(at + query), m.get(at + "/edit" + query), m.get(at + "/verify" + query), m.get(at + "/test" + query), m.get(at + "/replay" + query), m.get(at + "/delete"), m.get(at + "/disable"), m.get("endpoints/new"), m.get("endpoints/" + url.PathEscape(hostile))}
	for _, d := range regexp.MustCompile(`deliveries/[0-9a-f-]{36}`).FindAllString(m.get(at).body, -1) {
		pages = append(pages, m.get(d))
	}
	for _, page := range pages {
		page.without(t, "<script>", "<img src=x", "onerror=alert(1)>", hostile)
		if !strings.Contains(page.body, "<form class=\"card\" id=\"f\"") { // where it is typed, it stays as it was
			page.without(t, "\u202e")
		}
	}
}

func TestReadOnlySeesNoFormsAndNoSecrets(t *testing.T) {
	m := mount(t, acme, nil)
	e := m.register(webhook.Endpoint{URL: "https://receiver.example/"})
	m.finish("document.signed", failed())
	reader := again(t, m, Options{Access: func(*http.Request) (Access, error) {
		return Access{Tenant: "acme", Actor: "ada", ReadOnly: true, RevealSecrets: true}, nil
	}})
	at := "endpoints/" + e.ID
	call := regexp.MustCompile(`deliveries/[0-9a-f-]{36}`).FindString(m.get(at).body)
	for _, page := range []string{"", at, at + "/verify", call} {
		reader.get(page).want(t, 200, "Read-only", `<span class="chip data">acme</span>`).without(t, `method="post"`, "endpoints/new", "/edit", "/test", "/delete", "Reveal")
	}
	for _, to := range []string{"/edit", "/test", "/replay", "/delete", "/disable"} {
		reader.get(at+to).want(t, 403)
		reader.post(at+to, nil).want(t, 403)
	}
	reader.post(at+"/verify", url.Values{"do": {"reveal"}}).want(t, 403).without(t, "whsec_")
	reader.post(call+"/resend", nil).want(t, 403)
}

// TestEveryLinkIsRelativeAndLeadsSomewhere walks through the portal as a crawler
// would.
func TestEveryLinkIsRelativeAndLeadsSomewhere(t *testing.T) {
	m := mount(t, Access{Operator: true, Actor: "ada"}, func(_ *webhook.Config, o *Options) { o.Accent = "#c2410c" })
	m.register(webhook.Endpoint{URL: "https://receiver.example/"})
	if _, err := m.d.Register(t.Context(), webhook.Endpoint{ID: "a:b/c?d#e%f", URL: "https://odd.example/", Tenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	m.finish("document.signed", failed())
	links := regexp.MustCompile(`\s(href|action|src|hx-get|hx-post)="([^"]*)"`)
	todo, seen := []string{prefix + "/"}, map[string]bool{}
	for len(todo) > 0 {
		page := m.load("GET", todo[0], nil, nil)
		todo = todo[1:]
		if page.Code != 200 {
			t.Errorf("%s: status %d", page.at, page.Code)
		}
		if !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") {
			continue
		}
		for _, link := range links.FindAllStringSubmatch(page.body, -1) {
			to := strings.NewReplacer("&amp;", "&", "&#43;", "+").Replace(link[2])
			if strings.HasPrefix(to, "/") || strings.Contains(to, "://") {
				t.Errorf("%s: the link %q is not relative", page.at, to)
			}
			next, err := page.at.Parse(to)
			if err != nil {
				t.Fatal(err)
			}
			if next.Fragment = ""; !strings.HasPrefix(next.Path, prefix+"/") {
				t.Errorf("%s: the link %q leaves the portal", page.at, to)
			}
			if q := next.Query(); q.Has("cursor") || q.Has("v") && link[1] == "hx-get" {
				q.Del("v")
				next.RawQuery = q.Encode()
			}
			posts := link[1] == "hx-post" || link[1] == "action" && slices.Contains([]string{"resend", "enable", "consent"}, path.Base(next.Path))
			if to := next.String(); !posts && !seen[to] {
				seen[to] = true
				todo = append(todo, to)
			}
		}
	}
	if len(seen) < 30 {
		t.Errorf("only %d links were found", len(seen))
	}
}

func TestPagesHaveAPolicyAndAreNotStored(t *testing.T) {
	m := mount(t, acme, nil)
	e := m.register(webhook.Endpoint{URL: "https://receiver.example/"})
	for _, to := range []string{"", "endpoints/new", "endpoints/" + e.ID, "endpoints/none", "assets/none"} {
		h := m.get(to).Header()
		if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%q: the policy is %q", to, csp)
		}
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q: the headers are %v", to, h)
		}
	}
	asset := regexp.MustCompile(`assets/portal\.css\?v=\w+`).FindString(m.get("").body)
	if got := m.get(asset).want(t, 200, "--accent").Header().Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("the style sheet is cached as %q", got)
	}
}

// TestTemplatesHoldNothingThatThePolicyForbids looks at the sources: a page that
// no test renders must not have it either.
func TestTemplatesHoldNothingThatThePolicyForbids(t *testing.T) {
	forbidden := regexp.MustCompile(`(?i)\sstyle\s*=|<style|\son[a-z]+\s*=|hx-on|hx-vals|hx-vars|javascript:|<script(?: [^>]*)?>[^<]|(?:href|action|src)="/|data-on`)
	sources := regexp.MustCompile(`template\.(HTML|JS|CSS|URL|Srcset|HTMLAttr)\b`)
	for _, pattern := range []string{"templates/*.html", "*.go", "assets/portal.js"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files (%v)", pattern, len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			check := sources
			if strings.HasSuffix(file, ".html") {
				check = forbidden
			} else if strings.HasSuffix(file, ".js") {
				check = regexp.MustCompile(`innerHTML|insertAdjacentHTML|\beval\b|new Function|\.style\b|document\.write`)
			}
			if found := check.Find(text); found != nil && !strings.HasSuffix(file, "_test.go") {
				t.Errorf("%s has %q", file, found)
			}
		}
	}
}

func TestOperatorsChooseTheTenant(t *testing.T) {
	m := mount(t, Access{Operator: true, Actor: "root"}, nil)
	m.get("endpoints/new").want(t, 200, `name="tenant"`, `name="allTenants"`)
	form := url.Values{"url": {"https://receiver.example/"}, "tenant": {"acme/legal"}, "all": {"1"}}
	m.post("endpoints/new", form).want(t, 201)
	m.get("").want(t, 200, "acme/legal", "All tenants")
	m.post("endpoints/new", url.Values{"url": {"https://receiver.example/"}, "tenant": {"../x"}, "all": {"1"}}).want(t, 422, `id="f-tenant-error"`)
	other := again(t, m, Options{Access: func(*http.Request) (Access, error) { return Access{Tenant: "other", Actor: "eve"}, nil }})
	other.get("").want(t, 200, "No webhooks yet")
	page, err := m.d.Endpoints(context.Background(), webhook.EndpointFilter{})
	if err != nil || len(page.Items) != 1 {
		t.Fatal(err)
	}
	for _, to := range []string{"", "/edit", "/verify", "/test", "/replay", "/delete", "/disable"} {
		other.get("endpoints/"+page.Items[0].ID+to).want(t, 404).without(t, "acme")
	}
}
