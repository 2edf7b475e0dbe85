package wire

import (
	"container/list"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// pools bounds the idle connections of transports that are made as they are
// needed. Each bounds its own, but there may be thousands of them.
type pools struct {
	limit int // of idle connections

	mu   sync.Mutex
	idle int       // connections
	used list.List // of *pool, those with connections or exchanges; the latest used first
}

// pool is a transport that takes part.
type pool struct {
	transport *http.Transport
	all       *pools

	// Under all.mu:
	conns, exchanges int
	closing          bool          // what is idle, which so no longer counts
	place            *list.Element // in all.used
}

// begin says that an exchange is to use the pool. A nil pool takes no part.
func (p *pool) begin() {
	if p != nil {
		p.change(0, 1)
	}
}

// end says that the exchange is over.
func (p *pool) end() {
	if p != nil {
		p.change(0, -1)
		p.all.shrink(p)
	}
}

// count returns a connection that belongs to the pool until it is closed.
func (p *pool) count(conn net.Conn) net.Conn {
	if p == nil {
		return conn
	}
	p.change(1, 0)
	p.all.shrink(p) // the exchange it was made for may be over
	return &counted{Conn: conn, pool: p}
}

// change counts. A pool with nothing left to count is forgotten, so that a
// client that nobody uses any more can be collected.
func (p *pool) change(conns, exchanges int) {
	a := p.all
	a.mu.Lock()
	defer a.mu.Unlock()
	a.idle -= p.idle()
	p.conns += conns
	p.exchanges += exchanges
	a.idle += p.idle()
	switch {
	case p.conns == 0 && p.exchanges == 0:
		if p.place != nil {
			a.used.Remove(p.place)
			p.place = nil
		}
	case p.place == nil:
		p.place = a.used.PushFront(p)
	case conns >= 0: // to lose one is no use
		a.used.MoveToFront(p.place)
	}
}

// idle is how many connections are in the way. Exchanges that share one make it
// less than are idle, but never let there be more connections than exchanges and
// the limit together.
func (p *pool) idle() int {
	if p.closing {
		return 0
	}
	return max(0, p.conns-p.exchanges)
}

// shrink closes what is idle in the pools that have not been used for longest,
// as far as there is too much. It spares the one just used, which has a bound of
// its own that it may be about to apply.
func (a *pools) shrink(spared *pool) {
	for _, p := range a.choose(spared) {
		// A receiver that has stopped reading holds up the end of TLS for seconds,
		// and that is not to be at the expense of whoever was just served.
		go p.close()
	}
}

// close closes what is idle. The lock is not held meanwhile: connections count
// themselves, and net/http closes some under locks of its own.
func (p *pool) close() {
	p.transport.CloseIdleConnections()
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	p.closing = false
	p.all.idle += p.idle() // such as was used again meanwhile
}

// choose returns the pools to be closed, which no longer count as idle.
func (a *pools) choose(spared *pool) (chosen []*pool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for e := a.used.Back(); e != nil && a.idle > a.limit; e = e.Prev() {
		if p := e.Value.(*pool); p != spared && p.idle() > 0 {
			a.idle -= p.idle()
			p.closing = true
			chosen = append(chosen, p)
		}
	}
	return chosen
}

// counted is a connection of a pool.
type counted struct {
	net.Conn
	pool   *pool
	closed atomic.Bool
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	if !c.closed.Swap(true) {
		c.pool.change(-1, 0)
	}
	return c.Conn.Close()
}
