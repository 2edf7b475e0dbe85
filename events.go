package webhook

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/outhook/webhook/internal/jsjson"
)

// Event is what business code publishes.
type Event struct {
	// ID is the message ID that receivers deduplicate by (webhook-id), the same
	// at every endpoint and attempt: 1 to 128 visible ASCII characters without
	// ".", unique over the whole store. A UUIDv7 when empty.
	//
	// Do not let a customer choose it: an ID that another tenant's event has is
	// [ErrConflict], which tells of that event, and takes the ID from its owner if
	// it comes first. An idempotency key of a customer's is what Key is for, which
	// is unique within Tenant.
	ID string
	// Key is an optional idempotency key, unique within Tenant, at most 256
	// bytes. Publishing the same Key again is a no-op.
	Key string
	// Type names what happened, such as "document.completed" or
	// "DOCUMENT_COMPLETED": at most 128 bytes, 1 to 8 segments of letters,
	// digits, "_", "-", ":" and "/", joined by ".".
	Type string
	// Tenant is whose event it is: segments of letters, digits, ".", "_" and
	// "-", joined by "/", at most 256 bytes; "acme/legal" is within "acme".
	// Empty in an application with a single tenant.
	Tenant string
	// OrderingKey groups the events that an ordered endpoint receives strictly
	// one after the other, at most 256 bytes. See [Endpoint].Ordered.
	OrderingKey string
	// Time is when it happened; the time of Publish when zero. Kept to the
	// microsecond.
	Time time.Time
	// Data is the payload. It is marshalled once, at Publish, by [MarshalJSON];
	// a json.RawMessage is validated and kept byte for byte.
	Data any
}

// EventType describes one type of event in [Config].Catalog.
type EventType struct {
	Name        string // see Event.Type
	Group       string // for people: which types belong together
	Description string // for people: when it happens
	// Example is the Data that SendTest sends; marshalled as Event.Data is, and
	// held against Validate by NewDispatcher. {"test":true} when nil.
	Example any
	// Validate checks the marshalled Data of an event of this type at Publish,
	// unless nil. Its error, or its panic, is returned as [ErrInvalid].
	Validate func(data json.RawMessage) error
}

// Envelope builds the request body from an event, whose Data is a
// json.RawMessage. It runs at every attempt, so it must be deterministic, and
// must not modify the event.
type Envelope func(Event) ([]byte, error)

// MarshalJSON encodes v as encoding/json does, struct tags and Marshalers
// included, but writes the text as JavaScript's JSON.stringify would. Some
// receivers verify a signature over JSON.stringify(req.body) instead of the
// bytes that came; the text stays the same through that. It differs from
// json.Marshal so:
//
//   - no HTML escaping; U+2028 and everything else beyond ASCII as it is;
//   - numbers as JavaScript writes them: 1500 for 1500.00, 1e+21 for 1E21;
//   - names that are array indices ("0", "42") first within their object,
//     ascending; of equal names only the last one's value.
//
// A json.RawMessage or the output of a Marshaler within v is brought into this
// form too. Integers keep all their digits, although JavaScript loses those
// beyond 2^53: send such numbers as strings. What cannot be encoded, a number
// beyond float64 and nesting deeper than 10,000 levels among it, is
// [ErrInvalid].
//
// An [Envelope] of an application best ends with it:
//
//	func(e webhook.Event) ([]byte, error) {
//		return webhook.MarshalJSON(body{Event: e.Type, Payload: e.Data, CreatedAt: e.Time})
//	}
func MarshalJSON(v any) ([]byte, error) {
	text, err := jsjson.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w JSON value: %w", ErrInvalid, err)
	}
	return text, nil
}

// StandardEnvelope is the [Envelope] that the Standard Webhooks specification
// recommends ("Payload structure"): {"type":…,"timestamp":…,"data":…}, where
// timestamp is Event.Time in UTC (RFC 3339, to the microsecond) and data is
// Event.Data, byte for byte.
func StandardEnvelope(e Event) ([]byte, error) {
	data, err := rawData(e)
	if err != nil {
		return nil, err
	}
	const fixed = len(`{"type":"","timestamp":"","data":}`) + len(timeLayout)
	b := make([]byte, 0, fixed+len(e.Type)+len(data))
	b = append(b, `{"type":`...)
	b = jsjson.AppendString(b, e.Type)
	b = append(b, `,"timestamp":"`...)
	b = e.Time.UTC().AppendFormat(b, timeLayout)
	b = append(b, `","data":`...)
	b = append(b, data...)
	return append(b, '}'), nil
}

