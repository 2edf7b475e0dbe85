package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/outhook/webhook/internal/hostile"
)

// restore puts another URL into an endpoint behind the library's back.
func restore(t *testing.T, d *Dispatcher, e Endpoint, raw string) {
	t.Helper()
	record, err := d.store.GetEndpoint(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := record.endpoint()
	if err != nil {
		t.Fatal(err)
	}
	stored.URL = raw
	changed, err := stored.record()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.store.PutEndpoint(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
}

func TestAURLThatIsStoredByOtherMeansIsJudgedAgain(t *testing.T) {
	for _, tt := range []struct{ url, why string }{
		{"https://127.0.0.1/", "127.0.0.0/8"},
		{"https://10.0.0.1:8443/", "10.0.0.0/8"},
		{"https://169.254.169.254/latest/meta-data/", "169.254.0.0/16"},
		{"https://168.63.129.16/", "168.63.129.16"},
		{"https://[::ffff:169.254.169.254]/", "169.254.0.0/16"},
		{"https://[64:ff9b::a9fe:a9fe]/", "Global Unicast"},
		{"https://[fd00:ec2::254]/", "Global Unicast"},
		{"https://localhost/", "not a public one"},
		{"https://metadata.google.internal./", "not a public one"},
		{"https://customer.example:22/", "port 22"},
		{"http://customer.example/", "scheme must be https"},
		{"ftp://customer.example/", "scheme must be https"},
		{"https://user:Pa55word@customer.example/", "user information"},
		{"https://customer.example/#fragment", "fragment"},
		{"https://0x7f.1/", "ends in a number"},
		{"https://customer.example/\r\nHost: inside", "visible ASCII"},
		{"https://", "no host"},
		{"", "scheme must be https"},
	} {
		t.Run(tt.url, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen notices
				logger, logs := observedLog()
				r := newReceiver(t, nil)
				config := testConfig(r)
				config.Network.AllowHTTP = false
				config.Logger, config.Observer = logger, &seen
				d := newDispatcher(t, NewMemoryStore(), config)
				e := register(t, d.View, Endpoint{URL: "https://customer.example/"})
				restore(t, d, e, tt.url)

				a, err := d.SendTest(t.Context(), e.ID, "ping")
				if err != nil || a.StatusCode != 0 || a.Error != "connection failed" || a.ResponseHeaders != nil || a.ResponseBody != nil {
					t.Errorf("the test send is %+v, %v", a, err)
				}
				start(t, d)
				id := publish(t, d, Event{}).EventID
				time.Sleep(time.Second)
				first := delivery(t, d, id)
				if first.State != StatePending || first.LastError != "connection failed" || first.LastStatus != 0 {
					t.Errorf("the delivery is %+v", first)
				}
				again, err := d.Resend(t.Context(), first.ID)
				if err != nil || again.LastError != "" {
					t.Errorf("resent: %+v, %v", again, err)
				}
				time.Sleep(time.Second)

				if n := r.dialled.Load(); n > 0 {
					t.Errorf("%d connections were made", n)
				}
				finished := noticed[AttemptFinished](&seen)
				if len(finished) != 3 || slices.ContainsFunc(finished, func(n AttemptFinished) bool { return !n.Blocked || n.Success }) {
					t.Errorf("the notices are %+v, want 3 that say so", finished)
				}
				warned := logs.FilterLevelExact(zap.WarnLevel).FilterMessage("attempt").All()
				if len(warned) != 3 {
					t.Fatalf("the operator is warned %d times, want 3", len(warned))
				}
				if text := fmt.Sprint(warned[0].ContextMap()); !strings.Contains(text, tt.why) || strings.Contains(text, "Pa55word") {
					t.Errorf("the operator is told %s, want %q", text, tt.why)
				}
			})
		})
	}
}

// at is an address that a name resolves to.
type at struct {
	mu    sync.Mutex
	names map[string][]netip.Addr
	asked atomic.Int64
}

func (a *at) set(name string, addresses ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.names == nil {
		a.names = make(map[string][]netip.Addr)
	}
	a.names[name] = nil
	for _, s := range addresses {
		a.names[name] = append(a.names[name], netip.MustParseAddr(s))
	}
}

func (a *at) resolver() *net.Resolver {
	return hostile.Resolver(func(name string) []netip.Addr {
		a.asked.Add(1)
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.names[name]
	})
}

