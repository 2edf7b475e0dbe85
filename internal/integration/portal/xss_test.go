package portal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/internal/integration/portal/browser"
	"github.com/outhook/webhook/internal/integration/portal/stage"
	"github.com/outhook/webhook/portal"
)

// attack is a text that does something if a page takes it for more than text.
type attack struct {
	name, text string
	inert      bool // nowhere but in another encoding or template language
}

// attacks returns the corpus. Each sets a global and opens a dialog, or asks the
// canary for something.
func attacks(canary string) []attack {
	const run = "top.pwned=1;alert(1)"
	list := []attack{
		{name: "a script", text: `<script>` + run + `</script>`},
		{name: "a script after a script", text: `</script><script>` + run + `</script>`},
		{name: "a script after what swallows text", text: `--></title></style></textarea></noscript></template></xmp></pre></select></option><script>` + run + `</script>`},
		{name: "a comment left open", text: `<!--><img src=x onerror=` + run + `>-->`},
		{name: "an image in double quotes", text: `"><img src=x onerror="` + run + `">`},
		{name: "an image in single quotes", text: `'><img src=x onerror='` + run + `'>`},
		{name: "an attribute in double quotes", text: `" autofocus tabindex=1 onfocus="` + run + `" x="`},
		{name: "an attribute in single quotes", text: `' autofocus tabindex=1 onfocus='` + run + `' x='`},
		{name: "an attribute without quotes", text: `x autofocus onfocus=` + run + ` `},
		{name: "an attribute in backticks", text: "`><img src=x onerror=`" + run + "`>"},
		{name: "SVG", text: `"><svg/onload=` + run + `>`},
		{name: "SVG with a link", text: `<svg><a xlink:href="javascript:` + run + `"><text y=20>x</text></a><animate onbegin="` + run + `" attributeName=x dur=1s></svg>`},
		{name: "MathML", text: `<math><mtext></form><form><mglyph><style></math><img src onerror=` + run + `>`},
		{name: "a details", text: `<details open ontoggle=` + run + `>`},
		{name: "a frame", text: `<iframe srcdoc="<script>` + run + `</script>"></iframe>`},
		{name: "an object", text: `<object data="data:text/html,<script>` + run + `</script>"></object><embed src="` + canary + `/embed">`},
		{name: "a base", text: `<base href="` + canary + `/">`},
		{name: "a refresh", text: `<meta http-equiv="refresh" content="0;url=` + canary + `/refresh">`},
		{name: "a style sheet", text: `<link rel=stylesheet href="` + canary + `/css"><style>@import "` + canary + `/import"; * { background: url(` + canary + `/bg) }</style>`},
		{name: "a style", text: `" style="background: url(` + canary + `/style)" x="`},
		{name: "an image from elsewhere", text: `"><img src="` + canary + `/img"><video poster="` + canary + `/poster"><input type=image src="` + canary + `/input">`},
		{name: "a form to elsewhere", text: `<form action="` + canary + `/form"><button autofocus>Send</button></form><button form=f- formaction="` + canary + `/button">x</button>`},
		{name: "htmx", text: `"><div hx-get="` + canary + `/hx" hx-trigger="load" hx-on::load="` + run + `" data-hx-on:htmx:load="` + run + `" hx-vals="js:{x:` + run + `}"></div>`},
		{name: "htmx in an attribute", text: `" hx-get="` + canary + `/hx" hx-trigger="load" hx-swap="outerHTML`},
		{name: "the portal's own attributes", text: `"><a data-dialog href="` + canary + `/dialog">x</a><div data-poll hx-get="` + canary + `/poll" hx-trigger="load" data-place="` + canary + `/">x</div>`},
		{name: "a link", text: `javascript:` + run, inert: true},
		{name: "a hidden link", text: "java\tscript:" + run, inert: true},
		{name: "a data link", text: `data:text/html,<script>` + run + `</script>`},
		{name: "templates", text: `{{constructor.constructor('` + run + `')()}}${` + run + `}#{` + run + `}<%= ` + run + ` %>{{printf "%s" .}}`, inert: true},
		{name: "UTF-7", text: `+ADw-script+AD4-` + run + `+ADw-/script+AD4-`, inert: true},
		{name: "a byte order mark", text: "\ufeff<script>" + run + "</script>"},
		{name: "line separators", text: "\u2028\u2029</script><script>" + run + "</script>\u2028"},
		{name: "entities", text: `&lt;script&gt;` + run + `&lt;/script&gt;&#60;img src=x onerror=` + run + `&#62;&quot;&gt;`, inert: true},
		{name: "a wide character", text: "\uff1cscript\uff1e" + run + "\uff1c/script\uff1e", inert: true},
		{name: "JSON in a script", text: `"};` + run + `;//\u003c/script\u003e\x3cscript\x3e`, inert: true},
	}
	return list
}

