package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/outhook/webhook/internal/header"
	"github.com/outhook/webhook/internal/redact"
	"github.com/outhook/webhook/internal/seal"
	"github.com/outhook/webhook/internal/wire"
)

// ErrBadSignature says that a request's signature is missing, malformed, stale
// or does not match. The text says which.
var ErrBadSignature = errors.New("bad signature")

// Secret is a signing secret or a credential. It prints as [redacted] under
// every verb of fmt that may be used with it, in zap, slog, JSON and text
// encodings; only Value holds it.
//
// Two things are beyond its reach, because fmt then asks no method: %p and %w,
// which go vet refuses for a Secret, and a Secret, or an [Endpoint], that sits
// in an unexported field of a struct that is printed as a whole. In a struct that
// may be printed, keep a pointer to it, of which fmt shows the address.
type Secret struct {
	Value string
	// ExpiresAt is until when an older secret still signs; zero: no end.
	ExpiresAt time.Time
}

// The prefixes by which Standard Webhooks tells keys apart (section "Signature
// scheme").
const (
	macPrefix     = "whsec_" // symmetric: HMAC-SHA256
	signingPrefix = "whsk_"  // ed25519, private
	publicPrefix  = "whpk_"  // ed25519, public
)

// NewSecret returns a new symmetric secret: "whsec_" and 32 random bytes in
// base64. It suits every scheme of this package.
func NewSecret() Secret {
	return Secret{Value: macPrefix + base64.StdEncoding.EncodeToString(randomBytes())}
}

// NewSigningKey returns a new ed25519 key for [StandardWebhooks]: "whsk_" and
// the 64 bytes of its seed and its public key in base64. Customers verify with
// its [PublicKey] and cannot sign.
func NewSigningKey() Secret {
	key := ed25519.NewKeyFromSeed(randomBytes())
	return Secret{Value: signingPrefix + base64.StdEncoding.EncodeToString(key)}
}

func randomBytes() []byte {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return b
}

// PublicKey returns the public half of a "whsk_" secret, to give to customers:
// "whpk_" and its 32 bytes in base64. [StandardWebhooks.Verify] takes it as a
// secret. For any other secret the error is [ErrInvalid].
func PublicKey(s Secret) (string, error) {
	key, err := parseKey(s.Value)
	if err != nil {
		return "", fmt.Errorf("public key: %w", err)
	}
	if key.private == nil {
		return "", fmt.Errorf("public key: %w secret: only one with the prefix %s has it", ErrInvalid, signingPrefix)
	}
	return publicPrefix + base64.StdEncoding.EncodeToString(key.public), nil
}

// redacted is what stands for a secret wherever it might be seen.
const redacted = redact.Mark

// Format implements [fmt.Formatter].
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (Secret) GoString() string { return redacted }

// LogValue implements [slog.LogValuer].
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]".
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]" as a JSON string.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// Keys are the master keys that seal what stores keep of endpoints; see
// [Config].Keys. [NewKeys] makes some of keys that the application holds; an
// implementation of this interface over a key management service never sees the
// secrets, and its master key never leaves it.
//
// Each endpoint's configuration is encrypted with a data key of its own, of 32
// bytes, and only that is wrapped. All methods are called concurrently; the
// contexts of Wrap and Unwrap have a deadline, which they must heed: whoever asked
// waits until they return, and so does the end of [Dispatcher.Run]. None may keep
// or change what it is given. Errors match [ErrKey] and carry the method's own,
// but for a tenant's View; they, and what is logged, must not quote a data key. A
// panic is an error.
type Keys interface {
	// Current returns the ID of the master key under which new data keys are
	// wrapped, 1 to 255 bytes. It is asked at each write and may change. It must
	// not block.
	Current() string
	// Wrap encrypts a data key under a master key, authenticated, into at most
	// 4,096 bytes.
	Wrap(ctx context.Context, keyID string, dataKey []byte) (wrapped []byte, err error)
	// Unwrap is the reverse of Wrap.
	Unwrap(ctx context.Context, keyID string, wrapped []byte) (dataKey []byte, err error)
}

// Key is a master key for [NewKeys].
type Key struct {
	// ID names the key beside what it has sealed, in clear: 1 to 64 visible ASCII
	// characters, such as "2026-03". An ID is never used for another key.
	ID string
	// Secret is the key: 32 random bytes in standard base64 (RFC 4648, section
	// 4), as "openssl rand -base64 32" prints them. It has no ExpiresAt.
	Secret Secret
}

// NewKeys returns Keys that the process itself holds: current seals, and it and
// the older ones open. It prints as [redacted]. An ID or a secret that is not as
// [Key] says, or an ID that is there twice, is [ErrInvalid].
func NewKeys(current Key, older ...Key) (Keys, error) {
	var mistakes []error
	keys := make(map[string][]byte)
	for n, k := range append([]Key{current}, older...) {
		field := "current"
		if n > 0 {
			field = fmt.Sprintf("older[%d]", n-1)
		}
		raw, ok := decodeBase64(k.Secret.Value)
		switch {
		case k.ID == "" || len(k.ID) > 64 || strings.ContainsFunc(k.ID, func(r rune) bool { return r <= ' ' || r > '~' }):
			mistakes = append(mistakes, fmt.Errorf("%s.ID: %w: it is not 1 to 64 visible ASCII characters", field, ErrInvalid))
		case keys[k.ID] != nil:
			mistakes = append(mistakes, fmt.Errorf("%s.ID: %w: %q is there twice", field, ErrInvalid, k.ID))
		case !ok:
			mistakes = append(mistakes, fmt.Errorf("%s.Secret: %w: it is not standard base64 with padding, without spaces or a line break", field, ErrInvalid))
		case len(raw) != 32:
			mistakes = append(mistakes, fmt.Errorf("%s.Secret: %w: it is %d bytes in base64, want 32", field, ErrInvalid, len(raw)))
		case !k.Secret.ExpiresAt.IsZero():
			mistakes = append(mistakes, fmt.Errorf("%s.Secret: %w: a master key does not expire by itself", field, ErrInvalid))
		default:
			keys[k.ID] = raw
		}
	}
	if len(mistakes) > 0 {
		return nil, fmt.Errorf("new keys: %w", errors.Join(mistakes...))
	}
	return seal.NewRing(current.ID, keys)
}

// validAt reports whether the secret still signs.
func (s Secret) validAt(t time.Time) bool { return s.ExpiresAt.IsZero() || t.Before(s.ExpiresAt) }

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
//	NewSecret() Secret               // Register generates a secret with it when none is given; a zero Secret: none is needed
//	CheckSecret(Secret) error        // Register, Update and RotateSecret refuse what it refuses
//	SignatureHeaders() []string      // names that an endpoint's Headers must not use
//	SingleSecret() bool              // true: one secret at a time, no overlap when rotating
//
// An error of Sign or CheckSecret is shown to the endpoint's owner and must not
// quote a secret.
//
// Headers that a Signer other than those of this package sets are redacted in
// the log of attempts.
type Signer interface {
	Sign(h http.Header, m Message, secrets []Secret) error
}

