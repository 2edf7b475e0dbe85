package webhook

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/outhook/webhook/internal/batch"
	"github.com/outhook/webhook/internal/breaker"
	"github.com/outhook/webhook/internal/crew"
	"github.com/outhook/webhook/internal/desk"
	"github.com/outhook/webhook/internal/fresh"
	"github.com/outhook/webhook/internal/gate"
	"github.com/outhook/webhook/internal/header"
	"github.com/outhook/webhook/internal/illness"
	"github.com/outhook/webhook/internal/insist"
	"github.com/outhook/webhook/internal/once"
	"github.com/outhook/webhook/internal/ready"
	"github.com/outhook/webhook/internal/redact"
	"github.com/outhook/webhook/internal/slogcore"
	"github.com/outhook/webhook/internal/wire"
)

// Profile is the wire format of a product: what its page promises to those who
// receive its webhooks. Zero fields have the default that is named; those of
// the profiles in [Config].Profiles are taken from Config.Profile first.
type Profile struct {
	// Signer signs the requests. Defaults to StandardWebhooks{}.
	Signer Signer
	// Envelope builds the body. Defaults to StandardEnvelope.
	Envelope Envelope
	// ContentType defaults to "application/json".
	ContentType string
	// UserAgent defaults to "Outhook/1".
	UserAgent string
	// Headers returns headers to send, unless nil. A name that HTTP or the
	// profile itself owns makes the attempt fail.
	Headers func(Message) http.Header
	// Timeout bounds an attempt as a whole: DNS, connect, TLS, headers and
	// body. Defaults to 15s.
	Timeout time.Duration
	// Retry defaults to DefaultRetry().
	Retry RetryPolicy
	// Verification, unless nil, asks a receiver for its consent: its endpoint is
	// registered disabled, and receives nothing until [View.Verify]. Those that
	// were registered before their profile had one go on as they are. A profile
	// inherits it as any field: where some are to do without, leave it out of
	// Config.Profile. Whoever may set [Endpoint].Profile chooses by that whether
	// the receiver is asked, and so a tenant must not where that matters.
	Verification Verification
}

// Network says where requests may go, and how. The zero value is HTTPS to
// public addresses only.
//
// Addresses are judged when they are dialled, after DNS: those of a name one by
// one, so that one that is forbidden is passed over for the next. What a URL says
// by itself (its port, a literal address, a name that cannot be public) is judged
// at Register and Update, where the caller is told with [ErrBlockedAddress], and
// again before each attempt. The owner of an endpoint cannot tell from an attempt
// whether an address was forbidden or did not answer: both are "connection
// failed"; [Config].Logger and [AttemptFinished] tell the operator. A connection
// that is kept for the next request still leads to the address that was judged,
// whatever the name says meanwhile. See the section on egress in the package's
// documentation for proxies and TLS.
type Network struct {
	// AllowHTTP permits http URLs and port 80.
	AllowHTTP bool
	// Deny and Allow are judged by address, in this order, before the default,
	// which denies all special-purpose addresses (loopback, private, link-local,
	// metadata services …) and the machine's own. An IPv6 address that stands for
	// an IPv4 one (NAT64, 6to4, Teredo, ISATAP) must be permitted in both. Not
	// known, and so for Deny, are public addresses that a router translates to
	// this machine's, and the prefix of a NAT64 other than those of RFC 6052 and
	// RFC 8215.
	//
	// Without Allow, names that only the sender's own network can know are refused
	// too: single labels, and localhost, local, internal, intranet, private, corp,
	// home, lan, localdomain, home.arpa with all that is within them. With Allow
	// such a name may be meant, and its addresses decide; through a Proxy, where no
	// address does, its requests are refused whatever Allow says.
	Allow, Deny []netip.Prefix
	// Ports that may be used; nil is 443, 1024 and above, and 80 with AllowHTTP.
	Ports []uint16
	// Proxy chooses a proxy for a request, as [http.Transport] has it, by a URL
	// of the scheme http, https, socks5 or socks5h, with user and password if
	// need be; nil is none, whatever the environment says. The proxy's own
	// address is not judged. Of what lies behind it, the URL's port and an
	// address in it are; what a host name resolves to is for the proxy to
	// judge, which must refuse addresses that are not public by itself.
	Proxy func(*http.Request) (*url.URL, error)
	// TLS is the client's configuration, towards receivers ([Endpoint].TLS may
	// change it for one) and towards proxies. Its certificates are shown to
	// whoever asks. TLS 1.2 is the minimum, and certificates are always verified:
	// InsecureSkipVerify is [ErrInvalid]. A ServerName is what every receiver is
	// verified for, in place of its URL's host.
	TLS *tls.Config
	// MaxResponseBytes is how much of a response body is kept in the log of
	// attempts. Defaults to 16 KiB, at most 1 MiB.
	MaxResponseBytes int64
	// Resolver resolves host names. Defaults to net.DefaultResolver.
	Resolver *net.Resolver
}

// Config configures a [Dispatcher]. The zero Config is ready for use.
type Config struct {
	// Profile is used by endpoints that name none.
	Profile Profile
	// Profiles are others, by the name that [Endpoint].Profile gives.
	Profiles map[string]Profile
	// Catalog lists the event types. When set, others and patterns that match
	// none are refused with [ErrUnknownEventType].
	Catalog []EventType
	// Network says where requests may go. Defaults to HTTPS to public addresses.
	Network Network
	// Networks are those of tenants, by their paths. The endpoints of such a
	// tenant, and of the tenants within it that have none of their own, use it
	// instead of Network as a whole: its zero fields do not inherit from that,
	// neither what it permits nor its Proxy, so that each says by itself where
	// its requests may go. Copy Network and change the copy to add to it.
	// Connections are not shared between networks. An endpoint with AllTenants,
	// and one of the tenant "", uses Network.
	Networks map[string]Network
	// Authorizer gets the tokens of endpoints whose Auth is [OAuth2]; without
	// one, there are none.
	Authorizer Authorizer
	// Concurrency is how many requests are in flight in all. One endpoint
	// alone gets at most half of it, and so do all those together that are
	// slow or have not answered yet. What Publish hands over to Run may take
	// three quarters of it, so that the rest is left to what waits in the queue.
	// One place of every 32 is kept for endpoints that have no request in flight,
	// and every other one of these for tenants that have less than half of all.
	// Up to twice as many idle connections are kept, for each network, beside those
	// in use, and up to twice as many again by all endpoints with TLS of their own
	// and through all proxies together, of which the least recently used are closed
	// first. Defaults to 256.
	Concurrency int
	// EndpointConcurrency is how many requests are in flight to an endpoint
	// that has no Concurrency of its own. Defaults to 16.
	EndpointConcurrency int
	// AutoDisable is how long after its first failure an endpoint that fails
	// again, without one success between, is disabled, provided that it has failed
	// at least 12 hours before as well; the notice [EndpointFailing] comes half
	// way. Enable resumes what is pending, and Replay catches up on the rest.
	// Defaults to 5 days; 12 hours at least; negative never disables.
	AutoDisable time.Duration
	// NoBreaker lets every delivery keep the timetable of its policy, and use up
	// its attempts, even to an endpoint that keeps failing. Without it, an
	// endpoint that has failed 5 different deliveries in a row, as one process has
	// seen it, is left alone by all and probed with one of them at growing
	// intervals, from 5 seconds to 15 minutes, until one succeeds; the others wait
	// without an attempt. That an endpoint asks to be left alone (429,
	// Retry-After) is respected in any case.
	NoBreaker bool
	// Retention is how long finished deliveries, their attempts and events are
	// kept before Run purges them. 0 keeps them; otherwise the store must be a
	// [Purger].
	Retention time.Duration
	// Keys seals what the store keeps of an endpoint beside what it matches by: URL,
	// secrets, credentials, headers, description. It is encrypted before the store
	// sees it, and opens for the same endpoint and tenant only; see [NewKeys], and
	// [Keys] for a key management service. Then neither what follows the host in an
	// endpoint's URL nor the values of its Headers are in the log of attempts either,
	// which the store keeps in clear, as it does events: the log has scheme and host,
	// and "[redacted]" where a receiver repeats the query, a value in it or a segment
	// of the path, of 8 bytes or more. nil stores all in clear.
	//
	// Under a transaction of the application's own, such as sqlstore's WithTx,
	// Register and Update wait for a key service within the transaction, for 5
	// seconds at the most.
	//
	// What was stored in clear before still opens; it is sealed when it is next
	// written, or by [Dispatcher.Reseal]. To change the master key: give the new one
	// to all processes as an older one, then make it the current one, the former
	// being an older one, then call Reseal, then drop the former.
	//
	// An endpoint that a process cannot open is [ErrKey] to management calls. Its
	// deliveries are not sent nor counted: they wait until it opens again, in this
	// process or another; the log says so at most once a minute, and the notice
	// [KeysFailed]. An endpoint is opened when its first delivery is due and after
	// each change, not for each delivery; while a key service does not answer, those
	// that were opened before go on. A listing opens each endpoint of its
	// page, as [View.Endpoints] says; a search in the portal lists up to 1,000, which
	// with a key service are as many calls.
	Keys Keys
	// Logger logs for operators; nil is silent. See [NewLogger] for slog.
	Logger *zap.Logger
	// Observer is told what happens, for metrics and alerts; nil is none.
	Observer Observer
	// PollInterval is how often the store is asked for due deliveries when
	// nothing else, such as a Publish in this process, says that there are any.
	// Defaults to 800ms.
	PollInterval time.Duration
	// Lease is how long a delivery is claimed for, or handed over: if the process
	// dies, another takes it over after that, also where the process has published
	// the event the moment before, see [HandOver]. It must exceed the longest
	// Profile.Timeout. Where opening an endpoint with Keys leaves too little of it
	// for the attempt, that is made under the next one.
	// Defaults to that plus 30s.
	Lease time.Duration
	// DrainTimeout is how long Run waits, after its context has ended, for
	// requests in flight; those still running are then given back uncounted.
	// Defaults to 20s.
	DrainTimeout time.Duration

	// dial replaces dialling, and the guard with it, in tests.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	maxResponseBytes = 1 << 20
	maxConcurrency   = 100_000
	maxBatch         = 1000            // deliveries in a claim, outcomes in a settlement
	maxBatchBytes    = 8 << 20         // of event data in a claim
	maxTold          = 10_000          // endpoints of which is remembered what was told
	maxExpired       = 5               // leases that may run out before a delivery counts as crashing
	idleEndpoint     = time.Hour       // after which what is remembered of an endpoint is forgotten
	misconfigured    = time.Minute     // until a delivery to an endpoint that this process cannot send to is looked at again
	parking          = 5 * time.Second // that nothing else of such an endpoint is claimed; it may have been mended
	flushTimeout     = 10 * time.Second
	returnTimeout    = 2 * time.Second // of giving back what no Run takes any more, for which Publish waits
	maxHandedOver    = 8               // events of a call of Publish, and deliveries of one of them, that need not be claimed
	purgeBatch       = 1000
	attendEvery      = 10 * time.Second
	// batchPatience is how long a claim waits for further places, so that it
	// takes more, when the one before it left something behind; and the longest
	// pause after any claim, which is half as long as that took.
	batchPatience  = 5 * time.Millisecond
	lobbyPatience  = time.Second            // that the first delivery to an endpoint waits for a place when it was handed over
	behindPatience = 100 * time.Millisecond // until what is new behind others is looked for, if no claim comes before
	rationing      = 20 * time.Millisecond  // until a claim offers room to those to whom the one before it did not
	settleRest     = time.Millisecond       // the longest pause after a settlement, which is as long as that took
)

