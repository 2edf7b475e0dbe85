package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestURLs(t *testing.T) {
	long := func(n int) string { return "https://example.com/" + strings.Repeat("a", n-len("https://example.com/")) }
	label := func(n int) string { return strings.Repeat("a", n) }
	for _, test := range []struct {
		raw    string
		want   error
		reason string // in the text of the error
	}{
		{"https://example.com", nil, ""},
		{"https://example.com/", nil, ""},
		{"https://example.com/hook?a=b&c=d;e", nil, ""},
		{"https://example.com?a=b", nil, ""},
		{"https://example.com:443/", nil, ""},
		{"https://example.com:8443/a/b", nil, ""},
		{"https://example.com:1024/", nil, ""},
		{"https://example.com:65535/", nil, ""},
		{"HTTPS://EXAMPLE.COM/", nil, ""},
		{"https://example.com./", nil, ""},
		{"https://localhost.example/", nil, ""},
		{"https://notlocalhost.com/", nil, ""},
		{"https://internal.example/", nil, ""},
		{"https://local.home.example.com/", nil, ""},
		{"https://customer.test/", nil, ""}, // of no use, but not anybody's inside
		{"https://example.arpa/", nil, ""},
		{"https://a-b.c_d.example/", nil, ""},
		{"https://_hooks.example.com/", nil, ""},
		{"https://xn--mnchen-3ya.example/", nil, ""},
		{"https://1.example/", nil, ""},
		{"https://1.2.3.4.example/", nil, ""},
		{"https://0x7f.1.example/", nil, ""},
		{"https://example.0xg/", nil, ""},
		{"https://example.1a/", nil, ""},
		{"https://8.8.8.8/", nil, ""},
		{"https://[2606:4700:4700::1111]/", nil, ""},
		{"https://[2606:4700:4700::1111]:8443/", nil, ""},
		{"https://[2606:4700:4700:0:0:0:0:1111]/", nil, ""},
		{"https://[::ffff:8.8.8.8]/", nil, ""},
		{"https://example.com/%e4%b8%ad?x=%0d%0a", nil, ""},
		{"https://example.com/a@b:c", nil, ""},
		{"https://example.com//a", nil, ""},
		{long(2048), nil, ""},
		{"https://" + label(63) + ".example/", nil, ""},
		{"https://" + strings.Repeat(label(49)+".", 5) + "com/", nil, ""}, // 253

		{"", ErrURL, "scheme must be https"},
		{"example.com", ErrURL, "scheme must be https"},
		{"//example.com/", ErrURL, "scheme must be https"},
		{"/hook", ErrURL, "scheme must be https"},
		{"http://example.com/", ErrHTTP, "scheme must be https"},
		{"ftp://example.com/", ErrURL, "scheme must be https"},
		{"file:///etc/passwd", ErrURL, "scheme must be https"},
		{"javascript:alert(1)", ErrURL, "scheme must be https"},
		{"gopher://example.com/", ErrURL, "scheme must be https"},
		{"unix:///run/docker.sock", ErrURL, "scheme must be https"},
		{"data:text/plain,hello", ErrURL, "scheme must be https"},
		{"mailto:hook@example.com", ErrURL, "scheme must be https"},
		{"ws://example.com/", ErrURL, "scheme must be https"},
		{"wss://example.com/", ErrURL, "scheme must be https"},
		{"httpss://example.com/", ErrURL, "scheme must be https"},
		{"http+unix://example.com/", ErrURL, "scheme must be https"},
		{"ht\ttps://example.com/", ErrURL, "visible ASCII"},
		{"https;//example.com/", ErrURL, "scheme must be https"},
		{"https:example.com", ErrURL, "no host"},
		{"https:/example.com", ErrURL, "no host"},
		{"https:///example.com", ErrURL, "no host"},
		{"https://", ErrURL, "no host"},
		{"https://:443/", ErrURL, "no host"},
		{"https://?a", ErrURL, "no host"},
		{"https://user@example.com/", ErrURL, "user information"},
		{"https://user:password@example.com/", ErrURL, "user information"},
		{"https://@example.com/", ErrURL, "user information"},
		{"https://:@example.com/", ErrURL, "user information"},
		{"https://example.com:443@evil.example/", ErrURL, "user information"},
		{"https://example.com\\@evil.example/", ErrURL, "visible ASCII"},
		{"https:\\\\example.com", ErrURL, "visible ASCII"},
		{"https://example.com\\.evil.example/", ErrURL, "visible ASCII"},
		{"https://example.com/#", ErrURL, "fragment"},
		{"https://example.com/#a", ErrURL, "fragment"},
		{"https://example.com#@evil.example/", ErrURL, "fragment"},
		{"https://example.com/a\\b", ErrURL, "visible ASCII"},
		{" https://example.com/", ErrURL, "visible ASCII"},
		{"https://example.com/ ", ErrURL, "visible ASCII"},
		{"https://example.com/a b", ErrURL, "visible ASCII"},
		{"https://example.com/\n", ErrURL, "visible ASCII"},
		{"https://example.com/\r\nHost:evil", ErrURL, "visible ASCII"},
		{"https://example.com/\t", ErrURL, "visible ASCII"},
		{"https://example.com/\x00", ErrURL, "visible ASCII"},
		{"https://example.com/\x7f", ErrURL, "visible ASCII"},
		{"https://exa mple.com/", ErrURL, "visible ASCII"},
		{"https://example.com:/", ErrURL, "empty"},
		{"https://example.com:0/", ErrURL, "from 1 to 65535"},
		{"https://example.com:00443/", ErrURL, "from 1 to 65535"},
		{"https://example.com:65536/", ErrURL, "from 1 to 65535"},
		{"https://example.com:99999999999/", ErrURL, "from 1 to 65535"},
		{"https://example.com:-1/", ErrURL, "malformed"},
		{"https://example.com:+443/", ErrURL, "malformed"},
		{"https://example.com:https/", ErrURL, "malformed"},
		{"https://example.com:443:443/", ErrURL, "malformed"},
		{"https://example..com/", ErrURL, "letters, digits"},
		{"https://.example.com/", ErrURL, "letters, digits"},
		{"https://example.com../", ErrURL, "letters, digits"},
		{"https://./", ErrURL, "letters, digits"},
		{"https://-example.com/", ErrURL, "letters, digits"},
		{"https://example-.com/", ErrURL, "letters, digits"},
		{"https://exa*mple.com/", ErrURL, "letters, digits"},
		{"https://example.com,evil.example/", ErrURL, "letters, digits"},
		{"https://exa%6dple.com/", ErrURL, "malformed"},
		{"https://%e4%b8%ad.example/", ErrURL, "letters, digits"},
		{"https://127.0.0.1%2f@example.com/", ErrURL, "user information"},
		{"https://m\u00fcnchen.example/", ErrURL, "visible ASCII"},
		{"https://ex\u0430mple.com/", ErrURL, "visible ASCII"},            // a Cyrillic letter
		{"https://example\u3002com/", ErrURL, "visible ASCII"},            // an ideographic full stop
		{"https://\uff11\uff12\uff17.0.0.1/", ErrURL, "visible ASCII"},    // full-width digits
		{"https://\u2460\u2461\u2466.0.0.1/", ErrURL, "visible ASCII"},    // enclosed digits
		{"https://example.com/\u4e2d", ErrURL, "visible ASCII"},           // to be encoded
		{"https://exam\u00adple.com/", ErrURL, "visible ASCII"},           // a soft hyphen
		{"https://example.com/?\xff", ErrURL, "visible ASCII"},            // not even UTF-8
		{"https://example\uff0ecom/", ErrURL, "visible ASCII"},            // a full-width full stop
		{"https://\u24dbocalhost/", ErrURL, "visible ASCII"},              // an enclosed letter
		{"https://\u017ftore.example/", ErrURL, "visible ASCII"},          // a long s, which folds to s
		{"https://e\u0301xample.com/", ErrURL, "visible ASCII"},           // a combining accent
		{"https://example.com\u200b/", ErrURL, "visible ASCII"},           // a space of no width
		{"https://\u202emoc.elpmaxe/", ErrURL, "visible ASCII"},           // from right to left
		{"https://" + label(64) + ".example/", ErrURL, "letters, digits"}, // a label is 63 at the most
		{"https://" + strings.Repeat(label(49)+".", 5) + "coms/", ErrURL, "longer than 253"},
		{long(2049), ErrURL, "longer than 2048"},
		{"https://127.1/", ErrURL, "ends in a number"},
		{"https://127.0.1/", ErrURL, "ends in a number"},
		{"https://2130706433/", ErrURL, "ends in a number"},
		{"https://0x7f000001/", ErrURL, "ends in a number"},
		{"https://0x7f.1/", ErrURL, "ends in a number"},
		{"https://0X7F.0.0.0X1/", ErrURL, "ends in a number"},
		{"https://0177.0.0.1/", ErrURL, "ends in a number"},
		{"https://127.0.0.01/", ErrURL, "ends in a number"},
		{"https://1.2.3.4.5/", ErrURL, "ends in a number"},
		{"https://1.2.3.256/", ErrURL, "ends in a number"},
		{"https://127.0.0.1./", ErrURL, "ends in a number"},
		{"https://8.8.8.8./", ErrURL, "ends in a number"},
		{"https://example.1/", ErrURL, "ends in a number"},
		{"https://example.09/", ErrURL, "ends in a number"},
		{"https://example.0x/", ErrURL, "ends in a number"},
		{"https://example.0xff/", ErrURL, "ends in a number"},
		{"https://0/", ErrURL, "ends in a number"},
		{"https://0./", ErrURL, "ends in a number"},
		{"https://127.0.0.1.:8443/", ErrURL, "ends in a number"},
		{"https://0x7f.0x0.0x0.0x1/", ErrURL, "ends in a number"},
		{"https://017700000001/", ErrURL, "ends in a number"},
		{"https://0300.0250.0.1/", ErrURL, "ends in a number"},
		{"https://127.0x1/", ErrURL, "ends in a number"},
		{"https://4294967296/", ErrURL, "ends in a number"},
		{"https://%31%32%37.0.0.1/", ErrURL, "malformed"},
		{"https://127%2e0.0.1/", ErrURL, "malformed"},
		{"https://example%00.com/", ErrURL, "malformed"},
		{"https://example%2fcom/", ErrURL, "malformed"},
		{"https://[::ffff:127.0.0.1%25lo]/", ErrURL, "zone"},
		{"https://[::1%lo]/", ErrURL, "malformed"},
		{"https://[1:2:3]/", ErrURL, "malformed"},
		{"https://[::ffff:0177.0.0.1]/", ErrURL, "malformed"},
		{"https://[::ffff:127.1]/", ErrURL, "malformed"},
		{"https://[8.8.8.8]/", ErrURL, "malformed"},
		{"https://[example.com]/", ErrURL, "malformed"},
		{"https://[]/", ErrURL, "malformed"},
		{"https://[v1.a]/", ErrURL, "malformed"},
		{"https://[2606:4700::1/", ErrURL, "malformed"},
		{"https://2606:4700::1/", ErrURL, "malformed"},
		{"https://::1/", ErrURL, "malformed"},
		{"https://[2606:4700::1%25eth0]/", ErrURL, "zone"},
		{"https://[fe80::1%25eth0]/", ErrURL, "zone"},
		{"https://[2606:4700::1]evil/", ErrURL, "malformed"},
		{"https://a[2606:4700::1]/", ErrURL, "malformed"},

		{"https://example.com:80/", ErrPort, "port 80"},
		{"https://example.com:22/", ErrPort, "port 22"},
		{"https://example.com:1023/", ErrPort, "port 1023"},
		{"https://127.0.0.1/", ErrBlocked, "denied by: 127.0.0.0/8"},
		{"https://127.0.0.1:8443/", ErrBlocked, "denied by: 127.0.0.0/8"},
		{"https://10.0.0.1/", ErrBlocked, "denied by: 10.0.0.0/8"},
		{"https://169.254.169.254/latest/meta-data/", ErrBlocked, "denied by: 169.254.0.0/16"},
		{"https://168.63.129.16/", ErrBlocked, "denied by: 168.63.129.16/32"},
		{"https://0.0.0.0/", ErrBlocked, "denied by: 0.0.0.0/8"},
		{"https://[::]/", ErrBlocked, outside},
		{"https://[::1]/", ErrBlocked, outside},
		{"https://[::ffff:127.0.0.1]/", ErrBlocked, "denied by: 127.0.0.0/8"},
		{"https://[::ffff:7f00:1]/", ErrBlocked, "denied by: 127.0.0.0/8"},
		{"https://[0:0:0:0:0:ffff:10.0.0.1]/", ErrBlocked, "denied by: 10.0.0.0/8"},
		{"https://[fe80::1]/", ErrBlocked, outside},
		{"https://[fd00:ec2::254]/", ErrBlocked, outside},
		{"https://[64:ff9b::7f00:1]/", ErrBlocked, outside},
		{"https://[2002:7f00:1::]/", ErrBlocked, "denied by: 2002::/16"},
		{"https://[::]:8443/", ErrBlocked, outside},
		{"https://[::7f00:1]/", ErrBlocked, outside},
		{"https://[64:ff9b:1::a9fe:a9fe]/", ErrBlocked, outside},
		{"https://[2a00::5efe:a00:1]/", ErrBlocked, "stands for 10.0.0.1"},
		{"https://[2001:0:808:808::5601:5601]/", ErrBlocked, "denied by: 2001::/23"},
		{"https://100.100.100.200/latest/meta-data/", ErrBlocked, "denied by: 100.64.0.0/10"},
		{"https://192.0.0.192/latest/", ErrBlocked, "denied by: 192.0.0.0/24"},
		{"https://169.254.170.2/v2/credentials", ErrBlocked, "denied by: 169.254.0.0/16"},

		{"https://localhost/", ErrName, "not a public one"},
		{"https://localhost./", ErrName, "not a public one"},
		{"https://LOCALHOST:8443/", ErrName, "not a public one"},
		{"https://LocalHost./hook", ErrName, "not a public one"},
		{"https://a.localhost/", ErrName, "not a public one"},
		{"https://a.b.Localhost./", ErrName, "not a public one"},
		{"https://localhost.localdomain/", ErrName, "not a public one"},
		{"https://hooks/", ErrName, "not a public one"},
		{"https://hooks./", ErrName, "not a public one"},
		{"https://hooks:8443/", ErrName, "not a public one"},
		{"https://com/", ErrName, "not a public one"},
		{"https://kubernetes/", ErrName, "not a public one"},
		{"https://kubernetes.default.svc.cluster.local/", ErrName, "not a public one"},
		{"https://printer.local/", ErrName, "not a public one"},
		{"https://metadata.google.internal/computeMetadata/v1/", ErrName, "not a public one"},
		{"https://host.docker.internal/", ErrName, "not a public one"},
		{"https://ip-10-0-0-1.ec2.internal/", ErrName, "not a public one"},
		{"https://router.home.arpa/", ErrName, "not a public one"},
		{"https://nas.home/", ErrName, "not a public one"},
		{"https://fritz.lan/", ErrName, "not a public one"},
		{"https://wiki.corp./", ErrName, "not a public one"},
		{"https://wiki.intranet/", ErrName, "not a public one"},
		{"https://db.private/", ErrName, "not a public one"},
	} {
		u, err := newClient(t, Options{}).CheckURL(test.raw)
		if !errors.Is(err, test.want) || (u == nil) != (test.want != nil) {
			t.Errorf("%q: %v, want %v", test.raw, err, test.want)
		}
		if err != nil && !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%q: %v, want it to say %q", test.raw, err, test.reason)
		}
		if test.want == nil && err == nil && !strings.EqualFold(u.String(), test.raw) {
			t.Errorf("%q became %q", test.raw, u)
		}
	}
}

// With an Allow list, a name that only the sender's network knows may be meant;
// its addresses are judged when it is dialled.
func TestInsideNamesWhereAddressesAreAllowed(t *testing.T) {
	c := newClient(t, Options{Allow: prefixes("10.0.0.0/8")})
	for _, raw := range []string{
		"https://localhost/", "https://billing:8443/", "https://billing./", "https://billing.internal/", "https://a.b.svc.cluster.local/", "https://nas.home.arpa/",
	} {
		if _, err := c.CheckURL(raw); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if _, err := c.CheckURL("https://127.0.0.1/"); !errors.Is(err, ErrBlocked) {
		t.Errorf("127.0.0.1 beside 10.0.0.0/8: %v", err)
	}
	c = newClient(t, Options{Deny: prefixes("10.0.0.0/8")})
	if _, err := c.CheckURL("https://billing/"); !errors.Is(err, ErrName) {
		t.Errorf("with Deny alone: %v", err)
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
