package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// ErrBlocked says that an address or a port is forbidden. It matches one of the
// others too, where that is why: ErrPort for one that is not among
// [Options].Ports, ErrDenied for an address within Options.Deny.
var (
	ErrBlocked = errors.New("address not allowed")
	ErrPort    = errors.New("port")
	ErrDenied  = errors.New("denied")
)

// ownFor is how long the list of the machine's own addresses is believed.
const ownFor = 30 * time.Second

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

// target judges what a URL says by itself: its port, and its host if that is an
// address.
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

func (g *guard) address(a netip.Addr) error {
	a = a.Unmap().WithZone("") // a prefix contains no address with a zone
	within := func(p netip.Prefix) bool { return p.Contains(a) }
	if slices.ContainsFunc(g.deny, within) {
		return fmt.Errorf("%w: %v is %w", ErrBlocked, a, ErrDenied)
	}
	if slices.ContainsFunc(g.allow, within) {
		if ssrf.IPv6NAT64Prefix.Contains(a) {
			b := a.As16()
			return g.address(netip.AddrFrom4([4]byte(b[12:])))
		}
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
