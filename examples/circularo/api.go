package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/outhook/webhook"
)

// User is who calls the API: an administrator of an organization or, where Org
// is empty, of the whole tenant. Both are names, and the scope of what a webhook
// covers is their path: "tenant/org" is within "tenant".
type User struct{ Name, Tenant, Org string }

func (u User) scope() string {
	if u.Org == "" {
		return u.Tenant
	}
	return u.Tenant + "/" + u.Org
}

// Webhook is a webhook as the API shows it.
type Webhook struct {
	ID          string `json:"id"`
	Creator     string `json:"creator"`
	CreateDate  string `json:"createDate"`
	Type        string `json:"type"` // "organization" or "tenant"
	Name        string `json:"name"` // of the organization or tenant
	CallbackURL string `json:"callbackUrl"`
	HMACSecret  string `json:"hmacSecret,omitempty"` // for its creator only
}

// API serves POST, GET and DELETE /webhooks. authenticate says who calls; the
// error becomes 401.
func API(d *webhook.Dispatcher, authenticate func(*http.Request) (User, error)) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, serve func(context.Context, *webhook.View, User, *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			user, err := authenticate(r)
			if err != nil {
				reply(w, http.StatusUnauthorized, map[string]string{"error": "not authorized"})
				return
			}
			// The view is all that the user may see; anything else is not found.
			ctx := webhook.WithActor(r.Context(), user.Name)
			switch result, err := serve(ctx, d.Tenant(user.scope()), user, r); {
			case err == nil:
				reply(w, http.StatusOK, result)
			case errors.Is(err, webhook.ErrNotFound):
				reply(w, http.StatusNotFound, map[string]string{"error": "no such webhook"})
			case errors.Is(err, webhook.ErrInvalid), errors.Is(err, webhook.ErrBlockedAddress):
				reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			default:
				reply(w, http.StatusInternalServerError, map[string]string{"error": "internal error"})
			}
		})
	}
	handle("POST /webhooks", create)
	handle("GET /webhooks", list)
	handle("DELETE /webhooks/{id}", remove)
	return mux
}

// create registers a webhook for the user's organization or tenant; a tenant's
// administrator may name one of its organizations.
func create(ctx context.Context, v *webhook.View, u User, r *http.Request) (any, error) {
	var body struct{ Type, Name, CallbackURL, HMACSecret string }
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 64<<10)).Decode(&body); err != nil {
		return nil, errors.Join(webhook.ErrInvalid, err)
	}
	e := webhook.Endpoint{URL: body.CallbackURL, Tenant: u.scope(), CreatedBy: u.Name}
	switch {
	case body.Type == "organization" && u.Org == "" && body.Name != "":
		e.Tenant = u.Tenant + "/" + body.Name
	case body.Type == "organization" && u.Org != "", body.Type == "tenant" && u.Org == "":
	default:
		return nil, errors.Join(webhook.ErrInvalid, errors.New("type: not yours to choose"))
	}
	if body.HMACSecret != "" {
		e.Secrets = []webhook.Secret{{Value: body.HMACSecret}}
	}
	e, err := v.Register(ctx, e)
	if err != nil {
		return nil, err
	}
	return show(ctx, v, u, e)
}

// list returns all webhooks that the user has access to, with their total.
func list(ctx context.Context, v *webhook.View, u User, _ *http.Request) (any, error) {
	var listing struct {
		Total   int       `json:"total"`
		Results []Webhook `json:"results"`
	}
	listing.Results = []Webhook{}
	for filter := (webhook.EndpointFilter{}); ; {
		page, err := v.Endpoints(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Items {
			w, err := show(ctx, v, u, e)
			if errors.Is(err, webhook.ErrNotFound) {
				continue // deleted meanwhile
			}
			if err != nil {
				return nil, err
			}
			listing.Results = append(listing.Results, w)
		}
		listing.Total = page.Total
		if filter.Cursor = page.Next; filter.Cursor == "" {
			return listing, nil
		}
	}
}

// remove deletes a webhook and cancels what is pending for it.
func remove(ctx context.Context, v *webhook.View, _ User, r *http.Request) (any, error) {
	return map[string]string{"status": "SUCCESS"}, v.Unregister(ctx, r.PathValue("id"))
}

// show returns an endpoint as a webhook of the API. Endpoints are read back
// without their secrets; the creator's are revealed, which a notice records.
func show(ctx context.Context, v *webhook.View, u User, e webhook.Endpoint) (Webhook, error) {
	w := Webhook{ID: e.ID, Creator: e.CreatedBy, CreateDate: isoTime(e.CreatedAt), Type: "tenant", Name: e.Tenant, CallbackURL: e.URL}
	if _, org, ok := strings.Cut(e.Tenant, "/"); ok {
		w.Type, w.Name = "organization", org
	}
	if e.CreatedBy == u.Name {
		secrets, err := v.Reveal(ctx, e.ID)
		if err != nil {
			return Webhook{}, err
		}
		if len(secrets) > 0 {
			w.HMACSecret = secrets[0].Value
		}
	}
	return w, nil
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
