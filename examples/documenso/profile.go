// Documenso sends webhooks as Documenso's page for their receivers promises.
// This file is that page as code; main.go is a demonstration.
package main

import (
	"time"

	"github.com/outhook/webhook"
)

// Config is what the application hands to [webhook.NewDispatcher]. The zero
// Network is the page's "HTTPS required (HTTP not allowed in production)".
func Config() webhook.Config {
	return webhook.Config{Profile: Profile(), Catalog: Catalog()}
}

// Profile is the wire format. The secret is optional and travels as it is.
func Profile() webhook.Profile {
	return webhook.Profile{
		Signer:   webhook.SecretHeader{Name: "X-Documenso-Secret", Optional: true},
		Envelope: envelope,
		Timeout:  30 * time.Second,
		// Five attempts: one at once, and one after each of these delays.
		Retry: webhook.Schedule(time.Minute, 5*time.Minute, 30*time.Minute, 2*time.Hour),
	}
}

// envelope builds {"event":…,"payload":…,"createdAt":…}.
func envelope(e webhook.Event) ([]byte, error) {
	return webhook.MarshalJSON(struct {
		Event     string `json:"event"`
		Payload   any    `json:"payload"`
		CreatedAt string `json:"createdAt"`
	}{e.Type, e.Data, isoTime(e.Time)})
}

// isoTime writes a time as JavaScript's Date.prototype.toISOString does.
func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Catalog lists the events that a webhook may select. Its examples are the
// "realistic sample data" of the Test button.
func Catalog() []webhook.EventType {
	document := func(name, status, description string) webhook.EventType {
		return webhook.EventType{Name: name, Group: "Documents", Description: description, Example: example(status)}
	}
	return []webhook.EventType{
		document("DOCUMENT_CREATED", "DRAFT", "A new document is created"),
		document("DOCUMENT_SENT", "PENDING", "A document is sent to recipients"),
		document("DOCUMENT_OPENED", "PENDING", "A recipient opens the document"),
		document("DOCUMENT_SIGNED", "PENDING", "A recipient signs the document"),
		document("DOCUMENT_COMPLETED", "COMPLETED", "All recipients have signed the document"),
		document("DOCUMENT_REJECTED", "REJECTED", "A recipient rejects the document"),
		document("DOCUMENT_CANCELLED", "CANCELLED", "The document owner cancels the document"),
	}
}

// Document is the payload of every event.
type Document struct {
	ID         int         `json:"id"`
	ExternalID *string     `json:"externalId"`
	UserID     int         `json:"userId"`
	TeamID     int         `json:"teamId"`
	Title      string      `json:"title"`
	Status     string      `json:"status"`
	CreatedAt  string      `json:"createdAt"`
	Recipients []Recipient `json:"recipients"`
}

// Recipient is one who is to sign.
type Recipient struct {
	ID            int    `json:"id"`
	Email         string `json:"email"`
	Name          string `json:"name"`
	Role          string `json:"role"`
	SigningStatus string `json:"signingStatus"`
}

func example(status string) Document {
	signing := "NOT_SIGNED"
	if status == "COMPLETED" {
		signing = "SIGNED"
	}
	return Document{
		ID: 10, UserID: 1, TeamID: 3, Title: "Lease agreement.pdf", Status: status, CreatedAt: "2025-03-10T17:50:00.000Z",
		Recipients: []Recipient{{ID: 52, Email: "signer@example.com", Name: "Jane Signer", Role: "SIGNER", SigningStatus: signing}},
	}
}
