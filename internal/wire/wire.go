// Package wire makes single HTTP POST exchanges with strangers: only where it
// may, within one deadline, and reading no more of the answer than is worth it.
//
// Every address is judged after the name was resolved, right before it is
// dialled, so that a name which changes its mind passes no check. A connection
// that is kept goes on leading to the address that was judged when it was made,
// whatever the name says meanwhile. No redirect is
// followed, nothing is decompressed, no cookie is kept, no proxy is taken from
// the environment, and no request is sent twice.
package wire

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

const (
	maxDrained     = 64 << 10 // of a body beyond what is kept, so that the connection can be used again
	maxHeader      = 64 << 10 // of a response's header, 1xx responses included
	maxKeptHeader  = 16 << 10
	idleTimeout    = 90 * time.Second
	connectTimeout = time.Minute // where the context has no deadline
	maxDials       = 16          // of the addresses of a name, for one exchange
	maxConns       = 3           // that are made for one exchange
)

// Options configure a [Client]. The zero Options mean HTTPS to public addresses.
type Options struct {
	// AllowHTTP permits http URLs beside https ones.
	AllowHTTP bool
	// Allow and Deny are addresses that are permitted or forbidden: Deny beats
	// Allow, which beats the default. That forbids whatever is not public (what
	// code.dny.dev/ssrf denies, and 168.63.129.16) and the machine's own
	// addresses. An IPv4-mapped IPv6 address is judged as the IPv4 one; one that
	// holds an IPv4 address (NAT64, 6to4, Teredo, ISATAP and the obsolete forms)
	// must be permitted itself and in that one (RFC 6052, section 3.1).
	//
	// Without Allow, names are refused as well that only the sender's own network
	// can know: single labels, localhost, and domains such as local, internal and
	// home.arpa. Behind a proxy they are refused in any case, when a request is made.
	Allow, Deny []netip.Prefix
	// Ports are those that are permitted; nil: 443, 1024 and above, and 80 with
	// AllowHTTP.
	Ports []uint16
	// Proxy chooses a proxy for a request, as http.Transport's does; nil: none,
	// never one of the environment. Connections to the proxy are not judged. Nor
	// are the addresses of a host name, which the proxy resolves.
	Proxy func(*http.Request) (*url.URL, error)
	// Proxies is what is known of the proxies, to be shared with other clients;
	// nil: of its own.
	Proxies *Proxies
	// TLS is the client's configuration; nil: the defaults. Never below TLS 1.2,
	// and always with the verification of certificates.
	TLS *tls.Config
	// Resolver resolves host names; nil: net.DefaultResolver.
	Resolver *net.Resolver
	// MaxResponseBytes is how much of a response body is kept; 0: 16 KiB;
	// negative: nothing.
	MaxResponseBytes int64
	// IdlePerHost and Idle are how many idle connections are kept per host and
	// in all; 0: 64 and 1,024. As many again as Idle are kept through proxies and
	// by the clients of [Client.WithTLS], by all of these together.
	IdlePerHost, Idle int
	// Dial replaces dialling, the guard included; for tests.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client makes exchanges, concurrently if need be. New creates it.
type Client struct {
	guard     *guard
	dialer    net.Dialer // dials strangers
	direct    net.Dialer // dials proxies
	replaced  func(ctx context.Context, network, address string) (net.Conn, error)
	proxy     func(*http.Request) (*url.URL, error)
	proxies   *Proxies
	base      *tls.Config     // for proxies
	config    *tls.Config     // for receivers
	idle      [2]int          // connections kept: per host, in all
	pools     *pools          // of routes, and of what WithTLS derives
	transport *http.Transport // of what needs no proxy
	pool      *pool           // of transport; nil: MaxIdleConns is bound enough for the one of New
	maxBody   int64
	buffers   *sync.Pool // of *[16 << 10]byte

	mu sync.Mutex
	// routes are by the hash of the proxy's URL with its credentials, which whoever
	// prints the client must not see.
	routes map[[sha256.Size]byte]*route
	uses   uint64 // of routes
}

// New returns a client. It fails on options that cannot be meant, and when the
// machine's own addresses cannot be listed.
func New(o Options) (*Client, error) {
	g, err := newGuard(o)
	if err != nil {
		return nil, err
	}
	config := o.TLS.Clone()
	switch {
	case config == nil:
		config = new(tls.Config)
	case config.InsecureSkipVerify:
		return nil, errors.New("TLS.InsecureSkipVerify: certificates are always verified; TLS.RootCAs adds authorities")
	case config.MaxVersion != 0 && config.MaxVersion < tls.VersionTLS12:
		return nil, errors.New("TLS.MaxVersion: TLS 1.2 is the minimum")
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	c := &Client{
		guard:    g,
		dialer:   net.Dialer{Resolver: o.Resolver, ControlContext: g.controlFew},
		direct:   net.Dialer{Resolver: o.Resolver},
		replaced: o.Dial,
		proxy:    o.Proxy,
		proxies:  o.Proxies,
		base:     config,
		idle:     [2]int{cmp.Or(o.IdlePerHost, 64), cmp.Or(o.Idle, 1024)},
		maxBody:  min(max(0, cmp.Or(o.MaxResponseBytes, 16<<10)), math.MaxInt32),
		buffers:  &sync.Pool{New: func() any { return new([16 << 10]byte) }},
	}
	if c.proxies == nil {
		c.proxies = NewProxies(func(context.Context, string, error) {})
	}
	c.pools = &pools{limit: c.idle[1]}
	c.open(config)
	return c, nil
}

// WithTLS returns a client that differs in its TLS configuration towards
// receivers, which change makes of a copy of this one's, and that uses none of
// this one's connections. What the two keep idle is bounded together.
func (c *Client) WithTLS(change func(*tls.Config)) *Client {
	config := c.base.Clone()
	change(config)
	config.InsecureSkipVerify, config.MinVersion = false, max(config.MinVersion, tls.VersionTLS12)
	n := &Client{
		guard: c.guard, dialer: c.dialer, direct: c.direct, replaced: c.replaced, proxy: c.proxy, proxies: c.proxies,
		base: c.base, idle: [2]int{c.idle[0], min(c.idle[0], c.idle[1])}, pools: c.pools, maxBody: c.maxBody, buffers: c.buffers,
	}
	n.open(config)
	n.pool = &pool{transport: n.transport, all: n.pools}
	return n
}

// open gives the client connections of its own.
func (c *Client) open(config *tls.Config) {
	c.config, c.routes = config, make(map[[sha256.Size]byte]*route)
	c.transport = c.newTransport(config)
	c.transport.DialContext, c.transport.DialTLSContext = c.dial, c.dialTLS
}

// newTransport returns a transport that lacks but its dialling.
func (c *Client) newTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		TLSClientConfig:        config.Clone(), // which net/http changes
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    c.idle[0],
		MaxIdleConns:           c.idle[1],
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
		// A connection that died silently would fail every exchange until TCP
		// gives up on it; one whose peer stops reading would hold up the rest.
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: 15 * time.Second,
			MaxReceiveBufferPerStream: int(c.maxBody + maxDrained), // no more than is read; 4 MiB by default
		},
	}
}