// Dispatcher takes events in with Publish and delivers them with Run. Its
// embedded [View] manages and inspects the endpoints of all tenants; Tenant
// makes one for a single tenant. All methods are safe for concurrent use.
type Dispatcher struct {
	*View
	store    Store
	config   Config
	profiles map[string]*Profile
	catalog  *catalog
	clients  map[string]*wire.Client // by the key in Config.Networks; "" is that of Config.Network
	proxies  *wire.Proxies
	log      *zap.Logger
	wake     chan struct{}
	reminder chan struct{}
	running  atomic.Bool
	hands    HandOver            // nil if the store does not hand over
	current  atomic.Pointer[run] // the active one that takes what is handed over
	failing  once.Changes        // operations in which the store failed last time
	unopened once.Seldom         // endpoints that do not open
}

// NewDispatcher returns a Dispatcher on the store. It checks the whole Config
// and names every mistake in one error, which matches [ErrInvalid], and
// [ErrNotSupported] where the store lacks what Config asks for.
//
// A store that can be made wrongly may have a method Validate() error, which
// asks no database anything and returns what is wrong, as ErrInvalid. It is
// found through Unwrap() Store too, and NewDispatcher returns its error.
func NewDispatcher(store Store, config Config) (*Dispatcher, error) {
	if err := checkStore(store); err != nil {
		return nil, fmt.Errorf("new dispatcher: %w", err)
	}
	config.fill()
	d := &Dispatcher{store: store, config: config, log: config.Logger, wake: make(chan struct{}, 1), reminder: make(chan struct{}, 1)}
	d.hands, _ = store.(HandOver) // not along the chain: a wrapper passes it on, or does not
	d.View = &View{d: d, scope: Scope{All: true}}
	d.profiles = map[string]*Profile{"": &d.config.Profile}
	for name, p := range config.Profiles {
		p = p.or(config.Profile)
		d.profiles[name] = &p
	}
	mistakes := config.mistakes(d.profiles)
	if config.Retention > 0 {
		if _, ok := capability[Purger](store); !ok {
			mistakes = append(mistakes, fmt.Errorf("Retention: %w: the store is no Purger", ErrNotSupported))
		}
	}
	var err error
	if d.catalog, err = newCatalog(config.Catalog); err != nil {
		mistakes = append(mistakes, err)
	}
	mistakes = append(mistakes, d.openNetworks()...)
	if err := errors.Join(mistakes...); err != nil {
		return nil, fmt.Errorf("new dispatcher: %w", err)
	}
	return d, nil
}

// checkStore returns why a store cannot work, as far as the store itself knows.
func checkStore(store Store) error {
	if store == nil {
		return fmt.Errorf("%w: store is nil; NewMemoryStore() makes one", ErrInvalid)
	}
	for s := store; s != nil; {
		if v := reflect.ValueOf(s); v.Kind() == reflect.Pointer && v.IsNil() {
			return fmt.Errorf("%w: store is a nil %T", ErrInvalid, s)
		}
		if v, ok := s.(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				return fmt.Errorf("store: %w", err)
			}
		}
		u, ok := s.(interface{ Unwrap() Store })
		if !ok {
			break
		}
		s = u.Unwrap()
	}
	return nil
}

// fill sets the defaults.
func (c *Config) fill() {
	c.Profile = c.Profile.or(Profile{
		Signer: StandardWebhooks{}, Envelope: StandardEnvelope,
		ContentType: "application/json", UserAgent: "Outhook/1",
		Timeout: 15 * time.Second, Retry: DefaultRetry(),
	})
	setDefault(&c.Network.MaxResponseBytes, 16<<10)
	setDefault(&c.Concurrency, 256)
	setDefault(&c.EndpointConcurrency, max(1, min(16, c.Concurrency)))
	setDefault(&c.AutoDisable, 5*24*time.Hour)
	if c.AutoDisable > 0 {
		c.AutoDisable = max(c.AutoDisable, disableSpread)
	}
	setDefault(&c.PollInterval, 800*time.Millisecond)
	setDefault(&c.Lease, c.longestTimeout()+30*time.Second)
	setDefault(&c.DrainTimeout, 20*time.Second)
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// or fills the zero fields of p from base.
func (p Profile) or(base Profile) Profile {
	if p.Signer == nil {
		p.Signer = base.Signer
	}
	if p.Envelope == nil {
		p.Envelope = base.Envelope
	}
	if p.Headers == nil {
		p.Headers = base.Headers
	}
	if p.Retry == nil {
		p.Retry = base.Retry
	}
	if p.Verification == nil {
		p.Verification = base.Verification
	}
	setDefault(&p.ContentType, base.ContentType)
	setDefault(&p.UserAgent, base.UserAgent)
	setDefault(&p.Timeout, base.Timeout)
	return p
}

func (c *Config) longestTimeout() time.Duration {
	longest := c.Profile.Timeout
	for _, p := range c.Profiles {
		longest = max(longest, p.Timeout)
	}
	return longest
}

// mistakes returns all that is wrong with the Config, the defaults being set; some
// of it is nil.
func (c *Config) mistakes(profiles map[string]*Profile) []error {
	mistakes := []error{
		between("Concurrency", int64(c.Concurrency), 1, maxConcurrency),
		between("EndpointConcurrency", int64(c.EndpointConcurrency), 1, int64(max(c.Concurrency, 1))),
		between("Network.MaxResponseBytes", c.Network.MaxResponseBytes, 1, maxResponseBytes),
		atLeast("Retention", c.Retention, 0),
		atLeast("PollInterval", c.PollInterval, time.Millisecond),
		atLeast("DrainTimeout", c.DrainTimeout, 0),
	}
	for _, tenant := range slices.Sorted(maps.Keys(c.Networks)) {
		field := fmt.Sprintf("Networks[%q]", tenant)
		if tenant == "" {
			mistakes = append(mistakes, wrong("Networks", `the tenant "" uses Config.Network`))
		} else if err := checkTenant(tenant); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", field, err))
		}
		mistakes = append(mistakes, between(field+".MaxResponseBytes", c.Networks[tenant].MaxResponseBytes, 0, maxResponseBytes))
	}
	if longest := c.longestTimeout(); c.Lease <= longest {
		mistakes = append(mistakes, wrong("Lease", "%v must exceed the longest Timeout, %v", c.Lease, longest))
	}
	if _, ok := c.Profiles[""]; ok {
		mistakes = append(mistakes, wrong("Profiles", `the name "" is that of Config.Profile`))
	}
	for _, name := range slices.Sorted(maps.Keys(profiles)) {
		field := "Profile"
		if name != "" {
			field = fmt.Sprintf("Profiles[%q]", name)
		}
		mistakes = append(mistakes, profiles[name].mistakes(field)...)
	}
	if v := reflect.ValueOf(c.Keys); v.Kind() == reflect.Pointer && v.IsNil() {
		mistakes = append(mistakes, wrong("Keys", "it is a nil %T", c.Keys))
	}
	return mistakes
}

func (p *Profile) mistakes(field string) []error {
	mistakes := []error{atLeast(field+".Timeout", p.Timeout, time.Millisecond)}
	for name, value := range map[string]string{"ContentType": p.ContentType, "UserAgent": p.UserAgent} {
		if err := header.CheckValue(value); err != nil {
			mistakes = append(mistakes, wrong(field+"."+name, "%v", err))
		}
	}
	for part, v := range map[string]any{"Retry": p.Retry, "Signer": p.Signer, "Verification": p.Verification} {
		if v, ok := v.(interface{ validate() error }); ok {
			if err := v.validate(); err != nil {
				mistakes = append(mistakes, fmt.Errorf("%s.%s: %w", field, part, err))
			}
		}
	}
	return mistakes
}

