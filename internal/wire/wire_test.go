package wire

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/outhook/webhook/internal/hostile"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http tells of what hostile receivers do
	goleak.VerifyTestMain(m)
}

var (
	loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	local    = Options{AllowHTTP: true, Allow: loopback}
)

func newClient(t testing.TB, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdle)
	return c
}

func parse(t testing.TB, c *Client, raw string) *url.URL {
	t.Helper()
	u, err := c.CheckURL(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func post(t testing.TB, c *Client, raw string, body string) (Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return c.Post(ctx, parse(t, c, raw), http.Header{"Content-Type": {"application/json"}}, []byte(body))
}

// receiver listens on loopback and hands each connection to handle, which need
// not close it. It returns the host and port.
func receiver(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			wg.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// swallow reads one request.
func swallow(r *bufio.Reader) bool {
	req, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

// answering answers every request with these bytes and leaves the connection
// open.
func answering(raw string) func(net.Conn) {
	return func(conn net.Conn) {
		r := bufio.NewReader(conn)
		for swallow(r) {
			if _, err := io.WriteString(conn, raw); err != nil {
				return
			}
		}
	}
}

// once answers one request with these bytes and closes the connection.
func once(raw string) func(net.Conn) {
	return func(conn net.Conn) {
		if swallow(bufio.NewReader(conn)) {
			_, _ = io.WriteString(conn, raw)
		}
	}
}

// piped is an Options.Dial over net.Pipe, for bubbles of synctest.
func piped(handle func(net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			handle(theirs)
		}()
		return ours, nil
	}
}

func TestRequestIsSentAsGiven(t *testing.T) {
	type seen struct {
		r    *http.Request
		body string
	}
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			requests := make(chan seen, 1)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				requests <- seen{r, string(body)}
				w.Header().Set("X-Answer", "yes")
				w.WriteHeader(http.StatusAccepted)
				_, _ = io.WriteString(w, "thanks")
			}))
			s.EnableHTTP2 = proto == "HTTP/2.0"
			s.StartTLS()
			defer s.Close()
			o := local
			o.TLS = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			o.TLS.NextProtos = nil
			c := newClient(t, o)
			for _, body := range []string{`{"a":1}`, "", strings.Repeat("x", 1<<20)} {
				h := http.Header{"Content-Type": {"application/json"}, "webhook-id": {"msg_1"}, "User-Agent": {"Outhook"}}
				before := h.Clone()
				res, err := c.Post(t.Context(), parse(t, c, s.URL+"/hook?a=b"), h, []byte(body))
				if err != nil {
					t.Fatal(err)
				}
				if res.StatusCode != http.StatusAccepted || string(res.Body) != "thanks" || res.Truncated || res.Header.Get("X-Answer") != "yes" {
					t.Errorf("response %+v", res)
				}
				got := <-requests
				if got.r.Method != http.MethodPost || got.r.RequestURI != "/hook?a=b" || got.r.Proto != proto || got.body != body {
					t.Errorf("%s %s %s with a body of %d bytes", got.r.Method, got.r.RequestURI, got.r.Proto, len(got.body))
				}
				if got.r.ContentLength != int64(len(body)) || len(got.r.TransferEncoding) != 0 {
					t.Errorf("content length %d of %d, transfer encoding %v", got.r.ContentLength, len(body), got.r.TransferEncoding)
				}
				delete(got.r.Header, "Content-Length")
				want := http.Header{"Content-Type": {"application/json"}, "Webhook-Id": {"msg_1"}, "User-Agent": {"Outhook"}}
				if !reflect.DeepEqual(got.r.Header, want) {
					t.Errorf("header %v, want %v", got.r.Header, want)
				}
				if !reflect.DeepEqual(h, before) {
					t.Errorf("the caller's header became %v", h)
				}
			}
		})
	}
}