// Response is what came back.
type Response struct {
	StatusCode int // 100 to 999
	// Header is at most 16 KiB in all and valid UTF-8.
	Header http.Header
	// Body is the beginning of the body, as it came over the wire.
	Body []byte
	// Truncated says that there was more of the header or of the body, or that
	// the body broke off.
	Truncated bool
}

// Post sends body to u, a result of [Client.CheckURL], and reads the response.
// ctx carries the one deadline for resolving, connecting, sending and reading.
// Once a response's header has come there is no error, whatever becomes of its
// body; an error is an *[Error]. No more than 3 connections are made for it, to
// no more than 16 addresses, and a receiver that sends much more than the response
// loses its connection.
//
// h and body are sent as they are. They must not be modified, not even later:
// the connection may go on reading them when the answer came early.
func (c *Client) Post(ctx context.Context, u *url.URL, h http.Header, body []byte) (Response, error) {
	if h == nil {
		h = http.Header{}
	}
	x := &exchange{Context: ctx}
	x.body.Reset(body)
	r := http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: h,
		// Of other types than this net/http does not know that they are in
		// memory, and it sends the header in a packet of its own.
		Body: io.NopCloser(&x.body), ContentLength: int64(len(body)),
	}
	// net/http sends a request again that failed before a byte of it was
	// written, as long as it can get the body again. Under an idempotency key it
	// would do so even afterwards (see isReplayable there).
	if !has(h, "Idempotency-Key") && !has(h, "X-Idempotency-Key") {
		if len(body) == 0 {
			r.Body = http.NoBody
		}
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	defer x.end()
	res, err := c.roundTrip(x, &r)
	if err != nil {
		// What such a receiver says of the certificate comes after the handshake,
		// and may be lost when the connection breaks.
		if x.certificate.Load() && isClosed(err) {
			err = fmt.Errorf("%w: %w", errCertificate, err)
		}
		return Response{}, newError(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	response := Response{StatusCode: res.StatusCode}
	var cut bool
	response.Header, cut = keepHeader(res.Header)
	response.Body, response.Truncated = c.keepBody(res)
	response.Truncated = response.Truncated || cut
	return response, nil
}

// MaxBody is how much of a response body is kept.
func (c *Client) MaxBody() int { return int(c.maxBody) }

// CloseIdle closes the connections that no exchange uses, and ends the attempts
// to connect that none waits for.
func (c *Client) CloseIdle() {
	c.transport.CloseIdleConnections()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.routes {
		r.transport.CloseIdleConnections()
	}
}

func (c *Client) roundTrip(x *exchange, r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !c.guard.allowHTTP {
		return nil, fmt.Errorf("%w: its scheme is not https", ErrURL)
	}
	var proxy *url.URL
	if c.proxy != nil {
		var err error
		if proxy, err = c.chooseProxy(r.WithContext(x.Context)); err != nil {
			return nil, err
		}
	}
	ctx := context.Context(x)
	if x.secured = r.URL.Scheme == "https"; x.secured { // only there is HTTP/2
		ctx = httptrace.WithClientTrace(ctx, x.trace())
	}
	var res *http.Response
	var err error
	if proxy == nil {
		x.begin(c.pool)
		res, err = c.transport.RoundTrip(r.WithContext(ctx))
	} else if err = c.guard.behind(r.URL); err == nil { // it will not see the address that the proxy dials
		res, err = c.through(ctx, x, r, proxy)
	}
	if err == nil && (res.StatusCode < 100 || res.StatusCode > 999) {
		_ = res.Body.Close()
		return nil, fmt.Errorf("malformed HTTP status code %d", res.StatusCode)
	}
	return res, err
}

func has(h http.Header, name string) bool {
	_, ok := h[name]
	return ok
}

// exchange is the context of a request, and what belongs to the request in the
// same allocation.
type exchange struct {
	context.Context
	body        bytes.Reader
	certificate atomic.Bool // it made a connection whose receiver asked for one

	secured      bool
	pool         *pool  // of its connections
	meter        *meter // of its connection, if that is secured
	conns, dials atomic.Int32

	// Of one that goes through a proxy:
	forward   bool         // it is the proxy that makes the request, rather than a tunnel
	connected atomic.Bool  // it has a connection, whoever opened that
	stage     atomic.Int32 // how far its own attempt to connect has come
}

// begin says that the exchange uses the pool.
func (x *exchange) begin(p *pool) {
	x.pool = p
	p.begin()
}

// end says that the exchange is over, with the body of its response closed. A
// dial may go on for a later one, and still asks for the pool.
func (x *exchange) end() {
	x.leave()
	x.pool.end()
}

type exchangeKey struct{}

// Value returns the exchange itself to exchangeOf.
func (x *exchange) Value(key any) any {
	if key == (exchangeKey{}) {
		return x
	}
	return x.Context.Value(key)
}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// withDeadline gives the deadline of its exchange back to the context of a dial,
// which net/http detaches so that a later exchange can use the connection.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if d, ok := exchangeOf(ctx).Deadline(); ok {
		return context.WithDeadline(ctx, d)
	}
	return context.WithTimeout(ctx, connectTimeout)
}

