package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a step waits for what it needs.
const patience = 20 * time.Second

// Page is a tab of one visitor. Its steps are for one goroutine.
type Page struct {
	testing.TB
	ctx    context.Context
	origin string
	watch  *watch
	scope  string // an expression in JavaScript; see In
}

// Open goes to a path of the origin, or to an absolute URL.
func (p *Page) Open(reference string) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	var failed *chromedp.LoadError
	if err := chromedp.Do(ctx, chromedp.Navigate(p.absolute(reference))); err != nil && !errors.As(err, &failed) {
		p.Fatalf("open %s: %v", reference, err)
	}
	p.settle()
}

// Click clicks what is called name: a link, a button, a summary, a tab or a box to
// tick. There must be exactly one, and it must be enabled. It returns when what the
// click has started has come to rest.
func (p *Page) Click(name string) {
	p.Helper()
	p.press(p.find(name, "link", "button", "DisclosureTriangle", "tab", "menuitem", "switch", "checkbox", "radio", "option"))
}

// Fill types text into the field that is called label, in place of what is there.
func (p *Page) Fill(label, text string) {
	p.Helper()
	node := p.find(label, "textbox", "searchbox", "spinbutton", "combobox", "Date", "DateTime", "InputTime")
	p.step("fill "+label, func(ctx context.Context, tab *chromedp.Target) error {
		if _, err := cdp.Call(ctx, tab, dom.Focus, dom.FocusParams{BackendNodeID: node}); err != nil {
			return err
		}
		object, err := cdp.Call(ctx, tab, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: node})
		if err != nil {
			return err
		}
		// What cannot be typed as text, such as a date, is set.
		const set = `function (text) {
			if (/^(date|time|datetime-local|month|week|range|color)$/.test(this.type)) {
				this.value = text
				this.dispatchEvent(new Event('input', {bubbles: true}))
				this.dispatchEvent(new Event('change', {bubbles: true}))
				return true
			}
			this.select()
			return false
		}`
		value, err := json.Marshal(text)
		if err != nil {
			return err
		}
		done, err := cdp.Call(ctx, tab, runtime.CallFunctionOn, runtime.CallFunctionOnParams{
			FunctionDeclaration: set, ObjectID: object.Object.ObjectID, Arguments: []*runtime.CallArgument{{Value: value}},
		})
		if err != nil || string(done.Result.Value) == "true" {
			return err
		}
		if text == "" {
			_, err := chromedp.KeyEvent("\b")(ctx, tab)
			return err
		}
		_, err = cdp.Call(ctx, tab, input.InsertText, input.InsertTextParams{Text: text})
		return err
	})
}

// Choose selects an option of the list that is called label.
func (p *Page) Choose(label, option string) {
	p.Helper()
	node := p.find(label, "combobox", "listbox")
	text := p.call(node, `function (option) {
		const found = [...this.options].find(o => o.label.trim() === option || o.value === option)
		if (!found) return 'has only ' + [...this.options].map(o => o.label.trim()).join(', ')
		found.selected = true
		this.dispatchEvent(new Event('input', {bubbles: true}))
		this.dispatchEvent(new Event('change', {bubbles: true}))
		return ''
	}`, option)
	if text != "" {
		p.Fatalf("choose %s of %s: it %s", option, label, text)
	}
	p.settle()
}

// Tick ticks a box, or leaves it ticked.
func (p *Page) Tick(label string) { p.Helper(); p.tick(label, true) }

// Untick unticks a box, or leaves it so.
func (p *Page) Untick(label string) { p.Helper(); p.tick(label, false) }

func (p *Page) tick(label string, want bool) {
	p.Helper()
	node := p.find(label, "checkbox", "radio", "switch")
	if p.call(node, `function () { return String(this.checked) }`) != fmt.Sprint(want) {
		p.press(node)
	}
}

