package wire

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/outhook/webhook/internal/illness"
	"github.com/outhook/webhook/internal/tunnel"
)

// ErrProxy says that a proxy failed: the exchange says nothing of its receiver.
// ErrProxyDown, which matches it too, says that it did so before it knew where
// the exchange was to go: whoever goes through it now fares the same.
var (
	ErrProxy     = errors.New("proxy")
	ErrProxyDown = errors.New("down")
)

const (
	maxRoutes  = 64   // proxies, with their credentials, to which connections are kept
	maxProxies = 1000 // of which is remembered how they do
	outbreak   = 3    // faults in a row, after which a proxy is said to fail
	sensible   = time.Minute
)

// How far an exchange got with a connection of its own through a proxy.
const (
	stageNone  = iota // it has none, or that is direct
	stageProxy        // connecting to the proxy
	stageAsked        // the proxy was asked for the receiver, and has not answered
	stageOpen         // connected to the receiver, as far as the proxy is concerned
)

// Proxies is what is known of proxies, shared by those who use them. NewProxies
// creates it.
type Proxies struct {
	tell func(ctx context.Context, proxy string, err error)

	mu    sync.Mutex
	known map[string]*proxyState // by what nameOf returns; "" is the function that chooses
}

// proxyState is what is known of one proxy.
type proxyState struct {
	ill  *illness.Illness // any fault: told of
	down *illness.Illness // one that meets all: waited for

	answered time.Time // when it last gave an answer that was none of its faults
	doubtful string    // the one host that it was at fault for since, if that it was
	times    int       // how often
	several  bool      // more hosts than one
}

// NewProxies returns a Proxies that tells when a proxy begins to fail, and with a
// nil error that it works again.
func NewProxies(tell func(ctx context.Context, proxy string, err error)) *Proxies {
	return &Proxies{tell: tell, known: make(map[string]*proxyState)}
}

// Wait returns how long work that is to go through the proxy should wait because
// that is down; with 0 it may start.
func (p *Proxies) Wait(proxy string, now time.Time) time.Duration {
	return p.of(proxy).down.Wait(now)
}

func (p *Proxies) of(proxy string) *proxyState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.known[proxy]
	if s == nil {
		if len(p.known) >= maxProxies {
			clear(p.known)
		}
		s = &proxyState{ill: illness.New(outbreak), down: illness.New(outbreak)}
		p.known[proxy] = s
	}
	return s
}

// fault notes a fault of the proxy and returns it as an error.
func (p *Proxies) fault(ctx context.Context, proxy string, down bool, cause error) error {
	s, now := p.of(proxy), time.Now()
	err := &proxyError{proxy: proxy, down: down, cause: cause}
	if down {
		_, err.wait = s.down.Fault(now)
	}
	if out, _ := s.ill.Fault(now); out {
		p.tell(ctx, proxy, err)
	}
	return err
}

// well notes that the proxy did its work for an exchange that began then.
func (p *Proxies) well(ctx context.Context, proxy string, began time.Time) {
	s := p.of(proxy)
	p.mu.Lock()
	s.answered, s.doubtful, s.times, s.several = time.Now(), "", 0, false
	p.mu.Unlock()
	s.down.Well(began)
	if s.ill.Well(began) {
		p.tell(ctx, proxy, nil)
	}
}

// doubts reports whether a failure at the host, which may be the proxy's fault or
// the host's, is the proxy's. It is the host's if the proxy has served others
// since; and, if there were none, when it fails for the third time and at this
// host alone.
func (p *Proxies) doubts(proxy, host string, since time.Time) bool {
	s := p.of(proxy)
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.answered.After(since) {
		return false
	}
	switch {
	case s.times == 0:
		s.doubtful = host
	case s.doubtful != host:
		s.several = true
	}
	s.times++
	return s.several || s.times <= 2
}

// proxyError is a proxy's fault. Its text is for the operator.
type proxyError struct {
	proxy string
	down  bool
	wait  time.Duration // if it is down
	cause error
}

func (e *proxyError) Error() string {
	if e.proxy == "" {
		return "choosing a proxy: " + e.cause.Error()
	}
	return "proxy " + e.proxy + ": " + e.cause.Error()
}

func (e *proxyError) Is(target error) bool {
	return target == ErrProxy || target == ErrProxyDown && e.down
}

func (e *proxyError) Unwrap() error { return e.cause }

// nameOf returns what a proxy is called in logs: its URL without credentials.
func nameOf(proxy *url.URL) string {
	return (&url.URL{Scheme: proxy.Scheme, Host: proxy.Host}).String()
}

// chooseProxy calls the caller's function. That its error or panic says nothing
// of the receiver makes it a proxy's fault.
func (c *Client) chooseProxy(r *http.Request) (proxy *url.URL, err error) {
	defer func() {
		if p := recover(); p != nil {
			proxy, err = nil, fmt.Errorf("panic: %v", p)
		}
		if err == nil && proxy != nil && (tunnel.Schemes[proxy.Scheme] == "" || proxy.Hostname() == "") {
			err = fmt.Errorf("not the URL of an HTTP or SOCKS5 proxy: scheme %.20q, host %.100q", proxy.Scheme, proxy.Hostname())
		}
		if err != nil {
			proxy, err = nil, c.proxies.fault(r.Context(), "", false, withoutCredentials(err))
		}
	}()
	return c.proxy(r)
}

var userinfo = regexp.MustCompile(`//\S*@`)

// withoutCredentials keeps the text alone of an error that another wrote, without
// what looks like the credentials in a URL.
func withoutCredentials(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return errors.New(userinfo.ReplaceAllString(err.Error(), "//[redacted]@"))
}

