package wire

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/outhook/webhook/internal/nodetest"
)

// strange are URLs in which one reader may see another host than the next.
var strange = []string{
	"https://example.com/hook?a=b", "http://example.com:8080", "https://127.1", "https://[::1%25lo]:443/", "https://[::ffff:7f00:1]", "https://[::ffff:8.8.8.8]/",
	"https://a:b@c/", "https://0x7f.1#", "https:\\\\e", "https://%41", "HTTPS://xn--a.B_c.:65535", "https://xn--mnchen-3ya.example/", "https://XN--A/", "https://a.xn--/",
	"https://example.com%2f@evil/", "https://example.com%00.evil/", "https://exa%6Dple.com/", "https:///evil.example", "https:evil.example", "https:/evil.example", "https://?a@b", "https://a?@evil/", "https://a/@evil",
	"https://1.2.3.4.", "https://1.2.3.4..", "https://0x7f000001", "https://017700000001", "https://2130706433", "https://1.2.3.08", "https://1.2.3.4.5", "https://a.0x", "https://a.0x7f", "https://a.00", "https://0/", "https://9.9/",
	"https://[2606:4700::1]", "https://[2606:4700:0:0::1]:8443/", "https://[2606:4700::1.2.3.4]/", "https://[2606:4700::01.2.3.4]", "https://[::ffff:0:1.2.3.4]", "https://[64:ff9b::808:808]/", "https://[2002:7f00:1::]", "https://[8.8.8.8]", "https://[v1.a]",
	"https://example.com:0443/", "https://example.com:+443", "https://example.com: 443", "https://example.com:443:80", "https://example.com:", "https://example.com.:443", "https://example.com..", "https://-a/", "https://a-/", "https://_/", "https://a_b/", "https://a--b/",
	"https://example.com/../..//..", "https://example.com/%2e%2e/", "https://example.com/a;b?c;d", "https://example.com/\"<>^`{|}", "https://example.com?", "https://example.com/?a?b", "https://example.com/%", "https://example.com/%zz", "https://example.com/?%zz",
	"https://localhost/", "https://169.254.169.254/", "https://100.100.100.200/", "https://168.63.129.16/", "https://metadata.google.internal/", "https://\uff11.1.1.1/", "https://ex\u00adample.com/", "https://a\u3002b/", "https://a\tb/", "https://a\nb/", "ht\ntps://a/",
}

func newClients(f *testing.F) (clients [2]*Client) {
	for n, allow := range []bool{false, true} {
		clients[n] = newClient(f, Options{AllowHTTP: allow})
	}
	for _, raw := range strange {
		f.Add(raw, true)
		f.Add(raw, false)
	}
	return clients
}

// spellings are the URLs that are tried for a fuzzed text: few texts would be one
// by themselves.
func spellings(text string) []string {
	return []string{text, "https://" + text + "/", "https://a.example/" + text}
}

