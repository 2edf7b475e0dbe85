package portal

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/outhook/webhook"
)

// schema is as much of a schema as the tests need.
type schema struct {
	Ref        string            `json:"$ref"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Required   []string          `json:"required"`
}

// described is the document.
type described struct {
	OpenAPI    string                                `json:"openapi"`
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

func readDocument(t *testing.T) described {
	t.Helper()
	var d described
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTheDocumentHasTheRoutesAndNoOthers(t *testing.T) {
	d := readDocument(t)
	var want, got []string
	for path, item := range d.Paths {
		for method := range item {
			if method != "parameters" {
				want = append(want, strings.ToUpper(method)+" "+apiPath+"/v1"+path)
			}
		}
	}
	for _, r := range new(portal).api() {
		got = append(got, r.method+" "+r.path)
		if change := r.method != http.MethodGet; change != r.change {
			t.Errorf("%s %s is marked as one that changes something: %v", r.method, r.path, r.change)
		}
		if r.public {
			t.Errorf("%s %s asks for no access", r.method, r.path)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the routes are\n%s\nthe document has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Errorf("version %q", d.OpenAPI)
	}
}

// What Go calls a field and what the document calls it are the same, at any depth.
func TestTheDocumentHasTheFieldsOfTheWire(t *testing.T) {
	d := readDocument(t)
	for name, v := range map[string]any{
		"EndpointInput": endpointInput{}, "EndpointPatch": endpointInput{}, "AuthInput": authInput{}, "TLSInput": tlsInput{}, "Secret": secret{},
		"Endpoint": endpointJSON{}, "EndpointPage": pageJSON[endpointJSON]{}, "EventTypes": eventTypesJSON{}, "Delivery": deliveryJSON{}, "Attempt": attemptJSON{},
		"Statistics": statisticsJSON{}, "Profile": profileJSON{}, "Problem": problem{},
	} {
		s, ok := d.Components.Schemas[name]
		if !ok {
			t.Errorf("there is no schema %s", name)
			continue
		}
		compareFields(t, d, name, s, reflect.TypeOf(v))
	}
}

func compareFields(t *testing.T, d described, at string, s schema, typ reflect.Type) {
	t.Helper()
	if s.Ref != "" {
		s = d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
	}
	switch typ.Kind() {
	case reflect.Slice:
		if s.Items != nil {
			compareFields(t, d, at+"[]", *s.Items, typ.Elem())
		}
		return
	case reflect.Struct:
	default:
		return
	}
	if len(s.Properties) == 0 || typ.PkgPath() == "time" {
		return
	}
	fields := make(map[string]reflect.Type)
	for n := range typ.NumField() {
		f := typ.Field(n)
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields[name] = f.Type
		if always := options == ""; strings.HasSuffix(typ.Name(), "JSON") && always != slices.Contains(s.Required, name) && !(name == "secret" || name == "key") {
			t.Errorf("%s.%s is always there: %v; required: %v", at, name, always, !always)
		}
	}
	got, want := slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(s.Properties))
	without := func(names []string) []string { // of an endpoint's auth, which shares its type with what is written
		return slices.DeleteFunc(names, func(n string) bool {
			return n == "secret" && strings.HasPrefix(at, "Endpoint") && !strings.HasPrefix(at, "EndpointInput") && !strings.HasPrefix(at, "EndpointPatch")
		})
	}
	if got, want = without(got), without(want); !slices.Equal(got, want) && !(strings.HasSuffix(at, "Page")) {
		t.Errorf("%s has the fields %q, the document %q", at, got, want)
	}
	for name, sub := range s.Properties {
		if f, ok := fields[name]; ok {
			compareFields(t, d, at+"."+name, sub, f)
		}
	}
}

func TestMistakesAreSortedByField(t *testing.T) {
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Catalog:  []webhook.EventType{{Name: "document.signed"}},
		Profiles: map[string]webhook.Profile{"token": {Signer: webhook.SecretHeader{Name: "X-Token"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	register := func(e webhook.Endpoint) error {
		_, err := d.Tenant("acme").Register(t.Context(), e)
		return err
	}
	good := "https://example.com/hook"
	rotate := func(secret string, overlap int) error {
		e, err := d.Tenant("acme").Register(t.Context(), webhook.Endpoint{URL: good, Profile: "token"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Tenant("acme").RotateSecret(t.Context(), e.ID, webhook.Secret{Value: secret}, 1e9*1)
		if overlap == 0 {
			_, err = d.Tenant("acme").RotateSecret(t.Context(), e.ID, webhook.Secret{Value: secret}, 0)
		}
		return err
	}
	for name, test := range map[string]struct {
		err  error
		want []string
	}{
		"URL":           {register(webhook.Endpoint{URL: "http://example.com"}), []string{"/url"}},
		"no URL":        {register(webhook.Endpoint{}), []string{"/url"}},
		"address":       {register(webhook.Endpoint{URL: "https://127.0.0.1/"}), []string{"/url"}},
		"ID":            {register(webhook.Endpoint{URL: good, ID: "mine"}), []string{"/id"}},
		"tenant":        {register(webhook.Endpoint{URL: good, Tenant: "other"}), []string{"/tenant"}},
		"all tenants":   {register(webhook.Endpoint{URL: good, AllTenants: true}), []string{"/allTenants"}},
		"pattern":       {register(webhook.Endpoint{URL: good, Events: []string{"**"}}), []string{"/events", "/events"}},
		"unknown type":  {register(webhook.Endpoint{URL: good, Events: []string{"invoice.*"}}), []string{"/events"}},
		"profile":       {register(webhook.Endpoint{URL: good, Profile: "none"}), []string{"/profile"}},
		"secret":        {register(webhook.Endpoint{URL: good, Secrets: []webhook.Secret{{Value: "whsec_x"}}}), []string{"/secrets/0"}},
		"auth":          {register(webhook.Endpoint{URL: good, Auth: webhook.BearerToken("a b")}), []string{"/auth"}},
		"oauth2":        {register(webhook.Endpoint{URL: good, Auth: webhook.OAuth2("ftp://x", "id", "secret")}), []string{"/auth/tokenUrl", "/auth"}},
		"TLS":           {register(webhook.Endpoint{URL: good, TLS: webhook.EndpointTLS{RootCAs: "x", Certificate: "y"}}), []string{"/tls/rootCAs", "/tls/certificate"}},
		"headers":       {register(webhook.Endpoint{URL: good, Headers: map[string]string{"Host": "x"}}), []string{"/headers"}},
		"limits":        {register(webhook.Endpoint{URL: good, RateLimit: -1, Concurrency: -1}), []string{"/rateLimit", "/concurrency"}},
		"description":   {register(webhook.Endpoint{URL: good, Description: "\xff"}), []string{"/description"}},
		"overlap":       {rotate("", 1), []string{"/overlapSeconds"}},
		"rotate secret": {rotate("\n", 0), []string{"/secrets/0"}},
		"event type": {func() error {
			e, _ := d.Register(t.Context(), webhook.Endpoint{URL: good})
			_, err := d.SendTest(t.Context(), e.ID, "none")
			return err
		}(), []string{"/eventType"}},
		"cursor":   {func() error { _, err := d.Deliveries(t.Context(), webhook.DeliveryFilter{Cursor: "x"}); return err }(), []string{"/cursor"}},
		"endpoint": {func() error { _, err := d.Replay(t.Context(), webhook.ReplayFilter{Missed: true}); return err }(), []string{"/endpointId"}},
	} {
		q := problemOf(test.err, false)
		var got []string
		for _, e := range q.Errors {
			got = append(got, e.Pointer)
			if e.Detail == "" || strings.Contains(e.Detail, "Network.") || strings.HasPrefix(e.Detail, "invalid: ") || strings.Contains(e.Detail, "register") {
				t.Errorf("%s: %q", name, e.Detail)
			}
		}
		if q.Status != http.StatusUnprocessableEntity || !slices.Equal(got, test.want) {
			t.Errorf("%s: %v is %d for %q, want %q: %+v", name, test.err, q.Status, got, test.want, q.Errors)
		}
	}
}