func wrong(field, format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", field, ErrInvalid, fmt.Sprintf(format, args...))
}

func between(field string, n, low, high int64) error {
	if n < low || n > high {
		return wrong(field, "%d is not between %d and %d", n, low, high)
	}
	return nil
}

func atLeast(field string, d, low time.Duration) error {
	if d < low {
		return wrong(field, "%v is less than %v", d, low)
	}
	return nil
}

// openNetworks makes a client for each network, and returns what is wrong with
// them.
func (d *Dispatcher) openNetworks() (mistakes []error) {
	d.proxies = wire.NewProxies(d.reportProxy)
	d.clients = make(map[string]*wire.Client)
	open := func(field, tenant string, n Network) {
		client, err := wire.New(wire.Options{
			AllowHTTP: n.AllowHTTP, Allow: n.Allow, Deny: n.Deny, Ports: n.Ports,
			Proxy: n.Proxy, Proxies: d.proxies, TLS: n.TLS, Resolver: n.Resolver, MaxResponseBytes: n.MaxResponseBytes,
			// As many connections are kept as an endpoint may use: with fewer, ports
			// would run out.
			IdlePerHost: d.config.Concurrency, Idle: 2 * d.config.Concurrency,
			Dial: d.config.dial,
		})
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w: %w", field, ErrInvalid, err))
		}
		d.clients[tenant] = client
	}
	open("Network", "", d.config.Network)
	for _, tenant := range slices.Sorted(maps.Keys(d.config.Networks)) {
		if tenant != "" {
			open(fmt.Sprintf("Networks[%q]", tenant), tenant, d.config.Networks[tenant])
		}
	}
	return mistakes
}

// client returns the client of the network that the endpoints of a tenant use:
// that of the tenant itself, or of the next one around it that has one.
func (d *Dispatcher) client(tenant string) *wire.Client {
	for {
		if c := d.clients[tenant]; c != nil {
			return c
		}
		tenant = tenant[:max(strings.LastIndexByte(tenant, '/'), 0)]
	}
}

// closeIdle closes the connections that no request uses.
func (d *Dispatcher) closeIdle() {
	for _, c := range d.clients {
		c.CloseIdle()
	}
}

// observe tells the Observer, if there is one.
func (d *Dispatcher) observe(ctx context.Context, n Notice) {
	if d.config.Observer == nil {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			d.log.Error("the observer panicked", zap.String("notice", fmt.Sprintf("%T", n)), zap.Any("panic", r))
		}
	}()
	d.config.Observer.Observe(ctx, n)
}

// Receipt is what became of a published event.
type Receipt struct {
	EventID    string // the event's; that of the first one, if Duplicate. Set on an error too
	Deliveries int    // created for it; 0 if Duplicate
	Duplicate  bool   // the ID or Key was published before, with the same content
}

// Publish stores the event and one delivery for each endpoint that it matches,
// in one atomic step. When it has returned nil, each of these deliveries will
// end as delivered, exhausted or cancelled.
//
// Publishing the same ID or Key again is a no-op, with Receipt.Duplicate; with
// another tenant, type or data it is [ErrConflict]. Both are remembered as long
// as [Config].Retention keeps the event. Other errors are [ErrInvalid],
// [ErrUnknownEventType], and, when the outcome is unknown, [ErrUncertain].
func (d *Dispatcher) Publish(ctx context.Context, e Event) (Receipt, error) {
	p, err := d.publication(e)
	if err != nil {
		return Receipt{EventID: p.Event.ID}, fmt.Errorf("publish: %w", err)
	}
	receipts, err := d.enqueue(ctx, []Publication{p})
	if err != nil {
		return receipts[0], fmt.Errorf("publish: %w", err)
	}
	return receipts[0], nil
}

// PublishBatch publishes all events, or none and returns an error. There is one
// Receipt for each event, in their order.
func (d *Dispatcher) PublishBatch(ctx context.Context, es []Event) ([]Receipt, error) {
	if len(es) == 0 {
		return nil, nil
	}
	ps := make([]Publication, len(es))
	var mistakes []error
	for n, e := range es {
		var err error
		if ps[n], err = d.publication(e); err != nil {
			mistakes = append(mistakes, fmt.Errorf("event %d: %w", n, err))
		}
	}
	if len(mistakes) > 0 {
		return receiptsOf(ps), fmt.Errorf("publish batch: %w", errors.Join(mistakes...))
	}
	receipts, err := d.enqueue(ctx, ps)
	if err != nil {
		return receipts, fmt.Errorf("publish batch: %w", err)
	}
	return receipts, nil
}

// publication checks the event against the catalogue and makes it ready for the
// store. On an error, its Event.ID is set all the same.
func (d *Dispatcher) publication(e Event) (Publication, error) {
	p, err := newPublication(e)
	if err == nil {
		err = d.catalog.check(e.Type, p.Event.Data)
	}
	return p, err
}

// newPublication validates the event, fills what is empty and marshals its data.
func newPublication(e Event) (Publication, error) {
	if e.ID == "" {
		e.ID = uuid.Must(uuid.NewV7()).String()
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	p := Publication{Origin: OriginPublish, Event: EventRecord{
		ID: e.ID, Key: e.Key, Type: e.Type, Tenant: e.Tenant, OrderingKey: e.OrderingKey,
		Time: e.Time.UTC().Truncate(time.Microsecond),
	}}
	err := errors.Join(checkID(e.ID), checkType(e.Type), checkTenant(e.Tenant), checkTime(e.Time),
		checkKey("Key", e.Key), checkKey("OrderingKey", e.OrderingKey))
	if err != nil {
		return p, err
	}
	if p.Event.Data, err = marshalData(e.Data); err != nil {
		return p, err
	}
	p.Event.Sum = eventSum(e.Tenant, e.Type, p.Event.Data)
	p.Patterns, p.Tenants = patternsOf(e.Type), tenantsOf(e.Tenant)
	return p, nil
}

// enqueue hands publications to the store, and what the store hands over to Run,
// which it wakes for the rest.
func (d *Dispatcher) enqueue(ctx context.Context, ps []Publication) ([]Receipt, error) {
	receipts := receiptsOf(ps)
	results, err := d.handOver(ctx, ps)
	if err != nil {
		return receipts, err
	}
	for n, result := range results {
		receipts[n] = Receipt{EventID: result.EventID, Deliveries: result.Deliveries, Duplicate: result.Duplicate}
	}
	if d.config.Observer != nil { // which may take its time
		for n, r := range receipts {
			e := &ps[n].Event
			d.observe(ctx, EventPublished{EventID: r.EventID, EventType: e.Type, Tenant: e.Tenant, Deliveries: r.Deliveries, Duplicate: r.Duplicate})
		}
	}
	return receipts, nil
}

// handOver has the store enqueue publications, and Run start what of it the store
// hands over, and look for the rest.
func (d *Dispatcher) handOver(ctx context.Context, ps []Publication) ([]Enqueued, error) {
	var leased []handed
	r, places := d.promise(ctx, ps)
	if places > 0 {
		defer func() { // whatever happens in the store: the places are the desk's
			if !r.desk.HandOver(places, leased) {
				d.returnHanded(ctx, leased)
			}
		}()
	}
	asked := time.Now()
	results, err := d.store.Enqueue(ctx, ps)
	if err != nil {
		return nil, err
	}
	created, behind := 0, 0
	for _, result := range results {
		created += result.Deliveries
		behind += result.Behind
		for _, c := range result.Created {
			leased = append(leased, handed{claimed: c, asked: asked})
		}
	}
	if created > len(leased)+behind {
		d.rouse()
	} else if behind > 0 {
		d.remind()
	}
	return results, nil
}

// handed is a delivery that Publish has had leased to the active Run.
type handed struct {
	claimed Claimed
	asked   time.Time // the lease began no earlier
	waits   time.Time // since when it waits for a place; zero if it does not
}

// promise has the active Run keep places free for what the publications create,
// and asks the store to hand that over. It returns that Run, and how many places.
func (d *Dispatcher) promise(ctx context.Context, ps []Publication) (r *run, places int) {
	if r = d.current.Load(); r == nil || len(ps) > maxHandedOver || !d.hands.HandsOver(ctx) {
		return nil, 0
	}
	each := r.desk.Promise(len(ps), maxHandedOver)
	for n := range ps {
		if each > 0 {
			ps[n].Places, ps[n].Lease = each, d.config.Lease
		}
	}
	return r, each * len(ps)
}

// returnHanded gives back what was handed over to a Run that has ended meanwhile.
// Where that fails, it is due again when its lease ends.
func (d *Dispatcher) returnHanded(ctx context.Context, hs []handed) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), returnTimeout)
	defer cancel()
	ss := make([]Settlement, len(hs))
	for n, h := range hs {
		ss[n] = Settlement{DeliveryID: h.claimed.Delivery.ID, Lease: h.claimed.Lease, State: StatePending}
	}
	if _, err := d.store.Settle(within, ss); err != nil {
		d.log.Warn("deliveries could not be given back; they are due when their leases end", zap.Int("deliveries", len(hs)), zap.Error(err))
	}
	d.rouse() // the Run that may have begun meanwhile
}

func receiptsOf(ps []Publication) []Receipt {
	receipts := make([]Receipt, len(ps))
	for n := range ps {
		receipts[n].EventID = ps[n].Event.ID
	}
	return receipts
}