// private reports whether an address is one that no stranger may name, told
// apart by other means than the guard's: what IANA calls globally reachable is
// a part of the unicast range.
func private(t *testing.T, a netip.Addr) bool {
	t.Helper()
	a = a.Unmap()
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "168.63.129.16/32",
		"2001::/32", "2001:db8::/32", "2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "::/96", "::ffff:0:0:0/96", "3fff::/20", "5f00::/16",
	} {
		if netip.MustParsePrefix(p).Contains(a) {
			return true
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range addrs {
		if n, ok := i.(*net.IPNet); ok && n.IP.Equal(a.AsSlice()) {
			return true
		}
	}
	return !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsInterfaceLocalMulticast()
}

func FuzzCheckURL(f *testing.F) {
	clients := newClients(f)
	f.Fuzz(func(t *testing.T, raw string, allowHTTP bool) {
		c := clients[0]
		if allowHTTP {
			c = clients[1]
		}
		for _, raw := range spellings(raw) {
			checkAccepted(t, c, raw, allowHTTP)
		}
	})
}

func checkAccepted(t *testing.T, c *Client, raw string, allowHTTP bool) {
	t.Helper()
	u, err := c.CheckURL(raw)
	if err != nil {
		if u != nil || errors.Is(err, ErrURL) == errors.Is(err, ErrBlocked) {
			t.Fatalf("%q: %v, %v", raw, u, err)
		}
		return
	}
	parsed, err := url.Parse(raw)
	if err != nil || parsed.Host != u.Host || parsed.String() != u.String() {
		t.Fatalf("%q: %q, net/url says %q, %v", raw, u, parsed, err)
	}
	if len(raw) > 2048 || u.User != nil || u.Fragment != "" || u.Opaque != "" || strings.ContainsFunc(raw, func(r rune) bool { return r < '!' || r > '~' || r == '\\' }) {
		t.Errorf("%q was accepted as %#v", raw, u)
	}
	if u.Scheme != "https" && !(allowHTTP && u.Scheme == "http") {
		t.Errorf("%q: scheme %q", raw, u.Scheme)
	}
	switch p := u.Port(); {
	case p == "", p == "443", p == "80" && allowHTTP, len(p) == 4 && p >= "1024", len(p) == 5 && p <= "65535":
	default:
		t.Errorf("%q: port %q", raw, p)
	}
	// The line of the request and the header Host hold it in one piece.
	if target := u.RequestURI(); !strings.HasPrefix(target, "/") || strings.ContainsFunc(target+u.Host, func(r rune) bool { return r < '!' || r > '~' }) {
		t.Errorf("%q: the target is %q at %q", raw, target, u.Host)
	}
	host := u.Hostname()
	if a, err := netip.ParseAddr(host); err == nil {
		if err := c.guard.address(a); err != nil || a.Zone() != "" || private(t, a) {
			t.Errorf("%q: %v, private: %t", raw, err, private(t, a))
		}
	} else if host == "" || len(host) > 254 || strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" || strings.ContainsAny(u.Host, "%@/\\ []") {
		t.Errorf("%q: host %q", raw, host)
	}
	if again, err := c.CheckURL(u.String()); err != nil && len(u.String()) <= maxURL || err == nil && (again.Host != u.Host || again.RequestURI() != u.RequestURI()) {
		t.Errorf("%q became %q, which is %v, %v", raw, u, again, err)
	}
}

// FuzzCheckURLAsBrowsersDo holds what is accepted against the URL standard
// (WHATWG), as Node.js reads it: whoever shows, logs, filters or proxies the URL
// must see the host that is dialled.
func FuzzCheckURLAsBrowsersDo(f *testing.F) {
	node := nodetest.Start(f, `text => {
		const u = new URL(text);
		return JSON.stringify([u.protocol, u.hostname, u.port, u.username + u.password + u.hash]);
	}`)
	clients := newClients(f)
	f.Fuzz(func(t *testing.T, raw string, allowHTTP bool) {
		c := clients[0]
		if allowHTTP {
			c = clients[1]
		}
		for _, raw := range spellings(raw) {
			if u, err := c.CheckURL(raw); err == nil {
				compareWithBrowsers(t, node, raw, u)
			}
		}
	})
}

func compareWithBrowsers(t *testing.T, node *nodetest.Function, raw string, u *url.URL) {
	t.Helper()
	answer, thrown := node.Call(t, raw)
	if thrown != nil {
		// Punycode that decodes to nothing good is a name that DNS may know.
		if !strings.Contains(strings.ToLower(u.Host), "xn--") {
			t.Fatalf("%q is accepted: %v", raw, thrown)
		}
		return
	}
	var seen [4]string
	if err := json.Unmarshal([]byte(answer), &seen); err != nil {
		t.Fatal(err)
	}
	port := u.Port()
	if port == map[string]string{"http": "80", "https": "443"}[u.Scheme] {
		port = ""
	}
	if seen[0] != u.Scheme+":" || seen[2] != port || seen[3] != "" {
		t.Fatalf("%q is %q, %q to browsers, port %q", raw, u.Scheme, seen, port)
	}
	ours, err := netip.ParseAddr(u.Hostname())
	theirs, theirErr := netip.ParseAddr(strings.Trim(seen[1], "[]"))
	switch {
	case (err == nil) != (theirErr == nil), err == nil && ours != theirs:
		t.Fatalf("%q goes to %q, browsers to %q", raw, u.Hostname(), seen[1])
	case err == nil && private(t, theirs):
		t.Fatalf("%q is accepted and goes to %v", raw, theirs)
	case err != nil && !strings.EqualFold(seen[1], u.Hostname()):
		t.Fatalf("%q goes to %q, browsers to %q", raw, u.Hostname(), seen[1])
	}
}
