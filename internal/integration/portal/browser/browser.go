// Package browser drives headless Chromium for the tests of the portal, as a
// person would who finds things by what they are called: every step names a link,
// a button or a field as a screen reader announces it, so that a test that passes
// has shown that the names are there.
//
// Whatever goes wrong in a page fails its test: an uncaught exception, an error on
// the console, a violation of the Content-Security-Policy, a dialog, a request to
// an origin that is not the page's own.
package browser

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// Browser is a process of Chromium, with a profile of its own.
type Browser struct{ ctx context.Context }

// errMissing says that this machine has no Chromium.
var errMissing = errors.New("no Chromium is installed")

// Start starts a browser, which ends with the test. Where there is none the test
// is skipped, or fails if OUTHOOK_REQUIRE is not empty.
func Start(t testing.TB) *Browser {
	t.Helper()
	path, err := find()
	if err != nil {
		if os.Getenv("OUTHOOK_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("disable-renderer-backgrounding", true), chromedp.Flag("disable-backgrounding-occluded-windows", true),
		// Without its own services it would ask for updates of their data.
		chromedp.Flag("disable-default-apps", true), chromedp.Flag("disable-extensions", true),
	)
	t.Cleanup(stop)
	// Whether the protocol has grown an event that the client does not know yet is
	// no concern of a test.
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}), chromedp.WithLogf(func(string, ...any) {}))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return &Browser{ctx}
}

func find() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome-stable", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errMissing
}

// Visit opens a tab for somebody who has never been there: with cookies and
// storage of its own, and those cookies that are given. The origin, such as
// "http://127.0.0.1:8080", is the only one that the tab may ask anything of; the
// path of every step is relative to it. When the test ends, what went wrong in the
// tab fails it.
func (b *Browser) Visit(t testing.TB, origin string, cookies ...*http.Cookie) *Page {
	t.Helper()
	p := &Page{TB: t, origin: origin, watch: newWatch(origin)}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(p.watch.event))
	p.ctx = ctx
	p.watch.dismiss = p.dismissDialog
	t.Cleanup(func() {
		cancel()
		p.watch.wait()
		p.Check()
	})
	if err := chromedp.Do(ctx, chromedp.Func(p.prepare)); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	p.cookies(cookies)
	return p
}

// prepare makes the tab as one that somebody looks at: it has the focus, and the
// clipboard works.
func (p *Page) prepare(ctx context.Context, tab *chromedp.Target) error {
	if _, err := cdp.Call(ctx, tab, audits.Enable, cdp.Empty{}); err != nil {
		return err
	}
	if _, err := cdp.Call(ctx, tab, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
		return err
	}
	c := chromedp.FromContext(ctx)
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := cdp.Call(ctx, c.Browser, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: name, AllowWithoutSanitization: name == "clipboard-write"}, Setting: browser.PermissionSettingGranted,
			Origin: p.origin, BrowserContextID: c.BrowserContextID,
		}); err != nil {
			return fmt.Errorf("permission %s: %w", name, err)
		}
	}
	return nil
}

func (p *Page) cookies(cookies []*http.Cookie) {
	p.Helper()
	for _, c := range cookies {
		if _, err := chromedp.Call(p.ctx, network.SetCookie, network.SetCookieParams{
			Name: c.Name, Value: c.Value, URL: p.origin, Path: "/",
		}); err != nil {
			p.Fatalf("set a cookie: %v", err)
		}
	}
}

// absolute returns a URL below the origin.
func (p *Page) absolute(reference string) string {
	if u, err := url.Parse(reference); err == nil && u.IsAbs() {
		return reference
	}
	return strings.TrimSuffix(p.origin, "/") + "/" + strings.TrimPrefix(reference, "/")
}
