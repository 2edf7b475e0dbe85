package webhook

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"
)

// The errors that callers match with errors.Is. Every error of this package
// wraps one of them, an error of the store, or that of the context.
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
	// ErrNotSupported says that the store or the signing scheme cannot do what
	// was asked.
	ErrNotSupported = errors.New("not supported")
)

// Endpoint is a registered destination: where the events of a tenant go, which
// of them, and how. The zero values of all fields but URL are useful.
type Endpoint struct {
	// ID identifies the endpoint. Register generates a UUID; the caller's own
	// (1 to 128 visible ASCII characters) is accepted through the unscoped
	// [Dispatcher] only, otherwise [ErrInvalid].
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
	// AllTenants makes the endpoint receive the events of every tenant.
	// Settable through the unscoped [Dispatcher] only, otherwise [ErrInvalid].
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
	// nil at Update keeps them.
	Secrets []Secret
	// Auth authenticates the request beside the signature. Its Secret is empty
	// when read back, and kept at Update while empty and Scheme and Name stay
	// the same.
	Auth Auth
	// Headers are sent with every request. Names that HTTP, the signing scheme
	// or Auth own are [ErrInvalid].
	Headers map[string]string
	// RateLimit is how many requests per second are started at the most within
	// a process; 0 is no limit.
	RateLimit float64
	// Concurrency is how many requests are in flight at the most within a
	// process; 0 is [Config].EndpointConcurrency.
	Concurrency int
	// Ordered delivers the events of one [Event].OrderingKey strictly one
	// after the other, in the order of Publish: the next starts when the one
	// before it is delivered or given up. [ErrNotSupported] with a store that
	// cannot do so.
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
	// FailingSince is when the first failure since the last success ended; zero
	// while healthy.
	FailingSince time.Time
	// NotBefore is until when the endpoint is left alone, because it kept
	// failing; zero otherwise.
	NotBefore time.Time
	// CreatedAt and UpdatedAt are on the store's clock.
	CreatedAt, UpdatedAt time.Time
	// Rev counts the versions of the endpoint. Update with an old Rev is
	// [ErrConflict]; with 0 it replaces any.
	Rev int64
}

// Auth authenticates a request beside its signature. The zero value is no
// authentication; [BasicAuth], [BearerToken] and [APIKey] make the others.
type Auth struct {
	// Scheme is "", "basic", "bearer" or "apikey".
	Scheme string
	// Name is the user of "basic" and the header of "apikey".
	Name string
	// Secret is the password, the token or the key.
	Secret Secret
}

// The values of [Auth].Scheme.
const (
	authBasic  = "basic"
	authBearer = "bearer"
	authAPIKey = "apikey"
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

// header returns the name and the value of the header that a authenticates
// with; both are empty when there is none.
func (a Auth) header() (name, value string) {
	switch a.Scheme {
	case authBasic:
		return "Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Name+":"+a.Secret.Value))
	case authBearer:
		return "Authorization", "Bearer " + a.Secret.Value
	case authAPIKey:
		return http.CanonicalHeaderKey(a.Name), a.Secret.Value
	}
	return "", ""
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
	Tenant      string // whose endpoint it is
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
	URL        string
	StatusCode int    // 0 when no response came
	Error      string // why it failed, "" after a success
	// RequestHeaders are those that were sent. Credentials are redacted: what
	// Auth, SecretHeader or a Signer that this package does not know wrote.
	RequestHeaders  http.Header
	ResponseHeaders http.Header
	// BodySHA256 is the digest of the request body; View.Body builds the body.
	BodySHA256 [32]byte
	// ResponseBody is the beginning of the response body, as it came over the
	// wire; Truncated says that there was more, or that it broke off.
	ResponseBody []byte
	Truncated    bool
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
	Next  string // the Cursor of the next page, "" on the last one
	Total int    // of all pages; listings of endpoints only, otherwise 0
}

// EndpointFilter selects endpoints; they are listed oldest first.
type EndpointFilter struct {
	Scope    Scope // set by the View
	Disabled *bool // nil: either
	Cursor   string
	Limit    int // at most 1,000; 0 is 100
}

// DeliveryFilter selects deliveries; they are listed newest first. Zero fields
// select all.
type DeliveryFilter struct {
	Scope      Scope // of the endpoint's tenant; set by the View
	EndpointID string
	EventID    string
	EventType  string    // exact, not a pattern
	States     []State   // any of these
	From, To   time.Time // of CreatedAt, From inclusive, To exclusive
	Cursor     string
	Limit      int // at most 1,000; 0 is 100
}

// EventFilter selects events, those of test sends excepted; they are listed
// oldest first. Zero fields select all.
type EventFilter struct {
	Scope    Scope     // of the event's tenant
	Type     string    // exact, not a pattern
	From, To time.Time // of CreatedAt, From inclusive, To exclusive
	Cursor   string
	Limit    int // at most 1,000; 0 is 100
}

// The default and the greatest Limit of a listing.
const (
	defaultLimit = 100
	maxLimit     = 1000
)
