// Package webhook sends an application's webhooks to its customers: endpoints
// are registered, events are published from business code, and every endpoint
// that subscribes to an event receives a signed HTTP POST, at least once,
// whatever crashes in between.
//
//	package main
//
//	import (
//		"context"
//		"log"
//		"log/slog"
//		"os"
//		"os/signal"
//		"syscall"
//
//		"github.com/outhook/webhook"
//	)
//
//	func main() {
//		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
//		defer stop()
//
//		d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
//			Logger: webhook.NewLogger(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{
//				Level: slog.LevelDebug, // every attempt; from LevelWarn on, problems alone
//			})),
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		e, err := d.Register(ctx, webhook.Endpoint{
//			URL:    "https://customer.example/webhooks",
//			Tenant: "acme",
//			Events: []string{"document.*"},
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		log.Println("the customer verifies with", e.Secrets[0].Value)
//
//		_, err = d.Publish(ctx, webhook.Event{
//			Type:   "document.completed",
//			Tenant: "acme",
//			Data:   map[string]any{"id": "doc_1", "pages": 3},
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		if err := d.Run(ctx); err != nil { // delivers until SIGTERM, then drains
//			log.Fatal(err)
//		}
//	}
//
// # Events and endpoints
//
// An [Event] has a type, a tenant and data. [Dispatcher.Publish] stores it
// together with one [Delivery] for each [Endpoint] whose patterns match its type
// and whose tenant it is: in one atomic step, so that an accepted event is never
// lost and never half fanned out. Its ID is the message ID that receivers
// deduplicate by, the same over all endpoints and attempts; publishing the same
// ID or Key again is a no-op.
//
// Tenants are paths: an endpoint of "acme" receives what happens in "acme" and in
// "acme/legal". [Dispatcher.Tenant] returns a [View] that manages and sees what
// lies within one tenant; the Dispatcher itself is the operator's, who sees all.
//
// # Wire format
//
// A [Profile] is what a product promises to its receivers: how the body is built
// ([Envelope]) and signed ([Signer]), further headers, the timeout, and when a
// failed delivery is attempted again ([RetryPolicy]). The default is Standard
// Webhooks. What is signed is what is sent: the body is built once for an attempt,
// and the signature's headers are written last.
//
// # Delivery
//
// [Dispatcher.Run] claims due deliveries, makes one [Attempt] each, and settles
// them: delivered after a 2xx response, otherwise pending until the policy's next
// attempt, or exhausted when there is none. Any number of Dispatchers, in any
// number of processes, may run on one [Store]. A claim is a lease: what a process
// that died had claimed is due again when the lease ends, and what a stalled one
// reports too late is refused.
//
// A receiver's code must expect the same message more than once, and messages out
// of order (but see [Endpoint].Ordered).
//
// Requests go to public addresses by HTTPS only, unless [Network] says otherwise;
// redirects are not followed. Each endpoint has its own bounds ([Endpoint].Concurrency,
// RateLimit), slow ones share at most half of [Config].Concurrency, the last places
// are for those who have none, and one that fails for delivery after delivery is left
// alone and probed now and then, so that no endpoint holds up another.
//
// # Egress
//
// What a tenant's requests may reach, and the way they take, is [Config].Network
// or, for some tenants, one of [Config].Networks: which addresses, through which
// proxy (HTTP CONNECT or SOCKS5), with which TLS. [Endpoint].TLS is for a receiver
// with an authority of its own, or one that asks for a client certificate.
// Certificates are always verified, and nothing is taken from the environment.
//
// A proxy's fault says nothing of the receiver: that nothing accepts a connection
// there, that its certificate or our credentials are wrong, that it answers with
// 500 or with nonsense, that [Network].Proxy itself returns an error. The attempt
// is logged, in words that do not blame the receiver, but does not count; the
// endpoint's health stays as it is; and the delivery waits, a second at first and
// about a minute once the proxy has been ill for longer, while single deliveries
// probe it. The notices [ProxyFailed] and [ProxyRecovered] tell of it. That the
// proxy cannot reach the receiver (502, 503 or 504 to CONNECT; 3 to 6 and 8 in
// SOCKS5) counts as if we could not, and that its rules forbid it (403, 451, 407
// without a Proxy-Authenticate header as smokescreen answers; 2 in SOCKS5) as an
// address that is not allowed. Where a proxy says more than its status, in a header
// of smokescreen, Squid, Envoy or RFC 9209, that is heeded. An HTTP proxy which does
// not answer CONNECT within the timeout may be waiting for the receiver itself: it
// is the receiver's fault if the proxy answers others meanwhile, and, if there are
// none, from the third time on.
//
// Through a proxy, a URL's port and an address in it are judged as ever, and names
// that only the sender's own network can know are refused, but other names are
// resolved by the proxy: it must refuse, after DNS, what is not public, as
// smokescreen does by itself and Squid and Envoy by rules. Requests to http URLs are
// not tunnelled through an HTTP proxy but made by it, and what it answers itself
// counts as the receiver's answer, unless it is 407 or says so in a header of
// smokescreen or Squid.
//
// # Consent and authentication
//
// A profile may ask a receiver whether it wants what it will be sent, before its
// endpoint is sent anything ([Profile].Verification): by the handshake of
// CloudEvents ([AbuseProtection]), by a challenge that has to come back
// ([ChallengeEcho]), or in a way of its own ([Verification]). Register makes no
// request; the application calls [View.Verify] when the customer is ready. A new
// URL has to be verified anew.
//
// Beside its signature, a request may carry what the receiver's own gateway asks
// for ([Auth]): basic authentication, a bearer token, an API key, or the access
// tokens of OAuth 2.0 client credentials, which module
// github.com/outhook/webhook/oauth2 fetches ([OAuth2]).
//
// # Secrets
//
// A [Secret] prints as [redacted] wherever it goes. With [Config].Keys, the store
// is given what it keeps of an endpoint encrypted, so that neither a dump of the
// database nor a lost backup holds a customer's secret or credential: under keys of
// the application's own ([NewKeys]) or those of a key management service ([Keys]).
// [Dispatcher.Reseal] follows a change of the master key, and seals what was stored
// before. Events and the log of attempts are not encrypted; of an endpoint the log
// holds scheme and host of its URL. Who can write to the database can still put an
// endpoint of his own there, in clear.
//
// # Stores
//
// [MemoryStore] forgets with the process. Package sqlstore keeps everything in the
// database that the application has, PostgreSQL or SQLite, and publishes in the
// application's own transaction: the event is committed with the change that it
// tells of, or not at all. The contract of a [Store] is plain data, so that other
// databases are within reach, and package storetest checks any implementation.
package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/outhook/webhook/internal/header"
	"github.com/outhook/webhook/internal/identity"
	"github.com/outhook/webhook/internal/seal"
	"github.com/outhook/webhook/internal/tally"
	"github.com/outhook/webhook/internal/wire"
)

// The errors that callers match with errors.Is. An error of this package wraps
// one of them, unless it is the context's, the store's or that of the
// application's own code.
var (
	// ErrNotFound says that no such endpoint, delivery or event exists within
	// the scope of the [View] that was asked. Another tenant's ID answers the
	// same as one that never existed.
	ErrNotFound = errors.New("not found")
	// ErrInvalid says that an argument or a [Config] is wrong; the text names
	// the field and what it should be.
	ErrInvalid = errors.New("invalid")
	// ErrConflict says that the state of things contradicts the call: an event
	// ID or key that was used for other content, an old [Endpoint].Rev, an
	// endpoint ID that is taken, a resend to a disabled endpoint.
	ErrConflict = errors.New("conflict")
	// ErrUncertain says that the outcome of a [Dispatcher.Publish] is unknown,
	// for instance because the connection broke during the commit. Publishing
	// again with [Receipt].EventID is safe: it is a no-op if the first one
	// succeeded.
	ErrUncertain = errors.New("outcome unknown")
	// ErrUnknownEventType says that [Config].Catalog holds no such event type,
	// or none that a pattern matches.
	ErrUnknownEventType = errors.New("unknown event type")
	// ErrBlockedAddress says that [Network] forbids an endpoint's URL or the
	// address that its host name resolved to.
	ErrBlockedAddress = errors.New("address not allowed")
	// ErrNotVerified says that an endpoint's receiver has not agreed to be sent
	// anything: it did not answer, or not as its [Verification] wants it.
	ErrNotVerified = errors.New("not verified")
	// ErrNotSupported says that the store or the signing scheme cannot do what
	// was asked.
	ErrNotSupported = errors.New("not supported")
	// ErrKey says that the stored configuration of an endpoint could not be
	// opened, or sealed, with [Config].Keys: its master key is missing, the key
	// service failed, it was sealed with another key or for another endpoint or
	// tenant, or has been changed. The text says which, to the Dispatcher's own
	// View; that of a tenant says no more than the endpoint's ID, and the log the
	// rest. Nothing was sent or stored.
	ErrKey = errors.New("unusable key")
)

// Endpoint is a registered destination: where the events of a tenant go, which
// of them, and how. The zero values of all fields but URL are useful.
type Endpoint struct {
	// ID identifies the endpoint. Register generates a UUID; the caller's own
	// (1 to 128 visible ASCII characters) is accepted through the unscoped
	// [Dispatcher] only, otherwise [ErrInvalid]. It is unique over all tenants:
	// do not let a customer choose it, whom [ErrConflict] would tell of another's,
	// and do not give that of an unregistered endpoint to another tenant's.
	ID string
	// URL receives the POST requests. HTTPS to a public address, unless
	// [Network] allows more. It must not hold user information or a fragment.
	URL string
	// Description is free text for people, at most 1,024 bytes.
	Description string
	// Tenant is whose the endpoint is: it receives that tenant's events and
	// those of the tenants within it ("acme" receives what "acme/legal" does,
	// and "" only what "" does). Immutable. Through a scoped [View], empty
	// means that view's tenant.
	Tenant string
	// AllTenants makes the endpoint receive the events of every tenant. Tenant
	// is then empty, and only the unscoped [Dispatcher] may set it, otherwise
	// [ErrInvalid], and sees the endpoint and its deliveries.
	AllTenants bool
	// Events are the patterns of the event types that it subscribes to:
	// "document.signed" is that type, "document.*" every type that begins with
	// "document.", "*" every type. None at Register means "*"; none at Update
	// is [ErrInvalid].
	Events []string
	// Profile names one of [Config].Profiles; empty is Config.Profile.
	Profile string
	// Secrets sign the requests, the newest first; an older one also signs
	// until its ExpiresAt. Register generates one where the profile's scheme
	// needs it and none is given. Empty when read back (see [View.Reveal]);
	// nil at Update keeps them, but not for another receiver or profile that
	// would be shown them ([View.Update]).
	Secrets []Secret
	// Auth authenticates the request beside the signature. Its Secret is empty
	// when read back, and kept at Update while empty and Scheme, Name, TokenURL
	// and the scheme, host and port of URL stay the same.
	Auth Auth
	// TLS is for receivers with an authority of their own, or that ask for a
	// client certificate. Only with an https URL.
	TLS EndpointTLS
	// Headers are sent with every request. Names that HTTP, the profile's Signer
	// or Verification, or Auth own are [ErrInvalid], with "_" for "-" as well:
	// some receivers cannot tell the two apart. They are no place for a
	// credential, which belongs in Auth: the values are read back, print with the
	// endpoint and are in the log of attempts, those of Authorization and Cookie
	// excepted, and, with [Config].Keys, all.
	Headers map[string]string
	// RateLimit is how many requests per second are started at the most; 0 is no
	// limit. A tenth of a second's, at least one, may start at once. Where several dispatchers
	// run on one store, in one or in several processes, each gets an equal part,
	// whether it has work for the endpoint or not; one that starts is counted by
	// the others within 10 seconds, one that dies within 30.
	RateLimit float64
	// Concurrency is how many requests are in flight at the most. It is shared
	// out as RateLimit is, rounded up. 0 is [Config].EndpointConcurrency for
	// each dispatcher. No dispatcher gives an endpoint more than half of its
	// [Config].Concurrency.
	Concurrency int
	// Ordered delivers the events of one [Event].OrderingKey strictly one
	// after the other, in the order of Publish: the next starts when the one
	// before it is delivered or given up. Of events that were published in
	// transactions that overlap, the order is that of the commits, as far as a
	// later event was on its way before an earlier one was committed: publish what
	// must keep its order in transactions that follow each other.
	// [ErrNotSupported] with a store that cannot do so.
	Ordered bool
	// CreatedBy says who registered it; empty takes the actor of [WithActor].
	// Immutable.
	CreatedBy string

	// The fields below are read-only: the library sets them, Register and
	// Update ignore them, Rev excepted.

	// Disabled endpoints receive nothing and are not fanned out to; what is
	// pending waits until [View.Enable].
	Disabled bool
	// DisabledReason says why: what [View.Disable] was given, or the library's
	// own words.
	DisabledReason string
	// VerifiedAt is when [View.Verify] last succeeded with this URL and Profile;
	// zero if it never did. Being disabled does not change it.
	VerifiedAt time.Time
	// AllowedRate is how many requests per second the receiver has granted then;
	// 0 is no limit. It is kept to beside RateLimit.
	AllowedRate float64
	// FailingSince is when the first failure since the last success ended; zero
	// while healthy.
	FailingSince time.Time
	// NotBefore is until when the endpoint is left alone, because it kept
	// failing or asked for it (429, Retry-After); zero otherwise.
	NotBefore time.Time
	// CreatedAt and UpdatedAt are on the store's clock.
	CreatedAt, UpdatedAt time.Time
	// Rev counts the versions of the endpoint. Update with an old Rev is
	// [ErrConflict]; with 0 it replaces any.
	Rev int64
	// Unreadable says, in a listing, that the stored configuration could not be
	// read; [View.Endpoint] says why. Of the fields above, URL, Description,
	// Profile, Auth, Headers, RateLimit, Concurrency and CreatedBy are then empty.
	// Enable, Disable and Unregister work; nothing is sent to it.
	Unreadable bool
}

// Auth authenticates a request beside its signature. The zero value is no
// authentication; [BasicAuth], [BearerToken], [APIKey] and [OAuth2] make the
// others.
type Auth struct {
	// Scheme is "", "basic", "bearer", "apikey" or "oauth2".
	Scheme string
	// Name is the user of "basic", the header of "apikey" and the client ID of
	// "oauth2".
	Name string
	// Secret is the password, the token, the key or the client secret.
	Secret Secret
	// The fields below are those of "oauth2" alone.

	// TokenURL is the token endpoint, which must be of the same kind as
	// Endpoint.URL, and is judged by [Network] as that is.
	TokenURL string
	// Scope lists the scopes to ask for, a space between two of them (RFC 6749,
	// section 3.3).
	Scope string
	// Params are further parameters of the token request, encoded as in a URL:
	// "audience=https%3A%2F%2Fapi.example". They are no secret.
	Params string
}

// The values of [Auth].Scheme.
const (
	authBasic  = "basic"
	authBearer = "bearer"
	authAPIKey = "apikey"
	authOAuth2 = "oauth2"
)

// BasicAuth is HTTP basic authentication (RFC 7617). The user must not contain
// a colon.
func BasicAuth(user, password string) Auth {
	return Auth{Scheme: authBasic, Name: user, Secret: Secret{Value: password}}
}

// BearerToken sends "Authorization: Bearer token" (RFC 6750, section 2.1).
func BearerToken(token string) Auth {
	return Auth{Scheme: authBearer, Secret: Secret{Value: token}}
}

// APIKey sends the key in a header of the receiver's choice, such as
// "X-Api-Key".
func APIKey(header, key string) Auth {
	return Auth{Scheme: authAPIKey, Name: header, Secret: Secret{Value: key}}
}

// OAuth2 sends an access token, "Authorization: Bearer token", which is fetched
// from tokenURL by the grant of client credentials (RFC 6749, section 4.4). It
// needs [Config].Authorizer, otherwise Register and Update answer
// [ErrNotSupported].
//
// A token is kept for its endpoint until shortly before it expires, until the
// receiver answers 401, or until the endpoint is changed, and is fetched once
// for all deliveries that wait for it, within the timeout of their attempts. A
// fetch that fails is a failed attempt. [View.SendTest] fetches a token of its own.
func OAuth2(tokenURL, clientID, clientSecret string, scopes ...string) Auth {
	return Auth{Scheme: authOAuth2, Name: clientID, Secret: Secret{Value: clientSecret}, TokenURL: tokenURL, Scope: strings.Join(scopes, " ")}
}

// header returns the name and the value of the header that a authenticates
// with; both are empty when there is none, the value also when it is fetched.
func (a Auth) header() (name, value string) {
	switch a.Scheme {
	case authBasic:
		return "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Name+":"+a.Secret.Value))
	case authBearer:
		return "Authorization", "Bearer " + a.Secret.Value
	case authAPIKey:
		return http.CanonicalHeaderKey(a.Name), a.Secret.Value
	case authOAuth2:
		return "Authorization", ""
	}
	return "", ""
}

// EndpointTLS is how an endpoint's TLS differs from that of [Network]. Its
// connections are shared with no other endpoint. What is malformed is
// [ErrInvalid]; the text repeats nothing of it.
type EndpointTLS struct {
	// RootCAs are the authorities, one of which must have signed the receiver's
	// certificate: PEM, at most 64 KiB. They stand in place of all others. Empty
	// is those of [Network].TLS, or the system's.
	RootCAs string
	// Certificate is shown to a receiver that asks for one, in place of those of
	// [Network].TLS: PEM, the certificate first and then intermediate ones, at
	// most 32 KiB. Empty is none of its own. One that has expired already is
	// refused when it is new; one that expires later goes on being shown, for
	// the receiver to judge.
	Certificate string
	// Key is the private key of Certificate: PEM in PKCS #8, PKCS #1 or SEC 1,
	// not encrypted, at most 16 KiB. It is always empty when read back. At
	// Update, empty keeps the stored one, as long as Certificate is not empty
	// and that is its key.
	Key Secret
	// NotAfter is when Certificate expires; zero without one. Read-only.
	NotAfter time.Time
}

func (t *EndpointTLS) empty() bool {
	return t.RootCAs == "" && t.Certificate == "" && t.Key.Value == ""
}

// check returns all that is wrong with t at an endpoint of that URL, and sets
// NotAfter.
func (t *EndpointTLS) check(url string) error {
	t.NotAfter = time.Time{}
	if t.empty() {
		return nil
	}
	var mistakes []error
	wrong := func(field string, why any) {
		mistakes = append(mistakes, fmt.Errorf("TLS%s: %w: %v", field, ErrInvalid, why))
	}
	if len(url) < 6 || !strings.EqualFold(url[:6], "https:") {
		wrong("", "the URL is not https")
	}
	if t.RootCAs != "" {
		if _, err := identity.Roots(t.RootCAs); err != nil {
			wrong(".RootCAs", err)
		}
	}
	switch {
	case t.Certificate == "" && t.Key.Value != "":
		wrong(".Key", "there is no Certificate")
	case t.Certificate != "":
		leaf, err := identity.Leaf(t.Certificate)
		if err != nil {
			wrong(".Certificate", err)
			break
		}
		t.NotAfter = leaf.NotAfter
		if _, err := identity.Pair(t.Certificate, t.Key.Value); err != nil {
			wrong(".Key", err)
		}
	}
	return errors.Join(mistakes...)
}

// checkNew refuses a certificate that is of no use any more, unless it was there
// before: it must not keep its owner from changing something else.
func (t *EndpointTLS) checkNew(old EndpointTLS) error {
	if t.Certificate == old.Certificate || t.NotAfter.IsZero() || time.Now().Before(t.NotAfter) {
		return nil
	}
	return fmt.Errorf("TLS.Certificate: %w: it has expired on %s", ErrInvalid, t.NotAfter.UTC().Format(time.DateOnly))
}

// apply returns what t changes in a configuration.
func (t *EndpointTLS) apply() (func(*tls.Config), error) {
	var roots *x509.CertPool
	var pair *tls.Certificate
	var err error
	if t.RootCAs != "" {
		if roots, err = identity.Roots(t.RootCAs); err != nil {
			return nil, fmt.Errorf("TLS.RootCAs: %w: %w", ErrInvalid, err)
		}
	}
	if t.Certificate != "" {
		if pair, err = identity.Pair(t.Certificate, t.Key.Value); err != nil {
			return nil, fmt.Errorf("TLS.Certificate: %w: %w", ErrInvalid, err)
		}
	}
	return func(c *tls.Config) {
		if roots != nil {
			c.RootCAs = roots
		}
		if pair != nil {
			// Returned whatever the receiver's list of authorities says, so that it
			// is the receiver who refuses it, with a reason, and not we in silence.
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
		}
	}, nil
}

// State is where a delivery stands.
type State string

// The states of a delivery. It is pending until it ends in one of the others.
const (
	StatePending   State = "pending"   // waits for its next attempt, or is being attempted
	StateDelivered State = "delivered" // answered with 2xx
	StateExhausted State = "exhausted" // given up: the retry policy has no further attempt
	StateCancelled State = "cancelled" // its endpoint was unregistered
)

// Finished reports whether the state is final.
func (s State) Finished() bool { return s != StatePending }

// Origin is why a delivery exists.
type Origin string

// The origins of a delivery.
const (
	OriginPublish Origin = "publish" // fanned out by Publish
	OriginResend  Origin = "resend"  // View.Resend
	OriginReplay  Origin = "replay"  // View.Replay
	OriginTest    Origin = "test"    // View.SendTest
)

// Delivery is one event on its way to one endpoint.
type Delivery struct {
	ID          string // a UUID of its own
	EventID     string // the message ID that the receiver sees
	EventType   string
	EventTenant string // whose event it is
	EndpointID  string
	Tenant      string // whose endpoint it is, "*" for one with AllTenants
	State       State
	Origin      Origin
	Attempts    int    // counted attempts so far; those cut short by a shutdown do not count
	LastStatus  int    // HTTP status of the last attempt, 0 when no response came
	LastError   string // of the last attempt, "" after a success
	// FirstAttempt is when the first counted attempt started; zero before.
	FirstAttempt time.Time
	// NextAttempt is when the delivery falls due: the next attempt or, while it
	// is being attempted, the end of the lease. Zero once finished.
	NextAttempt          time.Time
	CreatedAt, UpdatedAt time.Time // on the store's clock
}

// Attempt is the record of one HTTP request made for a delivery.
type Attempt struct {
	ID         string
	DeliveryID string
	Number     int // 1 for the first; an attempt that did not count shares its number with the next
	StartedAt  time.Time
	Duration   time.Duration
	URL        string // with [Config].Keys, its query is redacted
	StatusCode int    // 0 when no response came
	Error      string // why it failed, "" after a success
	// RequestHeaders are those that were sent. Credentials are redacted: what
	// Auth, SecretHeader or a Signer that this package does not know wrote,
	// Authorization and Cookie, and, with [Config].Keys, all of Endpoint.Headers.
	RequestHeaders  http.Header
	ResponseHeaders http.Header
	// BodySHA256 is the digest of the request body; View.Body builds the body.
	BodySHA256 [32]byte
	// ResponseBody is the beginning of the response body, as it came over the
	// wire; Truncated says that there was more, or that it broke off. Where a
	// receiver repeats one of the endpoint's secrets or credentials that has at
	// least 8 bytes, as it is or escaped for JSON or a URL, that is redacted, here
	// and in ResponseHeaders; with [Config].Keys, what the URL's query and
	// Endpoint.Headers hold too.
	ResponseBody []byte
	Truncated    bool
}

// clone returns a copy that shares nothing.
func (a *Attempt) clone() Attempt {
	c := *a
	c.RequestHeaders, c.ResponseHeaders = a.RequestHeaders.Clone(), a.ResponseHeaders.Clone()
	c.ResponseBody = slices.Clone(a.ResponseBody)
	return c
}

// Scope selects tenants. The zero Scope is the tenant "" alone.
type Scope struct {
	Tenant string
	All    bool
}

// Contains reports whether tenant is in the scope: s.All, or tenant is s.Tenant,
// or, where s.Tenant is not empty, within it ("acme" contains "acme/legal", not
// "acme2").
func (s Scope) Contains(tenant string) bool {
	if s.All || tenant == s.Tenant {
		return true
	}
	return s.Tenant != "" && len(tenant) > len(s.Tenant) && tenant[len(s.Tenant)] == '/' && strings.HasPrefix(tenant, s.Tenant)
}

// Page is one page of a listing.
type Page[T any] struct {
	Items []T
	// Next is the Cursor of the next page, "" on the last one: the place of the
	// last item in the order of the listing. It stays good while items are added
	// or change, and under other fields of the filter. If the item is purged or
	// unregistered meanwhile, none behind it is left out, but those that were
	// created together with it may come once more. It tells its holder the item's
	// CreatedAt and ID and nothing else, and opens nothing to the holder of
	// another [View]: there it names an item that does not exist.
	Next  string
	Total int // of all pages; listings of endpoints only, otherwise 0
}

// EndpointFilter selects endpoints; they are listed oldest first.
type EndpointFilter struct {
	Scope    Scope  // set by the View
	Disabled *bool  // nil: either
	Cursor   string // Page.Next
	Limit    int    // at most 1,000; 0 is 100
}

// Matches reports whether e is selected.
func (f *EndpointFilter) Matches(e *EndpointRecord) bool {
	return f.Scope.Contains(e.Tenant) && (f.Disabled == nil || *f.Disabled == e.Disabled)
}

// DeliveryFilter selects deliveries; they are listed newest first. Zero fields
// select all.
type DeliveryFilter struct {
	Scope      Scope // of the endpoint's tenant; set by the View
	EndpointID string
	EventID    string
	EventType  string    // exact, not a pattern
	States     []State   // any of these
	From, To   time.Time // of CreatedAt, From inclusive, To exclusive; in the years 0 to 9999
	Cursor     string    // Page.Next
	Limit      int       // at most 1,000; 0 is 100
}

// Matches reports whether d is selected.
func (f *DeliveryFilter) Matches(d *Delivery) bool {
	return (f.EndpointID == "" || f.EndpointID == d.EndpointID) &&
		(f.EventID == "" || f.EventID == d.EventID) &&
		(f.EventType == "" || f.EventType == d.EventType) &&
		(len(f.States) == 0 || slices.Contains(f.States, d.State)) &&
		within(d.CreatedAt, f.From, f.To) && f.Scope.Contains(d.Tenant)
}

// EventFilter selects events, those of test sends excepted; they are listed
// oldest first. Zero fields select all.
type EventFilter struct {
	Scope    Scope     // of the event's tenant
	Type     string    // exact, not a pattern
	From, To time.Time // of CreatedAt, From inclusive, To exclusive
	Cursor   string    // Page.Next
	Limit    int       // at most 1,000; 0 is 100
}

// Matches reports whether e is selected.
func (f *EventFilter) Matches(e *EventRecord) bool {
	return !e.Test && (f.Type == "" || f.Type == e.Type) &&
		within(e.CreatedAt, f.From, f.To) && f.Scope.Contains(e.Tenant)
}

func within(t, from, to time.Time) bool {
	return (from.IsZero() || !t.Before(from)) && (to.IsZero() || t.Before(to))
}

// The default and the greatest Limit of a listing.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// View manages and inspects what lies within a scope: of one tenant and the
// tenants within it ([Dispatcher].Tenant), or of all (the Dispatcher's own).
//
// Whatever lies outside does not exist: by its ID it is [ErrNotFound], with the
// text and after the calls of the [Store] that an ID has which never was; as the
// EndpointID, EventID or Cursor of a filter it selects nothing; no listing, Total
// or count has it. What all views share is the [Config], of which EventTypes
// shows the Catalog. An error that matches none of this package's is the store's
// own and may quote the database: show it to the operator, not to a tenant.
//
// All methods are safe for concurrent use.
type View struct {
	d     *Dispatcher
	scope Scope
	err   error // the scope is malformed
}

// Tenant returns the view of a tenant: of its own endpoints and deliveries and
// those of the tenants within it. The tenant "" has its own alone, which is
// everything in an application with a single tenant: where there are several,
// make sure that a path that comes from a request is not empty.
//
// Paths are compared byte by byte: "acme" is neither "ACME" nor "acme2". With a
// path that [Event].Tenant could not be ("*", "..", "acme/", "acme//legal",
// "acme%", anything beyond ASCII or 256 bytes) every method answers [ErrInvalid],
// but for EventTypes.
func (d *Dispatcher) Tenant(path string) *View {
	return &View{d: d, scope: Scope{Tenant: path}, err: checkTenant(path)}
}

// EventTypes returns [Config].Catalog.
func (v *View) EventTypes() []EventType { return v.d.catalog.types() }

// Profiles returns the names that [Endpoint].Profile may have: "" for
// [Config].Profile, and those of [Config].Profiles in their order.
func (v *View) Profiles() []string { return slices.Sorted(maps.Keys(v.d.profiles)) }

// Profile returns the profile that an endpoint with that name uses, its defaults
// filled in, and whether there is one. It is for showing: what a page or a
// handbook says of a scheme and of headers.
func (v *View) Profile(name string) (Profile, bool) {
	p, ok := v.d.profiles[name]
	if !ok {
		return Profile{}, false
	}
	return *p, true
}

// Capabilities is what endpoints can have with a dispatcher's [Config] and its
// store.
type Capabilities struct {
	Ordered bool // Endpoint.Ordered: the store is an [OrderedQueue]
	OAuth2  bool // Auth of [OAuth2]: there is a Config.Authorizer
}

// Capabilities tells what Register and Update would answer with
// [ErrNotSupported], so that a form need not offer it.
func (v *View) Capabilities() Capabilities {
	_, ordered := capability[OrderedQueue](v.d.store)
	return Capabilities{Ordered: ordered, OAuth2: v.d.config.Authorizer != nil}
}

// Register adds an endpoint and returns it as stored, with its secrets, this
// once. It makes no request: an endpoint whose profile has a [Verification] is
// disabled until [View.Verify]. Errors are [ErrInvalid] with every mistake named,
// [ErrBlockedAddress], [ErrUnknownEventType] for a pattern, [ErrConflict] for an
// ID that exists, and [ErrNotSupported].
func (v *View) Register(ctx context.Context, e Endpoint) (Endpoint, error) {
	registered, err := v.register(ctx, e)
	if err != nil {
		return Endpoint{}, fmt.Errorf("register: %w", err)
	}
	v.d.observe(ctx, EndpointRegistered{EndpointID: registered.ID, Tenant: registered.owner(), Actor: actorOf(ctx)})
	return registered, nil
}

func (v *View) register(ctx context.Context, e Endpoint) (Endpoint, error) {
	if v.err != nil {
		return Endpoint{}, v.err
	}
	var mistakes []error
	if !v.scope.All && e.ID != "" {
		mistakes = append(mistakes, fmt.Errorf("ID: %w: only an operator may choose it", ErrInvalid))
	}
	if e.Tenant == "" {
		e.Tenant = v.scope.Tenant
	}
	mistakes = append(mistakes, v.checkReach(e, e.AllTenants))
	setDefault(&e.ID, uuid.NewString())
	setDefault(&e.CreatedBy, actorOf(ctx))
	if len(e.Events) == 0 {
		e.Events = []string{"*"}
	}
	if p := v.d.profiles[e.Profile]; p != nil && len(e.Secrets) == 0 {
		if secret := generateSecret(p.Signer); secret.Value != "" {
			e.Secrets = []Secret{secret}
		}
	}
	e.Rev, e.Disabled, e.DisabledReason, e.VerifiedAt, e.AllowedRate = 0, false, "", time.Time{}, 0
	if p := v.d.profiles[e.Profile]; p != nil && p.Verification != nil {
		e.Disabled, e.DisabledReason = true, reasonUnverified
	}
	mistakes = append(mistakes, v.d.checkEndpoint(&e), e.TLS.checkNew(EndpointTLS{}))
	if err := errors.Join(mistakes...); err != nil {
		return Endpoint{}, err
	}
	registered, err := v.put(ctx, e)
	registered.TLS.Key = Secret{} // which the caller has
	return registered, err
}

// Update replaces an endpoint. Tenant, CreatedBy and the read-only fields stay
// as they are; nil Secrets, an empty Auth.Secret and an empty TLS.Key keep the
// stored ones. With Rev 0 it replaces any version, otherwise an old one is [ErrConflict]. Other
// errors are those of Register.
//
// An Auth.Secret is kept for the scheme, host and port of the URL that it was given
// for, so that who may call Update but does not know it cannot have it sent to
// himself: with another of these it must be given anew, or is [ErrInvalid]. So must
// Secrets with another of these, or another Profile, where the signing scheme of the
// (new) profile shows its receiver the secret: where it is a [SecretHeader], alone or
// among [Signers], or a [Signer] that is not of this package. [StandardWebhooks] and
// [HMAC] sign without showing it, and keep it. A TLS.Key, which never leaves, is kept.
//
// With another URL or Profile it is no longer verified: if its profile has a
// [Verification], it is disabled until [View.Verify]. One that was disabled stays
// so, whatever its new profile has.
func (v *View) Update(ctx context.Context, e Endpoint) (Endpoint, error) {
	unverified := false
	updated, err := v.change(ctx, e.ID, e.Rev, func(old Endpoint) (Endpoint, error) {
		if e.Tenant != "" && e.Tenant != old.Tenant {
			return e, fmt.Errorf("Tenant: %w: it is %q and cannot be changed", ErrInvalid, old.Tenant)
		}
		if e.AllTenants != old.AllTenants && !v.scope.All {
			return e, fmt.Errorf("AllTenants: %w: only an operator may change it", ErrInvalid)
		}
		if len(e.Events) == 0 {
			return e, fmt.Errorf(`Events: %w: none; "*" subscribes to all`, ErrInvalid)
		}
		next := e
		next.Tenant, next.CreatedBy, next.Rev = old.Tenant, old.CreatedBy, old.Rev
		next.Disabled, next.DisabledReason = old.Disabled, old.DisabledReason
		next.VerifiedAt, next.AllowedRate = old.VerifiedAt, old.AllowedRate
		unverified = false
		if next.URL != old.URL || next.Profile != old.Profile {
			next.VerifiedAt, next.AllowedRate = time.Time{}, 0
			if p := v.d.profiles[next.Profile]; p != nil && p.Verification != nil && !next.Disabled {
				next.Disabled, next.DisabledReason, unverified = true, reasonUnverified, true
			}
		}
		var elsewhere error
		if next.Secrets == nil {
			next.Secrets, elsewhere = old.Secrets, v.d.checkKept(&old, &next)
		}
		// The secret goes to no other token endpoint than the one it was given for.
		if a := &next.Auth; a.Secret.Value == "" && a.Scheme == old.Auth.Scheme && a.Name == old.Auth.Name && a.TokenURL == old.Auth.TokenURL {
			if a.Secret = old.Auth.Secret; a.Secret.Value != "" && originOf(next.URL) != originOf(old.URL) {
				elsewhere = errors.Join(elsewhere, fmt.Errorf("Auth.Secret: %w: the stored one was given for another scheme, host or port of URL; give it anew if it is to go to this one", ErrInvalid))
			}
		}
		if t := &next.TLS; t.Key.Value == "" && t.Certificate != "" {
			t.Key = old.TLS.Key
		}
		return next, errors.Join(v.checkReach(next, false), v.d.checkEndpoint(&next), elsewhere, next.TLS.checkNew(old.TLS))
	})
	if err != nil {
		return Endpoint{}, fmt.Errorf("update endpoint %q: %w", e.ID, err)
	}
	v.d.observe(ctx, EndpointUpdated{EndpointID: updated.ID, Tenant: updated.owner(), Actor: actorOf(ctx)})
	if unverified {
		v.d.observe(ctx, EndpointDisabled{EndpointID: updated.ID, Tenant: updated.owner(), Reason: reasonUnverified, Automatic: true})
	}
	return updated.withoutSecrets(), nil
}

// checkKept refuses that stored secrets, which are the same in both, go out as they
// are to somebody else, or by another profile.
func (d *Dispatcher) checkKept(old, next *Endpoint) error {
	p := d.profiles[next.Profile]
	if p == nil || len(old.Secrets) == 0 || !revealsSecrets(p.Signer) {
		return nil
	}
	other := "profile"
	if next.Profile == old.Profile {
		if originOf(next.URL) == originOf(old.URL) {
			return nil
		}
		other = "scheme, host or port of URL"
	}
	return fmt.Errorf("Secrets: %w: the stored ones were given for another %s, and this profile shows its receiver the secret; give them anew, or rotate them and give the new one", ErrInvalid, other)
}

// originOf returns scheme, host and port of a URL, in one spelling: that of RFC
// 6454, section 4. What is no URL is its own.
func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// Unregister removes an endpoint and cancels what is pending for it. Its past
// deliveries and attempts stay in the log.
func (v *View) Unregister(ctx context.Context, id string) error {
	record, err := v.record(ctx, id)
	if err == nil {
		err = v.d.store.DeleteEndpoint(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("unregister endpoint %q: %w", id, err)
	}
	v.d.observe(ctx, EndpointUnregistered{EndpointID: id, Tenant: record.Tenant, Actor: actorOf(ctx)})
	return nil
}

// Endpoint returns an endpoint, without its secrets.
func (v *View) Endpoint(ctx context.Context, id string) (Endpoint, error) {
	e, err := v.endpoint(ctx, id)
	if err != nil {
		return Endpoint{}, fmt.Errorf("endpoint %q: %w", id, err)
	}
	return e.withoutSecrets(), nil
}

// Endpoints lists endpoints, without their secrets. One whose configuration
// cannot be read, with the keys of this process or at all, is listed all the same,
// as [Endpoint].Unreadable, and makes no error. Where [Config].Keys is a service,
// each endpoint listed costs one Unwrap, several at a time; what takes longer than
// 5 seconds in all is Unreadable.
func (v *View) Endpoints(ctx context.Context, f EndpointFilter) (Page[Endpoint], error) {
	f.Scope = v.scope
	var page Page[Endpoint]
	limit, err := v.checkLimit(f.Limit)
	if err != nil {
		return page, fmt.Errorf("endpoints: %w", err)
	}
	f.Limit = limit
	records, err := v.d.store.ListEndpoints(ctx, f)
	if err != nil {
		return page, fmt.Errorf("endpoints: %w", err)
	}
	if page.Items = v.d.openAll(ctx, records.Items); ctx.Err() != nil {
		return Page[Endpoint]{}, fmt.Errorf("endpoints: %w", ctx.Err())
	}
	page.Next, page.Total = records.Next, records.Total
	return page, nil
}

// Enable lets a disabled endpoint receive again; what was pending is delivered.
// What it missed meanwhile is for [View.Replay]. It is a no-op for an enabled
// one, and [ErrConflict] for one that has to be verified first.
func (v *View) Enable(ctx context.Context, id string) error {
	r, err := v.setDisabled(ctx, id, false, "")
	if err == errUnchanged {
		return nil
	}
	if err != nil {
		return fmt.Errorf("enable endpoint %q: %w", id, err)
	}
	v.d.rouse()
	v.d.observe(ctx, EndpointEnabled{EndpointID: id, Tenant: r.Tenant, Actor: actorOf(ctx)})
	return nil
}

// Disable stops fan-out and delivery to an endpoint until Enable. It is a no-op
// for one that is disabled for the same reason.
func (v *View) Disable(ctx context.Context, id, reason string) error {
	r, err := v.setDisabled(ctx, id, true, reason)
	if err == errUnchanged {
		return nil
	}
	if err != nil {
		return fmt.Errorf("disable endpoint %q: %w", id, err)
	}
	v.d.observe(ctx, EndpointDisabled{EndpointID: id, Tenant: r.Tenant, Reason: reason, Actor: actorOf(ctx)})
	return nil
}

// setDisabled leaves the configuration as it is stored: it must work where that
// cannot be opened.
func (v *View) setDisabled(ctx context.Context, id string, disabled bool, reason string) (EndpointRecord, error) {
	return v.changeRecord(ctx, id, 0, func(r *EndpointRecord) error {
		if r.Disabled == disabled && r.DisabledReason == reason {
			return errUnchanged
		}
		if !disabled {
			if err := v.d.checkVerified(ctx, r); err != nil {
				return v.veil(err)
			}
		}
		r.Disabled, r.DisabledReason = disabled, reason
		return checkText("reason", reason)
	})
}

// checkVerified returns an error if the endpoint waits for Verify. One whose
// configuration cannot be opened does not, where no profile asks for that.
func (d *Dispatcher) checkVerified(ctx context.Context, r *EndpointRecord) error {
	e, err := d.open(ctx, r)
	if err == nil && d.unverified(&e) {
		return errUnverified
	}
	for _, p := range d.profiles {
		if p.Verification != nil {
			return err
		}
	}
	return nil
}

// Verify asks the endpoint's receiver for its consent, as its profile's
// [Verification] has it, and enables the endpoint if that is what it waited for;
// one that is disabled for another reason stays so. What it missed meanwhile is
// for [View.Replay]. Once verified, it can be verified again, for instance to
// learn of another rate: whatever comes of that, it remains verified.
//
// It makes one request, within the profile's Timeout, guarded as those of
// deliveries are; how often it may be called is for the application to limit.
// Without the receiver's consent it is [ErrNotVerified]; the text says what was
// wrong with the answer, and of a request without one no more than an [Attempt]
// does. It is ErrNotSupported if the profile has no Verification, and ErrConflict
// if URL or Profile were changed meanwhile.
func (v *View) Verify(ctx context.Context, id string) error {
	e, enabled, err := v.verify(ctx, id)
	if err != nil {
		return fmt.Errorf("verify endpoint %q: %w", id, err)
	}
	v.d.log.Info("an endpoint is verified", zap.String("endpoint", id), zap.Float64("rate", e.AllowedRate))
	v.d.observe(ctx, EndpointVerified{EndpointID: id, Tenant: e.owner(), Actor: actorOf(ctx)})
	if enabled {
		v.d.rouse()
		v.d.observe(ctx, EndpointEnabled{EndpointID: id, Tenant: e.owner(), Actor: actorOf(ctx)})
	}
	return nil
}

func (v *View) verify(ctx context.Context, id string) (e Endpoint, enabled bool, err error) {
	record, err := v.record(ctx, id)
	if err != nil {
		return e, false, err
	}
	t, err := v.d.newTarget(ctx, &record)
	if err != nil {
		return e, false, v.veil(err)
	}
	if t.profile.Verification == nil {
		return e, false, fmt.Errorf("%w: its profile has no Verification", ErrNotSupported)
	}
	defer t.close()
	if !v.d.running.Load() {
		defer v.d.closeIdle()
	}
	rate, err := v.d.askConsent(ctx, t)
	if err != nil {
		return e, false, err
	}
	e, err = v.change(ctx, id, 0, func(e Endpoint) (Endpoint, error) {
		if e.URL != t.endpoint.URL || e.Profile != t.endpoint.Profile {
			return e, fmt.Errorf("%w: it was changed meanwhile", ErrConflict)
		}
		e.VerifiedAt, e.AllowedRate = time.Now().UTC().Truncate(time.Microsecond), rate
		if enabled = e.Disabled && e.DisabledReason == reasonUnverified; enabled {
			e.Disabled, e.DisabledReason = false, ""
		}
		return e, nil
	})
	return e, enabled, err
}

// reasonUnverified is the DisabledReason of an endpoint that waits for Verify.
const reasonUnverified = "not verified yet"

var errUnverified = fmt.Errorf("%w: it is not verified; Verify comes first", ErrConflict)

// unverified reports whether an endpoint must not receive anything until Verify.
func (d *Dispatcher) unverified(e *Endpoint) bool {
	if !e.Disabled || !e.VerifiedAt.IsZero() {
		return false
	}
	if p := d.profiles[e.Profile]; p != nil {
		return p.Verification != nil
	}
	return e.DisabledReason == reasonUnverified // of another process's profile
}

// errUnchanged makes an edit leave the endpoint as it is.
var errUnchanged = errors.New("unchanged")

// Reveal returns the signing secrets of an endpoint that have not expired, the
// newest first. A notice records it.
func (v *View) Reveal(ctx context.Context, id string) ([]Secret, error) {
	e, err := v.endpoint(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("reveal endpoint %q: %w", id, err)
	}
	v.d.observe(ctx, SecretsRevealed{EndpointID: id, Tenant: e.owner(), Actor: actorOf(ctx)})
	return validSecrets(e.Secrets, time.Now()), nil
}

// RotateSecret makes next the endpoint's signing secret and returns it; with a
// zero next, one is generated. For the duration of overlap the former secrets
// sign as well; with 0 they stop at once. An overlap is [ErrNotSupported] where
// the signing scheme carries one value only.
func (v *View) RotateSecret(ctx context.Context, id string, next Secret, overlap time.Duration) (Secret, error) {
	var e Endpoint
	err := v.checkOverlap(overlap)
	if err == nil {
		e, err = v.change(ctx, id, 0, func(e Endpoint) (Endpoint, error) {
			p := v.d.profiles[e.Profile]
			if p == nil {
				return e, fmt.Errorf("%w: this process has no profile %q", ErrInvalid, e.Profile)
			}
			if overlap > 0 && singleSecret(p.Signer) {
				return e, fmt.Errorf("overlap: %w: the signing scheme carries one secret only", ErrNotSupported)
			}
			if next.Value == "" {
				if next = generateSecret(p.Signer); next.Value == "" {
					next = NewSecret()
				}
			}
			secrets := []Secret{next}
			if overlap > 0 {
				now := time.Now().UTC().Truncate(time.Microsecond)
				for _, s := range validSecrets(e.Secrets, now) {
					if s.Value == next.Value {
						continue
					}
					if end := now.Add(overlap); s.ExpiresAt.IsZero() || end.Before(s.ExpiresAt) {
						s.ExpiresAt = end
					}
					secrets = append(secrets, s)
				}
			}
			e.Secrets = secrets
			return e, checkSecrets(p.Signer, secrets)
		})
	}
	if err != nil {
		return Secret{}, fmt.Errorf("rotate secret of endpoint %q: %w", id, err)
	}
	v.d.observe(ctx, SecretRotated{EndpointID: id, Tenant: e.owner(), Actor: actorOf(ctx), Overlap: overlap})
	return next, nil
}

func (v *View) checkOverlap(overlap time.Duration) error {
	if overlap < 0 {
		return fmt.Errorf("overlap: %w: %v is negative", ErrInvalid, overlap)
	}
	return v.err
}

// SendTest sends an event of that type, with the catalogue's example as its
// data, to one endpoint, whether it subscribes to it or not and enabled or not,
// and returns the one attempt. The error is nil also when the attempt failed:
// see Attempt.Error. The delivery is logged with OriginTest; it is not retried
// and leaves the endpoint's health alone. An endpoint that has to be verified
// first is [ErrConflict].
func (v *View) SendTest(ctx context.Context, endpointID, eventType string) (Attempt, error) {
	attempt, c, err := v.sendTest(ctx, endpointID, eventType)
	if err != nil {
		return attempt, fmt.Errorf("send test to endpoint %q: %w", endpointID, err)
	}
	v.d.observe(ctx, TestSent{Delivery: refOf(&c.Delivery), Actor: actorOf(ctx)})
	return attempt, nil
}

func (v *View) sendTest(ctx context.Context, endpointID, eventType string) (Attempt, Claimed, error) {
	record, err := v.record(ctx, endpointID)
	if err != nil {
		return Attempt{}, Claimed{}, err
	}
	t, err := v.d.newTarget(ctx, &record)
	if err != nil {
		return Attempt{}, Claimed{}, v.veil(err)
	}
	if v.d.unverified(&t.endpoint) {
		return Attempt{}, Claimed{}, errUnverified
	}
	data, err := v.d.catalog.example(eventType)
	if err != nil {
		return Attempt{}, Claimed{}, err
	}
	p, err := newPublication(Event{Type: eventType, Tenant: t.endpoint.Tenant, Data: data})
	if err != nil {
		return Attempt{}, Claimed{}, err
	}
	p.Event.Test = true
	p.Endpoints, p.Origin, p.Lease = []string{endpointID}, OriginTest, v.d.config.Lease
	results, err := v.d.store.Enqueue(ctx, []Publication{p})
	if err != nil {
		return Attempt{}, Claimed{}, err
	}
	if len(results[0].Created) == 0 {
		return Attempt{}, Claimed{}, ErrNotFound
	}
	c := results[0].Created[0]
	r := v.d.attempt(ctx, t, &c)
	defer t.close()
	if !v.d.running.Load() {
		defer v.d.closeIdle()
	}
	// The outcome is stored even if the caller has gone meanwhile.
	storing, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	_, err = v.d.store.Settle(storing, []Settlement{v.d.outcome(storing, t, &c, r)})
	attempt := r.attempt.clone() // the store keeps the other
	switch {
	case err != nil:
		return attempt, c, fmt.Errorf("log the attempt: %w", err)
	case r.cut:
		return attempt, c, r.err
	}
	return attempt, c, nil
}

// Resend delivers the event of a delivery to the same endpoint once more, at
// once and with the whole retry policy ahead of it, whatever became of the
// first. It returns the new delivery. The message ID stays the same. A disabled
// endpoint is [ErrConflict].
func (v *View) Resend(ctx context.Context, deliveryID string) (Delivery, error) {
	old, err := v.delivery(ctx, deliveryID)
	if err != nil {
		return Delivery{}, fmt.Errorf("resend delivery %q: %w", deliveryID, err)
	}
	created, err := v.again(ctx, OriginResend, false, old)
	if err == nil && len(created) == 0 {
		err = fmt.Errorf("its endpoint: %w", ErrNotFound)
	}
	if err != nil {
		return Delivery{}, fmt.Errorf("resend delivery %q: %w", deliveryID, err)
	}
	v.d.observe(ctx, DeliveryResent{Delivery: refOf(&created[0]), DeliveryID: deliveryID, Actor: actorOf(ctx)})
	return created[0], nil
}

// again enqueues the events of deliveries anew, each for its own endpoint.
func (v *View) again(ctx context.Context, origin Origin, missing bool, ds ...Delivery) ([]Delivery, error) {
	var ps []Publication
	enabled := make(map[string]bool)
	for _, d := range ds {
		if !enabled[d.EndpointID] {
			record, err := v.record(ctx, d.EndpointID)
			if err != nil {
				return nil, fmt.Errorf("its endpoint: %w", err)
			}
			if record.Tenant != d.Tenant { // another's by now: the ID was used again
				return nil, fmt.Errorf("its endpoint: %w", ErrNotFound)
			}
			if record.Disabled {
				if e, err := v.d.open(ctx, &record); err == nil && v.d.unverified(&e) {
					return nil, fmt.Errorf("its endpoint: %w", errUnverified)
				}
				return nil, fmt.Errorf("%w: its endpoint is disabled; enable it first", ErrConflict)
			}
			enabled[d.EndpointID] = true
		}
		event, err := v.d.store.GetEvent(ctx, d.EventID)
		if err != nil {
			return nil, err
		}
		ps = append(ps, Publication{Event: event, Endpoints: []string{d.EndpointID}, Missing: missing, Origin: origin})
	}
	results, err := v.d.store.Enqueue(ctx, ps)
	if err != nil {
		return nil, err
	}
	var created []Delivery
	for _, r := range results {
		for _, c := range r.Created {
			created = append(created, c.Delivery)
		}
	}
	v.d.rouse()
	return created, nil
}

// ReplayFilter selects what [View.Replay] delivers again. Zero fields select
// all.
type ReplayFilter struct {
	EndpointID string    // required with Missed
	EventType  string    // exact, not a pattern
	From, To   time.Time // when the delivery (with Missed: the event) was created, From inclusive, To exclusive; in the years 0 to 9999
	// Missed selects every event that the endpoint's patterns match and that is
	// neither pending nor delivered there: what was published while it was
	// disabled or not yet registered, and what failed. Otherwise only exhausted
	// deliveries are selected.
	Missed bool
	DryRun bool   // count only
	Cursor string // ReplayResult.Next of a call with the same Missed
	Limit  int    // how many deliveries or events are looked at in one call, at most 1,000; 0 is 100
}

// ReplayResult is what a call of [View.Replay] did.
type ReplayResult struct {
	Matched int    // what is to be delivered again, of those looked at
	Created int    // deliveries created; 0 in a dry run
	Next    string // the Cursor of the next call, "" when all was looked at
}

// Replay delivers again what failed, or all that an endpoint missed. It looks at
// one page at a time: call it with Next until that is empty. Repeating it is
// safe: an event that is pending or delivered at an endpoint by now is passed
// over. A disabled endpoint is [ErrConflict], except in a dry run; where the
// filter names none, disabled ones are passed over.
func (v *View) Replay(ctx context.Context, f ReplayFilter) (ReplayResult, error) {
	result, tenant, err := v.replay(ctx, f)
	if err != nil {
		return result, fmt.Errorf("replay: %w", err)
	}
	if !f.DryRun {
		v.d.observe(ctx, DeliveriesReplayed{EndpointID: f.EndpointID, Tenant: tenant, Actor: actorOf(ctx), Created: result.Created})
	}
	return result, nil
}

// replay also returns whose endpoints it was for.
func (v *View) replay(ctx context.Context, f ReplayFilter) (result ReplayResult, tenant string, err error) {
	if f.Limit, err = v.checkLimit(f.Limit); err != nil {
		return result, "", err
	}
	if err := checkPeriod(f.From, f.To); err != nil {
		return result, "", err
	}
	if f.Missed && f.EndpointID == "" {
		return result, "", fmt.Errorf("EndpointID: %w: Missed needs one", ErrInvalid)
	}
	record := EndpointRecord{Tenant: v.scope.Tenant}
	if v.scope.All {
		record.Tenant = allTenants
	}
	if f.EndpointID != "" {
		if record, err = v.record(ctx, f.EndpointID); err != nil {
			return result, "", fmt.Errorf("endpoint %q: %w", f.EndpointID, err)
		}
	}
	var candidates []Delivery
	if f.Missed {
		candidates, result.Next, err = v.missed(ctx, f, record)
	} else {
		candidates, result.Next, err = v.failed(ctx, f)
	}
	if err != nil {
		return result, "", err
	}
	var open []Delivery
	seen := make(map[[2]string]bool)
	for _, c := range candidates {
		key := [2]string{c.EventID, c.EndpointID}
		if seen[key] {
			continue
		}
		seen[key] = true
		reached, err := v.d.store.ListDeliveries(ctx, DeliveryFilter{
			Scope: Scope{All: true}, EndpointID: c.EndpointID, EventID: c.EventID,
			States: []State{StatePending, StateDelivered}, Limit: 1,
		})
		if err != nil {
			return result, "", err
		}
		if len(reached.Items) == 0 {
			open = append(open, c)
		}
	}
	result.Matched = len(open)
	if f.DryRun || len(open) == 0 {
		return result, record.Tenant, nil
	}
	created, err := v.again(ctx, OriginReplay, true, open...)
	result.Created = len(created)
	return result, record.Tenant, err
}

// failed returns a page of exhausted deliveries, the oldest first, of endpoints
// that can receive them.
func (v *View) failed(ctx context.Context, f ReplayFilter) ([]Delivery, string, error) {
	page, err := v.d.store.ListDeliveries(ctx, DeliveryFilter{
		Scope: v.scope, EndpointID: f.EndpointID, EventType: f.EventType, States: []State{StateExhausted},
		From: f.From, To: f.To, Cursor: f.Cursor, Limit: f.Limit,
	})
	if err != nil {
		return nil, "", err
	}
	without := make(map[string]bool)
	ds := slices.DeleteFunc(page.Items, func(d Delivery) bool {
		if _, asked := without[d.EndpointID]; !asked {
			e, err := v.d.store.GetEndpoint(ctx, d.EndpointID)
			without[d.EndpointID] = errors.Is(err, ErrNotFound) || e.Tenant != d.Tenant || e.Disabled && f.EndpointID == ""
		}
		return without[d.EndpointID] || d.Origin == OriginTest
	})
	slices.Reverse(ds)
	return ds, page.Next, nil
}

// missed returns, for a page of events that the endpoint should have received,
// what their deliveries would be.
func (v *View) missed(ctx context.Context, f ReplayFilter, record EndpointRecord) ([]Delivery, string, error) {
	page, err := v.d.store.ListEvents(ctx, EventFilter{
		Scope: Scope{Tenant: record.Tenant, All: record.AllTenants}, Type: f.EventType,
		From: f.From, To: f.To, Cursor: f.Cursor, Limit: f.Limit,
	})
	if err != nil {
		return nil, "", err
	}
	var ds []Delivery
	for _, e := range page.Items {
		if matches(record.Patterns, e.Type) {
			ds = append(ds, Delivery{EventID: e.ID, EndpointID: record.ID, Tenant: record.Tenant})
		}
	}
	return ds, page.Next, nil
}

// Deliveries lists deliveries, newest first.
func (v *View) Deliveries(ctx context.Context, f DeliveryFilter) (Page[Delivery], error) {
	f.Scope = v.scope
	var page Page[Delivery]
	limit, err := v.checkLimit(f.Limit)
	if err == nil {
		err = checkPeriod(f.From, f.To)
	}
	if err == nil {
		f.Limit = limit
		page, err = v.d.store.ListDeliveries(ctx, f)
	}
	if err != nil {
		return page, fmt.Errorf("deliveries: %w", err)
	}
	return page, nil
}

// Delivery returns a delivery.
func (v *View) Delivery(ctx context.Context, id string) (Delivery, error) {
	d, err := v.delivery(ctx, id)
	if err != nil {
		return d, fmt.Errorf("delivery %q: %w", id, err)
	}
	return d, nil
}

// Attempts returns the attempts of a delivery, the first one first.
func (v *View) Attempts(ctx context.Context, deliveryID string) ([]Attempt, error) {
	var attempts []Attempt
	_, err := v.delivery(ctx, deliveryID)
	if err == nil {
		attempts, err = v.d.store.ListAttempts(ctx, deliveryID)
	}
	if err != nil {
		return nil, fmt.Errorf("attempts of delivery %q: %w", deliveryID, err)
	}
	return attempts, nil
}

// StatisticsFilter selects what [View.Statistics] summarizes.
type StatisticsFilter struct {
	Scope     Scope     // of the endpoint's tenant; set by the View
	Endpoints []string  // IDs, all different; one that does not exist has nothing but zeros
	From, To  time.Time // of CreatedAt, From inclusive, To exclusive, to the microsecond. To defaults to now, From to 24 hours before To
	Buckets   int       // equal parts of that time, each with its own Statistics. Defaults to 1; Endpoints times Buckets is at most 1,000
}

// Statistics summarizes the deliveries to an endpoint that were created in a
// time; those of test sends are not counted.
type Statistics struct {
	EndpointID string
	From, To   time.Time // of CreatedAt, From inclusive, To exclusive
	// Created is how many there are: the sum of the next four, which say what has
	// become of them by now.
	Created, Delivered, Exhausted, Cancelled, Pending int
	// Retried is how many of the finished ones took more than one attempt.
	Retried int
	// Median and P95 are of the time between the creation of a delivery and its
	// success, of the delivered ones; zero where there are none.
	Median, P95 time.Duration
	// Estimated says that there are too many to count: the numbers are
	// extrapolated from a sample, and Pending may be more.
	Estimated bool
}

// Statistics summarizes the deliveries to endpoints, in the order of f.Endpoints
// and of time: Buckets of each. With the stores of sqlstore, it costs about the same
// however many there are: some hundred in each part are counted, fewer where there
// are many parts, and of more a sample is. [MemoryStore] counts all, for which it
// reads whatever was created since f.From, of all endpoints and tenants. A store that
// is no [Summarizer] is asked for a listing of each part. A wrong filter is [ErrInvalid].
func (v *View) Statistics(ctx context.Context, f StatisticsFilter) ([]Statistics, error) {
	f.Scope = v.scope
	all, err := v.statistics(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("statistics: %w", err)
	}
	return all, nil
}

func (v *View) statistics(ctx context.Context, f StatisticsFilter) ([]Statistics, error) {
	if v.err != nil {
		return nil, v.err
	}
	if err := f.fill(time.Now()); err != nil {
		return nil, err
	}
	if s, ok := capability[Summarizer](v.d.store); ok {
		return s.Summarize(ctx, f)
	}
	return v.listed(ctx, f)
}

const maxStatistics = 1000

// fill sets the defaults and checks the filter.
func (f *StatisticsFilter) fill(now time.Time) error {
	setDefault(&f.To, now)
	setDefault(&f.From, f.To.Add(-24*time.Hour))
	setDefault(&f.Buckets, 1)
	f.From, f.To = f.From.UTC().Truncate(time.Microsecond), f.To.UTC().Truncate(time.Microsecond)
	if err := checkPeriod(f.From, f.To); err != nil {
		return err
	}
	if span := f.To.Sub(f.From); span < time.Duration(max(f.Buckets, 1))*time.Microsecond || span == math.MaxInt64 {
		return fmt.Errorf("From: %w: from then until To are no %d parts of a time", ErrInvalid, f.Buckets)
	}
	if f.Buckets < 0 || f.Buckets > maxStatistics || len(f.Endpoints)*f.Buckets > maxStatistics {
		return fmt.Errorf("Buckets: %w: %d of %d endpoints are not between 0 and %d", ErrInvalid, f.Buckets, len(f.Endpoints), maxStatistics)
	}
	if ids := slices.Compact(slices.Sorted(slices.Values(f.Endpoints))); len(ids) < len(f.Endpoints) {
		return fmt.Errorf("Endpoints: %w: one comes twice", ErrInvalid)
	}
	return nil
}

// Parts returns what [View.Statistics] does of a filter whose fields are all set,
// with nothing counted yet.
func (f *StatisticsFilter) Parts() []Statistics {
	part := f.part()
	all := make([]Statistics, 0, len(f.Endpoints)*f.Buckets)
	for _, id := range f.Endpoints {
		for n := range f.Buckets {
			s := Statistics{EndpointID: id, From: f.From.Add(time.Duration(n) * part), To: f.From.Add(time.Duration(n+1) * part)}
			if n == f.Buckets-1 {
				s.To = f.To
			}
			all = append(all, s)
		}
	}
	return all
}

// part returns how long the parts are; the last one is longer by the rest.
func (f *StatisticsFilter) part() time.Duration {
	return (f.To.Sub(f.From) / time.Duration(f.Buckets)).Truncate(time.Microsecond)
}

// bucket returns which part of its endpoint a time belongs to.
func (f *StatisticsFilter) bucket(t time.Time) int {
	return min(int(t.Sub(f.From)/f.part()), f.Buckets-1)
}

// listed is Summarize for a store that cannot: one page of each part is counted,
// and what lies behind it is taken to be like it.
func (v *View) listed(ctx context.Context, f StatisticsFilter) ([]Statistics, error) {
	c := newCount(&f)
	cuts, rows := tally.Plan(len(c.parts))
	for n := range c.parts {
		p := &c.parts[n]
		page, err := v.d.store.ListDeliveries(ctx, DeliveryFilter{Scope: f.Scope, EndpointID: p.EndpointID, From: p.From, To: p.To, Limit: 2 * cuts * rows})
		if err != nil {
			return nil, err
		}
		weight := 1.0
		if page.Next != "" {
			p.Estimated = true
			if last := page.Items[len(page.Items)-1].CreatedAt; last.Before(p.To) {
				weight = float64(p.To.Sub(p.From)) / float64(p.To.Sub(last))
			}
		}
		for i := range page.Items {
			c.add(&page.Items[i], weight)
		}
	}
	return c.statistics(), nil
}

// Body returns the request body of a delivery, built from the stored event by
// its endpoint's profile. [ErrNotFound] once the endpoint is gone.
func (v *View) Body(ctx context.Context, deliveryID string) ([]byte, error) {
	body, err := v.body(ctx, deliveryID)
	if err != nil {
		return nil, fmt.Errorf("body of delivery %q: %w", deliveryID, err)
	}
	return body, nil
}

func (v *View) body(ctx context.Context, deliveryID string) ([]byte, error) {
	d, err := v.delivery(ctx, deliveryID)
	if err != nil {
		return nil, err
	}
	e, err := v.endpoint(ctx, d.EndpointID)
	if err != nil {
		return nil, fmt.Errorf("its endpoint: %w", err)
	}
	p := v.d.profiles[e.Profile]
	if p == nil {
		return nil, fmt.Errorf("%w: this process has no profile %q", ErrInvalid, e.Profile)
	}
	event, err := v.d.store.GetEvent(ctx, d.EventID)
	if err != nil {
		return nil, err
	}
	return p.body(&event)
}

// record returns the record of an endpoint that is within the scope.
func (v *View) record(ctx context.Context, id string) (EndpointRecord, error) {
	if v.err != nil {
		return EndpointRecord{}, v.err
	}
	r, err := v.d.store.GetEndpoint(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && !v.scope.Contains(r.Tenant) {
		return EndpointRecord{}, ErrNotFound // in the same words for both
	}
	return r, err
}

// endpoint returns an endpoint that is within the scope, with its secrets.
func (v *View) endpoint(ctx context.Context, id string) (Endpoint, error) {
	r, err := v.record(ctx, id)
	if err != nil {
		return Endpoint{}, err
	}
	e, err := v.d.open(ctx, &r)
	return e, v.veil(err)
}

// veil takes out of an error for a tenant what the operator's key service has
// said; the log keeps it.
func (v *View) veil(err error) error {
	e, ok := errors.AsType[*keyError](err)
	if !ok || v.scope.All {
		return err
	}
	v.d.log.Warn("a tenant's call failed for its endpoint's key", zap.String("tenant", v.scope.Tenant), zap.Error(err))
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			return &keyError{e.text, ended}
		}
	}
	return fmt.Errorf("%w: %s", ErrKey, e.text)
}

// delivery returns a delivery that is within the scope.
func (v *View) delivery(ctx context.Context, id string) (Delivery, error) {
	if v.err != nil {
		return Delivery{}, v.err
	}
	d, err := v.d.store.GetDelivery(ctx, id)
	if errors.Is(err, ErrNotFound) || err == nil && !v.scope.Contains(d.Tenant) {
		return Delivery{}, ErrNotFound
	}
	return d, err
}

// change replaces an endpoint by what edit makes of it, and returns it with its
// secrets. With rev 0 it does so again when another change came between.
func (v *View) change(ctx context.Context, id string, rev int64, edit func(Endpoint) (Endpoint, error)) (changed Endpoint, err error) {
	var config []byte // in clear
	record, err := v.changeRecord(ctx, id, rev, func(r *EndpointRecord) error {
		plain, err := v.d.unseal(ctx, r)
		if err != nil {
			return v.veil(err)
		}
		old, err := plain.endpoint()
		if err != nil {
			return err
		}
		next, err := edit(old)
		if err != nil {
			return err
		}
		if *r, err = next.record(); err != nil {
			return err
		}
		if r.Config, err = withUnknown(r.Config, plain.Config); err != nil {
			return err
		}
		config = r.Config
		return v.veil(v.d.seal(ctx, r))
	})
	if err != nil {
		return Endpoint{}, err
	}
	record.Config = config
	return record.endpoint()
}

// changeRecord is change of what is stored.
func (v *View) changeRecord(ctx context.Context, id string, rev int64, edit func(*EndpointRecord) error) (EndpointRecord, error) {
	for tries := 0; ; tries++ {
		record, err := v.record(ctx, id)
		if err != nil {
			return record, err
		}
		if rev != 0 && rev != record.Rev {
			return record, fmt.Errorf("%w: rev is %d, not %d", ErrConflict, record.Rev, rev)
		}
		if err := edit(&record); err != nil {
			return record, err
		}
		changed, err := v.d.store.PutEndpoint(ctx, record)
		if rev == 0 && errors.Is(err, ErrConflict) && tries < 10 {
			continue
		}
		return changed, err
	}
}

// put stores an endpoint and returns it as stored, with its secrets.
func (v *View) put(ctx context.Context, e Endpoint) (Endpoint, error) {
	record, err := e.record()
	if err != nil {
		return Endpoint{}, err
	}
	config := record.Config
	if err := v.d.seal(ctx, &record); err != nil {
		return Endpoint{}, v.veil(err)
	}
	if record, err = v.d.store.PutEndpoint(ctx, record); err != nil {
		return Endpoint{}, err
	}
	record.Config = config
	return record.endpoint()
}

// Resealed is what a call of [Dispatcher.Reseal] did.
type Resealed struct {
	Sealed     int // endpoints whose configuration was sealed, anew or for the first time
	Current    int // endpoints that were sealed under the current key already
	Unreadable int // endpoints that could not be opened, or sealed; the error tells of them
}

// Reseal seals the configuration of every endpoint that is stored in clear, or was
// sealed under another master key than the current one of [Config].Keys. After it
// has returned nil, the older keys are not needed any more, unless a process whose
// current key is an older one writes on.
//
// What was stored in clear stays in the database's free pages, its logs and its
// backups for as long as these are kept: where that matters, rotate the secrets too.
// Attempts that were recorded before stay in the log as they are, with the
// endpoint's URL and the values of its Headers, until [Config].Retention purges them.
//
// It may run beside everything else: it replaces exactly the version that it has
// read, and where another change came first, takes that. It changes nothing of an
// endpoint but Rev and UpdatedAt, so that an Update with the Rev of before is
// [ErrConflict], and no notice tells of it. An endpoint that cannot be opened stays
// as it is, and the error, which matches [ErrKey], names the first ten; the others
// are done all the same. It can be cut short by ctx and called again: what is done
// already is passed over. A key service that hangs, for 50 seconds without one
// success between, ends it with an error that matches ErrKey. Without Config.Keys
// it is [ErrInvalid].
func (d *Dispatcher) Reseal(ctx context.Context) (done Resealed, err error) {
	if d.config.Keys == nil {
		return done, fmt.Errorf("reseal: %w: there is no Config.Keys", ErrInvalid)
	}
	var failed []error
	var hung time.Duration // by those that failed, since the last that did not
	for f := (EndpointFilter{Scope: Scope{All: true}, Limit: maxLimit}); ; {
		page, err := d.store.ListEndpoints(ctx, f)
		if err != nil {
			return done, fmt.Errorf("reseal: %w", err)
		}
		for n := range page.Items {
			start := time.Now()
			kept, err := d.reseal(ctx, page.Items[n], &done)
			if cut := ctx.Err(); cut != nil {
				err = cut
			}
			if err != nil {
				return done, fmt.Errorf("reseal: %w", err)
			}
			if kept == nil {
				hung = 0
				continue
			}
			if len(failed) < 10 {
				failed = append(failed, kept)
			}
			if took := time.Since(start); took >= hangs {
				hung += took
			}
			if hung >= patience {
				return done, fmt.Errorf("reseal: given up, the key service does not answer: %w", errors.Join(failed...))
			}
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			break
		}
	}
	if len(failed) > 0 {
		return done, fmt.Errorf("reseal: %d endpoints are left as they were: %w", done.Unreadable, errors.Join(failed...))
	}
	return done, nil
}

// reseal seals one endpoint and counts it. kept says why it stays as it is, where
// it cannot be opened or sealed; err is the store's.
func (d *Dispatcher) reseal(ctx context.Context, r EndpointRecord, done *Resealed) (kept, err error) {
	for tries := 0; ; tries++ {
		current, err := d.sealedAsNow(&r)
		if current {
			done.Current++
			return nil, nil
		}
		var next EndpointRecord
		if err == nil {
			next, err = d.resealed(ctx, &r)
		}
		if err != nil {
			if ctx.Err() == nil {
				done.Unreadable++
			}
			return err, nil
		}
		_, err = d.store.PutEndpoint(ctx, next)
		if errors.Is(err, ErrConflict) && tries < 10 {
			r, err = d.store.GetEndpoint(ctx, r.ID)
			if err == nil {
				continue
			}
		}
		switch {
		case errors.Is(err, ErrNotFound): // it was unregistered meanwhile
			return nil, nil
		case err == nil:
			done.Sealed++
		}
		return nil, err
	}
}

// sealedAsNow reports whether a record is sealed under the current key.
func (d *Dispatcher) sealedAsNow(r *EndpointRecord) (bool, error) {
	now, err := seal.Current(d.config.Keys)
	if err != nil {
		return false, &keyError{fmt.Sprintf("the configuration of endpoint %q cannot be sealed", r.ID), err}
	}
	id, err := seal.KeyID(r.Config)
	return err == nil && id == now, nil
}

// resealed returns the record as it is, sealed anew: a later version may have put
// there what this one does not know.
func (d *Dispatcher) resealed(ctx context.Context, r *EndpointRecord) (EndpointRecord, error) {
	plain, err := d.unseal(ctx, r)
	if err != nil {
		return plain, err
	}
	if _, err := plain.endpoint(); err != nil {
		return plain, err
	}
	return plain, d.seal(ctx, &plain)
}

const (
	keyTimeout  = 5 * time.Second // for what is asked of Config.Keys
	keysAtATime = 16              // Unwraps of a listing
	// A key service that says no does so at once: only one that keeps Reseal
	// waiting, for so long each time and in all, is down.
	hangs    = time.Second
	patience = 10 * keyTimeout
)

// seal seals the configuration of a record that is about to be stored.
func (d *Dispatcher) seal(ctx context.Context, r *EndpointRecord) error {
	if d.config.Keys == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	sealed, err := seal.Seal(ctx, d.config.Keys, r.Config, r.ID, r.Tenant)
	if err != nil {
		return &keyError{fmt.Sprintf("the configuration of endpoint %q cannot be sealed", r.ID), err}
	}
	r.Config = sealed
	return nil
}

// keyError matches ErrKey and its cause, which is for operators.
type keyError struct {
	text  string
	cause error
}

func (e *keyError) Error() string { return fmt.Sprintf("%v: %s: %v", ErrKey, e.text, e.cause) }

func (e *keyError) Unwrap() []error { return []error{ErrKey, e.cause} }

// open returns the endpoint that a record holds, with its secrets.
func (d *Dispatcher) open(ctx context.Context, r *EndpointRecord) (Endpoint, error) {
	plain, err := d.unseal(ctx, r)
	if err != nil {
		return Endpoint{}, err
	}
	return plain.endpoint()
}

// unseal returns a record with its configuration in clear.
func (d *Dispatcher) unseal(ctx context.Context, r *EndpointRecord) (EndpointRecord, error) {
	plain := *r
	if !seal.Is(r.Config) {
		return plain, nil
	}
	fail := func(err error) (EndpointRecord, error) {
		return EndpointRecord{}, &keyError{fmt.Sprintf("the stored configuration of endpoint %q cannot be opened", r.ID), err}
	}
	if d.config.Keys == nil {
		return fail(errors.New("it is sealed, and there is no Config.Keys"))
	}
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	var err error
	if plain.Config, err = seal.Open(ctx, d.config.Keys, r.Config, r.ID, r.Tenant); err != nil {
		return fail(err)
	}
	return plain, nil
}

// opensAtOnce reports whether opening the record asks no key service.
func (d *Dispatcher) opensAtOnce(r *EndpointRecord) bool {
	_, local := d.config.Keys.(*seal.Ring)
	return local || d.config.Keys == nil || !seal.Is(r.Config)
}

// openAll returns the endpoints that records hold, without their secrets.
func (d *Dispatcher) openAll(ctx context.Context, records []EndpointRecord) []Endpoint {
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	es := make([]Endpoint, len(records))
	open := func(n int) {
		e, err := d.open(ctx, &records[n])
		if err != nil {
			r := records[n]
			r.Config = []byte("{}")
			e, _ = r.endpoint()
			e.Unreadable = true
		}
		es[n] = e.withoutSecrets()
	}
	var group sync.WaitGroup
	places := make(chan struct{}, keysAtATime)
	for n := range records {
		if d.opensAtOnce(&records[n]) {
			open(n)
			continue
		}
		places <- struct{}{}
		group.Go(func() {
			open(n)
			<-places
		})
	}
	group.Wait()
	return es
}

// checkReach checks whose events the endpoint would receive against the scope.
func (v *View) checkReach(e Endpoint, newlyAll bool) error {
	switch {
	case newlyAll && !v.scope.All:
		return fmt.Errorf("AllTenants: %w: only an operator may set it", ErrInvalid)
	case e.AllTenants && e.Tenant != "":
		return fmt.Errorf("AllTenants: %w: an endpoint of tenant %q would show it the others' events", ErrInvalid, e.Tenant)
	case !v.scope.Contains(e.Tenant):
		return fmt.Errorf("Tenant: %w: %q is not within %q", ErrInvalid, e.Tenant, v.scope.Tenant)
	}
	return nil
}

func (v *View) checkLimit(limit int) (int, error) {
	switch {
	case v.err != nil:
		return 0, v.err
	case limit < 0 || limit > maxLimit:
		return 0, fmt.Errorf("Limit: %w: %d is not between 0 and %d", ErrInvalid, limit, maxLimit)
	case limit == 0:
		return defaultLimit, nil
	}
	return limit, nil
}

// checkPeriod refuses what no database has a time for, which would answer in
// words of its own.
func checkPeriod(from, to time.Time) error {
	for _, bound := range []struct {
		field string
		time  time.Time
	}{{"From", from}, {"To", to}} {
		if err := checkTime(bound.time); err != nil {
			return fmt.Errorf("%s: %w", bound.field, err)
		}
	}
	return nil
}

// checkEndpoint returns all that is wrong with an endpoint to be stored.
func (d *Dispatcher) checkEndpoint(e *Endpoint) error {
	mistakes := []error{
		checkEndpointID(e.ID), checkTenant(e.Tenant), checkText("Description", e.Description), checkText("CreatedBy", e.CreatedBy),
		checkAuth(e.Auth), d.checkURL("URL", e.Tenant, e.URL), e.TLS.check(e.URL),
	}
	if e.Auth.Scheme == authOAuth2 {
		if mistakes = append(mistakes, d.checkURL("Auth.TokenURL", e.Tenant, e.Auth.TokenURL)); d.config.Authorizer == nil {
			mistakes = append(mistakes, fmt.Errorf("Auth: %w", errNoAuthorizer))
		}
	}
	if len(e.Events) > maxPatterns {
		mistakes = append(mistakes, fmt.Errorf("Events: %w: %d are more than %d", ErrInvalid, len(e.Events), maxPatterns))
	} else {
		for _, p := range e.Events {
			mistakes = append(mistakes, checkPattern(p))
		}
	}
	mistakes = append(mistakes, d.catalog.checkPatterns(e.Events))
	if p := d.profiles[e.Profile]; p == nil {
		mistakes = append(mistakes, fmt.Errorf("Profile: %w: there is no %q in Config.Profiles", ErrInvalid, e.Profile))
	} else {
		mistakes = append(mistakes, checkSecrets(p.Signer, e.Secrets))
		own := p.ownHeaders()
		if name, _ := e.Auth.header(); name != "" {
			if header.Among(own, name) {
				mistakes = append(mistakes, fmt.Errorf("Auth: %w: the header %s is the profile's", ErrInvalid, name))
			}
			own = append(slices.Clip(own), name)
		}
		mistakes = append(mistakes, checkHeaders(e.Headers, own))
	}
	if !(e.RateLimit >= 0) || math.IsInf(e.RateLimit, 0) {
		mistakes = append(mistakes, fmt.Errorf("RateLimit: %w: %v is not a number from 0", ErrInvalid, e.RateLimit))
	}
	if e.Concurrency < 0 || e.Concurrency > d.config.Concurrency {
		mistakes = append(mistakes, fmt.Errorf("Concurrency: %w: %d is not between 0 and %d", ErrInvalid, e.Concurrency, d.config.Concurrency))
	}
	if _, ok := capability[OrderedQueue](d.store); e.Ordered && !ok {
		mistakes = append(mistakes, fmt.Errorf("Ordered: %w by this store", ErrNotSupported))
	}
	return errors.Join(mistakes...)
}

// checkURL names the setting that refuses a URL, where there is one: who runs
// into it first is the developer, with a receiver on loopback.
func (d *Dispatcher) checkURL(field, tenant, raw string) error {
	_, err := d.client(tenant).CheckURL(raw)
	var why string
	switch {
	case err == nil:
		return nil
	case errors.Is(err, wire.ErrHTTP):
		return fmt.Errorf("%s: %w: %w; Network.AllowHTTP permits http", field, ErrInvalid, err)
	case !errors.Is(err, wire.ErrBlocked):
		return fmt.Errorf("%s: %w: %w", field, ErrInvalid, err)
	case errors.Is(err, wire.ErrPort):
		why = "its port is not among Network.Ports, which are 443 and from 1024 by default"
	case errors.Is(err, wire.ErrDenied):
		why = "it is within Network.Deny"
	case errors.Is(err, wire.ErrName):
		why = "its host name is not a public one; with Network.Allow, what it resolves to decides"
	default:
		why = "it is not public, or this machine's own; Network.Allow permits it"
	}
	return fmt.Errorf("%s: %w: %s", field, ErrBlockedAddress, why)
}

func checkEndpointID(id string) error {
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("ID: %w: %.64q is not 1 to 128 visible ASCII characters", ErrInvalid, id)
	}
	return nil
}

const (
	maxText     = 1024
	maxPatterns = 1000
)

func checkText(field, text string) error {
	if len(text) > maxText || !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return fmt.Errorf("%s: %w: not UTF-8 text of at most %d bytes", field, ErrInvalid, maxText)
	}
	return nil
}

