package portal

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/outhook/webhook"
)

// The types below are the API's JSON, as openapi.json describes it.

// endpointInput is what a client may set.
type endpointInput struct {
	ID          string            `json:"id,omitempty"`
	URL         string            `json:"url"`
	Description string            `json:"description"`
	Tenant      string            `json:"tenant,omitempty"`
	AllTenants  bool              `json:"allTenants"`
	Events      []string          `json:"events"`
	Profile     string            `json:"profile"`
	Secrets     []secret          `json:"secrets,omitempty"`
	Auth        authInput         `json:"auth"`
	TLS         tlsInput          `json:"tls"`
	Headers     map[string]string `json:"headers"`
	RateLimit   float64           `json:"rateLimit"`
	Concurrency int               `json:"concurrency"`
	Ordered     bool              `json:"ordered"`
	Rev         int64             `json:"rev,omitempty"`
}

type authInput struct {
	Scheme   string `json:"scheme"`
	Name     string `json:"name"`
	Secret   string `json:"secret,omitempty"` // write-only
	TokenURL string `json:"tokenUrl"`
	Scope    string `json:"scope"`
	Params   string `json:"params"`
}

type tlsInput struct {
	RootCAs     string `json:"rootCAs"`
	Certificate string `json:"certificate"`
	Key         string `json:"key,omitempty"` // write-only
}

