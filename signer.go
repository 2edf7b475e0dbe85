package webhook

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrBadSignature says that a request's signature is missing, malformed, stale
// or does not match. The text says which.
var ErrBadSignature = errors.New("bad signature")

const redacted = "[redacted]"

// Secret is a signing secret or a credential. It prints as [redacted] under
// every verb of fmt, in zap, slog, JSON and text encodings; only Value holds it.
type Secret struct {
	Value string
	// ExpiresAt is until when an older secret still signs; zero: no end.
	ExpiresAt time.Time
}

// Format implements [fmt.Formatter]: every verb prints [redacted].
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (Secret) GoString() string { return redacted }

// LogValue implements [slog.LogValuer].
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON implements [json.Marshaler].
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText implements [encoding.TextMarshaler].
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// The prefixes of the serialized secrets of Standard Webhooks.
const (
	symmetricPrefix = "whsec_"
	privatePrefix   = "whsk_"
	publicPrefix    = "whpk_"
)

// NewSecret returns a new symmetric secret: "whsec_" and 32 random bytes in
// base64.
func NewSecret() Secret {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return Secret{Value: symmetricPrefix + base64.StdEncoding.EncodeToString(key)}
}

// NewSigningKey returns a new private key for asymmetric signatures: "whsk_" and
// an ed25519 seed with its public key in base64. [PublicKey] returns what the
// receiver needs.
func NewSigningKey() Secret {
	_, key, _ := ed25519.GenerateKey(nil) // never fails with crypto/rand
	return Secret{Value: privatePrefix + base64.StdEncoding.EncodeToString(key)}
}

