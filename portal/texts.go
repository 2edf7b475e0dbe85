package portal

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Texts returns a copy of all texts of the pages in English, by their keys: what
// a translation starts from. [Options].Texts replaces any of them.
//
// "%s" and "%d" stand for values, in the same order in every language ("%[2]s"
// changes it). Where a number decides, there are two keys: one ending in ".one",
// for 1, and one in ".other".
func Texts() map[string]string {
	texts := make(map[string]string, len(english))
	for key, text := range english {
		texts[key] = text
	}
	return texts
}

// T is how templates ask for a text; a missing key shows itself.
func (u *ui) T(key string, args ...any) string {
	text, ok := u.texts[key]
	if !ok {
		if text, ok = english[key]; !ok {
			return key
		}
	}
	if len(args) == 0 || !strings.Contains(text, "%") { // "One thing" needs no number
		return text
	}
	return fmt.Sprintf(text, args...)
}

// N is T for a number of things.
func (u *ui) N(key string, n int) string {
	form := ".other"
	if n == 1 {
		form = ".one"
	}
	return u.T(key+form, u.Number(n))
}

// Number writes a number with its thousands apart.
func (u *ui) Number(n int) string {
	s := strconv.Itoa(n)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + u.T("format.thousands") + s[at:]
	}
	return s
}

// Date writes a time in UTC.
func (u *ui) Date(t time.Time) string {
	if t.IsZero() {
		return u.T("never")
	}
	return t.UTC().Format(u.T("format.date"))
}

// Stamp writes a time for machines, as <time datetime> wants it.
func (u *ui) Stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// Ago writes how far away a time is.
func (u *ui) Ago(t time.Time) string {
	if t.IsZero() {
		return u.T("never")
	}
	d := u.Now.Sub(t)
	if d < 0 {
		if d > -time.Second {
			return u.T("time.now")
		}
		return u.T("time.in", u.span(-d))
	}
	if d < 2*time.Second {
		return u.T("time.now")
	}
	return u.T("time.ago", u.span(d))
}

// span writes a duration as its greatest unit.
func (u *ui) span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return u.T("time.seconds", max(1, int(d.Seconds())))
	case d < time.Hour:
		return u.T("time.minutes", int(d.Minutes()))
	case d < 48*time.Hour:
		return u.T("time.hours", int(d.Hours()))
	}
	return u.N("time.days", int(d.Hours()/24))
}

