package main

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/examples/internal/check"
	"github.com/outhook/webhook/examples/internal/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "your-signing-secret"

func endpoint(url string) webhook.Endpoint {
	return webhook.Endpoint{URL: url, Tenant: "your-tenant-id", Secrets: []webhook.Secret{{Value: secret}}}
}

func TestDemonstration(t *testing.T) {
	check.Runs(t, run,
		"X-Api-Key:          your-api-key\n",
		"document.processed   none                           publish   delivered   1          200\n",
		"document.processed   API key, signed, fails twice   publish   delivered   3          200\n",
	)
}

func TestRequestIsThePages(t *testing.T) {
	// The page's sample, with the amounts as JSON.stringify writes them.
	const body = `{"event":"document.processed","tenantId":"your-tenant-id","timestamp":"2025-03-10T17:53:46.000Z",` +
		`"doc":{"_id":"document-id","type":"invoice","status":"ANALYZED","createdAt":"2025-03-10T17:50:00.000Z","updatedAt":"2025-03-10T17:53:46.000Z",` +
		`"fields":{"InvoiceId":"INV-2025-001","VendorName":"Acme Corporation","InvoiceDate":"2025-03-01",` +
		`"InvoiceTotal":{"Amount":1500,"CurrencyCode":"USD"},` +
		`"Items":[{"Description":"Professional Services","Quantity":10,"UnitPrice":150,"Amount":1500}]}}}`
	signature := "sha256=" + check.HMAC(secret, body)
	secrets := []webhook.Secret{{Value: secret}}
	tests := []struct {
		name    string
		auth    webhook.Auth
		secrets []webhook.Secret
		want    map[string]string
	}{
		{"none", webhook.Auth{}, nil, nil},
		{"none, signed", webhook.Auth{}, secrets, map[string]string{"X-Docflo-Signature": signature}},
		{"basic", webhook.BasicAuth("username", "password"), nil, map[string]string{
			"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("username:password")),
		}},
		{"bearer, signed", webhook.BearerToken("your-token"), secrets, map[string]string{
			"Authorization": "Bearer your-token", "X-Docflo-Signature": signature,
		}},
		{"API key, signed", webhook.APIKey("x-api-key", "your-api-key"), secrets, map[string]string{
			"X-Api-Key": "your-api-key", "X-Docflo-Signature": signature,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := check.Request(t, Config(), webhook.Endpoint{Tenant: "your-tenant-id", Auth: test.auth, Secrets: test.secrets}, webhook.Event{
				Type: "document.processed", Tenant: "your-tenant-id", Time: time.Date(2025, 3, 10, 17, 53, 46, 0, time.UTC), Data: example("ANALYZED"),
			})
			check.Is(t, got, body, test.want)
		})
	}
}

func TestPolicyIsThePages(t *testing.T) {
	if Profile().Timeout != 30*time.Second {
		t.Errorf("timeout %v", Profile().Timeout)
	}
	check.HTTPSOnly(t, Config())
}

func events() []webhook.Event {
	data := append(check.Documents(), json.RawMessage(`{"_id":"document-id","type":"invoice","fields":{"InvoiceTotal":{"Amount": 1500.00}}}`))
	var events []webhook.Event
	for n, document := range data {
		events = append(events, webhook.Event{Type: Catalog()[n].Name, Tenant: "your-tenant-id", Data: document})
	}
	return events
}

// The page has two receivers.
func TestExpressReceiversOfThePageVerifyAttemptAndRetry(t *testing.T) {
	for program, path := range map[string]string{"docflo.mjs": "/webhooks/docflo", "docflo-signature.js": "/webhook"} {
		t.Run(program, func(t *testing.T) {
			receiver := node.Start(t, program, "WEBHOOK_SIGNING_SECRET="+secret)
			reports := check.Retried(t, check.Case{Config: Config(), Endpoint: endpoint(receiver.URL + path), Events: events()}, receiver)
			check.Stringifiable(t, reports)
			for _, r := range reports {
				// docflo.mjs lets unsigned requests pass.
				if !strings.HasPrefix(r.Headers["x-docflo-signature"], "sha256=") {
					t.Errorf("headers %v", r.Headers)
				}
			}
		})
	}
}

func TestExpressReceiversOfThePageRefuseAnotherSecret(t *testing.T) {
	for program, path := range map[string]string{"docflo.mjs": "/webhooks/docflo", "docflo-signature.js": "/webhook"} {
		t.Run(program, func(t *testing.T) {
			receiver := node.Start(t, program, "WEBHOOK_SIGNING_SECRET="+secret)
			e := endpoint(receiver.URL + path)
			e.Secrets = []webhook.Secret{{Value: "another"}}
			check.Refused(t, check.Case{Config: Config(), Endpoint: e, Events: events()}, 401)
		})
	}
}
