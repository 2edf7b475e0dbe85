package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

var (
	// ErrURL says that a URL has a form that is never permitted.
	ErrURL = errors.New("URL not permitted")
	// ErrBlocked says that an address or a port is not allowed.
	ErrBlocked = errors.New("address not allowed")
)

// wireServer is a platform service of one large cloud, reachable from each of
// its machines, at an address that looks public.
var wireServer = netip.MustParsePrefix("168.63.129.16/32")

// guard judges addresses and URLs.
type guard struct {
	allowHTTP   bool
	allow, deny []netip.Prefix
	ports       []uint16
	special     *ssrf.Guardian

	mu  sync.Mutex
	own []netip.Addr // the machine's addresses,
	at  time.Time    // as of then
}

func newGuard(o Options) (*guard, error) {
	for _, p := range slices.Concat(o.Allow, o.Deny) {
		if !p.IsValid() {
			return nil, errors.New("Allow and Deny must be valid prefixes")
		}
		if p.Addr().Is4In6() {
			return nil, fmt.Errorf("write the prefix %v as an IPv4 one: addresses are judged in that form", p)
		}
	}
	if slices.Contains(o.Ports, 0) {
		return nil, errors.New("Ports must not contain 0")
	}
	return &guard{
		allowHTTP: o.AllowHTTP, allow: o.Allow, deny: o.Deny, ports: o.Ports,
		special: ssrf.New(ssrf.WithAnyPort(), ssrf.WithAnyNetwork(), ssrf.WithDeniedV4Prefixes(wireServer)),
	}, nil
}

// control is a net.Dialer.Control: it sees every address that is dialled, after
// the name was resolved.
func (g *guard) control(_, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrBlocked, address)
	}
	if err := g.port(a.Port()); err != nil {
		return err
	}
	return g.addr(a.Addr())
}

func (g *guard) port(port uint16) error {
	ok := slices.Contains(g.ports, port)
	if g.ports == nil {
		ok = port == 443 || port >= 1024 || port == 80 && g.allowHTTP
	}
	if !ok {
		return fmt.Errorf("%w: port %d", ErrBlocked, port)
	}
	return nil
}

func (g *guard) addr(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	contains := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case slices.ContainsFunc(g.deny, contains):
		return fmt.Errorf("%w: %v is denied", ErrBlocked, a)
	case slices.ContainsFunc(g.allow, contains):
		return nil
	case slices.Contains(g.machine(), a):
		return fmt.Errorf("%w: %v is this machine's", ErrBlocked, a)
	}
	if err := g.special.SafeAddr(a); err != nil {
		return fmt.Errorf("%w: %w", ErrBlocked, err)
	}
	return nil
}

// machine returns the addresses of this machine's interfaces.
func (g *guard) machine() []netip.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.Sub(g.at) > 30*time.Second {
		// On an error the addresses known so far go on to be refused.
		if addrs, err := net.InterfaceAddrs(); err == nil {
			g.own = g.own[:0:0]
			for _, a := range addrs {
				if p, err := netip.ParsePrefix(a.String()); err == nil {
					g.own = append(g.own, p.Addr().Unmap().WithZone(""))
				}
			}
			g.at = now
		}
	}
	return g.own
}

const maxURL = 2048

// CheckURL parses a URL. It returns [ErrURL] for a form that is not permitted
// and [ErrBlocked] for an address or a port that is not; a host name's addresses
// are judged when they are dialled.
func (c *Client) CheckURL(raw string) (*url.URL, error) {
	u, err := c.guard.url(raw)
	if err != nil {
		return nil, err
	}
	return u, nil
}

func (g *guard) url(raw string) (*url.URL, error) {
	refuse := func(why string) (*url.URL, error) { return nil, fmt.Errorf("%w: %s", ErrURL, why) }
	if len(raw) > maxURL {
		return refuse("it is longer than 2,048 bytes")
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return refuse("it holds a space, a control character or a backslash")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return refuse("it is malformed")
	case u.Scheme != "https" && !(u.Scheme == "http" && g.allowHTTP):
		if g.allowHTTP {
			return refuse("its scheme must be https or http")
		}
		return refuse("its scheme must be https")
	case u.Opaque != "" || u.Host == "" || u.Hostname() == "":
		return refuse("it has no host")
	case u.User != nil:
		return refuse("it holds user information; use Auth")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return refuse("it holds a fragment")
	}
	port, err := g.urlPort(u)
	if err != nil {
		return nil, err
	}
	if err := g.host(u.Hostname()); err != nil {
		return nil, err
	}
	if err := g.port(port); err != nil {
		return nil, err
	}
	return u, nil
}

func (g *guard) urlPort(u *url.URL) (uint16, error) {
	text := u.Port()
	if text == "" {
		if strings.HasSuffix(u.Host, ":") {
			return 0, fmt.Errorf("%w: its port is empty", ErrURL)
		}
		text = portOf(u)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%w: its port is not between 1 and 65535", ErrURL)
	}
	return uint16(port), nil
}

// host judges the host of a URL: an address, or a name of letters, digits,
// hyphens and underscores.
func (g *guard) host(host string) error {
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" {
			return fmt.Errorf("%w: its address has a zone", ErrURL)
		}
		return g.addr(a)
	}
	name := strings.TrimSuffix(host, ".")
	if len(name) > 253 {
		return fmt.Errorf("%w: its host name is too long", ErrURL)
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, notInName) {
			return fmt.Errorf("%w: its host is neither an address nor an ASCII name", ErrURL)
		}
	}
	// Resolvers read such a name as an address, each in its own way (WHATWG URL
	// Standard, "ends in a number").
	if last := labels[len(labels)-1]; numeric(last) {
		return fmt.Errorf("%w: its host ends in a number but is no address", ErrURL)
	}
	return nil
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}

func numeric(label string) bool {
	if rest, ok := strings.CutPrefix(strings.ToLower(label), "0x"); ok {
		return !strings.ContainsFunc(rest, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) })
	}
	return !strings.ContainsFunc(label, func(r rune) bool { return r < '0' || r > '9' })
}
