package portal

import (
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/outhook/webhook"
)

//go:embed openapi.json
var openAPI []byte

// api returns the routes of the REST API, which openapi.json describes.
func (p *portal) api() []route {
	const get, post = http.MethodGet, http.MethodPost
	routes := []route{
		{method: get, path: "openapi.json", handler: p.document},
		{method: get, path: "event-types", handler: p.eventTypes},
		{method: get, path: "profiles", handler: p.profiles},
		{method: get, path: "statistics", handler: p.statistics},
		{method: get, path: "endpoints", handler: p.listEndpoints},
		{method: post, path: "endpoints", handler: p.createEndpoint, change: true},
		{method: get, path: "endpoints/{id}", handler: p.getEndpoint},
		{method: http.MethodPut, path: "endpoints/{id}", handler: p.replaceEndpoint, change: true},
		{method: http.MethodPatch, path: "endpoints/{id}", handler: p.patchEndpoint, change: true},
		{method: http.MethodDelete, path: "endpoints/{id}", handler: p.deleteEndpoint, change: true},
		{method: post, path: "endpoints/{id}/enable", handler: p.enableEndpoint, change: true},
		{method: post, path: "endpoints/{id}/disable", handler: p.disableEndpoint, change: true},
		{method: post, path: "endpoints/{id}/verify", handler: p.verifyEndpoint, change: true},
		{method: post, path: "endpoints/{id}/test", handler: p.testEndpoint, change: true},
		{method: post, path: "endpoints/{id}/secret/rotate", handler: p.rotateSecret, change: true},
		{method: post, path: "endpoints/{id}/secret/regenerate", handler: p.regenerateSecret, change: true},
		{method: post, path: "endpoints/{id}/secret/reveal", handler: p.revealSecrets, change: true},
		{method: get, path: "deliveries", handler: p.listDeliveries},
		{method: get, path: "deliveries/{id}", handler: p.getDelivery},
		{method: get, path: "deliveries/{id}/attempts", handler: p.listAttempts},
		{method: get, path: "deliveries/{id}/body", handler: p.getBody},
		{method: post, path: "deliveries/{id}/resend", handler: p.resend, change: true},
		{method: post, path: "replay", handler: p.replay, change: true},
	}
	for n := range routes {
		routes[n].path = apiPath + "/v1/" + routes[n].path
	}
	return routes
}

// reply writes JSON.
func reply(w http.ResponseWriter, status int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
	return nil
}

func (p *portal) document(w http.ResponseWriter, r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI)
	return nil
}

func (p *portal) eventTypes(w http.ResponseWriter, r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	return reply(w, http.StatusOK, eventTypesOf(r.view.EventTypes()))
}

func (p *portal) profiles(w http.ResponseWriter, r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	var page pageJSON[profileJSON]
	for _, name := range r.view.Profiles() {
		if profile, ok := r.view.Profile(name); ok {
			page.Items = append(page.Items, profileOf(name, &profile))
		}
	}
	return reply(w, http.StatusOK, page)
}

func (p *portal) statistics(w http.ResponseWriter, r *request) error {
	q := r.query("endpointId", "from", "to", "buckets")
	f := webhook.StatisticsFilter{Endpoints: q.values["endpointId"], From: q.time("from"), To: q.time("to"), Buckets: q.number("buckets", 1, 1000)}
	if len(f.Endpoints) == 0 {
		q.fail("endpointId", "there is none")
	}
	if err := q.err(); err != nil {
		return err
	}
	all, err := r.view.Statistics(r.Context(), f)
	if err != nil {
		return err
	}
	page := pageJSON[statisticsJSON]{Items: []statisticsJSON{}}
	for n := range all {
		page.Items = append(page.Items, statisticsOf(&all[n]))
	}
	return reply(w, http.StatusOK, page)
}

