package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// egress is a proxy, SOCKS5 or HTTP, that leads to a receiver, and whose state
// the test decides.
type egress struct {
	receiver *receiver
	down     atomic.Bool // nothing accepts connections
	silent   atomic.Bool // it accepts them and does nothing
	dials    atomic.Int64

	mu     sync.Mutex
	answer map[string]byte // its reply by host, where that is not success
}

func (p *egress) reply(host string, code byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.answer == nil {
		p.answer = make(map[string]byte)
	}
	p.answer[host] = code
}

// dial is Config.dial: what goes to proxy.example meets the proxy, and the rest
// the receiver.
func (p *egress) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if !strings.HasPrefix(address, "proxy.example:") {
		return p.receiver.dial(ctx, network, address)
	}
	p.dials.Add(1)
	switch {
	case p.down.Load():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused by 10.1.2.3")}
	case p.silent.Load():
		here, there := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, there) }()
		return here, nil
	case strings.HasSuffix(address, ":3128"): // HTTP: the receiver answers for it
		return p.receiver.dial(ctx, network, address)
	}
	conn, err := p.receiver.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &socksConn{Conn: conn, proxy: p}, nil
}

// socksConn plays SOCKS5 towards who holds it, and passes the rest on.
type socksConn struct {
	net.Conn
	proxy *egress
	sent  int
	reads []byte
}

func (c *socksConn) Write(b []byte) (int, error) {
	switch c.sent++; c.sent {
	case 1:
		c.reads = append(c.reads, 5, 2)
	case 2:
		c.reads = append(c.reads, 1, 0)
	case 3:
		c.proxy.mu.Lock()
		code := c.proxy.answer[string(b[5:5+b[4]])]
		c.proxy.mu.Unlock()
		c.reads = append(c.reads, 5, code, 0, 1, 0, 0, 0, 0, 0, 0)
	default:
		return c.Conn.Write(b)
	}
	return len(b), nil
}