// rate returns the lower one of the two limits, 0 for none.
func (e *Endpoint) rate() float64 {
	if e.RateLimit == 0 || e.AllowedRate > 0 && e.AllowedRate < e.RateLimit {
		return e.AllowedRate
	}
	return e.RateLimit
}

// withoutSecrets returns the endpoint as it is read back.
func (e Endpoint) withoutSecrets() Endpoint {
	e.Secrets = nil
	e.Auth.Secret, e.TLS.Key = Secret{}, Secret{}
	return e
}

// endpointConfig is the opaque part of an [EndpointRecord]. Its fields hold the
// secrets in clear, so it is never printed.
type endpointConfig struct {
	URL         string            `json:"url"`
	Description string            `json:"description,omitempty"`
	Profile     string            `json:"profile,omitempty"`
	Secrets     []secretConfig    `json:"secrets,omitempty"`
	AuthScheme  string            `json:"authScheme,omitempty"`
	AuthName    string            `json:"authName,omitempty"`
	AuthSecret  string            `json:"authSecret,omitempty"`
	RootCAs     string            `json:"rootCAs,omitempty"`
	Certificate string            `json:"certificate,omitempty"`
	Key         string            `json:"key,omitempty"`
	NotAfter    time.Time         `json:"notAfter,omitzero"`
	TokenURL    string            `json:"tokenUrl,omitempty"`
	TokenScope  string            `json:"tokenScope,omitempty"`
	TokenParams string            `json:"tokenParams,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	RateLimit   float64           `json:"rateLimit,omitempty"`
	Concurrency int               `json:"concurrency,omitempty"`
	CreatedBy   string            `json:"createdBy,omitempty"`
	VerifiedAt  time.Time         `json:"verifiedAt,omitzero"`
	AllowedRate float64           `json:"allowedRate,omitempty"`
}

// withUnknown adds to a configuration what another one holds that this version has
// no name for: a later one has put it there, and will look for it.
func withUnknown(config, old []byte) ([]byte, error) {
	var unknown, all map[string]json.RawMessage
	if err := json.Unmarshal(old, &unknown); err != nil {
		return nil, errors.New("decode endpoint: it is no JSON object")
	}
	known := reflect.TypeFor[endpointConfig]()
	for n := range known.NumField() {
		name, _, _ := strings.Cut(known.Field(n).Tag.Get("json"), ",")
		maps.DeleteFunc(unknown, func(member string, _ json.RawMessage) bool { return strings.EqualFold(member, name) })
	}
	if len(unknown) == 0 {
		return config, nil
	}
	if err := json.Unmarshal(config, &all); err != nil {
		return nil, errors.New("decode endpoint: it is no JSON object")
	}
	maps.Copy(all, unknown)
	return json.Marshal(all)
}

type secretConfig struct {
	Value     string    `json:"value"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
}