func TestNilHeaderIsAnEmptyOne(t *testing.T) {
	c := newClient(t, local)
	u := parse(t, c, "http://"+receiver(t, answering("HTTP/1.1 204 No Content\r\n\r\n")))
	if res, err := c.Post(t.Context(), u, nil, []byte("x")); err != nil || res.StatusCode != 204 {
		t.Errorf("%+v, %v", res, err)
	}
}

// The header must not travel in a packet of its own.
func TestSmallRequestIsOneWrite(t *testing.T) {
	var writes atomic.Int32
	o := local
	address := receiver(t, answering("HTTP/1.1 204 No Content\r\n\r\n"))
	o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &writeConn{Conn: conn, write: func(p []byte) (int, error) {
			writes.Add(1)
			return conn.Write(p)
		}}, err
	}
	if _, err := post(t, newClient(t, o), "http://example.com/", "{}"); err != nil {
		t.Fatal(err)
	}
	if n := writes.Load(); n != 1 {
		t.Errorf("%d writes, want 1", n)
	}
}

type writeConn struct {
	net.Conn
	write func([]byte) (int, error)
}

func (c *writeConn) Write(p []byte) (int, error) { return c.write(p) }

func TestBodyIsKeptUpToItsLimit(t *testing.T) {
	const limit = 100
	length := func(n int) string { return "HTTP/1.1 200 OK\r\nContent-Length: " + itoa(n) + "\r\n\r\n" }
	chunked := func(n int) string {
		return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + hex(n) + "\r\n" + strings.Repeat("x", n) + "\r\n0\r\n\r\n"
	}
	for _, test := range []struct {
		name      string
		answer    string
		kept      int
		truncated bool
	}{
		{"none", length(0), 0, false},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", 0, false},
		{"short", length(1) + "x", 1, false},
		{"exactly the limit", length(limit) + strings.Repeat("x", limit), limit, false},
		{"one more", length(limit+1) + strings.Repeat("x", limit+1), limit, true},
		{"all that is drained", length(limit+maxDrained) + strings.Repeat("x", limit+maxDrained), limit, true},
		{"more than is drained", length(limit+maxDrained+1) + strings.Repeat("x", limit+maxDrained+1), limit, true},
		{"chunked", chunked(10), 10, false},
		{"chunked, exactly the limit", chunked(limit), limit, false},
		{"chunked, one more", chunked(limit + 1), limit, true},
		{"chunked, far more", chunked(1 << 20), limit, true},
		{"until the end of the connection", "HTTP/1.0 200 OK\r\n\r\nhello", 5, false},
		{"broken off", length(50) + strings.Repeat("x", 20), 20, true},
		{"broken off at the start", length(50), 0, true},
		{"broken off at the limit", length(limit+1) + strings.Repeat("x", limit), limit, true},
		{"chunked, broken off", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhell", 4, true},
		{"chunked, malformed", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello", 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := local
			o.MaxResponseBytes = limit
			res, err := post(t, newClient(t, o), "http://"+receiver(t, once(test.answer)), "{}")
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Body) != test.kept || res.Truncated != test.truncated {
				t.Errorf("%d bytes, truncated: %v; want %d, %v", len(res.Body), res.Truncated, test.kept, test.truncated)
			}
		})
	}
}

