// Scandocuments sends webhooks as Scan Documents' page for their receivers
// promises. This file is that page as code; main.go is a demonstration.
package main

import (
	"time"

	"github.com/outhook/webhook"
)

// Config is what the application hands to [webhook.NewDispatcher].
func Config() webhook.Config {
	return webhook.Config{Profile: Profile(), Catalog: Catalog()}
}

// Profile is the wire format: svix-id, svix-timestamp and svix-signature, which
// Svix's own libraries verify. Register generates the signing secret.
func Profile() webhook.Profile {
	return webhook.Profile{
		Signer:   webhook.Svix(),
		Envelope: envelope,
		Timeout:  5 * time.Second,
		// "For up to 48 hours, using an exponential backoff strategy."
		Retry: webhook.Exponential{Initial: 10 * time.Second, Max: 6 * time.Hour, Jitter: 0.1, MaxElapsed: 48 * time.Hour},
	}
}

// envelope builds the Event object. Its id is the message ID, svix-id, as well.
func envelope(e webhook.Event) ([]byte, error) {
	return webhook.MarshalJSON(struct {
		Data      any    `json:"data"`
		ID        string `json:"id"`
		Timestamp string `json:"timestamp"`
		Type      string `json:"type"`
	}{e.Data, e.ID, isoTime(e.Time), e.Type})
}

// isoTime writes a time as JavaScript's Date.prototype.toISOString does.
func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Catalog lists the events that an endpoint may select.
func Catalog() []webhook.EventType {
	file := map[string]any{"id": "file_y9f6oitmeoncvcou", "name": "contract-page-1", "type": "image/png"}
	task := map[string]any{"id": "task_k2v0tqj8w1cz7hxd", "operation": "extract-text", "status": "completed"}
	return []webhook.EventType{
		{Name: "file.created", Group: "Files", Description: "A file is created", Example: file},
		{Name: "file.deleted", Group: "Files", Description: "A file is deleted", Example: file},
		{Name: "task.created", Group: "Tasks", Description: "A task is created", Example: task},
		{Name: "task.completed", Group: "Tasks", Description: "A task is completed", Example: task},
		{Name: "task.failed", Group: "Tasks", Description: "A task fails", Example: task},
		{Name: "task.deleted", Group: "Tasks", Description: "A task is deleted", Example: task},
	}
}
