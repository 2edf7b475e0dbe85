package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outhook/webhook/internal/hostile"
)

// through returns a Proxy function that always chooses the same.
func through(t testing.TB, proxy string) func(*http.Request) (*url.URL, error) {
	t.Helper()
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	return func(*http.Request) (*url.URL, error) { return u, nil }
}

// to returns a Resolver for which all names are this machine.
func to(t *testing.T) *net.Resolver {
	return hostile.Resolver(func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} })
}

// told collects what a Proxies tells.
type told struct {
	mu   sync.Mutex
	list []string
}

func (l *told) tell(_ context.Context, proxy string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, fmt.Sprintf("%s: %v", proxy, err))
}

func (l *told) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// tunnels is a proxy, HTTP or SOCKS5, all of whose tunnels lead to one place.
type tunnels struct {
	to     string
	opened atomic.Int64
}

func (p *tunnels) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	p.join(here)
}

func (p *tunnels) socks(here net.Conn) {
	b := make([]byte, 300)
	_, _ = io.ReadFull(here, b[:2])
	_, _ = io.ReadFull(here, b[:b[1]])
	_, _ = here.Write([]byte{5, 0})
	_, _ = io.ReadFull(here, b[:5])
	_, _ = io.ReadFull(here, b[:int(b[4])+2])
	_, _ = here.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	p.join(here)
}

func (p *tunnels) join(here net.Conn) {
	defer here.Close()
	there, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer there.Close()
	p.opened.Add(1)
	go func() {
		_, _ = io.Copy(there, here)
		_ = there.Close()
	}()
	_, _ = io.Copy(here, there)
}