// allTenants is EndpointRecord.Tenant of an endpoint that receives the events of
// all: no tenant is called so, and no scope but that of the operator contains it.
const allTenants = "*"

// owner is Tenant, or allTenants: not to be taken for the tenant "".
func (e Endpoint) owner() string {
	if e.AllTenants {
		return allTenants
	}
	return e.Tenant
}

// record returns the endpoint as a store keeps it.
func (e Endpoint) record() (EndpointRecord, error) {
	c := endpointConfig{
		URL: e.URL, Description: e.Description, Profile: e.Profile,
		AuthScheme: e.Auth.Scheme, AuthName: e.Auth.Name, AuthSecret: e.Auth.Secret.Value,
		RootCAs: e.TLS.RootCAs, Certificate: e.TLS.Certificate, Key: e.TLS.Key.Value, NotAfter: e.TLS.NotAfter,
		TokenURL: e.Auth.TokenURL, TokenScope: e.Auth.Scope, TokenParams: e.Auth.Params,
		Headers: e.Headers, RateLimit: e.RateLimit, Concurrency: e.Concurrency, CreatedBy: e.CreatedBy,
		VerifiedAt: e.VerifiedAt, AllowedRate: e.AllowedRate,
	}
	for _, s := range e.Secrets {
		s.ExpiresAt = s.ExpiresAt.UTC() // JSON has no zone of seconds, nor one beyond a day
		c.Secrets = append(c.Secrets, secretConfig(s))
	}
	config, err := json.Marshal(c)
	if err != nil {
		return EndpointRecord{}, fmt.Errorf("encode endpoint: %w", err)
	}
	return EndpointRecord{
		ID: e.ID, Tenant: e.owner(), AllTenants: e.AllTenants, Patterns: slices.Compact(slices.Sorted(slices.Values(e.Events))), Ordered: e.Ordered,
		Disabled: e.Disabled, DisabledReason: e.DisabledReason, Rev: e.Rev, Config: config,
	}, nil
}