// Value returns what stands in the field that is called label.
func (p *Page) Value(label string) string {
	p.Helper()
	return p.call(p.find(label, "textbox", "searchbox", "spinbutton", "combobox", "checkbox", "radio"),
		`function () { return /^(checkbox|radio)$/.test(this.type) ? String(this.checked) : this.value }`)
}

// See waits until the page shows each text, in any case and spacing.
func (p *Page) See(texts ...string) {
	p.Helper()
	for _, text := range texts {
		p.until("see "+text, func() error {
			if shown := p.Text(); !contains(shown, text) {
				return errors.New("it is not there")
			}
			return nil
		})
	}
}

// Gone waits until the page shows none of the texts.
func (p *Page) Gone(texts ...string) {
	p.Helper()
	for _, text := range texts {
		p.until("see no "+text, func() error {
			if contains(p.Text(), text) {
				return errors.New("it is there")
			}
			return nil
		})
	}
}

// Has reports whether the page shows the text now.
func (p *Page) Has(text string) bool { p.Helper(); return contains(p.Text(), text) }

// Text returns the text that the page shows now.
func (p *Page) Text() string {
	p.Helper()
	var text string
	p.until("read the page", func() (err error) {
		text, err = eval[string](p, fmt.Sprintf(`(%s)?.innerText ?? ''`, p.root()))
		return err
	})
	return text
}

// Address returns the URL of the page.
func (p *Page) Address() string {
	p.Helper()
	address, err := eval[string](p, `location.href`)
	if err != nil {
		p.Fatal(err)
	}
	return address
}

// Clipboard returns what was copied.
func (p *Page) Clipboard() string {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`navigator.clipboard.readText()`, chromedp.EvalAwaitPromise))
	if err != nil {
		p.Fatalf("read the clipboard: %v", err)
	}
	return text
}

// Evaluate returns the value of an expression, as JSON.
func (p *Page) Evaluate(expression string) string {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.Fatalf("evaluate %.80s: %v", expression, err)
	}
	return string(value)
}

// In returns the page reduced to the smallest part that contains the text: a
// section, a form, an item of a list.
func (p *Page) In(text string) *Page {
	return p.part(text, "section,.card,article,fieldset,form,dialog,details,dl,pre,tr,li")
}

// Row returns the page reduced to the first row, of a table or a list, that
// contains the text.
func (p *Page) Row(text string) *Page { return p.part(text, "tr,li") }

func (p *Page) part(text, selector string) *Page {
	q := *p
	quoted, _ := json.Marshal(squeeze(text))
	q.scope = fmt.Sprintf(`(() => {
		const fits = e => e.checkVisibility() && e.innerText.replace(/\s+/g, ' ').toLowerCase().includes(%s.toLowerCase())
		const parts = [...(%s).querySelectorAll('%s')].filter(fits)
		return parts.find(e => !parts.some(o => o !== e && e.contains(o))) ?? null
	})()`, quoted, p.root(), selector)
	return &q
}

// Whole returns the whole page again.
func (p *Page) Whole() *Page {
	q := *p
	q.scope = ""
	return &q
}

// root is what steps look at: a dialog that is open hides everything else.
func (p *Page) root() string {
	if p.scope == "" {
		return "(document.querySelector('dialog:modal') ?? document.body)"
	}
	return p.scope
}

// Look sets how the page is looked at: how wide and high the window is, in CSS
// pixels, and whether in the dark.
func (p *Page) Look(width, height int64, dark bool) {
	p.Helper()
	scheme := map[bool]string{false: "light", true: "dark"}[dark]
	p.step("look", func(ctx context.Context, tab *chromedp.Target) error {
		if _, err := cdp.Call(ctx, tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 600,
		}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
		return err
	})
}

// JavaScript switches scripts of the pages on or off, from the next one on.
func (p *Page) JavaScript(on bool) {
	p.Helper()
	p.step("JavaScript", func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
		return err
	})
}

