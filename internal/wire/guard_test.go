package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
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

// dnsServer is a resolver whose names have the addresses that answer returns.
func dnsServer(t *testing.T, answer func(name string) []netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		query := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(query)
			if err != nil {
				return
			}
			if reply := dnsReply(query[:n], answer); reply != nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// dnsReply answers a query of one question (RFC 1035, section 4).
func dnsReply(query []byte, answer func(name string) []netip.Addr) []byte {
	const header, typeA, typeAAAA = 12, 1, 28
	var labels []string
	at := header
	for query[at] != 0 {
		n := int(query[at])
		labels = append(labels, string(query[at+1:at+1+n]))
		at += 1 + n
	}
	kind := binary.BigEndian.Uint16(query[at+1:])
	question := query[header : at+5]
	var records []byte
	count := 0
	for _, a := range answer(strings.Join(labels, ".")) {
		if a.Is4() != (kind == typeA) || a.Is6() != (kind == typeAAAA) {
			continue
		}
		count++
		records = append(records, 0xc0, header) // the name in the question
		records = binary.BigEndian.AppendUint16(records, kind)
		records = append(records, 0, 1, 0, 0, 0, 0) // class IN, no time to live
		records = binary.BigEndian.AppendUint16(records, uint16(len(a.AsSlice())))
		records = append(records, a.AsSlice()...)
	}
	reply := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, byte(count), 0, 0, 0, 0}, question...)
	return append(reply, records...)
}