// owner returns the tenant as [Endpoint] has it.
func (r *EndpointRecord) owner() string {
	if r.AllTenants {
		return ""
	}
	return r.Tenant
}

// endpoint is the reverse of [Endpoint.record], of a configuration in clear.
func (r *EndpointRecord) endpoint() (Endpoint, error) {
	var c endpointConfig
	if err := json.Unmarshal(r.Config, &c); err != nil {
		return Endpoint{}, fmt.Errorf("the stored configuration of endpoint %q is unreadable", r.ID)
	}
	e := Endpoint{
		ID: r.ID, URL: c.URL, Description: c.Description, AllTenants: r.AllTenants,
		Events: r.Patterns, Profile: c.Profile,
		Auth: Auth{
			Scheme: c.AuthScheme, Name: c.AuthName, Secret: Secret{Value: c.AuthSecret},
			TokenURL: c.TokenURL, Scope: c.TokenScope, Params: c.TokenParams,
		},
		TLS:     EndpointTLS{RootCAs: c.RootCAs, Certificate: c.Certificate, Key: Secret{Value: c.Key}, NotAfter: c.NotAfter},
		Headers: c.Headers, RateLimit: c.RateLimit, Concurrency: c.Concurrency, Ordered: r.Ordered, CreatedBy: c.CreatedBy,
		Disabled: r.Disabled, DisabledReason: r.DisabledReason, FailingSince: r.FailingSince, NotBefore: r.NotBefore,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, Rev: r.Rev,
		VerifiedAt: c.VerifiedAt, AllowedRate: c.AllowedRate,
	}
	e.Tenant = r.owner()
	for _, s := range c.Secrets {
		e.Secrets = append(e.Secrets, Secret(s))
	}
	return e, nil
}

// checkStored returns why an endpoint cannot be sent to as it is stored, beside
// its URL and its secrets, of which the guard and the signer judge: another hand
// has written what Register refuses, or a later version, whose way to
// authenticate must not be left out because this one does not know it.
func (e *Endpoint) checkStored() error {
	err := errors.Join(checkAuth(e.Auth), checkHeaders(e.Headers, nil))
	if e.RateLimit < 0 || e.Concurrency < 0 || e.Concurrency > math.MaxInt32 {
		err = errors.Join(err, fmt.Errorf("%w limits: %v per second, %d at once", ErrInvalid, e.RateLimit, e.Concurrency))
	}
	if err != nil {
		return fmt.Errorf("the stored configuration of endpoint %q: %w", e.ID, err)
	}
	return nil
}