// dial connects to a stranger under the guard.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	x := exchangeOf(ctx)
	if x.conns.Add(1) > maxConns {
		return nil, errConns
	}
	dial := c.replaced
	if dial == nil {
		dial = c.dialer.DialContext
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDial, err)
	}
	return c.metered(x, x.pool.count(conn)), nil
}

// metered bounds what comes on a connection that may turn out to be of HTTP/2.
func (c *Client) metered(x *exchange, conn net.Conn) net.Conn {
	if !x.secured {
		return conn
	}
	// Framing is part of what comes, and what is on its way when reading ends.
	return newMeter(conn, 2*(maxHeader+c.maxBody+maxDrained))
}

// dialTLS is dial and the handshake.
func (c *Client) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return handshake(ctx, conn, c.transport.TLSClientConfig, address)
}

// handshake makes conn a TLS connection to the address. net/http would end a
// handshake by a timeout of its own only.
func handshake(ctx context.Context, conn net.Conn, config *tls.Config, address string) (net.Conn, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(address)
	}
	choose, x := config.GetClientCertificate, exchangeOf(ctx)
	if choose == nil {
		choose = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return firstOf(config.Certificates, asked), nil
		}
	}
	config.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		x.certificate.Store(true)
		return choose(asked)
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: %w", errHandshake, err)
	}
	return secured, nil
}