// through makes an exchange through a proxy, and finds out whose fault it is if
// that fails.
func (c *Client) through(ctx context.Context, x *exchange, r *http.Request, proxy *url.URL) (*http.Response, error) {
	began, name := time.Now(), nameOf(proxy)
	x.forward = r.URL.Scheme == "http" && proxy.Scheme[:4] == "http"
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { x.connected.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { x.connected.Store(true) },
	})
	p := c.route(proxy)
	x.begin(p)
	res, err := p.transport.RoundTrip(r.WithContext(ctx))
	if err == nil && x.forward && tunnel.IsOwn(res) {
		_ = res.Body.Close()
		// A receiver can answer so too, and must not pass for an ill proxy.
		if err = tunnel.Answer(res); errors.Is(err, tunnel.ErrProxy) {
			err = fmt.Errorf("%w: %v", tunnel.ErrUnclear, err)
		}
	}
	switch {
	case err == nil:
		c.proxies.well(x, name, began)
	case x.Context.Err() == context.Canceled:
	case errors.Is(err, ErrProxyDown):
		return nil, c.proxies.fault(x, name, true, err)
	case errors.Is(err, tunnel.ErrProxy):
		return nil, c.proxies.fault(x, name, false, err)
	case errors.Is(err, tunnel.ErrRefused):
		c.proxies.well(x, name, began)
		return nil, fmt.Errorf("%w: %w", ErrBlocked, err)
	case errors.Is(err, tunnel.ErrUnclear):
		if c.proxies.doubts(name, r.URL.Host, time.Now().Add(-sensible)) {
			return nil, c.proxies.fault(x, name, false, err)
		}
	case errors.Is(err, tunnel.ErrUnreachable):
		c.proxies.well(x, name, began)
	case isTimeout(err) && !x.connected.Load() && x.stage.Load() == stageProxy:
		return nil, c.proxies.fault(x, name, true, err)
	case isTimeout(err) && !x.connected.Load() && x.stage.Load() == stageAsked:
		// One that has greeted us or made a handshake is there, and waits for the
		// receiver itself. Of another that is seen from how others fare.
		if proxy.Scheme == "http" && c.proxies.doubts(name, r.URL.Host, began) {
			return nil, c.proxies.fault(x, name, false, fmt.Errorf("no answer to CONNECT: %w", err))
		}
	case x.connected.Load(), x.stage.Load() == stageOpen:
		c.proxies.well(x, name, began)
	}
	return res, err
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// route returns the pool of the connections that go through the proxy. They are
// never used for another, nor under other credentials.
func (c *Client) route(proxy *url.URL) *pool {
	key := sha256.Sum256([]byte(proxy.String()))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uses++
	r := c.routes[key]
	if r == nil {
		if len(c.routes) >= maxRoutes {
			oldest := key
			for of, r := range c.routes {
				if c.routes[oldest] == nil || r.used < c.routes[oldest].used {
					oldest = of
				}
			}
			c.routes[oldest].transport.CloseIdleConnections()
			delete(c.routes, oldest)
		}
		r = &route{pool: pool{transport: c.newRoute(proxy), all: c.pools}}
		c.routes[key] = r
	}
	r.used = c.uses
	return &r.pool
}

// route is a way through one proxy.
type route struct {
	pool
	used uint64 // the client's number of uses when it was last
}

func (c *Client) newRoute(proxy *url.URL) *http.Transport {
	proxy = new(*proxy) // the caller's function may go on to change it
	t := c.newTransport(c.config)
	dial := func(ctx context.Context, _, address string) (net.Conn, error) {
		ctx, cancel := withDeadline(ctx)
		defer cancel()
		return c.dialThrough(ctx, proxy, address)
	}
	t.DialContext = dial
	t.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil || exchangeOf(ctx).forward { // the handshake with the proxy was all
			return conn, err
		}
		return handshake(ctx, conn, t.TLSClientConfig, address)
	}
	// Requests that are not encrypted end to end go to an HTTP proxy as they are;
	// many refuse to tunnel them.
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		if exchangeOf(r.Context()).forward {
			return proxy, nil
		}
		return nil, nil
	}
	return t
}

// dialThrough connects to the proxy and, unless the request is for the proxy to
// forward, on to the address.
func (c *Client) dialThrough(ctx context.Context, proxy *url.URL, address string) (net.Conn, error) {
	x := exchangeOf(ctx)
	if x.conns.Add(1) > maxConns {
		return nil, errConns
	}
	x.stage.Store(stageProxy)
	conn, err := c.dialProxy(ctx, proxy)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProxyDown, err)
	}
	if !x.forward {
		err = tunnel.Open(ctx, conn, proxy, address, func() { x.stage.Store(stageAsked) })
		if err != nil {
			_ = conn.Close()
			if errors.Is(err, tunnel.ErrProxy) && x.stage.Load() == stageProxy {
				err = fmt.Errorf("%w: %w", ErrProxyDown, err)
			}
			return nil, err
		}
	}
	x.stage.Store(stageOpen)
	return c.metered(x, conn), nil
}

// dialProxy connects to the proxy. Its certificate is judged by the roots of
// [Options].TLS, and gets to see the certificates of that, whatever an endpoint
// has of its own.
func (c *Client) dialProxy(ctx context.Context, proxy *url.URL) (net.Conn, error) {
	port := proxy.Port()
	if port == "" {
		port = tunnel.Schemes[proxy.Scheme]
	}
	dial := c.replaced
	if dial == nil {
		dial = c.direct.DialContext
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, err
	}
	conn = exchangeOf(ctx).pool.count(conn)
	if proxy.Scheme != "https" {
		return conn, nil
	}
	config := c.base.Clone()
	config.ServerName = proxy.Hostname()
	config.NextProtos = nil // the tunnel is asked for over HTTP/1.1
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secured, nil
}
