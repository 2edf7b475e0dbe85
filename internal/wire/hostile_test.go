package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outhook/webhook/internal/hostile"
)

// countConn counts what is read, and tells when it is closed.
type countConn struct {
	net.Conn
	read   *atomic.Int64
	closed func()
}

func (c countConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

func (c countConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// Whatever a receiver does, an exchange with it ends at its deadline at the
// latest, with the right outcome, after reading and keeping little.
func TestHostileReceivers(t *testing.T) {
	const (
		short    = 300 * time.Millisecond // for those that hang
		patience = 15 * time.Second       // for the others, on a busy machine
		maxRead  = 512 << 10
		maxAlloc = 4 << 20 // on both sides
	)
	goroutines := goleak.IgnoreCurrent()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, r := range hostile.Receivers() {
		t.Run(r.Name, func(t *testing.T) {
			server, err := r.Start()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			var read atomic.Int64
			o := local
			o.TLS = hostile.ClientTLS()
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return countConn{conn, &read, func() {}}, nil
			}
			c := newClient(t, o)
			body := make([]byte, max(r.Size, 2))
			deadline := patience
			if r.Hangs {
				deadline = short
			}
			var from, to runtime.MemStats
			runtime.ReadMemStats(&from)
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			res, err := c.Post(ctx, parse(t, c, server.URL), nil, body)
			took := time.Since(start)
			runtime.ReadMemStats(&to)
			c.CloseIdle()

			switch {
			case err != nil && !slices.Contains(r.Errors, err.Error()):
				t.Errorf("%v (%v), want status %d or %q", err, errors.Unwrap(err), r.Status, r.Errors)
			case err == nil && (r.Status == 0 || res.StatusCode != r.Status || res.Truncated != r.Truncated):
				t.Errorf("status %d with %d bytes, truncated: %t; want %d, %t, or %q", res.StatusCode, len(res.Body), res.Truncated, r.Status, r.Truncated, r.Errors)
			}
			hung := r.Hangs && err == nil || err != nil && err.Error() == "timeout"
			if hung != (took >= deadline) || took > deadline+5*time.Second {
				t.Errorf("took %v; hangs: %t", took, r.Hangs)
			}
			if n := read.Load(); n > maxRead {
				t.Errorf("%d bytes were read", n)
			}
			if n := to.TotalAlloc - from.TotalAlloc; n > maxAlloc {
				t.Errorf("%d bytes were allocated", n)
			}
			if n := server.Requests.Load(); n > int64(max(r.Requests, 1)) {
				t.Errorf("the request arrived %d times", n)
			}
			if n := server.Connections.Load(); n > int64(max(r.Connections, 1)) {
				t.Errorf("%d connections were made", n)
			}
			t.Logf("%v after %v: read %d, allocated %d, %d requests on %d connections", err, took.Round(time.Millisecond), read.Load(), to.TotalAlloc-from.TotalAlloc, server.Requests.Load(), server.Connections.Load())
		})
	}
	if err := goleak.Find(goroutines); err != nil {
		t.Error(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

// As a server of tokens, and where a receiver is asked for its consent.
func TestHostileReceiversOfHTTP(t *testing.T) {
	const (
		short    = 300 * time.Millisecond
		patience = 15 * time.Second
		maxRead  = 512 << 10
	)
	goroutines := goleak.IgnoreCurrent()
	for _, r := range hostile.Receivers() {
		for _, method := range []string{http.MethodOptions, http.MethodPost} {
			t.Run(r.Name+", "+method, func(t *testing.T) {
				server, err := r.Start()
				if err != nil {
					t.Fatal(err)
				}
				defer server.Close()
				var read atomic.Int64
				o := local
				o.TLS = hostile.ClientTLS()
				o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, network, address)
					if err != nil {
						return nil, err
					}
					return countConn{conn, &read, func() {}}, nil
				}
				c := newClient(t, o)
				defer c.CloseIdle()
				deadline := patience
				if r.Hangs {
					deadline = short
				}
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				q, err := http.NewRequest(method, server.URL+"?key=m4rk", strings.NewReader(strings.Repeat("x", max(r.Size, 2))))
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				res, err := c.HTTP(ctx, "Test/1").Do(q)
				if took := time.Since(start); took > deadline+5*time.Second {
					t.Errorf("took %v", took)
				}
				if err == nil {
					if body, err := io.ReadAll(res.Body); len(body) > maxAnswer || err != nil {
						t.Errorf("status %d with %d bytes, %v", res.StatusCode, len(body), err)
					}
				} else if e, ok := errors.AsType[*Error](err); !ok || strings.Contains(fmt.Sprint(e, e.Unwrap()), "m4rk") {
					t.Errorf("%v is no Error, or has the URL", err)
				}
				if n := read.Load(); n > maxRead {
					t.Errorf("%d bytes were read", n)
				}
				if n := server.Requests.Load(); n > int64(max(r.Requests, 1)) {
					t.Errorf("the request arrived %d times", n)
				}
				if n := server.Connections.Load(); n > int64(max(r.Connections, 1)) {
					t.Errorf("%d connections were made", n)
				}
			})
		}
	}
	if err := goleak.Find(goroutines); err != nil {
		t.Error(err)
	}
}

// net/http reads on when a response of HTTP/2 is complete.
func TestAFloodAfterTheResponseEndsTheConnection(t *testing.T) {
	for _, r := range hostile.Receivers() {
		if !strings.HasPrefix(r.Name, "HTTP/2: flood of") {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			server, err := r.Start()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			var read atomic.Int64
			closed := make(chan struct{})
			o := local
			o.TLS = hostile.ClientTLS()
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				return countConn{conn, &read, sync.OnceFunc(func() { close(closed) })}, err
			}
			c := newClient(t, o)
			_, _ = post(t, c, server.URL, "{}")
			select {
			case <-closed:
			case <-time.After(20 * time.Second):
				t.Errorf("after %d bytes the connection is still read", read.Load())
			}
			if n := read.Load(); n > 1<<20 {
				t.Errorf("%d bytes were read", n)
			}
		})
	}
}