// DataEnvelope is the [Envelope] that adds nothing: the body is Event.Data,
// byte for byte.
func DataEnvelope(e Event) ([]byte, error) { return rawData(e) }

// CloudEvents returns the [Envelope] of CloudEvents 1.0 in structured mode (JSON
// event format): a JSON object of specversion, id, source, type, time,
// datacontenttype and data. source says where the events happened; it is a
// URI-reference and not empty, otherwise CloudEvents panics.
//
//	webhook.Profile{
//		Envelope:    webhook.CloudEvents("https://app.example/documents"),
//		ContentType: "application/cloudevents+json",
//	}
//
// See [CloudEventsHeaders] for binary mode.
func CloudEvents(source string) Envelope {
	checkSource(source)
	return func(e Event) ([]byte, error) {
		data, err := rawData(e)
		if err != nil {
			return nil, err
		}
		const fixed = len(`{"specversion":"1.0","id":"","source":"","type":"","time":"","datacontenttype":"application/json","data":}`) + len(timeLayout)
		b := make([]byte, 0, fixed+len(e.ID)+len(source)+len(e.Type)+len(data))
		b = append(b, `{"specversion":"1.0","id":`...)
		b = jsjson.AppendString(b, e.ID)
		b = append(b, `,"source":`...)
		b = jsjson.AppendString(b, source)
		b = append(b, `,"type":`...)
		b = jsjson.AppendString(b, e.Type)
		b = append(b, `,"time":"`...)
		b = e.Time.UTC().AppendFormat(b, timeLayout)
		b = append(b, `","datacontenttype":"application/json","data":`...)
		b = append(b, data...)
		return append(b, '}'), nil
	}
}

// CloudEventsHeaders returns the headers of CloudEvents 1.0 in binary mode (HTTP
// protocol binding, section 3.1), where the body is the data alone: ce-id,
// ce-source, ce-specversion, ce-type and ce-time, percent-encoded where section
// 3.1.3.2 asks for it. source is as for [CloudEvents].
//
//	webhook.Profile{
//		Envelope: webhook.DataEnvelope,
//		Headers:  webhook.CloudEventsHeaders("https://app.example/documents"),
//	}
func CloudEventsHeaders(source string) func(Message) http.Header {
	checkSource(source)
	source = percentEncode(source)
	return func(m Message) http.Header {
		return http.Header{
			"Ce-Id":          {percentEncode(m.ID)},
			"Ce-Source":      {source},
			"Ce-Specversion": {"1.0"},
			"Ce-Type":        {percentEncode(m.EventType)},
			"Ce-Time":        {m.EventTime.UTC().Format(timeLayout)},
		}
	}
}

// event returns the event as an envelope takes it.
func (r *EventRecord) event() Event {
	return Event{
		ID: r.ID, Key: r.Key, Type: r.Type, Tenant: r.Tenant, OrderingKey: r.OrderingKey,
		Time: r.Time, Data: json.RawMessage(r.Data),
	}
}

// timeLayout is RFC 3339 to the microsecond, as precise as events are kept.
const timeLayout = "2006-01-02T15:04:05.999999Z07:00"

// rawData returns the data of an event as an envelope takes it. The dispatcher
// hands a json.RawMessage over; anything else is marshalled as by Publish, so
// that an envelope can be called by hand.
func rawData(e Event) (json.RawMessage, error) {
	if data, ok := e.Data.(json.RawMessage); ok && len(data) > 0 {
		return data, nil
	}
	return marshalData(e.Data)
}

// checkSource panics unless source can be the source of a CloudEvent. It is a
// constant of the program: a wrong one shows at the start, not at a receiver.
func checkSource(source string) {
	if _, err := url.Parse(source); source == "" || err != nil {
		panic("webhook: CloudEvents source " + quote(source) + ": want a URI-reference")
	}
}

