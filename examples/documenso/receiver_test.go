package main

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// The Go receiver of Documenso's page, verbatim: its import block, of which the
// three packages stand above, and its main are left out.

type WebhookPayload struct {
	Event     string                 `json:"event"`
	Payload   map[string]interface{} `json:"payload"`
	CreatedAt string                 `json:"createdAt"`
}

func webhookHandler(w http.ResponseWriter, r *http.Request) {
	var data WebhookPayload
	if err := json.NewDecoder(r.Body).Decode(&data); err != nil {
		http.Error(w, "Invalid payload", http.StatusBadRequest)
		return
	}

	fmt.Printf("Received event: %s\n", data.Event)
	fmt.Printf("Document ID: %v\n", data.Payload["id"])
	fmt.Printf("Document title: %v\n", data.Payload["title"])

	// Process the webhook event
	switch data.Event {
	case "DOCUMENT_COMPLETED":
		// Handle completed document
	case "DOCUMENT_SIGNED":
		// Handle signed document
	}

	// Respond with 200 OK to acknowledge receipt
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	json.NewEncoder(w).Encode(map[string]bool{"received": true})
}
