package wire

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestURLs(t *testing.T) {
	long := func(n int) string { return "https://example.com/" + strings.Repeat("a", n-len("https://example.com/")) }
	label := func(n int) string { return strings.Repeat("a", n) }
	for _, test := range []struct {
		raw  string
		want error
	}{
		{"https://example.com", nil},
		{"https://example.com/", nil},
		{"https://example.com/hook?a=b&c=d;e", nil},
		{"https://example.com?a=b", nil},
		{"https://example.com:443/", nil},
		{"https://example.com:8443/a/b", nil},
		{"https://example.com:1024/", nil},
		{"https://example.com:65535/", nil},
		{"HTTPS://EXAMPLE.COM/", nil},
		{"https://example.com./", nil},
		{"https://localhost/", nil}, // judged by its address
		{"https://hooks/", nil},
		{"https://a-b.c_d.example/", nil},
		{"https://_hooks.example.com/", nil},
		{"https://xn--mnchen-3ya.example/", nil},
		{"https://1.example/", nil},
		{"https://1.2.3.4.example/", nil},
		{"https://0x7f.1.example/", nil},
		{"https://example.0xg/", nil},
		{"https://example.1a/", nil},
		{"https://8.8.8.8/", nil},
		{"https://[2606:4700:4700::1111]/", nil},
		{"https://[2606:4700:4700::1111]:8443/", nil},
		{"https://[2606:4700:4700:0:0:0:0:1111]/", nil},
		{"https://[::ffff:8.8.8.8]/", nil},
		{"https://example.com/%e4%b8%ad?x=%0d%0a", nil},
		{"https://example.com/a@b:c", nil},
		{"https://example.com//a", nil},
		{long(2048), nil},
		{"https://" + label(63) + ".example/", nil},
		{"https://" + strings.Repeat(label(49)+".", 5) + "com/", nil}, // 253

		{"", ErrURL},
		{"example.com", ErrURL},
		{"//example.com/", ErrURL},
		{"/hook", ErrURL},
		{"http://example.com/", ErrHTTP},
		{"ftp://example.com/", ErrURL},
		{"file:///etc/passwd", ErrURL},
		{"javascript:alert(1)", ErrURL},
		{"gopher://example.com/", ErrURL},
		{"unix:///run/docker.sock", ErrURL},
		{"https:example.com", ErrURL},
		{"https:/example.com", ErrURL},
		{"https:///example.com", ErrURL},
		{"https://", ErrURL},
		{"https://:443/", ErrURL},
		{"https://?a", ErrURL},
		{"https://user@example.com/", ErrURL},
		{"https://user:password@example.com/", ErrURL},
		{"https://@example.com/", ErrURL},
		{"https://:@example.com/", ErrURL},
		{"https://example.com:443@evil.example/", ErrURL},
		{"https://example.com\\@evil.example/", ErrURL},
		{"https:\\\\example.com", ErrURL},
		{"https://example.com\\.evil.example/", ErrURL},
		{"https://example.com/#", ErrURL},
		{"https://example.com/#a", ErrURL},
		{"https://example.com#@evil.example/", ErrURL},
		{"https://example.com/a\\b", ErrURL},
		{" https://example.com/", ErrURL},
		{"https://example.com/ ", ErrURL},
		{"https://example.com/a b", ErrURL},
		{"https://example.com/\n", ErrURL},
		{"https://example.com/\r\nHost:evil", ErrURL},
		{"https://example.com/\t", ErrURL},
		{"https://example.com/\x00", ErrURL},
		{"https://example.com/\x7f", ErrURL},
		{"https://exa mple.com/", ErrURL},
		{"https://example.com:/", ErrURL},
		{"https://example.com:0/", ErrURL},
		{"https://example.com:00443/", ErrURL},
		{"https://example.com:65536/", ErrURL},
		{"https://example.com:99999999999/", ErrURL},
		{"https://example.com:-1/", ErrURL},
		{"https://example.com:+443/", ErrURL},
		{"https://example.com:https/", ErrURL},
		{"https://example.com:443:443/", ErrURL},
		{"https://example..com/", ErrURL},
		{"https://.example.com/", ErrURL},
		{"https://example.com../", ErrURL},
		{"https://./", ErrURL},
		{"https://-example.com/", ErrURL},
		{"https://example-.com/", ErrURL},
		{"https://exa*mple.com/", ErrURL},
		{"https://example.com,evil.example/", ErrURL},
		{"https://exa%6dple.com/", ErrURL},
		{"https://%e4%b8%ad.example/", ErrURL},
		{"https://127.0.0.1%2f@example.com/", ErrURL},
		{"https://m\u00fcnchen.example/", ErrURL},
		{"https://ex\u0430mple.com/", ErrURL},          // a Cyrillic letter
		{"https://example\u3002com/", ErrURL},          // an ideographic full stop
		{"https://\uff11\uff12\uff17.0.0.1/", ErrURL},  // full-width digits
		{"https://\u2460\u2461\u2466.0.0.1/", ErrURL},  // enclosed digits
		{"https://example.com/\u4e2d", ErrURL},         // to be encoded
		{"https://exam\u00adple.com/", ErrURL},         // a soft hyphen
		{"https://example.com/?\xff", ErrURL},          // not even UTF-8
		{"https://" + label(64) + ".example/", ErrURL}, // a label is 63 at the most
		{"https://" + strings.Repeat(label(49)+".", 5) + "coms/", ErrURL},
		{long(2049), ErrURL},
		{"https://127.1/", ErrURL},
		{"https://127.0.1/", ErrURL},
		{"https://2130706433/", ErrURL},
		{"https://0x7f000001/", ErrURL},
		{"https://0x7f.1/", ErrURL},
		{"https://0X7F.0.0.0X1/", ErrURL},
		{"https://0177.0.0.1/", ErrURL},
		{"https://127.0.0.01/", ErrURL},
		{"https://1.2.3.4.5/", ErrURL},
		{"https://1.2.3.256/", ErrURL},
		{"https://127.0.0.1./", ErrURL},
		{"https://8.8.8.8./", ErrURL},
		{"https://example.1/", ErrURL},
		{"https://example.09/", ErrURL},
		{"https://example.0x/", ErrURL},
		{"https://example.0xff/", ErrURL},
		{"https://0/", ErrURL},
		{"https://[8.8.8.8]/", ErrURL},
		{"https://[example.com]/", ErrURL},
		{"https://[]/", ErrURL},
		{"https://[v1.a]/", ErrURL},
		{"https://[2606:4700::1/", ErrURL},
		{"https://2606:4700::1/", ErrURL},
		{"https://::1/", ErrURL},
		{"https://[2606:4700::1%25eth0]/", ErrURL},
		{"https://[fe80::1%25eth0]/", ErrURL},
		{"https://[2606:4700::1]evil/", ErrURL},
		{"https://a[2606:4700::1]/", ErrURL},

		{"https://example.com:80/", ErrPort},
		{"https://example.com:22/", ErrPort},
		{"https://example.com:1023/", ErrPort},
		{"https://127.0.0.1/", ErrBlocked},
		{"https://127.0.0.1:8443/", ErrBlocked},
		{"https://10.0.0.1/", ErrBlocked},
		{"https://169.254.169.254/latest/meta-data/", ErrBlocked},
		{"https://168.63.129.16/", ErrBlocked},
		{"https://0.0.0.0/", ErrBlocked},
		{"https://[::]/", ErrBlocked},
		{"https://[::1]/", ErrBlocked},
		{"https://[::ffff:127.0.0.1]/", ErrBlocked},
		{"https://[::ffff:7f00:1]/", ErrBlocked},
		{"https://[0:0:0:0:0:ffff:10.0.0.1]/", ErrBlocked},
		{"https://[fe80::1]/", ErrBlocked},
		{"https://[fd00:ec2::254]/", ErrBlocked},
		{"https://[64:ff9b::7f00:1]/", ErrBlocked},
		{"https://[2002:7f00:1::]/", ErrBlocked},
	} {
		u, err := newClient(t, Options{}).CheckURL(test.raw)
		if !errors.Is(err, test.want) || (u == nil) != (test.want != nil) {
			t.Errorf("%q: %v, want %v", test.raw, err, test.want)
		}
		if test.want == nil && err == nil && !strings.EqualFold(u.String(), test.raw) {
			t.Errorf("%q became %q", test.raw, u)
		}
	}
}