// PublicKey returns the public half of a "whsk_" secret, as "whpk_" and base64,
// which a receiver verifies with. [ErrInvalid] for any other secret.
func PublicKey(s Secret) (string, error) {
	key, err := parseKey(s.Value)
	if err != nil {
		return "", err
	}
	if key.private == nil {
		return "", fmt.Errorf("public key: %w: the secret is not a %s one", ErrInvalid, privatePrefix)
	}
	return publicPrefix + base64.StdEncoding.EncodeToString(key.public), nil
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
//	NewSecret() Secret          // Register generates a secret with it when none is given; zero: none is needed
//	CheckSecret(Secret) error   // Register, Update and RotateSecret refuse what it refuses
//	SignatureHeaders() []string // the names that nothing else may set
//	SingleSecret() bool         // true: one secret at a time, no overlap when rotating
//
// Headers that a Signer other than those of this package sets are redacted in
// the log of attempts.
type Signer interface {
	Sign(h http.Header, m Message, secrets []Secret) error
}

// SecretHeader sends the secret itself in the header Name. Without a secret,
// Sign fails, or with Optional sends no such header; Register then generates no
// secret.
type SecretHeader struct {
	Name     string
	Optional bool
}

// Sign implements [Signer].
func (s SecretHeader) Sign(h http.Header, _ Message, secrets []Secret) error {
	if len(secrets) == 0 {
		return noSecret(s.Optional)
	}
	h[http.CanonicalHeaderKey(s.Name)] = []string{secrets[0].Value}
	return nil
}

// Verify checks that the header holds one of the secrets; otherwise the error
// matches [ErrBadSignature]. It takes constant time for secrets of one length.
// ExpiresAt is not looked at.
func (s SecretHeader) Verify(h http.Header, secrets []Secret) error {
	got, err := onlyValue(h, s.Name)
	if err != nil {
		return err
	}
	for _, secret := range secrets {
		if secret.Value != "" && subtle.ConstantTimeCompare([]byte(got), []byte(secret.Value)) == 1 {
			return nil
		}
	}
	return mismatch()
}

// NewSecret returns a secret for Register, or none with Optional.
func (s SecretHeader) NewSecret() Secret { return newUnless(s.Optional) }

// CheckSecret refuses what cannot be the value of a header.
func (s SecretHeader) CheckSecret(secret Secret) error {
	if secret.Value == "" {
		return fmt.Errorf("%w: it is empty", ErrInvalid)
	}
	return checkHeaderValue(secret.Value)
}

// SignatureHeaders returns s.Name.
func (s SecretHeader) SignatureHeaders() []string { return []string{s.Name} }

// SingleSecret returns true.
func (SecretHeader) SingleSecret() bool { return true }

func (s SecretHeader) validate() error { return checkHeaderName("Name", s.Name) }

// Encoding is how a signature is written.
type Encoding uint8

// The encodings.
const (
	Hex    Encoding = iota // lower case
	Base64                 // standard, padded
)

func (e Encoding) encode(sum []byte) string {
	if e == Base64 {
		return base64.StdEncoding.EncodeToString(sum)
	}
	return hex.EncodeToString(sum)
}

// HMAC signs with HMAC-SHA256 (RFC 2104) and the newest secret: the header is
// Prefix and the encoded signature. Without a secret, Sign fails, or with
// Optional sends no such header; Register then generates no secret.
type HMAC struct {
	Header   string
	Prefix   string // such as "sha256="
	Encoding Encoding
	Content  func(Message) []byte               // what is signed; nil: the body
	Key      func(value string) ([]byte, error) // the key of a secret; nil: the bytes of its Value
	Optional bool
}

// Sign implements [Signer].
func (s HMAC) Sign(h http.Header, m Message, secrets []Secret) error {
	if len(secrets) == 0 {
		return noSecret(s.Optional)
	}
	signature, err := s.signature(m, secrets[0])
	if err != nil {
		return err
	}
	h[http.CanonicalHeaderKey(s.Header)] = []string{signature}
	return nil
}

// Verify checks the signature of m, of which the fields that Content uses must
// be set (Body, by default). Any of the secrets may be the signing one;
// ExpiresAt is not looked at. Otherwise the error matches [ErrBadSignature].
// It takes constant time.
func (s HMAC) Verify(h http.Header, m Message, secrets []Secret) error {
	got, err := onlyValue(h, s.Header)
	if err != nil {
		return err
	}
	for _, secret := range secrets {
		want, err := s.signature(m, secret)
		if err == nil && hmac.Equal([]byte(got), []byte(want)) {
			return nil
		}
	}
	return mismatch()
}

func (s HMAC) signature(m Message, secret Secret) (string, error) {
	key, err := s.key(secret)
	if err != nil {
		return "", err
	}
	content := m.Body
	if s.Content != nil {
		content = s.Content(m)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(content)
	return s.Prefix + s.Encoding.encode(mac.Sum(nil)), nil
}

func (s HMAC) key(secret Secret) ([]byte, error) {
	if secret.Value == "" {
		return nil, fmt.Errorf("%w: the secret is empty", ErrInvalid)
	}
	if s.Key == nil {
		return []byte(secret.Value), nil
	}
	key, err := s.Key(secret.Value)
	if err != nil {
		// The text of err may quote the secret.
		return nil, fmt.Errorf("%w: the secret is not a key of this scheme", ErrInvalid)
	}
	return key, nil
}

// NewSecret returns a secret for Register, or none with Optional.
func (s HMAC) NewSecret() Secret { return newUnless(s.Optional) }

// CheckSecret refuses an empty secret, and one that Key refuses.
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
	if err := checkHeaderValue(s.Prefix + "x"); err != nil {
		return fmt.Errorf("Prefix: %w", err)
	}
	return checkHeaderName("Header", s.Header)
}

// StandardWebhooks signs as the Standard Webhooks specification says, with every
// valid secret at once: the headers are "id", "timestamp" and "signature" after
// Prefix. A "whsec_" secret (base64 of 24 to 64 bytes; the prefix may be absent)
// makes a v1 signature, HMAC-SHA256; a "whsk_" secret (base64 of an ed25519 seed
// of 32 bytes, or of seed and public key) makes a v1a signature.
type StandardWebhooks struct {
	Prefix string // "webhook-" when empty
}

// Svix is [StandardWebhooks] with the headers that Svix uses: svix-id,
// svix-timestamp and svix-signature.
func Svix() StandardWebhooks { return StandardWebhooks{Prefix: "svix-"} }

// tolerance is how far a timestamp may lie from the receiver's clock.
const tolerance = 5 * time.Minute

// Sign implements [Signer].
func (s StandardWebhooks) Sign(h http.Header, m Message, secrets []Secret) error {
	if len(secrets) == 0 {
		return noSecret(false)
	}
	timestamp := strconv.FormatInt(m.Timestamp.Unix(), 10)
	signatures := make([]byte, 0, 96*len(secrets))
	for _, secret := range secrets {
		key, err := parseKey(secret.Value)
		if err != nil {
			return err
		}
		if len(signatures) > 0 {
			signatures = append(signatures, ' ')
		}
		if signatures, err = key.sign(signatures, m.ID, timestamp, m.Body); err != nil {
			return err
		}
	}
	id, at, signature := s.names()
	values := []string{m.ID, timestamp, string(signatures)}
	h[id], h[at], h[signature] = values[0:1:1], values[1:2:2], values[2:3:3]
	return nil
}

// Verify checks the signature over the headers and the body as they were
// received, at the time now. secrets may be "whsec_", "whsk_" and "whpk_" ones;
// expired ones do not count. One matching signature is enough, and the timestamp
// must be within five minutes of now. Otherwise the error matches
// [ErrBadSignature]. It takes constant time.
func (s StandardWebhooks) Verify(h http.Header, body []byte, secrets []Secret, now time.Time) error {
	idName, atName, signatureName := s.names()
	id, err := onlyValue(h, idName)
	if err != nil {
		return err
	}
	timestamp, err := onlyValue(h, atName)
	if err != nil {
		return err
	}
	signatures, err := onlyValue(h, signatureName)
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != timestamp {
		return fmt.Errorf("%w: the timestamp is not a number of seconds", ErrBadSignature)
	}
	switch age := now.Sub(time.Unix(seconds, 0)); {
	case age > tolerance:
		return fmt.Errorf("%w: the timestamp is too old", ErrBadSignature)
	case age < -tolerance:
		return fmt.Errorf("%w: the timestamp lies in the future", ErrBadSignature)
	}
	matched, known := false, false
	for _, secret := range validSecrets(secrets, now) {
		key, err := parseKey(secret.Value)
		if err != nil {
			continue
		}
		for signature := range strings.SplitSeq(signatures, " ") {
			version, text, ok := strings.Cut(signature, ",")
			sum, err := base64.StdEncoding.DecodeString(text)
			if !ok || err != nil {
				continue
			}
			known = true
			matched = key.verifies(version, sum, id, timestamp, body) || matched
		}
	}
	switch {
	case matched:
		return nil
	case !known:
		return fmt.Errorf("%w: no well-formed signature, or no usable secret to check it with", ErrBadSignature)
	}
	return mismatch()
}

// NewSecret returns a "whsec_" secret.
func (StandardWebhooks) NewSecret() Secret { return NewSecret() }

// CheckSecret refuses what is not a "whsec_" or "whsk_" secret.
func (StandardWebhooks) CheckSecret(secret Secret) error {
	key, err := parseKey(secret.Value)
	if err == nil && key.secret == nil && key.private == nil {
		err = fmt.Errorf("%w: a public key cannot sign", ErrInvalid)
	}
	return err
}

// SignatureHeaders returns the three names.
func (s StandardWebhooks) SignatureHeaders() []string {
	id, at, signature := s.names()
	return []string{id, at, signature}
}

func (s StandardWebhooks) names() (id, timestamp, signature string) {
	switch s.Prefix {
	case "", "webhook-":
		return "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"
	case "svix-":
		return "Svix-Id", "Svix-Timestamp", "Svix-Signature"
	}
	canonical := http.CanonicalHeaderKey
	return canonical(s.Prefix + "id"), canonical(s.Prefix + "timestamp"), canonical(s.Prefix + "signature")
}

func (s StandardWebhooks) validate() error { return checkHeaderName("Prefix", s.Prefix+"id") }

// standardKey is a parsed secret of Standard Webhooks: one of secret, private
// (with public) and public alone.
type standardKey struct {
	secret  []byte
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

// parseKey parses a serialized secret. Its errors match [ErrInvalid] and do not
// quote it.
func parseKey(value string) (k standardKey, err error) {
	wrong := func(format string, args ...any) (standardKey, error) {
		return standardKey{}, fmt.Errorf("%w: the secret "+format, append([]any{ErrInvalid}, args...)...)
	}
	prefix, text := "", value
	for _, p := range []string{symmetricPrefix, privatePrefix, publicPrefix} {
		if rest, ok := strings.CutPrefix(value, p); ok {
			prefix, text = p, rest
		}
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return wrong("is not %q and standard base64 with padding", symmetricPrefix)
	}
	switch {
	case prefix == privatePrefix && len(key) == ed25519.SeedSize:
		k.private = ed25519.NewKeyFromSeed(key)
	case prefix == privatePrefix && len(key) == ed25519.PrivateKeySize:
		k.private = ed25519.NewKeyFromSeed(key[:ed25519.SeedSize])
		if !bytes.Equal(k.private, key) {
			return wrong("holds a public key that is not that of its seed")
		}
	case prefix == privatePrefix:
		return wrong("holds %d bytes; an ed25519 key is 32 (seed) or 64 (seed and public key)", len(key))
	case prefix == publicPrefix && len(key) == ed25519.PublicKeySize:
		k.public = key
	case prefix == publicPrefix:
		return wrong("holds %d bytes; a public key is 32", len(key))
	case len(key) < 24 || len(key) > 64:
		return wrong("holds %d bytes; it must be 24 to 64", len(key))
	default:
		k.secret = key
	}
	if k.private != nil {
		k.public = k.private.Public().(ed25519.PublicKey)
	}
	return k, nil
}

// sign appends a signature with its version.
func (k standardKey) sign(dst []byte, id, timestamp string, body []byte) ([]byte, error) {
	switch {
	case k.secret != nil:
		return base64.StdEncoding.AppendEncode(append(dst, "v1,"...), k.mac(id, timestamp, body)), nil
	case k.private != nil:
		return base64.StdEncoding.AppendEncode(append(dst, "v1a,"...), ed25519.Sign(k.private, signed(id, timestamp, body))), nil
	}
	return nil, fmt.Errorf("%w: a public key cannot sign", ErrInvalid)
}

func (k standardKey) verifies(version string, sum []byte, id, timestamp string, body []byte) bool {
	switch {
	case version == "v1" && k.secret != nil:
		return hmac.Equal(sum, k.mac(id, timestamp, body))
	case version == "v1a" && k.public != nil:
		return ed25519.Verify(k.public, signed(id, timestamp, body), sum)
	}
	return false
}

func (k standardKey) mac(id, timestamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, k.secret)
	var head [192]byte
	mac.Write(appendHead(head[:0], id, timestamp))
	mac.Write(body)
	return mac.Sum(head[:0])
}

func signed(id, timestamp string, body []byte) []byte {
	return append(appendHead(nil, id, timestamp), body...)
}

func appendHead(dst []byte, id, timestamp string) []byte {
	dst = append(append(dst, id...), '.')
	return append(append(dst, timestamp...), '.')
}

// Signers signs by several schemes at once. They share the endpoint's secrets,
// so a secret must suit all of them, and one that carries a single secret makes
// the whole do so.
type Signers []Signer

// Sign implements [Signer].
func (ss Signers) Sign(h http.Header, m Message, secrets []Secret) error {
	for _, s := range ss {
		if err := s.Sign(h, m, secrets); err != nil {
			return err
		}
	}
	return nil
}

// NewSecret returns the secret of the first scheme that needs one.
func (ss Signers) NewSecret() Secret {
	for _, s := range ss {
		if secret := generateSecret(s); secret.Value != "" {
			return secret
		}
	}
	return Secret{}
}

// CheckSecret refuses what one of the schemes refuses.
func (ss Signers) CheckSecret(secret Secret) error {
	for _, s := range ss {
		if s, ok := s.(interface{ CheckSecret(Secret) error }); ok {
			if err := s.CheckSecret(secret); err != nil {
				return err
			}
		}
	}
	return nil
}

// SignatureHeaders returns those of all schemes.
func (ss Signers) SignatureHeaders() (names []string) {
	for _, s := range ss {
		names = append(names, signatureHeaders(s)...)
	}
	return names
}

// SingleSecret reports whether one of the schemes carries a single secret.
func (ss Signers) SingleSecret() bool { return slices.ContainsFunc(ss, singleSecret) }

func (ss Signers) validate() error {
	if len(ss) == 0 {
		return fmt.Errorf("Signers: %w: it is empty", ErrInvalid)
	}
	for n, s := range ss {
		if s == nil {
			return fmt.Errorf("Signers[%d]: %w: it is nil", n, ErrInvalid)
		}
		if v, ok := s.(interface{ validate() error }); ok {
			if err := v.validate(); err != nil {
				return fmt.Errorf("Signers[%d]: %w", n, err)
			}
		}
	}
	return nil
}

func noSecret(optional bool) error {
	if optional {
		return nil
	}
	return fmt.Errorf("%w: the endpoint has no valid secret", ErrInvalid)
}

func newUnless(optional bool) Secret {
	if optional {
		return Secret{}
	}
	return NewSecret()
}

// onlyValue returns the value of a header that must stand there once: with two,
// what one reader verifies could be what another ignores.
func onlyValue(h http.Header, name string) (string, error) {
	switch values := h.Values(name); len(values) {
	case 0:
		return "", fmt.Errorf("%w: the header %s is missing", ErrBadSignature, name)
	case 1:
		return values[0], nil
	}
	return "", fmt.Errorf("%w: the header %s stands there more than once", ErrBadSignature, name)
}

func mismatch() error { return fmt.Errorf("%w: it does not match", ErrBadSignature) }

// generateSecret returns a secret for the scheme, the zero one if it needs none.
func generateSecret(s Signer) Secret {
	if s, ok := s.(interface{ NewSecret() Secret }); ok {
		return s.NewSecret()
	}
	return Secret{}
}

func singleSecret(s Signer) bool {
	single, ok := s.(interface{ SingleSecret() bool })
	return ok && single.SingleSecret()
}

// signatureHeaders returns the canonical names of the headers that the scheme
// says it sets.
func signatureHeaders(s Signer) []string {
	named, ok := s.(interface{ SignatureHeaders() []string })
	if !ok {
		return nil
	}
	names := slices.Clone(named.SignatureHeaders())
	for n := range names {
		names[n] = http.CanonicalHeaderKey(names[n])
	}
	return names
}

const maxSecrets = 10

// checkSecrets checks the secrets of an endpoint against its scheme. Errors name
// the index, never the value.
func checkSecrets(s Signer, secrets []Secret) error {
	if len(secrets) > maxSecrets {
		return fmt.Errorf("Secrets: %w: %d are more than %d", ErrInvalid, len(secrets), maxSecrets)
	}
	if len(secrets) == 0 && generateSecret(s).Value != "" {
		return fmt.Errorf("Secrets: %w: the signing scheme needs one", ErrInvalid)
	}
	if len(secrets) > 1 && singleSecret(s) {
		return fmt.Errorf("Secrets: %w: the signing scheme carries one only", ErrNotSupported)
	}
	checker, _ := s.(interface{ CheckSecret(Secret) error })
	for n, secret := range secrets {
		if n == 0 && !secret.ExpiresAt.IsZero() {
			return fmt.Errorf("Secrets[0]: %w: the newest must not expire", ErrInvalid)
		}
		if checker != nil {
			if err := checker.CheckSecret(secret); err != nil {
				return fmt.Errorf("Secrets[%d]: %w", n, err)
			}
		}
	}
	return nil
}

// validSecrets returns those that have not expired.
func validSecrets(secrets []Secret, at time.Time) []Secret {
	expired := func(s Secret) bool { return !s.ExpiresAt.IsZero() && !s.ExpiresAt.After(at) }
	if !slices.ContainsFunc(secrets, expired) {
		return secrets
	}
	return slices.DeleteFunc(slices.Clone(secrets), expired)
}

// sign signs into h and returns the header to be logged: h itself where the
// scheme's headers are no secret, otherwise a copy in which what the scheme has
// set is redacted.
func sign(s Signer, h http.Header, m Message, secrets []Secret) (logged http.Header, err error) {
	defer func() {
		if r := recover(); r != nil {
			// The value may hold a secret.
			err = fmt.Errorf("the signer panicked with a %T", r)
		}
	}()
	if loggable(s) {
		return h, s.Sign(h, m, secrets)
	}
	before := h.Clone()
	if err := s.Sign(h, m, secrets); err != nil {
		return nil, err
	}
	logged = h.Clone()
	for name, values := range h {
		if !slices.Equal(values, before[name]) {
			logged[name] = []string{redacted}
		}
	}
	return logged, nil
}

// loggable reports whether the headers that the scheme sets hold no secret.
func loggable(s Signer) bool {
	switch s := s.(type) {
	case StandardWebhooks, HMAC:
		return true
	case Signers:
		return !slices.ContainsFunc(s, func(s Signer) bool { return !loggable(s) })
	}
	return false
}

// reservedHeaders belong to HTTP, to the connection or to the profile. An
// idempotency key would make net/http send a request twice by itself.
var reservedHeaders = []string{
	"Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host",
	"Idempotency-Key", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te",
	"Trailer", "Transfer-Encoding", "Upgrade", "User-Agent", "X-Idempotency-Key",
}

// reservedHeader reports whether a name, in its canonical form, is reserved.
func reservedHeader(canonical string) bool {
	_, found := slices.BinarySearch(reservedHeaders, canonical)
	return found
}

const (
	maxHeaders     = 50
	maxHeaderBytes = 8 << 10
)

// checkHeaders checks an endpoint's own headers; taken are the names that the
// signature and the authentication use.
func checkHeaders(headers map[string]string, taken []string) error {
	size := 0
	seen := make(map[string]bool, len(headers))
	var mistakes []error
	for name, value := range headers {
		size += len(name) + len(value)
		canonical := http.CanonicalHeaderKey(name)
		if err := checkHeaderName("Headers", name); err != nil {
			mistakes = append(mistakes, err)
		} else if slices.Contains(taken, canonical) {
			mistakes = append(mistakes, fmt.Errorf("Headers: %w: %s is set by the signature or Auth", ErrInvalid, canonical))
		} else if seen[canonical] {
			mistakes = append(mistakes, fmt.Errorf("Headers: %w: %s stands there twice", ErrInvalid, canonical))
		}
		seen[canonical] = true
		if err := checkHeaderValue(value); err != nil {
			mistakes = append(mistakes, fmt.Errorf("Headers: %.64q: %w", name, err))
		}
	}
	if len(headers) > maxHeaders || size > maxHeaderBytes {
		mistakes = append(mistakes, fmt.Errorf("Headers: %w: more than %d or than %d bytes", ErrInvalid, maxHeaders, maxHeaderBytes))
	}
	return errors.Join(mistakes...)
}

// checkHeaderName checks that a header may be set by that name (RFC 9110,
// section 5.6.2).
func checkHeaderName(field, name string) error {
	const marks = "!#$%&'*+-.^_`|~"
	token := name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(marks, r))
	})
	if !token {
		return fmt.Errorf("%s: %w: %.64q is not the name of a header", field, ErrInvalid, name)
	}
	if reservedHeader(http.CanonicalHeaderKey(name)) {
		return fmt.Errorf("%s: %w: the header %s is reserved", field, ErrInvalid, http.CanonicalHeaderKey(name))
	}
	return nil
}