// StandardWebhooks is the scheme of the Standard Webhooks specification, 1.0.0.
// It sends the message ID, the time of the attempt in Unix seconds and the
// signatures in three headers, webhook-id, webhook-timestamp and
// webhook-signature, and signs "id.timestamp.body" with every valid secret: with
// HMAC-SHA256 ("v1") or, if the secret is a signing key, ed25519 ("v1a").
//
// A secret is "whsec_" and 24 to 64 bytes, or "whsk_" and the 32 bytes of an
// ed25519 seed or the 64 of seed and public key, in standard base64 with
// padding (RFC 4648, section 4). Without a prefix it is read as "whsec_".
type StandardWebhooks struct {
	// Prefix is what the headers' names begin with. Defaults to "webhook-".
	Prefix string
}

// Svix is [StandardWebhooks] with the headers svix-id, svix-timestamp and
// svix-signature, for receivers that verify with Svix's libraries.
func Svix() StandardWebhooks { return StandardWebhooks{Prefix: "svix-"} }

// Sign implements [Signer]. An m.ID that is empty or contains ".", no secret,
// or one that CheckSecret refuses, is [ErrInvalid].
func (s StandardWebhooks) Sign(h http.Header, m Message, secrets []Secret) error {
	if !validMessageID(m.ID) {
		return fmt.Errorf(`%w message ID: it is empty or contains "."`, ErrInvalid)
	}
	if len(secrets) == 0 {
		return errNoSecret
	}
	timestamp := strconv.FormatInt(m.Timestamp.Unix(), 10)
	content := newContent(m.ID, timestamp, m.Body)
	signature := make([]byte, 0, len(secrets)*len(" v1,")+len(secrets)*base64.StdEncoding.EncodedLen(sha256.Size))
	for i, secret := range secrets {
		key, err := parsePrivateKey(secret.Value)
		if err != nil {
			return fmt.Errorf("Secrets[%d]: %w", i, err)
		}
		if i > 0 {
			signature = append(signature, ' ')
		}
		signature = content.appendSignature(signature, key)
	}
	idName, timestampName, signatureName := s.headers()
	values := []string{m.ID, timestamp, string(signature)}
	h[idName], h[timestampName], h[signatureName] = values[0:1:1], values[1:2:2], values[2:3:3]
	return nil
}

// tolerance is how far a timestamp may be from the receiver's clock.
const tolerance = 5 * time.Minute

// maxSignatures bounds the work that a request can cause before it is known to
// be genuine.
const maxSignatures = 32

// Verify checks the request that h and body, the bytes as received, make up. It
// returns nil if one of its signatures is right for one of the secrets, and
// otherwise an error that matches [ErrBadSignature]: a header is missing, there
// more than once or malformed; the timestamp is more than 5 minutes from now,
// either way; no signature matches.
//
// secrets are those of [StandardWebhooks] and "whpk_" public keys. One whose
// ExpiresAt has passed at now does not count; one that is malformed is an error
// that matches [ErrInvalid] as well. Signatures are compared in constant time.
//
// A request can be replayed while its timestamp is fresh: a receiver should
// remember the IDs of the last five minutes.
func (s StandardWebhooks) Verify(h http.Header, body []byte, secrets []Secret, now time.Time) error {
	idName, timestampName, signatureName := s.headers()
	id, err := headerValue(h, idName)
	if err != nil {
		return err
	}
	if !validMessageID(id) {
		return fmt.Errorf(`%w: %s contains "."`, ErrBadSignature, idName)
	}
	timestamp, err := headerValue(h, timestampName)
	if err != nil {
		return err
	}
	if err := checkTimestamp(timestampName, timestamp, now); err != nil {
		return err
	}
	signature, err := headerValue(h, signatureName)
	if err != nil {
		return err
	}
	if strings.Count(signature, " ") >= maxSignatures {
		return fmt.Errorf("%w: %s holds more than %d signatures", ErrBadSignature, signatureName, maxSignatures)
	}
	signatures := strings.Split(signature, " ")
	if !slices.ContainsFunc(signatures, func(s string) bool { return strings.HasPrefix(s, "v1,") || strings.HasPrefix(s, "v1a,") }) {
		return fmt.Errorf("%w: %s holds no signature of the versions v1 and v1a", ErrBadSignature, signatureName)
	}
	content := newContent(id, timestamp, body)
	valid := false
	for i, secret := range secrets {
		if !secret.validAt(now) {
			continue
		}
		key, err := parseKey(secret.Value)
		if err != nil {
			return fmt.Errorf("%w: secrets[%d]: %w", ErrBadSignature, i, err)
		}
		if content.signedBy(key, signatures) {
			return nil
		}
		valid = true
	}
	if !valid {
		return fmt.Errorf("%w: there is no valid secret to verify with", ErrBadSignature)
	}
	return errNoMatch
}

// NewSecret is the function [NewSecret].
func (StandardWebhooks) NewSecret() Secret { return NewSecret() }

// CheckSecret returns [ErrInvalid] unless the scheme can sign with the secret.
func (StandardWebhooks) CheckSecret(secret Secret) error {
	_, err := parsePrivateKey(secret.Value)
	return err
}

// SignatureHeaders returns the names of the three headers.
func (s StandardWebhooks) SignatureHeaders() []string {
	id, timestamp, signature := s.headers()
	return []string{id, timestamp, signature}
}

func (s StandardWebhooks) validate() error { return checkHeaderName("Prefix", s.Prefix+"id") }

func (s StandardWebhooks) headers() (id, timestamp, signature string) {
	switch s.Prefix {
	case "", "webhook-":
		return "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"
	case "svix-":
		return "Svix-Id", "Svix-Timestamp", "Svix-Signature"
	}
	return http.CanonicalHeaderKey(s.Prefix + "id"), http.CanonicalHeaderKey(s.Prefix + "timestamp"), http.CanonicalHeaderKey(s.Prefix + "signature")
}

// validMessageID: with a "." in it, one signature would fit two requests, "a.1"
// at 2 and "a" at 1 with a body that begins with "2.".
func validMessageID(id string) bool { return id != "" && !strings.Contains(id, ".") }