// all is one text with all attacks.
func all(list []attack) string {
	var b strings.Builder
	for _, a := range list {
		b.WriteString(a.text + "\n")
	}
	return b.String()
}

// some is as much of the corpus as fits into a field, what breaks out first.
func some(list []attack) string {
	var b strings.Builder
	for _, a := range list[2:] {
		if b.Len()+len(a.text) < 900 && !a.inert {
			b.WriteString(a.text + " ")
		}
	}
	return strings.TrimSpace(b.String())
}

// intruders is an expression for what no page of the portal has, whether or not
// the policy would have stopped it: elements and attributes that somebody else has
// put there, and links to elsewhere.
const intruders = `(() => {
	const found = []
	const note = (what, e) => found.push(what + ': ' + e.outerHTML.slice(0, 160))
	if (top.pwned) found.push('a script ran')
	for (const e of document.querySelectorAll('iframe,frame,object,embed,base,style,meta[http-equiv],math,video,audio,marquee,template,animate,foreignObject,mglyph,img,input[type=image],[formaction],[srcdoc],[style],[autofocus],link:not([rel=stylesheet]):not([rel=icon])')) note('element', e)
	for (const e of document.querySelectorAll('script')) if (e.text || !/\/assets\/(htmx\.min|portal)\.js\?v=\w+$/.test(e.src)) note('script', e)
	for (const e of document.querySelectorAll('*')) {
		for (const a of e.attributes) {
			if (/^on/i.test(a.name) || /hx-on/i.test(a.name) || /^(data-)?hx-(vals|headers|vars|ext|include)/i.test(a.name)) note('handler', e)
			if (/^(data-)?hx-(get|post|put|delete|patch)$/i.test(a.name) && new URL(a.value, location.href).origin !== location.origin) note('htmx', e)
		}
		for (const name of ['href', 'src', 'action', 'formAction', 'poster', 'data']) {
			let value = e.getAttribute(name)
			if (value === null) continue
			let u
			try { u = new URL(value, document.baseURI) } catch { continue }
			if (u.origin !== location.origin) note('link', e)
		}
	}
	return found
})()`

// canary is a receiver of requests that no page may make.
func newCanary(t *testing.T) (url string, songs *atomic.Int64) {
	songs = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		songs.Add(1)
		w.Header().Set("Access-Control-Allow-Origin", "*")
		_, _ = io.WriteString(w, `<script>top.pwned=1;alert(1)</script>`)
	}))
	t.Cleanup(server.Close)
	return server.URL, songs
}

// garbage is a receiver whose answer is no HTTP, and says so in HTML.
func garbage(t *testing.T, text string) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
				}
				_, _ = io.WriteString(conn, strings.ReplaceAll(text, "\n", " ")+"\r\n\r\n")
			}()
		}
	}()
	return "http://" + listener.Addr().String() + "/"
}

// battlefield is a portal whose data is hostile wherever a stranger can have put
// it, and wherever validation has to be trusted otherwise.
type battlefield struct {
	*stage.Stage
	paths []string // of pages
}