// What is forbidden must not show in what the owner of an endpoint sees, which
// would make of the library a scanner of the network that it runs in.
func TestTheOwnerCannotTellForbiddenFromUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var dns at
	dns.set("refuses.example", "127.0.0.1")
	dns.set("unknown.example")
	dns.set("metadata.example", "169.254.169.254")
	dns.set("private.example", "10.0.0.1", "fd00::1")
	dns.set("denied.example", "127.9.9.9")
	dns.set("mapped.example", "::ffff:169.254.169.254")
	forbidden := []string{"metadata.example", "private.example", "denied.example", "mapped.example", "alias.mapped.example"}
	for _, scheme := range []string{"http", "https"} {
		var seen notices
		logger, logs := observedLog()
		d := newDispatcher(t, NewMemoryStore(), Config{
			Network: Network{
				AllowHTTP: true, Resolver: dns.resolver(),
				Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Deny: []netip.Prefix{netip.MustParsePrefix("127.9.9.9/32")},
			},
			Profile: Profile{Retry: Schedule(time.Hour)}, Logger: logger, Observer: &seen,
		})
		type view struct {
			status      int
			err         string
			header      http.Header
			body        []byte
			truncated   bool
			state       State
			lastStatus  int
			lastError   string
			quick       bool
			requestSize int
		}
		views := make(map[string]view)
		for _, host := range append([]string{"refuses.example", "unknown.example"}, forbidden...) {
			e := register(t, d.View, Endpoint{URL: scheme + "://" + host + ":" + port + "/"})
			before := len(seen.all())
			a, err := d.SendTest(t.Context(), e.ID, "ping")
			if err != nil {
				t.Fatal(host, err)
			}
			got, err := d.Delivery(t.Context(), a.DeliveryID)
			if err != nil {
				t.Fatal(host, err)
			}
			views[host] = view{
				a.StatusCode, a.Error, a.ResponseHeaders, a.ResponseBody, a.Truncated,
				got.State, got.LastStatus, got.LastError, a.Duration < 5*time.Second, len(a.RequestHeaders),
			}
			var blocked []bool
			for _, n := range seen.all()[before:] {
				if n, ok := n.(AttemptFinished); ok {
					blocked = append(blocked, n.Blocked)
				}
			}
			if want := []bool{slices.Contains(forbidden, host)}; !slices.Equal(blocked, want) {
				t.Errorf("%s: the notices say %v, want %v", host, blocked, want)
			}
		}
		want := views["refuses.example"]
		if want.err != "connection failed" || !want.quick {
			t.Errorf("one that refuses looks so: %+v", want)
		}
		for host, got := range views {
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: the owner sees\n%+v, and where one refuses\n%+v", host, got, want)
			}
		}
		warned := logs.FilterLevelExact(zap.WarnLevel).FilterMessage("attempt").All()
		if len(warned) != len(forbidden) || slices.ContainsFunc(warned, func(e observer.LoggedEntry) bool {
			return !strings.Contains(fmt.Sprint(e.ContextMap()["error"]), "not allowed")
		}) {
			t.Errorf("the operator is warned %v", warned)
		}
	}
}

func TestAnEndpointThatIsRebound(t *testing.T) {
	var reached atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		w.Header().Set("Connection", "close")
	}))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	var inside atomic.Int64 // connections to the same port of another address
	if l, err := net.Listen("tcp", "127.0.0.2:"+port); err == nil {
		accepted := make(chan struct{})
		go func() {
			defer close(accepted)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				inside.Add(1)
				_ = conn.Close()
			}
		}()
		defer func() {
			_ = l.Close()
			<-accepted
		}()
	}
	var dns at
	dns.set("customer.example", "127.0.0.1")
	d := newDispatcher(t, NewMemoryStore(), Config{
		Network: Network{
			AllowHTTP: true, Resolver: dns.resolver(),
			Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		},
	})
	e := register(t, d.View, Endpoint{URL: "http://customer.example:" + port + "/"})
	if n := dns.asked.Load(); n > 0 {
		t.Errorf("Register asked the DNS %d times; what it says then means nothing", n)
	}
	for n, step := range []struct {
		addresses []string
		status    int
	}{
		{[]string{"169.254.169.254"}, 0}, // between Register and send
		{[]string{"127.0.0.1"}, 200},
		{[]string{"127.0.0.2"}, 0}, // between two sends
		{[]string{"10.0.0.1", "fd00:ec2::254", "127.0.0.1"}, 200},
		{[]string{"::ffff:127.0.0.2", "::1"}, 0},
		{nil, 0},
	} {
		dns.set("customer.example", step.addresses...)
		a, err := d.SendTest(t.Context(), e.ID, "ping")
		if err != nil || a.StatusCode != step.status || (a.Error == "") != (step.status == 200) {
			t.Errorf("step %d, %v: %d, %q, %v; want %d", n, step.addresses, a.StatusCode, a.Error, err, step.status)
		}
	}
	if n := reached.Load(); n != 2 {
		t.Errorf("the receiver was reached %d times, want 2", n)
	}
	if n := inside.Load(); n > 0 {
		t.Errorf("what is forbidden was reached %d times", n)
	}
}