// firstOf chooses a certificate as crypto/tls does.
func firstOf(certificates []tls.Certificate, asked *tls.CertificateRequestInfo) *tls.Certificate {
	for n := range certificates {
		if asked.SupportsCertificate(&certificates[n]) == nil {
			return &certificates[n]
		}
	}
	return new(tls.Certificate)
}

// keepHeader makes a header fit to be stored, and reports whether that dropped
// some of its fields.
func keepHeader(h http.Header) (http.Header, bool) {
	total := 0
	for name, values := range h {
		for n, v := range values {
			if !utf8.ValidString(v) {
				values[n] = strings.ToValidUTF8(v, string(utf8.RuneError))
			}
		}
		total += fieldSize(name, values)
	}
	if total <= maxKeptHeader {
		return h, false
	}
	total = 0
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if size := fieldSize(name, h[name]); total+size <= maxKeptHeader {
			total += size
		} else {
			delete(h, name)
		}
	}
	return h, true
}

func fieldSize(name string, values []string) int {
	size := 0
	for _, v := range values {
		size += len(name) + len(v)
	}
	return size
}

// keepBody returns the beginning of the body, and whether that is not all of it.
// It reads on for a while, so that the connection can be used again.
func (c *Client) keepBody(res *http.Response) (body []byte, truncated bool) {
	if res.ContentLength == 0 { // nor is there a body to read after 101, but a connection
		return nil, false
	}
	buffer := c.buffers.Get().(*[16 << 10]byte)
	defer c.buffers.Put(buffer)
	left := c.maxBody + maxDrained
	if res.ContentLength > left {
		left = c.maxBody // the end is out of reach
	}
	for left > 0 {
		n, err := res.Body.Read(buffer[:min(left, int64(len(buffer)))])
		left -= int64(n)
		kept := min(n, int(c.maxBody)-len(body))
		body = append(body, buffer[:kept]...)
		truncated = truncated || kept < n
		if err != nil {
			return body, truncated || err != io.EOF
		}
	}
	return body, true
}