// checkHeaderValue checks a header's value (RFC 9110, section 5.5, without the
// obsolete forms). The error does not quote it.
func checkHeaderValue(value string) error {
	if strings.TrimSpace(value) != value || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) {
		return fmt.Errorf("%w: the value is not visible ASCII without spaces around it", ErrInvalid)
	}
	return nil
}

// checkAuth checks an endpoint's authentication.
func checkAuth(a Auth) error {
	wrong := func(why string) error { return fmt.Errorf("Auth: %w: %s", ErrInvalid, why) }
	value := a.Secret.Value
	control := func(s string) bool {
		return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
	}
	switch a.Scheme {
	case "":
		if a.Name != "" || value != "" {
			return wrong("a name or secret without a scheme")
		}
	case authBasic:
		if strings.Contains(a.Name, ":") || control(a.Name) || control(value) {
			return wrong("basic: the user must hold no colon, and neither part control characters")
		}
	case authBearer:
		if value == "" || strings.Contains(value, " ") || checkHeaderValue(value) != nil {
			return wrong("bearer: the token must be visible ASCII without spaces")
		}
	case authAPIKey:
		if value == "" || checkHeaderValue(value) != nil {
			return wrong("apikey: the key must be visible ASCII")
		}
		if err := checkHeaderName("Auth", a.Name); err != nil {
			return err
		}
	default:
		return wrong(fmt.Sprintf("the scheme %.32q is not basic, bearer or apikey", a.Scheme))
	}
	return nil
}