// Took writes how long something lasted.
func (u *ui) Took(d time.Duration) string {
	trim := func(v float64, digits int) string {
		s := strconv.FormatFloat(v, 'f', digits, 64)
		if strings.Contains(s, ".") {
			s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		return strings.Replace(s, ".", u.T("format.decimal"), 1)
	}
	switch {
	case d < time.Millisecond:
		return u.T("took.less")
	case d < time.Second:
		return u.T("took.ms", trim(float64(d)/float64(time.Millisecond), 0))
	case d < time.Minute:
		return u.T("took.s", trim(d.Seconds(), 1))
	case d < time.Hour:
		return u.T("took.min", trim(d.Minutes(), 1))
	}
	return u.T("took.h", trim(d.Hours(), 1))
}

// english is the table of all texts.
var english = map[string]string{
	"format.thousands": ",",
	"format.decimal":   ".",
	"format.date":      "2 Jan 2006, 15:04:05 UTC", // the reference time of package time
	"format.day":       "2 Jan",
	"format.hour":      "15:04",
	"never":            "never",
	"none":             "none",
	"time.now":         "just now",
	"time.ago":         "%s ago",
	"time.in":          "in %s",
	"time.seconds":     "%d s",
	"time.minutes":     "%d min",
	"time.hours":       "%d h",
	"time.days.one":    "%s day",
	"time.days.other":  "%s days",
	"took.less":        "< 1 ms",
	"took.ms":          "%s ms",
	"took.s":           "%s s",
	"took.min":         "%s min",
	"took.h":           "%s h",

	"nav.skip":     "Skip to content",
	"nav.crumbs":   "You are here",
	"nav.webhooks": "Webhooks",
	"nav.readonly": "Read-only",
	"nav.operator": "All tenants",
	"nav.first":    "Newest",
	"nav.start":    "First page",
	"nav.next":     "Next",
	"nav.older":    "Older",
	"nav.pages":    "Pages",
	"nav.tabs":     "This webhook",
	"footer.utc":   "Times are in UTC.",
	"action.copy":  "Copy",
	"action.done":  "Copied",
	"action.back":  "Cancel",
	"action.menu":  "Actions for %s",

	"state.delivered": "Delivered",
	"state.exhausted": "Failed",
	"state.cancelled": "Cancelled",
	"state.pending":   "Pending",
	"state.retrying":  "Retrying",

	"origin.publish": "Event",
	"origin.resend":  "Resent by hand",
	"origin.replay":  "Replayed",
	"origin.test":    "Test",

	"health.active":     "Active",
	"health.failing":    "Failing",
	"health.paused":     "Paused",
	"health.disabled":   "Disabled",
	"health.unverified": "Not verified",
	"health.unreadable": "Unreadable",
	"health.since":      "for %s",
	"health.until":      "next try %s",

	"list.title":         "Webhooks",
	"list.lede":          "We send an HTTP POST request to these addresses when something happens.",
	"list.new":           "Add webhook",
	"list.total.one":     "%s webhook",
	"list.total.other":   "%s webhooks",
	"list.found.one":     "%s match",
	"list.found.other":   "%s matches",
	"list.search":        "Search",
	"list.search.hint":   "URL, description or event",
	"list.search.submit": "Search",
	"list.search.clear":  "Clear",
	"list.search.cut":    "The first %s are shown. Type more to narrow it down.",
	"list.search.more":   "Only the first %s webhooks were searched.",
	"list.show":          "Show",
	"list.show.all":      "All",
	"list.show.enabled":  "Enabled",
	"list.show.disabled": "Disabled",
	"list.col.webhook":   "Webhook",
	"list.col.status":    "Status",
	"list.col.events":    "Events",
	"list.col.day":       "Last 24 hours",
	"list.col.menu":      "Actions",
	"list.quiet":         "Nothing sent",
	"list.all":           "All events",
	"list.more":          "+%d more",
	"list.tenant":        "Tenant",
	"list.tenants.all":   "All tenants",
	"list.none.title":    "Nothing matches",
	"list.none.text":     "No webhook has what you searched for. It looks at URLs, descriptions and event types.",
	"list.none.disabled": "No webhook is in this state.",
	"list.empty.title":   "No webhooks yet",
	"list.empty.text":    "A webhook tells your own server when something happens here, within seconds and without polling.",
	"list.empty.1":       "Give us a URL",
	"list.empty.1.text":  "An https address of your server that accepts POST requests and answers with a 2xx status.",
	"list.empty.2":       "Verify the signature",
	"list.empty.2.text":  "Each request is signed. We show you the secret and code in Go, Node and Python that checks it.",
	"list.empty.3":       "Send a test",
	"list.empty.3.text":  "See the request and your server's answer at once, before the first real event.",
	"list.empty.read":    "There is nothing to see yet. Whoever may change webhooks can add one.",

	"stat.delivered":         "Delivered",
	"stat.failed":            "Failed",
	"stat.pending":           "Pending",
	"stat.median":            "Median time to delivery",
	"stat.p95":               "95th percentile",
	"stat.delivered.n.one":   "%s delivered",
	"stat.delivered.n.other": "%s delivered",
	"stat.failed.n.one":      "%s failed",
	"stat.failed.n.other":    "%s failed",
	"stat.pending.n.one":     "%s pending",
	"stat.pending.n.other":   "%s pending",
	"stat.about":             "about %s",

	"chart.title":        "Deliveries",
	"chart.range":        "Period of the chart",
	"chart.24h":          "24 hours",
	"chart.7d":           "7 days",
	"chart.30d":          "30 days",
	"chart.desc":         "Bars: deliveries by outcome in %[1]s parts of %[2]s. Line: median time to delivery, dotted: 95th percentile.",
	"chart.name":         "Deliveries and time to delivery over the last %s",
	"chart.table":        "Show as a table",
	"chart.median":       "Median",
	"chart.from":         "From",
	"chart.empty":        "Nothing was sent in this time.",
	"chart.estimated":    "There are too many to count one by one: figures are estimates from a sample.",
	"chart.bucket":       "%[1]s: %[2]s delivered, %[3]s failed, %[4]s pending",
	"chart.bucket.took":  ", median %s",
	"chart.axis.count":   "deliveries",
	"chart.axis.latency": "time",

	"tab.calls":    "Activity",
	"tab.verify":   "Signature",
	"tab.settings": "Settings",

	"calls.title":        "Calls",
	"calls.state":        "Status",
	"calls.state.all":    "Any status",
	"calls.type":         "Event",
	"calls.type.all":     "Any event",
	"calls.range":        "Time",
	"calls.range.all":    "Any time",
	"calls.range.1h":     "Last hour",
	"calls.range.24h":    "Last 24 hours",
	"calls.range.7d":     "Last 7 days",
	"calls.range.30d":    "Last 30 days",
	"calls.range.custom": "From – to",
	"calls.from":         "From (UTC)",
	"calls.to":           "To (UTC)",
	"calls.filter":       "Filter",
	"calls.reset":        "Reset",
	"calls.live":         "Live",
	"calls.live.off":     "Updates paused",
	"calls.live.pause":   "Pause live updates",
	"calls.live.resume":  "Resume live updates",
	"calls.shown.one":    "%s call shown",
	"calls.shown.other":  "%s calls shown",
	"calls.col.event":    "Event",
	"calls.col.status":   "Status",
	"calls.col.when":     "Time",
	"calls.col.response": "Response",
	"calls.col.took":     "Duration",
	"calls.col.attempts": "Attempts",
	"calls.next":         "next try %s",
	"calls.noresponse":   "No response",
	"calls.notyet":       "Not sent yet",
	"calls.empty.title":  "No calls yet",
	"calls.empty.text":   "As soon as an event that this webhook subscribes to happens, the call appears here. You need not wait: send a test.",
	"calls.none.title":   "No calls match",
	"calls.none.text":    "Try another status, event or time.",

	"endpoint.test":           "Send test",
	"endpoint.replay":         "Replay",
	"endpoint.enable":         "Enable",
	"endpoint.disable":        "Disable",
	"endpoint.edit":           "Edit",
	"endpoint.delete":         "Delete",
	"endpoint.signature":      "Signature and secret",
	"endpoint.failing.title":  "This webhook is failing",
	"endpoint.failing.text":   "No request has succeeded since %s. We keep trying; look at a failed call below for your server's answer.",
	"endpoint.paused.title":   "Deliveries are paused until %s",
	"endpoint.paused.text":    "Your server kept failing or asked us to wait, so we try single calls now and then. Everything else waits and is sent as soon as one succeeds. Failing since %s.",
	"endpoint.wait.text":      "Your server asked us to wait, or kept failing. Everything waits and is sent then.",
	"endpoint.disabled.title": "This webhook is disabled",
	"endpoint.disabled.text":  "It receives nothing. Calls that were waiting are sent once it is enabled; what happens meanwhile can be replayed.",
	"endpoint.disabled.why":   "Reason: %s",
	"endpoint.unverified":     "This webhook is not verified yet",
	"endpoint.unverified.why": "Before we send anything we ask your server whether it wants to receive it. Make sure that it is running, then verify.",
	"endpoint.consent":        "Verify now",
	"endpoint.unreadable":     "The settings of this webhook cannot be read",
	"endpoint.unreadable.why": "Nothing is sent to it. It can be disabled or deleted; otherwise ask the operator.",

	"flash.saved":     "The changes were saved.",
	"flash.enabled":   "The webhook is enabled.",
	"flash.disabled":  "The webhook is disabled.",
	"flash.deleted":   "The webhook was deleted.",
	"flash.verified":  "Your server agreed: the webhook is verified.",
	"flash.resent":    "The event is on its way again. This page follows the new call.",
	"flash.repeated":  "This webhook was already created. Its secret was shown then.",
	"flash.unchanged": "The secret was changed meanwhile. Nothing was done.",

	"form.new.title":          "Add webhook",
	"form.edit.title":         "Settings",
	"form.errors.one":         "One thing needs your attention",
	"form.errors.other":       "%s things need your attention",
	"form.where":              "Destination",
	"form.url":                "URL",
	"form.url.hint":           "An https address that accepts POST requests and answers with a 2xx status.",
	"form.description":        "Description",
	"form.description.hint":   "For you and your colleagues. Optional.",
	"form.tenant":             "Tenant",
	"form.tenant.hint":        "Whose events it receives: its own and those of the tenants within it.",
	"form.tenants.all":        "Receive the events of all tenants",
	"form.profile":            "Format",
	"form.profile.hint":       "How requests are built and signed.",
	"form.profile.default":    "Standard",
	"form.events":             "Events",
	"form.events.all":         "All events",
	"form.events.all.hint":    "Including those that are added later.",
	"form.events.some":        "Selected events",
	"form.events.group":       "All of %s",
	"form.events.other":       "Other",
	"form.patterns":           "Patterns",
	"form.patterns.hint":      "One a line: an event type such as document.signed, or document.* for all that begin with it.",
	"form.patterns.more":      "Select by pattern",
	"form.secret":             "Signing secret",
	"form.secret.generated":   "Leave it empty and we generate a strong one.",
	"form.secret.optional":    "Optional. Leave it empty to send without one.",
	"form.secret.kept":        "Leave it empty to keep the present one. Our requests show it to your server: for another server or profile, enter a new one.",
	"form.secret.own":         "Use a secret of your own",
	"form.auth":               "Authentication",
	"form.auth.lede":          "Beside the signature, if your gateway asks for credentials.",
	"form.auth.none":          "None",
	"form.auth.basic":         "Basic",
	"form.auth.bearer":        "Bearer token",
	"form.auth.apikey":        "API key",
	"form.auth.oauth2":        "OAuth 2.0",
	"form.auth.user":          "User name",
	"form.auth.password":      "Password",
	"form.auth.token":         "Token",
	"form.auth.header":        "Header",
	"form.auth.key":           "Key",
	"form.auth.client":        "Client ID",
	"form.auth.client.secret": "Client secret",
	"form.auth.url":           "Token URL",
	"form.auth.scope":         "Scopes",
	"form.auth.scope.hint":    "Separated by spaces. Optional.",
	"form.auth.params":        "Further parameters",
	"form.auth.params.hint":   "As in a URL: audience=https%3A%2F%2Fapi.example",
	"form.auth.kept":          "Leave it empty to keep the present one.",
	"form.advanced":           "Headers, limits and order",
	"form.headers":            "Extra headers",
	"form.headers.hint":       "One a line, as Name: value. They are visible here: no place for a password.",
	"form.rate":               "Requests per second",
	"form.rate.hint":          "At the most. Empty: no limit.",
	"form.concurrency":        "Requests at once",
	"form.concurrency.hint":   "At the most. Empty: the default.",
	"form.ordered":            "Keep the order",
	"form.ordered.hint":       "Events of the same thing arrive strictly one after the other. A failing one holds up those behind it.",
	"form.tls":                "Certificates",
	"form.tls.lede":           "For a server with an authority of its own, or one that asks for a client certificate.",
	"form.tls.roots":          "Trusted authorities (PEM)",
	"form.tls.certificate":    "Client certificate (PEM)",
	"form.tls.key":            "Private key of the certificate (PEM)",
	"form.tls.expires":        "The certificate expires %s.",
	"form.create":             "Create webhook",
	"form.save":               "Save changes",
	"form.stale":              "Somebody else has changed this webhook meanwhile. Look at the present settings, then save again to replace them.",
	"form.used":               "This form has created a webhook already. Send it again to create another one.",
	"form.danger":             "Remove this webhook",
	"form.danger.text":        "Deleting stops all calls at once and cannot be undone.",
	"form.number":             "This is not a number.",
	"form.header.line":        "Line %d is not of the form Name: value.",
	"form.header.twice":       "%s is there twice.",
	"form.events.none":        "Select at least one event, or all.",

	"secret.created.title": "Your webhook is ready",
	"secret.created.text":  "Copy the signing secret now and keep it where your server can read it, as you would a password. It is shown this once.",
	"secret.created.owner": "Copy the signing secret now and keep it where your server can read it, as you would a password. Later you can reveal it or replace it under Signature.",
	"secret.created.none":  "It has no signing secret.",
	"secret.unverified":    "One step is left: we have to ask your server for its consent before we send anything.",
	"secret.label":         "Signing secret",
	"secret.next":          "What next?",
	"secret.next.code":     "See code that verifies the signature",
	"secret.next.test":     "Send a test",
	"secret.next.open":     "Open the webhook",
	"secret.rotated":       "The new secret is in use",
	"secret.rotated.now":   "The old one has stopped working. Update your server now.",
	"secret.rotated.until": "Both secrets sign until %s. Update your server before then.",
	"secret.hidden":        "Only the person who created this webhook, and whoever may see all secrets, can reveal it. You can generate a new one.",
	"secret.readonly":      "You have read-only access, which shows no secrets.",
	"secret.reveal":        "Reveal secret",
	"secret.reveal.text":   "You may look at it again. This is recorded.",
	"secret.expires":       "until %s",
	"secret.rotate":        "Regenerate secret",
	"secret.rotate.text":   "Makes a new secret. Your server has to know it before the old one stops.",
	"secret.rotate.single": "This signature carries one secret only: the old one stops working immediately.",
	"secret.rotate.own":    "New secret",
	"secret.rotate.empty":  "Leave it empty and we generate a strong one.",
	"secret.overlap":       "The old secret signs as well for",
	"secret.overlap.0":     "No time: it stops at once",
	"secret.overlap.1h":    "1 hour",
	"secret.overlap.24h":   "24 hours",
	"secret.overlap.7d":    "7 days",

	"verify.title":       "Signature",
	"verify.lede":        "How your server makes sure that a request comes from us and was not changed.",
	"verify.code":        "Verify it in your code",
	"verify.env":         "The code reads the secret from the environment variable WEBHOOK_SECRET. It is not shown here.",
	"verify.language":    "Language",
	"verify.headers":     "Headers of each request",
	"verify.steps":       "Whatever you use",
	"verify.step.raw":    "Verify the body as it arrived, byte for byte, before you parse it.",
	"verify.step.twice":  "Expect a request more than once: remember the message ID, which stays the same over all attempts.",
	"verify.step.fast":   "Answer with a 2xx status within %s, and do the work afterwards. 410 disables this webhook; anything else is tried again.",
	"verify.unknown":     "These requests are signed by a scheme of this product's own. Its documentation says how to verify them.",
	"scheme.standard":    "Standard Webhooks: HMAC-SHA256 of “id.timestamp.body” in %s. A signing key (whsk_…) makes it an ed25519 signature (v1a). Libraries exist for most languages.",
	"scheme.svix":        "Standard Webhooks with the headers of Svix, whose libraries verify it: HMAC-SHA256 of “id.timestamp.body” in %s.",
	"scheme.hmac":        "HMAC-SHA256 of the body in %[1]s, written as %[2]s.",
	"scheme.hmac.own":    "HMAC-SHA256 in %[1]s, written as %[2]s. What is signed is defined by this product: its documentation says how the content is put together.",
	"scheme.hmac.key":    "The key is made from the secret in a way that this product's documentation describes.",
	"scheme.secret":      "The secret itself in %s. Compare it in constant time, and accept requests over https only.",
	"scheme.optional":    "The header is left out while there is no secret.",
	"scheme.hex":         "hexadecimal digits",
	"scheme.base64":      "base64",
	"scheme.prefix":      "“%[1]s” and %[2]s",
	"scheme.header.id":   "the message ID",
	"scheme.header.time": "when the request was made, in Unix seconds",
	"scheme.header.sig":  "the signatures, separated by spaces",
	"scheme.header.one":  "the signature",
	"scheme.header.key":  "the secret",
	"scheme.header.own":  "set by the signature scheme",

	"test.title":  "Send a test",
	"test.lede":   "A real, signed request with sample data, sent at once. It is logged, not retried, and does not affect the webhook's health.",
	"test.type":   "Event",
	"test.send":   "Send test",
	"test.result": "Your server's answer",
	"test.open":   "Open this call",

	"replay.title":         "Replay",
	"replay.lede":          "Sends events of a time again, for instance after your server was down. Nothing is sent that has arrived already or is on its way.",
	"replay.what":          "What",
	"replay.failed":        "Failed calls",
	"replay.failed.hint":   "Those that were given up after the last try.",
	"replay.missed":        "Everything missed",
	"replay.missed.hint":   "Also what happened while this webhook was disabled or did not exist yet.",
	"replay.preview":       "Preview",
	"replay.count.one":     "%s event would be sent again",
	"replay.count.other":   "%s events would be sent again",
	"replay.count.least":   "At least %s events would be sent again",
	"replay.count.none":    "There is nothing to send again in this time.",
	"replay.start":         "Send them again",
	"replay.change":        "Nothing has been sent yet.",
	"replay.disabled":      "The webhook is disabled. Enable it first.",
	"replay.running":       "Replaying …",
	"replay.running.text":  "%[1]s sent again so far, %[2]s looked at in this step.",
	"replay.continue":      "Continue",
	"replay.stop":          "Stop",
	"replay.finished":      "The replay is finished",
	"replay.created.one":   "%s event is on its way again.",
	"replay.created.other": "%s events are on their way again.",
	"replay.watch":         "Watch the calls",

	"confirm.delete.title":  "Delete this webhook?",
	"confirm.delete.text":   "Calls to %s stop at once, and what is waiting is cancelled. The log of past calls stays for a while. This cannot be undone.",
	"confirm.delete.do":     "Delete webhook",
	"confirm.disable.title": "Disable this webhook?",
	"confirm.disable.text":  "Nothing more is sent to %s until you enable it again. What is waiting stays.",
	"confirm.disable.why":   "Reason",
	"confirm.disable.hint":  "For your colleagues. Optional.",
	"confirm.disable.do":    "Disable webhook",

	"delivery.title":          "Call",
	"delivery.resend":         "Resend",
	"delivery.live":           "This page follows the call until it is finished.",
	"delivery.event.id":       "Message ID",
	"delivery.id":             "Call ID",
	"delivery.created":        "Created",
	"delivery.origin":         "Why",
	"delivery.attempts":       "Attempts",
	"delivery.next":           "Next try",
	"delivery.soon":           "now",
	"delivery.disabled":       "once the webhook is enabled",
	"delivery.finished":       "Finished",
	"delivery.webhook":        "Webhook",
	"delivery.gone":           "deleted",
	"delivery.body":           "Request body",
	"delivery.body.gone":      "The body can no longer be shown, because the webhook or the event is gone.",
	"delivery.body.changed":   "The format has changed since: an attempt below was sent with another body than this one.",
	"delivery.attempt":        "Attempt %d",
	"delivery.attempts.none":  "Not sent yet",
	"delivery.attempts.title": "Attempts",
	"delivery.request":        "Request",
	"delivery.response":       "Response",
	"delivery.response.none":  "No response came.",
	"delivery.empty":          "The body is empty.",
	"delivery.body.label":     "Body",
	"delivery.truncated":      "Only the beginning was kept.",
	"delivery.cut":            "There is more than is shown here.",
	"delivery.binary":         "Not text: the first bytes in hexadecimal.",

	"problem.400":      "This cannot be read",
	"problem.400.text": "The form was not complete when it arrived. Go back and send it again.",
	"problem.401":      "Please sign in",
	"problem.401.text": "This page needs to know who you are.",
	"problem.403":      "Not allowed",
	"problem.403.text": "You may not do this.",
	"problem.404":      "Nothing here",
	"problem.404.text": "It does not exist, or has been deleted.",
	"problem.405":      "Not possible",
	"problem.409":      "This does not work right now",
	"problem.413":      "Too large",
	"problem.422":      "Something is wrong with this request",
	"problem.500":      "Something went wrong",
	"problem.500.text": "It is our fault, not yours, and has been logged. Please try again.",
	"problem.503.text": "It took too long, or something that it needs did not answer. Please try again.",
	"problem.back":     "All webhooks",
	"problem.webhook":  "Back to the webhook",
}