// link tells where the next page is, if there is one: the same listing with
// another cursor.
func (r *request) link(w http.ResponseWriter, next string) {
	if next == "" {
		return
	}
	values := r.URL.Query()
	values.Set("cursor", next)
	w.Header().Set("Link", "<?"+values.Encode()+`>; rel="next"`)
}

func (p *portal) listEndpoints(w http.ResponseWriter, r *request) error {
	q := r.query("disabled", "cursor", "limit")
	f := webhook.EndpointFilter{Disabled: q.flag("disabled"), Cursor: q.text("cursor"), Limit: q.number("limit", 1, 1000)}
	if err := q.err(); err != nil {
		return err
	}
	page, err := r.view.Endpoints(r.Context(), f)
	if err != nil {
		return err
	}
	answer := pageJSON[endpointJSON]{Items: []endpointJSON{}, Next: page.Next, Total: &page.Total}
	for n := range page.Items {
		answer.Items = append(answer.Items, endpointOf(&page.Items[n]))
	}
	r.link(w, page.Next)
	return reply(w, http.StatusOK, answer)
}

// maxKey bounds an Idempotency-Key.
const maxKey = 255

func (p *portal) createEndpoint(w http.ResponseWriter, r *request) error {
	var input endpointInput
	if err := errors.Join(r.query().err(), r.decode(&input)); err != nil {
		return err
	}
	e, created, err := p.register(r, input, r.Header.Get("Idempotency-Key"))
	if err != nil {
		return err
	}
	w.Header().Set("Location", "endpoints/"+url.PathEscape(e.ID))
	w.Header().Set("ETag", etag(e.Rev))
	answer := endpointOf(&e)
	answer.Secrets = secretsOf(e.Secrets)
	if !created {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	return reply(w, http.StatusCreated, answer)
}

// register registers an endpoint. With a key, what was registered with that key
// before, by the same actor, is found again, with its secrets where he may see
// them: what has the same content is returned, other content is a conflict.
func (p *portal) register(r *request, input endpointInput, key string) (e webhook.Endpoint, created bool, err error) {
	e = input.endpoint()
	e.Rev = 0
	if key == "" {
		e, err = r.view.Register(r.Context(), e)
		return e, true, err
	}
	if len(key) > maxKey || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
		return e, false, invalid(fieldError{Parameter: "Idempotency-Key", Detail: fmt.Sprintf("it is not 1 to %d visible ASCII characters", maxKey)})
	}
	if e.ID != "" {
		return e, false, invalid(fieldError{Pointer: "/id", Detail: "an endpoint with an Idempotency-Key has none of the caller's choice"})
	}
	if !r.access.Operator {
		if e.Tenant == "" {
			e.Tenant = r.access.Tenant
		}
		if scope := (webhook.Scope{Tenant: r.access.Tenant}); e.AllTenants || !scope.Contains(e.Tenant) {
			_, err = r.view.Register(r.Context(), e) // which says what is wrong
			return e, false, err
		}
	}
	e.ID = r.idOf(key)
	registered, err := p.d.Register(r.Context(), e)
	if !errors.Is(err, webhook.ErrConflict) {
		return registered, true, err
	}
	// The ID is the caller's own: if it exists, it is in his view.
	found, err := r.view.Endpoint(r.Context(), e.ID)
	if err != nil {
		return found, false, err
	}
	if !sameContent(&found, input) {
		return found, false, newProblem(http.StatusConflict, "conflict", "the Idempotency-Key was used for an endpoint with other content, or that was changed since")
	}
	if r.mayReveal(&found) {
		found.Secrets, err = r.view.Reveal(r.Context(), found.ID)
	}
	return found, false, err
}

