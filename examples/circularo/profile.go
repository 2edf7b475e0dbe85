// Circularo sends webhooks as Circularo's page for their receivers promises.
// This file is that page's format as code, api.go its REST API; main.go is a
// demonstration.
package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/outhook/webhook"
)

// Config is what the application hands to [webhook.NewDispatcher].
func Config() webhook.Config {
	return webhook.Config{Profile: Profile(), Catalog: Catalog()}
}

// Profile is the wire format. x-circularo-signature, hex without a prefix, is
// sent only where an HMAC secret is set. The page promises neither a timeout nor
// a retry timetable, so the defaults stay.
func Profile() webhook.Profile {
	return webhook.Profile{
		Signer:   webhook.HMAC{Header: "X-Circularo-Signature", Optional: true},
		Envelope: envelope,
	}
}

// Notification is the Data of an event.
type Notification struct {
	DocumentID any `json:"documentId"`
	Actor      any `json:"actor"`
}

// envelope builds {"documentId":…,"event":…,"actor":…,"timestamp":…} from a
// [Notification].
func envelope(e webhook.Event) ([]byte, error) {
	var data struct {
		DocumentID json.RawMessage `json:"documentId"`
		Actor      json.RawMessage `json:"actor"`
	}
	if err := json.Unmarshal(e.Data.(json.RawMessage), &data); err != nil {
		return nil, fmt.Errorf("the data of a Circularo event: %w", err)
	}
	return webhook.MarshalJSON(struct {
		DocumentID json.RawMessage `json:"documentId"`
		Event      string          `json:"event"`
		Actor      json.RawMessage `json:"actor"`
		Timestamp  string          `json:"timestamp"`
	}{data.DocumentID, e.Type, data.Actor, isoTime(e.Time)})
}

// isoTime writes a time as JavaScript's Date.prototype.toISOString does.
func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Catalog lists the common event types. Webhooks "target all events within their
// scope", so api.go registers them without a selection.
func Catalog() []webhook.EventType {
	document := func(name, description string) webhook.EventType {
		return webhook.EventType{Name: name, Group: "Documents", Description: description, Example: Notification{
			DocumentID: "e2461c31-9d65-472d-8d85-90bcefbac3f7", Actor: "john.smith@example.com",
		}}
	}
	return []webhook.EventType{
		document("documentCreated", "A new document has been created"),
		document("signRequest", "A document has been shared with recipients for signing"),
		document("documentSigned", "A document has been signed by a user"),
		document("documentCompleted", "All required signatures have been collected"),
		document("signRejected", "A recipient has rejected the document"),
	}
}