// checkTimestamp returns ErrBadSignature unless value is a time in Unix seconds,
// as Sign writes it, within tolerance of now.
func checkTimestamp(name, value string, now time.Time) error {
	seconds, err := strconv.ParseInt(value, 10, 64)
	// 12 digits reach to the year 33658; far beyond, time.Unix wraps around.
	if err != nil || len(value) > 12 || strconv.FormatInt(seconds, 10) != value {
		return fmt.Errorf("%w: %s is not a time in Unix seconds", ErrBadSignature, name)
	}
	switch age := now.Sub(time.Unix(seconds, 0)); {
	case age > tolerance:
		return fmt.Errorf("%w: %s is stale, more than %v ago", ErrBadSignature, name, tolerance)
	case age < -tolerance:
		return fmt.Errorf("%w: %s is more than %v in the future", ErrBadSignature, name, tolerance)
	}
	return nil
}

// standardKey is a secret of Standard Webhooks, decoded: mac, or public with or
// without private.
type standardKey struct {
	mac     []byte
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

// parsePrivateKey decodes a secret that can sign.
func parsePrivateKey(value string) (standardKey, error) {
	key, err := parseKey(value)
	if err == nil && key.mac == nil && key.private == nil {
		err = fmt.Errorf("%w secret: a public key (%s) cannot sign", ErrInvalid, publicPrefix)
	}
	return key, err
}

// parseKey decodes a secret. Its errors match ErrInvalid and contain nothing of
// the secret.
func parseKey(value string) (standardKey, error) {
	prefix, encoded := macPrefix, value
	if i := strings.IndexByte(value, '_') + 1; i > 0 {
		prefix, encoded = value[:i], value[i:]
	}
	raw, ok := decodeBase64(encoded)
	switch n := len(raw); {
	case prefix != macPrefix && prefix != signingPrefix && prefix != publicPrefix:
		return standardKey{}, fmt.Errorf("%w secret: want the prefix %s or %s", ErrInvalid, macPrefix, signingPrefix)
	case !ok:
		return standardKey{}, fmt.Errorf("%w secret: what follows %s is not standard base64 with padding", ErrInvalid, prefix)
	case prefix == macPrefix:
		if n < 24 || n > 64 {
			return standardKey{}, fmt.Errorf("%w secret: %s is followed by %d bytes, want 24 to 64", ErrInvalid, prefix, n)
		}
		return standardKey{mac: raw}, nil
	case prefix == publicPrefix:
		if n != ed25519.PublicKeySize {
			return standardKey{}, fmt.Errorf("%w secret: %s is followed by %d bytes, want %d", ErrInvalid, prefix, n, ed25519.PublicKeySize)
		}
		return standardKey{public: raw}, nil
	case n != ed25519.SeedSize && n != ed25519.PrivateKeySize:
		return standardKey{}, fmt.Errorf("%w secret: %s is followed by %d bytes, want %d or %d", ErrInvalid, prefix, n, ed25519.SeedSize, ed25519.PrivateKeySize)
	}
	// Signing with a public half that is not the seed's gives the seed away.
	private := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if len(raw) == ed25519.PrivateKeySize && !hmac.Equal(raw, private) {
		return standardKey{}, fmt.Errorf("%w secret: the public key in it is not that of its seed", ErrInvalid)
	}
	return standardKey{private: private, public: private.Public().(ed25519.PublicKey)}, nil
}

// standardContent is what Standard Webhooks signs, "id.timestamp.body", in two
// parts: an HMAC takes them as they are, without a copy of the body.
type standardContent struct {
	head, body []byte
	joined     []byte // both, once ed25519 needed it
	sum        [sha256.Size]byte
}

func newContent(id, timestamp string, body []byte) *standardContent {
	head := make([]byte, 0, len(id)+len(timestamp)+2)
	head = append(append(head, id...), '.')
	head = append(append(head, timestamp...), '.')
	return &standardContent{head: head, body: body}
}

// appendSignature appends the signature of the content, with its version, to b.
func (c *standardContent) appendSignature(b []byte, key standardKey) []byte {
	if key.private != nil {
		return base64.StdEncoding.AppendEncode(append(b, "v1a,"...), ed25519.Sign(key.private, c.whole()))
	}
	mac := hmac.New(sha256.New, key.mac)
	mac.Write(c.head)
	mac.Write(c.body)
	return base64.StdEncoding.AppendEncode(append(b, "v1,"...), mac.Sum(c.sum[:0]))
}

// signedBy reports whether one of the signatures is the key's.
func (c *standardContent) signedBy(key standardKey, signatures []string) bool {
	if key.public == nil {
		want := c.appendSignature(nil, key)
		return slices.ContainsFunc(signatures, func(s string) bool { return hmac.Equal([]byte(s), want) })
	}
	return slices.ContainsFunc(signatures, func(s string) bool {
		encoded, ok := strings.CutPrefix(s, "v1a,")
		if !ok {
			return false
		}
		signature, ok := decodeBase64(encoded)
		return ok && ed25519.Verify(key.public, c.whole(), signature)
	})
}

func (c *standardContent) whole() []byte {
	if c.joined == nil {
		c.joined = slices.Concat(c.head, c.body)
	}
	return c.joined
}

// HMAC sends an HMAC-SHA256 (RFC 2104) in one header, such as GitHub's
// X-Hub-Signature-256. It carries one signature, that of the newest secret.
type HMAC struct {
	// Header is the header's name.
	Header string
	// Prefix stands before the encoded signature, such as "sha256=".
	Prefix string
	// Encoding of the signature. Defaults to Hex.
	Encoding Encoding
	// Content returns what is signed. Defaults to Message.Body. It must not
	// modify the body.
	Content func(Message) []byte
	// Key makes the key from a secret's value, such as hex.DecodeString.
	// Defaults to the bytes of the value.
	Key func(value string) ([]byte, error)
	// Optional omits the header where an endpoint has no secret; otherwise one
	// is required.
	Optional bool
}

// Encoding is how [HMAC] writes a signature.
type Encoding uint8

// The values of [Encoding].
const (
	Hex    Encoding = iota // in lower case
	Base64                 // standard, with padding (RFC 4648, section 4)
)

// Sign implements [Signer]. No secret, unless s.Optional, or one that
// CheckSecret refuses, is [ErrInvalid].
func (s HMAC) Sign(h http.Header, m Message, secrets []Secret) error {
	if len(secrets) == 0 {
		if s.Optional {
			return nil
		}
		return errNoSecret
	}
	key, err := s.key(secrets[0])
	if err != nil {
		return err
	}
	sum := s.sum(key, m)
	value := make([]byte, 0, 128)
	value = append(value, s.Prefix...)
	if s.Encoding == Base64 {
		value = base64.StdEncoding.AppendEncode(value, sum)
	} else {
		value = hex.AppendEncode(value, sum)
	}
	h[http.CanonicalHeaderKey(s.Header)] = []string{string(value)}
	return nil
}

// Verify checks the signature in h of the message m, of which the fields that
// s.Content reads must be set: m.Body, if it is nil. It returns nil if the
// signature is right for one of the secrets, and otherwise an error that matches
// [ErrBadSignature]: the header is missing, there more than once or malformed,
// or does not match. Without a secret it refuses, s.Optional or not.
//
// Every given secret counts, whatever its ExpiresAt; one that is malformed is an
// error that matches [ErrInvalid] as well. Signatures are compared in constant
// time. The freshness of a timestamp that s.Content includes is the caller's to
// check.
func (s HMAC) Verify(h http.Header, m Message, secrets []Secret) error {
	value, err := headerValue(h, s.Header)
	if err != nil {
		return err
	}
	encoded, ok := strings.CutPrefix(value, s.Prefix)
	var sum []byte
	if ok && s.Encoding == Base64 {
		sum, ok = decodeBase64(encoded)
	} else if ok {
		sum, err = hex.DecodeString(encoded)
	}
	if !ok || err != nil {
		return fmt.Errorf("%w: %s is malformed", ErrBadSignature, s.Header)
	}
	if len(secrets) == 0 {
		return fmt.Errorf("%w: there is no secret to verify with", ErrBadSignature)
	}
	for i, secret := range secrets {
		key, err := s.key(secret)
		if err != nil {
			return fmt.Errorf("%w: secrets[%d]: %w", ErrBadSignature, i, err)
		}
		if hmac.Equal(sum, s.sum(key, m)) {
			return nil
		}
	}
	return errNoMatch
}

// NewSecret returns a secret that s.Key takes: the function [NewSecret]'s, or
// the same amount of randomness in plain base64 or hexadecimal. With s.Optional
// it returns the zero Secret.
func (s HMAC) NewSecret() Secret {
	if s.Optional {
		return Secret{}
	}
	secret := NewSecret()
	plain := strings.TrimPrefix(secret.Value, macPrefix)
	for _, value := range []string{secret.Value, plain, hex.EncodeToString(randomBytes())} {
		if candidate := (Secret{Value: value}); s.CheckSecret(candidate) == nil {
			return candidate
		}
	}
	return secret // CheckSecret says what is wrong with it
}

// CheckSecret returns [ErrInvalid] if the secret is empty, or s.Key refuses it
// or makes an empty key of it.
func (s HMAC) CheckSecret(secret Secret) error {
	_, err := s.key(secret)
	return err
}

// SignatureHeaders returns s.Header.
func (s HMAC) SignatureHeaders() []string { return []string{s.Header} }

// SingleSecret returns true.
func (HMAC) SingleSecret() bool { return true }

func (s HMAC) validate() error {
	if s.Encoding > Base64 {
		return fmt.Errorf("Encoding: %w: it is neither Hex nor Base64", ErrInvalid)
	}
	if err := header.CheckValue(s.Prefix + "x"); err != nil {
		return fmt.Errorf("Prefix: %w: %w", ErrInvalid, err)
	}
	return checkHeaderName("Header", s.Header)
}

func (s HMAC) key(secret Secret) ([]byte, error) {
	switch {
	case secret.Value == "":
		return nil, fmt.Errorf("%w secret: it is empty", ErrInvalid)
	case s.Key == nil:
		return []byte(secret.Value), nil
	}
	key, err := s.Key(secret.Value)
	if err != nil || len(key) == 0 {
		// The errors of parsers quote what they parse.
		return nil, fmt.Errorf("%w secret: it is not in the form that the signing scheme takes", ErrInvalid)
	}
	return key, nil
}

func (s HMAC) sum(key []byte, m Message) []byte {
	content := m.Body
	if s.Content != nil {
		content = s.Content(m)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(content)
	return mac.Sum(nil)
}

// SecretHeader sends the secret itself in a header, the newest one. It proves
// who sends, not what: prefer a signature where receivers can verify one.
type SecretHeader struct {
	// Name is the header's name, such as "X-Documenso-Secret".
	Name string
	// Optional omits the header where an endpoint has no secret; otherwise one
	// is required.
	Optional bool
}

// Sign implements [Signer]. No secret, unless s.Optional, or one that
// CheckSecret refuses, is [ErrInvalid].
func (s SecretHeader) Sign(h http.Header, _ Message, secrets []Secret) error {
	if len(secrets) == 0 {
		if s.Optional {
			return nil
		}
		return errNoSecret
	}
	if err := s.CheckSecret(secrets[0]); err != nil {
		return err
	}
	h[http.CanonicalHeaderKey(s.Name)] = []string{secrets[0].Value}
	return nil
}

// Verify returns nil if the header is there once and holds one of the secrets,
// and otherwise an error that matches [ErrBadSignature]. Every given secret
// counts, whatever its ExpiresAt; one that CheckSecret refuses is an error that
// matches [ErrInvalid] as well. They are compared in constant time.
func (s SecretHeader) Verify(h http.Header, secrets []Secret) error {
	value, err := headerValue(h, s.Name)
	if err != nil {
		return err
	}
	if len(secrets) == 0 {
		return fmt.Errorf("%w: there is no secret to verify with", ErrBadSignature)
	}
	for i, secret := range secrets {
		if err := s.CheckSecret(secret); err != nil {
			return fmt.Errorf("%w: secrets[%d]: %w", ErrBadSignature, i, err)
		}
		if hmac.Equal([]byte(value), []byte(secret.Value)) {
			return nil
		}
	}
	return errNoMatch
}

// NewSecret is the function [NewSecret]; with s.Optional it returns the zero
// Secret.
func (s SecretHeader) NewSecret() Secret {
	if s.Optional {
		return Secret{}
	}
	return NewSecret()
}

// CheckSecret returns [ErrInvalid] unless the secret is one or more visible
// ASCII characters, with spaces only between them.
func (SecretHeader) CheckSecret(secret Secret) error {
	if !header.IsCredential(secret.Value) {
		return fmt.Errorf("%w secret: want visible ASCII characters, with spaces only between them", ErrInvalid)
	}
	return nil
}

// SignatureHeaders returns s.Name.
func (s SecretHeader) SignatureHeaders() []string { return []string{s.Name} }

// SingleSecret returns true.
func (SecretHeader) SingleSecret() bool { return true }

func (s SecretHeader) validate() error { return checkHeaderName("Name", s.Name) }

// Signers applies several schemes to each request, all with the endpoint's
// secrets.
type Signers []Signer

// Sign implements [Signer] by calling each in turn, up to the first error.
func (s Signers) Sign(h http.Header, m Message, secrets []Secret) error {
	for _, signer := range s {
		if err := signer.Sign(h, m, secrets); err != nil {
			return err
		}
	}
	return nil
}

// NewSecret returns the secret of the first scheme that needs one, if every
// other takes it, else that of the next. It returns the zero Secret if none
// needs one.
func (s Signers) NewSecret() (first Secret) {
	for _, signer := range s {
		secret := generateSecret(signer)
		if secret.Value == "" {
			continue
		}
		if s.CheckSecret(secret) == nil {
			return secret
		}
		if first.Value == "" {
			first = secret
		}
	}
	return first // CheckSecret says what is wrong with it
}

// CheckSecret returns the first error of the schemes' own.
func (s Signers) CheckSecret(secret Secret) error {
	for _, signer := range s {
		if c, ok := signer.(interface{ CheckSecret(Secret) error }); ok {
			if err := c.CheckSecret(secret); err != nil {
				return err
			}
		}
	}
	return nil
}

// SignatureHeaders returns the headers of all schemes.
func (s Signers) SignatureHeaders() []string {
	var names []string
	for _, signer := range s {
		names = append(names, signatureHeaders(signer)...)
	}
	return names
}

// SingleSecret reports whether one of the schemes takes a single secret only.
func (s Signers) SingleSecret() bool { return slices.ContainsFunc(s, singleSecret) }

func (s Signers) validate() error {
	if len(s) == 0 {
		return fmt.Errorf("Signers: %w: it is empty", ErrInvalid)
	}
	for i, signer := range s {
		if signer == nil {
			return fmt.Errorf("Signers[%d]: %w: it is nil", i, ErrInvalid)
		}
		if v, ok := signer.(interface{ validate() error }); ok {
			if err := v.validate(); err != nil {
				return fmt.Errorf("Signers[%d]: %w", i, err)
			}
		}
	}
	names := s.SignatureHeaders()
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("Signers: %w: two of them write %s", ErrInvalid, name)
		}
	}
	return nil
}