// rouse makes Run look for due deliveries.
func (d *Dispatcher) rouse() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// remind makes Run look for due deliveries before long, which it may do anyway.
func (d *Dispatcher) remind() {
	select {
	case d.reminder <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends. It then stops claiming, lets the requests in
// flight finish within [Config].DrainTimeout, gives back uncounted what is cut
// short, stores all outcomes and returns nil, or an error if the store did not
// take them within 10 seconds (those deliveries will be repeated).
//
// What Publish stores in the same Dispatcher, it starts without a claim where the
// store hands it over, see [HandOver]: a few deliveries of a call, while it has
// places and the queue has had less than there were places for. The first one to an
// endpoint may wait for its place for a second, and goes to the endpoint as it was
// when the event was published. From the end of ctx on, nothing more is handed over,
// and what is on its way is given back.
//
// Run rides out the store's failures by itself. It is [ErrConflict] while
// another Run of the same Dispatcher is active. A process that only publishes
// and manages never calls it.
func (d *Dispatcher) Run(ctx context.Context) error {
	if !d.running.CompareAndSwap(false, true) {
		return fmt.Errorf("run: %w: it is running already", ErrConflict)
	}
	defer d.running.Store(false)
	r := newRun(ctx, d)
	if d.hands != nil {
		d.current.Store(r)
		defer d.current.Store(nil)
		context.AfterFunc(ctx, r.desk.Close) // while a claim or a pause goes on
	}
	var side sync.WaitGroup
	side.Go(func() { r.purge(ctx) })
	side.Go(func() { r.attend(ctx) })
	// A claim may finish, so that what it has leased is given back, but neither
	// may keep Run from ending.
	late := context.AfterFunc(ctx, func() { time.AfterFunc(flushTimeout, r.leave) })
	r.dispatch(ctx)
	late()
	side.Wait()
	return r.drain()
}

// run is the state of one Run. Its fields belong to the goroutine of dispatch,
// except those that are safe for concurrent use.
type run struct {
	*Dispatcher
	ctx      context.Context // of Run
	sending  context.Context // of the requests; outlives that of Run
	cut      context.CancelFunc
	claiming context.Context // of what dispatch does with the store; outlives that of Run by flushTimeout
	leave    context.CancelFunc
	storing  context.Context // of the store's calls; outlives sending
	giveUp   context.CancelFunc
	gate     *gate.Gate
	crew     *crew.Crew[*job]
	desk     *desk.Desk[handed]
	lobby    []handed      // what was handed over and waits for a place,
	patience time.Duration // for so long
	settler  *batch.Batcher[settled]
	keeper   *insist.Keeper[settled]               // the settler's own
	targets  *ready.Shelf[*EndpointRecord, target] // by endpoint ID
	left     map[string]int                        // room that the deliveries of a claim leave, by endpoint ID
	swept    time.Time                             // when idle targets were last forgotten
	timer    *time.Timer                           // of pause
	until    time.Time                             // when it expires
	late     *time.Timer                           // when the first in the lobby has waited for too long
	wakes    <-chan struct{}                       // the store's own; nil if it has none
	busy     bool                                  // the last claim was cut short by its bounds: there is more
	rest     time.Time                             // no claim until then, so that a store which is slow to answer is asked less often and for more
	eager    bool                                  // nothing in the queue waits for a place, as far as the last claim says
	unstored atomic.Bool                           // the store has not taken the last outcomes
	told     map[string]told                       // what was told of endpoints, by ID; the settler's own
	lost     atomic.Int64                          // outcomes that came too late for the settler
	present  atomic.Int64                          // dispatchers that run on the store; 0: not known
}

// job is a claimed delivery on its way through deliver.
type job struct {
	Claimed
	made   *ready.Item[*EndpointRecord, target]
	target *target // once it is made
	pass   gate.Pass
	asked  time.Time // when the claim was made: the lease began no earlier
	idle   bool      // it was given back without an attempt
}

// told is what was told of an endpoint.
type told struct {
	disabled int64     // the Rev at which it was
	paused   time.Time // until then
	failing  time.Time // since then
}

// settled is a settlement on its way to the store.
type settled struct {
	Settlement
	claimed *Claimed
	target  *target // nil where nothing was sent
}

func newRun(ctx context.Context, d *Dispatcher) *run {
	r := &run{Dispatcher: d, ctx: ctx, gate: gate.New(d.config.Concurrency), left: make(map[string]int), swept: time.Now(), told: make(map[string]told)}
	r.timer, r.late = time.NewTimer(0), time.NewTimer(0) // their first expiry means nothing
	r.storing, r.giveUp = context.WithCancel(context.WithoutCancel(ctx))
	r.sending, r.cut = context.WithCancel(r.storing)
	r.claiming, r.leave = context.WithCancel(r.storing)
	r.crew = crew.New(d.config.Concurrency, r.deliver)
	r.patience = min(lobbyPatience, (d.config.Lease-d.config.longestTimeout())/4)
	// Hanging endpoints may hold half of the places for good; a quarter is left to
	// what waits in the queue.
	r.desk = desk.New[handed](d.config.Concurrency, max(1, d.config.Concurrency*3/4))
	r.targets = ready.New(ready.Options[*EndpointRecord, target]{
		Same: sameConfig, Make: r.makeTarget, Close: (*target).close,
		// For a key service this goroutine has no time.
		Slow: func(record *EndpointRecord) bool { return !d.opensAtOnce(record) }, Slots: max(2, d.config.Concurrency/4),
		Passes: func(err error) bool { return errors.Is(err, ErrKey) }, Rest: misconfigured,
	})
	r.keeper = insist.New(insist.Options[settled]{
		Store: r.settle, Pause: backoffDelay, Works: r.answers, Lessen: settled.lessen, Aside: maxBatch,
		Dropped: func(s settled, err error) {
			r.log.Error("the store does not take an outcome; the delivery will be repeated", zap.String("delivery", s.DeliveryID), zap.Error(err))
		},
	})
	r.settler = batch.New(batch.Options{Items: maxBatch, Bytes: maxBatchBytes, Rest: settleRest, Queue: 2 * d.config.Concurrency},
		func(items []settled) { r.keeper.Keep(r.storing, items, r.settler.Waiting) })
	return r
}

// dispatch claims what can start and starts it, until ctx ends, and what is handed
// over all the while.
func (r *run) dispatch(ctx context.Context) {
	defer r.closeDesk()
	r.wakes = r.wakesOfStore(ctx)
	defer r.timer.Stop()
	defer r.late.Stop()
	failures := 0
	for ctx.Err() == nil {
		free, room, wait := r.plan()
		if r.rests(ctx, free) {
			continue
		}
		shut := gate.Shut(room)
		room = maps.Clone(room)
		if r.gate.Ration(room) {
			wait = min(cmp.Or(wait, rationing), rationing)
		}
		// What is handed over meanwhile may find no place beside what is claimed, and
		// is given back then; what is promised so far need not.
		request := ClaimRequest{Max: max(1, min(free-r.desk.Pending(), maxBatch)), PerEndpoint: 1, MaxBytes: maxBatchBytes, Room: room, Lease: r.config.Lease}
		asked := time.Now()
		claimed, next, err := r.claim(request)
		r.rest = time.Now().Add(min(time.Since(asked)/2, batchPatience))
		r.report(ctx, "claim", err)
		more := cutShort(claimed, request)
		r.eager = err == nil && !more
		enough := r.opened(shut)
		switch {
		case err != nil:
			failures++
			next, enough = backoffDelay(failures), ends(1)
		case len(claimed) > 0:
			failures = 0
			cut, quick := r.start(claimed, asked, room, ctx.Err() != nil)
			if r.busy = cut || more; r.busy || quick {
				continue
			}
			// Slow endpoints have what they can have for now. When more will be due, the
			// next claim says.
			_, room, _ = r.plan()
			next, enough = rationing, r.opened(append(shut, gate.Shut(room)...))
		default:
			failures = 0
		}
		r.pause(ctx, r.nap(next, wait), r.Dispatcher.wake, r.wakes, enough)
	}
}

// cutShort reports whether a claim has taken as much as it may: there may be more.
// It does not see how large the event is that MaxBytes has kept out; one that is
// larger than the half is found by the next claim.
func cutShort(claimed []Claimed, request ClaimRequest) bool {
	size := 0
	for n := range claimed {
		size += len(claimed[n].Event.Data)
	}
	return len(claimed) == request.Max || size > request.MaxBytes/2
}

// rests pauses and reports true where a claim would come too early.
func (r *run) rests(ctx context.Context, free int) bool {
	switch {
	case r.busy:
		// Under load, claim in batches rather than whenever a request ends. What is
		// new may be another endpoint's, which need not wait for that.
		r.pause(ctx, batchPatience, r.Dispatcher.wake, nil, ends(max(1, (r.config.Concurrency-free)/4)))
		r.busy = false
	case free == 0:
		r.pause(ctx, r.config.PollInterval, nil, nil, ends(1))
	case time.Now().Before(r.rest):
		r.pause(ctx, time.Until(r.rest), nil, nil, ends(math.MaxInt))
	default:
		return false
	}
	return true
}

// claim asks the store, and starts what is handed over while it has not answered,
// for which requests that end make room, unless Run is to end.
func (r *run) claim(request ClaimRequest) (claimed []Claimed, next time.Duration, err error) {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		claimed, next, err = r.store.Claim(r.claiming, request)
	}()
	for done := r.ctx.Done(); ; {
		select {
		case <-answered:
			return claimed, next, err
		case <-r.freed(max(1, r.gate.Inflight()/4)):
			r.startHanded()
		case <-r.desk.Ready():
			r.startHanded()
		case <-r.late.C:
			r.startHanded()
		case <-done:
			r.closeDesk()
			done = nil
		}
	}
}

// pause waits for so long, or for behindPatience once it is reminded, at the most
// until wake or wakes, which is r.wakes or nil, receives, ctx ends, or enough
// requests have ended. Meanwhile it starts what is handed over. enough is told how
// many have ended so far, and returns how many are missing.
func (r *run) pause(ctx context.Context, d time.Duration, wake, wakes <-chan struct{}, enough func(ended int) (missing int)) {
	r.until = time.Now().Add(d)
	r.timer.Reset(d)
	for ended := r.startHanded(); ; {
		missing := enough(ended)
		if missing <= 0 {
			return
		}
		select {
		case <-r.timer.C:
			return
		case <-wake:
			return
		case <-r.reminder:
			r.hurry(behindPatience)
		case _, open := <-wakes:
			if !open {
				r.wakes = nil // polling goes on
			}
			return
		case <-r.freed(missing):
			ended += r.startHanded()
		case <-r.desk.Ready():
			ended += r.startHanded()
		case <-r.late.C:
			ended += r.startHanded()
		case <-ctx.Done():
			return
		}
	}
}

// hurry makes pause end in so long, if it would not before.
func (r *run) hurry(d time.Duration) {
	if until := time.Now().Add(d); until.Before(r.until) {
		r.until = until
		r.timer.Reset(d)
	}
}

// ends makes pause wait for the end of n requests.
func ends(n int) func(ended int) int { return func(ended int) int { return n - ended } }

// opened makes pause wait, after a claim that left nothing, until there is room
// where that had none; before, another would find nothing again. Endpoints that are
// slow, or not known yet, wait a moment for each other, so that they share a claim.
func (r *run) opened(shut []string) func(ended int) int {
	seen, slow := -1, false // at first, what has ended during the claim
	return func(ended int) int {
		if ended != seen && len(shut) > 0 {
			seen = ended
			_, room, _ := r.plan()
			quick, wary := r.gate.Opened(shut, room)
			if quick {
				return 0
			}
			if wary && !slow {
				slow = true
				r.hurry(rationing)
			}
		}
		return 1
	}
}

// freed receives when n requests have ended; when one has, if what was handed over
// waits for that.
func (r *run) freed(n int) <-chan struct{} {
	if len(r.lobby) > 0 {
		n = 1
	}
	return r.crew.Freed(n)
}

// startHanded starts what was handed over, unless Run is to end, and returns how many
// requests have ended. The first delivery to an endpoint may wait for a moment,
// rather than go back to the queue: when many are new at once, all of them would.
func (r *run) startHanded() (ended int) {
	now := time.Now()
	ended = r.collect(now)
	if r.ctx.Err() == nil {
		waiting := r.lobby[:0]
		for _, h := range r.lobby {
			if r.mayWait(&h, now) {
				waiting = append(waiting, h)
			} else {
				r.begin(h.claimed, h.asked, now, r.gate.Enter)
			}
		}
		clear(r.lobby[len(waiting):])
		for _, h := range r.desk.Take() {
			same := func(other handed) bool { return other.claimed.Endpoint.ID == h.claimed.Endpoint.ID }
			if len(waiting) < r.config.Concurrency/4 && r.mayWait(&h, now) && !slices.ContainsFunc(waiting, same) {
				h.waits = now
				waiting = append(waiting, h)
			} else {
				r.begin(h.claimed, h.asked, now, r.gate.EnterBehind)
			}
		}
		if r.lobby = waiting; len(waiting) > 0 {
			r.late.Reset(waiting[0].waits.Add(r.patience).Sub(now))
		}
	}
	r.tellDesk()
	return ended
}

// mayWait reports whether a place for what was handed over can be had soon, but not
// now.
func (r *run) mayWait(h *handed, now time.Time) bool {
	e := h.claimed.Endpoint
	waits := !h.waits.IsZero()
	return (!waits || now.Sub(h.waits) < r.patience) && e.FailingSince.IsZero() && r.gate.Soon(e.ID, waits)
}

// tellDesk says how many places are taken, and that others may be promised as long
// as nothing in the queue waits for one and the store takes outcomes.
func (r *run) tellDesk() {
	r.desk.Set(r.gate.Inflight(), len(r.lobby), r.eager && !r.unstored.Load())
}

// closeDesk ends handing over, and gives back what was not started.
func (r *run) closeDesk() {
	r.desk.Close()
	for _, h := range append(r.lobby, r.desk.Take()...) {
		r.giveBack(&job{Claimed: h.claimed, asked: h.asked}, 0)
	}
	r.lobby = nil
}

// wakesOfStore returns the store's own wake-ups, nil if it has none.
func (r *run) wakesOfStore(ctx context.Context) <-chan struct{} {
	waker, ok := capability[Waker](r.store)
	if !ok {
		return nil
	}
	wakes, err := waker.Wakes(ctx)
	if err != nil {
		r.log.Warn("the store's wake-ups are not available; polling instead", zap.Error(err))
		return nil
	}
	return wakes
}

// plan starts what was handed over and returns what may start beside it.
func (r *run) plan() (free int, room map[string]int, wait time.Duration) {
	r.startHanded()
	now := time.Now()
	if now.Sub(r.swept) > idleEndpoint {
		r.gate.Forget(r.swept, r.targets.Forget)
		r.targets.ForgetFailed() // which the gate has never seen
		r.swept = now
	}
	return r.gate.Plan(now)
}

// collect takes the finished jobs off the gate and returns how many these were.
func (r *run) collect(now time.Time) int {
	done := r.crew.Done()
	for _, j := range done {
		if j.idle {
			r.gate.Undo(&j.pass, now)
		} else {
			r.gate.Leave(&j.pass, now)
		}
	}
	return len(done)
}

// park gives a delivery back that cannot be sent now and lets its endpoint rest:
// a backlog of it would be claimed and given back for ever.
func (r *run) park(j *job, delay time.Duration, now time.Time) {
	r.gate.Park(j.Endpoint.ID, now.Add(min(delay, parking)))
	r.giveBack(j, delay)
}

// nap returns how long to wait for the next claim when nothing wakes it.
func (r *run) nap(next, wait time.Duration) time.Duration {
	nap := r.config.PollInterval
	for _, d := range []time.Duration{next, wait} {
		if d > 0 {
			nap = min(nap, d)
		}
	}
	return nap
}

// start begins each claimed delivery, or gives it back if Run is stopping. It
// reports whether an endpoint that is known to be quick filled the room that it had,
// and whether there is such a one at all, which may have room again in a moment, or
// more that is due.
func (r *run) start(claimed []Claimed, asked time.Time, room map[string]int, stopping bool) (cut, quick bool) {
	now := time.Now()
	clear(r.left)
	for n := range claimed {
		switch {
		case stopping:
			r.giveBack(&job{Claimed: claimed[n], asked: asked}, 0)
		case r.begin(claimed[n], asked, now, r.gate.Enter):
			filled := r.fills(claimed[n].Endpoint.ID, room)
			if !r.gate.Wary(claimed[n].Endpoint.ID) {
				cut, quick = cut || filled, true
			}
		}
	}
	return cut, quick
}

// begin gives a delivery to the crew, or back if the gate does not let it in. It
// reports false if nothing can be sent to its endpoint for now. What it keeps is a
// copy, so that a request that hangs does not keep a whole claim alive.
func (r *run) begin(c Claimed, asked, now time.Time, enter func(*gate.Key, *gate.Pass, time.Time) bool) bool {
	j := &job{Claimed: c, asked: asked}
	j.made = r.targets.Get(j.Endpoint.ID, j.Endpoint, now)
	if wait := j.made.Wait(now); wait > 0 {
		r.park(j, wait, now)
		return false
	}
	if !enter(r.key(j, now), &j.pass, now) {
		r.giveBack(j, 0)
		return true
	}
	j.made.Begin()
	r.crew.Start(j)
	return true
}

// fills counts one of a claim's deliveries and reports whether it fills the room
// that its endpoint had. What room does not name had nothing in flight.
func (r *run) fills(id string, room map[string]int) bool {
	left, counted := r.left[id]
	if !counted {
		var named bool
		if left, named = room[id]; !named {
			left = maxBatch + 1
		}
	}
	r.left[id] = left - 1
	return left == 1
}

// key returns the gate's key of a job's endpoint, with this process's share of what
// the endpoint may have.
func (r *run) key(j *job, now time.Time) *gate.Key {
	limit, perSecond := r.config.EndpointConcurrency, 0.0
	if t, n := j.made.Thing, max(int(r.present.Load()), 1); t != nil {
		limit = cmp.Or((t.endpoint.Concurrency+n-1)/n, limit)
		perSecond = t.endpoint.rate() / float64(n)
	}
	if j.made.Slow() {
		limit = 1 // opens it, before anything else of it starts
	}
	return r.gate.Key(j.Endpoint.ID, j.Endpoint.Tenant, limit, perSecond, !j.Endpoint.FailingSince.IsZero(), now)
}

// giveBack makes a delivery due again after the delay, as if never claimed.
func (r *run) giveBack(j *job, delay time.Duration) {
	j.idle = true
	r.add(r.claiming, j, Settlement{DeliveryID: j.Delivery.ID, Lease: j.Lease, State: StatePending, Delay: delay, Pause: j.postpone(delay)})
}

// postpone is reopen for a claim that is given back with a delay: to probe the
// endpoint with another delivery before would come to the same.
func (c *Claimed) postpone(delay time.Duration) time.Duration {
	if pause := c.reopen(); pause > 0 {
		return max(pause, delay)
	}
	return 0
}

// reopen returns the Pause of a settlement that says nothing of the endpoint: a
// claim that was to probe it has moved NotBefore on, which is undone.
func (c *Claimed) reopen() time.Duration {
	if c.Endpoint.NotBefore.IsZero() {
		return 0
	}
	return time.Nanosecond
}

func (r *run) add(ctx context.Context, j *job, s Settlement) {
	size := 0
	if s.Attempt != nil {
		size = len(s.Attempt.ResponseBody)
	}
	if err := r.settler.Add(ctx, settled{s, &j.Claimed, j.target}, size); err != nil {
		r.lost.Add(1)
	}
}

// makeTarget makes a target, and tells where its endpoint cannot be sent to.
func (r *run) makeTarget(record *EndpointRecord, old *target) (*target, error) {
	t, err := r.newTarget(r.sending, record)
	switch {
	case err == nil:
		t.inherit(old)
	case !errors.Is(err, ErrKey):
		r.log.Error("an endpoint cannot be delivered to", zap.String("endpoint", record.ID), zap.Error(err))
	case r.sending.Err() == nil:
		r.tellKeysFailed(r.storing, record, err)
	}
	return t, err
}

// tellKeysFailed logs and tells, once in a while, that an endpoint does not open.
func (d *Dispatcher) tellKeysFailed(ctx context.Context, r *EndpointRecord, err error) {
	times, tell := d.unopened.Tell(time.Now(), misconfigured)
	if !tell {
		return
	}
	d.log.Error("endpoints cannot be delivered to, as their configuration cannot be opened; their deliveries wait",
		zap.String("endpoint", r.ID), zap.Int("times", times), zap.Error(err))
	d.observe(ctx, KeysFailed{EndpointID: r.ID, Tenant: r.Tenant, Err: err})
}

// deliver makes the attempt of a job and settles it. The crew's goroutines run
// it.
func (r *run) deliver(j *job) {
	made := j.made.Make()
	if made.Failed() {
		r.giveBack(j, made.Wait(time.Now()))
		return
	}
	j.target = made.Thing
	if j.Expired > maxExpired {
		r.add(r.storing, j, r.outcome(r.storing, j.target, &j.Claimed, r.crashed(&j.Claimed, j.target)))
		return
	}
	// An attempt that outlives its lease may arrive behind another process's, even
	// behind the next delivery of its ordering key. So it is not made if it could: the
	// process was stopped, or opening the endpoint took long.
	slack := r.config.Lease - j.target.profile.Timeout
	if !j.made.Slow() { // of a Lease that is hardly longer than the Timeout, a claim may take all
		slack = max(slack, min(r.config.Lease/2, time.Second))
	}
	if time.Since(j.asked) > slack {
		r.giveBack(j, 0)
		return
	}
	// While the store does not know yet that an endpoint is to be left alone.
	if j.Endpoint.NotBefore.IsZero() && j.target.breaker.Blocks(j.asked) {
		r.giveBack(j, time.Second)
		return
	}
	if wait := j.target.waits(r.proxies, time.Now()); wait > 0 {
		r.giveBack(j, wait)
		return
	}
	result := r.attempt(r.sending, j.target, &j.Claimed)
	r.add(r.storing, j, r.outcome(r.storing, j.target, &j.Claimed, result))
}

// settle stores outcomes and tells of those that were not stale. again says that
// they were refused before. The settler's goroutine runs it.
func (r *run) settle(items []settled, again bool) error {
	settlements := make([]Settlement, len(items))
	for n := range items {
		settlements[n] = items[n].Settlement
	}
	stale, err := r.store.Settle(r.storing, settlements)
	if !again {
		r.report(r.storing, "settle", err)
		r.unstored.Store(err != nil)
	}
	if err != nil {
		return err
	}
	if slices.ContainsFunc(items, r.makesDue) {
		r.rouse()
	}
	r.tell(items, stale)
	return nil
}

// answers reports whether the store works otherwise, so that it is the record
// that it does not take.
func (r *run) answers(s settled) bool {
	_, err := r.store.GetDelivery(r.storing, s.DeliveryID)
	return err == nil || errors.Is(err, ErrNotFound)
}

// lessen takes out of the record of an attempt what others have written, and its
// error if it is to be bare. What the store refuses even so, it will not take: the
// delivery is due again when its lease ends, and not sent any more after some such
// ends.
func (s settled) lessen(bare bool) settled {
	if s.Attempt == nil {
		return s
	}
	less := *s.Attempt
	less.RequestHeaders, less.ResponseHeaders, less.ResponseBody = nil, nil, nil
	less.Truncated = true
	if bare && less.Error != "" {
		less.Error = "the record of this attempt could not be stored"
	}
	s.Attempt = &less
	return s
}

// makesDue reports whether the outcome lets something fall due, before the next
// poll, that the last claim did not know of: a retry, the next of an order, what
// waited for a probe.
func (r *run) makesDue(s settled) bool {
	e := s.claimed.Endpoint
	return s.State == StatePending && s.Delay < r.config.PollInterval || e.Ordered || !e.NotBefore.IsZero()
}

// drain waits for the jobs that are running, cuts them short if they take too
// long, and stores what is left.
func (r *run) drain() error {
	defer r.giveUp()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		r.crew.Close()
	}()
	timeout := time.NewTimer(r.config.DrainTimeout)
	defer timeout.Stop()
	select {
	case <-drained:
	case <-timeout.C:
		r.cut()
	}
	flush := time.AfterFunc(flushTimeout, r.giveUp)
	defer flush.Stop()
	<-drained
	r.settler.Close()
	r.cut()
	r.closeIdle()
	r.targets.Close()
	if lost := r.lost.Load() + int64(r.keeper.Lost()); lost > 0 {
		return fmt.Errorf("run: %d outcomes could not be stored; those deliveries will be repeated", lost)
	}
	return nil
}