// Shoot writes a picture of the page to file, as PNG: from its top, as far as it
// goes, but not further than most, in CSS pixels.
func (p *Page) Shoot(file string, most float64) {
	p.Helper()
	var picture []byte
	p.step("shoot", func(ctx context.Context, tab *chromedp.Target) error {
		size, err := chromedp.Evaluate[[2]float64](`[document.documentElement.clientWidth, Math.max(document.documentElement.scrollHeight, innerHeight)]`)(ctx, tab)
		if err != nil {
			return err
		}
		beyond := true
		shot, err := cdp.Call(ctx, tab, page.CaptureScreenshot, page.CaptureScreenshotParams{
			Format: "png", CaptureBeyondViewport: &beyond, Clip: &page.Viewport{Width: size[0], Height: min(size[1], most), Scale: 1},
		})
		picture = shot.Data
		return err
	})
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(file, picture, 0o644); err != nil {
		p.Fatal(err)
	}
}

// Check fails the test if anything has gone wrong in the tab since the last time.
func (p *Page) Check() {
	p.Helper()
	for _, problem := range p.watch.take() {
		p.Errorf("in the browser: %s", problem)
	}
}

// Problems returns what has gone wrong in the tab since the last time, instead of
// failing the test.
func (p *Page) Problems() []string { return p.watch.take() }

// Tolerate says that a problem with such a text is expected from now on.
func (p *Page) Tolerate(text string) { p.watch.tolerate(text) }

// call calls a function on a node with arguments, and returns its text.
func (p *Page) call(node cdp.BackendNodeID, function string, arguments ...string) (text string) {
	p.Helper()
	p.step("call", func(ctx context.Context, tab *chromedp.Target) error {
		object, err := cdp.Call(ctx, tab, dom.ResolveNode, dom.ResolveNodeParams{BackendNodeID: node})
		if err != nil {
			return err
		}
		var values []*runtime.CallArgument
		for _, a := range arguments {
			value, err := json.Marshal(a)
			if err != nil {
				return err
			}
			values = append(values, &runtime.CallArgument{Value: value})
		}
		result, err := cdp.Call(ctx, tab, runtime.CallFunctionOn, runtime.CallFunctionOnParams{
			FunctionDeclaration: function, ObjectID: object.Object.ObjectID, Arguments: values,
		})
		if err != nil {
			return err
		}
		if result.ExceptionDetails != nil {
			return errors.New(exception(result.ExceptionDetails))
		}
		return json.Unmarshal(result.Result.Value, &text)
	})
	return text
}

// find waits for the one element that has one of the roles and is called name.
func (p *Page) find(name string, roles ...string) (found cdp.BackendNodeID) {
	p.Helper()
	p.until(fmt.Sprintf("find %q", name), func() error {
		nodes, err := p.named()
		if err != nil {
			return err
		}
		matches := slices.DeleteFunc(slices.Clone(nodes), func(n named) bool {
			return !slices.Contains(roles, n.role) || !strings.EqualFold(n.name, squeeze(name))
		})
		switch {
		case len(matches) == 0:
			var others []string
			for _, n := range nodes {
				if slices.Contains(roles, n.role) {
					others = append(others, fmt.Sprintf("%s %q", n.role, n.name))
				}
			}
			return fmt.Errorf("there are only %s", strings.Join(others, ", "))
		case len(matches) > 1:
			return fmt.Errorf("there are %d of that name", len(matches))
		case matches[0].disabled:
			return errors.New("it is disabled")
		}
		found = matches[0].node
		return nil
	})
	return found
}

// named is an element as a screen reader announces it.
type named struct {
	node       cdp.BackendNodeID
	role, name string
	disabled   bool
}

