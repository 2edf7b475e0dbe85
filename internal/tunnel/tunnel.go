// Package tunnel asks a proxy, by HTTP CONNECT (RFC 9110, section 9.3.6) or
// SOCKS5 (RFC 1928 and 1929), for a connection to somewhere else, and tells whose
// fault it is when there is none.
//
// net/http can do both, but its errors have no types: what SOCKS5 answered is a
// word in a text, and a connection that breaks off before the tunnel stands looks
// like one that does afterwards.
package tunnel

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Whose fault it is. The texts of the errors that match these hold no credentials,
// and of what the proxy sent a printable bit at the most.
var (
	// ErrProxy says that the proxy is ill, is none, or does not let us use it.
	ErrProxy = errors.New("the proxy fails")
	// ErrRefused says that its rules forbid the destination.
	ErrRefused = errors.New("refused by the proxy")
	// ErrUnreachable says that it could not connect to the destination.
	ErrUnreachable = errors.New("not reached by the proxy")
	// ErrUnclear says that the answer fits a fault of the proxy as well as one of
	// the destination.
	ErrUnclear = errors.New("the proxy does not say why")
)

const (
	maxAnswer  = 64 << 10 // of the header of an answer to CONNECT
	maxInterim = 5        // 1xx answers before it
)

// Schemes are those of the proxies that Open can use, with their default ports.
var Schemes = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// Open makes conn, which leads to the proxy, lead to the address, a host and a
// port. asked is called once the proxy has shown that it is one, as far as its
// protocol makes it, and right before it is asked for the destination. Unless the
// context has ended, which is the error then, the error matches one of those
// above. The caller closes conn.
func Open(ctx context.Context, conn net.Conn, proxy *url.URL, address string, asked func()) error {
	// The context alone ends it, so that it is known to be the cause: what is
	// read by halves looks malformed.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	open := connect
	if strings.HasPrefix(proxy.Scheme, "socks5") {
		open = socks5
	}
	err := open(conn, proxy.User, address, asked)
	if !stop() { // the connection is of no use any more, or about to be
		return ctx.Err()
	}
	return err
}

func connect(conn net.Conn, user *url.Userinfo, address string, asked func()) error {
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if user != nil {
		password, _ := user.Password()
		r.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	asked()
	if err := r.Write(conn); err != nil {
		return fmt.Errorf("%w: asking for the tunnel: %w", ErrProxy, err)
	}
	answers := bufio.NewReader(&io.LimitedReader{R: conn, N: maxAnswer})
	for range maxInterim {
		res, err := http.ReadResponse(answers, r)
		switch {
		case isBroken(err):
			return fmt.Errorf("%w: it answered CONNECT with nothing: %w", ErrProxy, err)
		case err != nil:
			// The error repeats what came, which may be our own words.
			return fmt.Errorf("%w: its answer to CONNECT is not HTTP", ErrProxy)
		case res.StatusCode >= 200 && res.StatusCode <= 299:
			if answers.Buffered() > 0 {
				return fmt.Errorf("%w: it sent more than its answer to CONNECT", ErrProxy)
			}
			return nil
		case res.StatusCode < 100 || res.StatusCode > 199 || res.StatusCode == http.StatusSwitchingProtocols:
			return Answer(res)
		}
	}
	return fmt.Errorf("%w: it answers CONNECT with 1xx for ever", ErrProxy)
}

// isBroken reports whether reading failed, rather than understanding.
func isBroken(err error) bool {
	_, failed := errors.AsType[net.Error](err)
	return failed || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe)
}

// The methods of SOCKS5, and what it answers (RFC 1928, sections 3, 4 and 6).
const (
	version5      = 5
	subversion    = 1 // of the negotiation in RFC 1929
	methodNone    = 0
	methodUser    = 2
	commandDial   = 1
	typeIPv4      = 1
	typeName      = 3
	typeIPv6      = 4
	maxName       = 255
	repliesNormal = 0
)