func newBattlefield(t *testing.T, list []attack) *battlefield {
	every, short := all(list), some(list)
	oneLine := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, every)
	config := config()
	// The application's own words are not hostile, but may have any character.
	config.Catalog = append(config.Catalog, webhook.EventType{Name: "hostile.type", Group: every, Description: every, Example: map[string]any{every: every, "list": []string{every}}})
	config.Profiles[`"><img src=x onerror=top.pwned=1>`] = webhook.Profile{Signer: webhook.SecretHeader{Name: "X-Secret"}}
	f := &battlefield{Stage: stage.Open(t, config, portal.Options{Name: every, Texts: map[string]string{"list.lede": every}})}

	receiver := stage.NewReceiver(t)
	receiver.Always(stage.Answer{Status: http.StatusBadGateway, Body: every, Header: http.Header{
		"Content-Type": {"text/html; charset=utf-7"}, "X-Html": {oneLine}, "Location": {"javascript:top.pwned=1"}, "Link": {`<` + oneLine[:60] + `>; rel=preload`}, "Refresh": {"0;url=javascript:top.pwned=1"},
		"X-Frame-Options": {"ALLOWALL"}, "Content-Security-Policy": {"default-src * 'unsafe-inline'"}, "Set-Cookie": {"tenant=other"}, "Hx-Redirect": {"javascript:top.pwned=1"}, "Hx-Trigger": {`{"x":"y"}`},
	}})
	register := func(e webhook.Endpoint) string {
		t.Helper()
		e.Tenant, e.CreatedBy = "acme", short
		made, err := f.Register(t.Context(), e)
		if errors.Is(err, webhook.ErrInvalid) && e.URL != receiver.URL {
			e.URL = receiver.URL // what is not permitted in one reaches no page
			made, err = f.Register(t.Context(), e)
		}
		if err != nil {
			t.Fatalf("%.80q: %v", e.Description, err)
		}
		return made.ID
	}
	f.paths = []string{"", "?" + url.Values{"q": {"script"}}.Encode(), "endpoints/new"}
	for n, a := range list {
		e := webhook.Endpoint{URL: receiver.URL, Description: a.text}
		if id := strings.ReplaceAll(a.text, " ", "/"); n%4 == 0 && len(id) < 129 && id == strings.Map(visibleASCII, id) {
			e.ID = id // an application's own, in every path of its pages
		}
		if n%2 == 0 {
			e.URL = receiver.URL + "/" + strings.ReplaceAll(a.text, " ", "/")
		}
		id := register(e)
		if e.ID != "" && n <= 12 {
			f.paths = append(f.paths, "endpoints/"+url.PathEscape(id), "endpoints/"+url.PathEscape(id)+"/delete")
		}
	}
	main := register(webhook.Endpoint{URL: receiver.URL + "?" + url.Values{"q": {short}}.Encode(), Description: short, Headers: map[string]string{"X-Html": short, "X-Quote": `"'>`}, Auth: webhook.BasicAuth(`"><img src=x onerror=top.pwned=1>`, short)})
	broken := register(webhook.Endpoint{URL: garbage(t, every), Description: "garbage"})
	off := register(webhook.Endpoint{URL: receiver.URL, Description: "off"})
	if err := f.Disable(t.Context(), off, short); err != nil {
		t.Fatal(err)
	}
	data := map[string]any{every: every, "html": "</pre>" + every, "list": []string{every}}
	f.Publish(t,
		webhook.Event{ID: `"><img/src=x/onerror=top@pwned>`, Type: "hostile.type", Tenant: "acme", Data: data},
		webhook.Event{Type: "hostile.type", Tenant: "acme", Data: json.RawMessage(`"` + strings.ReplaceAll(strings.ReplaceAll(oneLine, `\`, ``), `"`, `'`) + `"`)})
	(&town{Stage: f.Stage}).settle(t)
	// What validation keeps out may be in the database all the same.
	for _, statement := range []string{
		`UPDATE outhook_deliveries SET event_type = ?, last_error = ? WHERE seq IN (SELECT min(seq) FROM outhook_deliveries GROUP BY endpoint_id)`,
		`UPDATE outhook_log SET error = ?, url = ?`,
	} {
		if _, err := f.DB.ExecContext(t.Context(), statement, every, every); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{main, broken, off} {
		at := "endpoints/" + url.PathEscape(id)
		page, err := f.Deliveries(t.Context(), webhook.DeliveryFilter{EndpointID: id})
		if err != nil || len(page.Items) == 0 && id != off {
			t.Fatalf("no deliveries: %v", err)
		}
		for _, d := range page.Items[:min(len(page.Items), 1)] {
			f.paths = append(f.paths, "deliveries/"+d.ID)
		}
		f.paths = append(f.paths, at)
		if id == main {
			f.paths = append(f.paths, at+"/edit", at+"/verify", at+"/test", at+"/replay?preview=1&what=failed&range=24h", at+"/disable", at+"/delete", "api/v1/endpoints", "api/v1/deliveries", "api/v1/event-types")
		}
	}
	q := url.QueryEscape(every)
	f.paths = append(f.paths, "?q="+q, "?show="+q, "?cursor="+q, "?done="+q, "endpoints/"+url.PathEscape(every), "deliveries/"+url.PathEscape(every), url.PathEscape(every), "endpoints/"+url.PathEscape(main)+"?type="+q+"&state="+q+"&range=custom&from="+q+"&to="+q+"&cursor=&chart="+q+"&live="+q,
		"endpoints/"+url.PathEscape(main)+"/replay?preview=1&type="+q+"&what="+q+"&range="+q+"&from="+q, "api/v1/deliveries?state="+q, "api/v1/"+url.PathEscape(every), "assets/"+url.PathEscape(every))
	return f
}

func visibleASCII(r rune) rune {
	if r <= ' ' || r > '~' {
		return -1
	}
	return r
}

// Nothing that anybody writes, sends or answers becomes more than text in a page.
func TestNothingOfAStrangersRunsInAnyPage(t *testing.T) {
	canary, songs := newCanary(t)
	list := attacks(canary)
	b := browser.Start(t)
	f := newBattlefield(t, list)
	quiet := func(p *browser.Page, where string) {
		t.Helper()
		for _, problem := range p.Problems() {
			if !strings.Contains(problem, "Failed to load resource: the server responded with a status of 4") {
				t.Errorf("%.200s: %s", where, problem)
			}
		}
		var found []string
		if err := json.Unmarshal([]byte(p.Evaluate(intruders)), &found); err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			t.Errorf("%.200s: %s", where, strings.Join(found[:min(len(found), 5)], "\n\t"))
		}
	}
	for name, cookies := range map[string][]*http.Cookie{"tenant": stage.As("acme", "<script>top.pwned=1</script>"), "operator": stage.As("", "root", "operator", "reveal")} {
		t.Run(name, func(t *testing.T) {
			p := b.Visit(t, f.URL, cookies...)
			for _, path := range f.paths {
				if name == "operator" && strings.Contains(path, "?") {
					continue // the same page as the tenant's
				}
				p.Open(stage.Path + path)
				quiet(p, path)
			}
		})
	}
	t.Run("what was typed comes back", func(t *testing.T) {
		p := b.Visit(t, f.URL, stage.As("acme", "eve")...)
		var typed []string
		for _, a := range list {
			// A field of one line does not take the others.
			if !strings.ContainsAny(a.text, "\n\u2028\u2029\t\ufeff") {
				typed = append(typed, a.text)
			}
		}
		for some := range slices.Chunk(typed, 5) {
			text := strings.TrimSpace(strings.Join(some, " "))
			p.Open(stage.Path + "endpoints/new")
			p.Fill("URL", text)
			p.Fill("Description", text)
			p.Click("Create webhook")
			quiet(p, "the form with "+text)
			if got := p.Value("Description"); got != text {
				t.Errorf("%s: it came back as %q", text, got)
			}
		}
	})
	t.Run("what a test answers", func(t *testing.T) {
		p := b.Visit(t, f.URL, stage.As("acme", "eve")...)
		page, err := f.Endpoints(t.Context(), webhook.EndpointFilter{Limit: 1})
		if err != nil || len(page.Items) == 0 {
			t.Fatal(err)
		}
		p.Open(stage.Path + "endpoints/" + url.PathEscape(page.Items[0].ID) + "/test")
		p.Choose("Event", "hostile.type")
		p.In("Sample data").Click("Send test")
		p.See("Your server's answer")
		quiet(p, "the answer to a test")
	})
	if n := songs.Load(); n > 0 {
		t.Errorf("the canary was asked %d times", n)
	}
}

// The control: each attack is noticed where a page does take it for more than
// text, with the portal's policy and without; so the test above would notice.
func TestEachAttackIsNoticedWhereItSucceeds(t *testing.T) {
	canary, songs := newCanary(t)
	list := attacks(canary)
	s := stage.Open(t, config(), portal.Options{})
	policy := policyOf(t, s.URL+stage.Path)
	// Where an attack would be at home: in text, in both kinds of quotes, in none.
	const page = `<!doctype html><html lang="en"><head><title>x</title><link rel="icon" href="data:,"></head><body><form id=f-><p>%[1]s</p><input value="%[1]s"><input value='%[1]s'><input value=%[1]s><a href="%[1]s">x</a></form></body></html>`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("policy") != "" {
			w.Header().Set("Content-Security-Policy", policy)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		var n int
		if _, err := fmt.Sscan(r.URL.Query().Get("attack"), &n); err != nil {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, page, list[n].text)
	}))
	t.Cleanup(server.Close)
	b := browser.Start(t)
	for _, policed := range []string{"", "yes"} {
		p := b.Visit(t, server.URL)
		for n, a := range list {
			if a.inert {
				continue
			}
			var problems []string
			if err := open(p, fmt.Sprintf("/?attack=%d&policy=%s", n, policed)); err != nil {
				t.Fatal(err)
			}
			var found []string
			if err := json.Unmarshal([]byte(p.Evaluate(intruders)), &found); err != nil {
				t.Fatal(err)
			}
			problems = append(p.Problems(), found...)
			if len(problems) == 0 {
				t.Errorf("%s, policy %q: nobody noticed", a.name, policed)
			}
		}
		p.Open("about:blank")
		p.Problems()
		p.Tolerate("")
	}
	if songs.Load() == 0 {
		t.Error("the canary was never asked")
	}
}

// open opens a page that may leave at once for another.
func open(p *browser.Page, path string) error {
	p.Open(path)
	if p.Address() == "" {
		return errors.New("there is no page")
	}
	return nil
}

func policyOf(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	policy := res.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") {
		t.Fatalf("the policy is %q", policy)
	}
	return policy
}
