package webhook

import (
	"encoding/json"
	"time"
)

// Event is what business code publishes.
type Event struct {
	// ID is the message ID that receivers deduplicate by (webhook-id), the same
	// at every endpoint and attempt: 1 to 128 visible ASCII characters without
	// ".", unique over the whole store. A UUIDv7 when empty.
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
	// Example is the Data that SendTest sends; marshalled as Event.Data is.
	Example any
	// Validate checks the marshalled Data of an event of this type at Publish,
	// unless nil. Its error, or its panic, is returned as [ErrInvalid].
	Validate func(data json.RawMessage) error
}

// Envelope builds the request body from an event, whose Data is a
// json.RawMessage. It runs at every attempt, so it must be deterministic, and
// must not modify the event.
type Envelope func(Event) ([]byte, error)