var replies = map[byte]struct {
	verdict error
	text    string
}{
	0x01: {ErrUnclear, "general failure"}, // also what some answer for a name that does not exist
	0x02: {ErrRefused, "not allowed by its rules"},
	0x03: {ErrUnreachable, "network unreachable"},
	0x04: {ErrUnreachable, "host unreachable"},
	0x05: {ErrUnreachable, "connection refused"},
	0x06: {ErrUnreachable, "TTL expired"},
	0x07: {ErrProxy, "command not supported"},
	0x08: {ErrUnreachable, "address type not supported"},
}

func socks5(conn net.Conn, user *url.Userinfo, address string, asked func()) error {
	if err := greet(conn, user); err != nil {
		return fmt.Errorf("%w: SOCKS5: %w", ErrProxy, err)
	}
	request, err := appendAddress([]byte{version5, commandDial, 0}, address)
	if err != nil {
		return fmt.Errorf("%w: SOCKS5: %w", ErrUnreachable, err)
	}
	asked()
	if _, err := conn.Write(request); err != nil {
		return fmt.Errorf("%w: SOCKS5: asking for the destination: %w", ErrProxy, err)
	}
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return fmt.Errorf("%w: SOCKS5: it answered with nothing: %w", ErrProxy, err)
	}
	if head[0] != version5 {
		return fmt.Errorf("%w: SOCKS5: malformed answer", ErrProxy)
	}
	if code := head[1]; code != repliesNormal {
		if reply, ok := replies[code]; ok {
			return fmt.Errorf("%w: SOCKS5: %s", reply.verdict, reply.text)
		}
		return fmt.Errorf("%w: SOCKS5: unknown answer %#02x", ErrProxy, code)
	}
	// The address that it has bound is of no use, but must be read.
	size := 0
	switch head[3] {
	case typeIPv4:
		size = net.IPv4len
	case typeIPv6:
		size = net.IPv6len
	case typeName:
		if _, err := io.ReadFull(conn, head[:1]); err != nil {
			return fmt.Errorf("%w: SOCKS5: reading its answer: %w", ErrProxy, err)
		}
		size = int(head[0])
	default:
		return fmt.Errorf("%w: SOCKS5: malformed answer", ErrProxy)
	}
	if _, err := io.ReadFull(conn, make([]byte, size+2)); err != nil {
		return fmt.Errorf("%w: SOCKS5: reading its answer: %w", ErrProxy, err)
	}
	return nil
}

// greet agrees on a method and authenticates.
func greet(conn net.Conn, user *url.Userinfo) error {
	methods := []byte{methodNone}
	var name, password string
	if user != nil {
		name = user.Username()
		password, _ = user.Password()
		if name == "" || len(name) > maxName || len(password) > maxName {
			return errors.New("user and password must have 1 to 255 bytes")
		}
		methods = append(methods, methodUser)
	}
	if _, err := conn.Write(append([]byte{version5, byte(len(methods))}, methods...)); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	var answer [2]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("it answered the greeting with nothing: %w", err)
	}
	switch {
	case answer[0] != version5:
		return errors.New("it does not speak SOCKS5")
	case answer[1] == methodNone:
		return nil
	case answer[1] != methodUser || user == nil:
		return errors.New("it wants another kind of authentication")
	}
	credentials := append([]byte{subversion, byte(len(name))}, name...)
	credentials = append(append(credentials, byte(len(password))), password...)
	if _, err := conn.Write(credentials); err != nil {
		return fmt.Errorf("authenticating: %w", err)
	}
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("it answered the authentication with nothing: %w", err)
	}
	if answer[0] != subversion || answer[1] != 0 {
		return errors.New("it does not accept user and password")
	}
	return nil
}

// appendAddress appends an address in the form of SOCKS5. Names are for the proxy
// to resolve.
func appendAddress(b []byte, address string) ([]byte, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.New("malformed address")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, errors.New("malformed port")
	}
	switch a, err := netip.ParseAddr(host); {
	case err == nil && a.Unmap().Is4():
		b = append(append(b, typeIPv4), a.Unmap().AsSlice()...)
	case err == nil:
		b = append(append(b, typeIPv6), a.AsSlice()...)
	case host == "" || len(host) > maxName:
		return nil, errors.New("host name of a length that SOCKS5 does not have")
	default:
		b = append(append(b, typeName, byte(len(host))), host...)
	}
	return binary.BigEndian.AppendUint16(b, uint16(number)), nil
}
