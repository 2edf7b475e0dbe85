package webhook_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/outhook/webhook"
)

// A receiver verifies the bytes as they came, before it parses them.
func ExampleStandardWebhooks_Verify() {
	secrets := []webhook.Secret{{Value: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}
	receiver := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "unreadable", http.StatusBadRequest)
			return
		}
		if err := (webhook.StandardWebhooks{}).Verify(r.Header, body, secrets, time.Now()); err != nil {
			http.Error(w, "bad signature", http.StatusUnauthorized)
			return
		}
		fmt.Printf("received %s: %s\n", r.Header.Get("webhook-id"), body)
	}

	body := `{"type":"contact.created"}`
	r := httptest.NewRequest("POST", "/webhooks", strings.NewReader(body))
	m := webhook.Message{ID: "msg_1", Timestamp: time.Now(), Body: []byte(body)}
	if err := (webhook.StandardWebhooks{}).Sign(r.Header, m, secrets); err != nil {
		fmt.Println(err)
	}
	receiver(httptest.NewRecorder(), r)

	forged := httptest.NewRequest("POST", "/webhooks", strings.NewReader(`{"type":"contact.deleted"}`))
	forged.Header = r.Header
	w := httptest.NewRecorder()
	receiver(w, forged)
	fmt.Println(w.Code)
	// Output:
	// received msg_1: {"type":"contact.created"}
	// 401
}

