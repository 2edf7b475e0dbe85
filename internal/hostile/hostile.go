// Package hostile holds receivers that attack who sends to them, and name servers
// that lie, for tests. Each receiver comes with what a sender should make of it.
package hostile

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Receiver is one way to treat a POST badly.
type Receiver struct {
	Name string
	// TLS says that it speaks TLS.
	TLS bool
	// Size is how large a request shows it; 0: any.
	Size int

	// What should come of one POST: a response of that Status, or no response for
	// a reason that is one of Errors, or either where that is a matter of luck.
	Status int
	Errors []string
	// Hangs says that it lasts until the sender's deadline, unless an error of
	// another kind comes first.
	Hangs bool
	// Truncated says that what is kept of the response is not all of it.
	Truncated bool
	// Requests is how often the request may arrive at the most; 0: once.
	Requests int
	// Connections is how many connections the sender may make; 0: one.
	Connections int

	handle func(*peer)
	refuse bool // to connect
}

// Receivers returns all receivers.
func Receivers() []Receiver { return slices.Concat(http1(), framing(), http2()) }

// Server is a receiver that listens on loopback.
type Server struct {
	URL         string
	Connections atomic.Int64
	Requests    atomic.Int64 // of which the header has come

	listener net.Listener
	done     chan struct{} // closed by Close
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
	closed   bool
}

// Start starts a receiver. Close ends it.
func (r Receiver) Start() (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{URL: "http://" + l.Addr().String() + "/hook", listener: l, done: make(chan struct{})}
	if r.TLS {
		s.URL = "https" + strings.TrimPrefix(s.URL, "http")
	}
	if r.refuse {
		// At the other end of a connection nobody listens, nor will meanwhile.
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		s.conns = append(s.conns, conn)
		s.URL = "http://" + conn.LocalAddr().String() + "/hook"
		return s, nil
	}
	s.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if !s.keep(conn) {
				return
			}
			s.Connections.Add(1)
			s.wg.Go(func() {
				defer conn.Close()
				p := &peer{Conn: conn, raw: conn.(*net.TCPConn), server: s}
				if r.TLS {
					p.Conn = tls.Server(conn, ServerTLS())
				}
				p.r = bufio.NewReader(p.Conn)
				r.handle(p)
			})
		}
	})
	return s, nil
}

func (s *Server) keep(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return false
	}
	s.conns = append(s.conns, conn)
	return true
}

// Close closes the listener and all connections, and waits for their ends.
func (s *Server) Close() {
	_ = s.listener.Close()
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
	}
	for _, conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// dripEvery is for a byte. It is shorter than the second that a real one takes,
// so that tests have short deadlines.
const dripEvery = 20 * time.Millisecond

// peer is the receiver's end of a connection.
type peer struct {
	net.Conn // what is within TLS, if there is TLS
	raw      *net.TCPConn
	r        *bufio.Reader
	server   *Server
}

// header reads the header of a request.
func (p *peer) header() (*http.Request, bool) {
	q, err := http.ReadRequest(p.r)
	if err != nil {
		return nil, false
	}
	p.server.Requests.Add(1)
	return q, true
}

// request reads a request.
func (p *peer) request() bool {
	q, ok := p.header()
	if ok {
		_, err := io.Copy(io.Discard, q.Body)
		ok = err == nil
	}
	return ok
}

func (p *peer) send(text string) bool {
	// Without the types that would copy it as a whole.
	_, err := io.CopyBuffer(struct{ io.Writer }{p.Conn}, struct{ io.Reader }{strings.NewReader(text)}, make([]byte, 16<<10))
	return err == nil
}

// repeat sends the text so often, which takes memory for it once.
func (p *peer) repeat(text string, times int) bool {
	chunk := []byte(text)
	for range times {
		if _, err := p.Conn.Write(chunk); err != nil {
			return false
		}
	}
	return true
}

// flood sends the text again and again, until the sender has closed.
func (p *peer) flood(text string) {
	p.repeat(strings.Repeat(text, 1+(32<<10)/len(text)), math.MaxInt)
}

// drip sends the text byte by byte.
func (p *peer) drip(text string) {
	tick := time.NewTicker(dripEvery)
	defer tick.Stop()
	for n := range text {
		select {
		case <-tick.C:
		case <-p.server.done:
			return
		}
		if !p.send(text[n : n+1]) {
			return
		}
	}
}

// hold waits for the sender to close.
func (p *peer) hold() { _, _ = io.Copy(io.Discard, p.r) }

// reset closes the connection with a RST.
func (p *peer) reset() {
	_ = p.raw.SetLinger(0)
	_ = p.raw.Close()
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})

// ServerTLS returns the configuration of receivers that speak TLS.
func ServerTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{certificate()}, NextProtos: []string{"h2"}}
}

// ClientTLS returns a configuration that trusts them.
func ClientTLS() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(certificate().Leaf)
	return &tls.Config{RootCAs: roots}
}
