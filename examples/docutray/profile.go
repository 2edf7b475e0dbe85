// Docutray sends webhooks as Docutray's page for their receivers promises. This
// file is that page as code; main.go is a demonstration.
package main

import (
	"net/http"
	"strconv"
	"time"

	"github.com/outhook/webhook"
)

// Config is what the application hands to [webhook.NewDispatcher]. The zero
// Network is the page's "publicly accessible via HTTPS".
func Config() webhook.Config {
	return webhook.Config{
		Profile: Profile(),
		Catalog: Catalog(),
		// "If your endpoint doesn't respond consistently, the webhook may be
		// automatically disabled."
		AutoDisable: 24 * time.Hour,
	}
}

// Profile is the wire format. Both signatures are made with the one secret of
// the endpoint, which Register and RotateSecret generate; since it signs alone,
// the old one stops working immediately. The page does not describe the body,
// so it is [webhook.StandardEnvelope].
func Profile() webhook.Profile {
	return webhook.Profile{
		Signer: webhook.Signers{
			webhook.HMAC{Header: "X-Docutray-Signature", Prefix: "sha256="},
			webhook.HMAC{Header: "X-Docutray-Auth-Signature", Prefix: "sha256=", Content: metadata},
		},
		UserAgent: "Docutray-Webhook/1.0",
		Headers: func(m webhook.Message) http.Header {
			return http.Header{
				"X-Docutray-Timestamp":  {timestamp(m)},
				"X-Docutray-Request-Id": {m.DeliveryID},
				"X-Docutray-Event":      {m.EventType},
			}
		},
		Timeout: 30 * time.Second,
		Retry:   webhook.Schedule(30*time.Second, time.Minute, 5*time.Minute, 15*time.Minute, time.Hour),
	}
}

// metadata is what X-Docutray-Auth-Signature signs, so that an authorizer which
// sees headers alone can verify it. The page leaves its format open; this is
// "timestamp.requestId.event", the values of the other three headers.
func metadata(m webhook.Message) []byte {
	return []byte(timestamp(m) + "." + m.DeliveryID + "." + m.EventType)
}

// timestamp is that of the attempt, in Unix seconds.
func timestamp(m webhook.Message) string { return strconv.FormatInt(m.Timestamp.Unix(), 10) }

// Catalog lists the events, in the groups of the form that selects them.
func Catalog() []webhook.EventType {
	conversion := map[string]any{"conversionId": "cnv_8Zk2", "documentType": "invoice", "fileName": "invoice-2025-001.pdf"}
	identification := map[string]any{"identificationId": "idn_4Qw9", "fileName": "scan-0042.pdf", "documentType": "invoice", "confidence": 0.97}
	step := map[string]any{"stepId": "stp_1Xv7", "name": "validate totals", "executionId": "exe_6Mn3"}
	return []webhook.EventType{
		{Name: "CONVERSION_STARTED", Group: "Conversion Events", Description: "A conversion has started", Example: conversion},
		{Name: "CONVERSION_COMPLETED", Group: "Conversion Events", Description: "A conversion is complete", Example: conversion},
		{Name: "CONVERSION_FAILED", Group: "Conversion Events", Description: "A conversion has failed", Example: conversion},
		{Name: "IDENTIFICATION_STARTED", Group: "Identification Events", Description: "An identification has started", Example: identification},
		{Name: "IDENTIFICATION_COMPLETED", Group: "Identification Events", Description: "An identification is complete", Example: identification},
		{Name: "IDENTIFICATION_FAILED", Group: "Identification Events", Description: "An identification has failed", Example: identification},
		{Name: "STEP_STARTED", Group: "Steps Events", Description: "A step has started", Example: step},
		{Name: "STEP_COMPLETED", Group: "Steps Events", Description: "A step is complete", Example: step},
		{Name: "STEP_FAILED", Group: "Steps Events", Description: "A step has failed", Example: step},
	}
}