func TestWhoseFaultItIs(t *testing.T) {
	answer := func(answer string) string {
		return "http://user:s3cret@" + receiver(t, func(conn net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, answer+"\r\n\r\n")
			}
		})
	}
	socks := func(bytes ...byte) string {
		return "socks5://user:s3cret@" + receiver(t, func(conn net.Conn) {
			_, _ = io.ReadFull(conn, make([]byte, 4))
			_, _ = conn.Write([]byte{5, 0})
			_, _ = io.ReadFull(conn, make([]byte, 5+len("a.example")+2))
			_, _ = conn.Write(bytes)
		})
	}
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	notTLS := receiver(t, func(conn net.Conn) { _, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n") })
	ended := receiver(t, func(conn net.Conn) { // a tunnel that leads to one who hangs up
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		}
	})
	plain := func(response string) string {
		return "http://" + receiver(t, func(conn net.Conn) {
			if swallow(bufio.NewReader(conn)) {
				_, _ = io.WriteString(conn, response+"\r\nContent-Length: 11\r\n\r\n10.1.2.3:80")
			}
		})
	}
	const unreachable = "connection failed"
	for _, tt := range []struct {
		name, url, proxy, text string
		down, fault, blocked   bool
		status                 int
	}{
		{name: "no proxy there", proxy: "http://user:s3cret@" + gone.Addr().String(), text: notSent, down: true, fault: true},
		{name: "no SOCKS5 proxy there", proxy: "socks5://user:s3cret@" + gone.Addr().String(), text: notSent, down: true, fault: true},
		{name: "no name", proxy: "http://user:s3cret@nowhere.example:3128", text: notSent, down: true, fault: true},
		{name: "no TLS", proxy: "https://user:s3cret@" + notTLS, text: notSent, down: true, fault: true},
		{name: "no SOCKS5", proxy: "socks5://user:s3cret@" + notTLS, text: notSent, down: true, fault: true},
		{name: "no HTTP", proxy: "http://user:s3cret@" + notTLS, text: notSent, fault: true},
		{name: "500", proxy: answer("HTTP/1.1 500 Internal Server Error"), text: notSent, fault: true},
		{name: "wants credentials", proxy: answer("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic"), text: notSent, fault: true},
		{name: "no answer", proxy: "http://user:s3cret@" + receiver(t, func(net.Conn) {}), text: notSent, fault: true},
		{name: "redirects", proxy: answer("HTTP/1.1 302 Found\r\nLocation: http://login.example/"), text: notSent, fault: true},
		{name: "command not supported", proxy: socks(5, 7, 0, 1), text: notSent, fault: true},
		{name: "no password that it takes", proxy: "socks5://user:s3cret@" + receiver(t, func(conn net.Conn) { _, _ = conn.Write([]byte{5, 2, 1, 1}) }), text: notSent, down: true, fault: true},
		{name: "another scheme", proxy: "ftp://user:s3cret@proxy.example", text: notSent, fault: true},
		{name: "no host", proxy: "http://user:s3cret@:3128", text: notSent, fault: true},

		{name: "refused by rules", proxy: answer("HTTP/1.1 407 Request rejected by proxy\r\nX-Smokescreen-Error: no"), text: unreachable, blocked: true},
		{name: "forbidden", proxy: answer("HTTP/1.1 403 Forbidden"), text: unreachable, blocked: true},
		{name: "not allowed", proxy: socks(5, 2, 0, 1), text: unreachable, blocked: true},
		{name: "an address of ours", url: "https://10.0.0.1/", proxy: answer("HTTP/1.1 200 OK"), text: unreachable, blocked: true},
		{name: "a port of ours", url: "https://a.example:22/", proxy: answer("HTTP/1.1 200 OK"), text: unreachable, blocked: true},

		{name: "unreachable", proxy: answer("HTTP/1.1 502 Bad Gateway"), text: unreachable},
		{name: "unavailable", proxy: answer("HTTP/1.1 503 Service Unavailable"), text: unreachable},
		{name: "too late", proxy: answer("HTTP/1.1 504 Gateway Timeout"), text: unreachable},
		{name: "host unreachable", proxy: socks(5, 4, 0, 1), text: unreachable},
		{name: "connection refused", proxy: socks(5, 5, 0, 1), text: unreachable},
		{name: "hangs up", proxy: "http://" + ended, text: "TLS: connection closed during the handshake"},

		// What an HTTP proxy says in answer to a request that it makes for us.
		{name: "forwarded", url: "http://a.example/", proxy: plain("HTTP/1.1 503 Mine"), status: 503},
		{name: "rejected", url: "http://a.example/", proxy: plain("HTTP/1.1 407 No\r\nX-Smokescreen-Error: 10.1.2.3"), text: unreachable, blocked: true},
		{name: "not forwarded", url: "http://a.example/", proxy: plain("HTTP/1.1 502 No\r\nX-Smokescreen-Error: 10.1.2.3"), text: unreachable},
		{name: "not forwarded by Squid", url: "http://a.example/", proxy: plain("HTTP/1.1 503 No\r\nX-Squid-Error: ERR_CONNECT_FAIL 111"), text: unreachable},
		{name: "wants credentials for that", url: "http://a.example/", proxy: plain("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic"), text: notSent, fault: true},
		{name: "no proxy there for that", url: "http://a.example/", proxy: "http://user:s3cret@" + gone.Addr().String(), text: notSent, down: true, fault: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.url == "" {
				tt.url = "https://a.example/path"
			}
			resolver := hostile.Resolver(func(string) []netip.Addr { return nil })
			c := newClient(t, Options{AllowHTTP: true, Proxy: through(t, tt.proxy), Resolver: resolver})
			u, err := url.Parse(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			res, err := c.Post(ctx, u, nil, []byte("{}"))
			if tt.text == "" {
				if err != nil || res.StatusCode != tt.status {
					t.Fatalf("%d, %v", res.StatusCode, err)
				}
				return
			}
			if err == nil || err.Error() != tt.text || errors.Is(err, ErrProxy) != tt.fault || errors.Is(err, ErrProxyDown) != tt.down || errors.Is(err, ErrBlocked) != tt.blocked {
				t.Errorf("%v; fault %v, down %v, blocked %v", err, errors.Is(err, ErrProxy), errors.Is(err, ErrProxyDown), errors.Is(err, ErrBlocked))
			}
			if cause := fmt.Sprintf("%v", errors.Unwrap(err)); cause == "" || strings.Contains(cause, "s3cret") || strings.Contains(cause, "dXNlcjp") {
				t.Errorf("the operator is told %q", cause)
			}
		})
	}
}

