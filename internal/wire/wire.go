// Package wire makes single HTTP POST exchanges with strangers: only where it
// may, within one deadline, and reading no more than it has to.
package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Options configure a Client. The zero Options are HTTPS to public addresses.
type Options struct {
	AllowHTTP        bool
	Allow, Deny      []netip.Prefix // Deny beats Allow beats the default
	Ports            []uint16       // nil: 443, 1024 and above, 80 too with AllowHTTP
	Proxy            func(*http.Request) (*url.URL, error)
	TLS              *tls.Config
	Resolver         *net.Resolver
	MaxResponseBytes int64 // of a response body that are kept; 16 KiB
	IdlePerHost      int   // connections kept per host
	Idle             int   // and in all; no bound
	// Dial replaces dialling, and the guard with it, in tests.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	defaultResponseBytes = 16 << 10
	drainBytes           = 64 << 10 // read beyond what is kept, to reuse the connection
	maxHeaderBytes       = 64 << 10 // accepted
	keptHeaderBytes      = 16 << 10 // returned
	idleTimeout          = 90 * time.Second
)

// Client makes exchanges. New creates it; it is safe for concurrent use.
type Client struct {
	guard     *guard
	transport *http.Transport
	maxBody   int64
}

// New returns a Client.
func New(o Options) (*Client, error) {
	g, err := newGuard(o)
	if err != nil {
		return nil, err
	}
	if o.MaxResponseBytes <= 0 {
		o.MaxResponseBytes = defaultResponseBytes
	}
	config := &tls.Config{}
	if o.TLS != nil {
		config = o.TLS.Clone()
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	dial := dialer{guard: g, resolver: o.Resolver}
	t := &http.Transport{
		DialContext:            dial.dial,
		TLSClientConfig:        config,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           o.Idle,
		MaxIdleConnsPerHost:    o.IdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
	if o.Dial != nil {
		t.DialContext = o.Dial
	}
	if o.Proxy != nil {
		t.Proxy = dial.through(o.Proxy)
	}
	return &Client{guard: g, transport: t, maxBody: o.MaxResponseBytes}, nil
}

// Response is what came back.
type Response struct {
	StatusCode int
	Header     http.Header // bounded, and valid UTF-8
	Body       []byte      // its beginning, as it came over the wire
	Truncated  bool        // there was more of the body or the header, or the body broke off
}

// Post sends body to u and reads the response. ctx carries the one deadline for
// all of it. No redirect is followed. Once the header of a response has come,
// there is no error, whatever becomes of its body. The error is an *[Error].
//
// Post keeps h as it is and never sends a request twice: the header must hold no
// Idempotency-Key, which would make net/http do so.
func (c *Client) Post(ctx context.Context, u *url.URL, h http.Header, body []byte) (Response, error) {
	r := &http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: h,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if len(body) > 0 {
		r.ContentLength = int64(len(body))
		// GetBody lets the transport use another connection when it finds that
		// the first one was dead before anything was written.
		r.GetBody = func() (io.ReadCloser, error) { return &reader{Reader: *bytes.NewReader(body)}, nil }
		r.Body, _ = r.GetBody()
	}
	res, err := c.transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return Response{}, newError(ctx, err)
	}
	response := Response{StatusCode: res.StatusCode}
	response.Header, response.Truncated = bounded(res.Header)
	if res.ContentLength == 0 {
		_ = res.Body.Close()
		return response, nil
	}
	var whole bool
	response.Body, whole = c.read(res)
	response.Truncated = response.Truncated || !whole
	return response, nil
}

// CloseIdle closes the connections that are not in use.
func (c *Client) CloseIdle() { c.transport.CloseIdleConnections() }

// reader is a request body in one allocation.
type reader struct{ bytes.Reader }

func (*reader) Close() error { return nil }

// read returns the beginning of the body and whether that is all of it. It reads
// a little further so that the connection can be used again.
func (c *Client) read(res *http.Response) (kept []byte, whole bool) {
	defer func() { _ = res.Body.Close() }()
	size := c.maxBody
	if n := res.ContentLength; n > 0 && n < size {
		size = n
	} else if n < 0 {
		size = min(size, 512)
	}
	kept = make([]byte, 0, size)
	for {
		n, err := res.Body.Read(kept[len(kept):cap(kept)])
		kept = kept[:len(kept)+n]
		switch {
		case err != nil:
			return kept, err == io.EOF
		case int64(len(kept)) >= c.maxBody:
			n, err := io.CopyN(io.Discard, res.Body, drainBytes)
			return kept, n == 0 && err == io.EOF
		case len(kept) == cap(kept):
			grown := make([]byte, len(kept), min(c.maxBody, int64(2*cap(kept)+1)))
			copy(grown, kept)
			kept = grown
		}
	}
}

// bounded returns a header that any log can keep, and whether it is less than h.
func bounded(h http.Header) (http.Header, bool) {
	size, clean := 0, true
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(v)
			clean = clean && utf8.ValidString(v)
		}
	}
	if size <= keptHeaderBytes && clean {
		return h, false
	}
	kept, size, cut := make(http.Header), 0, false
	for name, values := range h {
		for _, v := range values {
			if size += len(name) + len(v); size > keptHeaderBytes {
				cut = true
				break
			}
			kept[name] = append(kept[name], strings.ToValidUTF8(v, "\uFFFD"))
		}
	}
	return kept, cut
}

// dialer dials what the guard lets through.
type dialer struct {
	guard    *guard
	resolver *net.Resolver
	proxies  sync.Map // host:port of the proxies, which the guard does not judge
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n := net.Dialer{Resolver: d.resolver, KeepAlive: 30 * time.Second}
	if _, ok := d.proxies.Load(address); !ok {
		n.Control = d.guard.control
	}
	return n.DialContext(ctx, network, address)
}

// through remembers which proxies are chosen.
func (d *dialer) through(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		u, err := proxy(r)
		if err == nil && u != nil {
			d.proxies.Store(net.JoinHostPort(u.Hostname(), portOf(u)), struct{}{})
		}
		return u, err
	}
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch u.Scheme {
	case "https":
		return "443"
	case "socks5", "socks5h":
		return "1080"
	}
	return "80"
}

// Error is why there was no response. Its text is for the owner of the URL: it
// names no address and does not tell a blocked one from an unreachable one.
// Unwrap returns the cause, for the operator.
type Error struct {
	text  string
	cause error
}

func (e *Error) Error() string { return e.text }

// Unwrap returns the cause, without the URL.
func (e *Error) Unwrap() error { return e.cause }

func newError(ctx context.Context, err error) *Error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return &Error{ownersText(ctx, err), err}
}

func ownersText(ctx context.Context, err error) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "timeout"
	}
	if _, ok := errors.AsType[*net.OpError](err); ok && strings.Contains(err.Error(), "dial") || errors.Is(err, ErrBlocked) {
		return "connection failed"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "connection failed"
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "TLS: " + strings.TrimPrefix(e.Err.Error(), "x509: ")
	}
	switch text := err.Error(); {
	case strings.Contains(text, "tls:"), strings.Contains(text, "x509:"):
		return "TLS: handshake failed"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return "TLS: the server answered in plain HTTP"
	case strings.Contains(text, "server response headers exceeded"):
		return fmt.Sprintf("response headers exceed %d KiB", maxHeaderBytes>>10)
	case strings.Contains(text, "malformed"), strings.Contains(text, "transport connection broken"):
		return "malformed response"
	}
	return "connection closed before a response"
}