// Register and Update say what is wrong with what the caller wrote, and nothing
// of what a name resolves to.
func TestRegisterTellsOfTheURLAlone(t *testing.T) {
	var dns at
	dns.set("inside.example", "10.0.0.1")
	d := newDispatcher(t, NewMemoryStore(), Config{Network: Network{Resolver: dns.resolver()}})
	e := register(t, d.View, Endpoint{URL: "https://inside.example/"})
	e.URL = "https://inside.example:8443/"
	if _, err := d.Update(t.Context(), e); err != nil {
		t.Error(err)
	}
	for _, raw := range []string{"https://10.0.0.1/", "https://localhost/", "https://[::1]/", "https://billing/"} {
		e.URL, e.Rev = raw, 0
		_, err := d.Update(t.Context(), e)
		mustContain(t, err, ErrBlockedAddress, "URL", "Network.Allow")
	}
	if n := dns.asked.Load(); n > 0 {
		t.Errorf("the DNS was asked %d times", n)
	}
}

// attack is a hostile receiver and what is sent to it.
type attack struct {
	hostile.Receiver
	server   *hostile.Server
	endpoint Endpoint
	event    string
}

// quietly keeps net/http from telling of what hostile receivers do.
func quietly(t *testing.T) {
	previous := log.Writer()
	log.SetOutput(new(bytes.Buffer))
	t.Cleanup(func() { log.SetOutput(previous) })
}

// All of them at once, through everything: each delivery has the outcome that
// its receiver deserves, at its time, and a record that can be read.
func TestHostileReceivers(t *testing.T) {
	quietly(t)
	const short, patience = 4 * time.Second, 20 * time.Second
	finished := make(chan AttemptFinished, 1000)
	d := newDispatcher(t, NewMemoryStore(), Config{
		Network:  Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, TLS: hostile.ClientTLS()},
		Profile:  Profile{Timeout: patience, Retry: Schedule(time.Hour)},
		Profiles: map[string]Profile{"short": {Timeout: short}},
		Observer: ObserverFunc(func(_ context.Context, n Notice) {
			if n, ok := n.(AttemptFinished); ok {
				finished <- n
			}
		}),
	})
	var attacks []attack
	for _, r := range hostile.Receivers() {
		server, err := r.Start()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		a := attack{Receiver: r, server: server}
		profile := ""
		if r.Hangs {
			profile = "short"
		}
		tenant := "t" + strconv.Itoa(len(attacks))
		a.endpoint = register(t, d.View, Endpoint{URL: server.URL + "?token=secret", Tenant: tenant, Profile: profile})
		a.event = publish(t, d, Event{Tenant: tenant, Data: strings.Repeat("x", max(r.Size, 1))}).EventID
		attacks = append(attacks, a)
	}
	stop := start(t, d)
	took := make(map[string]AttemptFinished)
	for range attacks {
		n := <-finished
		took[n.Delivery.EventID] = n
	}
	stop()
	for _, a := range attacks {
		t.Run(a.Name, func(t *testing.T) {
			got, logged := delivery(t, d, a.event), attempts(t, d, a.event)
			if len(logged) != 1 || got.Attempts != 1 {
				t.Fatalf("the delivery is %+v with %d attempts, want one", got, len(logged))
			}
			l := logged[0]
			wantRecord(t, a.Receiver, got, l)
			deadline := patience
			if a.Hangs {
				deadline = short
			}
			if l.Duration > deadline+5*time.Second || took[a.event].Duration != l.Duration || took[a.event].Blocked {
				t.Errorf("it took %v, of at most %v; %+v", l.Duration, deadline, took[a.event])
			}
			if n := a.server.Requests.Load(); n > int64(max(a.Requests, 1)) {
				t.Errorf("the request arrived %d times", n)
			}
		})
	}
}