func (c *socksConn) Read(b []byte) (int, error) {
	if len(c.reads) > 0 {
		n := copy(b, c.reads)
		c.reads = c.reads[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

const proxySecret = "pr0xy-s3cret"

// behind returns a Config whose requests go through the proxy, but for those to
// hosts that begin with "direct".
func (p *egress) behind(proxy string) Config {
	config := testConfig(p.receiver)
	config.dial = p.dial
	config.Network.Proxy = func(r *http.Request) (*url.URL, error) {
		if strings.HasPrefix(r.URL.Hostname(), "direct") {
			return nil, nil
		}
		u, err := url.Parse(proxy)
		u.User = url.UserPassword("user", proxySecret)
		return u, err
	}
	return config
}

// countingStore counts claims.
type countingStore struct {
	*MemoryStore
	claims atomic.Int64
}

func (s *countingStore) Claim(ctx context.Context, r ClaimRequest) ([]Claimed, time.Duration, error) {
	s.claims.Add(1)
	return s.MemoryStore.Claim(ctx, r)
}

func (s *countingStore) Unwrap() Store { return s.MemoryStore }

const notSent = "not sent: the sender's own network failed"

func TestADeadProxyIsNobodysFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &egress{receiver: newReceiver(t, nil)}
		var seen notices
		logger, logs := observedLog()
		config := p.behind("http://proxy.example:3128")
		config.Observer, config.Logger, config.Profile.Retry = &seen, logger, Schedule() // a counted failure would be the end
		store := &countingStore{MemoryStore: NewMemoryStore()}
		d := newDispatcher(t, store, config)
		const endpoints, each = 20, 20
		var ids []string
		for n := range endpoints {
			ids = append(ids, register(t, d.View, Endpoint{URL: fmt.Sprintf("http://%d.example/", n), Tenant: "acme"}).ID)
		}
		register(t, d.View, Endpoint{URL: "http://direct.example/", Tenant: "direct"})
		start(t, d)
		p.down.Store(true)
		for range each {
			publish(t, d, Event{Tenant: "acme"})
		}
		const outage = time.Hour
		for range int(outage / time.Minute) {
			time.Sleep(time.Minute)
			publish(t, d, Event{Tenant: "direct"})
			time.Sleep(10 * time.Millisecond)
			if got := delivery(t, d, deliveries(t, d, DeliveryFilter{Limit: 1})[0].EventID); got.State != StateDelivered {
				t.Fatalf("what needs no proxy is %s", got.State)
			}
		}

		made := 0
		for _, of := range deliveries(t, d, DeliveryFilter{States: []State{StatePending}, Limit: 1000}) {
			if of.Attempts != 0 || of.LastError != "" || of.NextAttempt.After(time.Now().Add(2*time.Minute)) {
				t.Fatalf("a delivery is %+v", of)
			}
			as, err := d.Attempts(t.Context(), of.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range as {
				if a.Number != 1 || a.Error != notSent || a.StatusCode != 0 {
					t.Fatalf("an attempt is %+v", a)
				}
			}
			made += len(as)
		}
		for _, id := range ids {
			if e, err := d.Endpoint(t.Context(), id); err != nil || !e.FailingSince.IsZero() || !e.NotBefore.IsZero() || e.Disabled {
				t.Fatalf("an endpoint is %+v, %v", e, err)
			}
		}
		// Each endpoint finds out for itself; then there is a probe a minute.
		if made == 0 || made > endpoints*4+90 || p.dials.Load() != int64(made) {
			t.Errorf("%d attempts and %d connections during the outage", made, p.dials.Load())
		}
		// It polls 1.25 times a second; what waits comes by once a minute, more
		// often only in the first ones, each time with a claim that finds it and one
		// that finds when the next is due.
		if n, most := store.claims.Load(), int64(outage/(800*time.Millisecond)+endpoints*each*(60+20)*2); n > most {
			t.Errorf("%d claims in %v, want at most %d", n, outage, most)
		}
		if failed := noticed[ProxyFailed](&seen); len(failed) != 1 || failed[0].Proxy != "http://proxy.example:3128" || !strings.Contains(failed[0].Err.Error(), "10.1.2.3") {
			t.Errorf("told of the failure: %v", failed)
		}
		if n := logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 1 || logs.FilterLevelExact(zap.WarnLevel).Len() != 0 {
			t.Errorf("%d errors and %d warnings are logged", n, logs.FilterLevelExact(zap.WarnLevel).Len())
		}
		if got := noticed[AttemptFinished](&seen); !slices.ContainsFunc(got, func(n AttemptFinished) bool { return n.ProxyFault && !n.Success && !n.Blocked }) {
			t.Error("no notice of an attempt says that it is the proxy's fault")
		}

		p.down.Store(false)
		time.Sleep(3 * time.Minute)
		if left := deliveries(t, d, DeliveryFilter{States: []State{StatePending, StateExhausted}}); len(left) > 0 {
			t.Errorf("%d deliveries are left after the outage", len(left))
		}
		for _, got := range deliveries(t, d, DeliveryFilter{Limit: 1000}) {
			if got.Attempts != 1 {
				t.Fatalf("a delivery took %d attempts", got.Attempts)
			}
		}
		if n := len(noticed[ProxyRecovered](&seen)); n != 1 || len(noticed[ProxyFailed](&seen)) != 1 {
			t.Errorf("told of the recovery %d times", n)
		}
		if n := len(noticed[EndpointPaused](&seen)) + len(noticed[EndpointResumed](&seen)) + len(noticed[EndpointFailing](&seen)); n > 0 {
			t.Errorf("%d notices of the endpoints' health", n)
		}
	})
}

// What a proxy says of one endpoint may be of that one's making.
func TestAProxyThatFailsOneEndpointHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &egress{receiver: newReceiver(t, nil)}
		config := p.behind("socks5://proxy.example")
		d := newDispatcher(t, NewMemoryStore(), config)
		bad := register(t, d.View, Endpoint{URL: "http://bad.example/", Tenant: "bad"})
		register(t, d.View, Endpoint{URL: "http://good.example/", Tenant: "good"})
		p.reply("bad.example", 7)
		start(t, d)
		for range 100 {
			publish(t, d, Event{Tenant: "bad"})
		}
		for range 60 {
			time.Sleep(10 * time.Second)
			id := publish(t, d, Event{Tenant: "good"}).EventID
			time.Sleep(10 * time.Millisecond)
			if got := delivery(t, d, id); got.State != StateDelivered {
				t.Fatalf("the other endpoint's delivery is %s after 10ms", got.State)
			}
		}
		if n := p.dials.Load(); n > 100+200 { // a connection for each of the good ones at the most, and probes
			t.Errorf("the proxy was dialled %d times", n)
		}
		if e, err := d.Endpoint(t.Context(), bad.ID); err != nil || !e.FailingSince.IsZero() {
			t.Errorf("the endpoint is %+v, %v", e, err)
		}
		p.reply("bad.example", 0)
		time.Sleep(3 * time.Minute)
		if n := len(p.receiver.to("bad.example")); n != 100 {
			t.Errorf("%d of 100 are delivered once the proxy works", n)
		}
	})
}