// purge removes what Retention does not keep, until ctx ends.
func (r *run) purge(ctx context.Context) {
	purger, ok := capability[Purger](r.store)
	if !ok || r.config.Retention == 0 {
		return
	}
	regularly(ctx, min(max(r.config.Retention/20, time.Second), time.Hour), func() {
		for removed := 1; removed > 0 && ctx.Err() == nil; {
			var err error
			if removed, err = purger.Purge(ctx, r.config.Retention, purgeBatch); err != nil {
				removed = 0
			}
			r.report(ctx, "purge", err)
		}
	})
}

// attend keeps being counted among the dispatchers that run on the store, until
// ctx ends.
func (r *run) attend(ctx context.Context) {
	presence, ok := capability[Presence](r.store)
	if !ok {
		return
	}
	id := uuid.Must(uuid.NewV7()).String()
	regularly(ctx, attendEvery, func() {
		n, err := presence.Attend(ctx, id, 3*attendEvery)
		r.report(ctx, "attend", err)
		if err == nil {
			r.present.Store(int64(n))
		}
	})
	leaving, cancel := context.WithTimeout(r.storing, time.Second)
	defer cancel()
	_, _ = presence.Attend(leaving, id, 0) // otherwise its time runs out
}

// regularly calls f at once and then again and again, until ctx ends.
func regularly(ctx context.Context, pause time.Duration, f func()) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		f()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// report logs and tells of the store's failures in an operation: once when they
// begin, once when they end.
func (d *Dispatcher) report(ctx context.Context, operation string, err error) {
	if err != nil && ctx.Err() != nil {
		return
	}
	switch changed := d.failing.Set(operation, err != nil); {
	case !changed:
	case err == nil:
		d.log.Info("the store works again", zap.String("operation", operation))
		d.observe(ctx, StoreRecovered{Operation: operation})
	default:
		d.log.Error("the store fails; retrying", zap.String("operation", operation), zap.Error(err))
		d.observe(ctx, StoreFailed{Operation: operation, Err: err})
	}
}