func TestDefaultAndNegativeLimit(t *testing.T) {
	address := receiver(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n"+strings.Repeat("x", 20000)))
	for limit, want := range map[int64]int{0: 16 << 10, -1: 0, 1 << 62: 20000} {
		o := local
		o.MaxResponseBytes = limit
		res, err := post(t, newClient(t, o), "http://"+address, "{}")
		if err != nil || len(res.Body) != want || res.Truncated != (want != 20000) {
			t.Errorf("limit %d: %d bytes kept, want %d; truncated: %v, %v", limit, len(res.Body), want, res.Truncated, err)
		}
	}
}

func TestConnectionIsReusedWhenItsBodyWasDrained(t *testing.T) {
	for _, test := range []struct {
		size  int
		conns int32
	}{{0, 1}, {10, 1}, {16 << 10, 1}, {16<<10 + 60<<10, 1}, {16<<10 + 65<<10, 3}} {
		var conns atomic.Int32
		answer := answering("HTTP/1.1 200 OK\r\nContent-Length: " + itoa(test.size) + "\r\n\r\n" + strings.Repeat("x", test.size))
		address := receiver(t, func(conn net.Conn) {
			conns.Add(1)
			answer(conn)
		})
		c := newClient(t, local)
		for range 3 {
			if _, err := post(t, c, "http://"+address, "{}"); err != nil {
				t.Fatal(err)
			}
		}
		if n := conns.Load(); n != test.conns {
			t.Errorf("bodies of %d bytes: %d connections for 3 requests, want %d", test.size, n, test.conns)
		}
	}
}

func TestIdleConnectionsAreKeptPerHost(t *testing.T) {
	const exchanges = 8
	for idle, want := range map[int]int32{0: exchanges, 2: 2*exchanges - 2} {
		var (
			conns   atomic.Int32
			arrived = make(chan struct{}, exchanges)
			release = make(chan struct{})
		)
		address := receiver(t, func(conn net.Conn) {
			conns.Add(1)
			for r := bufio.NewReader(conn); swallow(r); {
				arrived <- struct{}{}
				<-release
				_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
			}
		})
		o := local
		o.IdlePerHost = idle
		c := newClient(t, o)
		for range 2 {
			var wg sync.WaitGroup
			for range exchanges {
				wg.Go(func() {
					if _, err := post(t, c, "http://"+address, "{}"); err != nil {
						t.Error(err)
					}
				})
			}
			for range exchanges {
				<-arrived
			}
			for range exchanges {
				release <- struct{}{}
			}
			wg.Wait()
		}
		if n := conns.Load(); n != want {
			t.Errorf("IdlePerHost %d: %d connections for twice %d exchanges at once, want %d", idle, n, exchanges, want)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var requests atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	res, err := post(t, newClient(t, local), s.URL, "{}")
	if err != nil || res.StatusCode != http.StatusTemporaryRedirect || res.Header.Get("Location") != "/elsewhere" {
		t.Errorf("%+v, %v", res, err)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestStatusDecidesWhateverBecomesOfTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, body := range map[string]func(net.Conn){
			"never comes": func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) },
			"drips": func(conn net.Conn) {
				for {
					if _, err := conn.Write([]byte("x")); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			},
		} {
			o := local
			o.Dial = piped(func(conn net.Conn) {
				swallow(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n")
				body(conn)
			})
			c := newClient(t, o)
			ctx, cancel := context.WithTimeout(t.Context(), 30500*time.Millisecond)
			start := time.Now()
			res, err := c.Post(ctx, parse(t, c, "http://example.com"), nil, []byte("{}"))
			cancel()
			if err != nil || res.StatusCode != 202 || !res.Truncated {
				t.Errorf("%s: %+v, %v", name, res, err)
			}
			if took := time.Since(start); took != 30500*time.Millisecond {
				t.Errorf("%s: took %v, want until the deadline", name, took)
			}
			if name == "drips" && len(res.Body) != 31 {
				t.Errorf("%s: kept %d bytes, want 31", name, len(res.Body))
			}
			time.Sleep(time.Minute) // the receiver notices
		}
	})
}

func TestBodyThatIsTooLongToDrainIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := local
		o.MaxResponseBytes = 100
		o.Dial = piped(func(conn net.Conn) {
			swallow(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 100))
			_, _ = conn.Read(make([]byte, 1))
		})
		c := newClient(t, o)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		res, err := c.Post(ctx, parse(t, c, "http://example.com"), nil, nil)
		if err != nil || len(res.Body) != 100 || !res.Truncated || time.Since(start) != 0 {
			t.Errorf("%d bytes, truncated: %v, %v, after %v", len(res.Body), res.Truncated, err, time.Since(start))
		}
	})
}