// wantRecord checks what is stored of an attempt at a hostile receiver.
func wantRecord(t *testing.T, r hostile.Receiver, d Delivery, a Attempt) {
	t.Helper()
	success := a.StatusCode >= 200 && a.StatusCode <= 299
	switch {
	case a.StatusCode == 0:
		if !slices.Contains(r.Errors, a.Error) || a.ResponseHeaders != nil || a.ResponseBody != nil || a.Truncated {
			t.Errorf("the attempt is %q with %d bytes, want status %d or %q", a.Error, len(a.ResponseBody), r.Status, r.Errors)
		}
	case a.StatusCode != r.Status || a.Truncated != r.Truncated:
		t.Errorf("the attempt is %d, truncated: %t; want %d, %t", a.StatusCode, a.Truncated, r.Status, r.Truncated)
	case success != (a.Error == "") || !success && a.Error != "status "+strconv.Itoa(a.StatusCode):
		t.Errorf("the attempt is %d, %q", a.StatusCode, a.Error)
	}
	want := StatePending
	if success {
		want = StateDelivered
	}
	if d.State != want || d.LastStatus != a.StatusCode || d.LastError != a.Error {
		t.Errorf("the delivery is %s, %d, %q; want %s, %d, %q", d.State, d.LastStatus, d.LastError, want, a.StatusCode, a.Error)
	}
	size := 0
	for name, values := range a.ResponseHeaders {
		for _, v := range values {
			size += len(name) + len(v)
			if !utf8.ValidString(name+v) || strings.ContainsRune(name+v, 0) {
				t.Errorf("%q: %q is not text", name, v)
			}
		}
	}
	if size > 16<<10 || len(a.ResponseBody) > 16<<10 {
		t.Errorf("%d bytes of header and %d of body are kept", size, len(a.ResponseBody))
	}
}

// A thousand receivers that never answer hold a thousand connections; healthy
// endpoints do not notice.
func TestAThousandHostileConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 2,000 sockets")
	}
	quietly(t)
	const attackers, healthy, each = 1000, 20, 25
	// Those that drip are few: it is this process that drips.
	var servers []*hostile.Server
	for name, share := range map[string]int{
		"never answers": 6, "never reads": 4, "holds back the body": 4, "holds back the end of the body": 4, "drips the header": 1, "drips the body": 1,
	} {
		receivers := hostile.Receivers()
		n := slices.IndexFunc(receivers, func(r hostile.Receiver) bool { return r.Name == name })
		server, err := receivers[n].Start()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Close)
		servers = append(servers, slices.Repeat([]*hostile.Server{server}, share)...)
	}
	holding := func() (n int64) {
		for i, s := range servers {
			if i == 0 || s != servers[i-1] {
				n += s.Requests.Load()
			}
		}
		return n
	}
	var (
		good     = make(chan time.Duration, healthy*each)
		attacked atomic.Int64 // attempts at hostile receivers that have ended
		failed   atomic.Int64 // attempts at healthy ones that were no success
		served   atomic.Int64 // requests that healthy ones got
		begun    sync.Map     // event ID to the time of its Publish
		events   int
	)
	fine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if at, ok := begun.Load(r.Header.Get("Webhook-Id")); ok {
			good <- time.Since(at.(time.Time))
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer fine.Close()
	d := newDispatcher(t, NewMemoryStore(), Config{
		Network: Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Profile: Profile{Timeout: 5 * time.Minute, Retry: Schedule(time.Hour)},
		// Half of it is for those that have not answered yet, or were slow for once.
		Concurrency: 4 * attackers, DrainTimeout: time.Millisecond,
		Observer: ObserverFunc(func(_ context.Context, n Notice) {
			switch n, ok := n.(AttemptFinished); {
			case ok && n.Delivery.Tenant == "hostile":
				attacked.Add(1)
			case ok && !n.Success:
				failed.Add(1)
			}
		}),
	})
	for n := range healthy {
		register(t, d.View, Endpoint{URL: fine.URL + "/" + strconv.Itoa(n), Tenant: "healthy"})
	}
	for n := range attackers {
		register(t, d.View, Endpoint{URL: servers[n%len(servers)].URL + "/" + strconv.Itoa(n), Tenant: "hostile", Concurrency: 1})
	}
	start(t, d)
	// measure publishes one event after the other, each to all healthy endpoints.
	measure := func(what string) {
		var took []time.Duration
		for range each {
			id := "event" + strconv.Itoa(events)
			events++
			begun.Store(id, time.Now())
			publish(t, d, Event{ID: id, Tenant: "healthy"})
			for range healthy {
				select {
				case latency := <-good:
					took = append(took, latency)
				case <-time.After(30 * time.Second):
					t.Fatalf("%s: %d of %d deliveries arrived", what, len(took), healthy*each)
				}
			}
		}
		slices.Sort(took)
		t.Logf("healthy endpoints %s: p50 %v, p99 %v, most %v", what, took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	}
	measure("with new connections")
	measure("alone")
	publish(t, d, Event{Tenant: "hostile"})
	deadline := time.After(60 * time.Second)
	for poll := time.NewTicker(10 * time.Millisecond); holding() < attackers; {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("%d of %d hostile requests are in flight", holding(), attackers)
		}
	}
	measure("beside 1,000 hostile ones")
	// Every healthy delivery was made, once and at its first attempt, while all of
	// the hostile ones were in flight.
	if n := served.Load(); n != 3*healthy*each || failed.Load() > 0 {
		t.Errorf("healthy endpoints got %d requests, want %d; %d attempts failed", n, 3*healthy*each, failed.Load())
	}
	if n := attacked.Load(); n > 0 {
		t.Errorf("%d attempts at hostile receivers had ended by then", n)
	}
	if n := holding(); n != attackers {
		t.Errorf("%d hostile requests were made, want %d", n, attackers)
	}
	pending, err := d.Tenant("hostile").Deliveries(t.Context(), DeliveryFilter{States: []State{StatePending}, Limit: 1000})
	if err != nil || len(pending.Items) != attackers {
		t.Errorf("%d deliveries to hostile receivers are pending, want %d; %v", len(pending.Items), attackers, err)
	}
}

