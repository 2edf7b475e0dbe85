package browser

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
)

// watch notices what goes wrong in a tab, and which of its requests are under way.
type watch struct {
	origin  string
	dismiss func() // closes a dialog
	dialogs sync.WaitGroup

	mu        sync.Mutex
	problems  []string
	tolerated []string
	requests  map[network.RequestID]cdp.LoaderID // those under way, and of which document
	loads     int                                // documents that were asked for
}

func newWatch(origin string) *watch {
	return &watch{origin: origin, requests: make(map[network.RequestID]cdp.LoaderID)}
}

// event takes an event of the protocol; it must not wait for anything.
func (w *watch) event(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		w.request(e)
	case *network.EventLoadingFinished:
		delete(w.requests, e.RequestID)
	case *network.EventLoadingFailed:
		delete(w.requests, e.RequestID)
		// A request that the page itself gave up, because it is left, is canceled.
		if e.BlockedReason != "" {
			w.note("request blocked: %s %s", e.BlockedReason, e.ErrorText)
		}
	case *page.EventFrameNavigated:
		if e.Frame.ParentID == "" { // what a document that was left asks for ends untold
			maps.DeleteFunc(w.requests, func(_ network.RequestID, of cdp.LoaderID) bool { return of != e.Frame.LoaderID })
		}
	case *runtime.EventExceptionThrown:
		w.note("uncaught exception: %s", exception(e.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if slices.Contains([]string{"error", "warning", "assert"}, string(e.Type)) {
			w.note("console.%s: %s", e.Type, values(e.Args))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Source == log.EntrySourceSecurity {
			w.note("%s %s: %s (%s)", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *audits.EventIssueAdded:
		if e.Issue.Code == audits.InspectorIssueCodeContentSecurityPolicyIssue {
			w.note("content security policy: %s", policy(e.Issue.Details))
		}
	case *page.EventJavascriptDialogOpening:
		w.note("dialog %s: %q", e.Type, e.Message)
		w.dialogs.Go(w.dismiss)
	}
}

func (w *watch) request(e *network.EventRequestWillBeSent) {
	w.requests[e.RequestID] = e.LoaderID
	if e.Type == network.ResourceTypeDocument {
		w.loads++
	}
	u, err := url.Parse(e.Request.URL)
	if err == nil && (u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "ws" || u.Scheme == "wss") && u.Scheme+"://"+u.Host != w.origin {
		w.note("request to a stranger: %s %s", e.Request.Method, e.Request.URL)
	}
	if u != nil && u.Scheme == "data" {
		delete(w.requests, e.RequestID) // it never finishes
	}
}

func (w *watch) note(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// tolerate says that problems with such a text are none.
func (w *watch) tolerate(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tolerated = append(w.tolerated, text)
}

// take returns the problems since the last call.
func (w *watch) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	problems := slices.DeleteFunc(w.problems, func(p string) bool {
		return slices.ContainsFunc(w.tolerated, func(text string) bool { return strings.Contains(p, text) })
	})
	w.problems = nil
	return problems
}

// busy returns how many requests are under way, and how many documents were asked
// for so far.
func (w *watch) busy() (requests, loads int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.requests), w.loads
}

// wait waits until the dialogs are closed.
func (w *watch) wait() { w.dialogs.Wait() }

func exception(d *runtime.ExceptionDetails) string {
	text := d.Text
	if d.Exception != nil {
		text += " " + d.Exception.Description + string(d.Exception.Value)
	}
	return text
}

func values(objects []*runtime.RemoteObject) string {
	var texts []string
	for _, o := range objects {
		texts = append(texts, string(o.Value)+o.Description)
	}
	return strings.Join(texts, " ")
}

func policy(d *audits.InspectorIssueDetails) string {
	if d == nil || d.ContentSecurityPolicyIssueDetails == nil {
		return "violated"
	}
	c := d.ContentSecurityPolicyIssueDetails
	return fmt.Sprintf("%s forbids %q", c.ViolatedDirective, c.BlockedURL)
}
