package wire

import (
	"context"
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

// ErrBlocked says that an address, a host name or a port is forbidden. It matches
// one of the others too, where that is why: ErrPort for one that is not among
// [Options].Ports, ErrDenied for an address within Options.Deny, ErrName for a
// name that cannot be public.
var (
	ErrBlocked = errors.New("address not allowed")
	ErrPort    = errors.New("port")
	ErrDenied  = errors.New("denied")
	ErrName    = errors.New("the name is not a public one")
)

// ownFor is how long the list of the machine's own addresses is believed.
const ownFor = 30 * time.Second

// insideNames are the domains that no public DNS will ever hold: RFC 6761
// (localhost), RFC 6762 with its appendix G (local and what follows it), ICANN's
// reservation of 2024 (internal), RFC 8375 (home.arpa), and what routers and
// /etc/hosts use (localdomain).
var insideNames = []string{
	"localhost", "local", "intranet", "internal", "private", "corp", "home", "lan", "home.arpa", "localdomain",
}

var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291, section 2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765, section 2.1
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052, section 2.1
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380, section 4
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056, section 2
)

// guard judges what may be dialled.
type guard struct {
	allowHTTP   bool
	ports       []uint16
	allow, deny []netip.Prefix
	public      *ssrf.Guardian
	interfaces  func() ([]net.Addr, error)

	mu    sync.Mutex
	own   []netip.Addr
	ownAt time.Time
}

func newGuard(o Options) (*guard, error) {
	for _, p := range slices.Concat(o.Allow, o.Deny) {
		if !p.IsValid() {
			return nil, errors.New("invalid prefix among the addresses to allow or deny")
		}
		if p.Addr().Is4In6() {
			return nil, fmt.Errorf("prefix %v: write it as an IPv4 prefix, mapped addresses are judged as such", p)
		}
	}
	if slices.Contains(o.Ports, 0) {
		return nil, errors.New("port 0 among the ports to allow")
	}
	g := &guard{
		allowHTTP: o.AllowHTTP, ports: o.Ports, allow: o.Allow, deny: o.Deny,
		// Azure answers its machines at this address, which looks public.
		public:     ssrf.New(ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix("168.63.129.16/32"))),
		interfaces: net.InterfaceAddrs,
	}
	if _, err := g.ownAddresses(); err != nil {
		return nil, err
	}
	return g, nil
}

// errDials says that a name has more addresses than are tried. Whose DNS it is
// may point thousands of them at others, and have us knock there.
var errDials = errors.New("too many addresses that do not answer")

// controlFew is a net.Dialer's ControlContext: control, for as many addresses as
// an exchange may try.
func (g *guard) controlFew(ctx context.Context, network, address string, conn syscall.RawConn) error {
	if err := g.control(network, address, conn); err != nil {
		return err
	}
	if exchangeOf(ctx).dials.Add(1) > maxDials {
		return errDials
	}
	return nil
}

// control is a net.Dialer's Control: it sees every address right before it is
// connected to.
func (g *guard) control(network, address string, _ syscall.RawConn) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: %s %s", ErrBlocked, network, address)
	}
	if err := g.port(a.Port()); err != nil {
		return err
	}
	return g.address(a.Addr())
}

// target judges what a URL says by itself: its port, and its host, as far as
// that can be without resolving it.
func (g *guard) target(u *url.URL) error {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("%w: %w %s", ErrBlocked, ErrPort, port)
	}
	if err := g.port(uint16(n)); err != nil {
		return err
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		return g.address(a)
	}
	if len(g.allow) > 0 { // it may be meant, and what it resolves to decides
		return nil
	}
	return public(u.Hostname())
}

// behind is target for what a proxy resolves: no address of a name decides then.
func (g *guard) behind(u *url.URL) error {
	if err := g.target(u); err != nil {
		return err
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return nil
	}
	return public(u.Hostname())
}

// public judges a host name before anything resolves it. Names that only the
// sender's own network can know are refused, as a single label is, which its
// search list completes.
func public(host string) error {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	within := func(domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }
	if !strings.Contains(name, ".") || slices.ContainsFunc(insideNames, within) {
		return fmt.Errorf("%w: %w", ErrBlocked, ErrName)
	}
	return nil
}

