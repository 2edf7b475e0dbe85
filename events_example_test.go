package webhook_test

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/outhook/webhook"
)

var signedAt = time.Date(2026, 3, 14, 15, 9, 26, 535000000, time.UTC)

// An application with a format of its own ends its Envelope with MarshalJSON, so
// that a receiver that verifies over JSON.stringify(req.body) succeeds.
func ExampleEnvelope() {
	type body struct {
		Event     string    `json:"event"`
		Payload   any       `json:"payload"`
		CreatedAt time.Time `json:"createdAt"`
	}
	var envelope webhook.Envelope = func(e webhook.Event) ([]byte, error) {
		return webhook.MarshalJSON(body{Event: e.Type, Payload: e.Data, CreatedAt: e.Time})
	}

	text, err := envelope(webhook.Event{
		Type: "DOCUMENT_SIGNED",
		Time: signedAt,
		Data: json.RawMessage(`{"title": "Terms & Conditions", "amount": 1500.00}`),
	})
	fmt.Println(string(text), err)
	// Output: {"event":"DOCUMENT_SIGNED","payload":{"title":"Terms & Conditions","amount":1500},"createdAt":"2026-03-14T15:09:26.535Z"} <nil>
}

func ExampleMarshalJSON() {
	text, err := webhook.MarshalJSON(map[string]any{
		"title":  "Terms & Conditions",
		"amount": json.Number("1500.00"),
		"10":     "ten",
		"9":      "nine",
	})
	fmt.Println(string(text), err)
	// Output: {"9":"nine","10":"ten","amount":1500,"title":"Terms & Conditions"} <nil>
}

func ExampleStandardEnvelope() {
	text, err := webhook.StandardEnvelope(webhook.Event{
		Type: "document.signed",
		Time: signedAt,
		Data: json.RawMessage(`{"id":"doc_1"}`),
	})
	fmt.Println(string(text), err)
	// Output: {"type":"document.signed","timestamp":"2026-03-14T15:09:26.535Z","data":{"id":"doc_1"}} <nil>
}

func ExampleCloudEvents() {
	envelope := webhook.CloudEvents("https://app.example/documents")
	text, err := envelope(webhook.Event{
		ID:   "msg_1",
		Type: "document.signed",
		Time: signedAt,
		Data: json.RawMessage(`{"id":"doc_1"}`),
	})
	fmt.Println(string(text), err)
	// Output: {"specversion":"1.0","id":"msg_1","source":"https://app.example/documents","type":"document.signed","time":"2026-03-14T15:09:26.535Z","datacontenttype":"application/json","data":{"id":"doc_1"}} <nil>
}

func ExampleCloudEventsHeaders() {
	headers := webhook.CloudEventsHeaders("https://app.example/documents")
	h := headers(webhook.Message{ID: "msg_1", EventType: "document.signed", EventTime: signedAt})
	for _, name := range []string{"ce-specversion", "ce-id", "ce-source", "ce-type", "ce-time"} {
		fmt.Println(name+":", h.Get(name))
	}
	// Output:
	// ce-specversion: 1.0
	// ce-id: msg_1
	// ce-source: https://app.example/documents
	// ce-type: document.signed
	// ce-time: 2026-03-14T15:09:26.535Z
}