// Whatever Allow says: the proxy would connect to what it finds there.
func TestNamesOfOurOwnNetworkAreRefusedBehindAProxy(t *testing.T) {
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer proxy.Close()
	c := newClient(t, Options{AllowHTTP: true, Allow: loopback, Ports: []uint16{80}, Proxy: through(t, proxy.URL)})
	for host, refused := range map[string]bool{
		"localhost": true, "LOCALHOST.": true, "kubernetes": true, "metadata.google.internal": true, "printer.home.arpa": true,
		"127.0.0.1": false, "a.example": false,
	} {
		u, err := c.CheckURL("http://" + host + "/")
		if err != nil {
			t.Fatal(err)
		}
		asked.Store(0)
		_, err = c.Post(t.Context(), u, nil, nil)
		if errors.Is(err, ErrName) != refused || (asked.Load() == 0) != refused || refused && err.Error() != "connection failed" {
			t.Errorf("%s: %v; the proxy was asked %d times", host, err, asked.Load())
		}
	}
}

// A customer's certificates are no affair of the proxy's, nor the other way.
func TestProxiesAreJudgedByTheirOwnAuthorities(t *testing.T) {
	authority := func(name string) *tls.Certificate {
		return certificate(t, x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	}
	ours, theirs := authority("Ours"), authority("Theirs")
	pool := func(c *tls.Certificate) *x509.CertPool {
		p := x509.NewCertPool()
		p.AddCert(c.Leaf)
		return p
	}
	client := func(issuer *tls.Certificate, name string) *tls.Certificate {
		return certificate(t, x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, issuer)
	}
	serve := func(h http.Handler, issuer *tls.Certificate, name string) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.TLS = &tls.Config{
			Certificates: []tls.Certificate{*certificate(t, x509.Certificate{DNSNames: []string{name}}, issuer)},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool(issuer),
		}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	inner := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}), theirs, "a.example")
	proxy := serve(&tunnels{to: inner.Listener.Addr().String()}, ours, "proxy.example")
	_, port, _ := net.SplitHostPort(proxy.Listener.Addr().String())
	c := newClient(t, Options{
		Proxy: through(t, "https://proxy.example:"+port), Resolver: to(t),
		TLS: &tls.Config{RootCAs: pool(ours), Certificates: []tls.Certificate{*client(ours, "us")}},
	})
	own := c.WithTLS(func(config *tls.Config) {
		config.RootCAs, config.Certificates = pool(theirs), []tls.Certificate{*client(theirs, "customer")}
	})
	defer own.CloseIdle()
	if res, err := post(t, own, "https://a.example/", "{}"); err != nil || string(res.Body) != "customer" {
		t.Errorf("%q, %v: %v", res.Body, err, errors.Unwrap(err))
	}
	if _, err := post(t, c, "https://a.example/", "{}"); err == nil || errors.Is(err, ErrProxy) || !strings.HasPrefix(err.Error(), "TLS: certificate is signed by an unknown authority") {
		t.Errorf("without the customer's authority: %v", err)
	}
}

func TestConnectionsThroughAProxyAreReused(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/redirect" {
				http.Redirect(w, r, "https://b.example/", http.StatusTemporaryRedirect)
				return
			}
			_, _ = io.WriteString(w, r.Proto)
		}))
		s.EnableHTTP2 = h2
		s.StartTLS()
		defer s.Close()
		p := &tunnels{to: s.Listener.Addr().String()}
		plain := httptest.NewServer(p)
		defer plain.Close()
		secured := httptest.NewUnstartedServer(p)
		secured.EnableHTTP2 = true // which a tunnel is not asked for over
		secured.StartTLS()
		defer secured.Close()
		proto := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[h2]
		for _, proxy := range []string{plain.URL, strings.Replace(secured.URL, "127.0.0.1", "example.com", 1), "socks5://" + receiver(t, p.socks)} {
			t.Run(proto+" through "+proxy, func(t *testing.T) {
				p.opened.Store(0)
				c := newClient(t, Options{
					TLS:   s.Client().Transport.(*http.Transport).TLSClientConfig,
					Proxy: through(t, proxy), Resolver: to(t),
				})
				for range 5 {
					if res, err := post(t, c, "https://example.com/", "{}"); err != nil || string(res.Body) != proto {
						t.Fatalf("%q, %v: %v", res.Body, err, errors.Unwrap(err))
					}
				}
				if res, err := post(t, c, "https://example.com/redirect", "{}"); err != nil || res.StatusCode != 307 {
					t.Errorf("a redirect: %d, %v", res.StatusCode, err)
				}
				if n := p.opened.Load(); n != 1 {
					t.Errorf("%d tunnels, want 1", n)
				}
				if h2 { // a stream may not be quite over, and its connection so not idle
					return
				}
				c.CloseIdle()
				if _, err := post(t, c, "https://example.com/", "{}"); err != nil || p.opened.Load() != 2 {
					t.Errorf("after CloseIdle: %v, %d tunnels, want 2", err, p.opened.Load())
				}
			})
		}
	}
}