func (g *guard) port(port uint16) error {
	allowed := slices.Contains(g.ports, port)
	if g.ports == nil {
		allowed = port == 443 || port >= 1024 || port == 80 && g.allowHTTP
	}
	if !allowed {
		return fmt.Errorf("%w: %w %d", ErrBlocked, ErrPort, port)
	}
	return nil
}

// address judges an address and the IPv4 addresses that it stands for, to which
// a translator or a tunnel would send what is sent to it.
func (g *guard) address(a netip.Addr) error {
	a = a.Unmap().WithZone("") // a prefix contains no address with a zone
	if err := g.plain(a); err != nil {
		return err
	}
	for _, inner := range embedded(a) {
		if err := g.plain(inner); err != nil {
			return fmt.Errorf("%v stands for %v: %w", a, inner, err)
		}
	}
	return nil
}

func (g *guard) plain(a netip.Addr) error {
	within := func(p netip.Prefix) bool { return p.Contains(a) }
	if slices.ContainsFunc(g.deny, within) {
		return fmt.Errorf("%w: %v is %w", ErrBlocked, a, ErrDenied)
	}
	if slices.ContainsFunc(g.allow, within) {
		return nil
	}
	if err := g.public.SafeAddr(a); err != nil {
		return fmt.Errorf("%w: %w", ErrBlocked, err)
	}
	own, err := g.ownAddresses()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBlocked, err)
	}
	if slices.Contains(own, a) {
		return fmt.Errorf("%w: %v belongs to this machine", ErrBlocked, a)
	}
	return nil
}

// embedded returns the IPv4 addresses that an IPv6 address stands for, as far as
// its form tells. Networks that translate or tunnel under a prefix of their own
// (RFC 6052, section 2.2; RFC 5969) do not tell.
func embedded(a netip.Addr) []netip.Addr {
	if !a.Is6() {
		return nil
	}
	b := a.As16()
	inner := func(w, x, y, z int) []netip.Addr {
		return []netip.Addr{netip.AddrFrom4([4]byte{b[w], b[x], b[y], b[z]})}
	}
	switch {
	case a == netip.IPv6Unspecified(), a == netip.IPv6Loopback():
		return nil
	case compatible.Contains(a), translated.Contains(a), nat64.Contains(a):
		return inner(12, 13, 14, 15)
	case nat64Local.Contains(a):
		// The prefix of the network is of 48, 56, 64 or 96 bits. An address in one
		// of the shorter forms ends in zeros, and all but the last skip byte 8.
		switch {
		case b[13]|b[14]|b[15] != 0:
			return inner(12, 13, 14, 15)
		case b[12] != 0:
			return inner(9, 10, 11, 12)
		case b[11] != 0:
			return inner(7, 9, 10, 11)
		}
		return inner(6, 7, 9, 10)
	case sixToFour.Contains(a):
		return inner(2, 3, 4, 5)
	case teredo.Contains(a): // the server and, with its bits inverted, the client
		client := netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
		return append(inner(4, 5, 6, 7), client)
	case b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP, under any prefix: RFC 5214, section 6.1
		return inner(12, 13, 14, 15)
	}
	return nil
}

// ownAddresses lists the addresses of the machine's interfaces. Where that no
// longer succeeds, the last list that was had goes on being used.
func (g *guard) ownAddresses() ([]netip.Addr, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.own != nil && time.Since(g.ownAt) < ownFor {
		return g.own, nil
	}
	list, err := g.interfaces()
	if err != nil && g.own == nil {
		return nil, fmt.Errorf("listing this machine's addresses: %w", err)
	}
	if err == nil {
		g.own = make([]netip.Addr, 0, len(list))
		for _, i := range list {
			if n, ok := i.(*net.IPNet); ok {
				a, _ := netip.AddrFromSlice(n.IP)
				g.own = append(g.own, a.Unmap())
			}
		}
	}
	g.ownAt = time.Now()
	return g.own, nil
}