func TestAddresses(t *testing.T) {
	g := newClient(t, Options{}).guard
	g.interfaces = func() ([]net.Addr, error) { return nil, nil }
	g.own = nil
	for _, test := range []struct {
		address string
		allowed bool
		why     string
	}{
		{"8.8.8.8", true, "public"},
		{"1.1.1.1", true, "public"},
		{"93.184.215.14", true, "public"},
		{"9.255.255.255", true, "before 10/8"},
		{"11.0.0.0", true, "after 10/8"},
		{"100.63.255.255", true, "before 100.64/10"},
		{"100.128.0.0", true, "after 100.64/10"},
		{"126.255.255.255", true, "before 127/8"},
		{"128.0.0.0", true, "after 127/8"},
		{"169.253.255.255", true, "before 169.254/16"},
		{"172.15.255.255", true, "before 172.16/12"},
		{"172.32.0.0", true, "after 172.16/12"},
		{"192.167.255.255", true, "before 192.168/16"},
		{"223.255.255.255", true, "before multicast"},
		{"168.63.129.15", true, "beside Azure's"},
		{"2606:4700:4700::1111", true, "public"},
		{"2001:4860:4860::8888", true, "public"},
		{"2a00:1450:4001:81b::200e", true, "public"},
		{"::ffff:8.8.8.8", true, "mapped public"},

		{"0.0.0.0", false, "this network"},
		{"0.1.2.3", false, "this network"},
		{"10.0.0.0", false, "private"},
		{"10.255.255.255", false, "private"},
		{"100.64.0.0", false, "shared"},
		{"100.127.255.255", false, "shared"},
		{"100.100.100.200", false, "Alibaba Cloud's metadata"},
		{"127.0.0.1", false, "loopback"},
		{"127.1.2.3", false, "loopback"},
		{"127.255.255.255", false, "loopback"},
		{"169.254.0.1", false, "link-local"},
		{"169.254.169.254", false, "AWS's, GCP's and Azure's metadata"},
		{"169.254.170.2", false, "ECS's credentials"},
		{"169.254.169.123", false, "AWS's time"},
		{"168.63.129.16", false, "Azure's platform"},
		{"172.16.0.0", false, "private"},
		{"172.31.255.255", false, "private"},
		{"192.0.0.1", false, "protocol assignments"},
		{"192.0.0.192", false, "Oracle Cloud's metadata"},
		{"192.0.2.1", false, "documentation"},
		{"192.31.196.1", false, "AS112"},
		{"192.52.193.1", false, "AMT"},
		{"192.88.99.1", false, "6to4 relays"},
		{"192.168.0.1", false, "private"},
		{"192.168.255.255", false, "private"},
		{"192.175.48.1", false, "AS112"},
		{"198.18.0.1", false, "benchmarking"},
		{"198.19.255.255", false, "benchmarking"},
		{"198.51.100.1", false, "documentation"},
		{"203.0.113.1", false, "documentation"},
		{"224.0.0.1", false, "multicast"},
		{"239.255.255.255", false, "multicast"},
		{"240.0.0.1", false, "reserved"},
		{"255.255.255.255", false, "broadcast"},
		{"::", false, "unspecified"},
		{"::1", false, "loopback"},
		{"::ffff:0.0.0.0", false, "mapped this network"},
		{"::ffff:127.0.0.1", false, "mapped loopback"},
		{"::ffff:10.0.0.1", false, "mapped private"},
		{"::ffff:169.254.169.254", false, "mapped metadata"},
		{"::ffff:a9fe:a9fe", false, "mapped metadata"},
		{"::ffff:168.63.129.16", false, "mapped Azure's platform"},
		{"::127.0.0.1", false, "IPv4-compatible"},
		{"::8.8.8.8", false, "IPv4-compatible"},
		{"::ffff:0:127.0.0.1", false, "IPv4-translated"},
		{"64:ff9b::127.0.0.1", false, "NAT64"},
		{"64:ff9b::8.8.8.8", false, "NAT64"},
		{"64:ff9b::169.254.169.254", false, "NAT64"},
		{"64:ff9b:1::10.0.0.1", false, "local NAT64"},
		{"100::1", false, "discard"},
		{"2001::1", false, "Teredo"},
		{"2001:0:4136:e378:8000:63bf:3fff:fdd2", false, "Teredo"},
		{"2001:2::1", false, "benchmarking"},
		{"2001:10::1", false, "ORCHID"},
		{"2001:20::1", false, "ORCHIDv2"},
		{"2001:db8::1", false, "documentation"},
		{"2002:7f00:1::", false, "6to4 of loopback"},
		{"2002:a9fe:a9fe::1", false, "6to4 of metadata"},
		{"2002:808:808::1", false, "6to4"},
		{"2620:4f:8000::1", false, "AS112"},
		{"3fff::1", false, "documentation"},
		{"4000::1", false, "beyond global unicast"},
		{"5f00::1", false, "segment routing"},
		{"fc00::1", false, "unique local"},
		{"fd00:ec2::254", false, "AWS's metadata"},
		{"fd20:ce::254", false, "GCP's metadata"},
		{"fe80::1", false, "link-local"},
		{"fe80::1%eth0", false, "link-local with a zone"},
		{"2606:4700:4700::1111%eth0", true, "a zone changes nothing"},
		{"fe80::a9fe:a9fe", false, "link-local metadata"},
		{"fec0::1", false, "site-local"},
		{"ff02::1", false, "multicast"},
		{"ff0e::1", false, "global multicast"},
	} {
		err := g.address(addr(test.address))
		if (err == nil) != test.allowed {
			t.Errorf("%s (%s): %v", test.address, test.why, err)
		}
		if err != nil && !errors.Is(err, ErrBlocked) {
			t.Errorf("%s: %v is not ErrBlocked", test.address, err)
		}
		network := "tcp4"
		if addr(test.address).Is6() {
			network = "tcp6"
		}
		if got := g.control(network, netip.AddrPortFrom(addr(test.address), 443).String(), nil); (got == nil) != test.allowed {
			t.Errorf("%s (%s) at dial: %v", test.address, test.why, got)
		}
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
	} {
		if err := g.address(addr(address)); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
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

func TestAddressesAreJudgedWhenTheyAreDialled(t *testing.T) {
	var reached atomic.Int32
	address := receiver(t, func(conn net.Conn) {
		reached.Add(1)
		once("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")(conn)
	})
	_, port, _ := net.SplitHostPort(address)
	var answer atomic.Pointer[[]netip.Addr]
	resolver := dnsServer(t, func(string) []netip.Addr { return *answer.Load() })
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

// The owner of a URL must not learn what answers behind the guard.
func TestForbiddenAndUnreachableLookAlike(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	resolver := dnsServer(t, func(name string) []netip.Addr {
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