// percentEncode encodes the value of a CloudEvents attribute for a header.
func percentEncode(s string) string {
	plain := func(c byte) bool { return '!' <= c && c <= '~' && c != '"' && c != '%' }
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			const hex = "0123456789ABCDEF"
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// The greatest lengths in bytes.
const (
	maxID     = 128
	maxType   = 128
	maxTenant = 256
	maxKey    = 256
	// maxSegments bounds the patterns that match one type, see patternsOf.
	maxSegments = 8
)

// checkID returns ErrInvalid unless id can be the ID of an event. A "." would
// let a receiver of Standard Webhooks mistake where the ID ends in what is
// signed.
func checkID(id string) error {
	ok := 0 < len(id) && len(id) <= maxID
	for i := range len(id) {
		ok = ok && '!' <= id[i] && id[i] <= '~' && id[i] != '.'
	}
	if !ok {
		return fmt.Errorf(`%w event ID %s: want 1 to %d visible ASCII characters without "."`, ErrInvalid, quote(id), maxID)
	}
	return nil
}

// checkTenant returns ErrInvalid unless tenant can be a tenant; "" can. The
// segments "." and ".." are refused, because tenants are used in paths.
func checkTenant(tenant string) error {
	if tenant == "" {
		return nil
	}
	ok := len(tenant) <= maxTenant
	for segment := range strings.SplitSeq(tenant, "/") {
		ok = ok && segment != "." && segment != ".." && isWord(segment, "._-")
	}
	if !ok {
		return fmt.Errorf(`%w tenant %s: want segments of letters, digits, ".", "_" and "-", joined by "/", at most %d bytes`, ErrInvalid, quote(tenant), maxTenant)
	}
	return nil
}

// checkKey returns ErrInvalid unless key can be an idempotency or an ordering
// key; "" can.
func checkKey(field, key string) error {
	if len(key) > maxKey || !utf8.ValidString(key) || strings.IndexByte(key, 0) >= 0 {
		return fmt.Errorf("%w %s %s: want UTF-8 text without NUL of at most %d bytes", ErrInvalid, field, quote(key), maxKey)
	}
	return nil
}

// checkTime returns ErrInvalid unless a time, in UTC, can be written in RFC 3339.
func checkTime(t time.Time) error {
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return fmt.Errorf("%w time of the year %d: want a year from 0 to 9999", ErrInvalid, year)
	}
	return nil
}

// checkType returns ErrInvalid unless eventType can name a type of event.
func checkType(eventType string) error {
	if !isType(eventType) {
		return fmt.Errorf(`%w event type %s: want 1 to %d segments of letters, digits, "_", "-", ":" and "/", joined by ".", at most %d bytes`, ErrInvalid, quote(eventType), maxSegments, maxType)
	}
	return nil
}

// checkPattern returns ErrInvalid unless pattern is one that a type of event can
// match: "*", a type, or the first segments of a type followed by ".*".
func checkPattern(pattern string) error {
	prefix, isPrefix := strings.CutSuffix(pattern, ".*")
	// One more segment must fit: the shortest type it matches is "prefix.x".
	if pattern == "*" || !isPrefix && isType(pattern) || isPrefix && isType(prefix+".x") {
		return nil
	}
	return fmt.Errorf(`%w pattern %s: want "*", an event type such as "document.signed", or "document.*"`, ErrInvalid, quote(pattern))
}

func isType(s string) bool {
	segments := 0
	for segment := range strings.SplitSeq(s, ".") {
		if segments++; !isWord(segment, "_-:/") {
			return false
		}
	}
	return segments <= maxSegments && len(s) <= maxType
}

// isWord reports whether s is not empty and holds letters, digits and the
// characters of also, in ASCII.
func isWord(s, also string) bool {
	for i := range len(s) {
		c := s[i]
		if !('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte(also, c) >= 0) {
			return false
		}
	}
	return s != ""
}

// patternsOf returns every pattern that matches a type, the type first:
// "a.b.c" is matched by "a.b.c", "a.b.*", "a.*" and "*".
func patternsOf(eventType string) []string {
	patterns := []string{eventType}
	for i := len(eventType) - 1; i > 0; i-- {
		if eventType[i] == '.' {
			patterns = append(patterns, eventType[:i]+".*")
		}
	}
	return append(patterns, "*")
}

// tenantsOf returns every tenant that a tenant is or is within, itself first:
// "acme/legal" is within "acme". The tenant "" is itself alone.
func tenantsOf(tenant string) []string {
	tenants := []string{tenant}
	for i := len(tenant) - 1; i > 0; i-- {
		if tenant[i] == '/' {
			tenants = append(tenants, tenant[:i])
		}
	}
	return tenants
}