// reportProxy logs and tells of a proxy that begins to fail or works again.
func (d *Dispatcher) reportProxy(ctx context.Context, proxy string, err error) {
	ctx = context.WithoutCancel(ctx) // it is that of an attempt, whose time may be over
	if err == nil {
		d.log.Info("a proxy works again", zap.String("proxy", proxy))
		d.observe(ctx, ProxyRecovered{Proxy: proxy})
		return
	}
	d.log.Error("a proxy fails; what goes through it waits", zap.String("proxy", proxy), zap.Error(err))
	d.observe(ctx, ProxyFailed{Proxy: proxy, Err: err})
}

// backoffDelay is how long to wait after so many failures of the store in a row.
func backoffDelay(failures int) time.Duration {
	return min(50*time.Millisecond<<min(failures-1, 10), 5*time.Second)
}

// target is an endpoint made ready for sending.
type target struct {
	record   *EndpointRecord // that it was made of
	endpoint Endpoint        // with its secrets
	profile  *Profile
	url      *url.URL
	refused  error                // by the network, which may have changed since Register
	headers  http.Header          // the same at every attempt
	auth     string               // the name of the header that Auth writes
	private  []string             // the names of the headers that are redacted in the log
	token    *fresh.Value[string] // of the header that Auth writes; nil: it does not change
	breaker  *breaker.Breaker
	client   *wire.Client           // of its tenant's network, or its own
	own      bool                   // the client is
	illness  *illness.Illness       // of a proxy, towards this endpoint
	down     atomic.Pointer[string] // the proxy that was, at the last attempt
	recorded string                 // the URL in the log of attempts
	unseen   redact.Words           // what a receiver may repeat, and must not be in the log of attempts
	untold   func() *redact.Words   // nor in an error: they are seldom needed
	fetched  atomic.Pointer[fetched]
}