// Authorizer gets the access tokens of the endpoints whose Auth is [OAuth2].
// Module github.com/outhook/webhook/oauth2 has one.
type Authorizer interface {
	// Authorize asks a.TokenURL for a token and returns the value of the
	// Authorization header, "Bearer " and the token, and until when it is good;
	// zero if that is not known. It is called for one token, and the result is
	// kept by the library.
	//
	// The URL comes from a stranger. Requests are therefore made with client
	// alone, which reaches what [Network] permits, follows no redirect, reads
	// answers of at most 64 KiB, and ends with ctx, that is within the timeout of
	// the attempt.
	//
	// The error's text is shown to the endpoint's owner and logged: it holds
	// neither the client secret nor a token, nor what the server has said beyond
	// the error codes of RFC 6749, section 5.2. An error of client may be wrapped.
	Authorize(ctx context.Context, client *http.Client, a Auth) (header string, until time.Time, err error)
}

// AuthorizerFunc is a function that is an [Authorizer].
type AuthorizerFunc func(ctx context.Context, client *http.Client, a Auth) (header string, until time.Time, err error)

// Authorize implements [Authorizer].
func (f AuthorizerFunc) Authorize(ctx context.Context, client *http.Client, a Auth) (string, time.Time, error) {
	return f(ctx, client, a)
}