// matches reports whether one of the patterns matches a type: whether it is
// among patternsOf(eventType).
func matches(patterns []string, eventType string) bool {
	matching := patternsOf(eventType)
	return slices.ContainsFunc(patterns, func(pattern string) bool { return slices.Contains(matching, pattern) })
}

// marshalData encodes Event.Data: a json.RawMessage is validated and copied byte
// for byte, anything else is encoded by MarshalJSON. Its errors, and the panics
// of the caller's Marshalers, are ErrInvalid.
func marshalData(v any) (data json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			data, err = nil, fmt.Errorf("%w Data: panic while marshalling %T: %v", ErrInvalid, v, p)
		}
	}()
	if raw, ok := v.(json.RawMessage); ok {
		if !json.Valid(raw) {
			err := json.Unmarshal(raw, new(json.RawMessage)) // says what is wrong
			return nil, fmt.Errorf("%w Data of type %T: want a JSON text: %w", ErrInvalid, v, err)
		}
		return slices.Clone(raw), nil
	}
	data, err = jsjson.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w Data of type %T: want a value that encoding/json encodes: %w", ErrInvalid, v, err)
	}
	return data, nil
}

// eventSum digests what must be equal for a repeated ID or Key to be a
// duplicate. The lengths keep the parts apart.
func eventSum(tenant, eventType string, data []byte) (sum [32]byte) {
	h := sha256.New()
	b := make([]byte, 0, maxTenant+maxType+3*8)
	b = append(binary.BigEndian.AppendUint64(b, uint64(len(tenant))), tenant...)
	b = append(binary.BigEndian.AppendUint64(b, uint64(len(eventType))), eventType...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(data)))
	h.Write(b)
	h.Write(data)
	h.Sum(sum[:0])
	return sum
}

// catalog holds the types of events that an application publishes. A nil or
// empty one knows every type.
type catalog struct {
	list     []EventType
	byName   map[string]catalogEntry
	patterns map[string]bool // that match a type
}

type catalogEntry struct {
	validate func(json.RawMessage) error
	example  json.RawMessage
}

// newCatalog checks the types and their examples. It returns all mistakes at
// once, each as ErrInvalid.
func newCatalog(types []EventType) (*catalog, error) {
	c := &catalog{
		list:     slices.Clone(types),
		byName:   make(map[string]catalogEntry, len(types)),
		patterns: make(map[string]bool),
	}
	var mistakes []error
	mistake := func(i int, field string, err error) {
		mistakes = append(mistakes, fmt.Errorf("in Catalog[%d].%s: %w", i, field, err))
	}
	for i, t := range c.list {
		if err := checkType(t.Name); err != nil {
			mistake(i, "Name", err)
		} else if _, ok := c.byName[t.Name]; ok {
			mistake(i, "Name", fmt.Errorf("%w event type %s: want each type once", ErrInvalid, quote(t.Name)))
		}
		entry := catalogEntry{t.Validate, json.RawMessage(defaultExample)}
		if t.Example != nil {
			var err error
			if entry.example, err = marshalData(t.Example); err == nil {
				err = entry.check(t.Name, slices.Clone(entry.example))
			}
			if err != nil {
				mistake(i, "Example", err)
			}
		}
		c.byName[t.Name] = entry
		for _, pattern := range patternsOf(t.Name) {
			c.patterns[pattern] = true
		}
	}
	if err := errors.Join(mistakes...); err != nil {
		return nil, err
	}
	return c, nil
}

// defaultExample is sent as a test where the catalogue has no Example.
const defaultExample = `{"test":true}`

// check returns ErrUnknownEventType for a type that the catalogue does not hold,
// and ErrInvalid where the type's Validate refuses the data or panics.
func (c *catalog) check(eventType string, data []byte) error {
	entry, err := c.entry(eventType)
	if err != nil {
		return err
	}
	if entry.validate == nil {
		return nil
	}
	return entry.check(eventType, slices.Clone(data)) // Validate may write into it
}

// checkPatterns returns ErrUnknownEventType unless each pattern matches a type
// of the catalogue.
func (c *catalog) checkPatterns(patterns []string) error {
	if c.empty() {
		return nil
	}
	for _, pattern := range patterns {
		if !c.patterns[pattern] {
			return fmt.Errorf("%w: pattern %s: want one that matches a type in the catalogue", ErrUnknownEventType, quote(pattern))
		}
	}
	return nil
}

