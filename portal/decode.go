package portal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/outhook/webhook"
)

// decode reads a JSON body into v, a pointer to a struct. A field that v has not
// is an error with its name, at any depth.
func (r *request) decode(v any) error {
	body, err := r.json("application/json")
	if err == nil && body != nil {
		err = decodeStrictly(body, v)
	}
	return err
}

// json returns the body, whose type must be one of these; nil if it is empty.
func (r *request) json(types ...string) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, err
		}
		return nil, newProblem(http.StatusBadRequest, "malformed", "the body broke off")
	}
	given := r.Header.Get("Content-Type")
	if len(body) == 0 && given == "" {
		return nil, nil
	}
	kind, parameters, err := mime.ParseMediaType(given)
	if charset, ok := parameters["charset"]; err != nil || !slices.Contains(types, kind) || ok && !strings.EqualFold(charset, "utf-8") {
		return nil, newProblem(http.StatusUnsupportedMediaType, "unsupported-media-type", "the body must be "+strings.Join(types, " or "))
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, newProblem(http.StatusUnsupportedMediaType, "unsupported-media-type", "the body must not be encoded")
	}
	if len(body) == 0 {
		return nil, nil
	}
	if !utf8.Valid(body) {
		return nil, newProblem(http.StatusBadRequest, "malformed", "the body is not UTF-8")
	}
	return body, nil
}

// decodeStrictly reads JSON into v.
func decodeStrictly(text []byte, v any) error {
	var tree any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return newProblem(http.StatusBadRequest, "malformed", "the body is not JSON: "+strings.TrimPrefix(err.Error(), "json: "))
	}
	if d.More() {
		return newProblem(http.StatusBadRequest, "malformed", "something follows the JSON of the body")
	}
	if errs := unknownFields(nil, "", tree, reflect.TypeOf(v)); len(errs) > 0 {
		return invalid(errs...)
	}
	err := json.Unmarshal(text, v)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		pointer := ""
		if e.Field != "" {
			pointer = "/" + strings.ReplaceAll(e.Field, ".", "/")
		}
		return invalid(fieldError{Pointer: pointer, Detail: fmt.Sprintf("a %s does not belong here, but %s", e.Value, nameOf(e.Type))})
	}
	if err != nil { // a time, which says no more
		return invalid(fieldError{Detail: strings.TrimPrefix(err.Error(), "json: ")})
	}
	return nil
}

// nameOf returns what a type is called in JSON.
func nameOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "an array"
	}
	return "an object"
}

// unknownFields adds an error for each field of a JSON value that a type has not.
// Other than encoding/json, it does not ignore case.
func unknownFields(errs []fieldError, at string, value any, t reflect.Type) []fieldError {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch value := value.(type) {
	case []any:
		if t.Kind() == reflect.Slice {
			for n, item := range value {
				errs = unknownFields(errs, at+"/"+strconv.Itoa(n), item, t.Elem())
			}
		}
	case map[string]any:
		if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
			return errs
		}
		known := make(map[string]reflect.Type)
		for n := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(n).Tag.Get("json"), ",")
			known[name] = t.Field(n).Type
		}
		for _, name := range sortedKeys(value) {
			pointer := at + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
			if field, ok := known[name]; ok {
				errs = unknownFields(errs, pointer, value[name], field)
			} else if len(errs) < 20 {
				errs = append(errs, fieldError{Pointer: pointer, Detail: fmt.Sprintf("there is no field %q here", shortened(name))})
			}
		}
	}
	return errs
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func shortened(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:64], "") + "…"
}

// merge applies a JSON merge patch (RFC 7396).
func merge(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	merged, ok := target.(map[string]any)
	if !ok {
		merged = make(map[string]any)
	}
	for name, value := range changes {
		if value == nil {
			delete(merged, name)
		} else {
			merged[name] = merge(merged[name], value)
		}
	}
	return merged
}

// query reads the parameters of a request.
type query struct {
	values url.Values
	errs   []fieldError
}

// query reads the parameters, of which there may be these and no others.
func (r *request) query(names ...string) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.errs = append(q.errs, fieldError{Detail: "the query is not encoded as in a URL"})
	}
	for name, given := range values {
		switch {
		case !slices.Contains(names, name):
			q.errs = append(q.errs, fieldError{Parameter: shortened(strings.ToValidUTF8(name, "\uFFFD")), Detail: "there is no such parameter here"})
		case len(given) > 1 && name != "state" && name != "endpointId":
			q.errs = append(q.errs, fieldError{Parameter: name, Detail: "it is there more than once"})
		}
	}
	slices.SortFunc(q.errs, func(a, b fieldError) int { return strings.Compare(a.Parameter, b.Parameter) })
	return q
}

func (q *query) fail(name, detail string) {
	q.errs = append(q.errs, fieldError{Parameter: name, Detail: detail})
}

// err returns the problem of what was read, if there is one.
func (q *query) err() error {
	if len(q.errs) == 0 {
		return nil
	}
	return invalid(q.errs...)
}

func (q *query) text(name string) string { return q.values.Get(name) }

func (q *query) number(name string, least, most int) int {
	text := q.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		q.fail(name, fmt.Sprintf("it is not a whole number from %d to %d", least, most))
		return 0
	}
	return n
}

func (q *query) time(name string) time.Time {
	text := q.text(name)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		q.fail(name, "it is not a time of RFC 3339, such as 2026-01-31T12:00:00Z")
	}
	return t
}

func (q *query) flag(name string) *bool {
	switch q.text(name) {
	case "":
		return nil
	case "true":
		return new(true)
	case "false":
		return new(false)
	}
	q.fail(name, "it is neither true nor false")
	return nil
}

func (q *query) states() []webhook.State {
	var states []webhook.State
	for _, s := range q.values["state"] {
		switch state := webhook.State(s); state {
		case webhook.StatePending, webhook.StateDelivered, webhook.StateExhausted, webhook.StateCancelled:
			if !slices.Contains(states, state) {
				states = append(states, state)
			}
		default:
			q.fail("state", "it is none of pending, delivered, exhausted and cancelled")
			return nil
		}
	}
	return states
}