// A hanging proxy costs a place for the length of a timeout, but only that of a
// probe once it is known.
func TestAHangingProxyHoldsUpNothingElse(t *testing.T) {
	for _, proxy := range []string{"socks5://proxy.example", "http://proxy.example:3128"} {
		t.Run(proxy, func(t *testing.T) { testHangingProxy(t, proxy) })
	}
}

func testHangingProxy(t *testing.T, proxy string) {
	synctest.Test(t, func(t *testing.T) {
		p := &egress{receiver: newReceiver(t, nil)}
		p.silent.Store(true)
		config := p.behind(proxy)
		config.Concurrency = 8
		var seen notices
		config.Observer = &seen
		d := newDispatcher(t, NewMemoryStore(), config)
		for n := range 60 {
			// The one asks for a tunnel for https alone, the other for both.
			register(t, d.View, Endpoint{URL: fmt.Sprintf("https://%d.example/", n), Tenant: "acme"})
		}
		register(t, d.View, Endpoint{URL: "http://direct.example/", Tenant: "direct"})
		start(t, d)
		publish(t, d, Event{Tenant: "direct"})
		time.Sleep(time.Second)
		for range 10 {
			publish(t, d, Event{Tenant: "acme"})
		}
		for range 200 {
			time.Sleep(5 * time.Second)
			id := publish(t, d, Event{Tenant: "direct"}).EventID
			time.Sleep(50 * time.Millisecond)
			if got := delivery(t, d, id); got.State != StateDelivered {
				t.Fatalf("what needs no proxy is %s", got.State)
			}
		}
		if got := deliveries(t, d, DeliveryFilter{States: []State{StateExhausted}}); len(got) > 0 || len(noticed[ProxyFailed](&seen)) != 1 {
			t.Errorf("%d deliveries are given up, told %d times", len(got), len(noticed[ProxyFailed](&seen)))
		}
	})
}

