// Package oauth2 gets the access tokens of endpoints whose Auth is
// [webhook.OAuth2], by golang.org/x/oauth2. It is a module of its own, so that
// applications without such endpoints do not depend on that.
//
//	d, err := webhook.NewDispatcher(store, webhook.Config{
//		Authorizer: new(oauth2.ClientCredentials),
//	})
//	...
//	e, err := d.Register(ctx, webhook.Endpoint{
//		URL:  "https://customer.example/webhooks",
//		Auth: webhook.OAuth2("https://login.customer.example/token", id, secret, "hooks:write"),
//	})
package oauth2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/outhook/webhook"
)

// maxStyles is of how many clients is remembered how they authenticate.
const maxStyles = 10_000

// ClientCredentials is a [webhook.Authorizer]: it asks for tokens by the grant of
// client credentials (RFC 6749, section 4.4) and accepts those of the type Bearer
// (RFC 6750). Its zero value is ready for use, by any number of Dispatchers. It
// must not be copied.
type ClientCredentials struct {
	// Style is how client ID and secret are sent (RFC 6749, section 2.3.1): in
	// the Authorization header or in the body. By default, the header is tried
	// first, the body when that is refused, and what succeeded is remembered.
	Style oauth2.AuthStyle

	mu     sync.Mutex
	styles map[client]oauth2.AuthStyle
}

// client is whose style is remembered.
type client struct{ tokenURL, id string }

// Authorize implements [webhook.Authorizer].
func (c *ClientCredentials) Authorize(ctx context.Context, httpClient *http.Client, a webhook.Auth) (header string, until time.Time, err error) {
	params, err := url.ParseQuery(a.Params)
	if err != nil {
		return "", until, errors.New("Auth.Params are malformed")
	}
	config := clientcredentials.Config{
		ClientID: a.Name, ClientSecret: a.Secret.Value, TokenURL: a.TokenURL,
		Scopes: strings.Fields(a.Scope), EndpointParams: params,
	}
	token, err := c.token(context.WithValue(ctx, oauth2.HTTPClient, httpClient), config)
	switch {
	case err != nil:
		return "", until, describe(err)
	case token.Type() != "Bearer": // RFC 6749, section 7.1
		return "", until, errors.New("its type is not Bearer")
	case strings.ContainsFunc(token.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", until, errors.New("it is not visible ASCII characters")
	}
	return "Bearer " + token.AccessToken, token.Expiry, nil
}

// token asks for a token in the style that the server is known to accept, or in
// one after the other.
func (c *ClientCredentials) token(ctx context.Context, config clientcredentials.Config) (*oauth2.Token, error) {
	ask := func(style oauth2.AuthStyle) (*oauth2.Token, error) {
		config.AuthStyle = style
		return config.Token(ctx)
	}
	if c.Style != oauth2.AuthStyleAutoDetect {
		return ask(c.Style)
	}
	of := client{config.TokenURL, config.ClientID}
	style := c.style(of)
	if style != oauth2.AuthStyleAutoDetect {
		token, err := ask(style)
		if refused(err) {
			c.remember(of, oauth2.AuthStyleAutoDetect)
		}
		return token, err
	}
	token, first := ask(oauth2.AuthStyleInHeader)
	if first == nil {
		c.remember(of, oauth2.AuthStyleInHeader)
	}
	if !refused(first) {
		return token, first
	}
	token, err := ask(oauth2.AuthStyleInParams)
	if err == nil {
		c.remember(of, oauth2.AuthStyleInParams)
	} else if code(first) == "invalid_client" {
		err = first // it knew what it refused
	}
	return token, err
}

func (c *ClientCredentials) style(of client) oauth2.AuthStyle {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.styles[of]
}

// remember notes the style of a client, or forgets it.
func (c *ClientCredentials) remember(of client, style oauth2.AuthStyle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case style == oauth2.AuthStyleAutoDetect:
		delete(c.styles, of)
		return
	case c.styles == nil, len(c.styles) >= maxStyles:
		c.styles = make(map[client]oauth2.AuthStyle)
	}
	c.styles[of] = style
}

// refused reports whether a server may have refused the client because of how it
// authenticated (RFC 6749, section 5.2).
func refused(err error) bool {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return false
	}
	switch e.Response.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return true
	case http.StatusOK, http.StatusBadRequest:
		return slices.Contains([]string{"", "invalid_client", "invalid_request", "unauthorized_client"}, e.ErrorCode)
	}
	return false
}

// codes are those of RFC 6749, section 5.2, and RFC 8707, section 2: what may be
// repeated of a server's words.
var codes = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target",
}

func code(err error) string {
	e, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok || !slices.Contains(codes, e.ErrorCode) {
		return ""
	}
	return e.ErrorCode
}

// describe returns an error without what the server has said, and without its URL.
func describe(err error) error {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		if e.Response.StatusCode >= 200 && e.Response.StatusCode <= 299 {
			return fmt.Errorf("the token endpoint answered with the error %s", cmp.Or(code(err), "that it names"))
		}
		if code := code(err); code != "" {
			return fmt.Errorf("the token endpoint answered with status %d, %s", e.Response.StatusCode, code)
		}
		return fmt.Errorf("the token endpoint answered with status %d", e.Response.StatusCode)
	}
	if e, ok := errors.AsType[*url.Error](err); ok && !strings.Contains(e.Err.Error(), "Location") { // no answer came
		return e.Err // of a Location that is no URL, an http.Client of the caller's own would quote it
	}
	return errors.New("the token endpoint's answer is malformed")
}