var errNoAuthorizer = fmt.Errorf("%w: oauth2 needs Config.Authorizer", ErrNotSupported)

// tokenError is why there is no token. Its text is for the endpoint's owner.
type tokenError struct {
	text  string
	cause error // for the operator: it names no URL
	ours  bool  // it says nothing of the endpoint
}

func (e *tokenError) Error() string { return "no access token: " + e.text }

func (e *tokenError) Unwrap() error { return e.cause }

// newTokenError makes the error of an authorizer, or of the wait for it, fit to
// be shown.
func newTokenError(err error, a Auth) *tokenError {
	if e, ok := errors.AsType[*url.Error](err); ok { // net/http adds the URL
		err = e.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &tokenError{text: "timeout", cause: err}
	}
	text, id, secret := err.Error(), url.QueryEscape(a.Name), url.QueryEscape(a.Secret.Value)
	for _, word := range []string{
		a.Secret.Value, secret, // RFC 6749, section 2.3.1, in the body and in the header
		base64.StdEncoding.EncodeToString([]byte(id + ":" + secret)), base64.StdEncoding.EncodeToString([]byte(a.Name + ":" + a.Secret.Value)),
	} {
		if redact.Holds(text, word) {
			return &tokenError{text: fmt.Sprintf("the text of the %T is withheld, it contains the client secret", err)}
		}
	}
	return &tokenError{text: errorText(err), cause: err}
}

// authorize adds the header whose value has to be fetched, if there is one, and
// returns that. Its error is a tokenError.
func (t *target) authorize(ctx context.Context, h http.Header) (string, error) {
	if t.token == nil {
		return "", nil
	}
	token, err := t.token.Get(ctx)
	if err != nil {
		if _, ok := errors.AsType[*tokenError](err); !ok { // it was waited for in vain
			err = newTokenError(err, t.endpoint.Auth)
		}
		return "", err
	}
	h[t.auth] = []string{token}
	return token, nil
}

// fetchToken asks the authorizer for what the endpoint's Authorization header is
// to say. Its error is a tokenError.
func (d *Dispatcher) fetchToken(ctx context.Context, t *target) (value string, until time.Time, err error) {
	defer func() {
		if r := recover(); r != nil { // the type only: the value might contain a secret
			value, err = "", &tokenError{text: fmt.Sprintf("the authorizer panicked: %T", r), ours: true}
		}
	}()
	value, until, err = d.config.Authorizer.Authorize(ctx, d.client(t.endpoint.Tenant).HTTP(ctx, t.profile.UserAgent), t.endpoint.Auth)
	switch {
	case err != nil:
		return "", until, newTokenError(err, t.endpoint.Auth)
	case !header.IsCredential(value) || len(value) > header.MaxBytes:
		return "", until, &tokenError{text: fmt.Sprintf("it is not visible ASCII characters, of which there are at most %d", header.MaxBytes)}
	}
	return value, until, nil
}

// Verification makes sure that a receiver wants what its endpoint is to be sent,
// before it is sent any of it: see [Profile].Verification. [AbuseProtection] and
// [ChallengeEcho] are two.
type Verification interface {
	// Request returns the request that asks. url is the endpoint's; challenge is
	// 43 characters of base64url, random and new each time. The request is sent
	// as a delivery is, with the endpoint's own headers and Auth and, if it has a
	// body, signed.
	Request(url, challenge string) (*http.Request, error)
	// Consent returns nil if the response, whose body is in memory and at most
	// 64 KiB, says yes, and how many requests per second are granted, 0 for no
	// limit. The error is for the endpoint's owner.
	Consent(res *http.Response, challenge string) (rate float64, err error)
}

