// Docflo sends webhooks as Docflo's page for their receivers promises. This file
// is that page as code; main.go is a demonstration.
package main

import (
	"time"

	"github.com/outhook/webhook"
)

// Config is what the application hands to [webhook.NewDispatcher]. The zero
// Network is the page's "HTTP endpoints are not supported".
func Config() webhook.Config {
	return webhook.Config{Profile: Profile(), Catalog: Catalog()}
}

// Profile is the wire format. The signing secret is optional; beside it stands
// the authentication of each endpoint, one of the page's four:
//
//	none     webhook.Auth{}
//	basic    webhook.BasicAuth(username, password)
//	bearer   webhook.BearerToken(token)
//	API key  webhook.APIKey("x-api-key", key)
//
// The page says of retries only that there may be some, so the default
// timetable stays.
func Profile() webhook.Profile {
	return webhook.Profile{
		Signer:   webhook.HMAC{Header: "X-Docflo-Signature", Prefix: "sha256=", Optional: true},
		Envelope: envelope,
		Timeout:  30 * time.Second,
	}
}

// envelope builds {"event":…,"tenantId":…,"timestamp":…,"doc":…}. The page's
// receivers verify over JSON.stringify(req.body), not over the bytes that came;
// what MarshalJSON writes is the same either way.
func envelope(e webhook.Event) ([]byte, error) {
	return webhook.MarshalJSON(struct {
		Event     string `json:"event"`
		TenantID  string `json:"tenantId"`
		Timestamp string `json:"timestamp"`
		Doc       any    `json:"doc"`
	}{e.Type, e.Tenant, isoTime(e.Time), e.Data})
}

// isoTime writes a time as JavaScript's Date.prototype.toISOString does.
func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Catalog lists the platform events, one of which a webhook selects.
func Catalog() []webhook.EventType {
	document := func(name, status, description string) webhook.EventType {
		return webhook.EventType{Name: name, Group: "Documents", Description: description, Example: example(status)}
	}
	return []webhook.EventType{
		document("document.created", "UPLOADED", "A new document has been uploaded to the platform."),
		document("document.processed", "ANALYZED", "Document processing and extraction has been completed."),
		document("document.approved", "APPROVED", "A document has been approved in the approval workflow."),
		document("document.rejected", "REJECTED", "A document has been rejected in the approval workflow."),
		document("document.status_changed", "ANALYZED", "The document status has changed."),
	}
}

// Document is the complete document, with all extracted fields.
type Document struct {
	ID        string  `json:"_id"`
	Type      string  `json:"type"`
	Status    string  `json:"status"`
	CreatedAt string  `json:"createdAt"`
	UpdatedAt string  `json:"updatedAt"`
	Fields    Invoice `json:"fields"`
}

// Invoice is what is extracted from a document of the type "invoice".
type Invoice struct {
	InvoiceID    string `json:"InvoiceId"`
	VendorName   string
	InvoiceDate  string
	InvoiceTotal struct {
		Amount       float64
		CurrencyCode string
	}
	Items []Item
}

// Item is a line of an [Invoice].
type Item struct {
	Description string
	Quantity    int
	UnitPrice   float64
	Amount      float64
}

func example(status string) Document {
	d := Document{
		ID: "document-id", Type: "invoice", Status: status,
		CreatedAt: "2025-03-10T17:50:00.000Z", UpdatedAt: "2025-03-10T17:53:46.000Z",
		Fields: Invoice{
			InvoiceID: "INV-2025-001", VendorName: "Acme Corporation", InvoiceDate: "2025-03-01",
			Items: []Item{{Description: "Professional Services", Quantity: 10, UnitPrice: 150, Amount: 1500}},
		},
	}
	d.Fields.InvoiceTotal.Amount, d.Fields.InvoiceTotal.CurrencyCode = 1500, "USD"
	return d
}