func TestEndlessBodyIsCutShort(t *testing.T) {
	address := receiver(t, func(conn net.Conn) {
		if swallow(bufio.NewReader(conn)) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			for {
				if _, err := conn.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}
	})
	res, err := post(t, newClient(t, local), "http://"+address, "{}")
	if err != nil || len(res.Body) != 16<<10 || !res.Truncated {
		t.Errorf("%d bytes, truncated: %v, %v", len(res.Body), res.Truncated, err)
	}
}

func TestResetAfterTheHeaderIsAResponse(t *testing.T) {
	address := receiver(t, func(conn net.Conn) {
		if swallow(bufio.NewReader(conn)) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
	})
	res, err := post(t, newClient(t, local), "http://"+address, "{}")
	if err != nil || res.StatusCode != 200 || !res.Truncated {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestBodyIsNotInflated(t *testing.T) {
	bomb := "\x1f\x8b\x08\x00not even gzip"
	address := receiver(t, answering("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: "+itoa(len(bomb))+"\r\n\r\n"+bomb))
	res, err := post(t, newClient(t, local), "http://"+address, "{}")
	if err != nil || string(res.Body) != bomb || res.Truncated || res.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestSwitchedProtocolsAreNotWaitedFor(t *testing.T) {
	closed := make(chan error, 1)
	address := receiver(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		swallow(r)
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chess\r\n\r\n")
		_, err := r.ReadByte()
		closed <- err
	})
	res, err := post(t, newClient(t, local), "http://"+address, "{}")
	if err != nil || res.StatusCode != 101 || len(res.Body) != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if err := <-closed; err == nil {
		t.Error("the connection was kept")
	}
}

func TestHeaderIsBoundedAndValid(t *testing.T) {
	size := func(h http.Header) (n int) {
		for name, values := range h {
			n += fieldSize(name, values)
		}
		return n
	}
	for _, test := range []struct {
		name      string
		fields    string
		want      []string
		truncated bool
	}{
		{"small", "Retry-After: 5\r\nX-A: 1\r\n", []string{"Content-Length", "Retry-After", "X-A"}, false},
		{"one great field", "X-Great: " + strings.Repeat("x", 20000) + "\r\nRetry-After: 5\r\n", []string{"Content-Length", "Retry-After"}, true},
		{"many values of a field", "Retry-After: 5\r\n" + strings.Repeat("X-Many: "+strings.Repeat("x", 500)+"\r\n", 60), []string{"Content-Length", "Retry-After"}, true},
		{"much altogether", "X-A: " + strings.Repeat("a", 8000) + "\r\nX-B: " + strings.Repeat("b", 8000) + "\r\nX-C: " + strings.Repeat("c", 8000) + "\r\n", []string{"Content-Length", "X-A", "X-B"}, true},
		{"not UTF-8", "X-A: caf\xe9 \xff\xfe!\r\nX-B: caf\u00e9\r\n", []string{"Content-Length", "X-A", "X-B"}, false},
		{"great once it is UTF-8", "X-A: " + strings.Repeat("\xff.", 6000) + "\r\n", []string{"Content-Length"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := receiver(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"+test.fields+"\r\n"))
			res, err := post(t, newClient(t, local), "http://"+address, "{}")
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for name, values := range res.Header {
				names = append(names, name)
				for _, v := range values {
					if !utf8.ValidString(v) {
						t.Errorf("%s: %q is not UTF-8", name, v)
					}
				}
			}
			slices.Sort(names)
			if !slices.Equal(names, test.want) || res.Truncated != test.truncated {
				t.Errorf("fields %v, truncated: %v; want %v, %v", names, res.Truncated, test.want, test.truncated)
			}
			if n := size(res.Header); n > maxKeptHeader {
				t.Errorf("%d bytes", n)
			}
			if test.name == "not UTF-8" && (res.Header.Get("X-A") != "caf\uFFFD \uFFFD!" || res.Header.Get("X-B") != "café") {
				t.Errorf("values %q", res.Header)
			}
		})
	}
}

func TestFailuresAreTold(t *testing.T) {
	closed := receiver(t, func(net.Conn) {})
	refusing := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}()
	head := "HTTP/1.1 200 OK\r\n"
	for _, test := range []struct {
		name, address, want string
	}{
		{"refused", refusing, "connection failed"},
		{"closed at once", closed, "connection closed before a response"},
		{"closed after the request", receiver(t, once("")), "connection closed before a response"},
		{"closed within the status line", receiver(t, once("HTTP/1.1 2")), "no valid response"},
		{"closed within the header", receiver(t, once(head+"Content-Length: 5\r\n")), "connection closed before a response"},
		{"10 MiB of header", receiver(t, once(head+"X-A: "+strings.Repeat("x", 10<<20)+"\r\n\r\n")), "response headers too large"},
		{"10 MiB of small fields", receiver(t, once(head+strings.Repeat("X-A: 1234567890\r\n", 10<<20/17)+"\r\n")), "response headers too large"},
		{"a flood of 1xx", receiver(t, once(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 1<<18))), "response headers too large"},
		{"not HTTP", receiver(t, once("220 mail.example ESMTP\r\n")), "no valid response"},
		{"HTTP/9", receiver(t, once("HTTP/9.x 200 OK\r\n\r\n")), "no valid response"},
		{"status 20", receiver(t, once("HTTP/1.1 20 OK\r\n\r\n")), "no valid response"},
		{"status 099", receiver(t, once("HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n")), "no valid response"},
		{"two lengths", receiver(t, once(head+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")), "no valid response"},
		{"negative length", receiver(t, once(head+"Content-Length: -1\r\n\r\n")), "no valid response"},
		{"unknown framing", receiver(t, once(head+"Transfer-Encoding: rot13\r\n\r\n")), "no valid response"},
		{"no colon", receiver(t, once(head+"what is this\r\n\r\n")), "no valid response"},
		{"NUL in a value", receiver(t, once(head+"X-A: a\x00b\r\n\r\n")), "no valid response"},
		{"folded first line", receiver(t, once(head+" X-A: a\r\n\r\n")), "no valid response"},
	} {
		t.Run(test.name, func(t *testing.T) {
			res, err := post(t, newClient(t, local), "http://"+test.address+"/secret?token=secret", "{}")
			if err == nil || err.Error() != test.want {
				t.Fatalf("%+v, %v (%v); want %q", res, err, errors.Unwrap(err), test.want)
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Unwrap() == nil {
				t.Fatalf("%#v is no Error with a cause", err)
			}
			if cause := e.Unwrap().Error(); strings.Contains(cause, "secret") || cause == test.want {
				t.Errorf("cause %q", cause)
			}
		})
	}
}

func TestRequestThatCannotBeSent(t *testing.T) {
	c := newClient(t, local)
	u := parse(t, c, "http://127.0.0.1:9999")
	_, err := c.Post(t.Context(), u, http.Header{"X-A": {"secret\r\nX-B: b"}}, nil)
	if err == nil || err.Error() != "invalid request header" || strings.Contains(errors.Unwrap(err).Error(), "secret") {
		t.Errorf("%v, cause %v", err, errors.Unwrap(err))
	}
	plain := newClient(t, Options{Allow: loopback})
	if _, err := plain.Post(t.Context(), u, nil, nil); !errors.Is(err, ErrURL) || err.Error() != "URL not permitted" {
		t.Errorf("http without AllowHTTP: %v", err)
	}
}

func TestEndOfTheContextEndsTheExchange(t *testing.T) {
	silent := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	why := errors.New("shutting down")
	for _, test := range []struct {
		name string
		url  string
		dial func(context.Context, string, string) (net.Conn, error)
	}{
		{"while dialling", "http://example.com", func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
		{"while sending", "http://example.com", piped(func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1))
			time.Sleep(time.Hour)
		})},
		{"while waiting for the response", "http://example.com", piped(silent)},
		{"within the header", "http://example.com", piped(func(conn net.Conn) {
			swallow(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-A")
			silent(conn)
		})},
		{"within the handshake", "https://example.com", piped(silent)},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := local
				o.Dial = test.dial
				c := newClient(t, o)
				u := parse(t, c, test.url)
				start := time.Now()

				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				_, err := c.Post(ctx, u, nil, []byte("{}"))
				if err == nil || err.Error() != "timeout" || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("after the deadline: %v, %v", err, errors.Unwrap(err))
				}
				if took := time.Since(start); took != 30*time.Second {
					t.Errorf("took %v, want 30s", took)
				}

				ctx, stop := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { stop(why) })
				_, err = c.Post(ctx, u, nil, []byte("{}"))
				if err == nil || err.Error() != "cancelled" || !errors.Is(err, why) {
					t.Errorf("cancelled: %v, %v", err, errors.Unwrap(err))
				}
				time.Sleep(time.Hour) // the receiver notices
			})
		})
	}
}