// Whoever pays for a proxy, or is let through by it, lends that to no other.
func TestConnectionsAreNotSharedBetweenProxies(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	proxies := map[string]*tunnels{"one": {to: s.Listener.Addr().String()}, "two": {to: s.Listener.Addr().String()}}
	urls := make(map[string]string)
	for name, p := range proxies {
		served := httptest.NewServer(p)
		defer served.Close()
		urls[name] = served.URL
	}
	c := newClient(t, Options{
		TLS: s.Client().Transport.(*http.Transport).TLSClientConfig,
		Proxy: func(r *http.Request) (*url.URL, error) {
			u, err := url.Parse(urls[r.Header.Get("X-Proxy")])
			if user := r.Header.Get("X-User"); user != "" {
				u.User = url.User(user)
			}
			return u, err
		},
	})
	u := parse(t, c, "https://example.com/")
	for range 2 {
		for _, h := range []http.Header{{"X-Proxy": {"one"}}, {"X-Proxy": {"two"}}, {"X-Proxy": {"one"}, "X-User": {"a"}}, {"X-Proxy": {"one"}, "X-User": {"b"}}} {
			if _, err := c.Post(t.Context(), u, h, nil); err != nil {
				t.Fatalf("%v, %v", err, errors.Unwrap(err))
			}
		}
	}
	if one, two := proxies["one"].opened.Load(), proxies["two"].opened.Load(); one != 3 || two != 1 {
		t.Errorf("%d and %d tunnels, want 3 and 1", one, two)
	}

	// However many users there are, what is kept for them is bounded.
	for n := range 2 * maxRoutes {
		if _, err := c.Post(t.Context(), u, http.Header{"X-Proxy": {"two"}, "X-User": {itoa(n)}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.routes); n != maxRoutes {
		t.Errorf("%d routes are kept", n)
	}
	c.CloseIdle() // else the server waits for what is idle
}

// The one deadline covers the proxy too, and tells whose time ran out.
func TestTheDeadlineCoversTheProxy(t *testing.T) {
	silent := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	after := func(n int, reply string) func(net.Conn) {
		return func(conn net.Conn) {
			if n == 0 {
				_, _ = http.ReadRequest(bufio.NewReader(conn))
			}
			_, _ = io.ReadFull(conn, make([]byte, n))
			_, _ = io.WriteString(conn, reply)
			silent(conn)
		}
	}
	for _, tt := range []struct {
		name, proxy string
		dial        func(context.Context, string, string) (net.Conn, error)
		text        string
		down, fault bool
	}{
		{name: "dialling", proxy: "http://p.example", text: notSent, down: true, fault: true, dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
		{name: "handshake with the proxy", proxy: "https://p.example", dial: piped(silent), text: notSent, down: true, fault: true},
		{name: "greeting", proxy: "socks5://p.example", dial: piped(silent), text: notSent, down: true, fault: true},
		// It greets, so that it is there: it is the receiver who does not answer.
		{name: "reply", proxy: "socks5://p.example", dial: piped(after(3, "\x05\x00")), text: "timeout"},
		{name: "CONNECT", proxy: "http://p.example", dial: piped(after(0, "")), text: notSent, fault: true},
		{name: "handshake through the tunnel", proxy: "http://p.example", dial: piped(after(0, "HTTP/1.1 200 OK\r\n\r\n")), text: "timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := local
				o.Dial, o.Proxy = tt.dial, through(t, tt.proxy)
				c := newClient(t, o)
				u := parse(t, c, "https://a.example/")
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				_, err := c.Post(ctx, u, nil, nil)
				if err == nil || err.Error() != tt.text || errors.Is(err, ErrProxy) != tt.fault || errors.Is(err, ErrProxyDown) != tt.down {
					t.Errorf("%v: %v", err, errors.Unwrap(err))
				}
				if took := time.Since(start); took != 10*time.Second {
					t.Errorf("took %v", took)
				}

				ctx, stop := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, stop)
				if _, err := c.Post(ctx, u, nil, nil); err == nil || err.Error() != "cancelled" || errors.Is(err, ErrProxy) {
					t.Errorf("cancelled: %v: %v", err, errors.Unwrap(err))
				}
				time.Sleep(time.Hour) // the other side notices
			})
		})
	}
}