// AbuseProtection is the handshake of CloudEvents (HTTP 1.1 Web Hooks for Event
// Delivery 1.0.1, section 4): an OPTIONS request, and consent by the header
// WebHook-Allowed-Origin alone, whatever the status is. Every delivery then has
// the header WebHook-Request-Origin as well (section 2.1).
//
// Consent by callback (WebHook-Request-Callback) is not offered: a receiver that
// withholds the header has not agreed.
type AbuseProtection struct {
	// Origin is the DNS name that stands for the sending system:
	// "webhooks.product.example". The receiver agrees to it, or to any by "*".
	Origin string
	// Rate is how many requests per minute to ask for; 0 asks for none in
	// particular. The receiver's WebHook-Allowed-Rate decides, "*" for no limit;
	// if it has none, Rate is kept to.
	Rate int
}

// Request implements [Verification].
func (v AbuseProtection) Request(url, _ string) (*http.Request, error) {
	r, err := http.NewRequest(http.MethodOptions, url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set(requestOrigin, v.Origin)
	if v.Rate > 0 {
		r.Header.Set("Webhook-Request-Rate", strconv.Itoa(v.Rate))
	}
	return r, nil
}

// Consent implements [Verification].
func (v AbuseProtection) Consent(res *http.Response, _ string) (rate float64, err error) {
	switch origins := res.Header.Values("Webhook-Allowed-Origin"); {
	case len(origins) == 0:
		return 0, errors.New("the answer has no header WebHook-Allowed-Origin")
	case len(origins) > 1 || origins[0] != "*" && !strings.EqualFold(origins[0], v.Origin):
		return 0, fmt.Errorf("the answer's header WebHook-Allowed-Origin is neither %s nor *", v.Origin)
	}
	switch rates := res.Header.Values("Webhook-Allowed-Rate"); {
	case len(rates) == 0:
		return float64(v.Rate) / 60, nil
	case len(rates) == 1 && rates[0] == "*":
		return 0, nil
	case len(rates) == 1 && len(rates[0]) <= 18 && strings.Trim(rates[0], "0123456789") == "":
		if perMinute, err := strconv.ParseInt(rates[0], 10, 64); err == nil && perMinute > 0 {
			return float64(perMinute) / 60, nil
		}
	}
	return 0, errors.New("the answer's header WebHook-Allowed-Rate is neither a number of requests per minute nor *")
}

const requestOrigin = "Webhook-Request-Origin"

// headers returns what every delivery says of the handshake.
func (v AbuseProtection) headers() http.Header { return http.Header{requestOrigin: {v.Origin}} }

func (v AbuseProtection) validate() error {
	switch {
	case len(v.Origin) > 253 || !isWord(v.Origin, "-._") || strings.HasPrefix(v.Origin, ".") || strings.Contains(v.Origin, ".."):
		return fmt.Errorf("Origin: %w: %.64q is not a DNS name", ErrInvalid, v.Origin)
	case v.Rate < 0:
		return fmt.Errorf("Rate: %w: %d is negative", ErrInvalid, v.Rate)
	}
	return nil
}

// ChallengeEcho is a signed POST of {"type":"endpoint.verification","challenge":"…"},
// which the receiver answers with status 2xx and a body that is the challenge
// itself, white space around it aside.
type ChallengeEcho struct {
	// Type is the type in the body. Defaults to "endpoint.verification".
	Type string
}

// Request implements [Verification].
func (v ChallengeEcho) Request(url, challenge string) (*http.Request, error) {
	body, err := json.Marshal(struct {
		Type      string `json:"type"`
		Challenge string `json:"challenge"`
	}{cmp.Or(v.Type, verificationType), challenge})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	return r, nil
}

// Consent implements [Verification].
func (v ChallengeEcho) Consent(res *http.Response, challenge string) (rate float64, err error) {
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return 0, fmt.Errorf("status %d", res.StatusCode)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	if subtle.ConstantTimeCompare(bytes.TrimSpace(body), []byte(challenge)) != 1 {
		return 0, errors.New("the answer's body is not the challenge")
	}
	return 0, nil
}

// verificationType is Message.EventType of the request of a Verification.
const verificationType = "endpoint.verification"

// askConsent makes the exchange of the profile's Verification and returns the
// rate that the receiver grants. The error matches ErrNotVerified where it is the
// receiver's; its text is for the endpoint's owner, what is logged for operators.
func (d *Dispatcher) askConsent(ctx context.Context, t *target) (rate float64, err error) {
	within, cancel := context.WithTimeout(ctx, t.profile.Timeout)
	defer cancel()
	challenge := base64.RawURLEncoding.EncodeToString(randomBytes())
	r, err := t.consentRequest(within, challenge)
	if err != nil {
		return 0, err
	}
	res, token, err := d.ask(within, t, r)
	var told error // to the endpoint's owner
	level, ours := zap.InfoLevel, false
	switch {
	case err == nil:
		if rate, err = t.consent(res, challenge); err == nil {
			return rate, nil
		}
		if told = err; t.shown(err.Error(), token) != err.Error() {
			told = errors.New(t.shown(err.Error(), token))
		}
	case ctx.Err() != nil:
		return 0, ctx.Err()
	default:
		told = errors.New(t.shown(ownerText(err), token))
		e, ok := errors.AsType[*tokenError](err)
		if ours = ok && e.ours || errors.Is(err, wire.ErrProxy); ours || errors.Is(err, wire.ErrBlocked) || errors.Is(err, wire.ErrURL) {
			level = zap.WarnLevel
		}
	}
	d.log.Log(level, "an endpoint is not verified", zap.String("endpoint", t.record.ID), zap.String("url", withoutQuery(t.url)),
		zap.NamedError("error", t.tellable(operatorError(err), token)))
	if ours {
		return 0, told
	}
	return 0, fmt.Errorf("%w: %w", ErrNotVerified, told)
}

// ask sends a request of a Verification, and returns the header that was fetched
// for it.
func (d *Dispatcher) ask(ctx context.Context, t *target, r *http.Request) (res *http.Response, token string, err error) {
	if t.refused != nil {
		return nil, "", t.refused
	}
	if token, err = t.authorize(ctx, r.Header); err != nil {
		return nil, "", err
	}
	res, err = t.client.HTTP(ctx, t.profile.UserAgent).Do(r)
	return res, token, err
}

// ownerText returns what an endpoint's owner is told of a request that brought no
// answer.
func ownerText(err error) string {
	if e, ok := errors.AsType[*tokenError](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e.Error()
	}
	return "connection failed"
}

// consentRequest returns the request that asks a receiver for its consent, with
// what a delivery would have.
func (t *target) consentRequest(ctx context.Context, challenge string) (r *http.Request, err error) {
	defer recovered(&err, "verification")
	asked, err := t.profile.Verification.Request(t.endpoint.URL, challenge)
	if err != nil {
		return nil, fmt.Errorf("verification: %w", err)
	}
	var body []byte
	if asked.Body != nil {
		if body, err = io.ReadAll(asked.Body); err != nil {
			return nil, fmt.Errorf("verification: %w", err)
		}
	}
	if r, err = http.NewRequestWithContext(ctx, asked.Method, asked.URL.String(), bytes.NewReader(body)); err != nil {
		return nil, fmt.Errorf("verification: %w", err)
	}
	maps.Copy(r.Header, t.headers)
	delete(r.Header, "Content-Type")
	maps.Copy(r.Header, asked.Header)
	if len(body) == 0 {
		return r, nil
	}
	now := time.Now()
	m := Message{
		ID: uuid.Must(uuid.NewV7()).String(), EventType: verificationType, Tenant: t.endpoint.Tenant, URL: t.endpoint.URL,
		Attempt: 1, EventTime: now, Timestamp: now, Body: body,
	}
	_, err = t.sign(m, r.Header)
	return r, err
}

// consent returns what the profile's Verification makes of an answer.
func (t *target) consent(res *http.Response, challenge string) (rate float64, err error) {
	defer recovered(&err, "verification")
	rate, err = t.profile.Verification.Consent(res, challenge)
	if err == nil && (!(rate >= 0) || math.IsInf(rate, 0)) {
		err = fmt.Errorf("the rate %v is not a number from 0", rate)
	}
	return rate, err
}

var (
	errNoSecret = fmt.Errorf("%w secrets: the signing scheme needs one", ErrInvalid)
	errNoMatch  = fmt.Errorf("%w: it does not match", ErrBadSignature)
)

// strictBase64 refuses what a re-encoding would write differently, line breaks
// excepted.
var strictBase64 = base64.StdEncoding.Strict()

// decodeBase64 decodes standard base64 with padding, in its one spelling.
func decodeBase64(s string) ([]byte, bool) {
	b, err := strictBase64.DecodeString(s)
	return b, err == nil && len(s) == strictBase64.EncodedLen(len(b))
}

// headerValue returns the value of a header that must be there exactly once:
// what a proxy before the receiver judged must be what is verified.
func headerValue(h http.Header, name string) (string, error) {
	switch values := h.Values(name); {
	case len(values) > 1:
		return "", fmt.Errorf("%w: %s is there more than once", ErrBadSignature, name)
	case len(values) == 0 || values[0] == "":
		return "", fmt.Errorf("%w: %s is missing", ErrBadSignature, name)
	default:
		return values[0], nil
	}
}

// generateSecret returns a new secret for the scheme: a zero one if it needs
// none or cannot tell.
func generateSecret(s Signer) Secret {
	if g, ok := s.(interface{ NewSecret() Secret }); ok {
		return g.NewSecret()
	}
	return Secret{}
}

// singleSecret reports whether the scheme takes one secret at a time.
func singleSecret(s Signer) bool {
	c, ok := s.(interface{ SingleSecret() bool })
	return ok && c.SingleSecret()
}

// revealsSecrets reports whether who receives what the scheme has signed may know
// the secret by it: that of somebody else's scheme may do anything.
func revealsSecrets(s Signer) bool {
	switch s := s.(type) {
	// As in signPrivately: the types themselves.
	case StandardWebhooks, *StandardWebhooks, HMAC, *HMAC:
		return false
	case Signers:
		return slices.ContainsFunc(s, revealsSecrets)
	case *Signers:
		return slices.ContainsFunc(*s, revealsSecrets)
	}
	return true
}

// signatureHeaders returns the canonical names of the headers that the scheme
// says it writes. The slice is the caller's.
func signatureHeaders(s Signer) []string {
	c, ok := s.(interface{ SignatureHeaders() []string })
	if !ok {
		return nil
	}
	names := slices.Clone(c.SignatureHeaders())
	for i, name := range names {
		names[i] = http.CanonicalHeaderKey(name)
	}
	return names
}

// Bounds of an endpoint's secrets.
const (
	maxSecrets   = 10
	maxSecretLen = 8 << 10 // a private RSA key in PEM fits
)

// checkSecrets returns what is wrong with an endpoint's secrets, the newest
// first: ErrInvalid, or ErrNotSupported for several where the scheme takes one.
// Its errors name the index and never contain a secret.
func checkSecrets(s Signer, secrets []Secret) error {
	switch {
	case len(secrets) == 0 && generateSecret(s).Value != "":
		return fmt.Errorf("Secrets: %w: the signing scheme needs one", ErrInvalid)
	case len(secrets) > maxSecrets:
		return fmt.Errorf("Secrets: %w: there are %d, want at most %d", ErrInvalid, len(secrets), maxSecrets)
	case len(secrets) > 1 && singleSecret(s):
		return fmt.Errorf("Secrets: %w: the signing scheme carries one secret only", ErrNotSupported)
	case len(secrets) > 0 && !secrets[0].ExpiresAt.IsZero():
		return fmt.Errorf("Secrets[0]: %w: the newest secret must not expire", ErrInvalid)
	}
	for i, secret := range secrets {
		if err := checkSecret(s, secret); err != nil {
			return fmt.Errorf("Secrets[%d]: %w", i, err)
		}
	}
	return nil
}

func checkSecret(s Signer, secret Secret) (err error) {
	if n := len(secret.Value); n == 0 || n > maxSecretLen {
		return fmt.Errorf("%w secret: it has %d bytes, want 1 to %d", ErrInvalid, n, maxSecretLen)
	}
	if !utf8.ValidString(secret.Value) {
		return fmt.Errorf("%w secret: it is not UTF-8 text; write binary keys in hex or base64 and decode them in Key", ErrInvalid)
	}
	if err := checkTime(secret.ExpiresAt); err != nil {
		return err
	}
	c, ok := s.(interface{ CheckSecret(Secret) error })
	if !ok {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w secret: %w", ErrInvalid, errPanicked(r))
		}
	}()
	err = withoutSecrets(c.CheckSecret(secret), secret)
	if err != nil && !errors.Is(err, ErrInvalid) {
		err = fmt.Errorf("%w secret: %w", ErrInvalid, err)
	}
	return err
}