type secret struct {
	Value     string    `json:"value"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
}

// endpoint returns what the input says.
func (i *endpointInput) endpoint() webhook.Endpoint {
	e := webhook.Endpoint{
		ID: i.ID, URL: i.URL, Description: i.Description, Tenant: i.Tenant, AllTenants: i.AllTenants, Events: i.Events, Profile: i.Profile,
		Auth: webhook.Auth{
			Scheme: i.Auth.Scheme, Name: i.Auth.Name, Secret: webhook.Secret{Value: i.Auth.Secret},
			TokenURL: i.Auth.TokenURL, Scope: i.Auth.Scope, Params: i.Auth.Params,
		},
		TLS:     webhook.EndpointTLS{RootCAs: i.TLS.RootCAs, Certificate: i.TLS.Certificate, Key: webhook.Secret{Value: i.TLS.Key}},
		Headers: i.Headers, RateLimit: i.RateLimit, Concurrency: i.Concurrency, Ordered: i.Ordered, Rev: i.Rev,
	}
	for _, s := range i.Secrets {
		e.Secrets = append(e.Secrets, webhook.Secret(s))
	}
	return e
}

// inputOf returns the input that would leave an endpoint as it is.
func inputOf(e *webhook.Endpoint) endpointInput {
	return endpointInput{
		URL: e.URL, Description: e.Description, Tenant: e.Tenant, AllTenants: e.AllTenants, Events: e.Events, Profile: e.Profile,
		Auth:    authInput{Scheme: e.Auth.Scheme, Name: e.Auth.Name, TokenURL: e.Auth.TokenURL, Scope: e.Auth.Scope, Params: e.Auth.Params},
		TLS:     tlsInput{RootCAs: e.TLS.RootCAs, Certificate: e.TLS.Certificate},
		Headers: e.Headers, RateLimit: e.RateLimit, Concurrency: e.Concurrency, Ordered: e.Ordered, Rev: e.Rev,
	}
}

// sameContent reports whether an endpoint is what an input would have made of it,
// as far as it can be read back.
func sameContent(e *webhook.Endpoint, i endpointInput) bool {
	of, want := inputOf(e), i
	want.ID, want.Secrets, want.Rev, want.Auth.Secret, want.TLS.Key, of.Rev = "", nil, 0, "", "", 0
	if want.Tenant == "" {
		want.Tenant = of.Tenant
	}
	if len(want.Events) == 0 {
		want.Events = []string{"*"}
	}
	for _, input := range []*endpointInput{&of, &want} {
		input.Events = slices.Compact(slices.Sorted(slices.Values(input.Events)))
		if len(input.Headers) == 0 {
			input.Headers = nil
		}
	}
	a, errA := json.Marshal(of)
	b, errB := json.Marshal(want)
	return errA == nil && errB == nil && string(a) == string(b)
}

type endpointJSON struct {
	ID             string            `json:"id"`
	URL            string            `json:"url"`
	Description    string            `json:"description"`
	Tenant         string            `json:"tenant"`
	AllTenants     bool              `json:"allTenants"`
	Events         []string          `json:"events"`
	Profile        string            `json:"profile"`
	Secrets        []secret          `json:"secrets,omitempty"` // after a creation only
	Auth           authInput         `json:"auth"`
	TLS            tlsJSON           `json:"tls"`
	Headers        map[string]string `json:"headers"`
	RateLimit      float64           `json:"rateLimit"`
	Concurrency    int               `json:"concurrency"`
	Ordered        bool              `json:"ordered"`
	CreatedBy      string            `json:"createdBy"`
	Disabled       bool              `json:"disabled"`
	DisabledReason string            `json:"disabledReason"`
	VerifiedAt     time.Time         `json:"verifiedAt,omitzero"`
	AllowedRate    float64           `json:"allowedRate,omitempty"`
	FailingSince   time.Time         `json:"failingSince,omitzero"`
	NotBefore      time.Time         `json:"notBefore,omitzero"`
	CreatedAt      time.Time         `json:"createdAt"`
	UpdatedAt      time.Time         `json:"updatedAt"`
	Rev            int64             `json:"rev"`
	Unreadable     bool              `json:"unreadable,omitempty"`
}

type tlsJSON struct {
	RootCAs     string    `json:"rootCAs"`
	Certificate string    `json:"certificate"`
	NotAfter    time.Time `json:"notAfter,omitzero"`
}

func endpointOf(e *webhook.Endpoint) endpointJSON {
	i := inputOf(e)
	return endpointJSON{
		ID: e.ID, URL: e.URL, Description: e.Description, Tenant: e.Tenant, AllTenants: e.AllTenants, Events: notNil(e.Events), Profile: e.Profile,
		Auth: i.Auth, TLS: tlsJSON{e.TLS.RootCAs, e.TLS.Certificate, e.TLS.NotAfter}, Headers: notNilMap(e.Headers),
		RateLimit: e.RateLimit, Concurrency: e.Concurrency, Ordered: e.Ordered, CreatedBy: e.CreatedBy,
		Disabled: e.Disabled, DisabledReason: e.DisabledReason, VerifiedAt: e.VerifiedAt, AllowedRate: e.AllowedRate,
		FailingSince: e.FailingSince, NotBefore: e.NotBefore, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt, Rev: e.Rev, Unreadable: e.Unreadable,
	}
}

func secretsOf(secrets []webhook.Secret) []secret {
	all := make([]secret, len(secrets))
	for n, s := range secrets {
		all[n] = secret(s)
	}
	return all
}

// pageJSON is a page of a listing.
type pageJSON[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
	Total *int   `json:"total,omitempty"`
}

type eventTypesJSON struct {
	Groups []groupJSON `json:"groups"`
}

type groupJSON struct {
	Name       string          `json:"name"`
	EventTypes []eventTypeJSON `json:"eventTypes"`
}

type eventTypeJSON struct {
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Example     json.RawMessage `json:"example"`
}

// typeGroup are the event types of a group.
type typeGroup struct {
	name  string // "" where types have none
	types []webhook.EventType
}

// groupsOf groups event types, in the order of the catalogue.
func groupsOf(types []webhook.EventType) []typeGroup {
	var groups []typeGroup
	for _, t := range types {
		n := slices.IndexFunc(groups, func(g typeGroup) bool { return g.name == t.Group })
		if n < 0 {
			n = len(groups)
			groups = append(groups, typeGroup{name: t.Group})
		}
		groups[n].types = append(groups[n].types, t)
	}
	return groups
}

func eventTypesOf(types []webhook.EventType) eventTypesJSON {
	all := eventTypesJSON{Groups: []groupJSON{}}
	for _, g := range groupsOf(types) {
		group := groupJSON{Name: g.name}
		for _, t := range g.types {
			example := []byte(`{"test":true}`)
			if t.Example != nil {
				if text, err := webhook.MarshalJSON(t.Example); err == nil && json.Valid(text) {
					example = text
				}
			}
			group.EventTypes = append(group.EventTypes, eventTypeJSON{t.Name, t.Description, example})
		}
		all.Groups = append(all.Groups, group)
	}
	return all
}

type deliveryJSON struct {
	ID           string    `json:"id"`
	EventID      string    `json:"eventId"`
	EventType    string    `json:"eventType"`
	EventTenant  string    `json:"eventTenant"`
	EndpointID   string    `json:"endpointId"`
	Tenant       string    `json:"tenant"`
	State        string    `json:"state"`
	Origin       string    `json:"origin"`
	Attempts     int       `json:"attempts"`
	LastStatus   int       `json:"lastStatus,omitempty"`
	LastError    string    `json:"lastError,omitempty"`
	FirstAttempt time.Time `json:"firstAttempt,omitzero"`
	NextAttempt  time.Time `json:"nextAttempt,omitzero"`
	CreatedAt    time.Time `json:"createdAt"`
	UpdatedAt    time.Time `json:"updatedAt"`
}

func deliveryOf(d *webhook.Delivery) deliveryJSON {
	return deliveryJSON{
		d.ID, d.EventID, d.EventType, d.EventTenant, d.EndpointID, d.Tenant, string(d.State), string(d.Origin),
		d.Attempts, d.LastStatus, d.LastError, d.FirstAttempt, d.NextAttempt, d.CreatedAt, d.UpdatedAt,
	}
}

type attemptJSON struct {
	ID                   string              `json:"id"`
	DeliveryID           string              `json:"deliveryId"`
	Number               int                 `json:"number"`
	StartedAt            time.Time           `json:"startedAt"`
	DurationSeconds      float64             `json:"durationSeconds"`
	URL                  string              `json:"url"`
	StatusCode           int                 `json:"statusCode,omitempty"`
	Error                string              `json:"error,omitempty"`
	RequestHeaders       map[string][]string `json:"requestHeaders"`
	ResponseHeaders      map[string][]string `json:"responseHeaders"`
	BodySHA256           string              `json:"bodySha256"`
	ResponseBody         string              `json:"responseBody"`
	ResponseBodyEncoding string              `json:"responseBodyEncoding"` // utf-8 or base64
	Truncated            bool                `json:"truncated"`
}

func attemptOf(a *webhook.Attempt) attemptJSON {
	body, encoding := string(a.ResponseBody), "utf-8"
	if !utf8.ValidString(body) {
		body, encoding = base64.StdEncoding.EncodeToString(a.ResponseBody), "base64"
	}
	return attemptJSON{
		a.ID, a.DeliveryID, a.Number, a.StartedAt, a.Duration.Seconds(), a.URL, a.StatusCode, a.Error,
		headersOf(a.RequestHeaders), headersOf(a.ResponseHeaders), hex.EncodeToString(a.BodySHA256[:]), body, encoding, a.Truncated,
	}
}

func headersOf(h http.Header) map[string][]string {
	all := make(map[string][]string, len(h))
	maps.Copy(all, h)
	return all
}

type statisticsJSON struct {
	EndpointID    string    `json:"endpointId"`
	From          time.Time `json:"from"`
	To            time.Time `json:"to"`
	Created       int       `json:"created"`
	Delivered     int       `json:"delivered"`
	Exhausted     int       `json:"exhausted"`
	Cancelled     int       `json:"cancelled"`
	Pending       int       `json:"pending"`
	Retried       int       `json:"retried"`
	MedianSeconds float64   `json:"medianSeconds"`
	P95Seconds    float64   `json:"p95Seconds"`
	Estimated     bool      `json:"estimated"`
}

func statisticsOf(s *webhook.Statistics) statisticsJSON {
	return statisticsJSON{
		s.EndpointID, s.From, s.To, s.Created, s.Delivered, s.Exhausted, s.Cancelled, s.Pending, s.Retried,
		s.Median.Seconds(), s.P95.Seconds(), s.Estimated,
	}
}

type profileJSON struct {
	Name           string       `json:"name"`
	ContentType    string       `json:"contentType"`
	UserAgent      string       `json:"userAgent"`
	TimeoutSeconds float64      `json:"timeoutSeconds"`
	Verification   bool         `json:"verification"`
	SingleSecret   bool         `json:"singleSecret"` // no overlap at a rotation
	Signatures     []schemeJSON `json:"signatures"`
}

type schemeJSON struct {
	Scheme   string   `json:"scheme"` // standard-webhooks, hmac-sha256, secret-header or other
	Headers  []string `json:"headers"`
	Prefix   string   `json:"prefix,omitempty"`   // of the value
	Encoding string   `json:"encoding,omitempty"` // hex or base64
	OfBody   bool     `json:"ofBody"`             // the signed content is the body
	Optional bool     `json:"optional"`
}

func profileOf(name string, p *webhook.Profile) profileJSON {
	single, _ := p.Signer.(interface{ SingleSecret() bool })
	return profileJSON{
		Name: name, ContentType: p.ContentType, UserAgent: p.UserAgent, TimeoutSeconds: p.Timeout.Seconds(),
		Verification: p.Verification != nil, SingleSecret: single != nil && single.SingleSecret(), Signatures: schemesOf(p.Signer),
	}
}

// signersOf takes a Signer apart into those that make one signature each, as
// values where a profile has pointers to the library's own.
func signersOf(s webhook.Signer) []webhook.Signer {
	switch s := s.(type) {
	case webhook.Signers:
		all := []webhook.Signer{}
		for _, one := range s {
			all = append(all, signersOf(one)...)
		}
		return all
	case *webhook.Signers:
		return signersOf(*s)
	case *webhook.StandardWebhooks:
		return []webhook.Signer{*s}
	case *webhook.HMAC:
		return []webhook.Signer{*s}
	case *webhook.SecretHeader:
		return []webhook.Signer{*s}
	}
	return []webhook.Signer{s}
}

// headersOfSigner returns the headers that a Signer says it sets.
func headersOfSigner(s webhook.Signer) []string {
	if c, ok := s.(interface{ SignatureHeaders() []string }); ok {
		return c.SignatureHeaders()
	}
	return nil
}

func schemesOf(s webhook.Signer) []schemeJSON {
	all := []schemeJSON{}
	for _, one := range signersOf(s) {
		all = append(all, schemeOf(one))
	}
	return all
}

func schemeOf(s webhook.Signer) schemeJSON {
	scheme := schemeJSON{Scheme: "other", Headers: notNil(headersOfSigner(s))}
	switch s := s.(type) {
	case webhook.StandardWebhooks:
		scheme.Scheme = "standard-webhooks"
	case webhook.HMAC:
		scheme.Scheme, scheme.Prefix, scheme.OfBody, scheme.Optional = "hmac-sha256", s.Prefix, s.Content == nil, s.Optional
		if scheme.Encoding = "hex"; s.Encoding == webhook.Base64 {
			scheme.Encoding = "base64"
		}
	case webhook.SecretHeader:
		scheme.Scheme = "secret-header"
	}
	return scheme
}

func notNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func notNilMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// etag is the entity tag of a version of an endpoint.
func etag(rev int64) string { return `"` + strconv.FormatInt(rev, 10) + `"` }