// net/http detaches the dial from the request that asked for it.
func TestNothingOutlivesTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended time.Time
		o := local
		o.Dial = piped(func(conn net.Conn) {
			_, _ = io.Copy(io.Discard, conn)
			ended = time.Now()
		})
		c := newClient(t, o)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, _ = c.Post(ctx, parse(t, c, "https://example.com"), nil, nil)
		synctest.Wait()
		if d := ended.Sub(start); d != 10*time.Second {
			t.Errorf("the handshake was given up after %v, want 10s", d)
		}

		var dialEnded time.Time
		o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			dialEnded = time.Now()
			return nil, ctx.Err()
		}
		c = newClient(t, o)
		start = time.Now()
		_, err := c.Post(t.Context(), parse(t, c, "http://example.com"), nil, nil)
		if d := dialEnded.Sub(start); err == nil || d != time.Minute {
			t.Errorf("without a deadline the dial was given up after %v, want 1m; %v", d, err)
		}
	})
}

func TestCloseIdleEndsDialsThatNoneWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dialEnded time.Time
		o := local
		o.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			dialEnded = time.Now()
			return nil, ctx.Err()
		}
		c := newClient(t, o)
		start := time.Now()
		deadline, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ctx, stop := context.WithCancel(deadline)
		time.AfterFunc(time.Second, stop)
		_, _ = c.Post(ctx, parse(t, c, "http://example.com"), nil, nil)
		c.CloseIdle()
		synctest.Wait()
		if d := dialEnded.Sub(start); d != time.Second {
			t.Errorf("the dial ended after %v, want 1s", d)
		}
	})
}

