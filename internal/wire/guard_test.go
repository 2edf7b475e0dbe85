package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outhook/webhook/internal/hostile"
)

func itoa(n int) string { return strconv.Itoa(n) }
func hex(n int) string  { return strconv.FormatInt(int64(n), 16) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(ss ...string) (ps []netip.Prefix) {
	for _, s := range ss {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// outside is why ssrf refuses all that is not within 2000::/3.
const outside = "outside of the IPv6 Global Unicast range"

// addresses is what the guard says of an address by default: nothing, or why it
// is forbidden, in the words that the operator reads.
var addresses = []struct{ address, reason, what string }{
	{"8.8.8.8", "", "public"},
	{"1.1.1.1", "", "public"},
	{"93.184.215.14", "", "public"},
	{"9.255.255.255", "", "before 10/8"},
	{"11.0.0.0", "", "after 10/8"},
	{"100.63.255.255", "", "before 100.64/10"},
	{"100.128.0.0", "", "after 100.64/10"},
	{"126.255.255.255", "", "before 127/8"},
	{"128.0.0.0", "", "after 127/8"},
	{"169.253.255.255", "", "before 169.254/16"},
	{"172.15.255.255", "", "before 172.16/12"},
	{"172.32.0.0", "", "after 172.16/12"},
	{"192.167.255.255", "", "before 192.168/16"},
	{"223.255.255.255", "", "before multicast"},
	{"168.63.129.15", "", "beside Azure's"},
	{"2606:4700:4700::1111", "", "public"},
	{"2001:4860:4860::8888", "", "public"},
	{"2a00:1450:4001:81b::200e", "", "public"},
	{"::ffff:8.8.8.8", "", "mapped public"},
	{"2606:4700:4700::1111%eth0", "", "a zone changes nothing"},
	{"192.0.1.0", "", "after 192.0.0/24"},
	{"198.17.255.255", "", "before 198.18/15"},
	{"198.20.0.0", "", "after 198.18/15"},
	{"203.0.112.255", "", "before 203.0.113/24"},
	{"169.255.0.0", "", "after 169.254/16"},
	{"1.0.0.0", "", "after 0/8"},
	{"191.255.255.255", "", "an ordinary address"},
	{"192.169.0.0", "", "after 192.168/16"},
	{"2001:200::1", "", "after 2001::/23"},
	{"2001:db7:ffff::1", "", "before 2001:db8::/32"},
	{"2001:db9::1", "", "after 2001:db8::/32"},
	{"2003::1", "", "after 2002::/16"},
	{"2620:4f:8001::1", "", "after 2620:4f:8000::/48"},
	{"3ffe:ffff::1", "", "before 3fff::/20, unassigned"},
	{"3fff:1000::1", "", "after 3fff::/20, unassigned"},
	{"2a00::5efe:8.8.8.8", "", "ISATAP of public"},
	{"2a00::5eff:10.0.0.1", "", "nearly ISATAP"},
	{"2a00::400:5efe:10.0.0.1", "", "nearly ISATAP"},

	{"0.0.0.0", "denied by: 0.0.0.0/8", "this network"},
	{"0.1.2.3", "denied by: 0.0.0.0/8", "this network"},
	{"10.0.0.0", "denied by: 10.0.0.0/8", "private"},
	{"10.255.255.255", "denied by: 10.0.0.0/8", "private"},
	{"100.64.0.0", "denied by: 100.64.0.0/10", "shared"},
	{"100.127.255.255", "denied by: 100.64.0.0/10", "shared"},
	{"100.100.100.200", "denied by: 100.64.0.0/10", "Alibaba Cloud's metadata"},
	{"127.0.0.1", "denied by: 127.0.0.0/8", "loopback"},
	{"127.1.2.3", "denied by: 127.0.0.0/8", "loopback"},
	{"127.255.255.255", "denied by: 127.0.0.0/8", "loopback"},
	{"169.254.0.1", "denied by: 169.254.0.0/16", "link-local"},
	{"169.254.169.254", "denied by: 169.254.0.0/16", "AWS's, GCP's and Azure's metadata"},
	{"169.254.170.2", "denied by: 169.254.0.0/16", "ECS's credentials"},
	{"169.254.169.123", "denied by: 169.254.0.0/16", "AWS's time"},
	{"168.63.129.16", "denied by: 168.63.129.16/32", "Azure's platform"},
	{"172.16.0.0", "denied by: 172.16.0.0/12", "private"},
	{"172.31.255.255", "denied by: 172.16.0.0/12", "private"},
	{"192.0.0.1", "denied by: 192.0.0.0/24", "protocol assignments"},
	{"192.0.0.192", "denied by: 192.0.0.0/24", "Oracle Cloud's metadata"},
	{"192.0.2.1", "denied by: 192.0.2.0/24", "documentation"},
	{"192.31.196.1", "denied by: 192.31.196.0/24", "AS112"},
	{"192.52.193.1", "denied by: 192.52.193.0/24", "AMT"},
	{"192.88.99.1", "denied by: 192.88.99.0/24", "6to4 relays"},
	{"192.168.0.1", "denied by: 192.168.0.0/16", "private"},
	{"192.168.255.255", "denied by: 192.168.0.0/16", "private"},
	{"192.175.48.1", "denied by: 192.175.48.0/24", "AS112"},
	{"198.18.0.1", "denied by: 198.18.0.0/15", "benchmarking"},
	{"198.19.255.255", "denied by: 198.18.0.0/15", "benchmarking"},
	{"198.51.100.1", "denied by: 198.51.100.0/24", "documentation"},
	{"203.0.113.1", "denied by: 203.0.113.0/24", "documentation"},
	{"224.0.0.1", "denied by: 224.0.0.0/4", "multicast"},
	{"239.255.255.255", "denied by: 224.0.0.0/4", "multicast"},
	{"240.0.0.1", "denied by: 240.0.0.0/4", "reserved"},
	{"255.255.255.255", "denied by: 240.0.0.0/4", "broadcast"},
	{"::", outside, "unspecified"},
	{"::1", outside, "loopback"},
	{"::ffff:0.0.0.0", "denied by: 0.0.0.0/8", "mapped this network"},
	{"::ffff:127.0.0.1", "denied by: 127.0.0.0/8", "mapped loopback"},
	{"::ffff:10.0.0.1", "denied by: 10.0.0.0/8", "mapped private"},
	{"::ffff:169.254.169.254", "denied by: 169.254.0.0/16", "mapped metadata"},
	{"::ffff:a9fe:a9fe", "denied by: 169.254.0.0/16", "mapped metadata"},
	{"::ffff:168.63.129.16", "denied by: 168.63.129.16/32", "mapped Azure's platform"},
	{"::127.0.0.1", outside, "IPv4-compatible"},
	{"::8.8.8.8", outside, "IPv4-compatible"},
	{"::ffff:0:127.0.0.1", outside, "IPv4-translated"},
	{"64:ff9b::127.0.0.1", outside, "NAT64"},
	{"64:ff9b::8.8.8.8", outside, "NAT64"},
	{"64:ff9b::169.254.169.254", outside, "NAT64"},
	{"64:ff9b:1::10.0.0.1", outside, "local NAT64"},
	{"100::1", outside, "discard"},
	{"2001::1", "denied by: 2001::/23", "Teredo"},
	{"2001:0:4136:e378:8000:63bf:3fff:fdd2", "denied by: 2001::/23", "Teredo"},
	{"2001:2::1", "denied by: 2001::/23", "benchmarking"},
	{"2001:10::1", "denied by: 2001::/23", "ORCHID"},
	{"2001:20::1", "denied by: 2001::/23", "ORCHIDv2"},
	{"2001:db8::1", "denied by: 2001:db8::/32", "documentation"},
	{"2002:7f00:1::", "denied by: 2002::/16", "6to4 of loopback"},
	{"2002:a9fe:a9fe::1", "denied by: 2002::/16", "6to4 of metadata"},
	{"2002:808:808::1", "denied by: 2002::/16", "6to4"},
	{"2620:4f:8000::1", "denied by: 2620:4f:8000::/48", "AS112"},
	{"3fff::1", "denied by: 3fff::/20", "documentation"},
	{"4000::1", outside, "beyond global unicast"},
	{"5f00::1", outside, "segment routing"},
	{"fc00::1", outside, "unique local"},
	{"fd00:ec2::254", outside, "AWS's metadata"},
	{"fd20:ce::254", outside, "GCP's metadata"},
	{"fe80::1", outside, "link-local"},
	{"fe80::1%eth0", outside, "link-local with a zone"},
	{"fe80::a9fe:a9fe", outside, "link-local metadata"},
	{"fec0::1", outside, "site-local"},
	{"ff02::1", outside, "multicast"},
	{"ff0e::1", outside, "global multicast"},
	{"::ffff:100.100.100.200", "denied by: 100.64.0.0/10", "mapped, Alibaba Cloud's metadata"},
	{"::ffff:192.0.0.192", "denied by: 192.0.0.0/24", "mapped, Oracle Cloud's metadata"},
	{"0:0:0:0:0:ffff:7f00:1", "denied by: 127.0.0.0/8", "mapped loopback, at length"},
	{"169.254.0.23", "denied by: 169.254.0.0/16", "Tencent Cloud's metadata"},
	{"169.254.42.42", "denied by: 169.254.0.0/16", "Scaleway's metadata"},
	{"169.254.170.23", "denied by: 169.254.0.0/16", "EKS's credentials"},
	{"fd00:ec2::23", outside, "EKS's credentials"},
	{"fe80::1234:5678:9abc", outside, "Azure's gateway"},
	{"192.0.0.8", "denied by: 192.0.0.0/24", "IPv4 dummy address"},
	{"192.0.0.170", "denied by: 192.0.0.0/24", "NAT64 discovery"},
	{"192.168.122.1", "denied by: 192.168.0.0/16", "libvirt's host"},
	{"172.17.0.1", "denied by: 172.16.0.0/12", "Docker's host"},
	{"10.96.0.1", "denied by: 10.0.0.0/8", "Kubernetes' API"},
	{"100:0:0:1::1", outside, "dummy prefix"},
	{"100:0:0:0:ffff:ffff:ffff:ffff", outside, "discard"},
	{"64:ff9b:1:7f00:0:100::", outside, "local NAT64, in the form of 48 bits"},
	{"64:ff9b:1:ffff:ffff:ffff:ffff:ffff", outside, "local NAT64"},
	{"2001:1::1", "denied by: 2001::/23", "port control anycast"},
	{"2001:3::1", "denied by: 2001::/23", "AMT"},
	{"2001:4:112::1", "denied by: 2001::/23", "AS112"},
	{"2001:30::1", "denied by: 2001::/23", "drone remote ID"},
	{"2001:1ff:ffff::1", "denied by: 2001::/23", "protocol assignments, the last"},
	{"3fff:fff:ffff::1", "denied by: 3fff::/20", "documentation, the last"},
	{"5f00:ffff::1", outside, "segment routing"},
	{"2a00::5efe:10.0.0.1", "stands for 10.0.0.1", "ISATAP of private"},
	{"2a00::200:5efe:169.254.169.254", "stands for 169.254.169.254", "ISATAP of metadata"},
	{"fe80::5efe:10.0.0.1", outside, "link-local ISATAP"},
}

func TestAddresses(t *testing.T) {
	g := newClient(t, Options{}).guard
	g.interfaces = func() ([]net.Addr, error) { return nil, nil }
	g.own = nil
	for _, test := range addresses {
		err := g.address(addr(test.address))
		wantVerdict(t, fmt.Sprintf("%s (%s)", test.address, test.what), err, test.reason)
		network := "tcp4"
		if addr(test.address).Is6() {
			network = "tcp6"
		}
		err = g.control(network, netip.AddrPortFrom(addr(test.address), 443).String(), nil)
		wantVerdict(t, test.address+" at dial", err, test.reason)
	}
}

// wantVerdict checks that err is nil where there is no reason, and otherwise
// ErrBlocked with that reason.
func wantVerdict(t *testing.T, what string, err error, reason string) {
	t.Helper()
	switch {
	case reason == "" && err != nil:
		t.Errorf("%s: %v, want it allowed", what, err)
	case reason != "" && (!errors.Is(err, ErrBlocked) || !strings.Contains(err.Error(), reason)):
		t.Errorf("%s: %v, want it forbidden by %q", what, err, reason)
	}
}

func TestDenyBeatsAllowBeatsDefault(t *testing.T) {
	g := newClient(t, Options{
		Allow: prefixes("10.0.0.0/8", "127.0.0.0/8", "64:ff9b::/96", "fd00::/8", "fe80::/10"),
		Deny:  prefixes("10.1.0.0/16", "8.8.8.0/24", "2606:4700::/32", "fd00:1::/32"),
	}).guard
	for address, allowed := range map[string]bool{
		"10.0.0.1":                  true,
		"::ffff:10.0.0.1":           true,
		"127.0.0.1":                 true, // though it is the machine's own
		"10.1.0.1":                  false,
		"::ffff:10.1.0.1":           false,
		"8.8.8.8":                   false,
		"::ffff:8.8.8.8":            false,
		"8.8.4.4":                   true,
		"192.168.0.1":               false,
		"2606:4700::1":              false,
		"2606:4700::1%eth0":         false,
		"fd00::1":                   true,
		"fd00:1::1":                 false,
		"fe80::1%eth0":              true,
		"64:ff9b::8.8.4.4":          true,
		"64:ff9b::10.0.0.1":         true,
		"64:ff9b::10.1.0.1":         false,
		"64:ff9b::8.8.8.8":          false,
		"64:ff9b::169.254.169.254":  false,
		"64:ff9b:1::169.254.169.25": false,
		"fd00::5efe:10.0.0.1":       true, // ISATAP
		"fd00::5efe:10.1.0.1":       false,
		"fd00::5efe:127.0.0.1":      true,
		"fd00::200:5efe:172.16.0.1": false,
		"2a00::5efe:10.0.0.1":       true,
		"2a00::5efe:8.8.8.8":        false,
	} {
		if err := g.address(addr(address)); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Who allows the addresses of a translator or a tunnel does not allow by that
// what lies behind it.
func TestAddressesThatStandForOthers(t *testing.T) {
	g := newClient(t, Options{
		Allow: prefixes("::/0"), // all that IPv6 reaches by itself
		Deny:  prefixes("9.9.9.9/32"),
	}).guard
	for _, test := range []struct{ address, reason string }{
		{"::1", ""},
		{"::", ""},
		{"fd00::1", ""},
		{"fd00:ec2::254", ""},
		{"2001:db8::10.0.0.1", ""}, // not a form that stands for another
		{"::8.8.8.8", ""},
		{"::127.0.0.1", "stands for 127.0.0.1"},
		{"::2", "stands for 0.0.0.2"},
		{"::9.9.9.9", "denied"},
		{"::ffff:127.0.0.1", "denied by: 127.0.0.0/8"},
		{"::ffff:0:8.8.8.8", ""},
		{"::ffff:0:10.0.0.1", "stands for 10.0.0.1"},
		{"64:ff9b::8.8.8.8", ""},
		{"64:ff9b::9.9.9.9", "denied"},
		{"64:ff9b::169.254.169.254", "stands for 169.254.169.254"},
		{"64:ff9b:1::8.8.8.8", ""}, // prefix of 96 bits
		{"64:ff9b:1::10.0.0.1", "stands for 10.0.0.1"},
		{"64:ff9b:1:abcd::10.0.0.1", "stands for 10.0.0.1"},
		{"64:ff9b:1:abcd:8:808:800::", ""}, // of 64 bits
		{"64:ff9b:1:abcd:a:0:100::", "stands for 10.0.0.1"},
		{"64:ff9b:1:ab08:8:808::", ""}, // of 56 bits
		{"64:ff9b:1:ab0a:0:1::", "stands for 10.0.0.1"},
		{"64:ff9b:1:808:8:800::", ""}, // of 48 bits
		{"64:ff9b:1:a00:0:100::", "stands for 10.0.0.1"},
		{"64:ff9b:1:7f00:0:100::", "stands for 127.0.0.1"},
		{"2002:808:808::1", ""},
		{"2002:7f00:1::", "stands for 127.0.0.1"},
		{"2002:a9fe:a9fe::1", "stands for 169.254.169.254"},
		{"2001:0:808:808::f7f7:f7f7", ""},                           // Teredo: server 8.8.8.8, client 8.8.8.8
		{"2001:0:a00:1::f7f7:f7f7", "stands for 10.0.0.1"},          // the server
		{"2001:0:808:808::5601:5601", "stands for 169.254.169.254"}, // the client
		{"2a00::5efe:8.8.8.8", ""},
		{"fe80::5efe:10.0.0.1", "stands for 10.0.0.1"},
		{"2a00::200:5efe:10.0.0.1", "stands for 10.0.0.1"},
	} {
		wantVerdict(t, test.address, g.address(addr(test.address)), test.reason)
	}
	g = newClient(t, Options{Allow: prefixes("::/0", "0.0.0.0/0")}).guard
	for _, test := range addresses {
		wantVerdict(t, test.address+", all allowed", g.address(addr(test.address)), "")
	}
}

func TestPorts(t *testing.T) {
	for _, test := range []struct {
		o       Options
		allowed []int
		blocked []int
	}{
		{Options{}, []int{443, 1024, 8443, 65535}, []int{0, 1, 22, 25, 53, 80, 442, 444, 1023}},
		{Options{AllowHTTP: true}, []int{80, 443, 8080}, []int{22, 81, 1023}},
		{Options{Ports: []uint16{443, 25}}, []int{443, 25}, []int{80, 8443}},
		{Options{Ports: []uint16{443}, AllowHTTP: true}, []int{443}, []int{80, 8080}},
		{Options{Ports: []uint16{}}, nil, []int{443, 8443}},
	} {
		g := newClient(t, test.o).guard
		check := func(port int, allowed bool) {
			err := g.control("tcp4", "8.8.8.8:"+itoa(port), nil)
			if (err == nil) != allowed || err != nil && !(errors.Is(err, ErrBlocked) && errors.Is(err, ErrPort)) {
				t.Errorf("%+v: port %d: %v", test.o, port, err)
			}
		}
		for _, port := range test.allowed {
			check(port, true)
		}
		for _, port := range test.blocked {
			check(port, false)
		}
	}
}

func TestControlRefusesWhatItDoesNotKnow(t *testing.T) {
	g := newClient(t, Options{}).guard
	for _, c := range [][2]string{{"udp4", "8.8.8.8:443"}, {"unix", "/run/x.sock"}, {"tcp4", "example.com:443"}, {"tcp4", "8.8.8.8"}, {"tcp", "8.8.8.8:443"}} {
		if err := g.control(c[0], c[1], nil); !errors.Is(err, ErrBlocked) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestOptionsThatCannotBeMeant(t *testing.T) {
	for _, o := range []Options{
		{Allow: []netip.Prefix{{}}},
		{Deny: []netip.Prefix{{}}},
		{Deny: prefixes("::ffff:10.0.0.0/104")},
		{Ports: []uint16{443, 0}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestOwnAddressesAreForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newClient(t, Options{Allow: prefixes("5.5.5.0/24")}).guard
		own, calls := []string{"5.5.5.5", "6.6.6.6", "2a00::6"}, 0
		var fails error
		g.interfaces = func() (list []net.Addr, err error) {
			calls++
			for _, s := range own {
				list = append(list, &net.IPNet{IP: net.ParseIP(s)})
			}
			return list, fails
		}
		g.own = nil
		check := func(address string, allowed bool) {
			t.Helper()
			if err := g.address(addr(address)); (err == nil) != allowed || err != nil && !errors.Is(err, ErrBlocked) {
				t.Errorf("%s: %v", address, err)
			}
		}
		check("5.5.5.5", true) // Allow beats the default
		check("6.6.6.6", false)
		check("::ffff:6.6.6.6", false)
		check("2a00::6", false)
		check("7.7.7.7", true)

		own = []string{"7.7.7.7"}
		time.Sleep(29 * time.Second)
		check("7.7.7.7", true)
		if calls != 1 {
			t.Errorf("asked %d times within 30 s, want once", calls)
		}
		time.Sleep(time.Second)
		check("7.7.7.7", false)
		check("6.6.6.6", true)

		fails = errors.New("no more file descriptors")
		time.Sleep(time.Minute)
		check("7.7.7.7", false) // by the old list
		check("6.6.6.6", true)
		if calls != 3 {
			t.Errorf("asked %d times, want 3", calls)
		}
		g.own = nil
		check("6.6.6.6", false) // there is no list
	})
}

func TestInterfacesOfThisMachineAreForbidden(t *testing.T) {
	own, err := newClient(t, Options{}).guard.ownAddresses()
	if err != nil || len(own) == 0 {
		t.Fatalf("%v, %v", own, err)
	}
	g := newClient(t, Options{}).guard
	for _, a := range own {
		if err := g.address(a); !errors.Is(err, ErrBlocked) {
			t.Errorf("%v: %v", a, err)
		}
	}
}

// The same table, by way of a name that resolves to the address. Nothing is
// dialled: what the guard allows is stopped right after it.
func TestAddressesThatNamesResolveTo(t *testing.T) {
	var (
		answer netip.Addr
		errs   []error
	)
	c := newClient(t, Options{Resolver: hostile.Resolver(func(string) []netip.Addr { return []netip.Addr{answer} })})
	c.guard.interfaces = func() ([]net.Addr, error) { return nil, nil }
	c.guard.own = nil
	judge, stop := c.dialer.ControlContext, errors.New("stop")
	c.dialer.ControlContext = func(ctx context.Context, network, address string, conn syscall.RawConn) error {
		err := judge(ctx, network, address, conn)
		errs = append(errs, err)
		return cmp.Or(err, stop)
	}
	for _, test := range addresses {
		if answer = addr(test.address); answer.Zone() != "" {
			continue // DNS has none
		}
		for _, host := range []string{"a.example", "alias.a.example", "alias.alias.a.example."} {
			errs = nil
			_, err := post(t, c, "https://"+host+"/", "{}")
			if err == nil || err.Error() != "connection failed" || len(errs) == 0 {
				t.Fatalf("%s as %s: %v (%v) after %d dials", host, test.address, err, errors.Unwrap(err), len(errs))
			}
			for _, err := range errs { // net dials "::" as 0.0.0.0 too
				wantVerdict(t, host+" as "+test.address, err, test.reason[:min(len(test.reason), 1)])
			}
			wantVerdict(t, host+" as "+test.address, errors.Join(errs...), test.reason)
			if errors.Is(err, ErrBlocked) != (test.reason != "") {
				t.Errorf("%s as %s: the operator is told %v", host, test.address, errors.Unwrap(err))
			}
		}
	}
}

func TestAddressesAreJudgedWhenTheyAreDialled(t *testing.T) {
	var reached atomic.Int32
	address := receiver(t, func(conn net.Conn) {
		reached.Add(1)
		once("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")(conn)
	})
	_, port, _ := net.SplitHostPort(address)
	var answer atomic.Pointer[[]netip.Addr]
	resolver := hostile.Resolver(func(string) []netip.Addr { return *answer.Load() })
	resolve := func(addresses ...string) {
		var list []netip.Addr
		for _, a := range addresses {
			list = append(list, addr(a))
		}
		answer.Store(&list)
	}
	blocked := func(c *Client, what string) {
		t.Helper()
		before := reached.Load()
		_, err := post(t, c, "http://rebind.example:"+port, "{}")
		if !errors.Is(err, ErrBlocked) || err.Error() != "connection failed" {
			t.Errorf("%s: %v, %v", what, err, errors.Unwrap(err))
		}
		if reached.Load() != before {
			t.Errorf("%s: the receiver was reached", what)
		}
	}

	c := newClient(t, Options{AllowHTTP: true, Resolver: resolver})
	for _, a := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.169.254", "64:ff9b::7f00:1"} {
		resolve(a)
		blocked(c, a)
	}
	resolve("127.0.0.1", "::1", "10.0.0.1")
	blocked(c, "several")

	// The first look-up says what is allowed, the next one something else.
	c = newClient(t, Options{AllowHTTP: true, Resolver: resolver, Allow: prefixes("127.0.0.1/32"), Deny: prefixes("127.0.0.2/32")})
	resolve("127.0.0.1")
	if res, err := post(t, c, "http://rebind.example:"+port, "{}"); err != nil || res.StatusCode != 204 {
		t.Fatalf("%+v, %v", res, err)
	}
	resolve("127.0.0.2")
	blocked(c, "rebound")

	// One that is allowed is dialled though its neighbour is not.
	resolve("127.0.0.2", "127.0.0.1")
	if res, err := post(t, c, "http://rebind.example:"+port, "{}"); err != nil || res.StatusCode != 204 {
		t.Errorf("%+v, %v", res, err)
	}
	resolve()
	_, err := post(t, c, "http://rebind.example:"+port, "{}")
	if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound || err.Error() != "connection failed" {
		t.Errorf("a name without addresses: %v, %v", err, errors.Unwrap(err))
	}
	if n := reached.Load(); n != 2 {
		t.Errorf("the receiver was reached %d times, want 2", n)
	}
}

// What is kept is a connection to an address that was judged: another answer of
// the DNS neither ends it nor redirects it.
func TestAKeptConnectionIsNotRebound(t *testing.T) {
	var conns atomic.Int32
	answer := answering("HTTP/1.1 204 No Content\r\n\r\n")
	_, port, _ := net.SplitHostPort(receiver(t, func(conn net.Conn) {
		conns.Add(1)
		answer(conn)
	}))
	var resolved atomic.Pointer[netip.Addr]
	resolve := func(s string) { a := addr(s); resolved.Store(&a) }
	c := newClient(t, Options{
		AllowHTTP: true, Allow: prefixes("127.0.0.1/32"),
		Resolver: hostile.Resolver(func(string) []netip.Addr { return []netip.Addr{*resolved.Load()} }),
	})
	url := "http://rebind.example:" + port
	resolve("127.0.0.1")
	for _, a := range []string{"127.0.0.1", "169.254.169.254", "127.0.0.2"} {
		resolve(a)
		if res, err := post(t, c, url, "{}"); err != nil || res.StatusCode != 204 {
			t.Fatalf("%s: %+v, %v", a, res, err)
		}
	}
	c.CloseIdle()
	if _, err := post(t, c, url, "{}"); !errors.Is(err, ErrBlocked) {
		t.Errorf("a new connection: %v", err)
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// A name may have thousands of addresses, and its owner point them at others.
func TestANameWithManyAddressesIsDialledAFewTimes(t *testing.T) {
	var many []netip.Addr
	for a := addr("127.1.0.0"); len(many) < 3000; a = a.Next() {
		many = append(many, a)
	}
	dials := 0
	c := newClient(t, Options{AllowHTTP: true, Allow: loopback, Resolver: hostile.Resolver(func(string) []netip.Addr { return many })})
	judge := c.dialer.ControlContext
	c.dialer.ControlContext = func(ctx context.Context, network, address string, conn syscall.RawConn) error {
		err := judge(ctx, network, address, conn)
		if err == nil {
			dials++
			return syscall.ECONNREFUSED
		}
		return err
	}
	for range 2 {
		dials = 0
		if _, err := post(t, c, "http://many.example/", "{}"); err == nil || err.Error() != "connection failed" {
			t.Errorf("%v (%v)", err, errors.Unwrap(err))
		}
		if dials != maxDials {
			t.Errorf("%d of %d addresses were dialled, want %d", dials, len(many), maxDials)
		}
	}
}

// No variable of the environment sends requests elsewhere.
func TestProxiesOfTheEnvironmentAreIgnored(t *testing.T) {
	var reached atomic.Int32
	proxy := receiver(t, func(net.Conn) { reached.Add(1) })
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, "http://"+proxy)
		t.Setenv(strings.ToLower(name), "http://"+proxy)
	}
	// Proxies of the environment are not for loopback's names and addresses; the
	// environment is read once in a process, perhaps by an earlier run of this test.
	probe, _ := http.NewRequest(http.MethodPost, "http://name.example/", nil)
	if u, err := http.ProxyFromEnvironment(probe); err != nil || u == nil {
		t.Fatalf("the environment's proxy is %v, %v", u, err)
	}
	_, port, _ := net.SplitHostPort(receiver(t, answering("HTTP/1.1 204 No Content\r\n\r\n")))
	c := newClient(t, Options{AllowHTTP: true, Allow: loopback, Resolver: hostile.Resolver(func(string) []netip.Addr { return []netip.Addr{addr("127.0.0.1")} })})
	if res, err := post(t, c, "http://name.example:"+port, "{}"); err != nil || res.StatusCode != 204 {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := post(t, newClient(t, Options{AllowHTTP: true}), "http://127.0.0.1.example/", "{}"); err == nil {
		t.Error("a name that does not exist was reached")
	}
	if reached.Load() > 0 {
		t.Error("the proxy was asked")
	}
}

// The owner of a URL must not learn what answers behind the guard.
func TestForbiddenAndUnreachableLookAlike(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	resolver := hostile.Resolver(func(name string) []netip.Addr {
		if name == "none.example" {
			return nil
		}
		return []netip.Addr{addr("127.0.0.1")}
	})
	open := newClient(t, Options{AllowHTTP: true, Allow: loopback, Resolver: resolver})
	guarded := newClient(t, Options{AllowHTTP: true, Resolver: resolver})
	_, refused := post(t, open, "http://some.example:"+port, "{}")
	_, unknown := post(t, open, "http://none.example:"+port, "{}")
	_, blocked := post(t, guarded, "http://some.example:"+port, "{}")
	if refused == nil || unknown == nil || blocked == nil || refused.Error() != blocked.Error() || unknown.Error() != blocked.Error() {
		t.Errorf("refused %q, unknown %q, blocked %q", refused, unknown, blocked)
	}
	if errors.Is(refused, ErrBlocked) || !errors.Is(blocked, ErrBlocked) || !strings.Contains(errors.Unwrap(blocked).Error(), "127.0.0.1") {
		t.Errorf("the operator sees %v and %v", errors.Unwrap(refused), errors.Unwrap(blocked))
	}
}
