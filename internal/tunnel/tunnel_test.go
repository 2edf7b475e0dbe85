package tunnel

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "s3cret"

// open opens a tunnel through a proxy that is played by a function, and returns
// how that ended and whether the proxy was asked for the destination.
func open(t *testing.T, scheme, address string, play func(net.Conn)) (conn net.Conn, asked bool, err error) {
	t.Helper()
	proxy := &url.URL{Scheme: scheme, User: url.UserPassword("user", secret), Host: "proxy.example"}
	here, there := net.Pipe()
	played := make(chan struct{})
	go func() {
		defer close(played)
		defer func() { _ = there.Close() }()
		play(there)
	}()
	t.Cleanup(func() {
		_ = here.Close()
		<-played
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err = Open(ctx, here, proxy, address, func() { asked = true })
	if err != nil && (strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "dXNlcjp") || len(err.Error()) > 400) {
		t.Errorf("the error says too much: %v", err)
	}
	return here, asked, err
}

// verdictOf names what an error says of whose fault it is.
func verdictOf(err error) string {
	found := ""
	for name, v := range map[string]error{"proxy": ErrProxy, "refused": ErrRefused, "unreachable": ErrUnreachable, "unclear": ErrUnclear} {
		if errors.Is(err, v) {
			found += name
		}
	}
	return found
}

// What proxies answer to CONNECT, as their source has it, and what is made of it.
func TestAnswersToCONNECT(t *testing.T) {
	for _, tt := range []struct{ answer, want string }{
		{"200 Connection established", ""},
		{"200 OK\r\nContent-Length: 5", ""}, // which does not count (RFC 9110, section 9.3.6)
		{"204 No Content", ""},
		{"100 Continue\r\n\r\nHTTP/1.1 200 OK", ""},

		// smokescreen: pkg/smokescreen/smokescreen.go, rejectResponse.
		{"407 Request rejected by proxy\r\nX-Smokescreen-Error: Egress proxying is denied to host '10.0.0.1:443': no valid IP found", "refused"},
		{"407 Request rejected by proxy", "refused"},
		{"502 Bad gateway\r\nX-Smokescreen-Error: Failed to resolve remote hostname: no such host", "unreachable"},
		{"502 Bad gateway\r\nX-Smokescreen-Error: Failed to connect to remote host: connection refused", "unreachable"},
		{"504 Gateway timeout\r\nX-Smokescreen-Error: Timed out connecting to remote host", "unreachable"},
		{"429 Too Many Requests\r\nRetry-After: 1\r\nX-Smokescreen-Error: limit", "proxy"},
		{"500 Internal server error\r\nX-Smokescreen-Error: An unexpected error occurred: EOF", "proxy"},

		// Squid: src/tunnel.cc, src/FwdState.cc, src/HappyConnOpener.cc.
		{"403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0", "refused"},
		{"407 Proxy Authentication Required\r\nX-Squid-Error: ERR_CACHE_ACCESS_DENIED 0\r\nProxy-Authenticate: Basic realm=\"squid\"", "proxy"},
		{"503 Service Unavailable\r\nX-Squid-Error: ERR_DNS_FAIL 0", "unreachable"},
		{"503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 111", "unreachable"},
		{"503 Service Unavailable\r\nX-Squid-Error: ERR_SHUTTING_DOWN 0", "proxy"},
		{"503 Service Unavailable\r\nX-Squid-Error: ERR_GATEWAY_FAILURE 0", "proxy"},
		{"503 Service Unavailable\r\nX-Squid-Error: ERR_CANNOT_FORWARD 0", "unclear"},
		{"500 Internal Server Error\r\nX-Squid-Error: ERR_SOCKET_FAILURE 24", "proxy"},
		{"400 Bad Request\r\nX-Squid-Error: ERR_INVALID_URL 0", "unclear"},

		// Envoy.
		{"503 Service Unavailable\r\nServer: envoy", "unreachable"},
		{"503 Service Unavailable\r\nServer: envoy\r\nX-Envoy-Overloaded: true", "proxy"},
		{"503 Service Unavailable\r\nServer: envoy\r\nX-Envoy-Local-Overloaded: true", "proxy"},
		{"403 Forbidden\r\nServer: envoy", "refused"},

		// tinyproxy: src/reqs.c. Others answer 404 for a name without addresses.
		{"500 Unable to connect\r\nServer: tinyproxy/1.11.2", "unreachable"},
		{"500 Internal error\r\nServer: tinyproxy/1.11.2", "proxy"},
		{"403 Filtered\r\nServer: tinyproxy/1.11.2", "refused"},
		{"404 Not Found (resolve failed)", "unreachable"},

		// RFC 9209, section 2.3.
		{"502 Bad Gateway\r\nProxy-Status: p; error=connection_refused", "unreachable"},
		{"504 Gateway Timeout\r\nProxy-Status: p; error=dns_timeout", "unreachable"},
		{"502 Bad Gateway\r\nProxy-Status: p;error=destination_ip_prohibited;details=\"10.0.0.1\"", "refused"},
		{"503 Service Unavailable\r\nProxy-Status: p; error=connection_limit_reached", "proxy"},
		{"502 Bad Gateway\r\nProxy-Status: p; error=proxy_loop_detected", "proxy"},
		{"404 Not Found\r\nProxy-Status: p; error=destination_not_found", "proxy"},
		{"502 Bad Gateway\r\nProxy-Status: p; error=\"proxy_internal_error\"", "unreachable"}, // a token is meant
		{"502 Bad Gateway\r\nProxy-Status: p; details=\"; error=proxy_internal_error\"", "unreachable"},
		{"502 Bad Gateway\r\nProxy-Status: far; error=dns_error, near; error=proxy_configuration_error", "proxy"},
		{"502 Bad Gateway\r\nProxy-Status: far; error=dns_error\r\nProxy-Status: near; error=proxy_internal_error", "proxy"},
		{"502 Bad Gateway\r\nProxy-Status: p; error=something_new", "unreachable"},

		{"451 Unavailable For Legal Reasons", "refused"},
		{"502 Bad Gateway", "unreachable"},
		{"503 Service Unavailable", "unreachable"},
		{"504 Gateway Timeout", "unreachable"},
		{"407 Proxy Authentication Required\r\nProxy-Authenticate: Basic", "proxy"},
		{"400 Bad Request", "unclear"},
		{"500 Internal Server Error", "proxy"},
		{"501 Not Implemented", "proxy"},
		{"505 HTTP Version Not Supported", "proxy"},
		{"405 Method Not Allowed", "proxy"},
		{"401 Unauthorized", "proxy"},
		{"408 Request Timeout", "proxy"},
		{"302 Found\r\nLocation: https://login.example/", "proxy"},
		{"101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x", "proxy"},
		{"999 What", "proxy"},
		{strings.Repeat("100 Continue\r\n\r\nHTTP/1.1 ", 10) + "200 OK", "proxy"},
		{"200 OK\r\nX-Long: " + strings.Repeat("x", 70<<10), "proxy"},
		{"500 Oh\r\nX-Smokescreen-Error: " + strings.Repeat("\x1b", 1000), "proxy"},
	} {
		t.Run(tt.answer[:min(len(tt.answer), 60)], func(t *testing.T) {
			_, asked, err := open(t, "http", "example.com:443", func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.WriteString(conn, "HTTP/1.1 "+tt.answer+"\r\n\r\n")
				}
			})
			if got := verdictOf(err); got != tt.want || (err == nil) != (tt.want == "") || !asked {
				t.Errorf("%q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func TestWhatIsNoAnswerToCONNECTIsTheProxysFault(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":          "",
		"no HTTP":          "SSH-2.0-OpenSSH_9.2\r\n",
		"half a header":    "HTTP/1.1 200 OK\r\nX-A",
		"malformed":        "HTTP/1.1 200 OK\r\n : x\r\n\r\n",
		"an echo":          "CONNECT example.com:443 HTTP/1.1\r\nProxy-Authorization: Basic dXNlcjpzM2NyZXQ=\r\n\r\n",
		"echoed headers":   "HTTP/1.1 200 OK\r\nBasic dXNlcjpzM2NyZXQ=\r\n\r\n",
		"more than wanted": "HTTP/1.1 200 OK\r\n\r\nhello",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := open(t, "http", "example.com:443", func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.WriteString(conn, answer)
				}
			})
			if got := verdictOf(err); got != "proxy" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	_, _, err := open(t, "http", "example.com:443", func(net.Conn) {}) // closes at once
	if got := verdictOf(err); got != "proxy" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCONNECTAsks(t *testing.T) {
	var got *http.Request
	conn, _, err := open(t, "https", "[2001:db8::1]:8443", func(conn net.Conn) {
		r := bufio.NewReader(conn)
		got, _ = http.ReadRequest(r)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		line, _ := r.ReadString('\n')
		_, _ = io.WriteString(conn, "got "+line)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Method != "CONNECT" || got.RequestURI != "[2001:db8::1]:8443" || got.Host != got.RequestURI || got.Header.Get("Proxy-Authorization") != "Basic dXNlcjpzM2NyZXQ=" {
		t.Errorf("asked: %s %s, host %s, %v", got.Method, got.RequestURI, got.Host, got.Header)
	}
	_, _ = io.WriteString(conn, "hello\n")
	if b, err := io.ReadAll(conn); err != nil || string(b) != "got hello\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// expect reads bytes that are given in hex, and reports whether they came.
func expect(t *testing.T, conn net.Conn, want string) bool {
	b, err := hex.DecodeString(strings.ReplaceAll(want, " ", ""))
	if err != nil {
		t.Error(err)
	}
	got := make([]byte, len(b))
	_, err = io.ReadFull(conn, got)
	if err != nil || !bytes.Equal(got, b) {
		t.Errorf("got %x, want %x; %v", got, b, err)
		return false
	}
	return true
}

func send(conn net.Conn, bytes string) {
	b, _ := hex.DecodeString(strings.ReplaceAll(bytes, " ", ""))
	_, _ = conn.Write(b)
}

func TestSOCKS5Asks(t *testing.T) {
	const credentials = "01 04 75736572 06 733363726574"
	for _, tt := range []struct{ name, address, method, request, bound string }{
		{"name", "a.example:443", "00", "05 01 00 03 09 612e6578616d706c65 01bb", "01 7f000001 1234"},
		{"IPv4", "192.0.2.1:8080", "00", "05 01 00 01 c0000201 1f90", "04 00000000000000000000000000000001 1234"},
		{"IPv6", "[2001:db8::1]:443", "00", "05 01 00 04 20010db8000000000000000000000001 01bb", "03 03 616263 1234"},
		{"mapped", "[::ffff:192.0.2.1]:443", "00", "05 01 00 01 c0000201 01bb", "03 00 1234"},
		{"with user and password", "a.example:443", "02", "05 01 00 03 09 612e6578616d706c65 01bb", "01 7f000001 1234"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, _, err := open(t, "socks5", tt.address, func(conn net.Conn) {
				if !expect(t, conn, "05 02 00 02") {
					return
				}
				send(conn, "05"+tt.method)
				if tt.method == "02" {
					if !expect(t, conn, credentials) {
						return
					}
					send(conn, "01 00")
				}
				if !expect(t, conn, tt.request) {
					return
				}
				send(conn, "05 00 00"+tt.bound)
				_, _ = io.WriteString(conn, "hello") // not a byte of it is lost
			})
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(conn); err != nil || string(b) != "hello" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

func TestAnswersOfSOCKS5(t *testing.T) {
	long := strings.Repeat("a", 256) + ":443"
	for _, tt := range []struct {
		name, address, greeting, auth, reply, want string
		asked                                      bool
	}{
		{"general failure", "", "0500", "", "05 01 00 01 00000000 0000", "unclear", true},
		{"not allowed", "", "0500", "", "05 02 00 01 00000000 0000", "refused", true},
		{"network unreachable", "", "0500", "", "05 03 00 01 00000000 0000", "unreachable", true},
		{"host unreachable", "", "0500", "", "05 04 00 01 00000000 0000", "unreachable", true},
		{"refused", "", "0500", "", "05 05 00 01 00000000 0000", "unreachable", true},
		{"TTL", "", "0500", "", "05 06 00 01 00000000 0000", "unreachable", true},
		{"command", "", "0500", "", "05 07 00 01 00000000 0000", "proxy", true},
		{"address type", "", "0500", "", "05 08 00 01 00000000 0000", "unreachable", true},
		{"unknown", "", "0500", "", "05 09 00 01 00000000 0000", "proxy", true},
		{"unknown too", "", "0500", "", "05 ff 00 01 00000000 0000", "proxy", true},
		{"only the code", "", "0500", "", "05 05 00 01", "unreachable", true},
		{"no method", "", "05ff", "", "", "proxy", false},
		{"GSSAPI", "", "0501", "", "", "proxy", false},
		{"wrong password", "", "0502", "0101", "", "proxy", false},
		{"nonsense for a password", "", "0502", "0500", "", "proxy", false},
		{"nothing for a password", "", "0502", "", "", "proxy", false},
		{"HTTP", "", hex.EncodeToString([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")), "", "", "proxy", false},
		{"SOCKS4", "", "0400", "", "", "proxy", false},
		{"closed", "", "", "", "", "proxy", false},
		{"closed after the greeting", "", "0500", "", "", "proxy", true},
		{"half an answer", "", "0500", "", "05 00", "proxy", true},
		{"half an address", "", "0500", "", "05 00 00 01 7f", "proxy", true},
		{"no length", "", "0500", "", "05 00 00 03", "proxy", true},
		{"another version", "", "0500", "", "04 00 00 01 00000000 0000", "proxy", true},
		{"another kind of address", "", "0500", "", "05 00 00 02 00000000 0000", "proxy", true},
		{"a name too long for it", long, "0500", "", "", "unreachable", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.address == "" {
				tt.address = "a.example:443"
			}
			_, asked, err := open(t, "socks5h", tt.address, func(conn net.Conn) {
				if !expect(t, conn, "05 02 00 02") || tt.greeting == "" {
					return
				}
				send(conn, tt.greeting)
				if tt.greeting == "0502" {
					_, _ = io.ReadFull(conn, make([]byte, 13))
					send(conn, tt.auth)
				}
				if tt.asked {
					_, _ = io.ReadFull(conn, make([]byte, 16))
					send(conn, tt.reply)
				}
			})
			if got := verdictOf(err); got != tt.want || asked != tt.asked {
				t.Errorf("%q (%v), asked: %v; want %q", got, err, asked, tt.want)
			}
		})
	}
}

func TestCredentialsThatSOCKS5CannotCarry(t *testing.T) {
	for _, user := range []*url.Userinfo{url.UserPassword("", secret), url.UserPassword("u", strings.Repeat(secret, 50)), url.User(strings.Repeat(secret, 50))} {
		here, there := net.Pipe()
		err := Open(t.Context(), here, &url.URL{Scheme: "socks5", User: user}, "a.example:443", func() {})
		if verdictOf(err) != "proxy" || strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
		_, _ = here.Close(), there.Close()
	}
}

// A proxy that stops at any point ends with the context, as the context's error
// and at its time.
func TestTheContextEndsIt(t *testing.T) {
	for _, tt := range []struct {
		name, scheme string
		asked        bool
		play         func(net.Conn)
	}{
		{"before it reads", "http", true, func(net.Conn) {}},
		{"before it answers", "http", true, func(conn net.Conn) { _, _ = http.ReadRequest(bufio.NewReader(conn)) }},
		{"within its answer", "http", true, func(conn net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-")
		}},
		{"before the greeting", "socks5", false, func(net.Conn) {}},
		{"after the greeting", "socks5", true, func(conn net.Conn) {
			_, _ = io.ReadFull(conn, make([]byte, 4))
			send(conn, "0500")
		}},
		{"while authenticating", "socks5", false, func(conn net.Conn) {
			_, _ = io.ReadFull(conn, make([]byte, 4))
			send(conn, "0502")
			_, _ = io.ReadFull(conn, make([]byte, 13))
		}},
		{"within the reply", "socks5", true, func(conn net.Conn) {
			_, _ = io.ReadFull(conn, make([]byte, 4))
			send(conn, "0500")
			_, _ = io.ReadFull(conn, make([]byte, 16))
			send(conn, "05 00 00 01 7f")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, cancelled := range []bool{false, true} {
					start, end := time.Now(), make(chan struct{})
					asked := false
					here, there := net.Pipe()
					go func() {
						tt.play(there)
						<-end
						_ = there.Close()
					}()
					ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
					want := context.DeadlineExceeded
					if cancelled {
						want = context.Canceled
						time.AfterFunc(7*time.Second-1, cancel)
					}
					proxy := &url.URL{Scheme: tt.scheme, User: url.UserPassword("user", secret)}
					err := Open(ctx, here, proxy, "a.example:443", func() { asked = true })
					if !errors.Is(err, want) || verdictOf(err) != "" || asked != tt.asked {
						t.Errorf("%v, asked: %v", err, asked)
					}
					if took := time.Since(start).Round(time.Second); took != 7*time.Second {
						t.Errorf("after %v", took)
					}
					cancel()
					close(end)
					_ = here.Close()
				}
			})
		})
	}
}

// The deadline is that of the opening alone.
func TestATunnelThatStandsHasNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _, err := open(t, "http", "a.example:443", func(conn net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
				time.Sleep(time.Hour)
				_, _ = io.WriteString(conn, "late")
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(conn); string(b) != "late" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
}

// Whatever a proxy sends, the outcome is a tunnel or one of the verdicts.
func FuzzOpen(f *testing.F) {
	f.Add(false, []byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add(false, []byte("HTTP/1.1 502 Bad Gateway\r\nProxy-Status: p; error=dns_error; details=\"x\\\"\"\r\n\r\n"))
	f.Add(true, []byte{5, 0, 5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
	f.Add(true, []byte{5, 2, 1, 0, 5, 0, 0, 3, 1, 97, 0, 80})
	f.Fuzz(func(t *testing.T, socks bool, answer []byte) {
		scheme := "http"
		if socks {
			scheme = "socks5"
		}
		_, _, err := open(t, scheme, "a.example:443", func(conn net.Conn) {
			read := make(chan struct{})
			go func() {
				defer close(read)
				_, _ = io.Copy(io.Discard, conn)
			}()
			_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = conn.Write(answer)
			_ = conn.Close()
			<-read
		})
		if v := verdictOf(err); err != nil && v != "proxy" && v != "refused" && v != "unreachable" && v != "unclear" {
			t.Errorf("%q: %v", v, err)
		}
	})
}
