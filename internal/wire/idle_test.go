package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// counting is a TLS server that knows its connections.
type counting struct {
	*httptest.Server
	mu      sync.Mutex
	changed chan struct{}                  // closed and replaced at every change
	open    map[net.Conn]bool              // from its acceptance to its end
	opened  int                            // in all
	answer  map[string]func(*http.Request) // by path
	config  *tls.Config                    // of its clients
	options func(idlePerHost, idle int) Options
}

func newCounting(t *testing.T, h2 bool) *counting {
	s := &counting{changed: make(chan struct{}), open: make(map[net.Conn]bool), answer: make(map[string]func(*http.Request))}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if answer := s.answer[r.URL.Path]; answer != nil {
			answer(r)
		}
		_, _ = io.WriteString(w, r.Proto)
	}))
	s.EnableHTTP2 = h2
	s.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch state {
		case http.StateNew:
			s.opened++
			s.open[conn] = true
		case http.StateClosed:
			delete(s.open, conn)
		}
		close(s.changed)
		s.changed = make(chan struct{})
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	s.config = s.Client().Transport.(*http.Transport).TLSClientConfig
	s.options = func(idlePerHost, idle int) Options {
		o := local
		o.TLS, o.IdlePerHost, o.Idle = s.config, idlePerHost, idle
		return o
	}
	return s
}

func (s *counting) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// wantOpen waits until no more than this many connections are left, and wants
// that not to be fewer.
func (s *counting) wantOpen(t *testing.T, want int) {
	t.Helper()
	if open := s.wantAtMost(t, want); open < want {
		t.Errorf("%d connections are open, want %d", open, want)
	}
}

// wantAtMost waits until no more than this many connections are left.
func (s *counting) wantAtMost(t *testing.T, want int) int {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		open, changed := len(s.open), s.changed
		s.mu.Unlock()
		if open <= want {
			return open
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%d connections stay open, want %d", open, want)
		}
	}
}

// mustPost makes a successful exchange.
func mustPost(t *testing.T, c *Client, raw string) {
	t.Helper()
	if res, err := post(t, c, raw, "{}"); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("status %d, %v: %v", res.StatusCode, err, errors.Unwrap(err))
	}
}

// derive returns that many clients of c, which are closed at the end.
func derive(t *testing.T, c *Client, n int) []*Client {
	clients := make([]*Client, n)
	for n := range clients {
		clients[n] = c.WithTLS(func(*tls.Config) {})
		t.Cleanup(clients[n].CloseIdle)
	}
	return clients
}

// wantForgotten waits until the pools of c hold on to none any more. The server
// may know of the end of a connection before they do.
func wantForgotten(t *testing.T, c *Client) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		c.pools.mu.Lock()
		pools, idle := c.pools.used.Len(), c.pools.idle
		c.pools.mu.Unlock()
		if pools == 0 && idle == 0 {
			return
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%d pools are remembered, and %d idle connections", pools, idle)
		}
	}
}

func TestIdleConnectionsOfAllClientsWithTLSAreBoundedTogether(t *testing.T) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(name, func(t *testing.T) {
			s := newCounting(t, h2)
			c := newClient(t, s.options(64, 64))
			mustPost(t, c, s.URL)
			clients := derive(t, c, 200)
			for n := range clients {
				if n%2 == 1 { // whatever it was derived from
					clients[n] = clients[n-1].WithTLS(func(*tls.Config) {})
					t.Cleanup(clients[n].CloseIdle)
				}
				mustPost(t, clients[n], s.URL)
			}
			s.wantOpen(t, 1+64)

			// The latest used are those that were kept, and the client that all come
			// from loses nothing to them.
			for _, c := range append(clients[200-64:], c) {
				mustPost(t, c, s.URL)
			}
			if n := s.total(); n != 1+200 {
				t.Errorf("%d connections were made, want %d", n, 1+200)
			}
			mustPost(t, clients[0], s.URL)
			s.wantOpen(t, 1+64)
			mustPost(t, clients[200-64], s.URL) // was the next to go
			if n := s.total(); n != 1+200+2 {
				t.Errorf("%d connections were made, want %d", n, 1+200+2)
			}
			s.wantOpen(t, 1+64)

			for _, c := range append(clients, c) {
				c.CloseIdle()
			}
			s.wantOpen(t, 0)
			wantForgotten(t, c)
		})
	}
}