// What the proxy says of the receiver counts, and its owner is told the same
// whether that is forbidden or not there.
func TestWhatAProxySaysOfTheReceiverCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &egress{receiver: newReceiver(t, nil)}
		p.reply("forbidden.example", 2)
		p.reply("unreachable.example", 4)
		config := p.behind("socks5://proxy.example")
		var seen notices
		logger, logs := observedLog()
		config.Observer, config.Logger, config.Profile.Retry = &seen, logger, Schedule(time.Second)
		d := newDispatcher(t, NewMemoryStore(), config)
		hosts := map[string]string{}
		for _, host := range []string{"forbidden.example", "unreachable.example"} {
			hosts[register(t, d.View, Endpoint{URL: "http://" + host + "/"}).ID] = host
		}
		start(t, d)
		publish(t, d, Event{})
		time.Sleep(time.Minute)
		for _, got := range deliveries(t, d, DeliveryFilter{}) {
			if got.State != StateExhausted || got.Attempts != 2 || got.LastError != "connection failed" {
				t.Errorf("%s: %+v", hosts[got.EndpointID], got)
			}
			if e, err := d.Endpoint(t.Context(), got.EndpointID); err != nil || e.FailingSince.IsZero() {
				t.Errorf("%s: %+v, %v", hosts[got.EndpointID], e, err)
			}
		}
		for _, n := range noticed[AttemptFinished](&seen) {
			if n.Blocked != (hosts[n.Delivery.EndpointID] == "forbidden.example") || n.ProxyFault {
				t.Errorf("%s: %+v", hosts[n.Delivery.EndpointID], n)
			}
		}
		warned := logs.FilterLevelExact(zap.WarnLevel).FilterMessage("attempt").All()
		if len(warned) != 2 || !strings.Contains(fmt.Sprint(warned[0].ContextMap()["error"]), "not allowed by its rules") {
			t.Errorf("the operator is told %v", warned)
		}
		if len(noticed[ProxyFailed](&seen)) > 0 {
			t.Error("the proxy is said to fail")
		}
	})
}

// An endpoint that is probed already stays so, and its backlog is not run through
// while the proxy is down.
func TestAProxysFaultDuringAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		p := &egress{receiver: newReceiver(t, func(w http.ResponseWriter, _ *http.Request) {
			if broken.Load() {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})}
		store := &countingStore{MemoryStore: NewMemoryStore()}
		config := p.behind("socks5://proxy.example")
		config.Profile.Retry = DefaultRetry()
		d := newDispatcher(t, store, config)
		e := register(t, d.View, Endpoint{})
		start(t, d)
		for range 200 {
			publish(t, d, Event{})
		}
		time.Sleep(time.Minute)
		before, err := d.Endpoint(t.Context(), e.ID)
		if err != nil || before.NotBefore.IsZero() {
			t.Fatalf("it is not probed: %+v, %v", before, err)
		}
		p.down.Store(true)
		p.reply("receiver.example", 7) // and connections that are kept are of no use
		d.closeIdle()
		claims := store.claims.Load()
		time.Sleep(time.Hour)
		after, err := d.Endpoint(t.Context(), e.ID)
		if err != nil || !after.FailingSince.Equal(before.FailingSince) || after.NotBefore.IsZero() || after.NotBefore.After(time.Now().Add(20*time.Minute)) {
			t.Errorf("afterwards: %+v, %v", after, err)
		}
		if n := store.claims.Load() - claims; n > 5000 {
			t.Errorf("%d claims in an hour", n)
		}
		p.down.Store(false)
		p.reply("receiver.example", 0)
		broken.Store(false)
		time.Sleep(24 * time.Hour)
		if left := deliveries(t, d, DeliveryFilter{States: []State{StatePending, StateExhausted}}); len(left) > 0 {
			t.Errorf("%d are left", len(left))
		}
	})
}

func TestATestSendThroughADeadProxy(t *testing.T) {
	p := &egress{receiver: newReceiver(t, nil)}
	p.down.Store(true)
	d := newDispatcher(t, NewMemoryStore(), p.behind("http://proxy.example:3128"))
	e := register(t, d.View, Endpoint{})
	a, err := d.SendTest(t.Context(), e.ID, "test")
	if err != nil || a.Error != notSent {
		t.Errorf("%+v, %v", a, err)
	}
	if got := deliveries(t, d, DeliveryFilter{}); len(got) != 1 || got[0].State != StateExhausted {
		t.Errorf("its delivery is %+v", got)
	}
}

func TestCredentialsOfAProxyAreNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &egress{receiver: newReceiver(t, func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Proxy-Authorization"); strings.HasPrefix(r.Host, "forwarded") && got == "" {
				t.Error("the proxy is not shown the credentials")
			}
			w.Header().Set("Proxy-Authenticate", "Basic")
			w.WriteHeader(http.StatusProxyAuthRequired)
		})}
		for n := range 9 {
			p.reply(fmt.Sprintf("%d.example", n), byte(n))
		}
		var seen notices
		logger, logs := observedLog()
		config := p.behind("socks5://proxy.example")
		config.Observer, config.Logger, config.Profile.Retry = &seen, logger, Schedule(time.Second)
		socks := config.Network.Proxy
		config.Network.Proxy = func(r *http.Request) (*url.URL, error) {
			u, err := socks(r)
			switch host := r.URL.Hostname(); {
			case strings.HasPrefix(host, "forwarded"):
				u.Scheme, u.Host = "http", "proxy.example:3128"
			case strings.HasPrefix(host, "panics"):
				panic(u)
			case strings.HasPrefix(host, "fails"):
				return nil, fmt.Errorf("no proxy %v", u)
			case strings.HasPrefix(host, "wrong"):
				u.Scheme = "ftp"
			}
			return u, err
		}
		d := newDispatcher(t, NewMemoryStore(), config)
		for n := range 9 {
			register(t, d.View, Endpoint{URL: fmt.Sprintf("http://%d.example/", n)})
		}
		for _, host := range []string{"forwarded", "panics", "fails", "wrong"} {
			register(t, d.View, Endpoint{URL: "http://" + host + ".example/"})
		}
		start(t, d)
		publish(t, d, Event{})
		time.Sleep(10 * time.Second)
		p.down.Store(true)
		d.closeIdle()
		publish(t, d, Event{})
		time.Sleep(time.Minute)
		p.down.Store(false)
		time.Sleep(5 * time.Minute)

		var text strings.Builder
		for _, entry := range logs.All() {
			fmt.Fprintf(&text, "%s %v\n", entry.Message, entry.ContextMap())
		}
		for _, n := range seen.all() {
			fmt.Fprintf(&text, "%+v\n", n)
		}
		for _, of := range deliveries(t, d, DeliveryFilter{}) {
			as, err := d.Attempts(t.Context(), of.ID)
			encoded, _ := json.Marshal(as)
			fmt.Fprintf(&text, "%+v %v %s\n", of, err, encoded)
			for _, a := range as {
				if strings.Contains(a.Error, "proxy") {
					t.Errorf("the owner is told of the proxy: %s", a.Error)
				}
			}
		}
		if failed := noticed[ProxyFailed](&seen); len(failed) < 3 || !strings.Contains(text.String(), "user and password") && !strings.Contains(text.String(), "connection refused") {
			t.Errorf("too little is told to prove anything: %v", failed)
		}
		for _, secret := range []string{proxySecret, url.UserPassword("user", proxySecret).String(), "dXNlcjpwcjB4", "user:"} {
			if at := strings.Index(text.String(), secret); at >= 0 {
				t.Errorf("%q is told: …%s…", secret, text.String()[max(0, at-200):min(text.Len(), at+100)])
			}
		}
	})
}

