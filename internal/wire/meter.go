package wire

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
)

var errFlood = errors.New("the receiver sends more than responses may have")

// meter is a connection that breaks when its peer sends more than the exchanges
// on it may read. net/http bounds what it keeps of a response, but goes on
// reading frames of HTTP/2 that belong to none for as long as they come, and
// answers them: pings, settings, empty frames. They would cost a processor until
// the connection is idle for too long, even after the response.
type meter struct {
	net.Conn
	allowance int64 // of an exchange

	mu        sync.Mutex
	exchanges int64
	left      int64
}

func newMeter(conn net.Conn, allowance int64) *meter {
	return &meter{Conn: conn, allowance: allowance, left: allowance}
}

func (m *meter) Read(p []byte) (int, error) {
	m.mu.Lock()
	over := m.left <= 0
	m.mu.Unlock()
	if over {
		return 0, errFlood
	}
	n, err := m.Conn.Read(p)
	m.mu.Lock()
	m.left -= int64(n)
	m.mu.Unlock()
	return n, err
}

// add says that so many more exchanges use the connection. Nothing is saved up:
// what may come while there is none is as much as for one.
func (m *meter) add(exchanges int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.exchanges += exchanges
	m.left = min(m.left+max(exchanges, 0)*m.allowance, max(m.exchanges, 1)*m.allowance)
}

// meterOf finds the meter below TLS, nil if there is none.
func meterOf(conn net.Conn) *meter {
	for {
		switch c := conn.(type) {
		case *meter:
			return c
		case *tls.Conn:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// trace makes the exchange tell the meter of the connection that it has got.
func (x *exchange) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		x.leave() // another that was lost
		if x.meter = meterOf(info.Conn); x.meter != nil {
			x.meter.add(1)
		}
	}}
}

// leave says that the exchange no longer uses its connection.
func (x *exchange) leave() {
	if x.meter != nil {
		x.meter.add(-1)
		x.meter = nil
	}
}
