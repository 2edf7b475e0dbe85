package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// get makes a GET with a client of HTTP that ends with ctx.
func get(ctx context.Context, c *Client, url string) (*http.Response, error) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return c.HTTP(ctx, "Test/1").Do(r)
}

func TestHTTPSendsAnyMethodAndReturnsTheWholeAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", fmt.Sprintf("%s %s %s %s %s", r.Method, r.URL, r.Header.Get("X-Sent"), r.Header.Get("User-Agent"), body))
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
		_, _ = io.WriteString(w, strings.Repeat("x", maxAnswer))
	}))
	defer server.Close()
	c := newClient(t, local)
	r, err := http.NewRequest(http.MethodOptions, server.URL+"/hook?a=b", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Sent", "sent")
	res, err := c.HTTP(t.Context(), "Test/1").Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := res.Header.Get("X-Seen"), "OPTIONS /hook?a=b sent Test/1 body"; got != want {
		t.Errorf("the server saw %q, want %q", got, want)
	}
	if res.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("status %d: a redirect is returned, not followed", res.StatusCode)
	}
	if body, err := io.ReadAll(res.Body); len(body) != maxAnswer || err != nil {
		t.Errorf("the body has %d bytes, %v", len(body), err)
	}
}

// http.Client parses a Location even where it follows none, and its error has the
// URL and what the receiver wrote.
func TestHTTPReturnsARedirectThatIsNoURL(t *testing.T) {
	for _, location := range []string{"http://[::1", "%zz", "http://[words-of-the-receiver ", "/elsewhere", "://"} {
		for _, code := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Location"] = []string{location}
				w.Header().Set("X-Other", "kept")
				w.WriteHeader(code)
				_, _ = io.WriteString(w, "body")
			}))
			c := newClient(t, local)
			res, err := get(t.Context(), c, server.URL+"/?key=word")
			if err != nil {
				t.Fatalf("%d to %q: %v", code, location, err)
			}
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != code || string(body) != "body" || res.Header.Get("X-Other") != "kept" || len(res.Header["Location"]) != 0 {
				t.Errorf("%d to %q: got %d, %v, %q", code, location, res.StatusCode, res.Header, body)
			}
			c.CloseIdle()
			server.Close()
		}
	}
}

// net/http would repeat some of them by itself when a connection breaks that was
// kept from before.
func TestHTTPSendsNoRequestTwice(t *testing.T) {
	for name, r := range map[string]*http.Request{
		"OPTIONS":         {Method: http.MethodOptions},
		"GET":             {Method: http.MethodGet},
		"no method":       {},
		"HEAD":            {Method: http.MethodHead, Body: http.NoBody},
		"POST":            {Method: http.MethodPost},
		"idempotent POST": {Method: http.MethodPost, Header: http.Header{"Idempotency-Key": {"k"}}},
		"with a body":     {Method: http.MethodOptions, ContentLength: 4},
	} {
		t.Run(name, func(t *testing.T) {
			var requests, bodies atomic.Int64
			address := receiver(t, func(conn net.Conn) {
				reader := bufio.NewReader(conn)
				for served := 0; ; served++ {
					q, err := http.ReadRequest(reader)
					if err != nil {
						return
					}
					requests.Add(1)
					n, _ := io.Copy(io.Discard, q.Body)
					bodies.Add(n)
					if served > 0 {
						return
					}
					_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
				}
			})
			c := newClient(t, local)
			u := parse(t, c, "http://"+address+"/")
			for n := range 2 {
				q := r.Clone(t.Context())
				q.URL = u
				if q.Header == nil {
					q.Header = http.Header{}
				}
				if q.ContentLength > 0 {
					q.Body = io.NopCloser(strings.NewReader("body"))
					q.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("body")), nil }
				}
				if _, err := c.HTTP(t.Context(), "Test/1").Do(q); (err == nil) != (n == 0) {
					t.Errorf("request %d: %v", n, err)
				}
			}
			if requests.Load() != 2 || bodies.Load() != 2*r.ContentLength {
				t.Errorf("%d requests arrived, with %d bytes", requests.Load(), bodies.Load())
			}
		})
	}
}

func TestHTTPIsGuardedAndTellsNoMoreThanPost(t *testing.T) {
	blocked := newClient(t, Options{AllowHTTP: true})
	open := newClient(t, local)
	listening := receiver(t, func(conn net.Conn) { conn.Close() })
	for _, tt := range []struct {
		name, url string
		c         *Client
		want      string
		is        error
	}{
		{"a literal address", "http://127.0.0.1:8080/", blocked, "connection failed", ErrBlocked},
		{"a metadata service", "http://169.254.169.254:8080/latest", open, "connection failed", ErrBlocked},
		{"a port", "http://127.0.0.1:22/", open, "connection failed", ErrPort},
		{"a scheme", "http://203.0.113.1/", newClient(t, Options{}), "URL not permitted", ErrHTTP},
		{"user information", "http://user:word@127.0.0.1:8080/", open, "URL not permitted", ErrURL},
		{"a host name that means this machine", "http://localhost:8080/", blocked, "connection failed", ErrBlocked},
		{"a denied address", "http://127.0.0.1:8080/", newClient(t, Options{AllowHTTP: true, Deny: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}), "connection failed", ErrDenied},
		{"nothing that answers", "http://" + listening + "/", open, "connection closed before a response", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := get(ctx, tt.c, tt.url)
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Error() != tt.want {
				t.Fatalf("got %v, want an Error %q", err, tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v does not match %v", e.Unwrap(), tt.is)
			}
		})
	}
}

func TestHTTPBoundsTheAnswer(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for _, tt := range []struct{ name, raw, want string }{
		{"a byte too much", head + "Content-Length: 65537\r\n\r\n" + strings.Repeat("x", maxAnswer+1), "answer too large"},
		{"an endless body", head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 100), "answer too large"},
		{"a body that breaks off", head + "Content-Length: 100\r\n\r\nhalf", "connection closed before a response"},
		{"headers without end", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("x", 1000)+"\r\n", 100), "response headers too large"},
		{"another protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "no valid response"},
		{"no HTTP", "220 ready\r\n\r\n", "no valid response"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address := receiver(t, func(conn net.Conn) {
				buffer := make([]byte, 4096)
				_, _ = conn.Read(buffer)
				_, _ = io.WriteString(conn, tt.raw)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := get(ctx, newClient(t, local), "http://"+address+"/")
			if e, ok := errors.AsType[*Error](err); !ok || e.Error() != tt.want {
				t.Errorf("got %v, want an Error %q", err, tt.want)
			}
		})
	}
}

// silent answers nothing, in memory.
func silent(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		_, _ = io.Copy(io.Discard, server)
		_ = server.Close()
	}()
	return client, nil
}

func TestHTTPEndsWithItsOwnContextWhateverTheRequestSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, Options{AllowHTTP: true, Dial: silent})
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := get(ctx, c, "http://receiver.example/")
		if e, ok := errors.AsType[*Error](err); !ok || e.Error() != "timeout" || time.Since(start) != 3*time.Second {
			t.Errorf("after %v: %v, want a timeout after 3s", time.Since(start), err)
		}
		gone, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		start = time.Now()
		_, err = get(gone, c, "http://receiver.example/")
		if e, ok := errors.AsType[*Error](err); !ok || e.Error() != "cancelled" || time.Since(start) != time.Second {
			t.Errorf("after %v: %v, want that it was cancelled after 1s", time.Since(start), err)
		}
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://receiver.example/", nil)
		if _, err = c.HTTP(t.Context(), "Test/1").Do(r); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a request whose deadline has passed: %v", err)
		}
	})
}