// example returns the Data of a test of that type: the type's Example, or
// defaultExample where there is none. ErrUnknownEventType if the catalogue does
// not hold the type.
func (c *catalog) example(eventType string) (json.RawMessage, error) {
	entry, err := c.entry(eventType)
	if err != nil {
		return nil, err
	}
	return slices.Clone(entry.example), nil
}

// types returns the types as they were given.
func (c *catalog) types() []EventType {
	if c.empty() {
		return nil
	}
	return slices.Clone(c.list)
}

func (c *catalog) empty() bool { return c == nil || len(c.list) == 0 }

func (c *catalog) entry(eventType string) (catalogEntry, error) {
	if c.empty() {
		return catalogEntry{example: json.RawMessage(defaultExample)}, nil
	}
	entry, ok := c.byName[eventType]
	if !ok {
		return entry, fmt.Errorf("%w %s: want one of the catalogue", ErrUnknownEventType, quote(eventType))
	}
	return entry, nil
}

// check returns what the type's Validate says of the data, as ErrInvalid.
func (e catalogEntry) check(eventType string, data json.RawMessage) (err error) {
	if e.validate == nil {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w Data of event type %s: panic in Validate: %v", ErrInvalid, quote(eventType), p)
		}
	}()
	if err := e.validate(data); err != nil {
		return fmt.Errorf("%w Data of event type %s: %w", ErrInvalid, quote(eventType), err)
	}
	return nil
}