func TestHTTPURLsWhereAllowed(t *testing.T) {
	c := newClient(t, Options{AllowHTTP: true, Allow: loopback})
	for raw, want := range map[string]error{
		"http://example.com/":      nil,
		"http://example.com:8080/": nil,
		"https://example.com/":     nil,
		"https://example.com:80/":  nil,
		"http://127.0.0.1:8080/":   nil,
		"http://[::1]/":            nil,
		"ftp://example.com/":       ErrURL,
		"http:///":                 ErrURL,
		"http://example.com:81/":   ErrBlocked,
		"http://10.0.0.1/":         ErrBlocked,
	} {
		if _, err := c.CheckURL(raw); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", raw, err, want)
		}
	}
	if _, err := newClient(t, Options{AllowHTTP: true, Ports: []uint16{443}}).CheckURL("http://example.com/"); !errors.Is(err, ErrBlocked) {
		t.Errorf("port 80 beyond Ports: %v", err)
	}
}

func TestRefusalRepeatsNothingSecret(t *testing.T) {
	c := newClient(t, Options{})
	for _, raw := range []string{
		"https://user:secret@example.com/",
		"https://user:secret/1@example.com/",
		"https://user:%secret@example.com/",
		"https://example.com:secret/",
		"https://10.0.0.1/secret?token=secret",
		"https://example.com/secret#",
		"secret://example.com",
	} {
		if _, err := c.CheckURL(raw); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "user:") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/hook?a=b", "http://example.com:8080", "https://127.1", "https://[::1%25lo]:443/", "https://[::ffff:7f00:1]",
		"https://a:b@c/", "https://0x7f.1#", "https:\\\\e", "https://%41", "HTTPS://xn--a.B_c.:65535",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	var clients [2]*Client
	for n, allow := range []bool{false, true} {
		clients[n] = newClient(f, Options{AllowHTTP: allow})
	}
	f.Fuzz(func(t *testing.T, raw string, allowHTTP bool) {
		c := clients[0]
		if allowHTTP {
			c = clients[1]
		}
		u, err := c.CheckURL(raw)
		if err != nil {
			if u != nil || errors.Is(err, ErrURL) == errors.Is(err, ErrBlocked) {
				t.Fatalf("%q: %v, %v", raw, u, err)
			}
			return
		}
		if len(raw) > maxURL || u.User != nil || u.Fragment != "" || u.Opaque != "" {
			t.Errorf("%q was accepted as %#v", raw, u)
		}
		if u.Scheme != "https" && !(allowHTTP && u.Scheme == "http") {
			t.Errorf("%q: scheme %q", raw, u.Scheme)
		}
		switch p := u.Port(); {
		case p == "", p == "443", p == "80" && allowHTTP, len(p) == 4, len(p) == 5 && p <= "65535":
		default:
			t.Errorf("%q: port %q", raw, p)
		}
		host := u.Hostname()
		if a, err := netip.ParseAddr(host); err == nil {
			if err := c.guard.address(a); err != nil || a.Zone() != "" {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		if host == "" || strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "" || strings.ContainsAny(u.Host, "%@/\\ ") {
			t.Errorf("%q: host %q", raw, host)
		}
		if again, err := c.CheckURL(u.String()); err != nil && len(u.String()) <= maxURL || err == nil && again.Host != u.Host {
			t.Errorf("%q became %q, which is %v, %v", raw, u, again, err)
		}
	})
}