// validSecrets returns those that sign at a time: secrets itself if it is all of
// them.
func validSecrets(secrets []Secret, at time.Time) []Secret {
	expired := func(s Secret) bool { return !s.validAt(at) }
	if !slices.ContainsFunc(secrets, expired) {
		return secrets
	}
	return slices.DeleteFunc(slices.Clone(secrets), expired)
}

// sign signs m into h and returns the headers to record in the log of attempts:
// h itself or, where a scheme wrote what may be a secret, a copy with that
// redacted. A panic is an error.
func sign(s Signer, h http.Header, m Message, secrets []Secret) (recorded http.Header, err error) {
	defer func() {
		if r := recover(); r != nil {
			recorded, err = nil, errPanicked(r)
		}
	}()
	private, err := signPrivately(s, h, m, secrets)
	if err != nil {
		return nil, withoutSecrets(err, secrets...)
	}
	return redact.Header(h, private), nil
}

// signPrivately signs m into h and returns the names of the headers that may
// hold a secret: all that SecretHeader, or a scheme of somebody else's, wrote.
func signPrivately(s Signer, h http.Header, m Message, secrets []Secret) (private []string, err error) {
	switch s := s.(type) {
	// The types themselves, no interface: a type that embeds one of them and
	// has a Sign of its own is somebody else's.
	case StandardWebhooks, *StandardWebhooks, HMAC, *HMAC:
		return nil, s.Sign(h, m, secrets)
	case Signers:
		for _, signer := range s {
			more, err := signPrivately(signer, h, m, secrets)
			if err != nil {
				return nil, err
			}
			private = append(private, more...)
		}
		return private, nil
	}
	before := h.Clone()
	if err := s.Sign(h, m, secrets); err != nil {
		return nil, err
	}
	for name, values := range h {
		if !slices.Equal(before[name], values) {
			private = append(private, name)
		}
	}
	// A header that held the secret already is redacted too.
	return append(private, presentIn(h, signatureHeaders(s))...), nil
}