// What is read for large responses is not taken for a flood, however many share
// a connection, at once or one after the other.
func TestLargeResponsesAreNoFlood(t *testing.T) {
	var conns atomic.Int32
	const size = 16<<10 + maxDrained
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Large", strings.Repeat("x", 32<<10))
		for n := 0; n < size; n += 1 << 10 {
			_, _ = w.Write(make([]byte, 1<<10))
			_ = http.NewResponseController(w).Flush()
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
	var m *meter
	dial := c.transport.DialTLSContext
	c.transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		m = meterOf(conn)
		return conn, err
	}
	exchange := func() {
		if res, err := post(t, c, s.URL, "{}"); err != nil || len(res.Body) != 16<<10 {
			t.Errorf("%d with %d bytes, %v, %v", res.StatusCode, len(res.Body), err, errors.Unwrap(err))
		}
	}
	for range 20 {
		exchange()
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 4 {
				exchange()
			}
		})
	}
	wg.Wait()
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.exchanges != 0 || m.left > m.allowance {
		t.Errorf("after all of them %d exchanges are counted and %d bytes may come", m.exchanges, m.left)
	}
}

func TestTheAllowanceIsNotSavedUp(t *testing.T) {
	m := newMeter(nil, 100)
	for range 1000 {
		m.add(1)
		m.add(-1)
	}
	if m.left != 100 {
		t.Errorf("%d bytes may come while nothing is asked for, want 100", m.left)
	}
	m.add(1)
	m.add(1)
	if m.left != 200 {
		t.Errorf("%d bytes may come for two exchanges, want 200", m.left)
	}
	m.left = -50 // what came at last was more
	if _, err := m.Read(nil); !errors.Is(err, errFlood) {
		t.Errorf("beyond the allowance: %v", err)
	}
	m.add(1)
	if m.left != 50 {
		t.Errorf("%d bytes may come, want 50", m.left)
	}
}

// What bounds a receiver of HTTP/2 bounds it behind a proxy as well.
func TestHostileReceiversThroughAProxy(t *testing.T) {
	for _, r := range hostile.Receivers() {
		if !strings.HasPrefix(r.Name, "HTTP/2: flood of") && !strings.HasPrefix(r.Name, "HTTP/2: GOAWAY") || r.Hangs {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			server, err := r.Start()
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			proxy := httptest.NewServer(&tunnels{to: strings.TrimSuffix(strings.TrimPrefix(server.URL, "https://"), "/hook")})
			defer proxy.Close()
			var read atomic.Int64
			closed := make(chan struct{})
			once := sync.OnceFunc(func() { close(closed) })
			o := local
			o.TLS, o.Proxy = hostile.ClientTLS(), through(t, proxy.URL)
			o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				return countConn{conn, &read, once}, err
			}
			c := newClient(t, o)
			res, err := post(t, c, server.URL, "{}")
			if err == nil && res.StatusCode != r.Status || err != nil && !slices.Contains(r.Errors, err.Error()) {
				t.Errorf("%d, %v (%v), want %d or %q", res.StatusCode, err, errors.Unwrap(err), r.Status, r.Errors)
			}
			if errors.Is(err, ErrProxy) {
				t.Errorf("%v is held against the proxy", errors.Unwrap(err))
			}
			if strings.Contains(r.Name, "flood") {
				select {
				case <-closed:
				case <-time.After(20 * time.Second):
					t.Errorf("after %d bytes the connection is still read", read.Load())
				}
			}
			if n := server.Requests.Load(); n > maxConns || read.Load() > 1<<20 {
				t.Errorf("%d requests, %d bytes read", n, read.Load())
			}
		})
	}
}