// GitHub's scheme, with the values of its documentation.
func ExampleHMAC_Verify() {
	scheme := webhook.HMAC{Header: "X-Hub-Signature-256", Prefix: "sha256="}
	secrets := []webhook.Secret{{Value: "It's a Secret to Everybody"}}
	h := http.Header{"X-Hub-Signature-256": {"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}}

	fmt.Println(scheme.Verify(h, webhook.Message{Body: []byte("Hello, World!")}, secrets))

	err := scheme.Verify(h, webhook.Message{Body: []byte("Hello, Mallory!")}, secrets)
	fmt.Println(errors.Is(err, webhook.ErrBadSignature), err)
	// Output:
	// <nil>
	// true bad signature: it does not match
}

// A product with two signatures: one of the body, and one of the metadata, for
// gateways that never see the body.
func ExampleSigners() {
	signer := webhook.Signers{
		webhook.HMAC{Header: "X-Docutray-Signature", Prefix: "sha256="},
		webhook.HMAC{Header: "X-Docutray-Auth-Signature", Prefix: "sha256=", Content: func(m webhook.Message) []byte {
			return fmt.Appendf(nil, "%d.%s.%s", m.Timestamp.Unix(), m.DeliveryID, m.EventType)
		}},
	}
	h := http.Header{}
	err := signer.Sign(h, webhook.Message{
		DeliveryID: "0199d1c4-7f0e-7b3c-9d43-2f6a5b0c1e77",
		EventType:  "CONVERSION_COMPLETED",
		Timestamp:  time.Unix(1614265330, 0),
		Body:       []byte(`{"event":"CONVERSION_COMPLETED"}`),
	}, []webhook.Secret{{Value: "s3cret"}})
	if err != nil {
		fmt.Println(err)
	}
	for _, name := range signer.SignatureHeaders() {
		fmt.Println(name, len(h.Get(name)))
	}
	fmt.Println("one secret at a time:", signer.SingleSecret())
	// Output:
	// X-Docutray-Signature 71
	// X-Docutray-Auth-Signature 71
	// one secret at a time: true
}

// customSigner is a scheme that the package does not have: HMAC-SHA512 over the
// time and the body, both in one header.
type customSigner struct{}

func (customSigner) Sign(h http.Header, m webhook.Message, secrets []webhook.Secret) error {
	if len(secrets) == 0 {
		return errors.New("the endpoint has no secret")
	}
	timestamp := strconv.FormatInt(m.Timestamp.Unix(), 10)
	mac := hmac.New(sha512.New, []byte(secrets[0].Value))
	io.WriteString(mac, timestamp+".")
	mac.Write(m.Body)
	h.Set("Acme-Signature", "t="+timestamp+",v1="+hex.EncodeToString(mac.Sum(nil)))
	return nil
}

// NewSecret makes Register generate a secret where none is given.
func (customSigner) NewSecret() webhook.Secret { return webhook.NewSecret() }

// CheckSecret makes Register refuse weak secrets. Its text does not quote them.
func (customSigner) CheckSecret(s webhook.Secret) error {
	if len(s.Value) < 32 {
		return errors.New("want at least 32 characters")
	}
	return nil
}

// SignatureHeaders keeps endpoints from setting the header themselves.
func (customSigner) SignatureHeaders() []string { return []string{"Acme-Signature"} }

// SingleSecret is true of a scheme that carries one signature.
func (customSigner) SingleSecret() bool { return true }

func ExampleSigner() {
	signer := customSigner{}
	h := http.Header{}
	m := webhook.Message{Timestamp: time.Unix(1614265330, 0), Body: []byte("{}")}
	if err := signer.Sign(h, m, []webhook.Secret{{Value: strings.Repeat("s3cret", 6)}}); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.24s\n", h.Get("Acme-Signature"))
	fmt.Println(signer.CheckSecret(webhook.Secret{Value: "s3cret"}))
	// Output:
	// t=1614265330,v1=7352d8af
	// want at least 32 characters
}

// With a signing key, customers hold nothing that could sign.
func ExamplePublicKey() {
	signing := webhook.NewSigningKey() // stays with the sender
	public, err := webhook.PublicKey(signing)
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(signing, public[:5])

	now := time.Now()
	m := webhook.Message{ID: "msg_1", Timestamp: now, Body: []byte("{}")}
	h := http.Header{}
	if err := (webhook.StandardWebhooks{}).Sign(h, m, []webhook.Secret{signing}); err != nil {
		fmt.Println(err)
	}
	verifying := []webhook.Secret{{Value: public}}
	fmt.Println(webhook.StandardWebhooks{}.Verify(h, m.Body, verifying, now))
	fmt.Println(webhook.StandardWebhooks{}.CheckSecret(verifying[0]))
	// Output:
	// [redacted] whpk_
	// <nil>
	// invalid secret: a public key (whpk_) cannot sign
}

// The store is given endpoints encrypted under a key of the application's own.
// After a change of that key, the older one still opens what it sealed, until
// Reseal has sealed all anew.
func ExampleNewKeys() {
	ctx := context.Background()
	store := webhook.NewMemoryStore()
	key := func(id, variable string) webhook.Key { // openssl rand -base64 32
		return webhook.Key{ID: id, Secret: webhook.Secret{Value: os.Getenv(variable)}}
	}
	os.Setenv("WEBHOOKS_KEY_2025", "b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2w=")
	os.Setenv("WEBHOOKS_KEY_2026", "bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmU=")

	old := must(webhook.NewDispatcher(store, webhook.Config{
		Keys: must(webhook.NewKeys(key("2025", "WEBHOOKS_KEY_2025"))),
	}))
	e := must(old.Register(ctx, webhook.Endpoint{URL: "https://customer.example/hook"}))
	record := must(store.GetEndpoint(ctx, e.ID))
	fmt.Println("in clear:", bytes.Contains(record.Config, []byte("customer.example")))

	d := must(webhook.NewDispatcher(store, webhook.Config{
		Keys: must(webhook.NewKeys(key("2026", "WEBHOOKS_KEY_2026"), key("2025", "WEBHOOKS_KEY_2025"))),
	}))
	done := must(d.Reseal(ctx))
	fmt.Println("sealed anew:", done.Sealed)

	_, err := old.Endpoint(ctx, e.ID) // a process that has the old key alone
	fmt.Println(errors.Is(err, webhook.ErrKey))
	// Output:
	// in clear: false
	// sealed anew: 1
	// true
}

// kms is a key management service: with that of a cloud, both methods are one
// call of its client, with the ID that it has for the key.
type kms struct{ client vault }

func (kms) Current() string { return "projects/app/keys/webhooks" }

func (k kms) Wrap(ctx context.Context, keyID string, dataKey []byte) ([]byte, error) {
	return k.client.Encrypt(ctx, keyID, dataKey)
}

func (k kms) Unwrap(ctx context.Context, keyID string, wrapped []byte) ([]byte, error) {
	return k.client.Decrypt(ctx, keyID, wrapped)
}

// The master key stays within a key management service, which sees a data key for
// each endpoint, and none of their secrets.
func ExampleKeys() {
	ctx := context.Background()
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{Keys: kms{newVault()}}))
	e := must(d.Register(ctx, webhook.Endpoint{URL: "https://customer.example/hook"}))
	fmt.Println(must(d.Endpoint(ctx, e.ID)).URL)
	// Output: https://customer.example/hook
}

// vault stands for the client of a service.
type vault struct{ aead cipher.AEAD }

func newVault() vault {
	return vault{must(cipher.NewGCMWithRandomNonce(must(aes.NewCipher(make([]byte, 32)))))}
}

func (v vault) Encrypt(_ context.Context, keyID string, plain []byte) ([]byte, error) {
	return v.aead.Seal(nil, nil, plain, []byte(keyID)), nil
}

func (v vault) Decrypt(_ context.Context, keyID string, sealed []byte) ([]byte, error) {
	return v.aead.Open(nil, nil, sealed, []byte(keyID))
}