// An exchange may wait for a connection of its own and be served by another's.
func TestAConnectionThatComesFreeHidesItsOwnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials, requests atomic.Int32
		o := local
		o.Proxy = through(t, "socks5://p.example")
		o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			if dials.Add(1) > 1 { // the proxy hangs
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return piped(func(conn net.Conn) {
				_, _ = io.ReadFull(conn, make([]byte, 3))
				_, _ = conn.Write([]byte{5, 0})
				_, _ = io.ReadFull(conn, make([]byte, 5+len("a.example")+2))
				_, _ = conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
				r := bufio.NewReader(conn)
				for swallow(r) && requests.Add(1) == 1 {
					time.Sleep(time.Second)
					_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
				}
				_, _ = io.Copy(io.Discard, r)
			})(ctx, "tcp", "")
		}
		c := newClient(t, o)
		u := parse(t, c, "http://a.example/")
		go func() { _, _ = c.Post(t.Context(), u, nil, nil) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := c.Post(ctx, u, nil, nil); err == nil || err.Error() != "timeout" || errors.Is(err, ErrProxy) || requests.Load() != 2 || dials.Load() != 2 {
			t.Errorf("%v (%v) after %d requests and %d dials", err, errors.Unwrap(err), requests.Load(), dials.Load())
		}
		time.Sleep(time.Hour)
	})
}

// A proxy that does not answer may itself be waiting for a receiver, for longer
// than we do. That is seen from what it answers to others.
func TestWhoIsToBlameForSilence(t *testing.T) {
	setup := func(t *testing.T) (ask func(host string) error) {
		o := local
		o.Proxy = through(t, "http://p.example")
		o.Dial = piped(func(conn net.Conn) {
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err == nil && !strings.HasPrefix(r.Host, "silent") {
				_, _ = io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
				return
			}
			_, _ = io.Copy(io.Discard, conn)
		})
		c := newClient(t, o)
		return func(host string) error {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := c.Post(ctx, parse(t, c, "https://"+host+"/"), nil, nil)
			return err
		}
	}
	t.Run("the receiver, as the proxy answers others meanwhile", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ask := setup(t)
			for range 5 {
				go func() {
					time.Sleep(5 * time.Second)
					_ = ask("other.example")
				}()
				if err := ask("silent.example"); errors.Is(err, ErrProxy) || err.Error() != "timeout" {
					t.Errorf("%v", err)
				}
			}
			synctest.Wait()
		})
	})
	t.Run("the proxy, as it answers nobody", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ask := setup(t)
			_ = ask("other.example") // long ago
			for range 5 {
				for _, host := range []string{"silent1.example", "silent2.example"} {
					if err := ask(host); !errors.Is(err, ErrProxy) || errors.Is(err, ErrProxyDown) {
						t.Errorf("%s: %v", host, err)
					}
				}
			}
		})
	})
	t.Run("who knows, where there is nobody else", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ask := setup(t)
			for n := range 6 {
				if n == 4 {
					_ = ask("other.example") // begins anew
				}
				if err := ask("silent.example"); errors.Is(err, ErrProxy) != (n < 2 || n >= 4) {
					t.Errorf("time %d: %v", n+1, err)
				}
			}
		})
	})
}

