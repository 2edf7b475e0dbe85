package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site serves pages by their path, with a policy where one is given after a NUL.
func site(t *testing.T, pages map[string]string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, ok := pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if body, policy, found := strings.Cut(page, "\x00"); found {
			page = body
			w.Header().Set("Content-Security-Policy", policy)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, `<!DOCTYPE html><html lang="en"><head><title>Page</title><link rel="icon" href="data:,"></head><body>%s</body></html>`, page)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// What a test relies on to see that nothing ran must see it when something does.
func TestWhateverRunsOrFailsInAPageIsNoticed(t *testing.T) {
	const strict = "\x00default-src 'none'; img-src data:"
	cases := map[string]struct{ page, problem string }{
		"an alert":              {`<script>alert(1)</script>`, `dialog alert: "1"`},
		"an exception":          {`<script>undefined.x</script>`, "uncaught exception: Uncaught TypeError"},
		"a rejected promise":    {`<script>Promise.reject(new Error('no'))</script>`, "uncaught exception"},
		"an error logged":       {`<script>console.error('no', 1)</script>`, `console.error: "no"`},
		"a script that is gone": {`<script src="gone.js"></script>`, "404"},
		"an inline script":      {`<script>alert(1)</script>` + strict, "content security policy: script-src"},
		"a handler":             {`<img src="data:," onerror="alert(1)">` + strict, "content security policy: script-src-attr"},
		"a style":               {`<p style="color: red">red</p>` + strict, "content security policy: style-src-attr"},
		"a foreign image":       {`<img src="http://127.0.0.1:9/x.png" alt="">`, "request to a stranger: GET http://127.0.0.1:9/x.png"},
		"a foreign form":        {`<form action="http://127.0.0.1:9/" method="post" id="f"></form><script>f.submit()</script>`, "request to a stranger: POST http://127.0.0.1:9/"},
		"a foreign frame":       {`<iframe src="http://127.0.0.1:9/" title="x"></iframe>`, "request to a stranger: GET http://127.0.0.1:9/"},
		"a foreign preload":     {`<link rel="preload" as="image" href="http://127.0.0.1:9/p">`, "request to a stranger: GET http://127.0.0.1:9/p"},
	}
	pages := map[string]string{"/fine": `<h1>Fine</h1><img src="data:," alt="">` + strict}
	for name, c := range cases {
		pages["/"+strings.ReplaceAll(name, " ", "-")] = c.page
	}
	origin, b := site(t, pages), Start(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := b.Visit(t, origin)
			p.Open(strings.ReplaceAll(name, " ", "-"))
			var problems []string
			p.until("notice it", func() error {
				problems = append(problems, p.Problems()...)
				if !slices.ContainsFunc(problems, func(text string) bool { return strings.Contains(text, c.problem) }) {
					return fmt.Errorf("noticed only %q", problems)
				}
				return nil
			})
			p.Problems() // those that came since
			p.Tolerate("")
		})
	}
	p := b.Visit(t, origin)
	p.Open("/fine")
	p.See("fine")
}

func TestStepsFindThingsByTheirNames(t *testing.T) {
	origin := site(t, map[string]string{
		"/": `<main><h1>Form</h1><form action="done"><label>Name <input name="name" value="old"></label>
			<fieldset><legend>Events</legend><label><input type="checkbox" name="a" value="1"> First</label><label><input type="checkbox" name="b" value="1" checked> Second</label></fieldset>
			<label>When <input type="date" name="when"></label>
			<label for="k">Kind</label><select id="k" name="kind"><option value="x">Ex</option><option value="y">Why</option></select>
			<button>Save</button></form>
			<ul><li>one <button aria-label="Delete one" type="button">x</button></li><li>two <button type="button">Delete</button></li></ul>
			<details><summary>More</summary><p>Hidden text</p></details></main>`,
		"/done": `<h1>Done</h1><pre id="q"></pre><script>q.textContent = location.search</script>`,
	})
	p := Start(t).Visit(t, origin, &http.Cookie{Name: "tenant", Value: "acme"})
	p.Open("/")
	p.Fill("Name", "nëw & <b>")
	p.Tick("First")
	p.Untick("Second")
	p.Choose("Kind", "Why")
	p.Fill("When", "2026-01-02")
	p.Gone("hidden text")
	p.Click("More")
	p.See("Hidden text")
	p.Row("two").Click("Delete")
	if got := p.Evaluate("document.cookie"); got != `"tenant=acme"` {
		t.Errorf("cookie %s", got)
	}
	p.Click("Save")
	p.See("Done")
	const want = "?name=n%C3%ABw+%26+%3Cb%3E&a=1&when=2026-01-02&kind=y"
	if got := p.Address(); got != origin+"/done"+want {
		t.Errorf("went to %s, want %s", got, want)
	}
}

func TestAuditFindsWhatIsWrong(t *testing.T) {
	NeedAudit(t)
	origin := site(t, map[string]string{
		"/bad":  `<main><h1>Bad</h1><img src="data:,"><input><p style="color: #ccc; background: #fff">faint</p></main>`,
		"/good": `<main><h1>Good</h1><p>Text</p></main>` + "\x00default-src 'none'; img-src data:",
	})
	p := Start(t).Visit(t, origin)
	p.Open("/bad")
	found := strings.Join(p.Violations(), "\n")
	for _, rule := range []string{"image-alt", "label", "color-contrast"} {
		if !strings.Contains(found, rule) {
			t.Errorf("%s is not among %s", rule, found)
		}
	}
	p.Open("/good")
	p.Audit()
}