func TestNoRequestIsSentTwice(t *testing.T) {
	for _, key := range []string{"", "Idempotency-Key", "X-Idempotency-Key"} {
		for _, body := range []string{"{}", ""} {
			var requests atomic.Int32
			address := receiver(t, func(conn net.Conn) {
				r := bufio.NewReader(conn)
				for swallow(r) && requests.Add(1) == 1 {
					_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
				}
			})
			c := newClient(t, local)
			u := parse(t, c, "http://"+address)
			h := http.Header{}
			if key != "" {
				h[key] = []string{"k"}
			}
			if _, err := c.Post(t.Context(), u, h, []byte(body)); err != nil {
				t.Fatal(err)
			}
			_, err := c.Post(t.Context(), u, h, []byte(body))
			if err == nil || err.Error() != "connection closed before a response" {
				t.Errorf("%q, body %q: %v", key, body, err)
			}
			if n := requests.Load(); n != 2 {
				t.Errorf("%q, body %q: the receiver saw %d requests, want 2", key, body, n)
			}
		}
	}
}

func TestDeadIdleConnectionIsReplaced(t *testing.T) {
	var conns, requests atomic.Int32
	bodies := make(chan string, 2)
	address := receiver(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(req.Body)
			requests.Add(1)
			bodies <- string(body)
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	o := local
	o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		first := conns.Add(1) == 1
		return &writeConn{Conn: conn, write: func(p []byte) (int, error) {
			if first && requests.Load() > 0 {
				return 0, syscall.ECONNRESET
			}
			return conn.Write(p)
		}}, err
	}
	c := newClient(t, o)
	for _, body := range []string{"first", "second"} {
		if _, err := post(t, c, "http://example.com", body); err != nil {
			t.Fatal(err)
		}
		if got := <-bodies; got != body {
			t.Errorf("body %q, want %q", got, body)
		}
	}
	if conns.Load() != 2 || requests.Load() != 2 {
		t.Errorf("%d connections, %d requests; want 2 of each", conns.Load(), requests.Load())
	}
}