// quote quotes a value for the text of an error, shortened to 64 bytes.
func quote(s string) string {
	const most = 64
	if len(s) <= most {
		return strconv.Quote(s)
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return strconv.Quote(s[:end]) + "…"
}

// Observer is told what happens. Observe is called synchronously, concurrently
// and often: it must not block. A panic in it is logged and nothing else.
type Observer interface {
	Observe(ctx context.Context, n Notice)
}

// ObserverFunc is a function that is an [Observer].
type ObserverFunc func(ctx context.Context, n Notice)

// Observe implements [Observer].
func (f ObserverFunc) Observe(ctx context.Context, n Notice) { f(ctx, n) }

// Notice is one of the structs below that are named so: switch on the type.
// Notices carry IDs, never payloads or secrets. Where there is an endpoint or its
// delivery, Tenant is whose that is, "*" for one with AllTenants. More may be
// added.
type Notice interface{ notice() }

// DeliveryRef names a delivery in a [Notice].
type DeliveryRef struct {
	ID, EventID, EventType, EventTenant string
	EndpointID, Tenant                  string // Tenant is the endpoint's
	Origin                              Origin
}

// The notices of publishing and delivering.
type (
	// EventPublished follows every successful Publish.
	EventPublished struct {
		EventID, EventType, Tenant string
		Deliveries                 int
		Duplicate                  bool
	}
	// AttemptStarted precedes a request.
	AttemptStarted struct {
		Delivery DeliveryRef
		Number   int
	}
	// AttemptFinished follows a request.
	AttemptFinished struct {
		Delivery   DeliveryRef
		Number     int
		StatusCode int // 0 when no response came
		Duration   time.Duration
		Success    bool
		Blocked    bool // the URL or its address is not allowed; see Network
		CutShort   bool // by the shutdown: it does not count
		ProxyFault bool // the request got no further than a proxy of ours that fails: it does not count
	}
	// DeliveryDelivered follows the outcome once it is stored.
	DeliveryDelivered struct {
		Delivery DeliveryRef
		Attempts int
	}
	// DeliveryExhausted follows the outcome once it is stored.
	DeliveryExhausted struct {
		Delivery DeliveryRef
		Attempts int
	}
	// EndpointPaused says that an endpoint is left alone until then: it has
	// failed several deliveries in a row, or asks for it (429, Retry-After). After
	// that it is probed with one request at a time. It follows the first outcome
	// that says so, in each process that has one.
	EndpointPaused struct {
		EndpointID, Tenant string
		Until              time.Time
	}
	// EndpointResumed says that an endpoint that was left alone works again.
	EndpointResumed struct{ EndpointID, Tenant string }
	// EndpointFailing warns, once in each process, that an endpoint has been
	// failing for half of [Config].AutoDisable and will be disabled then.
	EndpointFailing struct {
		EndpointID, Tenant string
		Since, DisableAt   time.Time
	}
	// StoreFailed says that the store fails; once, until StoreRecovered.
	StoreFailed struct {
		Operation string // claim, settle, purge or attend
		Err       error
	}
	// StoreRecovered says that the store works again.
	StoreRecovered struct{ Operation string }
	// ProxyFailed says that three requests in a row met with a fault of a proxy;
	// once, until ProxyRecovered. What goes through it waits, and nothing of it
	// counts against the endpoints.
	ProxyFailed struct {
		Proxy string // its URL, without user and password; "" is Network.Proxy itself, which returned an error
		Err   error
	}
	// ProxyRecovered says that the proxy works again.
	ProxyRecovered struct{ Proxy string }
	// KeysFailed says that an endpoint's deliveries wait because [Config].Keys does
	// not open its configuration; at most once a minute in each process, for
	// whichever endpoint is the first. Err matches [ErrKey].
	KeysFailed struct {
		EndpointID, Tenant string
		Err                error
	}
)

// The notices of management calls. Actor is that of [WithActor].
type (
	// EndpointRegistered follows View.Register.
	EndpointRegistered struct{ EndpointID, Tenant, Actor string }
	// EndpointUpdated follows View.Update.
	EndpointUpdated struct{ EndpointID, Tenant, Actor string }
	// EndpointUnregistered follows View.Unregister.
	EndpointUnregistered struct{ EndpointID, Tenant, Actor string }
	// EndpointVerified follows View.Verify. EndpointEnabled comes after it, where
	// that has enabled the endpoint too.
	EndpointVerified struct{ EndpointID, Tenant, Actor string }
	// EndpointEnabled follows View.Enable.
	EndpointEnabled struct{ EndpointID, Tenant, Actor string }
	// EndpointDisabled follows View.Disable, and the library's own disabling,
	// which is Automatic and has no Actor: of one that fails or is gone, and of one
	// that an Update has made unverified.
	EndpointDisabled struct {
		EndpointID, Tenant, Actor, Reason string
		Automatic                         bool
	}
	// SecretsRevealed follows View.Reveal.
	SecretsRevealed struct{ EndpointID, Tenant, Actor string }
	// SecretRotated follows View.RotateSecret.
	SecretRotated struct {
		EndpointID, Tenant, Actor string
		Overlap                   time.Duration
	}
	// TestSent follows View.SendTest.
	TestSent struct {
		Delivery DeliveryRef
		Actor    string
	}
	// DeliveryResent follows View.Resend.
	DeliveryResent struct {
		Delivery   DeliveryRef // the new one
		DeliveryID string      // the old one
		Actor      string
	}
	// DeliveriesReplayed follows a View.Replay that is no dry run.
	DeliveriesReplayed struct {
		EndpointID, Tenant, Actor string // without an endpoint, Tenant is the View's, "*" for the Dispatcher
		Created                   int
	}
)

func (EventPublished) notice()       {}
func (AttemptStarted) notice()       {}
func (AttemptFinished) notice()      {}
func (DeliveryDelivered) notice()    {}
func (DeliveryExhausted) notice()    {}
func (EndpointPaused) notice()       {}
func (EndpointResumed) notice()      {}
func (EndpointFailing) notice()      {}
func (StoreFailed) notice()          {}
func (StoreRecovered) notice()       {}
func (ProxyFailed) notice()          {}
func (ProxyRecovered) notice()       {}
func (KeysFailed) notice()           {}
func (EndpointRegistered) notice()   {}
func (EndpointUpdated) notice()      {}
func (EndpointUnregistered) notice() {}
func (EndpointVerified) notice()     {}
func (EndpointEnabled) notice()      {}
func (EndpointDisabled) notice()     {}
func (SecretsRevealed) notice()      {}
func (SecretRotated) notice()        {}
func (TestSent) notice()             {}
func (DeliveryResent) notice()       {}
func (DeliveriesReplayed) notice()   {}

func refOf(d *Delivery) DeliveryRef {
	return DeliveryRef{
		ID: d.ID, EventID: d.EventID, EventType: d.EventType, EventTenant: d.EventTenant,
		EndpointID: d.EndpointID, Tenant: d.Tenant, Origin: d.Origin,
	}
}

type actorKey struct{}

// WithActor returns a context that says who acts: the CreatedBy of endpoints
// that are registered under it, and the Actor of the notices of management
// calls.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

func actorOf(ctx context.Context) string {
	actor, _ := ctx.Value(actorKey{}).(string)
	return actor
}