// rawReceiver answers every connection by what say makes of the request.
func rawReceiver(t *testing.T, say func(q *http.Request) string) Config {
	c := testConfig(nil)
	c.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer func() { _ = server.Close() }()
			br := bufio.NewReader(server)
			for {
				q, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, q.Body)
				if _, err := io.WriteString(server, say(q)); err != nil {
					return
				}
			}
		}()
		return client, nil
	}
	return c
}

// What is malformed in an answer is quoted by net/http.
func TestAMalformedAnswerPutsNoCredentialInTheLog(t *testing.T) {
	for name, form := range map[string]string{
		"status line": "%s\r\n\r\n", "status code": "HTTP/1.1 %s x\r\n\r\n", "header": "HTTP/1.1 200 OK\r\nX Y%s\r\n\r\n",
		"transfer encoding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n", "content length": "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := rawReceiver(t, func(q *http.Request) string {
				return fmt.Sprintf(form, strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer "))
			})
			logger, logs := observedLog()
			c.Logger = logger
			d := newDispatcher(t, NewMemoryStore(), c)
			e := register(t, d.View, Endpoint{Auth: BearerToken("mark-of-the-bearer-token")})
			if _, err := d.SendTest(t.Context(), e.ID, "test"); err != nil {
				t.Fatal(err)
			}
			if text := logText(logs); strings.Contains(text, "mark-of-the-bearer-token") {
				t.Errorf("the log has it: %s", text)
			}
		})
	}
}

// The text about a certificate is the receiver's: here its name is the credential.
func TestACertificatePutsNoCredentialInAnAttempt(t *testing.T) {
	const token = "mark-of-the-bearer-token"
	certificate := authority(t, "authority", nil).server(t, x509.Certificate{DNSNames: []string{token}}).with()
	r := newTLSReceiver(t, &tls.Config{Certificates: []tls.Certificate{certificate}}, false)
	c := testConfig(nil)
	c.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", r.Listener.Addr().String())
	}
	logger, logs := observedLog()
	c.Logger = logger
	d := newDispatcher(t, NewMemoryStore(), c)
	e := register(t, d.View, Endpoint{URL: "https://receiver.example/", Auth: BearerToken(token)})
	a, err := d.SendTest(t.Context(), e.ID, "test")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(a.Error, "TLS: certificate is valid for [redacted], not ") || strings.Contains(logText(logs), token) {
		t.Errorf("Error: %s; log: %s", a.Error, logText(logs))
	}
}