// It is told once that a proxy fails, and once that it works again, whoever goes
// through it, and what goes elsewhere does not matter.
func TestAFailingProxyIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		var list told
		o := local
		o.Proxies = NewProxies(list.tell)
		o.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.URL.Hostname() == "direct.example" {
				return nil, nil
			}
			return &url.URL{Scheme: "http", User: url.UserPassword("user", "s3cret"), Host: r.Header.Get("X-Proxy") + ".example:3128"}, nil
		}
		o.Dial = func(ctx context.Context, _, address string) (net.Conn, error) {
			if down.Load() && strings.HasPrefix(address, "one.") {
				return nil, errors.New("connection refused")
			}
			return piped(answering("HTTP/1.1 204 No Content\r\n\r\n"))(ctx, "tcp", address)
		}
		c := newClient(t, o)
		shared := newClient(t, o) // and others that go through the same
		post := func(c *Client, host, proxy string) error {
			_, err := c.Post(t.Context(), parse(t, c, "http://"+host+"/"), http.Header{"X-Proxy": {proxy}}, nil)
			return err
		}
		if err := post(c, "a.example", "one"); err != nil {
			t.Fatal(err)
		}
		c.CloseIdle()
		down.Store(true)
		for n := range 100 {
			if err := post([]*Client{c, shared}[n%2], itoa(n)+".example", "one"); !errors.Is(err, ErrProxyDown) {
				t.Fatal(err)
			}
			if err := post(c, "a.example", "two"); err != nil {
				t.Fatal(err)
			}
			if err := post(c, "direct.example", ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		want := []string{"http://one.example:3128: proxy http://one.example:3128: down: connection refused"}
		if got := list.all(); len(got) != 1 || !strings.HasPrefix(got[0], "http://one.example:3128: proxy http://one.example:3128: ") || strings.Contains(got[0], "s3cret") {
			t.Errorf("told %q, want something like %q", got, want)
		}
		_ = c.proxies.Wait("http://one.example:3128", time.Now()) // may be the probe
		if c.proxies.Wait("http://one.example:3128", time.Now()) == 0 {
			t.Error("nothing waits for it")
		}
		if c.proxies.Wait("http://two.example:3128", time.Now()) != 0 {
			t.Error("the other one is waited for")
		}
		down.Store(false)
		for range 3 {
			if err := post(shared, "a.example", "one"); err != nil {
				t.Fatal(err)
			}
		}
		if got := list.all(); len(got) != 2 || got[1] != "http://one.example:3128: <nil>" || c.proxies.Wait("http://one.example:3128", time.Now()) != 0 {
			t.Errorf("told %q", got)
		}
		shared.CloseIdle()
	})
}

// Nobody waits for what a proxy says of somebody else.
func TestOnlyAProxyThatIsDownIsWaitedFor(t *testing.T) {
	o := local
	o.Proxy = through(t, "socks5://p.example")
	reply := []byte{5, 0}
	o.Dial = piped(func(conn net.Conn) {
		_, _ = io.ReadFull(conn, make([]byte, 3))
		_, _ = conn.Write(reply)
		if len(reply) > 0 {
			_, _ = io.ReadFull(conn, make([]byte, 5+len("a.example")+2))
			_, _ = conn.Write([]byte{5, 7, 0, 1})
		}
	})
	c := newClient(t, o)
	waits := func() bool { // the first may be the probe
		_ = c.proxies.Wait("socks5://p.example", time.Now().Add(time.Hour))
		return c.proxies.Wait("socks5://p.example", time.Now().Add(time.Hour)) > 0
	}
	for range 10 {
		if _, err := post(t, c, "https://a.example/", "{}"); !errors.Is(err, ErrProxy) || waits() {
			t.Fatalf("%v, and it is waited for: %v", err, waits())
		}
	}
	reply = nil
	for n := range 3 {
		if _, err := post(t, c, "https://a.example/", "{}"); !errors.Is(err, ErrProxyDown) || waits() != (n == 2) {
			t.Fatalf("%d: %v, and it is waited for: %v", n, err, waits())
		}
	}
}