// newTarget returns a target, or why the endpoint cannot be sent to as this process
// is configured.
func (d *Dispatcher) newTarget(ctx context.Context, record *EndpointRecord) (*target, error) {
	e, err := d.open(ctx, record)
	if err != nil {
		return nil, err
	}
	t := &target{record: record, endpoint: e, profile: d.profiles[e.Profile], breaker: d.config.newBreaker(), illness: illness.New(proxyFaults)}
	switch err := e.checkStored(); {
	case t.profile == nil:
		return nil, fmt.Errorf("%w: this process has no profile %q", ErrInvalid, e.Profile)
	case err != nil:
		return nil, err
	case e.Auth.Scheme == authOAuth2 && d.config.Authorizer == nil:
		return nil, fmt.Errorf("Auth: %w", errNoAuthorizer)
	}
	t.client = d.client(e.Tenant)
	if t.url, t.refused = t.client.CheckURL(e.URL); t.refused != nil {
		t.url = new(url.URL)
	}
	if !e.TLS.empty() {
		change, err := e.TLS.apply()
		if err != nil {
			return nil, err
		}
		t.client, t.own = t.client.WithTLS(change), true
		if end := e.TLS.NotAfter; !end.IsZero() && time.Now().After(end) {
			d.log.Warn("an endpoint's client certificate has expired", zap.String("endpoint", record.ID), zap.Time("at", end))
		}
	}
	t.headers = http.Header{"Content-Type": {t.profile.ContentType}, "User-Agent": {t.profile.UserAgent}}
	for name, value := range e.Headers {
		t.headers[http.CanonicalHeaderKey(name)] = []string{value}
	}
	maps.Copy(t.headers, t.profile.verificationHeaders())
	if name, value := e.Auth.header(); name != "" {
		t.auth = name
		t.headers[name] = []string{value}
	}
	if e.Auth.Scheme == authOAuth2 {
		t.token = fresh.New(func(ctx context.Context) (string, time.Time, error) { return d.fetchToken(ctx, t) })
	}
	t.conceal(d.config.Keys != nil)
	return t, nil
}

// inherit takes over what the target before, unless nil, knows of the endpoint.
func (t *target) inherit(old *target) {
	if old == nil {
		return
	}
	t.illness = old.illness
	// A change while the store calls it healthy may be what mended it.
	if sameConfig(t.record, old.record) || !t.record.FailingSince.IsZero() {
		t.breaker = old.breaker
	}
}

// close closes the connections that t alone has and no request uses.
func (t *target) close() {
	if t.own {
		t.client.CloseIdle()
	}
}

const proxyFaults = 3 // in a row, after which an endpoint's deliveries wait for a probe

// waits returns how long a delivery should wait for the proxy to be well; with 0
// it may start.
func (t *target) waits(proxies *wire.Proxies, now time.Time) time.Duration {
	wait := t.illness.Wait(now)
	if down := t.down.Load(); wait == 0 && down != nil {
		wait = proxies.Wait(*down, now)
	}
	return wait
}

// fault notes a proxy's fault at an attempt and returns how long its delivery
// waits. A proxy that nobody gets through to is waited for by all whom it failed,
// but what it says of one endpoint holds up that one alone: who has a part in that
// must not be able to hold up others.
func (t *target) fault(err error) (wait time.Duration) {
	if e, ok := errors.AsType[*wire.Error](err); ok && errors.Is(err, wire.ErrProxyDown) {
		proxy, wait := e.DownProxy()
		t.down.Store(&proxy)
		return wait
	}
	_, wait = t.illness.Fault(time.Now())
	return wait
}

// conceal says what of the endpoint is not in the log of attempts. Where the store
// is given its configuration sealed, that is all that may be a secret, whoever made
// it one.
func (t *target) conceal(sealed bool) {
	t.private = []string{"Authorization", "Cookie"}
	if t.auth != "" && t.auth != "Authorization" {
		t.private = append(t.private, t.auth)
	}
	words := append(redact.HeaderWords(t.headers, t.private), t.endpoint.Auth.Secret.Value)
	for _, s := range t.endpoint.Secrets {
		words = append(words, wordsOf(s)...)
	}
	recorded, path, query := redact.URL(t.endpoint.URL)
	if !sealed {
		t.recorded, t.unseen, t.untold = t.endpoint.URL, redact.New(words...), wordsLater(append(words, query...))
		return
	}
	for name, value := range t.endpoint.Headers {
		t.private = append(t.private, http.CanonicalHeaderKey(name))
		words = append(words, value)
	}
	words = append(words, query...)
	t.recorded, t.unseen, t.untold = recorded, redact.New(slices.Concat(words, path)...), wordsLater(words)
}

func wordsLater(words []string) func() *redact.Words {
	return sync.OnceValue(func() *redact.Words { return new(redact.New(words...)) })
}

// fetched is a header that was fetched, and what a receiver may repeat of it.
type fetched struct {
	header string
	words  redact.Words
}

// inToken returns what a receiver may repeat of a header that was fetched.
func (t *target) inToken(header string) *redact.Words {
	f := t.fetched.Load()
	if f == nil || f.header != header {
		scheme, credentials, ok := strings.Cut(header, " ")
		if !ok {
			credentials = scheme
		}
		f = &fetched{header, redact.New(credentials)}
		t.fetched.Store(f)
	}
	return &f.words
}

// tellable returns an error for the log, in which somebody else may have a say:
// net/http quotes what is malformed in an answer. token is the header that was
// fetched for the request, "" for none.
func (t *target) tellable(err error, token string) error {
	text, own, words := err.Error(), t.untold(), t.inToken(token)
	cut := len(text) > maxText
	if cut {
		text = text[:maxText]
	}
	if own.Holds(text) || words.Holds(text) {
		return fmt.Errorf("the text of the %T is withheld, it contains a credential", err)
	}
	if !cut {
		return err
	}
	return errors.New(string(words.Bytes(own.Bytes([]byte(text), true), true)) + "…")
}

// shown returns the text of an error for the endpoint's owner. In that of a failed
// handshake the receiver's certificate has a say.
func (t *target) shown(text, token string) string {
	own, words := t.untold(), t.inToken(token)
	if strings.HasPrefix(text, "TLS: ") {
		text = t.unseen.String(text)
	}
	text = words.String(own.String(text))
	if own.Holds(text) || words.Holds(text) {
		return "what was wrong is withheld, it contains a credential"
	}
	return text
}

// sameConfig reports whether a target that is made of one record is as good for the
// other.
func sameConfig(a, b *EndpointRecord) bool {
	return a == b || a.Rev == b.Rev && a.Disabled == b.Disabled && slices.Equal(a.Config, b.Config)
}

// result is what came of an attempt.
type result struct {
	attempt    *Attempt
	err        error         // nil after a success; for operators, Attempt.Error is for the endpoint's owner
	token      string        // the header that was fetched for it
	ours       bool          // the failure says nothing of the endpoint
	cut        bool          // ended by the shutdown
	proxy      bool          // the fault is a proxy's
	wait       time.Duration // until the next attempt, if so
	retryAfter time.Duration
}

// attempt makes one request for a claimed delivery: envelope, headers,
// signature, POST.
func (d *Dispatcher) attempt(ctx context.Context, t *target, c *Claimed) result {
	start := time.Now()
	a := &Attempt{
		ID: uuid.Must(uuid.NewV7()).String(), DeliveryID: c.Delivery.ID, Number: c.Delivery.Attempts + 1,
		StartedAt: start.UTC().Truncate(time.Microsecond), URL: t.recorded,
	}
	if d.config.Observer != nil {
		d.observe(ctx, AttemptStarted{Delivery: refOf(&c.Delivery), Number: a.Number})
	}
	r := result{attempt: a}
	message, headers, err := t.prepare(c, a)
	if err != nil {
		r.err, r.ours = err, true
		a.Error = errorText(err)
	} else {
		r.err = d.post(ctx, t, message, headers, &r)
	}
	a.Duration = time.Since(start)
	d.record(ctx, t, c, &r)
	return r
}

// errorText returns the text of an error in a form that any store can write,
// whoever has made the error: bounded, in UTF-8, without control characters.
func errorText(err error) string {
	text := err.Error()
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// prepare builds the body and the headers of an attempt. An error is ours.
func (t *target) prepare(c *Claimed, a *Attempt) (m Message, h http.Header, err error) {
	e := c.Event
	m = Message{
		ID: e.ID, DeliveryID: c.Delivery.ID, EventType: e.Type, Tenant: e.Tenant, URL: t.endpoint.URL,
		Attempt: a.Number, EventTime: e.Time, Timestamp: a.StartedAt,
	}
	if m.Body, err = t.profile.body(e); err != nil {
		return m, nil, err
	}
	a.BodySHA256 = sha256.Sum256(m.Body)
	h = make(http.Header, len(t.headers)+4)
	maps.Copy(h, t.headers)
	recorded, err := t.sign(m, h)
	if err != nil {
		return m, nil, err
	}
	a.RequestHeaders = redact.Header(recorded, t.private)
	return m, h, nil
}

// sign adds the profile's headers and the signature to h, and returns the headers
// to record.
func (t *target) sign(m Message, h http.Header) (recorded http.Header, err error) {
	if err := t.profile.addHeaders(h, m, t.auth); err != nil {
		return nil, err
	}
	if recorded, err = sign(t.profile.Signer, h, m, validSecrets(t.endpoint.Secrets, m.Timestamp)); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return recorded, nil
}

// body builds the request body of an event.
func (p *Profile) body(e *EventRecord) (body []byte, err error) {
	defer recovered(&err, "envelope")
	body, err = p.Envelope(e.event())
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	return body, nil
}

// addHeaders adds what Profile.Headers returns; auth is the header that Auth writes.
func (p *Profile) addHeaders(h http.Header, m Message, auth string) (err error) {
	if p.Headers == nil {
		return nil
	}
	defer recovered(&err, "profile headers")
	for name, values := range p.Headers(m) {
		name = http.CanonicalHeaderKey(name)
		if header.Reserved(name) || name == auth || slices.Contains(p.ownHeaders(), name) {
			return fmt.Errorf("profile headers: %w: the name %s is reserved", ErrInvalid, name)
		}
		h[name] = values
	}
	return nil
}

// recovered makes the panic of what an application has written an error. It must be
// deferred itself.
func recovered(err *error, what string) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s panicked: %v", what, r)
	}
}