func TestConnectionsInUseAreNotCutForOthers(t *testing.T) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(name, func(t *testing.T) {
			s := newCounting(t, h2)
			arrived, first, second := make(chan bool, 3), make(chan bool), make(chan bool)
			waiting := func(release chan bool) func(*http.Request) {
				return func(*http.Request) {
					arrived <- true
					<-release
				}
			}
			s.answer["/first"], s.answer["/second"] = waiting(first), waiting(second)
			c := newClient(t, s.options(4, 4))
			clients := derive(t, c, 20)
			var one, rest sync.WaitGroup
			finish := sync.OnceFunc(func() {
				close(second)
				rest.Wait()
			})
			defer finish() // the server waits for it
			rest.Go(func() { mustPost(t, clients[0], s.URL+"/second") })
			<-arrived
			for range 2 {
				one.Go(func() { mustPost(t, clients[0], s.URL+"/first") })
			}
			<-arrived
			<-arrived
			close(first)
			one.Wait()
			for _, c := range clients[1:] {
				mustPost(t, c, s.URL)
			}
			s.wantOpen(t, 1+4) // what is idle beside the one in use was closed
			finish()
			s.wantAtMost(t, 4)
		})
	}
}

func TestIdleConnectionsThroughAllProxiesAreBoundedTogether(t *testing.T) {
	s := newCounting(t, false)
	p := &tunnels{to: s.Listener.Addr().String()}
	proxy := httptest.NewServer(p)
	t.Cleanup(proxy.Close)
	o := s.options(8, 8)
	user := ""
	o.Proxy = func(*http.Request) (*url.URL, error) {
		u, err := url.Parse(proxy.URL)
		u.User = url.User(user)
		return u, err
	}
	c := newClient(t, o)
	clients := append(derive(t, c, 2), c)
	for n := range 20 {
		user = itoa(n)
		for _, c := range clients {
			mustPost(t, c, "https://example.com/")
		}
	}
	s.wantOpen(t, 8)
	for _, c := range clients {
		mustPost(t, c, "https://example.com/")
	}
	if n := p.opened.Load(); n != 60 {
		t.Errorf("%d tunnels, want 60", n)
	}
	for _, c := range clients {
		c.CloseIdle()
	}
	s.wantOpen(t, 0)
	wantForgotten(t, c)
}

func TestIdleConnectionsAreBoundedWhateverHappensAtTheSameTime(t *testing.T) {
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(name, func(t *testing.T) {
			s := newCounting(t, h2)
			c := newClient(t, s.options(8, 8))
			clients := derive(t, c, 25)
			var all sync.WaitGroup
			for worker := range 8 {
				all.Go(func() {
					for n := range 20 {
						c := clients[(worker*7+n*n)%len(clients)]
						mustPost(t, c, s.URL)
						if n%10 == 9 {
							c.CloseIdle()
						}
					}
				})
			}
			all.Wait()
			// What was just used when it was to be closed is, at the next occasion.
			for _, c := range clients[:10] {
				mustPost(t, c, s.URL)
			}
			s.wantAtMost(t, 8)
			for _, c := range clients {
				c.CloseIdle()
			}
			s.wantOpen(t, 0)
			wantForgotten(t, c)
		})
	}
}

// A client that had failures only holds on to nothing.
func TestConnectionsThatFailAreForgotten(t *testing.T) {
	s := newCounting(t, false)
	c := newClient(t, local) // does not know the server's authority
	for _, c := range derive(t, c, 5) {
		if _, err := post(t, c, s.URL, "{}"); err == nil {
			t.Error("no error")
		}
	}
	s.wantOpen(t, 0)
	wantForgotten(t, c)
}