// idOf returns the ID of an endpoint that is registered with a key: a UUID
// (version 8) which nobody but the same actor of the same tenant comes to.
func (r *request) idOf(key string) string {
	sum := sha256.New()
	for _, part := range []string{"outhook portal", strconv.FormatBool(r.access.Operator), r.access.Tenant, r.access.Actor, key} {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	id := uuid.UUID(sum.Sum(nil)[:16])
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return id.String()
}

// answerEndpoint writes an endpoint as it is now.
func (r *request) answerEndpoint(w http.ResponseWriter, id string) error {
	e, err := r.view.Endpoint(r.Context(), id)
	if err != nil {
		return err
	}
	return replyEndpoint(w, &e)
}

func replyEndpoint(w http.ResponseWriter, e *webhook.Endpoint) error {
	w.Header().Set("ETag", etag(e.Rev))
	return reply(w, http.StatusOK, endpointOf(e))
}

func (p *portal) getEndpoint(w http.ResponseWriter, r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	return r.answerEndpoint(w, r.value("id"))
}

// ifMatch reports whether the request may change the version that there is: "*" is
// any.
func (r *request) ifMatch(current int64) error {
	given := r.Header.Values("If-Match")
	if len(given) == 0 {
		return nil
	}
	for tag := range strings.SplitSeq(strings.Join(given, ","), ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == etag(current) {
			return nil
		}
	}
	return newProblem(http.StatusPreconditionFailed, "precondition-failed", "the endpoint was changed; its ETag is "+etag(current))
}

func (p *portal) replaceEndpoint(w http.ResponseWriter, r *request) error {
	var input endpointInput
	if err := errors.Join(r.query().err(), r.decode(&input)); err != nil {
		return err
	}
	return p.update(w, r, func(*webhook.Endpoint) (endpointInput, error) { return input, nil })
}

func (p *portal) patchEndpoint(w http.ResponseWriter, r *request) error {
	if err := r.query().err(); err != nil {
		return err
	}
	body, err := r.json("application/merge-patch+json", "application/json")
	if err != nil {
		return err
	}
	var patch any
	if err := json.Unmarshal(body, &patch); err != nil {
		return newProblem(http.StatusBadRequest, "malformed", "the body is not JSON")
	}
	if _, ok := patch.(map[string]any); !ok {
		return invalid(fieldError{Detail: "it is not an object"})
	}
	return p.update(w, r, func(e *webhook.Endpoint) (input endpointInput, err error) {
		current := inputOf(e)
		current.Rev = 0 // of the patch alone
		text, err := json.Marshal(current)
		if err != nil {
			return input, err
		}
		var target any
		if err := json.Unmarshal(text, &target); err != nil {
			return input, err
		}
		if text, err = json.Marshal(merge(target, patch)); err == nil {
			err = decodeStrictly(text, &input)
		}
		return input, err
	})
}

// update replaces an endpoint by what edit makes of it. When another change comes
// between, it begins again: then If-Match and rev say whether it still may.
func (p *portal) update(w http.ResponseWriter, r *request, edit func(*webhook.Endpoint) (endpointInput, error)) error {
	id := r.value("id")
	for tries := 0; ; tries++ {
		current, err := r.view.Endpoint(r.Context(), id)
		if err != nil {
			return err
		}
		if err := r.ifMatch(current.Rev); err != nil {
			return err
		}
		input, err := edit(&current)
		if err != nil {
			return err
		}
		if input.ID != "" && input.ID != id {
			return invalid(fieldError{Pointer: "/id", Detail: "it cannot be changed"})
		}
		e := input.endpoint()
		e.ID = id
		if e.Rev == 0 {
			e.Rev = current.Rev
		}
		updated, err := r.view.Update(r.Context(), e)
		if errors.Is(err, webhook.ErrConflict) && e.Rev == current.Rev && tries < 5 {
			continue
		}
		if err != nil {
			return err
		}
		return replyEndpoint(w, &updated)
	}
}

func (p *portal) deleteEndpoint(w http.ResponseWriter, r *request) error {
	if err := r.empty(); err != nil {
		return err
	}
	if len(r.Header.Values("If-Match")) > 0 {
		current, err := r.view.Endpoint(r.Context(), r.value("id"))
		if err == nil {
			err = r.ifMatch(current.Rev)
		}
		if err != nil {
			return err
		}
	}
	if err := r.view.Unregister(r.Context(), r.value("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// empty refuses what an action takes no notice of.
func (r *request) empty() error {
	return errors.Join(r.query().err(), r.decode(new(struct{})))
}

func (p *portal) enableEndpoint(w http.ResponseWriter, r *request) error {
	err := r.empty()
	if err == nil {
		err = r.view.Enable(r.Context(), r.value("id"))
	}
	if err != nil {
		return err
	}
	return r.answerEndpoint(w, r.value("id"))
}

func (p *portal) disableEndpoint(w http.ResponseWriter, r *request) error {
	var input struct {
		Reason string `json:"reason"`
	}
	err := errors.Join(r.query().err(), r.decode(&input))
	if err == nil {
		err = r.view.Disable(r.Context(), r.value("id"), input.Reason)
	}
	if err != nil {
		return err
	}
	return r.answerEndpoint(w, r.value("id"))
}

func (p *portal) verifyEndpoint(w http.ResponseWriter, r *request) error {
	err := r.empty()
	if err == nil {
		err = r.view.Verify(r.Context(), r.value("id"))
	}
	if err != nil {
		return err
	}
	return r.answerEndpoint(w, r.value("id"))
}

func (p *portal) testEndpoint(w http.ResponseWriter, r *request) error {
	var input struct {
		EventType string `json:"eventType"`
	}
	if err := errors.Join(r.query().err(), r.decode(&input)); err != nil {
		return err
	}
	attempt, err := r.view.SendTest(r.Context(), r.value("id"), input.EventType)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, attemptOf(&attempt))
}

// maxOverlap is a hundred years.
const maxOverlap = 100 * 365 * 24 * 60 * 60

func (p *portal) rotateSecret(w http.ResponseWriter, r *request) error {
	var input struct {
		Value          string `json:"value"`
		OverlapSeconds int    `json:"overlapSeconds"`
	}
	if err := errors.Join(r.query().err(), r.decode(&input)); err != nil {
		return err
	}
	if input.OverlapSeconds < 0 || input.OverlapSeconds > maxOverlap {
		return invalid(fieldError{Pointer: "/overlapSeconds", Detail: fmt.Sprintf("it is not from 0 to %d", maxOverlap)})
	}
	return p.rotate(w, r, webhook.Secret{Value: input.Value}, time.Duration(input.OverlapSeconds)*time.Second)
}

func (p *portal) regenerateSecret(w http.ResponseWriter, r *request) error {
	if err := r.empty(); err != nil {
		return err
	}
	return p.rotate(w, r, webhook.Secret{}, 0)
}

func (p *portal) rotate(w http.ResponseWriter, r *request, next webhook.Secret, overlap time.Duration) error {
	next, err := r.view.RotateSecret(r.Context(), r.value("id"), next, overlap)
	if err != nil {
		q := problemOf(err, r.access.Operator)
		if q.Status != http.StatusUnprocessableEntity {
			return err
		}
		for n, e := range q.Errors { // the secret is another field here
			if strings.HasPrefix(e.Pointer, "/secrets") {
				q.Errors[n].Pointer = "/value"
			}
		}
		return q
	}
	return reply(w, http.StatusOK, secret(next))
}

func (p *portal) revealSecrets(w http.ResponseWriter, r *request) error {
	if err := r.empty(); err != nil {
		return err
	}
	e, err := r.view.Endpoint(r.Context(), r.value("id"))
	if err != nil {
		return err
	}
	if !r.mayReveal(&e) {
		return newProblem(http.StatusForbidden, "forbidden", "its secrets are shown to who created it; a new one can be generated")
	}
	secrets, err := r.view.Reveal(r.Context(), e.ID)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, pageJSON[secret]{Items: secretsOf(secrets)})
}
