package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/outhook/webhook/internal/tunnel"
)

// The stages at which an exchange can fail before its request is sent.
var (
	errDial      = errors.New("connecting")
	errHandshake = errors.New("TLS handshake")
	// Not quite before: the receiver had asked for a client certificate.
	errCertificate = errors.New("connection closed after a client certificate was asked for")
)

// errConns ends an exchange whose receiver says on connection after connection
// that it has not processed the request. net/http would go on until the deadline,
// hundreds of times a second.
var errConns = errors.New("the receiver gave up each of the connections")

// Error is why an exchange brought no response. Its text is for the owner of the
// URL: it does not tell a forbidden address from an unreachable one, and holds
// no address that a name resolved to and nothing of the URL but its host. The
// cause, which Unwrap returns, is for the operator.
type Error struct {
	text  string
	cause error
}

func newError(ctx context.Context, err error) *Error {
	text := describe(ctx, err)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL
	}
	return &Error{text: text, cause: err}
}

func (e *Error) Error() string { return e.text }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// DownProxy returns the proxy that is down, as a URL without credentials, and how
// long to wait for it, where the error is [ErrProxyDown].
func (e *Error) DownProxy() (proxy string, wait time.Duration) {
	if p, ok := errors.AsType[*proxyError](e.cause); ok && p.down {
		return p.proxy, p.wait
	}
	return "", 0
}

func describe(ctx context.Context, err error) string {
	if errors.Is(err, ErrURL) {
		return ErrURL.Error()
	}
	const unreachable = "connection failed"
	if errors.Is(err, ErrProxy) {
		return "not sent: the sender's own network failed"
	}
	if errors.Is(err, ErrBlocked) {
		return unreachable
	}
	if cut := context.Cause(ctx); cut != nil && errors.Is(err, cut) {
		if ctx.Err() == context.Canceled {
			return "cancelled"
		}
		return "timeout"
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return "timeout"
	}
	if errors.Is(err, errDial) || errors.Is(err, tunnel.ErrUnreachable) || errors.Is(err, tunnel.ErrUnclear) {
		return unreachable
	}
	if text := describeTLS(err); text != "" {
		return "TLS: " + printable(text)
	}
	text := err.Error()
	switch {
	// The errors of net/http that say so have no type.
	case strings.Contains(text, "response headers exceeded"), strings.Contains(text, "header list"):
		return "response headers too large"
	case strings.Contains(text, "net/http: invalid header field"): // HTTP/2 says so of a response's
		return "invalid request header"
	case isClosed(err):
		return "connection closed before a response"
	}
	return "no valid response"
}

// describeTLS returns "" for an error that has nothing to do with TLS.
func describeTLS(err error) string {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		if e.Cert != nil && time.Now().Before(e.Cert.NotBefore) {
			return "certificate is not valid yet"
		}
		return "certificate has expired"
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if e.Cert != nil && bytes.Equal(e.Cert.RawSubject, e.Cert.RawIssuer) {
			return "certificate is self-signed"
		}
		return "certificate is signed by an unknown authority, or an intermediate certificate is missing"
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return strings.TrimPrefix(e.Err.Error(), "x509: ")
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the server does not speak TLS"
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && (e.Op == "remote error" || e.Op == "local error") {
		return strings.TrimPrefix(e.Err.Error(), "tls: ")
	}
	if errors.Is(err, errCertificate) {
		return errCertificate.Error()
	}
	if !errors.Is(err, errHandshake) {
		return ""
	}
	if _, text, ok := strings.Cut(err.Error(), ": tls: "); ok { // crypto/tls's own words
		return text
	}
	if isClosed(err) {
		return "connection closed during the handshake"
	}
	return "handshake failed"
}

// isClosed reports whether the connection was cut. The errors of net/http for
// a connection that it found closed before use have no type.
func isClosed(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		switch op.Op {
		case "read", "write", "readfrom": // the last one while a large body is sent
			return true
		}
	}
	return errors.Is(err, errConns) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.ErrClosedPipe) || strings.Contains(err.Error(), "server closed idle connection") ||
		strings.Contains(err.Error(), "client conn could not be established")
}

// printable bounds a text in which the receiver's certificate has a say.
func printable(s string) string {
	const limit = 200
	if len(s) > limit {
		s = s[:limit] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