// ownHeaders returns the names of the headers that only the profile itself may
// write.
func (p *Profile) ownHeaders() []string {
	return slices.AppendSeq(slices.Clip(signatureHeaders(p.Signer)), maps.Keys(p.verificationHeaders()))
}

// verificationHeaders returns the headers that the Verification adds to every
// delivery.
func (p *Profile) verificationHeaders() http.Header {
	if v, ok := p.Verification.(interface{ headers() http.Header }); ok {
		return v.headers()
	}
	return nil
}

// post sends the request and classifies the response.
func (d *Dispatcher) post(ctx context.Context, t *target, m Message, h http.Header, r *result) error {
	within, cancel := context.WithTimeout(ctx, t.profile.Timeout)
	defer cancel()
	if t.refused != nil {
		r.attempt.Error = "connection failed"
		return t.refused
	}
	start := time.Now()
	token, err := t.authorize(within, h)
	r.token = token
	posted := err == nil
	var response wire.Response
	if posted {
		response, err = t.client.Post(within, t.url, h, m.Body)
	}
	if r.proxy = errors.Is(err, wire.ErrProxy); r.proxy {
		r.wait = t.fault(err)
	} else if posted && ctx.Err() == nil {
		t.illness.Well(start)
		t.down.Store(nil)
	}
	if err != nil {
		if r.cut = ctx.Err() != nil; r.cut {
			r.attempt.Error = "cut short: the sender stopped waiting"
			return ctx.Err()
		}
		if e, ok := errors.AsType[*tokenError](err); ok {
			r.ours = r.ours || e.ours
		}
		r.attempt.Error = t.shown(err.Error(), token)
		return err
	}
	a := r.attempt
	t.keep(a, response, token)
	if a.StatusCode >= 200 && a.StatusCode <= 299 {
		return nil
	}
	switch a.StatusCode {
	case http.StatusUnauthorized:
		if t.token != nil {
			t.token.Drop(token) // the next attempt has another
		}
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		r.retryAfter = parseRetryAfter(response.Header, time.Now())
	}
	a.Error = "status " + strconv.Itoa(a.StatusCode)
	return errors.New(a.Error)
}

// keep records a response without what must not be seen of it. The mark may be
// longer than what it stands for.
func (t *target) keep(a *Attempt, response wire.Response, token string) {
	a.StatusCode, a.ResponseHeaders, a.Truncated = response.StatusCode, response.Header, response.Truncated
	a.ResponseBody = t.unseen.Bytes(response.Body, response.Truncated)
	t.unseen.Header(a.ResponseHeaders)
	if token != "" {
		words := t.inToken(token)
		a.ResponseBody = words.Bytes(a.ResponseBody, response.Truncated)
		words.Header(a.ResponseHeaders)
	}
	if most := t.client.MaxBody(); len(a.ResponseBody) > most {
		a.ResponseBody, a.Truncated = a.ResponseBody[:most], true
	}
}

// record logs an attempt and tells of it.
func (d *Dispatcher) record(ctx context.Context, t *target, c *Claimed, r *result) {
	a := r.attempt
	blocked := errors.Is(r.err, wire.ErrBlocked) || errors.Is(r.err, wire.ErrURL)
	level := zap.DebugLevel
	if blocked || r.ours {
		level = zap.WarnLevel
	}
	if entry := d.log.Check(level, "attempt"); entry != nil {
		fields := []zap.Field{
			zap.String("delivery", a.DeliveryID), zap.String("event", c.Event.ID), zap.String("endpoint", t.record.ID),
			zap.String("url", withoutQuery(t.url)), zap.Int("number", a.Number), zap.Int("status", a.StatusCode), zap.Duration("duration", a.Duration),
		}
		if r.err != nil {
			fields = append(fields, zap.NamedError("error", t.tellable(operatorError(r.err), r.token)))
		}
		entry.Write(fields...)
	}
	if d.config.Observer != nil {
		d.observe(ctx, AttemptFinished{
			Delivery: refOf(&c.Delivery), Number: a.Number, StatusCode: a.StatusCode, Duration: a.Duration,
			Success: r.err == nil, Blocked: blocked, CutShort: r.cut, ProxyFault: r.proxy,
		})
	}
}

// operatorError returns the cause of an error whose own text is made for the
// endpoint's owner.
func operatorError(err error) error {
	if e, ok := errors.AsType[*tokenError](err); ok && e.cause != nil {
		return fmt.Errorf("no access token: %w", operatorError(e.cause))
	}
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Unwrap() != nil {
		return e.Unwrap()
	}
	if e, ok := errors.AsType[*url.Error](err); ok { // its text has the whole URL
		return e.Err
	}
	return err
}

// withoutQuery returns the part of a URL that may be logged.
func withoutQuery(u *url.URL) string {
	if u.Host == "" {
		return "refused"
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// crashed is the result for a delivery during whose attempts the process has
// ended again and again: it is not sent once more.
func (r *run) crashed(c *Claimed, t *target) result {
	err := fmt.Errorf("given up: its lease ran out %d times, as when the sender's process ends during the attempt", c.Expired)
	res := result{err: err, ours: true, attempt: &Attempt{
		ID: uuid.Must(uuid.NewV7()).String(), DeliveryID: c.Delivery.ID, Number: c.Delivery.Attempts + 1,
		StartedAt: time.Now().UTC().Truncate(time.Microsecond), URL: t.recorded, Error: err.Error(),
	}}
	r.log.Warn("a delivery is not sent again: its lease ran out too often", zap.String("delivery", c.Delivery.ID), zap.String("endpoint", t.record.ID), zap.Int("times", c.Expired))
	return res
}

// tell logs and tells of the outcomes that the store took.
func (r *run) tell(items []settled, stale []string) {
	for n := range items {
		s, c := &items[n].Settlement, items[n].claimed
		if len(stale) > 0 && slices.Contains(stale, s.DeliveryID) {
			r.log.Warn("an outcome came too late: the lease had run out, or the endpoint is gone", zap.String("delivery", s.DeliveryID))
			continue
		}
		switch s.State {
		case StateDelivered:
			if r.config.Observer != nil {
				r.observe(r.storing, DeliveryDelivered{Delivery: refOf(&c.Delivery), Attempts: s.Attempt.Number})
			}
		case StateExhausted:
			r.log.Warn("a delivery was given up", zap.String("delivery", s.DeliveryID), zap.String("endpoint", c.Delivery.EndpointID), zap.Int("attempts", s.Attempt.Number))
			r.observe(r.storing, DeliveryExhausted{Delivery: refOf(&c.Delivery), Attempts: s.Attempt.Number})
		}
		r.tellHealth(items[n])
	}
}

// tellHealth tells how an outcome changes what becomes of its endpoint.
func (r *run) tellHealth(o settled) {
	e, now := o.claimed.Endpoint, time.Now()
	t, known := r.told[e.ID]
	was := t
	switch o.Health {
	case HealthSuccess:
		t.paused, t.failing = time.Time{}, time.Time{}
		if !e.NotBefore.IsZero() {
			r.log.Info("an endpoint works again", zap.String("endpoint", e.ID))
			r.observe(r.storing, EndpointResumed{EndpointID: e.ID, Tenant: e.Tenant})
		}
	case HealthFailure:
		if o.Pause > 0 && o.target != nil {
			o.target.breaker.Shared(now)
			if e.NotBefore.IsZero() && !now.Before(t.paused) {
				t.paused = now.Add(o.Pause)
				r.log.Warn("an endpoint is left alone for a while", zap.String("endpoint", e.ID), zap.Duration("for", o.Pause))
				r.observe(r.storing, EndpointPaused{EndpointID: e.ID, Tenant: e.Tenant, Until: t.paused})
			}
		}
		limit, since := r.config.AutoDisable, e.FailingSince
		if o.Disable == "" && limit > 0 && !since.IsZero() && now.Sub(since) >= limit/2 && !t.failing.Equal(since) {
			t.failing = since
			r.log.Warn("an endpoint keeps failing", zap.String("endpoint", e.ID), zap.Time("since", since))
			r.observe(r.storing, EndpointFailing{EndpointID: e.ID, Tenant: e.Tenant, Since: since, DisableAt: since.Add(limit)})
		}
	}
	if o.Disable != "" {
		r.tellDisabled(o.claimed, o.Disable, &t)
	}
	if !known && len(r.told) >= maxTold {
		clear(r.told)
	}
	if t != was {
		r.told[e.ID] = t
	}
}

// tellDisabled tells that an outcome disabled its endpoint, if it is the one
// that did.
func (r *run) tellDisabled(c *Claimed, reason string, t *told) {
	e, err := r.store.GetEndpoint(r.storing, c.Endpoint.ID)
	if err != nil || !e.Disabled || e.DisabledReason != reason || t.disabled == e.Rev {
		return
	}
	t.disabled = e.Rev
	r.log.Warn("an endpoint was disabled", zap.String("endpoint", e.ID), zap.String("reason", reason))
	r.observe(r.storing, EndpointDisabled{EndpointID: e.ID, Tenant: e.Tenant, Reason: reason, Automatic: true})
}

// NewLogger returns a logger that writes to a slog.Handler, for [Config].Logger.
func NewLogger(h slog.Handler) *zap.Logger { return zap.New(slogcore.New(h)) }
