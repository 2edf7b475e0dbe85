package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzResponse: whatever bytes a receiver sends, in whatever pieces, what is
// returned is bounded and can be stored, and comes at once.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		"",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.0 500 \xff\r\nX: \xff\r\n\r\nbody",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 000 Nothing\r\n\r\n",
		"HTTP/1.1 999 \x00\r\nX: \x00\r\n\r\n", "HTTP/1.1 1000 X\r\n\r\n", "HTTP/1.1 -1 X\r\n\r\n", "HTTP/9.9 200 OK\r\n\r\n", "HTTP/0.9 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nA: \xff\r\n",
		"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 304 No\r\n\r\nhello", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00",
		"HTTP/1.1 301 Gone\r\nLocation: http://127.0.0.1/\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n" + "HTTP/1.1 102 A\r\nX: y\r\n\r\n" + "HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "HTTP/1.1 200 OK\r\n : x\r\n\r\n", "HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "HTTP/1.1 200 OK\r\nX\xff: y\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\nX: y\n\nbody", "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nSet-Cookie: c\r\n\r\n", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: 0123456789\r\n", 2000) + "\r\n", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X", 70<<10), "HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 100<<10),
	} {
		f.Add([]byte(seed), uint16(0))
		f.Add([]byte(seed), uint16(1))
	}
	var answer func(net.Conn)
	o := local
	o.MaxResponseBytes = 64
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		return piped(answer)(ctx, network, address)
	}
	c := newClient(f, o)
	f.Fuzz(func(t *testing.T, raw []byte, piece uint16) {
		size := max(int(piece), 1)
		if piece == 0 || len(raw) > 100*size {
			size = len(raw)
		}
		answer = func(conn net.Conn) {
			if !swallow(bufio.NewReader(conn)) {
				return
			}
			for rest := raw; len(rest) > 0; {
				n, err := conn.Write(rest[:min(size, len(rest))])
				if err != nil {
					return
				}
				rest = rest[n:]
			}
		}
		defer c.CloseIdle()
		start := time.Now()
		res, err := post(t, c, "http://example.com", "{}")
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Unwrap() == nil || strings.Contains(err.Error(), "timeout") {
				t.Fatalf("%#v", err)
			}
			checkText(t, err)
			return
		}
		total := 0
		for name, values := range res.Header {
			total += fieldSize(name, values)
			for _, v := range values {
				if !utf8.ValidString(name) || !utf8.ValidString(v) || strings.ContainsAny(name+v, "\x00\r\n") || name == "" {
					t.Errorf("%q: %q", name, v)
				}
			}
		}
		if res.StatusCode < 100 || res.StatusCode > 999 || len(res.Body) > 64 || total > maxKeptHeader {
			t.Errorf("status %d, %d bytes of body, %d of header", res.StatusCode, len(res.Body), total)
		}
		if !strings.Contains(string(raw), " "+strconv.Itoa(res.StatusCode)) {
			t.Errorf("status %d is not in what was sent", res.StatusCode)
		}
	})
}

// checkText: what an endpoint's owner reads is short and printable, whatever the
// receiver had a say in.
func checkText(t *testing.T, err error) {
	t.Helper()
	if text := err.Error(); text == "" || len(text) > 300 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("the error says %q", text)
	}
}

// FuzzHandshake: a receiver that answers a TLS handshake with anything brings no
// response and no panic, but an error that can be shown.
func FuzzHandshake(f *testing.F) {
	certified := recordedServer(f)
	for _, seed := range []string{
		"", "HTTP/1.1 400 Bad Request\r\n\r\n", "\x15\x03\x03\x00\x02\x02\x28", "\x15\x03\x03\x00\x02\x02\xff", "\x16\x03\x03\x00\x04\x02\x00\x00\x00", "\x16\x03\x01\xff\xff", "\x80\x80\x01\x00\x02",
		certified, certified[:len(certified)/2],
	} {
		f.Add([]byte(seed))
	}
	var raw []byte
	o := local
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		return piped(func(conn net.Conn) {
			if _, err := conn.Read(make([]byte, 4096)); err != nil {
				return
			}
			// A pipe holds nothing back: an alert must find a reader.
			var drained sync.WaitGroup
			drained.Go(func() { _, _ = io.Copy(io.Discard, conn) })
			_, _ = conn.Write(raw)
			_ = conn.Close()
			drained.Wait()
		})(ctx, network, address)
	}
	c := newClient(f, o)
	f.Fuzz(func(t *testing.T, src []byte) {
		raw = src
		defer c.CloseIdle()
		res, err := post(t, c, "https://example.com", "{}")
		if err == nil {
			t.Fatalf("%+v", res)
		}
		if !strings.HasPrefix(err.Error(), "TLS: ") && err.Error() != "connection closed before a response" {
			t.Errorf("the error says %q: %v", err, errors.Unwrap(err))
		}
		checkText(t, err)
	})
}

// recordedServer returns what a server of TLS 1.2 sends first, its certificate
// with it.
func recordedServer(f *testing.F) string {
	f.Helper()
	signed := certificate(f, x509.Certificate{Subject: pkix.Name{CommonName: "a\nb\u00e9"}, DNSNames: []string{"a.example"}}, nil)
	ours, theirs := net.Pipe()
	defer ours.Close()
	var said strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		config := &tls.Config{Certificates: []tls.Certificate{*signed}, MaxVersion: tls.VersionTLS12}
		_ = tls.Server(tap{theirs, &said}, config).Handshake()
	}()
	_ = tls.Client(ours, &tls.Config{ServerName: "a.example", MaxVersion: tls.VersionTLS12}).Handshake() // it does not know the authority
	<-done
	return said.String()
}

// tap writes down what is written.
type tap struct {
	net.Conn
	said io.Writer
}

func (t tap) Write(b []byte) (int, error) {
	_, _ = t.said.Write(b)
	return t.Conn.Write(b)
}
