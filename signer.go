package webhook

import (
	"errors"
	"net/http"
	"time"
)

// ErrBadSignature says that a request's signature is missing, malformed, stale
// or does not match. The text says which.
var ErrBadSignature = errors.New("bad signature")

// Secret is a signing secret or a credential. It prints as [redacted] under
// every verb of fmt, in zap, slog, JSON and text encodings; only Value holds it.
type Secret struct {
	Value string
	// ExpiresAt is until when an older secret still signs; zero: no end.
	ExpiresAt time.Time
}

// Message is what a [Signer] signs: one attempt of one delivery.
type Message struct {
	ID         string // of the event
	DeliveryID string
	EventType  string
	Tenant     string // of the event
	URL        string // of the endpoint
	Attempt    int    // 1 for the first
	EventTime  time.Time
	Timestamp  time.Time // of this attempt
	Body       []byte    // the bytes that are sent
}

// Signer signs requests. Sign is called after every other header is set and
// adds its own to h. secrets are those that are valid at m.Timestamp, the newest
// first, and may be empty. It must not keep h or m, and is called concurrently.
//
// Optional methods, found by type assertion, say what the scheme needs:
//
//	NewSecret() Secret               // Register generates a secret with it when none is given
//	CheckSecret(Secret) error        // Register, Update and RotateSecret refuse what it refuses
//	SignatureHeaders() []string      // names that an endpoint's Headers must not use
//	SingleSecret() bool              // true: one secret at a time, no overlap when rotating
//
// Headers that a Signer other than those of this package sets are redacted in
// the log of attempts.
type Signer interface {
	Sign(h http.Header, m Message, secrets []Secret) error
}