// named returns what the page has for a screen reader, as the browser computes it.
func (p *Page) named() (found []named, err error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	root, err := chromedp.Run(ctx, chromedp.Evaluate[*runtime.RemoteObject](p.root()))
	if err != nil {
		return nil, err
	}
	if root.ObjectID == "" {
		return nil, errors.New("there is no such part of the page")
	}
	tree, err := chromedp.Call(ctx, accessibility.QueryAXTree, accessibility.QueryAXTreeParams{ObjectID: root.ObjectID})
	if err != nil {
		return nil, err
	}
	for _, n := range tree.Nodes {
		if n.Ignored || n.Role == nil || n.Name == nil {
			continue
		}
		e := named{node: n.BackendDOMNodeID, role: unquote(n.Role.Value), name: squeeze(unquote(n.Name.Value))}
		for _, property := range n.Properties {
			if property.Name == "disabled" && string(property.Value.Value) == "true" {
				e.disabled = true
			}
		}
		found = append(found, e)
	}
	return found, nil
}

// press clicks on a node with the mouse.
func (p *Page) press(node cdp.BackendNodeID) {
	p.Helper()
	p.step("click", func(ctx context.Context, tab *chromedp.Target) error {
		if _, err := cdp.Call(ctx, tab, dom.ScrollIntoViewIfNeeded, dom.ScrollIntoViewIfNeededParams{BackendNodeID: node}); err != nil {
			return err
		}
		boxes, err := cdp.Call(ctx, tab, dom.GetContentQuads, dom.GetContentQuadsParams{BackendNodeID: node})
		if err != nil {
			return err
		}
		for _, q := range boxes.Quads {
			if x, y := (q[0]+q[4])/2, (q[1]+q[5])/2; q[0] != q[4] && q[1] != q[5] {
				_, err := chromedp.MouseClickXY(x, y)(ctx, tab)
				return err
			}
		}
		return errors.New("it has no place on the screen")
	})
	p.settle()
}

// Press presses a key, such as "\t" or "\r", wherever the focus is.
func (p *Page) Press(keys string) {
	p.Helper()
	p.step("press", func(ctx context.Context, tab *chromedp.Target) error {
		_, err := chromedp.KeyEvent(keys)(ctx, tab)
		return err
	})
	p.settle()
}

// settle waits until the page is loaded and asks for nothing.
func (p *Page) settle() {
	p.Helper()
	p.until("settle", func() error {
		_, before := p.watch.busy()
		// What the step has started is asked for when the page's own tasks are done.
		state, err := eval[string](p, `new Promise(done => setTimeout(() => done(document.readyState), 0))`, chromedp.EvalAwaitPromise)
		if err != nil {
			return err
		}
		if requests, loads := p.watch.busy(); state != "complete" || requests > 0 || loads != before {
			return fmt.Errorf("it is %s, with %d requests under way", state, requests)
		}
		return nil
	})
}

// step does what a person does, within the time that a step may take.
func (p *Page) step(what string, do func(ctx context.Context, tab *chromedp.Target) error) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Func(do)); err != nil {
		p.Fatalf("%s: %v\n%s", what, err, p.excerpt())
	}
}

// until tries again and again until there is no error. Pages change beneath what
// looks at them, and then the protocol itself has errors.
func (p *Page) until(what string, try func() error) {
	p.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline.C:
			p.Fatalf("%s: %v\n%s", what, err, p.excerpt())
		}
	}
}

// excerpt says where the visitor is and what is to be seen there.
func (p *Page) excerpt() string {
	text, err := eval[string](p, `location.href + '\n' + document.body.innerText`)
	if err != nil {
		text = err.Error()
	}
	return fmt.Sprintf("%.3000s", text)
}

func (p *Page) dismissDialog() {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	_, _ = chromedp.Call(ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: false})
}

// eval evaluates an expression in the page.
func eval[T any](p *Page, expression string, options ...chromedp.EvaluateOption) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, options...))
}

func contains(shown, text string) bool {
	return strings.Contains(strings.ToLower(squeeze(shown)), strings.ToLower(squeeze(text)))
}

var space = regexp.MustCompile(`[\s\x{a0}]+`)

// squeeze makes one space of all that look like one or more.
func squeeze(text string) string { return strings.TrimSpace(space.ReplaceAllString(text, " ")) }

// unquote returns the text of a string in JSON.
func unquote(value []byte) (text string) {
	if json.Unmarshal(value, &text) != nil {
		return string(value)
	}
	return text
}