func TestHTTP2(t *testing.T) {
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/header":
			for n := range 70 {
				w.Header().Set("X-"+itoa(n), strings.Repeat("x", 1<<10))
			}
		case "/body":
			for {
				if _, err := w.Write(make([]byte, 8<<20)); err != nil {
					return
				}
			}
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/hints":
			w.Header().Set("Link", strings.Repeat("x", 100))
			for range 2000 {
				w.WriteHeader(http.StatusEarlyHints)
			}
		}
	}))
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
	c := newClient(t, o)
	for _, test := range []struct {
		path, err string
		kept      int
		truncated bool
	}{
		{path: "/"},
		{path: "/header", err: "response headers too large"},
		{path: "/hints", err: "response headers too large"},
		{path: "/abort", err: "no valid response"},
		{path: "/body", kept: 16 << 10, truncated: true},
		{path: "/"},
	} {
		res, err := post(t, c, s.URL+test.path, "{}")
		switch {
		case test.err != "" && (err == nil || err.Error() != test.err):
			t.Errorf("%s: %v (%v), want %q", test.path, err, errors.Unwrap(err), test.err)
		case test.err == "" && (err != nil || res.StatusCode != 200 || len(res.Body) != test.kept || res.Truncated != test.truncated):
			t.Errorf("%s: %d, %d bytes, truncated: %v, %v", test.path, res.StatusCode, len(res.Body), res.Truncated, err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// notSent is what the owner is told of a proxy's fault.
const notSent = "not sent: the sender's own network failed"

func TestProxy(t *testing.T) {
	var asked []string
	proxy := receiver(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		asked = append(asked, req.Method+" "+req.RequestURI)
		if req.Method == http.MethodConnect {
			_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\n\r\n")
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	})
	c := newClient(t, Options{AllowHTTP: true, Proxy: func(r *http.Request) (*url.URL, error) {
		switch r.URL.Hostname() {
		case "direct.example", "127.0.0.1":
			return nil, nil
		case "broken.example":
			_, err := url.Parse("http://user:secret@proxy:x" + r.URL.Port())
			return nil, err
		}
		return url.Parse("http://user:secret@" + proxy)
	}, Resolver: hostile.Resolver(func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} })})

	if res, err := post(t, c, "http://example.com/a", "{}"); err != nil || res.StatusCode != 204 {
		t.Errorf("through the proxy: %+v, %v", res, err)
	}
	_, err := post(t, c, "https://example.com/a", "{}")
	if !errors.Is(err, ErrBlocked) || err.Error() != "connection failed" || !strings.Contains(errors.Unwrap(err).Error(), "403") {
		t.Errorf("refused tunnel: %v, %v", err, errors.Unwrap(err))
	}
	_, err = post(t, c, "http://broken.example/a", "{}")
	if !errors.Is(err, ErrProxy) || err.Error() != notSent || strings.Contains(errors.Unwrap(err).Error(), "secret") {
		t.Errorf("failing Proxy: %v, %v", err, errors.Unwrap(err))
	}
	if want := []string{"POST http://example.com/a", "CONNECT example.com:443"}; !slices.Equal(asked, want) {
		t.Errorf("the proxy was asked for %q, want %q", asked, want)
	}

	// What does not go through the proxy is judged, the proxy's own address too.
	_, port, _ := net.SplitHostPort(proxy)
	if _, err := post(t, c, "http://direct.example:"+port, "{}"); !errors.Is(err, ErrBlocked) || err.Error() != "connection failed" {
		t.Errorf("directly: %v, %v", err, errors.Unwrap(err))
	}
	// What goes through it is judged as far as the URL tells.
	for _, raw := range []string{"http://10.0.0.1/", "http://[::1]/", "http://example.com:22/"} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Post(t.Context(), u, nil, nil); !errors.Is(err, ErrBlocked) || err.Error() != "connection failed" {
			t.Errorf("%s through the proxy: %v", raw, err)
		}
	}
	if len(asked) != 2 {
		t.Errorf("the proxy was asked for %q", asked)
	}
}