func presentIn(h http.Header, names []string) []string {
	return slices.DeleteFunc(names, func(name string) bool { _, ok := h[name]; return !ok })
}

// errPanicked tells the type only: the value might contain a secret.
func errPanicked(value any) error { return fmt.Errorf("signer panicked: %T", value) }

// withoutSecrets returns err, or another where its text contains a secret, in
// whatever encoding.
func withoutSecrets(err error, secrets ...Secret) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, secret := range secrets {
		if slices.ContainsFunc(wordsOf(secret), func(word string) bool { return redact.Holds(text, word) }) {
			return fmt.Errorf("signer failed: the text of the %T is withheld, it contains a secret", err)
		}
	}
	return err
}

// wordsOf returns what must not be seen of a secret: itself, what follows its
// prefix, and the key that this is in base64.
func wordsOf(secret Secret) []string {
	words := []string{secret.Value}
	_, encoded, ok := strings.Cut(secret.Value, "_")
	if !ok {
		encoded = secret.Value
	} else {
		words = append(words, encoded)
	}
	if raw, ok := decodeBase64(encoded); ok && len(raw) >= 16 {
		words = append(words, string(raw))
	}
	return words
}

// checkHeaders returns ErrInvalid unless an endpoint may have these headers,
// which must not be among own, the names that its profile and Auth write. Its
// error names the header and contains no value.
func checkHeaders(headers map[string]string, own []string) error {
	if err := header.Check(headers); err != nil {
		return fmt.Errorf("Headers: %w: %w", ErrInvalid, err)
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if header.Among(own, name) {
			return fmt.Errorf("Headers: %w: %s is set by the profile or Auth", ErrInvalid, http.CanonicalHeaderKey(name))
		}
	}
	return nil
}

// checkHeaderName returns ErrInvalid unless the field may be a header's name.
func checkHeaderName(field, name string) error {
	if err := header.CheckName(name); err != nil {
		return fmt.Errorf("%s: %w: %w", field, ErrInvalid, err)
	}
	return nil
}

// checkAuth returns ErrInvalid unless a can authenticate a request. Its error
// does not contain the secret.
func checkAuth(a Auth) error {
	secret := a.Secret.Value
	problem := ""
	switch {
	case len(a.Name)+len(secret)+len(a.Scope)+len(a.Params) > header.MaxBytes:
		problem = fmt.Sprintf("it has more than %d bytes", header.MaxBytes)
	case !a.Secret.ExpiresAt.IsZero():
		problem = "its secret must not expire"
	case a.Scheme == "" && (a.Name != "" || secret != ""):
		problem = "it has a name or a secret, but no scheme"
	case a.Scheme != authOAuth2 && a.TokenURL+a.Scope+a.Params != "":
		problem = "TokenURL, Scope and Params are for oauth2 alone"
	case a.Scheme == "":
	case a.Scheme == authBasic:
		switch { // RFC 7617, section 2
		case a.Name == "" && secret == "":
			problem = "it has neither user nor password"
		case strings.Contains(a.Name, ":"):
			problem = "the user contains a colon"
		case !isText(a.Name) || !isText(secret):
			problem = "user or password has control characters, or is not UTF-8"
		}
	case a.Scheme == authBearer:
		switch {
		case a.Name != "":
			problem = "a bearer token has no name"
		case !header.IsCredential(secret) || strings.Contains(secret, " "):
			problem = "the token is not one or more visible ASCII characters"
		}
	case a.Scheme == authAPIKey:
		switch err := checkHeaderName("Auth", a.Name); {
		case !header.IsName(a.Name): // err quotes what may be the key, in the wrong place
			problem = "its name is not a header name"
		case err != nil:
			return err
		case !header.IsCredential(secret):
			problem = "the key is not visible ASCII characters, with spaces only between them"
		}
	case a.Scheme == authOAuth2:
		problem = oauth2Problem(a)
	default:
		problem = fmt.Sprintf("the scheme %.32q is none of basic, bearer, apikey and oauth2", a.Scheme)
	}
	if problem != "" {
		return fmt.Errorf("Auth: %w: %s", ErrInvalid, problem)
	}
	return nil
}

// oauth2Problem says what is wrong with client credentials (RFC 6749, appendix
// A), "" for nothing. Their TokenURL is checked as the endpoint's URL is.
func oauth2Problem(a Auth) string {
	invisible := func(r rune) bool { return r < ' ' || r > '~' }
	switch {
	case a.Name == "" || strings.ContainsFunc(a.Name, invisible):
		return "the client ID is not one or more visible ASCII characters"
	case a.Secret.Value == "" || strings.ContainsFunc(a.Secret.Value, invisible):
		return "the client secret is not one or more visible ASCII characters"
	case a.Scope != "" && !isScope(a.Scope):
		return "the scope is not words of visible ASCII, without quotes and backslashes, with one space between two of them"
	}
	params, err := url.ParseQuery(a.Params)
	if err != nil {
		return "its parameters are not encoded as in a URL"
	}
	for _, name := range []string{"grant_type", "client_id", "client_secret", "scope"} {
		if params.Has(name) {
			return "its parameters name " + name
		}
	}
	return ""
}

func isScope(scope string) bool {
	for word := range strings.SplitSeq(scope, " ") {
		if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			return false
		}
	}
	return true
}

// isText reports whether s is UTF-8 without control characters.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