func TestErrorsOfTheFunctionThatChoosesAreWithoutCredentials(t *testing.T) {
	for name, choose := range map[string]func(*http.Request) (*url.URL, error){
		"error": func(*http.Request) (*url.URL, error) {
			return nil, errors.New("no proxy at http://user:s3cret@p.example/")
		},
		"url error": func(*http.Request) (*url.URL, error) {
			return nil, &url.Error{Op: "parse", URL: "http://user:s3cret@p.example:x", Err: errors.New("invalid port")}
		},
		"panic": func(*http.Request) (*url.URL, error) { panic("http://user:s3c@ret:s3cret@p.example/") },
	} {
		t.Run(name, func(t *testing.T) {
			var list told
			o := local
			o.Proxy, o.Proxies = choose, NewProxies(list.tell)
			c := newClient(t, o)
			for range 3 {
				_, err := post(t, c, "https://a.example/", "{}")
				if !errors.Is(err, ErrProxy) || errors.Is(err, ErrProxyDown) || err.Error() != notSent || strings.Contains(fmt.Sprint(errors.Unwrap(err)), "s3c") {
					t.Errorf("%v: %v", err, errors.Unwrap(err))
				}
			}
			if got := list.all(); len(got) != 1 || !strings.HasPrefix(got[0], ": choosing a proxy: ") || strings.Contains(got[0], "s3c") {
				t.Errorf("told %q", got)
			}
		})
	}
}

func TestNoProxyOfTheEnvironmentIsUsed(t *testing.T) {
	asked := receiver(t, func(net.Conn) { t.Error("the environment's proxy is used") })
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, "http://"+asked)
	}
	t.Setenv("NO_PROXY", "")
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	o := Options{Allow: loopback, AllowHTTP: true, Resolver: to(t), TLS: s.Client().Transport.(*http.Transport).TLSClientConfig}
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	// net/http takes none for addresses of the loopback interface, but for names.
	if _, err := post(t, newClient(t, o), "https://example.com:"+port, "{}"); err != nil {
		t.Errorf("%v, %v", err, errors.Unwrap(err))
	}
	o.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	if _, err := post(t, newClient(t, o), "https://example.com:"+port, "{}"); err != nil {
		t.Errorf("%v, %v", err, errors.Unwrap(err))
	}
}

func TestVerificationCannotBeSwitchedOff(t *testing.T) {
	if _, err := New(Options{TLS: &tls.Config{InsecureSkipVerify: true}}); err == nil || !strings.Contains(err.Error(), "InsecureSkipVerify") {
		t.Errorf("%v", err)
	}
	if _, err := New(Options{TLS: &tls.Config{MaxVersion: tls.VersionTLS11}}); err == nil || !strings.Contains(err.Error(), "TLS 1.2") {
		t.Errorf("%v", err)
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	c := newClient(t, Options{Allow: loopback}).WithTLS(func(config *tls.Config) {
		config.InsecureSkipVerify, config.MinVersion = true, tls.VersionTLS10
	})
	defer c.CloseIdle()
	if _, err := post(t, c, s.URL, "{}"); err == nil || !strings.HasPrefix(err.Error(), "TLS: certificate is") || c.config.MinVersion != tls.VersionTLS12 {
		t.Errorf("%v", err)
	}
}

func TestConnectionsAreNotSharedBetweenTLSConfigurations(t *testing.T) {
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.EnableHTTP2 = true
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.StartTLS()
	defer s.Close()
	o := local
	o.TLS = s.Client().Transport.(*http.Transport).TLSClientConfig
	one := newClient(t, o)
	two := one.WithTLS(func(*tls.Config) {})
	defer two.CloseIdle()
	for range 2 {
		for _, c := range []*Client{one, two} {
			if res, err := post(t, c, s.URL, "{}"); err != nil || res.StatusCode != 200 {
				t.Fatal(err)
			}
		}
	}
	if n := conns.Load(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}