func TestNetworksThatCannotBeMeant(t *testing.T) {
	_, err := NewDispatcher(NewMemoryStore(), Config{Networks: map[string]Network{
		"":      {},
		"acme/": {},
		"a":     {MaxResponseBytes: maxResponseBytes + 1},
		"b":     {Ports: []uint16{0}},
	}})
	for _, want := range []string{`Networks: invalid: the tenant ""`, `Networks["acme/"]: invalid`, `Networks["a"].MaxResponseBytes: invalid`, `Networks["b"]: invalid: port 0`} {
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
}

func TestTenantsHaveNetworksOfTheirOwn(t *testing.T) {
	var mu sync.Mutex
	from := make(map[string]map[string]bool) // the peers of each path
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if from[r.URL.Path] == nil {
			from[r.URL.Path] = make(map[string]bool)
		}
		from[r.URL.Path][r.RemoteAddr] = true
	}))
	defer server.Close()
	loopback := Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	config := Config{Networks: map[string]Network{"acme": loopback, "acme/eu": loopback, "acme/closed": {}, "other": {AllowHTTP: true}}}
	store := NewMemoryStore()
	delivered := make(chan struct{}, 10)
	config.Observer = observing(func(DeliveryDelivered) { delivered <- struct{}{} })
	d := newDispatcher(t, store, config)
	for _, tt := range []struct {
		tenant string
		all    bool
		want   error
	}{
		{tenant: "acme"}, {tenant: "acme/legal"}, {tenant: "acme/legal/a.b"}, {tenant: "acme/eu"}, {tenant: "acme/eu/de"}, {tenant: "acme/eu2"},
		{tenant: "acme/closed", want: ErrInvalid}, // http
		{tenant: "acme/closed/x", want: ErrInvalid},
		{tenant: "other", want: ErrBlockedAddress},
		{tenant: "acme2", want: ErrInvalid},
		{tenant: "ac", want: ErrInvalid},
		{tenant: "legal/acme", want: ErrInvalid},
		{tenant: "", want: ErrInvalid},
		{all: true, want: ErrInvalid},
	} {
		e, err := d.Register(t.Context(), Endpoint{URL: server.URL + "/" + tt.tenant, Tenant: tt.tenant, AllTenants: tt.all})
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%q: register: %v", tt.tenant, err)
			continue
		}
		if err != nil {
			continue
		}
		// Update has the same verdict.
		e.URL = "http://10.0.0.1/"
		if _, err := d.Update(t.Context(), e); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("%q: update: %v", tt.tenant, err)
		}
	}
	if t.Failed() {
		return
	}
	run := start(t, d)
	for range 2 {
		for _, tenant := range []string{"acme/eu", "acme/legal"} {
			publish(t, d, Event{Tenant: tenant})
			for range 2 { // the tenant's own, and that of acme
				arrival(t, delivered)
			}
		}
	}
	run()
	mu.Lock()
	defer mu.Unlock()
	if len(from["/acme/eu"]) == 0 || len(from["/acme/legal"]) == 0 {
		t.Fatalf("requests came from %v", from)
	}
	for peer := range from["/acme/eu"] {
		for _, path := range []string{"/acme", "/acme/legal"} {
			if from[path][peer] {
				t.Errorf("the connection %s of one network is used by another", peer)
			}
		}
	}

	// A URL that got into the store when more was permitted is judged again.
	strict := newDispatcher(t, store, Config{Network: loopback, Networks: map[string]Network{"acme": {}}})
	page, err := strict.Endpoints(t.Context(), EndpointFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Items {
		if a, err := strict.SendTest(t.Context(), e.ID, "test"); err != nil || a.Error != "connection failed" {
			t.Errorf("%s: %q, %v", e.Tenant, a.Error, err)
		}
	}
}

func TestTheProxyOfATenantIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &egress{receiver: newReceiver(t, nil)}
		config := p.behind("socks5://proxy.example")
		config.Networks = map[string]Network{"direct": {AllowHTTP: true}}
		d := newDispatcher(t, NewMemoryStore(), config)
		register(t, d.View, Endpoint{URL: "http://a.example/", Tenant: "direct"})
		register(t, d.View, Endpoint{URL: "http://a.example/", Tenant: "acme"})
		start(t, d)
		publish(t, d, Event{Tenant: "direct/a"})
		time.Sleep(time.Second)
		if n := p.dials.Load(); n != 0 || len(p.receiver.all()) != 1 {
			t.Errorf("the proxy was dialled %d times for %d requests", n, len(p.receiver.all()))
		}
		publish(t, d, Event{Tenant: "acme"})
		time.Sleep(time.Second)
		if n := p.dials.Load(); n != 1 || len(p.receiver.all()) != 2 {
			t.Errorf("the proxy was dialled %d times for %d requests", n, len(p.receiver.all()))
		}
	})
}

// arrival returns what a channel of a test with real connections brings.
func arrival[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing comes")
	}
	return v
}

// observing returns an Observer of one kind of notice.
func observing[N Notice](f func(N)) Observer {
	return ObserverFunc(func(_ context.Context, n Notice) {
		if n, ok := n.(N); ok {
			f(n)
		}
	})
}