func TestTunnelThroughProxies(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	defer s.Close()
	tunnel := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		there, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			return
		}
		defer there.Close()
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(there, here); there.Close() }()
		_, _ = io.Copy(here, there)
	})
	plain, secured := httptest.NewServer(tunnel), httptest.NewUnstartedServer(tunnel)
	defer plain.Close()
	secured.EnableHTTP2 = true // which a tunnel is not asked for over
	secured.StartTLS()
	defer secured.Close()
	for _, proxy := range []string{plain.URL, strings.Replace(secured.URL, "127.0.0.1", "example.com", 1)} {
		o := Options{
			TLS:      s.Client().Transport.(*http.Transport).TLSClientConfig, // both have the certificate of httptest, for example.com
			Proxy:    func(*http.Request) (*url.URL, error) { return url.Parse(proxy) },
			Resolver: hostile.Resolver(func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }),
		}
		c := newClient(t, o)
		if res, err := post(t, c, "https://example.com/", "hello"); err != nil || string(res.Body) != "hello" {
			t.Errorf("%s: %+v, %v, %v", proxy, res, err, errors.Unwrap(cmp.Or(err, io.EOF)))
		}
		c.CloseIdle()

		// The proxy's certificate is not the owner's affair.
		if strings.HasPrefix(proxy, "https:") {
			o.TLS = nil
			if _, err := post(t, newClient(t, o), "https://example.com/", "hello"); !errors.Is(err, ErrProxyDown) || err.Error() != notSent {
				t.Errorf("proxy with an unknown certificate: %v", err)
			}
		}
	}
}

func TestEnvironmentNamesNoProxy(t *testing.T) {
	if newClient(t, Options{}).transport.Proxy != nil {
		t.Error("a proxy is chosen without Options.Proxy")
	}
}

func TestConfigurationOfTLSIsNotChanged(t *testing.T) {
	config := &tls.Config{MinVersion: tls.VersionTLS10, ServerName: "a.example"}
	c := newClient(t, Options{TLS: config})
	if c.transport.TLSClientConfig.MinVersion != tls.VersionTLS12 || config.MinVersion != tls.VersionTLS10 {
		t.Errorf("the minimum is %x, the caller's %x", c.transport.TLSClientConfig.MinVersion, config.MinVersion)
	}
	if c := newClient(t, Options{TLS: &tls.Config{MinVersion: tls.VersionTLS13}}); c.transport.TLSClientConfig.MinVersion != tls.VersionTLS13 {
		t.Error("a higher minimum was lowered")
	}
}
